# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Heads in closed form: towers stay as they are, what they read goes through ridge or logistic regression.

The way for few labels. A regression is fitted on standardised readings and folded into the model's own linear layer,
so that the model saves, pushes, exports, predicts and goes on training like any other.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from torch import nn
from torch.utils.data import DataLoader

from ..data.collator import TimesCLIPDataCollator
from ..model.agreement import check_agreement
from ..model.modeling_timesclip import TimesCLIPForClassification, TimesCLIPForRegression
from ..model.processing_timesclip import TimesCLIPProcessor
from .branch_weights import fit_branch_weights

# Penalties that are tried, relative to readings of spread 1: ridge's alpha, and 1 / C of logistic regression.
RIDGE_PENALTIES = np.logspace(-1, 5, 19)
LOGISTIC_PENALTIES = np.logspace(-2, 4, 13)
_NUM_FOLDS = 10


@dataclass
class FittedHeads:
    """What `fit_head` found out.

    Args:
        branches: whose heads were fitted: `config.branches`, or `["all"]` for one head on all readings.
        penalties: the penalty of each head, by branch; for several targets a list of one each.
        scores: out of fold, by branch and of their weighted `"mean"`: R2 (mean over targets), or the log loss.
        branch_weights: by which the answers are averaged.
        out_of_fold: what the heads say of samples that they were not fitted on `(n, branches, outputs)`, in the units
            of the targets, or logarithms of probabilities.
    """

    branches: list[str]
    penalties: dict[str, Any]
    scores: dict[str, float]
    branch_weights: list[float]
    out_of_fold: NDArray[np.float64] = field(repr=False)


