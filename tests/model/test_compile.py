# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""torch.compile: every model in one graph, in inference and training, with the results of the plain model."""

from typing import Any

import pytest
import torch
from datasets import Dataset

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)

# Between them: all tasks, images and ready features, fixed and learnt tau, all weightings, both selections.
CASES: dict[str, Any] = {
    "regression": (TimesCLIPForRegression, {"preset": "full", "learn_logit_scale": True}),
    "regression_features": (TimesCLIPForRegression, {"preset": "full", "head": "pooled"}),
    "regression_chunks": (
        TimesCLIPForRegression,
        {"preset": "full", "freeze_vision": False, "vision_chunk_size": 7, "text_chunk_size": 7},
    ),
    "regression_resampled": (TimesCLIPForRegression, {"preset": "late", "patch_tokenizer": "resampled"}),
    "classification": (
        TimesCLIPForClassification,
        {"preset": "full", "num_labels": 3, "alignment_weighting": "uncertainty"},
    ),
    "prediction": (TimesCLIPForPrediction, {"preset": "paper", "alignment_weighting": "warmup"}),
    "prediction_shortcut": (TimesCLIPForPrediction, {"preset": "forecast", "loss": "smape"}),
    "pretraining": (TimesCLIPForPreTraining, {"preset": "full"}),
}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def step(model: Any, forward: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The loss, every gradient and every buffer after a step of training."""
    model.zero_grad()
    loss = forward(**batch).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found, **{name: b.clone() for name, b in model.named_buffers()}}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_whole_model_is_one_graph_in_inference_and_in_training(make_case, name):
    model_class, fields = CASES[name]
    model, batch = make_case(model_class, **fields)
    if name.endswith("features"):
        batch["vision_features"] = model.timesclip.get_vision_features(batch.pop("pixel_values"))
    compiled = torch.compile(model, fullgraph=True, backend="eager")  # fullgraph: a break is an error
    without_labels = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        expected, found = model(**without_labels), compiled(**without_labels)
    assert type(found) is type(expected) and list(found) == list(expected)
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)

    model.train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    expected_step = step(model, model, batch)
    model.load_state_dict(state)  # the warmup counts its batches
    found_step = step(model, compiled, batch)
    assert found_step.keys() == expected_step.keys()
    for key, value in expected_step.items():
        torch.testing.assert_close(found_step[key], value, rtol=1e-4, atol=1e-5, msg=lambda t, k=key: f"{k}: {t}")


def test_compiled_gradients_are_those_of_the_plain_model(make_case):
    """In the first steps of a warmup, too, whose weight moves with every batch."""
    model_class, fields = CASES["prediction"]
    model, batch = make_case(model_class, **fields)
    model.train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    expected = [step(model, model, batch) for _ in range(2)]
    model.load_state_dict(state)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for wanted in expected:
        found = step(model, compiled, batch)
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-5, msg=lambda t, k=key: f"{k}: {t}")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # the batch count is no reason to compile again


def test_the_trainer_compiles(tiny_config, tmp_path):
    config = tiny_config("small")
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(8, 12, 3, generator=generator)
    data = Dataset.from_dict({"past_values": series.numpy(), "labels": series.mean(dim=(1, 2))[:, None].numpy()})
    processor = TimesCLIPProcessor.from_config(config).fit(series.numpy(), labels=data["labels"])
    args = TimesCLIPTrainingArguments(
        tmp_path,
        torch_compile=True,
        torch_compile_backend="eager",
        num_train_epochs=2,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
    )
    model = TimesCLIPForRegression(processor.complete_config(config))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = TimesCLIPTrainer(model, args, processing_class=processor, train_dataset=data, eval_dataset=data)
    trainer.train()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # it was compiled
    assert not torch._dynamo.utils.counters["graph_break"]
    assert trainer.evaluate()["eval_rmse"] > 0
    assert any(not torch.equal(before[name], p) for name, p in trainer.model.named_parameters())
    trainer.save_model(str(tmp_path / "saved"))
    again = TimesCLIPForRegression.from_pretrained(tmp_path / "saved")
    assert again.state_dict().keys() == model.state_dict().keys()
