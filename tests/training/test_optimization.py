# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Learning rates, by themselves; `test_trainer.py` has them in training."""

import pytest
import torch
from torch import nn

from timesclip_hf.training.optimization import epoch_decay_schedule, set_tower_rate


def test_towers_get_groups_of_their_own_with_all_other_settings_kept() -> None:
    model = nn.ModuleDict({"text_tower": nn.Linear(2, 2), "vision_tower": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    decaying = [module.weight for module in model.values()]
    rest = [module.bias for module in model.values()]
    optimizer = torch.optim.AdamW(
        [{"params": decaying, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=1e-2
    )
    set_tower_rate(optimizer, model, 1e-5)
    found = [(g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups]
    assert found == [(1e-2, 0.1, 1), (1e-5, 0.1, 2), (1e-2, 0.0, 1), (1e-5, 0.0, 2)]


def test_rates_rise_in_the_warmup_and_step_down_after_each_epoch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = epoch_decay_schedule(optimizer, decay=0.5, epoch_steps=2, warmup_steps=1)
    rates = []
    for _ in range(7):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25])
