# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`calibrate`: what is found on rows, kept with the model, and given by pipelines, command and graphs."""

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from timesclip_hf import (
    NumpyProcessor,
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    calibrate,
    join_models,
    split_windows,
)
from timesclip_hf.cli import main
from timesclip_hf.data.long import SeriesCollection
from timesclip_hf.metrics import coverage
from timesclip_hf.model.intervals import interval_of
from timesclip_hf.training.calibration import answers_to, group_names

STEPS, SERIES = 8, {"num_variates": 2, "context_length": 8, "patch_length": 4, "patch_stride": 2, "projection_dim": 16}


def rows_of(count: int, seed: int, classes: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, STEPS, 2))
    labels: Any = rng.integers(0, classes, count) if classes else (values[:, :, :1].mean(1) * 3 + 50).tolist()
    rows = Dataset.from_dict({"past_values": values.tolist(), "labels": labels})
    return rows.add_column("soil", ["clay" if k % 3 else "sand" for k in range(count)])


def model_of(cls: Any = TimesCLIPForRegression, **fields: Any) -> tuple[Any, TimesCLIPProcessor]:
    config = TimesCLIPConfig.from_preset("small", towers="tiny", **{**SERIES, **fields})
    given = {"variate_names": ["ndvi", "red"], "target_names": ["yield"]} if cls is TimesCLIPForRegression else {}
    rows = rows_of(30, 0)
    processor = TimesCLIPProcessor.from_config(config, **given)
    processor.fit(rows if cls is TimesCLIPForRegression else rows.remove_columns("labels"))
    torch.manual_seed(0)
    return cls(processor.complete_config(config)).eval(), processor


@pytest.fixture(scope="module")
def calibrated() -> tuple[Any, TimesCLIPProcessor]:
    model, processor = model_of()
    calibrate(model, processor, rows_of(60, 1), group="soil")
    return model, processor


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        ({}, "absolute"),
        ({"loss": "quantile"}, "quantile"),
        ({"loss": "gaussian"}, "spread"),
        ({"loss": "quantile", "branch_fusion": "late", "linear_shortcut": True}, "quantile"),
    ],
)
def test_intervals_hold_on_rows_like_those_of_the_calibration(fields, method):
    model, processor = model_of(**fields)
    found = calibrate(model, processor, rows_of(200, 1))
    assert found["method"] == method and found["count"] == 200 and model.config.calibration is found
    said, labels = answers_to(model, processor, rows_of(300, 2))
    for level in (0.5, 0.8, 0.9, 0.95):
        assert coverage(*interval_of(model.config, said, level), labels) == pytest.approx(level, abs=0.08)


def test_thresholds_are_those_of_the_sorted_errors():
    model, processor = model_of()
    rows = rows_of(19, 1)
    found = calibrate(model, processor, rows, levels=[0.5, 0.95])
    said = model(**{k: v for k, v in processor(np.array(rows["past_values"][:])).items()}).predictions.double()
    errors = np.sort(np.abs(np.array(rows["labels"][:]) - said.detach().numpy())[:, 0])
    np.testing.assert_allclose(np.ravel(found["thresholds"]), errors[[9, 18]], rtol=1e-5)


def test_levels_come_in_any_order_and_alone():
    model, processor = model_of()
    assert calibrate(model, processor, rows_of(30, 1), levels=(0.9, 0.5))["levels"] == [0.5, 0.9]
    assert calibrate(model, processor, rows_of(30, 1), levels=0.8)["levels"] == [0.8]  # type: ignore[arg-type]


def test_too_few_rows_are_told_and_leave_no_end():
    model, processor = model_of()
    with pytest.warns(UserWarning, match=r"all samples: 12 are too few for intervals of 0\.95"):
        found = calibrate(model, processor, rows_of(12, 1))
    assert found["thresholds"][-1] == [None] and found["thresholds"][-2] != [None]
    json.dumps(model.config.to_dict(), allow_nan=False)
    predict = pipeline("time-series-regression", model=model, processor=processor)
    with pytest.warns(UserWarning, match="have no end: 12 samples"):
        assert predict(np.zeros((STEPS, 2)), interval=0.95)["upper"] == {"yield": np.inf}


