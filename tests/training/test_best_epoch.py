"""Which epoch is kept, by which metric, in which direction."""

from pathlib import Path
from typing import Any

import pytest
from small_trainers import QUIET, make_rows, trainer_builder

from timesclip_hf import TimesCLIPForPreTraining, TimesCLIPTrainer, TimesCLIPTrainingArguments
from timesclip_hf.training import best_epoch
from timesclip_hf.training.best_epoch import larger_is_better


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Any:
    return trainer_builder(tiny_config, tmp_path)


@pytest.mark.parametrize(
    "name", ["r2", "eval_r2", "far_r2", "eval_near_r2", "accuracy", "balanced_accuracy", "macro_f1", "skill",
             "image_to_text_top1", "eval_b_text_to_image_top1", "north/R2", "roc_auc"]
)  # fmt: skip
def test_scores_should_be_large(name: str) -> None:
    assert larger_is_better(name) is True


@pytest.mark.parametrize(
    "name", ["loss", "eval_loss", "log_loss", "alignment_loss", "rmse", "far_rmse", "mae", "mape", "smape", "mase",
             "mse", "owa", "mean_absolute_error", "r2_loss", "accuracy_error"]
)  # fmt: skip
def test_errors_should_be_small(name: str) -> None:
    assert larger_is_better(name) is False


@pytest.mark.parametrize("name", ["goodness", "r2_of_wheat", "rmse2", "score", "brier_score"])
def test_other_names_say_nothing(name: str) -> None:
    assert larger_is_better(name) is None


def run(build: Any, scores: list[float], metric: str, **settings: Any) -> TimesCLIPTrainer:
    """A run whose epochs have these scores."""
    left = iter(scores)
    given = {"compute_metrics": lambda prediction: {metric.removeprefix("eval_"): next(left)}}
    trainer = build(given=given, metric_for_best_model=metric, num_train_epochs=len(scores), **settings)
    trainer.train()
    return trainer


@pytest.mark.parametrize("metric", ["r2", "eval_r2", "macro_f1", "skill"])
def test_the_largest_score_is_kept(build: Any, metric: str) -> None:
    trainer = run(build, [0.1, 0.7, 0.3], metric)
    assert trainer.state.best_metric == 0.7 and trainer.state.best_global_step == 6


def test_the_smallest_error_is_kept(build: Any) -> None:
    assert run(build, [0.1, 0.7, 0.3], "owa").state.best_metric == 0.1


@pytest.mark.parametrize(("given", "best"), [(True, 0.7), (False, 0.1)])
def test_a_direction_that_is_given_wins(build: Any, given: bool, best: float) -> None:
    for metric in ("r2", "mae", "goodness"):
        assert run(build, [0.1, 0.7, 0.3], metric, greater_is_better=given).state.best_metric == best


def test_a_metric_of_no_known_direction_is_allowed_where_nothing_is_evaluated(build: Any) -> None:
    build(metric_for_best_model="goodness", eval_strategy="no", load_best_model_at_end=False)


def test_stopping_early_and_saving_the_best_follow_the_direction(build: Any) -> None:
    rising = run(build, [0.1, 0.2, 0.3, 0.4], "r2", early_stopping_patience=1, save_strategy="best")
    assert rising.state.epoch == 4 and rising.state.best_metric == 0.4
    falling = run(build, [0.4, 0.3, 0.2, 0.1], "r2", early_stopping_patience=2)
    assert falling.state.epoch == 3 and falling.state.best_global_step == 3


def test_one_of_several_parts_decides_without_a_word_about_the_others(
    build: Any, caplog: pytest.LogCaptureFixture
) -> None:
    left = iter([0.9, 0.1, 0.8, 0.2, 0.7, 0.3])  # far, near, far, near, ...
    trainer = build(
        validation={"far": make_rows(4, 1), "near": make_rows(4, 2)},
        given={"compute_metrics": lambda prediction: {"r2": next(left)}},
        metric_for_best_model="near_r2",
        num_train_epochs=3,
        early_stopping_patience=1,
    )
    trainer.train()
    assert trainer.state.epoch == 3 and trainer.state.best_metric == 0.3
    assert "early stopping" not in caplog.text


def test_a_rate_that_follows_a_score_falls_when_the_score_does_not_rise(build: Any) -> None:
    plateau = {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5}}
    rising = run(build, [0.1, 0.2, 0.3], "r2", **plateau)
    assert rising.optimizer.param_groups[0]["lr"] == 5e-3
    falling = run(build, [0.3, 0.2, 0.1], "r2", **plateau)
    assert falling.optimizer.param_groups[0]["lr"] == 5e-3 / 4


def test_losses_alone_choose_by_the_loss(build: Any) -> None:
    trainer = build(prediction_loss_only=True, num_train_epochs=2)
    trainer.train()
    losses = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    assert trainer.args.metric_for_best_model == "loss" and trainer.state.best_metric == min(losses)
    alone = build(TimesCLIPForPreTraining, "full", prediction_loss_only=True).evaluate()
    assert "eval_alignment_loss" in alone and "eval_image_to_text_top1" not in alone


def test_the_callers_arguments_stay_open(build: Any, tmp_path: Path) -> None:
    shared = TimesCLIPTrainingArguments(str(tmp_path), metric_for_best_model="r2", **QUIET)
    trainer = build()
    for metric, larger in (("r2", True), ("rmse", False)):
        shared.metric_for_best_model = metric
        own = TimesCLIPTrainer(trainer.model, shared, trainer.processing_class, eval_dataset=make_rows(4))
        assert own.args.greater_is_better is larger and shared.greater_is_better is None


def test_a_search_compares_trials_by_the_metric_of_epochs(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(best_epoch.Trainer, "hyperparameter_search", lambda *args, **kwargs: calls.append(args[2:]))
    build().hyperparameter_search(n_trials=2)
    build(metric_for_best_model="r2").hyperparameter_search(n_trials=2)
    build(metric_for_best_model="r2").hyperparameter_search(None, lambda metrics: 1.0)
    metrics = {"eval_rmse": 3.0, "eval_r2": 0.5, "eval_loss": 9.0}
    assert [(compute(metrics), trials, direction) for compute, trials, direction in calls] == [
        (3.0, 2, "minimize"), (0.5, 2, "maximize"), (1.0, 20, "minimize"),
    ]  # fmt: skip
