# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Configurations of towers: which families and named pairs there are, what a file and a checkpoint may say of one."""

from pathlib import Path
from typing import Any

from transformers import (
    BertConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    PreTrainedConfig,
    ResNetConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    SwinConfig,
    T5Config,
    ViTConfig,
)
from transformers import image_utils as colours
from transformers.activations import ACT2FN
from transformers.image_processing_utils import BaseImageProcessor

from .json_objects import check_depth

# The closed lists: nothing else that a JSON file names is ever built.
_VISION = (CLIPVisionConfig, SiglipVisionConfig, ViTConfig, Dinov2Config, SwinConfig, ResNetConfig)
VISION_CONFIGS: dict[str, type[PreTrainedConfig]] = {config.model_type: config for config in _VISION}
_TEXT = (CLIPTextConfig, SiglipTextConfig, BertConfig, T5Config)
TEXT_CONFIGS: dict[str, type[PreTrainedConfig]] = {config.model_type: config for config in _TEXT}
# Whose tokens all stand for a piece of the image.
WITHOUT_CLS = ("siglip_vision_model", "swin", "resnet")
# Colours that each family's checkpoints were trained with, for checkpoints that do not say so themselves.
_STANDARD = (colours.IMAGENET_STANDARD_MEAN, colours.IMAGENET_STANDARD_STD)
_IMAGENET = (colours.IMAGENET_DEFAULT_MEAN, colours.IMAGENET_DEFAULT_STD)
IMAGE_STATISTICS: dict[str, tuple[list[float], list[float]]] = {
    "clip_vision_model": (colours.OPENAI_CLIP_MEAN, colours.OPENAI_CLIP_STD),
    "siglip_vision_model": _STANDARD,
    "vit": _STANDARD,
    **dict.fromkeys(("dinov2", "swin", "resnet"), _IMAGENET),
}

_TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 64,
}
# A named pair of towers fills in the sub-configs and the defaults that suit their size.
TOWERS: dict[str, dict[str, Any]] = {
    # CLIP ViT-B/16, the towers of the paper: 86 M parameters on 224 x 224 images, and 38 M without word embeddings.
    "clip-b16": {
        "vision_config": {"model_type": "clip_vision_model", "patch_size": 16, "image_size": 224, "hidden_size": 768},
        "text_config": {"model_type": "clip_text_model", "hidden_size": 512},
    },
    # Small enough to be trained from random weights on two CPU cores, so nothing is frozen.
    "tiny": {
        "vision_config": {"model_type": "clip_vision_model", "image_size": 64, "patch_size": 16, **_TINY},
        "text_config": {"model_type": "clip_text_model", **_TINY},
        "projection_dim": 64,
        "selection_num_heads": 4,
        "freeze_vision": False,
        "vision_chunk_size": 1024,
        "text_chunk_size": 1024,
        # White paper becomes 0. Under CLIP's statistics every blank patch is a large constant, which drowns ink and
        # positions until a tower that starts from random weights has unlearnt it.
        "image_mean": [1.0, 1.0, 1.0],
        "image_std": [0.5, 0.5, 0.5],
    },
}
# As small, pretrained on synthetic series, for series of any length and number of variates.
TOWERS["timesclip-small"] = TOWERS["tiny"] | {
    "vision_config": TOWERS["tiny"]["vision_config"] | {"hidden_act": "gelu"},
    "text_config": TOWERS["tiny"]["text_config"] | {"hidden_act": "gelu"},
    "patch_tokenizer": "resampled",
}
# Checkpoints that ship with the package, each in a folder of its towers' name. Code on the Hub comes without them.
WEIGHTS = Path(__file__).parents[1] / "weights"
# What a configuration takes over from a TimesCLIP checkpoint that gives it this tower, besides the tower.
_WITH_EITHER = ("projection_dim", "selection_num_heads")
_WITH_TOWER = {
    "vision": (
        *_WITH_EITHER,
        "image_mean",
        "image_std",
        "background",
        "freeze_vision",
        "vision_chunk_size",
        "vision_feature_layer",
        "blank_patches",
    ),  # fmt: skip
    "text": (*_WITH_EITHER, "patch_tokenizer", "text_chunk_size"),
}
# Weights of a linear tokenizer are for these.
_WITH_LINEAR_TOKENIZER = ("context_length", "patch_length", "patch_stride", "padding")

