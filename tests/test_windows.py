# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Long tables to series, series to lazily cut windows, and splits by time."""

import dataclasses
import pickle
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from timesclip_hf.data import (
    ForecastWindows,
    SeriesCollection,
    TimesCLIPDataCollator,
    continue_timestamps,
    load_long_table,
    load_series_rows,
    split_windows,
)
from timesclip_hf.processing_timesclip import TimesCLIPProcessor

PUBLIC_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def public_file(name):
    if not (PUBLIC_DATA / name).is_file():
        pytest.skip(f"the public file {name} is not there (expected in shared/data beside the repository)")
    return PUBLIC_DATA / name


def counting_series(steps, variates=1, start=0):
    """Values that say where they are: step + variate / 10."""
    return (np.arange(start, start + steps)[:, None] + np.arange(variates) / 10).astype(np.float32)


def collection_of(*arrays, names=None):
    names = names or [f"s{k}" for k in range(len(arrays))]
    return SeriesCollection(list(arrays), [f"v{k}" for k in range(arrays[0].shape[1])], names)


def day_table(days=10):
    return pd.DataFrame({"day": pd.date_range("2024-01-01", periods=days), "a": np.arange(days) * 1.0, "b": 7.0})


def load_times(times, **options):
    frame = pd.DataFrame({"time": times, "a": np.arange(len(times)) * 1.0})
    return load_long_table(frame, timestamp_column="time", **options)


def expect_error(*parts):
    return pytest.raises(ValueError, match=".*".join(re.escape(part) for part in parts))


# --- long tables ------------------------------------------------------------------------------------------------


def test_a_long_table_becomes_one_series_of_all_other_columns():
    collection = load_long_table(day_table(3), timestamp_column="day")
    assert (collection.variate_names, collection.series_names, len(collection)) == (["a", "b"], ["0"], 1)
    np.testing.assert_array_equal(collection.values[0], np.array([[0, 7], [1, 7], [2, 7]], np.float32))
    assert collection.values[0].dtype == np.float32
    assert collection.timestamps[0].astype("datetime64[D]").astype(str).tolist() == [
        "2024-01-01",
        "2024-01-02",
        "2024-01-03",
    ]
    assert repr(collection) == "SeriesCollection(1 series of 3 steps, 2 variates)"


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".csv.gz", ".txt.gz", ".parquet", "frame index", "datasets"])
def test_every_kind_of_table_gives_the_same_series(tmp_path, suffix):
    frame = day_table()
    frame.loc[4, "a"] = np.nan
    table = tmp_path / f"table{suffix}"
    if suffix == "frame index":
        table = frame.set_index("day")
    elif suffix == "datasets":
        table = Dataset.from_pandas(frame).with_format("torch")
    elif suffix == ".parquet":
        frame.to_parquet(table)
    else:
        frame.to_csv(table, index=False)
    read, expected = (load_long_table(one, timestamp_column="day") for one in (table, frame))
    np.testing.assert_array_equal(read.values[0], expected.values[0])
    np.testing.assert_array_equal(read.timestamps[0], expected.timestamps[0])
    assert read.variate_names == expected.variate_names == ["a", "b"]


def test_a_file_without_header_numbers_its_variates_and_is_recognised(tmp_path):
    (tmp_path / "rates.txt").write_text("0.5,1.25\n0.75,1.5\n")
    collection = load_long_table(tmp_path / "rates.txt", header=False)
    assert collection.variate_names == ["0", "1"] and collection.timestamps is None
    np.testing.assert_array_equal(collection.values[0], [[0.5, 1.25], [0.75, 1.5]])
    with expect_error("names of its columns are numbers (0.5, 1.25)", "header=False"):
        load_long_table(tmp_path / "rates.txt")


def test_named_variates_set_the_order_and_leave_the_others_out():
    frame = day_table().assign(note="x")
    assert load_long_table(frame, timestamp_column="day", variates=["b", "a"]).variate_names == ["b", "a"]


