# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The page about a model that answers for whole series: numbers, or classes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.tables import decoded, some_of
from ..escaping import with_unit
from ..plots import part_name, plot_confusion, plot_curves, plot_importance
from ..training.train_report import COLUMNS, figure
from . import report_figures as figures
from .explanations import Explanation
from .report import Block, Card, Figure, Page, Section, Source, footer, table
from .report_answers import Answered, ask, columns_of, explain_rows, guess_error, measure

_AGREEMENT = ("correlation", "mean_difference")
_LISTED, _SHOWN_GROUPS, _SAMPLES, _FEW = 300, 20, 5, 20


def build_page(source: Source, told: Callable[[], list[str]]) -> Page:
    """Asks the model, and puts together all that the page tells.

    Args:
        source: model and table.
        told: gives the warnings of the run so far.
    """
    found = ask(source)
    columns = columns_of(source, found)
    why = explain_rows(source, found)
    sections = [
        _quality(source, found), _where(source, found, columns), _sure(source, found), reasons(source, why),
        learning_curve(source), _samples(source, found), _rows(source, found), model_facts(source),
    ]  # fmt: skip
    shown = [section for section in sections if section is not None]
    distrust = _distrust(source, found, why, told())
    shown.insert(len(shown) - 2, Section("distrust", "What to distrust", [Block("notes", notes=distrust)]))
    title = f"{source.title}: a model's report"
    return Page(title, _verdict(source, found), shown, footer(source))


def _unit(source: Source) -> str:
    return source.answerer.unit


def _verdict(source: Source, found: Answered) -> str:
    measured, count = measure(found), int(found.counted.sum())
    if not measured:
        known = "the table has no column of what is true, so errors are unknown"
        return f"Predictions for {len(found.series)} series; {known}."
    if found.classes:
        often = np.bincount(found.truth[found.counted].astype(int)).max() / count  # type: ignore[index]
        return (
            f"Right for {measured['accuracy']:.0%} of {count} {found.why}; naming the most frequent class alone would "
            f"be right for {often:.0%}."
        )
    guess = guess_error(source, found)
    beside = "" if guess is None else f"; always guessing the training mean: {figure(guess)} {_unit(source)}".rstrip()
    own = f"{figure(measured['mae'])} {_unit(source)}".rstrip()
    return f"Typical error {own} (mean absolute error) on {count} {found.why}{beside}."


def _quality(source: Source, found: Answered) -> Section:
    """How good it is: figures, the comparison table, predictions against observations."""
    measured, blocks = measure(found), []
    task = source.answerer.task.name
    if measured:
        words = COLUMNS[task]
        tiles = [(text, figure(measured[name]), _note(name, _unit(source))) for name, text in words.items()]
        tiles.insert(0, ("series", str(int(found.counted.sum())), f"of {len(found.series)} in the table"))
        blocks.append(Block("tiles", tiles=tiles))
    peers = compared(source)
    row = []
    if measured and found.truth is not None:
        with figures.page_style():
            if found.classes:
                truth, said = found.truth[found.counted].astype(int), found.numbers[found.counted]
                drawn = plot_confusion(said, truth, found.classes)
                caption = "Observed (rows) and predicted classes (columns). What is off the diagonal was mistaken."
                alt = f"Confusion of {len(found.classes)} classes; {measured['accuracy']:.0%} are right."
            else:
                ends: Any = None if found.ends is None else tuple(end[found.counted] for end in found.ends)
                drawn = figures.predicted_against_observed(
                    found.truth[found.counted],
                    found.numbers[found.counted],
                    ends,
                    source.title,
                )
                caption = f"Each dot is a series ({found.why}); on the line, prediction and observation agree."
                if ends is not None:
                    caption += f" Thin bars: intervals that should hold {source.level:.0%}."
                alt = f"Predicted against observed {source.title}: R2 {measured['r2']:.2f}."
        row.append(Block("figure", svg=figures.as_svg(drawn, alt), caption=caption))
        if found.classes:
            with figures.page_style():
                right = (found.numbers == found.truth)[found.counted]
                drawn = figures.reliability(found.said.max(axis=1)[found.counted], right)
            row.append(
                Block(
                    "figure",
                    svg=figures.as_svg(drawn, "Share of right answers by the probability that was given."),
                    caption="On the line, probabilities are as good as they say; below it, the model is too sure. "
                    "Small numbers: series.",
                )  # fmt: skip
            )
    if peers is not None:
        row.append(peers)
    blocks.append(Block("row", blocks=row))
    return Section("quality", "How good is it?", blocks)


