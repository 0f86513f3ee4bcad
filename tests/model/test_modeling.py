# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The models: what may influence a prediction, what is trained, what is saved, and what is refused."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tolerances import ANOTHER_PROCESS

from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPModel, TimesCLIPProcessor

# One of each kind that is built differently.
STRUCTURES = {
    "full": {"preset": "full", "learn_logit_scale": True},
    "uncertainty": {"preset": "full", "alignment_weighting": "uncertainty"},
    "small": {"preset": "small", "head": "linear"},
    "vision_only": {"preset": "vision_only"},
    "pooled": {
        "preset": "no_selection",
        "head": "pooled",
        "num_static_features": 2,
        "num_targets": 2,
        "target_mean": [5.0, -1.0],
        "target_std": [2.0, 0.5],
        "use_loc_scale": True,
        "variate_mean": [0.0, 1.0, 2.0],
        "variate_std": [1.0, 2.0, 3.0],
    },
}


@pytest.fixture
def make_model(tiny_config, enlarge):
    """`make_model(preset, **overrides)`: a regression model in eval mode, its weights large enough to tell."""

    def build(preset="full", **overrides):
        torch.manual_seed(0)
        return enlarge(TimesCLIPForRegression(tiny_config(preset, **overrides)))

    return build


def standardised_by_hand(batch, config):
    return (batch["labels"].numpy() - np.array(config.target_mean)) / np.array(config.target_std)


