# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecast windows, cut lazily and split by time: one copy of the series, however many windows there are."""

import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .long_series import SeriesCollection
from .tables import some_of

_PART_NAMES = ("train", "validation", "test")
_Usable = tuple[int, NDArray[np.bool_] | None]


# --- windows ----------------------------------------------------------------------------------------------------


class ForecastWindow(TypedDict):
    """What a model sees, `past_values` `(T, V)`, and what it must say, `labels` `(H, V)`; NaN is missing."""

    past_values: NDArray[np.float32]
    labels: NDArray[np.float32]


class ForecastWindows(Dataset[ForecastWindow]):
    """Windows over one or many series, cut when asked for; nothing is copied.

    Windows in which a variate has no value at all in the context, or in which no label at all is observed, are left
    out. Windows are views: who changes one changes the series.

    Args:
        series: `(T_i, V)` float32 each, NaN is missing. Kept as they are, not copied.
        context_length: steps T that a model sees.
        prediction_length: steps H that it must forecast.
        stride: steps between the starts of windows.
        timestamps: `(T_i,)` each; None if not known.
        series_names: one per series; None numbers them.
        variate_names: None numbers them.

    Raises:
        ValueError: lengths below 1, series of other shapes or types, names or timestamps that do not fit them.
    """

    def __init__(
        self,
        series: Sequence[NDArray[np.float32]],
        context_length: int,
        prediction_length: int,
        stride: int = 1,
        *,
        timestamps: Sequence[NDArray[Any]] | None = None,
        series_names: Sequence[str] | None = None,
        variate_names: Sequence[str] | None = None,
    ) -> None:
        _check_counts(context_length=context_length, prediction_length=prediction_length, stride=stride)
        names = [str(k) for k in range(len(series))] if series_names is None else list(series_names)
        width = series[0].shape[-1] if len(series) else 0
        variates = [str(k) for k in range(width)] if variate_names is None else list(variate_names)
        collection = SeriesCollection(list(series), variates, names, None if timestamps is None else list(timestamps))
        self.context_length, self.prediction_length, self.stride = context_length, prediction_length, stride
        self.series, self.series_names, self.variate_names = collection.values, names, variates
        self._timestamps = collection.timestamps
        usable = [_usable(values, context_length, prediction_length, stride) for values in self.series]
        self._offsets = np.concatenate([[0], np.cumsum([count for count, _ in usable])]).astype(np.int64)
        # Which of all windows are usable: None where all are, so that complete series need no index at all.
        self._kept: NDArray[np.int64] | None = None
        if any(mask is not None for _, mask in usable):
            masks = [np.ones(count, bool) if mask is None else mask for count, mask in usable]
            self._kept = np.flatnonzero(np.concatenate(masks))

    def __len__(self) -> int:
        return int(self._offsets[-1]) if self._kept is None else len(self._kept)

    def __getitem__(self, index: int) -> ForecastWindow:
        """One window; negative indices count from the end.

        Raises:
            IndexError: there is no such window.
        """
        series, start = self._locate(index)
        border = start + self.context_length
        values = self.series[series]
        return {"past_values": values[start:border], "labels": values[border : border + self.prediction_length]}

    def __getitems__(self, indices: Sequence[int]) -> list[ForecastWindow]:
        """Several windows, as torch's data loader fetches a batch."""
        return [self[index] for index in indices]

    def __repr__(self) -> str:
        return (
            f"ForecastWindows({len(self)} windows of {self.context_length} -> {self.prediction_length} steps, "
            f"{len(self.variate_names)} variates, {len(self.series)} series, stride {self.stride})"
        )

    def series_index(self, index: int) -> int:
        """Which of `series` a window is cut from."""
        return self._locate(index)[0]

    def timestamps(self, index: int) -> NDArray[Any] | None:
        """The `(T + H,)` times of a window, datetime64 or numbers; None if they are not known."""
        if self._timestamps is None:
            return None
        series, start = self._locate(index)
        return self._timestamps[series][start : start + self.context_length + self.prediction_length]

    def head(self, fraction: float) -> "ForecastWindows":
        """The windows that fit into the first share of each series' steps: few-shot training.

        Args:
            fraction: 0 < fraction <= 1, of the steps; rounded down.

        Returns:
            Windows over views; series that are left without a window are left out.

        Raises:
            ValueError: a fraction out of range, or one that leaves no window at all.
        """
        if isinstance(fraction, bool) or not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction is {fraction!r}, expected a number above 0 and up to 1")
        # Rounded before it is cut: 0.07 * 100 is 7.000000000000001, and 0.29 * 100 is 28.999999999999996.
        lengths = [int(round(fraction * len(values), 9)) for values in self.series]
        heads = [values[:length] for values, length in zip(self.series, lengths, strict=True)]
        kept = [k for k, values in enumerate(heads) if _has_window(values, *self._cut())]
        if not kept:
            longest, needed = max(lengths, default=0), self.context_length + self.prediction_length
            raise ValueError(
                f"the first {fraction:g} of the steps ({longest} at most) holds no window of {self.context_length} + "
                f"{self.prediction_length} = {needed} steps: take a larger fraction, or a shorter context"
            )
        return self._selected(kept, [heads[k] for k in kept])

    def _cut(self) -> tuple[int, int, int]:
        return self.context_length, self.prediction_length, self.stride

    def _selected(self, kept: Sequence[int], series: Sequence[NDArray[np.float32]]) -> "ForecastWindows":
        """The same windows over these series, which stand for those numbered `kept`."""
        times = None
        if self._timestamps is not None:
            times = [self._timestamps[k][: len(values)] for k, values in zip(kept, series, strict=True)]
        return ForecastWindows(
            series,
            *self._cut(),
            timestamps=times,
            series_names=[self.series_names[k] for k in kept],
            variate_names=self.variate_names,
        )

    def _locate(self, index: int) -> tuple[int, int]:
        """Series and first step of a window."""
        index = operator.index(index)
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"window {index} of {len(self)} windows")
        number = position if self._kept is None else int(self._kept[position])
        series = int(np.searchsorted(self._offsets, number, side="right")) - 1
        return series, (number - int(self._offsets[series])) * self.stride


