# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the page about numbers and classes is made of: a table's rows, what the model says of them, and which count."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.roles import find_roles
from ..data.tables import decoded
from ..escaping import csv_quoting, safe_cells
from ..features.similar import SimilarSeries
from ..metrics import classification_metrics, regression_metrics
from ..training.train_report import figure
from .explanations import Explanation, explain, usable_methods
from .report import Source
from .series_batch import SeriesBatch
from .task_pipelines import PIPELINES

_SEEN_TWICE = 0.5  # of the rows: a table that holds so many that the model has learnt from is that of its training


@dataclass
class Answered:
    """A table's rows with what the model says of them.

    Args:
        series: the rows that can be read.
        names: what each is called on the page.
        said: all answers; `numbers` `(n,)`: the predicted number, or the likeliest class.
        truth: `(n,)`, NaN (of classes -1) where it is not known; `None`: of none.
        ends: of intervals, where the model has some.
        counted: which rows count for errors: known ones, without those that the model may have learnt from.
        why: which ones these are, in words.
        classes: names, of a classification.
        near: `distance`, `unusual` and `nearest_1` of each row, where training series were kept beside the model.
    """

    series: SeriesBatch
    names: list[str]
    said: NDArray[Any]
    numbers: NDArray[Any]
    truth: NDArray[Any] | None
    ends: tuple[NDArray[Any], NDArray[Any]] | None
    counted: NDArray[np.bool_]
    why: str
    classes: list[str]
    near: pd.DataFrame | None = None

    @property
    def wrong(self) -> NDArray[np.float64]:
        """How far off each row is: the absolute error, or one less the true class's probability."""
        assert self.truth is not None
        if not self.classes:
            return np.abs(self.numbers - self.truth)
        return 1 - self.said[np.arange(len(self.said)), self.truth.astype(int)]

    def shown(self, number: Any) -> str:
        """An answer, or a truth, as text."""
        if self.classes:
            return self.classes[int(number)] if number >= 0 else ""
        return "" if not np.isfinite(number) else figure(float(number))


def ask(source: Source) -> Answered:
    answerer = source.answerer
    series = answerer.read(source.frame, source.labels, **source.reading)
    said = answerer.answers(series)
    classes = [str(name) for _, name in sorted((answerer.config.id2label or {}).items())]
    classes = classes if answerer.task.name == "classification" else []
    numbers = said.argmax(axis=1) if classes else said[:, 0]
    truth = None if series.labels is None else series.labels.reshape(len(series), -1)[:, 0]
    known = np.zeros(len(series), bool) if truth is None else truth >= 0 if classes else np.isfinite(truth)
    counted, why = _counted(source, series, known, numbers)
    ends, near = _beside(source, series)
    return Answered(series, _names(series), said, numbers, truth, ends, counted, why, classes, near)


def _names(series: SeriesBatch) -> list[str]:
    """What rows are called: by the column that tells most of them apart, beside their row."""
    identity = series.identity
    text = [name for name in identity if identity[name].nunique() == len(identity) and len(identity)]
    if text:
        return [str(name) for name in decoded(identity[text[0]])]
    telling = [name for name in identity if 1 < identity[name].nunique()][:3]
    return [
        " ".join(["row", str(row), *(str(identity[name].iloc[k]) for name in telling)])
        for k, row in enumerate(series.names)
    ]


def _counted(
    source: Source, series: SeriesBatch, known: NDArray[np.bool_], numbers: NDArray[Any]
) -> tuple[NDArray[np.bool_], str]:
    """The rows of the table that errors may be taken from: those of the test part, if the table is its own."""
    tested = _test_rows(source, series)
    sizes = source.metrics.get("sizes") or {}
    learnt = sum(int(sizes.get(part, 0)) for part in ("train", "validation"))
    its_own = tested is not None and learnt > 0 and int((~tested).sum()) >= _SEEN_TWICE * learnt
    if tested is not None and its_own and (tested & known).any():
        return tested & known, "rows of the test part, from which the model has not learnt"
    if tested is not None and known.any() and not (known & ~tested).any():
        return known, "rows of this table"
    return known, "rows of this table, whether the model has learnt from some of them is not known"


