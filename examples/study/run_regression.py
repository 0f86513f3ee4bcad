# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune TimesCLIP on a wide table, measure it on the test part beside its peers, save, draw and write a card.

    python -m examples.study.run_regression examples/study/configs/crop_yield.yaml
    python -m examples.study.run_regression examples/study/configs/crop_yield.yaml --num_steps 18 \\
        --output_dir runs/crop_yield_18
    python -m examples.study.run_regression --table my_fields.csv --target yield_t_ha --target_unit t/ha \\
        --static_columns soil crop --split chronological --time_column year --group_columns site --output_dir runs/mine

The first argument may be a YAML or JSON file with any of the flags; flags after it win. The table printed at the end
is written to `table.md`, every single result to `metrics.json`; models lie in `<output_dir>/<model>/seed<n>`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch

from timesclip_hf import (
    PRESETS,
    TimesCLIPDataCollator,
    TimesCLIPTrainingArguments,
    load_wide_table,
    read_wide_table,
    regression_metrics,
    split_by_column,
    split_by_group,
    split_chronologically,
)
from timesclip_hf.data.splits import columns_of
from timesclip_hf.data.wide import find_variates
from timesclip_hf.environment import environment
from timesclip_hf.escaping import markdown, with_unit
from timesclip_hf.metrics import skill
from timesclip_hf.plots import plot_model_view, plot_predictions, plot_selection_attention

from .regression_peers import PEERS, Part, climatology, climatology_levels
from .settings import USER_ERRORS, check_names, command_line, named_variants, parse
from .training import LEFT_OUT_TOGETHER, Trained, train_regression

METRICS = {"r2": "R2", "skill": "skill", "rmse": "RMSE", "mae": "MAE", "mape": "MAPE %"}


@dataclass
class RegressionArguments:
    """What to learn from which table, and what to compare."""

    table: str = field(
        default="examples/crop_yield/crop_yield.parquet",
        metadata={"help": "CSV or Parquet, one row a field and season."},
    )
    dataset_name: str = field(default="own table", metadata={"help": "Readable name of the data, for the card."})
    target: str = field(default="yield_t_ha", metadata={"help": "Target column."})
    target_unit: str = field(default="", metadata={"help": "Unit of the target, for figures and card."})
    variates: list[str] | None = field(default=None, metadata={"help": "Names and order; default: all found."})
    static_columns: list[str] = field(default_factory=list, metadata={"help": "Columns known before the season."})
    num_steps: int | None = field(default=None, metadata={"help": "Keep only the first steps (early prediction)."})
    split: str = field(default="column", metadata={"help": "column, chronological or group."})
    split_column: str = field(default="split", metadata={"help": "For --split column: holds train, validation, test."})
    split_note: str = field(default="", metadata={"help": "How the split column was made, for the card."})
    time_column: str = field(
        default="year", metadata={"help": "For --split chronological: the last values are tested."}
    )
    group_columns: list[str] | None = field(
        default=None, metadata={"help": "Split each group's times, or whole groups."}
    )
    validation_share: float = field(default=0.15, metadata={"help": "Share of times or groups for validation."})
    test_share: float = field(default=0.2, metadata={"help": "Share of times or groups for the test."})
    hold_out_column: str | None = field(default=None, metadata={"help": "Also leave out each value of this column."})
    hold_out_groups: list[list[str]] | None = field(
        default=None, metadata={"help": "YAML only: values left out together."}
    )
    hold_out_only: bool = field(default=False, metadata={"help": "Skip the table of the test part itself."})
    presets: list[str] = field(default_factory=lambda: ["small"], metadata={"help": f"Some of {', '.join(PRESETS)}."})
    variants: dict[str, dict[str, Any]] | None = field(
        default=None, metadata={"help": "YAML only: name -> preset, processor, config and training fields."}
    )
    towers: str = field(default="tiny", metadata={"help": "Towers that start from random weights; see TOWERS."})
    vision_checkpoint: str | None = field(default=None, metadata={"help": "CLIP or SigLIP, Hub id or folder."})
    text_checkpoint: str | None = field(default=None, metadata={"help": "The same for the text tower."})
    patch_length: int = field(default=6, metadata={"help": "Steps in one patch."})
    patch_stride: int = field(default=3, metadata={"help": "Steps between the starts of patches."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "One run each."})
    peers: list[str] = field(default_factory=lambda: list(PEERS), metadata={"help": f"Some of {', '.join(PEERS)}."})
    climatology_columns: list[str] | None = field(
        default=None,
        metadata={
            "help": "Climatology is the train mean of rows that agree in these, such as site+crop site; skill is "
            "measured against it. Default: of site, crop, soil those that there are; without any, neither is shown."
        },
    )
    no_peers: bool = field(default=False, metadata={"help": "Only mean predictor and climatology beside TimesCLIP."})


