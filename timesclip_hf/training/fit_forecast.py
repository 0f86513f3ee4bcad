# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From a table with one row per time step to a forecaster beside its peers: `timesclip train --horizon`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.calendar import read_calendar
from ..data.covariates import CovariateRoles, load_covariate_table
from ..data.long import SeriesCollection, load_long_table
from ..data.rhythms import instants
from ..data.splits import WindowSplits, split_windows
from ..data.tables import some_of
from ..features.similar import SIMILAR_FILE, SimilarSeries
from ..metrics import forecast_metrics
from ..plots import plot_forecasts
from . import train_report as report
from .calibration import calibration_of, measure_intervals
from .fit_series import Fitted, Recipe, SeriesData, fit_series
from .forecast_peers import measure_naive
from .ways import Way, choose_way, patches

_TRAIN, _VALIDATION, _TEST = 0.7, 0.1, 0.2
_CONTEXTS = (16, 512)  # fewest and most steps to look back, unless somebody says so
_MOST_WINDOWS = 20_000  # of the training part; of more, every second, third, ... one is taken
_SOURCE = "windows of the validation part, which also chose the epoch and overlap each other"
# Seconds between two steps -> steps in a season: a day of hours, a week of days, a year of the others.
_SEASONS = (
    (60, 1440), (300, 288), (600, 144), (900, 96), (1800, 48), (3600, 24), (86_400, 7), (604_800, 52), (864_000, 36),
    (1_382_400, 23), (2_629_800, 12), (7_889_400, 4),
)  # fmt: skip


@dataclass(frozen=True)
class ForecastJob:
    """What somebody wants of `timesclip train`, for a table with one row per time step.

    Args:
        table: path or frame.
        timestamp, series: columns of the times and of the series' names.
        horizon: steps to forecast.
        context: steps to look back; `None`: four horizons or two seasons, as far as the series are long enough.
        variates: columns to forecast; `None`: all that have no other role.
        season: steps in a season; `None`: by the rhythm of the times.
        preset, recipe, peers: see `TableJob`.
        covariates: what else of the table is read; its targets are `variates`.
        similar: whether readings of training windows are kept beside the model, see `features.similar`.
    """

    table: Any
    timestamp: str
    horizon: int
    context: int | None = None
    series: str | None = None
    variates: Sequence[str] | None = None
    season: int | None = None
    preset: str = "auto"
    recipe: Recipe = field(default_factory=Recipe)
    peers: bool = True
    covariates: CovariateRoles = field(default_factory=CovariateRoles)
    similar: bool = True


def train_forecast(job: ForecastJob, output: Path, command: str, tell: Callable[[str], None]) -> str:
    """Reads, splits, trains, compares and writes.

    Args:
        job: what is wanted.
        output: folder of the model and all that is told of it.
        command: the line that makes it again.
        tell: is told what was found and what goes on.

    Returns:
        What somebody reads in the end.

    Raises:
        ValueError, FileNotFoundError: whatever is wrong with the table, in words.
    """
    reading: dict[str, Any] = {"timestamp_column": job.timestamp, "series_column": job.series, "fill_gaps": True}
    if job.covariates.any:
        series = load_covariate_table(job.table, replace(job.covariates, targets=job.variates or ()), **reading)
    else:
        series = load_long_table(job.table, variates=job.variates, **reading)
    season = job.season or find_season(series)
    context = job.context or choose_context(series, job.horizon, season)
    splits = cut(series, context, job.horizon)
    tell(f"{series!r}: {some_of(series.target_names, 12)}")
    for line in _told_covariates(series):
        tell(line)
    tell(f"looks back {context} steps, forecasts {job.horizon}" + (f", a season has {season}" if season > 1 else ""))
    how = "each series by time: the last fifth is the test part, the tenth before it validation"
    tell(f"split {how} ({_sizes(splits)})")
    way = choose_way(len(splits.train), "forecasting", preset=job.preset, pretrained=bool(job.recipe.checkpoints))
    tell(f"model: preset {way.preset} ({way.reason})")
    shape, processing = _settings(series, job, context)
    if job.recipe.ensemble is not None:
        raise ValueError("--ensemble is for numbers and classes; a forecaster stands alone")
    data = SeriesData(
        "forecasting", shape, processing, splits.train.series, splits.train, splits.validation,
        fit_with=splits.train.collection.to_fit,
    )  # fmt: skip
    fitted = fit_series(data, way, job.recipe, output / "training")
    config = fitted.trainer.model.config
    config.calibration = calibration_of(config, *fitted.said(splits.validation), source=_SOURCE)
    answers = {f"TimesCLIP {way.preset}": fitted.answers(splits.test).astype(np.float64)}
    if job.peers:
        tell("comparing with seasonal naive and a linear map")
        answers |= measure_naive(splits, season)
    return _write(job, splits, way, fitted, answers, how, output, command)


