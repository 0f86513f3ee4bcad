# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Explanations: what is shared out is all there is, goes where a driver was planted, and is gone with the weights."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from hostile_text import HOSTILE
from scipy.stats import spearmanr

from timesclip_hf import (
    ForecastWindows,
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    explain,
    fit_head,
    join_models,
)
from timesclip_hf.cli import main
from timesclip_hf.inference.answers import Answerer
from timesclip_hf.model.layers import FittedLayer

NAMES, STEPS = ["ndvi", "rain", "nir"], 12
SERIES = np.random.default_rng(0).normal(size=(10, STEPS, 3)).cumsum(axis=1) * [0.1, 30.0, 500.0] + [0.5, 100, 3000]


def made(model_class: Any, config: Any, data: Any = None, **processing: Any) -> tuple[Any, TimesCLIPProcessor]:
    """A model of random weights that are large enough to tell, and its fitted processor."""
    processor = TimesCLIPProcessor.from_config(config, variate_names=NAMES, **processing)
    statics = [{"soil": "clay" if n % 3 else "loam", "height": float(n)} for n in range(len(SERIES))]
    static = statics if config.num_static_features else None
    processor.fit(SERIES if data is None else data, static_values=static)
    torch.manual_seed(0)
    model = model_class(processor.complete_config(config) if static is None else config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval(), processor


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": (TimesCLIPForRegression, {"preset": "small"}),
    "both in one head": (TimesCLIPForRegression, {"preset": "full"}),
    "vision": (TimesCLIPForRegression, {"preset": "vision_only"}),
    "late fusion": (TimesCLIPForRegression, {"preset": "late", "kernel_shortcut": False, "linear_shortcut": True}),
    "cross-attention": (TimesCLIPForRegression, {"preset": "full", "variate_selection": "cross_attention"}),
    "classes": (TimesCLIPForClassification, {"preset": "full", "id2label": {0: "a", 1: "b", 2: "c"}}),
    "forecast": (TimesCLIPForPrediction, {"preset": "forecast", "prediction_length": 4}),
    "forecast of both": (TimesCLIPForPrediction, {"preset": "full", "prediction_length": 4}),
    "static": (TimesCLIPForRegression, {"preset": "full", "num_static_features": 3}),
}


@pytest.mark.parametrize("scaling", ["dataset", "instance"])
@pytest.mark.parametrize("case", CASES)
def test_attributions_add_up_to_the_change_of_the_answer(case: str, scaling: str, tiny_config: Any) -> None:
    model_class, fields = CASES[case]
    model, processor = made(model_class, tiny_config(**fields), scaling=scaling)
    series = SERIES[:3].copy()
    series[0, 3:6, 1] = np.nan
    samples = [
        {"past_values": values, "static_values": {"soil": "loam", "height": 3.5 * n}}
        for n, values in enumerate(series)
    ]
    found = explain(model, processor, samples, methods=["gradients"])
    change = found.samples["prediction"] - found.samples["baseline"]
    np.testing.assert_allclose(found.samples["attributed"], change, rtol=0.01, atol=1e-6)
    by_sample = found.attributions.groupby("sample")["attribution"].sum()
    np.testing.assert_allclose(by_sample, found.samples["attributed"], rtol=1e-6, atol=1e-9)
    missing = found.attributions[found.attributions["value"].isna() & found.attributions["step"].notna()]
    assert len(missing) and (missing["attribution"] == 0).all()
    paths = {"series", "vision", "static"} & set(found.attributions["path"])
    read = model.answer_inputs(model.config)
    assert ("vision" in paths) == ("pixel_values" in read) and ("static" in paths) == (case == "static")
    assert ("series" in paths) == (case != "vision")


def test_the_answer_that_is_explained_is_the_model_s_own(tiny_config: Any) -> None:
    model, processor = made(TimesCLIPForRegression, tiny_config("full"))
    with torch.no_grad():
        said = model(**processor(SERIES[:4])).predictions[:, 0].numpy()
    found = explain(model, processor, SERIES[:4], methods=["removal"], repeats=1)
    np.testing.assert_allclose(found.samples["prediction"], said, rtol=1e-5)


@pytest.mark.parametrize("view", ["gasf", "stacked", "line+gasf", ["line", "mtf", "spectrogram"]], ids=str)
def test_other_views_than_lines_add_up_too(view: Any, tiny_config: Any) -> None:
    model, processor = made(TimesCLIPForRegression, tiny_config("vision_only"), view=view)
    found = explain(model, processor, SERIES[:2], methods=["gradients"])
    change = found.samples["prediction"] - found.samples["baseline"]
    np.testing.assert_allclose(found.attributions.groupby("sample")["attribution"].sum(), change, rtol=0.01)
    assert found.vision.empty  # rows of these views are no values


