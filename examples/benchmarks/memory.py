# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Peak memory against the number of variates and the context length, at CLIP ViT-B/16 sizes, on this machine's CPU.

Each figure is the peak resident memory of a process of its own, one sample in fp32, images drawn by the processor:

- vision branch: the frozen vision tower alone, less the images that it was given;
- forward: the whole model (both branches, alignment, selection) in inference, images included;
- training step: the same with gradients and a step of AdamW.

"ours" sees `vision_chunk_size` images and `text_chunk_size` sequences at once and computes chunks again on the way
back; "plain" sees all at once and keeps everything, as one would write it. A plain run that would not fit into
`--limit` gigabytes, as far as that can be told from the smaller ones, is not run.

    python examples/benchmarks/memory.py
    python examples/benchmarks/memory.py --variates 862 --parts step --ways ours
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
)

MODELS: dict[str, Any] = {
    "prediction": (TimesCLIPForPrediction, "paper", {"prediction_length": 96}),
    "regression": (TimesCLIPForRegression, "full", {"head": "pooled"}),
}
PARTS = ("vision", "forward", "step")
WAYS = ("ours", "plain")
ALL_AT_ONCE = 1_000_000
GB = 1e9


def peak_memory() -> float:
    """Largest resident memory of this process so far, or since `forget_peak`, in bytes."""
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024.0
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def forget_peak() -> None:
    """What was needed to draw the images is not the model's; only Linux lets go of it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def build(part: str, task: str, variates: int, context: int, way: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """A model of random weights and a batch of one random sample."""
    model_class, preset, fields = (TimesCLIPModel, "vision_only", {}) if part == "vision" else MODELS[task]
    if way == "plain":
        fields = {**fields, "vision_chunk_size": ALL_AT_ONCE, "text_chunk_size": ALL_AT_ONCE}
    torch.manual_seed(0)
    model = model_class(TimesCLIPConfig.from_preset(preset, num_variates=variates, context_length=context, **fields))
    processor = TimesCLIPProcessor.from_config(model.config, scaling="instance")
    batch = dict(processor(torch.randn(1, context, variates).cumsum(dim=1)))
    batch["labels"] = torch.randn(1, 96, variates) if task == "prediction" else torch.randn(1, 1)
    return model, batch


def run(part: str, model: Any, batch: dict[str, torch.Tensor]) -> None:
    if part == "step":
        optimizer = torch.optim.AdamW([p for p in model.train().parameters() if p.requires_grad], lr=1e-5)
        model(**batch).loss.backward()
        optimizer.step()
        return
    with torch.inference_mode():
        if part == "vision":
            model.get_vision_features(batch["pixel_values"])
        else:
            model.eval()(**batch)


def measure(part: str, task: str, variates: int, context: int, way: str) -> dict[str, float]:
    """Run in a process of its own."""
    model, batch = build(part, task, variates, context, way)
    drawing = peak_memory()
    forget_peak()
    start = time.perf_counter()
    run(part, model, batch)
    return {
        "images": float(batch["pixel_values"].nbytes),
        "drawing": drawing,
        "peak": peak_memory(),
        "seconds": time.perf_counter() - start,
    }


def measure_apart(script: str = __file__, **settings: Any) -> dict[str, float]:
    """What a script here measures with `--measure`, in a process of its own: a peak of memory is that of a process."""
    command = [sys.executable, script, "--measure", json.dumps(settings)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"{settings} failed:\n{finished.stderr[-2000:]}")
    return json.loads(finished.stdout.splitlines()[-1])


def cells(parts: list[str], ways: list[str], limit: float, fits: dict[Any, Any], **sizes: Any) -> list[str]:
    """One row's figures. `fits` remembers the plain runs: what the next one would need is told from the last."""
    row = []
    work = sizes["variates"] * sizes["context"]
    for part in parts:
        for way in ways:
            known = fits.get((part, sizes["task"]))
            if way == "plain" and known and known[1] * max(1.0, work / known[0]) > 2 * limit * GB:
                row.append("not run")
                continue
            found = measure_apart(part=part, way=way, **sizes)
            peak = found["peak"] - (found["images"] if part == "vision" else 0)
            if way == "plain":
                fits[part, sizes["task"]] = (work, peak)
            row.append(f"{peak / GB:.2f}")
            print(f"{sizes} {part} {way}: {found}", file=sys.stderr, flush=True)
    return [f"{sizes['variates'] * 3 * 224 * 224 * 4 / GB:.2f}", *row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variates", type=int, nargs="+", default=[8, 32, 128, 862])
    parser.add_argument("--contexts", type=int, nargs="+", default=[96])
    parser.add_argument("--tasks", nargs="+", choices=MODELS, default=["prediction"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--limit", type=float, default=16, help="gigabytes that a plain run may need")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(**json.loads(arguments.measure))))
        return

    print(
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    print(f"transformers {transformers.__version__}; ViT-B/16 towers, batch 1, fp32, peak resident memory in GB\n")
    titles = {"vision": "vision branch less images", "forward": "forward", "step": "training step"}
    header = [f"{titles[part]}, {way}" for part in arguments.parts for way in arguments.ways]
    print("| " + " | ".join(["model", "variates", "context", "images", *header]) + " |")
    print("|" + "---|" * (4 + len(header)))
    fits: dict[Any, Any] = {}
    for task in arguments.tasks:
        for context in arguments.contexts:
            for variates in arguments.variates:
                row = cells(
                    arguments.parts,
                    arguments.ways,
                    arguments.limit,
                    fits,
                    task=task,
                    variates=variates,
                    context=context,
                )
                print("| " + " | ".join([task, str(variates), str(context), *row]) + " |", flush=True)


if __name__ == "__main__":
    main()