def _settings(series: SeriesCollection, job: ForecastJob, context: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of the configuration that follow from the data, and of the processor."""
    shape: dict[str, Any] = {
        "num_variates": len(series.variate_names), "context_length": context, "prediction_length": job.horizon,
        "num_target_variates": series.num_targets, "forecast_static": series.static is not None,
    }  # fmt: skip
    processing: dict[str, Any] = {"variate_names": list(series.variate_names), "scaling": "instance"}
    if series.future is not None:
        calendar = read_calendar(job.covariates.calendar, None if series.timestamps is None else series.timestamps[0])
        processing |= {"prediction_length": job.horizon, "calendar": calendar or None}
        shape |= {"covariate_memory": True, "covariate_response": "own"}
    return shape | patches(context), processing


def _told_covariates(series: SeriesCollection) -> list[str]:
    """What is read beside the targets, line by line."""
    known = [column["name"] for column in series.future_columns or []]
    past = [name for name in series.variate_names[len(series.target_names) :] if name not in known]
    static = list(series.static[0]) if series.static else []
    told = {"known in advance": known, "known up to now": past, "of each series as a whole": static}
    return [f"{words}: {some_of(names, 12)}" for words, names in told.items() if names]


def find_season(series: SeriesCollection) -> int:
    """Steps in a season, by the usual distance of two times; 1: none is known."""
    if series.timestamps is None or not isinstance(series.timestamps[0], pd.DatetimeIndex | np.ndarray):
        return 1
    times = series.timestamps[0]
    if not np.issubdtype(getattr(times, "dtype", None), np.datetime64) and not isinstance(times, pd.DatetimeIndex):
        return 1
    return season_of(float(np.median(np.diff(pd.DatetimeIndex(times).asi8))) / _per_second(pd.DatetimeIndex(times)))


def season_of(seconds: float | None) -> int:
    """Steps in a season, of steps that are so many seconds apart; 1: none is known."""
    known = [] if seconds is None else [steps for distance, steps in _SEASONS if abs(seconds / distance - 1) < 0.05]
    return known[0] if known else 1


def _per_second(times: pd.DatetimeIndex) -> float:
    return {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[times.unit]


def choose_context(series: SeriesCollection, horizon: int, season: int) -> int:
    """Steps to look back: four horizons or two seasons, and no more than half of the shortest training part leaves.

    Raises:
        ValueError: the shortest series is too short for this horizon.
    """
    shortest = min(len(values) for values in series.values)
    room = (int(_TRAIN * shortest) - horizon) // 2
    fewest, most = _CONTEXTS
    wanted = min(most, max(fewest, 4 * horizon, 2 * season))
    if room < 4 or int(_VALIDATION * shortest) < 1:
        name = series.series_names[int(np.argmin([len(values) for values in series.values]))]
        raise ValueError(
            f"series {name!r} has {shortest} steps, too few to learn --horizon {horizon} from: some "
            f"{2 * horizon + 12} are the least"
        )
    return min(wanted, room)


def cut(series: SeriesCollection, context: int, horizon: int) -> WindowSplits:
    """Windows of train, validation and test; where a tenth of the series is shorter than the horizon, one each."""
    lengths = [len(values) for values in series.values]
    shares: dict[str, Any] = {"train": _TRAIN, "validation": _VALIDATION, "test": _TEST}
    if int(min(lengths) * _VALIDATION) < horizon or int(min(lengths) * _TEST) < horizon:
        shares = {"train": None, "validation": horizon, "test": max(horizon, int(_TEST * min(lengths)))}
    windows = sum(max(0, int(_TRAIN * length) - context - horizon) for length in lengths)
    stride = max(1, windows // _MOST_WINDOWS)
    return split_windows(series, context_length=context, prediction_length=horizon, stride=stride, **shares)


def _sizes(splits: WindowSplits) -> str:
    return ", ".join(f"{len(getattr(splits, name))} {name}" for name in ("train", "validation", "test")) + " windows"


def _write(
    job: ForecastJob, splits: WindowSplits, way: Way, fitted: Fitted, answers: dict[str, NDArray[np.float64]],
    how: str, output: Path, command: str,
) -> str:  # fmt: skip
    labels = np.stack([splits.test[row]["labels"] for row in range(len(splits.test))])
    names = splits.test.collection.target_names
    alone = len(names) == 1 and len(splits.test.series_names) == 1
    spreads = [splits.std[splits.test.series_index(n)][: len(names)] for n in range(len(splits.test))]
    scale = None if alone else np.stack(spreads)
    measured = {name: forecast_metrics(forecasts, labels, scale) for name, forecasts in answers.items()}
    unit = names[0] if alone else "spreads"
    words = "in units of the column" if alone else "in units of each variate's spread in the training part"
    config = fitted.trainer.model.config
    found = measure_intervals(config, fitted.said(splits.test)[0], labels)
    if not alone:  # widths of several units have no mean
        found = {name: value for name, value in found.items() if name.startswith("coverage")}
    table = report.table("forecasting", measured)
    own = next(iter(answers))
    report.clear(output)
    fitted.trainer.save_model(str(output))
    kept = _keep_similar(splits, fitted, job, output)
    sizes = {part: len(getattr(splits, part)) for part in ("train", "validation", "test")}
    fitted.trainer.create_model_card(
        output,
        model_name="timesclip-forecast",
        dataset=Path(str(job.table)).name if isinstance(job.table, str | Path) else "a table",
        split=f"{how}.",
        sizes=sizes,
        measured={"test": measured[own] | {name: value for name, value in found.items() if name == "coverage_90"}},
        measured_in=words,
        hyperparameters={"preset": way.preset},
        command=command,
        table=table,
        limits=[] if kept is None else [kept.told()],
    )
    report.write_csv(_predictions(splits, answers[own], job), output / "test_predictions.csv")
    _draw(splits, answers, labels).savefig(output / "predictions.png", dpi=120)
    files = ["test_predictions.csv", "predictions.png", *report.write_learning_curve(output, fitted.trainer)]
    facts = {
        "command": command,
        "task": "forecasting",
        "sizes": sizes,
        "model": {"name": own, "preset": way.preset, "reason": way.reason},
        "seconds": round(fitted.seconds, 1),
        "errors in": words,
        "test": measured,
        "intervals": {"calibration": report.calibration_facts(config), "test": found},
    }
    report.write_metrics(output, facts)
    lines = [report.sentence("forecasting", measured, unit, f"{len(labels)} windows"), f"({words})", "", table, ""]
    if told := report.intervals_sentence(config.calibration, found, unit if alone else ""):
        lines += [told, ""]
    lines += [f"warning: {line}" for line in fitted.warnings]
    return "\n".join(
        [
            *lines,
            f"written to {output}: the model, README.md, metrics.json, {', '.join(files)}",
            f"next: timesclip predict NEW.csv --model {output} --timestamp-column {job.timestamp} --output next.csv"
            + (" --future FUTURE.csv" if job.covariates.future else ""),
        ]
    )


def _keep_similar(splits: WindowSplits, fitted: Fitted, job: ForecastJob, output: Path) -> SimilarSeries | None:
    """Keeps training windows beside the model, by which new ones are compared."""
    (output / SIMILAR_FILE).unlink(missing_ok=True)
    if not job.similar:
        return None
    series, steps = zip(*(splits.train.locate(row) for row in range(len(splits.train))), strict=True)
    seed = job.recipe.seed
    kept = SimilarSeries.fit_windows(fitted.trainer.model, fitted.processor, splits.train, series, steps, seed=seed)
    if kept is not None:
        kept.save(output)
    return kept


def _predictions(splits: WindowSplits, forecasts: NDArray[np.float64], job: ForecastJob) -> pd.DataFrame:
    """Forecasts of test windows that do not overlap, beside what came: a row for each series and step."""
    test, rows = splits.test, []
    last: dict[int, int] = {}
    context, horizon, names = test.context_length, test.prediction_length, test.collection.target_names
    for number in range(len(test)):
        series, start = test.locate(number)
        if start < last.get(series, 0):
            continue
        last[series] = start + horizon
        times = test.timestamps(number)
        truth = test[number]["labels"]
        for step in range(horizon):
            row: dict[str, Any] = {} if job.series is None else {job.series: test.series_names[series]}
            row[job.timestamp] = times[context + step] if times is not None else start + context + step
            row |= {name: truth[step, k] for k, name in enumerate(names)}
            row |= {f"predicted_{name}": forecasts[number, step, k] for k, name in enumerate(names)}
            rows.append(row)
    return pd.DataFrame(rows)


def _draw(splits: WindowSplits, answers: dict[str, NDArray[np.float64]], labels: NDArray[Any]) -> Any:
    """The last test window."""
    test = splits.test
    names = [name for name in answers if name in (next(iter(answers)), "seasonal naive")]
    times = test.timestamps(len(test) - 1)
    return plot_forecasts(
        test[len(test) - 1]["past_values"][:, : labels.shape[-1]],
        labels[-1],
        {name: answers[name][-1] for name in names},
        test.collection.target_names,
        None if times is None or np.issubdtype(instants(times).dtype, np.object_) else np.asarray(times),
        "the last window of the test part",
    )


__all__ = ["ForecastJob", "choose_context", "cut", "find_season", "season_of", "train_forecast"]
