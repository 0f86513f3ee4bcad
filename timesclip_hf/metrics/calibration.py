# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Split-conformal calibration as arithmetic (Vovk et al. 2005; Lei et al. 2018): from scores to thresholds.

A score says how far off an answer was; the threshold of a level is the score that so large a share of known answers
does not exceed, counted for one more sample: the ceil((n + 1) * level)-th smallest of n. Under exchangeability a new
answer's score exceeds it in at most 1 - level of all cases, and in at least 1 - level - 1 / (n + 1) where no two are
equal. Where n is too small for that, the threshold is infinite: nothing can be promised.

Scores have any shape `(n, ...)`; each place behind the first axis has thresholds of its own (a target, or a step of a
forecast), and a score that is NaN was not observed and counts nowhere. `model.intervals` applies thresholds. Tested
against crepes.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar, nnls

from .checks import as_real_array
from .classification import checked_logits
from .probabilistic import checked_levels

# Samples below which spreads are not looked at: two numbers fitted to fewer would say little.
_LEAST_FOR_SPREADS = 20


def absolute_scores(predictions: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """`|y - f|` `(n, ...)`, NaN where the target is.

    Raises:
        ValueError: shapes differ, nothing there, or predictions that are not finite.
    """
    said, wanted = (as_real_array(x, name).astype(np.float64) for x, name in _pair(predictions, targets))
    if said.shape != wanted.shape or said.ndim < 1 or not len(said):
        raise ValueError(f"predictions have shape {said.shape}, targets {wanted.shape}; they must be equal, not empty")
    if not np.isfinite(said).all():
        raise ValueError("predictions are not finite: there is nothing to calibrate")
    return np.abs(wanted - said)


def _pair(predictions: ArrayLike, targets: ArrayLike) -> Any:
    return ((predictions, "predictions"), (targets, "targets"))


def quantile_scores(lower: ArrayLike, upper: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """`max(lower - y, y - upper)` `(n, ...)`, below 0 inside the interval (Romano et al. 2019, arXiv 1905.03222)."""
    absolute_scores(lower, targets)
    absolute_scores(upper, targets)
    low, high, wanted = (np.asarray(values, np.float64) for values in (lower, upper, targets))
    return np.maximum(low - wanted, wanted - high)


def class_scores(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """1 minus the probability of the label, `(n,)` (Sadinle et al. 2019, arXiv 1609.00451)."""
    scores, observed = checked_logits(logits, labels)
    return 1 - np.exp(scores[np.arange(len(observed)), observed] - np.logaddexp.reduce(scores, axis=1))


def conformal_threshold(scores: ArrayLike, level: float) -> NDArray[np.float64]:
    """The ceil((n + 1) * level)-th smallest of n observed scores, infinite where n is smaller than that.

    Args:
        scores: `(n, ...)`, NaN = not observed.
        level: such as 0.9.

    Returns:
        `(...)`.
    """
    (share,) = checked_levels([level], "level")
    ordered = np.sort(as_real_array(scores, "scores").astype(np.float64), axis=0)  # NaN last
    if ordered.ndim < 1:
        raise ValueError("scores must have an axis of samples")
    known = (~np.isnan(ordered)).sum(axis=0)
    place = np.ceil((known + 1) * share - 1e-9).astype(int)
    padded = np.concatenate([ordered, np.full((1, *ordered.shape[1:]), np.inf)])
    found = np.take_along_axis(padded, np.where(place <= known, place - 1, len(ordered))[None], axis=0)[0]
    return np.asarray(found, np.float64)


def fewest_samples(level: float) -> int:
    """The samples from which on a threshold of this level is finite."""
    return math.ceil(level / (1 - level) - 1e-9)


def conformal_thresholds(scores: ArrayLike, levels: Sequence[float]) -> NDArray[np.float64]:
    """`conformal_threshold` of several levels, `(levels, ...)`."""
    return np.stack([conformal_threshold(scores, level) for level in levels])


def group_rows(groups: Sequence[Any]) -> dict[str, NDArray[np.int64]]:
    """The samples of each group, by its name as text, in the order of their first one (Mondrian)."""
    names = np.asarray([str(name) for name in groups])
    return {str(name): np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}


def fit_spread_scale(scores: ArrayLike, spreads: ArrayLike) -> NDArray[np.float64]:
    """How absolute errors grow with what a model says of its own spread: `a + b * spread`, neither below 0.

    By least squares, for each place, of errors and spreads in units of their mean; a line that is nowhere above 0 is
    replaced by `a = 1`. Two numbers that the same samples tell whose scores are compared later: for dozens of samples
    and more, what this costs of the coverage cannot be measured (examples/RESULTS.md).

    Args:
        scores: `(n, ...)` absolute errors, NaN = not observed.
        spreads: `(n, ...)`, 0 or more.

    Returns:
        `(..., 2)`: a and b; for fewer than 20 observed samples 1 and 0, as if nothing was known of spreads.
    """
    errors, widths = as_real_array(scores, "scores").astype(np.float64), as_real_array(spreads, "spreads")
    if errors.shape != widths.shape:
        raise ValueError(f"scores have shape {errors.shape}, spreads {widths.shape}; they must be equal")
    places = errors.reshape(len(errors), -1), widths.astype(np.float64).reshape(len(errors), -1)
    found = np.stack([_line(*place) for place in zip(places[0].T, places[1].T, strict=True)])
    return found.reshape(*errors.shape[1:], 2)


def _line(errors: NDArray[np.float64], spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    seen = np.isfinite(errors) & np.isfinite(spreads)
    errors, spreads = errors[seen], spreads[seen]
    typical, usual = (errors.mean(), spreads.mean()) if len(errors) else (0.0, 0.0)
    if len(errors) < _LEAST_FOR_SPREADS or not typical > 0 or not usual > 0:
        return np.array([1.0, 0.0])
    line, _ = nnls(np.stack([np.ones(len(errors)), spreads / usual], axis=1), errors / typical)
    least = 1e-3 * line.sum()  # a spread of 0 would make a threshold of a finite error infinite
    return np.array([max(line[0], least) * typical, line[1] * typical / usual])


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The number by which logits are divided so that the log loss is least (Guo et al. 2017, arXiv 1706.04599).

    As if one sample more had been of all classes alike (Platt 1999): a few answers without an error are no certainty.

    Args:
        logits: `(n, num_labels)`.
        labels: `(n,)` class numbers.

    Returns:
        Between 0.05 and 20, rounded to six digits.
    """
    scores, observed = checked_logits(logits, labels)
    if not np.isfinite(scores.max(axis=1)).all():
        raise ValueError("logits are not finite: there is nothing to calibrate")

    share = 1 / (len(observed) + 1)
    middles = np.maximum(scores, scores.max(axis=1, keepdims=True) - 100).mean(axis=1)  # classes may be impossible

    def loss(log_temperature: float) -> float:
        cooled = scores / np.exp(log_temperature)
        likely = (1 - share) * cooled[np.arange(len(observed)), observed] + share * middles / np.exp(log_temperature)
        return float((np.logaddexp.reduce(cooled, axis=1) - likely).mean())

    found = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded")
    return float(f"{math.exp(found.x):.6g}")


__all__ = [
    "absolute_scores", "class_scores", "conformal_threshold", "conformal_thresholds", "fewest_samples",
    "fit_spread_scale", "fit_temperature", "group_rows", "quantile_scores",
]  # fmt: skip
