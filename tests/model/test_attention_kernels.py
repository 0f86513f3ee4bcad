# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Fused attention: towers and selections call it when asked to, and leave the mask out where nothing is missing."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from timesclip_hf import TimesCLIPModel


@pytest.fixture
def calls(monkeypatch):
    """Of every call of the fused kernel: the length of its sequences and whether it was given a mask."""
    seen: list[tuple[int, bool]] = []
    kernel = F.scaled_dot_product_attention

    def record(query: torch.Tensor, *args: Any, attn_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        seen.append((query.shape[-2], attn_mask is not None))
        return kernel(query, *args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    return seen


def lengths(config: Any) -> tuple[int, int, int]:
    """Tokens of an image, of a variate's patches, and of all variates together."""
    vision = config.vision_config
    return (vision.image_size // vision.patch_size) ** 2 + 1, config.num_patches + 1, config.num_variates


def inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in batch.items() if name != "labels"}


def test_both_towers_and_the_selection_call_the_fused_kernel(tiny_config, make_batch, calls):
    config = tiny_config("paper", attn_implementation="sdpa")
    model = TimesCLIPModel(config).eval()
    image, patches, variates = lengths(config)
    batch = inputs(make_batch(config))
    with torch.no_grad():
        model(**batch)
    # Two layers a tower; the text tower reads patches, then whole variates, which the selection then asks.
    assert [length for length, _ in calls] == 2 * [image] + 2 * [patches] + 2 * [variates] + [variates]
    assert not any(masked for _, masked in calls)  # nothing is missing in this batch

    calls.clear()
    batch["patch_mask"][0, 1, 3] = False
    with torch.no_grad():
        model(**batch)
    assert {length for length, masked in calls if masked} == {patches}

    calls.clear()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        model(**batch)
    assert [length for length, _ in calls] == [variates]  # the selection has no other way


@pytest.mark.parametrize("preset", ["full", "paper"])
@pytest.mark.parametrize("missing", [False, True])
def test_eager_and_fused_attention_agree_to_the_fifth_digit(tiny_config, make_batch, enlarge, preset, missing):
    torch.manual_seed(0)
    model = enlarge(TimesCLIPModel(tiny_config(preset, text_chunk_size=5)))
    batch = inputs(make_batch(model.config))
    if missing:
        batch["patch_mask"][:, 1, 2:] = False
        batch["patch_mask"][0, 0] = False  # never observed
    found = {}
    for attention in ("eager", "sdpa"):
        model.set_attn_implementation(attention)
        with torch.no_grad():
            found[attention] = model(**batch)
    for name, expected in found["eager"].items():
        torch.testing.assert_close(found["sdpa"][name], expected, rtol=1e-5, atol=1e-5)


def test_an_accelerator_is_never_asked_what_is_missing(tiny_config, make_batch):
    """On tensors without values (as of a device that would have to be waited for) any look at one is an error."""
    with torch.device("meta"):
        model = TimesCLIPModel(tiny_config("paper", attn_implementation="sdpa", text_chunk_size=5))
    batch = {name: value.to("meta") for name, value in inputs(make_batch(model.config)).items()}
    outputs = model.eval()(**batch)
    assert outputs.text_embeds.shape == (4, 3, 16)


@pytest.mark.parametrize("family", ["clip", "siglip", "bert", "t5"])
def test_attention_that_is_asked_for_is_given_whatever_the_kernel(
    tiny_config, tiny_towers, make_batch, enlarge, family
):
    model = enlarge(TimesCLIPModel(tiny_config(**tiny_towers("clip", family))))
    batch = inputs(make_batch(model.config, batch_size=2))
    batch["patch_mask"][0, :, 2] = False
    found = {}
    for kernel in ("sdpa", "eager"):
        model.set_attn_implementation(kernel)
        before = model.text_tower.config._attn_implementation
        found[kernel] = model(**batch, output_attentions=True)
        assert model.text_tower.config._attn_implementation == before  # the next call is as fast as the last
    for fused, plain in zip(found["sdpa"].attentions, found["eager"].attentions, strict=True):
        torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(found["sdpa"].text_embeds, found["eager"].text_embeds)
    model.set_attn_implementation("sdpa")
    wrong = {**batch, "patch_mask": batch["patch_mask"][:, :1]}
    with pytest.raises(ValueError):
        model(**wrong, output_attentions=True)
    assert model(**batch).attentions is None
