# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Towers that were pretrained for any series read series of any number of variates and steps; others do not."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from transformers import pipeline

from timesclip_hf import TimesCLIPEmbedder, TimesCLIPForPreTraining, TimesCLIPForRegression, TimesCLIPProcessor
from timesclip_hf.cli import main
from timesclip_hf.inference.any_series import brought_to, own_share, reads_any_series, shape_of

NAMES, STEPS, COUNT = ["flow", "level", "rain"], 20, 6
SERIES = np.random.default_rng(8).normal(size=(COUNT, STEPS, 3)) * [10, 0.5, 3] + [200, 4, 0]
TASK: Any = "time-series-feature-extraction"


@pytest.fixture
def save(tiny_config: Any, enlarge: Any, tmp_path: Path) -> Any:
    """`save(model_class, **config)`: the folder of a model of one variate of 12 steps, and its processor."""

    def make(model_class: Any = TimesCLIPForPreTraining, **config: Any) -> Path:
        torch.manual_seed(4)
        fields = {"num_variates": 1, "patch_tokenizer": "resampled", "variate_selection": None, **config}
        processor = TimesCLIPProcessor.from_config(tiny_config(**fields), line_width=2.5).fit(SERIES[..., :1])
        model = enlarge(model_class(processor.complete_config(tiny_config(**fields))))
        model.save_pretrained(tmp_path / "model")
        processor.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return make


def wide_table(series: np.ndarray = SERIES) -> pd.DataFrame:
    columns = {f"{NAMES[v]}_{t:02d}": series[:, t, v] for v in range(3) for t in range(STEPS)}
    return pd.DataFrame({"river": list("abcdef"), **columns})


def long_table() -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(one, columns=NAMES).assign(river=name, day=pd.date_range("2021-05-01", periods=STEPS))
        for one, name in zip(SERIES, "abcdef", strict=True)
    )


def test_each_variate_is_spoken_as_if_it_were_the_only_one_and_drawn_in_its_own_colour(save: Any) -> None:
    folder = save()
    embedder = TimesCLIPEmbedder(folder).fit(SERIES)
    config, processor = embedder.model_.config, embedder.processor_
    assert (config.num_variates, config.context_length, config.patch_length, config.patch_stride) == (3, 20, 3, 1)
    assert processor.line_width == 2.5  # as the model saw plots
    np.testing.assert_allclose(processor.statistics["variates"]["mean"], SERIES.mean(axis=(0, 1)))
    found = embedder.transform(SERIES)
    alone = [TimesCLIPEmbedder(folder).fit(SERIES[..., [v]]).transform(SERIES[..., [v]]) for v in range(3)]
    pairs, alone = found.reshape(COUNT, 3, 2, 32), np.stack(alone, axis=1).reshape(COUNT, 3, 2, 32)  # vision, text
    np.testing.assert_allclose(pairs[:, :, 1], alone[:, :, 1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pairs[:, 0], alone[:, 0], rtol=1e-3, atol=1e-4)
    assert np.abs(pairs[:, 1:, 0] - alone[:, 1:, 0]).max() > 0.01
    same_scale = TimesCLIPEmbedder(folder).fit(SERIES * 7 + 3)
    np.testing.assert_allclose(same_scale.transform(SERIES * 7 + 3), found, rtol=1e-3, atol=1e-3)


def test_its_weights_are_the_checkpoints(save: Any) -> None:
    folder = save()
    model = TimesCLIPForPreTraining.from_pretrained(folder)
    embedder = TimesCLIPEmbedder(folder, patch_length=4).fit(SERIES[:, :12, :1])
    batch = embedder.processor_(SERIES[:, :12, :1])
    assert batch["patch_values"].shape == (COUNT, 1, model.config.num_patches, 4)
    with torch.no_grad():
        out = model(**{name: batch[name] for name in ("patch_values", "patch_mask", "pixel_values")})
    expected = torch.cat([out.vision_features, out.text_features], dim=-1).flatten(1)
    np.testing.assert_allclose(embedder.transform(SERIES[:, :12, :1]), expected, rtol=1e-4, atol=1e-5)
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.transform(SERIES[:, :12, :1]), embedder.transform(SERIES[:, :12, :1]))
    assert clone(embedder).fit(SERIES[:, :5]).model_.config.num_variates == 3


def test_what_is_fitted_stays_for_later_series(save: Any) -> None:
    embedder = TimesCLIPEmbedder(save()).fit(wide_table().drop(columns="river"))
    later = wide_table(SERIES + 1).drop(columns="river")
    assert embedder.processor_.variate_names == NAMES
    assert np.abs(embedder.transform(later) - TimesCLIPEmbedder(embedder.model).fit_transform(later)).max() > 1e-3