def test_interleaved_series_are_told_apart_by_their_column():
    frame = pd.DataFrame({"site": ["y", "x", "y", "x", "y"], "t": [1, 5, 2, 6, 3], "a": [10.0, 20, 11, 21, 12]})
    collection = load_long_table(frame, timestamp_column="t", series_column="site")
    assert collection.series_names == ["y", "x"]
    assert [values.ravel().tolist() for values in collection.values] == [[10, 11, 12], [20, 21]]
    assert [times.tolist() for times in collection.timestamps] == [[1, 2, 3], [5, 6]]


def test_columns_that_cannot_be_variates_are_named():
    frame = day_table().assign(note="x")
    with expect_error("hold no numbers: 'day', 'note'", "timestamp_column"):
        load_long_table(frame)
    with expect_error("columns without a name: Unnamed: 0"):
        load_long_table(frame.drop(columns=["day", "note"]).rename(columns={"a": "Unnamed: 0"}))
    with expect_error("variates: no such columns: 'aa'"):
        load_long_table(frame, variates=["aa"])
    with expect_error("more than one role", "day"):
        load_long_table(frame, timestamp_column="day", variates=["day", "a"])
    with expect_error("single string 'a'"):
        load_long_table(frame, variates="a")
    with expect_error("no variates"):
        load_long_table(frame[["day"]], timestamp_column="day")


def test_wrong_cells_are_named_and_blank_ones_are_missing(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n,3\nx,4\n")
    with expect_error("non-numeric cells in column 'a'", "row 2: 'x'"):
        load_long_table(tmp_path / "t.csv")
    with expect_error("infinite", "column 'a'", "row 1"):
        load_long_table(pd.DataFrame({"a": [1.0, np.inf]}))
    with expect_error("variates without a single value: b"):
        load_long_table(pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan, np.nan]}))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n,3\n")
    np.testing.assert_array_equal(load_long_table(tmp_path / "t.csv").values[0], [[1, 2], [np.nan, 3]])


