# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The code that a repository on the Hub carries, so that `trust_remote_code=True` loads it where no package is.

Code goes along where something is pushed. What is only saved stays data, weights and JSON: a copy of the code in every
checkpoint would be noise, and could overwrite files of the same names in the folder.

Folders hold files of others. Pushed are files of the names in `_SAVED`, and their code; a link is never read for a
push, and no file outside of the folder is written through one: a file takes the link's place.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_import_files
from transformers.utils import CONFIG_NAME, PROCESSOR_NAME

# What saving a model, an adapter, a processor or a forecaster writes, in shards and variants, too, its card, and
# what is kept of training series (`features.similar`).
_SAVED = re.compile(
    r"(config|processor_config|generation_config|adapter_config|forecaster)\.json|README\.md|similar\.safetensors|"
    r"(adapter_)?model(\.\w+)?(-\d{5}-of-\d{5})?\.safetensors|(adapter_)?model\.safetensors\.index(\.\w+)?\.json"
)


def pushed_files(folder: str | os.PathLike) -> list[Path]:
    """Files of a saved model that a push takes along: those of the known names, and no links."""
    return sorted(file for file in Path(folder).iterdir() if _SAVED.fullmatch(file.name) and _is_plain(file))


@contextmanager
def links_cut(folder: str | os.PathLike, *more: str) -> Iterator[None]:
    """Inside, a model or processor is saved in a folder, and nothing is written through links out of it.

    Afterwards there are files in the place of those links that something was written to. The others are back.

    Args:
        folder: it need not exist yet.
        more: names of other files that are about to be written.
    """
    inside, cut = Path(folder).resolve(), {}
    for file in Path(folder).iterdir() if inside.is_dir() else ():
        known = file.name in more or _SAVED.fullmatch(file.name)
        if known and file.is_symlink() and not file.resolve().is_relative_to(inside):
            cut[file] = file.readlink()
            file.unlink()
    try:
        yield
    finally:
        for file, target in cut.items():
            if not os.path.lexists(file):
                file.symlink_to(target)


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def add_code(folder: str | os.PathLike) -> None:
    """Puts the code of a saved model and processor beside them, and into their JSON files which class is where.

    Args:
        folder: what `save_pretrained` wrote. What is not there, or of a class that is not ours (which has code of its
            own), is left alone.

    Raises:
        ValueError: a file in the folder has the name of one of ours, but is not ours.
    """
    _add_code(Path(folder) / CONFIG_NAME, "modeling_timesclip.py", _classes_of_model)
    _add_code(Path(folder) / PROCESSOR_NAME, "processing_timesclip.py", _classes_of_processor)


class CarriesCode:
    """Mixin of what `push_to_hub` uploads with its code."""

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; links out of the folder are replaced by the files that they stood for, not followed."""
        with links_cut(save_directory):
            return super().save_pretrained(os.fspath(save_directory), *args, **kwargs)  # type: ignore[misc]

    def _upload_modified_files(self, working_dir: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        add_code(working_dir)
        code = [
            file for file in Path(working_dir).glob("*.py") if _is_plain(file)
        ]  # also of a class of the user's own
        with tempfile.TemporaryDirectory(prefix="timesclip-push-") as staging:
            for file in [*pushed_files(working_dir), *code]:
                _place(file.absolute(), Path(staging) / file.name)
            return super()._upload_modified_files(staging, *args, **kwargs)  # type: ignore[misc]


def _place(file: Path, target: Path) -> None:
    """Puts a file in another folder, by a link where the system makes one: weights are large."""
    try:
        target.symlink_to(file)
    except OSError:
        shutil.copy2(file, target)


def _classes_of_model(config: dict[str, Any]) -> dict[str, str]:
    """Auto class -> file and class, as the task of the saved class says; empty for a class that is not ours."""
    # Found by name: an import would make a circle, and the models' code travel with every processor.
    modeling = import_module(".modeling_timesclip", __package__)
    models = [model for model in modeling.MODELS if [model.__name__] == (config.get("architectures") or [])[:1]]
    if not models:
        return {}
    found = {auto_class: f"modeling_timesclip.{name}" for auto_class, name in models[0].task.auto_classes.items()}
    return {"AutoConfig": "configuration_timesclip.TimesCLIPConfig", **found}


def _classes_of_processor(settings: dict[str, Any]) -> dict[str, str]:
    ours = settings.get("processor_class") == "TimesCLIPProcessor"
    return {"AutoProcessor": "processing_timesclip.TimesCLIPProcessor"} if ours else {}


def _add_code(path: Path, module: str, classes_of: Callable[[dict[str, Any]], dict[str, str]]) -> None:
    settings = json.loads(path.read_text(encoding="utf-8")) if _is_plain(path) else {}
    if not settings or not (auto_map := classes_of(settings)):
        return
    for tower in (settings.get("vision_config"), settings.get("text_config")):
        if tower and os.path.isdir(tower.get("_name_or_path") or ""):  # a folder of this machine is nobody's business
            del tower["_name_or_path"]
    _copy_code(module, path.parent)
    path.write_text(json.dumps({**settings, "auto_map": auto_map}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _copy_code(module: str, folder: Path) -> None:
    """The module's file and those of all modules that it imports."""
    source = Path(__file__).parent / module
    for file in {source, *map(Path, get_relative_import_files(source))}:
        target = folder / file.name
        if os.path.lexists(target) and not _is_ours(target):
            raise ValueError(
                f"{target} is not a file of timesclip_hf, but the code to upload has one of that name; "
                "save to a folder without it."
            )
        target.unlink(missing_ok=True)  # it may be a link
        shutil.copyfile(file, target)


def _is_ours(file: Path) -> bool:
    """Whether a file is of this or another version of the package."""
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as lines:
        return "The timesclip_hf authors" in lines.readline()


__all__ = ["CarriesCode", "add_code", "links_cut", "pushed_files"]
