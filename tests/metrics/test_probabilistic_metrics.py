# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Quantiles, intervals and probabilities: figures beside scoringrules', and worked out by hand."""

import numpy as np
import pytest

from timesclip_hf.metrics import (
    coverage,
    crps,
    expected_calibration_error,
    interval_metrics,
    interval_score,
    pinball,
    quantile_metrics,
    set_metrics,
    weighted_quantile_loss,
    width,
)

LEVELS = [0.1, 0.25, 0.5, 0.9]


@pytest.fixture
def forecasts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return np.sort(rng.normal(5, 2, (6, 3, 2, 4)), axis=-1), rng.normal(5, 2, (6, 3, 2))


def test_pinball_by_hand():
    # Below the median by 2, above the 0.9 quantile by 1: 0.5 * 2, 0.1 * 3 (10 lies 3 below 13); then 0.5 * 4, 0.9 * 1.
    assert pinball([[12.0, 13.0], [10.0, 13.0]], [10.0, 14.0], [0.5, 0.9]) == pytest.approx((1 + 0.3 + 2 + 0.9) / 4)


def test_crps_and_pinball_are_those_of_scoringrules(forecasts):
    scoringrules = pytest.importorskip("scoringrules")
    quantiles, targets = forecasts
    expected = scoringrules.crps_quantile(targets, quantiles, np.array(LEVELS), backend="numpy").mean()
    assert crps(quantiles, targets, LEVELS) == pytest.approx(expected, rel=1e-12)
    each = [scoringrules.quantile_score(targets, quantiles[..., k], a, backend="numpy") for k, a in enumerate(LEVELS)]
    assert pinball(quantiles, targets, LEVELS) == pytest.approx(np.mean(each), rel=1e-12)


def test_interval_score_is_that_of_scoringrules(forecasts):
    scoringrules = pytest.importorskip("scoringrules")
    quantiles, targets = forecasts
    low, high = quantiles[..., 0], quantiles[..., -1]
    expected = scoringrules.interval_score(targets, low, high, 0.2, backend="numpy").mean()
    assert interval_score(low, high, targets, 0.8) == pytest.approx(expected, rel=1e-12)


def test_weighted_quantile_loss_divides_by_the_sum_of_absolute_targets():
    targets, quantiles = [-2.0, 6.0], [[-1.0], [2.0]]
    assert weighted_quantile_loss(quantiles, targets, [0.5]) == pytest.approx(2 * (0.5 * 1 + 0.5 * 4) / 8)
    assert np.isnan(weighted_quantile_loss([[1.0]], [0.0], [0.5]))


def test_coverage_and_width_by_hand():
    low, high = [0.0, 0.0, -np.inf, 5.0], [2.0, 1.0, np.inf, 4.0]
    assert coverage(low, high, [2.0, 1.5, 9.0, 4.5]) == 0.5  # an end belongs to the interval; the last one is empty
    assert width(low[:2], high[:2]) == 1.5 and width([5.0, 0.0], [4.0, 2.0]) == 1.0
    found = interval_metrics(low[:2], high[:2], [2.0, 1.5], 0.975)
    assert found == {"coverage_97.5": 0.5, "width_97.5": 1.5, "interval_score_97.5": pytest.approx(1.5 + 40 * 0.5)}


def test_targets_that_were_not_observed_are_left_out_and_nan_answers_are_not(forecasts):
    quantiles, targets = forecasts
    targets[2:] = np.nan
    for measure, value in quantile_metrics(quantiles, targets, LEVELS).items():
        assert value == quantile_metrics(quantiles[:2], targets[:2], LEVELS)[measure]
    assert coverage(targets - 1, targets + 1, targets) != coverage(quantiles[..., 0], quantiles[..., 1], targets)
    quantiles[-1, 0, 0, 0] = np.nan
    assert np.isnan([*quantile_metrics(quantiles, targets, LEVELS).values()]).all()
    assert np.isnan(coverage(quantiles[..., 0], quantiles[..., 1], targets))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([[1.0, 2.0]], [1.0], [0.5]), r"quantiles have shape \(1, 2\), expected \(1, 1\)"),
        (([[1.0]], [1.0], [1.0]), "levels must be rising numbers between 0 and 1"),
        (([[1.0, 2.0]], [1.0], [0.5, 0.5]), "levels must be rising"),
        (([[1.0]], [np.nan], [0.5]), "no observed value"),
        (([[1.0]], [np.inf], [0.5]), "infinite"),
    ],
)
def test_wrong_arguments_are_named(arguments, told):
    with pytest.raises(ValueError, match=told):
        pinball(*arguments)


def test_bounds_of_other_shapes_are_named():
    with pytest.raises(ValueError, match="they must be equal"):
        coverage([1.0], [1.0, 2.0], [1.0])


def test_expected_calibration_error_by_hand():
    # Two bins: right half of the time at 0.6 (a gap of 0.1), always at 0.9 (0.1).
    chances = np.array([[0.6, 0.4], [0.4, 0.6], [0.9, 0.1], [0.1, 0.9]])
    assert expected_calibration_error(np.log(chances), [0, 0, 0, 1], bins=2) == pytest.approx(0.25 - 0.25 + 0.0)
    assert expected_calibration_error(np.log(chances), [0, 0, 0, 1], bins=10) == pytest.approx(0.1)


def test_a_classifier_without_any_knowledge_is_calibrated_when_it_says_so():
    labels = np.arange(40) % 4
    assert expected_calibration_error(np.zeros((40, 4)), labels) == pytest.approx(0.0)
    assert expected_calibration_error(np.eye(4)[np.zeros(40, int)] * 50, labels) == pytest.approx(0.75)


def test_figures_of_sets_by_hand():
    sets = np.array([[True, False, True], [True, True, True]])
    assert set_metrics(sets, [1, 2], 0.9) == {"coverage_90": 0.5, "set_size_90": 2.5}
    with pytest.raises(ValueError, match="must be bool"):
        set_metrics(sets.astype(int), [1, 2], 0.9)
