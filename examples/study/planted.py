# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Do explanations find what answers come from? Drivers planted by hand, one in each of 20 random constructions.

    OMP_NUM_THREADS=1 python -m examples.study.planted

- `numbers`: 80 noisy series of four variates of very different units, and a number that is made of a quarter of one of
  them; kernels of `probe` on patches and series.
- `forecasts`: four variates that repeat themselves after 12 or 16 steps; 16 are read in four spans, four are forecast:
  what is forecast of a variate comes from one span of itself, and no other repeats it; a forecaster, trained a little.
- `covariates`: a series moved by one of three covariates that are known in advance; the same, its effects in closed
  form.

For each: in how many the planted part comes first by removal and by integrated gradients; by how much attributions
miss the change of the answer, at worst; the rank correlation of attributions with those of the same model with random
weights, and in how many it is below .2 in size.
"""

import argparse
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from scipy.stats import spearmanr

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForecaster,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    explain,
    fit_head,
)
from timesclip_hf.model.layers import FittedLayer

SPANS, VARIATES = 4, list("abcd")
UNITS, LEVELS = [0.01, 1.0, 50.0, 4000.0], [0.3, 10.0, 0.0, 1e4]


def numbers(seed: int) -> tuple[Any, Any, Any, tuple[str, tuple[str, int]]]:
    """A model, its processor, samples, and the part that was planted: its kind, its variate and first step."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(80, 16, 4))
    variate, span = int(rng.integers(4)), int(rng.integers(SPANS))
    target = 5 + 2 * noise[:, 4 * span : 4 * span + 4, variate].mean(axis=1)
    rows = Dataset.from_dict({"past_values": list(noise * UNITS + LEVELS), "labels": [[y] for y in target]})
    rows = rows.with_format("numpy")
    shape = {"num_variates": 4, "context_length": 16, "patch_length": 4, "patch_stride": 2}
    config = TimesCLIPConfig.from_preset("probe", towers="tiny", **shape, vision_config=None)
    processor = TimesCLIPProcessor.from_config(config, variate_names=VARIATES).fit(rows)
    torch.manual_seed(seed)
    model = TimesCLIPForRegression(processor.complete_config(config))
    fit_head(model, processor, rows)
    return model, processor, rows, ("cell", (VARIATES[variate], 4 * span - 15))


def forecasts(seed: int) -> tuple[Any, Any, Any, tuple[str, tuple[str, int]]]:
    """The same of a forecaster: what comes is what was a period ago, and a little noise."""
    rng = np.random.default_rng(seed)
    period, steps = 4 * int(rng.integers(SPANS - 1, SPANS + 1)), 400
    values = rng.normal(size=(steps, 4))
    for step in range(period, steps):
        values[step] = 0.95 * values[step - period] + 0.3 * values[step]
    frame = pd.DataFrame(values * UNITS + LEVELS, columns=VARIATES).assign(
        ds=pd.date_range("2024-01-01", periods=steps, freq="h")
    )
    forecaster = TimesCLIPForecaster(epochs=8).fit(frame, target=VARIATES, horizon=4, context_length=16, seed=seed)
    variate = VARIATES[int(rng.integers(4))]
    return *_asked(forecaster, frame), ("cell", (variate, 1 - period))


def covariates(seed: int) -> tuple[Any, Any, Any, tuple[str, tuple[str, int]]]:
    """The same of one that knows three covariates in advance."""
    rng = np.random.default_rng(seed)
    steps, names = 400, ["u", "v", "w"]
    known, driver = rng.normal(size=(steps, 3)) * [0.1, 5.0, 300.0], int(rng.integers(3))
    y = 100 + 8 * np.tanh(known[:, driver] / known[:, driver].std()) + rng.normal(size=steps)
    frame = pd.DataFrame(known, columns=names).assign(y=y, ds=pd.date_range("2024-01-01", periods=steps, freq="h"))
    forecaster = TimesCLIPForecaster(epochs=2).fit(
        frame, target="y", future_covariates=names, horizon=4, context_length=16, seed=seed
    )
    return *_asked(forecaster, frame), ("future", (names[driver], 1))


def _asked(forecaster: TimesCLIPForecaster, frame: pd.DataFrame) -> tuple[Any, Any, Any]:
    from timesclip_hf.inference.forecast_windows import read_windows

    core: Any = forecaster.core
    windows = read_windows(frame, core.model.config, 40, forecaster.tables)  # type: ignore[arg-type]
    return core.model, core.processor, windows.samples


def scramble(model: Any, seed: int) -> None:
    """Random weights, of heads in closed form, too."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            held = dict(module.named_buffers(recurse=False)) if isinstance(module, FittedLayer) else {}
            for name in ("weight", "centers"):
                if name in held:
                    setattr(module, name, torch.randn_like(held[name]) * held[name].std())
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)


KINDS = {"numbers": numbers, "forecasts": forecasts, "covariates": covariates}


def measure(kind: str, seed: int, samples: int) -> dict[str, float]:
    """What explanations say of one construction."""
    model, processor, rows, (part, planted) = KINDS[kind](seed)
    target = planted[0] if kind == "forecasts" else None
    asked: dict[str, Any] = {"spans": SPANS, "max_samples": samples, "seed": seed, "target": target}
    found = explain(model, processor, rows, repeats=2, **asked)
    first = {method: found.top(part, method).iloc[0] for method in ("removal", "gradients")}
    hits = {method: float((row["variate"], row["first_step"]) == planted) for method, row in first.items()}
    change = found.samples["prediction"] - found.samples["baseline"]
    missed = (found.samples["attributed"] - change).abs() / change.abs().clip(lower=0.01 * change.abs().mean())
    scramble(model, seed)
    other = explain(model, processor, rows, methods=["gradients"], **asked)
    alike = spearmanr(found.attributions["attribution"], other.attributions["attribution"]).statistic
    return {**hits, "missed": float(missed.max()), "alike": float(alike)}


def main(arguments: list[str] | None = None) -> None:
    """Prints a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--constructions", type=int, default=20)
    parser.add_argument("--samples", type=int, default=15, help="series, or windows, of each that are explained")
    options = parser.parse_args(arguments)
    columns = ["", "first by removal", "first by gradients", "missed at most", "rank correlation", "below .2"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for kind in options.kinds:
        rows = pd.DataFrame([measure(kind, seed, options.samples) for seed in range(options.constructions)])
        cells = [f"{int(rows[name].sum())} of {len(rows)}" for name in ("removal", "gradients")]
        below = int((rows["alike"].abs() < 0.2).sum())
        cells += [f"{rows['missed'].max():.2%}", f"{rows['alike'].mean():.2f}", f"{below} of {len(rows)}"]
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
