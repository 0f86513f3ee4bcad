# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Towers by themselves, and those that read any series.

The rule. Towers read each variate on its own. Where they were pretrained without a task, on one variate, and their
tokenizer's weights fit patches of any length (`patch_tokenizer="resampled"`, or no text branch), nothing ties them to
the series that they were trained on: they are brought to series of any number of variates and steps. Patches are then
a sixth of the longest series, each half over the next, and values are scaled as in these series. All other models
read what their own processor makes of series.
"""

import copy
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, concatenate_datasets, load_from_disk
from torch import Tensor
from transformers.trainer_utils import unwrap_peft_model

from ..data.long import SeriesCollection, read_long_series
from ..data.pivot import spread_variates
from ..data.tables import PartFaults, read_table, warn_caller
from ..data.wide import load_wide_table, read_wide_series
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.modeling_timesclip import TimesCLIPModel
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.reader import WideOrigin
from .pipelines import TimeSeriesPipeline
from .table_inputs import is_wide
from .task_pipelines import TimeSeriesFeatureExtractionPipeline

# Towers without what is built upon them.
TOWERS_ALONE: dict[str, Any] = {
    "alignment": None,
    "variate_selection": None,
    "head_reads": "features",
    "ensemble_size": 1,
}
# What a configuration knows of the series that a model was trained on.
_UNKNOWN = dict.fromkeys(("variate_mean", "variate_std", "target_mean", "target_std")) | {"num_static_features": 0}
# How a processor draws and scales, whatever the series.
_KEPT = ("scaling", "value_range", "view", "line_width", "background")
SCALED_AS_HERE = (
    "the model reads any series: values were scaled as in this table, and those of another table will be as in "
    "that one. Put series that are to be compared into one table, or use TimesCLIPEmbedder, which keeps the scale"
)
_PATCHES = 6  # without those that overlap


def reads_any_series(model: Any) -> bool:
    """Whether a model's towers are tied to no series, by the rule above."""
    config = unwrap_peft_model(model).config
    untied = config.patch_tokenizer == "resampled" or config.text_config is None
    return bool(untied and config.num_variates == 1 and unwrap_peft_model(model).task.answer is None)


def towers_of(model: Any, **shape: Any) -> TimesCLIPModel:
    """The towers of a model by themselves, which its further training leaves alone; adapters become part of them.

    Args:
        shape: fields of the configuration that are to be others.
    """
    body = unwrap_peft_model(model).base_model
    if any(hasattr(module, "get_base_layer") or hasattr(module, "modules_to_save") for module in body.modules()):
        body = copy.deepcopy(body)
        _merge_adapters(body)
    config = TimesCLIPConfig.from_dict({**body.config.to_dict(), **TOWERS_ALONE, **shape})
    with torch.random.fork_rng(devices=[]):
        towers = TimesCLIPModel(config)
    names, weights = towers.state_dict().keys(), body.state_dict()
    return filled(towers, {name: weights[name] for name in names if name in weights}, body.dtype)


