# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which model is trained for so many labelled series, and for how long: one rule, printed with its reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..model.presets import ENOUGH_TO_TRAIN, PRESETS, preset_for

# Of towers that come from checkpoints; the paper takes 1e-6 to 5e-5.
PRETRAINED_RATE = 1e-5
_HEAD_EPOCHS = 30  # of the head alone, before towers that know something learn with it
_TAUGHT_EPOCHS = 10  # of all of it, where the towers are ours
# What heads read of towers that know series: no projection and no selection of random weights stand before them.
_DIRECT = {"head_reads": "features", "variate_selection": None}
_SMALL_DATA = 500  # labelled series, below which batches are halved
_LEAST_UPDATES = 1500
_EPOCHS = (10, 200)
_ENOUGH_FOR_PARTS = 5000  # below, heads are above the network at every step of the crop data (examples/RESULTS.md)
_PARTS = 2  # as long, where parts of series are learnt
_EVALUATIONS = 40  # at most: each one writes a checkpoint


@dataclass(frozen=True)
class Way:
    """How a model is made.

    Args:
        kind: `"network"`: towers and head are trained; `"heads"`: frozen towers, heads in closed form.
        preset: of `TimesCLIPConfig`.
        reason: why so, in words.
        towers: of `TOWERS`, unless somebody says which.
        config: fields of the configuration that differ from the preset.
        training: fields of `TimesCLIPTrainingArguments`, of a network.
        ensemble: so many models of other seeds, averaged, unless somebody says how many.
    """

    kind: Literal["network", "heads"]
    preset: str
    reason: str
    towers: str = "tiny"
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    ensemble: int = 1


def choose_way(
    num_series: int,
    task: str,
    *,
    preset: str = "auto",
    pretrained: bool = False,
    taught: bool | None = None,
    partial: bool = False,
) -> Way:
    """The way for `num_series` training series (windows, of forecasts).

    Args:
        num_series: of the training part.
        task: `"regression"`, `"classification"` or `"forecasting"`.
        preset: a preset to train in any case; `"auto"`: the best for this number.
        pretrained: whether a tower comes from a checkpoint.
        taught: whether the towers are ours, small ones that know series (`timesclip-small`, `timesclip pretrain`);
            `None`: nobody said which, so those that do best.
        partial: whether parts of series are learnt.

    Raises:
        ValueError: an unknown preset.
    """
    if preset != "auto" and preset not in PRESETS:
        raise ValueError(f"--preset {preset}: unknown, choose auto or one of {', '.join(sorted(PRESETS))}")
    way = Way("heads" if preset == "probe" else "network", preset, "as asked for")
    if preset == "auto" and task == "forecasting":
        way = replace(way, preset="paper" if pretrained else "forecast", reason="the preset for forecasts")
    elif preset == "auto" and preset_for(num_series) == "probe":
        reason = f"{num_series} training series, fewer than {ENOUGH_TO_TRAIN}: frozen towers, kernels in closed form"
        way = replace(way, kind="heads", preset="probe", reason=reason)
    elif preset == "auto" and partial and num_series < _ENOUGH_FOR_PARTS:
        reason = "parts of series are learnt: frozen towers, kernels in closed form on shortened copies"
        way = replace(way, kind="heads", preset="probe", reason=reason)
    elif preset == "auto":
        reason = f"{num_series} training series: both branches are trained, beside kernels on the series"
        if partial:
            reason, way = "parts of series are learnt", replace(way, config={"kernel_shortcut": False})
        way = replace(way, preset="late", reason=reason)
    if way.kind == "heads":  # frozen, so that what they have learnt counts
        return replace(way, towers="timesclip-small")
    if taught is None and way.preset == "late" and not pretrained and not partial:
        taught = True
        way = replace(way, towers="timesclip-small", reason=f"{way.reason}; towers: timesclip-small, the heads first")
    if taught and way.preset == "late":
        way = replace(way, config={**way.config, **_DIRECT})
    return replace(way, training=training_for(num_series, task, pretrained, bool(taught)))


def training_for(num_series: int, task: str, pretrained: bool = False, taught: bool = False) -> dict[str, Any]:
    """Rates, batches and epochs that suit so many series: few of them are read in smaller batches and more often.

    Towers that know something (`pretrained`, `taught`) wait until the head has learnt, 30 epochs on what they say,
    which is read once (`head_first`); then all learn, at a tenth of the rate of random weights, or towers of other
    checkpoints at 1e-5, and what the head alone had reached counts as an epoch (`examples/RESULTS.md`). Ours learn for
    ten epochs.
    """
    settings: dict[str, Any] = {
        "learning_rate": 1e-4 if pretrained or taught else 1e-3,
        "weight_decay": 0.05,
        "per_device_train_batch_size": 32 if num_series < _SMALL_DATA else 64,
        "per_device_eval_batch_size": 256,
    }
    if pretrained:
        settings["tower_learning_rate"] = PRETRAINED_RATE
    if (pretrained or taught) and task != "forecasting":
        settings |= {"head_epochs": _HEAD_EPOCHS, "eval_on_start": True}
    if taught and task != "forecasting":
        settings["num_train_epochs"] = _TAUGHT_EPOCHS
    if task == "forecasting":
        settings |= {"weight_decay": 0.0, "epoch_decay": 0.7}
    return settings


def schedule(num_series: int, batch_size: int, epochs: int | None = None, partial: bool = False) -> dict[str, Any]:
    """How long to train and when to look at the validation part, as fields of `TimesCLIPTrainingArguments`.

    At least some 1 500 updates, in 10 to 200 epochs, and twice that where parts of series are learnt, of which each
    epoch has others; at most 40 looks; the end after a quarter of them without gain.
    """
    updates = math.ceil(num_series / batch_size)
    fewest, most = (_PARTS * limit for limit in _EPOCHS) if partial else _EPOCHS
    epochs = epochs or min(most, max(fewest, math.ceil((_PARTS if partial else 1) * _LEAST_UPDATES / updates)))
    every = math.ceil(epochs / _EVALUATIONS)
    looks = math.ceil(epochs / every)
    return {
        "num_train_epochs": looks * every,
        "eval_strategy": "steps",
        "eval_steps": every * updates,
        "save_strategy": "steps",
        "save_steps": every * updates,
        "logging_strategy": "steps",
        "logging_steps": every * updates,
        "early_stopping_patience": max(4, looks // 4),
    }


def patches(context_length: int) -> dict[str, int]:
    """Length and stride of patches, for series of so many steps: about six to a series, of 4 to 16 steps."""
    length = min(context_length, 16, max(4, round(context_length / 6)))
    return {"patch_length": length, "patch_stride": max(1, length // 2)}


__all__ = ["PRETRAINED_RATE", "Way", "choose_way", "patches", "schedule", "training_for"]
