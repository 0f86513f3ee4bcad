# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Parquet tables of any size are answered part by part as the pipeline answers them whole."""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import pipeline

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
)
from timesclip_hf.cli import main
from timesclip_hf.features.similar import SimilarSeries
from timesclip_hf.inference import table_parts
from timesclip_hf.inference.any_series import pipeline_for_table
from timesclip_hf.inference.pipelines import TimeSeriesPipeline
from timesclip_hf.inference.predictor import TimesCLIPPredictor
from timesclip_hf.inference.table_parts import answer_parquet
from timesclip_hf.inference.task_pipelines import PIPELINES
from timesclip_hf.model.tower_configs import checkpoint_folder

NAMES, STEPS, ROWS = ["nir", "red", "evi"], 12, 23
SERIES = np.random.default_rng(0).normal(size=(ROWS, STEPS, 3)).round(3)


def fields(named: str = "{name}_{step:02d}") -> pd.DataFrame:
    """A row per series; the series of rows 5 to 8 cannot be read, two in one way and two in another."""
    series = SERIES.copy()
    series[5:7, :, 1], series[7:9, 3, 0] = np.nan, np.inf
    steps = {named.format(name=n, step=s): series[:, s, v] for v, n in enumerate(NAMES) for s in range(STEPS)}
    own = {
        "field": [f"f{i}" for i in range(ROWS)],
        "soil": pd.Categorical(np.array(["clay", "loam"])[np.arange(ROWS) % 2]),
    }
    return pd.DataFrame({**own, **steps, "year": pd.array([2020, None] * 11 + [2021], dtype="Int64")})


@pytest.fixture
def make(tiny_config: Any) -> Any:
    """`make(model_class, preset)`: a pipeline of a tiny model, of batches of 2."""

    def build(model_class: Any = TimesCLIPForRegression, preset: str = "full", **config: Any) -> TimeSeriesPipeline:
        names: dict[str, Any] = {"variate_names": NAMES}
        if model_class is TimesCLIPForRegression:
            names["target_names"] = ["yield"]
        processor = TimesCLIPProcessor.from_config(tiny_config(preset), **names).fit(SERIES)
        model = model_class(processor.complete_config(tiny_config(preset, **config)))
        return PIPELINES[model_class.task.pipeline](model, processor, batch_size=2, device="cpu")

    return build


@pytest.fixture(autouse=True)
def parts_of_four_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_parts, "_CELLS", 4 * 39)