@pytest.mark.parametrize(
    ("model_class", "config", "expected"),
    [
        (TimesCLIPForPreTraining, {}, True),
        (TimesCLIPForPreTraining, {"patch_tokenizer": "linear"}, False),
        (TimesCLIPForPreTraining, {"num_variates": 3}, False),
        (TimesCLIPForRegression, {"alignment": None}, False),
    ],
)
def test_which_models_read_any_series(tiny_config: Any, model_class: Any, config: Any, expected: bool) -> None:
    fields = {"num_variates": 1, "patch_tokenizer": "resampled", "variate_selection": None, **config}
    assert reads_any_series(model_class(tiny_config(**fields))) is expected


def test_a_model_with_a_task_keeps_the_scale_that_it_was_trained_on(save: Any) -> None:
    embedder = TimesCLIPEmbedder(save(TimesCLIPForRegression, alignment=None)).fit(SERIES[..., 1:2])
    np.testing.assert_allclose(embedder.processor_.statistics["variates"]["mean"], SERIES[..., :1].mean())
    with pytest.raises(ValueError, match="3 variates, expected 1"):
        TimesCLIPEmbedder(embedder.model).fit(SERIES)


@pytest.mark.parametrize("form", ["wide", "long", "values"])
def test_the_command_brings_it_to_the_table_and_says_so(save: Any, tmp_path: Path, capsys: Any, form: str) -> None:
    folder, words = save(), []
    expected = TimesCLIPEmbedder(folder).fit_transform(SERIES)
    table, roles = wide_table(), ["--timestamp-column", "day", "--series-column", "river"]
    if form != "wide":
        table, words = long_table(), roles
    if form == "values":
        table = table.melt(["river", "day"], NAMES, "what", "reading")
        words = [*roles, "--variate-column", "what", "--value-column", "reading"]
    table.to_csv(tmp_path / "rivers.csv", index=False)
    output = tmp_path / "embeds.parquet"
    capsys.readouterr()
    arguments = ["embed", str(tmp_path / "rivers.csv"), "--model", str(folder), "--output", str(output), *words]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "values were scaled as in this table" in said
    found = pd.read_parquet(output)
    assert found["river"].tolist() == list("abcdef")
    np.testing.assert_allclose(found.filter(like="embed_"), expected, rtol=1e-3, atol=1e-4)


