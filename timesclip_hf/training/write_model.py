# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The folder that `timesclip train` leaves: model, processor, card, figures, pictures, test predictions."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.columns import step_columns
from ..data.tables import decoded
from ..escaping import with_unit
from ..features.similar import SIMILAR_FILE, SimilarSeries
from ..hub.facts import training_curve
from ..model.intervals import has_ends, interval_of
from . import train_report as report
from .fit_table import Outcome, Prepared, TableJob

_FEWEST_SIMILAR = 3  # distances need as many


def write_table_model(prepared: Prepared, outcome: Outcome, job: TableJob, output: Path, command: str) -> str:
    """Writes all of it.

    Args:
        prepared, outcome, job: of `fit_table`.
        output: the folder.
        command: the line that makes it again, for the card.

    Returns:
        What somebody reads in the end: a sentence, a table, warnings, where everything is, what to do next.
    """
    roles, fitted, task = prepared.roles, outcome.fitted, prepared.roles.task
    config = fitted.trainer.model.config
    tables = [report.table(task, outcome.measured, job.target_unit)]
    if outcome.curve:
        tables.append(report.curve_table(task, outcome.curve, job.target_unit))
    source = Path(str(job.table)).name if isinstance(job.table, str | Path) else "a table"
    report.clear(output)
    fitted.trainer.save_model(str(output))
    limits = _keep_similar(prepared, outcome, job, output)
    fitted.trainer.create_model_card(
        output,
        model_name=f"timesclip-{roles.target}",
        dataset=source,
        split=f"{prepared.split_in_words()}.",
        sizes={part: len(rows) for part, rows in prepared.rows.items()},
        measured={"test": outcome.measured[outcome.name] | _of_90(outcome), "validation": outcome.validation},
        hyperparameters={"preset": outcome.way.preset},
        command=command,
        table=tables[0],
        limits=limits,
        kept={"closed_form": "; ".join(fitted.notes)} if fitted.heads is not None else {},
    )
    files = _write_test(prepared, outcome, output, job)
    report.write_metrics(
        output,
        {
            "command": command,
            "task": task,
            "target": roles.target,
            "unit": job.target_unit,
            "split": {"by": prepared.plan.kind, "column": prepared.plan.column},
            "sizes": {part: len(rows) for part, rows in prepared.rows.items()},
            "model": {"name": outcome.name, "preset": outcome.way.preset, "reason": outcome.way.reason},
            "seconds": round(fitted.seconds, 1),
            "validation": outcome.validation,
            "test": outcome.measured,
            "intervals": {"calibration": report.calibration_facts(config), "test": outcome.intervals},
            "by steps seen": outcome.curve,
            "curve": training_curve(fitted.trainer),
        },
    )
    count = f"{len(prepared.rows['test'])} series"
    lines = [report.sentence(task, outcome.measured, job.target_unit, count), "", tables[0], ""]
    if told := report.intervals_sentence(config.calibration, outcome.intervals, job.target_unit):
        lines += [told, ""]
    if outcome.curve:
        lines += [report.usable_from(task, outcome.curve, outcome.name), "", tables[1], ""]
    lines += [f"warning: {line}" for line in outcome.warnings]
    lines.append(f"written to {output}: the model, README.md, metrics.json, {', '.join(files)}")
    if not outcome.curve:
        lines.append(f"it reads all {prepared.num_steps} steps; to ask it earlier in a season, add --random-length")
    read = "".join(f" --{name.replace('_', '-')} {shlex.quote(column)}" for name, column in job.long.items())
    lines.append(f"next: timesclip predict NEW.csv --model {output}{read} --output predictions.csv")
    return "\n".join(lines)


def _of_90(outcome: Outcome) -> dict[str, float]:
    """What the card's table says of intervals."""
    return {name: value for name, value in outcome.intervals.items() if name.endswith("_90")}


def _keep_similar(prepared: Prepared, outcome: Outcome, job: TableJob, output: Path) -> list[str]:
    """Keeps training series beside the model, by which new ones are compared; what the card says of it."""
    (output / SIMILAR_FILE).unlink(missing_ok=True)
    train, fitted = prepared.parts["train"], outcome.fitted
    if not job.similar or len(train) < _FEWEST_SIMILAR:
        return []
    names: Any = None
    if job.similar_names is not None:
        names = decoded(prepared.frame[job.similar_names]).astype(str).to_numpy()[prepared.rows["train"]]
    kept = SimilarSeries.fit(fitted.trainer.model, fitted.processor, train, names, seed=job.recipe.seed)
    kept.save(output)
    named = f", with their names ({job.similar_names})" if names is not None else ", without names"
    return [kept.told(named)]


def _write_test(prepared: Prepared, outcome: Outcome, output: Path, job: TableJob) -> list[str]:
    """Predictions of the test part, and pictures; names of the files."""
    roles, answers, labels = prepared.roles, outcome.answers["test"], prepared.labels("test")
    frame: Any = prepared.frame.iloc[prepared.rows["test"]]
    inputs = [name for name in frame.columns if name not in (roles.target, *roles.statics)]
    steps = step_columns(inputs, roles.variates, job.column_pattern)
    identity: pd.DataFrame = frame.drop(columns=[*steps, roles.target])
    observed = [prepared.class_names[number] for number in labels] if prepared.class_names else labels
    config = outcome.fitted.trainer.model.config
    ends = None
    if not prepared.class_names and has_ends(config, 0.9):
        ends = interval_of(config, outcome.test_said, 0.9)
    found = report.predictions_table(identity, roles.target, observed, answers, prepared.class_names, ends)
    report.write_csv(found, output / "test_predictions.csv")
    title = with_unit(roles.target, job.target_unit)
    files = ["test_predictions.csv"]
    files += report.write_pictures(output, outcome.fitted.trainer, answers, labels, title, prepared.class_names)
    return files + (report.write_length_curve(output, roles.task, outcome.curve) if outcome.curve else [])


__all__ = ["write_table_model"]
