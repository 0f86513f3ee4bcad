# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The two branches and the variate selection: what `TimesCLIPModel` is made of."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_timesclip import TimesCLIPConfig
from .layers import (
    CrossAttentionSelection,
    EmbedProjection,
    GatedVariateSelection,
    PatchTokenizer,
    VariateTokenizer,
    check_sample_shape,
)
from .pretrained_model import TimesCLIPPreTrainedModel
from .towers import (
    build_text_tower,
    build_vision_tower,
    encode_images,
    encode_images_in_chunks,
    encode_tokens,
    eval_if_frozen,
    is_trained,
    record_tokens,
    text_width,
    vision_width,
)


class TimesCLIPBranches(TimesCLIPPreTrainedModel):
    """The parts of both branches and the variate selection, and how each of them is read.

    Args:
        config: a branch whose sub-config is `None` has no parameters and costs nothing.
        add_text_projection: `False` for models that read the text tower's tokens and never compare embeds.
        add_variate_selection: `False` for models that have no use for it, whatever the configuration says.
    """

    def __init__(self, config: TimesCLIPConfig, add_text_projection: bool = True, add_variate_selection: bool = True):
        super().__init__(config)
        dim = config.projection_dim
        self.vision_tower: Any = None
        self.vision_projection: Any = None
        self.text_tower: Any = None
        self.tokenizer: Any = None
        self.text_projection: Any = None
        self.variate_tokenizer: Any = None
        self.variate_selection: Any = None
        if config.vision_config is not None:
            self.vision_tower = build_vision_tower(config.vision_config)
            self.vision_projection = EmbedProjection(vision_width(config.vision_config), dim)
        if config.text_config is not None:
            self.text_tower = build_text_tower(config.text_config)
            self.tokenizer = PatchTokenizer(config)
        if config.text_config is not None and add_text_projection:
            self.text_projection = EmbedProjection(text_width(config.text_config), dim)
        if add_variate_selection and config.variate_selection == "gated":
            self.variate_selection = GatedVariateSelection(config)
        elif add_variate_selection and config.variate_selection == "cross_attention":
            self.variate_tokenizer = VariateTokenizer(config)
            self.variate_selection = CrossAttentionSelection(config)
        self.post_init()
        self.freeze_towers()

    def train(self, mode: bool = True) -> "TimesCLIPBranches":
        """Training mode for all but the frozen towers: their dropout and statistics must not move."""
        super().train(mode)
        for tower in (self.vision_tower, self.text_tower):
            if tower is not None and mode:
                eval_if_frozen(tower)
        return self

    def get_input_embeddings(self) -> Any:
        """The tokenizer's projection: what stands where a language model has its word embeddings."""
        return self.tokenizer.projection if self.tokenizer is not None else None

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Puts another module in the place of the tokenizer's projection."""
        self.tokenizer.projection = value

    def get_vision_features(self, pixel_values: Tensor) -> Tensor:
        """Pooled features of the vision tower `(B, V, width)` for images `(B, V, 3, height, width)`."""
        check_sample_shape("pixel_values", pixel_values, (self.config.num_variates, 3, None, None))
        images = pixel_values.flatten(0, 1)  # (B * V, 3, height, width)
        trained = torch.is_grad_enabled() and is_trained(self.vision_tower)
        encode = encode_images if trained else encode_images_in_chunks
        features = encode(self.vision_tower, images, self.config.vision_chunk_size)
        return features.unflatten(0, pixel_values.shape[:2])

    def get_text_embeds(self, patch_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Embeds `(B, V, D)` of patches `(B, V, N, L)`; patches masked False are invisible to all others."""
        return self.read_patches(patch_values, patch_mask)["text_embeds"]

    def read_plots(self, pixel_values: Tensor | None, vision_features: Tensor | None) -> dict[str, Tensor]:
        """What the vision branch says of images, or of their features."""
        if vision_features is None:
            if pixel_values is None:
                raise ValueError("This model has a vision branch: give pixel_values or vision_features.")
            vision_features = self.get_vision_features(pixel_values)
        width = vision_width(self.config.vision_config)
        check_sample_shape("vision_features", vision_features, (self.config.num_variates, width))
        return {"vision_features": vision_features, "image_embeds": self.vision_projection(vision_features)}

    def read_patches(
        self,
        patch_values: Tensor | None,
        patch_mask: Tensor | None,
        hidden_states: bool | list[int] = False,
        attentions: bool = False,
    ) -> dict[str, Any]:
        """What the text branch says of patches and, on request, what its layers did (gradients reach that, too)."""
        if patch_values is None:
            raise ValueError("This model has a text branch: give patch_values.")
        config, mask = self.config, None
        check_sample_shape(
            "patch_values", patch_values, (config.num_variates, config.num_patches, config.patch_length)
        )
        tokens = self.tokenizer(patch_values.flatten(0, 1))  # (B * V, 1 + N, width), CLS first
        if patch_mask is not None:
            check_sample_shape("patch_mask", patch_mask, (config.num_variates, config.num_patches))
            mask = F.pad(patch_mask.flatten(0, 1).bool(), (1, 0), value=True)  # the CLS token always counts
        read: dict[str, Any] = {}
        if hidden_states or attentions:
            recorded = record_tokens(self.text_tower, tokens, mask, hidden_states, attentions)
            tokens = recorded.last_hidden_state
            read = {"hidden_states": recorded.hidden_states, "attentions": recorded.attentions or None}  # fused: none
        else:
            tokens = encode_tokens(self.text_tower, tokens, mask, config.text_chunk_size)
        read["text_tokens"] = tokens.unflatten(0, patch_values.shape[:2])
        if self.text_projection is not None:
            read["text_embeds"] = self.text_projection(read["text_tokens"][:, :, 0])
        return read

    def select_variates(
        self, read: dict[str, Any], variate_values: Tensor | None, output_attentions: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Embeds after variates informed each other, and how much each listened to which."""
        if self.variate_selection is None:
            return None, None
        if self.variate_tokenizer is not None:
            if variate_values is None:
                raise ValueError(
                    "variate_selection='cross_attention': give the variate_values that the processor returns."
                )
            config = self.config
            check_sample_shape("variate_values", variate_values, (config.num_variates, config.context_length))
            # As many tokens at once as in a chunk of patch sequences.
            chunk_size = max(1, config.text_chunk_size * (config.num_patches + 1) // config.num_variates)
            tokens = encode_tokens(self.text_tower, self.variate_tokenizer(variate_values), None, chunk_size)
            return self.variate_selection(read["text_embeds"], tokens, output_attentions)  # one token a variate
        fused = sum(read[name] for name in ("image_embeds", "text_embeds") if name in read)
        return self.variate_selection(fused, output_attentions)


__all__ = ["TimesCLIPBranches"]
