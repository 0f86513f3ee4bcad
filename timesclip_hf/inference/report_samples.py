# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The page about a model that answers for whole series: numbers, or classes."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.roles import find_roles
from ..data.tables import decoded, some_of
from ..escaping import csv_quoting, safe_cells, with_unit
from ..metrics import classification_metrics, regression_metrics
from ..plots import part_name, plot_confusion, plot_curves, plot_importance
from ..training.train_report import COLUMNS, figure
from . import report_figures as figures
from .explanations import METHODS, Explanation, explain
from .pipelines import PIPELINES
from .report import Block, Card, Figure, Page, Section, Source, footer, table
from .series_batch import SeriesBatch

_LISTED, _SHOWN_GROUPS, _SAMPLES, _FEW = 300, 20, 5, 20
_SEEN_TWICE = 0.5  # of the rows: a table that holds so many that the model has learnt from is that of its training


@dataclass
class Answered:
    """A table's rows with what the model says of them.

    Args:
        series: the rows that can be read.
        names: what each is called on the page.
        said: all answers; `numbers` `(n,)`: the predicted number, or the likeliest class.
        truth: `(n,)`, NaN (of classes -1) where it is not known; `None`: of none.
        ends: of intervals, where the model has some.
        counted: which rows count for errors: known ones, without those that the model may have learnt from.
        why: which ones these are, in words.
        classes: names, of a classification.
    """

    series: SeriesBatch
    names: list[str]
    said: NDArray[Any]
    numbers: NDArray[Any]
    truth: NDArray[Any] | None
    ends: tuple[NDArray[Any], NDArray[Any]] | None
    counted: NDArray[np.bool_]
    why: str
    classes: list[str]

    @property
    def wrong(self) -> NDArray[np.float64]:
        """How far off each row is: the absolute error, or one less the true class's probability."""
        assert self.truth is not None
        if not self.classes:
            return np.abs(self.numbers - self.truth)
        return 1 - self.said[np.arange(len(self.said)), self.truth.astype(int)]

    def shown(self, number: Any) -> str:
        """An answer, or a truth, as text."""
        if self.classes:
            return self.classes[int(number)] if number >= 0 else ""
        return "" if not np.isfinite(number) else figure(float(number))


def build_page(source: Source, told: Callable[[], list[str]]) -> Page:
    """Asks the model, and puts together all that the page tells.

    Args:
        source: model and table.
        told: gives the warnings of the run so far.
    """
    found = _ask(source)
    columns = _columns(source, found)
    why = _explain(source, found)
    sections = [
        _quality(source, found), _where(source, found, columns), _sure(source, found), _reasons(source, why),
        _training(source), _samples(source, found), _rows(source, found), _model(source),
    ]  # fmt: skip
    shown = [section for section in sections if section is not None]
    distrust = _distrust(source, found, why, told())
    shown.insert(len(shown) - 2, Section("distrust", "What to distrust", [Block("notes", notes=distrust)]))
    title = f"{source.title}: a model's report"
    return Page(title, _verdict(source, found), shown, footer(source))


# --- what is asked ----------------------------------------------------------------------------------------------------


def _ask(source: Source) -> Answered:
    answerer = source.answerer
    series = answerer.read(source.frame, source.labels, **source.reading)
    said = answerer.answers(series)
    classes = [str(name) for _, name in sorted((answerer.config.id2label or {}).items())]
    classes = classes if answerer.task.name == "classification" else []
    numbers = said.argmax(axis=1) if classes else said[:, 0]
    truth = None if series.labels is None else series.labels.reshape(len(series), -1)[:, 0]
    known = np.zeros(len(series), bool) if truth is None else np.isfinite(truth)
    counted, why = _counted(source, series, known, numbers)
    ends = None if classes else _intervals(source, series)
    return Answered(series, _names(series), said, numbers, truth, ends, counted, why, classes)


def _names(series: SeriesBatch) -> list[str]:
    """What rows are called: by the column that tells most of them apart, beside their row."""
    identity = series.identity
    text = [name for name in identity if identity[name].nunique() == len(identity) and len(identity)]
    if text:
        return [str(name) for name in decoded(identity[text[0]])]
    telling = [name for name in identity if 1 < identity[name].nunique()][:3]
    return [
        " ".join(["row", str(row), *(str(identity[name].iloc[k]) for name in telling)])
        for k, row in enumerate(series.names)
    ]


