# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A forecaster of all series of a panel: how far it looks back and ahead, what it learns from, and its training."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data.panel import Panel, Positions, shown
from ..data.panel_windows import PanelWindows, usable_windows
from ..data.tables import some_of
from ..model.screening import joined_series
from .fit_series import Fitted, Recipe, SeriesData, fit_series
from .ways import choose_way, patches

# Steps in a season -> steps that are forecast unless somebody says how many: those of the M4 competition.
_HORIZONS = {1: 6, 4: 8, 12: 18, 52: 13, 7: 14, 24: 48}
_CONTEXTS = (16, 512)  # fewest and most steps to look back, unless somebody says so
_LEAST_STEPS = 4  # of history before a window that is learnt from
_MOST_WINDOWS = 20_000  # learnt from in an epoch
_MOST_VALIDATION = 5_000


@dataclass(frozen=True)
class PanelJob:
    """What is wanted of a forecaster.

    Args:
        horizon: steps to forecast.
        context_length: steps to look back.
        num_targets: the first so many variates are forecast.
        preset: of `TimesCLIPConfig`, or `"auto"`.
        recipe: towers, epochs, seed, ...
        validation: of each series the last so many steps (int) or such a share (float), but no less than a horizon,
            choose the epoch.
        sample: what counts alike where windows are drawn: `"window"` or `"series"`.
        windows: at most so many are learnt from in an epoch; of more, others are drawn in each.
        config: fields of the configuration that win over preset and way.
    """

    horizon: int
    context_length: int
    num_targets: int = 1
    preset: str = "auto"
    recipe: Recipe = field(default_factory=Recipe)
    validation: float | int = 0.1
    sample: Literal["window", "series"] = "window"
    windows: int = _MOST_WINDOWS
    config: Mapping[str, Any] = field(default_factory=dict)


def choose_horizon(panel: Panel, season: int) -> int:
    """Steps to forecast: those of the M4 competition for such a season, else one; a fifth of a series at most."""
    most = max(1, int(np.median(panel.lengths)) // 5)
    return min(_HORIZONS.get(season, season), most)


def choose_context(panel: Panel, horizon: int, season: int, validation: float | int) -> int:
    """Steps to look back: four horizons or two seasons, as far as series of usual length leave room to learn from.

    That is half of what lies before a horizon, and three quarters of it where there are a hundred series or more.
    """
    spare = int(np.median(_learnt_steps(panel, horizon, validation))) - horizon
    room = spare * 3 // 4 if len(panel) >= 100 else spare // 2
    fewest, most = _CONTEXTS
    return max(_LEAST_STEPS, min(most, max(fewest, 4 * horizon, 2 * season), room))


def _learnt_steps(panel: Panel, horizon: int, validation: float | int) -> Positions:
    """Steps of each series `(n,)` that come before those that validate; all, where too few would be left."""
    lengths = panel.lengths
    share = (
        np.full(len(lengths), validation) if isinstance(validation, int) else (lengths * validation).astype(np.int64)
    )
    learnt = lengths - np.maximum(share, horizon)
    return np.where(learnt >= horizon + _LEAST_STEPS, learnt, lengths)


def panel_windows(panel: Panel, job: PanelJob) -> tuple[PanelWindows, PanelWindows]:
    """What a forecaster learns from, and what chooses its epoch.

    No window that is learnt from reaches into the steps that validate. Series that are too short for both are learnt
    from alone; if all of them are, the last windows that are learnt from choose the epoch, too.

    Raises:
        ValueError: no series is long enough to learn from.
    """
    horizon, lengths = job.horizon, panel.lengths
    learnt = _learnt_steps(panel, horizon, job.validation)
    last = learnt - horizon  # step at which a forecast may begin at the latest
    first = np.where(last >= job.context_length, job.context_length, np.maximum(last, _LEAST_STEPS))
    shape: dict[str, Any] = {"context_length": job.context_length, "prediction_length": horizon}
    windows = usable_windows(panel, first, last, **shape, num_targets=job.num_targets)
    if not len(windows[0]):
        longest = int(np.argmax(lengths))
        raise ValueError(
            f"no series is long enough, or complete enough, to learn horizon={horizon} from: the longest, "
            f"{shown(panel.ids, longest)}, has {lengths[longest]} steps; {horizon + _LEAST_STEPS} are the least"
        )
    shape["num_targets"] = job.num_targets
    draw = job.windows if len(windows[0]) > job.windows else None
    train = PanelWindows(panel, *windows, **shape, draw=draw, by=job.sample, seed=job.recipe.seed)
    if draw is None and job.sample == "series":
        train = PanelWindows(panel, *windows, **shape, draw=len(windows[0]), by="series", seed=job.recipe.seed)
    held = usable_windows(
        panel, learnt, np.where(learnt < lengths, lengths - horizon, -1), job.context_length, horizon, job.num_targets
    )
    if not len(held[0]):
        held = (windows[0][-_MOST_VALIDATION // 10 :], windows[1][-_MOST_VALIDATION // 10 :])
    few = np.unique(np.linspace(0, len(held[0]) - 1, min(len(held[0]), _MOST_VALIDATION)).round().astype(np.int64))
    return train, PanelWindows(panel, held[0][few], held[1][few], **shape)


def fit_panel(panel: Panel, job: PanelJob, folder: Path) -> Fitted:
    """Trains a forecaster, and keeps the epoch that is best on the steps that validate.

    Series of a collection are forecast in units of their own contexts (`error_scale="instance"`), so that a large one
    does not outweigh the others; a single one in units of its variates, as published.

    Args:
        panel: the series.
        job: what is wanted.
        folder: for what is written in between; it is gone afterwards.

    Raises:
        ValueError: too little to learn from, or what `fit_series` says.
    """
    if blank := [
        name for name, column in zip(panel.variate_names, panel.values.T, strict=True) if np.isnan(column).all()
    ]:
        raise ValueError(f"columns without a single value: {some_of(map(repr, blank))}")
    train, validation = panel_windows(panel, job)
    way = choose_way(len(train), "forecasting", preset=job.preset, pretrained=bool(job.recipe.checkpoints))
    scale: dict[str, Any] = {"error_scale": "instance" if len(panel) > 1 else "dataset"}
    shape = {"num_variates": len(panel.variate_names), "context_length": job.context_length,
             "prediction_length": job.horizon, **patches(job.context_length)}  # fmt: skip
    processing: dict[str, Any] = {"variate_names": panel.variate_names, "scaling": "instance"}
    learnt = panel.head(_learnt_steps(panel, job.horizon, job.validation))
    fit_with: dict[str, Any] = {}
    if job.num_targets < len(panel.variate_names):
        processing["num_target_variates"] = shape["num_target_variates"] = job.num_targets
    if panel.known is not None:
        processing["prediction_length"] = job.horizon
        scale |= {"covariate_memory": True, "covariate_response": "own"}
        fit_with |= {"future_values": learnt.known[None], "future_columns": panel.columns}  # type: ignore[index]
    if panel.static is not None:
        fit_with["static_values"] = panel.static.to_dict("records")
        scale["forecast_static"] = True
    way = replace(way, config={**scale, **way.config, **job.config})
    data = SeriesData("forecasting", shape, processing, learnt.values[None], train, validation, fit_with=fit_with)
    with joined_series(learnt.offsets[1:]):
        return fit_series(data, way, job.recipe, folder)


__all__ = ["PanelJob", "choose_context", "choose_horizon", "fit_panel", "panel_windows"]
