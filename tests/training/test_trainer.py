"""Fine-tuning end to end, on a small set of series whose level and slope make the target."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from tolerances import ANOTHER_PROCESS
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from timesclip_hf import (
    SeriesCollection,
    TimesCLIPDataCollator,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    split_windows,
)

QUIET = {"disable_tqdm": True, "report_to": "none", "use_cpu": True}


def make_data(num_samples: int, seed: int) -> Dataset:
    """Yields near 5 t/ha: the level of the first variate and the slope of the second."""
    rng = np.random.default_rng(seed)
    level, slope = rng.normal(size=(2, num_samples, 1))
    steps = np.linspace(0, 1, 12)
    noise = 0.05 * rng.normal(size=(num_samples, 12, 3))
    values = np.stack([level + 0 * steps, slope * steps, 0 * steps + level * 0], axis=-1) + noise
    labels = 5 + level + 0.5 * slope
    return Dataset.from_dict({"past_values": values.astype(np.float32).tolist(), "labels": labels.tolist()})


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Any:
    """`build(preset, train, validation, config fields, **arguments)`: a trainer over fitted processor and model."""

    def make(
        preset: str = "text_only",
        train: Dataset | None = None,
        validation: Dataset | None = None,
        fields: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> TimesCLIPTrainer:
        set_seed(0)
        train = make_data(48, 0) if train is None else train
        validation = make_data(19, 1) if validation is None else validation
        config = tiny_config(preset, head="linear", head_dropout=[0.0], **{"freeze_vision": False, **(fields or {})})
        processor = TimesCLIPProcessor.from_config(config).fit(train)
        defaults = {"output_dir": str(tmp_path / "run"), "num_train_epochs": 3, "learning_rate": 5e-3}
        sizes = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 8}
        return TimesCLIPTrainer(
            model=TimesCLIPForRegression(processor.complete_config(config)),
            args=TimesCLIPTrainingArguments(**{**defaults, **sizes, **QUIET, **arguments}),
            processing_class=processor,
            train_dataset=train,
            eval_dataset=validation,
        )

    return make


def direct_outputs(trainer: TimesCLIPTrainer, data: Dataset) -> Any:
    """The model's own answer to a whole data set in one batch, without Trainer."""
    values = np.asarray(data["past_values"][:], dtype=np.float32)
    labels = np.asarray(data["labels"][:], dtype=np.float32)
    trainer.model.eval()
    with torch.no_grad():
        return trainer.model(**trainer.processing_class(values, labels=labels))


@pytest.mark.parametrize("preset", ["text_only", "full"])
def test_training_learns_and_names_every_loss_term(build: Any, preset: str) -> None:
    trainer = build(preset, num_train_epochs=6)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    training = [entry for entry in trainer.state.log_history if "loss" in entry]
    evaluations = [entry for entry in trainer.state.log_history if "eval_rmse" in entry]
    assert len(training) == len(evaluations) == 6
    assert training[-1]["loss"] < 0.5 * training[0]["loss"]
    assert trainer.evaluate()["eval_loss"] < 0.5 * before
    for entry in training:
        expected = entry["task_loss"]
        if preset == "full":
            assert entry["alignment_loss"] > 0
            expected += 0.1 * entry["alignment_loss"]  # lambda
        else:
            assert "alignment_loss" not in entry
        assert entry["loss"] == pytest.approx(expected, rel=1e-3)
    assert all(("eval_alignment_loss" in entry) == (preset == "full") for entry in evaluations)


