# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The rhythms of time columns: where times stand on one, which positions are empty, and which times come next.

The rule. A series follows the rhythm on which all its times stand with the fewest empty positions; of rhythms with
equally few, the one that comes first in this list:

1. one day of each month (quarter, year, ...), or its last; a day that a month lacks is its last (30 January, 28
   February, 30 March);
2. the calendars of satellite products, from three rows on, two of which are neighbours (six of pentads, unless a step
   is uneven): 16 days counted anew from day 1 or 9 of each year, 8 days from day 1; dekads and pentads by their first,
   last or middle days; half months;
3. the first or last business day of each month (quarter, year, ...), from three rows on;
4. a constant number of local days (daily, weekly, ...);
5. Monday to Friday, over a week at least or without a hole; the same without the holidays of an exchange or country,
   where these are exactly what lacks (see `business_holidays`);
6. what is read off the series itself, once it has come round often enough: other working weeks (five days in a row:
   two whole weekends; any other days of the week: three weeks), other days of the month (three months), the n-th or
   last Monday (...) of each month, 4, 5, 7, 8, 10 or 16 days counted anew from another day of each year;
7. a constant step in absolute time (hours across a change of the clock are all of one length), or, of times with a
   zone, of the clock on the wall (00:00 and 12:00);
   Numbers: a constant step, or from six rows on 12, 4, 2, 24, 36 or 52 steps a year where they are years with a
   fraction (1959.04, 1959.13, ...), rounded or of months of unlike lengths;
8. without holes, any other that `pandas.infer_freq` knows (business hours, ...).

So where a constant step and a calendar both explain every row, months and satellite products win; all others must have
shown an uneven step. The shortest step must occur, and half of all positions must be filled, or there is no rhythm.

