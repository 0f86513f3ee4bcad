# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a user puts in the place of a model's task loss, or beside it: a function, smoothed labels, class weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import unwrap_peft_model

from ..model.modeling_timesclip import TimesCLIPForClassification


class TaskObjective(TrainerCallback):
    """The task loss as training arguments want it; the alignment loss is added to it as to any other.

    - `compute_loss_func(outputs, labels, num_items_in_batch=...)` takes the place of the task loss. As `Trainer` has
      it, it returns a sum over its batch divided by `num_items_in_batch`: the observed labels (not NaN, not -100) of
      all batches of an optimizer step, on all processes unless `average_tokens_across_devices=False`. A mean over its
      own batch is the same wherever a step is one batch of one process. `outputs` are those of the model, without
      losses. In evaluation the items are those of the one batch.
    - `label_smoothing_factor` smooths the labels of a classification, in training and evaluation, as `Trainer` does.
    - `class_weights` go into the model's configuration, where they are saved and where its task loss reads them.

    Args:
        trainer: the trainer that it is a callback of.

    Raises:
        ValueError: one of these on a model that has no such loss, or two that exclude each other.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.items: Any = None  # of the optimizer step, while it trains
        self._objective = torch.compiler.disable(self._measure)  # a user's function; compiled, each would compile anew
        self.smoothing = trainer.args.label_smoothing_factor
        self._check()
        self.weights = self._class_weights()
        self.on_train_begin()

    def _check(self) -> None:
        args, model = self.trainer.args, self._model()
        kind, classifies = type(model).__name__, isinstance(model, TimesCLIPForClassification)
        if self.trainer.compute_loss_func is not None and not hasattr(model, "task_objective"):
            raise ValueError(f"compute_loss_func replaces the task loss, and {kind} has none: leave it out")
        for name, given in (("label_smoothing_factor", self.smoothing), ("class_weights", args.class_weights)):
            if not given:
                continue
            if not classifies:
                raise ValueError(f"{name} is for classification, but the model is a {kind}: leave it out")
            if self.trainer.compute_loss_func is not None:
                raise ValueError(f"{name} would have no effect beside compute_loss_func: apply it there")

    def _class_weights(self) -> list[float] | None:
        """A weight for each class, or `None`: as the configuration has it."""
        weights = self.trainer.args.class_weights
        classes = self._model().config.num_labels if weights else 0
        if weights == "balanced":
            return _balanced_weights(self.trainer.train_dataset, classes)
        if weights and len(weights) != classes:
            raise ValueError(f"class_weights has {len(weights)} numbers, the model {classes} classes: {weights}")
        return weights

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """The model may be a new one (`model_init`)."""
        if self.weights is not None:
            self._model().config.class_weights = list(self.weights)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model's task loss is the one wanted."""
        model = self._model()
        if self.trainer.compute_loss_func is not None:
            model.task_objective = self._objective
        if self.smoothing:
            model.label_smoothing = self.smoothing
        try:
            yield
        finally:
            for name in ("task_objective", "label_smoothing"):
                model.__dict__.pop(name, None)

    def count_items(self, batches: list[Any]) -> Tensor | None:
        """The observed labels of the batches of an optimizer step, which begins; `None`: nobody asks for them."""
        args, labels = self.trainer.args, [batch["labels"] for batch in batches if "labels" in batch]
        self.items = None
        if self.trainer.compute_loss_func is None or not labels:
            return None
        count = torch.stack([_observed(part).to(args.device) for part in labels]).sum()
        if args.average_tokens_across_devices and args.world_size > 1:
            count = self.trainer.accelerator.gather(count).sum()
        self.items = count
        return count

    def undivided(self, loss: Tensor) -> Tensor:
        """A training loss as Trainer divides it; old versions take one with a function for divided already."""
        divided = self.trainer.compute_loss_func is None or hasattr(Trainer, "loss_is_scaled_for_ga")
        return loss if divided else loss / self.trainer.current_gradient_accumulation_steps

    def _measure(self, outputs: Any, labels: Tensor) -> Tensor:
        function, args = self.trainer.compute_loss_func, self.trainer.args
        if not self._model().training:
            return function(outputs, labels, num_items_in_batch=_observed(labels))
        # The loss is the sum over batches, GPUs and processes, over all of which a mean is taken later.
        averaged = self.trainer.current_gradient_accumulation_steps * max(args.n_gpu, 1)
        if args.average_tokens_across_devices:
            averaged *= args.world_size
        return averaged * function(outputs, labels, num_items_in_batch=self.items)

    def _model(self) -> Any:
        return unwrap_peft_model(extract_model_from_parallel(self.trainer.model, keep_torch_compile=False))


def _observed(labels: Tensor) -> Tensor:
    return (~torch.isnan(labels) if labels.is_floating_point() else labels.ne(-100)).sum()


def _balanced_weights(dataset: Any, classes: int) -> list[float]:
    """n / (classes x samples of the class), as scikit-learn's `"balanced"`: every class counts as much in sum."""
    if dataset is None or not hasattr(dataset, "__len__"):
        raise ValueError(
            "class_weights='balanced' counts the labels of train_dataset, which must be there and have a length: give "
            "a list of numbers"
        )
    whole = "labels" in (getattr(dataset, "column_names", None) or ())
    labels = np.asarray(dataset["labels"][:] if whole else [dataset[row]["labels"] for row in range(len(dataset))])
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(
            f"class_weights='balanced' needs labels that are whole numbers from 0 to {classes - 1}, found "
            f"{np.unique(labels)[:6].tolist()}"
        )
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise ValueError(
            "class_weights='balanced', but train_dataset has no sample of class "
            f"{np.flatnonzero(counts == 0).tolist()}: give a list of numbers"
        )
    return [float(weight) for weight in len(labels) / (classes * counts)]


__all__ = ["TaskObjective"]
