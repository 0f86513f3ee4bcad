# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Honest splits: rows of a dataset by column, time or group; series by time into windows."""

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray

from ..model.plain import plain
from .long import SeriesCollection
from .rhythms import instants
from .tables import check_complete, check_known, name_list, some_of
from .timestamps import read_timestamps
from .windows import ForecastWindows, check_counts, has_window

PARTS = ("train", "validation", "test")

# --- rows, by any of their columns, those of `static_values` included ------------------------------------------------


def split_by_column(dataset: Dataset, column: str = "split") -> DatasetDict:
    """Split by a column that says `train`, `validation` or `test` for each row, into the parts that have rows.

    Raises:
        ValueError: no such column, another or no value in some row, or no row for `train`.
    """
    values = columns_of(dataset, [column])[column].astype(object)
    if unknown := [f"{value!r} ({n} rows)" for value, n in values.value_counts().items() if value not in PARTS]:
        raise ValueError(f"column {column!r} may hold {', '.join(PARTS)}; found {some_of(unknown)}: rename them")
    parts = {name: (values == name).to_numpy(bool) for name in PARTS}
    return _select_parts(dataset, {name: rows for name, rows in parts.items() if rows.any() or name == "train"})


def split_chronologically(
    dataset: Dataset,
    time_column: str,
    *,
    validation: float | int,
    test: float | int,
    group_column: str | None = None,
) -> DatasetDict:
    """Train on the past, validate on what follows, test on the latest; rows of one time always stay together.

    With `group_column` each group (site) is split by its own times. A year that is test at one site may then be
    training at another whose record ends later; where groups share their weather, split without `group_column`.

    Args:
        dataset: rows to split into `train`, `validation` and `test`.
        time_column: numbers, dates, or ISO 8601 strings.
        validation, test: how many of the last distinct times, those of test last: a count (int, 1 or more), or a
            fraction (float, 0 < x < 1) of the distinct times, rounded up.
        group_column: column of the groups; None splits all rows by one calendar.

    Raises:
        ValueError: missing columns or cells, a share out of range, or groups with no time left to train on.
    """
    frame = columns_of(dataset, [time_column] if group_column is None else [time_column, group_column])
    groups = pd.Series(0, index=frame.index) if group_column is None else frame[group_column]
    ranks = _orderable(frame[time_column]).groupby(groups).rank(method="dense").astype(int)  # 1: first of its group
    totals = ranks.groupby(groups).transform("max")
    in_test = totals.map({total: _share(test, total, "test") for total in totals.unique()})
    in_validation = totals.map({total: _share(validation, total, "validation") for total in totals.unique()})
    last_of_train = totals - in_test - in_validation
    if (last_of_train < 1).any():
        which = "" if group_column is None else f" in {some_of(map(repr, groups[last_of_train < 1].unique()))}"
        raise ValueError(
            f"too few distinct values of {time_column!r}{which} ({totals[last_of_train < 1].min()} at the least) for "
            f"validation={validation} and test={test}: nothing would be left to train on"
        )
    parts = {
        "train": ranks <= last_of_train,
        "validation": (ranks > last_of_train) & (ranks <= totals - in_test),
        "test": ranks > totals - in_test,
    }
    return _select_parts(dataset, {name: rows.to_numpy() for name, rows in parts.items()})


