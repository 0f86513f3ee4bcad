# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip train`: its words, its questions, and what it prints; the work is in `training`."""

import argparse
import functools
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..escaping import one_line, visible
from . import forecasts
from .options import EXIT_CODES, check_folder, positive, quiet

if TYPE_CHECKING:
    from ..data.roles import SplitPlan, TableRoles

USAGE = "timesclip train CSV --target COL --output DIR [options]"

TRAIN = """\
Train a model on your table, and say how good it is beside ridge and boosting.

The table (CSV, Excel, Parquet) has one row per series: ndvi_00, ndvi_01, ..., red_00, red_01, ..., the column to
predict, and perhaps columns that say where (site, farm) and when (year) a row is from: they split the rows
honestly into train, validation and test. With one row per time step (or value) give --series and --timestamp; for
forecasts, --timestamp and --horizon."""

TRAIN_EXAMPLES = """\
examples:
  timesclip train fields.csv --target yield --target-unit t/ha --output model/
  timesclip train fields.csv --target crop --group farm --static soil elevation --output model/
  timesclip train loads.csv --timestamp date --horizon 24 --future-covariates temperature --output model/
  timesclip predict new_fields.csv --model model/ --output predictions.csv

--help-all lists the training arguments of transformers, which may be given, too (--learning-rate 3e-4, ...)."""

_MAY_STAND_ALONE = ("random_length", "augment")  # words that mean something without any after them
_WHOLE_SEASON = 4  # --random-length alone begins at this fraction of a season


def add_train(commands: Any) -> None:
    """`timesclip train`."""
    command = commands.add_parser(
        "train",
        help="train a model on your table, and say how good it is",
        usage=USAGE,
        description=TRAIN,
        epilog=f"{TRAIN_EXAMPLES}\n{EXIT_CODES}",
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=37, width=112),
        allow_abbrev=False,
    )
    command.set_defaults(run=run, takes_words=True)
    _add_arguments(command)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="CSV", help="your table: .csv, .csv.gz, .txt, .xlsx or .parquet")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder to write the model and its report to")
    what = parser.add_argument_group("what to learn")
    what.add_argument("--target", metavar="COL", help="column to predict")
    what.add_argument("--target-unit", metavar="UNIT", default="", help="its unit, for the report: t/ha")
    kinds = ["regression", "classification"]
    what.add_argument("--task", choices=kinds, metavar="KIND", help=f"{' or '.join(kinds)}; else found from its cells")
    what.add_argument("--variates", nargs="+", metavar="NAME", help="read these alone, in this order; else all found")
    what.add_argument(
        "--column-pattern", metavar="P", help="how steps are named: dates, months, dots, ..., or a regex"
    )
    what.add_argument(
        "--missing-values",
        nargs="+",
        type=float,
        metavar="N",
        default=[],
        help="numbers that mark what is missing: -9999",
    )
    what.add_argument("--static", nargs="+", metavar="COL", default=[], help="read these beside the series; or: all")
    split = parser.add_argument_group("which rows are for testing (asked, or chosen and told, where you say nothing)")
    split.add_argument("--group", metavar="COL", help="whole sites, farms, ...: is it good where it has not been?")
    split.add_argument("--time", metavar="COL", help="the latest years, seasons, ...: is it good next year?")
    split.add_argument("--split", metavar="COL", help="a column that says train, validation, test; or: random")
    model = parser.add_argument_group("model")
    model.add_argument("--preset", default="auto", metavar="NAME", help="auto (default), small, medium, full, ...")
    model.add_argument(
        "--towers", default="auto", metavar="NAME", help="auto (default), tiny, timesclip-small, or a folder"
    )
    model.add_argument("--vision-checkpoint", metavar="NAME", help="CLIP or SigLIP: Hub id or folder")
    model.add_argument(
        "--text-checkpoint", metavar="NAME", help="the text tower's, BERT or T5, too; else the vision one's"
    )
    model.add_argument("--epochs", type=positive, metavar="N", help="else as many as the number of rows asks for")
    model.add_argument(
        "--ensemble", type=positive, metavar="K", help="K models of other seeds, averaged, in one folder"
    )
    any_step = "LOW HIGH: learn from parts of seasons, to answer at any step"
    model.add_argument("--random-length", type=positive, nargs="*", metavar="STEPS", help=any_step)
    change = "alter training series a little; alone, or as told: jitter=0.1 mixup=0.2"
    model.add_argument("--augment", nargs="*", metavar="AMOUNT", help=change)
    model.add_argument(
        "--seed", type=int, metavar="N", default=0, help="of weights, batches and what is drawn at random (0)"
    )
    model.add_argument("--no-peers", action="store_true", help="do not fit ridge and boosting beside it")
    model.add_argument(
        "--no-similar", action="store_true", help="keep nothing by which new series are compared with training series"
    )
    model.add_argument("--similar-names", metavar="COL", help="also keep their names, from this column")
    series = parser.add_argument_group("tables with one row per time step, and forecasts (--horizon)")
    series.add_argument("--timestamp", metavar="COL", help="column of the times; or: --timestamp-column")
    series.add_argument("--timestamp-column", dest="timestamp", help=argparse.SUPPRESS)
    series.add_argument("--series", "--series-column", metavar="COL", help="column of the series' names")
    series.add_argument("--variate-column", metavar="COL", help="with one row per value: what it is of")
    series.add_argument("--value-column", metavar="COL", help="with one row per value: the values")
    series.add_argument("--horizon", type=positive, metavar="H", help="steps to forecast")
    series.add_argument("--context", type=positive, metavar="T", help="steps to look back")
    series.add_argument(
        "--future-covariates", nargs="+", metavar="COL", default=[], help="known in advance: temperature, price, ..."
    )
    series.add_argument("--past-covariates", nargs="+", metavar="COL", default=[], help="known up to now alone")
    series.add_argument(
        "--calendar", nargs="+", metavar="PART", default=[], help="hour, weekday, year_day, holidays:FR, ...; or: auto"
    )
    series.add_argument("--season", type=positive, metavar="S", help="steps in a season; else by the times' rhythm")
    series.add_argument(
        "--quantiles", nargs="+", type=float, metavar="Q", default=[], help="learn these, such as 0.05 0.5 0.95"
    )
    parser.add_argument(
        "--help-all", action=_HelpAll, nargs=0, help="also list the training arguments of transformers"
    )


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        parser.print_help()
        print("\ntraining arguments of transformers (those that the command sets itself follow the number of rows):\n")
        text = _training_parser().format_help()
        print(text[text.index("\n\n") + 2 :])
        parser.exit()


