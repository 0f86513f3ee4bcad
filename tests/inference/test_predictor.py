# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Batches that an engine hands out are answered as the pipeline answers the whole table."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPPredictor,
    TimesCLIPProcessor,
)
from timesclip_hf.inference.pipelines import TimeSeriesPipeline
from timesclip_hf.inference.task_pipelines import PIPELINES, TimeSeriesFeatureExtractionPipeline

NAMES, STEPS, ROWS = ["nir", "red"], 12, 9
SERIES = np.random.default_rng(0).normal(size=(ROWS, STEPS, 2)).round(3)
SERIES[4:6, :, 1] = np.nan  # these two cannot be answered


def fields() -> pd.DataFrame:
    steps = {f"{name}_{step:02d}": SERIES[:, step, v] for v, name in enumerate(NAMES) for step in range(STEPS)}
    return pd.DataFrame({"field": [f"f{i}" for i in range(ROWS)], **steps, "year": np.arange(2000, 2000 + ROWS)})


@pytest.fixture
def make(tiny_config: Any) -> Any:
    def build(model_class: Any = TimesCLIPForRegression, preset: str = "full", **config: Any) -> TimeSeriesPipeline:
        processor = TimesCLIPProcessor.from_config(tiny_config(preset, num_variates=2), variate_names=NAMES).fit(
            SERIES[:4]
        )
        model = model_class(processor.complete_config(tiny_config(preset, num_variates=2, **config)))
        kind: Any = PIPELINES.get(str(model_class.task.pipeline), TimeSeriesFeatureExtractionPipeline)
        return kind(model, processor, device="cpu")

    return build


def expected_of(predict: TimeSeriesPipeline) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return predict(fields())


@pytest.mark.parametrize(
    ("model_class", "preset", "config"),
    [
        (TimesCLIPForRegression, "full", {}),
        (TimesCLIPForClassification, "full", {"num_labels": 3}),
        (TimesCLIPForPrediction, "forecast", {"prediction_length": 3}),
        (TimesCLIPModel, "full", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*have no answer")
def test_batches_of_frames_and_of_arrays_are_answered_as_the_pipeline_answers_the_table(
    make: Any, model_class: Any, preset: str, config: Any
) -> None:
    predict = make(model_class, preset, **config)
    predictor, expected = TimesCLIPPredictor(predict), expected_of(predict)
    batches = [fields()[first : first + 4] for first in (0, 4, 8)]
    as_frames = pd.concat([predictor(batch) for batch in batches], ignore_index=True)
    pd.testing.assert_frame_equal(as_frames, expected, atol=1e-5)
    as_arrays = [predictor({str(name): batch[name].to_numpy() for name in batch}) for batch in batches]
    joined = {name: np.concatenate([one[name] for one in as_arrays]) for name in as_arrays[0]}
    pd.testing.assert_frame_equal(pd.DataFrame(joined), expected, atol=1e-5, check_dtype=False)
    as_arrow = pa.concat_tables([predictor(pa.Table.from_pandas(b)) for b in batches], promote_options="permissive")
    assert as_arrow.column_names == list(expected.columns) and len(as_arrow) == len(expected)


@pytest.mark.filterwarnings("ignore:.*have no answer")
def test_series_in_arrays_need_no_names(make: Any) -> None:
    predict = make()
    answers = TimesCLIPPredictor(predict)({"past_values": SERIES, "field": fields()["field"].to_numpy()})
    assert list(answers) == ["field", "prediction"]
    assert np.allclose(answers["prediction"], expected_of(predict)["prediction"], atol=1e-5, equal_nan=True)


def test_reasons_stand_in_a_column_or_are_told_once(make: Any) -> None:
    predictor = TimesCLIPPredictor(make(), skipped_column="why")
    answers = predictor(fields()[3:6])
    assert answers["why"].tolist()[:1] == [None] and "no value of red" in answers["why"][2]
    assert answers["prediction"].isna().tolist() == [False, True, True]
    predictor = TimesCLIPPredictor(make())
    with pytest.warns(UserWarning, match="2 rows of a batch have no answer; row 0: no value of red"):
        assert predictor(fields()[4:6])["prediction"].isna().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor(fields()[4:6])


def test_what_a_batch_cannot_tell_is_refused(make: Any) -> None:
    rows = pd.DataFrame({"field": ["a"] * 12, "nir": SERIES[0, :, 0], "red": SERIES[0, :, 1]})
    with pytest.raises(ValueError, match="no row per series"):
        TimesCLIPPredictor(make())(rows)
    with pytest.raises(ValueError, match="these towers read any series"):
        TimesCLIPPredictor("timesclip-small", embed=True)
    with pytest.raises(ValueError, match=r"the batch already has columns \['prediction'\]"):
        TimesCLIPPredictor(make())(fields().assign(prediction=0.0))


def test_ray_maps_it_over_a_data_set(make: Any, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    predict = make()
    predict.save_pretrained(tmp_path / "model")
    fields().to_parquet(tmp_path / "fields.parquet")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")  # one reads, one answers
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        answers = ray.data.read_parquet(str(tmp_path / "fields.parquet")).map_batches(
            TimesCLIPPredictor,
            fn_constructor_kwargs={"model": str(tmp_path / "model"), "device": "cpu"},
            batch_format="pandas",
            batch_size=4,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        found = answers.to_pandas().sort_values("field", ignore_index=True)
    finally:
        ray.shutdown()
    expected = expected_of(predict)
    found = found.astype(expected.dtypes)  # ray has missing numbers in one of two ways
    pd.testing.assert_frame_equal(found, expected, atol=1e-5)


def test_a_batch_without_rows_has_the_columns_of_the_others(make: Any) -> None:
    predict = TimesCLIPPredictor(make(TimesCLIPForClassification, num_labels=3), skipped_column="why")
    full, empty = predict(fields()[:3]), predict(fields()[:0])
    assert not len(empty) and list(empty) == list(full)
    pd.testing.assert_series_equal(empty.dtypes, full.dtypes)
