# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Frozen layers in half precision, cast once.

The rule. In mixed precision, autocast casts the weights of every linear layer each time that it is asked, which for
frozen ones gives the same numbers each time: a fifth of the forward pass of a cached step with a frozen text tower. So
the frozen linear layers of the towers have their weights in half precision for the length of a step, forwards and
backwards. The products, and all that is learnt from them, are the same to the bit; before and after a step, weights
are what they were, for checkpoints and evaluation. Layers that adapters wrap are left alone, since adapters read their
weights.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class HalfWeights:
    """The weights of frozen layers in half precision, which take half of their memory again.

    Args:
        precision: `"bf16"` or `"fp16"`, as accelerate calls it; all else: nothing is done.
    """

    def __init__(self, precision: str):
        self.dtype = _HALF.get(precision)
        self._kept: dict[int, tuple[Tensor, int, Tensor]] = {}  # of a parameter: its numbers, their version, in half

    @contextlib.contextmanager
    def at_work(self, model: nn.Module) -> Iterator[None]:
        """Within, frozen layers have their weights in half precision."""
        if self.dtype is None:
            yield
            return
        whole = [(parameter, parameter.data) for parameter in _frozen(model)]
        for parameter, data in whole:
            parameter.data = self._in_half(parameter, data)
        try:
            yield
        finally:
            for parameter, data in whole:
                parameter.data = data

    def _in_half(self, parameter: nn.Parameter, data: Tensor) -> Tensor:
        known = self._kept.get(id(parameter))
        if known is None or known[0].data_ptr() != data.data_ptr() or known[1] != parameter._version:
            known = data, parameter._version, data.to(self.dtype)
            self._kept[id(parameter)] = known
        return known[2]


def _frozen(model: nn.Module) -> list[Any]:
    """Weights and biases in fp32 of the linear layers of towers in which nothing is learnt."""
    layers = [
        layer
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and "_tower." in name and not name.endswith("base_layer")
    ]
    return [
        parameter
        for layer in layers
        if not any(parameter.requires_grad for parameter in layer.parameters())
        for parameter in layer.parameters()
        if parameter.dtype == torch.float32
    ]


__all__ = ["HalfWeights"]
