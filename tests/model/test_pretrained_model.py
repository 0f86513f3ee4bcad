# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What all models share: how weights start, what stays frozen, what is saved."""

import math

import pytest
import torch
from safetensors.torch import load_file

from timesclip_hf import TimesCLIPForRegression, TimesCLIPModel


def test_no_word_embeddings_are_built_or_saved(make_model, tmp_path):
    model = make_model(text_config={**make_model().config.text_config.to_dict(), "vocab_size": 997})
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    weights = load_file(tmp_path / "model.safetensors")
    assert not [name for name, tensor in weights.items() if 997 in tensor.shape or "token_embedding" in name]
    assert not [name for name in weights if "text_tower.embeddings" in name]
    assert weights.keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("preset", "absent"),
    [("small", "vision_"), ("text_only", "vision_"), ("vision_only", "text_"), ("no_selection", "variate_selection")],
)
def test_a_missing_part_has_no_parameters(make_model, preset, absent):
    names = [name for name, _ in make_model(preset).named_parameters()]
    assert names and not [name for name in names if name.startswith(f"timesclip.{absent}")]
    if preset == "vision_only":
        assert not [name for name in names if "tokenizer" in name]


def test_learnt_scalars_start_as_configured_and_stay_fp32(make_model, tmp_path):
    fields = {"learn_logit_scale": True, "alignment_weighting": "uncertainty", "logit_scale_init_value": 1.5}
    model = make_model(**fields)
    assert model.alignment.logit_scale.item() == 1.5
    assert model.alignment.log_variances.tolist() == pytest.approx([0.0, math.log(10)])
    model.save_pretrained(tmp_path)
    half = TimesCLIPForRegression.from_pretrained(tmp_path, dtype=torch.bfloat16)
    fp32 = {name for name, parameter in half.named_parameters() if parameter.dtype == torch.float32}
    assert fp32 == {"alignment.logit_scale", "alignment.log_variances"}


def test_the_base_model_and_the_regression_model_share_checkpoints(make_model, make_batch, tmp_path):
    model = make_model()
    batch = make_batch(model.config)
    model.save_pretrained(tmp_path / "regression")
    base, report = TimesCLIPModel.from_pretrained(tmp_path / "regression", output_loading_info=True)
    assert not report["missing_keys"]
    base.save_pretrained(tmp_path / "base")
    _, report = TimesCLIPForRegression.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert all(name.startswith(("head.", "alignment.")) for name in report["missing_keys"])
    batch.pop("labels")
    assert torch.equal(base(**batch).text_embeds, model(**batch).text_embeds)


def test_equal_seeds_build_equal_models(tiny_config):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(TimesCLIPForRegression(tiny_config()).state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    tokenizer = {name: tensor for name, tensor in states[0].items() if "cls_token" in name or "position_emb" in name}
    assert all(0.01 < tensor.std() < 0.04 for name, tensor in tokenizer.items() if "tokenizer" in name)


def test_missing_weights_of_a_tower_start_as_the_tower_has_them(tiny_config):
    """Of width 32 and without a checkpoint, CLIP draws its output projections with a spread of 32 ** -0.5."""
    torch.manual_seed(0)
    model = TimesCLIPForRegression.from_pretrained(None, config=tiny_config(), state_dict={})
    for tower in (model.timesclip.vision_tower, model.timesclip.text_tower):
        spread = torch.stack([layer.self_attn.out_proj.weight for layer in tower.encoder.layers]).std()
        torch.testing.assert_close(spread, torch.tensor(32**-0.5), rtol=0.1, atol=0)


def assert_frozen(model):
    tower = model.timesclip.vision_tower
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert not any(module.training for module in tower.modules())
    assert not model.timesclip.get_vision_features(torch.randn(2, 3, 3, 32, 32)).requires_grad


def test_a_frozen_tower_stays_frozen(make_model, tmp_path):
    model = make_model()
    assert_frozen(model)
    assert_frozen(model.train())
    assert model.timesclip.text_tower.training
    model.save_pretrained(tmp_path)
    again = TimesCLIPForRegression.from_pretrained(tmp_path)
    assert_frozen(again)
    assert_frozen(again.train())
    pair, report = TimesCLIPForRegression.from_pretrained(tmp_path, output_loading_info=True)
    assert_frozen(pair)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert not any(p.requires_grad for p in TimesCLIPModel.from_pretrained(tmp_path).vision_tower.parameters())
