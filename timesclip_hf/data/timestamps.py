# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Time columns: read as dates or numbers, checked for order, duplicates and holes, holes filled on request."""

import warnings
from collections.abc import Callable
from datetime import tzinfo
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .tables import check_complete, decoded, row_numbers, some_of

# Whole numbers that are dates where every one of them is valid: digits, pandas' format.
_DATE_NUMBERS = {8: "%Y%m%d", 6: "%Y%m"}
# Numbers that count time may be off by rounding: this much of a step is forgiven.
_TOLERANCE = 1e-3
_DAY = np.timedelta64(1, "D")


class Holes(NamedTuple):
    """Where a series goes when its holes are filled: `positions` (T,) of its steps among all of `times`."""

    positions: NDArray[np.int64]
    times: NDArray[Any]


# --- reading ----------------------------------------------------------------------------------------------------


def read_timestamps(column: pd.Series) -> NDArray[Any]:
    """The times of a column, `(T,)`, datetime64 or numbers.

    Args:
        column: numbers, dates, periods, or strings: ISO 8601, or any one format that pandas can tell. Whole numbers
            such as 20240131 or 202401 are dates where all of them are valid dates. Dates with a time zone become UTC,
            except midnights, which stay the days that they are.

    Raises:
        ValueError: blank cells, or cells that are no dates, or dates of which it is unclear what is day and month.
    """
    column = _read_column(column)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _read_time_numbers(column)
    return _without_zone(column).to_numpy()


def zone_of_utc(column: pd.Series) -> tzinfo | None:
    """The time zone of what `read_timestamps` turned into UTC; `None` where it left times or days as they are."""
    dates = _read_column(column)
    if not isinstance(dates.dtype, pd.DatetimeTZDtype) or _without_zone(dates).equals(dates.dt.tz_localize(None)):
        return None
    return dates.dt.tz


def _read_column(column: pd.Series) -> pd.Series:
    """Numbers, or dates with or without a time zone."""
    column = decoded(column)
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    blank = column.isna()
    if is_text := not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column)):
        blank |= column.map(lambda cell: isinstance(cell, str) and not cell.strip()).astype(bool)
    check_complete(blank.to_numpy(bool), "timestamps", column.name)
    if is_text:
        numbers = pd.to_numeric(column.astype(object), errors="coerce")
        column = _parse_dates(column) if numbers.isna().any() else numbers
    if pd.api.types.is_complex_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        raise ValueError(f"timestamps of column {column.name!r} are {column.dtype}, expected dates or numbers")
    return column


def _read_time_numbers(column: pd.Series) -> NDArray[Any]:
    whole = pd.api.types.is_integer_dtype(column.dtype)
    numbers = column.to_numpy(np.int64 if whole else np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"timestamps infinite: column {column.name!r}, in {row_numbers(~np.isfinite(numbers))}")
    for digits, date_format in _DATE_NUMBERS.items():
        low, high = (year * 10 ** (digits - 4) for year in (1900, 2101))
        if whole and low <= numbers.min() and numbers.max() < high:
            dates = pd.to_datetime(column.astype(str), format=date_format, errors="coerce")
            if dates.notna().all():
                return dates.to_numpy()
    return numbers


def _parse_dates(column: pd.Series) -> pd.Series:
    """Text as dates; day before month and month before day must not both be possible."""
    try:
        for utc in (False, True):  # UTC where one column has several offsets
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)  # how pandas 2 speaks of several offsets
                try:
                    return pd.to_datetime(column, format="ISO8601", utc=utc)
                except (ValueError, TypeError, FutureWarning):
                    continue
        parsed = [dates for day_first in (False, True) if (dates := _parse_by_order(column, day_first)) is not None]
        if not parsed:
            raise ValueError("one format for all of them was not found")
    except (ValueError, TypeError, OverflowError) as error:
        found = some_of(map(repr, column.unique()), 3)
        raise ValueError(
            f"timestamps of column {column.name!r} are neither dates nor numbers, found {found}: {error}. Write them "
            "as ISO 8601 (2024-01-31 12:00), or name another timestamp_column"
        ) from error
    if len(parsed) == 2 and not parsed[0].equals(parsed[1]):
        raise ValueError(
            f"timestamps of column {column.name!r} may be read month first or day first, found "
            f"{some_of(map(repr, column.unique()), 3)}: write them as ISO 8601 (2024-01-31 12:00)"
        )
    return parsed[0]


