# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One bad series does not cost the others: it is left out with its name and reason, and said once a run."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from timesclip_hf import (
    SeriesCollection,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
)
from timesclip_hf.cli import main

NAMES, STEPS, COUNT = ["co2", "o3", "no2"], 12, 6
SERIES = np.random.default_rng(3).normal(size=(COUNT, STEPS, 3)) * [5, 1, 30] + [400, 10, 60]
SITES = [f"site {k}" for k in range(COUNT)]


@pytest.fixture
def build(tiny_config: Any) -> Callable[..., Any]:
    """`build(model_class, static=None, **fields)`: a pipeline."""

    def make(model_class: Any, static: Any = None, **fields: Any) -> Any:
        torch.manual_seed(0)
        preset = "forecast" if model_class is TimesCLIPForPrediction else "small"
        config = tiny_config(preset, prediction_length=4, **fields)
        processor = TimesCLIPProcessor.from_config(config, variate_names=NAMES).fit(SERIES, static_values=static)
        model = model_class(processor.complete_config(config)).eval()
        return pipeline(model_class.task.pipeline, model=model, processor=processor)

    return make


def long_table() -> pd.DataFrame:
    parts = [
        pd.DataFrame(one, columns=NAMES).assign(site=site, time=pd.date_range("2024-02-25", periods=STEPS))
        for one, site in zip(SERIES, SITES, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def wide_table() -> pd.DataFrame:
    columns = {f"{name}_{step:02d}": SERIES[:, step, v] for v, name in enumerate(NAMES) for step in range(STEPS)}
    return pd.DataFrame({"site": SITES, **columns})


def changed(series: np.ndarray, *places: Any) -> np.ndarray:
    series = series.copy()
    for where, value in places:
        series[where] = value
    return series


BAD_SERIES = [
    (changed(SERIES[0], (np.s_[:, 1], np.nan)), "no.* observed .*'o3'"),
    (changed(SERIES[0], ((3, 2), np.inf)), "infinite .*'no2'"),
    (changed(SERIES[0], ((3, 0), 7e24)), "no measurement"),
    (SERIES[0][:, :2], "2 variates, but the processor expects 3"),
    (SERIES[0][:0], "empty"),
    ([["high", 1, 2]], "text, such as 'high'"),
    ([[1, 2, 3], [4, 5]], "cannot be read"),
    ([[True, False, True]] * 12, "bool"),
    ([["1.5", "2", "3"]] * 12, "text, such as '1.5'"),
    (SERIES[0] * 1j, "complex"),
    (pd.DataFrame(SERIES[0], columns=["co2", "o3", "no"]), "lacks the columns"),
    ({"values": SERIES[0]}, "needs 'past_values'"),
    (None, "needs 'past_values'"),
]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("place", [0, 3, COUNT])
@pytest.mark.parametrize(("bad", "reason"), BAD_SERIES)
def test_in_a_list_the_reason_is_the_result(build: Any, bad: Any, reason: str, place: int, batch_size: int) -> None:
    predict = build(TimesCLIPForRegression)
    expected = [answer["prediction"] for answer in predict(SERIES)]
    mixed = [*SERIES[:place], bad, *SERIES[place:]]
    with pytest.warns(UserWarning, match=f"1 of 7 inputs left out: {place}: .*{reason}") as said:
        found = predict(mixed, batch_size=batch_size)
    assert len(said) == 1 and said[0].filename == __file__
    skipped = found.pop(place)
    assert list(skipped) == ["skipped"] and "sample 0" not in skipped["skipped"]
    np.testing.assert_allclose([answer["prediction"] for answer in found], expected, rtol=1e-4)


def test_arrays_data_sets_and_streams_do_as_lists_and_so_do_other_tasks(build: Any) -> None:
    array = changed(SERIES, (np.s_[2, :, 0], np.nan), ((4, 5, 1), np.inf))
    for predict in (build(TimesCLIPForRegression), build(TimesCLIPForPrediction), build(TimesCLIPForClassification)):
        expected = predict(list(SERIES))
        for inputs in (
            array,
            torch.from_numpy(array),
            Dataset.from_dict({"past_values": array.tolist()}),
            iter(array),
        ):
            with pytest.warns(UserWarning, match="2 of 6 inputs left out: 2: .*; 4: .*infinite"):
                found = list(predict(inputs, batch_size=2))
            for k, (one, other) in enumerate(zip(found, expected, strict=True)):
                assert ("skipped" in one) == (k in (2, 4))
                if k not in (2, 4):
                    one, other = (list(a.values())[0] if isinstance(a, dict) else a[0]["score"] for a in (one, other))
                    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_where_none_can_be_read_that_is_an_error_with_the_first_reason(build: Any) -> None:
    predict = build(TimesCLIPForRegression)
    nothing = changed(SERIES, (np.s_[:, :, 0], np.nan))
    with pytest.raises(ValueError, match="no input can be read; the first one: .*'co2'"):
        predict(nothing)
    with pytest.raises(ValueError, match="^past_values has infinite"):
        predict(changed(SERIES[0], ((0, 0), np.inf)))
    with pytest.raises(ValueError, match="no input can be read"):
        list(predict(iter(nothing)))
    assert predict([]) == []
    forecast = build(TimesCLIPForPrediction)
    with pytest.raises(ValueError, match="no rhythm"):
        forecast(long_table().iloc[:1], timestamp_column="time", series_column="site")
    with pytest.raises(ValueError, match="no rhythm"):
        forecast(long_table()[::STEPS], timestamp_column="time", series_column="site")


def spoil(table: pd.DataFrame, kind: str, site: str) -> pd.DataFrame:
    rows = table.index[table["site"] == site]
    if kind == "one row":
        return table.drop(rows[1:])
    if kind == "twice":
        table.loc[rows[4], "time"] = table.loc[rows[5], "time"]
    if kind == "hole":
        return table.drop(rows[5])
    if kind == "blank time":
        table.loc[rows[6], "time"] = pd.NaT
    if kind == "no value":
        table.loc[rows, "o3"] = np.nan
    if kind == "infinite":
        table.loc[rows[2], "co2"] = -np.inf
    if kind == "text":
        table["no2"] = table["no2"].astype(object)
        table.loc[rows[7], "no2"] = "below limit"
    if kind == "absurd":
        table.loc[rows[7], "no2"] = 3e25
    return table


REASONS = {
    "one row": "no rhythm", "twice": "duplicate timestamps", "hole": "1 steps are missing",
    "blank time": "timestamps missing", "no value": "no value of o3", "infinite": "'co2' holds -inf",
    "text": "'no2' holds 'below limit'", "absurd": "no measurement",
}  # fmt: skip


@pytest.mark.parametrize("kind", REASONS)
def test_a_long_table_gives_the_forecasts_of_all_others(build: Any, kind: str) -> None:
    forecast = build(TimesCLIPForPrediction)
    roles = {"timestamp_column": "time", "series_column": "site"}
    expected = forecast(long_table(), **roles)
    assert expected.attrs["skipped"] == {}
    table = spoil(long_table(), kind, "site 2")
    for form in (table, pl.from_pandas(table.astype({"no2": str}) if kind == "text" else table)):
        with pytest.warns(UserWarning, match="1 of 6 series left out: site 2: ") as said:
            found = forecast(form, **roles)
        assert len(said) == 1
        assert list(found.attrs["skipped"]) == ["site 2"] and REASONS[kind] in found.attrs["skipped"]["site 2"]
        rest = expected[expected["site"] != "site 2"].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, rest, rtol=1e-4)


def test_several_faults_of_several_kinds_are_all_listed(build: Any, tmp_path: Path) -> None:
    forecast = build(TimesCLIPForPrediction)
    table = long_table()
    for site, kind in zip(SITES[1:], REASONS, strict=False):
        table = spoil(table, kind, site).reset_index(drop=True)
    with pytest.warns(UserWarning, match="5 of 6 series left out"):
        found = forecast(table, timestamp_column="time", series_column="site")
    assert set(found["site"]) == {"site 0"} and len(found) == 4
    assert {
        name: REASONS[kind] in found.attrs["skipped"][name] for name, kind in zip(SITES[1:], REASONS, strict=False)
    }
    found.to_parquet(tmp_path / "forecast.parquet")
    assert pd.read_parquet(tmp_path / "forecast.parquet").attrs == found.attrs


def test_a_collection_leaves_out_what_cannot_go_on(build: Any) -> None:
    forecast = build(TimesCLIPForPrediction)
    times = [pd.date_range("2024-01-01", periods=len(one)).to_numpy() for one in (SERIES[0], SERIES[1][:1])]
    collection = SeriesCollection([SERIES[0], SERIES[1][:1]], NAMES, ["long", "short"], times)
    with pytest.warns(UserWarning, match="1 of 2 series left out: short: .*no rhythm"):
        found = forecast(collection)
    assert set(found["series"]) == {"long"} and list(found.attrs["skipped"]) == ["short"]
    undated = forecast(SeriesCollection([SERIES[0], SERIES[1][:1]], NAMES, ["long", "short"]))
    assert set(undated["series"]) == {"long", "short"} and not undated.attrs["skipped"]  # one step is enough there


def test_a_wide_table_keeps_the_row_and_leaves_its_result_empty(build: Any) -> None:
    soils = [{"soil": ["peat", "sand"][k % 2], "depth": float(k)} for k in range(COUNT)]
    predict = build(TimesCLIPForRegression, static=soils, num_static_features=3)
    table = pd.concat([wide_table(), pd.DataFrame(soils)], axis=1)
    expected = predict(table)
    table["co2_03"] = table["co2_03"].astype(object)
    table.loc[1, "co2_03"] = "cloud"
    table.loc[2, "no2_11"] = np.inf
    table.loc[3, [f"o3_{step:02d}" for step in range(STEPS)]] = np.nan
    table.loc[4, "soil"] = None
    for labels in (range(COUNT), list("abcdef")):
        indexed = table.set_axis(pd.Index(labels), axis=0)
        with pytest.warns(UserWarning, match="4 of 6 rows left out: ") as said:
            found = predict(indexed, batch_size=2)
        assert len(said) == 1
        assert found["prediction"].isna().tolist() == [False, True, True, True, True, False]
        np.testing.assert_allclose(found["prediction"].iloc[[0, 5]], expected["prediction"].iloc[[0, 5]], rtol=1e-4)
        reasons = found.attrs["skipped"]
        assert list(reasons) == [str(label) for label in labels][1:5]
        for reason, words in zip(
            reasons.values(), ["'cloud'", "infinite", "no value of o3", "'soil' is missing"], strict=True
        ):
            assert words in reason
    long = spoil(long_table(), "hole", "site 4").merge(pd.DataFrame({"site": SITES}).join(pd.DataFrame(soils)))
    long.loc[long.index[1], "depth"] = 9.0  # site 0 changes
    with pytest.warns(UserWarning, match="2 of 6 series left out"):
        found = predict(long, timestamp_column="time", series_column="site")
    assert found["site"].tolist() == SITES and found["prediction"].isna().tolist() == [True, *[False] * 3, True, False]


def test_a_table_in_which_values_are_merely_missing_is_no_error(build: Any) -> None:
    table = wide_table().assign(**{f"o3_{step:02d}": np.nan for step in range(STEPS)})
    with pytest.warns(
        UserWarning, match="6 of 6 rows left out: 0, 1, 2, 3, 4, 5: no value of o3 in the steps 00 to 11"
    ):
        assert build(TimesCLIPForRegression)(table)["prediction"].isna().all()


def test_the_command_writes_the_rest_and_names_what_it_left_out(build: Any, tmp_path: Path, capsys: Any) -> None:
    build(TimesCLIPForPrediction).save_pretrained(tmp_path / "model")
    spoil(long_table(), "one row", "site 3").to_csv(tmp_path / "log.csv", index=False)
    words = ["--timestamp-column", "time", "--series-column", "site", "--output", str(tmp_path / "next.csv")]
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "log.csv"), "--model", str(tmp_path / "model"), *words]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "warning: 1 of 6 series left out: site 3: " in said
    assert set(pd.read_csv(tmp_path / "next.csv")["site"]) == set(SITES) - {"site 3"}


