# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`timesclip train`: from a table to a folder with a model and what to think of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import BertConfig, BertModel

from timesclip_hf.cli import main
from timesclip_hf.cli import train as cli_train
from timesclip_hf.training import peers

BANDS, STEPS = ["ndvi", "red"], 8
FAST = ["--preset", "small", "--epochs", "1", "--no-peers"]


@pytest.fixture(autouse=True)
def no_rocket(monkeypatch: Any) -> None:
    """Its kernels take half a minute to compile."""
    monkeypatch.setattr(peers, "find_spec", lambda name: None)


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """4 farms in 6 years, 2 fields each; what they yield, what they grow."""
    rng = np.random.default_rng(0)
    rows = [(f"farm {f}", 2010 + y, f"f{f}{y}{k}") for f in range(4) for y in range(6) for k in range(2)]
    frame = pd.DataFrame(rows, columns=["farm", "year", "field"])
    level = rng.normal(size=len(frame))
    frame["soil"] = np.where(rng.random(len(frame)) < 0.5, "clay", "loam")
    frame["yield"] = (6 + level).round(2)
    frame["crop"] = np.where(level > 0, "maize", "wheat")
    frame["same"], frame["gaps"] = 7, np.where(frame["year"] > 2012, "a", None)
    steps = {f"{b}_{s:02d}": (level + rng.normal(0, 0.2, len(frame))).round(3) for b in BANDS for s in range(STEPS)}
    pd.concat([frame, pd.DataFrame(steps)], axis=1).to_csv(tmp_path / "fields.csv", index=False)
    return tmp_path / "fields.csv"


@pytest.fixture
def loads(tmp_path: Path) -> Path:
    hours = np.arange(24 * 20)
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=len(hours), freq="h")})
    frame["load"] = 500 + 80 * np.sin(2 * np.pi * hours / 24) + np.random.default_rng(0).normal(0, 5, len(hours))
    frame.to_csv(tmp_path / "loads.csv", index=False)
    return tmp_path / "loads.csv"


def train(*words: Any) -> int:
    return main(["train", *map(str, words)])


