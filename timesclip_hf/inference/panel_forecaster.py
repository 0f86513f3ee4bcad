# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A model of all series of a panel, fitted or loaded, and what it says of windows: a forecaster without frames."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.utils import logging

from ..data.panel import Panel
from ..data.panel_windows import PanelWindows
from ..model.messages import one_run
from ..model.preprocessing import fill_missing
from ..training.panel_peers import Answer


@dataclass(frozen=True)
class Plan:
    """What is asked of a forecaster; `TimesCLIPForecaster` and its `fit` say what each is."""

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


@dataclass
class PanelForecaster:
    """A fitted forecaster.

    Args:
        model, processor: as saved.
        horizon, context_length, season: steps.
        num_targets: the first so many variates are forecast.
        seed: that it was trained with.
        trainer: where it was trained here; `learn`: the windows that it learnt from, and those that chose the epoch.
        batch_size: windows that go through the model at once.
    """

    model: Any
    processor: Any
    horizon: int
    context_length: int
    season: int
    num_targets: int
    seed: int = 0
    trainer: Any = None
    batch_size: int = 512

    @property
    def levels(self) -> Sequence[float]:
        """Levels of the quantiles that it says."""
        return ()

    @property
    def learn(self) -> tuple[PanelWindows, PanelWindows]:
        return self.trainer.train_dataset, self.trainer.eval_dataset

    def answer(self, windows: PanelWindows) -> Answer:
        """Forecasts of all windows, as many steps as they have; results do not depend on batches.

        A horizon shorter than the model's is cut. A longer one is rolled on: what was forecast is taken for what came,
        and the next steps are forecast from there; covariates whose future is known have their own values, and of
        others the last ones are repeated.
        """
        horizon, count = windows.prediction_length, windows.num_targets
        self.model.eval()
        found = np.empty((len(windows), horizon, count))
        with one_run():
            for start in range(0, len(windows), self.batch_size):
                rows = slice(start, start + self.batch_size)
                found[rows] = self._rolled(windows, rows, horizon)
        return Answer(found)

    def _rolled(self, windows: PanelWindows, rows: slice, horizon: int) -> NDArray[np.float64]:
        """Forecasts of some windows `(b, horizon, K)`."""
        past, known, static = windows.past(rows), windows.known(rows), windows.static(rows)
        steps, blocks = past.shape[1], []
        for start in range(0, horizon, self.horizon):
            future = None
            if known is not None:  # of steps behind those asked for, the last ones again: they are cut off
                places = np.minimum(start + np.arange(steps + self.horizon), known.shape[1] - 1)
                future = known[:, places]
            blocks.append(self._ask(past, future, static))
            if start + self.horizon < horizon:
                past = np.concatenate([past, self._as_past(past, blocks[-1], future, windows.panel)], axis=1)[
                    :, -steps:
                ]
        return np.concatenate(blocks, axis=1)[:, :horizon]

    def _as_past(self, past: Any, told: Any, future: Any, panel: Panel) -> NDArray[np.float64]:
        """What was forecast, taken for what came: all variates `(b, H, V)`."""
        last = fill_missing(past, ~np.isnan(past))[:, -1:]
        came = last.repeat(self.horizon, axis=1)
        for place, column in enumerate(panel.columns):
            if column["name"] in panel.variate_names:
                came[..., panel.variate_names.index(column["name"])] = future[:, -self.horizon :, place]
        came[..., : self.num_targets] = told
        return came

    def _ask(self, past: Any, future: Any, static: Any) -> NDArray[np.float64]:
        prepared = self.processor(past, future_values=future, static_values=static)
        batch = {name: tensor.to(self.model.device) for name, tensor in prepared.items()}
        with torch.no_grad():
            return self.model(**batch).predictions.double().cpu().numpy()


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
    job = PanelJob(*shape, recipe, plan.validation, plan.sample, config=plan.config)
    with tempfile.TemporaryDirectory(prefix="timesclip-fit-") as folder, without_bars():
        fitted = fit_panel(panel, job, Path(folder) / "training")
    about: dict[str, Any] = {"num_targets": plan.num_targets, "seed": plan.seed, "batch_size": batch_size}
    trainer = fitted.trainer
    return PanelForecaster(trainer.model, fitted.processor, horizon, context, season, **about, trainer=trainer)


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


__all__ = ["PanelForecaster", "Plan", "find_lengths", "fit_forecaster", "without_bars"]