# Far beyond any tower there is: a number in a broken file must not ask for all memory and time there are.
_MAX_LAYERS, _MAX_SIZE = 1000, 10**7
# About 20 times the weights of the largest that is published (T5 XXL's encoder has 4.8 billion).
_MAX_WEIGHTS = 10**11
_HUB_ARGUMENTS = ("revision", "token", "cache_dir", "subfolder", "local_files_only")
# What a file may ask for. Other names stand for kernels that transformers would fetch and run; code may name them.
_ATTENTION = (None, "eager", "sdpa", "flex_attention")
_IMPLEMENTATIONS = tuple(
    f"{prefix}{kind}_implementation{suffix}"
    for kind in ("attn", "experts")
    for prefix, suffix in (("", ""), ("_", ""), ("_", "_internal"))
)
_PRECISIONS = ("auto", "float32", "float16", "bfloat16", "float64")


def check_settings(name: str, settings: Any) -> None:
    """What transformers reads from a file without looking: that it is an object, names of classes, the precision."""
    if not isinstance(settings, dict):
        raise ValueError(f"{name} must be a JSON object, got {type(settings).__name__}.")
    check_kernels(name, settings)
    if not isinstance(kind := settings.get("model_type"), str | None):
        raise ValueError(f"model_type of {name} must be a name, got {kind!r:.80}.")
    for key in ("id2label", "label2id"):
        if settings.get(key) is not None and not isinstance(settings[key], dict):
            raise ValueError(f"{key} of {name} must be an object, one entry a class, got {settings[key]!r}.")
    for key in ("dtype", "torch_dtype"):
        value = settings.get(key)
        if value is not None and str(value).removeprefix("torch.") not in _PRECISIONS:
            raise ValueError(f"{key} of {name} must be one of {_PRECISIONS}, got {value!r}.")


def check_kernels(name: str, settings: Any) -> None:
    """Raises `ValueError` for a file that names code to run: a kernel in place of what transformers has."""
    for key in _IMPLEMENTATIONS if isinstance(settings, dict) else ():
        values = settings.get(key)
        for value in values.values() if isinstance(values, dict) else [values]:
            if value not in _ATTENTION:
                raise ValueError(
                    f"{key} of {name} is {value!r}: a file may ask for {_ATTENTION[1:]} alone, since other names load "
                    f"code; if you trust it, take {key} out of the file and pass it to from_pretrained"
                )


def _check_tower(name: str, config: PreTrainedConfig) -> None:
    """Sizes of a tower that can be built, and an activation that there is."""
    for key, value in config.to_dict().items():
        if key in ("hidden_act", "dense_act_fn") and value not in ACT2FN:
            raise ValueError(f"{key} of {name} is {value!r}; transformers knows {sorted(ACT2FN)}.")
        limit = _MAX_LAYERS if key in ("num_hidden_layers", "num_layers") else _MAX_SIZE
        for number in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(number, int) and not -limit <= number <= limit:
                raise ValueError(f"{key} of {name} is {value!r}, beyond any tower there is ({limit} at most).")
    if (weights := _rough_weights(config)) > _MAX_WEIGHTS:
        raise ValueError(
            f"{name} describes a tower of about {weights:.0e} weights, beyond any there is ({_MAX_WEIGHTS:.0e} at "
            "most): is the file damaged?"
        )


def _rough_weights(config: Any) -> float:
    """The weights of a tower within a factor of a few, before anything is allocated: layers, words and positions."""

    def size(*names: str, default: Any = 0) -> float:
        found = next((getattr(config, name) for name in names if getattr(config, name, None)), default)
        return float(max(found) if isinstance(found, (list, tuple)) else found)

    width = size("hidden_size", "d_model", "hidden_sizes", "embed_dim")
    layers = size("num_hidden_layers", "num_layers", default=1) * max(1, len(getattr(config, "depths", ())))
    inner = size("intermediate_size", "d_ff", default=width * size("mlp_ratio", default=4))
    patch = max(1.0, size("patch_size", default=1))
    tokens = size("vocab_size") + size("max_position_embeddings") + (size("image_size") / patch) ** 2
    return layers * width * (4 * width + 2 * inner) + width * (tokens + 3 * patch**2)


def build_tower_config(name: str, value: Any, known: dict[str, type[PreTrainedConfig]]) -> PreTrainedConfig | None:
    if value is None:
        return None
    if isinstance(value, dict):
        model_type = value.get("model_type")
        if model_type not in known:
            raise ValueError(f"{name} has model_type {model_type!r}; supported are {sorted(known)}.")
        check_settings(name, value)
        try:
            config = known[model_type](**value)
        except (ArithmeticError, AttributeError, LookupError) as error:  # what transformers does not check itself
            raise ValueError(f"{name} cannot be read: {type(error).__name__}, {error}.") from error
        _check_tower(name, config)
        return config
    if type(value) not in known.values():
        raise ValueError(f"{name} is a {type(value).__name__}; supported model types are {sorted(known)}.")
    return value


