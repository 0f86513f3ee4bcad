# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables with one row per value or per time step, to collections and to one row per series."""

import numpy as np
import pandas as pd
import pytest
from series_samples import expect_error

from timesclip_hf.data.long import load_long_table
from timesclip_hf.data.wide import load_wide_table
from timesclip_hf.model.reader import WideOrigin

SERIES = np.random.default_rng(0).normal(size=(4, 6, 2)).round(3)
BANDS = ["nir", "red"]
ROLES = {"series_column": "field", "timestamp_column": "date"}
VALUES = {"variate_column": "band", "value_column": "value"}


def dates(year):
    return [f"{year}-{month:02d}-{day:02d}" for month in (5, 6) for day in (1, 11, 21)]


def steps(years=(2020, 2020, 2020, 2020)):
    """A row per time step, in no order."""
    rows = [
        {"field": f"f{k}", "date": date, "crop": "ab"[k % 2], "yield": k + 0.5, **dict(zip(BANDS, cells, strict=True))}
        for k, year in enumerate(years)
        for date, cells in zip(dates(year), SERIES[k].tolist(), strict=True)
    ]
    return pd.DataFrame(rows)


def values(*args):
    """A row per value."""
    names = ["field", "date", "crop", "yield"]
    return steps(*args).melt(names, BANDS, "band", "value").sample(frac=1, random_state=0).reset_index(drop=True)


def in_order(dataset):
    order = np.argsort(dataset["field"][:])
    return np.array(dataset["past_values"])[order]


def test_one_row_per_value_becomes_a_collection():
    found = load_long_table(values().drop(columns=["crop", "yield"]), **ROLES, **VALUES, variates=BANDS)
    expected = load_long_table(steps(), **ROLES, variates=BANDS)
    for name, series in zip(found.series_names, found.values, strict=True):
        np.testing.assert_array_equal(series, expected.values[expected.series_names.index(name)])
    one = values().query("field == 'f1'").drop(columns="field")
    alone = load_long_table(one, timestamp_column="date", **VALUES, variates=BANDS[::-1])
    np.testing.assert_array_equal(alone.values[0], SERIES[1][:, ::-1])
    assert [str(t)[:10] for t in alone.timestamps[0]] == dates(2020)


@pytest.mark.parametrize("years", [(2020,) * 4, (2019, 2020, 2021, 2022)])
def test_one_row_per_value_or_step_becomes_one_row_per_series(years):
    for table, options in (
        (values(years), VALUES),
        (steps(years).sample(frac=1, random_state=1), {"variates": BANDS}),
    ):
        dataset = load_wide_table(table, target="yield", static_columns=["crop"], **ROLES, **options)
        origin = WideOrigin.read(dataset)
        series = in_order(dataset)
        np.testing.assert_array_equal(series[:, :, origin.variate_names.index("red")], SERIES[:, :, 1])
        assert [date[5:] for date in origin.step_dates] == [date[5:] for date in dates(2020)]
        labels = dict(zip(dataset["field"][:], dataset["labels"][:], strict=True))
        assert labels == {f"f{k}": [k + 0.5] for k in range(4)}
        assert {row["crop"] for row in dataset["static_values"]} == {"a", "b"}


def test_steps_may_be_numbers_and_what_has_no_row_is_missing():
    table = values().assign(date=lambda t: t["date"].map({date: k + 14 for k, date in enumerate(dates(2020))}))
    table = table.query("not (field == 'f2' and date == 16)")
    dataset = load_wide_table(table, target="yield", **ROLES, **VALUES)
    assert (WideOrigin.read(dataset).first_step, WideOrigin.read(dataset).last_step) == (14, 19)
    missing = np.isnan(in_order(dataset))
    assert missing[2, 2].all() and missing.sum() == 2


def test_half_a_season_begins_where_its_dates_say():
    table = steps((2019, 2020, 2021, 2022)).query("not (field == 'f3' and date < '2022-05-20')")
    series = in_order(load_wide_table(table, target="yield", **ROLES, variates=BANDS))
    assert np.isnan(series[3, :2]).all()
    np.testing.assert_array_equal(series[3, 2:], SERIES[3, 2:])


