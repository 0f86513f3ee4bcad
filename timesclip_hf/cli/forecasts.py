# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecasters of frames in `timesclip train` and `timesclip predict`: quantiles, horizons, columns that are known."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def train(
    options: argparse.Namespace, recipe: dict[str, Any], output: Path, command: str, tell: Callable[[str], None]
) -> str:
    """Trains, reports, writes; what somebody reads in the end."""
    from ..inference.forecast_job import train_forecaster
    from ..inference.forecaster import TimesCLIPForecaster

    if recipe["checkpoints"] or recipe["ensemble"] is not None or options.season is not None:
        raise ValueError("--vision-checkpoint, --text-checkpoint, --ensemble and --season do not go with --quantiles")
    forecaster = TimesCLIPForecaster(
        preset=options.preset, towers=options.towers, epochs=options.epochs, validation=0.125, frame="wide",
        training=recipe["training"], similar=not options.no_similar,
    )  # fmt: skip
    fit: dict[str, Any] = {
        "timestamp_column": options.timestamp, "id_column": options.series, "horizon": options.horizon,
        "target": options.variates or options.target, "future_covariates": options.future_covariates,
        "past_covariates": options.past_covariates, "static": options.static, "calendar": options.calendar,
        "context_length": options.context, "seed": options.seed, "quantile_levels": options.quantiles,
    }  # fmt: skip
    return train_forecaster(options.table, forecaster, fit, not options.no_peers, output, command, tell)


def note_columns(options: argparse.Namespace, output: Path) -> None:
    """Notes in a folder how its forecaster reads tables, so that nobody need say it again."""
    from ..inference.forecaster import note_forecaster

    note_forecaster(output, options.timestamp, options.series, options.season or 1, options.seed)


def predict(options: argparse.Namespace, read: Callable[[], Any]) -> Any:
    """Forecasts by a folder's own forecaster, of the table that `read` gives; `None`: the pipeline answers as well.

    Where it does, columns that nobody named are those that the forecaster learnt from.
    """
    file = Path(options.model) / "forecaster.json"
    if not file.is_file():
        if options.horizon is not None:
            raise ValueError(f"--horizon is for forecasters: {options.model} has no {file.name}")
        return None
    settings = json.loads(file.read_text(encoding="utf-8"))
    if options.horizon is None and not settings["quantile_levels"]:
        options.timestamp_column = options.timestamp_column or settings["roles"]["timestamp"]
        options.series_column = options.series_column or settings["roles"]["id"]
        return None
    if options.interval is not None:
        raise ValueError("--interval goes with neither --horizon nor a forecaster of quantiles, which says its own")
    for role, option in {"timestamp": "timestamp_column", "id": "series_column"}.items():
        named, known = getattr(options, option), settings["roles"][role]
        if named not in (None, known):
            flag = f"--{option.replace('_', '-')}"
            raise ValueError(
                f"{flag} {named}: this forecaster learnt from a table in which it is {known!r}: rename it"
            )
    from ..inference.forecaster import TimesCLIPForecaster

    sizes = {} if options.batch_size is None else {"batch_size": options.batch_size}
    forecaster = TimesCLIPForecaster.load(options.model, **sizes)
    if options.device is not None and forecaster.core is not None:
        forecaster.core.model.to(options.device)
    return forecaster.predict(read(), options.future, horizon=options.horizon)


__all__ = ["note_columns", "predict", "train"]