def _training_parser() -> argparse.ArgumentParser:
    from transformers import HfArgumentParser

    from ..training.training_args import TimesCLIPTrainingArguments

    arguments: Any = TimesCLIPTrainingArguments
    parser: Any = HfArgumentParser(arguments, prog="timesclip train", add_help=False, allow_abbrev=False)
    for action in parser._actions:  # nothing but what was given
        action.default, action.required = argparse.SUPPRESS, False
    return parser


def read_training(words: list[str]) -> dict[str, Any]:
    """Training arguments of transformers that were given, by name; raises for words that are none."""
    if not words:
        return {}
    parser = _training_parser()
    parser.error = _refuse  # type: ignore[assignment]
    found, rest = parser.parse_known_args(words)
    if rest:
        raise ValueError(f"unknown: {' '.join(rest)} (help: timesclip train --help)")
    given = vars(found)
    if taken := sorted(given.keys() & {"output_dir", "seed", "num_train_epochs"}):
        raise ValueError(f"--{taken[0]}: say --output, --seed or --epochs")
    return given


def _refuse(message: str) -> None:
    raise ValueError(message)


def run(options: argparse.Namespace, words: list[str]) -> None:
    """Trains, reports, writes.

    Args:
        options: of the command.
        words: of the command line that they do not know: training arguments of transformers.
    """
    quiet()
    _check(options)
    from ..training.fit_series import Recipe
    from ..training.write_model import write_table_model

    output = Path(options.output)
    checkpoints = {"vision": options.vision_checkpoint, "text": options.text_checkpoint}
    recipe: dict[str, Any] = {
        "towers": options.towers,
        "checkpoints": {branch: name for branch, name in checkpoints.items() if name is not None},
        "epochs": options.epochs,
        "seed": options.seed,
        "ensemble": options.ensemble,
        "augment": None if options.augment is None else _augmentation(options.augment),
        "training": read_training(words),
    }
    command = shlex.join(["timesclip", "train", *_shown(options, words)])
    if options.horizon is not None:
        if options.quantiles:
            print(forecasts.train(options, recipe, output, command, _tell))
            return
        from ..data.covariates import CovariateRoles
        from ..training.fit_forecast import ForecastJob, train_forecast

        forecast = ForecastJob(
            options.table, options.timestamp, options.horizon, options.context, options.series,
            options.variates or (None if options.target is None else [options.target]),
            options.season, options.preset, Recipe(**recipe), not options.no_peers,
            CovariateRoles(
                (), options.future_covariates, options.past_covariates, options.static, options.calendar
            ),
            not options.no_similar,
        )  # fmt: skip
        told = train_forecast(forecast, output, command, _tell)
        forecasts.note_columns(options, output)
        print(told)
        return
    from ..training.fit_table import TableJob, fit, prepare

    job = TableJob(
        options.table, options.target, options.target_unit, options.task, options.variates, options.static,
        options.group, options.time, options.split, options.preset, Recipe(**recipe), not options.no_peers,
        options.column_pattern, not options.no_similar, options.similar_names, _long(options), options.missing_values,
    )  # fmt: skip
    prepared = prepare(job, _ask if sys.stdin.isatty() and sys.stderr.isatty() else None)
    job = with_lengths(job, options.random_length, prepared.num_steps)
    for line in describe(prepared):
        _tell(line)
    outcome = fit(prepared, job, output / "training", _tell)
    print(write_table_model(prepared, outcome, job, output, command))


