# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From numbers to probabilities of classes: temperatures, logistic regression, softmax; NumPy and scikit-learn."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression


def platt(said: NDArray[Any], labels: NDArray[np.int64]) -> tuple[float, NDArray[Any]]:
    """The temperature and the bias of each class under which answers become probabilities of least log loss.

    As if one sample more had been of all classes alike (Platt 1999): a few answers without an error are no certainty.
    """
    rows, share = np.arange(len(labels)), 1 / (len(labels) + 1)

    def loss(parameters: NDArray[Any]) -> float:
        logs = log_softmax(np.exp(parameters[0]) * said + parameters[1:])
        likely = (1 - share) * logs[rows, labels] + share * logs.mean(axis=1)
        # As much as one sample says that all classes are alike.
        return float(-likely.sum() + 0.5 * np.square(parameters[1:]).sum())

    found = minimize(loss, np.r_[np.log(4.0), np.zeros(said.shape[1])], method="L-BFGS-B")
    return float(np.exp(found.x[0])), found.x[1:]


def logistic(
    inputs: NDArray[Any], targets: NDArray[Any], penalty: float, num_classes: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`(classes, in_features)` and `(classes,)`; a class without a sample is as likely as one in n + 1."""
    present = np.unique(targets)
    weight, bias = np.zeros((num_classes, inputs.shape[1])), np.full(num_classes, -np.log(len(targets) + 1))
    if len(present) == 1:
        bias[present[0]] = 0.0
        return weight, bias
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # far from converged under a small penalty, which then is not the best one
        found = LogisticRegression(C=1 / penalty, max_iter=300).fit(inputs, targets)
    if len(present) == 2:  # one logit, of the second
        weight[present[1]], bias[present[0]], bias[present[1]] = found.coef_[0], 0.0, found.intercept_[0]
    else:
        weight[present] = found.coef_
        bias[present] = found.intercept_
    return weight, bias


def log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


__all__ = ["log_softmax", "logistic", "platt"]