def fit_head(
    model: TimesCLIPForRegression | TimesCLIPForClassification,
    processor: TimesCLIPProcessor,
    train: Any,
    groups: Sequence[Any] | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> FittedHeads:
    """Fits the linear heads of a model in closed form; its towers stay as they are.

    Every series is read once. Of each head, readings are standardised, and ridge (regression) or multinomial logistic
    regression (classes) is fitted with the penalty that does best on samples left out: one at a time (ridge without
    `groups`), else in ten folds. With `branch_fusion="late"` every branch has its own, and `branch_weights` are
    fitted on what the heads say out of fold (see `fit_branch_weights`); else one regression reads all.

    Args:
        model: with `head="linear"`; best with `head_reads="features"` and `variate_selection=None`, for neither a
            projection nor a selection is fitted here. It is changed in place and left in evaluation mode.
        processor: fitted, as the model was built for.
        train: rows with `past_values` and `labels`, as `TimesCLIPDataCollator` takes them, with a length.
        groups: one for each row, such as its farm; rows of a group are left out together.
        batch_size: series that are read at once.
        seed: of the folds.

    Returns:
        Penalties, scores out of fold and weights.

    Raises:
        ValueError: another head, a wrong number of groups, fewer than three labels, or a single class.

    Example:

    ```python
    >>> config = TimesCLIPConfig.from_preset("probe", towers="tiny", num_variates=7, context_length=36)
    >>> processor = TimesCLIPProcessor.from_config(config).fit(train)
    >>> model = TimesCLIPForRegression(processor.complete_config(config))
    >>> fit_head(model, processor, train).scores
    {'vision': 0.71, 'text': 0.78, 'linear': 0.74, 'mean': 0.80}
    ```
    """
    layers = _linear_layers(model)
    check_agreement(processor, model.config, model.task, training=True)
    if groups is not None and len(groups) != len(train):
        raise ValueError(f"groups has {len(groups)} entries, the data {len(train)} rows")
    readings, labels = _read(model, processor, train, layers, batch_size)
    if len(labels) < 3:
        raise ValueError(f"{len(labels)} labelled series are too few: a head needs at least three")
    classes = isinstance(model, TimesCLIPForClassification)
    solve = _solve_classes if classes else _solve_numbers
    targets = labels if classes else _standardised(model, labels)
    penalties, said = {}, []
    for branch, inputs in readings.items():
        means, spreads = inputs.mean(axis=0), inputs.std(axis=0)
        spreads = np.where(spreads > 1e-7 * np.abs(means) + 1e-12, spreads, np.inf)  # constant: told nothing by it
        weight, bias, penalties[branch], answers = solve((inputs - means) / spreads, targets, groups, model, seed)
        weight = weight / spreads
        _write(layers[branch], weight, bias - weight @ means)
        said.append(answers)
    out_of_fold = np.stack(said, axis=1)  # (n, branches, outputs)
    weights = fit_branch_weights(out_of_fold, targets)
    if model.config.branch_fusion == "late":
        model.config.branch_weights = weights
    scores = _scores(list(readings), out_of_fold, targets, weights, classes)
    if not classes:
        out_of_fold = out_of_fold * _target_units(model)[1] + _target_units(model)[0]
    return FittedHeads(list(readings), penalties, scores, weights, out_of_fold)


def _linear_layers(model: Any) -> dict[str, list[nn.Linear]]:
    """The layers whose answers are added up, of each head."""
    if not isinstance(model, (TimesCLIPForRegression, TimesCLIPForClassification)):
        raise ValueError(f"fit_head fits regression and classification models, found {type(model).__name__}")
    if model.config.head != "linear":
        raise ValueError(
            f"fit_head needs head='linear' in the model's configuration, found {model.config.head!r}: build it from "
            "preset 'probe', or with head='linear', head_reads='features', variate_selection=None"
        )
    if model.config.branch_fusion == "late":
        return {name: [head.layer if name == "linear" else head.layers[-1]] for name, head in model.head.items()}
    shortcut = [model.head.shortcut.layer] if model.head.shortcut is not None else []
    return {"all": [model.head.layers[-1], *shortcut]}


@torch.no_grad()
def _read(
    model: Any, processor: TimesCLIPProcessor, train: Any, layers: dict[str, list[nn.Linear]], batch_size: int
) -> tuple[dict[str, NDArray[np.float64]], NDArray[Any]]:
    """What reaches the layers of each head, `(n, in_features)`, and the labels, of rows that have one."""
    seen: dict[nn.Linear, list[NDArray[Any]]] = {layer: [] for parts in layers.values() for layer in parts}

    def keep(layer: Any, inputs: Any) -> None:
        seen[layer].append(inputs[0].double().cpu().numpy())

    hooks = [layer.register_forward_pre_hook(keep) for layer in seen]
    labels: list[NDArray[Any]] = []
    model.eval()
    try:
        for batch in _batches(processor, train, batch_size):
            if "labels" not in batch:
                raise ValueError("train has no 'labels': there is nothing to fit heads on")
            labels.append(batch.pop("labels").numpy())
            model(**{name: value.to(model.device) for name, value in batch.items() if hasattr(value, "to")})
    finally:
        for hook in hooks:
            hook.remove()
    readings = {
        branch: np.concatenate([np.concatenate(seen[layer]) for layer in parts], axis=1)
        for branch, parts in layers.items()
    }
    answers = np.concatenate(labels)
    return readings, answers


def _batches(processor: TimesCLIPProcessor, train: Any, batch_size: int) -> Iterator[dict[str, Any]]:
    loader = DataLoader(train, batch_size, collate_fn=TimesCLIPDataCollator(processor))
    yield from loader


def _target_units(model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    config = model.config
    mean, std = config.target_mean or [0.0] * config.num_targets, config.target_std or [1.0] * config.num_targets
    return np.asarray(mean, np.float64), np.asarray(std, np.float64)


def _standardised(model: Any, labels: NDArray[Any]) -> NDArray[np.float64]:
    mean, std = _target_units(model)
    return (labels.astype(np.float64).reshape(len(labels), -1) - mean) / std


def _folds(targets: NDArray[Any], groups: Any, classes: bool, seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Rows to fit on and rows left out, every row left out once."""
    rows = np.zeros(len(targets))
    if groups is not None:
        names = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
        if names.max() == 0:
            raise ValueError(f"all rows are of one group ({groups[0]!r}): leave groups out")
        return list(GroupKFold(min(_NUM_FOLDS, names.max() + 1)).split(rows, groups=names))
    count = min(_NUM_FOLDS, len(targets))
    if not classes:
        return list(KFold(count, shuffle=True, random_state=seed).split(rows))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # then it is missing in some folds
        count = max(2, min(count, int(np.bincount(targets).max())))
        return list(StratifiedKFold(count, shuffle=True, random_state=seed).split(rows, targets))


def _solve_numbers(
    inputs: NDArray[Any], targets: NDArray[Any], groups: Any, model: Any, seed: int
) -> tuple[NDArray[Any], NDArray[Any], Any, NDArray[Any]]:
    """Weights `(targets, in_features)`, biases, penalties and answers out of fold, target by target."""
    weights, biases, penalties, answers = [], [], [], np.full(targets.shape, np.nan)
    for k in range(targets.shape[1]):
        rows = np.flatnonzero(np.isfinite(targets[:, k]))
        if len(rows) < 3:
            raise ValueError(f"target {k} has {len(rows)} labels, which are too few: a head needs at least three")
        x, y = inputs[rows], targets[rows, k]
        own = [groups[row] for row in rows] if groups is not None else None
        folds = _folds(y, own, False, seed)
        best = RidgeCV(RIDGE_PENALTIES, cv=folds if own is not None else None).fit(x, y)
        for fitted, left_out in folds:
            answers[rows[left_out], k] = Ridge(best.alpha_).fit(x[fitted], y[fitted]).predict(x[left_out])
        weights.append(best.coef_)
        biases.append(best.intercept_)
        penalties.append(float(best.alpha_))
    penalty = penalties[0] if len(penalties) == 1 else penalties
    return np.stack(weights), np.asarray(biases), penalty, answers


def _solve_classes(
    inputs: NDArray[Any], targets: NDArray[Any], groups: Any, model: Any, seed: int
) -> tuple[NDArray[Any], NDArray[Any], Any, NDArray[Any]]:
    """Weights `(classes, in_features)`, biases, the penalty and logarithms of probabilities out of fold."""
    num_classes, present = model.config.num_labels, np.unique(targets)
    if present.min() < 0 or present.max() >= num_classes:
        raise ValueError(f"labels run from {present.min()} to {present.max()}, the model has {num_classes} classes")
    if len(present) < 2:
        raise ValueError(f"all labels are of class {present[0]}: there is nothing to tell apart")
    folds, losses = _folds(targets, groups, True, seed), []
    answers: list[NDArray[Any]] = []
    for penalty in LOGISTIC_PENALTIES:
        said = np.empty((len(targets), num_classes))
        for fitted, left_out in folds:
            weight, bias = _logistic(inputs[fitted], targets[fitted], penalty, num_classes)
            said[left_out] = _log_softmax(inputs[left_out] @ weight.T + bias)
        answers.append(said)
        losses.append(-said[np.arange(len(targets)), targets].mean())
    best = int(np.argmin(losses))
    weight, bias = _logistic(inputs, targets, LOGISTIC_PENALTIES[best], num_classes)
    return weight, bias, float(LOGISTIC_PENALTIES[best]), answers[best]


def _logistic(
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


def _log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@torch.no_grad()
def _write(layers: list[nn.Linear], weight: NDArray[Any], bias: NDArray[Any]) -> None:
    """The columns of a regression into the layers that are added up, the bias into the first."""
    columns = np.split(weight, np.cumsum([layer.in_features for layer in layers])[:-1], axis=1)
    for number, (layer, own) in enumerate(zip(layers, columns, strict=True)):
        layer.weight.copy_(torch.as_tensor(own))
        layer.bias.copy_(torch.as_tensor(bias if number == 0 else np.zeros_like(bias)))


def _scores(
    branches: list[str], said: NDArray[Any], targets: NDArray[Any], weights: list[float], classes: bool
) -> dict[str, float]:
    """How good each head is out of fold, and their mean."""
    parts = {name: said[:, k] for k, name in enumerate(branches)}
    if classes:
        parts["mean"] = np.log(np.einsum("b,nbc->nc", weights, np.exp(said)))
        names = np.arange(said.shape[2])
        return {name: float(log_loss(targets, np.exp(part), labels=names)) for name, part in parts.items()}
    parts["mean"] = np.einsum("b,nbt->nt", weights, said)
    return {name: _r2(targets, part) for name, part in parts.items()}


def _r2(targets: NDArray[Any], said: NDArray[Any]) -> float:
    residual = np.nansum(np.square(targets - said), axis=0)
    total = np.nansum(np.square(targets - np.nanmean(targets, axis=0)), axis=0)
    return float(np.mean(1 - residual / np.where(total > 0, total, np.inf)))


__all__ = ["FittedHeads", "fit_head"]
