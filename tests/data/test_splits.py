# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Splits that keep neighbours together."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tables import SMALL_VALUES, small_table

from timesclip_hf.data.splits import (
    random_rows,
    split_by_column,
    split_by_group,
    split_chronologically,
)
from timesclip_hf.data.wide import load_wide_table


def season_table(sites=("Tunis", "Brussels", "York"), years=range(2001, 2011), fields=3):
    rows = [{"site": s, "year": y, "field": f} for s in sites for y in years for f in range(fields)]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    return Dataset.from_pandas(frame, preserve_index=False)


def years_of(part):
    return sorted(set(part["year"]))


def rows_of(part):
    return {(row["site"], row["year"], row["field"]) for row in part}


def assert_partition(parts, dataset):
    assert list(parts) == ["train", "validation", "test"]
    assert sum(len(part) for part in parts.values()) == len(dataset)
    assert set.union(*(rows_of(part) for part in parts.values())) == rows_of(dataset)


def test_split_by_column_follows_the_column_and_keeps_row_order():
    dataset = Dataset.from_dict({"split": ["test", "train", "validation", "train"], "n": [0, 1, 2, 3]})
    parts = split_by_column(dataset)
    assert {name: list(part["n"]) for name, part in parts.items()} == {"train": [1, 3], "validation": [2], "test": [0]}
    only_train = split_by_column(dataset.select([1, 3]).rename_column("split", "part"), "part")
    assert list(only_train) == ["train"]


def test_split_by_column_names_unknown_values_with_their_rows():
    dataset = Dataset.from_dict({"split": ["train", "val", "val", "Test"]})
    with pytest.raises(ValueError, match=r"train, validation, test; found 'val' \(2 rows\), 'Test' \(1 rows\)"):
        split_by_column(dataset)


def test_split_by_column_needs_the_column_every_cell_and_train():
    with pytest.raises(ValueError, match=r"missing columns: 'splits' \(near: split\)"):
        split_by_column(Dataset.from_dict({"split": ["train"]}), "splits")
    with pytest.raises(ValueError, match="values missing: column 'split', in 1 of 2 rows"):
        split_by_column(Dataset.from_dict({"split": ["train", None]}))
    with pytest.raises(ValueError, match="no rows for train"):
        split_by_column(Dataset.from_dict({"split": ["test", "validation"]}))
    with pytest.raises(ValueError, match="cannot split 0 rows"):
        split_by_column(Dataset.from_dict({"split": []}))


def test_chronological_split_by_counts_takes_the_last_years():
    dataset = season_table()
    parts = split_chronologically(dataset, "year", validation=2, test=3)
    assert_partition(parts, dataset)
    assert years_of(parts["train"]) == [2001, 2002, 2003, 2004, 2005]
    assert years_of(parts["validation"]) == [2006, 2007]
    assert years_of(parts["test"]) == [2008, 2009, 2010]


def test_chronological_fractions_are_of_distinct_times_and_rounded_up():
    dataset = season_table()
    parts = split_chronologically(dataset, "year", validation=0.11, test=0.3)
    assert years_of(parts["test"]) == [2008, 2009, 2010]
    assert years_of(parts["validation"]) == [2006, 2007]


def test_chronological_split_by_group_uses_each_groups_own_last_years():
    frames = [season_table(("Tunis",), range(1990, 2000)), season_table(("York",), range(2005, 2010))]
    dataset = Dataset.from_pandas(pd.concat([f.to_pandas() for f in frames]), preserve_index=False)
    parts = split_chronologically(dataset, "year", validation=1, test=0.2, group_column="site")
    assert_partition(parts, dataset)
    assert {(s, y) for s, y, _ in rows_of(parts["test"])} == {("Tunis", 1998), ("Tunis", 1999), ("York", 2009)}
    assert {(s, y) for s, y, _ in rows_of(parts["validation"])} == {("Tunis", 1997), ("York", 2008)}


def test_chronological_split_reads_dates_as_dates():
    texts = ["2001-09-30", "2001-10-01", "2002-01-01", "2001-09-30"]
    for times in (
        texts,
        [pd.Timestamp(text).to_pydatetime() for text in texts],
        [pd.Timestamp(t).date() for t in texts],
    ):
        parts = split_chronologically(Dataset.from_dict({"t": times, "n": [0, 1, 2, 3]}), "t", validation=1, test=1)
        assert {name: list(part["n"]) for name, part in parts.items()} == {
            "train": [0, 3],
            "validation": [1],
            "test": [2],
        }
    half = Dataset.from_dict({"t": ["2024-01-01T23:00", "2024-01-01T23:30+02:00", "2024-01-02"]})
    with pytest.raises(ValueError, match="'t': some have an offset from UTC and others none"):
        split_chronologically(half, "t", validation=1, test=1)
    with pytest.raises(ValueError, match="'t' must hold numbers, dates or ISO 8601 strings, found '9', '10'"):
        split_chronologically(Dataset.from_dict({"t": ["9", "10"]}), "t", validation=1, test=1)


