"""Arithmetic on raw series, checked against NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from timesclip_hf.model.preprocessing import cut_patches, fill_missing, fit_length, instance_statistics, observed_range


@st.composite
def gappy_series(draw: st.DrawFn) -> np.ndarray:
    """(B, T, V) float64, NaN for missing, with at least one observed step in each series."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 3)))
    # float32 numbers: the squares of far smaller ones would vanish in NumPy itself.
    values = draw(arrays(np.float64, shape, elements=st.floats(-1000, 1000, width=32)))
    missing = draw(arrays(np.bool_, shape))
    missing[:, draw(st.integers(0, shape[1] - 1))] = False
    return np.where(missing, np.nan, values)


@settings(max_examples=60, deadline=None)
@given(gappy_series())
def test_gaps_are_filled_as_numpy_interpolates(values: np.ndarray) -> None:
    filled = fill_missing(torch.from_numpy(values), ~torch.from_numpy(np.isnan(values))).numpy()
    steps = np.arange(values.shape[1])
    for sample in range(values.shape[0]):
        for variate in range(values.shape[2]):
            series = values[sample, :, variate]
            seen = ~np.isnan(series)
            expected = np.interp(steps, steps[seen], series[seen])  # holds the ends
            np.testing.assert_allclose(filled[sample, :, variate], expected, rtol=1e-10, atol=1e-9)


def test_filled_series_by_hand() -> None:
    values = torch.tensor([99.0, 1.0, 99.0, 99.0, 4.0, 99.0]).view(1, 6, 1)
    observed = torch.tensor([False, True, False, False, True, False]).view(1, 6, 1)
    assert fill_missing(values, observed).flatten().tolist() == [1, 1, 2, 3, 4, 4]


def test_a_series_with_nothing_observed_is_filled_with_zero() -> None:
    values = torch.full((1, 4, 1), torch.nan)
    assert fill_missing(values, torch.zeros(1, 4, 1, dtype=torch.bool)).flatten().tolist() == [0, 0, 0, 0]


def test_longer_series_keep_their_newest_steps() -> None:
    values = torch.arange(10.0).view(1, 5, 2)
    kept, observed = fit_length(values, values > 4, 3)
    assert kept[0].tolist() == [[4, 5], [6, 7], [8, 9]]
    assert observed[0].tolist() == [[False, True], [True, True], [True, True]]


def test_shorter_series_are_padded_at_the_front_as_missing() -> None:
    values = torch.tensor([[[1.0], [2.0]]])
    padded, observed = fit_length(values, torch.ones(1, 2, 1, dtype=torch.bool), 4)
    assert padded[0, 2:].tolist() == [[1], [2]]
    assert observed[0, :, 0].tolist() == [False, False, True, True]


@settings(max_examples=60, deadline=None)
@given(gappy_series())
def test_instance_statistics_equal_numpys(values: np.ndarray) -> None:
    loc, scale = instance_statistics(torch.from_numpy(values), ~torch.from_numpy(np.isnan(values)))
    expected = np.nanstd(values, axis=1)
    # Documented: of float64, a spread of a few 1e-16 of the magnitude is rounding noise.
    expected = np.where(expected <= 2e-15 * np.nanmax(np.abs(values), axis=1), 1.0, expected)
    np.testing.assert_allclose(loc, np.nanmean(values, axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scale, expected, rtol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.1, -7.3, 1e-40, 3e-30, 3e30, -3e38, 1e7])
@pytest.mark.parametrize("num_steps", [1, 7, 1000])
def test_a_constant_series_has_scale_1_whatever_its_magnitude(level: float, num_steps: int) -> None:
    values = torch.full((1, num_steps, 1), level, dtype=torch.float32)
    loc, scale = instance_statistics(values, torch.ones_like(values, dtype=torch.bool))
    assert scale.item() == 1
    assert loc.item() == pytest.approx(level, rel=1e-5, abs=0)


@pytest.mark.parametrize("magnitude", [1e-30, 1e-3, 1e25])
def test_scale_follows_the_unit_of_the_series(magnitude: float) -> None:
    values = torch.tensor([1.0, 3.0, 1.0, 3.0]).view(1, 4, 1) * magnitude
    loc, scale = instance_statistics(values, torch.ones_like(values, dtype=torch.bool))
    assert loc.item() == pytest.approx(2 * magnitude, rel=1e-6)
    assert scale.item() == pytest.approx(magnitude, rel=1e-6)


def test_range_covers_observed_values_only() -> None:
    values = torch.tensor([[-50.0, 3.0], [1.0, 90.0], [2.0, 4.0]])[None]
    observed = torch.tensor([[False, True], [True, False], [True, True]])[None]
    lowest, highest = observed_range(values, observed)
    assert lowest.tolist() == [[1, 3]] and highest.tolist() == [[2, 4]]


def patches_by_loop(series: np.ndarray, length: int, stride: int, padding: str) -> np.ndarray:
    """Windows of one series (T,), placed backwards from its newest step."""
    if padding == "end":
        series = np.concatenate([series, np.repeat(series[-1], stride)])
    ends = range(len(series), length - 1, -stride)
    return np.stack([series[end - length : end] for end in reversed(ends)])


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.sampled_from(["end", "none"]))
def test_patches_equal_a_loop_over_windows(num_steps: int, length: int, stride: int, padding: str) -> None:
    length = min(length, num_steps)
    values = np.random.default_rng(num_steps).normal(size=(2, num_steps, 3))
    patches = cut_patches(torch.from_numpy(values), length, stride, padding).numpy()
    assert patches.shape == (2, 3, (num_steps - length) // stride + (2 if padding == "end" else 1), length)
    for sample in range(2):
        for variate in range(3):
            expected = patches_by_loop(values[sample, :, variate], length, stride, padding)
            np.testing.assert_array_equal(patches[sample, variate], expected)
    assert (patches[:, :, -1, -1] == values[:, -1]).all()  # the newest step is always in the last patch


def test_steps_that_fill_no_patch_are_cut_at_the_front() -> None:
    values = torch.arange(8.0).view(1, 8, 1)
    assert cut_patches(values, 3, 2, "none")[0, 0].tolist() == [[1, 2, 3], [3, 4, 5], [5, 6, 7]]
    # 8 steps and the last one twice more, as PatchTST pads: 10, of which the first fits nowhere
    assert cut_patches(values, 3, 2, "end")[0, 0].tolist() == [[1, 2, 3], [3, 4, 5], [5, 6, 7], [7, 7, 7]]


def test_masks_are_cut_like_values() -> None:
    mask = torch.tensor([True, False, False, True]).view(1, 4, 1)
    assert cut_patches(mask, 2, 2, "none")[0, 0].tolist() == [[True, False], [False, True]]


def test_a_constant_series_takes_the_scale_given_for_it():
    values = torch.tensor([[[5.0, 1.0], [5.0, 3.0]]])
    _, scale = instance_statistics(values, torch.ones_like(values, dtype=torch.bool), torch.tensor([0.02, 0.5]))
    torch.testing.assert_close(scale, torch.tensor([[0.02, 1.0]]))