def _long(options: argparse.Namespace) -> dict[str, str]:
    """How a table with one row per time step is read, as `TableJob.long`."""
    given = {
        "series_column": options.series,
        "timestamp_column": options.timestamp,
        "variate_column": options.variate_column,
        "value_column": options.value_column,
    }
    return {name: column for name, column in given.items() if column is not None}


def with_lengths(job: Any, lengths: list[int] | None, steps: int) -> Any:
    """The job with the lengths of `--random-length`: two numbers, or a quarter of the season to all of it."""
    if lengths is None:
        return job
    import dataclasses

    if len(lengths) not in (0, 2):
        raise ValueError(f"--random-length {' '.join(map(str, lengths))}: give LOW and HIGH, or no number at all")
    low, high = lengths or (max(1, steps // _WHOLE_SEASON), steps)
    if not low <= high <= steps:
        raise ValueError(f"--random-length {low} {high}: LOW to HIGH must lie within the {steps} steps of the table")
    return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, random_length=(low, high)))


def describe(prepared: Any) -> list[str]:
    """What was found in the table and what is done with it, line by line."""
    from ..data.tables import some_of

    roles, plan = prepared.roles, prepared.plan
    first, last = roles.steps
    lines = [
        f"{len(prepared.frame)} series of {len(roles.variates)} variates, steps {first} to {last}: "
        f"{some_of(roles.variates, 12)}",
        f"target {roles.target}: {roles.task} ({roles.task_reason})"
        + (f"; classes {some_of(prepared.class_names, 12)}" if prepared.class_names else ""),
    ]
    unused = [str(c) for c in (*roles.times, *roles.groups) if c.name not in (plan.column, *roles.statics)]
    unused += [name for name in roles.others if name != plan.column]
    if roles.statics:
        lines.append(f"read beside the series: {some_of(roles.statics, 12)}")
    if unused:
        lines.append(f"not read: {some_of(unused, 12)}; what is known beforehand may be: --static NAME ...")
    lines.append(f"split {prepared.split_in_words()}")
    if plan.reason != "as asked for":
        lines += [f"warning: {told}; rows are not split by it" for told in roles.unclear]
        others = [f"--time {c.name}" for c in roles.times if c.name != plan.column]
        others += [f"--group {c.name}" for c in roles.groups if c.name != plan.column]
        took = f"--{'split' if plan.kind in ('column', 'random') else plan.kind} {plan.column or 'random'}"
        lines.append(f"  took {took}: {plan.reason}" + (f"; else {', '.join(others)}" if others else ""))
    return lines + prepared.left_out