def test_chronological_split_names_groups_with_nothing_left_for_training():
    dataset = Dataset.from_pandas(
        pd.concat([season_table().to_pandas(), season_table(("Hyderabad",), [2001, 2002]).to_pandas()]),
        preserve_index=False,
    )
    with pytest.raises(ValueError, match="too few distinct values of 'year' in 'Hyderabad' \\(2 at the least\\)"):
        split_chronologically(dataset, "year", validation=1, test=1, group_column="site")
    with pytest.raises(ValueError, match="nothing would be left to train on"):
        split_chronologically(dataset, "year", validation=0.5, test=0.5)


@pytest.mark.parametrize("share", [0, -1, 0.0, 1.0, 1.5, math.nan, True, "2", None])
def test_shares_out_of_range_raise(share):
    with pytest.raises(ValueError, match=f"test is {re.escape(repr(share))}, expected a fraction"):
        split_chronologically(season_table(), "year", validation=1, test=share)
    with pytest.raises(ValueError, match="validation is .*, expected a fraction"):
        split_by_group(season_table(), "site", validation=share, test=["York"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=40),
    st.one_of(st.integers(1, 3), st.floats(0.01, 0.5)),
    st.one_of(st.integers(1, 3), st.floats(0.01, 0.5)),
    st.booleans(),
)
def test_chronological_split_never_looks_ahead_and_never_parts_one_time(rows, validation, test, grouped):
    dataset = Dataset.from_dict(
        {"site": [s for s, _ in rows], "year": [y for _, y in rows], "field": range(len(rows))}
    )
    groups = (
        [[y for s, y in rows if s == site] for site in {s for s, _ in rows}] if grouped else [[y for _, y in rows]]
    )

    def count(share, total):
        return share if isinstance(share, int) else math.ceil(share * total)

    sizes = [len(set(years)) for years in groups]
    feasible = all(count(validation, n) + count(test, n) < n for n in sizes)
    options = {"validation": validation, "test": test, "group_column": "site" if grouped else None}
    if not feasible:
        with pytest.raises(ValueError, match="nothing would be left"):
            split_chronologically(dataset, "year", **options)
        return
    parts = split_chronologically(dataset, "year", **options)
    assert_partition(parts, dataset)
    for site in {s for s, _ in rows} if grouped else [None]:
        years = [{r["year"] for r in part if site in (None, r["site"])} for part in parts.values()]
        assert max(years[0]) < min(years[1]) and max(years[1]) < min(years[2])


def test_group_split_leaves_one_site_out():
    dataset = season_table()
    parts = split_by_group(dataset, "site", validation=["York"], test=["Tunis"])
    assert_partition(parts, dataset)
    assert {name: set(part["site"]) for name, part in parts.items()} == {
        "train": {"Brussels"},
        "validation": {"York"},
        "test": {"Tunis"},
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 0.45), st.floats(0.01, 0.45))
def test_group_split_keeps_site_years_whole_and_draws_the_asked_share(seed, validation, test):
    dataset = season_table()
    parts = split_by_group(dataset, ["site", "year"], validation=validation, test=test, seed=seed)
    assert_partition(parts, dataset)
    groups = {name: {(s, y) for s, y, _ in rows_of(part)} for name, part in parts.items()}
    assert sum(len(part) for part in groups.values()) == 30  # no group on two sides
    assert len(groups["test"]) == math.ceil(test * 30) and len(groups["validation"]) == math.ceil(validation * 30)


def test_group_draw_depends_on_the_seed_and_not_on_row_order():
    dataset = season_table()
    first, again, other = (
        split_by_group(rows, ["site", "year"], validation=0.2, test=0.2, seed=seed)
        for rows, seed in ((dataset, 1), (dataset.select(range(len(dataset) - 1, -1, -1)), 1), (dataset, 2))
    )
    assert rows_of(first["test"]) == rows_of(again["test"]) != rows_of(other["test"])


def test_group_split_mixes_named_test_groups_with_a_drawn_validation_part():
    dataset = season_table()
    parts = split_by_group(dataset, ["site", "year"], validation=0.1, test=[("York", 2001), ("York", 2002)])
    assert_partition(parts, dataset)
    assert {(s, y) for s, y, _ in rows_of(parts["test"])} == {("York", 2001), ("York", 2002)}
    assert len({(s, y) for s, y, _ in rows_of(parts["validation"])}) == 3


