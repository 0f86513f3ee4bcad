# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Files to tables.

- `.csv`, `.txt`, either also with `.gz` behind it: UTF-8; cells are separated by commas, semicolons, tabs or bars,
  whichever splits the first lines into equally many. Where it is not commas, columns of numbers may have a decimal
  comma; a file in which some have a comma and others a point is refused. Whole numbers of a column in which one is
  written as `007` or `00731` are codes or names, and stay text as they stand; `07` may be a month. So do numbers of 16
  digits and more beside blank cells, where pandas would round them. Other whole numbers stay such beside blank cells
  (pandas' `Int64`), where pandas makes 12345.0 of 12345; so in files of all kinds.
- `.xlsx`: the first sheet that is not empty, as it was last calculated; needs openpyxl
  (`pip install "timesclip-hf[xlsx]"`).
- `.parquet`; a folder of them: see `data.parquet`.

Rows of text and Excel files are counted in errors as spreadsheets show them: the header is row 1. What is cut, damaged
or of another kind is an error that names the file.
"""

import contextlib
import csv
import datetime
import gzip
import itertools
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..model.messages import warn_caller
from .words import FIRST_ROW, repeated_names, some_of

_TEXT, _PARQUET, _EXCEL = (".csv", ".txt", ".csv.gz", ".txt.gz"), ".parquet", ".xlsx"
_SEPARATORS = ",;\t|"
_LINES = 20  # at the start of a text file, by which its separator is told
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*|\s*[-+]?\d+\s*")
_EXACT = 2**53  # the largest whole number up to which float64 holds all
_BLANK_LINE, _LEADING_ZERO = re.compile(rb"\n\r?\n"), re.compile(rb"[,;\t|\r\n\"\xbf ]0\d\d")
_DECIMALS = re.compile(r"\s*[-+]?\d*\.\d+(e[-+]?\d+)?\s*", re.IGNORECASE)


def read_file(path: Path, header: bool) -> pd.DataFrame:
    """A table as it stands in a file, by the rule above.

    Args:
        path: of the file, its kind told by its name.
        header: whether a text or Excel file begins with the names of its columns; without, they are "0", "1", ...

    Raises:
        FileNotFoundError: no such file.
        ValueError: names the file and what is wrong with it.
    """
    name = path.name.lower()
    if not name.endswith((*_TEXT, _PARQUET, _EXCEL)):
        raise ValueError(
            f"{path}: cannot read files of type {path.suffix!r}; accepted are .txt, .csv, .xlsx and .parquet, and .gz "
            "behind the first two"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if name.endswith(_PARQUET):
        return _read_parquet(path)
    frame = _read_excel(path, header) if name.endswith(_EXCEL) else _read_text(path, header)
    if frame.empty:
        raise ValueError(f"{path}: the table is empty: {frame.shape[0]} rows, {frame.shape[1]} columns")
    if header and all(_DECIMALS.fullmatch(column) for column in frame.columns):
        raise ValueError(
            f"{path}: the names of its columns are numbers ({some_of(frame.columns, 3)}): if these are values, pass "
            "header=False"
        )
    return frame


def check_header(header: list[Any], source: str) -> None:
    """Raises for names of columns that are no text, or repeated; `source` is the table's name."""
    if others := [name for name in header if not isinstance(name, str)]:
        raise ValueError(f"{source}: column names must be strings, found {some_of(map(repr, others))}")
    if repeated := repeated_names(header):
        raise ValueError(f"{source}: duplicate columns: {some_of(repeated)}; keep one of each")


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        check_header(pq.read_schema(path).names, str(path))
        frame = pd.read_parquet(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no Parquet file, or a damaged one: {error}") from error
    frame.attrs.pop(FIRST_ROW, None)  # of the file that it was written from
    whole = [field.name for field in pq.read_schema(path) if pa.types.is_integer(field.type)]
    return whole_beside_blanks(frame, whole, lambda name: pq.read_table(path, columns=[name])[name])


def whole_beside_blanks(frame: pd.DataFrame, names: Iterable[str], column: Callable[[str], Any]) -> pd.DataFrame:
    """A frame whose columns of whole numbers are such beside blank cells, too, where pandas made floats of them.

    Args:
        frame: of a table of Arrow's kinds.
        names: its columns of whole numbers.
        column: such a column as Arrow has it, by its name.
    """
    for name in names:
        if name in frame and pd.api.types.is_float_dtype(frame[name].dtype):
            cells = column(name)
            whole: Any = pd.UInt64Dtype() if cells.type == pa.uint64() else pd.Int64Dtype()
            frame[name] = pd.Series(whole.__from_arrow__(cells), frame.index)
    return frame


# --- text -------------------------------------------------------------------------------------------------------


def _read_text(path: Path, header: bool) -> pd.DataFrame:
    with _named_faults(path), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would be cut off
        separator, skipped = _separator(path, header)
        options: dict[str, Any] = {"sep": separator, "skiprows": skipped}
        # The header as it stands in the file: pandas renames a second `x` to `x.1`. Nameless columns (row numbers
        # written by R or pandas) are no duplicates.
        first = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **options)
        cell = str(first.iloc[0, 0])
        if len(first.columns) == 1 and (found := re.search(r"[;\t|]", cell)):
            raise ValueError(
                f"{path}: one column, {cell[:60]!r}: cells seem to be separated by {found[0]!r}, but not equally many "
                "in each of the first lines"
            )
        if header:
            check_header([name for name in first.iloc[0] if name], str(path))
        options["header"] = 0 if header else None
        try:
            # index_col=False: without it, rows one cell longer than the header shift every value by one column.
            frame = pd.read_csv(path, index_col=False, low_memory=False, **options)
        except OverflowError:
            frame = pd.read_csv(path, index_col=False, dtype=str, **options)
            _refuse_endless_numbers(path, frame, skipped + (2 if header else 1))
        if separator != ",":
            frame = _with_decimal_commas(path, frame, options)
        frame = _with_whole_numbers(path, _with_codes(path, frame, options), options)
        if not _is_found(path, _BLANK_LINE):  # which spreadsheets count, and pandas does not
            frame.attrs[FIRST_ROW] = skipped + (2 if header else 1)
    return frame if header else frame.rename(columns=str)


@contextlib.contextmanager
def _named_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8 (Excel: 'CSV UTF-8')") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path}: the table is empty, without a header line") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        if "EOF inside string" in str(error):
            raise ValueError(f"{path}: a quote is opened and never closed, or the file is cut: {error}") from error
        raise ValueError(f"{path}: rows and header differ in their number of cells: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: cut or damaged, it cannot be unpacked: {error}") from error


