# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Trainer for TimesCLIP: its loss with every term named, and two learning rates."""

import contextlib
import copy
import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, EvalPrediction, unwrap_peft_model
from transformers.utils import logging

from .adapters import load_adapter_weights
from .checkpoints import checkpoint_name
from .configuration_timesclip import TimesCLIPConfig
from .data import TimesCLIPDataCollator
from .feature_cache import FeatureCache, has_frozen_vision
from .hub_pushes import PushingTrainer
from .metrics import (
    compute_classification_metrics,
    compute_forecast_metrics,
    compute_regression_metrics,
    retrieval_accuracy,
)
from .modeling_timesclip import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
)
from .processing_timesclip import TimesCLIPProcessor
from .resumable_trainer import ResumableTrainer
from .training_args import TimesCLIPTrainingArguments
from .weight_averaging import WeightAverage, copy_weights, load_weights

logger = logging.get_logger(__name__)

# Beside a checkpoint whose model is an average: the weights to resume from; and the start, while no epoch is better.
_TRAINED_WEIGHTS = "training_weights.safetensors"
_START_WEIGHTS = "start_weights.safetensors"
_LOSS_TERMS = ("task_loss", "alignment_loss")
# What decides between epochs, where it is not the loss.
_BEST_BY = {TimesCLIPForRegression: "rmse", TimesCLIPForClassification: "log_loss"}
# What pre-training need not gather to compare embeds.
_BESIDE_EMBEDS = ["alignment_loss", "text_tokens", "selected_embeds", "vision_features", "selection_attentions"]