# What may influence a prediction


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_embed_moves_when_only_the_last_patch_moves(make_model, make_batch, attention):
    model = make_model("text_only")
    model.set_attn_implementation(attention)
    batch = make_batch(model.config)
    moved = batch["patch_values"].clone()
    moved[:, 1, -1] = -moved[:, 1, -1]
    with torch.no_grad():
        before = model.timesclip.get_text_embeds(batch["patch_values"])
        after = model.timesclip.get_text_embeds(moved)
    assert (after - before)[:, 1].abs().amax(dim=-1).min() > 1e-3
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_patches_cannot_influence_a_prediction(make_model, make_batch, attention):
    model = make_model()
    model.set_attn_implementation(attention)
    assert model.timesclip.text_tower.config._attn_implementation == attention
    batch = make_batch(model.config)
    batch["patch_mask"][:, :, :2] = False
    batch["patch_mask"][0, 1] = False  # a variate that was never observed
    changed = {**batch, "patch_values": batch["patch_values"].clone()}
    changed["patch_values"][~batch["patch_mask"]] = 50 * torch.randn(int((~batch["patch_mask"]).sum()), 4)
    with torch.no_grad():
        masked, same = model(**batch), model(**changed)
        seen = model(**{**batch, "patch_mask": torch.ones_like(batch["patch_mask"])})
    torch.testing.assert_close(same.predictions, masked.predictions, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(same.text_embeds, masked.text_embeds, atol=1e-6, rtol=1e-6)
    assert masked.predictions.isfinite().all()
    assert (seen.text_embeds - masked.text_embeds).abs().max() > 1e-3


def test_eager_and_sdpa_agree(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    batch["patch_mask"][:, 0, :3] = False
    results = {}
    for attention in ("eager", "sdpa"):
        model.set_attn_implementation(attention)
        results[attention] = model(**batch)
    torch.testing.assert_close(results["eager"].predictions, results["sdpa"].predictions)
    torch.testing.assert_close(results["eager"].loss, results["sdpa"].loss)


def test_a_full_mask_equals_no_mask(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    without = {name: tensor for name, tensor in batch.items() if name != "patch_mask"}
    torch.testing.assert_close(model(**without).predictions, model(**batch).predictions)


def test_static_values_and_level_and_spread_reach_the_prediction(make_model, make_batch):
    model = make_model(**STRUCTURES["pooled"])
    batch = make_batch(model.config)
    expected = model(**batch).predictions
    for name in ("static_values", "loc", "scale"):
        found = model(**{**batch, name: batch[name] + 1.0}).predictions
        assert (found - expected).abs().min() > 1e-4, name


def test_level_and_spread_are_left_alone_unless_asked_for(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    unused = {"loc": None, "scale": None, "variate_values": None, "static_values": torch.randn(4, 9)}
    assert torch.equal(model(**{**batch, **unused}).predictions, model(**batch).predictions)


def test_the_unit_of_a_variate_does_not_matter(make_model, make_batch):
    """Degrees or kelvin, metres or feet: loc and scale are standardised by the training data in the same unit."""
    fields = {name: value for name, value in STRUCTURES["pooled"].items() if name != "preset"}
    model = make_model("full", **fields)
    batch = make_batch(model.config)
    expected = model(**batch).predictions
    model.config.variate_mean = [100 + 10 * mean for mean in fields["variate_mean"]]
    model.config.variate_std = [10 * std for std in fields["variate_std"]]
    found = model(**{**batch, "loc": 100 + 10 * batch["loc"], "scale": 10 * batch["scale"]}).predictions
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_level_and_spread_are_standardised_as_the_docstring_says(make_model, make_batch):
    model = make_model("small", **{k: v for k, v in STRUCTURES["pooled"].items() if k not in ("preset", "head")})
    batch = make_batch(model.config)
    seen = []
    model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().numpy()))
    model(**batch)
    mean, std = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(seen[0][..., -2], (batch["loc"].numpy() - mean) / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[0][..., -1], batch["scale"].numpy() / std, rtol=1e-5)


def test_ready_vision_features_stand_for_images(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    expected = model(**batch)
    pixels = batch.pop("pixel_values")
    found = model(**batch, vision_features=expected.vision_features)
    assert torch.equal(found.predictions, expected.predictions)
    assert torch.equal(expected.vision_features, model.timesclip.get_vision_features(pixels))


@pytest.mark.parametrize("chunk_size", [1, 5, 12, 1000])
def test_the_chunk_size_changes_memory_and_not_results(make_model, make_batch, chunk_size):
    model = make_model()
    batch = make_batch(model.config)  # 4 x 3 images
    expected = model(**batch).predictions
    sizes = []
    model.timesclip.vision_tower.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    model.config.vision_chunk_size = chunk_size
    torch.testing.assert_close(model(**batch).predictions, expected)
    assert max(sizes) == min(chunk_size, 12) and sum(sizes) == 12


# Losses and outputs


def test_predictions_are_in_original_units_and_the_task_loss_is_not(make_model, make_batch):
    fields = {"num_targets": 2, "target_mean": [50.0, -3.0], "target_std": [10.0, 0.1]}
    model = make_model(**fields)
    batch = make_batch(model.config)
    raw = []
    model.head.register_forward_hook(lambda module, inputs, output: raw.append(output.detach().double().numpy()))
    outputs = model(**batch)
    np.testing.assert_allclose(
        outputs.predictions.detach().numpy(), raw[0] * np.array([10.0, 0.1]) + np.array([50.0, -3.0]), rtol=1e-5
    )
    expected = np.mean((raw[0] - standardised_by_hand(batch, model.config)) ** 2)
    assert outputs.task_loss.item() == pytest.approx(expected, rel=1e-5)
    assert outputs.loss.item() == pytest.approx(expected + 0.1 * outputs.alignment_loss.item(), rel=1e-5)


def test_perfect_labels_cost_nothing(make_model, make_batch):
    model = make_model("small", target_mean=[50.0], target_std=[10.0])
    batch = make_batch(model.config)
    batch["labels"] = model(**batch).predictions.detach()
    outputs = model(**batch)
    assert outputs.loss.item() == pytest.approx(0, abs=1e-9)
    assert outputs.alignment_loss is None


def test_without_labels_there_are_predictions_and_no_loss(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    expected = model(**batch).predictions
    batch.pop("labels")
    outputs = model(**batch)
    assert outputs.loss is None and outputs.task_loss is None and outputs.alignment_loss is None
    assert torch.equal(outputs.predictions, expected)


def test_attention_between_variates_is_returned_on_request(make_model, make_batch):
    model = make_model(num_variates=5)
    batch = make_batch(model.config, batch_size=2)
    assert model(**batch).selection_attentions is None
    for module in (model, model.timesclip):
        inputs = {k: v for k, v in batch.items() if module is model or k != "labels"}
        weights = module(**inputs, output_attentions=True).selection_attentions
        assert weights.shape == (2, 4, 5, 5)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 4, 5))


@pytest.mark.parametrize("family", ["clip", "siglip", "bert", "t5"])
def test_what_the_text_layers_did_is_returned_on_request(tiny_config, tiny_towers, make_batch, enlarge, family):
    fields = {**tiny_towers("clip", family), "attn_implementation": "eager"}
    model = enlarge(TimesCLIPForRegression(tiny_config(variate_selection="cross_attention", **fields)))
    batch = make_batch(model.config, batch_size=2)
    batch["patch_mask"][0, :, 2] = False
    plain = model(**batch)
    assert plain.hidden_states is None and plain.attentions is None
    outputs = model(**batch, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(outputs.predictions, plain.predictions)

    patches = batch["patch_values"].flatten(0, 1)  # 2 samples of 3 variates, one after the other
    first, *_, last = outputs.hidden_states
    if family != "bert":  # which puts a norm in front of its layers
        torch.testing.assert_close(first, model.timesclip.tokenizer(patches))
    torch.testing.assert_close(last.unflatten(0, (2, 3)), outputs.text_tokens)
    assert [tuple(states.shape) for states in outputs.hidden_states] == 3 * [(6, 7, 32)]
    assert [tuple(weights.shape) for weights in outputs.attentions] == 2 * [(6, 4, 7, 7)]
    for weights in outputs.attentions:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(6, 4, 7))
        assert (weights[:3, ..., 3] == 0).all() and (weights[3:] > 0).all()  # the CLS token stands before the patches


def test_gradients_reach_the_attentions_that_are_returned(make_model, make_batch):
    model = make_model(attn_implementation="eager")
    outputs = model(**make_batch(model.config), output_hidden_states=True, output_attentions=True)
    for tensor in (*outputs.hidden_states, *outputs.attentions):
        tensor.retain_grad()
    outputs.predictions.sum().backward()
    assert all(t.grad is not None and t.grad.abs().max() > 0 for t in (*outputs.hidden_states, *outputs.attentions))


def test_missing_weights_of_a_tower_start_as_the_tower_has_them(tiny_config):
    """Of width 32 and without a checkpoint, CLIP draws its output projections with a spread of 32 ** -0.5."""
    torch.manual_seed(0)
    model = TimesCLIPForRegression.from_pretrained(None, config=tiny_config(), state_dict={})
    for tower in (model.timesclip.vision_tower, model.timesclip.text_tower):
        spread = torch.stack([layer.self_attn.out_proj.weight for layer in tower.encoder.layers]).std()
        torch.testing.assert_close(spread, torch.tensor(32**-0.5), rtol=0.1, atol=0)


def test_a_tuple_on_request_holds_the_same_values_in_order(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    named, plain = model(**batch), model(**batch, return_dict=False)
    assert isinstance(plain, tuple) and len(plain) == len(named)
    assert all(torch.equal(a, b) for a, b in zip(plain, named.values(), strict=True))
    assert torch.equal(plain[0], named.loss) and torch.equal(plain[1], named.predictions)
    batch.pop("labels")
    assert torch.equal(model.timesclip(**batch, return_dict=False)[0], named.image_embeds)


@pytest.mark.parametrize("preset", ["full", "text_only", "vision_only", "no_selection"])
def test_embeds_are_absent_where_a_part_is(make_model, make_batch, preset):
    model = make_model(preset)
    outputs = model(**make_batch(model.config))
    for name, part in (
        ("image_embeds", model.config.vision_config),
        ("vision_features", model.config.vision_config),
        ("text_embeds", model.config.text_config),
        ("selected_embeds", model.config.variate_selection),
    ):
        found = getattr(outputs, name)
        assert (found is None) == (part is None), name
        assert found is None or found.shape[:2] == (4, 3)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_both_models_take_every_key_of_a_processors_batch(make_model, name):
    fields = STRUCTURES[name]
    model = make_model(**fields)
    rng = np.random.default_rng(0)
    series, static = rng.normal(size=(4, 15, 3)), rng.normal(size=(4, 2))
    processor = TimesCLIPProcessor.from_config(model.config).fit(series, static_values=static)
    labels = rng.normal(size=(4, model.config.num_targets))
    batch = processor(series, static_values=static, labels=labels)
    outputs = model(**batch)
    assert outputs.loss.isfinite() and outputs.predictions.shape == labels.shape
    batch.pop("labels")
    model.timesclip(**batch)


# Refusals


@pytest.mark.parametrize("shape", [(4,), (4, 2), (1, 1), (4, 1, 1), (3, 1)])
def test_labels_of_another_shape_are_refused(make_model, make_batch, shape):
    model = make_model("small")
    batch = make_batch(model.config)
    with pytest.raises(ValueError, match=r"labels have shape .* expected \(batch, num_targets\) = \(4, 1\)"):
        model(**{**batch, "labels": torch.zeros(shape)})


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("pixel_values", "give pixel_values or vision_features"),
        ("patch_values", "give patch_values"),
        ("static_values", "2 static features: give static_values"),
        ("loc", "give the loc and scale"),
        ("scale", "give the loc and scale"),
    ],
)
def test_a_missing_input_is_refused_by_name(make_model, make_batch, missing, message):
    model = make_model(**STRUCTURES["pooled"])
    batch = make_batch(model.config)
    batch.pop(missing)
    with pytest.raises(ValueError, match=message):
        model(**batch)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("pixel_values", (4, 2, 3, 32, 32), r"\(batch, 3, 3, any, any\)"),
        ("pixel_values", (4, 3, 1, 32, 32), r"\(batch, 3, 3, any, any\)"),
        ("pixel_values", (4, 3, 32, 32), r"\(batch, 3, 3, any, any\)"),
        ("vision_features", (4, 3, 31), r"\(batch, 3, 32\)"),
        ("patch_values", (4, 2, 6, 4), r"\(batch, 3, 6, 4\)"),
        ("patch_values", (4, 3, 5, 4), r"\(batch, 3, 6, 4\)"),
        ("patch_mask", (4, 3, 7), r"\(batch, 3, 6\)"),
        ("static_values", (4, 3), r"\(batch, 2\)"),
        ("loc", (4, 1), r"\(batch, 3\)"),
        ("scale", (4, 3, 1), r"\(batch, 3\)"),
    ],
)
def test_an_input_of_another_shape_is_refused_by_name(make_model, make_batch, name, shape, expected):
    model = make_model(**STRUCTURES["pooled"])
    batch = make_batch(model.config)
    with pytest.raises(ValueError, match=f"{name} has shape .*expected {expected}"):
        model(**{**batch, name: torch.ones(shape)})


