# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Static columns of a sample (latitude, soil, crop ...) to numbers: standardised, or one-hot over categories."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .series import CONSTANT

logger = logging.getLogger(__name__)


def fit_static(static_values: Any) -> list[dict[str, Any]]:
    """Learns how to encode static columns.

    Args:
        static_values: list of dicts, one a sample, a DataFrame, or a numeric `(n, S)` array.

    Returns:
        For each column, in order, `{"name": str}` with `"mean"`, `"std"` (numbers) or `"categories"` (text, sorted).
        A list, since transformers sorts the keys of the JSON it writes.

    Raises:
        ValueError: no rows, columns that differ between rows, missing values.
    """
    frame = _as_frame(static_values)
    _check_cells(frame)
    encoding: list[dict[str, Any]] = []
    for name, column in frame.items():
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            numbers = column.to_numpy(dtype=np.float64)
            if not np.isfinite(numbers).all():
                raise ValueError(f"static column {name!r} has infinite values.")
            # Beside the largest value a smaller spread is rounding noise: a constant column is not divided by it.
            spread = float(numbers.std())
            spread = spread if spread > CONSTANT * float(np.abs(numbers).max()) else 1.0
            encoding.append({"name": name, "mean": float(numbers.mean()), "std": spread})
        else:
            encoding.append({"name": name, "categories": sorted({str(value) for value in column})})
    return encoding


def static_width(encoding: Sequence[Mapping[str, Any]]) -> int:
    """Numbers that one sample's static columns become."""
    return sum(len(column["categories"]) if "categories" in column else 1 for column in encoding)


def encode_static(static_values: Any, encoding: Sequence[Mapping[str, Any]] | None) -> np.ndarray:
    """Static columns as fitted.

    Args:
        static_values: as for `fit_static`; columns that were not fitted are left alone.
        encoding: what `fit_static` returned.

    Returns:
        float32 `(n, static_width(encoding))`. A category never seen in training becomes all zeros, with a warning.

    Raises:
        ValueError: fitted without static columns, a fitted column is missing, or a cell is.
    """
    if not encoding:
        raise ValueError("static_values were given, but the processor was fitted without any: fit it with them.")
    frame = _as_frame(static_values)
    missing = [column["name"] for column in encoding if column["name"] not in frame.columns]
    if missing:
        raise ValueError(f"static_values lack the columns {missing}; they have {list(frame.columns)}.")
    _check_cells(frame[[column["name"] for column in encoding]])
    parts = []
    for column in encoding:
        name = column["name"]
        if "categories" not in column:
            numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
            if not np.isfinite(numbers).all():
                row = int(np.flatnonzero(~np.isfinite(numbers))[0])
                raise ValueError(
                    f"static column {name!r} must hold numbers, found {frame[name].iloc[row]!r} in row {row}."
                )
            parts.append(((numbers - column["mean"]) / column["std"])[:, None])
            continue
        text = frame[name].astype(str).to_numpy()
        categories = np.asarray(column["categories"])
        unknown = sorted(set(text) - set(column["categories"]))
        if unknown:
            logger.warning("Static column %r has values never seen in training: %s.", name, unknown[:10])
        parts.append(text[:, None] == categories[None])
    return np.concatenate(parts, axis=1).astype(np.float32)


def _as_frame(static_values: Any) -> pd.DataFrame:
    if isinstance(static_values, pd.DataFrame):
        frame = static_values
    elif isinstance(static_values, Mapping):
        frame = pd.DataFrame([static_values])
    elif isinstance(static_values, Sequence) and len(static_values) and isinstance(static_values[0], Mapping):
        frame = pd.DataFrame(list(static_values))
    else:
        array = np.asarray(static_values)
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(
                f"static_values must be a list of dicts, a DataFrame or numbers (n, columns); got "
                f"shape {array.shape}, dtype {array.dtype}."
            )
        frame = pd.DataFrame(array, columns=[f"static_{i}" for i in range(array.shape[1])])
    if frame.empty:
        raise ValueError("static_values are empty.")
    return frame.rename(columns=str)


def _check_cells(frame: pd.DataFrame) -> None:
    holes = [name for name in frame.columns if frame[name].isna().any()]
    if holes:
        raise ValueError(f"static_values have missing cells in {holes}.")


__all__ = ["encode_static", "fit_static", "static_width"]
