# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The views beside the line plot, against their definitions written as plain NumPy loops."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from timesclip_hf import TimesCLIPProcessor
from timesclip_hf.model import rendering
from timesclip_hf.model.rendering import render_line
from timesclip_hf.model.views import (
    VIEWS,
    register_view,
    render_gadf,
    render_gasf,
    render_mtf,
    render_recurrence,
    render_spectrogram,
    render_stacked,
)

NEW = {name: view for name, view in VIEWS.items() if name != "line"}
PAIRS = {name: view for name, view in NEW.items() if name not in ("spectrogram", "stacked")}


# --- references: (T,) values to a (T, T) or (F, T) matrix, entry (0, 0) first


def gasf(x: np.ndarray) -> np.ndarray:
    phi = np.arccos(2 * x - 1)
    return np.array([[(1 + math.cos(a + b)) / 2 for b in phi] for a in phi])


def gadf(x: np.ndarray) -> np.ndarray:
    phi = np.arccos(2 * x - 1)
    return np.array([[(1 + math.sin(a - b)) / 2 for b in phi] for a in phi])


def mtf(x: np.ndarray, num_bins: int = 8) -> np.ndarray:
    seen = x[~np.isnan(x)]
    borders = [np.quantile(seen, k / num_bins) for k in range(1, num_bins)]
    bins = [sum(value > border for border in borders) for value in x]
    counts = np.zeros((num_bins, num_bins))
    for t in range(len(x) - 1):
        if not np.isnan(x[t : t + 2]).any():
            counts[bins[t], bins[t + 1]] += 1
    for row in counts:
        row /= max(row.sum(), 1)
    return np.array([[counts[a, b] for b in bins] for a in bins])


def recurrence(x: np.ndarray) -> np.ndarray:
    return np.array([[1 - min(abs(a - b), 1) for b in x] for a in x])


def spectrogram(x: np.ndarray, length: int, dynamic_range: float = 40.0) -> np.ndarray:
    """A windowed sum of sines and cosines around every step, in decibels below the peak."""
    x = x - x.mean()
    half = length // 2
    padded = np.concatenate([x[half:0:-1], x, x[-2 : -2 - half : -1]])
    window = [math.sin(math.pi * n / length) ** 2 for n in range(length)]
    size = np.zeros((half + 1, len(x)))
    for k in range(half + 1):
        for t in range(len(x)):
            wave = [np.exp(-2j * math.pi * k * n / length) * window[n] * padded[t + n] for n in range(length)]
            size[k, t] = abs(sum(wave))
    return np.clip(1 + 20 * np.log10(np.maximum(size / size.max(), 1e-30)) / dynamic_range, 0, 1)


REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gasf": gasf,
    "gadf": gadf,
    "mtf": mtf,
    "recurrence": recurrence,
}


def image(view: Callable[..., Tensor], x: np.ndarray, height: int, width: int, **options: float) -> np.ndarray:
    """The view of one series, turned over: row 0 is the bottom, as in the references."""
    return view(torch.from_numpy(x)[None], height, width, **options)[0].numpy()[::-1]


def series(num_steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(num_steps)


# --- definitions


def test_the_seven_views_have_their_documented_names() -> None:
    assert list(VIEWS) == ["line", "gasf", "gadf", "mtf", "recurrence", "spectrogram", "stacked"]
    assert VIEWS["line"] is render_line


@pytest.mark.parametrize("num_steps", [2, 3, 17, 36])
@pytest.mark.parametrize("name", PAIRS)
def test_a_pixel_for_each_pair_of_steps_holds_the_definition(name: str, num_steps: int) -> None:
    x = series(num_steps)
    found = image(VIEWS[name], x, num_steps, num_steps)
    np.testing.assert_allclose(found, REFERENCES[name](x), atol=2e-6)


@pytest.mark.parametrize("num_bins", [2, 3, 5, 8, 20])
def test_the_markov_field_counts_transitions_between_any_number_of_bins(num_bins: int) -> None:
    x = series(33)
    np.testing.assert_allclose(image(render_mtf, x, 33, 33, num_bins=num_bins), mtf(x, num_bins), atol=1e-6)


def test_a_markov_field_worked_by_hand() -> None:
    # The median of the four is 0.25, so the bins are low, low, high, high; low goes once to low, once to high.
    x = np.array([0.0, 0.125, 0.375, 1.0])
    expected = [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 1, 1]]
    np.testing.assert_array_equal(image(render_mtf, x, 4, 4, num_bins=2), expected)


