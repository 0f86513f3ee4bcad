# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables of every kind come through one door, as one and the same frame."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from series_samples import expect_error

from timesclip_hf.data.long import load_long_table, load_series_rows
from timesclip_hf.data.tables import is_table, read_table
from timesclip_hf.data.wide import load_wide_table, read_wide_table

# From a pandas table without an index to every kind that is no file.
KINDS: dict[str, Any] = {
    "polars": pl.from_pandas,
    "pyarrow": pa.Table.from_pandas,
    "datasets": Dataset.from_pandas,
    "datasets with a format": lambda frame: Dataset.from_pandas(frame).with_format("torch"),
    "dict": lambda frame: {name: frame[name].tolist() for name in frame},
}


def fields() -> pd.DataFrame:
    """Text, dates, whole numbers and numbers; a missing cell in each but the dates."""
    return pd.DataFrame(
        {
            "site": ["Tunis", None, "York"],
            "sown": pd.date_range("2024-01-30", periods=3),
            "x_00": [0.5, 1.5, 2.5],
            "x_01": [np.nan, 1.0, 2.0],
            "count": pd.array([1, None, 3], dtype="Int64"),
        }
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_is_read_as_the_pandas_one(kind: str) -> None:
    given = KINDS[kind](fields())
    read, expected = read_table(given), read_table(fields())
    assert list(read.columns) == list(expected.columns) and list(read.index) == [0, 1, 2]
    for name in expected:
        missing = expected[name].isna()
        assert read[name].isna().tolist() == missing.tolist()
        assert read[name][~missing].tolist() == expected[name][~missing].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_every_loader_takes_every_kind_of_table(kind: str) -> None:
    make = KINDS[kind]
    wide, expected = (load_wide_table(given, target=None, variates=["x"]) for given in (make(fields()), fields()))
    assert wide["site"][:] == expected["site"][:] == ["Tunis", None, "York"]
    np.testing.assert_array_equal(wide[:]["past_values"], expected[:]["past_values"])
    long = load_long_table(make(fields()), timestamp_column="sown", variates=["count", "x_01"])
    np.testing.assert_array_equal(long.values[0], np.array([[1, np.nan], [np.nan, 1], [3, 2]], np.float32))
    assert long.timestamps is not None
    assert long.timestamps[0].astype("datetime64[D]").astype(str).tolist() == [
        "2024-01-30",
        "2024-01-31",
        "2024-02-01",
    ]
    rows = load_series_rows(make(pd.DataFrame({"id": ["a", "b"], "1": [1.0, 2.0], "2": [3.0, np.nan]})))
    assert [values.ravel().tolist() for values in rows.values] == [[1, 3], [2]]


def test_a_table_keeps_its_named_index_and_the_given_one_is_left_unchanged() -> None:
    frame = fields().set_index("site")
    before = frame.copy()
    assert list(read_wide_table(frame).columns)[0] == "site"
    pd.testing.assert_frame_equal(frame, before)
    assert list(read_table(pa.Table.from_pandas(frame)).columns) == list(read_table(frame).columns)


def test_what_is_no_table_is_told_in_words() -> None:
    for given in (7, None, [1.0], np.ones((2, 2)), pl.from_pandas(fields()).lazy()):
        with expect_error(f"table is a {type(given).__name__}, expected a path, a DataFrame"):
            read_table(given)
    with expect_error("DatasetDict of the parts train", "pass one of them"):
        read_table(DatasetDict({"train": Dataset.from_dict({"a": [1]})}))
    with expect_error("table is a Table", "unique column names, got: - 'a' 2 times"):
        read_table(pa.Table.from_arrays([pa.array([1.0])] * 2, names=["a", "a"]))
    with expect_error("the dict: column names must be strings, found 7"):
        read_table({7: [1.0]})
    with expect_error("the DataFrame: duplicate columns: a"):
        read_table(pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]))


def test_tables_are_told_from_arrays_and_samples() -> None:
    for table in ("fields.csv", Path("fields.csv"), fields(), pl.from_pandas(fields()), pa.table({"a": [1]})):
        assert is_table(table)
    for other in (np.ones((2, 2)), [[1.0]], {"past_values": [[1.0]]}, Dataset.from_dict({"past_values": [[[1.0]]]})):
        assert not is_table(other)
