# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What columns are for, found by name and content, and the honest split that follows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from timesclip_hf.data.roles import (
    SplitPlan,
    as_times,
    asked_split,
    choose_split,
    describe_split,
    find_roles,
    find_task,
    group_candidate,
    split_rows,
    time_candidate,
)


def table(**columns: Any) -> pd.DataFrame:
    """48 rows of two variates and three steps; 6 farms in 8 years unless columns say otherwise."""
    rng = np.random.default_rng(0)
    own: dict[str, Any] = {"farm": [f"F{i}" for i in range(6)] * 8, "year": np.repeat(range(2010, 2018), 6)}
    series = {f"{name}_{step:02d}": rng.normal(size=48) for name in ("ndvi", "red") for step in range(3)}
    return pd.DataFrame({**own, "yield": rng.normal(size=48), **series, **columns})


def test_variates_steps_times_and_groups_are_found() -> None:
    roles = find_roles(table(soil=["clay", "loam"] * 24), "yield")
    assert (roles.variates, roles.steps, roles.task) == (["ndvi", "red"], (0, 2), "regression")
    assert [str(c) for c in roles.times] == ["year (8)"] and [str(c) for c in roles.groups] == ["farm (6)"]
    assert roles.statics == [] and roles.others == ["soil"]


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["wheat", "maize"] * 10, "classification"),
        ([True, False] * 10, "classification"),
        ([0, 1, 2, 3] * 5, "classification"),
        ([1.0, 2.0] * 10, "classification"),  # whole numbers as pandas reads them beside blank cells
        ([0.5, 1.5] * 10, "regression"),
        (list(range(20)), "regression"),
        ([3, 5, 9, 4, 7, 8] * 3, "regression"),  # three rows of each: rather amounts
        (["3.5", "4", "n/a?"] * 5, "regression"),  # numbers with a wrong cell, which reading names
        (pd.Categorical(["a", "b"] * 10), "classification"),
    ],
)
def test_the_task_follows_from_the_targets_cells(cells: Any, task: str) -> None:
    assert find_task(pd.Series(cells, name="y"))[0] == task


@pytest.mark.parametrize(
    ("name", "cells", "count"),
    [
        ("season", [1, 2, 3, 4] * 5, 4),
        ("harvest_year", [2001, 2002, 2003] * 5, 3),
        ("Season", ["2018/19", "2019/20", "2020/21"] * 5, 3),
        ("sowing", list(pd.date_range("2020-01-01", periods=15)), 15),
        ("when", list(pd.date_range("2020-01-01", periods=15)), 15),  # dates tell when, whatever they are called
        ("dateSown", ["2020-01-01", "2020-02-01", "2021-01-01"] * 5, 3),
        ("harvest_moisture", [11.5, 12.5, 13.5] * 5, None),
        ("harvest_count", [4, 5, 6] * 5, None),  # whole numbers, but no years
        ("harvest_value", [150_000_000, 231_000_000, 980_000_000] * 5, None),  # as large as Unix times
        ("season", ["wet", "dry", "between"] * 5, None),  # no order
        ("soil", ["a", "b", "c"] * 5, None),
    ],
)
def test_columns_that_tell_when_are_named_or_hold_dates_and_have_an_order(name: str, cells: Any, count: Any) -> None:
    found = time_candidate(pd.Series(cells, name=name))
    assert (found.count if found else None) == count


@pytest.mark.parametrize(
    ("name", "cells", "found"),
    [
        ("farmName", ["a", "b", "c"] * 5, True),
        ("grower_id", [7, 8, 9] * 5, True),
        ("plot_id", list(range(15)), False),  # one row each: nothing to keep together
        ("variety", ["a", "b", "c"] * 5, False),
        ("site", ["a", "b"] * 5, False),  # train, validation and test need one each
    ],
)
def test_columns_that_tell_where_are_named_so_and_repeat(name: str, cells: Any, found: bool) -> None:
    assert (group_candidate(pd.Series(cells, name=name)) is not None) is found


def test_seasons_of_text_are_ordered_by_their_year() -> None:
    assert as_times(pd.Series(["2019/20", "season 2018", "2020"])).tolist() == [2019, 2018, 2020]


def test_times_are_split_before_groups_and_the_latest_are_the_test() -> None:
    frame = table()
    plan = choose_split(find_roles(frame, "yield"))
    assert (plan.kind, plan.column) == ("time", "year")
    rows = split_rows(frame, plan)
    years = {name: sorted(set(frame["year"].iloc[numbers])) for name, numbers in rows.items()}
    # Of eight years, two are nearest to a fifth of the rows, and one to 15 percent.
    assert years == {"train": [*range(2010, 2015)], "validation": [2015], "test": [2016, 2017]}
    assert "from 2016 on" in describe_split(frame, plan, rows)


