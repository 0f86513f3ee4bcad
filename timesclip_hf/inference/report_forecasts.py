# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The page about a forecaster: errors by step ahead beside repeating the last value, fans, what it goes by."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tables import some_of
from ..escaping import with_unit
from ..features.similar import SimilarSeries
from ..training.train_report import figure
from . import report_figures as figures
from .explanations import Explanation, explain, usable_methods
from .forecast_windows import TableWindows, windows_of
from .report import Block, Card, Figure, Page, Section, Source, footer, table
from .report_sections import compared, learning_curve, model_facts, reasons
from .run_report import UNUSUAL
from .task_pipelines import PIPELINES

_WINDOWS, _EXAMPLES, _SERIES, _EXPLAINED = 200, 3, 20, 8
_SPREADS = "spreads"  # of each variate, the unit of errors of several
_FORECAST_NOTES = (
    "Errors are those of the last fifth of each series. `timesclip train` keeps it for testing; a model that was "
    "trained otherwise may have learnt from it.",
    "The future may differ from all of the past: a forecast tells what follows if things go on as they did.",
)
_KNOWN_NOTE = (
    "Covariates that are known in advance stood here as they came to be. Where they are forecasts themselves, such as "
    "the weather's, errors are larger."
)


@dataclass
class Forecasts:
    """Windows of the newest steps, what was forecast, and what came.

    Args:
        windows: of the table.
        past: `(n, T, V)`; truth, said: `(n, H, targets)`.
        ends: of intervals, `(n, H, targets)` each, where the model has some.
        unusual: `(n,)`, which windows are unlike those of the training, where such were kept.
        spread: `(targets,)` by which errors of several variates are divided, ones for a single one.
    """

    windows: TableWindows
    past: NDArray[np.float64]
    truth: NDArray[np.float64]
    said: NDArray[np.float64]
    ends: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    spread: NDArray[np.float64]
    names: list[str]
    unusual: NDArray[np.bool_] | None = None

    @property
    def errors(self) -> NDArray[np.float64]:
        """Absolute errors `(n, H, targets)`, in `spread`."""
        return np.abs(self.said - self.truth) / self.spread

    @property
    def naive(self) -> NDArray[np.float64]:
        """The same of the forecast that costs nothing."""
        season, targets = self.windows.season, self.truth.shape[2]
        steps = np.arange(self.truth.shape[1])
        said = np.repeat(np.stack([_last_observed(past) for past in self.past])[:, None, :targets], len(steps), axis=1)
        if self.by_season:
            before = self.past[:, -season:, :targets][:, steps % season]
            said = np.where(np.isnan(before), said, before)
        return np.abs(said - self.truth) / self.spread

    @property
    def by_season(self) -> bool:
        """Whether that repeats the last season, and not the last value."""
        return 1 < self.windows.season <= self.past.shape[1]

    @property
    def naive_name(self) -> str:
        return f"repeating the last {f'{self.windows.season} steps' if self.by_season else 'value'}"


def build_page(source: Source, told: Callable[[], list[str]]) -> Page:
    """Asks the forecaster, and puts together all that the page tells.

    Args:
        source: model and table, with one row per time step.
        told: gives the warnings of the run so far.
    """
    found = _ask(source)
    why = _explain(source, found)
    sections = [
        _quality(source, found), _where(found), _sure(source, found), _why(source, why), learning_curve(source),
        _examples(source, found),
    ]  # fmt: skip
    shown = [section for section in sections if section is not None]
    notes = list(_FORECAST_NOTES)
    notes += [_KNOWN_NOTE] if source.answerer.future_columns else []
    if found.ends is None:
        notes.append("There are no intervals: the model was not calibrated.")
    if found.unusual is not None and found.unusual.any():
        errors = [figure(float(np.nanmean(found.errors[own]))) for own in (found.unusual, ~found.unusual) if own.any()]
        notes.append(
            f"{int(found.unusual.sum())} of {len(found.unusual)} windows are unusual: farther from all windows of the "
            f"training than is usual among these. Typical error there: {errors[0]} {_unit(source, found)}".rstrip()
            + (f"; elsewhere: {errors[1]}." if len(errors) > 1 else ".")
        )
    if len(found.windows) < _EXAMPLES * 4:
        notes.append(f"Only {len(found.windows)} windows count for the figures above: they are rough.")
    if why:
        notes.append(
            "Importance says what this model goes by, not what causes the target; of two variates that carry the "
            "same, neither may seem important."
        )
    notes += [f"Told on the way: {line}" for line in told()]
    shown.append(Section("distrust", "What to distrust", [Block("notes", notes=notes)]))
    shown.append(model_facts(source))
    return Page(f"{source.title}: a forecaster's report", _verdict(source, found), shown, footer(source))


