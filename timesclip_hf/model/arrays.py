# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What NumPy and torch name or do differently, so that arithmetic on series is written once for both.

A function that takes arrays of either library asks for `namespace(array)` and uses what both have in common; the rest
is here. Nothing here imports torch: who has a tensor has imported it.
"""

import sys
from typing import Any

import numpy as np

# A NumPy array or a torch tensor; the functions of a call get one kind, and give the same kind back.
Array = Any


def namespace(array: Array) -> Any:
    """The library that an array belongs to: `numpy` or `torch`."""
    return np if isinstance(array, (np.ndarray, np.generic)) else sys.modules["torch"]


def like(values: Any, array: Array, dtype: Any = None) -> Array:
    """Numbers as an array of the library, the device and, unless another is named, the type of `array`."""
    dtype = array.dtype if dtype is None else dtype
    if isinstance(array, (np.ndarray, np.generic)):
        return np.asarray(values.detach().cpu() if hasattr(values, "cpu") else values, dtype=dtype)
    return namespace(array).as_tensor(values, dtype=dtype, device=array.device)


def zeros(shape: tuple[int, ...], array: Array) -> Array:
    """Zeros of the library, device and type of `array`."""
    return np.zeros(shape, array.dtype) if isinstance(array, np.ndarray) else array.new_zeros(shape)


def is_floating(array: Array) -> bool:
    """Whether its numbers are floating point."""
    return bool(array.dtype.kind == "f" if isinstance(array, np.ndarray) else array.is_floating_point())


def cast(array: Array, dtype: Any) -> Array:
    """The array in another type, itself where it has it."""
    return array.astype(dtype, copy=False) if isinstance(array, np.ndarray) else array.to(dtype)


def contiguous(array: Array) -> Array:
    """The array laid out row by row."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array.contiguous()


def running_maximum(array: Array, axis: int) -> Array:
    """The largest value so far."""
    if isinstance(array, np.ndarray):
        return np.maximum.accumulate(array, axis=axis)
    return array.cummax(dim=axis).values


def accumulate(array: Array, axis: int) -> Array:
    """The running sum, in place."""
    if isinstance(array, np.ndarray):
        return np.cumsum(array, axis=axis, out=array)
    return array.cumsum_(axis)


def take_along(array: Array, index: Array, axis: int) -> Array:
    """`array` at `index` along an axis; all other axes go together."""
    if isinstance(array, np.ndarray):
        return np.take_along_axis(array, index, axis)
    return array.gather(axis, index)


def sliding_windows(array: Array, length: int, stride: int) -> Array:
    """Windows over axis 1 of `(B, T, ...)`: `(B, N, ..., length)`."""
    if isinstance(array, np.ndarray):
        return np.lib.stride_tricks.sliding_window_view(array, length, axis=1)[:, ::stride]
    return array.unfold(1, length, stride)


def add_at(array: Array, index: Array, amounts: Array) -> None:
    """`array[row, index[row, i]] += amounts[row, i]` for every row and i, in place, repeated indices summed."""
    if not isinstance(array, np.ndarray):
        array.scatter_add_(1, index, amounts)
        return
    rows, width = array.shape
    flat = (index + width * np.arange(rows)[:, None]).ravel()  # one bincount is far faster than np.add.at
    array += np.bincount(flat, weights=amounts.ravel(), minlength=array.size).reshape(array.shape)


__all__ = [
    "Array",
    "accumulate",
    "add_at",
    "cast",
    "contiguous",
    "is_floating",
    "like",
    "namespace",
    "running_maximum",
    "sliding_windows",
    "take_along",
    "zeros",
]