def test_files_that_are_not_separated_by_commas_say_so(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1;2\n")
    with expect_error("one column, 'a;b'", "separated by commas"):
        load_long_table(tmp_path / "t.csv")


def test_an_unnamed_date_index_is_not_lost_silently():
    frame = day_table().set_index("day").rename_axis(None)
    with expect_error("hold no numbers: 'index'"):
        load_long_table(frame)
    assert load_long_table(frame, timestamp_column="index").variate_names == ["a", "b"]


def test_a_numbering_index_is_no_variate():
    assert load_long_table(day_table().drop(columns="day").rename_axis("row")).variate_names == ["a", "b"]


# --- timestamps -------------------------------------------------------------------------------------------------


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


# --- one series per row -----------------------------------------------------------------------------------------


def test_rows_become_series_that_end_with_their_last_value(tmp_path):
    (tmp_path / "rows.csv").write_text('"V1","V2","V3","V4"\n"W1","1","2","3"\n"W2","4",,\n"W3",,"5",\n')
    collection = load_series_rows(tmp_path / "rows.csv")
    assert (collection.series_names, collection.variate_names) == (["W1", "W2", "W3"], ["value"])
    for values, expected in zip(collection.values, [[1, 2, 3], [4], [np.nan, 5]], strict=True):
        np.testing.assert_array_equal(values[:, 0], expected)


def test_rows_without_values_and_repeated_ids_raise():
    with expect_error("series without values in 1 of 2 rows (numbers 1"):
        load_series_rows(pd.DataFrame({"id": ["x", "y"], "1": [1.0, np.nan]}))
    with expect_error("names series more than once: x"):
        load_series_rows(pd.DataFrame({"id": ["x", "x"], "1": [1.0, 2.0]}))
    with expect_error("id_column: no such columns"):
        load_series_rows(pd.DataFrame({"id": ["x"], "1": [1.0]}), id_column="name")


def test_a_collection_is_extended_by_name():
    first = collection_of(counting_series(3), counting_series(2), names=["x", "y"])
    second = collection_of(counting_series(1, start=50), counting_series(2, start=90), names=["y", "x"])
    longer = first.extended(second)
    assert [values.ravel().tolist() for values in longer.values] == [[0, 1, 2, 90, 91], [0, 1, 50]]
    assert [len(values) for values in first.values] == [3, 2]
    with expect_error("in one of the collections only: z"):
        first.extended(
            collection_of(counting_series(1), counting_series(1), counting_series(1), names=["x", "y", "z"])
        )


def test_an_extension_must_go_on_where_the_series_ends():
    first = load_times([1, 2, 3])
    assert first.extended(load_times([4, 5])).timestamps[0].tolist() == [1, 2, 3, 4, 5]
    with expect_error("extended: 1 steps are missing"):
        first.extended(load_times([5, 6]))
    with expect_error("not sorted"):
        first.extended(load_times([2, 3]))


def test_a_collection_checks_what_it_is_made_of():
    with expect_error("series 's0' is float64 of shape (3, 1)"):
        collection_of(counting_series(3).astype(np.float64))
    with expect_error("series_names holds names more than once: x"):
        collection_of(counting_series(3), counting_series(3), names=["x", "x"])
    with expect_error("timestamps of lengths 2 for series of lengths 3"):
        SeriesCollection([counting_series(3)], ["v"], ["s"], [np.arange(2)])


# --- windows ----------------------------------------------------------------------------------------------------


def test_windows_are_cut_in_order_as_views():
    series = counting_series(6, variates=2)
    windows = ForecastWindows([series], context_length=3, prediction_length=2)
    assert len(windows) == 2
    np.testing.assert_array_equal(windows[1]["past_values"], np.array([[1, 1.1], [2, 2.1], [3, 3.1]], np.float32))
    np.testing.assert_array_equal(windows[1]["labels"], np.array([[4, 4.1], [5, 5.1]], np.float32))
    assert np.shares_memory(windows[0]["past_values"], series) and np.shares_memory(windows[0]["labels"], series)
    assert repr(windows) == "ForecastWindows(2 windows of 3 -> 2 steps, 2 variates, 1 series, stride 1)"


def test_a_stride_skips_windows():
    windows = ForecastWindows([counting_series(10)], 3, 2, stride=2)
    assert [int(window["past_values"][0, 0]) for window in windows] == [0, 2, 4]


def test_windows_run_through_all_series_and_know_their_own():
    windows = ForecastWindows(
        [counting_series(5), counting_series(3), counting_series(6, start=100)],
        3,
        1,
        timestamps=[np.arange(5), np.arange(3), np.arange(6) * 10],
    )
    # 2 windows, none, 3 windows
    assert [windows.series_index(k) for k in range(len(windows))] == [0, 0, 2, 2, 2]
    assert [int(window["past_values"][0, 0]) for window in windows] == [0, 1, 100, 101, 102]
    assert windows.timestamps(3).tolist() == [10, 20, 30, 40]
    assert ForecastWindows([counting_series(5)], 3, 1).timestamps(0) is None


def test_indices_count_from_the_end_and_end_somewhere():
    windows = ForecastWindows([counting_series(6)], 3, 2)
    np.testing.assert_array_equal(windows[-1]["labels"], windows[1]["labels"])
    np.testing.assert_array_equal(windows[np.int64(1)]["labels"], windows[1]["labels"])
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"window {index} of 2 windows"):
            windows[index]
    assert len(windows.__getitems__([0, 1, 0])) == 3
    copied = pickle.loads(pickle.dumps(windows))
    np.testing.assert_array_equal(copied[1]["past_values"], windows[1]["past_values"])


