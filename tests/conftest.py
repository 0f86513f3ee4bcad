# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Shared fixtures: configurations small enough that a whole model is built in milliseconds, and their batches."""

import atexit
import copy
import os
import shutil
import tempfile

# Before the imports below: nothing may reach for the network or be left at home, and one thread is the fastest here.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="timesclip_hf_tests_")
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

from timesclip_hf import (  # noqa: E402
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPPreTrainedModel,
)

torch.set_num_threads(1)

# The series that all tiny configurations are made for.
SERIES: dict[str, Any] = {
    "num_variates": 3,
    "context_length": 12,
    "patch_length": 4,
    "patch_stride": 2,
    "projection_dim": 16,
    "selection_num_heads": 4,
}


SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGES = {"image_size": 32, "patch_size": 16}
WORDS = {"vocab_size": 50, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
STAGES = {"depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 16, "layer_type": "basic"}
WINDOWS = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4}
T5_SIZE = {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}

# Every supported family, by its model type: 2 layers or stages, features or tokens of width 32, 32 x 32 images.
TINY_VISION: dict[str, dict[str, Any]] = {
    "clip_vision_model": {**IMAGES, **SIZE},
    "siglip_vision_model": {**IMAGES, **SIZE},
    "vit": {**IMAGES, **SIZE},
    "dinov2": {**IMAGES, "hidden_size": 32, "mlp_ratio": 2, "num_hidden_layers": 2, "num_attention_heads": 4},
    "swin": WINDOWS,
    "resnet": STAGES,
}
TINY_TEXT: dict[str, dict[str, Any]] = {
    "clip_text_model": {**WORDS, **SIZE},
    "siglip_text_model": {**WORDS, **SIZE},
    "bert": {**WORDS, **SIZE},
    "t5": T5_SIZE,
}


def tower_fields(vision: str = "clip", text: str | None = None) -> dict[str, dict[str, Any]]:
    """Sub-configs of two towers, named by model type; `clip` and `siglip` stand for either half of their pair."""
    text = text or vision
    vision = f"{vision}_vision_model" if vision in ("clip", "siglip") else vision
    text = f"{text}_text_model" if text in ("clip", "siglip") else text
    return {
        "vision_config": {"model_type": vision, **copy.deepcopy(TINY_VISION[vision])},
        "text_config": {"model_type": text, **copy.deepcopy(TINY_TEXT[text])},
    }


@pytest.fixture
def tiny_towers() -> Callable[..., dict[str, dict[str, Any]]]:
    """`tiny_towers(vision="clip", text=vision)`: sub-configs like those of `tiny_config`, of any two families."""
    return tower_fields


@pytest.fixture
def tiny_config() -> Callable[..., TimesCLIPConfig]:
    """`tiny_config(preset="full", **overrides)`: 3 variates of 12 steps, 6 patches of 4 each, embeds of width 16."""

    def build(preset: str = "full", **overrides: Any) -> TimesCLIPConfig:
        config_fields: dict[str, Any] = {**tower_fields(), **SERIES}
        if preset in ("small", "text_only", "forecast"):
            del config_fields["vision_config"]
        if preset == "vision_only":
            del config_fields["text_config"]
        return TimesCLIPConfig.from_preset(preset, **{**config_fields, **overrides})

    return build


@pytest.fixture
def enlarge() -> Callable[[torch.nn.Module], torch.nn.Module]:
    """`enlarge(model)`: the model in eval mode, its weights large enough to tell; the alignment's as they are."""

    def change(model: torch.nn.Module) -> torch.nn.Module:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not name.startswith("alignment."):
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        return model.eval()

    return change


@pytest.fixture
def make_batch() -> Callable[..., dict[str, torch.Tensor]]:
    """`make_batch(config, batch_size=4, seed=0)`: everything that a processor returns, labels included."""

    def build(config: TimesCLIPConfig, batch_size: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(batch_size, *shape, generator=generator)

        variates = config.num_variates
        batch = {
            "patch_values": normal(variates, config.num_patches, config.patch_length),
            "patch_mask": torch.ones(batch_size, variates, config.num_patches, dtype=torch.bool),
            "variate_values": normal(variates, config.context_length),
            "loc": normal(variates),
            "scale": normal(variates).abs() + 0.1,
            "labels": normal(config.num_targets),
        }
        if config.vision_config is not None:
            size = getattr(config.vision_config, "image_size", 32)  # ResNet takes any size
            batch["pixel_values"] = normal(config.num_drawn_variates, 3, size, size)
        if config.num_static_features:
            batch["static_values"] = normal(config.num_static_features)
        if config.num_future_covariates:
            steps = config.context_length + config.prediction_length
            batch["future_values"] = normal(steps, config.num_future_covariates)
        return batch

    return build


@pytest.fixture
def make_case(
    tiny_config: Callable[..., TimesCLIPConfig],
    make_batch: Callable[..., dict[str, torch.Tensor]],
    enlarge: Callable[[torch.nn.Module], torch.nn.Module],
) -> Callable[..., tuple[Any, dict[str, torch.Tensor]]]:
    """`make_case(model_class, **config_fields)`: a model without dropout in eval mode, and a batch for it.

    The batch has missing patches, a variate of which nothing is observed, and labels of the model's task.
    """

    def build(model_class: type[TimesCLIPPreTrainedModel], **fields: Any) -> tuple[Any, dict[str, torch.Tensor]]:
        no_dropout = {"head_dropout": [0.0] * 3, "text_dropout": 0.0, "selection_dropout": 0.0}
        config = tiny_config(**{**fields, **no_dropout})
        torch.manual_seed(0)
        model = enlarge(model_class(config))
        batch = make_batch(config)
        batch["patch_mask"][:, 1, 2:] = False
        batch["patch_mask"][0, 0] = False
        if model_class is TimesCLIPForClassification:
            batch["labels"] = torch.tensor([0, 1, 2, 1])
        elif model_class is TimesCLIPForPrediction:
            batch["labels"] = torch.randn(4, config.prediction_length, config.num_answered_variates)
            batch["labels"][0, 0] = float("nan")
        elif model_class is TimesCLIPForPreTraining:
            del batch["labels"]
        return model, batch

    return build


@pytest.fixture
def make_model(tiny_config, enlarge):
    """`make_model(preset, **overrides)`: a regression model in eval mode, its weights large enough to tell."""

    def build(preset="full", **overrides):
        torch.manual_seed(0)
        return enlarge(TimesCLIPForRegression(tiny_config(preset, **overrides)))

    return build
