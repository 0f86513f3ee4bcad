# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Errors of forecasts against hand-worked numbers, and what the M4 competition and R have published."""

import csv
import functools
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import EvalPrediction

from timesclip_hf.metrics import (
    compute_forecast_metrics,
    forecast_metrics,
    m4_metrics,
    mae,
    mase,
    mse,
    naive2,
    owa,
    smape,
)

FORECAST_ERRORS = (mse, mae, smape)


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
    monkeypatch.setattr("timesclip_hf.metrics.forecasting._BLOCK_SIZE", 30)  # two windows of 12 values, then one
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
