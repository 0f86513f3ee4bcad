# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Alignment over an accumulated batch in the memory of a micro-batch (GradCache: Gao et al., arXiv 2101.06983)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import get_device_states, set_device_states
from transformers.trainer_utils import unwrap_peft_model

from ..model.losses import gather_pairs, observed_count


class AccumulatedAlignment:
    """Lets micro-batches, of all processes, train as the one batch that they make up: losses are means over all of it.

    First every micro-batch goes through the model without a graph, and only its embeds are kept; from these come the
    alignment loss of the whole batch and its gradient at each embed. Then every micro-batch goes through the model
    once more, now with a graph, and its embeds are handed the gradient that is known. The random numbers of the first
    time are drawn again, so that dropout is the same. Task losses are weighted by the labels of each micro-batch, so
    that averaging over micro-batches and processes, as accumulation and DistributedDataParallel do, is right.

    Args:
        objective: the `AlignmentObjective` of the model.
        batches: of this process; every process needs as many, their sizes may differ.
    """

    def __init__(self, objective: Any, batches: list[Any]):
        self.objective = objective
        self.batches = batches
        self._random_states: list[Any] = []
        self._embeds: list[tuple[Tensor, Tensor]] = []
        self._counts: list[Tensor] = []
        self._scale: Tensor = torch.zeros(())
        self._value: Tensor | None = None
        self._gradients: list[tuple[Tensor, Tensor]] = []
        self._scale_gradient: Tensor = torch.zeros(())
        self._share: Tensor | float = 0.0
        self._next = 0

    @property
    def is_last(self) -> bool:
        """Whether the last micro-batch is on its way, now with a graph."""
        return self._value is not None and self._next == len(self.batches) - 1

    @contextmanager
    def micro_batch(self, forward: Callable[[Any], Any], parameter: nn.Parameter) -> Iterator[None]:
        """Inside, the next micro-batch goes through the model; to be entered once for each of them.

        Args:
            forward: takes a micro-batch through the model in training mode, labels included.
            parameter: any of the model, on its device.
        """
        self.objective.accumulation = self
        try:
            if self._value is None:
                self._read_all(forward, parameter)
            on_cpu, on_devices = self._random_states[self._next]
            torch.set_rng_state(on_cpu)
            set_device_states(*on_devices)
            yield
        finally:
            self.objective.accumulation = None
        self._next += 1

    def loss(self, image_embeds: Tensor, text_embeds: Tensor, logit_scale: Tensor | float) -> Tensor:
        """The alignment loss of the whole batch, with its gradient at these embeds `(B, V, D)` of one micro-batch."""
        if self._value is None:
            self._embeds.append((image_embeds.detach(), text_embeds.detach()))
            self._scale = torch.as_tensor(logit_scale).detach().to(image_embeds.device, torch.float32, copy=True)
            return image_embeds.new_zeros((), dtype=torch.float32)
        image_gradient, text_gradient = self._gradients[self._next]
        known = [(image_embeds, image_gradient), (text_embeds, text_gradient)]
        if isinstance(logit_scale, Tensor):
            known.append((logit_scale, self._scale_gradient))
        # x - x.detach() is 0, and its gradient is 1: the sum has the loss's value and the gradient given.
        return self._value + sum((((x - x.detach()).float() * gradient).sum() for x, gradient in known), start=0.0)

    def weigh(self, task_loss: Tensor, labels: Tensor) -> Tensor:
        """A mean over the labels of one micro-batch, by their share in the whole batch."""
        count = observed_count(labels)
        if self._value is None:
            self._counts.append(count)
            return task_loss
        return task_loss * (count * self._share)

    def _read_all(self, forward: Callable[[Any], Any], parameter: nn.Parameter) -> None:
        """The first time through: embeds, then loss and gradients."""
        with torch.no_grad():
            for batch in self.batches:
                self._random_states.append((torch.get_rng_state(), get_device_states(parameter)))
                forward(batch)
        self.batches = [None] * len(self.batches)  # Trainer holds them, and lets go of each in turn
        sizes = [len(image) for image, _ in self._embeds]
        image, text = (torch.cat(embeds).float().requires_grad_() for embeds in zip(*self._embeds, strict=True))
        self._embeds = []
        scale = self._scale.requires_grad_()
        with torch.enable_grad():
            loss = self.objective.compare(*gather_pairs(image, text), scale)
            # Each process computes the same loss; on the way back, gathering sums over them.
            image_gradient, text_gradient, self._scale_gradient = torch.autograd.grad(loss, [image, text, scale])
        parts = [(gradient * len(sizes)).split(sizes) for gradient in (image_gradient, text_gradient)]
        self._gradients = list(zip(*parts, strict=True))
        self._value = loss.detach()
        if self._counts:  # none in pre-training
            total, processes = torch.stack(self._counts).sum(), 1
            if distributed.is_available() and distributed.is_initialized():
                distributed.all_reduce(total)
                processes = distributed.get_world_size()
            self._share = len(sizes) * processes / total.clamp(min=1)


def alignment_objective(model: Any) -> Any:
    """The `AlignmentObjective` that a model trains, whatever is wrapped around it; `None`: it has none."""
    objective: Any = getattr(unwrap_peft_model(extract_model_from_parallel(model)), "alignment", None)
    if hasattr(objective, "modules_to_save"):  # beside an adapter, peft trains a copy
        return objective.modules_to_save[objective.active_adapters[0]]
    return objective


__all__ = ["AccumulatedAlignment", "alignment_objective"]
