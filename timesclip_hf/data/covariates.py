# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Long tables with covariates: which column is what, and the rows of the steps to come.

The rule. Targets are forecast. Covariates known in advance are read in past and future; those of numbers are variates,
too, text is categories. Covariates of the past are variates that nobody forecasts. Static columns say one thing of a
series, in all of its rows or in some, the others blank. Rows of the future stand in a table of their own, or behind
the series in the same one, their targets blank; there must be one for each step to forecast, at the times that
continue the series, and no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..model.future_values import Column
from .calendar import calendar_columns, calendar_values, read_calendar
from .long import SeriesCollection, holds_numbers, read_long_series, rows_of_series
from .rhythms import Times, comparable, instants
from .tables import check_known, decoded, is_blank, name_list, read_numbers, read_table, repeated_names, some_of
from .timestamps import continue_timestamps, read_timestamps, show_time, without_times


@dataclass(frozen=True)
class CovariateRoles:
    """What the columns of a long table are for, beside its times and the names of its series.

    Args:
        targets: to forecast; empty: all columns of numbers, but of times, that have no other role.
        future: known in advance, numbers or text.
        past: known up to now alone, numbers.
        static: one thing of each series, numbers or text.
        calendar: of `data.calendar.PARTS`, `"holidays:COUNTRY"`, or `"auto"`.
    """

    targets: Sequence[str] = ()
    future: Sequence[str] = ()
    past: Sequence[str] = ()
    static: Sequence[str] = ()
    calendar: str | Sequence[str] = ()

    @property
    def any(self) -> bool:
        """Whether there are covariates at all."""
        return bool(self.future or self.past or self.static or self.calendar)


def load_covariate_table(
    table: Any,
    roles: CovariateRoles,
    *,
    timestamp_column: str | None = None,
    series_column: str | None = None,
    fill_gaps: bool = False,
) -> SeriesCollection:
    """Read a table with one row per time step and columns of several roles, to train on.

    Args:
        table: as for `load_long_table`, as are the other arguments.
        roles: what the columns are for.

    Returns:
        Series whose variates are the targets, then the covariates of numbers; with `future`, `future_columns` and
        `static`, as far as there are such.

    Raises:
        ValueError: as `load_long_table`; columns with two roles, static columns that change within a series (named).
    """
    frame = read_table(table)
    given = {role: name_list(getattr(roles, role), role) for role in ("targets", "future", "past", "static")}
    for role, names in given.items():
        check_known(names, frame, f"{role}: no such columns")
    taken = [name for name in (timestamp_column, series_column) if name is not None]
    covariates = [*given["future"], *given["past"], *given["static"]]
    if repeated := repeated_names([*taken, *given["targets"], *covariates]):
        raise ValueError(f"columns with more than one role: {some_of(map(repr, repeated))}")
    others = [name for name in frame.columns if name not in (*taken, *covariates) and holds_numbers(frame[name])]
    targets = given["targets"] or without_times(frame, others)
    columns = [covariate_column(frame, name) for name in given["future"]]
    variates = [*targets, *(c["name"] for c in columns if "categories" not in c), *given["past"]]
    reading: dict[str, Any] = {"timestamp_column": timestamp_column, "series_column": series_column}
    count = len(targets) if len(targets) < len(variates) else None
    series = read_with_covariates(frame, variates, columns, fill_gaps=fill_gaps, num_targets=count, **reading)
    if calendar := read_calendar(roles.calendar, None if series.timestamps is None else series.timestamps[0]):
        series = with_calendar(series, calendar)
    if not given["static"]:
        return series
    texts = pd.Series("0", frame.index) if series_column is None else decoded(frame[series_column]).astype(str)
    if changing := changing_statics(frame[given["static"]], texts):
        raise ValueError(f"series {next(iter(changing))!r}: {next(iter(changing.values()))}")
    firsts = first_statics(frame[given["static"]], texts)
    return replace(series, static=firsts.loc[series.series_names].to_dict("records"))


