# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From somebody's table to a trained model beside its peers: the work of `timesclip train`, as functions.

    read -> roles -> split -> way -> fit -> compare -> (train_report) write

The test part is asked once, at the end; everything that is chosen is chosen on train and validation.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import ClassLabel, Dataset, concatenate_datasets
from numpy.typing import NDArray

from ..data.columns import step_columns
from ..data.partial import PartialSeries
from ..data.pivot import widened
from ..data.roles import SplitPlan, TableRoles, asked_split, choose_split, describe_split, find_roles, split_rows
from ..data.splits import PARTS
from ..data.tables import check_known, decoded, is_blank, is_nameless, parsed_numbers, read_table, some_of
from ..data.timestamps import tells_times
from ..data.wide import load_wide_table, read_statics
from ..metrics import classification_metrics, regression_metrics
from .calibration import calibration_of, measure_intervals
from .fit_series import Fitted, Recipe, SeriesData, fit_series
from .heads import out_of_fold
from .peers import Part, joined, peers_for, ridge
from .ways import Way, choose_way, patches

_ROW = "timesclip_row"  # a column of our own, by which rows are found again
_CURVE_POINTS = 8
_FEW_TESTED = 20
_FEWEST = 3  # that a head can be fitted to


@dataclass(frozen=True)
class TableJob:
    """What somebody wants of `timesclip train`, for a table that answers for whole series.

    Args:
        table: path or frame, with one row per series; or, where `long` says how it is read, per time step or value.
        target: column to predict.
        target_unit: for reports and cards.
        task: `"regression"` or `"classification"`; `None`: found.
        variates: `None`: all that are found.
        statics: columns to read beside the series; `["all"]`: all that may be.
        group, time, split: see `asked_split`.
        preset: of `PRESETS`, or `"auto"`.
        recipe: towers, checkpoints, epochs, seed, ...
        peers: whether to fit the peers, too.
        column_pattern: how columns of steps are named, see `data.columns`.
        similar: whether readings of training series are kept beside the model, see `features.similar`.
        similar_names: column of the names that are kept with them; `None`: no names.
        long: `series_column`, `timestamp_column`, perhaps `variate_column` and `value_column`: see `load_wide_table`.
        missing_values: numbers that mark missing values of variates, and rows without a target.
    """

    table: Any
    target: str
    target_unit: str = ""
    task: str | None = None
    variates: Sequence[str] | None = None
    statics: Sequence[str] = ()
    group: str | None = None
    time: str | None = None
    split: str | None = None
    preset: str = "auto"
    recipe: Recipe = field(default_factory=Recipe)
    peers: bool = True
    column_pattern: str | None = None
    similar: bool = True
    similar_names: str | None = None
    long: Mapping[str, str] = field(default_factory=dict)
    missing_values: Sequence[float] = ()


@dataclass
class Prepared:
    """A table that is read and split, before anything is learnt.

    Args:
        frame: its rows that have a target and a value of each variate.
        roles, plan: of its columns, and how they are split.
        rows: part -> numbers of its rows.
        parts: part -> data set with `past_values`, `labels`, perhaps `static_values`.
        class_names: of a classification, in the order of class numbers.
        left_out: what is to be told of rows that are not used.
        warnings: what is to be told of the split, at the end.
        same: `(n,)`, equal numbers for rows with one and the same series.
    """

    frame: pd.DataFrame
    roles: TableRoles
    plan: SplitPlan
    rows: dict[str, NDArray[np.int64]]
    parts: dict[str, Dataset]
    class_names: list[str]
    left_out: list[str]
    warnings: list[str] = field(default_factory=list)
    same: NDArray[np.int64] | None = None

    @property
    def num_steps(self) -> int:
        return np.shape(self.parts["train"][0]["past_values"])[0]

    def split_in_words(self) -> str:
        return describe_split(self.frame, self.plan, self.rows)

    def labels(self, part: str) -> NDArray[Any]:
        """`(n,)` numbers or class numbers."""
        return np.asarray(self.parts[part]["labels"][:]).reshape(len(self.rows[part]))

    def measure(self, answers: Any, part: str) -> dict[str, float]:
        """Metrics of answers to a part."""
        labels, answers = self.labels(part), np.asarray(answers)
        return (
            classification_metrics(answers, labels)
            if self.class_names
            else regression_metrics(answers.reshape(len(labels)), labels)
        )


