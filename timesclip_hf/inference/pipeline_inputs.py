# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What people hand to a pipeline (arrays, lists, tables, data sets) as the samples that the collator takes."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from numpy.typing import NDArray

from ..data.long import SeriesCollection, load_long_table
from ..data.tables import check_known, decoded, is_table, read_table, some_of, warn_caller
from ..data.timestamps import Times
from ..data.wide import (
    at_steps,
    find_observed_rows,
    find_variates,
    read_statics,
    read_wide_series,
    step_columns,
)
from ..model.measured import mark_missing, unmasked
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.reader import WideOrigin, exact, kept_steps, read_series, reading, sides

_SAMPLE_KEYS = ("past_values", "past_observed_mask", "static_values")


@dataclass(frozen=True)
class TableRows:
    """Where the samples of a table stand in it.

    Args:
        identity: a row for each result; the columns that tell them apart.
        positions: `(samples,)`, each sample's row in `identity`. Rows without a sample cannot be predicted.
        times: each sample's times, as `read_timestamps` gives them; None if not known.
        time_column: what their column is called.
        time_kind: a row of that column, for its kind; None: times stay what they are.
    """

    identity: pd.DataFrame
    positions: NDArray[np.int64]
    times: list[Times] | None = None
    time_column: str | None = None
    time_kind: pd.Series | None = None


@dataclass(frozen=True)
class Samples:
    """Samples, and the form in which their results are expected.

    Args:
        rows: dicts with `past_values` `(T, V)` float32 and, where given, `past_observed_mask`, `static_values`.
        form: `"one"` sample, `"many"`, or a `"stream"` of unknown length that is read as it is consumed.
        table: the table that they come from, if any.
        count: how many rows there are, if known.
    """

    rows: Iterable[dict[str, Any]]
    form: Literal["one", "many", "stream"]
    table: TableRows | None = None
    count: int | None = None


def read_samples(
    inputs: Any,
    processor: TimesCLIPProcessor,
    *,
    timestamp_column: str | None = None,
    series_column: str | None = None,
    fill_gaps: bool = False,
    newest_steps: bool = True,
) -> Samples:
    """Read anything that a pipeline takes.

    Args:
        inputs: see `TimeSeriesPipeline`.
        processor: says how many steps are kept, which variates in which order, and which static columns.
        timestamp_column, series_column, fill_gaps: for tables with one row per time step, see `load_long_table`.
        newest_steps: of a task that goes on from the newest steps, whatever their numbers in a table with one row per
            series. `False`: such tables are read by the numbers of their steps, as the processor was fitted; by a
            processor that does not say how, from the first step, as early predictions were always trained.

    Raises:
        ValueError: says what was found, what was expected and what to do.
        FileNotFoundError: no file at this path.
    """
    roles = {"timestamp_column": timestamp_column, "series_column": series_column}
    given = " and ".join(role for role, name in roles.items() if name is not None)
    if is_table(inputs) or (isinstance(inputs, Dataset) and "past_values" not in inputs.column_names):
        frame = read_table(inputs)
        index = inputs.index if isinstance(inputs, pd.DataFrame) else frame.index
        if not _is_wide(frame, processor.variate_names):
            if timestamp_column is None and isinstance(index, pd.DatetimeIndex | pd.PeriodIndex):
                timestamp_column = str(index.name or "index")
            return _read_long(frame, processor, timestamp_column, series_column, fill_gaps)
        if given:
            raise ValueError(f"{given}: only for tables with one row per time step; this one has one per series")
        return _read_wide(frame, index, processor, newest_steps)
    if given:
        raise ValueError(f"{given}: only for tables and files, found {type(inputs).__name__}")
    if isinstance(inputs, SeriesCollection):
        identity = pd.DataFrame({"series": inputs.series_names})
        return _read_collection(inputs, processor, identity, "timestamp")
    return _read_arrays(inputs, processor, newest_steps)


# --- samples ----------------------------------------------------------------------------------------------------


def _read_arrays(inputs: Any, processor: TimesCLIPProcessor, newest_steps: bool) -> Samples:
    """Arrays, nested lists, samples, data sets and generators."""
    depth = _depth(inputs)
    origin = None
    if isinstance(inputs, Mapping):
        return Samples([_read_sample(inputs, processor)], "one")
    if isinstance(inputs, Dataset):
        origin = WideOrigin.read(inputs)
        if origin is not None and newest_steps:
            origin = replace(origin, first_step=-1)  # whose numbers do not count
        inputs = inputs.select_columns([name for name in _SAMPLE_KEYS if name in inputs.column_names])
        inputs = exact(inputs, "past_values")
    elif depth == 2:
        return Samples([_read_sample({"past_values": inputs}, processor)], "one")
    elif depth not in (None, 3) and (depth == 0 or len(inputs)):
        raise ValueError(
            f"the inputs have {depth} dimension{'' if depth == 1 else 's'}; expected (time, variates), or "
            "(batch, time, variates). A univariate series needs a last dimension of 1: series[:, None]"
        )
    if hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"):
        rows = (inputs[number] for number in range(len(inputs)))
        return Samples(_read_each(rows, processor, origin), "many", count=len(inputs))
    if isinstance(inputs, Iterable):
        return Samples(_read_each(inputs, processor), "stream")
    raise ValueError(
        f"cannot read series from {type(inputs).__name__}: expected an array, a list of arrays, a table, a path, a "
        "datasets.Dataset, or samples {'past_values': ..., 'static_values': ...}"
    )


