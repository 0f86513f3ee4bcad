# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Times of long tables: what is read, what is refused, how holes are filled and series continued."""

import numpy as np
import pandas as pd
import pytest
from series_samples import expect_error, load_times

from timesclip_hf.data.long import load_long_table
from timesclip_hf.data.timestamps import continue_timestamps


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


def test_unsorted_times_say_so_and_where():
    with expect_error(
        "the table: timestamps are not sorted", "2024-01-01 00:00:00 follows 2024-01-03", "steps 1 and 2"
    ):
        load_times(["2024-01-02", "2024-01-03", "2024-01-01"])
    with expect_error("not sorted", "name their series_column"):
        load_times([1, 2, 3, 1, 2, 3])


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