def _parse_by_order(column: pd.Series, day_first: bool) -> pd.Series | None:
    text = column.astype(str).str.strip()
    if text.str.fullmatch(r"\d{4}-?[Qq][1-4]").all():
        return pd.Series(pd.PeriodIndex(text.tolist(), freq="Q").to_timestamp(), index=column.index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the first date settles the order by itself
        date_format = pd.tseries.api.guess_datetime_format(text.iloc[0], dayfirst=day_first)
    dates = None if date_format is None else pd.to_datetime(text, format=date_format, errors="coerce")
    return None if dates is None or dates.isna().any() else dates


def _without_zone(dates: pd.Series) -> pd.Series:
    if not isinstance(dates.dtype, pd.DatetimeTZDtype):
        return dates
    local = dates.dt.tz_localize(None)
    # Days are 23 or 25 hours long twice a year, hours are not: days by the local calendar, all else by UTC.
    return local if local.equals(local.dt.normalize()) else dates.dt.tz_convert("UTC").dt.tz_localize(None)


# --- checking ---------------------------------------------------------------------------------------------------


def find_holes(times: NDArray[Any], name: str, *, fill: bool = False, advice: str = "") -> Holes | None:
    """Check the times of one series; they must rise, and each only once.

    The regular step is a constant difference, or one of the calendar: business days (Monday to Friday), or months,
    quarters and years, on one day of the month or on its last. Where nothing is missing, any other calendar that
    `pandas.infer_freq` knows is regular too.

    Args:
        times: `(T,)`, as `read_timestamps` gives them.
        name: of the series, for errors: "series 'x'", or "the table".
        fill: give the holes back instead of raising for them.
        advice: added to the errors for unsorted and repeated times.

    Returns:
        The holes; None where there are none.

    Raises:
        ValueError: times that do not rise, that come twice, that follow no step, or that have holes.
    """
    if len(times) < 2:
        return None
    steps = np.diff(times)
    _check_rising(times, steps, name, advice)
    if (steps == steps[0]).all() or _frequency(times) is not None:  # also business hours, last Fridays, ...
        return None
    for ruler in (_month_ruler, _business_day_ruler, _constant_ruler):
        if (measured := ruler(times)) is None:
            continue
        ticks, at = measured
        ratio, positions = _positions(ticks)
        if positions is None or positions[-1] >= 2 * len(times):
            continue
        if positions[-1] == len(times) - 1:
            return None
        absent = np.setdiff1d(np.arange(positions[-1] + 1), positions)
        filled = np.empty(positions[-1] + 1, times.dtype)
        filled[positions], filled[absent] = times, at(absent * ratio)
        if fill:
            return Holes(positions, filled)
        raise ValueError(
            f"{name}: {len(absent)} steps are missing between {len(times)} timestamps: "
            f"{some_of(map(_show, filled[absent]), 3)}; pass fill_gaps=True to insert them as missing values, or "
            "leave out timestamp_column if nothing happens at these times (holidays)"
        )
    sizes, counts = np.unique(steps, return_counts=True)
    common = some_of(f"{_show(sizes[k])} ({counts[k]} times)" for k in np.argsort(-counts, kind="stable"))
    raise ValueError(
        f"{name}: timestamps follow no regular step; differences found: {common}. Resample the table to one step, or "
        "leave out timestamp_column if rows are steps whatever their dates"
    )


def _check_rising(times: NDArray[Any], steps: NDArray[Any], name: str, advice: str) -> None:
    zero = steps.dtype.type(0)
    if (back := np.flatnonzero(steps < zero)).size:
        row = int(back[0])
        raise ValueError(
            f"{name}: timestamps are not sorted: {_show(times[row + 1])} follows {_show(times[row])} (steps {row} and "
            f"{row + 1}, {len(back)} such places); sort the table by time first{advice}"
        )
    if (repeated := np.flatnonzero(steps == zero)).size:
        where = some_of(dict.fromkeys(map(_show, times[repeated])), 3)
        raise ValueError(f"{name}: {len(repeated)} duplicate timestamps: {where}; keep one row for each time{advice}")


_Ruler = tuple[NDArray[Any], Callable[[NDArray[Any]], NDArray[Any]]]


def _positions(ticks: NDArray[Any]) -> tuple[Any, NDArray[np.int64] | None]:
    """The shortest step on a ruler, and each time's number of steps from the first; None where they do not fit."""
    steps = np.diff(ticks)
    ratios = steps / steps.min()
    if np.abs(ratios - np.rint(ratios)).max() > _TOLERANCE:
        return steps.min(), None
    return steps.min(), np.concatenate([[0], np.cumsum(np.rint(ratios).astype(np.int64))])


def _constant_ruler(times: NDArray[Any]) -> _Ruler:
    if times.dtype.kind != "M":
        return times - times[0], lambda ticks: (times[0] + ticks).astype(times.dtype)
    return (times - times[0]).astype(np.int64), lambda ticks: times[0] + ticks.astype((times - times[0]).dtype)


def _month_ruler(times: NDArray[Any]) -> _Ruler | None:
    """Counts months; None unless all times are of one day of the month, or all of its last, at one time of day."""
    if times.dtype.kind != "M":
        return None
    index = pd.DatetimeIndex(times)
    days = index.normalize()
    ends = bool(index.is_month_end.all())
    if (index - days).nunique() > 1 or not (ends or index.day.nunique() == 1):
        return None
    months = times.astype("datetime64[M]")

    def at(ticks: NDArray[Any]) -> NDArray[Any]:
        first = months[0] + ticks.astype("timedelta64[M]")
        length = (first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")
        day = length if ends else np.minimum(length, np.timedelta64(index.day[0], "D"))
        return (first.astype("datetime64[D]") + day - _DAY).astype(times.dtype) + (index - days)[0].to_timedelta64()

    return (months - months[0]).astype(np.int64), at


def _business_day_ruler(times: NDArray[Any]) -> _Ruler | None:
    """Counts Mondays to Fridays; None unless all times are, at one time of day, over a week at least."""
    if times.dtype.kind != "M":
        return None
    days = times.astype("datetime64[D]")
    since_midnight = times - days
    if (since_midnight != since_midnight[0]).any() or not np.is_busday(days).all() or days[-1] - days[0] < 7 * _DAY:
        return None
    return (
        np.busday_count(days[0], days),
        lambda ticks: np.busday_offset(days[0], ticks).astype(times.dtype) + since_midnight[0],
    )


def _frequency(times: NDArray[Any]) -> Any:
    """The calendar of dates without holes, if pandas knows one."""
    if times.dtype.kind != "M" or len(times) < 3:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 4 will return another type
        return pd.infer_freq(pd.DatetimeIndex(times))


def continue_timestamps(times: NDArray[Any], count: int) -> NDArray[Any]:
    """The `(count,)` times that follow `(T,)` regular ones: by their calendar (months, ...), or by the last step.

    Raises:
        ValueError: fewer than two times.
    """
    if len(times) < 2:
        raise ValueError(f"{len(times)} times have no rhythm that could be continued: at least two are needed")
    for ruler in (_month_ruler, _business_day_ruler):
        if (measured := ruler(times)) is None:
            continue
        ticks, at = measured
        if len(steps := np.unique(np.diff(ticks))) == 1:
            return at(ticks[-1] + steps[0] * np.arange(1, count + 1))
    if (frequency := _frequency(times)) is not None:
        return pd.date_range(times[-1], periods=count + 1, freq=frequency)[1:].to_numpy().astype(times.dtype)
    return times[-1] + (times[-1] - times[-2]) * np.arange(1, count + 1)


def _show(time: Any) -> str:
    if isinstance(time, np.timedelta64):
        return str(pd.Timedelta(time))
    return str(pd.Timestamp(time)) if isinstance(time, np.datetime64) else f"{time:.12g}"


__all__ = ["Holes", "continue_timestamps", "find_holes", "read_timestamps", "zone_of_utc"]
