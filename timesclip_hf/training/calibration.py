# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Intervals that hold: from a model and what came of series that it did not learn from to `config.calibration`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers.trainer_utils import unwrap_peft_model

from ..data.collator import TimesCLIPDataCollator
from ..data.tables import some_of
from ..features.plots import read_plots
from ..metrics.calibration import (
    absolute_scores,
    class_scores,
    conformal_thresholds,
    fewest_samples,
    fit_spread_scale,
    fit_temperature,
    group_rows,
    quantile_scores,
)
from ..metrics.probabilistic import (
    checked_levels,
    expected_calibration_error,
    interval_metrics,
    quantile_metrics,
    set_metrics,
)
from ..model.agreement import check_agreement
from ..model.intervals import ends, group_key, has_ends, interval_of, quantiles_at, scaled_spreads, set_of
from ..model.messages import warn_caller
from ..model.processing_timesclip import TimesCLIPProcessor
from .given_data import check_data, check_labels

LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
# Thresholds of a forecast, one for each step and variate, which a configuration holds; of more, one for each step.
_MOST_PLACES = 1000
# Windows below which variates of a forecast share their thresholds, too.
_FEW_WINDOWS = 100


def calibrate(
    model: Any,
    processor: TimesCLIPProcessor,
    validation: Any,
    levels: Sequence[float] = LEVELS,
    group: str | Sequence[Any] | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Fits intervals (of classes, a temperature and sets) on series that the model did not learn from.

    What is found is written into `model.config.calibration` and goes wherever the model goes: `save_pretrained`,
    pipelines (`interval=0.9`), `timesclip predict --interval 0.9`, `export_onnx`. `model.intervals` says how intervals
    are made, `metrics.calibration` how thresholds are found. The model chooses its way: quantiles of its own
    (`loss="quantile"`), or errors in units of its own spread (`loss="gaussian"`, branches of late fusion or models of
    an ensemble that disagree, the context's scale of a forecast), or plain errors. Each target has thresholds of its
    own, and so has each step of a forecast and, with at least 100 windows and up to 1 000 numbers a level, each
    variate. Training the model further takes the calibration away.

    A part that chose the epoch, or by how much branches count, flatters the model a little: where there are series
    enough, keep some for this alone.

    Args:
        model: a regression, classification or forecaster, changed in its configuration only.
        processor: its own.
        validation: rows with `past_values` and `labels`, with a length, that nothing was learnt from.
        levels: of the intervals that can be asked for.
        group: a column of the rows or of their static values, or one value for each row: intervals then hold within
            each of its values.
        batch_size: series that are read at once.

    Returns:
        `model.config.calibration`.

    Raises:
        ValueError: a model without an answer, rows without labels, groups of another length, levels not between 0 and
            1.

    Example:

    ```python
    >>> calibrate(model, processor, parts["validation"])["method"]
    'spread'
    >>> model.save_pretrained("runs/fields")
    >>> pipeline("time-series-regression", model="runs/fields")(series, interval=0.9)
    {'yield_t_ha': 5.2, 'lower': {'yield_t_ha': 4.3}, 'upper': {'yield_t_ha': 6.1}}
    ```
    """
    own = unwrap_peft_model(model)
    task: Any = getattr(own, "task", None)
    if getattr(task, "answer", None) is None:
        raise ValueError(f"a {type(own).__name__} has no answer to calibrate: give a model of a task")
    check_agreement(processor, own.config, task)
    check_data("validation", validation, TimesCLIPDataCollator(processor, draw=False))
    check_labels("validation", validation, task)
    names = group_names(validation, group)
    own.config.calibration = None  # a temperature of before would be counted twice
    said, labels = answers_to(model, processor, validation, batch_size)
    found = calibration_of(own.config, said, labels, levels, names)
    if names is not None:
        found["group"] = group if isinstance(group, str) else "group"
    own.config.calibration = found
    if model is not own:
        warn_caller(
            "an adapter is saved without a configuration, and so without calibration: merge_and_unload() first"
        )
    return found


def group_names(rows: Any, group: str | Sequence[Any] | None) -> list[str] | None:
    """The group of each row, as text."""
    if group is None:
        return None
    if isinstance(group, str):
        columns = getattr(rows, "column_names", None)
        whole = columns is not None and group in columns
        found: Any = rows[group][:] if whole else [_told(rows[k], group) for k in range(len(rows))]
        if any(name is None for name in found):
            known = columns if columns is not None else rows[0]
            raise ValueError(f"group={group!r}: not every row has it; the columns are {some_of(map(repr, known))}")
    else:
        found = list(group)
    if len(found) != len(rows):
        raise ValueError(f"group has {len(found)} entries, the data {len(rows)} rows")
    return [group_key(name) for name in found]


def answers_to(
    model: Any, processor: TimesCLIPProcessor, rows: Any, batch_size: int = 64
) -> tuple[dict[str, NDArray[Any]], NDArray[Any] | None]:
    """What a model says of rows, see `read_answers`; and their labels."""
    own = unwrap_peft_model(model)
    collator = TimesCLIPDataCollator(processor, draw=False)
    reads_images = "pixel_values" in own.answer_inputs(own.config)

    def drawn(batch: dict[str, Any]) -> dict[str, Any]:
        batch = {name: value.to(own.device) for name, value in batch.items() if hasattr(value, "to")}
        if reads_images:
            read_plots(model, processor, batch)
        batch.pop("plot_values", None)
        return batch

    return read_answers(model, map(drawn, DataLoader(rows, batch_size, collate_fn=collator)))


def _told(row: Mapping[str, Any], name: str) -> Any:
    """A column of a row, or one of its static values."""
    statics = row.get("static_values")
    return row.get(name, statics.get(name) if isinstance(statics, Mapping) else None)


@torch.no_grad()
def read_answers(model: Any, batches: Iterable[Mapping[str, Any]]) -> tuple[dict[str, NDArray[Any]], Any]:
    """The fields of a model's output that tell answers and how sure they are, and the batches' labels, if any."""
    was_training = model.training
    names = (str(unwrap_peft_model(model).task.answer), "quantiles", "spreads")
    said: dict[str, list[NDArray[Any]]] = {name: [] for name in (*names, "labels")}
    model.eval()
    try:
        for batch in batches:
            batch = dict(batch)
            found = {"labels": batch.pop("labels", None)}
            found |= {name: value for name, value in model(**batch).items() if name in names}
            for name, value in found.items():
                if value is not None:
                    said[name].append(value.cpu().numpy())
    finally:
        model.train(was_training)
    whole = {name: np.concatenate(parts) for name, parts in said.items() if parts}
    return whole, whole.pop("labels", None)


def calibration_of(
    config: Any,
    said: Mapping[str, NDArray[Any]],
    labels: NDArray[Any] | None,
    levels: Sequence[float] = LEVELS,
    groups: Sequence[str] | None = None,
    source: str = "validation part",
) -> dict[str, Any]:
    """The same from answers that are there already, such as those of heads to samples that they were not fitted on.

    Args:
        config: of the model.
        said: fields of its output: `logits`, or `predictions` and, where there are such, `quantiles` and `spreads`.
        labels: what came, NaN = not observed.
        levels: see `calibrate`.
        groups: of each sample.
        source: what the samples are, in words.

    Raises:
        ValueError: no labels, or levels not between 0 and 1.
    """
    if labels is None:
        raise ValueError("validation has no 'labels': there is nothing to calibrate by")
    shares = checked_levels(sorted(set(np.ravel(np.asarray(levels)).tolist()))).tolist()
    if "logits" in said:
        temperature = fit_temperature(said["logits"], labels)
        scores = class_scores(said["logits"] / temperature, labels)
        found: dict[str, Any] = {"method": "classes", "temperature": temperature}
        tables: dict[float | None, NDArray[np.float64]] = {None: scores}
    else:
        found, tables = _interval_scores(config, said, np.asarray(labels, np.float64), shares)
    found |= {"levels": shares, **_by_group(tables, shares, groups), "source": source}
    _tell_of_few(found, shares)
    return found


def _interval_scores(
    config: Any, said: Mapping[str, NDArray[Any]], labels: NDArray[np.float64], levels: list[float]
) -> tuple[dict[str, Any], dict[float | None, NDArray[np.float64]]]:
    """The method, and the scores of each level (`None`: of all levels alike), `(n, ...)`."""
    predictions, spreads = said["predictions"], said.get("spreads")
    errors = absolute_scores(predictions, labels)
    forecasts, by_quantiles = predictions.ndim == 3, config.loss == "quantile"
    found: dict[str, Any] = {"method": "absolute"}
    if spreads is not None:
        if config.loss == "gaussian" or by_quantiles:
            scale = np.tile([0.0, 1.0], (errors.shape[-1], 1))
        else:
            places = errors.shape[-1]  # targets, or variates
            scale = fit_spread_scale(errors.reshape(-1, places), spreads.reshape(-1, places))
        if scale[:, 1].any() or (forecasts and _variates_share(errors)):
            found = {"method": "spread", "scale": _rounded(scale)}
    unit: Any = scaled_spreads(found, said["spreads"]) if "scale" in found else 1.0
    if not by_quantiles:
        return found, {None: _shared(errors / unit, forecasts)}
    found["method"] = "quantile"
    tables: dict[float | None, NDArray[np.float64]] = {}
    for level in levels:
        low, high = np.moveaxis(quantiles_at(said["quantiles"], config.answer_levels, ends(level)), -1, 0)
        tables[level] = _shared(quantile_scores(low, high, labels) / unit, forecasts)
    return found, tables


def _variates_share(scores: NDArray[np.float64]) -> bool:
    """Whether variates of forecasts have thresholds in common: of few windows, or many numbers."""
    count, steps, variates = scores.shape
    return variates > 1 and (count < _FEW_WINDOWS or steps * variates > _MOST_PLACES)


def _shared(scores: NDArray[np.float64], forecasts: bool) -> NDArray[np.float64]:
    """Scores `(n, H, V)` of forecasts, of which variates share their thresholds, with variates as samples."""
    if not forecasts or not _variates_share(scores):
        return scores
    count, steps, variates = scores.shape
    return scores.swapaxes(1, 2).reshape(count * variates, steps, 1)


def _by_group(
    tables: Mapping[float | None, NDArray[np.float64]], levels: list[float], groups: Sequence[str] | None
) -> dict[str, Any]:
    """Thresholds of all samples and of each group, as JSON has them, and how many samples these rest on."""

    def thresholds(rows: Any) -> list[Any]:
        if None in tables:
            return _rounded(conformal_thresholds(tables[None][rows], levels))
        return _rounded(np.concatenate([conformal_thresholds(tables[level][rows], [level]) for level in levels]))

    scores = next(iter(tables.values()))
    found: dict[str, Any] = {"thresholds": thresholds(slice(None)), "count": _observed(scores)}
    if groups is None:
        return found
    repeated = np.repeat(np.asarray(groups), len(scores) // len(groups))  # of shared variates
    rows = group_rows(repeated.tolist())
    found["groups"] = {name: thresholds(own) for name, own in rows.items()}
    found["counts"] = {name: _observed(scores[own]) for name, own in rows.items()}
    return found


def _observed(scores: NDArray[np.float64]) -> int:
    """Samples that the thresholds of the worst known place rest on."""
    return int((~np.isnan(scores)).sum(axis=0).min())


def _rounded(numbers: NDArray[np.float64]) -> list[Any]:
    """Nested lists of numbers of nine digits, `None` for infinity."""
    if numbers.ndim > 1:
        return [_rounded(part) for part in numbers]
    return [float(f"{number:.9g}") if np.isfinite(number) else None for number in numbers]


def _tell_of_few(found: Mapping[str, Any], levels: list[float]) -> None:
    """Says where too few samples leave intervals without an end."""
    counts = {"all samples": found["count"], **found.get("counts", {})}
    few = {name: [level for level in levels if count < fewest_samples(level)] for name, count in counts.items()}
    for name, lost in few.items():
        if lost:
            warn_caller(
                f"{name}: {counts[name]} are too few for intervals of {', '.join(f'{level:g}' for level in lost)}, "
                f"which have no end (0.9 needs {fewest_samples(0.9)} samples, 0.95 {fewest_samples(0.95)})"
            )


def measure_intervals(
    config: Any,
    said: Mapping[str, NDArray[Any]],
    labels: NDArray[Any],
    groups: Sequence[str] | None = None,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
) -> dict[str, float]:
    """How intervals did on series that they were not calibrated on.

    Args:
        config: of the calibrated model.
        said, labels, groups: see `calibration_of`.
        levels: those that were not calibrated, or have no end, are left out.

    Returns:
        Of numbers `interval_metrics` of each level, and `quantile_metrics` where there are quantiles; of classes
        `set_metrics` and `"expected_calibration_error"`.
    """
    known = [level for level in levels if has_ends(config, level)]
    if "logits" in said:
        found = {"expected_calibration_error": expected_calibration_error(said["logits"], labels)}
        for level in known:
            found |= set_metrics(set_of(config, said["logits"], level, groups), labels, level)
        return found
    targets = np.asarray(labels, np.float64).reshape(np.shape(said["predictions"]))
    found = quantile_metrics(said["quantiles"], targets, config.answer_levels) if "quantiles" in said else {}
    for level in known:
        found |= interval_metrics(*interval_of(config, said, level, groups), targets, level)
    return found


__all__ = ["LEVELS", "answers_to", "calibrate", "calibration_of", "group_names", "measure_intervals", "read_answers"]
