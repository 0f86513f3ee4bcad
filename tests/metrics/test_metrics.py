# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Metrics against hand-worked numbers, scikit-learn, and what the M4 competition and R have published."""

import csv
import functools
import importlib
import math
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_absolute_percentage_error,
    r2_score,
    root_mean_squared_error,
)
from transformers import EvalPrediction

from timesclip_hf.metrics.metrics import (
    accuracy,
    balanced_accuracy,
    classification_metrics,
    compute_classification_metrics,
    compute_forecast_metrics,
    compute_regression_metrics,
    forecast_metrics,
    m4_metrics,
    macro_f1,
    mae,
    mape,
    mase,
    mse,
    naive2,
    owa,
    r2,
    regression_metrics,
    retrieval_accuracy,
    rmse,
    skill,
    smape,
)

TARGETS = [2.0, 4.0, 6.0, 8.0]  # mean 5, sum of squares about it 9 + 1 + 1 + 9 = 20
PREDICTIONS = [3.0, 4.0, 4.0, 11.0]  # errors 1, 0, -2, 3: squares sum to 14, absolute values to 6

ALL = (rmse, mae, r2, mape)
FORECAST_ERRORS = (mse, mae, smape)


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
def test_values_equal_scikit_learn(pair):
    predictions, targets = pair
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
def test_shapes_that_differ_raise_and_never_broadcast(metric):
    with pytest.raises(ValueError, match=r"\(4,\).*\(4, 1\)"):
        metric(np.zeros(4), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="never broadcast"):
        metric(np.zeros((4, 1)), np.zeros((4, 2)))


@pytest.mark.parametrize("metric", ALL)
def test_targets_that_are_not_finite_raise_and_name_rows(metric):
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"1 of 3 rows \(first: \[1\]\)"):
            metric([1.0, 1.0, 1.0], [1.0, bad, 2.0])


@pytest.mark.parametrize("metric", ALL)
def test_empty_arrays_scalars_text_and_complex_numbers_raise(metric):
    with pytest.raises(ValueError, match="empty"):
        metric([], [])
    with pytest.raises(ValueError, match="expected \\(n,\\)"):
        metric(1.0, 2.0)
    with pytest.raises(ValueError, match="predictions must be one array of real numbers"):
        metric(["a"], [1.0])
    with pytest.raises(ValueError, match="targets must be one array of real numbers"):
        metric([1.0], [1j])


@pytest.mark.parametrize("metric", ALL)
def test_a_nan_prediction_makes_the_figure_nan(metric):
    assert math.isnan(metric([1.0, np.nan, 2.0], [1.0, 2.0, 3.0]))
    assert math.isnan(metric([1.0, np.nan], [3.0, 3.0]))


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


def test_trainer_hook_refuses_several_outputs_and_missing_labels():
    predictions = np.array(PREDICTIONS)[:, None]
    with pytest.raises(ValueError, match="keys_to_ignore_at_inference"):
        compute_regression_metrics(EvalPrediction(predictions=(predictions, predictions), label_ids=predictions))
    with pytest.raises(ValueError, match="label_names"):
        compute_regression_metrics(EvalPrediction(predictions=predictions, label_ids=None))


# ---------------------------------------------------------------------------------------------------------------------
# Errors of forecasts
# ---------------------------------------------------------------------------------------------------------------------


def test_hand_worked_errors_of_one_forecast():
    predictions, targets = [[3.0, 4.0, 4.0, 12.0]], [[1.0, 4.0, 6.0, 8.0]]  # errors 2, 0, -2, 4
    assert mse(predictions, targets) == 24 / 4
    assert mae(predictions, targets) == 8 / 4
    assert smape(predictions, targets) == pytest.approx(200 / 4 * (2 / 4 + 0 + 2 / 10 + 4 / 20))


def test_smape_is_zero_for_zero_met_by_zero_and_200_for_zero_missed_or_a_wrong_sign():
    assert smape([[0.0, 0.0]], [[0.0, 1.0]]) == 100.0  # 0 and 200
    assert smape([[0.0]], [[0.0]]) == 0.0
    assert smape([[-3.0]], [[3.0]]) == 200.0


