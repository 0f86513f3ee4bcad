# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Frames in, frames out: one global forecaster of the series of a long table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.forecast_roles import FRAMES, ForecastRoles, find_forecast_roles, forecast_frame
from ..data.panel import Panel, read_panel
from ..data.panel_windows import PanelWindows
from ..data.tables import check_known, some_of, warn_caller
from ..data.timestamps import write_timestamps
from ..model.modeling_timesclip import TimesCLIPForPrediction
from ..model.processing_timesclip import TimesCLIPProcessor
from .forecast_frames import lay_out, same_kind
from .panel_forecaster import PanelForecaster, Plan, find_lengths, fit_forecaster, without_bars

if TYPE_CHECKING:
    from .backtest import Backtest

FILE = "forecaster.json"
_COLUMNS = ("id_column", "timestamp_column", "target")


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
        core: the fitted `PanelForecaster`, with `model` and `processor`.
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
        self.plan = Plan(preset, towers, epochs, validation, sample, dict(config or {}), dict(training or {}))
        self.frame, self.batch_size = frame, batch_size
        self.core: PanelForecaster | None = None
        self.roles: ForecastRoles | None = None
        self.freq: str | int | None = None
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
        named = {"id_column": id_column, "timestamp_column": timestamp_column, "target": target}
        table = self._read_columns(df, named)
        self.freq = freq
        self.plan = replace(self.plan, horizon=horizon, context_length=context_length, seed=seed)
        self.core = fit_forecaster(self._panel(table), self.plan, self.batch_size)
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
        core, roles = self._fitted()
        df = self._known if df is None else df
        if df is None:
            raise ValueError(
                "df is missing: a forecaster that was loaded has no series of its own, pass their history"
            )
        table = forecast_frame(df)
        panel = self._panel(table)
        steps = horizon or core.horizon
        shape: dict[str, Any] = {"context_length": core.context_length, "prediction_length": steps}
        windows = PanelWindows(panel, np.arange(len(panel)), panel.lengths, **shape, num_targets=core.num_targets)
        _check_history(windows)
        core.batch_size = self.batch_size
        answer = core.answer(windows)
        series, ahead = windows.series.repeat(steps), np.tile(np.arange(steps), len(windows))
        times = panel.calendar.times(series, windows.steps.repeat(steps) + ahead)
        ids = {} if roles.id is None else {roles.id: panel.ids.iloc[series].reset_index(drop=True)}
        keys = pd.DataFrame({**ids, roles.timestamp: write_timestamps(times, table[roles.timestamp].iloc[:1])})
        result = lay_out(keys, answer.forecasts, answer.quantiles, core.levels, roles, self.frame or roles.frame)
        return same_kind(result, df, {"id": roles.id, "timestamp": roles.timestamp})

    def cross_validation(
        self,
        df: Any,
        *,
        windows: int = 3,
        step: int | None = None,
        refit: bool = False,
        peers: Sequence[str] = (),
        **fit: Any,
    ) -> "Backtest":
        """What this forecaster, trained on what was known then, would have said at the last origins of each series.

        Others of its settings are trained; nothing of this forecaster changes, and what it has learnt is not used.

        Args:
            df: the table.
            windows: origins; the last one lies a horizon before the end of each series.
            step: steps between them; None: a horizon.
            refit: train before each of them anew; else once, on what lies before the first.
            peers: of `"DLinear"`, `"RLinear"`, `"PatchTST"`, `"AutoETS"`, beside seasonal naive.
            **fit: arguments of `fit`; what is not given is as in the last `fit`, if there was one.

        Returns:
            A `Backtest`, whose module states the rule: `table()`, `by("series")`, `by("step")`, `by("window")`,
            `frame()`, `plot()`.

        Raises:
            ValueError: too short series, unknown peers, or what `fit` raises.
        """
        from .backtest import Origins, run_backtest

        if unknown := sorted(fit.keys() - {*_COLUMNS, "freq", "horizon", "context_length", "seed"}):
            raise TypeError(f"cross_validation takes no {', '.join(map(repr, unknown))}")
        trial = TimesCLIPForecaster(frame=self.frame)
        trial.freq = fit.get("freq", self.freq)
        named = {name: fit[name] for name in _COLUMNS if name in fit}
        if self.roles is not None and not named:
            table, trial.roles = forecast_frame(df), self.roles
        else:
            table = trial._read_columns(df, named)
        roles: Any = trial.roles
        panel = trial._panel(table)
        asked = {name: value for name, value in fit.items() if name in ("horizon", "context_length", "seed")}
        plan = replace(self.plan, num_targets=len(roles.targets), **asked)
        horizon, _ = find_lengths(panel, plan)
        plan = replace(plan, horizon=horizon)
        about = {"roles": roles, "like": df,
                 "write": lambda times: write_timestamps(times, table[roles.timestamp].iloc[:1])}  # fmt: skip
        origins = Origins(panel, horizon, windows, horizon if step is None else step)
        return run_backtest(
            origins,
            lambda known: fit_forecaster(known, plan, self.batch_size),
            plan.num_targets,
            refit,
            peers,
            **about,
        )

    def save(self, folder: str | Path) -> None:
        """Writes model, processor and all else that `predict` needs into a folder.

        Raises:
            ValueError: not fitted.
        """
        core, roles = self._fitted()
        with without_bars():
            core.model.save_pretrained(folder)
        core.processor.save_pretrained(folder)
        settings = {"roles": roles.to_dict(), "freq": self.freq, "frame": self.frame, "preset": self.plan.preset}
        settings |= {name: getattr(core, name) for name in ("season", "seed")}
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
        forecaster.roles, forecaster.freq = ForecastRoles(**settings["roles"]), settings["freq"]
        with without_bars():
            model = TimesCLIPForPrediction.from_pretrained(folder).eval()
        processor, targets = TimesCLIPProcessor.from_pretrained(folder), len(forecaster.roles.targets)
        lengths = (model.config.prediction_length, model.config.context_length, settings["season"])
        forecaster.core = PanelForecaster(model, processor, *lengths, targets, settings["seed"])
        return forecaster

    def _fitted(self) -> tuple[PanelForecaster, ForecastRoles]:
        if self.core is None or self.roles is None:
            raise ValueError("this forecaster was not fitted yet: call fit(df) first, or load one")
        return self.core, self.roles

    def _read_columns(self, df: Any, named: Mapping[str, Any]) -> pd.DataFrame:
        """A table, once it is found what its columns are for."""
        table = forecast_frame(df)
        index = df.index.names if isinstance(df, pd.DataFrame) else ()
        self.roles = find_forecast_roles(table, **named, index_names=[name for name in index if name is not None])
        self.plan = replace(self.plan, num_targets=len(self.roles.targets))
        return table

    def _panel(self, table: pd.DataFrame) -> Panel:
        roles: Any = self.roles
        needed = [roles.timestamp, *([] if roles.id is None else [roles.id]), *roles.variates]
        check_known(needed, table, "the table lacks columns", f"found {some_of(map(repr, table.columns), 20)}")
        return read_panel(
            table, timestamp_column=roles.timestamp, id_column=roles.id, variates=roles.variates, freq=self.freq
        )


def _check_history(windows: PanelWindows) -> None:
    """Series without a value to go on from are refused; short ones are told."""
    panel, context = windows.panel, windows.context_length
    blank: NDArray[np.bool_] = np.all(np.isnan(windows.past(slice(None))), axis=1)  # (n, V)
    if blank.any():
        series, variate = np.argwhere(blank)[0]
        raise ValueError(
            f"series {panel.ids[series]!r} has no value of {panel.variate_names[variate]!r} in its last {context} "
            f"steps ({len(np.unique(blank.nonzero()[0]))} such series in all): a series without history cannot be "
            "forecast, leave it out"
        )
    if (short := panel.lengths < context).any():
        warn_caller(
            f"{short.sum()} of {len(panel)} series are shorter than the {context} steps that the model looks back "
            f"({some_of(panel.ids[short], 3)}): what lies before them counts as missing"
        )


__all__ = ["TimesCLIPForecaster"]
