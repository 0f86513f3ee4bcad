# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Models of whole series read tables with one row per time step, or value, as those with one row per series."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from timesclip_hf import TimesCLIPForRegression, TimesCLIPProcessor, write_report
from timesclip_hf.inference.answers import Answerer
from timesclip_hf.inference.explanations import explain
from timesclip_hf.inference.report import Source
from timesclip_hf.inference.report_answers import ask as ask_report
from timesclip_hf.inference.task_pipelines import PIPELINES

COUNT, STEPS, NAMES = 16, 12, ["ndvi", "red", "nir"]
SERIES = np.random.default_rng(0).normal(size=(COUNT, STEPS, 3))
YIELDS = np.arange(COUNT) * 1.5
ROLES = {"series_column": "field", "timestamp_column": "step"}


IDENTITY = ["field", "yield", "site", "variety"]


def wide() -> pd.DataFrame:
    steps = {f"{n}_{t:02d}": SERIES[:, t, v] for v, n in enumerate(NAMES) for t in range(STEPS)}
    varieties = pd.array([1, 2, 3, None] * 4, "Int64")
    own = {"field": [f"f{k}" for k in range(COUNT)], "site": [f"s{k % 4}" for k in range(COUNT)]}
    return pd.DataFrame(steps | own | {"yield": YIELDS, "variety": varieties})


def by_step() -> pd.DataFrame:
    """The same with a row for each field and step."""
    cells = {name: SERIES[..., v].ravel() for v, name in enumerate(NAMES)}
    own = wide()[IDENTITY].loc[np.repeat(np.arange(COUNT), STEPS)].reset_index(drop=True)
    return own.assign(step=np.tile(np.arange(STEPS), COUNT), **cells)


def by_value() -> pd.DataFrame:
    return by_step().melt([*IDENTITY, "step"], NAMES, "band", "value")


TABLES = {"step": (by_step, ROLES), "value": (by_value, ROLES | {"variate_column": "band", "value_column": "value"})}


def fitted(tiny_config: Any, target: str = "yield", **fields: Any) -> tuple[Any, TimesCLIPProcessor]:
    config = tiny_config("text_only", **fields)
    names = [target] if config.num_targets == 1 else [target, target.replace("lower", "upper")]
    labels = np.stack([YIELDS] * len(names), axis=1)
    processor = TimesCLIPProcessor.from_config(config, variate_names=NAMES, target_names=names)
    processor.fit(SERIES, labels=labels)
    processor.first_step, processor.last_step = 0, STEPS - 1
    processor.padding_side = processor.truncation_side = "right"
    torch.manual_seed(0)
    return TimesCLIPForRegression(processor.complete_config(config)).eval(), processor


@pytest.mark.parametrize("kind", list(TABLES))
def test_labels_groups_and_names_are_those_of_the_series(tiny_config: Any, kind: str) -> None:
    model, processor = fitted(tiny_config)
    table, roles = TABLES[kind]
    read = Answerer(model, processor).read(table(), None, "site", **roles)
    np.testing.assert_array_equal(read.labels[:, 0], YIELDS)  # type: ignore[index]
    assert read.groups.tolist() == wide()["site"].tolist()  # type: ignore[union-attr]
    assert read.names == wide()["field"].tolist() and {"field", "site"} <= set(read.identity)
    np.testing.assert_array_equal(read.values, SERIES)


def test_what_changes_within_a_series_is_no_label(tiny_config: Any) -> None:
    model, processor = fitted(tiny_config)
    with pytest.warns(UserWarning, match="columns that change within a series are not used: 'yield'"):
        read = Answerer(model, processor).read(by_step().assign(**{"yield": range(COUNT * STEPS)}), **ROLES)
    assert read.labels is None


@pytest.mark.parametrize("kind", list(TABLES))
def test_explanations_and_reports_say_the_same(tiny_config: Any, tmp_path: Path, kind: str) -> None:
    model, processor = fitted(tiny_config)
    table, roles = TABLES[kind]
    how: dict[str, Any] = {"methods": ["removal"], "labels": "yield", "groups": "site", "spans": 2, "repeats": 1}
    found = [explain(model, processor, given, **how, **read) for given, read in ((wide(), {}), (table(), roles))]
    pd.testing.assert_frame_equal(found[0].importance, found[1].importance)
    assert found[1].samples["sample"].tolist() == wide()["field"].tolist()
    model.save_pretrained(tmp_path), processor.save_pretrained(tmp_path)
    pages = [
        write_report(tmp_path, given, tmp_path / "page.html", explained=3, **read).read_text()
        for given, read in ((wide(), {}), (table(), roles))
    ]
    told = [re.findall(r"Typical error[^<]*|<td>s\d</td>[^/]*/td>[^/]*", page) for page in pages]
    assert told[0] == told[1] and len(told[0]) > 4


@pytest.mark.parametrize("kind", list(TABLES))
def test_a_step_without_a_row_is_missing(tiny_config: Any, kind: str) -> None:
    model, processor = fitted(tiny_config)
    ask = PIPELINES["time-series-regression"](model, processor)
    cut, (table, roles) = wide(), TABLES[kind]
    for name in NAMES:
        cut.loc[3, [f"{name}_04", f"{name}_11"]] = np.nan
    frame = table()
    frame = frame[~((frame["field"] == "f3") & frame["step"].isin([4, 11]))]
    answers = ask(frame.drop(columns=["yield", "site", "variety"]), **roles)
    np.testing.assert_array_equal(answers["predicted_yield"], ask(cut)["predicted_yield"])


@pytest.mark.parametrize("targets", [1, 2])
def test_ends_of_intervals_are_found_whatever_targets_are_called(
    tiny_config: Any, tmp_path: Path, targets: int
) -> None:
    model, processor = fitted(tiny_config, "t_lower_90", num_targets=targets, loss="gaussian")
    said = PIPELINES["time-series-regression"](model, processor)(wide(), interval=0.9)
    found = ask_report(Source(str(tmp_path), "", Answerer(model, processor), {}, wide(), "a table"))
    for name, one in zip(processor.target_names or [], found, strict=True):
        for end, ends in zip(("lower", "upper"), one.ends, strict=True):
            np.testing.assert_array_equal(ends, said[f"{name}_{end}_90"])
