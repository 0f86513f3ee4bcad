# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Wide tables, one row per series and a column per variate and step, to `datasets.Dataset`.

A row of such a dataset is one series: `past_values`, and where they exist `past_observed_mask`, `static_values`,
`labels`. Other columns (site, year, split, ...) travel along for splitting and for reading results, and never reach a
model.
"""

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Array2D, ClassLabel, Dataset, Features, List, Value
from numpy.typing import NDArray

from ..model.messages import one_run
from ..model.reader import WideOrigin
from .classes import class_names_of, read_classes, with_names
from .collator import ROW_COLUMNS
from .tables import (
    check_complete,
    check_known,
    decoded,
    read_numbers,
    read_table,
    read_variates,
    repeated_names,
    row_numbers,
    some_of,
)

_STEP_COLUMN = re.compile(r"(.+)_(\d+)", re.DOTALL)
_SERIES_OF_DIGITS = 3  # columns that `plot_1`, `plot_2` must be at least, in an unbroken row, to be taken for steps


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
) -> Dataset:
    """Read a wide table: one row per series, columns `{variate}_{step:02d}` (`ndvi_00` ... `ndvi_35`).

    Step numbers have no hole, and the same range for all variates; they may start anywhere, and the result remembers
    them. Numbers of one digit: see `step_columns`. Blank cells, and what pandas reads as missing in a CSV file (`NA`,
    `NaN`, `null`, ...), are missing values.

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
    columns = list(frame.columns)
    targets, statics = _check_roles(columns, target, static_columns)
    _check_task(task, targets, class_names)
    if task == "classification" and targets and (known := class_names_of(table, targets[0])):
        frame[targets[0]] = with_names(frame[targets[0]], known)
        class_names = known if class_names is None else class_names
    others = [name for name in columns if name not in (*targets, *statics)]
    series, names, steps = read_wide_series(frame[others], variates, num_steps)
    in_series = step_columns(others, _named(variates))
    kept = [name for name in others if name not in in_series]
    if clashing := [name for name in kept if name in ROW_COLUMNS]:
        raise ValueError(f"columns {clashing} of the table have names that the result needs for itself: rename them")
    seen, complaint = find_observed_rows(series, names, steps)
    if complaint and not drop_unobserved:
        raise ValueError(f"{complaint}; drop these rows or variates, or keep more steps")
    if complaint:
        warnings.warn(f"{complaint}; {np.sum(~seen)} rows left out", stacklevel=2)
        series, frame = series[seen], frame[seen].reset_index(drop=True)
    labels = _read_labels(frame, targets, task, class_names)
    dataset = _as_dataset(frame, series, labels, statics, kept)
    WideOrigin(steps[0], steps[-1], names).write(dataset)
    return dataset


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
        check_complete(np.isnan(labels), "targets", name)
    return values, List(Value("float64"))


def step_columns(columns: Iterable[str], variates: Iterable[str] = ()) -> dict[str, tuple[str, int]]:
    """Column -> its variate and the number of its step: the rule by which `ndvi_07` is step 7 of `ndvi`.

    A number has two digits or more. One of a single digit counts beside such numbers of the same variate (`ndvi_0` ...
    `ndvi_11`), of `variates` that are asked for, and, in tables that have no numbers of two digits at all, of three
    columns or more in an unbroken row (`ndvi_0` ... `ndvi_8`); else `plot_1` is an ordinary column.
    """
    found = {match[0]: (match[1], match[2]) for match in filter(None, map(_STEP_COLUMN.fullmatch, columns))}
    steps: dict[str, set[int]] = {}
    for variate, digits in found.values():
        steps.setdefault(variate, set()).add(int(digits))
    sure = {variate for variate, digits in found.values() if len(digits) > 1} | set(variates) & set(steps)
    if not sure:
        for variate, numbers in steps.items():
            if len(numbers) >= _SERIES_OF_DIGITS and max(numbers) - min(numbers) == len(numbers) - 1:
                sure.add(variate)
    return {name: (variate, int(digits)) for name, (variate, digits) in found.items() if variate in sure}


