# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipelines of the tasks: what a result is, of one series and of a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers.trainer_utils import unwrap_peft_model

from ..data.rhythms import join_times
from ..data.tables import some_of
from ..data.timestamps import write_timestamps
from ..model import modeling_timesclip
from ..model.branches import feature_width
from ..model.intervals import percent, set_of
from ..model.modeling_timesclip import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPModel,
)
from .intervals import bounds, with_bounds
from .pipeline_inputs import TableRows
from .pipelines import TimeSeriesPipeline


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

    def postprocess(  # type: ignore[override]
        self, model_outputs: Any, interval: float | None = None, groups: Any = None, **postprocess_parameters: Any
    ) -> list[dict[str, Any]]:
        """Predictions `(B, num_targets)` to dicts."""
        names = self.target_names()
        results = [dict(zip(names, row, strict=True)) for row in model_outputs["predictions"].tolist()]
        if interval is None:
            return results
        if taken := {"lower", "upper"} & {*names}:
            raise ValueError(
                f"a target is called {taken.pop()!r}, as the ends of intervals are: rename it, or leave out interval"
            )
        ends = (end.tolist() for end in bounds(self.model.config, model_outputs, interval, groups))
        told = [[dict(zip(names, row, strict=True)) for row in end] for end in ends]
        return [{**row, "lower": low, "upper": high} for row, low, high in zip(results, *told, strict=True)]

    def target_names(self) -> list[str]:
        """What targets are called in results."""
        count = self.model.config.num_targets
        unnamed = ["prediction"] if count == 1 else [f"prediction_{i}" for i in range(count)]
        return self.processor.target_names or unnamed

    def _as_table(
        self, results: list[Any], table: TableRows, interval: float | None = None, **postprocess_parameters: Any
    ) -> pd.DataFrame:
        prefix, names = "predicted_" if self.processor.target_names else "", self.target_names()
        columns = {prefix + name: _numbers([result[name] for result in results]) for name in names}
        if interval is not None:
            ends = {n: [_numbers([row[end][n] for row in results]) for end in ("lower", "upper")] for n in names}
            columns = with_bounds(columns, ends, interval)
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
        preprocess, forward, writing = super()._sanitize_parameters(**reading)
        return preprocess, forward, writing if top_k is None else {**writing, "top_k": top_k}

    def postprocess(  # type: ignore[override]
        self,
        model_outputs: Any,
        top_k: int = 1,
        interval: float | None = None,
        groups: Any = None,
        **postprocess_parameters: Any,
    ) -> list[list[dict[str, Any]]]:
        """Logits `(B, num_labels)` to labels and probabilities."""
        counts = [top_k] * len(model_outputs["logits"])
        if interval is not None:  # a set holds the likeliest classes
            counts = set_of(self.model.config, model_outputs["logits"].numpy(), interval, groups).sum(axis=1).tolist()
        scores, classes = model_outputs["logits"].float().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        names = self.model.config.id2label
        return [
            [{"label": names[k], "score": score} for score, k in zip(row[:count], order[:count], strict=True)]
            for row, order, count in zip(scores.tolist(), classes.tolist(), counts, strict=True)
        ]

    def _as_table(
        self,
        results: list[list[dict[str, Any]]],
        table: TableRows,
        interval: float | None = None,
        top_k: int = 1,
        **postprocess_parameters: Any,
    ) -> pd.DataFrame:
        columns: dict[str, Any] = {}
        if interval is not None:
            sets = ["; ".join(str(one["label"]) for one in result) for result in results]
            columns[f"label_set_{percent(interval)}"] = _texts(sets)
        count = 1 if interval is not None else min(top_k, len(self.model.config.id2label))
        for rank in range(count):
            suffix = f"_{rank + 1}" if count > 1 else ""
            columns[f"predicted_label{suffix}"] = _texts([result[rank]["label"] for result in results])
            columns[f"score{suffix}"] = [result[rank]["score"] for result in results]
        return _beside(table, columns)


class TimeSeriesForecastingPipeline(TimeSeriesPipeline):
    """The steps that follow: `pipeline("time-series-forecasting", model="folder or Hub id")`.

    One result is a dict with `predictions`, an array `(H, V)` in original units. For a table it is a DataFrame with H
    rows for each series: its name, the continued timestamps (or `step`, 1 to H, where there are none), and a column
    for each variate. Timestamps continue the rhythm of the local calendar that the series follows, in the zone and of
    the dtype of the column that they continue; text comes back as the dates that it stands for. Inputs and arguments:
    see `TimeSeriesPipeline`, and

        future: of a model that reads covariates whose future is known, a table with a row for each series and step to
            forecast; without, these rows stand behind each series in the table itself, their targets blank.

    ```python
    >>> forecast = pipeline("time-series-forecasting", model="runs/sensors/forecast/seed0")
    >>> forecast("sensors.csv", timestamp_column="time")  # a DataFrame with time, load_mw, temperature
    ```
    """

    model_class = TimesCLIPForPrediction

    def _sanitize_parameters(  # type: ignore[override]
        self, future: Any = None, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        reading, forward, writing = super()._sanitize_parameters(**parameters)
        return reading if future is None else {**reading, "future": future}, forward, writing

    def postprocess(  # type: ignore[override]
        self, model_outputs: Any, interval: float | None = None, groups: Any = None, **postprocess_parameters: Any
    ) -> list[dict[str, Any]]:
        """Forecasts `(B, H, V)` to dicts."""
        found = {"predictions": model_outputs["predictions"].numpy()}
        if interval is not None:
            found |= zip(("lower", "upper"), bounds(self.model.config, model_outputs, interval, groups), strict=True)
        return [dict(zip(found, parts, strict=True)) for parts in zip(*found.values(), strict=True)]

    def _as_table(
        self, results: list[Any], table: TableRows, interval: float | None = None, **postprocess_parameters: Any
    ) -> pd.DataFrame:
        count, steps = self.model.config.num_answered_variates, self.model.config.prediction_length
        names = (self.processor.variate_names or ["value"])[:count]

        def by_name(end: str) -> dict[str, Any]:
            found = np.asarray([result[end] for result in results] or np.zeros(0, np.float32))
            return dict(zip(names, np.moveaxis(found.reshape(-1, steps, len(names)), -1, 0), strict=True))

        forecasts = by_name("predictions")
        columns: dict[str, Any] = {}
        if table.times is None:
            columns["step"] = np.tile(np.arange(1, steps + 1), len(results))
        else:
            times: Any = join_times(table.times) if table.times else []
            if table.times and table.time_kind is not None:
                times = write_timestamps(times, table.time_kind)
            columns[table.time_column or "timestamp"] = times
        told = {name: values.ravel() for name, values in forecasts.items()}
        if interval is not None:
            low, high = by_name("lower"), by_name("upper")
            told = with_bounds(told, {name: (low[name].ravel(), high[name].ravel()) for name in names}, interval)
        columns |= told
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
        return {"embeds": unwrap_peft_model(self.model).base_model.get_features(**batch)}

    def _check_interval(self, interval: Any) -> float:
        raise TypeError(f"{type(self).__name__} takes no 'interval'")

    def _check_similar(self, similar: Any) -> int:
        raise TypeError(f"{type(self).__name__} takes no 'similar'")

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


def _texts(values: list[Any]) -> Any:
    """Text in the dtype that it has where there is none, too."""
    return values if values else pd.Series(dtype="str").array


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
    "TimeSeriesRegressionPipeline",
    "embed_names",
]