def _ask(source: Source) -> Forecasts:
    answerer, config = source.answerer, source.answerer.config
    processor = answerer.processor
    windows = windows_of(source.model, processor, config, source.frame, _WINDOWS, **source.reading)
    predict = PIPELINES[str(answerer.task.pipeline)](answerer.model, processor)
    asked: dict[str, Any] = {} if source.level is None else {"interval": source.level}
    similar = {} if SimilarSeries.load(source.model) is None else {"similar": True}
    samples = [{name: part for name, part in one.items() if name != "labels"} for one in windows.samples]
    with warnings.catch_warnings():  # the page has a note of its own of unusual windows
        warnings.filterwarnings("ignore", UNUSUAL, UserWarning)
        answers = predict(samples, **asked, **similar)
    kept = [number for number, answer in enumerate(answers) if "predictions" in answer]
    if not kept:
        raise ValueError(f"no window can be forecast: {answers[0].get('skipped')}")
    windows = windows.at(kept)
    past, truth = (np.stack([one[n] for one in windows.samples]).astype(float) for n in ("past_values", "labels"))
    said = np.stack([answers[number]["predictions"] for number in kept]).astype(float)
    ends = None
    if asked:
        low, high = (np.stack([answers[number][name] for number in kept]).astype(float) for name in ("lower", "upper"))
        ends = (low, high)
    count = said.shape[2]
    fitted = (processor.statistics or {}).get("variates", {}).get("std", [1.0] * count)
    spread = np.ones(1) if count == 1 else np.array(fitted[:count])
    names = [with_unit(*pair) for pair in zip(answerer.variate_names, answerer.variate_units, strict=True)][:count]
    unusual = np.array([answers[number]["unusual"] for number in kept]) if similar else None
    return Forecasts(windows, past, truth, said, ends, spread, names, unusual)


