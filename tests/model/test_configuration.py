# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration: defaults, presets, validation, JSON, and the closed list of towers."""

import json
import math
import sys

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
)

from timesclip_hf import PRESETS, TOWERS, TimesCLIPConfig, TimesCLIPModel

# A value other than the default for every field of ours.
EVERY_FIELD = {
    "num_variates": 2,
    "context_length": 20,
    "patch_length": 5,
    "patch_stride": 3,
    "padding": "none",
    "projection_dim": 24,
    "num_targets": 2,
    "prediction_length": 7,
    "loss": "mae",
    "quantile_levels": [0.1, 0.5, 0.9],
    "calibration": {"method": "absolute", "levels": [0.9], "thresholds": [[1.5, None]], "count": 12},
    "error_scale": "instance",
    "class_weights": [1.0, 2.5],
    "num_target_variates": 1,
    "draw_covariates": True,
    "num_future_covariates": 3,
    "covariate_memory": True,
    "covariate_response": "own",
    "forecast_static": True,
    "num_static_features": 4,
    "use_loc_scale": True,
    "variate_mean": [1.0, -2.5],
    "variate_std": [0.5, 3.0],
    "target_mean": [7.0, 8.0],
    "target_std": [1.5, 2.5],
    "freeze_vision": False,
    "freeze_text": True,
    "text_dropout": 0.05,
    "vision_chunk_size": 3,
    "text_chunk_size": 5,
    "alignment": "global",
    "alignment_alpha": 0.25,
    "alignment_weight": 0.7,
    "alignment_weighting": "uncertainty",
    "alignment_warmup_steps": 9,
    "logit_scale_init_value": 1.25,
    "learn_logit_scale": True,
    "variate_selection": None,
    "selection_num_heads": 3,
    "selection_dropout": 0.2,
    "head": "pooled",
    "head_dropout": [0.15],
    "fusion": "concat",
    "linear_shortcut": True,
    "kernel_shortcut": True,
    "kernel_sums": True,
    "shape_features": 168,
    "num_centers": 3,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "initializer_range": 0.03,
    "vision_pooling": "cls_mean",
    "vision_feature_layer": -2,
    "blank_patches": "merge",
    "background": 0.25,
    "layout": "grid",
    "text_pooling": "mean",
    "head_reads": "features",
    "patch_tokenizer": "resampled",
    "branch_fusion": "late",
    "branch_weights": [0.2, 0.3, 0.4, 0.1],
    "ensemble_size": 3,
}


def test_the_default_is_clip_vit_b16():
    config = TimesCLIPConfig()
    vision, text = config.vision_config, config.text_config
    assert isinstance(vision, CLIPVisionConfig) and isinstance(text, CLIPTextConfig)
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (768, 12, 12)
    assert (vision.image_size, vision.patch_size, vision.intermediate_size) == (224, 16, 3072)
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (512, 12, 8)
    assert (text.intermediate_size, config.projection_dim) == (2048, 512)
    assert config.logit_scale_init_value == pytest.approx(-math.log(0.07))
    assert TimesCLIPConfig.from_preset("full").to_dict() == config.to_dict()


def test_every_field_survives_json(tiny_config, tmp_path):
    ours = set(TimesCLIPConfig.__annotations__) - {"vision_config", "text_config"}
    assert ours == set(EVERY_FIELD), "a new field needs a value here"
    config = tiny_config(**EVERY_FIELD)
    defaults = TimesCLIPConfig()
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    loaded = TimesCLIPConfig.from_pretrained(tmp_path)
    for name, value in EVERY_FIELD.items():
        assert getattr(defaults, name) != value, f"{name}: the test needs another value than the default"
        assert saved[name] == value
        assert getattr(loaded, name) == value
    assert loaded.vision_config.to_dict() == config.vision_config.to_dict()
    assert loaded.text_config.to_dict() == config.text_config.to_dict()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_survives_json(tiny_config, preset, tmp_path):
    config = tiny_config(preset)
    config.save_pretrained(tmp_path)
    loaded = TimesCLIPConfig.from_pretrained(tmp_path)
    for name in TimesCLIPConfig.__annotations__:
        value, expected = getattr(loaded, name), getattr(config, name)
        assert (value is None) == (expected is None), name
        if not name.endswith("_config"):
            assert value == expected, name


