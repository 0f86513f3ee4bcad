# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip`: a model of a table, predictions, embeds, pictures of what it sees, without any Python."""

import argparse
import functools
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import cli_train
from .escaping import csv_quoting, one_line, safe_cells, visible

_LAYOUTS = """\
The table (CSV, Excel or Parquet, blank cells for missing values) may have

  one row per series, as fields of a farm:       field, ndvi_00, ndvi_01, ..., red_00, red_01, ...
  one row per time step, as a log of sensors:    time, load, temperature
  one row per value:                             field, date, band, value  (--variate-column band --value-column value)
  one row per series of one variate, as M4 has:  series, V1, V2, ...       (--one-series-per-row)

Columns are found by their names; their order does not matter."""

_PREDICT = """\
Predict the rows of a table with a trained model, in the units that it was trained on.

The model itself says what comes out: a number or a class for each series, or the time steps that follow. The other
columns of your table (names, years, ...) stay beside the predictions."""

_PREDICT_EXAMPLES = """\
examples:
  timesclip predict new_fields.csv --model runs/fields/small/seed0 --output predictions.csv
  timesclip predict sensors.csv --model runs/sensors/forecast/seed0 --timestamp-column time --output next.csv

exit codes: 0 all went well; 2 something was wrong, and one line says what."""

_EMBED = """\
Write what a model's towers say of each series of a table: columns of numbers, embed_0000, embed_0001, ..., for models
of your own, or to find series that are alike.

Any trained or pre-trained TimesCLIP model will do; one that was pretrained for any series takes the scale of values
from your table. The other columns of your table (names, years, ...) stay beside."""

_EMBED_EXAMPLES = """\
examples:
  timesclip embed fields.csv --output embeds.parquet
  timesclip embed sensors.csv --model runs/pretrained --timestamp-column time --series-column site --output embeds.csv

exit codes: 0 all went well; 2 something was wrong, and one line says what."""

_RENDER = """\
Draw the plots that the model's vision tower sees: one small picture for each variate, pixel by pixel."""

_RENDER_EXAMPLES = """\
examples:
  timesclip render new_fields.csv --output seen.png
  timesclip render new_fields.csv --model runs/fields/full/seed0 --rows 3 --output seen.png

exit codes: 0 all went well; 2 something was wrong, and one line says what."""

# What a folder that holds a model, or an adapter of one, has one of.
_MODEL_CONFIGS = ("config.json", "adapter_config.json")

# Options that say how a table is read, by their names in Python.
_READING = ("timestamp_column", "series_column", "fill_gaps", "column_pattern", "variate_column", "value_column")

