# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What pages about numbers, classes and forecasts have in common: peers, reasons, learning curve, facts."""

from collections.abc import Mapping

import pandas as pd

from ..data.tables import some_of
from ..escaping import with_unit
from ..plots import PART_KINDS, part_name, plot_curves, plot_importance
from ..training.train_report import COLUMNS, figure
from . import report_figures as figures
from .explanations import Explanation
from .report import Block, Figure, Section, Source, table

_AGREEMENT = ("correlation", "mean_difference")


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
    unit = source.answerer.unit if task == "regression" and source.answerer.config.num_targets == 1 else ""
    header = [with_unit(text, unit) if name in ("mae", "rmse") else text for name, text in words.items()]
    count, what = (source.metrics.get("sizes") or {}).get("test"), "windows" if task == "forecasting" else "series"
    on = f"the {count} {what} of the test part" if count else "the test part"
    kind = source.metrics.get("errors in")
    told = f" Errors are {kind}." if isinstance(kind, str) else ""
    return table(
        ["model", *header], rows,
        f"Beside its peers, all on {on} of its training; the best one first.{told}",
        ["strong" if name == own else "" for name in order],
    )  # fmt: skip


def reasons(whys: Mapping[str, Explanation], what: str = "series") -> Section | None:
    """Which variates, spans and branches answers come from, target by target; `what` samples are called."""
    parts = {name: _reasons(why, what) for name, why in whys.items() if not why.importance.empty}
    blocks = headed(parts, len(whys) > 1)
    return Section("why", "What does it go by?", blocks) if blocks else None


def headed(parts: Mapping[str, list[Block]], named: bool) -> list[Block]:
    """Blocks of each target, `named`: under its name."""
    found: list[Block] = []
    for name, blocks in parts.items():
        found += [Block("heading", text=name), *blocks] if named else blocks
    return found


def _reasons(why: Explanation, what: str) -> list[Block]:
    blocks: list[Block] = []
    row: list[Block] = []
    texts = {
        "removal": f"How much is lost when it comes from others of the {what}; thin lines: 95 % intervals.",
        "gradients": "How much of each prediction's difference from the baseline it makes up, whatever the sign.",
    }
    first = "removal" if "removal" in why.measures else "gradients"
    for method in sorted(dict.fromkeys(why.importance["method"]), key=lambda method: method != first):
        own = why.importance[why.importance["method"] == method]
        with figures.page_style():
            drawn = plot_importance(own, f"{method}: {why.measures[method]}", most=8)
        top = part_name(why.top("cell" if (own["kind"] == "cell").any() else "variate", method).iloc[0])
        caption = f"{why.measures[method].capitalize()} ({method}, {len(why.samples)} {what}). {texts[method]}"
        row.append(
            Block("figure", svg=figures.as_svg(drawn, f"Importance by {method}; first: {top}."), caption=caption)
        )
    tops = {words: why.top(kind, first) for kind, words in PART_KINDS.items()}
    most = [f"of {words} {part_name(own.iloc[0])}" for words, own in tops.items() if len(own)]
    blocks.append(Block("text", text=f"What counts most, by {first}: {'; '.join(most)}."))
    blocks.append(Block("row", blocks=row))
    listed = pd.concat([why.top("cell").head(10), *(why.top(kind).head(5) for kind in ("static", "future"))])
    rows = [
        [part_name(part), Figure(figure(part["importance"])), f"{figure(part['lower'])} to {figure(part['upper'])}"]
        for _, part in listed.iterrows()
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
    return blocks


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
        ("known in advance", some_of([one.name for one in answerer.known], 20)),
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


__all__ = ["compared", "headed", "learning_curve", "model_facts", "reasons"]
