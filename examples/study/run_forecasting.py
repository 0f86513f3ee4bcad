# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Train a TimesCLIP forecaster on any table of series, and print it beside its peers, all on one split.

    python -m examples.study.run_forecasting examples/study/configs/forecasting/illness_24.yaml \\
        --table national_illness.csv
    python -m examples.study.run_forecasting --table my_sensors.csv --timestamp_column time --context_length 96 \\
        --prediction_length 24 --seasonality 24 --output_dir runs/mine

The first argument may be a YAML or JSON file with any of the flags; flags after it win. MSE and MAE are taken on
values standardised by the training part, over every window of the test part that has data, every step and every
variate, the last short batch too. Written to the output folder: `table.md`, every result in `metrics.json`, pictures
of forecasts, and a folder for each model with what `from_pretrained` needs; `timesclip predict` forecasts with it.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from timesclip_hf import (
    PRESETS,
    SeriesCollection,
    TimesCLIPTrainingArguments,
    WindowSplits,
    load_long_table,
    load_series_rows,
    split_windows,
)
from timesclip_hf.environment import environment
from timesclip_hf.escaping import markdown
from timesclip_hf.hub.facts import collect_facts
from timesclip_hf.metrics import forecast_metrics, m4_metrics
from timesclip_hf.plots import plot_forecasts
from timesclip_hf.training.window_peers import ON_REQUEST, PEERS, PeerSettings, peers_for

from .settings import USER_ERRORS, check_names, command_line, named_variants, parse
from .training import Trained, train_forecast


