# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A model of all series of a panel, fitted or loaded, and what it says of windows: a forecaster without frames."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.utils import logging

from ..data.panel import Panel
from ..data.panel_windows import PanelWindows
from ..data.words import whole_number
from ..features.similar import SimilarSeries, blocks_of
from ..model.intervals import interval_of
from ..model.messages import one_run
from ..model.preprocessing import fill_missing
from ..training.panel_peers import Answer

# What of a model's output tells how sure it is.
_TOLD = ("predictions", "quantiles", "spreads")
# Quantiles that are learnt beside those asked for: paths follow them.
_LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


@dataclass(frozen=True)
class Plan:
    """What is asked of a forecaster; `TimesCLIPForecaster` and its `fit` say what each is.

    Raises:
        ValueError: lengths that are no whole numbers from 1 on.
    """

    preset: str = "auto"
    towers: str = "auto"
    epochs: int | None = None
    validation: float | int = 0.1
    sample: Literal["window", "series"] = "window"
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    horizon: int | None = None
    context_length: int | None = None
    num_targets: int = 1
    seed: int = 0
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("horizon", "context_length"):
            if (steps := getattr(self, name)) is not None:
                object.__setattr__(self, name, positive(name, steps))


@dataclass
class PanelForecaster:
    """A fitted forecaster.

    Args:
        model, processor: as saved.
        horizon, context_length, season: steps.
        num_targets: the first so many variates are forecast.
        seed: that it was trained with.
        levels: of the quantiles that it says.
        trainer: where it was trained here; `learn`: the windows that it learnt from, and those that chose the epoch.
        batch_size: windows that go through the model at once.
        similar: windows that it learnt from, where they are kept; `unusual` `(m,)` tells then which windows of the
            last `answer` are unlike them.
    """

    model: Any
    processor: Any
    horizon: int
    context_length: int
    season: int
    num_targets: int
    seed: int = 0
    levels: tuple[float, ...] = ()
    trainer: Any = None
    batch_size: int = 512
    similar: SimilarSeries | None = None
    unusual: NDArray[np.bool_] | None = field(default=None, init=False)

    def keep_similar(self) -> SimilarSeries | None:
        """Keeps windows that it learnt from, where it did so here."""
        if self.similar is None and self.trainer is not None:
            train = self.learn[0]
            places = (train.series[train.chosen], train.steps[train.chosen])
            self.similar = SimilarSeries.fit_windows(self.model, self.processor, train, *places, seed=self.seed)
        return self.similar

    @property
    def learn(self) -> tuple[PanelWindows, PanelWindows]:
        return self.trainer.train_dataset, self.trainer.eval_dataset

    def answer(self, windows: PanelWindows) -> Answer:
        """Forecasts of all windows, as many steps as they have; results do not depend on batches.

        A horizon shorter than the model's is cut. A longer one is rolled on: what was forecast is taken for what came,
        and the next steps are forecast from there; covariates whose future is known have their own values, and of
        others the last ones are repeated. Quantiles are rolled on along paths, one at each level that the model knows:
        those of the next steps are the quantiles of all paths' quantiles together, by the share that each level stands
        for (as Chronos-2 does it). Steps that were trained have the model's own quantiles, moved to hold what they
        should on the windows that chose the epoch (see `model.intervals`).

        A context without any change has no unit of its own, and that of all training data may be a thousandfold its
        level: in collections its forecasts are read in units of what changed in all of the series before it. A series
        that never changed goes on as it is.
        """
        horizon, count, known = windows.prediction_length, windows.num_targets, self._grid
        self.model.eval()
        self.unusual = None if self.similar is None else np.zeros(len(windows), bool)
        found = np.empty((len(windows), horizon, count, max(1, len(known))))
        size = self.batch_size if horizon <= self.horizon else max(1, self.batch_size // found.shape[-1])
        with one_run():
            for start in range(0, len(windows), size):
                found[start : start + size] = self._rolled(windows, slice(start, start + size), horizon)
        if not known:
            return Answer(found[..., 0])
        wanted = [known.index(level) for level in self.levels]
        return Answer(found[..., known.index(0.5)], found[..., wanted])

    @property
    def _grid(self) -> list[float]:
        """Levels that the model knows; empty: it says points alone."""
        return self.model.config.answer_levels if len(self.levels) else []

    def _rolled(self, windows: PanelWindows, rows: slice, horizon: int) -> NDArray[np.float64]:
        """Forecasts of some windows `(b, horizon, K, Q)`, Q = 1 of points."""
        past, known, static = windows.past(rows)[:, None], windows.known(rows), windows.static(rows)
        steps, blocks = past.shape[2], []  # past: (b, paths, T, V)
        for start in range(0, horizon, self.horizon):
            future, paths = None, past.shape[1]
            if known is not None:  # of steps behind those asked for, the last ones again: they are cut off
                places = np.minimum(start + np.arange(steps + self.horizon), known.shape[1] - 1)
                future = known[:, places].repeat(paths, axis=0)
            beside = None if static is None else [one for one in static for _ in range(paths)]
            unusual = None if self.unusual is None or start else self.unusual[rows]
            said = self._ask(past.reshape(-1, *past.shape[2:]), future, beside, unusual)
            said = self._in_own_units(said.reshape(-1, paths, *said.shape[1:]), past, windows, rows)
            blocks.append(self._pooled(said))
            if start + self.horizon < horizon:
                came = self._as_past(past, blocks[-1], future, windows.panel)
                past = np.concatenate([past.repeat(came.shape[1] // paths, axis=1), came], axis=2)[:, :, -steps:]
        return np.concatenate(blocks, axis=1)[:, :horizon]

    def _in_own_units(
        self, said: NDArray[np.float64], past: NDArray[np.float64], windows: PanelWindows, rows: slice
    ) -> NDArray[np.float64]:
        """What is said `(b, paths, H, K, Q)` of contexts `(b, paths, T, V)`, see `answer`."""
        if self.model.config.error_scale != "instance":
            return said
        targets = past[..., : self.num_targets]
        low = np.fmin.reduce(targets, axis=2)[:, :, None, :, None]  # (b, paths, 1, K, 1)
        still = low == np.fmax.reduce(targets, axis=2)[:, :, None, :, None]
        if not still.any():
            return said
        of_all = np.asarray(self.processor.statistics["variates"]["std"][: self.num_targets])
        share = windows.spreads(rows, still.any(axis=(1, 2, 4))) / of_all  # (b, K)
        return np.where(still, low + (said - low) * share[:, None, None, :, None], said)

    def _pooled(self, said: NDArray[np.float64]) -> NDArray[np.float64]:
        """Quantiles of paths `(b, paths, H, K, Q)` as those of all together `(b, H, K, Q)`."""
        if said.shape[1] == 1:
            return said[:, 0]
        levels = np.asarray(self._grid)
        share = np.diff(np.concatenate([[0], (levels[1:] + levels[:-1]) / 2, [1]]))
        pooled = np.moveaxis(said, 1, -1).reshape(*said.shape[:1], *said.shape[2:4], -1)  # (b, H, K, Q * paths)
        order = np.argsort(pooled, axis=-1)
        weights = np.outer(share, share).ravel()[order]
        below = np.cumsum(weights, axis=-1) - weights / 2
        place = (below[..., None] < levels).sum(axis=-2).clip(max=pooled.shape[-1] - 1)
        return np.take_along_axis(np.take_along_axis(pooled, order, axis=-1), place, axis=-1)

    def _as_past(self, past: Any, told: Any, future: Any, panel: Panel) -> NDArray[np.float64]:
        """What was forecast, taken for what came: all variates `(b, paths, H, V)`, a path for each quantile."""
        flat = past[:, -1]
        came = fill_missing(flat, ~np.isnan(flat))[:, None, -1:].repeat(told.shape[-1], axis=1)
        came = came.repeat(self.horizon, axis=2)
        for place, column in enumerate(panel.columns):
            if column["name"] in panel.variate_names:
                own = future.reshape(len(past), -1, *future.shape[1:])[:, :1, -self.horizon :, place]
                came[..., panel.variate_names.index(column["name"])] = own
        came[..., : self.num_targets] = np.moveaxis(told, -1, 1)
        return came

    def _ask(
        self, past: Any, future: Any, static: Any, unusual: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Points, or quantiles at the levels that the model knows: `(b, H, K, Q)`; notes which windows are unusual."""
        prepared = self.processor(past, future_values=future, static_values=static)
        batch = {name: tensor.to(self.model.device) for name, tensor in prepared.items()}
        with torch.no_grad():
            outputs = self.model(**batch)
        if unusual is not None and self.similar is not None:
            blocks = blocks_of(self.model, self.processor, batch, outputs)
            unusual[:] = self.similar.compare({name: block.cpu().numpy() for name, block in blocks.items()})[2]
        said = {name: outputs[name].double().cpu().numpy() for name in _TOLD if outputs.get(name) is not None}
        return calibrated(self.model.config, said) if self._grid else said["predictions"][..., None]


def fit_forecaster(panel: Panel, plan: Plan, batch_size: int = 512) -> PanelForecaster:
    """Chooses the lengths that nobody chose, and learns.

    Raises:
        ValueError: too little to learn from, or settings that cannot be.
    """
    from ..training.fit_panel import PanelJob, choose_context, fit_panel  # to predict, no training is loaded
    from ..training.fit_series import Recipe

    horizon, season = find_lengths(panel, plan)
    context = plan.context_length or choose_context(panel, horizon, season, plan.validation)
    recipe = Recipe(towers=plan.towers, epochs=plan.epochs, seed=plan.seed, training=plan.training)
    shape = (horizon, context, plan.num_targets, plan.preset)
    config = dict(plan.config)
    if plan.levels:
        loss = "gaussian" if config.get("loss") == "gaussian" else "quantile"  # no other says quantiles
        config |= {"loss": loss, "quantile_levels": sorted({*_LEVELS, *plan.levels})}
    job = PanelJob(*shape, recipe, plan.validation, plan.sample, config=config)
    with tempfile.TemporaryDirectory(prefix="timesclip-fit-") as folder, without_bars():
        fitted = fit_panel(panel, job, Path(folder) / "training")
    trainer = fitted.trainer
    if plan.levels:
        _calibrate(trainer, fitted.processor)
    return PanelForecaster(
        trainer.model, fitted.processor, horizon, context, season, plan.num_targets, plan.seed, plan.levels, trainer,
        batch_size,
    )  # fmt: skip


def _calibrate(trainer: Any, processor: Any) -> None:
    """Moves quantiles by what came in the windows that chose the epoch, as far as these are enough to say."""
    from ..metrics.calibration import fewest_samples
    from ..training.calibration import calibrate

    windows: PanelWindows = trainer.eval_dataset
    known = np.all(np.isfinite(windows.labels(slice(None))), axis=(1, 2)).sum()
    widths = {round(abs(1 - 2 * level), 9) for level in trainer.model.config.answer_levels} - {0.0}
    if levels := sorted(width for width in widths if fewest_samples(width) <= known):
        calibrate(trainer.model, processor, windows, levels, batch_size=256)


def calibrated(config: Any, said: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Quantiles `(b, H, K, Q)` at the levels that a model knows, in order, calibrated as far as it was."""
    found, known = said["quantiles"].copy(), (config.calibration or {}).get("levels", [])
    for place, level in enumerate(config.answer_levels):
        width = round(abs(1 - 2 * level), 9)
        if any(abs(width - one) < 1e-9 for one in known):
            end = interval_of(config, said, width)[0 if level < 0.5 else 1]
            found[..., place] = np.where(np.isfinite(end), end, found[..., place])
    return np.sort(found, axis=-1)


def positive(name: str, steps: Any) -> int:
    """A number of steps; raises `ValueError` for what is no whole number from 1 on."""
    return whole_number(steps, name, 1, 2**31, "2**31")


def find_lengths(panel: Panel, plan: Plan) -> tuple[int, int]:
    """Horizon and season: as asked for, or as the distance of times suggests."""
    from ..training.fit_forecast import season_of
    from ..training.fit_panel import choose_horizon

    season = season_of(panel.step_seconds())
    return plan.horizon or choose_horizon(panel, season), season


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """No bars for each file of weights."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


__all__ = ["PanelForecaster", "Plan", "calibrated", "find_lengths", "fit_forecaster", "positive", "without_bars"]
