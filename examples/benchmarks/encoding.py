# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Filling the feature cache: images a second beside the plain tower, with fewer layers, and with ink alone.

For each precision: the plain vision tower of transformers on images that lie ready (and its share of the machine's own
peak in matrix products), then `FeatureCache.add` with all that it does beside (reading rows, drawing, hashing,
storing): of all patches, of those with ink, with blank ones merged, of half of the layers. The plain tower runs again
before and after each of these, for a machine's neighbours come and go. The tower is CLIP ViT-B/16 with random weights,
whose speed does not depend on them; the series are those of the crop data.

    python examples/benchmarks/encoding.py
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from machine import best_seconds, describe, flops_per_image, matmul_peak
from transformers import CLIPVisionModel
from transformers.utils import logging

from timesclip_hf import FeatureCache, TimesCLIPConfig, TimesCLIPModel, TimesCLIPProcessor, load_wide_table
from timesclip_hf.model.ink import blanks_of, find_ink

HALF = {"vision_feature_layer": 6, "vision_pooling": "mean"}
WAYS: dict[str, dict[str, Any]] = {
    "all patches": {},
    "ink alone": {"blank_patches": "drop"},
    "blank ones merged": {"blank_patches": "merge"},
    "blank ones merged by bands": {"blank_patches": "merge_bands"},
    "6 of 12 layers": HALF,
    "6 of 12 layers, ink alone": {**HALF, "blank_patches": "drop"},
    "6 of 12 layers, merged by bands": {**HALF, "blank_patches": "merge_bands"},
    "all variates in one image": {"layout": "grid"},
}
# Of the first series, which are read before the clock starts: of them the cache tells how close ink alone comes.
_WARM_UP = 5


def rows(table: str, count: int) -> Dataset:
    data = load_wide_table(table, target="yield_t_ha").select_columns(["past_values"])
    return data.select([k % len(data) for k in range(0, 7 * count, 7)])  # of all sites


def filling(way: dict[str, Any], data: Dataset, dtype: str, arguments: argparse.Namespace, device: str) -> float:
    """Series a second."""
    config = TimesCLIPConfig.from_preset("vision_only", num_variates=7, context_length=36, patch_length=6, **way)
    processor = TimesCLIPProcessor.from_config(config).fit(data)
    model = TimesCLIPModel(processor.complete_config(config)).eval().to(device)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(model, processor, folder, dtype, images_at_once=arguments.images_at_once)
        cache.add(data.select(range(_WARM_UP)), False)
        clock = time.process_time if arguments.shared else time.perf_counter
        started = clock()
        count = cache.add(data, False)
        return count / (clock() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--series", type=int, default=2048 if device == "cuda" else 40)
    parser.add_argument("--images_at_once", type=int, default=448 if device == "cuda" else 28)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads (default: all cores)")
    parser.add_argument("--shared", action="store_true", help="count CPU seconds: others work on this machine, too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    logging.set_verbosity_error()

    data = rows(arguments.table, arguments.series + _WARM_UP)
    config = TimesCLIPConfig.from_preset("vision_only", num_variates=7, context_length=36, patch_length=6)
    processor = TimesCLIPProcessor.from_config(config).fit(data)
    plain = CLIPVisionModel(config.vision_config).eval().to(device)
    work = flops_per_image(config.vision_config)
    images = processor(data["past_values"][: -(-arguments.images_at_once // 7)])["pixel_values"].flatten(0, 1)
    images = images[: arguments.images_at_once].to(device)
    ink = find_ink(images, 16, blanks_of(config, "drop").paper).float().mean()

    print(describe(device))
    print(
        f"ViT-B/16, {arguments.series} series of 7 variates, {work / 1e9:.1f} GFLOP an image, "
        f"{arguments.images_at_once} images at once; {ink:.1%} of their patches hold ink\n"
    )
    print("| precision | what is read | images/s | plain tower then | times |")
    print("|---|---|---|---|---|")
    for name in arguments.precisions:
        dtype = getattr(torch, name)
        peak = matmul_peak(dtype, device)
        plain.to(dtype)

        drawn = images.to(dtype)

        def encode(drawn: torch.Tensor = drawn) -> None:
            with torch.no_grad():
                plain(pixel_values=drawn)

        def plain_rate(encode: Callable[[], None] = encode) -> float:
            return len(images) / best_seconds(encode, arguments.repeats, device, arguments.shared)

        before = plain_rate()
        share = f"{before * work / peak:.0%} of a peak of {peak / 1e9:.0f} GFLOP/s"
        print(f"| {name} | plain tower, images ready ({share}) | {before:.1f} | | |", flush=True)
        for words, way in WAYS.items():
            rate = 7 * filling(way, data, name, arguments, device)  # of plots, however many stand in an image
            after = plain_rate()
            beside, before = (before + after) / 2, after
            print(f"| {name} | cache: {words} | {rate:.1f} | {beside:.1f} | {rate / beside:.1f} |", flush=True)


if __name__ == "__main__":
    main()
