# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Train every cell of a grid with several seeds, on any task and data: one table, one CSV file, one figure.

    python -m examples.study.run_ablation examples/study/grids/crop_yield_parts.yaml
    python -m examples.study.run_ablation examples/study/grids/illness_fusion.yaml --table national_illness.csv \\
        --seeds 0 1 2

The first argument is a YAML file with the task (forecasting, regression or classification), any flags of that
task's script (`run_forecasting`; `run_regression` for the other two), and the cells: by name, or as the product
of axes. Flags after it win.

    cells: {with plots: {preset: full}, without: {preset: text_only}}       # name -> preset and what differs from it
    axes: {fusion: [replace_last, concat], text_config: {T5: {model_type: t5, ...}, BERT: ...}}     # full product
    base: {preset: paper, loss: mae}                                        # fields of all cells that do not say else

Each result is kept in `<output_dir>/cells`. Started again, the script trains only what is not there yet: another
field, argument, table or version is another result. A cell that cannot be trained is listed as failed, and tried
again next time.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from transformers import TrainingArguments

import timesclip_hf
from timesclip_hf import PRESETS, TOWERS, TimesCLIPConfig, TimesCLIPTrainingArguments
from timesclip_hf.environment import environment
from timesclip_hf.escaping import markdown, with_unit
from timesclip_hf.plots import plot_ablation

from .settings import USER_ERRORS, named_variants, parse
from .tasks import PARTS, TASKS
from .training import PROCESSOR_FIELDS, Variant

# Fields that a cell may hold beside those of processor, training arguments and configuration.
VARIANT_FIELDS = ("preset", "towers", "checkpoints")
# What a cell holds in `Variant`, so that flags which a cell overrides do not count as a change of it.
IN_VARIANT = ("towers", "vision_checkpoint", "text_checkpoint", "patch_length", "patch_stride", "variants")
# What decides no result: words, other scripts' business, where to write and what to say meanwhile.
WORDS = ("dataset_name", "target_unit", "split_note", "seeds")
ELSEWHERE = (
    "presets", "variants", "peers", "no_peers", "peer_epochs", "peer_patience", "plot_windows", "train_fractions",
    "score", "hold_out_column", "hold_out_groups", "hold_out_only",
)  # fmt: skip
REPORTING = re.compile(
    "output_dir|seed|disable_tqdm|report_to|run_name|project|logging_.*|log_.*|(hub|trackio)_.*|push_to_hub|"
    "save_total_limit|save_only_model|skip_memory_metrics|dataloader_(num_workers|pin_memory|p.*)"
)
# Metric -> its name in tables and digits behind the point.
METRICS = {
    "mse": ("MSE", 3), "mae": ("MAE", 3), "mse_full_batches": ("MSE, last short batch dropped", 3),
    "smape": ("sMAPE", 2), "mase": ("MASE", 3), "owa": ("OWA", 3), "r2": ("R2", 3), "rmse": ("RMSE", 3),
    "accuracy": ("accuracy", 3), "balanced_accuracy": ("balanced accuracy", 3), "macro_f1": ("macro F1", 3),
    "log_loss": ("log loss", 3),
}  # fmt: skip


@dataclass
class AblationArguments:
    """The grid."""

    task: str = field(default="", metadata={"help": "YAML only: forecasting, regression or classification."})
    cells: dict[str, dict[str, Any]] | None = field(
        default=None, metadata={"help": "YAML only: name -> preset, processor, config and training fields."}
    )
    axes: dict[str, Any] | None = field(
        default=None, metadata={"help": "YAML only: field -> list of values, or name -> value; full product."}
    )
    base: dict[str, Any] | None = field(default=None, metadata={"help": "YAML only: fields of every cell."})
    keep_models: bool = field(default=False, metadata={"help": "Keep trained weights, one folder a run."})


# --- the grid ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One row of the table; `shown` are its fields as the CSV file writes them."""

    name: str
    fields: dict[str, Any]
    shown: dict[str, str]


@dataclass(frozen=True)
class Grid:
    """A grid file with the flags that won over it."""

    task: Any
    arguments: Any
    training: TimesCLIPTrainingArguments
    cells: list[Cell]
    keep_models: bool

    @property
    def folder(self) -> Path:
        return Path(self.training.output_dir or ".")

    @property
    def metrics(self) -> dict[str, str]:
        return self.task.metrics(self.arguments)

    @property
    def variants(self) -> dict[str, Variant]:
        return named_variants(dataclasses.replace(self.arguments, variants={c.name: c.fields for c in self.cells}))


