# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A forecaster and its peers at rolling origins: what each would have said then, and how good it was.

The rule. The last windows of each series, `step` steps apart, are forecast from what lies before their origins. Models
are trained once on what lies before the first origin, or with `refit` anew before each; scaling, choice of lengths,
epochs and calibration belong to the training. So nothing behind an origin can reach a forecast from it, but covariates
that are known in advance.

Errors of windows at which a model failed are those of the seasonal naive forecast, and their number is told. Series
that have no history before an origin are left out of that window for all models.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.panel import Panel
from ..data.panel_covariates import observed
from ..data.panel_windows import PanelWindows
from ..data.tables import some_of, warn_caller
from ..metrics.backtest import seasonal_changes, skill_interval, skill_score, win_rate
from ..metrics.probabilistic import coverage, weighted_quantile_loss
from ..model.intervals import percent
from ..training.panel_peers import BASELINE, Answer, ask_peer, check_peers, spreads_of
from .forecast_frames import MODEL, answer_columns, same_kind
from .forecast_tables import ForecastTables
from .panel_forecaster import PanelForecaster, Plan, find_lengths, fit_forecaster

_LEAST_SERIES = 10  # from so many on, skill is compared series by series, below it window by window
_FEWEST_STEPS = 4  # of history before an origin
_LEAST_CHANGE = 1e-9  # from season to season, in spreads: less is the rounding of a series that repeats itself


