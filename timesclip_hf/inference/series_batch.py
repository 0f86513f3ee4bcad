# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Samples of any form, with what is known of them, as arrays at the steps that a model reads."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from numpy.typing import NDArray

from ..data.classes import class_names_of, class_of, with_names
from ..data.tables import decoded, is_table, read_table, some_of, warn_caller
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.future_values import encode_future
from ..model.messages import one_run
from ..model.preprocessing import fit_length
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.reader import read_series, sides
from ..model.static_values import encode_static
from ..model.tasks import Task
from .pipeline_inputs import read_samples
from .skipped import Skipped
from .table_inputs import Samples, one_row_each


@dataclass
class SeriesBatch:
    """Samples as arrays, at the steps that a model reads.

    Args:
        values: `(n, T, V)` raw, 0 where missing.
        observed: `(n, T, V)` bool.
        static: `(n, width)` as the processor encodes them, or `None`.
        future: `(n, T + H, width)`, covariates known in advance, in the same way, or `None`.
        names: `n` names: of the series, rows of the table, or numbers.
        identity: `n` rows, the other columns of a table; else without columns.
        labels: `(n, ...)`, NaN where unknown; of classes their numbers, -1 where unknown; `None`: not one is known.
        groups: `n` texts, or `None`.
    """

    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    static: NDArray[np.float32] | None
    names: list[Any]
    identity: pd.DataFrame
    labels: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None
    future: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: NDArray[np.int64]) -> "SeriesBatch":
        """Some of them."""
        return SeriesBatch(
            self.values[rows],
            self.observed[rows],
            None if self.static is None else self.static[rows],
            [self.names[row] for row in rows],
            self.identity.iloc[rows].reset_index(drop=True),
            None if self.labels is None else self.labels[rows],
            None if self.groups is None else self.groups[rows],
            None if self.future is None else self.future[rows],
        )


