# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Time columns: read as dates or numbers and written as such, checked for order, duplicates and holes."""

import datetime
import re
import warnings
import zoneinfo
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..model.messages import tell
from .rhythms import Times, find_rhythm, instants, join_times
from .tables import check_complete, decoded, is_blank, parsed_numbers, row_numbers, some_of, warn_caller

# Whole numbers that are dates where every one of them is valid: digits, format.
_DATE_NUMBERS = {8: "%Y%m%d", 7: "%Y%j", 6: "%Y%m", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
# Units of Unix times, how many there are in a second; and which seconds since 1970 are times: from 1973 to 2099.
_UNIX_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_UNIX_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_UNIX_SECONDS = (10**8, 4_102_444_799)
# A word in the name of a column of numbers that tells when (not in `runtime`), or what it is called as a whole.
_TIME_WORDS = "times?|dates?|datetimes?|timestamps?|epochs?|unix|unixtime|datum|ts|ds"
_TIME_NAMES = re.compile(rf"(?<![^\W\d_])({_TIME_WORDS})(?![^\W\d_])|^index$", re.IGNORECASE)
# Differences of larger whole numbers do not fit into 64 bits.
_LARGEST = 2**62
# Which zone is meant where offsets alone do not tell: one for each rule, the best known.
_LIKELY_ZONES = (
    "Europe/Berlin",
    "Europe/London",
    "Europe/Helsinki",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Australia/Sydney",
)


class Holes(NamedTuple):
    """Where a series goes when its holes are filled: `positions` (T,) of its steps among all of `times`."""

    positions: NDArray[np.int64]
    times: Times


# --- reading and writing ----------------------------------------------------------------------------------------


def read_timestamps(column: pd.Series) -> Times:
    """Read a time column; `write_timestamps` gives others in its kind.

    Zones are kept: they are part of the times, from here to a forecast. Times without a zone stay without.

    Args:
        column: numbers, dates, periods, or text: ISO 8601, or any one format that pandas can tell; NumPy, pyarrow or
            Python objects. Whole numbers such as 20240131, 2024031 (year and day of the year), 202401 or 2024013123
            (with an hour) are dates where all of them are valid dates; else, where all are of the size of seconds,
            milliseconds, microseconds or nanoseconds from 1973 to 2099, counted since 1970, they are such Unix times,
            of the clock of UTC, and a warning says so. Several UTC offsets in one column are one time zone if one has
            them at these times (Europe/Berlin before others with the same clock); if none has, times become UTC, and
            a warning says so.

    Returns:
        `(T,)`: a `DatetimeIndex` where times have a zone, else an array of datetime64 or numbers.

    Raises:
        ValueError: blank cells, cells that are no dates, dates of which it is unclear what is day and month, offsets
            in some cells only, or whole numbers beyond 2**62.
    """
    column = _read_column(column)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _read_time_numbers(column)
    return pd.DatetimeIndex(column) if isinstance(column.dtype, pd.DatetimeTZDtype) else column.to_numpy()


def write_timestamps(times: Times, like: pd.Series) -> pd.Series:
    """Times as a column of the kind that they were read from, so that both can be concatenated.

    Args:
        times: `(T,)`, as `read_timestamps` gives them.
        like: the column that such times were read from, or some rows of it.

    Returns:
        `(T,)`, of the dtype of `like`: the same zone and unit, periods, pyarrow's types, Python's dates, numbers (also
        those that are dates). Text is written as the dates that it stands for, as pandas, Nixtla and others do.
    """
    like = decoded(like)
    kind: Any = like.dtype  # pandas' stubs know literals only
    written: Any = pd.Series(times)
    if isinstance(kind, pd.PeriodDtype):
        return written.dt.to_period(kind.freq)
    if pd.api.types.is_numeric_dtype(kind):
        if pd.api.types.is_datetime64_any_dtype(written.dtype):
            written = _as_numbers(written, like)
        kept = written.astype(kind)
        return kept if (kept.astype(written.dtype) == written).all() else written  # 130 is no int8
    plain = _plain(like)
    if isinstance(plain.iloc[0], datetime.date) and not isinstance(plain.iloc[0], datetime.datetime):
        dates = written.dt.date
        return pd.Series(pd.array(dates.tolist(), dtype=kind)) if isinstance(kind, pd.ArrowDtype) else dates
    return written.astype(kind) if pd.api.types.is_datetime64_any_dtype(plain.dtype) else written


def _plain(column: pd.Series) -> pd.Series:
    """Categories and pyarrow's types as what they stand for."""
    column = decoded(column)
    if not isinstance(column.dtype, pd.ArrowDtype):
        return column
    plain = column.array.__arrow_array__().to_pandas()  # type: ignore[attr-defined]
    return pd.Series(plain.to_numpy() if plain.dtype == object else plain, name=column.name).set_axis(column.index)


def _read_column(column: pd.Series) -> pd.Series:
    """Numbers, or dates with or without a time zone."""
    column = _plain(column)
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    check_complete(is_blank(column), "timestamps", column)
    if not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column)):
        numbers = parsed_numbers(column.astype(object))
        column = _parse_dates(column) if numbers.isna().any() else numbers
    if pd.api.types.is_complex_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        raise ValueError(f"timestamps of column {column.name!r} are {column.dtype}, expected dates or numbers")
    return column


