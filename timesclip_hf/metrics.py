# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Errors of point predictions, in the units of the target.

Every function takes arrays `(n,)` or `(n, num_targets)` of one shape, works in float64, computes its figure for each
target and returns the plain mean over targets. Shapes that differ, empty arrays, and targets that are NaN or infinite
raise `ValueError`; nothing is broadcast. A prediction that is NaN gives NaN: a diverged model is not a missing row.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import EvalPrediction


def _as_columns(predictions: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays as float64 `(n, num_targets)`, checked."""
    predicted, observed = (
        _as_float64(values, name) for values, name in ((predictions, "predictions"), (targets, "targets"))
    )
    if predicted.shape != observed.shape:
        raise ValueError(
            f"predictions have shape {predicted.shape}, but targets have shape {observed.shape}; they must be equal "
            "(metrics never broadcast): reshape one of them"
        )
    if observed.ndim not in (1, 2):
        raise ValueError(f"targets have shape {observed.shape}, expected (n,) or (n, num_targets)")
    if observed.size == 0:
        raise ValueError(f"targets are empty (shape {observed.shape}); a metric needs at least one value")
    if not np.isfinite(observed).all():
        rows = np.unique(np.argwhere(~np.isfinite(observed))[:, 0])
        raise ValueError(
            f"targets are NaN or infinite in {len(rows)} of {len(observed)} rows (first: {rows[:5].tolist()}); "
            "drop these rows first"
        )
    return predicted.reshape(len(predicted), -1), observed.reshape(len(observed), -1)


def _as_float64(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
        if np.iscomplexobj(array):
            raise TypeError("complex values")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be one array of real numbers, found {type(values).__name__}: {error}"
        ) from error


def rmse(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Root mean squared error, in units of the target.

    Args:
        predictions: `(n,)` or `(n, num_targets)`.
        targets: the same shape.

    Returns:
        The mean over targets of each target's own root mean squared error.
    """
    predicted, observed = _as_columns(predictions, targets)
    return float(np.sqrt(np.mean((predicted - observed) ** 2, axis=0)).mean())


def mae(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean absolute error, in units of the target.

    Args:
        predictions: `(n,)` or `(n, num_targets)`.
        targets: the same shape.

    Returns:
        The mean over rows and targets.
    """
    predicted, observed = _as_columns(predictions, targets)
    return float(np.mean(np.abs(predicted - observed)))


def r2(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Coefficient of determination: 1 is perfect, 0 is no better than the mean of these targets.

    As scikit-learn's `r2_score(targets, predictions, multioutput="uniform_average")`: a target that is constant counts
    1.0 when it is predicted exactly and 0.0 otherwise, and a single row, which has no variance to explain, gives NaN.

    Args:
        predictions: `(n,)` or `(n, num_targets)`.
        targets: the same shape.

    Returns:
        The mean over targets; at most 1, without lower bound.
    """
    predicted, observed = _as_columns(predictions, targets)
    if len(observed) < 2:
        return float("nan")
    residual = ((predicted - observed) ** 2).sum(axis=0)
    total = ((observed - observed.mean(axis=0)) ** 2).sum(axis=0)
    explained = 1.0 - residual / np.where(total == 0.0, 1.0, total)
    constant = np.where(np.isnan(residual), np.nan, (residual == 0.0).astype(np.float64))
    return float(np.where(total == 0.0, constant, explained).mean())


def mape(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean absolute percentage error, `100 * mean(|prediction - target| / |target|)`.

    Rows whose target is exactly zero have no percentage and are left out; where a target has no other row, the result
    is NaN. Rows near zero count in full, so a few failed crops can make this figure very large: that is what the
    definition says of such data, and RMSE and MAE are then the figures to read.

    Args:
        predictions: `(n,)` or `(n, num_targets)`.
        targets: the same shape.

    Returns:
        Percent (12.5 means 12.5 %), the mean over targets.
    """
    predicted, observed = _as_columns(predictions, targets)
    defined = observed != 0.0
    if not defined.any(axis=0).all():
        return float("nan")
    ratios = np.abs(predicted - observed) / np.where(defined, np.abs(observed), 1.0)
    return float(100.0 * (np.where(defined, ratios, 0.0).sum(axis=0) / defined.sum(axis=0)).mean())


def skill(predictions: ArrayLike, targets: ArrayLike, reference: ArrayLike) -> float:
    """Share of a reference's mean squared error that the predictions remove, `1 - MSE(predictions) / MSE(reference)`.

    With climatology (the training mean of each site and crop, say) as reference this is the usual skill score: 1 is
    perfect, 0 no better than the reference, negative worse.

    Args:
        predictions: `(n,)` or `(n, num_targets)`.
        targets: the same shape.
        reference: the reference's predictions of the same targets, the same shape.

    Returns:
        The mean over targets; NaN if the reference predicts a target without any error, where skill has no meaning.
    """
    predicted, observed = _as_columns(predictions, targets)
    baseline, _ = _as_columns(reference, targets)
    error = ((predicted - observed) ** 2).mean(axis=0)
    reference_error = ((baseline - observed) ** 2).mean(axis=0)
    return float((1.0 - error / np.where(reference_error == 0.0, np.nan, reference_error)).mean())


def regression_metrics(predictions: ArrayLike, targets: ArrayLike) -> dict[str, float]:
    """The four figures that every regression table of this package shows.

    Args:
        predictions: `(n,)` or `(n, num_targets)`, in units of the target.
        targets: the same shape.

    Returns:
        `{"rmse", "mae", "r2", "mape"}`; see the functions of these names.
    """
    return {
        "rmse": rmse(predictions, targets),
        "mae": mae(predictions, targets),
        "r2": r2(predictions, targets),
        "mape": mape(predictions, targets),
    }


def compute_regression_metrics(eval_prediction: EvalPrediction) -> dict[str, float]:
    """`compute_metrics` of a `Trainer` that fine-tunes `TimesCLIPForRegression`.

    Args:
        eval_prediction: `predictions` is the model's `predictions` array, `label_ids` the labels, both
            `(n, num_targets)` in original units.

    Returns:
        See `regression_metrics`; the trainer puts `eval_` in front of the keys.
    """
    predictions: Any = eval_prediction.predictions
    if isinstance(predictions, (tuple, list, dict)):
        raise ValueError(
            f"expected one array of predictions, found a {type(predictions).__name__} of {len(predictions)}: the "
            "trainer gathered further outputs; name them in `keys_to_ignore_at_inference` of the model's config"
        )
    labels: Any = eval_prediction.label_ids
    if labels is None:
        raise ValueError("no labels came with the predictions; set label_names=['labels'] in the training arguments")
    return regression_metrics(predictions, labels)


__all__ = ["compute_regression_metrics", "mae", "mape", "r2", "regression_metrics", "rmse", "skill"]
