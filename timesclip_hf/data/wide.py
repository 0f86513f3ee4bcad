# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Wide tables, one row per series and a column per variate and step, to `datasets.Dataset`.

A row of such a dataset is one series: `past_values`, and where they exist `past_observed_mask`, `static_values`,
`labels`. Other columns (site, year, split, ...) travel along for splitting and for reading results, and never reach a
model.
"""

import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Array2D, ClassLabel, Dataset, Features, List, Value
from numpy.typing import NDArray

from ..model.messages import one_run
from ..model.reader import WideOrigin
from .classes import class_names_of, read_classes, with_names
from .collator import ROW_COLUMNS
from .columns import (
    CLEAR_PATTERNS,
    Step,
    number_steps,
    pattern_text,
    step_columns,
    suggested_dates,
    suggested_pattern,
    unread_digits,
)
from .pivot import widened
from .tables import (
    PartFaults,
    check_complete,
    check_known,
    decoded,
    name_list,
    parsed_numbers,
    read_numbers,
    read_table,
    read_variates,
    repeated_names,
    row_number,
    row_numbers,
    some_of,
    warn_caller,
    whole_number,
)

_HOLES_SHOWN = 6


def load_wide_table(
    table: Any,
    *,
    target: str | Sequence[str] | None,
    task: str = "regression",
    class_names: Any = None,
    variates: Sequence[str] | None = None,
    static_columns: Sequence[str] = (),
    num_steps: int | None = None,
    drop_unobserved: bool = False,
    column_pattern: str | None = None,
    series_column: str | None = None,
    timestamp_column: str | None = None,
    variate_column: str | None = None,
    value_column: str | None = None,
) -> Dataset:
    """Read a wide table: one row per series, columns `{variate}_{step:02d}` (`ndvi_00` ... `ndvi_35`).

    Step numbers have no hole, and the same range for all variates; they may start anywhere, and the result remembers
    them. Dates and numbers of one digit: see `data.columns`. Blank cells, and what pandas reads as missing in a CSV
    file (`NA`, `NaN`, `null`, ...), are missing values.

    Args:
        table: a path, a DataFrame, or another table that `read_table` knows; it is left unchanged.
        target: column to predict, or a list of several; None for new rows whose targets are not known.
        task: `"regression"`: targets are numbers; `"classification"`: the one target holds classes, as text, booleans
            or whole numbers, see `data.classes`.
        class_names: for `"classification"`, all classes in the order of their numbers, or `config.id2label`; so does a
            second table get the numbers of the first. None takes the classes that occur.
        variates: names and order of the variates; None takes all, in the order of `find_variates`. Steps of variates
            that are not named are left out of the result.
        static_columns: columns of numbers or strings that describe the whole series (latitude, soil, ...).
        num_steps: keep only the first so many steps, for early prediction; None keeps all.
        drop_unobserved: leave out, with a warning, rows in which a variate has no value at all in the kept steps (a
            field under clouds until then), instead of raising.
        column_pattern: how columns are named: a name of `data.columns.COLUMN_PATTERNS` (`"dates"`, `"dots"`, ...), or
            a regular expression with the groups `variate` and `step` or `date`; None: as above, or with whole dates.
            The result remembers it, and so does a processor that is fitted on it.
        series_column, timestamp_column: make a wide table of one with a row per time step first: which series a row
            belongs to, and when it is from; `variates` are its columns, see `data.pivot`.
        variate_column, value_column: make it of a table with a row per value (field, date, band, value): which variate
            it is of, and the value; beside both above.

    Returns:
        One row per row of the table, in its order, with the columns

        - `past_values`: `Array2D((num_steps, num_variates), "float64")`, NaN where missing;
        - `labels`: list of `num_targets` float64; or the number of the class, whose feature `ClassLabel` has the
          `names`; absent when `target` is None;
        - `static_values`: one `{name: float or string}` per row; absent without `static_columns`;
        - every column of the table that is neither of these nor a variate's step, under its own name.

    Raises:
        FileNotFoundError: no file at this path.
        ValueError: missing or duplicate columns, step numbers with holes or not the same for all variates, cells that
            are no finite numbers, missing targets or static values, a variate without any value.
    """
    frame = read_table(table)
    roles: dict[str, Any] = {"series_column": series_column, "timestamp_column": timestamp_column}
    pivot: dict[str, Any] = {"variate_column": variate_column, "value_column": value_column}
    targets, statics = _check_roles(list(frame.columns), target, static_columns)
    if given := [name for name, column in (roles | pivot).items() if column is not None]:
        if column_pattern is not None or series_column is None or timestamp_column is None:
            raise ValueError(
                f"{' and '.join(given)}: expected series_column and timestamp_column, and no column_pattern"
            )
        frame, variates = widened(frame, **roles, **pivot, variates=variates, constant=[*targets, *statics])
    columns = list(frame.columns)
    _check_task(task, targets, class_names)
    if task == "classification" and targets and (known := class_names_of(table, targets[0])):
        frame[targets[0]] = with_names(frame[targets[0]], known)
        class_names = known if class_names is None else class_names
    others = [name for name in columns if name not in (*targets, *statics)]
    series, names, steps, dates = read_wide_series(frame[others], variates, num_steps, column_pattern)
    in_series = step_columns(others, _named(variates), column_pattern)
    kept = [name for name in others if name not in in_series]
    if clashing := [name for name in kept if name in ROW_COLUMNS]:
        raise ValueError(f"columns {clashing} of the table have names that the result needs for itself: rename them")
    if column_pattern is not None and (alike := [name for name in kept if name in names]):
        warn_caller(
            f"columns {some_of(map(repr, alike))} are called as variates are, and are not read as their steps: if "
            "they are the first ones, as pandas and R name them, call them so (ndvi.0)"
        )
    if column_pattern is None and variates is None:
        _tell_unread(kept, list(in_series), names, steps, dates)
    seen, complaint = find_observed_rows(series, names, steps, frame)
    if complaint and not drop_unobserved:
        raise ValueError(f"{complaint}; drop these rows or variates, or keep more steps")
    if complaint:
        warnings.warn(f"{complaint}; {np.sum(~seen)} rows left out", stacklevel=2)
        series, frame = series[seen], frame[seen]
    labels = _read_labels(frame, targets, task, class_names)
    dataset = _as_dataset(frame, series, labels, statics, kept)
    WideOrigin(steps[0], steps[-1], names, pattern_text(column_pattern), dates or None).write(dataset)
    return dataset


def _tell_unread(kept: list[str], read: list[str], names: list[str], steps: list[int], dates: list[str]) -> None:
    """Warns of ordinary columns that look like steps, and of numbers that look like dates."""
    if told := suggested_pattern(kept, CLEAR_PATTERNS):
        warn_caller(f"columns that are not read as steps: {told}, or name the true variates in `variates`")
    if unread := unread_digits(kept, len(steps)):
        warn_caller(
            f"columns {some_of(map(repr, unread))} have numbers of one digit, {some_of(names)} of two: only these are "
            "read as steps; name all `variates`, or pass column_pattern='underscores'"
        )
    if told := suggested_dates(read) if not dates else None:
        warn_caller(f"{told}; they are read as steps {_span(steps)} of {some_of(names)}, unless these are named")


def read_wide_table(table: Any) -> pd.DataFrame:
    """The pandas table that `load_wide_table` works with: see `read_table`."""
    return read_table(table)


def _as_dataset(
    frame: pd.DataFrame,
    series: NDArray[np.floating],
    labels: tuple[NDArray[Any], Any] | None,
    statics: list[str],
    kept: list[str],
) -> Dataset:
    """Series `(N, T, V)`, labels with their feature, and the other columns of their table."""
    content: dict[str, Any] = {"past_values": series}
    features: dict[str, Any] = {"past_values": Array2D(series.shape[1:], "float64")}
    if labels is not None:
        content["labels"], features["labels"] = labels
    if statics:
        columns = read_statics(frame, statics)
        content["static_values"] = columns.to_dict("records")
        features["static_values"] = {
            name: Value("float64" if pd.api.types.is_numeric_dtype(columns[name]) else "string") for name in statics
        }
    for name in kept:
        content[name] = _arrow_column(frame[name])
        features |= Features.from_arrow_schema(pa.schema([(name, content[name].type)]))
    return Dataset.from_dict(content, features=Features(features))


def _read_labels(
    frame: pd.DataFrame, targets: list[str], task: str, class_names: Any
) -> tuple[NDArray[Any], Any] | None:
    """Numbers `(N, num_targets)` or classes `(N,)`, and their feature; None without targets."""
    if not targets:
        return None
    if task == "classification":
        classes, names = read_classes(frame[targets[0]], class_names)
        return classes, ClassLabel(names=names)
    try:
        values = read_variates(frame, targets)
    except ValueError as error:
        if all(pd.api.types.is_numeric_dtype(frame[name].dtype) for name in targets):
            raise
        raise ValueError(f"{error}. If these are classes, pass task='classification'") from error
    for name, labels in zip(targets, values.T, strict=True):
        check_complete(np.isnan(labels), "targets", frame[name])
    return values, List(Value("float64"))


def find_variates(
    columns: Iterable[str], variates: Iterable[str] = (), column_pattern: str | None = None
) -> dict[str, list[int]]:
    """Variate -> sorted step numbers of its columns (`step_columns`); variates in the order of their first one.

    Dates have the numbers of their order among all dates.

    Raises:
        ValueError: one step is written twice, as `ndvi_01` and `ndvi_001`.
    """
    found = _find_steps(columns, variates, column_pattern)
    dates = sorted({step for steps in found.values() for step in steps if not isinstance(step, int)})
    order = {date: number for number, date in enumerate(dates)}
    return {
        variate: sorted(step if isinstance(step, int) else order[step] for step in steps)
        for variate, steps in found.items()
    }


def _find_steps(
    columns: Iterable[str], variates: Iterable[str], column_pattern: str | None
) -> dict[str, dict[Step, str]]:
    """Variate -> step -> column."""
    spellings: dict[str, dict[Step, str]] = {}
    for name, (variate, step) in step_columns(columns, variates, column_pattern).items():
        first = spellings.setdefault(variate, {}).setdefault(step, name)
        if first != name:
            raise ValueError(f"duplicate columns: {first!r} and {name!r} are the same step: drop one")
    return spellings


class WideSeries(NamedTuple):
    """The series of a wide table.

    Args:
        values: `(N, T, V)`, NaN where missing.
        names: of the V variates.
        steps: numbers of the T steps.
        dates: of the T steps; empty where columns have numbers.
    """

    values: NDArray[np.floating]
    names: list[str]
    steps: list[int]
    dates: list[str]


def read_wide_series(
    frame: pd.DataFrame,
    variates: Sequence[str] | None = None,
    num_steps: int | None = None,
    column_pattern: str | None = None,
    step_dates: Sequence[str] | None = None,
    faults: dict[int, str] | None = None,
) -> WideSeries:
    """The series of a wide table.

    Args:
        frame: as `read_table` gives it, without the columns that have another role.
        variates, num_steps, column_pattern: as for `load_wide_table`.
        step_dates: of the table that a model was trained on, see `data.columns`.
        faults: as for `read_numbers`.
    """
    found = _find_steps(frame.columns, _named(variates), column_pattern)
    names = _choose_variates(list(frame.columns), found, variates, column_pattern)
    numbers, dates = number_steps((step for name in names for step in found[name]), step_dates)
    columns = {name: {numbers[step]: column for step, column in found[name].items()} for name in names}
    hint = suggested_dates(column for name in names for column in found[name].values()) if not dates else None
    steps, dates = _common_steps(columns, dates, num_steps, hint)
    values = np.empty((len(frame), len(steps), len(names)))
    with one_run():
        for place, name in enumerate(names):
            for row, step in enumerate(steps):
                values[:, row, place] = read_numbers(frame[columns[name][step]], faults)
    return WideSeries(values, names, steps, dates)


def at_steps(series: NDArray[np.floating], first: int, start: int, length: int) -> NDArray[np.floating]:
    """The steps `start`, `start + 1`, ... `(N, length, V)` of series `(N, T, V)` that begin at step `first`.

    Steps that they do not have are NaN.
    """
    placed = np.full((len(series), length, series.shape[2]), np.nan, series.dtype)
    low, high = max(start, first), min(start + length, first + series.shape[1])
    if low < high:
        placed[:, low - start : high - start] = series[:, low - first : high - first]
    return placed


def find_observed_rows(
    series: NDArray[np.floating], names: list[str], steps: list[int], table: pd.DataFrame
) -> tuple[NDArray[np.bool_], str | None]:
    """Rows `(N,)` of a table that have a value of every variate, and what there is to say about the others."""
    blank: NDArray[np.bool_] = np.all(np.isnan(series), axis=1)  # (N, V)
    rows: NDArray[np.bool_] = np.any(blank, axis=1)
    if not rows.any():
        return ~rows, None
    where = some_of(f"row {row_number(row, table)}: {names[variate]}" for row, variate in np.argwhere(blank))
    return ~rows, f"no value at all in steps {_span(steps)}, in {row_numbers(rows, table)}: {where}"


def read_statics(frame: pd.DataFrame, names: Sequence[str], faults: dict[int, str] | None = None) -> pd.DataFrame:
    """The columns that describe whole series: numbers, or objects where they are text; none may be missing.

    Args:
        faults: as for `read_numbers`.
    """
    columns = {name: _numbers_or_text(frame[name], faults) for name in names}
    for name, values in columns.items():
        missing = pd.isna(values)
        if faults is None or (missing.all() and not isinstance(faults, PartFaults)):
            check_complete(missing, "static values", frame[name])
        else:
            told = f"its static value of column {name!r} is missing"
            faults |= {int(row): told for row in np.flatnonzero(missing) if row not in faults}
    return pd.DataFrame(columns)


def _check_roles(
    columns: list[str], target: str | Sequence[str] | None, static_columns: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The columns to predict and those that describe a series; all are there, and none is named twice."""
    statics = name_list(static_columns, "static_columns")
    targets = [] if target is None else [target] if isinstance(target, str) else name_list(target, "target")
    if target is not None and not targets:
        raise ValueError("target is an empty list: name a column, or pass None for rows without targets")
    if repeated := repeated_names([*targets, *statics]):
        raise ValueError(f"columns named more than once in target and static_columns: {repeated}")
    for role, names in (("target", targets), ("static", statics)):
        check_known(names, columns, f"missing {role} columns", lambda: f"found {_inventory(columns)}")
    return targets, statics


