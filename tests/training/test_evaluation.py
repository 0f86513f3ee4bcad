"""Evaluation gives the same figures whatever form its results come in, of every sample, and changes no weight."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainers import make_rows, trainer_builder
from transformers import EvalPrediction

from timesclip_hf import TimesCLIPForPreTraining
from timesclip_hf.training import evaluation


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


@pytest.mark.parametrize("concatenated", [True, False])
def test_retrieval_is_measured_on_as_many_samples_as_memory_allows(
    build: Any, monkeypatch: Any, concatenated: bool
) -> None:
    trainer = build(TimesCLIPForPreTraining, "full", eval_do_concat_batches=concatenated)  # 10 in batches of 4, 4, 2
    whole = trainer.evaluate()
    batch = 4 * 2 * 3 * 16 * 4  # samples, sides, variates, width, bytes
    held: list[int] = []
    measure = evaluation.whole

    def seen(answers: Any) -> Any:
        held.append(len(measure(answers)[0]))
        return measure(answers)

    monkeypatch.setattr("timesclip_hf.training.trainer.whole", seen)
    for limit, kept in ((1e9, 10), (2 * batch, 8), (2.4 * batch, 8), (batch, 4), (1, 4)):
        monkeypatch.setattr(evaluation.BoundedEmbeds.__init__, "__defaults__", (limit,))
        found = trainer.evaluate()
        assert held.pop() == kept
        assert found["eval_loss"] == pytest.approx(whole["eval_loss"], rel=1e-5)  # of all samples
        assert 0 <= found["eval_image_to_text_top1"] <= 1
        first = trainer.evaluate(make_rows(10, 1).select(range(kept)))
        assert found["eval_text_to_image_top1"] == first["eval_text_to_image_top1"]
        held.clear()


def test_what_retrieval_leaves_out_is_said(monkeypatch: Any) -> None:
    said: list[str] = []
    monkeypatch.setattr(evaluation.logger, "warning_once", said.append)
    bounded = evaluation.BoundedEmbeds(limit=3e6)
    pair = (torch.zeros(100, 10, 25), torch.zeros(100, 10, 25))  # 200 kB on each of 2 processes
    assert [bounded.keep(pair, 100, 2) is pair for _ in range(20)] == [True] * 7 + [False] * 13
    bounded.report()
    assert "first 1400 of 4000 samples" in said[0] and "0.0 GB, of which 0.003 GB" in said[0]
    whole = evaluation.BoundedEmbeds()
    assert whole.keep(pair, 100, 1) is pair and whole.keep(None, 3, 1) is None
    whole.report()
    assert len(said) == 1
