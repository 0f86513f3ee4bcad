"""Every argument of `Trainer` and `TrainingArguments`: it works, or is refused, or is transformers' own business."""

import copy
import dataclasses
import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import ParallelismConfig
from small_trainers import QUIET, make_rows, trainer_builder
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)

# Something of ours depends on it, and a test somewhere says that it does what it promises.
WORKS = "works"
# Some values, or all, are refused with a sentence: `REFUSALS` has one at least.
REFUSED = "refused"
# Nothing of ours touches it.
PASSED = "passed through"

TRAINER = {
    "model": REFUSED, "args": REFUSED, "data_collator": WORKS, "train_dataset": REFUSED, "eval_dataset": REFUSED,
    "processing_class": REFUSED, "model_init": WORKS, "compute_loss_func": REFUSED, "compute_metrics": REFUSED,
    "callbacks": WORKS, "optimizers": REFUSED, "optimizer_cls_and_kwargs": WORKS,
    "preprocess_logits_for_metrics": WORKS,
}  # fmt: skip
ARGUMENTS = {
    "output_dir": WORKS, "per_device_train_batch_size": WORKS, "num_train_epochs": WORKS, "max_steps": WORKS,
    "learning_rate": WORKS, "lr_scheduler_type": WORKS, "lr_scheduler_kwargs": WORKS, "warmup_steps": WORKS,
    "optim": REFUSED, "optim_args": PASSED, "weight_decay": WORKS, "adam_beta1": PASSED, "adam_beta2": PASSED,
    "adam_epsilon": PASSED, "optim_target_modules": PASSED, "gradient_accumulation_steps": WORKS,
    "average_tokens_across_devices": WORKS, "max_grad_norm": PASSED, "label_smoothing_factor": REFUSED,
    "bf16": WORKS, "fp16": PASSED, "bf16_full_eval": WORKS, "fp16_full_eval": WORKS, "tf32": PASSED,
    "activation_checkpointing": WORKS, "activation_checkpointing_kwargs": PASSED, "gradient_checkpointing": WORKS,
    "gradient_checkpointing_kwargs": PASSED, "torch_compile": WORKS, "torch_compile_backend": WORKS,
    "torch_compile_mode": PASSED, "use_liger_kernel": REFUSED, "liger_kernel_config": PASSED, "use_cache": PASSED,
    "neftune_noise_alpha": REFUSED, "torch_empty_cache_steps": WORKS, "auto_find_batch_size": WORKS,
    "logging_strategy": WORKS, "logging_steps": WORKS, "logging_first_step": WORKS, "log_on_each_node": PASSED,
    "logging_nan_inf_filter": PASSED, "include_num_input_tokens_seen": REFUSED, "log_level": PASSED,
    "log_level_replica": PASSED, "disable_tqdm": WORKS, "report_to": WORKS, "run_name": PASSED, "project": PASSED,
    "trackio_space_id": PASSED, "trackio_bucket_id": PASSED, "trackio_static_space_id": PASSED,
    "eval_strategy": WORKS, "eval_steps": WORKS, "eval_delay": WORKS, "per_device_eval_batch_size": WORKS,
    "prediction_loss_only": REFUSED, "eval_on_start": WORKS, "eval_do_concat_batches": WORKS,
    "eval_use_gather_object": WORKS, "eval_accumulation_steps": WORKS, "include_for_metrics": WORKS,
    "batch_eval_metrics": REFUSED, "save_only_model": WORKS, "save_strategy": WORKS, "save_steps": WORKS,
    "save_on_each_node": PASSED, "save_total_limit": WORKS, "enable_jit_checkpoint": WORKS, "push_to_hub": WORKS,
    "hub_token": WORKS, "hub_private_repo": WORKS, "hub_model_id": WORKS, "hub_strategy": REFUSED,
    "hub_always_push": WORKS, "hub_revision": WORKS, "load_best_model_at_end": WORKS,
    "metric_for_best_model": REFUSED, "greater_is_better": WORKS, "ignore_data_skip": WORKS,
    "restore_callback_states_from_checkpoint": WORKS, "full_determinism": PASSED, "seed": WORKS, "data_seed": PASSED,
    "use_cpu": WORKS, "accelerator_config": REFUSED, "parallelism_config": REFUSED, "dataloader_drop_last": REFUSED,
    "dataloader_num_workers": WORKS, "dataloader_pin_memory": WORKS, "dataloader_persistent_workers": WORKS,
    "dataloader_prefetch_factor": WORKS, "dataloader_multiprocessing_context": WORKS, "dataloader_in_order": PASSED,
    "remove_unused_columns": REFUSED, "label_names": REFUSED, "train_sampling_strategy": REFUSED,
    "length_column_name": PASSED, "ddp_find_unused_parameters": PASSED, "ddp_bucket_cap_mb": PASSED,
    "ddp_broadcast_buffers": PASSED, "ddp_static_graph": PASSED, "ddp_backend": PASSED, "ddp_timeout": PASSED,
    "fsdp": WORKS, "fsdp_config": PASSED, "deepspeed": PASSED, "debug": REFUSED, "skip_memory_metrics": WORKS,
    "do_train": PASSED, "do_eval": PASSED, "do_predict": PASSED, "resume_from_checkpoint": PASSED,
    "local_rank": PASSED, "warmup_ratio": PASSED, "logging_dir": PASSED,
}  # fmt: skip
# What transformers 5.10.1 has, by name; only the newest supported version is installed here.
ONLY_OLD = {"warmup_ratio", "logging_dir"}
ONLY_NEW = {
    "activation_checkpointing", "activation_checkpointing_kwargs", "dataloader_multiprocessing_context",
    "dataloader_in_order",
}  # fmt: skip


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self) -> Any:
        return iter(make_rows(24))


