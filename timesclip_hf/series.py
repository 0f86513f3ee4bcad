# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Arithmetic on raw series, as pure functions of tensors: gaps, lengths, statistics, patches."""

import torch
import torch.nn.functional as F
from torch import Tensor

# A spread below this share of a series' largest magnitude is rounding noise of a constant series.
CONSTANT = 1e-6


def fill_missing(values: Tensor, observed: Tensor) -> Tensor:
    """Straight lines over the gaps, the first and last observed value held towards the ends.

    Args:
        values: `(B, T, V)`; what stands in missing places is ignored.
        observed: `(B, T, V)` bool. A series of a variate with nothing observed becomes 0.

    Returns:
        `(B, T, V)` without NaN.
    """
    num_steps = values.shape[1]
    steps = torch.arange(num_steps, device=values.device).view(1, -1, 1).expand(values.shape)
    before = torch.where(observed, steps, -1).cummax(dim=1).values
    after = torch.where(observed, steps, num_steps).flip(1).cummin(dim=1).values.flip(1)
    left = torch.where(before >= 0, before, after).clamp(max=num_steps - 1)
    right = torch.where(after < num_steps, after, before).clamp(min=0)
    clean = torch.where(observed, values, 0)
    start, end = clean.gather(1, left), clean.gather(1, right)
    share = (steps - left).to(values.dtype) / (right - left).clamp(min=1)
    return start + (end - start) * share


def fit_length(values: Tensor, observed: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The newest `length` steps; shorter series are padded at the front with missing values."""
    short = length - values.shape[1]
    if short > 0:
        values, observed = F.pad(values, (0, 0, short, 0)), F.pad(observed, (0, 0, short, 0), value=False)
    return values[:, -length:], observed[:, -length:]


def _observed_mean(values: Tensor, observed: Tensor) -> Tensor:
    """Mean over time of the observed values, `(B, T, V)` to `(B, V)`."""
    return torch.where(observed, values, 0).sum(dim=1) / observed.sum(dim=1).clamp(min=1)


def instance_statistics(
    values: Tensor, observed: Tensor, constant_scale: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (of the population) of each series over its observed values.

    Args:
        values: `(B, T, V)`.
        observed: `(B, T, V)` bool.
        constant_scale: a number, or one for each variate: the scale of constant series, so that nothing is divided by
            a tiny number.

    Returns:
        loc, scale: `(B, V)`.
    """
    magnitude = torch.where(observed, values, 0).abs().amax(dim=1)
    # In units of the magnitude, squares of huge values do not overflow and those of tiny ones do not vanish.
    unit = torch.where(magnitude > 0, magnitude, 1)
    relative = values / unit[:, None]
    loc = _observed_mean(relative, observed)
    scale = _observed_mean((relative - loc[:, None]).square(), observed).sqrt()
    return loc * unit, replace_constant(scale * unit, magnitude, constant_scale)


def is_constant(spread: Tensor, magnitude: Tensor) -> Tensor:
    """Whether spreads are only rounding noise beside the largest magnitude of their series."""
    return spread <= CONSTANT * magnitude


def replace_constant(scale: Tensor, magnitude: Tensor, constant_scale: Tensor | float = 1.0) -> Tensor:
    """`constant_scale` in place of spreads that are only rounding noise beside their series' largest magnitude."""
    return torch.where(is_constant(scale, magnitude), constant_scale, scale)


def observed_range(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest observed value of each series, `(B, V)` each; infinite where nothing is observed."""
    lowest = torch.where(observed, values, torch.inf).amin(dim=1)
    return lowest, torch.where(observed, values, -torch.inf).amax(dim=1)


def cut_patches(values: Tensor, patch_length: int, patch_stride: int, padding: str) -> Tensor:
    """Patches of `(B, T, V)` as `(B, V, N, L)`, the last one ending at the newest step.

    Args:
        values: `(B, T, V)`, any dtype (masks, too), T >= `patch_length`.
        patch_length: steps L in a patch.
        patch_stride: steps S between the starts of patches.
        padding: `"end"` first repeats the last step S times (PatchTST, arXiv 2211.14730), `"none"` does not.
            Steps that fill no patch are cut at the front: the newest ones count most.
    """
    if padding == "end":
        values = torch.cat([values, values[:, -1:].expand(-1, patch_stride, -1)], dim=1)
    surplus = (values.shape[1] - patch_length) % patch_stride
    return values[:, surplus:].transpose(1, 2).unfold(-1, patch_length, patch_stride)


__all__ = [
    "CONSTANT",
    "cut_patches",
    "fill_missing",
    "fit_length",
    "instance_statistics",
    "is_constant",
    "observed_range",
    "replace_constant",
]
