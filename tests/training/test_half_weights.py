# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Frozen layers are cast to half precision once, and nobody but the clock can tell."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainers import trainer_builder
from torch import nn

from timesclip_hf.training.half_weights import HalfWeights


class Model(nn.Module):
    """Two layers of a tower, one of which learns, an adapted one, and a layer outside of it."""

    def __init__(self) -> None:
        super().__init__()
        frozen, learnt, outside = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        frozen.requires_grad_(False), outside.requires_grad_(False)
        adapted = nn.ModuleDict({"base_layer": nn.Linear(3, 3).requires_grad_(False)})
        layers = {
            "frozen": frozen,
            "learnt": learnt,
            "adapted": adapted,
            "norm": nn.LayerNorm(3).requires_grad_(False),
        }
        self.text_tower, self.head = nn.ModuleDict(layers), outside


def test_frozen_linear_layers_of_towers_alone_are_cast_and_cast_once() -> None:
    model, halves = Model(), HalfWeights("bf16")
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    found: list[dict[str, Any]] = []
    for _ in range(2):
        with halves.at_work(model):
            found.append({name: (p.dtype, p.data_ptr()) for name, p in model.named_parameters()})
    cast = {name for name, (dtype, _) in found[0].items() if dtype == torch.bfloat16}
    assert cast == {"text_tower.frozen.weight", "text_tower.frozen.bias"} and found[0] == found[1]
    for name, tensor in model.state_dict().items():
        assert tensor.data_ptr() == before[name][0] and torch.equal(tensor, before[name][1])


def test_weights_that_were_loaded_anew_are_cast_anew() -> None:
    model, halves = Model(), HalfWeights("bf16")
    with halves.at_work(model):
        pass
    model.load_state_dict({name: tensor + 1 for name, tensor in model.state_dict().items()})
    with halves.at_work(model):
        inside = model.text_tower["frozen"].weight.float().clone()
    assert torch.allclose(inside, model.text_tower["frozen"].weight, atol=0.02)


def test_an_error_leaves_the_weights_as_they_were() -> None:
    model = Model()
    with pytest.raises(RuntimeError), HalfWeights("fp16").at_work(model):
        raise RuntimeError
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("fields", [{}, {"text_chunk_size": 4}], ids=["whole", "in chunks"])
def test_training_learns_the_same_to_the_bit(tiny_config: Any, tmp_path: Path, fields: Any) -> None:
    weights = []
    for precision in ("bf16", "no"):
        build = trainer_builder(tiny_config, tmp_path / precision)
        frozen = {"freeze_text": True, "freeze_vision": True, **fields}
        trainer = build(preset="full", fields=frozen, bf16=True, feature_cache="off", save_strategy="no",
                        load_best_model_at_end=False, eval_strategy="no")  # fmt: skip
        assert trainer.half_weights.dtype == torch.bfloat16
        trainer.half_weights = HalfWeights(precision)
        trainer.train()
        weights.append({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
    assert all(tensor.dtype == torch.float32 for tensor in weights[0].values() if tensor.is_floating_point())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
