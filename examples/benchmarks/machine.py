# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What all benchmarks share: the machine's name, its peak, a clock, and a vision transformer's work for an image."""

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers


def describe(device: str = "cpu") -> str:
    """Machine and versions, for the first line of a benchmark."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"{processor_name()}, {os.cpu_count()} cores"
    threads = "" if device == "cuda" else f", {torch.get_num_threads()} torch threads"
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    )
    return f"{name}{threads}, {platform.system()}; {versions}"


def processor_name() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def best_seconds(work: Callable[[], Any], repeats: int, device: str = "cpu", shared: bool = False) -> float:
    """Shortest of some runs after one to warm up: other work on a machine only slows a run down.

    `shared`: seconds of CPU, of all threads, which other work slows down less.
    """
    best, clock = float("inf"), time.process_time if shared else time.perf_counter
    for _ in range(repeats + 1):
        wait(device)
        started = clock()
        work()
        wait(device)
        best = min(best, clock() - started)
    return best


def matmul_peak(dtype: torch.dtype, device: str = "cpu") -> float:
    """Floating point operations a second in a large product of square matrices."""
    size = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / best_seconds(lambda: a @ b, 8, device)


def flops_per_image(config: Any) -> float:
    """Floating point operations of a vision transformer for one image, counted from its sizes."""
    width, patches = config.hidden_size, (config.image_size // config.patch_size) ** 2
    tokens = patches + 1
    products = (
        8 * tokens * width**2 + 4 * tokens * width * config.intermediate_size
    )  # q, k, v, output; both of the MLP
    attention = 4 * tokens**2 * width
    return config.num_hidden_layers * (products + attention) + 2 * patches * width * 3 * config.patch_size**2
