# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Heads in closed form: towers stay as they are, what they read goes through kernels, ridge or logistic regression.

The way for few labels. What is fitted is written into the model's own heads, so that the model saves, pushes, exports
and predicts like any other, and linear heads go on training. `head="linear"`: ridge, or multinomial logistic
regression. `head="kernel"`, and `kernel_shortcut`: kernel ridge (see `kernels`), and `shape_features`: ridge on what
is read of shapes; both for classes on their indicators, and the answers out of fold then become probabilities by one
temperature and a bias for each class (Platt scaling).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from torch import nn
from torch.utils.data import DataLoader, Subset

from ..data.collator import TimesCLIPDataCollator
from ..features.plots import read_plots
from ..model.agreement import check_agreement
from ..model.heads import FittedLinear, KernelLayer, SeriesPath
from ..model.layers import FittedLayer
from ..model.modeling_timesclip import TimesCLIPForClassification, TimesCLIPForRegression
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.shapes import series_to_fit
from .branch_weights import fit_branch_weights
from .class_probabilities import log_softmax, logistic, platt
from .kernels import MAX_CENTERS, KernelRidge, choose_space

# Penalties that are tried, relative to readings of spread 1: ridge's alpha, and 1 / C of logistic regression.
RIDGE_PENALTIES = np.logspace(-1, 5, 19)
LOGISTIC_PENALTIES = np.logspace(-2, 4, 13)
_NUM_FOLDS = 10


@dataclass
class FittedHeads:
    """What `fit_head` found out.

    Args:
        branches: whose heads were fitted: of `config.branches`, or `["all"]` for one head on all readings.
        penalties: the penalty of each head, by branch; for several targets a list of one each.
        scores: out of fold, by branch and of their weighted `"mean"`: R2 (mean over targets), or the log loss.
        branch_weights: by which the answers are averaged.
        out_of_fold: what the heads say of samples that they were not fitted on `(n, branches, outputs)`, in the units
            of the targets, or logarithms of probabilities.
        labels: what came of these: `(n, targets)` in their units, or `(n,)` class numbers.
    """

    branches: list[str]
    penalties: dict[str, Any]
    scores: dict[str, float]
    branch_weights: list[float]
    out_of_fold: NDArray[np.float64] = field(repr=False)
    labels: NDArray[Any] = field(repr=False, default_factory=lambda: np.zeros(0))