def _note(metric: str, unit: str) -> str:
    told = {"mae": unit, "rmse": unit, "r2": "1 is perfect, 0 is the mean", "mape": "of the observed value"}
    return told.get(metric, "")


def compared(source: Source) -> Block | None:
    """The table of peers that `timesclip train` measured on the test part."""
    measured = source.metrics.get("test")
    task = source.answerer.task.name
    if not isinstance(measured, Mapping) or not all(isinstance(row, Mapping) for row in measured.values()):
        return None
    words = {name: text for name, text in COLUMNS[task].items() if all(name in row for row in measured.values())}
    first = next(iter(words), None)
    if first is None:
        return None
    order = sorted(measured, key=lambda name: measured[name][first], reverse=first in ("accuracy",))
    rows = [[name, *(Figure(figure(float(measured[name][column]))) for column in words)] for name in order]
    own = str((source.metrics.get("model") or {}).get("name"))
    header = [with_unit(text, _unit(source)) if name in ("mae", "rmse") else text for name, text in words.items()]
    count, what = (source.metrics.get("sizes") or {}).get("test"), "windows" if task == "forecasting" else "series"
    return table(
        ["model", *header], rows,
        f"Beside its peers, all on the {count or ''} {what} of the test part of its training; the best one first.",
        ["strong" if name == own else "" for name in order],
    )  # fmt: skip


def _where(source: Source, found: Answered, columns: Mapping[str, str | None]) -> Section | None:
    """Errors by group and over time."""
    if found.truth is None or not found.counted.any():
        return None
    blocks: list[Block] = []
    for kind in ("group", "time"):
        if (column := columns[kind]) is None:
            continue
        cells = decoded(found.series.identity[column])[found.counted]
        if cells.nunique() < 2:
            continue
        row = [_error_table(source, found, column, cells)]
        if not found.classes:
            off = (found.numbers - found.truth)[found.counted]
            values = sorted(cells.unique()) if kind == "time" else _by_error(cells, np.abs(off))
            groups = {str(value): off[(cells == value).to_numpy()] for value in values}
            with figures.page_style():
                drawn = figures.errors_by(groups, with_unit("predicted less observed", _unit(source)), kind == "time")
            what = "line" if kind == "time" else "dot"
            caption = (
                f"Errors by {column}: the {what} is their mean (above zero: predicted too high), the band holds the "
                "middle 80 % of them."
            )
            row.insert(0, Block("figure", svg=figures.as_svg(drawn, f"Errors by {column}."), caption=caption))
        blocks.append(Block("row", blocks=row))
    if not blocks:
        blocks = [
            Block("text", text="The table has no column of places or times to tell errors by: say --group, --time.")
        ]
    return Section("where", "Where is it bad?", blocks)


def _by_error(cells: pd.Series, off: NDArray[Any]) -> list[Any]:
    return list(pd.Series(off, cells.index).groupby(cells).mean().sort_values(ascending=False).index)


def _error_table(source: Source, found: Answered, column: str, cells: pd.Series) -> Block:
    """A row for each value of a column, the worst first."""
    off = found.wrong[found.counted]
    rows: list[list[Any]] = []
    for value in _by_error(cells, off):
        own = (cells == value).to_numpy()
        if found.classes:
            right = (found.numbers == found.truth)[found.counted][own].mean()
            rows.append([str(value), int(own.sum()), Figure(f"{right:.0%}")])
        else:
            bias = (found.numbers - found.truth)[found.counted][own].mean()
            typical = Figure(figure(float(off[own].mean())))
            rows.append([str(value), int(own.sum()), typical, Figure(figure(float(bias)))])
    words = ["right"] if found.classes else [with_unit("typical error", _unit(source)), "mean error (+: too high)"]
    more = f" ({len(rows)} in all)" if len(rows) > _SHOWN_GROUPS else ""
    return table([column, "series", *words], rows[:_SHOWN_GROUPS], f"The worst {column} first{more}.")