def _check_task(task: str, targets: list[str], class_names: Any) -> None:
    if task not in ("regression", "classification"):
        raise ValueError(f"task is {task!r}, expected 'regression' or 'classification'")
    if task == "classification" and len(targets) > 1:
        raise ValueError(f"task='classification' takes one target, found {len(targets)}: {some_of(targets)}")
    if task != "classification" and class_names is not None:
        raise ValueError("class_names are for task='classification' only")


def _choose_variates(
    columns: list[str], found: Iterable[str], variates: Sequence[str] | None, column_pattern: str | None
) -> list[str]:
    names = list(found) if variates is None else name_list(variates, "variates")
    if repeated := repeated_names(names):
        raise ValueError(f"variates named more than once: {repeated}")

    def what_there_is() -> str:
        told = suggested_pattern(columns) if column_pattern is None else f"column_pattern is {column_pattern!r}"
        return f"found {_inventory(columns, column_pattern)}{f'. {told}' if told else ''}"

    check_known(names, found, "missing variates", what_there_is)
    if not names:
        raise ValueError(f"no variates: expected columns like ndvi_00, ndvi_01, ...; {what_there_is()}")
    return names


def _named(variates: Sequence[str] | None) -> list[str]:
    return [] if variates is None else name_list(variates, "variates")


