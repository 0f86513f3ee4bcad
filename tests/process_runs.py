# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Training runs that `test_processes.py` makes in one process and, with this file as a script, in several."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState, DistributedType, PartialState
from conftest import SERIES, tower_fields
from datasets import Dataset, IterableDataset
from safetensors.torch import save_file
from transformers import TrainerCallback, set_seed

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPDataCollator,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)

NUM_SAMPLES = 23  # batches of 8, 8 and 7: with two processes shares of 4 + 4, 4 + 4 and 3 + 4
QUIET = {"disable_tqdm": True, "report_to": "none", "use_cpu": True}
PROCESSES = int(os.environ.get("WORLD_SIZE", 1))

# Every run: the model, fields of its configuration, training arguments.
RUNS: dict[str, tuple[type, dict[str, Any], dict[str, Any]]] = {
    "variate": (TimesCLIPForRegression, {"alignment": "variate"}, {}),
    "global": (TimesCLIPForRegression, {"alignment": "global", "learn_logit_scale": True}, {}),
    "hybrid": (
        TimesCLIPForRegression,
        {"alignment": "hybrid", "learn_logit_scale": True, "alignment_weighting": "uncertainty"},
        {"gradient_accumulation_steps": 2},
    ),
    "warmup": (TimesCLIPForRegression, {"alignment_weighting": "warmup", "alignment_warmup_steps": 4}, {}),
    "unaligned": (TimesCLIPForRegression, {"alignment": None}, {}),
    "forecast": (TimesCLIPForPrediction, {"learn_logit_scale": True, "prediction_length": 4}, {}),
    "classes": (
        TimesCLIPForClassification, {"num_labels": 3, "class_weights": [1, 3, 0.5]}, {"label_smoothing_factor": 0.1},
    ),
    "function": (TimesCLIPForRegression, {}, {"gradient_accumulation_steps": 2}),
    "pretraining": (TimesCLIPForPreTraining, {"learn_logit_scale": True}, {"gradient_accumulation_steps": 2}),
}  # fmt: skip
_CACHED = {"alignment_over_accumulation": True, "gradient_accumulation_steps": 2, "global_batch": 4}
CACHED_RUNS = {
    f"{name}_cached": (*RUNS[name][:2], {**RUNS[name][2], **_CACHED})
    for name in ("variate", "hybrid", "forecast", "classes", "pretraining")
}
CACHED_RUNS["warmup_cached"] = (RUNS["warmup"][0], RUNS["warmup"][1], _CACHED)


def make_rows(num_samples: int, labels: str, seed: int = 0) -> dict[str, list[Any]]:
    """Series with labels of a kind; of the forecasts' labels most are missing, all of some samples."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num_samples, 12, 3)).cumsum(1).astype(np.float32)
    wanted: Any = rng.normal(size=(num_samples, 1)) + 5
    if labels == "forecast":
        wanted = rng.normal(size=(num_samples, 4, 3))
        wanted[rng.random(wanted.shape) < np.linspace(0, 1, num_samples)[:, None, None]] = np.nan
    elif labels == "classes":
        wanted = rng.integers(0, 3, num_samples)
    return {
        "past_values": values.tolist(),
        "labels": wanted.tolist(),
        "number": [100 * seed + number for number in range(num_samples)],
    }


def cubic_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A loss of one's own: a sum over the items of an optimizer step."""
    return (outputs.predictions - labels).abs().pow(3).sum() / num_items_in_batch


class KeepGradients(TrainerCallback):
    """What every optimizer step is made from; where weights are sharded there are no whole gradients."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
                self.found[f"gradient{state.global_step}.{name}"] = gradient


def build(name: str, folder: Path, train: Any = None, validation: Any = None, **arguments: Any) -> TimesCLIPTrainer:
    """The trainer of a run; its batch size is that of all processes together."""
    model_class, fields, own_arguments = {**RUNS, **CACHED_RUNS}[name]
    arguments = {"global_batch": 8, **own_arguments, **arguments}
    set_seed(0)
    certain = {"head_dropout": [0.0], "text_dropout": 0.0, "selection_dropout": 0.0}
    size = {"head": "linear", "freeze_vision": False, **certain}
    config = TimesCLIPConfig.from_preset("full", **{**tower_fields(), **SERIES, **size, **fields})
    labels = name.removesuffix("_cached")
    whole = Dataset.from_dict(make_rows(NUM_SAMPLES, labels))
    fitted = whole.remove_columns("labels") if labels in ("classes", "forecast", "pretraining") else whole
    processor = TimesCLIPProcessor.from_config(config).fit(fitted)
    defaults: dict[str, Any] = {
        "output_dir": str(folder / f"{name}{PROCESSES}"),
        "num_train_epochs": 1,
        "optim": "sgd",
        "learning_rate": 0.005,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "max_grad_norm": 0.0,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "per_device_train_batch_size": arguments.pop("global_batch") // PROCESSES,
        "per_device_eval_batch_size": 2,
    }
    return TimesCLIPTrainer(
        model=model_class(processor.complete_config(config)),
        args=TimesCLIPTrainingArguments(**{**defaults, **QUIET, **arguments}),
        processing_class=processor,
        train_dataset=whole if train is None else train,
        eval_dataset=Dataset.from_dict(make_rows(11, labels, seed=1)) if validation is None else validation,
        compute_loss_func=cubic_loss if name == "function" else None,
    )


def train_run(name: str, folder: Path, **arguments: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Gradients of every step, weights at the end, predictions in order, and everything that was logged."""
    trainer = build(name, folder, **arguments)
    kept = KeepGradients()
    trainer.add_callback(kept)
    trainer.train()
    tensors = {**kept.found, **{f"weight.{n}": p.detach().clone() for n, p in trainer.model.named_parameters()}}
    logs = trainer.state.log_history
    for rows in (1, 3, 4, 10):  # an evaluation step of two processes takes 4
        data = trainer.eval_dataset.select(range(rows))
        output = trainer.predict(data)
        predictions = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        tensors[f"predictions{rows}"] = torch.tensor(predictions)
        logs.append(dict(output.metrics or {}))
    return tensors, {"logs": logs}


