# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Towers of every supported family: they train, save, load from what is published, and stay frozen."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SERIES, TINY_TEXT, TINY_VISION
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    Dinov2ForImageClassification,
    Dinov2Model,
    PreTrainedModel,
    ResNetForImageClassification,
    ResNetModel,
    SwinForImageClassification,
    SwinModel,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5Model,
    Trainer,
    TrainingArguments,
    ViTForImageClassification,
    ViTModel,
)

from timesclip_hf import TimesCLIPForRegression, TimesCLIPModel, TimesCLIPProcessor
from timesclip_hf.model.feature_layers import vision_width
from timesclip_hf.model.tower_configs import IMAGE_STATISTICS, TEXT_CONFIGS, VISION_CONFIGS
from timesclip_hf.model.towers import (
    TEXT_FAMILIES,
    VISION_FAMILIES,
    encode_images,
    encode_tokens,
    load_text_tower,
    load_vision_tower,
    text_width,
)

# Every family once, beside CLIP.
TOWERS = [(family, "clip") for family in TINY_VISION] + [("clip", family) for family in TINY_TEXT]
every_family = pytest.mark.parametrize(("vision", "text"), TOWERS)

# What is published: the bare model, and models with the usual task heads.
VISION_CHECKPOINTS: list[type[PreTrainedModel]] = [
    ViTModel, ViTForImageClassification, Dinov2Model, Dinov2ForImageClassification,
    SwinModel, SwinForImageClassification, ResNetModel, ResNetForImageClassification,
]  # fmt: skip
TEXT_CHECKPOINTS: list[type[PreTrainedModel]] = [
    BertModel, BertForMaskedLM, BertForSequenceClassification, T5EncoderModel, T5Model, T5ForConditionalGeneration,
]  # fmt: skip


def save_checkpoint(model_class: Any, folder: Path) -> Any:
    """A tiny model of a class of transformers, saved as transformers does it; no two of its tensors are alike."""
    family = model_class.config_class.model_type
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**copy.deepcopy({**TINY_VISION, **TINY_TEXT}[family])))
    with torch.no_grad():  # norms start at 1 and biases at 0: make every one tell
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    model.save_pretrained(folder)
    return model.eval()


def test_the_lists_of_families_agree():
    assert list(VISION_CONFIGS) == list(VISION_FAMILIES) == list(IMAGE_STATISTICS) == list(TINY_VISION)
    assert list(TEXT_CONFIGS) == list(TEXT_FAMILIES) == list(TINY_TEXT)


@every_family
def test_every_parameter_is_trained_and_none_is_a_word(tiny_config, tiny_towers, make_batch, vision, text):
    torch.manual_seed(0)
    config = tiny_config(**tiny_towers(vision, text), freeze_vision=False)
    model = TimesCLIPForRegression(config)
    batch = make_batch(config)
    batch["patch_mask"][:, :, -2:] = False
    outputs = model.train()(**batch)
    outputs.loss.backward()
    assert torch.isfinite(outputs.loss)
    assert outputs.vision_features.shape == (4, 3, vision_width(config.vision_config)) == (4, 3, 32)
    assert text_width(config.text_config) == 32
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    vocabulary = config.text_config.vocab_size
    assert not [name for name, tensor in model.state_dict().items() if tensor.dim() and len(tensor) == vocabulary]


@every_family
def test_predictions_survive_saving_and_loading(tiny_config, tiny_towers, make_batch, vision, text, tmp_path):
    torch.manual_seed(0)
    config = tiny_config(**tiny_towers(vision, text), freeze_vision=False)
    batch = make_batch(config)
    model = TimesCLIPForRegression(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(**batch).loss.backward()  # ResNet's running statistics move as well
    optimizer.step()
    model.eval().save_pretrained(tmp_path)
    loaded, report = TimesCLIPForRegression.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert loaded.config.vision_config.model_type == config.vision_config.model_type
    assert loaded.config.text_config.model_type == config.text_config.model_type
    assert torch.equal(model(**batch).predictions, loaded.eval()(**batch).predictions)


@every_family
def test_a_saved_file_is_a_state_dict_too(tiny_config, tiny_towers, vision, text, tmp_path):
    """Trainer reads it as one, without `from_pretrained`, and goes on in silence where names do not match."""
    config = tiny_config(**tiny_towers(vision, text))
    TimesCLIPForRegression(config).save_pretrained(tmp_path / "first")
    expected = TimesCLIPForRegression.from_pretrained(tmp_path / "first")
    expected.save_pretrained(tmp_path / "second")
    for folder in ("first", "second"):
        model = TimesCLIPForRegression(config)
        model.load_state_dict(load_file(tmp_path / folder / "model.safetensors"), strict=True)
        assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in model.state_dict().items())


