# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How a forecaster reads tables: found out from the one that it learns from, and the same for ever after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..data.calendar import calendar_columns, read_calendar
from ..data.covariates import covariate_column
from ..data.forecast_roles import ForecastRoles, find_forecast_roles, forecast_frame
from ..data.panel import Panel, read_panel
from ..data.panel_covariates import with_calendar, with_future
from ..data.tables import check_known, is_table, some_of, warn_caller
from ..data.timestamps import write_timestamps

_SAME_STEP = 1.2  # months, quarters and working days are of unlike length


@dataclass
class ForecastTables:
    """What the columns are for, and what is known of covariates.

    Args:
        roles: of the columns.
        columns: covariates whose future is known, with `categories` where they are no numbers.
        calendar: what is read from the times.
        freq: distance of two steps; None: as the times say.
        seconds: between two steps of the series that were learnt from; None: not known.
    """

    roles: ForecastRoles
    columns: list[dict[str, Any]] = field(default_factory=list)
    calendar: list[str] = field(default_factory=list)
    freq: str | int | None = None
    seconds: float | None = None

    @property
    def variates(self) -> list[str]:
        """What a model reads of a series: targets, then covariates that are numbers."""
        known = [column["name"] for column in self.columns if "categories" not in column]
        return [*self.roles.targets, *known, *self.roles.past_covariates]

    def history(self, df: Any, static: Any = None) -> Panel:
        """The series of a table.

        Args:
            df: the table.
            static: a table of static columns with a row for each series; None: they are in `df`.
        """
        table = joined(forecast_frame(df), self.roles, static)
        roles, variates = self.roles, self.variates
        known = [column["name"] for column in self.columns]
        needed = [roles.timestamp, *([] if roles.id is None else [roles.id]), *variates, *known, *roles.static]
        needed = list(dict.fromkeys(needed))
        check_known(needed, table, "the table lacks columns", f"found {some_of(map(repr, table.columns), 20)}")
        return read_panel(
            table, timestamp_column=roles.timestamp, id_column=roles.id, variates=variates, freq=self.freq,
            columns=self.columns, static=roles.static,
        )  # fmt: skip

    def to_learn(self, df: Any, static: Any = None) -> Panel:
        """The series of a table with all that is known of their steps, whose distance is noted."""
        panel = self.to_judge(df, static)
        self.seconds = panel.step_seconds()
        return panel

    def to_judge(self, df: Any, static: Any = None) -> Panel:
        """The same, with nothing noted."""
        return with_calendar(self.history(df, static), self.calendar)

    def to_ask(self, df: Any, future: Any, horizon: int, static: Any = None) -> Panel:
        """The same with what is known of the `horizon` steps behind them."""
        panel, roles = self.history(df, static), self.roles
        self._check_steps(panel)
        if self.columns:
            table = None if future is None else forecast_frame(future)
            panel = with_future(panel, horizon, table, timestamp_column=roles.timestamp, id_column=roles.id)
        elif future is not None:
            warn_caller("future_df is not read: this forecaster was fitted without future_covariates")
        return with_calendar(panel, self.calendar, horizon)

    def _check_steps(self, panel: Panel) -> None:
        """Tells of series whose steps are of another length than those that were learnt from."""
        found = panel.step_seconds()
        if found and self.seconds and not 1 / _SAME_STEP < found / self.seconds < _SAME_STEP:
            own, learnt = (str(pd.Timedelta(one, "s")) for one in (found, self.seconds))
            warn_caller(
                f"the table has a step of {own}, this forecaster has learnt steps of {learnt}: seasons and covariates "
                "then mean something else, fit one for such steps"
            )

    def keys(self, panel: Panel, series: Any, steps: Any, df: Any) -> pd.DataFrame:
        """Series and times of some steps `(k,)`, in columns like those of a table."""
        times = self.times(panel, series, steps, df)
        ids = {} if self.roles.id is None else {self.roles.id: panel.ids.iloc[series].reset_index(drop=True)}
        return pd.DataFrame({**ids, self.roles.timestamp: times})

    def times(self, panel: Panel, series: Any, steps: Any, df: Any) -> pd.Series:
        """Times of some steps as a column of the kind of a table's."""
        like = forecast_frame(df)[self.roles.timestamp].iloc[:1]
        return write_timestamps(panel.calendar.times(np.asarray(series), np.asarray(steps)), like)


