# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Figures of regression against hand-worked numbers, their definitions and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    r2_score,
    root_mean_squared_error,
)
from transformers import EvalPrediction

from timesclip_hf.metrics import compute_regression_metrics, mae, mape, r2, regression_metrics, rmse, skill

TARGETS = [2.0, 4.0, 6.0, 8.0]  # mean 5, sum of squares about it 9 + 1 + 1 + 9 = 20
PREDICTIONS = [3.0, 4.0, 4.0, 11.0]  # errors 1, 0, -2, 3: squares sum to 14, absolute values to 6

ALL = (rmse, mae, r2, mape)


def test_hand_worked_values_of_one_target():
    assert rmse(PREDICTIONS, TARGETS) == pytest.approx(math.sqrt(14 / 4))
    assert mae(PREDICTIONS, TARGETS) == pytest.approx(6 / 4)
    assert r2(PREDICTIONS, TARGETS) == pytest.approx(1 - 14 / 20)
    assert mape(PREDICTIONS, TARGETS) == pytest.approx(100 * (1 / 2 + 0 + 2 / 6 + 3 / 8) / 4)


def test_several_targets_give_the_mean_of_each_targets_own_figure():
    perfect = np.array(TARGETS)
    targets = np.stack([perfect, perfect], axis=1)
    predictions = np.stack([np.array(PREDICTIONS), perfect], axis=1)
    for metric, value_if_perfect in ((rmse, 0.0), (mae, 0.0), (r2, 1.0), (mape, 0.0)):
        assert metric(predictions, targets) == pytest.approx((metric(PREDICTIONS, TARGETS) + value_if_perfect) / 2)


two_arrays = st.tuples(st.integers(2, 20), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, shape, elements=st.floats(-1e3, 1e3, width=32)),
        arrays(np.float64, shape, elements=st.floats(1.0, 1e3, width=32)),
    )
)


@settings(max_examples=100, deadline=None)
@given(two_arrays)
def test_values_equal_their_definitions_and_scikit_learn(pair):
    predictions, targets = pair
    error = predictions - targets
    assert rmse(predictions, targets) == pytest.approx(np.mean(np.sqrt(np.mean(error**2, axis=0))), rel=1e-9)
    assert mae(predictions, targets) == pytest.approx(np.mean(np.abs(error)), rel=1e-9)
    assert mape(predictions, targets) == pytest.approx(np.mean(100 * np.abs(error) / targets), rel=1e-9)
    spread = np.sum((targets - targets.mean(axis=0)) ** 2, axis=0)
    if spread.all():
        expected = np.mean(1 - np.sum(error**2, axis=0) / spread)
        assert r2(predictions, targets) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert rmse(predictions, targets) == pytest.approx(root_mean_squared_error(targets, predictions), rel=1e-9)
    assert mae(predictions, targets) == pytest.approx(mean_absolute_error(targets, predictions), rel=1e-9)
    assert r2(predictions, targets) == pytest.approx(r2_score(targets, predictions), rel=1e-6, abs=1e-9)
    expected = 100 * mean_absolute_percentage_error(targets, predictions)
    assert mape(predictions, targets) == pytest.approx(expected, rel=1e-9)


def test_r2_of_a_constant_target_is_as_in_scikit_learn():
    constant = [3.0, 3.0, 3.0]
    for predictions in (constant, [3.0, 3.0, 4.0]):
        assert r2(predictions, constant) == r2_score(constant, predictions)
    mixed = np.array([[3.0, 1.0], [3.0, 2.0]])
    guess = np.array([[3.5, 1.0], [3.0, 2.0]])
    assert r2(guess, mixed) == r2_score(mixed, guess) == 0.5


def test_r2_of_a_single_row_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(r2([1.0], [2.0]))


def test_mape_leaves_out_zero_targets_only():
    assert mape([5.0, 3.0], [0.0, 2.0]) == pytest.approx(50.0)
    assert mape([1.0, 2.0], [1e-6, 2.0]) == pytest.approx(100 * (1 - 1e-6) / 1e-6 / 2)


def test_mape_is_nan_when_a_target_has_only_zeros():
    assert math.isnan(mape([1.0, 2.0], [0.0, 0.0]))
    assert math.isnan(mape([[1.0, 1.0], [2.0, 2.0]], [[0.0, 1.0], [0.0, 2.0]]))


