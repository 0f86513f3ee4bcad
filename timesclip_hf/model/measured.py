# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which numbers are measurements, and which stand for nothing or can be none.

The rule, at every door: missing is NaN (None, blank cells), what a mask says, what `numpy.ma` masks, and known fill
values, which no measurement takes: netCDF's 9.96921e36, 1e20 and others of the kind, the largest numbers of float32
and float64 and the smallest of int32 and int64; a warning names them. A processor's `missing_values` adds to these.

What no arithmetic here holds raises, with its sample and variate: infinities, numbers beyond float32's range, numbers
that stay beyond 1e15 once level and spread are taken off, and numbers beyond 1e18 among others that are a billion
times smaller, whose own spread they make.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import Array, like, namespace
from .messages import tell

# Either sign. netCDF; CF, CMIP and climate models; GRIB; GrADS and its kin; Surfer; the largest float32 and float64,
# also as GIS write them.
_FILL_VALUES = (
    9.969209968386869e36, 9.97e36, 1e20, 9.99e20, 9.999e20, 1e30, 1e31, 1e33, 9.99e33, 9.999e33, 1e34, 1e35, 1e36,
    1e37, 1.70141e38, 3.4e38, 3.403e38, 3.4028234663852886e38, 1.7976931348623157e308,
)  # fmt: skip
# Digits that text and float32 leave of them.
_SAME = 1e-5
# The smallest of int32 and netCDF's fill value one above it, those of int64 and uint64; in float64 these are two.
_WHOLE_FILL_VALUES = (-2147483648.0, -2147483647.0, -9223372036854775808.0, 18446744073709551616.0)
# The squares of scaled numbers, and sums of these, must fit into float32.
MOST_SCALED = 1e15
# Raw numbers beyond this are looked at: beside much smaller ones they are none of their kind.
_LARGE, _ISOLATED = 1e18, 1e9
_MOST = float(np.finfo(np.float32).max)


def unmasked(values: Any) -> Any:
    """`numpy.ma` arrays, alone or in nested lists, as arrays with NaN where they are masked; all else as it is."""
    if isinstance(values, np.ma.MaskedArray):
        if not np.ma.is_masked(values) or values.dtype.kind in "USVMm":  # text and times do not become numbers
            return values.data
        return np.ma.filled(values.astype(values.dtype if values.dtype.kind in "fc" else np.float64), np.nan)
    if isinstance(values, (list, tuple)) and any(isinstance(v, (list, tuple, np.ma.MaskedArray)) for v in values):
        return [unmasked(part) for part in values]
    return values


def is_fill_value(values: Array) -> Array:
    """Where a known fill value stands, in an array or a tensor of floats."""
    xp = namespace(values)
    found = xp.zeros_like(values, dtype=bool if xp is np else xp.bool)
    large = xp.abs(values) > 2e9
    if not large.any():
        return found
    numbers = like(values[large], np.zeros(0))  # as float64: the largest one is infinite in float32
    size = np.abs(numbers)[:, None]
    fills = (np.abs(size / np.array(_FILL_VALUES) - 1) < _SAME).any(axis=1) | np.isin(numbers, _WHOLE_FILL_VALUES)
    found[large] = like(fills, found)
    return found


def without_fill_values(values: Array, name: str) -> Array:
    """Floats with NaN in the place of known fill values; a warning names one. The array itself where there is none."""
    fills = is_fill_value(values)
    if not fills.any():
        return values
    shown = like(values[fills][:1], np.zeros(0))[0]
    tell(f"{name} hold {{}}, a known fill value: it counts as missing", [f"{shown:g}"])
    return namespace(values).where(fills, float("nan"), values)


def mark_missing(values: Array, missing_values: Any, variate_names: Sequence[str] | None) -> Array:
    """Floats `(..., V)` with NaN in the place of what a processor's `missing_values` declare.

    Args:
        missing_values: numbers, for all variates, or a dict of numbers by the variate's name; `None`: none. A number
            is found in float32, too.
    """
    if not missing_values:
        return values
    xp = namespace(values)
    marked = xp.zeros_like(values, dtype=bool if xp is np else xp.bool)
    for variate in range(values.shape[-1]):
        numbers = missing_values
        if isinstance(missing_values, Mapping):
            numbers = missing_values.get(variate_names[variate], []) if variate_names else []
        for number in numbers:
            column = values[..., variate]
            marked[..., variate] |= (column == number) | (column == float(np.float32(number)))
    return xp.where(marked, float("nan"), values) if marked.any() else values


def check_range(
    values: Array,
    observed: Array,
    name: str,
    variate_names: Sequence[str] | None = None,
    first: int = 0,
    column: str = "variate",
) -> None:
    """Raises for observed values `(B, T, V)` that are infinite or beyond float32's range.

    Args:
        name: of the argument.
        first: number of the first sample.
        column: what the last axis counts.
    """
    xp = namespace(values)
    if (wrong := observed & xp.isinf(values)).any():
        raise ValueError(
            f"{name} has infinite values in {describe(wrong, variate_names, first, column)}; missing values are NaN"
        )
    if (wrong := observed & (xp.abs(values) > _MOST)).any():
        where = describe(wrong, variate_names, first, column)
        raise _absurd(name, values, wrong, where, "beyond what float32 holds")


def check_scaled(values: Array, observed: Array, scaled: Array, variate_names: Sequence[str] | None) -> None:
    """Raises for observed values `(B, T, V)` that can be no measurements, going by what scaling made of them."""
    xp = namespace(values)
    if (wrong := observed & (xp.abs(scaled) > MOST_SCALED)).any():
        why = f"more than {MOST_SCALED:g} spreads away from its level"
        raise _absurd("past_values", values, wrong, describe(wrong, variate_names), why)
    size = xp.abs(values)
    if not (size > _LARGE).any():
        return
    smallest = xp.amin(xp.where(observed & (size > 0), size, xp.inf), axis=1)
    if (wrong := observed & (size > _LARGE) & (size > _ISOLATED * smallest[:, None])).any():
        why = f"more than {_ISOLATED:g} times others of its series"
        raise _absurd("past_values", values, wrong, describe(wrong, variate_names), why)


def describe(where: Array, names: Sequence[str] | None, first: int = 0, column: str = "variate") -> str:
    """The first sample (the first of all has the number `first`) and variate of a `(B, T, V)` mask, in words."""
    series = like(where.any(axis=1), np.zeros(0, bool))  # (B, V)
    sample, variate = (int(i) for i in np.argwhere(series)[0])
    name = repr(names[variate]) if names else str(variate)
    return f"sample {sample + first}, {column} {name} ({int(series.sum())} series in all)"


def _absurd(name: str, values: Array, wrong: Array, where: str, why: str) -> ValueError:
    numbers, marks = like(values, np.zeros(0)).swapaxes(1, 2), like(wrong, np.zeros(0, bool)).swapaxes(1, 2)
    return ValueError(
        f"{name} has {numbers[marks][0]:g} in {where}, {why}: this is no measurement; correct it, or mark it as "
        "missing (NaN)"
    )


__all__ = [
    "MOST_SCALED",
    "check_range",
    "check_scaled",
    "describe",
    "is_fill_value",
    "mark_missing",
    "unmasked",
    "without_fill_values",
]
