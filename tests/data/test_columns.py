# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Steps by the names of columns: numbers, dates, patterns."""

import re
import time

import numpy as np
import pandas as pd
import pytest
from datasets import concatenate_datasets

from timesclip_hf.data.columns import COLUMN_PATTERNS, number_steps, pattern_text, step_columns
from timesclip_hf.data.wide import find_variates, load_wide_table
from timesclip_hf.model.reader import WideOrigin


def table(names, extra=()):
    """Two series; the cell of the k-th name is k, and 100 + k."""
    columns = {name: [float(k), 100.0 + k] for k, name in enumerate(names)}
    return pd.DataFrame(columns | dict.fromkeys(extra, "x"))


def read(names, **options):
    dataset = load_wide_table(table(names), target=None, **options)
    return np.array(dataset["past_values"][0]), WideOrigin.read(dataset)


def fails(names, *parts, **options):
    with pytest.raises(ValueError) as caught:
        load_wide_table(table(names), target=None, **options)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


HALF_MONTHS = ["2021-03-01", "2021-03-15", "2021-04-01", "2021-04-15", "2021-05-01"]


@pytest.mark.parametrize(
    "form",
    [
        "evi_{y}_{m}_{d}",
        "evi_{y}{m}{d}",
        "{y}-{m}-{d}_evi",
        "{y}{m}{d}_evi",
        "evi-{y}.{m}.{d}",
        "X{y}.{m}.{d}_evi",
        "evi_{y}-{m}-{d}",
    ],
)
def test_whole_dates_in_names_are_steps_of_their_variate(form):
    names = [form.format(y=d[:4], m=d[5:7], d=d[8:]) for d in HALF_MONTHS]
    order = [3, 0, 4, 1, 2]
    values, origin = read([names[k] for k in order])
    assert values.ravel().tolist() == [float(order.index(k)) for k in range(5)]  # by date, not by place
    assert origin == WideOrigin(0, 4, ["evi"], None, HALF_MONTHS)
    assert find_variates(names) == {"evi": [0, 1, 2, 3, 4]}
    for asked in (["evi"], np.array(["evi"])):
        assert read(names, variates=asked)[1].step_dates == HALF_MONTHS
    same, pattern = read(names, column_pattern="dates")
    assert same.ravel().tolist() == [0, 1, 2, 3, 4] and pattern.column_pattern == "dates"


def test_several_variates_share_their_dates():
    names = [f"{variate}_{date}" for date in HALF_MONTHS for variate in ("b 4", "b_8")]
    values, origin = read(names)
    assert origin.variate_names == ["b 4", "b_8"] and values[:, 1].tolist() == [1, 3, 5, 7, 9]
    fails(names[:-1], "different steps", "2021-03-01 to 2021-05-01: b 4", "2021-03-01 to 2021-04-15: b_8")


def test_a_date_that_is_missing_on_the_rhythm_is_a_hole_with_its_date():
    fails(["evi_" + date for date in HALF_MONTHS if date != "2021-04-01"], "holes", "evi lacks 2021-04-01")
    monthly = [f"evi_2019_{month:02d}_16" for month in (1, 2, 3, 5, 6)]
    fails(monthly, "evi lacks 2019-04-16")


def test_dates_without_a_rhythm_are_told_with_what_to_do():
    fails(["evi_20190403", "evi_20190501", "evi_20190502"], "no rhythm", "28 days, 1 days", "ndvi_00, ndvi_01")


