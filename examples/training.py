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
    config: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_fields(cls, preset: str, towers: str, **settings: Any) -> "RegressionVariant":
        """Each setting goes to the processor, the training arguments or the configuration, by its name."""
        names = {f.name for f in fields(TimesCLIPTrainingArguments)}
        sorted_out: dict[str, dict[str, Any]] = {"processor": {}, "training": {}, "config": {}}
        for name, value in settings.items():
            taker = "processor" if name in PROCESSOR_FIELDS else "training" if name in names else "config"
            sorted_out[taker][name] = value
        return cls(preset, towers, **sorted_out)


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
    config = TimesCLIPConfig.from_preset(variant.preset, towers=variant.towers, **settings)
    processor = TimesCLIPProcessor.from_config(config, variate_names=variate_names, **variant.processor)
    config = processor.fit(parts["train"]).complete_config(config)

    arguments = copy.deepcopy(training)
    for name, value in {**variant.training, "seed": seed, "output_dir": str(folder / "checkpoints")}.items():
        setattr(arguments, name, value)
    trainer = TimesCLIPTrainer(
        TimesCLIPForRegression(config),
        arguments,
        processing_class=processor,
        train_dataset=parts["train"],
        eval_dataset=parts["validation"],
    )
    trainer.train()
    predictions = trainer.predict(parts["test"]).predictions
    trainer.save_model(str(folder))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the best epoch is saved above
    trainer.model.cpu()
    epochs = [log["epoch"] for log in trainer.state.log_history if "eval_rmse" in log]
    scores = [log["eval_rmse"] for log in trainer.state.log_history if "eval_rmse" in log]
    hyperparameters = {
        "preset": variant.preset,
        "towers": variant.towers,
        **variant.config,
        **variant.processor,
        "parameters": trainer.model.num_parameters(),
        "epochs (best by validation RMSE)": f"{arguments.num_train_epochs:g} ({epochs[int(np.argmin(scores))]:g})",
        "learning_rate": arguments.learning_rate,
        "weight_decay": arguments.weight_decay,
        "batch size": arguments.per_device_train_batch_size,
        "seed": seed,
    }
    return TrainedRegression(trainer, processor, np.asarray(predictions), hyperparameters, folder)