def test_it_travels_with_the_model(calibrated, tmp_path):
    model, processor = calibrated
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    series = np.random.default_rng(3).normal(size=(4, STEPS, 2))
    predict = pipeline("time-series-regression", model=str(tmp_path))
    assert predict.model.config.calibration == model.config.calibration
    said, _ = answers_to(model, processor, Dataset.from_dict({"past_values": series.tolist()}))
    low, high = interval_of(model.config, said, 0.9, ["sand", "clay", "sand", "?"])
    with pytest.warns(UserWarning, match="did not have"):
        found = predict(series, interval=0.9, groups=["sand", "clay", "sand", "?"])
    for row, answer, a, b in zip(found, said["predictions"][:, 0], low[:, 0], high[:, 0], strict=True):
        assert row == {"yield": pytest.approx(answer, rel=1e-5), "lower": {"yield": pytest.approx(a, rel=1e-5)},
                       "upper": {"yield": pytest.approx(b, rel=1e-5)}}  # fmt: skip
    assert predict(series[0]).keys() == {"yield"}  # nothing else where nobody asks
    table = pd.DataFrame(
        {f"{v}_{s:02d}": series[:, s, k] for k, v in enumerate(("ndvi", "red")) for s in range(STEPS)}
    )
    table.insert(0, "soil", ["sand", "clay", "sand", "?"])
    table.to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", str(tmp_path / "new.csv"), "--model", str(tmp_path), "--interval", "0.9",
                 "--output", str(tmp_path / "out.csv")]) == 0  # fmt: skip
    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written) == ["soil", "predicted_yield", "yield_lower_90", "yield_upper_90"]
    np.testing.assert_allclose(written["yield_lower_90"], low[:, 0], rtol=1e-5)
    np.testing.assert_allclose(written["yield_upper_90"], high[:, 0], rtol=1e-5)


def test_the_command_says_in_one_line_that_a_model_knows_no_intervals(tmp_path, capsys):
    model, processor = model_of()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    pd.DataFrame({f"{v}_{s:02d}": [0.5] for v in ("ndvi", "red") for s in range(STEPS)}).to_csv(tmp_path / "t.csv")
    assert main(["predict", str(tmp_path / "t.csv"), "--model", str(tmp_path), "--interval", "0.9"]) == 2
    assert "was not calibrated" in capsys.readouterr().err


def test_groups_that_nobody_tells_are_told(calibrated):
    model, processor = calibrated
    predict = pipeline("time-series-regression", model=model, processor=processor)
    with pytest.warns(UserWarning, match="calibrated by group \\('soil'\\)"):
        predict(np.zeros((STEPS, 2)), interval=0.9)
    with pytest.raises(ValueError, match="groups has 3 entries, there are 2 inputs"):
        predict(np.zeros((2, STEPS, 2)), interval=0.9, groups=list("abc"))


def test_forecasts_have_thresholds_for_every_step_and_their_intervals_widen(tmp_path):
    rng = np.random.default_rng(0)
    walks = [size * rng.normal(size=(120, 2)).cumsum(axis=0) * [1, 50] for size in (1, 5, 25)]
    collection = SeriesCollection(walks, ["load", "heat"], list("abc"))
    splits = split_windows(collection, context_length=STEPS, prediction_length=4, train=0.4, validation=0.4, test=0.2)
    fields = {**SERIES, "prediction_length": 4}
    config = TimesCLIPConfig.from_preset("forecast", towers="tiny", **fields)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance", variate_names=["load", "heat"])
    processor.fit(splits.train.series)
    model = TimesCLIPForPrediction(processor.complete_config(config)).eval()
    found = calibrate(model, processor, splits.validation)
    assert found["method"] == "spread" and np.shape(found["thresholds"]) == (8, 4, 2)
    predict = pipeline("time-series-forecasting", model=model, processor=processor)
    said = predict(walks[0], interval=0.9)
    width = said["upper"] - said["lower"]
    assert width.shape == (4, 2) and (width[-1] > width[0]).all() and (width[:, 1] > 10 * width[:, 0]).all()
    table = predict(pd.DataFrame(walks[0], columns=["load", "heat"]), interval=0.9)
    assert list(table) == ["step", "load", "load_lower_90", "load_upper_90", "heat", "heat_lower_90", "heat_upper_90"]
    np.testing.assert_array_equal(table["heat_upper_90"], said["upper"][:, 1])


def test_few_windows_share_thresholds_over_variates():
    rng = np.random.default_rng(1)
    collection = SeriesCollection([rng.normal(size=(40, 2)).cumsum(0)], ["load", "heat"], ["a"])
    splits = split_windows(collection, context_length=STEPS, prediction_length=4, train=0.4, validation=0.4, test=0.2)
    config = TimesCLIPConfig.from_preset("forecast", towers="tiny", **{**SERIES, "prediction_length": 4},
                                         loss="quantile")  # fmt: skip
    processor = TimesCLIPProcessor.from_config(config, scaling="instance").fit(splits.train.series)
    model = TimesCLIPForPrediction(processor.complete_config(config)).eval()
    found = calibrate(model, processor, splits.validation, levels=[0.8])
    assert found["method"] == "quantile" and np.shape(found["thresholds"]) == (1, 4, 1)
    assert found["count"] == 2 * len(splits.validation)


