# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Towers in chunks: equal to all at once, in memory that does not grow with what lies behind the tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from conftest import TINY_TEXT, TINY_VISION

from timesclip_hf import TimesCLIPConfig, TimesCLIPForPrediction, TimesCLIPForRegression
from timesclip_hf.model import towers as towers_module

# Every family once, beside CLIP.
every_family = pytest.mark.parametrize(
    ("vision", "text"), [(family, "clip") for family in TINY_VISION] + [("clip", family) for family in TINY_TEXT]
)
SMALL_CHUNKS = {"vision_chunk_size": 5, "text_chunk_size": 5}  # of 12 images and sequences: 5, 5 and 2


def set_chunks(model: Any, **sizes: int) -> Any:
    for name, size in sizes.items():
        setattr(model.config, name, size)
    return model


def gradients(model: Any, batch: dict[str, torch.Tensor], seed: int = 0) -> dict[str, torch.Tensor]:
    """The loss and every gradient of one step."""
    model.zero_grad()
    torch.manual_seed(seed)
    loss = model(**batch).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}


def assert_equal_steps(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


@contextmanager
def kept_bytes() -> Iterator[list[int]]:
    """What a forward pass keeps for the way back, weights and inputs apart; the sum is in the list at the end."""
    kept: dict[int, int] = {}
    total: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not tensor.is_leaf:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield total
    total.append(sum(kept.values()))


@every_family
def test_results_and_gradients_are_those_of_all_at_once(tiny_config, tiny_towers, make_batch, enlarge, vision, text):
    torch.manual_seed(0)
    config = tiny_config(**tiny_towers(vision, text), freeze_vision=False)
    model = enlarge(TimesCLIPForRegression(config))  # in eval mode: dropout would differ
    batch = make_batch(config)
    batch["patch_mask"][:, 1, 2:] = False
    expected = gradients(model, batch)
    assert {name.split(".")[1] for name in expected if "." in name} >= {"vision_tower", "text_tower"}
    assert_equal_steps(gradients(set_chunks(model, **SMALL_CHUNKS), batch), expected)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_of_every_layer_goes_together_with_chunks(tiny_config, make_batch, enlarge, use_reentrant):
    torch.manual_seed(0)
    no_dropout = {"head_dropout": [0.0] * 3, "text_dropout": 0.0, "selection_dropout": 0.0}
    config = tiny_config("paper", freeze_vision=False, **no_dropout)
    model = enlarge(TimesCLIPForPrediction(config)).train()
    batch = {**make_batch(config), "labels": torch.randn(4, config.prediction_length, 3)}
    expected = gradients(model, batch)
    for sizes in ({}, SMALL_CHUNKS):
        set_chunks(model, **sizes)
        model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        assert model.timesclip.text_tower.is_gradient_checkpointing
        assert_equal_steps(gradients(model, batch), expected)
        model.gradient_checkpointing_disable()


def test_dropout_falls_on_the_same_places_when_a_chunk_is_computed_again(
    tiny_config, tiny_towers, make_batch, monkeypatch
):
    towers = tiny_towers()
    for tower in towers.values():
        tower["attention_dropout"] = 0.5
    config = tiny_config(**towers, freeze_vision=False, **SMALL_CHUNKS)
    torch.manual_seed(0)
    model = TimesCLIPForRegression(config).train()
    batch = make_batch(config)
    found, other = gradients(model, batch), gradients(model, batch, seed=1)
    assert (found["loss"] - other["loss"]).abs() > 1e-5
    # The same chunks, of which everything is kept.
    monkeypatch.setattr(towers_module, "checkpoint", lambda encode, *inputs, use_reentrant: encode(*inputs))
    assert_equal_steps(found, gradients(model, batch))


def test_nothing_is_computed_twice_where_all_fits_into_one_chunk(tiny_config, make_batch, monkeypatch):
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("checkpointed")

    monkeypatch.setattr(towers_module, "checkpoint", refuse)
    config = tiny_config(freeze_vision=False, vision_chunk_size=12, text_chunk_size=12)
    model = TimesCLIPForRegression(config)
    model(**make_batch(config)).loss.backward()
    with pytest.raises(AssertionError, match="checkpointed"):
        set_chunks(model, text_chunk_size=11)(**make_batch(config))
    with torch.no_grad():
        model(**make_batch(config))


@pytest.mark.parametrize("variates", [3, 12])
@pytest.mark.parametrize("freeze_vision", [False, True])
def test_no_tower_sees_more_than_a_chunk_however_many_variates_there_are(
    tiny_config, make_batch, variates, freeze_vision
):
    config = tiny_config("paper", num_variates=variates, freeze_vision=freeze_vision, **SMALL_CHUNKS)
    model = TimesCLIPForPrediction(config)
    seen: dict[str, list[int]] = {"images": [], "tokens": []}
    body = model.timesclip
    body.vision_tower.register_forward_pre_hook(
        lambda module, args, kwargs: seen["images"].append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    body.text_tower.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen["tokens"].append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    batch = {**make_batch(config), "labels": torch.randn(4, config.prediction_length, variates)}
    with torch.no_grad():
        model(**batch)
    patches = config.num_patches + 1
    assert max(seen["images"]) == 5 and sum(seen["images"]) == 4 * variates
    # Sequences of patches, and sequences of whole variates in chunks of no more tokens.
    assert max(seen["tokens"]) == 5 * patches
    assert sum(seen["tokens"]) == 4 * variates * patches + 4 * variates


@pytest.mark.parametrize("trained", ["vision", "text"])
def test_what_training_keeps_does_not_depend_on_a_towers_depth(tiny_config, tiny_towers, make_batch, trained):
    """So it is the tokens between the parts alone: nothing of what lies inside of a tower."""

    def kept(layers: int, **sizes: int) -> int:
        towers = tiny_towers()
        towers[f"{trained}_config"]["num_hidden_layers"] = layers
        config = tiny_config(**towers, freeze_vision=trained == "text", num_variates=12, **sizes)
        model = TimesCLIPForRegression(config)
        batch = make_batch(config)
        with kept_bytes() as total:
            loss = model(**batch).loss
        loss.backward()
        return total[0]

    chunk = {f"{trained}_chunk_size": 5}
    everything = {f"{trained}_chunk_size": 48}
    assert kept(6, **chunk) == kept(2, **chunk)
    assert kept(6, **everything) > 1.5 * kept(2, **everything) > 1.5 * kept(2, **chunk)


def test_a_frozen_text_tower_passes_gradients_on_in_chunks(tiny_config, make_batch, enlarge):
    torch.manual_seed(0)
    config = tiny_config(freeze_text=True)
    model = enlarge(TimesCLIPForRegression(config))
    expected = gradients(model, make_batch(config))
    assert "timesclip.tokenizer.projection.weight" in expected
    assert not [name for name in expected if "_tower" in name]
    assert_equal_steps(gradients(set_chunks(model, **SMALL_CHUNKS), make_batch(config)), expected)


def test_batch_norms_in_training_average_over_the_whole_batch(tiny_config, tiny_towers, make_batch):
    """And once: a second forward pass would move their running statistics a second time."""
    config = tiny_config(**tiny_towers("resnet", "clip"), freeze_vision=False, **SMALL_CHUNKS)
    torch.manual_seed(0)
    model = TimesCLIPForRegression(config).train()
    norm = next(m for m in model.timesclip.vision_tower.modules() if isinstance(m, torch.nn.BatchNorm2d))
    inputs = []
    norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
    model(**make_batch(config)).loss.backward()
    assert len(inputs) == 1 and len(inputs[0]) == 12
    expected = 0.1 * inputs[0].mean(dim=(0, 2, 3))  # momentum 0.1, from zero
    torch.testing.assert_close(norm.running_mean, expected)


def test_a_head_of_billions_of_weights_is_refused_before_it_is_built():
    config = TimesCLIPConfig(num_variates=862)
    with pytest.raises(ValueError, match=r"head='mlp' would have 2\.7 billion weights.*862 variates.*head='pooled'"):
        TimesCLIPForRegression(config)
    config = TimesCLIPConfig(num_variates=862, head="pooled")
    with torch.device("meta"):
        model = TimesCLIPForRegression(config)
    # Of what grows with variates, nothing is left in the head.
    assert sum(p.numel() for p in model.head.parameters()) == 2 * (3 * 512 + 1)
