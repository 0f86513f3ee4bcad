# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How good each way is with n labels: ours and its peers on the same draws of the training part.

    python -m examples.study.learning_curve examples/study/configs/learning_curve.yaml --workers 2
    python -m examples.study.learning_curve examples/study/configs/learning_curve_crop_type.yaml --workers 2

Every job (a method, n, a draw, a length) is a line of `<output_dir>/results.jsonl` with what it predicted; a run that
is started again does what is missing. Draw k takes n rows of the training part at random by seed k, which also seeds
the method. Validation and test parts are always whole; choices are made on the validation part. At the end tables are
printed, of the test part and of the validation part.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import DatasetDict

from timesclip_hf import TimesCLIPTrainingArguments, load_wide_table, regression_metrics, split_by_column
from timesclip_hf.metrics import classification_metrics
from timesclip_hf.training.peers import joined

from .classification_peers import classification_peers
from .regression_peers import PEERS
from .run_regression import as_part
from .settings import USER_ERRORS, parse
from .training import Trained, Variant, train_classification, train_regression


@dataclass
class CurveArguments:
    """Which ways to compare, on what, with how many labels."""

    table: str = field(
        default="examples/crop_yield/crop_yield.parquet", metadata={"help": "CSV or Parquet, one row a series."}
    )
    target: str = field(default="yield_t_ha", metadata={"help": "Column to learn."})
    task: str = field(default="regression", metadata={"help": "regression or classification."})
    variates: list[str] | None = field(default=None, metadata={"help": "Names and order; default: all found."})
    static_columns: list[str] = field(default_factory=list, metadata={"help": "Columns known before the season."})
    split_column: str = field(default="split", metadata={"help": "Holds train, validation, test."})
    steps: list[int] = field(default_factory=list, metadata={"help": "Keep the first so many steps; default: all."})
    sizes: list[int] = field(
        default_factory=lambda: [50, 100, 200, 500, 1000, 0], metadata={"help": "Labels; 0: all of them."}
    )
    draws: int = field(default=5, metadata={"help": "Draws of n rows, where n is below 1000."})
    many_draws: int = field(default=3, metadata={"help": "The same from 1000 rows on."})
    variants: dict[str, dict[str, Any]] = field(default_factory=dict, metadata={"help": "As in run_regression."})
    peers: list[str] = field(default_factory=list, metadata={"help": "Names of peers of the task."})
    workers: int = field(default=1, metadata={"help": "Jobs at a time, each with one thread."})
    patch_length: int = field(default=6, metadata={"help": "Steps in one patch."})
    patch_stride: int = field(default=3, metadata={"help": "Steps between the starts of patches."})


@dataclass(frozen=True)
class Job:
    """One line of the results."""

    method: str
    n: int
    draw: int
    steps: int


def jobs(arguments: CurveArguments) -> Iterator[Job]:
    """All that is to be done, the longest first."""
    methods = [*arguments.variants, *arguments.peers]
    for n in sorted(arguments.sizes, key=lambda n: -(n or 10**9)):
        draws = arguments.draws if 0 < n < 1000 else arguments.many_draws
        for steps in arguments.steps or [0]:
            yield from (Job(method, n, draw, steps) for method in methods for draw in range(draws))


def load(arguments: CurveArguments, job: Job) -> DatasetDict:
    """The three parts, n rows of the training part."""
    table = load_wide_table(
        arguments.table,
        target=arguments.target,
        variates=arguments.variates,
        static_columns=arguments.static_columns,
        num_steps=job.steps or None,
        drop_unobserved=job.steps > 0,
        task=arguments.task,
    )
    parts = split_by_column(table, arguments.split_column)
    if job.n:
        rows = np.random.default_rng(job.draw).permutation(len(parts["train"]))[: job.n]
        parts["train"] = parts["train"].select(sorted(rows.tolist()))
    return parts