def test_presets_build_the_branches_they_name():
    branches = {
        name: (config.vision_config is not None, config.text_config is not None, config.alignment)
        for name in PRESETS
        for config in [TimesCLIPConfig.from_preset(name)]
    }
    assert branches == {
        "small": (False, True, None),
        "medium": (True, True, None),
        "full": (True, True, "hybrid"),
        "no_alignment": (True, True, None),
        "no_selection": (True, True, "hybrid"),
        "text_only": (False, True, None),
        "vision_only": (True, False, None),
        "late": (True, True, None),
        "probe": (True, True, None),
        "paper": (True, True, "global"),
        "forecast": (False, True, None),
    }
    assert TimesCLIPConfig.from_preset("no_selection").variate_selection is None


def test_tiny_towers_are_trained_and_overrides_win():
    config = TimesCLIPConfig.from_preset("full", towers="tiny", num_variates=7, projection_dim=32)
    assert config.vision_config.image_size == 64
    assert not config.freeze_vision
    assert (config.num_variates, config.projection_dim) == (7, 32)
    assert TimesCLIPConfig.from_preset("full", towers="tiny", freeze_vision=True).freeze_vision


def test_changing_one_configuration_leaves_presets_and_towers_alone():
    before = json.dumps([PRESETS, TOWERS], sort_keys=True)
    config = TimesCLIPConfig.from_preset("small", towers="tiny")
    config.head_dropout[0] = 0.9
    config.text_config.hidden_size = 1
    assert json.dumps([PRESETS, TOWERS], sort_keys=True) == before
    assert TimesCLIPConfig().head_dropout == [0.3, 0.2, 0.1]


def test_an_unknown_preset_or_towers_is_named_with_the_choices():
    with pytest.raises(ValueError, match=r"Unknown preset 'huge'.*'full'"):
        TimesCLIPConfig.from_preset("huge")
    with pytest.raises(ValueError, match=r"Unknown towers 'clip-l14'.*'clip-b16', 'timesclip-small', 'tiny'"):
        TimesCLIPConfig.from_preset("full", towers="clip-l14")


