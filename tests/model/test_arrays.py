# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Arithmetic that is written once gives the same for NumPy and torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from timesclip_hf.model import arrays

VALUES = np.random.default_rng(0).normal(size=(3, 8, 2))
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "running_maximum": lambda a: arrays.running_maximum(a, 1),
    "accumulate": lambda a: arrays.accumulate(arrays.contiguous(a + 0), 1),
    "take_along": lambda a: arrays.take_along(a, arrays.like([[[2, 0]], [[1, 1]], [[7, 3]]], a, _int64(a)), 1),
    "sliding_windows": lambda a: arrays.sliding_windows(a, 3, 2),
    "zeros": lambda a: arrays.zeros((2, 3), a),
    "cast": lambda a: arrays.cast(a, arrays.namespace(a).float32),
}


def _int64(array: Any) -> Any:
    return arrays.namespace(array).int64


@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_libraries_give_the_same(name: str) -> None:
    ours, theirs = FUNCTIONS[name](VALUES), FUNCTIONS[name](torch.from_numpy(VALUES.copy()))
    assert isinstance(ours, np.ndarray) and isinstance(theirs, torch.Tensor)
    assert ours.dtype == theirs.numpy().dtype
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)


def test_amounts_are_added_at_repeated_places() -> None:
    index = np.array([[0, 0, 2], [3, 1, 3]])
    for array in (np.zeros((2, 4)), torch.zeros(2, 4, dtype=torch.float64)):
        amounts = arrays.like([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], array)
        arrays.add_at(array, arrays.like(index, array, _int64(array)), amounts)
        assert array.tolist() == [[3, 0, 4, 0], [0, 16, 0, 40]]


def test_numbers_take_the_library_and_type_of_another_array() -> None:
    assert arrays.like(torch.ones(2), VALUES).dtype == np.float64
    assert arrays.like([1, 2], torch.zeros(1)).dtype == torch.float32
    assert arrays.is_floating(VALUES) and not arrays.is_floating(torch.ones(1, dtype=torch.int32))
