# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`transformers.pipeline` tasks: series of any form in, results in original units out."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import Pipeline
from transformers.trainer_utils import unwrap_peft_model
from transformers.utils import ModelOutput

from ..data.collator import TimesCLIPDataCollator
from ..data.rhythms import join_times
from ..data.tables import some_of
from ..data.timestamps import write_timestamps
from ..model import modeling_timesclip
from ..model.agreement import check_agreement
from ..model.branches import feature_width
from ..model.heads import unfitted_kernels
from ..model.messages import one_run, warn_caller
from ..model.modeling_timesclip import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPPreTrainedModel,
)
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.remote_code import CarriesCode
from ..model.screening import RangeReport, reported_to
from ..model.task_models import UNFITTED
from ..training.hooks import check_hooks
from .pipeline_inputs import Samples, TableRows, read_samples
from .run_report import RunReport
from .skipped import Skipped

check_hooks()

# Images that a batch holds unless its size is asked for: 150 MB of 224 x 224 pixels.
_IMAGES = 256
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
        fill_gaps (bool, defaults to False): insert missing time steps as missing values instead of raising.
        column_pattern (str): how columns of tables with one row per series are named, see `load_wide_table`; not set:
            as the processor was fitted.
        variate_column, value_column (str): of tables with one row per value, see `load_long_table`.

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
        self, part: pd.DataFrame, run: RunReport, faults: dict[int, str], batch_size: int | None = None, **kwargs: Any
    ) -> tuple[pd.DataFrame, TableRows]:
        """The results for rows of a larger table with one row per series, without the table's own columns.

        Args:
            part: these rows; that none of them can be answered is no error.
            run: takes note of what there is to tell of them.
            faults: takes the rows that could not be read, and why.
            batch_size, **kwargs: as for calling the pipeline.

        Returns:
            The results, their first column the number of the row in `part`; and what is known of the rows.
        """
        samples, results, writing = self._begin(part, run, batch_size, False, kwargs, faults)
        table = cast(TableRows, samples.table)
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
        reading, _, writing = self._sanitize_parameters(**kwargs)
        reading, writing = {**self._preprocess_params, **reading}, {**self._postprocess_params, **writing}
        if self.model_class.task.errors_in == "variates":
            reading["prediction_length"] = self.model.config.prediction_length
        reading["reads_static"] = self._reads("static_values")
        with one_run(run.told):
            samples = read_samples(
                inputs, self.processor, newest_steps=self._reads_newest_steps, faults=faults, **reading
            )
        return samples, self._predict(samples, self.series_at_once(batch_size), progress_bar, writing, run), writing

    def _finish(
        self, results: list[Any], table: TableRows, run: RunReport, writing: Mapping[str, Any]
    ) -> pd.DataFrame:
        """Results in the form of a table."""
        table = table.without(run.skipped)
        frame = self._as_table([result for k, result in enumerate(results) if k not in run.skipped], table, **writing)
        frame.attrs["skipped"] = table.skipped_by_name
        return frame

    def _predict(
        self, samples: Samples, batch_size: int, progress_bar: bool, writing: Mapping[str, Any], run: RunReport
    ) -> Iterator[Any]:
        self.model.eval()  # a model straight from training would still drop units at random
        remaining, done = iter(samples.rows), 0
        with tqdm(total=samples.count, unit="series", disable=not progress_bar) as bar:
            while batch := self._read_batch(remaining, batch_size, run):
                prepared, faults = self._prepare(batch, run)
                results: Iterator[Any] = iter(())
                if prepared is not None:
                    answers = self.forward(prepared)
                    numbers = [done + k for k in range(len(batch)) if k not in faults]
                    run.see_answers(answers[self._answer], numbers)
                    results = iter(self.postprocess(answers, **writing))
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
        return {name: value for name, value in reading.items() if value is not None}, {}, {}

    def _reads(self, name: str) -> bool:
        """Whether the model's answer depends on this key of the processor's batch."""
        return name in self.model_class.answer_inputs(self.model.config)

    def preprocess(self, input_: list[dict[str, Any]], **preprocess_parameters: Any) -> dict[str, Any]:
        """Samples to a batch."""
        if not self._reads("static_values"):
            input_ = [{k: value for k, value in sample.items() if k != "static_values"} for sample in input_]
        elif any("static_values" not in sample for sample in input_):
            names = [column["name"] for column in (self.processor.statistics or {}).get("static") or []]
            raise ValueError(
                f"this model also needs the static values {names} of each series: pass samples "
                "{'past_values': series, 'static_values': {name: value, ...}}"
            )
        return TimesCLIPDataCollator(self.processor, draw=False)(input_)

    def _forward(self, input_tensors: dict[str, Any], **forward_parameters: Any) -> ModelOutput:
        """The model's answer, and nothing else: the rest need not travel back from an accelerator.

        Images are drawn where the model is, and only for models that look at them.
        """
        if self._reads("pixel_values"):
            self.processor.add_images(input_tensors)
        input_tensors.pop("plot_values", None)
        return ModelOutput({self._answer: self._ask(input_tensors)})

    def _ask(self, batch: dict[str, Any]) -> Any:
        """The model's answer to a batch."""
        return self.model(**batch)[self._answer]

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