forecasts = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)),
        arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)),
        arrays(np.bool_, shape),
    )
)


@settings(max_examples=100, deadline=None)
@given(forecasts)
def test_targets_not_observed_are_left_out_whatever_is_predicted_there(triple):
    predictions, targets, missing = triple
    missing[0, 0, 0] = False
    kept = list(zip(predictions[~missing].tolist(), targets[~missing].tolist(), strict=True))
    targets = np.where(missing, np.nan, targets)
    relative = [200 * abs(f - y) / (abs(f) + abs(y)) if f or y else 0.0 for f, y in kept]
    assert mse(predictions, targets) == pytest.approx(sum((f - y) ** 2 for f, y in kept) / len(kept), rel=1e-9)
    assert mae(predictions, targets) == pytest.approx(sum(abs(f - y) for f, y in kept) / len(kept), rel=1e-9)
    assert smape(predictions, targets) == pytest.approx(sum(relative) / len(kept), rel=1e-9)
    # Two axes are treated as three are.
    flat = predictions.reshape(len(predictions), -1), targets.reshape(len(targets), -1)
    for metric in FORECAST_ERRORS:
        assert metric(*flat) == pytest.approx(metric(predictions, targets), rel=1e-12)


@pytest.mark.parametrize("metric", FORECAST_ERRORS)
def test_a_nan_forecast_makes_the_figure_nan_even_where_nothing_was_observed(metric):
    assert math.isnan(metric([[1.0, np.nan]], [[1.0, 2.0]]))
    assert math.isnan(metric([[1.0, np.nan]], [[1.0, np.nan]]))


def test_an_infinite_forecast_gives_an_infinite_error_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mse([[np.inf, 1.0]], [[1.0, 1.0]]) == mae([[-np.inf, 1.0]], [[1.0, 1.0]]) == np.inf
        assert math.isnan(smape([[np.inf, 1.0]], [[1.0, 1.0]]))


@pytest.mark.parametrize("metric", FORECAST_ERRORS)
def test_forecasts_of_wrong_shape_or_without_targets_raise(metric):
    with pytest.raises(ValueError, match=r"\(2, 3, 1\).*\(2, 3\).*never broadcast"):
        metric(np.zeros((2, 3, 1)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected .*\(n, horizon, variates\)"):
        metric(np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 3, 4)))
    with pytest.raises(ValueError, match="empty"):
        metric(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="all 6 are NaN"):
        metric(np.zeros((2, 3)), np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match=r"infinite in 1 of 2 rows \(first: \[1\]\)"):
        metric(np.zeros((2, 2)), [[1.0, 2.0], [1.0, np.inf]])
    with pytest.raises(ValueError, match="NaN or infinite in 1 of 2 rows"):
        metric([1.0, 2.0], [1.0, np.nan])


def test_errors_taken_in_blocks_are_those_of_the_whole(monkeypatch):
    generator = np.random.default_rng(0)
    predictions, targets = generator.normal(size=(2, 11, 4, 3)).astype(np.float32)
    targets[generator.random(targets.shape) < 0.3] = np.nan
    scale = generator.uniform(0.5, 2.0, size=(11, 3))
    whole = forecast_metrics(predictions, targets, scale)
    # Two windows of 12 values at a time, then one. By its full name: the package may have a function of this name.
    monkeypatch.setattr(importlib.import_module("timesclip_hf.metrics.forecast_errors"), "_BLOCK_SIZE", 30)
    assert forecast_metrics(predictions, targets, scale) == pytest.approx(whole, rel=1e-12)