def read_with_covariates(
    frame: pd.DataFrame,
    variates: Sequence[str],
    columns: Sequence[Mapping[str, Any]],
    *,
    timestamp_column: str | None = None,
    series_column: str | None = None,
    fill_gaps: bool = False,
    num_targets: int | None = None,
    faults: dict[str, str] | None = None,
) -> SeriesCollection:
    """The series of a long table, and what is known of covariates in their steps.

    Args:
        frame: as `read_table` gives it.
        variates: columns of numbers.
        columns: covariates known in advance, as far as they are known: with their `categories`, where they have such.
        timestamp_column, series_column, fill_gaps, faults: as for `read_long_series`.
        num_targets: how many of the variates are forecast, the first ones; None: all.
    """
    names = [*variates, *(column["name"] for column in columns if column["name"] not in variates)]
    check_known(names, frame, "no such columns")
    roles = [name for name in (timestamp_column, series_column) if name is not None]
    read = frame[[*roles, *names]].copy()
    for column in columns:
        if "categories" in column:
            read[column["name"]] = coded_cells(frame, column, timestamp_column, series_column)
    read.attrs = frame.attrs
    given: dict[str, Any] = {"timestamp_column": timestamp_column, "series_column": series_column}
    series = read_long_series(read, variates=names, fill_gaps=fill_gaps, faults=faults, **given)
    series = replace(series, num_targets=num_targets)
    if not columns:
        return series
    places = [names.index(column["name"]) for column in columns]
    return replace(
        series,
        values=[values[:, : len(variates)] for values in series.values],
        variate_names=list(variates),
        future=[values[:, places].astype(np.float64) for values in series.values],
        future_columns=[dict(column) for column in columns],
    )


def with_calendar(series: SeriesCollection, calendar: Sequence[str]) -> SeriesCollection:
    """The same with what the calendar says of their steps behind the other covariates."""
    times = _dates_of(series)
    told = [calendar_values(moments, calendar) for moments in times]
    known = series.future or [np.zeros((len(values), 0)) for values in series.values]
    return replace(
        series,
        future=[np.concatenate([own, more], axis=1) for own, more in zip(known, told, strict=True)],
        future_columns=[*(series.future_columns or []), *calendar_columns(calendar)],
    )


def with_future(
    series: SeriesCollection,
    horizon: int,
    future: Any = None,
    *,
    calendar: Sequence[str] = (),
    timestamp_column: str | None = None,
    series_column: str | None = None,
) -> SeriesCollection:
    """Series, and what is known of the steps behind them: what a forecaster is asked with.

    Args:
        series: as `read_with_covariates` gives them; where `future` is None, those of their last steps whose targets
            are all blank are the steps to come.
        horizon: steps to forecast.
        future: a table with a row for each of them and the columns known in advance.
        calendar: what is taken from the times, as the processor has it.
        timestamp_column, series_column: of `future`; None: rows are steps, and there is one series.

    Returns:
        The series, `future` of each `horizon` rows longer than itself.

    Raises:
        ValueError: rows that are missing, too many, at other times or of other series, blank cells or categories that
            training has not seen; names series and time.
    """
    columns = series.future_columns or []
    if future is None:
        series = _ended(series) if columns else series
    else:
        frame = read_table(future)
        reading = _FutureRows(frame, columns, timestamp_column, series_column)
        reading.check_series(series.series_names)
        rows = [
            reading.of(name, _following(series, k, horizon), horizon) for k, name in enumerate(series.series_names)
        ]
        known = series.future or [np.zeros((len(values), 0)) for values in series.values]
        ends = [own[: len(v)] for own, v in zip(known, series.values, strict=True)]
        series = replace(series, future=[np.concatenate(pair) for pair in zip(ends, rows, strict=True)])
    for name, values, own in zip(series.series_names, series.values, series.future or [], strict=False):
        if columns and len(own) - len(values) != horizon:
            raise ValueError(
                f"series {name!r} has {len(own) - len(values)} rows of {some_of(c['name'] for c in columns)} behind "
                f"its last value, expected one for each of the {horizon} steps to forecast: give them as a table of "
                "their own (future), or behind the series, the targets blank"
            )
        _check_observed(own[len(values) :], columns, name, None)
    return _with_future_calendar(series, horizon, calendar) if calendar else series


