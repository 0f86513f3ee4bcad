# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Means of a loss's named terms, over batches and over processes."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import find_batch_size
from torch import Tensor

from ..model.losses import observed_count


class LossTerms:
    """Sums up named terms until somebody asks for their means.

    Args:
        accelerator: of the trainer; means are taken over all of its processes.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.sums: dict[str, Tensor] = {}  # name -> weighted sum, sum of weights
        self.weight = 1  # of the next batches; with 0 every process still knows every term

    def add(self, terms: Mapping[str, Tensor | None], inputs: Mapping[str, Any] | None = None) -> None:
        """Adds the terms of a batch.

        Args:
            terms: name -> mean over the batch; `None`: there is no such term.
            inputs: of the batch, where it should count by its observed labels, or samples if it has none; the
                alignment loss always counts by samples. Not given: all batches count alike.
        """
        samples, labels = 1 if inputs is None else find_batch_size(inputs) or 1, (inputs or {}).get("labels")
        for name, value in terms.items():
            if value is None:
                continue
            # Millions of labels add up; Apple's GPUs know nothing beyond fp32.
            precision = torch.float32 if value.device.type == "mps" else torch.float64
            labelled = name != "alignment_loss" and isinstance(labels, Tensor)
            count = observed_count(labels) if labelled else samples  # type: ignore[arg-type]
            weight = torch.ones((), device=value.device, dtype=precision) * count * self.weight
            added = torch.stack([value.detach().mean().to(precision) * weight, weight])
            self.sums[name] = self.sums[name] + added if name in self.sums else added

    def pop(self) -> dict[str, float]:
        """The means of all that was added since the last time; every process must ask."""
        sums, self.sums = self.sums, {}
        totals = {name: self.accelerator.reduce(total, reduction="sum").tolist() for name, total in sums.items()}
        return {name: total / max(weight, 1.0) for name, (total, weight) in totals.items()}


__all__ = ["LossTerms"]
