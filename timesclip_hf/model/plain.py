# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Arguments as Python has them.

The rule. Numbers of NumPy where Python's are meant, and ordered containers of any library (tuples, arrays, pandas'
Index and Series, columns of polars and pyarrow) where a list is meant, are taken for what they hold, once, when
something is constructed: so they are checked, saved as JSON and compared like any other. Sets have no order, and one
text is no list of names: they stay as they are, for the checks to name.

Names of classes are a dict by their numbers, 0 to k-1 without holes, or a list in that order; either of `id2label` and
`label2id` says it for both.
"""

import functools
from collections.abc import Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """A value, or what is in a container or dict (keys, too), by the rule above; what is neither stays as it is."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist()) if value.ndim else plain(value.item())
    if isinstance(value, np.generic):
        return (
            float(str(value)) if isinstance(value, (np.float16, np.float32)) else value.item()
        )  # 0.6, as was written
    if isinstance(value, (str, bytes, set, frozenset)):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    for unpack in ("to_pylist", "to_list"):  # pyarrow; pandas and polars
        if hasattr(value, unpack):
            return plain(getattr(value, unpack)())
    return [plain(item) for item in value] if isinstance(value, (Sequence, KeysView, ValuesView, Iterator)) else value


def plain_arguments(cls: Any) -> Any:
    """A class of configurations whose arguments are taken as `plain` ones, and its names of classes as above."""
    build = cls.__init__

    @functools.wraps(build)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *map(plain, args), **_with_class_names({name: plain(value) for name, value in kwargs.items()}))

    cls.__init__ = __init__
    return cls


def _with_class_names(fields: dict[str, Any]) -> dict[str, Any]:
    names, numbers = fields.get("id2label"), fields.get("label2id")
    if not names and not numbers:
        return fields
    if isinstance(names, list):
        names = dict(enumerate(names))
    given = (
        names
        if names
        else {number: name for name, number in numbers.items()}
        if isinstance(numbers, Mapping)
        else None
    )
    try:
        names = {int(number): name for number, name in given.items()}  # type: ignore[union-attr]
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"id2label must be a list of the classes' names, or a dict of them by number, got {names or numbers!r}"
        ) from None
    if sorted(names) != [*range(len(names))]:
        raise ValueError(
            f"id2label has the numbers {sorted(names)[:10]}, expected 0 to {len(names) - 1} without holes"
        )
    names = {number: names[number] for number in sorted(names)}
    inverse = {name: number for number, name in names.items()}
    if numbers and numbers != inverse:
        raise ValueError(f"id2label and label2id disagree: {names} and {numbers}")
    return {**fields, "id2label": names, "label2id": inverse}


__all__ = ["plain", "plain_arguments"]
