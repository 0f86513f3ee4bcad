# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Covariates of a forecaster: of the future, of the past alone, of a series as a whole, of the calendar."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from timesclip_hf import TimesCLIPForecaster

pytestmark = pytest.mark.filterwarnings("ignore:columns of the table that are not used")

QUICK: dict[str, Any] = {"epochs": 1, "config": {"projection_dim": 8}}
ROLES: dict[str, Any] = {
    "future_covariates": ["price", "promo"],
    "past_covariates": ["visits"],
    "static": ["region"],
    "calendar": ["weekday"],
}


def sales(steps: int = 50) -> pd.DataFrame:
    """Two shops, and the rows of the four days behind."""
    rng = np.random.default_rng(0)
    parts = []
    for k, shop in enumerate("ab"):
        price = 2 + rng.random(steps + 4)
        y = np.where(np.arange(steps + 4) < steps, 10.0 * (k + 1) - 3 * price, np.nan)
        promo = rng.choice(["none", "flyer"], steps + 4)
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": shop,
                    "ds": pd.date_range("2024-01-01", periods=steps + 4),
                    "y": y,
                    "price": price,
                    "promo": promo,
                    "visits": np.where(np.isnan(y), np.nan, rng.random(steps + 4)),
                    "region": f"r{k}",
                }
            )  # fmt: skip
        )
    return pd.concat(parts, ignore_index=True)


def parts_of(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """History, and what is known of the future."""
    past = frame["y"].notna()
    return frame[past].reset_index(drop=True), frame.loc[~past, ["unique_id", "ds", "price", "promo"]]


@pytest.fixture(scope="module")
def fitted() -> TimesCLIPForecaster:
    history, _ = parts_of(sales())
    return TimesCLIPForecaster(**QUICK).fit(history, horizon=4, context_length=14, **ROLES)


def test_rows_of_the_future_may_come_in_any_order_of_any_kind_or_behind_the_history(fitted: Any) -> None:
    history, future = parts_of(sales())
    answer = fitted.predict(history, future)
    assert list(answer.columns) == ["unique_id", "ds", "TimesCLIP"] and len(answer) == 8
    mixed = future.sample(frac=1.0, random_state=0)
    pd.testing.assert_frame_equal(fitted.predict(history, pl.from_pandas(mixed)), answer)
    pd.testing.assert_frame_equal(fitted.predict(history, future.set_index(["unique_id", "ds"])), answer)
    pd.testing.assert_frame_equal(fitted.predict(sales()), answer)


def test_the_forecast_depends_on_the_future_and_a_change_behind_the_horizon_is_refused(fitted: Any) -> None:
    history, future = parts_of(sales())
    moved = fitted.predict(history, future.assign(price=future["price"] + 1))
    assert not np.allclose(moved["TimesCLIP"], fitted.predict(history, future)["TimesCLIP"])
    with pytest.raises(ValueError, match=r"series 'a' has rows for other times, 2024-02-22.*from 2024-02-20"):
        fitted.predict(history, future, horizon=2)


def test_a_longer_horizon_takes_what_is_known_of_all_its_steps() -> None:
    history, future = parts_of(sales())
    roles = {name: ROLES[name] for name in ("future_covariates", "calendar")}
    fitted = TimesCLIPForecaster(**QUICK).fit(history, horizon=2, context_length=14, **roles)
    four = fitted.predict(history, future, horizon=4)
    two = fitted.predict(history, future.groupby("unique_id").head(2), horizon=2)
    pd.testing.assert_frame_equal(four.groupby("unique_id").head(2).reset_index(drop=True), two)
    came = future.groupby("unique_id").head(2).merge(two, on=["unique_id", "ds"]).rename(columns={"TimesCLIP": "y"})
    later = fitted.predict(pd.concat([history, came]), future.groupby("unique_id").tail(2), horizon=2)
    np.testing.assert_allclose(four.groupby("unique_id").tail(2)["TimesCLIP"], later["TimesCLIP"], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.iloc[1:], "series 'a' has no row for 2024-02-20"),
        (lambda f: pd.concat([f, f.iloc[[2]]]), "series 'a' has 2024-02-22.* more than once"),
        (lambda f: f.assign(ds=f["ds"] + pd.Timedelta(1, "h")), "series 'a' has no row for 2024-02-20 00:00:00"),
        (lambda f: f.assign(price=f["price"].where(f["unique_id"] == "a")), "'b' has no value of 'price' at 2024-02"),
        (lambda f: f.assign(promo="radio"), "'promo' has the category 'radio' .series 'a' at 2024-02-20"),
        (lambda f: f.drop(columns="price"), "future_df: no such columns.*'price'"),
        (lambda f: f.assign(unique_id="new"), "future_df: rows of 1 series without history: 'new'"),
        (lambda f: f.assign(ds=f["ds"].dt.tz_localize("UTC")), "future_df: times have a time zone in one table and"),
    ],
)  # fmt: skip
def test_a_fault_in_the_rows_of_the_future_names_series_and_time(fitted: Any, change: Any, words: str) -> None:
    history, future = parts_of(sales())
    with pytest.raises(ValueError, match=words):
        fitted.predict(history, change(future))


