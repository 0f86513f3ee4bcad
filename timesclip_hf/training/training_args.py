# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Training arguments: those of transformers, with defaults that suit TimesCLIP."""

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import HubStrategy


def _installed_reporters() -> list[str]:
    return ["tensorboard"] if importlib.util.find_spec("tensorboard") is not None else []


def _option(default: Any, text: str) -> Any:
    """A field with its help on a command line; a callable makes its default."""
    given = {"default_factory" if callable(default) else "default": default}
    return field(**given, metadata={"help": text})


@dataclass
class TimesCLIPTrainingArguments(TrainingArguments):
    """
    As `transformers.TrainingArguments`; what differs:

    Args:
        tower_learning_rate (`float`, *optional*): learning rate of the towers' own weights, usually far smaller than
            `learning_rate` where they are pretrained (the paper: 1e-6 to 5e-5 beside 1e-4). Not set: `learning_rate`.
        epoch_decay (`float`, *optional*): factor in (0, 1] on all learning rates after each epoch, after the warmup
            (exponential decay, as usual in the forecasting literature), in place of `lr_scheduler_type`.
        average_epochs (`float`, *optional*): keep an exponential moving average of the weights with this time
            constant, in epochs; it is evaluated and saved in place of the last weights (Polyak averaging). Not set:
            none.
        alignment_over_accumulation (`bool`, defaults to `False`): the alignment loss compares all samples of the
            `gradient_accumulation_steps` batches of a step, of all processes, in the memory of one batch (GradCache,
            arXiv 2101.06983): embeds are computed a first time without gradients. All gradients equal those of the
            whole batch at once.
        early_stopping_patience (`int`, *optional*): evaluations without improvement after which training stops.
            Not set: never.
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
            forecast (MSE, unless the configuration says otherwise), alignment loss of pre-training. To choose by
            another metric, name it, and `greater_is_better` with it.
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
    epoch_decay: float | None = _option(None, "Factor on all rates after each epoch; default: lr_scheduler_type.")
    average_epochs: float | None = _option(None, "Average the weights over about so many epochs; default: do not.")
    alignment_over_accumulation: bool = _option(False, "Compare samples over all accumulated batches.")
    early_stopping_patience: int | None = _option(None, "Stop after so many evaluations that bring nothing.")
    feature_cache: str = _option("auto", "Folder for the features of a frozen vision tower; auto; or off.")
    feature_cache_dtype: str = _option("float32", "Precision to compute them in: float32 or bfloat16.")
    feature_cache_max_size: float = _option(50.0, "GB that all features in the folder may take.")
    remove_unused_columns: bool = _option(False, "Leave False: the collator needs them.")
    eval_strategy: str = _option("epoch", "When to evaluate: no, steps or epoch.")
    save_strategy: str = _option("epoch", "When to save: no, steps, epoch or best.")
    logging_strategy: str = _option("epoch", "When to log: no, steps or epoch.")
    load_best_model_at_end: bool = _option(True, "End with the best epoch's weights.")
    metric_for_best_model: str | None = _option("task", "Validation metric that decides; task: the task's own.")
    greater_is_better: bool | None = _option(False, "Whether that metric should be large.")
    save_total_limit: int | None = _option(1, "Checkpoints to keep beside the best one.")
    learning_rate: float = _option(1e-4, "Learning rate of all but the towers.")
    lr_scheduler_type: str = _option("cosine", "Shape of the learning rate over time.")
    warmup_steps: float = _option(0.05, "Steps (or share of all steps, if below 1) of warmup.")
    report_to: None | str | list[str] = _option(_installed_reporters, "Where to report; TensorBoard where installed.")
    dataloader_pin_memory: bool = _option(torch.accelerator.is_available, "Only with an accelerator.")
    label_names: list[str] | None = _option(lambda: ["labels"], "Columns that hold labels.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.push_to_hub and self.hub_strategy not in (HubStrategy.END, HubStrategy.EVERY_SAVE):
            raise ValueError(
                f"hub_strategy={HubStrategy(self.hub_strategy).value!r} would push what resuming needs, pickles among "
                "it, but only what loads a model is pushed: choose 'every_save' or 'end'; output_dir resumes."
            )
        if self.epoch_decay is not None and not 0 < self.epoch_decay <= 1:
            raise ValueError(f"epoch_decay must be in (0, 1], got {self.epoch_decay}.")
        if self.early_stopping_patience is not None and self.early_stopping_patience < 1:
            raise ValueError(f"early_stopping_patience must be at least 1, got {self.early_stopping_patience}.")
        if not self.feature_cache:
            raise ValueError("feature_cache is empty: give a folder, 'auto' or 'off'.")
        if self.feature_cache_dtype not in ("float32", "bfloat16"):
            raise ValueError(
                f"feature_cache_dtype is {self.feature_cache_dtype!r}, and nothing is measured to choose it: set "
                "'float32' or, faster on most accelerators, 'bfloat16'"
            )
        if not self.feature_cache_max_size > 0:
            raise ValueError(f"feature_cache_max_size must be above 0 (GB), got {self.feature_cache_max_size}.")
        if self.average_epochs is not None and not self.average_epochs > 0:
            raise ValueError(f"average_epochs must be above 0, got {self.average_epochs}.")

    def save(self, folder: Path) -> None:
        """Writes `training_args.json`, without tokens, in place of Trainer's pickle."""
        (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        arguments = {name: value for name, value in self.to_dict().items() if not name.endswith("_token")}
        text = json.dumps(arguments, indent=2, sort_keys=True, default=str)
        (folder / TRAINING_ARGS_NAME).with_suffix(".json").write_text(text, encoding="utf-8")


__all__ = ["TimesCLIPTrainingArguments"]
