# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What frozen towers are worth to n labels, at three lengths of the season: pretrained, random, and without any.

    python -m examples.study.frozen_table timesclip-small

Crop yield from 12, 18 and 36 steps, static columns beside everything, n fields (draw k takes n rows by seed k;
validation and test parts are whole). Ours: heads as `fit_head` fits them, with kernels on both towers and on the
series, and shapes, choices by rows left out and by validation, where peers choose, too (`run_frozen.closed_form`;
towers read each series once for all n). Beside it the same without shapes, the kernel on the series alone, the same
architecture at random (seed 1), and peers.

One line a run in `<output_dir>/results.jsonl`; a run that is started again does what is missing. At the end: R2 of the
test years; and pretrained towers against each other row: cells (length, n) won and lost, the mean difference, and in
how many cells the paired bootstrap over test fields (95 %, errors averaged over draws) says that it is above or below.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from timesclip_hf import load_wide_table, regression_metrics, split_by_column

from .regression_peers import FEATURE_PEERS, PEERS
from .run_frozen import BANDS, KNOWN, build, closed_form, read
from .run_regression import as_part

OURS, PLAIN = "pretrained towers", "the same without shapes"
RANDOM, SERIES = "towers at random", "kernel on the series alone"
# The branches of each, beside towers.
BESIDE = {OURS: ["series", "shapes"], PLAIN: ["series"], SERIES: ["series"], RANDOM: ["series", "shapes"]}
ALL_PEERS = {**PEERS, **FEATURE_PEERS}
PEER_NAMES = ["ridge", "Catch22 + ridge", "MiniROCKET + ridge", "ROCKET + ridge", "gradient boosting"]


def load(path: str, steps: int) -> Any:
    """The three parts, with the first so many steps."""
    options: dict[str, Any] = {"num_steps": steps, "drop_unobserved": True} if steps < 36 else {}
    table = load_wide_table(path, target="yield_t_ha", variates=BANDS, static_columns=KNOWN, **options)
    return split_by_column(table, "split")


