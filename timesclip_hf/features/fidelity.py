# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What leaving out blank patches changes, and what it saves, for one tower and a sample of images.

A tower that was pretrained on whole images has never been asked about ink alone, and nobody can promise that it says
the same: so it is measured.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model.ink import Blanks
from ..model.towers import encode_images_in_chunks

# `blank_patches="auto"` leaves blank patches out, or merges them, from this mean cosine on.
CLOSE_ENOUGH = 0.99
SAMPLE_IMAGES = 32


@dataclass(frozen=True)
class Fidelity:
    """How close features of ink are to those of whole images.

    Args:
        images: that were encoded both ways.
        cosine: mean of the cosines between both features of an image.
        lowest: the lowest of them.
        speed: how many times as fast.
    """

    images: int
    cosine: float
    lowest: float
    speed: float

    def __str__(self) -> str:
        return (
            f"{self.images} images have a cosine of {self.cosine:.4f} in the mean (lowest {self.lowest:.4f}) with the "
            f"features of all their patches, and take 1/{self.speed:.1f} of the time"
        )


def measure_blanks(tower: Any, images: Tensor, chunk_size: int, pooling: str, blanks: Blanks) -> Fidelity:
    """Encodes images `(n, 3, height, width)` with all of their patches and with `blanks`; arguments as there."""
    features, seconds = [], []
    for own in (None, blanks):
        encode_images_in_chunks(tower, images[:2], chunk_size, pooling, own)  # to warm up
        _wait(images)
        started = time.perf_counter()
        features.append(encode_images_in_chunks(tower, images, chunk_size, pooling, own).float())
        _wait(images)
        seconds.append(time.perf_counter() - started)
    cosines = torch.nn.functional.cosine_similarity(features[0], features[1], dim=-1)
    return Fidelity(len(images), float(cosines.mean()), float(cosines.min()), seconds[0] / seconds[1])


def _wait(images: Tensor) -> None:
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)


__all__ = ["CLOSE_ENOUGH", "Fidelity", "SAMPLE_IMAGES", "measure_blanks"]
