# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Long tables and tables of whole series to `SeriesCollection`: what forecast windows are cut from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..model.measured import unmasked, without_fill_values
from ..model.messages import one_run
from ..model.plain import plain
from .pivot import spread_variates
from .rhythms import Times, instants, join_times
from .tables import (
    check_complete,
    check_known,
    decoded,
    is_nameless,
    name_list,
    parsed_numbers,
    read_table,
    read_variates,
    repeated_names,
    row_numbers,
    some_of,
    warn_caller,
)
from .timestamps import find_holes, read_timestamps, tells_times, without_times
from .words import check_listed


@dataclass(frozen=True, eq=False, repr=False)
class SeriesCollection:
    """One or many multivariate series in their own units.

    Args:
        values: one `(T_i, V)` float64 or float32 array per series; NaN is missing.
        variate_names: the V variates, the same for all series.
        series_names: one per series.
        timestamps: one `(T_i,)` array of datetime64 or numbers per series, or a `DatetimeIndex` where times have a
            zone; None if not known.
        num_targets: how many of the variates are forecast, the first ones; the others are covariates. None: all.
        future: of covariates that are known in advance, one `(T_i, C)` float64 array per series, perhaps with rows for
            steps to come behind; categories as their numbers.
        future_columns: what is known of the C columns, see `model.future_values.fit_future`.
        static: what is known of each series as a whole, `{name: value}`.

    Raises:
        ValueError: other shapes or types, or names that are repeated or not as many as there are series or variates.
    """

    values: list[NDArray[np.floating]]
    variate_names: list[str]
    series_names: list[str]
    timestamps: list[Times] | None = None
    num_targets: int | None = None
    future: list[NDArray[np.float64]] | None = None
    future_columns: list[dict[str, Any]] | None = None
    static: list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        check_listed(self.values, "values", "arrays, one for each series")
        for role in ("series_names", "variate_names"):
            check_listed(getattr(self, role), role, "names")
        if self.timestamps is not None:
            check_listed(self.timestamps, "timestamps", "arrays, one for each series")
            for times in self.timestamps:
                check_listed(times, "timestamps of a series", "times")
        if not len(self.values) or len(self.values) != len(self.series_names):
            raise ValueError(
                f"{len(self.values)} series and {len(self.series_names)} series_names: expected at least one series, "
                "and one name for each"
            )
        for role in ("series_names", "variate_names"):
            names = plain(getattr(self, role))
            object.__setattr__(self, role, names)
            if repeated := repeated_names(names):
                raise ValueError(f"{role} holds names more than once: {some_of(repeated)}")
        with one_run():
            object.__setattr__(self, "values", [_measured(series) for series in self.values])
        for name, series in zip(self.series_names, self.values, strict=True):
            right = getattr(series, "dtype", None) in (np.float32, np.float64) and series.ndim == 2
            if not right or series.shape[1] != len(self.variate_names):
                found, shape = getattr(series, "dtype", type(series).__name__), getattr(series, "shape", "unknown")
                expected = (
                    f"float64 or float32 of shape (steps, {len(self.variate_names)}), one column for each of "
                    "variate_names"
                )
                raise ValueError(f"series {name!r} is {found} of shape {shape}, expected {expected}")
            if np.isinf(series).any():
                raise ValueError(f"series {name!r} holds infinite values; missing values are NaN")
        if self.timestamps is not None:
            lengths, steps = [len(times) for times in self.timestamps], [len(series) for series in self.values]
            if lengths != steps:
                raise ValueError(f"timestamps of lengths {some_of(lengths)} for series of lengths {some_of(steps)}")
        self._check_covariates()

    def _check_covariates(self) -> None:
        if self.num_targets is not None and not 1 <= self.num_targets <= len(self.variate_names):
            raise ValueError(f"num_targets is {self.num_targets}, expected 1 to {len(self.variate_names)} variates")
        if (self.future is None) != (self.future_columns is None):
            raise ValueError("future and future_columns belong together: give both or none")
        for role in ("future", "static"):
            if (given := getattr(self, role)) is not None and len(given) != len(self):
                raise ValueError(f"{role} has {len(given)} entries for {len(self)} series")
        for name, series, known in zip(self.series_names, self.values, self.future or [], strict=False):
            if known.ndim != 2 or known.shape[1] != len(self.future_columns or []) or len(known) < len(series):
                raise ValueError(
                    f"future of series {name!r} has shape {known.shape}, expected a row for each of its {len(series)} "
                    f"steps and a column for each of {len(self.future_columns or [])} future_columns"
                )

    @property
    def target_names(self) -> list[str]:
        """The variates that are forecast."""
        return self.variate_names[: self.num_targets]

    @property
    def to_fit(self) -> dict[str, Any]:
        """What a processor learns of covariates: `processor.fit(collection.values, **collection.to_fit)`."""
        found: dict[str, Any] = {} if self.static is None else {"static_values": self.static}
        if self.future is not None:
            found |= {"future_values": self.future, "future_columns": self.future_columns}
        return found

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        lengths = [len(series) for series in self.values]
        steps = f"{lengths[0]}" if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
        return f"SeriesCollection({len(self)} series of {steps} steps, {len(self.variate_names)} variates)"

    def cut(self, steps: Mapping[int, slice]) -> "SeriesCollection":
        """Some steps of some series, by the series' number; views, not copies."""
        kept = {k: slice(*cut.indices(len(self.values[k]))) for k, cut in steps.items()}
        return replace(
            self,
            values=[self.values[k][cut] for k, cut in kept.items()],
            series_names=[self.series_names[k] for k in kept],
            timestamps=None if self.timestamps is None else [self.timestamps[k][cut] for k, cut in kept.items()],
            future=None if self.future is None else [self.future[k][cut] for k, cut in kept.items()],
            static=None if self.static is None else [self.static[k] for k in kept],
        )

    def extended(self, other: "SeriesCollection") -> "SeriesCollection":
        """A new collection with the steps of another behind these, series by series (in any order): M4's test file.

        Covariates are those of this one and, of the steps behind it, of the other.

        Raises:
            ValueError: other series or variates, timestamps or covariates in only one of both, or timestamps that do
                not go on where these end.
        """
        if self.variate_names != other.variate_names:
            raise ValueError(f"variates differ: {some_of(self.variate_names)} and {some_of(other.variate_names)}")
        if absent := set(self.series_names).symmetric_difference(other.series_names):
            raise ValueError(f"series that are in one of the collections only: {some_of(sorted(absent))}")
        if (self.timestamps is None) != (other.timestamps is None):
            raise ValueError("one collection has timestamps and the other has none: load both alike")
        place = {name: k for k, name in enumerate(other.series_names)}
        order = [place[name] for name in self.series_names]
        values = [np.concatenate([series, other.values[k]]) for series, k in zip(self.values, order, strict=True)]
        times = None
        if self.timestamps is not None and other.timestamps is not None:
            times = [join_times([a, other.timestamps[k]]) for a, k in zip(self.timestamps, order, strict=True)]
            for name, series_times in zip(self.series_names, times, strict=True):
                find_holes(series_times, f"series {name!r}, extended")
        if self.future_columns != other.future_columns:
            raise ValueError("the collections have other covariates known in advance: load both alike")
        known = None
        if self.future is not None and other.future is not None:
            before = (own[: len(self.values[k])] for k, own in enumerate(self.future))
            known = [np.concatenate([own, other.future[k]]) for own, k in zip(before, order, strict=True)]
        return replace(self, values=values, timestamps=times, future=known)


