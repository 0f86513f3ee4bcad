# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the columns of somebody's frame of series are for, and in which frame they expect forecasts.

The rule. Columns that the user names are what he says. Else names are as people have them: `unique_id, ds, y` of
Nixtla, `item_id, timestamp, target` of AutoGluon (also as an index), `id, timestamp, target` of Chronos. Else the time
is the only column of dates, or the only one of text that reads as dates, or the only one of numbers that are named as
times and are dates or Unix times (see `data.timestamps`); series are named by the only column of other text, unless
each time comes once, so that it may as well be a covariate; and targets are all columns of numbers (of yes and no, of
times, or without a name, is none) that have no other role (Darts).

Forecasts come in the columns of the ecosystem whose names were found (`FRAMES`): a row for each series and step.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import narwhals as nw
import pandas as pd

from .tables import check_known, decoded, is_nameless, name_list, parsed_numbers, read_table, some_of, warn_caller
from .timestamps import kind_of_numbers, tells_times

# How forecasts are laid out; see `inference.forecast_frames`.
FRAMES = ("nixtla", "autogluon", "chronos", "wide")

_IDS = ("unique_id", "item_id", "series_id", "id", "series")
_TIMES = ("ds", "timestamp", "date", "datetime", "time", "index")
_TARGETS = ("y", "target")


@dataclass(frozen=True)
class ForecastRoles:
    """What columns are for.

    Args:
        timestamp: the times.
        id: which series a row belongs to; None: one series.
        targets: what is forecast.
        future_covariates, past_covariates: columns whose future is known, and those whose is not.
        static: columns that describe a series.
        frame: one of `FRAMES`.
    """

    timestamp: str
    id: str | None
    targets: list[str]
    future_covariates: list[str] = field(default_factory=list)
    past_covariates: list[str] = field(default_factory=list)
    static: list[str] = field(default_factory=list)
    frame: str = "wide"

    @property
    def variates(self) -> list[str]:
        """What a model reads of a series, targets first."""
        return [*self.targets, *self.future_covariates, *self.past_covariates]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def forecast_frame(table: Any) -> pd.DataFrame:
    """A frame, series with an index of times, path, Arrow table or `TimeSeries` of Darts as a pandas frame.

    Index levels become columns; the numbers of a pandas series without a name are `y`; a lazy frame is collected.
    """
    if isinstance(frame := nw.from_native(table, pass_through=True), nw.LazyFrame):
        return read_table(frame.collect().to_native())
    if isinstance(table, pd.Series):
        table = table.to_frame("y" if table.name is None else table.name)
    for method in ("to_dataframe", "pd_dataframe"):  # what Darts has of them
        if hasattr(table, method) and hasattr(table, "components") and not hasattr(table, "columns"):
            return read_table(getattr(table, method)())
    if isinstance(table, pd.DataFrame) and isinstance(table.index, pd.MultiIndex) and not any(table.index.names):
        return read_table(table.rename_axis([f"level_{k}" for k in range(table.index.nlevels)]))
    return read_table(table)


def find_forecast_roles(
    frame: pd.DataFrame,
    *,
    id_column: str | None = None,
    timestamp_column: str | None = None,
    target: str | Sequence[str] | None = None,
    future_covariates: Sequence[str] = (),
    past_covariates: Sequence[str] = (),
    static: Sequence[str] = (),
    index_names: Sequence[Any] = (),
) -> ForecastRoles:
    """Finds what columns are for, by the rule above.

    Args:
        frame: as `forecast_frame` gives it.
        id_column, timestamp_column, target, future_covariates, past_covariates, static: columns of these roles.
        index_names: columns that were the index of the user's frame.

    Raises:
        ValueError: columns that are not there or have two roles, no times, no targets.
    """
    columns = list(frame.columns)
    lists = {"future_covariates": future_covariates, "past_covariates": past_covariates, "static": static}
    named = {role: name_list(names, role) for role, names in lists.items()}
    targets = [] if target is None else [target] if isinstance(target, str) else name_list(target, "target")
    given = {"id_column": [id_column] if id_column else [], "timestamp_column": [timestamp_column]
             if timestamp_column else [], "target": targets, **named}  # fmt: skip
    for role, names in given.items():
        check_known(names, columns, f"{role}: no such columns", f"found {some_of(map(repr, columns), 20)}")
    taken = [name for names in given.values() for name in names]
    if twice := sorted({name for name in taken if taken.count(name) > 1}):
        raise ValueError(f"columns with more than one role: {some_of(map(repr, twice))}")
    free = [name for name in columns if name not in taken]
    timestamp = timestamp_column or _find_time(frame, free)
    free = [name for name in free if name != timestamp]
    series = id_column or _find_id(frame, free, timestamp)
    free = [name for name in free if name != series]
    if not targets:
        known = [name for name in _TARGETS if name in free]
        measured = [n for n in free if _is_measured(frame[n].dtype) and not is_nameless(n)]
        targets = known[:1] or [n for n in measured if not tells_times(frame[n])]
        if not targets:
            raise ValueError(
                f"no column of numbers is left to forecast among {some_of(map(repr, columns), 20)}: name it as target"
            )
    if unused := [name for name in free if name not in targets and name not in index_names]:
        warn_caller(f"columns of the table that are not used: {some_of(map(repr, unused), 20)}")
    roles = ForecastRoles(timestamp, series, targets, **named)  # type: ignore[arg-type]
    return ForecastRoles(**{**roles.to_dict(), "frame": _frame_like(roles)})