def test_branches_with_unequal_numbers_of_samples_are_refused(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    for module in (model, model.timesclip):
        with pytest.raises(ValueError, match="one row for each sample, got {'patch_values': 4, 'pixel_values': 1}"):
            module(patch_values=batch["patch_values"], pixel_values=batch["pixel_values"][:1])


def test_level_features_without_training_statistics_are_refused(tiny_config):
    with pytest.raises(ValueError, match="use_loc_scale=True needs variate_mean"):
        TimesCLIPForRegression(tiny_config(use_loc_scale=True))


# What is trained


def assert_frozen(model):
    tower = model.timesclip.vision_tower
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert not any(module.training for module in tower.modules())
    assert not model.timesclip.get_vision_features(torch.randn(2, 3, 3, 32, 32)).requires_grad


def test_a_frozen_tower_stays_frozen(make_model, tmp_path):
    model = make_model()
    assert_frozen(model)
    assert_frozen(model.train())
    assert model.timesclip.text_tower.training
    model.save_pretrained(tmp_path)
    again = TimesCLIPForRegression.from_pretrained(tmp_path)
    assert_frozen(again)
    assert_frozen(again.train())
    pair, report = TimesCLIPForRegression.from_pretrained(tmp_path, output_loading_info=True)
    assert_frozen(pair)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert not any(p.requires_grad for p in TimesCLIPModel.from_pretrained(tmp_path).vision_tower.parameters())


def train_one_step(model, batch):
    """Names of the parameters that a step of plain SGD over everything trainable changed."""
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()(**batch).loss.backward()
    optimizer.step()
    return {name for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])}


