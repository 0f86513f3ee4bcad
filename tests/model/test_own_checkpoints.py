# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Towers and tokenizers that come from TimesCLIP models, saved anywhere or shipped with the package."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from timesclip_hf import (
    TOWERS,
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    pipeline_task,
)
from timesclip_hf.model import tower_configs

OTHER_SERIES = {"num_variates": 5, "context_length": 40, "patch_length": 9, "patch_stride": 5}


@pytest.fixture
def saved(tiny_config: Any, tmp_path: Path) -> Any:
    """`saved(**fields)`: the folder of a pretrained model of 3 variates, and the model."""

    def save(**fields: Any) -> tuple[str, Any]:
        torch.manual_seed(0)
        own = {"image_mean": [1.0, 0.9, 0.8], "image_std": [0.5, 0.4, 0.3], "freeze_vision": False}
        model = TimesCLIPForPreTraining(tiny_config(**{**own, "patch_tokenizer": "resampled", **fields}))
        model.save_pretrained(tmp_path / "own")
        return str(tmp_path / "own"), model.timesclip

    return save


def assert_same(part: Any, source: Any) -> None:
    expected = source.state_dict()
    assert expected and all(torch.equal(value, expected[name]) for name, value in part.state_dict().items())


def test_a_model_of_other_series_takes_towers_and_tokenizer(saved: Any) -> None:
    folder, source = saved()
    config = TimesCLIPConfig.from_vision_text_pretrained(folder, folder, "probe", **OTHER_SERIES)
    assert config.patch_tokenizer == "resampled" and config.num_variates == 5
    assert (config.image_mean, config.image_std) == ([1.0, 0.9, 0.8], [0.5, 0.4, 0.3])
    assert config.freeze_vision and config.projection_dim == 16  # the preset's word, and the checkpoint's
    model = TimesCLIPForRegression.from_vision_text_pretrained(folder, folder, config=config)
    for part in ("vision_tower", "text_tower", "tokenizer"):
        assert_same(getattr(model.timesclip, part), getattr(source, part))
    processor = TimesCLIPProcessor.from_config(config)
    batch = processor.fit(np.random.default_rng(0).normal(size=(4, 40, 5)))(np.zeros((2, 40, 5)))
    assert torch.isfinite(model.eval()(**batch).predictions).all() and model.starts_from_checkpoint


def test_the_text_branch_alone_can_be_taken(saved: Any) -> None:
    folder, source = saved()
    model = TimesCLIPForClassification.from_vision_text_pretrained(None, folder, "small", num_labels=4, **OTHER_SERIES)
    assert_same(model.timesclip.tokenizer, source.tokenizer)
    assert model.timesclip.vision_tower is None and model.config.projection_dim == 64  # the preset's


def test_a_linear_tokenizer_brings_the_patches_that_it_is_for(saved: Any) -> None:
    folder, source = saved(patch_tokenizer="linear")
    model = TimesCLIPForRegression.from_vision_text_pretrained(folder, folder, num_variates=2)
    assert_same(model.timesclip.tokenizer, source.tokenizer)
    assert (model.config.context_length, model.config.patch_length, model.config.patch_stride) == (12, 4, 2)
    with pytest.raises(ValueError, match="has a tokenizer of other patches than config"):
        TimesCLIPForRegression.from_vision_text_pretrained(folder, folder, **OTHER_SERIES)


def test_half_precision_weights_are_read_in_full(saved: Any) -> None:
    folder, source = saved()
    TimesCLIPForPreTraining.from_pretrained(folder).half().save_pretrained(folder)
    model = TimesCLIPForRegression.from_vision_text_pretrained(folder, folder, **OTHER_SERIES)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    for name, value in model.timesclip.text_tower.state_dict().items():
        torch.testing.assert_close(value, source.text_tower.state_dict()[name].half().float())


def test_a_branch_that_a_checkpoint_lacks_is_named(tiny_config: Any, tmp_path: Path) -> None:
    TimesCLIPForRegression(tiny_config("small")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'timesclip', which has no supported vision tower"):
        TimesCLIPConfig.from_vision_text_pretrained(str(tmp_path), str(tmp_path))


def test_what_ships_is_found_by_name_unless_a_folder_is_called_so(
    saved: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, source = saved()
    (tmp_path / "weights").mkdir()
    Path(folder).rename(tmp_path / "weights" / "timesclip-small")
    monkeypatch.setattr(tower_configs, "WEIGHTS", tmp_path / "weights")
    name = "timesclip-small"
    model = TimesCLIPForRegression.from_vision_text_pretrained(name, name, **OTHER_SERIES)
    assert_same(model.timesclip.text_tower, source.text_tower)
    assert model.config.text_config.name_or_path == name  # not a folder of this machine
    (tmp_path / "here" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="timesclip-small is of model type None"):
        TimesCLIPForRegression.from_vision_text_pretrained(name, name, **OTHER_SERIES)


@pytest.mark.parametrize("folder", sorted(tower_configs.WEIGHTS.glob("*/")), ids=lambda folder: folder.name)
def test_what_ships_is_small_half_precision_and_what_its_name_builds(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 8 * 2**20
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118
    named = TimesCLIPConfig.from_preset("late", towers=folder.name, **OTHER_SERIES)
    found = TimesCLIPConfig.from_vision_text_pretrained(folder.name, folder.name, "late", **OTHER_SERIES)
    assert folder.name in TOWERS
    for own, other in (
        (named, found),
        (named.vision_config, found.vision_config),
        (named.text_config, found.text_config),
    ):
        differ = {key for key, value in own.to_dict().items() if other.to_dict().get(key) != value}
        assert differ <= {"_name_or_path", "dtype", "vision_config", "text_config"}


@pytest.mark.parametrize("change", ["cut", "longer", "zeros"])
def test_damaged_weights_are_named(saved: Any, change: str) -> None:
    folder, _ = saved()
    file = Path(folder, "model.safetensors")
    content = file.read_bytes()
    file.write_bytes({"cut": content[:-9], "longer": content + b"x", "zeros": bytes(len(content))}[change])
    with pytest.raises(OSError, match=r"own: model\.safetensors damaged or cut"):
        TimesCLIPForPreTraining.from_pretrained(folder)
    with pytest.raises(OSError, match=r"own: model\.safetensors damaged or cut"):
        TimesCLIPForRegression.from_vision_text_pretrained(folder, folder, num_variates=3)


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_folder_without_a_configuration_is_no_model_of_default_settings(saved: Any, content: str | None) -> None:
    folder, _ = saved()
    Path(folder, "config.json").unlink()
    if content is not None:
        Path(folder, "config.json").write_text(content)
    for load in (TimesCLIPConfig.from_pretrained, TimesCLIPForPreTraining.from_pretrained):
        with pytest.raises(OSError, match=r"own has no config\.json, or an empty one"):
            load(folder)


def test_a_processor_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    TimesCLIPProcessor(12, 4, 2).save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    file.write_bytes(file.read_bytes().replace(b"12", b"1\xb2"))
    with pytest.raises(ValueError, match=r"processor_config\.json is no JSON: 'utf-8' codec"):
        TimesCLIPProcessor.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", [[], {"a": 1}])
def test_a_model_type_that_is_no_name_is_named(saved: Any, kind: Any) -> None:
    folder, _ = saved()
    file = Path(folder, "config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": kind}))
    for load in (TimesCLIPForPreTraining.from_pretrained, pipeline_task):
        with pytest.raises(ValueError, match=r"config\.json"):
            load(folder)