@every_family
def test_sdpa_may_be_asked_of_all_and_agrees_with_eager(tiny_config, tiny_towers, make_batch, vision, text):
    """A family without the one or the other keeps what it has."""
    models = {}
    for attention in ("eager", "sdpa"):
        config = tiny_config(**tiny_towers(vision, text), attn_implementation=attention)
        models[attention] = TimesCLIPModel(config).eval()
    models["sdpa"].load_state_dict(models["eager"].state_dict())
    batch = make_batch(config)
    del batch["labels"]
    batch["patch_mask"][:, 1, 2:] = False
    expected, found = models["eager"](**batch), models["sdpa"](**batch)
    torch.testing.assert_close(found.image_embeds, expected.image_embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.text_embeds, expected.text_embeds, rtol=1e-4, atol=1e-5)
    models["eager"].set_attn_implementation("sdpa")
    torch.testing.assert_close(models["eager"](**batch).text_embeds, expected.text_embeds, rtol=1e-4, atol=1e-5)


@every_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs(tiny_config, tiny_towers, make_batch, vision, text, dtype, tmp_path):
    config = tiny_config(**tiny_towers(vision, text), freeze_vision=False)
    TimesCLIPForRegression(config).save_pretrained(tmp_path)
    batch = make_batch(config)
    loaded = TimesCLIPForRegression.from_pretrained(tmp_path, dtype=dtype)
    assert torch.isfinite(loaded(**batch).loss)
    assert torch.isfinite(TimesCLIPForRegression(config).to(dtype)(**batch).loss)


@every_family
def test_trainer_trains_with_activation_checkpointing(tiny_config, tiny_towers, make_batch, vision, text, tmp_path):
    config = tiny_config(**tiny_towers(vision, text), freeze_vision=False)
    model = TimesCLIPForRegression(config)
    model.gradient_checkpointing_enable()
    batch = make_batch(config)
    samples = [{name: tensor[i] for name, tensor in batch.items()} for i in range(4)]
    arguments = TrainingArguments(str(tmp_path), max_steps=2, save_steps=2, report_to="none", use_cpu=True)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    Trainer(model, arguments, train_dataset=samples, eval_dataset=samples).train()
    moved = [name for name, tensor in model.named_parameters() if not torch.equal(before[name], tensor)]
    assert any("vision_tower" in name for name in moved) and any("text_tower" in name for name in moved)
    assert TimesCLIPForRegression.from_pretrained(tmp_path / "checkpoint-2").config.num_variates == 3


@pytest.mark.parametrize("family", TINY_VISION)
def test_a_frozen_vision_tower_does_not_move(tiny_config, tiny_towers, make_batch, family):
    config = tiny_config(**tiny_towers(family, "clip"))
    model = TimesCLIPForRegression(config).train()
    tower = model.timesclip.vision_tower
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    model(**make_batch(config)).loss.backward()
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in tower.state_dict().items())


def test_a_trained_resnets_running_statistics_do_move(tiny_config, tiny_towers, make_batch):
    config = tiny_config(**tiny_towers("resnet", "clip"), freeze_vision=False)
    model = TimesCLIPForRegression(config).train()
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    model(**make_batch(config))
    assert not torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("model_class", VISION_CHECKPOINTS, ids=lambda c: c.__name__)