# Of a picture that no model asks for: steps drawn of a table with one row per time step.
_STEPS = 96


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)} (help: {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: words of the command line; not given: those that the process was started with.

    Returns:
        The exit code: 0, or 2 after an error, which is told in one line on stderr.
    """
    parser = _parser()
    options, words = parser.parse_known_args(arguments)
    command = f"timesclip {options.command}"
    if options.command == "train":  # of the others, transformers knows some
        options.run = functools.partial(_train, words=words)
    elif words:
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are lines of their own
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"{command}: warning: {_one_line(message)}", file=sys.stderr)
        try:
            options.run(options)
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes it
            return 0
        except RecursionError:  # of transformers, which reads some files before we can
            where = one_line(getattr(options, "model", None) or "the model")
            print(f"{command}: error: {where}: one of its JSON files is nested too deeply to be read", file=sys.stderr)
            return 2
        except Exception as error:  # whatever it is: people who use commands are not helped by a traceback
            print(f"{command}: error: {_one_line(error)}", file=sys.stderr)
            return 2
    return 0


def _parser() -> _Parser:
    from . import __version__

    parser = _Parser(prog="timesclip", description=__doc__, epilog="timesclip COMMAND --help explains a command.")
    parser.add_argument("--version", action="version", version=f"timesclip_hf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run, summary, text, examples in (
        ("predict", _predict, "predict the rows of a table with a trained model", _PREDICT, _PREDICT_EXAMPLES),
        ("embed", _embed, "write what a model says of the rows of a table, as columns", _EMBED, _EMBED_EXAMPLES),
        ("render", _render, "draw what a model sees of a table", _RENDER, _RENDER_EXAMPLES),
    ):
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{text}\n\n{_LAYOUTS}",
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        command.add_argument("table", metavar="CSV", help="your table: .csv, .csv.gz, .txt, .xlsx or .parquet")
        if name in ("predict", "embed"):
            ships = ", or of one that ships (timesclip-small)" if name == "embed" else ""
            command.add_argument(
                "--model",
                required=name == "predict",
                default="timesclip-small",
                help=f"folder of a trained model, or its name on the Hub{ships}",
            )
            command.add_argument(
                "--output", metavar="CSV", help="file to write (.csv, .xlsx or .parquet); else printed"
            )
            command.add_argument(
                "--batch-size", type=_positive, metavar="N", help="series at once; less needs less memory"
            )
            command.add_argument("--device", help="cpu, cuda, cuda:1, mps, ...; else a GPU where there is one")
            command.add_argument("--one-series-per-row", action="store_true", help="each row: a name, a series")
            command.add_argument(
                "--safe-csv",
                action=argparse.BooleanOptionalAction,
                default=True,
                help="put a quote in front of text that spreadsheets would run as a formula (=, +, -, @); "
                "numbers stay as they are",
            )
        else:
            command.add_argument("--output", metavar="PNG", required=True, help="picture to write")
            command.add_argument("--model", help="draw as this model sees it; else with usual settings")
            command.add_argument("--rows", type=_positive, default=1, metavar="N", help="first so many series (1)")
        _add_reading(command)
    _add_train(commands)
    return parser


def _add_reading(command: argparse.ArgumentParser) -> None:
    """Options that say how a table is read."""
    command.add_argument("--timestamp-column", metavar="NAME", help="column of the times; one row per time step")
    command.add_argument("--series-column", metavar="NAME", help="column that says which series a time step is of")
    command.add_argument("--variate-column", metavar="NAME", help="of a table with one row per value: what it is of")
    command.add_argument("--value-column", metavar="NAME", help="of a table with one row per value: the values")
    command.add_argument("--fill-gaps", action="store_true", help="take time steps that are not there as missing")
    command.add_argument(
        "--column-pattern",
        metavar="P",
        help="how columns of a table with one row per series are named: dates, months, dots, dashes, ..., or a "
        "regular expression with the groups variate and step or date; else as the model was trained",
    )
    command.add_argument("--no-header", action="store_true", help="the text file has no line of column names")


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a model on your table, and say how good it is",
        usage=cli_train.USAGE,
        description=cli_train.TRAIN,
        epilog=cli_train.TRAIN_EXAMPLES,
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=36, width=112),
        allow_abbrev=False,
    )
    cli_train.add_arguments(train, _positive)


def _train(options: argparse.Namespace, words: list[str]) -> None:
    _quiet()
    cli_train.run(options, words)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _one_line(message: Any) -> str:
    """An error in one visible line, with the options' names in place of Python's."""
    text = str(message) or type(message).__name__
    if "Traceback (most recent call last)" in text:  # transformers quotes those of every class that it tried
        text = text.split("See the original errors")[0] + text.strip().splitlines()[-1]
    text = text.replace("header=False", "--no-header")
    for name in _READING:
        text = re.sub(rf"\b{name}(=True)?\b", f"--{name.replace('_', '-')}", text)
    return one_line(text).strip()


def _reading(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name in _READING if (value := getattr(options, name))}


def _quiet() -> None:
    """Bars only where someone looks at them, and no reports on weights."""
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not sys.stderr.isatty():
        disable_progress_bars()


def _check_output(options: argparse.Namespace, accepted: tuple[str, ...]) -> Path:
    """Before the work, not after it."""
    path = Path(options.output)
    if path.suffix.lower() not in accepted:
        raise ValueError(f"--output {path}: the name must end in {', '.join(accepted[:-1])} or {accepted[-1]}")
    if not path.parent.is_dir():
        raise ValueError(f"--output {path}: there is no folder {path.parent}")
    if path.exists() and Path(options.table).exists() and path.samefile(options.table):
        raise ValueError(f"--output {path}: this is your table, which would be lost")
    return path


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(0, device=name)
    except Exception as error:  # torch has a type for each way in which a device can be absent
        reason = str(error).split("\n")[0]
        raise ValueError(f"--device {name} cannot be used here: {reason}. Leave it out, or use cpu") from error


def _find_task(model: str, embeds: bool = False) -> str:
    """The pipeline that a model was trained for, or the one that embeds with any model of ours."""
    from .inference.loading import own_config, pipeline_task
    from .model.modeling_timesclip import TimesCLIPModel

    if Path(model).exists() and not any((Path(model) / name).is_file() for name in _MODEL_CONFIGS):
        raise ValueError(f"--model {model}: this folder holds no model, it has no {' or '.join(_MODEL_CONFIGS)}")
    try:
        return str(TimesCLIPModel.task.pipeline) if embeds and own_config(model) else pipeline_task(model)
    except OSError as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"--model {model}: no such folder, nor a model on the Hub ({reason})") from error


def _predict(options: argparse.Namespace) -> None:
    _answer(options, embeds=False)


def _embed(options: argparse.Namespace) -> None:
    _answer(options, embeds=True)


def _answer(options: argparse.Namespace, embeds: bool) -> None:
    """A table in, the same table with a model's answers out."""
    output = None if options.output is None else _check_output(options, (".csv", ".xlsx", ".parquet"))
    from transformers import pipeline

    from .data.files import write_excel
    from .data.long import load_series_rows
    from .data.tables import read_table
    from .inference.any_series import pipeline_for_table
    from .model.tower_configs import checkpoint_folder

    _quiet()
    if options.device is not None:
        _check_device(options.device)
    table: Any = read_table(options.table, header=not options.no_header)
    if options.one_series_per_row:
        table = load_series_rows(table)
    model = checkpoint_folder(options.model) if embeds else options.model
    task: Any = _find_task(model, embeds)  # transformers' types know its own tasks only
    predict: Any = pipeline(task, model=model, device=options.device)
    if embeds:
        predict = pipeline_for_table(predict, table, **_reading(options))
    result = predict(table, batch_size=options.batch_size, progress_bar=sys.stderr.isatty(), **_reading(options))
    if output is not None and output.suffix.lower() == ".parquet":
        result.to_parquet(output, index=False)
    elif output is not None and output.suffix.lower() == ".xlsx":
        write_excel(result, output)
    else:
        _write_csv(result, output, options.safe_csv)
    if output is not None:
        print(f"{len(result)} rows written to {one_line(output)}")


def _write_csv(table: Any, output: Path | None, safe: bool) -> None:
    """A table as CSV, in a file or printed; in a terminal, which obeys control characters, they are shown."""
    from .data.tables import warn_caller

    if safe:
        table, changed = safe_cells(table)
        if changed:
            warn_caller(
                f"{changed} cells or column names begin as formulas do: each has a quote (') in front, so that no "
                "spreadsheet runs it (--no-safe-csv leaves them as they are)"
            )
    quoting = csv_quoting(table)
    if output is not None:
        table.to_csv(output, index=False, quoting=quoting)
        return
    text = table.to_csv(index=False, quoting=quoting)
    sys.stdout.write(visible(text, lines=True) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _render(options: argparse.Namespace) -> None:
    output = _check_output(options, (".png", ".pdf", ".svg"))
    from .data.collator import TimesCLIPDataCollator
    from .data.tables import read_table
    from .inference.pipeline_inputs import read_samples
    from .plots import plot_model_view

    _quiet()
    frame = read_table(options.table, header=not options.no_header)
    if options.model is None:
        processor, newest_steps = _usual_processor(frame, _reading(options)), True
    else:
        processor, newest_steps = _saved_processor(options.model)
    samples = read_samples(frame, processor, newest_steps=newest_steps, reads_static=False, **_reading(options))
    rows = list(samples.rows)
    if not rows or samples.table is None:
        raise ValueError("no series to draw: in each of them a variate has no value at all")
    samples.table.warn()
    if processor.statistics is None and processor.scaling == "dataset":
        processor.fit([row["past_values"] for row in rows])
    rows = rows[: options.rows]
    images = processor.to_images(TimesCLIPDataCollator(processor)(rows)["pixel_values"])  # (rows, V, height, width, 3)
    names = processor.variate_names or ["value"]
    titles = names
    if len(rows) > 1:
        identity = samples.table.identity
        labels = [
            str(identity.iloc[k, 0] if len(identity.columns) else k) for k in samples.table.positions[: len(rows)]
        ]
        titles = [f"{name} ({label})" for label in labels for name in names]
    columns = None if len(rows) == 1 else len(names)  # a row of the picture for each series
    figure = plot_model_view(images.reshape(-1, *images.shape[2:]), titles, Path(options.table).name, columns)
    figure.savefig(output, dpi=max(100, images.shape[3]))  # a panel is over two inches wide: no pixel gets lost
    print(f"{len(rows)} series drawn to {one_line(output)}")


def _saved_processor(model: str) -> tuple[Any, bool]:
    """A model's processor, and whether the model reads the newest steps of a table with one row per series."""
    from .inference.loading import own_config, saved_model_class
    from .model.agreement import check_agreement
    from .model.processing_timesclip import TimesCLIPProcessor

    _find_task(model, embeds=True)
    processor, config = TimesCLIPProcessor.from_pretrained(model), own_config(model)
    task = saved_model_class(config).task
    check_agreement(processor, config, task)
    if processor.image_size is None:
        raise ValueError(f"--model {model}: this model has no vision tower, it sees no plots")
    return processor, task.reads_newest_steps


def _usual_processor(frame: Any, reading: dict[str, Any]) -> Any:
    """Whole series share the axes of their table, so that height means level; of a long series, each plot its own."""
    from .data.columns import step_columns
    from .data.wide import find_variates
    from .model.processing_timesclip import TimesCLIPProcessor

    # Columns `sensor_1`, `sensor_2`, ... are taken for series here, as long as nobody says otherwise.
    pattern = reading.get("column_pattern")
    found = find_variates(frame.columns, (), pattern)
    dated = any(not isinstance(step, int) for _, step in step_columns(frame.columns, (), pattern).values())
    if variates := {name: steps for name, steps in found.items() if pattern or dated or steps[-1] > 9}:
        steps = len(next(iter(variates.values())))
        return TimesCLIPProcessor(steps, min(16, steps), min(8, steps), variate_names=list(variates))
    numbers = frame.drop(columns=[name for name in reading.values() if name in frame.columns]).select_dtypes("number")
    if numbers.empty:
        raise ValueError("the table has no columns of numbers")
    return TimesCLIPProcessor(_STEPS, scaling="instance", variate_names=list(numbers.columns))


__all__ = ["main"]