class TimeSeriesRegressionPipeline(TimeSeriesPipeline):
    """Numbers for series, in original units: `pipeline("time-series-regression", model="folder or Hub id")`.

    One result is a dict, name of the target -> float (names from `processor.target_names`; without: `prediction`, or
    `prediction_0`, ...). For a table it is a DataFrame: the table's columns that are not steps of a variate, then
    `predicted_{target}` for each target. Inputs and arguments: see `TimeSeriesPipeline`.

    ```python
    >>> from transformers import pipeline
    >>> import timesclip_hf  # registers the task

    >>> predict = pipeline("time-series-regression", model="runs/fields/small/seed0")
    >>> predict("new_fields.csv")  # a DataFrame with field_id, ..., predicted_yield_t_ha
    ```
    """

    model_class = TimesCLIPForRegression

    def postprocess(self, model_outputs: Any, **postprocess_parameters: Any) -> list[dict[str, float]]:
        """Predictions `(B, num_targets)` to dicts."""
        names = self._target_names()
        return [dict(zip(names, row, strict=True)) for row in model_outputs["predictions"].tolist()]

    def _target_names(self) -> list[str]:
        count = self.model.config.num_targets
        unnamed = ["prediction"] if count == 1 else [f"prediction_{i}" for i in range(count)]
        return self.processor.target_names or unnamed

    def _as_table(
        self, results: list[dict[str, float]], table: TableRows, **postprocess_parameters: Any
    ) -> pd.DataFrame:
        prefix = "predicted_" if self.processor.target_names else ""
        columns = {prefix + name: _numbers([result[name] for result in results]) for name in self._target_names()}
        return _beside(table, columns)