def find_tables(
    df: Any, freq: str | int | None = None, calendar: str | Sequence[str] = (), static: Any = (), **named: Any
) -> ForecastTables:
    """What the columns of a table are for, see `find_forecast_roles`; `static`: columns, or a table of them."""
    table = forecast_frame(df)
    levels = df.index.names if isinstance(df, pd.DataFrame) else ()
    index = [name for name in levels if name is not None]
    if is_table(static) and not isinstance(static, str):
        beside = forecast_frame(static)
        roles = find_forecast_roles(table, **named, index_names=index)
        names = [name for name in beside.columns if name != roles.id]
        roles = ForecastRoles(**{**roles.to_dict(), "static": names})
        table = joined(table, roles, static)
    else:
        roles = find_forecast_roles(table, **named, static=static, index_names=index)
    columns = [covariate_column(table, name) for name in roles.future_covariates]
    times = None
    if calendar:
        series = {"timestamp_column": roles.timestamp, "id_column": roles.id}
        panel = read_panel(table, **series, variates=roles.targets, freq=freq)  # type: ignore[arg-type]
        longest = int(np.argmax(panel.lengths))
        steps = np.arange(min(int(panel.lengths[longest]), 1000))
        times = panel.calendar.times(np.full(len(steps), longest), steps)
    return ForecastTables(roles, columns, read_calendar(calendar or (), times), freq)


def tables_of(processor: Any, timestamp: str | None, series: str | None) -> ForecastTables:
    """What the columns of a table are for that a processor was fitted on, its times and series standing in these.

    Args:
        processor: a `TimesCLIPProcessor` of a forecaster.
        timestamp, series: columns; None: rows are steps (roles then have no `timestamp`), there is one series.
    """
    names, statistics = list(processor.variate_names or []), processor.statistics or {}
    targets, more = names[: processor.num_target_variates], names[len(names[: processor.num_target_variates]) :]
    calendar = list(processor.calendar or [])
    told = {column["name"] for column in calendar_columns(calendar)}
    columns = [column for column in statistics.get("future") or [] if column["name"] not in told]
    known = [column["name"] for column in columns]
    static = [column["name"] for column in statistics.get("static") or []]
    past = [name for name in more if name not in known]
    return ForecastTables(ForecastRoles(timestamp or "", series, targets, known, past, static), columns, calendar)


def joined(table: pd.DataFrame, roles: ForecastRoles, static: Any) -> pd.DataFrame:
    """A table with static columns from another, which has a row for each series.

    Raises:
        ValueError: no names of series, a series with two rows or none, or one that has no history.
    """
    if static is None or not is_table(static):
        return table
    beside, name = forecast_frame(static), roles.id
    check_known([name], beside, "static: no such column of the names of series")
    if (twice := beside[name].duplicated()).any():
        raise ValueError(f"static has more than one row for series {beside[name][twice].iloc[0]!r}")
    if len(cold := beside[name][~beside[name].isin(table[name])]):
        raise ValueError(
            f"static has {len(cold)} series without history, such as {cold.iloc[0]!r}: such cold starts cannot be "
            "forecast"
        )
    if len(lost := table[name][~table[name].isin(beside[name])].unique()):
        raise ValueError(f"static has no row for {len(lost)} series, such as {lost[0]!r}")
    others = [column for column in table.columns if column == name or column not in beside.columns]
    return table[others].merge(beside, on=name, how="left")


def static_of(static: Any, df: Any, roles: ForecastRoles) -> Any:
    """Of a static table the rows of the series that a table has, as far as it has any."""
    beside, table = forecast_frame(static), forecast_frame(df)
    kept = beside[beside[roles.id].isin(table[roles.id])] if roles.id in table else beside
    return beside if kept.empty else kept


def carried_static(df: Any, static: Any) -> Any:
    """A table of static columns: what was given, or what AutoGluon's frames carry with them."""
    carried = getattr(df, "static_features", None)
    given = is_table(static) or (static is not None and len(static) > 0)
    return carried if isinstance(carried, pd.DataFrame) and not given else static


def columns_of(tables: ForecastTables, static: Any = None) -> dict[str, Any]:
    """The arguments of `find_tables` that say the same of columns again; `static`: what was given as such."""
    roles, beside = tables.roles, static if is_table(static) else tables.roles.static
    found: dict[str, Any] = {"id_column": roles.id, "timestamp_column": roles.timestamp, "target": roles.targets}
    found |= {"future_covariates": roles.future_covariates, "past_covariates": roles.past_covariates}
    return found | {"static": beside, "calendar": tables.calendar, "freq": tables.freq}


def tables_to_dict(tables: ForecastTables) -> dict[str, Any]:
    """As JSON has it."""
    parts = {name: getattr(tables, name) for name in ("columns", "calendar", "freq", "seconds")}
    return {"roles": tables.roles.to_dict(), **parts}


def tables_from_dict(parts: Mapping[str, Any]) -> ForecastTables:
    """The same from JSON."""
    known = (parts["columns"], parts["calendar"], parts["freq"], parts.get("seconds"))
    return ForecastTables(ForecastRoles(**parts["roles"]), *known)


__all__ = [
    "ForecastTables",
    "carried_static",
    "columns_of",
    "find_tables",
    "joined",
    "static_of",
    "tables_from_dict",
    "tables_of",
    "tables_to_dict",
]
