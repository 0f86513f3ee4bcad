# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Embeds of series: what the towers say, from any model, at every door."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertModel, pipeline

from timesclip_hf import (
    TimesCLIPEmbedder,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
    lora_config,
    pipeline_task,
)
from timesclip_hf.cli import main
from timesclip_hf.training.ensemble import join_models

TASK: Any = "time-series-feature-extraction"
NAMES, STEPS, COUNT, WIDTH = ["so2", "pm10", "ozone"], 12, 5, 32
SERIES = np.random.default_rng(3).normal(size=(COUNT, STEPS, 3)).round(3) * [1, 20, 5] + [0, 40, 9]
MODELS: Any = [
    (TimesCLIPModel, "full", {}),
    (TimesCLIPForPreTraining, "full", {}),
    (TimesCLIPForRegression, "late", {}),
    (TimesCLIPForRegression, "probe", {"text_pooling": "cls_mean"}),
    (TimesCLIPForClassification, "vision_only", {"vision_pooling": "cls_mean", "num_labels": 4}),
    (TimesCLIPForPrediction, "paper", {"prediction_length": 4}),
    (TimesCLIPForPrediction, "forecast", {"prediction_length": 4}),
]


@pytest.fixture
def build(tiny_config: Any, enlarge: Any) -> Any:
    def make(model_class: Any, preset: str = "full", **config: Any) -> tuple[Any, TimesCLIPProcessor]:
        torch.manual_seed(1)
        processor = TimesCLIPProcessor.from_config(tiny_config(preset), variate_names=NAMES).fit(SERIES)
        return enlarge(model_class(processor.complete_config(tiny_config(preset, **config)))), processor

    return make


def wide_table(series: np.ndarray = SERIES, first: int = 0) -> pd.DataFrame:
    columns = {f"{NAMES[v]}_{first + t:02d}": series[:, t, v] for v in (1, 2, 0) for t in range(series.shape[1])}
    return pd.DataFrame({"station": list("abcde")[: len(series)], **columns, "height": np.arange(len(series)) / 2})


def pooled(states: torch.Tensor, pooling: str) -> torch.Tensor:
    """`(n, 1 + tokens, width)`: CLS first, and nothing masked."""
    parts = {"cls": [states[:, 0]], "mean": [states[:, 1:].mean(1)]}
    return torch.cat(parts.get(pooling, [*parts["cls"], *parts["mean"]]), dim=-1)


@pytest.mark.parametrize(("model_class", "preset", "config"), MODELS)
def test_an_embed_is_what_the_towers_say_vision_before_text_variate_after_variate(
    build: Any, model_class: Any, preset: str, config: Any
) -> None:
    model, processor = build(model_class, preset, **config)
    embeds = pipeline(TASK, model=model, processor=processor)(SERIES)
    with torch.no_grad():
        body, batch, expected = model.base_model, processor(SERIES), []
        if body.vision_tower is not None:
            states = body.vision_tower(batch["pixel_values"].flatten(0, 1))
            pooling = model.config.vision_pooling
            last = body.vision_tower.post_layernorm(states.last_hidden_state)
            read = states.pooler_output if pooling == "pooler" else pooled(last, pooling)
            expected.append(read.unflatten(0, (COUNT, 3)))
        if body.text_tower is not None:
            tokens = body.read_patches(batch["patch_values"], batch["patch_mask"])["text_tokens"]
            expected.append(pooled(tokens.flatten(0, 1), model.config.text_pooling).unflatten(0, (COUNT, 3)))
    expected = torch.cat(expected, dim=-1).numpy()  # (n, V, width)
    assert all(one.dtype == np.float32 and one.ndim == 1 for one in embeds)
    np.testing.assert_allclose(embeds, expected.reshape(COUNT, -1), rtol=1e-4, atol=1e-5)
    assert np.std(embeds, axis=0).min() > 0
    pairs = pipeline(TASK, model=model, processor=processor, per_variate=True)(SERIES)
    np.testing.assert_array_equal(pairs, np.reshape(embeds, (COUNT, 3, -1)))