class WatchingCollator(TimesCLIPDataCollator):
    """Takes note of the samples that it is given for training."""

    seen: list[list[int]]

    def __call__(self, rows: Any) -> dict[str, Any]:
        numbers = [row["number"] for row in rows]
        if max(numbers) < NUM_SAMPLES:  # the others are of the validation part
            self.seen.append(numbers)
        return super().__call__(rows)


def _generated(num_samples: int) -> Any:
    rows = Dataset.from_dict(make_rows(num_samples, "forecast"))
    return IterableDataset.from_generator(lambda: iter(rows))


STREAMS: dict[str, Callable[[], Any]] = {
    "sharded": lambda: Dataset.from_dict(make_rows(NUM_SAMPLES, "forecast")).to_iterable_dataset(num_shards=3),
    "shuffled": lambda: (
        Dataset.from_dict(make_rows(NUM_SAMPLES, "forecast"))
        .to_iterable_dataset(num_shards=3)
        .shuffle(seed=0, buffer_size=5)
    ),
    "generated": lambda: _generated(NUM_SAMPLES),
}


def stream_run(name: str, folder: Path, **arguments: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Two passes over a stream, evaluated on a stream; which samples this process was given, pass by pass."""
    validation = Dataset.from_dict(make_rows(11, "forecast", seed=1)).to_iterable_dataset(num_shards=2)
    trainer = build("forecast", folder, STREAMS[name](), validation, max_steps=6, **arguments)
    watching = WatchingCollator(trainer.processing_class, draw=False)
    trainer.data_collator, watching.seen = watching, []
    trainer.train()
    tensors = {f"weight.{n}": p.detach().clone() for n, p in trainer.model.named_parameters()}
    tensors["predictions"] = torch.tensor(trainer.predict(validation).predictions)
    return tensors, {"batches": watching.seen, "logs": trainer.state.log_history}


# Sharded SGD cannot be resumed: torch finds no device in its empty state.
SHARDED_ARGUMENTS = {"num_train_epochs": 2, "optim": "adamw_torch", "learning_rate": 1e-3}


@contextmanager
def sharding_on_cpu() -> Iterator[None]:
    """Accelerate leaves `fsdp=True` alone on CPUs; inside, it shards there too, over gloo, as it does over GPUs."""
    prepare = AcceleratorState.__init__

    def pretend(self: Any, *args: Any, **kwargs: Any) -> None:
        if PartialState._shared_state and not AcceleratorState._shared_state:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        prepare(self, *args, **kwargs)

    AcceleratorState.__init__ = pretend
    try:
        yield
    finally:
        AcceleratorState.__init__ = prepare


def sharded_run(name: str, folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Two epochs with all weights sharded; what was saved, what was trained, and what a resumed run trained."""
    arguments = {
        "fsdp": True,
        "fsdp_config": {"transformer_layer_cls_to_wrap": ["CLIPEncoderLayer"]},
        **SHARDED_ARGUMENTS,
        "save_strategy": "epoch",
        "save_total_limit": None,
        "output_dir": str(folder / f"sharded_{name}"),
    }
    tensors: dict[str, torch.Tensor] = {}
    logs: list[Any] = []
    with sharding_on_cpu():
        for checkpoint in (None, f"{arguments['output_dir']}/checkpoint-3"):
            trainer = build(name, folder, **arguments)
            trainer.train(resume_from_checkpoint=checkpoint)
            kinds = {type(parameter).__name__ for parameter in trainer.model.parameters()}
            kind = "resumed" if checkpoint else "trained"
            for n, parameter in trainer.model.named_parameters():
                tensors[f"{kind}.{n}"] = parameter.detach().full_tensor().clone()
            logs.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
        model_class: Any = {**RUNS, **CACHED_RUNS}[name][0]
        saved = model_class.from_pretrained(f"{arguments['output_dir']}/checkpoint-6")
        tensors |= {f"saved.{n}": parameter.detach().clone() for n, parameter in saved.named_parameters()}
        refused = []
        for keeping in ({"average_epochs": 1.0}, {"eval_on_start": True, "load_best_model_at_end": True}):
            try:
                build(name, folder, **arguments, **keeping)
            except ValueError as error:
                refused.append(str(error))
    return tensors, {"kinds": sorted(kinds), "losses": logs, "refused": refused}


def main(folder: Path, names: list[str]) -> None:
    """Makes the named runs and leaves what every process found in the folder."""
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", 0))
    for name in names:
        kind, _, run = name.partition(":")
        tensors, facts = {"train": train_run, "stream": stream_run, "sharded": sharded_run}[kind](run, folder)
        save_file({n: t.contiguous() for n, t in tensors.items()}, folder / f"{kind}_{run}_{rank}.safetensors")
        (folder / f"{kind}_{run}_{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
