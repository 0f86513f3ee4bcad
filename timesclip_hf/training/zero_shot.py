# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A forecaster that was pretrained on other people's series, as a peer: TimesFM 2.5 of transformers.

It reads the whole history before a window, as far as its own context reaches, one variate at a time, and learns
nothing of the series at hand; gaps are filled by straight lines. Its weights are fetched where they can be had.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import TimesFm2_5ModelForPrediction

from ..data.panel_windows import PanelWindows
from ..model.intervals import quantiles_at
from ..model.preprocessing import fill_missing

_AT_ONCE = 64


@torch.no_grad()
def zero_shot(
    name: str, test: PanelWindows, levels: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Forecasts `(m, H, K)` of all windows, and quantiles `(m, H, K, Q)` where levels are asked for.

    Args:
        name: folder or Hub id of a `TimesFm2_5ModelForPrediction`.
        test: the windows.
        levels: of quantiles; those that it does not know follow from its own.

    Raises:
        OSError: no such model.
        ValueError: a horizon that is longer than its own.
    """
    model = TimesFm2_5ModelForPrediction.from_pretrained(name).eval()
    horizon, count = test.prediction_length, test.num_targets
    if horizon > model.config.horizon_length:
        raise ValueError(f"{name} forecasts {model.config.horizon_length} steps, not {horizon}")
    histories = []
    for window in test.chosen:
        past = test.panel.series(int(test.series[window]))[: test.steps[window], :count]
        past = fill_missing(past[None], ~np.isnan(past)[None])[0]
        histories += [torch.from_numpy(past[:, k].copy()).float() for k in range(count)]
    means, fans = [], []
    for start in range(0, len(histories), _AT_ONCE):
        # Negative values are not cut off: whether they are would depend on the other series of a batch.
        told = model(past_values=histories[start : start + _AT_ONCE], truncate_negative=False)
        means.append(told.mean_predictions[:, :horizon].double().numpy())
        fans.append(told.full_predictions[:, :horizon, 1:].double().numpy())
    forecasts = np.concatenate(means).reshape(len(test), count, horizon).swapaxes(1, 2)
    if not len(levels):
        return forecasts, None
    known = quantiles_at(np.concatenate(fans), list(model.config.quantiles), list(levels))
    return forecasts, known.reshape(len(test), count, horizon, -1).swapaxes(1, 2)


__all__ = ["zero_shot"]
