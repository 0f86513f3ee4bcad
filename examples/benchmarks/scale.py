# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Rows a second and peak memory of `timesclip predict` on Parquet, beside the pipeline that holds the whole table.

Series of 36 steps and 7 variates, like those of the crop-yield table (its fields, drawn at random, each value changed
by a few percent), beside two columns of text. The model: towers that ship, and kernels in closed form on 300 labelled
fields. Each figure is a process of its own; its memory counts Python, torch and the model. The time is that of
answering, without starting; time on the CPU is told, too, since it does not depend on who else uses the machine.

    python examples/benchmarks/scale.py
    python examples/benchmarks/scale.py --rows 1000000 --ways parts
    python examples/benchmarks/scale.py --rows 300000 --ways parts --preset text     # no plots
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from machine import describe
from memory import GB, measure_apart, peak_memory

CROP = Path(__file__).parents[1] / "crop_yield" / "crop_yield.parquet"
SHIPPED, LABELLED, ROWS_AT_ONCE = "timesclip-small", 300, 2**14


def save_model(folder: str, preset: str) -> list[str]:
    """Fits heads on a few fields and saves the model; the names of its variates."""
    from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor, fit_head, load_wide_table

    table = pd.read_parquet(CROP)
    steps = [name for name in table if name[-2:].isdigit() and name[-3] == "_"]
    few = load_wide_table(table[[*steps, "yield_t_ha"]].sample(LABELLED, random_state=0), target="yield_t_ha")
    names = list(dict.fromkeys(name[:-3] for name in steps))
    towers = (None, SHIPPED) if preset == "text" else (SHIPPED, SHIPPED)
    sizes = {"num_variates": len(names), "context_length": 36, "patch_length": 6, "patch_stride": 3}
    config = TimesCLIPConfig.from_vision_text_pretrained(*towers, "probe", **sizes)
    processor = TimesCLIPProcessor.from_config(config, variate_names=names, target_names=["yield"]).fit(few)
    model = TimesCLIPForRegression.from_vision_text_pretrained(*towers, config=processor.complete_config(config))
    fit_head(model, processor, few)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return steps


def write_table(path: Path, rows: int, steps: list[str]) -> None:
    rng, crop = np.random.default_rng(0), pd.read_parquet(CROP)[steps].to_numpy(np.float32)
    writer: Any = None
    for first in range(0, rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows - first)
        values = crop[rng.integers(0, len(crop), count)]
        values *= 1 + 0.03 * rng.standard_normal(values.shape, np.float32)
        own = {"field": [f"field {first + k}" for k in range(count)], "farm": [f"farm {k % 97}" for k in range(count)]}
        table = pa.table({**own, **dict(zip(steps, values.T, strict=True))})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def measure(way: str, model: str, table: str, output: str, threads: int) -> dict[str, float]:
    """Run in a process of its own."""
    from transformers import pipeline

    from timesclip_hf.inference.table_parts import answer_parquet

    torch.set_num_threads(threads)
    predict: Any = pipeline("time-series-regression", model=model, device="cpu")
    started, idle = time.perf_counter(), time.process_time()
    if way == "parts":
        answer_parquet(predict, table, output)
    else:
        predict(table).to_parquet(output, index=False)
    seconds, used = time.perf_counter() - started, time.process_time() - idle
    return {"seconds": seconds, "cpu": used, "peak": peak_memory()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--ways", nargs="+", choices=["parts", "whole"], default=["parts", "whole"])
    parser.add_argument("--preset", choices=["both", "text"], default="both", help="text: without plots")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", help="where tables and answers lie, which take a gigabyte for a million rows")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(**json.loads(arguments.measure))))
        return
    print(describe())
    print(f"{arguments.threads} threads, series of 36 steps and 7 variates, {SHIPPED}, branches: {arguments.preset}\n")
    print("| rows | way | rows/s | CPU ms a row | peak memory, GB | largest difference |")
    print("|---|---|---|---|---|---|")
    titles = {"parts": "`timesclip predict`, in parts", "whole": "pipeline, whole table"}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        steps = save_model(str(folder / "model"), arguments.preset)
        for rows in arguments.rows:
            write_table(folder / "table.parquet", rows, steps)
            for way in arguments.ways:
                paths = {
                    "model": str(folder / "model"),
                    "table": str(folder / "table.parquet"),
                    "output": str(folder / f"{way}.parquet"),
                }
                found = measure_apart(__file__, way=way, threads=arguments.threads, **paths)
                differing = "" if way == "parts" else f"{difference(folder):.1g}"
                print(
                    f"| {rows} | {titles[way]} | {rows / found['seconds']:.0f} | {found['cpu'] / rows * 1e3:.2f} | "
                    f"{found['peak'] / GB:.2f} | {differing} |",
                    flush=True,
                )


def difference(folder: Path) -> float:
    """Between the answers of both ways, where both were asked."""
    if not (folder / "parts.parquet").exists():
        return float("nan")
    first, second = (pd.read_parquet(folder / f"{way}.parquet")["predicted_yield"] for way in ("parts", "whole"))
    return float((first - second).abs().max())


if __name__ == "__main__":
    main()
