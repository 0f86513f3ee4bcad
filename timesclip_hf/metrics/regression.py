# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Figures of regression: scikit-learn's, for each target, and their plain mean over targets.

The rule of several targets. Each has figures of its own, in its own unit. R2 and percentages have no unit, and have a
mean over targets; RMSE and MAE have one where errors are first divided by each target's spread (`scale`), and it is
then in units of that. Without `scale`, a mean of errors in unlike units stands under the same names, and says little:
the target with the largest numbers decides it.

Every function takes arrays `(n,)` or `(n, num_targets)` of one shape and works in float64. Shapes that differ, empty
arrays, and targets that are NaN or infinite raise `ValueError`; nothing is broadcast. A prediction that is NaN gives
NaN: a diverged model is not a missing row. `mae` serves forecasts, too, and stands there.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.metrics import (
    mean_absolute_percentage_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from ..model.measured import unmasked
from .checks import as_real_pair, check_rows, predictions_and_labels
from .forecasting import mae

if TYPE_CHECKING:
    from transformers import EvalPrediction


def _each_target(
    figure: Callable[[NDArray[np.float64], NDArray[np.float64]], float], predictions: ArrayLike, targets: ArrayLike
) -> NDArray[np.float64]:
    """`figure(observed, predicted)` of each target, `(num_targets,)`; NaN where a prediction is NaN."""
    predicted, observed = as_real_pair(predictions, targets, {1: "(n,)", 2: "(n, num_targets)"})
    check_rows(~np.isfinite(observed), "NaN or infinite")
    columns = [values.reshape(len(values), -1).T.astype(np.float64) for values in (observed, predicted)]
    with config_context(assume_finite=True):  # an infinite prediction says so in the figure
        figures = [figure(*pair) for pair in zip(*columns, strict=True)]
    return np.where(np.isnan(columns[1]).any(axis=1), np.nan, figures)


def _r2_of_one(observed: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return r2_score(observed, predicted) if len(observed) > 1 else float("nan")  # which scikit-learn would warn of


def _mape_of_one(observed: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    defined = observed != 0.0
    return mean_absolute_percentage_error(observed[defined], predicted[defined]) if defined.any() else float("nan")


def rmse(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Root mean squared error, in units of the target.

    Args:
        predictions, targets: `(n,)` or `(n, num_targets)`, of one shape.

    Returns:
        The mean over targets of each target's own root mean squared error; of targets in unlike units see the rule.
    """
    return float(_each_target(root_mean_squared_error, predictions, targets).mean())


def r2(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Coefficient of determination: 1 is perfect, 0 is no better than the mean of these targets.

    A target that is constant counts 1.0 when it is predicted exactly and 0.0 otherwise, and a single row, which has no
    variance to explain, gives NaN.

    Args:
        predictions, targets: `(n,)` or `(n, num_targets)`, of one shape.

    Returns:
        The mean over targets; at most 1, without lower bound.
    """
    return float(_each_target(_r2_of_one, predictions, targets).mean())


def mape(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean absolute percentage error, `100 * mean(|prediction - target| / |target|)`.

    Rows whose target is exactly zero have no percentage and are left out (scikit-learn divides by a tiny number);
    where a target has no other row, the result is NaN. Rows near zero count in full, so a few failed crops can make
    this figure very large: that is what the definition says of such data, and RMSE and MAE are then the figures to
    read.

    Args:
        predictions, targets: `(n,)` or `(n, num_targets)`, of one shape.

    Returns:
        Percent (12.5 means 12.5 %), the mean over targets.
    """
    return float(100.0 * _each_target(_mape_of_one, predictions, targets).mean())


def skill(predictions: ArrayLike, targets: ArrayLike, reference: ArrayLike) -> float:
    """Share of a reference's mean squared error that the predictions remove, `1 - MSE(predictions) / MSE(reference)`.

    With climatology (the training mean of each site and crop, say) as reference this is the usual skill score: 1 is
    perfect, 0 no better than the reference, negative worse.

    Args:
        predictions, targets: `(n,)` or `(n, num_targets)`, of one shape.
        reference: the reference's predictions of the same targets, the same shape.

    Returns:
        The mean over targets; NaN if the reference predicts a target without any error, where skill has no meaning.
    """
    error, expected = (_each_target(mean_squared_error, values, targets) for values in (predictions, reference))
    return float((1.0 - error / np.where(expected == 0.0, np.nan, expected)).mean())


def regression_metrics(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    scale: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """The four figures that every regression table of this package shows, of several targets for each, too.

    Args:
        predictions, targets: `(n,)` or `(n, num_targets)`, of one shape, in units of the target.
        scale: of several targets the spread of each, `(num_targets,)`, by which errors are divided before `"rmse"` and
            `"mae"` are taken over all of them; see the rule above.
        names: of several targets their names; not given: `"target_0"`, `"target_1"`, ...

    Returns:
        `{"rmse", "mae", "r2", "mape"}`; see the functions of these names. Of several targets also the four of each, in
        its own unit: `"target_0_rmse"`, `"target_0_mae"`, ...

    Raises:
        ValueError: another number of spreads or names than of targets, or spreads that are not above 0.
    """
    found = {metric.__name__: metric(predictions, targets) for metric in _FIGURES}
    said, observed = (np.asarray(unmasked(values), np.float64) for values in (predictions, targets))
    if observed.ndim < 2 or (count := observed.shape[1]) == 1:
        return found
    names = [f"target_{k}" for k in range(count)] if names is None else list(names)
    spreads = None if scale is None else np.asarray(scale, np.float64)
    if len(names) != count or (spreads is not None and (spreads.shape != (count,) or not (spreads > 0).all())):
        given = f"names {names}" if len(names) != count else f"scale {scale}"
        raise ValueError(f"{given}: expected one for each of {count} targets, and every spread above 0")
    if spreads is not None:
        found |= {metric.__name__: metric(said / spreads, observed / spreads) for metric in (rmse, mae)}
    for k, name in enumerate(names):
        found |= {f"{name}_{metric.__name__}": metric(said[:, k], observed[:, k]) for metric in _FIGURES}
    return found


_FIGURES = (rmse, mae, r2, mape)


def compute_regression_metrics(
    eval_prediction: "EvalPrediction", scale: Sequence[float] | None = None, names: Sequence[str] | None = None
) -> dict[str, float]:
    """`compute_metrics` of a `Trainer` that fine-tunes `TimesCLIPForRegression`.

    Args:
        eval_prediction: `predictions` is the model's `predictions` array, `label_ids` the labels, both
            `(n, num_targets)` in original units.
        scale, names: see `regression_metrics`; `TimesCLIPTrainer` gives each target's spread in the training part
            (`config.target_std`) and the processor's `target_names`.
    """
    return regression_metrics(*predictions_and_labels(eval_prediction), scale=scale, names=names)


__all__ = ["compute_regression_metrics", "mape", "r2", "regression_metrics", "rmse", "skill"]