def _measured(series: Any) -> Any:
    """A series with NaN for what counts as missing (see `model.measured`); itself where nothing does."""
    series = unmasked(series)
    return (
        without_fill_values(series, "series") if getattr(series, "dtype", None) in (np.float32, np.float64) else series
    )


def load_long_table(
    table: Any,
    *,
    timestamp_column: str | None = None,
    variates: Sequence[str] | None = None,
    series_column: str | None = None,
    header: bool = True,
    fill_gaps: bool = False,
    variate_column: str | None = None,
    value_column: str | None = None,
) -> SeriesCollection:
    """Read a table with one row per time step.

    Times are checked for duplicates and holes, series by series, on the rhythm that they follow: a constant step, or
    days of the local calendar (business days, months, dekads, 16-day composites, ...; see `data.rhythms`). Rows that
    are not in the order of their times are sorted, and a warning says so. Without `timestamp_column` rows are taken
    as equal steps in the order of the table, and nothing can be checked.

    Args:
        table: a path, a DataFrame, or another table that `read_table` knows.
        timestamp_column: dates with or without a time zone (ISO 8601 or one other unambiguous format), or numbers;
            None: rows are steps.
        variates: columns that are variates, in this order; None takes all that are neither timestamps nor series, and
            raises if one of them is not of numbers.
        series_column: column that says which series a row belongs to; None: one series, named "0".
        header: whether a text file begins with the names of its columns; without, they are "0", "1", ...
        fill_gaps: insert steps that are missing, as missing values, instead of raising.
        variate_column, value_column: of a table with one row per value (field, date, band, value): which variate it is
            of, and the value; see `data.pivot`.

    Returns:
        The series in the order in which they begin in the table.

    Raises:
        FileNotFoundError: no file at this path.
        ValueError: missing columns, cells that are no finite numbers, a variate without any value, times that are
            blank, repeated, irregular, or have holes.
    """
    variates = None if variates is None else name_list(variates, "variates")
    frame = read_table(table, header=header)
    index = table.index.names if isinstance(table, pd.DataFrame) else ()
    if variate_column is not None or value_column is not None:
        roles: dict[str, Any] = {"timestamp_column": timestamp_column, "series_column": series_column}
        frame = spread_variates(frame, variate_column=variate_column, value_column=value_column, **roles)
    return read_long_series(
        frame,
        timestamp_column=timestamp_column,
        variates=variates,
        series_column=series_column,
        fill_gaps=fill_gaps,
        index_names=index,
    )


