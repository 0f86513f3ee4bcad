# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What is handed over in the place of series: named at once, with what is wanted and how to get there.

Series are arrays, tensors, nested lists, lists of these or of tables, or one table; `fit` also takes a data set.
Libraries are not asked, since predicting does not need them: things are told by what they can do.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .reader import is_dataset


def check_series(given: Any, to_fit: bool = False) -> None:
    """Raises `ValueError` for what holds no series, and for what must be read, cut or taken apart first.

    Args:
        given: as `past_values`.
        to_fit: whether data sets are taken, too.
    """
    if advice := _advice(given, to_fit):
        kind = type(given)
        text = f" ({str(given)[:80]!r})" if isinstance(given, (str, os.PathLike)) else ""
        raise ValueError(f"past_values is a {kind.__module__.partition('.')[0]}.{kind.__name__}{text}: {advice}")


def _advice(given: Any, to_fit: bool) -> str | None:
    if isinstance(given, (str, bytes, os.PathLike)):
        return "read the file first, with load_wide_table(path), or load_long_table(path).values"
    if isinstance(given, Mapping):
        parts = f"it has {', '.join(map(repr, list(given)[:6])) or 'nothing'}"
        return f"{parts}; pass one part of it" if is_dataset(given) else f"{parts}; pass the series alone, by position"
    if is_dataset(given):
        if not hasattr(given, "__len__"):
            return "a stream has no length; take some of it, datasets.Dataset.from_list(list(stream.take(1000)))"
        return None if to_fit else "a batch of it is dataset[:8]['past_values']; TimesCLIPDataCollator reads its rows"
    if isinstance(given, type):
        return "a class holds no series"
    if hasattr(given, "series_names") and hasattr(given, "values"):
        return "pass its series, collection.values"
    if all(hasattr(given, part) for part in ("train", "validation", "test")):
        return "fit on the series of the training part, windows.train.series"
    if hasattr(given, "batch_sampler"):
        return "pass its data set, or the series of one batch"
    if hasattr(given, "column_names") or isinstance(given, (memoryview, np.ndarray)) or hasattr(given, "columns"):
        return None
    if hasattr(given, "__array__") or np.isscalar(given):
        return None
    if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        return "expected an array, a tensor, a list of series or a table; of a stream, collect its series in a list"
    if len(given) and isinstance(given[0], Mapping):
        return "rows are for data sets, datasets.Dataset.from_list(rows); the series alone are a list of arrays"
    return None


__all__ = ["check_series"]
