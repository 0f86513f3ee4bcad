# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables to `datasets.Dataset`, honest splits, and the collator that turns rows into a model's batch.

Everything public about data is imported from here: `long_series` and `windows` hold what forecasts need.

A row of a dataset is one series: `past_values`, and where they exist `past_observed_mask`, `static_values`, `labels`.
Other columns (site, year, split, ...) travel along for splitting and for reading results, and never reach a model.
"""

import math
import re
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Array2D, Dataset, DatasetDict, Features, List, Value
from numpy.typing import NDArray
from torch import Tensor

from .long_series import SeriesCollection, load_long_table, load_series_rows
from .tables import decoded, near_names, read_numbers, read_wide_table, repeated_names, row_numbers, some_of
from .timestamps import continue_timestamps
from .windows import ForecastWindow, ForecastWindows, WindowSplits, split_windows

_RESULT_COLUMNS = ("past_values", "past_observed_mask", "static_values", "labels")
_SPLIT_NAMES = ("train", "validation", "test")
_STEP_COLUMN = re.compile(r"(.+)_(\d{2,})", re.DOTALL)  # two digits at least: `plot_1` stays an ordinary column


# --- wide tables ------------------------------------------------------------------------------------------------


def load_wide_table(
    table: str | Path | pd.DataFrame,
    *,
    target: str | Sequence[str] | None,
    variates: Sequence[str] | None = None,
    static_columns: Sequence[str] = (),
    num_steps: int | None = None,
    drop_unobserved: bool = False,
) -> Dataset:
    """Read a wide table: one row per series, columns `{variate}_{step:02d}` (`ndvi_00` ... `ndvi_35`).

    Step numbers have two digits or more, no hole, and the same range for all variates; they may start anywhere. Blank
    cells, and what pandas reads as missing in a CSV file (`NA`, `NaN`, `null`, ...), are missing values.

    Args:
        table: path of a `.csv` (UTF-8, comma-separated) or `.parquet` file, or a DataFrame, which is left unchanged.
        target: column to predict, or a list of several; None for new rows whose targets are not known.
        variates: names and order of the variates; None takes all, in the order of `find_variates`. Steps of variates
            that are not named are left out of the result.
        static_columns: columns of numbers or strings that describe the whole series (latitude, soil, ...).
        num_steps: keep only the first so many steps, for early prediction; None keeps all.
        drop_unobserved: leave out, with a warning, rows in which a variate has no value at all in the kept steps (a
            field under clouds until then), instead of raising.

    Returns:
        One row per row of the table, in its order, with the columns

        - `past_values`: `Array2D((num_steps, num_variates), "float32")`, NaN where missing;
        - `labels`: list of `num_targets` float32; absent when `target` is None;
        - `static_values`: one `{name: float or string}` per row; absent without `static_columns`;
        - every column of the table that is neither of these nor a variate's step, under its own name.

    Raises:
        FileNotFoundError: no file at this path.
        ValueError: naming what is wrong: missing or duplicate columns, a hole in the step numbers, variates with
            different steps, cells that are not finite numbers, missing targets or static values, a row without any
            value of some variate, an empty table, another type of file.
    """
    if isinstance(static_columns, str) or isinstance(variates, str):
        raise ValueError("static_columns and variates must be lists of names, found a single string")
    frame = read_wide_table(table)
    columns = list(frame.columns)
    targets = [] if target is None else [target] if isinstance(target, str) else list(target)
    if target is not None and not targets:
        raise ValueError("target is an empty list: name a column, or pass None for rows without targets")
    _check_named(columns, targets, list(static_columns))

    others = [name for name in columns if name not in {*targets, *static_columns}]
    found = find_variates(others)
    names = _choose_variates(columns, found, variates)
    steps = _common_steps(others, {name: found[name] for name in names}, num_steps)
    kept = [name for name in others if not _STEP_COLUMN.fullmatch(name)]
    if clashing := [name for name in kept if name in _RESULT_COLUMNS]:
        raise ValueError(f"columns {clashing} of the table have names that the result needs for itself: rename them")

    series = _series_values(frame[others], names, steps)
    unobserved: NDArray[np.bool_] = np.all(np.isnan(series), axis=1)  # (N, V)
    if unobserved.any():
        complaint = _describe_unobserved(unobserved, names, steps)
        if not drop_unobserved:
            raise ValueError(f"{complaint}; drop these rows or variates, or keep more steps")
        warnings.warn(f"{complaint}; {np.any(unobserved, axis=1).sum()} rows left out", stacklevel=2)
        seen = np.flatnonzero(~np.any(unobserved, axis=1))
        series, frame = series[seen], frame.iloc[seen].reset_index(drop=True)
    content: dict[str, Any] = {"past_values": series}
    features: dict[str, Any] = {"past_values": Array2D((len(steps), len(names)), "float32")}
    if targets:
        labels = np.stack([_complete(frame[name], "targets", read_numbers) for name in targets], axis=1)
        content["labels"], features["labels"] = labels.astype(np.float32), List(Value("float32"))
    if static_columns:
        statics = {name: _complete(frame[name], "static values", _numbers_or_text) for name in static_columns}
        content["static_values"] = pd.DataFrame(statics).to_dict("records")
        features["static_values"] = {
            name: Value("string" if values.dtype == object else "float64") for name, values in statics.items()
        }
    for name in kept:
        content[name] = _arrow_column(frame[name])
        features |= Features.from_arrow_schema(pa.schema([(name, content[name].type)]))
    return Dataset.from_dict(content, features=Features(features))


def find_variates(columns: Iterable[str]) -> dict[str, list[int]]:
    """Find the columns named `{variate}_{step:02d}`.

    Args:
        columns: column names; those of another form are passed over.

    Returns:
        Variate -> sorted step numbers; variates in the order of their first column, as `load_wide_table` takes them.

    Raises:
        ValueError: one step is written twice, as `ndvi_01` and `ndvi_001`.
    """
    spellings: dict[str, dict[int, str]] = {}
    for match in filter(None, map(_STEP_COLUMN.fullmatch, columns)):
        first = spellings.setdefault(match[1], {}).setdefault(int(match[2]), match[0])
        if first != match[0]:
            raise ValueError(f"duplicate columns: {first!r} and {match[0]!r} are the same step: drop one")
    return {variate: sorted(steps) for variate, steps in spellings.items()}


def _check_named(columns: list[str], targets: list[str], statics: list[str]) -> None:
    if repeated := repeated_names([*targets, *statics]):
        raise ValueError(f"columns named more than once in target and static_columns: {repeated}")
    for role, names in (("target", targets), ("static", statics)):
        if missing := [name for name in names if name not in columns]:
            raise ValueError(f"missing {role} columns: {near_names(missing, columns)}; found {_inventory(columns)}")


def _choose_variates(columns: list[str], found: dict[str, list[int]], variates: Sequence[str] | None) -> list[str]:
    names = list(found) if variates is None else list(variates)
    if repeated := repeated_names(names):
        raise ValueError(f"variates named more than once: {repeated}")
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"missing variates: {near_names(missing, found)}; found {_inventory(columns)}")
    if not names:
        raise ValueError(f"no variates: expected columns like ndvi_00, ndvi_01, ...; found {_inventory(columns)}")
    return names


def _common_steps(columns: list[str], found: dict[str, list[int]], num_steps: int | None) -> list[int]:
    """The steps that all variates share, cut to the first `num_steps`."""
    one_digit = (re.fullmatch(r"(.+)_\d", name, re.DOTALL) for name in columns)
    if short := [match[0] for match in one_digit if match and match[1] in found]:
        raise ValueError(f"step numbers need two digits or more (ndvi_00), found {some_of(short)}: rename them")
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


def _series_values(frame: pd.DataFrame, names: list[str], steps: list[int]) -> NDArray[np.float32]:
    values = np.empty((len(frame), len(steps), len(names)), np.float32)  # (N, T, V)
    for match in filter(None, map(_STEP_COLUMN.fullmatch, frame.columns)):
        if match[1] in names and int(match[2]) <= steps[-1]:
            values[:, int(match[2]) - steps[0], names.index(match[1])] = read_numbers(frame[match[0]])
    return values


def _describe_unobserved(unobserved: NDArray[np.bool_], names: list[str], steps: list[int]) -> str:
    where = [f"row {row}: {names[variate]}" for row, variate in np.argwhere(unobserved)]
    return f"no value at all in steps {_span(steps)}, in {row_numbers(np.any(unobserved, axis=1))}: {some_of(where)}"


def _numbers_or_text(column: pd.Series) -> NDArray[Any]:
    """A static column as float64, or as objects if its cells are strings."""
    column = decoded(column)
    if pd.api.types.infer_dtype(column) != "string":
        return read_numbers(column)
    column = column.mask(column.str.strip() == "")
    numeric = pd.to_numeric(column, errors="coerce").notna()
    text = column[~numeric & column.notna()].unique()
    if numeric.any() and len(text):
        found = some_of(map(repr, text))
        warnings.warn(f"static column {column.name!r} mixes numbers and text ({found}): read as text", stacklevel=4)
    return column.to_numpy(object)


def _complete(column: pd.Series, role: str, read: Callable[[pd.Series], NDArray[Any]]) -> NDArray[Any]:
    values = read(column)
    if pd.isna(values).any():
        raise ValueError(
            f"{role} missing: column {column.name!r}, in {row_numbers(pd.isna(values))}; fill or drop them"
        )
    return values


def _arrow_column(column: pd.Series) -> pa.Array:
    try:
        array = pa.array(decoded(column), from_pandas=True)
    except pa.ArrowException as error:
        raise ValueError(f"column {column.name!r} holds values that cannot be stored together: {error}") from error
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array


# --- splits -----------------------------------------------------------------------------------------------------


def split_by_column(dataset: Dataset, column: str = "split") -> DatasetDict:
    """Split by a column that says `train`, `validation` or `test` for each row.

    Args:
        dataset: rows to split.
        column: name of that column.

    Returns:
        The parts that have rows; always `train`.

    Raises:
        ValueError: no such column, another or no value in some row, or no row for `train`.
    """
    values = _columns_of(dataset, [column])[column].astype(object)
    if unknown := [f"{value!r} ({n} rows)" for value, n in values.value_counts().items() if value not in _SPLIT_NAMES]:
        raise ValueError(
            f"column {column!r} may hold {', '.join(_SPLIT_NAMES)}; found {some_of(unknown)}: rename them"
        )
    parts = {name: (values == name).to_numpy(bool) for name in _SPLIT_NAMES}
    return _select_parts(dataset, {name: rows for name, rows in parts.items() if rows.any() or name == "train"})


def split_chronologically(
    dataset: Dataset,
    time_column: str,
    *,
    validation: float | int,
    test: float | int,
    group_column: str | None = None,
) -> DatasetDict:
    """Train on the past, validate on what follows, test on the latest; rows of one time always stay together.

    With `group_column` each group (site) is split by its own times. A year that is test at one site may then be
    training at another whose record ends later; where groups share their weather, split without `group_column`.

    Args:
        dataset: rows to split.
        time_column: numbers, dates, or ISO 8601 strings.
        validation: how many distinct times before the test part: a count (int, 1 or more), or a fraction
            (float, 0 < x < 1) of the distinct times, rounded up.
        test: how many of the last distinct times, in the same terms.
        group_column: column of the groups; None splits all rows by one calendar.

    Returns:
        `train`, `validation` and `test`.

    Raises:
        ValueError: missing columns or cells, a share out of range, or groups with no time left to train on.
    """
    frame = _columns_of(dataset, [time_column] if group_column is None else [time_column, group_column])
    groups = pd.Series(0, index=frame.index) if group_column is None else frame[group_column]
    ranks = _orderable(frame[time_column]).groupby(groups).rank(method="dense").astype(int)  # 1: first of its group
    totals = ranks.groupby(groups).transform("max")
    in_test = totals.map({total: _share(test, total, "test") for total in totals.unique()})
    in_validation = totals.map({total: _share(validation, total, "validation") for total in totals.unique()})
    last_of_train = totals - in_test - in_validation
    if (last_of_train < 1).any():
        which = "" if group_column is None else f" in {some_of(map(repr, groups[last_of_train < 1].unique()))}"
        raise ValueError(
            f"too few distinct values of {time_column!r}{which} ({totals[last_of_train < 1].min()} at the least) for "
            f"validation={validation} and test={test}: nothing would be left to train on"
        )
    parts = {
        "train": ranks <= last_of_train,
        "validation": (ranks > last_of_train) & (ranks <= totals - in_test),
        "test": ranks > totals - in_test,
    }
    return _select_parts(dataset, {name: rows.to_numpy() for name, rows in parts.items()})


def split_by_group(
    dataset: Dataset,
    group_columns: str | Sequence[str],
    *,
    validation: float | Sequence[Hashable],
    test: float | Sequence[Hashable],
    seed: int = 0,
) -> DatasetDict:
    """Keep groups together: all rows of a site, or of a site and year, land in the same part.

    There is deliberately no split that draws single rows. Rows of one site and year share weather and soil, so a
    random split puts near copies of the training rows into the test part: on a close relative of the crop data it
    showed a test R2 of .947 where an honest split showed .857.

    Args:
        dataset: rows to split.
        group_columns: column, or columns, whose values make up a group: `"site"`, or `["site", "year"]`.
        validation: fraction (float, 0 < x < 1) of all groups, drawn at random and rounded up; or the list of groups:
            values of the one column, tuples of values of several.
        test: the same; `test=["Tunis"]` with `group_columns="site"` leaves one site out.
        seed: of the draw, which does not depend on the order of the rows.

    Returns:
        `train`, `validation` and `test`.

    Raises:
        ValueError: missing columns or cells, unknown groups, groups in both parts, or no group left to train on.
    """
    columns = [group_columns] if isinstance(group_columns, str) else list(group_columns)
    frame = _columns_of(dataset, columns)
    numbers = frame.groupby(columns, sort=True).ngroup().to_numpy()
    firsts = frame.iloc[np.unique(numbers, return_index=True)[1]]
    keys = firsts[columns[0]].tolist() if len(columns) == 1 else list(firsts.itertuples(index=False, name=None))
    requests = {"test": test, "validation": validation}
    chosen = {
        name: _find_groups(request, keys, name, columns)
        for name, request in requests.items()
        if not isinstance(request, float)
    }
    if both := set(chosen.get("test", [])) & set(chosen.get("validation", [])):
        raise ValueError(f"groups named in both test and validation: {some_of(repr(keys[n]) for n in sorted(both))}")
    taken = {number for part in chosen.values() for number in part}
    pool = [number for number in np.random.default_rng(seed).permutation(len(keys)).tolist() if number not in taken]
    for name, request in requests.items():
        if isinstance(request, float):
            count = _share(request, len(keys), name)
            chosen[name], pool = pool[:count], pool[count:]
    if not pool:
        raise ValueError(
            f"too few groups of {' and '.join(columns)} ({len(keys)}) for validation={validation} and test={test}: "
            "nothing would be left to train on"
        )
    chosen["train"] = pool
    return _select_parts(dataset, {name: np.isin(numbers, chosen[name]) for name in _SPLIT_NAMES})


def _columns_of(dataset: Dataset, names: list[str]) -> pd.DataFrame:
    """The columns to split by; they must exist and be complete."""
    if missing := [name for name in names if name not in dataset.column_names]:
        available = dataset.column_names
        raise ValueError(f"missing columns: {near_names(missing, available)}; the dataset has {', '.join(available)}")
    if not names or not len(dataset):
        raise ValueError(f"cannot split {len(dataset)} rows by columns {names}: at least one of each is needed")
    frame = pd.DataFrame(dataset.with_format(None).select_columns(names).to_pandas())
    for name in names:
        if (absent := frame[name].isna().to_numpy()).any():
            raise ValueError(f"values missing in column {name!r}, in {row_numbers(absent)}; fill or drop them")
    return frame


def _orderable(times: pd.Series) -> pd.Series:
    """Numbers and dates as they are; strings as dates, since sorted as text "9" would come after "10"."""
    if pd.api.types.is_numeric_dtype(times.dtype) or pd.api.types.is_datetime64_any_dtype(times.dtype):
        return times
    try:
        return pd.to_datetime(times, format="ISO8601", utc=True)
    except (ValueError, TypeError) as error:
        found = some_of(map(repr, times.unique()))
        raise ValueError(
            f"column {times.name!r} must hold numbers, dates or ISO 8601 strings, found {found}"
        ) from error


def _share(request: float | int, total: int, name: str) -> int:
    """How many of `total` a count or a fraction asks for; a fraction is rounded up, so that it is never none."""
    if isinstance(request, int) and not isinstance(request, bool) and request >= 1:
        return request
    if isinstance(request, float) and 0.0 < request < 1.0:
        return math.ceil(round(request * total, 9))  # 0.07 * 100 is 7.000000000000001
    raise ValueError(f"{name} is {request!r}, expected a fraction between 0.0 and 1.0 or a count of 1 or more")


def _find_groups(request: Any, keys: list[Any], name: str, columns: list[str]) -> list[int]:
    if isinstance(request, str) or not isinstance(request, Sequence) or not request:
        raise ValueError(f"{name} is {request!r}, expected a fraction between 0.0 and 1.0 or a list of groups")
    if unknown := [group for group in request if group not in keys]:
        known = some_of(map(repr, keys), 20)
        raise ValueError(f"{name} names unknown groups: {near_names(unknown, keys)}; {' and '.join(columns)}: {known}")
    return sorted({keys.index(group) for group in request})


def _select_parts(dataset: Dataset, parts: Mapping[str, NDArray[np.bool_]]) -> DatasetDict:
    if empty := [name for name, rows in parts.items() if not rows.any()]:
        raise ValueError(f"no rows for {' and '.join(empty)} among the {len(dataset)} rows")
    return DatasetDict({name: dataset.select(np.flatnonzero(rows)) for name, rows in parts.items()})


# --- batches ----------------------------------------------------------------------------------------------------


@dataclass
class TimesCLIPDataCollator:
    """Turn rows of a dataset into a model's batch; images are drawn here, per batch, and never stored.

    Args:
        processor: a `TimesCLIPProcessor`, fitted if its scaling asks for that.
        draw: `False`: the batch has `plot_values` in place of images, for `processor.draw` on the model's device.
        features: with `draw=False`, gives the vision tower's features `(B, V, width)` of `plot_values`, or `None`
            where it does not know all of them (`FeatureCache.store`); they then take the plots' place.
    """

    processor: Callable[..., Mapping[str, Any]]
    draw: bool = True
    features: Callable[[Tensor], Tensor | None] | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Collate.

        Args:
            rows: `past_values` `(time, variates)`, lengths may differ; optionally `past_observed_mask` of the same
                shape, `static_values` and `labels`, each in all rows or in none. Other columns are ignored.

        Returns:
            What the processor returns, as a plain dict of tensors.

        Raises:
            ValueError: rows without `past_values`, columns in some rows only, labels of different shapes.
        """
        columns = {name: [row.get(name) for row in rows] for name in _RESULT_COLUMNS}
        if not rows or all(series is None for series in columns["past_values"]):
            found = ", ".join(rows[0]) if rows else "no rows at all"
            raise ValueError(
                f"rows have no 'past_values' (found: {found}). Trainer drops the columns that the model's `forward` "
                "does not take: set remove_unused_columns=False in the training arguments"
            )
        for name, values in columns.items():
            if 0 < (absent := sum(value is None for value in values)) < len(rows):
                raise ValueError(f"{absent} of {len(rows)} rows have no {name!r}: either all rows need it or none")
        given = {name: values for name, values in columns.items() if values[0] is not None}
        batch = self.processor(
            _stack([np.asarray(series, np.float32) for series in given["past_values"]]),
            past_observed_mask=_stack([np.asarray(mask, bool) for mask in given.get("past_observed_mask", [])]),
            static_values=[_plain(values) for values in given["static_values"]] if "static_values" in given else None,
            labels=_label_array(given["labels"]) if "labels" in given else None,
            return_tensors="pt",
            draw=self.draw,
        )
        result = dict(batch)
        if self.features is not None and "plot_values" in result:
            features = self.features(result["plot_values"])
            if features is not None:
                del result["plot_values"]
                result["vision_features"] = features
        return result


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any] | list[NDArray[Any]] | None:
    """One array where all shapes are equal, else the list; None for none."""
    if not arrays:
        return None
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays


def _label_array(labels: list[Any]) -> NDArray[Any]:
    arrays = [np.asarray(label) for label in labels]
    if len(shapes := sorted({array.shape for array in arrays})) > 1:
        raise ValueError(f"labels of one batch have different shapes: {shapes}")
    stacked = np.stack(arrays)
    return stacked.astype(np.float32) if np.issubdtype(stacked.dtype, np.floating) else stacked


def _plain(values: Any) -> Any:
    """One row's static values, without the 0-d arrays that a dataset with a numpy or torch format returns."""
    if not isinstance(values, Mapping):
        return values
    return {name: value if isinstance(value, str) else np.asarray(value).item() for name, value in values.items()}


# --- words for error messages -----------------------------------------------------------------------------------


def _span(steps: Sequence[int]) -> str:
    return f"{min(steps):02d}-{max(steps):02d}"


def _inventory(columns: Sequence[str]) -> str:
    """What a table holds, with the many step columns folded into their variates."""
    plain = [name for name in columns if not _STEP_COLUMN.fullmatch(name)]
    variates = [f"{name} {_span(steps)}" for name, steps in find_variates(columns).items()]
    return f"variates {some_of(variates, 40) or '(none)'}; other columns {some_of(plain, 40) or '(none)'}"


__all__ = [
    "ForecastWindow",
    "ForecastWindows",
    "SeriesCollection",
    "TimesCLIPDataCollator",
    "WindowSplits",
    "continue_timestamps",
    "find_variates",
    "load_long_table",
    "load_series_rows",
    "load_wide_table",
    "read_wide_table",
    "split_by_column",
    "split_by_group",
    "split_chronologically",
    "split_windows",
]