def test_few_times_leave_the_split_to_groups() -> None:
    frame = table(year=[2010, 2011, 2012] * 16)
    plan = choose_split(find_roles(frame, "yield"))
    assert (plan.kind, plan.column) == ("group", "farm")
    rows = split_rows(frame, plan)
    farms = [set(frame["farm"].iloc[numbers]) for numbers in rows.values()]
    assert [len(part) for part in farms] == [4, 1, 1] and len(set.union(*farms)) == 6


def test_a_column_that_says_the_parts_wins() -> None:
    frame = table(part=["train"] * 30 + ["validation"] * 8 + ["test"] * 10)
    plan = choose_split(find_roles(frame, "yield"))
    assert (plan.kind, plan.column) == ("column", "part")
    assert [len(rows) for rows in split_rows(frame, plan).values()] == [30, 8, 10]


def test_a_column_that_says_train_and_test_alone_leaves_a_fifth_of_train_for_validation() -> None:
    frame = table(part=["train", "test"] * 24)
    roles = find_roles(frame, "yield")
    plan = choose_split(roles)
    classes = np.array(["rare"] * 24 + ["common"] * 24)
    rows = split_rows(frame, plan, classes)
    assert plan.column == "part" and rows["test"].tolist() == list(range(1, 48, 2))
    assert [len(rows[name]) for name in ("train", "validation")] == [19, 5]
    assert sorted(np.concatenate([rows["train"], rows["validation"]]).tolist()) == list(range(0, 48, 2))
    assert {*classes[rows["validation"]]} == {"rare", "common"}
    later = split_rows(frame, plan, None, 0, SplitPlan("time", "year", ""))
    years = [set(frame["year"].iloc[later[name]]) for name in ("train", "validation")]
    assert max(years[0]) < min(years[1])


def test_without_such_columns_rows_are_drawn_and_the_reason_warns() -> None:
    frame = table().drop(columns=["farm", "year"])
    plan = choose_split(find_roles(frame, "yield"))
    assert plan.kind == "random" and "flatter" in plan.reason
    rows = split_rows(frame, plan)
    assert sorted(np.concatenate([*rows.values()]).tolist()) == list(range(48))
    assert [len(numbers) for numbers in rows.values()] == [31, 7, 10]


def test_rows_at_random_are_drawn_from_each_class_alike() -> None:
    classes = np.array(["rare"] * 10 + ["common"] * 90)
    rows = split_rows(pd.DataFrame({"x": range(100)}), SplitPlan("random", None, ""), classes)
    assert [(classes[numbers] == "rare").sum() for numbers in rows.values()] == pytest.approx([6.5, 1.5, 2], abs=1)


def test_all_statics_are_those_without_another_role_that_are_complete_and_not_names() -> None:
    own = {"soil": ["clay", "loam"] * 24, "slope": np.arange(48.0), "note": [f"n{i}" for i in range(48)]}
    frame = table(**own, ph=[np.nan, *[6.5] * 47])
    assert find_roles(frame, "yield", statics=["all"]).statics == ["soil", "slope"]
    numbered = frame.assign(**{"Unnamed: 0": range(len(frame))})
    assert find_roles(numbered, "yield", statics=["all"]).statics == ["soil", "slope"]


def test_a_static_column_may_be_the_group() -> None:
    roles = find_roles(table(), "yield", statics=["farm"])
    assert roles.statics == ["farm"] and [c.name for c in roles.groups] == ["farm"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"group": "farm", "time": "year"}, "exclude each other"),
        ({"group": "farmm"}, "near: farm"),
        ({"time": "yield"}, "this is the target"),
    ],
)
def test_splits_that_cannot_be_are_named(how: dict[str, str], message: str) -> None:
    frame = table()
    with pytest.raises(ValueError, match=message):
        asked_split(frame, find_roles(frame, "yield"), how)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (SplitPlan("group", "soil", ""), "2 different values are too few"),
        (SplitPlan("time", "soil", ""), "no numbers, ISO dates or years"),
        (SplitPlan("column", "soil", ""), "may hold train, validation, test"),
        (SplitPlan("column", "part", ""), "no row says test"),
    ],
)
def test_columns_that_give_no_three_parts_are_named(plan: SplitPlan, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_rows(table(soil=["clay", "loam"] * 24, part=["train", "validation"] * 24), plan)


def test_a_table_of_time_steps_is_told_to_name_its_times() -> None:
    with pytest.raises(ValueError, match="--timestamp and --horizon"):
        find_roles(pd.DataFrame({"date": ["2020-01-01"], "load": [1.0]}), "load")


def test_a_target_that_is_not_there_is_told_with_near_names() -> None:
    with pytest.raises(ValueError, match=r"--target: no such column: 'yeild' \(near: yield\)"):
        find_roles(table(), "yeild")


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([2015.0, None, *range(2016, 2020)] * 8, "column 'year' has blank cells"),
        (["03/04/2019", "04/03/2020"] * 24, "found '03/04/2019', '04/03/2020' (day and month may be either)"),
        (["early", "late"] * 24, None),
        ([1.5, None] * 24, None),
        (list(range(2012, 2018)) * 8, None),
    ],
)
def test_times_that_rows_cannot_be_ordered_by_are_told_and_not_passed_over(cells: Any, told: str | None) -> None:
    unclear = find_roles(table(year=cells), "yield").unclear
    assert unclear == [] if told is None else told in unclear[0]


