# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Peers learn from train, choose on validation, and never read a label of the test part."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from timesclip_hf.data.long import SeriesCollection
from timesclip_hf.data.splits import split_windows
from timesclip_hf.metrics import classification_metrics
from timesclip_hf.training import peers
from timesclip_hf.training.forecast_peers import linear_map, repeat_last, repeat_season
from timesclip_hf.training.peers import Part, fill_gaps, flat_features, mean_predictor, peers_for, ridge


def part(count: int, seed: int, num_classes: int = 0) -> Part:
    """Series whose last step of the first variate says all; two soils that say a bit."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 5, 2))
    soil = rng.integers(0, 2, count)
    labels: Any = 10 + 3 * values[:, -1, 0] + soil + rng.normal(0, 0.1, count)
    if num_classes:
        labels = np.clip(np.digitize(labels, [8, 12])[:], 0, num_classes - 1)
    static = pd.DataFrame({"soil": np.array(["clay", "loam"])[soil]})
    return Part(values, static, labels, static, np.arange(count) % 4, num_classes)


def names() -> dict[str, peers.Peer]:
    return {name: peer for name, peer in peers_for(0).items() if not name.startswith("ROCKET")}


def test_gaps_are_straight_lines_with_the_ends_held() -> None:
    nan = np.nan
    series = np.array([[[nan, nan], [1.0, nan], [nan, nan], [3.0, nan], [nan, nan]]])
    np.testing.assert_array_equal(fill_gaps(series)[0, :, 0], [1, 1, 2, 3, 3])
    assert np.isnan(fill_gaps(series)[0, :, 1]).all()


def test_a_category_that_training_never_saw_becomes_zeros() -> None:
    train, test = part(30, 0), part(4, 1)
    test.static.loc[0, "soil"] = "peat"
    (features,) = flat_features(train, test)
    assert features.shape == (4, 12) and features[0, -2:].tolist() == [0, 0] and features[1:, -2:].sum() == 3


@pytest.mark.parametrize("name", names())
def test_labels_of_the_test_part_are_never_read(name: str) -> None:
    train, validation, test = part(60, 0), part(30, 1), part(20, 2)
    hidden = dataclasses.replace(test, labels=np.full(20, np.nan))
    np.testing.assert_array_equal(
        peers_for(0)[name](train, validation, test, 0), peers_for(0)[name](train, validation, hidden, 0)
    )


def test_ridge_is_scikit_learns_with_the_best_of_the_penalties() -> None:
    train, test = part(200, 0), part(50, 1)
    inputs, unseen = flat_features(train, train, test)
    found = ridge(train, test, test, 0)
    candidates = [Ridge(alpha=alpha).fit(inputs, train.labels).predict(unseen) for alpha in peers.RIDGE_PENALTIES]
    assert min(np.abs(found - each).max() for each in candidates) < 1e-4
    assert np.sqrt(np.mean((found - test.labels) ** 2)) < 0.15  # the noise is 0.1


def test_folds_keep_together_what_belongs_together() -> None:
    groups = part(40, 0).folds
    assert groups is not None
    for kept, out in peers._folds(part(40, 0)):
        assert not set(groups[kept]) & set(groups[out])


def test_a_guess_of_classes_is_their_frequency() -> None:
    train = part(100, 0, num_classes=3)
    answers = mean_predictor(train, train, part(5, 1, num_classes=3), 0)
    np.testing.assert_allclose(np.exp(answers[0]), np.bincount(train.labels) / 100)


@pytest.mark.parametrize("name", ["logistic regression", "gradient boosting"])
def test_classes_that_can_be_told_apart_are(name: str) -> None:
    train, validation, test = (part(count, seed, 3) for count, seed in ((200, 0), (60, 1), (60, 2)))
    answers = peers_for(3)[name](train, validation, test, 0)
    assert answers.shape == (60, 3) and classification_metrics(answers, test.labels)["accuracy"] > 0.8


def test_a_class_that_a_fold_lacks_is_all_but_impossible() -> None:
    train = part(40, 0, num_classes=4)  # class 3 has no row
    answers = ridge(train, train, part(5, 1, num_classes=4), 0)
    assert answers.shape == (5, 4) and (answers.argmax(axis=1) < 3).all()


def test_naive_forecasts_repeat_a_value_or_a_season() -> None:
    past = np.arange(6.0).reshape(1, 6, 1)
    assert repeat_last(past, 3)[0, :, 0].tolist() == [5, 5, 5]
    assert repeat_season(past, 5, 3)[0, :, 0].tolist() == [3, 4, 5, 3, 4]
    with pytest.raises(ValueError, match="a season of 7 steps cannot be repeated from 6"):
        repeat_season(past, 2, 7)


def test_a_linear_map_finds_a_wave() -> None:
    """A sine satisfies a linear recurrence, also of two variates of very different levels."""
    wave = np.sin(np.arange(400) * 2 * np.pi / 13)
    series = SeriesCollection([np.stack([wave, 1000 + 50 * wave], axis=1)], ["a", "b"], ["s"])
    splits = split_windows(series, context_length=16, prediction_length=4)
    truth = np.stack([splits.test[row]["labels"] for row in range(len(splits.test))])
    np.testing.assert_allclose((linear_map(splits) - truth) / [1, 50], 0, atol=0.02)
