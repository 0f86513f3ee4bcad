# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Every private name of another library that the package overrides, calls or sets is listed, and looked for."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import transformers

import timesclip_hf
from timesclip_hf.training.hooks import HOOKS, check_hooks

PACKAGE = Path(timesclip_hf.__file__).parent
LIBRARIES = ("transformers", "accelerate", "peft", "huggingface_hub")
LISTED = {name.partition("(")[0] for names in HOOKS.values() for name in names}
# Of torch and of Python, which have had them for a decade.
OF_OTHERS = {"_modules", "_parameters", "_buffers", "_version", "_getframe", "_actions"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in ("_", "_abc_impl")


def classes() -> Iterator[type]:
    for found in pkgutil.walk_packages(timesclip_hf.__path__, "timesclip_hf."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            yield from (c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == found.name)


def test_every_override_of_a_private_name_is_listed() -> None:
    overridden = set()
    for found in classes():
        for base in (base for base in found.__mro__ if base.__module__.split(".")[0] in LIBRARIES):
            set_there = inspect.unwrap(base.__init__).__code__.co_names if inspect.isfunction(base.__init__) else ()
            known = {*vars(base), *set_there}
            own = inspect.getsource(found)
            # transformers keeps notes of its own on classes that it has met, `_can_set_..._cached_value`.
            overridden |= {name for name in vars(found) if is_private(name) and name in own} & known
            overridden |= {name for name in set_there if is_private(name) and f"self.{name} = " in own}
    assert {"_save_checkpoint", "_forward", "_init_weights", "_created_lr_scheduler"} <= overridden
    assert overridden <= LISTED, sorted(overridden - LISTED)


def test_every_private_name_that_is_used_and_not_our_own_is_listed() -> None:
    used, own = set(), set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and is_private(node.attr):
                of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
                (own if of_self and isinstance(node.ctx, ast.Store) else used).add(node.attr)
            elif isinstance(node, ast.keyword) and node.arg and is_private(node.arg):
                used.add(node.arg)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                used |= {alias.name for alias in node.names if is_private(alias.name)}
    parameters = {"_internal_call"}  # of Trainer.save_model
    assert any("_internal_call" in name for names in HOOKS.values() for name in names)
    assert "_from_config" in used
    assert used - own <= LISTED | parameters | OF_OTHERS, sorted(used - own - LISTED - parameters - OF_OTHERS)


def test_everything_that_is_listed_is_there() -> None:
    for owner in HOOKS:
        importlib.import_module(owner.rpartition(".")[0])
    check_hooks()


class Renamed:
    def _save(self, folder: str) -> None: ...


@pytest.mark.parametrize("name", ["_save_all", "_save_all(folder)", "_save(output_dir)", "_save(folder, state)"])
def test_a_name_that_is_missing_or_takes_other_parameters_is_an_error_with_the_version(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("transformers.trainer.Renamed", Renamed, raising=False)
    check_hooks({"transformers.trainer.Renamed": ["_save", "_save(folder)"]})
    expected = f"transformers {transformers.__version__} has no Renamed.{name}, which timesclip_hf needs"
    with pytest.raises(ImportError, match=re.escape(expected)):
        check_hooks({"transformers.trainer.Renamed": [name]})


def test_a_class_that_is_gone_is_an_error_too() -> None:
    with pytest.raises(ImportError, match="has no Gone._save, which"):
        check_hooks({"transformers.trainer.Gone": ["_save"]})
