# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Parts of series, as they are known before a season is over, for one model that answers at any step.

The rule: of a series that is read from its first step (`padding_side="right"`: steps have a fixed meaning), the first
so many steps stay; of one that is read from its newest (`"left"`), the last ones. All others become missing, NaN,
before anything is made of them, so patches, plots and static values agree, and fitted statistics stay those of whole
series. No part is so short that a variate has no value at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset


class PartialSeries(Dataset[dict[str, Any]]):
    """Rows of a data set with a part of their steps, drawn at random for each row.

    Args:
        rows: a data set with `past_values` `(T, V)` and perhaps `past_observed_mask`.
        random_length: `(low, high)`, the fewest and the most steps that stay; or one number, for all rows alike.
        side: the end at which steps go missing, `processor.padding_side`.
        seed: of the draws, which depend on nothing but it, the row and the epoch.
        every_epoch: draw anew in every epoch (training), or once for all (validation, so that epochs compare).

    Raises:
        ValueError: lengths that are no steps of these series, or another side.
    """

    def __init__(
        self,
        rows: Any,
        random_length: Sequence[int] | int,
        side: str = "right",
        seed: int = 0,
        every_epoch: bool = True,
    ) -> None:
        steps = len(rows[0]["past_values"])
        self.low, self.high = _check_lengths(random_length, steps)
        if side not in ("left", "right"):
            raise ValueError(f"side is {side!r}, expected 'left' or 'right', as the processor's padding_side")
        self.rows, self.side, self.seed, self.every_epoch = rows, side, seed, every_epoch
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row, of which only the drawn part is known."""
        return self._cut(self.rows[index], index)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several rows, as torch's data loader fetches a batch."""
        together = hasattr(self.rows, "__getitems__")  # a data set reads a batch far faster than row by row
        rows = self.rows.__getitems__(list(indices)) if together else [self.rows[index] for index in indices]
        return [self._cut(row, index) for row, index in zip(rows, indices, strict=True)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def set_epoch(self, epoch: int) -> None:
        """Draws anew; a `Trainer` says when."""
        self.epoch = int(epoch) if self.every_epoch else 0

    def _cut(self, row: Mapping[str, Any], index: int) -> dict[str, Any]:
        draw = np.random.default_rng([self.seed, self.epoch, int(index) % len(self)])
        length = int(draw.integers(self.low, self.high + 1))
        values = np.array(row["past_values"], np.float64)
        observed = ~np.isnan(values)
        if row.get("past_observed_mask") is not None:
            observed &= np.asarray(row["past_observed_mask"], bool)
        kept = _kept_steps(observed, length, self.side)
        values[~kept] = np.nan
        return {**row, "past_values": values}


def _kept_steps(observed: NDArray[np.bool_], length: int, side: str) -> NDArray[np.bool_]:
    """Which of T steps stay, so that each variate of `(T, V)` has a value, if it has any."""
    ordered = observed if side == "right" else observed[::-1]
    firsts = np.where(ordered.any(axis=0), ordered.argmax(axis=0), 0)
    kept = np.arange(len(observed)) < max(length, int(firsts.max()) + 1)
    return kept if side == "right" else kept[::-1]


def _check_lengths(random_length: Any, steps: int) -> tuple[int, int]:
    lengths = [random_length, random_length] if np.ndim(random_length) == 0 else list(random_length)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in lengths)
    if len(lengths) != 2 or not whole or not 1 <= lengths[0] <= lengths[1] <= steps:
        raise ValueError(
            f"random_length is {random_length!r}, expected (low, high), whole numbers of steps from 1 to the {steps} "
            "of these series, low first"
        )
    return int(lengths[0]), int(lengths[1])


__all__ = ["PartialSeries"]
