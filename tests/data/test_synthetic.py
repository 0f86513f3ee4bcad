# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Made-up series: the same whoever makes them, and as various as the docstring says."""

import itertools

import numpy as np
import pytest

from timesclip_hf.data.synthetic import SHAPES, single_shapes, stream_series, synthetic_pool, synthetic_series


@pytest.mark.parametrize("num_variates", [1, 3])
def test_a_series_is_the_same_in_any_batch_and_order(num_variates: int) -> None:
    whole = synthetic_series(range(200), seed=3, num_variates=num_variates)
    shuffled = np.random.default_rng(0).permutation(200)
    for place, series in enumerate(synthetic_series(shuffled, 3, num_variates)):
        np.testing.assert_array_equal(series, whole[shuffled[place]])
    for index in (0, 7, 77, 199):
        np.testing.assert_array_equal(synthetic_series([index], 3, num_variates)[0], whole[index])


def test_a_stream_and_a_pool_hold_the_series_of_their_numbers() -> None:
    single = synthetic_series(range(10, 40), seed=1, max_length=100)
    streamed = itertools.islice(stream_series(1, start=10, batch_size=15, max_length=100), 2)
    values, lengths = synthetic_pool(30, seed=1, start=10, max_length=100)
    assert values.shape == (30, 100) and lengths.tolist() == [len(series) for series in single]
    for number, series in enumerate(itertools.chain(*streamed)):
        np.testing.assert_array_equal(series, single[number])
        np.testing.assert_array_equal(values[number, : len(series)], series[:, 0])
        assert np.isnan(values[number, len(series) :]).all()


def test_workers_make_the_same_pool() -> None:
    alone, shared = synthetic_pool(5000, max_length=40), synthetic_pool(5000, max_length=40, num_workers=2)
    for mine, theirs in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_seeds_numbers_and_variates_tell_series_apart() -> None:
    first, second = synthetic_series([4, 5], seed=0, num_variates=2, min_length=60, max_length=60)
    (other,) = synthetic_series([4], seed=1, num_variates=2, min_length=60, max_length=60)
    columns = [*first.T, *second.T, *other.T]
    assert all(not np.array_equal(a, b, equal_nan=True) for a, b in itertools.combinations(columns, 2))


@pytest.mark.parametrize("kind", list(SHAPES))
def test_a_shape_alone_is_standardised_and_the_same_in_any_company(kind: str) -> None:
    series = single_shapes(kind, range(20), 3, 50)
    assert series.shape == (20, 50) and np.isfinite(series).all()
    np.testing.assert_allclose(series.mean(axis=1), 0, atol=1e-9)
    spread = series.std(axis=1)
    assert np.isclose(spread, 1).sum() >= 10  # of rare spikes there may be none
    assert (np.isclose(spread, 1) | np.isclose(spread, 0)).all()
    np.testing.assert_array_equal(single_shapes(kind, [7], 3, 50)[0], series[7])


def test_lengths_levels_spreads_and_gaps_are_as_said() -> None:
    made = [series[:, 0] for series in synthetic_series(range(3000))]
    lengths = np.array([len(series) for series in made])
    assert lengths.min() >= 24 and lengths.max() <= 512
    assert abs(np.median(lengths) - np.sqrt(24 * 512)) < 10  # even on a logarithmic scale
    levels = np.array([np.nanmean(series) for series in made])
    spreads = np.array([np.nanstd(series) for series in made])
    assert abs(levels.mean()) < 0.05 and 0.6 < levels.std() < 0.8
    assert 0.55 < np.median(spreads) < 0.7 and np.quantile(spreads, [0.1, 0.9])[1] > 1.1
    everything = np.concatenate(made)
    assert 0.7 < np.nanstd(everything) < 1.3  # like a data set that was standardised
    holes = np.array([np.isnan(series).any() for series in made])
    assert 0.3 < holes.mean() < 0.5 and np.isnan(everything).mean() < 0.12
    assert all(np.isfinite(series).sum() >= 8 for series in made)
    # Rounded and censored: few different values among many steps.
    repeated = np.array([len(np.unique(series[~np.isnan(series)])) < len(series) / 2 for series in made])
    assert 0.08 < repeated.mean() < 0.35


def test_variates_of_a_series_know_of_each_other() -> None:
    made = synthetic_series(range(200), num_variates=3, min_length=200, max_length=200)
    alone = [series[:, 0] for series in synthetic_series(range(600), seed=9, min_length=200, max_length=200)]

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        both = ~np.isnan(a) & ~np.isnan(b)
        constant = min(np.ptp(a[both]), np.ptp(b[both])) < 1e-6
        return 0.0 if constant else abs(np.corrcoef(a[both], b[both])[0, 1])

    related = np.mean([correlation(series[:, 0], series[:, 1]) for series in made])
    strangers = np.mean([correlation(alone[i], alone[i + 1]) for i in range(0, 400, 2)])
    assert related > strangers + 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"indices": [-1]}, "from 0"),
        ({"indices": 3}, "list of whole numbers"),
        ({"indices": [0], "num_variates": 0}, "num_variates >= 1"),
        ({"indices": [0], "min_length": 50, "max_length": 40}, "got 1, 50, 40"),
    ],
)
def test_arguments_that_make_no_series_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic_series(**arguments)
