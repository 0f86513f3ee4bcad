# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What any model has to beat on the same table and split: a guess, ridge, boosting, ROCKET; numbers and classes alike.

Every peer is a function `(train, validation, test, seed) -> answers for test`: numbers in the target's own units, or,
of classes, scores `(n, classes)` of which the softmax is their probability. What holds for all of them:

- they learn from the train part only; what is left to choose is chosen by cross-validation inside of it (whole `folds`
  at a time) or by the validation part; of the test part only the inputs are read, never the labels;
- missing steps are filled by linear interpolation in time, ends held (trees see the same filled values);
- every statistic (mean, spread, categories) comes from the train part; a category that training never saw becomes
  zeros;
- all see the same static columns: strings as one-hots, numbers standardised.

Grids are small and searched anew in each call, so that a user's own table gets the same care as the default one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ..metrics import rmse
from ..model.preprocessing import fill_missing

ROCKET_KERNELS = 2000
RIDGE_PENALTIES = np.logspace(-2, 5, 15)
LOGISTIC_PENALTIES = np.logspace(-4, 1, 6)  # C of scikit-learn: the inverse
_FOLDS = 5
_TREES = 600
_LEAVES_OF_FEW = 20  # below 400 rows, scikit-learn's 20 rows a leaf would leave trees without a cut


@dataclass(frozen=True)
class Part:
    """One part (train, validation or test) of a split.

    Args:
        past_values: `(n, time, variates)` float; NaN means missing.
        static: `n` rows; numeric and string columns known before the season (latitude, soil, crop, irrigation).
        labels: `(n,)` target in its own units, or class numbers.
        groups: `n` rows of bookkeeping (site, year, crop, soil); only climatology reads it.
        folds: `(n,)` what must not be torn apart by cross-validation (years, sites); `None`: rows are alike.
        num_classes: of a classification; 0: the labels are numbers.
    """

    past_values: np.ndarray
    static: pd.DataFrame
    labels: np.ndarray
    groups: pd.DataFrame
    folds: np.ndarray | None = None
    num_classes: int = 0

    def __post_init__(self) -> None:
        if self.past_values.ndim != 3:
            raise ValueError(f"past_values must be (n, time, variates), but has shape {self.past_values.shape}")
        lengths = [len(self.past_values), len(self.static), len(self.labels), len(self.groups)]
        if len(set(lengths)) != 1:
            raise ValueError(f"past_values, static, labels and groups must have one row each, but have {lengths}")


def joined(first: Part, second: Part) -> Part:
    """Both parts as one, without folds."""
    return Part(
        np.concatenate([first.past_values, second.past_values]),
        pd.concat([first.static, second.static], ignore_index=True),
        np.concatenate([first.labels, second.labels]),
        pd.concat([first.groups, second.groups], ignore_index=True),
        num_classes=first.num_classes,
    )


Peer = Callable[[Part, Part, Part, int], np.ndarray]


# --- inputs ---------------------------------------------------------------------------------------------------------


def fill_gaps(past_values: np.ndarray) -> np.ndarray:
    """Fill NaN by linear interpolation in time with the ends held; a variate never observed in a series stays NaN.

    Args:
        past_values: `(n, time, variates)`.

    Returns:
        `(n, time, variates)` float32.
    """
    observed = ~np.isnan(past_values)
    filled = fill_missing(past_values.astype(np.float64), observed)
    return np.where(observed.any(axis=1)[:, None], filled, np.nan).astype(np.float32)


def scaled_series(train: Part, *parts: Part) -> Iterator[np.ndarray]:
    """Yield every part's gap-filled series, standardised per variate with the train part's mean and spread.

    A variate that a series never observed becomes 0, the train mean. Each array is `(n, time, variates)` float32.
    """
    observed = train.past_values.astype(np.float64)
    mean, std = np.nanmean(observed, axis=(0, 1)), np.nanstd(observed, axis=(0, 1))
    std = np.where(std > 1e-8, std, 1.0)
    for part in parts:
        yield np.nan_to_num((fill_gaps(part.past_values) - mean) / std).astype(np.float32)


