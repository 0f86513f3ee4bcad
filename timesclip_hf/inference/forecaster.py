# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Frames in, frames out: one global forecaster of the series of a long table."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers.utils import logging

from ..data.forecast_roles import FRAMES, ForecastRoles, find_forecast_roles, forecast_frame
from ..data.panel import Panel, read_panel
from ..data.panel_windows import PanelWindows
from ..data.tables import check_known, some_of, warn_caller
from ..data.timestamps import write_timestamps
from ..model.modeling_timesclip import TimesCLIPForPrediction
from ..model.processing_timesclip import TimesCLIPProcessor
from .forecast_frames import lay_out, same_kind
from .rolling import forecast_windows

FILE = "forecaster.json"


class TimesCLIPForecaster:
    """A forecaster of all series of a long table: a row for each series and time.

    ```python
    >>> forecaster = TimesCLIPForecaster().fit(df, horizon=24)
    >>> forecaster.predict(df)
    ```

    Takes frames of pandas, polars or pyarrow (or the path of a file), with the columns of Nixtla (`unique_id, ds, y`),
    AutoGluon (`item_id, timestamp, target`, also as an index), Chronos or Darts, found by their names (see
    `data.forecast_roles`), in any order of rows; and gives frames of the same kind, laid out as there (see
    `inference.forecast_frames`), sorted by series and time. Each series is scaled by its own context. Steps that a
    table lacks between others count as missing.

    Args:
        preset: of `TimesCLIPConfig`; `"auto"`: the one for forecasts. `"small"` is the cheapest.
        towers: of `TOWERS`; `"auto"`: small ones that are trained from the start.
        epochs: of training; None: as the number of windows asks for.
        validation: of each series the last so many steps (int) or such a share (float), one horizon at least, choose
            the epoch.
        sample: what counts alike of series that differ in length: `"window"` or `"series"`.
        frame: layout of forecasts, one of `FRAMES`; None: as the names of the columns say.
        batch_size: windows that go through the model at once.
        config: fields of `TimesCLIPConfig` that win over the preset.
        training: fields of `TimesCLIPTrainingArguments` that win over what the number of windows asks for.

    Attributes:
        model, processor: once fitted or loaded.
        horizon, context_length, season: steps.
        roles: what the columns are for.

    Raises:
        ValueError: an unknown layout.
    """

    def __init__(
        self,
        *,
        preset: str = "auto",
        towers: str = "auto",
        epochs: int | None = None,
        validation: float | int = 0.1,
        sample: Literal["window", "series"] = "window",
        frame: str | None = None,
        batch_size: int = 512,
        config: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        if frame not in (None, *FRAMES):
            raise ValueError(f"frame={frame!r}: unknown, choose one of {some_of(FRAMES)}")
        self.preset, self.towers, self.epochs, self.validation, self.sample = (
            preset,
            towers,
            epochs,
            validation,
            sample,
        )
        self.frame, self.batch_size = frame, batch_size
        self.config, self.training = dict(config or {}), dict(training or {})
        self.model: Any = None
        self.processor: Any = None
        self.roles: ForecastRoles | None = None
        self.horizon = self.context_length = self.season = self.seed = 0
        self.freq: str | int | None = None
        self.trainer: Any = None
        self._known: Any = None  # the frame of `fit`, for `predict()`

    def fit(
        self,
        df: Any,
        *,
        id_column: str | None = None,
        timestamp_column: str | None = None,
        target: str | Sequence[str] | None = None,
        freq: str | int | None = None,
        horizon: int | None = None,
        context_length: int | None = None,
        seed: int = 0,
    ) -> "TimesCLIPForecaster":
        """Learns from all series of a table.

        Args:
            df: the table.
            id_column, timestamp_column, target: columns; None: found by their names. Several targets are forecast
                together, each from all.
            freq: distance of two steps as pandas writes it (`"h"`, `"D"`, `"B"`, `"MS"`, ...), or a number where times
                are numbers; None: as the times say.
            horizon: steps to forecast; None: as the M4 competition did at such a distance, or one season.
            context_length: steps to look back; None: four horizons or two seasons, as far as series are long enough.
            seed: of weights, windows and dropout.

        Returns:
            The forecaster itself.

        Raises:
            ValueError: columns that are missing or unclear, cells or times that cannot be read, too short series.
        """
        from ..training.fit_forecast import season_of  # to predict, nothing of training is loaded
        from ..training.fit_panel import PanelJob, choose_context, choose_horizon, fit_panel
        from ..training.fit_series import Recipe

        table = forecast_frame(df)
        index = df.index.names if isinstance(df, pd.DataFrame) else ()
        names: dict[str, Any] = {"id_column": id_column, "timestamp_column": timestamp_column, "target": target}
        self.roles = find_forecast_roles(table, **names, index_names=[name for name in index if name is not None])
        self.freq, self.seed = freq, seed
        panel = self._panel(table)
        self.season = season_of(panel.step_seconds())
        self.horizon = horizon or choose_horizon(panel, self.season)
        self.context_length = context_length or choose_context(panel, self.horizon, self.season, self.validation)
        recipe = Recipe(towers=self.towers, epochs=self.epochs, seed=seed, training=self.training)
        job = PanelJob(
            self.horizon, self.context_length, len(self.roles.targets), self.preset, recipe, self.validation,
            self.sample, config=self.config,
        )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="timesclip-fit-") as folder, _without_bars():
            fitted = fit_panel(panel, job, Path(folder) / "training")
        self.trainer, self.model, self.processor = fitted.trainer, fitted.trainer.model, fitted.processor
        self._known = df
        return self

    def predict(self, df: Any = None, *, horizon: int | None = None) -> Any:
        """The steps that follow each series.

        Args:
            df: history, a table with the columns that `fit` had; None: that of `fit`.
            horizon: steps; None: those that were trained. Fewer are cut; more are rolled on, forecasts taken for what
                came.

        Returns:
            A frame of the kind of `df`, a row for each series and step, sorted by both.

        Raises:
            ValueError: not fitted, columns that are missing, a series without any value to go on from.
        """
        roles = self._roles()
        df = self._known if df is None else df
        if df is None:
            raise ValueError(
                "df is missing: a forecaster that was loaded has no series of its own, pass their history"
            )
        table = forecast_frame(df)
        panel = self._panel(table)
        steps = horizon or self.horizon
        windows = PanelWindows(
            panel, np.arange(len(panel)), panel.lengths, self.context_length, steps, num_targets=len(roles.targets)
        )
        self._check_history(windows)
        forecasts = forecast_windows(self.model, self.processor, windows, steps, self.batch_size)
        keys = self._keys(panel, windows, table)
        result = lay_out(keys, forecasts, None, (), roles, self.frame or roles.frame)
        return same_kind(result, df, {"id": roles.id, "timestamp": roles.timestamp})

    def save(self, folder: str | Path) -> None:
        """Writes model, processor and all else that `predict` needs into a folder.

        Raises:
            ValueError: not fitted.
        """
        roles = self._roles()
        with _without_bars():
            self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        names = ("horizon", "context_length", "season", "freq", "seed", "preset", "frame")
        settings = {"roles": roles.to_dict(), **{name: getattr(self, name) for name in names}}
        (Path(folder) / FILE).write_text(json.dumps(settings, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, **kwargs: Any) -> "TimesCLIPForecaster":
        """A forecaster from a folder that `save` wrote, or from the Hub.

        Args:
            folder: the folder, or a repository's id.
            **kwargs: of the class, such as `batch_size`.

        Raises:
            FileNotFoundError: no forecaster there.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            if Path(folder).exists():
                raise FileNotFoundError(f"{folder} holds no {FILE}: was it written by TimesCLIPForecaster.save?")
            from huggingface_hub import hf_hub_download

            file = Path(hf_hub_download(str(folder), FILE))
        settings = json.loads(file.read_text(encoding="utf-8"))
        forecaster = cls(**{"preset": settings["preset"], "frame": settings["frame"], **kwargs})
        forecaster.roles = ForecastRoles(**settings["roles"])
        for name in ("horizon", "context_length", "season", "freq", "seed"):
            setattr(forecaster, name, settings[name])
        with _without_bars():
            forecaster.model = TimesCLIPForPrediction.from_pretrained(folder).eval()
        forecaster.processor = TimesCLIPProcessor.from_pretrained(folder)
        return forecaster

    def _roles(self) -> ForecastRoles:
        if self.model is None or self.roles is None:
            raise ValueError("this forecaster was not fitted yet: call fit(df) first, or load one")
        return self.roles

    def _panel(self, table: pd.DataFrame) -> Panel:
        roles: Any = self.roles
        needed = [roles.timestamp, *([] if roles.id is None else [roles.id]), *roles.variates]
        check_known(needed, table, "the table lacks columns", f"found {some_of(map(repr, table.columns), 20)}")
        return read_panel(
            table, timestamp_column=roles.timestamp, id_column=roles.id, variates=roles.variates, freq=self.freq
        )

    def _check_history(self, windows: PanelWindows) -> None:
        """Series without a value to go on from are refused; short ones are told."""
        panel = windows.panel
        blank: NDArray[np.bool_] = np.all(np.isnan(windows.past(slice(None))), axis=1)  # (n, V)
        if blank.any():
            series, variate = np.argwhere(blank)[0]
            raise ValueError(
                f"series {panel.ids[series]!r} has no value of {panel.variate_names[variate]!r} in its last "
                f"{self.context_length} steps ({len(np.unique(blank.nonzero()[0]))} such series in all): a series "
                "without history cannot be forecast, leave it out"
            )
        if (short := panel.lengths < self.context_length).any():
            warn_caller(
                f"{short.sum()} of {len(panel)} series are shorter than the {self.context_length} steps that the "
                f"model looks back ({some_of(panel.ids[short], 3)}): what lies before them counts as missing"
            )

    def _keys(self, panel: Panel, windows: PanelWindows, table: pd.DataFrame) -> pd.DataFrame:
        """Series and times of forecasts, a row for each window and step."""
        roles, steps = self._roles(), windows.prediction_length
        series = windows.series.repeat(steps)
        ahead = windows.steps.repeat(steps) + np.tile(np.arange(steps), len(windows))
        times = write_timestamps(panel.calendar.times(series, ahead), table[roles.timestamp].iloc[:1])
        ids = {} if roles.id is None else {roles.id: panel.ids.iloc[series].reset_index(drop=True)}
        return pd.DataFrame({**ids, roles.timestamp: times})


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """No bars for each file of weights."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


__all__ = ["TimesCLIPForecaster"]
