# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What covariates are worth to a forecast: a load without them, with those that drive it, and with one of no use.

    python -m examples.study.run_covariates examples/study/configs/forecasting/covariates_simulated.yaml
    python -m examples.study.run_covariates examples/study/configs/forecasting/covariates_demand.yaml --table t.csv

Prints errors on the test part (the last fifth, in units of the target's spread in the training part), mean over seeds,
and each one's share of the error of the first case. Preset and schedule are those of `timesclip train`; nothing is
chosen on the test part.
"""

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.ensemble import HistGradientBoostingRegressor

from timesclip_hf.data.covariates import CovariateRoles, load_covariate_table
from timesclip_hf.data.long import SeriesCollection
from timesclip_hf.data.splits import WindowSplits, split_windows
from timesclip_hf.metrics import forecast_metrics
from timesclip_hf.training.fit_series import Recipe, SeriesData, fit_series
from timesclip_hf.training.forecast_peers import measure_naive
from timesclip_hf.training.ways import choose_way, patches

_EFFECTS = {
    "straight": lambda temperature: -0.6 * temperature,
    "u": lambda temperature: 0.05 * (temperature - 14) ** 2,
}


def simulate(effect: str, steps: int, seed: int) -> pd.DataFrame:
    """Hours of a load that a temperature drives, with a day, a week and some noise; and rain, which does nothing."""
    rng = np.random.default_rng(seed)
    hours, weather = np.arange(steps), np.zeros(steps)
    for hour in range(1, steps):
        weather[hour] = 0.97 * weather[hour - 1] + 0.8 * rng.normal()
    temperature = 12 + 8 * np.sin(2 * np.pi * hours / 1440) + 4 * np.sin(2 * np.pi * (hours - 8) / 24) + 2 * weather
    day = 3 * np.sin(2 * np.pi * (hours - 6) / 24) + 1.5 * np.sin(4 * np.pi * hours / 24) - 2 * (hours // 24 % 7 > 4)
    load = 100 + day + _EFFECTS[effect](temperature) + 0.5 * rng.normal(size=steps)
    rain = np.convolve(rng.normal(size=steps + 9), np.ones(10) / 10, "valid")
    times = pd.date_range("2024-01-01", periods=steps, freq="h")
    return pd.DataFrame({"time": times, "load": load, "temperature": temperature, "rain": rain})


def simulate_sites(steps: int, seed: int) -> pd.DataFrame:
    """Eight such loads of which every other rises with the temperature, and the others fall."""
    parts = []
    for site in range(8):
        table = simulate("straight", steps, seed + site)
        if site % 2:
            table["load"] += 1.2 * table["temperature"]
        parts.append(table.assign(site=f"site {site}"))
    return pd.concat(parts, ignore_index=True)


def cut(settings: dict[str, Any], table: Any, roles: dict[str, Any]) -> tuple[SeriesCollection, WindowSplits]:
    """The series of a table with these covariates, and its windows."""
    target = CovariateRoles([settings["target"]], **roles)
    series = load_covariate_table(table, target, timestamp_column="time", series_column=settings.get("series"))
    lengths = {"context_length": settings["context_length"], "prediction_length": settings["prediction_length"]}
    return series, split_windows(
        series, **lengths, stride=settings["stride"], evaluation_stride=settings["prediction_length"]
    )


def measure(settings: dict[str, Any], table: Any, roles: dict[str, Any], seed: int) -> dict[str, Any]:
    """Errors on the test part of one model."""
    series, splits = cut(settings, table, roles)
    horizon, context = settings["prediction_length"], settings["context_length"]
    shape = {
        "num_variates": len(series.variate_names), "context_length": context, "prediction_length": horizon,
        "num_target_variates": series.num_targets,
    }  # fmt: skip
    processing: dict[str, Any] = {"variate_names": series.variate_names, "scaling": "instance"}
    if series.future is not None:
        processing |= {"prediction_length": horizon, "calendar": roles.get("calendar")}
        shape |= {"covariate_memory": True, "covariate_response": settings["response"]}
    data = SeriesData(
        "forecasting", shape | patches(context), processing, splits.train.series, splits.train, splits.validation,
        fit_with=splits.train.collection.to_fit,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(epochs=settings["epochs"], seed=seed)
        fitted = fit_series(data, choose_way(len(splits.train), "forecasting"), recipe, Path(folder) / "run")
    windows = getattr(splits, settings["part"])
    return errors(splits, windows, fitted.answers(windows).astype(np.float64))


def boosting(settings: dict[str, Any], table: Any, roles: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same of gradient boosting of absolute errors, on what forecasters of loads give it; see `lagged`."""
    splits = cut(settings, table, roles)[1]
    windows = getattr(splits, settings["part"])
    inputs = [np.concatenate([lagged(part[n]) for n in range(len(part))]) for part in (splits.train, windows)]
    labels = np.concatenate([splits.train[n]["labels"][:, 0] for n in range(len(splits.train))])
    model = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=400, learning_rate=0.05, min_samples_leaf=40, early_stopping=False,
        random_state=seed,
    )  # fmt: skip
    said = model.fit(inputs[0], labels).predict(inputs[1])
    return errors(splits, windows, said.reshape(len(windows), -1, 1))


