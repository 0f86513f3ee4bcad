# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Do plots help a forecast? A vision head beside the text head, each with a loss of its own, weighted by validation.

    python -m examples.study.forecast_branches examples/study/configs/forecasting/illness_24.yaml \\
        --table national_illness.csv --seeds 0

Late fusion of branches that share nothing is the weighted mean of two forecasters that are trained apart, and so they
are here: the text branch (preset `forecast`) and a vision branch of the same size (`vision_only`, a small vision tower
from random weights that is trained, one linear head on each variate's image), with and without the linear shortcut on
the series. The weight is the one, from 0 to 1, whose mean has the smallest squared error on the validation windows, in
units of each series' spread. Settings and flags are those of `run_forecasting`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timesclip_hf.metrics import forecast_metrics

from . import run_forecasting as forecasting
from .settings import USER_ERRORS
from .training import Variant, train_forecast

TEXT = "text, with shortcut"
VISION: dict[str, dict[str, Any]] = {
    "vision, with shortcut": {"linear_shortcut": True},
    "vision alone": {"linear_shortcut": False},
}


def variants(arguments: Any) -> dict[str, Variant]:
    """The branches, by name; all of them forecast from the same windows."""
    (text,) = [variant for variant in forecasting.named_variants(arguments).values()][:1]
    seen = {"preset": "vision_only", "variate_selection": None, "freeze_vision": False, "vision_pooling": "mean"}
    shapes = {"patch_length": arguments.patch_length, "patch_stride": arguments.patch_stride}
    loss = {name: value for name, value in text.config.items() if name == "loss"}
    named = {TEXT: text}
    for name, settings in VISION.items():
        named[name] = Variant.from_fields(towers=text.towers, checkpoints={}, **shapes, **seen, **loss, **settings)
    return named


def best_weight(first: NDArray[Any], second: NDArray[Any], labels: NDArray[Any], scale: NDArray[Any]) -> float:
    """The share of the second, 0 to 1, with which the mean of both has the smallest squared error."""
    seen = ~np.isnan(labels)
    away, apart = ((labels - first) / scale)[seen], ((second - first) / scale)[seen]
    return float(np.clip((away * apart).sum() / max((apart**2).sum(), 1e-12), 0, 1))


def main(argv: list[str]) -> None:
    arguments, training = forecasting.parse_arguments(argv)
    series = forecasting.load(arguments)
    splits = forecasting.split(series, arguments)
    scale = {}
    labels = {}
    for part in ("validation", "test"):
        windows = getattr(splits, part)
        numbers = [windows.series_index(k) for k in range(len(windows))]
        scale[part] = np.stack([splits.std[k] for k in numbers])[:, None]
        labels[part] = np.stack([windows[k]["labels"] for k in range(len(windows))])
    rows: dict[str, list[tuple[float, ...]]] = {}

    def measure(name: str, forecasts: NDArray[Any], *more: float) -> None:
        found = forecast_metrics(forecasts, labels["test"], scale["test"][:, 0])
        rows.setdefault(name, []).append((found["mse"], found["mae"], found["smape"], *more))

    for seed in arguments.seeds:
        said = {}
        for name, variant in variants(arguments).items():
            folder = Path(training.output_dir) / name.replace(", ", "_").replace(" ", "_") / f"seed{seed}"
            run = train_forecast(variant, splits, training, seed, folder, arguments.standardise)
            said[name] = {"validation": run.validation_predictions, "test": run.predictions}
            measure(name, run.predictions, np.nan, run.seconds)
            print(f"{name}, seed {seed}: MSE {rows[name][-1][0]:.3f}, {run.seconds:.0f} s", flush=True)
        for name in VISION:
            pair = [said[TEXT], said[name]]
            weight = best_weight(*(one["validation"] for one in pair), labels["validation"], scale["validation"])
            joined = (1 - weight) * pair[0]["test"] + weight * pair[1]["test"]
            measure(f"text and {name}, late", joined, weight, np.nan)
    print("\n| model | seeds | MSE | MAE | sMAPE | weight of vision | seconds |\n|---|---|---|---|---|---|---|")
    for name, found in rows.items():
        mse, mae, smape, weight, seconds = np.mean(found, axis=0)
        cells = [
            f"{mse:.3f}",
            f"{mae:.3f}",
            f"{smape:.2f}",
            *("" if np.isnan(x) else f"{x:.2f}" for x in (weight, seconds)),
        ]
        print(f"| {name} | {len(found)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except USER_ERRORS as error:
        raise SystemExit(f"forecast_branches: {error}") from None
