# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a checkpoint says of its towers reaches config, processor and model; what no tower can be is refused early."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SERIES, TINY_TEXT, TINY_VISION
from torch import nn
from transformers import AutoModel, CLIPConfig, CLIPModel

from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPModel, TimesCLIPProcessor
from timesclip_hf.model.tower_configs import IMAGE_STATISTICS, TEXT_CONFIGS, VISION_CONFIGS, load_tower_config

SEASONS = np.random.default_rng(0).normal(size=(6, 12, 3))


def save_tower(folder: Path, family: str, **settings: Any) -> str:
    config_class, fields = (VISION_CONFIGS | TEXT_CONFIGS)[family], {**TINY_VISION, **TINY_TEXT}[family]
    AutoModel.from_config(config_class(**{**fields, **settings})).save_pretrained(folder / family)
    return str(folder / family)


@pytest.mark.parametrize("family", [family for family in TINY_VISION if family != "siglip_vision_model"])
def test_the_recipe_draws_what_each_family_was_trained_on(tmp_path: Path, family: str) -> None:
    size = {} if family == "resnet" else {"image_size": 48} if family != "swin" else {"image_size": 64}
    vision, text = save_tower(tmp_path, family, **size), save_tower(tmp_path, "bert")
    config = TimesCLIPConfig.from_vision_text_pretrained(vision, text, **SERIES)
    processor = TimesCLIPProcessor.from_config(config).fit(SEASONS, labels=np.arange(6.0))
    assert (processor.image_mean, processor.image_std) == tuple(map(list, IMAGE_STATISTICS[family]))
    assert processor.image_size == [size.get("image_size", 224)] * 2
    config = processor.complete_config(config)
    model = TimesCLIPForRegression.from_vision_text_pretrained(vision, text, config=config).eval()
    assert model(**processor(SEASONS)).predictions.shape == (6, 1)
    assert model.config.target_mean == [2.5] and model.starts_from_checkpoint
    loaded = AutoModel.from_pretrained(vision)
    name, weight = next((n, w) for n, w in loaded.named_parameters() if n.endswith("weight") and w.ndim > 1)
    assert torch.equal(dict(model.base_model.vision_tower.named_parameters())[name], weight)


def test_colours_named_by_the_checkpoint_win_over_the_familys(tmp_path: Path) -> None:
    vision = save_tower(tmp_path, "vit")
    own = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    Path(vision, "preprocessor_config.json").write_text(json.dumps(own))
    config = TimesCLIPConfig.from_vision_text_pretrained(vision, None, "vision_only", **SERIES)
    assert TimesCLIPProcessor.from_config(config).image_mean == [0.1, 0.2, 0.3]


def test_config_and_model_read_the_same_of_a_pair(tmp_path: Path) -> None:
    vision, text = TINY_VISION["clip_vision_model"], TINY_TEXT["clip_text_model"]
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text)).save_pretrained(tmp_path)
    config = TimesCLIPConfig.from_vision_text_pretrained(str(tmp_path), str(tmp_path), **SERIES)
    model = TimesCLIPModel.from_vision_text_pretrained(str(tmp_path), str(tmp_path), **SERIES)
    assert config.to_dict() | {"dtype": None} == model.config.to_dict() | {"dtype": None}
    assert config.vision_config.name_or_path == str(tmp_path)


