# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Frames in, frames out: `TimesCLIPForecaster`."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from timesclip_hf import TimesCLIPForecaster

QUICK: dict[str, Any] = {"epochs": 1, "config": {"projection_dim": 8}}


def series_frame(names: tuple[str, str, str] = ("unique_id", "ds", "y"), steps: int = 60) -> pd.DataFrame:
    """Three series of different level and length, each a season of 7 days."""
    parts = []
    for k, name in enumerate("abc"):
        days = np.arange(steps + 5 * k)
        y = 10.0**k * (5 + np.sin(days * 2 * np.pi / 7))
        parts.append(
            pd.DataFrame({names[0]: name, names[1]: pd.date_range("2024-01-01", periods=len(days)), names[2]: y})
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def fitted() -> TimesCLIPForecaster:
    return TimesCLIPForecaster(**QUICK).fit(series_frame(), horizon=4, context_length=14)


def test_nixtlas_frame_gives_nixtlas_columns_and_the_days_that_follow(fitted: TimesCLIPForecaster) -> None:
    answer = fitted.predict()
    assert list(answer.columns) == ["unique_id", "ds", "TimesCLIP"] and len(answer) == 12
    ends = series_frame().groupby("unique_id")["ds"].max()
    for name, rows in answer.groupby("unique_id"):
        assert rows["ds"].tolist() == pd.date_range(ends[name], periods=5)[1:].tolist()
    # Scaled by its own context, each series is forecast on its own level.
    level = answer.groupby("unique_id")["TimesCLIP"].mean()
    assert (level / [5, 50, 500]).between(0.7, 1.3).all()


@pytest.mark.parametrize("kind", ["polars", "lazy", "pyarrow", "index", "categories"])
def test_a_frame_of_another_kind_gives_the_same_forecasts_in_its_kind(fitted: TimesCLIPForecaster, kind: str) -> None:
    frame, expected = series_frame(), fitted.predict(series_frame())
    if kind in ("polars", "lazy"):
        given: Any = pl.from_pandas(frame).with_columns(pl.col("ds").cast(pl.Date))
        answer = fitted.predict(given.lazy() if kind == "lazy" else given)
        assert isinstance(answer, pl.DataFrame) and answer.schema["ds"] == pl.Date
        answer = answer.to_pandas()
    elif kind == "pyarrow":
        answer = fitted.predict(pa.Table.from_pandas(frame))
        assert isinstance(answer, pa.Table)
        answer = answer.to_pandas()
    elif kind == "index":
        answer = fitted.predict(frame.set_index(["unique_id", "ds"]))
        assert answer.index.names == ["unique_id", "ds"]
        answer = answer.reset_index()
    else:
        answer = fitted.predict(frame.astype({"unique_id": "category"}))
        assert isinstance(answer["unique_id"].dtype, pd.CategoricalDtype)
    np.testing.assert_array_equal(answer["TimesCLIP"], expected["TimesCLIP"])
    assert answer["unique_id"].tolist() == expected["unique_id"].tolist()
    assert pd.DatetimeIndex(answer["ds"]).equals(pd.DatetimeIndex(expected["ds"]))


def test_forecasts_depend_neither_on_the_order_of_rows_nor_on_batches_nor_on_other_series(fitted: Any) -> None:
    frame, expected = series_frame(), fitted.predict(series_frame())
    pd.testing.assert_frame_equal(fitted.predict(frame.sample(frac=1.0, random_state=0)), expected)
    fitted.batch_size = 1
    one_by_one = fitted.predict(frame)
    fitted.batch_size = 512
    pd.testing.assert_frame_equal(one_by_one, expected, rtol=1e-5)
    alone = fitted.predict(frame[frame["unique_id"] == "b"])
    np.testing.assert_allclose(alone["TimesCLIP"], expected["TimesCLIP"][4:8], rtol=1e-5)


def test_training_does_not_depend_on_the_order_of_rows(fitted: TimesCLIPForecaster) -> None:
    mixed = series_frame().sample(frac=1.0, random_state=3)
    again = TimesCLIPForecaster(**QUICK).fit(mixed, horizon=4, context_length=14)
    pd.testing.assert_frame_equal(again.predict(), fitted.predict())


def test_a_shorter_horizon_is_cut_and_a_longer_one_goes_on_from_what_was_forecast(fitted: Any) -> None:
    four, two, six = fitted.predict(), fitted.predict(horizon=2), fitted.predict(horizon=6)
    rows = four.groupby("unique_id").head(2).reset_index(drop=True)
    pd.testing.assert_frame_equal(two, rows)
    pd.testing.assert_frame_equal(six.groupby("unique_id").head(4).reset_index(drop=True), four)
    known = pd.concat([series_frame(), four.rename(columns={"TimesCLIP": "y"})])
    beyond = fitted.predict(known, horizon=2)
    np.testing.assert_allclose(six.groupby("unique_id").tail(2)["TimesCLIP"], beyond["TimesCLIP"], rtol=1e-5)


def test_a_new_process_with_the_folder_alone_predicts_the_same(fitted: TimesCLIPForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    series_frame().to_parquet(tmp_path / "frame.parquet")
    code = (
        "import sys, pandas as pd, timesclip_hf as tc\n"
        "model = tc.TimesCLIPForecaster.load(sys.argv[1])\n"
        "model.predict(pd.read_parquet(sys.argv[2])).to_parquet(sys.argv[3])"
    )
    words = [str(tmp_path / name) for name in ("model", "frame.parquet", "answer.parquet")]
    subprocess.run([sys.executable, "-c", code, *words], check=True)
    pd.testing.assert_frame_equal(pd.read_parquet(words[2]), fitted.predict())


def test_a_loaded_forecaster_asks_for_history(fitted: TimesCLIPForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    with pytest.raises(ValueError, match="df is missing"):
        TimesCLIPForecaster.load(tmp_path).predict()
    with pytest.raises(FileNotFoundError, match=r"holds no forecaster\.json"):
        TimesCLIPForecaster.load(tmp_path.parent)


def test_autogluons_frame_gives_its_index_and_mean() -> None:
    frame = series_frame(("item_id", "timestamp", "target")).set_index(["item_id", "timestamp"])
    answer = TimesCLIPForecaster(**QUICK).fit(frame, horizon=3, context_length=14).predict(frame)
    assert answer.index.names == ["item_id", "timestamp"] and list(answer.columns) == ["mean"] and len(answer) == 9


def test_a_frame_of_one_series_with_names_of_its_own_gives_a_column_for_each_target() -> None:
    days = pd.date_range("2024-01-01", periods=60)
    frame = pd.DataFrame({"Day": days.strftime("%Y-%m-%d"), "load": np.arange(60.0) % 7, "price": np.arange(60.0) % 5})
    answer = TimesCLIPForecaster(**QUICK).fit(frame, horizon=3, context_length=14).predict()
    assert list(answer.columns) == ["Day", "load", "price"]
    assert pd.DatetimeIndex(answer["Day"]).equals(pd.date_range("2024-03-01", periods=3))


def test_a_series_shorter_than_the_context_is_masked_with_a_warning(fitted: TimesCLIPForecaster) -> None:
    short = series_frame().groupby("unique_id").tail(9)
    with pytest.warns(UserWarning, match="3 of 3 series are shorter than the 14 steps"):
        answer = fitted.predict(short)
    assert answer["TimesCLIP"].notna().all()


def test_a_series_without_history_is_refused_by_name(fitted: TimesCLIPForecaster) -> None:
    cold = pd.DataFrame({"unique_id": "new", "ds": pd.date_range("2024-01-01", periods=20), "y": np.nan})
    with pytest.raises(ValueError, match="series 'new' has no value of 'y'"):
        fitted.predict(pd.concat([series_frame(), cold]))


def test_a_series_that_never_changed_goes_on_as_it_is_whatever_the_level_of_others(fitted: Any, sure: Any) -> None:
    frame = series_frame()
    dead = frame[frame["unique_id"] == "a"].assign(unique_id="dead", y=0.25)
    one = dead.head(1).assign(unique_id="one", y=7.0)
    night = frame[frame["unique_id"] == "a"].assign(unique_id="night")
    night["y"] = np.where(np.arange(60) < 46, night["y"], 5.0)  # still for the 14 steps that are read
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for forecaster, horizon in ((fitted, 6), (sure, 9)):
            answer = forecaster.predict(pd.concat([frame, dead, one, night]), horizon=horizon).set_index("unique_id")
            numbers = answer.drop(columns="ds")
            np.testing.assert_array_equal(numbers.loc["dead"], 0.25)
            np.testing.assert_array_equal(numbers.loc["one"], 7.0)
            # Its own spread is .7, that of all series some 250.
            assert 0 < np.abs(numbers.loc["night"] - 5.0).to_numpy().max() < 5


def test_a_table_of_other_steps_than_were_learnt_is_told(fitted: TimesCLIPForecaster, tmp_path: Path) -> None:
    hours = series_frame().assign(ds=lambda rows: pd.Timestamp("2024-01-01") + (rows["ds"] - rows["ds"].min()) / 24)
    fitted.save(tmp_path)
    with pytest.warns(UserWarning, match="a step of 0 days 01:00:00, this forecaster has learnt steps of 1 days"):
        TimesCLIPForecaster.load(tmp_path).predict(hours)


def test_text_as_times_becomes_dates_in_frames_of_any_kind(fitted: TimesCLIPForecaster) -> None:
    text = series_frame().assign(ds=lambda rows: rows["ds"].dt.strftime("%Y-%m-%d"))
    expected = fitted.predict(series_frame())
    for given in (text, pl.from_pandas(text), pa.Table.from_pandas(text)):
        answer: Any = fitted.predict(given)
        answer = answer if isinstance(answer, pd.DataFrame) else answer.to_pandas()
        pd.testing.assert_frame_equal(answer, expected, check_dtype=False)


def test_an_index_without_names_is_read_as_series_and_times(fitted: TimesCLIPForecaster) -> None:
    unnamed = series_frame().set_index(["unique_id", "ds"]).rename_axis([None, None])
    answer = TimesCLIPForecaster(**QUICK).fit(unnamed, horizon=4, context_length=14).predict()
    np.testing.assert_array_equal(answer["y"], fitted.predict()["TimesCLIP"])


def test_static_features_that_autogluons_frames_carry_are_read() -> None:
    class TimeSeriesDataFrame(pd.DataFrame):  # what AutoGluon has of it
        _metadata = ["static_features"]

        @property
        def _constructor(self) -> type:
            return TimeSeriesDataFrame

    frame = series_frame(("item_id", "timestamp", "target")).set_index(["item_id", "timestamp"])
    carried = TimeSeriesDataFrame(frame)
    carried.static_features = pd.DataFrame({"kind": ["x", "y", "x"]}, index=pd.Index([*"abc"], name="item_id"))
    forecaster = TimesCLIPForecaster(**QUICK).fit(carried, horizon=3, context_length=14)
    assert forecaster.tables is not None and forecaster.tables.roles.static == ["kind"]
    pd.testing.assert_frame_equal(forecaster.predict(carried), forecaster.predict())
    backtest = TimesCLIPForecaster(**QUICK).cross_validation(carried, windows=1, horizon=3, context_length=14)
    assert backtest.tables.roles.static == ["kind"]


def test_missing_columns_and_unfitted_forecasters_are_named(fitted: TimesCLIPForecaster) -> None:
    with pytest.raises(ValueError, match="the table lacks columns.*'y'"):
        fitted.predict(series_frame().drop(columns="y"))
    with pytest.raises(ValueError, match="not fitted yet"):
        TimesCLIPForecaster().predict(series_frame())
    with pytest.raises(ValueError, match="no series is long enough"):
        TimesCLIPForecaster(**QUICK).fit(series_frame(steps=8).query("unique_id == 'a'"), horizon=12)


# --- quantiles ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sure() -> TimesCLIPForecaster:
    return TimesCLIPForecaster(**QUICK).fit(
        series_frame(), horizon=4, context_length=14, quantile_levels=[0.05, 0.3, 0.5, 0.95]
    )


def test_quantiles_are_named_as_nixtla_names_them_and_lie_in_order(sure: TimesCLIPForecaster) -> None:
    answer = sure.predict(horizon=9)
    names = [f"TimesCLIP-{name}" for name in ("lo-90", "lo-40", "median", "hi-90")]
    assert list(answer.columns) == ["unique_id", "ds", "TimesCLIP", *names] and len(answer) == 27
    assert (np.diff(answer[names], axis=1) >= 0).all()
    np.testing.assert_array_equal(answer["TimesCLIP"], answer["TimesCLIP-median"])
    sure.batch_size = 2
    two = sure.predict(horizon=9)
    sure.batch_size = 512
    pd.testing.assert_frame_equal(two, answer, rtol=1e-5)


def test_a_saved_forecaster_says_the_same_quantiles_in_any_layout(sure: TimesCLIPForecaster, tmp_path: Path) -> None:
    sure.save(tmp_path)
    expected = sure.predict()
    pd.testing.assert_frame_equal(TimesCLIPForecaster.load(tmp_path).predict(series_frame()), expected)
    layouts = {
        "autogluon": ["mean", "0.05", "0.3", "0.5", "0.95"],
        "chronos": ["target_name", "predictions", "0.05", "0.3", "0.5", "0.95"],
        "wide": ["y", "y-lo-90", "y-lo-40", "y-median", "y-hi-90"],
    }
    for frame, names in layouts.items():
        answer = TimesCLIPForecaster.load(tmp_path, frame=frame).predict(series_frame())
        assert list(answer.columns) == ["unique_id", "ds", *names]
        np.testing.assert_array_equal(answer[names[-1]], expected["TimesCLIP-hi-90"])


def test_paths_are_pooled_by_the_share_that_their_level_stands_for(sure: TimesCLIPForecaster) -> None:
    levels = np.array(sure.core._grid)  # type: ignore[union-attr]
    shares = np.diff(np.concatenate([[0], (levels[1:] + levels[:-1]) / 2, [1]]))
    # Paths that lie far apart: each level then falls into the path that it belongs to.
    said = (100.0 * np.arange(len(levels)))[None, :, None, None, None] + np.arange(len(levels))
    pooled = sure.core._pooled(said)[0, 0, 0]  # type: ignore[union-attr]
    expected = [100 * np.searchsorted(np.cumsum(shares), level, side="right") for level in levels]
    np.testing.assert_array_equal(pooled // 100 * 100, expected)
    # Paths that say the same: the quantiles are their own.
    same = np.broadcast_to(np.arange(float(len(levels))), (1, len(levels), 1, 1, len(levels)))
    np.testing.assert_array_equal(sure.core._pooled(same.copy())[0, 0, 0], np.arange(len(levels)))  # type: ignore[union-attr]


def test_quantiles_that_are_asked_for_win_over_another_loss() -> None:
    settings: dict[str, Any] = {**QUICK, "config": {"projection_dim": 8, "loss": "mae"}}
    levels = {"quantile_levels": [0.1, 0.9], "horizon": 4, "context_length": 14}
    answer = TimesCLIPForecaster(**settings).fit(series_frame(), **levels).predict()
    assert list(answer.columns[2:]) == ["TimesCLIP", "TimesCLIP-lo-80", "TimesCLIP-hi-80"]


def test_levels_that_are_none_are_named() -> None:
    with pytest.raises(ValueError, match="levels must be rising numbers between 0 and 1"):
        TimesCLIPForecaster(**QUICK).fit(series_frame(), quantile_levels=[90])


def test_a_fit_that_fails_changes_nothing() -> None:
    forecaster = TimesCLIPForecaster(**QUICK).fit(series_frame(), horizon=4, context_length=14)
    expected = forecaster.predict()
    with pytest.raises(ValueError, match="no series is long enough"):
        forecaster.fit(series_frame(("item_id", "timestamp", "target")).head(5), horizon=4)
    pd.testing.assert_frame_equal(forecaster.predict(), expected)


def test_levels_that_rounding_moved_are_those_that_were_meant() -> None:
    levels = [(1 - 0.9) / 2, 0.5, 1 - (1 - 0.9) / 2]  # 0.04999999999999999, ...
    fitted = TimesCLIPForecaster(**QUICK).fit(series_frame(), horizon=4, context_length=14, quantile_levels=levels)
    assert fitted.core is not None and fitted.core.levels == (0.05, 0.5, 0.95)


@pytest.mark.parametrize("horizon", [0, -1, 2.5, True])
def test_a_horizon_that_is_no_number_of_steps_is_named(fitted: TimesCLIPForecaster, horizon: Any) -> None:
    with pytest.raises(ValueError, match=f"horizon is {horizon}, expected a whole number from 1"):
        fitted.predict(horizon=horizon)
    with pytest.raises(ValueError, match=f"horizon is {horizon}, expected a whole number from 1"):
        TimesCLIPForecaster(**QUICK).fit(series_frame(), horizon=horizon)
