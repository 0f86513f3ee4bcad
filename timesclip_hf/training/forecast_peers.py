# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What any forecaster has to beat on the same windows: repeating the last value or season, and a linear map.

Rules take `past_values` `(n, T, V)` without gaps, arrays or tensors, and give `(n, H, V)`.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.splits import WindowSplits
from ..data.windows import ForecastWindows
from ..metrics import mse
from ..model.preprocessing import fill_missing

_PENALTIES = np.logspace(-2, 5, 8)
_MOST_WINDOWS = 20_000  # that the linear map is fitted on


def repeat_last(past: Any, horizon: int) -> Any:
    """The last value of each variate, again and again."""
    return past[:, [-1] * horizon]


def repeat_season(past: Any, horizon: int, season: int) -> Any:
    """The last `season` steps of each variate, again and again.

    Raises:
        ValueError: a season of one step, or longer than the past.
    """
    if not 2 <= season <= past.shape[1]:
        raise ValueError(f"a season of {season} steps cannot be repeated from {past.shape[1]} steps: 2 are the least")
    return past[:, [step % season - season for step in range(horizon)]]


def ets_forecast(
    history: NDArray[np.float64], horizon: int, season: int, levels: Sequence[float] = ()
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exponential smoothing, of the kind that AIC chooses, fitted on one series (statsforecast's AutoETS).

    Args:
        history: `(T,)`, without gaps.
        horizon: steps H.
        season: steps in a season.
        levels: of quantiles.

    Returns:
        Forecast `(H,)` and quantiles `(H, Q)`; NaN where it cannot be fitted.

    Raises:
        ImportError: statsforecast is not there.
    """
    try:
        from statsforecast.models import AutoETS
    except ImportError as error:
        raise ImportError("AutoETS needs the package statsforecast: pip install timesclip-hf[forecast]") from error
    widths = [round(100 * abs(1 - 2 * level), 6) for level in levels]
    quantiles = np.full((horizon, len(levels)), np.nan)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = sorted(set(widths) - {0.0}) or None
            told = AutoETS(season_length=season).forecast(history, horizon, level=asked)
    except Exception:  # a series that it cannot fit is a failure, whatever it raises
        return np.full(horizon, np.nan), quantiles
    for place, (level, width) in enumerate(zip(levels, widths, strict=True)):
        side = "lo" if level < 0.5 else "hi"
        names = ["mean"] if width == 0 else [f"{side}-{width:g}", f"{side}-{width}"]
        quantiles[:, place] = next(told[name] for name in names if name in told)
    return np.asarray(told["mean"], np.float64), quantiles


def window_arrays(windows: ForecastWindows, rows: Any = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inputs `(n, T, V)`, gaps filled by straight lines, and labels `(n, H, V)`, NaN where not observed."""
    chosen = range(len(windows)) if rows is None else rows
    past = np.stack([np.asarray(windows[int(row)]["past_values"], np.float64) for row in chosen])
    future = np.stack([np.asarray(windows[int(row)]["labels"], np.float64) for row in chosen])
    past = past[..., : future.shape[-1]]
    return fill_missing(past, ~np.isnan(past)), future


def linear_map(splits: WindowSplits) -> NDArray[np.float64]:
    """Ridge from a window's deviations from its last value to those that follow, one map for all variates.

    Fitted on the training windows (at most 20 000 of them), in units of each variate's spread there; the penalty is
    chosen on validation. What NLinear (Zeng et al. 2023) learns by gradients, in closed form.

    Returns:
        Forecasts of the test windows, `(n, H, V)` in original units.
    """
    train = splits.train
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _MOST_WINDOWS)).round().astype(int))
    parts = {"train": window_arrays(train, rows)}
    parts |= {name: window_arrays(getattr(splits, name)) for name in ("validation", "test")}
    spread = np.stack([splits.std[splits.test.series_names.index(name)] for name in train.series_names]).mean(axis=0)
    spread = spread[: parts["train"][1].shape[-1]]
    inputs, targets = (_flat(array) for array in _deviations(*parts["train"], spread))
    complete = ~np.isnan(targets).any(axis=1)
    inputs, targets = inputs[complete], targets[complete]
    gram, product = inputs.T @ inputs, inputs.T @ targets
    best: tuple[float, NDArray[np.float64]] = (np.inf, np.zeros((inputs.shape[1], targets.shape[1])))
    for penalty in _PENALTIES:
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), product)
        error = mse(_apply(parts["validation"][0], weights), parts["validation"][1])
        best = min(best, (error, weights), key=lambda candidate: candidate[0])
    return _apply(parts["test"][0], best[1])


def measure_naive(splits: WindowSplits, season: int) -> dict[str, NDArray[np.float64]]:
    """Peer -> its forecasts of the test windows, `(n, H, V)` in original units."""
    past, _ = window_arrays(splits.test)
    horizon = splits.test.prediction_length
    found = {"repeat last": repeat_last(past, horizon)}
    if 2 <= season <= past.shape[1]:
        found["seasonal naive"] = repeat_season(past, horizon, season)
    return found | {"linear map": linear_map(splits)}


def _deviations(past: Any, future: Any, spread: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    last = past[:, -1:]
    return (past - last) / spread, (future - last) / spread


def _flat(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(n, steps, V)` as `(n V, steps)`."""
    return windows.swapaxes(1, 2).reshape(-1, windows.shape[1])


def _apply(past: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    last = past[:, -1:]
    return np.einsum("ntv,th->nhv", past - last, weights) + last


__all__ = ["ets_forecast", "linear_map", "measure_naive", "repeat_last", "repeat_season", "window_arrays"]
