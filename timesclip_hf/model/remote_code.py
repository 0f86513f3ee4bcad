# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The code that a repository on the Hub carries, so that `trust_remote_code=True` loads it where no package is.

Code goes along where something is pushed. What is only saved stays data, weights and JSON: a copy of the code in every
checkpoint would be noise, and could overwrite files of the same names in the folder.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_import_files
from transformers.utils import CONFIG_NAME, PROCESSOR_NAME

_CONFIG = "configuration_timesclip.TimesCLIPConfig"
_PROCESSOR = "processing_timesclip.TimesCLIPProcessor"
_MODELING = "modeling_timesclip."
# What each Auto class loads from a repository of each model. transformers has no Auto class for regression and
# classification, so `AutoModel` gives these models themselves, as it does with the package installed.
AUTO_CLASSES: dict[str, dict[str, str]] = {
    "TimesCLIPModel": {"AutoModel": "TimesCLIPModel"},
    "TimesCLIPForRegression": {"AutoModel": "TimesCLIPForRegression"},
    "TimesCLIPForClassification": {"AutoModel": "TimesCLIPForClassification"},
    "TimesCLIPForPrediction": {
        "AutoModel": "TimesCLIPModel",
        "AutoModelForTimeSeriesPrediction": "TimesCLIPForPrediction",
    },
    "TimesCLIPForPreTraining": {"AutoModel": "TimesCLIPModel", "AutoModelForPreTraining": "TimesCLIPForPreTraining"},
}


def add_model_code(folder: str | os.PathLike) -> None:
    """Puts the model's code into a folder that holds a saved model, and says in its config.json which class is where.

    Args:
        folder: what `save_pretrained` wrote. Without a config.json, or with one of a class that is not ours (which
            has code of its own), nothing is done.

    Raises:
        ValueError: a file in the folder has the name of one of ours, but is not ours.
    """
    path = Path(folder) / CONFIG_NAME
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    classes = AUTO_CLASSES.get((config.get("architectures") or [""])[0])
    if classes is None:
        return
    for tower in (config.get("vision_config"), config.get("text_config")):
        if tower and os.path.isdir(tower.get("_name_or_path") or ""):  # a folder of this machine is nobody's business
            del tower["_name_or_path"]
    config["auto_map"] = {"AutoConfig": _CONFIG, **{auto: _MODELING + name for auto, name in classes.items()}}
    _copy_code("modeling_timesclip.py", path.parent)
    _write_json(config, path)


def add_processor_code(folder: str | os.PathLike) -> None:
    """The same for the processor and its processor_config.json."""
    path = Path(folder) / PROCESSOR_NAME
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if config.get("processor_class") != _PROCESSOR.rpartition(".")[2]:
        return
    config["auto_map"] = {"AutoProcessor": _PROCESSOR}
    _copy_code("processing_timesclip.py", path.parent)
    _write_json(config, path)


class CarriesModelCode:
    """Mixin of what `push_to_hub` uploads with the model's code."""

    def _upload_modified_files(self, working_dir: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        add_model_code(working_dir)
        return super()._upload_modified_files(working_dir, *args, **kwargs)  # type: ignore[misc]


class CarriesProcessorCode:
    """Mixin of what `push_to_hub` uploads with the processor's code."""

    def _upload_modified_files(self, working_dir: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        add_processor_code(working_dir)
        return super()._upload_modified_files(working_dir, *args, **kwargs)  # type: ignore[misc]


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


def _write_json(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


__all__ = ["AUTO_CLASSES", "CarriesModelCode", "CarriesProcessorCode", "add_model_code", "add_processor_code"]
