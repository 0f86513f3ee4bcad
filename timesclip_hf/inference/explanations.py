# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Why a model answers as it does: which variates, steps and readings its answers come from, in tables and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ..data.tables import some_of
from ..escaping import with_unit
from ..model.preprocessing import value_axes
from ..model.processing_timesclip import TimesCLIPProcessor
from ..plots import PART_KINDS, plot_attributions, plot_importance, plot_selection_attention
from .answers import Answerer
from .gradients import Attributed, integrated_gradients
from .removal import Part, bootstrap, parts_of, removal
from .series_batch import SeriesBatch

METHODS = ("gradients", "removal")
_BANDS = 8  # of an image's value axis


@dataclass
class Explanation:
    """What `explain` found, as tables; steps and dates as the processor knows them, values in raw units.

    Attributes:
        target: what is explained, in words, and its `unit`.
        samples: a row for each sample: `sample`, `prediction`; with gradients `baseline` (the answer there) and
            `attributed` (the sum of all attributions, which is `prediction - baseline`); of late fusion `says_vision`,
            `says_text`, `says_series`.
        attributions: of gradients, a row for each sample, path, variate and step: `sample`, `path` (`"series"`,
            `"vision"`, `"static"` or `"future"`), `variate`, `unit`, `step`, `date`, `value`, `attribution` in the
            unit of the target. A missing step has an empty `value`; a static column stands as `variate`, without a
            step; a covariate known in advance has rows for the steps to come, too, from 1 on (an empty `value` where
            it is no number).
        vision: of gradients and line plots, where on the value axis the vision branch looked: `sample`, `variate`,
            `unit`, `step`, `date`, `value_from`, `value_to`, `attribution`.
        importance: `method`, `kind` (`"variate"`, `"span"` of all variates, `"cell"`: a span of one, `"static"`,
            `"future"`: a covariate in the steps to come), `variate`, `first_step`, `last_step`, `first_date`,
            `last_date`, `importance`, `lower`, `upper` (of the mean over samples), `measure` in words; by method and
            kind, the largest first.
        attention: `branch`, `variate`, `listened_to`, `attention`: means over samples and heads of the variate
            selection; empty without one. Attention is what a layer looked at, and no measure of what the answer rests
            on.
        branches: of late fusion, for each two branches how alike their answers are: `branch`, `other`, `correlation`,
            `mean_difference`; else empty.
    """

    target: str
    unit: str
    samples: pd.DataFrame
    attributions: pd.DataFrame
    vision: pd.DataFrame
    importance: pd.DataFrame
    attention: pd.DataFrame
    branches: pd.DataFrame
    measures: dict[str, str] = field(default_factory=dict)

    def top(self, kind: str = "cell", method: str | None = None) -> pd.DataFrame:
        """The rows of `importance` of one kind and method, the most important first.

        Args:
            kind: see `importance`.
            method: `"gradients"` or `"removal"`; not given: removal where it was asked for.
        """
        methods = list(self.importance["method"].unique())
        method = method or ("removal" if "removal" in methods else "gradients")
        chosen = self.importance[(self.importance["kind"] == kind) & (self.importance["method"] == method)]
        return chosen.reset_index(drop=True)

    def figures(self, samples: Sequence[Any] = ()) -> dict[str, Any]:
        """Figures by name: `importance_...` of each method, `attention`, `sample_...` of some samples (the first)."""
        found: dict[str, Any] = {}
        for method in self.importance["method"].unique():
            found[f"importance_{method}"] = plot_importance(
                self.importance[self.importance["method"] == method], f"{self.target}: {self.measures[method]}"
            )
        if len(self.attention):
            names = list(dict.fromkeys(self.attention["variate"]))
            mean = self.attention.pivot_table("attention", "variate", "listened_to")
            found["attention"] = plot_selection_attention(mean.loc[names, names].to_numpy(), names)
        if len(self.attributions):
            known = list(dict.fromkeys(self.attributions["sample"]))
            for sample in samples or known[:1]:
                if sample not in known:
                    raise ValueError(f"samples: {sample!r} is none of those that were explained: {some_of(known)}")
                own = self.attributions[self.attributions["sample"] == sample]
                found[f"sample_{sample}"] = plot_attributions(own, with_unit(self.target, self.unit), str(sample))
        return found


