# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Times of long tables: what is read, what is refused, how holes are filled and series continued."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from series_samples import expect_error, load_times

from timesclip_hf.data.long import load_long_table
from timesclip_hf.data.timestamps import continue_timestamps, read_timestamps, tells_times, write_timestamps


@pytest.mark.parametrize(
    "times",
    [
        [1, 2, 3, 4],
        [0.1, 0.2, 0.3, 0.4],
        pd.array([1, 2, 3], dtype="UInt8"),
        [1990, 1991, 1992],
        pd.date_range("2024-01-01", periods=8, freq="h"),
        pd.date_range("2024-01-31", periods=14, freq="ME"),
        pd.date_range("2024-01-01", periods=14, freq="MS"),
        pd.date_range("2024-01-01", periods=14, freq="MS") + pd.Timedelta("14D"),
        pd.date_range("2023-12-31", periods=9, freq="QE"),
        pd.date_range("2000-01-01", periods=9, freq="YS"),
        pd.date_range("2024-01-01", periods=30, freq="B"),
        pd.date_range("2024-01-01", periods=30, freq="BME"),
        pd.date_range("2024-01-01 09:00", periods=16, freq="bh"),
        pd.period_range("2024-01", periods=5, freq="M"),
        pd.date_range("2024-03-01", periods=60, freq="D", tz="Europe/Brussels"),
        pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Brussels"),
        ["2024-01-30", "2024-01-31", "2024-02-01"],
        ["2024-01-30T23:00", "2024-01-31T00:00", "2024-01-31T01:00"],
        ["30/01/2024", "31/01/2024", "01/02/2024"],
        ["1/30/2024 10:00", "1/31/2024 10:00", "2/1/2024 10:00"],
        ["2024-03-30T22:00+01:00", "2024-03-31T23:00+02:00", "2024-04-01T23:00+02:00"],
        ["Jan 30, 2024", "Jan 31, 2024", "Feb 01, 2024"],
        ["2024Q1", "2024Q2", "2024Q3", "2024Q4"],
        [20240130, 20240131, 20240201],
        [202311, 202312, 202401],
    ],
)
def test_regular_times_of_many_kinds_pass(times):
    assert len(load_times(times).timestamps[0]) == len(times)


def test_day_and_month_are_told_apart_by_the_whole_column():
    read = load_times(["30/01/2024", "31/01/2024", "01/02/2024"]).timestamps[0]
    assert read.astype("datetime64[D]").astype(str).tolist() == ["2024-01-30", "2024-01-31", "2024-02-01"]
    with expect_error("month first or day first", "ISO 8601"):
        load_times(["01/02/2024", "02/02/2024", "03/02/2024"])


@pytest.mark.parametrize("times", [["soon", "later"], [True, False], [1.0, np.inf]])
def test_times_that_are_none_raise(times):
    with expect_error("timestamps"):
        load_times(times)


def test_blank_times_are_named():
    with expect_error("timestamps missing: column 'time', in 1 of 3 rows (numbers 1"):
        load_times(["2024-01-01", " ", "2024-01-03"])


def test_unsorted_rows_are_sorted_by_their_times_with_a_warning():
    with pytest.warns(UserWarning, match="1 of 1 series were not in the order of 'time'"):
        read = load_times(["2024-01-02", "2024-01-03", "2024-01-01"])
    assert read.values[0].ravel().tolist() == [2, 0, 1]
    assert read.timestamps[0].astype("datetime64[D]").astype(str).tolist() == [
        "2024-01-01",
        "2024-01-02",
        "2024-01-03",
    ]
    frame = pd.DataFrame({"s": list("yxyxy"), "t": [1, 6, 3, 5, 2], "a": [10.0, 21, 12, 20, 11]})
    with pytest.warns(UserWarning, match="2 of 2 series .*: y, x"):
        read = load_long_table(frame, timestamp_column="t", series_column="s")
    assert [values.ravel().tolist() for values in read.values] == [[10, 11, 12], [20, 21]]
    with pytest.warns(UserWarning), expect_error("3 duplicate timestamps: 1, 2, 3", "name their series_column"):
        load_times([1, 2, 3, 1, 2, 3])