def read_long_series(
    frame: pd.DataFrame,
    *,
    timestamp_column: str | None = None,
    variates: Sequence[str] | None = None,
    series_column: str | None = None,
    fill_gaps: bool = False,
    index_names: Sequence[Any] = (),
    faults: dict[str, str] | None = None,
) -> SeriesCollection:
    """The series of a long table.

    Args:
        frame: as `read_table` gives it.
        timestamp_column, variates, series_column, fill_gaps: as for `load_long_table`.
        index_names: columns that were a DataFrame's index.
        faults: takes the names of series that cannot be read, and why, in place of an error, unless it is all of them;
            series that it names already are left out, too.
    """
    names = _choose_columns(frame, timestamp_column, series_column, variates, index_names)
    rows = rows_of_series(frame, series_column)
    lenient = faults is not None and len(rows) > 1

    def again(found: dict[str, str]) -> SeriesCollection:
        """The same without some series."""
        left = [select for name, select in rows.items() if name not in found]
        if not left:
            raise ValueError(f"no series can be read; series {next(iter(found))!r}: {next(iter(found.values()))}")
        without = frame.iloc[np.sort(np.concatenate(left))]  # whose rows keep their numbers
        faults.update(found)  # type: ignore[union-attr]
        options: dict[str, Any] = {"timestamp_column": timestamp_column, "series_column": series_column}
        return read_long_series(without, variates=names, fill_gaps=fill_gaps, faults=faults, **options)

    if lenient and (known := {name: fault for name, fault in faults.items() if name in rows}):  # type: ignore[union-attr]
        return again(known)
    cells: dict[int, str] = {}
    values = read_variates(frame, names, cells if lenient else None)  # (rows, V)
    if cells:
        series = {row: name for name, select in rows.items() for row in select.tolist()}
        return again({series[row]: reason for row, reason in cells.items()})
    if empty := [name for k, name in enumerate(names) if np.isnan(values[:, k]).all()]:
        raise ValueError(f"variates without a single value: {some_of(empty)}; leave them out of `variates`")
    if timestamp_column is None:
        return SeriesCollection([values[select] for select in rows.values()], names, list(rows))
    try:
        times = read_timestamps(frame[timestamp_column])
    except ValueError:
        if not lenient or not (found := _unreadable_times(frame[timestamp_column], rows)):
            raise
        return again(found)
    rows = _in_time_order(rows, times, timestamp_column)
    hint = "" if series_column is not None else "; if the table holds several series, name their series_column"
    kept: dict[str, tuple[Any, Any]] = {}
    for name, select in rows.items():
        where = f"series {name!r}" if series_column is not None else "the table"
        try:
            kept[name] = _on_their_rhythm(values[select], times[select], where, fill_gaps, hint)
        except ValueError as error:
            if not lenient:
                raise
            faults[name] = str(error).removeprefix(f"{where}: ")  # type: ignore[index]
    if not kept:
        return again(faults)  # type: ignore[arg-type]
    series_values, series_times = map(list, zip(*kept.values(), strict=True))
    return SeriesCollection(series_values, names, list(kept), series_times)


def _on_their_rhythm(values: NDArray[Any], times: Times, where: str, fill_gaps: bool, hint: str) -> tuple[Any, Any]:
    """A series and its times, checked, and with the steps inserted that are missing."""
    if (holes := find_holes(times, where, fill=fill_gaps, advice=hint)) is None:
        return values, times
    filled = np.full((len(holes.times), values.shape[1]), np.nan)
    filled[holes.positions] = values
    return filled, holes.times


def _unreadable_times(column: pd.Series, rows: Mapping[str, NDArray[np.int64]]) -> dict[str, str]:
    """Series whose own times cannot be read, and why."""
    found = {}
    for name, select in rows.items():
        try:
            read_timestamps(column.iloc[select])
        except ValueError as error:
            found[name] = str(error)
    return found


