# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The forecaster: its units, its losses, what each part adds, and what leads to a forecast."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForTimeSeriesPrediction

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
)

HORIZON = 5


@pytest.fixture
def make_forecaster(tiny_config, enlarge):
    """`make_forecaster(preset, **overrides)`: a model in eval mode, its weights large enough to tell."""

    def build(preset="paper", **overrides):
        torch.manual_seed(0)
        config = tiny_config(preset, **{"prediction_length": HORIZON, **overrides})
        return enlarge(TimesCLIPForPrediction(config))

    return build


@pytest.fixture
def make_forecast_batch(make_batch):
    """`make_forecast_batch(config)`: what a processor returns, with labels (B, H, V)."""

    def build(config, batch_size=4):
        batch = make_batch(config, batch_size)
        batch["labels"] = torch.randn(batch_size, config.prediction_length, config.num_variates)
        return batch

    return build


# Units


def test_forecasts_are_the_heads_output_times_scale_plus_loc(make_forecaster, make_forecast_batch):
    model = make_forecaster()
    batch = make_forecast_batch(model.config)
    seen = {}
    model.head.register_forward_hook(lambda module, inputs, output: seen.update(scaled=output))
    predictions = model(**batch).predictions
    assert predictions.shape == (4, HORIZON, 3)
    for sample in range(4):
        for variate in range(3):
            expected = (
                seen["scaled"][sample, variate] * batch["scale"][sample, variate] + batch["loc"][sample, variate]
            )
            torch.testing.assert_close(predictions[sample, :, variate], expected)


@pytest.mark.parametrize("preset", ["paper", "full", "text_only", "vision_only"])
def test_forecasts_follow_a_shifted_and_scaled_series_under_instance_scaling(make_forecaster, preset):
    model = make_forecaster(preset)
    processor = TimesCLIPProcessor.from_config(model.config, scaling="instance")
    values = torch.randn(6, 12, 3, dtype=torch.float64)
    factor, shift = torch.tensor([2.0, 0.001, 30.0]), torch.tensor([5.0, -0.2, 1000.0])
    with torch.no_grad():
        original = model(**processor(values)).predictions
        moved = model(**processor(values * factor + shift)).predictions
    expected = original * factor + shift
    assert ((moved - expected).abs() / factor).max() < 1e-3  # in units of the series' own spread; fp32 level of 1000
    assert (original - values.mean(dim=1, keepdim=True).float()).abs().max() > 0.1  # and it does say something


def test_a_saved_forecaster_says_the_same_after_loading_by_auto_class(make_forecaster, make_forecast_batch, tmp_path):
    model = make_forecaster(learn_logit_scale=True, variate_mean=[0.0, 1.0, 2.0], variate_std=[1.0, 2.0, 3.0])
    model.save_pretrained(tmp_path)
    reloaded = AutoModelForTimeSeriesPrediction.from_pretrained(tmp_path).eval()
    assert type(reloaded) is TimesCLIPForPrediction
    batch = make_forecast_batch(model.config)
    with torch.no_grad():
        torch.testing.assert_close(reloaded(**batch).predictions, model(**batch).predictions, rtol=0, atol=0)
        torch.testing.assert_close(reloaded(**batch).loss, model(**batch).loss, rtol=0, atol=0)


# Losses


def by_hand(kind, predictions, labels, unit):
    errors = (predictions - labels) / unit
    if kind == "mse":
        return np.nanmean(errors**2)
    if kind == "mae":
        return np.nanmean(np.abs(errors))
    return np.nanmean(2 * np.abs(predictions - labels) / (np.abs(predictions) + np.abs(labels)))


@pytest.mark.parametrize("kind", ["mse", "mae", "smape"])
@pytest.mark.parametrize("error_scale", ["dataset", "instance"])
def test_the_task_loss_equals_numpy_over_the_observed_labels(make_forecaster, make_forecast_batch, kind, error_scale):
    statistics = {"variate_mean": [0.0, 1.0, 2.0], "variate_std": [0.5, 2.0, 3.0]}
    model = make_forecaster(loss=kind, error_scale=error_scale, **statistics)
    batch = make_forecast_batch(model.config)
    batch["labels"][0, 1, 2] = torch.nan
    batch["labels"][3, :, 0] = torch.nan
    with torch.no_grad():
        outputs = model(**batch)
    unit = np.array([0.5, 2.0, 3.0]) if error_scale == "dataset" else batch["scale"].numpy()[:, None]
    expected = by_hand(kind, outputs.predictions.double().numpy(), batch["labels"].double().numpy(), unit)
    assert float(outputs.task_loss) == pytest.approx(expected, rel=1e-4)
    assert float(outputs.loss) == pytest.approx(expected + 0.1 * float(outputs.alignment_loss), rel=1e-4)