def test_a_step_moves_all_but_the_frozen_tower(make_model, make_batch):
    model = make_model(learn_logit_scale=True)
    changed = train_one_step(model, make_batch(model.config))
    frozen = {name for name, _ in model.named_parameters() if name.startswith("timesclip.vision_tower.")}
    assert not changed & frozen
    rest = {name for name, _ in model.named_parameters()} - frozen
    assert {name for name in rest - changed if not name.endswith("k_proj.bias")} == set()  # a key bias has no effect
    assert any(name.startswith("timesclip.text_tower.encoder.layers.0.") for name in changed)
    assert "alignment.logit_scale" in changed


def test_a_vision_tower_that_is_not_frozen_learns(make_model, make_batch):
    model = make_model(freeze_vision=False)
    changed = train_one_step(model, make_batch(model.config))
    assert any(name.startswith("timesclip.vision_tower.encoder.layers.0.") for name in changed)


def test_a_frozen_text_tower_still_trains_its_tokenizer(make_model, make_batch):
    model = make_model("text_only", freeze_text=True)
    changed = train_one_step(model, make_batch(model.config))
    assert not model.timesclip.text_tower.training
    assert not any(name.startswith("timesclip.text_tower.") for name in changed)
    tokenizer = {name for name, _ in model.named_parameters() if name.startswith("timesclip.tokenizer.")}
    assert tokenizer <= changed


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_checkpointed_activations_give_the_same_gradients(make_model, make_batch):
    gradients = []
    for checkpointing in (False, True):
        model = make_model(freeze_vision=False, text_dropout=0.0, selection_dropout=0.0, head_dropout=[0.0] * 3)
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()(**make_batch(model.config)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


# What is saved


def test_no_word_embeddings_are_built_or_saved(make_model, tmp_path):
    model = make_model(text_config={**make_model().config.text_config.to_dict(), "vocab_size": 997})
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    weights = load_file(tmp_path / "model.safetensors")
    assert not [name for name, tensor in weights.items() if 997 in tensor.shape or "token_embedding" in name]
    assert not [name for name in weights if "text_tower.embeddings" in name]
    assert weights.keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("preset", "absent"),
    [("small", "vision_"), ("text_only", "vision_"), ("vision_only", "text_"), ("no_selection", "variate_selection")],
)
def test_a_missing_part_has_no_parameters(make_model, preset, absent):
    names = [name for name, _ in make_model(preset).named_parameters()]
    assert names and not [name for name in names if name.startswith(f"timesclip.{absent}")]
    if preset == "vision_only":
        assert not [name for name in names if "tokenizer" in name]


