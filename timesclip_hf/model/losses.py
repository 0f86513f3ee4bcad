# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The objectives, as pure functions: the contrastive one of embeds, and that of a task; scalars out."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed
from transformers.utils.generic import maybe_autocast

from .precision import widened

# CLIP (arXiv 2103.00020) clips the learnt scale so that logits are never multiplied by more than 100.
MAX_LOGIT_SCALE = math.log(100)


class _GatherRows(torch.autograd.Function):
    """All processes' rows; each process gets back the gradients that all of them sent to its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        mine = torch.tensor([len(rows)], device=rows.device)
        found = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
        distributed.all_gather(found, mine)
        sizes = torch.cat(found).tolist()
        # Filled up to the largest share: not every backend gathers tensors of different sizes.
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(gathered, padded)
        ctx.own = (sum(sizes[: distributed.get_rank()]), len(rows))
        return torch.cat([share[:size] for share, size in zip(gathered, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # A copy: the gradient that arrives here may be shared with other branches of the graph.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        return gradient.narrow(0, *ctx.own)


def gather_embeds(embeds: Tensor) -> Tensor:
    """The embeds of all processes along the batch, differentiable.

    Gradients are summed over processes on the way back, and DistributedDataParallel averages those of the parameters,
    so a loss that every process computes on the gathered embeds has the gradient of one process on the whole batch.

    Args:
        embeds: `(B, ...)`; B may differ between processes.

    Returns:
        `(sum of B, ...)`; the input itself where `torch.distributed` is not running.
    """
    return _GatherRows.apply(embeds) if _several_processes() else embeds


def gather_pairs(image_embeds: Tensor, text_embeds: Tensor) -> tuple[Tensor, Tensor]:
    """`gather_embeds` of both readings `(B, ..., D)` in one go."""
    if not _several_processes():
        return image_embeds, text_embeds
    image_embeds, text_embeds = gather_embeds(torch.cat([image_embeds, text_embeds], dim=-1)).chunk(2, dim=-1)
    return image_embeds, text_embeds


def observed_count(labels: Tensor) -> Tensor:
    """How many entries of labels a task loss is a mean over: all that are not NaN; an integer scalar."""
    observed = ~torch.isnan(labels) if labels.is_floating_point() else torch.ones_like(labels)
    return observed.sum()


def weight_by_label_count(loss: Tensor, labels: Tensor) -> Tensor:
    """A mean over this process's labels, weighted so that averaging over processes gives the mean over all labels.

    Args:
        loss: scalar, mean over the observed entries of `labels`.
        labels: of any shape, NaN = not observed; processes may differ in how many are observed, and have none.

    Returns:
        loss x own entries / (mean of entries over processes); the loss itself where `torch.distributed` is not
        running.
    """
    if not _several_processes():
        return loss
    count = observed_count(labels)
    total = count.clone()
    distributed.all_reduce(total)
    return loss * (count * distributed.get_world_size() / total.clamp(min=1))


def info_nce(image_embeds: Tensor, text_embeds: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE over the batch (van den Oord et al. 2018; CLIP, arXiv 2103.00020).

    Args:
        image_embeds: `(B, D)`, any length; compared by cosine.
        text_embeds: `(B, D)`; row i belongs to row i of `image_embeds`, all other rows are negatives.
        logit_scale: log of 1 / tau; clamped so that 1 / tau is at most 100.

    Returns:
        Scalar in fp32: mean of the cross-entropies image -> text and text -> image. 0 for a batch of one.

    Raises:
        ValueError: shapes differ or are not 2-d.
    """
    if image_embeds.ndim != 2 or image_embeds.shape != text_embeds.shape:
        raise ValueError(
            "image_embeds and text_embeds must both be (batch, dim), "
            f"got {tuple(image_embeds.shape)} and {tuple(text_embeds.shape)}."
        )
    return _mean_info_nce(image_embeds[:, None], text_embeds[:, None], logit_scale)