def _read_time_numbers(column: pd.Series) -> NDArray[Any]:
    whole = pd.api.types.is_integer_dtype(column.dtype)
    if whole and (beyond := ((column > _LARGEST) | (column < -_LARGEST)).to_numpy(bool)).any():
        raise ValueError(
            f"timestamps of column {column.name!r} are whole numbers beyond 2**62, which wrap when they are "
            f"subtracted: {some_of(column[beyond].unique(), 3)}, in {row_numbers(beyond, column)}; correct them, or "
            "count from a later time"
        )
    numbers = column.to_numpy(np.int64 if whole else np.float64)
    if not np.isfinite(numbers).all():
        infinite = row_numbers(~np.isfinite(numbers), column)
        raise ValueError(f"timestamps infinite: column {column.name!r}, in {infinite}")
    if (kind := kind_of_numbers(column)) is None:
        return numbers
    if kind not in _UNIX_UNITS:
        return pd.to_datetime(pd.Series(numbers).astype(np.int64).astype(str), format=kind).to_numpy()
    times = _unix_times(numbers, kind)
    first = f"{times.min().astype('datetime64[s]')}".replace("T", " ")
    tell(
        "columns of times hold numbers of the size of Unix times, and are read as such, in UTC: {}",
        [f"{column.name!r} in {_UNIX_WORDS[kind]} since 1970, from {first}"],
    )
    return times


def kind_of_numbers(column: pd.Series) -> str | None:
    """How numbers tell when, by the rule of `read_timestamps`.

    Args:
        column: of numbers.

    Returns:
        The format of dates (`"%Y%m%d"`), the unit of Unix times (`"s"`, `"ms"`, `"us"`, `"ns"`), or None.
    """
    values = column.to_numpy(np.float64, na_value=np.nan)
    if not len(values) or not np.isfinite(values).all():
        return None
    low, high = values.min(), values.max()
    if (values == np.round(values)).all():
        for digits, form in _DATE_NUMBERS.items():
            if 1900 * 10 ** (digits - 4) <= low and high < 2101 * 10 ** (digits - 4):
                cells = pd.Series(np.unique(values).astype(np.int64)).astype(str)
                valid = pd.to_datetime(cells, format=form, errors="coerce").notna()
                if valid.mean() > 0.5:  # 2024013124 is a slip, and no time in 2034
                    return form if valid.all() else None
    for unit, per_second in _UNIX_UNITS.items():
        if _UNIX_SECONDS[0] * per_second <= low and high <= _UNIX_SECONDS[1] * per_second:
            return unit
    return None


def tells_times(column: pd.Series) -> bool:
    """Whether numbers are times by the column's name (`date`, `unix_time`, `epoch`, ...) and by `kind_of_numbers`."""
    kind: Any = decoded(column).dtype
    if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind) or kind.kind == "c":
        return False
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(column.name))
    return bool(_TIME_NAMES.search(name)) and kind_of_numbers(decoded(column).dropna()) is not None


def without_times(frame: pd.DataFrame, names: list[Any]) -> list[Any]:
    """Those of these columns that are no times by `tells_times`; a warning names the others."""
    times = [name for name in names if tells_times(frame[name])]
    if times:
        warn_caller(f"columns of numbers that are times are not read as values: {some_of(map(repr, times))}")
    return [name for name in names if name not in times]


def _unix_times(numbers: NDArray[Any], unit: str) -> NDArray[np.datetime64]:
    if numbers.dtype.kind == "i":
        return numbers.astype(f"datetime64[{unit}]")
    return np.rint(numbers * (10**6 / _UNIX_UNITS[unit])).astype(np.int64).astype("datetime64[us]")


