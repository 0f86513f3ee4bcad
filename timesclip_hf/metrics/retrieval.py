# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Do a series' two readings, plots and patches, find each other? The measure of pre-training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import as_real_array

# Samples on each side of one block of similarities, 32 MB in float64; fewer of wide embeds, which are 64 MB a block.
_BLOCK_SIZE, _BLOCK_NUMBERS = 2048, 2**23

# Cosines in float64 that differ by less are equal: copies of a sample come out of a matrix product a rounding apart.
_TOLERANCE = 1e-12
_DIRECTIONS = ("image_to_text", "text_to_image")


def retrieval_accuracy(image_embeds: ArrayLike, text_embeds: ArrayLike, at: Sequence[int] = (1,)) -> dict[str, float]:
    """How often a series' two readings find each other among all others: retrieval by cosine.

    A sample is described by all its variates side by side, as in the global alignment loss. Where several samples are
    equally near, the own one among them, what is counted is the chance that it is found if they come in any order: of
    embeds that collapsed to one point k / n among the k nearest.

    Similarities are computed in blocks: memory grows with n, not with its square (time does).

    Args:
        image_embeds: `(n, V, D)`; `(n, 1, D)` of one image for all variates is compared with the mean of their texts.
        text_embeds: `(n, V, D)`; row i belongs to row i of `image_embeds`.
        at: numbers k of nearest samples among which the own one counts as found.

    Returns:
        `{"image_to_text_top<k>", "text_to_image_top<k>"}` for each k, shares between 0 and 1; all NaN if any embed is
        not finite.

    Raises:
        ValueError: shapes differ, are not 3-d, or are empty, or a number of nearest samples below 1.
    """
    if any(not isinstance(most, int | np.integer) or most < 1 for most in at):
        raise ValueError(f"at must be whole numbers from 1, got {at!r}")
    images, texts = as_real_array(image_embeds, "image_embeds"), as_real_array(text_embeds, "text_embeds")
    if images.ndim == texts.ndim == 3 and images.shape[1] == 1 < texts.shape[1]:
        texts = texts.mean(axis=1, keepdims=True)
    if images.ndim != 3 or images.shape != texts.shape or images.size == 0:
        raise ValueError(
            f"image_embeds and text_embeds must both be (n, variates, dim), got {images.shape} and {texts.shape}"
        )
    count = len(images)
    size = max(1, min(_BLOCK_SIZE, _BLOCK_NUMBERS // (images.shape[1] * images.shape[2])))
    starts = range(0, count, size)
    own = np.concatenate(
        [(_unit_rows(images, start, size) * _unit_rows(texts, start, size)).sum(axis=1) for start in starts]
    )
    if np.isnan(own).any():
        return {f"{name}_top{most}": float("nan") for most in at for name in _DIRECTIONS}
    nearer, level = np.zeros((2, count), np.int64), np.zeros((2, count), np.int64)  # of others; the own one included
    for row in starts:
        image_block = _unit_rows(images, row, size)
        rows = slice(row, row + len(image_block))
        for column in starts:
            similarity = image_block @ _unit_rows(texts, column, size).T
            columns = slice(column, column + similarity.shape[1])
            for direction, part, reference in ((0, rows, own[rows, None]), (1, columns, own[None, columns])):
                above = similarity > reference + _TOLERANCE
                nearer[direction, part] += above.sum(axis=1 - direction)
                level[direction, part] += (similarity >= reference - _TOLERANCE).sum(axis=1 - direction)
    level -= nearer
    return {
        f"{name}_top{most}": float(share)
        for most in at
        for name, share in zip(_DIRECTIONS, ((most - nearer) / level).clip(0, 1).mean(axis=1), strict=True)
    }


def _unit_rows(embeds: NDArray[Any], start: int, size: int) -> NDArray[np.float64]:
    """One block of samples as float64 `(b, V * D)` of length 1; zero samples stay zero, infinite ones become NaN."""
    rows = embeds[start : start + size].reshape(-1, embeds.shape[1] * embeds.shape[2]).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(length == 0.0, 1.0, np.where(np.isfinite(length), length, np.nan))


__all__ = ["retrieval_accuracy"]
