"""Evaluation gives the same figures whatever form its results come in, of every sample, and changes no weight."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainers import make_rows, trainer_builder
from transformers import EvalPrediction

from timesclip_hf import TimesCLIPForPreTraining


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Any:
    return trainer_builder(tiny_config, tmp_path)


def figures(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if "_second" not in name and "time" not in name}


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("arguments", [{"batch_eval_metrics": True}, {"eval_do_concat_batches": False}])
def test_metrics_of_batches_are_those_of_the_whole(build: Any, classes: int, arguments: dict[str, Any]) -> None:
    expected = build(classes=classes).evaluate()
    trainer = build(classes=classes, **arguments)
    for _ in range(2):  # nothing is left over from the first time
        assert figures(trainer.evaluate()) == pytest.approx(figures(expected), rel=1e-5)
    trainer.train()


def test_an_evaluation_that_was_broken_off_leaves_nothing_behind(build: Any) -> None:
    trainer = build(batch_eval_metrics=True)
    expected = figures(trainer.evaluate())

    def fails(*args: Any) -> Any:
        raise KeyboardInterrupt

    compute, trainer.compute_metrics.compute = trainer.compute_metrics.compute, fails
    with pytest.raises(KeyboardInterrupt):
        trainer.evaluate()
    trainer.compute_metrics(EvalPrediction(torch.zeros(2, 1), torch.ones(2, 1)), compute_result=False)
    trainer.compute_metrics.compute = compute
    assert figures(trainer.evaluate()) == pytest.approx(expected)


def test_retrieval_is_that_of_the_whole(build: Any) -> None:
    expected = build(TimesCLIPForPreTraining, "full").evaluate()
    found = build(TimesCLIPForPreTraining, "full", eval_do_concat_batches=False).evaluate()
    assert figures(found) == pytest.approx(figures(expected), rel=1e-5)
    assert "eval_image_to_text_top1" in found


def test_no_sample_is_left_out_of_an_evaluation(build: Any) -> None:
    trainer = build(dataloader_drop_last=True, train=make_rows(20))  # 10 to evaluate, in batches of 4
    expected = build(per_device_eval_batch_size=10).evaluate()
    assert trainer.evaluate()["eval_rmse"] == pytest.approx(expected["eval_rmse"], rel=1e-5)
    assert trainer.predict(make_rows(7)).predictions.shape == (7, 1)
    trainer.train()
    assert trainer.state.global_step == 2 and trainer.args.dataloader_drop_last  # of 20, in batches of 8


def test_workers_that_stay_do_not_answer_for_other_data(build: Any) -> None:
    trainer = build(dataloader_num_workers=1, dataloader_persistent_workers=True)
    other = make_rows(9, 7)
    first = trainer.evaluate()
    assert trainer.evaluate(other)["eval_rmse"] == pytest.approx(build().evaluate(other)["eval_rmse"], rel=1e-6)
    assert trainer.evaluate()["eval_rmse"] == first["eval_rmse"]


@pytest.mark.parametrize("name", ["bf16_full_eval", "fp16_full_eval"])
def test_weights_are_after_an_evaluation_in_half_precision_what_they_were(build: Any, name: str) -> None:
    trainer = build(**{name: True})
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    exact = build().evaluate()["eval_loss"]
    rounded = trainer.evaluate()["eval_loss"]
    assert rounded != exact and rounded == pytest.approx(exact, rel=0.1)
    trainer.predict(make_rows(3))
    for key, value in trainer.model.state_dict().items():
        assert value.dtype == before[key].dtype and torch.equal(value, before[key])
    trainer.train()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
