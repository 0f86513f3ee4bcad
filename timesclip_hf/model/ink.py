# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Most of a plot is blank paper: a vision transformer that reads the patches with ink alone.

The rule. A patch is blank where all of its pixels have the paper's colour, which is `TimesCLIPConfig.background` after
normalisation, within two rounding steps of the images' dtype: a trace of ink that float32 can tell is ink. Patches get
their positions; then, before the first layer (behind CLIP's first norm), `"drop"` leaves the blank ones out, `"merge"`
puts their mean, one token, in their place, and `"merge_bands"` one for each of four bands of rows (as equal as they
can be; fewer where there are fewer rows), so that the tower can tell where the paper is. A merged token counts as many
as it stands for: in the attention by log(n) added to its key's scores (proportional attention, Bolya et al. 2022,
arXiv 2210.09461), in a mean of tokens by n. An image that is blank all over keeps its first patch, or the merged ones.
Means are over what is kept, the CLS token is read as it comes, and SigLIP's pooling head sees what is kept.

That is what the whole tower says under a mask over its tokens (`"drop"`), or with every blank token in the place of
the mean that it belongs to: to rounding, for images are read in batches of about as many tokens, and what fills them
up is masked. In a compiled graph, whose shapes cannot depend on what is drawn, it is done that way: as exact, not
faster.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer

from .tower_configs import WITHOUT_CLS

# Images share a batch where the shortest has at least this share of the tokens of the longest.
_ALIKE = 0.85
_BANDS = 4
MODES = ("drop", "merge", "merge_bands")


@dataclass(frozen=True)
class Blanks:
    """What becomes of blank patches.

    Args:
        mode: `"drop"`, `"merge"` or `"merge_bands"`.
        paper: normalised red, green and blue of a blank pixel.
    """

    mode: str
    paper: tuple[float, ...]


@dataclass(frozen=True)
class _Inside:
    """How a family's tower is asked in two steps: images to tokens, and these through layers and last norm."""

    embed: Callable[[Any, Tensor], Tensor]
    encode: Callable[[Any, Tensor, Tensor | None], Tensor]
    pool: Callable[[Any, Tensor, Tensor | None], Tensor] = lambda tower, tokens, bias: tokens[:, 0]


def _encode_clip(tower: Any, tokens: Tensor, bias: Tensor | None) -> Tensor:
    return tower.post_layernorm(tower.encoder(inputs_embeds=tokens, attention_mask=bias).last_hidden_state)


def _encode_vit(tower: Any, tokens: Tensor, bias: Tensor | None) -> Tensor:
    for layer in tower.layers:
        tokens = layer(tokens, bias)
    return tower.layernorm(tokens)


def _encode_dinov2(tower: Any, tokens: Tensor, bias: Tensor | None) -> Tensor:
    return tower.layernorm(tower.encoder(tokens, attention_mask=bias).last_hidden_state)


def _pool_siglip(tower: Any, tokens: Tensor, bias: Tensor | None) -> Tensor:
    """SigLIP's pooling head, which is not told of a mask by its own forward."""
    head, masked = tower.head, None if bias is None else bias[:, 0, 0]
    pooled = head.attention(head.probe.expand(len(tokens), -1, -1), tokens, tokens, key_padding_mask=masked)[0]
    return (pooled + head.mlp(head.layernorm(pooled)))[:, 0]


_INSIDE: dict[str, _Inside] = {
    "clip_vision_model": _Inside(lambda tower, images: tower.pre_layrnorm(tower.embeddings(images)), _encode_clip),
    "siglip_vision_model": _Inside(lambda tower, images: tower.embeddings(images), _encode_clip, _pool_siglip),
    "vit": _Inside(lambda tower, images: tower.embeddings(images.to(tower.dtype)), _encode_vit),
    "dinov2": _Inside(lambda tower, images: tower.embeddings(images), _encode_dinov2),
}
if "attention_mask" not in inspect.signature(Dinov2Layer.forward).parameters:
    del _INSIDE["dinov2"]  # of an older transformers (5.10), whose layers leave a mask unread
# Families whose tokens are patches in every layer, and can be masked.
WITH_PATCHES = tuple(_INSIDE)