def test_a_time_that_comes_twice_in_a_series_is_named_with_it():
    frame = pd.DataFrame(
        {"s": list("xxyyy"), "t": ["2024-01-01", "2024-01-02", "2024-01-01", "2024-01-02", "2024-01-01"]}
    )
    with pytest.warns(UserWarning), expect_error("series 'y': 1 duplicate timestamps: 2024-01-01"):
        load_long_table(frame.assign(a=1.0), timestamp_column="t", series_column="s")


def test_duplicates_say_how_many_and_which():
    with expect_error("2 duplicate timestamps: 2024-01-02 00:00:00, 2024-01-03 00:00:00"):
        load_times(["2024-01-01", "2024-01-02", "2024-01-02", "2024-01-03", "2024-01-03"])


HOLES = {
    "days": (["2024-01-01", "2024-01-02", "2024-01-05", "2024-01-06"], [0, 1, 4, 5], ["2024-01-03", "2024-01-04"]),
    "numbers": ([0.5, 1.0, 2.0, 2.5], [0, 1, 3, 4], [1.5]),
    "month ends": (["2024-01-31", "2024-03-31", "2024-04-30"], [0, 2, 3], ["2024-02-29"]),
    "months": (["2024-01-15", "2024-02-15", "2024-04-15"], [0, 1, 3], ["2024-03-15"]),
    "quarters": (["2024-01-01", "2024-04-01", "2024-10-01"], [0, 1, 3], ["2024-07-01"]),
    # 2024-01-05 is a Friday.
    "business days": (
        ["2024-01-04", "2024-01-05", "2024-01-09", "2024-01-11", "2024-01-12"],
        [0, 1, 3, 5, 6],
        ["2024-01-08", "2024-01-10"],
    ),
}


@pytest.mark.parametrize("kind", HOLES)
def test_holes_are_named_and_filled_on_request(kind):
    times, positions, absent = HOLES[kind]
    shown = [str(pd.Timestamp(time)) if isinstance(time, str) else str(time) for time in absent]
    with expect_error(f"{len(absent)} steps are missing", ", ".join(shown), "fill_gaps=True"):
        load_times(times)
    filled = load_times(times, fill_gaps=True)
    expected = np.full(positions[-1] + 1, np.nan, np.float32)
    expected[positions] = np.arange(len(times))
    np.testing.assert_array_equal(filled.values[0][:, 0], expected)
    inserted = filled.timestamps[0][np.isnan(expected)]
    assert inserted.tolist() == (
        pd.to_datetime(absent).to_numpy().astype(inserted.dtype).tolist() if isinstance(absent[0], str) else absent
    )


def test_holes_are_found_in_the_series_that_has_them():
    frame = pd.DataFrame({"s": list("xxxyyy"), "t": [1, 2, 3, 1, 2, 4], "a": np.arange(6.0)})
    with expect_error("series 'y': 1 steps are missing"):
        load_long_table(frame, timestamp_column="t", series_column="s")
    filled = load_long_table(frame, timestamp_column="t", series_column="s", fill_gaps=True)
    assert [len(values) for values in filled.values] == [3, 4]


def test_irregular_times_raise_with_the_differences_even_when_gaps_may_be_filled():
    with expect_error("no regular step", "0 days 01:00:00 (2 times)"):
        load_times(["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 02:00", "2024-01-01 03:25"], fill_gaps=True)
    # One early second does not make millions of missing ones.
    with expect_error("no regular step"):
        load_times([0, 1, 3600, 7200, 10800], fill_gaps=True)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2024-01-29", "2024-01-30", "2024-01-31"], ["2024-02-01", "2024-02-02"]),
        (["2024-01-31", "2024-02-29", "2024-03-31"], ["2024-04-30", "2024-05-31"]),  # ends of months
        (["2024-11-06", "2024-11-07", "2024-11-08", "2024-11-11"], ["2024-11-12", "2024-11-13"]),  # business days
        (["2024-03-15", "2024-04-15", "2024-05-15"], ["2024-06-15", "2024-07-15"]),
        (["2024-01-15", "2024-02-15"], ["2024-03-15", "2024-04-15"]),
        (["2023-08-15", "2023-11-15", "2024-02-15"], ["2024-05-15", "2024-08-15"]),  # quarters
        (["2024-01-01T22", "2024-01-01T23"], ["2024-01-02T00", "2024-01-02T01"]),
    ],
)
def test_times_are_continued_in_their_own_rhythm(times: list[str], expected: list[str]) -> None:
    following = continue_timestamps(np.array(times, dtype="datetime64[s]"), 2)
    np.testing.assert_array_equal(following, np.array(expected, dtype="datetime64[s]"))


