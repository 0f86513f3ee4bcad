# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Errors of forecasts, and the measures of the M4 competition (Makridakis, Spiliotis and Assimakopoulos 2020).

All work in float64, block by block, so that a long table of windows needs no second copy of itself. They are our own:
scikit-learn's errors know neither blocks nor targets that were not observed, and no library has M4's measures with the
competition's own test of seasonality in Naive2. Three rules hold throughout:

- A target that is NaN was not observed and is left out: figures are means over all observed values. Without a horizon,
  `(n,)`, there is nothing to leave out of a row, and NaN raises `ValueError`, as an infinite target always does.
- A prediction that is NaN gives NaN, even where the target was not observed: a diverged model is not a missing step.
- Wrong shapes, wrong types and targets without any observed value raise `ValueError`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import as_real_array, as_real_pair, check_rows, predictions_and_labels

if TYPE_CHECKING:
    from transformers import EvalPrediction

# Values converted to float64 at a time: 32 MB for each of predictions and targets.
_BLOCK_SIZE = 2**22

# One-sided 95 % = two-sided 90 % point of the normal distribution, as the competition's `SeasonalityTest` has it.
_SEASONALITY_QUANTILE = 1.645

# Axes -> what they are.
_SHAPES = {1: "(n,)", 2: "(n, horizon)", 3: "(n, horizon, variates)"}

# Of a forecast f and what came, y. A step where both are zero has no error in percent: 0, not 0 / 0.
_ERRORS: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "mse": lambda f, y: (f - y) ** 2,
    "mae": lambda f, y: np.abs(f - y),
    "smape": lambda f, y: 200.0 * np.abs(f - y) / np.where((f == 0.0) & (y == 0.0), 1.0, np.abs(f) + np.abs(y)),
}


def _as_forecasts(
    predictions: ArrayLike, targets: ArrayLike, axes: Sequence[int] = (1, 2, 3)
) -> tuple[NDArray[Any], NDArray[Any]]:
    predicted, observed = as_real_pair(predictions, targets, {count: _SHAPES[count] for count in axes})
    if observed.ndim == 1:
        check_rows(~np.isfinite(observed), "NaN or infinite")
    check_rows(np.isinf(observed), "infinite")
    if np.isnan(observed).all():
        raise ValueError(f"targets have no observed value: all {observed.size} are NaN; a metric needs at least one")
    return predicted, observed