def _ask(roles: "TableRoles") -> "SplitPlan | None":
    """Lets somebody at a terminal choose how to split; nothing to choose: `None`."""
    from ..data.roles import SplitPlan, choose_split

    first = choose_split(roles)
    if first.kind in ("column", "random"):
        return first
    plans = [SplitPlan("time", c.name, "as asked for") for c in roles.times]
    plans += [SplitPlan("group", c.name, "as asked for") for c in roles.groups]
    plans.sort(key=lambda plan: (plan.kind, plan.column) != (first.kind, first.column))
    plans.append(SplitPlan("random", None, "as asked for"))
    counts = {c.name: c.count for c in (*roles.times, *roles.groups)}
    _tell("Rows of one place or season are alike; on both sides of a split they flatter every model. Test on")
    for number, plan in enumerate(plans, 1):
        words = {"time": "the latest of", "group": "whole values of", "random": "rows drawn at random"}[plan.kind]
        _tell(f"  {number}  {words}" + (f" {plan.column} ({counts[plan.column]} of them)" if plan.column else ""))
    while True:
        print("choose [1]: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer.strip():
            return plans[0]
        if answer.strip().isdecimal() and 1 <= int(answer) <= len(plans):
            return plans[int(answer) - 1]


def _check(options: argparse.Namespace) -> None:
    """What can be said before anything is loaded."""
    check_folder(options.output)
    forecast, long = options.horizon is not None, _long(options)
    if options.target is None and (options.timestamp is None) != (options.horizon is None):
        found = "horizon" if options.horizon else "timestamp"
        raise ValueError(f"forecasts need --timestamp and --horizon, found only --{found}")
    if forecast and options.timestamp is None:
        raise ValueError("forecasts need --timestamp and --horizon, found only --horizon")
    if not forecast and long and not {"series_column", "timestamp_column"} <= long.keys():
        raise ValueError(
            "a table with one row per time step needs --series and --timestamp, which make one series of its rows; "
            "for forecasts give --timestamp and --horizon"
        )
    if long and options.column_pattern is not None:
        raise ValueError("--column-pattern is for tables with one row per series")
    if not forecast and options.target is None:
        raise ValueError("--target says which column to predict; for forecasts give --timestamp and --horizon")
    names = (
        "task", "group", "time", "split", "random_length", "augment", "column_pattern", "variate_column",
        "value_column", "missing_values",
    )  # fmt: skip
    given = [
        name for name in names if getattr(options, name) not in ((None,) if name in _MAY_STAND_ALONE else (None, []))
    ]
    if forecast and given:
        flag = given[0].replace("_", "-")
        raise ValueError(f"--{flag} is for tables with one row per series; --horizon is for forecasts")
    if forecast and options.target is not None and options.variates is not None:
        raise ValueError("--target and --variates both say what to forecast: give one of them")
    own = ("context", "season", "future_covariates", "past_covariates", "calendar", "quantiles")
    given = [name.replace("_", "-") for name in own if getattr(options, name) not in (None, [])]
    if not forecast and given:
        raise ValueError(f"--{given[0]} is for forecasts: give --timestamp and --horizon, too")


def _shown(options: argparse.Namespace, words: list[str]) -> list[str]:
    """The command line again, without folders of this machine."""
    shown = [Path(options.table).name]
    for name, value in vars(options).items():
        if name in ("table", "output", "run", "takes_words", "command") or value in (None, "", False):
            continue
        if value == [] and name not in _MAY_STAND_ALONE:
            continue
        flag = f"--{name.replace('_', '-')}"
        if (name, value) in (("preset", "auto"), ("towers", "auto"), ("seed", 0)):
            continue
        if name in ("towers", "vision_checkpoint", "text_checkpoint") and Path(value).is_dir():
            value = Path(value).name
        values = value if isinstance(value, list) else [] if value is True else [value]
        shown += [flag, *map(str, values)]
    return [*shown, *words, "--output", Path(options.output).name]


def _augmentation(words: list[str]) -> str:
    from ..data.augmentation import Augmentation

    return str(Augmentation.read(" ".join(words)))


def _tell(line: str) -> None:
    print(visible(line) if sys.stderr.isatty() else one_line(line), file=sys.stderr, flush=True)


__all__ = ["add_train", "read_training", "run"]
