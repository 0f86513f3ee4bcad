# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The same season gives the same prediction through every door, whatever its length, gaps and level."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from transformers import pipeline

from timesclip_hf import (
    NumpyProcessor,
    SeriesCollection,
    TimesCLIPDataCollator,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    export_onnx,
    load_long_table,
    load_wide_table,
)

onnxruntime = pytest.importorskip("onnxruntime")

NAMES, STEPS = ["ndvi", "rain", "nir"], 12
EXPORTED = [(0.0, 0), (1e9, 117)]  # levels and first steps
TRAIN = np.random.default_rng(0).normal(size=(24, STEPS, 3)) * [0.1, 30.0, 500.0] + [0.5, 100.0, 3000.0]


def wide(series: np.ndarray, first: int = 0, width: int = 2) -> pd.DataFrame:
    """Series (N, T, V) as a table with a row each, whose columns stand in no order."""
    columns = {
        f"{n}_{first + t:0{width}d}": series[:, t, v] for v, n in enumerate(NAMES) for t in range(series.shape[1])
    }
    order = np.random.default_rng(1).permutation(len(columns))
    return pd.DataFrame(columns).iloc[:, order]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`made(level, first)`: pipeline, NumPy's processor and graph, fitted on a wide table of such a level and step."""
    from conftest import tower_fields

    from timesclip_hf import TimesCLIPConfig

    found: dict[Any, Any] = {}

    def make(level: float, first: int = 0) -> Any:
        if (level, first) not in found:
            table = wide(TRAIN + level, first).assign(y=np.arange(24.0))
            processor = TimesCLIPProcessor(STEPS, 4, 2, image_size=None, variate_names=NAMES)
            processor.fit(load_wide_table(table, target="y", variates=NAMES))
            sizes = {"num_variates": 3, "context_length": STEPS, "patch_length": 4, "patch_stride": 2}
            text = tower_fields()["text_config"]
            torch.manual_seed(0)
            config = TimesCLIPConfig.from_preset("small", text_config=text, projection_dim=16, **sizes)
            model = TimesCLIPForRegression(processor.complete_config(config)).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            folder = tmp_path_factory.mktemp("served")
            processor.save_pretrained(folder)
            predict = pipeline("time-series-regression", model=model, processor=processor)
            graph = None
            if (level, first) in EXPORTED:
                graph = onnxruntime.InferenceSession(export_onnx(model, processor, folder / "model.onnx"))
            found[level, first] = predict, NumpyProcessor.from_pretrained(folder), graph
        return found[level, first]

    return make


def long(series: np.ndarray) -> pd.DataFrame:
    """Series (N, T, V) as a table with a row for each step, series after series; columns in another order."""
    times = pd.date_range("2024-02-20", periods=series.shape[1], tz="Europe/Madrid")
    parts = [pd.DataFrame(one, columns=NAMES).assign(field=f"f{k}", day=times) for k, one in enumerate(series)]
    return pd.concat(parts, ignore_index=True)[["rain", "day", "ndvi", "field", "nir"]]


