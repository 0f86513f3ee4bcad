# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Accuracy beside speed: torch, onnxruntime and OpenVINO, fp32 and int8, one series at a time and 32 at once.

First the towers that ship, with kernels in closed form on 300 labelled fields of the crop-yield table: R2 on the
fields of its test years, and how far answers are from torch's in fp32, in shares of their spread. Then towers of
ViT-B/16 size with random weights, whose speed does not depend on them, and whose answers tell rounding alone. Batches
lie ready: what is timed is the model. OpenVINO reads the same files where it is installed (`pip install openvino`).

    python examples/benchmarks/export.py
    python examples/benchmarks/export.py --towers timesclip-small
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import torch
from machine import best_seconds, describe

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    export_onnx,
    fit_head,
    load_wide_table,
)

try:
    import openvino
except ImportError:
    openvino = None

CROP = Path(__file__).parents[1] / "crop_yield" / "crop_yield.parquet"
SIZES: dict[str, Any] = {"num_variates": 7, "context_length": 36, "patch_length": 6, "patch_stride": 3}
LABELLED, BATCHES, LARGE = 300, (1, 32), "clip-b16"


def crop_series() -> tuple[Any, np.ndarray, np.ndarray]:
    """A few labelled fields of the training years, and series and yields of the test years."""
    table = pd.read_parquet(CROP)
    steps = [name for name in table if name[-2:].isdigit() and name[-3] == "_"]
    parts = {
        name: load_wide_table(rows[[*steps, "yield_t_ha"]], target="yield_t_ha")
        for name, rows in table.groupby("split")
    }
    test = parts["test"].with_format("numpy")
    few = parts["train"].shuffle(seed=0).select(range(LABELLED))
    return few, np.asarray(test["past_values"][:]), np.asarray(test["labels"][:])[:, 0]


def build(towers: str, few: Any) -> tuple[Any, Any]:
    if towers == LARGE:
        config = TimesCLIPConfig.from_preset("full", towers=towers, **SIZES)
        processor = TimesCLIPProcessor.from_config(config).fit(few)
        return TimesCLIPForRegression(processor.complete_config(config)).eval(), processor
    config = TimesCLIPConfig.from_vision_text_pretrained(towers, towers, "probe", **SIZES)
    processor = TimesCLIPProcessor.from_config(config).fit(few)
    config = processor.complete_config(config)
    model = TimesCLIPForRegression.from_vision_text_pretrained(towers, towers, config=config)
    fit_head(model, processor, few)
    return model.eval(), processor


def answers_in(model: Any, precision: torch.dtype | None) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    def answer(batch: dict[str, np.ndarray]) -> np.ndarray:
        with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision is not None):
            given = {name: torch.from_numpy(array) for name, array in batch.items()}
            return model(**given).predictions.float().numpy()[:, 0]

    return answer


def session_of(path: Path, threads: int) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [key.name for key in session.get_inputs()]
    return lambda batch: session.run(["predictions"], {name: batch[name] for name in names})[0][:, 0]


def openvino_of(path: Path, threads: int) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """In fp32 as it is written: left to itself, it rounds to bf16 where the processor has that."""
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda batch: model(_named_as(model, batch))["predictions"][:, 0]


def _named_as(model: Any, batch: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [batch[next(name for name in key.get_names() if name in batch)] for key in model.inputs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--towers", nargs="+", default=["timesclip-small", LARGE])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compared", type=int, default=8, help="series by which answers of the large towers compare")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    few, series, yields = crop_series()
    print(
        f"{describe()}; onnxruntime {onnxruntime.__version__}, {arguments.threads} threads, 7 variates of 36 steps\n"
    )
    print("| towers | engine | weights, MB | R2, test | difference | ms, one series | series/s, 32 at once |")
    print("|---|---|---|---|---|---|---|")
    for towers in arguments.towers:
        model, processor = build(towers, few)
        count = arguments.compared if towers == LARGE else len(series)
        batch = dict(processor(series[:count], return_tensors="np"))
        megabytes = sum(weight.nbytes for weight in model.state_dict().values()) / 1e6
        with tempfile.TemporaryDirectory() as folder:
            ways: dict[str, tuple[Any, float]] = {
                "torch, fp32": (answers_in(model, None), megabytes),
                "torch, bf16 (autocast)": (answers_in(model, torch.bfloat16), megabytes),
            }
            for name, int8 in (("fp32", False), ("int8", True)):
                path = export_onnx(model, processor, f"{folder}/{name}/model.onnx", int8=int8)
                size = sum(file.stat().st_size for file in path.parent.glob("model*")) / 1e6
                ways[f"onnxruntime, {name}"] = (session_of(path, arguments.threads), size)
                if openvino is not None:
                    ways[f"OpenVINO, {name}"] = (openvino_of(path, arguments.threads), size)
            first: Any = None
            for name, (answer, size) in ways.items():
                found = answer(batch)
                first = found if first is None else first
                off = np.abs(found - first).max() / first.std()
                right = (
                    1
                    - np.square(found - yields[:count]).sum() / np.square(yields[:count] - yields[:count].mean()).sum()
                )
                cells = [f"{size:.1f}", "" if towers == LARGE else f"{right:.4f}", f"{off:.1g}"]
                for together in BATCHES:
                    repeats = arguments.repeats if together == 1 or towers != LARGE else 1
                    some = {k: np.resize(v, (together, *v.shape[1:])) for k, v in batch.items()}
                    seconds = best_seconds(lambda a=answer, s=some: a(s), repeats)
                    cells.append(f"{seconds * 1e3:.1f}" if together == 1 else f"{together / seconds:.1f}")
                print(f"| {towers} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