def run(arguments: CurveArguments, training: TimesCLIPTrainingArguments, job: Job) -> dict[str, Any]:
    """Fits one way and measures it on the validation and the test part."""
    parts, started = load(arguments, job), time.perf_counter()
    found: dict[str, Any] = {}
    if job.method in arguments.variants:
        found = _run_ours(arguments, training, job, parts)
    else:
        numeric = {name: as_part(part) for name, part in parts.items()}
        classes = numeric["train"].num_classes
        peers = classification_peers(classes) if classes else PEERS
        both = joined(numeric["validation"], numeric["test"])  # fitted once, asked for both
        said = np.asarray(peers[job.method](numeric["train"], numeric["validation"], both, job.draw))
        found = dict(zip(("validation", "test"), np.split(said, [len(numeric["validation"].labels)]), strict=True))
    seconds = time.perf_counter() - started
    result: dict[str, Any] = {"task": arguments.task, **vars(job), "rows": len(parts["train"]), "seconds": seconds}
    for part in ("validation", "test"):
        labels = np.asarray(parts[part]["labels"])
        result[part] = _measure(arguments.task, found[part], labels)
        result[f"{part}_predictions"] = np.round(found[part], 4).tolist()
    return {**result, **{name: value for name, value in found.items() if name not in ("validation", "test")}}


def _run_ours(
    arguments: CurveArguments, training: TimesCLIPTrainingArguments, job: Job, parts: DatasetDict
) -> dict[str, Any]:
    shapes = {"patch_length": arguments.patch_length, "patch_stride": arguments.patch_stride}
    settings = {"towers": "tiny", "checkpoints": {}, **shapes, **arguments.variants[job.method]}
    variant = Variant.from_fields(**settings)
    folder = Path(training.output_dir) / f"{job.method}-{job.n}-{job.steps}-{job.draw}".replace(" ", "_")
    if arguments.task == "regression":
        done = train_regression(variant, parts, training, job.draw, folder, arguments.variates, arguments.target, "")
    else:
        names = parts["train"].features["labels"].names
        done = train_classification(variant, parts, training, job.draw, folder, arguments.variates, names)
    found: dict[str, Any] = {"validation": done.validation_predictions, "test": done.predictions}
    if done.trainer.model.config.branch_fusion == "late":
        found["branch_weights"] = done.trainer.model.config.branch_weights
        found["branch_predictions"] = np.round(branch_answers(done, parts["test"]), 4).tolist()
    return found


@torch.no_grad()
def branch_answers(done: Trained, part: Any) -> np.ndarray:
    """What each branch says `(n, branches, outputs)`."""
    trainer, said = done.trainer, []
    trainer.model.to(trainer.args.device).eval()
    for batch in trainer.get_test_dataloader(part):
        batch = trainer._prepare_inputs(batch)
        batch.pop("labels", None)
        said.append(trainer.model(**batch).branch_predictions.float().cpu().numpy())
    return np.concatenate(said)