def split_by_group(
    dataset: Dataset,
    group_columns: str | Sequence[str],
    *,
    validation: float | Sequence[Hashable],
    test: float | Sequence[Hashable],
    seed: int = 0,
) -> DatasetDict:
    """Keep groups together: all rows of a site, or of a site and year, land in the same part.

    There is deliberately no split that draws single rows. Rows of one site and year share weather and soil, so a
    random split puts near copies of the training rows into the test part: on a close relative of the crop data it
    showed a test R2 of .947 where an honest split showed .857.

    Args:
        dataset: rows to split into `train`, `validation` and `test`.
        group_columns: column, or columns, whose values make up a group: `"site"`, or `["site", "year"]`.
        validation, test: fraction (float, 0 < x < 1) of all groups, drawn at random and rounded up; or the list of
            groups: values of the one column (`test=["Tunis"]` leaves one site out), tuples of values of several.
        seed: of the draw, which does not depend on the order of the rows.

    Raises:
        ValueError: missing columns or cells, unknown groups, groups in both parts, or no group left to train on.
    """
    if not (seed is None or isinstance(plain(seed), int)):
        raise ValueError(f"seed is {seed!r}, expected a whole number")
    columns = [group_columns] if isinstance(group_columns, str) else name_list(group_columns, "group_columns")
    frame = columns_of(dataset, columns)
    numbers = frame.groupby(columns, sort=True).ngroup().to_numpy()
    firsts = frame.iloc[np.unique(numbers, return_index=True)[1]]
    keys = firsts[columns[0]].tolist() if len(columns) == 1 else list(firsts.itertuples(index=False, name=None))
    requests = {"test": plain(test), "validation": plain(validation)}
    chosen = {
        name: _find_groups(request, keys, name, columns)
        for name, request in requests.items()
        if not isinstance(request, float)
    }
    if both := set(chosen.get("test", [])) & set(chosen.get("validation", [])):
        raise ValueError(f"groups named in both test and validation: {some_of(repr(keys[n]) for n in sorted(both))}")
    taken = {number for part in chosen.values() for number in part}
    pool = [number for number in np.random.default_rng(seed).permutation(len(keys)).tolist() if number not in taken]
    for name, request in requests.items():
        if isinstance(request, float):
            count = _share(request, len(keys), name)
            chosen[name], pool = pool[:count], pool[count:]
    if not pool:
        raise ValueError(
            f"too few groups of {' and '.join(columns)} ({len(keys)}) for validation={validation} and test={test}: "
            "nothing would be left to train on"
        )
    chosen["train"] = pool
    return _select_parts(dataset, {name: np.isin(numbers, chosen[name]) for name in PARTS})


