# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`get_image_features` and `get_text_features` as CLIP has them, with what the towers' layers did on request."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .feature_layers import image_pooling
from .towers import VISION_FAMILIES


def image_features(
    model: Any, pixel_values: Tensor, output_attentions: bool | None, output_hidden_states: bool | None
) -> BaseModelOutputWithPooling:
    """What a model's vision branch says of images; see `TimesCLIPModel.get_image_features`."""
    if model.vision_tower is None:
        raise ValueError("this model has no vision branch, vision_config is None: there are no image features")
    config = model.config
    output_attentions, output_hidden_states = _asked(config, output_attentions, output_hidden_states)
    if config.blank_patches != "keep" and (output_attentions or output_hidden_states):
        raise ValueError(
            f"blank_patches={config.blank_patches!r} reads the patches that hold ink alone, whose number differs: "
            "attentions and hidden states are there for blank_patches='keep' alone"
        )
    read = model.read_plots(pixel_values, None)
    tower = model.vision_tower
    with _kernels_that_tell(tower, output_attentions):
        recorded = tower(
            pixel_values=pixel_values.flatten(0, 1).to(tower.dtype),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
    tokens = recorded.last_hidden_state
    if image_pooling(config) != "pooler":
        tokens = VISION_FAMILIES[tower.config.model_type].tokens(tower, recorded)
    return BaseModelOutputWithPooling(
        last_hidden_state=tokens,
        pooler_output=read.get("image_embeds", read["vision_features"]),
        hidden_states=recorded.hidden_states if output_hidden_states else None,
        attentions=(recorded.get("attentions") or None) if output_attentions else None,
    )


def text_features(
    model: Any,
    patch_values: Tensor,
    patch_mask: Tensor | None,
    output_attentions: bool | None,
    output_hidden_states: bool | None,
) -> BaseModelOutputWithPooling:
    """What a model's text branch says of patches; see `TimesCLIPModel.get_text_features`."""
    if model.text_tower is None:
        raise ValueError("this model has no text branch, text_config is None: there are no text features")
    output_attentions, output_hidden_states = _asked(model.config, output_attentions, output_hidden_states)
    read = model.read_patches(patch_values, patch_mask, output_hidden_states, output_attentions)
    return BaseModelOutputWithPooling(
        last_hidden_state=read["text_tokens"].flatten(0, 1),
        pooler_output=read.get("text_embeds", read["text_features"]),
        hidden_states=read.get("hidden_states") if output_hidden_states else None,
        attentions=read.get("attentions") if output_attentions else None,
    )


def _asked(config: Any, attentions: bool | None, hidden_states: bool | None) -> tuple[bool, bool]:
    """What is asked for, or else as the configuration says."""
    return (
        bool(config.output_attentions if attentions is None else attentions),
        bool(config.output_hidden_states if hidden_states is None else hidden_states),
    )


@contextmanager
def _kernels_that_tell(tower: Any, wanted: bool) -> Iterator[None]:
    """Within, the tower computes without fused kernels, which give no attention, where it is asked for."""
    config, kernel = tower.config, tower.config._attn_implementation
    if wanted:
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = kernel


__all__ = ["image_features", "text_features"]
