# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Killed (SIGKILL) anywhere, a training goes on to the very weights of an undisturbed one.

The trainings run in children of one worker (`resume_worker.py`): 20 series, 5 batches of 4 an epoch, 3 epochs.
"""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from timesclip_hf.training import checkpoints

EPOCH = 5  # steps


class Worker:
    """Sends requests to the worker; remembers what undisturbed runs gave."""

    def __init__(self, folder: Path):
        self.log = (folder / "log.txt").open("w")
        command = [sys.executable, str(Path(__file__).parents[1] / "resume_worker.py"), str(folder / "answer.json")]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "HF_HOME": str(folder / "home")}
        self.process = subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=self.log, text=True, bufsize=1, env=environment
        )
        self.undisturbed: dict[str, dict[str, Any]] = {}
        self.folder = folder

    def train(self, output_dir: Path, **request: Any) -> dict[str, Any]:
        defaults = {"arguments": {}, "fields": {}, "resume": True, "processes": 1, "kill": None}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({**defaults, **request, "output_dir": str(output_dir)}) + "\n")
        return json.loads(self.process.stdout.readline())

    def expected(self, **settings: Any) -> dict[str, Any]:
        """An undisturbed run with these settings."""
        key = json.dumps(settings, sort_keys=True)
        if key not in self.undisturbed:
            self.undisturbed[key] = self.train(self.folder / f"undisturbed-{len(self.undisturbed)}", **settings)
        return self.undisturbed[key]

    def killed(self, output_dir: Path, event: str, count: int, **settings: Any) -> None:
        """A run that died there."""
        assert self.train(output_dir, kill=[event, count], **settings) == {"signal": signal.SIGKILL}

    def logged(self) -> str:
        return Path(self.log.name).read_text()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    started = Worker(tmp_path_factory.mktemp("resume"))
    yield started
    started.process.stdin.close()  # type: ignore[union-attr]
    started.process.wait()
    started.log.close()


def assert_went_on(resumed: dict[str, Any], undisturbed: dict[str, Any], after: int) -> None:
    """`resumed` did all steps after `after`, and nothing else, with what the undisturbed run had at each of them."""
    assert resumed.get("error") is None and undisturbed.get("error") is None
    assert resumed["steps"] == {step: found for step, found in undisturbed["steps"].items() if int(step) > after}
    for result in ("weights", "best", "counts", "global_step"):
        assert resumed[result] == undisturbed[result], result


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("event", "count", "after"),
    [
        ("step", 3, 0),  # in the first epoch: nothing saved yet
        ("step", 8, 5),
        ("evaluation", 2, 5),
        ("weights", 2, 5),  # half of model.safetensors written
        ("torch.save", 7, 5),  # half of a .pt or .pth file written
        ("saved", 2, 10),
        ("deletion", 1, 15),  # of checkpoint-10, half: 15 is complete, 5 is the best
        ("deletion", 2, 5),  # of checkpoint-15 at the end, when only the best is kept
        ("end", 1, 5),
    ],
)
def test_killed_anywhere_a_run_goes_on_bit_for_bit(
    worker: Worker, tmp_path: Path, event: str, count: int, after: int
) -> None:
    worker.killed(tmp_path, event, count)
    assert_went_on(worker.train(tmp_path), worker.expected(), after)
    assert names(tmp_path) == {"checkpoint-5"}  # the best; what was half written or deleted is gone


@pytest.mark.parametrize("count", range(9, 70, 15))
def test_killed_before_any_change_of_a_file_a_run_goes_on_bit_for_bit(
    worker: Worker, tmp_path: Path, count: int
) -> None:
    worker.killed(tmp_path, "file", count)
    resumed = worker.train(tmp_path)
    steps = [int(step) for step in resumed["steps"]] or [16]
    assert_went_on(resumed, worker.expected(), min(steps) - 1)
    assert names(tmp_path) == {"checkpoint-5"}


STEPS = {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 3, "eval_steps": 3}


@pytest.mark.parametrize(
    ("arguments", "fields", "kill", "after"),
    [
        pytest.param(STEPS, {}, ("step", 8), 6, id="in the middle of an epoch"),
        pytest.param({**STEPS, "dataloader_num_workers": 1}, {}, ("step", 8), 6, id="worker processes"),
        pytest.param(
            {**STEPS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "num_train_epochs": 4},
            {},
            ("step", 8),
            6,
            id="accumulated gradients, the last of an epoch fewer",
        ),
        pytest.param(
            {"tower_learning_rate": 1e-4, "epoch_decay": 0.5},
            {"learn_logit_scale": True, "alignment_weighting": "warmup", "alignment_warmup_steps": 20},
            ("step", 8),
            5,
            id="learnt tau, warmup of lambda, two rates, decay",
        ),
        pytest.param({}, {"alignment_weighting": "uncertainty"}, ("step", 12), 10, id="learnt loss weights"),
        pytest.param({**STEPS, "average_epochs": 1.0}, {}, ("step", 8), 6, id="averaged weights"),
        pytest.param(
            {"eval_on_start": True, "learning_rate": 10.0, "early_stopping_patience": 4},
            {},
            ("step", 12),
            10,
            id="the start is the best",
        ),
        pytest.param(
            {"learning_rate": 0.0, "num_train_epochs": 9, "early_stopping_patience": 3, "eval_on_start": True},
            {},
            ("step", 13),
            10,
            id="patience partly used",
        ),
        pytest.param(
            {"learning_rate": 0.0, "num_train_epochs": 9, "early_stopping_patience": 1, "save_total_limit": None},
            {},
            ("saved", 2),
            10,
            id="stopped early",
        ),
        pytest.param({**STEPS, "max_steps": 7}, {}, ("saved", 3), 7, id="no step left"),
        pytest.param(
            {"save_strategy": "steps", "save_steps": 5, "load_best_model_at_end": False},
            {},
            ("step", 8),
            5,
            id="saved in steps, evaluated after epochs",
        ),
    ],
)
def test_whatever_a_run_carries_along_is_resumed_bit_for_bit(
    worker: Worker,
    tmp_path: Path,
    arguments: dict[str, Any],
    fields: dict[str, Any],
    kill: tuple[str, int],
    after: int,
) -> None:
    settings = {"arguments": arguments, "fields": fields}
    worker.killed(tmp_path, *kill, **settings)
    assert_went_on(worker.train(tmp_path, **settings), worker.expected(**settings), after)


def test_killed_again_and_again_a_run_still_ends_where_it_should(worker: Worker, tmp_path: Path) -> None:
    kills = [("step", 1), ("weights", 1), ("evaluation", 2), ("torch.save", 2), ("saved", 1), ("evaluation", 1)]
    for event, count in [*kills, ("end", 1)]:
        worker.killed(tmp_path, event, count)
    assert worker.train(tmp_path)["weights"] == worker.expected()["weights"]


def test_two_processes_resume_bit_for_bit_when_one_is_killed_while_it_writes(worker: Worker, tmp_path: Path) -> None:
    settings = {"processes": 2, "arguments": {"per_device_train_batch_size": 2}}
    worker.killed(tmp_path, "torch.save", 5, **settings)
    assert_went_on(worker.train(tmp_path, **settings), worker.expected(**settings), 5)
    assert names(tmp_path) == {f"checkpoint-{worker.expected(**settings)['best'][1]}"}


def test_without_any_checkpoint_a_run_starts_from_scratch_and_says_so(worker: Worker, tmp_path: Path) -> None:
    assert_went_on(worker.train(tmp_path / "new"), worker.expected(), 0)
    assert f"No complete checkpoint in {tmp_path / 'new'}: training starts from scratch." in worker.logged()


@pytest.fixture(scope="module")
def killed_run(worker: Worker) -> Path:
    folder = worker.folder / "killed"
    worker.killed(folder, "saved", 2, arguments={"save_total_limit": None})
    assert names(folder) == {"checkpoint-5", "checkpoint-10", "_timesclip_hf"}  # its lock
    return folder


@pytest.fixture
def two_checkpoints(killed_run: Path, tmp_path: Path) -> Path:
    """A copy of a killed run; its `trainer_state.json` still names the best checkpoint where it was written."""
    return Path(shutil.copytree(killed_run, tmp_path / "run"))


def flip(path: Path, place: int) -> None:
    """One bit of one byte: the size stays."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def listed_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix != ".md" and path.name != "checkpoint_files.json")


