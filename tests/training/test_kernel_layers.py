# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Fitted kernels, whatever is done to the model that holds them: rounded, loaded, adapted, built anew, shown."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from timesclip_hf import (
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    lora_config,
)
from timesclip_hf.model import heads
from timesclip_hf.model.heads import unfitted_kernels
from timesclip_hf.training.heads import fit_head

QUIET: dict[str, Any] = {
    "num_train_epochs": 1, "per_device_train_batch_size": 16, "disable_tqdm": True, "report_to": [], "use_cpu": True,
}  # fmt: skip


def rows(count: int = 60, seed: int = 0) -> Dataset:
    """Without noise, so that the penalty is small and the weights of kernels are large."""
    values = np.random.default_rng(seed).normal(size=(count, 12, 3)).cumsum(axis=1)
    return Dataset.from_dict({"past_values": values.tolist(), "labels": (50 + 5 * values[:, -1, :1]).tolist()})


@pytest.fixture
def build(tiny_config: Any) -> Any:
    """`build(preset, **fields)`: a model of `rows()`, and its processor."""

    def make(preset: str = "late", **fields: Any) -> tuple[Any, Any]:
        torch.manual_seed(0)
        config = tiny_config(preset, freeze_vision=False, **{"kernel_sums": False, **fields})
        processor = TimesCLIPProcessor.from_config(config).fit(rows())
        return TimesCLIPForRegression(processor.complete_config(config)), processor

    return make


@torch.no_grad()
def said_of_series(model: Any, processor: Any) -> torch.Tensor:
    """What the kernel on the series answers to new ones."""
    values = torch.as_tensor(processor(np.asarray(rows(20, 1)["past_values"]))["variate_values"])
    return model.head["series"](values, None, None)


def test_kernels_are_summed_to_all_digits(build: Any) -> None:
    model, processor = build()
    fit_head(model, processor, rows())
    layer = model.head["series"].layer
    shift, factor, centers, weight, bias = (
        getattr(layer, name).double().numpy() for name in ("shift", "factor", "centers", "weight", "bias")
    )
    assert np.abs(weight).sum() > 100  # cancels to numbers about 1
    values = np.asarray(processor(np.asarray(rows(20, 1)["past_values"]))["variate_values"], np.float64)
    points = (values.reshape(20, -1) - shift) * factor
    kernels = np.exp(-np.square(points[:, None] - centers[None]).sum(axis=-1))
    np.testing.assert_allclose(said_of_series(model, processor), kernels @ weight.T + bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_leaves_kernels_as_they_are(build: Any, tmp_path: Any, dtype: torch.dtype) -> None:
    model, processor = build("probe")
    fit_head(model, processor, rows())
    expected = said_of_series(model, processor)
    model.save_pretrained(tmp_path)
    for half in (copy.deepcopy(model).to(dtype), TimesCLIPForRegression.from_pretrained(tmp_path, dtype=dtype)):
        assert half.dtype == dtype and next(half.parameters()).dtype == dtype
        assert torch.equal(said_of_series(half, processor), expected)


def test_kernels_that_were_fitted_for_other_targets_are_fitted_again(build: Any, tmp_path: Any) -> None:
    model, processor = build()
    fit_head(model, processor, rows())
    assert not unfitted_kernels(model)
    model.save_pretrained(tmp_path)
    two = {"num_targets": 2, "target_mean": None, "target_std": None, "ignore_mismatched_sizes": True}
    assert unfitted_kernels(TimesCLIPForRegression.from_pretrained(tmp_path, **two))


def test_kernels_that_were_never_fitted_are_told_where_a_model_is_saved_or_asked(build: Any, tmp_path: Any) -> None:
    model, processor = build("probe")
    with pytest.warns(UserWarning, match="never fitted and say nothing.*call fit_head"):
        model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="never fitted and say nothing"):
        pipeline("time-series-regression", model=model, processor=processor)
    fit_head(model, processor, rows())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save_pretrained(tmp_path)
        pipeline("time-series-regression", model=model, processor=processor)


