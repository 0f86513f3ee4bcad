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
        self.averages = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after an optimizer step."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, parameter in self._trained():
            self.averages[name].lerp_(parameter.to(self.averages[name].dtype), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        trained = self.trained_weights()
        self.load(self.averages)
        try:
            yield
        finally:
            self.load(trained)

    def trained_weights(self) -> dict[str, Tensor]:
        """A copy of the weights that are being trained."""
        return {name: parameter.detach().clone() for name, parameter in self._trained()}

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Gives the model these weights."""
        for name, parameter in self._trained():
            parameter.copy_(weights[name])

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.model.named_parameters() if name in self.averages)


__all__ = ["WeightAverage"]