def _usable(values: NDArray[np.float32], context_length: int, prediction_length: int, stride: int) -> _Usable:
    """How many windows a series has, and which of them can be used; None if all can."""
    count = max(0, (len(values) - context_length - prediction_length) // stride + 1)
    missing = np.isnan(values)
    if not count or not missing.any():
        return count, None
    seen = np.zeros((len(values) + 1, values.shape[1]), np.int32)  # observed before each step
    np.cumsum(~missing, axis=0, out=seen[1:])
    start = np.arange(count) * stride
    border, end = start + context_length, start + context_length + prediction_length
    usable: NDArray[np.bool_] = np.all(seen[border] > seen[start], axis=1) & np.any(seen[end] > seen[border], axis=1)
    return count, None if usable.all() else usable


def _has_window(values: NDArray[np.float32], context_length: int, prediction_length: int, stride: int) -> bool:
    count, mask = _usable(values, context_length, prediction_length, stride)
    return count > 0 and (mask is None or bool(mask.any()))


def _check_counts(**counts: Any) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"{name} is {count!r}, expected a whole number of steps, 1 or more")


# --- splits -----------------------------------------------------------------------------------------------------


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
            return windows._selected(range(len(series)), series)

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

    Validation and test begin one context length before their border, so that their first forecast starts at it. No
    training window, nor `mean` and `std`, holds a step behind the train border.

    Args:
        collection: the series; each is split by itself.
        context_length: steps T that a model sees.
        prediction_length: steps H that it must forecast.
        stride: steps between the starts of training windows.
        evaluation_stride: the same for validation and test; published tables are taken at 1.
        train, validation, test: all fractions (floats) or all counts of steps (ints). Fractions are cut as the
            published protocol does: `int(n * train)` steps, `int(n * test)` for the test, and validation is the rest
            where they sum to 1, else `int(n * validation)`. Parts follow each other from the start, and what they
            leave is unused: ETTh1 has 17 420 hours, of which (8640, 2880, 2880) leave the last 3 020. `train=None`
            counts from the end instead and trains on all that validation and test leave (M4: 13 and 13).
        drop_short: leave out, with a warning, series that have no window in some part, instead of raising.

    Returns:
        The three parts, whose series are views into the collection.

    Raises:
        ValueError: shares that are mixed, out of range or more than there is, or a series without a window in some
            part.
    """
    _check_counts(stride=stride, evaluation_stride=evaluation_stride)
    _check_counts(context_length=context_length, prediction_length=prediction_length)
    _check_shares(train, validation, test)
    kept: list[int] = []
    cuts: list[list[slice]] = []
    short: list[str] = []
    for k, (name, values) in enumerate(zip(collection.series_names, collection.values, strict=True)):
        counts = _part_lengths(len(values), train, validation, test)
        if complaint := _missing_length(len(values), counts, context_length, prediction_length):
            short.append(f"series {name!r} ({len(values)} steps): {complaint}")
            continue
        slices = _part_slices(counts, context_length)
        strides = (stride, evaluation_stride, evaluation_stride)
        blind = [
            part
            for part, cut, step in zip(_PART_NAMES, slices, strides, strict=True)
            if not _has_window(values[cut], context_length, prediction_length, step)
        ]
        if blind:
            short.append(f"series {name!r} ({len(values)} steps): too few observed values in {' and '.join(blind)}")
            continue
        kept.append(k)
        cuts.append(slices)
    if short and (not drop_short or not kept):
        raise ValueError(
            f"{len(short)} of {len(collection)} series have no window in some part: {some_of(short, 3)}. Shorten "
            "context_length or prediction_length, change the borders, or pass drop_short=True to leave such series out"
        )
    if short:
        warnings.warn(f"{len(short)} of {len(collection)} series left out: {some_of(short, 3)}", stacklevel=2)
    parts = {}
    for p, part in enumerate(_PART_NAMES):
        times = collection.timestamps
        parts[part] = ForecastWindows(
            [collection.values[k][slices[p]] for k, slices in zip(kept, cuts, strict=True)],
            context_length,
            prediction_length,
            stride if part == "train" else evaluation_stride,
            timestamps=None if times is None else [times[k][slices[p]] for k, slices in zip(kept, cuts, strict=True)],
            series_names=[collection.series_names[k] for k in kept],
            variate_names=collection.variate_names,
        )
    statistics = [_statistics(values) for values in parts["train"].series]
    return WindowSplits(**parts, mean=[mean for mean, _ in statistics], std=[std for _, std in statistics])


def _check_shares(train: Any, validation: Any, test: Any) -> None:
    shares = {"train": train, "validation": validation, "test": test}
    given = {name: share for name, share in shares.items() if share is not None}
    if validation is None or test is None:
        raise ValueError(f"validation={validation!r} and test={test!r}: only train may be None")
    if all(isinstance(share, int | np.integer) and not isinstance(share, bool) for share in given.values()):
        return _check_counts(**given)
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


def _part_slices(counts: tuple[int, int, int], context_length: int) -> list[slice]:
    """Each part as it is stored: validation and test with one context length before their border."""
    borders = np.cumsum(counts).tolist()
    starts = [0, *(border - context_length for border in borders[:-1])]
    return [slice(start, end) for start, end in zip(starts, borders, strict=True)]


def _missing_length(
    steps: int, counts: tuple[int, int, int], context_length: int, prediction_length: int
) -> str | None:
    if (total := sum(counts)) > steps:
        return f"the parts need {' + '.join(map(str, counts))} = {total} steps"
    needs = {
        "train": (counts[0], context_length + prediction_length, f"{context_length} + {prediction_length} = "),
        "validation": (counts[1], prediction_length, ""),
        "test": (counts[2], prediction_length, ""),
    }
    lacking = [
        f"{part} has {max(0, count)} steps, but one window needs {sum_of}{needed}"
        for part, (count, needed, sum_of) in needs.items()
        if count < needed
    ]
    return "; ".join(lacking) or None


def _statistics(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each variate's observed steps."""
    mean, std = np.empty(values.shape[1]), np.ones(values.shape[1])
    for k, column in enumerate(values.T):  # one by one: the float64 copies stay smaller than the series
        observed = column[~np.isnan(column)].astype(np.float64)
        mean[k] = observed.mean()
        if observed.min() < observed.max():
            std[k] = observed.std()
    return mean, std


def _scaled(values: NDArray[np.float32], mean: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.float32]:
    scaled = np.empty_like(values)
    for k, column in enumerate(values.T):
        scaled[:, k] = (column.astype(np.float64) - mean[k]) / std[k]
    return scaled


__all__ = [
    "ForecastWindow",
    "ForecastWindows",
    "WindowSplits",
    "split_windows",
]