def through_all_doors(
    predict: Any, alone: NumpyProcessor, graph: Any, series: np.ndarray, first: int, folder: Path
) -> dict[str, Any]:
    """Predictions `(N,)` of series (N, T, V) that begin at the model's first step, by the name of the door."""
    frames, table = [pd.DataFrame(one, columns=NAMES)[NAMES[::-1]] for one in series], wide(series, first)
    table.to_csv(folder / "season.csv", index=False)
    table.to_parquet(folder / "season.parquet")

    def of(results: Any) -> list[float]:
        return (
            results["prediction"].tolist() if isinstance(results, pd.DataFrame) else [r["prediction"] for r in results]
        )

    def of_batch(batch: Any) -> list[float]:
        with torch.no_grad():
            return predict.model(**{k: torch.as_tensor(v) for k, v in batch.items()}).predictions[:, 0].tolist()

    def of_graph(batch: Any) -> list[float]:
        names = [entry.name for entry in graph.get_inputs()]
        return graph.run(None, {name: np.asarray(batch[name]) for name in names})[0][:, 0].tolist()

    longer = np.concatenate([series[:1], np.full((1, STEPS + 9 - series.shape[1], 3), 7.0)], axis=1)[0]
    nothing = [[[None if np.isnan(x) else x for x in step] for step in one] for one in series.tolist()]
    data = Dataset.from_dict({"past_values": series.tolist(), "note": ["x"] * len(series)})
    steps, roles = long(series), {"timestamp_column": "day", "series_column": "field"}
    steps.to_csv(folder / "steps.csv", index=False)
    steps.to_parquet(folder / "steps.parquet")
    shuffled = steps.sample(frac=1, random_state=0)
    arguments = TimesCLIPTrainingArguments(
        str(folder),
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        eval_strategy="no",
        load_best_model_at_end=False,
    )
    trainer = TimesCLIPTrainer(predict.model, arguments, predict.processor)
    doors = {
        "gradients": of(predict(torch.tensor(series, requires_grad=True))),
        "memory": of(predict(memoryview(np.ascontiguousarray(series)))),
        "fortran": of(predict(np.asfortranarray(series))),
        "big endian": of(predict(series.astype(">f8"))),
        "masked": of(predict(np.ma.masked_invalid(series))),
        "objects of JSON": of(predict(nothing)),
        "stream": of(predict(iter(series), batch_size=2)),
        "stream of a data set": of(predict(data.to_iterable_dataset())),
        "data set of numpy": of(predict(data.with_format("numpy"))),
        "data set of torch": of(predict(data.with_format("torch", dtype=torch.float64))),
        "wide arrow": of(predict(pa.Table.from_pandas(table))),
        "wide data set": of(predict(Dataset.from_pandas(table))),
        "wide of nullable": of(predict(table.convert_dtypes())),
        "wide of arrow": of(predict(table.convert_dtypes(dtype_backend="pyarrow"))),
        "wide text": of(predict(table.map(lambda x: "" if np.isnan(x) else repr(x)))),
        "collection": of(predict(SeriesCollection(list(series[..., ::-1]), NAMES[::-1], ["a", "b", "c"]))),
        "long": of(predict(steps, **roles)),
        "long shuffled": of(predict(shuffled, **roles).sort_values("field")),
        "long polars": of(predict(pl.from_pandas(steps), **roles)),
        "long arrow": of(predict(pa.Table.from_pandas(steps), **roles)),
        "long data set": of(predict(Dataset.from_pandas(steps), **roles)),
        "long csv": of(predict(folder / "steps.csv", **roles)),
        "long parquet": of(predict(folder / "steps.parquet", **roles)),
        "long collection": of(predict(load_long_table(steps, **roles))),
        "trainer": trainer.predict(data).predictions[:, 0].tolist(),
        "array": of(predict(series)),
        "lists": of(predict(series.tolist())),
        "tensor": of(predict(torch.from_numpy(series))),
        "one by one": [predict(one)["prediction"] for one in series],
        "unequal": of(predict([*series, longer]))[:-1],
        "samples": of(predict([{"past_values": one, "past_observed_mask": ~np.isnan(one)} for one in series])),
        "frames": of(predict(frames)),
        "polars": of(predict([pl.from_pandas(frame) for frame in frames])),
        "arrow": of(predict([pa.Table.from_pandas(frame) for frame in frames])),
        "wide": of(predict(table)),
        "wide polars": of(predict(pl.from_pandas(table))),
        "csv": of(predict(folder / "season.csv")),
        "parquet": of(predict(folder / "season.parquet")),
        "data set": of(predict(Dataset.from_dict({"past_values": series.tolist()}))),
        "loaded": of(predict(load_wide_table(table, target=None))),
        "collator": of_batch(TimesCLIPDataCollator(predict.processor)([{"past_values": one} for one in series])),
        "processor": of_batch(predict.processor(series)),
        "numpy": of_batch(alone(series)),
        "numpy lists": of_batch(alone([one.tolist() for one in series])),
    }
    if graph is not None:
        doors |= {"graph": of_graph(alone(series)), "graph of torch": of_graph(predict.processor(series))}
    return doors


@pytest.mark.filterwarnings("ignore:the table has", "ignore:values leave the range")
@settings(max_examples=15, deadline=None, phases=[Phase.generate])  # each takes a second or two
@given(st.integers(1, STEPS + 6), st.sampled_from([*EXPORTED, (5e5, 1)]), st.integers(0, 99))
def test_a_season_of_any_length_gaps_and_level(
    made: Any, tmp_path_factory: Any, length: int, place: tuple[float, int], seed: int
) -> None:
    level, first = place
    rng = np.random.default_rng(seed)
    known = np.resize(TRAIN[:3], (3, length, 3)) if length > STEPS else TRAIN[:3, :length]
    series = (known + rng.normal(size=(3, length, 3)) * [0.05, 9, 90]) + level
    gaps = rng.random(series.shape) < 0.3
    gaps[:, rng.integers(min(length, STEPS))] = False
    series = np.where(gaps, np.nan, series)
    predict, alone, graph = made(level, first)
    folder = tmp_path_factory.mktemp("doors")
    doors = through_all_doors(predict, alone, graph, series, first, folder)
    padded = np.full((3, max(STEPS, length), 3), np.nan)
    padded[:, :length] = series
    padded = padded[:, :STEPS]  # by hand: a season's first step is the model's first step
    with torch.no_grad():
        expected = predict.model(**predict.processor(padded)).predictions[:, 0].tolist()
    for door, found in doors.items():
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=door)