class TimesCLIPTrainer(ResumableTrainer, PushingTrainer):
    """
    As `transformers.Trainer`; what differs:

    - `compute_loss` minimises task loss + weighted alignment loss in training, reports the task loss alone as
      `eval_loss` (an InfoNCE value depends on the batch size), and logs every term by name.
    - With a `TimesCLIPProcessor` as `processing_class`, batches are rendered from the stored arrays when needed, on
      the model's device; a frozen vision tower is asked once for each series (`args.feature_cache`).
    - `args.tower_learning_rate` sets the towers apart; `args.epoch_decay` lowers all rates by a factor each epoch;
      `args.early_stopping_patience` stops early; `args.average_epochs` evaluates and saves averaged weights.
    - Each model comes with the metrics of its task: RMSE, MAE, R2 and MAPE in original units; MSE and MAE of forecasts
      in units of `config.variate_std`, sMAPE in original ones; accuracy, balanced accuracy, macro F1 and log loss;
      how often each branch finds its own sample in the other, for pre-training.

    Accumulating gradients does not enlarge the batch that the alignment loss compares within; more processes do.

    Args:
        model: a TimesCLIP model.
        args: `TimesCLIPTrainingArguments`.
        processing_class: the fitted processor; saved with every checkpoint.
        **kwargs: as for `Trainer`; a `data_collator` or `compute_metrics` given here wins.
    """

    # The losses are means over a batch: Trainer divides them by the number of accumulated batches.
    loss_is_scaled_for_ga = False
    args: TimesCLIPTrainingArguments
    model: Any  # Trainer allows None, which its own checks exclude before training

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TimesCLIPTrainingArguments | None = None,
        processing_class: TimesCLIPProcessor | None = None,
        **kwargs: Any,
    ):
        args = args if args is not None else TimesCLIPTrainingArguments()
        if not isinstance(args, TimesCLIPTrainingArguments):
            raise ValueError(f"args is a {type(args).__name__}; this trainer needs TimesCLIPTrainingArguments.")
        if kwargs.get("data_collator") is None and processing_class is not None:
            kwargs["data_collator"] = TimesCLIPDataCollator(processing_class, draw=False)
        super().__init__(model=model, args=args, processing_class=processing_class, **kwargs)
        if args.metric_for_best_model == "task":
            learner = unwrap_peft_model(self.model)
            chosen = [metric for model_class, metric in _BEST_BY.items() if isinstance(learner, model_class)]
            self.args = copy.copy(args)  # the caller's may go on to a model of another task
            self.args.metric_for_best_model = chosen[0] if chosen else "loss"
        if self.compute_metrics is None:
            self.compute_metrics = _metrics_of(unwrap_peft_model(self.model))
        if isinstance(unwrap_peft_model(self.model), TimesCLIPForPreTraining):
            self.label_names = []
        if isinstance(processing_class, TimesCLIPProcessor):
            _check_agreement(unwrap_peft_model(self.model), processing_class)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
        self._average: WeightAverage | None = None
        self._start: dict[str, Tensor] | None = None
        self.add_callback(_KeptWeights(self))
        self._term_sums: dict[str, Tensor] = {}
        self._term_batches = 0
        self._cached: tuple[Any, ...] = ()

    def get_train_dataloader(self) -> DataLoader:
        """Trainer's; the features of a frozen vision tower are made ready first."""
        self._cache_features(self.train_dataset)
        return super().get_train_dataloader()

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """As `get_train_dataloader`, for the data to evaluate on."""
        named: Any = self.eval_dataset
        dataset = named if eval_dataset is None else eval_dataset
        self._cache_features(named[dataset] if isinstance(dataset, str) else dataset)
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """As `get_train_dataloader`, for the data to predict."""
        self._cache_features(test_dataset)
        return super().get_test_dataloader(test_dataset)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The weighted sum of the loss terms in training, the task loss alone in evaluation."""
        if not self.label_names:  # pre-training, on data that other tasks have labels for
            inputs = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**inputs)
        if outputs.loss is None:
            raise ValueError(f"The batch has no 'labels', only {sorted(inputs)}: there is no loss to compute.")
        for name in _LOSS_TERMS:
            value = getattr(outputs, name, None)
            if value is not None:
                self._term_sums[name] = self._term_sums.get(name, 0) + value.detach().mean()
        self._term_batches += 1
        task_loss = getattr(outputs, "task_loss", None)
        loss = outputs.loss if model.training or task_loss is None else task_loss
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Trainer's optimizer, with the towers' weights in groups of their own where they learn at another rate."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        rate = self.args.tower_learning_rate
        if not fresh or rate is None:
            return optimizer
        learning: Any = self.model if model is None else model
        towers = {id(p) for name, p in learning.named_parameters() if "vision_tower." in name or "text_tower." in name}
        groups = []
        for group in optimizer.param_groups:
            own = [p for p in group["params"] if id(p) not in towers]
            tower = [p for p in group["params"] if id(p) in towers]
            groups += [{**group, "params": own}, {**group, "params": tower, "lr": rate}]
        optimizer.param_groups[:] = [group for group in groups if group["params"]]
        return optimizer

    def evaluation_loop(  # type: ignore[override]
        self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> EvalLoopOutput:
        """Trainer's loop; the alignment loss is reported beside the metrics, and retrieval in pre-training."""
        training_terms = self._pop_terms()
        kwargs["metric_key_prefix"] = metric_key_prefix
        if self._retrieves(kwargs.get("ignore_keys")):
            kwargs |= {"prediction_loss_only": False, "ignore_keys": _BESIDE_EMBEDS}
        with self._averaged():
            output = super().evaluation_loop(*args, **kwargs)
        if self._retrieves(kwargs.get("ignore_keys")) and output.metrics is not None:
            found = retrieval_accuracy(*output.predictions)
            output.metrics.update({f"{metric_key_prefix}_{name}": share for name, share in found.items()})
        terms = self._mean_terms(self._pop_terms())
        if output.metrics is not None and "alignment_loss" in terms:
            output.metrics[f"{metric_key_prefix}_alignment_loss"] = terms["alignment_loss"]
        self._term_sums, self._term_batches = training_terms
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the named loss terms, averaged since the last log, to each training log."""
        if "loss" in logs:
            logs = {**logs, **self._mean_terms(self._pop_terms())}
        super().log(logs, start_time)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Trainer's schedule, or a step down after each epoch with `args.epoch_decay`."""
        decay = self.args.epoch_decay
        optimizer = self.optimizer if optimizer is None else optimizer
        if decay is None or self.lr_scheduler is not None or optimizer is None:
            return super().create_scheduler(num_training_steps, optimizer)
        warmup = self.args.get_warmup_steps(num_training_steps)
        epoch_steps = self._steps_per_epoch()

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / (warmup + 1)) * decay ** (max(0, step - warmup) // epoch_steps)

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's loop. Interrupted, it leaves the weights of the last step."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self._average = self._start = None

    def _cache_features(self, dataset: Any) -> None:
        """Has the features of these series stored, where the vision tower is frozen and the data can be gone over."""
        collator: Any = self.data_collator
        ours = isinstance(collator, TimesCLIPDataCollator) and not collator.draw
        model = unwrap_peft_model(self.model)
        if self.args.feature_cache == "off" or not ours or not has_frozen_vision(model) or self.is_fsdp_enabled:
            return
        if collator.processor.image_size is None or not hasattr(dataset, "__len__"):
            return
        # Weights that were loaded or changed since need another cache; changes of a tensor in place are counted.
        tower = model.base_model.vision_tower
        state = tuple((p.data_ptr(), p._version) for p in (*tower.parameters(), *tower.buffers()))
        if not self._cached or self._cached[0] != state:
            folder = None if self.args.feature_cache == "auto" else self.args.feature_cache
            cache = FeatureCache(model, collator.processor, folder, self.args.feature_cache_dtype)
            collator.features = cache.store
            self._cached = (state, cache, [])
        _, cache, known = self._cached
        if not any(dataset is other for other in known):
            cache.add(dataset, progress=not self.args.disable_tqdm)
            known.append(dataset)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Trainer's, and images drawn on the model's device from the few numbers that came there."""
        inputs = dict(super()._prepare_inputs(inputs))
        collator: Any = self.data_collator
        if "plot_values" in inputs and isinstance(collator, TimesCLIPDataCollator):
            processor: Any = collator.processor
            if collator.features is not None:
                logger.warning_once(
                    "Series that were not there when the feature cache was filled (does the data set change what it "
                    "returns?) are drawn and encoded at every step; feature_cache='off' spares the filling."
                )
            inputs["pixel_values"] = processor.draw(inputs.pop("plot_values"))
        return inputs

    def _steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training data."""
        dataset: Any = self.train_dataset
        if not hasattr(dataset, "__len__"):
            raise ValueError("epoch_decay and average_epochs count epochs: the training data must have a length.")
        size = self.args.train_batch_size * self.args.world_size
        batches = len(dataset) // size if self.args.dataloader_drop_last else math.ceil(len(dataset) / size)
        return max(1, math.ceil(batches / self.args.gradient_accumulation_steps))

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """The averaged weights in place of the trained ones, while there is an average: during training."""
        return contextlib.nullcontext() if self._average is None else self._average.applied()

    def _write_checkpoint(self, model: Any, trial: Any) -> None:
        """As Trainer's; the model in it is the average, where there is one; what resuming needs lies beside it."""
        with self._averaged():
            super()._write_checkpoint(model, trial)
        beside = {}
        if self._average is not None:
            beside[_TRAINED_WEIGHTS] = self._average.trained_weights()
        if self._start is not None and not self.state.best_global_step:  # still the best
            beside[_START_WEIGHTS] = self._start
        if self.args.should_save and not self.args.save_only_model:
            for name, weights in beside.items():
                save_file(weights, Path(self._get_output_dir(trial)) / checkpoint_name(self.state.global_step) / name)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """As Trainer's, which knows the adapters of `get_peft_model`, but not those of `model.add_adapter`."""
        if _has_own_adapter(self.model):
            load_adapter_weights(self.model, resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        """As Trainer's, with those adapters."""
        if _has_own_adapter(self.model) and self.state.best_model_checkpoint is not None:
            load_adapter_weights(self.model, self.state.best_model_checkpoint)
        else:
            super()._load_best_model()

    def _weights_beside(self, name: str) -> dict[str, Tensor] | None:
        """What the checkpoint that this run goes on from has beside its model."""
        path = self._resumed_from / name if self._resumed_from is not None else None
        return load_file(path, device=str(self.model.device)) if path is not None and path.is_file() else None

    def _retrieves(self, ignore_keys: list[str] | None) -> bool:
        """Whether this evaluation compares embeds: in pre-training, unless the caller asked for other outputs."""
        pre_training = isinstance(unwrap_peft_model(self.model), TimesCLIPForPreTraining)
        return pre_training and ignore_keys in (None, _BESIDE_EMBEDS)

    def _pop_terms(self) -> tuple[dict[str, Tensor], int]:
        terms = (self._term_sums, self._term_batches)
        self._term_sums, self._term_batches = {}, 0
        return terms

    def _mean_terms(self, terms: tuple[dict[str, Tensor], int]) -> dict[str, float]:
        sums, batches = terms
        return {
            name: self.accelerator.reduce(total / max(batches, 1), reduction="mean").item()
            for name, total in sums.items()
        }


class _KeptWeights(TrainerCallback):
    """Which weights are kept: an average over steps, and the start where no epoch is better on validation."""

    def __init__(self, trainer: TimesCLIPTrainer):
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer, resumed = self.trainer, state.global_step > 0
        trainer._start = trainer._weights_beside(_START_WEIGHTS) if resumed else None
        if args.average_epochs is None:
            return
        steps = args.average_epochs * trainer._steps_per_epoch()
        trainer._average = WeightAverage(trainer.model, steps, state.global_step)
        trained = trainer._weights_beside(_TRAINED_WEIGHTS) if resumed else None
        if trained is not None:
            load_weights(trainer.model, trained)
        elif resumed:
            logger.warning(f"The checkpoint has no {_TRAINED_WEIGHTS}: training goes on from its averaged weights.")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer._average is not None:
            self.trainer._average.update()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        first = state.global_step == 0 and self.trainer.is_in_train
        if first and args.eval_on_start and args.load_best_model_at_end:
            name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
            state.best_metric, state.best_global_step = metrics[name], 0
            self.trainer._start = copy_weights(self.trainer.model)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        average, start = self.trainer._average, self.trainer._start
        if args.load_best_model_at_end and state.best_model_checkpoint:
            return  # Trainer has loaded it
        kept = start if args.load_best_model_at_end and start is not None else average and average.averages
        if kept:
            load_weights(self.trainer.model, kept)


def _has_own_adapter(model: Any) -> bool:
    """Whether the model itself holds an adapter, of which alone its `save_pretrained` then writes."""
    return getattr(model, "_hf_peft_config_loaded", False)


def _metrics_of(model: Any) -> Callable[[EvalPrediction], dict[str, float]] | None:
    if isinstance(model, TimesCLIPForRegression):
        return compute_regression_metrics
    if isinstance(model, TimesCLIPForClassification):
        return compute_classification_metrics
    if isinstance(model, TimesCLIPForPrediction):
        return functools.partial(compute_forecast_metrics, scale=model.config.variate_std)
    return None


def _check_agreement(model: Any, processor: TimesCLIPProcessor) -> None:
    """A model that does not know what the processor learnt would train on, and quietly ignore it."""
    statistics = processor.statistics or {}
    config = getattr(model, "config", None)
    if not isinstance(config, TimesCLIPConfig):
        return
    faults = []
    if statistics.get("static") and config.num_static_features != processor.num_static_features:
        found, wanted = config.num_static_features, processor.num_static_features
        faults.append(f"num_static_features is {found}, the processor encodes {wanted}")
    if statistics.get("targets") and isinstance(model, TimesCLIPForRegression) and config.target_mean is None:
        faults.append("target_mean and target_std are not set, but the processor was fitted with labels")
    forecast = isinstance(model, TimesCLIPForPrediction) and config.error_scale == "dataset"
    if forecast and config.variate_std is None and statistics:
        faults.append("variate_std is not set, so that errors of variates of different units would be added up")
    elif forecast and config.variate_std is None and config.num_variates > 1:
        warnings.warn(
            "Errors of all variates are added up in their own units, since the processor was not fitted: "
            "processor.fit(windows.train.series), then build the model from processor.complete_config(config).",
            stacklevel=3,
        )
    if faults:
        raise ValueError(
            f"Model and processor disagree: {'; '.join(faults)}. Build the model from "
            "processor.complete_config(config), or from_vision_text_pretrained(..., **processor.config_fields())."
        )


__all__ = ["TimesCLIPTrainer"]