def usable_methods() -> list[str]:
    """Those of `METHODS` that work here: gradients need captum."""
    return [name for name in METHODS if name != "gradients" or find_spec("captum") is not None]


def explain(
    model: Any,
    processor: TimesCLIPProcessor,
    samples: Any,
    *,
    methods: Sequence[str] = METHODS,
    target: str | int | None = None,
    horizon: int | None = None,
    labels: Any = None,
    groups: Any = None,
    baseline: Any = None,
    spans: int = 6,
    repeats: int = 3,
    max_samples: int | None = 100,
    interval: float = 0.95,
    batch_size: int = 64,
    seed: int = 0,
    **reading: Any,
) -> Explanation:
    """Why a model answers as it does.

    Two methods. `"gradients"`: integrated gradients, which share out the change of each sample's answer against a
    baseline, among steps, pixels and static values (`inference.gradients` states the rule; needs captum).
    `"removal"`: what is lost when a variate or a span of time comes from another sample (`inference.removal`); it
    holds for every model, and is the one to trust where plots are looked at, for drawing has no gradient and a blend
    of two plots is no plot.

    Args:
        model: with a task; adapters, ensembles and late fusion, too.
        processor: its own.
        samples: series in any form that the pipelines take: arrays, tables (of which a forecaster reads the newest
            steps of each series), paths, data sets, windows; `inference.forecast_windows.read_windows` cuts windows of
            a table, of which is known what came.
        methods: of `METHODS`.
        target: what is explained: of a regression the target's name or number (the first); of a classification the
            class whose probability is meant (each sample's likeliest); of a forecast the variate (the first).
        horizon: step of a forecast, from 1; `None`: the mean of all steps.
        labels: what is true, `(n, ...)` or the name of a column: removal then tells the rise of the error, else the
            size of the change. Not given: those of a data set, or a column of the target's name.
        groups: `n` labels, or the name of a column: parts are exchanged within groups (sites, farms) alone.
        baseline: of gradients, series in any form, whose mean at each step is the baseline. `None`: the training
            mean; with `scaling="instance"` the series' own mean.
        spans: parts of equal length into which time is cut.
        repeats: exchanges that removal averages over.
        max_samples: samples that are looked at, drawn at random where there are more; `None`: all.
        interval: coverage of the intervals of importance, over samples.
        batch_size: samples that the model sees at once.
        seed: of all that is drawn at random.
        **reading: how a table is read: `timestamp_column`, `series_column`, ..., see `TimeSeriesPipeline`; of a
            forecaster with covariates that are known in advance, `future`, a table of these.

    Returns:
        `Explanation`: tables, and figures.

    Raises:
        ValueError: samples that cannot be read, a target that the model has not, an unknown method.
        ImportError: `"gradients"` without captum.
    """
    methods = [methods] if isinstance(methods, str) else list(methods)
    if unknown := [method for method in methods if method not in METHODS]:
        raise ValueError(f"methods holds {some_of(map(repr, unknown))}, expected some of {', '.join(METHODS)}")
    for name, number, least in (("spans", spans, 1), ("repeats", repeats, 1), ("max_samples", max_samples or 1, 1)):
        if number < least:
            raise ValueError(f"{name} must be {least} or more, got {number}")
    if not 0 < interval < 1:
        raise ValueError(f"interval must lie between 0 and 1, got {interval}")
    answerer = Answerer(model, processor, target, horizon, batch_size)
    series = answerer.read(samples, labels, groups, **reading)
    if max_samples is not None and len(series) > max_samples:
        series = series.at(np.sort(np.random.default_rng(seed).permutation(len(series))[:max_samples]))
    outputs = answerer.outputs(series, output_attentions=answerer.config.variate_selection is not None or None)
    said = answerer.answers(series)
    classes = said.argmax(axis=1) if answerer.task.name == "classification" and answerer.target is None else None
    table = _samples_table(answerer, series, said, classes, outputs)
    measures: dict[str, str] = {}
    importance: list[pd.DataFrame] = []
    attributions: list[pd.DataFrame] = []
    vision: list[pd.DataFrame] = []
    parts = parts_of(answerer, series, spans)
    if "gradients" in methods:
        reference = None if baseline is None else answerer.read(baseline, **reading)
        found = integrated_gradients(answerer, series, classes, reference)
        table["baseline"], table["attributed"] = found.baselines, found.total
        attributions, vision = _attributions(answerer, series, found), _vision(answerer, series, found)
        measures["gradients"] = with_unit("mean size of what it contributes", answerer.unit)
        importance.append(_importance("gradients", parts, _contributed(found, parts), answerer, interval, seed))
    if "removal" in methods:
        kind = "change of the answer" if series.labels is None else "rise of the error"
        unit = "" if answerer.task.name == "classification" else answerer.unit
        measures["removal"] = with_unit(f"mean {kind} without it", unit)
        lost = removal(answerer, series, parts, classes, repeats, seed)
        importance.append(_importance("removal", parts, lost, answerer, interval, seed))
    for rows in importance:
        rows["measure"] = measures[rows["method"].iloc[0]]
    return Explanation(
        answerer.target_name, answerer.unit, table,
        pd.concat(attributions, ignore_index=True) if attributions else pd.DataFrame(),
        pd.concat(vision, ignore_index=True) if vision else pd.DataFrame(),
        pd.concat(importance, ignore_index=True) if importance else pd.DataFrame(columns=["method", "kind"]),
        _attention(answerer, outputs), _branches(table), measures,
    )  # fmt: skip


