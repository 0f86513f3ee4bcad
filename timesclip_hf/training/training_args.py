# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Training arguments: those of transformers, with defaults that suit TimesCLIP."""

import importlib.util
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME

from ..data.augmentation import Augmentation
from ..model.plain import plain
from .refusals import check_values


def _installed_reporters() -> list[str]:
    return ["tensorboard"] if importlib.util.find_spec("tensorboard") is not None else []


def _option(default: Any, text: str) -> Any:
    """A field with its help on a command line; a callable makes its default."""
    given = {"default_factory" if callable(default) else "default": default}
    return field(**given, metadata={"help": text})


def _read_class_weights(weights: Any) -> Any:
    """As a list of floats or `"balanced"`, also from a command line."""
    if weights is None or weights == "balanced":
        return weights
    try:
        return [float(weight) for weight in (json.loads(weights) if isinstance(weights, str) else weights)]
    except (TypeError, ValueError):
        raise ValueError(f"class_weights={weights!r} must be 'balanced' or a list of numbers, one a class") from None


@dataclass
class TimesCLIPTrainingArguments(TrainingArguments):
    """
    As `transformers.TrainingArguments`; what differs:

    Args:
        tower_learning_rate (`float`, *optional*): learning rate of the towers' own weights, usually far smaller than
            `learning_rate` where they are pretrained (the paper: 1e-6 to 5e-5 beside 1e-4). Not set: `learning_rate`.
        head_epochs (`int`, defaults to 0): epochs in which head, projections and variate selection learn alone, before
            the first step, on what the towers say then, which is read once (`train_head`), and so cheaply. Worth it
            where towers are pretrained: a random head bends them before it has learnt. Then choose a small
            `learning_rate`, and `eval_on_start`, with which what came of it counts as an epoch. Regression and
            classification.
        head_learning_rate (`float`, defaults to 1e-3): the highest of these epochs, which falls to 0 in them.
        epoch_decay (`float`, *optional*): factor in (0, 1] on all learning rates after each epoch, after the warmup
            (exponential decay, as usual in the forecasting literature), in place of `lr_scheduler_type`.
        average_epochs (`float`, *optional*): keep an exponential moving average of the weights with this time
            constant, in epochs; it is evaluated and saved in place of the last weights (Polyak averaging). Not set:
            none.
        alignment_over_accumulation (`bool`, defaults to `False`): the alignment loss compares all samples of the
            `gradient_accumulation_steps` batches of a step, of all processes, in the memory of one batch (GradCache,
            arXiv 2101.06983): embeds are computed a first time without gradients. All gradients equal those of the
            whole batch at once.
        class_weights (`"balanced"` or `list[float]`, *optional*): of a classification, a weight for each class, by
            which the cross-entropy of its samples is multiplied: n / (classes x samples of the class) in
            `train_dataset`, or numbers in the order of class numbers. They go into the model's configuration, with
            which they are saved, and weigh `eval_loss`, too, which then chooses the epoch; metrics stay unweighted.
            Probabilities are those of classes so weighted. Not set: as the configuration says.
        early_stopping_patience (`int`, *optional*): evaluations without improvement after which training stops.
            Not set: never.
        augment (`str` or `dict`, *optional*): change the training series a little, anew in every epoch: `"default"`,
            or amounts, `"jitter=0.1 shift=0.05 mixup=0.2"`; the rule stands in `data/augmentation.py`. For whole
            series with labels. Their plots are drawn and encoded at every step. Not set: no.
        feature_cache (`str`, defaults to `"auto"`): where the features of a frozen vision tower are kept, so that each
            series is drawn and encoded once: `"auto"` is `timesclip_hf/features` in the folder that `HF_HOME` names;
            the path of another folder; or `"off"`: draw and encode at every step. Needs data with a length, and has
            no use for a vision tower that learns; FSDP encodes at every step. See `FeatureCache`.
        feature_cache_dtype (`str`, defaults to `"float32"`): precision in which these features are computed;
            `"bfloat16"` is faster on most accelerators.
        feature_cache_max_size (`float`, defaults to 50): GB (10^9 bytes) that all features in the folder may take. The
            least recently used make room; a data set that does not fit is encoded at every step.
        remove_unused_columns: `False`, since the collator renders from columns that the model does not know.
        eval_strategy, save_strategy, logging_strategy: `"epoch"`.
        load_best_model_at_end: `True`, the epoch that is best on the validation part by the model's own task
            (`metric_for_best_model="task"`): RMSE of a regression, log loss of a classification, task loss of a
            forecast (MSE, unless the configuration says otherwise), alignment loss of pre-training; the loss, where
            classes have weights or with `prediction_loss_only`. To choose by another metric, name it.
        greater_is_better: `None`, as the metric's name says: errors and losses should be small, R2, accuracies, F1,
            skill and retrieval large. A name that says neither needs it, and what is given wins.
        label_smoothing_factor: for classification; `compute_loss_func`: see `TaskObjective`.
        dataloader_drop_last: in training; evaluation and prediction read every sample.
        bf16_full_eval, fp16_full_eval: the weights have their own precision again afterwards.
        eval_on_start: with `load_best_model_at_end`, the start counts as an epoch, too: where no epoch is better on
            validation, the model ends as it began (with `linear_shortcut`: repeating the last value).
        save_total_limit: 1, beside the best one.
        lr_scheduler_type: `"cosine"`; warmup_steps: 0.05 (a share of all steps).
        learning_rate: 1e-4, as in the paper; label_names: `["labels"]`.
        hub_strategy: `"every_save"` or `"end"`; what resuming needs is never pushed.
        report_to: TensorBoard where it is installed.
        dataloader_pin_memory: where there is an accelerator.
    """

    tower_learning_rate: float | None = _option(None, "Rate of the towers' own weights; default: learning_rate.")
    head_epochs: int = _option(0, "Epochs in which the head learns alone, before the first step.")
    head_learning_rate: float = _option(1e-3, "Learning rate of these epochs.")
    epoch_decay: float | None = _option(None, "Factor on all rates after each epoch; default: lr_scheduler_type.")
    average_epochs: float | None = _option(None, "Average the weights over about so many epochs; default: do not.")
    alignment_over_accumulation: bool = _option(False, "Compare samples over all accumulated batches.")
    class_weights: None | str | list[float] = _option(None, "Of classes in the task loss: balanced, or [1, 2, ...].")
    early_stopping_patience: int | None = _option(None, "Stop after so many evaluations that bring nothing.")
    augment: None | str | dict = _option(
        None, "Change training series a little: default, or jitter=0.1 shift=0.05 ..."
    )
    feature_cache: str = _option("auto", "Folder for the features of a frozen vision tower; auto; or off.")
    feature_cache_dtype: str = _option("float32", "Precision to compute them in: float32 or bfloat16.")
    feature_cache_max_size: float = _option(50.0, "GB that all features in the folder may take.")
    remove_unused_columns: bool = _option(False, "Leave False: the collator needs them.")
    eval_strategy: str = _option("epoch", "When to evaluate: no, steps or epoch.")
    save_strategy: str = _option("epoch", "When to save: no, steps, epoch or best.")
    logging_strategy: str = _option("epoch", "When to log: no, steps or epoch.")
    load_best_model_at_end: bool = _option(True, "End with the best epoch's weights.")
    metric_for_best_model: str | None = _option("task", "Validation metric that decides; task: the task's own.")
    greater_is_better: bool | None = _option(None, "Whether that metric should be large; default: as its name says.")
    save_total_limit: int | None = _option(1, "Checkpoints to keep beside the best one.")
    learning_rate: float = _option(1e-4, "Learning rate of all but the towers.")
    lr_scheduler_type: str = _option("cosine", "Shape of the learning rate over time.")
    warmup_steps: float = _option(0.05, "Steps (or share of all steps, if below 1) of warmup.")
    report_to: None | str | list[str] = _option(_installed_reporters, "Where to report; TensorBoard where installed.")
    dataloader_pin_memory: bool = _option(torch.accelerator.is_available, "Only with an accelerator.")
    label_names: list[str] | None = _option(lambda: ["labels"], "Columns that hold labels.")

    def __post_init__(self) -> None:
        for item in fields(self):
            if isinstance(value := getattr(self, item.name), np.generic):
                setattr(self, item.name, plain(value))
        greater_is_better = self.greater_is_better
        super().__post_init__()
        self.greater_is_better = greater_is_better  # transformers takes all but losses for scores; the trainer decides
        self.class_weights = _read_class_weights(self.class_weights)
        if self.augment is not None:
            self.augment = str(Augmentation.read(self.augment)) or None
        check_values(self)

    def save(self, folder: Path) -> None:
        """Writes `training_args.json`, without tokens, in place of Trainer's pickle."""
        (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        arguments = {name: value for name, value in self.to_dict().items() if not name.endswith("_token")}
        text = json.dumps(arguments, indent=2, sort_keys=True, default=str)
        (folder / TRAINING_ARGS_NAME).with_suffix(".json").write_text(text, encoding="utf-8")


__all__ = ["TimesCLIPTrainingArguments"]
