# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What else forecasts the windows of a panel: rules, small networks trained on the same windows, and AutoETS.

All of them read what lies before a window's forecast and nothing else. Rules and AutoETS read the whole history of a
series; networks (see `window_peers`) the same contexts as TimesCLIP, of series standardised by what they learn from.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ..data.panel import Panel
from ..data.panel_windows import PanelWindows
from ..data.words import check_known
from ..metrics.backtest import seasonal_changes
from ..model.preprocessing import fill_missing
from .forecast_peers import ets_forecast

BASELINE = "seasonal naive"
_LEARNT = ("DLinear", "RLinear", "PatchTST")
PANEL_PEERS = (BASELINE, *_LEARNT, "AutoETS")


@dataclass
class Answer:
    """What a model says of windows.

    Args:
        forecasts: `(m, H, K)`, NaN where it failed.
        quantiles: `(m, H, K, Q)`; None: it has none.
        seconds: of training and forecasting together.
    """

    forecasts: NDArray[np.float64]
    quantiles: NDArray[np.float64] | None = None
    seconds: float = 0.0

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Windows `(m,)` without a number for every step."""
        return ~np.all(np.isfinite(self.forecasts), axis=(1, 2))


def ask_peer(
    name: str,
    test: PanelWindows,
    learn: tuple[PanelWindows, PanelWindows],
    season: int,
    levels: Sequence[float] = (),
    seed: int = 0,
) -> Answer:
    """Forecasts of a peer.

    Args:
        name: of `PANEL_PEERS`, or folder or Hub id of a pretrained forecaster, see `zero_shot`.
        test: the windows.
        learn: windows that are learnt from, and those that choose the epoch.
        season: steps in a season.
        levels: of quantiles, of peers that have some.
        seed: of networks.

    Raises:
        ValueError: an unknown peer.
        ImportError: AutoETS without statsforecast.
    """
    check_peers([name])
    started = time.perf_counter()
    if name == BASELINE:
        answer = seasonal_naive(test, season, levels)
    elif name == "AutoETS":
        answer = _auto_ets(test, season, levels)
    elif name not in PANEL_PEERS:
        from .zero_shot import zero_shot

        answer = Answer(*zero_shot(name, test, levels))
    else:
        answer = _learnt(name, test, learn, seed)
    answer.seconds = time.perf_counter() - started
    return answer


def check_peers(names: Sequence[str]) -> None:
    """Raises `ValueError` for names that are neither peers nor folders or Hub ids."""
    check_known([name for name in names if "/" not in name and not Path(name).is_dir()], PANEL_PEERS, "peers: unknown")


def seasonal_naive(test: PanelWindows, season: int, levels: Sequence[float] = ()) -> Answer:
    """The last season again and again; quantiles are normal, as wide as such forecasts were wrong in the past.

    The variance of a step is that of the changes from season to season, times the seasons ahead (Hyndman and
    Athanasopoulos, Forecasting, 5.5). A history shorter than a season repeats its last value.
    """
    horizon, targets = test.prediction_length, test.num_targets
    past = test.recent(season)[..., :targets]
    past = fill_missing(past, ~np.isnan(past))
    ahead = np.arange(horizon)
    forecasts = past[:, ahead % season - season]
    short = test.steps[test.chosen] < season
    forecasts[short] = past[short, -1:]
    if not len(levels):
        return Answer(forecasts)
    panel = test.panel
    _, spread = seasonal_changes(
        panel.values[:, :targets], panel.offsets, test.series[test.chosen], test.steps[test.chosen], season
    )
    grown = np.nan_to_num(spread)[:, None] * np.sqrt(ahead // season + 1)[:, None]  # (m, H, K)
    return Answer(forecasts, forecasts[..., None] + grown[..., None] * norm.ppf(np.asarray(levels)))


def _auto_ets(test: PanelWindows, season: int, levels: Sequence[float]) -> Answer:
    """Exponential smoothing, of the kind that AIC chooses, fitted anew on the history before each window."""
    horizon, count = test.prediction_length, test.num_targets
    forecasts = np.full((len(test), horizon, count), np.nan)
    quantiles = np.full((*forecasts.shape, len(levels)), np.nan)
    for number in range(len(test)):
        window = test.chosen[number]
        history = test.panel.series(int(test.series[window]))[: test.steps[window], :count]
        history = fill_missing(history[None], ~np.isnan(history)[None])[0]
        for k in range(count):
            forecasts[number, :, k], quantiles[number, :, k] = ets_forecast(history[:, k], horizon, season, levels)
    return Answer(forecasts, quantiles if len(levels) else None)


def _learnt(name: str, test: PanelWindows, learn: tuple[PanelWindows, PanelWindows], seed: int) -> Answer:
    """A small network on standardised series."""
    from .window_peers import PEERS, PeerSettings

    train, validation = learn
    mean, std = spreads_of(train)
    parts = {"train": train, "validation": validation, "test": test}
    splits: Any = type("Splits", (), {part: _standardised(windows, mean, std) for part, windows in parts.items()})
    found = PEERS[name](splits, seed, PeerSettings()).predictions.astype(np.float64)
    series = test.series[test.chosen]
    return Answer(found * std[series][:, None] + mean[series][:, None])


def spreads_of(train: PanelWindows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread `(n, K)` of what of each series is learnt from.

    Of a series too short to be learnt from they are of what is known of it; without a value there, the mean of all.
    """
    panel, count = train.panel, train.num_targets
    ends = np.zeros(len(panel), np.int64)
    np.maximum.at(ends, train.series, train.steps + train.prediction_length)
    learnt = panel.head(np.where(ends > 0, ends, panel.lengths))
    codes = np.repeat(np.arange(len(panel)), learnt.lengths)
    mean, std = np.full((len(panel), count), np.nan), np.full((len(panel), count), np.nan)
    for k in range(count):
        column = learnt.values[:, k]
        seen = ~np.isnan(column)
        number = np.bincount(codes[seen], minlength=len(panel))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean[:, k] = np.bincount(codes[seen], column[seen], len(panel)) / number
            away = (column - mean[codes, k])[seen]
            std[:, k] = np.sqrt(np.bincount(codes[seen], away**2, len(panel)) / number)
        for found in (mean, std):
            found[np.isnan(found[:, k]), k] = np.nanmean(found[:, k])
        std[~(std[:, k] > 1e-9 * np.abs(mean[:, k])), k] = 1.0
    return mean, std


def _standardised(windows: PanelWindows, mean: NDArray[np.float64], std: NDArray[np.float64]) -> PanelWindows:
    panel = windows.panel
    codes = np.repeat(np.arange(len(panel)), panel.lengths)
    values = (panel.values[:, : windows.num_targets] - mean[codes]) / std[codes]
    scaled = Panel(values, panel.offsets, panel.ids, panel.variate_names[: windows.num_targets], panel.calendar)
    return windows.over(scaled)


__all__ = ["BASELINE", "PANEL_PEERS", "Answer", "ask_peer", "check_peers", "seasonal_naive", "spreads_of"]
