# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Static columns of a sample (latitude, soil, crop ...) to numbers: standardised, or one-hot over categories."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .measured import MOST_SCALED, is_fill_value, unmasked
from .messages import tell
from .precision import rounding_noise
from .preprocessing import is_constant
from .screening import Screening

_LARGEST = 2**1023  # float64 holds no larger whole numbers


def fit_static(static_values: Any, screening: Screening | None = None) -> list[dict[str, Any]]:
    """Learns how to encode static columns.

    Args:
        static_values: list of dicts, one a sample, a DataFrame, or a numeric `(n, S)` array.
        screening: is shown the numbers.

    Returns:
        For each column, in order, `{"name": str}` with `"mean"`, `"std"` (numbers) or `"categories"` (text, sorted).
        A list, since transformers sorts the keys of the JSON it writes.

    Raises:
        ValueError: no rows, columns that differ between rows, missing values.
    """
    import pandas as pd  # fitting alone needs it

    try:
        frame = static_values if isinstance(static_values, pd.DataFrame) else pd.DataFrame(_as_rows(static_values))
    except OverflowError as error:
        raise ValueError(f"static_values hold a whole number beyond what float64 holds: {error}") from error
    if frame.empty:
        raise ValueError("static_values are empty")
    frame = frame.rename(columns=str)
    holes = [name for name in frame.columns if any(map(_is_hole, frame[name]))]
    if holes:
        raise ValueError(f"static_values have missing cells in {holes}")
    encoding: list[dict[str, Any]] = []
    for name, column in frame.items():
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            numbers = column.to_numpy(dtype=np.float64)
            if not (np.abs(numbers) <= np.finfo(np.float32).max).all():
                raise ValueError(f"static column {name!r} has infinite values, or some beyond what float32 holds")
            if screening is not None:
                screening.see(f"static column {name!r}", numbers)
            noise = rounding_noise(getattr(column.dtype, "numpy_dtype", column.dtype))
            constant = is_constant(numbers.std(), numbers.min(), numbers.max(), noise)
            spread = 1.0 if constant else float(numbers.std())
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
        float32 `(n, static_width(encoding))`. A category never seen in training becomes all zeros, with a
        warning (once a run).

    Raises:
        ValueError: fitted without static columns, a fitted column is missing, or a cell is.
    """
    if not encoding:
        raise ValueError("static_values were given, but the processor was fitted without any: fit it with them")
    rows = _as_rows(static_values)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    missing = [column["name"] for column in encoding if column["name"] not in columns]
    if missing:
        raise ValueError(f"static_values lack the columns {missing}; they have {columns}")
    holes = [column["name"] for column in encoding if any(_is_hole(row.get(column["name"])) for row in rows)]
    if holes:
        raise ValueError(f"static_values have missing cells in {holes}")
    parts = []
    for column in encoding:
        name = column["name"]
        cells = [row[name] for row in rows]
        if "categories" not in column:
            numbers = (_numbers(name, cells)[:, None] - column["mean"]) / column["std"]
            if (wrong := np.abs(numbers[:, 0]) > MOST_SCALED).any():
                row = int(np.argmax(wrong))
                raise ValueError(
                    f"static column {name!r} has {cells[row]!r} in row {row}, more than {MOST_SCALED:g} spreads away "
                    "from its level: this is no measurement"
                )
            parts.append(numbers)
            continue
        text = np.array([str(cell) for cell in cells])
        unknown = sorted(set(text.tolist()) - set(column["categories"]))
        tell(
            f"static column {name!r} has values never seen in training, which count as none: {{}}", map(repr, unknown)
        )
        parts.append(text[:, None] == np.asarray(column["categories"])[None])
    return np.concatenate(parts, axis=1).astype(np.float32)


def _as_rows(static_values: Any) -> list[dict[str, Any]]:
    """Rows of any accepted form, without pandas, unless they come in a DataFrame."""
    if hasattr(static_values, "to_native"):  # narwhals
        static_values = static_values.to_native()
    if hasattr(static_values, "to_pylist"):  # pyarrow
        static_values = static_values.to_pylist()
    elif hasattr(static_values, "to_dicts"):  # polars
        static_values = static_values.to_dicts()
    elif hasattr(static_values, "to_dict") and hasattr(static_values, "columns"):
        static_values = static_values.to_dict("records")
    elif hasattr(static_values, "to_list"):  # a column of rows
        static_values = static_values.to_list()
    if isinstance(static_values, Mapping):
        static_values = [static_values]
    elif not (isinstance(static_values, Sequence) and len(static_values) and isinstance(static_values[0], Mapping)):
        array = np.asarray(unmasked(static_values))
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(
                "static_values must be a list of dicts, a DataFrame or numbers (n, columns); got "
                f"shape {array.shape}, dtype {array.dtype}"
            )
        static_values = [{f"static_{i}": cell for i, cell in enumerate(row)} for row in array]
    if wrong := [row for row in static_values if not isinstance(row, Mapping)]:
        raise ValueError(f"static_values must be a dict for each sample, found {wrong[0]!r:.80}")
    rows = [{str(name): cell for name, cell in row.items()} for row in static_values]
    if not any(rows):
        raise ValueError("static_values are empty")
    return rows


def _is_hole(cell: Any) -> bool:
    """Whether a cell is None, NaN, one of pandas' or NumPy's marks for nothing, or a known fill value."""
    if cell is None or cell is np.ma.masked or type(cell).__name__ == "NAType" or bool(cell != cell):
        return True
    beyond = type(cell) is int and abs(cell) > _LARGEST
    return (
        isinstance(cell, (float, int, np.number))
        and not beyond
        and bool(is_fill_value(np.array([cell], np.float64))[0])
    )


def _numbers(name: str, cells: list[Any]) -> np.ndarray:
    """The cells of a numeric column as fp64."""
    numbers = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            numbers[row] = float(cell)
        except (TypeError, ValueError, OverflowError):
            pass
        if not np.isfinite(numbers[row]):
            raise ValueError(f"static column {name!r} must hold numbers, found {cell!r} in row {row}")
    return numbers


__all__ = ["encode_static", "fit_static", "static_width"]
