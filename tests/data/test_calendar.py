# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the calendar says of times."""

import numpy as np
import pandas as pd
import pytest

from timesclip_hf.data.calendar import calendar_columns, calendar_values, read_calendar


def test_turns_are_a_sine_and_a_cosine_of_the_local_clock() -> None:
    times = np.array(["2024-01-01T06:00", "2024-01-04T18:30"], "datetime64[s]")  # a Monday, a Thursday
    found = calendar_values(times, ["hour", "weekday"])
    expected = [[np.sin(a), np.cos(a)] for a in (np.pi / 2, 2 * np.pi * 18.5 / 24)]
    assert np.allclose(found[:, :2], expected)
    assert np.allclose(found[:, 2:], [[0, 1], [np.sin(2 * np.pi * 3 / 7), np.cos(2 * np.pi * 3 / 7)]])
    berlin = pd.DatetimeIndex(times).tz_localize("Europe/Berlin")
    assert np.allclose(calendar_values(berlin, ["hour", "weekday"]), found)
    assert np.allclose(
        calendar_values(berlin.tz_convert("UTC"), ["hour"])[0],
        [np.sin(2 * np.pi * 5 / 24), np.cos(2 * np.pi * 5 / 24)],
    )


def test_months_and_days_come_round() -> None:
    january, december = np.array(["2023-01-01", "2023-12-31"], "datetime64[s]")
    for part, near in (("year_day", 0.99), ("month", 0.86), ("month_day", 0.97)):
        first, last = calendar_values(np.array([january, december]), [part])
        assert first @ last > near  # cosine of the angle between them
    assert calendar_values(np.array(["2024-01-06", "2024-01-08"], "datetime64[s]"), ["weekend"]).ravel().tolist() == [
        1,
        0,
    ]


def test_holidays_are_those_of_a_country_or_a_part_of_it() -> None:
    times = np.array(["2024-07-14T10:00", "2024-05-01T00:00", "2024-01-06T00:00"], "datetime64[s]")
    assert calendar_values(times, ["holidays:FR"]).ravel().tolist() == [1, 1, 0]
    assert calendar_values(times, ["holidays:DE-BY"]).ravel().tolist() == [0, 1, 1]  # Epiphany, in Bavaria
    with pytest.raises(ValueError, match="holidays:XX"):
        read_calendar(["holidays:XX"])


@pytest.mark.parametrize(
    ("freq", "expected"),
    [("h", ["hour", "weekday", "year_day"]), ("D", ["weekday", "year_day"]), ("MS", ["year_day"])],
)
def test_auto_goes_by_the_distance_of_times(freq: str, expected: list[str]) -> None:
    times = pd.date_range("2024-01-01", periods=30, freq=freq).to_numpy()
    assert read_calendar("auto", times) == expected
    assert read_calendar(["weekday", "auto", "holidays:FR"], times)[0] == "weekday"


def test_names_and_columns_belong_together() -> None:
    columns = calendar_columns(["hour", "weekend", "holidays:FR"])
    assert [column["name"] for column in columns] == ["hour_sin", "hour_cos", "weekend", "holidays:FR"]
    times = pd.date_range("2024-01-01", periods=3, freq="h")
    assert calendar_values(times, ["hour", "weekend", "holidays:FR"]).shape == (3, len(columns))
    with pytest.raises(ValueError, match="'hours' .near: hour"):
        read_calendar(["hours"])
    with pytest.raises(ValueError, match="times that are dates"):
        calendar_values(np.arange(3), ["hour"])
