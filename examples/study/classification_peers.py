# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The peers that stand beside TimesCLIP where classes are told apart.

As in `regression_peers`, a peer is `(train, validation, test, seed) -> probabilities (n, classes)` for test; it learns
from the train part alone and the validation part chooses penalties and stopping points, by log loss.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from .regression_peers import Part, fill_gaps, flat_features, static_features

MINIROCKET_KERNELS = 10_000


def _num_classes(*parts: Part) -> int:
    return int(max(part.labels.max() for part in parts)) + 1


def _all_classes(probabilities: np.ndarray, present: np.ndarray, count: int, num_rows: int) -> np.ndarray:
    """Columns for classes that training never saw, which are as likely as one in n + 1."""
    full = np.full((len(probabilities), count), 1 / (num_rows + 1))
    full[:, present.astype(int)] = np.clip(probabilities, 1e-12, None)
    return full / full.sum(axis=1, keepdims=True)


def _logistic(blocks: tuple[np.ndarray, ...], train: Part, validation: Part, count: int) -> np.ndarray:
    """Logistic regression on standardised features; the penalty is chosen on validation."""
    inputs, seen, unseen = (block.astype(np.float64) for block in blocks)
    best: tuple[float, np.ndarray] = (np.inf, np.empty(0))
    for penalty in np.logspace(-3, 4, 15):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=1 / penalty, max_iter=300).fit(inputs, train.labels)
        said = [_all_classes(model.predict_proba(x), model.classes_, count, len(inputs)) for x in (seen, unseen)]
        if (loss := log_loss(validation.labels, said[0], labels=np.arange(count))) < best[0]:
            best = (loss, said[1])
    return best[1]


def prior(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """The shares of the classes in training."""
    count = _num_classes(train, validation, test)
    shares = np.bincount(train.labels.astype(int), minlength=count) + 1.0
    return np.tile(shares / shares.sum(), (len(test.labels), 1))


def logistic_regression(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Logistic regression on the flattened series and static columns."""
    count = _num_classes(train, validation, test)
    return _logistic(tuple(flat_features(train, train, validation, test)), train, validation, count)


def gradient_boosting(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Histogram gradient boosting; leaves and number of trees are chosen on validation."""
    count = _num_classes(train, validation, test)
    inputs, seen, unseen = flat_features(train, train, validation, test)
    best: tuple[float, np.ndarray] = (np.inf, np.empty(0))
    for leaves in (4, 8):
        model = HistGradientBoostingClassifier(
            learning_rate=0.1, max_iter=150, max_leaf_nodes=leaves, max_features=0.2, early_stopping=False,
            min_samples_leaf=min(20, max(2, len(inputs) // 20)), random_state=seed,
        ).fit(inputs, train.labels)  # fmt: skip
        stages = zip(model.staged_predict_proba(seen), model.staged_predict_proba(unseen), strict=True)
        for both in stages:
            said = [_all_classes(part, model.classes_, count, len(inputs)) for part in both]
            if (loss := log_loss(validation.labels, said[0], labels=np.arange(count))) < best[0]:
                best = (loss, said[1])
    return best[1]


def minirocket(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Logistic regression on MiniROCKET features of the filled series, not normalised, and the static columns."""
    from aeon.transformations.collection.convolution_based import MiniRocket  # slow to import: numba compiles

    count = _num_classes(train, validation, test)
    mean, std = np.nanmean(train.past_values, axis=(0, 1)), np.nanstd(train.past_values, axis=(0, 1))
    series = []
    for part in (train, validation, test):
        scaled = np.nan_to_num((fill_gaps(part.past_values) - mean) / np.where(std > 1e-8, std, 1))
        series.append(np.ascontiguousarray(scaled.transpose(0, 2, 1), dtype=np.float32))
    transform = MiniRocket(MINIROCKET_KERNELS, n_jobs=torch.get_num_threads(), random_state=seed).fit(series[0])
    features = [np.asarray(transform.transform(part)) for part in series]
    scaler = StandardScaler().fit(features[0])
    statics = static_features(train, train, validation, test)
    blocks = [
        np.concatenate([scaler.transform(f) / np.sqrt(f.shape[1]) * 10, static], axis=1)
        for f, static in zip(features, statics, strict=True)
    ]
    return _logistic((blocks[0], blocks[1], blocks[2]), train, validation, count)


CLASSIFICATION_PEERS: dict[str, Callable[[Part, Part, Part, int], np.ndarray]] = {
    "prior": prior,
    "logistic regression": logistic_regression,
    "gradient boosting": gradient_boosting,
    "MiniROCKET + logistic": minirocket,
}
