# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What all metrics ask of their input: real numbers, equal shapes (nothing is ever broadcast), at least one value."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..model.measured import unmasked

if TYPE_CHECKING:
    from transformers import EvalPrediction


def as_real_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """`values` as an array of floats: float16 to float64 as they are, without a copy; everything else as float64.

    What `numpy.ma` masks is NaN.
    """
    try:
        array = np.asarray(unmasked(values))
        if np.iscomplexobj(array):
            raise TypeError("complex values")
        return array if array.dtype in (np.float16, np.float32, np.float64) else array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # the last is torch's
        raise ValueError(
            f"{name} must be one array of real numbers, found {type(values).__name__}: {error}"
        ) from error


def as_real_pair(
    predictions: ArrayLike, targets: ArrayLike, shapes: Mapping[int, str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both arrays; raises unless they have one shape, one of `shapes` (axes -> what they are), and hold a value."""
    predicted, observed = as_real_array(predictions, "predictions"), as_real_array(targets, "targets")
    if predicted.shape != observed.shape:
        raise ValueError(
            f"predictions have shape {predicted.shape}, but targets have shape {observed.shape}; they must be equal "
            "(metrics never broadcast): reshape one of them"
        )
    if observed.ndim not in shapes:
        raise ValueError(f"targets have shape {observed.shape}, expected {' or '.join(shapes.values())}")
    if observed.size == 0:
        raise ValueError(f"targets are empty (shape {observed.shape}); a metric needs at least one value")
    return predicted, observed


def check_rows(bad: NDArray[np.bool_], what: str) -> None:
    """Raises, naming the first rows, if any value is marked as bad."""
    if bad.any():
        rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
        raise ValueError(
            f"targets are {what} in {len(rows)} of {len(bad)} rows (first: {rows[:5].tolist()}); drop these rows first"
        )


def predictions_and_labels(eval_prediction: "EvalPrediction") -> tuple[Any, Any]:
    """The one array of predictions and the labels that a `Trainer` gathered; batches of them are joined.

    Raises:
        ValueError: several arrays of predictions came, or no labels.
    """
    predictions: Any = eval_prediction.predictions
    labels: Any = eval_prediction.label_ids
    if isinstance(predictions, list) and isinstance(labels, list):  # eval_do_concat_batches=False
        if all(isinstance(part, np.ndarray) for part in (*predictions, *labels)) and predictions:
            predictions, labels = np.concatenate(predictions), np.concatenate(labels)
    if isinstance(predictions, (tuple, list, dict)):
        raise ValueError(
            f"expected one array of predictions, found a {type(predictions).__name__} of {len(predictions)}: the "
            "trainer gathered further outputs; name them in `keys_to_ignore_at_inference` of the model's config"
        )
    if labels is None:
        raise ValueError("no labels came with the predictions; set label_names=['labels'] in the training arguments")
    return predictions, labels


__all__ = ["as_real_array", "as_real_pair", "check_rows", "predictions_and_labels"]
