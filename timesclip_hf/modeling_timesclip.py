# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""TimesCLIP (arXiv 2506.24124): a series seen as line plots and spoken as patches, and the models built on both."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_timesclip import PRESETS, TimesCLIPConfig
from .layers import AlignmentObjective, EmbedProjection, GatedVariateSelection, PatchTokenizer, RegressionHead
from .towers import (
    build_text_tower,
    build_vision_tower,
    checkpoint_image_statistics,
    encode_images,
    encode_images_in_chunks,
    encode_tokens,
    load_text_tower,
    load_vision_tower,
)


@dataclass
class TimesCLIPOutput(ModelOutput):
    """What the two branches say about each variate.

    Args:
        image_embeds: `(B, V, D)`, absent without a vision branch.
        text_embeds: `(B, V, D)`, absent without a text branch.
        selected_embeds: `(B, V, D)` after variates informed each other, absent without variate selection.
        vision_features: `(B, V, width)`, the vision tower's pooled output; can be fed back in place of images.
        selection_attentions: `(B, heads, V, V)`, on request: how much variate i (row) listens to variate j (column).
    """

    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    selected_embeds: Tensor | None = None
    vision_features: Tensor | None = None
    selection_attentions: Tensor | None = None


@dataclass
class TimesCLIPRegressionOutput(ModelOutput):
    """A regression and its losses.

    Args:
        loss: scalar, what training minimises: task loss and weighted alignment loss; present when labels are given.
        predictions: `(B, num_targets)` in original units.
        task_loss: scalar, mean squared error on standardised targets.
        alignment_loss: scalar, unweighted contrastive loss; present with labels and `config.alignment`.
        image_embeds, text_embeds, selected_embeds, vision_features, selection_attentions: see `TimesCLIPOutput`.
    """

    loss: Tensor | None = None
    predictions: Tensor | None = None
    task_loss: Tensor | None = None
    alignment_loss: Tensor | None = None
    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    selected_embeds: Tensor | None = None
    vision_features: Tensor | None = None
    selection_attentions: Tensor | None = None


class TimesCLIPPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation shared by all TimesCLIP models."""

    config: TimesCLIPConfig
    config_class = TimesCLIPConfig
    base_model_prefix = "timesclip"
    main_input_name = "patch_values"
    input_modalities = ["image", "time"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = ["logit_scale", "log_variances"]
    # Losses are means over the batch, so Trainer must go on dividing them by the accumulation steps.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PatchTokenizer):
            init.normal_(module.cls_token, std=self.config.initializer_range)
            init.normal_(module.position_embedding, std=self.config.initializer_range)
        elif isinstance(module, AlignmentObjective):
            config = module.config
            if config.learn_logit_scale:
                init.constant_(module.logit_scale, config.logit_scale_init_value)
            if config.alignment_weighting == "uncertainty":  # start from weights 1 and lambda
                start = torch.tensor([1.0, config.alignment_weight]).log().neg()
                init.copy_(module.log_variances, start)
            if config.alignment_weighting == "warmup":
                init.zeros_(module.training_batches)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; the towers that the configuration freezes are frozen again after loading."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # output_loading_info=True returns a pair
        model.freeze_towers()
        return loaded

    @classmethod
    def from_vision_text_pretrained(
        cls,
        vision: str | None,
        text: str | None,
        preset: str = "full",
        hub_kwargs: dict[str, Any] | None = None,
        **config_fields: Any,
    ) -> Any:
        """A model whose towers come from checkpoints; everything else starts from random weights.

        Args:
            vision: Hub id or folder of a CLIP or SigLIP pair, or of its vision model; `None`: no vision branch.
            text: the same for the text tower; the same name twice is the normal case.
            preset: one of `PRESETS`.
            hub_kwargs: passed to both downloads (`token`, `cache_dir`, `local_files_only`, ...).
            **config_fields: fields of `TimesCLIPConfig`.

        Raises:
            ValueError: an unsupported family, a checkpoint that lacks weights of its tower, or a preset without the
                branch that a checkpoint was given for.
        """
        for name, tower in (("vision", vision), ("text", text)):
            absent = f"{name}_config" in PRESETS.get(preset, {})
            if absent != (tower is None):
                found = "a checkpoint was given for it" if absent else f"{name}=None was given"
                raise ValueError(f"preset {preset!r} has {'no' if absent else 'a'} {name} branch, but {found}.")
        hub_kwargs = hub_kwargs or {}
        vision_tower = load_vision_tower(vision, **hub_kwargs) if vision is not None else None
        text_tower = load_text_tower(text, **hub_kwargs) if text is not None else None
        statistics = checkpoint_image_statistics(vision, **hub_kwargs) if vision is not None else {}
        fields = {
            **statistics,
            **config_fields,
            "vision_config": vision_tower.config if vision_tower is not None else None,
            "text_config": text_tower.config if text_tower is not None else None,
        }
        model: Any = cls(TimesCLIPConfig.from_preset(preset, **fields))
        if vision_tower is not None:
            model.base_model.vision_tower.load_state_dict(vision_tower.state_dict())
        if text_tower is not None:
            model.base_model.text_tower.load_state_dict(text_tower.state_dict())
        return model

    def _check_shape(self, name: str, tensor: Tensor, expected: tuple[int | None, ...]) -> None:
        """Everything behind the batch dimension; `None` stands for any size."""
        found = tuple(tensor.shape[1:])
        if len(found) != len(expected) or any(e is not None and e != f for e, f in zip(expected, found, strict=True)):
            wanted = ", ".join("any" if e is None else str(e) for e in expected)
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected (batch, {wanted}) as the configuration says. "
                "Was the processor made with TimesCLIPProcessor.from_config of this model's config?"
            )

    def _wants_dict(self, return_dict: bool | None) -> bool:
        return bool(self.config.return_dict if return_dict is None else return_dict)

    def freeze_towers(self) -> None:
        """Takes the towers that the configuration freezes out of training (loading weights makes all trainable)."""
        base: Any = self.base_model
        for tower, freeze in (
            (base.vision_tower, self.config.freeze_vision),
            (base.text_tower, self.config.freeze_text),
        ):
            if tower is not None and freeze:
                tower.requires_grad_(False).eval()


class TimesCLIPModel(TimesCLIPPreTrainedModel):
    """Both branches and the variate selection: series in, embeds out.

    Args:
        config: a branch whose sub-config is `None` has no parameters and costs nothing.
    """

    def __init__(self, config: TimesCLIPConfig):
        super().__init__(config)
        dim = config.projection_dim
        self.vision_tower: Any = None
        self.vision_projection: Any = None
        self.text_tower: Any = None
        self.tokenizer: Any = None
        self.text_projection: Any = None
        if config.vision_config is not None:
            self.vision_tower = build_vision_tower(config.vision_config)
            self.vision_projection = EmbedProjection(config.vision_config.hidden_size, dim)
        if config.text_config is not None:
            self.text_tower = build_text_tower(config.text_config)
            self.tokenizer = PatchTokenizer(config)
            self.text_projection = EmbedProjection(config.text_config.hidden_size, dim)
        self.variate_selection = GatedVariateSelection(config) if config.variate_selection is not None else None
        self.post_init()
        self.freeze_towers()

    def train(self, mode: bool = True) -> "TimesCLIPModel":
        """Training mode for all but the frozen towers: their dropout and statistics must not move."""
        super().train(mode)
        if self.config.freeze_vision and self.vision_tower is not None:
            self.vision_tower.eval()
        if self.config.freeze_text and self.text_tower is not None:
            self.text_tower.eval()
        return self

    def get_input_embeddings(self) -> Any:
        """The tokenizer's projection: what stands where a language model has its word embeddings."""
        return self.tokenizer.projection if self.tokenizer is not None else None

    def get_vision_features(self, pixel_values: Tensor) -> Tensor:
        """Pooled features of the vision tower `(B, V, width)` for images `(B, V, 3, height, width)`."""
        self._check_shape("pixel_values", pixel_values, (self.config.num_variates, 3, None, None))
        images = pixel_values.flatten(0, 1)  # (B * V, 3, height, width)
        if self.config.freeze_vision:
            features = encode_images_in_chunks(self.vision_tower, images, self.config.vision_chunk_size)
        else:
            features = encode_images(self.vision_tower, images)
        return features.unflatten(0, pixel_values.shape[:2])

    def get_text_embeds(self, patch_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Embeds `(B, V, D)` of patches `(B, V, N, L)`; patches masked False are invisible to all others."""
        config = self.config
        self._check_shape("patch_values", patch_values, (config.num_variates, config.num_patches, config.patch_length))
        tokens = self.tokenizer(patch_values.flatten(0, 1))  # (B * V, 1 + N, width)
        mask = None
        if patch_mask is not None:
            self._check_shape("patch_mask", patch_mask, (config.num_variates, config.num_patches))
            mask = F.pad(patch_mask.flatten(0, 1).bool(), (1, 0), value=True)  # the CLS token always counts
        hidden = encode_tokens(self.text_tower, tokens, mask)
        return self.text_projection(hidden[:, 0]).unflatten(0, patch_values.shape[:2])

    def forward(
        self,
        pixel_values: Tensor | None = None,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> TimesCLIPOutput | tuple:
        """Reads a batch that the processor made.

        Args:
            pixel_values: `(B, V, 3, height, width)`, for a model with a vision branch.
            patch_values: `(B, V, N, L)`, for a model with a text branch.
            patch_mask: `(B, V, N)` bool, False for patches with nothing observed.
            vision_features: `(B, V, width)`, features computed earlier, in place of `pixel_values`.
            variate_values, loc, scale, static_values: not used here; taken so that every batch of the processor fits.
            output_attentions: return the attention between variates.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: an input that a branch needs is missing or has the wrong shape.
        """
        config = self.config
        image_embeds = text_embeds = selected_embeds = attentions = None
        if self.vision_tower is not None:
            if vision_features is None:
                if pixel_values is None:
                    raise ValueError("This model has a vision branch: give pixel_values or vision_features.")
                vision_features = self.get_vision_features(pixel_values)
            width = config.vision_config.hidden_size
            self._check_shape("vision_features", vision_features, (config.num_variates, width))
            image_embeds = self.vision_projection(vision_features.to(self.vision_projection[0].weight.dtype))
        if self.text_tower is not None:
            if patch_values is None:
                raise ValueError("This model has a text branch: give patch_values.")
            text_embeds = self.get_text_embeds(patch_values, patch_mask)
        if image_embeds is not None and text_embeds is not None and len(image_embeds) != len(text_embeds):
            raise ValueError(
                f"The vision branch was given {len(image_embeds)} samples, the text branch {len(text_embeds)}; "
                "they must be the same samples."
            )
        if self.variate_selection is not None:
            fused = sum(embeds for embeds in (image_embeds, text_embeds) if embeds is not None)
            selected_embeds, attentions = self.variate_selection(fused, bool(output_attentions))
        outputs = TimesCLIPOutput(
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            selected_embeds=selected_embeds,
            vision_features=vision_features if self.vision_tower is not None else None,
            selection_attentions=attentions,
        )
        return outputs if self._wants_dict(return_dict) else outputs.to_tuple()


class TimesCLIPForRegression(TimesCLIPPreTrainedModel):
    """TimesCLIP with a head that gives numbers, such as the yield of a field.

    Args:
        config: `target_mean` and `target_std` bring predictions to original units; `processor.complete_config` sets
            them from the training data.
    """

    def __init__(self, config: TimesCLIPConfig):
        super().__init__(config)
        if config.use_loc_scale and config.variate_mean is None:
            raise ValueError(
                "use_loc_scale=True needs variate_mean and variate_std; processor.complete_config sets them."
            )
        self.timesclip = TimesCLIPModel(config)
        self.head = RegressionHead(config)
        self.alignment = AlignmentObjective(config) if config.alignment is not None else None
        self.post_init()
        self.freeze_towers()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> TimesCLIPRegressionOutput | tuple:
        """Predicts, and measures the prediction when labels are given.

        Args:
            pixel_values, patch_values, patch_mask, vision_features, output_attentions, return_dict:
                see `TimesCLIPModel.forward`.
            variate_values: not used here.
            loc, scale: `(B, V)` in raw units, what the processor subtracted and divided by; read with `use_loc_scale`.
            static_values: `(B, num_static_features)` as the processor encodes them.
            labels: `(B, num_targets)` in original units.

        Raises:
            ValueError: an input is missing or has the wrong shape; labels never broadcast.
        """
        outputs = self.timesclip(
            pixel_values=pixel_values,
            patch_values=patch_values,
            patch_mask=patch_mask,
            vision_features=vision_features,
            output_attentions=output_attentions,
            return_dict=True,
        )
        parts = [outputs.image_embeds, outputs.text_embeds, outputs.selected_embeds]
        if self.config.use_loc_scale:
            parts.append(self._standardised_loc_scale(loc, scale))
        variates = torch.cat([part for part in parts if part is not None], dim=-1)
        standardised = self.head(variates, self._checked_static(static_values)).float()
        mean, std = self._target_statistics(standardised)

        loss = task_loss = contrast = None
        if labels is not None:
            if labels.shape != standardised.shape:
                raise ValueError(
                    f"labels have shape {tuple(labels.shape)}, expected (batch, num_targets) = "
                    f"{tuple(standardised.shape)}; reshape them, they are never broadcast."
                )
            loss = task_loss = F.mse_loss(standardised, (labels.float() - mean) / std)
            if self.alignment is not None:
                contrast = self.alignment(outputs.image_embeds, outputs.text_embeds)
                loss = self.alignment.combine(task_loss, contrast)
        result = TimesCLIPRegressionOutput(
            loss=loss,
            predictions=standardised * std + mean,
            task_loss=task_loss,
            alignment_loss=contrast,
            **outputs,
        )
        return result if self._wants_dict(return_dict) else result.to_tuple()

    def _target_statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.config.target_mean or [0.0] * self.config.num_targets
        std = self.config.target_std or [1.0] * self.config.num_targets
        return like.new_tensor(mean), like.new_tensor(std)

    def _standardised_loc_scale(self, loc: Tensor | None, scale: Tensor | None) -> Tensor:
        """Level and spread of each variate in units of the training data, `(B, V, 2)`."""
        if loc is None or scale is None:
            raise ValueError("use_loc_scale=True: give the loc and scale that the processor returns.")
        self._check_shape("loc", loc, (self.config.num_variates,))
        self._check_shape("scale", scale, (self.config.num_variates,))
        mean, std = loc.new_tensor(self.config.variate_mean), loc.new_tensor(self.config.variate_std)
        return torch.stack([(loc - mean) / std, scale / std], dim=-1).to(self.dtype)

    def _checked_static(self, static_values: Tensor | None) -> Tensor | None:
        if self.config.num_static_features == 0:
            return None
        if static_values is None:
            raise ValueError(
                f"This model was built with {self.config.num_static_features} static features: give static_values."
            )
        self._check_shape("static_values", static_values, (self.config.num_static_features,))
        return static_values


__all__ = [
    "TimesCLIPForRegression",
    "TimesCLIPModel",
    "TimesCLIPOutput",
    "TimesCLIPPreTrainedModel",
    "TimesCLIPRegressionOutput",
]
