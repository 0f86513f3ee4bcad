# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One model, made in the way that was chosen, from parts that are ready: what is behind `timesclip train`."""

import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.errors import HFValidationError
from sklearn.exceptions import UndefinedMetricWarning
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback

from ..data.augmentation import Augmentation, AugmentedSeries
from ..data.partial import PartialSeries
from ..model.configuration_timesclip import PRESETS, TOWERS, TimesCLIPConfig
from ..model.modeling_timesclip import TimesCLIPForClassification, TimesCLIPForPrediction, TimesCLIPForRegression
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.tower_configs import checkpoint_folder
from .calibration import read_answers
from .ensemble import join_models
from .heads import FittedHeads, fit_head
from .progress import ProgressBar
from .trainer import TimesCLIPTrainer
from .training_args import TimesCLIPTrainingArguments
from .ways import Way, schedule

MODEL_CLASSES: dict[str, Any] = {
    "regression": TimesCLIPForRegression,
    "classification": TimesCLIPForClassification,
    "forecasting": TimesCLIPForPrediction,
}


# Of each series, where heads in closed form learn from changed ones or from parts of them.
_COPIES = 4


@dataclass(frozen=True)
class Recipe:
    """What is asked for of a model, beside its way.

    Args:
        towers: of `TOWERS`, where no checkpoint is given; those that ship with weights start from these. Or a folder
            of a TimesCLIP model, as of `timesclip pretrain`. `"auto"`: as the way says.
        checkpoints: branch -> Hub id or folder.
        epochs: in place of what the way takes.
        seed: of weights, batches and dropout; the further models of an ensemble have those that follow.
        ensemble: so many models, averaged; `None`: as the way says.
        random_length: `(low, high)`: train on parts of the series, see `PartialSeries`.
        augment: change the training series a little, see `Augmentation`; `None`: no.
        training: arguments of training that win over all others.
    """

    towers: str = "auto"
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    epochs: int | None = None
    seed: int = 0
    ensemble: int | None = None
    random_length: tuple[int, int] | None = None
    augment: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def starts(self) -> Mapping[str, str]:
        """The checkpoint that each branch starts from: those given, or that of towers that ship or lie in a folder."""
        ship = checkpoint_folder(self.towers) != self.towers
        own = self.towers not in TOWERS and (Path(self.towers) / "config.json").is_file()
        return self.checkpoints or (dict.fromkeys(("vision", "text"), self.towers) if ship or own else {})


@dataclass
class Fitted:
    """A model, and the trainer that made it and can ask it.

    `notes` are told, `warnings` as such; `heads`: what `fit_head` found, of heads in closed form.
    """

    trainer: TimesCLIPTrainer
    processor: TimesCLIPProcessor
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    heads: FittedHeads | None = None

    def answers(self, rows: Any) -> np.ndarray:
        """What the model says of rows: numbers `(n, num_targets)`, scores of classes, or forecasts `(n, H, V)`."""
        return np.asarray(self.trainer.predict(rows).predictions)

    def said(self, rows: Any) -> tuple[dict[str, np.ndarray], Any]:
        """Answers and how sure they are, see `read_answers`, and the labels."""
        trainer = self.trainer
        return read_answers(trainer.model, map(trainer._prepare_inputs, trainer.get_test_dataloader(rows)))


@dataclass(frozen=True)
class SeriesData:
    """What a model is made for and from.

    Args:
        task: a key of `MODEL_CLASSES`.
        shape: fields of the configuration that follow from the data.
        processing: of the processor.
        fit_on: what the processor is fitted on, the training part.
        train, validation: rows.
        groups: of the training rows, for heads in closed form, see `fit_head`.
        fit_with: what else the processor is fitted on, by argument.
    """

    task: str
    shape: Mapping[str, Any]
    processing: Mapping[str, Any]
    fit_on: Any
    train: Any
    validation: Any
    groups: Any = None
    fit_with: Mapping[str, Any] = field(default_factory=dict)


