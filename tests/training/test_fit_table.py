# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A table is read and split before anything is learnt; what flatters a model is told."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from timesclip_hf.cli.train import describe
from timesclip_hf.training.fit_table import TableJob, as_part, prepare


def fields(count: int = 40, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    steps = {f"{name}_{step:02d}": rng.normal(size=count) for name in ("ndvi", "red") for step in range(3)}
    return pd.DataFrame({**steps, "yield": rng.normal(size=count), **columns})


def test_copies_of_a_series_are_kept_on_one_side_or_told() -> None:
    twice = pd.concat([fields(), fields()], ignore_index=True)
    prepared = prepare(TableJob(twice, "yield"))
    keys = {part: {tuple(np.ravel(s)) for s in rows["past_values"]} for part, rows in prepared.parts.items()}
    assert prepared.plan.kind == "random" and prepared.warnings == []
    assert not (keys["test"] & (keys["train"] | keys["validation"]))
    folds = as_part(prepared, "train").folds
    assert folds is not None and len(np.unique(folds)) == len(folds) / 2
    assert as_part(prepare(TableJob(fields(), "yield")), "train").folds is None
    prepared = prepare(TableJob(twice.assign(year=np.arange(80) // 10 + 2010), "yield"))
    of_test, rows = len(prepared.rows["test"]), "series of the test part are in the train part, too"
    assert [told[: told.index(",")] for told in prepared.warnings if "test" in told] == [
        f"{of_test} of {of_test} {rows.split(',')[0]}"
    ]


@pytest.mark.parametrize(("copied", "told"), [([30, 31], "validation"), ([0, 30], "train and validation")])
def test_copies_that_chose_the_model_are_told_as_those_that_it_learnt_from(copied: list[int], told: str) -> None:
    twice = pd.concat([fields(), fields().iloc[copied]], ignore_index=True)
    parts = np.repeat(["train", "validation", "test"], [30, 10, 2])
    prepared = prepare(TableJob(twice.assign(part=parts), "yield"))
    assert [warning.split(", too")[0] for warning in prepared.warnings] == [
        f"2 of 2 series of the test part are in the {told} part"
    ]


@pytest.mark.parametrize(
    ("years", "told"),
    [
        ([2015.0, None, *range(2016, 2024)] * 4, "warning: column 'year' has blank cells"),
        (["01/02/2019", "03/04/2020"] * 20, "(day and month may be either); rows are not split by it"),
    ],
)
def test_a_time_that_cannot_be_ordered_is_told_beside_the_split_that_is_taken(years: Any, told: str) -> None:
    lines = describe(prepare(TableJob(fields(year=years), "yield")))
    assert any(told in line for line in lines) and any("took --split random" in line for line in lines)
    asked = describe(prepare(TableJob(fields(year=years), "yield", split="random")))
    assert not any("warning" in line for line in asked)


def test_one_row_per_value_or_time_step_gives_the_same_parts_as_one_per_series() -> None:
    wide = fields(year=np.arange(40) // 8 + 2015).assign(field=[f"f{k}" for k in range(40)])
    series = [name for name in wide if name[-3] == "_"]
    values = wide.melt(["field", "year", "yield"], series)
    values[["band", "step"]] = values.pop("variable").str.split("_", expand=True)
    values["step"] = values["step"].astype(int)
    steps = values.pivot_table(
        index=["field", "year", "yield", "step"], columns="band", values="value", sort=False
    ).reset_index()
    roles = {"series_column": "field", "timestamp_column": "step"}
    named = {**roles, "variate_column": "band", "value_column": "value"}
    expected = prepare(TableJob(wide, "yield"))
    numbered = steps.sample(frac=1, random_state=1).reset_index(drop=True).rename_axis("Unnamed: 0").reset_index()
    for table, long in ((values, named), (steps, roles), (numbered, roles)):
        prepared = prepare(TableJob(table.sample(frac=1, random_state=0), "yield", long=long))
        assert prepared.plan == expected.plan and sorted(prepared.roles.variates) == ["ndvi", "red"]
        order = [prepared.roles.variates.index(name) for name in ("ndvi", "red")]
        found = {
            field: (np.asarray(row["past_values"])[:, order], row["labels"])
            for field, row in zip(prepared.frame["field"][prepared.rows["test"]], prepared.parts["test"], strict=True)
        }
        for field, row in zip(expected.frame["field"][expected.rows["test"]], expected.parts["test"], strict=True):
            np.testing.assert_array_equal(found[field][0], row["past_values"])
            assert found[field][1] == row["labels"]


def test_marks_of_missing_values_are_none_for_model_and_peers_and_no_target() -> None:
    table = fields()
    table.loc[3, "yield"] = table.loc[5, "ndvi_01"] = -9999
    table["red_02"] = table["red_02"].astype(str).where(table.index != 7, "-9999.0")  # as a table of text has it
    prepared = prepare(TableJob(table, "yield", missing_values=[-9999.0]))
    assert prepared.left_out == ["1 rows without yield are left out"]
    values = np.concatenate([as_part(prepared, part).past_values for part in prepared.parts])
    assert np.isnan(values).sum() == 2 and np.nanmin(values) > -10


def test_rows_of_a_file_are_named_as_a_spreadsheet_shows_them(tmp_path: Any) -> None:
    fields().astype(object).assign(ndvi_01=["cloud" if k == 7 else 0.5 for k in range(40)]).to_csv(
        tmp_path / "t.csv", index=False
    )
    with pytest.raises(ValueError, match=r"numbers 9, the header is row 1.*row 9: 'cloud'"):
        prepare(TableJob(tmp_path / "t.csv", "yield"))


def test_a_target_among_the_steps_of_a_variate_is_named() -> None:
    with pytest.raises(ValueError, match="--target ndvi_01: this is a step of the variate 'ndvi'"):
        prepare(TableJob(fields(), "ndvi_01"))
    with pytest.raises(ValueError, match="--static red_01: this is a step of the variate 'red'"):
        prepare(TableJob(fields(), "yield", statics=["red_01"]))
    table = fields().rename(columns={"yield": "yield_2024"})
    assert prepare(TableJob(table, "yield_2024")).roles.variates == ["ndvi", "red"]


def test_too_few_series_to_learn_from_are_counted() -> None:
    with pytest.raises(ValueError, match="the train part has 1 of 3 series, 3 are needed"):
        prepare(TableJob(fields(3), "yield"))


@pytest.mark.parametrize("kind", ["number", "period"])
def test_a_time_that_is_read_beside_the_series_splits_them_all_the_same(kind: str) -> None:
    years = np.arange(40) // 8 + 2015
    table = fields(year=years if kind == "number" else pd.PeriodIndex(years.astype(str), freq="Y"))
    statics = ["year"] if kind == "number" else []
    prepared = prepare(TableJob(table.assign(farm=list("abcd") * 10), "yield", statics=statics))
    assert (prepared.plan.kind, prepared.plan.column) == ("time", "year")
    assert set(years[prepared.rows["test"]]) == {2019} and 2019 not in years[prepared.rows["train"]]


def test_a_target_in_one_row_of_a_series_is_learnt_and_series_without_are_counted() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"field": f"f{k}", "date": date, "ndvi": rng.normal(), "farm": f"farm {k % 5}", "yield": -9999.0}
        for k in range(25)
        for date in pd.date_range("2024-05-01", periods=4, freq="10D")
    ]
    table = pd.DataFrame(rows)
    last = table["date"] == table["date"].max()
    table.loc[last, "yield"] = [k + 0.5 for k in range(25)]
    table.loc[[3, 7], "yield"] = [-9999.0, np.nan]  # the last rows of f0 and f1
    long = {"series_column": "field", "timestamp_column": "date"}
    prepared = prepare(TableJob(table, "yield", long=long, missing_values=[-9999]))
    assert prepared.left_out == ["2 series without yield are left out"]
    assert dict(zip(prepared.frame["field"], prepared.frame["yield"], strict=True)) == {
        f"f{k}": k + 0.5 for k in range(2, 25)
    }
