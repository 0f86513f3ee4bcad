# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How much each branch counts: found from answers whose best mixture is known."""

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from matplotlib.figure import Figure

from timesclip_hf import (
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)
from timesclip_hf.hub.facts import training_curve
from timesclip_hf.training import train_report
from timesclip_hf.training.branch_weights import fit_branch_weights


def test_independent_errors_are_weighed_by_their_inverse_variance():
    rng = np.random.default_rng(0)
    truth = 7 + rng.normal(size=(40_000, 1))
    said = truth[:, None] + rng.normal(size=(40_000, 2, 1)) * np.array([1.0, 2.0])[:, None]
    assert fit_branch_weights(said, truth) == pytest.approx([0.8, 0.2], abs=0.02)  # 1 : 1/4


@pytest.mark.parametrize(("count", "least", "most"), [(3, 0.5, 0.62), (3000, 0.98, 1.0)])
def test_few_samples_leave_weights_near_to_equal(count, least, most):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(count, 1))
    said = np.stack([truth, rng.normal(size=(count, 1))], axis=1)  # one knows all, one nothing
    assert least <= fit_branch_weights(said, truth)[0] <= most


def test_targets_count_alike_whatever_their_unit_and_missing_ones_not():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(5000, 2)) * [1.0, 1e6]
    noise = rng.normal(size=(5000, 2, 2)) * [1.0, 1e6] * np.array([[0.1, 3.0], [3.0, 0.1]])
    truth[::2, 1], truth[1::2, 0] = np.nan, np.nan
    mixed = fit_branch_weights(truth[:, None] + noise, truth)
    assert mixed == pytest.approx([0.5, 0.5], abs=0.03)


def test_probabilities_are_mixed_for_the_least_log_loss():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 4000)
    sure = np.full((4000, 3), 0.05)
    sure[np.arange(4000), np.where(rng.random(4000) < 0.85, labels, rng.integers(0, 3, 4000))] = 0.9
    clueless = rng.dirichlet([1, 1, 1], 4000)
    weights = np.array(fit_branch_weights(np.log(np.stack([sure, clueless], axis=1)), labels))
    likelihood = lambda w: np.log(w * sure[np.arange(4000), labels] + (1 - w) * clueless[np.arange(4000), labels])  # noqa: E731
    grid = np.linspace(0, 1, 101)
    assert weights[0] == pytest.approx(grid[np.argmax([likelihood(w).mean() for w in grid])], abs=0.03)


def test_classes_tell_branches_apart_after_fewer_samples_than_numbers():
    labels = np.arange(20) % 2
    knows, clueless = np.eye(2)[labels] * 0.98 + 0.01, np.full((20, 2), 0.5)
    said = np.log(np.stack([knows, clueless], axis=1))
    assert fit_branch_weights(said, labels)[0] > 0.95 > fit_branch_weights(said, labels, prior_samples=20)[0]
    assert fit_branch_weights(said, labels) == fit_branch_weights(said, labels, prior_samples=5)
    numbers = np.eye(2)[labels][:, :1]
    both = np.stack([numbers, np.full((20, 1), 0.5)], axis=1)
    assert fit_branch_weights(both, numbers) == fit_branch_weights(both, numbers, prior_samples=20)


def test_weights_are_on_the_simplex_whatever_is_said():
    rng = np.random.default_rng(4)
    for count in (1, 2, 3):
        truth = rng.normal(size=(60, 1))
        said = truth[:, None] * rng.normal(size=(1, count, 1)) + rng.normal(size=(60, count, 1))
        weights = fit_branch_weights(said, truth)
        assert len(weights) == count and min(weights) >= 0 and sum(weights) == pytest.approx(1, abs=1e-9)
    assert fit_branch_weights(np.zeros((5, 2, 1)), np.zeros((5, 1))) == [0.5, 0.5]  # nothing to tell them apart


@pytest.mark.parametrize("arguments", [{}, {"eval_do_concat_batches": False}, {"batch_eval_metrics": True}])
def test_the_trainer_weighs_branches_by_the_validation_part(tiny_config, tmp_path, monkeypatch, arguments):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 12, 3)).astype(np.float32)
    data = Dataset.from_dict({"past_values": values.tolist(), "labels": values[:, -1, :1].tolist()})
    torch.manual_seed(0)
    config = tiny_config("late", linear_shortcut=True, freeze_vision=False)
    processor = TimesCLIPProcessor.from_config(config).fit(data)
    model = TimesCLIPForRegression(processor.complete_config(config))
    args = TimesCLIPTrainingArguments(
        tmp_path, num_train_epochs=2, per_device_train_batch_size=16, per_device_eval_batch_size=16,
        learning_rate=1e-2, disable_tqdm=True, report_to=[], use_cpu=True, **arguments,
    )  # fmt: skip
    trainer = TimesCLIPTrainer(model, args, processor, train_dataset=data, eval_dataset=data.select(range(40)))
    trainer.train()
    weights = model.config.branch_weights
    batch = processor(np.asarray(data["past_values"][:40], np.float32), labels=np.asarray(data["labels"][:40]))
    with torch.no_grad():
        out = model.eval()(**batch)
    assert weights == pytest.approx(fit_branch_weights(out.branch_predictions, batch["labels"]), abs=1e-3)
    assert trainer.evaluate()["eval_rmse"] == pytest.approx(
        (out.predictions - batch["labels"]).square().mean().sqrt().item(), rel=1e-4
    )
    # The sum of the branches' losses stands beside the answer's, and the picture compares the answer's alone.
    assert all(row["training loss"] > row["training task loss"] > 0 for row in training_curve(trainer))
    lines: dict[str, Any] = {}
    monkeypatch.setattr(train_report, "plot_curves", lambda given, *_, **__: lines.update(given) or Figure())
    assert train_report.write_learning_curve(tmp_path, trainer) == ["learning_curve.png"]
    assert set(lines) == {"training task loss", "validation loss"}
    trainer.save_model(tmp_path / "saved")
    assert TimesCLIPForRegression.from_pretrained(tmp_path / "saved").config.branch_weights == weights
