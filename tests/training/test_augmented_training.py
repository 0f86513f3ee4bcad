# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Training on changed series: seeded, anew in every epoch, and only while training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from timesclip_hf import (
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    fit_head,
)
from timesclip_hf.data.augmentation import AugmentedSeries


def rows(count: int = 24, seed: int = 0) -> Dataset:
    values = np.random.default_rng(seed).normal(size=(count, 12, 3)).cumsum(axis=1)
    return Dataset.from_dict({"past_values": values.tolist(), "labels": values[:, -1, :1].tolist()})


def trainer(tiny_config: Any, folder: Path, **options: Any) -> TimesCLIPTrainer:
    torch.manual_seed(0)
    config = tiny_config("small")
    processor = TimesCLIPProcessor.from_config(config).fit(rows())
    arguments = TimesCLIPTrainingArguments(
        str(folder), num_train_epochs=2, per_device_train_batch_size=8, report_to="none", disable_tqdm=True,
        use_cpu=True, **options,
    )  # fmt: skip
    model = TimesCLIPForRegression(processor.complete_config(config))
    return TimesCLIPTrainer(model, arguments, processor, train_dataset=rows(), eval_dataset=rows(8, 1))


def weights(tiny_config: Any, folder: Path, **options: Any) -> torch.Tensor:
    own = trainer(tiny_config, folder, **options)
    own.train()
    return torch.cat([p.detach().flatten() for p in own.model.parameters()])


def test_it_is_seeded_and_changes_what_is_learnt(tiny_config: Any, tmp_path: Path) -> None:
    first, again, none = (
        weights(tiny_config, tmp_path / name, augment=how)
        for name, how in (("a", "default"), ("b", "default"), ("c", None))
    )
    assert torch.equal(first, again) and not torch.equal(first, none)
    assert torch.equal(none, weights(tiny_config, tmp_path / "d", augment="jitter=0"))


def test_every_epoch_has_other_series_and_validation_its_own(tiny_config: Any, tmp_path: Path) -> None:
    own = trainer(tiny_config, tmp_path, augment="jitter=0.5 mixup=0.3")
    assert own.args.augment == "jitter=0.5 mixup=0.3"
    loader = own.get_train_dataloader()
    loader.set_epoch(0)
    first = torch.cat([batch["patch_values"] for batch in loader]).sum()
    loader.set_epoch(1)
    assert torch.cat([batch["patch_values"] for batch in loader]).sum() != first
    assert own.train_dataset[0]["past_values"] == rows()[0]["past_values"]
    seen = torch.cat([batch["patch_values"] for batch in own.get_eval_dataloader()])
    expected = own.processing_class(np.asarray(rows(8, 1)["past_values"]))["patch_values"]
    torch.testing.assert_close(seen, torch.as_tensor(expected))


def test_an_interrupted_training_goes_on_to_the_bit(tiny_config: Any, tmp_path: Path) -> None:
    whole = weights(tiny_config, tmp_path / "a", augment="default", save_total_limit=3)
    own = trainer(tiny_config, tmp_path / "a", augment="default", save_total_limit=3)
    own.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-3"))
    assert torch.equal(whole, torch.cat([p.detach().flatten() for p in own.model.parameters()]))


def test_heads_in_closed_form_learn_from_copies(tiny_config: Any) -> None:
    data = rows(30)
    copies = AugmentedSeries(data, "jitter=0.05", copies=3)
    torch.manual_seed(0)
    config = tiny_config("probe")
    processor = TimesCLIPProcessor.from_config(config).fit(data)
    model = TimesCLIPForRegression(processor.complete_config(config))
    found = fit_head(model, processor, copies, groups=copies.owners)
    assert found.out_of_fold.shape[0] == 90 and model.config.num_centers == 90
    # A row is left out with its copies: else the nearest center would be its own copy, and scores near 1.
    assert found.scores["mean"] < fit_head(model, processor, copies).scores["mean"]


def test_what_cannot_be_changed_is_refused(tiny_config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="augment: unknown 'noise'"):
        trainer(tiny_config, tmp_path, augment="noise=1")
    config = tiny_config("forecast", prediction_length=4)
    values = np.asarray(rows()["past_values"])
    data = Dataset.from_dict({"past_values": values.tolist(), "labels": values[:, :4].tolist()})
    processor = TimesCLIPProcessor.from_config(config, scaling="instance").fit(values)
    arguments = TimesCLIPTrainingArguments(str(tmp_path), augment="default", report_to="none", use_cpu=True)
    forecaster = TimesCLIPTrainer(
        TimesCLIPForPrediction(processor.complete_config(config)), arguments, processor,
        train_dataset=data, eval_dataset=data,
    )  # fmt: skip
    with pytest.raises(ValueError, match="augment is for whole series with labels"):
        forecaster.get_train_dataloader()