def find_variates(columns: Iterable[str], variates: Iterable[str] = ()) -> dict[str, list[int]]:
    """Variate -> sorted step numbers of its columns (`step_columns`); variates in the order of their first one.

    Raises:
        ValueError: one step is written twice, as `ndvi_01` and `ndvi_001`.
    """
    spellings: dict[str, dict[int, str]] = {}
    for name, (variate, step) in step_columns(columns, variates).items():
        first = spellings.setdefault(variate, {}).setdefault(step, name)
        if first != name:
            raise ValueError(f"duplicate columns: {first!r} and {name!r} are the same step: drop one")
    return {variate: sorted(steps) for variate, steps in spellings.items()}


def read_wide_series(
    frame: pd.DataFrame,
    variates: Sequence[str] | None = None,
    num_steps: int | None = None,
    faults: dict[int, str] | None = None,
) -> tuple[NDArray[np.floating], list[str], list[int]]:
    """The series of a wide table `(N, T, V)`, NaN where missing, the names of their variates and of their steps.

    Args:
        frame: as `read_table` gives it, without the columns that have another role.
        variates, num_steps: as for `load_wide_table`.
        faults: as for `read_numbers`.
    """
    found = find_variates(frame.columns, _named(variates))
    names = _choose_variates(list(frame.columns), found, variates)
    steps = _common_steps({name: found[name] for name in names}, num_steps)
    values = np.empty((len(frame), len(steps), len(names)))
    with one_run():
        for column, (variate, step) in step_columns(frame.columns, names).items():
            if variate in names and step <= steps[-1]:
                values[:, step - steps[0], names.index(variate)] = read_numbers(frame[column], faults)
    return values, names, steps


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
    series: NDArray[np.floating], names: list[str], steps: list[int]
) -> tuple[NDArray[np.bool_], str | None]:
    """Rows `(N,)` that have a value of every variate, and what there is to say about the others."""
    blank: NDArray[np.bool_] = np.all(np.isnan(series), axis=1)  # (N, V)
    rows: NDArray[np.bool_] = np.any(blank, axis=1)
    if not rows.any():
        return ~rows, None
    where = some_of(f"row {row}: {names[variate]}" for row, variate in np.argwhere(blank))
    return ~rows, f"no value at all in steps {_span(steps)}, in {row_numbers(rows)}: {where}"


def read_statics(frame: pd.DataFrame, names: Sequence[str], faults: dict[int, str] | None = None) -> pd.DataFrame:
    """The columns that describe whole series: numbers, or objects where they are text; none may be missing.

    Args:
        faults: as for `read_numbers`.
    """
    columns = {name: _numbers_or_text(frame[name], faults) for name in names}
    for name, values in columns.items():
        missing = pd.isna(values)
        if faults is None or missing.all():
            check_complete(missing, "static values", name)
        else:
            told = f"its static value of column {name!r} is missing"
            faults |= {int(row): told for row in np.flatnonzero(missing) if row not in faults}
    return pd.DataFrame(columns)