def test_evaluation_reports_the_task_loss_and_errors_in_original_units(build: Any) -> None:
    trainer = build("full")
    data = make_data(19, 5)
    metrics = trainer.evaluate(data)
    outputs = direct_outputs(trainer, data)
    labels = np.asarray(data["labels"][:])
    predictions = trainer.predict(data).predictions
    np.testing.assert_allclose(predictions, outputs.predictions.numpy(), atol=1e-5)
    errors = predictions - labels
    std = trainer.model.config.target_std[0]
    assert metrics["eval_loss"] == pytest.approx(np.mean((errors / std) ** 2), rel=1e-4)  # without alignment
    assert metrics["eval_rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-5)
    assert metrics["eval_mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-5)
    assert metrics["eval_mape"] == pytest.approx(100 * np.mean(np.abs(errors / labels)), rel=1e-5)
    total = np.sum((labels - labels.mean()) ** 2)
    assert metrics["eval_r2"] == pytest.approx(1 - np.sum(errors**2) / total, rel=1e-5)
    assert predictions.mean() == pytest.approx(5, abs=1.5)  # t/ha, not standard deviations


def test_the_best_epoch_is_restored(build: Any) -> None:
    trainer = build(num_train_epochs=3, save_total_limit=None)
    scores = iter([2.0, 1.0, 3.0])  # whatever was learnt, the second epoch counts as the best
    trainer.compute_metrics = lambda prediction: {"rmse": next(scores)}
    trainer.train()
    assert trainer.state.best_metric == 1.0
    steps = trainer.state.max_steps // 3
    second = load_file(Path(trainer.args.output_dir) / f"checkpoint-{2 * steps}" / "model.safetensors")
    third = load_file(Path(trainer.args.output_dir) / f"checkpoint-{3 * steps}" / "model.safetensors")
    restored = trainer.model.state_dict()
    assert all(torch.equal(restored[name], weight) for name, weight in second.items())
    assert any(not torch.equal(restored[name], weight) for name, weight in third.items())


def test_training_stops_early_when_nothing_improves(build: Any) -> None:
    trainer = build(learning_rate=0.0, num_train_epochs=10, early_stopping_patience=2)
    trainer.train()
    assert trainer.state.epoch == 3  # the first evaluation is the best, two more bring nothing


def test_towers_learn_at_their_own_rate(build: Any) -> None:
    trainer = build("full", fields={"freeze_vision": True}, tower_learning_rate=1e-6, weight_decay=0.1)
    groups = trainer.create_optimizer().param_groups
    placed = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert sorted(placed) == sorted(id(p) for p in trainable.values())  # each in exactly one group
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in trainable.items():
        assert rates[id(parameter)] == (1e-6 if ".text_tower." in name else 5e-3)
        assert ".vision_tower." not in name
        if name.endswith("bias"):
            assert decays[id(parameter)] == 0
    assert 1e-6 in rates.values() and 0.1 in decays.values()


def test_tower_rate_reaches_the_schedule(build: Any) -> None:
    trainer = build("full", tower_learning_rate=0.0, num_train_epochs=1, warmup_steps=0)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and not any("_tower." in name for name in moved)


def test_without_a_tower_rate_all_weights_learn_alike(build: Any) -> None:
    groups = build("full").create_optimizer().param_groups
    assert {group["lr"] for group in groups} == {5e-3}


def test_a_saved_checkpoint_predicts_the_same_in_a_new_process(build: Any, tmp_path: Path) -> None:
    trainer = build("full", num_train_epochs=1)
    trainer.train()
    folder = tmp_path / "best"
    trainer.save_model(str(folder))
    assert (tmp_path / "run" / "checkpoint-3" / "processor_config.json").exists()
    data = make_data(8, 7)
    expected = direct_outputs(trainer, data).predictions.numpy()
    np.save(folder / "series.npy", np.asarray(data["past_values"][:], dtype=np.float32))
    code = (
        "import sys, numpy as np, torch\n"
        "torch.set_num_threads(1)\n"
        "from timesclip_hf import TimesCLIPForRegression, TimesCLIPProcessor\n"
        "model = TimesCLIPForRegression.from_pretrained(sys.argv[1]).eval()\n"
        "processor = TimesCLIPProcessor.from_pretrained(sys.argv[1])\n"
        "with torch.no_grad():\n"
        "    predictions = model(**processor(np.load(sys.argv[1] + '/series.npy'))).predictions\n"
        "np.save(sys.argv[1] + '/predictions.npy', predictions.numpy())\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    np.testing.assert_allclose(np.load(folder / "predictions.npy"), expected, **ANOTHER_PROCESS)


def test_a_run_resumes_from_its_checkpoint_to_the_same_end(build: Any, tmp_path: Path) -> None:
    whole = build(num_train_epochs=2, save_total_limit=None)
    whole.train()
    resumed = build(num_train_epochs=2, save_total_limit=None)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert resumed.state.global_step == whole.state.global_step == 6
    for (name, expected), (_, found) in zip(
        whole.model.named_parameters(), resumed.model.named_parameters(), strict=True
    ):
        torch.testing.assert_close(found, expected, msg=name)


def test_two_accumulated_batches_of_4_train_as_one_of_8(build: Any) -> None:
    losses, weights = [], []
    for size, steps in ((8, 1), (4, 2)):
        trainer = build(
            train=make_data(8, 0),
            fields={"selection_dropout": 0.0},
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            num_train_epochs=3,
            weight_decay=0.0,
            optim="sgd",
        )
        trainer.train()
        assert trainer.state.global_step == 3
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    torch.testing.assert_close(weights[1], weights[0], atol=1e-5, rtol=1e-4)


def test_transformers_own_trainer_trains_and_evaluates_too(build: Any, tmp_path: Path) -> None:
    ours = build("full")
    arguments = TrainingArguments(
        output_dir=str(tmp_path), remove_unused_columns=False, num_train_epochs=1, save_strategy="no", **QUIET
    )
    trainer = Trainer(
        model=ours.model,
        args=arguments,
        data_collator=TimesCLIPDataCollator(ours.processing_class),
        train_dataset=ours.train_dataset,
        eval_dataset=ours.eval_dataset,
    )
    assert math.isfinite(trainer.train().training_loss)
    assert math.isfinite(trainer.evaluate()["eval_loss"])
    assert trainer.predict(ours.eval_dataset).predictions.shape == (19, 1)


def test_a_batch_without_labels_cannot_train_but_can_be_predicted(build: Any) -> None:
    trainer = build()
    unlabelled = make_data(16, 0).remove_columns("labels")
    assert trainer.predict(unlabelled).predictions.shape == (16, 1)
    trainer.train_dataset = unlabelled
    with pytest.raises(ValueError, match="no 'labels'.*patch_values"):
        trainer.train()


def test_a_collator_and_metrics_given_by_hand_win(build: Any) -> None:
    trainer = build()
    collator = TimesCLIPDataCollator(trainer.processing_class)
    own = TimesCLIPTrainer(
        model=trainer.model,
        args=trainer.args,
        processing_class=trainer.processing_class,
        data_collator=collator,
        compute_metrics=lambda prediction: {"rmse": 7.0},
        eval_dataset=trainer.eval_dataset,
    )
    assert own.data_collator is collator and own.evaluate()["eval_rmse"] == 7.0


def test_the_trainers_state_is_plain_json(build: Any, tmp_path: Path) -> None:
    build("full", num_train_epochs=1).train()
    state = json.loads((tmp_path / "run" / "checkpoint-3" / "trainer_state.json").read_text())
    assert {"task_loss", "alignment_loss"} <= set(state["log_history"][0])


def test_a_model_that_ignores_what_the_processor_learnt_is_refused(tiny_config: Any, tmp_path: Path) -> None:
    config = tiny_config("text_only")
    values = np.random.default_rng(0).normal(size=(4, 12, 3))
    processor = TimesCLIPProcessor.from_config(config).fit(values, labels=np.arange(4.0))
    arguments = TimesCLIPTrainingArguments(str(tmp_path), eval_strategy="no", load_best_model_at_end=False)
    with pytest.raises(ValueError, match="target_mean.*complete_config"):
        TimesCLIPTrainer(TimesCLIPForRegression(config), arguments, processor)


# Forecasts


@pytest.fixture
def build_forecast(tiny_config: Any, tmp_path: Path) -> Any:
    """`build_forecast(fields, **arguments)`: a trainer over the windows of a noisy wave of three variates."""

    def make(fields: dict[str, Any] | None = None, **arguments: Any) -> TimesCLIPTrainer:
        set_seed(0)
        steps = np.arange(300)[:, None]
        wave = np.sin(2 * np.pi * steps / 12 + np.array([0.0, 1.0, 2.0])) * np.array([1.0, 10.0, 0.1])
        noise = np.random.default_rng(0).normal(size=wave.shape)
        values = (wave + 0.05 * wave.std(axis=0) * noise + np.array([0.0, 50.0, -3.0])).astype(np.float32)
        collection = SeriesCollection([values], ["a", "b", "c"], ["wave"])
        splits = split_windows(collection, context_length=12, prediction_length=6)
        config = tiny_config("text_only", prediction_length=6, **(fields or {}))
        processor = TimesCLIPProcessor.from_config(config, scaling="instance").fit(splits.train.series)
        defaults = {"output_dir": str(tmp_path / "run"), "num_train_epochs": 4, "learning_rate": 5e-3}
        return TimesCLIPTrainer(
            model=TimesCLIPForPrediction(processor.complete_config(config)),
            args=TimesCLIPTrainingArguments(**{**defaults, **QUIET, **arguments}),
            processing_class=processor,
            train_dataset=splits.train,
            eval_dataset=splits.validation,
        )

    return make


def test_a_forecaster_learns_from_lazy_windows_and_reports_the_published_mse(build_forecast: Any) -> None:
    trainer = build_forecast()
    windows = trainer.eval_dataset
    labels = np.stack([windows[i]["labels"] for i in range(len(windows))])
    last = np.stack([windows[i]["past_values"][-1:] for i in range(len(windows))])
    std = np.asarray(trainer.train_dataset.series[0], dtype=np.float64).std(axis=0)
    trainer.train()
    metrics = trainer.evaluate()
    output = trainer.predict(windows)
    assert output.predictions.shape == labels.shape
    expected = np.mean(((output.predictions - labels) / std) ** 2)
    assert metrics["eval_mse"] == pytest.approx(expected, rel=1e-4)
    assert metrics["eval_loss"] == pytest.approx(expected, rel=1e-4)
    assert expected < 0.3 * np.mean(((last - labels) / std) ** 2)  # far better than repeating the last value
    assert trainer.args.metric_for_best_model == "loss"


def test_epoch_decay_steps_all_learning_rates_down_after_each_epoch(build_forecast: Any) -> None:
    trainer = build_forecast(epoch_decay=0.5, warmup_steps=0, tower_learning_rate=1e-3)
    rates = []

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            rates.append(trainer.lr_scheduler.get_last_lr())

    trainer.add_callback(Watch())
    trainer.train()
    per_epoch = len(rates) // 4
    assert per_epoch > 1
    # After a step the scheduler already holds the rate of the next one.
    for epoch in range(4):
        inside = rates[epoch * per_epoch : (epoch + 1) * per_epoch - 1]
        assert {round(rate[0], 12) for rate in inside} == {5e-3 * 0.5**epoch}
        assert {round(rate[-1], 12) for rate in inside} == {1e-3 * 0.5**epoch}


def test_a_forecaster_that_does_not_know_the_variates_spread_is_refused(tiny_config: Any, tmp_path: Path) -> None:
    config = tiny_config("text_only", prediction_length=6)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance").fit(np.random.rand(40, 3))
    with pytest.raises(ValueError, match="variate_std is not set.*complete_config"):
        TimesCLIPTrainer(
            model=TimesCLIPForPrediction(config),
            args=TimesCLIPTrainingArguments(output_dir=str(tmp_path), **QUIET),
            processing_class=processor,
            eval_dataset=make_data(4, 0),
        )


# Averaged weights


def test_averaged_weights_follow_the_recursion_and_are_what_is_evaluated_and_kept(build_forecast: Any) -> None:
    trainer = build_forecast(average_epochs=1.0, num_train_epochs=2, load_best_model_at_end=False)
    name = "head.projection.bias"
    parameter = dict(trainer.model.named_parameters())[name]
    expected, seen = [parameter.detach().double().clone()], []
    steps_per_epoch = len(trainer.get_train_dataloader())

    class Watch(TrainerCallback):
        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            step = state.global_step + 1
            decay = min(math.exp(-1 / steps_per_epoch), (1 + step) / (10 + step))
            expected.append(decay * expected[-1] + (1 - decay) * parameter.detach().double())

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
            seen.append((metrics["eval_loss"], parameter.detach().clone()))

    trainer.add_callback(Watch())
    trainer.train()
    torch.testing.assert_close(parameter.detach().double(), expected[-1], rtol=1e-4, atol=1e-6)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(seen[1][0], rel=1e-6)  # what was evaluated last was kept
    assert not torch.equal(seen[1][1], parameter)  # between evaluations the trained weights were back


def test_a_resumed_run_with_averaged_weights_ends_where_an_undisturbed_one_does(
    build_forecast: Any, tmp_path: Path
) -> None:
    def weights(trainer: TimesCLIPTrainer) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}

    settings = {"average_epochs": 1.0, "num_train_epochs": 3, "save_total_limit": 5, "load_best_model_at_end": False}
    undisturbed = build_forecast(output_dir=str(tmp_path / "a"), **settings)
    undisturbed.train()
    checkpoint = sorted((tmp_path / "a").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[0]
    assert load_file(checkpoint / "training_weights.safetensors").keys() == weights(undisturbed).keys()
    resumed = build_forecast(output_dir=str(tmp_path / "a"), **settings)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    for name, weight in weights(resumed).items():
        torch.testing.assert_close(weight, weights(undisturbed)[name], rtol=0, atol=0)


def test_the_best_average_is_what_is_left_at_the_end(build_forecast: Any) -> None:
    trainer = build_forecast(average_epochs=0.5, num_train_epochs=3)
    trainer.train()
    best = min(log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(best, rel=1e-6)


# The start as a candidate


def test_where_no_epoch_is_better_the_model_ends_as_it_began(build_forecast: Any) -> None:
    shortcut = {"linear_shortcut": True}
    for averaging in (None, 1.0):
        trainer = build_forecast(shortcut, eval_on_start=True, learning_rate=100.0, average_epochs=averaging)
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        trainer.train()
        for name, parameter in trainer.model.named_parameters():
            torch.testing.assert_close(parameter.detach(), before[name], rtol=0, atol=0)
        windows = trainer.eval_dataset
        last = np.stack([windows[i]["past_values"][-1:] for i in range(len(windows))]).repeat(6, axis=1)
        np.testing.assert_allclose(trainer.predict(windows).predictions, last, rtol=1e-4, atol=1e-4)


def test_the_start_is_compared_on_the_part_that_decides(build: Any) -> None:
    parts = {"far": make_data(8, 2), "near": make_data(8, 3)}
    trainer = build(
        validation=parts, eval_on_start=True, metric_for_best_model="near_rmse", learning_rate=1.0, num_train_epochs=1
    )
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    scores = [log["eval_near_rmse"] for log in trainer.state.log_history if "eval_near_rmse" in log]
    assert scores[0] < scores[1] and trainer.state.best_metric == scores[0]
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name], rtol=0, atol=0)


def test_several_parts_to_evaluate_on_need_a_metric_of_one_of_them(build: Any) -> None:
    parts = {"far": make_data(8, 2), "near": make_data(8, 3)}
    with pytest.raises(ValueError, match="one of 'far_rmse', 'near_rmse'"):
        build(validation=parts)
    trainer = build(validation=parts, load_best_model_at_end=False, num_train_epochs=1)
    trainer.train()
    found = [name for log in trainer.state.log_history for name in log if name.endswith("rmse")]
    assert found == ["eval_far_rmse", "eval_near_rmse"]


def test_a_start_that_is_beaten_is_forgotten(build_forecast: Any) -> None:
    trainer = build_forecast(eval_on_start=True)
    trainer.train()
    scores = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    assert min(scores) < scores[0]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(scores), rel=1e-6)


def test_a_resumed_run_remembers_the_start_that_was_best(build_forecast: Any, tmp_path: Path) -> None:
    settings = {
        "eval_on_start": True,
        "learning_rate": 100.0,
        "output_dir": str(tmp_path / "a"),
        "save_total_limit": 5,
    }
    first = build_forecast({"linear_shortcut": True}, **settings)
    first.train()
    checkpoint = sorted((tmp_path / "a").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[0]
    resumed = build_forecast({"linear_shortcut": True}, **settings)
    with torch.no_grad():
        resumed.model.head.projection.bias.fill_(7.0)  # the start comes from the checkpoint, not from this process
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert not resumed.model.head.projection.bias.any()


def test_epochs_are_those_of_the_data_whatever_stops_the_run(build_forecast: Any) -> None:
    trainer = build_forecast(max_steps=3, epoch_decay=0.5, average_epochs=2.0, warmup_steps=0)
    steps_per_epoch = math.ceil(len(trainer.train_dataset) / trainer.args.per_device_train_batch_size)
    seen = []

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append((trainer.kept_weights.average.decay, trainer.lr_scheduler.get_last_lr()[0]))

    trainer.add_callback(Watch())
    trainer.train()
    assert seen == [(pytest.approx(math.exp(-1 / (2 * steps_per_epoch))), 5e-3)] * 3


def test_settings_of_one_trainer_do_not_leak_into_the_next(build_forecast: Any, build: Any) -> None:
    forecast = build_forecast()
    shared = TimesCLIPTrainingArguments(output_dir=forecast.args.output_dir, **QUIET)
    for other, expected in ((forecast, "loss"), (build(), "rmse")):
        trainer = TimesCLIPTrainer(other.model, shared, other.processing_class, eval_dataset=make_data(4, 0))
        assert trainer.args.metric_for_best_model == expected
    assert shared.metric_for_best_model == "task"