@pytest.mark.parametrize(
    ("pattern", "names", "variate", "first"),
    [
        ("months", ["EVI_2019_11", "EVI_2019_12", "EVI_2020_01"], "EVI", "2019-11-01"),
        ("months", ["201911.EVI", "201912.EVI", "202001.EVI"], "EVI", "2019-11-01"),
        ("days_of_year", ["EVI_2020353", "EVI_2021001", "EVI_2021017"], "EVI", "2020-12-18"),
        ("day_first", ["EVI_01.02.2020", "EVI_02.02.2020", "EVI_03.02.2020"], "EVI", "2020-02-01"),
        ("month_first", ["EVI_01-02-2020", "EVI_02-02-2020", "EVI_03-02-2020"], "EVI", "2020-01-02"),
        (
            r"EVI of (?P<date>.+) \((?P<variate>\w+)\)",
            [f"EVI of {d} (S2)" for d in HALF_MONTHS[:3]],
            "S2",
            "2021-03-01",
        ),
        ("dates", ["S2_20210301_red", "S2_20210315_red", "S2_20210401_red"], "S2_red", "2021-03-01"),
        (re.compile(r"(?P<variate>NDVI)(?P<step>\d+)", re.IGNORECASE), ["ndvi1", "ndvi2", "ndvi3"], "ndvi", None),
        ("month_names", ["EVI_Nov_2019", "EVI_DEC_2019", "EVI_Jan_2020"], "EVI", "2019-11-01"),
        ("month_names", ["30apr2020.EVI", "01may2020.EVI", "02may2020.EVI"], "EVI", "2020-04-30"),
        ("month_names", ["2019-October EVI", "2019-November EVI", "2019-December EVI"], "EVI", "2019-10-01"),
        ("dots", ["ndvi.8", "ndvi.9", "ndvi.10"], "ndvi", None),
        ("dashes", ["B8-01", "B8-02", "B8-03"], "B8", None),
        ("underscores", ["plot_1", "plot_2", "plot_3"], "plot", None),
        ("spaces", ["red edge 1", "red edge 2", "red edge 3"], "red edge", None),
        ("digits", ["B8A1", "B8A2", "B8A3"], "B8A", None),
        ("number_first", ["0_NDVI", "1_NDVI", "2_NDVI"], "NDVI", None),
        ("number_first", ["X0_NDVI", "X1_NDVI", "X2_NDVI"], "NDVI", None),
        (re.compile(r"(?P<variate>\w+):(?P<step>\d+)"), ["x:3", "x:4", "x:5"], "x", None),
        (r"(?P<variate>\w+)\[t(?P<step>\d+)\]", ["x[t3]", "x[t4]", "x[t5]"], "x", None),
    ],
)
def test_a_pattern_says_how_columns_are_named(pattern, names, variate, first):
    values, origin = read([*names[::-1], "other"], column_pattern=pattern)
    assert values.ravel().tolist() == [2.0, 1.0, 0.0]
    assert (origin.variate_names, origin.column_pattern) == ([variate], pattern_text(pattern))
    assert (origin.step_dates or [None])[0] == first


def test_every_ready_made_pattern_has_its_groups():
    for pattern in COLUMN_PATTERNS:
        assert step_columns(["a column without a step"], (), pattern) == {}


def test_what_a_pattern_would_read_is_suggested():
    fails([f"ndvi.{k}" for k in range(4)], "no variates", "pass column_pattern='dots'")
    fails([f"ndvi_2019{k:03d}" for k in range(1, 90, 8)], "holes", "pass column_pattern='days_of_year'")
    fails(["x_01102019", "x_02102019", "x_03102019"], "holes", "pass column_pattern='day_first'")
    fails(["x_2019_11", "x_2019_12", "x_2020_01"], "different steps", "pass column_pattern='months'")
    fails([f"b-{k}" for k in range(3)], "missing variates", "column_pattern='dashes'", variates=["b"])
    steps = [f"ndvi_{k:02d}" for k in range(4)]
    with pytest.warns(UserWarning, match="not read as steps: 'B8-00' and 3 other .*column_pattern='dashes'"):
        read([*steps, *(f"B8-{k:02d}" for k in range(4))])
    with pytest.warns(UserWarning, match="'rain_0', 'rain_1', .* of one digit, ndvi of two: .*'underscores'"):
        read([*steps, *(f"rain_{k}" for k in range(4))])
    with pytest.warns(UserWarning, match="'x_Oct_2019' may have dates: pass column_pattern='month_names'"):
        read(["x_Oct_2019", "x_Nov_2019", "x_Dec_2019"])
    with pytest.warns(UserWarning, match="'ndvi' are called as variates are"):
        read(["ndvi", "ndvi.1", "ndvi.2"], column_pattern="dots")
    with pytest.warns(UserWarning, match="'x_2019_04' may have dates: pass column_pattern='months' if so"):
        read([f"x_2019_{month:02d}" for month in range(4, 11)])


def test_names_that_were_read_as_numbers_still_are_where_they_are_asked_for():
    values, origin = read([f"x_2019_10_{day:02d}" for day in range(1, 32)], variates=["x_2019_10"])
    assert len(values) == 31 and (origin.first_step, origin.last_step, origin.step_dates) == (1, 31, None)
    steps = [f"ndvi_{k:02d}" for k in range(4)]
    assert find_variates([*steps, "sown_2019_04_01"]) == {"ndvi": [0, 1, 2, 3], "sown_2019_04": [1]}
    visits = ["visit_2019_04_01", "visit_2019_05_07"]
    fails([*steps, *visits], "numbers (3)", "dates (2019-04-01)", "`variates`")
    assert len(read([*steps, *visits], variates=["ndvi"])[0]) == 4
    notes = ["2019-04-01_note", "2019-05-07_note", "visit-2019-04-01", "visit-2019-05-07"]
    assert list(find_variates([*steps, *notes])) == ["ndvi"]
    assert step_columns(["x_20190230", "x_20190301", "x_20190401"])["x_20190230"] == ("x", 20190230)


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("dotz", ["lacks groups", "near: dots", "months"]),
        ("(?P<variate>.+", ["no regular expression"]),
        (r"(?P<variate>.+)_(?P<step>.)(?P<date>.)", ["lacks groups"]),
        (r"(?P<variate>(\w+)+)_(?P<step>\d+)", ["repeats a group"]),
        (r"(?P<variate>.+)_(?P<step>\w)", ["no numbers", "'ndvi_a'", r"(?P<step>\d+)"]),
        (r"(?P<variate>.+)_(?P<date>\w)", ["dates in the names of columns 'ndvi_a'"]),
        (7, ["'7'"]),
    ],
)
def test_a_pattern_that_is_none_is_named(pattern, parts):
    fails(["ndvi_a", "ndvi_b"], *parts, column_pattern=pattern)