def static_features(train: Part, *parts: Part) -> Iterator[np.ndarray]:
    """Yield every part's static columns as `(n, features)` float32, fitted on train.

    Numbers are standardised (missing = train mean = 0), strings become one-hots (unseen in training = all zeros).
    """
    numeric = [name for name in train.static if pd.api.types.is_numeric_dtype(train.static[name])]
    names = [name for name in train.static if name not in numeric]
    scaler = StandardScaler().fit(train.static[numeric]) if numeric else None
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    if names:
        encoder.fit(train.static[names].astype(str))
    for part in parts:
        blocks = [np.zeros((len(part.static), 0))]
        if scaler is not None:
            blocks.append(np.nan_to_num(scaler.transform(part.static[numeric])))
        if names:
            blocks.append(encoder.transform(part.static[names].astype(str)))
        yield np.concatenate(blocks, axis=1).astype(np.float32)


def flat_features(train: Part, *parts: Part) -> Iterator[np.ndarray]:
    """Yield every part's scaled series, flattened, beside its static features: `(n, time * variates + features)`."""
    for series, static in zip(scaled_series(train, *parts), static_features(train, *parts), strict=True):
        yield np.concatenate([series.reshape(len(series), -1), static], axis=1)


# --- peers ----------------------------------------------------------------------------------------------------------


