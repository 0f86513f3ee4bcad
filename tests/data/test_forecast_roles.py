# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the columns of somebody's frame are taken for."""

from typing import Any

import pandas as pd
import pytest

from timesclip_hf.data.forecast_roles import find_forecast_roles, forecast_frame

DAYS = pd.date_range("2024-01-01", periods=3)


def found(frame: pd.DataFrame, **named: Any) -> tuple[Any, ...]:
    roles = find_forecast_roles(frame, **named)
    return roles.id, roles.timestamp, roles.targets, roles.frame


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"unique_id": [1.0] * 3, "ds": DAYS, "y": 1.0}, ("unique_id", "ds", ["y"], "nixtla")),
        ({"item_id": "a", "timestamp": DAYS, "target": 1.0}, ("item_id", "timestamp", ["target"], "autogluon")),
        ({"id": "a", "timestamp": DAYS, "target": 1.0}, ("id", "timestamp", ["target"], "chronos")),
        ({"Month": ["1949-01", "1949-02", "1949-03"], "#Passengers": 1}, (None, "Month", ["#Passengers"], "wide")),
        ({"when": DAYS, "load": 1.0, "price": 2.0}, (None, "when", ["load", "price"], "wide")),
        ({"site": "n", "when": DAYS, "load": 1.0}, ("site", "when", ["load"], "wide")),
        ({"site": ["n", "m", "m"], "when": DAYS[[0, 0, 1]], "load": 1.0}, ("site", "when", ["load"], "wide")),
        ({"when": DAYS, "load": 1.0, "holiday": [True, False, True]}, (None, "when", ["load"], "wide")),
        ({"Unnamed: 0": [0, 1, 2], "when": DAYS, "load": 1.0}, (None, "when", ["load"], "wide")),
        ({"date": DAYS, "time": ["00:00", "06:30", "13:00"], "load": 1.0}, (None, "date", ["load"], "wide")),
    ],
)
@pytest.mark.filterwarnings("ignore:columns of the table that are not used")
def test_columns_are_found_by_the_names_that_people_use(frame: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert found(pd.DataFrame(frame)) == expected


def test_what_is_named_is_taken_and_the_rest_is_told() -> None:
    frame = pd.DataFrame({"site": "n", "day": DAYS, "y": 1.0, "wind": 2.0, "note": "x"})
    with pytest.warns(UserWarning, match="columns of the table that are not used: 'y', 'note'"):
        assert found(frame, target="wind", id_column="site") == ("site", "day", ["wind"], "wide")
    roles = find_forecast_roles(frame.drop(columns="note"), future_covariates=["wind"])
    assert roles.targets == ["y"] and roles.variates == ["y", "wind"]


@pytest.mark.parametrize(
    ("frame", "named", "words"),
    [
        ({"a": 1.0, "b": [1.0, 2, 3]}, {}, "no column of dates, among 'a', 'b': name it as timestamp_column"),
        ({"from": DAYS, "to": DAYS, "y": 1.0}, {}, "columns of dates: 'from', 'to'"),
        ({"ds": DAYS, "site": "n", "crop": "m", "y": 1.0}, {}, "Found text in 'site', 'crop': name it as id_column"),
        ({"ds": DAYS, "unique_id": "n"}, {}, "no column of numbers is left to forecast"),
        ({"ds": DAYS, "sky": ["sun", "rain", "sun"], "y": 1.0}, {}, "does 'sky' name series, or is it a covariate"),
        ({"ds": DAYS, "y": 1.0}, {"target": "z"}, "target: no such columns: 'z'"),
        ({"ds": DAYS, "y": 1.0}, {"target": "y", "static": ["y"]}, "columns with more than one role: 'y'"),
    ],
)
def test_what_is_unclear_is_asked(frame: dict[str, Any], named: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_forecast_roles(pd.DataFrame(frame, index=range(3)), **named)


def test_a_series_of_darts_is_read_by_its_own_frame() -> None:
    class TimeSeries:  # what Darts has of it
        components = pd.Index(["load"])

        def to_dataframe(self) -> pd.DataFrame:
            return pd.DataFrame({"load": [1.0, 2, 3]}, index=DAYS.rename("time"))

    frame = forecast_frame(TimeSeries())
    assert found(frame) == (None, "time", ["load"], "wide")


def test_a_pandas_series_with_times_as_its_index_is_one_series() -> None:
    frame = forecast_frame(pd.Series([1.0, 2, 3], pd.period_range("2024-01", periods=3, freq="M"), name="sales"))
    assert found(frame) == (None, "index", ["sales"], "wide")
    assert found(forecast_frame(pd.Series([1.0, 2, 3], DAYS.rename("day")))) == (None, "day", ["y"], "wide")
    nameless = pd.MultiIndex.from_product([["n", "m"], DAYS])
    assert found(forecast_frame(pd.Series(1.0, nameless))) == ("level_0", "level_1", ["y"], "wide")


UNIX = [1_704_067_200, 1_704_153_600, 1_704_240_000]  # the three days, in seconds since 1970


def test_unix_times_are_found_by_name_and_size_and_are_no_target() -> None:
    assert found(pd.DataFrame({"unix_time": UNIX, "load": 1.0}))[1:3] == ("unix_time", ["load"])
    with pytest.warns(UserWarning, match="not used: 'epoch'"):
        assert found(pd.DataFrame({"when": DAYS, "epoch": UNIX, "load": 1.0}))[1:3] == ("when", ["load"])


def test_numbers_that_may_be_times_are_told_where_no_time_is_found() -> None:
    with pytest.raises(ValueError, match=r"no column of dates.*size of dates or Unix times: 'stamp'\): name it as"):
        found(pd.DataFrame({"stamp": UNIX, "load": 1.0}))
