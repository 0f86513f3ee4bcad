# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The contrastive term: its temperature and its weight, fixed, rising or learnt."""

import math

import pytest
import torch

from timesclip_hf import TimesCLIPForRegression
from timesclip_hf.model.alignment import AlignmentObjective
from timesclip_hf.model.losses import alignment_loss


@pytest.fixture
def embeds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, 16, generator=generator), torch.randn(6, 3, 16, generator=generator)


def test_fixed_objective_is_the_configured_loss_with_nothing_to_learn(tiny_config, embeds):
    config = tiny_config(alignment="hybrid", alignment_alpha=0.25, logit_scale_init_value=1.0, alignment_weight=0.3)
    objective = AlignmentObjective(config)
    assert not list(objective.parameters()) and not objective.state_dict()
    loss = objective(*embeds)
    assert loss.item() == alignment_loss(*embeds, 1.0, "hybrid", 0.25).item()
    assert objective.combine(torch.tensor(2.0), loss).item() == pytest.approx(2 + 0.3 * loss.item())


def test_warmup_rises_linearly_over_training_batches_and_rests_in_evaluation(tiny_config):
    objective = AlignmentObjective(tiny_config(alignment_weighting="warmup", alignment_warmup_steps=4))
    task, alignment = torch.tensor(2.0), torch.tensor(10.0)
    weights = []
    for step in range(7):
        objective.eval()
        in_evaluation = objective.combine(task, alignment).item()
        objective.train()
        in_training = objective.combine(task, alignment).item()
        assert in_evaluation == in_training, step
        weights.append((in_training - 2) / 10)
    assert weights == pytest.approx([0, 0.025, 0.05, 0.075, 0.1, 0.1, 0.1], abs=1e-6)  # lambda is 0.1


def test_warmup_loss_can_be_differentiated_after_the_counter_moved(tiny_config):
    objective = AlignmentObjective(tiny_config(alignment_weighting="warmup", alignment_warmup_steps=4))
    objective.training_batches.fill_(2)
    alignment = torch.tensor(10.0, requires_grad=True)
    objective.combine(torch.tensor(2.0), alignment).backward()
    assert alignment.grad.item() == pytest.approx(0.05)
    assert objective.training_batches.item() == 3


def test_uncertainty_starts_at_lambda_and_learns(tiny_config):
    config = tiny_config(alignment_weighting="uncertainty", alignment_weight=0.2)
    objective = TimesCLIPForRegression(config).alignment
    assert objective.log_variances.tolist() == pytest.approx([0.0, math.log(1 / 0.2)])
    task, alignment = torch.tensor(3.0), torch.tensor(4.0)
    loss = objective.combine(task, alignment)
    assert loss.item() == pytest.approx(3 + 0.2 * 4 + math.log(5))
    loss.backward()  # 1 - exp(-s) loss
    assert objective.log_variances.grad.tolist() == pytest.approx([1 - 3, 1 - 0.2 * 4])


def test_a_learnt_scale_gets_a_gradient_and_comes_back_from_beyond_its_limit(tiny_config, embeds):
    objective = AlignmentObjective(tiny_config(learn_logit_scale=True))
    with torch.no_grad():
        objective.logit_scale.fill_(9.0)  # where an optimizer step may have left it
    loss = objective(*embeds)
    assert loss.item() == alignment_loss(*embeds, math.log(100)).item()
    loss.backward()
    assert objective.logit_scale.item() == pytest.approx(math.log(100))
    assert objective.logit_scale.grad.item() > 0  # random pairs want it lower


def test_evaluation_does_not_touch_the_learnt_scale(tiny_config, embeds):
    objective = AlignmentObjective(tiny_config(learn_logit_scale=True)).eval()
    with torch.no_grad():
        objective.logit_scale.fill_(9.0)
        assert objective(*embeds).item() == alignment_loss(*embeds, math.log(100)).item()
    assert objective.logit_scale.item() == 9.0