def _find_time(frame: pd.DataFrame, free: Sequence[str]) -> str:
    for name in _TIMES:
        if name in free:
            return name
    dates = [name for name in free if _is_date(frame[name].dtype)]
    if not dates:
        dates = [name for name in free if _reads_as_dates(frame[name])]
    if not dates:
        dates = [name for name in free if tells_times(frame[name])]
    if len(dates) != 1:
        found = f"columns of dates: {some_of(map(repr, dates))}" if dates else "no column of dates"
        sized = [n for n in free if _is_measured(frame[n].dtype) and kind_of_numbers(frame[n].dropna()) is not None]
        hint = f" (numbers of the size of dates or Unix times: {some_of(map(repr, sized))})" if sized else ""
        raise ValueError(
            f"which column holds the times? Found {found}, among {some_of(map(repr, free), 20)}{hint}: name it as "
            "timestamp_column"
        )
    return dates[0]


def _find_id(frame: pd.DataFrame, free: Sequence[str], timestamp: str) -> str | None:
    for name in _IDS:
        if name in free:
            return name
    texts = [
        name
        for name in free
        if not pd.api.types.is_numeric_dtype(decoded(frame[name]).dtype) and not _is_date(frame[name].dtype)
    ]
    texts = [name for name in texts if parsed_numbers(frame[name].astype(object)).isna().all()]
    texts = [name for name in texts if not _tells_time(frame[name])]
    if len(texts) > 1:
        raise ValueError(
            f"which column names the series? Found text in {some_of(map(repr, texts))}: name it as id_column"
        )
    if texts and frame[texts[0]].nunique() > 1 and frame[timestamp].is_unique:
        raise ValueError(
            f"does {texts[0]!r} name series, or is it a covariate? Each time of {timestamp!r} comes once: name it as "
            "id_column, or as one of future_covariates, or leave it out"
        )
    return texts[0] if texts else None


def _is_measured(dtype: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype))


def _is_date(dtype: Any) -> bool:
    return bool(pd.api.types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype))


def _reads_as_dates(column: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(column.dtype) or _is_date(column.dtype):
        return False
    first = column.dropna().astype(str).head(20)
    if not len(first) or parsed_numbers(first).notna().any():
        return False
    try:
        pd.to_datetime(first, format="mixed")
    except (ValueError, TypeError):
        return False
    return True


def _tells_time(column: pd.Series) -> bool:
    """Whether text is of dates or of times of day, as 13:00, which name no series."""
    first = column.dropna().astype(str).head(20)
    return bool(len(first) and first.str.fullmatch(r"\d+([:./ T+-]\d+)+( ?[AaPp][Mm]|Z)?").all())


def _frame_like(roles: ForecastRoles) -> str:
    if roles.timestamp == "ds":
        return "nixtla"
    if roles.id == "item_id":
        return "autogluon"
    return "chronos" if (roles.id, roles.timestamp) == ("id", "timestamp") and len(roles.targets) == 1 else "wide"


__all__ = ["FRAMES", "ForecastRoles", "find_forecast_roles", "forecast_frame"]
