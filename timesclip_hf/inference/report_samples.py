# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The page about a model that answers for whole series: numbers, or classes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.tables import decoded, some_of
from ..escaping import with_unit
from ..plots import plot_confusion
from ..training.train_report import COLUMNS, figure
from . import report_figures as figures
from .explanations import Explanation
from .report import Block, Card, Figure, Page, Section, Source, footer, table
from .report_answers import Answered, ask, best_peer, columns_of, explain_rows, guess_error, measure
from .report_sections import compared, headed, learning_curve, model_facts, reasons

_LISTED, _SHOWN_GROUPS, _SAMPLES, _SAMPLES_OF_EACH, _FEW = 300, 20, 5, 2, 20
_FEWEST, _KINDS, _WORST_KINDS = 5, 30, 10  # series that tell an error; values of a column that sorts; of them, shown


def build_page(source: Source, told: Callable[[], list[str]]) -> Page:
    """Asks the model, and puts together all that the page tells.

    Args:
        source: model and table.
        told: gives the warnings of the run so far.
    """
    founds = ask(source)
    columns = columns_of(source, founds[0])
    whys = explain_rows(source, founds)

    def section(name: str, title: str, tell: Callable[[Answered], list[Block]]) -> Section | None:
        """What there is to tell of each target."""
        told = {found.title: blocks for found in founds if (blocks := tell(found))}
        return Section(name, title, headed(told, len(founds) > 1)) if told else None

    sections = [
        section("quality", "How good is it?", lambda found: _quality(source, found)),
        section("where", "Where is it bad?", lambda found: _where(found, columns)),
        section("sure", "How wide are the errors?", lambda found: _sure(source, found)),
        reasons(whys), learning_curve(source),
        section("samples", "The worst and the best", lambda found: _samples(source, found, len(founds))),
        _rows(source, founds), model_facts(source),
    ]  # fmt: skip
    shown = [section for section in sections if section is not None]
    distrust = _distrust(source, founds, whys, told())
    shown.insert(len(shown) - 2, Section("distrust", "What to distrust", [Block("notes", notes=distrust)]))
    title = f"{source.title}: a model's report"
    return Page(title, _verdict(source, founds), shown, footer(source))


def _verdict(source: Source, founds: Sequence[Answered]) -> str:
    if len(founds) == 1:
        return _verdict_of(source, founds[0])
    return " ".join(f"{found.title}: {_verdict_of(source, found)}" for found in founds)


def _verdict_of(source: Source, found: Answered) -> str:
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
    beside = "" if guess is None else f"; always guessing the training mean: {figure(guess)} {found.unit}".rstrip()
    own = f"{figure(measured['mae'])} {found.unit}".rstrip()
    if (peer := best_peer(source, found)) is not None:
        beside += f"; the best of what it was compared with, {peer[0]}: {figure(peer[1])} {found.unit}".rstrip()
    return f"Typical error {own} (mean absolute error) on {count} {found.why}{beside}."


def _quality(source: Source, found: Answered) -> list[Block]:
    """How good it is: figures, the comparison table, predictions against observations."""
    measured, blocks = measure(found), list[Block]()
    task = source.answerer.task.name
    if measured:
        words = COLUMNS[task]
        tiles = [(text, figure(measured[name]), _note(name, found.unit)) for name, text in words.items()]
        tiles.insert(0, ("series", str(int(found.counted.sum())), f"of {len(found.series)} in the table"))
        blocks.append(Block("tiles", tiles=tiles))
    peers = compared(source) if found.target == 0 else None
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
                    found.title,
                )
                caption = f"Each dot is a series ({found.why}); on the line, prediction and observation agree."
                if ends is not None:
                    caption += f" Thin bars: intervals that should hold {source.level:.0%}."
                alt = f"Predicted against observed {found.title}: R2 {measured['r2']:.2f}."
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
    return [*blocks, Block("row", blocks=row)] if row else blocks


def _note(metric: str, unit: str) -> str:
    told = {"mae": unit, "rmse": unit, "r2": "1 is perfect, 0 is the mean", "mape": "of the observed value"}
    return told.get(metric, "")