def test_windows_without_a_context_value_or_without_any_label_are_left_out():
    series = counting_series(9, variates=2)
    series[0:3, 1] = np.nan  # the context of window 0 has nothing of variate 1
    series[7:9] = np.nan  # the labels of window 4 are all missing
    series[5, 0] = np.nan  # a single missing label or context value is fine
    windows = ForecastWindows([series], 3, 2)
    assert [int(window["past_values"][0, 0]) for window in windows] == [1, 2, 3]
    assert windows.series_index(2) == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_are_those_that_a_plain_loop_finds(data):
    context, horizon, stride = (data.draw(st.integers(1, 4)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    arrays = []
    for _ in range(data.draw(st.integers(1, 3))):
        values = rng.normal(size=(data.draw(st.integers(1, 15)), 2)).astype(np.float32)
        values[rng.random(values.shape) < data.draw(st.sampled_from([0.0, 0.3, 0.7]))] = np.nan
        arrays.append(values)
    expected = []
    for k, values in enumerate(arrays):
        for start in range(0, len(values) - context - horizon + 1, stride):
            past, labels = values[start : start + context], values[start + context : start + context + horizon]
            if np.isfinite(past).any(axis=0).all() and np.isfinite(labels).any():
                expected.append((k, past, labels))
    windows = ForecastWindows(arrays, context, horizon, stride)
    assert len(windows) == len(expected)
    for index, (k, past, labels) in enumerate(expected):
        assert windows.series_index(index) == k
        np.testing.assert_array_equal(windows[index]["past_values"], past)
        np.testing.assert_array_equal(windows[index]["labels"], labels)


def test_head_keeps_the_first_share_of_the_steps():
    windows = ForecastWindows([counting_series(100), counting_series(20)], 6, 4)
    few = windows.head(0.29)  # 29 steps: 20 windows; 5 steps: none
    assert len(few) == 20 and len(few.series) == 1 and few.series[0].shape == (29, 1)
    assert np.shares_memory(few.series[0], windows.series[0])
    assert len(windows.head(1.0)) == len(windows)
    with expect_error("first 0.05 of the steps (5 at most) holds no window of 6 + 4 = 10 steps"):
        windows.head(0.05)
    for fraction in (0.0, 1.5, True):
        with expect_error("expected a number above 0 and up to 1"):
            windows.head(fraction)


def test_lengths_below_one_raise():
    for lengths in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1.5, 1, 1)):
        with expect_error("expected a whole number of steps, 1 or more"):
            ForecastWindows([counting_series(5)], *lengths)


# --- splits -----------------------------------------------------------------------------------------------------


def first_forecasts(part):
    return [int(window["labels"][0, 0]) for window in part]


def test_parts_meet_at_their_borders():
    splits = split_windows(collection_of(counting_series(20)), context_length=3, prediction_length=2)
    # 14 training steps, 2 validation, 4 test; every part's first forecast starts at its border.
    assert splits.train.series[0].ravel().tolist() == list(range(14))
    assert first_forecasts(splits.train) == list(range(3, 13))
    assert first_forecasts(splits.validation) == [14]
    assert first_forecasts(splits.test) == [16, 17, 18]
    assert splits.test.series[0].ravel().tolist() == list(range(13, 20))


def test_counts_follow_each_other_from_the_start():
    splits = split_windows(
        collection_of(counting_series(30)), context_length=3, prediction_length=2, train=10, validation=4, test=5
    )
    assert first_forecasts(splits.train)[-1] == 8
    assert first_forecasts(splits.validation) == [10, 11, 12]
    assert first_forecasts(splits.test) == [14, 15, 16, 17]


@pytest.mark.parametrize(("validation", "test"), [(4, 5), (0.2, 0.25)])
def test_without_a_train_share_parts_are_counted_from_the_end(validation, test):
    splits = split_windows(
        collection_of(counting_series(20)),
        context_length=3,
        prediction_length=2,
        train=None,
        validation=validation,
        test=test,
    )
    assert len(splits.train.series[0]) == 11
    assert first_forecasts(splits.validation) == [11, 12, 13]
    assert first_forecasts(splits.test) == [15, 16, 17, 18]