def test_a_config_of_other_towers_is_refused_by_name(tmp_path: Path) -> None:
    bert, other = save_tower(tmp_path / "a", "bert"), save_tower(tmp_path / "b", "bert", num_hidden_layers=1)
    config = TimesCLIPConfig.from_vision_text_pretrained(None, bert, "text_only", **SERIES)
    with pytest.raises(ValueError, match="has another text tower than config"):
        TimesCLIPModel.from_vision_text_pretrained(None, other, config=config)
    with pytest.raises(ValueError, match="vision is .*, but config has no vision_config"):
        TimesCLIPModel.from_vision_text_pretrained(bert, bert, config=config)
    with pytest.raises(ValueError, match="belong into it"):
        TimesCLIPModel.from_vision_text_pretrained(None, bert, config=config, num_variates=3)
    with pytest.raises(ValueError, match="has no supported vision tower"):
        load_tower_config(bert, "vision")


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("clip_vision_model", {"hidden_size": 12 * 10**5, "intermediate_size": 10**6}),
        ("vit", {"num_hidden_layers": 1000, "hidden_size": 80_000}),
        ("clip_text_model", {"intermediate_size": 10**7, "hidden_size": 10**5}),
        ("bert", {"vocab_size": 10**7, "hidden_size": 10**5}),
        ("t5", {"d_model": 10**5, "d_ff": 10**7}),
        ("dinov2", {"image_size": 10**7}),
        ("resnet", {"hidden_sizes": [64, 10**7]}),
    ],
)
def test_a_tower_that_no_memory_holds_is_refused_before_it_is_built(family: str, sizes: dict[str, Any]) -> None:
    branch = "vision" if family in VISION_CONFIGS else "text"
    fields: dict[str, Any] = {"vision_config": None, "text_config": None, "alignment": None, "variate_selection": None}
    with pytest.raises(ValueError, match="beyond any"):
        TimesCLIPConfig(**{**fields, f"{branch}_config": {"model_type": family, **sizes}})


@pytest.mark.parametrize("config", [*VISION_CONFIGS.values(), *TEXT_CONFIGS.values()])
def test_published_sizes_pass(config: Any) -> None:
    huge = {
        "clip_vision_model": {"hidden_size": 1664, "num_attention_heads": 16, "num_hidden_layers": 48},
        "dinov2": {"hidden_size": 1536, "num_hidden_layers": 40, "patch_size": 14, "image_size": 518},
        "t5": {"d_model": 4096, "d_ff": 10240, "num_layers": 24},
        "bert": {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 48, "num_attention_heads": 40},
    }.get(config.model_type, {})
    branch = "vision" if config.model_type in VISION_CONFIGS else "text"
    fields: dict[str, Any] = {"vision_config": None, "text_config": None, "alignment": None, "variate_selection": None}
    TimesCLIPConfig(**{**fields, f"{branch}_config": {"model_type": config.model_type, **huge}})


def test_patches_that_no_memory_holds_are_refused_and_long_contexts_are_not() -> None:
    with pytest.raises(Exception, match="one series would become 3e.09 numbers"):
        TimesCLIPConfig(context_length=100_000, patch_length=50_000, patch_stride=1)
    with pytest.raises(Exception, match="would become 2e.09 numbers"):
        TimesCLIPConfig(num_variates=10**6, context_length=1000)
    TimesCLIPConfig(context_length=100_000, patch_length=1000, patch_stride=500)
    TimesCLIPConfig(num_variates=10_000, context_length=1000)


class Int8Linear(nn.Module):
    """As quantising libraries have it: the matrix is stored in int8, and computed with in fp32."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.scale = linear.weight.detach().abs().max() / 127
        self.weight = nn.Parameter((linear.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        assert inputs.is_floating_point()
        return nn.functional.linear(inputs, self.weight.float() * self.scale, self.bias)


@pytest.mark.parametrize("text", ["clip", "bert", "t5"])
@pytest.mark.parametrize("selection", ["gated", "cross_attention"])
def test_matrices_stored_in_int8_give_about_the_same_answer(
    make_case: Any, tiny_towers: Any, text: Any, selection: Any
) -> None:
    model, batch = make_case(TimesCLIPForRegression, **tiny_towers("clip", text), variate_selection=selection)
    with torch.no_grad():
        expected = model(**batch).predictions
        for name, module in list(model.named_modules()):
            if type(module) is nn.Linear:
                parent, _, own = name.rpartition(".")
                setattr(model.get_submodule(parent), own, Int8Linear(module))
        found = model(**batch).predictions
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.2, atol=0.2)