def _as_numbers(times: pd.Series, like: pd.Series) -> pd.Series:
    """Dates as numbers of the kind of these."""
    if (kind := kind_of_numbers(like)) not in _UNIX_UNITS:
        return times.dt.strftime(kind or "%Y%m%d").astype(np.int64)
    if pd.api.types.is_integer_dtype(like.dtype):
        return pd.Series(times.to_numpy(f"datetime64[{kind}]").astype(np.int64))
    return pd.Series(times.to_numpy("datetime64[us]").astype(np.int64) / (10**6 / _UNIX_UNITS[kind]))


def _parse_dates(column: pd.Series) -> pd.Series:
    """Text as dates; day before month and month before day must not both be possible."""
    iso = column.map(lambda cell: cell.strip().upper() if isinstance(cell, str) else cell)  # "z" is a zone, too
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # how pandas 2 speaks of several offsets
        try:
            return pd.to_datetime(iso, format="ISO8601")
        except (ValueError, TypeError, FutureWarning):
            pass
    try:
        utc = pd.to_datetime(iso, format="ISO8601", utc=True)
    except (ValueError, TypeError):
        utc = None
    if utc is not None:
        return _with_one_zone(column, utc)
    try:
        parsed = [dates for day_first in (False, True) if (dates := _parse_by_order(column, day_first)) is not None]
        if not parsed:
            raise ValueError("one format for all of them was not found")
    except (ValueError, TypeError, OverflowError) as error:
        found = some_of(dict.fromkeys(map(repr, column)), 3)  # cells may be lists
        raise ValueError(
            f"timestamps of column {column.name!r} are neither dates nor numbers, found {found}: {error}. Write them "
            "as ISO 8601 (2024-01-31 12:00), or name another timestamp_column"
        ) from error
    if len(parsed) == 2 and not parsed[0].equals(parsed[1]):
        raise ValueError(
            f"timestamps of column {column.name!r} may be read month first or day first, found "
            f"{some_of(dict.fromkeys(map(repr, column)), 3)}: write them as ISO 8601 (2024-01-31 12:00)"
        )
    return parsed[0]


