# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The models: what may influence a prediction, what is trained, what is saved, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tolerances import ANOTHER_PROCESS

from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor

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


def standardised_by_hand(batch, config):
    return (batch["labels"].numpy() - np.array(config.target_mean)) / np.array(config.target_std)


# What may influence a prediction


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