def _measure(task: str, said: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    if task == "regression":
        return regression_metrics(said.reshape(len(labels), -1)[:, 0], labels[:, 0])
    return classification_metrics(said, labels)


def table(results: list[dict[str, Any]], part: str, metric: str) -> str:
    """Markdown: mean and spread over draws of one metric, a column for each n."""
    frame = pd.DataFrame([{**r, "score": r[part][metric]} for r in results])
    lines = []
    for steps, rows in frame.groupby("steps", sort=False):
        sizes = sorted(rows["rows"].unique())
        lines += [f"{metric}, {part} part{f', first {steps} steps' if steps else ''}:", ""]
        lines += ["| n | " + " | ".join(map(str, sizes)) + " |", "|---" * (len(sizes) + 1) + "|"]
        for method, own in rows.groupby("method", sort=False):
            cells = []
            for size in sizes:
                scores = own.loc[own["rows"] == size, "score"]
                spread = f" ± {scores.std(ddof=1):.3f}" if len(scores) > 1 else ""
                cells.append(f"{scores.mean():.3f}{spread}" if len(scores) else "")
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def compare(results: list[dict[str, Any]], observed: np.ndarray, part: str = "test") -> str:
    """Markdown, of regressions on all labels: errors beside those of the first method, and between branches.

    Paired bootstrap over series (4 000 draws): by how much R2 is lower than that of the first method, mean over draws
    of both, and the interval that holds 95 % of it. Correlations are of the errors of branches, in their order.
    """
    squares: dict[str, np.ndarray] = {}
    between: dict[str, list[np.ndarray]] = {}
    for result in results:
        said = np.asarray(result[f"{part}_predictions"]).reshape(len(observed))
        squares[result["method"]] = squares.get(result["method"], 0) + np.square(said - observed)
        if "branch_predictions" in result:
            errors = np.asarray(result["branch_predictions"])[:, :, 0] - observed[:, None]
            if errors.shape[1] > 1:
                correlations = np.corrcoef(errors.T)[np.triu_indices(errors.shape[1], 1)]
                between.setdefault(result["method"], []).append(correlations)
    draws = {method: sum(r["method"] == method for r in results) for method in squares}
    first = next(iter(squares))
    rows = np.random.default_rng(0).integers(0, len(observed), (4000, len(observed)))
    lines = ["| | R2 below the first [95 %] | correlation of branches' errors |", "|---|---|---|"]
    for method, total in squares.items():
        lost = (total / draws[method] - squares[first] / draws[first]) / observed.var()
        low, high = np.quantile(lost[rows].mean(axis=1), [0.025, 0.975])
        cells = f"{lost.mean():.3f} [{low:.3f}, {high:.3f}]" if method != first else ""
        found = np.mean(between[method], axis=0).round(2).tolist() if method in between else []
        lines.append(f"| {method} | {cells} | {', '.join(map(str, found))} |")
    return "\n".join(lines)


def _worker(given: tuple[CurveArguments, TimesCLIPTrainingArguments, Job]) -> dict[str, Any]:
    torch.set_num_threads(1)
    return run(*given)


def main(argv: list[str]) -> None:
    arguments, training = parse(argv, (CurveArguments, TimesCLIPTrainingArguments), __doc__.splitlines()[0])
    out = Path(training.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.jsonl"
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(r["method"], r["n"], r["draw"], r["steps"]) for r in results}
    left = [job for job in jobs(arguments) if (job.method, job.n, job.draw, job.steps) not in done]
    os.environ["OMP_NUM_THREADS"] = "1"
    with (
        multiprocessing.get_context("spawn").Pool(arguments.workers, maxtasksperchild=8) as pool,
        file.open("a") as log,
    ):
        for result in pool.imap_unordered(_worker, [(arguments, training, job) for job in left]):
            results.append(result)
            log.write(json.dumps(result) + "\n")
            log.flush()
            scores = {name: round(value, 3) for name, value in result["validation"].items()}
            print(f"{result['method']}, n {result['rows']}, draw {result['draw']}: {scores}", flush=True)
    metrics = ["r2"] if arguments.task == "regression" else ["balanced_accuracy", "log_loss"]
    order = {method: k for k, method in enumerate([*arguments.variants, *arguments.peers])}
    results.sort(key=lambda r: (order.get(r["method"], 99), r["rows"], r["draw"]))
    for part in ("validation", "test"):
        print("\n".join(table(results, part, metric) for metric in metrics))
    whole = [r for r in results if r["n"] == 0 and r["steps"] == 0]
    if arguments.task == "regression" and len({r["method"] for r in whole}) > 1:
        observed = np.asarray(load(arguments, Job("", 0, 0, 0))["test"]["labels"])[:, 0]
        print(compare(whole, observed))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except USER_ERRORS as error:
        sys.exit(f"{type(error).__name__}: {error}")
