# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Model cards: what the Hub reads from them, what people read, when they are written, and that their example runs."""

import contextlib
import io
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from transformers import CLIPConfig, CLIPModel, set_seed

from timesclip_hf import (
    SeriesCollection,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    lora_config,
    regression_metrics,
    split_windows,
)
from timesclip_hf.hub.card import model_card
from timesclip_hf.hub.facts import CardFacts

ROOT = Path(__file__).parents[2]
SECTIONS = ["How to use", "Results", "Data", "Inputs", "Training", "Limits", "Citation"]
QUIET: dict[str, Any] = {"disable_tqdm": True, "report_to": "none", "use_cpu": True}


def make_data(count: int, seed: int, static: bool = False, classes: bool = False) -> Dataset:
    """Level of the first variate makes the label."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=count)
    values = level[:, None, None] + 0.1 * rng.normal(size=(count, 12, 3))
    columns: dict[str, Any] = {
        "past_values": values.astype(np.float32).tolist(),
        "labels": (level > 0).astype(int).tolist() if classes else (5 + level).tolist(),
    }
    if static:
        soils = ['sandy "loam"', "clay | wet"]
        columns["static_values"] = [{"soil": soils[i % 2], "latitude": 40.0 + i} for i in range(count)]
    return Dataset.from_dict(columns)


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Callable[..., TimesCLIPTrainer]:
    """`build(task, static, model, **arguments)`: a trainer of two epochs with named variates and targets."""

    def make(task: str = "regression", static: bool = False, model: Any = None, **arguments: Any) -> TimesCLIPTrainer:
        set_seed(0)
        train, validation = (make_data(n, n, static, task == "classification") for n in (24, 11))
        fields: dict[str, Any] = {"freeze_vision": False, "head": "linear", "head_dropout": [0.0]}
        names: dict[str, Any] = {"variate_names": ["ndvi", "nir", "red"], "variate_units": ["", "W/m2", "%"]}
        preset, fit_on = "text_only", train
        if task == "regression":
            names |= {"target_names": ["yield"], "target_units": ["t/ha"]}
        if task == "classification":
            fields |= {"id2label": {0: "healthy", 1: "ill"}, "label2id": {"healthy": 0, "ill": 1}}
            fit_on = train.remove_columns("labels")
        if task == "pre-training":
            preset, fit_on = "full", train.remove_columns("labels")
        if task == "forecasting":
            series = SeriesCollection(
                [np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)], ["ndvi", "nir", "red"], ["a"]
            )
            splits = split_windows(series, context_length=12, prediction_length=4)
            train, validation, fit_on = splits.train, splits.validation, splits.train.series
            fields |= {"prediction_length": 4}
        config = model.config if model is not None else tiny_config(preset, **fields)
        processor = TimesCLIPProcessor.from_config(config, **names).fit(fit_on)
        classes = {
            "regression": TimesCLIPForRegression,
            "classification": TimesCLIPForClassification,
            "forecasting": TimesCLIPForPrediction,
            "pre-training": TimesCLIPForPreTraining,
        }
        defaults = {"output_dir": str(tmp_path / "run"), "num_train_epochs": 2, "learning_rate": 5e-3, "seed": 7}
        return TimesCLIPTrainer(
            model=model if model is not None else classes[task](processor.complete_config(config)),
            args=TimesCLIPTrainingArguments(**{**defaults, **QUIET, **arguments}),
            processing_class=processor,
            train_dataset=train,
            eval_dataset=validation,
        )

    return make


def read(folder: Path) -> ModelCard:
    """The card, with its metadata as the Hub's own parser has them; a fault in them raises."""
    return ModelCard.load(folder / "README.md", ignore_metadata_errors=False)


