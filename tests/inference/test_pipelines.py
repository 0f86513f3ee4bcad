# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Pipelines: any form of input, the same result; tables keep their columns; wrong inputs are told in words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    load_long_table,
    load_series_rows,
    lora_config,
    pipeline_task,
    split_windows,
)
from timesclip_hf.inference.task_pipelines import PIPELINES

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
NAMES = ["nir", "red", "evi"]
STEPS, COUNT = 12, 9
RNG = np.random.default_rng(0)
SERIES = (RNG.normal(size=(COUNT, STEPS, 3)) * [1, 10, 100]).astype(np.float32)
STATIC = [{"soil": ["clay", "sand"][i % 2], "latitude": 40.0 + i} for i in range(COUNT)]


def wide_table() -> pd.DataFrame:
    """The series above, a row each; variates in another order than the model's, and columns that are nobody's."""
    table = {"field": [f"f{i}" for i in range(COUNT)]}
    for v in (2, 0, 1):
        table |= {f"{NAMES[v]}_{step:02d}": SERIES[:, step, v] for step in range(STEPS)}
    return pd.DataFrame({**table, **pd.DataFrame(STATIC), "year": 2020 + np.arange(COUNT)})


def long_table() -> pd.DataFrame:
    """The same, a row for each day."""
    parts = [
        pd.DataFrame(SERIES[i], columns=NAMES)[["evi", "red", "nir"]].assign(
            field=100 + i, day=pd.date_range("2024-02-25", periods=STEPS), **STATIC[i]
        )
        for i in range(COUNT)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def build(tiny_config: Any, enlarge: Any) -> Any:
    """`build(model_class, preset="full", static=False, ..., **config)`: model and processor."""

    def make(
        model_class: Any,
        preset: str = "full",
        static: bool = False,
        scaling: str = "dataset",
        target_names: list[str] | None = None,
        **config: Any,
    ) -> tuple[Any, TimesCLIPProcessor]:
        torch.manual_seed(0)
        named = {"variate_names": NAMES, "target_names": target_names}
        processor = TimesCLIPProcessor.from_config(tiny_config(preset), scaling=scaling, **named)
        processor.fit(SERIES, static_values=STATIC if static else None)
        filled = processor.complete_config(tiny_config(preset, **config))
        return enlarge(model_class(filled)), processor

    return make


@pytest.fixture
def regression(build: Any) -> Any:
    """A pipeline of two named targets that reads static columns, too."""
    model, processor = build(
        TimesCLIPForRegression,
        static=True,
        num_targets=2,
        target_names=["yield", "protein"],
        target_mean=[5.0, 12.0],
        target_std=[2.0, 1.0],
    )
    return pipeline("time-series-regression", model=model, processor=processor)


@pytest.fixture
def forecast(build: Any) -> Any:
    model, processor = build(TimesCLIPForPrediction, "forecast", scaling="instance", prediction_length=4)
    return pipeline("time-series-forecasting", model=model, processor=processor)


def samples() -> list[dict[str, Any]]:
    return [{"past_values": series, "static_values": static} for series, static in zip(SERIES, STATIC, strict=True)]


def as_array(results: list[dict[str, float]]) -> np.ndarray:
    return np.array([list(result.values()) for result in results])


# --- regression -------------------------------------------------------------------------------------------------


def test_predictions_are_the_models_own_in_original_units_under_the_targets_names(regression: Any) -> None:
    with torch.no_grad():
        batch = regression.processor(SERIES, static_values=STATIC)
        expected = regression.model(**batch).predictions.numpy()
    results = regression(samples())
    assert all(list(result) == ["yield", "protein"] for result in results)
    assert all(type(value) is float for result in results for value in result.values())
    np.testing.assert_allclose(as_array(results), expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 0.01  # or nothing is shown by agreement


@pytest.mark.parametrize("batch_size", [1, 2, 4, COUNT, 100])
def test_results_do_not_depend_on_the_batch_size(regression: Any, batch_size: int) -> None:
    uneven = [{**sample, "past_values": sample["past_values"][i % 5 :]} for i, sample in enumerate(samples())]
    single = [regression(sample) for sample in uneven]
    np.testing.assert_allclose(
        as_array(regression(uneven, batch_size=batch_size)), as_array(single), rtol=1e-4, atol=1e-5
    )


def test_batches_go_through_the_model_whole(regression: Any) -> None:
    sizes = []
    regression.model.register_forward_hook(lambda *call: sizes.append(len(call[2].predictions)))
    regression(samples(), batch_size=4)
    assert sizes == [4, 4, 1]


def test_every_form_of_the_same_series_gives_the_same_result(build: Any) -> None:
    predict = pipeline(
        "time-series-regression", **dict(zip(("model", "processor"), build(TimesCLIPForRegression), strict=True))
    )
    dataset = Dataset.from_dict({"past_values": SERIES, "site": list(range(COUNT))})
    expected = as_array(predict(SERIES))
    assert expected.shape == (COUNT, 1)
    many: list[Any] = [
        torch.from_numpy(SERIES),
        torch.from_numpy(SERIES).double(),
        SERIES.tolist(),
        list(SERIES),
        tuple(SERIES),
        [torch.from_numpy(series) for series in SERIES],
        [pd.DataFrame(series, columns=NAMES)[["red", "evi", "nir"]] for series in SERIES],
        [pl.DataFrame(series, NAMES)[["red", "evi", "nir"]] for series in SERIES],
        [{"past_values": series.tolist()} for series in SERIES],
        [{"past_values": series, "past_observed_mask": np.ones_like(series, bool)} for series in SERIES],
        dataset,
        dataset.with_format("torch"),
    ]
    for inputs in many:
        results = predict(inputs)
        assert isinstance(results, list)
        np.testing.assert_allclose(as_array(results), expected, rtol=1e-5, atol=1e-5)
    for inputs in (dataset.to_iterable_dataset(), (series for series in SERIES)):
        results = predict(inputs, batch_size=2)
        assert isinstance(results, Iterator)
        np.testing.assert_allclose(as_array(list(results)), expected, rtol=1e-5, atol=1e-5)
    for one in (
        SERIES[3],
        torch.from_numpy(SERIES[3]),
        SERIES[3].tolist(),
        list(SERIES[3]),
        {"past_values": SERIES[3]},
    ):
        assert predict(one)["prediction"] == pytest.approx(expected[3, 0], rel=1e-5, abs=1e-5)


def test_generators_are_read_as_they_are_consumed(regression: Any) -> None:
    read = []

    def source() -> Iterator[dict[str, Any]]:
        for number, sample in enumerate(samples()):
            read.append(number)
            yield sample

    results = regression(source(), batch_size=3)
    assert read == []
    next(results)
    assert read == [0, 1, 2]


def test_wide_table_keeps_its_other_columns_and_its_index_and_finds_variates_by_name(regression: Any) -> None:
    table = wide_table().set_index(pd.Index(range(50, 50 + COUNT)))
    result = regression(table)
    assert list(result.columns) == ["field", "soil", "latitude", "year", "predicted_yield", "predicted_protein"]
    pd.testing.assert_frame_equal(
        result[["field", "soil", "latitude", "year"]], table[["field", "soil", "latitude", "year"]]
    )
    expected = as_array(regression(samples()))
    np.testing.assert_allclose(result[["predicted_yield", "predicted_protein"]], expected, rtol=1e-4)
    named = regression(table.set_index("field"))
    assert named.index.tolist() == table["field"].tolist() and "field" not in named.columns


def test_long_table_gives_a_row_for_each_series(regression: Any) -> None:
    result = regression(long_table(), series_column="field", timestamp_column="day")
    assert list(result.columns) == ["field", "predicted_yield", "predicted_protein"]
    assert result["field"].tolist() == list(range(100, 100 + COUNT))
    np.testing.assert_allclose(result.iloc[:, 1:], as_array(regression(samples())), rtol=1e-4)


def test_files_are_read_as_their_tables(regression: Any, tmp_path: Path) -> None:
    wide_table().to_csv(tmp_path / "fields.csv", index=False)
    wide_table().to_parquet(tmp_path / "fields.parquet")
    expected = regression(wide_table())
    for name in ("fields.csv", "fields.parquet"):
        pd.testing.assert_frame_equal(regression(tmp_path / name), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", [pl.from_pandas, pa.Table.from_pandas, Dataset.from_pandas])
def test_tables_of_other_libraries_are_read_as_those_of_pandas(regression: Any, kind: Any) -> None:
    pd.testing.assert_frame_equal(regression(kind(wide_table())), regression(wide_table()), rtol=1e-4)
    roles = {"series_column": "field", "timestamp_column": "day"}
    pd.testing.assert_frame_equal(
        regression(kind(long_table()), **roles), regression(long_table(), **roles), rtol=1e-4
    )


def test_missing_values_and_a_mask_say_the_same(regression: Any) -> None:
    sample = samples()[0]
    nothing = [[value if step else None for value in series] for step, series in enumerate(SERIES[0].tolist())]
    short = regression({**sample, "past_values": SERIES[0][1:]})
    assert as_array([regression({**sample, "past_values": nothing})]) == pytest.approx(
        as_array([short]), rel=1e-5, abs=1e-5
    )
    observed = np.ones((STEPS, 3), bool)
    observed[4:7, 1] = False
    masked = regression({**sample, "past_observed_mask": observed})
    blank = regression({**sample, "past_values": np.where(observed, sample["past_values"], np.nan)})
    assert masked == blank != regression(sample)


def test_rows_without_any_value_of_a_variate_stay_and_are_empty(regression: Any) -> None:
    table = wide_table()
    table.loc[[2, 5], [f"red_{step:02d}" for step in range(STEPS)]] = np.nan
    with pytest.warns(UserWarning, match="2 of 9 rows .*red"):
        result = regression(table)
    assert result["predicted_yield"].isna().tolist() == [i in (2, 5) for i in range(COUNT)]
    complete = regression(wide_table())["predicted_yield"]
    pd.testing.assert_series_equal(result["predicted_yield"].dropna(), complete.drop([2, 5]), rtol=1e-4)


def test_steps_after_the_models_last_one_are_left_out_and_those_to_come_count_as_missing(regression: Any) -> None:
    regression.processor.padding_side = regression.processor.truncation_side = "right"
    table, expected = wide_table(), regression(wide_table())
    later = table.assign(**{f"{name}_{STEPS:02d}": 99.0 for name in NAMES})
    pd.testing.assert_frame_equal(regression(later), expected, rtol=1e-4)
    early = table.drop(columns=[f"{name}_{step:02d}" for name in NAMES for step in (10, 11)])
    with pytest.warns(UserWarning, match="10 steps, the model reads 12"):
        result = regression(early)
    blank = SERIES.copy()
    blank[:, 10:] = np.nan
    expected = as_array(regression([{**s, "past_values": b} for s, b in zip(samples(), blank, strict=True)]))
    np.testing.assert_allclose(result[["predicted_yield", "predicted_protein"]], expected, rtol=1e-4)


def test_dropout_is_off_even_of_a_model_straight_from_training(regression: Any) -> None:
    regression.model.train()
    assert regression(samples()[0]) == regression(samples()[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same(regression: Any, tmp_path: Path, dtype: torch.dtype) -> None:
    regression.save_pretrained(tmp_path)
    half = pipeline("time-series-regression", model=str(tmp_path), dtype=dtype)
    assert half.dtype == dtype
    np.testing.assert_allclose(as_array(half(samples())), as_array(regression(samples())), atol=0.1)


def test_progress_bar_only_on_request(regression: Any, capsys: pytest.CaptureFixture) -> None:
    regression(samples())
    assert capsys.readouterr().err == ""
    regression(samples(), progress_bar=True, batch_size=2)
    assert f"{COUNT}/{COUNT}" in capsys.readouterr().err


# --- saving and loading -----------------------------------------------------------------------------------------


def test_saved_pipeline_is_model_and_processor_and_loads_by_its_folder_alone(regression: Any, tmp_path: Path) -> None:
    regression.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "processor_config.json",
    ]
    assert pipeline_task(tmp_path) == "time-series-regression"
    loaded = pipeline("time-series-regression", model=str(tmp_path))
    assert isinstance(loaded.model, TimesCLIPForRegression)
    assert loaded.processor.to_dict() == regression.processor.to_dict()
    assert loaded(samples()) == regression(samples())


@pytest.mark.parametrize(
    ("task", "model_class", "found"),
    [
        ("time-series-regression", TimesCLIPForPrediction, "time-series-forecasting"),
        ("time-series-forecasting", TimesCLIPForRegression, "time-series-regression"),
        ("time-series-classification", TimesCLIPForRegression, "time-series-regression"),
    ],
)
def test_model_of_another_task_is_refused_whether_loaded_or_given(
    build: Any, tmp_path: Path, task: Any, model_class: Any, found: str
) -> None:
    model, processor = build(model_class)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for given in ({"model": model, "processor": processor}, {"model": str(tmp_path)}):
        with pytest.raises(ValueError, match=rf"{model_class.__name__}; use pipeline\('{found}'"):
            pipeline(task, **given)


def test_model_that_grew_from_another_kind_of_checkpoint_is_what_it_is_now(build: Any, tmp_path: Path) -> None:
    pretrained, processor = build(TimesCLIPForPreTraining)
    pretrained.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no pipeline"):
        pipeline_task(tmp_path)
    model = TimesCLIPForRegression.from_pretrained(tmp_path)
    predict = pipeline("time-series-regression", model=model, processor=processor)
    assert list(predict(SERIES[0])) == ["prediction"]


def test_processor_that_was_not_saved_or_is_of_another_model_is_named(build: Any, tmp_path: Path) -> None:
    model, processor = build(TimesCLIPForRegression)
    model.save_pretrained(tmp_path)
    with pytest.raises(OSError, match="no processor_config.json"):
        pipeline("time-series-regression", model=str(tmp_path))
    with pytest.raises(ValueError, match="context_length=96, the model 12; .*: save the fitted processor"):
        pipeline("time-series-regression", model=model, processor=TimesCLIPProcessor())
    with pytest.raises(ValueError, match="never fitted"):
        pipeline("time-series-regression", model=model, processor=TimesCLIPProcessor.from_config(model.config))
    with pytest.raises(ValueError, match="must be a TimesCLIPProcessor, found NoneType"):
        PIPELINES["time-series-regression"](model, task="time-series-regression")
    processor.target_names = ["yield", "protein"]
    with pytest.raises(ValueError, match="the model has 1 targets"):
        pipeline("time-series-regression", model=model, processor=processor)


def test_folder_of_an_adapter_alone_is_loaded_on_its_base(build: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model, processor = build(TimesCLIPForRegression)
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    base = TimesCLIPForRegression.from_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(base, lora_config(base, r=2, init_lora_weights=False)).eval()
    given = pipeline("time-series-regression", model=adapted, processor=processor)(SERIES)
    adapted.save_pretrained(tmp_path / "adapter")
    task: Any = pipeline_task(tmp_path / "adapter")
    try:
        loaded = pipeline(task, model=str(tmp_path / "adapter"))(SERIES)
    except ValueError as error:
        if "Old versions of transformers leave out modules_to_save" not in str(error):
            raise
        pytest.skip("this version of transformers does not restore modules_to_save; the model said so")
    np.testing.assert_allclose(as_array(loaded), as_array(given), rtol=1e-4)
    plain = pipeline(task, model=str(tmp_path / "base"))(SERIES)
    assert np.abs(as_array(plain) - as_array(given)).max() > 1e-3


# --- classification ---------------------------------------------------------------------------------------------


def test_classes_come_with_probabilities_the_likeliest_first(build: Any) -> None:
    model, processor = build(TimesCLIPForClassification, id2label={0: "maize", 1: "rice", 2: "wheat"})
    classify = pipeline("time-series-classification", model=model, processor=processor)
    with torch.no_grad():
        logits = model(**processor(SERIES)).logits.numpy().astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for result, row in zip(classify(SERIES, top_k=3), expected, strict=True):
        scores = {answer["label"]: answer["score"] for answer in result}
        np.testing.assert_allclose([scores[name] for name in ("maize", "rice", "wheat")], row, rtol=1e-4)
        assert [answer["score"] for answer in result] == sorted(scores.values(), reverse=True)
    assert len(classify(SERIES[0])) == 1 and len(classify(SERIES[0], top_k=2)) == 2
    table = classify(wide_table())
    assert list(table.columns) == ["field", "soil", "latitude", "year", "predicted_label", "score"]
    names = np.array(["maize", "rice", "wheat"])
    assert table["predicted_label"].tolist() == names[expected.argmax(axis=1)].tolist()
    assert "predicted_label_2" in classify(wide_table(), top_k=2).columns
    with pytest.raises(ValueError, match="top_k"):
        classify(SERIES, top_k=0)


# --- forecasts --------------------------------------------------------------------------------------------------


def test_forecast_of_an_array_is_an_array_of_the_steps_that_follow(forecast: Any) -> None:
    with torch.no_grad():
        expected = forecast.model(**forecast.processor(SERIES)).predictions.numpy()
    results = forecast(SERIES)
    np.testing.assert_allclose([result["predictions"] for result in results], expected, rtol=1e-4, atol=1e-5)
    assert forecast(SERIES[0])["predictions"].shape == (4, 3)


def test_forecast_of_a_table_continues_its_calendar_series_by_series(forecast: Any) -> None:
    table = long_table()
    result = forecast(table, series_column="field", timestamp_column="day")
    assert list(result.columns) == ["field", "day", *NAMES]
    assert result["field"].tolist() == np.repeat(np.arange(100, 100 + COUNT), 4).tolist()
    days = ["2024-03-08", "2024-03-09", "2024-03-10", "2024-03-11"]  # 2024 has a 29 February
    assert result["day"].dt.strftime("%Y-%m-%d").tolist() == days * COUNT
    expected = np.concatenate([answer["predictions"] for answer in forecast(SERIES)])
    np.testing.assert_allclose(result[NAMES], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("as_text", [False, True])
def test_forecast_times_stay_in_the_time_zone_of_the_table(forecast: Any, as_text: bool) -> None:
    # In the night to 31 March 2024 clocks in Berlin went from 02:00 to 03:00.
    times = pd.date_range(end="2024-03-30 23:00", periods=STEPS, freq="h", tz="Europe/Berlin")
    table = pd.DataFrame(SERIES[0], columns=NAMES).assign(time=times.map(str) if as_text else times)
    result = forecast(table, timestamp_column="time")
    # An offset in text does not change with the season, as a named zone does.
    hours = ["02:00+0100", "03:00+0100"] if as_text else ["03:00+0200", "04:00+0200"]
    hours = ["00:00+0100", "01:00+0100", *hours]
    assert result["time"].dt.strftime("%H:%M%z").tolist() == hours


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pd.date_range("2024-01-01", periods=STEPS, freq="h", tz="UTC"), "2024-01-01 12:00+0000"),
        (pd.date_range("2023-11-01 12:00", periods=STEPS, freq="MS", tz="Europe/Berlin"), "2024-11-01 12:00+0100"),
        (pd.date_range("2024-01-05", periods=STEPS, tz="Europe/London"), "2024-01-17 00:00+0000"),
        (pd.period_range("2024-01", periods=STEPS, freq="M"), "2025-01"),
    ],
)
@pytest.mark.parametrize("through", ["table", "index", "collection"])
def test_history_and_forecast_are_of_one_kind(forecast: Any, times: Any, expected: str, through: str) -> None:
    table = pd.DataFrame(SERIES[0], columns=NAMES)
    if through == "table":
        result = forecast(table.assign(time=times), timestamp_column="time")["time"]
    elif through == "index":
        result = forecast(table.set_axis(times, axis=0))["index"]
    elif isinstance(times, pd.PeriodIndex):
        return  # collections hold times, which have no length
    else:
        result = forecast(load_long_table(table.assign(time=times), timestamp_column="time"))["timestamp"]
    assert pd.concat([pd.Series(times), result]).dtype == result.dtype == times.dtype
    assert result.dt.strftime("%Y-%m" if isinstance(times, pd.PeriodIndex) else "%Y-%m-%d %H:%M%z")[0] == expected


def test_only_the_newest_steps_count_and_short_series_are_padded(forecast: Any) -> None:
    longer = np.concatenate([RNG.normal(size=(30, 3)), SERIES[0]])
    np.testing.assert_allclose(
        forecast(longer)["predictions"], forecast(SERIES[0])["predictions"], rtol=1e-5, atol=1e-5
    )
    short = np.concatenate([np.full((7, 3), np.nan), SERIES[0][7:]])
    np.testing.assert_allclose(
        forecast(SERIES[0][7:])["predictions"], forecast(short)["predictions"], rtol=1e-4, atol=1e-5
    )


def test_nothing_is_drawn_for_a_forecaster_whose_plots_only_teach(build: Any, monkeypatch: Any) -> None:
    model, processor = build(TimesCLIPForPrediction, "paper", scaling="instance", prediction_length=4)
    assert processor.image_size is not None
    with torch.no_grad():
        expected = model(**processor(SERIES)).predictions.numpy()
    monkeypatch.delattr(TimesCLIPProcessor, "draw")
    results = pipeline("time-series-forecasting", model=model, processor=processor)(SERIES)
    np.testing.assert_allclose([result["predictions"] for result in results], expected, rtol=1e-4, atol=1e-5)


def test_times_come_from_an_index_of_dates_or_are_steps(forecast: Any) -> None:
    frame = pd.DataFrame(SERIES[0], columns=NAMES)
    assert forecast(frame)["step"].tolist() == [1, 2, 3, 4]
    frame.index = pd.date_range("2024-01-31", periods=STEPS, freq="ME")
    result = forecast(frame)
    assert result["index"].dt.strftime("%Y-%m-%d").tolist() == ["2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30"]
    wide = forecast(wide_table())
    assert list(wide.columns) == ["field", "soil", "latitude", "year", "step", *NAMES]
    assert wide["field"].tolist() == np.repeat([f"f{i}" for i in range(COUNT)], 4).tolist()


def test_collections_and_windows_are_read_and_their_variates_ordered(forecast: Any) -> None:
    collection = load_long_table(
        long_table(), series_column="field", timestamp_column="day", variates=["evi", "red", "nir"]
    )
    result = forecast(collection)
    assert list(result.columns) == ["series", "timestamp", *NAMES]
    expected = np.concatenate([answer["predictions"] for answer in forecast(SERIES)])
    np.testing.assert_allclose(result[NAMES], expected, rtol=1e-4, atol=1e-4)
    windows = split_windows(
        load_long_table(pd.DataFrame(np.tile(SERIES[0], (10, 1)), columns=NAMES)),
        context_length=STEPS,
        prediction_length=4,
    ).test
    np.testing.assert_allclose(
        forecast(windows)[0]["predictions"], forecast(windows[0]["past_values"])["predictions"], rtol=1e-5
    )


def test_series_without_any_value_of_a_variate_are_left_out_of_forecasts(forecast: Any) -> None:
    table = long_table()
    table.loc[table["field"] == 102, "red"] = np.nan
    with pytest.warns(UserWarning, match="1 of 9 series .*102"):
        result = forecast(table, series_column="field", timestamp_column="day")
    assert sorted(set(result["field"])) == [100, 101, *range(103, 100 + COUNT)]


# --- what beginners get wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=[c for c in t if c.startswith("red")]), "missing variates: 'red'"),
        (lambda t: t.rename(columns=lambda c: c.replace("red_", "Red_")), r"missing variates: 'red' \(near: Red\)"),
        (lambda t: t.drop(columns="red_03"), "holes in the step numbers: red lacks 03"),
        (lambda t: t.drop(columns="soil"), "missing static columns: 'soil'"),
        (lambda t: t.assign(latitude=np.nan), "static values missing: column 'latitude'"),
        (lambda t: t.assign(evi_05="cloud"), "non-numeric cells in column 'evi_05'.*'cloud'"),
        (lambda t: t[["field"]], "none of the model's variates: nir, red, evi.*found field"),
        (lambda t: t.iloc[:0], "the table is empty"),
        (lambda t: t.assign(predicted_yield=1.0), "already has columns .'predicted_yield'"),
        (lambda t: "no_such_file.csv", "no_such_file.csv: no such file"),
        (lambda t: "fields.ods", "cannot read files of type '.ods'"),
        (lambda t: SERIES[0], "needs the static values .'soil', 'latitude'"),
        (lambda t: SERIES[0, :, 0], r"1 dimension; expected \(time, variates\)"),
        (lambda t: SERIES[None], "4 dimensions"),
        (lambda t: np.array(5.0), "0 dimensions"),
        (lambda t: {"values": SERIES[0]}, "a sample needs 'past_values', found 'values'"),
        (
            lambda t: [{"past_values": [["a"]]}, {"past_values": []}],
            "first one: past_values has dtype <U1 .text, such as 'a'",
        ),
        (lambda t: [{**samples()[0], "past_values": SERIES[0][:, :2]}], "2 variates, but the processor expects 3"),
        (lambda t: Dataset.from_dict({"nir_00": [1.0]}), "missing static columns: 'soil', 'latitude'"),
        (lambda t: 7, "cannot read series from int"),
    ],
)
def test_wrong_inputs_are_told_in_words(regression: Any, change: Any, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        regression(change(wide_table()))


def test_unnamed_roles_of_columns_are_asked_for(forecast: Any, regression: Any) -> None:
    with pytest.raises(ValueError, match="'day'.*timestamp_column"):
        forecast(long_table())
    with pytest.raises(ValueError, match="name their series_column"):
        forecast(long_table(), timestamp_column="day")
    with pytest.raises(ValueError, match="one per series"):
        regression(wide_table(), timestamp_column="year")
    with pytest.raises(ValueError, match="change within a series: .*latitude"):
        regression(long_table().drop(columns="day"))
    with pytest.raises(TypeError, match="batchsize"):
        regression(samples(), batchsize=3)


def test_tables_need_variate_names_where_their_order_could_be_wrong(build: Any) -> None:
    model, processor = build(TimesCLIPForRegression)
    processor.variate_names = None
    predict = pipeline("time-series-regression", model=model, processor=processor)
    with pytest.raises(ValueError, match="in which order"):
        predict(wide_table())
    assert len(predict(SERIES)) == COUNT


# --- real data --------------------------------------------------------------------------------------------------


def test_crop_yield_rows_get_predictions_within_the_targets_range(tiny_config: Any) -> None:
    table = pd.read_parquet(ROOT / "examples" / "crop_yield" / "crop_yield.parquet").iloc[:60]
    names = ["NIR", "RVI", "SWIR1", "blue", "evi", "ndvi", "red"]
    values = np.stack([table[[f"{name}_{step:02d}" for step in range(36)]].to_numpy() for name in names], axis=2)
    size = {"num_variates": 7, "context_length": 36}
    processor = TimesCLIPProcessor.from_config(tiny_config(**size), variate_names=names, target_names=["yield_t_ha"])
    processor.fit(values, labels=table["yield_t_ha"].to_numpy(), static_values=table[["crop", "soil"]])
    model = TimesCLIPForRegression(processor.complete_config(tiny_config(**size))).eval()
    result = pipeline("time-series-regression", model=model, processor=processor)(table)
    assert {"field_id", "yield_t_ha", "predicted_yield_t_ha"} <= set(result.columns) and len(result) == 60
    with torch.no_grad():
        expected = model(**processor(values, static_values=table[["crop", "soil"]])).predictions[:, 0]
    np.testing.assert_allclose(result["predicted_yield_t_ha"], expected, rtol=1e-4)


@pytest.mark.skipif(not (DATA / "ETTh1.csv").exists(), reason="the public series are not in this checkout")
def test_public_series_are_continued_from_their_files(tiny_config: Any) -> None:
    weekly = load_series_rows(DATA / "M4-Weekly-train.csv")
    for source, names, options, continued in (
        (DATA / "ETTh1.csv", ["OT", "HUFL"], {"timestamp_column": "date"}, "2018-06-26 20:00:00"),
        (DATA / "national_illness.csv", ["OT"], {"timestamp_column": "date"}, "2020-07-07"),
        (weekly, ["value"], {}, None),
    ):
        config = tiny_config("forecast", num_variates=len(names), prediction_length=3)
        processor = TimesCLIPProcessor.from_config(config, variate_names=names, scaling="instance")
        model = TimesCLIPForPrediction(config).eval()
        result = pipeline("time-series-forecasting", model=model, processor=processor)(source, **options)
        assert len(result) == (3 * len(weekly) if continued is None else 3)
        assert result[names].notna().all(axis=None)
        if continued is not None:
            assert result["date"].iloc[0] == pd.Timestamp(continued)


def test_a_forecaster_asks_for_no_static_values_that_it_does_not_read(build: Any) -> None:
    model, processor = build(TimesCLIPForPrediction, "forecast", static=True, scaling="instance", prediction_length=4)
    forecast = pipeline("time-series-forecasting", model=model, processor=processor)
    expected, roles = forecast(SERIES), {"series_column": "field", "timestamp_column": "day"}
    soils = long_table()
    soils.loc[soils["field"] == 101, "soil"] = ["a", "b"] * 6  # nor minds what they hold
    for table, options in (
        (long_table(), roles), (long_table().drop(columns=["soil", "latitude"]), roles), (soils, roles),
        (wide_table(), {}), (wide_table().drop(columns="soil").assign(latitude=np.nan), {}),
    ):  # fmt: skip
        found = forecast(table, **options)
        np.testing.assert_allclose(found[NAMES], np.concatenate([one["predictions"] for one in expected]), rtol=1e-3)
    some = [{"past_values": SERIES[0], "static_values": {"soil": "loess"}}, {"past_values": SERIES[1]}]
    for found, other in zip(forecast(some), expected, strict=False):
        np.testing.assert_allclose(found["predictions"], other["predictions"], rtol=1e-3)
