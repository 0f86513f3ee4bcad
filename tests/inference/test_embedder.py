# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The transformer of scikit-learn: its rules, its doors, and the same numbers as the pipeline's."""

import pickle
import pickletools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from timesclip_hf import (
    TimesCLIPEmbedder,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
    lora_config,
)
from timesclip_hf.inference.task_pipelines import TimeSeriesFeatureExtractionPipeline

NAMES, STEPS, COUNT = ["ndvi", "lst"], 12, 8
SERIES = np.random.default_rng(11).normal(size=(COUNT, STEPS, 2)) * [0.1, 8] + [0.6, 295]
SMALL: dict[str, Any] = {"preset": "small", "patch_length": 4}  # no plots: fast

# None is expected to fail; a check of scikit-learn that cannot hold goes here, with the reason.
EXPECTED_FAILURES: dict[str, str] = {}


@parametrize_with_checks(
    [TimesCLIPEmbedder(), TimesCLIPEmbedder(**SMALL | {"patch_length": 1}), TimesCLIPEmbedder(scaling="instance")],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_it_is_an_estimator_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture
def saved(tiny_config: Any, enlarge: Any, tmp_path: Path) -> Any:
    """`saved(model_class, preset="full")`: model, processor and their folder."""

    def make(model_class: Any, preset: str = "full", names: Any = NAMES, **config: Any) -> tuple[Any, Any, Path]:
        torch.manual_seed(2)
        processor = TimesCLIPProcessor.from_config(tiny_config(preset, num_variates=2), variate_names=names)
        processor.fit(SERIES)
        fields = {"num_variates": 2, **config}
        model = enlarge(model_class(processor.complete_config(tiny_config(preset, **fields))))
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        return model, processor, tmp_path

    return make


def frame(series: np.ndarray = SERIES) -> pd.DataFrame:
    """Steps that are not in the order of V * T."""
    return pd.DataFrame({f"{NAMES[v]}_{t:02d}": series[:, t, v] for t in range(STEPS) for v in (1, 0)})


@pytest.mark.parametrize(
    ("model_class", "preset"), [(TimesCLIPForRegression, "late"), (TimesCLIPForPreTraining, "full")]
)
def test_of_a_checkpoint_it_says_what_the_pipeline_says(saved: Any, model_class: Any, preset: str) -> None:
    model, processor, folder = saved(model_class, preset)
    expected = TimeSeriesFeatureExtractionPipeline(model, processor)(SERIES)
    flat = SERIES.transpose(0, 2, 1).reshape(COUNT, -1)
    doors: Any = [
        (TimesCLIPEmbedder(folder), SERIES),
        (TimesCLIPEmbedder(str(folder)), SERIES.tolist()),
        (TimesCLIPEmbedder(model, processor), torch.from_numpy(SERIES)),
        (TimesCLIPEmbedder(folder, num_variates=2), flat),
        (TimesCLIPEmbedder(folder), flat),
        (TimesCLIPEmbedder(folder), frame()),
        (TimesCLIPEmbedder(folder), pl.from_pandas(frame())),
        (TimesCLIPEmbedder(folder, batch_size=3), frame().astype(object)),
    ]
    for embedder, X in doors:
        found = embedder.fit(X).transform(X)
        assert found.dtype == np.float32 and found.shape == (COUNT, 2 * 2 * 32)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert embedder.n_features_in_ == 2 * STEPS


def test_a_checkpoint_learns_nothing_from_the_data(saved: Any) -> None:
    _, processor, folder = saved(TimesCLIPForRegression, "small")
    one, other = TimesCLIPEmbedder(folder).fit(SERIES), TimesCLIPEmbedder(folder).fit(SERIES * 3 + 100)
    np.testing.assert_array_equal(one.transform(SERIES), other.transform(SERIES))
    assert other.processor_.to_dict() == processor.to_dict()


def test_random_towers_read_names_as_places_and_places_as_arrays() -> None:
    expected = TimesCLIPEmbedder(**SMALL).fit_transform(SERIES[..., [1, 0]])  # columns name lst first
    found = TimesCLIPEmbedder(**SMALL).fit(frame())
    assert found.processor_.variate_names == ["lst", "ndvi"]
    np.testing.assert_allclose(found.transform(frame()), expected, rtol=1e-4, atol=1e-5)
    flat = SERIES[..., [1, 0]].transpose(0, 2, 1).reshape(COUNT, -1)
    np.testing.assert_array_equal(TimesCLIPEmbedder(num_variates=2, **SMALL).fit_transform(flat), expected)
    with pytest.warns(UserWarning, match="does not have valid feature names"):  # scikit-learn's own words
        np.testing.assert_allclose(found.transform(frame().to_numpy()), expected, rtol=1e-4, atol=1e-5)
    one = SERIES[..., 0]
    np.testing.assert_array_equal(
        TimesCLIPEmbedder(**SMALL).fit_transform(one), TimesCLIPEmbedder(**SMALL).fit_transform(one[..., None])
    )


def test_values_are_scaled_as_in_the_data_that_fit_saw() -> None:
    embedder = TimesCLIPEmbedder(**SMALL).fit(SERIES)
    stats = embedder.processor_.statistics["variates"]
    np.testing.assert_allclose(stats["mean"], SERIES.mean(axis=(0, 1)))
    np.testing.assert_allclose(stats["std"], SERIES.std(axis=(0, 1)))
    assert np.abs(embedder.transform(SERIES) - embedder.transform(SERIES + [0.05, 4])).max() > 1e-3
    again = TimesCLIPEmbedder(**SMALL).fit(SERIES * 5 - 7)
    np.testing.assert_allclose(again.transform(SERIES * 5 - 7), embedder.transform(SERIES), rtol=1e-3, atol=1e-4)


def test_the_seed_says_which_random_towers_and_nothing_else_changes() -> None:
    state, numpys = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    one = TimesCLIPEmbedder(**SMALL).fit_transform(SERIES)
    torch.manual_seed(12345)
    np.testing.assert_array_equal(TimesCLIPEmbedder(**SMALL).fit_transform(SERIES), one)
    assert np.abs(TimesCLIPEmbedder(**SMALL, random_state=1).fit_transform(SERIES) - one).max() > 0.01
    torch.random.set_rng_state(state)
    TimesCLIPEmbedder().fit(SERIES)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpys)


