"""Trainers that take a second or less: three variates, twelve steps, a text branch of two layers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import set_seed

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)

QUIET = {"disable_tqdm": True, "report_to": "none", "use_cpu": True}


def make_rows(count: int, seed: int = 0, classes: int = 0, shares: list[float] | None = None) -> Dataset:
    """Series whose level is the target `(1,)`, or the class."""
    rng = np.random.default_rng(seed)
    levels = rng.choice(classes, size=count, p=shares) if classes else rng.normal(size=count)
    values = levels[:, None, None] + 0.3 * rng.normal(size=(count, 12, 3))
    labels = levels.tolist() if classes else levels[:, None].tolist()
    return Dataset.from_dict({"past_values": values.astype(np.float32).tolist(), "labels": labels})


def trainer_builder(tiny_config: Callable[..., Any], folder: Path) -> Callable[..., TimesCLIPTrainer]:
    """`build(model_class, preset, fields, classes, train, validation, given, **arguments)`."""

    def build(
        model_class: Any = None,
        preset: str = "text_only",
        fields: dict[str, Any] | None = None,
        classes: int = 0,
        train: Any = None,
        validation: Any = None,
        given: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> TimesCLIPTrainer:
        set_seed(0)
        train = make_rows(24, 0, classes) if train is None else train
        validation = make_rows(10, 1, classes) if validation is None else validation
        plain = {"head": "linear", "head_dropout": [0.0], "text_dropout": 0.0, "selection_dropout": 0.0}
        extra = {"num_labels": classes} if classes else {}
        config = tiny_config(preset, **{"freeze_vision": False, **plain, **extra, **(fields or {})})
        reference = make_rows(24, 0, classes)
        labels = {} if classes else {"labels": np.asarray(reference["labels"][:])}
        processor = TimesCLIPProcessor.from_config(config).fit(np.asarray(reference["past_values"][:]), **labels)
        config = processor.complete_config(config)
        model_class = model_class or (TimesCLIPForClassification if classes else TimesCLIPForRegression)
        defaults = {"output_dir": str(folder / "run"), "num_train_epochs": 1, "learning_rate": 5e-3}
        sizes = {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 4}
        given = {"model": model_class(config), **(given or {})}
        if "model_init" in given:
            given["model"] = None
        return TimesCLIPTrainer(
            args=TimesCLIPTrainingArguments(**{**defaults, **sizes, **QUIET, **arguments}),
            **{"processing_class": processor, "train_dataset": train, "eval_dataset": validation, **given},
        )

    return build