@pytest.mark.parametrize("kind", ["mse", "mae", "smape"])
def test_missing_labels_leave_finite_gradients(make_forecaster, make_forecast_batch, kind):
    model = make_forecaster("text_only", loss=kind)
    batch = make_forecast_batch(model.config)
    batch["labels"][:, :, 1] = torch.nan
    model(**batch).loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    batch["labels"][:] = torch.nan
    assert model(**batch).task_loss.item() == 0.0


def test_a_level_far_above_its_changes_does_not_eat_the_loss(make_forecaster, make_forecast_batch):
    model = make_forecaster("text_only", error_scale="instance")
    batch = make_forecast_batch(model.config)
    with torch.no_grad():
        near = model(**batch).task_loss
        far = {**batch, "loc": batch["loc"] + 2**16, "labels": batch["labels"] + 2**16}
        torch.testing.assert_close(model(**far).task_loss, near, rtol=0.02, atol=0)


def test_labels_of_another_shape_are_refused(make_forecaster, make_forecast_batch):
    model = make_forecaster("text_only")
    batch = make_forecast_batch(model.config)
    for shape in [(4, HORIZON), (4, 3, HORIZON), (4, HORIZON + 1, 3), (4, HORIZON, 1)]:
        with pytest.raises(ValueError, match=r"labels.*expected \(batch, 5, 3\)"):
            model(**{**batch, "labels": torch.zeros(shape)})
    with pytest.raises(ValueError, match="labels have 1 samples, the series 4"):
        model(**{**batch, "labels": torch.zeros(1, HORIZON, 3)})
    with pytest.raises(ValueError, match="scale"):
        model(**{**batch, "scale": None})
    for name in ("loc", "scale", "variate_values"):
        with pytest.raises(ValueError, match=f"one row for each sample.*'{name}': 1"):
            model(**{**batch, name: batch[name][:1]})
    with pytest.raises(ValueError, match="variate_values has shape"):
        model(**{**batch, "variate_values": batch["variate_values"][:, :1]})


# Parts


def parts_of(model):
    return {name.split(".")[1] if name.startswith("timesclip.") else name.split(".")[0] for name in model.state_dict()}


@pytest.mark.parametrize(
    ("preset", "fields", "expected"),
    [
        (
            "paper",
            {},
            "vision_tower vision_projection text_tower tokenizer text_projection variate_tokenizer variate_selection "
            "head alignment",
        ),
        ("text_only", {}, "text_tower tokenizer text_projection variate_selection head"),
        ("text_only", {"variate_selection": None}, "text_tower tokenizer head"),
        ("vision_only", {}, "vision_tower vision_projection variate_selection head"),
        ("medium", {}, "vision_tower vision_projection text_tower tokenizer text_projection variate_selection head"),
        ("no_selection", {}, "vision_tower vision_projection text_tower tokenizer text_projection head"),
    ],
)
def test_a_part_that_is_off_has_no_parameters(make_forecaster, preset, fields, expected):
    assert parts_of(make_forecaster(preset, **fields)) == set(expected.split())


@pytest.mark.parametrize("fusion", ["replace_last", "replace_first", "concat"])
@pytest.mark.parametrize("preset", ["paper", "forecast", "full", "no_selection", "medium", "text_only", "vision_only"])
def test_every_parameter_learns(make_forecaster, make_forecast_batch, preset, fusion):
    model = make_forecaster(preset, fusion=fusion, freeze_vision=False).train()
    model(**make_forecast_batch(model.config)).loss.backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A softmax does not see a constant that all keys share.
    assert [name for name in idle if not name.endswith(("k_proj.bias", "key.bias"))] == []


def test_a_vision_branch_without_any_effect_is_refused(tiny_config):
    with pytest.raises(ValueError, match="no effect.*vision_config=None"):
        TimesCLIPForPrediction(tiny_config("paper", alignment=None))
    with pytest.raises(StrictDataclassError, match="cross_attention.*text_config"):
        tiny_config("vision_only", variate_selection="cross_attention")