def test_a_processor_of_ones_own_is_kept_or_fitted_and_never_changed() -> None:
    processor = TimesCLIPProcessor(10, 5, 5, scaling="instance", image_size=None, padding_side="right")
    before = processor.to_dict()
    embedder = TimesCLIPEmbedder(processor=processor, preset="small").fit(SERIES)
    assert embedder.model_.config.context_length == 10 and embedder.model_.config.patch_length == 5
    assert processor.to_dict() == before and embedder.processor_.statistics is not None
    fitted = TimesCLIPProcessor(12, 4, 2, image_size=None, variate_names=NAMES).fit(SERIES * 1.1)
    embedder = TimesCLIPEmbedder(processor=fitted, preset="small").fit(frame())
    assert embedder.processor_.to_dict() == fitted.to_dict()
    np.testing.assert_allclose(embedder.transform(frame()), embedder.transform(frame()[::-1])[::-1], atol=1e-5)


def test_missing_values_are_read_and_a_series_without_any_raises_by_its_row() -> None:
    gaps = SERIES.copy()
    gaps[2, 3:6, 1] = np.nan
    embedder = TimesCLIPEmbedder(**SMALL).fit(SERIES)
    assert np.isfinite(embedder.transform(gaps)).all()
    gaps[5, :, 0] = np.nan
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="1 rows of X cannot .*, 5"):
        embedder.transform(gaps)
    named = TimesCLIPEmbedder(**SMALL).fit(frame())
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="row 5: no value of ndvi"):
        named.transform(frame(gaps))


