# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The pretrained encoders: checkpoints of every supported family in, the same features out."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SERIES
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModel,
    CLIPVisionModel,
    GPT2Config,
    SiglipConfig,
    SiglipModel,
    SiglipTextModel,
    SiglipVisionModel,
)

from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPModel
from timesclip_hf.model.towers import build_text_tower, encode_tokens, load_text_tower, load_vision_tower

PAIRS: dict[str, tuple[Any, Any, Any, Any]] = {
    "clip": (CLIPConfig, CLIPModel, CLIPVisionModel, CLIPTextModel),
    "siglip": (SiglipConfig, SiglipModel, SiglipVisionModel, SiglipTextModel),
}


@pytest.fixture
def save_pair(tiny_towers, tmp_path):
    """`save_pair(family, dtype)`: a folder with a checkpoint of the whole pair, as transformers writes it."""

    def build(family: str = "clip", dtype: torch.dtype = torch.float32) -> str:
        config_class, model_class = PAIRS[family][:2]
        torch.manual_seed(0)
        model = model_class(config_class(**tiny_towers(family))).to(dtype)
        with torch.no_grad():  # transformers starts biases at 0 and norms at 1: make every one tell
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        model.save_pretrained(tmp_path / family)
        return str(tmp_path / family)

    return build


def text_weights_without_words(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(("embeddings.", "head."))}


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_pairs_towers_arrive_whole(save_pair, family):
    folder = save_pair(family)
    vision = PAIRS[family][2].from_pretrained(folder).eval()
    text = PAIRS[family][3].from_pretrained(folder).eval()
    model = TimesCLIPModel.from_vision_text_pretrained(folder, folder, **SERIES).eval()

    images = torch.randn(2, 3, 3, 32, 32)
    with torch.no_grad():
        features = model.get_vision_features(images)
        expected = vision(pixel_values=images.flatten(0, 1)).pooler_output
    assert torch.equal(features.flatten(0, 1), expected)

    wanted, found = text_weights_without_words(text.state_dict()), model.text_tower.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert model.vision_tower.state_dict().keys() == vision.state_dict().keys()


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_checkpoint_of_one_tower_alone_loads_too(save_pair, family, tmp_path):
    folder = save_pair(family)
    PAIRS[family][2].from_pretrained(folder).save_pretrained(tmp_path / "vision")
    PAIRS[family][3].from_pretrained(folder).save_pretrained(tmp_path / "text")
    whole = TimesCLIPModel.from_vision_text_pretrained(folder, folder, **SERIES)
    halves = TimesCLIPModel.from_vision_text_pretrained(str(tmp_path / "vision"), str(tmp_path / "text"), **SERIES)
    for tower in ("vision_tower", "text_tower"):
        expected = getattr(whole, tower).state_dict()
        found = getattr(halves, tower).state_dict()
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_towers_of_two_families_combine(save_pair):
    model = TimesCLIPModel.from_vision_text_pretrained(save_pair("siglip"), save_pair("clip"), **SERIES)
    assert model.config.vision_config.model_type == "siglip_vision_model"
    assert model.config.text_config.model_type == "clip_text_model"


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_loaded_pair_is_frozen_saved_and_reloaded(save_pair, family, make_batch, tmp_path):
    folder = save_pair(family)
    model = TimesCLIPForRegression.from_vision_text_pretrained(folder, folder, **SERIES).eval()
    assert not any(p.requires_grad for p in model.timesclip.vision_tower.parameters())
    assert all(p.requires_grad for p in model.timesclip.text_tower.parameters())
    model.save_pretrained(tmp_path / "ours")
    again = TimesCLIPForRegression.from_pretrained(tmp_path / "ours").eval()
    batch = make_batch(model.config)
    assert torch.equal(model(**batch).predictions, again(**batch).predictions)


