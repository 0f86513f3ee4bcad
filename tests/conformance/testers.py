# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What transformers' common tests ask of the test file of a model: tiny configurations and batches for them."""

from typing import Any

import torch
from torch import Tensor

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
)

BATCH_SIZE = 3
SIZE = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGES = {"image_size": 32, "patch_size": 16}
WORDS = {"vocab_size": 50, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}

# Every family of towers, by its model type.
TOWERS: dict[str, dict[str, Any]] = {
    "clip_vision_model": {**IMAGES, **SIZE},
    "siglip_vision_model": {**IMAGES, **SIZE},
    "vit": {**IMAGES, **SIZE},
    "dinov2": {**IMAGES, "hidden_size": 32, "mlp_ratio": 2, "num_hidden_layers": 2, "num_attention_heads": 4},
    "swin": {**IMAGES, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
    "resnet": {"depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 16, "layer_type": "basic"},
    "clip_text_model": {**WORDS, **SIZE},
    "siglip_text_model": {**WORDS, **SIZE},
    "bert": {**WORDS, **SIZE},
    "t5": {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4},
}
SERIES: dict[str, Any] = {
    "num_variates": 4,
    "context_length": 12,
    "patch_length": 4,
    "patch_stride": 2,
    "prediction_length": 5,
    "projection_dim": 16,
    "selection_num_heads": 4,
}


class ModelTester:
    """Configurations and batches, and their sizes, under the names that `ModelTesterMixin` looks for.

    Args:
        preset: one of the package's presets.
        vision, text: families of the towers, keys of `TOWERS`; `None`: there is no such branch.
        **fields: further fields of the configuration.
    """

    def __init__(self, preset: str, vision: str | None, text: str | None, **fields: Any):
        self.preset = preset
        self.fields = {
            **SERIES,
            "vision_config": vision and {"model_type": vision, **TOWERS[vision]},
            "text_config": text and {"model_type": text, **TOWERS[text]},
            **fields,
        }
        self.batch_size = BATCH_SIZE
        self.is_training = True
        self.seq_length = 7  # the CLS token and six patches
        self.num_hidden_layers = SIZE["num_hidden_layers"]
        self.hidden_size = SIZE["hidden_size"]
        self.num_attention_heads = SIZE["num_attention_heads"]

    def get_config(self) -> TimesCLIPConfig:
        return TimesCLIPConfig.from_preset(self.preset, **self.fields)

    def prepare_config_and_inputs_for_common(self) -> tuple[TimesCLIPConfig, dict[str, Tensor]]:
        config = self.get_config()
        shape = BATCH_SIZE, config.num_variates
        inputs = {
            "loc": torch.randn(shape),
            "scale": torch.rand(shape) + 0.5,
            "variate_values": torch.randn(*shape, config.context_length),
        }
        if config.text_config is not None:
            inputs["patch_values"] = torch.randn(*shape, config.num_patches, config.patch_length)
            # Integers, for the mixin makes up further rows from the range of the type; it has none for bools.
            inputs["patch_mask"] = torch.ones(*shape, config.num_patches, dtype=torch.long)
        if config.vision_config is not None:
            inputs["pixel_values"] = torch.randn(*shape, 3, 32, 32)
        return config, inputs

    def labels_for(self, model_class: type) -> dict[str, Tensor]:
        """Targets of a batch for a model that has any, always the same."""
        config = self.get_config()
        if model_class is TimesCLIPForRegression:
            return {"labels": torch.ones(BATCH_SIZE, config.num_targets)}
        if model_class is TimesCLIPForClassification:
            return {"labels": torch.arange(BATCH_SIZE) % 2}
        if model_class is TimesCLIPForPrediction:
            return {"labels": torch.ones(BATCH_SIZE, config.prediction_length, config.num_variates)}
        return {}
