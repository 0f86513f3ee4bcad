# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The head learns before the towers do: on what these say now, which is read once and kept.

A head of random weights sends gradients through pretrained towers that mean nothing to them, and by the time it has
learnt, what they knew is bent (Kumar et al. 2022, arXiv 2202.10054). So the head, and all else that is no tower and no
tokenizer, learns first, beside towers that stay as they are; an epoch of that costs a small part of one of the whole.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import unwrap_peft_model
from transformers.utils.logging import get_logger

from ..data.collator import TimesCLIPDataCollator
from ..features.plots import read_plots
from ..model.agreement import check_agreement
from ..model.outputs import TimesCLIPOutput
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.task_models import WholeSeriesModel

logger = get_logger(__name__)

_TOWERS = ("vision_tower", "text_tower", "tokenizer")
# What heads read of a batch beside the towers.
_BESIDE = ("variate_values", "loc", "scale", "static_values", "labels")


def train_head(
    model: WholeSeriesModel,
    processor: TimesCLIPProcessor,
    train: Any,
    epochs: int = 30,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.05,
    batch_size: int = 64,
    max_grad_norm: float = 1.0,
    seed: int = 0,
) -> list[float]:
    """Trains all of a model but its towers and its tokenizer, by the model's own loss; every series is read once.

    For heads that learn by gradients (`head="mlp"`, `"pooled"`, `"linear"`); `fit_head` has those in closed form.
    `TimesCLIPTrainingArguments(head_epochs=30)` has it done before the first step of a training.

    Args:
        model: of regression or classification, changed in place; kernels stay as they are.
        processor: fitted, as the model was built for.
        train: rows with `past_values` and `labels`, as `TimesCLIPDataCollator` takes them, with a length.
        epochs: over the readings, which are kept on the model's device: 4 bytes x series x variates x widths.
        learning_rate, weight_decay, batch_size, max_grad_norm: of AdamW (biases and norms do not decay) under a cosine
            from `learning_rate` to 0.
        seed: of batches and dropout; no other random number is touched.

    Returns:
        The mean loss of each epoch.

    Raises:
        ValueError: another task, an ensemble, no rows, or rows without labels.
    """
    _check(model)
    check_agreement(processor, model.config, model.task, training=True)
    loader = DataLoader(train, batch_size, collate_fn=TimesCLIPDataCollator(processor, draw=False))
    return _train(
        model, _plotted(model, processor, loader), epochs, learning_rate, weight_decay, batch_size, max_grad_norm, seed
    )


def _plotted(model: Any, processor: Any, loader: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Batches on a model's device, with what its vision tower says of the plots, a few images at a time."""
    for batch in loader:
        given = _on_device(batch, model.device)
        read_plots(model, processor, given)
        yield given


def train_head_first(trainer: Any, model: Any) -> None:
    """What `args.head_epochs` of a `TimesCLIPTrainer` asks for, in batches of its training's size.

    What a frozen vision tower says comes from the trainer's feature cache, where there is one.
    """
    args, collator, data = trainer.args, trainer.data_collator, trainer.train_dataset
    if not args.head_epochs:
        return
    trainer.features.prepare(model, collator, data)
    batches = _drawn(trainer, DataLoader(data, args.train_batch_size, collate_fn=collator))
    sizes = (args.head_epochs, args.head_learning_rate, args.weight_decay, args.train_batch_size, args.max_grad_norm)
    with trainer.task_objective.applied():  # label smoothing
        _train(unwrap_peft_model(model), batches, *sizes, args.seed)


def _drawn(trainer: Any, loader: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Batches as a trainer gives them to its model: on its device, with what its cache knows of the plots."""
    for batch in loader:
        yield trainer.features.drawn(_on_device(batch, trainer.args.device), trainer.data_collator)


def _on_device(batch: dict[str, Any], device: Any) -> dict[str, Any]:
    return {name: part.to(device) for name, part in batch.items() if hasattr(part, "to")}


def _check(model: Any) -> None:
    if not isinstance(model, WholeSeriesModel):
        raise ValueError(
            f"the head alone is trained in regression and classification, but this is a {type(model).__name__}, whose "
            "head reads all tokens: leave head_epochs out"
        )
    if model.config.ensemble_size > 1:
        raise ValueError(f"model is an ensemble of {model.config.ensemble_size}: train its models apart, then join")


def _train(
    model: Any,
    batches: Iterable[Any],
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    max_grad_norm: float,
    seed: int,
) -> list[float]:
    """`train_head`, from batches of all series."""
    before = model.training
    own = [p for name, p in model.named_parameters() if p.requires_grad and not _of_tower(name)]
    if not own or epochs < 1:
        return []
    groups = [
        {"params": [p for p in own if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0},
    ]
    losses = []
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []), _resting(model):
        torch.manual_seed(seed)
        readings = _read(model, batches)
        count = len(readings["labels"])
        fused = model.device.type in ("cpu", "cuda")
        optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=fused)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-count // batch_size))
        model.train()
        for _ in range(epochs):
            total = 0.0
            for rows in torch.randperm(count).split(batch_size):
                loss = _loss(model, {name: part[rows.to(part.device)] for name, part in readings.items()})
                loss.backward()
                nn.utils.clip_grad_norm_(own, max_grad_norm or float("inf"))
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                total += loss.item() * len(rows)
            losses.append(total / count)
    model.train(before)
    model.config.calibration = None  # of the head as it was
    logger.info(f"the head learnt for {epochs} epochs: loss {losses[0]:.4g} to {losses[-1]:.4g}")
    return losses


def _of_tower(name: str) -> bool:
    return any(part in name.split(".") for part in _TOWERS)


@contextmanager
def _resting(model: Any) -> Iterator[None]:
    """Inside, towers and tokenizer have no gradients (a variate selection may ask the text tower)."""
    stopped = [p for name, p in model.named_parameters() if p.requires_grad and _of_tower(name)]
    for parameter in stopped:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in stopped:
            parameter.requires_grad_(True)


@torch.no_grad()
def _read(model: Any, batches: Iterable[Any]) -> dict[str, Tensor]:
    """What the towers say of each series `(n, V, width)`, and what heads read beside it."""
    found: dict[str, list[Tensor]] = {}
    model.eval()
    base = model.base_model
    for batch in batches:
        if "labels" not in batch:
            raise ValueError("train has no 'labels': there is nothing to train a head on")
        read = {name: batch[name] for name in _BESIDE if name in batch}
        if base.vision_tower is not None:
            seen = batch.get("vision_features")
            read["vision_features"] = base.get_vision_features(batch["pixel_values"]) if seen is None else seen
        if base.text_tower is not None:
            said = base.read_patches(batch["patch_values"], batch.get("patch_mask"))
            read["text_features"] = said["text_features"]
        for name, part in read.items():
            found.setdefault(name, []).append(part)
    if not found:
        raise ValueError("train is empty: there is nothing to train a head on")
    return {name: torch.cat(parts) for name, parts in found.items()}


def _loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """What training minimises, from what the towers said."""
    base, read = model.base_model, {}
    if "vision_features" in batch:
        read = base.read_plots(None, batch["vision_features"])
    if "text_features" in batch:
        read |= base.project_text(batch["text_features"])
    selected, _ = base.select_variates(read, batch.get("variate_values"), False)
    outputs = TimesCLIPOutput(**read, selected_embeds=selected)
    inputs = {name: batch.get(name) for name in ("variate_values", "loc", "scale", "static_values")}
    loss: Tensor = model.respond(outputs, inputs, batch["labels"])["loss"]
    return loss


__all__ = ["train_head", "train_head_first"]
