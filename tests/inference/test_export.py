# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Exported graphs give what the model gives, for batches of any size, whatever patches are masked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_TEXT, TINY_VISION

from timesclip_hf import (
    NumpyProcessor,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    export_onnx,
    export_program,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

STATISTICS: dict[str, Any] = {"variate_mean": [0.0, 1.0, 2.0], "variate_std": [1.0, 2.0, 3.0]}
# Model, answer, preset, fields, and the inputs that this model's answer depends on.
CASES: list[tuple[Any, str, str, dict[str, Any], list[str]]] = [
    (
        TimesCLIPForRegression, "predictions", "full", {"head": "linear", "target_mean": [5.0], "target_std": [2.0]},
        ["pixel_values", "patch_values", "patch_mask"],
    ),
    (
        TimesCLIPForClassification, "logits", "text_only",
        {"head": "pooled", "num_labels": 3, "num_static_features": 2, "use_loc_scale": True, **STATISTICS},
        ["patch_values", "patch_mask", "loc", "scale", "static_values"],
    ),
    (
        TimesCLIPForRegression, "predictions", "late",
        {"patch_tokenizer": "resampled", "linear_shortcut": True, "text_pooling": "cls_mean",
         "branch_weights": [0.2, 0.3, 0.5], "num_targets": 2},
        ["pixel_values", "patch_values", "patch_mask", "variate_values"],
    ),
    (
        TimesCLIPForClassification, "logits", "late", {"num_labels": 3, "head_reads": "features"},
        ["pixel_values", "patch_values", "patch_mask", "variate_values"],
    ),
    (
        TimesCLIPForPrediction, "predictions", "paper", {},
        ["patch_values", "patch_mask", "variate_values", "loc", "scale"],
    ),
    (
        TimesCLIPForPrediction, "predictions", "vision_only", {"variate_selection": None},
        ["pixel_values", "loc", "scale"],
    ),
]  # fmt: skip


@pytest.fixture
def build(tiny_config: Any, enlarge: Any) -> Callable[..., tuple[Any, TimesCLIPProcessor]]:
    """`build(model_class, preset, **fields)`: a model whose weights tell, and its processor."""

    def make(model_class: Any, preset: str = "full", **fields: Any) -> tuple[Any, TimesCLIPProcessor]:
        torch.manual_seed(0)
        config = tiny_config(preset, prediction_length=4, **fields)
        size = {"image_size": 32} if config.vision_config is not None else {}
        return enlarge(model_class(config)), TimesCLIPProcessor.from_config(config, scaling="instance", **size)

    return make


def batches(model: Any, make_batch: Any) -> list[dict[str, torch.Tensor]]:
    """One, two and five samples, with masked patches; all but the CLS token of one series is masked."""
    made = [make_batch(model.config, batch_size=size, seed=size) for size in (1, 2, 5)]
    for batch in made:
        del batch["labels"]
        batch["patch_mask"][:, 1, 2:] = False
        batch["patch_mask"][-1, 0] = False
    return made


@pytest.mark.parametrize(("model_class", "answer", "preset", "fields", "names"), CASES)
def test_onnxruntime_gives_what_the_model_gives(
    build: Any, make_batch: Any, tmp_path: Path, model_class: Any, answer: str, preset: str, fields: Any, names: Any
) -> None:
    model, processor = build(model_class, preset, **fields)
    path = export_onnx(model, processor, tmp_path / "served" / "model.onnx")
    assert {file.name for file in path.parent.iterdir()} == {"model.onnx", "processor_config.json"}
    weights = [weight.name for weight in onnx.load(path).graph.initializer]
    assert any("vision_tower" in name for name in weights) == ("pixel_values" in names)
    session = onnxruntime.InferenceSession(path)
    assert sorted(key.name for key in session.get_inputs()) == sorted(names)
    for batch in batches(model, make_batch):
        with torch.no_grad():
            expected = getattr(model(**batch), answer)
        (found,) = session.run([answer], {key.name: batch[key.name].numpy() for key in session.get_inputs()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_int8_rounds_the_towers_and_nothing_else(build: Any, make_batch: Any, tmp_path: Path) -> None:
    model, processor = build(TimesCLIPForRegression, "late", head="linear", alignment=None, variate_selection=None)
    path = export_onnx(model, processor, tmp_path / "model.onnx", int8=True)
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulInteger") == 24  # of two towers with two layers: q, k, v, output, two of the MLP
    rounded = {weight.name for weight in graph.initializer if weight.data_type == onnx.TensorProto.INT8}
    assert not [name for name in rounded if "head" in name or "tokenizer" in name]
    session = onnxruntime.InferenceSession(path)
    for batch in batches(model, make_batch):
        with torch.no_grad():
            expected = model(**batch).predictions
        (found,) = session.run(None, {key.name: batch[key.name].numpy() for key in session.get_inputs()})
        assert np.isfinite(found).all() and not np.array_equal(found, expected.numpy())
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0.2, atol=0.2)


TOWERS = [(family, "clip") for family in TINY_VISION] + [("clip", family) for family in TINY_TEXT]


@pytest.mark.parametrize(("vision", "text"), TOWERS)
def test_a_program_of_every_family_takes_any_batch(
    build: Any, tiny_towers: Any, make_batch: Any, vision: str, text: str
) -> None:
    model, processor = build(TimesCLIPForRegression, **tiny_towers(vision, text))
    program = export_program(model, processor).module()
    for batch in batches(model, make_batch):
        with torch.no_grad():
            expected = model(**batch).predictions
            found = program(**{name: batch[name] for name in ("pixel_values", "patch_values", "patch_mask")})
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_features_take_the_place_of_images(build: Any, make_batch: Any) -> None:
    model, processor = build(TimesCLIPForPrediction)
    exported = export_program(model, processor, vision_features=True)
    batch = batches(model, make_batch)[-1]
    with torch.no_grad():
        expected = model(**batch).predictions
        batch["vision_features"] = model.timesclip.get_vision_features(batch["pixel_values"])
        names = ("vision_features", "patch_values", "patch_mask", "loc", "scale")
        found = exported.module()(**{name: batch[name] for name in names})
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_training_mode_is_as_before(build: Any) -> None:
    model, processor = build(TimesCLIPForRegression, "text_only")
    export_program(model.train(), processor)
    assert model.training and model.head.training and model.timesclip.text_tower.training


def test_what_cannot_be_exported_says_why(build: Any) -> None:
    model, processor = build(TimesCLIPForPreTraining)
    with pytest.raises(ValueError, match="A TimesCLIPForPreTraining cannot be exported"):
        export_program(model, processor)
    model, processor = build(TimesCLIPForRegression, "text_only")
    with pytest.raises(ValueError, match="does not depend on images"):
        export_program(model, processor, vision_features=True)
    model, processor = build(TimesCLIPForRegression)
    processor.image_size = None
    with pytest.raises(ValueError, match="the processor draws none"):
        export_program(model, processor)
    with pytest.raises(ValueError, match="the processor has context_length=7"):
        export_program(model, TimesCLIPProcessor(7, 4, 2, scaling="none"))
    unfitted = TimesCLIPProcessor.from_config(model.config, scaling="dataset", image_size=32)
    with pytest.raises(ValueError, match="never fitted"):
        export_program(model, unfitted)


def test_a_graph_forecasts_large_levels_to_their_spread(build: Any, tmp_path: Path) -> None:
    model, _ = build(TimesCLIPForPrediction, "forecast")
    moves = np.random.default_rng(0).integers(-40, 40, size=(8, 12, 3)) * 0.25
    found = []
    for level in (0.0, 123456789.0):
        processor = TimesCLIPProcessor.from_config(model.config, scaling="instance").fit(moves + level)
        session = onnxruntime.InferenceSession(export_onnx(model, processor, tmp_path / f"{level}" / "model.onnx"))
        batch = NumpyProcessor.from_pretrained(tmp_path / f"{level}")(moves[:3] + level)
        (forecast,) = session.run(None, {key.name: batch[key.name] for key in session.get_inputs()})
        found.append(forecast - level)
    assert [forecast.dtype for forecast in found] == [np.float32, np.float64]
    np.testing.assert_allclose(*found, atol=1e-5 * moves.std())
