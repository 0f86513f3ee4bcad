# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Figures of the one-page report, as SVG that stands in the page itself and follows its light or dark colours."""

import base64
import io
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ..escaping import label, one_line
from ..plots import BLUE, ORANGE

_INK, _FAINT = "#010203", "#a1a2a3"  # stand for the page's own colours until a figure is part of it
_GROUPS = 15
_COUNTER = itertools.count()
_AS_IT_IS: dict[str, Any] = {"parse_math": False, "usetex": False}
_WIDTH = 5.2


@contextmanager
def page_style() -> Iterator[None]:
    """Within, figures are made for the page: text stays text, lines take the page's colours, nothing is filled."""
    own: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "timesclip", "font.size": 10, "axes.titlesize": 10,
        "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _FAINT, "axes.titlecolor": _INK,
        "xtick.color": _INK, "ytick.color": _INK, "grid.color": _FAINT, "grid.linewidth": 0.4,
        "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
        "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False,
    }  # fmt: skip
    with matplotlib.rc_context(own):
        yield


def as_svg(figure: Figure, alt: str) -> Markup:
    """A figure as an `<svg>` element with an alternative text, whose names clash with no other figure's."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with page_style(), warnings.catch_warnings():
        # Widths are matplotlib's guess then; the page is read by a browser, which has more glyphs.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing", UserWarning)
        figure.savefig(stream, format="svg", metadata=nothing, dpi=110)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL)
    prefix = f"f{next(_COUNTER)}-"
    text = re.sub(r'(?<=[ <])id="', f'id="{prefix}', text)
    text = re.sub(r'href="#', f'href="#{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = text.replace(_INK, "currentColor").replace("#000000", "currentColor").replace(_FAINT, "var(--faint)")
    for color, name in {BLUE: "--line-blue", ORANGE: "--line-orange"}.items():
        text = text.replace(color.lower(), f"var({name})")
    head = re.sub(r' (width|height)="[\d.]+pt"', "", text[: text.index(">")])
    size = re.search(r'viewBox="0 0 ([\d.]+)', head)
    width = float(size[1]) if size else 400.0
    told = f' role="img" aria-label="{escape(one_line(alt))}" style="max-width:{width * 1.25:.0f}px"'
    return Markup(head + told + text[text.index(">") :])  # noqa: S704, matplotlib escapes what it writes


def as_png(pixels: NDArray[np.uint8]) -> str:
    """An image `(height, width, 3)` as a data URI."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def predicted_against_observed(
    observed: NDArray[Any], predicted: NDArray[Any], ends: tuple[NDArray[Any], NDArray[Any]] | None, name: str
) -> Figure:
    """A dot for each row, with the line on which all would lie, and intervals where there are some."""
    figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    many = len(observed) > 600
    if ends is not None:
        size = np.stack([predicted - ends[0], ends[1] - predicted]).clip(min=0)
        axes.errorbar(observed, predicted, yerr=size, fmt="none", ecolor=BLUE, alpha=0.15, linewidth=1,
                      rasterized=many)  # fmt: skip
    axes.scatter(observed, predicted, s=12, alpha=0.5, linewidths=0, color=BLUE, rasterized=many)
    both = np.concatenate([observed, predicted])
    axes.plot([both.min(), both.max()], [both.min(), both.max()], color=_INK, linewidth=1)
    axes.set_xlabel(f"observed {label(name)}", **_AS_IT_IS)
    axes.set_ylabel(f"predicted {label(name)}", **_AS_IT_IS)
    return figure