@dataclass
class Outcome:
    """Everything that a report tells.

    Args:
        name: of our model in the table.
        way, fitted: how it was made, and what came out.
        answers: part -> what it says of it.
        measured: model -> metrics on the test part; ours first.
        validation: the same of ours on the validation part.
        curve: steps seen -> model -> metrics on the test part; empty unless parts of series were learnt.
        intervals: how the model's intervals (or sets) did on the test part, see `measure_intervals`.
        test_said: what they rest on there.
    """

    name: str
    way: Way
    fitted: Fitted
    answers: dict[str, NDArray[Any]]
    measured: dict[str, dict[str, float]]
    validation: dict[str, float]
    curve: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    intervals: dict[str, float] = field(default_factory=dict)
    test_said: dict[str, NDArray[Any]] = field(default_factory=dict)


# --- reading --------------------------------------------------------------------------------------------------------


def prepare(job: TableJob, ask: Callable[[TableRoles], SplitPlan | None] | None = None) -> Prepared:
    """Reads and splits the table.

    Args:
        job: what is wanted.
        ask: called where the split was not said, for somebody to choose; `None` of it, or not given: `choose_split`.

    Raises:
        ValueError, FileNotFoundError: whatever is wrong with the table, in words.
    """
    frame = _read(job)
    roles = find_roles(
        frame, job.target, task=job.task, variates=job.variates, statics=job.statics, column_pattern=job.column_pattern
    )
    how = {"group": job.group, "time": job.time, "split": job.split}
    plan = asked_split(frame, roles, how) or (ask(roles) if ask is not None else None) or choose_split(roles)
    if job.similar_names is not None and job.similar_names not in frame:
        raise ValueError(f"--similar-names {job.similar_names}: the table has no such column, only {some_of(frame)}")
    frame, left_out = _with_target(frame, job.target, "series" if job.long else "rows")
    dataset, class_names, unseen = _load(frame, roles, job.column_pattern)
    numbers = np.asarray(dataset[_ROW][:], np.int64)
    frame = read_table(frame.iloc[numbers])
    dataset = dataset.select_columns(
        [n for n in dataset.column_names if n in ("past_values", "labels", "static_values")]
    )
    classes = np.asarray(dataset["labels"][:]) if class_names else None
    within = choose_split(replace(roles, split_column=None))
    same = _same_series(dataset)
    rows = split_rows(frame, plan, classes, job.recipe.seed, within, same)
    parts = {name: dataset.select(selected) for name, selected in rows.items()}
    repeated = [told for part in ("validation", "test") if (told := _told_copies(same, rows, part))]
    prepared = Prepared(frame, roles, plan, rows, parts, class_names, left_out + unseen, repeated, same)
    _check_parts(prepared)
    return prepared


def _read(job: TableJob) -> pd.DataFrame:
    """The table with one row per series, and nothing in the place of marks of missing values."""
    frame = read_table(job.table)
    if job.long:
        known = [job.target, *([] if list(job.statics) == ["all"] else job.statics)]
        check_known(known, frame, "no such columns")
        roles: dict[str, Any] = {"variate_column": None, "value_column": None, **job.long}
        frame = _without_marks(frame, [job.target], job.missing_values)
        variates = job.variates
        if variates is None and roles["variate_column"] is None:
            variates = _changing_numbers(frame, roles["series_column"], {*roles.values(), *known})
        frame, _ = widened(frame, **roles, variates=variates, constant=known)
    if job.missing_values:
        names = [*step_columns(frame.columns, job.variates or (), job.column_pattern), job.target]
        frame = _without_marks(frame, [name for name in dict.fromkeys(names) if name in frame], job.missing_values)
    return frame