def fit_head(
    model: TimesCLIPForRegression | TimesCLIPForClassification,
    processor: TimesCLIPProcessor,
    train: Any,
    groups: Sequence[Any] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    max_centers: int = MAX_CENTERS,
    validation: Any = None,
) -> FittedHeads:
    """Fits the kernel and linear heads of a model in closed form; its towers stay as they are.

    Every series is read once. Each head is fitted on its standardised readings with the penalty (and the kernel) that
    does best on samples left out: one at a time, or with `groups` a group at a time; linear heads of classes and
    linear heads with groups in ten folds. With `branch_fusion="late"` every branch has its own, and `branch_weights`
    are fitted on what the heads say out of fold (see `fit_branch_weights`); else one regression reads all.

    A saved kernel head holds the readings of the series that it was fitted on, and a kernel on the series themselves
    these, scaled: do not share it where the data must not be shared. The model card says so, too.

    Args:
        model: with `head="kernel"` or `"linear"` (preset `"probe"`); best with `head_reads="features"` and
            `variate_selection=None`, for neither a projection nor a selection is fitted here. Of a model with
            `head="mlp"` the `kernel_shortcut` and shapes alone are fitted, and no weights. It is changed in place and
            left in evaluation mode.
        processor: fitted, as the model was built for.
        train: rows with `past_values` and `labels`, as `TimesCLIPDataCollator` takes them, with a length.
        groups: one for each row, such as its farm; rows of a group are left out together.
        batch_size: series that are read at once.
        seed: of folds, and of what stands for all rows where there are many.
        max_centers: series that a kernel head compares with, at random where there are more.
        validation: rows like those of `train` that heads do not learn from: errors on them count, too, wherever
            errors on samples left out choose (penalties, kernels, weights of branches). Worth it where labels are few
            and set apart in any case; else let heads learn from them. Where answers will be asked for groups (places)
            that nobody has seen, give `groups` alone: rows of known ones choose too boldly.

    Returns:
        Penalties, scores out of fold and weights.

    Raises:
        ValueError: another head, an ensemble, more readings than a kernel may hold, a wrong number of groups, fewer
            than three labels, or a single class.

    Example:

    ```python
    >>> config = TimesCLIPConfig.from_preset("probe", towers="tiny", num_variates=7, context_length=36)
    >>> processor = TimesCLIPProcessor.from_config(config).fit(train)
    >>> model = TimesCLIPForRegression(processor.complete_config(config))
    >>> fit_head(model, processor, train).branches  # `scores` has the R2 of each out of fold, and of their mean
    ['vision', 'text', 'series', 'shapes']
    ```
    """
    layers = _closed_layers(model)
    check_agreement(processor, model.config, model.task, training=True)
    if groups is not None and len(groups) != len(train):
        raise ValueError(f"groups has {len(groups)} entries, the data {len(train)} rows")
    if len(train) < 3:
        raise ValueError(f"{len(train)} labelled series are too few: a head needs at least three")
    _draw_shapes(model, processor, train, batch_size, seed)
    readings, labels = _read(model, processor, train, layers, batch_size)
    classes, num_classes = isinstance(model, TimesCLIPForClassification), model.config.num_labels or 0
    targets = _checked_classes(labels, num_classes) if classes else _standardised(model, labels)
    seen: dict[str, NDArray[Any]] = {}
    checked = None
    if validation is not None:
        seen, others = _read(model, processor, validation, layers, batch_size)
        checked = _checked_classes(others, num_classes, 1) if classes else _standardised(model, others)
    fit = _Fit(targets, classes, num_classes, _owners(groups), seed, max_centers, checked)
    penalties, said, said_of_seen = {}, [], []
    for branch, inputs in readings.items():
        if isinstance(layers[branch][0], FittedLayer):
            beside, choices = _num_beside(model.config, branch), _kernel_columns(model, branch)
            found = fit.kernel(layers[branch][0], inputs, beside, choices, seen.get(branch))
        else:
            found = fit.linear(layers[branch], inputs, seen.get(branch))
        penalties[branch] = found[0]
        said.append(found[1])
        said_of_seen.append(found[2])
    if any(isinstance(parts[0], FittedLayer) for parts in layers.values()):
        model.config.num_centers = min(len(targets), max_centers)
    out_of_fold = np.stack(said, axis=1)  # (n, branches, outputs)
    if checked is None:
        weights = fit_branch_weights(out_of_fold, targets)
    else:
        both = np.concatenate([out_of_fold, np.stack(said_of_seen, axis=1)])
        weights = fit_branch_weights(both, np.concatenate([targets, checked]))
    if model.config.branch_fusion == "late" and list(readings) == model.config.branches:
        model.config.branch_weights = weights
    model.config.calibration = None  # of the heads as they were
    scores = _scores(list(readings), out_of_fold, targets, weights, classes)
    if not classes:
        out_of_fold = out_of_fold * _target_units(model)[1] + _target_units(model)[0]
    known = labels if classes else labels.reshape(len(labels), -1)
    return FittedHeads(list(readings), penalties, scores, weights, out_of_fold, known)


def out_of_fold(heads: FittedHeads) -> tuple[dict[str, NDArray[np.float64]], NDArray[Any]]:
    """What the model as a whole says of samples that its heads were not fitted on, as its output has it; and labels.

    The weights of the branches are the only thing that these samples had a part in.
    """
    said, weights = heads.out_of_fold, np.asarray(heads.branch_weights)
    if heads.labels.ndim == 1:
        return {
            "logits": np.logaddexp.reduce(said + np.log(np.maximum(weights, 1e-12))[:, None], axis=1)
        }, heads.labels
    mean = np.einsum("b,nbt->nt", weights, said)
    found = {"predictions": mean}
    if said.shape[1] > 1:
        found["spreads"] = np.sqrt(np.einsum("b,nbt->nt", weights, np.square(said - mean[:, None])))
    return found, heads.labels


def _num_beside(config: Any, branch: str) -> int:
    """Numbers behind all that is read of a series, which weigh as a block: static values; of shapes, levels, too."""
    levels = config.num_variates * (1 + 2 * config.use_loc_scale) if branch == "shapes" else 0
    return int(config.num_static_features + levels)


def _kernel_columns(model: Any, branch: str) -> list[Any]:
    """Columns before the static values that a kernel may choose to read: series, or their running sums."""
    config = model.config
    if branch != "series" or not (config.kernel_shortcut and config.kernel_sums):
        return [slice(None)]
    half, level = config.num_variates * config.context_length, 2 * config.num_variates * config.use_loc_scale
    return [np.r_[first : first + half, 2 * half : 2 * half + level] for first in (0, half)]


