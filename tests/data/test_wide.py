# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Wide tables to datasets."""

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Array2D, Dataset, List, Value, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tables import SMALL_VALUES, small_table

from timesclip_hf.data.wide import find_variates, load_wide_table
from timesclip_hf.model.reader import WideOrigin


def values_of(dataset):
    return np.array(dataset[:]["past_values"], np.float32)


def test_a_table_becomes_series_labels_statics_and_bookkeeping_columns():
    dataset = load_wide_table(small_table(), target="yield", static_columns=["latitude", "soil"])
    assert dataset.features == {
        "past_values": Array2D((3, 2), "float64"),
        "labels": List(Value("float64")),
        "static_values": {"latitude": Value("float64"), "soil": Value("string")},
        "site": Value("string"),
        "year": Value("int64"),
    }
    np.testing.assert_array_equal(values_of(dataset), SMALL_VALUES)
    assert dataset[:]["labels"] == [[3.5], [4.25], [8.0]]
    assert dataset[1]["static_values"] == {"latitude": 36.75, "soil": "clay"}
    assert dataset[:]["site"] == ["Tunis", "Tunis", "Brussels"]
    assert dataset[:]["year"] == [2001, 2002, 2001]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".CSV"])
def test_files_give_the_same_dataset_as_the_frame(tmp_path, suffix):
    path = tmp_path / f"fields{suffix}"
    frame = small_table()
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    expected = load_wide_table(frame, target="yield", static_columns=["soil"])
    for table in (path, str(path)):
        dataset = load_wide_table(table, target="yield", static_columns=["soil"])
        assert dataset.features == expected.features
        np.testing.assert_array_equal(values_of(dataset), values_of(expected))
        names = ["labels", "static_values", "site", "year"]
        assert dataset.select_columns(names)[:] == expected.select_columns(names)[:]


def test_without_target_and_statics_these_columns_are_absent():
    dataset = load_wide_table(small_table().drop(columns="yield"), target=None)
    assert dataset.column_names == ["past_values", "site", "year", "latitude", "soil"]


def test_several_targets_become_one_label_list_in_the_order_named():
    dataset = load_wide_table(small_table(), target=["year", "yield"])
    assert dataset[:]["labels"] == [[2001.0, 3.5], [2002.0, 4.25], [2001.0, 8.0]]
    assert "year" not in dataset.column_names


def test_named_variates_set_the_order_and_leave_the_others_out():
    dataset = load_wide_table(small_table(), target="yield", variates=["b_8", "ndvi"])
    np.testing.assert_array_equal(values_of(dataset), SMALL_VALUES[:, :, ::-1])
    dataset = load_wide_table(small_table(), target="yield", variates=["b_8"])
    np.testing.assert_array_equal(values_of(dataset), SMALL_VALUES[:, :, 1:])
    assert not [name for name in dataset.column_names if "ndvi" in name]


def test_num_steps_keeps_the_first_steps():
    dataset = load_wide_table(small_table(), target="yield", num_steps=2)
    np.testing.assert_array_equal(values_of(dataset), SMALL_VALUES[:, :2])


@pytest.mark.parametrize("kind", [tuple, np.array, pd.Index, pd.Series, pa.array])
def test_names_may_stand_in_any_ordered_container(kind):
    options = {"variates": kind(["b_8", "ndvi"]), "static_columns": kind(["soil"]), "target": kind(["yield", "year"])}
    dataset = load_wide_table(small_table(), num_steps=np.int64(2), **options)
    np.testing.assert_array_equal(values_of(dataset), SMALL_VALUES[:, :2, ::-1])
    assert dataset[:]["labels"] == [[3.5, 2001.0], [4.25, 2002.0], [8.0, 2001.0]]
    assert WideOrigin.read(dataset) == WideOrigin(0, 1, ["b_8", "ndvi"])
    expect_error(small_table(), "variates must be a list of names, found a set", variates={"ndvi"})
    expect_error(small_table(), "variates must be a list of names, found 7, 8", variates=[7, 8])


