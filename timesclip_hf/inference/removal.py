# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model loses when a part of its inputs is taken from another sample: importance by permutation.

The rule (Breiman 2001; Fisher, Rudin and Dominici 2019, arXiv 1801.01489). A part is a variate, a span of steps of all
variates, a span of one variate, a static column, or a covariate known in advance (its steps to come; of one that is
no variate, and of the calendar, those before, too). Samples exchange it in a ring, in random order and within their
group, so that what is exchanged is as likely as before, gaps included, and nobody keeps their own. With labels, a
part's importance is the mean rise of the error (absolute error, or log loss); without, the mean size of the change of
the answer. Intervals are of a bootstrap over samples. It asks for answers alone, so it holds for every model and every
way through it, also for that of the plots.

A part that carries the same as another one has little importance by itself: what is lost can be read elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tables import some_of, warn_caller
from .answers import Answerer
from .series_batch import SeriesBatch


@dataclass(frozen=True)
class Part:
    """What is looked at as one: `kind` is `"variate"`, `"span"`, `"cell"`, `"static"` or `"future"`.

    Args:
        kind: see above.
        variate: its number; `None`: all of them.
        first, last: steps, from the first that is read; `None`: all.
        name: of a static column, or of a covariate known in advance.
        columns: where it stands in the encoded static values, or covariates.
    """

    kind: str
    variate: int | None = None
    first: int | None = None
    last: int | None = None
    name: str | None = None
    columns: slice | None = None

    @property
    def steps(self) -> slice:
        """Steps of the series."""
        return slice(None) if self.first is None else slice(self.first, int(self.last or 0) + 1)

    @property
    def variates(self) -> slice:
        return slice(None) if self.variate is None else slice(self.variate, self.variate + 1)


def parts_of(answerer: Answerer, series: SeriesBatch, spans: int) -> list[Part]:
    """All parts: each variate, each of `spans` spans of equal length, each span of each variate, static columns,
    covariates known in advance."""
    length, variates = series.values.shape[1:]
    borders = [(int(span[0]), int(span[-1])) for span in np.array_split(np.arange(length), min(spans, length))]
    found = [Part("variate", variate) for variate in range(variates)]
    found += [Part("span", None, first, last) for first, last in borders]
    if variates > 1 and len(borders) > 1:
        found += [Part("cell", v, first, last) for v in range(variates) for first, last in borders]
    start = 0
    for column in answerer.static_columns:
        width = len(column.get("categories", [0]))
        found.append(Part("static", name=column["name"], columns=slice(start, start + width)))
        start += width
    for one in answerer.known:
        first = length if one.variate is not None else 0
        last = length + answerer.length - 1
        found.append(Part("future", first=first, last=last, name=one.name, columns=one.place))
    return found


def removal(
    answerer: Answerer, series: SeriesBatch, parts: list[Part], classes: NDArray[np.int64] | None, repeats: int,
    seed: int,
) -> NDArray[np.float64]:  # fmt: skip
    """What each sample loses `(parts, n)` without each part, the mean of `repeats` exchanges; NaN for samples that
    are alone in their group.

    Raises:
        ValueError: every sample is alone in its group.
    """
    groups = series.groups
    alone = _alone(groups, len(series))
    if alone.all():
        raise ValueError(
            f"importance by removal exchanges parts between samples, and of {len(series)} each is alone"
            + ("" if groups is None else " in its group: choose a coarser one, or none")
        )
    if alone.any():
        named = np.array(series.names, object)[alone]
        warn_caller(f"importance by removal leaves out samples that are alone in their group: {some_of(named)}")
    rng = np.random.default_rng(seed)
    rings = [_ring(groups, len(series), rng) for _ in range(repeats)]
    before = answerer.answers(series)
    lost = np.zeros((len(parts), len(series)))
    for number, part in enumerate(parts):
        for ring in rings:
            after = answerer.answers(_exchanged(answerer, series, part, ring))
            lost[number] += _loss(answerer, series, before, after, classes) / repeats
    lost[:, alone] = np.nan
    return lost


