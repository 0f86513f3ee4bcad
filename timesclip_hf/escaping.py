# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Text of users (names, units, classes, ids, file names) as what it says, never as what a place would make of it.

Text is kept as it is, and escaped where it is written, for the place it is written to:

- `visible`, `one_line`: terminals, messages, metadata: control characters, and what turns the direction of text, are
  shown as `\\x1b`;
- `markdown`, `code_span`, `fenced`, `markdown_table`, `hub_link`: model cards; their template applies `markdown` to
  whatever it prints, unless another of these did;
- `literal`: values in examples of Python;
- `safe_cells`, `csv_quoting`: CSV files, which spreadsheets open;
- `label`: figures, together with `parse_math=False`.

Metadata of cards (YAML) and files of settings (JSON) are written by libraries, which quote.
"""

import csv
import itertools
import re
from collections.abc import Iterator
from typing import Any

# Control characters (C0, C1), what turns, hides or tags text, line separators, halves of surrogate pairs. Joiners of
# letters and emoji (U+200C, U+200D) stay.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
# What has a meaning in Markdown wherever it stands; an underscore has one only beside a word.
_MARKS = re.compile(r"[&<>\\`*\[\]#|~$]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;"}  # of the others, a backslash takes it away
# At the start of a line: lists, rules and underlines of headings; "-0.5" is none.
_BLOCK = re.compile(r"^(\s*)(?:([-+=])(?=\s|\2|$)|(\d+)([.)])(?=\s|$))")
_HUB_ID = re.compile(r"(\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)
# Full-width forms count, too: spreadsheets read them alike.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)*|[.,]\d+)([eE][-+]?\d+)?\s*%?\s*|[-+]?(inf|infinity|nan)", re.IGNORECASE)
_LONGEST_LABEL = 80


def visible(text: Any, lines: bool = False) -> str:
    """Text in which every character can be seen: `\\x1b`, `\\n`, `\\u202e` in place of what a terminal would obey.

    Args:
        text: anything; its `str` is shown.
        lines: line breaks and tabs stay.
    """

    def shown(match: re.Match[str]) -> str:
        return match[0] if lines and match[0] in "\n\t" else match[0].encode("unicode_escape").decode()

    return _UNSEEN.sub(shown, str(text))


def one_line(text: Any) -> str:
    """`visible` text, with a space for each run of white space."""
    return visible(re.sub(r"[^\S\x1c-\x1f\x85\u2028\u2029]+", " ", str(text)))


def markdown(text: Any) -> str:
    """Text in a line of Markdown, or in a cell of a table: no tag, image, link, list or heading, whatever it holds."""
    escaped = _MARKS.sub(lambda match: _ENTITIES.get(match[0], "\\" + match[0]), one_line(text))
    return _BLOCK.sub(lambda match: f"{match[1]}{match[3] or ''}\\{match[2] or match[4]}", escaped)


def code_span(text: Any) -> str:
    """Text in backticks, of which there are more than it has itself; nothing for no text."""
    shown = one_line(text).strip()
    marks = "`" * (1 + _longest_run(shown))
    space = " " if len(marks) > 1 else ""
    return f"{marks}{space}{shown}{space}{marks}" if shown else ""


def fenced(text: Any, language: str = "") -> str:
    """Lines of code between fences that are longer than any in them."""
    shown = visible(str(text).replace("\r\n", "\n"), lines=True).strip("\n")
    fence = "`" * max(3, 1 + _longest_run(shown))
    return f"{fence}{language}\n{shown}\n{fence}"


def markdown_table(text: str) -> str:
    """A table that is Markdown already, as its cells' text; what is no table, as one line of text.

    Cells may be bold, and have escapes of their own.
    """
    rows = [line.strip().removeprefix("|") for line in text.strip().splitlines()]
    if len(rows) < 2 or re.fullmatch(r"[\s:|-]*-[\s:|-]*", rows[1]) is None:
        return markdown(text)
    lines = [" | ".join(map(_cell, re.split(r"(?<!\\)\|", re.sub(r"(?<!\\)\|\s*$", "", row)))) for row in rows]
    lines[1] = rows[1].removesuffix("|")
    return "\n".join(f"| {line} |" if number != 1 else f"|{line}|" for number, line in enumerate(lines))


def _cell(text: str) -> str:
    plain = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text.strip())
    bold = re.fullmatch(r"\*\*([^*]+)\*\*", plain)
    return f"**{markdown(bold[1].strip())}**" if bold else markdown(plain)


def hub_link(name: Any, kind: str = "") -> str:
    """A link to a model on the Hub, or with `kind="datasets/"` to a data set; what is no id of one is only text."""
    text = markdown(name)
    return f"[{text}](https://hf.co/{kind}{name})" if is_hub_id(str(name)) else text


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a repository on the Hub: `owner/name`, or `name`."""
    return _HUB_ID.fullmatch(name) is not None