def test_in_one_image_for_all_each_variate_has_its_own_pixels(tiny_config: Any) -> None:
    model, processor = made(TimesCLIPForRegression, tiny_config("vision_only", layout="grid", variate_selection=None))
    series = np.repeat(np.nanmean(SERIES, axis=(0, 1))[None, None], STEPS, axis=1)  # at the baseline
    series[0, 6:9, 2] += 800.0
    found = explain(model, processor, series, methods=["gradients"])
    assert found.samples["attributed"][0] == pytest.approx(
        found.samples["prediction"][0] - found.samples["baseline"][0], rel=0.01
    )
    by_variate = found.attributions.groupby("variate")["attribution"].apply(lambda own: own.abs().sum())
    assert by_variate["nir"] > 0 and by_variate[["ndvi", "rain"]].max() < 1e-6 * by_variate["nir"]


def test_every_model_of_an_ensemble_is_part_of_it(tiny_config: Any) -> None:
    (one, processor), (other, _) = (made(TimesCLIPForRegression, tiny_config("full")) for _ in range(2))
    torch.nn.init.normal_(other.head.layers[0].weight, std=0.5)
    found = explain(join_models([one, other]), processor, SERIES[:2], methods=["gradients"])
    change = found.samples["prediction"] - found.samples["baseline"]
    np.testing.assert_allclose(found.samples["attributed"], change, rtol=0.01)


def linear_model(tiny_config: Any, weight: np.ndarray) -> tuple[Any, TimesCLIPProcessor]:
    """One that answers `7 + 2 * sum(weight * z)`, z the standardised series, and nothing else."""
    config = tiny_config("small", linear_shortcut=True)
    processor = TimesCLIPProcessor.from_config(config, variate_names=NAMES).fit(SERIES)
    config = processor.complete_config(config)
    config.target_mean, config.target_std = [7.0], [2.0]
    model = TimesCLIPForRegression(config).eval()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
        model.head.shortcut.layer.weight.copy_(torch.as_tensor(weight.T.reshape(1, -1)))  # (T, V), variate by variate
    return model, processor


def test_of_a_linear_model_each_step_gets_its_own_term(tiny_config: Any) -> None:
    weight = np.random.default_rng(1).normal(size=(STEPS, 3))
    model, processor = linear_model(tiny_config, weight)
    found = explain(model, processor, SERIES[:2], methods=["gradients"])
    mean, std = SERIES.mean(axis=(0, 1)), SERIES.std(axis=(0, 1))
    expected = 2 * weight * (SERIES[1] - mean) / std
    rows = found.attributions[found.attributions["sample"] == 1]
    table = rows.pivot(index="step", columns="variate", values="attribution")[NAMES]
    np.testing.assert_allclose(table, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows.pivot(index="step", columns="variate", values="value")[NAMES], SERIES[1])
    assert found.samples["baseline"].to_numpy() == pytest.approx(7.0, abs=1e-4)
    assert list(table.index) == list(range(1 - STEPS, 1))


def test_a_baseline_of_one_s_own_is_what_the_change_is_counted_from(tiny_config: Any) -> None:
    weight = np.ones((STEPS, 3))
    model, processor = linear_model(tiny_config, weight)
    found = explain(model, processor, SERIES[:1], methods=["gradients"], baseline=SERIES[2:4])
    gap = (SERIES[0] - SERIES[2:4].mean(axis=0)) / SERIES.std(axis=(0, 1))
    assert found.samples["attributed"][0] == pytest.approx(2 * gap.sum(), rel=1e-4)


def test_of_two_samples_removal_is_half_of_their_difference_s_sum(tiny_config: Any) -> None:
    weight = np.zeros((STEPS, 3))
    weight[2:4, 1] = [1.0, -3.0]
    model, processor = linear_model(tiny_config, weight)
    found = explain(model, processor, SERIES[:2], methods=["removal"], spans=6)
    z = (SERIES - SERIES.mean(axis=(0, 1))) / SERIES.std(axis=(0, 1))
    expected = abs(2 * (weight * (z[0] - z[1])).sum())  # both take what the other has
    first, second, *others = found.top("cell").to_dict("records")
    assert (first["variate"], first["first_step"], first["last_step"]) == ("rain", 2 - 11, 3 - 11)
    assert first["importance"] == pytest.approx(expected, rel=1e-4)
    assert second["importance"] == pytest.approx(0, abs=1e-4) and len(others) == 16
    assert found.top("variate")["variate"][0] == "rain"
    # with labels that the model hits, the error rises by as much
    labels = found.samples["prediction"].to_numpy()
    right = explain(model, processor, SERIES[:2], methods=["removal"], labels=labels)
    assert right.top("cell")["importance"][0] == pytest.approx(expected, rel=1e-3)
    assert right.measures["removal"].startswith("mean rise of the error")


