# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The outputs: their fields, in the order of a tuple, and what `Trainer` reads from the signature."""

import pytest
import torch
from transformers.utils.generic import can_return_loss, find_labels

from timesclip_hf.model import modeling_timesclip as modeling
from timesclip_hf.model.modeling_timesclip import MODELS

EMBEDS = (
    "image_embeds text_embeds text_tokens selected_embeds vision_features selection_attentions hidden_states "
    "attentions text_features"
)
LOSSES = {
    "TimesCLIPOutput": "",
    "TimesCLIPRegressionOutput": "loss predictions task_loss alignment_loss",
    "TimesCLIPPredictionOutput": "loss predictions task_loss alignment_loss",
    "TimesCLIPClassificationOutput": "loss logits task_loss alignment_loss",
    "TimesCLIPPreTrainingOutput": "loss alignment_loss",
}
WITH_QUANTILES = ("TimesCLIPRegressionOutput", "TimesCLIPPredictionOutput")
WITH_BRANCHES = ("TimesCLIPRegressionOutput", "TimesCLIPClassificationOutput")


@pytest.mark.parametrize("name", LOSSES)
def test_tuples_begin_with_the_loss_and_the_answer(name):
    fields = list(getattr(modeling, name).__dataclass_fields__)
    branches = ["branch_predictions"] if name in WITH_BRANCHES else []
    unsure = ["quantiles", "spreads"] if name in WITH_QUANTILES else []
    assert fields == [*LOSSES[name].split(), *EMBEDS.split(), *branches, *unsure]


@pytest.mark.parametrize("model_class", MODELS)
def test_trainer_finds_labels_where_there_are_some_and_a_loss_where_none_are_needed(model_class):
    assert find_labels(model_class) == (["labels"] if model_class.task.has_labels else [])
    assert can_return_loss(model_class) == (model_class.task.name == "pre-training")


@pytest.mark.parametrize("model_class", [model_class for model_class in MODELS if model_class.task.has_labels])
def test_a_config_without_return_dict_makes_tuples(model_class, make_case):
    model, batch = make_case(model_class, num_labels=3)
    named = model.eval()(**batch)
    model.config.return_dict = False
    plain = model(**batch)
    assert isinstance(plain, tuple) and torch.equal(plain[0], named.loss)
    assert torch.equal(plain[1], named[model.task.answer])


def test_a_tuple_on_request_holds_the_same_values_in_order(make_model, make_batch):
    model = make_model()
    batch = make_batch(model.config)
    named, plain = model(**batch), model(**batch, return_dict=False)
    assert isinstance(plain, tuple) and len(plain) == len(named)
    assert all(torch.equal(a, b) for a, b in zip(plain, named.values(), strict=True))
    assert torch.equal(plain[0], named.loss) and torch.equal(plain[1], named.predictions)
    batch.pop("labels")
    assert torch.equal(model.timesclip(**batch, return_dict=False)[0], named.image_embeds)