# Argument -> what refuses it, and the words that say what to do.
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "optim": ({"optim": "lomo", "tower_learning_rate": 1e-5}, "tower_learning_rate=1e-05 needs groups.*'lomo'"),
    "head_epochs": (
        {"head_epochs": 3, "model_class": TimesCLIPForPreTraining, "preset": "full"}, "of one regression or classif"
    ),
    "label_smoothing_factor": ({"label_smoothing_factor": 0.1}, "is for classification.*leave it out"),
    "use_liger_kernel": ({"use_liger_kernel": True}, "leave it False"),
    "neftune_noise_alpha": ({"neftune_noise_alpha": 5.0, "preset": "vision_only"}, "has no text branch"),
    "include_num_input_tokens_seen": ({"include_num_input_tokens_seen": "non_padding"}, "'all' counts the numbers"),
    "prediction_loss_only": (
        {"prediction_loss_only": True, "metric_for_best_model": "r2"}, "metric_for_best_model='loss', or"
    ),
    "batch_eval_metrics": (
        {"batch_eval_metrics": True, "model_class": TimesCLIPForPreTraining, "preset": "full"}, "leave it False"
    ),
    "hub_strategy": ({"push_to_hub": True, "hub_strategy": "all_checkpoints"}, "choose 'every_save' or 'end'"),
    "metric_for_best_model": ({"metric_for_best_model": "goodness"}, "'goodness'.*set greater_is_better=True or"),
    "parallelism_config": ({"parallelism_config": ParallelismConfig(tp_size=2)}, "data parallelism and FSDP work"),
    "dataloader_drop_last": (
        {"dataloader_drop_last": True, "per_device_train_batch_size": 32}, "24 samples are no batch of 32"
    ),
    "remove_unused_columns": ({"remove_unused_columns": True}, "leave it False"),
    "label_names": ({"label_names": ["yield"]}, "rename the column"),
    "train_sampling_strategy": ({"train_sampling_strategy": "group_by_length"}, "'random' or 'sequential'"),
    "debug": ({"debug": "underflow_overflow"}, "set_detect_anomaly"),
    "model": ({"given": {"model": "some/model"}}, "TimesCLIPForRegression.from_pretrained"),
    "train_dataset": ({"train": np.zeros((4, 12, 3))}, "Dataset.from_dict"),
    "eval_dataset": ({"validation": "validation.csv"}, "load_wide_table"),
    "processing_class": ({"given": {"processing_class": "some/processor"}}, "TimesCLIPProcessor.from_pretrained"),
    "compute_loss_func": (
        {"given": {"compute_loss_func": print}, "model_class": TimesCLIPForPreTraining, "preset": "full"},
        "has none: leave it out",
    ),
    "compute_metrics": (
        {"given": {"compute_metrics": print}, "model_class": TimesCLIPForPreTraining, "preset": "full"},
        "never called in pre-training",
    ),
    "optimizers": (
        {"tower_learning_rate": 1e-5, "given": {"optimizers": (torch.optim.SGD([torch.zeros(1)], 1.0), None)}},
        "give it groups there",
    ),
}  # fmt: skip
# Tested elsewhere, since it takes more than arguments.
REFUSED_ELSEWHERE = {"args", "accelerator_config"}
OUR_OWN = {"head_epochs"}  # no argument of transformers


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Any:
    return trainer_builder(tiny_config, tmp_path)


