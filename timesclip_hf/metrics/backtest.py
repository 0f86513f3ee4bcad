# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How forecasts of many windows compare: units of errors, skill over a baseline, and how sure that is."""

import numpy as np
from numpy.typing import NDArray

# A ratio of errors beyond these says no more than that; as fev-bench clips them.
_LEAST_RATIO, _LARGEST_RATIO = 1e-2, 1e2
_RESAMPLES = 1000


def seasonal_changes(
    values: NDArray[np.float64], offsets: NDArray[np.int64], series: NDArray[np.int64], steps: NDArray[np.int64],
    season: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """How much series change from season to season before some of their steps.

    Args:
        values: `(rows, K)`, series one behind the other, NaN is missing.
        offsets: `(n + 1,)`, where each begins.
        series, steps: `(m,)`, windows: number of the series, and the step before which it is known.
        season: steps in a season.

    Returns:
        Mean absolute change, the unit of MASE, and root mean squared change, `(m, K)` each, over all pairs of steps a
        season apart of which both are observed; NaN where there is no such pair. A series that is too short for one
        counts its changes from step to step.
    """
    found = np.full((2, len(series), values.shape[1]), np.nan)
    codes = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    within = np.arange(len(values)) - offsets[codes]
    low, high = offsets[series], offsets[series] + steps
    for lag in dict.fromkeys((season, 1)):
        changes = np.full(values.shape, np.nan)
        changes[lag:] = values[lag:] - values[:-lag]
        changes[within < lag] = np.nan  # from another series
        size = np.zeros((len(offsets) - 1, values.shape[1]))
        np.maximum.at(size, codes, np.nan_to_num(np.abs(changes)))
        size[size == 0] = 1
        changes /= size[codes]  # or else sums of a small series behind a large one would be rounding noise
        sums = [np.nancumsum(part, axis=0) for part in (np.abs(changes), changes**2, ~np.isnan(changes) * 1.0)]
        padded = [np.concatenate([np.zeros((1, values.shape[1])), part]) for part in sums]
        absolute, squared, count = (part[high] - part[low] for part in padded)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.stack([absolute / count, np.sqrt(np.maximum(squared, 0) / count)]) * size[series]
        found = np.where(np.isnan(found), means, found)
    return found[0], found[1]


def skill_score(errors: NDArray[np.float64], baseline: NDArray[np.float64]) -> float:
    """By how much errors are smaller than a baseline's: 1 - the geometric mean of their ratios (as fev-bench has it).

    Args:
        errors, baseline: `(n,)`, of the same series or windows; pairs with a NaN are left out. Ratios are clipped to
            0.01 to 100.

    Returns:
        1 for no error at all, 0 for the baseline, negative for worse; NaN without any pair.
    """
    ratios = _log_ratios(errors, baseline)
    return float(1 - np.exp(ratios.mean())) if len(ratios) else float("nan")


def skill_interval(
    errors: NDArray[np.float64], baseline: NDArray[np.float64], level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Between which values the skill lies, by 1 000 bootstrap samples of the pairs (percentiles).

    Args:
        errors, baseline: see `skill_score`.
        level: of the interval.
        seed: of the draws.
    """
    ratios = _log_ratios(errors, baseline)
    if not len(ratios):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.array([ratios[rng.integers(0, len(ratios), len(ratios))].mean() for _ in range(_RESAMPLES)])
    low, high = np.quantile(1 - np.exp(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def win_rate(errors: NDArray[np.float64], baseline: NDArray[np.float64]) -> float:
    """Share of pairs in which the error is smaller than the baseline's, equal ones counting half."""
    seen = ~(np.isnan(errors) | np.isnan(baseline))
    if not seen.any():
        return float("nan")
    return float(((errors < baseline)[seen] + 0.5 * (errors == baseline)[seen]).mean())


def _log_ratios(errors: NDArray[np.float64], baseline: NDArray[np.float64]) -> NDArray[np.float64]:
    seen = ~(np.isnan(errors) | np.isnan(baseline))
    a, b = errors[seen], baseline[seen]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where((a == 0) & (b == 0), 1.0, a / b)
    return np.log(np.clip(ratios, _LEAST_RATIO, _LARGEST_RATIO))


__all__ = ["seasonal_changes", "skill_interval", "skill_score", "win_rate"]