def test_parts_are_exchanged_within_groups_alone(tiny_config: Any) -> None:
    weight = np.zeros((STEPS, 3))
    weight[:, 0] = 1.0
    model, processor = linear_model(tiny_config, weight)
    twins = np.concatenate([SERIES[:1], SERIES[:1], SERIES[1:2], SERIES[1:2]])  # alike within their group
    found = explain(model, processor, twins, methods="removal", groups=["a", "a", "b", "b"])
    assert found.importance["importance"].max() == pytest.approx(0, abs=1e-5)
    with pytest.warns(UserWarning, match=r"leaves out samples that are alone in their group: 2"):
        explain(model, processor, SERIES[:3], methods="removal", groups=["a", "a", "b"])
    with pytest.raises(ValueError, match="of 2 each is alone in its group: choose a coarser one"):
        explain(model, processor, SERIES[:2], methods="removal", groups=["a", "b"])
    with pytest.raises(ValueError, match="of 1 each is alone"):
        explain(model, processor, SERIES[:1], methods="removal")


def planted(seed: int) -> tuple[Dataset, str, int]:
    """80 noisy series of 4 variates of very different units, and a number made of a quarter of one of them."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(80, 16, 4))
    variate, span = int(rng.integers(4)), int(rng.integers(4))
    target = 5 + 2 * noise[:, 4 * span : 4 * span + 4, variate].mean(axis=1)
    series = noise * [0.01, 1.0, 50.0, 4000.0] + [0.3, 10.0, 0.0, 1e4]
    rows = Dataset.from_dict({"past_values": list(series), "labels": [[y] for y in target]})
    return rows.with_format("numpy"), "abcd"[variate], 4 * span - 15


def fitted(rows: Dataset) -> tuple[Any, TimesCLIPProcessor]:
    shape = {"num_variates": 4, "context_length": 16, "patch_length": 4, "patch_stride": 2}
    config = TimesCLIPConfig.from_preset("probe", towers="tiny", **shape, vision_config=None)
    processor = TimesCLIPProcessor.from_config(config, variate_names=list("abcd")).fit(rows)
    torch.manual_seed(0)
    model = TimesCLIPForRegression(processor.complete_config(config))
    fit_head(model, processor, rows)
    return model, processor


@pytest.mark.parametrize("seed", range(2))
def test_a_planted_driver_comes_first_by_both_methods_and_not_with_random_weights(seed: int) -> None:
    rows, variate, first_step = planted(seed)
    model, processor = fitted(rows)
    found = explain(model, processor, rows, spans=4, repeats=1, max_samples=15)
    for method in ("removal", "gradients"):
        top = found.top("cell", method).iloc[0]
        assert (top["variate"], top["first_step"]) == (variate, first_step)
        assert found.top("variate", method)["variate"][0] == variate
        assert top["lower"] <= top["importance"] <= top["upper"]
    correlations = []
    for draw in range(5):  # one draw may look at the same variate by chance
        torch.manual_seed(draw)
        with torch.no_grad():
            for module in model.modules():
                held = dict(module.named_buffers(recurse=False)) if isinstance(module, FittedLayer) else {}
                for name in [name for name in ("weight", "centers") if name in held]:
                    setattr(module, name, torch.randn_like(held[name]) * held[name].std())
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.1)
        other = explain(model, processor, rows, spans=4, methods=["gradients"], max_samples=15)
        correlations.append(spearmanr(found.attributions["attribution"], other.attributions["attribution"]).statistic)
    assert abs(np.mean(correlations)) < 0.2


def test_late_fusion_tells_how_far_its_branches_agree(tiny_config: Any) -> None:
    config = tiny_config("late", kernel_shortcut=False, linear_shortcut=True)
    model, processor = made(TimesCLIPForRegression, config)
    found = explain(model, processor, SERIES, methods=["removal"], repeats=1, spans=2)
    with torch.no_grad():
        said = model(**processor(SERIES)).branch_predictions[..., 0].numpy()
    np.testing.assert_allclose(found.samples[["says_vision", "says_text", "says_series"]], said, rtol=1e-4, atol=1e-6)
    pairs = found.branches.set_index(["branch", "other"])
    assert pairs.loc[("vision", "text"), "correlation"] == pytest.approx(np.corrcoef(said.T)[0, 1], abs=1e-4)
    gap = np.abs(said[:, 1] - said[:, 2]).mean()
    assert pairs.loc[("text", "series"), "mean_difference"] == pytest.approx(gap, rel=1e-4)


def test_attention_between_variates_has_their_names(tiny_config: Any) -> None:
    model, processor = made(TimesCLIPForRegression, tiny_config("full"))
    found = explain(model, processor, SERIES, methods=["removal"], repeats=1, spans=2)
    with torch.no_grad():
        weights = model(**processor(SERIES), output_attentions=True).selection_attentions.mean(dim=(0, 1)).numpy()
    table = found.attention.pivot(index="variate", columns="listened_to", values="attention")
    np.testing.assert_allclose(table.loc[NAMES, NAMES], weights, rtol=1e-4)
    assert found.figures()["attention"].axes[0].get_xlabel() == "listened to"


def wide_table() -> pd.DataFrame:
    columns = {f"{n}_{t:02d}": SERIES[:, t, v] for v, n in enumerate(NAMES) for t in range(STEPS)}
    frame = pd.DataFrame(columns).assign(yield_t=np.arange(10.0), farm=["a", "b"] * 5)
    return frame[sorted(frame.columns)]


def test_tables_bring_labels_groups_and_names(tiny_config: Any) -> None:
    model, processor = made(TimesCLIPForRegression, tiny_config("small"))
    processor.target_names, processor.target_units = ["yield_t"], ["t/ha"]
    processor.first_step, processor.last_step, processor.padding_side = 0, 11, "right"
    processor.truncation_side, processor.step_dates = "right", [f"2024-05-{day:02d}" for day in range(1, 13)]
    frame = wide_table()
    found = explain(model, processor, frame, methods=["removal"], repeats=1, groups="farm")
    assert found.target == "yield_t" and found.measures["removal"] == "mean rise of the error without it (t/ha)"
    top = found.top("cell").iloc[0]
    assert top["first_date"] == f"2024-05-{top['first_step'] + 1:02d}"
    again = explain(model, processor, pl.DataFrame(frame), methods=["removal"], repeats=1, groups="farm")
    pd.testing.assert_frame_equal(again.importance, found.importance)
    with pytest.raises(ValueError, match=r"groups='site': there is no such column, only"):
        explain(model, processor, frame, methods=["removal"], groups="site")


def test_classes_are_explained_by_name_and_forecasts_by_variate_and_step(tiny_config: Any) -> None:
    fields = {"preset": "small", "id2label": {0: "maize", 1: "wheat"}}
    model, processor = made(TimesCLIPForClassification, tiny_config(**fields))
    found = explain(model, processor, SERIES, target="wheat", methods=["gradients"])
    with torch.no_grad():
        said = model(**processor(SERIES)).logits.softmax(dim=-1)[:, 1].numpy()
    np.testing.assert_allclose(found.samples["prediction"], said, rtol=1e-4, atol=1e-6)
    likeliest = explain(model, processor, SERIES, methods=["removal"], labels=["maize"] * 10, repeats=1)
    assert (likeliest.samples["prediction"] >= 0.5).all() and set(likeliest.samples["class"]) <= {"maize", "wheat"}
    with pytest.raises(ValueError, match="target='rice': the model has no such class, only maize, wheat"):
        explain(model, processor, SERIES, target="rice")
    config = tiny_config("forecast", prediction_length=4)
    model, processor = made(TimesCLIPForPrediction, config, scaling="instance")
    windows = ForecastWindows([SERIES.reshape(-1, 3)[:40]], context_length=STEPS, prediction_length=4)
    found = explain(model, processor, windows, target="rain", horizon=2, repeats=1, spans=2)
    row = windows[3]
    with torch.no_grad():
        said = model(**processor(row["past_values"][None])).predictions[0, 1, 1].item()
    assert found.samples["prediction"][3] == pytest.approx(said, rel=1e-4)
    assert found.measures["removal"].startswith("mean rise of the error")  # windows have labels
    with pytest.raises(ValueError, match=r"horizon=5: the model's steps are 1 to 4"):
        explain(model, processor, windows, horizon=5)


def test_what_cannot_be_explained_is_said(tiny_config: Any, monkeypatch: Any) -> None:
    model, processor = made(TimesCLIPForRegression, tiny_config("full"))
    with pytest.raises(ValueError, match="methods holds 'shap', expected some of gradients, removal"):
        explain(model, processor, SERIES, methods=["shap"])
    with pytest.raises(ValueError, match="spans must be 1 or more, got 0"):
        explain(model, processor, SERIES, spans=0)
    with pytest.raises(ValueError, match="labels has 3 rows"):
        explain(model, processor, SERIES, labels=[1.0, 2.0, 3.0])
    pretrained = TimesCLIPForPreTraining(tiny_config("full"))
    with pytest.raises(ValueError, match="TimesCLIPForPreTraining gives no answer"):
        explain(pretrained, processor, SERIES)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"pip install 'timesclip-hf\[explain\]'"):
        explain(model, processor, SERIES)
    assert len(explain(model, processor, SERIES[:3], methods=["removal"], repeats=1).importance)


def test_the_command_writes_tables_and_pictures(tiny_config: Any, tmp_path: Path, capsys: Any) -> None:
    hostile = [name for name in HOSTILE if len(name) < 40 and name.isprintable()][:3]
    frame = wide_table().rename(columns=lambda name: name.replace("ndvi", "<b>ndvi").replace("rain", "=1+1"))
    names = ["<b>ndvi", "=1+1", "nir"]
    config = tiny_config("full")
    model, processor = made(TimesCLIPForRegression, config)
    processor.variate_names, processor.variate_units, processor.target_names = names, hostile, ["yield_t"]
    model.save_pretrained(tmp_path / "model"), processor.save_pretrained(tmp_path / "model")
    frame.to_csv(tmp_path / "fields.csv", index=False)
    words = [tmp_path / "fields.csv", "--model", tmp_path / "model", "--output", tmp_path / "why", "--rows", 4]
    assert main(["explain", *map(str, words), "--spans", "2", "--pictures", "1"]) == 0
    out = capsys.readouterr().out
    assert "spans of a variate, mean rise of the error without it (removal, 4 series)" in out
    files = {path.name for path in (tmp_path / "why").iterdir()}
    assert {"importance.csv", "samples.csv", "attributions.csv", "vision.csv", "attention.csv"} <= files
    assert {"importance_removal.png", "importance_gradients.png", "attention.png"} <= files
    assert sum(file.startswith("sample_") for file in files) == 1
    written = pd.read_csv(tmp_path / "why" / "importance.csv")
    assert {"'=1+1", "<b>ndvi", "nir"} <= set(written["variate"].dropna())  # no spreadsheet runs it
    assert main(["explain", *map(str, words[:-2]), "--target", "height"]) == 2
    assert "the model has no such target, only yield_t" in capsys.readouterr().err


def test_cells_of_a_table_name_classes_and_some_may_be_missing(tiny_config: Any) -> None:
    model, processor = made(TimesCLIPForClassification, tiny_config("small", id2label={0: "1", 1: "2"}))
    frame = wide_table().assign(kind=pd.array([1, 2, None, *[2] * 7], "Int64"))
    read = Answerer(model, processor).read
    assert read(frame, "kind").labels.tolist() == [0, 1, -1, *[1] * 7]  # type: ignore[union-attr]
    assert read(frame.fillna({"kind": 1}), "kind").labels.tolist() == [0, 1, 0, *[1] * 7]  # type: ignore[union-attr]
    assert read(frame.assign(kind=np.nan), "kind").labels is None
    assert read(SERIES, [0, 1] * 5).labels.tolist() == [0, 1] * 5  # type: ignore[union-attr]  # numbers beside arrays
    assert read(SERIES, ["1", "2"] * 5).labels.tolist() == [0, 1] * 5  # type: ignore[union-attr]  # text is a name
    with pytest.raises(ValueError, match="labels hold 3, which the model has no class for: 1, 2"):
        read(frame.fillna({"kind": 3}), "kind")
    lost = explain(model, processor, frame, labels="kind", methods=["removal"], repeats=1, spans=1).importance
    assert np.isfinite(lost["importance"]).all()
    steps = [name for name in frame if name[-2:].isdecimal()]
    features = Features({**{name: Value("float64") for name in steps}, "kind": ClassLabel(names=["2", "1"])})
    rows = Dataset.from_dict({**frame[steps].to_dict("list"), "kind": [1, 0] * 5}, features=features)
    assert read(rows, "kind").labels.tolist() == [0, 1] * 5  # type: ignore[union-attr]
