# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows over a panel: all that can be learnt from, or a few of very many, others in each epoch."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .panel import Panel, Positions


class PanelWindows(Dataset[dict[str, Any]]):
    """Windows of a panel, cut when asked for; no object is made of one before.

    Steps before the beginning of a series are missing, NaN, so that series shorter than the context are read, too.

    Args:
        panel: the series.
        series, steps: `(m,)`, number of each window's series, rising, and the step at which its forecast begins.
        context_length: steps T before it.
        prediction_length: steps H from it on; those behind the end of the series are missing.
        num_targets: the first so many variates are forecast, K; None: all.
        draw: take so many of the windows, others in every epoch; None: all of them.
        by: what is drawn alike: `"window"`, or `"series"`, so that long ones do not outweigh short ones.
        seed: of the draws.
    """

    def __init__(
        self,
        panel: Panel,
        series: Positions,
        steps: Positions,
        context_length: int,
        prediction_length: int,
        *,
        num_targets: int | None = None,
        draw: int | None = None,
        by: Literal["window", "series"] = "window",
        seed: int = 0,
    ) -> None:
        self.panel, self.series, self.steps = panel, series, steps
        self.context_length, self.prediction_length = context_length, prediction_length
        self.num_targets = len(panel.variate_names) if num_targets is None else num_targets
        self.draw, self.by, self.seed = draw, by, seed
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self.chosen)

    def __repr__(self) -> str:
        few = "" if self.draw is None else f"{self.draw} in an epoch of "
        return (
            f"PanelWindows({few}{len(self.steps)} windows of {self.context_length} -> {self.prediction_length} steps, "
            f"{self.panel!r})"
        )

    def set_epoch(self, epoch: int) -> None:
        """Draws anew; a `Trainer` says when."""
        if self.draw is None:
            self.chosen = np.arange(len(self.steps))
            return
        rng, count = np.random.default_rng([self.seed, epoch]), self.draw
        shares = (np.arange(count) + rng.random(count)) / count  # one of each of so many equal stretches
        if self.by == "window":
            self.chosen = (shares * len(self.steps)).astype(np.int64)
            return
        _, lows, sizes = np.unique(self.series, return_index=True, return_counts=True)
        own = (shares * len(lows)).astype(np.int64)
        self.chosen = lows[own] + (rng.random(count) * sizes[own]).astype(np.int64)

    def past(self, rows: Any) -> NDArray[np.float64]:
        """Contexts of some windows `(b, T, V)`."""
        return self._cut(self.chosen[rows], -self.context_length, 0)

    def labels(self, rows: Any) -> NDArray[np.float64]:
        """What follows them `(b, H, K)`."""
        return self._cut(self.chosen[rows], 0, self.prediction_length)[..., : self.num_targets]

    def known(self, rows: Any) -> NDArray[np.float64] | None:
        """Covariates whose future is known `(b, T + H, C)`; None without any."""
        if self.panel.known is None:
            return None
        windows = self.chosen[rows]
        steps = self._steps(windows, -self.context_length, self.prediction_length)
        series, lengths = self.series[windows][:, None], self.panel.lengths[self.series[windows]][:, None]
        cut = self._inside(self.panel.known, steps, series)
        if self.panel.ahead is not None:
            beyond = (steps >= lengths) & (steps < lengths + self.panel.ahead.shape[1])
            cut = np.where(beyond[..., None], self.panel.ahead[series, np.where(beyond, steps - lengths, 0)], cut)
        return cut

    def static(self, rows: Any) -> list[dict[str, Any]] | None:
        """What is known of their series as a whole."""
        if self.panel.static is None:
            return None
        return self.panel.static.iloc[self.series[self.chosen[rows]]].to_dict("records")

    def recent(self, steps: int) -> NDArray[np.float64]:
        """The last so many steps before all windows `(m, steps, V)`, whatever the context."""
        return self._cut(self.chosen, -steps, 0)

    def spreads(self, rows: Any, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Standard deviation of all that was observed of targets before windows, where wanted `(b, K)`; else 0."""
        windows, found = self.chosen[rows], np.zeros(wanted.shape)
        for row in np.flatnonzero(wanted.any(axis=1)):
            before = self.panel.series(int(self.series[windows[row]]))[: self.steps[windows[row]], : self.num_targets]
            seen = ~np.isnan(before).all(axis=0)
            found[row, seen] = np.nanstd(before[:, seen], axis=0)
        return np.where(wanted, found, 0.0)

    def over(self, panel: Panel) -> "PanelWindows":
        """The same windows of a panel of the same steps."""
        shape: dict[str, Any] = {name: getattr(self, name) for name in ("context_length", "prediction_length")}
        targets = min(self.num_targets, len(panel.variate_names))
        drawn: dict[str, Any] = {"draw": self.draw, "by": self.by, "seed": self.seed}
        return PanelWindows(panel, self.series, self.steps, **shape, num_targets=targets, **drawn)

    def _cut(self, windows: Positions, low: int, high: int) -> NDArray[np.float64]:
        return self._inside(self.panel.values, self._steps(windows, low, high), self.series[windows][:, None])

    def _steps(self, windows: Positions, low: int, high: int) -> Positions:
        return self.steps[windows][:, None] + np.arange(low, high)

    def _inside(self, values: NDArray[np.float64], steps: Positions, series: Positions) -> NDArray[np.float64]:
        """Rows of series at steps `(b, k)`; NaN before their beginning and behind their end."""
        inside = (steps >= 0) & (steps < self.panel.lengths[series])
        cut = values[np.where(inside, steps + self.panel.offsets[series], 0)]
        cut[~inside] = np.nan
        return cut

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A window: `past_values` `(T, V)`, `labels` `(H, K)`, and what is known of covariates."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several windows, as torch's data loader fetches a batch."""
        rows = np.asarray(indices)
        parts: dict[str, Any] = {"past_values": self.past(rows), "labels": self.labels(rows)}
        parts |= {"future_values": self.known(rows), "static_values": self.static(rows)}
        given = {name: part for name, part in parts.items() if part is not None}
        return [{name: part[k] for name, part in given.items()} for k in range(len(rows))]


def usable_windows(
    panel: Panel, lows: Positions, highs: Positions, context_length: int, prediction_length: int, num_targets: int
) -> tuple[Positions, Positions]:
    """Windows that can be learnt from: series and steps, for `PanelWindows`.

    Args:
        panel: the series.
        lows, highs: `(n,)`, first and last step of a series at which a forecast may begin; none where the last is
            before the first.
        context_length, prediction_length: steps T and H.
        num_targets: the first so many variates are forecast.

    Returns:
        Those in which every variate has a value in the context, and some target one in the horizon.
    """
    counts = np.maximum(highs - lows + 1, 0)
    series = np.repeat(np.arange(len(panel)), counts)
    steps = np.arange(counts.sum()) + np.repeat(lows - (np.cumsum(counts) - counts), counts)
    missing = np.isnan(panel.values)
    if not missing.any():
        return series, steps
    seen = np.zeros((len(missing) + 1, missing.shape[1]), np.int32)  # observed before each row
    np.cumsum(~missing, axis=0, out=seen[1:])
    offsets, ends = panel.offsets[series], panel.offsets[series + 1]
    border = offsets + steps
    past = seen[border] - seen[np.maximum(border - context_length, offsets)]
    future = (seen[np.minimum(border + prediction_length, ends)] - seen[border])[:, :num_targets]
    kept = np.all(past > 0, axis=1) & np.any(future > 0, axis=1)
    return series[kept], steps[kept]


__all__ = ["PanelWindows", "usable_windows"]
