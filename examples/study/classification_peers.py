# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What stands beside TimesCLIP where classes are told apart: the peers of `timesclip train`, and MiniROCKET."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from timesclip_hf.metrics import classification_metrics
from timesclip_hf.training.peers import Part, Peer, peers_for, scaled_series, static_features

MINIROCKET_KERNELS = 10_000


def minirocket(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Logistic regression on MiniROCKET features of the scaled series and the static columns.

    No series is normalised by itself; the penalty is chosen on validation, by log loss.
    """
    from aeon.transformations.collection.convolution_based import MiniRocket  # slow to import: numba compiles

    series = [np.ascontiguousarray(part.transpose(0, 2, 1)) for part in scaled_series(train, train, validation, test)]
    transform = MiniRocket(MINIROCKET_KERNELS, n_jobs=torch.get_num_threads(), random_state=seed).fit(series[0])
    features = [np.asarray(transform.transform(part)) for part in series]
    scaler = StandardScaler().fit(features[0])
    statics = static_features(train, train, validation, test)
    size = 10 / np.sqrt(features[0].shape[1])  # all kernels together as large as a hundred columns
    inputs, seen, unseen = (
        np.concatenate([scaler.transform(own) * size, static], axis=1)
        for own, static in zip(features, statics, strict=True)
    )
    best: tuple[float, np.ndarray] = (np.inf, np.empty(0))
    for penalty in np.logspace(-3, 3, 13):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=1 / penalty, max_iter=300).fit(inputs, train.labels)
        said = [np.full((len(rows), train.num_classes), 1e-6) for rows in (seen, unseen)]
        for answers, rows in zip(said, (seen, unseen), strict=True):
            answers[:, model.classes_] = np.maximum(model.predict_proba(rows), 1e-6)
        loss = classification_metrics(np.log(said[0]), validation.labels)["log_loss"]
        if loss < best[0]:
            best = (loss, np.log(said[1]))
    return best[1]


def classification_peers(num_classes: int) -> dict[str, Peer]:
    """By their names in tables."""
    return {**peers_for(num_classes), "MiniROCKET + logistic": minirocket}
