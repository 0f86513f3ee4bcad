# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Two processes train, evaluate and stream as one process does on the same global batches."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import process_runs
import pytest
import torch
from filelock import FileLock
from process_runs import CACHED_RUNS, NUM_SAMPLES, RUNS, SHARDED_ARGUMENTS, STREAMS
from safetensors.torch import load_file

SHARDED = ("global", "hybrid_cached")
TIMINGS = ("runtime", "per_second", "_time")


def launch(names: list[str], folder: Path) -> None:
    """Makes the runs in two processes, as `torchrun` and `accelerate launch` start them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    script = [str(Path(__file__).parents[1] / "process_runs.py"), str(folder), *names]
    done = subprocess.run([*command, *script], capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes found in all runs, which are made once for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "two_processes"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "done").exists():
            kinds = {"train": (*RUNS, *CACHED_RUNS), "stream": STREAMS, "sharded": SHARDED}
            launch([f"{kind}:{name}" for kind, names in kinds.items() for name in names], folder)
            (folder / "done").touch()
    return folder


def found(folder: Path, run: str, rank: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What one of the two processes left."""
    name = f"{run}_{rank}"
    return load_file(folder / f"{name}.safetensors"), json.loads((folder / f"{name}.json").read_text())


def check_tensors(here: dict[str, torch.Tensor], there: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-5 of the largest of a kind: of a step's gradients, of the weights, of the predictions."""
    assert here.keys() == there.keys()
    largest: dict[str, float] = {}
    for name, tensor in here.items():
        kind = name.split(".")[0]
        largest[kind] = max(largest.get(kind, 0), tensor.abs().max().item())
    for name, tensor in here.items():
        atol = 1e-5 * largest[name.split(".")[0]]
        # Predictions are float64 where one process needs it for the levels of its own samples.
        options = {"rtol": 1e-5, "atol": atol, "check_dtype": not name.startswith("predictions")}
        torch.testing.assert_close(there[name], tensor, **options, msg=lambda m, n=name: f"{n}: {m}")
    assert min(largest.values()) > 1e-3  # nothing is equal because it is nothing


def check_logs(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> None:
    """The same losses and metrics, log by log."""

    def plain(logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in log.items() if not any(part in k for part in TIMINGS)} for log in logs]

    assert len(here) == len(there)
    for one, other in zip(plain(here), plain(there), strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", RUNS)
def test_losses_gradients_weights_and_metrics_equal_one_process(name: str, two: Path, tmp_path: Path):
    tensors, facts = process_runs.train_run(name, tmp_path)
    for rank in range(2):
        tensors_there, facts_there = found(two, f"train_{name}", rank)
        check_tensors(tensors, tensors_there)
        check_logs(facts["logs"], facts_there["logs"])


@pytest.mark.parametrize("name", CACHED_RUNS)
def test_alignment_over_accumulation_equals_the_whole_batch_at_once(name: str, two: Path, tmp_path: Path):
    # 8 + 8 + 7 samples at once, against 4 + 4, 4 + 4 and 4 + 3, in one process and in two
    whole, facts = process_runs.train_run(name.removesuffix("_cached"), tmp_path, gradient_accumulation_steps=1)
    cached, cached_facts = process_runs.train_run(name, tmp_path)
    runs = [(cached, cached_facts), *(found(two, f"train_{name}", rank) for rank in range(2))]
    for tensors_there, facts_there in runs:
        check_tensors(whole, tensors_there)
        check_logs(facts["logs"], facts_there["logs"])


def test_plain_accumulation_compares_within_each_batch(tmp_path: Path):
    # the control of the test above: without the cache the alignment gradient is another one
    whole, _ = process_runs.train_run("variate", tmp_path)
    parts, _ = process_runs.train_run("variate", tmp_path, gradient_accumulation_steps=2, global_batch=4)
    name = next(n for n in whole if n.startswith("gradient0.") and "vision_projection" in n)
    assert (whole[name] - parts[name]).abs().max() > 0.01 * whole[name].abs().max()


@pytest.mark.parametrize("name", STREAMS)
def test_streams_reach_each_process_in_parts_and_every_sample_once_a_pass(name: str, two: Path, tmp_path: Path):
    tensors, facts = process_runs.stream_run(name, tmp_path)
    shares = [found(two, f"stream_{name}", rank) for rank in range(2)]
    for tensors_there, facts_there in shares:
        check_tensors(tensors, tensors_there)
        check_logs(facts["logs"], facts_there["logs"])
    passes = [facts_there["batches"] for _, facts_there in shares]
    together = [sorted(one + other) for one, other in zip(*passes, strict=True)]
    assert together == [sorted(batch) for batch in facts["batches"]]
    for start in (0, 3):
        assert sorted(sum(together[start : start + 3], [])) == list(range(NUM_SAMPLES))
    assert (together[:3] == together[3:]) == (name != "shuffled")  # a new order each pass


@pytest.mark.parametrize("name", SHARDED)
def test_sharded_weights_train_save_reload_and_resume(name: str, two: Path, tmp_path: Path):
    _, facts = process_runs.train_run(name, tmp_path, **SHARDED_ARGUMENTS)
    expected = [log["loss"] for log in facts["logs"] if "loss" in log]
    for rank in range(2):
        tensors, found_facts = found(two, f"sharded_{name}", rank)
        assert found_facts["kinds"] == ["DTensor"]
        for losses in found_facts["losses"]:  # undisturbed, and resumed after the first epoch
            assert losses == pytest.approx(expected, rel=1e-5)
        trained = {n.removeprefix("trained."): t for n, t in tensors.items() if n.startswith("trained.")}
        for kind in ("saved", "resumed"):
            assert all(torch.equal(tensors[f"{kind}.{n}"], t) for n, t in trained.items())
        assert [error.split()[0] for error in found_facts["refused"]] == ["average_epochs", "eval_on_start"]