@dataclass(frozen=True, eq=False, repr=False)
class Backtest:
    """Forecasts of many windows by several models, and their figures.

    Args:
        answers: model -> its forecasts.
        truth: `(m, H, K)`, NaN where nothing was observed.
        windows: what was forecast; `origins` `(m,)`: which of the rolling origins, from 0.
        units: `(m, K)`, mean absolute change of a season before the origin (see `seasonal_changes`), and `spreads`
            `(m, K)`, the spread of what was learnt from.
        levels: of quantiles.
        tables: how the user's table, `like`, was read.
        core: the forecaster of the first origins.
    """

    answers: Mapping[str, Answer]
    truth: NDArray[np.float64]
    windows: PanelWindows
    origins: NDArray[np.int64]
    units: NDArray[np.float64]
    spreads: NDArray[np.float64]
    levels: Sequence[float]
    tables: ForecastTables
    like: Any
    core: PanelForecaster

    def __repr__(self) -> str:
        count = len(np.unique(self.windows.series))
        return f"Backtest({len(self.truth)} windows of {count} series, {some_of(self.answers)})"

    @property
    def interval(self) -> tuple[int, int, float] | None:
        """Places of the outermost levels that lie evenly around the median, and the share between them."""
        for low, level in enumerate(self.levels):
            for high, other in enumerate(self.levels):
                if level < 0.5 and abs(level + other - 1) < 1e-9:
                    return low, high, other - level
        return None

    def forecasts(self, model: str) -> NDArray[np.float64]:
        """Forecasts of a model `(m, H, K)`, those that failed by the baseline's."""
        return self._repaired(model, self.answers[model].forecasts, self.answers[BASELINE].forecasts)

    def _repaired(
        self, model: str, own: NDArray[np.float64], other: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        failed = self.answers[model].failed
        if other is None or not failed.any():
            return own
        repaired = own.copy()
        repaired[failed] = other[failed]
        return repaired

    def table(self) -> pd.DataFrame:
        """A row for each model.

        `mse` and `mae` are in units of the spread of what was learnt from, as published tables have them; `mase`: see
        `metrics.mase`; `smape`: in percent; `wql`: weighted quantile loss; `coverage_90`: share of what came that lies
        in the 90 % interval; `skill`: by how much MASE is below the seasonal naive forecast's, as a geometric mean
        over series (over windows, if there are fewer than ten series), from `skill_low` to `skill_high` by bootstrap;
        `win_rate`: share of windows better than it; `failures`: windows; `seconds`: a series, training included.
        """
        by_series = len(np.unique(self.windows.series)) >= _LEAST_SERIES
        base = self._scaled_errors(BASELINE)
        rows = []
        for model, answer in self.answers.items():
            own = self._scaled_errors(model)
            pair = (self._over_series(own), self._over_series(base)) if by_series else (own, base)
            skill = dict(zip(("skill_low", "skill_high"), skill_interval(*pair), strict=True))
            figures = self._figures(model, slice(None)) | {"skill": skill_score(*pair)} | skill
            figures |= {"win_rate": win_rate(own, base), "failures": int(answer.failed.sum())}
            rows.append({"model": model, **figures, "seconds": answer.seconds / len(np.unique(self.windows.series))})
        return pd.DataFrame(rows).set_index("model")

    def by(self, what: str) -> pd.DataFrame:
        """The same figures, but for skill, by `"series"`, `"step"` of the horizon (from 1) or `"window"` (from 0).

        Raises:
            ValueError: another word.
        """
        series, horizon = self.windows.series, self.truth.shape[1]
        ids = self.windows.panel.ids
        cuts: dict[str, Callable[[], list[tuple[Any, Any]]]] = {
            "series": lambda: [(ids[k], np.flatnonzero(series == k)) for k in np.unique(series)],
            "step": lambda: [(step + 1, (slice(None), slice(step, step + 1))) for step in range(horizon)],
            "window": lambda: [(int(k), np.flatnonzero(self.origins == k)) for k in np.unique(self.origins)],
        }
        if what not in cuts:
            raise ValueError(f"by({what!r}): unknown, choose one of {', '.join(cuts)}")
        parts = cuts[what]()
        rows = [
            {"model": model, what: key, **self._figures(model, cut)} for model in self.answers for key, cut in parts
        ]
        return pd.DataFrame(rows).set_index(["model", what])

    def _figures(self, model: str, cut: Any) -> dict[str, float]:
        """Errors of some windows, or of some steps of all."""
        rows = cut[0] if isinstance(cut, tuple) else cut
        truth, said = self.truth[cut], self.forecasts(model)[cut]
        away, spread = np.abs(said - truth), self.spreads[rows, None]
        with np.errstate(invalid="ignore"):
            size = np.abs(said) + np.abs(truth)
            relative = 200 * away / np.where(size == 0, 1, size)
        found = {"mse": _mean((away / spread) ** 2), "mae": _mean(away / spread)}
        found |= {"mase": _mean(away / self.units[rows, None]), "smape": _mean(relative)}
        quantiles = self.answers[model].quantiles
        if quantiles is None or not len(self.levels):
            return found
        if not np.isfinite(truth).any():
            return found
        quantiles = self._repaired(model, quantiles, self.answers[BASELINE].quantiles)[cut]
        found["wql"] = weighted_quantile_loss(quantiles, truth, self.levels)
        if self.interval is not None:
            low, high, share = self.interval
            found[f"coverage_{percent(share)}"] = coverage(quantiles[..., low], quantiles[..., high], truth)
        return found

    def _scaled_errors(self, model: str) -> NDArray[np.float64]:
        """MASE of each window `(m,)`."""
        errors = np.abs(self.forecasts(model) - self.truth) / self.units[:, None]
        seen = ~np.isnan(errors)
        with np.errstate(invalid="ignore"):
            return np.where(seen, errors, 0).sum(axis=(1, 2)) / seen.sum(axis=(1, 2))

    def _over_series(self, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Means over the windows of each series."""
        _, codes = np.unique(self.windows.series, return_inverse=True)
        seen = ~np.isnan(errors)
        with np.errstate(invalid="ignore"):
            return np.bincount(codes, np.where(seen, errors, 0)) / np.bincount(codes, seen)

    def frame(self) -> Any:
        """All forecasts as a frame of the kind of the user's.

        Columns of series and time, `cutoff` (the last time that was known), what came, and for each model its forecast
        and quantiles, named as Nixtla does. Several targets stand below each other, by `target_name`.
        """
        roles, (count, horizon, targets) = self.tables.roles, self.truth.shape
        series, steps = self.windows.series, self.windows.steps
        ahead = np.tile(np.arange(horizon), count)
        panel = self.windows.panel
        keys = self.tables.keys(panel, series.repeat(horizon), steps.repeat(horizon) + ahead, self.like)
        keys["cutoff"] = self.tables.times(panel, series.repeat(horizon), steps.repeat(horizon) - 1, self.like)
        rows = np.arange(count * horizon).reshape(count, 1, horizon).repeat(targets, axis=1).ravel()
        result = keys.iloc[rows].reset_index(drop=True)
        if targets > 1:
            result["target_name"] = np.tile(np.repeat(roles.targets, horizon), count)
        result[roles.targets[0] if targets == 1 else "y"] = self.truth.swapaxes(1, 2).ravel()
        for model, answer in self.answers.items():
            parts = [answer.forecasts] + (
                [] if answer.quantiles is None else list(np.moveaxis(answer.quantiles, -1, 0))
            )
            names = answer_columns("nixtla", model, self.levels if answer.quantiles is not None else ())
            for name, part in zip(names, parts, strict=True):
                result[name] = part.swapaxes(1, 2).ravel()
        return same_kind(result, self.like, {"id": roles.id, "timestamp": roles.timestamp})

    def plot(self, series: Any = None, target: str | None = None) -> Any:
        """One picture: a series' windows with forecasts and interval, and each model's error by step.

        Args:
            series: name of the series; None: the first.
            target: None: the first.

        Raises:
            ValueError: an unknown series or target.
        """
        from ..plots import plot_backtest

        ids = self.windows.panel.ids
        number = (
            int(self.windows.series[0])
            if series is None
            else next((k for k, name in enumerate(ids) if name == series), -1)
        )
        rows = np.flatnonzero(self.windows.series == number)
        k = self.tables.roles.targets.index(target) if target in self.tables.roles.targets else 0
        if not len(rows) or (target is not None and target not in self.tables.roles.targets):
            raise ValueError(f"no windows of series {series!r} and target {target!r}")
        rows = rows[np.argsort(self.windows.steps[rows])]
        last = self.windows.steps[rows[-1]] + self.truth.shape[1]
        first = max(0, int(self.windows.steps[rows[0]]) - 2 * self.truth.shape[1])
        if last - first > 20 * self.truth.shape[1]:  # of very many windows, the last ones
            rows = rows[self.windows.steps[rows] > last - 20 * self.truth.shape[1]]
            first = int(self.windows.steps[rows[0]]) - 2 * self.truth.shape[1]
        step = max(1, self.truth.shape[1] // max(1, int(np.diff(self.windows.steps[rows]).min(initial=last))))
        shown = rows[::-1][::step][::-1]  # such as do not overlap
        history = self.windows.panel.series(number)[first:last, k]
        quantiles = self.answers[MODEL].quantiles
        interval = (
            None if quantiles is None or self.interval is None else quantiles[shown][:, :, k, list(self.interval[:2])]
        )
        errors = {model: self.by_step(model) for model in self.answers}
        forecasts = {model: self.forecasts(model)[shown][..., k] for model in (MODEL, BASELINE)}
        return plot_backtest(
            history,
            self.windows.steps[shown] - first,
            forecasts,
            interval,
            errors,
            f"{ids[number]}, {self.tables.roles.targets[k]}",
        )

    def by_step(self, model: str) -> NDArray[np.float64]:
        """MASE of each step of the horizon `(H,)`."""
        errors = np.abs(self.forecasts(model) - self.truth) / self.units[:, None]
        seen = ~np.isnan(errors)
        with np.errstate(invalid="ignore"):
            return np.where(seen, errors, 0).sum(axis=(0, 2)) / seen.sum(axis=(0, 2))


def _mean(values: NDArray[np.float64]) -> float:
    seen = values[~np.isnan(values)]
    return float(seen.mean()) if len(seen) else float("nan")


@dataclass(frozen=True)
class Origins:
    """Where series are cut: `count` origins, `step` steps apart, the last one a horizon before the end.

    Raises:
        ValueError: counts below 1, or no series that has a history before any origin.
    """

    panel: Panel
    horizon: int
    count: int
    step: int

    def __post_init__(self) -> None:
        for name in ("count", "step"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise ValueError(
                    f"{'windows' if name == 'count' else name} is {value!r}, expected a whole number from 1 on"
                )
        if not (self.steps(0) >= _FEWEST_STEPS).any():
            needed = _FEWEST_STEPS + self.horizon + (self.count - 1) * self.step
            raise ValueError(
                f"{self.count} windows of {self.horizon} steps, {self.step} apart, need series of {needed} steps and "
                f"more; the longest has {self.panel.lengths.max()}"
            )

    def steps(self, origin: int) -> NDArray[np.int64]:
        """Steps `(n,)` that are known of each series at an origin, the first being number 0."""
        return self.panel.lengths - self.horizon - (self.count - 1 - origin) * self.step

    def windows(
        self, chosen: Sequence[int], context_length: int, num_targets: int
    ) -> tuple[PanelWindows, NDArray[Any]]:
        """Windows at some of the origins, and the number of each one's origin."""
        parts = [np.flatnonzero(self.steps(origin) >= _FEWEST_STEPS) for origin in chosen]
        steps = np.concatenate([self.steps(origin)[part] for origin, part in zip(chosen, parts, strict=True)])
        origins = np.repeat(np.asarray(chosen), [len(part) for part in parts])
        shape: dict[str, Any] = {"context_length": context_length, "prediction_length": self.horizon}
        cut = PanelWindows(self.panel, np.concatenate(parts), steps, **shape, num_targets=num_targets)
        seen = ~np.any(np.all(np.isnan(cut.past(slice(None))), axis=1), axis=1)
        seen &= ~np.all(np.isnan(cut.labels(slice(None))), axis=(1, 2))
        if (lost := len(chosen) * len(self.panel) - int(seen.sum())) > 0:
            warn_caller(
                f"{lost} windows are left out: their series have no history before them, or nothing came after"
            )
        return PanelWindows(self.panel, cut.series[seen], steps[seen], **shape, num_targets=num_targets), origins[seen]


def run_backtest(
    df: Any,
    tables: ForecastTables,
    static: Any,
    plan: Plan,
    cut: tuple[int, int | None],
    refit: bool,
    peers: Sequence[str],
    batch_size: int,
) -> Backtest:
    """Fits, forecasts and measures; see `TimesCLIPForecaster.cross_validation`.

    Args:
        df: the table, and `tables`, how it is read; static: a table of static columns.
        plan: what is asked of the forecasters.
        cut: number of origins, and steps between them.
        refit: train before each origin anew.
        peers: to stand beside it; the baseline always does.
        batch_size: windows that go through a model at once.
    """
    check_peers(peers)
    panel = observed(tables.to_learn(df, static))
    plan = dataclasses.replace(plan, horizon=find_lengths(panel, plan)[0])
    horizon: Any = plan.horizon
    origins = Origins(panel, horizon, cut[0], horizon if cut[1] is None else cut[1])
    parts: list[dict[str, Any]] = []
    for chosen in [[k] for k in range(origins.count)] if refit else [list(range(origins.count))]:
        started = time.perf_counter()
        known = panel.head(np.maximum(origins.steps(chosen[0]), 0))
        core = fit_forecaster(known, plan, batch_size)
        windows, numbers = origins.windows(chosen, core.context_length, plan.num_targets)
        own = core.answer(windows)
        answers = {MODEL: dataclasses.replace(own, seconds=time.perf_counter() - started)}
        for name in [BASELINE, *(name for name in peers if name != BASELINE)]:
            answers[name] = ask_peer(name, windows, core.learn, core.season, core.levels, core.seed)
        targets = panel.values[:, : plan.num_targets]
        units, _ = seasonal_changes(targets, panel.offsets, windows.series, windows.steps, core.season)
        spreads = spreads_of(core.learn[0])[1][windows.series]
        parts.append({
            "windows": windows, "origins": numbers, "answers": answers, "spreads": spreads, "core": core,
            "units": np.where(units > _LEAST_CHANGE * spreads, units, np.nan),
        })  # fmt: skip
    first = parts[0]
    windows = first["windows"] if len(parts) == 1 else _joined([part["windows"] for part in parts])
    names = ["origins", "units", "spreads"]
    together: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in names}
    together |= {"levels": first["core"].levels, "tables": tables, "like": df, "core": first["core"]}
    answers = {name: _together([part["answers"][name] for part in parts]) for name in first["answers"]}
    return Backtest(answers, windows.labels(slice(None)), windows, **together)


def _joined(parts: Sequence[PanelWindows]) -> PanelWindows:
    first = parts[0]
    series, steps = (np.concatenate([getattr(part, name) for part in parts]) for name in ("series", "steps"))
    return PanelWindows(
        first.panel, series, steps, first.context_length, first.prediction_length, num_targets=first.num_targets
    )


def _together(answers: Sequence[Answer]) -> Answer:
    quantiles = [answer.quantiles for answer in answers if answer.quantiles is not None]
    known = np.concatenate(quantiles) if len(quantiles) == len(answers) else None
    return Answer(np.concatenate([a.forecasts for a in answers]), known, sum(a.seconds for a in answers))


__all__ = ["Backtest", "Origins", "run_backtest"]