def _closed_layers(model: Any) -> dict[str, list[Any]]:
    """What is fitted of each head: a kernel, or the linear layers whose answers are added up."""
    if not isinstance(model, (TimesCLIPForRegression, TimesCLIPForClassification)):
        raise ValueError(f"fit_head fits regression and classification models, found {type(model).__name__}")
    config = model.config
    if config.ensemble_size > 1:
        raise ValueError(f"model is an ensemble of {config.ensemble_size}: fit its models apart, then join_models")
    if config.head not in ("linear", "kernel") and not config.kernel_shortcut and not config.shape_features:
        raise ValueError(
            f"fit_head needs head='kernel' or 'linear' in the model's configuration, found {config.head!r}: build it "
            "from preset 'probe', or with such a head, head_reads='features', variate_selection=None"
        )
    if config.branch_fusion == "late":
        heads = {
            name: head.layer if isinstance(head, SeriesPath) else head.layers for name, head in model.head.items()
        }
        heads = {name: head[-1] if isinstance(head, nn.Sequential) else head for name, head in heads.items()}
        return {name: [head] for name, head in heads.items() if config.head != "mlp" or isinstance(head, FittedLayer)}
    shortcut = [model.head.shortcut.layer] if model.head.shortcut is not None else []
    return {"all": [model.head.layers[-1], *shortcut]}


@torch.no_grad()
def _read(
    model: Any, processor: TimesCLIPProcessor, train: Any, layers: dict[str, list[nn.Module]], batch_size: int
) -> tuple[dict[str, NDArray[np.float64]], NDArray[Any]]:
    """What reaches the layers of each head, `(n, in_features)`, and the labels, of rows that have one."""
    seen: dict[nn.Module, list[NDArray[Any]]] = {layer: [] for parts in layers.values() for layer in parts}

    def keep(layer: Any, inputs: Any) -> None:
        seen[layer].append(inputs[0].double().cpu().numpy())

    hooks = [layer.register_forward_pre_hook(keep) for layer in seen]
    labels: list[NDArray[Any]] = []
    model.eval()
    # Where nothing but the series themselves is read, no plot is drawn and no tower is asked.
    alone = model.config.branch_fusion == "late" and not {*layers} & {*model.config.tower_branches}
    ask = [partial(model.series_answer, branch=branch) for branch in layers] if alone else [model]
    collator = TimesCLIPDataCollator(processor, draw=False)
    try:
        for batch in DataLoader(train, batch_size, collate_fn=collator):
            if "labels" not in batch:
                raise ValueError("train has no 'labels': there is nothing to fit heads on")
            labels.append(batch.pop("labels").numpy())
            own = {name: value.to(model.device) for name, value in batch.items() if hasattr(value, "to")}
            if not alone:
                read_plots(model, processor, own)
            for read in ask:
                read(**own)
    finally:
        for hook in hooks:
            hook.remove()
    readings = {
        branch: np.concatenate([np.concatenate(seen[layer]) for layer in parts], axis=1)
        for branch, parts in layers.items()
    }
    answers = np.concatenate(labels)
    return readings, answers


def _draw_shapes(model: Any, processor: TimesCLIPProcessor, train: Any, batch_size: int, seed: int) -> None:
    """What the branch of shapes looks for, where there is one, from some series at random."""
    if not model.config.shape_features:
        return
    most = series_to_fit(model.config.context_length)
    rows = np.sort(np.random.default_rng(seed).permutation(len(train))[:most]).tolist()
    loader = DataLoader(Subset(train, rows), batch_size, collate_fn=TimesCLIPDataCollator(processor, draw=False))
    values = torch.cat([batch["variate_values"].to(model.device) for batch in loader])
    model.head["shapes"].reading.fit(values, seed)


