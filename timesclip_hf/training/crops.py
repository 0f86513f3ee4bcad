# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What two crops of one series look like to the towers, and what can be said of each: pure functions of tensors.

All of it on the device of the series; random numbers are those of torch's global generators.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model.preprocessing import cut_patches, draw_plots, fill_missing


@dataclass(frozen=True)
class Shape:
    """How a batch is read: steps of the context, steps of a patch and between patches, pixels of a line."""

    context_length: int
    patch_length: int
    patch_stride: int
    line_width: float


@dataclass
class Crops:
    """A batch of crops as a model gets it, one variate each, and what can be said of them.

    Args:
        patch_values, patch_mask: `(B, N, L)` and `(B, N)`.
        plot_values: `(B, T)`, positions on the axis of the plot, NaN = gap.
        said: `(B, 4)` of the scaled values: level, spread, slope and logarithm of the dominant period.
        drawn: the same of what is drawn, in quarters of the axis around its middle.
        counts: `(B, 4)`, 0 where there is nothing to say (no period stands out).
    """

    patch_values: Tensor
    patch_mask: Tensor
    plot_values: Tensor
    said: Tensor
    drawn: Tensor
    counts: Tensor


def two_crops(series: Tensor, lengths: Tensor, shape: Shape, noise: float = 0.05) -> tuple[Crops, Crops]:
    """Two random windows (60 to 100 %) of each series, resampled to the context, with a little noise and some gaps.

    A fifth of the series is scaled by the statistics of its own window (as `scaling="instance"`), and a quarter drawn
    on an axis of its own; all others keep level and spread, on an axis that goes beyond them as that of a data set.
    Half of the series are turned upside down.

    Args:
        series: `(B, W)`, NaN = missing, of about unit scale.
        lengths: `(B,)`, steps of each that count.
        shape: of both.
        noise: standard deviation of what is added at most, as a share of a crop's spread.
    """
    count, device = len(series), series.device
    series = series * torch.where(torch.rand(count, 1, device=device) < 0.5, -1.0, 1.0)
    own_scale = torch.rand(count, 1, device=device) < 0.2
    own_axis = torch.rand(count, 1, device=device) < 0.25
    beyond = 1 + 3 * torch.rand(count, 2, device=device)
    windows = []
    for _ in range(2):
        values = _with_gaps(random_window(series, lengths, shape.context_length))
        mean, spread = _statistics(values)
        size = noise * spread * torch.rand(count, 1, device=device)
        values = values + size * torch.randn_like(values)
        windows.append(torch.where(own_scale, (values - mean) / spread.clamp(min=1e-3), values))
    both = torch.cat(windows, dim=1)
    lowest, highest = torch.minimum(_lowest(both), -beyond[:, :1]), torch.maximum(-_lowest(-both), beyond[:, 1:])
    crops = []
    for values in windows:
        low = torch.where(own_axis, _lowest(values), lowest)
        high = torch.where(own_axis, -_lowest(-values), highest)
        crops.append(_read(values, low, high, shape))
    return crops[0], crops[1]


def random_window(series: Tensor, lengths: Tensor, num_steps: int) -> Tensor:
    """`(B, num_steps)`: a random 60 to 100 % of each series, on straight lines between its steps.

    Beside a gap the nearer step counts: a gap stays as long as it was.
    """
    count, device = len(series), series.device
    last = (lengths - 1).to(series.dtype)[:, None]
    width = (0.6 + 0.4 * torch.rand(count, 1, device=device)) * last
    start = torch.rand(count, 1, device=device) * (last - width)
    places = start + torch.linspace(0, 1, num_steps, device=device)[None] * width
    before = places.floor().long().clamp(min=0)
    before = torch.minimum(before, (lengths - 2)[:, None])
    share = places - before
    left, right = series.gather(1, before), series.gather(1, before + 1)
    between = left + (right - left) * share
    return torch.where(between.isnan(), torch.where(share < 0.5, left, right), between)


