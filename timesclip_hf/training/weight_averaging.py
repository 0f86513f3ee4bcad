# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which weights are evaluated and kept: a moving average beside the trained ones; the start, where nothing is better.

Not `torch.optim.swa_utils.AveragedModel`: it copies frozen towers, too, averages in the model's own precision, where
bf16 loses small changes, and takes counters for weights.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback
from transformers.utils import logging

from .sharding import steps_per_epoch

logger = logging.get_logger(__name__)

# Beside a checkpoint whose model is an average: the weights to resume from; and the start, while no epoch is better.
_TRAINED_WEIGHTS = "training_weights.safetensors"
_START_WEIGHTS = "start_weights.safetensors"


class WeightAverage:
    """An exponential moving average of what a model learns (Polyak averaging; Tarvainen & Valpola 2017).

    The decay rises to its full value as (1 + step) / (10 + step), so that the random start is forgotten early.

    Args:
        model: its trained parameters and its buffers are averaged, starting from what they are now; counters among
            the buffers are copied.
        steps: time constant, in optimizer steps: what a step contributed has faded to 1/e after so many.
        step: optimizer steps already taken, for a resumed run.
    """

    def __init__(self, model: nn.Module, steps: float, step: int = 0):
        self.model = model
        self.decay = math.exp(-1 / steps)
        self.step = step
        weights = copy_weights(model)
        self.averages = {name: w.float() if w.is_floating_point() else w for name, w in weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after an optimizer step."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, weight in _changing(self.model):
            if weight.is_floating_point():
                self.averages[name].lerp_(weight.float(), 1 - decay)  # in half precision small changes would be lost
            else:
                self.averages[name].copy_(weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        trained = copy_weights(self.model)
        load_weights(self.model, self.averages)
        try:
            yield
        finally:
            load_weights(self.model, trained)


class KeptWeights(TrainerCallback):
    """Averages weights (`args.average_epochs`); keeps the start where `args.eval_on_start` finds no epoch better."""

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.average: WeightAverage | None = None
        self.start: dict[str, Tensor] | None = None

    def applied(self) -> AbstractContextManager[None]:
        """Inside, the model has the averaged weights, while there are any: during training."""
        return nullcontext() if self.average is None else self.average.applied()

    def save(self, folder: str) -> None:
        """Writes what resuming needs beside the average that was saved in a checkpoint."""
        if not self.trainer.args.should_save or self.trainer.args.save_only_model:
            return
        if self.average is not None:
            save_file(copy_weights(self.trainer.model), Path(folder) / _TRAINED_WEIGHTS)
        if self.start is not None and not self.trainer.state.best_global_step:  # still the best
            save_file(self.start, Path(folder) / _START_WEIGHTS)

    def forget(self) -> None:
        """Leaves the weights as they are."""
        self.average = self.start = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.start = self._resumed(_START_WEIGHTS)
        if args.average_epochs is None:
            return
        steps = args.average_epochs * steps_per_epoch(self.trainer)
        self.average = WeightAverage(self.trainer.model, steps, state.global_step)
        if trained := self._resumed(_TRAINED_WEIGHTS):
            load_weights(self.trainer.model, trained)
        elif state.global_step > 0:
            logger.warning(f"The checkpoint has no {_TRAINED_WEIGHTS}: training goes on from its averaged weights.")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.average is not None:
            self.average.update()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        first = state.global_step == 0 and self.trainer.is_in_train
        name = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
        # With several parts to evaluate on, the metric is of one of them.
        if first and args.eval_on_start and args.load_best_model_at_end and name in metrics:
            state.best_metric, state.best_global_step = metrics[name], 0
            self.start = copy_weights(self.trainer.model)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.load_best_model_at_end and state.best_model_checkpoint:
            return  # Trainer has loaded it
        kept = self.start if args.load_best_model_at_end and self.start else self.average and self.average.averages
        if kept:
            load_weights(self.trainer.model, kept)

    def _resumed(self, name: str) -> dict[str, Tensor] | None:
        """What the checkpoint that this run goes on from has beside its model."""
        folder = self.trainer.checkpoints.folder
        there = folder is not None and (folder / name).is_file()
        return load_file(folder / name, str(self.trainer.model.device)) if there else None


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights that training may change, and of the buffers."""
    return {name: weight.detach().clone() for name, weight in _changing(model)}


@torch.no_grad()
def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives a model the weights that it had when they were copied."""
    for name, weight in _changing(model):
        if name in weights:
            weight.copy_(weights[name])


def _changing(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    saved = model.state_dict(keep_vars=True)  # buffers that are not in it are constants
    yield from ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name in saved)


__all__ = ["KeptWeights", "WeightAverage", "copy_weights", "load_weights"]
