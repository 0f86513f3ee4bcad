# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a reader gets first: a sentence and a table, in numbers that can be read."""

import numpy as np
import pandas as pd
import pytest

from timesclip_hf.training import train_report as report

MEASURED = {
    "TimesCLIP small": {"mae": 470.4, "rmse": 600.0, "r2": 0.8123, "mape": 7.0},
    "mean": {"mae": 830.0, "rmse": 1000.0, "r2": -0.01, "mape": 12.0},
    "ridge": {"mae": 410.0, "rmse": 550.0, "r2": 0.84, "mape": 6.0},
}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (470.4, "470"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.012"), (123456.0, "123456"),
        (0.00432, "0.0043"), (-0.000123, "-0.00012"), (2.5e-8, "0.000000025"), (-1e-17, "0.000"), (0.0, "0.000"),
    ],
)  # fmt: skip
def test_figures_have_digits_that_count_and_no_exponent(value: float, shown: str) -> None:
    assert report.figure(value) == shown


def test_one_sentence_says_it_all() -> None:
    told = report.sentence("regression", MEASURED, "kg/ha")
    assert told == "typical error 470 kg/ha; always guessing the mean: 830; ridge: 410"


def test_the_best_row_stands_first_and_columns_are_aligned() -> None:
    lines = report.table("regression", MEASURED, "kg/ha").splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["ridge", "TimesCLIP small", "mean"]
    assert len(set(map(len, lines))) == 1 and "typical error (kg/ha)" in lines[0]


def test_a_name_cannot_break_the_table() -> None:
    measured = {"a|b\nc": MEASURED["ridge"]}
    assert len(report.table("regression", measured).splitlines()) == 3


def test_a_model_can_be_used_from_where_it_stays_nearly_as_good_as_at_the_end() -> None:
    curve = {seen: {"m": {"r2": value}} for seen, value in ((4, 0.78), (8, 0.5), (12, 0.75), (16, 0.8))}
    assert report.usable_from("regression", curve, "m").startswith("from 12 steps on")


def test_predictions_of_classes_are_names_and_probabilities() -> None:
    logits = np.log([[0.2, 0.8], [0.6, 0.4]])
    found = report.predictions_table(pd.DataFrame({"id": [7, 8]}), "crop", ["b", "a"], logits, ["a", "b"])
    assert found["predicted_label"].tolist() == ["b", "a"] and found["score"].tolist() == pytest.approx([0.8, 0.6])
    assert list(found.columns) == ["id", "crop", "predicted_label", "score"]
