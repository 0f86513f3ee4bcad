# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What people hand to a pipeline (arrays, lists, tables, data sets) as the samples that the collator takes."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from ..data.columns import Step, number_steps
from ..data.long import SeriesCollection
from ..data.pivot import spread_variates
from ..data.tables import is_table, read_table, some_of
from ..data.wide import at_steps
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.reader import WideOrigin, exact, kept_steps, read_sample, read_series, reading, sides
from .skipped import Skipped
from .table_inputs import (
    Samples,
    TableRows,
    first_read,
    is_wide,
    read_collection,
    read_long,
    read_wide,
    usable_pattern,
)

_LOOKED_AT = 16  # parts of a list that tell what it is a list of
_BESIDE = ("static_values", "future_values")
_SAMPLE_KEYS = ("past_values", "past_observed_mask", *_BESIDE)


def read_samples(
    inputs: Any,
    processor: TimesCLIPProcessor,
    *,
    timestamp_column: str | None = None,
    series_column: str | None = None,
    fill_gaps: bool = False,
    newest_steps: bool = True,
    reads_static: bool = True,
    prediction_length: int = 0,
    column_pattern: str | None = None,
    variate_column: str | None = None,
    value_column: str | None = None,
    future: Any = None,
    faults: dict[int, str] | None = None,
) -> Samples:
    """Read anything that a pipeline takes, but for series that `skipped` leaves out.

    Args:
        inputs: see `TimeSeriesPipeline`.
        processor: says how many steps are kept, which variates in which order, and which static columns.
        timestamp_column, series_column, fill_gaps: for tables with one row per time step, see `load_long_table`.
        newest_steps: of a task that goes on from the newest steps, whatever their numbers in a table with one row per
            series. `False`: such tables are read by the numbers of their steps, as the processor was fitted; by a
            processor that does not say how, from the first step, as early predictions were always trained.
        reads_static: whether the model's answer depends on static values, which tables must then have.
        prediction_length: steps by which the times of tables must go on, of a task that forecasts.
        column_pattern: for tables with one row per series, see `load_wide_table`; None: as the processor was fitted,
            or by the usual names.
        variate_column, value_column: for tables with one row per value, see `load_long_table`.
        future: a table with the covariates whose future is known, a row for each series and step to forecast.
        faults: of a table with one row per series that is part of a larger one: takes the rows that cannot be read,
            and why; that none can is then no error. See `PartFaults`.

    Raises:
        ValueError: not one series can be read; says what was found, what was expected and what to do.
        FileNotFoundError: no file at this path.
    """
    roles: dict[str, Any] = {"timestamp_column": timestamp_column, "series_column": series_column}
    pivot: dict[str, Any] = {"variate_column": variate_column, "value_column": value_column}
    given = " and ".join(role for role, name in roles.items() if name is not None)
    asked = {"column_pattern": column_pattern, **pivot, "future": future}
    if is_table(inputs) or (isinstance(inputs, Dataset) and "past_values" not in inputs.column_names):
        frame = read_table(inputs)
        if variate_column is not None or value_column is not None:
            inputs = frame = spread_variates(frame, **roles, **pivot)
        index = inputs.index if isinstance(inputs, pd.DataFrame) else frame.index
        pattern = usable_pattern(frame, processor) if column_pattern is None else column_pattern
        if not is_wide(frame, processor.variate_names, pattern):
            if timestamp_column is None and isinstance(index, pd.DatetimeIndex | pd.PeriodIndex):
                roles["timestamp_column"] = str(index.name or "index")
            return read_long(frame, processor, roles, fill_gaps, reads_static, prediction_length, newest_steps, future)
        if given or future is not None:
            raise ValueError(
                f"{given or 'future'}: only for tables with one row per time step; this one has one per series"
            )
        return read_wide(frame, index, processor, newest_steps, reads_static, pattern, faults)
    for role, name in asked.items():
        given += "" if name is None else f"{' and ' if given else ''}{role}"
    if given:
        raise ValueError(f"{given}: only for tables and files, found {type(inputs).__name__}")
    if isinstance(inputs, SeriesCollection):
        identity = pd.DataFrame({"series": inputs.series_names})
        rows = TableRows(identity, np.arange(len(inputs)), names=inputs.series_names, time_column="timestamp")
        return read_collection(inputs, processor, rows, prediction_length, newest_steps)
    return _read_arrays(inputs, processor, newest_steps)


# --- samples ----------------------------------------------------------------------------------------------------