def run_example(folder: Path, base: Path | None = None) -> str:
    """What the card's example prints."""
    (code,) = re.findall(r"```python\n(.*?)```", read(folder).text, flags=re.DOTALL)
    assert "path/or/hub-id" in code
    code = code.replace("path/or/hub-id-of-the-base", str(base)).replace("path/or/hub-id", str(folder))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    return printed.getvalue()


def reported(card: ModelCard) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for result in card.data.eval_results or []:
        found.setdefault(result.dataset_split, {})[result.metric_type] = result.metric_value
    return found


# What is measured, and what it is called


def test_metrics_are_those_of_the_saved_weights_measured_anew(build: Any, tmp_path: Path) -> None:
    trainer, test = build(), make_data(15, 99)
    trainer.train()
    trainer.evaluate(test, metric_key_prefix="test")
    trainer.save_model(str(tmp_path / "saved"))

    model = TimesCLIPForRegression.from_pretrained(tmp_path / "saved")
    processor = TimesCLIPProcessor.from_pretrained(tmp_path / "saved")
    expected = {}
    for part, data in {"validation": trainer.eval_dataset, "test": test}.items():
        with torch.no_grad():
            predictions = model(**processor(np.array(data["past_values"][:], np.float32))).predictions
        expected[part] = regression_metrics(predictions, np.array(data["labels"][:])[:, None])
    found = reported(read(tmp_path / "saved"))
    assert found.keys() == {"validation", "test"}
    for part, metrics in expected.items():
        assert found[part] == pytest.approx(metrics, rel=1e-4)


def test_the_best_epochs_figures_are_reported_not_the_last_ones(build: Any, tmp_path: Path) -> None:
    trainer = build(num_train_epochs=4, greater_is_better=True)  # the worst is the best, so that it is an early one
    trainer.train()
    scores = [(entry["eval_rmse"], entry["epoch"]) for entry in trainer.state.log_history if "eval_rmse" in entry]
    best, epoch = max(scores)
    assert epoch < 4
    trainer.save_model(str(tmp_path / "saved"))
    card = read(tmp_path / "saved")
    assert reported(card)["validation"]["rmse"] == pytest.approx(best)
    assert f"weights of epoch {epoch:g} " in card.text and "best on validation by rmse" in card.text
    (row,) = [line for line in card.text.splitlines() if line.endswith("| saved |")]
    assert row.startswith(f"| {epoch:g} |")


def test_every_checkpoint_reports_its_own_epoch(build: Any, tmp_path: Path) -> None:
    trainer = build(save_total_limit=None)
    trainer.train()
    evaluations = [entry for entry in trainer.state.log_history if "eval_rmse" in entry]
    for entry in evaluations:
        card = read(tmp_path / "run" / f"checkpoint-{entry['step']}")
        assert reported(card) == {
            "validation": pytest.approx({m: entry[f"eval_{m}"] for m in reported(card)["validation"]})
        }
        assert "training was still going on" in card.text


def test_only_what_was_evaluated_as_a_test_part_is_called_one(build: Any, tmp_path: Path) -> None:
    trainer, other = build(), make_data(15, 99)
    trainer.train()
    trainer.predict(other)  # by default under the prefix "test", whatever it is
    trainer.evaluate(other)
    trainer.evaluate(trainer.train_dataset, metric_key_prefix="test")
    trainer.save_model(str(tmp_path / "saved"))
    before = read(tmp_path / "saved")
    assert reported(before).keys() == {"validation"} and "No figures of a test part" in before.text

    metrics = trainer.evaluate(metric_key_prefix="test")  # on the validation part, whatever it is called
    trainer.predict(other, metric_key_prefix="test")
    trainer.save_model(str(tmp_path / "saved"))
    after = reported(read(tmp_path / "saved"))
    assert after["validation"]["rmse"] == pytest.approx(metrics["test_rmse"])
    assert after.keys() == {"validation", "test"}

    trainer.train()  # other weights
    trainer.save_model(str(tmp_path / "saved"))
    assert reported(read(tmp_path / "saved")).keys() == {"validation"}


