# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What is known of the future, to a forecast: covariates of context and horizon, and static values."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_timesclip import TimesCLIPConfig
from .layers import ZeroLinear, check_sample_shape
from .own_response import OwnResponse

_FEWEST, _EACH, _MOST = 64, 12, 192  # bends: at least, for each covariate, at most
_HIDDEN = 64  # of static values
HALF_LIVES = (6.0, 24.0, 72.0)  # steps after which a running mean has forgotten half
OFFSETS = (-24, -8, -3, -1, 0, 1, 2)  # steps whose covariates act on a step: what it feels of before, and expects


class CovariateBends(nn.Linear):
    """Places at which the effect of covariates bends: every other of one covariate, the others of two together.

    Weights start as wide as covariates are, and at random, so that a linear map of bends is any smooth curve.
    """

    def __init__(self, num_covariates: int, num_beside: int = 0):
        count = min(_MOST, max(_FEWEST, _EACH * num_covariates))
        super().__init__(num_covariates + num_beside, count)
        self.num_covariates = num_covariates

    def reset_parameters(self) -> None:
        """Random bends; static values stand beside covariates as the second of two alone."""
        if not hasattr(self, "num_covariates"):  # while it is built
            return
        rows = torch.arange(self.out_features)
        chosen = torch.zeros_like(self.weight)
        chosen[rows, rows % self.num_covariates] = 1.0
        others = torch.randint(self.in_features, (self.out_features,))
        chosen[rows[1::2], others[1::2]] = 1.0
        init.copy_(self.weight, torch.randn_like(self.weight) * chosen)
        init.uniform_(self.bias, -2.0, 2.0)


