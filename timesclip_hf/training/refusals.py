# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What `Trainer` and `TrainingArguments` promise and cannot be kept here: said when they are built, never dropped.

Every argument works, is refused here (or where it is read) with a sentence that says what to do, or is transformers'
own business and passed through. `tests/training/test_refusals.py` has the table of all of them.
"""

from typing import Any

from transformers.debug_utils import DebugOption
from transformers.trainer_utils import HubStrategy, unwrap_peft_model
from transformers.training_args import OptimizerNames

from ..data.collator import TimesCLIPDataCollator
from ..model.task_models import WholeSeriesModel

_OF_LENGTHS = ("group_by_length", "batch_rebalance")
# They update weights layer by layer, or know one learning rate alone.
_ONE_RATE = ("lomo", "adalomo")


def check_values(args: Any) -> None:
    """Raises `ValueError` for training arguments that cannot be kept, whatever the model and the data."""
    refused = {
        "neftune_noise_alpha": (args.neftune_noise_alpha is not None and args.neftune_noise_alpha < 0, "is below 0"),
        "use_liger_kernel": (args.use_liger_kernel, "has no kernels for TimesCLIP: leave it False"),
        "debug": (
            DebugOption.UNDERFLOW_OVERFLOW in args.debug,
            "'underflow_overflow' fails on masks: torch.autograd.set_detect_anomaly(True) finds the operation",
        ),
        "train_sampling_strategy": (
            args.train_sampling_strategy in _OF_LENGTHS,
            "orders samples by lengths, but all series become context_length long: choose 'random' or 'sequential'",
        ),
        "include_num_input_tokens_seen": (
            args.include_num_input_tokens_seen == "non_padding",
            "'non_padding' counts tokens of text: 'all' counts the numbers in patch_values",
        ),
        "parallelism_config": (
            any(getattr(args.parallelism_config, f"{kind}_enabled", False) for kind in ("tp", "cp", "sp")),
            "splits layers or sequences over devices, which TimesCLIP has no plan for: data parallelism and FSDP work",
        ),
        "label_smoothing_factor": (not 0 <= args.label_smoothing_factor < 1, "must be in [0, 1)"),
        "class_weights": (
            isinstance(args.class_weights, list)
            and not (any(args.class_weights) and all(0 <= w < float("inf") for w in args.class_weights)),
            "must hold finite numbers, none below 0 and not all 0",
        ),
        "head_epochs": (args.head_epochs < 0, "is below 0"),
        "epoch_decay": (args.epoch_decay is not None and not 0 < args.epoch_decay <= 1, "must be in (0, 1]"),
        "average_epochs": (args.average_epochs is not None and not args.average_epochs > 0, "must be above 0"),
        "early_stopping_patience": (
            args.early_stopping_patience is not None and args.early_stopping_patience < 1, "must be at least 1",
        ),
        "feature_cache_max_size": (not args.feature_cache_max_size > 0, "must be above 0 (GB)"),
        "feature_cache": (not args.feature_cache, "is empty: give a folder, 'auto' or 'off'"),
        "feature_cache_dtype": (
            args.feature_cache_dtype not in ("float32", "bfloat16"),
            "and nothing is measured to choose it: set 'float32' or, faster on most accelerators, 'bfloat16'",
        ),
        "tower_learning_rate": (
            args.tower_learning_rate is not None and (args.optim in _ONE_RATE or "layerwise" in args.optim),
            f"needs groups of weights, which optim={OptimizerNames(args.optim).value!r} does not have",
        ),
        "hub_strategy": (
            args.push_to_hub and args.hub_strategy not in (HubStrategy.END, HubStrategy.EVERY_SAVE),
            "would push what resuming needs, pickles among it, but only what loads a model is pushed: choose "
            "'every_save' or 'end'; output_dir resumes",
        ),
    }  # fmt: skip
    for name, (is_refused, why) in refused.items():
        if is_refused:
            value = getattr(args, name)
            raise ValueError(f"{name}={getattr(value, 'value', value)!r} {why}")
    if args.early_stopping_patience is not None and args.eval_strategy == "no":
        raise ValueError("early_stopping_patience compares evaluations: set eval_strategy='epoch' or 'steps'")


def check_combination(trainer: Any, aligns: bool, optimizers: Any) -> None:
    """Raises `ValueError` for what cannot work with the model, the data or the processes that there are.

    Args:
        trainer: all set but its own parts.
        aligns: whether the model has an alignment loss.
        optimizers: optimizer and schedule that were given, or `None` for each.
    """
    args, task = trainer.args, trainer.task
    _check_model(trainer)
    _check_collator(trainer)
    _check_processes(trainer, aligns)
    _check_head_first(trainer)
    optimizer, schedule = optimizers or (None, None)
    if optimizer is not None and args.tower_learning_rate is not None:
        raise ValueError("tower_learning_rate has no effect on an optimizer in optimizers=: give it groups there")
    if schedule is not None and args.epoch_decay is not None:
        raise ValueError("epoch_decay has no effect beside a schedule in optimizers=: leave one of the two out")
    stream = trainer.train_dataset is not None and not hasattr(trainer.train_dataset, "__len__")
    for name in ("epoch_decay", "average_epochs"):
        if stream and getattr(args, name) is not None:
            raise ValueError(f"{name} counts epochs, but train_dataset is a stream without a length: leave it out")
    rows = 0 if stream or trainer.train_dataset is None else len(trainer.train_dataset)
    if args.dataloader_drop_last and 0 < rows < args.train_batch_size * args.world_size:
        raise ValueError(
            f"dataloader_drop_last=True leaves out all of train_dataset: {rows} samples are no batch of "
            f"{args.train_batch_size * args.world_size}"
        )
    if not task.has_labels and args.batch_eval_metrics:
        raise ValueError(f"batch_eval_metrics=True, but {task.name} compares all embeds at once: leave it False")
    if not task.has_labels and trainer.compute_metrics is not None:
        raise ValueError(f"compute_metrics is never called in {task.name}, which has no labels: leave it out")


def _check_model(trainer: Any) -> None:
    model = unwrap_peft_model(trainer.model)
    if trainer.task.name == "feature-extraction" and trainer.train_dataset is not None:
        raise ValueError(
            f"{type(model).__name__} has no loss to train: take the model of a task, or TimesCLIPForPreTraining"
        )
    no_words = getattr(getattr(model, "config", None), "text_config", True) is None
    if trainer.args.neftune_noise_alpha is not None and no_words:
        raise ValueError("neftune_noise_alpha adds noise to embedded patches, and the model has no text branch")


def _check_collator(trainer: Any) -> None:
    args = trainer.args
    if not isinstance(trainer.data_collator, TimesCLIPDataCollator):
        return
    if args.remove_unused_columns:
        raise ValueError("remove_unused_columns=True would take 'past_values' from the collator: leave it False")
    if args.label_names not in (None, ["labels"]):
        raise ValueError(
            f"label_names={args.label_names}, but the collator's batches have 'labels': rename the column, and leave "
            "label_names as it is"
        )


def _check_head_first(trainer: Any) -> None:
    if not trainer.args.head_epochs:
        return
    model, data, alone = unwrap_peft_model(trainer.model), trainer.train_dataset, "head_epochs trains a head alone"
    if not isinstance(model, WholeSeriesModel) or model.config.ensemble_size > 1:
        raise ValueError(f"{alone}: of one regression or classification model, and this is a {type(model).__name__}")
    if not isinstance(trainer.data_collator, TimesCLIPDataCollator) or (
        data is not None and not hasattr(data, "__len__")
    ):
        raise ValueError(
            f"{alone}, on series that a TimesCLIPProcessor reads once: not on streams or finished batches"
        )
    if trainer.compute_loss_func is not None:
        raise ValueError(
            f"{alone} by the model's own loss, which compute_loss_func replaces: leave one of the two out"
        )
    if is_sharded(trainer):
        raise ValueError(f"{alone}, whose weights are sharded: leave it out")


def _check_processes(trainer: Any, aligns: bool) -> None:
    args, sharded = trainer.args, is_sharded(trainer)
    if args.alignment_over_accumulation and not aligns:
        raise ValueError("alignment_over_accumulation=True, but the model has no alignment loss.")
    if args.alignment_over_accumulation and args.n_gpu > 1:
        raise ValueError(
            f"alignment_over_accumulation=True, but one process has {args.n_gpu} GPUs: start one process for each "
            "with accelerate launch."
        )
    if sharded and args.average_epochs is not None:
        raise ValueError("average_epochs keeps whole weights, which are sharded: leave one of the two out.")
    if sharded and args.eval_on_start and args.load_best_model_at_end:
        raise ValueError(
            "eval_on_start with load_best_model_at_end keeps whole weights, which are sharded: leave one out."
        )
    if args.world_size > 1 and args.accelerator_config.dispatch_batches:
        raise ValueError(
            "dispatch_batches=True repeats samples to fill up batches: leave it None, each process reads its own"
        )


def is_sharded(trainer: Any) -> bool:
    """Whether no process has whole weights: FSDP, DeepSpeed ZeRO-3."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None) if trainer.is_deepspeed_enabled else None
    return bool(trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3))


__all__ = ["check_combination", "check_values", "is_sharded"]
