# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Learning rates: of the towers apart from the rest, and over the epochs."""

from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def set_tower_rate(optimizer: Optimizer, model: nn.Module, rate: float) -> None:
    """Puts the towers' own weights in groups of their own, which learn at `rate`.

    What adapters add to them is new, and so is a tower of random weights beside one of a checkpoint.
    """
    added, random = _added_by_adapters(model), getattr(model, "random_towers", ())
    names = [f"{branch}_tower." for branch in ("vision", "text") if branch not in random]
    towers = {
        id(p) for name, p in model.named_parameters() if any(tower in name for tower in names) and id(p) not in added
    }
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        own = [p for p in group["params"] if id(p) not in towers]
        tower = [p for p in group["params"] if id(p) in towers]
        groups += [{**group, "params": own}, {**group, "params": tower, "lr": rate}]
    optimizer.param_groups[:] = [group for group in groups if group["params"]]


def _added_by_adapters(model: nn.Module) -> set[int]:
    """Parameters that peft put beside the modules it wrapped: matrices of an adapter, copies to train whole."""
    wrapped = {"base_layer", "original_module"}
    return {
        id(parameter)
        for module in model.modules()
        if wrapped & module._modules.keys()
        for name, parameter in module.named_parameters()
        if name.partition(".")[0] not in wrapped
    }


def epoch_decay_schedule(optimizer: Optimizer, decay: float, epoch_steps: int, warmup_steps: int) -> LambdaLR:
    """A linear warmup, then all rates times `decay` after each epoch of `epoch_steps` steps."""

    def factor(step: int) -> float:
        warmup = min(1.0, (step + 1) / (warmup_steps + 1))
        return warmup * decay ** (max(0, step - warmup_steps) // epoch_steps)

    return LambdaLR(optimizer, factor)


__all__ = ["epoch_decay_schedule", "set_tower_rate"]
