# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Towers by themselves, and those that read any series.

The rule. Towers read each variate on its own. Where they were pretrained without a task, on one variate, and their
tokenizer's weights fit patches of any length (`patch_tokenizer="resampled"`, or no text branch), nothing ties them to
the series that they were trained on: they are brought to series of any number of variates and steps. Patches are then
a twelfth of the longest series, or of four steps where these are more (but never above a sixth), each half over the
next, and values are scaled as in these series. All other models read what their own processor makes of series.

Sixths of long series blur what is short in them. `timesclip-small`, ridge on 100 of 250 invented series, mean accuracy
or R2 of seven tasks with sixths and so: .862 and .873 at 96 steps, .868 and .875 at 150, .872 and .886 at 300 (the
draws that it was chosen on; on others `examples/study/frozen_features.py` gives .863 and .866 at 96 and 300).

Values that are scaled as in all series make flat lines of those whose levels or spreads differ far more than each of
them varies, and towers see no shapes. `own_share` measures it: below a half, `TimesCLIPEmbedder` takes
`scaling="levels"`, each series by itself with its level and spread beside, and the command warns. Twelve templates at
levels that differ by 0, 1, 3 and 10 spreads: accuracy .87 .42 .33 .23 with one scale for all, .83 .80 .80 .80 so. But
crop yield (a share of .8), validation years, 300 labels: R2 .55 and .39.
"""

import contextlib
import copy
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import (
    Dataset,
    are_progress_bars_disabled,
    concatenate_datasets,
    disable_progress_bars,
    enable_progress_bars,
    load_from_disk,
)
from numpy.typing import NDArray
from torch import Tensor
from transformers.trainer_utils import unwrap_peft_model

from ..data.long import SeriesCollection, read_long_series
from ..data.pivot import spread_variates
from ..data.tables import PartFaults, read_table, warn_caller
from ..data.wide import load_wide_table, read_wide_series
from ..data.words import row_number
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.measured import mark_missing, without_fill_values
from ..model.modeling_timesclip import TimesCLIPModel
from ..model.preprocessing import instance_statistics
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
FLAT = 0.5  # `own_share`, see above
_FLAT_TOLD = (
    "levels or scales of series differ more than each of them varies (by {:.0%} of the spread of all): plots and "
    "patches are nearly flat, and little of their shapes is read; TimesCLIPEmbedder(scaling='levels') reads both apart"
)
_LOOKED_AT = 2000  # series
_SMALLEST_SPREAD = 1e-3  # of a series, as a share of that of all
_PATCHES, _FEWEST_PATCHES, _SHORTEST_PATCH = 12, 6, 4  # without those that overlap


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
    length = patch_length or max(1, steps // _PATCHES, min(_SHORTEST_PATCH, steps // _FEWEST_PATCHES))
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
    model: Any,
    processor: TimesCLIPProcessor,
    series: Any,
    patch_length: int | None = None,
    scaling: str | None = None,
) -> tuple[TimesCLIPModel, TimesCLIPProcessor]:
    """The towers of a model that reads any series, for these, and a processor that is fitted on them.

    Args:
        processor: the model's own, which says how plots are drawn.
        series, patch_length: as for `shape_of`.
        scaling: of values, and so of the plots' axis; `None`: as the model's own processor has it, with a warning
            where plots are flat.
    """
    towers = towers_of(model, **shape_of(series, patch_length), **_UNKNOWN)
    kept = {name: getattr(processor, name) for name in _KEPT}
    if scaling is not None:
        del kept["value_range"]  # which goes with the scaling
        kept["scaling"] = scaling
    elif kept["scaling"] == "dataset" and (share := own_share(series, processor)) < FLAT:
        warn_caller(_FLAT_TOLD.format(share))
    return towers, processor_for(towers.config, series, **kept)


def own_share(series: Any, processor: TimesCLIPProcessor) -> float:
    """How much series vary by themselves: their spread as a share of that of all, of a usual series and variate.

    Args:
        series: as for `shape_of`; of many, 2 000 at even distances are looked at.
        processor: says which numbers count as missing.
    """
    every: Any = series.values if isinstance(series, SeriesCollection) else series
    places = np.unique(np.linspace(0, len(every) - 1, min(len(every), _LOOKED_AT)).astype(int))
    chosen = (every[int(place)] for place in places)
    arrays = [np.asarray(one["past_values"] if isinstance(one, Mapping) else one, np.float64) for one in chosen]
    arrays = [_measured(one[None], processor)[0] for one in arrays]
    own = np.concatenate([_levels_and_spreads(one[None])[1] for one in arrays])
    whole = _levels_and_spreads(np.concatenate(arrays)[None])[1][0]
    shares = own[:, whole > 0] / whole[whole > 0]  # (n, V), NaN where nothing was observed
    return float(np.median(np.nanmedian(shares, axis=0))) if shares.size else 1.0


def levels_of(values: NDArray[Any], processor: TimesCLIPProcessor) -> NDArray[np.float64]:
    """Levels, then logarithms of spreads `(n, 2 * V)` of series `(n, T, V)`, in spreads of what was fitted on."""
    known: Any = processor.statistics
    mean, spread = (np.asarray(known["variates"][name], np.float64) for name in ("mean", "std"))
    levels, own = _levels_and_spreads(_measured(values.astype(np.float64), processor))
    return np.concatenate([(levels - mean) / spread, np.log(np.maximum(own / spread, _SMALLEST_SPREAD))], axis=1)


def _measured(values: NDArray[np.float64], processor: TimesCLIPProcessor) -> NDArray[np.float64]:
    """Series `(n, T, V)` as the processor reads them: NaN in place of fill values and of its `missing_values`."""
    found: NDArray[np.float64] = mark_missing(values, processor.missing_values, processor.variate_names)
    return without_fill_values(found, "X")


def _levels_and_spreads(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each variate `(n, V)` of series `(n, T, V)`; NaN where nothing was observed."""
    observed = ~np.isnan(values)
    seen = observed.any(axis=1)
    levels, spreads = instance_statistics(values, observed, 0.0)
    return np.where(seen, levels, np.nan), np.where(seen, spreads, np.nan)


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
    left_out: dict[Any, str] | None = None,
    **reading: Any,
) -> Any:
    """The series of a table that can be read: a data set, or a collection.

    Args:
        column_pattern, variate_column, value_column, **reading: as of a pipeline.
        left_out: takes why rows, or series by their names, cannot be read. Then the answer is a collection, and has
            series of which some variates alone have values.
    """
    faults: dict[Any, str] = {} if left_out is None else left_out
    if isinstance(table, SeriesCollection):
        return table
    frame = read_table(table)
    if variate_column is not None or value_column is not None:
        roles: dict[str, Any] = {name: reading.get(name) for name in ("timestamp_column", "series_column")}
        frame = spread_variates(frame, variate_column=variate_column, value_column=value_column, **roles)
    elif not reading and is_wide(frame, None, column_pattern):
        if left_out is not None:
            return _partly_blank(frame, column_pattern, left_out)
        return _wide_series(_readable(frame, column_pattern, {}), column_pattern)
    return read_long_series(frame, faults=faults, **reading)


def _partly_blank(frame: pd.DataFrame, column_pattern: str | None, left_out: dict[Any, str]) -> SeriesCollection:
    """All rows but those that have no value at all, or a bad one."""
    found: dict[int, str] = {}
    wide = read_wide_series(frame, column_pattern=column_pattern, faults=found)
    found = {int(row): "no value at all" for row in np.flatnonzero(np.isnan(wide.values).all(axis=(1, 2)))} | found
    left_out |= {f"row {row_number(row, frame)}": reason for row, reason in sorted(found.items())}
    kept = [row for row in range(len(frame)) if row not in found]
    return SeriesCollection([wide.values[row] for row in kept], list(wide.names), list(map(str, kept)))


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
            with _without_bars():
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


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Of `datasets`, about folders that nobody asked for."""
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


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
    "FLAT",
    "SCALED_AS_HERE",
    "TOWERS_ALONE",
    "brought_to",
    "filled",
    "levels_of",
    "own_share",
    "pipeline_for_table",
    "processor_for",
    "reads_any_series",
    "save_for_parts",
    "series_of",
    "shape_of",
    "towers_of",
]
