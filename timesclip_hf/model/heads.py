# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From what the branches say to an answer: heads of whole series, alone or one for each branch, and of forecasts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import maybe_autocast

from .configuration_timesclip import TimesCLIPConfig
from .covariate_path import CovariatePath
from .distributions import moved, spread_out
from .feature_layers import image_width
from .layers import FittedLayer, SeriesLinear, ZeroLinear, check_sample_shape
from .precision import widened
from .shapes import ShapeReading
from .towers import text_feature_width, text_width

# A head with more weights than this (4 GB in fp32, 16 GB in training) is a mistake, not a choice.
MAX_HEAD_WEIGHTS = 1_000_000_000


def _reading_size(config: TimesCLIPConfig, branches: Sequence[str]) -> tuple[int, int]:
    """What a head gets: how often (of each variate, or once of an image of all), and how many numbers: readings of
    these branches, the selected embed, level and spread."""
    dim = config.projection_dim
    widths = {"vision": dim, "text": dim, "series": 0}
    if config.head_reads == "features":
        if config.vision_config is not None:
            widths["vision"] = image_width(config)
        if config.text_config is not None:
            widths["text"] = text_feature_width(config.text_config, config.text_pooling)
    selected = dim if config.variate_selection is not None else 0
    width, levels = sum(widths[name] for name in branches) + selected, 2 * config.use_loc_scale
    if config.layout == "grid" and "text" not in branches:
        return 1, width + levels * config.num_variates
    return config.num_variates, width + levels


def checked_static(static_values: Tensor | None, width: int, like: Tensor) -> Tensor:
    """Static values `(B, width)` as a model was built for, in the dtype of what they are put beside."""
    if static_values is None:
        raise ValueError(f"This model was built with {width} static features: give static_values.")
    check_sample_shape("static_values", static_values, (width,))
    return static_values.to(like.dtype)


class ZeroSeriesLinear(ZeroLinear, SeriesLinear):
    """`ZeroLinear` of values as they come."""


class KernelLayer(FittedLayer):
    """A weighted sum of Gaussian kernels of the distance to samples of the training data: what `fit_head` fits.

    `bias + sum over centers c of weight[:, c] * exp(-|factor * (x - shift) - c|^2)`. Without centers, which is how it
    starts, it answers `bias`, zero. Weights are large and of both signs, so rounding shows: sums are taken in float64
    where there is such, which TF32 does not touch.

    Args:
        in_features: numbers that are read of a sample.
        num_outputs: numbers to give.
        num_centers: samples that it compares with.
    """

    def __init__(self, in_features: int, num_outputs: int, num_centers: int):
        super().__init__()
        self.in_features = in_features
        self.check_size(num_centers)
        self.hold(
            shift=(in_features,), factor=(in_features,), centers=(num_centers, in_features),
            weight=(num_outputs, num_centers), bias=(num_outputs,),
        )  # fmt: skip

    def check_size(self, num_centers: int) -> None:
        """Raises `ValueError` where so many centers are more than a model may hold."""
        if self.in_features * num_centers > MAX_HEAD_WEIGHTS:
            raise ValueError(
                f"head='kernel' would compare {self.in_features} numbers with those of num_centers={num_centers} "
                f"samples, more than {MAX_HEAD_WEIGHTS:.0e} in all: fit it on fewer (max_centers)."
            )

    def forward(self, readings: Tensor) -> Tensor:
        """`(B, in_features)` to `(B, num_outputs)`."""
        with maybe_autocast(readings.device.type, enabled=False):
            numbers: Any = {name: widened(buffer) for name, buffer in self.named_buffers()}
            scaled, centers = (widened(readings) - numbers["shift"]) * numbers["factor"], numbers["centers"]
            inner = scaled @ centers.T
            squares = scaled.square().sum(dim=-1, keepdim=True) + centers.square().sum(dim=-1) - 2 * inner
            return ((-squares.clamp(min=0)).exp() @ numbers["weight"].T + numbers["bias"]).float()


class FittedLinear(FittedLayer):
    """A linear map of numbers from which `shift` is taken first, which `fit_head` fits.

    Args:
        in_features: numbers that are read of a sample.
        num_outputs: numbers to give.
    """

    def __init__(self, in_features: int, num_outputs: int):
        super().__init__()
        self.hold(shift=(in_features,), weight=(num_outputs, in_features), bias=(num_outputs,))

    def forward(self, readings: Tensor) -> Tensor:
        """`(B, in_features)` to `(B, num_outputs)`."""
        with maybe_autocast(readings.device.type, enabled=False):
            numbers: Any = {name: widened(buffer) for name, buffer in self.named_buffers()}
            return ((widened(readings) - numbers["shift"]) @ numbers["weight"].T + numbers["bias"]).float()


def unfitted_kernels(model: nn.Module) -> bool:
    """Whether a model has heads that must be fitted before they say anything, for what it answers now."""
    kernels = [module for module in model.modules() if isinstance(module, (KernelLayer, FittedLinear))]
    return any(not kernel.get_buffer("weight").any() for kernel in kernels)