def fit_series(data: SeriesData, way: Way, recipe: Recipe, folder: Path) -> Fitted:
    """Makes processor and model, trains, and keeps the epoch that is best on validation; or fits its heads.

    Args:
        data: what from.
        way: which model.
        recipe: what else is asked for.
        folder: for what is written in between; it is gone afterwards.

    Raises:
        ValueError: a preset with a vision tower of random weights that would stay frozen.
    """
    started = time.perf_counter()
    if recipe.towers == "auto":
        recipe = replace(recipe, towers=way.towers)
    size = recipe.ensemble or way.ensemble
    fits = [
        _fit_one(data, way, recipe, recipe.seed + number, folder, f"training {number + 1} of {size}")
        if size > 1
        else _fit_one(data, way, recipe, recipe.seed, folder)
        for number in range(size)
    ]
    fitted = fits[0]
    if size > 1:
        first = fitted.trainer
        first.args.feature_cache = "off"  # each model has towers of its own
        learnt, first.args.head_epochs = first.args.head_epochs, 0  # each head alone, by now
        trainer = _trainer(join_models([fit.trainer.model for fit in fits]), first.args, fitted.processor, data)
        trainer.args.head_epochs = learnt  # the card tells
        trainer.state = first.state
        fitted.trainer = trainer
        fitted.warnings = list(dict.fromkeys(warning for fit in fits for warning in fit.warnings))
    fitted.notes += _told_weights(fitted.trainer.model.config)
    fitted.seconds = time.perf_counter() - started
    shutil.rmtree(folder, ignore_errors=True)
    return fitted


def _fit_one(data: SeriesData, way: Way, recipe: Recipe, seed: int, folder: Path, words: str = "training") -> Fitted:
    set_seed(seed)
    config = _config(way, recipe, {**data.shape, **way.config})
    processor = TimesCLIPProcessor.from_config(config, **data.processing).fit(data.fit_on, **data.fit_with)
    config = processor.complete_config(config)
    if recipe.starts:
        model = MODEL_CLASSES[data.task].from_vision_text_pretrained(**_towers(way, recipe), config=config)
    else:
        model = MODEL_CLASSES[data.task](config)
    if way.kind == "heads":
        return _fit_heads(model, processor, recipe, seed, data, folder)
    if recipe.random_length is not None:
        side, lengths = processor.padding_side or "right", recipe.random_length
        parts: dict[str, Any] = {
            "train": PartialSeries(data.train, lengths, side, seed),
            "validation": PartialSeries(data.validation, lengths, side, seed, every_epoch=False),
        }
        data = replace(data, **parts)
    trainer = _trainer(model, _arguments(way, recipe, seed, len(data.train), folder), processor, data)
    trainer.add_callback(ProgressBar(words))
    trainer.train()
    return Fitted(trainer, processor, warnings=_still_improving(trainer))