def test_scale_gives_the_errors_of_standardised_values_and_leaves_smape_alone():
    generator = np.random.default_rng(1)
    predictions, targets = generator.normal(50.0, 9.0, size=(2, 6, 4, 3))
    mean, std = np.array([40.0, 50.0, 60.0]), np.array([2.0, 5.0, 10.0])
    standardised = [(values - mean) / std for values in (predictions, targets)]
    figures = forecast_metrics(predictions, targets, scale=std)
    assert set(figures) == {"mse", "mae", "smape"} and all(type(value) is float for value in figures.values())
    assert figures["mse"] == pytest.approx(np.mean((standardised[0] - standardised[1]) ** 2))
    assert figures["mae"] == pytest.approx(np.mean(np.abs(standardised[0] - standardised[1])))
    assert figures["smape"] == smape(predictions, targets)
    assert forecast_metrics(predictions, targets)["mse"] == mse(predictions, targets)


def test_scale_may_differ_between_windows():
    predictions, targets = np.full((2, 3, 1), 12.0), np.zeros((2, 3, 1))
    assert forecast_metrics(predictions, targets, scale=[[3.0], [4.0]])["mse"] == (16 + 9) / 2
    assert forecast_metrics(predictions[..., 0], targets[..., 0], scale=[[3.0], [4.0]])["mae"] == (4 + 3) / 2


def test_scale_of_wrong_shape_or_value_raises():
    values = np.zeros((4, 3, 2))
    for scale in (1.0, np.ones(3), np.ones(4), np.ones((4, 1)), np.ones((4, 3, 2))):
        with pytest.raises(ValueError, match=r"scale has shape .*\(2,\).*\(4, 2\)"):
            forecast_metrics(values, values, scale)
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="scale must be positive and finite"):
            forecast_metrics(values, values, [1.0, bad])
    with pytest.raises(ValueError, match=r"expected \(n, horizon\)"):
        forecast_metrics([1.0, 2.0], [1.0, 2.0])


def test_trainer_hook_of_forecasts_takes_a_scale():
    predictions, labels = np.full((2, 3, 1), 12.0), np.zeros((2, 3, 1))
    evaluated = EvalPrediction(predictions=predictions, label_ids=labels)
    assert compute_forecast_metrics(evaluated) == {"mse": 144.0, "mae": 12.0, "smape": 200.0}
    hook = functools.partial(compute_forecast_metrics, scale=[4.0])
    assert hook(evaluated) == {"mse": 9.0, "mae": 3.0, "smape": 200.0}
    with pytest.raises(ValueError, match="keys_to_ignore_at_inference"):
        hook(EvalPrediction(predictions=(predictions, predictions), label_ids=labels))


# ---------------------------------------------------------------------------------------------------------------------
# The M4 competition
# ---------------------------------------------------------------------------------------------------------------------

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

# Monthly airline passengers 1949-1960 (Box and Jenkins 1976, series G), the standard example of R's documentation.
AIR_PASSENGERS = """
    112 118 132 129 121 135 148 148 136 119 104 118 115 126 141 135 125 149 170 170 158 133 114 140
    145 150 178 163 172 178 199 199 184 162 146 166 171 180 193 181 183 218 230 242 209 191 172 194
    196 196 236 235 229 243 264 272 237 211 180 201 204 188 235 227 234 264 302 293 259 229 203 229
    242 233 267 269 270 315 364 347 312 274 237 278 284 277 317 313 318 374 413 405 355 306 271 306
    315 301 356 348 355 422 465 467 404 347 305 336 340 318 362 348 363 435 491 505 404 359 310 337
    360 342 406 396 420 472 548 559 463 407 362 405 417 391 419 461 472 535 622 606 508 461 390 432
"""
# As R prints `decompose(AirPassengers, type = "multiplicative")$figure`.
AIR_PASSENGERS_INDICES = [
    *(0.9102304, 0.8836253, 1.0073663, 0.9759060, 0.9813780, 1.1127758),
    *(1.2265555, 1.2199110, 1.0604919, 0.9217572, 0.8011781, 0.8988244),
]


def read_m4(name: str) -> list[np.ndarray]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs {name} in ../shared/data beside the repository")
    with path.open() as file:
        rows = list(csv.reader(file))[1:]
    return [np.array([float(cell) for cell in row[1:] if cell not in ("", "NA")]) for row in rows]


