# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Frames in, frames out: one global forecaster of the series of a long table."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.forecast_roles import FRAMES, forecast_frame
from ..data.panel import shown
from ..data.panel_windows import PanelWindows
from ..data.tables import is_table, some_of, warn_caller
from ..features.similar import SIMILAR_FILE, SimilarSeries
from ..metrics.probabilistic import checked_levels
from ..model.modeling_timesclip import TimesCLIPForPrediction
from ..model.processing_timesclip import TimesCLIPProcessor
from .forecast_frames import lay_out, same_kind
from .forecast_tables import (
    ForecastTables,
    carried_static,
    columns_of,
    find_tables,
    static_of,
    tables_from_dict,
    tables_of,
    tables_to_dict,
)
from .loading import FORECASTER_FILE, forecaster_settings
from .panel_forecaster import PanelForecaster, Plan, fit_forecaster, positive, without_bars

if TYPE_CHECKING:
    from .backtest import Backtest
    from .explanations import Explanation

FILE = FORECASTER_FILE
COLUMNS = (
    "id_column", "timestamp_column", "target", "freq", "future_covariates", "past_covariates", "static", "calendar",
)  # fmt: skip
_ASKED = ("horizon", "context_length", "seed")


class TimesCLIPForecaster:
    """A forecaster of all series of a long table: a row for each series and time.

    `TimesCLIPForecaster().fit(df, horizon=24).predict(df)`.

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
        similar: `save` keeps readings of some windows that it learnt from (`features.similar`), by which `predict`
            then tells of series whose newest steps are unlike them; the windows can be told from these roughly.

    Attributes:
        core: the fitted `PanelForecaster`, with `model` and `processor`.
        tables: what the columns are for.

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
        similar: bool = True,
    ) -> None:
        if frame not in (None, *FRAMES):
            raise ValueError(f"frame={frame!r}: unknown, choose one of {some_of(FRAMES)}")
        self.plan = Plan(preset, towers, epochs, validation, sample, dict(config or {}), dict(training or {}))
        self.frame, self.batch_size, self.similar = frame, batch_size, similar
        self.core: PanelForecaster | None = None
        self.tables: ForecastTables | None = None
        self._known: Any = None  # the tables of `fit`, for `predict()`
        self._static: Any = None

    def fit(
        self,
        df: Any,
        *,
        id_column: str | None = None,
        timestamp_column: str | None = None,
        target: str | Sequence[str] | None = None,
        freq: str | int | None = None,
        future_covariates: Sequence[str] = (),
        past_covariates: Sequence[str] = (),
        static: Any = (),
        calendar: str | Sequence[str] = (),
        horizon: int | None = None,
        context_length: int | None = None,
        quantile_levels: Sequence[float] = (),
        seed: int = 0,
    ) -> "TimesCLIPForecaster":
        """Learns from all series of a table.

        Args:
            df: the table.
            id_column, timestamp_column, target: columns; None: found by their names. Several targets are forecast
                together, each from all.
            freq: distance of two steps as pandas writes it (`"h"`, `"D"`, `"B"`, `"MS"`, ...), or a number where times
                are numbers; None: as the times say.
            future_covariates: columns that are known for the steps to forecast, too: numbers or text.
            past_covariates: columns of numbers that are known up to now alone.
            static: columns that say one thing of a series throughout; or a table of them with a row for each series;
                where nothing is given, that which frames of AutoGluon carry.
            calendar: what is read from the times: `"auto"`, or some of `"hour"`, `"weekday"`, `"year_day"`,
                `"holidays:FR"`, ... (see `data.calendar`).
            horizon: steps to forecast; None: as the M4 competition did at such a distance, or one season.
            context_length: steps to look back; None: four horizons or two seasons, as far as series are long enough.
            quantile_levels: such as (0.05, 0.5, 0.95): learn quantiles, in place of means, and forecast these beside
                the median.
            seed: of weights, windows and dropout.

        Returns:
            The forecaster itself.

        Raises:
            ValueError: columns that are missing or unclear, cells or times that cannot be read, too short series.
        """
        named: dict[str, Any] = {"id_column": id_column, "timestamp_column": timestamp_column, "target": target}
        named |= {"future_covariates": future_covariates, "past_covariates": past_covariates}
        static = carried_static(df, static)
        tables, levels = find_tables(df, freq, calendar, static, **named), _read_levels(quantile_levels)
        asked: dict[str, Any] = {"horizon": horizon, "context_length": context_length, "seed": seed, "levels": levels}
        plan = replace(self.plan, num_targets=len(tables.roles.targets), **asked)
        self.core = fit_forecaster(tables.to_learn(df, static), plan, self.batch_size)
        self.tables, self.plan, self._known, self._static = tables, plan, df, static
        return self

    def predict(self, df: Any = None, future_df: Any = None, *, horizon: int | None = None, static: Any = None) -> Any:
        """The steps that follow each series.

        Args:
            df: history, a table with the columns that `fit` had; None: that of `fit`.
            future_df: of covariates whose future is known: a table with a row for each series and step to forecast;
                None: they stand behind the history, with blank targets.
            horizon: steps; None: those that were trained. Fewer are cut; more are rolled on, forecasts taken for what
                came.
            static: a table of static columns, where `df` does not have them; None: that of `fit`, if it was given one.

        Returns:
            A frame of the kind of `df`, a row for each series and step, sorted by both.

        Raises:
            ValueError: not fitted, columns that are missing, a series without any value to go on from, rows of the
                future that are missing, too many or at other times.
        """
        core, tables = self._fitted()
        if df is None:
            df, static = self._known, self._static if static is None else static
        if df is None:
            raise ValueError(
                "df is missing: a forecaster that was loaded has no series of its own, pass their history"
            )
        steps = core.horizon if horizon is None else positive("horizon", horizon)
        panel = tables.to_ask(df, future_df, steps, self._static_beside(df, static, tables))
        shape: dict[str, Any] = {"context_length": core.context_length, "prediction_length": steps}
        windows = PanelWindows(panel, np.arange(len(panel)), panel.lengths, **shape, num_targets=core.num_targets)
        _check_history(windows)
        core.batch_size = self.batch_size
        answer = core.answer(windows)
        _tell_unusual(core.unusual, panel.ids)
        ahead = windows.steps.repeat(steps) + np.tile(np.arange(steps), len(windows))
        keys, roles = tables.keys(panel, windows.series.repeat(steps), ahead, df), tables.roles
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

        Others of its settings are trained; this one stays what it is.

        Args:
            df: the table.
            windows: origins; the last one lies a horizon before the end of each series.
            step: steps between them; None: a horizon.
            refit: train before each of them anew; else once, on what lies before the first.
            peers: of `"DLinear"`, `"RLinear"`, `"PatchTST"`, `"AutoETS"` (with statsforecast), or folders or Hub ids
                of TimesFM 2.5 or of Chronos-2 (with chronos-forecasting), beside seasonal naive.
            **fit: arguments of `fit`; what is not given is as in the last `fit`, if there was one.

        Returns:
            A `Backtest`, whose module states the rule: `table()`, `by("series")`, `by("step")`, `by("window")`,
            `frame()`, `plot()`.

        Raises:
            ValueError: too short series, unknown peers, or what `fit` raises.
        """
        from .backtest import run_backtest

        if unknown := sorted(fit.keys() - {*COLUMNS, *_ASKED, "quantile_levels"}):
            raise TypeError(f"cross_validation takes no {', '.join(map(repr, unknown))}")
        static, tables = carried_static(df, fit.get("static", self._static)), self.tables
        if is_table(static) and not is_table(self._static):
            fit["static"] = static
        if tables is None or fit.keys() & set(COLUMNS):
            known = {} if tables is None else columns_of(tables, self._static)
            tables = find_tables(df, **{**known, **{name: fit[name] for name in COLUMNS if name in fit}})
        plan = replace(self.plan, num_targets=len(tables.roles.targets), **_asked_anew(fit))
        return run_backtest(df, replace(tables), static, plan, (windows, step), refit, peers, self.batch_size)

    def explain(self, df: Any = None, *, static: Any = None, max_samples: int = 60, **how: Any) -> "Explanation":
        """Which variates, covariates and spans of time its forecasts come from, on windows of a table of which is
        known what came (those of `inference.forecast_windows`).

        Args:
            df: a table with the columns that `fit` had; None: that of `fit`.
            static: a table of static columns, where `df` does not have them; None: that of `fit`.
            max_samples: windows.
            **how: `methods`, `target`, `horizon`, `spans`, ... of `explain`.

        Raises:
            ValueError: not fitted, no table, or none with a window; what `explain` raises.
        """
        from .explanations import explain
        from .forecast_windows import read_windows

        core, tables = self._fitted()
        df = self._known if df is None else df
        if df is None:
            raise ValueError("df is missing: a forecaster that was loaded has no series of its own, pass a table")
        beside = self._static_beside(df, static, tables)
        found = read_windows(forecast_frame(df), core.model.config, max_samples, tables, beside)
        return explain(core.model, core.processor, found.samples, max_samples=None, **how)

    def save(self, folder: str | Path, **facts: Any) -> None:
        """Writes model, processor and all else that `predict` needs into a folder, and a model card.

        Args:
            folder: it is made.
            **facts: for the card: `model_name`, `dataset`, `license`, ... (see `hub.card_callback`).

        Raises:
            ValueError: not fitted.
        """
        core, tables = self._fitted()
        with without_bars():
            core.model.save_pretrained(folder)
        core.processor.save_pretrained(folder)
        settings = {**tables_to_dict(tables), "frame": self.frame, "preset": self.plan.preset}
        settings |= {"season": core.season, "seed": core.seed, "quantile_levels": core.levels}
        (Path(folder) / FILE).write_text(json.dumps(settings, indent=2), encoding="utf-8")
        (Path(folder) / SIMILAR_FILE).unlink(missing_ok=True)
        if self.similar and (kept := core.keep_similar()) is not None:
            kept.save(folder)
            facts["limits"] = [*facts.get("limits", []), kept.told()]
        if core.trainer is not None:
            core.trainer.create_model_card(folder, **facts)

    def push_to_hub(self, repo_id: str, *, token: str | None = None, private: bool | None = None, **facts: Any) -> Any:
        """Saves, and uploads it in one commit with its card and the code that loads the model.

        Args:
            repo_id: of the repository, which is made where there is none.
            token: with the right to write; None: that of `hf auth login`.
            private: whether a new repository becomes private.
            **facts: see `save`.

        Raises:
            huggingface_hub.errors.HfHubHTTPError: the Hub refused.
        """
        from ..hub.push import push_folder

        with tempfile.TemporaryDirectory(prefix="timesclip-push-") as folder:
            self.save(folder, **facts)
            return push_folder(repo_id, folder, "A forecaster", token, private=private)

    @classmethod
    def load(cls, folder: str | Path, **kwargs: Any) -> "TimesCLIPForecaster":
        """A forecaster from a folder that `save` wrote, or from the Hub.

        Args:
            folder: the folder, or a repository's id.
            **kwargs: of the class, such as `batch_size`.

        Raises:
            FileNotFoundError: a folder without a forecaster.
            OSError: a repository without one, or out of reach.
        """
        settings: Any = forecaster_settings(folder, needed=True)
        forecaster = cls(**{"preset": settings["preset"], "frame": settings["frame"], **kwargs})
        forecaster.tables = tables = tables_from_dict(settings)
        with without_bars():
            model = TimesCLIPForPrediction.from_pretrained(folder).eval()
        processor, targets = TimesCLIPProcessor.from_pretrained(folder), len(tables.roles.targets)
        lengths = (model.config.prediction_length, model.config.context_length, settings["season"])
        levels, seed = tuple(settings["quantile_levels"]), settings["seed"]
        known = SimilarSeries.load(folder) if forecaster.similar else None
        forecaster.core = PanelForecaster(model, processor, *lengths, targets, seed, levels, similar=known)
        asked = {name: getattr(forecaster.core, name) for name in (*_ASKED, "levels")}  # for `cross_validation`
        forecaster.plan = replace(forecaster.plan, num_targets=targets, **asked)
        return forecaster

    def _static_beside(self, df: Any, static: Any, tables: ForecastTables) -> Any:
        """The table of static columns: what is given, else what the series carry, else that of `fit`."""
        if not tables.roles.static:
            return static
        static = carried_static(df, static)
        return static_of(self._static, df, tables.roles) if static is None and is_table(self._static) else static

    def _fitted(self) -> tuple[PanelForecaster, ForecastTables]:
        if self.core is None or self.tables is None:
            raise ValueError("this forecaster was not fitted yet: call fit(df) first, or load one")
        return self.core, self.tables


