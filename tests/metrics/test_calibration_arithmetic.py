# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Conformal thresholds: those of crepes on the same scores, and coverage on exchangeable data."""

import numpy as np
import pytest

from timesclip_hf.metrics.calibration import (
    absolute_scores,
    class_scores,
    conformal_threshold,
    conformal_thresholds,
    fewest_samples,
    fit_spread_scale,
    fit_temperature,
    group_rows,
    quantile_scores,
)


def test_thresholds_are_counted_for_one_more_sample():
    scores = np.arange(1.0, 10.0)  # nine: ceil(10 * 0.9) = 9
    assert conformal_threshold(scores, 0.9) == 9 and conformal_threshold(scores, 0.5) == 5
    assert conformal_threshold(scores, 0.91) == np.inf and conformal_threshold(scores[:0], 0.5) == np.inf
    assert [fewest_samples(level) for level in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
    assert np.isfinite(conformal_threshold(np.ones(fewest_samples(0.95)), 0.95))


def test_each_place_has_its_own_threshold_of_what_was_observed_there():
    scores = np.stack([np.arange(1.0, 20.0), np.r_[np.full(10, np.nan), np.arange(9.0)]], axis=1)
    np.testing.assert_array_equal(conformal_thresholds(scores, [0.5, 0.9]), [[10, 4], [18, 8]])


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95])
def test_intervals_are_those_of_crepes_on_the_same_residuals(confidence):
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(5)
    said, seen, spreads = rng.normal(size=61), rng.normal(size=61), rng.uniform(0.5, 2, 61)
    new, new_spreads, bins = (
        rng.normal(size=11),
        rng.uniform(0.5, 2, 11),
        np.arange(61) % 2,
    )  # crepes rounds (n + 1) * 0.2 = 6 down to 5
    plain = crepes.ConformalRegressor().fit(residuals=seen - said)
    t = conformal_threshold(absolute_scores(said, seen), confidence)
    np.testing.assert_allclose(plain.predict_int(new, confidence=confidence), np.stack([new - t, new + t], 1))
    scaled = crepes.ConformalRegressor().fit(residuals=seen - said, sigmas=spreads)
    t = conformal_threshold(absolute_scores(said, seen) / spreads, confidence) * new_spreads
    found = scaled.predict_int(new, sigmas=new_spreads, confidence=confidence)
    np.testing.assert_allclose(found, np.stack([new - t, new + t], 1))
    grouped = crepes.ConformalRegressor().fit(residuals=seen - said, bins=bins)
    own = {name: conformal_threshold(absolute_scores(said, seen)[rows], confidence)
           for name, rows in group_rows(bins).items()}  # fmt: skip
    t = np.array([own[str(name)] for name in np.arange(11) % 2])
    found = grouped.predict_int(new, bins=np.arange(11) % 2, confidence=confidence)
    np.testing.assert_allclose(found, np.stack([new - t, new + t], 1))


def test_sets_of_classes_are_those_of_crepes_on_the_same_probabilities():
    extras = pytest.importorskip("crepes.extras")
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(1)
    chances, labels = rng.dirichlet(np.ones(4), 60), rng.integers(0, 4, 60)
    scores = class_scores(np.log(chances[:40]), labels[:40])
    np.testing.assert_allclose(scores, extras.hinge(chances[:40], np.arange(4), labels[:40]))
    other = crepes.ConformalClassifier().fit(scores)
    expected = other.predict_set(extras.hinge(chances[40:]), confidence=0.8, smoothing=False).astype(bool)
    np.testing.assert_array_equal(1 - chances[40:] <= conformal_threshold(scores, 0.8), expected)


def test_coverage_is_what_was_asked_for_on_exchangeable_data():
    rng = np.random.default_rng(0)
    scores = np.abs(rng.standard_t(3, size=(40, 5000)))  # 39 calibrate, one is new, 5 000 times
    for level in (0.5, 0.8, 0.9, 0.95):
        share = (scores[-1] <= conformal_threshold(scores[:-1], level)).mean()
        assert share == pytest.approx(np.ceil(40 * level) / 40, abs=0.015)


def test_scores_of_quantiles_are_below_zero_inside():
    np.testing.assert_array_equal(quantile_scores([0.0, 0.0, 0.0], [4.0, 4.0, 4.0], [1.0, 6.0, -3.0]), [-1, 2, 3])


def test_errors_that_grow_with_the_spread_are_found_and_others_are_not():
    rng = np.random.default_rng(2)
    spreads = rng.uniform(0.1, 3, (4000, 2))
    errors = np.abs(rng.normal(size=(4000, 2))) * np.stack([0.5 + 2 * spreads[:, 0], np.full(4000, 3.0)], 1)
    grows, stays = fit_spread_scale(errors, spreads)
    mean = np.sqrt(2 / np.pi)  # of |z|
    np.testing.assert_allclose(grows, [0.5 * mean, 2 * mean], atol=0.1)
    assert stays[1] * spreads[:, 1].mean() < 0.05 * stays[0]
    np.testing.assert_array_equal(fit_spread_scale(errors[:5], spreads[:5]), [[1, 0], [1, 0]])
    np.testing.assert_array_equal(fit_spread_scale(errors, 0 * spreads), [[1, 0], [1, 0]])


def test_a_few_answers_without_an_error_are_no_certainty():
    logits, labels = np.array([[3.0, 0.0], [0.0, 5.0]] * 10), np.array([0, 1] * 10)
    scaled = logits / fit_temperature(logits, labels)
    best = 1 / (1 + np.exp(scaled.min(axis=1) - scaled.max(axis=1)))
    assert best.mean() == pytest.approx(1 - 0.5 / 21, abs=0.01)  # one sample of 21, spread over two classes
    impossible = np.array([[3.0, -np.inf], [0.0, 5.0]] * 10)
    assert 0.05 < fit_temperature(impossible, labels) < 20


def test_the_temperature_undoes_a_known_overconfidence():
    rng = np.random.default_rng(4)
    honest = rng.normal(size=(6000, 3))
    chances = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    labels = (rng.random(6000)[:, None] > chances.cumsum(1)).sum(1)
    assert fit_temperature(2.5 * honest, labels) == pytest.approx(2.5, rel=0.1)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: absolute_scores([1.0], [1.0, 2.0]), "predictions have shape"),
        (lambda: absolute_scores([np.nan], [1.0]), "not finite"),
        (lambda: conformal_threshold([1.0], 1.5), "level must be rising numbers between 0 and 1"),
        (lambda: fit_temperature([[np.nan, 1.0]], [0]), "not finite"),
    ],
)
def test_wrong_arguments_are_named(call, told):
    with pytest.raises(ValueError, match=told):
        call()