def _open(path: Path, mode: str, **options: Any) -> Any:
    return (gzip.open if path.name.lower().endswith(".gz") else open)(path, mode, **options)


def _is_found(path: Path, pattern: re.Pattern[bytes]) -> bool:
    """Whether some bytes, four at most, stand anywhere before the white space at the end of a file, whose first line
    begins as all do."""
    with _open(path, "rb") as file:
        end = b"\n"
        while chunk := file.read(2**20):
            if pattern.search((end + chunk).rstrip()):
                return True
            end = chunk[-3:]
    return False


def _separator(path: Path, header: bool) -> tuple[str, int]:
    """What separates cells, and how many lines stand before the table: Excel's `sep=;` may."""
    with _open(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = [line for line in itertools.islice(file, _LINES) if line.strip()]
    if lines and (told := re.fullmatch(r"sep=(.)\s*", lines[0])):
        return told[1], 1
    best, most = ",", 1
    for separator in _SEPARATORS:
        try:
            rows = list(csv.reader(lines, delimiter=separator))
        except csv.Error:  # a line without this separator is longer than a cell may be
            continue
        counts = {len(row) for row in rows}
        # Commas between cells, or in their numbers?
        split = separator == "," or header or all(_is_number(cell) for row in rows for cell in row[1:])
        if len(counts) == 1 and split and (len(rows[0]) > most or (best == "," and len(rows[0]) > 1 and not header)):
            best, most = separator, len(rows[0])
    return best, 0


def _is_number(cell: str) -> bool:
    return not cell.strip() or bool(_DECIMAL_COMMA.fullmatch(cell) or _DECIMALS.fullmatch(cell))


def _with_decimal_commas(path: Path, frame: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """Text such as `2,5` as numbers, column by column."""
    commas = [
        name
        for name in frame.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]]
        if (cells := frame[name].dropna().astype(str)).str.contains(",").any()
        and cells.str.fullmatch(_DECIMAL_COMMA.pattern).all()
    ]
    for name in commas:
        frame[name] = pd.to_numeric(frame[name].astype(str).str.replace(",", "."), errors="coerce")
    floats = [name for name in frame.columns if name not in commas and pd.api.types.is_float_dtype(frame[name].dtype)]
    if commas and floats:
        text = pd.read_csv(path, index_col=False, dtype=str, usecols=floats, **options)
        for name in floats:
            if len(points := text[name][text[name].str.contains(".", regex=False, na=False)]):
                raise ValueError(
                    f"{path}: columns such as {commas[0]!r} have a decimal comma, and {name!r} has a point "
                    f"({points.iloc[0]!r}): is it decimal, too, or between thousands? Save numbers of one kind"
                )
    return frame