def test_heads_selections_and_alignments_do_not_count(build: Any) -> None:
    model, processor = build(TimesCLIPForRegression, "full")
    embed = pipeline(TASK, model=model, processor=processor)
    before = embed(SERIES)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "tower" not in name and "tokenizer" not in name:
                parameter.fill_(7.0)
    np.testing.assert_array_equal(embed(SERIES), before)


@pytest.mark.parametrize("model_class", [TimesCLIPForRegression, TimesCLIPForPreTraining, TimesCLIPModel])
def test_every_door_gives_the_same_embeds(build: Any, tmp_path: Path, model_class: Any) -> None:
    model, processor = build(model_class)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    embed = pipeline(TASK, model=str(tmp_path))
    assert type(embed.model) is model_class
    expected = np.array(embed(SERIES))
    assert expected.shape == (COUNT, 3 * 2 * WIDTH)
    long = pd.concat(
        pd.DataFrame(one, columns=NAMES).assign(station=name, day=pd.date_range("2023-03-01", periods=STEPS))
        for one, name in zip(SERIES, "abcde", strict=True)
    )
    np.testing.assert_allclose(embed(SERIES[2]), expected[2], atol=1e-5)
    for many in (
        SERIES.tolist(),
        torch.from_numpy(SERIES),
        [{"past_values": one} for one in SERIES],
        Dataset.from_dict({"past_values": SERIES.tolist()}),
        (one for one in SERIES),
    ):
        np.testing.assert_allclose(list(embed(many, batch_size=2)), expected, atol=1e-5)
    columns = [f"embed_{k:04d}" for k in range(expected.shape[1])]
    for table in (wide_table(), pl.from_pandas(wide_table())):
        found = embed(table)
        assert list(found.columns) == ["station", "height", *columns] and found["embed_0000"].dtype == np.float32
        np.testing.assert_allclose(found[columns], expected, atol=1e-5)
    found = embed(long, timestamp_column="day", series_column="station")
    assert found["station"].tolist() == list("abcde")
    np.testing.assert_allclose(found[columns], expected, atol=1e-5)


def test_of_a_table_variates_have_rows_of_their_own_on_request(build: Any) -> None:
    embed = pipeline(TASK, **dict(zip(("model", "processor"), build(TimesCLIPForRegression, "small"), strict=True)))
    table = wide_table()
    table.loc[3, [f"pm10_{t:02d}" for t in range(STEPS)]] = np.nan
    with pytest.warns(UserWarning, match="1 of 5 rows left out: 3: no value of pm10"):
        found = embed(table, per_variate=True)
    assert list(found.columns) == ["station", "height", "variate", *(f"embed_{k:04d}" for k in range(WIDTH))]
    assert found["station"].tolist() == [name for name in "abce" for _ in range(3)]
    assert found["variate"].tolist() == NAMES * 4
    expected = embed(SERIES[[0, 1, 2, 4]], per_variate=True)
    np.testing.assert_allclose(found.filter(like="embed_"), np.reshape(expected, (12, -1)), atol=1e-5)


def test_a_series_that_cannot_be_read_does_not_cost_the_others(build: Any) -> None:
    embed = pipeline(TASK, **dict(zip(("model", "processor"), build(TimesCLIPModel, "small"), strict=True)))
    expected, spoilt = embed(SERIES), SERIES.copy()
    spoilt[1, :, 2] = np.nan
    with pytest.warns(UserWarning, match="1 of 5 inputs left out"):
        found = embed(spoilt)
    assert "no" in found[1]["skipped"]
    np.testing.assert_allclose([found[k] for k in (0, 2, 3, 4)], [expected[k] for k in (0, 2, 3, 4)], atol=1e-5)
    with pytest.warns(UserWarning, match="left out"):
        table = embed(wide_table(spoilt))
    assert table["embed_0000"].isna().tolist() == [False, True, False, False, False]
    assert list(table.attrs["skipped"]) == ["1"] and len(table) == COUNT
    with pytest.warns(UserWarning, match="left out"):
        nothing = embed(wide_table(np.full_like(SERIES, np.nan)))
    assert nothing.filter(like="embed_").shape == (COUNT, 3 * WIDTH) and nothing["embed_0095"].isna().all()


