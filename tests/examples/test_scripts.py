# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The scripts that people copy: short, and each does what it says."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import CLIPConfig, CLIPModel

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(file for file in (ROOT / "examples").glob("*.py") if file.name != "__init__.py")


def run(script: str, folder: Path, *options: str) -> str:
    """What the script prints, started in an empty folder."""
    command = [sys.executable, str(ROOT / "examples" / script), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def few_fields(tmp_path: Path) -> str:
    """Sixteen rows of each part of the crop-yield table."""
    table = pd.read_parquet(ROOT / "examples" / "crop_yield" / "crop_yield.parquet")
    table.groupby("split").head(16).to_parquet(tmp_path / "few.parquet")
    return str(tmp_path / "few.parquet")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_short_and_flat(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert len(lines) <= 40
    assert not any(line.startswith(("def ", "class ")) for line in lines)


def test_regression_learns_measures_saves_and_predicts(few_fields: str, tmp_path: Path) -> None:
    printed = run("train_regression.py", tmp_path, "--table", few_fields, "--epochs", "1")
    assert "test_rmse" in printed and "predicted_yield" in printed
    assert (tmp_path / "runs" / "regression" / "best" / "README.md").is_file()


def test_forecaster_continues_the_table(tmp_path: Path) -> None:
    hours = pd.date_range("2024-01-01", periods=24 * 21, freq="h")
    table = pd.DataFrame({"hour": hours, "trend": np.arange(len(hours)), "wave": np.arange(len(hours)) % 24})
    table.to_csv(tmp_path / "sensors.csv", index=False)
    printed = run("train_forecaster.py", tmp_path, "--table", "sensors.csv", "--time", "hour", "--epochs", "1")
    assert "test_mse" in printed and "2024-01-22 23:00:00" in printed  # the last hour of the day after
    assert (tmp_path / "runs" / "forecaster" / "best" / "README.md").is_file()


def test_clip_is_fine_tuned_by_adapters(few_fields: str, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision, text = {**size, "patch_size": 112}, {**size, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text)).save_pretrained(tmp_path / "clip")
    printed = run("finetune_clip_lora.py", tmp_path, "--table", few_fields, "--clip", "clip", "--epochs", "1")
    assert "trainable params" in printed and "predicted_yield" in printed
    adapter = tmp_path / "runs" / "lora" / "adapter"
    assert (adapter / "adapter_model.safetensors").is_file() and not (adapter / "model.safetensors").exists()


def test_a_model_is_looked_into(few_fields: str, tmp_path: Path) -> None:
    printed = run("look_inside.py", tmp_path, "--table", few_fields)
    assert "torch.Size([2, 7, 64])" in printed and (tmp_path / "seen.png").is_file()


def test_towers_are_pretrained_on_series_that_nobody_measured(tmp_path: Path) -> None:
    few = "--steps 2 --batch_size 16 --num_series 32 --num_workers 1 --device cpu --log_steps 1 --output_dir out"
    printed = run("pretrain.py", tmp_path, *few.split())
    assert "2: loss" in printed and (tmp_path / "out" / "model.safetensors").is_file()
