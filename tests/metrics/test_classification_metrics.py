# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Figures of classification against hand-worked numbers and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss
from transformers import EvalPrediction

from timesclip_hf.metrics import (
    accuracy,
    balanced_accuracy,
    classification_metrics,
    compute_classification_metrics,
    macro_f1,
)


def test_hand_worked_classification_figures():
    targets, predictions = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 0]
    assert accuracy(predictions, targets) == 3 / 6
    assert balanced_accuracy(predictions, targets) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # F1 = 2 hits / (times predicted + times observed).
    assert macro_f1(predictions, targets) == pytest.approx((4 / (3 + 3) + 2 / (2 + 2) + 0) / 3)
    logits = np.log([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1]])
    assert classification_metrics(logits, [0, 2])["log_loss"] == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


labelled_logits = st.tuples(st.integers(1, 15), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(-10, 10, width=32)),
        arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)),
    )
)


@settings(max_examples=150, deadline=None)
@given(labelled_logits)
def test_classification_figures_equal_their_definitions_and_scikit_learn(pair):
    # Few rows, so that most examples lack some class on one side or on both, or have one class alone.
    logits, labels = pair
    figures = classification_metrics(logits, labels)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    classes = logits.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that only one side has
        expected = {
            "accuracy": accuracy_score(labels, classes),
            "balanced_accuracy": balanced_accuracy_score(labels, classes),
            "macro_f1": f1_score(labels, classes, average="macro"),
            "log_loss": log_loss(labels, probabilities, labels=range(logits.shape[1])),
        }
    assert figures == pytest.approx(expected, rel=1e-9)
    hits = {c: int(np.sum((classes == c) & (labels == c))) for c in {*classes.tolist(), *labels.tolist()}}
    found = [hits[c] / np.sum(labels == c) for c in set(labels.tolist())]
    f1 = [2 * hits[c] / (np.sum(labels == c) + np.sum(classes == c)) for c in hits]
    assert figures["accuracy"] == pytest.approx(sum(hits.values()) / len(labels))
    assert figures["balanced_accuracy"] == pytest.approx(np.mean(found))
    assert figures["macro_f1"] == pytest.approx(np.mean(f1))
    assert all(type(value) is float for value in figures.values())
    hook = compute_classification_metrics(EvalPrediction(predictions=logits, label_ids=labels))
    assert hook == figures


def test_classes_of_one_side_alone_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for predictions, targets in (([0, 1], [0, 0]), ([0, 0], [0, 1]), ([2, 2], [2, 2]), ([3], [1])):
            for metric in (accuracy, balanced_accuracy, macro_f1):
                metric(predictions, targets)


def test_log_loss_of_huge_logits_is_exact_and_a_diverged_model_has_only_nan():
    assert classification_metrics([[1000.0, 0.0]], [1])["log_loss"] == 1000.0
    assert classification_metrics([[-np.inf, 0.0]], [1])["log_loss"] == 0.0
    for bad in (np.nan, np.inf):
        figures = classification_metrics([[bad, 0.0], [1.0, 0.0]], [1, 0])
        assert len(figures) == 4 and all(math.isnan(value) for value in figures.values())


def test_labels_that_are_not_class_numbers_raise():
    logits = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"between 0 and 2 .*found \[3\]"):
        classification_metrics(logits, [0, 3])
    with pytest.raises(ValueError, match=r"found \[-100\]"):
        classification_metrics(logits, [-100, 0])
    with pytest.raises(ValueError, match=r"logits have shape \(2, 3\), but 3 labels"):
        classification_metrics(logits, [0, 1, 2])
    with pytest.raises(ValueError, match="labels must be whole class numbers"):
        classification_metrics(logits, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"labels must be whole class numbers .*\(2, 1\)"):
        classification_metrics(logits, [[0], [1]])
    for metric in (accuracy, balanced_accuracy, macro_f1):
        with pytest.raises(ValueError, match="2 predictions for 1 targets"):
            metric([0, 1], [0])
        with pytest.raises(ValueError, match="empty"):
            metric(np.zeros(0, int), np.zeros(0, int))