def describe(values: Tensor) -> tuple[Tensor, Tensor]:
    """Level, spread, slope and dominant period `(B, 4)` of whole series `(B, T)`, and what of it counts `(B, 4)`.

    The slope is that of the line of least squares, over half of the context; the period counts where one frequency
    has three tenths of what the line leaves, as the logarithm to base 4 of its cycles in the context, less 1.
    """
    mean, spread = values.mean(dim=1, keepdim=True), values.std(dim=1, correction=0, keepdim=True)
    time = torch.linspace(-1, 1, values.shape[1], device=values.device)[None]
    slope = ((values - mean) * time).sum(dim=1, keepdim=True) / time.square().sum()
    power = torch.fft.rfft(values - mean - slope * time).abs().square()[:, 1:]
    strongest, number = power.max(dim=1, keepdim=True)
    clear = strongest > 0.3 * power.sum(dim=1, keepdim=True) + 1e-4
    period = (number + 1.0).log2() / 2 - 1
    counts = torch.cat([torch.ones_like(values[:, :3]), clear.to(values.dtype)], dim=1)
    return torch.cat([mean, spread, slope, period], dim=1).clamp(-6, 6), counts


def draw(plot_values: Tensor, processor: Any, shape: Shape) -> Tensor:
    """Images `(B, 3, height, width)` of `(B, T)`, in the colours of the first variates by turns."""
    settings = copy.copy(processor)
    settings.line_width = shape.line_width
    colors = math.gcd(len(plot_values), 16)
    return draw_plots(plot_values.unflatten(0, (-1, colors)), settings).flatten(0, 1)


def _read(values: Tensor, low: Tensor, high: Tensor, shape: Shape) -> Crops:
    """What a processor makes of values `(B, T)` that are scaled already, drawn on this axis."""
    observed = ~values.isnan()
    filled = fill_missing(values[..., None], observed[..., None])
    cut = (shape.patch_length, shape.patch_stride, "end")
    patches, mask = cut_patches(filled, *cut)[:, 0], cut_patches(observed[..., None], *cut)[:, 0].any(dim=-1)
    axis = (high - low).clamp(min=1e-3)
    said, counts = describe(filled[..., 0])
    drawn, _ = describe(4 * ((filled[..., 0] - low) / axis - 0.5))
    return Crops(patches.contiguous(), mask, (values - low) / axis, said, drawn, counts)


def _with_gaps(values: Tensor) -> Tensor:
    """A stretch is missing from one crop in five, from one in ten every step by chance."""
    count, device = len(values), values.device
    time = torch.linspace(0, 1, values.shape[1], device=device)[None]
    chance = torch.rand(count, 3, 1, device=device)
    start = 1.2 * torch.rand(count, 1, device=device) - 0.2
    missing = (time >= start) & (time < start + 0.35 * chance[:, 0]) & (chance[:, 1] < 0.2)
    missing |= (torch.rand_like(values) < 0.4 * chance[:, 0]) & (chance[:, 2] < 0.1)
    return values.masked_fill(missing, math.nan)


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread `(B, 1)` of what is observed; 0 and 0 where nothing is."""
    observed = ~values.isnan()
    number = observed.sum(dim=1, keepdim=True).clamp(min=1)
    mean = values.nan_to_num().sum(dim=1, keepdim=True) / number
    squares = torch.where(observed, values - mean, 0).square().sum(dim=1, keepdim=True)
    return mean, (squares / number).sqrt()


def _lowest(values: Tensor) -> Tensor:
    """`(B, 1)`, 0 where nothing is observed."""
    lowest = values.nan_to_num(nan=math.inf).amin(dim=1, keepdim=True)
    return torch.where(lowest.isinf(), 0.0, lowest)


__all__ = ["Crops", "Shape", "describe", "draw", "random_window", "two_crops"]
