# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One training at a time in a folder, nobody else's files, and never an empty folder at the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_trainers import trainer_builder
from transformers import TrainerCallback

from timesclip_hf.training import output_lock
from timesclip_hf.training.output_lock import OutputLock

HOLD = """
import sys, time
from timesclip_hf.training.output_lock import OutputLock
lock = OutputLock(sys.argv[1])
print(lock.acquire(), flush=True)
time.sleep(60)
"""


class AtStep(TrainerCallback):
    def __init__(self, step: int, do: Callable[[], Any]):
        self.step, self.do, self.found = step, do, None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.found = self.do()


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Callable[..., Any]:
    return trainer_builder(tiny_config, tmp_path)


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_training_is_refused_with_who_is_at_work_and_the_first_ends_well(build: Any, tmp_path: Path) -> None:
    settings = {
        "save_strategy": "steps",
        "save_steps": 1,
        "num_train_epochs": 2,
        "load_best_model_at_end": False,
        "save_total_limit": None,
    }

    def second() -> None:
        with pytest.raises(
            ValueError, match=rf"run is the output_dir of another.*process {os.getpid()} on .*, since 20"
        ):
            build(**settings).train()
        build(save_strategy="no", load_best_model_at_end=False).train()  # who saves nothing is in nobody's way
        assert (tmp_path / "run" / "_timesclip_hf" / "training.lock").exists()

    first = build(**settings)
    first.add_callback(AtStep(2, second))
    first.train()
    assert listed(tmp_path / "run") == [f"checkpoint-{step}" for step in range(1, 7)]
    build(**settings).train(resume_from_checkpoint=True)  # now it is free
    broken = build(**settings)
    broken.add_callback(AtStep(1, lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        broken.train()
    assert "_timesclip_hf" not in listed(tmp_path / "run")


def holder(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None and process.stdout.readline() == "None\n"
    return process


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    process = holder(tmp_path)
    told = OutputLock(tmp_path).acquire()
    assert told is not None and f"process {process.pid} on {socket.gethostname()}" in told
    process.send_signal(signal.SIGKILL)
    process.wait()
    lock = OutputLock(tmp_path)
    assert lock.acquire() is None
    assert json.loads((tmp_path / "_timesclip_hf" / "training.json").read_text())["pid"] == os.getpid()
    lock.release()
    assert listed(tmp_path) == []


@pytest.mark.parametrize("who", ["", "[1]", '{"host": "other", "pid": 1}', '{"host": 5, "pid": "x"}', "\x00"])
def test_what_a_lock_says_may_be_damaged_or_of_another_host(tmp_path: Path, monkeypatch: Any, who: str) -> None:
    monkeypatch.setattr(output_lock, "_PATIENCE", 0.2)
    process = holder(tmp_path)
    (tmp_path / "_timesclip_hf" / "training.json").write_text(who)
    try:
        started = time.monotonic()
        told = OutputLock(tmp_path).acquire()
        assert told is not None and "another training that is at work" in told and time.monotonic() - started > 0.15
    finally:
        process.kill()
        process.wait()
    lock = OutputLock(tmp_path)
    assert lock.acquire() is None
    lock.release()


def test_where_there_are_no_locks_a_training_goes_on(build: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(output_lock.FileLock, "acquire", fail)
    build(save_strategy="epoch").train()
    assert "checkpoint-3" in listed(tmp_path / "run")


def test_folders_of_others_stay(build: Any, tmp_path: Path) -> None:
    for name in ("_unfinished", "_timesclip", "unfinished", "_timesclip_hf"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "notes.txt").write_text("mine")
    build(save_strategy="epoch", num_train_epochs=2, save_total_limit=1).train()
    for name in ("_unfinished", "_timesclip", "unfinished", "_timesclip_hf"):
        assert (tmp_path / "run" / name / "notes.txt").read_text() == "mine"


def test_what_a_killed_run_left_unfinished_is_cleared_away(build: Any, tmp_path: Path) -> None:
    for name in ("checkpoint-7", "deleted-checkpoint-2"):
        (tmp_path / "run" / "_timesclip_hf" / name).mkdir(parents=True)
        (tmp_path / "run" / "_timesclip_hf" / name / "half").write_text("x")
    build(save_strategy="epoch").train()
    assert listed(tmp_path / "run") == ["checkpoint-3"]


BEST = {"save_strategy": "epoch", "eval_strategy": "epoch", "load_best_model_at_end": True, "save_total_limit": 1}


def test_resumed_from_another_folder_the_new_one_is_never_empty(build: Any, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    errors = iter([3.0, 5.0, 6.0, 7.0])  # after the first epoch nothing gets better: the best stays in the old folder
    given = {"compute_metrics": lambda prediction: {"rmse": next(errors)}}
    first = {**BEST, "save_total_limit": None, "num_train_epochs": 2, "output_dir": str(old)}
    build(**first, given=given).train()
    state = json.loads((old / "checkpoint-6" / "trainer_state.json").read_text())
    (new / "checkpoint-3").mkdir(parents=True)  # of another run, with the number of the old best one
    (new / "checkpoint-3" / "of_another_run.txt").write_text("mine")
    later = build(**{**BEST, "num_train_epochs": 4, "output_dir": str(new)}, given=given)
    later.train(resume_from_checkpoint=str(old / "checkpoint-6"))
    assert later.state.best_model_checkpoint == state["best_model_checkpoint"]
    assert "checkpoint-12" in listed(new) and sorted(listed(old)) == ["checkpoint-3", "checkpoint-6"]


def test_without_another_folder_only_the_best_stays(build: Any, tmp_path: Path) -> None:
    trainer = build(**BEST, num_train_epochs=3)
    trainer.train()
    assert listed(tmp_path / "run") == [f"checkpoint-{trainer.state.best_global_step}"]
    assert trainer.args.save_total_limit == 1
