# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Heads that learn before the towers do: towers rest, readings are those of the model, nothing else is touched."""

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    train_head,
)

COUNT, STEPS, VARIATES = 48, 12, 2


def rows(classes: bool = False, seed: int = 0) -> Dataset:
    """Series whose level is the label, or says which of two classes."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=COUNT)
    values = level[:, None, None] + 0.3 * rng.normal(size=(COUNT, STEPS, VARIATES))
    labels = (level > 0).astype(int) if classes else 10 + 5 * level[:, None]
    return Dataset.from_dict({"past_values": values.tolist(), "labels": labels.tolist()})


def build(preset: str = "late", kind: Any = TimesCLIPForRegression, **fields: Any) -> tuple[Any, TimesCLIPProcessor]:
    shape: dict[str, Any] = {"num_variates": VARIATES, "context_length": STEPS, "patch_length": 4, "patch_stride": 2}
    if kind is TimesCLIPForClassification:
        shape["num_labels"] = 2
    own = {"kernel_shortcut": False} if preset == "late" else {}
    config = TimesCLIPConfig.from_preset(preset, towers="tiny", **{**shape, **own, **fields})
    data = rows() if kind is TimesCLIPForRegression else rows().remove_columns("labels")
    processor = TimesCLIPProcessor.from_config(config).fit(data)
    torch.manual_seed(0)
    return kind(processor.complete_config(config)), processor


def loss_of(model: Any, processor: TimesCLIPProcessor, data: Dataset) -> float:
    batch = processor(np.asarray(data["past_values"][:]), labels=np.asarray(data["labels"][:]))
    with torch.no_grad():
        return float(model.eval()(**batch).loss)


@pytest.mark.parametrize(
    ("preset", "fields"),
    [
        ("late", {}),
        ("late", {"head_reads": "features", "variate_selection": None, "vision_config": None}),
        ("full", {"use_loc_scale": True, "linear_shortcut": True}),
        ("text_only", {"variate_selection": "cross_attention"}),
    ],
)
def test_the_head_learns_and_the_towers_rest(preset: str, fields: dict[str, Any]) -> None:
    model, processor = build(preset, **fields)
    data, before = rows(), {name: value.clone() for name, value in model.state_dict().items()}
    first = loss_of(model, processor, data)
    model.train()
    losses = train_head(model, processor, data, epochs=25, learning_rate=3e-3, batch_size=16)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    towers = ("vision_tower", "text_tower", "tokenizer")
    assert not any(part in name.split(".") for name in changed for part in towers)
    assert {name.split(".")[0] for name in changed} == {"timesclip", "head"} or fields.get(
        "variate_selection", 0
    ) is None
    assert len(losses) == 25 and losses[-1] < 0.7 * losses[0] and loss_of(model, processor, data) < 0.7 * first
    assert model.timesclip.text_tower.training is False  # `loss_of` left it so
    assert all(p.requires_grad for name, p in model.named_parameters())


def test_readings_that_are_kept_give_the_loss_of_the_whole_model() -> None:
    model, processor = build(head_dropout=[0.0, 0.0, 0.0], selection_dropout=0.0)
    data = rows()
    whole = loss_of(model, processor, data)
    (first,) = train_head(model, processor, data, epochs=1, learning_rate=0.0, batch_size=COUNT)
    assert first == pytest.approx(whole, rel=1e-5)


def test_classes_are_learnt_and_the_global_generator_is_not_touched() -> None:
    model, processor = build(kind=TimesCLIPForClassification)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    losses = train_head(model, processor, rows(classes=True), epochs=15, learning_rate=3e-3, batch_size=16)
    assert torch.equal(torch.rand(3), expected) and losses[-1] < losses[0]
    again, _ = build(kind=TimesCLIPForClassification)
    assert train_head(again, processor, rows(classes=True), epochs=15, learning_rate=3e-3, batch_size=16) == losses


def test_what_has_no_head_of_its_own_is_refused() -> None:
    forecaster, processor = build("forecast", TimesCLIPForPrediction, prediction_length=3)
    with pytest.raises(ValueError, match="head alone is trained in regression and classification"):
        train_head(forecaster, processor, rows())
    model, processor = build()
    with pytest.raises(ValueError, match="train has no 'labels'"):
        train_head(model, processor, rows().remove_columns("labels"))


def test_training_begins_with_the_head_and_goes_on_as_always(tmp_path: Any) -> None:
    def run(**more: Any) -> list[float]:
        model, processor = build()
        own = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 3e-3, "weight_decay": 0.05}
        arguments = TimesCLIPTrainingArguments(str(tmp_path), report_to="none", disable_tqdm=True, **{**own, **more})
        trainer = TimesCLIPTrainer(model, arguments, processor, train_dataset=rows(), eval_dataset=rows(seed=1))
        trainer.train()
        return [log["eval_rmse"] for log in trainer.state.log_history if "eval_rmse" in log]

    plain, first = run(eval_on_start=True), run(eval_on_start=True, head_epochs=20, head_learning_rate=3e-3)
    assert first[0] < 0.8 * plain[0]
    other, processor = build()
    train_head(other, processor, rows(), 20, 3e-3, 0.05, 16, seed=42)  # the trainer's own seed
    unseen = rows(seed=1)
    said = other.eval()(**processor(np.asarray(unseen["past_values"][:]))).predictions.detach().numpy()
    assert np.sqrt(np.mean((said - np.asarray(unseen["labels"][:])) ** 2)) == pytest.approx(first[0], rel=1e-4)
