# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Pretraining: goes on as if it had never stopped, learns, and leaves a checkpoint of the usual kind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from timesclip_hf import TimesCLIPConfig, TimesCLIPForPreTraining, TimesCLIPProcessor
from timesclip_hf.training.pretraining import PretrainingArguments, draw_rows, draw_shape, pretrain


def small_config(**fields: Any) -> TimesCLIPConfig:
    own: dict[str, Any] = {"vision_pooling": "cls_mean", "text_pooling": "cls_mean", "patch_tokenizer": "resampled"}
    return TimesCLIPConfig.from_preset("no_selection", towers="tiny", **{**own, "num_variates": 1, **fields})


def arguments(folder: Path, **more: Any) -> PretrainingArguments:
    few: dict[str, Any] = {"steps": 6, "batch_size": 16, "num_series": 64, "num_workers": 0, "device": "cpu"}
    return PretrainingArguments(str(folder), **{**few, "log_steps": 1, "save_steps": 2, **more})


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_interrupted_run_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole = pretrain(small_config(), arguments(tmp_path / "whole"))
    pretrain(small_config(), arguments(tmp_path / "parts", stop_after=3))
    assert len(losses(tmp_path / "parts")) == 3
    parts = pretrain(small_config(), arguments(tmp_path / "parts"))
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_run_of_other_arguments_is_not_gone_on_with(tmp_path: Path) -> None:
    pretrain(small_config(), arguments(tmp_path, stop_after=1))
    with pytest.raises(ValueError, match=r"another run \(seed 0 there, 1 here\): .* another output folder"):
        pretrain(small_config(), arguments(tmp_path, seed=1))


def test_what_a_killed_run_logged_behind_its_state_is_not_there_twice(tmp_path: Path) -> None:
    pretrain(small_config(), arguments(tmp_path, stop_after=2))
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    pretrain(small_config(), arguments(tmp_path, steps=6, stop_after=3))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3] and lines[2]["loss"] != 1.0


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_saved(tmp_path: Path) -> None:
    pretrain(small_config(), arguments(tmp_path, stop_after=2))
    before = (tmp_path / "model.safetensors").read_bytes()
    with (
        pytest.MonkeyPatch.context() as patched,
        pytest.raises(ValueError, match="the loss is nan at step 3: give a lower learning rate"),
    ):
        patched.setattr("timesclip_hf.training.pretraining.info_nce", lambda own, *_: own.sum() * float("nan"))
        pretrain(small_config(), arguments(tmp_path))
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_the_checkpoint_is_half_as_large_and_loads_like_any_other(tmp_path: Path) -> None:
    model = pretrain(small_config(), arguments(tmp_path, steps=2))
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    loaded = TimesCLIPForPreTraining.from_pretrained(tmp_path)
    processor = TimesCLIPProcessor.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    batch = processor(np.random.default_rng(0).normal(size=(3, 96, 1)))
    with torch.no_grad():
        found, expected = (each.eval()(**batch).text_embeds for each in (loaded, model))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_crops_of_a_series_are_found_again_after_some_steps(tmp_path: Path) -> None:
    pretrain(small_config(), arguments(tmp_path, steps=40, batch_size=32, num_series=512, save_steps=100))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    first, last = (
        {name: np.mean([line[name] for line in part]) for name in lines[0]} for part in (lines[:8], lines[-8:])
    )
    falls = {"text_mean_nce": 0.95, "text_cls_nce": 0.95, "vision_mean_nce": 0.97, "embeds_nce": 0.95}
    for name, share in {**falls, "text_mean_level": 0.6, "vision_mean_level": 0.6}.items():
        assert last[name] < share * first[name], name


def test_every_series_comes_once_before_any_comes_again() -> None:
    epoch = np.concatenate([draw_rows(100, 20, 0, step) for step in range(5)])
    after = np.concatenate([draw_rows(100, 20, 0, step) for step in range(5, 10)])
    assert sorted(epoch) == sorted(after) == list(range(100)) and not np.array_equal(epoch, after)


def test_shapes_change_from_step_to_step_within_their_bounds() -> None:
    shapes = [draw_shape(0, step) for step in range(2000)]
    lengths = [shape.context_length for shape in shapes]
    assert min(lengths) == 12 and max(lengths) == 384 and shapes[5] == draw_shape(0, 5)
    assert all(1 <= shape.patch_stride <= shape.patch_length <= shape.context_length for shape in shapes)
    assert max((s.context_length - s.patch_length) // s.patch_stride + 2 for s in shapes) < 64


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ({"patch_tokenizer": "linear"}, {}, "patch_tokenizer='resampled', got 1 and 'linear'"),
        ({"num_variates": 2}, {}, "one variate at a time.*got 2"),
        ({}, {"batch_size": 65}, "num_series=64 is less than batch_size=65"),
        ({}, {"batch_size": 3}, "batch_size=3: crops of 4 series at least"),
    ],
)
def test_what_cannot_be_pretrained_is_refused(config: dict, more: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        pretrain(small_config(**config), arguments(tmp_path, **more))
