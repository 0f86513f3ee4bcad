# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The ablation runner: what it runs, what it need not run again, and what its tables say."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import timesclip_hf  # noqa: E402
from examples.study import run_ablation, tasks, training  # noqa: E402
from timesclip_hf.plots import plot_ablation  # noqa: E402

GRIDS = sorted((ROOT / "examples" / "study" / "grids").glob("*.yaml"))
QUIET = ["--disable_tqdm", "true", "--report_to", "none"]
FORECASTING: dict[str, Any] = {
    "task": "forecasting", "context_length": 8, "prediction_length": 4, "patch_length": 4, "patch_stride": 2,
    "num_train_epochs": 1, "per_device_train_batch_size": 16, "seeds": [0, 1],
}  # fmt: skip
TWO_CELLS = {
    "small": {"preset": "text_only", "alignment_weight": 1.0},
    "large": {"preset": "text_only", "alignment_weight": 2.0},
}


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """90 steps of two variates of different spread."""
    path = tmp_path / "series.csv"
    steps = np.arange(90)
    pd.DataFrame({"a": np.sin(steps / 3), "b": 10 * np.cos(steps / 5)}).to_csv(path, index=False)
    return path


@pytest.fixture
def start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """`start(settings, table, *flags)`: one start of the runner; its exit code and what it printed."""

    def run(settings: dict[str, Any], table: Path, *flags: str) -> tuple[int, str]:
        grid = tmp_path / "grid.yaml"
        grid.write_text(yaml.safe_dump(settings, sort_keys=False))
        out = ["--table", str(table), "--output_dir", str(tmp_path / "out")]
        code = run_ablation.main([str(grid), *out, *QUIET, *flags])
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """In place of training: forecasts that are some standard deviations too high.

    It is (seed + 1) * alignment_weight of them for the test part, twice as many for validation. Gives the list of what
    was "trained". A learning rate of exactly 0.5 is an impossible cell.
    """
    calls: list[tuple[float, int]] = []

    def train(variant: Any, splits: Any, arguments: Any, seed: int, folder: Path, standardise: bool) -> Any:
        size = variant.config["alignment_weight"]
        if variant.training.get("learning_rate") == 0.5:
            raise ValueError("these two do not go together")
        calls.append((size, seed))
        folder.mkdir(parents=True)

        def forecasts(windows: Any, errors: float) -> np.ndarray:
            labels = np.stack([windows[i]["labels"] for i in range(len(windows))])
            return labels + errors * splits.std[0]

        return SimpleNamespace(
            predictions=forecasts(splits.test, (seed + 1) * size),
            validation_predictions=forecasts(splits.validation, 2 * (seed + 1) * size),
            trainer=SimpleNamespace(model=SimpleNamespace(num_parameters=lambda only_trainable=False: 1234)),
            hyperparameters={},
            seconds=3.0,
        )

    monkeypatch.setattr(tasks, "train_forecast", train)
    return calls


def cell_files(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in (tmp_path / "out" / "cells").iterdir()}


# --- what is run ------------------------------------------------------------------------------------------------


def test_first_line_says_what_there_is_and_a_second_start_trains_nothing(
    start: Any, trained: list, series: Path, tmp_path: Path
) -> None:
    settings = {**FORECASTING, "cells": TWO_CELLS}
    code, said = start(settings, series)
    assert code == 0
    assert said.splitlines()[0] == f"2 cells x 2 seeds, 0 of 4 runs done; results go to {tmp_path / 'out'}"
    assert trained == [(1.0, 0), (2.0, 0), (1.0, 1), (2.0, 1)]  # the whole table with one seed first
    table = (tmp_path / "out" / "table.md").read_text()

    trained.clear()
    code, said = start(settings, series)
    assert code == 0 and not trained and "4 of 4 runs done" in said.splitlines()[0]
    assert (tmp_path / "out" / "table.md").read_text() == table