class TimeSeriesClassificationPipeline(TimeSeriesPipeline):
    """Classes of series: `pipeline("time-series-classification", model="folder or Hub id")`.

    One result is a list of `{"label": str, "score": float}`, the likeliest class first. For a table it is a DataFrame:
    the table's columns that are not steps of a variate, then `predicted_label` and `score` (with `top_k` above 1
    `predicted_label_1`, `score_1`, `predicted_label_2`, ...). Inputs and arguments: see `TimeSeriesPipeline`, and

        top_k (int, defaults to 1): how many classes to return.
    """

    model_class = TimesCLIPForClassification

    def _sanitize_parameters(  # type: ignore[override]
        self, top_k: int | None = None, **reading: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be 1 or more, got {top_k}.")
        preprocess, forward, _ = super()._sanitize_parameters(**reading)
        return preprocess, forward, {} if top_k is None else {"top_k": top_k}

    def postprocess(  # type: ignore[override]
        self, model_outputs: Any, top_k: int = 1, **postprocess_parameters: Any
    ) -> list[list[dict[str, Any]]]:
        """Logits `(B, num_labels)` to labels and probabilities."""
        scores, classes = model_outputs["logits"].float().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        names = self.model.config.id2label
        return [
            [{"label": names[k], "score": score} for score, k in zip(row[:top_k], order[:top_k], strict=True)]
            for row, order in zip(scores.tolist(), classes.tolist(), strict=True)
        ]

    def _as_table(
        self, results: list[list[dict[str, Any]]], table: TableRows, **postprocess_parameters: Any
    ) -> pd.DataFrame:
        columns = {}
        for rank in range(len(results[0])) if results else range(1):
            suffix = f"_{rank + 1}" if results and len(results[0]) > 1 else ""
            columns[f"predicted_label{suffix}"] = [result[rank]["label"] for result in results]
            columns[f"score{suffix}"] = [result[rank]["score"] for result in results]
        return _beside(table, columns)


class TimeSeriesForecastingPipeline(TimeSeriesPipeline):
    """The steps that follow: `pipeline("time-series-forecasting", model="folder or Hub id")`.

    One result is a dict with `predictions`, an array `(H, V)` in original units. For a table it is a DataFrame with H
    rows for each series: its name, the continued timestamps (or `step`, 1 to H, where there are none), and a column
    for each variate. Timestamps continue the rhythm of the local calendar that the series follows, in the zone and of
    the dtype of the column that they continue; text comes back as the dates that it stands for. Inputs and arguments:
    see `TimeSeriesPipeline`.

    ```python
    >>> forecast = pipeline("time-series-forecasting", model="runs/sensors/forecast/seed0")
    >>> forecast("sensors.csv", timestamp_column="time")  # a DataFrame with time, load_mw, temperature
    ```
    """

    model_class = TimesCLIPForPrediction

    def postprocess(self, model_outputs: Any, **postprocess_parameters: Any) -> list[dict[str, Any]]:
        """Forecasts `(B, H, V)` to dicts."""
        return [{"predictions": forecast} for forecast in model_outputs["predictions"].numpy()]

    def _as_table(
        self, results: list[dict[str, Any]], table: TableRows, **postprocess_parameters: Any
    ) -> pd.DataFrame:
        names, steps = self.processor.variate_names or ["value"], self.model.config.prediction_length
        found = [result["predictions"] for result in results] or np.zeros(0, np.float32)
        forecasts = np.asarray(found).reshape(-1, steps, len(names))
        columns: dict[str, Any] = {}
        if table.times is None:
            columns["step"] = np.tile(np.arange(1, steps + 1), len(forecasts))
        else:
            times: Any = join_times(table.times) if table.times else []
            if table.times and table.time_kind is not None:
                times = write_timestamps(times, table.time_kind)
            columns[table.time_column or "timestamp"] = times
        columns |= {name: forecasts[..., k].ravel() for k, name in enumerate(names)}
        return _beside(_repeated(table, steps), columns)


class TimeSeriesFeatureExtractionPipeline(TimeSeriesPipeline):
    """What the towers say of series, for models of your own: `pipeline("time-series-feature-extraction", model=...)`.

    Any TimesCLIP model will do: of a task, pre-trained, an adapter, or the body alone. One result is an array
    `(variates * width,)`, float32: the features of each variate (see `TimesCLIPModel.get_features`), those of the
    first variate first. For a table it is a DataFrame: the table's columns that are not steps of a variate, then
    `embed_0000`, `embed_0001`, ... Forecasters read the newest steps of a table, all other models a season, as they do
    when they predict. Inputs and arguments: see `TimeSeriesPipeline`, and

        per_variate (bool, defaults to False): `(variates, width)` for each series; for a table a row for each series
            and variate, which the column `variate` names, and no rows for series that are left out.
    """

    model_class = TimesCLIPModel

    @property
    def _classes(self) -> set[str]:
        return {model.__name__ for model in modeling_timesclip.MODELS}

    @property
    def _answer(self) -> str:
        return "embeds"

    def _ask(self, batch: dict[str, Any]) -> Any:
        return unwrap_peft_model(self.model).base_model.get_features(**batch)

    def _sanitize_parameters(  # type: ignore[override]
        self, per_variate: bool | None = None, **reading: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess, forward, _ = super()._sanitize_parameters(**reading)
        return preprocess, forward, {} if per_variate is None else {"per_variate": per_variate}

    def postprocess(  # type: ignore[override]
        self, model_outputs: Any, per_variate: bool = False, **postprocess_parameters: Any
    ) -> list[NDArray[np.float32]]:
        """Features `(B, V, width)` to an array for each series."""
        embeds = model_outputs["embeds"].numpy()
        return list(embeds if per_variate else embeds.reshape(len(embeds), -1))

    def _as_table(
        self, results: list[Any], table: TableRows, per_variate: bool = False, **postprocess_parameters: Any
    ) -> pd.DataFrame:
        config = self.model.config
        width = feature_width(config) * (1 if per_variate else config.num_variates)
        embeds = np.asarray(results, np.float32).reshape(-1, width)
        columns: dict[str, Any] = dict(zip(embed_names(width), embeds.T, strict=True))
        if not per_variate:
            return _beside(table, columns)
        names = self.processor.variate_names or list(range(config.num_variates))
        return _beside(_repeated(table, len(names)), {"variate": names * len(table.positions), **columns})


def embed_names(width: int) -> list[str]:
    """Names of the columns of embeds."""
    return [f"embed_{k:04d}" for k in range(width)]


def _numbers(values: list[float]) -> NDArray[np.floating]:
    """Python's numbers in the dtype that the model gave them in."""
    wide = np.array(values, np.float64)
    narrow = wide.astype(np.float32)
    return narrow if np.array_equal(narrow, wide, equal_nan=True) else wide


def _repeated(table: TableRows, count: int) -> TableRows:
    """So many rows for each series that was answered."""
    identity = table.identity.iloc[np.repeat(table.positions, count)].reset_index(drop=True)
    return TableRows(identity, np.arange(len(identity)))


def _beside(table: TableRows, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The table's own columns, then the results in the rows that have one."""
    if taken := [name for name in columns if name in table.identity.columns]:
        raise ValueError(
            f"the table already has columns [{some_of(map(repr, taken))}], which the results need: rename or drop them"
        )
    results = pd.DataFrame(dict(columns), index=table.positions)
    results = results.reindex(np.arange(len(table.identity))).set_axis(table.identity.index, axis=0)
    return pd.concat([table.identity, results], axis=1)


# The pipelines by the name of their task.
PIPELINES: dict[str, type[TimeSeriesPipeline]] = {
    str(pipeline.model_class.task.pipeline): pipeline
    for pipeline in (
        TimeSeriesRegressionPipeline,
        TimeSeriesForecastingPipeline,
        TimeSeriesClassificationPipeline,
        TimeSeriesFeatureExtractionPipeline,
    )
}


__all__ = [
    "PIPELINES",
    "TimeSeriesClassificationPipeline",
    "TimeSeriesFeatureExtractionPipeline",
    "TimeSeriesForecastingPipeline",
    "TimeSeriesPipeline",
    "TimeSeriesRegressionPipeline",
    "embed_names",
]
