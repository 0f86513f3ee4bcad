# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Rhythms on the local calendar: complete series have no holes, holes are exactly what is missing, series go on."""

import datetime
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from series_samples import expect_error

from timesclip_hf.data.rhythms import find_rhythm, join_times
from timesclip_hf.data.timestamps import continue_timestamps, find_holes

ZONES = [
    None,
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Africa/Cairo",
]


def days_where(keep: Callable[[datetime.date], bool], first: datetime.date, count: int) -> list[datetime.date]:
    """The next days that a plain sentence about single days is true of."""
    days, day = [], first
    while len(days) < count:
        if keep(day):
            days.append(day)
        day += datetime.timedelta(1)
    return days


def last_of_month(day: datetime.date) -> bool:
    return (day + datetime.timedelta(1)).month != day.month


def is_last_business_day(day: datetime.date) -> bool:
    later = (day + datetime.timedelta(k) for k in range(1, 7))
    return day.weekday() < 5 and not any(d.month == day.month and d.weekday() < 5 for d in later)


def of_year(day: datetime.date) -> int:
    return day.timetuple().tm_yday


# A sentence about a day, and how many rows are evidence enough.
DAYS: dict[str, tuple[Callable[[datetime.date], bool], int]] = {
    "daily": (lambda d: True, 10),
    "weekly": (lambda d: d.weekday() == 2, 10),
    "every ten days": (lambda d: d.toordinal() % 10 == 3, 12),
    "first of the month": (lambda d: d.day == 1, 4),
    "last of the month": (last_of_month, 4),
    "day 30, short in February": (lambda d: d.day == 30 or (d.month == 2 and last_of_month(d)), 6),
    "day 29, short in February": (lambda d: d.day == 29 or (d.month == 2 and d.day == 28 and last_of_month(d)), 14),
    "quarters": (lambda d: d.day == 15 and d.month % 3 == 2, 4),
    "last of the quarter": (lambda d: last_of_month(d) and d.month % 3 == 0, 4),
    "years": (lambda d: (d.month, d.day) == (7, 1), 4),
    "Monday to Friday": (lambda d: d.weekday() < 5, 10),
    "Sunday to Thursday": (lambda d: d.weekday() not in (4, 5), 18),
    "Monday to Saturday": (lambda d: d.weekday() != 6, 26),
    "Tuesday and Friday": (lambda d: d.weekday() in (1, 4), 10),
    "Monday, Wednesday, Friday": (lambda d: d.weekday() in (0, 2, 4), 14),
    "last business day of the month": (is_last_business_day, 10),
    "second Tuesday of the month": (lambda d: d.weekday() == 1 and 8 <= d.day <= 14, 8),
    "last Friday of the month": (
        lambda d: d.weekday() == 4 and (d + datetime.timedelta(7)).month != d.month,
        8,
    ),
    "dekads": (lambda d: d.day in (1, 11, 21), 8),
    "ends of dekads": (lambda d: d.day in (10, 20) or last_of_month(d), 8),
    "pentads": (lambda d: d.day in (1, 6, 11, 16, 21, 26), 14),
    "1st and 15th": (lambda d: d.day in (1, 15), 6),
    "1st and 16th": (lambda d: d.day in (1, 16), 6),
    "10th and 25th": (lambda d: d.day in (10, 25), 10),
    "15th and last": (lambda d: d.day == 15 or last_of_month(d), 8),
    "MODIS, 16 days": (lambda d: of_year(d) % 16 == 1 and of_year(d) <= 353, 26),
    "MODIS Aqua, 16 days": (lambda d: of_year(d) % 16 == 9 and of_year(d) <= 361, 26),
    "MODIS, 8 days": (lambda d: of_year(d) % 8 == 1 and of_year(d) <= 361, 50),
    "MODIS, 4 days": (lambda d: of_year(d) % 4 == 1 and of_year(d) <= 365, 96),
    "16 days from the 5th": (lambda d: of_year(d) % 16 == 5 and of_year(d) <= 357, 26),
    "weeks of the year": (lambda d: of_year(d) % 7 == 1 and of_year(d) <= 358, 56),
}