def filled(model: Any, weights: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
    """A model with these weights and no others, in evaluation mode."""
    model.to(dtype).load_state_dict(weights)
    return model.eval()


def shape_of(series: Any, patch_length: int | None = None) -> dict[str, int]:
    """Fields of a configuration for such series.

    Args:
        series: an array `(n, T, V)`, a data set of `load_wide_table`, or a `SeriesCollection`.
        patch_length: steps in a patch; `None`: by the rule above.
    """
    first = series.values if isinstance(series, SeriesCollection) else [series[0]]
    arrays = [np.asarray(one["past_values"] if isinstance(one, Mapping) else one) for one in first]
    steps = max(map(len, arrays))
    length = patch_length or max(1, steps // _PATCHES)
    sizes = {"context_length": steps, "patch_length": length, "patch_stride": max(1, length // 2)}
    return {"num_variates": arrays[0].shape[1], **sizes}


def processor_for(config: TimesCLIPConfig, series: Any, **kept: Any) -> TimesCLIPProcessor:
    """A processor of a model of this configuration, fitted on series as `shape_of` takes them."""
    names: Any = None
    if isinstance(series, SeriesCollection):
        series, names = series.values, series.variate_names
    elif not isinstance(series, np.ndarray) and (origin := WideOrigin.read(series)) is not None:
        names = origin.variate_names
    return TimesCLIPProcessor.from_config(config, variate_names=names, **kept).fit(series)


def brought_to(
    model: Any, processor: TimesCLIPProcessor, series: Any, patch_length: int | None = None
) -> tuple[TimesCLIPModel, TimesCLIPProcessor]:
    """The towers of a model that reads any series, for these, and a processor that is fitted on them.

    Args:
        processor: the model's own, which says how plots are drawn.
        series, patch_length: as for `shape_of`.
    """
    towers = towers_of(model, **shape_of(series, patch_length), **_UNKNOWN)
    return towers, processor_for(towers.config, series, **{name: getattr(processor, name) for name in _KEPT})


def pipeline_for_table(
    pipeline: TimeSeriesFeatureExtractionPipeline, table: Any, **reading: Any
) -> TimeSeriesFeatureExtractionPipeline:
    """A pipeline for a table: the same, unless its model reads any series and must be brought to these.

    Args:
        table: as a pipeline takes it.
        reading: arguments of the pipeline that say how a table is read.
    """
    if not reads_any_series(pipeline.model) or pipeline.processor.variate_names is not None:
        return pipeline
    series = series_of(table, **reading)
    towers, processor = brought_to(pipeline.model, pipeline.processor, series)
    warn_caller(SCALED_AS_HERE)
    return TimeSeriesFeatureExtractionPipeline(towers, processor, device=pipeline.device)


def series_of(
    table: Any,
    column_pattern: str | None = None,
    variate_column: str | None = None,
    value_column: str | None = None,
    **reading: Any,
) -> Any:
    """The series of a table that can be read: a data set, or a collection; arguments as of a pipeline."""
    if isinstance(table, SeriesCollection):
        return table
    frame = read_table(table)
    if variate_column is not None or value_column is not None:
        roles: dict[str, Any] = {name: reading.get(name) for name in ("timestamp_column", "series_column")}
        frame = spread_variates(frame, variate_column=variate_column, value_column=value_column, **roles)
    elif not reading and is_wide(frame, None, column_pattern):
        return _wide_series(_readable(frame, column_pattern, {}), column_pattern)
    return read_long_series(frame, faults={}, **reading)


def _readable(frame: pd.DataFrame, column_pattern: str | None, faults: dict[int, str]) -> pd.DataFrame:
    """The rows of a table with one row per series that can be read."""
    values = read_wide_series(frame, column_pattern=column_pattern, faults=faults).values
    blank = np.isnan(values).all(axis=1).any(axis=1)
    blank[list(faults)] = True
    return frame[~blank].reset_index(drop=True)


def _wide_series(frame: pd.DataFrame, column_pattern: str | None) -> Dataset:
    if not len(frame):
        raise ValueError("no row can be read: in each of them a variate has no value at all, or a bad one")
    return load_wide_table(frame, target=None, column_pattern=column_pattern)


def save_for_parts(
    pipeline: TimeSeriesPipeline, parts: Iterable[pd.DataFrame], folder: Path, column_pattern: str | None = None
) -> None:
    """Saves towers and processor as `pipeline_for_table` brings them to a table, of one that comes in parts.

    Args:
        parts: the table's rows, one row per series.
        folder: to save them in; the series lie there meanwhile, 8 bytes a number.
    """
    found: list[Dataset] = []
    for number, frame in enumerate(parts):
        if len(readable := _readable(frame, column_pattern, PartFaults())):
            series, place = _wide_series(readable, column_pattern), str(folder / f"series{number}")
            origin = WideOrigin.read(series)
            series.select_columns(["past_values"]).save_to_disk(place)
            found.append(load_from_disk(place))
    if not found:
        _wide_series(pd.DataFrame(), column_pattern)
    whole = concatenate_datasets(found)
    if origin is not None:
        origin.write(whole)
    towers, processor = brought_to(pipeline.model, pipeline.processor, whole)
    towers.save_pretrained(folder)
    processor.save_pretrained(folder)
    del whole, found
    for part in folder.glob("series*"):
        shutil.rmtree(part)


def _merge_adapters(module: Any) -> None:
    for name, child in list(module.named_children()):
        if hasattr(child, "get_base_layer") and hasattr(child, "merge"):
            child.merge()
            setattr(module, name, child.get_base_layer())
        elif hasattr(child, "modules_to_save"):
            setattr(module, name, child.modules_to_save[child.active_adapters[0]])
        else:
            _merge_adapters(child)


__all__ = [
    "SCALED_AS_HERE",
    "TOWERS_ALONE",
    "brought_to",
    "filled",
    "pipeline_for_table",
    "processor_for",
    "reads_any_series",
    "save_for_parts",
    "series_of",
    "shape_of",
    "towers_of",
]
