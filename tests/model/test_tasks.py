# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A task is stated on its model class, and what it names is there."""

import pytest
import transformers

from timesclip_hf import metrics
from timesclip_hf.model import modeling_timesclip
from timesclip_hf.model.modeling_timesclip import MODELS


@pytest.mark.parametrize("model_class", MODELS)
def test_what_a_task_names_is_there(model_class):
    task = model_class.task
    for auto_class, name in task.auto_classes.items():
        assert hasattr(transformers, auto_class) and getattr(modeling_timesclip, name) in MODELS
    assert model_class.__name__ in task.auto_classes.values()
    assert task.metrics is None or callable(getattr(metrics, task.metrics))
    if task.answer is not None:
        assert task.answer in model_class.output_class.__dataclass_fields__


def test_every_task_has_a_name_of_its_own():
    assert len({model_class.task.name for model_class in MODELS}) == len(MODELS)