def local_times(days: list[datetime.date], hour: datetime.time, zone: str | None) -> np.ndarray | pd.DatetimeIndex:
    """One local time on each day, by Python's own clocks; pandas says what becomes of one that does not exist."""
    wall = pd.DatetimeIndex([datetime.datetime.combine(day, hour) for day in days])
    if zone is None:
        return wall.to_numpy()
    return wall.tz_localize(zone, ambiguous=np.ones(len(wall), bool), nonexistent="shift_forward")


def check_rhythm(times, seen: int, removed: list[int]) -> None:
    """No holes in the first rows, these rows as holes when they are taken out, and the rest as what comes next."""
    history = times[:seen]
    assert find_holes(history, "s") is None
    following = continue_timestamps(history, len(times) - seen)
    assert type(following) is type(history)
    np.testing.assert_array_equal(following, times[seen:])
    kept = np.delete(np.arange(seen), removed)
    if len(removed):
        with expect_error(f"{len(removed)} steps are missing"):
            find_holes(history[kept], "s")
        holes = find_holes(history[kept], "s", fill=True)
        np.testing.assert_array_equal(holes.times, history)
        np.testing.assert_array_equal(holes.positions, kept)


@pytest.mark.parametrize("name", DAYS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_rhythms_of_local_days_are_known_their_holes_found_and_continued(name, data):
    keep, enough = DAYS[name]
    zone = data.draw(st.sampled_from(ZONES), "zone")
    hour = data.draw(st.sampled_from([datetime.time(h, m) for h, m in ((0, 0), (2, 30), (6, 0), (12, 0), (23, 45))]))
    first = data.draw(st.dates(datetime.date(2005, 1, 1), datetime.date(2030, 1, 1)), "first")
    seen = data.draw(st.integers(enough, enough + 30), "seen")
    times = local_times(days_where(keep, first, seen + 12), hour, zone)
    # Enough rows stay neighbours (rows 1, 3, 5 of five are a complete series of every second one); the first and the
    # last row cannot be missing.
    removed = data.draw(
        st.integers(0, 2 if seen > max(2 * enough - 4, 5) else 0).map(lambda k: [seen // 3, seen // 3 + 2][:k])
    )
    check_rhythm(times, seen, removed)


@settings(max_examples=40, deadline=None)
@given(
    step=st.sampled_from(["1min", "15min", "h", "2h", "3h", "5h", "6h", "7h", "12h"]),
    zone=st.sampled_from(ZONES),
    first=st.datetimes(datetime.datetime(2005, 1, 1), datetime.datetime(2030, 1, 1)),
    seen=st.integers(8, 300),
    removed=st.sets(st.integers(2, 6), max_size=3),
)
def test_steps_of_hours_are_of_one_length_through_every_change_of_the_clock(step, zone, first, seen, removed):
    times = pd.date_range(first.replace(second=0, microsecond=0), periods=seen + 12, freq=step, tz="UTC")
    times = times.tz_localize(None).to_numpy() if zone is None else times.tz_convert(zone)
    assume(len(removed) < 3 or seen > 12)
    check_rhythm(times, seen, sorted(removed))


@settings(max_examples=15, deadline=None)
@given(start=st.integers(-(10**6), 10**6), step=st.integers(1, 1000), seen=st.integers(8, 40))
def test_numbers_go_on_by_their_step(start, step, seen):
    whole = start + step * np.arange(seen + 5)
    check_rhythm(whole, seen, [3, 4])
    following = continue_timestamps((whole / 7)[:seen], 5)
    np.testing.assert_allclose(following, (whole / 7)[seen:], rtol=1e-9)


@pytest.mark.parametrize("decimals", [2, 3, 4, 8])
def test_decimal_years_are_months_however_they_are_rounded(decimals):
    months = pd.date_range("1990-04-15", periods=60, freq="MS") + pd.Timedelta(days=14)
    true = (months.year + (months.dayofyear - 0.5) / (365 + months.is_leap_year)).to_numpy()
    history = np.round(true, decimals)[:48]
    assert find_holes(history, "s") is None
    following = continue_timestamps(history, 12)
    np.testing.assert_allclose(following, true[48:], atol=0.004 + 10.0**-decimals)
    np.testing.assert_array_equal(following, np.round(following, decimals))
    holes = find_holes(np.delete(history, [7, 20, 21]), "s", fill=True)
    assert np.setdiff1d(np.arange(48), holes.positions).tolist() == [7, 20, 21]
    np.testing.assert_allclose(holes.times, history, atol=0.004 + 10.0**-decimals)


def test_decimals_that_are_no_fractions_of_years_are_irregular():
    for times in ([0.0, 0.1, 0.2, 0.31, 0.4, 0.5], [2000.0, 2000.11, 2000.13, 2000.31, 2000.37, 2000.52]):
        with expect_error("no regular step"):
            find_holes(np.array(times), "s")


def test_local_hours_that_do_not_exist_or_come_twice_are_those_of_pandas():
    def berlin(*times: str) -> pd.DatetimeIndex:
        return pd.to_datetime(list(times), utc=True).tz_convert("Europe/Berlin")

    times = berlin(
        "2024-03-29T02:30+01:00", "2024-03-30T02:30+01:00", "2024-03-31T03:00+02:00", "2024-04-01T02:30+02:00"
    )
    assert find_holes(times, "s") is None and find_rhythm(times).name == "days"
    assert continue_timestamps(times[:2], 2).equals(times[2:])
    for offset in ("+02:00", "+01:00"):  # either of both 02:30 is on the rhythm
        autumn = berlin("2024-10-26T02:30+02:00", f"2024-10-27T02:30{offset}", "2024-10-28T02:30+01:00")
        assert find_rhythm(autumn).name == "days"


def test_twelve_hours_of_the_wall_clock_are_a_rhythm_too():
    wall = pd.date_range("2024-03-25", periods=30, freq="12h")
    times = wall.tz_localize("Europe/Berlin")  # 11 hours apart in the night of the change
    check_rhythm(times, 20, [5])


def test_a_constant_step_and_a_calendar_that_both_fit_are_told_apart_by_the_rule():
    def after(*days: str) -> str:
        return str(continue_timestamps(np.array(days, "datetime64[s]"), 1)[0].astype("datetime64[D]"))

    assert after("2023-12-03", "2023-12-19") == "2024-01-04"  # two rows: a constant step
    assert after("2023-11-17", "2023-12-03", "2023-12-19") == "2024-01-01"  # days 321, 337, 353
    assert after("2023-11-18", "2023-12-04", "2023-12-20") == "2024-01-05"  # of no product
    assert after("2024-01-01", "2024-01-11", "2024-01-21") == "2024-02-01"
    pentads = [f"2024-01-{day:02d}" for day in (1, 6, 11, 16, 21, 26)]
    assert (after(*pentads[1:]), after(*pentads)) == ("2024-01-31", "2024-02-01")  # a month of them is evidence
    assert after("2024-01-21", "2024-01-26", "2024-02-01") == "2024-02-06"
    assert after("2024-01-02", "2024-01-12", "2024-01-22") == "2024-02-01"
    assert after("2024-07-01", "2024-07-02", "2024-07-03", "2024-07-04", "2024-07-05") == "2024-07-06"  # one week
    assert after("2024-01-31", "2024-02-29", "2024-03-29") == "2024-04-30"  # last business days, 29 days apart
    assert after("2023-02-01", "2023-03-01") == "2023-04-01"  # 28 days


def test_the_error_for_holes_says_which_rhythm_has_them():
    dekads = np.array(["2024-01-01", "2024-01-11", "2024-01-21", "2024-02-11", "2024-02-21"], "datetime64[s]")
    with expect_error("1 steps are missing between 5 timestamps: 2024-02-01 00:00:00 (rhythm: dekads)"):
        find_holes(dekads, "the table")


def test_times_beyond_what_their_type_holds_raise():
    for times in (
        pd.date_range("2200", periods=40, freq="YS").as_unit("ns").to_numpy(),
        pd.date_range("2262-01-01", periods=20, freq="h").as_unit("ns").to_numpy(),
        np.arange(3) * 2**61,
    ):
        with expect_error("times after", "beyond what"):
            continue_timestamps(times, 3000)


def test_times_with_and_without_a_zone_are_not_joined():
    times = pd.date_range("2024-01-01", periods=3)
    with expect_error("some times have a time zone"):
        join_times([times.to_numpy(), times.tz_localize("UTC")])
    joined = join_times([times.tz_localize("Europe/Berlin"), times.tz_localize("UTC")])
    assert str(joined.tz) == "Europe/Berlin" and joined[3].hour == 1
