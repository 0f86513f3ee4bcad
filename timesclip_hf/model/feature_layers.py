# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which layer of a vision tower is read: what its configuration becomes, how wide the feature is, how it is pooled.

The rule. A tower has the hidden states that transformers returns for `output_hidden_states=True`: number 0 is what
enters its layers, number k what layer k gives, as it comes, without the norm behind the last one. Negative numbers
count from the end, -1 is what the last layer gives (as LLaVA names them). In Swin and ResNet a layer is a stage; what
a stage of Swin gives has passed the merging of patches that follows it. Everything behind the layer that is read, last
norm and pooling head included, is neither built nor loaded nor saved.
"""

import copy
from typing import Any

from torch import nn

from .tower_configs import WITHOUT_CLS


def num_layers(config: Any) -> int:
    """Layers of a vision tower, or its stages."""
    return len(config.depths) if config.model_type in ("swin", "resnet") else int(config.num_hidden_layers)


def layer_number(config: Any, layer: int) -> int:
    """A hidden state's number from 0 on.

    Raises:
        ValueError: the tower has no such hidden state.
    """
    last = num_layers(config)
    if not -last - 1 <= layer <= last:
        kind = "stages" if config.model_type in ("swin", "resnet") else "layers"
        raise ValueError(
            f"vision_feature_layer={layer}, but the {config.model_type} has {last} {kind}: choose one of 0 (what "
            f"enters them) to {last}, or -{last + 1} to -1 from the end."
        )
    return layer % (last + 1)


def up_to_layer(config: Any, layer: int) -> Any:
    """A copy of a tower's configuration that describes it as far as a hidden state."""
    number, last = layer_number(config, layer), num_layers(config)
    config = copy.deepcopy(config)
    if config.model_type == "swin":
        depths = list(config.depths)
        # Rates of dropped paths rise evenly over all blocks: those of the blocks that stay are to stay.
        config.drop_path_rate *= max(0, sum(depths[:number]) - 1) / max(1, sum(depths) - 1)
        # A stage without blocks behind: so that the one before merges its patches, as it does in the whole tower.
        config.depths = depths[:number] + [0] * (number < last)
        config.num_heads = list(config.num_heads)[: len(config.depths)]
        config.num_layers = len(config.depths)
        config.hidden_size = vision_width(config)
    elif config.model_type == "resnet":
        kept = max(1, number)  # it cannot be built without a stage
        config.depths, config.hidden_sizes = list(config.depths)[:kept], list(config.hidden_sizes)[:kept]
    else:
        config.num_hidden_layers = number
        if hasattr(config, "vision_use_head"):
            config.vision_use_head = False
    return config


def end_at_layer(tower: Any, number: int, norm: str | None) -> None:
    """Takes out of a tower built by `up_to_layer` what a configuration cannot leave out: its last norm, and the one
    stage of a ResNet that is read before its stages."""
    if norm is not None:
        setattr(tower, norm, nn.Identity())
    if number == 0 and tower.config.model_type == "resnet":
        tower.encoder.stages = nn.ModuleList()


def vision_width(config: Any, pooling: str = "pooler", layer: int | None = None) -> int:
    """Width of the feature that a vision tower of this configuration gives of an image.

    Args:
        config: of the tower, as far as it is built or whole.
        pooling, layer: as `vision_pooling` and `vision_feature_layer` of `TimesCLIPConfig`.
    """
    last = num_layers(config)
    number = last if layer is None else layer_number(config, layer)
    if config.model_type == "resnet":
        width: int = [config.embedding_size, *config.hidden_sizes][number]
    elif config.model_type == "swin":
        width = config.embed_dim * 2 ** min(number, last - 1)
    else:
        width = config.hidden_size
    return 2 * width if pooling == "cls_mean" else width


def image_pooling(config: Any) -> str:
    """How the model of a `TimesCLIPConfig` reads an image: as `vision_pooling` says.

    But an inner layer has no pooled output of its own. There, `"pooler"` stands for what most are made of: the CLS
    token, or without one the mean of all.
    """
    if config.vision_pooling != "pooler" or config.vision_feature_layer is None:
        return str(config.vision_pooling)
    return "mean" if config.vision_config.model_type in WITHOUT_CLS else "cls"


def image_width(config: Any) -> int:
    """Width of what the model of a `TimesCLIPConfig` reads of an image."""
    return vision_width(config.vision_config, config.vision_pooling, config.vision_feature_layer)


__all__ = [
    "end_at_layer",
    "image_pooling",
    "image_width",
    "layer_number",
    "num_layers",
    "up_to_layer",
    "vision_width",
]