def test_classes_get_a_temperature_and_sets(tmp_path):
    names = {"id2label": {0: "wheat", 1: "maize", 2: "rye"}, "label2id": {"wheat": 0, "maize": 1, "rye": 2}}
    model, processor = model_of(TimesCLIPForClassification, **names)
    rows = rows_of(60, 1, classes=3)
    before, labels = answers_to(model, processor, rows)
    found = calibrate(model, processor, rows, group=[str(k % 2) for k in range(60)])
    after, _ = answers_to(model, processor, rows)
    np.testing.assert_allclose(after["logits"] * found["temperature"], before["logits"], rtol=1e-4, atol=1e-5)
    again = calibrate(model, processor, rows)  # from the start, not on top
    assert again["temperature"] == found["temperature"]
    predict = pipeline("time-series-classification", model=model, processor=processor)
    series = np.asarray(rows["past_values"][:])
    sets = predict(series, interval=0.9)
    held = [{one["label"] for one in result} for result in sets]
    assert np.mean([model.config.id2label[k] in own for k, own in zip(labels, held, strict=True)]) >= 0.9
    assert [result[0] for result in sets] == [result[0] for result in predict(series)]
    table = pd.DataFrame({f"{v}_{s:02d}": series[:2, s, k] for k, v in enumerate("ab") for s in range(STEPS)})
    processor.variate_names = ["a", "b"]
    written = pipeline("time-series-classification", model=model, processor=processor)(table, interval=0.9)
    assert written["label_set_90"].tolist() == ["; ".join(one["label"] for one in result) for result in sets[:2]]
    assert {"predicted_label", "score"} <= set(written)


def test_a_graph_carries_it(calibrated, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from timesclip_hf import export_onnx

    model, processor = model_of(loss="quantile")
    calibrate(model, processor, rows_of(60, 1), group="soil")
    path = export_onnx(model, processor, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(path))
    served = NumpyProcessor.from_pretrained(tmp_path)
    series = np.random.default_rng(4).normal(size=(3, STEPS, 2))
    batch = served(series)
    names = [output.name for output in session.get_outputs()]
    assert names == ["predictions", "quantiles"]
    answers = dict(zip(names, session.run(names, {key.name: batch[key.name] for key in session.get_inputs()}),
                       strict=True))  # fmt: skip
    groups = ["sand", "clay", "sand"]
    said, _ = answers_to(model, processor, Dataset.from_dict({"past_values": series.tolist()}))
    np.testing.assert_allclose(served.interval(answers, 0.9, groups), interval_of(model.config, said, 0.9, groups),
                               rtol=1e-5)  # fmt: skip


def test_an_adapter_cannot_carry_it_which_is_told():
    peft = pytest.importorskip("peft")
    model, processor = model_of()
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2))
    with pytest.warns(UserWarning, match="merge_and_unload"):
        calibrate(adapted, processor, rows_of(30, 1))
    assert adapted.merge_and_unload().config.calibration["count"] == 30


def test_an_ensemble_of_calibrated_models_is_to_be_calibrated_itself():
    (model, processor), (other, _) = model_of(), model_of()
    calibrate(model, processor, rows_of(30, 1))
    assert join_models([model, other]).config.calibration is None


def test_groups_may_be_static_values():
    rows = [{"past_values": np.ones((4, 1)), "static_values": {"soil": k % 2}} for k in range(4)]
    assert group_names(rows, "soil") == ["0", "1", "0", "1"]
    with pytest.raises(ValueError, match="group='crop': not every row has it"):
        group_names(rows, "crop")


def test_numpy_and_frozen_datasets_with_text_groups_give_the_same():
    model, processor = model_of()
    rows = rows_of(40, 1)
    by_column = dict(calibrate(model, processor, rows, group="soil"))
    by_list = calibrate(model, processor, [rows[k] for k in range(40)], group=list(rows["soil"]))
    assert {**by_list, "group": "soil"} == by_column


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m, p: calibrate(m, p, rows_of(20, 1).remove_columns("labels")), "no 'labels'"),
        (lambda m, p: calibrate(m, p, rows_of(20, 1), group="farm"), "group='farm'"),
        (lambda m, p: calibrate(m, p, rows_of(20, 1), group=["a"]), "group has 1 entries, the data 20 rows"),
        (lambda m, p: calibrate(m, p, rows_of(20, 1), levels=[90]), "levels must be rising numbers"),
        (lambda m, p: calibrate(m, p, rows_of(20, 1), levels=[]), "levels must be rising numbers"),
        (lambda m, p: calibrate(m, p, pd.DataFrame({"a": [1]})), "validation is"),
        (lambda m, p: calibrate(m.timesclip, p, rows_of(20, 1)), "has no answer"),
        (lambda m, p: calibrate(m, TimesCLIPProcessor(4, 2, 1), rows_of(20, 1)), "disagree"),
    ],
)
def test_what_cannot_be_calibrated_is_named(call, told):
    with pytest.raises(ValueError, match=told), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call(*model_of())


def test_training_further_takes_a_calibration_away(tmp_path):
    model, processor = model_of()
    calibrate(model, processor, rows_of(30, 1))
    arguments = TimesCLIPTrainingArguments(
        str(tmp_path), max_steps=1, eval_strategy="no", save_strategy="no", load_best_model_at_end=False,
        report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = TimesCLIPTrainer(model, arguments, processor, train_dataset=rows_of(8, 2))
    assert model.config.calibration is not None  # asked only, so far
    trainer.train()
    assert model.config.calibration is None