def test_without_any_evaluation_no_figure_is_claimed(build: Any, tmp_path: Path) -> None:
    trainer = build()
    trainer.save_model(str(tmp_path / "saved"))
    card = read(tmp_path / "saved")
    assert not card.data.eval_results
    assert "No figures were measured" in card.text and "Not trained in this run." in card.text


# Metadata


@pytest.mark.parametrize("task", ["regression", "classification", "forecasting", "pre-training"])
def test_the_hub_reads_task_and_figures_of_every_task(build: Any, tmp_path: Path, task: str) -> None:
    trainer = build(task)
    trainer.train()
    data = read(sorted((tmp_path / "run").glob("checkpoint-*"))[-1]).data
    assert data.pipeline_tag == ("time-series-forecasting" if task == "forecasting" else None)
    assert {"time-series", f"time-series-{task}", "timesclip"} <= set(data.tags)
    assert data.library_name == "transformers" and data.base_model is None
    metric = {
        "regression": "rmse", "classification": "log_loss", "forecasting": "mse", "pre-training": "image_to_text_top1",
    }[task]  # fmt: skip
    assert metric in {result.metric_type for result in data.eval_results}
    assert {result.task_type for result in data.eval_results} == {f"time-series-{task}"}


def test_what_the_user_tells_stays_in_all_later_cards(build: Any, tmp_path: Path) -> None:
    trainer = build()
    trainer.create_model_card(
        model_name="fields", license="mit", dataset="Fields of 2024", dataset_tags="me/fields", tags=["crops"],
        limits=["Winter wheat only."], split="by year.", hyperparameters={"preset": "small"}, language="en",
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    card = read(tmp_path / "saved")
    assert (card.data.license, card.data.datasets, card.data.language) == ("mit", ["me/fields"], "en")
    assert card.data.model_name == "fields" and "crops" in card.data.tags
    assert {(r.dataset_name, r.dataset_type) for r in card.data.eval_results} == {("Fields of 2024", "me/fields")}
    for text in ("# fields\n", "- Winter wheat only.", "Split: by year.", "| preset | small |", "| seed | 7 |"):
        assert text in card.text, text
    with pytest.raises(ValueError, match="no place for \\['licence'\\]"):
        trainer.create_model_card(licence="mit")


def test_towers_are_named_only_where_their_weights_were_loaded(build: Any, tiny_towers: Any, tmp_path: Path) -> None:
    towers = tiny_towers()
    clip = CLIPConfig(projection_dim=16, **towers)
    CLIPModel(clip).save_pretrained(tmp_path / "clip")
    shape: dict[str, Any] = {"context_length": 12, "patch_length": 4, "patch_stride": 2, "num_variates": 3}
    labels = np.array(make_data(24, 24)["labels"])  # those that `build` trains on
    shape |= {"target_mean": [labels.mean()], "target_std": [labels.std()]}
    shape |= {"projection_dim": 16, "selection_num_heads": 4}
    loaded = TimesCLIPForRegression.from_vision_text_pretrained(
        str(tmp_path / "clip"), str(tmp_path / "clip"), **shape
    )
    for tower in (loaded.config.vision_config, loaded.config.text_config):
        tower._name_or_path = "openai/clip-vit-base-patch16"  # as if it came from there
    build(model=loaded).save_model(str(tmp_path / "a"))
    card = read(tmp_path / "a")
    assert card.data.base_model == ["openai/clip-vit-base-patch16"]
    assert "weights of [openai/clip-vit-base-patch16](" in card.text and ", frozen" in card.text
    assert "random weights" not in card.text

    build(model=TimesCLIPForRegression(loaded.config)).save_model(str(tmp_path / "b"))
    card = read(tmp_path / "b")  # the same configuration, without the weights
    assert card.data.base_model is None and card.text.count("random weights") == 2

    build(model=TimesCLIPForRegression.from_pretrained(tmp_path / "a")).save_model(str(tmp_path / "c"))
    card = read(tmp_path / "c")
    assert card.data.base_model == ["openai/clip-vit-base-patch16"]
    assert "a local checkpoint, `a`" in card.text and str(tmp_path) not in card.text


# The text


def test_people_read_inputs_curve_settings_and_environment(build: Any, tmp_path: Path) -> None:
    trainer = build(static=True, weight_decay=0.05)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    text = read(tmp_path / "saved").text
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == SECTIONS
    learnt = trainer.processing_class.statistics
    mean, std = learnt["variates"]["mean"][1], learnt["variates"]["std"][1]
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for expected in (
        "reads 3 variates over 12 steps and predicts yield (t/ha)",
        f"| nir | W/m2 | {mean:.4g} | {std:.4g} |",
        '| soil | clay \\| wet, sandy "loam" |',
        f"| yield | t/ha | {learnt['targets']['mean'][0]:.4g} |",
        "Errors are in t/ha",
        "24 train, 11 validation series",
        f"| 1 | {logs[0]['loss']:.4g} | ",
        "| weight_decay | 0.05 |",
        "| head | linear |",
        "| seed | 7 |",
        f"| torch | {torch.__version__} |",
        "arXiv:2506.24124",
    ):
        assert expected in text, expected
    for absent in ("output_dir", "report_to", "adam_beta1", str(tmp_path)):
        assert absent not in text, absent


def test_long_curves_are_thinned_to_the_first_the_last_and_the_saved_epoch(tiny_config: Any) -> None:
    curve = [{"step": 10 * n, "epoch": float(n), "validation loss": 1 / n} for n in range(1, 201)]
    facts = CardFacts(
        "a", TimesCLIPForRegression, tiny_config(), curve=curve, kept={"trained": True, "step": 770, "epoch": 77}
    )
    rows = re.findall(r"^\| (\d+) \| [\d.e-]+ \| (saved|) \|$", model_card(facts).text, flags=re.MULTILINE)
    epochs = [int(epoch) for epoch, _ in rows]
    assert 10 <= len(rows) <= 13 and epochs[0] == 1 and epochs[-1] == 200 and epochs == sorted(epochs)
    assert ("77", "saved") in rows and sum(mark == "saved" for _, mark in rows) == 1


# The example


@pytest.mark.parametrize(
    ("task", "static"),
    [
        ("regression", False), ("regression", True), ("classification", False), ("classification", True),
        ("forecasting", False), ("pre-training", False),
    ],
)  # fmt: skip
def test_the_example_runs_as_printed(build: Any, tmp_path: Path, task: str, static: bool) -> None:
    build(task, static).save_model(str(tmp_path / "saved"))
    printed = run_example(tmp_path / "saved")
    expected = {
        "regression": "{'yield': ", "classification": "[{'label': ", "forecasting": "{'predictions': array(",
        "pre-training": "tensor(",
    }[task]  # fmt: skip
    assert printed.startswith(expected)


@pytest.mark.parametrize("own", [False, True])
def test_an_adapters_card_names_its_base_and_how_to_load_both(build: Any, tmp_path: Path, own: bool) -> None:
    peft = pytest.importorskip("peft")
    base = build()
    base.save_model(str(tmp_path / "base"))
    model = TimesCLIPForRegression.from_pretrained(tmp_path / "base")
    config = lora_config(model, r=2)
    if own:
        model.add_adapter(config)
    adapted = model if own else peft.get_peft_model(model, config)
    trainer = build(model=adapted)
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    card = read(tmp_path / "adapter")
    assert card.data.library_name == "peft" and "lora" in card.data.tags
    assert card.data.base_model is None  # nobody else has that folder
    assert "**This is an adapter** (LORA)" in card.text and "| adapter r | 2 |" in card.text
    assert run_example(tmp_path / "adapter", tmp_path / "base").startswith("tensor([[")

    active = next(iter(adapted.peft_config.values()))
    active.base_model_name_or_path = "me/base"
    trainer.save_model(str(tmp_path / "adapter"))
    card = read(tmp_path / "adapter")
    assert card.data.base_model == ["me/base"]
    assert 'from_pretrained("me/base")' in card.text


# Whose README.md it is


@pytest.mark.parametrize("adapter", [False, True])
def test_a_readme_written_by_hand_stays_as_it_is(build: Any, tmp_path: Path, adapter: bool) -> None:
    trainer = build()
    if adapter:
        peft = pytest.importorskip("peft")
        trainer = build(model=peft.get_peft_model(trainer.model, lora_config(trainer.model, r=2)))
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "README.md").write_bytes(b"# Mine\r\n")
    trainer.save_model(str(saved))
    trainer.create_model_card(saved)
    assert (saved / "README.md").read_bytes() == b"# Mine\r\n"