def test_bad_rows_cost_nothing_but_themselves(save: Any, tmp_path: Path, capsys: Any) -> None:
    folder, table = save(), wide_table().astype({"rain_03": object})
    table.loc[2, "rain_03"] = "wet"
    table.loc[4, [f"flow_{t:02d}" for t in range(STEPS)]] = np.nan
    table.to_csv(tmp_path / "rivers.csv", index=False)
    words = ["--model", str(folder), "--output", str(tmp_path / "embeds.csv")]
    capsys.readouterr()
    assert main(["embed", str(tmp_path / "rivers.csv"), *words]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 2 and "2 of 6 rows left out" in said and "'wet'" in said
    found = pd.read_csv(tmp_path / "embeds.csv")
    assert found["embed_0000"].isna().tolist() == [False, False, True, False, True, False]
    kept = [0, 1, 3, 5]
    expected = TimesCLIPEmbedder(folder).fit_transform(SERIES[kept])
    np.testing.assert_allclose(found.filter(like="embed_").iloc[kept], expected, rtol=1e-3, atol=1e-4)
    table.assign(**{f"rain_{t:02d}": np.nan for t in range(STEPS)}).to_csv(tmp_path / "rivers.csv", index=False)
    assert main(["embed", str(tmp_path / "rivers.csv"), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_pipeline_reads_one_variate_by_the_models_own_scale(save: Any) -> None:
    folder = save()
    embed = pipeline(TASK, model=str(folder))
    assert embed(SERIES[:, :12, :1])[0].shape == (64,)
    with pytest.raises(ValueError, match="3 variates"):
        embed(SERIES)


def test_what_ships_is_found_by_its_name(save: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    folder = save()
    expected = TimesCLIPEmbedder(folder).fit_transform(SERIES)
    monkeypatch.setattr("timesclip_hf.model.tower_configs.WEIGHTS", tmp_path)
    folder.rename(tmp_path / "timesclip-small")
    np.testing.assert_array_equal(TimesCLIPEmbedder("timesclip-small").fit_transform(SERIES), expected)
    wide_table().to_csv(tmp_path / "rivers.csv", index=False)
    words = ["--model", "timesclip-small", "--output", str(tmp_path / "embeds.csv")]
    assert main(["embed", str(tmp_path / "rivers.csv"), *words]) == 0, capsys.readouterr().err
    found = pd.read_csv(tmp_path / "embeds.csv").filter(like="embed_")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("steps", "length"), [(1, 1), (5, 1), (12, 2), (20, 3), (24, 4), (36, 4), (60, 5), (96, 8), (700, 58)]
)
def test_patches_are_a_twelfth_of_long_series_and_four_steps_or_a_sixth_of_short_ones(steps: int, length: int) -> None:
    assert shape_of(np.zeros((2, steps, 1)))["patch_length"] == length
    assert shape_of(np.zeros((2, steps, 1)), 1)["patch_length"] == 1


def apart(distance: float, seed: int = 0) -> np.ndarray:
    """Series whose levels are so many of their spreads apart."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(COUNT, STEPS, 2)) + distance * np.arange(COUNT)[:, None, None]


def test_the_own_share_is_the_spread_of_a_usual_series_over_that_of_all() -> None:
    series = apart(4) * [1, 1000]
    series[2, 3:9, 1] = np.nan
    series[1, :, 0] = np.nan
    own, whole = np.nanstd(series, axis=1), np.nanstd(series.reshape(-1, 2), axis=0)
    expected = np.median([np.nanmedian(own[:, v] / whole[v]) for v in range(2)])
    plain = TimesCLIPProcessor(context_length=STEPS, patch_length=4, patch_stride=2)
    assert own_share(series, plain) == pytest.approx(expected)
    assert own_share([{"past_values": one} for one in series], plain) == pytest.approx(expected)
    assert own_share(np.ones((3, 5, 2)), plain) == 1.0
    assert own_share(np.concatenate([series, np.ones_like(series)], axis=2), plain) == pytest.approx(expected)


def test_far_apart_series_are_read_by_themselves_with_level_and_spread_beside(save: Any) -> None:
    folder, series = save(), apart(10)
    embedder = TimesCLIPEmbedder(folder).fit(series)
    assert embedder.levels_ and not TimesCLIPEmbedder(folder).fit(SERIES).levels_
    found, later = embedder.transform(series), apart(10, seed=5) * 2 - 7
    shapes = TimesCLIPEmbedder(folder, scaling="instance").fit(series)
    np.testing.assert_array_equal(found[:, :-4], shapes.transform(series))
    mean, spread = series.mean(axis=(0, 1)), series.std(axis=(0, 1))
    levels = [(later.mean(axis=1) - mean) / spread, np.log(later.std(axis=1) / spread)]
    np.testing.assert_allclose(embedder.transform(later)[:, -4:], np.concatenate(levels, axis=1), rtol=1e-4)
    assert len(embedder.get_feature_names_out()) == found.shape[1] == shapes.transform(series).shape[1] + 4
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.transform(series), found)
    names = [f"{name}_{t:02d}" for name in ("a", "b") for t in range(STEPS)]
    table = pd.DataFrame(series.transpose(0, 2, 1).reshape(COUNT, -1), columns=names)
    turned = table[sorted(names, key=lambda name: (name[0], -int(name[2:])))]
    np.testing.assert_allclose(TimesCLIPEmbedder(folder).fit_transform(turned)[:, -4:], found[:, -4:], rtol=1e-5)


def test_another_scaling_than_that_of_the_rule_may_be_asked_for(save: Any) -> None:
    folder = save()
    at_one_scale = TimesCLIPEmbedder(folder, scaling="dataset").fit(apart(10))
    assert at_one_scale.processor_.scaling == at_one_scale.processor_.value_range == "dataset"
    assert not at_one_scale.levels_ and TimesCLIPEmbedder(folder, scaling="levels").fit(SERIES).levels_
    assert TimesCLIPEmbedder(folder, scaling="levels").fit(SERIES).processor_.value_range == "window"
    constant = TimesCLIPEmbedder(folder, scaling="levels").fit(SERIES).transform(np.full_like(SERIES, 4.0))
    assert np.isfinite(constant).all()
    with pytest.raises(ValueError, match="scaling='level': unknown, choose one of dataset, instance, levels, none"):
        TimesCLIPEmbedder(folder, scaling="level").fit(SERIES)
    task = save(TimesCLIPForRegression, alignment=None)
    with pytest.raises(ValueError, match="scaling='levels', but values are scaled as the processor has it: 'dataset'"):
        TimesCLIPEmbedder(task, scaling="levels").fit(SERIES[..., :1])


def test_flat_plots_are_told_of_where_the_scale_is_that_of_all(save: Any, tmp_path: Path, capsys: Any) -> None:
    folder, series = save(), apart(10)
    model, processor = TimesCLIPForPreTraining.from_pretrained(folder), TimesCLIPProcessor.from_pretrained(folder)
    with pytest.warns(UserWarning, match="plots and patches are nearly flat"):
        brought_to(model, processor, series)
    columns = {f"a_{t:02d}": series[:, t, 0] for t in range(STEPS)}
    pd.DataFrame(columns).to_parquet(tmp_path / "far.parquet")
    words = ["--model", str(folder), "--output", str(tmp_path / "embeds.parquet")]
    capsys.readouterr()
    assert main(["embed", str(tmp_path / "far.parquet"), *words]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "nearly flat" in said[1] and "TimesCLIPEmbedder(scaling='levels')" in said[1]