def whole(predict: TimeSeriesPipeline, table: pd.DataFrame, tmp_path: Path, **options: Any) -> pd.DataFrame:
    """The pipeline's own answer, as a file has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predict(table, **options).to_parquet(tmp_path / "whole.parquet", index=False)
    return pd.read_parquet(tmp_path / "whole.parquet")


@contextlib.contextmanager
def quietly() -> Any:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield told


@pytest.mark.parametrize(
    ("model_class", "preset", "config"),
    [
        (TimesCLIPForRegression, "full", {}),
        (TimesCLIPForClassification, "full", {"num_labels": 3}),
        (TimesCLIPForPrediction, "forecast", {"prediction_length": 3}),
    ],
)
def test_answers_in_parts_are_those_of_the_pipeline(
    make: Any, tmp_path: Path, model_class: Any, preset: str, config: Any
) -> None:
    predict = make(model_class, preset, **config)
    fields().to_parquet(tmp_path / "fields.parquet", row_group_size=5)
    with quietly() as told:
        rows = answer_parquet(predict, tmp_path / "fields.parquet", tmp_path / "p.parquet")
    result, expected = pd.read_parquet(tmp_path / "p.parquet"), whole(predict, fields(), tmp_path)
    pd.testing.assert_frame_equal(result, expected, atol=1e-6)
    assert rows == len(expected) and result.attrs == expected.attrs
    assert list(result.attrs["skipped"]) == ["5", "6", "7", "8"]  # rows 4 to 7 are a part, and none of them is whole
    left_out = [str(one.message) for one in told if "left out" in str(one.message)]
    assert len(left_out) == 1 and left_out[0].startswith("4 of 23 rows left out: 5, 6: no value of red")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fields.parquet", "p.parquet", "whole.parquet"]


def test_a_table_of_steps_alone_has_answers_alone(make: Any, tmp_path: Path) -> None:
    predict, table = make(), fields().filter(regex=r"_\d\d$")
    table.to_parquet(tmp_path / "fields.parquet")
    with quietly():
        assert answer_parquet(predict, tmp_path / "fields.parquet", tmp_path / "p.parquet") == ROWS
    expected = whole(predict, table, tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p.parquet"), expected, atol=1e-6)
    assert expected.columns.tolist() == ["predicted_yield"]
    with quietly():
        batch = TimesCLIPPredictor(predict)(pa.Table.from_pandas(table))
    assert batch.column_names == ["predicted_yield"] and len(batch) == ROWS


def test_own_columns_keep_their_types(make: Any, tmp_path: Path) -> None:
    fields().to_parquet(tmp_path / "fields.parquet")
    with quietly():
        answer_parquet(make(), tmp_path / "fields.parquet", tmp_path / "p.parquet")
    schema = pq.read_schema(tmp_path / "p.parquet")
    assert schema.names == ["field", "soil", "year", "predicted_yield"]
    assert schema.field("year").type == pa.int64() and pa.types.is_dictionary(schema.field("soil").type)


def test_a_folder_is_one_table_in_the_order_of_its_paths_or_a_folder_again(make: Any, tmp_path: Path) -> None:
    table, predict = fields(), make()
    for name, rows in (("year=2021/b", slice(9, 23)), ("year=2020/a", slice(0, 9)), ("year=2020/_SUCCESS", slice(0))):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        table[rows].drop(columns="year").to_parquet(tmp_path / "in" / f"{name}.parquet")
    table["year"] = np.array([2020] * 9 + [2021] * 14, np.int32)
    with quietly():
        answer_parquet(predict, tmp_path / "in", tmp_path / "p.parquet")
        answer_parquet(predict, tmp_path / "in", tmp_path / "out")
    expected = whole(predict, table, tmp_path)
    result = pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(result, expected, atol=1e-6, check_categorical=False)
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.parquet"))
    assert files == ["year=2020/a.parquet", "year=2021/b.parquet"]
    second = pd.read_parquet(tmp_path / "out" / files[1], partitioning=None)
    pd.testing.assert_series_equal(second["predicted_yield"], expected["predicted_yield"][9:].reset_index(drop=True))


def test_dates_in_names_and_parts_of_seasons_are_read_as_ever(make: Any, tmp_path: Path) -> None:
    predict = make()
    table = fields().rename(columns=lambda name: name.replace("_", "_2024-01-") if "_" in name else name)
    table = table.rename(columns=lambda name: f"{name[:-2]}{int(name[-2:]) + 1:02d}" if "2024" in name else name)
    table = table[[name for name in table.columns if name[-2:] not in ("11", "12")]]
    table.to_parquet(tmp_path / "dated.parquet")
    with quietly() as told:
        answer_parquet(predict, tmp_path / "dated.parquet", tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p.parquet"), whole(predict, table, tmp_path), atol=1e-6)
    assert sum("the table has 10 steps, the model reads 12" in str(one.message) for one in told) == 1


def test_a_run_that_was_killed_goes_on_and_another_one_begins_anew(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, answered = make(), []
    fields().to_parquet(tmp_path / "fields.parquet")
    answer = TimeSeriesPipeline.answer_part

    def watched(self: Any, part: pd.DataFrame, *arguments: Any, **options: Any) -> Any:
        if len(answered) == 3:
            answered.append("killed")
            raise KeyboardInterrupt
        answered.append(part["field"][0])
        return answer(self, part, *arguments, **options)

    monkeypatch.setattr(TimeSeriesPipeline, "answer_part", watched)
    files = tmp_path / "fields.parquet", tmp_path / "p.parquet"
    with pytest.raises(KeyboardInterrupt):
        answer_parquet(predict, *files)
    assert not files[1].exists() and answered == ["f0", "f4", "f8", "killed"]
    with quietly() as told:
        answer_parquet(predict, *files)
    assert answered[4:] == ["f12", "f16", "f20"]
    assert sum("4 of 23 rows left out" in str(one.message) for one in told) == 1
    expected = whole(predict, fields(), tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(files[1]), expected, atol=1e-6)

    answered.clear()
    with pytest.raises(KeyboardInterrupt):
        answer_parquet(predict, *files)
    predict.model.base_model.vision_projection[0].weight.data *= -1
    with quietly():
        answer_parquet(predict, *files)
    assert answered[4:] == ["f0", "f4", "f8", "f12", "f16", "f20"]
    assert (pd.read_parquet(files[1])["predicted_yield"] != expected["predicted_yield"]).sum() == 23  # NaN included


def test_processes_share_the_parts(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict, answered, ranks = make(), [], []
    files = tmp_path / "fields.parquet", tmp_path / "p.parquet"
    fields().to_parquet(files[0])
    answer = table_parts._answer_part

    @contextlib.contextmanager
    def meet() -> Any:
        yield
        if len(ranks) == 1:
            answer_parquet(predict, *files)

    @contextlib.contextmanager
    def two_processes(pipeline: Any) -> Any:
        """The second one does its share while the first one waits for it at the start."""
        ranks.append(len(ranks))
        yield ranks[-1], 2, meet

    monkeypatch.setattr(table_parts, "_processes", two_processes)
    monkeypatch.setattr(table_parts, "_answer_part", lambda *a: (answered.append(a[1].number), answer(*a)))
    with quietly():
        assert answer_parquet(predict, *files) == ROWS
    assert answered == [1, 3, 5, 0, 2, 4]
    # Batches that begin elsewhere round elsewhere.
    pd.testing.assert_frame_equal(pd.read_parquet(files[1]), whole(predict, fields(), tmp_path), atol=1e-6)


def test_what_one_process_refuses_all_raise_where_they_meet(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.parquet.parts").mkdir()
    (tmp_path / "p.parquet.parts" / "mine.txt").write_text("mine")  # which the first process refuses
    fields().to_parquet(tmp_path / "fields.parquet")
    told: list[str | None] = []

    def gather(faults: list[str | None]) -> list[str | None]:
        told.extend(faults)
        return told

    monkeypatch.setattr("accelerate.utils.gather_object", gather)
    for rank in (0, 1):
        processes = contextlib.nullcontext((rank, 2, table_parts._meeting))
        monkeypatch.setattr(table_parts, "_processes", lambda pipeline, found=processes: found)
        with pytest.raises(ValueError, match="p.parquet.parts: this folder is needed .* not ours"):
            answer_parquet(make(), tmp_path / "fields.parquet", tmp_path / "p.parquet")
    assert told[0] is not None and told[1:] == [None]


def test_parts_of_another_release_are_not_taken_over(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields().to_parquet(tmp_path / "f.parquet")
    predict, jobs = make(), []
    for version in ("0.2.0", "0.2.0", "0.3.0"):
        monkeypatch.setattr("timesclip_hf.__version__", version)
        jobs.append(table_parts._job(predict, table_parts.find_sources(tmp_path / "f.parquet"), 4, {}))
    assert jobs[0] == jobs[1] != jobs[2]


def test_towers_for_any_series_are_scaled_by_the_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_parts, "_CELLS", 256 * 39)
    table = pd.concat(
        [fields()] * 12, ignore_index=True
    )  # 276 rows: two parts of what goes through the towers at once
    table.loc[:, "nir_00":"nir_11"] *= 1 + np.arange(len(table))[:, None] / 100
    table.to_parquet(tmp_path / "fields.parquet")
    embed = pipeline("time-series-feature-extraction", model=checkpoint_folder("timesclip-small"), device="cpu")
    with quietly() as told:
        answer_parquet(embed, tmp_path / "fields.parquet", tmp_path / "p.parquet")
        expected = pipeline_for_table(embed, table)(table)
    result = pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(result, expected, atol=1e-5, check_dtype=False, check_categorical=False)
    assert sum("scaled as in this table" in str(one.message) for one in told) == 2  # once each


def test_a_table_of_which_no_row_can_be_read_is_an_error_and_one_without_values_is_not(
    make: Any, tmp_path: Path
) -> None:
    table = fields()
    table["nir_03"] = np.inf
    table.to_parquet(tmp_path / "fields.parquet")
    with pytest.raises(ValueError, match="no row can be read; row 0: column 'nir_03' holds inf"):
        answer_parquet(make(), tmp_path / "fields.parquet", tmp_path / "p.parquet")
    table.loc[:, "nir_00":"nir_11"] = np.nan
    table.to_parquet(tmp_path / "fields.parquet")
    with quietly():
        answer_parquet(make(), tmp_path / "fields.parquet", tmp_path / "p.parquet")
    assert pd.read_parquet(tmp_path / "p.parquet")["predicted_yield"].isna().all()


def test_faults_name_their_file(make: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=r"there are no files \*.parquet in this folder"):
        answer_parquet(make(), tmp_path / "in", tmp_path / "p.parquet")
    fields().to_parquet(tmp_path / "in" / "a.parquet")
    fields().assign(predicted_yield=1.0).to_parquet(tmp_path / "in" / "b.parquet")
    with pytest.raises(ValueError, match=r"b.parquet: the table already has columns \['predicted_yield'\]"):
        answer_parquet(make(), tmp_path / "in", tmp_path / "p.parquet")
    (tmp_path / "in" / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"b.parquet: no Parquet file, or a damaged one"):
        answer_parquet(make(), tmp_path / "in", tmp_path / "p.parquet")


def test_the_command_answers_parquet_in_parts_and_all_else_as_ever(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, parts = make(), []
    predict.save_pretrained(tmp_path / "model")
    answer = table_parts._answer_part
    monkeypatch.setattr(table_parts, "_answer_part", lambda *a: (parts.append(a[1].number), answer(*a)))
    fields().to_parquet(tmp_path / "fields.parquet")
    words = ["predict", str(tmp_path / "fields.parquet"), "--model", str(tmp_path / "model"), "--batch-size", "2"]
    with quietly():
        assert main([*words, "--output", str(tmp_path / "p.parquet")]) == 0
        assert "23 rows written" in capsys.readouterr().out and parts == [0, 1, 2, 3, 4, 5]
        assert main([*words, "--output", str(tmp_path / "p.csv")]) == 0
        assert len(parts) == 6
    as_csv = pd.read_csv(tmp_path / "p.csv")["predicted_yield"]
    assert np.allclose(pd.read_parquet(tmp_path / "p.parquet")["predicted_yield"], as_csv, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("model_class", "config", "options"),
    [
        (TimesCLIPForRegression, {}, {"similar": 2}),
        (TimesCLIPForClassification, {"num_labels": 3}, {"similar": True}),
        (TimesCLIPForClassification, {"num_labels": 3}, {"top_k": 2}),
    ],
)
def test_parts_and_files_without_one_answer_have_the_columns_of_the_others(
    make: Any, tmp_path: Path, model_class: Any, config: Any, options: Any
) -> None:
    predict, table = make(model_class, "small", **config), fields()
    predict.similar_series = SimilarSeries.fit(
        predict.model, predict.processor, [{"past_values": series} for series in SERIES[:4]]
    )
    table.loc[4:11, "nir_00"] = np.inf  # rows 4 to 7 are a part, as are 8 to 11
    (tmp_path / "in").mkdir()
    table.to_parquet(tmp_path / "in" / "a.parquet")
    table[:0].to_parquet(tmp_path / "in" / "b.parquet")  # as Spark leaves some
    with quietly():
        rows = answer_parquet(predict, tmp_path / "in", tmp_path / "p.parquet", **options)
        answer_parquet(predict, tmp_path / "in", tmp_path / "out", **options)
    expected = whole(predict, table, tmp_path, **options)
    for found in (tmp_path / "p.parquet", tmp_path / "out" / "a.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(found), expected, atol=1e-6)
    assert rows == ROWS
    empty = pq.read_schema(tmp_path / "out" / "b.parquet")
    assert empty.names == list(expected) and empty.types == pq.read_schema(tmp_path / "out" / "a.parquet").types


def test_an_output_within_its_table_and_a_folder_of_others_are_refused(make: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    fields().to_parquet(tmp_path / "in" / "a.parquet")
    with pytest.raises(ValueError, match="within .*in, of which it would be read as a part"):
        answer_parquet(make(), tmp_path / "in", tmp_path / "in" / "p.parquet")
    (tmp_path / "p.parquet.parts").mkdir()
    (tmp_path / "p.parquet.parts" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="p.parquet.parts: this folder is needed .* not ours"):
        answer_parquet(make(), tmp_path / "in", tmp_path / "p.parquet")
    assert (tmp_path / "p.parquet.parts" / "mine.txt").exists()


def test_parts_that_told_of_other_training_series_are_not_taken_over(make: Any, tmp_path: Path) -> None:
    fields().to_parquet(tmp_path / "f.parquet")
    predict = make()
    known = [
        SimilarSeries.fit(predict.model, predict.processor, [{"past_values": s} for s in SERIES[:4]], names=names)
        for names in (["a", "b", "c", "d"], ["e", "f", "g", "h"])
    ]
    jobs = []
    for predict.similar_series in known:
        jobs.append(table_parts._job(predict, table_parts.find_sources(tmp_path / "f.parquet"), 4, {"similar": 1}))
    assert jobs[0] != jobs[1]
