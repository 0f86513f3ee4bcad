# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How one series reacts to covariates, where series react differently: read from its own context, for any series."""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils.generic import maybe_autocast

from .configuration_timesclip import TimesCLIPConfig
from .layers import FittedLayer

_LONGEST = 64  # steps that a series is whitened with


class OwnResponse(FittedLayer):
    """What the covariates do to one series beyond what they do to all.

    The rule. A series' own effect is a sum of directions: the common effect, each covariate and its square. Its
    weights are those of a regression, within the context alone, of what the common effect leaves of the series on what
    the directions do; both are whitened by an autoregression first (generalised least squares), and the weights are
    drawn to zero by a ridge, so that a context that says little says nothing. So it holds for new series, too, and
    follows a response that changes with time. `sizes`, 1 / sqrt of the ridge of each direction, are zero at the start:
    no series then has a response of its own; `training.covariate_effects` fits them and the autoregression in closed
    form.
    """

    sizes: Tensor
    lags: Tensor

    def __init__(self, config: TimesCLIPConfig):
        super().__init__()
        self.context = config.context_length
        self.order = max(1, min(_LONGEST, config.context_length // 2))
        count, targets = 1 + 2 * config.num_future_covariates, config.num_answered_variates
        self.hold(sizes=(targets, count), lags=(targets, self.order - 1))

    def forward(self, effect: Tensor, values: Tensor, series: Tensor) -> Tensor:
        """The effect `(B, n, T + H)` of one's own beside the common one.

        Args:
            effect: the common one, `(B, n, T + H)`.
            values: covariates `(B, T + H, C)`.
            series: scaled, `(B, n, T)`.
        """
        with maybe_autocast(effect.device.type, enabled=False):
            effect, values, series = effect.float(), values.float(), series.float()
            sized = directions(effect, values) * self.sizes.float()[..., None]  # (B, n, R, T + H)
            weights = solved(*self.sums(sized, series - effect[..., : self.context]))  # (B, n, R)
            return torch.einsum("bnr,bnrs->bns", weights, sized)

    def sums(self, sized: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Squares and products of whitened directions `(B, n, R, T + H)` and of what is left of series `(B, n, T)`."""
        rows, wanted = self.whitened(sized[..., : self.context]), self.whitened(rest[:, :, None])
        return rows @ rows.transpose(-1, -2), (rows @ wanted.transpose(-1, -2))[..., 0]

    def whitened(self, values: Tensor) -> Tensor:
        """`(B, n, R, T)` less what an autoregression tells of each step from those before, `(B, n, R, T - order)`."""
        lags = self.lags.to(values.dtype)
        kernel = torch.cat([-lags.flip(1), lags.sum(dim=1, keepdim=True) - 1, torch.ones_like(lags[:, :1])], dim=1)
        if self.order == 1:
            return values[..., 1:] - values[..., :-1]
        turned = values.transpose(1, 2).flatten(0, 1)  # (B R, n, T)
        found = F.conv1d(turned, kernel[:, None], groups=len(kernel))
        return found.unflatten(0, (values.shape[0], values.shape[2])).transpose(1, 2)


def directions(effect: Tensor, values: Tensor) -> Tensor:
    """The common effect `(B, n, S)`, covariates `(B, S, C)` and their squares, `(B, n, 1 + 2 C, S)`."""
    both = torch.cat([values, values.square()], dim=-1).swapaxes(1, 2)[:, None].expand(-1, effect.shape[1], -1, -1)
    return torch.cat([effect[:, :, None], both.to(effect.dtype)], dim=2)


def solved(squares: Tensor, products: Tensor) -> Tensor:
    """x of (squares + 1) x = products, `(..., R, R)` and `(..., R)`, by elimination, which graphs can hold."""
    count = products.shape[-1]
    one = torch.eye(count, dtype=products.dtype, device=products.device)
    rows = torch.cat([squares + one, products[..., None]], dim=-1)  # (..., R, R + 1)
    for pivot in range(count):
        row = rows[..., pivot, :] / rows[..., pivot, pivot, None]
        rows = rows - (rows[..., pivot] - one[pivot])[..., None] * row[..., None, :]
    return rows[..., -1]


__all__ = ["OwnResponse", "directions", "solved"]