def test_every_argument_of_trainer_has_been_decided_on() -> None:
    installed = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert installed == TRAINER.keys()  # those of 5.10.1 are the same


def test_every_training_argument_has_been_decided_on() -> None:
    installed = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert installed <= ARGUMENTS.keys()
    assert ARGUMENTS.keys() - installed <= ONLY_OLD | ONLY_NEW


def test_what_is_refused_has_a_sentence() -> None:
    refused = {name for name, fate in {**TRAINER, **ARGUMENTS}.items() if fate == REFUSED}
    assert refused == (REFUSALS.keys() - OUR_OWN) | REFUSED_ELSEWHERE


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_kept_is_refused_before_anything_runs(build: Any, name: str) -> None:
    arguments, message = REFUSALS[name]
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_arguments_of_another_class_are_refused(build: Any, tmp_path: Path) -> None:
    trainer = build()
    with pytest.raises(ValueError, match="pass TimesCLIPTrainingArguments"):
        TimesCLIPTrainer(trainer.model, TrainingArguments(str(tmp_path), **QUIET), trainer.processing_class)


def test_batches_dispatched_by_one_process_are_refused_where_there_are_several(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(accelerator_config={"dispatch_batches": True})
    monkeypatch.setattr(TimesCLIPTrainingArguments, "world_size", property(lambda args: 2))
    with pytest.raises(ValueError, match="dispatch_batches=True.*leave it None"):
        build(accelerator_config={"dispatch_batches": True})


@pytest.mark.parametrize("name", ["epoch_decay", "average_epochs"])
def test_epochs_of_a_stream_cannot_be_counted(build: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} counts epochs.*leave it out"):
        build(train=Stream(), max_steps=2, **{name: 0.5})


def test_a_stream_needs_a_number_of_steps_and_trains_so_many(build: Any) -> None:
    with pytest.raises(ValueError, match="max_steps has to be specified"):
        build(train=Stream())
    trainer = build(
        train=Stream(), max_steps=4, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2
    )
    trainer.train()
    assert trainer.state.global_step == 4


def test_a_schedule_of_ones_own_leaves_no_room_for_another(build: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    with pytest.raises(ValueError, match="epoch_decay has no effect beside a schedule"):
        build(epoch_decay=0.5, given={"optimizers": (optimizer, schedule)})


def test_a_model_without_a_loss_is_not_trained_but_gives_embeds(build: Any) -> None:
    with pytest.raises(ValueError, match="TimesCLIPModel has no loss"):
        build(TimesCLIPModel, "full")
    trainer = build(
        given={"train_dataset": None},
        model_class=TimesCLIPModel,
        preset="full",
        eval_strategy="no",
        load_best_model_at_end=False,
    )
    assert len(trainer.predict(make_rows(3), ignore_keys=[]).predictions) > 0


def test_early_stopping_needs_evaluations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set eval_strategy"):
        TimesCLIPTrainingArguments(
            str(tmp_path), early_stopping_patience=1, eval_strategy="no", load_best_model_at_end=False, **QUIET
        )


# What works: each of these was tried by hand, too.


@pytest.mark.parametrize(
    "arguments",
    [
        {"eval_use_gather_object": True, "torch_empty_cache_steps": 1, "logging_first_step": True, "bf16": True},
        {"eval_accumulation_steps": 1, "include_num_input_tokens_seen": "all", "lr_scheduler_type": "greedy"},
        {"save_only_model": True, "skip_memory_metrics": False, "neftune_noise_alpha": 5.0},
        {"enable_jit_checkpoint": True, "save_strategy": "best", "restore_callback_states_from_checkpoint": True},
        {"torch_compile": True, "torch_compile_backend": "eager", "train_sampling_strategy": "sequential"},
        {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 1, "optim": "adafactor"},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_a_run_with_these_arguments_trains_evaluates_and_keeps_the_best(build: Any, arguments: Any) -> None:
    trainer = build(num_train_epochs=2, **arguments)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert any(not torch.equal(p, old) for p, old in zip(trainer.model.parameters(), before, strict=True))
    scores = [log["eval_rmse"] for log in trainer.state.log_history if "eval_rmse" in log]
    assert trainer.state.best_metric == min(scores)
    if trainer.state.best_model_checkpoint is not None:
        assert trainer.evaluate()["eval_rmse"] == pytest.approx(min(scores), rel=1e-5)


def test_recomputed_activations_change_no_gradient(build: Any) -> None:
    weights = []
    new = "activation_checkpointing" in {field.name for field in dataclasses.fields(TrainingArguments)}
    for on in (False, True):
        trainer = build(max_steps=2, optim="sgd", **{f"{'activation' if new else 'gradient'}_checkpointing": on})
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-7)


def test_evaluation_may_begin_late(build: Any) -> None:
    trainer = build(num_train_epochs=3, eval_delay=2)
    trainer.train()
    assert [log["epoch"] for log in trainer.state.log_history if "eval_rmse" in log] == [2, 3]
    assert trainer.state.best_global_step in (6, 9)


def test_an_optimizer_of_ones_own_takes_the_steps(build: Any) -> None:
    reference = build()
    optimizer = torch.optim.SGD(reference.model.parameters(), lr=0.0)
    own = build(given={"model": reference.model, "optimizers": (optimizer, None)}, epoch_decay=0.5)
    before = [p.detach().clone() for p in own.model.parameters()]
    own.train()
    assert all(torch.equal(p, old) for p, old in zip(own.model.parameters(), before, strict=True))


def test_a_class_of_optimizers_has_groups_for_the_towers(build: Any) -> None:
    trainer = build(given={"optimizer_cls_and_kwargs": (torch.optim.SGD, {"lr": 0.5})}, tower_learning_rate=0.25)
    assert {group["lr"] for group in trainer.create_optimizer().param_groups} == {0.5, 0.25}


def test_answers_are_preprocessed_before_metrics_and_inputs_reach_them(build: Any) -> None:
    seen = {}

    def measure(prediction: Any) -> dict[str, float]:
        seen.update(shape=prediction.predictions.shape, inputs=prediction.inputs, losses=prediction.losses)
        return {"rmse": float(prediction.predictions.mean())}

    given = {"preprocess_logits_for_metrics": lambda logits, labels: logits * 0 + 7, "compute_metrics": measure}
    trainer = build(given=given, include_for_metrics=["inputs", "loss"])
    assert trainer.evaluate()["eval_rmse"] == 7.0
    assert seen["shape"] == (10, 1) and len(seen["inputs"]) == len(seen["losses"]) == 10


def test_ignoring_data_that_were_read_resumes_all_the_same(build: Any, tmp_path: Path) -> None:
    steps = {
        "save_strategy": "steps",
        "save_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_total_limit": 9,
    }
    build(num_train_epochs=2, **steps).train()
    resumed = build(num_train_epochs=2, ignore_data_skip=True, restore_callback_states_from_checkpoint=True, **steps)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert resumed.state.global_step == 6


def test_a_checkpoint_of_the_model_alone_says_that_the_optimizer_begins_anew(
    build: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(save_only_model=True, num_train_epochs=2, save_total_limit=3).train()
    build(save_only_model=True, num_train_epochs=2).train(str(tmp_path / "run" / "checkpoint-3"))
    assert "optimizer and schedule begin anew" in caplog.text


def test_each_run_starts_from_a_new_model_where_one_is_made(build: Any) -> None:
    reference = build(classes=3)
    made = []

    def model_init() -> Any:
        made.append(TimesCLIPForClassification(copy.deepcopy(reference.model.config)))
        return made[-1]

    trainer = build(classes=3, given={"model_init": model_init}, class_weights=[1, 2, 3])
    for _ in range(2):
        trainer.train()
    assert len(made) == 3 and trainer.model is made[-1]
    assert made[-1].config.class_weights == [1, 2, 3]


def test_workers_render_what_this_process_would(build: Any) -> None:
    if "dataloader_multiprocessing_context" not in {field.name for field in dataclasses.fields(TrainingArguments)}:
        pytest.skip("this version of transformers has no such argument")
    alone = build().evaluate()
    workers = build(
        dataloader_num_workers=1, dataloader_prefetch_factor=2, dataloader_multiprocessing_context="fork"
    ).evaluate()
    assert workers["eval_loss"] == alone["eval_loss"]


# Epochs under a batch size that is found


def test_epochs_are_counted_in_the_batch_size_that_was_found(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, seen = [], []
    step = TimesCLIPTrainer.training_step

    def full_above_four(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        tried.append(len(inputs["labels"]))
        if tried[-1] > 4:
            raise RuntimeError("CUDA out of memory.")
        return step(self, model, inputs, *args, **kwargs)

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append((trainer.lr_scheduler.get_last_lr()[0], trainer.kept_weights.average.decay))

    monkeypatch.setattr(TimesCLIPTrainer, "training_step", full_above_four)
    trainer = build(
        auto_find_batch_size=True, epoch_decay=0.5, average_epochs=1.0, warmup_steps=0, num_train_epochs=2,
        gradient_accumulation_steps=2, per_device_train_batch_size=5, given={"callbacks": [Watch()]},
    )  # fmt: skip
    trainer.train()
    found = trainer._train_batch_size
    steps = math.ceil(math.ceil(24 / found) / 2)  # batches, then optimizer steps
    assert found <= 4 < tried[0] and len(seen) == 2 * steps
    assert [rate for rate, _ in seen[: steps - 1]] == [5e-3] * (steps - 1)
    assert seen[steps - 1][0] == seen[2 * steps - 2][0] == 2.5e-3
    assert [decay for _, decay in seen] == [pytest.approx(np.exp(-1 / steps))] * len(seen)


# Towers learn at their own rate, adapters do not


@pytest.mark.parametrize("way", ["get_peft_model", "add_adapter"])
def test_adapters_learn_at_the_rate_of_what_is_new(build: Any, tmp_path: Path, way: str) -> None:
    peft = pytest.importorskip("peft")
    from timesclip_hf import lora_config

    base = build(preset="full", tower_learning_rate=1e-6)
    base.model.save_pretrained(tmp_path / "base")
    model = TimesCLIPForRegression.from_pretrained(tmp_path / "base")
    config = lora_config(model, bias="all", modules_to_save=["text_tower.final_layer_norm", "head.layers"])
    if way == "get_peft_model":
        model = peft.get_peft_model(model, config)
    else:
        model.add_adapter(config)
    trainer = build(preset="full", tower_learning_rate=1e-6, given={"model": model})
    rates = {id(p): group["lr"] for group in trainer.create_optimizer().param_groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    new = {name for name in found if "lora_" in name or "modules_to_save" in name}
    towers = {name for name in found if "_tower." in name} - new
    assert any("lora_" in name for name in new) and any(
        "text_tower" in name and "modules_to_save" in name for name in new
    )
    assert towers  # the biases
    assert {found[name] for name in towers} == {1e-6}
    assert {found[name] for name in found.keys() - towers} == {5e-3}
