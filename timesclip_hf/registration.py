# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Makes transformers' Auto classes and pipelines know ours, as soon as they are there and not before.

Importing them takes seconds, which `import timesclip_hf` and `timesclip --help` must not. A registry of transformers
that is loaded already is filled when this package is imported, any other one right after it was loaded: a finder in
`sys.meta_path` finds nothing itself, but notes when modules of transformers and of this package are done. It waits
for the outermost one, so that no class is asked of a module that is half loaded.
"""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def _register_config() -> None:
    from transformers import AutoConfig

    from .model.configuration_timesclip import TimesCLIPConfig

    AutoConfig.register(TimesCLIPConfig.model_type, TimesCLIPConfig, exist_ok=True)


def _register_models() -> None:
    from transformers.models.auto import modeling_auto as auto

    from .model.modeling_timesclip import MODELS, TimesCLIPConfig
    from .training.hooks import check_hooks

    check_hooks()
    for auto_class in {name for model in MODELS for name in model.task.auto_classes}:
        # Several where transformers has no Auto class for a task: `AutoModel` gives these models themselves, where
        # they were saved, and the first one for all others.
        models: Any = tuple(model for model in MODELS if model.task.auto_classes.get(auto_class) == model.__name__)
        getattr(auto, auto_class).register(TimesCLIPConfig, models if len(models) > 1 else models[0], exist_ok=True)
    for model in MODELS:
        mapping: Any = getattr(auto, f"MODEL_FOR_TIME_SERIES_{model.task.name.upper()}_MAPPING", None)
        if mapping is not None:  # there may be one without an Auto class
            mapping.register(TimesCLIPConfig, model, exist_ok=True)


def _register_processor() -> None:
    from transformers import AutoProcessor

    from .model.configuration_timesclip import TimesCLIPConfig
    from .model.processing_timesclip import TimesCLIPProcessor

    AutoProcessor.register(TimesCLIPConfig, TimesCLIPProcessor, exist_ok=True)


def _register_pipelines() -> None:
    from transformers.pipelines import PIPELINE_REGISTRY

    from .inference.loading import CheckpointLoader
    from .inference.task_pipelines import PIPELINES

    for task, pipeline in PIPELINES.items():
        PIPELINE_REGISTRY.register_pipeline(task, pipeline, pt_model=CheckpointLoader)  # type: ignore[arg-type]


# The modules of transformers that hold a registry which has not heard of us yet.
_PENDING: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.processing_auto": _register_processor,
    "transformers.pipelines": _register_pipelines,
}


def register_with_loaded() -> None:
    """Fills those registries that are loaded."""
    for name in [name for name in _PENDING if sys.modules.get(name) is not None]:
        if fill := _PENDING.pop(name, None):  # what it imports may have come back here before us
            fill()


class _Watcher(MetaPathFinder):
    """Calls `register_with_loaded` whenever an outermost import of transformers or of this package is done."""

    def __init__(self) -> None:
        self.loading = 0

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not _PENDING or name.split(".")[0] not in ("transformers", __package__):
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            self._watch(spec.loader)
        return spec

    def _watch(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            self.loading += 1
            try:
                execute(module)
            finally:
                self.loading -= 1
            if not self.loading:
                register_with_loaded()

        loader.exec_module = exec_module


def register_when_loaded() -> None:
    """Registers now what can be registered now, and the rest in time."""
    sys.meta_path.insert(0, _Watcher())
    register_with_loaded()


__all__ = ["register_when_loaded"]