Rhythms 1 to 6 are of local days, at one local time of day. Where the clock skips that time, the first time after it
counts (`nonexistent="shift_forward"` of pandas); where the clock shows it twice, either is on the rhythm, and the
first is what continues it.
"""

import functools
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .business_holidays import holidays_of, skipped_calendar

# Naive times and numbers are arrays; times with a zone carry it.
Times = NDArray[Any] | pd.DatetimeIndex
Ticks = NDArray[np.int64]
Days = NDArray[np.datetime64]

# Numbers that count time may be off by rounding: this much of a step is forgiven.
_TOLERANCE = 1e-3
_LAST = 31  # of any month
_DAY = np.timedelta64(1, "D")


class Rhythm(NamedTuple):
    """A rhythm and where a series stands on it.

    Args:
        name: of the rhythm, for messages.
        positions: `(T,)`, of each time, the first being 0; without holes 0, 1, 2, ...
        at: positions to times of the series' own type; those beyond its end continue it.
    """

    name: str
    positions: Ticks
    at: Callable[[Ticks], Times]


class _Ruler(NamedTuple):
    """The marks of a calendar that times stand on, counted from anywhere, and what stands at any marks."""

    ticks: NDArray[Any]
    at: Callable[[NDArray[Any]], Any]


def find_rhythm(times: Times) -> Rhythm | None:
    """The rhythm that a series follows, by the rule above.

    Args:
        times: `(T,)` rising datetime64 or numbers, or a `DatetimeIndex` with a time zone; two or more.

    Returns:
        The rhythm; None if there is none, or fewer than two times.
    """
    if len(times) < 2:
        return None
    best: Rhythm | None = None
    for name, ruler in _rulers(times):
        step, positions = _positions(ruler.ticks)
        if positions is None or positions[-1] >= 2 * len(times):
            continue
        if best is None or positions[-1] < best.positions[-1]:
            best = Rhythm(name, positions, functools.partial(_at, ruler, step))
        if positions[-1] == len(times) - 1:
            return best
    return _pandas_rhythm(times) or best


def instants(times: Times) -> NDArray[Any]:
    """Times as an array whose differences are true: datetime64 in UTC where they have a zone."""
    if isinstance(times, pd.DatetimeIndex):
        times = (times if times.tz is None else times.tz_convert("UTC").tz_localize(None)).to_numpy()
    return times.astype(np.int64) if times.dtype.kind == "u" else times


def is_zoned(times: Times) -> bool:
    """Whether times have a time zone."""
    return isinstance(times, pd.DatetimeIndex) and times.tz is not None


def comparable(times: Times, other: Times, where: str) -> NDArray[Any]:
    """Times as `instants` gives them, in the type of others.

    Raises:
        ValueError: times with and without a zone, or dates and numbers; the message begins with `where`.
    """
    if is_zoned(times) != is_zoned(other):
        raise ValueError(f"{where}: times have a time zone in one table and none in the other")
    own, wanted = instants(times), instants(other).dtype
    if (own.dtype.kind == "M") != (wanted.kind == "M"):
        raise ValueError(f"{where}: times are dates in one table and numbers in the other")
    return own.astype(wanted)


def join_times(parts: list[Times]) -> Times:
    """One behind the other, in the zone of the first; raises where some have a zone and others have none."""
    if not any(zoned := [isinstance(part, pd.DatetimeIndex) for part in parts]):
        return np.concatenate(parts)
    if not all(zoned):
        raise ValueError("some times have a time zone and others have none: read all of them alike")
    first, *others = (pd.DatetimeIndex(part) for part in parts)
    return first.append([part.tz_convert(first.tz) for part in others])


def _rulers(times: Times) -> Iterator[tuple[str, _Ruler]]:
    """What the times stand on, in the order of the rule."""
    if not isinstance(times, pd.DatetimeIndex) and times.dtype.kind != "M":
        yield "a constant step", _constant_numbers(times)
        yield from _decimal_years(times)
        return
    index = pd.DatetimeIndex(times)
    if (taken := _local_days(index)) is not None:
        days, assemble = taken
        short = (days[1] - days[0] < 4 * _DAY) and (np.diff(days) == days[1] - days[0]).all()
        for name, calendar in [("days", _every_day)] if short else _CALENDARS:  # no calendar has such steps throughout
            if (ruler := calendar(days)) is not None:
                yield name, _Ruler(ruler.ticks, functools.partial(_assembled, assemble, ruler.at))
    yield "a constant step", _constant_times(index, index.tz_convert("UTC") if index.tz is not None else index)
    if index.tz is not None:
        yield "a constant step of the local clock", _constant_times(index, index.tz_localize(None))


def _positions(ticks: NDArray[Any]) -> tuple[Any, Ticks | None]:
    """The shortest step on a ruler, and each time's number of steps from the first; None where they do not fit."""
    steps = np.diff(ticks)
    if (step := steps.min()) <= 0:
        return step, None
    if ticks.dtype.kind != "f":
        return step, None if (steps % step).any() else (ticks - ticks[0]) // step
    counts = np.rint(steps / step)
    if np.abs(steps / step - counts).max() > _TOLERANCE:
        return step, None
    positions = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return (ticks[-1] - ticks[0]) / positions[-1], positions  # the mean step: rounding does not add up


def _at(ruler: _Ruler, step: Any, positions: Ticks) -> Times:
    first = ruler.ticks[0]
    if ruler.ticks.dtype.kind == "i" and len(positions):
        last = int(first) + int(step) * int(positions.max())
        if last > np.iinfo(np.int64).max:
            raise OverflowError(f"step {positions.max()} of {step} after {first} is beyond 64 bits")
    return ruler.at(first + step * positions)


def _assembled(assemble: Callable[[Days], Times], at: Callable[[Ticks], Days], ticks: Ticks) -> Times:
    return assemble(at(ticks))


# --- constant steps ---------------------------------------------------------------------------------------------


def _constant_numbers(times: NDArray[Any]) -> _Ruler:
    numbers = instants(times)
    return _Ruler(numbers, lambda ticks: ticks.astype(times.dtype))


def _decimal_years(times: NDArray[Any]) -> Iterator[tuple[str, _Ruler]]:
    """Years with a fraction, 1959.042 or 1959.04: months (...) of unlike lengths, or of rounded numbers."""
    if times.dtype.kind != "f" or len(times) < 6 or times[0] < 1500 or times[-1] > 2200:
        return
    decimals = next((d for d in range(7) if (np.round(times, d) == times).all()), 6)
    for a_year in (12, 4, 2, 24, 36, 52):
        steps = (times - times[0]) * a_year
        ticks = np.rint(steps).astype(np.int64)
        if (np.abs(steps - ticks) > 0.2).any() or np.diff(ticks).min() != 1:
            continue
        own = np.full(a_year, np.mean(steps - ticks))  # where each step of the year stands, as far as it was seen
        for slot in np.unique(ticks % a_year):
            own[slot] = (steps - ticks)[ticks % a_year == slot].mean()

        def at(ticks: Ticks, a_year: int = a_year, own: NDArray[Any] = own) -> NDArray[Any]:
            return np.round(times[0] + (ticks + own[ticks % a_year]) / a_year, decimals).astype(times.dtype)

        yield f"{a_year} steps a year", _Ruler(ticks, at)


