# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a processor's parameters may be, and what `fit` must have left: checked before anything is computed with them.

Everything here may come from a stranger's processor_config.json.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

STATISTICS_VERSION = 1
# Far beyond what is used: a number in a broken file must not ask for all memory there is.
_MAX_STEPS, _MAX_PIXELS = 100_000, 4096
_CHOICES = {
    "padding": ("end", "none"),
    "scaling": ("dataset", "instance", "none"),
    "value_range": ("dataset", "window"),
}
BUILT_IN_VIEWS = ("line", "gasf", "gadf", "mtf", "recurrence", "spectrogram", "stacked")
# Names of views that `register_view` has added.
OWN_VIEWS: set[str] = set()


def check_parameters(processor: Any) -> None:
    """Raises `ValueError` that names the parameter, what it is and what was expected."""
    for name in ("context_length", "patch_length", "patch_stride"):
        _require(processor, name, _is_count(getattr(processor, name), _MAX_STEPS), f"1 to {_MAX_STEPS} steps")
    if processor.patch_length > processor.context_length:
        raise ValueError(
            f"patch_length ({processor.patch_length}) exceeds context_length ({processor.context_length})"
        )
    for name, allowed in _CHOICES.items():
        _require(processor, name, getattr(processor, name) in list(allowed), f"one of {allowed}")
    _check_view(processor)
    _require(
        processor, "num_variates", processor.num_variates is None or _is_count(processor.num_variates), "1 or more"
    )
    layout = getattr(processor, "layout", None)  # of older files: not said
    if layout not in (None, "variate", "grid"):
        raise ValueError(f"layout must be one of ('variate', 'grid'), got {layout!r}")
    size = processor.image_size
    drawn = _is_list(size) and len(size) == 2 and all(_is_count(n, _MAX_PIXELS) for n in size)
    _require(processor, "image_size", size is None or drawn, f"None, a number or [height, width], 1 to {_MAX_PIXELS}")
    background, line_width, colors = processor.background, processor.line_width, processor.image_std
    _require(processor, "background", _is_number(background) and 0 <= background <= 1, "in [0, 1]")
    _require(processor, "line_width", _is_number(line_width) and line_width > 0, "a positive number of pixels")
    _require(processor, "image_mean", _are_numbers(processor.image_mean, 3), "three numbers")
    _require(processor, "image_std", _are_numbers(colors, 3) and min(colors) > 0, "three numbers above 0")
    check_statistics(processor.statistics)
    fitted = len(processor.statistics["variates"]["mean"]) if processor.statistics else processor.num_variates
    if fitted != processor.num_variates:
        raise ValueError(f"The statistics are those of {fitted} variates, num_variates is {processor.num_variates}")
    check_names(processor)
    for name in ("padding_side", "truncation_side"):
        _require(processor, name, getattr(processor, name) in (None, "left", "right"), "'left', 'right' or None")
    _check_missing_values(processor)
    _check_forecast(processor)
    first, last = processor.first_step, processor.last_step
    for name in ("first_step", "last_step"):
        _require(processor, name, getattr(processor, name) is None or _is_step(getattr(processor, name)), "0 or more")
    pattern, dates = processor.column_pattern, processor.step_dates
    _require(processor, "column_pattern", pattern is None or isinstance(pattern, str), "text, or None")
    few = dates is None or (_is_list(dates) and 0 < len(dates) <= _MAX_STEPS)
    _require(processor, "step_dates", few and all(map(_is_date, dates or [])), "rising dates (2019-10-01), or None")
    _require(processor, "step_dates", sorted(dates or []) == (dates or []), "rising dates (2019-10-01), or None")
    _require(processor, "last_step", last is None or last >= (first or 0), f"{first or 0} (first_step) or more")


def _check_forecast(processor: Any) -> None:
    """What only forecasts have: steps, targets among the variates, and what is known of the future."""
    steps, targets, calendar = processor.prediction_length, processor.num_target_variates, processor.calendar
    _require(processor, "prediction_length", steps is None or _is_count(steps, _MAX_STEPS), f"1 to {_MAX_STEPS} steps")
    few = targets is None or _is_count(targets, processor.num_variates or math.inf)
    _require(processor, "num_target_variates", few, "1 to num_variates")
    named = calendar is None or (_is_list(calendar) and all(isinstance(name, str) for name in calendar))
    _require(processor, "calendar", named, "a list of names, or None")


def views_of(processor: Any) -> list[str]:
    """The views of a processor by name: one, or three, one for each colour."""
    return [processor.view] if isinstance(processor.view, str) else list(processor.view)


