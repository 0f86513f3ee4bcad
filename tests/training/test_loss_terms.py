# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Means of loss terms, by themselves; `test_processes.py` has them over two processes."""

import pytest
import torch
from accelerate import Accelerator

from timesclip_hf.training.loss_terms import LossTerms


@pytest.fixture
def terms() -> LossTerms:
    return LossTerms(Accelerator(cpu=True))


def test_in_training_all_batches_count_alike_and_absent_terms_are_left_out(terms: LossTerms) -> None:
    for value in (1.0, 2.0, 6.0):
        terms.add({"task_loss": torch.tensor(value), "alignment_loss": None})
    assert terms.pop() == {"task_loss": 3.0}
    assert terms.pop() == {}


def test_in_evaluation_a_batch_counts_by_observed_labels_and_alignment_by_samples(terms: LossTerms) -> None:
    nan = float("nan")
    for value, labels in ((1.0, [[1.0, nan], [nan, nan], [2.0, 3.0]]), (5.0, [[1.0, nan]])):
        inputs = {"labels": torch.tensor(labels)}
        terms.add({"loss": torch.tensor(value), "alignment_loss": torch.tensor(value)}, inputs)
    assert terms.pop() == {"loss": (3 * 1.0 + 1 * 5.0) / 4, "alignment_loss": (3 * 1.0 + 1 * 5.0) / 4}
    terms.add({"loss": torch.tensor(1.0)}, {"patch_values": torch.zeros(3, 2)})
    terms.add({"loss": torch.tensor(5.0)}, {"patch_values": torch.zeros(1, 2)})
    assert terms.pop() == {"loss": 2.0}


def test_with_weight_0_a_term_is_known_and_does_not_count(terms: LossTerms) -> None:
    terms.weight = 0
    terms.add({"loss": torch.tensor(7.0)})
    assert terms.pop() == {"loss": 0.0}
