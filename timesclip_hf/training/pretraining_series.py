# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The series that towers are pretrained on, as one array: synthetic ones, or somebody's own.

The rule for one's own. Series of more than 512 steps are cut into windows, each half over the next one, the last one
at the end of its series; of 512 steps, or of 256, 128 or 64 where longer ones are fewer than 256. Each variate is
standardised by all of its values, so levels and spreads of series stay what tells them apart. Towers read a variate at
a time: a batch takes one variate, drawn anew, of each of its samples, for two variates of one field, which may be
nearly the same, are no strangers to be told apart. A variate with fewer than eight steps or four values in a sample is
left out of it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.long import SeriesCollection
from ..data.words import some_of
from ..model.measured import check_range, unmasked
from ..model.preprocessing import instance_statistics
from ..model.reader import read_mask

_LONGEST, _SHORTEST, _ENOUGH = 512, 64, 256
_FEWEST_STEPS, _FEWEST_VALUES, _FEWEST_SAMPLES = 8, 4, 8
_SHOWN = 10  # shapes in an error


@dataclass(frozen=True)
class SeriesPool:
    """Samples of one or more variates, each variate a row.

    Args:
        values: `(rows, W)`, NaN where nothing was observed and behind the end of shorter series.
        lengths: `(rows,)`, steps of each.
        bounds: `(samples + 1,)`; rows `bounds[k]` to `bounds[k + 1] - 1` are the variates of sample k.
        words: what they are, for people.
        fingerprint: the same for the same series; empty, where arguments say it all.
    """

    values: NDArray[np.float32]
    lengths: NDArray[np.int64]
    bounds: NDArray[np.int64]
    words: str
    fingerprint: str = ""

    @property
    def num_samples(self) -> int:
        return len(self.bounds) - 1

    def rows(self, samples: NDArray[np.int64], seed: int, step: int) -> NDArray[np.int64]:
        """A row of each of these samples, drawn by the number of the step."""
        first, count = self.bounds[samples], np.diff(self.bounds)[samples]
        if (count == 1).all():
            return first
        return first + np.random.default_rng((seed, 2, step)).integers(count)

    def first(self, count: int) -> list[NDArray[np.float32]]:
        """The first rows as series `(T, 1)`."""
        return [row[:length, None] for row, length in zip(self.values[:count], self.lengths, strict=False)]


def pool_of_series(series: Any) -> SeriesPool:
    """Somebody's own series, by the rule above.

    Args:
        series: an array `(n, T, V)`, a list of series `(T, V)` of any lengths, rows with `past_values` (as of
            `load_wide_table`; with `past_observed_mask`, what it says False of is missing), or a `SeriesCollection`.

    Raises:
        ValueError: series of different numbers of variates, infinite values, or fewer than eight that can be read.
    """
    arrays = list(_values_of(series))
    if any(one.ndim != 2 for one in arrays) or len({one.shape[1] for one in arrays}) > 1:
        shapes = sorted({one.shape[1:] if one.ndim == 2 else one.shape for one in arrays})
        of_one = "; of one variate: [one[:, None] for one in series]" if {one.ndim for one in arrays} == {1} else ""
        raise ValueError(
            "series must have the shape (steps, variates), all with the same variates, "
            f"found {shapes[:_SHOWN]}{of_one}"
        )
    for number, one in enumerate(arrays):
        check_range(one[None], ~np.isnan(one[None]), "series", first=number)
    samples = _windows(arrays)
    rows, bounds, read = [], [0], np.zeros(arrays[0].shape[1] if arrays else 0, bool)
    if arrays:
        together = np.concatenate(arrays)[None]
        mean, spread = (one[0] for one in instance_statistics(together, np.isfinite(together), 0.0))
    for sample in samples:
        scaled = (sample - mean) / np.where(spread > 0, spread, np.inf)
        seen = np.isfinite(scaled).sum(axis=0) >= _FEWEST_VALUES
        kept = np.flatnonzero(seen & (spread > 0) & (len(sample) >= _FEWEST_STEPS))
        if len(kept):
            rows += list(scaled[:, kept].T)
            read[kept] = True
            bounds.append(len(rows))
    if len(bounds) <= _FEWEST_SAMPLES:
        raise ValueError(
            f"{len(bounds) - 1} of {len(samples)} series can be read, {_FEWEST_SAMPLES} at least are needed to tell "
            f"apart: each with {_FEWEST_STEPS} steps and {_FEWEST_VALUES} values that differ, of one variate at least"
        )
    lengths = np.array([len(row) for row in rows])
    values = np.full((len(rows), int(lengths.max())), np.nan, np.float32)
    for into, row in zip(values, rows, strict=True):
        into[: len(row)] = row
    digest = hashlib.blake2b(values.tobytes() + lengths.tobytes(), digest_size=16).hexdigest()
    left_out = len(samples) - len(bounds) + 1
    unread = [_name_of(number, series) for number in np.flatnonzero(~read)]
    words = (
        f"{len(bounds) - 1} series of {arrays[0].shape[1]} variates, {lengths.min()} to {lengths.max()} steps"
        + (f", windows of {len(arrays)} longer ones" if len(samples) > len(arrays) else "")
        + (f"; {left_out} with hardly a value are left out" if left_out else "")
        + (f"; never read, since constant or hardly there: {some_of(unread)}" if unread else "")
    )
    return SeriesPool(values, lengths, np.array(bounds), words, digest)


def _values_of(series: Any) -> Iterator[NDArray[np.float64]]:
    """Each series as an array of its own, NaN where nothing was observed."""
    if isinstance(series, str | Path) or (hasattr(series, "columns") and not isinstance(series, np.ndarray)):
        raise ValueError(
            f"series are given as a table ({type(series).__name__}): read it first, by "
            "load_wide_table(table, target=None) or load_long_table(...), or use timesclip pretrain"
        )
    for row in series.values if isinstance(series, SeriesCollection) else series:
        one = row["past_values"] if isinstance(row, Mapping) else row
        values = np.array(unmasked(one), np.float64)
        if isinstance(row, Mapping) and row.get("past_observed_mask") is not None:
            values[~np.asarray(read_mask(row["past_observed_mask"]), bool)] = np.nan
        yield values


def _name_of(variate: int, series: Any) -> str:
    names = series.variate_names if isinstance(series, SeriesCollection) else None
    return f"variate {variate}" if names is None else str(names[variate])


def _windows(arrays: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    length, samples = _LONGEST, arrays
    while length >= _SHORTEST:
        starts = [_starts(len(one), length) for one in arrays]
        samples = [one[start : start + length] for one, own in zip(arrays, starts, strict=True) for start in own]
        if len(samples) >= _ENOUGH or max(map(len, arrays), default=0) <= length:
            break
        length //= 2
    return samples


def _starts(steps: int, length: int) -> list[int]:
    last = max(0, steps - length)
    return [*range(0, last, length // 2), last]


__all__ = ["SeriesPool", "pool_of_series"]
