# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Micro-batches that train as one batch; `test_processes.py` has the trainer's runs."""

from typing import Any

import pytest
import torch

from timesclip_hf import TimesCLIPForRegression, TimesCLIPTrainer, TimesCLIPTrainingArguments
from timesclip_hf.training.gradient_caching import AccumulatedAlignment


def take_through(model: Any, batches: list[dict[str, torch.Tensor]]) -> tuple[list[Any], AccumulatedAlignment]:
    """Outputs of the first and of the second time through; gradients are accumulated."""
    seen: list[Any] = []
    hook = model.register_forward_hook(lambda module, args, outputs: seen.append(outputs))
    whole = AccumulatedAlignment(model.alignment, batches)
    for batch in batches:
        with whole.micro_batch(lambda inputs: model(**inputs), next(model.parameters())):
            (model(**batch).loss / len(batches)).backward()
    hook.remove()
    return seen, whole


def test_dropout_is_the_same_both_times_and_the_first_time_keeps_no_graph(tiny_config, make_batch):
    torch.manual_seed(0)
    config = tiny_config(text_dropout=0.5, freeze_vision=False)
    model = TimesCLIPForRegression(config).train()
    batches = [make_batch(config, size, seed=size) for size in (4, 3, 2)]
    seen, _ = take_through(model, batches)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first.text_embeds, second.text_embeds)
        assert not first.text_embeds.requires_grad
        assert second.text_embeds.requires_grad
    assert not torch.equal(model(**batches[0]).text_embeds, seen[0].text_embeds)


def test_gradients_equal_the_whole_batch_with_missing_labels(tiny_config, make_batch):
    certain = {"text_dropout": 0.0, "selection_dropout": 0.0, "head_dropout": [0.0] * 3, "num_targets": 2}
    learnt = {"learn_logit_scale": True, "alignment_weighting": "uncertainty", "freeze_vision": False}
    config = tiny_config(**certain, **learnt)
    torch.manual_seed(0)
    model = TimesCLIPForRegression(config).train()
    batches = [make_batch(config, size, seed=size) for size in (4, 3, 2)]
    batches[0]["labels"][1:] = float("nan")
    batches[2]["labels"][:] = float("nan")
    together = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    loss = model(**together).loss
    loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    seen, _ = take_through(model, batches)
    assert sum(outputs.loss.item() for outputs in seen[3:]) / 3 == pytest.approx(loss.item(), rel=1e-5)
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, parameter in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-5 * largest)


def test_a_model_without_alignment_refuses_to_compare(tiny_config, tmp_path):
    quiet: dict[str, Any] = {
        "use_cpu": True,
        "report_to": "none",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
    }
    args = TimesCLIPTrainingArguments(str(tmp_path), alignment_over_accumulation=True, **quiet)
    with pytest.raises(ValueError, match="no alignment loss"):
        TimesCLIPTrainer(TimesCLIPForRegression(tiny_config("text_only")), args)
