# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What is told and written of a training: one sentence, a table, pictures, predictions, all figures as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..environment import environment
from ..escaping import csv_quoting, markdown, safe_cells, with_unit
from ..hub.facts import training_curve
from ..plots import plot_confusion, plot_curves, plot_predictions

# Task -> columns of the table; the first one orders it.
COLUMNS: dict[str, dict[str, str]] = {
    "regression": {"mae": "typical error", "rmse": "RMSE", "r2": "R2", "mape": "MAPE %"},
    "classification": {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "log_loss": "log loss",
    },
    "forecasting": {"mae": "typical error", "mse": "MSE", "smape": "sMAPE %"},
}
_NEARLY = 0.9
_LARGE = {"accuracy", "balanced_accuracy", "macro_f1", "r2"}
_NOTHING = 1e-9  # rounding


# What a training leaves beside model, processor and card.
_FILES = ("metrics.json", "test_predictions.csv", "predictions.png", "learning_curve.png", "steps_seen.png")


def clear(output: Path) -> None:
    """Makes the folder, or takes away what an earlier training told there."""
    output.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        (output / name).unlink(missing_ok=True)


def figure(value: float) -> str:
    """A number for people: three digits that count, or three decimals, and no exponent; of small ones, two digits."""
    if not np.isfinite(value):
        return str(value)
    size = abs(float(f"{value:.3g}"))  # 0.9999 is 1.00
    if size < _NOTHING:
        return "0.000"
    if size < 0.01:  # a target may be measured in a large unit
        return np.format_float_positional(value, precision=2, fractional=False, trim="-")
    return (
        f"{value:.0f}"
        if size >= 100
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2f}"
        if size >= 1
        else f"{value:.3f}"
    )


def sentence(task: str, measured: Mapping[str, Mapping[str, float]], unit: str = "", count: str = "") -> str:
    """What to expect of the model, in one sentence, beside what costs nothing.

    Args:
        task: a key of `COLUMNS`.
        measured: model -> metrics; ours first, and a guess behind it.
        unit: of the target.
        count: what it was measured on, in words.
    """
    (_, own), *others = measured.items()
    on = f", on {count} that it has not seen" if count else ""
    if task == "classification":
        beside = "; ".join(
            f"{'always naming the most frequent class' if number == 0 else name}: {values['accuracy']:.0%}"
            for number, (name, values) in enumerate(others)
        )
        return f"right for {own['accuracy']:.0%} of the series{on}" + (f"; {beside}" if beside else "")
    guess = "repeating the last value" if task == "forecasting" else "always guessing the mean"
    beside = "; ".join(
        f"{guess if number == 0 else name}: {figure(values['mae'])}" for number, (name, values) in enumerate(others)
    )
    return f"typical error {figure(own['mae'])} {unit}".rstrip() + on + (f"; {beside}" if beside else "")


def intervals_sentence(calibration: Mapping[str, Any] | None, found: Mapping[str, float], unit: str = "") -> str:
    """How intervals of 90 % did on the test part, and what they rest on; `""`: there are none with an end.

    Args:
        calibration: of the model's configuration.
        found: of `measure_intervals`.
        unit: of the target.
    """
    if calibration is None or "coverage_90" not in found:
        return ""
    size = f"{found['set_size_90']:.1f} classes each" if "set_size_90" in found else ""
    wide = f"{figure(found['width_90'])} {unit}".rstrip() + " wide" if "width_90" in found else size
    what, mean = "sets" if size else "intervals", f", {wide} on average" if wide else ""
    return (
        f"90 % {what} held {found['coverage_90']:.0%} of the test part{mean} (calibrated on "
        f"{calibration['count']} answers: {calibration['source']}; that new series are like these is an assumption)"
    )


def calibration_facts(config: Any) -> dict[str, Any]:
    """What a model's calibration rests on; its numbers are in config.json."""
    return {name: value for name, value in (config.calibration or {}).items() if name not in ("thresholds", "groups")}


def table(task: str, measured: Mapping[str, Mapping[str, float]], unit: str = "") -> str:
    """Markdown: a row for each model, the best one first."""
    columns = COLUMNS[task]
    first = next(iter(columns))
    order = sorted(measured, key=lambda name: measured[name][first], reverse=first in _LARGE)
    header = ["model", *(with_unit(text, unit) if name in ("mae", "rmse") else text for name, text in columns.items())]
    rows = [[markdown(name), *(figure(measured[name][column]) for column in columns)] for name in order]
    return _aligned([header, *rows])


