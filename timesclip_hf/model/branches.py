# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The two branches and the variate selection, and `TimesCLIPModel`, which is made of them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import can_return_tuple

from .clip_features import image_features, text_features
from .configuration_timesclip import TimesCLIPConfig
from .feature_layers import image_pooling, image_width
from .ink import blanks_of
from .layers import (
    PATCH_TOKENIZERS,
    BranchSelections,
    CrossAttentionSelection,
    EmbedProjection,
    GatedVariateSelection,
    VariateTokenizer,
    check_sample_shape,
)
from .outputs import TimesCLIPOutput
from .pretrained_model import TimesCLIPPreTrainedModel
from .towers import (
    build_text_tower,
    build_vision_tower,
    encode_images,
    encode_images_in_chunks,
    encode_tokens,
    eval_if_frozen,
    is_trained,
    pool_tokens,
    record_tokens,
    text_feature_width,
)

# What of a batch the towers read.
_TOWER_INPUTS = ("patch_values", "patch_mask", "pixel_values", "vision_features")


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
        # Where the heads read features and nothing compares embeds, there are none.
        projected = (
            config.head_reads == "embeds" or config.alignment is not None or config.variate_selection is not None
        )
        if config.vision_config is not None:
            self.vision_tower = build_vision_tower(config.vision_config, config.vision_feature_layer)
        if config.vision_config is not None and projected:
            self.vision_projection = EmbedProjection(image_width(config), dim)
        if config.text_config is not None:
            self.text_tower = build_text_tower(config.text_config)
            self.tokenizer = PATCH_TOKENIZERS[config.patch_tokenizer](config)
        if config.text_config is not None and add_text_projection and projected:
            self.text_projection = EmbedProjection(text_feature_width(config.text_config, config.text_pooling), dim)
        if add_variate_selection and config.variate_selection == "gated":
            late = config.branch_fusion == "late"
            self.variate_selection = BranchSelections(config) if late else GatedVariateSelection(config)
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
        """Features of the vision tower `(B, V, width)` for images `(B, V, 3, height, width)`.

        With gradients where the tower learns, or where the images themselves ask for them."""
        check_sample_shape("pixel_values", pixel_values, (self.config.num_images, 3, None, None))
        images = pixel_values.flatten(0, 1)  # (B * V, 3, height, width)
        trained = torch.is_grad_enabled() and (pixel_values.requires_grad or is_trained(self.vision_tower))
        encode = encode_images if trained else encode_images_in_chunks
        how = (self.config.vision_chunk_size, image_pooling(self.config), blanks_of(self.config))
        features = encode(self.vision_tower, images, *how)
        return features.unflatten(0, pixel_values.shape[:2])

    def get_text_embeds(self, patch_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Embeds `(B, V, D)` of patches `(B, V, N, L)`; patches masked False are invisible to all others."""
        return self.read_patches(patch_values, patch_mask)["text_embeds"]

    def get_features(self, **batch: Any) -> Tensor:
        """What the towers say of each variate `(B, V, width)`: the one rule for embedding series.

        The features of the vision tower, then those of the text tower (the order of `config.branches`), side by side,
        of branches that there are; pooled as `vision_pooling` and `text_pooling` say, before any projection or
        selection, for these belong to a task or an alignment; of what is not drawn the vision tower says 0. The linear
        shortcut says nothing: it has no tower; of an ensemble, the first model speaks. In fp32, `width` as in
        `feature_width`.

        Args:
            **batch: what the processor returns; all but images (or their features) and patches is left alone.
        """
        patch_values, patch_mask, *plots = (batch.get(name) for name in _TOWER_INPUTS)
        found = []
        if self.vision_tower is not None:
            found.append(self._of_all(self.read_plots(*plots)["vision_features"].float()))
        if self.text_tower is not None:
            found.append(self.read_patches(patch_values, patch_mask)["text_features"].float())
        return torch.cat(found, dim=-1)

    def _of_all(self, seen: Tensor) -> Tensor:
        """What is seen of the variates that are drawn, 0 for the others; of one image for all, the same for all."""
        if self.config.layout == "grid":
            return seen.expand(-1, self.config.num_variates, -1)
        undrawn = self.config.num_variates - seen.shape[1]
        return F.pad(seen, (0, 0, 0, undrawn)) if undrawn else seen

    def read_plots(self, pixel_values: Tensor | None, vision_features: Tensor | None) -> dict[str, Tensor]:
        """What the vision branch says of images, or of their features."""
        if vision_features is None:
            if pixel_values is None:
                raise ValueError("This model has a vision branch: give pixel_values or vision_features.")
            vision_features = self.get_vision_features(pixel_values)
        expected = (self.config.num_images, image_width(self.config))
        check_sample_shape("vision_features", vision_features, expected)
        read = {"vision_features": vision_features}
        if self.vision_projection is not None:
            read["image_embeds"] = self.vision_projection(vision_features)
        return read

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
            read = {"hidden_states": recorded.hidden_states, "attentions": recorded.attentions or None}
        else:
            tokens = encode_tokens(self.text_tower, tokens, mask, config.text_chunk_size)
        samples = patch_values.shape[:2]
        read["text_tokens"] = tokens.unflatten(0, samples)
        return read | self.project_text(pool_tokens(tokens, mask, config.text_pooling).unflatten(0, samples))

    def project_text(self, text_features: Tensor) -> dict[str, Tensor]:
        """Features of the text tower `(B, V, width)` and, where something compares them, their embeds."""
        read = {"text_features": text_features}
        if self.text_projection is not None:
            read["text_embeds"] = self.text_projection(text_features)
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
        if self.config.branch_fusion == "late":
            return self.variate_selection(read.get("image_embeds"), read.get("text_embeds"), output_attentions)
        if "text_embeds" not in read:
            return self.variate_selection(read["image_embeds"], output_attentions)
        fused = read["text_embeds"]
        if "image_embeds" in read:
            fused = self._of_all(read["image_embeds"]) + fused
        return self.variate_selection(fused, output_attentions)


class TimesCLIPModel(TimesCLIPBranches):
    """Both branches and the variate selection: series in, embeds out.

    Args:
        config: a branch whose sub-config is `None` has no parameters and costs nothing.
        add_text_projection: `False` for models that read the text tower's tokens and never compare embeds.
        add_variate_selection: `False` for models that have no use for it, whatever the configuration says.
    """

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPooling:
        """What the vision branch says of images, as `CLIPModel.get_image_features` has it.

        Args:
            pixel_values: `(B, V, 3, height, width)`, of the processor; the rest of its batch may be given, too.
            output_attentions: `attentions`, `(B * V, heads, tokens, tokens)` of each layer of the tower, computed
                without fused kernels; `None` of towers without any (ResNet).
            output_hidden_states: `hidden_states`, the tokens before the first layer and after each. Of both, what is
                not given is as the configuration says.

        Returns:
            `pooler_output` `(B, V, D)`, the embeds that are compared with those of the text branch; where the model
            compares none, the tower's features `(B, V, width)`. `last_hidden_state` `(B * V, tokens, width)`.

        Raises:
            ValueError: no vision branch, or, of layers, one that leaves blank patches out.
        """
        return image_features(self, pixel_values, output_attentions, output_hidden_states)

    @can_return_tuple
    def get_text_features(
        self,
        patch_values: Tensor,
        patch_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPooling:
        """What the text branch says of patches, as `CLIPModel.get_text_features` has it.

        Args:
            patch_values, patch_mask: as in `forward`; the rest of the processor's batch may be given, too.
            output_attentions, output_hidden_states: see `get_image_features`; `(B * V, ...)` of the text tower.

        Returns:
            `pooler_output` `(B, V, D)`, comparable embeds, or without any the features `(B, V, width)`;
            `last_hidden_state` `(B * V, 1 + N, width)`, CLS first.

        Raises:
            ValueError: no text branch.
        """
        return text_features(self, patch_values, patch_mask, output_attentions, output_hidden_states)

    @can_return_tuple
    def forward(
        self,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        use_vision: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
        future_values: Tensor | None = None,
    ) -> TimesCLIPOutput:
        """Reads a batch that the processor made; with `return_dict=False` the answer is a tuple.

        Args:
            patch_values: `(B, V, N, L)`, for a model with a text branch.
            patch_mask: `(B, V, N)` bool, False for patches with nothing observed.
            pixel_values: `(B, V, 3, height, width)`, for a model with a vision branch.
            vision_features: `(B, V, width)`, features computed earlier, in place of `pixel_values`.
            variate_values: `(B, V, T)`, for `variate_selection="cross_attention"`.
            loc, scale, static_values, future_values: not used here; taken so that every batch of the processor fits.
            use_vision: `False` leaves the vision branch out, whatever inputs there are; its embeds are then absent.
            output_attentions: return the attention between variates, and between the tokens of each one in every layer
                of the text tower, computed without fused kernels. `None`: as the configuration says.
            output_hidden_states: return the tokens between the text tower's layers; a list: of these layers alone.
                `None`: as the configuration says.

        Raises:
            ValueError: an input that a branch needs is missing or has the wrong shape, or samples differ in number.
        """
        config = self.config
        output_attentions = bool(config.output_attentions if output_attentions is None else output_attentions)
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        read: dict[str, Any] = {}
        if self.vision_tower is not None and use_vision:
            read = self.read_plots(pixel_values, vision_features)
        if self.text_tower is not None:
            read |= self.read_patches(patch_values, patch_mask, output_hidden_states or False, output_attentions)
        if not read:
            raise ValueError("use_vision=False leaves nothing of a model without a text branch.")
        _check_same_samples(
            patch_values=patch_values,
            pixel_values=pixel_values,
            vision_features=vision_features,
            variate_values=variate_values,
            loc=loc,
            scale=scale,
        )
        selected, attentions = self.select_variates(read, variate_values, output_attentions)
        return TimesCLIPOutput(**read, selected_embeds=selected, selection_attentions=attentions)


def feature_width(config: TimesCLIPConfig) -> int:
    """Numbers that the towers of a model say of each variate, see `TimesCLIPModel.get_features`."""
    text = config.text_config
    width = image_width(config) if config.vision_config is not None else 0
    return width + (text_feature_width(text, config.text_pooling) if text is not None else 0)


def _check_same_samples(**inputs: Tensor | None) -> None:
    """Nothing is broadcast over a batch. Not by `len`, which a graph for any number of samples cannot hold."""
    sizes = {name: tensor.shape[0] for name, tensor in inputs.items() if tensor is not None}
    if any(size != next(iter(sizes.values())) for size in sizes.values()):
        raise ValueError(f"All inputs must have one row for each sample, got {sizes}.")


__all__ = ["TimesCLIPBranches", "TimesCLIPModel", "feature_width"]