@pytest.mark.parametrize("num_steps", [0, 4, -1, 2.0, True])
def test_num_steps_beyond_the_table_raises(num_steps):
    with pytest.raises(ValueError, match="num_steps is .* from 1 to the table's 3 steps"):
        load_wide_table(small_table(), target="yield", num_steps=num_steps)


def test_columns_in_any_order_are_sorted_by_step_number():
    shuffled = small_table().iloc[:, [7, 10, 2, 5, 0, 9, 1, 6, 8, 3, 4]]
    dataset = load_wide_table(shuffled, target="yield")
    np.testing.assert_array_equal(values_of(dataset), SMALL_VALUES)


def test_the_same_table_has_the_same_fingerprint_and_another_has_not():
    first, again = (load_wide_table(small_table(), target="yield")._fingerprint for _ in range(2))
    other = load_wide_table(small_table().assign(ndvi_00=0.0), target="yield")._fingerprint
    assert first == again != other


def test_steps_may_start_at_one_and_pass_ninety_nine():
    frame = pd.DataFrame({f"x_{step:02d}": [float(step), -step] for step in range(1, 121)} | {"y": [1.0, 2.0]})
    values = values_of(load_wide_table(frame, target="y"))
    np.testing.assert_array_equal(values[:, :, 0], [np.arange(1, 121), -np.arange(1, 121)])


def test_a_named_index_is_kept_as_a_column_and_a_filtered_index_is_ignored():
    dataset = load_wide_table(small_table().set_index("site"), target="yield")
    assert dataset[:]["site"] == ["Tunis", "Tunis", "Brussels"]
    frame = small_table()
    dataset = load_wide_table(frame[frame["site"] == "Brussels"], target="yield")
    np.testing.assert_array_equal(values_of(dataset), SMALL_VALUES[2:])
    assert "index" not in dataset.column_names


def test_the_callers_frame_is_left_unchanged_and_nothing_warns():
    frame = small_table()
    before = frame.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_wide_table(frame[frame["year"] == 2001], target="yield", static_columns=["soil"])
    pd.testing.assert_frame_equal(frame, before)


def test_blank_cells_of_a_csv_file_are_missing(tmp_path):
    path = tmp_path / "fields.csv"
    path.write_text("y,a_00,a_01,a_02,a_03\n1,,NA,  ,2.5\n2,1,2,3,4\n")
    np.testing.assert_array_equal(values_of(load_wide_table(path, target="y"))[0, :, 0], [np.nan, np.nan, np.nan, 2.5])


def test_many_kinds_of_number_columns_are_read():
    frame = pd.DataFrame(
        {
            "y": pd.array([1, 2], dtype="Int64"),
            "a_00": pd.array([1.5, None], dtype="Float64"),
            "a_01": ["2.5", " "],
            "a_02": [Decimal("3.5"), None],
            "a_03": [True, False],
            "a_04": pd.Categorical([4.5, 5.5]),
            "a_05": np.array([6, 7], np.uint8),
            "a_06": [None, None],
        }
    )
    values = values_of(load_wide_table(frame, target="y"))[:, :, 0]
    nan = np.nan
    np.testing.assert_array_equal(values, [[1.5, 2.5, 3.5, 1, 4.5, 6, nan], [nan, nan, nan, 0, 5.5, 7, nan]])


def test_bookkeeping_columns_keep_dates_missing_cells_and_categories():
    frame = small_table().assign(
        sown=pd.to_datetime(["2001-04-01", None, "2001-05-01"]), crop=pd.Categorical(["wheat", None, "maize"])
    )
    dataset = load_wide_table(frame, target="yield")
    assert dataset[:]["crop"] == ["wheat", None, "maize"]
    assert dataset[0]["sown"] == pd.Timestamp("2001-04-01") and dataset[1]["sown"] is None


def test_static_categories_and_flags_are_read():
    frame = small_table().assign(soil=pd.Categorical(["loam", "clay", "loam"]), irrigated=[True, False, True])
    dataset = load_wide_table(frame, target="yield", static_columns=["soil", "irrigated"])
    assert dataset[1]["static_values"] == {"soil": "clay", "irrigated": 0.0}