def test_forecasters_read_the_newest_steps_of_a_table_and_others_a_season(tiny_config: Any) -> None:
    longer = np.random.default_rng(5).normal(size=(COUNT, STEPS + 4, 3))
    for model_class, kept in ((TimesCLIPForPrediction, np.s_[:, 4:]), (TimesCLIPForRegression, np.s_[:, :STEPS])):
        config = tiny_config("small")
        processor = TimesCLIPProcessor.from_config(config, variate_names=NAMES, scaling="instance")
        processor.padding_side = processor.truncation_side = "left"
        processor.first_step, processor.last_step = 0, STEPS - 1
        model = model_class(processor.fit(longer).complete_config(config)).eval()
        embed = pipeline(TASK, model=model, processor=processor)
        np.testing.assert_allclose(
            embed(wide_table(longer)).filter(like="embed_"), embed(longer[kept]), rtol=1e-4, atol=1e-5
        )


def test_static_values_are_neither_needed_nor_read(tiny_config: Any) -> None:
    config = tiny_config("small")
    soils = [{"soil": soil} for soil in ("clay", "sand", "clay", "silt", "clay")]
    processor = TimesCLIPProcessor.from_config(config, variate_names=NAMES).fit(SERIES, static_values=soils)
    model = TimesCLIPForRegression(processor.complete_config(config)).eval()
    embed = pipeline(TASK, model=model, processor=processor)
    samples = [{"past_values": one, "static_values": {"soil": "peat"}} for one in SERIES]
    np.testing.assert_allclose(embed(samples), embed(SERIES), atol=1e-6)
    assert list(embed(wide_table().assign(soil="peat")).columns[:3]) == ["station", "height", "soil"]


def test_adapters_are_at_work(build: Any) -> None:
    peft = pytest.importorskip("peft")
    model, processor = build(TimesCLIPForRegression)
    plain = pipeline(TASK, model=model, processor=processor)(SERIES)
    adapted = peft.get_peft_model(model, lora_config(model, r=2, init_lora_weights=False)).eval()
    found = np.array(pipeline(TASK, model=adapted, processor=processor)(SERIES))
    assert np.abs(found - plain).max() > 1e-3
    merged = pipeline(TASK, model=adapted.merge_and_unload(), processor=processor)(SERIES)
    np.testing.assert_allclose(found, merged, rtol=1e-3, atol=1e-4)


def test_of_an_ensemble_the_first_model_speaks(build: Any) -> None:
    (first, processor), (second, _) = build(TimesCLIPForRegression), build(TimesCLIPForRegression)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    joined = join_models([first, second])
    expected = pipeline(TASK, model=first, processor=processor)(SERIES)
    np.testing.assert_allclose(pipeline(TASK, model=joined, processor=processor)(SERIES), expected, atol=1e-6)
    np.testing.assert_allclose(TimesCLIPEmbedder(joined, processor).fit_transform(SERIES), expected, atol=1e-6)


def test_other_kinds_of_models_are_refused(tmp_path: Path, build: Any) -> None:
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=9, **size)).save_pretrained(tmp_path)
    build(TimesCLIPModel)[1].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="needs a TimesCLIPModel, but this model is a BertModel"):
        pipeline(TASK, model=str(tmp_path))
    model, processor = build(TimesCLIPModel)
    with pytest.raises(TypeError, match="takes no 'top_k'"):
        pipeline(TASK, model=model, processor=processor)(SERIES, top_k=3)


