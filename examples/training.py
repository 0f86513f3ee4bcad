# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One TimesCLIP regression from a named variant: config, processor, model, trainer, test predictions."""

import copy
import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import transformers

from timesclip_hf import (
    PRESETS,
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)

PROCESSOR_FIELDS = ("scaling", "value_range", "line_width", "background")


@dataclass(frozen=True)
class RegressionVariant:
    """A preset and what differs from it, sorted by who takes it."""

    preset: str
    towers: str
    checkpoints: dict[str, str | None] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_fields(
        cls, preset: str, towers: str, checkpoints: dict[str, str | None], **settings: Any
    ) -> "RegressionVariant":
        """Each setting goes to the processor, the training arguments or the configuration, by its name."""
        names = {f.name for f in fields(TimesCLIPTrainingArguments)}
        sorted_out: dict[str, dict[str, Any]] = {"processor": {}, "training": {}, "config": {}}
        for name, value in settings.items():
            taker = "processor" if name in PROCESSOR_FIELDS else "training" if name in names else "config"
            sorted_out[taker][name] = value
        return cls(preset, towers, checkpoints, **sorted_out)


@dataclass
class TrainedRegression:
    """A trained model, and what it said about the test part: `predictions` is `(n, num_targets)`, original units."""

    trainer: TimesCLIPTrainer
    processor: TimesCLIPProcessor
    predictions: np.ndarray
    hyperparameters: dict[str, Any]
    folder: Path


def train_regression(
    variant: RegressionVariant,
    parts: datasets.DatasetDict,
    training: TimesCLIPTrainingArguments,
    seed: int,
    folder: Path,
    variate_names: list[str] | None,
) -> TrainedRegression:
    """Trains on train, keeps the epoch with the best validation RMSE, saves model and processor to `folder`."""
    transformers.set_seed(seed)
    num_steps, num_variates = np.shape(parts["train"][0]["past_values"])
    settings = {"num_variates": num_variates, "context_length": num_steps, **variant.config}
    config = _config(variant, settings)
    processor = TimesCLIPProcessor.from_config(config, variate_names=variate_names, **variant.processor)
    processor.fit(parts["train"])
    if any(variant.checkpoints.values()):
        model = _from_checkpoints(variant, {**settings, **processor.config_fields()})
    else:
        model = TimesCLIPForRegression(processor.complete_config(config))

    arguments = copy.deepcopy(training)
    for name, value in {**variant.training, "seed": seed, "output_dir": str(folder / "training")}.items():
        setattr(arguments, name, value)
    trainer = TimesCLIPTrainer(
        model,
        arguments,
        processing_class=processor,
        train_dataset=parts["train"],
        eval_dataset=parts["validation"],
    )
    trainer.train()
    predictions = trainer.predict(parts["test"]).predictions
    trainer.save_model(str(folder))
    for checkpoint in (folder / "training").glob("checkpoint-*"):  # the best epoch is saved above
        shutil.rmtree(checkpoint)
    trainer.model.cpu()
    hyperparameters = {
        "preset": variant.preset,
        "towers": [name for name in variant.checkpoints.values() if name] or f"{variant.towers}, random weights",
        **variant.config,
        **variant.processor,
        "parameters": trainer.model.num_parameters(),
        "epochs": f"{arguments.num_train_epochs:g}",
        **_best_epoch(trainer),
        "learning_rate": arguments.learning_rate,
        "weight_decay": arguments.weight_decay,
        "batch size": arguments.per_device_train_batch_size,
        "seed": seed,
    }
    return TrainedRegression(trainer, processor, np.asarray(predictions), hyperparameters, folder)


def _config(variant: RegressionVariant, settings: dict[str, Any]) -> TimesCLIPConfig:
    if any(variant.checkpoints.values()):
        return _from_checkpoints(variant, settings).config
    config = TimesCLIPConfig.from_preset(variant.preset, towers=variant.towers, **settings)
    if config.vision_config is not None and config.freeze_vision:
        raise ValueError(
            f"towers={variant.towers!r} would freeze a vision tower of random weights, which sees nothing: give "
            "--vision_checkpoint, choose --towers tiny, or set freeze_vision: false in the settings file."
        )
    return config


def _from_checkpoints(variant: RegressionVariant, settings: dict[str, Any]) -> TimesCLIPForRegression:
    """The branches that the preset has, from the checkpoints named for them."""
    names = {}
    for branch in ("vision", "text"):
        present = f"{branch}_config" not in PRESETS[variant.preset]
        names[branch] = variant.checkpoints.get(branch) if present else None
        if present and names[branch] is None:
            raise ValueError(f"preset {variant.preset!r} has a {branch} branch: give --{branch}_checkpoint, too.")
    return TimesCLIPForRegression.from_vision_text_pretrained(**names, preset=variant.preset, **settings)


def _best_epoch(trainer: TimesCLIPTrainer) -> dict[str, Any]:
    """Which epoch was kept, where the trainer kept the best one."""
    scores = {log["eval_rmse"]: log["epoch"] for log in trainer.state.log_history if "eval_rmse" in log}
    if not trainer.args.load_best_model_at_end or not scores:
        return {}
    return {"best epoch by validation RMSE": f"{scores[min(scores)]:g}"}
