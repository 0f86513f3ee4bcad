# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The trained parts of TimesCLIP around its towers: tokenizers, projections, variate selection, heads."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils.generic import maybe_autocast

from .configuration_timesclip import TimesCLIPConfig
from .towers import text_width

# A head with more weights than this (4 GB in fp32, 16 GB in training) is a mistake, not a choice.
MAX_HEAD_WEIGHTS = 1_000_000_000


def check_sample_shape(name: str, batch: Tensor, expected: tuple[int | None, ...]) -> None:
    """Refuses a batch whose samples, all behind its first dimension, are not of this shape; `None`: any size."""
    found = tuple(batch.shape[1:])
    if len(found) != len(expected) or any(e is not None and e != f for e, f in zip(expected, found, strict=True)):
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise ValueError(
            f"{name} has shape {tuple(batch.shape)}, expected (batch, {wanted}) as the configuration says. "
            "Was the processor made with TimesCLIPProcessor.from_config of this model's config?"
        )


class SeriesLinear(nn.Linear):
    """A linear map of values as they come, in fp32 whatever autocast and the weights' own dtype say.

    Half precision ends at 65 504, which a sum over a few steps of a spiky series passes, and it rounds levels away.
    """

    def forward(self, values: Tensor) -> Tensor:
        with maybe_autocast(values.device.type, enabled=False):
            return F.linear(values.float(), self.weight.float(), self.bias.float())


class SeriesLayerNorm(nn.LayerNorm):
    """A norm behind `SeriesLinear`: reads fp32, gives the dtype of its weights.

    By `LayerNorm` in the name transformers knows how its weights start where a checkpoint has none.
    """

    def forward(self, values: Tensor) -> Tensor:
        with maybe_autocast(values.device.type, enabled=False):
            weight, bias = self.weight.float(), self.bias.float()
            return F.layer_norm(values, self.normalized_shape, weight, bias, self.eps).to(self.weight.dtype)


class PatchTokenizer(nn.Module):
    """Numeric patches to the text tower's input: projected, headed by a learnt CLS token, with learnt positions."""

    def __init__(self, config: TimesCLIPConfig):
        super().__init__()
        width = text_width(config.text_config)
        self.projection = SeriesLinear(config.patch_length, width)
        self.norm = SeriesLayerNorm(width)
        self.cls_token = nn.Parameter(torch.empty(width))
        self.position_embedding = nn.Parameter(torch.empty(config.num_patches + 1, width))
        self.dropout = nn.Dropout(config.text_dropout)

    def forward(self, patches: Tensor) -> Tensor:
        """`(n, N, L)` patches to `(n, 1 + N, width)` tokens."""
        tokens = F.gelu(self.norm(self.projection(patches)))
        cls_token = self.cls_token.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
        tokens = torch.cat([cls_token, tokens], dim=1)
        return self.dropout(tokens + self.position_embedding)


class VariateTokenizer(nn.Module):
    """Each variate's whole series to one token of the text tower, with its variate's learnt position."""

    def __init__(self, config: TimesCLIPConfig):
        super().__init__()
        width = text_width(config.text_config)
        self.projection = SeriesLinear(config.context_length, width)
        self.position_embedding = nn.Parameter(torch.empty(config.num_variates, width))

    def forward(self, variate_values: Tensor) -> Tensor:
        """`(B, V, T)` to `(B, V, width)`."""
        tokens = self.projection(variate_values)
        return tokens.to(self.position_embedding.dtype) + self.position_embedding


class EmbedProjection(nn.Sequential):
    """A tower's features to comparable embeds of width D: Linear, LayerNorm."""

    def __init__(self, width: int, projection_dim: int):
        super().__init__(nn.Linear(width, projection_dim), nn.LayerNorm(projection_dim))

    def forward(self, features: Tensor) -> Tensor:
        """`(..., width)` of any floating dtype to `(..., D)`."""
        # In the norm's dtype: a matrix that was quantised stores its weights in another one than it computes in.
        norm: Any = self[1]
        return super().forward(features.to(norm.weight.dtype))


