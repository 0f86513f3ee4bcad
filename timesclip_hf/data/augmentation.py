# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Series that were not measured but could have been: copies of labelled ones, changed a little, for few labels.

All is done on values, before anything is made of them, so plots and patches show the same. The rule, in this order:

- `mixup`: with another row, shares by a Beta distribution (Zhang et al. 2018), labels alike; static values and gaps
  stay those of the row with the larger share. Numbers as labels only.
- `warp`, `shift`: time runs faster here and slower there, or everything comes earlier or later; beyond the ends the
  first or last value holds. Shares of the series' length, standard deviations, never more than two of them.
- `scale`: of the distance to the variate's mean over the data, all steps of a series alike; `jitter`: of each step, in
  spreads of the variate. Standard deviations.
- `drop_spans`: up to this share of the steps in a row is missing, in all variates. `drop_variates`: the chance that a
  variate is its mean over the data all along, which tells nothing. Each variate keeps a value, one of them all.

What is drawn depends on seed, epoch and row alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..model.preprocessing import instance_statistics

_MOST = 2.0  # standard deviations by which time moves
_TRIES = 20  # to find a span that leaves each variate a value


@dataclass(frozen=True)
class Augmentation:
    """How much series are changed, by the rule above; 0, which all are unless said: not at all.

    Raises:
        ValueError: an amount outside of 0 to 1.
    """

    jitter: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    warp: float = 0.0
    drop_spans: float = 0.0
    drop_variates: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
                raise ValueError(f"augment: {item.name} is {value!r}, expected a number from 0 to 1")

    @classmethod
    def read(cls, words: Any) -> "Augmentation":
        """From words: `"jitter=0.1 shift=0.05"` (spaces or commas), a mapping, or `"default"`, which is `USUAL`.

        Raises:
            ValueError: a name that there is not, or what is no number.
        """
        if isinstance(words, Augmentation):
            return words
        if isinstance(words, str) and words.strip() in ("", "default"):
            return USUAL
        if isinstance(words, Mapping):
            given = dict(words)
        else:
            parts = [part.partition("=") for part in str(words).replace(",", " ").split()]
            given = {name.strip().replace("-", "_"): value for name, _, value in parts}
        known = [item.name for item in fields(cls)]
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"augment: unknown {unknown[0]!r}, choose of {', '.join(known)} (jitter=0.1 shift=0.05)")
        try:
            return cls(**{name: float(value) for name, value in given.items()})
        except (TypeError, ValueError) as error:
            if "expected a number" in str(error):
                raise
            raise ValueError(
                f"augment: {words!r} is not read; expected amounts, as in jitter=0.1 shift=0.05"
            ) from error

    @property
    def is_on(self) -> bool:
        return any(getattr(self, item.name) for item in fields(self))

    def __str__(self) -> str:
        return " ".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self) if getattr(self, f.name))


# Mild amounts of all that keeps the meaning of a step.
USUAL = Augmentation(jitter=0.05, scale=0.05, shift=0.02, warp=0.02, drop_spans=0.15)