def _counted(
    source: Source, series: SeriesBatch, known: NDArray[np.bool_], numbers: NDArray[Any]
) -> tuple[NDArray[np.bool_], str]:
    """The rows of the table that errors may be taken from: those of the test part, if the table is its own."""
    tested = _test_rows(source, series)
    if tested is None or not (tested & known).any():
        return known, "rows of this table, whether the model has learnt from some of them is not known"
    sizes = source.metrics.get("sizes") or {}
    learnt = sum(int(sizes.get(part, 0)) for part in ("train", "validation"))
    others = int((known & ~tested).sum())
    if learnt and others >= _SEEN_TWICE * learnt:
        return tested & known, "rows of the test part, from which the model has not learnt"
    return known, "rows of this table"


def _test_rows(source: Source, series: SeriesBatch) -> NDArray[np.bool_] | None:
    """Which rows stand in the `test_predictions.csv` beside the model; `None`: there is none, or nothing to tell by."""
    path = Path(source.model) / "test_predictions.csv"
    target = source.metrics.get("target")
    if not path.is_file() or target is None:
        return None
    try:
        tested = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError):
        return None
    safe, _ = safe_cells(series.identity)
    text = io.StringIO()
    safe.to_csv(text, index=False, quoting=csv_quoting(safe))
    text.seek(0)
    own = pd.read_csv(text, dtype=str, keep_default_na=False) if len(safe.columns) else pd.DataFrame()
    shared = [name for name in own if name in tested]
    if not shared:
        return None
    keys = pd.MultiIndex.from_frame(tested[shared])
    return np.asarray(pd.MultiIndex.from_frame(own[shared]).isin(keys))


