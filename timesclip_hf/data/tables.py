# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables of any kind as the one kind that the package works with, columns as numbers, and words for errors on both."""

import difflib
import heapq
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray

from ..escaping import visible
from ..model.measured import without_fill_values
from ..model.messages import one_run, warn_caller

_SHOWN = 6  # of many names, those that an error tells
_COMPARED = 200  # names, which are compared letter by letter

# --- doors ------------------------------------------------------------------------------------------------------


def read_table(table: Any, *, header: bool = True) -> pd.DataFrame:
    """Read a table of any kind, whether it has one row per series or one per time step.

    Args:
        table: path of a `.csv` or `.txt` file (UTF-8, comma-separated; either also with `.gz` behind it) or of a
            `.parquet` file; a pandas, polars or other DataFrame that narwhals knows, a `pyarrow.Table`, a
            `datasets.Dataset`, or a dict of columns. It is left unchanged.
        header: whether a text file begins with the names of its columns; without, they are "0", "1", ...

    Returns:
        A pandas table with unique string columns and rows numbered from 0. Named index levels of a pandas DataFrame
        become columns, and so does an unnamed index of dates: "index".

    Raises:
        ValueError: another type of file or table, duplicate columns, a header that is all numbers, rows and header of
            different lengths, no rows.
        FileNotFoundError: no such file.
    """
    source = str(table) if isinstance(table, str | Path) else f"the {type(table).__name__}"
    if isinstance(table, str | Path):
        table = _read_file(Path(table), header)
    elif isinstance(table, DatasetDict):
        raise ValueError(f"table is a DatasetDict of the parts {some_of(table)}: pass one of them")
    elif isinstance(table, Dataset):
        table = table.with_format(None).to_pandas()
    elif isinstance(table, Mapping):
        table = pd.DataFrame(dict(table))
    elif not isinstance(table, pd.DataFrame):
        try:
            table = nw.from_native(table, eager_only=True).to_pandas()
        except (TypeError, nw.exceptions.DuplicateError) as error:
            raise ValueError(
                f"table is a {type(table).__name__}, expected a path, a DataFrame (pandas, polars, ...), a "
                f"pyarrow.Table, a datasets.Dataset or a dict of columns: {' '.join(str(error).split())}"
            ) from error
    if isinstance(table.index, pd.DatetimeIndex | pd.PeriodIndex) and table.index.name is None:
        table = table.rename_axis(index="index")
    frame = table.reset_index(drop=all(name is None for name in table.index.names))
    _check_header(list(frame.columns), source)
    if frame.empty:
        raise ValueError(f"the table is empty: {frame.shape[0]} rows, {frame.shape[1]} columns")
    return frame


def is_table(inputs: Any) -> bool:
    """Whether this is a path or a frame, and not an array, samples or a data set of them."""
    return isinstance(inputs, str | Path) or bool(nw.dependencies.is_into_dataframe(inputs))


def _read_file(path: Path, header: bool) -> pd.DataFrame:
    kind = path.name.lower().removesuffix(".gz")
    is_parquet = path.suffix.lower() == ".parquet"
    if not is_parquet and not kind.endswith((".csv", ".txt")):
        raise ValueError(
            f"{path}: cannot read files of type {path.suffix!r}; accepted are .txt, .csv and .parquet, and .gz behind "
            "the first two"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if is_parquet:
        _check_header(pq.read_schema(path).names, str(path))
        return pd.read_parquet(path)
    frame = _read_csv(path, header)
    if header and all(re.fullmatch(r"\s*[-+]?\d*\.\d+(e[-+]?\d+)?\s*", name, re.IGNORECASE) for name in frame.columns):
        raise ValueError(
            f"{path}: the names of its columns are numbers ({some_of(frame.columns, 3)}): if these are values, pass "
            "header=False"
        )
    return frame


def _read_csv(path: Path, header: bool) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would be cut off
        try:
            # The header as it stands in the file: pandas renames a second `x` to `x.1`. Nameless columns (row numbers
            # written by R or pandas) are no duplicates.
            first = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
            header_cell = str(first.iloc[0, 0])
            if len(first.columns) == 1 and (separator := re.search(r"[;\t|]", header_cell)):
                raise ValueError(
                    f"{path}: one column, {header_cell[:60]!r}: cells must be separated by commas, not by "
                    f"{separator[0]!r}; save the table so, or read it with pandas and pass the DataFrame"
                )
            if not header:
                return pd.read_csv(path, header=None, index_col=False, low_memory=False).rename(columns=str)
            _check_header([name for name in first.iloc[0] if name], str(path))
            # index_col=False: without it, rows one cell longer than the header shift every value by one column.
            return pd.read_csv(path, index_col=False, low_memory=False)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8 (Excel: 'CSV UTF-8')") from error
        except pd.errors.EmptyDataError as error:
            raise ValueError(f"{path}: the table is empty, without a header line") from error
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            raise ValueError(f"{path}: rows and header differ in their number of cells: {error}") from error


def _check_header(header: list[Any], source: str) -> None:
    if others := [name for name in header if not isinstance(name, str)]:
        raise ValueError(f"{source}: column names must be strings, found {some_of(map(repr, others))}")
    if repeated := repeated_names(header):
        raise ValueError(f"{source}: duplicate columns: {some_of(repeated)}; keep one of each")


# --- columns ----------------------------------------------------------------------------------------------------


def read_numbers(column: pd.Series, faults: dict[int, str] | None = None) -> NDArray[np.float64]:
    """A column as float64, NaN for blank cells and known fill values (see `model.measured`).

    Args:
        column: of a table.
        faults: takes the numbers of rows that cannot be read, and why, in place of an error, unless it is all of them.

    Raises:
        ValueError: names the first cells that are no finite number, or beyond what float32 holds.
    """
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype):
        values, wrong = column.to_numpy(np.float64, na_value=np.nan), np.zeros(len(column), bool)
    else:
        cells = column.astype(object)  # so that dates are no numbers: as datetime64 they count units since 1970
        parsed = pd.to_numeric(cells, errors="coerce")
        if pd.api.types.is_complex_dtype(parsed.dtype):
            parsed = pd.Series(np.nan, index=cells.index)
        values = parsed.to_numpy(np.float64, na_value=np.nan)
        wrong = np.isnan(values) & cells.notna().to_numpy()
        wrong[wrong] = [not isinstance(cell, str) or bool(cell.strip()) for cell in cells[wrong]]
    kind = "non-numeric"
    if not wrong.any():  # scaled, they become float32
        values = without_fill_values(values, "cells of the table")
        wrong, kind = np.abs(values) > np.finfo(np.float32).max, "infinite (for float32)"
    if wrong.any() and not wrong.all() and faults is not None:
        told = zip(np.flatnonzero(wrong).tolist(), column[wrong].tolist(), strict=True)
        faults |= {row: f"column {column.name!r} holds {cell!r}, which is {kind}" for row, cell in told}
        values = np.where(wrong, np.nan, values)
    elif wrong.any():
        where = [
            f"row {row}: {cell!r}" for row, cell in zip(np.flatnonzero(wrong), column[wrong].tolist(), strict=True)
        ]
        raise ValueError(
            f"{kind} cells in column {column.name!r}, in {row_numbers(wrong)}: {some_of(where)}; "
            "correct them, or leave them blank if they are missing"
        )
    return values


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


