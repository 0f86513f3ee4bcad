# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecast windows, cut lazily: one copy of the series, however many windows there are."""

import operator
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .long import SeriesCollection

_Usable = tuple[int, NDArray[np.bool_] | None]


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
        check_counts(context_length=context_length, prediction_length=prediction_length, stride=stride)
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
        kept = [k for k, values in enumerate(heads) if has_window(values, *self._cut())]
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


def has_window(values: NDArray[np.float32], context_length: int, prediction_length: int, stride: int) -> bool:
    count, mask = _usable(values, context_length, prediction_length, stride)
    return count > 0 and (mask is None or bool(mask.any()))


def check_counts(**counts: Any) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"{name} is {count!r}, expected a whole number of steps, 1 or more")


__all__ = ["ForecastWindow", "ForecastWindows", "check_counts", "has_window"]
