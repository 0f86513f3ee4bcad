# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The test part of a forecasting configuration again, through `TimesCLIPForecaster.cross_validation`.

    python -m examples.study.run_backtest examples/study/configs/forecasting/illness_24.yaml \\
        --table national_illness.csv --seeds 0 --quantile_levels 0.05 0.25 0.5 0.75 0.95

Settings and flags are those of `run_forecasting`. Every window of the test part is an origin, the model is trained
once before the first of them on the same windows, and chooses its epoch on the same ones: where one series is long,
figures are those of `run_forecasting`. Collections differ: errors of training are in units of each context, and in an
epoch 20 000 windows are drawn.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from timesclip_hf import TimesCLIPForecaster

from . import run_forecasting as forecasting
from .settings import USER_ERRORS, named_variants, parse


@dataclass
class BacktestArguments(forecasting.ForecastArguments):
    """Those of `run_forecasting`, and quantiles."""

    quantile_levels: list[float] = field(default_factory=list, metadata={"help": "Learn quantiles in place of means."})
    peers: list[str] = field(default_factory=list, metadata={"help": "DLinear, RLinear, PatchTST, AutoETS."})


def long_frame(arguments: Any) -> tuple[pd.DataFrame, list[int]]:
    """The table as a row for each series and time, and the lengths of its series."""
    series = forecasting.load(arguments)
    parts = []
    for number, (name, values) in enumerate(zip(series.series_names, series.values, strict=True)):
        times: Any = np.arange(len(values)) if series.timestamps is None else series.timestamps[number]
        columns = {variate: values[:, k] for k, variate in enumerate(series.variate_names)}
        parts.append(pd.DataFrame({"unique_id": name, "ds": times, **columns})[: steps_used(arguments, len(values))])
    return pd.concat(parts, ignore_index=True), [len(part) for part in parts]


def steps_used(arguments: Any, length: int) -> int:
    """Steps up to the end of the test part: where parts are counted in steps, what lies behind them is not read."""
    if arguments.train is None or arguments.train < 1:
        return length
    return min(length, int(arguments.train + arguments.validation + arguments.test))


def steps_of(arguments: Any, length: int) -> tuple[int, int]:
    """Steps of the validation and of the test part, as `split_windows` counts them."""
    if arguments.test >= 1:
        return int(arguments.validation), int(arguments.test)
    test = int(length * arguments.test)
    return length - int(length * arguments.train) - test, test


def main(argv: list[str]) -> None:
    arguments, training = parse(argv, (BacktestArguments, forecasting.ForecastTraining), __doc__.splitlines()[0])
    frame, lengths = long_frame(arguments)
    validation, test = steps_of(arguments, max(lengths))
    targets = [name for name in frame.columns if name not in ("unique_id", "ds")]
    names = ("learning_rate", "num_train_epochs", "early_stopping_patience", "average_epochs", "eval_on_start",
             "per_device_train_batch_size", "per_device_eval_batch_size", "weight_decay")  # fmt: skip
    settings = {name: getattr(training, name) for name in names} | {"epoch_decay": None}
    shape = {"horizon": arguments.prediction_length, "context_length": arguments.context_length}
    tables = []
    for name, variant in named_variants(arguments).items():
        for seed in arguments.seeds:
            forecaster = TimesCLIPForecaster(
                preset=variant.preset, towers=variant.towers, validation=validation, config=variant.config,
                training={**settings, **variant.training},
            )  # fmt: skip
            backtest = forecaster.cross_validation(
                frame, target=targets, windows=test - arguments.prediction_length + 1, step=1, seed=seed,
                peers=arguments.peers if seed == arguments.seeds[0] else (),
                **({"quantile_levels": arguments.quantile_levels} if arguments.quantile_levels else {}), **shape,
            )  # fmt: skip
            table = backtest.table().rename(index={"TimesCLIP": f"TimesCLIP {name}"})
            tables.append(table.assign(seed=seed))
            print(table.round(4).to_string(), flush=True)
    out = Path(training.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_csv(out / "backtest.csv")
    backtest.plot().savefig(out / "backtest.png", dpi=110)
    means = pd.concat(tables).groupby(level=0, sort=False).mean().drop(columns="seed")
    header = "| model | " + " | ".join(means.columns) + " |\n|---|" + "---|" * len(means.columns)
    rows = [
        "| " + " | ".join([str(name), *(f"{value:.3f}" for value in row)]) + " |"
        for name, row in zip(means.index, means.to_numpy(), strict=True)
    ]
    print("\n".join(["", header, *rows]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except USER_ERRORS as error:
        raise SystemExit(f"run_backtest: {error}") from None
