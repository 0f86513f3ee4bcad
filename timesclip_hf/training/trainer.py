# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Trainer for TimesCLIP: its loss with every term named, and two learning rates."""

import contextlib
import copy
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import find_batch_size
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, EvalPrediction, SaveStrategy, unwrap_peft_model
from transformers.utils import logging

from ..data.collator import TimesCLIPDataCollator
from ..features.feature_cache import FeatureCache, adapters_at_work, has_frozen_vision
from ..hub.hub_pushes import PushingTrainer
from ..metrics import (
    compute_classification_metrics,
    compute_forecast_metrics,
    compute_regression_metrics,
    retrieval_accuracy,
)
from ..model.agreement import check_agreement
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.losses import observed_count
from ..model.modeling_timesclip import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
)
from ..model.processing_timesclip import TimesCLIPProcessor
from .adapters import load_adapter_weights
from .checkpoints import checkpoint_name
from .described_trainer import DescribedTrainer
from .gradient_cache import AccumulatedAlignment
from .process_shares import SharedStream, count_batches, share_loader
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


class TimesCLIPTrainer(DescribedTrainer, ResumableTrainer, PushingTrainer):
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
    - Beside every saved model and checkpoint lies a model card, README.md, of what was really run; it reports a test
      part after `trainer.evaluate(test, metric_key_prefix="test")`, and what `create_model_card` is told, such as
      `license` and `dataset` (`DescribedTrainer`).
    - A push to the Hub is one commit of model, processor, card and the code that loads them (`PushingTrainer`).
    - In training on several processes, every sample is read once an epoch, and loss and gradients are those of one
      process on the batch of all of them: the alignment loss compares all samples, the task loss is a mean over all
      observed labels. Evaluation counts every sample once, too; its alignment loss is the mean over the batches that
      one process would make with the same `per_device_eval_batch_size`. A stream (`datasets.IterableDataset`) is read
      by every process, each renders its part alone: if it is shuffled, give it a seed.

    Accumulating gradients (`gradient_accumulation_steps`) averages the losses of the batches, each of which is a mean
    of its own: a last batch that is smaller counts as much as any other, and the alignment loss compares within each
    batch. With `args.alignment_over_accumulation` they train as one batch, for a second pass without gradients.

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
        if isinstance(self.data_collator, TimesCLIPDataCollator) and not self.data_collator.draw:
            self.data_collator = copy.copy(self.data_collator)  # other trainers' features are of other towers
        if args.metric_for_best_model == "task":
            self.args = copy.copy(args)  # the caller's may go on to a model of another task
            self.args.metric_for_best_model = self._task_metric()
        if self.compute_metrics is None:
            self.compute_metrics = _metrics_of(self._task_model)
        if isinstance(self._task_model, TimesCLIPForPreTraining):
            self.label_names = []
        task_model = self._task_model
        if isinstance(processing_class, TimesCLIPProcessor) and isinstance(task_model.config, TimesCLIPConfig):
            check_agreement(processing_class, task_model.config, task_model.task, training=True)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
        self._average: WeightAverage | None = None
        self._start: dict[str, Tensor] | None = None
        self.add_callback(_KeptWeights(self))
        self._cached: tuple[Any, ...] = ()
        self._terms: dict[str, Tensor] = {}  # name -> weighted sum, sum of weights
        self._only_fills_up = False
        self._accumulation: AccumulatedAlignment | None = None
        self._check_processes()

    @property
    def _task_model(self) -> Any:
        """The TimesCLIP model itself, without what peft wraps around it."""
        return unwrap_peft_model(self.model)

    def _task_metric(self) -> str | None:
        """What `metric_for_best_model="task"` stands for; `None`: several parts to evaluate on, nothing to choose."""
        chosen = [metric for model_class, metric in _BEST_BY.items() if isinstance(self._task_model, model_class)]
        metric = chosen[0] if chosen else "loss"
        if not isinstance(self.eval_dataset, dict):
            return metric
        choosing = self.args.load_best_model_at_end or self.args.save_strategy == SaveStrategy.BEST
        if choosing or self.args.early_stopping_patience is not None:
            names = ", ".join(repr(f"{name}_{metric}") for name in self.eval_dataset)
            raise ValueError(f"eval_dataset has several parts: set metric_for_best_model to one of {names}.")
        return None

    def get_train_dataloader(self) -> DataLoader:
        """Trainer's; the features of a frozen vision tower are made ready first.

        On several processes every sample is used once an epoch, none to fill up the last batch.
        """
        self._cache_features(self.train_dataset)
        if self.args.world_size == 1 or self.train_dataset is None:
            return super().get_train_dataloader()
        sharing = {
            "batch_size": self._train_batch_size * self.args.world_size,
            "processes": self.args.world_size,
            "process": self.args.process_index,
            "drop_last": self.args.dataloader_drop_last,
        }
        if not isinstance(self.train_dataset, IterableDataset):
            return share_loader(super().get_train_dataloader(), **sharing)
        loader: Any = DataLoader(
            SharedStream(self.train_dataset, **sharing),
            batch_size=None,
            collate_fn=self._get_collator_with_removed_columns(self.data_collator, description="Training"),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        # Accelerate would have process 0 render all of it; it is told of one process, since the parts are made.
        return prepare_data_loader(
            loader,
            device=self.args.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            dispatch_batches=False,
        )

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
        inputs = self._without_labels_in_pretraining(inputs)
        outputs = model(**inputs)
        if outputs.loss is None:
            raise ValueError(f"The batch has no 'labels', only {sorted(inputs)}: there is no loss to compute.")
        task_loss = getattr(outputs, "task_loss", None)
        loss = outputs.loss if model.training or task_loss is None else task_loss
        terms = {name: getattr(outputs, name, None) for name in _LOSS_TERMS}
        self._add_terms(terms if model.training else {**terms, "loss": loss}, inputs, model.training)
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's; what it returns are the batches of one optimizer step."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        if self.args.alignment_over_accumulation and len(batches) > 1:
            self._accumulation = AccumulatedAlignment(self._alignment_objective(), batches)
        else:
            self._accumulation = None
        return batches, items

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Trainer's step; with `args.alignment_over_accumulation` as a part of the accumulated batch."""
        if self._accumulation is None:
            return super().training_step(model, inputs, *args, **kwargs)

        def forward(batch: dict[str, Any]) -> None:
            model.train()
            with self.compute_loss_context_manager():
                model(**self._without_labels_in_pretraining(self._prepare_inputs(batch)))

        with self._accumulation.micro_batch(forward, next(model.parameters())):
            return super().training_step(model, inputs, *args, **kwargs)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[Tensor | None, Any, Any]:
        """Trainer's step; rows that only fill up the last batch of several processes do not count in losses."""
        state, rows = self.accelerator.gradient_state, find_batch_size(inputs)
        if self.args.world_size == 1 or not state.end_of_dataloader or state.remainder <= 0 or rows is None:
            return super().prediction_step(model, inputs, *args, **kwargs)
        own = min(max(0, state.remainder - rows * self.args.process_index), rows)
        self._only_fills_up = own == 0
        inputs = {name: value[: max(own, 1)] for name, value in inputs.items()}
        try:
            loss, outputs, labels = super().prediction_step(model, inputs, *args, **kwargs)
        finally:
            self._only_fills_up = False
        # The rows left out are at the end of what all processes gather, where Trainer cuts them off.
        outputs, labels = (
            None if x is None else self.accelerator.pad_across_processes(x, dim=0) for x in (outputs, labels)
        )
        return loss, outputs, labels

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
        for name in ("loss", "alignment_loss"):
            if output.metrics is not None and name in terms:
                output.metrics[f"{metric_key_prefix}_{name}"] = terms[name]
        self._terms = training_terms
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
        if self.args.feature_cache == "off" or not ours or self.is_fsdp_enabled:
            return
        model = self._task_model
        state = _tower_state(model)
        if self._cached and self._cached[0] != state:
            collator.features, self._cached = None, ()
        if state is None or collator.processor.image_size is None:
            return
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            return
        automatic = self.args.feature_cache == "auto"
        try:
            if not self._cached:
                folder = None if automatic else self.args.feature_cache
                cache = FeatureCache(model, collator.processor, folder, self.args.feature_cache_dtype)
                collator.features = cache.store
                self._cached = (state, cache, [])
            _, cache, known = self._cached
            if not any(dataset is other for other in known):
                known.append(dataset)
                cache.add(dataset, progress=not self.args.disable_tqdm)
        except OSError as error:  # nobody asked for it: a full or foreign disk must not stop the training
            if not automatic:
                raise
            logger.warning_once(f"Features cannot be kept, so series are encoded at every step: {error}")

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Trainer's, and images drawn on the model's device from the few numbers that came there."""
        inputs = dict(super()._prepare_inputs(inputs))
        collator: Any = self.data_collator
        if "plot_values" in inputs and isinstance(collator, TimesCLIPDataCollator):
            processor: Any = collator.processor
            if collator.features is not None:
                logger.warning_once(
                    "Series that were not there when the feature cache was filled (of a stream, or of a data set that "
                    "changes what it returns) are drawn and encoded at every step; feature_cache='off' spares the "
                    "filling."
                )
            processor.add_images(inputs)
        return inputs

    def _steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training data."""
        dataset: Any = self.train_dataset
        if not hasattr(dataset, "__len__"):
            raise ValueError("epoch_decay and average_epochs count epochs: the training data must have a length.")
        size = self.args.train_batch_size * self.args.world_size
        batches = count_batches(len(dataset), size, self.args.world_size, self.args.dataloader_drop_last)
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
        return isinstance(self._task_model, TimesCLIPForPreTraining) and ignore_keys in (None, _BESIDE_EMBEDS)

    def _alignment_objective(self) -> Any:
        model = unwrap_peft_model(self.accelerator.unwrap_model(self.model))
        objective: Any = getattr(model, "alignment", None)
        if hasattr(objective, "modules_to_save"):  # beside an adapter, peft trains a copy
            return objective.modules_to_save[objective.active_adapters[0]]
        return objective

    def _without_labels_in_pretraining(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Pre-training takes data that other tasks have labels for."""
        if self.label_names:
            return inputs
        return {name: value for name, value in inputs.items() if name != "labels"}

    def _check_processes(self) -> None:
        """What cannot work with the processes or the model that there are."""
        if self.args.alignment_over_accumulation:
            if self._alignment_objective() is None:
                raise ValueError("alignment_over_accumulation=True, but the model has no alignment loss.")
            if self.args.n_gpu > 1:
                raise ValueError(
                    f"alignment_over_accumulation=True, but one process has {self.args.n_gpu} GPUs: start one process "
                    "for each with accelerate launch."
                )
        if self.is_fsdp_enabled and self.args.average_epochs is not None:
            raise ValueError("average_epochs keeps whole weights, which FSDP shards: leave one of the two out.")
        if self.is_fsdp_enabled and self.args.eval_on_start and self.args.load_best_model_at_end:
            raise ValueError(
                "eval_on_start with load_best_model_at_end keeps whole weights, which FSDP shards: leave one out."
            )

    def _add_terms(self, terms: dict[str, Tensor | None], inputs: dict[str, Any], training: bool) -> None:
        """Adds a batch to the means of its loss terms: by its observed labels or samples in evaluation."""
        labels: Any = inputs.get("labels")
        rows = find_batch_size(inputs) or 1
        for name, value in terms.items():
            if value is None:
                continue
            # Millions of labels add up; Apple's GPUs know nothing beyond fp32.
            precision = torch.float32 if value.device.type == "mps" else torch.float64
            weight = torch.ones((), device=value.device, dtype=precision)
            if self._only_fills_up:
                weight = weight * 0
            elif not training:
                own_task = name != "alignment_loss" and isinstance(labels, Tensor)
                weight = weight * (observed_count(labels) if own_task else rows)
            added = torch.stack([value.detach().mean().to(weight.dtype) * weight, weight])
            self._terms[name] = self._terms[name] + added if name in self._terms else added

    def _pop_terms(self) -> dict[str, Tensor]:
        terms, self._terms = self._terms, {}
        return terms

    def _mean_terms(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """Means over all processes."""
        sums = {name: self.accelerator.reduce(total, reduction="sum").tolist() for name, total in terms.items()}
        return {name: value / max(weight, 1.0) for name, (value, weight) in sums.items()}


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
        name = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
        # With several parts to evaluate on, the metric is of one of them.
        if first and args.eval_on_start and args.load_best_model_at_end and name in metrics:
            state.best_metric, state.best_global_step = metrics[name], 0
            self.trainer._start = copy_weights(self.trainer.model)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        average, start = self.trainer._average, self.trainer._start
        if args.load_best_model_at_end and state.best_model_checkpoint:
            return  # Trainer has loaded it
        kept = start if args.load_best_model_at_end and start is not None else average and average.averages
        if kept:
            load_weights(self.trainer.model, kept)


def _tower_state(model: Any) -> Any:
    """What changes with a frozen vision tower's features; `None` where there is no such tower.

    Weights that were loaded have another place or another count of changes.
    """
    if not has_frozen_vision(model):
        return None
    tower = model.base_model.vision_tower
    weights = tuple((p.data_ptr(), p._version) for p in (*tower.parameters(), *tower.buffers()))
    return weights, adapters_at_work(tower)


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


__all__ = ["TimesCLIPTrainer"]