def changing_statics(statics: pd.DataFrame, series: pd.Series) -> dict[str, str]:
    """Series whose static values are not one and the same, and why they cannot be read."""
    if statics.empty:
        return {}
    changing = _without_blanks(statics).groupby(series, sort=False).nunique() > 1
    return {
        str(name): f"static columns that change within a series: {some_of(row.index[row])}"
        for name, row in changing[changing.any(axis=1)].iterrows()
    }


def first_statics(statics: pd.DataFrame, series: pd.Series) -> pd.DataFrame:
    """The static values of each series, in the order in which they begin: the first that are not blank."""
    return _without_blanks(statics).groupby(series.to_numpy(), sort=False).first()


def _without_blanks(statics: pd.DataFrame) -> pd.DataFrame:
    """Text of spaces says no more than a cell that is missing."""
    return statics.mask(statics.apply(is_blank))


class _FutureRows:
    """The rows of a table of the future, by series."""

    def __init__(
        self, frame: pd.DataFrame, columns: Sequence[Column], timestamp_column: str | None, series_column: str | None
    ):
        check_known([c["name"] for c in columns], frame, "future: no such columns")
        for role, column in {"timestamp_column": timestamp_column, "series_column": series_column}.items():
            check_known([] if column is None else [column], frame, f"future: {role}: no such columns")
        self.columns = columns
        self.rows = rows_of_series(frame, series_column) if len(frame) else {}
        self.times = None if timestamp_column is None or not len(frame) else read_timestamps(frame[timestamp_column])
        parts = [
            coded_cells(frame, c, timestamp_column, series_column)
            if "categories" in c
            else read_numbers(frame[c["name"]])
            for c in columns
        ]
        self.values = np.stack(parts, axis=1) if parts else np.zeros((len(frame), 0))
        self.alone = series_column is None

    def check_series(self, names: Sequence[str]) -> None:
        """Raises for other series than are there."""
        if self.alone and len(names) > 1:
            raise ValueError(f"future: {len(names)} series, but no series_column says which row belongs to which")
        if not self.alone and (others := [name for name in self.rows if name not in set(names)]):
            raise ValueError(f"future: rows of series that are not there: {some_of(map(repr, others))}")

    def of(self, name: str, expected: Times | None, horizon: int) -> NDArray[np.float64]:
        """`(horizon, C)` of one series, in the order of the times that continue it."""
        select: Any = next(iter(self.rows.values()), []) if self.alone else self.rows.get(name, [])
        select = np.arange(len(self.values))[select]
        if expected is None or self.times is None:
            if len(select) != horizon:
                raise ValueError(
                    f"future: series {name!r} has {len(select)} rows, expected {horizon}, one for each step"
                )
            _check_observed(self.values[select], self.columns, name, None)
            return self.values[select]
        found = self.times[select]
        wanted = comparable(expected, self.times, f"future: series {name!r}")
        place = {moment: row for moment, row in zip(instants(found).tolist(), select.tolist(), strict=True)}
        moments = instants(wanted).tolist()
        span = f"expected the {horizon} steps from {show_time(expected[0])} to {show_time(expected[-1])}"
        missing = [show_time(expected[k]) for k, moment in enumerate(moments) if moment not in place]
        extra = [show_time(self.times[place[moment]]) for moment in sorted(set(place) - set(moments))]
        repeated = [show_time(time) for time in found[pd.Index(instants(found)).duplicated()]]
        faults = {"no row for": missing, "rows for other times,": extra, "more than one row for": repeated}
        if told := [f"{words} {some_of(times, 3)}" for words, times in faults.items() if times]:
            raise ValueError(f"future: series {name!r} has {', and '.join(told)}; {span}")
        rows = self.values[[place[moment] for moment in moments]]
        _check_observed(rows, self.columns, name, expected)
        return rows