def _where(found: Answered, columns: Mapping[str, str | None]) -> list[Block]:
    """Errors by group and over time."""
    blocks: list[Block] = []
    if found.truth is None or not found.counted.any():
        return blocks
    for kind in ("group", "time"):
        if (column := columns[kind]) is None:
            continue
        cells = decoded(found.series.identity[column])[found.counted]
        if cells.nunique() < 2:
            continue
        row = [_error_table(found, column, cells)]
        if not found.classes:
            off = (found.numbers - found.truth)[found.counted]
            values = sorted(cells.dropna().unique()) if kind == "time" else _by_error(cells, _off(found))
            groups = {str(value): off[_rows_of(cells, value)] for value in values}
            with figures.page_style():
                drawn = figures.errors_by(groups, with_unit("predicted less observed", found.unit), kind == "time")
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
    others = _other_columns(found, columns.values())
    blocks += [] if others is None else [others]
    return blocks


def _by_error(cells: pd.Series, off: NDArray[Any]) -> list[Any]:
    """Values of a column by their mean error, the worst first; behind them those of too few series to say."""
    found = pd.Series(off, cells.index).groupby(cells).agg(["mean", "size"])
    found["few"] = found["size"] < _FEWEST
    return list(found.sort_values(["few", "mean"], ascending=[True, False], kind="stable").index)


def _error_table(found: Answered, column: str, cells: pd.Series) -> Block:
    """A row for each value of a column, the worst first."""
    rows = [[str(value), *_errors_of(found, _rows_of(cells, value))] for value in _by_error(cells, _off(found))]
    more = f" ({len(rows)} in all)" if len(rows) > _SHOWN_GROUPS else ""
    few = any(row[1] < _FEWEST for row in rows) and any(row[1] >= _FEWEST for row in rows)
    told = f"The worst {column} first{more}" + (f"; those of fewer than {_FEWEST} series last." if few else ".")
    return table([column, "series", *_error_words(found)], rows[:_SHOWN_GROUPS], told)


def _rows_of(cells: pd.Series, value: Any) -> NDArray[np.bool_]:
    return (cells == value).to_numpy(bool, na_value=False)


def _off(found: Answered) -> NDArray[np.float64]:
    return found.wrong[found.counted]


def _error_words(found: Answered) -> list[str]:
    return ["right"] if found.classes else [with_unit("typical error", found.unit), "mean error (+: too high)"]


def _errors_of(found: Answered, own: NDArray[np.bool_]) -> list[Any]:
    """How many series some of the counted ones are, and their errors, as `_error_words` calls them."""
    if found.classes:
        right = (found.numbers == found.truth)[found.counted][own].mean()
        return [int(own.sum()), Figure(f"{right:.0%}")]
    bias = (found.numbers - found.truth)[found.counted][own].mean()
    return [int(own.sum()), Figure(figure(float(_off(found)[own].mean()))), Figure(figure(float(bias)))]


def _other_columns(found: Answered, shown: Collection[str | None]) -> Block | None:
    """The worst values of all other columns that sort series into kinds (crop, soil, ...)."""
    identity, ranked = found.series.identity[found.counted], []
    for column in [name for name in identity if name not in shown]:
        cells = decoded(identity[column])
        if not 2 <= cells.nunique() <= _KINDS or (pd.api.types.is_float_dtype(cells.dtype)):
            continue
        if _is_answer(found, cells):
            continue
        for value in cells.dropna().unique():
            own = _rows_of(cells, value)
            if own.sum() >= _FEWEST:
                ranked.append((float(_off(found)[own].mean()), [str(column), str(value), *_errors_of(found, own)]))
    if not ranked:
        return None
    rows = [row for _, row in sorted(ranked, key=lambda pair: -pair[0])][:_WORST_KINDS]
    told = f"By what other columns tell, the worst {len(rows)} of {len(ranked)}:" if len(ranked) > len(rows) else (
        "By what other columns tell, the worst first:"
    )  # fmt: skip
    return table(["column", "is", "series", *_error_words(found)], rows, told)