def test_a_static_column_of_numbers_and_text_warns_and_is_text():
    frame = small_table().assign(latitude=["36.75", "36,75", "50.75"])
    with pytest.warns(UserWarning, match="'latitude' mixes numbers and text .*36,75"):
        dataset = load_wide_table(frame, target="yield", static_columns=["latitude"])
    assert dataset[1]["static_values"] == {"latitude": "36,75"}


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_table_round_trips(data):
    rows, steps, start = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)), data.draw(st.integers(0, 98))
    name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
    names = data.draw(st.lists(name, min_size=1, max_size=3, unique=True))
    cells = st.floats(-1e9, 1e9, width=32) | st.just(np.nan)  # beyond, fill values count as missing
    size = rows * steps * len(names)
    values = np.array(data.draw(st.lists(cells, min_size=size, max_size=size)), np.float32)
    values = values.reshape(rows, steps, len(names))
    values[:, 0] = np.nan_to_num(values[:, 0], nan=1.0)
    columns = {
        f"{variate}_{start + step:02d}": values[:, step, position]
        for step in range(steps)
        for position, variate in enumerate(names)
    }
    dataset = load_wide_table(pd.DataFrame(columns), target=None, variates=names)
    np.testing.assert_array_equal(values_of(dataset), values)


# --- load_wide_table: errors name what is wrong ---


def expect_error(frame, *parts, target="yield", **options):
    with pytest.raises(ValueError) as caught:
        load_wide_table(frame, target=target, **options)
    for part in parts:
        assert part in str(caught.value)


def test_missing_columns_are_named_with_near_matches_and_what_there_is():
    expect_error(small_table(), "target", "'yeild' (near: yield)", "ndvi 00-02", "latitude", target="yeild")
    expect_error(small_table(), "static", "'lattitude' (near: latitude)", static_columns=["lattitude"])
    expect_error(small_table(), "variates", "'ndwi' (near: ndvi)", "b_8 00-02", variates=["ndwi"])


def test_a_table_without_step_columns_shows_the_expected_names():
    frame = small_table()[["yield", "site"]].assign(ndvi_0=1.0)
    expect_error(frame, "no variates", "ndvi_00", "site")


def test_duplicate_columns_are_named_for_every_kind_of_table(tmp_path):
    csv = tmp_path / "fields.csv"
    csv.write_text("yield,x_00,x_01,x_01\n1,2,3,4\n")
    expect_error(csv, "duplicate columns: x_01")
    parquet = tmp_path / "fields.parquet"
    column = pa.array([1.0])
    pq.write_table(pa.Table.from_arrays([column] * 3, names=["yield", "x_00", "x_00"]), parquet)
    expect_error(parquet, "duplicate columns: x_00")
    expect_error(pd.DataFrame([[1.0, 2.0, 3.0]], columns=["yield", "x_00", "x_00"]), "duplicate columns: x_00")


def test_row_numbers_without_a_header_are_no_duplicates(tmp_path):
    path = tmp_path / "fields.csv"
    small_table().to_csv(path)
    np.testing.assert_array_equal(values_of(load_wide_table(path, target="yield")), SMALL_VALUES)


def test_one_step_written_twice_is_a_duplicate():
    expect_error(small_table().assign(ndvi_001=1.0), "duplicate columns", "'ndvi_01'", "'ndvi_001'")


def test_holes_in_the_step_numbers_are_named():
    frame = small_table().drop(columns=["ndvi_01", "b_8_01"])
    expect_error(frame, "holes", "ndvi lacks 01", "b_8 lacks 01")


def test_variates_with_different_steps_are_named_with_their_ranges():
    expect_error(small_table().drop(columns="b_8_02"), "different steps", "00-02: ndvi", "00-01: b_8")


