# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The trained parts around the towers, each against a re-computation in NumPy from its own weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from timesclip_hf.model.heads import SampleHead
from timesclip_hf.model.layers import (
    CrossAttentionSelection,
    EmbedProjection,
    GatedVariateSelection,
    PatchTokenizer,
    ResampledPatchTokenizer,
    VariateTokenizer,
)


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with every weight random, biases and norms too, so that none of them can hide."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module.eval()


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}


def softmax(values: np.ndarray, axis: int = -1) -> np.ndarray:
    exponentials = np.exp(values - values.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


def layer_norm(values: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * weight + bias


def gelu(values: np.ndarray) -> np.ndarray:
    return values * 0.5 * (1 + np.vectorize(math.erf)(values / math.sqrt(2)))


def numpy_selection(w: dict[str, np.ndarray], fused: np.ndarray, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Output (B, V, D) and attention weights (B, heads, V, V), head by head."""
    batch, variates, dim = fused.shape
    size = dim // heads
    query, key, value = np.split(fused @ w["query_key_value.weight"].T + w["query_key_value.bias"], 3, axis=-1)
    attended, weights = np.empty_like(fused), np.empty((batch, heads, variates, variates))
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = np.einsum("bid,bjd->bij", query[..., part], key[..., part]) / math.sqrt(size)
        weights[:, h] = softmax(scores)
        attended[..., part] = weights[:, h] @ value[..., part]
    attended = attended @ w["output.weight"].T + w["output.bias"]
    gate_input = np.concatenate([fused, attended], axis=-1) @ w["gate.weight"].T + w["gate.bias"]
    gate = 1 / (1 + np.exp(-gate_input))
    return gate * attended + (1 - gate) * fused, weights


def test_gated_selection_equals_numpy(tiny_config):
    selection = shaken(GatedVariateSelection(tiny_config()))
    fused = torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(1))
    expected, expected_weights = numpy_selection(weights_of(selection), fused.double().numpy(), heads=4)
    with torch.no_grad():
        selected, weights = selection(fused, output_attentions=True)
    np.testing.assert_allclose(selected.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(weights.numpy(), expected_weights, atol=1e-6)
    assert expected_weights.std() > 0.05, "uniform attention would prove nothing"
    assert weights.shape == (5, 4, 3, 3)
    np.testing.assert_allclose(weights.sum(dim=-1).numpy(), 1, atol=1e-6)


def test_asking_for_attention_weights_does_not_change_the_answer(tiny_config):
    selection = shaken(GatedVariateSelection(tiny_config()))
    fused = torch.randn(2, 3, 16)
    selected, weights = selection(fused)
    assert weights is None
    assert torch.equal(selected, selection(fused, output_attentions=True)[0])


def test_returned_weights_reproduce_what_the_fused_kernel_attended(tiny_config):
    selection = shaken(GatedVariateSelection(tiny_config()))
    with torch.no_grad():  # let only the attended values through: output = identity, gate = 1
        selection.output.weight.copy_(torch.eye(16))
        selection.output.bias.zero_()
        selection.gate.weight.zero_()
        selection.gate.bias.fill_(100.0)
        fused = torch.randn(2, 3, 16)
        attended, weights = selection(fused, output_attentions=True)
        value = selection.query_key_value(fused)[..., 32:].unflatten(-1, (4, 4))  # (B, V, heads, 4)
    torch.testing.assert_close(attended, torch.einsum("bhij,bjhd->bihd", weights, value).flatten(2))


def test_a_closed_gate_leaves_variates_as_they_are(tiny_config):
    selection = shaken(GatedVariateSelection(tiny_config()))
    with torch.no_grad():
        selection.gate.weight.zero_()
        selection.gate.bias.fill_(-100.0)
        fused = torch.randn(2, 3, 16)
        assert torch.equal(selection(fused)[0], fused)


def test_selection_follows_the_order_of_variates(tiny_config):
    selection = shaken(GatedVariateSelection(tiny_config()))
    fused, order = torch.randn(2, 3, 16), [2, 0, 1]
    torch.testing.assert_close(selection(fused[:, order])[0], selection(fused)[0][:, order])


def test_selection_dropout_is_active_in_training_only(tiny_config):
    selection = shaken(GatedVariateSelection(tiny_config(selection_dropout=0.5)))
    fused = torch.randn(4, 3, 16)
    assert torch.equal(selection(fused)[0], selection(fused)[0])
    selection.train()
    assert not torch.equal(selection(fused)[0], selection(fused)[0])


def test_cross_attention_selection_is_a_pre_norm_block_over_the_variates_tokens(tiny_config):
    config = tiny_config("text_only", variate_selection="cross_attention")
    module = shaken(CrossAttentionSelection(config))
    embeds, tokens = torch.randn(2, 3, 16), torch.randn(2, 3, 32)
    selected, weights = module(embeds, tokens, output_attentions=True)
    # The same weights in torch's own attention module.
    reference = torch.nn.MultiheadAttention(16, 4, kdim=32, vdim=32, batch_first=True)
    key_weight, value_weight = module.key_value.weight.chunk(2)
    key_bias, value_bias = module.key_value.bias.chunk(2)
    with torch.no_grad():
        reference.q_proj_weight.copy_(module.query.weight)
        reference.k_proj_weight.copy_(key_weight)
        reference.v_proj_weight.copy_(value_weight)
        reference.in_proj_bias.copy_(torch.cat([module.query.bias, key_bias, value_bias]))
        reference.out_proj.load_state_dict(module.output.state_dict())
    keys = module.token_norm(tokens)
    attended, expected_weights = reference(module.query_norm(embeds), keys, keys, average_attn_weights=False)
    hidden = embeds + attended
    torch.testing.assert_close(selected, hidden + module.feed_forward(module.output_norm(hidden)))
    torch.testing.assert_close(weights, expected_weights)


def test_variate_tokenizer_is_one_linear_map_of_the_whole_series_plus_its_variates_position(tiny_config):
    module = shaken(VariateTokenizer(tiny_config("text_only")))
    series = torch.randn(2, 3, 12)
    weight, bias = module.projection.weight.detach().numpy(), module.projection.bias.detach().numpy()
    expected = series.numpy() @ weight.T + bias + module.position_embedding.detach().numpy()
    np.testing.assert_allclose(module(series).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_tokenizer_equals_numpy(tiny_config):
    config = tiny_config(text_dropout=0.5)
    tokenizer = shaken(PatchTokenizer(config))
    patches = torch.randn(5, config.num_patches, 4, generator=torch.Generator().manual_seed(1))
    w = weights_of(tokenizer)
    projected = patches.double().numpy() @ w["projection.weight"].T + w["projection.bias"]
    tokens = gelu(layer_norm(projected, w["norm.weight"], w["norm.bias"]))
    heads = np.broadcast_to(w["cls_token"], (5, 1, 32))
    expected = np.concatenate([heads, tokens], axis=1) + w["position_embedding"]
    with torch.no_grad():
        np.testing.assert_allclose(tokenizer(patches).numpy(), expected, atol=1e-5)
    assert w["position_embedding"].shape == (1 + 6, 32)


def numpy_resampled(w: dict[str, np.ndarray], patches: np.ndarray) -> np.ndarray:
    """Tokens of patches of at most 16 steps, point by point."""
    length, (count, number) = patches.shape[-1], patches.shape[:2]
    described = np.empty((count, number, 34))
    for n, i in np.ndindex(count, number):
        patch = patches[n, i]
        points = np.interp(np.linspace(0, length - 1, 16), np.arange(length), patch)
        spread = np.sqrt(patch.var() + 0.3**2)
        described[n, i] = [*points, *((points - patch.mean()) / spread), patch.mean(), np.log(spread)]
    tokens = gelu(
        layer_norm(described @ w["projection.weight"].T + w["projection.bias"], w["norm.weight"], w["norm.bias"])
    )
    tokens = np.concatenate([np.broadcast_to(w["cls_token"], (count, 1, tokens.shape[-1])), tokens], axis=1)
    table, places = w["position_embedding"], (np.arange(number) + 0.5) / number * 32 - 0.5
    between = np.stack([np.interp(places, np.arange(32), column) for column in table[1:].T], axis=1)
    return tokens + np.concatenate([table[:1], between])


@pytest.mark.parametrize(("length", "number"), [(4, 6), (1, 32), (16, 1), (9, 50)])
def test_resampled_tokenizer_equals_numpy_for_patches_of_any_length_and_number(tiny_config, length, number):
    tokenizer = shaken(ResampledPatchTokenizer(tiny_config(patch_tokenizer="resampled", text_dropout=0.5)))
    patches = torch.randn(5, number, length, generator=torch.Generator().manual_seed(1)).cumsum(dim=-1)
    patches[0, 0] = 3.0  # flat
    with torch.no_grad():
        found = tokenizer(patches).numpy()
    np.testing.assert_allclose(found, numpy_resampled(weights_of(tokenizer), patches.double().numpy()), atol=2e-4)
    assert found.shape == (5, 1 + number, 32)


def test_long_patches_are_averaged_not_skipped(tiny_config):
    tokenizer = ResampledPatchTokenizer(tiny_config())
    spikes = torch.eye(91)[None]  # one step of 91 is 1, in each of 91 patches: none falls between the points
    points = tokenizer.describe(spikes)[0, :, :16]
    assert (points.sum(dim=1) > 0.07).all() and points.max() < 0.3
    line = torch.linspace(-2, 4, 91)[None, None]
    torch.testing.assert_close(tokenizer.describe(line)[0, 0, 1:15], torch.linspace(-2, 4, 16)[1:15])  # straight


def test_resampled_weights_do_not_depend_on_the_shape_of_series(tiny_config):
    shapes = [
        {},
        {"num_variates": 1, "context_length": 500, "patch_length": 40, "patch_stride": 7},
        {"num_variates": 9, "context_length": 3, "patch_length": 1, "patch_stride": 1},
    ]
    sizes = [
        {name: tensor.shape for name, tensor in ResampledPatchTokenizer(tiny_config(**shape)).state_dict().items()}
        for shape in shapes
    ]
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0]["position_embedding"] == (33, 32) and sizes[0]["projection.weight"] == (32, 34)


def test_resampled_tokens_of_huge_levels_are_exact_under_autocast(tiny_config):
    tokenizer = shaken(ResampledPatchTokenizer(tiny_config(patch_tokenizer="resampled")))
    patches = 70_000 + torch.randn(2, 6, 4)  # beyond fp16, and bf16 would see no change in it
    with torch.no_grad():
        plain = tokenizer(patches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(tokenizer(patches), plain)
        half = tokenizer.bfloat16()(patches)
    assert half.dtype == torch.bfloat16 and torch.isfinite(half).all()


def test_tokenizer_takes_fp32_patches_into_half_precision_weights(tiny_config):
    tokenizer = PatchTokenizer(tiny_config()).bfloat16()
    assert tokenizer(torch.randn(2, 6, 4)).dtype == torch.bfloat16


def test_projection_equals_numpy():
    projection = shaken(EmbedProjection(5, 8))
    features = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(1))
    w = weights_of(projection)
    expected = layer_norm(features.double().numpy() @ w["0.weight"].T + w["0.bias"], w["1.weight"], w["1.bias"])
    with torch.no_grad():
        np.testing.assert_allclose(projection(features).numpy(), expected, atol=1e-5)


def test_mlp_head_equals_numpy(tiny_config):
    config = tiny_config(num_targets=2, num_static_features=5)
    head = shaken(SampleHead(config, 1))
    variates, static = torch.randn(4, 3, 48), torch.randn(4, 5)
    w = weights_of(head)
    features = np.concatenate([variates.double().numpy().reshape(4, -1), static.double().numpy()], axis=1)
    for i, width in zip((0, 4, 8), (64, 32, 16), strict=True):  # 4D, 2D, D
        features = features @ w[f"layers.{i}.weight"].T + w[f"layers.{i}.bias"]
        assert features.shape == (4, width)
        features = gelu(layer_norm(features, w[f"layers.{i + 1}.weight"], w[f"layers.{i + 1}.bias"]))
    expected = features @ w["layers.12.weight"].T + w["layers.12.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(head(variates, static).numpy(), expected, atol=1e-4)
    assert [layer.p for layer in head.layers if isinstance(layer, nn.Dropout)] == [0.3, 0.2, 0.1]


def test_linear_head_is_one_linear_map(tiny_config):
    head = shaken(SampleHead(tiny_config("small", head="linear"), 1))
    variates = torch.randn(4, 3, 16)  # text embeds alone
    w = weights_of(head)
    expected = variates.double().numpy().reshape(4, -1) @ w["layers.1.weight"].T + w["layers.1.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(head(variates, None).numpy(), expected, atol=1e-5)
    assert head.layers[0].p == 0.3


def test_pooled_head_equals_numpy(tiny_config):
    config = tiny_config(head="pooled", num_static_features=2)
    head = shaken(SampleHead(config, 1))
    variates, static = torch.randn(4, 3, 48), torch.randn(4, 2)
    w, x = weights_of(head), variates.double().numpy()
    shares = softmax(x @ w["pool.weight"].T + w["pool.bias"], axis=1)  # (B, V, 1)
    features = np.concatenate([(shares * x).sum(axis=1), static.double().numpy()], axis=1)
    expected = features @ w["layers.1.weight"].T + w["layers.1.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(head(variates, static).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("head", "grows"), [("pooled", False), ("mlp", True), ("linear", True)])
def test_only_the_pooled_heads_size_is_independent_of_the_number_of_variates(tiny_config, head, grows):
    sizes = [
        sum(p.numel() for p in SampleHead(tiny_config(head=head, num_variates=v), 1).parameters()) for v in (1, 3, 50)
    ]
    assert (len(set(sizes)) == 3) if grows else (len(set(sizes)) == 1)


def test_pooled_head_ignores_the_order_of_variates(tiny_config):
    head = shaken(SampleHead(tiny_config(head="pooled"), 1))
    variates = torch.randn(4, 3, 48)
    torch.testing.assert_close(head(variates[:, [2, 0, 1]], None), head(variates, None))