def test_shorter_and_longer_arrays_are_read_as_the_processor_says(saved: Any) -> None:
    _, processor, folder = saved(TimesCLIPForRegression, "small")
    embedder = TimesCLIPEmbedder(folder).fit(SERIES)
    padded = np.concatenate([np.full((COUNT, 5, 2), np.nan), SERIES[:, 5:]], axis=1)  # padding_side="left"
    np.testing.assert_allclose(embedder.transform(SERIES[:, 5:]), embedder.transform(padded), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "X", "message"),
    [
        ({}, frame().assign(year=2020.0), "no steps of a variate: 'year'. Select the steps, by ColumnTransformer"),
        ({"num_variates": 3}, frame(), "num_variates=3, but the columns are steps of 2 variates: 'lst', 'ndvi'"),
        ({"num_variates": 5}, frame().to_numpy(), "24 columns, which are no steps of 5 variates"),
        ({}, frame().rename(columns=lambda n: n.replace("_0", ".").replace("_", ".")), "column_pattern='dots'"),
        ({}, frame().drop(columns="lst_04"), "lst lacks 04"),
        ({}, [SERIES[0], SERIES[1, :5]], "series that differ in length: pad them with NaN"),
        ({}, SERIES * np.inf, "infinity"),
        ({}, SERIES[..., None], "4 dimensions|dim"),
        ({"preset": "medum"}, SERIES, "Unknown preset 'medum'"),
        ({"model": "tests/saved/regression"}, SERIES, "X has 2 variates, expected"),
        (
            {"model": "tests/saved/regression", "num_variates": 1},
            SERIES[..., 0],
            "num_variates=1, but the model reads",
        ),
        ({"model": TimesCLIPModel}, SERIES, "without its processor"),
        ({}, SERIES[..., :1].transpose(0, 2, 1), r"one step of 12 variates.*give X.transpose\(0, 2, 1\)"),
        ({"model": "tests/saved/regression"}, np.ones((4, 3, 12)), r"12 variates, expected 3.*give X.transpose"),
    ],
)
def test_faults_are_named(fields: Any, X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimesCLIPEmbedder(**{**SMALL, **fields}).fit(X)


def test_an_array_with_more_variates_than_steps_is_read_and_told_of() -> None:
    with pytest.warns(UserWarning, match=r"2 steps of 12 variates, as it is read: .* give X.transpose\(0, 2, 1\)"):
        found = TimesCLIPEmbedder(preset="small", patch_length=1).fit(SERIES.transpose(0, 2, 1))
    assert found.model_.config.num_variates == STEPS


def test_a_model_that_does_not_name_its_variates_does_not_guess_their_order(saved: Any) -> None:
    _, _, folder = saved(TimesCLIPForRegression, "small", names=None)
    with pytest.raises(ValueError, match="in which order the model takes its variates"):
        TimesCLIPEmbedder(folder).fit(frame())
    with pytest.raises(ValueError, match="3 variates, expected 2"):
        TimesCLIPEmbedder(folder).fit(SERIES).transform(SERIES[..., [0, 1, 1]])


def test_columns_of_other_names_are_read_by_a_pattern() -> None:
    renamed = frame().rename(columns=lambda name: name.replace("_", "."))
    found = TimesCLIPEmbedder(column_pattern="dots", **SMALL).fit_transform(renamed)
    np.testing.assert_allclose(found, TimesCLIPEmbedder(**SMALL).fit_transform(frame()), atol=1e-5)


def test_a_checkpoint_reads_columns_of_its_own_pattern_of_the_usual_names_and_of_another(saved: Any) -> None:
    _, processor, folder = saved(TimesCLIPForRegression, "small")
    expected = TimesCLIPEmbedder(folder).fit_transform(frame())
    processor.column_pattern = "dots"
    processor.save_pretrained(folder)
    for separator, pattern in ((".", None), ("_", None), ("-", "dashes")):
        X = frame().rename(columns=lambda name, separator=separator: name.replace("_", separator))
        found = TimesCLIPEmbedder(folder, column_pattern=pattern).fit_transform(X)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pickles_hold_weights_and_settings_and_give_the_same_numbers_elsewhere(saved: Any, tmp_path: Path) -> None:
    model, processor, folder = saved(TimesCLIPForRegression)
    given = [TimesCLIPEmbedder(folder), TimesCLIPEmbedder(model, processor), TimesCLIPEmbedder()]
    for number, embedder in enumerate(given):
        expected = embedder.fit_transform(SERIES)
        data = pickle.dumps(embedder)
        texts = {str(argument) for op, argument, _ in pickletools.genops(data) if op.name.endswith("UNICODE")}
        assert not [text for text in texts if text.split(".")[0] in ("torch", "transformers")]  # no class of theirs
        (tmp_path / "embedder.pkl").write_bytes(data)
        np.save(tmp_path / "series.npy", SERIES)
        code = (
            "import pickle, numpy as np, torch, pathlib\ntorch.set_num_threads(1)\n"
            "embedder = pickle.loads(pathlib.Path('embedder.pkl').read_bytes())\n"
            "np.save('embeds.npy', embedder.transform(np.load('series.npy')))"
        )
        if number == 0:
            subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
            np.testing.assert_allclose(np.load(tmp_path / "embeds.npy"), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(pickle.loads(data).transform(SERIES), expected)
        np.testing.assert_array_equal(clone(embedder).fit(SERIES).transform(SERIES), expected)


def test_half_precision_and_adapters_survive_a_pickle(saved: Any) -> None:
    peft = pytest.importorskip("peft")
    model, processor, folder = saved(TimesCLIPForRegression)
    half = TimesCLIPEmbedder(TimesCLIPForRegression.from_pretrained(folder, dtype=torch.bfloat16), processor)
    expected = half.fit_transform(SERIES)
    assert half.model_.dtype == torch.bfloat16 and expected.dtype == np.float32
    again = pickle.loads(pickle.dumps(half))
    assert again.model_.dtype == torch.bfloat16
    np.testing.assert_array_equal(again.transform(SERIES), expected)

    base = TimesCLIPForRegression.from_pretrained(folder)
    adapted = peft.get_peft_model(base, lora_config(base, r=2, init_lora_weights=False)).eval()
    expected = TimeSeriesFeatureExtractionPipeline(adapted, processor)(SERIES)
    embedder = TimesCLIPEmbedder(adapted, processor).fit(SERIES)
    assert type(embedder.model_) is TimesCLIPModel
    np.testing.assert_allclose(embedder.transform(SERIES), expected, rtol=1e-3, atol=1e-4)
    expected = embedder.transform(SERIES)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(embedder)).transform(SERIES), expected)
    np.testing.assert_allclose(TimeSeriesFeatureExtractionPipeline(adapted, processor)(SERIES), expected, atol=1e-3)