def alignment_loss(
    image_embeds: Tensor,
    text_embeds: Tensor,
    logit_scale: Tensor | float,
    mode: str = "hybrid",
    alpha: float = 0.5,
) -> Tensor:
    """InfoNCE between the two readings of multivariate series.

    Args:
        image_embeds: `(B, V, D)`.
        text_embeds: `(B, V, D)`.
        logit_scale: log of 1 / tau.
        mode: `"variate"`: mean over variates of InfoNCE between samples; `"global"`: InfoNCE between samples described
            by all their variates side by side (TimesCLIP, arXiv 2506.24124); `"hybrid"`: alpha x variate +
            (1 - alpha) x global.
        alpha: share of the variate term in `"hybrid"`.

    Returns:
        Scalar in fp32.

    Raises:
        ValueError: shapes differ or are not 3-d, or the mode is unknown.
    """
    if image_embeds.ndim != 3 or image_embeds.shape != text_embeds.shape:
        raise ValueError(
            "image_embeds and text_embeds must both be (batch, variates, dim), "
            f"got {tuple(image_embeds.shape)} and {tuple(text_embeds.shape)}."
        )
    if mode not in ("variate", "global", "hybrid"):
        raise ValueError(f"mode must be 'variate', 'global' or 'hybrid', got {mode!r}.")
    if mode == "global":
        alpha = 0.0
    elif mode == "variate":
        alpha = 1.0
    loss = image_embeds.new_zeros((), dtype=torch.float32)
    if alpha > 0:
        loss = loss + alpha * _mean_info_nce(image_embeds, text_embeds, logit_scale)
    if alpha < 1:
        loss = loss + (1 - alpha) * info_nce(image_embeds.flatten(1), text_embeds.flatten(1), logit_scale)
    return loss


def task_loss(errors: Tensor, predictions: Tensor, targets: Tensor, kind: str) -> Tensor:
    """The supervised term: mean over all entries that are observed.

    Args:
        errors: predictions - targets in the unit that the loss counts in (standardised, say); any shape.
        predictions, targets: the same shape, in original units; NaN targets are not observed and count nowhere.
        kind: `"mse"`, `"mae"` or `"smape"` (2 |y - f| / (|y| + |f|), 0 where both are 0; in original units, whatever
            `errors` say).

    Returns:
        Scalar in fp32; 0, with gradients of zero, where nothing is observed.
    """
    observed = ~torch.isnan(targets)
    errors = torch.where(observed, errors.float(), 0)
    if kind == "mse":
        losses = errors.square()
    elif kind == "mae":
        losses = errors.abs()
    elif kind == "smape":
        predicted, target = widened(predictions), torch.where(observed, widened(targets), 0)
        size = torch.where(observed, predicted.abs() + target.abs(), 0)
        # Where both are 0 the error is 0 over the smallest normal number: 0, without a division by zero.
        losses = (
            2 * torch.where(observed, (predicted - target).abs(), 0) / size.clamp(min=torch.finfo(size.dtype).tiny)
        ).float()
    else:
        raise ValueError(f"loss must be 'mse', 'mae' or 'smape', got {kind!r}.")
    return losses.sum() / observed.sum().clamp(min=1)


def uncertainty_weighted(task_loss: Tensor, alignment_loss: Tensor, log_variances: Tensor) -> Tensor:
    """Sum of both losses with learnt weights (Kendall et al. 2018, arXiv 1705.07115).

    Each loss is divided by its variance and pays the log of it; without the second term the optimum would be an
    infinite variance, which only switches the loss off.

    Args:
        task_loss, alignment_loss: scalars.
        log_variances: `(2,)`, learnt; for the task and the alignment.

    Returns:
        exp(-s_0) task + s_0 + exp(-s_1) alignment + s_1, a scalar in fp32.
    """
    losses = torch.stack([task_loss.float(), alignment_loss.float()])
    return (torch.exp(-log_variances) * losses + log_variances).sum()


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _mean_info_nce(image_embeds: Tensor, text_embeds: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Mean over variates of InfoNCE between samples, on (B, V, D), for all variates in one matrix product."""
    # Logits up to 100 lose their differences in half precision, hence fp32 whatever autocast says.
    with maybe_autocast(image_embeds.device.type, enabled=False):
        image = F.normalize(image_embeds.float(), dim=-1).transpose(0, 1)  # (V, B, D)
        text = F.normalize(text_embeds.float(), dim=-1).transpose(0, 1)
        scale = torch.as_tensor(logit_scale, dtype=torch.float32, device=image.device).clamp(max=MAX_LOGIT_SCALE).exp()
        logits = scale * image @ text.transpose(1, 2)  # (V, B, B)
        own = torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape[:2])
        loss = F.cross_entropy(logits.flatten(0, 1), own.flatten())
        return (loss + F.cross_entropy(logits.transpose(1, 2).flatten(0, 1), own.flatten())) / 2


__all__ = [
    "MAX_LOGIT_SCALE",
    "alignment_loss",
    "gather_embeds",
    "gather_pairs",
    "info_nce",
    "observed_count",
    "task_loss",
    "uncertainty_weighted",
    "weight_by_label_count",
]