def _samples_table(
    answerer: Answerer, series: SeriesBatch, said: NDArray[Any], classes: NDArray[np.int64] | None, outputs: list[Any]
) -> pd.DataFrame:
    """Each sample, what is said of it, and what each branch says."""
    table = pd.DataFrame({"sample": series.names, "prediction": answerer.pick(said, classes)})
    if classes is not None:
        table.insert(1, "class", [answerer.config.id2label[number] for number in classes])
    if outputs[0].get("branch_predictions") is not None:
        own = torch.cat([output["branch_predictions"] for output in outputs]).double().cpu().numpy()
        own = np.exp(own) if answerer.task.name == "classification" else own
        for number, name in enumerate(answerer.config.branches):
            table[f"says_{name}"] = answerer.pick(own[:, number], classes)
    return table


def _axis(answerer: Answerer) -> tuple[NDArray[Any], NDArray[Any]]:
    numbers, dates = answerer.step_axis()
    return np.array(numbers), np.array(dates, object)


def _attributions(answerer: Answerer, series: SeriesBatch, found: Attributed) -> list[pd.DataFrame]:
    """The long table of each path."""
    tables = []
    steps, dates = _axis(answerer)
    (count, length, variates), names = series.values.shape, answerer.variate_names
    sample = pd.Series(series.names, dtype=object).to_numpy()
    own = {
        "sample": np.repeat(sample, variates * length),
        "variate": np.tile(np.repeat(np.array(names, object), length), count),
        "unit": np.tile(np.repeat(np.array(answerer.variate_units, object), length), count),
        "step": np.tile(steps, count * variates),
        "date": np.tile(dates, count * variates),
        "value": np.where(series.observed, series.values, np.nan).transpose(0, 2, 1).ravel(),
    }
    for path, shares in (("series", found.series), ("vision", found.vision)):
        if shares is not None and (path == "vision" or _reads_series(answerer)):
            tables.append(pd.DataFrame({**own, "attribution": shares.transpose(0, 2, 1).ravel()}))
            tables[-1].insert(1, "path", path)
    if found.static is not None:
        columns = found.static_names
        tables.append(
            pd.DataFrame(
                {
                    "sample": np.repeat(sample, len(columns)),
                    "path": "static",
                    "variate": np.tile(np.array(columns, object), count),
                    "attribution": found.static.ravel(),
                }
            ).astype({"attribution": float})
        )
    if found.future is not None and series.future is not None:
        tables.append(_future_attributions(answerer, series, found))
    return tables