def test_training_a_model_further_leaves_the_fitted_transformer_alone(saved: Any) -> None:
    model, processor, _ = saved(TimesCLIPForRegression, "small")
    model.train()
    embedder = TimesCLIPEmbedder(model, processor).fit(SERIES)
    before = embedder.transform(SERIES)
    assert model.training
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    np.testing.assert_array_equal(embedder.transform(SERIES), before)


def test_parameters_can_be_set_and_fitting_again_forgets() -> None:
    embedder = TimesCLIPEmbedder().set_params(**SMALL)
    with pytest.raises(NotFittedError):
        embedder.transform(SERIES)
    assert embedder.fit(frame()).transform(frame()).shape == (COUNT, 2 * 64)
    assert list(embedder.feature_names_in_) == list(frame().columns)
    embedder.set_params(patch_length=3, random_state=4).fit(SERIES[:, :9, :1])
    assert embedder.model_.config.patch_length == 3 and embedder.n_features_in_ == 9
    assert not hasattr(embedder, "feature_names_in_")
    assert list(embedder.get_feature_names_out())[:2] == ["embed_0000", "embed_0001"]


@pytest.mark.parametrize(("output", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_outputs_may_be_frames(output: str, kind: Any) -> None:
    embedder = TimesCLIPEmbedder(**SMALL).set_output(transform=output)
    found = embedder.fit_transform(SERIES)
    assert isinstance(found, kind) and list(found.columns) == [f"embed_{k:04d}" for k in range(128)]


def test_it_works_in_pipelines_and_beside_other_columns() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(size=90)
    series = level[:, None, None] + 0.3 * rng.normal(size=(90, STEPS, 2))
    predict = make_pipeline(TimesCLIPEmbedder(**SMALL), StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    scores = cross_val_score(predict, series, 3 * level + 1, cv=3)
    assert scores.min() > 0.5
    np.testing.assert_array_equal(cross_val_score(predict, series, 3 * level + 1, cv=3), scores)
    table = pd.DataFrame({f"{NAMES[v]}_{t:02d}": series[:, t, v] for v in range(2) for t in range(STEPS)})
    table["height"] = rng.normal(size=90)
    both = ColumnTransformer(
        [("series", TimesCLIPEmbedder(**SMALL), list(table.columns[:-1]))], remainder="passthrough"
    )
    assert both.fit_transform(table).shape == (90, 129)


def test_a_fill_value_counts_as_missing_for_levels_too() -> None:
    series = np.random.default_rng(0).normal(size=(12, 24, 1)) + 10 * np.arange(12.0)[:, None, None]
    marked, blank = series.copy(), series.copy()
    marked[3, 5], blank[3, 5] = 1e20, np.nan
    one, other = (TimesCLIPEmbedder("timesclip-small").fit(X) for X in (marked, blank))
    assert one.levels_ and other.levels_
    assert np.array_equal(one.transform(marked), other.transform(blank))
    even = np.random.default_rng(1).normal(size=(12, 24, 1))
    even[3, 5] = 1e20
    assert not TimesCLIPEmbedder("timesclip-small").fit(even).levels_
