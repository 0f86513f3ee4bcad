# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables of any kind as the one kind that the package works with, columns as numbers, and words for errors on both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray

from ..model.measured import without_fill_values
from ..model.messages import one_run, warn_caller
from .files import check_header, read_file, whole_beside_blanks
from .parquet import read_folder
from .words import (
    FIRST_ROW,
    check_complete,
    check_known,
    name_list,
    near_names,
    repeated_names,
    row_number,
    row_numbers,
    some_of,
    whole_number,
)

_LARGEST = 10**308
_LONGEST_CELL = 80

# --- doors ------------------------------------------------------------------------------------------------------


def read_table(table: Any, *, header: bool = True) -> pd.DataFrame:
    """Read a table of any kind, whether it has one row per series or one per time step.

    Args:
        table: path of a file, see `data.files`, or of a folder, see `data.parquet`; a pandas, polars or other
            DataFrame that narwhals knows, a `pyarrow.Table`, a `datasets.Dataset`, or a dict of columns. It is left
            unchanged.
        header: whether a text or Excel file begins with the names of its columns; without, they are "0", "1", ...

    Returns:
        A pandas table with unique string columns and rows numbered from 0. Named index levels of a pandas DataFrame
        become columns, and so does an unnamed index of dates: "index".

    Raises:
        ValueError: another type of file or table, duplicate columns, a header that is all numbers, rows and header of
            different lengths, no rows.
        FileNotFoundError: no such file.
    """
    source = str(table) if isinstance(table, str | Path) else f"the {type(table).__name__}"
    if isinstance(table, str | Path) and Path(table).is_dir():
        table = read_folder(Path(table))
    if isinstance(table, str | Path):
        table = read_file(Path(table), header)
    elif isinstance(table, DatasetDict):
        raise ValueError(f"table is a DatasetDict of the parts {some_of(table)}: pass one of them")
    elif isinstance(table, Dataset):
        table = _pandas_of_dataset(table)
    elif isinstance(table, Mapping):
        table = pd.DataFrame(dict(table))
    elif not isinstance(table, pd.DataFrame):
        try:
            table = _pandas_of(nw.from_native(table, eager_only=True))
        except (TypeError, nw.exceptions.DuplicateError) as error:
            raise ValueError(
                f"table is a {type(table).__name__}, expected a path, a DataFrame (pandas, polars, ...), a "
                f"pyarrow.Table, a datasets.Dataset or a dict of columns: {' '.join(str(error).split())}"
            ) from error
    if isinstance(table.index, pd.DatetimeIndex | pd.PeriodIndex) and table.index.name is None:
        table = table.rename_axis(index="index")
    frame = table.reset_index(drop=all(name is None for name in table.index.names))
    if not table.index.equals(frame.index):  # rows no longer stand where they stood in a file
        frame.attrs = {name: value for name, value in frame.attrs.items() if name != FIRST_ROW}
    check_header(list(frame.columns), source)
    if frame.empty:
        raise ValueError(f"the table is empty: {frame.shape[0]} rows, {frame.shape[1]} columns")
    return frame


def _pandas_of(native: Any) -> pd.DataFrame:
    """A frame of another library, its whole numbers as such also beside blank cells."""
    names = [name for name, kind in native.schema.items() if kind.is_integer()]
    return whole_beside_blanks(native.to_pandas(), names, lambda name: native[name].to_arrow())


def _pandas_of_dataset(table: Dataset) -> pd.DataFrame:
    names = [name for name, kind in table.features.items() if "int" in str(getattr(kind, "dtype", ""))]
    cells = table.with_format("arrow")
    return whole_beside_blanks(
        table.with_format(None).to_pandas(), names, lambda name: cells.select_columns([name])[:][name]
    )


def is_table(inputs: Any) -> bool:
    """Whether this is a path or a frame, and not an array, samples or a data set of them."""
    return isinstance(inputs, str | Path) or bool(nw.dependencies.is_into_dataframe(inputs))


# --- columns ----------------------------------------------------------------------------------------------------


class PartFaults(dict[int, str]):
    """Why rows of a part of a table cannot be read: that none can is no error, for those of other parts may be."""