def _without_marks(frame: pd.DataFrame, names: list[str], marks: Sequence[float]) -> pd.DataFrame:
    """The table with blank cells where some columns hold marks of missing values."""
    if marks:
        numbers = frame[names].apply(lambda column: parsed_numbers(decoded(column).astype(object)))
        frame[names] = frame[names].mask(numbers.isin(list(marks)))
    return frame


def _changing_numbers(frame: pd.DataFrame, series_column: str, taken: set[Any]) -> list[str]:
    """The columns of numbers, but for such without a name, that are not the same in all rows of each series."""
    check_known([series_column], frame, "--series: no such column")
    names = [str(name) for name in frame if name not in taken and not is_nameless(name)]
    numbers = [n for n in names if pd.api.types.is_numeric_dtype(frame[n].dtype) and not tells_times(frame[n])]
    counts = frame.groupby(decoded(frame[series_column]))[numbers].nunique().max()
    return [name for name in numbers if counts[name] > 1]


def _with_target(frame: pd.DataFrame, target: str, what: str) -> tuple[pd.DataFrame, list[str]]:
    blank = is_blank(frame[target])
    if not blank.any():
        return frame, []
    kept = frame[~blank].reset_index(drop=True)
    kept.attrs = {}  # rows no longer stand where they stood in a file
    return kept, [f"{blank.sum()} {what} without {target} are left out"]


def _load(frame: pd.DataFrame, roles: TableRoles, column_pattern: str | None) -> tuple[Dataset, list[str], list[str]]:
    """The table as a data set, the names of its classes, and what is told of rows that nothing was seen of."""
    numbered = pd.concat([frame, pd.Series(np.arange(len(frame)), name=_ROW)], axis=1)
    numbered.attrs = frame.attrs  # with which row of a file is the first
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load_wide_table(
            numbered[[name for name in numbered if name not in roles.others]],
            target=roles.target,
            task=roles.task,
            variates=roles.variates,
            static_columns=roles.statics,
            drop_unobserved=True,
            column_pattern=column_pattern,
        )
    labels = dataset.features["labels"]
    names = list(labels.names) if isinstance(labels, ClassLabel) else []
    return dataset, names, [str(warning.message) for warning in caught]


def _same_series(dataset: Dataset) -> NDArray[np.int64]:
    """`(n,)`: equal numbers for rows whose series are the same, number for number."""
    numbers: dict[bytes, int] = {}
    series = np.asarray(dataset.with_format("numpy")["past_values"][:])
    return np.array([numbers.setdefault(one.tobytes(), len(numbers)) for one in series], np.int64)


def _told_copies(same: NDArray[np.int64], rows: dict[str, NDArray[np.int64]], part: str) -> str:
    """A warning, where series of a part are in one that is learnt or chosen from before, too; else `""`."""
    before = [name for name in PARTS[: PARTS.index(part)] if np.isin(same[rows[name]], same[rows[part]]).any()]
    if not before:
        return ""
    count = int(np.isin(same[rows[part]], np.concatenate([same[rows[name]] for name in before])).sum())
    return (
        f"{count} of {len(rows[part])} series of the {part} part are in the {' and '.join(before)} part, too, number "
        "for number, which flatters every model: drop the copies, or split by what they share"
    )


def _check_parts(prepared: Prepared) -> None:
    if (count := len(prepared.rows["train"])) < _FEWEST:
        raise ValueError(
            f"the train part has {count} of {len(prepared.frame)} series, {_FEWEST} are needed: give more rows, "
            "or split otherwise"
        )
    if prepared.class_names:
        if 2 * len(prepared.class_names) > len(prepared.frame):
            raise ValueError(
                f"--target {prepared.roles.target}: {len(prepared.class_names)} classes in {len(prepared.frame)} rows "
                "are too many to learn from; if these are numbers, correct the cells that are none"
            )
        known = set(prepared.labels("train").tolist())
        for part in ("validation", "test"):
            if unseen := sorted(set(prepared.labels(part).tolist()) - known):
                names = some_of(prepared.class_names[number] for number in unseen)
                raise ValueError(
                    f"the {part} part has classes that the train part has not: {names}; split by another column "
                    "(--group, --time, --split random), or leave these rows out"
                )
        if len(known) < 2:
            raise ValueError(
                f"the train part has one class only: {prepared.class_names[known.pop()]}; split otherwise"
            )
    elif np.ptp(prepared.labels("train")) == 0:
        raise ValueError(f"--target {prepared.roles.target}: the same number in every row of the train part")


