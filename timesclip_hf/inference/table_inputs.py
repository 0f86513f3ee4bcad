# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables and collections of series as the samples that the collator takes, and where in a table each stands."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.calendar import calendar_columns
from ..data.columns import Step, number_steps, step_columns, suggested_pattern
from ..data.covariates import changing_statics, first_statics, read_with_covariates, with_future
from ..data.long import SeriesCollection, read_long_series
from ..data.pivot import widened
from ..data.tables import check_known, decoded, row_number, some_of, warn_caller
from ..data.timestamps import Times, continue_timestamps, tells_times
from ..data.wide import at_steps, find_variates, read_statics, read_wide_series
from ..data.words import FIRST_ROW
from ..model.measured import mark_missing
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.reader import kept_steps, sides
from .skipped import warn_of_skipped


@dataclass(frozen=True)
class TableRows:
    """Where the samples of a table stand in it.

    Args:
        identity: a row for each result; the columns that tell them apart.
        positions: `(samples,)`, each sample's row in `identity`.
        skipped: row in `identity` -> why it has no sample, of all others.
        names: what the rows are called, and `words`, what they are.
        numbers: of the rows of a file, as spreadsheets show them; empty for other tables.
        times: the times that follow each sample, as `continue_timestamps` gives them; None if not known.
        time_column: what their column is called.
        time_kind: a row of that column, for its kind; None: times stay what they are.
    """

    identity: pd.DataFrame
    positions: NDArray[np.int64]
    skipped: dict[int, str] = field(default_factory=dict)
    names: Sequence[Any] = ()
    words: str = "series"
    numbers: Sequence[int] = ()
    times: list[Times] | None = None
    time_column: str | None = None
    time_kind: pd.Series | None = None

    @property
    def skipped_by_name(self) -> dict[str, str]:
        """Why rows have no sample, in their order."""
        return {str(self.names[row]): reason for row, reason in sorted(self.skipped.items())}

    def warn(self) -> None:
        """Tells which rows have no sample."""
        told = (
            {str(self.numbers[row]): reason for row, reason in sorted(self.skipped.items())} if self.numbers else None
        )
        note = f" (the header is row {self.numbers[0] - 1})" if self.numbers else ""
        warn_of_skipped(self.skipped_by_name if told is None else told, self.words, len(self.identity), note)

    def without(self, skipped: Mapping[int, str]) -> "TableRows":
        """Without some samples, by their number."""
        kept = [number for number in range(len(self.positions)) if number not in skipped]
        more = {int(self.positions[number]): reason for number, reason in skipped.items()}
        times = None if self.times is None else [self.times[number] for number in kept]
        return replace(self, positions=self.positions[kept], skipped=self.skipped | more, times=times)


@dataclass(frozen=True)
class Samples:
    """Samples, and the form in which their results are expected.

    Args:
        rows: dicts with `past_values` `(T, V)` and, where given, `past_observed_mask`, `static_values`; `Skipped` for
            what cannot be read.
        form: `"one"` sample, `"many"`, or a `"stream"` of unknown length that is read as it is consumed.
        table: the table that they come from, if any.
        count: how many rows there are, if known.
    """

    rows: Iterable[Any]
    form: Literal["one", "many", "stream"]
    table: TableRows | None = None
    count: int | None = None


def usable_pattern(frame: pd.DataFrame, processor: TimesCLIPProcessor) -> str | None:
    """The pattern that the processor was fitted with, unless this table's columns have the usual names."""
    pattern, names = processor.column_pattern, processor.variate_names
    if pattern is None:
        return None
    found = find_variates(frame.columns, names or (), pattern)
    return pattern if any(name in found for name in names or found) else None


def is_wide(frame: pd.DataFrame, names: Sequence[str] | None, pattern: str | None) -> bool:
    """Whether a table has a row for each series, and not one for each time step."""
    found = find_variates(frame.columns, names or (), pattern)
    if names is None:
        return bool(found)
    if any(name in frame.columns for name in names):
        return False
    if any(name in found for name in names):
        return True
    in_series, told = step_columns(frame.columns, (), pattern), suggested_pattern(frame.columns)
    raise ValueError(
        f"the table has none of the model's variates: {some_of(names, 20)}. Expected a column for each of them (one "
        f"row per time step), or columns {names[0]}_00, {names[0]}_01, ... (one row per series); found "
        f"{some_of([*found, *(name for name in frame.columns if name not in in_series)], 20)}"
        f"{f'. Columns such as {told}' if told and pattern is None else ''}"
    )


