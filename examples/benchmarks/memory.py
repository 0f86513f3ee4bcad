# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Peak memory and time against the number of variates and the context length, at CLIP ViT-B/16 sizes, on a CPU.

Each figure is the peak resident memory of a process of its own, one sample in fp32, drawing included:

- vision branch: the frozen vision tower alone, from plots to features;
- forward: the whole model (both branches, alignment, selection) in inference;
- training step: the same with gradients and a step of AdamW.

"ours" draws and sees `vision_chunk_size` images at once and `text_chunk_size` sequences, and computes chunks of these
again on the way back, as the trainer does; "ink" leaves out blank patches, too, for which it draws eight times as many
images at once; "recomputed" is ink in small chunks, the layers computed again, too (`gradient_checkpointing=True` of
the training arguments): the least memory; "plain" draws and sees all at once and keeps all, as one would write it.
A plain run that would not fit into `--limit` gigabytes, as far as that can be told from the smaller ones, is not run.

glibc before 2.38 finds no use for memory that was asked for aligned, as torch does, and freed. What a step needs is
told with `MALLOC_MMAP_THRESHOLD_=65536` in the environment, which gives large blocks back, and takes time.

    python examples/benchmarks/memory.py
    MALLOC_MMAP_THRESHOLD_=65536 python examples/benchmarks/memory.py --variates 8 862 --parts step --ways recomputed
    python examples/benchmarks/memory.py --variates 862 --parts step --ways ours ink
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
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
from timesclip_hf.features.plots import read_plots

MODELS: dict[str, Any] = {
    "prediction": (TimesCLIPForPrediction, "paper", {"prediction_length": 96}),
    "regression": (TimesCLIPForRegression, "full", {"head": "pooled"}),
}
PARTS = ("vision", "forward", "step")
ALL_AT_ONCE = 1_000_000
WAYS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ink": {"blank_patches": "drop"},
    "recomputed": {"blank_patches": "drop", "text_chunk_size": 32},
    "plain": {"vision_chunk_size": ALL_AT_ONCE, "text_chunk_size": ALL_AT_ONCE},
}
GB = 1e9


def peak_memory() -> float:
    """Largest resident memory of this process so far, in bytes."""
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024.0
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def build(
    part: str, task: str, variates: int, context: int, way: str, fields: dict[str, Any]
) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """A model of random weights, its processor and a batch of one random sample, not drawn yet."""
    model_class, preset, own = (TimesCLIPModel, "vision_only", {}) if part == "vision" else MODELS[task]
    torch.manual_seed(0)
    sizes = {"num_variates": variates, "context_length": context}
    model = model_class(TimesCLIPConfig.from_preset(preset, **{**sizes, **own, **WAYS[way], **fields}))
    processor = TimesCLIPProcessor.from_config(model.config, scaling="instance")
    batch = dict(processor(torch.randn(1, context, variates).cumsum(dim=1), draw=False))
    batch["labels"] = torch.randn(1, 96, variates) if task == "prediction" else torch.randn(1, 1)
    return model, processor, batch


def run(part: str, way: str, model: Any, processor: Any, batch: dict[str, torch.Tensor]) -> None:
    draw = processor.add_images if way == "plain" else lambda batch: read_plots(model, processor, batch)
    model.train(part == "step")
    if part == "step":
        if way == "recomputed":
            model.gradient_checkpointing_enable()
        draw(batch)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)
        model(**batch).loss.backward()
        optimizer.step()
        return
    with torch.inference_mode():
        draw(batch)
        if part == "vision" and way == "plain":
            model.get_vision_features(batch["pixel_values"])
        elif part != "vision":
            model(**batch)


def measure(part: str, way: str, **sizes: Any) -> dict[str, float]:
    """Run in a process of its own."""
    model, processor, batch = build(part, way=way, **sizes)
    start = time.perf_counter()
    run(part, way, model, processor, batch)
    return {"peak": peak_memory(), "seconds": time.perf_counter() - start}


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
            if way == "plain":
                fits[part, sizes["task"]] = (work, found["peak"])
            row.append(f"{found['peak'] / GB:.2f} ({found['seconds']:.1f} s)")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variates", type=int, nargs="+", default=[8, 32, 128, 862])
    parser.add_argument("--contexts", type=int, nargs="+", default=[96])
    parser.add_argument("--tasks", nargs="+", choices=MODELS, default=["prediction"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--fields", type=json.loads, default={}, help='of TimesCLIPConfig: {"text_chunk_size": 32}')
    parser.add_argument("--limit", type=float, default=16, help="gigabytes that a plain run may need")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(**json.loads(arguments.measure))))
        return

    print(
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    print(
        f"transformers {transformers.__version__}; ViT-B/16 towers, batch 1, fp32: peak resident memory in GB (time)"
    )
    print(f"{arguments.fields or 'default chunks'}\n")
    titles = {"vision": "vision branch", "forward": "forward", "step": "training step"}
    header = [f"{titles[part]}, {way}" for part in arguments.parts for way in arguments.ways]
    print("| " + " | ".join(["model", "variates", "context", *header]) + " |")
    print("|" + "---|" * (3 + len(header)))
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
                    fields=arguments.fields,
                )
                print("| " + " | ".join([task, str(variates), str(context), *row]) + " |", flush=True)


if __name__ == "__main__":
    main()