def test_one_branch_may_be_left_out(save_pair):
    folder = save_pair()
    text_only = TimesCLIPModel.from_vision_text_pretrained(None, folder, preset="text_only", **SERIES)
    assert text_only.vision_tower is None and text_only.config.vision_config is None
    vision_only = TimesCLIPModel.from_vision_text_pretrained(folder, None, preset="vision_only", **SERIES)
    assert vision_only.text_tower is None and vision_only.tokenizer is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_checkpoint_makes_a_model_of_one_dtype(save_pair, dtype, make_batch, tmp_path):
    folder = save_pair("clip", dtype)
    model = TimesCLIPForRegression.from_vision_text_pretrained(folder, folder, freeze_vision=False, **SERIES)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model(**make_batch(model.config)).loss.backward()
    model.save_pretrained(tmp_path / "ours")
    again = TimesCLIPForRegression.from_pretrained(tmp_path / "ours", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("tensor", "load"),
    [
        ("vision_model.encoder.layers.1.mlp.fc1.weight", load_vision_tower),
        ("vision_model.post_layernorm.bias", load_vision_tower),
        ("text_model.encoder.layers.0.self_attn.q_proj.weight", load_text_tower),
        ("text_model.final_layer_norm.weight", load_text_tower),
    ],
)
def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_its_name(save_pair, tensor, load):
    folder = save_pair()
    path = Path(folder, "model.safetensors")
    weights = load_file(path)
    weights.pop(tensor)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights of its tower: missing .*" + tensor.split(".", 1)[1]):
        load(folder)


def test_an_unsupported_family_is_refused_with_the_supported_ones(tmp_path, tiny_config):
    GPT2Config(n_embd=8, n_layer=1, n_head=1).save_pretrained(tmp_path / "gpt2")
    for load, half in ((load_vision_tower, "vision"), (load_text_tower, "text")):
        with pytest.raises(ValueError, match=rf"'gpt2', which has no supported {half} tower.*'clip_{half}_model'"):
            load(str(tmp_path / "gpt2"))
    tiny_config("small").save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match="'timesclip', which has no supported vision tower"):
        load_vision_tower(str(tmp_path / "ours"))


def test_colour_statistics_come_from_the_checkpoint_else_from_the_family(save_pair):
    folder = save_pair()
    model = TimesCLIPModel.from_vision_text_pretrained(folder, folder, **SERIES)
    assert model.config.image_mean is None
    assert list(model.config.image_statistics[0]) == [0.48145466, 0.4578275, 0.40821073]
    siglip = save_pair("siglip")
    model = TimesCLIPModel.from_vision_text_pretrained(siglip, siglip, **SERIES)
    assert model.config.image_statistics == ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])

    CLIPImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(folder)
    assert Path(folder, "preprocessor_config.json").exists()
    model = TimesCLIPModel.from_vision_text_pretrained(folder, folder, **SERIES)
    assert model.config.image_statistics == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    own = {"image_mean": [0.9, 0.8, 0.7], "image_std": [1.0, 1.0, 1.0]}
    model = TimesCLIPModel.from_vision_text_pretrained(folder, folder, **own, **SERIES)
    assert model.config.image_mean == [0.9, 0.8, 0.7]


