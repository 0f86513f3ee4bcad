# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Answers that are distributions: what a head's numbers say of each target, or each step of a forecast.

The rule. A head gives `config.numbers_per_answer` numbers K for each answer, and `spread_out` makes them

- `loss="quantile"`: the quantiles at `config.answer_levels`. One number is the median; each of the others is a step
  from its neighbour towards the ends, made positive by softplus, so that quantiles never cross.
- `loss="gaussian"`: mean and standard deviation of a normal distribution, the latter made positive by softplus.

Numbers of zero stand for the standard normal distribution either way, in the unit that the head counts in. What comes
out may be averaged over branches and models: means of quantiles are quantiles in the same order (Vincent 1912), and
means of means and deviations are those of the normal distribution with the mean quantiles.
"""

import math
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Smaller deviations, of a target's own spread, say that a likelihood is about to become infinite.
_LEAST_DEVIATION = 1e-3


@torch.compiler.assume_constant_result
def _normal_point(level: float) -> float:
    return NormalDist().inv_cdf(level)


def normal_points(levels: list[float]) -> list[float]:
    """Where the standard normal distribution has its quantiles."""
    return [_normal_point(level) for level in levels]


def _before_softplus(values: Tensor) -> Tensor:
    return values.expm1().log()


def spread_out(numbers: Tensor, config: Any) -> Tensor:
    """A head's numbers `(..., K)` as quantiles, or as mean and deviation, `(..., K)`, in fp32."""
    numbers = numbers.float()
    if config.loss == "gaussian":
        mean, deviation = numbers.unbind(-1)
        return torch.stack([mean, F.softplus(deviation + math.log(math.e - 1)) + _LEAST_DEVIATION], dim=-1)
    levels = config.answer_levels
    middle, points = levels.index(0.5), numbers.new_tensor(normal_points(levels))
    steps = F.softplus(
        torch.cat([numbers[..., :middle], numbers[..., middle + 1 :]], -1) + _before_softplus(points.diff())
    )
    median, below, above = numbers[..., middle : middle + 1], steps[..., :middle], steps[..., middle:]
    below = median - below.flip(-1).cumsum(-1).flip(-1)
    return torch.cat([below, median, median + above.cumsum(-1)], dim=-1)


def moved(said: Tensor, shift: Tensor, config: Any) -> Tensor:
    """What `spread_out` gave `(..., K)`, with its middle moved by `shift` `(...)`."""
    if config.loss == "gaussian":
        return torch.stack([said[..., 0] + shift, said[..., 1]], dim=-1)
    return said + shift[..., None]


def middle_of(said: Tensor, config: Any) -> Tensor:
    """The point answer `(...)`: median, or mean."""
    return said[..., 0 if config.loss == "gaussian" else config.answer_levels.index(0.5)]


def quantiles_of(said: Tensor, config: Any) -> Tensor:
    """The quantiles `(..., Q)` at `config.answer_levels`."""
    if config.loss != "gaussian":
        return said
    return said[..., :1] + said[..., 1:] * said.new_tensor(normal_points(config.answer_levels))


def distribution_loss(said: Tensor, targets: Tensor, config: Any, unit: Tensor | float = 1.0) -> Tensor:
    """Mean over the observed targets of how badly they were foreseen.

    Args:
        said: `(..., K)`, as `spread_out` gives it.
        targets: `(...)` in the same unit, NaN = not observed.
        config: `loss` and levels.
        unit: what one of that unit is in the unit that the loss counts in; broadcast over the targets.

    Returns:
        A scalar in fp32. `"quantile"`: twice the mean pinball loss over levels, which is near to the continuous ranked
        probability score (with the median alone: the absolute error). `"gaussian"`: the negative log likelihood, in
        nats. 0, with gradients of zero, where nothing is observed.
    """
    observed = ~torch.isnan(targets)
    targets = torch.where(observed, targets.float(), 0)
    if config.loss == "gaussian":
        mean, deviation = said.unbind(-1)
        deviation = deviation.clamp(min=torch.finfo(deviation.dtype).tiny)
        losses = 0.5 * ((targets - mean) / deviation).square() + (deviation * unit).log() + 0.5 * math.log(2 * math.pi)
    else:
        levels = said.new_tensor(config.answer_levels)
        errors = targets[..., None] - said
        losses = 2 * torch.maximum(levels * errors, (levels - 1) * errors).mean(-1) * unit
    return torch.where(observed, losses, 0).sum() / observed.sum().clamp(min=1)


__all__ = ["distribution_loss", "middle_of", "moved", "normal_points", "quantiles_of", "spread_out"]