# --- arguments --------------------------------------------------------------------------------------------------


def name_list(names: Any, argument: str) -> list[str]:
    """Names in any ordered container (list, tuple, pandas' Index or Series, array, ...) as a list of Python's strings.

    Raises:
        ValueError: one single string, a set, which has no order, or names that are no strings.
    """
    if isinstance(names, str):
        raise ValueError(f"{argument} must be a list of names, found the single string {names!r}")
    if isinstance(names, set | frozenset):
        raise ValueError(f"{argument} must be a list of names, found a set, which has no order")
    if not isinstance(names, Iterable):
        raise ValueError(f"{argument} must be a list of names, found {names!r}")
    cells = names.to_pylist() if hasattr(names, "to_pylist") else list(names)
    if others := [name for name in cells if not isinstance(name, str)]:
        raise ValueError(f"{argument} must be a list of names, found {some_of(map(repr, others))}")
    return list(map(str, cells))


def whole_number(number: Any, argument: str, low: int, high: int, bound: str) -> int:
    """A whole number of Python's or NumPy's kind from `low` to `high`, which is `bound` in words; others raise."""
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool | np.bool_)
    if not whole or not low <= number <= high:
        raise ValueError(f"{argument} is {number!r}, expected a whole number from {low} to {bound}")
    return int(number)


# --- words for errors and warnings ----------------------------------------------------------------------------------


def repeated_names(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def some_of(items: Iterable[Any], limit: int = _SHOWN) -> str:
    """The first few items, every character of them visible, and how many more there are."""
    listed = [visible(item) for item in items]
    return ", ".join(listed[:limit]) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


def row_numbers(selected: NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(selected)
    return f"{len(rows)} of {len(selected)} rows (numbers {some_of(rows)}, counted from 0 without the header)"


def check_complete(missing: NDArray[np.bool_], role: str, column: Any) -> None:
    """Raises for cells of a column that are missing, `(rows,)`."""
    if missing.any():
        raise ValueError(f"{role} missing: column {column!r}, in {row_numbers(missing)}; fill or drop them")


def check_known(names: Iterable[Any], available: Iterable[Any], words: str, rest: str = "") -> None:
    """Raises for names that are not there, each told with those it may have been meant for.

    Args:
        names, available: what is asked for, and what there is.
        words, rest: begin and end the error; without `rest` it ends with all that there is.
    """
    available = list(available)
    known = set(available)
    if missing := [name for name in dict.fromkeys(names) if name not in known]:
        near = {name: near_names(name, available) if k < _SHOWN else "" for k, name in enumerate(missing)}
        told = some_of(f"{name!r}" + (f" (near: {close})" if close else "") for name, close in near.items())
        raise ValueError(f"{words}: {told}; {rest or f'found {some_of(map(repr, available), 20)}'}")


def near_names(name: Any, available: Sequence[Any]) -> str:
    """Up to three of the names that are most like one, joined; of many, those that share most pairs of letters."""
    text, others = str(name), list(map(str, available))
    if len(others) > _COMPARED:
        pairs = set(zip(text, text[1:], strict=False))
        shared = {other: len(pairs.intersection(zip(other, other[1:], strict=False))) for other in others}
        others = heapq.nlargest(_COMPARED, shared, key=lambda other: (shared[other], -abs(len(other) - len(text))))
    return ", ".join(difflib.get_close_matches(text, others))


__all__ = [
    "check_complete",
    "check_known",
    "decoded",
    "is_table",
    "name_list",
    "near_names",
    "read_numbers",
    "read_table",
    "read_variates",
    "repeated_names",
    "row_numbers",
    "some_of",
    "warn_caller",
    "whole_number",
]
