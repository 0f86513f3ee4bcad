# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The folders of the package mean something: imports run one way, and what travels to the Hub stands alone."""

import ast
import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "timesclip_hf"
# A room imports from itself and from those before it; `__init__` and `__main__` from all of them.
ROOMS = ["model", "data", "features", "metrics", "hub", "training", "inference", "cli"]
# Files at the root that rooms may use, and what those may use themselves.
SHARED_FILES = {"environment": [], "escaping": [], "plots": ["metrics", "escaping"]}
FILES = sorted(file for file in PACKAGE.rglob("*.py"))


def imports_of(file: Path) -> set[str]:
    """Rooms and files of the package that a file imports, anywhere in it; its own room as `.name`."""
    depth = len(file.relative_to(PACKAGE).parts) - 1
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            parts = [*["timesclip_hf", *file.relative_to(PACKAGE).parts[:-1]][: depth + 2 - node.level]]
            base = ".".join([*parts, *([node.module] if node.module else [])])
            names = [base] if base != "timesclip_hf" else [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("timesclip_hf.")}
    return found


def allowed_for(file: Path) -> set[str]:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    if len(parts) == 1:
        everything = {*ROOMS, *SHARED_FILES, "registration", "__version__"}
        return set(SHARED_FILES.get(parts[0], everything))
    if parts[0] == "model":
        return {"model"}
    return {*ROOMS[: ROOMS.index(parts[0]) + 1], *SHARED_FILES, *(["__version__"] if parts[0] == "cli" else [])}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_down_the_house_plan(file: Path) -> None:
    assert imports_of(file) <= allowed_for(file)


@pytest.mark.parametrize("file", sorted((PACKAGE / "model").glob("*.py")), ids=lambda file: file.name)
def test_what_travels_imports_only_files_beside_it(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert all(node.level == 1 and node.module and "." not in node.module for node in relative)
    assert "timesclip_hf" not in {name.split(".")[0] for name in _absolute_imports(tree)}


def test_every_folder_is_a_room_of_the_plan() -> None:
    folders = {file.parent.relative_to(PACKAGE).parts[0] for file in FILES if file.parent != PACKAGE}
    assert folders == set(ROOMS)


def test_an_import_against_the_plan_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "windows.py"
    file.write_text(
        "from ..training.trainer import TimesCLIPTrainer\nfrom .tables import x\nimport timesclip_hf.hub.push\n"
    )
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert imports_of(file) == {"training", "data", "hub"}
    assert not imports_of(file) <= allowed_for(file)


def _absolute_imports(tree: ast.AST) -> list[str]:
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return plain + [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level]


def test_what_tests_are_skipped_without_comes_with_the_extra_of_tests() -> None:
    """Else a check would fall silent where nobody looks."""
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg")
    named = {re.split(r"[<>=;\[ ]", line)[0] for line in extras["options.extras_require"]["test"].split()}
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    roots = {name.split(".")[0] for name in re.findall(r'importorskip\("([\w.]+)"\)', text)}
    assert {"peft", "onnx", "markdown_it"} <= roots
    own = {"markdown_it": "markdown-it-py", "setuptools": ""}  # the latter builds the package itself
    assert {own.get(root, root) for root in roots} - {""} <= named
