# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which epoch is the best one: by which metric, and whether that should be large.

The direction follows from the metric's name, whose last word counts (`"near_r2"` is an R2): errors and losses should
be small; R2, accuracy and their like large. `greater_is_better` in the training arguments wins over the name; a name
that says neither needs it, for a guess would keep the worst epoch without a word.
"""

import copy
import re
from typing import Any

import transformers
from transformers import Trainer
from transformers.trainer_utils import SaveStrategy, SchedulerType

from ..model.tasks import Task

_SMALL = {
    "loss", "error", "rmse", "mse", "mae", "mape", "smape", "mase", "owa", "crps", "pinball", "nll", "perplexity",
    "brier", "bias",
}  # fmt: skip
_LARGE = {
    "r2", "accuracy", "f1", "skill", "retrieval", "precision", "recall", "sensitivity", "specificity", "auc", "auroc",
    "auprc", "kappa", "mcc", "iou", "correlation", "pearson", "spearman",
}  # fmt: skip
_BY_METRIC = (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)  # learning rates that follow it


def larger_is_better(metric: str) -> bool | None:
    """Whether a metric of this name should be large; `None`: the name does not say."""
    word = re.split(r"[^a-z0-9]+", metric.lower())[-1]
    if word in _LARGE or re.fullmatch(r"top\d+", word):
        return True
    return False if word in _SMALL else None


def with_best_metric(args: Any, task: Task, model: Any, eval_dataset: Any) -> Any:
    """Training arguments in which the metric that chooses between epochs, and its direction, are settled.

    Args:
        args: `TimesCLIPTrainingArguments`; they stay as they are, and may go on to a model of another task.
        task: of the model.
        model: whose classes may have weights, or whose answers may be distributions: then the loss says more.
        eval_dataset: what it is evaluated on; a mapping: several parts.

    Raises:
        ValueError: a metric that evaluation will not give, of no known direction, or of none of several parts.
    """
    args = copy.copy(args)
    if args.metric_for_best_model == "task":
        weighted = getattr(getattr(model, "config", None), "class_weights", None) is not None
        spread = task.errors_in is not None and getattr(model.config, "numbers_per_answer", 1) > 1
        own_metric = "loss" if weighted or spread or args.prediction_loss_only else task.best_metric
        args.metric_for_best_model = _of_one_part(own_metric, args, eval_dataset)
        if args.greater_is_better is None:
            args.greater_is_better = task.greater_is_better
    metric = args.metric_for_best_model
    if metric is None:
        return args
    if args.prediction_loss_only and not metric.endswith("loss") and args.eval_strategy != "no":
        raise ValueError(
            f"metric_for_best_model is {metric!r}, but prediction_loss_only=True computes losses alone: set "
            "metric_for_best_model='loss', or prediction_loss_only=False"
        )
    if args.greater_is_better is None:
        args.greater_is_better = larger_is_better(metric)
    if args.greater_is_better is None and args.eval_strategy != "no":
        raise ValueError(
            f"metric_for_best_model is {metric!r}, whose name does not say whether it should be large: set "
            f"greater_is_better=True or False (known without it are names that end in one of {sorted(_SMALL)}, which "
            f"should be small, or {sorted(_LARGE)})"
        )
    if args.lr_scheduler_type in _BY_METRIC:
        kwargs = args.lr_scheduler_kwargs if isinstance(args.lr_scheduler_kwargs, dict) else {}
        args.lr_scheduler_kwargs = {"mode": "max" if args.greater_is_better else "min", **kwargs}
    return args


def _of_one_part(metric: str, args: Any, eval_dataset: Any) -> str | None:
    """The metric, as evaluation calls it; `None`: several parts to evaluate on, nothing to choose."""
    if not isinstance(eval_dataset, dict):
        return metric
    choosing = args.load_best_model_at_end or args.save_strategy == SaveStrategy.BEST
    if choosing or args.early_stopping_patience is not None:
        names = ", ".join(repr(f"{name}_{metric}") for name in eval_dataset)
        raise ValueError(f"eval_dataset has several parts: set metric_for_best_model to one of {names}.")
    return None


class EarlyStoppingCallback(transformers.EarlyStoppingCallback):
    """transformers', without a word where a part is evaluated that does not decide.

    The name is kept: a checkpoint remembers the state of callbacks by the names of their classes.
    """

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        name = str(args.metric_for_best_model).removeprefix("eval_")
        if f"eval_{name}" in metrics or not any(key.endswith("_runtime") and key != "eval_runtime" for key in metrics):
            super().on_evaluate(args, state, control, metrics, **kwargs)


def search_hyperparameters(
    trainer: Any, hp_space: Any = None, compute_objective: Any = None, n_trials: int = 20, direction: Any = None,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """As `Trainer.hyperparameter_search`; what is not said is compared by `metric_for_best_model`.

    Trainer itself would add up all metrics, errors and R2 alike, and look for the smallest sum.

    Args:
        trainer: the trainer, built with `model_init`.
        hp_space, n_trials: as there.
        compute_objective: from metrics to a number; not set: the metric that chooses between epochs.
        direction: `"minimize"` or `"maximize"`; not set: the direction of that metric, or with a
            `compute_objective` `"minimize"`.
        **kwargs: as there.
    """
    if compute_objective is None:
        name = f"eval_{str(trainer.args.metric_for_best_model).removeprefix('eval_')}"
        compute_objective = lambda metrics: metrics[name]  # noqa: E731
        direction = direction or ("maximize" if trainer.args.greater_is_better else "minimize")
    return Trainer.hyperparameter_search(
        trainer, hp_space, compute_objective, n_trials, direction or "minimize", **kwargs
    )


__all__ = ["EarlyStoppingCallback", "larger_is_better", "search_hyperparameters", "with_best_metric"]
