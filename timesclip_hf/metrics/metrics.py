# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The figures that this package judges models by: of regression, forecasts, classification and alignment.

Regression: every function takes arrays `(n,)` or `(n, num_targets)` of one shape, works in float64, computes its
figure for each target and returns the plain mean over targets. Shapes that differ, empty arrays, and targets that are
NaN or infinite raise `ValueError`; nothing is broadcast. A prediction that is NaN gives NaN: a diverged model is not a
missing row.

Forecasts: `forecast_errors.py`, whose names are found here too. There, and in `mae`, which serves both, a target that
is NaN was not observed.

Classification: of integer class numbers `(n,)`; as scikit-learn defines the figures.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import EvalPrediction

from .forecast_errors import (
    as_real_array,
    check_pair,
    check_rows,
    compute_forecast_metrics,
    forecast_metrics,
    m4_metrics,
    mae,
    mase,
    mse,
    naive2,
    owa,
    predictions_and_labels,
    smape,
)

# Samples on each side of one block of similarities: 32 MB in float64.
_RETRIEVAL_BLOCK = 2048

# Cosines in float64 that differ by less are equal: copies of a sample come out of a matrix product a rounding apart.
_RETRIEVAL_TOLERANCE = 1e-12


def _as_columns(predictions: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays as float64 `(n, num_targets)`, checked."""
    predicted, observed = (
        as_real_array(values, name).astype(np.float64)
        for values, name in ((predictions, "predictions"), (targets, "targets"))
    )
    check_pair(predicted, observed, ("(n,)", "(n, num_targets)"))
    check_rows(~np.isfinite(observed), "NaN or infinite")
    return predicted.reshape(len(predicted), -1), observed.reshape(len(observed), -1)


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
    return regression_metrics(*predictions_and_labels(eval_prediction))


# ---------------------------------------------------------------------------------------------------------------------
# Classification
# ---------------------------------------------------------------------------------------------------------------------


def _as_classes(values: ArrayLike, name: str) -> NDArray[np.int64]:
    classes = np.asarray(values)
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be whole class numbers of shape (n,), found {classes.dtype} of shape {classes.shape}"
        )
    if classes.size == 0:
        raise ValueError(f"{name} are empty; a metric needs at least one value")
    return classes.astype(np.int64)


def _confusion(
    predictions: ArrayLike, targets: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For each class that occurs on either side: hits, times predicted, times observed."""
    predicted, observed = _as_classes(predictions, "predictions"), _as_classes(targets, "targets")
    if predicted.shape != observed.shape:
        raise ValueError(f"found {len(predicted)} predictions for {len(observed)} targets; they must be as many")
    classes, numbers = np.unique(np.concatenate([predicted, observed]), return_inverse=True)
    predicted, observed = numbers[: len(predicted)], numbers[len(predicted) :]
    count = len(classes)
    hits = np.bincount(observed[predicted == observed], minlength=count)
    return hits, np.bincount(predicted, minlength=count), np.bincount(observed, minlength=count)


def accuracy(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Share of rows whose class is predicted.

    Args:
        predictions: `(n,)` class numbers.
        targets: `(n,)` class numbers.

    Returns:
        Between 0 and 1.
    """
    hits, _, observed = _confusion(predictions, targets)
    return float(hits.sum() / observed.sum())


def balanced_accuracy(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean over classes of the share of their rows that is found, so that a rare class counts as much as a common one.

    Args:
        predictions: `(n,)` class numbers.
        targets: `(n,)` class numbers.

    Returns:
        Between 0 and 1; the mean over classes that occur in the targets.
    """
    hits, _, observed = _confusion(predictions, targets)
    present = observed > 0
    return float((hits[present] / observed[present]).mean())


def macro_f1(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean over classes of F1, the harmonic mean of precision and recall.

    Args:
        predictions: `(n,)` class numbers.
        targets: `(n,)` class numbers.

    Returns:
        Between 0 and 1; the mean over classes that occur in targets or predictions, 0 for one that occurs in one only.
    """
    hits, predicted, observed = _confusion(predictions, targets)
    return float((2.0 * hits / (predicted + observed)).mean())


def classification_metrics(logits: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """The four figures of classification tables.

    Args:
        logits: `(n, num_labels)`, before the softmax; the class of a row is that of its largest logit.
        labels: `(n,)` class numbers from 0 to num_labels - 1.

    Returns:
        `{"accuracy", "balanced_accuracy", "macro_f1", "log_loss"}`, the last in nats: log(num_labels) is a guess
        without any knowledge. All are NaN if any logit is NaN or +infinite: a diverged model has no class to name.

    Raises:
        ValueError: a wrong shape or type, or a label outside 0 .. num_labels - 1.
    """
    scores, observed = as_real_array(logits, "logits").astype(np.float64), _as_classes(labels, "labels")
    if scores.ndim != 2 or len(scores) != len(observed):
        raise ValueError(
            f"logits have shape {scores.shape}, but {len(observed)} labels need ({len(observed)}, num_labels)"
        )
    outside = (observed < 0) | (observed >= scores.shape[1])
    if outside.any():
        raise ValueError(
            f"labels must lie between 0 and {scores.shape[1] - 1} (logits have {scores.shape[1]} columns), found "
            f"{np.unique(observed[outside])[:5].tolist()}"
        )
    highest = scores.max(axis=1)
    if not np.isfinite(highest).all():
        return dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "log_loss"), float("nan"))
    classes = scores.argmax(axis=1)
    shifted = scores - highest[:, None]
    log_likelihood = shifted[np.arange(len(observed)), observed] - np.log(np.exp(shifted).sum(axis=1))
    return {
        "accuracy": accuracy(classes, observed),
        "balanced_accuracy": balanced_accuracy(classes, observed),
        "macro_f1": macro_f1(classes, observed),
        "log_loss": float(-log_likelihood.mean()),
    }


def compute_classification_metrics(eval_prediction: EvalPrediction) -> dict[str, float]:
    """`compute_metrics` of a `Trainer` that fine-tunes `TimesCLIPForClassification`.

    Args:
        eval_prediction: `predictions` is the model's `logits` array `(n, num_labels)`, `label_ids` the labels `(n,)`.

    Returns:
        See `classification_metrics`; the trainer puts `eval_` in front of the keys.
    """
    return classification_metrics(*predictions_and_labels(eval_prediction))


# ---------------------------------------------------------------------------------------------------------------------
# Alignment
# ---------------------------------------------------------------------------------------------------------------------


def retrieval_accuracy(image_embeds: ArrayLike, text_embeds: ArrayLike) -> dict[str, float]:
    """How often a series' two readings find each other among all others: top-1 retrieval by cosine.

    A sample is described by all its variates side by side, as in the global alignment loss. Where k samples are
    equally near, the own one among them, 1 / k is counted, so that embeds that collapsed to one point get chance, 1/n.

    Similarities are computed in blocks: memory grows with n, not with its square (time does).

    Args:
        image_embeds: `(n, V, D)`.
        text_embeds: `(n, V, D)`; row i belongs to row i of `image_embeds`.

    Returns:
        `{"image_to_text_top1", "text_to_image_top1"}`, shares between 0 and 1; both NaN if any embed is not finite.

    Raises:
        ValueError: shapes differ, are not 3-d, or are empty.
    """
    images, texts = as_real_array(image_embeds, "image_embeds"), as_real_array(text_embeds, "text_embeds")
    if images.ndim != 3 or images.shape != texts.shape or images.size == 0:
        raise ValueError(
            f"image_embeds and text_embeds must both be (n, variates, dim), got {images.shape} and {texts.shape}"
        )
    count = len(images)
    starts = range(0, count, _RETRIEVAL_BLOCK)
    own = np.concatenate([(_unit_rows(images, start) * _unit_rows(texts, start)).sum(axis=1) for start in starts])
    if np.isnan(own).any():
        return {"image_to_text_top1": float("nan"), "text_to_image_top1": float("nan")}
    nearer, level = np.zeros((2, count), np.int64), np.zeros((2, count), np.int64)  # of others; the own one included
    for row in starts:
        image_block = _unit_rows(images, row)
        rows = slice(row, row + len(image_block))
        for column in starts:
            similarity = image_block @ _unit_rows(texts, column).T
            columns = slice(column, column + similarity.shape[1])
            for direction, part, reference in ((0, rows, own[rows, None]), (1, columns, own[None, columns])):
                above = similarity > reference + _RETRIEVAL_TOLERANCE
                nearer[direction, part] += above.sum(axis=1 - direction)
                level[direction, part] += (similarity >= reference - _RETRIEVAL_TOLERANCE).sum(axis=1 - direction)
    level -= nearer
    image_to_text, text_to_image = np.where(nearer == 0, 1.0 / level, 0.0).mean(axis=1).tolist()
    return {"image_to_text_top1": image_to_text, "text_to_image_top1": text_to_image}


def _unit_rows(embeds: NDArray[Any], start: int) -> NDArray[np.float64]:
    """One block of samples as float64 `(b, V * D)` of length 1; zero samples stay zero, infinite ones become NaN."""
    rows = embeds[start : start + _RETRIEVAL_BLOCK].reshape(-1, embeds.shape[1] * embeds.shape[2]).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(length == 0.0, 1.0, np.where(np.isfinite(length), length, np.nan))


__all__ = [
    "accuracy",
    "balanced_accuracy",
    "classification_metrics",
    "compute_classification_metrics",
    "compute_forecast_metrics",
    "compute_regression_metrics",
    "forecast_metrics",
    "m4_metrics",
    "macro_f1",
    "mae",
    "mape",
    "mase",
    "mse",
    "naive2",
    "owa",
    "r2",
    "regression_metrics",
    "retrieval_accuracy",
    "rmse",
    "skill",
    "smape",
]
