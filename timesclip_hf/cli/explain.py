# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip explain`: which variates, steps and branches a model's answers come from."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..escaping import one_line, visible
from .options import add_reading, add_verb, check_folder, find_task, positive, quiet, reading_of

_EXPLAIN = """\
Say why a trained model answers as it does: which variates, which steps, which of its branches.

Two methods. removal: what is lost when a variate or a span of time comes from another row; it holds for every model.
gradients: for each row, what every step adds to the prediction or takes from it, in its unit (needs captum:
pip install 'timesclip-hf[explain]')."""

_EXPLAIN_EXAMPLES = """\
examples:
  timesclip explain fields.csv --model model/ --output why/
  timesclip explain fields.csv --model model/ --labels yield --group site --methods removal --output why/

It writes importance.csv, samples.csv, attributions.csv, attention.csv, branches.csv, as far as there is something to
say, and pictures."""

_TOP = 5


def add_explain(commands: Any) -> None:
    """`timesclip explain`."""
    summary = "say which variates, steps and branches a model's answers come from"
    command = add_verb(commands, "explain", explain, summary, _EXPLAIN, _EXPLAIN_EXAMPLES)
    command.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    command.add_argument("--output", metavar="DIR", required=True, help="folder to write tables and pictures to")
    command.add_argument(
        "--methods", nargs="+", metavar="NAME", help="gradients, removal; else both, if captum is here"
    )
    command.add_argument("--target", metavar="NAME", help="target, class or variate (of a forecast); else the first")
    command.add_argument("--horizon", type=positive, metavar="H", help="step of a forecast; else the mean of all")
    command.add_argument("--labels", metavar="COL", help="column of what is true; else one of the target's name")
    command.add_argument("--group", metavar="COL", help="parts are exchanged within its values (sites, farms) alone")
    command.add_argument("--spans", type=positive, metavar="N", default=6, help="parts that time is cut into (6)")
    command.add_argument("--rows", type=positive, metavar="N", default=100, help="at most so many series (100)")
    command.add_argument("--pictures", type=positive, metavar="N", default=3, help="series to draw (3)")
    command.add_argument("--seed", type=int, metavar="N", default=0, help="of what is drawn at random (0)")

    add_reading(command)


def explain(options: argparse.Namespace) -> None:
    """Explains, writes, and tells what counts most."""
    output = check_folder(options.output)
    from ..data.tables import read_table
    from ..inference import explanations
    from ..inference.loading import own_config, saved_model_class
    from ..model.processing_timesclip import TimesCLIPProcessor
    from ..plots import PART_KINDS, part_name

    quiet()
    find_task(options.model)
    processor = TimesCLIPProcessor.from_pretrained(options.model)
    methods = options.methods or explanations.usable_methods()
    if "gradients" not in methods and options.methods is None:
        print("no gradients, which need captum: pip install 'timesclip-hf[explain]'", file=sys.stderr)
    model = saved_model_class(own_config(options.model)).from_pretrained(options.model)
    table = read_table(options.table, header=not options.no_header)
    samples, names, how = _samples(options, processor, table, model)
    target = int(options.target) if (options.target or "").isdecimal() else options.target
    found = explanations.explain(
        model, processor, samples, methods=methods, target=target,
        horizon=options.horizon, spans=options.spans, max_samples=options.rows, seed=options.seed, **how,
    )  # fmt: skip
    if names is not None:
        found.samples.insert(1, "forecast", names)
    output.mkdir(exist_ok=True)
    files = []
    for name in ("importance", "samples", "attributions", "vision", "attention", "branches"):
        if len(rows := getattr(found, name)):
            _write(rows, output / f"{name}.csv")
            files.append(f"{name}.csv")
    drawn = list(found.samples["sample"])[: options.pictures]
    for name, figure in found.figures(drawn if len(found.attributions) else ()).items():
        file = f"{name}.png" if not name.startswith("sample_") else f"sample_{len(files)}.png"
        figure.savefig(output / file, dpi=120)
        files.append(file)
    for kind in PART_KINDS:
        rows = found.top(kind).head(_TOP)
        for number, row in rows.iterrows():
            if number == 0:
                print(f"{PART_KINDS[kind]}, {row['measure']} ({row['method']}, {len(found.samples)} series)")
            interval = f"{row['lower']:.3g} to {row['upper']:.3g}"
            print(f"  {visible(part_name(row)):<44} {row['importance']:>9.3g}   ({interval})")
    for _, row in found.branches.iterrows():
        print(f"{row['branch']} and {row['other']}: correlation {row['correlation']:.2f}")
    print(f"written to {one_line(output)}: {', '.join(files)}")


def _samples(options: argparse.Namespace, processor: Any, table: Any, model: Any) -> tuple[Any, Any, dict[str, Any]]:
    """What is explained: a table, or of a forecaster its windows, and what these are called; with labels, groups and
    how it is read."""
    from ..inference.forecast_windows import windows_of
    from ..inference.loading import learnt_column, saved_metrics
    from ..inference.table_inputs import is_wide, usable_pattern

    reading = reading_of(options)
    pattern = options.column_pattern or usable_pattern(table, processor)
    if model.task.name != "forecasting" or is_wide(table, processor.variate_names, pattern):
        labels = options.labels or learnt_column(saved_metrics(options.model), table)
        return table, None, {"labels": labels, "groups": options.group, **reading}
    if options.labels is not None:
        raise ValueError("--labels is for whole series: forecasts are compared with what came in the table itself")
    windows = windows_of(options.model, processor, model.config, table, options.rows, **reading)
    if options.group not in (None, windows.column):
        raise ValueError(
            f"--group {options.group}: of forecasts, parts are exchanged within windows of one series at most, whose "
            f"column is {windows.column!r}"
        )
    return windows.samples, windows.titles, {"groups": None if options.group is None else windows.series}


def _write(rows: Any, path: Path) -> None:
    """As CSV that no spreadsheet runs formulas of."""
    from ..training.train_report import write_csv

    write_csv(rows, path)


__all__ = ["add_explain"]