def _last_observed(past: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(T, V)` to `(V,)`."""
    seen = ~np.isnan(past)
    last = len(past) - 1 - seen[::-1].argmax(axis=0)
    return past[last, np.arange(past.shape[1])]


def _unit(source: Source, found: Forecasts) -> str:
    return source.answerer.unit if len(found.spread) == 1 else _SPREADS


def _explain(source: Source, found: Forecasts) -> dict[str, Explanation]:
    """Of each variate that is forecast, the first few; by removal alone where there are several."""
    if min(source.explained, len(found.windows)) < 2:  # parts are exchanged between windows
        return {}
    targets = list(range(len(found.names)))[:_EXPLAINED]
    several = len(targets) > 1
    count = max(2, source.explained // len(targets))
    rows = np.unique(np.linspace(0, len(found.windows) - 1, min(count, len(found.windows))).astype(int))
    samples = found.windows.at(rows).samples
    return {
        found.names[target]: explain(
            source.answerer.model, source.answerer.processor, samples, target=target,
            methods=["removal"] if several else usable_methods(), repeats=2, max_samples=None,
        )
        for target in targets
    }  # fmt: skip


def _why(source: Source, whys: dict[str, Explanation]) -> Section | None:
    """Where forecasts come from."""
    section = reasons(whys, "windows")
    if section is not None:
        ahead = source.answerer.length
        told = f"Step 0 is the newest that is known, steps below are before it; steps 1 to {ahead} are forecast."
        section.blocks.insert(0, Block("text", text=told))
    return section


def _verdict(source: Source, found: Forecasts) -> str:
    own, naive = float(np.nanmean(found.errors)), float(np.nanmean(found.naive))
    means = np.nanmean(found.errors, axis=(0, 1)) * found.spread
    if len(found.names) == 1:
        typical = f"Typical error {figure(float(means[0]))} {source.answerer.unit}".rstrip()
    else:
        shown = [f"{name} {figure(float(mean))}" for name, mean in zip(found.names, means, strict=True)]
        typical = f"Typical errors: {some_of(shown, 6)}"
    less = f"{abs(1 - own / naive):.0%} {'less' if own <= naive else 'more'}" if naive > 0 else "no less"
    return (
        f"{typical} (mean absolute error over {found.said.shape[1]} steps, {len(found.windows)} windows of the last "
        f"fifth of each series); {less} than {found.naive_name}."
    )


def _quality(source: Source, found: Forecasts) -> Section:
    """Tiles, errors by step ahead, and the table of peers."""
    own, naive = np.nanmean(found.errors), np.nanmean(found.naive)
    unit = _unit(source, found)
    tiles = [
        ("windows", str(len(found.windows)), f"of {found.windows.count} series"),
        ("typical error", figure(float(own)), unit),
        (found.naive_name, figure(float(naive)), unit),
        ("better by", f"{1 - own / naive:.0%}" if naive > 0 else "", "of that error"),
    ]
    by_step = {"this model": np.nanmean(found.errors, axis=(0, 2))}
    by_step[found.naive_name] = np.nanmean(found.naive, axis=(0, 2))
    with figures.page_style():
        drawn = figures.errors_by_horizon(by_step, with_unit("mean absolute error", unit))
    caption = "How the error grows with the steps ahead."
    if unit == _SPREADS:
        caption += " A spread is a variate's standard deviation in the training part."
    row = [Block("figure", svg=figures.as_svg(drawn, "Mean absolute error by step ahead."), caption=caption)]
    peers = compared(source)
    row += [peers] if peers is not None else []
    return Section("quality", "How good is it?", [Block("tiles", tiles=tiles), Block("row", blocks=row)])


def _where(found: Forecasts) -> Section | None:
    """Errors of each variate, and of each series."""
    blocks = []
    if len(found.names) > 1:
        pairs = zip(
            *(np.nanmean(part, axis=(0, 1)) * found.spread for part in (found.errors, found.naive)), strict=True
        )
        rows = [
            [name, Figure(figure(own)), Figure(figure(naive)), Figure(f"{1 - own / naive:.0%}" if naive > 0 else "")]
            for name, (own, naive) in zip(found.names, pairs, strict=True)
        ]
        columns = ["variate", "typical error", found.naive_name, "better by"]
        blocks.append(table(columns, rows, "Of each variate, in its own unit."))
    names = np.array(found.windows.series, object)
    if len(set(names)) > 1:
        means = {
            name: (np.nanmean(found.errors[names == name]), (names == name).sum()) for name in dict.fromkeys(names)
        }
        order = sorted(means, key=lambda name: -means[name][0])
        listed: list[list[Any]] = [
            [str(name), int(means[name][1]), Figure(figure(float(means[name][0])))] for name in order[:_SERIES]
        ]
        unit = f" In {_SPREADS} of the training part." if len(found.names) > 1 else ""
        blocks.append(
            table(
                ["series", "windows", "typical error"], listed, f"The worst series first ({len(order)} in all).{unit}"
            )
        )
    return Section("where", "Where is it bad?", [Block("row", blocks=blocks)]) if blocks else None


def _sure(source: Source, found: Forecasts) -> Section:
    """What intervals held, step by step."""
    title = "How wide are the errors?"
    if found.ends is None:
        off = found.errors[np.isfinite(found.errors)]
        tiles = [(f"{share:.0%} of errors", f"below {figure(float(np.quantile(off, share)))}", _unit(source, found))
                 for share in (0.5, 0.8, 0.9)]  # fmt: skip
        return Section("sure", title, [Block("tiles", tiles=tiles)])
    known = np.isfinite(found.truth)
    inside = np.where(known, (found.truth >= found.ends[0]) & (found.truth <= found.ends[1]), np.nan)
    width = (found.ends[1] - found.ends[0]) / found.spread
    tiles = [
        (f"{source.level:.0%} intervals held", f"{np.nanmean(inside):.0%}", f"of {int(known.sum())} values"),
        ("mean width", figure(float(np.nanmean(width))), _unit(source, found)),
    ]
    steps = np.unique(np.linspace(0, inside.shape[1] - 1, 6).round().astype(int))
    rows: list[list[Any]] = [[int(step + 1), *_held(inside[:, step], width[:, step])] for step in steps]
    told = f"How many values lay between the ends, step by step; {source.level:.0%} should."
    shown = [table(["steps ahead", "held", "width"], rows, told)]
    if len(found.names) > 1:
        own = width * found.spread
        rows = [[name, *_held(inside[..., k], own[..., k])] for k, name in enumerate(found.names)]
        shown.append(table(["variate", "held", "width"], rows, "The same of each variate, in its own unit."))
    return Section("sure", title, [Block("tiles", tiles=tiles), Block("row", blocks=shown)])


def _held(inside: NDArray[Any], width: NDArray[Any]) -> list[Figure]:
    """The share that intervals hold, and how wide they are."""
    return [Figure(f"{np.nanmean(inside):.0%}"), Figure(figure(float(np.nanmean(width))))]


def _examples(source: Source, found: Forecasts) -> Section:
    """The worst, the middle and the best windows, with their fans."""
    off = np.nanmean(found.errors, axis=(1, 2))
    order = np.argsort(off, kind="stable")
    order = order[np.isfinite(off[order])]
    middle = len(order) // 2
    blocks: list[Block] = []
    for text, chosen in (
        ("The worst windows", order[::-1][:_EXAMPLES]),
        ("Windows of the middle", order[middle : middle + _EXAMPLES]),
        ("The best windows", order[:_EXAMPLES]),
    ):
        blocks += [
            Block("text", text=f"{text}:"),
            Block("cards", cards=[_card(source, found, int(k)) for k in chosen]),
        ]
    told = "Black: what was, dotted: what came; blue: the forecast"
    told += f", between the ends of its {source.level:.0%} interval." if found.ends is not None else "."
    return Section("samples", "Examples", [Block("text", text=told), *blocks])


def _card(source: Source, found: Forecasts, number: int) -> Card:
    """One window: the variate with the largest error, with the newest steps of its context."""
    variate = int(np.nan_to_num(np.nanmean(found.errors[number], axis=0)).argmax())
    ends = None if found.ends is None else tuple(end[number, :, variate] for end in found.ends)
    shown = max(4 * found.said.shape[1], 24)
    with figures.page_style():
        drawn = figures.fan(
            found.past[number, -shown:, variate], found.truth[number, :, variate], found.said[number, :, variate],
            ends, found.names[variate],  # type: ignore[arg-type]
        )  # fmt: skip
    when = found.windows.titles[number]
    off = figure(float(np.nanmean(found.errors[number])))
    return Card(when, [f"error {off} {_unit(source, found)}".rstrip()],
                svg=figures.as_svg(drawn, f"Forecast of {found.names[variate]}, {when}."))  # fmt: skip


__all__ = ["build_page"]