def test_colour_statistics_inside_a_saved_processor_are_found(save_pair):
    """transformers 5 writes an image processor into processor_config.json when it is part of a processor."""
    folder = save_pair()
    image_processor = CLIPImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).to_dict()
    settings = {"image_processor": image_processor, "processor_class": "CLIPProcessor"}
    Path(folder, "processor_config.json").write_text(json.dumps(settings))
    model = TimesCLIPModel.from_vision_text_pretrained(folder, folder, **SERIES)
    assert model.config.image_mean == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("family", ["clip", "siglip", "bert", "t5"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_text_layers_attend_in_both_directions_and_around_masked_tokens(tiny_config, tiny_towers, family, attention):
    config = tiny_config(**tiny_towers("clip", family), attn_implementation=attention).text_config
    torch.manual_seed(0)
    tower = build_text_tower(config).eval()
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.randn(2, 5, 32)
    moved = tokens.clone()
    moved[:, -1] = 100 * torch.randn(32)  # no constant: the layers' norms would take it out
    mask = torch.tensor([[True, True, True, True, False]]).expand(2, 5)
    with torch.no_grad():
        seeing = encode_tokens(tower, tokens, None)
        assert (seeing - encode_tokens(tower, moved, None))[:, 0].abs().max() > 1e-3
        blind, blind_to_moved = encode_tokens(tower, tokens, mask), encode_tokens(tower, moved, mask)
        shortened = encode_tokens(tower, tokens[:, :4], None)
    torch.testing.assert_close(blind[:, :4], blind_to_moved[:, :4])
    torch.testing.assert_close(blind[:, :4], shortened)
    assert (blind - seeing)[:, 0].abs().max() > 1e-3


def test_a_single_token_passes_the_text_layers_as_in_clip(save_pair):
    """With one token CLIP's causal mask hides nothing, so both must agree."""
    folder = save_pair()
    words = CLIPTextModel.from_pretrained(folder).eval()
    ids = torch.tensor([[5]])
    with torch.no_grad():
        expected = words(input_ids=ids).last_hidden_state
        found = encode_tokens(load_text_tower(folder).eval(), words.embeddings(input_ids=ids), None)
    torch.testing.assert_close(found, expected)


def test_clip_vit_b16_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = TimesCLIPForRegression(TimesCLIPConfig())
    # a layer: four 512 x 512 maps, an MLP over 2048, their biases, two norms
    layer = 4 * (512 * 512 + 512) + (512 * 2048 + 2048) + (2048 * 512 + 512) + 2 * 2 * 512
    assert layer == 3_152_384
    assert sum(p.numel() for p in model.timesclip.text_tower.parameters()) == 12 * layer + 2 * 512
    # ViT-B/16: class token, 3 x 16 x 16 patches without bias, 197 positions, 12 layers, two norms around them
    vision_layer = 4 * (768 * 768 + 768) + (768 * 3072 + 3072) + (3072 * 768 + 768) + 2 * 2 * 768
    vision = 768 + 768 * 3 * 16 * 16 + 197 * 768 + 12 * vision_layer + 2 * 2 * 768
    assert sum(p.numel() for p in model.timesclip.vision_tower.parameters()) == vision == 85_799_424


def test_a_checkpoint_of_real_vit_b16_size_gives_clips_own_features():
    """Sizes of openai/clip-vit-base-patch16; half a gigabyte, so nothing is left behind for pytest to keep."""
    images = torch.randn(1, 1, 3, 224, 224)
    with tempfile.TemporaryDirectory() as folder:
        CLIPModel(CLIPConfig(vision_config={"patch_size": 16}, text_config={})).save_pretrained(folder)
        model = TimesCLIPModel.from_vision_text_pretrained(folder, folder, num_variates=1)
        tower, report = CLIPVisionModel.from_pretrained(folder, output_loading_info=True)
        text = CLIPTextModel.from_pretrained(folder)
    assert not report["missing_keys"]
    assert not [name for name in report["unexpected_keys"] if name.startswith("vision_model.")]
    with torch.no_grad():
        expected = tower.eval()(pixel_values=images[0]).pooler_output
        assert torch.equal(model.get_vision_features(images)[0], expected)
    wanted, found = text_weights_without_words(text.state_dict()), model.text_tower.state_dict()
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert len(wanted) == 12 * 16 + 2  # six maps and two norms a layer, each with a bias, and the final norm


@pytest.mark.parametrize(("preset", "vision", "text"), [("small", "x", "x"), ("full", None, "x"), ("full", "x", None)])
def test_checkpoints_that_contradict_the_preset_are_refused(preset, vision, text):
    with pytest.raises(ValueError, match=f"preset '{preset}' has"):
        TimesCLIPForRegression.from_vision_text_pretrained(vision, text, preset=preset)