class BatchReader:
    """Reads samples for a model.

    Args:
        processor, config, task: of the model.
        reads: the keys of a batch that its answer depends on.
        target: number of the target, whose column of a table has its labels.
    """

    def __init__(
        self, processor: TimesCLIPProcessor, config: TimesCLIPConfig, task: Task, reads: Collection[str], target: int
    ):
        self.processor, self.config, self.task, self.target = processor, config, task, target
        self.reads_static, self.reads_future = "static_values" in reads, "future_values" in reads

    def read(self, samples: Any, labels: Any = None, groups: Any = None, **reading: Any) -> SeriesBatch:
        """Samples of any form that a pipeline takes, with their labels and groups, where there are some.

        Args:
            samples: see `TimeSeriesPipeline`; what cannot be read is left out, with a warning.
            labels: `(n,)` or more, or the name of a column; not given: of a data set its labels, of a table the
                column of the target's name, if there is one. Cells of a table name classes, as `data.classes` reads
                them; whole numbers of all else, and of a table where no class is called so, are class numbers.
            groups: `n` labels, or the name of a column.
            **reading: how a table is read, see `TimeSeriesPipeline`; of a forecaster with covariates that are known in
                advance, `future` is a table of these.

        Raises:
            ValueError: no sample can be read, or labels and groups do not fit the samples.
        """
        plain = isinstance(samples, Dataset) and "past_values" not in samples.column_names
        frame = read_table(samples) if is_table(samples) or plain else None
        series_column = reading.get("series_column")
        if frame is not None and not self.task.reads_newest_steps:  # labels and groups are of series, not of steps
            frame, reading = one_row_each(frame, self.processor, reading)
        ahead = self.config.prediction_length if self.reads_future else 0
        with one_run():
            found = read_samples(
                samples if frame is None else frame, self.processor, newest_steps=self.task.reads_newest_steps,
                reads_static=self.reads_static, prediction_length=ahead, **reading,
            )  # fmt: skip
            rows = list(found.rows)
        kept = [number for number, row in enumerate(rows) if not isinstance(row, Skipped)]
        if not kept:
            raise ValueError(f"no sample can be read: {rows[0].reason if rows else 'there is none'}")
        if len(kept) < len(rows):
            left = [number for number, row in enumerate(rows) if isinstance(row, Skipped)]
            warn_caller(f"samples {some_of(left)} are left out: {rows[left[0]].reason}")
        positions, names, identity = _places(found, kept)
        if frame is not None and series_column in identity and "series_column" not in reading:
            names = identity[series_column].astype(str).tolist()
        used = [rows[number] for number in kept]
        values, observed = self._arrays(used)
        batch = SeriesBatch(values, observed, self._static(used), names, identity)
        batch.future = self._future(used, values, observed)
        batch.labels = self._labels(samples, frame, labels, positions)
        batch.groups = _column(groups, samples, frame, positions, "groups")
        return _without_blank(batch)

    def _arrays(self, rows: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        arrays = []
        for row in rows:
            values, observed = read_series(
                row["past_values"], row.get("past_observed_mask"), missing_values=self.processor.missing_values,
                num_variates=self.processor.num_variates, variate_names=self.processor.variate_names,
            )  # fmt: skip
            values, observed = (np.asarray(array) for array in (values, observed))
            arrays.append(fit_length(values, observed, self.processor.context_length, *sides(self.processor)))
        return np.concatenate([v for v, _ in arrays]).astype(np.float64), np.concatenate([o for _, o in arrays])

    def _static(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float32] | None:
        if not self.reads_static:
            return None
        columns = (self.processor.statistics or {}).get("static") or []
        if any("static_values" not in row for row in rows):
            raise ValueError(
                f"this model also needs the static values {[column['name'] for column in columns]} of each series: "
                "pass samples {'past_values': series, 'static_values': {name: value, ...}}"
            )
        return encode_static([row["static_values"] for row in rows], columns)

    def _future(
        self, rows: Sequence[Mapping[str, Any]], values: NDArray[np.float64], observed: NDArray[np.bool_]
    ) -> NDArray[np.float32] | None:
        if not self.reads_future:
            return None
        columns = (self.processor.statistics or {}).get("future") or []
        if any("future_values" not in row for row in rows):
            raise ValueError(
                f"this model also needs the covariates {[column['name'] for column in columns]} of the steps to "
                "forecast: pass a table and its future=, windows, or samples {'past_values': series, 'future_values': "
                "array or DataFrame}"
            )
        lengths = (self.processor.context_length, self.processor.prediction_length)
        past = np.where(observed, values, np.nan)
        known = {name: past[..., k] for k, name in enumerate(self.processor.variate_names or [])}
        return encode_future([row["future_values"] for row in rows], columns, lengths, known)

    def _labels(
        self, samples: Any, frame: pd.DataFrame | None, labels: Any, positions: NDArray[np.int64]
    ) -> NDArray[Any] | None:
        named = self.processor.target_names or []
        if labels is None and frame is not None:
            labels = next((name for name in named[self.target : self.target + 1] if name in frame), None)
        elif labels is None and hasattr(samples, "column_names") and "labels" in samples.column_names:
            labels = "labels"
        elif labels is None and frame is None and _has_labels(samples):
            labels = [samples[number]["labels"] for number in range(len(samples))]
        found = _column(labels, samples, frame, positions, "labels")
        if found is None:
            return None
        if self.task.name == "classification":
            names = class_names_of(samples, labels) if isinstance(labels, str) else None
            if names is not None and frame is not None:
                found = with_names(pd.Series(found), names).to_numpy()
            return self._classes(found, isinstance(labels, str) and frame is not None)
        try:
            found = np.asarray(found.tolist(), np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"labels must be numbers, NaN where they are not known: {error}") from error
        if not np.isfinite(found).any():
            return None
        return found[:, None] if found.ndim == 1 else found

    def _classes(self, found: NDArray[Any], are_cells: bool) -> NDArray[np.int64] | None:
        """Numbers of classes `(n,)`, -1 where unknown; `are_cells`: of a table, which name them."""
        numbers = {str(name): number for number, name in (self.config.id2label or {}).items()}
        names = list(numbers)
        told = [str(cell) if (name := class_of(cell)) is None else name for cell in found.tolist()]
        given = {*told} - {""}
        whole = all(name.removeprefix("-").isdecimal() for name in given)
        if whole and (not given & numbers.keys() if are_cells else found.dtype.kind in "iuf"):
            numbers = {str(number): number for number in (-1, *numbers.values())}
        if unknown := sorted(given - numbers.keys()):
            raise ValueError(f"labels hold {some_of(unknown)}, which the model has no class for: {some_of(names)}")
        classes = np.array([numbers.get(name, -1) for name in told], np.int64)
        return classes if (classes >= 0).any() else None


def _places(found: Samples, kept: list[int]) -> tuple[NDArray[np.int64], list[Any], pd.DataFrame]:
    """Of samples that were read: their rows in what was given, their names, and the other columns of a table."""
    if found.table is None:
        return np.array(kept, np.int64), list(kept), pd.DataFrame(index=range(len(kept)))
    found.table.warn()
    positions = found.table.positions
    names = list(found.table.names) or list(range(len(found.table.identity)))
    return positions, [names[k] for k in positions], found.table.identity.iloc[positions].reset_index(drop=True)


def _without_blank(batch: SeriesBatch) -> SeriesBatch:
    """Without series of which a variate was never observed, which no model reads."""
    blank: NDArray[np.bool_] = np.any(~batch.observed.any(axis=1), axis=1)
    if not blank.any():
        return batch
    if blank.all():
        raise ValueError("no sample can be read: in each of them a variate has no value at all")
    warn_caller(f"samples {some_of(np.array(batch.names, object)[blank])} are left out: a variate has no value")
    return batch.at(np.flatnonzero(~blank))


def _has_labels(samples: Any) -> bool:
    """Whether rows of a list, or of windows, have labels beside their series."""
    if not (hasattr(samples, "__getitem__") and hasattr(samples, "__len__") and len(samples)):
        return False
    if isinstance(samples, Mapping | np.ndarray | torch.Tensor):
        return False
    first = samples[0]
    return isinstance(first, Mapping) and first.get("labels") is not None


def _column(
    given: Any, samples: Any, frame: pd.DataFrame | None, positions: NDArray[np.int64], argument: str
) -> NDArray[Any] | None:
    """A column of what was given, or what was given itself, for the samples that are read."""
    if given is None:
        return None
    if isinstance(given, str):
        columns = list(frame.columns) if frame is not None else list(getattr(samples, "column_names", []))
        if given not in columns:
            raise ValueError(f"{argument}={given!r}: there is no such column, only {some_of(columns, 20)}")
        given = _cells(frame[given]) if frame is not None else samples.with_format("numpy")[given][:]
    found = np.asarray(given)
    if len(found) <= positions.max(initial=-1):
        raise ValueError(f"{argument} has {len(found)} rows, expected one for each of the samples")
    return found[positions]


def _cells(column: pd.Series) -> np.ndarray:
    """Whole numbers beside blank cells as floats, NaN in these."""
    column = decoded(column)
    blank = pd.api.types.is_integer_dtype(column.dtype) and column.isna().any()
    return column.to_numpy(np.float64, na_value=np.nan) if blank else column.to_numpy()


__all__ = ["BatchReader", "SeriesBatch"]
