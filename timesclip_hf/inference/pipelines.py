# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`transformers.pipeline` tasks: series of any form in, results in original units out."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm
from transformers import Pipeline
from transformers.trainer_utils import unwrap_peft_model
from transformers.utils import ModelOutput

from ..data.collator import TimesCLIPDataCollator
from ..data.tables import PartFaults
from ..features.plots import read_plots
from ..features.similar import blocks_of
from ..model import modeling_timesclip
from ..model.agreement import check_agreement
from ..model.heads import unfitted_kernels
from ..model.messages import one_run, warn_caller
from ..model.modeling_timesclip import (
    TimesCLIPPreTrainedModel,
)
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.remote_code import CarriesCode
from ..model.screening import RangeReport, reported_to
from ..model.task_models import UNFITTED
from ..training.hooks import check_hooks
from .intervals import BESIDE_ANSWER, check_interval, groups_of
from .neighbours import check_similar, load_similar, neighbours, told, with_neighbours
from .pipeline_inputs import Samples, TableRows, read_samples
from .run_report import PartReport, RunReport
from .skipped import Skipped

check_hooks()

# Images that a batch holds unless its size is asked for: 150 MB of 224 x 224 pixels.
_IMAGES = 256
# In front of the names of what neighbours are found by, among a model's answers.
_BLOCK = "similar "
# Before the results for a part of a table: the number of its row.
ROW = "row of the part"