def parse_arguments(argv: list[str]) -> tuple[RegressionArguments, TimesCLIPTrainingArguments]:
    """Flags, or a YAML or JSON file followed by flags that win over it."""
    arguments, training = parse(argv, (RegressionArguments, TimesCLIPTrainingArguments), __doc__.splitlines()[0])
    check_names(arguments.peers, list(PEERS), "peers")
    return arguments, training


def load(arguments: RegressionArguments) -> datasets.Dataset:
    """The table as a dataset, without rows of which not one step was seen in time; settles the variates' order."""
    frame = read_wide_table(arguments.table)
    if arguments.variates is None:
        inputs = set(frame.columns) - {arguments.target, *arguments.static_columns}
        arguments.variates = list(find_variates(name for name in frame.columns if name in inputs))
    return load_wide_table(
        frame,
        target=arguments.target,
        variates=arguments.variates,
        static_columns=arguments.static_columns,
        num_steps=arguments.num_steps,
        drop_unobserved=arguments.num_steps is not None,
    )


def split(dataset: datasets.Dataset, arguments: RegressionArguments) -> tuple[datasets.DatasetDict, str]:
    """The three parts, and a sentence that says how they were cut."""
    parts, how = _cut(dataset, arguments)
    if missing := [name for name in ("train", "validation", "test") if name not in parts]:
        raise ValueError(f"The split has no rows for {missing}: training, choosing and testing each need some.")
    return parts, how


def _cut(dataset: datasets.Dataset, arguments: RegressionArguments) -> tuple[datasets.DatasetDict, str]:
    shares = {"validation": arguments.validation_share, "test": arguments.test_share}
    if arguments.split == "column":
        how = f"by the table's column {arguments.split_column!r}. {arguments.split_note}".strip()
        return split_by_column(dataset, arguments.split_column), how
    if arguments.split == "chronological":
        if len(arguments.group_columns or []) > 1:
            raise ValueError(f"--split chronological takes one group column, found {arguments.group_columns}.")
        group = arguments.group_columns[0] if arguments.group_columns else None
        parts = split_chronologically(dataset, arguments.time_column, group_column=group, **shares)
        each = f" of each {group}" if group else ""
        return (
            parts,
            f"chronological by {arguments.time_column}: the last {shares['test']:.0%}{each} are the test part.",
        )
    if arguments.split == "group" and arguments.group_columns:
        parts = split_by_group(dataset, arguments.group_columns, **shares)
        return parts, f"whole groups of {arguments.group_columns}, drawn at random."
    raise ValueError("--split must be column, chronological or group (the last with --group_columns).")


def hold_outs(dataset: datasets.Dataset, arguments: RegressionArguments) -> Iterator[tuple[str, datasets.DatasetDict]]:
    """One split for each group of sites: the site in the test part, the others' own validation part kept.

    A column tells the group of each row, so that heads in closed form leave out whole groups when they choose.
    """
    column = arguments.hold_out_column
    values = columns_of(dataset, [column])[column].to_numpy()
    groups = arguments.hold_out_groups or [[value] for value in sorted(set(values))]
    owner = {value: number for number, group in enumerate(groups) for value in group}
    dataset = dataset.add_column(LEFT_OUT_TOGETHER, [owner.get(value, len(groups)) for value in values])
    for group in groups:
        inside = np.isin(values, group)
        parts, _ = split(dataset.select(np.flatnonzero(~inside)), arguments)
        parts["test"] = dataset.select(np.flatnonzero(inside))
        yield " + ".join(map(str, group)), parts