def test_a_covariate_that_the_history_lacks_is_named(fitted: Any) -> None:
    history, future = parts_of(sales())
    with pytest.raises(ValueError, match="the table lacks columns.*'promo'"):
        fitted.predict(history.drop(columns="promo"), future)


def test_names_of_series_of_another_type_in_the_future_are_told(fitted: Any) -> None:
    history, future = (part.assign(unique_id=part["unique_id"].map({"a": 1, "b": 2})) for part in parts_of(sales()))
    with pytest.raises(
        ValueError, match="names of the series are of another type than in the table, such as '1' and 1"
    ):
        fitted.predict(history, future.astype({"unique_id": str}))


def test_without_rows_of_the_future_it_is_said_where_they_may_stand(fitted: Any) -> None:
    with pytest.raises(ValueError, match="series 'a' has 0 rows of 'price'|series 'a' has 0 rows of price, promo"):
        fitted.predict(parts_of(sales())[0])


def test_a_saved_forecaster_knows_categories_and_calendar(fitted: TimesCLIPForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    history, future = parts_of(sales())
    again = TimesCLIPForecaster.load(tmp_path).predict(history, future)
    pd.testing.assert_frame_equal(again, fitted.predict(history, future))


def test_static_columns_may_stand_in_a_table_of_their_own() -> None:
    history, _ = parts_of(sales())
    plain = history[["unique_id", "ds", "y"]]
    shops = pd.DataFrame({"unique_id": ["b", "a"], "region": ["r1", "r0"], "area": [20.0, 10.0]})
    fitted = TimesCLIPForecaster(**QUICK).fit(plain, static=shops, horizon=4, context_length=14)
    pd.testing.assert_frame_equal(fitted.predict(plain, static=shops), fitted.predict())
    one = plain[plain["unique_id"] == "b"]  # the table that `fit` had tells of more series
    pd.testing.assert_frame_equal(fitted.predict(one), fitted.predict(one, static=shops.head(1)))
    with pytest.raises(ValueError, match="static has 1 series without history, such as 'c'"):
        fitted.predict(plain, static=pd.concat([shops, shops.head(1).assign(unique_id="c")]))
    with pytest.raises(ValueError, match="static has no row for 1 series, such as 'b'"):
        fitted.predict(plain, static=shops.tail(1))


def test_static_columns_that_change_are_named() -> None:
    history, _ = parts_of(sales())
    changing = history.assign(region=np.arange(len(history)) % 2)
    with pytest.raises(ValueError, match="series 'a': static columns that change within a series: region"):
        TimesCLIPForecaster(**QUICK).fit(changing, static=["region"], horizon=4, context_length=14)
