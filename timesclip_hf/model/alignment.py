# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The contrastive term of training, and how it is weighed against a task loss."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_timesclip import TimesCLIPConfig
from .losses import MAX_LOGIT_SCALE, alignment_loss, gather_pairs, uncertainty_weighted, weight_by_label_count


class AlignmentObjective(nn.Module):
    """The contrastive term: its temperature and its weight beside a task loss, learnt or fixed.

    Args:
        config: as for the models.
        alone: there is no task loss to weigh it against, so nothing of a weight is learnt or counted.
    """

    def __init__(self, config: TimesCLIPConfig, alone: bool = False):
        super().__init__()
        self.config = config
        # While set (by the trainer), samples are compared with all those of an accumulated batch.
        self.accumulation: Any = None
        self.weighting = "fixed" if alone else config.alignment_weighting
        if config.learn_logit_scale:
            self.logit_scale = nn.Parameter(torch.empty(1))  # FSDP shards no 0-dimensional parameters
        if self.weighting == "uncertainty":
            self.log_variances = nn.Parameter(torch.empty(2))
        if self.weighting == "warmup":  # saved with the weights, so that a resumed run goes on from here
            self.training_batches: Tensor
            self.register_buffer("training_batches", torch.zeros((), dtype=torch.long))

    def reset_parameters(self) -> None:
        """What is learnt or counted as it starts; weights that come from a checkpoint stay."""
        if self.config.learn_logit_scale:
            init.constant_(self.logit_scale, self.config.logit_scale_init_value)
        if self.weighting == "uncertainty":  # start from weights 1 and lambda
            init.copy_(self.log_variances, torch.tensor([1.0, self.config.alignment_weight]).log().neg())
        if self.weighting == "warmup":
            init.zeros_(self.training_batches)

    def forward(self, image_embeds: Tensor, text_embeds: Tensor) -> Tensor:
        """The unweighted alignment loss; in training over the batches of all processes."""
        text_embeds = text_embeds[:, : self.config.num_drawn_variates]
        if self.config.layout == "grid":
            text_embeds = text_embeds.mean(dim=1, keepdim=True)  # one image for all is compared with what all say
        scale: Tensor | float = self.config.logit_scale_init_value
        if self.config.learn_logit_scale:
            if self.training:  # as CLIP does: the loss clamps too, but beyond the limit no gradient leads back
                with torch.no_grad():
                    self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
            scale = self.logit_scale[0]
        if self.training and self.accumulation is not None:
            return self.accumulation.loss(image_embeds, text_embeds, scale)
        if self.training:
            image_embeds, text_embeds = gather_pairs(image_embeds, text_embeds)
        return self.compare(image_embeds, text_embeds, scale)

    def compare(self, image_embeds: Tensor, text_embeds: Tensor, logit_scale: Tensor | float) -> Tensor:
        """The alignment loss `(B, V, D)` x 2 -> scalar, as the configuration wants it."""
        mode = str(self.config.alignment)
        return alignment_loss(image_embeds, text_embeds, logit_scale, mode, self.config.alignment_alpha)

    def weigh(self, task_loss: Tensor, labels: Tensor) -> Tensor:
        """In training, a task loss by the share of its labels in the batch of all processes."""
        if self.training and self.accumulation is not None:
            return self.accumulation.weigh(task_loss, labels)
        return weight_by_label_count(task_loss, labels) if self.training else task_loss

    def combine(self, task_loss: Tensor, alignment: Tensor) -> Tensor:
        """What training minimises."""
        if self.weighting == "uncertainty":
            return uncertainty_weighted(task_loss, alignment, self.log_variances)
        weight: Tensor | float = self.config.alignment_weight
        if self.weighting == "warmup":
            weight = (self.training_batches / self.config.alignment_warmup_steps).clamp(max=1.0) * weight
            if self.training and (self.accumulation is None or self.accumulation.is_last):
                # Not in place: a compiled backward pass would compute the weight again, one batch on.
                self.training_batches = self.training_batches + 1
        return task_loss + weight * alignment


__all__ = ["AlignmentObjective"]