def test_only_a_missing_result_is_run_again(start: Any, trained: list, series: Path, tmp_path: Path) -> None:
    settings = {**FORECASTING, "cells": TWO_CELLS}
    start(settings, series)
    trained.clear()
    next((tmp_path / "out" / "cells").glob("large-seed1-*")).unlink()
    start(settings, series)
    assert trained == [(2.0, 1)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_train_epochs": 2}, [(1.0, 0), (2.0, 0)]),
        ({"stride": 2}, [(1.0, 0), (2.0, 0)]),
        ({"towers": "clip-b16"}, [(1.0, 0), (2.0, 0)]),
        ({"cells": {**TWO_CELLS, "large": {"preset": "text_only", "alignment_weight": 3.0}}}, [(3.0, 0)]),
        ({"cells": {**TWO_CELLS, "large": {**TWO_CELLS["large"], "learning_rate": 0.1}}}, [(2.0, 0)]),
        ({"base": {"freeze_text": True}}, [(1.0, 0), (2.0, 0)]),
        ({"seeds": [0, 5]}, [(1.0, 5), (2.0, 5)]),
        ({"logging_steps": 7}, []),  # says more meanwhile, decides nothing
        ({"cells": dict(reversed(TWO_CELLS.items()))}, []),
    ],
)
def test_what_decides_a_result_runs_it_again_and_nothing_else_does(
    start: Any, trained: list, series: Path, change: dict[str, Any], expected: list
) -> None:
    settings = {**FORECASTING, "seeds": [0], "cells": TWO_CELLS}
    start(settings, series)
    trained.clear()
    start({**settings, **change}, series)
    assert trained == expected


def test_another_content_of_the_table_runs_all_again_and_another_place_none(
    start: Any, trained: list, series: Path, tmp_path: Path
) -> None:
    settings = {**FORECASTING, "cells": TWO_CELLS}
    start(settings, series)
    trained.clear()
    moved = series.rename(tmp_path / "moved.csv")
    start(settings, moved)
    assert not trained
    moved.write_text(moved.read_text().replace("10.0", "10.1", 1))
    start(settings, moved)
    assert len(trained) == 4


def test_another_version_of_the_package_runs_all_again(
    start: Any, trained: list, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**FORECASTING, "cells": TWO_CELLS}
    start(settings, series)
    trained.clear()
    monkeypatch.setattr(timesclip_hf, "__version__", "99.0")
    start(settings, series)
    assert len(trained) == 4


def test_a_killed_run_has_what_it_measured_and_goes_on_from_there(
    start: Any, trained: list, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**FORECASTING, "cells": TWO_CELLS}
    train = tasks.train_forecast

    def killed(*arguments: Any) -> Any:
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(tasks, "train_forecast", killed)
    with pytest.raises(KeyboardInterrupt):
        start(settings, series)
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(zip(results["cell"], results["seed"], strict=True)) == {("small", 0), ("large", 0), ("small", 1)}
    assert "| large | 1 of 2 |" in (tmp_path / "out" / "table.md").read_text()

    monkeypatch.setattr(tasks, "train_forecast", train)
    trained.clear()
    assert start(settings, series)[0] == 0
    assert trained == [(2.0, 1)]


def test_an_impossible_cell_is_reported_the_others_finish_and_it_is_tried_again(
    start: Any, trained: list, series: Path, tmp_path: Path
) -> None:
    impossible = {**TWO_CELLS["small"], "learning_rate": 0.5}
    settings = {**FORECASTING, "cells": {"impossible": impossible, **TWO_CELLS}}
    code, said = start(settings, series)
    assert code == 1 and len(trained) == 4
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| impossible | 0 of 2, 2 failed | - | - | - | - | - | - |" in table
    assert "- impossible, seed 1: ValueError: these two do not go together" in table
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    failed = results[results["cell"] == "impossible"]
    assert failed["seed"].tolist() == [0, 1] and failed["metric"].isna().all()
    assert failed["error"].unique().tolist() == ["ValueError: these two do not go together"]

    code, said = start(settings, series)
    assert code == 1 and said.splitlines()[0].startswith("3 cells x 2 seeds, 4 of 6 runs done")
    assert said.count("do not go together") == 4 and len(trained) == 4  # tried, and listed


