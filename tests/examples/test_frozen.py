# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The table of frozen towers: as a user runs it, on a few fields, without the test year."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import DatasetDict

from examples.study.frozen_table import readings_of
from examples.study.partial_seasons import r2
from examples.study.run_frozen import BANDS, build, closed_form
from timesclip_hf import TimesCLIPConfig, TimesCLIPForPreTraining, TimesCLIPForRegression, fit_head, load_wide_table
from timesclip_hf.metrics import regression_metrics

ROOT = Path(__file__).parents[2]


def test_pretrained_and_random_towers_stand_side_by_side(tmp_path: Path) -> None:
    table = pd.read_parquet(ROOT / "examples" / "crop_yield" / "crop_yield.parquet").groupby("split").head(60)
    table.loc[table["split"] == "test", "yield_t_ha"] = 1e6  # would show
    table.to_parquet(tmp_path / "few.parquet")
    torch.manual_seed(0)
    config = TimesCLIPConfig.from_preset("no_selection", towers="tiny", patch_tokenizer="resampled")
    TimesCLIPForPreTraining(config).save_pretrained(tmp_path / "own")
    command = [sys.executable, "-m", "examples.study.run_frozen", str(tmp_path / "own")]
    options = ["--table", str(tmp_path / "few.parquet"), "--labels", "30", "60", "--draws", "2", "--steps", "12"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and all("vision" in line and "weighed" in line for line in lines)
    assert [line.split(", ")[2] for line in lines[:4:2]] == ["pretrained", "random"]
    raw = {line.split("linear ")[1].split("  ")[0] for line in lines if "n = 30" in line}
    assert len(raw) == 1  # the series themselves are the same beside all towers


def test_readings_that_are_shared_by_all_n_give_what_fit_head_gives() -> None:
    table = pd.read_parquet(ROOT / "examples" / "crop_yield" / "crop_yield.parquet").groupby("split").head(40)
    options = {"static_columns": ["latitude", "crop"], "num_steps": 12, "drop_unobserved": True}
    whole = load_wide_table(table, target="yield_t_ha", variates=BANDS, **options)
    names = np.asarray(whole["split"])
    parts = DatasetDict({p: whole.select(np.flatnonzero(names == p)) for p in ("train", "validation", "test")})
    targets = {part: np.asarray(parts[part]["labels"], float).reshape(-1) for part in parts}
    rows = np.arange(0, 40, 2)
    readings, count = readings_of("timesclip-small", 12, parts)
    said = closed_form(readings, count, targets, rows)["test"]
    towers, processor = build("timesclip-small", None, 12, parts["train"])
    model = TimesCLIPForRegression(towers.config)
    model.timesclip.load_state_dict(towers.state_dict(), strict=False)
    fit_head(model, processor, parts["train"].select(rows), validation=parts["validation"])
    expected = regression_metrics(said, targets["test"])["r2"]
    assert abs(r2(model, processor, parts["test"]) - expected) < 0.005
