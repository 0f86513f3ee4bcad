# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecasts as distributions: weighted quantile loss and CRPS beside peers with the same calibration.

    python -m examples.study.forecast_intervals examples/study/configs/forecasting/intervals_illness.yaml \\
        --table national_illness.csv

Flags and settings are those of `run_forecasting`; models are compared at the levels 0.1, 0.2, ..., 0.9. Point
forecasts, of peers and of ours, become distributions by the quantiles of their errors in the validation windows, for
each step and variate; variants with `loss: quantile` also stand with their own. Figures: weighted quantile loss, the
mean over variates, in their own units; CRPS in units of each variate's spread in the training part; and the share of
truths between the levels 0.1 and 0.9. Each finished run is a line of `<output_dir>/results.jsonl`; a run that is
started again does what is missing.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from timesclip_hf import WindowSplits
from timesclip_hf.metrics import coverage, crps, weighted_quantile_loss
from timesclip_hf.model.intervals import quantiles_at
from timesclip_hf.training.calibration import read_answers
from timesclip_hf.training.window_peers import PeerSettings, peers_for

from .run_forecasting import ForecastArguments, ForecastTraining, load, split
from .settings import USER_ERRORS, named_variants, parse
from .training import train_forecast

LEVELS = np.round(np.arange(1, 10) / 10, 1)


class _Windows(list):  # type: ignore[type-arg]
    """Windows of two parts as one."""

    prediction_length = 0


def by_errors(known: NDArray[Any], labels: NDArray[Any], new: NDArray[Any]) -> NDArray[np.float64]:
    """Point forecasts `(n, H, V)` as quantiles `(n, H, V, Q)`, by errors that were seen before."""
    errors = np.nanquantile(labels - known, LEVELS, axis=0)  # (Q, H, V)
    return new[..., None] + np.moveaxis(errors, 0, -1)


def figures(quantiles: NDArray[Any], labels: NDArray[Any], std: NDArray[Any]) -> dict[str, float]:
    """What stands in a row of the table; `std` `(V,)`."""
    each = [weighted_quantile_loss(quantiles[..., v, :], labels[..., v], LEVELS) for v in range(len(std))]
    scaled = quantiles / std[:, None], labels / std
    return {
        "WQL": float(np.mean(each)),
        "CRPS": crps(*scaled, LEVELS),
        "in 80 %": coverage(quantiles[..., 0], quantiles[..., -1], labels),
    }


def peer_rows(
    splits: WindowSplits, arguments: ForecastArguments, std: NDArray[Any], done: set[Any]
) -> Iterator[dict[str, Any]]:
    """Repeating the last value, and what else is asked for, by their errors in validation."""
    first, second = splits.validation, splits.test
    both = [part[k] for part in (first, second) for k in range(len(part))]
    mean, spread, cut = splits.mean[0], splits.std[0], len(first)
    joined: Any = _Windows([{name: (np.asarray(row[name]) - mean) / spread for name in row} for row in both])
    joined.prediction_length = arguments.prediction_length
    learning = dataclasses.replace(splits.standardised(), test=joined)
    labels = np.stack([row["labels"] for row in both])
    settings = PeerSettings(arguments.seasonality, arguments.peer_epochs, arguments.peer_patience, arguments.peer_loss)
    for name, peer in peers_for(arguments.context_length, settings).items():
        for seed in (arguments.seeds if name == "PatchTST" else [0]) if name in arguments.peers else []:
            if (name, seed) not in done:
                said = peer(learning, seed, settings).predictions * spread + mean
                quantiles = by_errors(said[:cut], labels[:cut], said[cut:])
                yield {"model": name, "seed": seed, **figures(quantiles, labels[cut:], std)}


def our_rows(
    splits: WindowSplits, arguments: ForecastArguments, training: ForecastTraining, std: NDArray[Any], done: set[Any]
) -> Iterator[dict[str, Any]]:
    """Our variants, by their errors in validation, and where they have some by their own quantiles."""
    for name, variant in named_variants(arguments).items():
        for seed in arguments.seeds:
            if (name, seed) in done:
                continue
            found = train_forecast(variant, splits, training, seed, Path(training.output_dir) / f"{name}-{seed}")
            trainer, parts = found.trainer, {}
            for part in ("validation", "test"):
                batches = map(trainer._prepare_inputs, trainer.get_test_dataloader(getattr(splits, part)))
                parts[part] = read_answers(trainer.model, batches)
            (known, seen), (new, labels) = parts["validation"], parts["test"]
            said = by_errors(known["predictions"], seen, new["predictions"])
            yield {"model": name, "seed": seed, **figures(said, labels, std)}
            if "quantiles" in new:
                own = quantiles_at(new["quantiles"], trainer.model.config.answer_levels, LEVELS.tolist())
                yield {"model": f"{name}, own quantiles", "seed": seed, **figures(own, labels, std)}


def main(argv: list[str] | None = None) -> None:
    arguments, training = parse(sys.argv[1:] if argv is None else argv, (ForecastArguments, ForecastTraining),
                                __doc__ or "")  # fmt: skip
    splits = split(load(arguments), arguments)
    if len(splits.test.series_names) != 1:
        raise ValueError("the table must hold one series (of any number of variates)")
    std = splits.std[0]
    path = Path(training.output_dir) / "results.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["model"], row["seed"]) for row in rows}
    for ways in (peer_rows(splits, arguments, std, done), our_rows(splits, arguments, training, std, done)):
        for row in ways:
            rows.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
    frame = pd.DataFrame(rows).drop(columns="seed").groupby("model", sort=False)
    mean, spread, count = frame.mean(), frame.std(ddof=1), frame.size()
    print("| | seeds | " + " | ".join(mean.columns) + " |\n|---|---" + "|---" * len(mean.columns) + "|")
    for name in mean.index:
        ranges = ["" if np.isnan(value) else f" ± {value:.3f}" for value in spread.loc[name]]
        cells = [f"{value:.3f}{shown}" for value, shown in zip(mean.loc[name], ranges, strict=True)]
        print(f"| {name} | {count[name]} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    try:
        main()
    except USER_ERRORS as error:
        sys.exit(f"error: {error}")