def _test_rows(source: Source, series: SeriesBatch) -> NDArray[np.bool_] | None:
    """Which rows stand in the `test_predictions.csv` beside the model; `None`: nothing tells."""
    path = Path(source.model) / "test_predictions.csv"
    target = source.metrics.get("target")
    if not path.is_file() or target is None:
        return None
    try:
        tested = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError):
        return None
    # Decimals are written in more than one way; names, years and dates are not.
    exact = [name for name in series.identity if name != target and series.identity[name].dtype.kind != "f"]
    safe, _ = safe_cells(series.identity[exact])
    text = io.StringIO()
    safe.to_csv(text, index=False, quoting=csv_quoting(safe))
    text.seek(0)
    own = pd.read_csv(text, dtype=str, keep_default_na=False) if len(safe.columns) else pd.DataFrame()
    shared = [name for name in own if name in tested]
    if not shared:
        return None
    keys = pd.MultiIndex.from_frame(tested[shared])
    return np.asarray(pd.MultiIndex.from_frame(own[shared]).isin(keys))


def _beside(source: Source, series: SeriesBatch) -> tuple[Any, pd.DataFrame | None]:
    """Ends of the intervals of the rows that were read, of a model that was calibrated, and how like the training
    series they are, where such were kept beside it."""
    answerer = source.answerer
    asked: dict[str, Any] = {}
    if getattr(answerer.config, "calibration", None) is not None and answerer.task.name == "regression":
        asked["interval"] = source.level
    if SimilarSeries.load(source.model) is not None:
        asked["similar"] = 1
    if not asked:
        return None, None
    predict = PIPELINES[str(answerer.task.pipeline)](answerer.model, answerer.processor)
    own = [name for name in ("distance", "unusual", "nearest_1") if name in source.frame]
    found = predict(source.frame.drop(columns=own), **asked, **source.reading).reset_index(drop=True)
    rows = found.iloc[_positions(source, series)]
    ends = [[name for name in found if f"_{end}_" in str(name)][-1:] for end in ("lower", "upper")]
    near = rows[["distance", "unusual", "nearest_1"]].reset_index(drop=True) if "similar" in asked else None
    if "interval" not in asked:
        return None, near
    return tuple(rows[name[0]].to_numpy(float) for name in ends), near


def _positions(source: Source, series: SeriesBatch) -> NDArray[np.int64]:
    """Rows of the table that were read."""
    index = pd.Index(source.frame.index if isinstance(source.frame, pd.DataFrame) else range(len(source.frame)))
    return np.asarray(index.get_indexer(pd.Index(series.names)))


def columns_of(source: Source, found: Answered) -> dict[str, str | None]:
    """The columns of group and time by which errors are shown: as said, as the split had them, or found."""
    identity, split = found.series.identity, source.metrics.get("split") or {}
    chosen = {"group": source.group, "time": source.time}
    if split.get("by") in chosen and chosen[split["by"]] is None and split.get("column") in identity:
        chosen[split["by"]] = split["column"]
    target = source.labels or (source.answerer.processor.target_names or [source.metrics.get("target")])[0]
    if target in source.frame and None in chosen.values():
        try:
            roles = find_roles(source.frame, target, variates=source.answerer.processor.variate_names)
        except ValueError:
            return chosen
        for kind, candidates in (("group", roles.groups), ("time", roles.times)):
            fitting = [c.name for c in candidates if c.name in identity and c.count < len(identity)]
            chosen[kind] = chosen[kind] or next(iter(sorted(fitting, key=lambda n: identity[n].nunique())), None)
    return chosen


def explain_rows(source: Source, found: Answered) -> Explanation | None:
    if min(source.explained, len(found.series)) < 2:  # parts are exchanged between samples
        return None
    rows = np.flatnonzero(found.counted) if found.counted.sum() > 1 else np.arange(len(found.series))
    rows = np.sort(np.random.default_rng(0).permutation(rows)[: source.explained])
    methods = usable_methods()
    part = source.frame.iloc[_positions(source, found.series)[rows]]
    return explain(
        source.answerer.model, source.answerer.processor, part, methods=methods, labels=source.labels, repeats=2,
        max_samples=None, **source.reading,
    )  # fmt: skip


def measure(found: Answered) -> dict[str, float]:
    rows = found.counted
    if found.truth is None or not rows.any():
        return {}
    if found.classes:
        scores = np.log(np.maximum(found.said[rows], 1e-12))
        return classification_metrics(scores, found.truth[rows].astype(int))
    return regression_metrics(found.numbers[rows], found.truth[rows])


def guess_error(source: Source, found: Answered) -> float | None:
    """The typical error of always guessing the training mean."""
    targets = (source.answerer.processor.statistics or {}).get("targets")
    if found.classes or found.truth is None or not targets:
        return None
    return float(np.abs(found.truth[found.counted] - targets["mean"][0]).mean())


__all__ = ["Answered", "ask", "columns_of", "explain_rows", "guess_error", "measure"]
