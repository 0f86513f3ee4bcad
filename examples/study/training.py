# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One TimesCLIP model from a named variant: config, processor, model, trainer; what the example scripts share."""

import copy
import math
import shutil
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import transformers

from timesclip_hf import (
    PRESETS,
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPPreTrainedModel,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    WindowSplits,
    fit_head,
)

PROCESSOR_FIELDS = ("scaling", "value_range", "view", "image_size", "line_width", "background")


# A column of ours: rows with the same number are left out together, see `run_regression.hold_outs`.
LEFT_OUT_TOGETHER = "left_out_together"
# Of towers from checkpoints, unless --tower_learning_rate says otherwise; the paper takes 1e-6 to 5e-5.
PRETRAINED_RATE = 1e-5


@dataclass(frozen=True)
class Variant:
    """A preset and what differs from it, sorted by who takes it."""

    preset: str
    towers: str
    checkpoints: dict[str, str | None] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_fields(cls, preset: str, towers: str, checkpoints: dict[str, str | None], **settings: Any) -> "Variant":
        """Each setting goes to the processor, the training arguments or the configuration, by its name."""
        names = {f.name for f in fields(TimesCLIPTrainingArguments)}
        sorted_out: dict[str, dict[str, Any]] = {"processor": {}, "training": {}, "config": {}}
        for name, value in settings.items():
            taker = "processor" if name in PROCESSOR_FIELDS else "training" if name in names else "config"
            sorted_out[taker][name] = value
        return cls(preset, towers, checkpoints, **sorted_out)


@dataclass
class Trained:
    """A trained and saved model.

    `predictions` is what it said about the test part, in original units: `(n, num_targets)` or `(n, H, V)`; of a
    classification, logits `(n, num_labels)`. `validation_predictions` is the same for the validation part.
    """

    trainer: TimesCLIPTrainer
    processor: TimesCLIPProcessor
    predictions: np.ndarray
    validation_predictions: np.ndarray
    hyperparameters: dict[str, Any]
    folder: Path
    seconds: float


def train_regression(
    variant: Variant,
    parts: datasets.DatasetDict,
    training: TimesCLIPTrainingArguments,
    seed: int,
    folder: Path,
    variate_names: list[str] | None,
    target_name: str,
    target_unit: str,
) -> Trained:
    """Trains on train, keeps the epoch with the best validation RMSE, saves model and processor to `folder`."""
    settings, fitting = _of_wide_table(variant, parts["train"], variate_names)
    fitting |= {"target_names": [target_name], "target_units": [target_unit]}
    fit_on = parts["train"]
    return _train(TimesCLIPForRegression, variant, settings, fitting, fit_on, parts, training, seed, folder)


def train_classification(
    variant: Variant,
    parts: datasets.DatasetDict,
    training: TimesCLIPTrainingArguments,
    seed: int,
    folder: Path,
    variate_names: list[str] | None,
    class_names: list[str],
) -> Trained:
    """Trains on train, keeps the epoch with the best validation log loss, saves model and processor to `folder`.

    Each row's `labels` is an integer, its class's position in `class_names`.
    """
    settings, fitting = _of_wide_table(variant, parts["train"], variate_names)
    settings["id2label"] = dict(enumerate(class_names))
    settings["label2id"] = {name: number for number, name in enumerate(class_names)}
    inputs = parts["train"].remove_columns("labels")  # class numbers have no mean to standardise by
    return _train(TimesCLIPForClassification, variant, settings, fitting, inputs, parts, training, seed, folder)


def train_forecast(
    variant: Variant,
    splits: WindowSplits,
    training: TimesCLIPTrainingArguments,
    seed: int,
    folder: Path,
    standardise: bool = False,
) -> Trained:
    """Trains on the training windows, keeps the epoch with the best validation loss, saves to `folder`.

    Windows are in original units. Scaling is by instance unless the variant says otherwise. `standardise` divides the
    errors of each series by its own spread in the training part, as the published tables do, by training on series
    that were standardised one by one: forecasts under instance scaling follow, so that those for the test windows,
    and all later ones, are in original units all the same.
    """
    if standardise and variant.processor.get("scaling", "instance") != "instance":
        raise ValueError(
            "Series standardised one by one need scaling='instance': only its forecasts follow the units."
        )
    learning = splits.standardised() if standardise else splits
    windows = learning.train
    settings = {
        "num_variates": len(windows.variate_names),
        "context_length": windows.context_length,
        "prediction_length": windows.prediction_length,
        **variant.config,
    }
    fitting = {"variate_names": windows.variate_names, "scaling": "instance", **variant.processor}
    parts = {
        "train": learning.train,
        "choice": learning.validation,  # chooses the epoch, by errors in the units of training
        "validation": splits.validation,
        "test": splits.test,
    }
    return _train(
        TimesCLIPForPrediction,
        variant,
        settings,
        fitting,
        windows.series,
        parts,
        training,
        seed,
        folder,
    )


