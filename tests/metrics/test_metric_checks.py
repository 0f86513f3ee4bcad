# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What every metric refuses: other shapes, nothing at all, what is no number, and what a Trainer gathered besides."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from timesclip_hf.metrics import compute_regression_metrics, mae, mape, r2, rmse

ALL = (rmse, mae, r2, mape)


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


def test_trainer_hook_refuses_several_outputs_and_missing_labels():
    predictions = np.ones((4, 1))
    with pytest.raises(ValueError, match="keys_to_ignore_at_inference"):
        compute_regression_metrics(EvalPrediction(predictions=(predictions, predictions), label_ids=predictions))
    with pytest.raises(ValueError, match="label_names"):
        compute_regression_metrics(EvalPrediction(predictions=predictions, label_ids=None))


def test_metrics_need_neither_torch_nor_transformers() -> None:
    code = "import sys, timesclip_hf.metrics; assert not {'torch', 'transformers'} & {*sys.modules}"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


@pytest.mark.parametrize("metric", ALL)
def test_masked_targets_are_missing_and_not_what_lies_under_the_mask(metric):
    targets = np.ma.masked_array([1.0, 2.0, -9999.0], mask=[False, False, True])
    with pytest.raises(ValueError, match=r"targets are NaN or infinite in 1 of 3 rows \(first: \[2\]\)"):
        metric([1.5, 2.5, 3.0], targets)


@pytest.mark.parametrize("values", [[10**400, 1], torch.ones(2, requires_grad=True)])
def test_what_numpy_cannot_read_is_named(values):
    with pytest.raises(ValueError, match="predictions must be one array of real numbers"):
        rmse(values, [1.0, 2.0])