def _read_arrays(inputs: Any, processor: TimesCLIPProcessor, newest_steps: bool) -> Samples:
    """Arrays, nested lists, samples, data sets and generators."""
    inputs = np.asarray(inputs) if isinstance(inputs, memoryview) else inputs
    depth = _depth(inputs)
    origin, start = None, None
    if isinstance(inputs, Mapping) and any(isinstance(part, Dataset) for part in inputs.values()):
        raise ValueError(f"the inputs are a {type(inputs).__name__} of the parts {some_of(inputs)}: pass one of them")
    if isinstance(inputs, Mapping):
        return Samples([_read_sample(inputs, processor)], "one")
    if isinstance(inputs, Dataset):
        origin = WideOrigin.read(inputs)
        start = None if origin is None or newest_steps else _first_step_of(origin, processor)
        inputs = inputs.select_columns([name for name in _SAMPLE_KEYS if name in inputs.column_names])
        inputs = exact(inputs, "past_values")
    elif depth == 2:
        return Samples([_read_sample({"past_values": inputs}, processor)], "one")
    elif isinstance(inputs, list | tuple) and inputs and all(isinstance(one, str | Path) for one in inputs):
        raise ValueError(f"the inputs are a list of text, such as {str(inputs[0])[:80]!r}: pass one path at a time")
    elif depth not in (None, 3) and (depth == 0 or len(inputs)):
        raise ValueError(
            f"the inputs have {depth} dimension{'' if depth == 1 else 's'}; expected (time, variates), or "
            "(batch, time, variates). A univariate series needs a last dimension of 1: series[:, None]"
        )
    if hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"):
        rows = (inputs[number] for number in range(len(inputs)))
        return Samples(_read_each(rows, processor, origin, start), "many", count=len(inputs))
    if isinstance(inputs, Iterable):
        return Samples(_read_each(inputs, processor), "stream")
    raise ValueError(
        f"cannot read series from {type(inputs).__name__}: expected an array, a list of arrays, a table, a path, a "
        "datasets.Dataset, or samples {'past_values': ..., 'static_values': ...}"
    )


def _depth(inputs: Any) -> int | None:
    """Dimensions of an array or of nested lists, samples counting as two; None for other things."""
    if not is_table(inputs) and isinstance(dimensions := getattr(inputs, "ndim", None), int):
        return dimensions
    if isinstance(inputs, Mapping) or (is_table(inputs) and not isinstance(inputs, str | Path)):
        return 2
    if not isinstance(inputs, list | tuple):
        return None
    parts = {_depth(one) or 0 for one in inputs[:_LOOKED_AT]}
    return 3 if 2 in parts else 1 + max(parts, default=0)  # where one is a series, others may be bad ones


def _first_step_of(origin: WideOrigin, processor: TimesCLIPProcessor) -> int:
    """The number that a processor has for the first step of a table."""
    if not (origin.step_dates and processor.step_dates):
        return origin.first_step
    dates: list[Step] = list(np.array(origin.step_dates, "datetime64[s]"))
    return min(number_steps(dates, processor.step_dates)[0].values())


def _read_each(
    rows: Iterable[Any], processor: TimesCLIPProcessor, origin: WideOrigin | None = None, first: int | None = None
) -> Iterator[dict[str, Any] | Skipped]:
    for row in rows:
        try:
            sample = _read_sample(row if isinstance(row, Mapping) else {"past_values": row}, processor, origin, first)
        except ValueError as error:
            yield Skipped.because(error)
        else:
            yield sample


def _read_sample(
    sample: Mapping[str, Any],
    processor: TimesCLIPProcessor,
    origin: WideOrigin | None = None,
    first: int | None = None,
) -> dict[str, Any]:
    """One sample with the steps that the model reads, as arrays.

    `origin` says where it has them from, and `first` the number of its first step, where that counts.
    """
    series = sample.get("past_values")
    if series is None:
        raise ValueError(f"a sample needs 'past_values', found {some_of(map(repr, sample)) or 'nothing'}")
    series = read_sample(series, variate_names=processor.variate_names)
    arrays = read_series(series, sample.get("past_observed_mask"), **reading(processor))
    if len(arrays[0]) > 1:
        raise ValueError(f"past_values has shape {tuple(arrays[0].shape)}, expected (time, variates) of one series")
    values, observed = (a[0].detach().cpu().numpy() if isinstance(a, torch.Tensor) else a[0] for a in arrays)
    names = processor.variate_names
    if origin is not None and names is not None and sorted(names) == sorted(origin.variate_names):
        order = [origin.variate_names.index(name) for name in names]
        values, observed = values[:, order], observed[:, order]
    start = first_read(processor)
    if first is not None and start is not None:
        values = np.where(observed, values, np.nan)[None]
        values = at_steps(values, first, start, processor.context_length)[0]
        observed = ~np.isnan(values)
    kept = kept_steps(processor.context_length, sides(processor)[1])
    read = {"past_values": values[kept], "past_observed_mask": observed[kept]}
    return read | {name: sample[name] for name in _BESIDE if sample.get(name) is not None}


__all__ = ["Samples", "TableRows", "read_samples"]
