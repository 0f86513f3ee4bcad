# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Trainer for TimesCLIP: `transformers.Trainer`, with parts of one job each, which are in modules of their own."""

import contextlib
import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import find_batch_size, recursively_apply
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput, PredictionOutput, unwrap_peft_model

from .. import metrics
from ..data.collator import TimesCLIPDataCollator
from ..features.cache import CachedFeatures
from ..hub.card_callback import ModelCardCallback, create_model_card
from ..hub.push import push_checkpoint, push_to_hub
from ..model.agreement import check_agreement
from ..model.heads import unfitted_kernels
from ..model.precision import widened
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.remote_code import links_cut
from ..model.tasks import Task
from .adapters import load_own_adapter
from .best_epoch import EarlyStoppingCallback, search_hyperparameters, with_best_metric
from .branch_weights import BranchWeights
from .checkpoints import ResumableCheckpoints
from .covariate_effects import covariate_paths, fit_effects, unfitted_effects
from .evaluation import BatchedMetrics, BoundedEmbeds, evaluating, every_row, whole
from .given_data import augmented, check_data, check_given, check_labels
from .gradient_caching import AccumulatedAlignment, alignment_objective
from .half_weights import HalfWeights
from .head_first import train_head_first
from .heads import fit_head
from .hooks import check_hooks
from .loss_terms import LossTerms
from .optimization import epoch_decay_schedule, set_tower_rate
from .refusals import check_combination, is_sharded
from .sharding import rows_of_its_own, shard_loader, steps_per_epoch, stream_loader, whole_batch_size
from .task_objective import TaskObjective
from .training_args import TimesCLIPTrainingArguments
from .weight_averaging import KeptWeights

check_hooks()

# What need not be gathered to compare embeds.
_BESIDE_EMBEDS = [
    "alignment_loss", "text_tokens", "text_features", "selected_embeds", "vision_features", "selection_attentions",
]  # fmt: skip


