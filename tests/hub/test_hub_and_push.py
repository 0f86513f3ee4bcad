# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Pushing to and loading from a Hub: huggingface_hub's own client against the server of `hub_server`, over HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pandas as pd
import pytest
import torch
import transformers.utils.hub
from datasets import Dataset
from hub_server import HubServer
from huggingface_hub import HfApi, ModelCard, constants
from transformers import AutoConfig, AutoModel, AutoModelForTimeSeriesPrediction, AutoProcessor, pipeline

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForecaster,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    lora_config,
    pipeline_task,
)

WRITER, READER, STRANGER = "hf_writer", "hf_reader", "hf_stranger"
REPO = "me/crop"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub with nobody logged in and nothing in the cache; the client's waits between two tries are skipped."""
    with HubServer(part_size=10**7) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", server.url)
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        huggingface_hub.close_session()
        yield server
    huggingface_hub.close_session()


@pytest.fixture
def logged_in(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    return hub


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """`empty_cache()`: from now on the client caches in a new folder."""
    count = iter(range(100))

    def change() -> Path:
        folder = tmp_path / f"cache{next(count)}"
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
        return folder

    return change


def make_series(num_samples: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(2.0, 3.0, size=(num_samples, 12, 3))


@pytest.fixture
def processor() -> TimesCLIPProcessor:
    processor = TimesCLIPProcessor(
        context_length=12, patch_length=4, patch_stride=2, image_size=32, variate_names=["nir", "red", "evi"]
    )
    soil = [{"soil": name, "latitude": degrees} for name, degrees in zip("abcaabbc", range(8), strict=True)]
    return processor.fit(make_series(), labels=np.arange(8.0), static_values=soil)


@pytest.fixture
def model(tiny_config: Any, enlarge: Any) -> TimesCLIPForRegression:
    torch.manual_seed(0)
    return enlarge(TimesCLIPForRegression(tiny_config("full")))


def assert_same(loaded: Any, model: Any, batch: dict[str, torch.Tensor]) -> None:
    """The same weights to the last bit; what they compute may differ by rounding, with where in memory they lie."""
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    torch.testing.assert_close(predict(loaded, batch), predict(model, batch), rtol=1e-6, atol=1e-6)


def predict(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**{k: v for k, v in batch.items() if k != "labels"}).predictions


# Round trip


def test_a_pushed_pipeline_is_found_by_its_name_alone_and_carries_the_code(
    logged_in: HubServer, tiny_config: Any, processor: TimesCLIPProcessor, empty_cache: Any
) -> None:
    model = TimesCLIPForRegression(processor.complete_config(tiny_config("full"))).eval()
    pipe = transformers.pipeline("time-series-regression", model=model, processor=processor)
    pipe.push_to_hub(REPO)

    empty_cache()
    loaded = transformers.pipeline(pipeline_task(REPO), model=REPO)

    soil = {"soil": "a", "latitude": 3.0}
    samples = [{"past_values": series, "static_values": soil} for series in make_series(seed=1)]
    assert loaded(samples) == pipe(samples)
    files = set(logged_in.files(REPO))
    assert {"modeling_timesclip.py", "processing_timesclip.py", "model.safetensors"} <= files
    assert {Path(name).suffix for name in files} <= {".json", ".md", ".py", ".safetensors", ""}


def test_a_pushed_model_predicts_the_same_from_an_empty_cache(
    logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any
) -> None:
    batch = make_batch(model.config)
    url = model.push_to_hub(REPO)

    empty_cache()
    loaded, report = TimesCLIPForRegression.from_pretrained(REPO, output_loading_info=True)

    assert str(url).startswith(logged_in.url)
    assert_same(loaded, model, batch)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_a_pushed_processor_keeps_its_fields_and_what_it_learnt(
    logged_in: HubServer, processor: TimesCLIPProcessor, empty_cache: Any
) -> None:
    processor.push_to_hub(REPO)

    empty_cache()
    loaded = TimesCLIPProcessor.from_pretrained(REPO)

    assert loaded.to_dict() == processor.to_dict()
    assert loaded.statistics == processor.statistics
    for name, tensor in processor(make_series(seed=1)).items():
        assert torch.equal(loaded(make_series(seed=1))[name], tensor), name


def test_a_checkpoint_in_shards_comes_back_whole(
    logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any
) -> None:
    model.push_to_hub(REPO, max_shard_size="50KB")

    empty_cache()
    loaded = TimesCLIPForRegression.from_pretrained(REPO)

    shards = [path for path in logged_in.files(REPO) if path.endswith(".safetensors")]
    assert len(shards) > 2 and "model.safetensors.index.json" in logged_in.files(REPO)
    assert_same(loaded, model, make_batch(model.config))


def test_a_large_file_goes_up_in_parts(logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any) -> None:
    logged_in.part_size = 40_000
    model.push_to_hub(REPO)

    empty_cache()
    loaded = TimesCLIPForRegression.from_pretrained(REPO)

    assert sum(method == "PUT" for method, _, _ in logged_in.requests) > 2
    assert_same(loaded, model, make_batch(model.config))


def test_auto_classes_of_the_installed_package_need_no_trust(
    logged_in: HubServer, tiny_config: Any, processor: TimesCLIPProcessor, empty_cache: Any
) -> None:
    classes = {
        TimesCLIPModel: AutoModel,
        TimesCLIPForRegression: AutoModel,
        TimesCLIPForClassification: AutoModel,
        TimesCLIPForPrediction: AutoModelForTimeSeriesPrediction,
        TimesCLIPForPreTraining: transformers.AutoModelForPreTraining,
    }
    for model_class, auto_class in classes.items():
        repo = f"me/{model_class.__name__}"
        model_class(tiny_config("full")).push_to_hub(repo)
        for trust in (None, True):
            assert type(auto_class.from_pretrained(repo, trust_remote_code=trust)) is model_class
    processor.push_to_hub("me/TimesCLIPModel")
    assert type(AutoProcessor.from_pretrained("me/TimesCLIPModel")) is TimesCLIPProcessor
    assert (
        type(AutoConfig.from_pretrained("me/TimesCLIPModel")).__module__
        == "timesclip_hf.model.configuration_timesclip"
    )


# What is in the repository


def kinds(files: dict[str, bytes]) -> set[str]:
    return {Path(path).suffix for path in files if path != ".gitattributes"}  # which the Hub itself makes


def test_a_push_holds_weights_json_markdown_and_the_code_that_loads_them(
    logged_in: HubServer, model: Any, processor: TimesCLIPProcessor
) -> None:
    model.push_to_hub(REPO)
    only_model = {path for path in logged_in.files(REPO) if path.endswith(".py")}
    processor.push_to_hub(REPO)
    files = logged_in.files(REPO)

    assert kinds(files) == {".safetensors", ".json", ".md", ".py"}
    assert "modeling_timesclip.py" in only_model and "processing_timesclip.py" not in only_model
    assert not {"trainer.py", "data.py", "training_args.py", "__init__.py"} & set(files)
    config, processor_config = (json.loads(files[name]) for name in ("config.json", "processor_config.json"))
    assert config["auto_map"] == {
        "AutoConfig": "configuration_timesclip.TimesCLIPConfig",
        "AutoModel": "modeling_timesclip.TimesCLIPForRegression",
    }
    assert processor_config["auto_map"] == {"AutoProcessor": "processing_timesclip.TimesCLIPProcessor"}
    ModelCard(files["README.md"].decode()).data.to_dict()


def test_a_configuration_pushed_alone_keeps_the_way_to_the_code(
    logged_in: HubServer, model: Any, empty_cache: Any
) -> None:
    model.push_to_hub(REPO)
    before = json.loads(logged_in.files(REPO)["config.json"])["auto_map"]

    model.config.push_to_hub(REPO)

    assert json.loads(logged_in.files(REPO)["config.json"])["auto_map"] == before


def test_an_adapter_is_pushed_as_two_files_and_a_card(
    logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    model.push_to_hub(REPO)
    base = TimesCLIPForRegression.from_pretrained(REPO)
    adapted = peft.get_peft_model(base, lora_config(base, r=2, init_lora_weights=False))
    batch = make_batch(model.config)

    adapted.push_to_hub("me/adapter")

    empty_cache()
    files = set(logged_in.files("me/adapter")) - {".gitattributes"}
    assert files == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    loaded = peft.PeftModel.from_pretrained(TimesCLIPForRegression.from_pretrained(REPO), "me/adapter")
    torch.testing.assert_close(predict(loaded, batch), predict(adapted, batch), rtol=1e-6, atol=1e-6)


def test_saving_without_a_push_writes_no_code(model: Any, processor: TimesCLIPProcessor, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)

    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "processor_config.json",
    ]
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())


def test_a_model_from_the_hub_is_saved_without_a_pointer_to_code_that_is_not_there(
    logged_in: HubServer, model: Any, processor: TimesCLIPProcessor, tmp_path: Path
) -> None:
    model.push_to_hub(REPO)
    processor.push_to_hub(REPO)

    TimesCLIPForRegression.from_pretrained(REPO).save_pretrained(tmp_path)
    TimesCLIPProcessor.from_pretrained(REPO).save_pretrained(tmp_path)

    for name in ("config.json", "processor_config.json"):
        assert "auto_map" not in json.loads((tmp_path / name).read_text()), name
    assert type(AutoModel.from_pretrained(tmp_path)) is TimesCLIPForRegression


def test_a_pipeline_pushes_model_and_processor_with_their_code(
    logged_in: HubServer, model: Any, processor: TimesCLIPProcessor
) -> None:
    model.push_to_hub(REPO)
    processor.fit(make_series(), labels=np.arange(8.0)).push_to_hub(REPO)  # the model reads no static columns
    predict_yield = pipeline("time-series-regression", model=REPO)

    predict_yield.push_to_hub("me/again")

    first, again = logged_in.files(REPO), logged_in.files("me/again")
    assert first.keys() == again.keys()
    for name in ("config.json", "processor_config.json"):
        assert json.loads(first[name])["auto_map"] == json.loads(again[name])["auto_map"]
    series = list(make_series(2, seed=5))
    expected = [result["prediction"] for result in predict_yield(series)]
    again_predicted = [result["prediction"] for result in pipeline("time-series-regression", model="me/again")(series)]
    np.testing.assert_allclose(again_predicted, expected, rtol=1e-6)


def test_saving_and_pushing_at_once_never_overwrites_a_file_of_the_users(
    logged_in: HubServer, model: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "crop"
    folder.mkdir()
    (folder / "layers.py").write_text("mine = True\n")

    with pytest.raises(ValueError, match=r"layers\.py is not a file of timesclip_hf"):
        model.save_pretrained(folder, push_to_hub=True, repo_id=REPO)

    assert (folder / "layers.py").read_text() == "mine = True\n"
    assert set(logged_in.files(REPO)) == {".gitattributes"}


def test_a_model_of_another_module_is_pushed_without_our_code(logged_in: HubServer, tiny_config: Any) -> None:
    class Own(TimesCLIPForRegression):
        pass

    Own(tiny_config("text_only")).push_to_hub(REPO)

    assert kinds(logged_in.files(REPO)) == {".safetensors", ".json", ".md"}


# Revisions


def test_branches_tags_and_commits_are_loaded_by_name(
    logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any
) -> None:
    batch = make_batch(model.config)
    first = predict(model, batch)
    commit = model.push_to_hub(REPO).oid
    HfApi().create_tag(REPO, tag="v1")
    with torch.no_grad():
        model.get_parameter(next(name for name, _ in model.named_parameters() if name.startswith("head"))).add_(1)
    second = predict(model, batch)
    model.push_to_hub(REPO, revision="wetter")

    assert not torch.equal(first, second)
    empty_cache()
    for revision, expected in ((None, first), ("v1", first), (commit, first), ("wetter", second)):
        loaded = TimesCLIPForRegression.from_pretrained(REPO, **({"revision": revision} if revision else {}))
        torch.testing.assert_close(predict(loaded, batch), expected, msg=revision)


# Who may


def test_a_private_repository_opens_with_its_owners_token_alone(
    logged_in: HubServer, model: Any, empty_cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.push_to_hub(REPO, private=True)
    monkeypatch.delenv("HF_TOKEN")

    for token in (None, STRANGER):
        with pytest.raises(OSError, match="me/crop is not a local folder and is not a valid model identifier"):
            TimesCLIPForRegression.from_pretrained(REPO, token=token)
    empty_cache()
    assert isinstance(TimesCLIPForRegression.from_pretrained(REPO, token=READER), TimesCLIPForRegression)


@pytest.mark.parametrize(("token", "status"), [(None, 401), (READER, 403), (STRANGER, 403)])
def test_a_push_without_the_right_to_write_is_refused(
    hub: HubServer, model: Any, token: str | None, status: int
) -> None:
    HfApi(token=WRITER).create_repo(REPO)

    with pytest.raises(huggingface_hub.errors.HfHubHTTPError) as refused:
        model.push_to_hub(REPO, token=token)

    assert refused.value.response.status_code == status
    assert set(hub.files(REPO)) == {".gitattributes"}


def test_what_is_not_there_is_named(logged_in: HubServer, model: Any) -> None:
    with pytest.raises(OSError, match="me/crop is not a local folder and is not a valid model identifier"):
        TimesCLIPForRegression.from_pretrained(REPO)
    model.push_to_hub(REPO)
    with pytest.raises(OSError, match="v9 is not a valid git identifier"):
        TimesCLIPForRegression.from_pretrained(REPO, revision="v9")
    with pytest.raises(OSError, match=r"me/crop has no processor_config\.json: was only the model saved there"):
        TimesCLIPProcessor.from_pretrained(REPO)
    del logged_in.repos[REPO].commits[logged_in.repos[REPO].branches["main"]]["model.safetensors"]
    with pytest.raises(OSError, match=r"model\.safetensors"):
        TimesCLIPForRegression.from_pretrained(REPO)


# Faults on the way


def test_an_upload_that_breaks_off_leaves_the_repository_as_it_was(
    logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any
) -> None:
    model.push_to_hub(REPO)
    before, batch = logged_in.files(REPO), make_batch(model.config)
    old = predict(model, batch)
    with torch.no_grad():
        next(model.head.parameters()).add_(1)

    logged_in.fail("PUT", "/lfs/", cut=1000, times=100)
    with pytest.raises(RuntimeError, match=r"uploading 'model\.safetensors' to the Hub"):
        model.push_to_hub(REPO)
    assert logged_in.files(REPO) == before
    empty_cache()
    torch.testing.assert_close(predict(TimesCLIPForRegression.from_pretrained(REPO), batch), old)

    logged_in.heal()
    model.push_to_hub(REPO)
    assert_same(TimesCLIPForRegression.from_pretrained(REPO), model, batch)


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("PUT", "/lfs/", {"cut": 1000}),
        ("PUT", "/2", {"cut": 1000}),  # the second part
        ("PUT", "/lfs/", {"status": 503}),
        ("POST", "/preupload/", {"status": 500}),
        ("POST", "/objects/batch", {"status": 502}),
        ("POST", "/lfs/verify", {"status": 504}),
    ],
)
def test_a_push_survives_a_passing_fault(
    logged_in: HubServer, model: Any, method: str, path: str, fault: dict[str, int]
) -> None:
    logged_in.part_size = 100_000 if path == "/2" else 10**7
    logged_in.fail(method, path, **fault)

    model.push_to_hub(REPO)

    assert not any(fault.times for fault in logged_in.faults), "the fault never happened"
    assert "model.safetensors" in logged_in.files(REPO)


def test_a_download_that_breaks_off_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any
) -> None:
    model.push_to_hub(REPO)
    size = len(logged_in.files(REPO)["model.safetensors"])
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", size // 10)
    empty_cache()
    logged_in.requests.clear()
    logged_in.fail("GET", "/cdn/", cut=size // 2)

    loaded = TimesCLIPForRegression.from_pretrained(REPO)

    assert [status for _, path, status in logged_in.requests if path.startswith("/cdn/")] == [200, 206]
    assert_same(loaded, model, make_batch(model.config))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"cut": 5000}, "Can't load the model for 'me/crop'"),
        ({"lose": 5000}, r"Consistency check failed: file should be of size \d+ but has size \d+"),
        ({"status": 503}, "503 Service Unavailable"),
        ({"status": 416}, "416 Requested Range Not Satisfiable"),
    ],
)
def test_a_download_that_never_gets_through_loads_nothing_and_leaves_nothing(
    logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any, fault: dict[str, int], said: str
) -> None:
    model.push_to_hub(REPO)
    cache = empty_cache()
    logged_in.fail("GET", "/cdn/", times=100, **fault)

    with pytest.raises(OSError, match=said):
        TimesCLIPForRegression.from_pretrained(REPO)

    assert not [file for file in cache.rglob("*") if "model.safetensors" in file.name or "incomplete" in file.name]
    logged_in.heal()
    assert_same(TimesCLIPForRegression.from_pretrained(REPO), model, make_batch(model.config))