def test_plots_only_teach_in_the_papers_form(make_forecaster, make_forecast_batch):
    model = make_forecaster("paper")
    batch = make_forecast_batch(model.config)
    with torch.no_grad():
        expected = model(**batch)
        del batch["labels"]
        other = model(**{**batch, "pixel_values": torch.zeros_like(batch["pixel_values"])})
        asked = []
        model.timesclip.vision_tower.register_forward_hook(lambda *_: asked.append(1))
        del batch["pixel_values"]
        without = model(**batch)
    assert expected.image_embeds is not None and without.image_embeds is None and not asked
    torch.testing.assert_close(without.predictions, expected.predictions, rtol=0, atol=0)
    torch.testing.assert_close(other.predictions, expected.predictions, rtol=0, atol=0)


def test_nothing_is_left_of_a_vision_model_without_its_vision(tiny_config, make_batch):
    model = TimesCLIPModel(tiny_config("vision_only"))
    batch = make_batch(model.config)
    del batch["labels"]
    with pytest.raises(ValueError, match="leaves nothing"):
        model(**batch, use_vision=False)


def test_gated_selection_lets_plots_reach_the_forecast(make_forecaster, make_forecast_batch):
    model = make_forecaster("medium")
    batch = make_forecast_batch(model.config)
    del batch["labels"]
    with torch.no_grad():
        seen = model(**batch).predictions
        blank = model(**{**batch, "pixel_values": torch.zeros_like(batch["pixel_values"])}).predictions
    assert (seen - blank).abs().max() > 1e-3
    del batch["pixel_values"]
    with pytest.raises(ValueError, match="pixel_values"):
        model(**batch)


def test_variates_inform_each_other_only_through_selection(make_forecaster, make_forecast_batch):
    for selection, expected in ((None, False), ("cross_attention", True), ("gated", True)):
        model = make_forecaster("text_only", variate_selection=selection)
        batch = make_forecast_batch(model.config)
        moved = {name: tensor.clone() for name, tensor in batch.items()}
        moved["variate_values"][:, 0] += 1
        moved["patch_values"][:, 0] += 1
        with torch.no_grad():
            change = (model(**moved).predictions - model(**batch).predictions).abs().amax(dim=(0, 1))
        assert change[0] > 1e-3
        assert (change[2] > 1e-5) == expected


@pytest.mark.parametrize(("fusion", "unread"), [("replace_last", -1), ("replace_first", 0), ("concat", None)])
def test_the_selected_embed_takes_the_place_that_fusion_names(make_forecaster, fusion, unread):
    model = make_forecaster("paper", fusion=fusion)
    tokens = torch.randn(2, 3, model.config.num_patches + 1, 32)
    selected = torch.randn(2, 3, 16)
    before = model.head(tokens, None, selected, None)
    for position in range(tokens.shape[2]):
        moved = tokens.clone()
        moved[:, :, position] += 1
        silent = torch.equal(model.head(moved, None, selected, None), before)
        assert silent == (unread is not None and position == unread % tokens.shape[2])
    assert not torch.equal(model.head(tokens, None, selected + 1, None), before)


