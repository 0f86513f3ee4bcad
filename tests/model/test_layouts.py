# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One image for all variates: where each plot stands, what of the model it changes, and which parts must agree."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from timesclip_hf import (
    FeatureCache,
    NumpyProcessor,
    TimesCLIPDataCollator,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    explain,
    export_program,
    info_nce,
    render_line,
)
from timesclip_hf.metrics.retrieval import retrieval_accuracy
from timesclip_hf.model.branches import feature_width
from timesclip_hf.model.preprocessing import draw_plots, grid_shape
from timesclip_hf.model.rendering import variate_colors

SERIES = np.random.default_rng(0).normal(size=(5, 12, 3)).cumsum(axis=1)


@pytest.mark.parametrize(
    ("variates", "shape"), [(1, (1, 1)), (2, (2, 1)), (3, (2, 2)), (4, (2, 2)), (5, (3, 2)), (7, (3, 3)), (12, (4, 3))]
)
def test_the_grid_is_as_square_as_it_goes(variates: int, shape: tuple[int, int]) -> None:
    assert grid_shape(variates) == shape


def test_every_plot_stands_in_its_cell_and_the_rest_is_paper() -> None:
    settings = SimpleNamespace(
        image_size=[33, 40], view="line", layout="grid", line_width=1.5, background=0.8,
        image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.4, 0.3],
    )  # fmt: skip
    plots = torch.rand(2, 3, 12)
    images = draw_plots(plots, settings)
    assert images.shape == (2, 1, 3, 33, 40)
    mean, std = torch.tensor(settings.image_mean), torch.tensor(settings.image_std)
    colours = images[:, 0] * std[:, None, None] + mean[:, None, None]
    expected = torch.full_like(colours, 0.8)
    for variate, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        ink = render_line(plots[:, variate], 16, 20, line_width=1.5)[:, None]
        own = torch.from_numpy(variate_colors(3))[variate][:, None, None]
        cell = 0.8 + ink * (own - 0.8)
        expected[:, :, 16 * row : 16 * row + 16, 20 * column : 20 * column + 20] = cell
    torch.testing.assert_close(colours, expected, rtol=0, atol=1e-6)
    numbers = draw_plots(plots.numpy(), settings)
    np.testing.assert_allclose(numbers, images.numpy(), atol=1e-6)
    with pytest.raises(ValueError, match=r"would leave 4 x 6 pixels for each of 40 plots, and 8 are the least"):
        draw_plots(torch.rand(1, 40, 12), settings)


