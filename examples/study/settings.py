# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How the example scripts are told what to do: a settings file, flags that win over it, variants of a model."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser

from .training import Variant

# What a wrong setting or table raises: the scripts print it as one line.
USER_ERRORS = (ValueError, OSError, StrictDataclassError)


def parse(argv: list[str], classes: tuple[type, ...], description: str) -> tuple[Any, ...]:
    """One instance of each dataclass, from flags, or from a YAML or JSON file followed by flags that win over it.

    `--presets` also wins over the file's `variants`. Raises for seeds that come twice.
    """
    parser = HfArgumentParser(classes, description=description, allow_abbrev=False)
    if argv and argv[0].endswith((".yaml", ".yml", ".json")):
        parser.set_defaults(**read_settings(argv[0], {f.name for cls in classes for f in fields(cls)}))
        argv = argv[1:]
    arguments, *others = parser.parse_args_into_dataclasses(args=argv)
    if any(flag.split("=")[0] == "--presets" for flag in argv):
        arguments.variants = None
    seeds = getattr(arguments, "seeds", [])
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {arguments.seeds} holds a seed more than once.")
    return arguments, *others


def read_settings(path: str, known: set[str]) -> dict[str, Any]:
    """A settings file whose names are all known."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    settings = yaml.safe_load(Path(path).read_text())
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold names and values, one a line.")
    if unknown := sorted(map(str, settings.keys() - known)):
        raise ValueError(f"{path} names {unknown}, which are no flags of this script; see --help.")
    return settings


def named_variants(arguments: Any) -> dict[str, Variant]:
    """What to train, by name: `arguments.variants`, or each of `arguments.presets`."""
    shapes = {"patch_length": arguments.patch_length, "patch_stride": arguments.patch_stride}
    named = arguments.variants or {preset: {"preset": preset} for preset in arguments.presets}
    return {
        name: Variant.from_fields(
            **{
                "towers": arguments.towers,
                "checkpoints": {"vision": arguments.vision_checkpoint, "text": arguments.text_checkpoint},
                **shapes,
                **settings,
            }
        )
        for name, settings in named.items()
    }


def command_line(script: str, argv: list[str]) -> str:
    """The line that runs a script again, without where its results went."""
    kept, rest = [], iter(argv)
    for word in rest:
        if word in ("--output_dir", "--disable_tqdm"):
            next(rest, None)
        elif not word.startswith(("--output_dir=", "--disable_tqdm=")):
            kept.append(word)
    return shlex.join(["python", "-m", f"examples.study.{script}", *kept])


def check_names(chosen: list[str], known: list[str], what: str) -> None:
    """Raises for names that a flag does not know."""
    if wrong := sorted(set(chosen) - set(known)):
        raise ValueError(f"Unknown {what} {wrong}; choose from {known}.")