def _of_wide_table(
    variant: Variant, train: datasets.Dataset, variate_names: list[str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of the configuration and of the processor for rows that are whole series."""
    num_steps, num_variates = np.shape(train[0]["past_values"])
    settings = {"num_variates": num_variates, "context_length": num_steps, **variant.config}
    return settings, {"variate_names": variate_names, **variant.processor}


def _train(
    model_class: type[TimesCLIPPreTrainedModel],
    variant: Variant,
    settings: dict[str, Any],
    fitting: dict[str, Any],
    fit_on: Any,
    parts: Any,
    training: TimesCLIPTrainingArguments,
    seed: int,
    folder: Path,
) -> Trained:
    started = time.perf_counter()
    transformers.set_seed(seed)
    config = _config(model_class, variant, settings)
    processor = TimesCLIPProcessor.from_config(config, **fitting)
    processor.fit(fit_on)
    if any(variant.checkpoints.values()):
        model = _from_checkpoints(model_class, variant, {**settings, **processor.config_fields()})
    else:
        model = model_class(processor.complete_config(config))

    arguments = copy.deepcopy(training)
    for name, value in {**variant.training, "seed": seed, "output_dir": str(folder / "training")}.items():
        setattr(arguments, name, value)
    if arguments.num_train_epochs <= 0:
        updates = math.ceil(len(parts["train"]) / arguments.per_device_train_batch_size)
        arguments.num_train_epochs = min(40, max(10, math.ceil(1000 / updates)))
        if arguments.early_stopping_patience is None:
            arguments.early_stopping_patience = max(4, arguments.num_train_epochs // 4)
    if any(variant.checkpoints.values()) and arguments.tower_learning_rate is None:
        arguments.tower_learning_rate = PRETRAINED_RATE
    trainer = TimesCLIPTrainer(
        model,
        arguments,
        processing_class=processor,
        train_dataset=parts["train"],
        eval_dataset=parts.get("choice", parts["validation"]),
    )
    if variant.preset == "probe":
        _fit_heads(model, processor, parts)
    else:
        trainer.train()
    validation_predictions = np.asarray(trainer.predict(parts["validation"]).predictions)
    predictions = np.asarray(trainer.predict(parts["test"]).predictions)
    trainer.save_model(str(folder))
    for checkpoint in (folder / "training").glob("checkpoint-*"):  # the best epoch is saved above
        shutil.rmtree(checkpoint)
    trainer.model.cpu()
    hyperparameters = {
        "preset": variant.preset,
        "towers": [name for name in variant.checkpoints.values() if name] or f"{variant.towers}, random weights",
        **variant.config,
        **variant.processor,
        "tower learning rate": arguments.tower_learning_rate or arguments.learning_rate,
        "parameters": trainer.model.num_parameters(),
        "epochs": f"{arguments.num_train_epochs:g}",
        **_best_epoch(trainer),
        "learning_rate": arguments.learning_rate,
        "weight_decay": arguments.weight_decay,
        "batch size": arguments.per_device_train_batch_size,
        "seed": seed,
    }
    seconds = time.perf_counter() - started
    return Trained(trainer, processor, predictions, validation_predictions, hyperparameters, folder, seconds)


def _fit_heads(model: Any, processor: TimesCLIPProcessor, parts: Any) -> None:
    """Heads in closed form; validation chooses, as it does for peers, but of places that are left out whole."""
    if LEFT_OUT_TOGETHER in parts["train"].column_names:
        fit_head(model, processor, parts["train"], groups=parts["train"][LEFT_OUT_TOGETHER][:])
    else:
        fit_head(model, processor, parts["train"], validation=parts["validation"])


def _config(
    model_class: type[TimesCLIPPreTrainedModel], variant: Variant, settings: dict[str, Any]
) -> TimesCLIPConfig:
    if any(variant.checkpoints.values()):
        return _from_checkpoints(model_class, variant, settings).config
    config = TimesCLIPConfig.from_preset(variant.preset, towers=variant.towers, **settings)
    # An ablation may want just that, and heads in closed form read random features.
    asked_for = variant.config.get("freeze_vision", False) or variant.preset == "probe"
    if config.vision_config is not None and config.freeze_vision and not asked_for:
        raise ValueError(
            f"towers={variant.towers!r} would freeze a vision tower of random weights, which sees nothing: give "
            "--vision_checkpoint, choose --towers tiny, or set freeze_vision: false in the settings file."
        )
    return config


def _from_checkpoints(model_class: type[TimesCLIPPreTrainedModel], variant: Variant, settings: dict[str, Any]) -> Any:
    """The branches that the preset has, from the checkpoints named for them."""
    names = {}
    for branch in ("vision", "text"):
        present = f"{branch}_config" not in PRESETS[variant.preset]
        names[branch] = variant.checkpoints.get(branch) if present else None
        if present and names[branch] is None:
            raise ValueError(f"preset {variant.preset!r} has a {branch} branch: give --{branch}_checkpoint, too.")
    return model_class.from_vision_text_pretrained(**names, preset=variant.preset, **settings)


def _best_epoch(trainer: TimesCLIPTrainer) -> dict[str, Any]:
    """Which epoch was kept, where the trainer kept the best one."""
    metric = f"eval_{trainer.args.metric_for_best_model}"
    scores = [(log[metric], log["epoch"]) for log in trainer.state.log_history if metric in log]
    if not trainer.args.load_best_model_at_end or not scores:
        return {}
    best = max(scores) if trainer.args.greater_is_better else min(scores)
    return {f"best epoch by validation {metric.removeprefix('eval_')}": f"{best[1]:g}"}