def as_part(dataset: datasets.Dataset) -> Part:
    """A part in the form that the peers take."""
    arrays = dataset.with_format("numpy")
    static = pd.DataFrame(
        dataset["static_values"][:] if "static_values" in dataset.column_names else [{}] * len(dataset)
    )
    groups = dataset.remove_columns(["past_values", "labels", *(["static_values"] if len(static.columns) else [])])
    groups = pd.concat([groups.to_pandas(), static], axis=1)
    labels, classes = arrays["labels"][:], getattr(dataset.features["labels"], "num_classes", None) or 0
    labels = labels if classes else labels[:, 0]
    return Part(arrays["past_values"][:], static, labels, groups, num_classes=classes)


def run_block(
    block: str,
    parts: datasets.DatasetDict,
    arguments: RegressionArguments,
    training: TimesCLIPTrainingArguments,
    seeds: list[int],
) -> tuple[list[dict[str, Any]], dict[str, Trained]]:
    """All variants and peers on one split: one result a model and seed, and the first seed's models."""
    numeric = {name: as_part(part) for name, part in parts.items()}
    train, validation, test = numeric["train"], numeric["validation"], numeric["test"]
    levels = climatology_levels(train.groups, arguments.climatology_columns)
    reference = climatology(train, validation, test, 0, levels) if levels else None
    results: list[dict[str, Any]] = []

    def record(model: str, seed: int, predictions: np.ndarray) -> None:
        metrics = regression_metrics(predictions, test.labels)
        if reference is not None:
            metrics["skill"] = skill(predictions, test.labels, reference)
        results.append(
            {
                "block": block,
                "model": model,
                "seed": seed,
                "n": len(test.labels),
                **metrics,
                "predictions": np.round(predictions, 4).tolist(),
            }
        )
        print(f"[{block}] {model}, seed {seed}: R2 {metrics['r2']:.3f}, RMSE {metrics['rmse']:.3f}", flush=True)

    target = (arguments.target, arguments.target_unit)
    trained = {}
    for name, variant in named_variants(arguments).items():
        for seed in seeds:
            folder = (
                Path(training.output_dir)
                / (name if block == "test" else f"{name}-without-{block}").replace(" ", "_")
                / f"seed{seed}"
            )
            run = train_regression(variant, parts, training, seed, folder, arguments.variates, *target)
            record(f"TimesCLIP {name}", seed, run.predictions[:, 0])
            trained.setdefault(name, run)
    if reference is not None:
        record("climatology", seeds[0], reference)
    else:
        print(f"[{block}] no climatology and no skill: name its columns with --climatology_columns", flush=True)
    for name in ["mean"] if arguments.no_peers else [name for name in arguments.peers if name != "climatology"]:
        for seed in seeds if name not in ("mean", "ridge") else seeds[:1]:
            record(name, seed, PEERS[name](train, validation, test, seed))
    return results, trained