# --- what is said -----------------------------------------------------------------------------------------------


def test_tables_hold_what_the_cell_files_hold(start: Any, trained: list, series: Path, tmp_path: Path) -> None:
    start({**FORECASTING, "cells": TWO_CELLS}, series)
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    measured = {
        (run["cell"], run["seed"], part, metric): value
        for run in cell_files(tmp_path).values()
        for part, figures in run["metrics"].items()
        for metric, value in figures.items()
    }
    index = ["cell", "seed", "part", "metric"]
    assert results.set_index(index)["value"].to_dict() == pytest.approx(measured)
    assert len(results) == len(measured) == 2 * 2 * 2 * 2
    assert set(results["alignment_weight"][results["cell"] == "large"]) == {2.0}
    assert set(results["trained_parameters"]) == {1234} and set(results["seconds"]) == {3.0}


def test_means_and_spreads_are_those_worked_out_by_hand(
    start: Any, trained: list, series: Path, tmp_path: Path
) -> None:
    start({**FORECASTING, "cells": TWO_CELLS}, series)
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    # Test errors of 1 and 2 standard deviations with the two seeds, twice that on validation, doubled for "large".
    # MSE 1 and 4: mean 2.5, standard deviation 3 / sqrt(2); MAE 1 and 2: mean 1.5, standard deviation 1 / sqrt(2).
    assert lines[0].split(" | ")[2:6] == ["MSE, validation", "MSE, test", "MAE, validation", "MAE, test"]
    assert lines[2] == "| small | 2 | 10.000 ± 8.485 | 2.500 ± 2.121 | 3.000 ± 1.414 | 1.500 ± 0.707 | 1,234 | 3 |"
    assert lines[3] == "| large | 2 | 40.000 ± 33.941 | 10.000 ± 8.485 | 6.000 ± 2.828 | 3.000 ± 1.414 | 1,234 | 3 |"
    assert (tmp_path / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_m4_measures_of_the_validation_part_know_nothing_later(start: Any, trained: list, tmp_path: Path) -> None:
    values = np.concatenate([np.arange(30.0) * np.array([1.0, -1.0] * 15), [50.0, 60, 70, 80], [900.0, 100, 900, 100]])
    path = tmp_path / "rows.csv"
    pd.DataFrame([["w1", *values]], columns=["id", *map(str, range(len(values)))]).to_csv(path, index=False)
    settings = {**FORECASTING, "layout": "rows", "measures": "m4", "train": -1, "validation": 4, "test": 4}
    start({**settings, "seeds": [0], "cells": {"small": TWO_CELLS["small"]}}, path)
    (run,) = cell_files(tmp_path).values()
    # Forecasts are 1 (test) or 2 (validation) standard deviations of the first 30 steps off.
    std = values[:30].std()
    assert run["metrics"]["test"]["mase"] == pytest.approx(std / np.abs(np.diff(values[:34])).mean(), rel=1e-5)
    assert run["metrics"]["validation"]["mase"] == pytest.approx(
        2 * std / np.abs(np.diff(values[:30])).mean(), rel=1e-5
    )


def test_the_figure_has_a_row_for_each_cell_in_order_with_each_seed_and_the_mean() -> None:
    axes = plot_ablation({"b": [1.0, 3.0], "a": [5.0], "none": []}, "MSE (standardised)").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a", "none (no result)"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # from top to bottom
    points = [np.asarray(dots.get_offsets()).tolist() for dots in axes.collections]
    assert points[:2] == [[[1.0, 0.0], [3.0, 0.0]], [[2.0, 0.0]]]
    assert points[2:4] == [[[5.0, 1.0]], [[5.0, 1.0]]]
    assert axes.get_xlabel() == "MSE (standardised)"


# --- grids ------------------------------------------------------------------------------------------------------


def grid_of(tmp_path: Path, settings: dict[str, Any], *flags: str) -> run_ablation.Grid:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({"table": "t.csv", **settings}, sort_keys=False))
    return run_ablation.parse_grid([str(path), *flags])