def parse_grid(argv: list[str]) -> Grid:
    """The grid file named first, and the flags behind it."""
    if not argv or not argv[0].endswith((".yaml", ".yml")):
        raise ValueError(f"name a grid first, such as examples/study/grids/crop_yield_parts.yaml.\n\n{__doc__}")
    if not Path(argv[0]).is_file():
        raise FileNotFoundError(f"{argv[0]}: no such file")
    settings = yaml.safe_load(Path(argv[0]).read_text())
    name = settings.get("task") if isinstance(settings, dict) else None
    if name not in TASKS:
        raise ValueError(f"{argv[0]} must name a task of {list(TASKS)}, found {name!r}.")
    task = TASKS[name]
    description = (__doc__ or "").splitlines()[0]
    classes = (task.arguments_class, task.training_class, AblationArguments)
    arguments, training, grid = parse(argv, classes, description)
    defaults = task.arguments_class()
    unused = [n for n in ELSEWHERE if hasattr(defaults, n) and getattr(arguments, n) != getattr(defaults, n)]
    if unused or grid.task != name:
        raise ValueError(f"{unused or ['task']} cannot be given here: a grid has one task, cells, and no peers.")
    if not arguments.table:
        raise ValueError("Which table? Give --table.")
    if not arguments.seeds or len(set(arguments.seeds)) < len(arguments.seeds):
        raise ValueError(f"--seeds must be different numbers, at least one; found {arguments.seeds}.")
    return Grid(task, arguments, training, list(_cells(grid)), grid.keep_models)


def _cells(grid: AblationArguments) -> Iterator[Cell]:
    """The cells named, then the product of the axes."""
    base, found = grid.base or {}, set()
    named: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        (str(name), own or {}, {}) for name, own in (grid.cells or {}).items()
    ]
    for name, own, labels in [*named, *_product(grid.axes or {})]:
        settings = {**base, **own}
        _check_fields(name, settings)
        if name in found:
            raise ValueError(f"Two cells are called {name!r}.")
        found.add(name)
        yield Cell(name, settings, {**{key: _label(value) for key, value in settings.items()}, **labels})
    if not found:
        raise ValueError("The grid has no cell: give cells, axes or both.")


