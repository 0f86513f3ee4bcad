# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From answers and a calibration to intervals and sets, worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from timesclip_hf.model.intervals import interval_of, percent, quantiles_at, set_of, temperature_of

LEVELS = [0.1, 0.5, 0.9]


def config_of(method: str = "absolute", numbers: int = 1, **fields) -> SimpleNamespace:
    calibration = {"method": method, "levels": [0.5, 0.9], "thresholds": [[1.0, 2.0], [3.0, None]], **fields}
    return SimpleNamespace(calibration=calibration, answer_levels=LEVELS, numbers_per_answer=numbers)


def test_each_target_has_its_threshold_and_an_unknown_one_no_end():
    said = {"predictions": [[10.0, 100.0], [20.0, 200.0]]}
    low, high = interval_of(config_of(), said, 0.5)
    np.testing.assert_array_equal([low, high], [[[9, 98], [19, 198]], [[11, 102], [21, 202]]])
    low, high = interval_of(config_of(), said, 0.9)
    np.testing.assert_array_equal([low, high], [[[7, -np.inf], [17, -np.inf]], [[13, np.inf], [23, np.inf]]])


def test_thresholds_are_in_units_of_floor_and_slope_of_the_spread():
    config = config_of("spread", scale=[[0.5, 2.0], [1.0, 0.0]])
    low, high = interval_of(config, {"predictions": [[0.0, 0.0]], "spreads": [[3.0, 9.0]]}, 0.5)
    np.testing.assert_array_equal([low, high], [[[-6.5, -2]], [[6.5, 2]]])


def test_groups_have_their_own_and_others_those_of_all():
    config = config_of(groups={"7": [[5.0, 5.0], [6.0, 6.0]]})
    low, _ = interval_of(config, {"predictions": np.zeros((3, 2))}, 0.5, [7, "7", "new"])
    np.testing.assert_array_equal(low, [[-5, -5], [-5, -5], [-1, -2]])
    config = config_of(groups={"7": [[5.0, 5.0], [6.0, 6.0]], "8.0": [[1.0, 1.0], [2.0, 2.0]]})
    np.testing.assert_array_equal(
        interval_of(config, {"predictions": np.zeros((4, 2))}, 0.5, [7.0, "7", 8, np.float32(8)])[1][:, 0],
        [5, 5, 1, 1],
    )
    with pytest.raises(ValueError, match="groups has 1 entries, the answers 3 samples"):
        interval_of(config, {"predictions": np.zeros((3, 2))}, 0.5, ["7"])


def test_quantiles_are_moved_apart_and_never_beyond_each_other():
    said = {"predictions": [[0.0]], "quantiles": [[[-4.0, 0.0, 2.0]]]}
    config = config_of("quantile", 3)
    config.calibration |= {"levels": [0.8], "thresholds": [[1.0]]}
    np.testing.assert_allclose(interval_of(config, said, 0.8), [[[-5]], [[3]]])
    config.calibration["thresholds"] = [[-2.0]]
    np.testing.assert_allclose(interval_of(config, said, 0.8), [[[-2]], [[0]]])
    config.calibration["thresholds"] = [[-4.0]]  # an empty interval is a point
    np.testing.assert_allclose(interval_of(config, said, 0.8), [[[-1]], [[-1]]])


def test_a_model_of_quantiles_that_was_not_calibrated_gives_its_own():
    config = config_of(numbers=3)
    config.calibration = None
    quantiles = 5 + 2 * norm.ppf(LEVELS)
    low, high = interval_of(config, {"predictions": [[5.0]], "quantiles": quantiles[None, None]}, 0.98)
    np.testing.assert_allclose([low, high], 5 + 2 * norm.ppf([[[0.01]], [[0.99]]]))  # straight lines are exact here


def test_quantiles_between_levels_are_on_straight_lines_of_the_normal_distribution():
    found = quantiles_at([[0.0, 1.0, 5.0]], LEVELS, [0.1, 0.3, 0.5, 0.9, 0.95])
    slope = 4 / norm.ppf(0.9)
    expected = [0, 1 + norm.ppf(0.3) / norm.ppf(0.9), 1, 5, 1 + slope * norm.ppf(0.95)]
    np.testing.assert_allclose(found, [expected])


def test_sets_hold_all_classes_that_are_likely_enough_and_the_likeliest():
    config = config_of("classes", temperature=2.0)
    config.calibration["thresholds"] = [0.4, None]
    logits = np.log([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
    np.testing.assert_array_equal(set_of(config, logits, 0.5), [[True, False, False], [True, False, False]])
    assert set_of(config, logits, 0.9).all() and temperature_of(config) == 2.0
    config.calibration["thresholds"] = [0.7, 0.99]
    np.testing.assert_array_equal(set_of(config, logits, 0.5)[1], [True, True, False])


def test_names_of_levels():
    assert [percent(level) for level in (0.9, 0.975, 1 / 3)] == ["90", "97.5", "33.3333"]


@pytest.mark.parametrize(
    ("level", "told"), [(90, "between 0 and 1"), (True, "between 0 and 1"), (0.8, "only 0.5, 0.9"), ("0.9", "between")]
)
def test_levels_that_cannot_be_asked_for_are_named(level, told):
    with pytest.raises(ValueError, match=told):
        interval_of(config_of(), {"predictions": [[0.0, 0.0]]}, level)


def test_a_model_that_was_never_calibrated_says_what_to_do():
    config = config_of()
    config.calibration = None
    with pytest.raises(ValueError, match=r"calibrate\(model, processor, validation\)"):
        interval_of(config, {"predictions": [[0.0]]}, 0.9)