class GatedVariateSelection(nn.Module):
    """Variates inform each other by self-attention, and a gate decides how much of the answer each one takes.

    F = image + text embeds; A = multi-head self-attention over the V rows of F; gate = sigmoid(W [F; A]);
    output = gate * A + (1 - gate) * F.
    """

    def __init__(self, config: TimesCLIPConfig):
        super().__init__()
        dim = config.projection_dim
        self.num_heads = config.selection_num_heads
        self.dropout = config.selection_dropout
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.gate = nn.Linear(2 * dim, dim)

    def forward(self, fused: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """`(B, V, D)` to `(B, V, D)`, and the attention weights `(B, heads, V, V)` on request."""
        query, key, value = self.query_key_value(fused).chunk(3, dim=-1)
        dropout = self.dropout if self.training else 0.0
        attended, weights = _attend(query, key, value, self.num_heads, dropout, output_attentions)
        attended = self.output(attended)  # (B, V, D)
        gate = torch.sigmoid(self.gate(torch.cat([fused, attended], dim=-1)))
        return gate * attended + (1 - gate) * fused, weights


class CrossAttentionSelection(nn.Module):
    """The paper's variate selection (arXiv 2506.24124, equations 12 and 13).

    Each variate's text embed queries the tokens that stand for all variates' whole series, as the text tower has
    contextualised them: x = q + attention(norm(q), norm(tokens)); output = x + FFN(norm(x)).
    """

    def __init__(self, config: TimesCLIPConfig):
        super().__init__()
        dim, width = config.projection_dim, text_width(config.text_config)
        self.num_heads = config.selection_num_heads
        self.dropout = config.selection_dropout
        self.query_norm, self.token_norm, self.output_norm = nn.LayerNorm(dim), nn.LayerNorm(width), nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(width, 2 * dim)
        self.output = nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(
        self, text_embeds: Tensor, variate_tokens: Tensor, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """`(B, V, D)` and `(B, V, width)` to `(B, V, D)`, and attention weights `(B, heads, V, V)` on request."""
        query = self.query(self.query_norm(text_embeds))
        key, value = self.key_value(self.token_norm(variate_tokens)).chunk(2, dim=-1)
        dropout = self.dropout if self.training else 0.0
        attended, weights = _attend(query, key, value, self.num_heads, dropout, output_attentions)
        selected = text_embeds + self.output(attended)
        return selected + self.feed_forward(self.output_norm(selected)), weights


def _attend(
    query: Tensor, key: Tensor, value: Tensor, num_heads: int, dropout: float, output_attentions: bool
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention between variates, `(B, V, D)` each; weights `(B, heads, V, V)` on request."""
    query, key, value = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (query, key, value))
    attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)
    if not output_attentions:  # the fused kernel does not return them
        return attended, None
    # Scaled first: the sums of products of long vectors would pass what half precision holds.
    return attended, (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(dim=-1)


class SampleHead(nn.Module):
    """Embeds of all variates, and what else is known of the sample, to a few numbers about it: `(B, num_outputs)`."""

    def __init__(self, config: TimesCLIPConfig, num_outputs: int):
        super().__init__()
        self.num_static_features = config.num_static_features
        self.pool = None
        dim, dropout = config.projection_dim, config.head_dropout
        parts = (config.vision_config is not None) + (config.text_config is not None)
        parts += config.variate_selection is not None
        width = parts * dim + 2 * config.use_loc_scale  # of one variate
        if config.head == "pooled":
            self.pool = nn.Linear(width, 1)
        else:
            width *= config.num_variates
        width += config.num_static_features
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
        else:
            self.layers = nn.Sequential(nn.Dropout(dropout[0]), nn.Linear(width, num_outputs))

    def forward(self, variates: Tensor, static_values: Tensor | None) -> Tensor:
        """Embeds of the branches side by side `(B, V, width)`, and `(B, num_static_features)`, read if configured."""
        if self.pool is None:
            features = variates.flatten(1)
        else:
            features = (self.pool(variates).softmax(dim=1) * variates).sum(dim=1)  # (B, width)
        if self.num_static_features:
            if static_values is None:
                raise ValueError(
                    f"This model was built with {self.num_static_features} static features: give static_values."
                )
            check_sample_shape("static_values", static_values, (self.num_static_features,))
            features = torch.cat([features, static_values.to(features.dtype)], dim=-1)
        return self.layers(features)


class ZeroLinear(nn.Linear):
    """A linear map whose weights start at zero: at first it adds nothing to what stands beside it."""


class ZeroSeriesLinear(ZeroLinear, SeriesLinear):
    """`ZeroLinear` of values as they come."""


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
        self.projection = linear(width + selected * dim, config.prediction_length)
        self.shortcut = None
        if config.linear_shortcut:
            self.shortcut = ZeroSeriesLinear(config.context_length, config.prediction_length)

    def forward(
        self,
        text_tokens: Tensor | None,
        image_embeds: Tensor | None,
        selected_embeds: Tensor | None,
        variate_values: Tensor | None,
    ) -> Tensor:
        """Tokens `(B, V, 1 + N, width)`, embeds `(B, V, D)` and scaled series `(B, V, T)` to `(B, V, H)`, scaled."""
        if text_tokens is None:
            parts = [image_embeds]
        elif selected_embeds is None or self.fusion == "concat":
            parts = [text_tokens.flatten(2)]
        else:
            parts = [(text_tokens[:, :, :-1] if self.fusion == "replace_last" else text_tokens[:, :, 1:]).flatten(2)]
        parts.append(selected_embeds)
        forecast = self.projection(self.dropout(torch.cat([part for part in parts if part is not None], dim=-1)))
        if self.shortcut is None:
            return forecast
        if variate_values is None:
            raise ValueError("linear_shortcut=True: give the variate_values that the processor returns.")
        last = variate_values[..., -1:]  # not rounded to half precision: a level may be far above its changes
        return forecast + last + self.shortcut(variate_values - last)


__all__ = [
    "CrossAttentionSelection",
    "EmbedProjection",
    "GatedVariateSelection",
    "PatchTokenizer",
    "PredictionHead",
    "SampleHead",
    "SeriesLinear",
    "SeriesLayerNorm",
    "VariateTokenizer",
    "ZeroLinear",
    "ZeroSeriesLinear",
    "check_sample_shape",
]
