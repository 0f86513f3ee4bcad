# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""bf16 and fp16, by autocast and as the model's own dtype: finite, and near what fp32 says."""

import copy
from typing import Any

import pytest
import torch

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
)

LEVEL = {"use_loc_scale": True, "variate_mean": [0.0, 1.0, 2.0], "variate_std": [1.0, 2.0, 3.0]}
# Between them: all tasks, heads, alignment modes, weightings, selections and fusions, fixed and learnt tau.
CASES: dict[str, Any] = {
    "regression": (TimesCLIPForRegression, {"alignment": "hybrid", "learn_logit_scale": True, "freeze_vision": False}),
    "pooled": (TimesCLIPForRegression, {"head": "pooled", "alignment": "variate", "num_static_features": 2, **LEVEL}),
    "linear": (
        TimesCLIPForRegression,
        {"head": "linear", "variate_selection": "cross_attention", "alignment_weighting": "warmup"},
    ),
    "classification": (
        TimesCLIPForClassification,
        {"num_labels": 3, "alignment": "global", "alignment_weighting": "uncertainty"},
    ),
    "paper": (TimesCLIPForPrediction, {"preset": "paper"}),
    "gated_forecast": (TimesCLIPForPrediction, {"fusion": "concat", "alignment_weighting": "uncertainty"}),
    "shortcut": (TimesCLIPForPrediction, {"preset": "forecast", "loss": "mse"}),  # smape jumps where a sign flips
    "resampled": (TimesCLIPForRegression, {"patch_tokenizer": "resampled", "text_pooling": "mean"}),
    "pretraining": (TimesCLIPForPreTraining, {"learn_logit_scale": True, "freeze_vision": False}),
}
DTYPES = {"bf16": (torch.bfloat16, 0.05), "fp16": (torch.float16, 0.01)}  # errors that rounding may add up to
every_case = pytest.mark.parametrize("name", sorted(CASES))
every_dtype = pytest.mark.parametrize("dtype", sorted(DTYPES))


@pytest.fixture
def training_case(make_case):
    """`training_case(name)`: model in training mode, and batch, of one of `CASES`."""

    def build(name: str) -> tuple[Any, dict[str, torch.Tensor]]:
        model_class, fields = CASES[name]
        model, batch = make_case(model_class, **fields)
        return model.train(), batch

    return build


def run(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Losses, answers and embeds of one step, after its way back; gradients stay in the model."""
    model.zero_grad()
    outputs = model(**batch)
    outputs.loss.backward()
    names = ("loss", "task_loss", "alignment_loss", "predictions", "logits", "image_embeds", "text_embeds")
    found = {name: getattr(outputs, name, None) for name in names}
    return {name: tensor.detach().float() for name, tensor in found.items() if tensor is not None}


def assert_near(model: Any, found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], error: float) -> None:
    for name, tensor in expected.items():
        size = tensor.abs().max().item() + 1e-3
        assert (found[name] - tensor).abs().max().item() <= error * size + 1e-3, name
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@every_case
@every_dtype
def test_autocast_is_finite_and_near_fp32(training_case, name, dtype):
    model, batch = training_case(name)
    expected = run(model, batch)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    with torch.autocast("cpu", dtype=DTYPES[dtype][0]):
        found = run(model, batch)
    assert_near(model, found, expected, DTYPES[dtype][1])
    half = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert torch.cosine_similarity(half, gradient, dim=0) > 0.99


@every_case
@every_dtype
def test_a_model_of_half_precision_weights_is_finite_and_near_fp32(training_case, name, dtype):
    model, batch = training_case(name)
    expected = run(model, batch)
    half = copy.deepcopy(model).to(DTYPES[dtype][0])
    assert_near(half, run(half, batch), expected, 2 * DTYPES[dtype][1])


@every_dtype
@pytest.mark.parametrize("how", ["autocast", "weights"])
@pytest.mark.parametrize("name", ["regression", "paper", "shortcut"])
def test_spikes_ten_thousand_times_the_spread_pass(training_case, name, how, dtype):
    """As a sensor fault makes them. fp16 ends at 65 504, which the sum over a patch would pass."""
    model, batch = training_case(name)
    with torch.no_grad():
        model.timesclip.tokenizer.projection.weight.fill_(4.0)
    batch["patch_values"][1] = 1e4
    batch["variate_values"][1] = 1e4
    expected = run(model, batch)
    if how == "weights":
        model.to(DTYPES[dtype][0])
        found = run(model, batch)
    else:
        with torch.autocast("cpu", dtype=DTYPES[dtype][0]):
            found = run(model, batch)
    assert all(tensor.isfinite().all() for tensor in found.values())
    # What other samples say is as near to fp32 as without the spikes; a mean loss is the spikes' own.
    others = torch.tensor([0, 2, 3])
    error = 2 * DTYPES[dtype][1]
    for key in ("predictions", "text_embeds"):
        size = expected[key][others].abs().max()
        assert (found[key][others] - expected[key][others]).abs().max() <= error * size + 1e-3, key


@every_dtype
def test_attention_between_variates_holds_in_half_precision(training_case, dtype):
    """Queries and keys of length 250: their product over 16 numbers passes what fp16 holds, unless scaled first."""
    model, batch = training_case("regression")
    selection = model.timesclip.variate_selection
    with torch.no_grad():
        selection.query_key_value.weight.mul_(150)
    expected = model(**batch, output_attentions=True).selection_attentions
    with torch.autocast("cpu", dtype=DTYPES[dtype][0]):
        found = model(**batch, output_attentions=True).selection_attentions
    assert found.isfinite().all()
    torch.testing.assert_close(found.float().sum(dim=-1), torch.ones(expected.shape[:-1]), rtol=0, atol=0.02)