@pytest.mark.parametrize(
    ("length", "patch", "stride", "padding", "expected"),
    # counted by hand: the starts of patches in a series with S repeats of its last value behind it
    [(12, 4, 2, "end", 6), (12, 4, 2, "none", 5), (36, 6, 3, "end", 12), (96, 16, 8, "end", 12), (7, 7, 3, "none", 1),
     (10, 4, 4, "none", 2), (10, 4, 4, "end", 3)],
)  # fmt: skip
def test_number_of_patches(tiny_config, length, patch, stride, padding, expected):
    config = tiny_config(context_length=length, patch_length=patch, patch_stride=stride, padding=padding)
    assert config.num_patches == expected
    total = length + (stride if padding == "end" else 0)
    assert expected == len([start for start in range(0, total, stride) if start + patch <= total])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_variates": 0}, "num_variates must be at least 1, got 0"),
        ({"context_length": -1}, "context_length must be at least 1"),
        ({"patch_stride": 0}, "patch_stride must be at least 1"),
        ({"num_targets": 0}, "num_targets must be at least 1"),
        ({"vision_chunk_size": 0}, "vision_chunk_size must be at least 1"),
        ({"text_chunk_size": 0}, "text_chunk_size must be at least 1"),
        ({"alignment_warmup_steps": 0}, "alignment_warmup_steps must be at least 1"),
        ({"num_static_features": -2}, "num_static_features must be 0 or more, got -2"),
        ({"patch_length": 13}, r"patch_length \(13\) is longer than context_length \(12\)"),
        ({"selection_num_heads": 3}, r"projection_dim \(16\) is not a multiple of selection_num_heads \(3\)"),
        ({"text_config": None}, "set alignment=None"),
        ({"vision_config": None}, "set alignment=None"),
        ({"vision_config": None, "text_config": None}, "at least one branch"),
        ({"text_dropout": 1.0}, r"text_dropout must be in \[0, 1\), got 1.0"),
        ({"selection_dropout": -0.1}, "selection_dropout must be in"),
        ({"alignment_alpha": 1.5}, r"alignment_alpha must be in \[0, 1\], got 1.5"),
        ({"alignment_weight": 0.0}, "alignment=None switches it off"),
        ({"alignment_weight": math.inf}, "alignment_weight must be positive, got inf"),
        ({"logit_scale_init_value": 5.0}, r"at most ln\(100\), got 5.0"),
        ({"head_dropout": [0.1]}, "head_dropout must hold 3 probabilities"),
        ({"head": "linear", "head_dropout": [1.0]}, "head_dropout must hold 1 probabilities"),
        ({"variate_mean": [0.0] * 3}, "variate_mean and variate_std must be given together"),
        ({"variate_mean": [0.0] * 2, "variate_std": [1.0] * 2}, "variate_mean must hold 3 finite numbers"),
        ({"target_mean": [0.0], "target_std": [0.0]}, "target_std must hold 1 finite numbers"),
        ({"target_mean": [math.nan], "target_std": [1.0]}, "target_mean must hold 1 finite numbers"),
        ({"image_mean": [0.5], "image_std": [0.5]}, "image_mean must hold 3 finite numbers"),
    ],
)
def test_values_out_of_range_are_refused_with_what_was_found(tiny_config, fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        tiny_config(**fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [("alignment", "both"), ("padding", "start"), ("head", "transformer"), ("variate_selection", "attention"),
     ("alignment_weighting", "none"), ("num_variates", 2.5), ("head_dropout", 0.1)],
)  # fmt: skip
def test_values_of_another_kind_are_refused_by_field_name(tiny_config, name, value):
    with pytest.raises(StrictDataclassError, match=name):
        tiny_config(**{name: value})


def test_whole_numbers_serve_as_fractions(tiny_config):
    config = tiny_config(text_dropout=0, alignment_alpha=1, alignment_weight=1, logit_scale_init_value=2)
    assert config.alignment_weight == 1


def test_only_listed_families_are_built_and_nothing_is_imported(tmp_path):
    imported = set(sys.modules)
    for bad in ("bert", "clip", "clip_text_model", "evil.module", None):
        with pytest.raises(ValueError, match=r"vision_config has model_type .*supported are \['clip_vision_model'"):
            TimesCLIPConfig(vision_config={"model_type": bad})
    with pytest.raises(ValueError, match="text_config has model_type 'gpt2'"):
        TimesCLIPConfig(text_config={"model_type": "gpt2"})
    with pytest.raises(ValueError, match="text_config is a CLIPVisionConfig"):
        TimesCLIPConfig(text_config=CLIPVisionConfig())
    assert not {name for name in set(sys.modules) - imported if "bert" in name or "evil" in name}
    with pytest.raises(ValueError, match="vision_config is a BertConfig"):
        TimesCLIPConfig(vision_config=BertConfig())


def test_a_json_file_naming_another_family_is_refused(tiny_config, tmp_path):
    tiny_config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    settings["vision_config"]["model_type"] = "bert"
    path.write_text(json.dumps(settings))
    for loader in (TimesCLIPConfig, AutoConfig):
        with pytest.raises(ValueError, match="vision_config has model_type 'bert'"):
            loader.from_pretrained(tmp_path)


def test_ready_sub_configs_of_both_families_are_taken():
    config = TimesCLIPConfig(vision_config=SiglipVisionConfig(), text_config=CLIPTextConfig(hidden_size=64))
    assert isinstance(config.vision_config, SiglipVisionConfig)
    assert config.text_config.hidden_size == 64
    assert isinstance(TimesCLIPConfig(text_config={"model_type": "siglip_text_model"}).text_config, SiglipTextConfig)


def test_towers_that_cannot_read_plots_or_patches_are_refused(tiny_config, tiny_towers):
    grey, causal = tiny_towers("vit", "bert"), tiny_towers("vit", "bert")
    grey["vision_config"]["num_channels"] = 1
    causal["text_config"]["is_decoder"] = True
    with pytest.raises(StrictDataclassError, match="num_channels=1, but plots have 3 colours"):
        tiny_config(**grey)
    with pytest.raises(StrictDataclassError, match="is_decoder=True: patches must see each other"):
        tiny_config(**causal)


def test_colour_statistics_are_the_configured_ones_else_the_familys(tiny_config):
    # as printed in OpenAI's CLIP repository and in the SigLIP checkpoints' preprocessor_config.json
    clip = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    assert tuple(map(list, tiny_config().image_statistics)) == clip
    siglip = TimesCLIPConfig(vision_config={"model_type": "siglip_vision_model"})
    assert siglip.image_statistics == ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    # as in the preprocessor_config.json of google/vit-base-patch16-224, and ImageNet's own statistics
    assert TimesCLIPConfig(vision_config={"model_type": "vit"}).image_statistics == ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    for family in ("dinov2", "swin", "resnet"):
        imagenet = TimesCLIPConfig(vision_config={"model_type": family}).image_statistics
        assert imagenet == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    own = tiny_config(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    assert own.image_statistics == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert tuple(map(list, tiny_config("text_only").image_statistics)) == clip


def test_auto_classes_know_the_model(tiny_config, tmp_path):
    config = tiny_config()
    config.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is TimesCLIPConfig
    assert type(AutoModel.from_config(config)) is TimesCLIPModel


def test_a_misspelt_field_is_refused_by_name():
    with pytest.raises(ValueError, match="freeze_visoin"):
        TimesCLIPConfig.from_preset("full", towers="tiny", freeze_visoin=True)