def test_steps_are_found_by_their_numbers(made: Any, tmp_path: Path) -> None:
    predict, *_ = made(0.0, 3)
    season = TRAIN[:2]
    expected = predict(np.where(np.arange(STEPS)[:, None] < 4, np.nan, season))
    with pytest.warns(UserWarning, match="8 steps, the model reads 12: the steps 03 to 06 count as missing"):
        found = predict(wide(season[:, 4:], first=7))
    np.testing.assert_allclose(found["prediction"], [row["prediction"] for row in expected], rtol=1e-5)
    with pytest.warns(UserWarning, match="the steps 13 to 14 count as missing"):
        found = predict(wide(season[:, :10], first=3, width=1))
    half = predict(season[:, :10])
    np.testing.assert_allclose(found["prediction"], [row["prediction"] for row in half], rtol=1e-5)
    loaded = predict(load_wide_table(wide(season[:, 4:], first=7), target=None))
    np.testing.assert_allclose([row["prediction"] for row in loaded], [r["prediction"] for r in expected], rtol=1e-5)
    before = np.concatenate([np.full((2, 3, 3), 1e3), season, np.full((2, 5, 3), -1e3)], axis=1)  # steps 0 to 19
    np.testing.assert_allclose(predict(wide(before))["prediction"], predict(wide(season, 3))["prediction"], rtol=1e-5)
    one_digit = wide(season[:, :7], first=3, width=1)
    with pytest.warns(UserWarning, match="the steps 10 to 14 count as missing"):
        assert np.isfinite(predict(one_digit)["prediction"]).all()


def test_what_fit_finds_out_about_sides_is_saved_and_what_was_set_stays(tmp_path: Path) -> None:
    def fitted(data: Any, **parameters: Any) -> TimesCLIPProcessor:
        processor = TimesCLIPProcessor(8, 4, 2, image_size=None, **parameters).fit(data)
        processor.save_pretrained(tmp_path)
        return TimesCLIPProcessor.from_pretrained(tmp_path)

    seasons = load_wide_table(wide(TRAIN, 5), target=None, variates=NAMES)
    for processor, expected in (
        (fitted(seasons), ("right", "right", 5, 16)),
        (fitted(TRAIN), ("left", "left", None, None)),
        (fitted(seasons, padding_side="left"), ("left", "right", 5, 16)),
        (fitted(TRAIN, truncation_side="right", first_step=2), ("left", "right", 2, None)),
        (fitted(seasons.add_column("labels", np.ones((24, 4, 3)).tolist())), ("left", "left", 5, 16)),
    ):
        assert (
            processor.padding_side,
            processor.truncation_side,
            processor.first_step,
            processor.last_step,
        ) == expected
    for wrong in ({"padding_side": "end"}, {"first_step": -1}, {"last_step": True}, {"first_step": 4, "last_step": 3}):
        with pytest.raises(ValueError, match=next(reversed(wrong))):
            TimesCLIPProcessor(**wrong)


def test_a_data_set_whose_variates_stand_in_another_order_is_not_fitted_under_wrong_names() -> None:
    seasons = load_wide_table(wide(TRAIN), target=None, variates=NAMES[::-1])
    with pytest.raises(ValueError, match=r"in the order \['nir', 'rain', 'ndvi'\]"):
        TimesCLIPProcessor(STEPS, 4, 2, variate_names=NAMES).fit(seasons)
    TimesCLIPProcessor(STEPS, 4, 2, variate_names=["NIR", "Rain", "NDVI"]).fit(seasons)  # other names say nothing


@pytest.mark.parametrize("side", ["left", "right"])
def test_longer_and_shorter_series_end_where_the_processor_says(side: str) -> None:
    processor = TimesCLIPProcessor(4, 2, 1, scaling="none", image_size=None, padding_side=side, truncation_side=side)
    rising = [np.arange(1.0, n + 1)[:, None] for n in (2, 6, 4)]
    found = processor(rising)
    kept = found["variate_values"][:, 0].tolist()
    assert kept[1:] == ([[3, 4, 5, 6], [1, 2, 3, 4]] if side == "left" else [[1, 2, 3, 4], [1, 2, 3, 4]])
    assert kept[0] == ([1, 1, 1, 2] if side == "left" else [1, 2, 2, 2])  # missing steps hold the nearest value
    mask = found["patch_mask"][0, 0].tolist()
    assert mask[0] != (side == "left") and mask[2] == (side == "left")


