# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the page about numbers and classes is made of: a table's rows, what the model says of them, and which count."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.roles import find_roles
from ..data.tables import decoded
from ..escaping import csv_quoting, safe_cells, with_unit
from ..features.similar import SimilarSeries
from ..metrics import classification_metrics, regression_metrics
from ..model.intervals import percent
from ..training.train_report import figure
from .explanations import Explanation, explain, usable_methods
from .report import Source
from .run_report import UNUSUAL
from .series_batch import SeriesBatch
from .task_pipelines import PIPELINES

TESTED = "rows of the test part, from which the model has not learnt"
_GUESS = "mean"  # what `training.peers` calls it
_SEEN_TWICE = 0.5  # of the rows: a table that holds so many that the model has learnt from is that of its training


@dataclass
class Answered:
    """A table's rows with what the model says of one of its targets.

    Args:
        series: the rows that can be read.
        names: what each is called on the page.
        said: all answers; `numbers` `(n,)`: the predicted number, or the likeliest class.
        truth: `(n,)`, NaN (of classes -1) where it is not known; `None`: of none.
        ends: of intervals, where the model has some.
        counted: which rows count for errors: known ones, without those that the model may have learnt from.
        why: which ones these are, in words.
        classes: names, of a classification.
        title, unit: of the target; `target` is its number.
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
    title: str
    unit: str
    target: int = 0
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


def ask(source: Source) -> list[Answered]:
    """What the model says of the rows of the table, target by target."""
    answerer = source.answerer
    said: NDArray[Any] | None = None
    beside: tuple[Any, Any] = ([], None)
    found = []
    for number, (title, unit) in enumerate(targets_of(source)):
        series = answerer.of(number).read(source.frame, source.labels if number == 0 else None, **source.reading)
        if said is None:
            said, beside = answerer.answers(series), _beside(source, series)
        found.append(_of_target(source, series, said, beside, number, title, unit))
    return found


def targets_of(source: Source) -> list[tuple[str, str]]:
    """The title and the unit of each target."""
    answerer, processor = source.answerer, source.answerer.processor
    if answerer.task.name == "classification":
        return [(source.title, "")]
    count = answerer.config.num_targets
    numbered = ["prediction"] if count == 1 else [f"prediction {k + 1}" for k in range(count)]
    names, units = processor.target_names or numbered, processor.target_units or [""] * count
    return [(with_unit(*pair), pair[1]) for pair in zip(names, units, strict=True)]


def _of_target(
    source: Source, series: SeriesBatch, said: NDArray[Any], beside: tuple[Any, Any], number: int, title: str,
    unit: str,
) -> Answered:  # fmt: skip
    classes = [str(name) for _, name in sorted((source.answerer.config.id2label or {}).items())]
    classes = classes if source.answerer.task.name == "classification" else []
    numbers = said.argmax(axis=1) if classes else said[:, number]
    truth = None
    if series.labels is not None:
        labels = series.labels.reshape(len(series), -1)
        truth = labels[:, min(number, labels.shape[1] - 1)]
    known = np.zeros(len(series), bool) if truth is None else truth >= 0 if classes else np.isfinite(truth)
    counted, why = _counted(source, series, known, numbers)
    ends, near = (beside[0][number] if beside[0] else None), beside[1]
    return Answered(
        series, _names(series), said, numbers, truth, ends, counted, why, classes, title, unit, number, near
    )


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
        return tested & known, TESTED
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


def _beside(source: Source, series: SeriesBatch) -> tuple[list[Any], pd.DataFrame | None]:
    """Ends of the intervals of each target, for the rows that were read, of a model that knows some, and how like the
    training series these are, where such were kept beside it."""
    answerer = source.answerer
    asked: dict[str, Any] = {} if source.level is None else {"interval": source.level}
    if SimilarSeries.load(source.model) is not None:
        asked["similar"] = 1
    if not asked:
        return [], None
    predict: Any = PIPELINES[str(answerer.task.pipeline)](answerer.model, answerer.processor)
    own = [name for name in ("distance", "unusual", "nearest_1") if name in source.frame]
    with warnings.catch_warnings():  # the page has a note of its own of unusual series
        warnings.filterwarnings("ignore", UNUSUAL, UserWarning)
        found = predict(source.frame.drop(columns=own), **asked, **source.reading).reset_index(drop=True)
    rows = found.iloc[_positions(source, series)]
    near = rows[["distance", "unusual", "nearest_1"]].reset_index(drop=True) if "similar" in asked else None
    if "interval" not in asked:
        return [], near
    share = percent(asked["interval"])
    pairs = [(f"{name}_lower_{share}", f"{name}_upper_{share}") for name in predict.target_names()]
    return [tuple(rows[name].to_numpy(float) for name in pair) for pair in pairs], near


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


def explain_rows(source: Source, founds: Sequence[Answered]) -> dict[str, Explanation]:
    """Why the model says what it says of each target; of several by removal alone."""
    if min(source.explained, len(founds[0].series)) < 2:  # parts are exchanged between samples
        return {}
    methods = ["removal"] if len(founds) > 1 else usable_methods()
    whys = {}
    for found in founds:
        rows = np.flatnonzero(found.counted) if found.counted.sum() > 1 else np.arange(len(found.series))
        rows = np.sort(np.random.default_rng(0).permutation(rows)[: source.explained])
        part = source.frame.iloc[_positions(source, found.series)[rows]]
        whys[found.title] = explain(
            source.answerer.model, source.answerer.processor, part, methods=methods,
            target=None if found.classes else found.target, labels=source.labels if found.target == 0 else None,
            repeats=2, max_samples=None, **source.reading,
        )  # fmt: skip
    return whys


def measure(found: Answered) -> dict[str, float]:
    rows = found.counted
    if found.truth is None or not rows.any():
        return {}
    if found.classes:
        scores = np.log(np.maximum(found.said[rows], 1e-12))
        return classification_metrics(scores, found.truth[rows].astype(int))
    return regression_metrics(found.numbers[rows], found.truth[rows])


def guess_error(source: Source, found: Answered) -> float | None:
    """The typical error of always guessing the training mean: on the test part as the table of peers has it."""
    targets = (source.answerer.processor.statistics or {}).get("targets")
    if found.classes or found.truth is None or not targets:
        return None
    known = _peers(source, found).get(_GUESS)
    return float(np.abs(found.truth[found.counted] - targets["mean"][found.target]).mean()) if known is None else known


def best_peer(source: Source, found: Answered) -> tuple[str, float] | None:
    """The best of what the model was compared with on the same rows, but for a guess, and its typical error."""
    own = (source.metrics.get("model") or {}).get("name")
    others = {name: error for name, error in _peers(source, found).items() if name not in (_GUESS, own)}
    return min(others.items(), key=lambda pair: pair[1]) if others else None


def _peers(source: Source, found: Answered) -> dict[str, float]:
    """Typical errors that were measured on the rows that count here, which are all of the test part."""
    test, sizes = source.metrics.get("test"), source.metrics.get("sizes") or {}
    whole = found.why == TESTED and int(found.counted.sum()) == sizes.get("test")
    if not whole or found.target or not isinstance(test, Mapping):
        return {}
    rows = {str(name): row.get("mae") for name, row in test.items() if isinstance(row, Mapping)}
    return {name: float(error) for name, error in rows.items() if isinstance(error, int | float)}


__all__ = ["TESTED", "Answered", "ask", "best_peer", "columns_of", "explain_rows", "guess_error", "measure"]
