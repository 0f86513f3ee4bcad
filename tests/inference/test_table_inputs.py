# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables to samples: what of them is read, and what is told of the rest."""

import warnings

import numpy as np
import pandas as pd
import pytest

from timesclip_hf import TimesCLIPProcessor
from timesclip_hf.inference.pipeline_inputs import read_samples

NAMES = ["a", "b"]


@pytest.fixture
def processor() -> TimesCLIPProcessor:
    return TimesCLIPProcessor(4, 2, 1, scaling="none", image_size=None, variate_names=NAMES)


def wide(names: list[str], rows: int = 2) -> pd.DataFrame:
    return pd.DataFrame({f"{name}_{step:02d}": np.arange(rows) + 1.0 for name in names for step in range(4)})


def long(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"day": pd.date_range("2024-01-30", periods=5), "a": 1.0, "b": 2.0, **columns})


def test_variates_that_the_model_does_not_read_are_named_once(processor: TimesCLIPProcessor) -> None:
    with pytest.warns(UserWarning, match="variates that the model does not read: 'evi', 'red'") as told:
        samples = read_samples(wide(["evi", *NAMES, "red"]).assign(field="f"), processor)
    assert len(told) == 1 and samples.table is not None
    assert list(samples.table.identity.columns) == ["field"]  # stays beside the predictions


def test_columns_of_a_long_table_that_nothing_reads_are_named_once(processor: TimesCLIPProcessor) -> None:
    with pytest.warns(UserWarning, match="columns of the table that are not used: 'wind', 'note'") as told:
        read_samples(long(wind=3.0, note="x"), processor, timestamp_column="day")
    assert len(told) == 1


def test_nothing_is_told_of_tables_that_hold_what_is_read(processor: TimesCLIPProcessor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_samples(long(), processor, timestamp_column="day")
        read_samples(long(site="s"), processor, timestamp_column="day", series_column="site")
        read_samples(wide(NAMES).assign(field="f", y=1.0), processor)


def test_results_do_not_carry_what_the_reader_noted_of_a_file(processor: TimesCLIPProcessor, tmp_path) -> None:
    wide(NAMES).assign(field="f").to_csv(tmp_path / "t.csv", index=False)
    samples = read_samples(tmp_path / "t.csv", processor)
    assert samples.table is not None and samples.table.identity.attrs == {}


def test_rows_of_a_file_that_are_left_out_are_counted_as_spreadsheets_show_them(
    processor: TimesCLIPProcessor, tmp_path
) -> None:
    table = wide(NAMES, rows=4)
    table.loc[2, [f"a_{step:02d}" for step in range(4)]] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    for given, words in (
        (tmp_path / "t.csv", r"rows left out: 4: .* .the header is row 1"),
        (table, "rows left out: 2: "),
    ):
        samples = read_samples(given, processor)
        assert samples.table is not None and list(samples.table.skipped_by_name) == ["2"]
        with pytest.warns(UserWarning, match=f"1 of 4 {words}"):
            samples.table.warn()