def test_a_pattern_leaves_all_other_columns_alone():
    dataset = load_wide_table(table(["a.1", "a.2"], ["soil_12", "soil_13"]), target=None, column_pattern="dots")
    assert dataset.column_names == ["past_values", "soil_12", "soil_13"]


def numbers(dates, known):
    return list(number_steps([np.datetime64(date, "s") for date in dates], known)[0].values())


def test_dates_of_another_year_are_numbered_by_the_season_of_the_first_table():
    assert numbers(["2024-03-01", "2024-03-15"], HALF_MONTHS) == [0, 1]
    assert numbers(["2018-04-14", "2018-05-03"], HALF_MONTHS) == [3, 4]  # a day or two off
    assert numbers(["2022-02-15", "2022-03-01", "2022-03-15"], HALF_MONTHS) == [-1, 0, 1]
    assert numbers(["2022-05-01", "2022-05-15", "2022-06-01"], HALF_MONTHS) == [4, 5, 6]
    winter = ["2019-11-15", "2019-12-15", "2020-01-15", "2020-02-15"]
    assert numbers(["2023-01-16", "2023-02-15"], winter) == [2, 3]
    assert numbers(["2022-12-15", "2023-01-15"], winter) == [1, 2]
    leap = ["2020-02-28", "2020-02-29", "2020-03-01"]
    assert numbers(["2020-02-29"], leap) == [1] and numbers(["2021-03-01"], leap) == [2]
    assert numbers(["2021-07-05"], ["2020-07-05"]) == [0]
    for wrong, words in (
        (["2022-09-01"], "none of the dates 2022-09-01 falls into .* 2021-03-01 to 2021-05-01"),
        (["2022-03-01", "2022-03-02"], "2022-03-01, 2022-03-02 are of one step"),
        (["2022-03-01", "2022-03-08"], "2022-03-08 lie between"),
    ):
        with pytest.raises(ValueError, match=words):
            numbers(wrong, HALF_MONTHS)


def test_a_stray_number_is_named_before_anything_is_allocated():
    steps = [f"ndvi_{k:02d}" for k in range(12)]
    began = time.monotonic()
    fails(
        [*steps, "ndvi_100000000"], "ndvi lacks 12, 13", "99999982 more", "does column 'ndvi_100000000' hold a step?"
    )
    fails([*steps, "ndvi_999999999999999999"], "'ndvi_999999999999999999'")
    fails([*steps, "id_100000000"], "100000000-100000000: id")
    assert len(read([*steps, "ndvi_" + "9" * 5000])[0]) == 12  # no number: a column like others
    assert time.monotonic() - began < 5


def test_a_misspelt_name_among_very_many_is_told_fast():
    columns = [f"sensor{a}_{b:02d}" for a in range(2000) for b in range(50)]
    frame = pd.DataFrame(np.zeros((1, len(columns))), columns=columns)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"'sensr7' .near: sensor7"):
        load_wide_table(frame, target=None, variates=[f"sensr{k}" for k in range(7, 2000)])
    assert time.monotonic() - began < 20


def test_tables_of_several_years_join_to_one_data_set_of_seasons():
    def season(year, first=0):
        dates = [f"{year}-{month:02d}-{day:02d}" for month in (2, 3, 4) for day in (1, 11, 21)][first : first + 8]
        return load_wide_table(table([f"x_{date}" for date in dates]), target=None)

    joined = concatenate_datasets([season(2019), season(2020), season(2023)])
    assert WideOrigin.read(joined) == WideOrigin.read(season(2019))
    daily = [
        load_wide_table(table([f"x_{date}" for date in pd.date_range(start, periods=5).astype(str)]), target=None)
        for start in ("2019-02-27", "2020-02-27")
    ]
    assert WideOrigin.read(concatenate_datasets(daily)) is not None  # a day apart behind 28 February
    with pytest.warns(UserWarning, match="joins tables whose steps or variates differ"):
        assert WideOrigin.read(concatenate_datasets([season(2019), season(2020, first=1)])) is None
    numbered = [load_wide_table(table([f"x_{k:02d}" for k in range(low, low + 3)]), target=None) for low in (0, 1)]
    with pytest.warns(UserWarning, match="joins tables whose steps"):
        assert WideOrigin.read(concatenate_datasets(numbered)) is None


def test_names_of_columns_that_are_no_text_are_named() -> None:
    with pytest.raises(ValueError, match="column names must be text, found 3"):
        find_variates(["ndvi_00", 3])