def blanks_of(config: Any, mode: str | None = None) -> Blanks | None:
    """What the model of a `TimesCLIPConfig` does with blank patches; `None`: it reads them like all others.

    Args:
        mode: in place of `config.blank_patches`.
    """
    mode = mode or config.blank_patches
    if mode not in MODES or config.vision_config is None:
        return None
    mean, std = config.image_statistics
    paper = [(config.background - level) / spread for level, spread in zip(mean, std, strict=True)]
    return Blanks(mode, tuple(paper))


def find_ink(images: Tensor, patch_size: int, paper: tuple[float, ...]) -> Tensor:
    """Which patches hold ink: `(n, patches)` bool, row by row, of `(n, 3, height, width)` images."""
    height, width = (size // patch_size for size in images.shape[-2:])
    rows = images[..., : height * patch_size, : width * patch_size].unflatten(2, (height, patch_size))
    colour = images.new_tensor(paper)[:, None, None]
    tolerance = 2 * torch.finfo(images.dtype).eps * colour.abs().clamp(min=1)
    # The extremes of a patch's columns of pixels tell as much as all of its pixels, and are far fewer.
    marked = ((rows.amin(dim=3) - colour).abs() > tolerance) | ((rows.amax(dim=3) - colour).abs() > tolerance)
    return marked.any(dim=1).unflatten(2, (width, patch_size)).any(dim=3).flatten(1)


def encode_ink(
    tower: Any, images: Tensor, blanks: Blanks, pooling: str, chunk_size: int | None, split: Callable[..., Tensor]
) -> Tensor:
    """Features `(n, width)` of images `(n, 3, height, width)`, blank patches left out or merged.

    Args:
        tower: of a family in `WITH_PATCHES`.
        blanks: what becomes of them.
        pooling: as `encode_images`.
        chunk_size: images that the whole tower would see at once: so many tokens are; `None`: all.
        split: `encode`, chunk size and images to features, for a compiled graph.
    """
    if (kernel := tower.config._attn_implementation) not in (None, "eager", "sdpa"):
        raise ValueError(
            f"blank_patches={blanks.mode!r} masks keys, which attn_implementation={kernel!r} cannot: use 'sdpa'"
        )
    if torch.compiler.is_compiling():
        return split(partial(_encode_whole, tower, blanks, pooling), chunk_size, images)
    with torch.no_grad():
        ink = find_ink(images, _patch_size(tower), blanks.paper)
    groups = _groups(tower, blanks, images)
    lengths = (ink.sum(dim=1) + (0 if groups is None else len(groups))).clamp(min=1)
    order = lengths.argsort(descending=True)
    sizes = _batches(lengths[order].tolist(), None if chunk_size is None else chunk_size * (ink.shape[1] + 1))
    recompute = torch.is_grad_enabled() and chunk_size is not None and len(images) > chunk_size
    run: Any = partial(checkpoint, use_reentrant=False) if recompute else lambda encode, *chunk: encode(*chunk)
    encode = partial(_encode_kept, tower, blanks, pooling)
    found = torch.cat([run(encode, images[rows], ink[rows]) for rows in order.split(sizes)])
    return found[order.argsort()]


def _patch_size(tower: Any) -> int:
    size = tower.config.patch_size
    return int(size if isinstance(size, int) else size[0])


def _batches(lengths: list[int], most_tokens: int | None) -> list[int]:
    """How many images, the longest first, are read together: of about as many tokens, and not too many in all."""
    sizes, first = [], 0
    for place, length in enumerate(lengths):
        full = most_tokens is not None and (place - first + 1) * lengths[first] > most_tokens
        if place > first and (length < _ALIKE * lengths[first] or full):
            sizes.append(place - first)
            first = place
    return [*sizes, len(lengths) - first]


def _encode_kept(tower: Any, blanks: Blanks, pooling: str, images: Tensor, ink: Tensor) -> Tensor:
    """A batch of images by their patches with ink, side by side from the left; `ink` is `(n, patches)`."""
    inside, cls = _INSIDE[tower.config.model_type], _num_cls(tower)
    tokens = inside.embed(tower, images)
    patches, counts = tokens[:, cls:], ink.sum(dim=1)
    groups = _groups(tower, blanks, images)
    longest = int(counts.max()) if groups is not None else max(1, int(counts.max()))
    # An image without ink keeps its first patch: with nothing to put before it, sorting leaves it there.
    places = ink.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
    kept = patches.gather(1, places[..., None].expand(-1, -1, patches.shape[2]))
    least = counts if groups is not None else counts.clamp(min=1)
    weights = (torch.arange(longest, device=ink.device) < least[:, None]).to(torch.float32)
    if groups is not None:
        merged, sizes = _merged(patches, ink, groups)
        kept = torch.cat([kept, merged], dim=1)
        weights = torch.cat([weights, sizes.to(weights.dtype)], dim=1)
    tokens = torch.cat([tokens[:, :cls], kept], dim=1)
    weights = torch.nn.functional.pad(weights, (cls, 0), value=1.0)
    bias = None if bool((weights == 1).all()) else _bias(weights, tokens.dtype)
    return _pool(tower, inside, inside.encode(tower, tokens, bias), bias, weights, pooling)


def _encode_whole(tower: Any, blanks: Blanks, pooling: str, images: Tensor) -> Tensor:
    """The same of all tokens at their places, for shapes that do not depend on what is drawn."""
    inside, cls = _INSIDE[tower.config.model_type], _num_cls(tower)
    ink = find_ink(images, _patch_size(tower), blanks.paper)
    tokens = inside.embed(tower, images)
    groups = _groups(tower, blanks, images)
    if groups is not None:
        mean = _merged(tokens[:, cls:], ink, groups)[0][:, groups.to(torch.uint8).argmax(dim=0)]
        tokens = torch.cat([tokens[:, :cls], torch.where(ink[..., None], tokens[:, cls:], mean)], dim=1)
        weights, bias = torch.ones(tokens.shape[:2], device=tokens.device), None
    else:
        first = torch.arange(ink.shape[1], device=ink.device) == 0
        kept = ink | (first & ~ink.any(dim=1, keepdim=True))
        weights = torch.nn.functional.pad(kept.to(torch.float32), (cls, 0), value=1.0)
        bias = _bias(weights, tokens.dtype)
    return _pool(tower, inside, inside.encode(tower, tokens, bias), bias, weights, pooling)


def _num_cls(tower: Any) -> int:
    return int(tower.config.model_type not in WITHOUT_CLS)


def _groups(tower: Any, blanks: Blanks, images: Tensor) -> Tensor | None:
    """`(groups, patches)` bool: which patches are merged with which, as far as they are blank; `None`: none are."""
    rows, columns = (size // _patch_size(tower) for size in images.shape[-2:])
    if blanks.mode == "drop":
        return None
    if blanks.mode == "merge":
        return torch.ones(1, rows * columns, dtype=torch.bool, device=images.device)
    bands = min(_BANDS, rows)
    band = (torch.arange(rows, device=images.device) * bands // rows).repeat_interleave(columns)
    return torch.arange(bands, device=images.device)[:, None] == band


def _merged(patches: Tensor, ink: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Means `(n, groups, width)` of blank patches and how many there are `(n, groups)`; zero where there are none."""
    blank = ~ink[:, None] & groups  # (n, groups, patches)
    sizes = blank.sum(dim=2)
    return blank.to(patches.dtype) / sizes[..., None].clamp(min=1).to(patches.dtype) @ patches, sizes


def _bias(weights: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of keys that count `weights` `(n, length)`, as attention takes it."""
    return weights.log().clamp(min=torch.finfo(dtype).min).to(dtype)[:, None, None]


def _pool(tower: Any, inside: _Inside, tokens: Tensor, bias: Tensor | None, weights: Tensor, pooling: str) -> Tensor:
    if pooling == "pooler":
        return inside.pool(tower, tokens, bias)
    if pooling == "cls":
        return tokens[:, 0]
    cls = _num_cls(tower)
    shares = weights[:, cls:] / weights[:, cls:].sum(dim=1, keepdim=True)
    mean = (shares.to(tokens.dtype)[:, None] @ tokens[:, cls:])[:, 0]
    return mean if pooling == "mean" else torch.cat([tokens[:, 0], mean], dim=-1)


__all__ = ["Blanks", "MODES", "WITH_PATCHES", "blanks_of", "encode_ink", "find_ink"]
