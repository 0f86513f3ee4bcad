# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Several models as one: its answer is their mean, and it is one folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from timesclip_hf import (
    FeatureCache,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    export_onnx,
)
from timesclip_hf.training.ensemble import join_models

SERIES = np.random.default_rng(0).normal(size=(6, 12, 3))


def build(tiny_config: Any, model_class: Any, count: int = 3, preset: str = "full", **fields: Any) -> Any:
    """Models of other weights, and a batch of their processor."""
    processor = TimesCLIPProcessor.from_config(tiny_config(preset, **fields)).fit(SERIES)
    config = processor.complete_config(tiny_config(preset, **fields))
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(model_class(config).eval())
    return models, processor


@pytest.mark.parametrize("preset", ["full", "late", "probe", "small"])
def test_numbers_are_the_mean_of_the_models(tiny_config: Any, preset: str) -> None:
    # Kernels that nobody has fitted say nothing.
    linear = {"head": "linear", "kernel_shortcut": False, "linear_shortcut": True} if preset == "probe" else {}
    models, processor = build(tiny_config, TimesCLIPForRegression, preset=preset, **linear)
    for model in models[1:]:
        for parameter in model.head.parameters():
            torch.nn.init.normal_(parameter)  # heads of zeros would agree
    batch = processor(SERIES)
    said = torch.stack([model(**batch).predictions for model in models])
    joined = join_models(models)
    assert said.std(dim=0).min() > 0
    torch.testing.assert_close(joined(**batch).predictions, said.mean(dim=0))


def test_probabilities_are_the_mean_of_the_models(tiny_config: Any) -> None:
    models, processor = build(tiny_config, TimesCLIPForClassification, num_labels=4)
    batch = processor(SERIES)
    said = torch.stack([model(**batch).logits.softmax(dim=-1) for model in models])
    torch.testing.assert_close(join_models(models)(**batch).logits.softmax(dim=-1), said.mean(dim=0))


def test_branches_are_averaged_over_the_models_and_counted_by_the_mean_of_their_weights(tiny_config: Any) -> None:
    models, processor = build(tiny_config, TimesCLIPForRegression, 2, preset="late", kernel_shortcut=False)
    for model, weights in zip(models, ([0.2, 0.8], [0.5, 0.5]), strict=True):
        model.config = type(model.config).from_dict({**model.config.to_dict(), "branch_weights": weights})
    joined, batch = join_models(models), processor(SERIES)
    assert joined.config.branch_weights == [0.35, 0.65]
    branches = torch.stack([model(**batch).branch_predictions for model in models]).mean(dim=0)
    found = joined(**batch)
    torch.testing.assert_close(found.branch_predictions, branches)
    torch.testing.assert_close(found.predictions, 0.35 * branches[:, 0] + 0.65 * branches[:, 1])


def test_an_ensemble_is_one_folder_and_one_graph(tiny_config: Any, tmp_path: Path) -> None:
    models, processor = build(tiny_config, TimesCLIPForRegression, 2, preset="probe")
    joined, batch = join_models(models), processor(SERIES)
    expected = joined(**batch).predictions
    joined.save_pretrained(tmp_path / "m")
    loaded = TimesCLIPForRegression.from_pretrained(tmp_path / "m")
    assert torch.equal(loaded(**batch).predictions, expected)
    assert not any(p.requires_grad for m in loaded.members for p in m.timesclip.text_tower.parameters())
    export_onnx(loaded, processor, tmp_path / "model.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    inputs = {each.name: batch[each.name].numpy() for each in session.get_inputs()}
    np.testing.assert_allclose(session.run(None, inputs)[0], expected.detach(), rtol=1e-4, atol=1e-4)


def test_an_ensemble_goes_on_training_by_the_loss_of_its_answer(tiny_config: Any) -> None:
    models, processor = build(tiny_config, TimesCLIPForRegression, 2, preset="small")
    joined = join_models(models)
    labels = torch.arange(6.0)[:, None]
    output = joined(**processor(SERIES), labels=labels)
    torch.testing.assert_close(output.loss, torch.mean((output.predictions - labels) ** 2))
    output.loss.backward()
    assert all(p.grad is not None for p in joined.members[0].head.parameters())


def test_models_that_differ_are_not_joined(tiny_config: Any) -> None:
    one, _ = build(tiny_config, TimesCLIPForRegression, 1, preset="small")
    other, _ = build(tiny_config, TimesCLIPForRegression, 1, preset="small", projection_dim=32)
    with pytest.raises(ValueError, match="one configuration"):
        join_models([*one, *other])
    with pytest.raises(ValueError, match="at least one"):
        join_models([])
    pair = join_models([*one, *one])
    with pytest.raises(ValueError, match="is an ensemble itself"):
        join_models([pair, pair])


def test_features_of_one_tower_are_not_those_of_an_ensemble(tiny_config: Any) -> None:
    models, processor = build(tiny_config, TimesCLIPForRegression, 2, preset="probe")
    joined = join_models(models)
    with pytest.raises(ValueError, match="as an ensemble several"):
        FeatureCache(joined, processor)
    batch = dict(processor(SERIES))
    del batch["pixel_values"]
    width = joined.timesclip.vision_tower.config.hidden_size
    with pytest.raises(ValueError, match="the models of an ensemble have their own"):
        joined(**batch, vision_features=torch.zeros(6, 3, width))


def test_a_forecaster_stands_alone(tiny_config: Any) -> None:
    with pytest.raises(ValueError, match="a forecaster stands alone"):
        TimesCLIPForPrediction(tiny_config("full", ensemble_size=2))
