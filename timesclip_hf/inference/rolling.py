# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecasts of windows, batch by batch, as far ahead as somebody asks."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.panel_windows import PanelWindows
from ..model.messages import one_run


def forecast_windows(
    model: Any, processor: Any, windows: PanelWindows, horizon: int, batch_size: int
) -> NDArray[np.float64]:
    """Forecasts of all windows `(m, horizon, K)`, K being `windows.num_targets`; results do not depend on batches.

    A horizon shorter than the model's is cut. A longer one is rolled on: what was forecast is taken for what came, and
    the next steps are forecast from there; of variates that are no targets the last values are repeated.
    """
    model.eval()
    found = np.empty((len(windows), horizon, windows.num_targets))
    with one_run():
        for start in range(0, len(windows), batch_size):
            rows = slice(start, start + batch_size)
            found[rows] = _rolled(model, processor, windows.past(rows), horizon)[..., : windows.num_targets]
    return found


def _rolled(model: Any, processor: Any, past: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
    """`(b, T, V)` to `(b, horizon, V)`."""
    blocks: list[NDArray[np.float64]] = []
    for _ in range(0, horizon, model.config.prediction_length):
        blocks.append(_ask(model, processor, past))
        past = np.concatenate([past, blocks[-1]], axis=1)[:, -past.shape[1] :]
    return np.concatenate(blocks, axis=1)[:, :horizon]


def _ask(model: Any, processor: Any, past: NDArray[np.float64]) -> NDArray[np.float64]:
    batch = {name: tensor.to(model.device) for name, tensor in processor(past).items()}
    with torch.no_grad():
        return model(**batch).predictions.double().cpu().numpy()


__all__ = ["forecast_windows"]
