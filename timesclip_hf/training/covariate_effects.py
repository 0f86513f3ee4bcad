# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The effect of covariates known in advance, fitted in closed form before a forecaster's first training step.

The rule. A linear map W forecasts the context's deviations from its last value, as any linear forecaster does. What it
leaves unexplained of the target is regressed on what it leaves unexplained of the covariates' bends: ridge, in units
of the series or of the training data, whichever has the least error on the validation part; covariates that the
validation part does not miss are left out, and what is remembered of them unless it takes six hundredths off. W is
fitted again on what is left, in two rounds: regression with autocorrelated errors (Cochrane & Orcutt 1949). Where the
gain on the validation part is below three hundredths there is no effect at all. Responses of single series
(`OwnResponse`) are fitted to what is left in the same way: the autoregression of contexts, one ridge for all
directions in units of what they vary, and only for such a gain. Gradients then leave all of it alone: they learnt the
noise of the training part, a useless covariate cost a sixth more error.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.covariate_path import CovariatePath
from ..model.own_response import directions, solved

_MOST_ROWS, _FEWEST_WINDOWS, _AT_ONCE = 20_000, 200, 32
_PENALTIES = [10.0**power for power in range(-5, 3)]
_ROUNDS = 2
_LEAST_GAIN, _LEAST_SHARE = 0.03, 0.002  # of all covariates, and of one of them
_LEAST_REMEMBERED = 0.06  # of what is remembered of them
_MOST_SCREENED = 32
# Of responses of single series: in units of what a direction varies in one step of a context, and of lags.
_RIDGES, _AUTO_RIDGE = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0), 1e-4


def unfitted_effects(model: Any) -> bool:
    """Whether a model has effects of covariates, none of which anything has fitted yet."""
    paths = covariate_paths(model)
    return bool(paths) and not any(
        path.effect.weight.any() or (path.own is not None and path.own.sizes.any()) for path in paths
    )


def covariate_paths(model: Any) -> list[Any]:
    """The parts of a model that read covariates known in advance; an adapter keeps a copy."""
    return [module for module in model.modules() if isinstance(module, CovariatePath) and module.effect is not None]


