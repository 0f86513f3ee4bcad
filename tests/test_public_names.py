# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`from timesclip_hf import ...`: the names that other people's code relies on."""

import ast
import pickle
from pathlib import Path

import pytest

import timesclip_hf


def test_type_checkers_are_told_what_is_loaded_later() -> None:
    tree = ast.parse(Path(timesclip_hf.__file__).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    told = {(f".{node.module}", alias.asname) for node in imports for alias in node.names}
    assert told == {(module, name) for name, module in timesclip_hf._HOMES.items()}


def test_every_public_name_is_there_listed_and_pickled_by_its_home() -> None:
    assert set(timesclip_hf.__all__) <= set(dir(timesclip_hf))
    for name in timesclip_hf.__all__:
        found = getattr(timesclip_hf, name)
        if callable(found):
            assert found.__name__ == name and pickle.loads(pickle.dumps(found)) is found


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'TimesCLIPForPoetry'"):
        timesclip_hf.TimesCLIPForPoetry  # noqa: B018
    with pytest.raises(ImportError):
        from timesclip_hf import TimesCLIPForPoetry  # noqa: F401
