# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows of a table of which is known what came: what a forecaster is judged and explained on.

The rule. Windows are those whose forecasts begin in the last fifth of their series, and end within it; of a series
whose last fifth is shorter than the horizon, the last window that there is. Of more than are asked for, some are taken
at equal distances. A forecaster that was saved with its columns reads the table as it does to forecast; else columns
are those that the processor names.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..data.panel_covariates import observed
from ..data.panel_windows import PanelWindows, usable_windows
from ..data.pivot import spread_variates
from ..data.timestamps import show_time
from ..model.processing_timesclip import TimesCLIPProcessor
from ..training.fit_forecast import season_of
from .forecast_tables import ForecastTables, tables_from_dict, tables_of
from .loading import forecaster_settings

_SHARE = 0.2


@dataclass(frozen=True)
class TableWindows:
    """Windows of a table, in the order of series and times.

    Args:
        samples: `past_values` `(T, V)`, `labels` `(H, K)` and what is known of covariates, as models take them.
        series: what the series of each is called; `""` in a table of one without a name.
        times: of the first step that each forecasts; `""` where a table tells none.
        count: series of the table.
        column: of the names of series; None: there is one.
        season: steps in a season, by the distance of two times; 1: none is known.
    """

    samples: list[dict[str, Any]]
    series: list[str]
    times: list[str]
    count: int
    column: str | None = None
    season: int = 1

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def titles(self) -> list[str]:
        """What each is called: its series, and when its forecast begins."""
        found = []
        for number, (name, time) in enumerate(zip(self.series, self.times, strict=True)):
            when = f"from {time[:16]}" if time else f"window {number + 1}"
            found.append(f"{name} {when}".strip())
        return found

    def at(self, rows: Any) -> "TableWindows":
        """Some of them."""
        samples, series, times = ([part[int(row)] for row in rows] for part in (self.samples, self.series, self.times))
        return replace(self, samples=samples, series=series, times=times)  # type: ignore[arg-type]


def read_windows(
    frame: pd.DataFrame, config: Any, most: int, tables: ForecastTables, static: Any = None
) -> TableWindows:
    """Windows of a table, by the rule above.

    Args:
        frame: as `forecast_frame` gives it.
        config: of the forecaster.
        most: windows.
        tables: what the columns are for; where these name no times, rows are steps.
        static: a table of static columns, where `frame` does not have them.

    Raises:
        ValueError: a table that cannot be read, or without any such window.
    """
    timed, named = bool(tables.roles.timestamp), tables.roles.id is not None
    frame, tables = _with_times(frame, tables)
    panel = observed(tables.to_judge(frame, static))
    context, horizon = config.context_length, config.prediction_length
    targets = len(tables.roles.targets)
    ends = panel.lengths - horizon
    begins = np.maximum(np.round((1 - _SHARE) * panel.lengths).astype(np.int64), context)
    lows = np.where(ends >= 1, np.minimum(begins, ends), 1)
    series, steps = usable_windows(panel, lows, ends, context, horizon, targets)
    if not len(series):
        raise ValueError(
            f"no series of the table has a window of {context} + {horizon} steps with values of all variates before "
            "the steps to forecast, and what came then"
        )
    few = np.unique(np.linspace(0, len(series) - 1, min(len(series), most)).round().astype(int))
    series, steps = series[few], steps[few]
    shape: dict[str, Any] = {"context_length": context, "prediction_length": horizon, "num_targets": targets}
    windows = PanelWindows(panel, series, steps, **shape)
    times: Any = panel.calendar.times(series, steps) if timed else []
    return TableWindows(
        windows.__getitems__(range(len(windows))),
        [str(name) for name in panel.ids.iloc[series]] if named else [""] * len(series),
        [show_time(time) for time in times] if timed else [""] * len(series),
        len(panel),
        tables.roles.id,
        season_of(panel.step_seconds()) if timed else 1,
    )


def windows_of(
    model: str, processor: TimesCLIPProcessor, config: Any, frame: pd.DataFrame, most: int, **reading: Any
) -> TableWindows:
    """Windows of a table for a saved forecaster.

    Args:
        model: its folder, or Hub id; a `forecaster.json` there says what columns are for.
        processor, config: its own.
        frame: as `read_table` gives it.
        most: windows.
        **reading: how the table is read, see `TimeSeriesPipeline`; names of columns win over those of the folder.
    """
    named: dict[str, Any] = {name: reading.get(name) for name in ("timestamp_column", "series_column")}
    settings = forecaster_settings(model)
    tables = tables_of(processor, *named.values()) if settings is None else tables_from_dict(settings)
    given = {"timestamp": named["timestamp_column"], "id": named["series_column"]}
    tables = replace(
        tables, roles=replace(tables.roles, **{role: name for role, name in given.items() if name is not None})
    )
    if reading.get("variate_column") is not None or reading.get("value_column") is not None:
        pivot: dict[str, Any] = {name: reading.get(name) for name in ("variate_column", "value_column")}
        frame = spread_variates(
            frame, **pivot, timestamp_column=tables.roles.timestamp or None, series_column=tables.roles.id
        )
    tables = _usable_tables(tables, processor, frame) if settings is None else tables
    return read_windows(frame, config, most, tables)


def _with_times(frame: pd.DataFrame, tables: ForecastTables) -> tuple[pd.DataFrame, ForecastTables]:
    """A table whose rows are steps, with their numbers as times."""
    roles = tables.roles
    if roles.timestamp:
        return frame, tables
    name = "step"
    while name in frame:
        name += "_"
    steps: Any = np.arange(len(frame)) if roles.id is None else frame.groupby(roles.id, sort=False).cumcount()
    return frame.assign(**{name: np.asarray(steps)}), replace(tables, roles=replace(roles, timestamp=name))


def _usable_tables(tables: ForecastTables, processor: TimesCLIPProcessor, frame: pd.DataFrame) -> ForecastTables:
    """What a processor says of columns, as far as this table has them: static ones that no answer depends on may lack,
    and variates without names are all columns of numbers."""
    roles = tables.roles
    static = [name for name in roles.static if name in frame]
    if processor.variate_names is not None:
        return replace(tables, roles=replace(roles, static=static))
    taken = (roles.timestamp, roles.id, *static)
    targets = [str(name) for name in frame if name not in taken and pd.api.types.is_numeric_dtype(frame[name])]
    return replace(tables, roles=replace(roles, static=static, targets=targets))


__all__ = ["TableWindows", "read_windows", "windows_of"]
