# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Patches without ink, left out or merged: what the whole tower says under a mask, or of their mean, for less work."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SERIES, TINY_VISION
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPModel, TimesCLIPProcessor
from timesclip_hf.inference.export import export_program
from timesclip_hf.model.ink import Blanks, blanks_of, find_ink
from timesclip_hf.model.tower_configs import VISION_CONFIGS
from timesclip_hf.model.towers import VISION_FAMILIES, build_vision_tower, encode_images

FAMILIES = ("clip_vision_model", "siglip_vision_model", "vit", "dinov2")
every_family = pytest.mark.parametrize("family", FAMILIES)
PAPER = (1.0, -0.5, 2.0)
SIZE, PATCH = 48, 16


def make_tower(family: str, layer: int | None = None, attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    settings = copy.deepcopy(TINY_VISION[family]) | {"image_size": SIZE, "attn_implementation": attention}
    tower = build_vision_tower(VISION_CONFIGS[family](**settings), layer)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return tower.eval()


def make_images(ink: list[list[int]], size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Paper with a few marked pixels in these patches of each image, and which patches that are."""
    generator = torch.Generator().manual_seed(1)
    columns = size // PATCH
    images = torch.tensor(PAPER)[:, None, None].expand(len(ink), 3, size, size).clone()
    marked = torch.zeros(len(ink), columns**2, dtype=torch.bool)
    for number, patches in enumerate(ink):
        for patch in patches:
            row, column = divmod(patch, columns)
            images[number, :, row * PATCH + 5 : row * PATCH + 9, column * PATCH + 3] = torch.randn(
                3, 4, generator=generator
            )
            marked[number, patch] = True
    return images, marked


INK = [[4], [0, 1, 2, 3, 4, 5, 6, 7, 8], [], [2, 3, 7], [8], [1, 3, 5, 6], [0, 4, 8]]


def masked_tower(family: str, tower: Any, images: Tensor, kept: Tensor, pooling: str) -> Tensor:
    """The whole tower, image by image, under a mask over all of its tokens."""
    cls = int(family != "siglip_vision_model")
    found = []
    for image, own in zip(images, kept, strict=True):
        seen = torch.cat([torch.ones(cls, dtype=torch.bool), own])
        mask = torch.zeros(1, 1, len(seen), len(seen)).masked_fill_(~seen, torch.finfo(torch.float32).min)
        outputs = tower(pixel_values=image[None], attention_mask=mask)
        tokens = VISION_FAMILIES[family].tokens(tower, outputs)[0]
        mean = tokens[cls:][own].mean(dim=0)
        if pooling == "pooler" and family == "siglip_vision_model":
            found.append(tower.head(tokens[own][None])[0])
        elif pooling == "pooler":
            found.append(VISION_FAMILIES[family].pool(outputs)[0])
        else:
            found.append({"mean": mean, "cls": tokens[0], "cls_mean": torch.cat([tokens[0], mean])}[pooling])
    return torch.stack(found)


def averaged_tower(family: str, tower: Any, images: Tensor, ink: Tensor, pooling: str, mode: str = "merge") -> Tensor:
    """The whole tower as it is; before its layers, every blank token gives way to their mean, or its band's."""
    cls = int(family != "siglip_vision_model")
    columns = images.shape[-1] // PATCH
    heights = {3: (1, 1, 1), 6: (2, 1, 2, 1)}[columns]  # of bands, in rows
    ends = [columns * sum(heights[:k]) for k in range(len(heights) + 1)]
    bands = [slice(None)] if mode == "merge" else [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]

    def average(module: Any, inputs: Any, tokens: Tensor) -> Tensor:
        tokens = tokens.clone()
        for own, marked in zip(tokens, ink, strict=True):
            for band in bands:
                blank = ~marked[band]
                if blank.any():
                    own[cls:][band][blank] = own[cls:][band][blank].mean(dim=0)
        return tokens

    part = tower.pre_layrnorm if family == "clip_vision_model" else tower.embeddings
    hook = part.register_forward_hook(average)
    try:
        return encode_images(tower, images, None, pooling)
    finally:
        hook.remove()


def poolings(family: str) -> list[str]:
    return ["pooler", "mean"] + ([] if family == "siglip_vision_model" else ["cls", "cls_mean"])


@every_family
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_left_out_is_what_the_whole_tower_says_under_a_mask(family, attention):
    tower = make_tower(family, attention=attention)
    images, ink = make_images(INK)
    kept = ink.clone()
    kept[2, 0] = True  # the image without ink keeps its first patch
    with torch.no_grad():
        for pooling in poolings(family):
            expected = masked_tower(family, tower, images, kept, pooling)
            for chunk_size in (None, 2, 100):
                found = encode_images(tower, images, chunk_size, pooling, Blanks("drop", PAPER))
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
                assert not torch.allclose(found, encode_images(tower, images, None, pooling), atol=1e-3)


@every_family
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("mode", ["merge", "merge_bands"])
def test_merged_is_what_the_whole_tower_says_of_the_blank_tokens_mean(family, attention, mode):
    tower = make_tower(family, attention=attention)
    images, ink = make_images(INK)
    with torch.no_grad():
        for pooling in poolings(family):
            expected = averaged_tower(family, tower, images, ink, pooling, mode)
            for chunk_size in (None, 2):
                found = encode_images(tower, images, chunk_size, pooling, Blanks(mode, PAPER))
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_blank_patches_of_many_rows_are_merged_in_four_bands():
    tower = make_tower("dinov2")
    images, ink = make_images([[0, 7, 14, 21], [30, 31, 32, 33, 34, 35], list(range(36)), []], size=96)
    with torch.no_grad():
        found = encode_images(tower, images, None, "cls_mean", Blanks("merge_bands", PAPER))
        expected = averaged_tower("dinov2", tower, images, ink, "cls_mean", "merge_bands")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every_family
def test_images_full_of_ink_are_read_as_ever(family):
    tower = make_tower(family)
    images = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        for mode in ("drop", "merge", "merge_bands"):
            found = encode_images(tower, images, None, "pooler", Blanks(mode, PAPER))
            torch.testing.assert_close(found, encode_images(tower, images), rtol=1e-5, atol=1e-5)


def test_positions_that_are_interpolated_stay_with_their_patches():
    tower = make_tower("dinov2")
    images, ink = make_images([[5], [0, 1, 6, 11, 15], [2, 3]], size=64)
    with torch.no_grad():
        found = encode_images(tower, images, None, "cls_mean", Blanks("drop", PAPER))
        expected = masked_tower("dinov2", tower, images, ink, "cls_mean")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["drop", "merge"])
def test_an_inner_layer_reads_ink_alone(mode):
    tower, whole = make_tower("clip_vision_model", layer=1), make_tower("clip_vision_model")
    tower.load_state_dict(whole.state_dict(), strict=False)
    images, ink = make_images([[4], [1, 2, 3]])
    layers, norm = whole.encoder.layers[:1], whole.post_layernorm
    whole.encoder.layers, whole.post_layernorm = layers, torch.nn.Identity()
    with torch.no_grad():
        found = encode_images(tower, images, None, "mean", Blanks(mode, PAPER))
        reference = masked_tower if mode == "drop" else averaged_tower
        torch.testing.assert_close(found, reference("clip_vision_model", whole, images, ink, "mean"))
    assert norm is not whole.post_layernorm


def test_a_patch_is_blank_to_the_last_bit_of_its_dtype():
    paper = (1.93, 2.07, 2.15)
    images = torch.tensor(paper)[:, None, None].expand(2, 3, 32, 48).clone()
    images[1, 2, 20, 33] += 2e-6  # one colour of one pixel
    expected = [[False] * 6, [False] * 5 + [True]]
    assert find_ink(images, 16, paper).tolist() == expected
    half = images.to(torch.bfloat16)  # where nobody could tell
    assert not find_ink(half, 16, paper).any()
    half[1, 2, 20, 33] += 0.1
    assert find_ink(half, 16, paper).tolist() == expected
    assert find_ink(torch.nn.functional.pad(images, (0, 5, 0, 9), value=3.0), 16, paper).tolist() == expected


def test_what_a_plot_leaves_blank_is_found_in_what_the_processor_draws(tiny_config):
    config = tiny_config(blank_patches="drop", background=0.75, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.1])
    processor = TimesCLIPProcessor.from_config(config, scaling="instance", view="line")
    assert processor.background == 0.75
    steps = np.array([0.0] * 11 + [1.0])[:, None]  # along the bottom, and up at the right
    images = processor(np.concatenate([steps, -steps, 0 * steps], axis=1))["pixel_values"]
    ink = find_ink(images.flatten(0, 1), 16, blanks_of(config).paper)
    assert ink.tolist()[:2] == [[False, True, True, True], [True, True, False, True]]
    with torch.no_grad():
        coverage = ((images.flatten(0, 1) - images[0, 0, :, :1, :1]).abs() > 1e-6).any(dim=1)
    assert torch.equal(coverage.unfold(1, 16, 16).unfold(2, 16, 16).any(dim=(3, 4)).flatten(1), ink)
    for dtype in (torch.bfloat16, torch.float16):
        plots = processor(np.concatenate([steps, -steps, 0 * steps], axis=1), draw=False)["plot_values"]
        assert torch.equal(find_ink(processor.draw(plots, dtype).flatten(0, 1), 16, blanks_of(config).paper), ink)


