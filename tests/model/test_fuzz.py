# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Files from strangers: whatever stands in a JSON file or a checkpoint, it works or a clear error says why not."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from timesclip_hf import TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor

# What a reader can act on: our own and transformers' complaints about values and files.
CLEAR = (ValueError, TypeError, OSError, StrictDataclassError)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.sampled_from([10**6, 10**9, 10**30, -(10**9)])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8)
    | st.sampled_from(
        ["os.system", "__import__('os')", "../../etc/passwd", "dataset", "window", "line", "gasf", "mlp"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def mutated(data: st.DataObject, original: dict[str, Any]) -> Any:
    """The original with a few values replaced, removed or added, at the top or one level down."""
    if data.draw(st.integers(0, 19)) == 0:
        return data.draw(json_values)  # no object at all, perhaps
    result = copy.deepcopy(original)
    for _ in range(data.draw(st.integers(1, 3))):
        place = result
        nested = [name for name, value in result.items() if isinstance(value, dict) and value]
        if nested and data.draw(st.booleans()):
            place = result[data.draw(st.sampled_from(sorted(nested)))]
        if not isinstance(place, dict):
            continue
        name = data.draw(st.sampled_from(sorted(place)) | st.text(min_size=1, max_size=10)) if place else "x"
        if data.draw(st.integers(0, 4)) == 0:
            place.pop(name, None)
        else:
            place[name] = data.draw(json_values)
    return result


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a saved model and its fitted processor, and the series that it was fitted on."""
    import conftest

    values = np.random.default_rng(0).normal(size=(6, 12, 3)).astype(np.float32)
    static = [{"soil": soil, "depth": float(i)} for i, soil in enumerate("ababab")]
    fields: dict[str, Any] = {**conftest.tower_fields(), **conftest.SERIES}
    config = TimesCLIPConfig.from_preset("full", **fields)
    processor = TimesCLIPProcessor.from_config(config, variate_names=["a", "b", "c"])
    processor.fit(values, labels=np.arange(6.0), static_values=static)
    folder = tmp_path_factory.mktemp("saved")
    TimesCLIPForRegression(processor.complete_config(config)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, values, static


@FUZZ
@given(data=st.data())
def test_any_config_gives_a_clear_error_or_a_model_of_the_shapes_that_it_says(saved, data):
    folder, values, static = saved
    config = mutated(data, json.loads((folder / "config.json").read_text()))
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "config.json").write_text(json.dumps(config))
        (Path(name) / "model.safetensors").symlink_to(folder / "model.safetensors")
        try:
            model = TimesCLIPForRegression.from_pretrained(name).eval()
            processor = TimesCLIPProcessor.from_pretrained(folder)
            with torch.no_grad():
                predictions = model(**processor(values, static_values=static)).predictions
        except CLEAR as error:
            assert str(error)
            return
        except RuntimeError as error:  # transformers names the tensors whose shapes the configuration contradicts
            assert "mismatch" in str(error)
            return
    assert predictions.shape == (6, model.config.num_targets)


@FUZZ
@given(data=st.data())
def test_any_processor_config_gives_a_clear_error_or_batches_of_the_shapes_that_it_says(saved, data):
    folder, values, static = saved
    config = mutated(data, json.loads((folder / "processor_config.json").read_text()))
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "processor_config.json").write_text(json.dumps(config))
        try:
            processor = TimesCLIPProcessor.from_pretrained(name)
            batch = processor(values, static_values=static)
        except CLEAR as error:
            assert str(error)
            return
    assert batch["variate_values"].shape == (6, 3, processor.context_length)
    assert batch["patch_values"].shape[::3] == (6, processor.patch_length)
    assert batch["static_values"].shape == (6, processor.num_static_features)
    if processor.image_size is not None:
        assert batch["pixel_values"].shape == (6, 3, 3, *processor.image_size)


@pytest.mark.parametrize("fault", ["missing", "extra", "other shape"])
def test_a_tensor_that_does_not_belong_is_named(saved, tmp_path, fault):
    folder, _, _ = saved
    weights = load_file(folder / "model.safetensors")
    name = "head.layers.0.weight"
    if fault == "missing":
        del weights[name]
    elif fault == "extra":
        weights[name := "head.layers.99.weight"] = torch.zeros(2)
    else:
        weights[name] = weights[name][:, :-1].contiguous()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    reports = {"missing": "missing_keys", "extra": "unexpected_keys"}
    if fault == "other shape":
        with pytest.raises(RuntimeError, match="mismatch"):
            TimesCLIPForRegression.from_pretrained(tmp_path)
        return
    _, report = TimesCLIPForRegression.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report[reports[fault]]) == {name}
