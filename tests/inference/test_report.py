# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One page about a model and a table: what it tells, that it needs nothing from elsewhere, that names stay text."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from hostile_text import HARMLESS, HOSTILE
from markupsafe import Markup, escape

from timesclip_hf import (
    SimilarSeries,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    write_report,
)
from timesclip_hf.cli import main
from timesclip_hf.inference import report_figures, report_forecasts, report_samples
from timesclip_hf.inference.report import Block, Card, Figure, Page, Section, render, table
from timesclip_hf.training.train_report import figure, write_csv

STEPS, COUNT = 12, 24
SERIES = np.random.default_rng(0).normal(size=(COUNT, STEPS, 3)) * [0.1, 30.0, 500.0] + [0.5, 100.0, 3000.0]
QUICK = {"explained": 2}


class Tags(HTMLParser):
    """Elements with the names of their attributes, and all text, of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.text: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, sorted(name for name, _ in attrs)))
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(autouse=True)
def few_examples(monkeypatch: Any) -> None:
    """Figures take the time."""
    monkeypatch.setattr(report_samples, "_SAMPLES", 2)
    monkeypatch.setattr(report_forecasts, "_EXAMPLES", 1)


@pytest.fixture
def saved(tiny_config: Any, tmp_path: Path) -> Callable[..., tuple[Path, pd.DataFrame]]:
    """`saved(preset, task, text)`: a model's folder, and a table to ask it about; the text stands in every name."""

    def build(preset: str = "full", task: str = "regression", text: str = "") -> tuple[Path, pd.DataFrame]:
        names = [f"ndvi{text}", f"rain{text}", f"nir{text}"]
        fields = {"id2label": {0: f"maize{text}", 1: "wheat"}} if task == "classification" else {}
        config = tiny_config(preset, **fields)
        processor = TimesCLIPProcessor.from_config(config, variate_names=names, variate_units=["", text, "mm"])
        processor.fit(SERIES, labels=None if fields else np.arange(COUNT, dtype=float))
        if not fields:
            processor.target_names, processor.target_units = [f"yield{text}"], [text or "t/ha"]
        processor.first_step, processor.last_step = 0, STEPS - 1
        processor.padding_side = processor.truncation_side = "right"
        torch.manual_seed(0)
        model = (TimesCLIPForClassification if fields else TimesCLIPForRegression)(processor.complete_config(config))
        folder = tmp_path / "model"
        model.save_pretrained(folder), processor.save_pretrained(folder)
        columns = {f"{n}_{t:02d}": SERIES[:, t, v] for v, n in enumerate(names) for t in range(STEPS)}
        frame = pd.DataFrame(columns)
        frame["field"] = [f"field {k}{text}" for k in range(COUNT)]
        frame[f"farm{text}"] = [f"{'north' if k % 2 else 'south'}{text}" for k in range(COUNT)]
        frame["year"] = [2015 + k // 4 for k in range(COUNT)]
        answer = [f"maize{text}" if k % 3 else "wheat" for k in range(COUNT)] if fields else np.arange(COUNT) * 0.5
        frame["crop" if fields else f"yield{text}"] = answer
        return folder, frame

    return build


def test_the_page_tells_how_good_where_bad_why_and_what_to_distrust(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved()
    frame = frame.assign(kind=["rye"] * 6 + ["oats"] * 15 + ["peas"] * 3, farm=["south"] * 4 + ["north"] * 20)
    path = write_report(folder, frame, tmp_path / "report.html", group="farm", **QUICK)
    page = path.read_text(encoding="utf-8")
    text = " ".join(" ".join(Tags(page).text).split())
    for told in (
        "How good is it?", "Where is it bad?", "How wide are the errors?", "What does it go by?", "What to distrust",
        "The worst and the best", "May I use it for this field?", "The model", "The worst 2:", "The best 2:",
        "field 23", "yield (t/ha)", "Errors by farm", "The worst farm first; those of fewer than 5 series last.",
        "Errors by year", "always guessing the training mean: 5.75", "This model was not calibrated",
        "By what other columns tell, the worst first:", "What counts most, by removal: of variates",
        "timesclip report model --table THEIRS.csv",
    ):  # fmt: skip
        assert told in text, told
    wrong = np.abs(_said(folder) - frame["yield"].to_numpy())
    rows = [f"kind {name} {count} {figure(wrong[own].mean())}" for name, count, own in
            (("rye", 6, slice(6)), ("oats", 15, slice(6, 21)))]  # fmt: skip
    assert all(row in text for row in rows) and "kind peas" not in text  # too few to tell
    assert page.count('alt="the plot of') == 4 * 3  # of four samples, each variate as the model sees it
    assert len(re.findall(r"<svg[^>]* role=\"img\" aria-label=\"[^\"]+\"", page)) == page.count("<svg")


def _said(folder: Path) -> np.ndarray:
    model, processor = TimesCLIPForRegression.from_pretrained(folder), TimesCLIPProcessor.from_pretrained(folder)
    with torch.no_grad():
        return model(**processor(SERIES)).predictions[:, 0].numpy()


def test_the_page_needs_nothing_from_elsewhere_and_follows_light_and_dark(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved()
    page = write_report(folder, frame, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    tags = Tags(page)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in tags.found}
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in tags.sources) and tags.sources
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page and "@media print" in page
    assert "#010203" not in page and "#000000" not in page  # the figures' ink is the page's
    ids = re.findall(r'id="([^"]+)"', page)
    assert {source[1:] for source in tags.sources if source.startswith("#")} <= set(ids)


def test_errors_are_right_and_rows_that_were_learnt_from_do_not_count(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved("small")
    off = np.abs(_said(folder) - frame["yield"].to_numpy())
    page = write_report(folder, frame, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    assert f"Typical error {off.mean():.2f} t/ha" in page and "whether the model has learnt from some" in page
    tested = frame.iloc[16:][["field", "farm", "year", "yield"]]
    write_csv(tested, folder / "test_predictions.csv")
    figures = {"mae": 1.0, "rmse": 2.0, "r2": 0.5}
    metrics = {
        "target": "yield",
        "sizes": {"train": 12, "validation": 4, "test": 8},
        "split": {"by": "time", "column": "year"},
        "test": {"TimesCLIP small": figures, "ridge": {"mae": 0.5, "rmse": 1.0, "r2": 0.7}},
        "model": {"name": "TimesCLIP small"},
        "curve": [{"epoch": epoch, "training loss": 1 / epoch} for epoch in (1, 2)],
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = write_report(folder, frame, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    assert f"Typical error {off[16:].mean():.2f} t/ha (mean absolute error) on 8 rows of the test part" in page
    text = " ".join(" ".join(Tags(page).text).split())
    assert text.index("ridge 0.500 1.00 0.700") < text.index("TimesCLIP small 1.00 2.00 0.500")
    assert "How it learnt" in text and "12 train, 4 validation, 8 test" in text
    assert f"always guessing the training mean: {np.abs(tested['yield'] - 11.5).mean():.2f} t/ha" in page
    metrics["test"]["mean"] = {"mae": 4.56, "rmse": 5.0, "r2": 0.0}  # the headline says what the table says
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = write_report(folder, frame, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    assert "training mean: 4.56 t/ha; the best of what it was compared with, ridge: 0.500 t/ha" in page
    (folder / "metrics.json").write_text("[1, ")
    assert "Typical error" in write_report(folder, frame, tmp_path / "r.html", explained=0).read_text()


def test_intervals_are_as_wide_as_those_of_the_series_that_count(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved("small")
    model = TimesCLIPForRegression.from_pretrained(folder)
    # Half widths of 1, but in the two years of the test part 3.
    widths = {"thresholds": [[1.0]], "group": "year", "groups": {"2019": [[3.0]], "2020": [[3.0]]}}
    model.config.calibration = {"method": "absolute", "levels": [0.9], "count": 50, "source": "others", **widths}
    model.save_pretrained(folder)
    write_csv(frame.iloc[16:][["field", "farm", "year", "yield"]], folder / "test_predictions.csv")
    metrics = {"target": "yield", "sizes": {"train": 12, "validation": 4, "test": 8}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = write_report(folder, frame, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    told = " ".join(" ".join(Tags(page).text).split())
    assert re.search(r"90% intervals held \d+% of 8 series mean width 6\.00 t/ha", told)
    middle = np.ptp(np.quantile(frame["yield"].iloc[16:], [0.05, 0.95]))
    assert f"without a model, 90% lie within {middle:.2f} t/ha of each other" in told
    assert "counts above?" in told and "what was observed may be what the model has learnt" in told


def test_classes_have_a_confusion_and_their_reliability(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved("small", "classification")
    page = write_report(folder, frame, tmp_path / "r.html", labels="crop", explained=0).read_text(encoding="utf-8")
    text = " ".join(" ".join(Tags(page).text).split())
    assert re.search(r"Right for \d+% of 24 rows", text) and "the model is too sure" in text and "% sure)" in text
    without = write_report(folder, frame.drop(columns="crop"), tmp_path / "r.html", explained=0).read_text()
    assert "the table has no column of what is true" in without and "The worst 2" not in without


def test_classes_called_by_numbers_are_found_by_the_column_that_was_learnt(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved("small", "classification")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "1", "1": "2"}, "label2id": {"1": 0, "2": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").write_text(json.dumps({"target": "crop"}))
    model, processor = TimesCLIPForClassification.from_pretrained(folder), TimesCLIPProcessor.from_pretrained(folder)
    with torch.no_grad():
        frame["crop"] = model(**processor(SERIES)).logits.argmax(dim=1).numpy() + 1.0
    frame.loc[:9, "crop"] = np.nan
    page = write_report(folder, frame, tmp_path / "r.html", explained=1).read_text(encoding="utf-8")
    assert "Right for 100% of 14 rows" in page
    none = write_report(folder, frame.assign(crop=np.nan), tmp_path / "r.html", explained=0).read_text()
    assert "the table has no column of what is true" in none and "Only 0 series" not in none


def test_a_few_rows_of_the_training_table_are_no_test_part(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved("small")
    write_csv(frame.iloc[16:][["field", "farm", "year", "yield"]], folder / "test_predictions.csv")
    (folder / "metrics.json").write_text(json.dumps({"target": "yield", "sizes": {"train": 12, "validation": 4}}))
    page = write_report(folder, frame[14:20], tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    assert "on 6 rows of this table, whether the model has learnt from some of them is not known" in page
    frame.loc[:13, "yield"] = np.nan  # most rows of training are not told, yet two of them are
    page = write_report(folder, frame, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    assert "on 8 rows of the test part" in page


def test_the_answer_itself_is_no_kind_of_series(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved("small")
    whole = frame.assign(**{"yield": [1, 2, 3] * 8, "<b>lot": ["<i>x", "y"] * 12})
    page = write_report(folder, whole, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    assert "<b>lot &lt;i&gt;x" not in page and ("i", []) not in Tags(page).found
    told = " ".join(" ".join(Tags(page).text).split())
    assert "<b>lot <i>x 12" in told and "yield 1 8" not in told
    folder, frame = saved("small", "classification")
    page = write_report(folder, frame, tmp_path / "r.html", labels="crop", group="farm", explained=0).read_text()
    assert "By what other columns tell" not in page


def test_unusual_series_are_told_once(saved: Any, tmp_path: Path) -> None:
    folder, frame = saved("small")
    model, processor = TimesCLIPForRegression.from_pretrained(folder), TimesCLIPProcessor.from_pretrained(folder)
    SimilarSeries.fit(model, processor, [{"past_values": one} for one in SERIES[:20]]).save(folder)
    for step in range(STEPS):
        frame.loc[3, f"rain_{step:02d}"] = 4000.0 + step
    page = write_report(folder, frame, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    assert len(re.findall(r"\d+ of 24 series are unusual: farther", page)) == 1


def test_each_of_several_targets_has_its_figures(tiny_config: Any, tmp_path: Path) -> None:
    names, targets = ["ndvi", "rain", "nir"], [f"yield{HOSTILE[0]}", "protein"]
    config = tiny_config("small", num_targets=2)
    processor = TimesCLIPProcessor.from_config(config, variate_names=names)
    labels = np.stack([np.arange(COUNT) * 0.5, np.linspace(9, 14, COUNT)], axis=1)
    processor.fit(SERIES, labels=labels)
    processor.target_names, processor.target_units = targets, ["t/ha", "%"]
    processor.first_step, processor.last_step = 0, STEPS - 1
    processor.padding_side = processor.truncation_side = "right"
    torch.manual_seed(0)
    model = TimesCLIPForRegression(processor.complete_config(config)).eval()
    widths = {"thresholds": [[1.5, 4.0]], "levels": [0.9], "count": 50, "source": "others"}
    model.config.calibration = {"method": "absolute", **widths}
    model.save_pretrained(tmp_path / "model"), processor.save_pretrained(tmp_path / "model")
    columns = {f"{n}_{t:02d}": SERIES[:, t, v] for v, n in enumerate(names) for t in range(STEPS)}
    frame = pd.DataFrame(columns).assign(field=[f"field {k}" for k in range(COUNT)])
    frame[targets[0]], frame[targets[1]] = labels.T
    page = write_report(tmp_path / "model", frame, tmp_path / "r.html", explained=3).read_text(encoding="utf-8")
    told = " ".join(" ".join(Tags(page).text).split())
    with torch.no_grad():
        off = np.abs(model(**processor(SERIES)).predictions.numpy() - labels).mean(axis=0)
    for name, unit, error, width in zip(targets, ["t/ha", "%"], off, [3, 8], strict=True):
        assert f"({unit}): Typical error {error:.2f} {unit}" in told and f"mean width {width}.00 {unit}" in told
        assert page.count(f"<h3>{escape(name)} ({unit})</h3>") == 5  # a part in each section but the table of all
    assert "script" not in {tag for tag, _ in Tags(page).found}
    one = write_report(tmp_path / "model", frame.drop(columns="protein"), tmp_path / "r.html", explained=0).read_text()
    assert "protein (%): Predictions for 24 series; the table has no column of what is true" in one
    assert "protein (%): Nothing here says how good the predictions are" in one


def test_forecasts_have_errors_by_step_and_fans(tiny_config: Any, tmp_path: Path) -> None:
    config = tiny_config("forecast", prediction_length=4, num_variates=2)
    hours = np.arange(150)
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=150, freq="h")})
    frame["load"], frame["<i>temp"] = np.sin(hours / 4), np.cos(hours / 5) * 10
    processor = TimesCLIPProcessor.from_config(config, variate_names=["load", "<i>temp"], scaling="instance")
    processor.fit([frame[["load", "<i>temp"]].to_numpy()])
    torch.manual_seed(0)
    TimesCLIPForPrediction(processor.complete_config(config)).save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    path = write_report(tmp_path / "model", frame, tmp_path / "r.html", timestamp_column="time", **QUICK)
    page = path.read_text(encoding="utf-8")
    text = " ".join(" ".join(Tags(page).text).split())
    for told in ("27 windows of the last fifth", "repeating the last value", "steps ahead", "The worst windows:"):
        assert told in text
    assert "<i>temp" in text and ("i", []) not in Tags(page).found
    assert re.search(r"windows: from 2024-01-0\d \d\d:00 error", text)  # of one series, which has no name


def page_with(text: str) -> str:
    """A page that holds the text in each place that takes one."""
    drawn = Markup("<svg></svg>")
    card = Card(text, [text], [(text, "data:image/png;base64,")], drawn)
    blocks = [
        Block("text", text=text), Block("notes", notes=[text]), Block("tiles", tiles=[(text, text, text)]),
        Block("figure", svg=drawn, caption=text), Block("cards", cards=[card]),
        Block("row", blocks=[table([text, "n"], [[text, Figure(text)]] * 2, text, ["strong", text])]),
    ]  # fmt: skip
    return render(Page(text, text, [Section("one", text, blocks)], text))


def test_names_units_and_files_stay_text_whatever_they_hold() -> None:
    plain = Tags(page_with("plain")).found
    for text in HOSTILE + HARMLESS:
        page = page_with(text)
        assert Tags(page).found == plain
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", page)
        page.encode("utf-8")


def test_names_in_figures_stay_text_too() -> None:
    names = [text for text in HOSTILE + HARMLESS if len(text) < 100]
    for first in range(0, len(names), 15):
        groups = {text: np.arange(4.0) for text in names[first : first + 15]}
        with report_figures.page_style():
            drawn = report_figures.errors_by(groups, names[first])
        found = ElementTree.fromstring(str(report_figures.as_svg(drawn, names[first])))
        elements = {element.tag.rpartition("}")[2] for element in found.iter()}
        assert elements <= {"svg", "g", "path", "defs", "use", "text", "clipPath", "rect"}
    several = report_figures.errors_by({text: np.arange(4.0) for text in HOSTILE[:9]}, HOSTILE[0])
    shown = "".join(ElementTree.fromstring(str(report_figures.as_svg(several, "errors"))).itertext())
    assert "<script>alert(1)</script>" in shown


def test_a_whole_page_of_hostile_names_has_the_elements_of_any_other(saved: Any, tmp_path: Path) -> None:
    text = "</title><img src=x onerror=alert(1)>\"'&amp;{{7*7}}$x^2$"
    folder, frame = saved("small", text=text)
    own = {"test": {text: {"mae": 1.0}}, "command": text, "sizes": {text: 3}, "split": {"by": text, "column": text}}
    (folder / "metrics.json").write_text(json.dumps({**own, "model": {"name": text, "preset": text}}))
    where = {"group": f"farm{text}", "labels": f"yield{text}"}
    path = write_report(folder, frame, tmp_path / f"{'a' * 3}.html", explained=2, **where)
    tags = Tags(path.read_text(encoding="utf-8"))
    assert "img" not in {tag for tag, _ in tags.found} and "onerror" not in {
        n for _, names in tags.found for n in names
    }
    assert text in "".join(tags.text) and "49" not in "".join(tags.text).split("{{7*7}}")[0][-10:]


def test_the_command_says_what_is_wrong_in_one_line(saved: Any, tmp_path: Path, capsys: Any) -> None:
    folder, frame = saved("small")
    frame.to_csv(tmp_path / "fields.csv", index=False)
    words = ["report", str(folder), "--table", str(tmp_path / "fields.csv")]
    assert main([*words, "--output", str(tmp_path / "r.html"), "--explained", "0", "--group", "farm"]) == 0
    assert capsys.readouterr().out == f"written to {tmp_path / 'r.html'}\n"
    assert main([*words, "--output", str(tmp_path / "r.pdf")]) == 2
    assert "the name must end in .html" in capsys.readouterr().err
    assert main([*words, "--output", str(tmp_path / "r.html"), "--group", "site"]) == 2
    assert "the table has no column 'site', only" in capsys.readouterr().err
