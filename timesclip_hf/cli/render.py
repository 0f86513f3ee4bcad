# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip render`: what a model sees of a table."""

import argparse
from pathlib import Path
from typing import Any

from ..escaping import one_line
from .options import add_reading, add_verb, check_output, find_task, positive, quiet, reading_of

_RENDER = """\
Draw the plots that the model's vision tower sees: one small picture for each variate, pixel by pixel."""

_RENDER_EXAMPLES = """\
examples:
  timesclip render new_fields.csv --output seen.png
  timesclip render new_fields.csv --model runs/fields/full/seed0 --rows 3 --output seen.png"""

# Of a picture that no model asks for: steps drawn of a table with one row per time step.
_STEPS = 96


def add_render(commands: Any) -> None:
    """`timesclip render`."""
    command = add_verb(commands, "render", render, "draw what a model sees of a table", _RENDER, _RENDER_EXAMPLES)
    command.add_argument("--output", metavar="PNG", required=True, help="picture to write")
    command.add_argument("--model", help="draw as this model sees it; else with usual settings")
    command.add_argument("--rows", type=positive, default=1, metavar="N", help="first so many series (1)")
    add_reading(command)


def render(options: argparse.Namespace) -> None:
    """Draws the first series of a table."""
    output = check_output(options, (".png", ".pdf", ".svg"))
    from ..data.collator import TimesCLIPDataCollator
    from ..data.pivot import spread_variates
    from ..data.tables import read_table
    from ..inference.pipeline_inputs import read_samples
    from ..plots import plot_model_view

    quiet()
    frame, reading = read_table(options.table, header=not options.no_header), reading_of(options)
    if "variate_column" in reading or "value_column" in reading:
        told: dict[str, Any] = {name: reading.pop(name, None) for name in ("variate_column", "value_column")}
        steps: dict[str, Any] = {name: reading.get(name) for name in ("timestamp_column", "series_column")}
        frame = spread_variates(frame, **told, **steps)
    if options.model is None:
        processor, newest_steps = _usual_processor(frame, reading), True
    else:
        processor, newest_steps = _saved_processor(options.model)
    samples = read_samples(frame, processor, newest_steps=newest_steps, reads_static=False, **reading)
    rows = list(samples.rows)
    if not rows or samples.table is None:
        raise ValueError("no series to draw: in each of them a variate has no value at all")
    samples.table.warn()
    if processor.statistics is None and processor.scaling == "dataset":
        processor.fit([row["past_values"] for row in rows])
    rows = rows[: options.rows]
    images = processor.to_images(TimesCLIPDataCollator(processor)(rows)["pixel_values"])  # (rows, V, height, width, 3)
    names = processor.variate_names or ["value"]
    if processor.layout == "grid":
        names = [", ".join(names)]
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
    from ..inference.loading import own_config, saved_model_class
    from ..model.agreement import check_agreement
    from ..model.processing_timesclip import TimesCLIPProcessor

    find_task(model, embeds=True)
    processor, config = TimesCLIPProcessor.from_pretrained(model), own_config(model)
    task = saved_model_class(config).task
    check_agreement(processor, config, task)
    if processor.image_size is None:
        raise ValueError(f"--model {model}: this model has no vision tower, it sees no plots")
    return processor, task.reads_newest_steps


def _usual_processor(frame: Any, reading: dict[str, Any]) -> Any:
    """Whole series share the axes of their table, so that height means level; of a long series, each plot its own."""
    from ..data.columns import step_columns
    from ..data.tables import is_nameless
    from ..data.wide import find_variates
    from ..model.processing_timesclip import TimesCLIPProcessor

    # Columns `sensor_1`, `sensor_2`, ... are taken for series here, as long as nobody says otherwise.
    pattern, known = reading.get("column_pattern"), step_columns(frame.columns, (), reading.get("column_pattern"))
    clear = {v for name, (v, step) in known.items() if not isinstance(step, int) or name.endswith(f"_{step:02d}")}
    found = find_variates(frame.columns, (), pattern)
    if variates := {name: steps for name, steps in found.items() if pattern or name in clear}:
        steps = len(next(iter(variates.values())))
        return TimesCLIPProcessor(steps, min(16, steps), min(8, steps), variate_names=list(variates))
    others = [name for name in frame.columns if name in reading.values() or is_nameless(name)]
    numbers = frame.drop(columns=others).select_dtypes("number")
    if numbers.empty:
        raise ValueError("the table has no columns of numbers")
    return TimesCLIPProcessor(_STEPS, scaling="instance", variate_names=list(numbers.columns))


__all__ = ["add_render"]