def _common_steps(
    found: dict[str, dict[int, str]], dates: list[str], num_steps: int | None, hint: str | None
) -> tuple[list[int], list[str]]:
    """The steps that all variates share, cut to the first `num_steps`, and their dates."""
    advice = (
        "add the columns (empty where nothing was measured), or name the true variates in `variates`; a column that "
        "is no step must be renamed, or columns be found by a column_pattern"
    )
    advice = f"note: {hint}; else {advice}" if hint else f"please {advice}"
    start = min(min(columns) for columns in found.values())

    def shown(step: int) -> str:
        return dates[step - start] if dates else f"{step:02d}"

    def span(steps: Sequence[int]) -> str:
        return f"{shown(steps[0])}-{shown(steps[-1])}" if not dates else f"{shown(steps[0])} to {shown(steps[-1])}"

    steps_of = {name: sorted(columns) for name, columns in found.items()}
    if holes := [
        f"{name} {told}" for name, steps in steps_of.items() if (told := _told_holes(steps, found[name], shown))
    ]:
        raise ValueError(f"holes in the step numbers: {some_of(holes)}; {advice}")
    ranges: dict[str, list[str]] = {}
    for name, steps in steps_of.items():
        ranges.setdefault(span(steps), []).append(name)
    if len(ranges) > 1:
        described = "; ".join(f"{words}: {some_of(names)}" for words, names in ranges.items())
        raise ValueError(f"variates have different steps: {described}; {advice}")
    steps = next(iter(steps_of.values()))
    if num_steps is not None:
        steps = steps[: whole_number(num_steps, "num_steps", 1, len(steps), f"the table's {len(steps)} steps")]
    return steps, dates[: len(steps)]


