# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The study's scripts as a user runs them: on a table of their own, in new processes."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard

from timesclip_hf import SeriesCollection, split_windows

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from examples.study import planted, run_forecasting  # noqa: E402
from examples.study.regression_peers import Part, climatology, climatology_levels  # noqa: E402
from examples.study.run_backtest import BacktestArguments, long_frame, steps_of  # noqa: E402

STEPS = 8


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six years of five fields; the yield follows the greenness, so that there is something to learn."""
    rng = np.random.default_rng(0)
    rows = []
    for year in range(2015, 2021):
        for field in range(5):
            greenness = rng.uniform(0.2, 0.9)
            curve = greenness * np.sin(np.linspace(0, np.pi, STEPS)) + rng.normal(0, 0.02, STEPS)
            row = {"field": f"f{field}", "year": year, "soil": ["clay", "sand"][field % 2], "yield": 10 * greenness}
            row |= {f"ndvi_{step:02d}": value for step, value in enumerate(curve)}
            row |= {f"red_{step:02d}": 1 - value for step, value in enumerate(curve)}
            rows.append(row)
    path = tmp_path / "fields.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return run_module(f"examples.study.{script}", *arguments)


def predict(*arguments: str) -> subprocess.CompletedProcess:
    return run_module("timesclip_hf", "predict", *arguments)


def run_module(module: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def flags(table: Path, out: Path) -> list[str]:
    return (
        f"--table {table} --target yield --target_unit t/ha --static_columns soil --split chronological "
        f"--time_column year --patch_length 4 --patch_stride 2 --num_train_epochs 1 --disable_tqdm true --seeds 0 "
        f"--no_peers true --output_dir {out}"
    ).split()


def test_own_table_gives_table_metrics_pictures_card_and_a_checkpoint_that_predicts(
    table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finished = run("run_regression", *flags(table, out), "--presets", "small", "full")
    assert finished.returncode == 0, finished.stderr[-2000:]
    for name in ("table.md", "small_predictions.png", "full_view.png", "full_attention.png"):
        assert (out / name).stat().st_size > 0

    results = {r["model"]: r for r in json.loads((out / "metrics.json").read_text())["results"]}
    assert results.keys() == {"TimesCLIP small", "TimesCLIP full", "mean"}  # no columns to take climatology of
    assert "skill" not in results["mean"] and "no climatology" in finished.stdout
    card = ModelCard.load(out / "small" / "seed0" / "README.md")
    reported = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert reported["rmse"] == pytest.approx(results["TimesCLIP small"]["rmse"])

    predicted = predict(str(table), "--model", str(out / "small" / "seed0"), "--output", str(tmp_path / "p.csv"))
    assert predicted.returncode == 0, predicted.stderr[-2000:]
    predictions = pd.read_csv(tmp_path / "p.csv")
    test_rows = predictions[predictions["year"] >= 2019]["predicted_yield"]  # a fifth of six years, rounded up: two
    expected = results["TimesCLIP small"]["predictions"]
    np.testing.assert_allclose(test_rows, expected, atol=2e-4)


def test_climatology_is_the_train_mean_of_named_columns() -> None:
    groups = pd.DataFrame({"farm": list("aabbc"), "plot": [1, 2, 1, 2, 1]})
    train = Part(np.zeros((5, 2, 1)), pd.DataFrame(index=range(5)), np.array([1.0, 3.0, 10.0, 20.0, 7.0]), groups)
    asked = pd.DataFrame({"farm": ["a", "c", "d"], "plot": [2, 2, 1]})
    test = Part(np.zeros((3, 2, 1)), pd.DataFrame(index=range(3)), np.zeros(3), asked)
    levels = climatology_levels(groups, ["farm+plot", "farm"])
    assert climatology(train, train, test, 0, levels).tolist() == [3.0, 7.0, 8.2]
    assert climatology_levels(groups, None) == []  # nobody said what a climate is of
    assert climatology_levels(groups.assign(crop="x"), None) == [["crop"]]
    with pytest.raises(ValueError, match="'plots' .near: plot"):
        climatology_levels(groups, ["farm+plots"])


def test_beginners_errors_are_one_line_that_names_the_fault(table: Path, tmp_path: Path) -> None:
    wrong_target = flags(table, tmp_path / "out")
    wrong_target[wrong_target.index("yield")] = "yeild"
    finished = run("run_regression", *wrong_target)
    assert finished.returncode == 1
    assert finished.stderr.strip().splitlines()[-1].startswith("run_regression: ")
    assert "yeild" in finished.stderr and "yield" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_settings_file_with_an_unknown_name_is_refused(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("targett: yield\n")
    finished = run("run_regression", str(settings))
    assert finished.returncode == 1 and "targett" in finished.stderr


@pytest.fixture
def sensors(tmp_path: Path) -> Path:
    """Three weeks of hours of two sensors with a daily wave, in very different units."""
    hours = np.arange(24 * 21)
    noise = np.random.default_rng(0).normal(size=(len(hours), 2))
    table = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=len(hours), freq="h")})
    table["load_mw"] = 500 + 80 * np.sin(2 * np.pi * hours / 24) + 10 * noise[:, 0]
    table["temperature"] = 0.12 + 0.05 * np.sin(2 * np.pi * (hours - 3) / 24) + 0.01 * noise[:, 1]
    path = tmp_path / "sensors.csv"
    table.to_csv(path, index=False)
    return path


def test_own_series_give_a_table_pictures_and_a_forecaster_that_continues_them(sensors: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = (
        f"--table {sensors} --timestamp_column time --context_length 24 --prediction_length 6 --seasonality 24 "
        f"--num_train_epochs 2 --peer_epochs 2 --disable_tqdm true --output_dir {out}"
    ).split()
    peers = ["--peers", "repeat last", "seasonal naive", "RLinear"]
    finished = run("run_forecasting", *settings, *peers)
    assert finished.returncode == 0, finished.stderr[-2000:]
    results = {r["model"]: r for r in json.loads((out / "metrics.json").read_text())["results"]}
    assert list(results) == ["TimesCLIP forecast", "repeat last", "seasonal naive", "RLinear"]
    for name in ("table.md", "forecast_0.png"):
        assert (out / name).stat().st_size > 0

    values = pd.read_csv(sensors)[["load_mw", "temperature"]].to_numpy()
    num_train, num_test = int(0.7 * len(values)), int(0.2 * len(values))
    std = values[:num_train].std(axis=0)
    starts = range(len(values) - num_test, len(values) - 6 + 1)  # the first forecast starts at the border
    seasonal = [((values[start - 24 : start - 18] - values[start : start + 6]) / std) ** 2 for start in starts]
    assert results["seasonal naive"]["mse"] == pytest.approx(np.mean(seasonal), rel=1e-4)

    card = ModelCard.load(out / "forecast" / "seed0" / "README.md", ignore_metadata_errors=False)
    assert card.data.pipeline_tag == "time-series-forecasting" and "/out" not in card.text
    reported = {
        result.metric_type: result.metric_value for result in card.data.eval_results if result.dataset_split == "test"
    }
    assert reported["mse"] == pytest.approx(results["TimesCLIP forecast"]["mse"])

    saved = str(out / "forecast" / "seed0")
    options = ["--timestamp-column", "time", "--output", str(tmp_path / "f.csv")]
    continued = predict(str(sensors), "--model", saved, *options)
    assert continued.returncode == 0, continued.stderr[-2000:]
    forecast = pd.read_csv(tmp_path / "f.csv", parse_dates=["time"])
    assert forecast["time"].tolist() == list(pd.date_range("2024-01-22", periods=6, freq="h"))
    assert forecast["load_mw"].between(300, 700).all() and forecast["temperature"].between(-0.1, 0.4).all()

    for wrong, message in (("--train_fractions 5", "5 % is 0.05"), ("--timestamp_column tme", "tme")):
        failed = run("run_forecasting", *settings, *wrong.split())
        assert failed.returncode == 1 and message in failed.stderr and "Traceback" not in failed.stderr


@pytest.mark.parametrize("borders", [(None, 6, 6), (40, 6, 6), (0.7, 0.1, 0.1)])
def test_m4_measures_scale_by_all_that_comes_before_the_forecast(borders: tuple) -> None:
    values = [np.arange(steps, dtype=np.float32)[:, None] for steps in (60, 63)]  # that say where they are
    series = SeriesCollection(values, ["value"], ["a", "b"])
    train, validation, test = borders
    splits = split_windows(
        series, context_length=8, prediction_length=6, train=train, validation=validation, test=test
    )
    for scored in (splits, dataclasses.replace(splits, test=splits.validation)):
        for number in range(2):
            insample = run_forecasting.before_forecast(series, scored, number)
            assert insample[0] == 0 and insample[-1] + 1 == scored.test[number]["labels"][0, 0]


def test_a_backtest_reads_nothing_behind_the_parts_that_are_counted_in_steps(tmp_path: Path) -> None:
    pd.DataFrame({"time": pd.date_range("2024-01-01", periods=100, freq="h"), "load": np.arange(100.0)}).to_csv(
        tmp_path / "t.csv", index=False
    )
    shape: dict[str, Any] = {"table": str(tmp_path / "t.csv"), "timestamp_column": "time", "context_length": 12}
    counted = BacktestArguments(**shape, prediction_length=6, train=50, validation=20, test=20)
    frame, lengths = long_frame(counted)
    assert lengths == [90] and frame["load"].tolist() == list(range(90)) and steps_of(counted, 90) == (20, 20)
    shares = BacktestArguments(**shape, prediction_length=6, train=0.7, validation=0.1, test=0.2)
    assert long_frame(shares)[1] == [100] and steps_of(shares, 100) == (10, 20)


def test_a_covariate_that_moves_a_series_comes_first_by_both_methods() -> None:
    found = planted.measure("covariates", 0, 6)
    assert found["removal"] == found["gradients"] == 1.0 and found["missed"] < 0.01
