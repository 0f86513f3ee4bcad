# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The code that a repository on the Hub carries, so that `trust_remote_code=True` loads it where no package is.

Code goes along where something is pushed. What is only saved stays data, weights and JSON: a copy of the code in every
checkpoint would be noise, and could overwrite files of the same names in the folder.
"""

import json
import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_import_files
from transformers.utils import CONFIG_NAME, PROCESSOR_NAME


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

    def _upload_modified_files(self, working_dir: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        add_code(working_dir)
        return super()._upload_modified_files(working_dir, *args, **kwargs)  # type: ignore[misc]


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
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
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
        if target.exists() and not _is_ours(target):
            raise ValueError(
                f"{target} is not a file of timesclip_hf, but the code to upload has one of that name; "
                "save to a folder without it."
            )
        shutil.copyfile(file, target)


def _is_ours(file: Path) -> bool:
    """Whether a file is of this or another version of the package."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return "The timesclip_hf authors" in lines.readline()


__all__ = ["CarriesCode", "add_code"]