def _sure(source: Source, found: Answered) -> list[Block]:
    """Intervals, and what they hold."""
    level = source.level
    if found.ends is None:
        text = (
            "Probabilities are the model's own; the figure above says how far to believe them."
            if found.classes
            else "This model was not calibrated, so it has no intervals. As a rule of thumb, errors are as often "
            "below these figures as they were on the series that count here."
        )
        return [Block("text", text=text), *_sizes(found)]
    low, high = found.ends
    measured = found.truth is not None and found.counted.any()
    width = (high - low)[found.counted] if measured else high - low  # of the series that the share is of
    tiles = [("mean width", figure(float(np.nanmean(width))), found.unit)]
    blocks = []
    if measured:
        inside = ((found.truth >= low) & (found.truth <= high))[found.counted]
        tiles.insert(0, (f"{level:.0%} intervals held", f"{inside.mean():.0%}", f"of {len(inside)} series"))
        spread = np.ptp(np.quantile(found.truth[found.counted], [(1 - level) / 2, (1 + level) / 2]))  # type: ignore
        tiles.append(
            (f"without a model, {level:.0%} lie within", figure(float(spread)), f"{found.unit} of each other")
        )
    blocks.append(Block("tiles", tiles=tiles))
    blocks += _sizes(found)
    blocks.append(
        Block(
            "text",
            text=f"Intervals should hold {level:.0%} of series that are like those of the calibration. Other places, "
            "later years and other sensors may differ, and then they hold less: the share above says how it was here.",
        )
    )
    return blocks


def _is_answer(found: Answered, cells: pd.Series) -> bool:
    """Whether a column of the counted series is what was to be predicted."""
    if found.truth is None:
        return False
    truth = found.truth[found.counted]
    if found.classes:
        return bool(
            (cells.astype(str).to_numpy(object) == np.array([found.shown(true) for true in truth], object)).all()
        )
    return pd.api.types.is_numeric_dtype(cells.dtype) and bool(
        np.allclose(cells.to_numpy(float, na_value=np.nan), truth)
    )


def _sizes(found: Answered) -> list[Block]:
    """What half, four fifths and nine tenths of errors are below."""
    if found.classes or found.truth is None or found.counted.sum() < _FEWEST:
        return []
    tiles = [(f"{share:.0%} of errors", f"below {figure(float(np.quantile(_off(found), share)))}", found.unit)
             for share in (0.5, 0.8, 0.9)]  # fmt: skip
    return [Block("tiles", tiles=tiles)]


