# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One page about a model and a table: how good, where bad, why, how sure, what to distrust; it needs no network."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..data.tables import read_table, some_of
from ..environment import environment
from ..escaping import one_line, with_unit
from ..model.intervals import check_level
from ..model.processing_timesclip import TimesCLIPProcessor
from .answers import Answerer
from .intervals import usual_level
from .loading import learnt_column, own_config, saved_metrics, saved_model_class
from .table_inputs import one_row_each

_TEMPLATE = Path(__file__).with_name("report_template.html")


@dataclass
class Block:
    """A part of a section; what is filled depends on `kind`: see the template."""

    kind: str
    text: str = ""
    notes: Sequence[str] = ()
    tiles: Sequence[tuple[str, str, str]] = ()
    svg: Markup | None = None
    caption: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numeric: Sequence[int] = ()
    marks: Sequence[str] = ()
    cards: Sequence["Card"] = ()
    blocks: Sequence["Block"] = ()


@dataclass
class Card:
    """One sample: its name, what is said of it, and the plots that the model sees, or its series."""

    title: str
    lines: Sequence[str]
    images: Sequence[tuple[str, str]] = ()
    svg: Markup | None = None


@dataclass
class Section:
    """`name` is its place in the page's addresses."""

    name: str
    title: str
    blocks: list[Block]


@dataclass
class Page:
    title: str
    verdict: str
    sections: list[Section]
    footer: str


@dataclass
class Source:
    """A saved model, what its training left beside it, and a table.

    Args:
        model: folder or Hub id; `name` is what the page calls it.
        answerer: asks it.
        metrics: what `timesclip train` measured, or nothing.
        frame: the table, and what it is called.
        group, time: columns by which errors are shown; `None`: found.
        labels: column of what is true; `None`: that of the target's name.
        level: of the intervals; `None`: it has none.
        explained: samples that importance is taken from; 0: it is left out.
        reading: how the table is read.
        told: warnings of the run, which the page repeats.
    """

    model: str
    name: str
    answerer: Answerer
    metrics: dict[str, Any]
    frame: Any
    table_name: str
    group: str | None = None
    time: str | None = None
    labels: str | None = None
    level: float | None = 0.9
    explained: int = 60
    reading: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Of what is predicted, with its unit."""
        processor, config = self.answerer.processor, self.answerer.config
        if self.answerer.task.name == "classification":
            return str(self.metrics.get("target") or "class")
        if self.answerer.task.name == "forecasting":
            return some_of(self.answerer.variate_names[: config.num_target_variates or None], 4)
        units = processor.target_units or [""]
        names = processor.target_names or ["prediction"]
        return some_of([with_unit(*pair) for pair in zip(names, units, strict=False)], 4)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "", marks: Sequence[str] | None = None
) -> Block:
    """A block of rows; columns that hold numbers alone stand at the right."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    numeric = [
        number
        for number in range(len(columns))
        if rows and all(isinstance(row[number], Figure | int | float | None) for row in rows)
    ]
    return Block("table", columns=columns, rows=cells, numeric=numeric, caption=caption,
                 marks=marks or [""] * len(cells))  # fmt: skip


class Figure(str):
    """A number in the form in which people read it."""


def write_report(
    model: str | Path,
    table: Any,
    output: str | Path,
    *,
    labels: str | None = None,
    group: str | None = None,
    time: str | None = None,
    interval: float | None = None,
    explained: int = 60,
    **reading: Any,
) -> Path:
    """Writes one self-contained HTML page about a saved model and a table: no network, no script, printable.

    It tells what was trained on what, how good the model is beside its peers, predictions against observations, with
    intervals of a calibrated model, errors by group and over time, what the answers come from, the best and the
    worst samples with the plots that the model sees, and what to distrust. What `timesclip train` left in the model's
    folder (`metrics.json`, `test_predictions.csv`) is read along: rows that the model has learnt from are then left
    out of all errors.

    Args:
        model: folder of a saved model, or its Hub id.
        table: path or frame, with the column of what is true, or without.
        output: the file, which must end in .html; it is replaced.
        labels: column of what is true; not given: that of the target's name, or which the model was trained on.
        group, time: columns by which errors are shown; not given: found by their names, see `data.roles`.
        interval: share of the intervals, of a model that knows some; `None`: 0.9, or the widest that it knows.
        explained: samples that importance is taken from; 0 leaves it out.
        **reading: how the table is read, see `TimeSeriesPipeline`.

    Returns:
        The path of the page.

    Raises:
        ValueError: a table or a model that cannot be read, a column that is not there.
    """
    output, folder = Path(output), str(model)
    if output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"output {output}: the name must end in .html")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"output {output}: there is no folder {output.parent}")
    frame = read_table(table)
    processor, config, metrics = TimesCLIPProcessor.from_pretrained(folder), own_config(folder), saved_metrics(folder)
    model_class = saved_model_class(config)
    if not model_class.task.reads_newest_steps:
        frame, reading = one_row_each(frame, processor, reading)
    if missing := [name for name in (labels, group, time) if name is not None and name not in frame]:
        raise ValueError(f"the table has no column {missing[0]!r}, only {some_of(frame.columns, 20)}")
    answerer = Answerer(model_class.from_pretrained(folder), processor)
    source = Source(
        folder, Path(folder).name or folder, answerer, metrics, frame,
        Path(table).name if isinstance(table, str | Path) else "a table",
        group, time, labels or learnt_column(metrics, frame), _level(answerer, interval), explained, reading,
    )  # fmt: skip
    builder = "report_forecasts" if answerer.task.name == "forecasting" else "report_samples"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        page = import_module(f".{builder}", __package__).build_page(
            source, lambda: list(dict.fromkeys(one_line(w.message) for w in caught if w.category is UserWarning))
        )
    output.write_text(render(page), encoding="utf-8")
    return output


def _level(answerer: Answerer, interval: float | None) -> float | None:
    """The share of the intervals; one that somebody asked for must be known to a model that knows any."""
    config = answerer.config
    if answerer.task.name == "classification" or (config.calibration is None and config.numbers_per_answer == 1):
        return None
    return usual_level(config) if interval is None else check_level(config, interval)


def render(page: Page) -> str:
    """The page as HTML; every text in it is escaped, whatever it holds."""
    loader = jinja2.FileSystemLoader(_TEMPLATE.parent)
    surroundings = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
                                      finalize=_shown)  # fmt: skip
    return surroundings.get_template(_TEMPLATE.name).render(page=page)


def _shown(value: Any) -> Any:
    """Text with every character visible; what is HTML already stays."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else one_line(value)


def footer(source: Source) -> str:
    """What the page was made with."""
    found = environment(source.answerer.device)
    versions = ", ".join(f"{name} {value}" for name, value in found.items())
    return f"Made by timesclip report from {source.name} and {source.table_name}; {versions}."


__all__ = ["Block", "Card", "Figure", "Page", "Section", "Source", "footer", "render", "table", "write_report"]