def test_a_lone_column_that_looks_like_a_step_is_settled_by_naming_the_variates():
    frame = small_table().assign(season_2019=1.0)
    expect_error(frame, "2019-2019: season", "`variates`")
    load_wide_table(frame, target="yield", variates=["ndvi", "b_8"])
    load_wide_table(frame, target="season_2019")
    load_wide_table(frame, target="yield", static_columns=["season_2019"])


def test_numbers_of_one_digit_are_steps_where_they_form_a_series():
    assert find_variates([f"x_{step}" for step in range(12)]) == {"x": list(range(12))}
    assert find_variates([f"{name}_{step}" for name in "xy" for step in range(1, 8)]) == dict.fromkeys(
        "xy", [*range(1, 8)]
    )
    table = pd.DataFrame({f"x_{step}": [10.0 * step] for step in range(11)[::-1]} | {"plot_1": 5})
    dataset = load_wide_table(table, target=None)
    assert np.array(dataset["past_values"][0]).ravel().tolist() == [10.0 * step for step in range(11)]
    assert dataset["plot_1"][0] == 5
    expect_error(pd.DataFrame({"x_1": [1.0], "x_01": [1.0]}), "duplicate columns", "'x_1'", "'x_01'", target=None)
    expect_error(table.drop(columns="x_4"), "holes", "x lacks 04", target=None)


def test_numbers_of_one_digit_are_names_where_they_form_none():
    assert find_variates(["plot_1", "plot_2", "year"]) == {}
    assert find_variates(["b_2", "b_3", "b_8"]) == {}
    soil = [f"soil_{layer}" for layer in range(4)]
    assert find_variates([*soil, "ndvi_00", "ndvi_01"]) == {"ndvi": [0, 1]}
    assert find_variates([*soil, "ndvi_00"], ["soil"])["soil"] == [0, 1, 2, 3]
    short = pd.DataFrame({"x_7": [1.0], "x_8": [2.0]})
    assert load_wide_table(short, target=None, variates=["x"])["past_values"][0] == [[1.0], [2.0]]


def test_a_data_set_remembers_its_steps_and_variates():
    table = pd.DataFrame({f"x_{step:02d}": np.arange(8.0) for step in range(5, 12)})
    table = table.assign(**{f"y_{step:02d}": 0.0 for step in range(5, 12)})
    dataset = load_wide_table(table, target=None, variates=["y", "x"])
    assert WideOrigin.read(dataset) == WideOrigin(5, 11, ["y", "x"])
    parts = dataset.select(range(6)).with_format("numpy").train_test_split(0.5)
    assert WideOrigin.read(parts["test"]) == WideOrigin.read(dataset)
    assert WideOrigin.read(concatenate_datasets([parts["train"], parts["test"]])) == WideOrigin.read(dataset)
    first = load_wide_table(table, target=None, num_steps=3)
    assert WideOrigin.read(first) == WideOrigin(5, 7, ["x", "y"])
    assert WideOrigin.read(Dataset.from_dict({"past_values": [[[1.0]]]})) is None


def test_non_numeric_cells_are_named_by_column_row_and_cell(tmp_path):
    path = tmp_path / "fields.csv"
    path.write_text('yield,x_00,x_01\n1,2,3\n1,"2,5",4\n1,cloud,4\n')
    expect_error(path, "non-numeric", "'x_00'", "row 3: '2,5'", "row 4: 'cloud'", "header is row 1")
    expect_error(small_table().assign(**{"yield": ["1", "2", "none"]}), "'yield'", "row 2: 'none'")
    for cell in (pd.Timestamp("2020-01-01"), pd.Timedelta("1D"), 1j, [1.0]):
        expect_error(small_table().assign(ndvi_01=[cell] * 3), "non-numeric", "'ndvi_01'", "row 0")


def test_infinite_cells_are_named():
    expect_error(
        small_table().assign(ndvi_01=[1.0, -np.inf, 1e39]), "infinite", "'ndvi_01'", "row 1: -inf", "row 2: 1e+39"
    )
    expect_error(small_table().assign(**{"yield": [1.0, 2.0, np.inf]}), "infinite", "'yield'", "row 2")
    expect_error(small_table().assign(latitude=np.inf), "infinite", "'latitude'", static_columns=["latitude"])


