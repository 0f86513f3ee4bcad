# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Whose holidays a series of business days skips: those of a stock exchange or a country, by the package `holidays`.

The rule. Three or more weekdays lack between the first and the last, and they are exactly the weekdays on which a
calendar of `CALENDARS` has holidays; of several such calendars, the one that comes first. Without the package, none.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Days = NDArray[np.datetime64]

_LEAST = 3
_EXCHANGES = ("NYSE", "XECB")  # New York; TARGET, the banks of the euro
CALENDARS = (
    *_EXCHANGES, "US", "GB", "DE", "FR", "IT", "ES", "NL", "BE", "AT", "CH", "IE", "PT", "PL", "CZ", "SE", "NO", "DK",
    "FI", "CA", "AU", "NZ", "JP", "KR", "BR", "MX", "ZA",
)  # fmt: skip


def skipped_calendar(days: Days) -> str | None:
    """The calendar whose holidays rising business days `(n,)` skip; None: no such.

    Where only some of the weekdays that lack are holidays, the others are holes: nothing is guessed.
    """
    every = np.arange(days[0], days[-1] + np.timedelta64(1, "D"))
    missing = np.setdiff1d(every[np.is_busday(every)], days)
    if len(missing) < _LEAST:
        return None
    first, last = (int(day.astype("datetime64[Y]").astype(int)) + 1970 for day in (days[0], days[-1]))
    for name in CALENDARS:
        known = holidays_of(name, first, last + 1)
        if np.array_equal(known[(known >= days[0]) & (known <= days[-1])], missing):
            return name
    return None


@functools.lru_cache(maxsize=256)
def holidays_of(name: str, first: int, last: int) -> Days:
    """Weekdays `(n,)` on which a calendar has holidays, of the years from `first` up to `last`, without it."""
    try:
        import holidays
    except ImportError:
        return np.zeros(0, "datetime64[D]")
    find: Any = holidays.financial_holidays if name in _EXCHANGES else holidays.country_holidays
    days = np.array(sorted(find(name, years=range(first, last))), "datetime64[D]")
    return days[np.is_busday(days)] if len(days) else days


__all__ = ["CALENDARS", "holidays_of", "skipped_calendar"]