def lagged(window: dict[str, Any]) -> np.ndarray:
    """A row for each step of the horizon: its number, what was whole horizons before, the last value and the mean of
    the last horizon; covariates of the step and of some around it, whole horizons before, and means up to it."""
    past, known, horizon = window["past_values"][:, 0], window.get("future_values"), len(window["labels"])
    steps, before = len(past) + np.arange(horizon), range(horizon, len(past) + 1, horizon)
    columns = [np.arange(horizon), np.full(horizon, past[-1]), np.full(horizon, past[-horizon:].mean())]
    columns += [past[steps - lag] for lag in before]
    if known is not None:
        columns += [known[np.minimum(steps + k, len(known) - 1)].T for k in (-24, -8, -3, -1, 0, 1, 2)]
        columns += [known[steps - lag].T for lag in before]
        sums = np.cumsum(known, axis=0)
        columns += [((sums[steps] - sums[steps - k]) / k).T for k in (horizon, 3 * horizon)]
    return np.vstack(columns).T


def errors(splits: WindowSplits, windows: Any, forecasts: np.ndarray) -> dict[str, Any]:
    """MAE and MSE of windows in units of the target's spread."""
    labels = np.stack([windows[row]["labels"] for row in range(len(windows))])
    return forecast_metrics(
        forecasts, labels, np.stack([splits.std[windows.series_index(n)][:1] for n in range(len(windows))])
    )


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML: what to forecast from what")
    parser.add_argument("--table", help="CSV with a column time, where the configuration simulates none")
    parser.add_argument("--cases", nargs="+", help="of the configuration's; else all")
    parser.add_argument("--seeds", type=int, nargs="+", help="else those of the configuration")
    parser.add_argument("--part", choices=["validation", "test"], default="test", help="whose errors are printed")
    parser.add_argument("--response", choices=["own", "common"], default="own", help="of series that react")
    parser.add_argument("--model", choices=["timesclip", "boosting"], default="timesclip", help="what is measured")
    options = parser.parse_args()
    ask = boosting if options.model == "boosting" else measure
    settings = {**yaml.safe_load(Path(options.config).read_text(encoding="utf-8"))}
    settings |= {"part": options.part, "response": options.response}
    warnings.simplefilter("ignore")
    for effect in settings.get("effects", [None]):
        if effect is None:
            table = pd.read_csv(options.table)
        else:
            steps = settings["steps"]
            table = simulate_sites(steps, 0) if effect == "unlike" else simulate(effect, steps, 0)
        print(f"\n{effect or settings['target']}\n\n| covariates | MAE | MSE | MAE, share |\n|---|---|---|---|")
        base = None
        for case in options.cases or settings["cases"]:
            roles = settings["cases"][case] or {}
            runs = [ask(settings, table, roles, seed) for seed in options.seeds or settings["seeds"]]
            mae, mse = (np.mean([run[name] for run in runs]) for name in ("mae", "mse"))
            base = base or mae
            print(f"| {case} | {mae:.3f} | {mse:.3f} | {mae / base:.2f} |", flush=True)
        splits = cut(settings, table, {})[1]
        for name, forecasts in measure_naive(splits, settings["season"]).items() if options.part == "test" else ():
            print("| {} | {mae:.3f} | {mse:.3f} | |".format(name, **errors(splits, splits.test, forecasts)))


if __name__ == "__main__":
    main()