class CovariatePath(nn.Module):
    """The effect of known covariates on each target and step, context included, in units of the scaled series.

    A distributed-lag model (Gasparrini et al. 2010, with other bases): bends of a step's covariates, and a linear
    map from those of the step and of some around it (`OFFSETS`), in two units: of the series' own scale, and of the
    training data's. The effect on the context is taken off before the rest of the head looks on, as in a regression
    with autocorrelated errors: what is explained need not be forecast. With `covariate_memory`, there are beside them
    exponential means of each covariate up to the step, forgotten by half in `HALF_LIVES`, and bends of these, half of
    them together with another mean or with what is now: houses stay warm for days (the recency effect of Wang, Liu and
    Hong 2016). Static values make bends of their own, and
    shift the steps of the horizon directly. All starts at zero; `TimesCLIPTrainer` fits the linear map in closed
    form (`fit_effects`).
    """

    def __init__(self, config: TimesCLIPConfig):
        super().__init__()
        self.shape = (config.context_length + config.prediction_length, config.num_future_covariates)
        self.num_answered, self.horizon = config.num_answered_variates, config.prediction_length
        self.num_static = config.num_static_features if config.forecast_static else 0
        self.bends = self.recalled = self.effect = self.own = self.static = self.shift = None
        self.remembered = 0  # columns of what the linear map reads, the last ones
        if config.num_future_covariates:
            self.bends = CovariateBends(config.num_future_covariates, self.num_static)
            width = (self.bends.out_features + config.num_future_covariates) * len(OFFSETS)
            if config.covariate_memory:
                means = len(HALF_LIVES) * config.num_future_covariates
                self.recalled = CovariateBends(means, config.num_future_covariates)
                self.remembered = means + self.recalled.out_features
                width += self.remembered
            self.effect = ZeroLinear(width, 2 * self.num_answered)
            self.own = OwnResponse(config) if config.covariate_response == "own" else None
        if self.num_static:
            self.static = nn.Linear(self.num_static, _HIDDEN)
            self.shift = ZeroLinear(_HIDDEN, self.num_answered * self.horizon)

    def forward(
        self,
        future_values: Tensor | None,
        static_values: Tensor | None,
        unit: Tensor,
        series: Tensor | None = None,
    ) -> Tensor:
        """`(B, n, T + H)`: what covariates do to each of the n targets.

        Args:
            future_values: `(B, T + H, C)`.
            static_values: `(B, S)`.
            unit: `(B, n)`, the training data's spread in units of the scaled series.
            series: `(B, n, T)`, scaled, for a response of one's own.
        """
        effect = unit.new_zeros((*unit.shape, self.shape[0]))
        if self.effect is not None:
            said = self.effect(self.read(future_values, static_values))
            own, common = said.float().swapaxes(1, 2).chunk(2, dim=1)  # (B, n, T + H)
            effect = own + common * unit[..., None]
        if self.own is not None:
            if series is None or future_values is None:
                raise ValueError("covariate_response='own': give the variate_values that the processor returns")
            effect = effect + self.own(effect, future_values, series)
        if self.static is not None and self.shift is not None:
            static = self._checked("static_values", static_values, (self.num_static,), self.static)
            shift = self.shift(F.gelu(self.static(static))).float().unflatten(1, (self.num_answered, self.horizon))
            effect = torch.cat([effect[..., : -self.horizon], effect[..., -self.horizon :] + shift], dim=-1)
        return effect

    def read(self, future_values: Tensor | None, static_values: Tensor | None) -> Tensor:
        """`(B, T + H, width)`: what the linear map reads of each step."""
        bends: Any = self.bends
        values = self._checked("future_values", future_values, self.shape, bends)
        beside = [values]
        if self.num_static:
            static = self._checked("static_values", static_values, (self.num_static,), bends)
            beside.append(static[:, None].expand(-1, values.shape[1], -1))
        read = torch.cat([values, F.gelu(bends(torch.cat(beside, dim=-1)))], dim=-1).swapaxes(1, 2)
        around, steps = F.pad(read, (-OFFSETS[0], OFFSETS[-1]), mode="replicate"), self.shape[0]
        lags = torch.cat([around[..., lag - OFFSETS[0] :][..., :steps] for lag in OFFSETS], dim=1).swapaxes(1, 2)
        if self.recalled is None:
            return lags
        means = running_means(values)
        return torch.cat([lags, means, F.gelu(self.recalled(torch.cat([means, values], dim=-1)))], dim=-1)

    def readers(self) -> Tensor:
        """`(width, C)`: whether what the linear map reads is made from a covariate."""
        bends: Any = self.bends
        count = bends.num_covariates
        found = [torch.cat([torch.eye(count, dtype=torch.bool), _reads(bends, count)]).repeat(len(OFFSETS), 1)]
        if self.recalled is not None:
            found += [torch.eye(count, dtype=torch.bool).repeat(len(HALF_LIVES), 1)]
            found += [_reads(self.recalled, self.recalled.in_features).unflatten(1, (-1, count)).any(dim=1)]
        return torch.cat(found)

    @staticmethod
    def _checked(name: str, values: Tensor | None, shape: tuple[int, ...], layer: nn.Linear) -> Tensor:
        if values is None:
            raise ValueError(f"this forecaster reads {name} of shape (batch, {', '.join(map(str, shape))}): give them")
        check_sample_shape(name, values, shape)
        return values.to(layer.weight.dtype)


def running_means(values: Tensor) -> Tensor:
    """Exponential means of `(B, steps, C)` up to each step, `(B, steps, 3 C)`, half-lives outside."""
    exact = torch.promote_types(values.dtype, torch.float32)  # half precision cannot count beyond some hundred steps
    steps = torch.arange(values.shape[1], device=values.device, dtype=exact)
    before, found = steps[:, None] - steps, []
    for half in HALF_LIVES:
        kept = 0.5 ** (1 / half)
        weights = torch.where(before >= 0, (1 - kept) * kept ** before.clamp(min=0), 0.0)
        found.append(torch.cat([(kept**steps)[:, None], weights[:, 1:]], dim=1) @ values.to(exact))
    return torch.cat(found, dim=-1).to(values.dtype)


def _reads(bends: CovariateBends, count: int) -> Tensor:
    """Which of the first inputs each bend reads, `(bends, count)`."""
    return bends.weight[:, :count].detach().cpu() != 0


__all__ = ["CovariateBends", "CovariatePath", "running_means"]