class SeriesPath(nn.Module):
    """The scaled series themselves, and what else is known of the sample, to `num_outputs`, past all towers.

    Linear, which starts at zero, or with `config.kernel_shortcut` a `KernelLayer`, with `config.kernel_sums` also of
    running sums, behind the values.
    """

    def __init__(self, config: TimesCLIPConfig, num_outputs: int):
        super().__init__()
        self.sample_shape = (config.num_variates, config.context_length)
        self.num_static_features = config.num_static_features
        self.sums = config.kernel_shortcut and config.kernel_sums
        width = (
            self.build_reading(config) + 2 * config.num_variates * config.use_loc_scale + config.num_static_features
        )
        self.layer = self.build_layer(config, width, num_outputs)

    def build_reading(self, config: TimesCLIPConfig) -> int:
        """Makes what `read` needs, if anything; numbers that are read of the series."""
        return config.num_variates * config.context_length * (2 if self.sums else 1)

    def build_layer(self, config: TimesCLIPConfig, width: int, num_outputs: int) -> nn.Module:
        """From all that is read to what is said."""
        if config.kernel_shortcut:
            return KernelLayer(width, num_outputs, config.num_centers)
        return ZeroSeriesLinear(width, num_outputs)

    def read(self, values: Tensor) -> list[Tensor]:
        """What is read of `(B, V, T)`, `(B, width)` in parts."""
        parts = [values.float().flatten(1)]
        if self.sums:  # in float64 where there is such: in long series, fp32 adds up its roundings
            parts.append(widened(values).cumsum(dim=-1).float().flatten(1))
        return parts

    def forward(self, variate_values: Tensor | None, level: Tensor | None, static_values: Tensor | None) -> Tensor:
        """`(B, V, T)` scaled, standardised `loc` and `scale` `(B, V, 2)` or `None`, static values, to fp32."""
        if variate_values is None:
            raise ValueError("A shortcut reads the series: give the variate_values that the processor returns.")
        check_sample_shape("variate_values", variate_values, self.sample_shape)
        parts = self.read(variate_values)
        if level is not None:
            parts.append(level.float().flatten(1))
        if self.num_static_features:
            parts.append(checked_static(static_values, self.num_static_features, parts[0]))
        return self.layer(torch.cat(parts, dim=-1))


class ShapePath(SeriesPath):
    """Shapes in the scaled series, wherever they stand (see `shapes`), and what else is known of the sample, likewise.

    A linear map of `config.shape_features` numbers, which `fit_head` fits in closed form, and draws what they are. The
    kernels of shapes sum to zero and see no level, so that the mean of each variate stands beside them.
    """

    def build_reading(self, config: TimesCLIPConfig) -> int:
        self.reading = ShapeReading(config.num_variates, config.context_length, config.shape_features)
        return self.reading.num_features + config.num_variates

    def build_layer(self, config: TimesCLIPConfig, width: int, num_outputs: int) -> nn.Module:
        return FittedLinear(width, num_outputs)

    def read(self, values: Tensor) -> list[Tensor]:
        return [self.reading(values), values.float().mean(dim=-1)]