# --- fitting --------------------------------------------------------------------------------------------------------


def fit(prepared: Prepared, job: TableJob, folder: Path, tell: Callable[[str], None] = lambda line: None) -> Outcome:
    """Trains the model, then its peers, and measures all of them on the test part.

    Args:
        prepared: of `prepare`.
        job: what is wanted.
        folder: for what is written in between.
        tell: is told what goes on.
    """
    roles, recipe = prepared.roles, job.recipe
    train, validation = prepared.parts["train"], prepared.parts["validation"]
    partial = recipe.random_length is not None
    taught = None if recipe.towers == "auto" else bool(recipe.starts and not recipe.checkpoints)
    pretrained = bool(recipe.checkpoints)
    way = choose_way(len(train), roles.task, preset=job.preset, pretrained=pretrained, taught=taught, partial=partial)
    tell(f"model: preset {way.preset} ({way.reason})")
    shape: dict[str, Any] = {"num_variates": len(roles.variates), "context_length": prepared.num_steps}
    shape |= patches(prepared.num_steps)
    processing: dict[str, Any] = {"variate_names": list(roles.variates)}
    if job.missing_values:
        processing["missing_values"] = list(job.missing_values)
    fit_on = train
    if prepared.class_names:
        shape["id2label"] = dict(enumerate(prepared.class_names))
        shape["label2id"] = {name: number for number, name in enumerate(prepared.class_names)}
        fit_on = train.remove_columns("labels")  # class numbers have no mean to standardise by
    else:
        processing |= {"target_names": [roles.target], "target_units": [job.target_unit]}
    few = len(prepared.rows["test"])
    rough = [f"the test part has only {few} series, so these figures are rough"] if few < _FEW_TESTED else []
    data = SeriesData(roles.task, shape, processing, fit_on, train, validation, _folds(prepared, "train"))
    fitted = fit_series(data, way, recipe, folder)
    for line in fitted.notes:
        tell(line)
    answers = {"validation": fitted.answers(validation)}
    known = fitted.said(validation)
    source = "validation part, which also chose the epoch"
    if way.kind == "heads":  # which the validation part chose nothing of: it may teach, too
        both = concatenate_datasets([train, validation])
        fit_on = both if not prepared.class_names else both.remove_columns("labels")
        groups = _folds(prepared, "train", "validation")
        fitted = fit_series(replace(data, fit_on=fit_on, train=both, groups=groups), way, recipe, folder)
        fitted.notes.append(f"validation answered by a fit on train alone, then fitted on both, {len(both)} series")
        tell(fitted.notes[-1])
        if fitted.heads is not None and fitted.trainer.model.config.ensemble_size == 1:
            left_out = "one series" if groups is None else "a whole time or group"
            known, source = out_of_fold(fitted.heads), f"train and validation part, {left_out} left out at a time"
        else:
            source = "validation part, answered by a fit on train alone"
    config = fitted.trainer.model.config
    config.calibration = calibration_of(config, *known, source=source)
    test_said, _ = fitted.said(prepared.parts["test"])
    answers["test"] = fitted.answers(prepared.parts["test"])
    name = f"TimesCLIP {way.preset}"
    measured = {name: prepared.measure(answers["test"], "test")}
    if job.peers:
        measured |= measure_peers(prepared, recipe.seed, tell)
    outcome = Outcome(
        name, way, fitted, answers, measured, prepared.measure(answers["validation"], "validation"),
        warnings=[*fitted.warnings, *prepared.warnings, *rough], test_said=test_said,
        intervals=measure_intervals(config, test_said, prepared.labels("test")),
    )  # fmt: skip
    if recipe.random_length is not None:
        outcome.curve = length_curve(prepared, outcome, recipe, tell)
    return outcome