def _product(axes: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name, fields and their labels of each combination; a list's values are named `field=value`."""
    choices = []
    for key, values in axes.items():
        if not isinstance(values, list | dict) or not values:
            raise ValueError(f"Axis {key!r} must be a list of values, or names with values; found {values!r}.")
        labels = list(values) if isinstance(values, dict) else [_label(value) for value in values]
        names = labels if isinstance(values, dict) else [f"{key}={label}" for label in labels]
        values = list(values.values()) if isinstance(values, dict) else values
        choices.append([(str(n), key, v, str(label)) for n, v, label in zip(names, values, labels, strict=True)])
    return [
        (
            ", ".join(name for name, *_ in combination),
            {key: value for _, key, value, _ in combination},
            {key: label for _, key, _, label in combination},
        )
        for combination in itertools.product(*choices)
        if combination
    ]


def _check_fields(name: str, settings: dict[str, Any]) -> None:
    known = {f.name for f in (*fields(TimesCLIPConfig), *fields(TimesCLIPTrainingArguments))}
    known |= {*PROCESSOR_FIELDS, *VARIANT_FIELDS}
    if unknown := sorted(settings.keys() - known | settings.keys() & {"seed", "output_dir"}):
        raise ValueError(f"Cell {name!r} has {unknown}: no fields of a preset, processor, configuration or training.")
    if settings.get("preset") not in PRESETS or settings.get("towers", "tiny") not in TOWERS:
        raise ValueError(f"Cell {name!r} needs a preset of {list(PRESETS)}, and towers of {list(TOWERS)} if any.")


def _label(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)


# --- runs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One cell with one seed, and the file that holds its result; `identity` is all that decides the result."""

    cell: Cell
    variant: Variant
    seed: int
    identity: dict[str, Any]
    path: Path

    def result(self) -> dict[str, Any]:
        """What was measured, or `{"error": ...}`; empty if it was not run."""
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    @property
    def done(self) -> bool:
        return "metrics" in self.result()


def plan(grid: Grid) -> list[Run]:
    """All runs: the first seed of every cell, then the second of every cell."""
    shared = {
        "version": timesclip_hf.__version__,
        "task": grid.task.__name__,
        "data": {
            f.name: getattr(grid.arguments, f.name)
            for f in fields(grid.arguments)
            if f.name not in (*WORDS, *ELSEWHERE, *IN_VARIANT, "table", "test_table")
        },
        "tables": [
            _content_hash(path)
            for path in (grid.arguments.table, getattr(grid.arguments, "test_table", None))
            if path is not None
        ],
    }
    common, runs = _training_fields(grid.training), []
    variants = grid.variants
    for seed, cell in itertools.product(grid.arguments.seeds, grid.cells):
        variant = variants[cell.name]
        identity = {
            **shared,
            "seed": seed,
            "variant": {**asdict(variant), "training": {**common, **variant.training}},
            "preset": PRESETS[variant.preset],
            "towers": TOWERS[variant.towers],
        }
        # Through JSON once, so that the digest is that of what is written.
        identity = json.loads(json.dumps(identity, sort_keys=True, default=str))
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        readable = re.sub(r"[^A-Za-z0-9.]+", "_", cell.name).strip("_.")[:60]
        path = grid.folder / "cells" / f"{readable}-seed{seed}-{digest}.json"
        runs.append(Run(cell, variant, seed, identity, path))
    return runs


def _training_fields(training: TimesCLIPTrainingArguments) -> dict[str, Any]:
    """What differs from transformers' defaults: fields that its next version adds change no result."""
    standard = TrainingArguments(output_dir=training.output_dir)
    values = {f.name: getattr(training, f.name) for f in fields(training) if not REPORTING.fullmatch(f.name)}
    return {n: v for n, v in values.items() if str(v) != str(getattr(standard, n, None))}


def _content_hash(path: str) -> str:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such table; give --table")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def execute(run: Run, task: Any, grid: Grid) -> None:
    """Trains, measures and writes the result, or why there is none."""
    folder = grid.folder / "models" / run.path.stem
    outcome: dict[str, Any] = {"cell": run.cell.name, "fields": run.cell.fields, "seed": run.seed}
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    try:
        trained = task.train(run.variant, grid.training, run.seed, folder)
        predictions = {"validation": trained.validation_predictions, "test": trained.predictions}
        figures = {part: task.measure(part, predictions[part]) for part in PARTS}
        model = trained.trainer.model
        outcome |= {
            "metrics": {
                part: {name: figures[part][name] for name in grid.metrics if name in figures[part]} for part in PARTS
            },
            "seconds": round(trained.seconds, 1),
            "trained_parameters": model.num_parameters(only_trainable=True),
            "parameters": model.num_parameters(),
            "hyperparameters": trained.hyperparameters,
            "sizes": task.sizes,
        }
    except Exception as error:  # an impossible combination must not cost the other cells
        lines = str(error).strip().splitlines()
        outcome |= {"error": f"{type(error).__name__}: {lines[-1].strip() if lines else ''}"}
        outcome |= {"traceback": traceback.format_exc()}
    if not grid.keep_models:
        shutil.rmtree(folder, ignore_errors=True)
    outcome |= {"environment": environment(), "identity": run.identity}
    _write(run.path, json.dumps(outcome, indent=1, default=str))


def _write(path: Path, text: str) -> None:
    """All or nothing, also when killed meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


# --- results ----------------------------------------------------------------------------------------------------


def tidy(runs: list[Run]) -> pd.DataFrame:
    """A row for each cell, seed, part and metric; one without a metric for a run that failed."""
    columns = list(dict.fromkeys(name for run in runs for name in run.cell.shown))
    rows = []
    for run in runs:
        result = run.result()
        head = {"cell": run.cell.name, **{name: run.cell.shown.get(name, "") for name in columns}, "seed": run.seed}
        tail = {name: result.get(name) for name in ("seconds", "trained_parameters", "parameters", "error")}
        measured = [
            {"part": part, "metric": metric, "value": value}
            for part, figures in result.get("metrics", {}).items()
            for metric, value in figures.items()
        ]
        missing = [{"part": None, "metric": None, "value": None}] if "error" in result else []
        rows += [{**head, **row, **tail} for row in measured or missing]
    return pd.DataFrame(rows)


def summarise(table: pd.DataFrame, grid: Grid) -> str:
    """Markdown: mean ± standard deviation (n - 1) over seeds, for both parts; failed runs below."""
    found = set(zip(table["metric"], table["part"], strict=True))
    metrics = [pair for pair in itertools.product(grid.metrics, PARTS) if pair in found]
    heads = [f"{METRICS[metric][0]}, {part}" for metric, part in metrics]
    lines = ["| " + " | ".join(["cell", "seeds", *heads, "trained parameters", "seconds"]) + " |"]
    lines.append("|---" * (len(heads) + 4) + "|")
    wanted = len(grid.arguments.seeds)
    for cell in grid.cells:
        rows = table[table["cell"] == cell.name]
        measured = rows[rows["metric"].notna()]
        entries = []
        for metric, part in metrics:
            values = measured.loc[(measured["metric"] == metric) & (measured["part"] == part), "value"].astype(float)
            entries.append(_mean_and_spread(values, METRICS[metric][1]))
        once = measured.drop_duplicates("seed")
        parameters = f"{int(once['trained_parameters'].iloc[0]):,}" if len(once) else "-"
        seconds = f"{once['seconds'].astype(float).mean():.0f}" if len(once) else "-"
        failed = int(rows["error"].notna().sum())
        seeds = str(wanted) if len(once) == wanted else f"{len(once)} of {wanted}"
        seeds += f", {failed} failed" if failed else ""
        lines.append("| " + " | ".join([markdown(cell.name), seeds, *entries, parameters, seconds]) + " |")
    errors = table[table["error"].notna()]
    if len(errors):
        lines += ["", "Failed:", ""]
        failures = (f"{row['cell']}, seed {row['seed']}: {row['error']}" for row in errors.to_dict("records"))
        lines += [f"- {markdown(failure)}" for failure in failures]
    return "\n".join(lines)


def _mean_and_spread(values: pd.Series, digits: int) -> str:
    if values.empty:
        return "-"
    if values.isna().any():  # a mean over the others would hide the run that diverged
        return "diverged"
    return f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")


def report(runs: list[Run], grid: Grid) -> str:
    """Writes `results.csv`, `table.md` and `ablation.png` from what is there, and returns the table."""
    out, table = grid.folder, tidy(runs)
    text = summarise(table, grid)
    _write(out / "results.csv", table.to_csv(index=False))
    _write(out / "table.md", text + "\n")
    metric, unit = next(iter(grid.metrics.items()))
    chosen = table[(table["metric"] == metric) & (table["part"] == "test")]
    values = {c.name: chosen.loc[chosen["cell"] == c.name, "value"].astype(float).tolist() for c in grid.cells}
    axis = with_unit(f"{METRICS[metric][0]} of the test part", unit)
    seeds = len(grid.arguments.seeds)
    explained = f"a dot for each of {seeds} seeds, bar: mean" if seeds > 1 else "one seed"
    figure = plot_ablation(values, axis, f"{Path(grid.arguments.table).stem}: {explained}")
    figure.savefig(out / ".ablation.png", dpi=120)
    os.replace(out / ".ablation.png", out / "ablation.png")
    return text


def main(argv: list[str]) -> int:
    """Runs what is missing; 1 if any run failed, else 0."""
    grid = parse_grid(argv)
    runs = plan(grid)
    pending = [run for run in runs if not run.done]
    print(
        f"{len(grid.cells)} cells x {len(grid.arguments.seeds)} seeds, {len(runs) - len(pending)} of {len(runs)} runs "
        f"done; results go to {grid.folder}",
        flush=True,
    )
    if pending:
        task = grid.task(grid.arguments)
        print(", ".join(f"{size} {part}" for part, size in task.sizes.items()), flush=True)
    for number, run in enumerate(pending, 1):
        execute(run, task, grid)
        result = run.result()
        said = result.get("error") or ", ".join(
            f"{METRICS[metric][0]} {value:.4g}" for metric, value in result["metrics"]["test"].items()
        )
        print(f"[{number}/{len(pending)}] {run.cell.name}, seed {run.seed}: {said}", flush=True)
        report(runs, grid)  # a run that is killed has what it measured
    print(f"\n{report(runs, grid)}\n\nWritten to {grid.folder}: table.md, results.csv, ablation.png.")
    return int(not all(run.done for run in runs))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except USER_ERRORS as error:
        raise SystemExit(f"run_ablation: {error}") from None
