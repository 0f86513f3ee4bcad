"""A loss of one's own, smoothed labels and class weights in the place of the task loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassClassValidationError
from small_trainers import make_rows, trainer_builder

from timesclip_hf import TimesCLIPForClassification


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Any:
    return trainer_builder(tiny_config, tmp_path)


def cubic(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A sum of cubes over the items of the step."""
    errors = torch.where(labels.isnan(), 0.0, outputs.predictions - labels.nan_to_num())
    return (errors.abs() ** 3).sum() / num_items_in_batch


def weights_after(trainer: Any) -> torch.Tensor:
    trainer.train()
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


# compute_loss_func


@pytest.mark.parametrize("preset", ["text_only", "full"])
def test_a_function_replaces_the_task_loss_beside_the_alignment(build: Any, preset: str) -> None:
    calls = []

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        calls.append((labels.shape, int(num_items_in_batch)))
        return cubic(outputs, labels, num_items_in_batch)

    trainer = build(preset=preset, given={"compute_loss_func": loss}, learning_rate=0.0, train=make_rows(8))
    trainer.train()
    (log,) = [log for log in trainer.state.log_history if "loss" in log]
    expected = trainer.evaluate(make_rows(8))
    assert log["task_loss"] == pytest.approx(expected["eval_loss"], rel=1e-5)
    predictions = trainer.predict(make_rows(8)).predictions
    errors = np.abs(predictions - np.asarray(make_rows(8)["labels"][:])) ** 3
    assert expected["eval_loss"] == pytest.approx(errors.mean(), rel=1e-5)
    extra = 0.1 * log["alignment_loss"] if preset == "full" else 0.0
    assert log["loss"] == pytest.approx(log["task_loss"] + extra, rel=1e-5)
    assert calls[0] == ((8, 1), 8)


@pytest.mark.parametrize("whole", [False, True])
def test_two_accumulated_batches_train_as_one_with_a_function_too(build: Any, whole: bool) -> None:
    rows = make_rows(8).to_list()
    rows[0]["labels"] = rows[1]["labels"] = rows[2]["labels"] = [float("nan")]  # batches differ in what is observed
    weights = []
    for size, steps in ((8, 1), (2, 4)):
        trainer = build(
            preset="full" if whole else "text_only", train=rows, given={"compute_loss_func": cubic}, optim="sgd",
            per_device_train_batch_size=size, gradient_accumulation_steps=steps, num_train_epochs=3,
            train_sampling_strategy="sequential", max_grad_norm=0.0, weight_decay=0.0, learning_rate=1e-3,
            alignment_over_accumulation=whole,
        )  # fmt: skip
        weights.append(weights_after(trainer))
    torch.testing.assert_close(weights[1], weights[0], atol=1e-6, rtol=1e-4)


def test_the_functions_gradient_is_that_of_plain_torch(build: Any) -> None:
    settings = {
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "max_steps": 1,
        "warmup_steps": 0,
        "lr_scheduler_type": "constant",
    }
    trainer = build(given={"compute_loss_func": cubic}, train=make_rows(8), learning_rate=0.1, **settings)
    batch = trainer.data_collator(make_rows(8).to_list())
    model = trainer.model.train()
    cubic(model(**{k: v for k, v in batch.items() if k != "labels"}), batch["labels"], 8).backward()
    expected = torch.cat(
        [(p - 0.1 * (0 if p.grad is None else p.grad)).detach().flatten() for p in model.parameters()]
    )
    model.zero_grad()
    torch.testing.assert_close(weights_after(trainer), expected, rtol=1e-4, atol=1e-6)


def test_after_training_the_model_has_its_own_loss_again(build: Any) -> None:
    trainer = build(given={"compute_loss_func": cubic})
    trainer.train()
    batch = trainer.data_collator(make_rows(8).to_list())
    with torch.no_grad():
        outputs = trainer.model.eval()(**batch)
    config = trainer.model.config
    expected = ((outputs.predictions - batch["labels"]) / config.target_std[0]).square().mean()
    assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_function_works_in_a_compiled_model(build: Any) -> None:
    trainer = build(given={"compute_loss_func": cubic}, torch_compile=True, torch_compile_backend="eager", max_steps=2)
    plain = build(given={"compute_loss_func": cubic}, max_steps=2)
    torch.testing.assert_close(weights_after(trainer), weights_after(plain), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["label_smoothing_factor", "class_weights"])
def test_what_a_function_would_drop_is_refused(build: Any, name: str) -> None:
    value = 0.1 if name == "label_smoothing_factor" else [1, 2, 3]
    with pytest.raises(ValueError, match=f"{name} would have no effect beside compute_loss_func"):
        build(classes=3, given={"compute_loss_func": cubic}, **{name: value})


# Smoothed labels


