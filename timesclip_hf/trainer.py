# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Trainer for TimesCLIP: its loss with every term named, and two learning rates."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer_utils import EvalLoopOutput

from .configuration_timesclip import TimesCLIPConfig
from .data import TimesCLIPDataCollator
from .metrics import compute_regression_metrics
from .modeling_timesclip import TimesCLIPForRegression
from .processing_timesclip import TimesCLIPProcessor
from .training_args import TimesCLIPTrainingArguments

_LOSS_TERMS = ("task_loss", "alignment_loss")


class TimesCLIPTrainer(Trainer):
    """
    As `transformers.Trainer`; what differs:

    - `compute_loss` minimises task loss + weighted alignment loss in training, reports the task loss alone as
      `eval_loss` (an InfoNCE value depends on the batch size), and logs every term by name.
    - With a `TimesCLIPProcessor` as `processing_class`, batches are rendered from the stored arrays when needed.
    - `args.tower_learning_rate` sets the towers apart; `args.early_stopping_patience` stops early.
    - A regression model gets RMSE, MAE, R2 and MAPE in original units as its metrics.

    Accumulating gradients does not enlarge the batch that the alignment loss compares within; more processes do.

    Args:
        model: a TimesCLIP model.
        args: `TimesCLIPTrainingArguments`.
        processing_class: the fitted processor; saved with every checkpoint.
        **kwargs: as for `Trainer`; a `data_collator` or `compute_metrics` given here wins.
    """

    # The losses are means over a batch: Trainer divides them by the number of accumulated batches.
    loss_is_scaled_for_ga = False
    args: TimesCLIPTrainingArguments

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TimesCLIPTrainingArguments | None = None,
        processing_class: TimesCLIPProcessor | None = None,
        **kwargs: Any,
    ):
        args = args if args is not None else TimesCLIPTrainingArguments()
        if kwargs.get("data_collator") is None and processing_class is not None:
            kwargs["data_collator"] = TimesCLIPDataCollator(processing_class)
        super().__init__(model=model, args=args, processing_class=processing_class, **kwargs)
        if self.compute_metrics is None and isinstance(self.model, TimesCLIPForRegression):
            self.compute_metrics = compute_regression_metrics
        if isinstance(processing_class, TimesCLIPProcessor):
            _check_agreement(self.model, processing_class)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
        self._term_sums: dict[str, Tensor] = {}
        self._term_batches = 0

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The weighted sum of the loss terms in training, the task loss alone in evaluation."""
        outputs = model(**inputs)
        if outputs.loss is None:
            raise ValueError(f"The batch has no 'labels', only {sorted(inputs)}: there is no loss to compute.")
        for name in _LOSS_TERMS:
            value = getattr(outputs, name, None)
            if value is not None:
                self._term_sums[name] = self._term_sums.get(name, 0) + value.detach().mean()
        self._term_batches += 1
        loss = outputs.loss if model.training else outputs.task_loss
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Trainer's optimizer, with the towers' weights in groups of their own where they learn at another rate."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        rate = self.args.tower_learning_rate
        if not fresh or rate is None:
            return optimizer
        learning: Any = self.model if model is None else model
        towers = {id(p) for name, p in learning.named_parameters() if "vision_tower." in name or "text_tower." in name}
        groups = []
        for group in optimizer.param_groups:
            own = [p for p in group["params"] if id(p) not in towers]
            tower = [p for p in group["params"] if id(p) in towers]
            groups += [{**group, "params": own}, {**group, "params": tower, "lr": rate}]
        optimizer.param_groups[:] = [group for group in groups if group["params"]]
        return optimizer

    def evaluation_loop(  # type: ignore[override]
        self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> EvalLoopOutput:
        """Trainer's loop; the alignment loss is reported beside the metrics."""
        training_terms = self._pop_terms()
        kwargs["metric_key_prefix"] = metric_key_prefix
        output = super().evaluation_loop(*args, **kwargs)
        terms = self._mean_terms(self._pop_terms())
        if output.metrics is not None and "alignment_loss" in terms:
            output.metrics[f"{metric_key_prefix}_alignment_loss"] = terms["alignment_loss"]
        self._term_sums, self._term_batches = training_terms
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the named loss terms, averaged since the last log, to each training log."""
        if "loss" in logs:
            logs = {**logs, **self._mean_terms(self._pop_terms())}
        super().log(logs, start_time)

    def _pop_terms(self) -> tuple[dict[str, Tensor], int]:
        terms = (self._term_sums, self._term_batches)
        self._term_sums, self._term_batches = {}, 0
        return terms

    def _mean_terms(self, terms: tuple[dict[str, Tensor], int]) -> dict[str, float]:
        sums, batches = terms
        return {
            name: self.accelerator.reduce(total / max(batches, 1), reduction="mean").item()
            for name, total in sums.items()
        }


def _check_agreement(model: Any, processor: TimesCLIPProcessor) -> None:
    """A model that does not know what the processor learnt would train on, and quietly ignore it."""
    statistics = processor.statistics or {}
    config = getattr(model, "config", None)
    if not isinstance(config, TimesCLIPConfig):
        return
    faults = []
    if statistics.get("static") and config.num_static_features != processor.num_static_features:
        found, wanted = config.num_static_features, processor.num_static_features
        faults.append(f"num_static_features is {found}, the processor encodes {wanted}")
    if statistics.get("targets") and isinstance(model, TimesCLIPForRegression) and config.target_mean is None:
        faults.append("target_mean and target_std are not set, but the processor was fitted with labels")
    if faults:
        raise ValueError(
            f"Model and processor disagree: {'; '.join(faults)}. Build the model from "
            "processor.complete_config(config), or from_vision_text_pretrained(..., **processor.config_fields())."
        )


__all__ = ["TimesCLIPTrainer"]
