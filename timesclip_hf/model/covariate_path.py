# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What is known of the future, to a forecast: covariates of context and horizon, and static values."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_timesclip import TimesCLIPConfig
from .layers import ZeroLinear, check_sample_shape

_HIDDEN = 64
_REACH = 2  # steps before and behind, whose covariates act on a step


class CovariateFeatures(nn.Linear):
    """Bends of all covariates together; weights start as wide as these are, so that a curve is soon found."""


class CovariatePath(nn.Module):
    """The effect of known covariates on each target and step, context included, in units of the scaled series.

    A distributed-lag model (Gasparrini et al. 2010, without its fixed bases): learnt bends of a step's covariates, and
    a linear map from those of the step and two steps around it, in two units: of the series' own scale, and of the
    training data's. The effect on the context is taken off before the rest of the head looks on, as in a regression
    with autocorrelated errors: what is explained need not be forecast. Static values shift the bends, and the steps of
    the horizon directly. All starts at zero.
    """

    def __init__(self, config: TimesCLIPConfig):
        super().__init__()
        self.shape = (config.context_length + config.prediction_length, config.num_future_covariates)
        self.num_answered, self.horizon = config.num_answered_variates, config.prediction_length
        self.num_static = config.num_static_features if config.forecast_static else 0
        self.bends = self.effect = self.static = self.shift = None
        if config.num_future_covariates:
            self.bends = CovariateFeatures(config.num_future_covariates, _HIDDEN)
            width = (_HIDDEN + config.num_future_covariates) * (2 * _REACH + 1)
            self.effect = ZeroLinear(width, 2 * self.num_answered)
        if self.num_static:
            self.static = CovariateFeatures(self.num_static, _HIDDEN)
            self.shift = ZeroLinear(_HIDDEN, self.num_answered * self.horizon)

    def forward(self, future_values: Tensor | None, static_values: Tensor | None, unit: Tensor) -> Tensor:
        """`(B, n, T + H)`: what covariates do to each of the n targets.

        Args:
            future_values: `(B, T + H, C)`.
            static_values: `(B, S)`.
            unit: `(B, n)`, the training data's spread in units of the scaled series.
        """
        static = None
        if self.static is not None:
            static = self.static(self._checked("static_values", static_values, (self.num_static,), self.static))
        steps, horizon = self.shape[0], self.horizon
        effect = unit.new_zeros((*unit.shape, steps))
        if self.bends is not None and self.effect is not None:
            values = self._checked("future_values", future_values, self.shape, self.bends)
            bends = self.bends(values)
            bends = F.gelu(bends if static is None else bends + static[:, None])
            read = torch.cat([values, bends], dim=-1).swapaxes(1, 2)  # (B, width, T + H)
            around = F.pad(read, (_REACH, _REACH), mode="replicate")
            lags = torch.cat([around[..., lag : lag + steps] for lag in range(2 * _REACH + 1)], dim=1)
            own, common = self.effect(lags.swapaxes(1, 2)).float().swapaxes(1, 2).chunk(2, dim=1)  # (B, n, T + H)
            effect = own + common * unit[..., None]
        if static is not None and self.shift is not None:
            shift = self.shift(F.gelu(static)).float().unflatten(1, (self.num_answered, horizon))
            effect = torch.cat([effect[..., :-horizon], effect[..., -horizon:] + shift], dim=-1)
        return effect

    @staticmethod
    def _checked(name: str, values: Tensor | None, shape: tuple[int, ...], layer: nn.Linear) -> Tensor:
        if values is None:
            raise ValueError(f"this forecaster reads {name} of shape (batch, {', '.join(map(str, shape))}): give them")
        check_sample_shape(name, values, shape)
        return values.to(layer.weight.dtype)


__all__ = ["CovariateFeatures", "CovariatePath"]