def test_a_hub_that_is_down_is_named_and_asked_again_by_the_next_call(
    logged_in: HubServer, model: Any, make_batch: Any, empty_cache: Any
) -> None:
    model.push_to_hub(REPO)
    empty_cache()
    for method in ("GET", "HEAD"):
        logged_in.fail(method, "/", status=503, times=100)

    with pytest.raises(OSError, match="We couldn't connect to 'http://127"):
        TimesCLIPForRegression.from_pretrained(REPO)

    logged_in.heal()
    assert_same(TimesCLIPForRegression.from_pretrained(REPO), model, make_batch(model.config))


def test_a_filled_cache_loads_offline(
    logged_in: HubServer, model: Any, processor: TimesCLIPProcessor, make_batch: Any, monkeypatch: Any
) -> None:
    model.push_to_hub(REPO)
    processor.push_to_hub(REPO)
    TimesCLIPForRegression.from_pretrained(REPO)
    TimesCLIPProcessor.from_pretrained(REPO)
    asked = len(logged_in.requests)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    loaded = TimesCLIPForRegression.from_pretrained(REPO)

    assert_same(loaded, model, make_batch(model.config))
    assert TimesCLIPProcessor.from_pretrained(REPO).statistics == processor.statistics
    assert len(logged_in.requests) == asked