def _mean_error(
    metric: str, predicted: NDArray[Any], observed: NDArray[Any], scale: NDArray[np.float64] | None = None
) -> float:
    """Mean of an error over the observed values; both sides divided by `scale` `(n, variates)` first where given."""
    total, count = 0.0, 0
    block = max(1, _BLOCK_SIZE // (observed.size // len(observed)))
    for start in range(0, len(observed), block):
        rows = slice(start, start + block)
        left, right = predicted[rows].astype(np.float64), observed[rows].astype(np.float64)
        if np.isnan(left).any():
            return float("nan")
        if scale is not None:
            divisor = scale[rows] if observed.ndim == 2 else scale[rows, None, :]  # (b, 1) or (b, 1, V)
            left, right = left / divisor, right / divisor
        seen = ~np.isnan(right)
        with np.errstate(invalid="ignore", over="ignore"):  # an infinite prediction says so in the figure
            total += float(_ERRORS[metric](left, right)[seen].sum())
        count += int(seen.sum())
    return total / count


def mse(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean squared error over all observed values, in squared units of the target.

    Args:
        predictions, targets: `(n,)`, `(n, horizon)` or `(n, horizon, variates)`, of one shape.
    """
    return _mean_error("mse", *_as_forecasts(predictions, targets))


def mae(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean absolute error over all observed values, in units of the target; of regression, too.

    Args:
        predictions, targets: `(n,)`, `(n, num_targets)`, `(n, horizon)` or `(n, horizon, variates)`, of one shape.
    """
    return _mean_error("mae", *_as_forecasts(predictions, targets))


def smape(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Symmetric mean absolute percentage error as in M4: the mean of `200 |y - f| / (|y| + |f|)`, 0 where both are 0.

    Args:
        predictions, targets: `(n,)`, `(n, horizon)` or `(n, horizon, variates)`, of one shape, in original units: the
            figure depends on where zero lies, so standardised values give another, meaningless one.

    Returns:
        Percent between 0 and 200, over all observed values; NaN for an infinite prediction.
    """
    return _mean_error("smape", *_as_forecasts(predictions, targets))


def forecast_metrics(predictions: ArrayLike, targets: ArrayLike, scale: ArrayLike | None = None) -> dict[str, float]:
    """The figures of forecasting tables.

    Published MSE and MAE are those of standardised values. Subtracting a mean cancels in an error, so for forecasts in
    original units they follow from `scale` alone; sMAPE is always that of the values as they come.

    Args:
        predictions, targets: `(n, horizon)` or `(n, horizon, variates)`, of one shape, in original units.
        scale: what each variate's error is divided by in mse and mae, usually the standard deviation of the training
            part: `(variates,)`, or `(n, variates)` where the windows come from several series (variates = 1 for
            `(n, horizon)`). Default: 1.

    Returns:
        `{"mse", "mae", "smape"}`; see the functions of these names.

    Raises:
        ValueError: those of this module; or `scale` has another shape, or a value that is not positive and finite.
    """
    predicted, observed = _as_forecasts(predictions, targets, axes=(2, 3))
    divisor = None if scale is None else _as_scale(scale, observed)
    scales = {"mse": divisor, "mae": divisor, "smape": None}
    return {metric: _mean_error(metric, predicted, observed, scale) for metric, scale in scales.items()}


def _as_scale(scale: ArrayLike, observed: NDArray[Any]) -> NDArray[np.float64]:
    """`scale` as `(n, variates)`; a view where it was `(variates,)`."""
    divisor = as_real_array(scale, "scale").astype(np.float64)
    shape = (len(observed), 1 if observed.ndim == 2 else observed.shape[2])
    if divisor.shape not in (shape, shape[1:]):
        raise ValueError(
            f"scale has shape {divisor.shape}, but targets of shape {observed.shape} need {shape[1:]} (one number for "
            f"each variate) or {shape} (one for each window and variate)"
        )
    bad = divisor[~(np.isfinite(divisor) & (divisor > 0.0))]
    if bad.size:
        raise ValueError(
            f"scale must be positive and finite everywhere, found {bad[:5].tolist()}; use 1 for a constant variate"
        )
    return np.broadcast_to(divisor, shape)


def compute_forecast_metrics(eval_prediction: "EvalPrediction", scale: ArrayLike | None = None) -> dict[str, float]:
    """`compute_metrics` of a `Trainer` that fine-tunes `TimesCLIPForPrediction`.

    Args:
        eval_prediction: `predictions` is the model's `predictions` array, `label_ids` the labels, both
            `(n, horizon, variates)` in original units.
        scale: as in `forecast_metrics`; give it with `functools.partial(compute_forecast_metrics, scale=std)`.
    """
    return forecast_metrics(*predictions_and_labels(eval_prediction), scale=scale)


# ---------------------------------------------------------------------------------------------------------------------
# The M4 competition
# ---------------------------------------------------------------------------------------------------------------------


def _check_count(value: Any, name: str) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, found {value!r}")


def _as_insample(values: ArrayLike, name: str = "insample") -> NDArray[np.float64]:
    series = as_real_array(values, name).astype(np.float64)
    if series.ndim == 2 and series.shape[1] == 1:
        series = series[:, 0]
    if series.ndim != 1 or len(series) == 0:
        raise ValueError(f"{name} has shape {series.shape}, expected one univariate series, (T,) or (T, 1)")
    bad = np.flatnonzero(~np.isfinite(series))
    if bad.size:
        raise ValueError(
            f"{name} is NaN or infinite at {bad.size} of {len(series)} steps (first: {bad[0]}); cut blank ends off, "
            "and fill inner gaps"
        )
    return series


def _as_insamples(insamples: Sequence[ArrayLike], count: int) -> list[NDArray[np.float64]]:
    if len(insamples) != count:
        raise ValueError(f"found {len(insamples)} insamples for {count} forecasts; each row needs its own series")
    return [_as_insample(values, f"insamples[{index}]") for index, values in enumerate(insamples)]


def _as_univariate(predictions: ArrayLike, targets: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    predicted, observed = _as_forecasts(predictions, targets, axes=(2, 3))
    if observed.shape[2:] not in ((), (1,)):
        raise ValueError(
            f"targets have shape {observed.shape}, expected (n, horizon) or (n, horizon, 1): M4 series are univariate"
        )
    return predicted.reshape(observed.shape[:2]), observed.reshape(observed.shape[:2])


def _is_seasonal(series: NDArray[np.float64], period: int) -> bool:
    """The competition's `SeasonalityTest`: is the autocorrelation at `period` outside its 90 % interval?

    The interval is Bartlett's for a moving average of order period - 1.
    """
    if period == 1 or len(series) < 3 * period or series.min() == series.max():
        return False
    centred = series - series.mean()
    autocorrelation = np.array([centred[lag:] @ centred[:-lag] for lag in range(1, period + 1)]) / (centred @ centred)
    limit = _SEASONALITY_QUANTILE * np.sqrt((1.0 + 2.0 * np.sum(autocorrelation[:-1] ** 2)) / len(series))
    return bool(abs(autocorrelation[-1]) > limit)


def _seasonal_indices(series: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    """Multiplicative seasonal indices, `(period,)`, the first step's first; as R's `decompose` computes them.

    Not finite where a moving average or the mean index is zero.
    """
    # For an even period the average spans period + 1 steps with half weight at both ends, so that it is centred.
    weights = np.full(period, 1.0) if period % 2 else np.concatenate([[0.5], np.ones(period - 1), [0.5]])
    trend = np.convolve(series, weights / period, mode="valid")
    ratios = np.full(-(-len(series) // period) * period, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios[period // 2 : period // 2 + len(trend)] = series[period // 2 : period // 2 + len(trend)] / trend
        table = ratios.reshape(-1, period)
        means = np.nansum(table, axis=0) / np.sum(~np.isnan(table), axis=0)
        return means / means.mean()


def naive2(insample: ArrayLike, horizon: int, seasonality: int) -> NDArray[np.float64]:
    """Naive2, the reference forecast of M4: the last value, seasonally adjusted where the series is seasonal.

    The series counts as seasonal if it spans at least three periods and its autocorrelation at lag `seasonality`
    passes the 90 % test. It is then divided by the indices of a classical multiplicative decomposition (centred moving
    average, mean ratio of each position in the period, mean of the indices 1), its last value repeated, and the
    forecast multiplied by the indices again.

    Same as the organisers' R code (`Benchmarks and Evaluation.R` in the repository M4-methods), save for two cases
    that do not occur in M4. R's `acf` stops at lag 10 log10(T), so there a period longer than that is never found
    seasonal; here it is tested. And where the indices do not give finite forecasts (the last step's index is zero, as
    for a series that ends in a season of zeros), the last value is repeated.

    Args:
        insample: the series up to the forecast, `(T,)` or `(T, 1)`, without NaN; positive values are assumed, as in
            any multiplicative decomposition.
        horizon: steps to forecast, H.
        seasonality: steps in a period. M4: 1 for yearly, weekly and daily series, 4 quarterly, 12 monthly, 24 hourly.

    Returns:
        `(H,)`.
    """
    _check_count(horizon, "horizon")
    _check_count(seasonality, "seasonality")
    series = _as_insample(insample)
    if _is_seasonal(series, seasonality):
        indices = _seasonal_indices(series, seasonality)
        steps = np.arange(len(series), len(series) + horizon)
        with np.errstate(divide="ignore", invalid="ignore"):
            forecast = series[-1] / indices[(len(series) - 1) % seasonality] * indices[steps % seasonality]
        if np.isfinite(forecast).all():
            return forecast
    return np.full(horizon, series[-1])


def _seasonal_change(series: NDArray[np.float64], seasonality: int, name: str) -> float:
    """Mean absolute seasonal difference; exactly 0 where it is no more than rounding."""
    if len(series) <= seasonality:
        raise ValueError(
            f"{name} has {len(series)} steps; MASE with seasonality {seasonality} needs at least {seasonality + 1}"
        )
    change = float(np.abs(series[seasonality:] - series[:-seasonality]).mean())
    return change if change > np.finfo(np.float64).eps * np.abs(series).max() else 0.0


def mase(predictions: ArrayLike, targets: ArrayLike, insamples: Sequence[ArrayLike], seasonality: int) -> float:
    """Mean absolute scaled error: each series' errors in units of its own mean absolute seasonal difference.

    A series that never changes from period to period has no such unit: the organisers' code gives infinity or NaN for
    it, and so for every mean it is part of. It is left out here, which does not depend on the forecasts, so methods
    stay comparable; if no other series is there, the result is NaN. (No series of M4 is such.)

    Args:
        predictions, targets: `(n, horizon)` or `(n, horizon, 1)`, of one shape, in original units.
        insamples: n series up to their forecasts, each `(T_i,)` or `(T_i, 1)`, of any lengths above `seasonality`.
        seasonality: steps in a period, for all series; 1 compares with the step before.

    Returns:
        The mean over all observed values; below 1 is better than the one-step seasonal naive forecast was in-sample.

    Raises:
        ValueError: those of this module; or an insample is too short, holds NaN, or their number is not n.
    """
    _check_count(seasonality, "seasonality")
    predicted, observed = _as_univariate(predictions, targets)
    series = _as_insamples(insamples, len(observed))
    scale = np.array([_seasonal_change(s, seasonality, f"insamples[{i}]") for i, s in enumerate(series)])
    usable = (scale > 0.0) & ~np.isnan(observed).all(axis=1)
    if np.isnan(predicted).any() or not usable.any():
        return float("nan")
    return _mean_error("mae", predicted[usable], observed[usable], scale[usable, None])


def owa(smape: float, mase: float, naive2_smape: float, naive2_mase: float) -> float:
    """Overall weighted average of M4: the mean of sMAPE and MASE, each relative to Naive2's.

    Args:
        smape, mase: of the method, over all series (not a mean of single series' ratios).
        naive2_smape, naive2_mase: of `naive2` on the same series.

    Returns:
        1 for Naive2 itself, lower is better; NaN if Naive2 makes no error at all, where the ratio has no meaning.
    """
    if naive2_smape == 0.0 or naive2_mase == 0.0:
        return float("nan")
    return float((smape / naive2_smape + mase / naive2_mase) / 2.0)


def m4_metrics(
    predictions: ArrayLike, targets: ArrayLike, insamples: Sequence[ArrayLike], seasonality: int
) -> dict[str, float]:
    """The three measures of the M4 competition, and those of its reference forecast on the same series.

    Args:
        predictions, targets: `(n, horizon)` or `(n, horizon, 1)`, in original units; one row for each series.
        insamples: n series up to their forecasts, each `(T_i,)` or `(T_i, 1)`, of unequal lengths.
        seasonality: steps in a period, for all series; see `naive2`.

    Returns:
        `{"smape", "mase", "owa", "naive2_smape", "naive2_mase"}`; see `smape`, `mase`, `owa` and `naive2`.
    """
    predicted, observed = _as_univariate(predictions, targets)
    series = _as_insamples(insamples, len(observed))
    reference = np.stack([naive2(values, observed.shape[1], seasonality) for values in series])
    figures = {
        "smape": smape(predicted, observed),
        "mase": mase(predicted, observed, series, seasonality),
        "naive2_smape": smape(reference, observed),
        "naive2_mase": mase(reference, observed, series, seasonality),
    }
    return {**figures, "owa": owa(**figures)}


__all__ = [
    "compute_forecast_metrics",
    "forecast_metrics",
    "m4_metrics",
    "mae",
    "mase",
    "mse",
    "naive2",
    "owa",
    "smape",
]
