# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How many digits numbers need, in one place, for NumPy arrays and torch tensors alike.

The rule: tables, series and labels are float64 until level and spread are taken off; what is scaled is float32. `loc`,
`scale`, `labels` and predictions are float32 unless that would cost digits, which is where a level is more than 10 000
times its spread (a meter that stands at 123 456 789 and moves by 0.25). They are float64 there, and all others come
out as if nothing had been wider. A target's level and spread are those that the processor was fitted on. Apple's
accelerator (MPS) has no float64: on machines with one, batches are rounded to float32, and a warning says so where
that costs digits.

Values that differ by rounding alone are constant. How much that is depends on the dtype in which they came: 1e-6 of
the magnitude in float32, 2e-15 in float64.
"""

import sys
import warnings
from collections.abc import Iterable, MutableMapping
from typing import Any

import numpy as np

from .arrays import Array, cast, namespace

# float32 holds 7 digits: beyond this ratio of level to spread, fewer than 3 would be left for the spread.
_LARGE_LEVEL = 1e4
# Neighbouring numbers of a dtype lie up to one `eps` apart; a few sums and products lose a few of these.
_NOISE_IN_EPS = 8


def rounding_noise(dtype: Any) -> float:
    """The share of their magnitude by which equal numbers of a dtype may differ; whole numbers become float64."""
    if isinstance(dtype, np.dtype) and dtype.kind != "f":
        dtype = np.dtype(np.float64)
    known = np if isinstance(dtype, np.dtype) else sys.modules["torch"]
    return _NOISE_IN_EPS * float(known.finfo(dtype).eps)


def costs_digits(level: Any, spread: Any) -> Any:
    """Where float32 would not hold a level and its spread together."""
    return abs(level) > _LARGE_LEVEL * spread


def any_costs_digits(mean: Iterable[float], std: Iterable[float]) -> bool:
    """Whether one of several levels is such a one beside its spread."""
    return any(costs_digits(level, spread) for level, spread in zip(mean, std, strict=True))


def widened(array: Array) -> Array:
    """Numbers in float64, or in float32 on a device that has nothing wider."""
    on_mps = getattr(getattr(array, "device", None), "type", None) == "mps"
    xp = namespace(array)
    return cast(array, xp.float32 if on_mps else xp.float64)


def to_raw_units(scaled: Array, level: Array, spread: Array) -> Array:
    """`scaled * spread + level`, in float64 where float32 would cost digits.

    Args:
        scaled: float32.
        level, spread: float32 or float64, broadcast over `scaled`.

    Returns:
        In the dtype of `level`. Numbers that need no float64 are those of float32, whatever stands beside them.
    """
    xp = namespace(scaled)
    plain = scaled * cast(spread, scaled.dtype) + cast(level, scaled.dtype)
    if level.dtype == scaled.dtype:
        return plain
    return xp.where(costs_digits(level, spread), cast(scaled, level.dtype) * spread + level, cast(plain, level.dtype))


def to_scaled_units(values: Array, level: Array, spread: Array) -> Array:
    """`(values - level) / spread` in float32, the difference taken as `widened` says."""
    return cast((widened(values) - widened(level)) / widened(spread), namespace(values).float32)


def round_for_mps(batch: MutableMapping[str, Any]) -> None:
    """Makes a batch float32 on a machine whose accelerator has no float64, in place."""
    torch = sys.modules["torch"]
    if not torch.backends.mps.is_available():
        return
    wide = [name for name, tensor in batch.items() if tensor.dtype == torch.float64]
    if "loc" in wide:
        warnings.warn(
            "Levels far above their spread are rounded to float32, since this machine's accelerator (MPS) has no "
            "float64: predictions of such series lose digits.",
            stacklevel=3,
        )
    for name in wide:
        batch[name] = batch[name].float()


__all__ = [
    "any_costs_digits",
    "costs_digits",
    "round_for_mps",
    "rounding_noise",
    "to_raw_units",
    "to_scaled_units",
    "widened",
]