def measure_peers(prepared: Prepared, seed: int, tell: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Peer -> its metrics on the test part; ridge chooses inside of what it learns from: that is both other parts."""
    parts = {name: as_part(prepared, name) for name in prepared.parts}
    both, measured = _both_parts(prepared), {}
    for name, peer in peers_for(len(prepared.class_names)).items():
        tell(f"comparing with {name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scikit-learn, on searches that did not converge
            answers = peer(both if peer is ridge else parts["train"], parts["validation"], parts["test"], seed)
        measured[name] = prepared.measure(answers, "test")
    return measured


def as_part(prepared: Prepared, part: str, seen: int | None = None) -> Part:
    """A part in the form that peers take; `seen`: with its first (or newest) so many steps alone."""
    rows = prepared.rows[part]
    values = np.asarray(prepared.parts[part].with_format("numpy")["past_values"][:])
    if seen is not None:
        values = np.stack([row["past_values"] for row in PartialSeries(prepared.parts[part], seen)])[:, :seen]
    frame = prepared.frame.iloc[rows].reset_index(drop=True)
    return Part(
        values,
        read_statics(frame, prepared.roles.statics) if prepared.roles.statics else frame[[]],
        prepared.labels(part),
        frame,
        _folds(prepared, part),
        len(prepared.class_names),
    )


def _both_parts(prepared: Prepared, seen: int | None = None) -> Part:
    """Train and validation part as one, for a peer that chooses inside of what it learns from."""
    train, validation = (as_part(prepared, name, seen) for name in ("train", "validation"))
    return replace(joined(train, validation), folds=_folds(prepared, "train", "validation"))


def _folds(prepared: Prepared, *parts: str) -> NDArray[Any] | None:
    """What rows of parts share and cross-validation must not tear apart: times or groups, as those of the split; where
    there are none, copies of a series."""
    column, rows = prepared.plan.column, np.concatenate([prepared.rows[part] for part in parts])
    if prepared.plan.kind == "column":
        named = [*prepared.roles.times, *prepared.roles.groups]
        column = min(named, key=lambda candidate: candidate.count).name if named else None
    if column is None:
        same = None if prepared.same is None else prepared.same[rows]
        return same if same is not None and 1 < len(np.unique(same)) < len(same) else None
    folds = decoded(prepared.frame[column]).astype(str).to_numpy()[rows]
    return folds if len(np.unique(folds)) > 1 else None


def length_curve(
    prepared: Prepared, outcome: Outcome, recipe: Recipe, tell: Callable[[str], None]
) -> dict[int, dict[str, dict[str, float]]]:
    """Steps seen -> our one model, and ridge fitted for this length -> metrics on the test part."""
    assert recipe.random_length is not None
    low, high = recipe.random_length
    side = outcome.fitted.processor.padding_side or "right"
    peer_name = next(name for name, peer in peers_for(len(prepared.class_names)).items() if peer is ridge)
    tell("measuring after each part of the season")
    curve = {}
    for seen in sorted({round(step) for step in np.linspace(low, high, _CURVE_POINTS)}):
        test = PartialSeries(prepared.parts["test"], seen, side)
        curve[seen] = {outcome.name: prepared.measure(outcome.fitted.answers(test), "test")}
        if side == "right":
            both, part = _both_parts(prepared, seen), as_part(prepared, "test", seen)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                curve[seen][f"{peer_name} for each"] = prepared.measure(ridge(both, both, part, recipe.seed), "test")
    return curve


__all__ = ["Outcome", "Prepared", "TableJob", "as_part", "fit", "length_curve", "measure_peers", "prepare"]