def _check_roles(
    columns: list[str], target: str | Sequence[str] | None, static_columns: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The columns to predict and those that describe a series; all are there, and none is named twice."""
    if isinstance(static_columns, str):
        raise ValueError(f"static_columns must be a list of names, found the single string {static_columns!r}")
    targets = [] if target is None else [target] if isinstance(target, str) else list(target)
    if target is not None and not targets:
        raise ValueError("target is an empty list: name a column, or pass None for rows without targets")
    if repeated := repeated_names([*targets, *static_columns]):
        raise ValueError(f"columns named more than once in target and static_columns: {repeated}")
    for role, names in (("target", targets), ("static", static_columns)):
        check_known(names, columns, f"missing {role} columns", f"found {_inventory(columns)}")
    return targets, list(static_columns)


def _check_task(task: str, targets: list[str], class_names: Any) -> None:
    if task not in ("regression", "classification"):
        raise ValueError(f"task is {task!r}, expected 'regression' or 'classification'")
    if task == "classification" and len(targets) > 1:
        raise ValueError(f"task='classification' takes one target, found {len(targets)}: {some_of(targets)}")
    if task != "classification" and class_names is not None:
        raise ValueError("class_names are for task='classification' only")


def _choose_variates(columns: list[str], found: dict[str, list[int]], variates: Sequence[str] | None) -> list[str]:
    if isinstance(variates, str):
        raise ValueError(f"variates must be a list of names, found the single string {variates!r}")
    names = list(found) if variates is None else list(variates)
    if repeated := repeated_names(names):
        raise ValueError(f"variates named more than once: {repeated}")
    check_known(names, found, "missing variates", f"found {_inventory(columns)}")
    if not names:
        raise ValueError(f"no variates: expected columns like ndvi_00, ndvi_01, ...; found {_inventory(columns)}")
    return names


def _named(variates: Sequence[str] | None) -> list[str]:
    return [] if variates is None or isinstance(variates, str) else list(variates)


def _common_steps(found: dict[str, list[int]], num_steps: int | None) -> list[int]:
    """The steps that all variates share, cut to the first `num_steps`."""
    advice = "add the columns (empty where nothing was measured), or name the true variates in `variates`"
    holes = {name: sorted(set(range(steps[0], steps[-1])).difference(steps)) for name, steps in found.items()}
    if broken := [f"{name} lacks {some_of(f'{step:02d}' for step in hole)}" for name, hole in holes.items() if hole]:
        raise ValueError(f"holes in the step numbers: {'; '.join(broken)}. Please {advice}")
    ranges: dict[str, list[str]] = {}
    for name, steps in found.items():
        ranges.setdefault(_span(steps), []).append(name)
    if len(ranges) > 1:
        described = "; ".join(f"{span}: {some_of(names)}" for span, names in ranges.items())
        raise ValueError(f"variates have different steps: {described}. Please {advice}")
    steps = next(iter(found.values()))
    if num_steps is None:
        return steps
    if isinstance(num_steps, bool) or not isinstance(num_steps, int) or not 1 <= num_steps <= len(steps):
        raise ValueError(
            f"num_steps is {num_steps!r}, expected a whole number from 1 to the table's {len(steps)} steps"
        )
    return steps[:num_steps]


def _numbers_or_text(column: pd.Series, faults: dict[int, str] | None = None) -> NDArray[Any]:
    """A static column as float64, or as objects if its cells are strings."""
    column = decoded(column)
    if pd.api.types.infer_dtype(column) != "string":
        return read_numbers(column, faults)
    column = column.mask(column.str.strip() == "")
    numeric = pd.to_numeric(column, errors="coerce").notna()
    text = column[~numeric & column.notna()].unique()
    if numeric.any() and len(text):
        found = some_of(map(repr, text))
        warnings.warn(f"static column {column.name!r} mixes numbers and text ({found}): read as text", stacklevel=4)
    return column.to_numpy(object)


def _arrow_column(column: pd.Series) -> pa.Array:
    try:
        array = pa.array(decoded(column), from_pandas=True)
    except pa.ArrowException as error:
        raise ValueError(f"column {column.name!r} holds values that cannot be stored together: {error}") from error
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array


def _span(steps: Sequence[int]) -> str:
    return f"{min(steps):02d}-{max(steps):02d}"


def _inventory(columns: Sequence[str]) -> str:
    """What a table holds, with the many step columns folded into their variates."""
    in_series = step_columns(columns)
    plain = [name for name in columns if name not in in_series]
    variates = [f"{name} {_span(steps)}" for name, steps in find_variates(columns).items()]
    return f"variates {some_of(variates, 40) or '(none)'}; other columns {some_of(plain, 40) or '(none)'}"


__all__ = [
    "at_steps",
    "find_observed_rows",
    "find_variates",
    "load_wide_table",
    "read_statics",
    "read_wide_series",
    "read_wide_table",
    "step_columns",
]
