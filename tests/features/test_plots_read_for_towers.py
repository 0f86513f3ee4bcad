# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Plots that are drawn as the tower reads them: what it says of all images at once, for the memory of a few."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import SERIES
from transformers import pipeline

from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor
from timesclip_hf.features.plots import encode_plots, read_plots

VALUES = np.random.default_rng(0).normal(size=(5, 12, 3)).cumsum(axis=1)


def build(tiny_config: Any, **fields: Any) -> tuple[Any, TimesCLIPProcessor, dict[str, torch.Tensor]]:
    view = {name: fields.pop(name) for name in ("view",) if name in fields}
    torch.manual_seed(0)
    config: TimesCLIPConfig = tiny_config(**{"freeze_vision": True, "vision_chunk_size": 4, **fields})
    processor = TimesCLIPProcessor.from_config(config, **view).fit(VALUES, labels=VALUES[:, -1, 0])
    model = TimesCLIPForRegression(processor.complete_config(config)).eval()
    return model, processor, dict(processor(VALUES, draw=False))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images were drawn at once, each time."""
    sizes: list[int] = []
    draw = TimesCLIPProcessor.draw

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        images = draw(self, *args, **kwargs)
        sizes.append(images.shape[:-3].numel())
        return images

    monkeypatch.setattr(TimesCLIPProcessor, "draw", counting)
    return sizes


@pytest.mark.parametrize("fields", [{}, {"layout": "grid"}, {"view": ["line", "gasf", "recurrence"]}])
def test_some_images_are_those_of_all(tiny_config, fields):
    _, processor, batch = build(tiny_config, **fields)
    whole = processor.draw(batch["plot_values"]).flatten(0, 1)
    for part in (slice(0, 2), slice(1, 5), slice(3, 100)):
        assert torch.equal(processor.draw(batch["plot_values"], images=part), whole[part])


def test_some_images_of_a_processor_without_any_are_refused_as_all_are():
    processor = TimesCLIPProcessor(context_length=12, patch_length=4, patch_stride=2, image_size=None)
    for part in (None, slice(0, 2)):
        with pytest.raises(ValueError, match="draws no images"):
            processor.draw(torch.rand(2, 3, 12), images=part)


@pytest.mark.parametrize(
    "fields", [{}, {"layout": "grid"}, {"vision_pooling": "cls_mean"}, {"vision_feature_layer": 1}]
)
def test_features_of_plots_are_those_of_their_images(tiny_config, drawn, fields):
    model, processor, batch = build(tiny_config, **fields)
    found = encode_plots(model.base_model.vision_tower, model.config, processor, batch["plot_values"])
    assert max(drawn) <= 4 and sum(drawn) == 5 * model.config.num_images
    with torch.no_grad():
        expected = model.base_model.get_vision_features(processor.draw(batch["plot_values"]))
    assert torch.equal(found, expected)


def test_ink_alone_is_read_of_more_images_at_once_and_says_the_same(tiny_config, drawn):
    model, processor, batch = build(tiny_config, blank_patches="drop", vision_chunk_size=1)
    found = encode_plots(model.base_model.vision_tower, model.config, processor, batch["plot_values"])
    assert drawn == [8, 7]
    with torch.no_grad():
        expected = model.base_model.get_vision_features(processor.draw(batch["plot_values"]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_tower_that_learns_is_given_images_unless_nothing_can_learn(tiny_config):
    model, processor, batch = build(tiny_config, freeze_vision=False)
    learning, answering = dict(batch), dict(batch)
    read_plots(model, processor, learning)
    assert "pixel_values" in learning and "vision_features" not in learning
    with torch.no_grad():
        read_plots(model, processor, answering)
        assert "pixel_values" not in answering
        assert torch.equal(model(**answering).predictions, model(**learning).predictions)
        read_plots(model.train(), processor, batch)  # with dropout the model itself must ask
    assert "pixel_values" in batch


@pytest.mark.parametrize("fields", [{}, {"ensemble_size": 2, "alignment": None}])
def test_pipelines_answer_wide_series_without_all_of_their_images(tiny_config, drawn, fields):
    model, processor, batch = build(tiny_config, **fields)
    with torch.no_grad():
        expected = model(**processor(VALUES)).predictions[:, 0].tolist()
    drawn.clear()
    found = pipeline("time-series-regression", model=model, processor=processor, device="cpu")(VALUES)
    assert [row["prediction"] for row in found] == pytest.approx(expected, abs=1e-6)
    assert max(drawn) == (15 if fields else 4)  # the models of an ensemble have towers of their own


def test_a_wide_sample_of_variates_is_drawn_in_the_colours_of_the_whole(tiny_config):
    wide = {**SERIES, "num_variates": 30}
    values = np.random.default_rng(1).normal(size=(2, 12, 30))
    config = tiny_config(**wide, freeze_vision=True, vision_chunk_size=7)
    processor = TimesCLIPProcessor.from_config(config).fit(values)
    plots = processor(values, draw=False)["plot_values"]
    whole = processor.draw(plots).flatten(0, 1)
    assert torch.equal(torch.cat([processor.draw(plots, images=slice(k, k + 7)) for k in range(0, 60, 7)]), whole)