def _target_units(model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    config = model.config
    mean, std = config.target_mean or [0.0] * config.num_targets, config.target_std or [1.0] * config.num_targets
    return np.asarray(mean, np.float64), np.asarray(std, np.float64)


def _standardised(model: Any, labels: NDArray[Any]) -> NDArray[np.float64]:
    mean, std = _target_units(model)
    return (labels.astype(np.float64).reshape(len(labels), -1) - mean) / std


def _checked_classes(labels: NDArray[Any], num_classes: int, fewest: int = 2) -> NDArray[np.int64]:
    present = np.unique(labels)
    if len(present) and (present.min() < 0 or present.max() >= num_classes):
        raise ValueError(f"labels run from {present.min()} to {present.max()}, the model has {num_classes} classes")
    if len(present) < fewest:
        raise ValueError(f"all labels are of class {present[0]}: there is nothing to tell apart")
    return labels.astype(np.int64)


def _owners(groups: Sequence[Any] | None) -> NDArray[np.int64] | None:
    """The number of each row's group."""
    if groups is None:
        return None
    numbers = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    if numbers.max() == 0:
        raise ValueError(f"all rows are of one group ({groups[0]!r}): leave groups out")
    return numbers


@dataclass
class _Fit:
    """What all heads of a model are fitted to: `targets` `(n, targets)` standardised, or `(n,)` classes.

    `checked`: the same of validation rows, or `None`. Heads give a penalty, answers out of fold, and answers to these.
    """

    targets: NDArray[Any]
    classes: bool
    num_classes: int
    owners: NDArray[np.int64] | None
    seed: int
    max_centers: int
    checked: NDArray[Any] | None = None

    def linear(self, layers: list[nn.Linear], inputs: NDArray[Any], seen: NDArray[Any] | None) -> tuple[Any, Any, Any]:
        """Writes into linear layers."""
        means, spreads = inputs.mean(axis=0), inputs.std(axis=0)
        spreads = np.where(spreads > 1e-7 * np.abs(means) + 1e-12, spreads, np.inf)  # constant: tells nothing
        solve = self._logistic if self.classes else self._ridge
        others = None if seen is None else (seen - means) / spreads
        weight, bias, penalty, answers = solve((inputs - means) / spreads, others)
        said = None if others is None else others @ weight.T + bias
        weight = weight / spreads
        _write(layers, weight, bias - weight @ means)
        return penalty, answers, said if said is None or not self.classes else log_softmax(said)

    def kernel(
        self, layer: KernelLayer | FittedLinear, inputs: NDArray[Any], num_static: int, choices: list[Any],
        seen: NDArray[Any] | None,
    ) -> tuple[Any, Any, Any]:  # fmt: skip
        """Fills a layer of Gaussian kernels, or one that is linear; `choices` of `_kernel_columns`."""
        wanted = np.eye(self.num_classes)[self.targets] if self.classes else self.targets
        linear = isinstance(layer, FittedLinear)
        if isinstance(layer, KernelLayer):
            layer.check_size(min(len(inputs), self.max_centers))
        means = np.nanmean(wanted, axis=0)
        centred, check = wanted - means, None
        if seen is not None and self.checked is not None:
            check = (seen, (np.eye(self.num_classes)[self.checked] if self.classes else self.checked) - means)
        space = choose_space(
            inputs,
            np.nan_to_num(centred),
            num_static,
            self.owners,
            self.seed,
            self.max_centers,
            choices,
            check,
            linear,
        )
        among = space.among_centers()
        kernels = among if len(among) == len(inputs) else space.compare(inputs)
        of_seen = None if check is None else space.compare(check[0])
        weight, answers, penalties = np.zeros((wanted.shape[1], len(among))), np.full(wanted.shape, np.nan), []
        for columns, rows in _alike(centred):
            if len(rows) < 3:
                raise ValueError(f"target {columns[0]} has {len(rows)} labels, which are too few: three at least")
            owners = self.owners[rows] if self.owners is not None else None
            own_kernels = kernels if len(rows) == len(kernels) else kernels[rows]
            ridge = KernelRidge(own_kernels, among, owners, linear)
            for own in [columns] if self.classes else [[column] for column in columns]:
                known = centred[rows][:, own]
                others = None if check is None or of_seen is None else (of_seen, check[1][:, own])
                penalty, _ = ridge.best_penalty(known, others)
                for column, said in zip(own, ridge.left_out(known, penalty).T, strict=True):
                    answers[rows, column] = said + means[column]
                weight[own] = ridge.solve(known, penalty).T
                penalties.append(penalty)
        bias, said_of_seen = means, None if of_seen is None else of_seen @ weight.T + means
        if self.classes:
            known = answers if said_of_seen is None else np.concatenate([answers, said_of_seen])
            labels = self.targets if self.checked is None else np.concatenate([self.targets, self.checked])
            temperature, shifts = platt(known, labels)
            weight, bias = temperature * weight, temperature * means + shifts
            answers = log_softmax(temperature * answers + shifts)
            said_of_seen = None if said_of_seen is None else log_softmax(temperature * said_of_seen + shifts)
        if isinstance(layer, FittedLinear):
            layer.fill(shift=space.shift, weight=space.slopes(weight.T), bias=bias)
        else:
            layer.fill(shift=space.shift, factor=space.factor, centers=space.centers, weight=weight, bias=bias)
        return penalties[0] if len(penalties) == 1 else penalties, answers, said_of_seen

    def _folds(self, rows: NDArray[np.int64]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Of some rows, positions to fit on and positions left out; every row is left out once."""
        blank = np.zeros(len(rows))
        if self.owners is not None:
            owners = self.owners[rows]
            return list(GroupKFold(min(_NUM_FOLDS, len(np.unique(owners)))).split(blank, groups=owners))
        count = min(_NUM_FOLDS, len(rows))
        if not self.classes:
            return list(KFold(count, shuffle=True, random_state=self.seed).split(blank))
        count = max(2, min(count, int(np.bincount(self.targets).max())))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class")  # then it is missing in some folds
            return list(StratifiedKFold(count, shuffle=True, random_state=self.seed).split(blank, self.targets))

    def _ridge(
        self, inputs: NDArray[Any], seen: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any], Any, NDArray[Any]]:
        """Weights `(targets, in_features)`, biases, penalties and answers out of fold, target by target."""
        weights, biases, penalties, answers = [], [], [], np.full(self.targets.shape, np.nan)
        for k in range(self.targets.shape[1]):
            rows = np.flatnonzero(np.isfinite(self.targets[:, k]))
            if len(rows) < 3:
                raise ValueError(f"target {k} has {len(rows)} labels, which are too few: a head needs at least three")
            x, y, folds = inputs[rows], self.targets[rows, k], self._folds(rows)
            if seen is None:
                best = RidgeCV(RIDGE_PENALTIES, cv=folds if self.owners is not None else None).fit(x, y)
            else:
                best = Ridge(self._checked_penalty(x, y, folds, seen, k)).fit(x, y)
            penalty = float(best.alpha_ if seen is None else best.alpha)
            for fitted, left_out in folds:
                answers[rows[left_out], k] = Ridge(penalty).fit(x[fitted], y[fitted]).predict(x[left_out])
            weights.append(best.coef_)
            biases.append(best.intercept_)
            penalties.append(penalty)
        found = penalties[0] if len(penalties) == 1 else penalties
        return np.stack(weights), np.asarray(biases), found, answers

    def _checked_penalty(self, x: NDArray[Any], y: NDArray[Any], folds: Any, seen: NDArray[Any], target: int) -> float:
        """Ridge's penalty with the least squared error of rows left out and of validation rows."""
        assert self.checked is not None
        errors = []
        for penalty in RIDGE_PENALTIES:
            squares = [np.square(Ridge(penalty).fit(x[a], y[a]).predict(x[b]) - y[b]) for a, b in folds]
            squares.append(np.square(Ridge(penalty).fit(x, y).predict(seen) - self.checked[:, target]))
            errors.append(np.nanmean(np.concatenate(squares)))
        return float(RIDGE_PENALTIES[int(np.argmin(errors))])

    def _logistic(
        self, inputs: NDArray[Any], seen: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any], Any, NDArray[Any]]:
        """Weights `(classes, in_features)`, biases, the penalty and logarithms of probabilities out of fold."""
        targets, folds = self.targets, self._folds(np.arange(len(self.targets)))
        losses, answers = [], []
        for penalty in LOGISTIC_PENALTIES:
            said = np.empty((len(targets), self.num_classes))
            for fitted, left_out in folds:
                weight, bias = logistic(inputs[fitted], targets[fitted], penalty, self.num_classes)
                said[left_out] = log_softmax(inputs[left_out] @ weight.T + bias)
            answers.append(said)
            own = [said[np.arange(len(targets)), targets]]
            if seen is not None and self.checked is not None:
                weight, bias = logistic(inputs, targets, penalty, self.num_classes)
                own.append(log_softmax(seen @ weight.T + bias)[np.arange(len(seen)), self.checked])
            losses.append(-np.concatenate(own).mean())
        best = int(np.argmin(losses))
        weight, bias = logistic(inputs, targets, LOGISTIC_PENALTIES[best], self.num_classes)
        return weight, bias, float(LOGISTIC_PENALTIES[best]), answers[best]


def _alike(centred: NDArray[Any]) -> list[tuple[list[int], NDArray[np.int64]]]:
    """Columns that are observed in the same rows, and these rows."""
    found: dict[bytes, list[int]] = {}
    seen = np.isfinite(centred)
    for column in range(centred.shape[1]):
        found.setdefault(seen[:, column].tobytes(), []).append(column)
    return [(columns, np.flatnonzero(seen[:, columns[0]])) for columns in found.values()]


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