def _told_holes(steps: list[int], columns: dict[int, str], shown: Callable[[int], str]) -> str | None:
    """What there is to say about holes in sorted step numbers; their size does not matter."""
    jumps = [(low, high) for low, high in itertools.pairwise(steps) if high - low > 1]
    if not jumps:
        return None
    missing = itertools.chain.from_iterable(range(low + 1, high) for low, high in jumps)
    count = sum(high - low - 1 for low, high in jumps)
    listed = list(itertools.islice(missing, _HOLES_SHOWN))
    more = f" and {count - len(listed)} more" if count > len(listed) else ""
    low, high = max(jumps, key=lambda jump: jump[1] - jump[0])
    # A number that stands alone behind all others is hardly a step.
    alone = f" (does column {columns[high]!r} hold a step?)" if high - low > 2 + len(steps) else ""
    return f"lacks {', '.join(map(shown, listed))}{more}{alone}"


def _numbers_or_text(column: pd.Series, faults: dict[int, str] | None = None) -> NDArray[Any]:
    """A static column as float64, or as objects if its cells are strings."""
    column = decoded(column)
    if pd.api.types.infer_dtype(column) != "string":
        return read_numbers(column, faults)
    column = column.mask(column.str.strip() == "")
    numeric = parsed_numbers(column).notna()
    text = column[~numeric & column.notna()].unique()
    if numeric.any() and len(text):
        found = some_of(map(repr, text))
        warnings.warn(f"static column {column.name!r} mixes numbers and text ({found}): read as text", stacklevel=4)
    return column.to_numpy(object)


def _arrow_column(column: pd.Series) -> pa.Array:
    column = decoded(column)
    if isinstance(column.dtype, pd.PeriodDtype):  # which data sets do not know: by their first moments
        column = column.dt.to_timestamp()
    try:
        array = pa.array(column, from_pandas=True)
    except pa.ArrowException as error:
        raise ValueError(f"column {column.name!r} holds values that cannot be stored together: {error}") from error
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array


def _span(steps: Sequence[int]) -> str:
    return f"{min(steps):02d}-{max(steps):02d}"


def _inventory(columns: Sequence[str], column_pattern: str | None = None) -> str:
    """What a table holds, with the many step columns folded into their variates."""
    in_series = step_columns(columns, (), column_pattern)
    plain = [name for name in columns if name not in in_series]
    variates = [f"{name} {_span(steps)}" for name, steps in find_variates(columns, (), column_pattern).items()]
    return f"variates {some_of(variates, 40) or '(none)'}; other columns {some_of(plain, 40) or '(none)'}"


__all__ = [
    "WideSeries",
    "at_steps",
    "find_observed_rows",
    "find_variates",
    "load_wide_table",
    "read_statics",
    "read_wide_series",
    "read_wide_table",
    "step_columns",
]