def test_the_forecast_head_is_one_linear_map_shared_by_all_variates(make_forecaster):
    model = make_forecaster("paper")
    tokens, selected = torch.randn(2, 3, model.config.num_patches + 1, 32), torch.randn(2, 3, 16)
    weight, bias = (model.head.projection.weight.detach().numpy(), model.head.projection.bias.detach().numpy())
    answer = model.head(tokens, None, selected, None).detach().numpy()
    for variate in range(3):
        flat = np.concatenate([tokens[:, variate, :-1].reshape(2, -1).numpy(), selected[:, variate].numpy()], axis=1)
        np.testing.assert_allclose(answer[:, variate], flat @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_with_a_linear_shortcut_training_starts_from_repeating_the_last_value(tiny_config):
    torch.manual_seed(0)
    config = tiny_config("paper", prediction_length=HORIZON, linear_shortcut=True)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance")
    model = TimesCLIPForPrediction(config).eval()
    values = np.random.default_rng(0).normal(100, 20, size=(4, 12, 3))
    with torch.no_grad():
        predictions = model(**processor(values)).predictions.numpy()
    np.testing.assert_allclose(predictions, np.repeat(values[:, -1:], HORIZON, axis=1), rtol=1e-5)


def test_the_linear_shortcut_is_nlinear(make_forecaster, make_forecast_batch):
    model = make_forecaster("text_only", linear_shortcut=True)
    series = torch.randn(2, 3, 12)
    tokens, selected = torch.zeros(2, 3, model.config.num_patches + 1, 32), torch.zeros(2, 3, 16)
    layer = model.head.shortcut
    last = series[..., -1:].numpy()
    expected = (series.numpy() - last) @ layer.weight.detach().numpy().T + layer.bias.detach().numpy() + last
    answer = model.head(tokens, None, selected, series) - model.head.projection.bias
    np.testing.assert_allclose(answer.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="variate_values"):
        model(**{**make_forecast_batch(model.config), "variate_values": None})


# The published shape


def test_the_paper_preset_has_the_published_number_of_parameters():
    config = TimesCLIPConfig.from_preset("paper", num_variates=8, context_length=96, prediction_length=96)
    with torch.device("meta"):
        model = TimesCLIPForPrediction(config)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    word_embeddings = 49408 * 512  # counted by the paper, left out here
    assert (trained + word_embeddings) == pytest.approx(65.9e6, rel=0.02)
    assert (total + word_embeddings) == pytest.approx(153.3e6, rel=0.02)


def test_the_base_model_reads_the_same_checkpoint(make_forecaster, make_forecast_batch, tmp_path):
    model = make_forecaster("paper")
    model.save_pretrained(tmp_path)
    base, report = TimesCLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    batch = make_forecast_batch(model.config)
    del batch["labels"]
    with torch.no_grad():
        embeds = base.eval()(**batch)
        torch.testing.assert_close(embeds.selected_embeds, model(**batch).selected_embeds, rtol=0, atol=0)
    assert embeds.text_tokens.shape == (4, 3, model.config.num_patches + 1, 32)


def test_in_half_precision_the_start_still_repeats_the_last_value(tiny_config):
    config = tiny_config("forecast", prediction_length=HORIZON)
    model = TimesCLIPForPrediction(config).to(torch.bfloat16).eval()
    processor = TimesCLIPProcessor.from_config(config, scaling="none")
    values = np.random.default_rng(0).normal(1000, 1, size=(4, 12, 3))
    with torch.no_grad():
        predictions = model(**processor(values)).predictions.float().numpy()
    np.testing.assert_allclose(predictions, np.repeat(values[:, -1:], HORIZON, axis=1), rtol=1e-5)


# The paper's selection and the losses, for numbers about a series


@pytest.mark.parametrize("preset", ["paper", "forecast"])
def test_cross_attention_selection_serves_regression_too(tiny_config, make_batch, tmp_path, preset):
    torch.manual_seed(0)
    model = TimesCLIPForRegression(tiny_config(preset, freeze_vision=False))
    batch = make_batch(model.config)
    outputs = model(**batch, output_attentions=True)
    assert outputs.predictions.shape == (4, 1) and outputs.selected_embeds.shape == (4, 3, 16)
    torch.testing.assert_close(outputs.selection_attentions.sum(dim=-1), torch.ones(4, 4, 3))
    outputs.loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval().save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(**batch).predictions
        reloaded = TimesCLIPForRegression.from_pretrained(tmp_path).eval()(**batch).predictions
        moved = model(**{**batch, "variate_values": batch["variate_values"] + 1}).predictions
    torch.testing.assert_close(reloaded, expected, rtol=0, atol=0)
    assert not torch.equal(moved, expected)  # the whole series are read
    with pytest.raises(ValueError, match="variate_values"):
        model(**{**batch, "variate_values": None})


@pytest.mark.parametrize("kind", ["mse", "mae", "smape"])
def test_regression_losses_equal_numpy_on_standardised_targets(tiny_config, make_batch, kind):
    torch.manual_seed(0)
    model = TimesCLIPForRegression(tiny_config("text_only", loss=kind, target_mean=[5.0], target_std=[2.0])).eval()
    batch = make_batch(model.config)
    with torch.no_grad():
        outputs = model(**batch)
    expected = by_hand(kind, outputs.predictions.double().numpy(), batch["labels"].double().numpy(), 2.0)
    assert outputs.task_loss.item() == pytest.approx(expected, rel=1e-4)
