# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`timesclip pretrain`: towers from one's own table, which the other commands find."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from timesclip_hf.cli import main


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"field": [f"f{k}" for k in range(24)], "year": [2000 + k // 4 for k in range(24)]})
    level = rng.normal(size=24)
    steps = {f"{b}_{s:02d}": level + rng.normal(0, 0.3, 24) for b in ("ndvi", "red") for s in range(9)}
    frame = pd.concat([frame, pd.DataFrame(steps)], axis=1).assign(**{"yield": level})
    frame.to_parquet(tmp_path / "mine.parquet")
    return tmp_path / "mine.parquet"


def run(*words: Any) -> int:
    return main([*map(str, words)])


def test_towers_of_ones_own_series_are_found_by_train_and_embed(table: Path, tmp_path: Path, capsys: Any) -> None:
    towers = tmp_path / "own towers"
    assert run("pretrain", table, "--output", towers, "--steps", 3, "--batch-size", 16) == 0
    out = capsys.readouterr().out
    assert "24 series of 2 variates, 9 to 9 steps" in out and "core-hours in all" in out and "minutes left" in out
    card = (towers / "README.md").read_text()
    assert "24 series of 2 variates" in card and "`timesclip-small`" in card and str(tmp_path) not in card
    words = (
        "--target",
        "yield",
        "--towers",
        towers,
        "--no-peers",
        "--preset",
        "probe",
        "--output",
        tmp_path / "model",
    )
    assert run("train", table, *words) == 0
    assert str(tmp_path) not in (tmp_path / "model" / "README.md").read_text()
    own, used = (load_file(folder / "model.safetensors") for folder in (towers, tmp_path / "model"))
    name = next(key for key in used if key.endswith("mlp.fc1.weight") and "text_tower" in key)
    np.testing.assert_array_equal(used[name].numpy(), own[name].float().numpy())
    assert run("embed", table, "--model", towers, "--output", tmp_path / "embeds.csv") == 0
    assert "embed_0000" in pd.read_csv(tmp_path / "embeds.csv").columns


def test_the_same_command_goes_on_and_other_series_are_refused(table: Path, tmp_path: Path, capsys: Any) -> None:
    words = ("--start", "random", "--batch-size", 16, "--steps", 2)
    assert run("pretrain", table, "--output", tmp_path / "a", *words) == 0
    assert run("pretrain", table, "--output", tmp_path / "b", *words) == 0
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert first == second
    assert run("pretrain", table, "--output", tmp_path / "a", *words) == 0
    assert "0 steps in" in capsys.readouterr().out
    pd.read_parquet(table).iloc[:20].to_parquet(table)
    assert run("pretrain", table, "--output", tmp_path / "a", *words) == 2
    assert "give the same arguments to go on, or another output folder" in capsys.readouterr().err
    lines = (tmp_path / "a" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_rows_of_which_some_variates_have_values_are_learnt_from(table: Path, tmp_path: Path, capsys: Any) -> None:
    frame = pd.read_parquet(table).astype({"ndvi_03": object})
    frame.loc[:9, [f"red_{step:02d}" for step in range(9)]] = np.nan
    frame.loc[0, [f"ndvi_{step:02d}" for step in range(9)]] = np.nan
    frame.loc[4, "ndvi_03"] = "wet"
    frame.to_csv(tmp_path / "mine.csv", index=False)
    words = ["--output", tmp_path / "towers/", "--steps", 1, "--device", "cpu", "--batch-size", 5]
    assert run("pretrain", tmp_path / "mine.csv", *words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 of 24 series are left out: row 2: no value at all, row 6: ") and "'wet'" in said[0]
    assert said[1].startswith("22 series of 2 variates, 9 to 9 steps; steps 0 to 1 of 1, 4 series in each, on cpu")
    words = ["--steps", 1, "--device", "cpu", "--batch-size", 4, "--output", tmp_path / "more", "--start"]
    assert run("pretrain", table, *words, tmp_path / "towers") == 0
    assert run("pretrain", table, *words, f"{tmp_path / 'towers'}/") == 0
    assert "0 steps in" in capsys.readouterr().out


def test_no_option_is_named_that_the_word_does_not_have(tmp_path: Path, capsys: Any) -> None:
    pd.DataFrame({"site": list("abc"), "load": [1.0, 2, 3]}).to_csv(tmp_path / "log.csv", index=False)
    words = [tmp_path / "log.csv", "--output", tmp_path / "towers"]
    assert run("pretrain", *words) == 2
    said = capsys.readouterr().err
    assert "leave all but the columns to read out of the table" in said and "--variates" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--start", "nowhere"], "--start nowhere: no such towers"),
        (["--batch-size", "1"], "--batch-size 1: crops of 4 series at least"),
        (["--learning-rate", "-1"], "'-1' is no number above 0"),
        (["--device", "abacus"], "--device abacus cannot be used here"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    words: list[str], message: str, table: Path, tmp_path: Path, capsys: Any
) -> None:
    try:
        code = run("pretrain", table, "--output", tmp_path / "towers", *words)
    except SystemExit as end:
        code = end.code
    err = capsys.readouterr().err
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1
