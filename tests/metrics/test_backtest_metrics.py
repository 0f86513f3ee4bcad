# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Units, skill and win rates, from numbers worked out by hand."""

import numpy as np
import pytest

from timesclip_hf.metrics.backtest import seasonal_changes, skill_interval, skill_score, win_rate


def test_changes_are_of_the_own_series_before_the_origin() -> None:
    values = np.array([1.0, 2, 4, 8, 100, 103, 101])[:, None]  # series of 4 and of 3 steps
    offsets, series, steps = np.array([0, 4, 7]), np.array([0, 0, 1]), np.array([3, 4, 3])
    absolute, squared = seasonal_changes(values, offsets, series, steps, 1)
    np.testing.assert_allclose(absolute[:, 0], [1.5, 7 / 3, 2.5])
    np.testing.assert_allclose(squared[:, 0], np.sqrt([2.5, 21 / 3, 6.5]))
    by_two, _ = seasonal_changes(values, offsets, series, steps, 2)
    np.testing.assert_allclose(by_two[:, 0], [3, 4.5, 1])


def test_a_history_shorter_than_a_season_counts_its_steps() -> None:
    absolute, _ = seasonal_changes(
        np.array([[1.0], [3], [np.nan], [4]]), np.array([0, 4]), np.array([0, 0]), np.array([2, 4]), 5
    )
    np.testing.assert_allclose(absolute[:, 0], [2, 2])  # of 1 -> 3 alone, for 4 has no neighbour


def test_changes_of_a_small_series_are_no_noise_behind_a_large_one() -> None:
    rng = np.random.default_rng(0)
    large, small = 1e9 * rng.normal(size=1000), 1e-3 * rng.normal(size=50)
    values, offsets = np.concatenate([large, small])[:, None], np.array([0, 1000, 1050])
    absolute, squared = seasonal_changes(values, offsets, np.array([1]), np.array([50]), 7)
    changes = small[7:] - small[:-7]
    np.testing.assert_allclose([absolute[0, 0], squared[0, 0]], [np.abs(changes).mean(), np.sqrt((changes**2).mean())])


def test_skill_is_one_less_the_geometric_mean_of_ratios() -> None:
    errors, baseline = np.array([1.0, 2, np.nan, 0]), np.array([4.0, 2, 1, 0])
    assert skill_score(errors, baseline) == pytest.approx(1 - (0.25 * 1 * 1) ** (1 / 3))
    assert skill_score(baseline, baseline) == 0.0
    assert skill_score(np.array([0.0]), np.array([1.0])) == pytest.approx(0.99)  # clipped
    assert np.isnan(skill_score(np.array([np.nan]), np.array([1.0])))


def test_the_interval_holds_the_skill_and_is_narrower_with_more_series() -> None:
    rng = np.random.default_rng(0)
    ratios = rng.lognormal(-0.5, 0.3, 400)
    few, many = (skill_interval(ratios[:n], np.ones(n)) for n in (20, 400))
    assert many[0] < skill_score(ratios, np.ones(400)) < many[1]
    assert many[1] - many[0] < few[1] - few[0]
    # 95 % of the mean of 400 logs with a spread of 0.3: 1.96 * 0.3 / 20 on either side
    width = np.log(1 - many[0]) - np.log(1 - many[1])
    assert width == pytest.approx(2 * 1.96 * np.log(ratios).std() / 20, rel=0.15)


def test_equal_errors_win_by_half() -> None:
    assert win_rate(np.array([1.0, 2, 3, np.nan]), np.array([2.0, 2, 1, 1])) == 0.5