def _parse_by_order(column: pd.Series, day_first: bool) -> pd.Series | None:
    text = column.astype(str).str.strip()
    if text.str.fullmatch(r"\d{4}-?[Qq][1-4]").all():
        return pd.Series(pd.PeriodIndex(text.tolist(), freq="Q").to_timestamp(), index=column.index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the first date settles the order by itself
        date_format = pd.tseries.api.guess_datetime_format(text.iloc[0], dayfirst=day_first)
    if date_format is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        try:
            dates = pd.to_datetime(text, format=date_format, errors="coerce")
        except (ValueError, FutureWarning):  # several offsets
            dates = pd.to_datetime(text, format=date_format, errors="coerce", utc=True)
            dates = dates if dates.isna().any() else _with_one_zone(text, dates)
    return None if dates.isna().any() else dates


# --- several offsets --------------------------------------------------------------------------------------------


def _with_one_zone(column: pd.Series, utc: pd.Series) -> pd.Series:
    """Times that were written with several offsets from UTC, in the one zone that has them, or else in UTC."""
    text = column.astype(str).str.strip()
    written = text.str.extract(r"\d[T ].*\d\s*(Z|[+-]\d\d(?::?\d\d)?)$", flags=re.IGNORECASE)[0]
    if (absent := written.isna().to_numpy()).any():
        raise ValueError(
            f"timestamps of column {column.name!r}: some have an offset from UTC and others none, in "
            f"{row_numbers(absent, column)}: {some_of(map(repr, column[absent].unique()), 3)}; write all of them alike"
        )
    codes, names = pd.factorize(written.str.upper())
    offsets = np.array([_offset_minutes(name) for name in names])[codes] * np.timedelta64(60, "s")
    if (zone := _zone_with(pd.DatetimeIndex(utc), offsets)) is not None:
        return utc.dt.tz_convert(zone)
    warn_caller(
        f"timestamps of column {column.name!r} have the offsets {some_of(names)}, which no one time zone has at these "
        "times: they are read, and continued, as UTC"
    )
    return utc


def _offset_minutes(offset: str) -> int:
    digits = re.sub(r"\D", "", offset).ljust(4, "0")
    return (-1 if offset[0] == "-" else 1) * (int(digits[:2]) * 60 + int(digits[2:]))


def _zone_with(utc: pd.DatetimeIndex, offsets: NDArray[np.timedelta64]) -> str | None:
    """The likeliest zone that has these offsets at these times."""
    changes = np.flatnonzero(offsets[1:] != offsets[:-1])[:100]
    probe = np.unique(np.concatenate([[0, len(utc) - 1], changes, changes + 1]))
    known = zoneinfo.available_timezones()
    places = [zone for zone in sorted(known) if "/" in zone and not zone.startswith(("Etc/", "System"))]
    for zone in dict.fromkeys([zone for zone in _LIKELY_ZONES if zone in known] + places):
        if _has_offsets(zone, utc[probe], offsets[probe]) and _has_offsets(zone, utc, offsets):
            return zone
    return None


def _has_offsets(zone: str, utc: pd.DatetimeIndex, offsets: NDArray[np.timedelta64]) -> bool:
    return bool((utc.tz_convert(zone).tz_localize(None) - utc.tz_localize(None) == offsets).all())


# --- checking ---------------------------------------------------------------------------------------------------


def find_holes(times: Times, name: str, *, fill: bool = False, advice: str = "") -> Holes | None:
    """Check the times of one series; they must rise, each only once, and follow a rhythm (see `rhythms`).

    Args:
        times: `(T,)`, as `read_timestamps` gives them.
        name: of the series, for errors: "series 'x'", or "the table".
        fill: give the holes back instead of raising for them.
        advice: added to the errors for unsorted and repeated times.

    Returns:
        The holes: positions of the rhythm that have no time; None where there are none.

    Raises:
        ValueError: times that do not rise, that come twice, that follow no rhythm, or that have holes.
    """
    if len(times) < 2:
        return None
    steps = np.diff(instants(times))
    _check_rising(times, steps, name, advice)
    if (rhythm := find_rhythm(times)) is None:
        sizes, counts = np.unique(steps, return_counts=True)
        common = some_of(f"{show_time(sizes[k])} ({counts[k]} times)" for k in np.argsort(-counts, kind="stable"))
        raise ValueError(
            f"{name}: timestamps follow no regular step; differences found: {common}. Resample the table to one step, "
            "or leave out timestamp_column if rows are steps whatever their dates"
        )
    positions = rhythm.positions
    if positions[-1] == len(times) - 1:
        return None
    absent = np.setdiff1d(np.arange(positions[-1] + 1), positions)
    missing = rhythm.at(absent)
    if not fill:
        raise ValueError(
            f"{name}: {len(absent)} steps are missing between {len(times)} timestamps: "
            f"{some_of(map(show_time, missing), 3)} (rhythm: {rhythm.name}); pass fill_gaps=True to insert them as "
            "missing values, or leave out timestamp_column if nothing happens at these times (holidays)"
        )
    order = np.argsort(np.concatenate([positions, absent]))
    return Holes(positions, join_times([times, missing])[order])


def _check_rising(times: Times, steps: NDArray[Any], name: str, advice: str) -> None:
    zero = steps.dtype.type(0)
    if (back := np.flatnonzero(steps < zero)).size:
        row = int(back[0])
        raise ValueError(
            f"{name}: timestamps are not sorted: {show_time(times[row + 1])} follows {show_time(times[row])} (steps "
            f"{row} and {row + 1}, {len(back)} such places); sort the table by time first{advice}"
        )
    if (repeated := np.flatnonzero(steps == zero)).size:
        where = some_of(dict.fromkeys(map(show_time, times[repeated])), 3)
        raise ValueError(f"{name}: {len(repeated)} duplicate timestamps: {where}; keep one row for each time{advice}")


def continue_timestamps(times: Times, count: int) -> Times:
    """The times that follow a series, by its rhythm (see `rhythms`); by its last step, if it has none.

    Args:
        times: `(T,)` datetime64 or numbers, or a `DatetimeIndex` with a zone, two or more.
        count: how many.

    Returns:
        `(count,)`, of the same type and in the same zone.

    Raises:
        ValueError: fewer than two times, or times beyond what their type holds.
    """
    if len(times) < 2:
        raise ValueError(f"{len(times)} times have no rhythm that could be continued: at least two are needed")
    following = np.arange(1, count + 1)
    try:
        if (rhythm := find_rhythm(times)) is not None:
            return rhythm.at(rhythm.positions[-1] + following)
        return times[-1] + (times[-1] - times[-2]) * following
    except (OverflowError, pd.errors.OutOfBoundsDatetime) as error:
        raise ValueError(
            f"the {count} times after {show_time(times[-1])} are beyond what {times.dtype} holds: {error}"
        ) from error


def show_time(time: Any) -> str:
    if isinstance(time, np.timedelta64):
        return str(pd.Timedelta(time))
    return str(pd.Timestamp(time)) if isinstance(time, np.datetime64 | pd.Timestamp) else f"{time:.12g}"


__all__ = [
    "Holes", "Times", "continue_timestamps", "find_holes", "kind_of_numbers", "read_timestamps", "show_time",
    "tells_times", "write_timestamps",
]  # fmt: skip
