# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecasters that were pretrained on other people's series, as peers: TimesFM 2.5 of transformers, and Chronos.

They read the whole history before a window, as far as their own context reaches, one variate at a time, and learn
nothing of the series at hand; gaps are filled by straight lines. Their weights are fetched where they can be had;
what a folder or repository holds, its configuration says.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PretrainedConfig, TimesFm2_5ModelForPrediction

from ..data.panel_windows import PanelWindows
from ..model.intervals import quantiles_at
from ..model.preprocessing import fill_missing

_AT_ONCE = 64
Said = tuple[NDArray[np.float64], NDArray[np.float64]]  # points (n, H), quantiles (n, H, Q)


@torch.no_grad()
def zero_shot(
    name: str, test: PanelWindows, levels: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Forecasts `(m, H, K)` of all windows, and quantiles `(m, H, K, Q)` where levels are asked for.

    Args:
        name: folder or Hub id of a `TimesFm2_5ModelForPrediction`, or of a Chronos, Chronos-Bolt or Chronos-2 (with
            the package chronos-forecasting).
        test: the windows.
        levels: of quantiles; those that a model does not know follow from its own.

    Raises:
        OSError: no such model.
        ImportError: Chronos without its package.
        ValueError: a horizon that is longer than its own.
    """
    settings: dict[str, Any] = PretrainedConfig.get_config_dict(name)[0]
    ask = _chronos if "chronos_config" in settings else _times_fm
    horizon, count, histories = test.prediction_length, test.num_targets, []
    for window in test.chosen:
        past = test.panel.series(int(test.series[window]))[: test.steps[window], :count]
        past = fill_missing(past[None], ~np.isnan(past)[None])[0]
        histories += [torch.from_numpy(past[:, k].copy()).float() for k in range(count)]
    points, quantiles = ask(name, histories, horizon, levels)
    forecasts = points.reshape(len(test), count, horizon).swapaxes(1, 2)
    return forecasts, quantiles.reshape(len(test), count, horizon, -1).swapaxes(1, 2) if len(levels) else None


def _times_fm(name: str, histories: list[Tensor], horizon: int, levels: Sequence[float]) -> Said:
    model = TimesFm2_5ModelForPrediction.from_pretrained(name).eval()
    if horizon > model.config.horizon_length:
        raise ValueError(f"{name} forecasts {model.config.horizon_length} steps, not {horizon}")
    means, fans = [], []
    for start in range(0, len(histories), _AT_ONCE):
        # Negative values are not cut off: whether they are would depend on the other series of a batch.
        told = model(past_values=histories[start : start + _AT_ONCE], truncate_negative=False)
        means.append(told.mean_predictions[:, :horizon].double().numpy())
        fans.append(told.full_predictions[:, :horizon, 1:].double().numpy())
    known = quantiles_at(np.concatenate(fans), list(model.config.quantiles), list(levels) or [0.5])
    return np.concatenate(means), known


def _chronos(name: str, histories: list[Tensor], horizon: int, levels: Sequence[float]) -> Said:
    try:
        from chronos import BaseChronosPipeline
    except ImportError as error:
        raise ImportError(f"the peer {name} needs its own package: pip install chronos-forecasting") from error
    pipeline = BaseChronosPipeline.from_pretrained(name)
    means, fans = [], []
    for start in range(0, len(histories), _AT_ONCE):
        asked: dict[str, Any] = {"prediction_length": horizon, "quantile_levels": list(levels) or [0.5]}
        told, mean = pipeline.predict_quantiles(histories[start : start + _AT_ONCE], **asked)
        means += [one.double().numpy().reshape(horizon) for one in mean]
        fans += [one.double().numpy().reshape(horizon, -1) for one in told]
    return np.stack(means), np.stack(fans)


__all__ = ["zero_shot"]
