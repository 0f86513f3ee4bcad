# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Text of users in each place that would make more of it: terminals, Markdown, Python, CSV."""

import ast
import csv
import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile_text import HARMLESS, HOSTILE, UNSEEN

from timesclip_hf.escaping import (
    code_span,
    csv_quoting,
    fenced,
    hub_link,
    is_hub_id,
    literal,
    markdown,
    one_line,
    safe_cells,
    visible,
    with_unit,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"), ("a\nb\tc\r", "a\\nb\\tc\\r"), ("\u202egpj", "\\u202egpj"),
        ("\x9b2J", "\\x9b2J"), ("\ud800", "\\ud800"), ("\U000e0041", "\\U000e0041"), ("می‌خواهم", "می‌خواهم"),
        ("👩‍🌾 50 °C", "👩‍🌾 50 °C"), ("\\x1b", "\\x1b"), (3.5, "3.5"),
    ],
)  # fmt: skip
def test_control_characters_are_shown_and_letters_stay(text: Any, shown: str) -> None:
    assert visible(text) == shown


def test_lines_keep_their_breaks_where_they_are_wanted_or_become_one() -> None:
    assert visible("a\n\tb\r\x00", lines=True) == "a\n\tb\\r\\x00"
    assert one_line(" a \n\r\n b\xa0\x1c") == " a b \\x1c"


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    for text in UNSEEN:
        assert visible(text).encode() and visible(text) != text
        assert all(character.isprintable() for character in visible(text))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b", "a\\|b"), ("<b>", "&lt;b&gt;"), ("&lt;", "&amp;lt;"), ("[x](y)", "\\[x\\](y)"),
        ("__init__", "\\_\\_init\\_\\_"),
        ("yield_t_ha", "yield_t_ha"), ("-0.5", "-0.5"), ("- a", "\\- a"), ("---", "\\---"), ("1. a", "1\\. a"),
        ("1.5 t", "1.5 t"),
        ("# a", "\\# a"), (" ===", " \\==="), ("a\\b", "a&#92;b"), ("$x$", "\\$x\\$"), ("t/ha (dry)", "t/ha (dry)"),
        (7, "7"),
    ],
)  # fmt: skip
def test_marks_of_markdown_lose_their_meaning_and_plain_text_stays_readable(text: Any, written: str) -> None:
    assert markdown(text) == written


def test_code_has_fences_longer_than_any_in_it() -> None:
    assert code_span("a`b") == "`` a`b ``" and code_span("ndvi") == "`ndvi`" and code_span(" \n") == ""
    assert fenced("x\r\n```\ny\x00\n", "bash") == "````bash\nx\n```\ny\\x00\n````"


def test_only_names_of_repositories_become_links() -> None:
    assert hub_link("me/crop__x", "datasets/") == "[me/crop\\_\\_x](https://hf.co/datasets/me/crop__x)"
    for name in ("me/a/b", "../x", "a b", "x)", "a" * 200, "javascript:x", "", "ндвi/x"):
        assert not is_hub_id(name) and "](" not in hub_link(name)


def test_a_literal_is_the_text_again_and_shows_each_character() -> None:
    for text in [*HOSTILE, *HARMLESS]:
        assert ast.literal_eval(literal(text)) == text
        assert "\n" not in literal(text) and "`" not in literal(text)
    assert literal("me/base") == '"me/base"' and literal(1.5) == "1.5"


# CSV


FORMULAS = [
    "=1+1", "=HYPERLINK(\"http://x\")", "+cmd|' /C calc'!A0", "-2+3+cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1",
    "\u00a0=1", "=", "-",
    "＝1+1", "＋1+1", "－1+1", "＠SUM(1)", "+49 30 123", "-1-1", "--1", "+-1", "-x", "=\"a\"", "=,", "-1;=2",
]  # fmt: skip
TEXTS = ["a=1", "5-3", "me@x", "'=1", "", "wheat", "1+1", "x\ty", "#REF!"]
NUMBERS = ["-5", "+5", "-1.5", "-1,5", "+1e-3", "-.5", " -5 ", "-5 %", "-1.234,5", "-inf", "+12.5"]