def test_labels_are_smoothed_as_torch_smooths_them(build: Any) -> None:
    trainer = build(classes=3, label_smoothing_factor=0.2, learning_rate=0.0, train=make_rows(8, 0, 3))
    trainer.train()
    (log,) = [log for log in trainer.state.log_history if "loss" in log]
    batch = trainer.data_collator(make_rows(8, 0, 3).to_list())
    with torch.no_grad():
        outputs = trainer.model.eval()(**batch)
    probabilities = outputs.logits.log_softmax(dim=1)
    own = probabilities.gather(1, batch["labels"][:, None]).mean()
    expected = -(0.8 * own + 0.2 * probabilities.mean())
    assert log["task_loss"] == pytest.approx(expected.item(), rel=1e-5)
    metrics = trainer.evaluate(make_rows(8, 0, 3))
    assert metrics["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["eval_log_loss"] == pytest.approx(-own.item(), rel=1e-5)  # of the labels as they are
    assert outputs.loss.item() == pytest.approx(-own.item(), rel=1e-5)  # outside of the trainer, too


@pytest.mark.parametrize("factor", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(build: Any, factor: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        build(classes=3, label_smoothing_factor=factor)


# Class weights


def test_weights_multiply_the_cross_entropy_of_their_class(build: Any) -> None:
    rows, weights = make_rows(12, 0, 3), [1.0, 10.0, 0.5]
    trainer = build(classes=3, class_weights=weights)
    batch = trainer.data_collator(rows.to_list())
    with torch.no_grad():
        outputs = trainer.model.eval()(**batch)
    each = F.cross_entropy(outputs.logits, batch["labels"], reduction="none").numpy()
    expected = float(np.mean(each * np.array(weights)[np.asarray(rows["labels"])]))
    assert outputs.loss.item() == pytest.approx(expected, rel=1e-5)
    metrics = trainer.evaluate(rows)
    assert metrics["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["eval_log_loss"] == pytest.approx(float(each.mean()), rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn(build: Any) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    rows = make_rows(60, 3, 3, [0.7, 0.2, 0.1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.asarray(rows["labels"]))
    for train in (rows, rows.to_list()):
        trainer = build(classes=3, train=train, class_weights="balanced")
        assert trainer.model.config.class_weights == pytest.approx(expected.tolist())
    assert trainer.args.metric_for_best_model == "loss"


def test_weights_are_saved_with_the_model_and_said_on_its_card(build: Any, tmp_path: Path) -> None:
    trainer = build(classes=3, class_weights=[1, 2, 3])
    trainer.save_model(str(tmp_path / "saved"))
    assert TimesCLIPForClassification.from_pretrained(tmp_path / "saved").config.class_weights == [1, 2, 3]
    assert "Classes were weighted in training" in (tmp_path / "saved" / "README.md").read_text()
    again = build(classes=3, fields={"class_weights": [3, 2, 1]})
    assert again.model.config.class_weights == [3, 2, 1] and again.args.metric_for_best_model == "loss"


def test_a_rare_class_becomes_likelier_with_weights(build: Any) -> None:
    rows = make_rows(48, 5)  # whose series say nothing of the class
    rows = rows.remove_columns("labels").add_column("labels", [int(row % 8 == 0) for row in range(48)])
    likely = []
    for weights in (None, "balanced"):
        trainer = build(
            classes=2, train=rows, class_weights=weights, eval_strategy="no", load_best_model_at_end=False,
            num_train_epochs=3,
        )  # fmt: skip
        trainer.train()
        likely.append(torch.tensor(trainer.predict(rows).predictions).softmax(dim=1)[:, 1].mean().item())
    assert likely == [pytest.approx(1 / 8, abs=0.1), pytest.approx(1 / 2, abs=0.15)]


def test_accumulated_batches_weigh_as_one(build: Any) -> None:
    weights = []
    for size, steps in ((8, 1), (2, 4)):
        trainer = build(
            classes=3, class_weights=[1, 9, 0.2], train=make_rows(8, 0, 3), optim="sgd", learning_rate=1e-2,
            per_device_train_batch_size=size, gradient_accumulation_steps=steps, max_grad_norm=0.0, weight_decay=0.0,
        )  # fmt: skip
        weights.append(weights_after(trainer))
    torch.testing.assert_close(weights[1], weights[0], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 3, "class_weights": [1, 2]}, "has 2 numbers, the model 3 classes"),
        ({"classes": 3, "class_weights": [1, -2, 1]}, "none below 0"),
        ({"classes": 3, "class_weights": [1, float("nan"), 1]}, "finite"),
        ({"classes": 3, "class_weights": [0, 0, 0]}, "not all 0"),
        ({"classes": 3, "class_weights": "equal"}, "'balanced' or a list"),
        ({"class_weights": "balanced"}, "is for classification"),
        ({"classes": 4, "class_weights": "balanced", "train": make_rows(9, 0, 3)}, r"no sample of class \[3\]"),
        ({"classes": 2, "class_weights": "balanced", "train": make_rows(9, 0, 3)}, "from 0 to 1"),
    ],
)
def test_weights_that_fit_no_class_are_refused(build: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.mark.parametrize("weights", [[1, 2], [1, 2, -3], [0, 0, 0], [1, 2, float("inf")]])
def test_a_configuration_with_other_weights_is_refused(tiny_config: Any, weights: list[float]) -> None:
    with pytest.raises(StrictDataclassClassValidationError, match="class_weights must hold num_labels=3"):
        tiny_config(num_labels=3, class_weights=weights)


def test_a_command_line_sets_weights(tmp_path: Path) -> None:
    from transformers import HfArgumentParser

    from timesclip_hf import TimesCLIPTrainingArguments

    parser = HfArgumentParser(TimesCLIPTrainingArguments)
    for given, expected in (("balanced", "balanced"), ("[1, 2.5]", [1.0, 2.5])):
        line = ["--output_dir", str(tmp_path), "--class_weights", given]
        (args,) = parser.parse_args_into_dataclasses(line)
        assert args.class_weights == expected
