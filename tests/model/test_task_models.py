# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Late fusion, poolings, the linear path: every branch answers and learns on its own, and the mean is the answer."""

import numpy as np
import pytest
import torch
from conftest import TINY_VISION
from huggingface_hub.errors import StrictDataclassError

from timesclip_hf import TimesCLIPConfig, TimesCLIPForClassification, TimesCLIPForPrediction, TimesCLIPForRegression
from timesclip_hf.model.modeling_timesclip import MODELS
from timesclip_hf.model.towers import pool_tokens

LATE = {"branch_fusion": "late", "alignment": None, "linear_shortcut": True}


def build(tiny_config, enlarge, model_class=TimesCLIPForRegression, **fields):
    torch.manual_seed(0)
    return enlarge(model_class(tiny_config("full", **{**LATE, **fields})))


def test_the_answer_is_the_weighted_mean_of_what_the_branches_say(tiny_config, enlarge, make_batch):
    statistics = {"target_mean": [5.0, -1.0], "target_std": [2.0, 3.0], "num_targets": 2}
    model = build(tiny_config, enlarge, branch_weights=[0.5, 0.2, 0.3], **statistics)
    batch = make_batch(model.config)
    with torch.no_grad():
        out = model(**batch)
    assert model.config.branches == ["vision", "text", "series"]
    assert out.branch_predictions.shape == (4, 3, 2)
    expected = np.einsum("b,nbt->nt", [0.5, 0.2, 0.3], out.branch_predictions.double().numpy())
    np.testing.assert_allclose(out.predictions.numpy(), expected, rtol=1e-5)
    labels = batch["labels"].double().numpy()
    errors = (out.branch_predictions.double().numpy() - labels[:, None]) / [2.0, 3.0]
    np.testing.assert_allclose(out.loss.item(), (errors**2).mean(axis=(0, 2)).sum(), rtol=1e-5)
    np.testing.assert_allclose(out.task_loss.item(), (((expected - labels) / [2.0, 3.0]) ** 2).mean(), rtol=1e-5)


def test_classes_have_the_mean_of_the_probabilities(tiny_config, enlarge, make_batch):
    model = build(tiny_config, enlarge, TimesCLIPForClassification, num_labels=3, branch_weights=[0.7, 0.0, 0.3])
    batch = {**make_batch(model.config), "labels": torch.tensor([0, 2, 1, 1])}
    with torch.no_grad():
        out = model(**batch)
    each = out.branch_predictions.double().exp().numpy()
    np.testing.assert_allclose(each.sum(axis=-1), 1, rtol=1e-5)
    mean = 0.7 * each[:, 0] + 0.3 * each[:, 2]
    np.testing.assert_allclose(out.logits.softmax(-1).numpy(), mean, rtol=1e-5)
    rows = np.arange(4), batch["labels"].numpy()
    np.testing.assert_allclose(out.task_loss.item(), -np.log(mean[rows]).mean(), rtol=1e-5)
    np.testing.assert_allclose(out.loss.item(), -np.log(each[rows[0], :, rows[1]]).mean(axis=0).sum(), rtol=1e-5)


@pytest.mark.parametrize("reads", ["embeds", "features"])
@pytest.mark.parametrize("selection", ["gated", None])
def test_no_branch_learns_from_the_error_of_another(tiny_config, enlarge, make_batch, selection, reads):
    model = build(tiny_config, enlarge, freeze_vision=False, variate_selection=selection, head_reads=reads)
    batch = make_batch(model.config)
    said = model(**batch).branch_predictions
    parts = {"vision": ("vision",), "text": ("text", "tokenizer"), "series": ("head.series",)}
    for number, branch in enumerate(model.config.branches):
        model.zero_grad()
        said[:, number].square().sum().backward(retain_graph=True)
        learning = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        others = [part for name, own in parts.items() if name != branch for part in own]
        assert learning and not [name for name in learning if any(part in name for part in others)], branch


def test_weights_by_which_branches_count_are_saved(tiny_config, enlarge, make_batch, tmp_path):
    model = build(tiny_config, enlarge, branch_weights=[0.1, 0.2, 0.7], text_pooling="cls_mean", vision_pooling="mean")
    model.save_pretrained(tmp_path)
    loaded = TimesCLIPForRegression.from_pretrained(tmp_path)
    batch = make_batch(model.config)
    with torch.no_grad():
        assert torch.equal(loaded(**batch).predictions, model(**batch).predictions)
    assert loaded.config.branch_weights == [0.1, 0.2, 0.7]