def mean_predictor(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Predict the train mean; of classes, their frequencies in train."""
    if train.num_classes:
        counts = np.bincount(train.labels, minlength=train.num_classes)
        return np.tile(np.log(np.maximum(counts, 1e-3) / counts.sum()), (len(test.labels), 1))
    return np.full(len(test.labels), train.labels.mean())


def ridge(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Ridge (of classes: logistic regression) on the flattened series and static columns, penalty by cross-validation.

    Whole `folds` of the train part are left out, the penalty with the smallest error on what was left out is taken,
    and the model fitted on the whole train part.
    """
    inputs, unseen = (features.astype(np.float64) for features in flat_features(train, train, test))
    build = _logistic if train.num_classes else _ridge
    penalties = LOGISTIC_PENALTIES if train.num_classes else RIDGE_PENALTIES
    errors = np.zeros(len(penalties))
    for kept, out in _folds(train):
        if train.num_classes and len(np.unique(train.labels[kept])) < 2:
            continue
        for number, penalty in enumerate(penalties):
            answers = _answers(build(penalty, inputs[kept], train.labels[kept]), inputs[out], train)
            errors[number] += len(out) * _error(answers, train.labels[out], train)
    return _answers(build(penalties[errors.argmin()], inputs, train.labels), unseen, train)


def gradient_boosting(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Histogram gradient boosting; leaves, columns tried per cut and number of trees are chosen on validation."""
    inputs, seen, unseen = flat_features(train, train, validation, test)
    build: Any = HistGradientBoostingClassifier if train.num_classes else HistGradientBoostingRegressor
    best: tuple[float, int, Any] = (np.inf, 0, None)
    for leaves, share in product((8, 16), (0.1, 0.3)):
        model = build(
            learning_rate=0.05,
            max_iter=_TREES // (6 if train.num_classes > 2 else 1),  # with several classes each round is a tree each
            max_leaf_nodes=leaves,
            max_features=share,
            min_samples_leaf=min(20, max(2, len(inputs) // _LEAVES_OF_FEW)),
            early_stopping=False,
            random_state=seed,
        ).fit(inputs, train.labels)
        errors = [_error(answers, validation.labels, train) for answers in _staged(model, seen, train)]
        best = min(best, (min(errors), int(np.argmin(errors)), model), key=lambda candidate: candidate[0])
    _, trees, model = best
    return next(answers for tree, answers in enumerate(_staged(model, unseen, train)) if tree == trees)


def rocket(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Ridge on ROCKET features of the scaled series (no per-series normalisation) and the static columns.

    ROCKET's kernels sum to zero, so they see little of a series' level: each variate's mean over time is given beside
    them. The penalty, and how much static columns and means weigh against the kernels' features, are chosen on
    validation. Of classes: logistic regression on the same features, chosen alike.
    """
    from aeon.transformations.collection.convolution_based import Rocket  # slow to import: numba compiles

    series = [np.ascontiguousarray(part.transpose(0, 2, 1)) for part in scaled_series(train, train, validation, test)]
    transform = Rocket(ROCKET_KERNELS, normalise=False, n_jobs=torch.get_num_threads(), random_state=seed)
    transform.fit(series[0])
    kernels = [transform.transform(part) for part in series]
    scaler = StandardScaler().fit(kernels[0])
    kernels = [scaler.transform(part) / np.sqrt(part.shape[1]) for part in kernels]  # together as large as one column
    statics = list(static_features(train, train, validation, test))
    best: tuple[float, np.ndarray] = (np.inf, np.empty(0))
    for weight in (0.3, 1.0, 3.0):
        blocks = [
            np.concatenate([weight * static, weight * part.mean(axis=2), kernel], axis=1).astype(np.float64)
            for static, part, kernel in zip(statics, series, kernels, strict=True)
        ]
        centred = [block - blocks[0].mean(axis=0) for block in blocks]
        # Fewer rows than columns: ridge in its dual form, with the products of rows computed once for all penalties.
        grams = [block @ centred[0].T for block in centred]
        for alpha in np.logspace(-2, 2, 9):
            seen, unseen = _kernel_answers(grams, alpha, train)
            error = _error(seen, validation.labels, train)
            if error < best[0]:
                best = (error, unseen)
    return best[1]


def peers_for(num_classes: int) -> dict[str, Peer]:
    """What stands beside a model of a table, by the name in the table; ROCKET only where aeon is installed."""
    names = ("most frequent class", "logistic regression") if num_classes else ("mean", "ridge")
    found = dict(zip(names, (mean_predictor, ridge), strict=True)) | {"gradient boosting": gradient_boosting}
    return found | ({"ROCKET + ridge": rocket} if find_spec("aeon") is not None else {})


# --- what numbers and classes do differently ------------------------------------------------------------------------


def _folds(train: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows that are left out, with what belongs together left out together."""
    groups = train.folds
    if groups is not None and (count := len(np.unique(groups))) > 1:
        return GroupKFold(min(_FOLDS, count)).split(train.labels, groups=groups)
    return KFold(min(_FOLDS, len(train.labels)), shuffle=True, random_state=0).split(train.labels)


def _ridge(penalty: float, inputs: np.ndarray, labels: np.ndarray) -> Any:
    return Ridge(alpha=penalty).fit(inputs, labels)


def _logistic(penalty: float, inputs: np.ndarray, labels: np.ndarray) -> Any:
    return LogisticRegression(C=penalty, max_iter=300).fit(inputs, labels)


def _answers(model: Any, inputs: np.ndarray, train: Part) -> np.ndarray:
    return _scores(model.predict_proba(inputs), model, train) if train.num_classes else model.predict(inputs)


def _scores(probabilities: np.ndarray, model: Any, train: Part) -> np.ndarray:
    """Logarithms of probabilities, `(n, num_classes)`; classes that a fold did not have are all but impossible."""
    whole = np.full((len(probabilities), train.num_classes), 1e-6)
    whole[:, model.classes_] = np.maximum(probabilities, 1e-6)
    return np.log(whole)


def _staged(model: Any, inputs: np.ndarray, train: Part) -> Iterator[np.ndarray]:
    if not train.num_classes:
        return model.staged_predict(inputs)
    return (_scores(probabilities, model, train) for probabilities in model.staged_predict_proba(inputs))


def _error(answers: np.ndarray, labels: np.ndarray, train: Part) -> float:
    if not train.num_classes:
        return rmse(answers, labels)
    own = answers[np.arange(len(labels)), labels]
    return float((np.logaddexp.reduce(answers, axis=1) - own).mean())  # log loss


def _kernel_answers(grams: list[np.ndarray], alpha: float, train: Part) -> tuple[np.ndarray, np.ndarray]:
    """What kernel ridge says of validation and test; of classes, by one-hot targets, spread as probabilities are."""
    targets = np.eye(train.num_classes)[train.labels] if train.num_classes else train.labels
    model = KernelRidge(alpha=alpha, kernel="precomputed").fit(grams[0], targets - targets.mean(axis=0))
    answers = [model.predict(gram) + targets.mean(axis=0) for gram in grams[1:]]
    if train.num_classes:
        answers = [
            np.log(np.clip(answer, 1e-3, None) / np.clip(answer, 1e-3, None).sum(1, keepdims=True))
            for answer in answers
        ]
    return answers[0], answers[1]


__all__ = [
    "Part", "Peer", "fill_gaps", "flat_features", "gradient_boosting", "mean_predictor", "peers_for", "ridge",
    "rocket", "scaled_series", "static_features",
]  # fmt: skip