def errors_by(groups: Mapping[str, NDArray[Any]], name: str, ordered: bool = False) -> Figure:
    """For each group a dot at its mean error (predicted less observed) and a line over the middle 80 % of errors.

    Args:
        groups: name -> errors.
        name: of the error and its unit.
        ordered: groups are times: they run from left to right, and all of them are drawn.
    """
    names = list(groups) if ordered else list(groups)[:_GROUPS]
    middle = np.array([groups[group].mean() for group in names])
    low, high = (np.array([np.quantile(groups[group], q) for group in names]) for q in (0.1, 0.9))
    places = np.arange(len(names))
    if ordered:
        figure = Figure(figsize=(_WIDTH, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(places, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(places, middle, color=BLUE, marker="o", markersize=3)
        axes.axhline(0, color=_INK, linewidth=0.8)
        shown = np.unique(np.linspace(0, len(names) - 1, min(len(names), 8)).round().astype(int))
        axes.set_xticks(shown, [label(names[k])[:12] for k in shown], rotation=30, ha="right", **_AS_IT_IS)
        axes.set_ylabel(label(name), **_AS_IT_IS)
        return figure
    figure = Figure(figsize=(_WIDTH, 0.3 * len(names) + 1), layout="constrained")
    axes = figure.subplots()
    axes.hlines(places, low, high, color=BLUE, alpha=0.35, linewidth=6)
    axes.scatter(middle, places, color=ORANGE, s=26, zorder=3)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_yticks(places, [label(group)[:28] for group in names], **_AS_IT_IS)
    axes.invert_yaxis()
    axes.set_xlabel(label(name), **_AS_IT_IS)
    return figure


def reliability(probabilities: NDArray[Any], right: NDArray[Any], bins: int = 10) -> Figure:
    """How often the named class was right, by how likely the model said it was."""
    figure = Figure(figsize=(_WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    found = [
        (probabilities[place == k].mean(), right[place == k].mean(), (place == k).sum()) for k in np.unique(place)
    ]
    said, true, count = map(np.array, zip(*found, strict=True))
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8)
    axes.plot(said, true, color=BLUE, marker="o", markersize=4)
    for x, y, number in zip(said, true, count, strict=True):
        axes.annotate(str(number), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=8)
    axes.set_xlabel("probability that the model gave")
    axes.set_ylabel("share that was right")
    return figure


def errors_by_horizon(errors: Mapping[str, NDArray[Any]], name: str) -> Figure:
    """Mean absolute error of each step ahead `(H,)`, of the model and of what it is compared with."""
    figure = Figure(figsize=(_WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    styles = itertools.cycle([(BLUE, "-"), (ORANGE, "--"), (_FAINT, ":")])
    handles = []
    for (_, values), (color, line) in zip(errors.items(), styles, strict=False):
        handles += axes.plot(np.arange(1, len(values) + 1), values, color=color, linestyle=line, linewidth=1.8)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("steps ahead")
    axes.set_ylabel(label(name), **_AS_IT_IS)
    legend = axes.legend(handles, [str(k) for k in range(len(handles))], fontsize=9)
    for text, own in zip(legend.get_texts(), errors, strict=True):
        text.set(text=label(own), **_AS_IT_IS)
    return figure


def fan(
    past: NDArray[Any], truth: NDArray[Any], forecast: NDArray[Any],
    ends: tuple[NDArray[Any], NDArray[Any]] | None, name: str,
) -> Figure:  # fmt: skip
    """One window of one variate: what was, what came (dotted), what was said, and between which ends."""
    figure = Figure(figsize=(3.8, 2.2), layout="constrained")
    axes = figure.subplots()
    ahead = np.arange(1, len(forecast) + 1)
    axes.plot(np.arange(1 - len(past), 1), past, color=_INK, linewidth=1)
    axes.plot(np.r_[0, ahead], np.r_[past[-1], truth], color=_INK, linewidth=1, linestyle=":")
    if ends is not None:
        axes.fill_between(ahead, *ends, color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(ahead, forecast, color=BLUE, linewidth=1.8)
    axes.axvline(0, color=_FAINT, linewidth=0.6)
    axes.set_ylabel(label(name), fontsize=9, **_AS_IT_IS)
    axes.set_xlabel("steps from now", fontsize=9)
    return figure


def series_lines(values: NDArray[Any], names: Sequence[str], steps: Sequence[int]) -> Figure:
    """The variates of one sample `(T, V)`, a small panel each, in their own units."""
    count = len(names)
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.4, 0.9 * rows + 0.2), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False, sharex=True))
    for axes in panels[count:]:
        axes.set_axis_off()
    for number, name in enumerate(names):
        panels[number].plot(steps, values[:, number], color=BLUE, linewidth=1.2, marker=".", markersize=3)
        panels[number].set_title(label(name)[:30], fontsize=8, **_AS_IT_IS)
        panels[number].tick_params(labelsize=7)
    return figure


__all__ = [
    "as_png", "as_svg", "errors_by", "errors_by_horizon", "fan", "page_style", "predicted_against_observed",
    "reliability", "series_lines",
]  # fmt: skip
