# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`get_image_features` and `get_text_features`: CLIP's doors, with the attentions of both towers."""

from typing import Any

import pytest
import torch
from conftest import TINY_VISION, tower_fields

from timesclip_hf import TimesCLIPForRegression, TimesCLIPModel


def test_they_give_the_embeds_of_the_model_and_leave_the_rest_of_a_batch_alone(
    tiny_config: Any, make_batch: Any
) -> None:
    config = tiny_config("full")
    model, batch = TimesCLIPModel(config).eval(), make_batch(config)
    outputs, seen, said = model(**batch_of(batch)), model.get_image_features(**batch), model.get_text_features(**batch)
    assert torch.equal(seen.pooler_output, outputs.image_embeds) and torch.equal(
        said.pooler_output, outputs.text_embeds
    )
    assert seen.last_hidden_state.shape == (12, 5, 32)  # of 4 x 3 images of 4 patches, CLS first
    assert torch.equal(said.last_hidden_state, outputs.text_tokens.flatten(0, 1))
    assert seen.attentions is None and said.hidden_states is None
    assert isinstance(model.get_image_features(batch["pixel_values"], return_dict=False), tuple)


def batch_of(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


@pytest.mark.parametrize("family", TINY_VISION)
def test_attentions_of_every_vision_tower_that_has_some_are_told_on_request(
    family: str, tiny_config: Any, make_batch: Any
) -> None:
    config = tiny_config("full", **tower_fields(family, "clip"))
    model, batch = TimesCLIPModel(config).eval(), make_batch(config)
    found = model.get_image_features(batch["pixel_values"], output_attentions=True, output_hidden_states=True)
    assert len(found.hidden_states) >= 2
    kernel = model.vision_tower.config._attn_implementation
    if family == "resnet":
        assert found.attentions is None
    else:
        assert len(found.attentions) == 2
        for weights in found.attentions:
            torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    fused = model.get_image_features(batch["pixel_values"])
    torch.testing.assert_close(found.last_hidden_state, fused.last_hidden_state, rtol=1e-4, atol=1e-5)
    assert model.vision_tower.config._attn_implementation == kernel == "sdpa" or family in ("resnet", "swin")


def test_attentions_of_the_text_tower_are_those_of_forward(tiny_config: Any, make_batch: Any) -> None:
    config = tiny_config("full")
    model, batch = TimesCLIPModel(config).eval(), batch_of(make_batch(config))
    found = model.get_text_features(**batch, output_attentions=True, output_hidden_states=True)
    outputs = model(**batch, output_attentions=True, output_hidden_states=True)
    for one, other in zip(found.attentions, outputs.attentions, strict=True):
        assert torch.equal(one, other)
    assert len(found.hidden_states) == len(outputs.hidden_states) == 3


def test_a_branch_that_is_not_there_is_said(tiny_config: Any, make_batch: Any) -> None:
    config = tiny_config("small")
    model = TimesCLIPForRegression(config)
    with pytest.raises(ValueError, match="no vision branch, vision_config is None"):
        model.timesclip.get_image_features(torch.zeros(1, 3, 3, 32, 32))
    with pytest.raises(ValueError, match="no text branch, text_config is None"):
        TimesCLIPModel(tiny_config("vision_only")).get_text_features(torch.zeros(1, 3, 6, 4))
    inked = TimesCLIPModel(tiny_config("full", blank_patches="drop"))
    with pytest.raises(ValueError, match="blank_patches='drop' reads the patches that hold ink alone"):
        inked.get_image_features(torch.zeros(1, 3, 3, 32, 32), output_attentions=True)
