# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A table is read and split before anything is learnt; what flatters a model is told."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from timesclip_hf.cli.train import describe
from timesclip_hf.training.fit_table import TableJob, prepare


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
    prepared = prepare(TableJob(twice.assign(year=np.arange(80) // 10 + 2010), "yield"))
    of_test, rows = len(prepared.rows["test"]), "series of the test part are in the train part, too"
    assert [told[: told.index(",")] for told in prepared.warnings if "test" in told] == [
        f"{of_test} of {of_test} {rows.split(',')[0]}"
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