def slow_naive2(series: list[float], horizon: int, period: int) -> list[float]:
    """The organisers' `SeasonalityTest` and R's `decompose`, step by step."""
    n = len(series)
    mean = sum(series) / n
    variance = sum((x - mean) ** 2 for x in series)
    seasonal = period > 1 and n >= 3 * period and variance > 0
    if seasonal:
        acf = [
            sum((series[t] - mean) * (series[t - lag] - mean) for t in range(lag, n)) / variance
            for lag in range(period + 1)
        ]
        seasonal = abs(acf[period]) > 1.645 / math.sqrt(n) * math.sqrt(1 + 2 * sum(r**2 for r in acf[1:period]))
    if not seasonal:
        return [series[-1]] * horizon
    ratios: dict[int, list[float]] = {position: [] for position in range(period)}
    half = period // 2
    for t in range(half, n - half):
        window = series[t - half : t + half + 1]
        total = sum(window) if period % 2 else sum(window) - window[0] / 2 - window[-1] / 2
        ratios[t % period].append(series[t] / (total / period))
    means = [sum(ratios[position]) / len(ratios[position]) for position in range(period)]
    figure = [value / (sum(means) / period) for value in means]
    return [series[-1] / figure[(n - 1) % period] * figure[(n + step) % period] for step in range(horizon)]


def test_m4_weekly_naive2_has_the_published_figures():
    train, test = read_m4("M4-Weekly-train.csv"), np.stack(read_m4("M4-Weekly-test.csv"))
    repeated = np.stack([np.full(13, series[-1]) for series in train])  # seasonality 1: Naive2 is repeat-last
    figures = m4_metrics(repeated, test, train, seasonality=1)
    assert (round(figures["smape"], 3), round(figures["mase"], 3), figures["owa"]) == (9.161, 2.777, 1.0)
    assert (figures["naive2_smape"], figures["naive2_mase"]) == (figures["smape"], figures["mase"])