def _constant_times(times: pd.DatetimeIndex, clock: pd.DatetimeIndex) -> _Ruler:
    """Counted in the unit of the times, on a clock: UTC's, or the local one."""
    naive = clock.tz_localize(None)

    def at(ticks: Ticks) -> Times:
        shown = pd.DatetimeIndex(ticks.astype(naive.to_numpy().dtype))
        if clock.tz is not None:
            return shown.tz_localize("UTC").tz_convert(times.tz)
        return _localised(shown, times.tz)

    return _Ruler(naive.to_numpy().astype(np.int64), at)


# --- local days -------------------------------------------------------------------------------------------------


def _local_days(times: pd.DatetimeIndex) -> tuple[Days, Callable[[Days], Times]] | None:
    """The local days of times that are all of one time of day, and how to get from such days to times."""
    wall = times.tz_localize(None)
    days = wall.normalize()
    # Where the clock skips the time of day, a later one stands for it: the earliest is the true one.
    time_of_day = (wall - days).min()

    def assemble(days: Days, first: bool = True) -> Times:
        # Over seconds: numpy wraps where a year is beyond nanoseconds, pandas raises.
        shown = pd.DatetimeIndex(days.astype("datetime64[s]")).as_unit(wall.unit) + time_of_day
        return _localised(shown, times.tz, first)

    numbered = days.to_numpy().astype("datetime64[D]")
    if times.tz is None:
        return (numbered, assemble) if (wall - days == time_of_day).all() else None
    if (wall - days == time_of_day).mean() < 0.5:  # no day after day of skipped times
        return None
    at_one_time = (times == assemble(numbered)) | (times == assemble(numbered, first=False))
    return (numbered, assemble) if at_one_time.all() else None


def _localised(wall: pd.DatetimeIndex, zone: Any, first: bool = True) -> Times:
    if zone is None:
        return wall.to_numpy()
    ambiguous = np.full(len(wall), first)
    return wall.tz_localize(zone, ambiguous=ambiguous, nonexistent="shift_forward")


def _every_day(days: Days) -> _Ruler:
    return _Ruler(days.astype(np.int64), lambda ticks: ticks.astype("datetime64[D]"))


def _neighbours(ruler: _Ruler | None) -> _Ruler | None:
    """A ruler of several marks a cycle, if there is enough on it: three times, two of them side by side."""
    enough = ruler is not None and len(ruler.ticks) > 2 and np.diff(ruler.ticks).min() == 1
    return ruler if enough else None


# --- months -----------------------------------------------------------------------------------------------------


