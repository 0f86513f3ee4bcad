# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""LoRA on the towers: what learns, what is saved, and what comes back from the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_TEXT, TINY_VISION
from datasets import Dataset
from safetensors.torch import load_file
from torch import nn

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    lora_config,
)

peft = pytest.importorskip("peft")

TOWERS = [(family, "clip") for family in TINY_VISION] + [("clip", family) for family in TINY_TEXT]
every_family = pytest.mark.parametrize(("vision", "text"), TOWERS)


def saved_base(config: TimesCLIPConfig, folder: Path, model_class: Any = TimesCLIPForRegression) -> Any:
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    return model_class.from_pretrained(folder)


def train_a_little(model: nn.Module, batch: dict[str, torch.Tensor], steps: int = 4) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    model.train()
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def predictions(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return model.eval()(**batch).predictions


@every_family
def test_an_adapter_learns_and_comes_back_from_its_file(
    tiny_config: Any, tiny_towers: Any, make_batch: Any, vision: str, text: str, tmp_path: Path
) -> None:
    no_dropout: dict[str, Any] = {"head_dropout": [0.0], "text_dropout": 0.0, "selection_dropout": 0.0}
    config = tiny_config("no_alignment", **tiny_towers(vision, text), head="linear", **no_dropout)
    model = saved_base(config, tmp_path / "base")
    batch = make_batch(config)
    adapted = peft.get_peft_model(model, lora_config(model, r=2))
    learning = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    fixed = {name: tensor.clone() for name, tensor in adapted.state_dict().items() if name not in learning}
    losses = train_a_little(adapted, batch)
    assert losses[-1] < losses[0]
    for tower in ("vision_tower", "text_tower"):
        in_tower = {name for name in learning if tower in name}
        assert in_tower and all("lora_" in name for name in in_tower)
        moved = [adapted.get_parameter(name) for name in in_tower if "lora_B" in name]
        assert all(bool(weight.any()) for weight in moved)  # they start at zero
    # Bit by bit, a ResNet's running statistics included.
    assert all(torch.equal(adapted.state_dict()[name], tensor) for name, tensor in fixed.items())

    expected = predictions(adapted, batch)
    adapted.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sum(weight.numel() for weight in saved.values()) == sum(
        adapted.get_parameter(name).numel() for name in learning
    )
    assert not any("_tower." in name and "lora_" not in name for name in saved)
    base = TimesCLIPForRegression.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert torch.equal(predictions(again, batch), expected)

    merged = adapted.merge_and_unload()
    torch.testing.assert_close(predictions(merged, batch), expected, rtol=1e-5, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {"config.json", "model.safetensors"}
    plain, report = TimesCLIPForRegression.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(report.values())
    assert torch.equal(predictions(plain, batch), predictions(merged, batch))


def transformers_restores_modules_to_save(folder: Path) -> bool:
    """Old versions of transformers leave them out, which our models refuse."""
    try:
        TimesCLIPForRegression.from_pretrained(folder)
    except ValueError as error:
        assert "not loaded in full" in str(error)
        return False
    return True


def test_the_models_own_loading_takes_an_adapter(tiny_config: Any, make_batch: Any, tmp_path: Path) -> None:
    config = tiny_config()
    model = saved_base(config, tmp_path / "base")
    batch = make_batch(config)
    adapted = peft.get_peft_model(model, lora_config(model))
    train_a_little(adapted, batch, steps=2)
    adapted.save_pretrained(tmp_path / "adapter")
    if not transformers_restores_modules_to_save(tmp_path / "adapter"):
        pytest.skip("this version of transformers does not restore modules_to_save; the models said so")
    expected = predictions(adapted, batch)
    assert torch.equal(predictions(TimesCLIPForRegression.from_pretrained(tmp_path / "adapter"), batch), expected)
    base = TimesCLIPForRegression.from_pretrained(tmp_path / "base")
    base.load_adapter(tmp_path / "adapter")
    assert torch.equal(predictions(base, batch), expected)


def test_peft_finds_the_base_of_a_saved_adapter_by_itself(
    tiny_config: Any, make_batch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved_base(tiny_config(), tmp_path / "base")
    batch = make_batch(model.config)
    adapted = peft.get_peft_model(model, lora_config(model, r=2))
    train_a_little(adapted, batch, steps=2)
    adapted.save_pretrained(tmp_path / "adapter")
    ours = {"import_allowlist": ["timesclip_hf"]}  # peft asks before it imports what an adapter names
    again = peft.AutoPeftModel.from_pretrained(tmp_path / "adapter", **ours)
    assert torch.equal(predictions(again, batch), predictions(adapted, batch))

    saved = Path(__file__).parents[1] / "saved"  # by a release whose modules had other names
    monkeypatch.chdir(saved)
    processor = TimesCLIPProcessor.from_pretrained("regression")
    static = json.loads(Path("static_values.json").read_text())
    inputs = processor(np.load("past_values.npy"), static_values=static)
    expected = np.load("adapter/expected.npz")["predictions"]
    found = predictions(peft.AutoPeftModel.from_pretrained("adapter", **ours), inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_add_adapter_trains_and_saves_the_same_file(tiny_config: Any, make_batch: Any, tmp_path: Path) -> None:
    config = tiny_config()
    model = saved_base(config, tmp_path / "base")
    batch = make_batch(config)
    model.add_adapter(lora_config(model))
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    train_a_little(model, batch, steps=2)
    assert all(torch.equal(model.get_parameter(name), weight) for name, weight in frozen.items())
    assert any("vision_tower" in name for name in frozen) and any("text_tower" in name for name in frozen)
    model.save_pretrained(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    base = TimesCLIPForRegression.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert torch.equal(predictions(again, batch), predictions(model, batch))


def test_the_vision_tower_alone_may_learn(tiny_config: Any, tmp_path: Path) -> None:
    model = saved_base(tiny_config(), tmp_path)
    adapted = peft.get_peft_model(model, lora_config(model, towers=["vision"], lora_dropout=0.1)).train()
    names = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert any("vision_tower" in name for name in names) and not any("text_tower" in name for name in names)
    tower = adapted.get_base_model().timesclip.vision_tower
    projection = tower.encoder.layers[0].self_attn.q_proj
    assert projection.lora_dropout["default"].training  # the adapter's own
    assert not tower.training and not tower.encoder.layers[0].training and not projection.base_layer.training
    assert not adapted.get_base_model().timesclip.text_tower.training


@pytest.mark.parametrize(
    ("model_class", "preset", "fields"),
    [
        (TimesCLIPModel, "full", {}),
        (TimesCLIPForRegression, "full", {"head": "pooled"}),
        (TimesCLIPForClassification, "full", {"learn_logit_scale": True}),
        (TimesCLIPForPrediction, "paper", {"alignment_weighting": "warmup", "alignment_warmup_steps": 10}),
        (TimesCLIPForPrediction, "forecast", {}),
        (TimesCLIPForPreTraining, "full", {"learn_logit_scale": True}),
    ],
)
def test_everything_around_the_towers_learns_with_the_adapter(
    tiny_config: Any, tmp_path: Path, model_class: Any, preset: str, fields: dict[str, Any]
) -> None:
    config = tiny_config(preset, prediction_length=4, num_labels=3, **fields)
    model = saved_base(config, tmp_path, model_class)
    own = {name for name, _ in model.named_parameters() if "_tower." not in name}
    remembered = {name for name, _ in model.named_buffers() if "_tower." not in name}
    adapted = peft.get_peft_model(model, lora_config(model))
    learning = {
        name.replace(".modules_to_save.default", "").removeprefix("base_model.model.")
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad and "lora_" not in name
    }
    assert learning == own
    adapted.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert own | remembered <= {name.removeprefix("base_model.model.") for name in saved}


def test_a_tower_that_is_not_there_is_named(tiny_config: Any, tmp_path: Path) -> None:
    model = saved_base(tiny_config("text_only"), tmp_path)
    with pytest.raises(ValueError, match=r"towers is \('vision',\); this model has \('text',\) to choose from"):
        lora_config(model, towers=["vision"])
    assert "vision" not in lora_config(model).target_modules


def make_data(num_samples: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(num_samples, 1, 1))
    values = (level + 0.1 * rng.normal(size=(num_samples, 12, 3))).astype(np.float32)
    return Dataset.from_dict({"past_values": values.tolist(), "labels": (5 + level[:, 0]).tolist()})


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Any:
    """`build(wrapped, fields, **arguments)`: a trainer whose model was given an adapter in one way or the other."""

    def make(wrapped: bool, fields: dict[str, Any] | None = None, **arguments: Any) -> TimesCLIPTrainer:
        train = make_data(32, 0)
        config = tiny_config("full", head="linear", head_dropout=[0.0], **(fields or {}))
        processor = TimesCLIPProcessor.from_config(config).fit(train)
        model = saved_base(processor.complete_config(config), tmp_path / "base")
        if wrapped:
            model = peft.get_peft_model(model, lora_config(model))
        else:
            model.add_adapter(lora_config(model))
        settings = {"output_dir": str(tmp_path / "run"), "num_train_epochs": 3, "learning_rate": 1e-2}
        quiet = {"disable_tqdm": True, "report_to": "none", "use_cpu": True, "save_total_limit": None}
        return TimesCLIPTrainer(
            model=model,
            args=TimesCLIPTrainingArguments(**{**settings, **quiet, **arguments}),
            processing_class=processor,
            train_dataset=train,
            eval_dataset=make_data(16, 1),
        )

    return make


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_trainer_trains_an_adapter_as_any_model(build: Any, wrapped: bool, tmp_path: Path) -> None:
    trainer = build(wrapped, average_epochs=0.1)
    before = trainer.evaluate()
    frozen = {name: p.clone() for name, p in trainer.model.named_parameters() if not p.requires_grad}
    trainer.train()
    after = trainer.evaluate()
    assert trainer.args.metric_for_best_model == "rmse"
    assert after["eval_rmse"] < before["eval_rmse"] and "eval_alignment_loss" in after
    assert all(torch.equal(trainer.model.get_parameter(name), weight) for name, weight in frozen.items())
    data = make_data(5, 2)
    expected = trainer.predict(data).predictions
    trainer.save_model(str(tmp_path / "saved"))
    assert not (tmp_path / "saved" / "model.safetensors").exists()
    base = TimesCLIPForRegression.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(base, tmp_path / "saved").eval()
    processor = TimesCLIPProcessor.from_pretrained(tmp_path / "saved")
    found = predictions(again, processor(np.asarray(data["past_values"][:])))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_best_epochs_adapter_is_restored(build: Any, wrapped: bool) -> None:
    trainer = build(wrapped)
    scores = iter([2.0, 1.0, 3.0])
    trainer.compute_metrics = lambda prediction: {"rmse": next(scores)}
    trainer.train()
    steps = trainer.state.max_steps // 3
    second = load_file(Path(trainer.args.output_dir) / f"checkpoint-{2 * steps}" / "adapter_model.safetensors")
    state = peft.get_peft_model_state_dict(trainer.model)
    found = {name.removeprefix("base_model.model."): weight for name, weight in state.items()}
    assert all(torch.equal(found[name.removeprefix("base_model.model.")], weight) for name, weight in second.items())


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_run_of_an_adapter_resumes_to_the_same_end(build: Any, wrapped: bool, tmp_path: Path) -> None:
    whole = build(wrapped, num_train_epochs=2)
    whole.train()
    resumed = build(wrapped, num_train_epochs=2)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{whole.state.max_steps // 2}"))
    expected = dict(whole.model.named_parameters())
    for name, parameter in resumed.model.named_parameters():
        torch.testing.assert_close(parameter, expected[name], msg=name)


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_adapter_compares_over_the_accumulated_batch(build: Any, wrapped: bool) -> None:
    fields = {"text_dropout": 0.0, "selection_dropout": 0.0, "learn_logit_scale": True}
    sizes = ({"gradient_accumulation_steps": 2, "alignment_over_accumulation": True}, {})
    logs, weights = [], []
    for size, settings in zip((8, 16), sizes, strict=True):
        torch.manual_seed(0)
        trainer = build(wrapped, fields, per_device_train_batch_size=size, num_train_epochs=1, **settings)
        trainer.train()
        logs.append(next(log for log in trainer.state.log_history if "alignment_loss" in log))
        weights.append({name: p for name, p in trainer.model.named_parameters() if p.requires_grad})
    assert logs[0]["alignment_loss"] == pytest.approx(logs[1]["alignment_loss"], rel=1e-4)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=0, atol=1e-4)


def test_adapters_learn_at_the_learning_rate_which_is_not_that_of_pretrained_weights(build: Any) -> None:
    trainer = build(True, tower_learning_rate=1e-6)
    groups = trainer.create_optimizer().param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert rates.keys() == {id(p) for p in trained.values()}
    assert any("_tower." in name for name in trained) and set(rates.values()) == {1e-2}


def test_pretraining_with_an_adapter_reports_retrieval(tiny_config: Any, tmp_path: Path) -> None:
    train = make_data(16, 0)
    config = tiny_config("full")
    processor = TimesCLIPProcessor.from_config(config).fit(train)
    model = saved_base(config, tmp_path / "base", TimesCLIPForPreTraining)
    quiet = {"disable_tqdm": True, "report_to": "none", "use_cpu": True, "num_train_epochs": 1}
    trainer = TimesCLIPTrainer(
        model=peft.get_peft_model(model, lora_config(model)),
        args=TimesCLIPTrainingArguments(output_dir=str(tmp_path / "run"), **quiet),
        processing_class=processor,
        train_dataset=train,
        eval_dataset=train,
    )
    trainer.train()
    assert "eval_image_to_text_top1" in trainer.evaluate()


def test_a_warning_says_when_an_adapter_cannot_name_its_base(tiny_config: Any, tmp_path: Path, caplog: Any) -> None:
    lora_config(saved_base(tiny_config("text_only"), tmp_path))
    assert "cannot name" not in caplog.text
    lora_config(TimesCLIPForRegression(tiny_config("text_only")))
    assert "cannot name the base" in caplog.text
