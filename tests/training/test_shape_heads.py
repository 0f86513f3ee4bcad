# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The branch of shapes: fitted in closed form beside the others, and whatever is done to the model that has it."""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.spatial.distance import pdist
from sklearn.linear_model import Ridge

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    export_onnx,
)
from timesclip_hf.model.heads import unfitted_kernels
from timesclip_hf.training.heads import fit_head

STEPS = 48
SHAPES: dict[str, Any] = {"shape_features": 336, "context_length": STEPS, "patch_length": 8, "patch_stride": 4}


def waves(count: int, seed: int = 0, classes: bool = True) -> Dataset:
    """Waves of one variate that begin anywhere: how long they are, of two lengths, or how high."""
    rng = np.random.default_rng(seed)
    values = 0.5 * rng.normal(size=(count, STEPS, 3))
    kinds, sizes, starts = rng.integers(0, 2, count), rng.uniform(1, 3, count), rng.uniform(0, 9, count)
    steps = np.arange(STEPS) + starts[:, None]
    values[:, :, 1] += sizes[:, None] * np.sin(2 * np.pi * steps / np.where(kinds, 9, 6)[:, None])
    labels = kinds if classes else sizes[:, None]
    return Dataset.from_dict({"past_values": values.tolist(), "labels": labels.tolist()})


@pytest.fixture
def build(tiny_config: Any) -> Any:
    """`build(data, preset, **fields)`: a model with the branch of shapes, and its processor."""

    def make(data: Dataset, preset: str = "probe", **fields: Any) -> tuple[Any, Any]:
        torch.manual_seed(0)
        classes = np.ndim(data["labels"][:]) == 1
        labels = {"num_labels": 2} if classes else {}
        config = tiny_config(preset, **{**SHAPES, "vision_config": None, **labels, **fields})
        processor = TimesCLIPProcessor.from_config(config).fit(data.remove_columns("labels") if classes else data)
        model_class = TimesCLIPForClassification if classes else TimesCLIPForRegression
        return model_class(processor.complete_config(config)), processor

    return make


@torch.no_grad()
def says(model: Any, processor: Any, data: Dataset) -> Any:
    return model.eval()(**processor(np.asarray(data["past_values"][:], np.float32)))


def test_shapes_tell_what_the_series_as_they_stand_do_not(build: Any) -> None:
    train, new = waves(120), waves(200, 1)
    model, processor = build(train)
    found = fit_head(model, processor, train)
    assert model.config.branches == found.branches == ["text", "series", "shapes"]
    assert found.scores["shapes"] < 0.3 * found.scores["series"]  # log loss
    weights = dict(zip(found.branches, found.branch_weights, strict=True))
    assert weights["shapes"] > weights["series"]
    right = says(model, processor, new).logits.argmax(-1).numpy() == np.asarray(new["labels"])
    assert right.mean() > 0.95


def test_the_head_is_ridge_on_standardised_shares(build: Any) -> None:
    train, new = waves(60, classes=False), waves(20, 1, classes=False)
    model, processor = build(train)
    found = fit_head(model, processor, train)
    head = model.head["shapes"]
    shares, new_shares = (
        torch.cat(head.read(processor(np.asarray(part["past_values"][:]))["variate_values"]), dim=1).double().numpy()
        for part in (train, new)
    )
    y, said = np.asarray(train["labels"][:])[:, 0], says(model, processor, new).branch_predictions[:, 2, 0].numpy()
    expected = []
    for weight in (0.5, 1, 2):  # of the levels beside the shares
        size = shares.std(axis=0) * np.r_[np.full(336, np.sqrt(336)), np.full(3, np.sqrt(3) / weight)]
        size *= (
            np.median(pdist((shares / size), "sqeuclidean")) ** 0.5
        )  # as the kernels' width: half are further apart
        ridge = Ridge(found.penalties["shapes"]).fit((shares - shares.mean(axis=0)) / size, y)
        expected.append(ridge.predict((new_shares - shares.mean(axis=0)) / size))
    assert min(np.abs(said - own).max() for own in expected) < 5e-3
    held = {name for name, _ in head.named_buffers()}
    assert not any("centers" in name for name in held) and found.scores["shapes"] > 0.5


