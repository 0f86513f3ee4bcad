# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Business days without the holidays of an exchange or a country."""

import builtins
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.tseries.holiday import USFederalHolidayCalendar
from pandas.tseries.offsets import CustomBusinessDay

from timesclip_hf.data import business_holidays
from timesclip_hf.data.rhythms import find_rhythm
from timesclip_hf.data.timestamps import continue_timestamps, find_holes


def test_federal_business_days_of_the_united_states_go_on_as_pandas_counts_them() -> None:
    days = pd.date_range("2022-01-03", "2024-06-28", freq=CustomBusinessDay(calendar=USFederalHolidayCalendar()))
    past, future = days[:-40], days[-40:]  # over Memorial Day and Juneteenth
    assert np.array_equal(continue_timestamps(past.to_numpy(), 40), future.to_numpy())
    assert find_holes(past.to_numpy(), "rates") is None
    zoned = past.tz_localize("America/New_York") + pd.Timedelta(hours=16)
    assert list(continue_timestamps(zoned, 40)) == list(
        future.tz_localize("America/New_York") + pd.Timedelta(hours=16)
    )


@pytest.mark.parametrize(
    ("closed", "first", "following"),
    [
        # Good Friday is a holiday of New York's exchange, Columbus Day is none (its published calendar).
        (
            ["2022-12-26", "2023-01-02", "2023-01-16", "2023-02-20"],
            "2022-12-01",
            ["2023-04-06", "2023-04-10"],
        ),
        # TARGET closes on Good Friday, Easter Monday and 1 May.
        (["2022-12-26", "2022-04-15", "2022-04-18"], "2022-04-01", ["2023-04-06", "2023-04-11"]),
    ],
)
def test_an_exchange_is_told_by_the_days_it_was_closed(closed: list[str], first: str, following: list[str]) -> None:
    days = pd.bdate_range(first, "2023-04-05", freq="C", holidays=closed).to_numpy()
    assert continue_timestamps(days, 2).astype("datetime64[D]").astype(str).tolist() == following


def test_other_holes_stay_holes() -> None:
    days = pd.bdate_range("2023-01-03", "2023-12-29")
    holidays = ["2023-05-01", "2023-05-08", "2023-07-14", "2023-08-15", "2023-11-01", "2023-12-25"]
    some = days[~days.isin(pd.to_datetime(holidays[:3]))]  # the others are there
    rhythm = find_rhythm(some.to_numpy())
    assert rhythm is not None and rhythm.name == "Monday to Friday"
    more = days[~days.isin(pd.to_datetime([*holidays, "2023-06-06"]))]
    rhythm = find_rhythm(more.to_numpy())
    assert rhythm is not None and rhythm.name == "Monday to Friday"


def test_without_the_package_they_are_monday_to_friday(monkeypatch: Any) -> None:
    days = pd.date_range("2022-01-03", "2024-06-28", freq=CustomBusinessDay(calendar=USFederalHolidayCalendar()))
    plain = builtins.__import__

    def no_holidays(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "holidays":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    business_holidays.holidays_of.cache_clear()
    monkeypatch.setattr(builtins, "__import__", no_holidays)
    rhythm = find_rhythm(days.to_numpy())
    business_holidays.holidays_of.cache_clear()
    assert rhythm is not None and rhythm.name == "Monday to Friday"