def test_mape_of_negative_targets_divides_by_their_size():
    assert mape([-1.0], [-2.0]) == pytest.approx(50.0)


def test_skill_is_the_share_of_the_references_squared_error_removed():
    reference = [5.0, 5.0, 5.0, 5.0]  # squared errors sum to 20
    assert skill(PREDICTIONS, TARGETS, reference) == pytest.approx(1 - 14 / 20)
    assert skill(reference, TARGETS, reference) == 0.0
    assert skill(TARGETS, TARGETS, reference) == 1.0
    assert skill(reference, TARGETS, PREDICTIONS) == pytest.approx(1 - 20 / 14)


def test_skill_against_a_perfect_reference_is_nan():
    assert math.isnan(skill(PREDICTIONS, TARGETS, TARGETS))


@pytest.mark.parametrize("metric", ALL)
def test_a_nan_prediction_makes_the_figure_nan(metric):
    assert math.isnan(metric([1.0, np.nan, 2.0], [1.0, 2.0, 3.0]))
    assert math.isnan(metric([1.0, np.nan], [3.0, 3.0]))


def test_an_infinite_prediction_makes_errors_infinite_and_r2_boundless():
    for metric in (rmse, mae, mape):
        assert metric([np.inf, 1.0], [1.0, 2.0]) == np.inf
    assert r2([np.inf, 1.0], [1.0, 2.0]) == skill([np.inf, 1.0], [1.0, 2.0], [1.5, 1.5]) == -np.inf


def test_float32_arrays_are_summed_in_float64():
    targets = np.full(200_000, 1e4, np.float32)
    assert mae(targets + np.float32(1.0), targets) == 1.0


def test_regression_metrics_are_plain_floats_under_four_keys():
    figures = regression_metrics(np.array(PREDICTIONS), np.array(TARGETS))
    assert set(figures) == {"rmse", "mae", "r2", "mape"}
    assert all(type(value) is float for value in figures.values())
    assert figures["r2"] == r2(PREDICTIONS, TARGETS)


def test_regression_metrics_refuse_a_missing_label_among_several_targets():
    with pytest.raises(ValueError, match=r"1 of 2 rows \(first: \[1\]\)"):
        regression_metrics(np.zeros((2, 2)), [[1.0, 2.0], [1.0, np.nan]])


def test_trainer_hook_reads_predictions_and_labels():
    predictions, labels = np.array(PREDICTIONS)[:, None], np.array(TARGETS)[:, None]
    figures = compute_regression_metrics(EvalPrediction(predictions=predictions, label_ids=labels))
    assert figures == regression_metrics(PREDICTIONS, TARGETS)


def test_several_targets_have_figures_of_their_own_and_one_mean_in_units_of_their_spread():
    targets = np.stack([TARGETS, [1000.0, 3000.0, 2000.0, 6000.0]], axis=1)
    said = targets + np.stack([[1.0, 0, -2, 3], [100.0, -100, 100, -100]], axis=1)  # RMSE sqrt(3.5) and 100
    found = regression_metrics(said, targets, scale=[2.0, 50.0], names=["yield", "kernels"])
    assert found["yield_rmse"] == pytest.approx(math.sqrt(3.5)) and found["kernels_rmse"] == pytest.approx(100)
    assert found["yield_mae"] == pytest.approx(1.5) and found["kernels_mae"] == pytest.approx(100)
    assert found["rmse"] == pytest.approx((math.sqrt(3.5) / 2 + 2) / 2)
    assert found["mae"] == pytest.approx((1.5 / 2 + 2) / 2)
    assert found["r2"] == pytest.approx((found["yield_r2"] + found["kernels_r2"]) / 2)
    plain = compute_regression_metrics(EvalPrediction(said, targets))
    assert plain["rmse"] == rmse(said, targets) and plain["target_1_rmse"] == pytest.approx(100)


def test_one_target_has_its_four_figures_alone():
    column = np.array(TARGETS)[:, None]
    assert list(regression_metrics(column, column, scale=[2.0])) == ["rmse", "mae", "r2", "mape"]


@pytest.mark.parametrize("wrong", [{"scale": [1.0]}, {"scale": [1.0, 0.0]}, {"names": ["a"]}])
def test_spreads_and_names_are_one_for_each_target(wrong):
    with pytest.raises(ValueError, match="one for each of 2 targets"):
        regression_metrics(np.zeros((3, 2)), np.ones((3, 2)), **wrong)
