# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From plots to what a frozen vision tower says of them, without ever holding the images of all.

An image of 224 x 224 pixels takes 600 kB, a plot of 96 steps 400 bytes: a sample of 862 variates is half a gigabyte
once it is drawn. So as many images are drawn as the tower sees at once, and these are forgotten.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.trainer_utils import unwrap_peft_model

from ..model.feature_layers import image_pooling
from ..model.ink import blanks_of
from ..model.towers import encode_images_in_chunks, is_trained

# With ink alone, images of about as many patches are read together: there are more of them among more images.
CHUNKS_OF_INK = 8


def has_frozen_vision(model: Any) -> bool:
    """Whether a model has one vision tower and none of its weights learns; the models of an ensemble have several."""
    tower = getattr(model.base_model, "vision_tower", None)
    return tower is not None and not is_trained(tower) and model.config.ensemble_size == 1


def images_at_once(config: Any, chunk_size: int) -> int:
    """Images to draw at once for a tower that sees `chunk_size` of them."""
    return chunk_size * (CHUNKS_OF_INK if blanks_of(config) is not None else 1)


def encode_plots(
    tower: Any,
    config: Any,
    processor: Any,
    plot_values: Tensor,
    dtype: torch.dtype = torch.float32,
    chunk_size: int | None = None,
) -> Tensor:
    """Features `(B, V, width)` of plots, without gradients; with `layout="grid"` `(B, 1, width)`.

    Args:
        tower: a vision tower in evaluation mode.
        config: of its model, which says what is read of an image.
        processor: draws the images.
        plot_values: `(B, V, T)` of the processor, where the tower is.
        dtype: of the images.
        chunk_size: images that the tower sees at once; not set: `config.vision_chunk_size`.
    """
    chunk_size = chunk_size or config.vision_chunk_size
    how = chunk_size, image_pooling(config), blanks_of(config)
    count = len(plot_values) * (1 if processor.layout == "grid" else plot_values.shape[1])
    found: Any = None  # one tensor: small ones kept between large ones that are freed would hold the memory
    for first in range(0, count, step := images_at_once(config, chunk_size)):
        with torch.autocast(plot_values.device.type, enabled=False):
            images = processor.draw(plot_values, dtype, slice(first, first + step))
        features = encode_images_in_chunks(tower, images, *how)
        found = features.new_empty(count, features.shape[1]) if found is None else found
        found[first : first + step] = features
    return found.unflatten(0, (len(plot_values), -1))


def read_plots(model: Any, processor: Any, batch: dict[str, Any]) -> None:
    """Puts `vision_features` in the place of a batch's `plot_values`, where it has any.

    `pixel_values` take their place for a model that is compiled as a whole, has several vision towers, or one that
    learns, as long as gradients are on or dropout is at work in it.
    """
    if "plot_values" not in batch:
        return
    body = unwrap_peft_model(model)
    tower: Any = getattr(body.base_model, "vision_tower", None)
    alone = tower is not None and body.config.ensemble_size == 1
    if not alone or model._compiled_call_impl is not None:
        processor.add_images(batch)
    elif is_trained(tower) and (tower.training or torch.is_grad_enabled()):
        processor.add_images(batch)
    else:
        batch["vision_features"] = encode_plots(tower, body.config, processor, batch.pop("plot_values"))


__all__ = ["encode_plots", "has_frozen_vision", "images_at_once", "read_plots"]