def one_row_each(
    frame: pd.DataFrame, processor: TimesCLIPProcessor, reading: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table with one row per time step or value as one with a row for each series, beside what says the same in all
    rows of a series, and how that is read; other tables, and those without names of series and times, as they are.

    Args:
        frame: as `read_table` gives it.
        processor: of a model that answers for whole series.
        reading: how the table is read, see `TimeSeriesPipeline`.
    """
    columns = ("series_column", "timestamp_column", "variate_column", "value_column")
    roles: dict[str, Any] = {name: reading.get(name) for name in columns}
    names, pattern = processor.variate_names, reading.get("column_pattern") or usable_pattern(frame, processor)
    if names is None or roles["series_column"] is None or roles["timestamp_column"] is None:
        return frame, dict(reading)
    if roles["variate_column"] is None and roles["value_column"] is None and is_wide(frame, names, pattern):
        return frame, dict(reading)
    return widened(frame, **roles, variates=names, constant=())[0], {}


def _static_columns(processor: TimesCLIPProcessor, frame: pd.DataFrame, needed: bool) -> list[str]:
    """The columns that the processor was fitted on, as far as they are there, which all are that are needed."""
    names = [column["name"] for column in (processor.statistics or {}).get("static") or []]
    if needed:
        check_known(names, frame, "missing static columns", "the model's answer depends on them")
    return [name for name in names if name in frame]


def _known_variates(processor: TimesCLIPProcessor, found: Iterable[str]) -> list[str] | None:
    """The model's variates in its order; None for the only one of a model that does not name it."""
    names = processor.variate_names
    if names is None and processor.num_variates != 1:
        raise ValueError(
            "the processor does not say in which order the model takes its variates: set processor.variate_names and "
            "save it again, or pass arrays"
        )
    check_known(names or (), found, "missing variates")
    return names


def read_wide(
    frame: pd.DataFrame,
    index: pd.Index,
    processor: TimesCLIPProcessor,
    newest_steps: bool,
    reads_static: bool,
    pattern: str | None,
    faults: dict[int, str] | None = None,
) -> Samples:
    """A table with one row per series; `faults`: see `read_samples`."""
    whole, faults = faults is None, {} if faults is None else faults
    static = _static_columns(processor, frame, reads_static)
    columns = frame[[name for name in frame.columns if name not in static]]
    found = find_variates(columns, processor.variate_names or (), pattern)
    variates = _known_variates(processor, found) or list(found)[:1]
    if unread := [name for name in found if name not in variates]:
        warn_caller(f"the table has variates that the model does not read: {some_of(map(repr, unread))}")
    known = None if newest_steps else processor.step_dates
    series, names, steps, dates = read_wide_series(columns, variates, None, pattern, known, faults)
    if dates and not (known or newest_steps):
        first = processor.first_step or 0
        if processor.first_step is not None:
            warn_caller(f"the model's steps have numbers, the table's dates: {dates[0]} is read as step {first:02d}")
        steps = [first + step for step in steps]
    series = mark_missing(series, processor.missing_values, processor.variate_names)
    series, steps = _model_steps(series, steps, processor, newest_steps)
    statics = read_statics(frame, static, faults).to_dict("records") if reads_static and static else None
    if whole and len(faults) == len(frame):
        raise ValueError(f"no row can be read; row {row_number(0, frame)}: {faults[0]}")
    blank, told = np.isnan(series).all(axis=1), _spans(steps, _dates_of(processor))  # (N, V)
    skipped = {k: _nothing_of(names, blank[k], f"steps {told}") for k in np.flatnonzero(blank.any(axis=1))}
    skipped = {int(row): reason for row, reason in sorted((skipped | faults).items())}
    kept = [row for row in range(len(frame)) if row not in skipped]
    rows: list[dict[str, Any]] = [{"past_values": series[row]} for row in kept]
    for sample, row in zip(rows, kept, strict=True):
        if statics is not None:
            sample["static_values"] = statics[row]
    in_series = step_columns(columns.columns, variates, pattern)
    plain = [name for name in frame.columns if name not in in_series]
    identity = frame[[name for name in plain if name not in index.names]].set_axis(index, axis=0)
    identity.attrs = {}
    numbers = [row_number(row, frame) for row in range(len(frame))] if frame.attrs.get(FIRST_ROW, 0) > 1 else []
    table = TableRows(identity, np.array(kept, int), skipped, list(index), "rows", numbers)
    return Samples(rows, "many", table, len(rows))


def _nothing_of(names: Sequence[str], blank: NDArray[np.bool_], where: str) -> str:
    """Why a series cannot be read in which some variates `(V,)` have no value."""
    return f"no value of {some_of(np.array(names)[blank])} in the {where}"


def first_read(processor: TimesCLIPProcessor) -> int | None:
    """Number of the first step that the model reads, where the processor knows the numbers of its steps."""
    first, last, length = processor.first_step, processor.last_step, processor.context_length
    if first is None:
        return None
    last = first + length - 1 if last is None else last
    padding_side, truncation_side = sides(processor)
    side = truncation_side if last - first + 1 > length else padding_side
    return first if side == "right" else last - length + 1


def _model_steps(
    series: NDArray[np.floating], steps: list[int], processor: TimesCLIPProcessor, newest_steps: bool
) -> tuple[NDArray[np.floating], list[int]]:
    """The steps of a wide table that the model reads `(N, T, V)`, and their numbers; a warning says which are missing.

    They are found by number where the processor knows the numbers of its steps; else they are cut at the processor's
    side, and where it has none (of earlier releases) at the end.
    """
    length, legacy = processor.context_length, processor.truncation_side is None and not newest_steps
    start = None if newest_steps else first_read(processor)
    if legacy and start is None:
        if steps[0] > 1:
            warn_caller(
                f"the table begins at step {steps[0]:02d}, read as the model's first one, since its processor "
                "does not say what its first step is: set processor.first_step"
            )
        start = steps[0]
    wanted = range(start, start + length) if start is not None else steps
    if lacking := [step for step in wanted if not steps[0] <= step <= steps[-1]]:
        told = _spans(lacking, _dates_of(processor))
        warn_caller(f"the table has {len(steps)} steps, the model reads {length}: the steps {told} count as missing")
    if start is not None:
        return at_steps(series, steps[0], start, length), list(wanted)
    kept, (padding_side, truncation_side) = kept_steps(length, sides(processor)[1]), sides(processor)
    if not newest_steps and len(steps) != length:
        ends = {"left": "first", "right": "last"}
        told = (
            f"the {ends[padding_side]} ones count as missing (padding_side={padding_side!r})"
            if len(steps) < length
            else f"the {ends[truncation_side]} ones of the table are left out (truncation_side={truncation_side!r})"
        )
        warn_caller(f"the table has {len(steps)} steps, the model reads {length}: {told}")
    return series[:, kept], steps[kept]


def _dates_of(processor: TimesCLIPProcessor) -> dict[int, str]:
    """Of the steps that a processor knows by dates."""
    return dict(enumerate(processor.step_dates or []))


def _spans(steps: list[int], dates: Mapping[int, str]) -> str:
    """Step numbers as `00 to 04 and 11`; dates where they are known."""
    shown = {step: dates.get(step, f"{step:02d}") for step in steps}
    breaks = [k for k in range(1, len(steps)) if steps[k] != steps[k - 1] + 1]
    parts = [steps[a:b] for a, b in zip([0, *breaks], [*breaks, len(steps)], strict=True)]
    return " and ".join(f"{shown[p[0]]} to {shown[p[-1]]}" if len(p) > 1 else shown[p[0]] for p in parts)


def read_long(
    frame: pd.DataFrame,
    processor: TimesCLIPProcessor,
    columns: Mapping[str, str | None],
    fill_gaps: bool,
    reads_static: bool,
    prediction_length: int,
    newest_steps: bool,
    future: Any = None,
) -> Samples:
    """A table with one row per time step; `columns`: `timestamp_column` and `series_column`, or None for them.

    `future`: the same of the steps to forecast, with the covariates whose future is known.
    """
    timestamp_column, series_column = columns["timestamp_column"], columns["series_column"]
    fill_gaps = fill_gaps or (not newest_steps and first_read(processor) is not None)  # as in the table it learnt from
    roles = [name for name in columns.values() if name is not None]
    static = _static_columns(processor, frame, reads_static)
    values = [name for name in frame.columns if name not in (*roles, *static)]
    names, known = _known_variates(processor, values), known_columns(processor)
    others = [name for name in values if name not in (names or values) and name not in {c["name"] for c in known}]
    plain = pd.api.types.is_numeric_dtype
    unknown = [name for name in others if not plain(decoded(frame[name])) or tells_times(frame[name])]
    if unknown and not roles:
        raise ValueError(
            f"the table also has columns of text or dates, {some_of(map(repr, unknown))}: say which one holds the "
            "times (timestamp_column), and which one the names of the series if there are several (series_column); "
            "drop them if none does"
        )
    if others:
        warn_caller(f"columns of the table that are not used: {some_of(map(repr, others), 20)}")
    ids = pd.Series(0, frame.index) if series_column is None else decoded(frame[series_column])
    texts = ids.astype(str)
    all_names = {name: k for k, name in enumerate(texts.unique())}
    past: Any = slice(None)
    if known and future is None and names is not None:  # rows of the future are of covariates alone
        past = frame[names[: processor.num_target_variates]].notna().any(axis=1)
    faults = _changing_statics(frame.loc[past, static], texts[past]) if reads_static else {}
    named: dict[str, Any] = dict(columns)
    reading: dict[str, Any] = {"fill_gaps": fill_gaps, "faults": faults, **named}
    if prediction_length and (known or processor.calendar) and names is not None:
        count = processor.num_target_variates
        collection = read_with_covariates(frame, names, known, num_targets=count, **reading)
        calendar = processor.calendar or []
        collection = with_future(collection, prediction_length, future, calendar=calendar, **named)
    elif future is not None:
        raise ValueError("future: this model reads no covariates of the steps to forecast; leave it out")
    else:
        collection = read_long_series(frame, variates=names, **reading)
    firsts = ~texts.duplicated()
    names_of_series = {} if series_column is None else {series_column: ids[firsts].to_numpy()}
    table = TableRows(
        identity=pd.DataFrame(names_of_series, index=range(len(all_names))),
        positions=np.array([all_names[name] for name in collection.series_names]),
        skipped={all_names[name]: reason for name, reason in faults.items()},
        names=list(all_names),
        time_column=timestamp_column,
        time_kind=None if timestamp_column is None else frame[timestamp_column].iloc[:1],
    )
    samples = read_collection(collection, processor, table, prediction_length, newest_steps)
    if reads_static and static and samples.table is not None:
        records = first_statics(frame[static], texts).to_dict("records")
        for row, position in zip(samples.rows, samples.table.positions, strict=True):
            row["static_values"] = records[position]
    return samples


def _changing_statics(statics: pd.DataFrame, series: pd.Series) -> dict[str, str]:
    """As `changing_statics`; raises where it is all series."""
    told = changing_statics(statics, series)
    if told and len(told) == series.nunique():
        raise ValueError(next(iter(told.values())))
    return told


def known_columns(processor: TimesCLIPProcessor) -> list[dict[str, Any]]:
    """The covariates whose future is known that a table must have: what the calendar says is none of them."""
    told = {column["name"] for column in calendar_columns(processor.calendar or [])}
    return [column for column in (processor.statistics or {}).get("future") or [] if column["name"] not in told]


def read_collection(
    collection: SeriesCollection,
    processor: TimesCLIPProcessor,
    table: TableRows,
    prediction_length: int,
    newest_steps: bool,
) -> Samples:
    """Samples of a collection; `table.positions` are the rows of its series."""
    names = _known_variates(processor, collection.variate_names) or collection.variate_names
    order = [collection.variate_names.index(name) for name in names]
    kept = kept_steps(processor.context_length, sides(processor)[1])
    where = f"{'last' if kept.stop is None else 'first'} {processor.context_length} steps"
    rows: list[dict[str, Any]] = []
    times: list[Any] = []
    skipped: dict[int, str] = {}
    faults, times_of = 0, collection.timestamps
    for number, values in enumerate(collection.values):
        newest, dates = values[:, order], None if times_of is None or newest_steps else times_of[number]
        try:
            newest = newest[kept] if dates is None else _in_season(newest, dates, processor)
        except ValueError as error:
            skipped[number], faults = str(error), faults + 1
            newest = newest[kept]
        newest = mark_missing(newest, processor.missing_values, processor.variate_names)
        rows.append({"past_values": newest})
        if processor.num_future_covariates and prediction_length:
            rows[-1]["future_values"] = _future_rows(collection, number, processor, prediction_length)
        if collection.static is not None:
            rows[-1]["static_values"] = collection.static[number]
        following: Any = None
        if number in skipped:
            pass
        elif (blank := np.isnan(newest).all(axis=0)).any():
            skipped[number] = _nothing_of(names, blank, where)
        elif collection.timestamps is not None and prediction_length:
            try:
                following = continue_timestamps(collection.timestamps[number], prediction_length)
            except ValueError as error:
                skipped[number], faults = str(error), faults + 1
        times.append(following)
    if faults == len(collection):
        raise ValueError(next(iter(skipped.values())))
    continued = times if collection.timestamps is not None and prediction_length else None
    rows = [row for number, row in enumerate(rows) if number not in skipped]
    return Samples(rows, "many", replace(table, times=continued).without(skipped), len(rows))


def _future_rows(
    collection: SeriesCollection, number: int, processor: TimesCLIPProcessor, horizon: int
) -> NDArray[np.float64]:
    """What is known of the steps that are read of a series, and of those to come."""
    steps, known = len(collection.values[number]), np.zeros((0, 0))
    if collection.future is not None:
        known = collection.future[number]
    if len(known) != steps + horizon:
        raise ValueError(
            f"series {collection.series_names[number]!r} has {max(0, len(known) - steps)} rows of covariates behind "
            f"its end, expected {horizon}: see data.covariates.with_future"
        )
    return known[max(0, steps - processor.context_length) :]


def _in_season(values: NDArray[np.floating], times: Any, processor: TimesCLIPProcessor) -> NDArray[np.floating]:
    """A series `(T, V)` at the steps that the model reads, by its dates, where the processor knows those of a season,
    or by its numbers, where they lie between those that the processor knows; else its first or newest steps, as the
    processor says."""
    start, numbers = first_read(processor), _step_numbers(times, processor)
    if numbers is None or start is None:
        return values[kept_steps(processor.context_length, sides(processor)[1])]
    placed = np.full((processor.context_length, values.shape[1]), np.nan, values.dtype)
    for number, row in zip(numbers, values, strict=True):
        if 0 <= number - start < len(placed):
            placed[number - start] = row
    return placed


def _step_numbers(times: Any, processor: TimesCLIPProcessor) -> list[int] | None:
    """The numbers that a processor has for the times of a series, if it has any."""
    kind, first, last = np.asarray(times).dtype.kind, processor.first_step, processor.last_step
    if kind in "MO" and processor.step_dates:
        steps: list[Step] = list(pd.DatetimeIndex(times).tz_localize(None).to_numpy("datetime64[s]"))
        known = number_steps(steps, processor.step_dates)[0]
        return [known[step] for step in steps]
    if kind in "iu" and first is not None and last is not None and first <= times.min() and times.max() <= last:
        return list(map(int, times))
    return None


__all__ = [
    "Samples",
    "TableRows",
    "first_read",
    "is_wide",
    "one_row_each",
    "read_collection",
    "read_long",
    "read_wide",
    "usable_pattern",
]
