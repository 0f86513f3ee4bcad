# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip report`: one page about a model and a table."""

import argparse
from pathlib import Path
from typing import Any

from ..escaping import one_line
from .options import EXIT_CODES, LAYOUTS, add_reading, find_task, positive, quiet, reading_of

_REPORT = """\
Write one page about a trained model and a table: how good it is, where it is bad, what it goes by, how wide its errors
are, its best and worst series, and what to distrust.

The page is a single HTML file that needs no network and can be printed."""

_REPORT_EXAMPLES = """\
examples:
  timesclip report model/ --table fields.csv --output report.html
  timesclip report model/ --table loads.csv --timestamp-column date --output report.html"""


def add_report(commands: Any) -> None:
    """`timesclip report`."""
    command = commands.add_parser(
        "report",
        help="write one page about a model and a table, to look at and to print",
        description=f"{_REPORT}\n\n{LAYOUTS}",
        epilog=f"{_REPORT_EXAMPLES}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=report)
    command.add_argument("model", metavar="MODEL", help="folder of a trained model, or its name on the Hub")
    command.add_argument("--table", metavar="CSV", required=True, help="your table, with what is true, or without")
    command.add_argument("--output", metavar="HTML", default="report.html", help="file to write (report.html)")
    command.add_argument("--labels", metavar="COL", help="column of what is true; else one of the target's name")
    command.add_argument("--group", metavar="COL", help="tell errors by this column; else found (site, farm, ...)")
    command.add_argument("--time", metavar="COL", help="tell errors over this column; else found (year, season, ...)")
    command.add_argument("--interval", type=float, metavar="P", help="share of the intervals (0.9)")
    command.add_argument(
        "--explained", type=_count, default=60, metavar="N", help="series for importance (60); 0: none"
    )
    add_reading(command)


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def report(options: argparse.Namespace) -> None:
    """Writes the page."""
    output = Path(options.output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--output {output}: the name must end in .html")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}")
    from ..inference.report import write_report

    quiet()
    find_task(options.model)
    write_report(
        options.model, _table(options), output, labels=options.labels, group=options.group, time=options.time,
        interval=options.interval, explained=options.explained, **reading_of(options),
    )  # fmt: skip
    print(f"written to {one_line(output)}")


def _table(options: argparse.Namespace) -> Any:
    """The path, or the table where its first line needs to be said."""
    if not options.no_header:
        return options.table
    from ..data.tables import read_table

    return read_table(options.table, header=False)


__all__ = ["add_report"]
