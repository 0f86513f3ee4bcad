# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Words for errors on tables: rows by their numbers, names with those that are near, arguments that are none."""

import difflib
import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..escaping import visible

# In the `attrs` of a table: the number that a spreadsheet shows for its first row.
FIRST_ROW = "timesclip_first_row"
_SHOWN = 6  # of many names, those that an error tells
_COMPARED = 200  # names, which are compared letter by letter


def repeated_names(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def some_of(items: Iterable[Any], limit: int = _SHOWN) -> str:
    """The first few items, every character of them visible, and how many more there are."""
    listed = [visible(item) for item in items]
    return ", ".join(listed[:limit]) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


def row_numbers(selected: NDArray[np.bool_], table: Any = None) -> str:
    """How many rows, and the numbers of the first ones, as whoever made the table counts them (`row_number`).

    Args:
        selected: `(rows,)`.
        table: the table, or one of its columns.
    """
    rows = [row_number(row, table) for row in np.flatnonzero(selected)]
    first = _first_row(table)
    how = {0: "counted from 0 without the header", 1: "counted from 1"}.get(first, f"the header is row {first - 1}")
    return f"{len(rows)} of {len(selected)} rows (numbers {some_of(rows)}, {how})"


def row_number(position: int, table: Any = None) -> int:
    """The number of a row: of text and Excel files as spreadsheets show it, the header being 1; else from 0."""
    label = table.index[position] if table is not None else position
    return (int(label) if isinstance(label, int | np.integer) else int(position)) + _first_row(table)


def _first_row(table: Any) -> int:
    return getattr(table, "attrs", {}).get(FIRST_ROW, 0)


def check_complete(missing: NDArray[np.bool_], role: str, column: pd.Series) -> None:
    """Raises for cells of a column that are missing, `(rows,)`."""
    if missing.any():
        raise ValueError(
            f"{role} missing: column {column.name!r}, in {row_numbers(missing, column)}; fill or drop them"
        )


def check_known(
    names: Iterable[Any], available: Iterable[Any], words: str, rest: str | Callable[[], str] = ""
) -> None:
    """Raises for names that are not there, each told with those it may have been meant for.

    Args:
        names, available: what is asked for, and what there is.
        words, rest: begin and end the error (`rest` may be asked for it); without, it ends with all that there is.
    """
    available, names = list(available), list(names)
    if others := [name for name in names if not isinstance(name, Hashable)]:
        raise ValueError(f"{words}: {some_of(map(repr, others))}; expected names")
    known = set(available)
    if missing := [name for name in dict.fromkeys(names) if name not in known]:
        near = {name: near_names(name, available) if k < _SHOWN else "" for k, name in enumerate(missing)}
        told = some_of(f"{name!r}" + (f" (near: {close})" if close else "") for name, close in near.items())
        end = rest() if callable(rest) else rest or f"found {some_of(map(repr, available), 20)}"
        raise ValueError(f"{words}: {told}; {end}")


def near_names(name: Any, available: Sequence[Any]) -> str:
    """Up to three of the names that are most like one, joined; of many, those that share most pairs of letters."""
    text, others = str(name), list(map(str, available))
    if len(others) > _COMPARED:
        pairs = set(zip(text, text[1:], strict=False))
        shared = {other: len(pairs.intersection(zip(other, other[1:], strict=False))) for other in others}
        others = heapq.nlargest(_COMPARED, shared, key=lambda other: (shared[other], -abs(len(other) - len(text))))
    return ", ".join(difflib.get_close_matches(text, others))


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


def check_listed(given: Any, argument: str, of: str) -> None:
    """Raises for what is no list, array or other container in order of some kind of thing, in words."""
    if isinstance(given, str | bytes | Mapping) or not (hasattr(given, "__len__") and hasattr(given, "__iter__")):
        raise ValueError(f"{argument} must be a list of {of}, found {given!r:.80}")


def whole_number(number: Any, argument: str, low: int, high: int, bound: str) -> int:
    """A whole number of Python's or NumPy's kind from `low` to `high`, which is `bound` in words; others raise."""
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool | np.bool_)
    if not whole or not low <= number <= high:
        raise ValueError(f"{argument} is {number!r}, expected a whole number from {low} to {bound}")
    return int(number)


__all__ = [
    "FIRST_ROW",
    "check_complete",
    "check_known",
    "name_list",
    "near_names",
    "repeated_names",
    "row_number",
    "row_numbers",
    "some_of",
    "whole_number",
]