def _depth(inputs: Any) -> int | None:
    """Dimensions of an array or of nested lists, samples counting as two; None for other things."""
    if isinstance(inputs, np.ndarray | torch.Tensor):
        return inputs.ndim
    if isinstance(inputs, Mapping) or is_table(inputs):
        return 2
    if not isinstance(inputs, list | tuple):
        return None
    return 1 + ((_depth(inputs[0]) or 0) if len(inputs) else 0)


def _read_each(
    rows: Iterable[Any], processor: TimesCLIPProcessor, origin: WideOrigin | None = None
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        try:
            yield _read_sample(row if isinstance(row, Mapping) else {"past_values": row}, processor, origin)
        except ValueError as error:
            raise ValueError(f"input {number}: {error}") from error


def _read_sample(
    sample: Mapping[str, Any], processor: TimesCLIPProcessor, origin: WideOrigin | None = None
) -> dict[str, Any]:
    """One sample with the steps that the model reads, as arrays; `origin`: where it has them from, if known."""
    series = sample.get("past_values")
    if series is None:
        raise ValueError(f"a sample needs 'past_values', found {some_of(map(repr, sample)) or 'nothing'}")
    if isinstance(series, list | tuple):
        try:
            series = np.asarray(unmasked(series), np.float64)  # None, as JSON has it, becomes NaN
        except (TypeError, ValueError) as error:
            raise ValueError(f"the series must be numbers (time, variates), NaN for missing: {error}") from error
    arrays = read_series(series, sample.get("past_observed_mask"), **reading(processor))
    if len(arrays[0]) > 1:
        raise ValueError(f"past_values has shape {tuple(arrays[0].shape)}, expected (time, variates) of one series")
    values, observed = (a[0].detach().cpu().numpy() if isinstance(a, torch.Tensor) else a[0] for a in arrays)
    names = processor.variate_names
    if origin is not None and names is not None and sorted(names) == sorted(origin.variate_names):
        order = [origin.variate_names.index(name) for name in names]
        values, observed = values[:, order], observed[:, order]
    start = _first_read(processor) if origin is not None and origin.first_step >= 0 else None
    if origin is not None and start is not None:
        values = np.where(observed, values, np.nan)[None]
        values = at_steps(values, origin.first_step, start, processor.context_length)[0]
        observed = ~np.isnan(values)
    kept = kept_steps(processor.context_length, sides(processor)[1])
    read = {"past_values": values[kept], "past_observed_mask": observed[kept]}
    return read if sample.get("static_values") is None else {**read, "static_values": sample["static_values"]}


# --- tables -----------------------------------------------------------------------------------------------------


def _is_wide(frame: pd.DataFrame, names: Sequence[str] | None) -> bool:
    """Whether a table has a row for each series, and not one for each time step."""
    found = find_variates(frame.columns, names or ())
    if names is None:
        return bool(found)
    if any(name in frame.columns for name in names):
        return False
    if any(name in found for name in names):
        return True
    raise ValueError(
        f"the table has none of the model's variates: {some_of(names, 20)}. Expected a column for each of them (one "
        f"row per time step), or columns {names[0]}_00, {names[0]}_01, ... (one row per series); found "
        f"{some_of([*found, *(name for name in frame.columns if name not in step_columns(frame.columns))], 20)}"
    )


def _static_columns(processor: TimesCLIPProcessor, frame: pd.DataFrame) -> list[str]:
    names = [column["name"] for column in (processor.statistics or {}).get("static") or []]
    check_known(names, frame, "missing static columns", "the model was trained on them")
    return names


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


def _read_wide(frame: pd.DataFrame, index: pd.Index, processor: TimesCLIPProcessor, newest_steps: bool) -> Samples:
    static = _static_columns(processor, frame)
    columns = frame[[name for name in frame.columns if name not in static]]
    found = find_variates(columns, processor.variate_names or ())
    variates = _known_variates(processor, found) or list(found)[:1]
    series, names, steps = read_wide_series(columns, variates)
    series = mark_missing(series, processor.missing_values, processor.variate_names)
    series, steps = _model_steps(series, steps, processor, newest_steps)
    seen, complaint = find_observed_rows(series, names, steps)
    if complaint:
        warn_caller(f"{complaint}; {np.sum(~seen)} rows left out")
    rows: list[dict[str, Any]] = [{"past_values": values} for values in series[seen]]
    if static:
        for row, values in zip(rows, read_statics(frame[seen], static).to_dict("records"), strict=True):
            row["static_values"] = values
    in_series = step_columns(columns.columns, variates)
    plain = [name for name in frame.columns if name not in in_series]
    identity = frame[[name for name in plain if name not in index.names]].set_axis(index, axis=0)
    return Samples(rows, "many", TableRows(identity, np.flatnonzero(seen)), len(rows))


def _first_read(processor: TimesCLIPProcessor) -> int | None:
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
    start = None if newest_steps else _first_read(processor)
    if legacy and start is None:
        if steps[0] > 1:
            warn_caller(
                f"the table begins at step {steps[0]:02d}, read as the model's first one, since its processor "
                "does not say what its first step is: set processor.first_step"
            )
        start = steps[0]
    wanted = range(start, start + length) if start is not None else steps
    if lacking := [step for step in wanted if not steps[0] <= step <= steps[-1]]:
        warn_caller(
            f"the table has {len(steps)} steps, the model reads {length}: the steps {_spans(lacking)} count as missing"
        )
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


def _spans(steps: list[int]) -> str:
    """Step numbers as `00 to 04 and 11`."""
    breaks = [k for k in range(1, len(steps)) if steps[k] != steps[k - 1] + 1]
    parts = [steps[a:b] for a, b in zip([0, *breaks], [*breaks, len(steps)], strict=True)]
    return " and ".join(f"{p[0]:02d} to {p[-1]:02d}" if len(p) > 1 else f"{p[0]:02d}" for p in parts)


def _read_long(
    frame: pd.DataFrame,
    processor: TimesCLIPProcessor,
    timestamp_column: str | None,
    series_column: str | None,
    fill_gaps: bool,
) -> Samples:
    roles = [name for name in (timestamp_column, series_column) if name is not None]
    static = _static_columns(processor, frame)
    values = [name for name in frame.columns if name not in (*roles, *static)]
    names = _known_variates(processor, values)
    others = [name for name in values if name not in (names or values)]
    unknown = [name for name in others if not pd.api.types.is_numeric_dtype(decoded(frame[name]))]
    if unknown and not roles:
        raise ValueError(
            f"the table also has columns of text or dates, {some_of(map(repr, unknown))}: say which one holds the "
            "times (timestamp_column), and which one the names of the series if there are several (series_column); "
            "drop them if none does"
        )
    collection = load_long_table(
        frame,
        timestamp_column=timestamp_column,
        series_column=series_column,
        variates=names,
        fill_gaps=fill_gaps,
    )
    ids = pd.Series(0, frame.index) if series_column is None else decoded(frame[series_column])
    if changing := [name for name, n in frame[static].groupby(ids).nunique(dropna=False).items() if n.max() > 1]:
        raise ValueError(f"static columns that change within a series: {some_of(changing)}")
    firsts = ~ids.astype(str).duplicated()
    names_of_series = {} if series_column is None else {series_column: ids[firsts].to_numpy()}
    identity = pd.DataFrame(names_of_series, index=range(len(collection)))
    samples = _read_collection(collection, processor, identity, timestamp_column)
    if static and samples.table is not None:
        records = frame.loc[firsts, static].to_dict("records")
        for row, position in zip(samples.rows, samples.table.positions, strict=True):
            row["static_values"] = records[position]
    if timestamp_column is not None and samples.table is not None:
        return replace(samples, table=replace(samples.table, time_kind=frame[timestamp_column].iloc[:1]))
    return samples


def _read_collection(
    collection: SeriesCollection, processor: TimesCLIPProcessor, identity: pd.DataFrame, time_column: str | None
) -> Samples:
    names = _known_variates(processor, collection.variate_names) or collection.variate_names
    order = [collection.variate_names.index(name) for name in names]
    kept = kept_steps(processor.context_length, sides(processor)[1])
    newest = [
        mark_missing(values[kept][:, order], processor.missing_values, processor.variate_names)
        for values in collection.values
    ]
    blank = [bool(np.isnan(values).all(axis=0).any()) for values in newest]
    if any(blank):
        names = [name for name, is_blank in zip(collection.series_names, blank, strict=True) if is_blank]
        warnings.warn(
            f"{len(names)} of {len(collection)} series have a variate without any value in the "
            f"{'last' if kept.stop is None else 'first'} {processor.context_length} steps and are left out: "
            f"{some_of(names)}",
            stacklevel=5,
        )
    seen = np.flatnonzero(np.logical_not(blank))
    times = None if collection.timestamps is None else [collection.timestamps[k] for k in seen]
    rows = [{"past_values": newest[k]} for k in seen]
    return Samples(rows, "many", TableRows(identity, seen, times, time_column), len(rows))


__all__ = ["Samples", "TableRows", "read_samples"]
