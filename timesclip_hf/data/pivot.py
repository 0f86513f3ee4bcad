# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Long tables (field, date, band, value) to tables with a column for each variate, and to one row per series.

The rule. A row of (series, time, variate, value) is one number; no two rows are of the same series, time and variate,
and what has no row is missing. Steps of one series a row are numbered by their times: whole numbers as they are; dates
by the rhythm of all of them, or, where they have none or are of several years, by that of the series with the most
dates: dates of other series belong to its step whose day of the year is nearest (see `data.columns`). Columns that say
one thing of a series stay, whether it stands in all of its rows or in some, the others blank (a yield beside the last
date); others are left out, and named.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .columns import Step, number_steps
from .tables import check_complete, check_known, decoded, is_blank, name_list, read_numbers, some_of, warn_caller
from .timestamps import read_timestamps

_ONE_SEASON = np.timedelta64(366, "D")


def spread_variates(
    frame: pd.DataFrame,
    *,
    variate_column: str | None,
    value_column: str | None,
    timestamp_column: str | None,
    series_column: str | None = None,
    constant: Sequence[str] = (),
) -> pd.DataFrame:
    """A table with one row per value as one with a row per series and time, and a column for each variate.

    Args:
        frame: as `read_table` gives it.
        variate_column: says which variate a value is of; variates keep the order in which they first come.
        value_column: the values.
        timestamp_column, series_column: say when, and which series (None: there is one).
        constant: columns that must not say two things of a step.

    Raises:
        ValueError: missing columns or cells, or two values for one series, time and variate.
    """
    if variate_column is None or value_column is None or timestamp_column is None:
        raise ValueError(
            "a table with one row per value needs a variate_column, a value_column and a timestamp_column, which says "
            "what belongs to one step"
        )
    keys = [name for name in (series_column, timestamp_column) if name is not None]
    roles = [*keys, variate_column, value_column]
    check_known(roles, frame, "no such columns")
    for name in (*keys, variate_column):
        check_complete(is_blank(frame[name]), "names or times", frame[name])
    places, firsts = _groups(frame, keys)
    codes, names = pd.factorize(decoded(frame[variate_column]).astype(str).str.strip())
    if taken := [name for name in names if name in frame.columns and name not in (variate_column, value_column)]:
        raise ValueError(f"variates of {variate_column!r} are called as other columns are: {some_of(taken)}")
    if (twice := pd.DataFrame({"place": places, "code": codes}).duplicated().to_numpy()).any():
        rows = [f"{names[codes[k]]} of {_key(frame, keys, k)}" for k in np.flatnonzero(twice)]
        raise ValueError(f"{twice.sum()} values for what has one already: {some_of(rows)}; keep one of each")
    values = np.full((len(firsts), len(names)), np.nan)
    values[places, codes] = read_numbers(frame[value_column])
    others = [name for name in frame.columns if name not in roles]
    kept = _constant(frame, keys, (places, firsts), others, "step", constant)
    table = pd.concat([frame[keys].iloc[firsts].reset_index(drop=True), kept], axis=1)
    return pd.concat([table, pd.DataFrame(values, columns=list(names))], axis=1)


def one_row_per_series(
    frame: pd.DataFrame,
    *,
    series_column: str,
    timestamp_column: str,
    variates: Sequence[str],
    constant: Sequence[str] = (),
) -> pd.DataFrame:
    """A table with one row per time step as a wide one, whose columns `load_wide_table` reads.

    Args:
        frame: a row per series and time, a column for each variate.
        series_column, timestamp_column: say which series, and when.
        variates: columns of the values.
        constant: columns that must not say two things of a series (targets, static values).

    Raises:
        ValueError: missing columns or cells, two rows for one series and time, columns that are not constant, or times
            that have no numbers (see `data.columns`).
    """
    check_known([series_column, timestamp_column, *variates, *constant], frame, "no such columns")
    check_complete(frame[series_column].isna().to_numpy(bool), "series names", frame[series_column])
    places, firsts = _groups(frame, [series_column])
    steps, labels = _steps(frame[timestamp_column], places)
    if (twice := pd.DataFrame({"place": places, "step": steps}).duplicated().to_numpy()).any():
        rows = [_key(frame, [series_column, timestamp_column], k) for k in np.flatnonzero(twice)]
        raise ValueError(
            f"{twice.sum()} rows for a step that has one already: {some_of(rows, 3)}; keep one of each, or, where "
            "each row has the value of one variate, name variate_column and value_column"
        )
    others = [name for name in frame.columns if name not in (series_column, timestamp_column, *variates)]
    kept = _constant(frame, [series_column], (places, firsts), others, "series", constant)
    columns: dict[str, Any] = {}
    for name in variates:
        values = np.full((len(firsts), len(labels)), np.nan)
        values[places, steps] = read_numbers(frame[name])
        columns |= {f"{name}_{label}": values[:, step] for step, label in enumerate(labels)}
    table = pd.concat([frame[[series_column]].iloc[firsts].reset_index(drop=True), kept], axis=1)
    table.attrs = {}  # rows no longer stand where they stood in a file
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def widened(
    frame: pd.DataFrame,
    *,
    series_column: str,
    timestamp_column: str,
    variate_column: str | None,
    value_column: str | None,
    variates: Sequence[str] | None,
    constant: Sequence[str],
) -> tuple[pd.DataFrame, list[str]]:
    """`one_row_per_series` of a table with one row per time step, or per value where there is a `variate_column`, and
    the names of its variates."""
    known = list(frame.columns)
    if variate_column is not None or value_column is not None:
        roles: dict[str, Any] = {"series_column": series_column, "timestamp_column": timestamp_column}
        options: dict[str, Any] = {"variate_column": variate_column, "value_column": value_column}
        frame = spread_variates(frame, **options, **roles, constant=constant)
        variates = [name for name in frame.columns if name not in known] if variates is None else variates
    if variates is None:
        raise ValueError("a table with one row per time step needs the names of its `variates`")
    names = name_list(variates, "variates")
    table = one_row_per_series(
        frame, series_column=series_column, timestamp_column=timestamp_column, variates=names, constant=constant
    )
    return table, names