def test_naive2_of_a_seasonal_series_follows_the_indices_that_r_prints():
    indices = np.array(AIR_PASSENGERS_INDICES)
    expected = 432 / indices[11] * np.concatenate([indices, indices[:6]])
    passengers = [float(count) for count in AIR_PASSENGERS.split()]
    np.testing.assert_allclose(naive2(passengers, 18, 12), expected, rtol=3e-7)
    # A series that does not end with its period: 1960 without November and December.
    assert naive2(passengers[:-2], 3, 12) == pytest.approx(slow_naive2(passengers[:-2], 3, 12), rel=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    period=st.integers(1, 8),
    length=st.integers(2, 60),
    horizon=st.integers(1, 20),
    strength=st.sampled_from([0.0, 0.2, 1.0, 5.0]),
    seed=st.integers(0, 2**31),
)
def test_naive2_equals_the_organisers_procedure_done_slowly(period, length, horizon, strength, seed):
    generator = np.random.default_rng(seed)
    pattern = np.tile(strength * generator.random(period), length // period + 1)[:length]
    series = 10.0 + pattern + generator.random(length)
    expected = slow_naive2(series.tolist(), horizon, period)
    np.testing.assert_allclose(naive2(series.astype(np.float64), horizon, period), expected, rtol=1e-9)


def test_naive2_repeats_the_last_value_of_short_constant_and_unseasonal_series():
    seasonal = [1.0, 2.0, 3.0, 6.0]
    assert naive2(seasonal * 3, 2, 4).tolist() == pytest.approx([1.0, 2.0])
    assert naive2((seasonal * 3)[:-1], 2, 4).tolist() == [3.0, 3.0]  # 11 steps, fewer than three periods
    assert naive2([5.0] * 20, 2, 4).tolist() == [5.0, 5.0]
    assert naive2(np.arange(1.0, 20.0), 2, 1).tolist() == [19.0, 19.0]
    assert naive2(np.full((4, 1), 7.0), 1, 1).tolist() == [7.0]


def test_naive2_stays_finite_where_a_season_is_zero():
    night_and_day = [3.0, 5.0, 0.0, 0.0] * 10
    assert naive2(night_and_day, 2, 4).tolist() == [0.0, 0.0]  # the last step's index is 0: nothing to divide by
    assert naive2(night_and_day[:-2], 4, 4).tolist() == pytest.approx([0.0, 0.0, 3.0, 5.0])
    assert naive2([1.0, -1.0] * 10, 2, 2).tolist() == [-1.0, -1.0]  # moving averages of 0


def test_naive2_refuses_gaps_tables_and_counts_below_one():
    with pytest.raises(ValueError, match=r"1 of 3 steps \(first: 2\)"):
        naive2([1.0, 2.0, np.nan], 1, 1)
    with pytest.raises(ValueError, match=r"\(3, 2\), expected one univariate series"):
        naive2(np.ones((3, 2)), 1, 1)
    for horizon, seasonality, name in ((0, 1, "horizon"), (1, 0, "seasonality"), (1, 1.5, "seasonality")):
        with pytest.raises(ValueError, match=f"{name} must be a whole number"):
            naive2([1.0, 2.0], horizon, seasonality)


def test_mase_divides_each_series_errors_by_its_own_seasonal_change():
    # Changes over two steps: 2, 2 -> 2; and 6, 0, 3 -> 3.
    insamples = [[1.0, 5.0, 3.0, 3.0], [0.0, 1.0, 6.0, 1.0, 9.0]]
    predictions, targets = [[1.0, 2.0], [10.0, 10.0]], [[5.0, 2.0], [10.0, 7.0]]  # errors 4, 0 and 0, 3
    assert mase(predictions, targets, insamples, seasonality=2) == pytest.approx((4 / 2 + 0 + 0 + 3 / 3) / 4)
    targets[0][1] = np.nan
    assert mase(predictions, targets, insamples, seasonality=2) == pytest.approx((4 / 2 + 0 + 3 / 3) / 3)
    columns = [np.array(series)[:, None] for series in insamples]
    with_variate_axis = np.array(predictions)[..., None], np.array(targets)[..., None]
    assert mase(*with_variate_axis, columns, seasonality=2) == pytest.approx(1.0)


def test_mase_leaves_out_series_that_never_change_and_is_nan_without_any_other():
    targets = np.array([[5.0], [5.0]])
    assert mase(targets + 1, targets, [[1.0, 3.0], [4.0, 4.0]], seasonality=1) == 0.5
    assert mase(targets + 1, targets, [[1.0, 3.0], [0.3, 0.1 + 0.2]], seasonality=1) == 0.5  # a rounding apart
    assert math.isnan(mase(targets, targets, [[4.0, 4.0], [1.0, 1.0]], seasonality=1))
    assert math.isnan(mase([[5.0], [np.nan]], targets, [[1.0, 3.0], [4.0, 4.0]], seasonality=1))


def test_mase_refuses_short_missing_and_multivariate_series():
    values = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"insamples\[1\] has 2 steps.*at least 3"):
        mase(values, values, [[1.0, 2.0, 3.0], [1.0, 2.0]], seasonality=2)
    with pytest.raises(ValueError, match="1 insamples for 2 forecasts"):
        mase(values, values, [[1.0, 2.0]], seasonality=1)
    with pytest.raises(ValueError, match=r"insamples\[0\] is NaN"):
        mase(values, values, [[1.0, np.nan], [1.0, 2.0]], seasonality=1)
    with pytest.raises(ValueError, match="univariate"):
        mase(np.ones((2, 3, 2)), np.ones((2, 3, 2)), [[1.0, 2.0]] * 2, seasonality=1)


def test_owa_is_the_mean_of_both_ratios_to_naive2():
    assert owa(smape=9.0, mase=4.0, naive2_smape=10.0, naive2_mase=5.0) == pytest.approx((0.9 + 0.8) / 2)
    # M4's winner, all 100 000 series (Makridakis et al. 2020): sMAPE 11.374, MASE 1.536, OWA 0.821.
    assert round(owa(smape=11.374, mase=1.536, naive2_smape=13.564, naive2_mase=1.912), 3) == 0.821
    assert math.isnan(owa(1.0, 1.0, 0.0, 1.0)) and math.isnan(owa(1.0, 1.0, 1.0, 0.0))