class AugmentedSeries(Dataset[dict[str, Any]]):
    """Rows of a data set, changed at random.

    For training, every epoch draws anew. For heads in closed form, which read their data once, `copies` of all rows:
    the first as they are, the others changed; `owners` says which belong together, for `fit_head(groups=...)`.

    Args:
        rows: a data set with `past_values` `(T, V)` and `labels`.
        augmentation: how much, or words for it (`Augmentation.read`).
        copies: the number of times that each row comes; 1: once, changed.
        seed: of all draws.
        groups: what else belongs together, one for each row of `rows`, as of `fit_head`.

    Raises:
        ValueError: no copies, mixup of classes, or amounts that cannot be read.
    """

    def __init__(
        self, rows: Any, augmentation: Any, copies: int = 1, seed: int = 0, groups: Sequence[Any] | None = None
    ) -> None:
        if copies < 1:
            raise ValueError(f"copies is {copies}, expected a whole number from 1")
        self.rows, self.augmentation = rows, Augmentation.read(augmentation)
        self.copies, self.seed, self.groups, self.epoch = copies, seed, groups, 0
        label = rows[0].get("labels")
        is_class = label is None or (np.ndim(label) == 0 and np.asarray(label).dtype.kind in "iu")
        if self.augmentation.mixup and is_class:
            raise ValueError("augment: mixup is for numbers as labels; classes cannot be mixed")
        self.mean, self.spread = _statistics(rows)

    def __len__(self) -> int:
        return len(self.rows) * self.copies

    @property
    def owners(self) -> list[Any]:
        """For each row the group, or the row of `rows`, that it comes from."""
        own = list(range(len(self.rows))) if self.groups is None else list(self.groups)
        return own * self.copies

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row, changed, unless it is one of the first of several copies."""
        index = int(index) % len(self)
        row = self.rows[index % len(self.rows)]
        return dict(row) if self.copies > 1 and index < len(self.rows) else self._changed(row, index)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def set_epoch(self, epoch: int) -> None:
        """Draws anew; a `Trainer` says when."""
        self.epoch = int(epoch)

    def _changed(self, row: Mapping[str, Any], index: int) -> dict[str, Any]:
        rng, amounts = np.random.default_rng([self.seed, self.epoch, index]), self.augmentation
        values, labels = _observed(row), row.get("labels")
        if amounts.mixup:
            share = rng.beta(amounts.mixup, amounts.mixup)
            other = self.rows[int(rng.integers(len(self.rows)))]
            first, second = (row, other) if share >= 0.5 else (other, row)
            values, labels = _mixed(first, second, max(share, 1 - share))
            row = first
        shift, warp = np.clip(rng.normal(size=2), -_MOST, _MOST)
        values = _moved(values, amounts.shift * shift, amounts.warp * warp)
        factors = 1 + amounts.scale * rng.normal(size=values.shape[1])
        values = self.mean + (values - self.mean) * factors
        values = values + amounts.jitter * self.spread * rng.normal(size=values.shape)
        values = _without_span(values, amounts.drop_spans * rng.random(), rng)
        dropped: NDArray[np.bool_] = np.asarray(rng.random(values.shape[1]) < amounts.drop_variates)
        dropped[rng.integers(len(dropped))] = False
        values = np.where(dropped, self.mean, values)
        changed = {name: cell for name, cell in row.items() if name != "past_observed_mask"}
        return changed | {"past_values": values} | ({"labels": labels} if labels is not None else {})


def _observed(row: Mapping[str, Any]) -> NDArray[np.float64]:
    """Values `(T, V)`, NaN where nothing was observed."""
    values = np.array(row["past_values"], np.float64)
    if row.get("past_observed_mask") is not None:
        values[~np.asarray(row["past_observed_mask"], bool)] = np.nan
    return values


def _statistics(rows: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread of each variate over all rows; 0 and 0 where nothing was observed."""
    together = np.concatenate([_observed(rows[index]) for index in range(len(rows))])[None]
    mean, spread = instance_statistics(together, np.isfinite(together), 0.0)
    return mean[0], spread[0]


def _mixed(first: Mapping[str, Any], second: Mapping[str, Any], share: float) -> tuple[NDArray[Any], Any]:
    """`share` of the first row and the rest of the second; where that has no value, the first one's."""
    one, other = _observed(first), _observed(second)
    if one.shape != other.shape:  # series of unequal lengths meet at their newest steps
        other = np.concatenate([np.full((max(0, len(one) - len(other)), one.shape[1]), np.nan), other])[-len(one) :]
    labels = share * np.asarray(first["labels"], np.float64) + (1 - share) * np.asarray(second["labels"], np.float64)
    return share * one + (1 - share) * np.where(np.isfinite(other), other, one), labels


def _moved(values: NDArray[np.float64], shift: float, warp: float) -> NDArray[np.float64]:
    """Read at other times, on straight lines between steps; beside a gap the nearer step counts."""
    if not (shift or warp) or len(values) < 2:
        return values
    last, steps = len(values) - 1, np.arange(len(values), dtype=np.float64)
    warp = float(np.clip(warp, -0.3, 0.3))  # beyond 1 / pi, time would run backwards
    places = np.clip(steps + last * (shift + warp * np.sin(np.pi * steps / last)), 0, last)
    before = np.minimum(places.astype(int), last - 1)
    part = (places - before)[:, None]
    left, right = values[before], values[before + 1]
    between = left + (right - left) * part
    moved = np.where(np.isnan(between), np.where(part < 0.5, left, right), between)
    return np.where(np.isfinite(moved).any(axis=0), moved, values)


def _without_span(values: NDArray[np.float64], share: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """With so large a share of the steps, in a row, missing; each variate keeps a value that it had."""
    length = int(share * len(values))
    for _ in range(_TRIES if length else 0):
        start = int(rng.integers(len(values) - length + 1))
        left = values.copy()
        left[start : start + length] = np.nan
        if (np.isfinite(left).any(axis=0) | ~np.isfinite(values).any(axis=0)).all():
            return left
    return values


__all__ = ["Augmentation", "AugmentedSeries", "USUAL"]