def test_one_flipped_bit_anywhere_is_found_and_its_file_named(two_checkpoints: Path) -> None:
    folder = two_checkpoints / "checkpoint-10"
    assert checkpoints._fault(folder) is None
    for path in listed_files(folder):
        content = path.read_bytes()
        for place in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
            flip(path, place)
            assert checkpoints._fault(folder) == f"{path.name} is damaged: its content is not what was written"
            path.write_bytes(content)
        path.write_bytes(os.urandom(len(content)))
        assert path.name in str(checkpoints._fault(folder))
        path.write_bytes(content)
    assert checkpoints._fault(folder) is None


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '"text"',
        "7",
        "null",
        "[" * 100_000,
        '{"a":' * 100_000,
        "",
        "\udcff",
        '{"trainer_state.json": "12"}',
    ],
    ids=[
        "list",
        "empty",
        "text",
        "number",
        "null",
        "deep list",
        "deep object",
        "no bytes",
        "no UTF-8",
        "text as size",
    ],
)
def test_a_list_of_files_that_is_none_is_damaged(two_checkpoints: Path, content: str) -> None:
    folder = two_checkpoints / "checkpoint-10"
    (folder / "checkpoint_files.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert "its checkpoint_files.json is damaged" in str(checkpoints._fault(folder))


def list_sizes_only(folder: Path) -> None:
    """As earlier versions did."""
    sizes = {path.name: path.stat().st_size for path in listed_files(folder)}
    (folder / "checkpoint_files.json").write_text(json.dumps(sizes))


def test_checkpoints_of_earlier_versions_resume_and_their_json_must_be_objects(
    worker: Worker, two_checkpoints: Path
) -> None:
    for name in ("checkpoint-5", "checkpoint-10"):
        list_sizes_only(two_checkpoints / name)
    state = two_checkpoints / "checkpoint-10" / "trainer_state.json"
    content = state.read_text()
    for damaged, said in [
        ("[" * len(content), "it is nested too deeply"),
        (json.dumps("x" * (len(content) - 2)), "it holds a str instead of an object"),
        (content[:-1] + "]", "trainer_state.json is damaged"),
    ]:
        state.write_text(damaged)
        assert said in str(checkpoints._fault(state.parent))
    assert_went_on(worker.train(two_checkpoints), worker.expected(), 5)
    assert f"{state.parent} is passed over: trainer_state.json is damaged" in worker.logged()


def test_a_newest_checkpoint_with_one_wrong_bit_is_passed_over(worker: Worker, two_checkpoints: Path) -> None:
    weights = two_checkpoints / "checkpoint-10" / "model.safetensors"
    flip(weights, weights.stat().st_size - 5)
    error = worker.train(two_checkpoints, resume=str(weights.parent))["error"]
    assert "model.safetensors is damaged" in error and error.endswith("checkpoint-5.")
    assert_went_on(worker.train(two_checkpoints), worker.expected(), 5)
    assert f"{weights.parent} is passed over: model.safetensors is damaged" in worker.logged()


def test_a_damaged_best_checkpoint_is_named_and_never_loaded(worker: Worker, two_checkpoints: Path) -> None:
    state_file = two_checkpoints / "checkpoint-10" / "trainer_state.json"
    state_file.write_text(state_file.read_text().replace(str(worker.folder / "killed"), str(two_checkpoints)))
    list_sizes_only(state_file.parent)  # written here, and not copied
    assert worker.expected()["best"][1] == 5
    weights = two_checkpoints / "checkpoint-5" / "model.safetensors"
    flip(weights, weights.stat().st_size - 5)
    resumed, undisturbed = worker.train(two_checkpoints), worker.expected()
    assert resumed["best"][1] == 15 and resumed["weights"] == undisturbed["steps"]["15"]
    assert f"{weights.parent}, the best checkpoint so far, is lost: model.safetensors is damaged" in worker.logged()


@pytest.mark.parametrize("damage", ["removed", "cut", "empty folder"])
def test_a_damaged_checkpoint_is_passed_over_and_refused_by_name(
    worker: Worker, two_checkpoints: Path, damage: str
) -> None:
    broken = two_checkpoints / "checkpoint-10"
    if damage == "removed":
        (broken / "optimizer.pt").unlink()
        fault = "optimizer.pt is missing"
    elif damage == "cut":
        size = (broken / "model.safetensors").stat().st_size
        with (broken / "model.safetensors").open("rb+") as file:
            file.truncate(100)
        fault = f"model.safetensors has 100 bytes instead of {size}"
    else:
        shutil.rmtree(broken)
        broken.mkdir()
        fault = "it has no checkpoint_files.json"
    error = worker.train(two_checkpoints, resume=str(broken))["error"]
    assert error.startswith(f"ValueError: {broken} is not a complete checkpoint: {fault}")
    assert error.endswith(f"Complete ones in {two_checkpoints}: checkpoint-5.")
    assert_went_on(worker.train(two_checkpoints), worker.expected(), 5)
    assert f"{broken} is passed over: {fault}" in worker.logged()


def test_a_copied_folder_still_knows_its_best_checkpoint(worker: Worker, two_checkpoints: Path) -> None:
    assert_went_on(worker.train(two_checkpoints), worker.expected(), 10)
    assert names(two_checkpoints) == {"checkpoint-5"}


def test_arguments_are_saved_as_json_without_tokens_and_not_as_a_pickle(worker: Worker, tmp_path: Path) -> None:
    worker.killed(tmp_path, "saved", 1, arguments={"hub_token": "hf_secret", "epoch_decay": 0.5})
    folder = tmp_path / "checkpoint-5"
    assert names(folder) == {
        *("config.json", "model.safetensors", "processor_config.json", "trainer_state.json", "training_args.json"),
        *("optimizer.pt", "scheduler.pt", "rng_state.pth", "checkpoint_files.json", "README.md"),
    }
    saved = json.loads((folder / "training_args.json").read_text())
    assert saved["epoch_decay"] == 0.5 and saved["learning_rate"] == 5e-3
    assert not any("token" in name and name.startswith(("hub", "push")) for name in saved)
    assert not any(b"hf_secret" in path.read_bytes() for path in folder.iterdir())


class Payload:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
def test_no_code_in_a_checkpoint_is_run(worker: Worker, two_checkpoints: Path, tmp_path: Path, name: str) -> None:
    folder, touched = two_checkpoints / "checkpoint-10", tmp_path / "touched"
    torch.save({"state": Payload(touched)}, folder / name)
    with zipfile.ZipFile(folder / name) as archive:  # it would run
        pickle.loads(archive.read(next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))))
    assert touched.exists()
    touched.unlink()
    sizes = json.loads((folder / "checkpoint_files.json").read_text())
    (folder / "checkpoint_files.json").write_text(json.dumps({**sizes, name: (folder / name).stat().st_size}))
    error = worker.train(two_checkpoints).get("error")
    assert (error is None) == (name == "training_args.bin"), error  # nothing reads that one
    assert not touched.exists()
