# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables of series to collections: a row a time step, or a row a series."""

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from series_samples import collection_of, counting_series, day_table, expect_error, load_times

from timesclip_hf.data.long import SeriesCollection, load_long_table, load_series_rows


def test_a_long_table_becomes_one_series_of_all_other_columns():
    collection = load_long_table(day_table(3), timestamp_column="day")
    assert (collection.variate_names, collection.series_names, len(collection)) == (["a", "b"], ["0"], 1)
    np.testing.assert_array_equal(collection.values[0], np.array([[0, 7], [1, 7], [2, 7]], np.float32))
    assert collection.values[0].dtype == np.float64
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
    with expect_error("non-numeric cells in column 'a'", "the header is row 1", "row 4: 'x'"):
        load_long_table(tmp_path / "t.csv")
    with expect_error("infinite", "column 'a'", "row 1"):
        load_long_table(pd.DataFrame({"a": [1.0, np.inf]}))
    with expect_error("variates without a single value: b"):
        load_long_table(pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan, np.nan]}))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n,3\n")
    np.testing.assert_array_equal(load_long_table(tmp_path / "t.csv").values[0], [[1, 2], [np.nan, 3]])


def test_files_that_nothing_separates_into_equally_many_cells_say_so(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1;2;3\n")
    with expect_error("one column, 'a;b'", "separated by ';'"):
        load_long_table(tmp_path / "t.csv")


def test_an_unnamed_date_index_is_not_lost_silently():
    frame = day_table().set_index("day").rename_axis(None)
    with expect_error("hold no numbers: 'index'"):
        load_long_table(frame)
    assert load_long_table(frame, timestamp_column="index").variate_names == ["a", "b"]


def test_a_numbering_index_is_no_variate():
    assert load_long_table(day_table().drop(columns="day").rename_axis("row")).variate_names == ["a", "b"]


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
    assert collection_of(counting_series(3).astype(np.float64)).values[0].dtype == np.float64
    with expect_error("series 's0' is int64 of shape (3, 1)"):
        collection_of(counting_series(3).astype(np.int64))
    with expect_error("series_names holds names more than once: x"):
        collection_of(counting_series(3), counting_series(3), names=["x", "x"])
    with expect_error("timestamps of lengths 2 for series of lengths 3"):
        SeriesCollection([counting_series(3)], ["v"], ["s"], [np.arange(2)])


def test_infinite_values_of_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        SeriesCollection([np.array([[1.0], [np.inf]], np.float32)], ["x"], ["a"])
