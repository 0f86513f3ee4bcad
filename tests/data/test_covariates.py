# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Long tables with columns of several roles, and the rows of the steps to come."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from timesclip_hf.data.covariates import CovariateRoles, load_covariate_table, read_with_covariates, with_future
from timesclip_hf.data.windows import ForecastWindows

KEYS: dict[str, Any] = {"timestamp_column": "day", "series_column": "store"}
COLUMNS: list[dict[str, Any]] = [{"name": "price"}, {"name": "promo", "categories": ["a", "b", "c"]}]


def make_table(steps: int = 30) -> pd.DataFrame:
    days, number = pd.date_range("2024-03-01", periods=steps, freq="D"), np.arange(float(steps))
    return pd.concat(
        pd.DataFrame(
            {
                "store": store, "day": days, "sales": number + k, "price": 2 * number,
                "promo": np.resize(list("abc"), steps),
                "visitors": np.sqrt(number), "region": region,
            }
        )
        for k, (store, region) in enumerate({"x": "north", "y": "south"}.items())
    )  # fmt: skip


def make_future(first: str = "2024-03-31") -> pd.DataFrame:
    days = pd.date_range(first, periods=3, freq="D")
    return pd.concat(pd.DataFrame({"store": s, "day": days, "price": [7.0, 8, 9], "promo": list("bca")}) for s in "xy")


def history(table: pd.DataFrame | None = None) -> Any:
    frame = make_table() if table is None else table
    return read_with_covariates(frame, ["sales", "price", "visitors"], COLUMNS, num_targets=1, **KEYS)


def test_targets_come_first_then_covariates_of_numbers_known_in_advance_or_not() -> None:
    roles = CovariateRoles(["sales"], ["promo", "price"], ["visitors"], ["region"], ["weekday"])
    series = load_covariate_table(make_table().sample(frac=1, random_state=0), roles, **KEYS)
    assert series.variate_names == ["sales", "price", "visitors"] and series.target_names == ["sales"]
    assert [column["name"] for column in series.future_columns or []] == [
        "promo", "price", "weekday_sin", "weekday_cos",
    ]  # fmt: skip
    assert (series.future_columns or [])[0] == {"name": "promo", "categories": ["a", "b", "c"]}
    known = dict(zip(series.series_names, series.future or [], strict=True))["y"]
    assert known[:4, :2].tolist() == [[0, 0], [1, 2], [2, 4], [0, 6]]
    assert dict(zip(series.series_names, series.static or [], strict=True)) == {
        "x": {"region": "north"}, "y": {"region": "south"},
    }  # fmt: skip


def test_windows_carry_covariates_of_context_and_horizon() -> None:
    series = load_covariate_table(make_table(), CovariateRoles(["sales"], ["price"], [], ["region"]), **KEYS)
    windows = ForecastWindows(series, 5, 2)
    window = windows[3]
    assert window["past_values"].shape == (5, 2) and window["labels"].ravel().tolist() == [8, 9]
    assert window["future_values"].ravel().tolist() == [6, 8, 10, 12, 14, 16, 18]
    assert window["static_values"] == {"region": "north"}
    later = windows.head(0.5).collection
    assert [len(known) for known in later.future or []] == [15, 15]


def test_rows_of_the_future_stand_in_a_table_of_their_own_or_behind_the_series() -> None:
    series = with_future(history(), 3, make_future().sample(frac=1, random_state=1), **KEYS)
    assert [known.shape for known in series.future or []] == [(33, 2), (33, 2)]
    assert (series.future or [])[0][-3:].tolist() == [[7, 1], [8, 2], [9, 0]]
    behind = with_future(history(pd.concat([make_table(), make_future()])), 3)
    assert all(np.array_equal(a, b) for a, b in zip(behind.future or [], series.future or [], strict=True))
    assert [len(values) for values in behind.values] == [30, 30]


def test_the_calendar_needs_no_rows() -> None:
    plain = read_with_covariates(make_table(), ["sales"], [], **KEYS)
    series = with_future(plain, 3, calendar=["weekend"])
    assert (series.future or [])[0][-4:].ravel().tolist() == [1, 1, 0, 0]  # 30 March 2024 was a Saturday


def _changed(**columns: Any) -> pd.DataFrame:
    frame = make_future().reset_index(drop=True)
    for name, cell in columns.items():
        frame[name] = frame[name].astype(object)
        frame.loc[4, name] = cell
    return frame


FAULTS = {
    "a row is missing": (make_future()[:-1], r"'y' has no row for 2024-04-02.*the 3 steps from 2024-03-31.* to"),
    "a series is missing": (make_future()[:3], r"'y' has no row for 2024-03-31"),
    "a row is too many": (
        pd.concat([make_future(), make_future()[-1:].assign(day=pd.Timestamp("2024-04-03"))]),
        "'y' has rows for other times, 2024-04-03",
    ),
    "a row comes twice": (pd.concat([make_future(), make_future()[-1:]]), "'y' has more than one row for 2024-04-02"),
    "times are others": (
        make_future("2024-03-30"), "'x' has no row for 2024-04-02.*and rows for other times, 2024-03-30",
    ),
    "another series": (make_future().assign(store="z"), "rows of series that are not there: 'z'"),
    "an unknown category": (_changed(promo="d"), r"'promo' has the category 'd' \(series 'y' at 2024-04-01"),
    "a blank cell": (_changed(price=np.nan), "series 'y' has no value of 'price' at 2024-04-01"),
    "a column is missing": (make_future().drop(columns="price"), "future: no such columns: 'price'"),
    "zones differ": (make_future().assign(day=lambda f: f["day"].dt.tz_localize("UTC")), "times have a time zone"),
    "nothing": (None, "'x' has 0 rows of price, promo behind its last value, expected one for each of the 3"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_future_name_series_and_time(fault: str) -> None:
    future, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words):
        with_future(history(), 3, future, **KEYS)


def test_roles_are_checked() -> None:
    with pytest.raises(ValueError, match="more than one role: 'price'"):
        load_covariate_table(make_table(), CovariateRoles(["sales"], ["price"], ["price"]), **KEYS)
    with pytest.raises(ValueError, match="future: no such columns: 'prise' .near: price"):
        load_covariate_table(make_table(), CovariateRoles(["sales"], ["prise"]), **KEYS)
    with pytest.raises(ValueError, match="'x': static columns that change within a series: visitors"):
        load_covariate_table(make_table(), CovariateRoles(["sales"], static=["visitors"]), **KEYS)
    with pytest.raises(ValueError, match="calendar needs"):
        load_covariate_table(
            make_table().drop(columns="day"), CovariateRoles(["sales"], calendar="weekday"), series_column="store"
        )