def test_m4_metrics_compare_with_naive2_on_the_same_unequal_series():
    seasonal = [1.0, 2.0, 3.0, 6.0]
    insamples = [seasonal * 5, [8.0, 2.0, 4.0, 6.0, 9.0, 6.0], seasonal * 3]  # seasonal differences 0; 1, 4; 0
    targets = np.array([[1.0, 2.0], [6.0, 10.0], [2.0, 2.0]])  # Naive2: 1, 2; 6, 6; 1, 2
    figures = m4_metrics(np.full((3, 2), 6.0), targets, insamples, seasonality=4)
    assert figures["naive2_smape"] == pytest.approx(200 / 6 * (4 / 16 + 1 / 3))
    assert figures["naive2_mase"] == pytest.approx((0 + 4) / 2 / 2.5)
    assert figures["smape"] == pytest.approx(200 / 6 * (5 / 7 + 4 / 8 + 0 + 4 / 16 + 4 / 8 + 4 / 8))
    assert figures["mase"] == figures["naive2_mase"]
    assert figures["owa"] == pytest.approx((figures["smape"] / figures["naive2_smape"] + 1) / 2)
    assert set(figures) == {"smape", "mase", "owa", "naive2_smape", "naive2_mase"}


# ---------------------------------------------------------------------------------------------------------------------
# Classification
# ---------------------------------------------------------------------------------------------------------------------


def test_hand_worked_classification_figures():
    targets, predictions = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 0]
    assert accuracy(predictions, targets) == 3 / 6
    assert balanced_accuracy(predictions, targets) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # F1 = 2 hits / (times predicted + times observed).
    assert macro_f1(predictions, targets) == pytest.approx((4 / (3 + 3) + 2 / (2 + 2) + 0) / 3)
    logits = np.log([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1]])
    assert classification_metrics(logits, [0, 2])["log_loss"] == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


labelled_logits = st.tuples(st.integers(1, 15), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(-10, 10, width=32)),
        arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)),
    )
)


@settings(max_examples=150, deadline=None)
@given(labelled_logits)
def test_classification_figures_equal_scikit_learn(pair):
    # Few rows, so that most examples lack some class on one side or on both, or have one class alone.
    logits, labels = pair
    figures = classification_metrics(logits, labels)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    classes = logits.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that only one side has
        expected = {
            "accuracy": accuracy_score(labels, classes),
            "balanced_accuracy": balanced_accuracy_score(labels, classes),
            "macro_f1": f1_score(labels, classes, average="macro"),
            "log_loss": log_loss(labels, probabilities, labels=range(logits.shape[1])),
        }
    assert figures == pytest.approx(expected, rel=1e-9)
    assert all(type(value) is float for value in figures.values())
    hook = compute_classification_metrics(EvalPrediction(predictions=logits, label_ids=labels))
    assert hook == figures


def test_log_loss_of_huge_logits_is_exact_and_a_diverged_model_has_only_nan():
    assert classification_metrics([[1000.0, 0.0]], [1])["log_loss"] == 1000.0
    assert classification_metrics([[-np.inf, 0.0]], [1])["log_loss"] == 0.0
    for bad in (np.nan, np.inf):
        figures = classification_metrics([[bad, 0.0], [1.0, 0.0]], [1, 0])
        assert len(figures) == 4 and all(math.isnan(value) for value in figures.values())


def test_labels_that_are_not_class_numbers_raise():
    logits = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"between 0 and 2 .*found \[3\]"):
        classification_metrics(logits, [0, 3])
    with pytest.raises(ValueError, match=r"found \[-100\]"):
        classification_metrics(logits, [-100, 0])
    with pytest.raises(ValueError, match=r"logits have shape \(2, 3\), but 3 labels"):
        classification_metrics(logits, [0, 1, 2])
    with pytest.raises(ValueError, match="labels must be whole class numbers"):
        classification_metrics(logits, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"labels must be whole class numbers .*\(2, 1\)"):
        classification_metrics(logits, [[0], [1]])
    for metric in (accuracy, balanced_accuracy, macro_f1):
        with pytest.raises(ValueError, match="2 predictions for 1 targets"):
            metric([0, 1], [0])
        with pytest.raises(ValueError, match="empty"):
            metric(np.zeros(0, int), np.zeros(0, int))


