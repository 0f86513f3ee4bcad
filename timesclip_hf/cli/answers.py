# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The commands `timesclip predict` and `timesclip embed`: a table in, the same table with answers out."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..escaping import csv_quoting, one_line, safe_cells, visible
from . import forecasts
from .options import (
    add_reading,
    add_verb,
    check_device,
    check_output,
    find_task,
    positive,
    quiet,
    reading_of,
)

_PREDICT = """\
Predict the rows of a table with a trained model, in the units that it was trained on.

The model itself says what comes out: a number or a class for each series, or the time steps that follow. The other
columns of your table (names, years, ...) stay beside the predictions."""

_PREDICT_EXAMPLES = """\
examples:
  timesclip predict new_fields.csv --model runs/fields/small/seed0 --output predictions.csv
  timesclip predict new_fields.csv --model runs/fields/small/seed0 --interval 0.9 --output predictions.csv
  timesclip predict sensors.csv --model runs/sensors/forecast/seed0 --timestamp-column time --output next.csv
  timesclip predict loads.csv --future forecast_of_weather.csv --model model/ --timestamp-column time"""

_EMBED = """\
Write what a model's towers say of each series of a table: columns of numbers, embed_0000, embed_0001, ..., for models
of your own, or to find series that are alike.

Any trained or pre-trained TimesCLIP model will do; one that was pretrained for any series takes the scale of values
from your table. The other columns of your table (names, years, ...) stay beside."""

_EMBED_EXAMPLES = """\
examples:
  timesclip embed fields.csv --output embeds.parquet
  timesclip embed sensors.csv --model runs/pretrained --timestamp-column time --series-column site --output x.csv"""


def add_predict(commands: Any) -> None:
    """`timesclip predict`."""
    command = add_verb(
        commands, "predict", predict, "predict the rows of a table with a trained model", _PREDICT, _PREDICT_EXAMPLES
    )
    command.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    command.add_argument(
        "--interval",
        type=float,
        metavar="SHARE",
        help="such as 0.9: two more columns for each prediction, between which so large a share of truths lies; of "
        "classes, the set that holds the right one so often (models of timesclip train know intervals)",
    )
    command.add_argument(
        "--future",
        metavar="CSV",
        help="of forecasts with covariates known in advance: their values in the steps to come",
    )
    command.add_argument(
        "--similar",
        nargs="?",
        type=positive,
        const=True,
        metavar="K",
        help="how far each series is from those of the training (distance, unusual; told anyway by models of "
        "timesclip train, of forecasts in a warning), and which K of them are nearest",
    )
    command.add_argument("--no-similar", action="store_true", help="leave these columns out")
    command.add_argument("--horizon", type=positive, metavar="H", help="of forecasts: so many steps")
    _add_answering(command)


def add_embed(commands: Any) -> None:
    """`timesclip embed`."""
    command = add_verb(
        commands, "embed", embed, "write what a model says of the rows of a table, as columns", _EMBED, _EMBED_EXAMPLES
    )
    command.add_argument(
        "--model",
        default="timesclip-small",
        help="folder of a trained model, or its name on the Hub, or of one that ships (timesclip-small)",
    )
    _add_answering(command)


def _add_answering(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--output", metavar="CSV", help="file (.csv, .xlsx, .parquet) or folder to write; else printed"
    )
    command.add_argument("--batch-size", type=positive, metavar="N", help="series at once; less needs less memory")
    command.add_argument("--device", help="cpu, cuda, cuda:1, mps, ...; else a GPU where there is one")
    command.add_argument("--one-series-per-row", action="store_true", help="each row: a name, a series")
    command.add_argument(
        "--safe-csv",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="put a quote in front of text that spreadsheets would run as a formula (=, +, -, @); "
        "numbers stay as they are",
    )
    add_reading(command)


def predict(options: argparse.Namespace) -> None:
    """Writes a table with a model's predictions beside its columns."""
    _answer(options, embeds=False)


def embed(options: argparse.Namespace) -> None:
    """Writes a table with a model's embeds beside its columns."""
    _answer(options, embeds=True)