def test_a_processor_that_does_not_say_reads_as_before(made: Any) -> None:
    predict, *_ = made(0.0, 0)
    old = TimesCLIPProcessor(
        STEPS, 4, 2, image_size=None, variate_names=NAMES, statistics=predict.processor.statistics
    )
    legacy = pipeline("time-series-regression", model=predict.model, processor=old)
    with pytest.warns(UserWarning, match="the steps 07 to 11 count as missing"):
        assert legacy(wide(TRAIN[:2, :7])).equals(predict(wide(TRAIN[:2, :7])))
    assert legacy(TRAIN[0, :7]) != predict(TRAIN[0, :7])  # arrays were padded at the front
    with pytest.warns(UserWarning, match="begins at step 05"):
        assert legacy(wide(TRAIN[:2], 5)).equals(predict(wide(TRAIN[:2], 0)))


def test_forecasts_go_on_from_the_newest_steps_of_any_table(tiny_config: Any) -> None:
    config = tiny_config("forecast", prediction_length=4)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance", variate_names=NAMES).fit(TRAIN)
    forecast = pipeline("time-series-forecasting", model=TimesCLIPForPrediction(config).eval(), processor=processor)
    longer = np.concatenate([TRAIN[:1] * 0 + 9, TRAIN[:1]], axis=1)
    expected = forecast(TRAIN[0])["predictions"]
    for form in (longer[0], longer.tolist(), wide(longer), wide(TRAIN[:1], 40)):
        found = forecast(form)
        found = found[NAMES].to_numpy() if isinstance(found, pd.DataFrame) else found
        found = found[0] if isinstance(found, list) else found
        found = found["predictions"] if isinstance(found, dict) else found
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    half = forecast(TRAIN[0, 7:])["predictions"]
    np.testing.assert_allclose(forecast(wide(TRAIN[:1, 7:]))[NAMES], half, rtol=1e-4)


DEKADS = [f"{m:02d}-{d:02d}" for m in (11, 12, 1, 2) for d in (1, 11, 21)]


def dated(series: np.ndarray, year: int, form: str = "{name}_{date}", first: int = 0) -> pd.DataFrame:
    """Seasons (N, T, V) that begin in November, a date in each column's name."""
    dates = [f"{year + (k > 5)}-{date}" for k, date in enumerate(DEKADS)][first : first + series.shape[1]]
    return pd.DataFrame(
        {
            form.format(name=n, date=date, compact=date.replace("-", "")): series[:, t, v]
            for v, n in enumerate(NAMES)
            for t, date in enumerate(dates)
        }
    )


@pytest.fixture
def by_dates(made: Any, tmp_path: Path) -> Any:
    """`by_dates(table)`: a pipeline whose processor was fitted on a table with dates, and was saved and loaded."""

    def make(table: pd.DataFrame, **options: Any) -> Any:
        predict, *_ = made(0.0)
        processor = TimesCLIPProcessor(STEPS, 4, 2, image_size=None, variate_names=NAMES)
        processor.fit(load_wide_table(table.assign(y=np.arange(24.0)), target="y", variates=NAMES, **options))
        processor.save_pretrained(tmp_path)
        return pipeline(
            "time-series-regression", model=predict.model, processor=TimesCLIPProcessor.from_pretrained(tmp_path)
        )

    return make


def test_dated_columns_of_any_year_are_read_by_the_season_of_the_training_table(by_dates: Any) -> None:
    predict = by_dates(dated(TRAIN, 2019))
    season = TRAIN[:2]
    expected = predict(season)

    def agrees(found: Any, series: Any = None) -> None:
        rows = found["prediction"].tolist() if isinstance(found, pd.DataFrame) else [r["prediction"] for r in found]
        wanted = expected if series is None else predict(series)
        np.testing.assert_allclose(rows, [row["prediction"] for row in wanted], rtol=1e-5)

    for year in (2019, 2023):  # one of them ends in a leap year
        agrees(predict(dated(season, year)))
        agrees(predict(dated(season, year, "{compact}_{name}")))
        agrees(predict(dated(season, year, "{name}_{compact}")))
        agrees(predict(load_wide_table(dated(season, year), target=None)))
    late = np.where(np.arange(STEPS)[:, None] < 5, np.nan, season)
    with pytest.warns(UserWarning, match="the steps 2019-11-01 to 2019-12-11 count as missing"):
        agrees(predict(dated(season[:, 5:], 2021, first=5)), late)
    agrees(predict(load_wide_table(dated(season[:, 5:], 2021, first=5), target=None)), late)
    with pytest.warns(UserWarning, match="count as missing"):
        agrees(predict(dated(season[:, :1], 2030)), season[:, :1])  # the first image of a season
    with pytest.raises(ValueError, match="none of the dates 2020-06-01"):
        predict(pd.DataFrame({f"{name}_2020-06-01": [1.0] for name in NAMES}))


