# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model loses when a part of its inputs is taken from another sample: importance by permutation.

The rule (Breiman 2001; Fisher, Rudin and Dominici 2019, arXiv 1801.01489). A part is a variate, a span of steps of all
variates, a span of one variate, or a static column. Samples exchange it in a ring, in random order and within their
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
    """What is looked at as one: `kind` is `"variate"`, `"span"`, `"cell"` or `"static"`."""

    kind: str
    variate: int | None = None
    first: int | None = None
    last: int | None = None
    static: str | None = None
    columns: tuple[int, int] | None = None  # of the encoded static values


def parts_of(length: int, variates: int, spans: int, static: list[dict[str, Any]]) -> list[Part]:
    """All parts: each variate, each of `spans` spans of equal length, each span of each variate, static columns."""
    borders = [(int(span[0]), int(span[-1])) for span in np.array_split(np.arange(length), min(spans, length))]
    found = [Part("variate", variate) for variate in range(variates)]
    found += [Part("span", None, first, last) for first, last in borders]
    if variates > 1 and len(borders) > 1:
        found += [Part("cell", v, first, last) for v in range(variates) for first, last in borders]
    start = 0
    for column in static:
        width = len(column.get("categories", [0]))
        found.append(Part("static", static=column["name"], columns=(start, start + width)))
        start += width
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
            after = answerer.answers(_exchanged(series, part, ring))
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


def _exchanged(series: SeriesBatch, part: Part, ring: NDArray[np.int64]) -> SeriesBatch:
    """The samples, with a part of the one that is next to each."""
    if part.columns is not None and series.static is not None:
        static = series.static.copy()
        columns = slice(*part.columns)
        static[:, columns] = static[ring, columns]
        return replace(series, static=static)
    values, observed = series.values.copy(), series.observed.copy()
    steps = slice(None) if part.first is None else slice(part.first, int(part.last or 0) + 1)
    variates = slice(None) if part.variate is None else slice(part.variate, part.variate + 1)
    for array in (values, observed):
        array[:, steps, variates] = array[ring][:, steps, variates]
    # Where nothing of a variate would be left, it stays as it was: no model reads a variate without a value.
    blank = ~observed.any(axis=1)  # (n, V)
    values = np.where(blank[:, None], series.values, values)
    return replace(series, values=values, observed=np.where(blank[:, None], series.observed, observed))


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