def bootstrap(scores: NDArray[np.float64], interval: float, seed: int, draws: int = 1000) -> tuple[float, float]:
    """The interval of the mean of `(n,)` scores, NaN left out."""
    scores = scores[np.isfinite(scores)]
    if len(scores) < 2:
        return float("nan"), float("nan")
    counts = np.random.default_rng(seed).multinomial(len(scores), np.full(len(scores), 1 / len(scores)), size=draws)
    low, high = np.quantile(counts @ scores / len(scores), [(1 - interval) / 2, (1 + interval) / 2])
    return float(low), float(high)


def _loss(
    answerer: Answerer, series: SeriesBatch, before: NDArray[Any], after: NDArray[Any],
    classes: NDArray[np.int64] | None,
) -> NDArray[np.float64]:  # fmt: skip
    """The rise of the error, or without labels the size of the change."""
    if series.labels is None:
        return np.abs(answerer.pick(after, classes) - answerer.pick(before, classes))
    rows = np.arange(len(series))
    if answerer.task.name == "classification":
        known = series.labels >= 0
        true = [np.where(known, said[rows, series.labels], np.nan) for said in (before, after)]
        return np.log(np.maximum(true[0], 1e-12)) - np.log(np.maximum(true[1], 1e-12))
    errors = []
    for said in (before, after):
        off = np.abs(said - series.labels)
        if answerer.task.name == "forecasting":
            off = off[..., answerer.target]
            off = off if answerer.horizon is None else off[:, answerer.horizon - 1 : answerer.horizon]
            errors.append(np.nanmean(off, axis=1))
        else:
            errors.append(off[:, answerer.target])
    return errors[1] - errors[0]


def _exchanged(answerer: Answerer, series: SeriesBatch, part: Part, ring: NDArray[np.int64]) -> SeriesBatch:
    """The samples, with a part of the one that is next to each."""
    if part.kind == "static" and series.static is not None:
        static = series.static.copy()
        static[:, part.columns] = static[ring][:, part.columns]
        return replace(series, static=static)
    future = None if series.future is None else series.future.copy()
    if part.kind == "future" and future is not None:
        future[:, part.steps, part.columns] = future[ring][:, part.steps, part.columns]
        return replace(series, future=future)
    values, observed = series.values.copy(), series.observed.copy()
    for array in (values, observed):
        array[:, part.steps, part.variates] = array[ring][:, part.steps, part.variates]
    # Where nothing of a variate would be left, it stays as it was: no model reads a variate without a value.
    blank = ~observed.any(axis=1)  # (n, V)
    values = np.where(blank[:, None], series.values, values)
    observed = np.where(blank[:, None], series.observed, observed)
    if future is not None and series.future is not None:  # the past of covariates that are variates, too
        for one in answerer.known:
            if one.variate is not None and part.variate in (None, one.variate):
                steps = np.arange(values.shape[1])[part.steps]
                future[:, steps, one.place] = series.future[ring][:, steps, one.place]
    return replace(series, values=values, observed=observed, future=future)


def _members(groups: NDArray[Any] | None, count: int) -> Iterator[NDArray[np.int64]]:
    if groups is None:
        yield np.arange(count)
        return
    named = np.array([str(group) for group in groups])
    for name in np.unique(named):
        yield np.flatnonzero(named == name)


def _alone(groups: NDArray[Any] | None, count: int) -> NDArray[np.bool_]:
    alone = np.zeros(count, bool)
    for rows in _members(groups, count):
        alone[rows] = len(rows) < 2
    return alone


def _ring(groups: NDArray[Any] | None, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each sample the one that it takes a part from."""
    partner = np.arange(count)
    for rows in _members(groups, count):
        order = rng.permutation(rows)
        partner[order] = np.roll(order, 1)
    return partner


__all__ = ["Part", "bootstrap", "parts_of", "removal"]