def _asked_anew(fit: Mapping[str, Any]) -> dict[str, Any]:
    """What arguments of `fit` change of a plan."""
    asked = {name: fit[name] for name in _ASKED if name in fit}
    return asked | ({"levels": _read_levels(fit["quantile_levels"])} if "quantile_levels" in fit else {})


def _read_levels(levels: Any) -> tuple[float, ...]:
    """Levels of quantiles as they are meant: (1 - 0.9) / 2 is 0.05."""
    return tuple(checked_levels(np.round(levels, 9), "quantile_levels").tolist()) if np.size(levels) else ()


def note_forecaster(folder: Path, timestamp: str, series: str | None, season: int, seed: int) -> None:
    """Makes a forecaster of a folder that holds a model and its processor, trained on a table of such columns."""
    tables = tables_of(TimesCLIPProcessor.from_pretrained(folder), timestamp, series)
    settings = {**tables_to_dict(tables), "frame": "wide", "preset": "auto"}
    settings |= {"season": season, "seed": seed, "quantile_levels": ()}
    (folder / FILE).write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _tell_unusual(unusual: NDArray[np.bool_] | None, ids: Any) -> None:
    """Warns of series whose newest steps are unlike what was learnt from."""
    if unusual is not None and unusual.any():
        warn_caller(
            f"{unusual.sum()} of {len(unusual)} series are unusual ({some_of(ids[unusual], 3)}): their newest steps "
            "are farther from all windows that were learnt from than is usual among these; errors may be larger"
        )


def _check_history(windows: PanelWindows) -> None:
    """Series without a value to go on from are refused; short ones are told."""
    panel, context = windows.panel, windows.context_length
    blank: NDArray[np.bool_] = np.all(np.isnan(windows.past(slice(None))), axis=1)  # (n, V)
    if blank.any():
        series, variate = np.argwhere(blank)[0]
        raise ValueError(
            f"series {shown(panel.ids, series)} has no value of {panel.variate_names[variate]!r} in its last "
            f"{context} steps ({len(np.unique(blank.nonzero()[0]))} such series in all): a series without "
            "history cannot be forecast, leave it out"
        )
    if (short := panel.lengths < context).any():
        warn_caller(
            f"{short.sum()} of {len(panel)} series are shorter than the {context} steps that the model looks back "
            f"({some_of(panel.ids[short], 3)}): what lies before them counts as missing"
        )


__all__ = ["COLUMNS", "FILE", "TimesCLIPForecaster", "note_forecaster"]