def fit_effects(model: Any, collator: Any, train: Any, validation: Any = None) -> list[float]:
    """Fits the effects, in every copy of them alike.

    Args:
        model: a forecaster with `num_future_covariates`.
        collator: makes its batches from rows.
        train, validation: data sets of windows; without the second, the last fifth of the first stands for it.

    Returns:
        For each target, what is left of the linear map's squared error on the validation part; 1: no effect.
    """
    paths = covariate_paths(model)
    config, path = model.config, paths[0]
    count = max(_FEWEST_WINDOWS, _MOST_ROWS // (config.prediction_length * config.num_answered_variates))
    cut = len(train) if validation is not None else max(1, len(train) * 4 // 5)
    rest = (train, cut) if validation is None else (validation, 0)
    parts = [
        [_prepared(batch, config, path) for batch in _read(collator, *part, count)]
        for part in ((train, 0, cut), (*rest, len(rest[0])))
    ]
    effects = torch.zeros(config.num_answered_variates, 2 * path.effect.in_features, dtype=torch.float64)
    left, units = [1.0] * len(effects), [["series", "training data"] for _ in effects]
    for _ in range(_ROUNDS):
        linear = _linear_map(parts, effects)
        for target in range(len(effects)):
            tried = []
            for unit in units[target]:
                learnt, checked = (_Sums.of(part, linear, target, unit) for part in parts)
                tried.append((*_best_effect(learnt, checked, _groups(path), path.remembered), unit))
            effect, left[target], unit = min(tried, key=lambda one: one[1])
            units[target] = [unit]
            effects[target] = torch.cat([effect, 0 * effect] if unit == "series" else [0 * effect, effect])
        if not effects.any():
            break
    own, common = effects.chunk(2, dim=1)
    for one in paths:
        one.effect.weight.data.copy_(torch.cat([own, common]))
    if path.own is None:
        return left
    fitted = copy.deepcopy(path.own).cpu()
    found = _fit_responses(fitted, parts, effects)
    for one in paths:
        one.own.load_state_dict(fitted.state_dict())
    return [common * alone for common, alone in zip(left, found, strict=True)]


def _fit_responses(own: Any, parts: list[list["_Windows"]], effects: Tensor) -> list[float]:
    """Fits responses of single series to what common effects leave; what is left then of each target's error."""
    left = [1.0] * len(effects)
    if own.context <= own.order:  # a context of one step shows no response
        return left
    linear = _linear_map(parts, effects)
    own.lags.data.copy_(_autoregression(own, parts[0], effects))
    size: Any = 0.0
    for windows in parts[0]:
        ways = windows.directions(windows.effect(effects))
        size = size + own.whitened(ways[..., : own.context]).square().sum(dim=(0, 3))  # (n, R)
    size = size / sum(len(windows.series) * (own.context - own.order) for windows in parts[0])
    sizes = {ridge: torch.where(size > 1e-9, (size * ridge).rsqrt(), 0.0) for ridge in _RIDGES}
    errors = _errors_of(own, parts[1], effects, linear, {None: torch.zeros_like(size), **sizes})
    for target, none in enumerate(errors[None].tolist()):
        error, ridge = min((float(errors[ridge][target]), ridge) for ridge in _RIDGES)
        if none > 0 and error < (1 - _LEAST_GAIN) * none:
            left[target] = error / none
            own.sizes.data[target] = sizes[ridge][target]
    return left


def _errors_of(
    own: Any, part: list["_Windows"], effects: Tensor, linear: Tensor, choices: dict[Any, Tensor]
) -> dict[Any, Tensor]:
    """The sums of squared errors of each target `(n,)` under several `sizes` of responses `(n, R)`."""
    errors: dict[Any, Tensor] = {name: torch.zeros(len(effects), dtype=torch.float64) for name in choices}
    for windows in part:
        effect = windows.effect(effects)
        ways, left = windows.directions(effect), windows.series - effect
        for name, sizes in choices.items():
            sized = ways * sizes[..., None]
            weights = solved(*own.sums(sized, left[..., : own.context]))
            rest = (left - torch.einsum("bnr,bnrs->bns", weights, sized)).flatten(0, 1)[..., None]
            away = _unexplained(rest, linear)[..., 0].unflatten(0, windows.weight.shape) * windows.weight[..., None]
            errors[name] += away.nan_to_num().square().sum(dim=(0, 2))
    return errors


def _autoregression(own: Any, part: list["_Windows"], effects: Tensor) -> Tensor:
    """`(n, order - 1)`: a step's change, from how far the steps before the last lie from it, of what effects leave."""
    grams: Any = 0.0
    for windows in part:
        rest = (windows.series - windows.effect(effects))[..., : own.context]
        cut = rest.unfold(-1, own.order + 1, 1)  # (B, n, T - order, order + 1)
        rows = torch.cat([cut[..., :-2] - cut[..., -2:-1], cut[..., -1:] - cut[..., -2:-1]], dim=-1)
        grams = grams + torch.einsum("bntk,bntl->nkl", rows, rows)
    columns, product = grams[:, :-1, :-1], grams[:, :-1, -1]
    size = columns.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)[:, None, None]
    lags = torch.linalg.solve(columns + _AUTO_RIDGE * size * torch.eye(columns.shape[1], dtype=columns.dtype), product)
    return lags.flip(1)


@dataclass
class _Windows:
    """Covariates as the path reads them, scaled series `(B, n, T + H)`, and the weight of their errors."""

    inputs: tuple[Tensor, Tensor | None]
    series: Tensor
    unit: Tensor  # (B, n)
    weight: Tensor  # (B, n)
    path: Any
    context: int

    @property
    def read(self) -> Tensor:
        """`(B, T + H, width)`, made anew whenever it is asked for: it is large."""
        with torch.no_grad():
            return self.path.read(*self.inputs).cpu().double()

    def directions(self, effect: Tensor) -> Tensor:
        """`(B, n, R, T + H)`, see `OwnResponse`."""
        return directions(effect, self.inputs[0].cpu().double())

    def effect(self, effects: Tensor) -> Tensor:
        """`(B, n, T + H)` of effects `(n, 2 width)`."""
        if not effects.any():
            return torch.zeros_like(self.series)
        own, common = (torch.einsum("bsw,nw->bns", self.read, part) for part in effects.chunk(2, dim=1))
        return own + common * self.unit[..., None]


@dataclass
class _Sums:
    """Squares and products of a regression's columns and its target: all that ridge needs."""

    columns: Tensor
    product: Tensor
    square: Tensor

    @classmethod
    def of(cls, part: list[_Windows], linear: Tensor, target: int, unit: str) -> "_Sums":
        """What a linear map leaves unexplained of one target, on what it leaves of the bends in one of the units."""
        width = part[0].path.effect.in_features
        sums = cls(*(torch.zeros(shape, dtype=torch.float64) for shape in ((width, width), (width,), ())))
        for windows in part:
            wanted = _unexplained(windows.series[:, target, :, None], linear)[..., 0]  # (B, H)
            bends = _unexplained(windows.read, linear)  # (B, H, width)
            weight = windows.weight[:, target, None]
            common = windows.unit[:, target, None, None] if unit == "training data" else 1.0
            bends = bends * common * weight[..., None]
            known = ~wanted.isnan()
            rows, wanted = bends[known], (wanted * weight)[known]
            sums.columns += rows.T @ rows
            sums.product += rows.T @ wanted
            sums.square += wanted @ wanted
        return sums

    def error(self, effect: Tensor) -> float:
        """The sum of squared errors of an effect."""
        return float(effect @ self.columns @ effect - 2 * effect @ self.product + self.square)

    def ridge(self, kept: Tensor, penalty: float) -> Tensor:
        """Weights of the kept columns, each penalised in units of its own spread; 0 of all others."""
        columns, effect = self.columns[kept][:, kept], torch.zeros_like(self.product)
        size = columns.diagonal().clamp(min=1e-12)
        effect[kept] = torch.linalg.solve(
            columns + torch.diag(size * penalty + size.mean() * 1e-9), self.product[kept]
        )
        return effect


def _best_effect(train: _Sums, validation: _Sums, groups: list[Tensor], remembered: int = 0) -> tuple[Tensor, float]:
    """The effect of the least error on the validation part, and the share of its error that is left.

    The last `remembered` columns, slow ones that chance agrees with easily, are left out where less is gained by them.
    """
    none = torch.zeros_like(train.product)
    if float(validation.square) <= 0:
        return none, 1.0
    kept = torch.ones(len(none), dtype=torch.bool)
    error, penalty = min((validation.error(train.ridge(kept, penalty)), penalty) for penalty in _PENALTIES)
    if remembered:
        now = torch.arange(len(none)) < len(none) - remembered
        without, other = min((validation.error(train.ridge(now, one)), one) for one in _PENALTIES)
        if error > (1 - _LEAST_REMEMBERED) * min(without, float(validation.square)):
            kept, error, penalty = now, without, other
    best = train.ridge(kept, penalty)
    for group in groups if 1 < len(groups) <= _MOST_SCREENED else []:
        fewer = kept & ~group
        if not fewer.any():
            continue
        effect = train.ridge(fewer, penalty)
        without = validation.error(effect)
        if without <= error + _LEAST_SHARE * float(validation.square):
            kept, best, error = fewer, effect, without
    left = error / float(validation.square)
    return (best, left) if left < 1 - _LEAST_GAIN else (none, 1.0)


def _groups(path: Any) -> list[Tensor]:
    """For each covariate, which columns `(width,)` it is in."""
    return list(path.readers().T)


def _linear_map(parts: list[list[_Windows]], effects: Tensor) -> Tensor:
    """`(T, H)`, from the context's deviations from its last value to those that follow, of what effects leave."""
    sums = []
    for part in parts:
        grams: Any = None
        for windows in part:
            rest = (windows.series - windows.effect(effects)) * windows.weight[..., None]
            deviations = (rest - rest[..., windows.context - 1, None]).flatten(0, 1)
            deviations = deviations[~deviations.isnan().any(dim=1)]
            past, following = deviations[:, : windows.context], deviations[:, windows.context :]
            more = [past.T @ past, past.T @ following, following.square().sum()]
            grams = more if grams is None else [a + b for a, b in zip(grams, more, strict=True)]
        sums.append(grams)
    (columns, product, _), (checked, wanted, square) = sums
    size = columns.diagonal().mean().clamp(min=1e-12)
    least, best = float("inf"), torch.zeros_like(product)
    for penalty in _PENALTIES:
        linear = torch.linalg.solve(columns + torch.eye(len(columns), dtype=torch.float64) * size * penalty, product)
        error = float((linear * (checked @ linear)).sum() - 2 * (linear * wanted).sum() + square)
        if error < least:
            least, best = error, linear
    return best


def _unexplained(values: Tensor, linear: Tensor) -> Tensor:
    """What a linear map leaves of `(B, T + H, k)` in the horizon, `(B, H, k)`."""
    context = len(linear)
    last = values[:, context - 1, None]
    return values[:, context:] - last - torch.einsum("th,btk->bhk", linear, values[:, :context] - last)


def _prepared(batch: dict[str, Tensor], config: Any, path: Any) -> _Windows:
    count = config.num_answered_variates
    scale, loc = (batch[name][:, :count].double() for name in ("scale", "loc"))
    labels = (batch["labels"].double() - loc[:, None]) / scale[:, None]
    series = torch.cat([batch["variate_values"][:, :count].double(), labels.transpose(1, 2)], dim=-1)
    spread = torch.tensor((config.variate_std or [1.0] * count)[:count], dtype=torch.float64)
    weight = scale / spread if config.error_scale == "dataset" else torch.ones_like(scale)
    device = path.effect.weight.device
    static = batch.get("static_values") if path.num_static else None
    inputs = (batch["future_values"].to(device), None if static is None else static.to(device))
    return _Windows(inputs, series, spread / scale, weight, path, config.context_length)


def _read(collator: Any, data: Any, first: int, last: int, count: int) -> Iterator[dict[str, Tensor]]:
    """At most `count` windows, evenly over a part of a data set, as batches."""
    rows = np.unique(np.linspace(first, last - 1, min(count, last - first)).round().astype(int)).tolist()
    for start in range(0, len(rows), _AT_ONCE):
        yield collator([data[row] for row in rows[start : start + _AT_ONCE]])


__all__ = ["covariate_paths", "fit_effects", "unfitted_effects"]
