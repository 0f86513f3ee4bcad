# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Two crops of a series, on series whose crops can be worked out by hand."""

import math

import numpy as np
import pytest
import torch

from timesclip_hf import TimesCLIPProcessor
from timesclip_hf.training.crops import Shape, describe, draw, random_window, two_crops

SHAPE = Shape(context_length=24, patch_length=6, patch_stride=3, line_width=2.0)


def test_a_window_of_a_line_is_a_line_of_more_than_half_of_it() -> None:
    torch.manual_seed(0)
    series = torch.full((200, 90), math.nan)
    lengths = torch.randint(30, 91, (200,))
    for row, length in zip(series, lengths, strict=True):
        row[:length] = torch.arange(int(length)) / (length - 1)  # from 0 to 1
    windows = random_window(series, lengths, 17)
    assert windows.shape == (200, 17) and windows.min() >= 0 and windows.max() <= 1 + 1e-5
    widths = windows[:, -1] - windows[:, 0]
    assert 0.6 <= widths.min() < 0.65 and 0.95 < widths.max() <= 1
    torch.testing.assert_close(windows.diff(dim=1), (widths / 16)[:, None].expand(200, 16), atol=1e-5, rtol=0)


def test_a_gap_neither_grows_nor_shrinks() -> None:
    torch.manual_seed(0)
    series = torch.arange(100.0).repeat(50, 1)
    series[:, 40:60] = math.nan
    windows = random_window(series, torch.full((50,), 100), 400)
    step = (windows[:, -1] - windows[:, 0]) / 399
    missing = windows.isnan().sum(dim=1) * step
    assert ((missing - 20).abs() < 2 * step + 1e-3).all()


def test_level_spread_slope_and_period_are_those_of_numpy() -> None:
    time = np.linspace(-1, 1, 64)
    line, wave = 2 + 0.7 * time, np.cos(2 * np.pi * 8 * np.arange(64) / 64)
    values = torch.tensor(np.stack([line, 1.5 * wave, np.full(64, -3.0)]), dtype=torch.float32)
    said, counts = describe(values)
    np.testing.assert_allclose(said[0, :3], [2, line.std(), 0.7], rtol=1e-4)
    np.testing.assert_allclose(said[1, :2], [0, 1.5 / math.sqrt(2)], atol=1e-5)
    assert said[1, 3] == pytest.approx(math.log(8, 4) - 1, abs=1e-5) and counts[1, 3] == 1
    np.testing.assert_allclose(said[2, :3], [-3, 0, 0], atol=1e-6)
    assert counts[2].tolist() == [1, 1, 1, 0]  # a constant has no period


def series_of(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(count, 1))
    values = levels + rng.normal(size=(count, 80)).cumsum(axis=1) / 9
    return torch.tensor(values, dtype=torch.float32), torch.full((count,), 80)


def test_crops_have_the_shapes_of_the_processors_batches() -> None:
    torch.manual_seed(0)
    first, second = two_crops(*series_of(32), SHAPE)
    sizes = {"context_length": 24, "patch_length": 6, "patch_stride": 3, "image_size": 64}
    processor = TimesCLIPProcessor(**sizes, scaling="none", value_range="window", num_variates=1)
    batch = processor(np.zeros((32, 24, 1)))
    for crop in (first, second):
        assert crop.patch_values[:, None].shape == batch["patch_values"].shape
        assert crop.patch_mask[:, None].shape == batch["patch_mask"].shape
        assert torch.isfinite(crop.patch_values).all() and torch.isfinite(crop.drawn).all()
    images = draw(first.plot_values, processor, SHAPE)
    assert images[:, None].shape == batch["pixel_values"].shape and processor.line_width == 1.5


def test_both_crops_are_of_one_series_and_level_mostly_survives() -> None:
    torch.manual_seed(0)
    series, lengths = series_of(4000)
    first, second = two_crops(series, lengths, SHAPE)
    agree = np.corrcoef(first.said[:, 0], second.said[:, 0])[0, 1]
    assert agree > 0.8
    level = series.mean(dim=1).abs()
    kept = (first.said[:, 0].abs() - level).abs() < 0.5  # upside down or not
    assert 0.7 < kept.float().mean() < 1
    own_scale = ((first.said[:, 0].abs() < 0.05) & ((first.said[:, 1] - 1).abs() < 0.15)).float().mean()
    assert 0.1 < own_scale < 0.3
    positions = first.plot_values[~first.plot_values.isnan()]
    assert positions.min() >= -1e-4 and positions.max() <= 1 + 1e-4  # an axis that all of a series fits on
    whole = (first.plot_values.nan_to_num(0.5).amin(dim=1) < 1e-4) & (first.plot_values.nan_to_num().amax(1) > 0.999)
    assert 0.2 < whole.float().mean() < 0.35  # the others leave room on their axis
    missing = first.plot_values.isnan().any(dim=1).float().mean()
    assert 0.15 < missing < 0.4