def _days_of_month(days: Days) -> NDArray[np.int64]:
    return (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1


def _month_lengths(months: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)


def _in_months(days: Days, place: Callable[[NDArray[np.datetime64]], Days]) -> _Ruler | None:
    """One day of each month: `place` says which, from months to days."""
    ticks = days.astype("datetime64[M]").astype(np.int64)

    def at(ticks: Ticks) -> Days:
        return place(ticks.astype("datetime64[M]"))

    return _Ruler(ticks, at) if (at(ticks) == days).all() else None


def _on_days_of_month(days: Days, *chosen: int) -> _Ruler | None:
    """Some days of each month; one that a month lacks is its last."""
    numbers = np.array(chosen)

    def at(ticks: Ticks) -> Days:
        month, slot = np.divmod(ticks, len(numbers))
        months = month.astype("datetime64[M]")
        of_month = np.minimum(numbers[slot], _month_lengths(months))
        return months.astype("datetime64[D]") + (of_month - 1) * _DAY

    slots = np.minimum(np.searchsorted(numbers, _days_of_month(days)), len(numbers) - 1)
    ticks = days.astype("datetime64[M]").astype(np.int64) * len(numbers) + slots
    return _Ruler(ticks, at) if (at(ticks) == days).all() else None


def _seen_days_of_month(days: Days) -> list[int]:
    """The days of the month that occur; the ends of months are day 31 unless they stand for a day that occurs."""
    of_month = _days_of_month(days)
    ends = of_month == _month_lengths(days.astype("datetime64[M]"))
    seen = sorted(set(of_month[~ends].tolist()))
    if not seen or (ends.any() and of_month[ends].max() > seen[-1]):
        seen.append(_LAST)
    return seen


def _one_day_of_month(days: Days) -> _Ruler | None:
    seen = _seen_days_of_month(days)
    return _on_days_of_month(days, *seen) if len(seen) == 1 else None


def _own_days_of_month(days: Days) -> _Ruler | None:
    seen = _seen_days_of_month(days)
    if not 2 <= len(seen) <= 6 or seen[-2] >= 28 or len(days) <= 2 * len(seen):
        return None
    months = days.astype("datetime64[M]")
    return _neighbours(_on_days_of_month(days, *seen)) if (months[-1] - months[0]).astype(int) >= 3 else None


def _business_day_of_month(days: Days, last: bool) -> _Ruler | None:
    def place(months: NDArray[np.datetime64]) -> Days:
        firsts = (months + int(last)).astype("datetime64[D]")
        return np.busday_offset(firsts, -int(last), roll="forward")

    return _in_months(days, place) if len(days) > 2 else None


def _nth_weekday_of_month(days: Days) -> _Ruler | None:
    weekday, of_month = _weekdays(days), _days_of_month(days)
    if len(days) < 3 or (weekday != weekday[0]).any():
        return None
    last = bool((of_month + 7 > _month_lengths(days.astype("datetime64[M]"))).all())
    weeks = int(-1 if last else (of_month[0] - 1) // 7)

    def place(months: NDArray[np.datetime64]) -> Days:
        return np.busday_offset(
            (months + int(last)).astype("datetime64[D]"),
            weeks,
            roll="forward",
            weekmask=_mask(weekday[:1]),
        )

    return _in_months(days, place)


# --- weeks ------------------------------------------------------------------------------------------------------


def _weekdays(days: Days) -> NDArray[np.int64]:
    """Monday is 0."""
    return (days.astype(np.int64) + 3) % 7  # 1970 began on a Thursday


def _mask(weekdays: Collection[int] | NDArray[np.int64]) -> str:
    """As NumPy's calendar takes them."""
    return "".join(str(int(day in weekdays)) for day in range(7))


def _on_weekdays(days: Days, week: str) -> _Ruler:
    first = days[0]
    return _Ruler(
        np.busday_count(first, days, weekmask=week).astype(np.int64),
        lambda ticks: np.busday_offset(first, ticks, weekmask=week),
    )


def _monday_to_friday(days: Days) -> _Ruler | None:
    if not np.is_busday(days).all():
        return None
    ruler = _on_weekdays(days, _mask(range(5)))
    whole = len(days) > 2 and (np.diff(ruler.ticks) == 1).all()
    return ruler if whole or days[-1] - days[0] >= 7 * _DAY else None


def _business_days(days: Days) -> _Ruler | None:
    if len(days) < 20 or not np.is_busday(days).all() or (name := skipped_calendar(days)) is None:
        return None
    first, year = days[0], int(days[0].astype("datetime64[Y]").astype(int)) + 1970

    def up_to(years: float) -> Days:
        return holidays_of(name, year, year + int(years) + 2)

    def at(ticks: Ticks) -> Days:
        return np.busday_offset(first, ticks, holidays=up_to(ticks.max(initial=0) / 230))

    span = float((days[-1] - first).astype(int)) / 365
    return _Ruler(np.busday_count(first, days, holidays=up_to(span)).astype(np.int64), at)


def _own_week(days: Days) -> _Ruler | None:
    """The days of the week that occur, if the others have been passed over often enough."""
    worked = set(_weekdays(days).tolist())
    free = set(range(7)) - worked
    if not free or len(worked) < 2 or len(days) <= 2 * len(worked):
        return None
    one_weekend = len(free) == 2 and any((day + 1) % 7 in free for day in free)
    passed = np.busday_count(days[0], days[-1], weekmask=_mask(free))
    enough = passed >= (2 if one_weekend else 3) * len(free)
    return _neighbours(_on_weekdays(days, _mask(worked))) if enough else None


# --- years ------------------------------------------------------------------------------------------------------


def _anew_each_year(days: Days, length: int, first: int) -> _Ruler | None:
    """Every so many days, from one day of the year on; what is left of the year is shorter."""
    last = 364 if length == 7 else 365  # a 53rd week of one day is part of the 52nd
    a_year = (last - first) // length + 1
    years = days.astype("datetime64[Y]")
    slots, rest = np.divmod((days - years.astype("datetime64[D]")).astype(np.int64) + 1 - first, length)
    if rest.any() or slots.min() < 0 or slots.max() >= a_year:
        return None

    def at(ticks: Ticks) -> Days:
        year, slot = np.divmod(ticks, a_year)
        return year.astype("datetime64[Y]").astype("datetime64[D]") + (first - 1 + slot * length) * _DAY

    return _neighbours(_Ruler(years.astype(np.int64) * a_year + slots, at))


def _own_days_of_year(days: Days, length: int) -> _Ruler | None:
    of_year = (days[0] - days[0].astype("datetime64[Y]").astype("datetime64[D]")).astype(int)
    return _anew_each_year(days, length, int(of_year) % length + 1)


# --- the table --------------------------------------------------------------------------------------------------


def _satellite(*chosen: int) -> Callable[[Days], _Ruler | None]:
    def calendar(days: Days) -> _Ruler | None:
        steps = np.diff(days)
        enough = len(days) >= len(chosen) or (steps != steps[0]).any()
        return _neighbours(_on_days_of_month(days, *chosen)) if enough else None

    return calendar


_CALENDARS: list[tuple[str, Callable[[Days], _Ruler | None]]] = [
    ("one day of the month", _one_day_of_month),
    ("16 days from each 1 January", functools.partial(_anew_each_year, length=16, first=1)),
    ("16 days from each 9 January", functools.partial(_anew_each_year, length=16, first=9)),
    ("8 days from each 1 January", functools.partial(_anew_each_year, length=8, first=1)),
    ("dekads", _satellite(1, 11, 21)),
    ("ends of dekads", _satellite(10, 20, _LAST)),
    ("middles of dekads", _satellite(5, 15, 25)),
    ("middles of dekads", _satellite(6, 16, 26)),
    ("pentads", _satellite(1, 6, 11, 16, 21, 26)),
    ("ends of pentads", _satellite(5, 10, 15, 20, 25, _LAST)),
    ("middles of pentads", _satellite(3, 8, 13, 18, 23, 28)),
    ("half months", _satellite(1, 16)),
    ("1st and 15th of the month", _satellite(1, 15)),
    ("15th and last of the month", _satellite(15, _LAST)),
    ("first business day of the month", functools.partial(_business_day_of_month, last=False)),
    ("last business day of the month", functools.partial(_business_day_of_month, last=True)),
    ("days", _every_day),
    ("Monday to Friday", _monday_to_friday),
    ("business days", _business_days),
    ("some days of the week", _own_week),
    ("some days of the month", _own_days_of_month),
    ("one weekday of the month", _nth_weekday_of_month),
    *(
        (f"{length} days, anew each year", functools.partial(_own_days_of_year, length=length))
        for length in (16, 8, 10, 5, 4, 7)
    ),
]


def _pandas_rhythm(times: Times) -> Rhythm | None:
    """Any other calendar of times without holes, if pandas knows one."""
    if len(times) < 3 or not (isinstance(times, pd.DatetimeIndex) or times.dtype.kind == "M"):
        return None
    index = pd.DatetimeIndex(times)
    wall = index.tz_localize(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 4 will return another type
        try:
            frequency = pd.infer_freq(wall)
        except ValueError:  # a clock on the wall may stand still or go back
            return None
    if frequency is None:
        return None

    def at(positions: Ticks) -> Times:
        count = int(positions.max()) + 1 if len(positions) else 0
        return _localised(pd.date_range(wall[0], periods=count, freq=frequency, unit=wall.unit)[positions], index.tz)

    positions = np.arange(len(times))
    # Of weeks of months, pandas does not see that a month is missing.
    return Rhythm(str(frequency), positions, at) if (at(positions) == times).all() else None


__all__ = ["Rhythm", "Times", "comparable", "find_rhythm", "instants", "is_zoned", "join_times"]