def test_missing_targets_and_static_values_are_named_by_row():
    expect_error(small_table().assign(**{"yield": [1.0, np.nan, 2.0]}), "targets missing", "'yield'", "numbers 1,")
    for soil in (["loam", None, "clay"], ["loam", "  ", "clay"], pd.Categorical(["a", None, "b"])):
        expect_error(
            small_table().assign(soil=soil), "static values missing", "'soil'", "1 of 3", static_columns=["soil"]
        )
    frame = small_table().assign(latitude=[1.0, 2.0, np.nan])
    expect_error(frame, "static values missing", "'latitude'", "numbers 2,", static_columns=["latitude"])


def test_a_series_without_any_value_is_named_by_row_and_variate():
    frame = small_table()
    frame.loc[1, ["ndvi_00", "ndvi_01"]] = np.nan
    load_wide_table(frame, target="yield")
    expect_error(frame, "no value at all", "row 1: ndvi", num_steps=2)


def test_empty_tables_raise(tmp_path):
    expect_error(small_table().iloc[:0], "empty: 0 rows")
    path = tmp_path / "fields.csv"
    for text in ("", "yield,x_00\n"):
        path.write_text(text)
        expect_error(path, "empty")


def test_rows_longer_than_the_header_raise_instead_of_shifting(tmp_path):
    path = tmp_path / "fields.csv"
    path.write_text("yield,x_00,x_01\n1,2,3,4\n1,2,3,4\n")
    expect_error(path, "rows and header differ")


def test_other_files_and_missing_files_are_named(tmp_path):
    expect_error(tmp_path / "fields.ods", "'.ods'", ".csv, .xlsx and .parquet")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: no such file"):
        load_wide_table(tmp_path / "nowhere.csv", target="yield")


def test_columns_named_like_the_results_own_raise():
    expect_error(small_table().assign(labels=1, past_values=2), "['labels', 'past_values']", "rename")
    dataset = load_wide_table(small_table().rename(columns={"yield": "labels"}), target="labels")
    assert dataset[0]["labels"] == [3.5]


def test_contradictory_arguments_raise():
    expect_error(small_table(), "more than once", "latitude", static_columns=["latitude", "latitude"])
    expect_error(small_table(), "more than once", "yield", static_columns=["yield"])
    expect_error(small_table(), "more than once", "ndvi", variates=["ndvi", "ndvi"])
    expect_error(small_table(), "empty list", target=[])
    expect_error(small_table(), "single string", static_columns="soil")
    expect_error(small_table(), "no variates", variates=[])
    expect_error(small_table().rename(columns={"site": 7}), "must be strings", "7")


def test_a_column_of_mixed_types_is_named():
    expect_error(small_table().assign(note=["a", 1, [2]]), "'note'", "cannot be stored together")


# --- find_variates ---


def test_variates_are_found_in_order_with_sorted_steps():
    columns = ["site", "ndvi_02", "b_8_00", "ndvi_00", "plot_1", "ndvi_01", "_00", "x_", "b_8_100"]
    assert find_variates(columns) == {"ndvi": [0, 1, 2], "b_8": [0, 100]}
    assert list(find_variates(columns)) == ["ndvi", "b_8"]
    assert find_variates([]) == {}


def test_rows_unseen_in_the_first_steps_are_left_out_on_request_with_a_warning():
    table = small_table()
    table.loc[1, ["ndvi_00", "ndvi_01"]] = np.nan
    with pytest.raises(ValueError, match="row 1"):
        load_wide_table(table, target="yield", num_steps=2)
    with pytest.warns(UserWarning, match="1 rows left out"):
        dataset = load_wide_table(table, target="yield", num_steps=2, drop_unobserved=True)
    assert dataset["site"][:] == ["Tunis", "Brussels"] and dataset["labels"][:] == [[3.5], [8.0]]