def _sure(source: Source, found: Answered) -> Section:
    """Intervals, and what they hold."""
    level = source.level
    if found.ends is None:
        text = (
            "Probabilities are the model's own; the figure above says how far to believe them."
            if found.classes
            else "This model was not calibrated, so it has no intervals. As a rule of thumb, half of its errors on "
            "counted series were below the median and one in ten above the last figure here."
        )
        blocks = [Block("text", text=text)]
        if not found.classes and found.truth is not None and found.counted.sum() > 4:
            off = found.wrong[found.counted]
            tiles = [(f"{share:.0%} of errors", f"below {figure(float(np.quantile(off, share)))}", _unit(source))
                     for share in (0.5, 0.8, 0.9)]  # fmt: skip
            blocks.append(Block("tiles", tiles=tiles))
        return Section("sure", "How wide are the errors?", blocks)
    low, high = found.ends
    measured = found.truth is not None and found.counted.any()
    width = (high - low)[found.counted] if measured else high - low  # of the series that the share is of
    tiles = [("mean width", figure(float(np.nanmean(width))), _unit(source))]
    blocks = []
    if measured:
        inside = ((found.truth >= low) & (found.truth <= high))[found.counted]
        tiles.insert(0, (f"{level:.0%} intervals held", f"{inside.mean():.0%}", f"of {len(inside)} series"))
    blocks.append(Block("tiles", tiles=tiles))
    blocks.append(
        Block(
            "text",
            text=f"Intervals should hold {level:.0%} of series that are like those of the calibration. Other places, "
            "later years and other sensors may differ, and then they hold less: the share above says how it was here.",
        )
    )
    return Section("sure", "How wide are the errors?", blocks)


def reasons(source: Source, why: Explanation | None) -> Section | None:
    """Which variates, spans and branches answers come from."""
    if why is None or why.importance.empty:
        return None
    blocks, row = [], []
    texts = {
        "removal": "How much is lost when it comes from another series; thin lines: 95 % intervals over series.",
        "gradients": "How much of each prediction's difference from the baseline it makes up, whatever the sign.",
    }
    for method in dict.fromkeys(why.importance["method"]):
        own = why.importance[why.importance["method"] == method]
        with figures.page_style():
            drawn = plot_importance(own, most=8)
        top = part_name(why.top("cell" if (own["kind"] == "cell").any() else "variate", method).iloc[0])
        caption = f"{why.measures[method].capitalize()} ({method}, {len(why.samples)} series). {texts[method]}"
        row.append(
            Block("figure", svg=figures.as_svg(drawn, f"Importance by {method}; first: {top}."), caption=caption)
        )
    first = "removal" if "removal" in why.measures else "gradients"
    most = [part_name(own.iloc[0]) for kind in ("variate", "span", "cell") if len(own := why.top(kind, first))]
    blocks.append(Block("text", text=f"Most of all, by {first}: {'; '.join(most)}."))
    blocks.append(Block("row", blocks=row))
    rows = [
        [part_name(part), Figure(figure(part["importance"])), f"{figure(part['lower'])} to {figure(part['upper'])}"]
        for _, part in why.top("cell").head(10).iterrows()
    ]
    if rows:
        blocks.append(table(["what", "importance", "95 % interval"], rows, why.measures[first]))
    if len(why.branches):
        shown = [
            [f"{pair['branch']} and {pair['other']}", *(Figure(figure(pair[name])) for name in _AGREEMENT)]
            for _, pair in why.branches.iterrows()
        ]
        told = "How far the branches agree; where they do not, the answer rests on one of them."
        blocks.append(table(["branches", "correlation of answers", "mean difference"], shown, told))
    return Section("why", "What does it go by?", blocks)


def learning_curve(source: Source) -> Section | None:
    """Learning curve."""
    curve = source.metrics.get("curve")
    names = ("training task loss", "training loss", "validation loss")
    if not isinstance(curve, list) or not curve:
        return None
    lines = {
        name: points
        for name in names
        if len(points := [(row["epoch"], row[name]) for row in curve if isinstance(row, Mapping) and name in row]) > 1
    }
    if "training task loss" in lines:
        lines.pop("training loss", None)
    if not lines:
        return None
    with figures.page_style():
        drawn = plot_curves(lines, "epoch", "loss (standardised)")
        drawn.axes[0].locator_params("x", integer=True)
        drawn.set_size_inches(5.2, 3.2)
    caption = "Loss in training and validation. Where validation rises again, the model only learns by heart."
    return Section(
        "training", "How it learnt", [Block("figure", svg=figures.as_svg(drawn, "Learning curve."), caption=caption)]
    )


