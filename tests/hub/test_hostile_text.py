# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Cards whose facts hold markup: every other reader of Markdown and YAML sees what it sees of plain words."""

import ast
import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hostile_text import HARMLESS, HOSTILE
from huggingface_hub import ModelCard

from timesclip_hf import TimesCLIPForClassification, TimesCLIPForRegression, TimesCLIPProcessor
from timesclip_hf.hub.card import model_card
from timesclip_hf.hub.facts import CardFacts

markdown_it = pytest.importorskip("markdown_it")

CARDS: dict[Any, ModelCard] = {}  # made once for all tests
MODELS = [TimesCLIPForRegression, TimesCLIPForClassification]


def facts_with(text: str, fitted: TimesCLIPProcessor, model_class: Any, adapter: bool, config: Any) -> CardFacts:
    """A card's facts, the text in each place that takes one."""
    config.id2label = {0: text, 1: "ill"}
    processor: Any = copy.deepcopy(fitted)
    processor.variate_names, processor.variate_units = [text, "nir", "red"], ["", text, "%"]
    processor.target_names, processor.target_units = [text], [text]
    processor.statistics["static"][0] |= {"name": text, "categories": [text, "clay"]}
    sources = [{"name": text, "on_hub": on_hub} for on_hub in (True, False)]
    return CardFacts(
        text, model_class, config, processor, place=text, origin=sources[0], base_models=[text],
        towers={"text": {"type": text, "frozen": True, "source": sources[0]},
                "vision": {"type": "vit", "frozen": False, "source": sources[1]}},
        adapter={"type": text, "r": text, "base": text} if adapter else None,
        measured={"validation": {"rmse": 0.1, text: 0.2}, f"validation ({text})": {"rmse": 0.3}, text: {"rmse": 0.4}},
        measured_in=text, curve=[{"step": 1, "epoch": 1.0, text: 0.5}],
        kept={"trained": True, "step": 1, "epoch": 1.0, "best_by": text, "averaged_over": 2, "still_going_on": False},
        dataset=text, dataset_tags=[text, "me/fields"], split=text, sizes={"train": 3, text: 4}, samples=text,
        hyperparameters={text: text, "learning_rate": 0.1}, environment={text: text}, command=f"python {text}",
        limits=[text, f"{text}."], license=text, language=[text], tags=[text],
        table=f"| {cell_of(text)} | R2 |\n|---|---|\n| a | 1 |",
    )  # fmt: skip


def cell_of(text: str) -> str:
    """A table is one line a row, whoever writes it, and may have bold cells."""
    return re.sub(r"\s", " ", text).replace("**bold**", "bold").replace("\\", "\\\\").replace("|", "\\|")


def structure(text: str) -> list[Any]:
    """What a reader makes of Markdown, without the words: tags with their attributes, in order.

    Links to the repository of a name that can be one are the template's.
    """
    reader = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found, inside = [], False
    for token in reader.parse(text):
        found.append((token.type, token.tag, dict(token.attrs), token.info))
        for child in token.children or ():
            to_hub = re.fullmatch(r"https://hf\.co/(datasets/)?[\w-]+(/[\w-]+)?", str(child.attrs.get("href", "")))
            if not to_hub and child.type != "text" and not (inside and child.type == "link_close"):
                found.append((child.type, child.tag, dict(child.attrs), ""))
            inside = to_hub is not None or (inside and child.type != "link_close")
    return found


@pytest.fixture
def render(tiny_config: Any) -> Any:
    config = tiny_config("full", num_labels=2)
    statics = [{"soil": kind, "slope": float(number)} for number, kind in enumerate(("sand", "clay", "loam"))]
    fitted = TimesCLIPProcessor.from_config(config).fit(
        np.random.default_rng(0).normal(size=(3, 12, 3)), labels=np.arange(3.0), static_values=statics
    )

    def make(text: str, model_class: Any = TimesCLIPForRegression, adapter: bool = False) -> ModelCard:
        key = (text, model_class, adapter)
        if key not in CARDS:
            CARDS[key] = model_card(facts_with(text, fitted, model_class, adapter, config))
        return CARDS[key]

    return make


@pytest.mark.parametrize(("model_class", "adapter"), [(MODELS[0], False), (MODELS[0], True), (MODELS[1], False)])
def test_a_card_of_hostile_text_is_built_as_one_of_plain_words(render: Any, model_class: Any, adapter: bool) -> None:
    expected = structure(render("plain words", model_class, adapter).text)
    for text in [*HOSTILE, *HARMLESS]:
        card = render(text, model_class, adapter)
        assert structure(card.text) == expected, text[:80]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", card.content), (
            repr(text)
        )
        card.content.encode("utf-8")


def test_metadata_hold_the_text_and_nothing_that_it_says(render: Any) -> None:
    plain = yaml.safe_load(render("plain words").content.split("\n---\n")[0].removeprefix("---\n"))
    for text in HOSTILE:
        card = render(text)
        header = re.match(r"---\n(.*?)\n---\n", card.content, flags=re.DOTALL)
        assert header is not None
        data = yaml.safe_load(header[1])
        assert data.keys() == plain.keys() and card.data.to_dict().keys() == plain.keys()
        assert isinstance(data["license"], str) and data["datasets"] == [data["license"], "me/fields"]
        assert data["model-index"][0]["name"] == data["license"]


@pytest.mark.parametrize("adapter", [False, True])
def test_the_example_is_python_in_which_names_are_strings(render: Any, adapter: bool) -> None:
    def example(text: str) -> str:
        card = render(text, adapter=adapter)
        tokens = markdown_it.MarkdownIt("commonmark").parse(card.text)
        (code,) = [token.content for token in tokens if token.type == "fence" and token.info == "python"]
        return str(code)

    def shape(code: str) -> str:
        return ast.dump(Blank().visit(ast.parse(code)))

    expected = shape(example("plain words"))
    for text in HOSTILE:
        code = example(text)
        assert shape(code) == expected, text[:80]
        assert text in {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}


class Blank(ast.NodeTransformer):
    """Without what strings hold."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_read_as_it_was_written(render: Any, text: str, tmp_path: Path) -> None:
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(render(text).text)
    words = [child.content for token in tokens for child in token.children or () if child.type == "text"]
    assert words.count(" ".join(text.split())) >= 5 and text in words[0]


def test_a_table_beside_its_peers_stays_a_table_of_text(tiny_config: Any) -> None:
    def card(table: str) -> str:
        return model_card(
            CardFacts("a", TimesCLIPForRegression, tiny_config(), measured={"test": {"r2": 1.0}}, table=table)
        ).text

    text = card("| model | R2 |\n|:--|--:|\n| **best** | 0.9 |\n| <b>x | [a](javascript:b) |")
    assert ("| **best** | 0.9 |") in text
    html = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert "<strong>best</strong>" in html and "&lt;b&gt;x" in html and '<a href="javascript' not in html
    assert html.count("<table>") == 2
    assert "<h1>x" not in markdown_it.MarkdownIt("commonmark").render(card("# x\n\ny"))
