# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A moving average of the weights beside the ones that are trained: evaluated and kept in their place."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a model's trained weights (Polyak averaging; Tarvainen & Valpola 2017).

    The decay rises to its full value as (1 + step) / (10 + step), so that the random start is forgotten early.

    Args:
        model: its trained parameters are averaged, starting from what they are now.
        steps: time constant, in optimizer steps: what a step contributed has faded to 1/e after so many.
        step: optimizer steps already taken, for a resumed run.
    """

    def __init__(self, model: nn.Module, steps: float, step: int = 0):
        self.model = model
        self.decay = math.exp(-1 / steps)
        self.step = step
        self.averages = {name: weight.float() for name, weight in copy_weights(model).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after an optimizer step."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, parameter in self._trained():
            self.averages[name].lerp_(parameter.float(), 1 - decay)  # in half precision small changes would be lost

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        trained = self.trained_weights()
        load_weights(self.model, self.averages)
        try:
            yield
        finally:
            load_weights(self.model, trained)

    def trained_weights(self) -> dict[str, Tensor]:
        """A copy of the weights that are being trained."""
        return {name: parameter.detach().clone() for name, parameter in self._trained()}

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.model.named_parameters() if name in self.averages)


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights that training may change."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives a model the weights that it had when they were copied."""
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])


__all__ = ["WeightAverage", "copy_weights", "load_weights"]
