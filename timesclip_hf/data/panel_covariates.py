# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What is known of the steps behind the series of a panel: rows of the future, and the calendar.

The rule is that of `data.covariates`: for each series a row for each step to forecast, at the times that continue it,
and no other; blank cells and categories that training has not seen are errors that name series and time.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .calendar import calendar_columns, calendar_values
from .covariates import coded_cells
from .panel import Panel, shown
from .rhythms import Times, comparable, instants
from .tables import check_known, decoded, read_numbers, some_of
from .timestamps import read_timestamps, show_time


def with_calendar(panel: Panel, names: Sequence[str], horizon: int = 0) -> Panel:
    """A panel with what the calendar says of its steps, and of `horizon` ones behind them, after other covariates."""
    if not names:
        return panel
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    steps = np.arange(panel.offsets[-1]) - panel.offsets[series]
    told = calendar_values(panel.calendar.times(series, steps), names)
    known = told if panel.known is None else np.concatenate([panel.known, told], axis=1)
    panel = replace(panel, known=known, columns=[*panel.columns, *calendar_columns(names)])
    if not horizon:
        return panel
    ahead = calendar_values(_following(panel, horizon), names).reshape(len(panel), horizon, told.shape[1])
    return replace(panel, ahead=ahead if panel.ahead is None else np.concatenate([panel.ahead, ahead], axis=-1))


def with_future(
    panel: Panel, horizon: int, future: pd.DataFrame | None, *, timestamp_column: str, id_column: str | None = None
) -> Panel:
    """A panel, and its covariates in the steps that follow each series.

    Args:
        panel: with `known`.
        horizon: steps to forecast.
        future: a table with a row for each of them; None: the last rows of the series whose targets are blank, of
            which covariates alone are known, are these steps.
        timestamp_column, id_column: of `future`.

    Raises:
        ValueError: rows that are missing, too many or at other times, other series, blank cells, unknown categories.
    """
    if future is None:
        return _ended(panel, horizon)
    names = [column["name"] for column in panel.columns]
    check_known(names, future, "future_df: no such columns")
    for column in (timestamp_column, *([] if id_column is None else [id_column])):
        check_known([column], future, "future_df: no such columns")
    if id_column is None and len(panel) > 1:
        raise ValueError(f"future_df: {len(panel)} series, but no column of their names")
    codes = _codes(panel, future, id_column)
    wanted = _following(panel, horizon)
    expected = instants(wanted)
    times = comparable(read_timestamps(future[timestamp_column]), wanted, "future_df")
    rows = pd.MultiIndex.from_arrays([codes, times])
    if (twice := np.flatnonzero(rows.duplicated())).size:
        name, time = shown(panel.ids, codes[twice[0]]), show_time(times[twice[0]])
        raise ValueError(f"future_df: series {name} has {time} more than once")
    needed = pd.MultiIndex.from_arrays([np.arange(len(panel)).repeat(horizon), expected])
    places = rows.get_indexer(needed)
    if (missing := np.flatnonzero(places < 0)).size:
        raise ValueError(_told("has no row for", panel, missing // horizon, wanted[missing[0]], horizon))
    if len(rows) > len(needed):
        others = np.flatnonzero(needed.get_indexer(rows) < 0)
        raise ValueError(_told("has rows for other times,", panel, codes[others], times[others[0]], horizon))
    parts = [
        coded_cells(future, column, timestamp_column, id_column)
        if "categories" in column
        else read_numbers(future[column["name"]])
        for column in panel.columns
    ]
    ahead = np.stack(parts, axis=1)[places].reshape(len(panel), horizon, len(parts))
    _check_observed(panel, ahead)
    return replace(panel, ahead=ahead)


def _told(words: str, panel: Panel, series: NDArray[np.int64], time: Any, horizon: int) -> str:
    """What is wrong with the rows of some series, of which the first has it at this time."""
    first = int(series[0])
    more = "" if len(series) == 1 else f" ({len(series)} such steps in all)"
    ends = panel.calendar.times(np.array([first, first]), panel.lengths[first] + np.array([0, horizon - 1]))
    return (
        f"future_df: series {shown(panel.ids, first)} {words} {show_time(time)}{more}; expected a row for each of the "
        f"{horizon} steps from {show_time(ends[0])} to {show_time(ends[1])}, and no other"
    )


def _following(panel: Panel, horizon: int) -> Times:
    """Times of the steps behind each series, `(n * horizon,)`."""
    series = np.arange(len(panel)).repeat(horizon)
    return panel.calendar.times(series, panel.lengths[series] + np.tile(np.arange(horizon), len(panel)))


def _codes(panel: Panel, future: pd.DataFrame, id_column: str | None) -> NDArray[np.int64]:
    if id_column is None:
        return np.zeros(len(future), np.int64)
    names = decoded(future[id_column])
    codes = pd.Index(panel.ids).get_indexer(pd.Index(names))
    if (unknown := codes < 0).any():
        others = names[unknown].unique()
        if not set(map(str, others)) - set(map(str, panel.ids)):
            raise ValueError(
                f"future_df: the names of the series are of another type than in the table, such as {others[0]!r} and "
                f"{shown(panel.ids, 0)}"
            )
        raise ValueError(
            f"future_df: rows of {len(others)} series without history: {some_of(map(repr, others), 3)}; such cold "
            "starts cannot be forecast"
        )
    return codes.astype(np.int64)


def observed(panel: Panel) -> Panel:
    """A panel without last steps of which only covariates are known."""
    return panel if not panel.columns else panel.head(_ends(panel))


def _ends(panel: Panel) -> NDArray[np.int64]:
    """Steps of each series up to its last value that is no covariate's."""
    covariates = [column["name"] for column in panel.columns]
    past = [k for k, name in enumerate(panel.variate_names) if name not in covariates]
    seen = ~np.all(np.isnan(panel.values[:, past]), axis=1)
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    ends = np.zeros(len(panel), np.int64)
    np.maximum.at(ends, series[seen], (np.flatnonzero(seen) - panel.offsets[series[seen]]) + 1)
    return ends


def _ended(panel: Panel, horizon: int) -> Panel:
    """The same without the last steps whose targets are all blank, which are the steps to come."""
    covariates, ends = [column["name"] for column in panel.columns], _ends(panel)
    wrong = np.flatnonzero(panel.lengths - ends != horizon)
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"series {shown(panel.ids, first)} has {panel.lengths[first] - ends[first]} rows of {some_of(covariates)} "
            f"behind its last value, expected one for each of the {horizon} steps to forecast: pass future_df, or put "
            "them behind the history with blank targets"
        )
    rows = panel.offsets[:-1, None] + ends[:, None] + np.arange(horizon)
    known: Any = panel.known
    return replace(panel.head(ends), ahead=known[rows])


def _check_observed(panel: Panel, ahead: NDArray[np.float64]) -> None:
    if (holes := np.isnan(ahead)).any():
        series, step, column = np.argwhere(holes)[0]
        time = panel.calendar.times(np.array([series]), np.array([panel.lengths[series] + step]))[0]
        name, lacking = shown(panel.ids, series), panel.columns[column]["name"]
        raise ValueError(f"future_df: series {name} has no value of {lacking!r} at {show_time(time)}")


__all__ = ["observed", "with_calendar", "with_future"]