def random_rows(
    count: int, shares: tuple[float, float], classes: NDArray[Any] | None, seed: int, same: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Numbers of the rows of each part, drawn at random.

    Args:
        count: rows.
        shares: of the test part and of the validation part.
        classes: `(count,)`, of which each part has its share; `None`: there are none.
        seed: of what is drawn.
        same: `(count,)`, one number for rows of the same series, which stay in one part.

    Raises:
        ValueError: fewer different series than parts.
    """
    different = len(np.unique(same))
    if different < len(PARTS):
        alike = f" with {different} different series" if different < count else ""
        raise ValueError(f"{count} rows{alike} are too few: train, validation and test need one each")
    rng = np.random.default_rng(seed)
    strata = np.zeros(count, int) if classes is None else np.unique(classes, return_inverse=True)[1]
    places = np.empty(count)
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        places[members] = (np.arange(len(members)) + rng.random()) / len(members)  # spread over [0, 1)
    _, first, number = np.unique(same, return_index=True, return_inverse=True)
    order = np.lexsort((number, places[first][number]))
    test, validation = (max(1, round(share * count)) for share in shares)
    ends = (np.flatnonzero(np.append(np.diff(number[order]) != 0, True)) + 1).tolist()  # each series' last row
    first_end = next((end for end in ends[:-2] if end >= test), ends[-3])
    second_end = next((end for end in ends[:-1] if end >= max(test + validation, first_end + 1)), ends[-2])
    parts = {"test": order[:first_end], "validation": order[first_end:second_end], "train": order[second_end:]}
    return {name: np.sort(parts[name]) for name in PARTS}


def columns_of(dataset: Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Columns of a data set to split by, static values among them; they must exist and be complete."""
    own, static = dataset.column_names, dataset.features.get("static_values")
    statics = [name for name in static if name not in own] if isinstance(static, dict) else []
    check_known(names, [*own, *statics], "missing columns")
    if not names or not len(dataset):
        raise ValueError(f"cannot split {len(dataset)} rows by columns {names}: at least one of each is needed")
    wanted = {name: "static_values" if name in statics else name for name in names}
    found = pd.DataFrame(dataset.with_format(None).select_columns([*dict.fromkeys(wanted.values())]).to_pandas())
    frame = pd.DataFrame(
        {name: [row[name] for row in found[home]] if home != name else found[name] for name, home in wanted.items()}
    )
    for name in names:
        check_complete(frame[name].isna().to_numpy(bool), "values", frame[name])
        if others := [cell for cell in frame[name][:1] if not isinstance(cell, Hashable)]:
            raise ValueError(f"column {name!r} holds {others[0]!r:.80}, expected text, numbers or dates to split by")
    return frame


def _orderable(times: pd.Series) -> pd.Series:
    """Numbers and dates as they are; strings as dates, since sorted as text "9" would come after "10"."""
    if pd.api.types.is_numeric_dtype(times.dtype) or pd.api.types.is_datetime64_any_dtype(times.dtype):
        return times
    try:
        pd.to_datetime(times, format="ISO8601", utc=True)
    except (ValueError, TypeError) as error:
        words = f"column {times.name!r} must hold numbers, dates or ISO 8601 strings"
        raise ValueError(f"{words}, found {some_of(map(repr, times.unique()))}") from error
    return pd.Series(instants(read_timestamps(times)), times.index)  # also tells of offsets in some cells only


def _share(request: float | int, total: int, name: str) -> int:
    """How many of `total` a count or a fraction asks for; a fraction is rounded up, so that it is never none."""
    request = plain(request)
    if isinstance(request, int) and not isinstance(request, bool) and request >= 1:
        return request
    if isinstance(request, float) and 0.0 < request < 1.0:
        return math.ceil(round(request * total, 9))  # 0.07 * 100 is 7.000000000000001
    raise ValueError(f"{name} is {request!r}, expected a fraction between 0.0 and 1.0 or a count of 1 or more")


def _find_groups(request: Any, keys: list[Any], name: str, columns: list[str]) -> list[int]:
    if not isinstance(request, list) or not request:
        raise ValueError(f"{name} is {request!r}, expected a fraction between 0.0 and 1.0 or a list of groups")
    known = f"{' and '.join(columns)}: {some_of(map(repr, keys), 20)}"
    groups = [tuple(group) if isinstance(group, list) else group for group in request]
    check_known(groups, keys, f"{name} names unknown groups", known)
    number = {key: k for k, key in enumerate(keys)}
    return sorted({number[group] for group in groups})


def _select_parts(dataset: Dataset, parts: Mapping[str, NDArray[np.bool_]]) -> DatasetDict:
    if empty := [name for name, rows in parts.items() if not rows.any()]:
        raise ValueError(f"no rows for {' and '.join(empty)} among the {len(dataset)} rows")
    return DatasetDict({name: dataset.select(np.flatnonzero(rows)) for name, rows in parts.items()})


# --- series -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class WindowSplits:
    """Windows in time order, and the statistics of what may be learnt from.

    Args:
        train, validation, test: the windows; the same series in each (`train.head` may leave out short ones).
        mean, std: `(V,)` float64 per series, of the observed steps of its train part; std is that of the whole (ddof
            0), and 1 where a variate is constant.
    """

    train: ForecastWindows
    validation: ForecastWindows
    test: ForecastWindows
    mean: list[NDArray[np.float64]] = field(repr=False)
    std: list[NDArray[np.float64]] = field(repr=False)

    def standardised(self) -> "WindowSplits":
        """The same windows, cut from `(values - mean) / std`; the units in which published tables state errors."""

        def scaled(windows: ForecastWindows) -> ForecastWindows:
            # Few-shot training leaves out series that have become too short; validation and test keep them all.
            own = [self.test.series_names.index(name) for name in windows.series_names]
            series = [
                _scaled(values, self.mean[k], self.std[k]) for values, k in zip(windows.series, own, strict=True)
            ]
            return windows.over(replace(windows.collection, values=series))

        return WindowSplits(
            train=scaled(self.train),
            validation=scaled(self.validation),
            test=scaled(self.test),
            mean=[np.zeros_like(mean) for mean in self.mean],
            std=[np.ones_like(std) for std in self.std],
        )


def split_windows(
    collection: SeriesCollection,
    *,
    context_length: int,
    prediction_length: int,
    stride: int = 1,
    evaluation_stride: int = 1,
    train: float | int | None = 0.7,
    validation: float | int = 0.1,
    test: float | int = 0.2,
    drop_short: bool = False,
) -> WindowSplits:
    """Cut each series by time: train on the past, validate on what follows, test on the latest.

    Validation and test begin one context length before their border, so that their first forecast starts at it; no
    training window, nor `mean` and `std`, holds a step behind it.

    Args:
        collection: the series; each is split by itself, into views.
        context_length, prediction_length: steps T that a model sees, and H that it must forecast.
        stride, evaluation_stride: steps between the starts of windows, in train and in the other parts; published
            tables are taken at 1.
        train, validation, test: all fractions (floats) or all counts of steps (ints), one after the other from the
            start. Fractions are cut as in the published protocol: `int(n * train)` steps, `int(n * test)`, and for
            validation the rest where they sum to 1, else `int(n * validation)`. `train=None` counts from the end.
        drop_short: leave out, with a warning, series that have no window in some part, instead of raising.

    Raises:
        ValueError: shares that are mixed, out of range or too large, or a series without a window in some part.
    """
    check_counts(context_length=context_length, prediction_length=prediction_length)
    lengths, strides = (context_length, prediction_length), (stride, evaluation_stride, evaluation_stride)
    check_counts(stride=stride, evaluation_stride=evaluation_stride)
    _check_shares(train, validation, test)
    cuts: dict[int, list[slice]] = {}
    short: list[str] = []
    for k, (name, values) in enumerate(zip(collection.series_names, collection.values, strict=True)):
        counts = _part_lengths(len(values), train, validation, test)
        # Validation and test are kept with one context length before their border.
        borders = np.cumsum([0, *counts]).tolist()
        parts = [slice(max(0, low - context_length), high) for low, high in zip(borders, borders[1:], strict=False)]
        if complaint := _missing_length(len(values), counts, *lengths) or _unobserved(
            values, parts, lengths, strides, collection.num_targets
        ):
            short.append(f"series {name!r} ({len(values)} steps): {complaint}")
        else:
            cuts[k] = parts
    if short and (not drop_short or not cuts):
        raise ValueError(
            f"{len(short)} of {len(collection)} series have no window in some part: {some_of(short, 3)}. Shorten "
            "context_length or prediction_length, change the borders, or pass drop_short=True to leave such series out"
        )
    if short:
        warnings.warn(f"{len(short)} of {len(collection)} series left out: {some_of(short, 3)}", stacklevel=2)
    windows = {
        name: ForecastWindows(collection.cut({k: parts[p] for k, parts in cuts.items()}), *lengths, strides[p])
        for p, name in enumerate(PARTS)
    }
    mean, std = zip(*map(_statistics, windows["train"].series), strict=True)
    return WindowSplits(**windows, mean=list(mean), std=list(std))


def _check_shares(train: Any, validation: Any, test: Any) -> None:
    shares = {name: plain(share) for name, share in {"train": train, "validation": validation, "test": test}.items()}
    given = {name: share for name, share in shares.items() if share is not None}
    if validation is None or test is None:
        raise ValueError(f"validation={validation!r} and test={test!r}: only train may be None")
    if all(isinstance(share, int | np.integer) and not isinstance(share, bool) for share in given.values()):
        return check_counts(**given)
    if not all(isinstance(share, float) for share in given.values()):
        raise ValueError(f"{shares}: expected all fractions (floats), or all counts of steps (ints)")
    if min(given.values()) <= 0.0 or (total := sum(given.values())) > 1.0 + 1e-9 or (train is None and total >= 1.0):
        raise ValueError(f"{shares}: fractions must be above 0, and sum to 1 at most (below 1 if train is None)")


def _part_lengths(steps: int, train: Any, validation: Any, test: Any) -> tuple[int, int, int]:
    """Steps of each part, without the context that it borrows from the part before."""
    if not isinstance(test, float):
        return (steps - validation - test if train is None else train), validation, test
    n_test = int(steps * test)
    if train is None:
        return steps - int(steps * validation) - n_test, int(steps * validation), n_test
    n_train = int(steps * train)
    whole = abs(train + validation + test - 1.0) < 1e-9
    return n_train, steps - n_train - n_test if whole else int(steps * validation), n_test


def _missing_length(steps: int, counts: tuple[int, ...], context_length: int, prediction_length: int) -> str | None:
    if (total := sum(counts)) > steps:
        return f"the parts need {' + '.join(map(str, counts))} = {total} steps"
    window = context_length + prediction_length
    needs = [(window, f"{context_length} + {prediction_length} = {window}")] + 2 * [
        (prediction_length, prediction_length)
    ]
    lacking = [
        f"{part} has {max(0, count)} steps, but one window needs {words}"
        for part, count, (needed, words) in zip(PARTS, counts, needs, strict=True)
        if count < needed
    ]
    return "; ".join(lacking) or None


def _unobserved(
    values: NDArray[np.floating],
    parts: list[slice],
    lengths: tuple[int, int],
    strides: tuple[int, ...],
    targets: int | None,
) -> str | None:
    blank = [
        name
        for name, part, stride in zip(PARTS, parts, strides, strict=True)
        if not has_window(values[part], *lengths, stride, targets)
    ]
    return f"too few observed values in {' and '.join(blank)}" if blank else None


def _statistics(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each variate's observed steps."""
    columns = (column[~np.isnan(column)].astype(np.float64) for column in values.T)
    mean, std = np.array([(c.mean(), c.std() if c.min() < c.max() else 1.0) for c in columns]).T
    return mean, std


def _scaled(values: NDArray[np.floating], mean: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.floating]:
    scaled = np.empty_like(values)
    for k, column in enumerate(values.T):  # one by one: the float64 copies stay smaller than the series
        scaled[:, k] = (column.astype(np.float64) - mean[k]) / std[k]
    return scaled


__all__ = [
    "WindowSplits",
    "columns_of",
    "random_rows",
    "split_by_column",
    "split_by_group",
    "split_chronologically",
    "split_windows",
]