class TimeSeriesPipeline(CarriesCode, Pipeline):
    """What the time-series pipelines share: reading inputs, batches, saving.

    Made by `transformers.pipeline(task, model="folder or Hub id")`, which finds the processor beside the model. Takes

    - one series: an array, tensor or nested list `(time, variates)`, or a dict `{"past_values": series,
      "static_values": {...}}`; gives one result;
    - several: an array `(batch, time, variates)`, a list of series (lengths may differ) or of such dicts, a
      `datasets.Dataset` with a column `past_values`; gives a list;
    - a generator or a `datasets.IterableDataset` of such samples: gives an iterator that reads as it is consumed;
    - a table (path of a CSV or Parquet file, DataFrame of pandas or polars, `pyarrow.Table`, `datasets.Dataset`) with
      one row per series and columns `ndvi_00`, `ndvi_01`, ..., or with one row per time step and a column for each
      variate (name its `series_column` and `timestamp_column`); or a `SeriesCollection`. Columns are found by name,
      in any order. Gives a DataFrame of pandas.

    NaN means missing, and so does what `model.measured` says. Series longer than the model's context are cut, and
    shorter ones are padded as missing, at the sides that the processor says (`padding_side`, `truncation_side`).
    Regression and classification find the steps of a table with one row per series by their numbers, where the
    processor was fitted on such a table. A processor of an earlier release does not say: series go to their newest
    steps, and of such tables the first steps are read, those that are not there yet being missing.

    A series that cannot be read or answered does not cost the others: in a list its result is `{"skipped": reason}`;
    in a DataFrame it is empty (of a forecast it has no rows), and `attrs["skipped"]` has the reason by its name; one
    warning a run names them. Where none can be answered, that is an error.

    Calling it takes

        batch_size (int): series that go through the model at once; results do not depend on it. Not set: as many as
            make 256 images.
        progress_bar (bool, defaults to False): show one.
        timestamp_column (str): dates or numbers, of tables with one row per time step; an index of dates is found.
        series_column (str): which series a row belongs to, of tables with one row per time step and several series.
        fill_gaps (bool, defaults to False): insert missing time steps as missing values instead of raising; models of
            whole series that know the steps of a season always do, as in the table that they learnt from.
        column_pattern (str): how columns of tables with one row per series are named, see `load_wide_table`; not set:
            as the processor was fitted.
        variate_column, value_column (str): of tables with one row per value, see `load_long_table`.
        interval (float): such as 0.9, of a model that `calibrate` has seen: results have `lower` and `upper` too, in
            the form of what is predicted; tables the columns `{name}_lower_90`, `{name}_upper_90`. Of classes: the set
            that holds the right one so often, in place of the likeliest; tables have it in `label_set_90`.
        groups (list): of each input, where the calibration went by a group that the inputs themselves do not tell.
        similar (bool or int): results have `distance` and `unusual` too, and with a number the names of so many
            training series that are nearest, see `inference.neighbours`; where they were kept beside the model.

    Raises:
        ValueError: inputs of which none can be read, or a model that was trained for something else.
    """

    model: Any
    processor: Any
    _load_processor: Any = True
    _load_tokenizer: Any = False
    _load_feature_extractor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False

    # Training series that were kept beside the model; loaded when they are asked for, or set.
    similar_series: Any = None

    # What a pipeline is for: its task stands on this class.
    model_class: type[TimesCLIPPreTrainedModel]

    def __init__(self, model: Any, processor: TimesCLIPProcessor | None = None, **kwargs: Any):
        base = unwrap_peft_model(model)
        if type(base).__name__ not in self._classes:  # by name: code from the Hub has classes of its own
            task = getattr(getattr(modeling_timesclip, type(base).__name__, None), "task", None)
            advice = f"; use pipeline({task.pipeline!r}, ...)" if task is not None and task.pipeline else ""
            raise ValueError(
                f"{self.model_class.task.pipeline!r} needs a {self.model_class.__name__}, but this model is a "
                f"{type(base).__name__}{advice}"
            )
        check_agreement(processor, model.config, self.model_class.task)
        if unfitted_kernels(base):
            warn_caller(UNFITTED)
        super().__init__(model=model, processor=processor, **{"task": self.model_class.task.pipeline, **kwargs})
        self.tokenizer = None  # the base class looks for one in every processor
        self._reads_newest_steps = getattr(base, "task", self.model_class.task).reads_newest_steps

    @property
    def _classes(self) -> set[str]:
        """Names of the classes of models that this pipeline is for."""
        return {self.model_class.__name__}

    @property
    def _answer(self) -> str:
        """The field of outputs that people ask for."""
        return str(self.model_class.task.answer)

    def __call__(  # type: ignore[override]
        self, inputs: Any, *, batch_size: int | None = None, progress_bar: bool = False, **kwargs: Any
    ) -> Any:
        """Predicts; see the class for what it takes and gives."""
        run = RunReport()
        samples, results, writing = self._begin(inputs, run, batch_size, progress_bar, kwargs)
        if samples.form == "stream":
            return results
        listed = list(results)
        if samples.table is None:
            return listed[0] if samples.form == "one" else listed
        return self._finish(listed, samples.table, run, writing)

    def answer_part(
        self, part: Any, run: RunReport, faults: dict[int, str], batch_size: int | None = None, **kwargs: Any
    ) -> tuple[pd.DataFrame, TableRows]:
        """The results for rows of a larger table with one row per series, without the table's own columns.

        Args:
            part: these rows, a DataFrame, or a list of samples; that none of them can be answered is no error.
            run: takes note of what there is to tell of them.
            faults: takes the rows that could not be read, and why.
            batch_size, **kwargs: as for calling the pipeline.

        Returns:
            The results, their first column the number of the row in `part`; and what is known of the rows.
        """
        if isinstance(part, pd.DataFrame) and not len(part):  # what a row that cannot be answered has, but for the row
            told = PartReport()
            with told.heard():
                answers, rows = self.answer_part(part.reindex([0]), told, PartFaults(), batch_size, **kwargs)
            own = rows.identity[:0].astype({name: part[name].dtype for name in rows.identity if name in part})
            return answers[:0], replace(rows, identity=own, positions=rows.positions[:0], skipped={}, names=())
        samples, results, writing = self._begin(part, run, batch_size, False, kwargs, faults)
        count = samples.count or 0
        table = samples.table or TableRows(pd.DataFrame(index=range(count)), np.arange(count), names=range(count))
        numbered = replace(table, identity=pd.DataFrame({ROW: np.arange(len(table.identity))}))
        return self._finish(list(results), numbered, run, writing), table.without(run.skipped)

    def series_at_once(self, batch_size: int | None = None) -> int:
        """Series that go through the model at once, where so many are asked for, or none are."""
        return int(batch_size or self._batch_size or max(1, _IMAGES // self.model.config.num_variates))

    def _begin(
        self,
        inputs: Any,
        run: RunReport,
        batch_size: int | None,
        progress_bar: bool,
        kwargs: Mapping[str, Any],
        faults: dict[int, str] | None = None,
    ) -> tuple[Samples, Iterator[Any], dict[str, Any]]:
        """The samples that were read, their results as they are asked for, and how these are to be written."""
        options = dict(kwargs)
        groups = options.pop("groups", None)
        reading, _, writing = self._sanitize_parameters(**options)
        reading, writing = {**self._preprocess_params, **reading}, {**self._postprocess_params, **writing}
        if self.model_class.task.errors_in == "variates":
            reading["prediction_length"] = self.model.config.prediction_length
        reading["reads_static"] = self._reads("static_values")
        with one_run(run.told):
            samples = read_samples(
                inputs, self.processor, newest_steps=self._reads_newest_steps, faults=faults, **reading
            )
            if groups is not None or "interval" in writing:
                groups = groups_of(samples, self.model.config, groups)
        results = self._predict(samples, self.series_at_once(batch_size), progress_bar, writing, run, groups)
        return samples, results, writing

    def _finish(
        self, results: list[Any], table: TableRows, run: RunReport, writing: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Results in the form of a table."""
        table = table.without(run.skipped)
        answered = [k for k in range(len(results)) if k not in run.skipped]
        frame = self._as_table([results[k] for k in answered], table, **writing)
        if "similar" in writing:
            count = min(writing["similar"], len(self.similar_series.points))
            frame = with_neighbours(frame, table, [run.near[k] for k in answered], count)
        frame.attrs["skipped"] = table.skipped_by_name
        return frame

    def _predict(
        self,
        samples: Samples,
        batch_size: int,
        progress_bar: bool,
        writing: Mapping[str, Any],
        run: RunReport,
        groups: list[Any] | None = None,
    ) -> Iterator[Any]:
        self.model.eval()  # a model straight from training would still drop units at random
        remaining, done = iter(samples.rows), 0
        with tqdm(total=samples.count, unit="series", disable=not progress_bar) as bar:
            while batch := self._read_batch(remaining, batch_size, run):
                prepared, faults = self._prepare(batch, run)
                results: Iterator[Any] = iter(())
                if prepared is not None:
                    answers = self.forward(prepared, beside="interval" in writing, similar="similar" in writing)
                    numbers = [done + k for k in range(len(batch)) if k not in faults]
                    run.see_answers(answers[self._answer], numbers)
                    own: dict[str, Any] = {} if groups is None else {"groups": [groups[number] for number in numbers]}
                    results = iter(self.postprocess(answers, **writing, **own))
                    if "similar" in writing:
                        blocks = {n.removeprefix(_BLOCK): b for n, b in answers.items() if n.startswith(_BLOCK)}
                        near = neighbours(self.similar_series, blocks, writing["similar"])
                        run.near |= dict(zip(numbers, near, strict=True))
                        if samples.table is None:
                            results = iter([told(*pair) for pair in zip(results, near, strict=True)])
                run.skipped |= {done + k: reason for k, reason in faults.items()}
                yield from ({"skipped": faults[k]} if k in faults else next(results) for k in range(len(batch)))
                done += len(batch)
                bar.update(len(batch))
        run.end(samples, done)

    @staticmethod
    def _read_batch(rows: Iterator[Any], batch_size: int, run: RunReport) -> list[Any]:
        with one_run(run.told):
            return list(itertools.islice(rows, batch_size))

    def _prepare(self, batch: list[Any], run: RunReport) -> tuple[dict[str, Any] | None, dict[int, str]]:
        """A model's batch of those samples that can be prepared, and why the others cannot, by their place."""
        faults = {k: sample.reason for k, sample in enumerate(batch) if isinstance(sample, Skipped)}
        kept = {k: sample for k, sample in enumerate(batch) if k not in faults}

        if not (before := len(kept)):
            return None, faults
        try:
            return self._attempt(kept.values(), run), faults
        except ValueError as error:
            for k, sample in list(kept.items()):
                try:
                    self._attempt([sample])
                except ValueError as fault:
                    faults[k] = Skipped.because(fault).reason
                    del kept[k]
            if len(kept) == before:
                raise ValueError(f"series that can be read one by one, but not together: {error}") from error
        return (self._attempt(kept.values(), run) if kept else None), faults

    def _attempt(self, samples: Iterable[Any], run: RunReport | None = None) -> dict[str, Any]:
        run = run or RunReport()
        with reported_to(RangeReport()) as report, one_run(run.told):
            prepared = self.preprocess(list(samples))
        run.ranges.add(report)
        return prepared

    def _sanitize_parameters(
        self,
        timestamp_column: str | None = None,
        series_column: str | None = None,
        fill_gaps: bool | None = None,
        column_pattern: str | None = None,
        variate_column: str | None = None,
        value_column: str | None = None,
        interval: float | None = None,
        similar: bool | int | None = None,
        **writing: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if writing:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(map(repr, writing))}")
        reading = {
            "timestamp_column": timestamp_column,
            "series_column": series_column,
            "fill_gaps": fill_gaps,
            "column_pattern": column_pattern,
            "variate_column": variate_column,
            "value_column": value_column,
        }
        if interval is not None:
            writing["interval"] = self._check_interval(interval)
        if similar is not None and similar is not False:
            writing["similar"] = self._check_similar(similar)
        return {name: value for name, value in reading.items() if value is not None}, {}, writing

    def _check_interval(self, interval: Any) -> float:
        return check_interval(self.model.config, interval)

    def _check_similar(self, similar: Any) -> int:
        count = check_similar(similar)
        if self.similar_series is None:
            self.similar_series = load_similar(str(self.model.name_or_path))
        return count

    def known_similar(self, similar: Any) -> str | None:
        """A name for the training series that results tell of, where they are asked for."""
        if similar is None or similar is False:
            return None
        self._check_similar(similar)
        return str(self.similar_series.fingerprint())

    def _reads(self, name: str) -> bool:
        """Whether the model's answer depends on this key of the processor's batch."""
        return name in self.model_class.answer_inputs(self.model.config)

    def preprocess(self, input_: list[dict[str, Any]], **preprocess_parameters: Any) -> dict[str, Any]:
        """Samples to a batch."""
        unread = {name for name in ("static_values", "future_values") if not self._reads(name)}
        input_ = [{k: value for k, value in sample.items() if k not in unread} for sample in input_]
        if "future_values" not in unread and any("future_values" not in sample for sample in input_):
            names = [column["name"] for column in (self.processor.statistics or {}).get("future") or []]
            raise ValueError(
                f"this model also needs the covariates {names} of the steps to forecast: pass a table and its "
                "future=, or samples {'past_values': series, 'future_values': array or DataFrame}"
            )
        if "static_values" not in unread and any("static_values" not in sample for sample in input_):
            names = [column["name"] for column in (self.processor.statistics or {}).get("static") or []]
            raise ValueError(
                f"this model also needs the static values {names} of each series: pass samples "
                "{'past_values': series, 'static_values': {name: value, ...}}"
            )
        return TimesCLIPDataCollator(self.processor, draw=False)(input_)

    def _forward(self, input_tensors: dict[str, Any], **forward_parameters: Any) -> ModelOutput:
        """The model's answer, with `beside` what intervals rest on, with `similar` what neighbours are found by: no
        more need travel back from an accelerator.

        Images are drawn where the model is, and only for models that look at them.
        """
        if self._reads("pixel_values"):
            read_plots(self.model, self.processor, input_tensors)
        plots = {"plot_values": input_tensors.pop("plot_values")} if "plot_values" in input_tensors else {}
        said = self._ask(input_tensors)
        wanted = (self._answer, *(BESIDE_ANSWER if forward_parameters.get("beside") else ()))
        found = {name: said[name] for name in wanted if said.get(name) is not None}
        if forward_parameters.get("similar"):
            blocks = blocks_of(self.model, self.processor, {**input_tensors, **plots}, said)
            found |= {f"{_BLOCK}{name}": block for name, block in blocks.items()}
        return ModelOutput(found)

    def _ask(self, batch: dict[str, Any]) -> Any:
        """What the model says of a batch."""
        return self.model(**batch)

    def _as_table(self, results: list[Any], table: TableRows, **postprocess_parameters: Any) -> pd.DataFrame:
        raise NotImplementedError

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and processor, nothing else, into a folder; `kwargs` go to both (`push_to_hub`, ...).

        Raises:
            NotADirectoryError: there is a file of this name.
        """
        if os.path.isfile(save_directory):
            raise NotADirectoryError(f"{save_directory} is a file; save_pretrained needs a folder.")
        self.model.save_pretrained(save_directory, **kwargs)
        kwargs.pop("max_shard_size", None)
        self.processor.save_pretrained(save_directory, **kwargs)


__all__ = ["TimeSeriesPipeline"]
