# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The curve that is kept beside the weights: of their recipe, and compared to the bit."""

import json

import pytest

from examples.study.pretrained_again import LOG_STEPS, RECIPE, SHIPPED, compare


def test_the_kept_curve_is_of_a_tenth_of_the_recipe() -> None:
    kept = json.loads((SHIPPED / "curve.json").read_text())
    assert {name: kept[name] for name in RECIPE} == RECIPE and kept["log_steps"] == LOG_STEPS
    assert len(kept["loss"]) >= RECIPE["steps"] // 10 // LOG_STEPS and kept["loss"][-1] < kept["loss"][0]


@pytest.mark.parametrize(
    ("found", "same", "words"), [([2.5, 1.0], True, "to the bit"), ([2.5, 1.25], False, "0.25 apart")]
)
def test_losses_are_equal_to_the_bit_or_told_how_far_apart(found: list[float], same: bool, words: str) -> None:
    said, equal = compare(found, [2.5, 1.0, 7.0])
    assert equal is same and words in said and "2 losses, steps 10 to 20" in said
