# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecasts a second: TimesCLIP against PatchTST, on series of 8 variates, 96 -> 96 steps, in one run.

Ours is measured from raw arrays to forecasts in raw units: processor and model, and plots where the model has a use
for them. PatchTST (transformers) has the size of its paper, and a smaller one. All weights are random: speed does not
depend on them.

    python examples/benchmarks/inference.py
"""

import argparse
import os
from collections.abc import Callable

import numpy as np
import torch
from machine import best_seconds, describe
from transformers import PatchTSTConfig, PatchTSTForPrediction

from timesclip_hf import TimesCLIPConfig, TimesCLIPForPrediction, TimesCLIPProcessor

VARIATES, CONTEXT, HORIZON = 8, 96, 96
VIT = "TimesCLIP full (gated selection), ViT-B/16, plots"


def timesclip(preset: str, towers: str, device: str) -> tuple[Callable[[np.ndarray], None], int]:
    config = TimesCLIPConfig.from_preset(
        preset,
        towers=towers,
        num_variates=VARIATES,
        context_length=CONTEXT,
        prediction_length=HORIZON,
        patch_length=16,
        patch_stride=8,
    )
    processor = TimesCLIPProcessor.from_config(config, scaling="instance")
    if preset == "paper":  # its plots only teach: a forecast does not read them
        processor.image_size = None
    model = TimesCLIPForPrediction(config).eval().to(device)

    def forecast(values: np.ndarray) -> None:
        with torch.no_grad():
            model(**processor(values).to(device)).predictions.cpu()

    return forecast, model.num_parameters()


def patchtst(width: int, layers: int, device: str) -> tuple[Callable[[np.ndarray], None], int]:
    model = PatchTSTForPrediction(
        PatchTSTConfig(
            num_input_channels=VARIATES,
            context_length=CONTEXT,
            prediction_length=HORIZON,
            patch_length=16,
            patch_stride=8,
            d_model=width,
            ffn_dim=2 * width,
            num_attention_heads=width // 8,
            num_hidden_layers=layers,
        )
    )
    model.eval().to(device)

    def forecast(values: np.ndarray) -> None:
        with torch.no_grad():
            model(past_values=torch.from_numpy(values).to(device)).prediction_outputs.cpu()

    return forecast, model.num_parameters()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads (default: all cores)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = {
        "PatchTST, width 128, 3 layers (its paper)": patchtst(128, 3, device),
        "PatchTST, width 64, 2 layers": patchtst(64, 2, device),
        "TimesCLIP forecast, tiny text tower, no plots": timesclip("forecast", "tiny", device),
        "TimesCLIP paper, CLIP text tower, plots left out": timesclip("paper", "clip-b16", device),
        "TimesCLIP full (gated selection), tiny towers, plots": timesclip("full", "tiny", device),
        VIT: timesclip("full", "clip-b16", device),
    }
    print(describe(device))
    print(f"series of {VARIATES} variates, {CONTEXT} -> {HORIZON} steps; best of {arguments.repeats}\n")
    batches = " | ".join(f"series/s, batch {batch}" for batch in arguments.batches)
    print(f"| model | parameters, M | {batches} |")
    print("|---|---|" + "---|" * len(arguments.batches))
    for name, (forecast, parameters) in models.items():
        rates = []
        for batch in arguments.batches:
            if name == VIT and device == "cpu" and batch > 1:  # no faster than one at a time, and minutes of it
                rates.append("-")
                continue
            values = np.random.default_rng(0).normal(size=(batch, CONTEXT, VARIATES)).cumsum(axis=1)
            values = values.astype(np.float32)
            rates.append(f"{batch / best_seconds(lambda v=values, f=forecast: f(v), arguments.repeats, device):.1f}")
        print(f"| {name} | {parameters / 1e6:.2f} | {' | '.join(rates)} |", flush=True)


if __name__ == "__main__":
    main()