def test_a_regression_is_trained_told_and_written(fields: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "model"
    code = train(
        fields, "--target", "yield", "--target-unit", "t/ha", "--output", output, "--preset", "small", "--epochs", 2
    )
    out, err = capsys.readouterr()
    assert code == 0
    first, *_ = out.splitlines()
    assert first.startswith("typical error ") and " t/ha, on 8 series that it has not seen; always guessing" in first
    assert "ridge: " in first and "| gradient boosting" in out and "| TimesCLIP small" in out
    for told in (
        "steps 0 to 7: ndvi, red",
        "yield: regression (yield holds numbers)",
        "took --time year",
        "else --group farm",
        "not read: farm (4), field, soil, crop, same, gaps",
        "from 2015 on",
    ):
        assert told in err
    files = {path.name for path in output.iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "README.md", "metrics.json"} <= files
    assert {"test_predictions.csv", "predictions.png", "learning_curve.png", "similar.safetensors"} <= files
    assert "can be told from it roughly" in (output / "README.md").read_text()
    assert "training" not in files  # checkpoints are gone
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["sizes"] == {"train": 32, "validation": 8, "test": 8}
    assert {"mean", "ridge", "gradient boosting"} <= metrics["test"].keys()
    card = (output / "README.md").read_text()
    assert "timesclip train fields.csv --target yield" in card and str(tmp_path) not in card


def test_test_predictions_have_the_tables_own_columns_and_are_those_of_the_saved_model(
    fields: Path, tmp_path: Path
) -> None:
    output = tmp_path / "model"
    assert train(fields, "--target", "yield", "--output", output, *FAST) == 0
    found = pd.read_csv(output / "test_predictions.csv")
    assert list(found.columns) == ["farm", "year", "field", "soil", "crop", "same", "gaps", "yield", "predicted_yield"]
    table = pd.read_csv(fields)
    rest = table[table["year"] >= 2015]
    assert found["field"].tolist() == rest["field"].tolist() and found["yield"].tolist() == rest["yield"].tolist()
    rest.drop(columns="yield").to_csv(tmp_path / "new.csv", index=False)
    words = ["predict", tmp_path / "new.csv", "--model", output, "--output", tmp_path / "predictions.csv"]
    assert main(list(map(str, words))) == 0
    again = pd.read_csv(tmp_path / "predictions.csv")
    np.testing.assert_allclose(again["predicted_yield"], found["predicted_yield"], rtol=1e-4)


def test_classes_are_trained_by_their_names(fields: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "model"
    words = ("--target", "crop", "--group", "farm", "--static", "soil", "--output", output, "--epochs", 1)
    assert train(fields, *words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("right for ") and "always naming the most frequent class" in out
    assert "classes maize, wheat" in err and "took" not in err
    found = pd.read_csv(output / "test_predictions.csv")
    assert set(found["predicted_label"]) <= {"maize", "wheat"} and found["score"].between(0.5, 1).all()
    assert len(set(found["farm"])) == 1  # one whole farm
    assert "90 % sets held " in out and "classes each on average" in out


def test_few_series_get_heads_in_closed_form_and_the_card_says_so(fields: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "model"
    assert train(fields, "--target", "yield", "--output", output, "--no-peers", "--epochs", 3) == 0
    out, err = capsys.readouterr()
    assert "32 training series, fewer than 1000" in err and "branches count: vision" in err
    assert "--epochs: without effect on heads in closed form" in out
    card = (output / "README.md").read_text()
    assert "fitted in closed form (heads in closed form, R2 out of fold: vision" in card
    source = "40 answers: train and validation part, a whole time or group left out at a time"
    assert "90 % intervals held " in out and source in out
    assert "Share in 90 % intervals" in card and "an assumption" in card
    metrics = json.loads((output / "metrics.json").read_text())["intervals"]
    assert metrics["calibration"]["count"] == 40 and metrics["test"]["coverage_90"] >= 0.5
    table = pd.read_csv(fields)
    table[table["year"] >= 2015].to_csv(tmp_path / "new.csv", index=False)
    words = ["predict", tmp_path / "new.csv", "--model", output, "--interval", 0.9, "--output", tmp_path / "out.csv"]
    assert main(list(map(str, words))) == 0
    found, again = pd.read_csv(output / "test_predictions.csv"), pd.read_csv(tmp_path / "out.csv")
    for column in ("predicted_yield", "yield_lower_90", "yield_upper_90"):
        np.testing.assert_allclose(again[column], found[column], rtol=1e-4)


def test_a_language_model_speaks_beside_a_small_tower_that_sees(fields: Path, tmp_path: Path, capsys: Any) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=9, **sizes)).save_pretrained(tmp_path / "my bert")
    words = ("--text-checkpoint", tmp_path / "my bert", "--preset", "late", "--epochs", 1, "--no-peers")
    assert train(fields, "--target", "yield", "--output", tmp_path / "model", *words) == 0
    card = (tmp_path / "model" / "README.md").read_text()
    assert "text tower: `bert`, weights of a local checkpoint, `my bert`" in card
    assert "vision tower: `clip_vision_model`, random weights" in card and str(tmp_path) not in card
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["text_config"]["hidden_size"] == 16 and config["vision_config"]["hidden_size"] == 64


def test_towers_that_know_series_wait_until_the_head_has_learnt(fields: Path, tmp_path: Path) -> None:
    words = ("--preset", "late", "--epochs", 1, "--ensemble", 2, "--no-peers", "--no-similar")
    assert train(fields, "--target", "yield", "--output", tmp_path / "model", *words) == 0
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| head_epochs | 30 |" in card and "| num_train_epochs | 1 |" in card and "`timesclip-small`" in card
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["head_reads"] == "features" and config["variate_selection"] is None and config["ensemble_size"] == 2


def test_an_ensemble_is_averaged_and_saved_as_one(fields: Path, tmp_path: Path) -> None:
    found = {}
    for name, words in (("a", ()), ("b", ("--seed", 1)), ("both", ("--ensemble", 2))):
        assert train(fields, "--target", "yield", "--output", tmp_path / name, *FAST, *words) == 0
        found[name] = pd.read_csv(tmp_path / name / "test_predictions.csv")["predicted_yield"]
    assert json.loads((tmp_path / "both" / "config.json").read_text())["ensemble_size"] == 2
    np.testing.assert_allclose(found["both"], (found["a"] + found["b"]) / 2, rtol=1e-5)
    assert np.abs(found["a"] - found["b"]).max() > 1e-3


def test_columns_named_by_dates_or_a_pattern_are_read(fields: Path, tmp_path: Path, capsys: Any) -> None:
    table = pd.read_csv(fields)
    dates = pd.date_range("2023-04-01", periods=STEPS, freq="16D").strftime("%Y-%m-%d")
    table.rename(columns={f"{b}_{s:02d}": f"{b}_{dates[s]}" for b in BANDS for s in range(STEPS)}).to_csv(
        tmp_path / "dated.csv", index=False
    )
    table.rename(columns={f"{b}_{s:02d}": f"{b}.{s}" for b in BANDS for s in range(STEPS)}).to_csv(
        tmp_path / "dots.csv", index=False
    )
    for name, words in (("dated", []), ("dots", ["--column-pattern", "dots"])):
        output = tmp_path / name
        code = train(tmp_path / f"{name}.csv", "--target", "yield", "--output", output, "--no-peers", *words)
        assert code == 0, capsys.readouterr().err
        found = pd.read_csv(output / "test_predictions.csv")
        assert list(found.columns) == [
            "farm",
            "year",
            "field",
            "soil",
            "crop",
            "same",
            "gaps",
            "yield",
            "predicted_yield",
            "yield_lower_90",
            "yield_upper_90",
        ]


def test_parts_of_a_season_give_a_curve(fields: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "model"
    words = ("--target", "yield", "--output", output, "--no-peers", "--random-length", 3, 8)
    assert train(fields, *words) == 0
    assert "steps seen" in capsys.readouterr().out and (output / "steps_seen.png").exists()
    curve = json.loads((output / "metrics.json").read_text())["by steps seen"]
    assert [*curve] == ["3", "4", "5", "6", "7", "8"] and set(curve["3"]) == {"TimesCLIP probe", "ridge for each"}
    # A table that ends after five steps is answered as the curve says.
    table = pd.read_csv(fields)
    table = table[table["year"] == 2015].drop(columns=[f"{band}_{step:02d}" for band in BANDS for step in (5, 6, 7)])
    table.drop(columns="yield").to_csv(tmp_path / "summer.csv", index=False)
    words = ["predict", tmp_path / "summer.csv", "--model", output, "--output", tmp_path / "predictions.csv"]
    assert main(list(map(str, words))) == 0
    found = pd.read_csv(tmp_path / "predictions.csv")["predicted_yield"].to_numpy()
    error = np.abs(found - table["yield"].to_numpy()).mean()
    assert error == pytest.approx(curve["5"]["TimesCLIP probe"]["mae"], rel=1e-4)


def test_a_forecaster_stands_beside_seasonal_naive(loads: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "model"
    code = train(loads, "--timestamp", "date", "--horizon", 12, "--context", 48, "--output", output, "--epochs", 1)
    out, err = capsys.readouterr()
    assert code == 0 and "seasonal naive: " in out.splitlines()[0] and "a season has 24" in err
    found = pd.read_csv(output / "test_predictions.csv")
    assert list(found.columns) == ["date", "load", "predicted_load"] and len(found) % 12 == 0
    assert "90 % intervals held " in out and "load wide on average" in out
    words = ["predict", loads, "--model", output, "--timestamp-column", "date", "--output", tmp_path / "next.csv"]
    assert main(list(map(str, words))) == 0
    assert list(pd.read_csv(tmp_path / "next.csv")) == ["date", "load"]
    assert main([*map(str, words), "--similar", "1"]) == 0
    told = pd.read_csv(tmp_path / "next.csv")
    assert len(told) == 12 and list(told)[2:] == ["distance", "unusual", "nearest_1"]
    strange = pd.read_csv(loads)
    strange.loc[strange.index[-20:], "load"] = [500.0, -500.0] * 10
    strange.to_csv(loads, index=False)
    assert main(list(map(str, words))) == 0 and "1 of 1 series are unusual" in capsys.readouterr().err


def test_rows_without_a_target_are_left_out_and_told(fields: Path, tmp_path: Path, capsys: Any) -> None:
    table = pd.read_csv(fields)
    table.loc[:2, "yield"] = np.nan
    table.to_csv(fields, index=False)
    assert train(fields, "--target", "yield", "--output", tmp_path / "model", *FAST) == 0
    assert "3 rows without yield are left out" in capsys.readouterr().err


def test_changed_series_are_learnt_where_asked_for(fields: Path, tmp_path: Path) -> None:
    found = {}
    for name, words in (("plain", ()), ("heads", ("--augment", "jitter=0.1", "shift=0.1"))):
        words = ("--target", "yield", "--output", tmp_path / name, "--no-peers", *words)
        assert train(fields, *words) == 0
        found[name] = json.loads((tmp_path / name / "config.json").read_text())["num_centers"]
    assert found == {"plain": 40, "heads": 4 * 40}
    words = ("--target", "yield", "--output", tmp_path / "net", *FAST, "--augment")
    assert train(fields, *words) == 0
    saved = json.loads((tmp_path / "net" / "training_args.json").read_text())
    assert saved["augment"].startswith("jitter=0.05 scale=0.05")
    assert "--augment --" in (tmp_path / "net" / "README.md").read_text()


def test_nothing_is_left_of_an_earlier_training_in_the_folder(fields: Path, tmp_path: Path) -> None:
    words = (fields, "--target", "yield", "--output", tmp_path / "model", "--no-peers")
    assert train(*words, "--preset", "small", "--epochs", 2, "--random-length") == 0
    assert (tmp_path / "model" / "steps_seen.png").exists()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    assert train(*words) == 0
    left = {path.name for path in (tmp_path / "model").iterdir()}
    assert not {"steps_seen.png", "learning_curve.png"} & left and {"notes.txt", "predictions.png"} <= left


def test_training_arguments_of_transformers_are_passed_on(fields: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    words = ("--learning-rate", "3e-4", "--per_device_train_batch_size", 8, "--weight_decay=0.25")
    assert train(fields, "--target", "yield", "--output", output, *FAST, *words) == 0
    saved = json.loads((output / "training_args.json").read_text())
    found = [saved[name] for name in ("learning_rate", "per_device_train_batch_size", "weight_decay")]
    assert found == [3e-4, 8, 0.25]


def test_the_same_seed_gives_the_same_model(fields: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert train(fields, "--target", "yield", "--output", tmp_path / name, *FAST, "--seed", 3) == 0
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--target says which column"),
        (["--target", "yeild"], "--target: no such column: 'yeild' (near: yield, field)"),
        (["--target", "yield", "--static", "yield"], "is the target"),
        (["--target", "yield", "--group", "soils"], "--group: no such column: 'soils' (near: soil)"),
        (["--target", "yield", "--group", "soil"], "2 different values are too few"),
        (["--target", "yield", "--time", "year", "--group", "farm"], "exclude each other"),
        (["--target", "crop", "--task", "regression"], "non-numeric cells in column 'crop'"),
        (["--target", "yield", "--preset", "smal"], "--preset smal: unknown"),
        (["--target", "yield", "--towers", "clip-b16", "--preset", "full"], "give --vision-checkpoint"),
        (["--target", "yield", "--vision-checkpoint", "x", "--preset", "small"], "has no vision branch"),
        (["--target", "yield", "--towers", "huge"], "--towers huge: unknown, choose one of"),
        (["--target", "yield", "--vision-checkpoint", "no/such"], "--vision-checkpoint no/such: no such folder"),
        (["--target", "field"], "48 classes in 48 rows are too many"),
        (["--target", "same"], "'7' in every row, so there is nothing to learn"),
        (["--target", "yield", "--group", "gaps"], "--group: values missing: column 'gaps'"),
        (["--target", "yield", "--learnin-rate", "1"], "unknown: --learnin-rate 1"),
        (["--target", "yield", "--learning-rate", "fast"], "invalid float value"),
        (["--target", "yield", "--random-length", "3"], "give LOW and HIGH"),
        (["--target", "yield", "--augment", "noise=1"], "augment: unknown 'noise'"),
        (["--target", "yield", "--random-length", "3", "9"], "the 8 steps of the table"),
        (["--horizon", "3"], "need --timestamp and --horizon"),
        (["--target", "yield", "--context", "3"], "--context is for forecasts"),
        (["--group", "farm", "--timestamp", "year", "--horizon", "3"], "--group is for tables with one row"),
    ],
)
def test_errors_of_beginners_are_one_line(
    words: list[str], message: str, fields: Path, tmp_path: Path, capsys: Any
) -> None:
    assert train(fields, "--output", tmp_path / "model", *words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("timesclip train: error: ") and message in error
    assert not (tmp_path / "model").exists()


def test_an_output_that_is_a_file_or_lies_nowhere_is_refused(fields: Path, tmp_path: Path, capsys: Any) -> None:
    assert train(fields, "--target", "yield", "--output", fields) == 2
    assert "this is a file" in capsys.readouterr().err
    assert train(fields, "--target", "yield", "--output", tmp_path / "a" / "b") == 2
    assert "there is no folder" in capsys.readouterr().err


def test_other_commands_take_no_unknown_words(fields: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(fields), "--model", "x", "--learning-rate", "1"])
    assert stop.value.code == 2 and "unrecognized arguments: --learning-rate 1" in capsys.readouterr().err


def test_help_is_a_page_and_help_all_lists_training_arguments(capsys: Any) -> None:
    for flag, words in (("--help", False), ("--help-all", True)):
        with pytest.raises(SystemExit) as stop:
            main(["train", flag])
        out = capsys.readouterr().out
        assert stop.value.code == 0 and "--target-unit" in out and ("--gradient_accumulation_steps" in out) is words
        assert words or len(out.splitlines()) <= 66


def test_somebody_at_a_terminal_is_asked_how_to_split(
    fields: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    answers = iter(["what?\n", "2\n"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: next(answers), raising=False)
    monkeypatch.setattr(cli_train, "describe", lambda prepared: [prepared.plan.kind, str(prepared.plan.column)])
    assert train(fields, "--target", "yield", "--output", tmp_path / "model", *FAST) == 0
    err = capsys.readouterr().err
    assert "1  the latest of year (6 of them)" in err and "2  whole values of farm (4 of them)" in err
    assert "choose [1]: choose [1]: group\nfarm\n" in err


def test_a_forecaster_with_covariates_and_quantiles_is_trained_tested_and_asked(tmp_path: Path, capsys: Any) -> None:
    hours = pd.date_range("2024-01-01", periods=24 * 8 + 6, freq="h")
    price = np.random.default_rng(0).random(len(hours)).round(3)
    table = pd.DataFrame({"hour": hours, "load": 500 - 100 * price, "price": price})
    table[:-6].to_csv(tmp_path / "past.csv", index=False)
    table[-6:].drop(columns="load").to_csv(tmp_path / "prices.csv", index=False)
    roles = ("--target", "load", "--future-covariates", "price")
    words = ("--timestamp", "hour", "--horizon", 6, "--context", 24, *roles)
    output = tmp_path / "model"
    quick = ("--quantiles", 0.05, 0.5, 0.95, "--epochs", 1, "--no-peers")
    assert train(tmp_path / "past.csv", *words, *quick, "--output", output) == 0
    out, err = capsys.readouterr()
    assert "windows that it has not seen; seasonal naive: " in out and "90 % intervals held " in out
    assert "--output next.csv --future FUTURE.csv" in out
    assert "the last 6 x 6 of each are the test part" in err and "a season has 24" in err
    found = json.loads((output / "metrics.json").read_text())["test"]["TimesCLIP"]
    assert {"mae", "wql", "coverage_90"} <= set(found) and "price" in (output / "forecaster.json").read_text()
    assert len(pd.read_csv(output / "test_predictions.csv")) == 36
    ask = ["predict", tmp_path / "past.csv", "--model", output]
    for options, count in ((["--future", tmp_path / "prices.csv"], 6), (["--horizon", 3], None)):
        code = main(list(map(str, [*ask, *options, "--output", tmp_path / "next.csv"])))
        if count is None:
            assert code == 2 and "has 0 rows of price behind its last value" in capsys.readouterr().err
            continue
        told = pd.read_csv(tmp_path / "next.csv", parse_dates=["hour"])
        assert list(told.columns) == ["hour", "load", "load-lo-90", "load-median", "load-hi-90"] and len(told) == count
        assert told["hour"].tolist() == hours[-6:].tolist()
    assert main(list(map(str, [*ask, "--timestamp-column", "when"]))) == 2
    assert (
        "--timestamp-column when: this forecaster learnt from a table in which it is 'hour'" in capsys.readouterr().err
    )
    assert train(tmp_path / "past.csv", *words, "--quantiles", 0.5, "--season", 24, "--output", output) == 2
    assert "--season do not go with --quantiles" in capsys.readouterr().err


def test_a_plain_forecaster_notes_its_columns(loads: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "model"
    words = ("--timestamp", "date", "--horizon", 12, "--context", 48, "--output", output, "--epochs", 1, "--no-peers")
    assert train(loads, *words) == 0
    for options in ([], ["--horizon", "20"], ["--timestamp-column", "date"]):
        assert (
            main(["predict", str(loads), "--model", str(output), "--output", str(tmp_path / "x.csv"), *options]) == 0
        )
        told = pd.read_csv(tmp_path / "x.csv")
        assert list(told.columns) == ["date", "load"] and len(told) == (20 if "--horizon" in options else 12)