def read_config_file(name_or_path: Any, **hub_kwargs: Any) -> dict[str, Any]:
    """What a config.json holds.

    Raises:
        ValueError: it is nested too deeply.
        OSError: there is none, or it is no JSON.
    """
    try:
        found, _ = PreTrainedConfig.get_config_dict(name_or_path, **hub_kwargs)
    except RecursionError as error:
        raise ValueError(f"{name_or_path}: config.json cannot be read: it is nested too deeply") from error
    check_depth(found, f"{name_or_path}: config.json")
    return found


def checkpoint_folder(name_or_path: str) -> str:
    """Where a checkpoint is: the folder of one that ships, or the same Hub id or folder."""
    ships = name_or_path in TOWERS and (WEIGHTS / name_or_path / "config.json").is_file()
    return str(WEIGHTS / name_or_path) if ships and not Path(name_or_path).is_dir() else name_or_path


def is_shape(name_or_path: str) -> bool:
    """Whether a name stands for towers of random weights, not for a checkpoint."""
    return name_or_path == "tiny" and not Path(name_or_path).is_dir()


def _read_config(name_or_path: str, hub_kwargs: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in hub_kwargs.items() if name in _HUB_ARGUMENTS}
    if is_shape(name_or_path):
        return {"model_type": "timesclip", **TOWERS[name_or_path]}
    found = read_config_file(checkpoint_folder(name_or_path), **known)
    check_kernels(f"{name_or_path}: config.json", found)
    return found


def is_timesclip(name_or_path: str, **hub_kwargs: Any) -> bool:
    """Whether a checkpoint is one of ours, which has towers and a tokenizer in one."""
    return _read_config(name_or_path, hub_kwargs).get("model_type") == "timesclip"


def fields_with_tower(name_or_path: str, branch: str, **hub_kwargs: Any) -> dict[str, Any]:
    """Fields of `TimesCLIPConfig` that go with the tower of a TimesCLIP checkpoint; of another one: its colours."""
    found = _read_config(name_or_path, hub_kwargs)
    if found.get("model_type") != "timesclip":
        return load_image_statistics(name_or_path, **hub_kwargs) if branch == "vision" else {}
    names = _WITH_TOWER[branch]
    if is_shape(name_or_path):
        names = tuple(name for name in names if name not in _WITH_EITHER)
    if branch == "text" and found.get("patch_tokenizer", "linear") == "linear":
        names = (*names, *_WITH_LINEAR_TOKENIZER)
    return {name: found[name] for name in names if found.get(name) is not None}


def load_tower_config(name_or_path: str, branch: str, **hub_kwargs: Any) -> PreTrainedConfig:
    """The configuration of a checkpoint's tower: half of a CLIP or SigLIP pair, or a model of another family.

    Args:
        name_or_path: Hub id or folder, or `"tiny"`.
        branch: `"vision"` or `"text"`.
        **hub_kwargs: `revision`, `token`, `cache_dir`, `subfolder`, `local_files_only`; others are left alone.

    Raises:
        ValueError: a family that is not supported.
    """
    known = VISION_CONFIGS if branch == "vision" else TEXT_CONFIGS
    found = _read_config(name_or_path, hub_kwargs)
    settings = found
    if found.get("model_type") == "timesclip":
        settings = found.get(f"{branch}_config") or {}
    elif f"{branch}_config" in found:  # a pair such as CLIP: take the half that we need
        settings = {**found[f"{branch}_config"], "model_type": f"{found.get('model_type')}_{branch}_model"}
    if settings.get("model_type") not in known:
        raise ValueError(
            f"{name_or_path} is of model type {found.get('model_type')!r}, which has no supported {branch} tower; "
            f"supported are {sorted(known)}, alone or in a pair."
        )
    config: Any = build_tower_config(f"{branch}_config", settings, known)
    config.name_or_path = "" if is_shape(name_or_path) else name_or_path
    return config


def load_image_statistics(name_or_path: str, **hub_kwargs: Any) -> dict[str, list[float]]:
    """`image_mean` and `image_std` that a vision checkpoint names for its preprocessing; empty if it names none."""
    try:
        settings, _ = BaseImageProcessor.get_image_processor_dict(name_or_path, **hub_kwargs)
    except OSError:  # a checkpoint without a preprocessor: the family's statistics hold
        return {}
    return {key: list(settings[key]) for key in ("image_mean", "image_std") if settings.get(key)}


__all__ = [
    "IMAGE_STATISTICS",
    "TEXT_CONFIGS",
    "TOWERS",
    "VISION_CONFIGS",
    "WITHOUT_CLS",
    "build_tower_config",
    "check_kernels",
    "check_settings",
    "load_image_statistics",
    "load_tower_config",
    "read_config_file",
]