def _with_codes(path: Path, frame: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """Whole numbers of columns with such as `00731` as text, and those that float64 has rounded."""
    kinds = [kind.kind for kind in frame.dtypes]
    floats = [place for place, kind in enumerate(kinds) if kind == "f"]
    largest = np.fmax.reduce(np.abs(frame.iloc[:, floats].to_numpy()), axis=0, initial=0)
    rounded = [place for place, most in zip(floats, largest, strict=True) if most > _EXACT]
    zeros = _is_found(path, _LEADING_ZERO)
    numbers = [place for place, kind in enumerate(kinds) if kind in "iuf"] if zeros else rounded
    whole = [place for place in numbers if (frame.iloc[:, place].dropna() % 1 == 0).all()]
    if not whole:
        return frame
    text = pd.read_csv(path, index_col=False, dtype=str, usecols=whole, **options)
    for place, name in zip(whole, text.columns, strict=True):
        cells = text[name].dropna().str.strip()
        if cells.str.fullmatch(r"\d+").all() and (place in rounded or cells.str.match(r"0\d\d").any()):
            frame[frame.columns[place]] = text[name].str.strip()
    return frame


def _with_whole_numbers(path: Path, frame: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """Columns of whole numbers beside blank cells as such, where no cell is written as 12.0."""
    floats = [place for place, kind in enumerate(frame.dtypes) if kind.kind == "f"]
    cells = [frame.iloc[:, place].dropna() for place in floats]
    blank = [
        place
        for place, seen in zip(floats, cells, strict=True)
        if 0 < len(seen) < len(frame) and (seen % 1 == 0).all()
    ]
    if blank:
        exact = pd.read_csv(path, index_col=False, usecols=blank, dtype_backend="numpy_nullable", **options)
        for place, name in zip(blank, exact.columns, strict=True):
            if pd.api.types.is_integer_dtype(exact[name].dtype):
                frame[frame.columns[place]] = exact[name]
    return frame


def _refuse_endless_numbers(path: Path, frame: pd.DataFrame, first: int) -> None:
    for name in frame.columns:
        endless = frame[name].str.fullmatch(r"\s*[-+]?\d{300,}\s*").fillna(False).to_numpy(bool)
        if endless.any():
            row = int(endless.argmax())
            raise ValueError(
                f"{path}: column {str(name)!r} holds a number of hundreds of digits, in row {row + first}: "
                f"{frame[name].iloc[row][:40]}...; correct it, or leave it blank if it is missing"
            )


# --- Excel ------------------------------------------------------------------------------------------------------


def _read_excel(path: Path, header: bool) -> pd.DataFrame:
    openpyxl = _openpyxl(path)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        with contextlib.closing(book):
            sheets = {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no Excel workbook, or a damaged one: {error}") from error
    filled = {title: rows for title, rows in sheets.items() if any(cell is not None for row in rows for cell in row)}
    if not filled:
        raise ValueError(f"{path}: the table is empty, without a header line")
    title, *others = filled
    if others:
        warn_caller(f"{path}: only the first sheet, {title!r}, is read, not {some_of(map(repr, others))}")
    rows = sheets[title]
    width = max(place + 1 for row in rows for place, cell in enumerate(row) if cell is not None)
    while all(cell is None for cell in rows[-1]):
        rows.pop()
    rows = [(*row[:width], *[None] * (width - len(row))) for row in rows]
    names = [str(place) for place in range(width)]
    if header:
        given = [_column_name(cell) for cell in rows[0]]
        check_header([name for name in given if name], str(path))
        names = [name or f"Unnamed: {place}" for place, name in enumerate(given)]
        rows = rows[1:]
    _check_calculated(path, title, openpyxl, rows, 2 if header else 1)
    columns = zip(*rows, strict=True) if rows else [()] * width
    cells = {name: [*map(_excel_cell, column)] for name, column in zip(names, columns, strict=True)}
    frame = pd.DataFrame({name: _whole_cells(column) for name, column in cells.items()})
    frame.attrs[FIRST_ROW] = 2 if header else 1
    return frame


def _whole_cells(cells: list[Any]) -> Any:
    """Whole numbers beside blank cells as such."""
    known = [cell for cell in cells if cell is not None]
    whole = len(known) < len(cells) and all(type(cell) is int and abs(cell) < 2**63 for cell in known)
    return pd.array(cells, dtype="Int64") if whole and known else cells


def _excel_cell(cell: Any) -> Any:
    return None if isinstance(cell, str) and cell.strip() in _MISSING else cell


# What pandas reads as missing in text files, too.
_MISSING = frozenset(["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A", "<NA>"])


def _openpyxl(path: Path) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise ValueError(f"{path}: Excel files need openpyxl: pip install 'timesclip-hf[xlsx]'") from error
    return openpyxl


def _column_name(cell: Any) -> str:
    """The header of a column; dates as 2024-01-31, whole numbers as such."""
    if cell is None:
        return ""
    if hasattr(cell, "isoformat"):
        return cell.isoformat().removesuffix("T00:00:00")
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _check_calculated(path: Path, title: str, openpyxl: Any, rows: list[Any], first: int) -> None:
    """Raises for formulas without a result: a workbook that no spreadsheet has calculated shows them as blank."""
    if all(cell is not None for row in rows for cell in row):
        return
    book = openpyxl.load_workbook(path, read_only=True)
    with contextlib.closing(book):
        for number, row in enumerate(book[title].iter_rows(min_row=first, values_only=True)):
            for place, cell in enumerate(row[: len(rows[0])] if number < len(rows) else ()):
                if isinstance(cell, str) and cell.startswith("=") and rows[number][place] is None:
                    raise ValueError(
                        f"{path}: the formula {cell[:60]!r} in row {number + first}, column {place + 1}, has no "
                        "result: open the file in a spreadsheet and save it again"
                    )


def write_excel(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as a workbook of one sheet; text stays text, also where it begins as a formula does.

    Raises:
        ValueError: without openpyxl, or a table that no sheet holds.
    """
    openpyxl = _openpyxl(path)
    if len(table) >= 2**20 or len(table.columns) > 2**14:
        raise ValueError(f"{path}: a sheet holds 1 048 575 rows of 16 384 columns, not {table.shape}: write .csv")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("predictions")
    from openpyxl.cell import WriteOnlyCell

    def cell_of(value: Any) -> Any:
        if value is None or value is pd.NaT or value is pd.NA or value != value:
            return None
        value = value.item() if hasattr(value, "item") else value
        exact = isinstance(value, float) and math.isfinite(value) or isinstance(value, int) and abs(value) < 2**53
        if exact or (isinstance(value, datetime.date) and getattr(value, "tzinfo", None) is None):
            return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
        cell = WriteOnlyCell(sheet, value=re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f]", "", str(value))[:32767])
        cell.data_type = "s"
        return cell

    sheet.append([cell_of(name) for name in table.columns])
    for row in table.astype(object).itertuples(index=False, name=None):
        sheet.append([cell_of(value) for value in row])
    book.save(path)


__all__ = ["check_header", "read_file", "whole_beside_blanks", "write_excel"]
