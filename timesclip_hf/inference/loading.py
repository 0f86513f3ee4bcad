# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Saved models: of which class they are, for which pipeline, and how they are loaded as what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers.utils import CONFIG_NAME, find_adapter_config_file

from ..features.beside import file_beside
from ..model import modeling_timesclip
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.modeling_timesclip import TimesCLIPModel
from ..model.pretrained_model import base_of_adapter

FORECASTER_FILE = "forecaster.json"
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


class CheckpointLoader:
    """Loads a saved model as what it is, so that a pipeline can refuse what it has no use for.

    Left to itself, transformers loads any checkpoint into the class that the task asks for, with random weights where
    they differ.
    """

    @classmethod
    def from_pretrained(cls, model: str, **kwargs: Any) -> Any:
        """As of the models; for `transformers.pipeline`."""
        hub_kwargs = {name: kwargs[name] for name in _HUB_ARGUMENTS if name in kwargs}
        return saved_model_class(own_config(model, **hub_kwargs)).from_pretrained(model, **kwargs)


def pipeline_task(model: str | Path, **hub_kwargs: Any) -> str:
    """The pipeline task that a saved model was trained for.

    Args:
        model: folder or Hub id.
        **hub_kwargs: `revision`, `token`, `cache_dir`, ...

    Raises:
        ValueError: not a TimesCLIP model, or one without a pipeline.
        OSError: no such folder or repository.
    """
    config = own_config(str(model), **hub_kwargs)
    found, names = saved_model_class(config), config.architectures or ["model of unknown class"]
    if found.task.pipeline is None or found.__name__ not in names:
        raise ValueError(
            f"{model} holds a {', '.join(names)}, which no pipeline is made for, but for what its towers say of "
            f"series: pipeline({TimesCLIPModel.task.pipeline!r}, ...), or timesclip embed"
        )
    return str(found.task.pipeline)


def own_config(model: str, **hub_kwargs: Any) -> TimesCLIPConfig:
    """The configuration of a saved model of ours, or of the base model of a saved adapter.

    Raises:
        ValueError: another kind of model.
        OSError: no such folder or repository.
    """
    config = read_config(model, **hub_kwargs)
    if not isinstance(config, TimesCLIPConfig):
        raise ValueError(f"{model} is a {config.model_type!r} model, expected 'timesclip'")
    return config


def read_config(model: str, **hub_kwargs: Any) -> Any:
    """The configuration of a saved model, or of the base model of a saved adapter."""
    adapter = find_adapter_config_file(model, **hub_kwargs)
    if adapter is not None and not (Path(model) / CONFIG_NAME).is_file():
        model = base_of_adapter(adapter)
    try:
        return AutoConfig.from_pretrained(model, **hub_kwargs)
    except RecursionError as error:
        raise ValueError(f"{model}: config.json cannot be read: it is nested too deeply") from error
    except TypeError as error:  # transformers looks a model_type up without looking at it
        raise ValueError(f"{model}: config.json cannot be read: {error}") from error


def saved_model_class(config: Any) -> Any:
    """The class of the model that was saved with this configuration; `TimesCLIPModel` where it is none of ours."""
    classes = (getattr(modeling_timesclip, name, None) for name in config.architectures or [])
    return next((found for found in classes if hasattr(found, "task")), TimesCLIPModel)


def saved_metrics(folder: str | Path) -> dict[str, Any]:
    """What `timesclip train` left beside a model, as far as it can be read."""
    path = Path(folder) / "metrics.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def forecaster_settings(model: str | Path, needed: bool = False, **hub_kwargs: Any) -> dict[str, Any] | None:
    """What a forecaster noted of its columns beside its model; `None`: nothing lies there.

    Args:
        model: folder or Hub id.
        needed: raise, where nothing does.
        **hub_kwargs: `revision`, `token`, ...

    Raises:
        FileNotFoundError: a folder without what is needed.
        OSError: a repository without it, or out of reach.
    """
    if needed and Path(model).exists() and not (Path(model) / FORECASTER_FILE).is_file():
        raise FileNotFoundError(f"{model} holds no {FORECASTER_FILE}: was it written by TimesCLIPForecaster.save?")
    path = file_beside(model, FORECASTER_FILE, needed, **hub_kwargs)
    if path is None:
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def learnt_column(metrics: Mapping[str, Any], frame: Any) -> str | None:
    """The column of a table that a model was trained on, which no processor of classes knows; `None`: not there."""
    target = metrics.get("target")
    return target if isinstance(target, str) and target in frame else None


__all__ = [
    "FORECASTER_FILE",
    "CheckpointLoader",
    "forecaster_settings",
    "learnt_column",
    "own_config",
    "pipeline_task",
    "read_config",
    "saved_metrics",
    "saved_model_class",
]
