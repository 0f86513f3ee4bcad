# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecast windows, cut lazily: one copy of the series, however many windows there are."""

import operator
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .long import SeriesCollection
from .rhythms import Times
from .words import check_listed

_Usable = tuple[int, NDArray[np.bool_] | None]


class ForecastWindow(TypedDict, total=False):
    """What a model sees, `past_values` `(T, V)`, and what it must say, `labels` `(H, V)`; NaN is missing.

    Where the collection has covariates, labels are those of its targets, and `future_values` `(T + H, C)` and
    `static_values` are there, too.
    """

    past_values: NDArray[np.floating]
    labels: NDArray[np.floating]
    future_values: NDArray[np.float64]
    static_values: dict[str, Any]


class ForecastWindows(Dataset[ForecastWindow]):
    """Windows over one or many series, cut when asked for; nothing is copied.

    Windows in which a variate has no value at all in the context, or in which no label at all is observed, are left
    out. Windows are views: who changes one changes the series.

    Args:
        series: a `SeriesCollection`, or `(T_i, V)` float64 or float32 arrays, NaN is missing; not copied.
        context_length: steps T that a model sees.
        prediction_length: steps H that it must forecast.
        stride: steps between the starts of windows.
        timestamps, series_names, variate_names: of arrays, as a `SeriesCollection` has them; None: not known, or
            numbered.

    Raises:
        ValueError: lengths below 1, series of other shapes or types, names or timestamps that do not fit them.
    """

    def __init__(
        self,
        series: SeriesCollection | Sequence[NDArray[np.floating]],
        context_length: int,
        prediction_length: int,
        stride: int = 1,
        *,
        timestamps: Sequence[Times] | None = None,
        series_names: Sequence[str] | None = None,
        variate_names: Sequence[str] | None = None,
    ) -> None:
        check_counts(context_length=context_length, prediction_length=prediction_length, stride=stride)
        context_length, prediction_length, stride = map(int, (context_length, prediction_length, stride))
        if not isinstance(series, SeriesCollection):
            check_listed(series, "series", "arrays (time, variates)")
            for role, given in {"series_names": series_names, "variate_names": variate_names}.items():
                if given is not None:
                    check_listed(given, role, "names")
            if timestamps is not None:
                check_listed(timestamps, "timestamps", "arrays, one for each series")
            names = range(len(series)) if series_names is None else series_names
            variates = (
                range(np.shape(series[0])[-1] if len(series) and np.ndim(series[0]) else 0)
                if variate_names is None
                else variate_names
            )
            times = None if timestamps is None else list(timestamps)
            series = SeriesCollection(list(series), [str(v) for v in variates], [str(name) for name in names], times)
        self.collection, self.series = series, series.values
        self.series_names, self.variate_names = series.series_names, series.variate_names
        self.context_length, self.prediction_length, self.stride = context_length, prediction_length, stride
        targets = self.collection.num_targets
        usable = [_usable(values, context_length, prediction_length, stride, targets) for values in self.series]
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
        series, start = self.locate(index)
        border, collection = start + self.context_length, self.collection
        values, end = self.series[series], border + self.prediction_length
        window: ForecastWindow = {
            "past_values": values[start:border],
            "labels": values[border:end, : collection.num_targets],
        }
        if collection.future is not None:
            window["future_values"] = collection.future[series][start:end]
        if collection.static is not None:
            window["static_values"] = collection.static[series]
        return window

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
        return self.locate(index)[0]

    def timestamps(self, index: int) -> Times | None:
        """The `(T + H,)` times of a window, as a `SeriesCollection` has them; None if they are not known."""
        if self.collection.timestamps is None:
            return None
        series, start = self.locate(index)
        return self.collection.timestamps[series][start : start + self.context_length + self.prediction_length]

    def head(self, fraction: float) -> "ForecastWindows":
        """The windows that fit into the first share of each series' steps (0 < share <= 1, rounded down).

        For few-shot training. Series that are left without a window are left out.

        Raises:
            ValueError: a fraction out of range, or one that leaves no window at all.
        """
        if isinstance(fraction, bool) or not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction is {fraction!r}, expected a number above 0 and up to 1")
        # Rounded before it is cut: 0.07 * 100 is 7.000000000000001, and 0.29 * 100 is 28.999999999999996.
        cuts = {k: slice(int(round(fraction * len(values), 9))) for k, values in enumerate(self.series)}
        lengths, targets = (self.context_length, self.prediction_length), self.collection.num_targets
        kept = {k: cut for k, cut in cuts.items() if has_window(self.series[k][cut], *lengths, self.stride, targets)}
        if not kept:
            raise ValueError(
                f"the first {fraction:g} of the steps ({max(cut.stop for cut in cuts.values())} at most) holds no "
                f"window of {lengths[0]} + {lengths[1]} = {sum(lengths)} steps: take a larger fraction, or a shorter "
                "context"
            )
        return self.over(self.collection.cut(kept))

    def over(self, collection: SeriesCollection) -> "ForecastWindows":
        """Windows of the same lengths and stride over other series."""
        return ForecastWindows(collection, self.context_length, self.prediction_length, self.stride)

    def locate(self, index: int) -> tuple[int, int]:
        """Number of the series that a window is cut from, and its first step there."""
        index = operator.index(index)
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"window {index} of {len(self)} windows")
        number = position if self._kept is None else int(self._kept[position])
        series = int(np.searchsorted(self._offsets, number, side="right")) - 1
        return series, (number - int(self._offsets[series])) * self.stride


def _usable(
    values: NDArray[np.floating], context_length: int, prediction_length: int, stride: int, targets: int | None = None
) -> _Usable:
    """How many windows a series has, and which of them can be used; None if all can."""
    count = max(0, (len(values) - context_length - prediction_length) // stride + 1)
    missing = np.isnan(values)
    if not count or not missing.any():
        return count, None
    seen = np.zeros((len(values) + 1, values.shape[1]), np.int32)  # observed before each step
    np.cumsum(~missing, axis=0, out=seen[1:])
    start = np.arange(count) * stride
    border, end = start + context_length, start + context_length + prediction_length
    answered = (seen[end] > seen[border])[:, :targets]
    usable: NDArray[np.bool_] = np.all(seen[border] > seen[start], axis=1) & np.any(answered, axis=1)
    return count, None if usable.all() else usable


def has_window(
    values: NDArray[np.floating], context_length: int, prediction_length: int, stride: int, targets: int | None = None
) -> bool:
    """Whether a series has a window that can be used, of whose first `targets` variates something is to be said."""
    count, mask = _usable(values, context_length, prediction_length, stride, targets)
    return count > 0 and (mask is None or bool(mask.any()))


def check_counts(**counts: Any) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"{name} is {count!r}, expected a whole number of steps, 1 or more")


__all__ = ["ForecastWindow", "ForecastWindows", "check_counts", "has_window"]
