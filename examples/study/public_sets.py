# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Small public sets as somebody would bring them: a CSV each, and `timesclip train` without options.

    python -m examples.study.public_sets --output_dir runs/public_sets

The sets that aeon ships (no download), with their own train and test parts. Beside ours stand logistic regression on
the values and on MiniROCKET's features of each series as it is, their penalties by cross-validation within the train
part. Their accuracy has chosen nothing of the package; a first look at them prompted one choice, which was made on
other tasks (examples/RESULTS.md). One line a set in `<output_dir>/results.jsonl`; sets that are there already are not
run again.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from timesclip_hf.cli import main as timesclip

SETS = ["ItalyPowerDemand", "GunPoint", "ArrowHead", "BasicMotions", "OSULeaf"]
OURS, MINIROCKET, LOGISTIC = "`timesclip train`", "MiniROCKET + logistic", "logistic on values"


def load(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Part -> series `(n, variates, steps)` and their classes."""
    import aeon
    from aeon.datasets import load_from_ts_file

    folder = Path(aeon.__file__).parent / "datasets" / "data" / name
    return {part: load_from_ts_file(str(folder / f"{name}_{part.upper()}.ts")) for part in ("train", "test")}


def write_table(parts: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """A row a series: its part, its class, and a column for each step of each variate."""
    frames = []
    for part, (series, classes) in parts.items():
        count, variates, steps = series.shape
        names = [f"x{variate}_{step:03d}" for variate in range(variates) for step in range(steps)]
        frame = pd.DataFrame(series.reshape(count, -1), columns=names)
        frame.insert(0, "class", [f"class {name}" for name in classes])
        frame.insert(0, "part", part)
        frames.append(frame)
    pd.concat(frames, ignore_index=True).to_csv(path, index=False)


def accuracy(train: np.ndarray, test: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> float:
    """Of logistic regression on standardised features."""
    fewest = int(np.unique(classes, return_counts=True)[1].min())
    model = LogisticRegressionCV(
        Cs=np.logspace(-4, 2, 7), cv=min(5, fewest), max_iter=300, use_legacy_attributes=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of searches that did not converge
        return float(make_pipeline(StandardScaler(), model).fit(train, classes).score(test, truth))


def peers(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Accuracy on the test part."""
    from aeon.transformations.collection.convolution_based import MiniRocket  # slow to import: numba compiles

    (train, classes), (test, truth) = parts["train"], parts["test"]
    transform = MiniRocket(random_state=0).fit(train)
    features = [np.asarray(transform.transform(part)) for part in (train, test)]
    values = [part.reshape(len(part), -1) for part in (train, test)]
    return {MINIROCKET: accuracy(*features, classes, truth), LOGISTIC: accuracy(*values, classes, truth)}


def ours(path: Path, output: Path) -> dict[str, Any]:
    """Accuracy and seconds of the command."""
    started = time.perf_counter()
    words = ["train", str(path), "--target", "class", "--split", "part", "--output", str(output), "--no-peers"]
    if code := timesclip(words):
        raise SystemExit(f"{path.name}: exit code {code}")
    measured = json.loads((output / "metrics.json").read_text())["test"]
    return {OURS: next(iter(measured.values()))["accuracy"], "seconds": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--output_dir", default="runs/public_sets")
    options = parser.parse_args()
    out = Path(options.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for name in options.sets:
        if name in {row["set"] for row in rows}:
            continue
        parts = load(name)
        write_table(parts, out / f"{name}.csv")
        (train, classes), (test, _) = parts["train"], parts["test"]
        row = {
            "set": name,
            "train": len(train),
            "test": len(test),
            "variates": train.shape[1],
            "steps": train.shape[2],
        }
        row |= {"classes": len(np.unique(classes)), **ours(out / f"{name}.csv", out / name), **peers(parts)}
        rows.append(row)
        with file.open("a") as log:
            log.write(json.dumps(row) + "\n")
    print("| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|", sep="\n")
    for row in rows:
        cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row.values()]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