def _samples(source: Source, found: Answered) -> Section | None:
    """The best and the worst series, as the model sees them."""
    if found.truth is None or not found.counted.any():
        return None
    rows = np.flatnonzero(found.counted)
    order = rows[np.argsort(found.wrong[rows], kind="stable")]
    count = min(_SAMPLES, max(1, len(order) // 2))
    blocks = []
    for text, chosen in (("The worst", order[::-1][:count]), ("The best", order[:count])):
        blocks += [Block("text", text=f"{text} {len(chosen)}:"), Block("cards", cards=_cards(source, found, chosen))]
    return Section("samples", "The worst and the best", blocks)


def _cards(source: Source, found: Answered, rows: NDArray[np.int64]) -> list[Card]:
    answerer = source.answerer
    part, cards = found.series.at(rows), []
    names = [with_unit(*pair) for pair in zip(answerer.variate_names, answerer.variate_units, strict=True)]
    images = None
    if "pixel_values" in answerer.reads:
        images = answerer.processor.to_images(answerer.batch(*answerer.tensors(part))["pixel_values"])
    for place, row in enumerate(rows):
        unit = _unit(source)
        lines = [
            f"predicted {found.shown(found.numbers[row])} {unit}".rstrip(),
            f"observed {found.shown(found.truth[row])} {unit}".rstrip(),  # type: ignore[index]
        ]
        if found.classes:
            lines[0] += f" ({found.said[row].max():.0%} sure)"
        if found.ends is not None:
            lines.append(f"{source.level:.0%} interval {figure(found.ends[0][row])} to {figure(found.ends[1][row])}")
        if found.near is not None:
            like = "unlike all training series" if found.near["unusual"][row] else "most like"
            lines.append(f"{like}{'; nearest' if found.near['unusual'][row] else ''} {found.near['nearest_1'][row]}")
        card = Card(found.names[row], lines)
        if images is not None and answerer.config.layout == "grid":
            card.images = [("all variates", figures.as_png(images[place][0]))]
        elif images is not None:
            card.images = [(name, figures.as_png(image)) for name, image in zip(names, images[place], strict=False)]
        else:
            values = np.where(part.observed[place], part.values[place], np.nan)
            with figures.page_style():
                drawn = figures.series_lines(values, names, answerer.step_axis()[0])
            card.svg = figures.as_svg(drawn, f"The series of {found.names[row]}.")
        cards.append(card)
    return cards


def _rows(source: Source, found: Answered) -> Section:
    """Every row: what is said, what is true, whether to believe it."""
    unit = _unit(source)
    columns = ["series", with_unit("predicted", unit)]
    if found.classes:
        columns.append("sure")
    if found.ends is not None:
        columns += [f"{source.level:.0%} from", "to"]
    if found.truth is not None:
        columns += [with_unit("observed", unit)]
    if found.near is not None:
        columns += ["distance", "like the training series?", "most like"]
    rows: list[list[Any]] = []
    marks: list[str] = []
    for row in _listed(found):
        cells: list[Any] = [found.names[row]]
        cells.append(found.shown(found.numbers[row]) if found.classes else Figure(found.shown(found.numbers[row])))
        if found.classes:
            cells.append(Figure(f"{found.said[row].max():.0%}"))
        if found.ends is not None:
            cells += [Figure(figure(found.ends[0][row])), Figure(figure(found.ends[1][row]))]
        if found.truth is not None:
            shown = found.shown(found.truth[row])
            cells.append(shown if found.classes else Figure(shown))
        if found.near is not None:
            distance, unusual, nearest = found.near.iloc[row]
            cells += [Figure(figure(float(distance))), "unusual" if unusual else "yes", str(nearest)]
        marks.append("alert" if found.near is not None and found.near["unusual"][row] else "")
        rows.append(cells)
    more = (
        f" The first {_LISTED} of {len(found.names)}; timesclip predict writes all."
        if len(found.names) > _LISTED
        else ""
    )
    blocks = [table(columns, rows, f"Each series of {source.table_name}.{more}", marks)]
    if found.near is not None:
        told = (
            "Where a series is unlike all that the model has learnt from (marked; those first), do not rely on its "
            "prediction, nor on errors and intervals that were measured on others."
        )
        blocks.insert(0, Block("text", text=told))
    return Section("rows", "May I use it for this field?", blocks)


def _listed(found: Answered) -> NDArray[np.int64]:
    """Rows that are listed: of many, unusual ones first."""
    rows = np.arange(len(found.names))
    if found.near is not None:
        rows = rows[np.argsort(~found.near["unusual"].to_numpy(bool), kind="stable")]
    return rows[:_LISTED]


def model_facts(source: Source) -> Section:
    """What was trained on what."""
    answerer, metrics = source.answerer, source.metrics
    processor, config = answerer.processor, answerer.config
    sizes = metrics.get("sizes") or {}
    split = metrics.get("split") or {}
    numbers, dates = answerer.step_axis()
    first, last = (dates[k] or f"step {numbers[k]}" for k in (0, -1))
    named = [with_unit(*pair) for pair in zip(answerer.variate_names, answerer.variate_units, strict=True)]
    towers = {branch: getattr(config, f"{branch}_config") for branch in ("vision", "text")}
    facts = [
        ("predicts", source.title),
        ("reads", f"{config.num_variates} variates from {first} to {last} ({config.context_length} steps)"),
        ("variates", some_of(named, 30)),
        ("static columns", some_of([column["name"] for column in answerer.static_columns], 20)),
        ("kind", type(answerer.base).__name__),
        ("preset", str((metrics.get("model") or {}).get("preset") or "")),
        ("towers", ", ".join(f"{branch} {tower.model_type}" for branch, tower in towers.items() if tower is not None)),
        ("parameters", f"{answerer.base.num_parameters():,}"),
        ("learnt from", ", ".join(f"{count} {part}" for part, count in sizes.items())),
        ("split by", " ".join(str(part) for part in (split.get("by"), split.get("column")) if part)),
        ("scaling", processor.scaling),
        ("command", str(metrics.get("command") or "")),
    ]
    return Section("model", "The model", [table(["", ""], [list(fact) for fact in facts if fact[1]])])


def _distrust(source: Source, found: Answered, why: Explanation | None, told: list[str]) -> list[str]:
    """What a reader must not conclude."""
    notes = []
    count = int(found.counted.sum())
    if found.truth is None:
        notes.append("Nothing here says how good the predictions are: the table has no column of what is true.")
    elif count < _FEW:
        notes.append(f"Only {count} series count for the figures above: they are rough.")
    if "not known" in found.why and found.truth is not None:
        notes.append(
            "Whether the model has learnt from rows of this table is not known; if so, its errors here flatter it."
        )
    if "test part" in found.why:
        notes.append("Errors are those of the test part alone. Series from other places or sensors may be worse.")
    if found.near is not None and (away := found.near["unusual"].to_numpy(bool)).any():
        notes.append(
            f"{int(away.sum())} of {len(away)} series are unusual: farther from all training series than nearly all "
            "of these are from each other (marked in the list of series). Errors there may be larger than all above."
        )
    if found.ends is None and not found.classes:
        notes.append("There are no intervals: the model was not calibrated.")
    if why is not None and len(why.branches) and (why.branches["correlation"] < 0.5).any():
        notes.append("Branches of the model disagree (see above): its answers rest on one reading of the series.")
    if why is not None:
        notes.append(
            "Importance says what this model goes by, not what causes the target; of two variates that carry the "
            "same, neither may seem important."
        )
    processor = source.answerer.processor
    if processor.statistics is not None and processor.scaling == "dataset":
        values, seen = found.series.values, found.series.observed
        fitted = processor.statistics["variates"]
        above, below = values > np.array(fitted["maximum"]), values < np.array(fitted["minimum"])
        beyond: NDArray[np.bool_] = seen & (above | below)
        rows = beyond.any(axis=(1, 2))
        if rows.any():
            named = [source.answerer.variate_names[k] for k in np.flatnonzero(beyond.any(axis=(0, 1)))]
            notes.append(f"{int(rows.sum())} series leave the range of the training part, in {some_of(named)}.")
    return notes + [f"Told on the way: {line}" for line in told]


__all__ = ["build_page", "compared", "learning_curve", "model_facts", "reasons"]