class TimesCLIPTrainer(Trainer):
    """
    As `transformers.Trainer`; what differs:

    - `compute_loss` minimises task loss + weighted alignment loss in training, reports the task loss alone as
      `eval_loss` (an InfoNCE value depends on the batch size), and logs every term by name.
    - With a `TimesCLIPProcessor` as `processing_class`, batches are rendered from the stored arrays when needed, on
      the model's device; a frozen vision tower is asked once for each series (`args.feature_cache`).
    - With `branch_fusion="late"` the validation part decides in the end by how much each branch counts.
    - Each model comes with the metrics of its task, and `TimesCLIPTrainingArguments` with what they say.
    - Beside every saved model lies a model card, README.md, of what was really run, unless somebody wrote one by hand;
      it reports a test part after `trainer.evaluate(test, metric_key_prefix="test")`. A push to the Hub is one commit
      of model, processor, card and the code that loads them.
    - A checkpoint is complete or not there. What a resumed run computes is, bit for bit on a CPU, what it would have
      computed undisturbed. Training arguments are saved as JSON, without tokens, not as a pickle.
    - On several processes, every sample is read once an epoch, and loss and gradients are those of one process on the
      batch of all of them. Evaluation counts every sample once, too; its alignment loss is the mean over the batches
      of one process. Every process reads a whole stream and renders its part: give it a seed if it is shuffled.

    Accumulated batches (`gradient_accumulation_steps`) count alike, whatever their size, and alignment compares within
    each; with `args.alignment_over_accumulation` they train as one batch, for a second pass without gradients.

    Longer than other classes here: each hook of transformers has to be a method of this one class, so that no order of
    base classes decides which comes first.

    Args:
        model: a TimesCLIP model.
        args: `TimesCLIPTrainingArguments`.
        processing_class: the fitted processor; saved with every checkpoint.
        **kwargs: as for `Trainer`; a `data_collator` or `compute_metrics` given here wins. Data are rows with
            `past_values`; `compute_loss_func`: see `TaskObjective`. What cannot be kept raises `ValueError`.
    """

    # The losses are means over a batch: Trainer divides them by the number of accumulated batches.
    loss_is_scaled_for_ga = False
    args: TimesCLIPTrainingArguments
    model: Any  # Trainer allows None, which its own checks exclude before training
    create_model_card = create_model_card  # type: ignore[assignment]
    push_to_hub = push_to_hub
    hyperparameter_search = search_hyperparameters  # type: ignore[assignment]

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TimesCLIPTrainingArguments | None = None,
        processing_class: TimesCLIPProcessor | None = None,
        **kwargs: Any,
    ):
        args = args if args is not None else TimesCLIPTrainingArguments()
        if not isinstance(args, TimesCLIPTrainingArguments):
            raise ValueError(f"args is a {type(args).__name__}: pass TimesCLIPTrainingArguments")
        check_given(model, processing_class, kwargs)
        if kwargs.get("data_collator") is None and processing_class is not None:
            kwargs["data_collator"] = TimesCLIPDataCollator(processing_class, draw=False)
        super().__init__(model=model, args=args, processing_class=processing_class, **kwargs)
        if isinstance(self.data_collator, TimesCLIPDataCollator) and not self.data_collator.draw:
            self.data_collator = copy.copy(self.data_collator)  # other trainers' features are of other towers
        self.task: Task = getattr(unwrap_peft_model(self.model), "task", Task("unknown"))
        check_combination(self, alignment_objective(self.model) is not None, kwargs.get("optimizers"))
        if isinstance(processing_class, TimesCLIPProcessor):
            check_agreement(processing_class, self.model.config, self.task, training=True)
        if isinstance(self.data_collator, TimesCLIPDataCollator) and self.compute_loss_func is None:
            check_labels("train_dataset", self.train_dataset, self.task)
            check_labels("eval_dataset", self.eval_dataset, self.task)
        self.task_objective = TaskObjective(self)
        self.args = with_best_metric(args, self.task, self.model, self.eval_dataset)
        if not self.task.has_labels:
            self.label_names = []
        elif self.compute_metrics is None:
            self.compute_metrics = _metrics_of(self.task, self.model, args.batch_eval_metrics, self.processing_class)
        self.features = CachedFeatures(args, is_sharded(self))
        self.training_terms, self.evaluation_terms = LossTerms(self.accelerator), LossTerms(self.accelerator)
        as_it_is = is_sharded(self) or args.torch_compile  # weights of other forms, or compiled for one dtype
        self.half_weights = HalfWeights("no" if as_it_is else self.accelerator.mixed_precision)
        self.accumulation: AccumulatedAlignment | None = None
        self.embeds: BoundedEmbeds | None = None  # while pre-training is evaluated
        self.checkpoints, self.kept_weights = ResumableCheckpoints(self), KeptWeights(self)
        self.card = ModelCardCallback(self)
        stopping = [EarlyStoppingCallback(args.early_stopping_patience)] if args.early_stopping_patience else []
        weights = BranchWeights(self)  # once the weights to keep are in place
        for callback in (self.task_objective, self.checkpoints, *stopping, self.kept_weights, weights, self.card):
            self.add_callback(callback)

    def get_train_dataloader(self) -> DataLoader:
        """Trainer's; on several processes every sample is used once an epoch, none to fill up the last batch."""
        if self.args.augment is not None:
            with augmented(self):
                return self._train_loader()
        self.features.prepare(self.model, self.data_collator, self.train_dataset)
        return self._train_loader()

    def _train_loader(self) -> DataLoader:
        if self.args.world_size == 1 or self.train_dataset is None:
            return super().get_train_dataloader()
        batch_size = whole_batch_size(self)
        if not isinstance(self.train_dataset, IterableDataset):
            return shard_loader(super().get_train_dataloader(), batch_size, self.args)
        collator = self._get_collator_with_removed_columns(self.data_collator, description="Training")
        return stream_loader(self.train_dataset, collator, batch_size, self.args)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Trainer's, of every sample; the features of a frozen vision tower are made ready first."""
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            return self.get_test_dataloader(eval_dataset)  # Trainer's workers that stay would read its own data again
        own = cast(Any, self.eval_dataset)
        self.features.prepare(self.model, self.data_collator, own if eval_dataset is None else own[eval_dataset])
        self.card.data = eval_dataset
        with every_row(self.args):
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """As `get_eval_dataloader`, for the data to predict."""
        check_data("the data set", test_dataset, self.data_collator)
        self.card.data = test_dataset
        self.features.prepare(self.model, self.data_collator, test_dataset)
        with every_row(self.args):
            return super().get_test_dataloader(test_dataset)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Trainer's, with the images; pre-training takes data that other tasks have labels for."""
        prepared = dict(super()._prepare_inputs(inputs))
        inputs = self.features.drawn(prepared, self.data_collator, self.accelerator.autocast)
        return inputs if self.label_names else {name: value for name, value in inputs.items() if name != "labels"}

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted sum of the loss terms in training, the task loss alone in evaluation."""
        with self.task_objective.applied():
            outputs = model(**inputs)
        if outputs.loss is None:
            raise ValueError(f"The batch has no 'labels', only {sorted(inputs)}: there is no loss to compute.")
        task_loss, aligned = getattr(outputs, "task_loss", None), getattr(outputs, "alignment_loss", None)
        loss = outputs.loss if model.training or task_loss is None else task_loss
        if model.training:
            self.training_terms.add({"task_loss": task_loss, "alignment_loss": aligned})
            loss = self.task_objective.undivided(loss)
        else:
            self.evaluation_terms.add({"loss": loss, "alignment_loss": aligned}, inputs)
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's; what it returns are the batches of one optimizer step."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        together = self.args.alignment_over_accumulation and len(batches) > 1
        self.accumulation = AccumulatedAlignment(alignment_objective(self.model), batches) if together else None
        counted = self.task_objective.count_items(batches)
        return batches, items if counted is None else counted

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Trainer's step; with `args.alignment_over_accumulation` as a part of the accumulated batch."""
        accumulation = self.accumulation

        def forward(batch: dict[str, Any]) -> None:
            model.train()
            with self.compute_loss_context_manager(), self.task_objective.applied():
                model(**self._prepare_inputs(batch))

        with contextlib.ExitStack() as at_work:
            at_work.enter_context(self.half_weights.at_work(model))
            if accumulation is not None:
                at_work.enter_context(accumulation.micro_batch(forward, next(model.parameters())))
            return super().training_step(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the named loss terms, averaged since the last log, to each training log."""
        super().log({**logs, **self.training_terms.pop()} if "loss" in logs else logs, start_time)

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Trainer's step; rows that only fill up the last batch of several processes do not count in losses."""
        rows = find_batch_size(inputs)
        own = rows_of_its_own(self.accelerator, rows)
        self.evaluation_terms.weight = 0 if own == 0 else 1
        if own is not None:
            inputs = {name: value[: max(own, 1)] for name, value in inputs.items()}
        loss, *gathered = super().prediction_step(model, inputs, *args, **kwargs)
        if self.embeds is not None:
            gathered[0] = self.embeds.keep(gathered[0], rows or 0, self.accelerator.num_processes)
        if self.accelerator.num_processes > 1 and self.task.errors_in == "variates":
            # Forecasts of large levels are float64 (see `precision`); what processes send each other has one dtype.
            gathered = recursively_apply(widened, gathered, test_type=_is_floating)
        if own is None:
            return (loss, *gathered)
        # The rows left out are at the end of what all processes gather, where Trainer cuts them off.
        return loss, *(None if x is None else self.accelerator.pad_across_processes(x, dim=0) for x in gathered)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Trainer's loop; the alignment loss is reported beside the metrics, and retrieval in pre-training."""
        losses_alone = self.task.has_labels or self.args.prediction_loss_only
        compare = None if losses_alone else _metrics_of(self.task, self.model)
        self.embeds = None
        if compare is not None and kwargs.get("ignore_keys") is None:  # nobody asked for other outputs
            kwargs |= {"prediction_loss_only": False, "ignore_keys": _BESIDE_EMBEDS}
            self.embeds = BoundedEmbeds()
        self.evaluation_terms.sums = {}
        with self.kept_weights.applied(), evaluating(self):
            output = super().evaluation_loop(*args, **kwargs)
        found = self.evaluation_terms.pop()
        if compare is not None and self.embeds is not None:
            found |= compare(*whole(output.predictions))
            self.embeds.report()
        prefix = kwargs.get("metric_key_prefix", "eval")
        cast(dict, output.metrics).update({f"{prefix}_{name}": value for name, value in found.items()})
        return output

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str | None = None
    ) -> PredictionOutput:
        """As Trainer's, whose prefix is "test" if none is given; the card reports only what one was given for."""
        with self.card.unnamed(metric_key_prefix is None):
            return super().predict(test_dataset, ignore_keys, metric_key_prefix or "test")

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Trainer's optimizer, with the towers' weights in groups of their own where they learn at another rate."""
        fresh, optimizer = self.optimizer is None, super().create_optimizer(model)
        if fresh and self.args.tower_learning_rate is not None:
            set_tower_rate(optimizer, self.model if model is None else model, self.args.tower_learning_rate)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """Trainer's schedule, or a step down after each epoch with `args.epoch_decay`."""
        optimizer = self.optimizer if optimizer is None else optimizer
        if self.args.epoch_decay is None or self.lr_scheduler is not None or optimizer is None:
            return super().create_scheduler(num_training_steps, optimizer)
        steps, warmup = steps_per_epoch(self), self.args.get_warmup_steps(num_training_steps)
        self.lr_scheduler = epoch_decay_schedule(optimizer, self.args.epoch_decay, steps, warmup)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's. Interrupted, it leaves the weights of the last step.

        `True` goes on from the last complete checkpoint in `args.output_dir`, or starts from scratch where there is
        none: a job that is restarted until it succeeds always calls just this. A named folder must be complete.

        Raises:
            ValueError: no such checkpoint, or another training is at work in `args.output_dir` (see `output_lock`).
        """
        if self.model_init is None:
            self._fit_kernels(self.model)
            config = getattr(unwrap_peft_model(self.model), "config", None)
            if getattr(config, "calibration", None) is not None:
                config.calibration = None  # of the weights as they were
        try:
            trial = args[0] if args else kwargs.get("trial")
            checkpoint = self.checkpoints.find(resume_from_checkpoint, trial)
            if checkpoint is None and self.model_init is None:
                train_head_first(self, self.model)
            return super().train(checkpoint, *args, **kwargs)
        finally:
            self.checkpoints.release()
            self.kept_weights.forget()

    def call_model_init(self, trial: Any = None) -> Any:
        """Trainer's; a model that training starts with has its kernels fitted, and its head trained if it is first."""
        model = super().call_model_init(trial)
        if getattr(self, "is_in_train", False):  # not while the trainer is built
            if self.place_model_on_device:
                self._move_model_to_device(model, self.args.device)
            self._fit_kernels(model)
            self.model = model  # the one whose loss is changed from now on
            self.task_objective.on_train_begin()
            train_head_first(self, model)
        return model

    def _fit_effects(self, model: Any) -> None:
        """Fits the effects of covariates that nothing has fitted yet; gradients do for data without a length."""
        collator, data = self.data_collator, self.train_dataset
        if not (covariate_paths(model) and isinstance(collator, TimesCLIPDataCollator) and hasattr(data, "__len__")):
            return
        if unfitted_effects(model):
            listed = hasattr(self.eval_dataset, "__getitem__") and not isinstance(self.eval_dataset, dict)
            plain = TimesCLIPDataCollator(collator.processor, draw=False)
            fit_effects(model, plain, data, self.eval_dataset if listed else None)
        for path in covariate_paths(model):
            for part in (path.bends, path.recalled, path.effect):
                if part is not None:
                    part.requires_grad_(False)

    def _fit_kernels(self, model: Any) -> None:
        """Fits the kernels of a model that nobody has fitted; those of a resumed run come out the same."""
        self._fit_effects(model)
        if not unfitted_kernels(unwrap_peft_model(model)):
            return
        if getattr(model, "peft_config", None):
            raise ValueError(
                "The model has kernels that were never fitted, and an adapter does not hold them: call "
                "fit_head(model, processor, train) and save the model before it is adapted."
            )
        if not isinstance(self.processing_class, TimesCLIPProcessor) or not hasattr(self.train_dataset, "__len__"):
            raise ValueError(
                "The model has kernels that were never fitted: call fit_head(model, processor, train) before training."
            )
        fit_head(model, self.processing_class, self.train_dataset, seed=self.args.seed)

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """As Trainer's, with what it does not restore; a run that had ended has no epoch left."""
        self.training_terms.sums = {}  # of a start that ran out of memory (`auto_find_batch_size`)
        progress: tuple[int, int] = super()._init_training_state(*args, **kwargs)
        return (self.state.num_train_epochs, 0) if self.checkpoints.restore() else progress

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """As Trainer's, without the evaluation of the start (`skip_scheduler`) where this is not the start."""
        started = skip_scheduler and self.state.global_step > 0
        return {} if started else super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)

    def _finalize_training(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's, which would delete checkpoints in their place."""
        with self.checkpoints.ending(self._get_output_dir(trial)):
            return super()._finalize_training(trial, *args, **kwargs)

    def _get_output_dir(self, trial: Any) -> str:
        """Where checkpoints are; while one is written, where it is written."""
        return self.checkpoints.staging or super()._get_output_dir(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Trainer's, of the weights to keep; put in its place when it is complete, and pushed from there."""
        with self.checkpoints.publishing(self._get_output_dir(trial)) as (written, final):
            with self.kept_weights.applied():
                super()._save_checkpoint(model, trial)
            self.kept_weights.save(written)
        if self.args.push_to_hub:
            push_checkpoint(self, final)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Nothing: Trainer asks before the checkpoint is in its place."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """As Trainer's, which knows the adapters of `get_peft_model`, but not those of `model.add_adapter`."""
        if not load_own_adapter(self.model, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        """As Trainer's, with those adapters."""
        if not load_own_adapter(self.model, self.state.best_model_checkpoint):
            super()._load_best_model()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """As Trainer's, with a card, and with the arguments as JSON in place of a pickle."""
        folder = Path(str(self.args.output_dir if output_dir is None else output_dir))
        with self.card.beside(folder), links_cut(folder, "training_args.json"):
            super()._save(output_dir, state_dict)
            if self.args.should_save:
                self.args.save(folder)


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _metrics_of(
    task: Task, model: Any, batched: bool = False, processor: Any = None
) -> Callable[..., dict[str, float]] | None:
    if task.metrics is None:
        return None
    compute, config = getattr(metrics, task.metrics), model.config
    if task.errors_in == "variates":  # in units of each one's spread
        compute = functools.partial(
            compute, scale=config.variate_std and config.variate_std[: config.num_target_variates]
        )
    elif task.errors_in == "targets" and config.num_targets > 1:
        names = getattr(processor, "target_names", None)
        compute = functools.partial(compute, scale=config.target_std, names=names)
    return BatchedMetrics(compute) if batched else compute


__all__ = ["TimesCLIPTrainer"]