def test_a_published_vision_checkpoint_gives_its_own_features(model_class, tmp_path):
    original = save_checkpoint(model_class, tmp_path)
    images = torch.randn(2, 3, 3, 32, 32)
    with torch.no_grad():
        outputs = original.base_model(pixel_values=images.flatten(0, 1))
        if original.config.model_type == "vit":
            expected = outputs.last_hidden_state[:, 0]
        else:
            expected = outputs.pooler_output.flatten(1)
        torch.testing.assert_close(
            encode_images(load_vision_tower(str(tmp_path)).eval(), images.flatten(0, 1)), expected
        )
        model = TimesCLIPModel.from_vision_text_pretrained(str(tmp_path), None, preset="vision_only", **SERIES)
        torch.testing.assert_close(model.eval().get_vision_features(images).flatten(0, 1), expected)
    assert tuple(model.config.image_statistics) == IMAGE_STATISTICS[original.config.model_type]


@pytest.mark.parametrize("model_class", TEXT_CHECKPOINTS, ids=lambda c: c.__name__)
def test_a_published_text_checkpoint_gives_its_own_tokens(model_class, tmp_path):
    original = save_checkpoint(model_class, tmp_path)
    words = torch.randn(2, 5, 32)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    with torch.no_grad():
        if original.config.model_type == "t5":
            tokens = words
            expected = original.get_encoder()(inputs_embeds=words, attention_mask=mask).last_hidden_state
        else:  # what BERT adds to words itself
            tables = original.base_model.embeddings
            tokens = words + tables.position_embeddings.weight[:5] + tables.token_type_embeddings.weight[0]
            expected = original.base_model(inputs_embeds=words, attention_mask=mask).last_hidden_state
        found = encode_tokens(load_text_tower(str(tmp_path)).eval(), tokens, mask)
    torch.testing.assert_close(found[mask], expected[mask])
    model = TimesCLIPModel.from_vision_text_pretrained(None, str(tmp_path), preset="text_only", **SERIES)
    with torch.no_grad():
        torch.testing.assert_close(encode_tokens(model.eval().text_tower, tokens, mask)[mask], expected[mask])


@pytest.mark.parametrize(
    ("model_class", "part"),
    [
        (ViTForImageClassification, "vit.layernorm.weight"),
        (Dinov2Model, "layernorm.bias"),
        (SwinForImageClassification, "swin.layernorm.weight"),
        (ResNetForImageClassification, "running_var"),
        (BertForMaskedLM, "bert.embeddings.LayerNorm.weight"),
        (T5ForConditionalGeneration, "encoder.final_layer_norm.weight"),
    ],
)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(model_class, part, tmp_path):
    save_checkpoint(model_class, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    removed = next(name for name in weights if name.endswith(part))
    del weights[removed]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    load = load_vision_tower if model_class in VISION_CHECKPOINTS else load_text_tower
    with pytest.raises(ValueError, match=f"lacks weights of its tower: missing .*{part.split('.', 1)[-1]}"):
        load(str(tmp_path))


def test_the_processor_draws_images_of_the_towers_size(tiny_config, tiny_towers):
    def size(vision: str, settings: dict[str, Any] | None = None, **kwargs: Any) -> list[int]:
        towers = tiny_towers(vision, "clip")
        towers["vision_config"].update(settings or {})
        return list(TimesCLIPProcessor.from_config(tiny_config(**towers), **kwargs).image_size)

    assert size("vit") == size("swin") == [32, 32]
    assert size("vit", {"image_size": [32, 64]}) == [32, 64]
    assert size("resnet") == [224, 224]
    assert size("resnet", image_size=48) == [48, 48]
    assert size("dinov2", image_size=64) == [64, 64]  # it interpolates its positions
    with pytest.raises(ValueError, match="image_size=48 contradicts the configuration's 32"):
        size("swin", image_size=48)


def test_widths_of_the_default_sizes():
    """google/vit-base, facebook/dinov2-base, swin-tiny, resnet-50, bert-base and t5-small are of these widths."""
    assert [vision_width(VISION_CONFIGS[name]()) for name in ("vit", "dinov2", "swin", "resnet")] == [
        768, 768, 768, 2048,
    ]  # fmt: skip
    assert [text_width(TEXT_CONFIGS[name]()) for name in ("bert", "t5")] == [768, 512]
