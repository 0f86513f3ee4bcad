# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How good quantiles, intervals and probabilities are.

Targets have any shape `(n, ...)`; quantiles have one axis more, the last, for their levels; bounds have the targets'
shape. All work in float64, nothing is broadcast, and three rules hold throughout, as for forecasts:

- A target that is NaN was not observed and is left out: figures are means over all observed values.
- A quantile or bound that is NaN gives NaN, even where the target was not observed.
- Wrong shapes, levels that are not between 0 and 1 and rising, infinite targets, and targets without any observed
  value raise `ValueError`. Bounds may be infinite: such an interval covers, and is infinitely wide.

Tested against scoringrules.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..model.intervals import percent
from .checks import as_real_array, check_rows
from .classification import checked_logits


def _observed_targets(targets: ArrayLike) -> NDArray[np.float64]:
    observed = as_real_array(targets, "targets").astype(np.float64)
    if observed.ndim < 1 or observed.size == 0:
        raise ValueError(f"targets have shape {observed.shape}; a metric needs at least one value")
    check_rows(np.isinf(observed), "infinite")
    if np.isnan(observed).all():
        raise ValueError(f"targets have no observed value: all {observed.size} are NaN; a metric needs at least one")
    return observed


def checked_levels(levels: ArrayLike, name: str = "levels") -> NDArray[np.float64]:
    """Levels `(Q,)` as floats; raises `ValueError` unless they are between 0 and 1 and rising."""
    found = as_real_array(levels, name).astype(np.float64)
    if found.ndim != 1 or not len(found) or not ((found > 0) & (found < 1)).all() or (np.diff(found) <= 0).any():
        raise ValueError(f"{name} must be rising numbers between 0 and 1, found {found.tolist()}")
    return found