def test_numbers_of_steps_and_dates_are_told_apart(made: Any) -> None:
    predict, *_ = made(0.0)
    with pytest.warns(UserWarning, match="steps have numbers, the table's dates: 2019-11-01 is read as step 00"):
        found = predict(dated(TRAIN[:2], 2019))
    np.testing.assert_allclose(found["prediction"], [row["prediction"] for row in predict(TRAIN[:2])], rtol=1e-5)


def test_a_column_pattern_is_saved_with_the_processor(by_dates: Any) -> None:
    table = wide(TRAIN, width=1).rename(columns=lambda name: name.replace("_", "."))
    predict = by_dates(table, column_pattern="dots")
    expected = [row["prediction"] for row in predict(TRAIN[:2])]
    np.testing.assert_allclose(predict(table[:2])["prediction"], expected, rtol=1e-5)
    np.testing.assert_allclose(predict(wide(TRAIN[:2]))["prediction"], expected, rtol=1e-5)  # the usual names do, too
    other = table[:2].rename(columns=lambda name: name.replace(".", " at "))
    with pytest.raises(ValueError, match="none of the model's variates"):
        predict(other)
    found = predict(other, column_pattern=r"(?P<variate>.+) at (?P<step>\d+)")
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="column_pattern: only for tables"):
        predict(TRAIN[:2], column_pattern="dots")


def test_long_tables_are_read_by_the_season_of_the_training_table(by_dates: Any) -> None:
    predict = by_dates(dated(TRAIN, 2019))
    season = TRAIN[:2]

    def steps(year: int, first: int = 0) -> pd.DataFrame:
        frames = [
            pd.DataFrame(one[first:], columns=NAMES).assign(
                field=f"f{k}", day=[f"{year + (t > 5)}-{DEKADS[t]}" for t in range(first, STEPS)]
            )
            for k, one in enumerate(season)
        ]
        return pd.concat(frames)

    def answers(table: Any, **options: Any) -> list[float]:
        found = predict(table, series_column="field", timestamp_column="day", **options)
        return found.sort_values("field")["prediction"].tolist()

    whole = [row["prediction"] for row in predict(season)]
    late = [row["prediction"] for row in predict(np.where(np.arange(STEPS)[:, None] < 5, np.nan, season))]
    np.testing.assert_allclose(answers(steps(2024)), whole, rtol=1e-5)
    np.testing.assert_allclose(answers(steps(2021, first=5)), late, rtol=1e-5)
    values = steps(2021, first=5).melt(["field", "day"], NAMES, "band", "reading").sample(frac=1, random_state=0)
    roles = {"variate_column": "band", "value_column": "reading"}
    with pytest.warns(UserWarning, match="have been sorted"):
        np.testing.assert_allclose(answers(values, **roles), late, rtol=1e-5)
    both = pd.concat(
        [steps(2021).query("field == 'f0'"), steps(2021).query("field == 'f1'").assign(day="2021-07-01")[:1]]
    )
    with pytest.warns(UserWarning, match="1 of 2 series left out: f1: none of the dates 2021-07-01"):
        found = predict(both, series_column="field", timestamp_column="day")
    assert found["prediction"].isna().tolist() == [False, True]
    with pytest.raises(ValueError, match="variate_column and value_column: only for tables"):
        predict(season, **roles)


def test_long_tables_with_numbers_of_steps_are_read_by_them(made: Any) -> None:
    predict, *_ = made(0.0, 3)
    season = TRAIN[0]
    late = predict(np.where(np.arange(STEPS)[:, None] < 4, np.nan, season))["prediction"]
    table = pd.DataFrame(season[4:], columns=NAMES).assign(dekad=range(7, 15))
    assert predict(table, timestamp_column="dekad")["prediction"][0] == pytest.approx(late, rel=1e-5)
    other = table.assign(dekad=range(2017, 2025))  # numbers of something else: as rows without times
    expected = predict(season[4:])["prediction"]
    assert predict(other, timestamp_column="dekad")["prediction"][0] == pytest.approx(expected, rel=1e-5)
    assert predict(table[NAMES])["prediction"][0] == pytest.approx(expected, rel=1e-5)