def test_group_split_errors_name_the_groups():
    dataset = season_table()
    with pytest.raises(
        ValueError, match=r"test names unknown groups: 'Tuni' \(near: Tunis\); site: 'Brussels', 'Tunis'"
    ):
        split_by_group(dataset, "site", validation=0.1, test=["Tuni"])
    with pytest.raises(ValueError, match="test names unknown groups: '2001'"):
        split_by_group(dataset, "year", validation=0.1, test=["2001"])
    with pytest.raises(ValueError, match="both test and validation: 'York'"):
        split_by_group(dataset, "site", validation=["York"], test=["York", "Tunis"])
    with pytest.raises(ValueError, match="too few groups of site \\(3\\)"):
        split_by_group(dataset, "site", validation=["York", "Brussels"], test=["Tunis"])
    with pytest.raises(ValueError, match="test is 'York', expected a fraction .* or a list"):
        split_by_group(dataset, "site", validation=0.1, test="York")
    with pytest.raises(ValueError, match=r"test is \[\]"):
        split_by_group(dataset, "site", validation=0.1, test=[])
    with pytest.raises(ValueError, match="missing columns: 'sites'"):
        split_by_group(dataset, ["sites", "year"], validation=0.1, test=0.1)
    with pytest.raises(ValueError, match="at least one of each"):
        split_by_group(dataset, [], validation=0.1, test=0.1)


def test_splits_work_on_a_loaded_table_in_any_format():
    dataset = load_wide_table(small_table(), target="yield").with_format("torch")
    parts = split_by_group(dataset, ["site", "year"], validation=[("Tunis", 2002)], test=[("Brussels", 2001)])
    torch.testing.assert_close(parts["test"][0]["past_values"], torch.tensor(SMALL_VALUES[2]))


def test_a_static_column_may_also_be_what_rows_are_split_by():
    frame = pd.DataFrame({"x_00": [*range(12)], "y": 1.0, "soil": list("abcd") * 3, "year": [2000, 2001, 2002] * 4})
    data = load_wide_table(frame, target="y", static_columns=["soil", "year"])
    parts = split_by_group(data, "soil", validation=["b"], test=["c"])
    assert {row["soil"] for row in parts["test"]["static_values"]} == {"c"} and len(parts["train"]) == 6
    both = split_by_group(data, ["soil", "year"], validation=0.2, test=[("a", 2000)])
    assert both["test"]["static_values"][:] == [{"soil": "a", "year": 2000.0}]
    late = split_chronologically(data, "year", validation=1, test=1, group_column="soil")
    assert {row["year"] for row in late["test"]["static_values"]} == {2002.0}
    with pytest.raises(ValueError, match="'soils' .near: soil"):
        split_by_group(data, "soils", validation=0.2, test=0.2)


def test_groups_and_shares_may_be_of_numpy_and_pandas():
    frame = pd.DataFrame({"x_00": [*range(12)], "y": 1.0, "soil": list("abcd") * 3, "year": [2000, 2001, 2002] * 4})
    data = load_wide_table(frame, target=pd.Index(["y"]), variates=frame.columns[:1].str[:1], static_columns=())
    expected = split_by_group(data, ["soil", "year"], validation=0.25, test=[("a", 2000)])
    index = pd.MultiIndex.from_tuples([("a", 2000)])
    for groups in (index, index.to_numpy(), (("a", 2000),)):
        quarter = frame["x_00"].to_numpy()[:1].mean() + 0.25
        found = split_by_group(data, pd.Index(["soil", "year"]), validation=quarter, test=groups)
        assert found["test"]["soil"][:] == ["a"] and found["train"]["soil"][:] == expected["train"]["soil"][:]
    years = frame["year"].unique()
    assert set(split_by_group(data, "year", validation=years[1:2], test=years[2:])["test"]["year"]) == {2002}
    assert len(split_chronologically(data, "year", validation=years[:1].size, test=years.dtype.type(1))["test"]) == 4
    with pytest.raises(ValueError, match="static_columns must be a list of names, found a set"):
        load_wide_table(frame, target="y", static_columns={"soil"})
    with pytest.raises(ValueError, match="group_columns must be a list of names, found a set"):
        split_by_group(data, {"soil"}, validation=0.2, test=0.2)


def test_columns_of_lists_and_seeds_that_are_none_are_named():
    rows = Dataset.from_dict({"tags": [["a"], ["b"], ["a"]], "site": ["x", "y", "z"]})
    with pytest.raises(ValueError, match=r"column 'tags' holds .*, expected text, numbers or dates"):
        split_by_group(rows, "tags", validation=0.3, test=0.3)
    with pytest.raises(ValueError, match="seed is 'now', expected a whole number"):
        split_by_group(rows, "site", validation=0.3, test=0.3, seed="now")
    with pytest.raises(ValueError, match=r"missing columns: \['site'\]; expected names"):
        split_by_column(rows, ["site"])


def test_rows_drawn_at_random_keep_a_series_in_one_part_and_classes_in_all() -> None:
    same, classes = np.repeat(np.arange(60), 2), np.repeat(np.arange(60) % 3, 2)
    rows = random_rows(120, (0.2, 0.15), classes, 0, same)
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(120))
    of = {name: set(same[part]) for name, part in rows.items()}
    assert not of["train"] & of["test"] and not of["train"] & of["validation"] and not of["validation"] & of["test"]
    assert all(set(classes[part]) == {0, 1, 2} for part in rows.values())
    with pytest.raises(ValueError, match="4 rows with 2 different series are too few"):
        random_rows(4, (0.2, 0.15), None, 0, np.array([0, 0, 1, 1]))