def pair(tiny_config: Any, model_class: Any = TimesCLIPForRegression, **fields: Any) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    no_dropout = {"head_dropout": [0.0] * 3, "text_dropout": 0.0, "selection_dropout": 0.0}
    config = tiny_config(**{**fields, **no_dropout}, layout="grid")
    labels = SERIES.mean(axis=(1, 2))[:, None] if model_class is TimesCLIPForRegression else None
    processor = TimesCLIPProcessor.from_config(config).fit(SERIES, labels=labels)
    assert processor.layout == "grid"
    model = model_class(processor.complete_config(config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("alignment."):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    batch = processor(SERIES, labels=labels)
    return model.eval(), processor, dict(batch)


JOINT: list[dict[str, Any]] = [
    {},
    {"preset": "no_selection"},
    {"preset": "vision_only"},
    {"head": "pooled"},
    {"head": "linear", "head_reads": "features", "alignment": None, "variate_selection": None},
    {"use_loc_scale": True},
    {"preset": "vision_only", "use_loc_scale": True},
    {"variate_selection": "cross_attention"},
]
LATE: list[dict[str, Any]] = [
    {"preset": "late"},
    {"preset": "late", "variate_selection": "gated", "use_loc_scale": True, "head": "mlp"},
    {"preset": "late", "head": "pooled", "variate_selection": "gated", "alignment": "hybrid"},
    {"preset": "probe"},
]


@pytest.mark.parametrize("fields", [*JOINT, *LATE], ids=str)
def test_every_form_of_a_model_reads_one_image_learns_and_comes_back(
    fields: dict[str, Any], tiny_config: Any, tmp_path: Any
) -> None:
    model, _, batch = pair(tiny_config, **fields)
    assert batch["pixel_values"].shape == (5, 1, 3, 32, 32)
    outputs = model(**batch, output_attentions=model.config.variate_selection is not None)
    assert outputs.vision_features.shape == (5, 1, 32) and outputs.predictions.shape == (5, 1)
    if fields.get("variate_selection") == "gated":
        assert outputs.selection_attentions.shape[-1] == 3
    again = model(**{**batch, "vision_features": outputs.vision_features, "pixel_values": None})
    torch.testing.assert_close(again.predictions, outputs.predictions)
    if fields.get("preset") != "probe":  # whose heads are fitted in closed form
        outputs.loss.backward()
        learnt = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        assert any("vision_projection" in name or "head" in name for name in learnt)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(**batch).predictions, model(**batch).predictions)
    features = model.base_model.get_features(**batch)
    assert features.shape == (5, 3, feature_width(model.config))
    assert torch.equal(features[:, 0, :32], features[:, 2, :32])


@pytest.mark.parametrize("mode", ["variate", "global", "hybrid"])
def test_the_image_is_aligned_with_the_mean_of_the_texts(mode: str, tiny_config: Any) -> None:
    model, _, batch = pair(tiny_config, TimesCLIPForPreTraining, alignment=mode)
    batch.pop("labels", None)
    with torch.no_grad():
        outputs = model(**batch)
        found = retrieval_accuracy(outputs.image_embeds, outputs.text_embeds)
        assert found == retrieval_accuracy(outputs.image_embeds, outputs.text_embeds.mean(dim=1, keepdim=True))
        expected = info_nce(outputs.image_embeds[:, 0], outputs.text_embeds.mean(dim=1), np.log(1 / 0.07))
    torch.testing.assert_close(outputs.loss, expected)


def test_classes_and_forecasts_read_the_image_too(tiny_config: Any) -> None:
    model, _, batch = pair(tiny_config, TimesCLIPForClassification, preset="late", num_labels=3)
    assert model(**batch, labels=torch.tensor([0, 1, 2, 0, 1])).logits.shape == (5, 3)
    model, _, batch = pair(tiny_config, TimesCLIPForPrediction, prediction_length=4)
    assert model(**batch, labels=torch.randn(5, 4, 3)).predictions.shape == (5, 4, 3)
    with pytest.raises(ValueError, match="layout='grid' shows all variates in one image, which cannot tell"):
        TimesCLIPForPrediction(tiny_config("vision_only", layout="grid"))


def test_processor_and_model_must_agree(tiny_config: Any) -> None:
    config = tiny_config(layout="grid")
    with pytest.raises(ValueError, match="layout='variate' contradicts the configuration's 'grid'"):
        TimesCLIPProcessor.from_config(config, layout="variate")
    processor = TimesCLIPProcessor.from_config(tiny_config()).fit(SERIES)
    with pytest.raises(ValueError, match="the processor has layout='variate', the model 'grid'"):
        processor.complete_config(config)
    with pytest.raises(ValueError, match="layout must be one of"):
        TimesCLIPProcessor(layout="stack")
    stacked = TimesCLIPProcessor.from_config(tiny_config(blank_patches="drop"), view="stacked").fit(SERIES)
    with pytest.raises(ValueError, match="view='stacked', which has no paper"):
        stacked.complete_config(tiny_config(blank_patches="drop"))


def test_ink_alone_the_cache_export_and_numpy_know_grids(tiny_config: Any, tmp_path: Any) -> None:
    model, processor, batch = pair(tiny_config, freeze_vision=True, blank_patches="drop", vision_chunk_size=2)
    data = Dataset.from_dict({"past_values": SERIES})
    cache = FeatureCache(model, processor, tmp_path)
    assert cache.add(data, progress=False) == 5
    plots = TimesCLIPDataCollator(processor, draw=False)([data[i] for i in range(5)])["plot_values"]
    with torch.no_grad():
        expected = model.timesclip.get_vision_features(batch["pixel_values"])
    torch.testing.assert_close(cache.store(plots), expected, rtol=1e-5, atol=1e-5)
    model.config.blank_patches = "keep"
    program = export_program(model, processor).module()
    inputs = {name: batch[name] for name in model.answer_inputs(model.config)}
    torch.testing.assert_close(program(**inputs), model(**batch).predictions, rtol=1e-4, atol=1e-5)
    processor.save_pretrained(tmp_path)
    numbers = NumpyProcessor.from_pretrained(tmp_path)(SERIES)["pixel_values"]
    np.testing.assert_allclose(numbers, batch["pixel_values"].numpy(), atol=1e-5)
    assert TimesCLIPProcessor.from_pretrained(tmp_path).layout == "grid"


def test_gradients_share_one_image_out_among_its_variates(tiny_config: Any) -> None:
    model, processor, _ = pair(tiny_config)
    found = explain(model, processor, list(SERIES)[:2], methods=["gradients"])
    change = found.samples["prediction"] - found.samples["baseline"]
    np.testing.assert_allclose(found.samples["attributed"], change, rtol=0.01, atol=1e-6)
    seen = found.attributions[found.attributions["path"] == "vision"]
    assert seen["variate"].nunique() == model.config.num_variates