# Trainer


@pytest.fixture
def trainer(tiny_config: Any, tmp_path: Path) -> Callable[..., TimesCLIPTrainer]:
    """`trainer(**arguments)`: a trainer over 16 series, two epochs, whose folder is `crop`."""

    def build(**arguments: Any) -> TimesCLIPTrainer:
        torch.manual_seed(0)
        labels = make_series(16).mean(axis=(1, 2))
        data = Dataset.from_dict({"past_values": make_series(16).tolist(), "labels": labels.tolist()})
        processor = TimesCLIPProcessor(
            context_length=12, patch_length=4, patch_stride=2, image_size=None, num_variates=3
        ).fit(data)
        config = processor.complete_config(tiny_config("text_only", head="linear"))
        defaults: dict[str, Any] = {"output_dir": str(tmp_path / "crop"), "num_train_epochs": 2, "disable_tqdm": True}
        quiet: dict[str, Any] = {"report_to": "none", "use_cpu": True, "hub_model_id": REPO}
        return TimesCLIPTrainer(
            model=TimesCLIPForRegression(config),
            args=TimesCLIPTrainingArguments(**{**defaults, **quiet, **arguments}),
            processing_class=processor,
            train_dataset=data,
            eval_dataset=data,
        )

    return build


def assert_loads_as(trainer: TimesCLIPTrainer, revision: str = "main") -> None:
    processor: Any = trainer.processing_class
    loaded = TimesCLIPForRegression.from_pretrained(REPO, revision=revision)
    batch = TimesCLIPProcessor.from_pretrained(REPO, revision=revision)(make_series(3, seed=5))
    for name, tensor in processor(make_series(3, seed=5)).items():
        assert torch.equal(batch[name], tensor), name
    assert_same(loaded, trainer.model, batch)


