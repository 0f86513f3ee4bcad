# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Objectives side by side: labels are what was planted, and each objective teaches both towers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.study.objectives import OBJECTIVES, planted
from timesclip_hf import TimesCLIPConfig
from timesclip_hf.data.synthetic import SHAPES
from timesclip_hf.training.pretraining import PretrainingArguments, pool_of_synthetic


def test_labels_are_what_was_planted() -> None:
    tasks = planted(40)
    series, level = tasks["level"]
    np.testing.assert_allclose(np.nanmean(series[..., 0], axis=1), level, atol=1e-9)
    raised, slope = tasks["slope"]
    line = (raised - series)[..., 0] + level[:, None]  # both stand on the same ground
    assert np.isfinite(line).any(axis=1).all()
    first, last = np.nanargmax(np.isfinite(line), axis=1), 95 - np.nanargmax(np.isfinite(line[:, ::-1]), axis=1)
    rows, rise = np.arange(40), 1.7 * 2 / 95 * (last - first) * slope
    np.testing.assert_allclose(line[rows, last] - line[rows, first], rise, atol=1e-9)
    assert np.bincount(tasks["shape"][1]).tolist() == [5] * len(SHAPES)
    assert np.exp(tasks["period"][1]).min() >= 4 and np.exp(tasks["period"][1]).max() <= 96


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_each_objective_teaches_both_towers(name: str, tmp_path: Path) -> None:
    pooling = {"vision_pooling": "cls_mean", "text_pooling": "cls_mean", "patch_tokenizer": "resampled"}
    config = TimesCLIPConfig.from_preset("no_selection", towers="tiny", num_variates=1, **pooling)
    arguments = PretrainingArguments(
        str(tmp_path), steps=2, batch_size=16, num_series=32, num_workers=0, device="cpu", learning_rate=1e-3
    )
    run = OBJECTIVES[name](config, arguments, pool_of_synthetic(arguments), None)
    before = {key: value.clone() for key, value in run.model.timesclip.named_parameters()}
    model = run.run()
    after = model.timesclip.named_parameters()
    learnt = {key.split(".")[0] for key, value in after if not torch.equal(value, before[key])}
    assert {"vision_tower", "text_tower", "tokenizer"} <= learnt
    assert all(torch.isfinite(value).all() for value in model.parameters())