def _check_observed(rows: NDArray[np.float64], columns: Sequence[Column], name: str, times: Times | None) -> None:
    if (holes := np.isnan(rows)).any():
        step, k = map(int, np.argwhere(holes)[0])
        when = f"step {step + 1}" if times is None else show_time(times[step])
        raise ValueError(f"future: series {name!r} has no value of {columns[k]['name']!r} at {when}")


def covariate_column(frame: pd.DataFrame, name: str) -> Column:
    """A covariate as far as its cells tell: of numbers, or of these categories."""
    if holds_numbers(frame[name]) and not isinstance(frame[name].dtype, pd.CategoricalDtype):
        return {"name": name}
    cells = decoded(frame[name]).dropna().astype(str)
    return {"name": name, "categories": sorted(cells.unique().tolist())}


def coded_cells(
    frame: pd.DataFrame, column: Mapping[str, Any], timestamp_column: str | None, series_column: str | None
) -> NDArray[np.float64]:
    """A column of categories as their numbers."""
    cells = decoded(frame[column["name"]])
    texts = cells.astype(str).where(cells.notna(), None)
    number = {category: k for k, category in enumerate(column["categories"])}
    unknown = np.array([text is not None and text not in number for text in texts.tolist()], bool)
    if unknown.any():
        row = frame.iloc[int(np.flatnonzero(unknown)[0])]
        where = f"series {row[series_column]!r} " if series_column is not None else ""
        where += f"at {row[timestamp_column]}" if timestamp_column is not None else f"in row {row.name}"
        raise ValueError(
            f"column {column['name']!r} has the category {row[column['name']]!r} ({where}), which training has not "
            f"seen; it knows {some_of(map(repr, number), 12)}"
        )
    return np.array([np.nan if text is None else number[text] for text in texts.tolist()], np.float64)


def _ended(series: SeriesCollection) -> SeriesCollection:
    """The same without the last steps whose targets are all blank: covariates alone are known of them."""
    ends = []
    for name, values in zip(series.series_names, series.values, strict=True):
        seen = np.flatnonzero(~np.isnan(values[:, : series.num_targets]).all(axis=1))
        if not len(seen):
            raise ValueError(f"series {name!r} has no value of {some_of(series.target_names)}")
        ends.append(int(seen[-1]) + 1)
    return replace(
        series,
        values=[values[:end] for values, end in zip(series.values, ends, strict=True)],
        timestamps=None
        if series.timestamps is None
        else [times[:end] for times, end in zip(series.timestamps, ends, strict=True)],
    )


def _with_future_calendar(series: SeriesCollection, horizon: int, calendar: Sequence[str]) -> SeriesCollection:
    """With what the calendar says of all steps, those to come included."""
    known = series.future or [np.zeros((len(values) + horizon, 0)) for values in series.values]
    future = []
    for k, (times, own) in enumerate(zip(_dates_of(series), known, strict=True)):
        both = [
            calendar_values(part, calendar) for part in (times, _following(series, k, horizon)) if part is not None
        ]
        future.append(np.concatenate([own, np.concatenate(both)], axis=1))
    return replace(series, future=future, future_columns=[*(series.future_columns or []), *calendar_columns(calendar)])


def _following(series: SeriesCollection, number: int, horizon: int) -> Times | None:
    if series.timestamps is None:
        return None
    try:
        return continue_timestamps(series.timestamps[number], horizon)
    except ValueError as error:
        raise ValueError(f"series {series.series_names[number]!r}: {error}") from error


def _dates_of(series: SeriesCollection) -> list[Times]:
    if series.timestamps is None:
        raise ValueError("calendar needs the times of the series: name their timestamp_column")
    return series.timestamps


__all__ = [
    "CovariateRoles",
    "changing_statics",
    "coded_cells",
    "covariate_column",
    "first_statics",
    "load_covariate_table",
    "read_with_covariates",
    "with_calendar",
    "with_future",
]
