# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`trust_remote_code=True` where the package is not installed, from what was pushed to a Hub.

The other environment is a process of its own, in which `timesclip_hf` cannot be imported; nor can what predicting has
no need for: datasets, matplotlib, accelerate.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_server import HubServer
from safetensors.torch import load_file
from tolerances import ANOTHER_PROCESS
from transformers.dynamic_module_utils import get_imports, get_relative_import_files, get_relative_imports

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
)
from timesclip_hf.model import remote_code
from timesclip_hf.model.remote_code import add_code

MODELS = {
    model.__name__: model
    for model in (
        TimesCLIPModel,
        TimesCLIPForRegression,
        TimesCLIPForClassification,
        TimesCLIPForPrediction,
        TimesCLIPForPreTraining,
    )
}

STRANGER = """
import json, sys
for name in ("timesclip_hf", "datasets", "matplotlib", "accelerate"):
    sys.modules[name] = None
try:
    import timesclip_hf
except ImportError:
    pass
else:
    sys.exit("timesclip_hf is there")

import numpy as np, torch, transformers
from huggingface_hub import constants
from safetensors.torch import save_file

job = json.loads(sys.argv[1])
outputs = {}
series = np.load(job["series"])
for repo, auto_classes in job["repos"].items():
    try:
        transformers.AutoConfig.from_pretrained(repo, trust_remote_code=False)
    except ValueError as error:
        assert "trust_remote_code=True" in str(error), error
    else:
        sys.exit("code ran without trust")
    config = transformers.AutoConfig.from_pretrained(repo, trust_remote_code=True)
    processor = transformers.AutoProcessor.from_pretrained(repo, trust_remote_code=True)
    batch = processor(series)
    for auto_class, expected in auto_classes.items():
        model = getattr(transformers, auto_class).from_pretrained(repo, trust_remote_code=True).eval()
        found = {type(thing).__module__.split(".")[0] for thing in (config, processor, model)}
        assert found == {"transformers_modules"}, found
        assert type(model).__name__ == expected, (repo, auto_class, type(model))
        if expected in repo:
            with torch.no_grad():
                output = model(**batch)
            outputs |= {f"{repo}.{name}": output[name].contiguous() for name in job["names"] if name in output}
            model.push_to_hub(repo + "-again")
            processor.push_to_hub(repo + "-again")
save_file(outputs, job["answer"])

constants.HF_HUB_OFFLINE = True  # from here on the cache has to do
transformers.AutoProcessor.from_pretrained(repo, trust_remote_code=True)
transformers.AutoModel.from_pretrained(repo, trust_remote_code=True)
"""


def carried() -> list[Path]:
    """Every file that goes along with a model or a processor."""
    roots = [
        Path(remote_code.__file__).with_name(name) for name in ("modeling_timesclip.py", "processing_timesclip.py")
    ]
    return sorted({*roots, *(Path(file) for root in roots for file in get_relative_import_files(root))})


@pytest.mark.parametrize("file", carried(), ids=lambda file: file.name)
def test_carried_code_asks_for_few_libraries_and_for_files_that_are_there(file: Path) -> None:
    installed = {"huggingface_hub", "numpy", "pandas", "torch", "transformers"}
    assert set(get_imports(file)) <= installed | sys.stdlib_module_names
    assert all(file.with_name(f"{name}.py").is_file() for name in get_relative_imports(file))


def test_the_folder_that_a_tower_came_from_stays_at_home(tiny_config: Any, tmp_path: Path) -> None:
    config = tiny_config()
    config.vision_config._name_or_path, config.text_config._name_or_path = str(tmp_path), "openai/clip"
    TimesCLIPModel(config).save_pretrained(tmp_path / "saved")
    add_code(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["text_config"]["_name_or_path"] == "openai/clip" and "_name_or_path" not in saved["vision_config"]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def push(hub: HubServer, repo_id: str, folder: Path) -> None:
    """What `push_to_hub` uploads (see test_hub), put into the server directly."""
    add_code(folder)
    hub.create(repo_id, {file.name: file.read_bytes() for file in folder.iterdir()})


def run_stranger(hub: HubServer, job: dict[str, Any], home: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": "hf_writer", "HF_HUB_DISABLE_XET": "1"}
    environment |= {"NO_PROXY": "127.0.0.1,localhost"}
    command = [sys.executable, "-c", STRANGER, json.dumps(job)]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_pushed_models_load_and_predict_where_the_package_is_not_installed(
    hub: HubServer, tiny_config: Any, enlarge: Any, tmp_path: Path
) -> None:
    series = np.random.default_rng(0).normal(2.0, 3.0, size=(5, 12, 3))
    np.save(tmp_path / "series.npy", series)
    names = ["predictions", "logits", "image_embeds", "text_embeds"]
    expected, repos = {}, {}
    for name, model_class in MODELS.items():
        torch.manual_seed(0)
        model = enlarge(model_class(tiny_config("full")))
        processor = TimesCLIPProcessor.from_config(model.config, view="gasf").fit(series)
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        push(hub, f"me/{name}", tmp_path / name)
        repos[f"me/{name}"] = dict(model_class.task.auto_classes)
        with torch.no_grad():
            output = model(**processor(series))
        expected |= {f"me/{name}.{key}": output[key] for key in names if key in output}
    home = tmp_path / "home"
    home.mkdir()

    answer = str(tmp_path / "answer.safetensors")
    run_stranger(hub, {"series": str(tmp_path / "series.npy"), "repos": repos, "names": names, "answer": answer}, home)

    outputs = load_file(answer)
    assert set(outputs) == set(expected) and len(outputs) > 8
    for name, tensor in expected.items():
        torch.testing.assert_close(outputs[name], tensor, **ANOTHER_PROCESS)
    for repo in repos:  # pushed on from there, they have all that they came with
        first, again = hub.files(repo), hub.files(f"{repo}-again")
        assert set(again) == {*first, "README.md", ".gitattributes"}
        assert all(again[path] == first[path] for path in first if path != "config.json"), repo
        assert json.loads(again["config.json"])["auto_map"] == json.loads(first["config.json"])["auto_map"]