def _fit_heads(
    model: Any, processor: TimesCLIPProcessor, recipe: Recipe, seed: int, data: SeriesData, folder: Path
) -> Fitted:
    """Heads in closed form, and a trainer that asks, saves and describes the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)  # R2 of a single row that was left out
        rows, groups = _copies(data, recipe, processor, seed)
        heads = fit_head(model, processor, rows, groups, seed=seed)
    arguments = TimesCLIPTrainingArguments(
        str(folder), eval_strategy="no", save_strategy="no", load_best_model_at_end=False, feature_cache="off",
        report_to="none", disable_tqdm=True, seed=seed, per_device_eval_batch_size=256,
    )  # fmt: skip
    scores = ", ".join(f"{name} {score:.3f}" for name, score in heads.scores.items())
    metric = "log loss (less is better)" if data.task == "classification" else "R2"
    notes = [f"heads in closed form, {metric} out of fold: {scores}"]
    unused = [f"--{name.replace('_', '-')}" for name in (*(["epochs"] if recipe.epochs else []), *recipe.training)]
    lost = f"{', '.join(unused)}: without effect on heads in closed form; --preset late trains a network"
    trainer = _trainer(model, arguments, processor, data)
    return Fitted(trainer, processor, warnings=[lost] if unused else [], notes=notes, heads=heads)


def _copies(data: SeriesData, recipe: Recipe, processor: TimesCLIPProcessor, seed: int) -> tuple[Any, Any]:
    """What heads in closed form are fitted on, and its groups: rows, or changed or shortened copies beside them."""
    if recipe.augment is None and recipe.random_length is None:
        return data.train, data.groups
    copies = AugmentedSeries(data.train, recipe.augment or Augmentation(), _COPIES, seed, data.groups)
    if recipe.random_length is None:
        return copies, copies.owners
    return PartialSeries(copies, recipe.random_length, processor.padding_side or "right", seed), copies.owners


def _trainer(
    model: Any, arguments: TimesCLIPTrainingArguments, processor: TimesCLIPProcessor, data: SeriesData
) -> TimesCLIPTrainer:
    """One that prints no lines of its own."""
    trainer = TimesCLIPTrainer(model, arguments, processor, train_dataset=data.train, eval_dataset=data.validation)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _told_weights(config: TimesCLIPConfig) -> list[str]:
    """By how much each branch counts, where there are several."""
    if config.branch_fusion != "late" or not config.branch_weights:
        return []
    shares = zip(config.branches, config.branch_weights, strict=True)
    return [f"branches count: {', '.join(f'{name} {weight:.2f}' for name, weight in shares)}"]


def _arguments(way: Way, recipe: Recipe, seed: int, count: int, folder: Path) -> TimesCLIPTrainingArguments:
    given = {**way.training, **recipe.training} | ({"augment": recipe.augment} if recipe.augment else {})
    own = given.pop("num_train_epochs", None)
    epochs = recipe.epochs or own
    batch_size, partial = int(given["per_device_train_batch_size"]), recipe.random_length is not None
    plan = schedule(count, batch_size, epochs, partial)
    if epochs is not None:
        plan["num_train_epochs"] = epochs
    quiet = {"report_to": "none", "disable_tqdm": True, "seed": seed}
    return TimesCLIPTrainingArguments(str(folder), **{**plan, **quiet, **given})


def _config(way: Way, recipe: Recipe, settings: Mapping[str, Any]) -> TimesCLIPConfig:
    if recipe.starts:
        towers: Any = _towers(way, recipe)
        try:
            return TimesCLIPConfig.from_vision_text_pretrained(**towers, preset=way.preset, **settings)
        except (OSError, HFValidationError) as error:
            named = " and ".join(f"--{branch}-checkpoint {name}" for branch, name in recipe.starts.items())
            reason = str(error).split("\n")[0]
            raise ValueError(f"{named}: no such folder, nor a model on the Hub ({reason})") from error
    if recipe.towers not in TOWERS:
        named = ", ".join(TOWERS)
        raise ValueError(
            f"--towers {recipe.towers}: unknown, choose one of {named}, or a folder of timesclip pretrain"
        )
    config = TimesCLIPConfig.from_preset(way.preset, towers=recipe.towers, **settings)
    if config.vision_config is not None and config.freeze_vision and way.kind == "network":
        raise ValueError(
            f"--towers {recipe.towers} would freeze a vision tower of random weights, which sees nothing: give "
            "--vision-checkpoint, or choose --towers tiny"
        )
    return config


def _towers(way: Way, recipe: Recipe) -> dict[str, str | None]:
    """Where each branch of the preset starts: a vision checkpoint is a pair; beside a text one stand our towers."""
    given = recipe.starts
    names = {"vision": given.get("vision", recipe.towers), "text": given.get("text", given.get("vision"))}
    absent = [branch for branch in names if f"{branch}_config" in PRESETS[way.preset]]
    if unread := [branch for branch in recipe.checkpoints if branch in absent]:
        raise ValueError(
            f"--{unread[0]}-checkpoint: the preset {way.preset} has no {unread[0]} branch: choose another"
        )
    return {branch: None if branch in absent else name for branch, name in names.items()}


def _still_improving(trainer: TimesCLIPTrainer) -> list[str]:
    """A warning, where the last look at the validation part was the best of several."""
    state = trainer.state
    looks = [log["step"] for log in state.log_history if "eval_runtime" in log]
    if len(looks) < 2 or state.best_global_step != looks[-1] or state.global_step < state.max_steps:
        return []
    epochs = trainer.args.num_train_epochs
    return [f"validation was still improving at the last epoch: try --epochs {2 * epochs:g} (now {epochs:g})"]


__all__ = ["Fitted", "MODEL_CLASSES", "Recipe", "SeriesData", "fit_series"]