def test_a_card_of_an_earlier_save_is_written_anew(build: Any, tmp_path: Path) -> None:
    trainer = build()
    trainer.save_model(str(tmp_path / "saved"))
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    text = read(tmp_path / "saved").text
    assert "Not trained" not in text and "best on validation" in text


def test_a_model_is_saved_even_where_its_card_cannot_be_written(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no facts")

    monkeypatch.setattr("timesclip_hf.hub.card_callback.collect_facts", fail)
    build().save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "model.safetensors").exists() and not (tmp_path / "saved" / "README.md").exists()


def test_a_wheel_ships_the_template(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "timesclip_hf", tmp_path / "source" / "timesclip_hf", ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", build, str(tmp_path)]
    subprocess.run(command, cwd=tmp_path / "source", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"timesclip_hf/hub/model_card_template.md", "timesclip_hf/hub/card.py", "timesclip_hf/py.typed"} <= {*names}


def test_the_example_card_at_the_top_has_what_cards_have_today() -> None:
    card = ModelCard.load(ROOT / "MODEL_CARD.md", ignore_metadata_errors=False)
    assert re.findall(r"^## (.*)$", card.text, flags=re.MULTILINE) == SECTIONS
    assert {"test"} <= reported(card).keys()
    assert 'pipeline("time-series-regression"' in card.text


def test_several_targets_have_rows_of_their_own_and_a_mean_in_units_of_their_spread(
    tiny_config: Any, tmp_path: Path
) -> None:
    train = make_data(24, 0)
    labels = np.asarray(train["labels"][:])
    train = train.remove_columns("labels").add_column("labels", np.stack([labels, 1000 * labels], axis=1).tolist())
    config = tiny_config("text_only", num_targets=2)
    names = {"target_names": ["yield", "kernels"], "target_units": ["t/ha", "1/m2"]}
    processor = TimesCLIPProcessor.from_config(config, **names).fit(train)
    trainer = TimesCLIPTrainer(
        model=TimesCLIPForRegression(processor.complete_config(config)),
        args=TimesCLIPTrainingArguments(output_dir=str(tmp_path), **QUIET),
        processing_class=processor,
        eval_dataset=train,
    )
    found = trainer.evaluate()
    errors = trainer.predict(train).predictions - np.stack([labels, 1000 * labels], axis=1)
    each = np.sqrt((errors**2).mean(axis=0))
    assert [found["eval_yield_rmse"], found["eval_kernels_rmse"]] == pytest.approx(each.tolist(), rel=1e-4)
    assert found["eval_rmse"] == pytest.approx((each / labels.std() / [1, 1000]).mean(), rel=1e-4)
    trainer.save_model(str(tmp_path / "saved"))
    text = read(tmp_path / "saved").text
    assert "RMSE of kernels (1/m2)" in text and "MAE of yield (t/ha)" in text and "R2 of yield |" in text
    assert "Errors are in units of each target's spread in the training part, those of one target in its own" in text
