# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Filling the feature cache: images a second, as a share of the machine's own peak in matrix products.

For each precision: the plain vision tower of transformers on images that lie ready, and `FeatureCache.add` with all
that it does beside (reading rows, drawing, hashing, storing). The tower is CLIP ViT-B/16 with random weights, whose
speed does not depend on them.

    python examples/benchmarks/encoding.py
"""

import argparse
import os
import tempfile
import time

import numpy as np
import torch
from datasets import Dataset
from machine import best_seconds, describe, flops_per_image, matmul_peak
from transformers import CLIPVisionModel

from timesclip_hf import FeatureCache, TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor


def rows(series: int, variates: int, steps: int) -> Dataset:
    values = np.random.default_rng(0).normal(size=(series, steps, variates)).cumsum(axis=1)
    return Dataset.from_dict({"past_values": values.astype(np.float32)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--series", type=int, default=2048 if device == "cuda" else 40)
    parser.add_argument("--variates", type=int, default=7)
    parser.add_argument("--steps", type=int, default=36)
    parser.add_argument("--images_at_once", type=int, default=448 if device == "cuda" else 28)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads (default: all cores)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    data = rows(arguments.series, arguments.variates, arguments.steps)
    config = TimesCLIPConfig.from_preset(
        "full",
        towers="clip-b16",
        num_variates=arguments.variates,
        context_length=arguments.steps,
        patch_length=6,
        patch_stride=3,
    )
    processor = TimesCLIPProcessor.from_config(config).fit(data)
    model = TimesCLIPForRegression(processor.complete_config(config)).eval().to(device)
    plain = CLIPVisionModel(config.vision_config).eval().to(device)
    work = flops_per_image(config.vision_config)

    print(describe(device))
    print(
        f"ViT-B/16, {arguments.series} series of {arguments.variates} variates, {work / 1e9:.1f} GFLOP an image, "
        f"{arguments.images_at_once} images at once\n"
    )
    print("| precision | peak, GFLOP/s | plain tower, images/s | of peak | feature cache, images/s | of peak |")
    print("|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        peak = matmul_peak(dtype, device)
        images = torch.rand(arguments.images_at_once, 3, 224, 224, device=device).to(dtype)
        plain.to(dtype)

        def encode(images: torch.Tensor = images) -> None:
            with torch.no_grad():
                plain(pixel_values=images)

        count = arguments.series * arguments.variates
        rates = [len(images) / best_seconds(encode, arguments.repeats, device)]
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            FeatureCache(
                model, processor, folder, str(dtype).removeprefix("torch."), images_at_once=arguments.images_at_once
            ).add(data, False)
            rates.append(count / (time.perf_counter() - started))
        cells = [f"{rate:.1f} | {rate * work / peak:.0%}" for rate in rates]
        print(f"| {str(dtype).removeprefix('torch.')} | {peak / 1e9:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