# ---------------------------------------------------------------------------------------------------------------------
# Alignment
# ---------------------------------------------------------------------------------------------------------------------


def test_hand_worked_retrieval_differs_between_directions():
    # Degrees: images 0, 10, 90; texts 4, 30, 80. Image 1 is nearer to text 0 (6) than to its own (20); every text is
    # nearest to its own image. Lengths do not matter.
    angles = np.deg2rad([[0.0, 10.0, 90.0], [4.0, 30.0, 80.0]])
    images, texts = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, :, None, :]  # (3, 1, 2) each
    lengths = np.array([1.0, 7.0, 0.1])[:, None, None]
    expected = {"image_to_text_top1": 2 / 3, "text_to_image_top1": 1.0}
    assert retrieval_accuracy(images, texts) == pytest.approx(expected)
    assert retrieval_accuracy(images, texts * lengths) == pytest.approx(expected)


@pytest.mark.parametrize("block", [1, 4, 64])
def test_retrieval_in_blocks_equals_one_matrix_over_flattened_variates(block, monkeypatch):
    monkeypatch.setattr("timesclip_hf.metrics.metrics._RETRIEVAL_BLOCK", block)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(21, 3, 2)).astype(np.float32)
    texts = images + 1.5 * generator.normal(size=images.shape).astype(np.float32)
    a, b = (values.reshape(21, 6).astype(np.float64) for values in (images, texts))
    similarity = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    own = np.arange(21)
    expected = {
        "image_to_text_top1": float(np.mean(similarity.argmax(axis=1) == own)),
        "text_to_image_top1": float(np.mean(similarity.argmax(axis=0) == own)),
    }
    assert 0 < expected["image_to_text_top1"] != expected["text_to_image_top1"] < 1
    assert retrieval_accuracy(images, texts) == pytest.approx(expected)


def test_collapsed_embeds_get_chance_and_copies_share_their_hit():
    chance = retrieval_accuracy(np.ones((8, 2, 3)), np.ones((8, 2, 3)))
    assert chance == pytest.approx({"image_to_text_top1": 1 / 8, "text_to_image_top1": 1 / 8})
    zeros = retrieval_accuracy(np.zeros((4, 1, 2)), np.ones((4, 1, 2)))
    assert zeros == pytest.approx({"image_to_text_top1": 1 / 4, "text_to_image_top1": 1 / 4})
    twice = np.random.default_rng(0).normal(size=(5, 2, 33))[[0, 1, 2, 3, 4, 4]]  # of six samples two are copies
    both = retrieval_accuracy(twice, twice)
    assert both == pytest.approx({"image_to_text_top1": 5 / 6, "text_to_image_top1": 5 / 6})


def test_retrieval_of_many_samples_never_holds_the_whole_matrix():
    embeds = np.random.default_rng(0).normal(size=(6000, 1, 4)).astype(np.float32)
    tracemalloc.start()
    try:
        figures = retrieval_accuracy(embeds, embeds)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert figures == {"image_to_text_top1": 1.0, "text_to_image_top1": 1.0}
    assert peak < 6000**2 * 8 / 3


def test_retrieval_of_embeds_that_are_not_finite_is_nan_and_wrong_shapes_raise():
    good = np.ones((2, 1, 2))
    for bad in (np.nan, np.inf):
        broken = good.copy()
        broken[1, 0, 0] = bad
        for pair in ((broken, good), (good, broken)):
            assert all(math.isnan(value) for value in retrieval_accuracy(*pair).values())
    for pair in ((good, good[:1]), (good[:, 0], good[:, 0]), (good[:0], good[:0])):
        with pytest.raises(ValueError, match=r"must both be \(n, variates, dim\)"):
            retrieval_accuracy(*pair)
