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
    assert model.training  # as before
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    towers = ("vision_tower", "text_tower", "tokenizer")
    assert not any(part in name.split(".") for name in changed for part in towers)
    direct = fields.get("head_reads") == "features"  # without projections and a selection
    assert {name.split(".")[0] for name in changed} == ({"head"} if direct else {"timesclip", "head"})
    assert len(losses) == 25 and losses[-1] < 0.7 * losses[0] and loss_of(model, processor, data) < 0.7 * first
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
    with pytest.raises(ValueError, match="train is empty"):
        train_head(model, processor, [])


def test_plots_of_wide_series_are_drawn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = build(freeze_vision=True, vision_chunk_size=4)
    sizes, draw = [], TimesCLIPProcessor.draw

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append((images := draw(self, *args, **kwargs)).shape[:-3].numel())
        return images

    monkeypatch.setattr(TimesCLIPProcessor, "draw", counting)
    train_head(model, processor, rows(), epochs=1)
    assert max(sizes) == 4 and sum(sizes) == COUNT * VARIATES


def test_a_calibration_of_the_head_as_it_was_is_dropped() -> None:
    model, processor = build(vision_config=None)
    model.config.calibration = {"source": "another head"}
    train_head(model, processor, rows(), epochs=1)
    assert model.config.calibration is None


def test_a_model_that_is_made_for_a_training_learns_the_loss_that_was_asked_for(tmp_path: Any) -> None:
    """Class weights and smoothed labels reach the head of `model_init` as that of a model that is there."""
    asked: dict[str, Any] = {"label_smoothing_factor": 0.3, "class_weights": [1.0, 4.0], "head_epochs": 3}
    arguments = TimesCLIPTrainingArguments(
        str(tmp_path), report_to="none", disable_tqdm=True, num_train_epochs=1, learning_rate=0.0,
        per_device_train_batch_size=16, **asked,
    )  # fmt: skip
    kind: dict[str, Any] = {"kind": TimesCLIPForClassification, "vision_config": None}
    data = {"train_dataset": rows(classes=True), "eval_dataset": rows(classes=True, seed=1)}
    made = []
    for own in (False, True):
        model, processor = build(**kind)
        given = {"model": model} if own else {"model": None, "model_init": lambda: build(**kind)[0]}
        trainer = TimesCLIPTrainer(**given, args=arguments, processing_class=processor, **data)
        trainer.train()
        made.append(trainer.model.state_dict())
    for name, value in made[0].items():
        assert torch.equal(value, made[1][name]), name
