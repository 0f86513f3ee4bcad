# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the calendar says of a time, as covariates: always known in advance, so nobody need write it into a table.

Turns of the day, week, month and year are a sine and a cosine each, of the local clock; `"weekend"` is 0 or 1;
`"holidays:FR"` (`"holidays:DE-BY"`) is 0 or 1 by the package `holidays`, 1 on the public holidays of a country (of a
part of it). Nothing is fitted: a time means the same in every table.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .rhythms import Times
from .words import check_known

_HOLIDAYS = "holidays:"
_HOUR, _DAY = 3600.0, 86_400.0


def _turn(part: Callable[[pd.DatetimeIndex], Any], period: float) -> Callable[[pd.DatetimeIndex], NDArray[np.float64]]:
    def turn(index: pd.DatetimeIndex) -> NDArray[np.float64]:
        angle = 2 * np.pi * np.asarray(part(index), np.float64) / period
        return np.stack([np.sin(angle), np.cos(angle)], axis=1)

    return turn


def _seconds(index: pd.DatetimeIndex) -> Any:
    return index.hour * _HOUR + index.minute * 60.0 + index.second


_TURNS: dict[str, Callable[[pd.DatetimeIndex], NDArray[np.float64]]] = {
    "minute": _turn(lambda index: index.minute + index.second / 60.0, 60.0),
    "hour": _turn(_seconds, _DAY),
    "weekday": _turn(lambda index: index.dayofweek, 7.0),
    "month_day": _turn(lambda index: (index.day - 1) / index.days_in_month, 1.0),
    "month": _turn(lambda index: index.month - 1, 12.0),
    "year_day": _turn(lambda index: index.dayofyear - 1, 365.25),
}
PARTS = (*_TURNS, "weekend")


def read_calendar(names: str | Sequence[str] | None, times: Times | None = None) -> list[str]:
    """What is asked for of the calendar, checked.

    Args:
        names: of `PARTS`, or `"holidays:COUNTRY"`; `"auto"`: what the distance of the times suggests (hours: hour,
            weekday, day of the year; days: weekday and day of the year; more: day of the year).
        times: of a series, for `"auto"`.

    Raises:
        ValueError: an unknown name or country, or no dates.
        ImportError: holidays without the package of this name.
    """
    asked = [names] if isinstance(names, str) else list(names or [])
    if "auto" in asked:
        place = asked.index("auto")
        asked[place : place + 1] = [name for name in _suggested(times) if name not in asked]
    for name in asked:
        if name.startswith(_HOLIDAYS):
            _holiday_calendar(name.removeprefix(_HOLIDAYS))
    plain = [name for name in asked if not name.startswith(_HOLIDAYS)]
    check_known(plain, PARTS, "calendar: unknown", f"there are {', '.join(PARTS)}, holidays:COUNTRY and auto")
    return list(dict.fromkeys(asked))


def calendar_columns(names: Sequence[str]) -> list[dict[str, Any]]:
    """The columns that `calendar_values` gives, as `fit_future` takes them: with nothing left to fit."""
    told = []
    for name in names:
        told += [f"{name}_sin", f"{name}_cos"] if name in _TURNS else [name]
    return [{"name": name, "mean": 0.0, "std": 1.0} for name in told]


def calendar_values(times: Times, names: Sequence[str]) -> NDArray[np.float64]:
    """`(n, columns)` of `(n,)` times, those with a zone by their local clock.

    Raises:
        ValueError: times that are no dates.
    """
    index = _dates(times)
    parts = [np.zeros((len(index), 0))]
    for name in names:
        if name in _TURNS:
            parts.append(_TURNS[name](index))
        elif name == "weekend":
            parts.append(np.asarray(index.dayofweek >= 5, np.float64)[:, None])
        else:
            parts.append(_on_holidays(index, name.removeprefix(_HOLIDAYS))[:, None])
    return np.concatenate(parts, axis=1)


def _dates(times: Times | None) -> pd.DatetimeIndex:
    if times is None or not (isinstance(times, pd.DatetimeIndex) or np.asarray(times).dtype.kind == "M"):
        raise ValueError("calendar needs times that are dates: name a timestamp_column that holds them")
    return pd.DatetimeIndex(times).tz_localize(None)  # the clock on the wall


def _suggested(times: Times | None) -> list[str]:
    steps = np.diff(_dates(times).to_numpy())
    distance = float(np.median(steps) / np.timedelta64(1, "s")) if len(steps) else _DAY
    if distance < _DAY:
        return ["hour", "weekday", "year_day"]
    return ["weekday", "year_day"] if distance < 7 * _DAY else ["year_day"]


def _on_holidays(index: pd.DatetimeIndex, country: str) -> NDArray[np.float64]:
    calendar = _holiday_calendar(country)
    days, place = np.unique(index.to_numpy().astype("datetime64[D]"), return_inverse=True)
    return np.array([float(day.item() in calendar) for day in days])[place] if len(days) else np.zeros(0)


@functools.cache
def _holiday_calendar(country: str) -> Any:
    try:
        import holidays
    except ImportError as error:
        raise ImportError(
            f"calendar 'holidays:{country}' needs the package holidays: pip install 'timesclip-hf[forecast]'"
        ) from error
    name, _, part = country.partition("-")
    try:
        return holidays.country_holidays(name, subdiv=part or None)
    except NotImplementedError as error:
        raise ValueError(
            f"calendar 'holidays:{country}': {error}; expected such as holidays:FR or holidays:DE-BY"
        ) from error


__all__ = ["PARTS", "calendar_columns", "calendar_values", "read_calendar"]