PREDICT = """
import sys, torch
from safetensors.torch import load_file, save_file
from timesclip_hf import TimesCLIPForRegression
torch.set_num_threads(1)
for folder in sys.argv[1:]:
    model = TimesCLIPForRegression.from_pretrained(folder)
    assert not model.training
    batch = load_file(f"{folder}/batch.safetensors")
    with torch.no_grad():
        outputs = model(**batch)
    found = {"predictions": outputs.predictions, "loss": outputs.loss}
    save_file(found, f"{folder}/found.safetensors")
"""


def test_a_new_process_predicts_the_same(make_model, make_batch, tmp_path):
    expected = {}
    for name, fields in STRUCTURES.items():
        model = make_model(**fields)
        batch = make_batch(model.config)
        model.save_pretrained(tmp_path / name)
        save_file(batch, tmp_path / name / "batch.safetensors")
        with torch.no_grad():
            expected[name] = model(**batch)
    folders = [str(tmp_path / name) for name in STRUCTURES]
    subprocess.run([sys.executable, "-c", PREDICT, *folders], check=True)
    for name, outputs in expected.items():
        found = load_file(tmp_path / name / "found.safetensors")
        expected_tensors = {"predictions": outputs.predictions, "loss": outputs.loss}
        torch.testing.assert_close(found, expected_tensors, **ANOTHER_PROCESS)


