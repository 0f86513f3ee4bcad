# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Whether intervals hold what they say on data of which nobody doubts that they are exchangeable.

    python -m examples.study.coverage --repetitions 200

Each repetition draws series anew from one law (noise that grows with a variate, so that a constant width is wrong),
fits a small model, calibrates it on 100 series and counts on 200 others: a regression with kernels in closed form,
whose branches may disagree, one with ridge heads, a forecaster that repeats the last value, and a classification.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from timesclip_hf import (
    SeriesCollection,
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    calibrate,
    fit_head,
    split_windows,
)
from timesclip_hf.training.calibration import answers_to, measure_intervals

LEVELS = (0.5, 0.8, 0.9, 0.95)
TRAIN, CALIBRATION, TEST = 60, 100, 200
STEPS, HORIZON = 8, 4
SHAPE = {"num_variates": 2, "context_length": STEPS, "patch_length": 4, "patch_stride": 4, "projection_dim": 16}


def draw(seed: int, classes: int = 0) -> list[Dataset]:
    """Three parts of rows from one law."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(TRAIN + CALIBRATION + TEST, STEPS, 2)).cumsum(axis=1)
    wanted = values[..., 0].mean(1) + rng.standard_t(4, len(values)) * (0.2 + np.abs(values[:, -1, 1]))
    labels: Any = wanted[:, None].tolist()
    if classes:
        labels = np.searchsorted(np.quantile(wanted, np.arange(1, classes) / classes), wanted).tolist()
    rows = Dataset.from_dict({"past_values": values.tolist(), "labels": labels})
    borders = np.cumsum([0, TRAIN, CALIBRATION, TEST])
    return [rows.select(range(a, b)) for a, b in zip(borders, borders[1:], strict=False)]


def heads(seed: int, model_class: Any, fields: dict[str, Any], classes: int = 0) -> dict[str, float]:
    """A model of frozen random towers whose heads are fitted in closed form."""
    train, known, new = draw(seed, classes)
    config = TimesCLIPConfig.from_preset("probe", towers="tiny", vision_config=None, **SHAPE, **fields)
    processor = TimesCLIPProcessor.from_config(config).fit(train.remove_columns("labels") if classes else train)
    torch.manual_seed(seed)
    model = model_class(processor.complete_config(config))
    fit_head(model, processor, train, seed=seed)
    calibrate(model, processor, known, levels=LEVELS, batch_size=400)
    return measure_intervals(model.config, *answers_to(model, processor, new, 400), levels=LEVELS)


def forecast(seed: int, fields: dict[str, Any]) -> dict[str, float]:
    """A forecaster as it starts, with normal distributions around the last value; one window of each series."""
    rng = np.random.default_rng(seed)
    sizes = rng.lognormal(size=(TRAIN + CALIBRATION + TEST, 1, 1))
    walks = sizes * rng.normal(size=(len(sizes), STEPS + HORIZON, 2)).cumsum(axis=1)

    def windows(rows: slice) -> Any:
        own = list(np.concatenate([walks[rows], walks[rows]], axis=1))  # the first half is for a training part
        series = SeriesCollection(own, ["a", "b"], [str(k) for k in range(len(own))])
        shares = {"train": STEPS + HORIZON, "validation": STEPS, "test": HORIZON}
        return split_windows(series, context_length=STEPS, prediction_length=HORIZON, **shares)

    parts = [windows(rows) for rows in (slice(TRAIN, TRAIN + CALIBRATION), slice(TRAIN + CALIBRATION, None))]
    config = TimesCLIPConfig.from_preset("forecast", towers="tiny", prediction_length=HORIZON, **SHAPE, **fields)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance").fit(parts[0].train.series)
    torch.manual_seed(seed)
    model = TimesCLIPForPrediction(processor.complete_config(config))
    calibrate(model, processor, parts[0].test, levels=LEVELS, batch_size=400)
    return measure_intervals(model.config, *answers_to(model, processor, parts[1].test, 400), levels=LEVELS)


KINDS: dict[str, Callable[[int], dict[str, float]]] = {
    "regression, kernels": lambda seed: heads(seed, TimesCLIPForRegression, {}),
    "regression, ridge": lambda seed: heads(
        seed, TimesCLIPForRegression, {"head": "linear", "kernel_shortcut": False, "linear_shortcut": True}
    ),
    "forecasts": lambda seed: forecast(seed, {}),
    "forecasts, quantiles": lambda seed: forecast(seed, {"loss": "quantile"}),
    "forecasts, normal": lambda seed: forecast(seed, {"loss": "gaussian"}),
    "classes": lambda seed: heads(seed, TimesCLIPForClassification, {"num_labels": 4}, 4),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200, help="Draws of everything.")
    parser.add_argument("--first", type=int, default=0, help="Seed of the first draw.")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), help="Which models.")
    arguments = parser.parse_args(argv)
    rows = []
    for kind in arguments.kinds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kernels that are not fitted yet
            seeds = range(arguments.first, arguments.first + arguments.repetitions)
            found = pd.DataFrame([KINDS[kind](seed) for seed in seeds])
        names = [f"coverage_{100 * level:g}" for level in LEVELS]
        rows.append([kind, *(f"{100 * found[name].mean():.1f}" for name in names)])
        print("| " + " | ".join(rows[-1]) + " |", flush=True)


if __name__ == "__main__":
    main()