def _answer(options: argparse.Namespace, embeds: bool) -> None:
    """A table in, the same table with a model's answers out."""
    output = None if options.output is None else check_output(options, (".csv", ".xlsx", ".parquet"))
    from transformers import pipeline

    from ..inference.table_parts import process_device
    from ..model.tower_configs import checkpoint_folder

    quiet()
    if options.device is not None:
        check_device(options.device)
    in_parts = output is not None and _is_parquet_alone(options, output)
    table = None if in_parts else _read_table(options)
    model = checkpoint_folder(options.model) if embeds else options.model
    task: Any = find_task(model, embeds)  # transformers' types know its own tasks only
    if not embeds and (answers := forecasts.predict(options, lambda: _read_table(options))) is not None:
        count = _write(answers, options, output)
        if output is not None:
            print(f"{count} rows written to {one_line(output)}")
        return
    predict: Any = pipeline(task, model=model, device=options.device or process_device())
    asked: dict[str, Any] = {
        "batch_size": options.batch_size,
        "progress_bar": sys.stderr.isatty(),
        **reading_of(options),
    }
    if not embeds and options.interval is not None:
        asked["interval"] = options.interval
    if not embeds and options.future is not None:
        asked["future"] = options.future
    forecast = task == "time-series-forecasting"
    if not embeds and not (forecast and table is None) and (similar := _similar(options, table)) is not None:
        asked["similar"] = similar
    written = _answer_in_parts(predict, options, output, asked) if output is not None and in_parts else None
    if written is None:
        table = _read_table(options) if table is None else table
        written = _answer_at_once(predict, table, options, output, asked, embeds)
    if output is not None and written >= 0:
        print(f"{written} rows written to {one_line(output)}")


def _similar(options: argparse.Namespace, table: Any) -> bool | int | None:
    """What is asked for of training series, or told unasked where they lie beside the model and the table leaves room
    for it; `table`: `None`, where it is read in parts."""
    from ..data.parquet import find_sources
    from ..features.similar import SimilarSeries

    if options.no_similar or options.similar:
        return None if options.no_similar else options.similar
    if SimilarSeries.load(options.model) is None:
        return None
    names = [source.schema.names for source in find_sources(options.table)] if table is None else [list(table)]
    if taken := [name for name in ("distance", "unusual") if any(name in some for some in names)]:
        told = f"the table has a column {taken[0]!r} of its own, so how like the training each series is is left out"
        print(f"warning: {told}", file=sys.stderr)
        return None
    return True


def _answer_at_once(
    predict: Any, table: Any, options: argparse.Namespace, output: Path | None, asked: dict[str, Any], embeds: bool
) -> int:
    """Rows that were written of a table that is held as a whole."""
    from ..inference.any_series import pipeline_for_table

    if output is not None and not output.suffix:
        raise ValueError(f"--output {output}: a folder is for tables with one row per series: name a file")
    if embeds:
        predict = pipeline_for_table(predict, table, **reading_of(options))
    answers = predict(table, **asked)
    if predict.task == "time-series-forecasting" and options.similar is None and "similar" in asked:
        answers = answers.drop(columns=["distance", "unusual"])  # a warning told it; rows are steps
    return _write(answers, options, output)


def _write(result: Any, options: argparse.Namespace, output: Path | None) -> int:
    """Rows that were written."""
    from ..data.files import write_excel

    if output is not None and output.suffix.lower() == ".parquet":
        result.to_parquet(output, index=False)
    elif output is not None and output.suffix.lower() == ".xlsx":
        write_excel(result, output)
    else:
        _write_csv(result, output, options.safe_csv)
    return len(result)


def _read_table(options: argparse.Namespace) -> Any:
    from ..data.long import load_series_rows
    from ..data.tables import read_table

    table = read_table(options.table, header=not options.no_header)
    return load_series_rows(table) if options.one_series_per_row else table


def _is_parquet_alone(options: argparse.Namespace, output: Path) -> bool:
    """Whether a table and its answers may be too large to be held at once, and need not be."""
    from ..data.parquet import is_parquet

    by_steps = set(reading_of(options)) - {"column_pattern"}
    return is_parquet(options.table) and is_parquet(output) and not by_steps and not options.one_series_per_row


def _answer_in_parts(predict: Any, options: argparse.Namespace, output: Path, asked: dict[str, Any]) -> int | None:
    """Rows that were written, -1 in all processes but one; `None`: this is no table with one row per series."""
    from ..inference.table_parts import answer_parquet, is_streamed

    if not is_streamed(predict, options.table):
        return None
    return answer_parquet(predict, options.table, output, **asked)


def _write_csv(table: Any, output: Path | None, safe: bool) -> None:
    """A table as CSV, in a file or printed; in a terminal, which obeys control characters, they are shown."""
    from ..data.tables import warn_caller

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


__all__ = ["add_embed", "add_predict"]