def test_axes_give_their_full_product_over_the_base(tmp_path: Path) -> None:
    t5 = {"model_type": "t5", "d_model": 32}
    axes = {"alignment_weight": [0.1, 1.0], "text_config": {"T5": t5, "as it is": None}, "preset": ["paper"]}
    settings = {**FORECASTING, "base": {"preset": "full", "fusion": "concat"}, "axes": axes, "cells": {"ours": {}}}
    cells = grid_of(tmp_path, settings).cells
    assert [cell.name for cell in cells] == [
        "ours",
        "alignment_weight=0.1, T5, preset=paper",
        "alignment_weight=0.1, as it is, preset=paper",
        "alignment_weight=1.0, T5, preset=paper",
        "alignment_weight=1.0, as it is, preset=paper",
    ]
    assert cells[0].fields == {"preset": "full", "fusion": "concat"}
    assert cells[3].fields == {"preset": "paper", "fusion": "concat", "alignment_weight": 1.0, "text_config": t5}
    assert cells[3].shown["text_config"] == "T5"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": "guessing"}, "guessing"),
        ({"cells": {"a": {"preset": "full", "aligment": None}}}, "aligment"),
        ({"cells": {"a": {"preset": "fulll"}}}, "preset"),
        ({"cells": {"a": {}}}, "preset"),
        ({"cells": {"a": {"preset": "full", "seed": 3}}}, "seed"),
        ({"cells": None}, "no cell"),
        ({"axes": {"preset": "full"}}, "preset"),
        ({"peers": ["DLinear"]}, "peers"),
        ({"contextlength": 8}, "contextlength"),
        ({"seeds": [1, 1]}, "seeds"),
    ],
)
def test_faults_of_a_grid_are_named_before_anything_runs(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        grid_of(tmp_path, {**FORECASTING, "cells": TWO_CELLS, **change})


def test_flags_win_over_the_grid(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, {**FORECASTING, "cells": TWO_CELLS}, "--seeds", "7", "--num_train_epochs", "3")
    assert grid.arguments.seeds == [7] and grid.training.num_train_epochs == 3


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_cell_of_a_shipped_grid_is_a_model(path: Path) -> None:
    grid = run_ablation.parse_grid([str(path), "--output_dir", "out"])
    regression = grid.task is tasks.Regression
    model_class = timesclip_hf.TimesCLIPForRegression if regression else timesclip_hf.TimesCLIPForPrediction
    variates = 1 if path.stem.startswith("m4") else 7
    shape = {"num_variates": variates, "variate_mean": [0.0] * variates, "variate_std": [1.0] * variates}
    shape["context_length"] = 36 if regression else grid.arguments.context_length
    shape |= {} if regression else {"prediction_length": grid.arguments.prediction_length}
    sizes = set()
    for variant in grid.variants.values():
        config = training._config(model_class, variant, {**shape, **variant.config})
        timesclip_hf.TimesCLIPProcessor.from_config(config, **variant.processor)
        with torch.device("meta"):
            model = model_class(config)
        sizes.add((json.dumps(variant.processor), str(config), model.num_parameters(only_trainable=True)))
    assert len(sizes) == len(grid.cells) > 1  # no two cells are the same
    assert "random weights" in path.read_text().split("task:")[0]


# --- one real run of each task ----------------------------------------------------------------------------------


def test_series_standardised_for_training_are_measured_in_their_units(
    start: Any, series: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(series)
    (1000 + 100 * frame).to_csv(series, index=False)
    settings = {**FORECASTING, "seeds": [0], "cells": {"text": {"preset": "text_only"}}}
    start({**settings, "standardise": True}, series)
    (run,) = cell_files(tmp_path).values()
    # Far below the 1000 / 100 / 0.7 squared standard deviations that lie between raw and standardised units.
    assert all(run["metrics"][part]["mse"] < 10 for part in ("validation", "test"))


def test_forecasting_with_an_impossible_combination_of_a_product(start: Any, series: Path, tmp_path: Path) -> None:
    settings = {**FORECASTING, "seeds": [0], "axes": {"preset": ["text_only"], "alignment": [None, "global"]}}
    code, _ = start(settings, series, "--published_batch", "8")
    assert code == 1
    runs = {run["cell"]: run for run in cell_files(tmp_path).values()}
    good, bad = runs["preset=text_only, alignment=none"], runs["preset=text_only, alignment=global"]
    assert "alignment compares two branches" in bad["error"]
    assert good["metrics"]["test"].keys() == {"mse", "mae", "mse_full_batches"}
    assert good["metrics"]["validation"].keys() == {"mse", "mae"}
    assert all(np.isfinite(v) for figures in good["metrics"].values() for v in figures.values())
    assert 0 < good["trained_parameters"] <= good["parameters"]
    assert not list((tmp_path / "out" / "models").iterdir())  # weights are not kept


def wide_table(path: Path, label: Any) -> Path:
    """24 fields of two variates at eight steps; `label(greenness, row)` is the column to learn."""
    rng = np.random.default_rng(0)
    rows = []
    for row in range(24):
        green = rng.uniform(0.2, 0.9)
        steps = {f"{name}_{step:02d}": sign * green + 0.01 * step for step in range(8) for name, sign in SIGNS}
        rows.append({"split": SPLIT[row % 4], "label": label(green, row), **steps})
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


SIGNS = [("ndvi", 1), ("red", -1)]
SPLIT = ["train", "train", "validation", "test"]
WIDE: dict[str, Any] = {
    "target": "label", "patch_length": 4, "patch_stride": 2, "num_train_epochs": 1, "seeds": [0],
    "cells": {"text": {"preset": "small"}},
}  # fmt: skip


def test_regression_keeps_the_model_when_asked(start: Any, tmp_path: Path) -> None:
    table = wide_table(tmp_path / "fields.csv", lambda green, row: 10 * green)
    code, _ = start({"task": "regression", "target_unit": "t/ha", **WIDE}, table, "--keep_models", "true")
    (run,) = cell_files(tmp_path).values()
    assert code == 0 and run["metrics"]["test"].keys() == run["metrics"]["validation"].keys() == {"r2", "rmse", "mae"}
    (folder,) = (tmp_path / "out" / "models").iterdir()
    assert isinstance(timesclip_hf.TimesCLIPForRegression.from_pretrained(folder), timesclip_hf.TimesCLIPForRegression)


@pytest.mark.parametrize("classes", [["wheat", "maize", "rye"], [10, 9, 2]], ids=["names", "numbers"])
def test_classification_numbers_the_sorted_training_classes(start: Any, tmp_path: Path, classes: list) -> None:
    table = wide_table(tmp_path / "fields.csv", lambda green, row: classes[row // 4 % 3])
    code, _ = start({"task": "classification", **WIDE}, table, "--keep_models", "true")
    assert code == 0
    (run,) = cell_files(tmp_path).values()
    assert run["metrics"]["test"].keys() == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss"}
    assert run["metrics"]["test"]["log_loss"] == pytest.approx(np.log(3), abs=1.0)
    (folder,) = (tmp_path / "out" / "models").iterdir()
    config = timesclip_hf.TimesCLIPConfig.from_pretrained(folder)
    assert config.id2label == {number: str(name) for number, name in enumerate(sorted(classes))}
    assert config.num_labels == 3 and config.target_mean is None


def test_a_class_that_training_never_sees_is_named(start: Any, tmp_path: Path) -> None:
    table = wide_table(tmp_path / "fields.csv", lambda green, row: "rye" if row == 3 else ["oats", "maize"][row % 2])
    with pytest.raises(ValueError, match=r"\['rye'\] of the test part"):
        start({"task": "classification", **WIDE}, table)
