# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Figures of classification, of whole class numbers `(n,)`: scikit-learn's."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, f1_score, recall_score

from .checks import as_real_array, predictions_and_labels

if TYPE_CHECKING:
    from transformers import EvalPrediction


def as_classes(values: ArrayLike, name: str) -> NDArray[np.int64]:
    classes = np.asarray(values)
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be whole class numbers of shape (n,), found {classes.dtype} of shape {classes.shape}"
        )
    if classes.size == 0:
        raise ValueError(f"{name} are empty; a metric needs at least one value")
    return classes.astype(np.int64)


def _as_pair(predictions: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both, the targets first, as scikit-learn takes them."""
    predicted, observed = as_classes(predictions, "predictions"), as_classes(targets, "targets")
    if predicted.shape != observed.shape:
        raise ValueError(f"found {len(predicted)} predictions for {len(observed)} targets; they must be as many")
    return observed, predicted


def accuracy(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Share of rows whose class is predicted.

    Args:
        predictions, targets: `(n,)` class numbers.

    Returns:
        Between 0 and 1.
    """
    return float(accuracy_score(*_as_pair(predictions, targets)))


def balanced_accuracy(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean over classes of the share of their rows that is found, so that a rare class counts as much as a common one.

    Args:
        predictions, targets: `(n,)` class numbers.

    Returns:
        Between 0 and 1; the mean over classes that occur in the targets.
    """
    observed, predicted = _as_pair(predictions, targets)
    # `balanced_accuracy_score` is the same, and warns of classes that only the predictions have.
    return float(recall_score(observed, predicted, labels=np.unique(observed), average="macro"))


def macro_f1(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Mean over classes of F1, the harmonic mean of precision and recall.

    Args:
        predictions, targets: `(n,)` class numbers.

    Returns:
        Between 0 and 1; the mean over classes that occur in targets or predictions, 0 for one that occurs in one only.
    """
    return float(f1_score(*_as_pair(predictions, targets), average="macro"))


def checked_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits `(n, num_labels)` and labels `(n,)`; raises `ValueError` for other shapes, types or classes."""
    scores, observed = as_real_array(logits, "logits").astype(np.float64), as_classes(labels, "labels")
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
    return scores, observed


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
    scores, observed = checked_logits(logits, labels)
    if not np.isfinite(scores.max(axis=1)).all():
        return dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "log_loss"), float("nan"))
    classes = scores.argmax(axis=1)
    own = scores[np.arange(len(observed)), observed]
    return {
        "accuracy": accuracy(classes, observed),
        "balanced_accuracy": balanced_accuracy(classes, observed),
        "macro_f1": macro_f1(classes, observed),
        # From logits, which scikit-learn does not take: probabilities that round to 0 have no logarithm.
        "log_loss": float((np.logaddexp.reduce(scores, axis=1) - own).mean()),
    }


def compute_classification_metrics(eval_prediction: "EvalPrediction") -> dict[str, float]:
    """`compute_metrics` of a `Trainer` that fine-tunes `TimesCLIPForClassification`.

    Args:
        eval_prediction: `predictions` is the model's `logits` array `(n, num_labels)`, `label_ids` the labels `(n,)`.
    """
    return classification_metrics(*predictions_and_labels(eval_prediction))


__all__ = [
    "accuracy", "balanced_accuracy", "classification_metrics", "compute_classification_metrics", "macro_f1",
]  # fmt: skip
