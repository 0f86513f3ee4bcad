# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""An inner layer of a vision tower: the same numbers as transformers' hidden states, and nothing behind it."""

import copy
import logging
from typing import Any

import pytest
import torch
from conftest import SERIES, TINY_VISION
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel

from timesclip_hf import (
    FeatureCache,
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
    export_program,
)
from timesclip_hf.model.feature_layers import image_width, vision_width
from timesclip_hf.model.tower_configs import VISION_CONFIGS
from timesclip_hf.model.towers import VISION_FAMILIES, encode_images, load_vision_tower

every_vision_family = pytest.mark.parametrize("family", TINY_VISION)
# The last norm, the pooling head: behind every layer.
BEHIND = ("post_layernorm", "layernorm.", "head.")


def whole_tower(family: str, folder: Any) -> Any:
    """The tower as transformers builds and saves it, no two of its tensors alike."""
    torch.manual_seed(0)
    known = VISION_FAMILIES[family]
    config = VISION_CONFIGS[family](**copy.deepcopy({**TINY_VISION[family], **known.settings}))
    tower = known.model_class(config, **known.arguments)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    tower.save_pretrained(folder)
    return tower.eval()


def hidden_states(tower: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """What transformers returns, `(n, tokens, width)` each."""
    with torch.no_grad():
        states = tower(pixel_values=images, output_hidden_states=True, return_dict=True).hidden_states
    return [state.flatten(2).transpose(1, 2) if state.ndim == 4 else state for state in states]


@every_vision_family
def test_every_hidden_state_of_every_family_can_be_read(family, tmp_path, tiny_config, tiny_towers):
    images = torch.randn(2, 3, 3, 32, 32)
    states = hidden_states(whole_tower(family, tmp_path), images.flatten(0, 1))
    has_cls = family in ("clip_vision_model", "vit", "dinov2")
    for layer in range(-len(states), len(states)):
        readings = {"mean": states[layer][:, int(has_cls) :].mean(dim=1)}
        readings["pooler"] = states[layer][:, 0] if has_cls else readings["mean"]
        if has_cls:
            readings["cls"] = states[layer][:, 0]
            readings["cls_mean"] = torch.cat([states[layer][:, 0], readings["mean"]], dim=-1)
        fields = {"vision_feature_layer": layer, **SERIES}
        model = TimesCLIPModel.from_vision_text_pretrained(str(tmp_path), None, preset="vision_only", **fields).eval()
        for pooling, expected in readings.items():
            model.config.vision_pooling = pooling
            with torch.no_grad():
                torch.testing.assert_close(model.get_vision_features(images).flatten(0, 1), expected)
            assert image_width(model.config) == expected.shape[1]


@every_vision_family
def test_what_lies_behind_the_layer_is_neither_built_nor_saved(family, tmp_path, tiny_config, tiny_towers, make_batch):
    whole = whole_tower(family, tmp_path / "whole")
    model = TimesCLIPModel.from_vision_text_pretrained(
        str(tmp_path / "whole"), None, preset="vision_only", vision_feature_layer=1, **SERIES
    ).eval()
    model.save_pretrained(tmp_path / "ours")
    names = {name.removeprefix("vision_tower.") for name in load_file(tmp_path / "ours" / "model.safetensors")}
    behind = [name for name in names if name.startswith(BEHIND)]
    assert not behind
    parts = [name for name, _ in model.vision_tower.named_modules()]
    second = {"swin": "encoder.layers.1.blocks.0", "resnet": "encoder.stages.1"}
    assert not any(
        name.endswith((second.get(family, "layers.1"), "layer.1", "head")) for name in parts if name.count(".") < 4
    )
    assert sum(p.numel() for p in model.vision_tower.parameters()) < sum(p.numel() for p in whole.parameters())
    again, report = TimesCLIPModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.config.vision_config.to_dict() == model.config.vision_config.to_dict()
    batch = make_batch(model.config)
    images = batch["pixel_values"]
    assert torch.equal(model.get_vision_features(images), again.eval().get_vision_features(images))
    assert image_width(again.config) == vision_width(again.vision_tower.config)


def test_a_pair_is_loaded_as_far_as_it_is_read_and_without_noise(tiny_towers, tmp_path, caplog, capfd):
    CLIPModel(CLIPConfig(**tiny_towers("clip"))).save_pretrained(tmp_path)
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        tower = load_vision_tower(str(tmp_path), 1)
        model = TimesCLIPForRegression.from_vision_text_pretrained(
            str(tmp_path), str(tmp_path), vision_feature_layer=-2, **SERIES
        )
    assert "nexpected" not in caplog.text + capfd.readouterr().err
    assert tower.config.num_hidden_layers == 1 and model.config.vision_config.num_hidden_layers == 2
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(
        encode_images(tower.eval(), images, None, "cls"),
        encode_images(model.timesclip.vision_tower.eval(), images, None, "cls"),
    )


def test_a_whole_model_of_ours_can_be_read_up_to_a_layer(tiny_config, tmp_path, caplog, capfd):
    torch.manual_seed(0)
    TimesCLIPForRegression(tiny_config(vision_pooling="mean")).save_pretrained(tmp_path)
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        model, report = TimesCLIPForRegression.from_pretrained(
            tmp_path, vision_feature_layer=1, output_loading_info=True
        )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert "UNEXPECTED" not in caplog.text + capfd.readouterr().err
    assert len(model.timesclip.vision_tower.encoder.layers) == 1


@every_vision_family
def test_every_weight_up_to_the_layer_learns(family, tiny_config, tiny_towers, make_batch):
    torch.manual_seed(0)
    config = tiny_config(
        **tiny_towers(family, "clip"), freeze_vision=False, vision_feature_layer=1, vision_pooling="mean"
    )
    model = TimesCLIPForRegression(config).train()
    model(**make_batch(config)).loss.backward()
    for name, parameter in model.timesclip.vision_tower.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_a_tower_of_ours_goes_on_being_read_where_it_ends_or_before(tiny_config, tmp_path):
    torch.manual_seed(0)
    source = TimesCLIPForRegression(tiny_config(vision_feature_layer=-1, vision_pooling="mean"))
    source.save_pretrained(tmp_path)
    folder, images = str(tmp_path), torch.randn(1, 3, 3, 32, 32)
    again = TimesCLIPModel.from_vision_text_pretrained(folder, folder, vision_pooling="mean", **SERIES)
    assert again.config.vision_feature_layer == -1
    assert torch.equal(again.eval().get_vision_features(images), source.eval().timesclip.get_vision_features(images))
    shorter = TimesCLIPModel.from_vision_text_pretrained(
        folder, None, preset="vision_only", vision_feature_layer=1, **SERIES
    )
    assert len(shorter.vision_tower.encoder.layers) == 1
    with pytest.raises(ValueError, match="lacks weights of its tower: missing .*post_layernorm"):
        TimesCLIPModel.from_vision_text_pretrained(folder, folder, vision_feature_layer=None, **SERIES)


@pytest.mark.parametrize(("family", "words"), [("clip", "has 2 layers"), ("swin", "has 2 stages")])
def test_a_layer_that_is_not_there_is_named(family, words, tiny_config, tiny_towers):
    for layer in (3, -4):
        with pytest.raises(
            StrictDataclassError, match=f"vision_feature_layer={layer}, but .* {words}: choose one of 0 .* to 2"
        ):
            tiny_config(**tiny_towers(family, "clip"), vision_feature_layer=layer)


def test_dropped_paths_of_swin_keep_their_rates(tiny_config, tiny_towers):
    towers = tiny_towers("swin", "clip")
    towers["vision_config"] |= {"depths": [2, 3], "drop_path_rate": 0.4}
    model = TimesCLIPModel(TimesCLIPConfig(**towers, vision_feature_layer=1))
    # 0, .1, .2, .3, .4 over the five blocks of both stages
    assert float(model.vision_tower.encoder.layers[0].blocks[1].drop_path.drop_prob) == pytest.approx(0.1)


def test_attention_can_be_chosen_for_a_shorter_tower(tiny_config, make_batch):
    model = TimesCLIPForRegression(tiny_config(vision_feature_layer=1, attn_implementation="eager")).eval()
    batch = make_batch(model.config)
    expected = model(**batch).predictions
    model.set_attn_implementation("sdpa")
    assert model.timesclip.vision_tower.config._attn_implementation == "sdpa"
    torch.testing.assert_close(model(**batch).predictions, expected, rtol=1e-4, atol=1e-5)


def test_a_shorter_tower_is_exported_and_cached_by_its_layer(tiny_config, make_batch, tmp_path):
    stores = set()
    for layer in (None, 1, 2):
        torch.manual_seed(0)
        config = tiny_config("vision_only", vision_feature_layer=layer, vision_pooling="mean", freeze_vision=True)
        processor = TimesCLIPProcessor.from_config(config, scaling="none", value_range="window")
        model = TimesCLIPForRegression(config).eval()
        stores.add(FeatureCache(model, processor, tmp_path).store.folder)
    batch = make_batch(model.config)
    program = export_program(model, processor).module()
    images = batch["pixel_values"]
    torch.testing.assert_close(program(pixel_values=images), model(pixel_values=images).predictions)
    assert len(stores) == 3