def test_the_body_alone_is_for_embeds_and_pre_trained_models_say_what_they_can_do(build: Any, tmp_path: Path) -> None:
    for model_class, folder in ((TimesCLIPModel, "body"), (TimesCLIPForPreTraining, "pretrained")):
        model, _ = build(model_class)
        model.save_pretrained(tmp_path / folder)
    assert pipeline_task(tmp_path / "body") == TASK
    with pytest.raises(
        ValueError, match="no pipeline is made for, but .* pipeline\\('time-series-feature-extraction'"
    ):
        pipeline_task(tmp_path / "pretrained")


# --- the command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_class", [TimesCLIPForRegression, TimesCLIPForPreTraining])
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_the_command_writes_embeds_beside_the_tables_own_columns(
    build: Any, tmp_path: Path, capsys: Any, model_class: Any, ending: str
) -> None:
    model, processor = build(model_class)
    pipeline(TASK, model=model, processor=processor).save_pretrained(tmp_path / "model")
    wide_table().to_csv(tmp_path / "air.csv", index=False)
    words = ["embed", str(tmp_path / "air.csv"), "--model", str(tmp_path / "model"), "--output"]
    capsys.readouterr()
    assert main([*words, str(tmp_path / f"embeds{ending}"), "--batch-size", "2"]) == 0
    said = capsys.readouterr()
    assert said.out == f"5 rows written to {tmp_path / f'embeds{ending}'}\n" and said.err == ""
    read = pd.read_parquet if ending == ".parquet" else pd.read_csv
    found = read(tmp_path / f"embeds{ending}")
    expected = pipeline(TASK, model=model, processor=processor)(SERIES)
    assert found["station"].tolist() == list("abcde") and found["height"].tolist() == [0, 0.5, 1, 1.5, 2]
    np.testing.assert_allclose(found.drop(columns=["station", "height"]), expected, rtol=1e-4, atol=1e-5)


def test_the_command_names_what_it_left_out_and_what_is_wrong(build: Any, tmp_path: Path, capsys: Any) -> None:
    model, processor = build(TimesCLIPForRegression, "small")
    pipeline(TASK, model=model, processor=processor).save_pretrained(tmp_path / "model")
    table = wide_table()
    table.loc[2, [f"ozone_{t:02d}" for t in range(STEPS)]] = np.nan
    table.to_csv(tmp_path / "air.csv", index=False)
    words = ["embed", str(tmp_path / "air.csv"), "--model"]
    capsys.readouterr()
    assert main([*words, str(tmp_path / "model"), "--output", str(tmp_path / "e.csv")]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "timesclip embed: warning: 1 of 5 rows left out: 4: no value of ozone" in said
    assert pd.read_csv(tmp_path / "e.csv")["embed_0003"].isna().tolist() == [False, False, True, False, False]
    for options, message in (
        ([str(tmp_path / "model"), "--output", str(tmp_path / "e.txt")], "must end in .csv, .xlsx or .parquet"),
        ([str(tmp_path)], "this folder holds no model"),
        (["runs/nothing"], "no such folder, nor a model on the Hub"),
        ([str(tmp_path / "model"), "--series-column", "station"], "--series-column: only for tables with one row per"),
    ):
        assert main([*words, *options]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.startswith("timesclip embed: error: ") and message in said
    assert main(words[:2]) == 0, "the towers that ship take the place of a model"
    assert "embed_0000" in capsys.readouterr().out


def test_what_a_pre_trained_model_sees_can_be_drawn(build: Any, tmp_path: Path, capsys: Any) -> None:
    model, processor = build(TimesCLIPForPreTraining)
    pipeline(TASK, model=model, processor=processor).save_pretrained(tmp_path / "model")
    wide_table().to_csv(tmp_path / "air.csv", index=False)
    words = [str(tmp_path / "air.csv"), "--model", str(tmp_path / "model")]
    assert main(["render", *words, "--output", str(tmp_path / "seen.png")]) == 0
    capsys.readouterr()
    assert main(["predict", *words]) == 2
    assert "no pipeline is made for, but for what its towers say" in capsys.readouterr().err