def summarise(results: list[dict[str, Any]]) -> str:
    """Markdown: mean and spread over seeds; with several blocks, errors pooled over all blocks' samples."""
    table = pd.DataFrame(results).drop(columns="predictions")
    metrics = {name: title for name, title in METRICS.items() if name in table}
    lines = ["| model | seeds | " + " | ".join(metrics.values()) + " |", "|---|---|" + "---|" * len(metrics)]
    for model, rows in table.groupby("model", sort=False):
        cells = [str(len(rows))]
        for metric in metrics:
            digits = 1 if metric == "mape" else 3
            spread = f" ± {rows[metric].std(ddof=1):.{digits}f}" if len(rows) > 1 else ""
            cells.append(f"{rows[metric].mean():.{digits}f}{spread}")
        lines.append(f"| {markdown(model)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pooled(results: list[dict[str, Any]], targets: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Results of several blocks as one: every sample was predicted once, by a model that never saw its block."""
    frame = pd.DataFrame(results)
    rows = []
    reference = {r["block"]: np.asarray(r["predictions"]) for r in results if r["model"] == "climatology"}
    for (model, seed), part in frame.groupby(["model", "seed"], sort=False):
        blocks = list(part["block"])
        predictions = np.concatenate([np.asarray(p) for p in part["predictions"]])
        observed = np.concatenate([targets[b] for b in blocks])
        metrics = regression_metrics(predictions, observed)
        if reference:
            metrics["skill"] = skill(predictions, observed, np.concatenate([reference[b] for b in blocks]))
        rows.append({"block": "pooled", "model": model, "seed": seed, **metrics, "predictions": None})
    return rows


def draw(name: str, run: Trained, parts: datasets.DatasetDict, arguments: RegressionArguments, out: Path) -> None:
    """Predicted against observed, the plots of one field as the model sees them, attention between variates."""
    test = parts["test"]
    title = with_unit(arguments.target, arguments.target_unit)
    groups = test["crop"] if "crop" in test.column_names else None
    if groups is None and "static_values" in test.column_names and "crop" in test[0]["static_values"]:
        groups = [row["crop"] for row in test["static_values"]]
    observed = np.asarray(test["labels"])[:, 0]
    plot_predictions(run.predictions[:, 0], observed, title, groups).savefig(out / f"{name}_predictions.png", dpi=120)
    batch = TimesCLIPDataCollator(run.processor)([test[i] for i in range(min(64, len(test)))])
    names = run.processor.variate_names
    if "pixel_values" in batch:
        images = run.processor.to_images(batch["pixel_values"][0])
        names = [", ".join(names)] if run.processor.layout == "grid" else names
        plot_model_view(images, names, "one field of the test part, as the model sees it").savefig(
            out / f"{name}_view.png", dpi=120
        )
    if run.trainer.model.config.variate_selection is not None:
        with torch.no_grad():
            attention = run.trainer.model(**batch, output_attentions=True).selection_attentions
        plot_selection_attention(attention, names).savefig(out / f"{name}_attention.png", dpi=120)


def write_card(
    name: str,
    run: Trained,
    results: list[dict[str, Any]],
    parts: datasets.DatasetDict,
    how: str,
    arguments: RegressionArguments,
) -> None:
    """README.md beside the checkpoint: what only this script knows joins what the trainer knows."""
    own = next(r for r in results if r["model"] == f"TimesCLIP {name}")
    shipped = Path(arguments.table).name == "crop_yield.parquet"
    limits = ["Trained on simulated yields and reflectances (real weather): not for decisions about real fields."]
    run.trainer.create_model_card(
        run.folder,
        model_name=f"timesclip-{name.replace(' ', '-')}",
        dataset=arguments.dataset_name,
        split=how,
        sizes={part: len(rows) for part, rows in parts.items()},
        measured={"test": {metric: own[metric] for metric in METRICS if metric in own}},
        hyperparameters={"preset": run.hyperparameters["preset"]},
        command=command_line("run_regression", sys.argv[1:]),
        limits=limits if shipped else [],
        license="apache-2.0" if shipped else None,
        table=summarise(results),
    )


def main(argv: list[str]) -> None:
    arguments, training = parse_arguments(argv)
    dataset = load(arguments)
    out = Path(training.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    parts, how = split(dataset, arguments)
    print(f"{arguments.table}: " + ", ".join(f"{len(rows)} {name}" for name, rows in parts.items()) + f"; split {how}")

    results: list[dict[str, Any]] = []
    tables = []
    if not arguments.hold_out_only:
        results, trained = run_block("test", parts, arguments, training, arguments.seeds)
        tables.append(f"### Test part ({len(parts['test'])} series)\n\n{summarise(results)}")
        for name, run in trained.items():
            draw(name.replace(" ", "_"), run, parts, arguments, out)
            write_card(name, run, results, parts, how, arguments)
    if arguments.hold_out_column is not None:
        held, targets = [], {}
        for block, held_parts in hold_outs(dataset, arguments):
            held += run_block(block, held_parts, arguments, training, arguments.seeds[:1])[0]
            targets[block] = np.asarray(held_parts["test"]["labels"])[:, 0]
        results += held
        count = sum(len(observed) for observed in targets.values())
        title = (
            f"### Never seen: {len(targets)} groups of {arguments.hold_out_column} left out in turn, {count} series"
        )
        tables.append(f"{title}\n\n{summarise(pooled(held, targets))}")

    report = "\n\n".join(tables)
    (out / "table.md").write_text(report + "\n")
    (out / "metrics.json").write_text(
        json.dumps({"command": sys.argv, "environment": environment(), "results": results})
    )
    print(f"\n{report}\n\nWritten to {out}: table.md, metrics.json, pictures and one folder for each model.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except USER_ERRORS as error:
        raise SystemExit(f"run_regression: {error}") from None
