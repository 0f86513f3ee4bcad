# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The branches: what may influence an embed, and what is returned of the way there."""

import pytest
import torch

from timesclip_hf import TimesCLIPForRegression


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_embed_moves_when_only_the_last_patch_moves(make_model, make_batch, attention):
    model = make_model("text_only")
    model.set_attn_implementation(attention)
    batch = make_batch(model.config)
    moved = batch["patch_values"].clone()
    moved[:, 1, -1] = -moved[:, 1, -1]
    with torch.no_grad():
        before = model.timesclip.get_text_embeds(batch["patch_values"])
        after = model.timesclip.get_text_embeds(moved)
    assert (after - before)[:, 1].abs().amax(dim=-1).min() > 1e-3
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_patches_cannot_influence_a_prediction(make_model, make_batch, attention):
    model = make_model()
    model.set_attn_implementation(attention)
    assert model.timesclip.text_tower.config._attn_implementation == attention
    batch = make_batch(model.config)
    batch["patch_mask"][:, :, :2] = False
    batch["patch_mask"][0, 1] = False  # a variate that was never observed
    changed = {**batch, "patch_values": batch["patch_values"].clone()}
    changed["patch_values"][~batch["patch_mask"]] = 50 * torch.randn(int((~batch["patch_mask"]).sum()), 4)
    with torch.no_grad():
        masked, same = model(**batch), model(**changed)
        seen = model(**{**batch, "patch_mask": torch.ones_like(batch["patch_mask"])})
    torch.testing.assert_close(same.predictions, masked.predictions, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(same.text_embeds, masked.text_embeds, atol=1e-6, rtol=1e-6)
    assert masked.predictions.isfinite().all()
    assert (seen.text_embeds - masked.text_embeds).abs().max() > 1e-3


def test_eager_and_sdpa_agree(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    batch["patch_mask"][:, 0, :3] = False
    results = {}
    for attention in ("eager", "sdpa"):
        model.set_attn_implementation(attention)
        results[attention] = model(**batch)
    torch.testing.assert_close(results["eager"].predictions, results["sdpa"].predictions)
    torch.testing.assert_close(results["eager"].loss, results["sdpa"].loss)


def test_a_full_mask_equals_no_mask(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    without = {name: tensor for name, tensor in batch.items() if name != "patch_mask"}
    torch.testing.assert_close(model(**without).predictions, model(**batch).predictions)


def test_ready_vision_features_stand_for_images(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    expected = model(**batch)
    pixels = batch.pop("pixel_values")
    found = model(**batch, vision_features=expected.vision_features)
    assert torch.equal(found.predictions, expected.predictions)
    assert torch.equal(expected.vision_features, model.timesclip.get_vision_features(pixels))


@pytest.mark.parametrize("chunk_size", [1, 5, 12, 1000])
def test_the_chunk_size_changes_memory_and_not_results(make_model, make_batch, chunk_size):
    model = make_model()
    batch = make_batch(model.config)  # 4 x 3 images
    expected = model(**batch).predictions
    sizes = []
    model.timesclip.vision_tower.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    model.config.vision_chunk_size = chunk_size
    torch.testing.assert_close(model(**batch).predictions, expected)
    assert max(sizes) == min(chunk_size, 12) and sum(sizes) == 12


def test_attention_between_variates_is_returned_on_request(make_model, make_batch):
    model = make_model(num_variates=5)
    batch = make_batch(model.config, batch_size=2)
    assert model(**batch).selection_attentions is None
    for module in (model, model.timesclip):
        inputs = {k: v for k, v in batch.items() if module is model or k != "labels"}
        weights = module(**inputs, output_attentions=True).selection_attentions
        assert weights.shape == (2, 4, 5, 5)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 4, 5))


@pytest.mark.parametrize("family", ["clip", "siglip", "bert", "t5"])
def test_what_the_text_layers_did_is_returned_on_request(tiny_config, tiny_towers, make_batch, enlarge, family):
    fields = {**tiny_towers("clip", family), "attn_implementation": "eager"}
    model = enlarge(TimesCLIPForRegression(tiny_config(variate_selection="cross_attention", **fields)))
    batch = make_batch(model.config, batch_size=2)
    batch["patch_mask"][0, :, 2] = False
    plain = model(**batch)
    assert plain.hidden_states is None and plain.attentions is None
    outputs = model(**batch, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(outputs.predictions, plain.predictions)

    patches = batch["patch_values"].flatten(0, 1)  # 2 samples of 3 variates, one after the other
    first, *_, last = outputs.hidden_states
    if family != "bert":  # which puts a norm in front of its layers
        torch.testing.assert_close(first, model.timesclip.tokenizer(patches))
    torch.testing.assert_close(last.unflatten(0, (2, 3)), outputs.text_tokens)
    assert [tuple(states.shape) for states in outputs.hidden_states] == 3 * [(6, 7, 32)]
    assert [tuple(weights.shape) for weights in outputs.attentions] == 2 * [(6, 4, 7, 7)]
    for weights in outputs.attentions:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(6, 4, 7))
        assert (weights[:3, ..., 3] == 0).all() and (weights[3:] > 0).all()  # the CLS token stands before the patches


def test_gradients_reach_the_attentions_that_are_returned(make_model, make_batch):
    model = make_model(attn_implementation="eager")
    outputs = model(**make_batch(model.config), output_hidden_states=True, output_attentions=True)
    for tensor in (*outputs.hidden_states, *outputs.attentions):
        tensor.retain_grad()
    outputs.predictions.sum().backward()
    assert all(t.grad is not None and t.grad.abs().max() > 0 for t in (*outputs.hidden_states, *outputs.attentions))


@pytest.mark.parametrize("preset", ["full", "text_only", "vision_only", "no_selection"])
def test_embeds_are_absent_where_a_part_is(make_model, make_batch, preset):
    model = make_model(preset)
    outputs = model(**make_batch(model.config))
    for name, part in (
        ("image_embeds", model.config.vision_config),
        ("vision_features", model.config.vision_config),
        ("text_embeds", model.config.text_config),
        ("selected_embeds", model.config.variate_selection),
    ):
        found = getattr(outputs, name)
        assert (found is None) == (part is None), name
        assert found is None or found.shape[:2] == (4, 3)