def _samples(source: Source, found: Answered, targets: int) -> list[Block]:
    """The best and the worst series, as the model sees them."""
    if found.truth is None or not found.counted.any():
        return []
    rows = np.flatnonzero(found.counted)
    order = rows[np.argsort(found.wrong[rows], kind="stable")]
    count = min(_SAMPLES if targets == 1 else _SAMPLES_OF_EACH, max(1, len(order) // 2))
    blocks: list[Block] = []
    for text, chosen in (("The worst", order[::-1][:count]), ("The best", order[:count])):
        blocks += [Block("text", text=f"{text} {len(chosen)}:"), Block("cards", cards=_cards(source, found, chosen))]
    return blocks


def _cards(source: Source, found: Answered, rows: NDArray[np.int64]) -> list[Card]:
    answerer = source.answerer
    part, cards = found.series.at(rows), []
    names = [with_unit(*pair) for pair in zip(answerer.variate_names, answerer.variate_units, strict=True)]
    images = None
    if "pixel_values" in answerer.reads:
        images = answerer.processor.to_images(answerer.batch(*answerer.tensors(part))["pixel_values"])
    for place, row in enumerate(rows):
        unit = found.unit
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


def _rows(source: Source, founds: Sequence[Answered]) -> Section:
    """Every row: what is said, what is true, whether to believe it."""
    first = founds[0]
    columns, near = ["series"], first.near
    for found in founds:
        columns += _columns(source, found, len(founds) > 1)
    learnt = first.truth is not None and not first.counted.all()
    columns += ["counts above?"] if learnt else []
    columns += [] if near is None else ["distance", "like the training series?", "most like"]
    rows: list[list[Any]] = []
    marks: list[str] = []
    for row in _listed(first):
        cells: list[Any] = [first.names[row]]
        for found in founds:
            cells += _cells(found, row)
        cells += [("yes" if first.counted[row] else "no")] if learnt else []
        if near is not None:
            distance, unusual, nearest = near.iloc[row]
            cells += [Figure(figure(float(distance))), "unusual" if unusual else "yes", str(nearest)]
        marks.append("alert" if near is not None and near["unusual"][row] else "")
        rows.append(cells)
    more = (
        f" The first {_LISTED} of {len(first.names)}; timesclip predict writes all."
        if len(first.names) > _LISTED
        else ""
    )
    told = []
    if near is not None:
        told.append(
            "Where a series is unlike all that the model has learnt from (marked; those first), do not rely on its "
            "prediction, nor on errors and intervals that were measured on others."
        )
    if learnt:
        told.append("Of series that do not count above, what was observed may be what the model has learnt.")
    told.append(
        f"Other series: timesclip report {source.name} --table THEIRS.csv, also where nothing is observed yet."
    )
    texts = [Block("text", text=" ".join(told))]
    return Section("rows", "May I use it for this field?",
                   [*texts, table(columns, rows, f"Each series of {source.table_name}.{more}", marks)])  # fmt: skip


def _columns(source: Source, found: Answered, named: bool) -> list[str]:
    """Headers of what is told of a target in the table of all rows, with its name where there are several."""
    name = f"{found.title}, " if named else ""
    columns = [name + ("predicted" if named else with_unit("predicted", found.unit))]
    columns += ["sure"] if found.classes else []
    columns += [] if found.ends is None else [f"{name}{source.level:.0%} from", f"{name}to"]
    return columns + (
        [] if found.truth is None else [name + ("observed" if named else with_unit("observed", found.unit))]
    )


def _cells(found: Answered, row: int) -> list[Any]:
    """What is told of a target in a row."""
    cells: list[Any] = []
    cells.append(found.shown(found.numbers[row]) if found.classes else Figure(found.shown(found.numbers[row])))
    if found.classes:
        cells.append(Figure(f"{found.said[row].max():.0%}"))
    if found.ends is not None:
        cells += [Figure(figure(found.ends[0][row])), Figure(figure(found.ends[1][row]))]
    if found.truth is not None:
        shown = found.shown(found.truth[row])
        cells.append(shown if found.classes else Figure(shown))
    return cells


def _listed(found: Answered) -> NDArray[np.int64]:
    """Rows that are listed: unusual ones first, then those that count."""
    unusual = np.zeros(len(found.names), bool) if found.near is None else found.near["unusual"].to_numpy(bool)
    return np.lexsort((~found.counted, ~unusual))[:_LISTED]


def _distrust(
    source: Source, founds: Sequence[Answered], whys: Mapping[str, Explanation], told: list[str]
) -> list[str]:
    """What a reader must not conclude."""
    found, notes = founds[0], []
    for one in founds:
        of = f"{one.title}: " if len(founds) > 1 else ""
        count = int(one.counted.sum())
        if one.truth is None:
            notes.append(
                f"{of}Nothing here says how good the predictions are: the table has no column of what is true."
            )
        elif count < _FEW:
            notes.append(f"{of}Only {count} series count for the figures above: they are rough.")
    if any("not known" in one.why and one.truth is not None for one in founds):
        notes.append(
            "Whether the model has learnt from rows of this table is not known; if so, its errors here flatter it."
        )
    if any("test part" in one.why for one in founds):
        notes.append("Errors are those of the test part alone. Series from other places or sensors may be worse.")
    if found.near is not None and (away := found.near["unusual"].to_numpy(bool)).any():
        notes.append(
            f"{int(away.sum())} of {len(away)} series are unusual: farther from all training series than is "
            "usual among these (marked in the list of series). Errors there may be larger than all above."
        )
    if found.ends is None and not found.classes:
        notes.append("There are no intervals: the model was not calibrated.")
    if any(len(why.branches) and (why.branches["correlation"] < 0.5).any() for why in whys.values()):
        notes.append("Branches of the model disagree (see above): its answers rest on one reading of the series.")
    if whys:
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
            notes.append(
                f"{int(rows.sum())} series with values beyond those of the training part, in {some_of(named)}."
            )
    return notes + [f"Told on the way: {line}" for line in told]


__all__ = ["build_page"]