def test_values_on_a_border_belong_to_the_lower_bin() -> None:
    # Of 11 steps in 5 bins the borders are the third, fifth, seventh and ninth smallest values themselves.
    x = np.array([3, 0, 7, 10, 1, 9, 4, 2, 8, 5, 6]) / 10
    bins = np.array([1, 0, 3, 4, 0, 4, 1, 0, 3, 2, 2])
    counts = np.zeros((5, 5))
    np.add.at(counts, (bins[:-1], bins[1:]), 1)
    shares = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(image(render_mtf, x, 11, 11, num_bins=5), shares[bins][:, bins], atol=1e-6)


def test_the_markov_field_ignores_the_axis() -> None:
    x = torch.rand(4, 30)
    torch.testing.assert_close(render_mtf(x, 20, 20), render_mtf(x / 4 + 0.5, 20, 20))


@pytest.mark.parametrize(("num_steps", "length"), [(24, 12), (25, 12), (36, 8), (36, 36), (13, 7), (2, 2)])
def test_a_spectrogram_is_the_windowed_fourier_magnitude_in_decibels(num_steps: int, length: int) -> None:
    x = series(num_steps)
    found = image(render_spectrogram, x, length // 2 + 1, num_steps, window_length=length)
    np.testing.assert_allclose(found, spectrogram(x, length), atol=1e-3)
    steep = image(render_spectrogram, x, length // 2 + 1, num_steps, window_length=length, dynamic_range=20.0)
    np.testing.assert_allclose(steep, spectrogram(x, length, 20.0), atol=1e-3)


@pytest.mark.parametrize(("num_steps", "length"), [(2, 2), (5, 2), (12, 6), (39, 18), (96, 48)])
def test_a_spectrograms_window_is_half_of_the_series_by_default(num_steps: int, length: int) -> None:
    x = torch.rand(2, num_steps)
    assert torch.equal(render_spectrogram(x, 20, 20), render_spectrogram(x, 20, 20, window_length=length))


@pytest.mark.parametrize("period", [3, 4, 6, 12])
def test_a_sines_energy_lies_in_the_row_of_its_frequency(period: int) -> None:
    x = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(96) / period + 1)
    inner = image(render_spectrogram, x, 100, 96)[:, 24:72]  # beyond, windows see the mirrored end
    band = (48 // period + 0.5) / 25 * 100  # 48 steps hold 48 / period cycles; 25 bands from the bottom
    rows = np.arange(100) + 0.5
    assert np.abs((inner * rows[:, None]).sum(0) / inner.sum(0) - band).max() < 0.1
    np.testing.assert_allclose(inner[int(band)], 1, atol=0.05)
    assert not inner[np.abs(rows - band) > 12].any()  # a Hann window's main lobe: a band on either side


def test_a_burst_lies_in_its_time_in_the_spectrogram() -> None:
    x = np.full(96, 0.5)
    x[70:80] += 0.4 * np.cos(np.pi * np.arange(10))
    ink = image(render_spectrogram, x, 64, 96, window_length=8).sum(0)
    assert (ink * (np.arange(96) + 0.5)).sum() / ink.sum() == pytest.approx(75, abs=0.5)


@pytest.mark.parametrize(
    ("num_steps", "size", "step"), [(1, 1, 1), (36, 6, 1), (50, 7, 1), (130, 11, 1), (500, 22, 2)]
)
def test_stacked_windows_are_rows_of_the_root_of_the_length_a_tenth_of_it_apart(
    num_steps: int, size: int, step: int
) -> None:
    x = series(num_steps)
    missing = -(num_steps - size) % step
    padded = np.concatenate([np.full(missing, x[0]), x])
    rows = np.stack([padded[first : first + size] for first in range(0, len(padded) - size + 1, step)]) ** 0.8
    assert rows[-1, -1] == pytest.approx(x[-1] ** 0.8)  # the newest step is there
    for height, width in ((len(rows), size), (64, 48), (5, 3)):
        picked = rows[np.arange(height) * len(rows) // height][:, np.arange(width) * size // width]
        np.testing.assert_allclose(image(render_stacked, x, height, width)[::-1], picked, atol=1e-6)


def test_a_stacked_gap_is_black() -> None:
    x = torch.ones(1, 9)
    x[0, 4] = math.nan
    assert render_stacked(x, 7, 3)[0].tolist() == [
        [1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1],
    ]  # fmt: skip


# --- geometry


def test_time_runs_right_and_up() -> None:
    x = torch.tensor([[0.0, 1.0, 1.0, 0.5]])
    picture = render_gadf(x, 4, 4)[0]
    assert picture[3, 3] == pytest.approx(1.0)  # step 0 at the bottom, step 3 at the right: sin(pi - pi / 2)
    assert picture[0, 0] == pytest.approx(0.0, abs=1e-6)  # step 3 at the top, step 0 at the left


def box_shares(count: int, size: int) -> np.ndarray:
    """How much of each pixel each step covers, counted on `count * size` slices."""
    slices = np.arange(count * size)
    shares = np.zeros((size, count))
    np.add.at(shares, (slices // count, slices // size), 1 / count)
    return shares


def linear_shares(count: int, size: int) -> np.ndarray:
    """What `np.interp` makes of each step alone at the pixels' centres."""
    at, steps = (np.arange(size) + 0.5) * count / size, np.arange(count) + 0.5
    return np.stack([np.interp(at, steps, np.eye(count)[step]) for step in range(count)], axis=1)


@pytest.mark.parametrize(("height", "width"), [(30, 30), (13, 20), (64, 50), (20, 64), (1, 1)])
@pytest.mark.parametrize("name", PAIRS)
def test_more_steps_than_pixels_are_averaged_by_area_and_fewer_interpolated(
    name: str, height: int, width: int
) -> None:
    x = series(30)
    rows, columns = (box_shares(30, n) if n < 30 else linear_shares(30, n) for n in (height, width))
    expected = rows @ REFERENCES[name](x) @ columns.T
    np.testing.assert_allclose(image(VIEWS[name], x, height, width), expected, atol=3e-6)


@pytest.mark.parametrize(("height", "width"), [(5, 11), (40, 100)])
def test_a_spectrogram_is_fitted_in_the_same_way(height: int, width: int) -> None:
    x = series(30)
    rows = box_shares(8, height) if height < 8 else linear_shares(8, height)
    columns = box_shares(30, width) if width < 30 else linear_shares(30, width)
    expected = rows @ spectrogram(x, 14) @ columns.T
    np.testing.assert_allclose(image(render_spectrogram, x, height, width), expected, atol=1e-3)


# --- gaps and corner cases


@pytest.mark.parametrize(("height", "width"), [(20, 20), (7, 10), (33, 51), (5, 64)])
@pytest.mark.parametrize("name", PAIRS)
def test_a_pixel_carries_ink_only_where_no_missing_step_has_a_share(name: str, height: int, width: int) -> None:
    x = series(20)
    x[[3, 12, 13]] = np.nan
    rows, columns = (box_shares(20, n) if n < 20 else linear_shares(20, n) for n in (height, width))
    clean = ~((rows[:, np.isnan(x)] > 1e-9).any(1)[:, None] | (columns[:, np.isnan(x)] > 1e-9).any(1))
    expected = rows @ np.nan_to_num(REFERENCES[name](x)) @ columns.T * clean
    assert clean.any() and not clean.all()
    np.testing.assert_allclose(image(VIEWS[name], x, height, width), expected, atol=3e-6)
    assert not image(VIEWS[name], x, height, width)[~clean].any()


def test_a_spectrogram_draws_straight_lines_over_gaps() -> None:
    x = series(30)
    gappy = x.copy()
    gappy[[0, 1, 7, 8, 9, 29]] = np.nan
    seen = ~np.isnan(gappy)
    filled = np.interp(np.arange(30), np.flatnonzero(seen), gappy[seen])
    np.testing.assert_allclose(
        image(render_spectrogram, gappy, 20, 30), image(render_spectrogram, filled, 20, 30), atol=1e-4
    )


@pytest.mark.parametrize("name", NEW)
def test_a_series_without_observed_values_is_blank(name: str) -> None:
    values = torch.stack([torch.full((12,), math.nan), torch.rand(12)])
    picture = VIEWS[name](values, 32, 24)
    assert not picture[0].any() and picture[1].any()


@pytest.mark.parametrize("num_steps", [1, 2, 36])
@pytest.mark.parametrize("level", [0.0, 0.1, 0.5, 0.7, 1.0])
def test_constant_series_are_even(level: float, num_steps: int) -> None:
    values = torch.full((2, num_steps), level)
    cosine = 2 * (2 * level - 1) ** 2 - 1  # of twice the angle
    expected = {
        "gasf": (1 + cosine) / 2,
        "gadf": 0.5,
        "mtf": float(num_steps > 1),  # one step alone has no transition
        "recurrence": 1.0,
        "spectrogram": 0.0,
    }
    for name, ink in expected.items():
        torch.testing.assert_close(VIEWS[name](values, 24, 30), torch.full((2, 24, 30), ink), atol=1e-5, rtol=0)


def test_rounding_noise_of_a_constant_series_is_no_spectrum() -> None:
    values = torch.full((1, 36), 0.7)
    values[:, ::2] += 1e-7
    assert not render_spectrogram(values, 24, 24).any()


@pytest.mark.parametrize("name", NEW)
def test_no_plots_give_no_images(name: str) -> None:
    assert VIEWS[name](torch.empty(0, 36), 32, 48).shape == (0, 32, 48)


def test_values_beyond_the_axis_count_as_its_ends_or_as_far_apart() -> None:
    beyond, ends = torch.tensor([[-0.5, 0.25, 0.75, 3.0]]), torch.tensor([[0.0, 0.25, 0.75, 1.0]])
    assert torch.equal(render_gasf(beyond, 9, 9), render_gasf(ends, 9, 9))
    assert torch.equal(render_gadf(beyond, 9, 9), render_gadf(ends, 9, 9))
    expected = recurrence(beyond[0].numpy())
    np.testing.assert_allclose(image(render_recurrence, beyond[0].numpy(), 4, 4), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", NEW)
def test_huge_excursions_give_finite_ink(name: str, dtype: torch.dtype) -> None:
    values = torch.tensor([[0.5, torch.finfo(dtype).max, 0.5, torch.finfo(dtype).min, 0.5]], dtype=dtype)
    picture = VIEWS[name](values, 16, 16)
    assert picture.isfinite().all() and picture.min() >= 0 and picture.max() <= 1


SOME_VALUES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 40)),
    elements=st.one_of(st.floats(-0.5, 1.5, width=32), st.just(float("nan"))),
)


@pytest.mark.parametrize("name", NEW)
@settings(max_examples=60, deadline=None)
@given(values=SOME_VALUES, height=st.integers(1, 50), width=st.integers(1, 50))
def test_any_values_give_intensities_in_range(name: str, values: np.ndarray, height: int, width: int) -> None:
    picture = VIEWS[name](torch.from_numpy(values), height, width)
    assert picture.shape == (len(values), height, width)
    assert picture.isfinite().all() and picture.min() >= 0 and picture.max() <= 1


# --- tensors


@pytest.mark.parametrize("name", NEW)
def test_a_plot_does_not_depend_on_the_rest_of_a_batch_or_on_chunks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = torch.rand(23, 50)
    values[::3, 7] = math.nan
    together = VIEWS[name](values, 32, 40)
    monkeypatch.setattr(rendering, "_CHUNK_BYTES_CPU", 1)  # a plot at a time
    torch.testing.assert_close(VIEWS[name](values, 32, 40), together, atol=1e-6, rtol=0)
    monkeypatch.undo()
    for index in (0, 11, 22):
        torch.testing.assert_close(VIEWS[name](values[index][None], 32, 40)[0], together[index], atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", NEW)
def test_dtype_and_device_are_kept_and_arithmetic_is_float32(name: str, dtype: torch.dtype) -> None:
    values = torch.rand(3, 20).to(dtype)
    picture = VIEWS[name](values, 32, 32)
    assert picture.dtype == dtype and picture.device == values.device
    assert torch.equal(picture, VIEWS[name](values.float(), 32, 32).to(dtype))


@pytest.mark.parametrize("name", NEW)
def test_autocast_gradients_and_strides_change_nothing(name: str) -> None:
    values = torch.rand(20, 3)
    expected = VIEWS[name](values.T.contiguous(), 32, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        picture = VIEWS[name](values.clone().requires_grad_().T, 32, 24)
    assert picture.dtype == torch.float32 and not picture.requires_grad
    torch.testing.assert_close(picture, expected, atol=1e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NEW)
def test_an_accelerator_draws_the_same(name: str) -> None:
    values = torch.rand(300, 96)
    values[::3, 7] = math.nan
    found = VIEWS[name](values.cuda(), 224, 200)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), VIEWS[name](values, 224, 200), atol=1e-3, rtol=0)


# --- faults


@pytest.mark.parametrize("name", NEW)
def test_wrong_shapes_types_and_sizes_raise(name: str) -> None:
    for values in (torch.rand(5), torch.rand(2, 0), torch.rand(2, 3, 4), torch.ones(2, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"values must be a floating point tensor of shape \(N, T\)"):
            VIEWS[name](values, 8, 8)
    with pytest.raises(ValueError, match="height must be a whole number of pixels, at least 1, got 0"):
        VIEWS[name](torch.rand(2, 9), 0, 8)
    with pytest.raises(ValueError, match="width .* got 8.0"):
        VIEWS[name](torch.rand(2, 9), 8, 8.0)


def test_settings_out_of_range_raise() -> None:
    values = torch.rand(2, 9)
    for number in (1, 2.5, True):
        with pytest.raises(ValueError, match=f"num_bins must be a whole number, at least 2, got {number}"):
            render_mtf(values, 8, 8, num_bins=number)
    for length in (1, 10, 4.0):
        with pytest.raises(ValueError, match=f"window_length must be from 2 to the series' 9 steps, got {length}"):
            render_spectrogram(values, 8, 8, window_length=length)
    for decibels in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="dynamic_range must be a positive number"):
            render_spectrogram(values, 8, 8, dynamic_range=decibels)


def own_view(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Its mean as one grey."""
    return values.nanmean(dim=1)[:, None, None].expand(-1, height, width).clamp(0, 1)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("timesclip_hf.model.views.VIEWS", dict(VIEWS))
    monkeypatch.setattr("timesclip_hf.model.views.OWN_VIEWS", owned := set())
    monkeypatch.setattr("timesclip_hf.model.processor_checks.OWN_VIEWS", owned)
    register_view("grey", own_view)
    return "grey"


def test_a_view_of_one_s_own_is_drawn_saved_and_asked_for_where_it_is_not_known(
    registered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = TimesCLIPProcessor(8, 4, 2, image_size=16, view=registered, scaling="none", value_range="window")
    series = np.linspace(0, 1, 8)[None, :, None]
    image = processor.to_images(processor(series)["pixel_values"])[0, 0]
    ink = np.array([0x1F, 0x77, 0xB4]) / 255  # the first variate's colour, half of it on white
    np.testing.assert_allclose(image[0, 0], (255 * (1 + 0.5 * (ink - 1))).round(), atol=1)
    processor.save_pretrained(tmp_path)
    again = TimesCLIPProcessor.from_pretrained(tmp_path)
    assert torch.equal(again(series)["pixel_values"], processor(series)["pixel_values"])
    monkeypatch.setattr("timesclip_hf.model.processor_checks.OWN_VIEWS", set())
    with pytest.raises(
        ValueError, match=r"got 'grey'; one of your own is known after register_view\(name, function\)"
    ):
        TimesCLIPProcessor.from_pretrained(tmp_path)


def test_a_function_that_draws_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="name must be letters, digits and underscores, and none of"):
        register_view("line", own_view)
    with pytest.raises(ValueError, match=r"draws \(2, 6\) of two series at 8 x 10 pixels, expected \(2, 8, 10\)"):
        register_view("flat", lambda values, height, width: values)
    with pytest.raises(ValueError, match="intensities outside of 0 to 1, or no numbers"):
        register_view("gaps", lambda values, height, width: values.sum(dim=1)[:, None, None].expand(-1, height, width))
    assert "flat" not in VIEWS and "gaps" not in VIEWS


def test_views_beside_each_other_are_what_each_draws_in_its_own_place(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 20, 3)).cumsum(axis=1)
    shape = {"context_length": 20, "patch_length": 4, "patch_stride": 4}
    processor = TimesCLIPProcessor(**shape, image_size=[40, 33], view="line+gasf+recurrence", scaling="instance")
    processor.save_pretrained(tmp_path)
    processor = TimesCLIPProcessor.from_pretrained(tmp_path)
    found = processor(values)["pixel_values"]
    assert found.shape == (2, 3, 3, 40, 33)
    for number, view in enumerate(["line", "gasf", "recurrence"]):  # two rows of two: 20 x 16 pixels each
        alone = TimesCLIPProcessor(**shape, image_size=[20, 16], view=view, scaling="instance")(values)["pixel_values"]
        top, left = 20 * (number // 2), 16 * (number % 2)
        assert torch.equal(found[..., top : top + 20, left : left + 16], alone)
    paper = (1 - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std)
    rest = found[..., 20:, 16:]
    torch.testing.assert_close(rest, paper[:, None, None].expand_as(rest))
    grid = TimesCLIPProcessor(**shape, image_size=[80, 66], view="line+gasf", scaling="instance", layout="grid")
    assert grid(values)["pixel_values"].shape == (2, 1, 3, 80, 66)
    for wrong, told in (
        ("line+star", "got 'star'"),
        ("line+stacked", "stands in an image alone"),
        ("line+", "got ''"),
    ):
        with pytest.raises(ValueError, match=told):
            TimesCLIPProcessor(**shape, view=wrong)
    with pytest.raises(ValueError, match=r"view='line\+gasf' would leave 6 x 12 pixels for each view, and 8 are the"):
        TimesCLIPProcessor(**shape, image_size=12, view="line+gasf", scaling="instance")(values)


def test_three_views_are_the_colours_of_one_image(tmp_path: Path) -> None:
    views = ["line", "gasf", "recurrence"]
    settings = {"image_size": [20, 24], "scaling": "none", "value_range": "window"}
    series = np.random.default_rng(0).normal(size=(2, 10, 3))
    processor = TimesCLIPProcessor(10, 4, 2, view=views, **settings)
    plots = processor(series, draw=False)["plot_values"]
    images = processor.to_images(processor(series)["pixel_values"])
    for colour, view in enumerate(views):
        ink = VIEWS[view](plots.reshape(-1, 10), 20, 24).reshape(2, 3, 20, 24).numpy()
        np.testing.assert_allclose(images[..., colour], 255 * (1 - ink), atol=0.51)
    processor.save_pretrained(tmp_path)
    assert TimesCLIPProcessor.from_pretrained(tmp_path).view == views
    with pytest.raises(ValueError, match="view must be a name, or a list of three, one for each colour"):
        TimesCLIPProcessor(10, 4, 2, view=["line", "gasf"])
    grid = TimesCLIPProcessor(10, 4, 2, view=views, layout="grid", **{**settings, "image_size": 48})
    assert grid(series)["pixel_values"].shape == (2, 1, 3, 48, 48)