def _future_attributions(answerer: Answerer, series: SeriesBatch, found: Attributed) -> pd.DataFrame:
    """The long table of covariates that are known in advance."""
    shares, future = np.asarray(found.future), np.asarray(series.future)
    count, length, number = shares.shape
    raw = np.stack([one.raw(future[..., one.place]) for one in found.known], axis=1)  # (n, covariates, T + H)
    units = [answerer.variate_units[one.variate] if one.variate is not None else "" for one in found.known]
    return pd.DataFrame(
        {
            "sample": np.repeat(pd.Series(series.names, dtype=object).to_numpy(), number * length),
            "path": "future",
            "variate": np.tile(np.repeat(np.array([one.name for one in found.known], object), length), count),
            "unit": np.tile(np.repeat(np.array(units, object), length), count),
            "step": np.tile(np.arange(1 - answerer.processor.context_length, answerer.length + 1), count * number),
            "date": None,
            "value": raw.ravel(),
            "attribution": shares.transpose(0, 2, 1).ravel(),
        }
    )


def _reads_series(answerer: Answerer) -> bool:
    """Whether numbers reach the answer past the plots."""
    return bool(answerer.reads - {"pixel_values", "static_values", "future_values"})


def _vision(answerer: Answerer, series: SeriesBatch, found: Attributed) -> list[pd.DataFrame]:
    """Pixels of line plots as steps and bands of values."""
    processor = answerer.processor
    if found.pixels is None or processor.view != "line":
        return []
    values, observed, *_ = answerer.tensors(series)
    axes = value_axes(values, observed, processor)
    (count, length, every), variates = series.values.shape, found.pixels.shape[1]  # drawn are the first ones
    shapes = (np.broadcast_to(part.cpu().numpy(), (count, every))[:, :variates] for part in axes)
    lowest, spread, constant = shapes
    height, width = found.pixels.shape[2:]
    margin = processor.line_width / 2 + 0.5
    inner = (width - 2 * margin) / max(length - 1, 1)
    column = np.clip(np.rint((np.arange(width) + 0.5 - margin) / inner), 0, length - 1).astype(int)
    band = np.clip((height - margin - np.arange(height) - 0.5) / (height - 2 * margin) * _BANDS, 0, _BANDS - 1)
    shares = np.zeros((count, variates, length, _BANDS))
    for row in range(height):
        for step in range(length):
            shares[:, :, step, int(band[row])] += found.pixels[:, :, row, column == step].sum(axis=-1)
    edges = np.linspace(0, 1, _BANDS + 1) - 0.5 * constant[..., None]
    edges = lowest[..., None] + edges * spread[..., None]  # (n, V, bands + 1)
    steps, dates = _axis(answerer)
    each = length * _BANDS
    return [
        pd.DataFrame(
            {
                "sample": np.repeat(pd.Series(series.names, dtype=object).to_numpy(), variates * each),
                "variate": np.tile(np.repeat(np.array(answerer.variate_names[:variates], object), each), count),
                "unit": np.tile(np.repeat(np.array(answerer.variate_units[:variates], object), each), count),
                "step": np.tile(np.repeat(steps, _BANDS), count * variates),
                "date": np.tile(np.repeat(dates, _BANDS), count * variates),
                "value_from": np.repeat(edges[:, :, None, :-1], length, axis=2).ravel(),
                "value_to": np.repeat(edges[:, :, None, 1:], length, axis=2).ravel(),
                "attribution": shares.ravel(),
            }
        )
    ]