def readings_of(checkpoint: str | None, steps: int, parts: Any) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Part -> branch -> what its head reads, and how many static values come last."""
    model, processor = build(checkpoint, None if checkpoint else "timesclip-small", steps, parts["train"])
    count, found = processor.num_static_features, {}
    for part in parts:
        own = read(model, processor, parts[part])
        static, values = own["linear"][:, -count:], own["linear"][:, :-count]
        sums = values.reshape(len(values), len(BANDS), -1).cumsum(axis=2).reshape(len(values), -1)
        series = np.concatenate([values, sums, static], axis=1)
        found[part] = {"vision": own["vision"], "text": own["text"], "series": series, "shapes": own["linear"]}
    return found, count


def jobs(options: argparse.Namespace, done: set[Any]) -> Iterator[dict[str, Any]]:
    """Runs what is missing, a length at a time."""
    for steps in options.steps:
        parts = load(options.table, steps)
        numeric = {name: as_part(part) for name, part in parts.items()}
        targets = {part: np.asarray(parts[part]["labels"], float).reshape(-1) for part in parts}
        readings: dict[str, Any] = {}
        for name in (*BESIDE, *options.peers):
            for n in options.labels:
                for draw in range(options.draws if n < 1000 else options.many_draws):
                    if (name, steps, n, draw) in done:
                        continue
                    order = np.random.default_rng(draw).permutation(len(parts["train"]))[:n]
                    rows, started, seen = np.sort(order), time.perf_counter(), {}
                    if name in BESIDE:
                        checkpoint = None if name == RANDOM else options.checkpoint
                        if str(checkpoint) not in readings:
                            readings = {str(checkpoint): readings_of(checkpoint, steps, parts)}
                        own, count = readings[str(checkpoint)]
                        towers = [] if name == SERIES else ["vision", "text"]
                        own = {part: {key: own[part][key] for key in [*towers, *BESIDE[name]]} for part in own}
                        answers = closed_form(own, count, targets, rows)
                        said, seen = answers["test"], regression_metrics(answers["validation"], targets["validation"])
                    else:
                        few = as_part(parts["train"].select(rows.tolist()))
                        said = ALL_PEERS[name](few, numeric["validation"], numeric["test"], draw)
                    seconds = time.perf_counter() - started
                    yield {
                        "name": name,
                        "steps": steps,
                        "n": n,
                        "draw": draw,
                        "seconds": seconds,
                        "validation_r2": seen.get("r2"),
                        "test": said.tolist(),
                    }


def table(frame: pd.DataFrame, score: str = "r2") -> str:
    """Markdown: R2 of the test part, or `"validation_r2"`, a block a length."""
    lines = []
    for steps, rows in frame.groupby("steps"):
        sizes = sorted(rows["n"].unique())
        lines += [
            "",
            f"| {score}, {steps} steps, n = | " + " | ".join(map(str, sizes)) + " |",
            "|---" * (len(sizes) + 1) + "|",
        ]
        for name, own in rows.groupby("name", sort=False):
            scores = [own.loc[own["n"] == n, score] for n in sizes]
            cells = [
                "" if s.empty else f"{s.mean():.3f}" + (f" ± {s.std(ddof=1):.3f}" if len(s) > 1 else "")
                for s in scores
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compare(frame: pd.DataFrame, truth: dict[int, np.ndarray]) -> str:
    """Markdown: the first row against each other, over all cells."""
    lines = [
        "| against | cells won | lost | mean difference of R2 | clearly above | clearly below |",
        "|---" * 6 + "|",
    ]
    squares = {
        key: np.mean([np.square(np.asarray(said) - truth[key[1]]) for said in rows["test"]], axis=0)
        for key, rows in frame.groupby(["name", "steps", "n"])
    }
    for name in frame["name"].unique():
        cells = [(steps, n) for other, steps, n in squares if other == name and (OURS, steps, n) in squares]
        if name == OURS or not cells:
            continue
        gains, above, below = [], 0, 0
        for steps, n in cells:
            gain = (squares[name, steps, n] - squares[OURS, steps, n]) / truth[steps].var()
            rows = np.random.default_rng(0).integers(0, len(gain), (2000, len(gain)))
            low, high = np.quantile(gain[rows].mean(axis=1), [0.025, 0.975])
            gains.append(gain.mean())
            above, below = above + (low > 0), below + (high < 0)
        won = sum(gain > 0 for gain in gains)
        lines.append(f"| {name} | {won} | {len(cells) - won} | {np.mean(gains):+.3f} | {above} | {below} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a folder of a TimesCLIP model, or the name of one that ships")
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--steps", type=int, nargs="+", default=[36, 18, 12])
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 300, 1000, 2034])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--many_draws", type=int, default=1, help="from 1 000 labels on")
    parser.add_argument("--peers", nargs="*", default=PEER_NAMES, choices=list(ALL_PEERS))
    parser.add_argument("--output_dir", default="runs/frozen_table")
    options = parser.parse_args()
    file = Path(options.output_dir) / "results.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(r["name"], r["steps"], r["n"], r["draw"]) for r in results}
    truth = {s: np.asarray(load(options.table, s)["test"]["labels"], float).reshape(-1) for s in options.steps}
    for result in jobs(options, done):
        result["r2"] = regression_metrics(np.asarray(result["test"]), truth[result["steps"]])["r2"]
        results.append(result)
        with file.open("a") as log:
            log.write(json.dumps(result) + "\n")
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in result.items() if k != "test"}, flush=True)
    order = {name: number for number, name in enumerate((*BESIDE, *ALL_PEERS))}
    frame = pd.DataFrame(r for r in results if r["steps"] in options.steps)
    frame = frame.sort_values("name", key=lambda names: names.map(order), kind="stable")
    print(table(frame), "\n\n", compare(frame, truth), sep="")
    print(table(frame.dropna(subset="validation_r2"), "validation_r2"))


if __name__ == "__main__":
    main()