def test_a_kernel_on_the_series_alone_asks_no_tower_and_draws_nothing(build: Any, monkeypatch: Any) -> None:
    levels = {"use_loc_scale": True, "variate_mean": [0.0] * 3, "variate_std": [1.0] * 3}
    model, processor = build(**levels)
    monkeypatch.setattr(type(model.timesclip), "forward", None)
    monkeypatch.setattr(TimesCLIPProcessor, "draw", None)
    heads_found = fit_head(model, processor, rows())
    monkeypatch.undo()
    batch = processor(np.asarray(rows()["past_values"]))
    with torch.no_grad():
        said = model(**batch).branch_predictions[:, 2]
    assert heads_found.branches == ["series"] and model.config.branch_weights is None
    assert np.corrcoef(said[:, 0], np.asarray(rows()["labels"])[:, 0])[0, 1] > 0.99


def test_a_model_that_the_trainer_builds_itself_has_kernels_too(build: Any, tmp_path: Any) -> None:
    model, processor = build()
    trainer = TimesCLIPTrainer(
        None, TimesCLIPTrainingArguments(tmp_path, **QUIET), processor, train_dataset=rows(), eval_dataset=rows(20, 1),
        model_init=lambda: TimesCLIPForRegression(copy.deepcopy(model.config)),
    )  # fmt: skip
    trainer.train()
    fit_head(model, processor, rows())
    assert trainer.model.config.num_centers == 60
    assert torch.equal(said_of_series(trainer.model, processor), said_of_series(model, processor))


def test_an_ensemble_is_not_fitted_as_if_it_were_its_first_model(build: Any) -> None:
    model, processor = build(ensemble_size=2)
    with pytest.raises(ValueError, match="ensemble of 2: fit its models apart, then join_models"):
        fit_head(model, processor, rows())


def test_more_readings_than_a_model_may_hold_are_refused_before_anything_is_written(
    build: Any, monkeypatch: Any
) -> None:
    model, processor = build()
    monkeypatch.setattr(heads, "MAX_HEAD_WEIGHTS", 36 * 50)
    with pytest.raises(ValueError, match=r"36 numbers with those of num_centers=60 .*max_centers"):
        fit_head(model, processor, rows())
    assert unfitted_kernels(model) and model.config.num_centers == 0
    fit_head(model, processor, rows(), max_centers=50)
    assert model.config.num_centers == 50


@pytest.mark.parametrize("selection", ["gated", None])
def test_an_adapter_on_fitted_kernels_says_the_same_when_it_is_loaded(
    build: Any, tmp_path: Any, selection: str | None
) -> None:
    peft = pytest.importorskip("peft")
    model, processor = build(variate_selection=selection)
    model.save_pretrained(tmp_path / "raw")
    args = TimesCLIPTrainingArguments(tmp_path / "run", **QUIET)

    def adapted(folder: Any) -> TimesCLIPTrainer:
        base = TimesCLIPForRegression.from_pretrained(folder)
        own = peft.get_peft_model(base, lora_config(base, r=2))
        return TimesCLIPTrainer(own, args, processor, train_dataset=rows(), eval_dataset=rows(20, 1))

    with pytest.raises(ValueError, match="an adapter does not hold them: call fit_head"):
        adapted(tmp_path / "raw").train()
    fit_head(model, processor, rows())
    model.save_pretrained(tmp_path / "base")
    trainer = adapted(tmp_path / "base")
    trainer.train()
    trainer.save_model(tmp_path / "adapter")
    loaded = TimesCLIPForRegression.from_pretrained(tmp_path / "adapter")
    batch = processor(np.asarray(rows(20, 1)["past_values"]))
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**batch).predictions, trainer.model.eval()(**batch).predictions)


def test_the_card_says_that_the_weights_hold_training_series(build: Any, tmp_path: Any) -> None:
    model, processor = build()
    args = TimesCLIPTrainingArguments(tmp_path, **QUIET)
    trainer = TimesCLIPTrainer(model, args, processor, train_dataset=rows(), eval_dataset=rows(20, 1))
    trainer.train()
    trainer.save_model(tmp_path)
    limits = (tmp_path / "README.md").read_text().split("## Limits")[1].split("##")[0]
    assert "The weights hold 60 series that the model was fitted on, their scaled values among them" in limits
    assert "must not be shared" in limits
