# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Evaluation whatever form its results come in, and weights that are after it what they were before."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction
from transformers.trainer_pt_utils import nested_numpify
from transformers.utils import logging

logger = logging.get_logger(__name__)

_MOST_EMBEDS = 1e9  # bytes


class BatchedMetrics:
    """Metrics of whole data sets for `batch_eval_metrics=True`: keeps predictions and labels until the last batch.

    Args:
        compute: `compute_metrics` of a `Trainer`.
    """

    def __init__(self, compute: Callable[[EvalPrediction], dict[str, float]]):
        self.compute = compute
        self.parts: list[tuple[Any, Any]] = []

    def __call__(self, prediction: EvalPrediction, compute_result: bool) -> dict[str, float]:
        self.parts.append((nested_numpify(prediction.predictions), nested_numpify(prediction.label_ids)))
        if not compute_result:
            return {}
        predictions, labels = whole(self.parts)
        self.parts = []
        return self.compute(EvalPrediction(predictions, labels))


class BoundedEmbeds:
    """What an evaluation in pre-training keeps for retrieval, which compares all samples: one GB of embeds at most.

    Embeds of further samples are let go; losses count all. At 321 variates of width 256, 1 GB are 1 500 samples, and
    those of a whole data set would be several times the memory of a model.
    """

    def __init__(self, limit: float = _MOST_EMBEDS):
        self.limit, self.used = limit, 0.0
        self.kept = self.seen = 0

    def keep(self, embeds: Any, rows: int, processes: int) -> Any:
        """The embeds of a batch of so many rows on each process, alike on all of them; `None` beyond the limit."""
        tensors = [embeds] if torch.is_tensor(embeds) else list(embeds or ())
        size = processes * rows * sum(x.element_size() * x.numel() / max(1, len(x)) for x in tensors)
        self.seen += processes * rows
        if self.kept and self.used + size > self.limit:
            return None
        self.used, self.kept = self.used + size, self.kept + processes * rows
        return embeds

    def report(self) -> None:
        """Says of what part retrieval was measured, if not of all."""
        if self.kept < self.seen:
            logger.warning_once(
                f"Retrieval is measured on the first {self.kept} of {self.seen} samples: the embeds of all would take "
                f"{self.used / self.kept * self.seen / 1e9:.1f} GB, of which {self.limit / 1e9:g} GB are kept."
            )


def whole(answers: Any) -> tuple[Any, ...]:
    """A tuple of arrays; a list of such tuples, one a batch (`eval_do_concat_batches=False`), is joined."""
    return tuple(map(np.concatenate, zip(*answers, strict=True))) if isinstance(answers, list) else answers


@contextmanager
def evaluating(trainer: Any) -> Iterator[None]:
    """Inside, an evaluation runs: nothing is left of one that was broken off, and weights are afterwards as before.

    After `bf16_full_eval` or `fp16_full_eval` Trainer leaves them in half precision: what is saved then would be
    rounded, and a training would run in it.
    """
    if isinstance(trainer.compute_metrics, BatchedMetrics):
        trainer.compute_metrics.parts = []
    args, model = trainer.args, trainer.model
    if trainer.is_in_train or not (args.bf16_full_eval or args.fp16_full_eval):
        yield
        return
    owners = [(module._parameters, name) for module in model.modules() for name in module._parameters]
    owners += [(module._buffers, name) for module in model.modules() for name in module._buffers]
    kept = [(held, name, held[name].data) for held, name in owners if held[name] is not None]
    try:
        yield
    finally:
        for held, name, data in kept:
            held[name].data = data.to(held[name].device)


@contextmanager
def every_row(args: Any) -> Iterator[None]:
    """Inside, data loaders leave no sample out: `dataloader_drop_last` is for training."""
    drop_last, args.dataloader_drop_last = args.dataloader_drop_last, False
    try:
        yield
    finally:
        args.dataloader_drop_last = drop_last


__all__ = ["BatchedMetrics", "BoundedEmbeds", "evaluating", "every_row", "whole"]