def test_series_may_be_of_days_of_their_own():
    shifted = steps().assign(day=lambda t: t["field"].str[1:].astype(int) % 3)
    shifted["date"] = (pd.to_datetime(shifted["date"]) + pd.to_timedelta(shifted.pop("day"), "D")).astype(str)
    series = in_order(load_wide_table(shifted, target="yield", **ROLES, variates=BANDS))
    np.testing.assert_array_equal(series, SERIES)


def test_what_cannot_be_a_pivot_is_named():
    def fails(table, *parts, **options):
        with expect_error(*parts):
            load_wide_table(table, target="yield", **{**ROLES, **VALUES, **options})

    table = values()
    fails(pd.concat([table, table[:1]]), "1 values for what has one already", "of f", ", 2020-0")
    fails(table, "no such columns: 'bands' (near: band)", variate_column="bands")
    fails(table, "expected series_column and timestamp_column", series_column=None)
    fails(table, "a variate_column, a value_column and a timestamp_column", value_column=None)
    fails(table.assign(band=None), "names or times missing", "'band'")
    fails(table.assign(value="x"), "non-numeric cells in column 'value'")
    fails(table.assign(**{"yield": range(len(table))}), "change within a step: 'yield'")
    fails(table.assign(band="crop"), "called as other columns are: crop")
    changing = steps().assign(**{"yield": range(24)})
    fails(changing, "change within a series: 'yield'", variate_column=None, value_column=None, variates=BANDS)
    fails(steps(), "needs the names of its `variates`", variate_column=None, value_column=None)
    fails(steps().assign(date=0.5), "holds fractions", variate_column=None, value_column=None, variates=BANDS)
    sparse = steps().assign(date=lambda t: t["date"].map({date: 97 + 16 * k for k, date in enumerate(dates(2020))}))
    fails(sparse, "has the steps 97, 113, 129", "0, 1, 2", variate_column=None, value_column=None, variates=BANDS)
    again = pd.concat([steps(), steps()[3:4]])
    fails(again, "1 rows for a step", "f0, 2020-06-01", variate_column=None, value_column=None, variates=BANDS)
    two = steps((2019, 2020, 2021, 2021)).assign(field=["f0"] * 12 + ["f1"] * 12)
    fails(two, "season", variate_column=None, value_column=None, variates=BANDS)
    with pytest.warns(UserWarning, match="change within a step are not used: 'note'"):
        load_wide_table(table.assign(note=range(len(table))), target="yield", **ROLES, **VALUES)


@pytest.mark.parametrize("row", [0, 3, -1])
def test_what_stands_in_one_row_of_a_series_counts_for_all_of_it(row):
    table = steps()
    kept = np.arange(len(table)) % 6 == row % 6
    table["yield"], table["crop"] = table["yield"].where(kept), table["crop"].where(kept, " ")
    melted = table.melt(["field", "date", "crop", "yield"], BANDS, "band", "value").sample(frac=1, random_state=0)
    for given, options in ((table, {"variates": BANDS}), (melted, VALUES)):
        found = load_wide_table(given.reset_index(drop=True), **ROLES, **options, target="yield")
        assert dict(zip(found["field"], np.ravel(found["labels"]), strict=True)) == {
            "f0": 0.5, "f1": 1.5, "f2": 2.5, "f3": 3.5,
        }  # fmt: skip
        assert dict(zip(found["field"], found["crop"], strict=True)) == {f"f{k}": "ab"[k % 2] for k in range(4)}


def test_two_values_for_one_series_are_named():
    table = steps()
    table["yield"] = table["yield"].where(np.arange(len(table)) % 6 == 5)
    table.loc[6, "yield"] = 9.25  # of f1, whose last row says 1.5
    with pytest.raises(ValueError, match=r"'yield' is 9.25, 1.5 in f1: one value for each series is expected"):
        load_wide_table(table, **ROLES, variates=BANDS, target="yield")