def test_answers_that_are_not_finite_are_told_once_a_run(build: Any) -> None:
    predict = build(TimesCLIPForRegression)
    with torch.no_grad():
        for parameter in predict.model.head.parameters():
            parameter.fill_(float("nan"))
    with pytest.warns(UserWarning, match="not finite for 0, 1, 2, 3, 4, 5 of the inputs") as said:
        predict(SERIES, batch_size=1)
    assert len(said) == 1


def test_unseen_categories_are_told_once_a_run_all_of_them(build: Any) -> None:
    predict = build(TimesCLIPForRegression, static=[{"soil": "peat"}] * COUNT, num_static_features=1)
    soils = ["peat", "loess", "silt", "loess", "clay", "peat"]
    samples = [{"past_values": one, "static_values": {"soil": soil}} for one, soil in zip(SERIES, soils, strict=True)]
    for _ in range(2):
        with pytest.warns(UserWarning, match="'soil' .*never seen .*: 'loess', 'silt', 'clay'$") as said:
            predict(samples, batch_size=1)
        assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(samples[:1])


NO_SAMPLES: list[Any] = [
    5, "x", b"x", object(), [], (), {}, {1: 2}, float("nan"), range(3), len, ..., np.array(["a"]), [[None] * 3] * 12,
    pd.DataFrame(), pd.Series([1.0, 2.0]), pd.DataFrame([[1, 2, 3, 4]], columns=["co2", "co2", "o3", "no2"]),
    torch.zeros(12, 3).to_sparse(), torch.zeros(12, 3, device="meta"), np.ma.masked_all((12, 3)), memoryview(b"abc"),
    np.zeros((12, 0)), np.zeros(()), [[[]]], SERIES[0].astype("datetime64[s]"), (one for one in SERIES[0]),
    *({"past_values": SERIES[0], "past_observed_mask": mask}
      for mask in ("yes", 5, {}, SERIES[0][:3] > 0, np.zeros((12, 3)), [[None] * 3] * 12)),
]  # fmt: skip
NO_STATICS: list[Any] = [
    None, {}, 5, "peat", [1.0], {"soil": "peat"}, {"soil": "peat", "depth": [1, 2]}, {"soil": "peat", "depth": {}},
    {"soil": None, "depth": 1.0}, {"soil": "peat", "depth": 1e300},
]  # fmt: skip


@pytest.mark.parametrize("place", [0, 2])
def test_anything_may_stand_among_series(build: Any, place: int) -> None:
    soils = [{"soil": ["peat", "sand"][k % 2], "depth": float(k)} for k in range(COUNT)]
    predict = build(TimesCLIPForRegression, static=soils, num_static_features=3)
    good = [{"past_values": one, "static_values": soil} for one, soil in zip(SERIES, soils, strict=True)]
    expected = [answer["prediction"] for answer in predict(good)]
    bad = [x if not isinstance(x, dict) else {**x, "static_values": soils[0]} for x in NO_SAMPLES]
    bad += [{"past_values": SERIES[0], "static_values": static} for static in NO_STATICS]
    for number, one in enumerate(bad):
        with pytest.warns(UserWarning, match=f"1 of 7 inputs left out: {place}: "):
            found = predict([*good[:place], one, *good[place:]], batch_size=1 + number % 4)
        assert [k for k, answer in enumerate(found) if "skipped" in answer] == [place], one
        found.pop(place)
        np.testing.assert_allclose([answer["prediction"] for answer in found], expected, rtol=1e-3, err_msg=str(one))