def literal(value: Any) -> str:
    """A value as Python has it, on one line, with every character visible and no backtick."""
    if isinstance(value, str):
        value = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{visible(value)}"'.replace("`", "\\x60")
    return visible(repr(value)).replace("`", "\\x60")


def safe_cells(table: Any) -> tuple[Any, int]:
    """A table whose text no spreadsheet runs when it opens the table as CSV, and how many cells that changed.

    Text that begins as formulas do (`=`, `+`, `-`, `@`, a tab or a line break, also after blanks) gets a quote in
    front, names of columns included, which makes it text there. Numbers stay as they are, also those written as text.

    Args:
        table: a DataFrame; it is left unchanged.
    """
    given = list(table.columns)
    names = [_safe_cell(name) for name in given]
    count = sum(new is not old for new, old in zip(names, given, strict=True))
    table = table.set_axis(names, axis=1)
    for place, old in _cells_of_text(table):
        new = [_safe_cell(cell) for cell in old]
        if changed := sum(one is not other for one, other in zip(new, old, strict=True)):
            table.isetitem(place, new)
            count += changed
    return table, count


def csv_quoting(table: Any) -> int:
    """How `to_csv` should quote a table: all text, where a carriage return in a cell would else end its row."""
    cells = itertools.chain(table.columns, *(cells for _, cells in _cells_of_text(table)))
    broken = any(isinstance(cell, str) and "\r" in cell for cell in cells)
    return csv.QUOTE_NONNUMERIC if broken else csv.QUOTE_MINIMAL


def _cells_of_text(table: Any) -> Iterator[tuple[int, list[Any]]]:
    """Place and cells of each column that can hold text: objects, categories, strings of any library."""
    for place, dtype in enumerate(table.dtypes):
        if dtype.kind == "O":
            yield place, list(table.iloc[:, place].astype(object))


def _safe_cell(cell: Any) -> Any:
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def label(text: Any) -> str:
    """Text in a figure: one line, its first eighty characters."""
    shown = one_line(text).strip()
    return shown if len(shown) <= _LONGEST_LABEL else f"{shown[: _LONGEST_LABEL - 3]}..."


def with_unit(name: str, unit: str | None) -> str:
    """`yield (t/ha)`; only the name where it ends in its unit already, as `yield (t/ha)` and `yield_t_ha` do."""
    unit = (unit or "").strip()
    if not unit:
        return name
    words, last = (re.findall(r"[^\W_]+", text) for text in (name, unit))
    tail = words[-len(last) :] if len(words) > len(last) else []
    said = tail in (last, [word.lower() for word in last]) if last else name.rstrip(" )]").endswith(unit)
    return name if said else f"{name} ({unit})"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


__all__ = [
    "code_span",
    "csv_quoting",
    "fenced",
    "hub_link",
    "is_hub_id",
    "label",
    "literal",
    "markdown",
    "markdown_table",
    "one_line",
    "safe_cells",
    "visible",
    "with_unit",
]