def _pinballs(
    quantiles: ArrayLike, targets: ArrayLike, levels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss of every observed value at every level `(observed, Q)`, and the observed values."""
    said, observed = as_real_array(quantiles, "quantiles").astype(np.float64), _observed_targets(targets)
    steps = checked_levels(levels)
    if said.shape != (*observed.shape, len(steps)):
        raise ValueError(
            f"quantiles have shape {said.shape}, expected {(*observed.shape, len(steps))}: the shape of the targets "
            "and a last axis for the levels"
        )
    if np.isnan(said).any():
        return np.full((1, len(steps)), np.nan), np.full(1, np.nan)
    seen = ~np.isnan(observed)
    errors = observed[seen][:, None] - said[seen]
    return np.maximum(steps * errors, (steps - 1) * errors), observed[seen]


def pinball(quantiles: ArrayLike, targets: ArrayLike, levels: ArrayLike) -> float:
    """Mean pinball loss (Koenker and Bassett 1978), in units of the target.

    Args:
        quantiles: `(n, ..., Q)`.
        targets: `(n, ...)`.
        levels: `(Q,)`, rising.

    Returns:
        The mean over observed values and levels of `max(level * (y - q), (level - 1) * (y - q))`.
    """
    return float(_pinballs(quantiles, targets, levels)[0].mean())


def crps(quantiles: ArrayLike, targets: ArrayLike, levels: ArrayLike) -> float:
    """Continuous ranked probability score as far as quantiles tell it: twice the mean pinball loss.

    The finer and the more evenly levels cover 0 to 1, the nearer it is to the score of the whole distribution; with
    the median alone it is the mean absolute error. In units of the target.

    Args:
        quantiles, targets, levels: see `pinball`.
    """
    return 2 * pinball(quantiles, targets, levels)


def weighted_quantile_loss(quantiles: ArrayLike, targets: ArrayLike, levels: ArrayLike) -> float:
    """Twice the sum of pinball losses over the sum of absolute targets, averaged over levels (as GluonTS has it).

    Args:
        quantiles, targets, levels: see `pinball`; in original units, for the figure depends on where zero lies.

    Returns:
        Without unit; NaN where all targets are zero.
    """
    losses, observed = _pinballs(quantiles, targets, levels)
    size = np.abs(observed).sum()
    return float(2 * losses.sum(axis=0).mean() / size) if size else float("nan")


def _bounds(lower: ArrayLike, upper: ArrayLike, targets: ArrayLike | None) -> list[NDArray[np.float64]] | None:
    """Bounds and targets of all observed values, flat; `None`: a bound is NaN."""
    low, high = (as_real_array(x, name).astype(np.float64) for x, name in ((lower, "lower"), (upper, "upper")))
    observed = low if targets is None else _observed_targets(targets)
    if low.shape != high.shape or low.shape != observed.shape or not low.size:
        told = "" if targets is None else f", targets {observed.shape}"
        raise ValueError(f"lower has shape {low.shape}, upper {high.shape}{told}; they must be equal and not empty")
    if np.isnan(low).any() or np.isnan(high).any():
        return None
    seen = ~np.isnan(observed)
    return [low[seen], high[seen], observed[seen]]


def coverage(lower: ArrayLike, upper: ArrayLike, targets: ArrayLike) -> float:
    """Share of observed targets that lie in their interval, bounds included.

    Args:
        lower, upper, targets: `(n, ...)`, of one shape.

    Returns:
        Between 0 and 1.
    """
    parts = _bounds(lower, upper, targets)
    return float("nan") if parts is None else float(((parts[0] <= parts[2]) & (parts[2] <= parts[1])).mean())


def width(lower: ArrayLike, upper: ArrayLike) -> float:
    """Mean width of intervals, in units of the target.

    Args:
        lower, upper: `(n, ...)`, of one shape; an interval whose bounds are in the wrong order is empty, of width 0.
    """
    parts = _bounds(lower, upper, None)
    return float("nan") if parts is None else float(np.maximum(parts[1] - parts[0], 0).mean())


def interval_score(lower: ArrayLike, upper: ArrayLike, targets: ArrayLike, level: float) -> float:
    """Mean interval score (Gneiting and Raftery 2007): width, plus `2 / (1 - level)` times what lies outside.

    Args:
        lower, upper, targets: `(n, ...)`, of one shape.
        level: of the intervals, such as 0.9.

    Returns:
        In units of the target; smaller is better.
    """
    (share,) = checked_levels([level], "level")
    parts = _bounds(lower, upper, targets)
    if parts is None:
        return float("nan")
    low, high, observed = parts
    outside = np.maximum(low - observed, 0) + np.maximum(observed - high, 0)
    return float((high - low + 2 / (1 - share) * outside).mean())


def interval_metrics(lower: ArrayLike, upper: ArrayLike, targets: ArrayLike, level: float) -> dict[str, float]:
    """The three figures of intervals, named after their level.

    Args:
        lower, upper, targets, level: see `interval_score`.

    Returns:
        `{"coverage_90", "width_90", "interval_score_90"}` for a level of 0.9. Widths are of all intervals, also of
        those whose target was not observed.
    """
    name = percent(level)
    return {
        f"coverage_{name}": coverage(lower, upper, targets),
        f"width_{name}": width(lower, upper),
        f"interval_score_{name}": interval_score(lower, upper, targets, level),
    }


def quantile_metrics(quantiles: ArrayLike, targets: ArrayLike, levels: ArrayLike) -> dict[str, float]:
    """The figures of quantiles.

    Args:
        quantiles, targets, levels: see `pinball`.

    Returns:
        `{"pinball", "crps", "weighted_quantile_loss"}`; see the functions of these names.
    """
    return {measure.__name__: measure(quantiles, targets, levels) for measure in _OF_QUANTILES}


_OF_QUANTILES = (pinball, crps, weighted_quantile_loss)


def expected_calibration_error(logits: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """By how much a classifier's probabilities are off, on average (Guo et al. 2017, arXiv 1706.04599).

    Rows are sorted by the probability of the likeliest class into bins of equal width (each includes its upper edge);
    of each bin, the distance between its mean probability and the share of rows that were right counts by its rows.

    Args:
        logits: `(n, num_labels)`, before the softmax.
        labels: `(n,)` class numbers.
        bins: how many.

    Returns:
        Between 0 and 1; NaN if any logit is NaN or +infinite.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    scores, observed = checked_logits(logits, labels)
    if not np.isfinite(scores.max(axis=1)).all():
        return float("nan")
    likeliest = np.exp(scores.max(axis=1) - np.logaddexp.reduce(scores, axis=1))
    right = scores.argmax(axis=1) == observed
    places = np.clip(np.ceil(likeliest * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - likeliest, minlength=bins)  # rows of a bin times its distance
    return float(np.abs(gaps).sum() / len(observed))


def set_metrics(sets: ArrayLike, labels: ArrayLike, level: float) -> dict[str, float]:
    """The two figures of conformal sets, named after their level.

    Args:
        sets: `(n, num_labels)` bool, which classes a row's set holds.
        labels: `(n,)` class numbers.
        level: such as 0.9.

    Returns:
        `{"coverage_90", "set_size_90"}`: the share of sets that hold the label, and the mean number of classes.
    """
    checked_levels([level], "level")
    held: Any = np.asarray(sets)
    if held.dtype != bool:
        raise ValueError(f"sets must be bool, found {held.dtype}")
    _, observed = checked_logits(held.astype(np.float64), labels)
    name = percent(level)
    return {
        f"coverage_{name}": float(held[np.arange(len(observed)), observed].mean()),
        f"set_size_{name}": float(held.sum(axis=1).mean()),
    }


__all__ = [
    "checked_levels", "coverage", "crps", "expected_calibration_error", "interval_metrics", "interval_score",
    "pinball", "quantile_metrics", "set_metrics", "weighted_quantile_loss", "width",
]  # fmt: skip
