# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How often 90 % intervals hold on test years, and how wide they are, beside conformalised quantile boosting.

    python -m examples.study.run_intervals examples/study/configs/intervals_crop.yaml

Every model learns from the train part, is calibrated on the validation part (which also chose the epoch, or the number
of trees), and is measured on the test part, once a seed. The peers are gradient boosting of scikit-learn with quantile
loss at both ends of the interval, conformalised on the same rows in the same way, and that of squared errors as in
`run_regression`, with intervals of one width by its errors there. Each finished run is a line of
`<output_dir>/results.jsonl`; a run that is started again does what is missing.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import DatasetDict
from sklearn.ensemble import HistGradientBoostingRegressor

from timesclip_hf import TimesCLIPTrainingArguments, calibrate, load_wide_table, split_by_column
from timesclip_hf.metrics import crps, interval_metrics, rmse
from timesclip_hf.metrics.calibration import absolute_scores, conformal_threshold, quantile_scores
from timesclip_hf.model.intervals import ends, interval_of, quantiles_at
from timesclip_hf.training.calibration import answers_to
from timesclip_hf.training.peers import flat_features, gradient_boosting, joined

from .run_regression import as_part
from .settings import USER_ERRORS, parse
from .training import Variant, train_regression

LEVEL = 0.9
_TREES = 600


@dataclass
class IntervalArguments:
    """Which models to compare, on what."""

    table: str = field(default="examples/crop_yield/crop_yield.parquet", metadata={"help": "One row a series."})
    target: str = field(default="yield_t_ha", metadata={"help": "Column to learn."})
    variates: list[str] | None = field(default=None, metadata={"help": "Names and order; default: all found."})
    static_columns: list[str] = field(default_factory=list, metadata={"help": "Columns known before the season."})
    split_column: str = field(default="split", metadata={"help": "Holds train, validation, test."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "One run each."})
    variants: dict[str, dict[str, Any]] = field(default_factory=dict, metadata={"help": "As in run_regression."})
    methods: list[str] = field(default_factory=list, metadata={"help": "Only these; default: all, and the peers."})
    patch_length: int = field(default=6, metadata={"help": "Steps in one patch."})
    patch_stride: int = field(default=3, metadata={"help": "Steps between the starts of patches."})


def boosting(parts: DatasetDict, seed: int) -> dict[str, Any]:
    """Quantile gradient boosting, its number of trees chosen on validation, conformalised there."""
    numeric = {name: as_part(part) for name, part in parts.items()}
    train, validation, test = numeric["train"], numeric["validation"], numeric["test"]
    inputs, seen, unseen = flat_features(train, train, validation, test)
    known, new = [], []
    for level in (*ends(LEVEL), 0.5):
        model = HistGradientBoostingRegressor(
            loss="quantile", quantile=level, learning_rate=0.05, max_iter=_TREES, max_leaf_nodes=16, max_features=0.3,
            early_stopping=False, random_state=seed,
        ).fit(inputs, train.labels)  # fmt: skip
        stages = list(model.staged_predict(seen))
        errors = [crps(said[:, None], validation.labels, [level]) for said in stages]
        best = int(np.argmin(errors))
        known.append(stages[best])
        new.append(next(said for stage, said in enumerate(model.staged_predict(unseen)) if stage == best))
    t = conformal_threshold(quantile_scores(known[0], known[1], validation.labels), LEVEL)
    figures = interval_metrics(new[0] - t, new[1] + t, test.labels, LEVEL)
    return {**figures, "rmse": rmse(new[2], test.labels)}


def boosting_by_errors(parts: DatasetDict, seed: int) -> dict[str, Any]:
    """Gradient boosting of squared errors, its intervals as wide as its errors on validation say."""
    numeric = {name: as_part(part) for name, part in parts.items()}
    train, validation, test = numeric["train"], numeric["validation"], numeric["test"]
    said = gradient_boosting(train, validation, joined(validation, test), seed)
    known, new = said[: len(validation.labels)], said[len(validation.labels) :]
    t = conformal_threshold(absolute_scores(known, validation.labels), LEVEL)
    return {**interval_metrics(new - t, new + t, test.labels, LEVEL), "rmse": rmse(new, test.labels)}


def ours(
    arguments: IntervalArguments, training: TimesCLIPTrainingArguments, name: str, parts: DatasetDict, seed: int
) -> dict[str, Any]:
    """A variant, calibrated on validation; of quantiles also as they are, without calibration."""
    shapes = {"patch_length": arguments.patch_length, "patch_stride": arguments.patch_stride}
    variant = Variant.from_fields(**{"towers": "tiny", "checkpoints": {}, **shapes, **arguments.variants[name]})
    folder = Path(training.output_dir) / f"{name}-{seed}".replace(" ", "_")
    done = train_regression(variant, parts, training, seed, folder, arguments.variates, arguments.target, "")
    model = done.trainer.model
    found = calibrate(model, done.processor, parts["validation"], levels=[LEVEL])
    model.save_pretrained(folder)
    said, labels = answers_to(model, done.processor, parts["test"])
    figures = interval_metrics(*interval_of(model.config, said, LEVEL), labels, LEVEL)
    if "quantiles" in said:
        low, high = np.moveaxis(quantiles_at(said["quantiles"], model.config.answer_levels, ends(LEVEL)), -1, 0)
        figures |= {f"own_{n}": value for n, value in interval_metrics(low, high, labels, LEVEL).items()}
    return {**figures, "rmse": rmse(said["predictions"], labels), "method": found["method"]}


PEERS = {"quantile gradient boosting": boosting, "gradient boosting, by errors": boosting_by_errors}


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: means over seeds, their spread behind them."""
    frame = pd.DataFrame(results)
    columns = {"coverage_90": "coverage", "width_90": "width", "interval_score_90": "interval score", "rmse": "RMSE"}
    columns |= {name: "coverage, own quantiles" for name in ("own_coverage_90",) if name in frame}
    lines = ["| | seeds | " + " | ".join(columns.values()) + " |", "|---|---" + "|---" * len(columns) + "|"]
    for name, rows in frame.groupby("model", sort=False):
        cells = []
        for column in columns:
            values = rows[column].dropna()
            spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}" if len(values) else "")
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    arguments, training = parse(sys.argv[1:] if argv is None else argv,
                                (IntervalArguments, TimesCLIPTrainingArguments), __doc__ or "")  # fmt: skip
    rows = load_wide_table(arguments.table, target=arguments.target, variates=arguments.variates,
                           static_columns=arguments.static_columns)  # fmt: skip
    parts = split_by_column(rows, arguments.split_column)
    output = Path(training.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "results.jsonl"
    results = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(result["model"], result["seed"]) for result in results}
    for seed in arguments.seeds:
        for name in arguments.methods or [*arguments.variants, *PEERS]:
            if (name, seed) in done:
                continue
            peer = PEERS.get(name)
            figures = peer(parts, seed) if peer else ours(arguments, training, name, parts, seed)
            results.append({"model": name, "seed": seed, **figures})
            with path.open("a") as file:
                file.write(json.dumps(results[-1]) + "\n")
    print(table(results))


if __name__ == "__main__":
    try:
        main()
    except USER_ERRORS as error:
        sys.exit(f"error: {error}")