@dataclass
class ForecastTraining(TimesCLIPTrainingArguments):
    """Training arguments whose defaults suit towers that start from random weights."""

    learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of all but the towers."})
    num_train_epochs: float = field(
        default=0.0, metadata={"help": "At most so many epochs; 0: 10, for few windows up to 40 (about 1000 updates)."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many without progress; default: a quarter of all, at least 4."}
    )
    eval_on_start: bool = field(default=True, metadata={"help": "The start takes part in the choice of the epoch."})
    average_epochs: float | None = field(default=2.0, metadata={"help": "Average the weights over about so many."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Windows in a training step."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Windows in an evaluation step."})


@dataclass
class ForecastArguments:
    """What to forecast in which table, and what to compare."""

    table: str = field(default="", metadata={"help": "CSV, TXT (either also .gz) or Parquet."})
    test_table: str | None = field(default=None, metadata={"help": "Steps that follow on the table's (M4)."})
    layout: str = field(default="long", metadata={"help": "long: a row a time step; rows: a row a series (M4)."})
    header: bool = field(default=True, metadata={"help": "Whether a text file begins with column names."})
    timestamp_column: str | None = field(default=None, metadata={"help": "Checked for holes and duplicates."})
    series_column: str | None = field(default=None, metadata={"help": "Column that names a row's series."})
    variates: list[str] | None = field(default=None, metadata={"help": "Columns to forecast; default: all numbers."})
    drop_short: bool = field(default=False, metadata={"help": "Leave out series too short for a window."})
    fill_gaps: bool = field(default=False, metadata={"help": "Insert missing time steps as missing values."})
    train: float | None = field(default=0.7, metadata={"help": "Share of the steps, or a count; -1: all the rest."})
    validation: float = field(default=0.1, metadata={"help": "Share of the steps, or a count."})
    test: float = field(default=0.2, metadata={"help": "Share of the steps, or a count."})
    context_length: int = field(default=96, metadata={"help": "Steps that a model sees."})
    prediction_length: int = field(default=96, metadata={"help": "Steps that it forecasts."})
    stride: int = field(default=1, metadata={"help": "Steps between the starts of training windows."})
    standardise: bool = field(
        default=False, metadata={"help": "Train on series standardised one by one: for many of different levels."}
    )
    seasonality: int = field(default=1, metadata={"help": "Steps in a season: 24 for hours of a day; 1: none."})
    measures: str = field(default="standard", metadata={"help": "standard, or m4: also sMAPE, MASE and OWA."})
    score: str = field(
        default="test", metadata={"help": "test, or validation: choose settings without a look at the test part."}
    )
    published_batch: int | None = field(
        default=None, metadata={"help": "Also print the MSE without the last short batch of this size."}
    )
    train_fractions: list[float] = field(
        default_factory=lambda: [1.0], metadata={"help": "Few-shot: also train on the first 0.05 of the steps, ..."}
    )
    presets: list[str] = field(
        default_factory=lambda: ["forecast"], metadata={"help": f"Some of {', '.join(PRESETS)}."}
    )
    variants: dict[str, dict[str, Any]] | None = field(
        default=None, metadata={"help": "YAML only: name -> preset, processor, config and training fields."}
    )
    towers: str = field(default="tiny", metadata={"help": "Towers that start from random weights; see TOWERS."})
    vision_checkpoint: str | None = field(default=None, metadata={"help": "Hub id or folder."})
    text_checkpoint: str | None = field(default=None, metadata={"help": "The same for the text tower."})
    patch_length: int | None = field(default=None, metadata={"help": "Default: 16, or a sixth of a short context."})
    patch_stride: int | None = field(default=None, metadata={"help": "Default: half of the patch length."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "One run each."})
    peers: list[str] = field(
        default_factory=lambda: list(PEERS), metadata={"help": f"Some of {', '.join([*PEERS, *ON_REQUEST])}."}
    )
    peer_epochs: int = field(default=60, metadata={"help": "At most so many epochs for a peer."})
    peer_loss: str = field(default="mse", metadata={"help": "mse or mae: what the learnt peers minimise."})
    peer_patience: int = field(default=12, metadata={"help": "Epochs without improvement after which a peer stops."})
    plot_windows: list[int] = field(
        default_factory=lambda: [0, -1], metadata={"help": "Test windows to draw; negative: from the end."}
    )

    def __post_init__(self) -> None:
        if self.patch_length is None:
            self.patch_length = 16 if self.context_length >= 64 else max(1, self.context_length // 6)
        if self.patch_stride is None:
            self.patch_stride = max(1, self.patch_length // 2)


def load(arguments: ForecastArguments) -> SeriesCollection:
    """The table as one or many series."""
    if arguments.layout == "rows":
        series = load_series_rows(arguments.table)
        return series if arguments.test_table is None else series.extended(load_series_rows(arguments.test_table))
    if arguments.layout != "long":
        raise ValueError(f"--layout must be long or rows, found {arguments.layout!r}.")
    options: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("timestamp_column", "series_column", "variates", "header", "fill_gaps")
    }
    series = load_long_table(arguments.table, **options)
    return (
        series if arguments.test_table is None else series.extended(load_long_table(arguments.test_table, **options))
    )


def split(series: SeriesCollection, arguments: ForecastArguments) -> WindowSplits:
    """Training, validation and test windows; whole numbers from 1 on are counts of steps, below 1 they are shares.

    With `--score validation` the validation windows stand in for the test part, which nothing then reads.
    """
    if arguments.score not in ("test", "validation"):
        raise ValueError(f"--score must be test or validation, found {arguments.score!r}.")
    shares = {"train": arguments.train, "validation": arguments.validation, "test": arguments.test}
    if odd := {name: share for name, share in shares.items() if share is not None and share > 1 and share % 1}:
        raise ValueError(f"{odd}: shares are below 1, counts of steps are whole numbers.")
    borders = {
        name: None if share is None or share < 0 else int(share) if share >= 1 else float(share)
        for name, share in shares.items()
    }
    splits = split_windows(
        series,
        context_length=arguments.context_length,
        prediction_length=arguments.prediction_length,
        stride=arguments.stride,
        evaluation_stride=1,
        drop_short=arguments.drop_short,
        **borders,
    )
    return splits if arguments.score == "test" else dataclasses.replace(splits, test=splits.validation)


class Scorer:
    """Errors of forecasts for all test windows."""

    def __init__(self, series: SeriesCollection, splits: WindowSplits, arguments: ForecastArguments):
        windows = splits.test
        owners = [windows.series_index(i) for i in range(len(windows))]
        self.arguments = arguments
        self.mean = np.stack([splits.mean[k] for k in owners])[:, None]  # (n, 1, V)
        self.std = np.stack([splits.std[k] for k in owners])[:, None]
        self.labels = np.stack([windows[i]["labels"] for i in range(len(windows))])  # (n, H, V)
        self.insamples: list[np.ndarray] = []
        if arguments.measures == "m4":
            self.insamples = [before_forecast(series, splits, k) for k in owners]
        elif arguments.measures != "standard":
            raise ValueError(f"--measures must be standard or m4, found {arguments.measures!r}.")

    def original(self, standardised: np.ndarray) -> np.ndarray:
        """Forecasts in standardised units, in original ones."""
        return standardised * self.std + self.mean

    def __call__(self, predictions: np.ndarray) -> dict[str, Any]:
        """Of forecasts in original units: MSE and MAE on standardised values, each variate's MAE in its unit, more.

        "More" is what `--published_batch` and `--measures m4` ask for.
        """
        figures: dict[str, Any] = forecast_metrics(predictions, self.labels, scale=self.std[:, 0])
        if (batch := self.arguments.published_batch) is not None:
            kept = len(self.labels) - len(self.labels) % batch or len(self.labels)
            figures["mse_full_batches"] = forecast_metrics(
                predictions[:kept], self.labels[:kept], scale=self.std[:kept, 0]
            )["mse"]
        figures["mae_by_variate"] = np.nanmean(np.abs(predictions - self.labels), axis=(0, 1)).tolist()
        if self.insamples:
            figures |= m4_metrics(predictions[..., 0], self.labels[..., 0], self.insamples, self.arguments.seasonality)
        return figures


def before_forecast(series: SeriesCollection, splits: WindowSplits, number: int) -> np.ndarray:
    """What the M4 competition gave of a univariate series: all steps before those of its one test window."""
    if len(series.variate_names) != 1 or len(splits.test) != len(splits.test.series):
        raise ValueError(
            "--measures m4 is for univariate series with one test window each; found "
            f"{len(series.variate_names)} variates and {len(splits.test)} windows of {len(splits.test.series)} series."
        )
    border = len(splits.train.series[number])
    if splits.test is not splits.validation:  # behind the validation part, which begins one context before its border
        border += len(splits.validation.series[number]) - splits.validation.context_length
    return series.values[series.series_names.index(splits.test.series_names[number])][:border, 0]


def run_block(
    splits: WindowSplits,
    scorer: Scorer,
    arguments: ForecastArguments,
    training: TimesCLIPTrainingArguments,
    folder: Path,
) -> tuple[list[dict[str, Any]], dict[str, dict[int, np.ndarray]]]:
    """All variants and peers on one split: one result a model and seed, and the first seed's forecasts to draw."""
    results: list[dict[str, Any]] = []
    forecasts: dict[str, dict[int, np.ndarray]] = {}
    drawn = windows_to_draw(splits, arguments)
    settings = PeerSettings(
        seasonality=arguments.seasonality,
        epochs=arguments.peer_epochs,
        patience=arguments.peer_patience,
        loss=arguments.peer_loss,
        device=str(training.device),
    )
    fitting = peers_for(arguments.context_length, settings) | ON_REQUEST
    peers = {name: peer for name, peer in fitting.items() if name in arguments.peers}
    if "seasonal naive" in arguments.peers and "seasonal naive" not in peers:
        print(f"No seasonal naive: a season of {arguments.seasonality} is none, or longer than the context.")

    def record(model: str, seed: int, predictions: np.ndarray, seconds: float, **more: Any) -> None:
        figures = scorer(predictions)
        results.append({"model": model, "seed": seed, **figures, "seconds": round(seconds, 1), **more})
        # Only what is drawn: all forecasts of all models would not fit into memory for wide tables.
        forecasts.setdefault(model, {number: predictions[number] for number in drawn})
        line = f"{model}, seed {seed}: MSE {figures['mse']:.4f}, MAE {figures['mae']:.4f}, {seconds:.0f} s"
        print(line, flush=True)

    for name, variant in named_variants(arguments).items():
        for seed in arguments.seeds:
            place = folder / name.replace(" ", "_") / f"seed{seed}"
            run = train_forecast(variant, splits, training, seed, place, arguments.standardise)
            record(f"TimesCLIP {name}", seed, run.predictions, run.seconds, settings=run.hyperparameters)
            write_card(name, run, results[-1], splits, arguments)
    standardised = splits.standardised()
    for name, forecast in peers.items():
        for seed in arguments.seeds:
            peer = forecast(standardised, seed, settings)
            record(name, seed, scorer.original(peer.predictions), peer.seconds, epochs=peer.epochs)
            if peer.epochs == 0:  # nothing was learnt: every seed gives the same
                break
    return results, forecasts


def write_card(
    name: str, run: Trained, figures: dict[str, Any], splits: WindowSplits, arguments: ForecastArguments
) -> None:
    """README.md beside the checkpoint: what only this script knows joins what the trainer knows."""
    metrics = ("mse", "mae", "smape", "mase", "owa")
    measured: dict[str, dict[str, float]] = {
        arguments.score: {metric: figures[metric] for metric in metrics if metric in figures}
    }
    if arguments.standardise and "validation" not in measured:  # taken on standardised values: no percentages
        known = collect_facts(run.trainer).measured.get("validation", {})
        measured["validation"] = {metric: value for metric, value in known.items() if metric != "smape"}
    run.trainer.create_model_card(
        run.folder,
        model_name=f"timesclip-{name.replace(' ', '-')}",
        dataset=Path(arguments.table).stem,
        split=f"by time, the last windows are the {arguments.score} part.",
        sizes={part: len(getattr(splits, part)) for part in ("train", "validation", arguments.score)},
        measured=measured,
        measured_in="units of each variate's spread in the training part (percentages, MASE and OWA aside)",
        hyperparameters={"preset": run.hyperparameters["preset"]},
        command=command_line("run_forecasting", sys.argv[1:]),
    )


COLUMNS = {
    "mse": "MSE",
    "mae": "MAE",
    "mse_full_batches": "MSE, last short batch dropped",
    "smape": "sMAPE",
    "mase": "MASE",
    "owa": "OWA",
    "seconds": "seconds",
}


def summarise(results: list[dict[str, Any]], arguments: ForecastArguments) -> str:
    """Markdown: mean and spread over seeds."""
    table = pd.DataFrame(results)
    shown = [name for name in COLUMNS if name in table and (name != "smape" or arguments.measures == "m4")]
    lines = ["| model | seeds | " + " | ".join(COLUMNS[name] for name in shown) + " |"]
    lines.append("|---|---|" + "---|" * len(shown))
    for model, rows in table.groupby("model", sort=False):
        cells = [markdown(model), str(len(rows))]
        for name in shown:
            digits = {"seconds": 0, "smape": 2}.get(name, 3)
            spread = f" ± {rows[name].std(ddof=1):.{digits}f}" if len(rows) > 1 and name != "seconds" else ""
            cells.append(f"{rows[name].mean():.{digits}f}{spread}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def windows_to_draw(splits: WindowSplits, arguments: ForecastArguments) -> list[int]:
    """The numbers of the chosen test windows, counted from the start."""
    count = len(splits.test)
    if wrong := [window for window in arguments.plot_windows if not -count <= window < count]:
        raise ValueError(f"--plot_windows {wrong}: there are {count} windows.")
    return [window % count for window in arguments.plot_windows]


def draw(
    splits: WindowSplits,
    scorer: Scorer,
    forecasts: dict[str, dict[int, np.ndarray]],
    arguments: ForecastArguments,
    out: Path,
) -> None:
    """The chosen test windows: context, truth, and what TimesCLIP and one peer made of it."""
    windows = splits.test
    models = [name for name in forecasts if name.startswith("TimesCLIP")]
    models += [name for name in ("PatchTST", "repeat last") if name in forecasts][:1]
    for number in windows_to_draw(splits, arguments):
        series = f"{windows.series_names[windows.series_index(number)]}, " if len(windows.series) > 1 else ""
        plot_forecasts(
            windows[number]["past_values"],
            scorer.labels[number],
            {name: forecasts[name][number] for name in models},
            windows.variate_names,
            timestamps=windows.timestamps(number),
            title=f"{series}{arguments.score} window {number}",
        ).savefig(out / f"forecast_{number}.png", dpi=110)


def main(argv: list[str]) -> None:
    arguments, training = parse_arguments(argv)
    series = load(arguments)
    splits = split(series, arguments)
    scorer = Scorer(series, splits, arguments)
    out = Path(training.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    counts = [f"{len(getattr(splits, part))} {part}" for part in ("train", "validation", "test")]
    print(f"{arguments.table}: {series}; windows " + ", ".join(counts))
    results, tables = [], []
    for fraction in arguments.train_fractions:
        few = dataclasses.replace(splits, train=splits.train.head(fraction)) if fraction < 1 else splits
        folder = out / f"train_{fraction:g}" if fraction < 1 else out
        block, forecasts = run_block(few, scorer, arguments, training, folder)
        results += [{"train_fraction": fraction, **row} for row in block]
        title = f"{arguments.context_length} -> {arguments.prediction_length}, {len(few.train)} training windows"
        title += f" (the first {fraction:.0%} of the training steps)" if fraction < 1 else ""
        tables.append(f"### {title}, {len(splits.test)} {arguments.score} windows\n\n{summarise(block, arguments)}")
        report = "\n\n".join(tables)
        (out / "table.md").write_text(report + "\n")
        record = {"command": sys.argv, "arguments": dataclasses.asdict(arguments), "environment": environment()}
        (out / "metrics.json").write_text(json.dumps({**record, "results": results}, default=str))
        folder.mkdir(parents=True, exist_ok=True)
        draw(splits, scorer, forecasts, arguments, folder)
    print(f"\n{report}\n\nWritten to {out}: table.md, metrics.json, pictures and one folder for each model.")


def parse_arguments(argv: list[str]) -> tuple[ForecastArguments, TimesCLIPTrainingArguments]:
    """Flags, or a YAML or JSON file followed by flags that win over it."""
    arguments, training = parse(argv, (ForecastArguments, ForecastTraining), __doc__.splitlines()[0])
    if not arguments.table:
        raise ValueError("Which table? Give --table, or a settings file that names one.")
    check_names(arguments.peers, [*PEERS, *ON_REQUEST], "peers")
    if wrong := [fraction for fraction in arguments.train_fractions if not 0 < fraction <= 1]:
        raise ValueError(f"--train_fractions {wrong}: fractions are above 0 and at most 1; 5 % is 0.05.")
    return arguments, training


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except USER_ERRORS as error:
        raise SystemExit(f"run_forecasting: {error}") from None