def test_text_that_is_a_formula_gets_a_quote_and_numbers_stay() -> None:
    cells = [*FORMULAS, *TEXTS, *NUMBERS]
    table = pd.DataFrame({"text": cells, "number": -np.arange(len(cells)), "=1": -0.5, "-2": True})
    before = table.copy()
    safe, count = safe_cells(table)
    pd.testing.assert_frame_equal(table, before)
    assert safe["text"].tolist() == [f"'{text}" for text in FORMULAS] + TEXTS + NUMBERS
    assert list(safe.columns) == ["text", "number", "'=1", "-2"] and count == len(FORMULAS) + 1
    assert safe["number"].equals(table["number"]) and safe.dtypes.tolist()[1:] == table.dtypes.tolist()[1:]


@pytest.mark.parametrize("dtype", [object, "category", "string", "string[pyarrow]"])
def test_all_kinds_of_columns_of_text_are_safe(dtype: Any) -> None:
    column = pd.Series(["=1", None, "a", "=1"], dtype=dtype)
    table = pd.DataFrame({"a": column, "when": pd.date_range("2024", periods=4)}, index=[3, 3, 1, 0])
    table["a"] = column.to_numpy()
    table["a"] = table["a"].astype(dtype)
    safe, count = safe_cells(table)
    assert (
        count == 2
        and safe["a"].tolist()[::2] == ["'=1", "a"]
        and safe["a"].isna().tolist() == [False, True, False, False]
    )
    assert safe.index.tolist() == [3, 3, 1, 0] and safe["when"].equals(table["when"])


def test_duplicate_and_other_names_of_columns_are_left_in_their_places() -> None:
    table = pd.DataFrame([["=1", 2, -3]], columns=["x", "x", 0])
    safe, count = safe_cells(table)
    assert count == 1 and safe.to_numpy().tolist() == [["'=1", 2, -3]] and list(safe.columns) == ["x", "x", 0]
    safe, count = safe_cells(pd.DataFrame({"a": []}, dtype=object))
    assert count == 0 and len(safe) == 0


def test_no_cell_of_a_written_file_begins_as_a_formula_does() -> None:
    texts = [text for text in HOSTILE if "\ud800" not in text]
    texts += [f"a{text}=1" for text in ("\r", "\n", "\r\n", ",", '"', '","', "\t")]
    table, _ = safe_cells(pd.DataFrame({text: texts[k : k + 3] for k, text in enumerate(texts[:-3])}))
    written = table.to_csv(index=False, quoting=csv_quoting(table))
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert len(rows) == 4 and rows[0] == list(table.columns) and rows[1] == table.iloc[0].tolist()
    assert csv_quoting(table) == csv.QUOTE_NONNUMERIC and csv_quoting(table.iloc[:, :2]) == csv.QUOTE_MINIMAL
    assert not [
        cell for row in rows for cell in row if cell.lstrip()[:1] in tuple("=+-@") and not cell.isspace() and cell
    ]


# Units


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("yield", "t/ha", "yield (t/ha)"), ("yield (t/ha)", "t/ha", "yield (t/ha)"),
        ("yield_t_ha", "t/ha", "yield_t_ha"),
        ("load_mw", "MW", "load_mw"), ("load_MW", "mW", "load_MW (mW)"), ("yield [t/ha]", "t/ha", "yield [t/ha]"),
        ("cover %", "%", "cover %"),
        ("cover (%)", "%", "cover (%)"), ("cover", "%", "cover (%)"), ("yield", "", "yield"),
        ("yield", None, "yield"), ("m", "m", "m (m)"),
        ("alarm", "m", "alarm (m)"), ("yield t ha-1", "t ha-1", "yield t ha-1"), ("temp", " ", "temp"),
    ],
)  # fmt: skip
def test_a_unit_is_said_once(name: str, unit: str | None, expected: str) -> None:
    assert with_unit(name, unit) == expected
