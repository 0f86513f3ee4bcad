# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The two pretrained encoders: what to build for a family of transformers models, and how to ask it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPTextModel,
    CLIPVisionModel,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipTextModel,
    SiglipVisionModel,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils import logging


@dataclass(frozen=True)
class TextFamily:
    """One family of text towers: its class, and how token vectors pass through its layers."""

    model_class: type[PreTrainedModel]
    encode: Callable[[Any, Tensor, Tensor | None], Tensor]


def _encode_clip(tower: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """CLIP's and SigLIP's layers and final norm; both attend in both directions when no causal mask is given."""
    if mask is not None:
        attention_mask = create_bidirectional_mask(config=tower.config, inputs_embeds=hidden, attention_mask=mask)
    else:
        attention_mask = None
    hidden = tower.encoder(inputs_embeds=hidden, attention_mask=attention_mask).last_hidden_state
    return tower.final_layer_norm(hidden)


VISION_FAMILIES: dict[str, type[PreTrainedModel]] = {
    "clip_vision_model": CLIPVisionModel,
    "siglip_vision_model": SiglipVisionModel,
}
TEXT_FAMILIES: dict[str, TextFamily] = {
    "clip_text_model": TextFamily(CLIPTextModel, _encode_clip),
    "siglip_text_model": TextFamily(SiglipTextModel, _encode_clip),
}


def build_vision_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """A vision tower with random weights; its images go in, its pooled features come out."""
    return VISION_FAMILIES[config.model_type]._from_config(config)


def build_text_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """A text tower's layers with random weights, without its word and position embeddings.

    Numeric patches take the place of words, so the embedding table (25 M parameters in CLIP) would be dead weight.
    """
    tower = TEXT_FAMILIES[config.model_type].model_class._from_config(config)
    return strip_embeddings(tower)


def strip_embeddings(tower: PreTrainedModel) -> PreTrainedModel:
    """Removes what only words need: embeddings, and the projection that SigLIP keeps in its text model."""
    tower.embeddings = nn.Identity()
    if hasattr(tower, "head"):
        tower.head = nn.Identity()
    return tower


def load_vision_tower(name_or_path: str, **kwargs: Any) -> PreTrainedModel:
    """The vision tower of a checkpoint: of a CLIP or SigLIP pair, or a vision model alone.

    Args:
        name_or_path: Hub id or folder.
        **kwargs: passed to `from_pretrained` (`revision`, `token`, `cache_dir`, ...); weights come in fp32.

    Raises:
        ValueError: a family that is not supported, or weights of the tower that the checkpoint lacks.
    """
    return _load_tower(name_or_path, "vision_config", VISION_FAMILIES, kwargs)


def load_text_tower(name_or_path: str, **kwargs: Any) -> PreTrainedModel:
    """The text tower of a checkpoint, without its embeddings. Arguments and errors as for `load_vision_tower`."""
    families = {k: f.model_class for k, f in TEXT_FAMILIES.items()}
    return strip_embeddings(_load_tower(name_or_path, "text_config", families, kwargs))


def _load_tower(
    name_or_path: str, config_name: str, families: dict[str, type[PreTrainedModel]], kwargs: dict[str, Any]
) -> PreTrainedModel:
    hub_kwargs = {
        k: v for k, v in kwargs.items() if k in ("revision", "token", "cache_dir", "subfolder", "local_files_only")
    }
    settings, _ = PreTrainedConfig.get_config_dict(name_or_path, **hub_kwargs)
    model_type = str(settings.get("model_type"))
    if config_name in settings:  # a pair such as CLIP: take the half that we need
        model_type = f"{model_type}_{config_name.removesuffix('_config')}_model"
    if model_type not in families:
        raise ValueError(
            f"{name_or_path} is of model type {settings.get('model_type')!r}, which has no supported "
            f"{config_name.removesuffix('_config')} tower; supported are {sorted(families)}, alone or in a pair."
        )
    loading: Any = families[model_type].from_pretrained  # with output_loading_info it returns a pair
    # In fp32 like all our own weights, whatever the checkpoint was stored in: layers of two dtypes do not mix.
    # Half of a pair is unexpected here by design, so transformers' own report of it would only alarm.
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        tower, report = loading(name_or_path, output_loading_info=True, dtype=torch.float32, **kwargs)
    finally:
        logging.set_verbosity(verbosity)
    if report["missing_keys"] or report["mismatched_keys"]:
        raise ValueError(
            f"{name_or_path} lacks weights of its tower: missing {sorted(report['missing_keys'])}, "
            f"of another shape {sorted(report['mismatched_keys'])}."
        )
    return tower


def checkpoint_image_statistics(name_or_path: str, **kwargs: Any) -> dict[str, list[float]]:
    """`image_mean` and `image_std` that a vision checkpoint names for its preprocessing; empty if it names none."""
    try:
        settings, _ = BaseImageProcessor.get_image_processor_dict(name_or_path, **kwargs)
    except OSError:  # a checkpoint without a preprocessor: the family's statistics hold
        return {}
    return {key: list(settings[key]) for key in ("image_mean", "image_std") if settings.get(key)}


def encode_images(tower: PreTrainedModel, pixel_values: Tensor) -> Tensor:
    """Pooled features `(n, width)` of images `(n, 3, height, width)`."""
    return tower(pixel_values=pixel_values).pooler_output.flatten(1)


def encode_images_in_chunks(tower: PreTrainedModel, pixel_values: Tensor, chunk_size: int) -> Tensor:
    """As `encode_images`, for a frozen tower: without gradients, at most `chunk_size` images at once."""
    with torch.no_grad():
        chunks = [encode_images(tower, chunk) for chunk in pixel_values.split(chunk_size)]
    return torch.cat(chunks)


def encode_tokens(tower: PreTrainedModel, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Contextual tokens `(n, length, width)` after the tower's layers and final norm, attending in both directions.

    Args:
        hidden: `(n, length, width)` token vectors with their positions added.
        mask: `(n, length)` bool, False for tokens nobody may look at; `None`: all count.
    """
    return TEXT_FAMILIES[tower.config.model_type].encode(tower, hidden, mask)


__all__ = [
    "TEXT_FAMILIES",
    "VISION_FAMILIES",
    "build_text_tower",
    "build_vision_tower",
    "checkpoint_image_statistics",
    "encode_images",
    "encode_images_in_chunks",
    "encode_tokens",
    "load_text_tower",
    "load_vision_tower",
]