@pytest.mark.parametrize("model_class", [TimesCLIPForRegression, TimesCLIPForClassification])
def test_a_linear_path_starts_at_zero_and_is_added_to_one_head(tiny_config, make_batch, model_class):
    plain = {"alignment": None, "num_static_features": 2, "num_labels": 3, "num_targets": 3}
    torch.manual_seed(0)
    model = model_class(tiny_config("full", linear_shortcut=True, **plain)).eval()
    batch = {**make_batch(model.config), "labels": None}
    with torch.no_grad():
        before = model(**batch)[0]
        weight = torch.randn_like(model.head.shortcut.layer.weight)
        model.head.shortcut.layer.weight.copy_(weight)
        change = model(**batch)[0] - before
    inputs = np.concatenate([batch["variate_values"].reshape(4, -1), batch["static_values"]], axis=1)
    np.testing.assert_allclose(change.numpy(), inputs @ weight.numpy().T, rtol=1e-4, atol=1e-5)
    assert "variate_values" in model.answer_inputs(model.config)


def test_a_linear_path_reads_levels_where_heads_do(tiny_config, enlarge, make_batch):
    levels = {"use_loc_scale": True, "variate_mean": [1.0, 2.0, 3.0], "variate_std": [1.0, 2.0, 4.0]}
    model = build(tiny_config, enlarge, **levels)
    batch = make_batch(model.config)
    with torch.no_grad():
        value = model(**batch).branch_predictions[:, 2, 0]
        scale, loc = batch["scale"].numpy() / [1, 2, 4], (batch["loc"].numpy() - [1, 2, 3]) / [1, 2, 4]
        inputs = np.concatenate([batch["variate_values"].reshape(4, -1), np.stack([loc, scale], -1).reshape(4, -1)], 1)
        path = model.head["series"].layer
        np.testing.assert_allclose(value, (inputs @ path.weight.numpy().T + path.bias.numpy())[:, 0], rtol=1e-4)


def test_means_leave_out_patches_with_nothing_observed(tiny_config, enlarge, make_batch):
    model = build(tiny_config, enlarge, text_pooling="cls_mean")
    batch = make_batch(model.config)
    batch["patch_mask"][1, 2, 3:] = False
    with torch.no_grad():
        out = model(**batch)
    tokens = out.text_tokens.numpy()
    np.testing.assert_array_equal(out.text_features[..., :32].numpy(), tokens[:, :, 0])
    mean = tokens[:, :, 1:].mean(axis=2)
    mean[1, 2] = tokens[1, 2, 1:4].mean(axis=0)
    np.testing.assert_allclose(out.text_features[..., 32:].numpy(), mean, atol=1e-6)
    batch["patch_values"][1, 2, 3:] = 1e4  # what nobody observed has no effect
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).predictions, out.predictions)


@pytest.mark.parametrize("family", TINY_VISION)
def test_the_mean_of_an_images_tokens_is_read_in_every_family(tiny_config, tiny_towers, make_batch, family):
    towers = {"vision_config": tiny_towers(family, "clip")["vision_config"]}
    config = tiny_config("full", **{**LATE, **towers}, vision_pooling="mean", freeze_vision=False)
    model = TimesCLIPForRegression(config).eval()
    batch = make_batch(config)
    out = model(**batch)
    assert out.vision_features.shape == (4, 3, 32)
    tower, images = model.timesclip.vision_tower, batch["pixel_values"][:, 1]
    with torch.no_grad():
        states = tower(pixel_values=images).last_hidden_state
        if family == "clip_vision_model":
            states = tower.post_layernorm(states)
        states = states.flatten(2).transpose(1, 2) if family == "resnet" else states
        expected = states[:, family in ("clip_vision_model", "vit", "dinov2") :].mean(dim=1)
    torch.testing.assert_close(out.vision_features[:, 1], expected)
    out.loss.backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, "DDP refuses weights without gradients"


@pytest.mark.parametrize("family", ["siglip_vision_model", "swin", "resnet"])
def test_a_cls_token_that_is_not_there_cannot_be_read(tiny_config, tiny_towers, family):
    towers = {"vision_config": tiny_towers(family, "clip")["vision_config"]}
    with pytest.raises(StrictDataclassError, match="no CLS token; choose 'pooler' or 'mean'"):
        tiny_config("full", **towers, vision_pooling="cls_mean")


