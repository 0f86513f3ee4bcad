# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip probe`: which layer of a vision tower to read."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..escaping import one_line
from .options import EXIT_CODES, check_folder, positive, quiet

_PROBE = """\
Say which layer of a vision tower to read for your table: its last one is rarely the best for series.

Every layer and pooling gets a head in closed form, judged on series that were left out of it. Rows of the training
part alone are looked at, which are those that timesclip train would take with the same words. Nothing is decided:
the table, the picture and the recommendation are for you."""

_PROBE_EXAMPLES = """\
examples:
  timesclip probe fields.csv --target yield --output probe/
  timesclip probe fields.csv --target crop --group farm --vision-checkpoint openai/clip-vit-base-patch16 \\
      --series 500 --output probe/"""


def add_probe(commands: Any) -> None:
    """`timesclip probe`."""
    command = commands.add_parser(
        "probe",
        help="say which layer of a vision tower to read for your table",
        description=_PROBE,
        epilog=f"{_PROBE_EXAMPLES}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=probe)
    command.add_argument("table", metavar="CSV", help="your table with one row per series, as for timesclip train")
    command.add_argument("--target", metavar="COL", required=True, help="column to predict")
    command.add_argument("--output", metavar="DIR", required=True, help="folder for probe.csv and probe.png")
    command.add_argument(
        "--vision-checkpoint", metavar="NAME", default="timesclip-small",
        help="of CLIP, SigLIP, ViT, DINOv2, ...: Hub id or folder; also of a TimesCLIP model (timesclip-small)",
    )  # fmt: skip
    command.add_argument("--series", type=positive, metavar="N", default=1000, help="at most so many series (1000)")
    command.add_argument("--task", choices=["regression", "classification"], help="else found from the target's cells")
    command.add_argument("--variates", nargs="+", metavar="NAME", help="read these alone, in this order")
    command.add_argument("--column-pattern", metavar="P", help="how steps are named: dates, months, dots, ...")
    command.add_argument("--group", metavar="COL", help="whole sites, farms, ... are left out for testing")
    command.add_argument("--time", metavar="COL", help="the latest years, seasons, ... are")
    command.add_argument("--split", metavar="COL", help="a column that says train, validation, test; or: random")
    command.add_argument("--seed", type=int, metavar="N", default=0, help="of what is drawn at random (0)")


def probe(options: argparse.Namespace) -> None:
    """Reads, judges, writes, and recommends."""
    output = check_folder(options.output)
    from ..training.fit_series import Recipe
    from ..training.fit_table import TableJob, prepare
    from ..training.probe import probe_table
    from ..training.train_report import write_csv
    from .train import describe

    quiet()
    job = TableJob(
        options.table, options.target, task=options.task, variates=options.variates, group=options.group,
        time=options.time, split=options.split, recipe=Recipe(seed=options.seed),
        column_pattern=options.column_pattern,
    )  # fmt: skip
    prepared = prepare(job)
    for line in describe(prepared):
        print(one_line(line), file=sys.stderr)
    found = probe_table(prepared, options.vision_checkpoint, options.series, options.seed)
    found.title = f"{Path(options.table).name}, {options.target}: {Path(options.vision_checkpoint).name}"
    output.mkdir(exist_ok=True)
    write_csv(found.table, output / "probe.csv")
    found.figure().savefig(output / "probe.png", dpi=120)
    print(f"{found.metric} of {found.series} series of the training part, left out in turn")
    print(found.to_text())
    fields = ", ".join(f"{name}={value!r}" for name, value in found.fields.items())
    print(f"* recommended: TimesCLIPConfig(..., {fields})")
    print(f"written to {one_line(output)}: probe.csv, probe.png")


__all__ = ["add_probe"]
