# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Warnings come once a run, whatever Python's filters say and however many batches there are."""

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from timesclip_hf import (
    TimesCLIPDataCollator,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)
from timesclip_hf.model.messages import Run, one_run, tell


def told(of: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        of()
    return [
        str(warning.message) for warning in said if "hold" in str(warning.message) or "seen" in str(warning.message)
    ]


def test_each_thing_is_told_once_in_a_run_and_anew_in_the_next() -> None:
    def batches() -> None:
        for items in (["a"], ["a", "b"], ["b"], []):
            tell("holds {}, indeed", items)

    assert told(batches) == ["holds a, indeed", "holds a, b, indeed", "holds b, indeed"]  # no run is known

    def one() -> None:
        with one_run():
            batches()

    for _ in range(2):
        assert told(one) == ["holds a, indeed", "holds b, indeed"]

    def inner() -> None:
        with one_run():
            one()
            one()

    assert told(inner) == ["holds a, indeed", "holds b, indeed"]


def test_what_is_kept_for_the_end_is_told_together() -> None:
    run = Run(at_end=True)

    def batches() -> None:
        for k in range(14):
            with one_run(run):
                tell("{} holds {}", [f"item {k % 12}"])

    assert told(batches) == []
    assert told(run.end) == [f"{{}} holds {', '.join(f'item {k}' for k in range(10))} and 2 more"]


@pytest.fixture
def rows() -> Dataset:
    rng = np.random.default_rng(0)
    series, soils = rng.normal(size=(20, 12, 3)), ["peat", "loam", "silt", "clay"] * 5
    series[::3, 2, 1] = 9.96921e36
    return Dataset.from_dict(
        {
            "past_values": series.tolist(),
            "static_values": [{"soil": soil} for soil in soils],
            "labels": rng.normal(size=(20, 1)).tolist(),
        }
    )


def test_a_collator_and_a_training_with_its_evaluations_are_one_run(
    rows: Dataset, tiny_config: Any, tmp_path: Any
) -> None:
    config = tiny_config("small")
    processor = TimesCLIPProcessor.from_config(config)
    fit = told(lambda: processor.fit(rows.select([1, 4, 5, 8])))  # peat and loam alone
    assert fit == []
    assert len(told(lambda: TimesCLIPProcessor.from_config(config).fit(rows))) == 1
    expected = ["hold 9.96921e+36", "seen in training, which count as none: 'clay', 'silt'"]
    collate = TimesCLIPDataCollator(processor)

    def epochs() -> None:
        for _ in range(3):
            for k in range(0, 20, 4):
                collate([rows[row] for row in range(k, k + 4)])

    found = told(epochs)
    assert len(found) == 2 and all(words in text for words, text in zip(expected, found, strict=True))
    assert (
        told(epochs) == []
        and len(told(lambda: pickle.loads(pickle.dumps(TimesCLIPDataCollator(processor)))(list(rows)))) == 2
    )
    trainer = TimesCLIPTrainer(
        model=TimesCLIPForRegression(processor.complete_config(config)),
        args=TimesCLIPTrainingArguments(
            str(tmp_path),
            num_train_epochs=3,
            per_device_train_batch_size=5,
            eval_strategy="epoch",
            use_cpu=True,
            per_device_eval_batch_size=5,
            report_to="none",
            disable_tqdm=True,
        ),  # fmt: skip
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=processor,
    )
    found = told(trainer.train)
    assert len([text for text in found if "hold" in text]) == 1
    assert sum(text.count("'clay'") for text in found) == sum(text.count("'silt'") for text in found) == 1
    assert told(trainer.evaluate) == []