def test_rows_of_a_group_are_left_out_together_and_validation_rows_count(build: Any) -> None:
    farms = np.repeat(np.arange(12), 8)
    whole = waves(96, classes=False)
    values = np.asarray(whole["past_values"][:])[farms * 8] + 0.01 * np.random.default_rng(0).normal(
        size=(96, STEPS, 3)
    )
    labels = np.random.default_rng(1).normal(size=12)[farms, None]  # a farm's shapes tell nothing of another one
    data = Dataset.from_dict({"past_values": values.tolist(), "labels": labels.tolist()})
    scores = []
    for groups in (None, farms):
        model, processor = build(data)
        scores.append(fit_head(model, processor, data, groups, validation=data.select(range(5))).scores["shapes"])
    assert scores[0] > 0.9 and scores[1] < 0.5


def test_what_is_beside_the_series_is_read_beside_shapes(build: Any) -> None:
    plain = waves(80, classes=False)
    wet = np.arange(80) % 2
    labels = 5 * wet[:, None] + np.asarray(plain["labels"][:])
    data = Dataset.from_dict(
        {
            "past_values": plain["past_values"][:],
            "labels": labels.tolist(),
            "static_values": [{"wet": int(w)} for w in wet],
        }
    )
    model, processor = build(data)
    found = fit_head(model, processor, data)
    assert found.scores["shapes"] > 0.9


def test_saved_and_rounded_models_say_the_same(build: Any, tmp_path: Path) -> None:
    train, new = waves(60), waves(9, 1)
    model, processor = build(train)
    fit_head(model, processor, train)
    expected = says(model, processor, new)
    model.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = TimesCLIPForClassification.from_pretrained(tmp_path)
    assert torch.equal(says(loaded, processor, new).logits, expected.logits)
    half = copy.deepcopy(model).to(torch.bfloat16)
    assert torch.equal(says(half, processor, new).branch_predictions[:, 2], expected.branch_predictions[:, 2])


def test_a_graph_says_the_same(build: Any, tmp_path: Path) -> None:
    import onnxruntime

    train, new = waves(40), waves(9, 1)
    model, processor = build(train, shape_features=168)
    fit_head(model, processor, train)
    session = onnxruntime.InferenceSession(export_onnx(model, processor, tmp_path / "model.onnx"))
    batch = processor(np.asarray(new["past_values"][:], np.float32), return_tensors="np")
    (said,) = session.run(["logits"], {key.name: batch[key.name] for key in session.get_inputs()})
    np.testing.assert_allclose(said, says(model, processor, new).logits.numpy(), atol=1e-3)


def test_a_trainer_fits_shapes_before_its_first_step(build: Any, tmp_path: Path) -> None:
    train = waves(60)
    model, processor = build(train, "late", kernel_shortcut=False, kernel_sums=False)
    assert unfitted_kernels(model)
    before = says(model, processor, train)
    torch.testing.assert_close(before.logits, before.branch_predictions[:, 0])  # what is unfitted does not count
    arguments = TimesCLIPTrainingArguments(tmp_path, num_train_epochs=1, disable_tqdm=True, report_to=[], use_cpu=True)
    TimesCLIPTrainer(model, arguments, processor, train_dataset=train, eval_dataset=waves(30, 1)).train()
    assert not unfitted_kernels(model) and len(model.config.branch_weights) == 2
    said = says(model, processor, train).branch_predictions[:, 1].argmax(-1).numpy()
    assert (said == np.asarray(train["labels"][:])).mean() > 0.9


def test_gradients_of_an_answer_reach_the_series_through_shapes(build: Any) -> None:
    train = waves(60, classes=False)
    model, processor = build(train)
    fit_head(model, processor, train)
    values = processor(np.asarray(train["past_values"][:4]))["variate_values"].requires_grad_()
    model.series_answer(values, branch="shapes").sum().backward()
    assert values.grad is not None and (values.grad.abs().sum(dim=-1) > 0).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape_features": 200, "branch_fusion": "joint", "head": "mlp", "kernel_shortcut": False}, "late"),
        ({"shape_features": 100}, "at least 168"),
        ({"shape_features": -1}, "0 or more"),
    ],
)
def test_shapes_that_cannot_be_are_refused(tiny_config: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        tiny_config("probe", **fields)