def test_numbers_are_continued_by_their_last_step() -> None:
    np.testing.assert_array_equal(continue_timestamps(np.array([1.0, 1.5, 2.0]), 3), [2.5, 3.0, 3.5])
    with pytest.raises(ValueError, match="at least two"):
        continue_timestamps(np.array([1.0]), 1)


# --- zones and kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["UTC", "Europe/London", "Europe/Berlin", "Asia/Tokyo", None])
def test_the_zone_of_a_column_is_that_of_its_times(zone):
    times = pd.Series(pd.date_range("2024-01-01", periods=3, freq="h", tz=zone))
    read = read_timestamps(times)
    assert isinstance(read, pd.DatetimeIndex) == (zone is not None)
    pd.testing.assert_series_equal(pd.Series(read), times, check_names=False)
    written = pd.Series([f"2024-01-01T0{hour}:00Z" for hour in range(3)])
    assert str(read_timestamps(written).tz) == "UTC"


DAY_INTEGERS = [20240130, 20240131, 20240201, 20240202]
BERLIN = pd.Series(pd.date_range("2024-03-30 06:00", periods=4, tz="Europe/Berlin"))
KINDS = {
    "naive": pd.Series(pd.date_range("2024-01-30", periods=4)),
    "seconds": pd.Series(pd.date_range("2024-01-30", periods=4).as_unit("s")),
    "UTC": pd.Series(pd.date_range("2024-01-30", periods=4, tz="UTC")),
    "London in winter": pd.Series(pd.date_range("2024-01-30 07:00", periods=4, tz="Europe/London")),
    "Berlin, nanoseconds": BERLIN.dt.as_unit("ns"),
    "pyarrow with a zone": BERLIN.astype(pd.ArrowDtype(pa.timestamp("ms", "Europe/Berlin"))),
    "pyarrow": pd.Series(pd.date_range("2024-01-30", periods=4)).astype(pd.ArrowDtype(pa.timestamp("ns"))),
    "pyarrow dates": pd.Series(pd.date_range("2024-01-30", periods=4).date).astype(pd.ArrowDtype(pa.date32())),
    "dates": pd.Series(pd.date_range("2024-01-30", periods=4).date),
    "months": pd.Series(pd.period_range("2024-01", periods=4, freq="M")),
    "quarters": pd.Series(pd.period_range("2024Q1", periods=4, freq="Q-NOV")),
    "weeks": pd.Series(pd.period_range("2024-01-03", periods=4, freq="W-TUE")),
    "days as integers": pd.Series(DAY_INTEGERS),
    "days as 32 bits": pd.Series(DAY_INTEGERS, dtype=np.int32),
    "days of the year": pd.Series([2023337, 2023353, 2024001, 2024017]),
    "months as integers": pd.Series([202311, 202312, 202401, 202402], dtype="Int64"),
    "integers": pd.Series([3, 5, 7, 9]),
    "pyarrow integers": pd.Series([3, 5, 7, 9], dtype="int16[pyarrow]"),
    "decimals": pd.Series([2.5, 3.0, 3.5, 4.0], dtype=np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_times_that_follow_are_of_the_kind_of_the_column(kind):
    column = KINDS[kind].rename("time")
    first, following = column.iloc[:3], column.iloc[3:]
    if kind == "quarters":
        assert first.dtype == "period[Q-NOV]"
    written = write_timestamps(continue_timestamps(read_timestamps(first), 1), first)
    pd.testing.assert_series_equal(written, following, check_names=False, check_index=False)
    assert pd.concat([first, written]).dtype == column.dtype


def test_text_comes_back_as_the_dates_that_it_stands_for():
    text = pd.Series(["2024-01-30T00:00Z", "2024-01-31T00:00Z"])
    written = write_timestamps(continue_timestamps(read_timestamps(text), 1), text)
    assert written.dt.strftime("%Y-%m-%d %H:%M%z").tolist() == ["2024-02-01 00:00+0000"]
    assert pd.concat([pd.to_datetime(text), written]).dtype == written.dtype


def test_numbers_too_large_for_their_type_are_not_wrapped():
    days = pd.Series([125, 126, 127], dtype=np.int8)
    assert write_timestamps(continue_timestamps(read_timestamps(days), 2), days).tolist() == [128, 129]
    for huge in (pd.Series([2**63, 2**63 + 1], dtype=np.uint64), pd.Series([-(2**63), 2**63 - 1])):
        with expect_error("timestamps of column 'time' are whole numbers beyond 2**62", str(huge[0]), "numbers 0, 1"):
            load_times(huge)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Sydney", "America/St_Johns"])
def test_offsets_that_one_zone_has_are_that_zone(zone):
    times = pd.date_range("2023-12-30 06:00", periods=200, tz=zone)
    for text in (times.map(pd.Timestamp.isoformat), times.map(str), times.strftime("%Y-%m-%dT%H:%M:%S%z")):
        read = read_timestamps(pd.Series(text))
        assert read.equals(times.tz_convert(read.tz)) and str(read.tz) == zone
        assert continue_timestamps(read, 1)[0] == times[-1] + pd.DateOffset(days=1)
    objects = pd.Series(list(times.to_pydatetime()), dtype=object)
    assert read_timestamps(objects).equals(times)


def test_offsets_are_read_in_other_formats_and_letters_too():
    assert str(read_timestamps(pd.Series(["2024-01-01t00:00z", "2024-01-01t01:00z"])).tz) == "UTC"
    text = pd.Series(["30/03/2024 12:00 +0100", "31/03/2024 12:00 +0200", "01/04/2024 12:00 +0200"])
    expected = pd.date_range("2024-03-30 12:00", periods=3, tz="Europe/Berlin")
    assert read_timestamps(text).equals(expected)
    assert read_timestamps(text[:1])[0] == expected[0]


def test_offsets_that_no_zone_has_are_utc_and_a_warning_says_so():
    text = ["2024-01-01T00:00+01:00", "2024-01-01T02:00+02:00", "2024-01-01T07:00+06:00"]
    with pytest.warns(UserWarning, match=r"the offsets \+01:00, \+02:00, \+06:00, which no one time zone has") as said:
        read = load_times(text).timestamps[0]
    assert len(said) == 1 and said[0].filename.endswith("series_samples.py")  # the line that called the package
    assert read.equals(pd.date_range("2023-12-31 23:00", periods=3, freq="h", tz="UTC"))


def test_an_offset_in_some_cells_only_raises():
    with expect_error(
        "'time': some have an offset from UTC and others none, in 1 of 2 rows (numbers 0", "'2024-01-01'"
    ):
        load_times(["2024-01-01", "2024-01-02T00:00+01:00"])


def test_collections_keep_the_zone_when_they_are_cut_and_extended():
    times = pd.date_range("2024-03-30", periods=6, tz="Europe/Berlin")
    first, second, other = load_times(times[:4]), load_times(times[4:]), load_times(times[4:].tz_localize(None))
    whole = first.extended(second)
    assert whole.timestamps[0].equals(times)
    assert whole.cut({0: slice(1, 3)}).timestamps[0].equals(times[1:3])
    with expect_error("some times have a time zone and others have none"):
        first.extended(other)


def test_holes_are_filled_with_times_of_the_same_zone():
    days = pd.bdate_range("2024-03-25", periods=12, freq="B")
    times = (days + pd.Timedelta(hours=6)).tz_localize("Asia/Tokyo")
    assert load_times(times).timestamps[0].equals(times)  # Sunday evenings in UTC
    assert load_times(times.delete(4), fill_gaps=True).timestamps[0].equals(times)


def test_times_that_are_lists_are_shown() -> None:
    column = pd.Series(["2024-01-01", [1, 2], "soon"], name="day")
    with pytest.raises(ValueError, match=r"column 'day' are neither dates nor numbers, found .*\[1, 2\]"):
        read_timestamps(column)


MONTHS = np.array(["2019-11", "2019-12", "2020-01", "2020-02", "2020-03"], "datetime64[M]")
# Seconds of the first of these months, by hand: 18 201 days since 1970, then 30, 31, 31 and 29 days more.
MONTHS_IN_SECONDS = [86_400 * (18_201 + days) for days in (0, 30, 61, 92, 121)]


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("kind", ["int64", "float64", "Int64", "text"])
def test_numbers_of_the_size_of_unix_times_are_dates_and_continue_in_their_unit(unit, per_second, kind):
    numbers = [second * per_second for second in MONTHS_IN_SECONDS]
    column = pd.Series(list(map(str, numbers)) if kind == "text" else pd.array(numbers, dtype=kind), name="when")
    with pytest.warns(UserWarning, match=r"'when' in (milli|micro|nano)?seconds since 1970, from 2019-11-01 00:00:00"):
        times = read_timestamps(column)
    np.testing.assert_array_equal(times, MONTHS)
    following = write_timestamps(continue_timestamps(times, 1), column.iloc[:1])
    april = (MONTHS_IN_SECONDS[-1] + 31 * 86_400) * per_second
    assert following.tolist() == ([pd.Timestamp("2020-04-01")] if kind == "text" else [april])
    assert kind == "text" or following.dtype == column.dtype


def test_half_seconds_of_unix_time_are_kept():
    column = pd.Series([1_577_836_800 + 0.5 * step for step in range(4)])
    with pytest.warns(UserWarning, match="in seconds"):
        times = read_timestamps(column)
    assert times[1] - times[0] == np.timedelta64(500, "ms")
    assert write_timestamps(continue_timestamps(times, 1), column.iloc[:1]).tolist() == [1_577_836_802.0]


def test_dates_with_hours_as_whole_numbers_are_no_unix_times():
    column = pd.Series([2020022822, 2020022823, 2020022900])
    times = read_timestamps(column)
    assert times.astype("datetime64[h]").tolist()[-1].isoformat() == "2020-02-29T00:00:00"
    assert write_timestamps(continue_timestamps(times, 2), column.iloc[:1]).tolist() == [2020022901, 2020022902]
    slip = pd.Series([*column, 2020022924])  # an hour that no day has
    assert read_timestamps(slip).tolist() == slip.tolist()


@pytest.mark.parametrize("numbers", [[1, 2, 3], [99_999_999, 1_577_836_800], [1_577_836_800, 1_577_836_800_000]])
def test_other_numbers_are_no_unix_times(numbers):
    assert read_timestamps(pd.Series(numbers)).tolist() == numbers


def test_a_column_of_unix_times_that_nobody_named_is_no_variate():
    table = {"epoch_ms": [second * 1000 for second in MONTHS_IN_SECONDS], "load": [1.0, 2.0, 3.0, 4.0, 5.0]}
    with pytest.raises(ValueError, match="numbers that are times: 'epoch_ms'; name the timestamp_column"):
        load_long_table(table)
    with pytest.warns(UserWarning, match="'epoch_ms' in milliseconds"):
        series = load_long_table(table, timestamp_column="epoch_ms")
    assert series.variate_names == ["load"]
    np.testing.assert_array_equal(series.timestamps[0], MONTHS)
    assert load_long_table(table, variates=["epoch_ms", "load"]).variate_names == ["epoch_ms", "load"]


@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("unix_time", True),
        ("startTime", True),
        ("date_ms", True),
        ("ts", True),
        ("runtime", False),
        ("sentiment", False),
        ("altimeter", False),
        ("update_count", False),
    ],
)
def test_numbers_are_times_by_a_word_of_their_name(name: str, tells: bool) -> None:
    assert tells_times(pd.Series([1_577_836_800, 1_577_840_400], name=name)) == tells