def test_dates_are_ordered_as_other_times_are_read() -> None:
    days = pd.date_range("2019-12-30", periods=4)
    for form in ("%d.%m.%Y", "%d/%m/%Y", "%Y%m%d"):
        found = pd.to_datetime(as_times(pd.Series(days.strftime(form), name="date")), utc=True)
        assert found.dt.tz_localize(None).tolist() == days.tolist()
    assert time_candidate(pd.Series(["030", "031", "029"] * 4, name="day")) is None  # codes, as numbers are none


def test_rows_at_random_keep_copies_of_a_series_together() -> None:
    same = np.array([k // 3 for k in range(60)])  # 20 series, three rows of each
    rows = split_rows(table(), SplitPlan("random", None, ""), None, 0, same=same[:48])
    kept = {part: set(same[found]) for part, found in rows.items()}
    assert not (
        kept["train"] & kept["test"] or kept["train"] & kept["validation"] or kept["test"] & kept["validation"]
    )
    assert sorted(np.concatenate(list(rows.values()))) == list(range(48)) and 9 <= len(rows["test"]) <= 12
    alone = split_rows(table(), SplitPlan("random", None, ""), None, 0)
    unique = split_rows(table(), SplitPlan("random", None, ""), None, 0, same=np.arange(48))
    assert all(np.array_equal(alone[part], unique[part]) for part in alone)
    three = split_rows(table(), SplitPlan("random", None, ""), None, 0, same=np.arange(48) % 3)
    assert {len(found) for found in three.values()} == {16}
    with pytest.raises(ValueError, match="48 rows with 2 different series are too few"):
        split_rows(table(), SplitPlan("random", None, ""), None, 0, same=np.arange(48) % 2)


def test_parts_are_known_however_they_are_written() -> None:
    cells = (["Train"] * 8 + ["val", "TEST", "dev", "test"]) * 4
    roles = find_roles(table(part=cells), "yield")
    assert roles.split_column == "part" and choose_split(roles).kind == "column"
    rows = split_rows(table(part=cells), choose_split(roles))
    assert {name: len(found) for name, found in rows.items()} == {"train": 32, "validation": 8, "test": 8}
    with pytest.raises(ValueError, match="--split part: this column may hold train, validation, test, found 'later'"):
        split_rows(table(part=["train", "test", "later"] * 16), SplitPlan("column", "part", ""))


def test_whole_numbers_that_are_dates_tell_when() -> None:
    days = pd.date_range("2019-12-30", periods=12).strftime("%Y%m%d").astype(int)
    assert time_candidate(pd.Series(days, name="harvest_date")) is not None
    assert time_candidate(pd.Series(days, name="code")) is None
    assert time_candidate(pd.Series([20191399, *days], name="harvest_date")) is None


def test_columns_that_look_like_steps_are_told_with_their_pattern() -> None:
    dotted = table().rename(columns=lambda name: name.replace("_0", "."))
    with pytest.raises(
        ValueError, match=r"no series.*'ndvi.0' and 5 other columns look like steps: pass --column-pattern"
    ):
        find_roles(dotted, "yield")


def test_a_class_that_is_blank_for_files_is_told() -> None:
    with pytest.raises(ValueError, match=r"'yes' in every row but 2, which are blank \(in files NA"):
        find_task(pd.Series(["yes", None, "yes", np.nan], name="y"))


DAYS_IN_SECONDS = [1_577_836_800 + 86_400 * day for day in range(48)]
MONTHS = [100 * year + month for year in range(2018, 2022) for month in range(1, 13)]


@pytest.mark.parametrize(
    ("name", "cells"),
    [("date", DAYS_IN_SECONDS), ("unix_ms", [1000.0 * second for second in DAYS_IN_SECONDS]), ("month", MONTHS)],
)
def test_unix_times_and_months_of_whole_numbers_tell_when(name: str, cells: Any) -> None:
    roles = find_roles(table(year=0, **{name: cells}), "yield")
    assert [(candidate.name, candidate.count) for candidate in roles.times] == [(name, 48)]
    assert choose_split(roles).column == name


def test_numbers_of_a_date_that_are_none_are_told_and_not_passed_over() -> None:
    roles = find_roles(table(year=0, sowing_date=[43831 + day for day in range(48)]), "yield")
    assert not roles.times
    assert "'sowing_date' holds numbers that are no years, dates or Unix times, such as 43831" in roles.unclear[0]
