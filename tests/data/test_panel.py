# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables of many series as one block, and the windows that are cut from it."""

import numpy as np
import pandas as pd
import pytest

from timesclip_hf.data.panel import Panel, read_panel
from timesclip_hf.data.panel_covariates import with_future
from timesclip_hf.data.panel_windows import PanelWindows, usable_windows


def panel_of(frame: pd.DataFrame, **options: object) -> Panel:
    return read_panel(frame, timestamp_column="t", id_column="id", variates=["y"], **options)  # type: ignore[arg-type]


def frame_of(**times: pd.DatetimeIndex) -> pd.DataFrame:
    parts = [pd.DataFrame({"id": name, "t": index, "y": np.arange(len(index)) * 1.0}) for name, index in times.items()]
    return pd.concat(parts, ignore_index=True)


def ahead(panel: Panel, steps: int) -> list[list[str]]:
    series = np.arange(len(panel)).repeat(steps)
    times = panel.calendar.times(series, panel.lengths.repeat(steps) + np.tile(np.arange(steps), len(panel)))
    return [[str(t)[:16] for t in part] for part in np.split(pd.DatetimeIndex(times), len(panel))]


def test_rows_in_any_order_make_one_panel() -> None:
    frame = frame_of(
        b=pd.date_range("2024-01-01", periods=5, freq="h"), a=pd.date_range("2024-01-02", periods=3, freq="h")
    )
    panel, mixed = panel_of(frame), panel_of(frame.sample(frac=1.0, random_state=1))
    assert panel.ids.tolist() == ["a", "b"] and panel.lengths.tolist() == [3, 5]
    assert panel.values[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    np.testing.assert_array_equal(panel.values, mixed.values)
    assert ahead(panel, 1) == ahead(mixed, 1) == [["2024-01-02 03:00"], ["2024-01-01 05:00"]]


def test_steps_that_are_not_there_count_as_missing_and_are_told() -> None:
    frame = frame_of(a=pd.date_range("2024-01-01", periods=8, freq="D")).drop(index=[2, 5])
    with pytest.warns(UserWarning, match="2 time steps are not in the table"):
        panel = panel_of(frame)
    np.testing.assert_array_equal(panel.values[:, 0], [0, 1, np.nan, 3, 4, np.nan, 6, 7])


@pytest.mark.parametrize(
    ("freq", "expected"),
    [("ME", ["2024-06-30", "2024-07-31"]), ("MS", ["2024-06-01", "2024-07-01"]), ("B", ["2024-02-07", "2024-02-08"])],
)
def test_months_and_business_days_continue_on_their_calendar(freq: str, expected: list[str]) -> None:
    start = {"ME": "2024-01-31", "MS": "2024-01-01", "B": "2024-01-31"}[freq]
    panel = panel_of(frame_of(a=pd.date_range(start, periods=5, freq=freq)), freq=freq)
    assert [t[:10] for t in ahead(panel, 2)[0]] == expected


def test_weeks_that_begin_on_different_days_each_keep_theirs() -> None:
    frame = frame_of(**{f"s{d}": pd.date_range(f"2024-01-0{d}", periods=4, freq="7D") for d in range(1, 6)})
    panel = panel_of(frame)
    assert panel.lengths.tolist() == [4] * 5
    assert [dates[0][:10] for dates in ahead(panel, 1)] == [
        f"2024-01-{28 + d + 1 - 1:02d}" if d <= 3 else f"2024-02-0{d - 3}" for d in range(1, 6)
    ]


def test_series_of_unlike_rhythms_each_keep_theirs() -> None:
    frame = frame_of(
        m=pd.date_range("2020-01-31", periods=6, freq="ME"), h=pd.date_range("2024-01-01", periods=6, freq="h")
    )
    assert [dates[0] for dates in ahead(panel_of(frame), 1)] == ["2024-01-01 06:00", "2020-07-31 00:00"]


def test_a_time_that_comes_twice_names_series_and_time() -> None:
    frame = frame_of(a=pd.date_range("2024-01-01", periods=3), b=pd.date_range("2024-01-01", periods=3))
    with pytest.raises(ValueError, match="series 'b' has 2024-01-03.* more than once"):
        panel_of(pd.concat([frame, frame.iloc[[5]]]))
    with pytest.raises(ValueError, match="2024-01-01.* more than once .3 such rows.* as id_column"):
        read_panel(frame, timestamp_column="t", variates=["y"])
    numbered = pd.concat([frame, frame]).assign(id=7)
    with pytest.raises(ValueError, match="series 7 has 2024-01-01"):
        panel_of(numbered)


def test_hours_of_a_clock_that_was_put_back_ask_for_a_zone() -> None:
    hours = pd.date_range("2024-10-26", periods=48, freq="h", tz="Europe/Berlin").tz_localize(None)
    with pytest.raises(ValueError, match="2024-10-27 02:00:00 more than once .1 such rows.*give the times their zone"):
        panel_of(frame_of(a=hours))


def test_a_frequency_of_dates_for_times_that_are_numbers_is_refused() -> None:
    frame = pd.DataFrame({"t": [1, 2, 3], "y": 1.0})
    with pytest.raises(ValueError, match="freq='D': times are numbers, so that it must be a number above 0"):
        read_panel(frame, timestamp_column="t", variates=["y"], freq="D")


def test_times_beside_the_frequency_name_the_series() -> None:
    frame = frame_of(
        a=pd.date_range("2024-01-01", periods=4, freq="D"),
        b=pd.DatetimeIndex(["2024-01-01 05:00", "2024-01-02 07:00"]),
    )
    with pytest.raises(ValueError, match="series 'b': times such as 2024-01-01T05.* do not stand on freq='D'"):
        panel_of(frame, freq="D")


def test_windows_reach_before_the_beginning_as_missing_and_not_into_the_neighbour() -> None:
    panel = panel_of(frame_of(a=pd.date_range("2024-01-01", periods=3), b=pd.date_range("2024-01-01", periods=4)))
    windows = PanelWindows(panel, np.array([0, 1]), np.array([3, 2]), 4, 3)
    np.testing.assert_array_equal(windows.past(slice(None))[..., 0], [[np.nan, 0, 1, 2], [np.nan, np.nan, 0, 1]])
    np.testing.assert_array_equal(windows.labels(slice(None))[..., 0], [[np.nan] * 3, [2, 3, np.nan]])
    assert windows[1]["past_values"].shape == (4, 1)


def test_windows_without_a_value_before_or_after_are_left_out() -> None:
    frame = frame_of(a=pd.date_range("2024-01-01", periods=8))
    frame.loc[[0, 1, 6, 7], "y"] = np.nan
    series, steps = usable_windows(panel_of(frame), np.array([2]), np.array([6]), 2, 2, 1)
    assert steps.tolist() == [3, 4, 5] and series.tolist() == [0, 0, 0]


def test_draws_by_series_count_long_and_short_ones_alike() -> None:
    panel = panel_of(frame_of(a=pd.date_range("2024-01-01", periods=1000), b=pd.date_range("2024-01-01", periods=20)))
    series, steps = usable_windows(panel, np.array([4, 4]), panel.lengths - 2, 4, 2, 1)
    share = {}
    for by in ("window", "series"):
        windows = PanelWindows(panel, series, steps, 4, 2, draw=400, by=by)  # type: ignore[arg-type]
        share[by] = (windows.series[windows.chosen] == 1).mean()
        first = windows.chosen.copy()
        windows.set_epoch(1)
        assert not np.array_equal(first, windows.chosen)
        windows.set_epoch(0)
        assert np.array_equal(first, windows.chosen)
    assert share["window"] < 0.03 and share["series"] == 0.5


def test_unix_times_take_a_distance_in_their_unit_and_a_future_in_another() -> None:
    hours = [1_577_836_800 + 3600 * k for k in (0, 1, 2, 4, 5)]
    frame = pd.DataFrame({"id": "a", "t": hours, "y": 1.0, "price": 2.0})
    with pytest.warns(UserWarning) as told:
        panel = panel_of(frame, freq=3600, columns=[{"name": "price"}])
    assert sorted(str(one.message)[:20] for one in told) == ["1 time steps are not", "columns of times hol"]
    assert panel.lengths.tolist() == [6] and ahead(panel, 1) == [["2020-01-01 06:00"]]
    assert panel.step_seconds() == 3600.0
    future = pd.DataFrame({"id": "a", "t": [1000 * (hours[0] + 3600 * k) for k in (7, 6)], "price": [8.0, 7.0]})
    with pytest.warns(UserWarning, match="'t' in milliseconds"):
        asked = with_future(panel, 2, future, timestamp_column="t", id_column="id")
    assert asked.ahead[0, :, 0].tolist() == [7.0, 8.0]  # type: ignore[index]