def sample(config: TimesCLIPConfig, make_batch: Any) -> dict[str, Tensor]:
    batch = make_batch(config)
    images = torch.full_like(batch["pixel_values"], 1.0)
    images[:, 0, :, 3:9, 3:29] = batch["pixel_values"][:, 0, :, 3:9, 3:29]
    images[:2, 1, :, 20, 20] = 0.0
    return batch | {"pixel_values": images}


WHITE = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


@pytest.mark.parametrize("mode", ["drop", "merge", "merge_bands"])
def test_towers_that_learn_get_the_same_gradients_in_chunks_and_compiled(mode, tiny_config, make_batch, enlarge):
    torch.manual_seed(0)
    fields = {"freeze_vision": False, "vision_pooling": "mean", "blank_patches": mode, **WHITE}
    no_dropout = {"head_dropout": [0.0] * 3, "text_dropout": 0.0, "selection_dropout": 0.0}
    model = enlarge(TimesCLIPForRegression(tiny_config(**fields, **no_dropout)))
    batch = sample(model.config, make_batch)

    def gradients(forward: Any) -> dict[str, Tensor]:
        model.zero_grad()
        forward(**batch).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    expected = gradients(model)
    assert any("vision_tower" in name for name in expected)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    try:
        found = {"compiled": gradients(compiled)}
    finally:
        torch._dynamo.reset()
    model.config.vision_chunk_size = 2
    found["chunks"] = gradients(model)
    for gradient in found.values():
        assert gradient.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(gradient[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_less_is_computed(monkeypatch):
    tower, tokens = make_tower("clip_vision_model"), []
    tower.encoder.layers[0].register_forward_hook(lambda module, inputs, output: tokens.append(output.shape))
    images, _ = make_images([[4]] * 6 + [[1, 2]] + [list(range(9))] * 2)
    with torch.no_grad():
        encode_images(tower, images, 3, "cls", Blanks("drop", PAPER))
    assert [tuple(shape[:2]) for shape in tokens] == [(2, 10), (1, 3), (6, 2)]  # 30 tokens at once at most


def test_half_precision_and_autocast_read_ink_too():
    tower = make_tower("vit")
    images, _ = make_images(INK)
    blanks = Blanks("merge", PAPER)
    with torch.no_grad():
        expected = encode_images(tower, images, None, "cls_mean", blanks)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(
                encode_images(tower, images, None, "cls_mean", blanks).float(), expected, rtol=0.1, atol=0.1
            )
        half = encode_images(tower.to(torch.bfloat16), images.to(torch.bfloat16), None, "cls_mean", blanks)
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("family", ["swin", "resnet"])
def test_towers_without_patches_are_refused(family, tiny_config, tiny_towers):
    with pytest.raises(StrictDataclassError, match=f"blank_patches='drop', but the layers of a {family} read no"):
        tiny_config(**tiny_towers(family, "clip"), blank_patches="drop")


def test_a_processor_of_another_paper_is_refused(tiny_config):
    config = tiny_config(blank_patches="merge", background=0.0)
    with pytest.raises(ValueError, match=r"background=1.0 contradicts the configuration's 0.0"):
        TimesCLIPProcessor.from_config(config, background=1.0)
    processor = TimesCLIPProcessor.from_config(tiny_config()).fit(np.random.default_rng(0).normal(size=(4, 12, 3)))
    with pytest.raises(ValueError, match="the processor has background=1.0, the model 0.0"):
        processor.complete_config(config)


def test_export_wants_all_patches_or_ready_features(tiny_config):
    config = tiny_config(blank_patches="drop")
    processor = TimesCLIPProcessor.from_config(config, scaling="instance")
    model = TimesCLIPForRegression(config)
    with pytest.raises(ValueError, match="blank_patches='drop' cannot be exported"):
        export_program(model, processor)
    export_program(model, processor, vision_features=True)


def test_the_mode_is_saved_and_goes_with_the_tower(tiny_config, tmp_path):
    torch.manual_seed(0)
    TimesCLIPModel(tiny_config(blank_patches="merge", background=0.5)).save_pretrained(tmp_path)
    again = TimesCLIPConfig.from_vision_text_pretrained(str(tmp_path), str(tmp_path), **SERIES)
    assert (again.blank_patches, again.background) == ("merge", 0.5)
    assert blanks_of(tiny_config()) is None and blanks_of(tiny_config(blank_patches="auto")) is None