def curve_table(task: str, curve: Mapping[int, Mapping[str, Mapping[str, float]]], unit: str = "") -> str:
    """Markdown: a row for each number of steps seen, a column for each model, of the metric that says most."""
    metric = curve_metric(task)
    models = list(dict.fromkeys(name for values in curve.values() for name in values))
    words = COLUMNS[task][metric]
    header = [
        "steps seen",
        *(f"{markdown(name)}, {with_unit(words, unit if metric == 'mae' else '')}" for name in models),
    ]
    rows = [
        [str(seen), *(figure(values[name][metric]) if name in values else "" for name in models)]
        for seen, values in curve.items()
    ]
    return _aligned([header, *rows])


def curve_metric(task: str) -> str:
    return {"regression": "r2", "classification": "balanced_accuracy", "forecasting": "mae"}[task]


def usable_from(task: str, curve: Mapping[int, Mapping[str, Mapping[str, float]]], name: str) -> str:
    """From when on the model is nearly as good as ever, in one sentence."""
    metric = curve_metric(task)
    values = {seen: figures[name][metric] for seen, figures in curve.items()}
    whole = values[max(values)]
    poor = [seen for seen, value in values.items() if value < _NEARLY * whole]
    first = min((seen for seen in values if seen > max(poor, default=0)), default=max(values))
    return (
        f"from {first} steps on it has nine tenths of its {COLUMNS[task][metric]} of the whole series "
        f"({figure(values[first])} of {figure(whole)})"
    )


def predictions_table(
    identity: pd.DataFrame, target: str, observed: Any, answers: NDArray[Any], class_names: Sequence[str],
    ends: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The user's own columns of the test part, what was observed, and what the model said, with `ends` of 90 %."""
    found = identity.reset_index(drop=True)
    found[target] = list(observed)
    if class_names:
        probabilities = np.exp(answers - answers.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        found["predicted_label"] = [class_names[number] for number in probabilities.argmax(axis=1)]
        found["score"] = probabilities.max(axis=1)
    else:
        found[f"predicted_{target}"] = answers.reshape(len(found))
        if ends is not None:
            low, high = (end.reshape(len(found)).astype(answers.dtype) for end in ends)
            found[f"{target}_lower_90"], found[f"{target}_upper_90"] = low, high
    return found


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """A table as CSV that no spreadsheet runs formulas of."""
    safe, _ = safe_cells(frame)
    safe.to_csv(path, index=False, quoting=csv_quoting(safe))


def write_pictures(
    output: Path,
    trainer: Any,
    answers: NDArray[Any],
    labels: NDArray[Any],
    target: str,
    class_names: Sequence[str],
) -> list[str]:
    """Predicted against observed, and the learning curve; names of the files."""
    if class_names:
        picture = plot_confusion(answers.argmax(axis=1), labels, class_names)
    else:
        picture = plot_predictions(answers.reshape(len(labels)), labels, target)
    picture.savefig(output / "predictions.png", dpi=120)
    return ["predictions.png", *write_learning_curve(output, trainer)]


def write_learning_curve(output: Path, trainer: Any) -> list[str]:
    """The loss of answers in training and validation, one kind of number, whatever else is minimised beside it."""
    rows = training_curve(trainer)
    found = dict.fromkeys(name for row in rows for name in row)
    names = ["training task loss" if "training task loss" in found else "training loss", "validation loss"]
    lines = {name: [(row["epoch"], row[name]) for row in rows if name in row] for name in names}
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return []
    kept = trainer.state.best_global_step
    epoch = next((row["epoch"] for row in rows if row["step"] == kept), None)
    plot_curves(lines, "epoch", "loss (standardised)", "Learning curve", mark=epoch).savefig(
        output / "learning_curve.png", dpi=120
    )
    return ["learning_curve.png"]


def write_length_curve(output: Path, task: str, curve: Mapping[int, Mapping[str, Mapping[str, float]]]) -> list[str]:
    metric = curve_metric(task)
    models = list(dict.fromkeys(name for values in curve.values() for name in values))
    lines = {
        name: [(float(seen), values[name][metric]) for seen, values in curve.items() if name in values]
        for name in models
    }
    plot_curves(lines, "steps seen", COLUMNS[task][metric], "Test part, by how much of the series is seen").savefig(
        output / "steps_seen.png", dpi=120
    )
    return ["steps_seen.png"]


def write_metrics(output: Path, facts: Mapping[str, Any]) -> None:
    """`metrics.json`: all figures, with the versions and the machine that they were made with."""
    content = {**facts, "environment": environment()}
    (output / "metrics.json").write_text(json.dumps(content, indent=2, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value.tolist() if hasattr(value, "tolist") else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Cells as Markdown that can be read in a terminal, too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| "
        + " | ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if n else "-") for n, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


__all__ = [
    "COLUMNS", "calibration_facts", "clear", "curve_metric", "curve_table", "figure", "intervals_sentence",
    "predictions_table", "sentence", "table", "usable_from", "write_csv", "write_learning_curve", "write_length_curve",
    "write_metrics", "write_pictures",
]  # fmt: skip