def load_series_rows(table: Any, *, id_column: str | None = None) -> SeriesCollection:
    """Read a table with one univariate series per row, as the M4 competition writes them.

    Args:
        table: as `load_long_table` takes it; all columns but the id are time steps, in their order, and blank cells
            after the last value are beyond the series' end. Blank cells before it are missing values.
        id_column: the series' names; None takes the first column.

    Returns:
        One series per row with the variate "value", without timestamps.

    Raises:
        FileNotFoundError: no file at this path.
        ValueError: no such column, ids that are blank or repeated, a row without values, cells that are no numbers.
    """
    frame = read_table(table)
    id_column = frame.columns[0] if id_column is None else id_column
    check_known([id_column], frame, "id_column: no such columns")
    values = read_variates(frame, [name for name in frame.columns if name != id_column])  # (N, longest)
    observed = ~np.isnan(values)
    blank: NDArray[np.bool_] = ~np.any(observed, axis=1)
    if blank.any():
        raise ValueError(f"series without values in {row_numbers(blank, frame)}: drop these rows")
    names = list(rows_of_series(frame, id_column))
    if len(names) < len(frame):
        repeated = frame[id_column][frame[id_column].duplicated()].astype(str).unique()
        raise ValueError(f"column {id_column!r} names series more than once: {some_of(repeated)}")
    lengths = values.shape[1] - np.argmax(observed[:, ::-1], axis=1)
    # Copies, so that the padded table is not kept alive by its rows.
    series = [row[:length, None].copy() for row, length in zip(values, lengths, strict=True)]
    return SeriesCollection(series, ["value"], names)


def _choose_columns(
    frame: pd.DataFrame,
    timestamp_column: str | None,
    series_column: str | None,
    variates: Sequence[str] | None,
    index_names: Sequence[Any],
) -> list[str]:
    roles = {"timestamp_column": timestamp_column, "series_column": series_column}
    for role, column in roles.items():
        check_known([column] if column is not None else [], frame, f"{role}: no such columns")
    taken = [column for column in roles.values() if column is not None]
    names = [name for name in frame.columns if name not in taken] if variates is None else list(variates)
    check_known(names, frame, "variates: no such columns")
    if repeated := repeated_names([*taken, *names]):
        raise ValueError(f"columns with more than one role among timestamp, series and variates: {some_of(repeated)}")
    if variates is None:
        # An index that nobody asked for numbers the rows; one of dates or text is told below.
        names = [name for name in names if name not in index_names or not holds_numbers(frame[name])]
        if nameless := [name for name in names if is_nameless(name)]:
            raise ValueError(
                f"columns without a name: {some_of(nameless)}, row numbers or dates? Name the columns to read in "
                f"`variates`, or name {nameless[0]!r} as timestamp_column"
            )
        if others := [name for name in names if not holds_numbers(frame[name])]:
            raise ValueError(
                f"columns that hold no numbers: {some_of(map(repr, others))}; name the timestamp_column and the "
                "series_column, or name the columns to read in `variates`"
            )
        dates = [name for name in names if tells_times(frame[name])]
        if dates and timestamp_column is None:
            raise ValueError(
                f"columns of numbers that are times: {some_of(map(repr, dates))}; name the timestamp_column, or name "
                "the columns to read in `variates`"
            )
        names = without_times(frame, names)
    if not names:
        raise ValueError(f"no variates among the columns {some_of(map(repr, frame.columns), 20)}")
    return names


def holds_numbers(column: pd.Series) -> bool:
    """False for dates, and for text of which no cell is a number; single wrong cells are named when they are read."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return True
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or isinstance(column.dtype, pd.PeriodDtype):
        return False
    cells = decoded(column).astype(object).dropna()
    cells = cells[[not isinstance(cell, str) or bool(cell.strip()) for cell in cells]]
    return not len(cells) or bool(parsed_numbers(cells).notna().any())


def _in_time_order(rows: dict[str, Any], times: Times, column: str) -> dict[str, Any]:
    """The rows of each series by their times; a warning names those that were not."""
    moments = instants(times)
    unsorted = {name: select for name, select in rows.items() if (np.diff(moments[select]) < 0).any()}
    if not unsorted:
        return rows
    named = f": {some_of(unsorted)}" if len(rows) > 1 else ""
    warn_caller(
        f"the rows of {len(unsorted)} of {len(rows)} series were not in the order of {column!r} and have been sorted "
        f"by it{named}"
    )
    numbers = np.arange(len(moments))
    by_time = {name: numbers[select][np.argsort(moments[select], kind="stable")] for name, select in unsorted.items()}
    return {**rows, **by_time}


def rows_of_series(frame: pd.DataFrame, series_column: str | None) -> dict[str, Any]:
    """Name -> rows of that series, in the order in which they begin."""
    if series_column is None:
        return {"0": slice(None)}
    column = decoded(frame[series_column])
    blank = column.isna() | (column.astype(str).str.strip() == "")
    check_complete(blank.to_numpy(bool), "series names", frame[series_column])
    codes, names = pd.factorize(column.astype(str))
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))
    return {str(name): rows for name, rows in zip(names, np.split(order, ends[:-1]), strict=True)}


__all__ = [
    "SeriesCollection",
    "holds_numbers",
    "load_long_table",
    "load_series_rows",
    "read_long_series",
    "rows_of_series",
]