def _check_view(processor: Any) -> None:
    known = (*BUILT_IN_VIEWS, *sorted(OWN_VIEWS))
    right = isinstance(processor.view, str) or (_is_list(processor.view) and len(processor.view) == 3)
    _require(processor, "view", right, "a name, or a list of three, one for each colour")
    tiled = [tiles_of(view) for view in views_of(processor)]
    unknown = [name for tiles in tiled for name in tiles if name not in list(known)]
    if unknown:
        raise ValueError(
            f"view must be one of {known}, got {unknown[0]!r}; one of your own is known after register_view(name, "
            "function), which each process calls before it loads or makes such a processor"
        )
    if mixed := [tiles for tiles in tiled if len(tiles) > 1 and "stacked" in tiles]:
        raise ValueError(f"view {'+'.join(mixed[0])!r}: 'stacked', whose paper is black, stands in an image alone")


def tiles_of(view: str) -> list[str]:
    """The views that stand beside each other in one image, of `"line+gasf"`."""
    return view.split("+")


def _check_missing_values(processor: Any) -> None:
    declared, expected = processor.missing_values, "a list of finite numbers, or a dict of such lists by variate"
    lists = list(declared.values()) if isinstance(declared, Mapping) else [declared or []]
    _require(processor, "missing_values", all(_is_list(n) and all(map(_is_number, n)) for n in lists), expected)
    if isinstance(declared, Mapping):
        names = processor.variate_names or []
        if unknown := [name for name in declared if name not in names]:
            raise ValueError(f"missing_values are declared for {unknown}, but variate_names are {names or None}")


def check_names(processor: Any) -> None:
    """Names and units are lists of strings, one for each variate or target; no name comes twice."""
    targets = (processor.statistics or {}).get("targets")
    unfitted = processor.target_names or processor.target_units
    num_targets = len(targets["mean"]) if targets else len(unfitted) if _is_list(unfitted) else None
    expected = {"variate": processor.num_variates, "target": num_targets}
    for name in ("variate_names", "variate_units", "target_names", "target_units"):
        given, count = getattr(processor, name), expected[name.partition("_")[0]]
        if given is None:
            continue
        _require(processor, name, _is_list(given) and all(isinstance(n, str) for n in given), "a list of strings")
        if count is not None and len(given) != count:
            raise ValueError(f"{name} has {len(given)} entries, expected {count}: {given}")
        if name.endswith("names") and len(set(given)) < len(given):
            raise ValueError(f"{name} must differ from each other, got {given}")


def check_statistics(statistics: Any) -> None:
    """What `fit` learnt, or `None` before it."""
    if statistics is None:
        return
    if not isinstance(statistics, Mapping):
        raise ValueError(f"statistics must be an object, got {statistics!r}; fit the processor again")
    if (version := statistics.get("version")) != STATISTICS_VERSION:
        raise ValueError(f"These statistics have version {version!r}; this release reads {STATISTICS_VERSION}")
    if missing := [name for name in ("variates", "static", "targets") if name not in statistics]:
        raise ValueError(f"The statistics lack {missing}; fit the processor again")
    _check_lists("variates", statistics["variates"], ("mean", "std", "minimum", "maximum"))
    if statistics["targets"] is not None:
        _check_lists("targets", statistics["targets"], ("mean", "std"))
    for kind in ("static", "future"):
        _check_columns(kind, statistics.get(kind) or [])


def _check_columns(kind: str, static: Any) -> None:
    """Columns that were fitted, of static values or of covariates."""
    if not _is_list(static) or not all(map(_is_static, static)):
        raise ValueError(
            f"{kind} in the statistics must list columns with a name, and categories or mean and std (above 0), got "
            f"{static!r}; fit the processor again"
        )


def _check_lists(name: str, statistics: Any, keys: tuple[str, ...]) -> None:
    lists: list[Any] = [statistics.get(key) for key in keys] if isinstance(statistics, Mapping) else [None]
    size = len(lists[0]) if _is_list(lists[0]) else 0
    if not size or not all(_are_numbers(values, size) for values in lists) or min(statistics["std"]) <= 0:
        raise ValueError(
            f"The statistics of {name} must be {', '.join(keys)}: lists of one length, finite, std above 0; "
            f"got {statistics!r}"
        )


def _is_static(column: Any) -> bool:
    if not isinstance(column, Mapping) or not isinstance(column.get("name"), str):
        return False
    if isinstance(categories := column.get("categories"), list):
        return all(isinstance(category, str) for category in categories)
    return _are_numbers([column.get("mean"), column.get("std")], 2) and column["std"] > 0


def _require(processor: Any, name: str, right: bool, expected: str) -> None:
    if not right:
        raise ValueError(f"{name} must be {expected}, got {getattr(processor, name)!r}")


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _are_numbers(values: Any, count: int) -> bool:
    return _is_list(values) and len(values) == count and all(map(_is_number, values))


def _is_count(value: Any, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_date(value: Any) -> bool:
    return (
        isinstance(value, str) and re.fullmatch(r"\d{4}-[01]\d-[0-3]\d(T[0-2]\d:[0-5]\d:[0-5]\d)?", value) is not None
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


__all__ = [
    "BUILT_IN_VIEWS",
    "OWN_VIEWS",
    "STATISTICS_VERSION",
    "check_names",
    "check_parameters",
    "check_statistics",
    "tiles_of",
    "views_of",
]