def read_numbers(column: pd.Series, faults: dict[int, str] | None = None) -> NDArray[np.float64]:
    """A column as float64, NaN for blank cells and known fill values (see `model.measured`).

    Args:
        column: of a table.
        faults: takes the numbers of rows that cannot be read, and why, in place of an error, unless it is all of them
            (but see `PartFaults`).

    Raises:
        ValueError: names the first cells that are no finite number, or beyond what float32 holds.
    """
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype):
        values, wrong = column.to_numpy(np.float64, na_value=np.nan), np.zeros(len(column), bool)
    else:
        cells = column.astype(object)  # so that dates are no numbers: as datetime64 they count units since 1970
        parsed = parsed_numbers(cells)
        if pd.api.types.is_complex_dtype(parsed.dtype):
            parsed = pd.Series(np.nan, index=cells.index)
        values = parsed.to_numpy(np.float64, na_value=np.nan)
        wrong = np.isnan(values) & cells.notna().to_numpy()
        wrong[wrong] = [not isinstance(cell, str) or bool(cell.strip()) for cell in cells[wrong]]
    kind = "non-numeric"
    if not wrong.any():  # scaled, they become float32
        values = without_fill_values(values, "cells of the table")
        wrong, kind = np.abs(values) > np.finfo(np.float32).max, "infinite (for float32)"
    if wrong.any() and faults is not None and (not wrong.all() or isinstance(faults, PartFaults)):
        told = zip(np.flatnonzero(wrong).tolist(), column[wrong].tolist(), strict=True)
        faults |= {row: f"column {column.name!r} holds {_short(cell)}, which is {kind}" for row, cell in told}
        values = np.where(wrong, np.nan, values)
    elif wrong.any():
        where = [
            f"row {row_number(row, column)}: {_short(cell)}"
            for row, cell in zip(np.flatnonzero(wrong), column[wrong].tolist(), strict=True)
        ]
        raise ValueError(
            f"{kind} cells in column {column.name!r}, in {row_numbers(wrong, column)}: {some_of(where)}; "
            "correct them, or leave them blank if they are missing"
        )
    return values


def is_nameless(name: Any) -> bool:
    """Whether a column had no name in its file, as those have in which pandas and R write the numbers of rows."""
    return isinstance(name, str) and name.startswith("Unnamed: ")


def parsed_numbers(cells: pd.Series) -> pd.Series:
    """Cells as numbers, NaN for what is none, infinite for whole numbers of hundreds of digits."""
    try:
        return pd.to_numeric(cells, errors="coerce")
    except OverflowError:
        small = cells.map(lambda cell: float("inf") if isinstance(cell, int) and abs(cell) > _LARGEST else cell)
        return pd.to_numeric(small, errors="coerce")


def _short(cell: Any) -> str:
    """A cell for a message, which may hold a whole text."""
    try:
        text = repr(cell)
    except ValueError:  # a whole number of thousands of digits
        text = f"a number of {cell.bit_length()} bits"
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 3]}..."


def read_variates(
    frame: pd.DataFrame, names: Sequence[str], faults: dict[int, str] | None = None
) -> NDArray[np.float64]:
    """Some columns side by side, `(rows, len(names))`, as `read_numbers` reads each."""
    values = np.empty((len(frame), len(names)))
    with one_run():
        for k, name in enumerate(names):
            values[:, k] = read_numbers(frame[name], faults)
    return values


def decoded(column: pd.Series) -> pd.Series:
    """Categories as the plain values they stand for."""
    return column.astype(column.cat.categories.dtype) if isinstance(column.dtype, pd.CategoricalDtype) else column


def is_blank(column: pd.Series) -> NDArray[np.bool_]:
    """Which cells say nothing: missing, or text of spaces alone."""
    column = decoded(column)
    blank = column.isna()
    if not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column)):
        blank |= column.map(lambda cell: isinstance(cell, str) and not cell.strip()).astype(bool)
    return blank.to_numpy(bool)


__all__ = [
    "PartFaults",
    "check_complete",
    "check_known",
    "decoded",
    "is_blank",
    "is_nameless",
    "is_table",
    "name_list",
    "near_names",
    "parsed_numbers",
    "read_numbers",
    "read_table",
    "read_variates",
    "repeated_names",
    "row_number",
    "row_numbers",
    "some_of",
    "warn_caller",
    "whole_number",
]
