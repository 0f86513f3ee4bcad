# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What users saved with an earlier release loads and predicts the same ever after (see saved/README.md)."""

import importlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import ANOTHER_PROCESS
from transformers import AutoModel, AutoProcessor

import timesclip_hf

SAVED = Path(__file__).parent / "saved"
CLASSES = {
    "model": "TimesCLIPModel",
    "regression": "TimesCLIPForRegression",
    "classification": "TimesCLIPForClassification",
    "prediction": "TimesCLIPForPrediction",
    "pretraining": "TimesCLIPForPreTraining",
    "adapter": "TimesCLIPForRegression",
}


def check_answers(model: Any, processor: Any, expected_file: Path) -> None:
    static = json.loads((SAVED / "static_values.json").read_text())
    past_values = np.load(SAVED / "past_values.npy")
    batch = processor(past_values, static_values=static if model.config.num_static_features else None)
    with torch.no_grad():
        output = model.eval()(**batch)
    expected = dict(np.load(expected_file))
    np.testing.assert_allclose(batch["patch_values"].numpy(), expected.pop("patch_values"), **ANOTHER_PROCESS)
    if "pixel_sum" in expected:
        sums = batch["pixel_values"].double().sum(dim=(2, 3, 4)).numpy()
        np.testing.assert_allclose(sums, expected.pop("pixel_sum"), **ANOTHER_PROCESS)
    assert expected
    for name, values in expected.items():
        np.testing.assert_allclose(output[name].numpy(), values, **ANOTHER_PROCESS, err_msg=name)


@pytest.mark.parametrize("name", CLASSES)
def test_a_saved_checkpoint_predicts_what_it_always_did(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAVED)  # the adapter names its base as a folder beside it
    model = getattr(timesclip_hf, CLASSES[name]).from_pretrained(name)
    processor = timesclip_hf.TimesCLIPProcessor.from_pretrained("regression" if name == "adapter" else name)
    check_answers(model, processor, SAVED / name / "expected.npz")


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("adapter", "pretraining", "prediction")])
def test_auto_model_finds_the_class_that_was_saved(name: str) -> None:
    assert type(AutoModel.from_pretrained(SAVED / name)).__name__ == CLASSES[name]


def test_a_pushed_repository_loads_with_the_package_and_with_its_own_code(tmp_path: Path) -> None:
    with zipfile.ZipFile(SAVED / "pushed_repository.zip") as pushed:
        pushed.extractall(tmp_path / "pushed")
    folder = tmp_path / "pushed"
    model = timesclip_hf.TimesCLIPForRegression.from_pretrained(folder)
    check_answers(model, AutoProcessor.from_pretrained(folder), SAVED / "regression" / "expected.npz")

    answer = tmp_path / "predictions.npy"
    script = (
        "import json, sys; sys.modules['timesclip_hf'] = None\n"
        "import numpy as np, torch; from pathlib import Path; from transformers import AutoModel, AutoProcessor\n"
        "torch.set_num_threads(1); folder, saved, answer = sys.argv[1:]\n"
        "model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()\n"
        "processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)\n"
        "static = json.loads(Path(saved, 'static_values.json').read_text())\n"
        "batch = processor(np.load(Path(saved, 'past_values.npy')), static_values=static)\n"
        "np.save(answer, model(**batch).predictions.detach().numpy())\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", script, str(folder), str(SAVED), str(answer)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = np.load(SAVED / "regression" / "expected.npz")["predictions"]
    np.testing.assert_allclose(np.load(answer), expected, **ANOTHER_PROCESS)


def test_an_adapter_finds_the_module_that_it_was_saved_with() -> None:
    library = json.loads((SAVED / "adapter" / "adapter_config.json").read_text())["auto_mapping"]["parent_library"]
    assert library == "timesclip_hf.modeling_timesclip"
    found = getattr(importlib.import_module(library), "TimesCLIPForRegression")  # noqa: B009
    assert found is timesclip_hf.TimesCLIPForRegression
