# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip pretrain`: its words, and what they mean; the work is in `training.pretraining`."""

import argparse
from typing import Any

from ..escaping import one_line
from .options import add_reading, add_verb, check_device, check_folder, positive, quiet, reading_of

_PRETRAIN = """\
Let towers learn from your own series, without labels: they are asked which two crops of a series belong together.

The result is a folder that timesclip train (--towers DIR), timesclip embed (--model DIR) and Python find. Worth trying
where you have many more series than labels; compare with the towers that ship. Killed or interrupted, the same
command goes on where it was."""

_PRETRAIN_EXAMPLES = """\
examples:
  timesclip pretrain all_fields.parquet --output towers/
  timesclip pretrain sensors.csv --timestamp-column time --start random --steps 5000 --output towers/
  timesclip train fields.csv --target yield --towers towers/ --output model/"""

_LINES = 20  # of progress, in all
_RATES = {"random": 2e-3, "trained": 5e-4}
_LARGEST_RATE = 1.0


def add_pretrain(commands: Any) -> None:
    """Adds the word `pretrain` to the command."""
    summary = "let towers learn from your series, without labels"
    parser = add_verb(commands, "pretrain", _pretrain, summary, _PRETRAIN, _PRETRAIN_EXAMPLES)
    parser.add_argument("--output", metavar="DIR", required=True, help="folder to write the towers to")
    parser.add_argument(
        "--start",
        default="timesclip-small",
        metavar="NAME",
        help="towers to start from: timesclip-small (default), which ship, a folder of such, or random",
    )
    parser.add_argument("--steps", type=positive, default=1000, metavar="N", help="of training in all (1000)")
    parser.add_argument("--batch-size", type=positive, default=64, metavar="N", help="series in a step (64)")
    parser.add_argument("--learning-rate", type=_rate, metavar="R", help="the highest; 2e-3 from random, else 5e-4")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and crops (0)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; else a GPU where there is one")
    add_reading(parser)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= _LARGEST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0 and up to {_LARGEST_RATE:g}")
    return rate


def _pretrain(options: argparse.Namespace) -> None:
    check_folder(options.output)
    from huggingface_hub.errors import HFValidationError

    from ..data.tables import read_table, some_of
    from ..inference.any_series import series_of
    from ..model.configuration_timesclip import TimesCLIPConfig
    from ..training.pretraining import PretrainingArguments, pretrain

    quiet()
    if options.device is not None:
        check_device(options.device)
    left_out: dict[str, str] = {}
    series = series_of(
        read_table(options.table, header=not options.no_header), left_out=left_out, **reading_of(options)
    )
    if left_out:
        count = len(left_out) + len(series.values)
        told = some_of(f"{name}: {reason}" for name, reason in left_out.items())
        print(f"{len(left_out)} of {count} series are left out: {one_line(told)}")
    start = None if options.start == "random" else options.start.rstrip("/\\") or options.start
    fields: dict[str, Any] = {"num_variates": 1, "vision_pooling": "cls_mean", "text_pooling": "cls_mean"}
    if start is None:
        config = TimesCLIPConfig.from_preset("no_selection", towers="timesclip-small", **fields)
    else:
        fields |= {"freeze_vision": False, "freeze_text": False}
        try:
            config = TimesCLIPConfig.from_vision_text_pretrained(start, start, "no_selection", **fields)
        except (OSError, HFValidationError) as error:
            reason = str(error).split("\n")[0]
            raise ValueError(f"--start {start}: no such towers ({reason})") from error
    pretrain(
        config,
        PretrainingArguments(
            options.output,
            steps=options.steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate or _RATES["random" if start is None else "trained"],
            seed=options.seed,
            device=options.device,
            log_steps=max(1, options.steps // _LINES),
            save_steps=max(1, min(200, options.steps // 4)),
        ),
        series,
        start,
    )


__all__ = ["add_pretrain"]
