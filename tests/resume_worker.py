# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Trains in child processes that kill themselves (SIGKILL) where they are told to; `test_checkpoints.py` talks to it.

Reads one JSON object a line: `output_dir`, `arguments`, `fields` (of the configuration), `resume`, `processes`, and
`kill`: `[event, count]`. Answers with one line: how the child ended, and what it had learnt after every step.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import transformers.modeling_utils
from accelerate.state import AcceleratorState
from conftest import SERIES
from datasets import Dataset
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)

SIZE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8, **SIZE}
WORDS = {"vocab_size": 4, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
TEXT = {"model_type": "clip_text_model", **WORDS, **SIZE}


def make_data(num_samples: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num_samples, 12, 3)).astype(np.float32)
    return Dataset.from_dict({"past_values": values.tolist(), "labels": values[:, :, 0].mean(axis=1).tolist()})


def build(request: dict[str, Any]) -> TimesCLIPTrainer:
    set_seed(0)
    train = make_data(20, 0)
    fields = {"vision_config": VISION, "text_config": TEXT, "projection_dim": 8, "selection_num_heads": 2}
    config = TimesCLIPConfig.from_preset("full", **{**SERIES, **fields, "head": "mlp", **request["fields"]})
    processor = TimesCLIPProcessor.from_config(config).fit(train)
    arguments = {
        "output_dir": request["output_dir"],
        "num_train_epochs": 3,
        "learning_rate": 5e-3,
        "per_device_train_batch_size": 4,
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
    }
    return TimesCLIPTrainer(
        model=TimesCLIPForRegression(processor.complete_config(config)),
        args=TimesCLIPTrainingArguments(**{**arguments, **request["arguments"]}),
        processing_class=processor,
        train_dataset=train,
        eval_dataset=make_data(8, 1),
    )


def digest(model: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode() + tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


class Killer(TrainerCallback):
    """Counts events, and ends the process at one of them."""

    def __init__(self, event: str, count: int):
        self.event, self.count = event, count

    def reached(self, event: str) -> bool:
        self.count -= event == self.event
        return event == self.event and self.count == 0

    def die_at(self, event: str) -> None:
        if self.reached(event):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.die_at("step")

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        self.die_at("saved")

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.die_at("end")

    def inside(self, event: str, write: Callable[..., Any]) -> Callable[..., Any]:
        """A function that writes to its second argument, dying when half of it is written."""

        def replacement(content: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            write(content, path, *args, **kwargs)
            if self.reached(event):
                os.truncate(path, Path(path).stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        return replacement

    def arm(self, trainer: TimesCLIPTrainer) -> None:
        trainer.add_callback(self)
        compute_metrics = trainer.compute_metrics

        def measure(prediction: Any) -> dict[str, float]:
            self.die_at("evaluation")
            return compute_metrics(prediction)

        trainer.compute_metrics = measure
        torch.save = self.inside("torch.save", torch.save)
        replaced = self.inside("weights", safetensors.torch.save_file)
        transformers.modeling_utils.safe_save_file = replaced  # type: ignore[attr-defined]
        remove = shutil.rmtree

        def rmtree(path: Any, *args: Any, **kwargs: Any) -> None:
            files = sorted(entry for entry in Path(path).rglob("*") if entry.is_file())
            if files and self.reached("deletion"):
                for entry in files[::2]:
                    entry.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            remove(path, *args, **kwargs)

        shutil.rmtree = rmtree
        changing = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
        ours = str(trainer.args.output_dir)

        def audit(event: str, details: tuple[Any, ...]) -> None:
            path = str(details[0]) if details else ""
            inside = path.startswith(ours) or not path.startswith("/")  # deleting names files within an open folder
            if inside and (event in changing or (event == "open" and "w" in str(details[1]))):
                self.die_at("file")

        if self.event == "file":
            sys.addaudithook(audit)


class Record(TrainerCallback):
    """What the model was after each step."""

    def __init__(self) -> None:
        self.steps: dict[int, str] = {}
        self.evaluations: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.steps[state.global_step] = digest(model)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.evaluations.append(metrics["eval_rmse"])


def run(request: dict[str, Any]) -> dict[str, Any]:
    trainer = build(request)
    record = Record()
    trainer.add_callback(record)
    Killer(*(request["kill"] or ["never", 0])).arm(trainer)
    try:
        trainer.train(resume_from_checkpoint=request["resume"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    state = trainer.state
    stopping = [cb for cb in trainer.callback_handler.callbacks if isinstance(cb, EarlyStoppingCallback)]
    return {
        "weights": digest(trainer.model),
        "steps": record.steps,
        "evaluations": record.evaluations,
        "best": [state.best_metric, state.best_global_step],
        "counts": [callback.early_stopping_patience_counter for callback in stopping],
        "global_step": state.global_step,
    }


def warm_up(output_dir: Path) -> None:
    """One run before all others: what is imported on the way need not be imported in every child."""
    request = {
        "output_dir": str(output_dir),
        "arguments": {"max_steps": 1},
        "fields": {},
        "resume": None,
        "kill": None,
    }
    run(request)
    AcceleratorState._reset_state(reset_partial_state=True)


def child(request: dict[str, Any], rank: int, answer: Path) -> None:
    if request["processes"] > 1:
        world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": request["processes"], "MASTER_PORT": request["port"]}
        os.environ |= {name: str(value) for name, value in world.items()} | {"MASTER_ADDR": "127.0.0.1"}
    if rank > 0:
        request["kill"] = None
    result = run(request)
    if rank == 0:
        answer.write_text(json.dumps(result))


def serve(request: dict[str, Any], answer: Path) -> dict[str, Any]:
    answer.unlink(missing_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        request["port"] = free.getsockname()[1]
    children = []
    for rank in range(request["processes"]):
        pid = os.fork()
        if pid == 0:
            try:
                child(request, rank, answer)
            finally:
                os._exit(0)
        children.append(pid)
    _, status = os.waitpid(children[0], 0)
    for pid in children[1:]:
        if os.WIFSIGNALED(status):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"signal": None, **json.loads(answer.read_text())}


if __name__ == "__main__":
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # Trainer prints its logs
    warm_up(Path(sys.argv[1]).parent / "warm_up")
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line), Path(sys.argv[1]))), file=answers, flush=True)