def _intervals(source: Source, series: SeriesBatch) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Ends of the intervals of the rows that were read, of a model that was calibrated."""
    answerer = source.answerer
    if getattr(answerer.config, "calibration", None) is None:
        return None
    predict = PIPELINES[str(answerer.task.pipeline)](answerer.model, answerer.processor)
    found = predict(source.frame, interval=source.level, **source.reading).reset_index(drop=True)
    lower = [name for name in found if "_lower_" in str(name)]
    upper = [name for name in found if "_upper_" in str(name)]
    rows = pd.Index(range(len(found)))[np.isin(np.arange(len(found)), _positions(source, series))]
    return found.loc[rows, lower[0]].to_numpy(float), found.loc[rows, upper[0]].to_numpy(float)


def _positions(source: Source, series: SeriesBatch) -> NDArray[np.int64]:
    """Rows of the table that were read."""
    index = pd.Index(source.frame.index if isinstance(source.frame, pd.DataFrame) else range(len(source.frame)))
    return np.asarray(index.get_indexer(pd.Index(series.names)))


def _columns(source: Source, found: Answered) -> dict[str, str | None]:
    """The columns of group and time by which errors are shown: as said, as the split had them, or found."""
    identity, split = found.series.identity, source.metrics.get("split") or {}
    chosen = {"group": source.group, "time": source.time}
    if split.get("by") in chosen and chosen[split["by"]] is None and split.get("column") in identity:
        chosen[split["by"]] = split["column"]
    target = source.labels or (source.answerer.processor.target_names or [source.metrics.get("target")])[0]
    if target in source.frame and None in chosen.values():
        try:
            roles = find_roles(source.frame, target, variates=source.answerer.processor.variate_names)
        except ValueError:
            return chosen
        for kind, candidates in (("group", roles.groups), ("time", roles.times)):
            fitting = [c.name for c in candidates if c.name in identity and c.count < len(identity)]
            chosen[kind] = chosen[kind] or next(iter(sorted(fitting, key=lambda n: identity[n].nunique())), None)
    return chosen


def _explain(source: Source, found: Answered) -> Explanation | None:
    if not source.explained or len(found.series) < 2:
        return None
    rows = np.flatnonzero(found.counted) if found.counted.sum() > 1 else np.arange(len(found.series))
    rows = np.sort(np.random.default_rng(0).permutation(rows)[: source.explained])
    methods = [name for name in METHODS if name != "gradients" or find_spec("captum") is not None]
    part = source.frame.iloc[_positions(source, found.series)[rows]]
    return explain(
        source.answerer.model, source.answerer.processor, part, methods=methods, labels=source.labels, repeats=2,
        max_samples=None, **source.reading,
    )  # fmt: skip


# --- what is told -----------------------------------------------------------------------------------------------------


def _measure(found: Answered) -> dict[str, float]:
    rows = found.counted
    if found.truth is None or not rows.any():
        return {}
    if found.classes:
        scores = np.log(np.maximum(found.said[rows], 1e-12))
        return classification_metrics(scores, found.truth[rows].astype(int))
    return regression_metrics(found.numbers[rows], found.truth[rows])


def _guess(source: Source, found: Answered) -> float | None:
    """The typical error of always guessing the training mean."""
    targets = (source.answerer.processor.statistics or {}).get("targets")
    if found.classes or found.truth is None or not targets:
        return None
    return float(np.abs(found.truth[found.counted] - targets["mean"][0]).mean())


def _unit(source: Source) -> str:
    return source.answerer.unit


def _verdict(source: Source, found: Answered) -> str:
    measured, count = _measure(found), int(found.counted.sum())
    if not measured:
        return f"Predictions for {len(found.series)} series; the table has no column of what is true, so errors are unknown."
    if found.classes:
        often = np.bincount(found.truth[found.counted].astype(int)).max() / count  # type: ignore[index]
        return (
            f"Right for {measured['accuracy']:.0%} of {count} {found.why}; always naming the most frequent class would "
            f"be right for {often:.0%}."
        )
    guess = _guess(source, found)
    beside = "" if guess is None else f"; always guessing the training mean: {figure(guess)} {_unit(source)}".rstrip()
    own = f"{figure(measured['mae'])} {_unit(source)}".rstrip()
    return f"Typical error {own} (mean absolute error) on {count} {found.why}{beside}."


def _quality(source: Source, found: Answered) -> Section:
    """How good it is: figures, the comparison table, predictions against observations."""
    measured, blocks = _measure(found), []
    task = source.answerer.task.name
    if measured:
        words = COLUMNS[task]
        tiles = [(text, figure(measured[name]), _note(name, _unit(source))) for name, text in words.items()]
        tiles.insert(0, ("series", str(int(found.counted.sum())), f"of {len(found.series)} in the table"))
        blocks.append(Block("tiles", tiles=tiles))
    compared = _compared(source)
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
    if compared is not None:
        row.append(compared)
    blocks.append(Block("row", blocks=row))
    return Section("quality", "How good is it?", blocks)


def _note(metric: str, unit: str) -> str:
    told = {"mae": unit, "rmse": unit, "r2": "1 is perfect, 0 is the mean", "mape": "of the observed value"}
    return told.get(metric, "")


def _compared(source: Source) -> Block | None:
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
    count = (source.metrics.get("sizes") or {}).get("test")
    return table(
        ["model", *header], rows,
        f"Beside its peers, all on the {count or ''} series of the test part of its training; the best one first.",
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
            rows.append([str(value), int(own.sum()), Figure(figure(off[own].mean())), Figure(figure(bias))])
    words = ["right"] if found.classes else [with_unit("typical error", _unit(source)), "too high (low: -)"]
    more = f" ({len(rows)} in all)" if len(rows) > _SHOWN_GROUPS else ""
    return table([column, "series", *words], rows[:_SHOWN_GROUPS], f"The worst {column} first{more}.")


def _sure(source: Source, found: Answered) -> Section:
    """Intervals, and what they hold."""
    level = source.level
    if found.ends is None:
        text = (
            "Probabilities are the model's own; the figure above says how far to believe them."
            if found.classes
            else "This model was not calibrated, so it has no intervals. As a rule of thumb, half of its errors on the "
            "counted series were below the median and one in ten above the last figure here."
        )
        blocks = [Block("text", text=text)]
        if not found.classes and found.truth is not None and found.counted.sum() > 4:
            off = found.wrong[found.counted]
            tiles = [(f"{share:.0%} of errors", f"below {figure(np.quantile(off, share))}", _unit(source))
                     for share in (0.5, 0.8, 0.9)]  # fmt: skip
            blocks.append(Block("tiles", tiles=tiles))
        return Section("sure", "How wide are the errors?", blocks)
    low, high = found.ends
    tiles = [("mean width", figure(float(np.nanmean(high - low))), _unit(source))]
    blocks = []
    if found.truth is not None and found.counted.any():
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


def _reasons(source: Source, why: Explanation | None) -> Section | None:
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
    blocks.append(Block("row", blocks=row))
    rows = [
        [part_name(part), Figure(figure(part["importance"])), f"{figure(part['lower'])} to {figure(part['upper'])}"]
        for _, part in why.top("cell").head(10).iterrows()
    ]
    if rows:
        method = "removal" if "removal" in why.measures else "gradients"
        blocks.append(table(["what", "importance", "95 % interval"], rows, why.measures[method]))
    if len(why.branches):
        shown = [[f"{r['branch']} and {r['other']}", Figure(f"{r['correlation']:.2f}"), Figure(figure(r["mean_difference"]))]
                 for _, r in why.branches.iterrows()]  # fmt: skip
        blocks.append(table(["branches", "correlation of answers", "mean difference"], shown,
                            "How far the branches agree; where they do not, the answer rests on one of them."))  # fmt: skip
    return Section("why", "What does it go by?", blocks)


def _training(source: Source) -> Section | None:
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
        card = Card(found.names[row], lines)
        if images is not None:
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
    rows = []
    for row in range(min(len(found.names), _LISTED)):
        cells: list[Any] = [found.names[row]]
        cells.append(found.shown(found.numbers[row]) if found.classes else Figure(found.shown(found.numbers[row])))
        if found.classes:
            cells.append(Figure(f"{found.said[row].max():.0%}"))
        if found.ends is not None:
            cells += [Figure(figure(found.ends[0][row])), Figure(figure(found.ends[1][row]))]
        if found.truth is not None:
            shown = found.shown(found.truth[row])
            cells.append(shown if found.classes else Figure(shown))
        rows.append(cells)
    more = (
        f" The first {_LISTED} of {len(found.names)}; timesclip predict writes all."
        if len(found.names) > _LISTED
        else ""
    )
    return Section(
        "rows", "May I use it for this field?", [table(columns, rows, f"Each series of {source.table_name}.{more}")]
    )


def _model(source: Source) -> Section:
    """What was trained on what."""
    answerer, metrics = source.answerer, source.metrics
    processor, config = answerer.processor, answerer.config
    sizes = metrics.get("sizes") or {}
    split = metrics.get("split") or {}
    numbers, dates = answerer.step_axis()
    first, last = (dates[k] or f"step {numbers[k]}" for k in (0, -1))
    facts = [
        ("predicts", source.title),
        ("reads", f"{config.num_variates} variates from {first} to {last} ({config.context_length} steps)"),
        ("variates", some_of([with_unit(*p) for p in zip(answerer.variate_names, answerer.variate_units, strict=True)], 30)),
        ("static columns", some_of([column["name"] for column in answerer.static_columns], 20)),
        ("kind", f"{type(answerer.base).__name__}, {(metrics.get('model') or {}).get('preset', '')}".rstrip(", ")),
        ("towers", ", ".join(f"{branch} {getattr(config, f'{branch}_config').model_type}" for branch in ("vision", "text")
                             if getattr(config, f"{branch}_config") is not None)),
        ("parameters", f"{answerer.base.num_parameters():,}"),
        ("learnt from", ", ".join(f"{count} {part}" for part, count in sizes.items())),
        ("split by", " ".join(str(part) for part in (split.get("by"), split.get("column")) if part)),
        ("scaling", processor.scaling),
        ("command", str(metrics.get("command") or "")),
    ]  # fmt: skip
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
    if found.ends is None and not found.classes:
        notes.append("There are no intervals: the model was not calibrated.")
    if why is not None and len(why.branches) and (why.branches["correlation"] < 0.5).any():
        notes.append("Branches of the model disagree (see above): its answers rest on one reading of the series.")
    if why is not None:
        notes.append(
            "Importance says what this model goes by, not what causes the target; of two variates that carry the same, "
            "neither may seem important."
        )
    processor = source.answerer.processor
    if processor.statistics is not None and processor.scaling == "dataset":
        values, seen = found.series.values, found.series.observed
        fitted = processor.statistics["variates"]
        beyond = seen & ((values > np.array(fitted["maximum"])) | (values < np.array(fitted["minimum"])))
        rows = beyond.any(axis=(1, 2))
        if rows.any():
            named = [n for n, away in zip(source.answerer.variate_names, beyond.any(axis=(0, 1)), strict=True) if away]
            notes.append(f"{int(rows.sum())} series leave the range of the training part, in {some_of(named)}.")
    return notes + [f"Told on the way: {line}" for line in told]


__all__ = ["build_page"]
