# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""JSON that is damaged or a stranger's: the file is named, and nothing that it names is loaded."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig, CLIPConfig

from timesclip_hf import (
    NumpyProcessor,
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    lora_config,
    pipeline_task,
)
from timesclip_hf.model.json_objects import check_depth, parse_object


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [49, 60, 500, 3000, 200_000])
@pytest.mark.parametrize("kind", ["lists", "objects"])
def test_objects_of_any_depth_are_read_or_refused(depth: int, kind: str) -> None:
    text = nested(depth - 1) if kind == "lists" else '{"a":' * (depth - 1) + "1" + "}" * (depth - 1)
    text = f'{{"a": {text}}}'
    if depth < 50:
        assert list(parse_object(text)) == ["a"]
        return
    with pytest.raises(ValueError, match="it is nested too deeply"):
        parse_object(text)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"x"', "NaN", '{"a" 1}', "\x00"])
def test_what_is_no_object_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="it (is no JSON|holds a .* instead of an object)"):
        parse_object(text)


def test_wide_objects_are_not_deep_ones() -> None:
    check_depth({str(k): [[k]] * 100 for k in range(1000)})


@pytest.fixture
def saved(tiny_config: Any, tmp_path: Path) -> Callable[[str, Any], Path]:
    """`saved(file, change)`: a folder of model and processor, one of whose files was changed."""
    processor = TimesCLIPProcessor.from_config(tiny_config("small")).fit(
        np.random.default_rng(0).normal(size=(4, 12, 3))
    )
    TimesCLIPForRegression(processor.complete_config(tiny_config("small"))).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)

    def change(file: str, fields: dict[str, Any], inside: str | None = None) -> Path:
        content = json.loads((tmp_path / file).read_text())
        (content[inside] if inside else content).update(fields)
        (tmp_path / file).write_text(json.dumps(content).replace('"DEEP"', nested(sys.getrecursionlimit() * 2)))
        return tmp_path

    return change


@pytest.mark.parametrize("deep", [[[]] * 2, "DEEP"])
def test_files_that_are_nested_too_deeply_are_named(saved: Any, deep: Any) -> None:
    if deep != "DEEP":
        for _ in range(200):
            deep = [deep]
    folder = saved("config.json", {"unknown": deep})
    for load in (TimesCLIPConfig.from_pretrained, TimesCLIPForRegression.from_pretrained, pipeline_task):
        with pytest.raises(ValueError, match="config.json cannot be read: it is nested too deeply"):
            load(folder)
    folder = saved("processor_config.json", {"statistics": deep})
    for load in (TimesCLIPProcessor.from_pretrained, NumpyProcessor.from_pretrained):
        with pytest.raises(ValueError, match="processor_config.json cannot be read: it is nested too deeply"):
            load(folder)


@pytest.mark.parametrize(
    "kernel", ["org/repo", "kernels-community/flash-attn", "flash_attention_3", {"": "org/repo"}, 3]
)
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_experts_implementation_internal"])
@pytest.mark.parametrize("inside", [None, "text_config"])
def test_a_file_does_not_choose_code_to_run(saved: Any, kernel: Any, key: str, inside: str | None) -> None:
    folder = saved("config.json", {key: kernel}, inside)
    for load in (AutoConfig.from_pretrained, TimesCLIPForRegression.from_pretrained, pipeline_task):
        with pytest.raises(ValueError, match=f"{key} of .*config.* is .*load code"):
            load(folder)


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_a_file_may_ask_for_what_transformers_has(saved: Any, name: str) -> None:
    model = TimesCLIPForRegression.from_pretrained(saved("config.json", {"attn_implementation": name}))
    assert model.config._attn_implementation == name


def test_a_checkpoint_of_towers_does_not_choose_it_either(tmp_path: Path) -> None:
    CLIPConfig().save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    for place in (content, content["vision_config"]):
        place["attn_implementation"] = "org/repo"
        (tmp_path / "config.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="attn_implementation of .* is 'org/repo'"):
            TimesCLIPConfig.from_vision_text_pretrained(str(tmp_path), str(tmp_path), num_variates=3)
        del place["attn_implementation"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is no JSON"),
        ("[]", "holds a list instead"),
        ("{}", "base_model_name_or_path must name the base model, found None"),
        ('{"base_model_name_or_path": ["a"]}', r"found \['a'\]"),
        (f'{{"base_model_name_or_path": {nested(100_000)}}}', "nested too deeply"),
    ],
)
def test_a_malformed_adapter_is_named(saved: Any, tmp_path: Path, text: str, words: str) -> None:
    folder = saved("config.json", {})
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text(text)
    for load in (pipeline_task, TimesCLIPForRegression.from_pretrained):
        with pytest.raises(ValueError, match=f"adapter_config.json cannot be read: .*{words}"):
            load(folder)


@pytest.mark.parametrize("fields", [{"peft_type": "FOO"}, {"peft_type": None}, {"r": "x"}, {"r": -1}])
def test_an_adapter_of_settings_that_there_are_not_is_refused(saved: Any, tmp_path: Path, fields: Any) -> None:
    peft = pytest.importorskip("peft")
    base = TimesCLIPForRegression.from_pretrained(saved("config.json", {}))
    folder = tmp_path / "adapter"
    peft.get_peft_model(base, lora_config(base, r=2)).save_pretrained(folder)
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**content, **fields}))
    with pytest.raises(ValueError):
        TimesCLIPForRegression.from_pretrained(folder)