class SampleHead(nn.Module):
    """Embeds of all variates, and what else is known of the sample, to a few numbers about it: `(B, num_outputs)`.

    Args:
        config: as for the models.
        num_outputs: numbers to give.
        branches: whose readings it gets, of `config.branches`; `None`: those of all.
    """

    def __init__(self, config: TimesCLIPConfig, num_outputs: int, branches: Sequence[str] | None = None):
        super().__init__()
        self.num_static_features = config.num_static_features
        self.pool = None
        self.shortcut = SeriesPath(config, num_outputs) if config.linear_shortcut and branches is None else None
        dim, dropout = config.projection_dim, config.head_dropout
        times, width = _reading_size(config, config.branches if branches is None else branches)
        if config.head == "pooled":
            self.pool = nn.Linear(width, 1)
        else:
            width *= times
        width += config.num_static_features
        self.layers: nn.Module
        if config.head == "mlp":
            if (weights := 4 * dim * width) > MAX_HEAD_WEIGHTS:
                raise ValueError(
                    f"head='mlp' would have {weights / 1e9:.1f} billion weights in its first layer alone, which reads "
                    f"{width} numbers of {config.num_variates} variates; choose head='pooled', whose size does not "
                    "grow with the variates, or a smaller projection_dim."
                )
            layers: list[nn.Module] = []
            for size, rate in zip((4 * dim, 2 * dim, dim), dropout, strict=False):
                layers += [nn.Linear(width, size), nn.LayerNorm(size), nn.GELU(), nn.Dropout(rate)]
                width = size
            self.layers = nn.Sequential(*layers, nn.Linear(width, num_outputs))
        elif config.head == "kernel":
            self.layers = KernelLayer(width, num_outputs, config.num_centers)
        else:
            self.layers = nn.Sequential(nn.Dropout(dropout[0]), nn.Linear(width, num_outputs))

    def forward(
        self,
        variates: Tensor,
        static_values: Tensor | None,
        variate_values: Tensor | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        """Readings of the branches side by side `(B, V, width)`, and what else is known of the sample.

        Args:
            variates: readings, level and spread among them where configured.
            static_values: `(B, num_static_features)`, read if configured.
            variate_values, level: for a linear shortcut, see `SeriesPath`.
        """
        if self.pool is None:
            features = variates.flatten(1)
        else:
            features = (self.pool(variates).softmax(dim=1) * variates).sum(dim=1)  # (B, width)
        if self.num_static_features:
            features = torch.cat([features, checked_static(static_values, self.num_static_features, features)], dim=-1)
        answer = self.layers(features)
        return answer if self.shortcut is None else answer + self.shortcut(variate_values, level, static_values)


# Branches without a tower.
_PATHS: dict[str, type[SeriesPath]] = {"series": SeriesPath, "shapes": ShapePath}


class BranchHeads(nn.ModuleDict):
    """A head for each of `config.branches`, whose answers are averaged later (late fusion)."""

    def __init__(self, config: TimesCLIPConfig, num_outputs: int):
        super().__init__(
            {
                name: _PATHS[name](config, num_outputs) if name in _PATHS else SampleHead(config, num_outputs, [name])
                for name in config.branches
            }
        )


class PredictionHead(nn.Module):
    """What the branches know of one variate to its next H steps, one linear layer shared by all variates.

    With a text branch it reads all text tokens side by side, the selected embed in place of one of them or added
    (`config.fusion`); without one, the image embed and the selected embed.
    """

    def __init__(self, config: TimesCLIPConfig):
        super().__init__()
        self.fusion = config.fusion
        dim, selected = config.projection_dim, config.variate_selection is not None
        if config.text_config is not None:
            replaced = selected and config.fusion != "concat"
            width = (config.num_patches + 1 - replaced) * text_width(config.text_config)
        else:
            width = dim
        self.dropout = nn.Dropout(config.head_dropout[0])
        linear = ZeroLinear if config.linear_shortcut else nn.Linear
        self.config = config
        self.projection = linear(width + selected * dim, config.prediction_length * config.numbers_per_answer)
        self.shortcut = None
        if config.linear_shortcut:
            self.shortcut = ZeroSeriesLinear(config.context_length, config.prediction_length)
        known = config.num_future_covariates or (config.forecast_static and config.num_static_features)
        self.covariates = CovariatePath(config) if known else None

    def forward(
        self,
        text_tokens: Tensor | None,
        image_embeds: Tensor | None,
        selected_embeds: Tensor | None,
        variate_values: Tensor | None,
        effect: Tensor | None = None,
    ) -> Tensor:
        """Tokens `(B, V, 1 + N, width)`, embeds `(B, V, D)` and scaled series `(B, V, T)` to `(B, V, H)`, scaled.

        `effect` `(B, V, T + H)`: what covariates do, see `CovariatePath`. Of distributions `(B, V, H, K)`, see
        `spread_out`, whose middle covariates and a linear shortcut move.
        """
        if text_tokens is None:
            parts = [image_embeds]
        elif selected_embeds is None or self.fusion == "concat":
            parts = [text_tokens.flatten(2)]
        else:
            parts = [(text_tokens[:, :, :-1] if self.fusion == "replace_last" else text_tokens[:, :, 1:]).flatten(2)]
        parts.append(selected_embeds)
        forecast = self.projection(self.dropout(torch.cat([part for part in parts if part is not None], dim=-1)))
        if self.config.numbers_per_answer > 1:
            forecast = spread_out(forecast.unflatten(-1, (self.config.prediction_length, -1)), self.config)
        if self.shortcut is not None and variate_values is None:
            raise ValueError("linear_shortcut=True: give the variate_values that the processor returns.")
        if effect is not None:
            horizon = self.config.prediction_length
            before, forecast = effect[..., :-horizon], self._moved(forecast, effect[..., -horizon:])
            if self.shortcut is None or variate_values is None:
                return self._moved(forecast, -before.mean(dim=-1, keepdim=True))  # the level holds the context's share
            variate_values = variate_values - before
        if self.shortcut is None or variate_values is None:
            return forecast
        last = variate_values[..., -1:]  # not rounded to half precision: a level may be far above its changes
        return self._moved(self._moved(forecast, last), self.shortcut(variate_values - last))

    def _moved(self, forecast: Tensor, shift: Tensor) -> Tensor:
        return forecast + shift if self.config.numbers_per_answer == 1 else moved(forecast, shift, self.config)


__all__ = [
    "BranchHeads",
    "FittedLinear",
    "KernelLayer",
    "PredictionHead",
    "SampleHead",
    "SeriesPath",
    "ShapePath",
    "ZeroLinear",
    "ZeroSeriesLinear",
    "unfitted_kernels",
]
