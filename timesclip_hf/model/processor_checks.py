# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a processor's parameters may be, and what `fit` must have left: checked before anything is computed with them.

Everything here may come from a stranger's processor_config.json.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

STATISTICS_VERSION = 1
# Far beyond what is used: a number in a broken file must not ask for all memory there is.
_MAX_STEPS, _MAX_PIXELS = 100_000, 4096
_CHOICES = {
    "padding": ("end", "none"),
    "scaling": ("dataset", "instance", "none"),
    "value_range": ("dataset", "window"),
    "view": ("line", "gasf", "gadf", "mtf", "recurrence", "spectrogram"),
}
_VARIATE_STATISTICS = ("mean", "std", "minimum", "maximum")


def check_parameters(processor: Any) -> None:
    """Raises `ValueError` that names the parameter, what it is and what was expected."""
    for name in ("context_length", "patch_length", "patch_stride"):
        value = getattr(processor, name)
        if not _is_count(value) or value > _MAX_STEPS:
            raise ValueError(f"{name} must be a positive integer, at most {_MAX_STEPS}, got {value!r}.")
    if processor.patch_length > processor.context_length:
        raise ValueError(
            f"patch_length ({processor.patch_length}) exceeds context_length ({processor.context_length})."
        )
    for name, allowed in _CHOICES.items():
        value = getattr(processor, name)
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")
    if processor.num_variates is not None and not _is_count(processor.num_variates):
        raise ValueError(f"num_variates must be a positive integer, got {processor.num_variates!r}.")
    _check_drawing(processor)
    check_statistics(processor.statistics)
    fitted = len(processor.statistics["variates"]["mean"]) if processor.statistics else processor.num_variates
    if fitted != processor.num_variates:
        raise ValueError(f"The statistics are those of {fitted} variates, num_variates is {processor.num_variates}.")
    check_names(processor)


def check_names(processor: Any) -> None:
    """Names and units are lists of strings, one for each variate or target; no name comes twice."""
    targets = (processor.statistics or {}).get("targets")
    unfitted = processor.target_names or processor.target_units
    num_targets = len(targets["mean"]) if targets else len(unfitted) if isinstance(unfitted, (list, tuple)) else None
    expected = {
        "variate_names": processor.num_variates,
        "variate_units": processor.num_variates,
        "target_names": num_targets,
        "target_units": num_targets,
    }
    for name, count in expected.items():
        given = getattr(processor, name)
        if given is None:
            continue
        if not isinstance(given, (list, tuple)) or not all(isinstance(entry, str) for entry in given):
            raise ValueError(f"{name} must be a list of strings, got {given!r}.")
        if count is not None and len(given) != count:
            raise ValueError(f"{name} has {len(given)} entries, expected {count}: {given}.")
        if name.endswith("names") and len(set(given)) < len(given):
            raise ValueError(f"{name} must differ from each other, got {given}.")


def check_statistics(statistics: Any) -> None:
    """What `fit` learnt, or `None` before it."""
    if statistics is None:
        return
    if not isinstance(statistics, Mapping):
        raise ValueError(f"statistics must be an object, got {statistics!r}; fit the processor again.")
    version = statistics.get("version")
    if version != STATISTICS_VERSION:
        raise ValueError(f"These statistics have version {version!r}; this release reads {STATISTICS_VERSION}.")
    if missing := [name for name in ("variates", "static", "targets") if name not in statistics]:
        raise ValueError(f"The statistics lack {missing}; fit the processor again.")
    _check_lists("variates", statistics["variates"], _VARIATE_STATISTICS)
    if statistics["targets"] is not None:
        _check_lists("targets", statistics["targets"], ("mean", "std"))
    for column in _list_of(statistics["static"] or [], "static statistics"):
        _check_static(column)


def _check_drawing(processor: Any) -> None:
    size = processor.image_size
    if size is not None and not (
        isinstance(size, (list, tuple)) and len(size) == 2 and all(_is_count(n) and n <= _MAX_PIXELS for n in size)
    ):
        raise ValueError(
            f"image_size must be a positive integer or [height, width], at most {_MAX_PIXELS}, got {size!r}."
        )
    if not _is_number(processor.background) or not 0 <= processor.background <= 1:
        raise ValueError(f"background must be in [0, 1], got {processor.background!r}.")
    if not _is_number(processor.line_width) or not processor.line_width > 0:
        raise ValueError(f"line_width must be a positive number of pixels, got {processor.line_width!r}.")
    colors = (processor.image_mean, processor.image_std)
    if not all(_are_three_numbers(values) for values in colors) or min(colors[1]) <= 0:
        raise ValueError(
            "image_mean and image_std must hold a number for each of three colours (std above 0), got "
            f"{colors[0]} and {colors[1]}."
        )


def _check_lists(name: str, statistics: Any, keys: Iterable[str]) -> None:
    """Lists of finite numbers of one length, those of spreads above 0."""
    lists = {key: _list_of(statistics.get(key) if isinstance(statistics, Mapping) else None, key) for key in keys}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) != 1 or 0 in lengths or not all(_is_number(v) for values in lists.values() for v in values):
        raise ValueError(f"The statistics of {name} must be finite numbers, lists of one length, got {statistics!r}.")
    if min(lists["std"]) <= 0:
        raise ValueError(f"std in the statistics of {name} must be above 0, got {lists['std']}.")


def _check_static(column: Any) -> None:
    known = isinstance(column, Mapping) and isinstance(column.get("name"), str)
    categories = column.get("categories") if known else None
    if isinstance(categories, list):
        known = all(isinstance(category, str) for category in categories)
    elif known:
        known = _is_number(column.get("mean")) and _is_number(column.get("std")) and column["std"] > 0
    if not known:
        raise ValueError(
            f"A static column must have a name, and categories or mean and std, got {column!r}; fit the processor "
            "again."
        )


def _list_of(values: Any, name: str) -> list[Any]:
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{name} must be a list, got {values!r}; fit the processor again.")
    return list(values)


def _are_three_numbers(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == 3 and all(map(_is_number, values))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


__all__ = ["STATISTICS_VERSION", "check_names", "check_parameters", "check_statistics"]
