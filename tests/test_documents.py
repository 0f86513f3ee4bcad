# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What documents, scripts and the Makefile name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The changelog names what is gone.
DOCUMENTS = [
    *(set(ROOT.glob("*.md")) - {ROOT / "CHANGELOG.md"}),
    ROOT / "Makefile",
    *(ROOT / "examples").rglob("*.md"),
]
DOCUMENTS = sorted([*DOCUMENTS, *(ROOT / "examples").rglob("*.py")])  # every process collects the same order


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_path_and_module_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    paths = re.findall(r"(?:examples|tests)/[\w/.]+\.(?:py|yaml|md|png|parquet)\b", text)
    modules = re.findall(r"python -m (examples\.[\w.]*\w)\b(?!\.\.\.)", text)
    paths += [f"{name.replace('.', '/')}.py" for name in modules]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_plan_for_contributors_names_rooms_and_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = ROOT / "timesclip_hf"
    rooms = {folder.parent.name for folder in package.glob("*/__init__.py")}
    assert rooms == set(re.findall(r"^      (\w+)/  ", text, flags=re.MULTILINE))
    files = re.findall(rf"\b((?:(?:{'|'.join(rooms)})/)?\w+\.(?:py|md))\b", text.replace("timesclip_hf/", ""))
    elsewhere = {"CHANGELOG.md", "CONTRIBUTING.md", "RESULTS.md"}
    found = [name for name in files if name not in elsewhere and not (package / name).exists()]
    assert [name for name in found if not list((ROOT / "tests").rglob(name))] == []