def _groups(frame: pd.DataFrame, keys: list[str]) -> tuple[Any, Any]:
    """Of each row the number of its group, and of each group its first row, in the order in which they begin."""
    codes = pd.factorize(pd.MultiIndex.from_frame(frame[keys]) if len(keys) > 1 else decoded(frame[keys[0]]))[0]
    return codes, np.unique(codes, return_index=True)[1]


def _constant(
    frame: pd.DataFrame, keys: list[str], groups: tuple[Any, Any], names: list[str], what: str, needed: Sequence[str]
) -> pd.DataFrame:
    """The columns that say one thing of each group, a row for each; others are named by a warning, or raise if they
    are needed."""
    places, firsts = groups
    kept, changing = {}, []
    for name in names:
        cells = decoded(frame[name])
        told = np.flatnonzero(~is_blank(cells))
        counts = cells.iloc[told].groupby(places[told]).nunique()
        if (counts > 1).any():
            changing.append(name)
            if name in needed:
                rows = told[places[told] == counts.index[counts > 1][0]]
                values = some_of(cells.iloc[rows].drop_duplicates())
                raise ValueError(
                    f"columns that change within a {what}: {name!r} is {values} in {_key(frame, keys, rows[0])}: "
                    f"one value for each {what} is expected, in one of its rows or in all"
                )
            continue
        known, where = np.unique(places[told], return_index=True)
        chosen = firsts.copy()
        chosen[known] = told[where]
        kept[name] = frame[name].iloc[chosen].reset_index(drop=True)
    if changing:
        warn_caller(f"columns that change within a {what} are not used: {some_of(map(repr, changing))}")
    return pd.DataFrame(kept, index=range(len(firsts)))


def _key(frame: pd.DataFrame, keys: list[str], row: int) -> str:
    return ", ".join(str(frame[name].iloc[row]) for name in keys)


def _steps(column: pd.Series, places: Any) -> tuple[Any, list[str]]:
    """Of each row the number of its step, from 0, and the names of all steps."""
    times = read_timestamps(column)
    if isinstance(times, pd.DatetimeIndex):
        times = times.tz_localize(None).to_numpy()
    if times.dtype.kind != "M":
        if not np.array_equal(times, np.round(times)):
            raise ValueError(f"column {column.name!r} holds fractions, expected dates or whole numbers of steps")
        first, last, seen = int(times.min()), int(times.max()), np.unique(times)
        if first < 0 or last - first >= 2 * len(seen):
            raise ValueError(
                f"column {column.name!r} has the steps {some_of(seen.astype(np.int64))}, expected 0, 1, 2, ...: "
                "number them so, or name a column of dates"
            )
        return times.astype(np.int64) - first, [f"{step:02d}" for step in range(first, last + 1)]
    dates = times.astype("datetime64[s]")
    known: list[Step] = list(np.unique(dates))
    if dates.max() - dates.min() <= _ONE_SEASON:
        with contextlib.suppress(ValueError):  # series may be of days of their own
            numbers, labels = number_steps(known)
            return np.array([numbers[date] for date in dates]), labels
    longest = np.bincount(places).argmax()
    labels = _numbered(list(np.unique(dates[places == longest])), column)[1]
    steps = np.empty(len(dates), np.int64)
    for series in np.unique(places):
        rows = np.flatnonzero(places == series)
        numbers = number_steps(list(np.unique(dates[rows])), labels)[0]
        steps[rows] = [numbers[date] for date in dates[rows]]
    if (beyond := (steps < 0) | (steps >= len(labels))).any():
        raise ValueError(
            f"{beyond.sum()} times of column {column.name!r} lie beyond the season of the longest series, "
            f"{labels[0]} to {labels[-1]}: {some_of(np.unique(dates[beyond]))}; cut the others to one season, or name "
            "each season of a place as a series of its own"
        )
    return steps, labels


def _numbered(dates: list[Step], column: pd.Series) -> tuple[dict[Step, int], list[str]]:
    try:
        return number_steps(dates)
    except ValueError as error:
        raise ValueError(
            f"the times of column {column.name!r} follow no rhythm from {dates[0]} to {dates[-1]}: bring them to one, "
            "or number the steps; if a series holds several seasons, name each as a series of its own (field and year)"
        ) from error


__all__ = ["one_row_per_series", "spread_variates", "widened"]
