# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Classification and alignment pre-training: the two heads beside numbers and forecasts."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForPreTraining

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    alignment_loss,
)


def class_batch(make_batch, config, labels=(0, 2, 1, 2)):
    return {**make_batch(config, len(labels)), "labels": torch.tensor(labels)}


def make_series(num_samples, seed):
    """Three classes: rising, falling, flat; one variate tells, two are noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num_samples)
    slope = np.array([1.0, -1.0, 0.0])[labels]
    values = 0.1 * rng.normal(size=(num_samples, 12, 3))
    values[:, :, 0] += slope[:, None] * np.linspace(-1, 1, 12)
    return Dataset.from_dict({"past_values": values.astype(np.float32).tolist(), "labels": labels.tolist()})


def arguments(folder, **fields):
    quiet = {"disable_tqdm": True, "report_to": "none", "use_cpu": True}
    sizes = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 16}
    return TimesCLIPTrainingArguments(output_dir=str(folder), **{**quiet, **sizes, **fields})


# Classification


@pytest.mark.parametrize("preset", ["full", "text_only", "vision_only"])
def test_the_loss_is_cross_entropy_of_the_logits(tiny_config, make_batch, preset):
    model = TimesCLIPForClassification(tiny_config(preset, num_labels=3)).eval()
    batch = class_batch(make_batch, model.config)
    with torch.no_grad():
        outputs = model(**batch)
    logits = outputs.logits.double().numpy()
    assert logits.shape == (4, 3)
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -log_shares[np.arange(4), batch["labels"].numpy()].mean()
    assert outputs.task_loss.item() == pytest.approx(expected, rel=1e-5)
    weighted = 0.1 * outputs.alignment_loss.item() if preset == "full" else 0.0
    assert outputs.loss.item() == pytest.approx(expected + weighted, rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(4, 1, dtype=torch.long), r"expected \(batch,\)"),
        (torch.zeros(4), "integers"),
        (torch.tensor([0, 1, 2, 3]), "run from 0 to 3, expected 0 to 2"),
        (torch.tensor([0, 1, 2, -1]), "run from -1 to 2"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tiny_config, make_batch, labels, message):
    model = TimesCLIPForClassification(tiny_config("text_only", num_labels=3))
    with pytest.raises(ValueError, match=message):
        model(**{**class_batch(make_batch, model.config), "labels": labels})


def test_a_classifier_learns_and_is_saved_with_its_classes_names(tiny_config, tmp_path):
    names = {0: "rising", 1: "falling", 2: "flat"}
    config = tiny_config("text_only", num_labels=3, id2label=names, label2id={v: k for k, v in names.items()})
    train, validation = make_series(96, 0), make_series(60, 1)
    processor = TimesCLIPProcessor.from_config(config).fit(train["past_values"][:])
    torch.manual_seed(0)
    trainer = TimesCLIPTrainer(
        model=TimesCLIPForClassification(processor.complete_config(config)),
        args=arguments(tmp_path / "run", num_train_epochs=8, learning_rate=5e-3),
        processing_class=processor,
        train_dataset=train,
        eval_dataset=validation,
    )
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_accuracy"] > 0.9
    assert metrics["eval_log_loss"] == pytest.approx(metrics["eval_loss"], rel=1e-4)
    assert trainer.args.metric_for_best_model == "log_loss"
    trainer.save_model(str(tmp_path / "saved"))
    reloaded = TimesCLIPForClassification.from_pretrained(tmp_path / "saved").eval()
    assert reloaded.config.id2label == names
    series = np.asarray(validation["past_values"][:])
    with torch.no_grad():
        logits = reloaded(**TimesCLIPProcessor.from_pretrained(tmp_path / "saved")(series)).logits
    share = (logits.argmax(dim=1).numpy() == np.asarray(validation["labels"])).mean()
    assert share == pytest.approx(metrics["eval_accuracy"])


# Pre-training


def test_pre_training_is_the_alignment_loss_of_both_branches(tiny_config, make_batch):
    config = tiny_config("full", alignment="global")
    model = TimesCLIPForPreTraining(config).eval()
    batch = make_batch(config)
    del batch["labels"]
    with torch.no_grad():
        outputs = model(**batch)
        expected = alignment_loss(outputs.image_embeds, outputs.text_embeds, config.logit_scale_init_value, "global")
        assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert model(**batch, return_loss=False).loss is None
    assert not any("selection" in name or name.startswith("head") for name in model.state_dict())
    with pytest.raises(ValueError, match="both branches"):
        TimesCLIPForPreTraining(tiny_config("text_only"))


def test_pretraining_learns_no_weight_of_a_loss_that_stands_alone(tiny_config):
    model = TimesCLIPForPreTraining(tiny_config(alignment_weighting="uncertainty", learn_logit_scale=True))
    assert [name for name, _ in model.alignment.named_parameters()] == ["logit_scale"]


def test_pre_training_brings_the_branches_together_and_other_models_start_from_it(tiny_config, tmp_path):
    white = {"image_mean": [1.0] * 3, "image_std": [0.5] * 3}  # tower from random weights: blank paper is zero
    config = tiny_config("full", freeze_vision=False, alignment="global", text_dropout=0.0, **white)
    train = make_series(48, 0)  # labels and all: pre-training has no use for them
    processor = TimesCLIPProcessor.from_config(config, line_width=3.0).fit(train["past_values"][:])
    torch.manual_seed(0)
    trainer = TimesCLIPTrainer(
        model=TimesCLIPForPreTraining(processor.complete_config(config)),
        args=arguments(tmp_path / "run", num_train_epochs=12, learning_rate=2e-3),
        processing_class=processor,
        train_dataset=train,
        eval_dataset=train,
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < 0.7 * before["eval_loss"]
    for direction in ("image_to_text_top1", "text_to_image_top1"):
        assert before[f"eval_{direction}"] < 0.3 < after[f"eval_{direction}"]
    trainer.save_model(str(tmp_path / "saved"))
    assert type(AutoModelForPreTraining.from_pretrained(tmp_path / "saved")) is TimesCLIPForPreTraining
    towers = trainer.model.timesclip.text_tower.state_dict()
    for model_class in (TimesCLIPForRegression, TimesCLIPForPrediction, TimesCLIPForClassification):
        model, report = model_class.from_pretrained(tmp_path / "saved", output_loading_info=True)
        fresh = {name.split(".")[0] for name in report["missing_keys"] if not name.startswith("timesclip.")}
        assert fresh == {"head"} and not report["unexpected_keys"]
        for name, tensor in model.timesclip.text_tower.state_dict().items():
            torch.testing.assert_close(tensor, towers[name], rtol=0, atol=0)
