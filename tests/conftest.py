# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Shared fixtures: configurations small enough that a whole model is built in milliseconds, and their batches."""

import os

# Before the imports below: nothing may reach for the network, and one thread is the fastest at this size.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

from timesclip_hf import TimesCLIPConfig  # noqa: E402

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


def tower_fields(family: str = "clip") -> dict[str, dict[str, Any]]:
    """Sub-configs of both towers of a family: 2 layers, width 32, 32 x 32 images of 4 patches."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    words = {"vocab_size": 50, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return {
        "vision_config": {"model_type": f"{family}_vision_model", "image_size": 32, "patch_size": 16, **size},
        "text_config": {"model_type": f"{family}_text_model", **words, **size},
    }


@pytest.fixture
def tiny_towers() -> Callable[..., dict[str, dict[str, Any]]]:
    """`tiny_towers(family="clip")`: the sub-configs that `tiny_config` has, of the family `clip` or `siglip`."""
    return tower_fields


@pytest.fixture
def tiny_config() -> Callable[..., TimesCLIPConfig]:
    """`tiny_config(preset="full", **overrides)`: 3 variates of 12 steps, 6 patches of 4 each, embeds of width 16."""

    def build(preset: str = "full", **overrides: Any) -> TimesCLIPConfig:
        config_fields: dict[str, Any] = {**tower_fields(), **SERIES}
        if preset in ("small", "text_only"):
            del config_fields["vision_config"]
        if preset == "vision_only":
            del config_fields["text_config"]
        return TimesCLIPConfig.from_preset(preset, **{**config_fields, **overrides})

    return build


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
            size = config.vision_config.image_size
            batch["pixel_values"] = normal(variates, 3, size, size)
        if config.num_static_features:
            batch["static_values"] = normal(config.num_static_features)
        return batch

    return build
