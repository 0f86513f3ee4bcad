# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the words of the command share: how a table is read, where answers go, errors in one line."""

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..escaping import one_line

LAYOUTS = """\
The table (CSV, Excel or Parquet, blank cells for missing values) may have

  one row per series, as fields of a farm:       field, ndvi_00, ndvi_01, ..., red_00, red_01, ...
  one row per time step, as a log of sensors:    time, load, temperature
  one row per value:                             field, date, band, value  (--variate-column band --value-column value)
  one row per series of one variate, as M4 has:  series, V1, V2, ...       (--one-series-per-row)

Columns are found by their names; their order does not matter."""

EXIT_CODES = "exit codes: 0 all went well; 2 something was wrong, and one line says what."

# What a folder that holds a model, or an adapter of one, has one of.
_MODEL_CONFIGS = ("config.json", "adapter_config.json")

# Options that say how a table is read, by their names in Python.
_READING = ("timestamp_column", "series_column", "fill_gaps", "column_pattern", "variate_column", "value_column")


def add_verb(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str, text: str, examples: str
) -> argparse.ArgumentParser:
    """A word of the command that reads a table.

    Args:
        commands: of the parser.
        name: the word.
        run: what it does.
        summary: of the list of words.
        text: what its own page begins with.
        examples: what that page ends with.

    Returns:
        Its parser, for its options.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{text}\n\n{LAYOUTS}",
        epilog=f"{examples}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "table", metavar="CSV", help="your table: .csv, .csv.gz, .txt, .xlsx or .parquet, or a folder"
    )
    return command


def add_reading(command: argparse.ArgumentParser) -> None:
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


def positive(text: str) -> int:
    """A whole number above 0, of a word."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def reading_of(options: argparse.Namespace) -> dict[str, Any]:
    """Options of `add_reading` that were given, by their names in Python."""
    return {name: value for name in _READING if (value := getattr(options, name))}


def readable(message: Any, variates: bool = True) -> str:
    """An error in one visible line, with the options' names in place of Python's.

    Args:
        variates: whether the word of the command has `--variates`; else such columns must leave the table.
    """
    text = str(message) or type(message).__name__
    if "Traceback (most recent call last)" in text:  # transformers quotes those of every class that it tried
        text = text.split("See the original errors")[0] + text.strip().splitlines()[-1]
    if not variates:
        text = re.sub("(n|N)ame (the columns to read|the true variates) in `variates`", _without_others, text)
        text = text.replace("of `variates`", "of the table")
    text = text.replace("header=False", "--no-header").replace("`variates`", "--variates")
    text = text.replace("missing_values=[...]", "timesclip train --missing-values ...")
    text = re.sub(r"\bbatch_size=", "--batch-size ", text)
    for name in _READING:
        text = re.sub(rf"\b{name}(=True)?\b", f"--{name.replace('_', '-')}", text)
    return one_line(text).strip()


def _without_others(found: re.Match[str]) -> str:
    return f"{'L' if found[1] == 'N' else 'l'}eave all but {found[2]} out of the table"


def quiet() -> None:
    """Bars only where someone looks at them, and no reports on weights."""
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not sys.stderr.isatty():
        disable_progress_bars()


def check_output(options: argparse.Namespace, accepted: tuple[str, ...]) -> Path:
    """Before the work, not after it."""
    path = Path(options.output)
    is_folder = ".parquet" in accepted and not path.suffix and Path(options.table).is_dir()  # of files, as the table
    if path.suffix.lower() not in accepted and not is_folder:
        raise ValueError(f"--output {path}: the name must end in {', '.join(accepted[:-1])} or {accepted[-1]}")
    if not path.parent.is_dir():
        raise ValueError(f"--output {path}: there is no folder {path.parent}")
    if path.exists() and Path(options.table).exists() and path.samefile(options.table):
        raise ValueError(f"--output {path}: this is your table, which would be lost")
    _check_writable(path)
    return path


def check_folder(name: str) -> Path:
    """A folder that can be written to, or made where it is named; before the work, not after it."""
    path = Path(name)
    if path.exists() and not path.is_dir():
        raise ValueError(f"--output {path}: this is a file, a folder is needed")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--output {path}: there is no folder {path.parent}")
    _check_writable(path)
    return path


def _check_writable(path: Path) -> None:
    place = path if path.exists() else path.absolute().parent
    if not os.access(place, os.W_OK):
        raise ValueError(f"--output {path}: you may not write to {place}")


def check_device(name: str) -> None:
    """Before the work, not in it."""
    import torch

    try:
        torch.empty(0, device=name)
    except Exception as error:  # torch has a type for each way in which a device can be absent
        reason = str(error).split("\n")[0]
        raise ValueError(f"--device {name} cannot be used here: {reason}. Leave it out, or use cpu") from error


def find_task(model: str, embeds: bool = False) -> str:
    """The pipeline that a model was trained for, or the one that embeds with any model of ours."""
    from ..inference.loading import own_config, pipeline_task
    from ..model.modeling_timesclip import TimesCLIPModel

    if Path(model).exists() and not any((Path(model) / name).is_file() for name in _MODEL_CONFIGS):
        raise ValueError(f"--model {model}: this folder holds no model, it has no {' or '.join(_MODEL_CONFIGS)}")
    try:
        return str(TimesCLIPModel.task.pipeline) if embeds and own_config(model) else pipeline_task(model)
    except OSError as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"--model {model}: no such folder, nor a model on the Hub ({reason})") from error


__all__ = [
    "EXIT_CODES",
    "LAYOUTS",
    "add_reading",
    "add_verb",
    "check_device",
    "check_folder",
    "check_output",
    "find_task",
    "positive",
    "quiet",
    "readable",
    "reading_of",
]