def test_a_trainer_pushes_in_one_commit_what_loads_and_nothing_else(
    logged_in: HubServer, trainer: Any, tmp_path: Path, empty_cache: Any
) -> None:
    run = trainer()
    run.train()
    (tmp_path / "crop" / "runs").mkdir()
    (tmp_path / "crop" / "runs" / "events.out.tfevents.1").write_bytes(b"log")
    (tmp_path / "crop" / "runs" / "scalars.json").write_text("{}")
    (tmp_path / "crop" / "figure.png").write_bytes(b"PNG")
    (tmp_path / "crop" / "notes.txt").write_text("private")

    run.push_to_hub(commit_message="Trained")

    empty_cache()
    assert_loads_as(run)
    files = logged_in.files(REPO)
    assert kinds(files) == {".safetensors", ".json", ".md", ".py"}
    assert not [path for path in files if "/" in path]
    assert len(logged_in.repos[REPO].commits) == 2  # the Hub's own, and ours
    assert {"config.json", "processor_config.json", "modeling_timesclip.py", "processing_timesclip.py"} <= set(files)
    assert ModelCard(files["README.md"].decode()).data.library_name == "transformers"
    assert not list((tmp_path / "crop").glob("*.py"))


def test_a_push_holds_no_file_of_others_and_follows_no_link(
    logged_in: HubServer, trainer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(transformers.utils.logging.get_logger("timesclip_hf"), "propagate", True)
    secret, folder = tmp_path / "secret", tmp_path / "crop"
    secret.mkdir()
    folder.mkdir()
    (secret / "passwords").write_text("secret")
    own = ["labels.json", "wandb-summary.json", "todo.md", "other.safetensors", "token.json", "all_results.json"]
    own += ["model.bin", "config.json.bak", "model_old.safetensors", "a.py"]
    for name in own:
        (folder / name).write_text("{}")
    links = ["README.md", "adapter_model.safetensors", "model-00001-of-00002.safetensors", "hosts.json", "layers.py"]
    for name in links:
        (folder / name).symlink_to(secret / "passwords")
    (folder / "adapter_config.json").symlink_to(folder / "labels.json")
    (folder / "model").symlink_to(secret)
    run = trainer()

    run.push_to_hub()

    files = logged_in.files(REPO)
    assert b"secret" not in files.values()
    ours = {"config.json", "processor_config.json", "model.safetensors", ".gitattributes"}
    assert {name for name in files if not name.endswith(".py")} == ours
    assert {"modeling_timesclip.py", "layers.py"} <= set(files) and "a.py" not in files
    assert "README.md is a link" in caplog.text
    assert (secret / "passwords").read_text() == "secret" and (folder / "README.md").is_symlink()
    assert {(folder / name).read_text() for name in own} == {"{}"}


@pytest.mark.parametrize("what", ["model", "processor", "config", "trainer"])
def test_saving_does_not_write_through_links_out_of_the_folder(
    model: Any, processor: TimesCLIPProcessor, trainer: Any, tmp_path: Path, what: str
) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "saved"
    folder.mkdir()
    outside.mkdir()
    names = ["config.json", "processor_config.json", "model.safetensors", "README.md", "training_args.json"]
    for name in names:
        (outside / name).write_text("mine")
        (folder / name).symlink_to(outside / name)
    (folder / "mine.json").symlink_to(outside / "config.json")

    if what == "trainer":
        trainer().save_model(str(folder))
    else:
        {"model": model, "processor": processor, "config": model.config}[what].save_pretrained(folder)

    assert {(outside / name).read_text() for name in names} == {"mine"}
    written = {name for name in names if (folder / name).is_file() and not (folder / name).is_symlink()}
    assert written == {
        "model": {"config.json", "model.safetensors"}, "processor": {"processor_config.json"},
        "config": {"config.json"}, "trainer": set(names) - {"README.md"},
    }[what]  # fmt: skip
    assert all((folder / name).is_symlink() for name in {*names, "mine.json"} - written)
    assert sorted(file.name for file in outside.iterdir()) == sorted(names)


def test_saving_into_a_folder_that_a_link_leads_to_writes_there(model: Any, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    model.save_pretrained(tmp_path / "run")
    assert (tmp_path / "run").is_symlink()
    assert type(AutoModel.from_pretrained(tmp_path / "disk")) is TimesCLIPForRegression


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_readme_that_is_a_link_stays_one(trainer: Any, tmp_path: Path, adapter: bool, there: bool) -> None:
    run = trainer()
    if adapter:
        peft = pytest.importorskip("peft")
        run.model = peft.get_peft_model(run.model, lora_config(run.model, r=2))
    folder, target = tmp_path / "saved", tmp_path / "notes.md"
    folder.mkdir()
    (folder / "README.md").symlink_to(target)
    if there:
        target.write_text("# Mine")
    run.save_model(str(folder))
    run.create_model_card(folder)
    assert (folder / "README.md").is_symlink() and target.exists() is there
    assert not there or target.read_text() == "# Mine"


def test_saving_and_pushing_at_once_takes_no_link_along(
    logged_in: HubServer, model: Any, processor: TimesCLIPProcessor, tmp_path: Path
) -> None:
    secret, folder = tmp_path / "secret.json", tmp_path / "crop"
    folder.mkdir()
    secret.write_text(json.dumps({"architectures": ["TimesCLIPForRegression"], "secret": 1}))
    (folder / "config.json").symlink_to(secret)

    processor.save_pretrained(folder, push_to_hub=True, repo_id=REPO)

    assert "config.json" not in logged_in.files(REPO) and "processor_config.json" in logged_in.files(REPO)
    assert "auto_map" not in secret.read_text()
    model.save_pretrained(folder, push_to_hub=True, repo_id=REPO)
    files = logged_in.files(REPO)
    assert kinds(files) == {".json", ".safetensors", ".md", ".py"} and "secret" not in json.loads(files["config.json"])
    assert json.loads(secret.read_text())["secret"] == 1


@pytest.mark.parametrize("strategy", ["end", "every_save"])
def test_training_with_push_to_hub_follows_its_strategy(
    logged_in: HubServer, trainer: Any, strategy: str, empty_cache: Any
) -> None:
    run = trainer(push_to_hub=True, hub_strategy=strategy, hub_always_push=True, load_best_model_at_end=False)
    run.train()

    files = logged_in.files(REPO)
    assert not [path for path in files if "/" in path]
    assert kinds(files) == (set() if strategy == "end" else {".safetensors", ".json", ".md", ".py"})
    if strategy == "every_save":
        empty_cache()
        assert_loads_as(run)
        assert "auto_map" in json.loads(files["config.json"]) and "modeling_timesclip.py" in files
        assert len(logged_in.repos[REPO].commits) == 1 + 2  # the Hub's own, and one for each epoch


@pytest.mark.parametrize("strategy", ["checkpoint", "all_checkpoints"])
def test_pickles_of_checkpoints_are_never_pushed(hub: HubServer, trainer: Any, strategy: str) -> None:
    with pytest.raises(ValueError, match=f"hub_strategy='{strategy}' would push what resuming needs"):
        trainer(push_to_hub=True, hub_strategy=strategy)
    assert not hub.repos


def test_a_trainer_pushes_to_a_branch_in_the_background(logged_in: HubServer, trainer: Any, empty_cache: Any) -> None:
    run = trainer()

    run.push_to_hub(blocking=False, revision="trial").result()

    empty_cache()
    assert_loads_as(run, revision="trial")
    assert set(logged_in.files(REPO)) == {".gitattributes"}


def test_a_push_that_fails_while_training_is_reported_and_training_goes_on(
    logged_in: HubServer, trainer: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(push_to_hub=True, hub_strategy="every_save", hub_always_push=True)
    monkeypatch.setattr(transformers.utils.logging.get_logger("transformers"), "propagate", True)
    monkeypatch.setattr(transformers.utils.logging.get_logger("timesclip_hf"), "propagate", True)
    logged_in.fail("POST", "/commit/", status=400, times=100)

    run.train()

    assert run.state.global_step == run.state.max_steps
    assert "A push to the Hub failed; training goes on." in caplog.text
    assert set(logged_in.files(REPO)) == {".gitattributes"}


def test_a_pushed_forecaster_predicts_the_same_from_the_hub(logged_in: HubServer) -> None:
    days = pd.date_range("2024-01-01", periods=40)
    frame = pd.DataFrame({"unique_id": "a", "ds": days, "y": np.arange(40) % 7.0})
    forecaster = TimesCLIPForecaster(epochs=1, config={"projection_dim": 8}).fit(frame, horizon=3, context_length=14)
    forecaster.push_to_hub("me/load", dataset="loads", private=True)
    files = logged_in.files("me/load")
    assert {"forecaster.json", "model.safetensors", "modeling_timesclip.py", "README.md"} <= set(files)
    assert b"loads" in files["README.md"]
    pd.testing.assert_frame_equal(TimesCLIPForecaster.load("me/load").predict(frame), forecaster.predict())
