# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A model as a callable for batches of a table that some engine hands out, Ray Data for one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from transformers import pipeline as build_pipeline

from ..data.collator import ROW_COLUMNS
from ..data.tables import PartFaults, read_table, some_of
from ..model.messages import warn_caller
from ..model.modeling_timesclip import TimesCLIPModel
from ..model.tower_configs import checkpoint_folder
from .any_series import reads_any_series
from .loading import pipeline_task
from .pipelines import ROW, TimeSeriesPipeline
from .run_report import PartReport
from .table_inputs import TableRows, is_wide, usable_pattern

# A batch of series as arrays has them under this name.
_SERIES = "past_values"


class TimesCLIPPredictor:
    """Batches of rows in, the same rows with a model's answers out: for `ray.data.Dataset.map_batches`.

    The model is loaded when the object is made, once an actor. A batch has one row per series, its columns found by
    their names as pipelines find them, and comes back in the form that it has: a DataFrame of pandas, a dict of
    NumPy arrays, or a `pyarrow.Table`. The table's own columns stay, but for the steps, beside those of the pipeline
    (`predicted_yield`, `predicted_label` and `score`, `embed_0000`, ...); a forecast has a row for each step. Results
    are those of the pipeline. A row that cannot be answered has nothing in their columns, also where no row can.

    A dict may instead hold the series themselves, `past_values` `(B, T, V)` and perhaps `past_observed_mask` of the
    same shape and `static_values`: all but these stays beside the results.

    Args:
        model: folder or Hub id of a trained model, or a pipeline of ours.
        embed: give what the model's towers say, of any model of ours, in place of its answer.
        batch_size: series that go through the model at once, see `TimeSeriesPipeline`.
        device: `"cpu"`, `"cuda"`, ...; not set: a GPU where there is one.
        skipped_column: name of a column for the reasons why rows have no answer, `None` in all others; not set: they
            are told in one warning an object, which names those of the first batch that has some.
        **kwargs: of the pipeline, such as `top_k` and `column_pattern`.

    Raises:
        ValueError: towers for any series, whose scale one batch cannot tell.

    Example:

    ```python
    >>> import ray
    >>> from timesclip_hf import TimesCLIPPredictor

    >>> rows = ray.data.read_parquet("fields/")
    >>> two = ray.data.ActorPoolStrategy(size=2)
    >>> given = {"model": "model/"}
    >>> answers = rows.map_batches(TimesCLIPPredictor, fn_constructor_kwargs=given, compute=two, batch_size=4096)
    >>> answers.write_parquet("answers/")
    ```
    """

    def __init__(
        self,
        model: str | Path | TimeSeriesPipeline,
        *,
        embed: bool = False,
        batch_size: int | None = None,
        device: Any = None,
        skipped_column: str | None = None,
        **kwargs: Any,
    ):
        if isinstance(model, TimeSeriesPipeline):
            self.pipeline = model
        else:
            folder = checkpoint_folder(str(model))
            task: Any = TimesCLIPModel.task.pipeline if embed else pipeline_task(folder)
            self.pipeline = build_pipeline(task, model=folder, device=device)
        if reads_any_series(self.pipeline.model) and self.pipeline.processor.variate_names is None:
            raise ValueError(
                f"{model}: these towers read any series, scaled as in a whole table, which a batch cannot tell: bring "
                "them to yours first (inference.any_series.brought_to) and save them, or use timesclip embed"
            )
        self.batch_size, self.skipped_column, self.options = batch_size, skipped_column, kwargs
        self._told: set[str] = set()

    def __call__(self, batch: Any) -> Any:
        """A batch of rows to the same kind of batch, see the class.

        Raises:
            ValueError: a batch that is no table with one row per series; says what was found.
        """
        if isinstance(batch, Mapping):
            columns = {name: np.asarray(values) for name, values in batch.items()}
            if _SERIES in columns:
                return self._answer_series(columns)
            answers = self._answer_rows(pd.DataFrame(columns))
            return {str(name): answers[name].to_numpy() for name in answers.columns}
        if isinstance(batch, pd.DataFrame):
            return self._answer_rows(batch)
        frame = read_table(batch) if len(batch) else batch.to_pandas()  # whole numbers are such in all batches
        answers = pa.Table.from_pandas(self._answer_rows(frame), preserve_index=False)
        return answers.replace_schema_metadata(None)  # which differs from batch to batch

    def _answer_rows(self, batch: pd.DataFrame) -> pd.DataFrame:
        frame = read_table(batch) if len(batch) else batch
        processor = self.pipeline.processor
        pattern = self.options.get("column_pattern") or usable_pattern(frame, processor)
        if not is_wide(frame, processor.variate_names, pattern):
            raise ValueError(
                f"the batch has columns {some_of(map(repr, frame.columns), 8)} and no row per series: bring the table "
                "into that form first (load_wide_table), since a batch may cut series apart"
            )
        results, rows = self._answer(frame)
        own = rows.identity.reset_index(drop=True)
        return pd.concat([own.iloc[results.pop(ROW)].reset_index(drop=True), results], axis=1)

    def _answer_series(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: values for name, values in batch.items() if name not in ROW_COLUMNS}
        read = {name: values for name, values in batch.items() if name in ROW_COLUMNS and name != "labels"}
        results, _ = self._answer([dict(zip(read, row, strict=True)) for row in zip(*read.values(), strict=True)])
        places = results.pop(ROW).to_numpy()
        beside = {str(name): results[name].to_numpy() for name in results.columns}
        return {**{name: values[places] for name, values in own.items()}, **beside}

    def _answer(self, part: Any) -> tuple[pd.DataFrame, TableRows]:
        """Results, the number of their row in front, of a frame or of samples, and what is known of the rows."""
        run, faults = PartReport(), PartFaults()
        with run.heard():
            results, rows = self.pipeline.answer_part(part, run, faults, self.batch_size, **self.options)
        if taken := [name for name in results.columns if name in rows.identity.columns]:
            raise ValueError(f"the batch already has columns [{some_of(map(repr, taken))}], which the results need")
        if self.skipped_column is not None:
            reasons = [rows.skipped.get(int(place)) for place in results[ROW]]
            results[self.skipped_column] = pd.Series(reasons, dtype=object)
        self._tell(run, rows.skipped)
        results.attrs = {}
        return results, rows

    def _tell(self, run: PartReport, skipped: Mapping[int, str]) -> None:
        """Warns of each kind of thing once."""
        told = {message: message for message in run.warnings}
        told |= {message: message.replace("{}", some_of(items)) for message, items in run.told.told.items()}
        if skipped and self.skipped_column is None:
            row, reason = next(iter(skipped.items()))
            told["skipped"] = f"{len(skipped)} rows of a batch have no answer; row {row}: {reason}"
        for kind, message in told.items():
            if kind not in self._told:
                self._told.add(kind)
                warn_caller(message)


__all__ = ["TimesCLIPPredictor"]