def test_fractions_below_one_leave_the_end_unused():
    splits = split_windows(
        collection_of(counting_series(100)),
        context_length=3,
        prediction_length=2,
        train=0.5,
        validation=0.125,
        test=0.25,
    )
    assert splits.test.series[0][-1, 0] == 50 + 12 + 25 - 1


def test_only_training_windows_are_strided_unless_asked():
    options = {"context_length": 3, "prediction_length": 2}
    splits = split_windows(collection_of(counting_series(20)), stride=3, **options)
    assert first_forecasts(splits.train) == [3, 6, 9, 12] and first_forecasts(splits.test) == [16, 17, 18]
    assert first_forecasts(split_windows(collection_of(counting_series(20)), evaluation_stride=2, **options).test) == [
        16,
        18,
    ]


def test_the_standardised_windows_equal_sklearns_scaler_fitted_on_train():
    values = np.random.default_rng(0).normal(50, 9, size=(200, 3)).astype(np.float32)
    values[3, 1] = np.nan
    values[:, 2] = 0.1  # constant
    splits = split_windows(collection_of(values), context_length=8, prediction_length=4)
    scaler = StandardScaler().fit(values[:140].astype(np.float64))
    np.testing.assert_allclose(splits.mean[0], scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(splits.std[0], scaler.scale_, rtol=1e-12)
    scaled = splits.standardised()
    np.testing.assert_allclose(scaled.test.series[0], scaler.transform(values[152:]), atol=1e-6)
    assert len(scaled.test) == len(splits.test) and scaled.mean[0].tolist() == [0, 0, 0]
    assert scaled.std[0].tolist() == [1, 1, 1]
    assert np.isclose(splits.test.series[0], values[152:]).all()


def test_the_future_changes_no_training_window_and_no_statistic():
    values = np.random.default_rng(1).normal(size=(100, 2)).astype(np.float32)
    shuffled = values.copy()
    shuffled[70:] = shuffled[70:][np.random.default_rng(2).permutation(30)] * 100
    options = {"context_length": 8, "prediction_length": 4}
    first, second = (split_windows(collection_of(one), **options) for one in (values, shuffled))
    np.testing.assert_array_equal(first.mean[0], second.mean[0])
    np.testing.assert_array_equal(first.std[0], second.std[0])
    for a, b in zip(first.standardised().train, second.standardised().train, strict=True):
        np.testing.assert_array_equal(a["past_values"], b["past_values"])
        np.testing.assert_array_equal(a["labels"], b["labels"])


def test_series_of_a_collection_are_split_and_scaled_each_by_itself():
    splits = split_windows(
        collection_of(counting_series(20), counting_series(30, start=1000)), context_length=3, prediction_length=2
    )
    assert [len(series) for series in splits.train.series] == [14, 21]
    assert [mean.tolist() for mean in splits.mean] == [[6.5], [1010.0]]


def test_short_series_are_named_or_left_out_with_a_warning():
    collection = collection_of(counting_series(40), counting_series(9), names=["long", "brief"])
    options = {"context_length": 5, "prediction_length": 3, "train": None, "validation": 3, "test": 3}
    with expect_error("1 of 2 series", "series 'brief' (9 steps): train has 3 steps, but one window needs 5 + 3 = 8"):
        split_windows(collection, **options)
    with pytest.warns(UserWarning, match="1 of 2 series left out: series 'brief'"):
        splits = split_windows(collection, drop_short=True, **options)
    assert splits.train.series_names == ["long"] and len(splits.mean) == 1
    with expect_error("1 of 1 series"):
        split_windows(collection_of(counting_series(9)), drop_short=True, **options)


def test_parts_that_are_too_short_or_unobserved_say_what_they_need():
    with expect_error("validation has 2 steps, but one window needs 3", "test has 2 steps"):
        split_windows(
            collection_of(counting_series(30)), context_length=5, prediction_length=3, train=20, validation=2, test=2
        )
    with expect_error("the parts need 20 + 20 + 2 = 42 steps"):
        split_windows(
            collection_of(counting_series(30)), context_length=5, prediction_length=1, train=20, validation=20, test=2
        )
    blind = counting_series(40)
    blind[20:] = np.nan
    with expect_error("too few observed values in validation and test"):
        split_windows(collection_of(blind), context_length=5, prediction_length=3)


@pytest.mark.parametrize(
    "shares",
    [
        {"train": 0.7, "validation": 10, "test": 0.2},
        {"train": 0.8, "validation": 0.2, "test": 0.2},
        {"train": None, "validation": 0.5, "test": 0.5},
        {"train": 10, "validation": 0, "test": 5},
        {"train": 0.9, "validation": 0.0, "test": 0.1},
        {"train": 10, "validation": 5, "test": None},
        {"train": True, "validation": 5, "test": 5},
    ],
)
def test_shares_that_make_no_sense_raise(shares):
    with pytest.raises(ValueError, match="fractions|expected a whole number of steps|only train may be None"):
        split_windows(collection_of(counting_series(30)), context_length=2, prediction_length=1, **shares)


# --- loading ----------------------------------------------------------------------------------------------------


def text_processor(context_length):
    return TimesCLIPProcessor(
        context_length=context_length, patch_length=16, patch_stride=8, scaling="instance", image_size=None
    )


def test_windows_go_through_a_data_loader_with_workers_into_batches():
    values = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    windows = ForecastWindows([values], 32, 8)
    loader = DataLoader(windows, batch_size=20, num_workers=2, collate_fn=TimesCLIPDataCollator(text_processor(32)))
    batches = list(loader)
    assert sum(len(batch["labels"]) for batch in batches) == len(windows) == 51
    labels = torch.cat([batch["labels"] for batch in batches])
    np.testing.assert_array_equal(labels[17], values[49:57])
    # instance scaling takes nothing from the labels: they stay in the units of the series
    np.testing.assert_allclose(batches[0]["loc"][5], values[5:37].mean(axis=0), atol=1e-5)


def test_twenty_thousand_windows_cost_the_series_and_one_batch():
    context, horizon, batch_size, variates = 96, 96, 64, 8
    collection = collection_of(np.random.default_rng(0).normal(size=(28_845, variates)).astype(np.float32))
    processor = text_processor(context)
    options = {"context_length": context, "prediction_length": horizon}
    one_batch = batch_size * (context + horizon) * variates * 4

    def run():
        windows = split_windows(collection, **options).train
        loader = DataLoader(windows, batch_size=batch_size, shuffle=False, collate_fn=TimesCLIPDataCollator(processor))
        return len(windows), sum(len(batch["labels"]) for batch in loader)

    collate = TimesCLIPDataCollator(processor)
    rows = [split_windows(collection, **options).train[k] for k in range(batch_size)]
    tracemalloc.start()
    try:
        collate(rows)
        batch_cost = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        possible, seen = run()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert possible == seen == int(28_845 * 0.7) - context - horizon + 1 == 20_000
    # Beside the series: one batch in the making, and the numbers of the last one, which the loop still holds.
    # Measured: 0.88 MB, of which 0.60 are the batch; the series has 0.92, and the windows as arrays would have 123.
    assert peak <= batch_cost + one_batch


# --- public data ------------------------------------------------------------------------------------------------

ETTH1_BORDERS = {"train": 8640, "validation": 2880, "test": 2880}


def load_public(name):
    if name == "exchange_rate.txt.gz":
        return load_long_table(public_file(name), header=False)
    return load_long_table(public_file(name), timestamp_column="date")


# Windows of a part: its steps - horizon + 1; train, which borrows no context: its steps - context - horizon + 1.
# Exchange: int(7588 * .7) = 5311, int(7588 * .2) = 1517, and 760 between; illness: 676, 193 and 97 of 966.
@pytest.mark.parametrize(
    ("name", "context", "horizon", "borders", "expected"),
    [
        ("ETTh1.csv", 96, 96, ETTH1_BORDERS, (8449, 2785, 2785)),
        ("ETTh1.csv", 96, 192, ETTH1_BORDERS, (8353, 2689, 2689)),
        ("exchange_rate.txt.gz", 96, 96, {}, (5120, 665, 1422)),
        ("exchange_rate.txt.gz", 96, 192, {}, (5024, 569, 1326)),
        ("national_illness.csv", 36, 24, {}, (617, 74, 170)),
        ("national_illness.csv", 36, 60, {}, (581, 38, 134)),
    ],
)
def test_published_settings_have_the_published_number_of_windows(name, context, horizon, borders, expected):
    splits = split_windows(load_public(name), context_length=context, prediction_length=horizon, **borders)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == expected


def errors_of(windows, forecast):
    differences = np.stack([forecast(window["past_values"]) - window["labels"] for window in windows]).astype(float)
    return np.mean(differences**2), np.mean(np.abs(differences))


# Figures stated with the protocol for these data, before this code was written.
@pytest.mark.parametrize(("horizon", "expected"), [(96, (0.081, 0.196)), (192, (0.167, 0.289))])
def test_repeating_the_last_value_on_exchange_has_the_published_errors(horizon, expected):
    splits = split_windows(load_public("exchange_rate.txt.gz"), context_length=96, prediction_length=horizon)
    assert errors_of(splits.standardised().test, lambda past: past[-1:]) == pytest.approx(expected, abs=5e-4)


def test_the_seasonal_forecast_on_etth1_has_the_published_errors():
    splits = split_windows(load_public("ETTh1.csv"), context_length=96, prediction_length=96, **ETTH1_BORDERS)
    errors = errors_of(splits.standardised().test, lambda past: np.tile(past[-24:], (4, 1)))
    assert errors == pytest.approx((0.512, 0.433), abs=5e-4)


def test_m4_weekly_series_are_extended_by_their_test_file_and_split_from_the_end():
    train = load_series_rows(public_file("M4-Weekly-train.csv"))
    test = load_series_rows(public_file("M4-Weekly-test.csv"))
    collection = train.extended(test)
    assert len(collection) == 359
    steps = [len(values) for values in train.values]
    assert (min(steps), max(steps), sum(steps)) == (80, 2597, 366_912)
    splits = split_windows(collection, context_length=26, prediction_length=13, train=None, validation=13, test=13)
    # of n + 13 steps the last 26 are held back, and n - 13 steps hold n - 13 - 26 - 13 + 1 windows
    assert len(splits.train) == 366_912 - 51 * 359
    assert len(splits.validation) == len(splits.test) == 359
    for k in (0, 200, 358):
        np.testing.assert_array_equal(splits.test[k]["labels"], test.values[k])
        np.testing.assert_array_equal(splits.test[k]["past_values"], train.values[k][-26:])


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


def test_few_shot_splits_of_unequal_series_are_standardised_by_their_own_series() -> None:
    rng = np.random.default_rng(0)
    values = [(level + rng.normal(size=(steps, 1))).astype(np.float32) for level, steps in ((5, 60), (900, 200))]
    collection = SeriesCollection(values, ["x"], ["short", "long"])
    splits = split_windows(collection, context_length=8, prediction_length=4, train=0.6, validation=0.2, test=0.2)
    few = dataclasses.replace(splits, train=splits.train.head(0.3))
    assert few.train.series_names == ["long"]
    standardised = few.standardised()
    assert abs(standardised.train.series[0].mean()) < 1  # and not (900 - 5) away from it
    assert len(standardised.test.series) == 2


def test_infinite_values_of_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        SeriesCollection([np.array([[1.0], [np.inf]], np.float32)], ["x"], ["a"])


def test_an_index_must_be_a_whole_number() -> None:
    windows = ForecastWindows([np.zeros((20, 1), np.float32)], 4, 2)
    for index in (1.7, slice(3)):
        with pytest.raises(TypeError):
            windows[index]