def test_poolings_by_hand():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]]])
    counts = torch.tensor([[True, True, False]])
    assert pool_tokens(tokens, None, "cls").tolist() == [[1, 2]]
    assert pool_tokens(tokens, None, "mean").tolist() == [[4, 6.5]]
    assert pool_tokens(tokens, counts, "cls_mean").tolist() == [[1, 2, 3, 4]]
    assert pool_tokens(tokens, None, "mean", has_cls=False).tolist() == [[3, 5]]


def test_features_are_not_projected_where_nothing_compares_them(tiny_config, make_batch):
    lean = TimesCLIPForRegression(tiny_config("full", **LATE, head_reads="features", variate_selection=None))
    assert lean.timesclip.vision_projection is None and lean.timesclip.text_projection is None
    aligned = {**LATE, "alignment": "hybrid", "head_reads": "features", "variate_selection": None}
    model = TimesCLIPForRegression(tiny_config("full", **aligned))
    out = model(**make_batch(model.config))
    labels = make_batch(model.config)["labels"]
    own = (out.branch_predictions - labels[:, None]).square().mean(dim=(0, 2)).sum()
    torch.testing.assert_close(out.loss, own + model.config.alignment_weight * out.alignment_loss)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"branch_weights": [0.5, 0.6, -0.1]}, "none below 0 and in sum 1"),
        ({"branch_weights": [0.5, 0.5]}, r"each of \['vision', 'text', 'series'\]"),
        ({"branch_weights": [1.0, 0, 0], "branch_fusion": "joint"}, "the branches share one head"),
        ({"variate_selection": "cross_attention"}, "asks the text tower"),
    ],
)
def test_what_does_not_fit_late_fusion_is_refused(tiny_config, fields, words):
    with pytest.raises(StrictDataclassError, match=words):
        tiny_config("full", **{**LATE, **fields})


def test_a_forecast_has_one_head(tiny_config):
    with pytest.raises(ValueError, match="for regression and classification"):
        TimesCLIPForPrediction(tiny_config("full", branch_fusion="late"))


def test_attention_between_variates_is_given_for_each_branch(tiny_config, enlarge, make_batch):
    model = build(tiny_config, enlarge)
    out = model(**make_batch(model.config), output_attentions=True)
    assert out.selection_attentions.shape == (4, 8, 3, 3)  # 4 heads of each
    assert out.selected_embeds.shape == (4, 3, 32)


def test_kernels_that_were_never_fitted_do_not_count(tiny_config, enlarge, make_batch):
    model = build(tiny_config, enlarge, linear_shortcut=False, kernel_shortcut=True)
    with torch.no_grad():
        out = model(**make_batch(model.config))
    torch.testing.assert_close(out.predictions, out.branch_predictions[:, :2].mean(dim=1))
    model.config.num_centers = 5  # as `fit_head` sets it
    with torch.no_grad():
        mean = model(**make_batch(model.config)).predictions
    torch.testing.assert_close(mean, out.branch_predictions.mean(dim=1))


@pytest.mark.parametrize(("num_series", "head"), [(50, "kernel"), (999, "kernel"), (1000, "mlp"), (10_000, "mlp")])
def test_auto_goes_by_the_number_of_labelled_series(num_series, head):
    config = TimesCLIPConfig.from_preset("auto", towers="tiny", num_series=num_series, num_variates=3)
    assert (config.head, config.branch_fusion) == (head, "late")


def test_auto_asks_for_the_number_of_labelled_series():
    with pytest.raises(ValueError, match="give num_series"):
        TimesCLIPConfig.from_preset("auto", towers="tiny", num_variates=3)
    with pytest.raises(ValueError, match="num_series is 0"):
        TimesCLIPConfig.from_preset("auto", towers="tiny", num_variates=3, num_series=0)


def test_late_is_a_preset():
    config = TimesCLIPConfig.from_preset("late", towers="tiny", num_variates=3)
    assert (config.branch_fusion, config.text_pooling, config.branches) == (
        "late",
        "mean",
        ["vision", "text", "series"],
    )
    assert TimesCLIPForRegression in MODELS
