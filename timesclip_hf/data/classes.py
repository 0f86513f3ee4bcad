# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Classes of a table's column as numbers, their names kept.

The rule. A class is what a cell says, as text without blanks around it: `wheat`, `True`, `3` (also for 3.0). Classes
are numbered 0 to k-1 in an order that does not depend on the rows: that of the caller, of a `ClassLabel` feature or of
an ordered categorical where there is one; else numbers by size, False before True, and text by the alphabet (text that
is all whole numbers by size, too). The names stay with the labels, in a `datasets.ClassLabel` feature.

Missing classes raise, with their rows; so do fractions, dates and other cells that name no class, a column of one
class, and classes that are not among those named. Warnings tell names that differ by case alone, named classes without
a row, and more classes than half the rows.
"""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray

from .tables import check_complete, check_known, decoded, repeated_names, row_numbers, some_of, warn_caller

_MANY = 20  # classes, below which nobody asks whether they are classes


def read_classes(column: pd.Series, class_names: Any = None) -> tuple[NDArray[np.int64], list[str]]:
    """The classes of a column as numbers `(rows,)`, and their names, by the rule above.

    Args:
        column: text, booleans, whole numbers, or a mixture of them.
        class_names: all classes, in the order of their numbers; a dict of them by number, as `config.id2label`, is
            one, too. None: those that occur.

    Raises:
        ValueError: see the rule; names column, rows, what was found and what was expected.
    """
    ordered = isinstance(column.dtype, pd.CategoricalDtype) and bool(column.dtype.ordered)
    cells = decoded(column).astype(object)
    told = [class_of(cell) for cell in cells]
    blank = np.array([name == "" for name in told], bool)
    check_complete(blank, "classes (in files, NA, None, null and the like count as missing)", column)
    if (wrong := np.array([name is None for name in told], bool)).any():
        raise ValueError(
            f"cells of column {column.name!r} that name no class, in {row_numbers(wrong, column)}: "
            f"{some_of(map(repr, dict.fromkeys(cells[wrong])))}; classes are text, booleans or whole numbers. For "
            "numbers that are measured, leave out task='classification'"
        )
    found = list(dict.fromkeys(map(str, told)))
    if class_names is None and ordered:
        class_names = [class_of(name) for name in column.cat.categories]
    if class_names is None:
        if len(found) < 2:
            raise ValueError(
                f"column {column.name!r} holds one class only, {found[0]!r}: there is nothing to tell apart. Rows for "
                "a model that knows more classes need class_names=config.id2label"
            )
        names = sorted(found, key=_order_of(found))
        if _MANY < len(names) > len(cells) / 2:
            warn_caller(f"column {column.name!r} has {len(names)} classes in {len(cells)} rows: are they classes?")
    else:
        names = _names_given(class_names)
        check_known(found, names, f"column {column.name!r} has classes that are not among class_names")
        if absent := [name for name in names if name not in set(found)]:
            warn_caller(f"classes without a row in column {column.name!r}: {some_of(map(repr, absent))}")
    spellings = Counter(name.casefold() for name in names)
    if alike := [name for name in names if spellings[name.casefold()] > 1]:
        warn_caller(f"classes of column {column.name!r} that differ by case alone: {some_of(map(repr, alike))}")
    number = {name: k for k, name in enumerate(names)}
    return np.array([number[str(name)] for name in told], np.int64), names


def class_names_of(table: Any, column: str) -> list[str] | None:
    """The names that a `datasets.Dataset` has for the class numbers of a column; None for other tables and columns."""
    feature = table.features.get(column) if isinstance(table, Dataset) else None
    return list(feature.names) if isinstance(feature, ClassLabel) and feature.names else None


def with_names(column: pd.Series, names: list[str]) -> pd.Series:
    """Class numbers as the names they stand for; what is no such number, as -1, is missing."""
    numbers = {k: name for k, name in enumerate(names)}
    return column.map(numbers)


def class_of(cell: Any) -> str | None:
    """The class that a cell names; "" where it is missing, None where it names none."""
    if isinstance(cell, str):
        return cell.strip()
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return ""
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell))
    if isinstance(cell, int | np.integer):
        return str(int(cell))
    if isinstance(cell, float | np.floating | Decimal):
        return "" if cell != cell else str(int(cell)) if float(cell).is_integer() else None
    return None


def _order_of(names: list[str]) -> Any:
    """By size where all are whole numbers, else by the alphabet."""
    digits = all(name.removeprefix("-").isdecimal() for name in names)
    return (lambda name: (int(name), name)) if digits else None


def _names_given(class_names: Any) -> list[str]:
    if isinstance(class_names, str):
        raise ValueError(f"class_names must be a list of names, found the single string {class_names!r}")
    if isinstance(class_names, Mapping):
        numbers = sorted((int(number), name) for number, name in class_names.items())
        if [number for number, _ in numbers] != [*range(len(numbers))]:
            raise ValueError(f"class_names has the numbers {some_of(class_names)}, expected 0 to {len(numbers) - 1}")
        class_names = [name for _, name in numbers]
    names = [class_of(name) for name in class_names]
    if wrong := [name for name, told in zip(class_names, names, strict=True) if not told]:
        raise ValueError(f"class_names holds {some_of(map(repr, wrong))}, expected text, booleans or whole numbers")
    if repeated := repeated_names(list(map(str, names))):
        raise ValueError(f"class_names holds names more than once: {some_of(repeated)}")
    return list(map(str, names))


__all__ = ["class_names_of", "class_of", "read_classes", "with_names"]