def test_the_warmup_goes_on_from_a_checkpoint(make_model, make_batch, tmp_path):
    model = make_model(alignment_weighting="warmup", alignment_warmup_steps=10)
    batch = make_batch(model.config)
    assert model.alignment.training_batches.item() == 0
    model.train()
    for _ in range(3):
        model(**batch)
    model.save_pretrained(tmp_path)
    again = TimesCLIPForRegression.from_pretrained(tmp_path)
    assert again.alignment.training_batches.item() == 3
    outputs = again(**batch)
    expected = outputs.task_loss.item() + 0.1 * 3 / 10 * outputs.alignment_loss.item()
    assert outputs.loss.item() == pytest.approx(expected, rel=1e-6)


def test_learnt_scalars_start_as_configured_and_stay_fp32(make_model, tmp_path):
    fields = {"learn_logit_scale": True, "alignment_weighting": "uncertainty", "logit_scale_init_value": 1.5}
    model = make_model(**fields)
    assert model.alignment.logit_scale.item() == 1.5
    assert model.alignment.log_variances.tolist() == pytest.approx([0.0, math.log(10)])
    model.save_pretrained(tmp_path)
    half = TimesCLIPForRegression.from_pretrained(tmp_path, dtype=torch.bfloat16)
    fp32 = {name for name, parameter in half.named_parameters() if parameter.dtype == torch.float32}
    assert fp32 == {"alignment.logit_scale", "alignment.log_variances"}


def test_the_base_model_and_the_regression_model_share_checkpoints(make_model, make_batch, tmp_path):
    model = make_model()
    batch = make_batch(model.config)
    model.save_pretrained(tmp_path / "regression")
    base, report = TimesCLIPModel.from_pretrained(tmp_path / "regression", output_loading_info=True)
    assert not report["missing_keys"]
    base.save_pretrained(tmp_path / "base")
    _, report = TimesCLIPForRegression.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert all(name.startswith(("head.", "alignment.")) for name in report["missing_keys"])
    batch.pop("labels")
    assert torch.equal(base(**batch).text_embeds, model(**batch).text_embeds)


def test_equal_seeds_build_equal_models(tiny_config):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(TimesCLIPForRegression(tiny_config()).state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    tokenizer = {name: tensor for name, tensor in states[0].items() if "cls_token" in name or "position_emb" in name}
    assert all(0.01 < tensor.std() < 0.04 for name, tensor in tokenizer.items() if "tokenizer" in name)


# Precision and compilation


def test_bf16_autocast_trains_with_finite_losses_and_fp32_predictions(make_model, make_batch):
    model = make_model(freeze_vision=False, learn_logit_scale=True).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(**make_batch(model.config))
    outputs.loss.backward()
    assert outputs.loss.isfinite() and outputs.loss.dtype == outputs.predictions.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_a_model_loaded_in_bf16_takes_fp32_batches(make_model, make_batch, name, tmp_path):
    model = make_model(**STRUCTURES[name])
    model.save_pretrained(tmp_path)
    half = TimesCLIPForRegression.from_pretrained(tmp_path, dtype=torch.bfloat16)
    batch = make_batch(model.config)
    batch["patch_mask"][:, 0, :2] = False
    found, expected = half(**batch), model(**batch)
    assert found.predictions.dtype == torch.float32 and found.loss.isfinite()
    spread = expected.predictions.std() + 1
    assert (found.predictions - expected.predictions).abs().max() < 0.2 * spread


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("weighting", ["fixed", "warmup"])
def test_the_whole_forward_compiles_into_one_graph(make_model, make_batch, training, weighting):
    model = make_model(
        text_dropout=0.0,
        selection_dropout=0.0,
        head_dropout=[0.0] * 3,
        learn_logit_scale=True,
        alignment_weighting=weighting,
    ).train(training)
    batch = make_batch(model.config)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(**batch).predictions, model(**batch).predictions)


def test_the_default_configuration_makes_a_regression_model():
    with torch.device("meta"):
        model = TimesCLIPForRegression(TimesCLIPConfig())
    assert model.timesclip.get_input_embeddings().in_features == 16