def _contributed(found: Attributed, parts: list[Part]) -> NDArray[np.float64]:
    """How much each part contributes to each answer `(parts, n)`, whatever its sign."""
    rows, cells = [], found.cells
    for part in parts:
        if part.kind == "static" and found.static is not None:
            rows.append(found.static[:, found.static_names.index(part.name)])
        elif part.kind == "future" and found.future is not None:
            number = [one.name for one in found.known].index(str(part.name))
            rows.append(found.future[:, part.steps, number].sum(axis=1))
        else:
            rows.append(cells[:, part.steps, part.variates].sum(axis=(1, 2)))
    return np.abs(np.stack(rows))


def _importance(
    method: str, parts: list[Part], scores: NDArray[np.float64], answerer: Answerer, interval: float, seed: int
) -> pd.DataFrame:
    """A row for each part, the most important of each kind first."""
    steps, dates = _axis(answerer)
    end = len(steps) - 1
    ahead = answerer.length if answerer.known else 0
    steps = np.concatenate([steps, steps[-1] + np.arange(1, ahead + 1)])
    dates = np.concatenate([dates, np.full(ahead, None)])
    rows = []
    for part, own in zip(parts, scores, strict=True):
        low, high = bootstrap(own, interval, seed)
        first, last = (0, end) if part.first is None else (part.first, int(part.last or 0))
        row: dict[str, Any] = {"method": method, "kind": part.kind, "variate": part.name}
        row["variate"] = part.name if part.variate is None else answerer.variate_names[part.variate]
        timeless = part.kind == "static"
        row |= {"first_step": None if timeless else steps[first], "last_step": None if timeless else steps[last]}
        row |= {"first_date": None if timeless else dates[first], "last_date": None if timeless else dates[last]}
        rows.append({**row, "importance": float(np.nanmean(own)), "lower": low, "upper": high})
    table = pd.DataFrame(rows).astype({"first_step": "Int64", "last_step": "Int64", "variate": object})
    order = {kind: number for number, kind in enumerate(PART_KINDS)}
    table = table.sort_values("importance", ascending=False, kind="stable")
    return table.sort_values("kind", key=lambda kinds: kinds.map(order), kind="stable").reset_index(drop=True)


def _attention(answerer: Answerer, outputs: list[Any]) -> pd.DataFrame:
    """Who listened to whom in the variate selection of each branch."""
    columns = ["branch", "variate", "listened_to", "attention"]
    if outputs[0].get("selection_attentions") is None:
        return pd.DataFrame(columns=columns)
    weights = torch.cat([output["selection_attentions"] for output in outputs]).double().mean(dim=0).cpu().numpy()
    late = answerer.config.branch_fusion == "late"
    branches = answerer.config.tower_branches if late else ["all"]
    names = answerer.variate_names
    rows = [
        (branch, name, other, float(part.mean(axis=0)[i, j]))
        for branch, part in zip(branches, np.split(weights, len(branches)), strict=True)
        for i, name in enumerate(names)
        for j, other in enumerate(names)
    ]
    return pd.DataFrame(rows, columns=columns)


def _branches(table: pd.DataFrame) -> pd.DataFrame:
    """How alike the answers of each two branches are."""
    said = {str(name).removeprefix("says_"): table[name].to_numpy() for name in table if str(name).startswith("says_")}
    rows = []
    for (one, first), (other, second) in combinations(said.items(), 2):
        steady = len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0
        correlation = float("nan") if steady else float(np.corrcoef(first, second)[0, 1])
        rows.append((one, other, correlation, float(np.abs(first - second).mean())))
    return pd.DataFrame(rows, columns=["branch", "other", "correlation", "mean_difference"])


__all__ = ["METHODS", "Explanation", "explain", "usable_methods"]
