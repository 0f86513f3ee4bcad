# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a trainer's card takes for validation, and what for a test; `test_card_and_facts.py` has whole trainings."""

from types import SimpleNamespace
from typing import Any

import pytest

from timesclip_hf.hub.card_callback import ModelCardCallback

VALIDATION, TEST, TRAIN = [1, 2], [3, 4, 5], [6]


def reported(data: Any, prefix: str, own: Any = VALIDATION, unnamed: bool = False, training: bool = False) -> Any:
    """Parts and sizes that the card knows after one evaluation."""
    card = ModelCardCallback(SimpleNamespace(eval_dataset=own, train_dataset=TRAIN, is_in_train=training))
    card.data = data
    metrics = {f"{prefix}_rmse": 1.0, f"{prefix}_runtime": 2.0}
    with card.unnamed(unnamed):
        card.on_predict(None, None, None, metrics=metrics)
    return {part: (found.count, found.metrics["rmse"]) for part, found in card._measurements.items()}


@pytest.mark.parametrize(
    ("data", "prefix", "settings", "expected"),
    [
        (None, "eval", {}, {"validation": (2, 1.0)}),
        (VALIDATION, "test", {}, {"validation": (2, 1.0)}),  # whatever it is called
        (TEST, "test", {}, {"test": (3, 1.0)}),
        (TEST, "test", {"unnamed": True}, {}),  # Trainer's own prefix says nothing
        (TEST, "eval", {}, {}),
        (TRAIN, "test", {}, {}),
        ("far", "eval_far", {"own": {"far": VALIDATION}}, {"validation (far)": (2, 1.0)}),
        (VALIDATION, "test", {"own": {"far": VALIDATION}}, {"validation (far)": (2, 1.0)}),
        (None, "eval", {"training": True}, {}),  # that is in the log
    ],
)
def test_the_part_that_was_measured_has_the_name_that_it_is(
    data: Any, prefix: str, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert reported(data, prefix, **settings) == expected


def test_what_was_measured_on_other_weights_is_forgotten() -> None:
    card = ModelCardCallback(SimpleNamespace(eval_dataset=VALIDATION, train_dataset=TRAIN, is_in_train=False))
    card.on_evaluate(None, None, None, metrics={"eval_rmse": 1.0, "eval_runtime": 1.0})
    card.on_train_begin(None, None, None)
    assert not card._measurements
