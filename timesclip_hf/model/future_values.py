# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Covariates that are known in advance (temperature, price, holidays ...), to what a forecaster reads of them.

The rule. A column is of numbers, standardised by the training data's mean and spread, or of categories, one-hot over
those of the training data; inside arrays a category is its number in their list. A series' rows are those of its
context's steps, then those of the horizon's; without rows of the context, columns that are variates, too, are read
from the series. What lacks in the context is bridged by straight lines (a category: counts as none); in the horizon it
is an error. Scaled numbers are clipped to 10 spreads: beyond what was seen, an effect does not grow on for ever.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .measured import MOST_SCALED, unmasked
from .precision import rounding_noise
from .preprocessing import fill_missing, is_constant

_CLIPPED = 10.0
Column = dict[str, Any]


def fit_future(future_values: Any, columns: Sequence[Any] | None = None) -> list[Column]:
    """Learns how to encode covariates.

    Args:
        future_values: `(n, steps, C)`, or a list of series `(steps, C)`; DataFrames may hold text.
        columns: a name for each column, or what is known of it: `{"name": ..., "categories": [...]}` or
            `{"name": ..., "mean": ..., "std": ...}`; not set: as the frames name them, or numbered.

    Returns:
        For each column, in order, `{"name": str}` with `"mean"` and `"std"`, or `"categories"`.

    Raises:
        ValueError: no rows, unlike columns, a column without a single value.
    """
    series = _as_series(future_values)
    if not series or not sum(len(values) for values in series):
        raise ValueError("future_values are empty: there is nothing to fit on")
    if hasattr(series[0], "columns"):
        if columns is None:
            columns = [str(name) for name in series[0].columns]
        names = [_name(column) for column in columns]
        tables = [_cells(frame, names) for frame in series]
        cells = {name: np.concatenate([table[name] for table in tables]) for name in names}
    else:
        arrays = [_numbers(values) for values in series]
        if len(widths := sorted({array.shape[1] for array in arrays})) > 1:
            raise ValueError(f"future_values have {widths[0]} columns in some series and {widths[1]} in others")
        columns = [f"future_{k}" for k in range(widths[0])] if columns is None else columns
        if len(columns) != widths[0]:
            raise ValueError(f"future_values have {widths[0]} columns, {len(columns)} are named: {columns}")
        cells = {_name(column): np.concatenate([a[:, k] for a in arrays]) for k, column in enumerate(columns)}
    if len(set(map(_name, columns))) < len(columns):
        raise ValueError(f"covariates must have different names, got {list(map(_name, columns))}")
    return [_fitted(column, cells[_name(column)]) for column in columns]


def code_future(frame: Any, columns: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """A frame's covariates as an array `(steps, C)`, categories as their numbers, NaN where nothing stands.

    Raises:
        ValueError: a column is missing, holds text in place of numbers, or a category that training has not seen.
    """
    cells, parts = _cells(frame, [column["name"] for column in columns]), []
    for column in columns:
        found = cells[column["name"]]
        parts.append(_codes(found, column) if "categories" in column else _floats(found, column["name"]))
    return np.stack(parts, axis=1) if parts else np.zeros((len(frame), 0))


def encode_future(
    future_values: Any,
    columns: Sequence[Mapping[str, Any]] | None,
    lengths: tuple[int, int | None],
    past: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Covariates of a batch as fitted.

    Args:
        future_values: `(B, steps, C)` or a list of series; see the rule above.
        columns: what `fit_future` returned.
        lengths: steps of the context T and of the horizon H.
        past: columns that are variates, too, `(B, T)` each, NaN where missing, by name.

    Returns:
        float32 `(B, T + H, future_width(columns))`.

    Raises:
        ValueError: names the sample and the column, what was found and what was expected.
    """
    if not columns:
        raise ValueError("future_values were given, but the processor was fitted without any: fit it with them")
    context, horizon = lengths
    if horizon is None:
        raise ValueError("future_values need the processor's prediction_length, which is not set")
    series = [
        code_future(one, columns) if hasattr(one, "columns") else _numbers(one) for one in _as_series(future_values)
    ]
    values = np.stack([_fitting(one, k, columns, context, horizon) for k, one in enumerate(series)])
    others = [column["name"] for column in columns if column["name"] not in past]
    if others and (short := [k for k, one in enumerate(series) if len(one) == horizon]):
        raise ValueError(
            f"future_values have no rows of the context in sample {short[0]}, only the {horizon} to forecast: the "
            f"covariates {others} are no variates, whose past the series tell; give rows of the {context} steps, too"
        )
    names = [column["name"] for column in columns]
    for k, name in enumerate(names):
        if name in past and len(past[name]) == len(values):
            own = values[:, :context, k]
            values[:, :context, k] = np.where(np.isnan(own), past[name], own)
    if (holes := np.isnan(values[:, context:])).any():
        sample, step, k = map(int, np.argwhere(holes)[0])
        raise ValueError(
            f"future_values lack {names[k]!r} in step {step + 1} of the {horizon} to forecast, sample {sample}: a "
            "covariate known in advance needs a value in each of them"
        )
    return np.concatenate([_encoded(values[..., k], column) for k, column in enumerate(columns)], axis=-1).astype(
        np.float32
    )


def covariates_of_batch(future_values: Any, batch: Mapping[str, Any], settings: Any) -> np.ndarray:
    """`future_values` as a processor (or whatever has its parameters) encodes them beside a batch's series."""
    columns = (settings.statistics or {}).get("future")
    lengths = (settings.context_length, settings.prediction_length)
    names, scaled = settings.variate_names or [], batch["variate_values"]
    past = {}
    for k in [names.index(column["name"]) for column in columns or [] if column["name"] in names]:
        series = np.asarray(scaled[:, k], np.float64)
        past[names[k]] = series * np.asarray(batch["scale"])[:, k, None] + np.asarray(batch["loc"])[:, k, None]
    return encode_future(future_values, columns, lengths, past)


def future_width(columns: Sequence[Mapping[str, Any]]) -> int:
    """Numbers that a step's covariates become."""
    return sum(len(column["categories"]) if "categories" in column else 1 for column in columns)


def _fitted(column: Any, cells: np.ndarray) -> Column:
    known = dict(column) if isinstance(column, Mapping) else {"name": str(column)}
    name = known["name"]
    if "categories" in known or "mean" in known:
        return known
    if cells.dtype == object:
        try:
            cells = _floats(cells, name)
        except ValueError:
            return {"name": name, "categories": sorted({str(cell) for cell in cells if not _is_blank(cell)})}
    cells = cells[~np.isnan(cells)]
    if not len(cells):
        raise ValueError(f"the covariate {name!r} has not a single value")
    if not (np.abs(cells) <= np.finfo(np.float32).max).all():
        raise ValueError(f"the covariate {name!r} has infinite values, or some beyond what float32 holds")
    constant = is_constant(cells.std(), cells.min(), cells.max(), rounding_noise(cells.dtype))
    return {"name": name, "mean": float(cells.mean()), "std": 1.0 if constant else float(cells.std())}


def _encoded(values: np.ndarray, column: Mapping[str, Any]) -> np.ndarray:
    """`(B, steps)` to `(B, steps, width)`."""
    if "categories" in column:
        return values[..., None] == np.arange(len(column["categories"]))
    scaled = (values - column["mean"]) / column["std"]
    if (wrong := np.abs(scaled) > MOST_SCALED).any():
        raise ValueError(
            f"the covariate {column['name']!r} has {values[wrong][0]:g} in sample {int(np.argwhere(wrong)[0][0])}, "
            f"more than {MOST_SCALED:g} spreads away from its level: this is no measurement"
        )
    observed = ~np.isnan(scaled)
    filled = fill_missing(np.where(observed, scaled, 0.0)[..., None], observed[..., None])
    return np.clip(filled, -_CLIPPED, _CLIPPED)


def _fitting(
    values: np.ndarray, sample: int, columns: Sequence[Mapping[str, Any]], context: int, horizon: int
) -> np.ndarray:
    """A series' rows `(context + horizon, C)`, those that lack in front NaN."""
    if values.shape[1] != len(columns):
        raise ValueError(
            f"future_values have {values.shape[1]} columns in sample {sample}, the processor was fitted on "
            f"{len(columns)}: {[column['name'] for column in columns]}"
        )
    if len(values) < horizon:
        raise ValueError(
            f"future_values have {len(values)} rows in sample {sample}, expected one for each of the {horizon} steps "
            "to forecast, perhaps behind those of the context"
        )
    rows = values[-(context + horizon) :]
    return np.concatenate([np.full((context + horizon - len(rows), len(columns)), np.nan), rows])


def _as_series(future_values: Any) -> list[Any]:
    if hasattr(future_values, "columns"):
        return [future_values]
    if getattr(future_values, "ndim", 3) == 2:
        return [future_values]
    return list(future_values)


def _numbers(values: Any) -> np.ndarray:
    """One series `(steps, C)` as fp64; a list of numbers is one column."""
    values = values.detach().cpu().numpy() if hasattr(values, "detach") else unmasked(values)
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"future_values must be numbers, or DataFrames where they hold text: {error}") from error
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise ValueError(f"future_values must be (steps, columns) for each series, got shape {array.shape}")
    return array


def _cells(frame: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of a frame of any kind by name."""
    found = {str(name): name for name in frame.columns}
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"future_values lack the columns {missing}; they have {list(found)}")
    return {name: np.asarray(frame[found[name]]) for name in names}


def _floats(cells: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.array([np.nan if _is_blank(cell) else float(cell) for cell in cells.tolist()])
    except (TypeError, ValueError) as error:
        raise ValueError(f"the covariate {name!r} must hold numbers: {error}") from error


def _codes(cells: np.ndarray, column: Mapping[str, Any]) -> np.ndarray:
    number = {category: k for k, category in enumerate(column["categories"])}
    texts = [None if _is_blank(cell) else str(cell) for cell in cells.tolist()]
    if unknown := sorted({text for text in texts if text is not None and text not in number}):
        raise ValueError(
            f"the covariate {column['name']!r} has categories that training has not seen: {unknown}; it knows "
            f"{column['categories']}"
        )
    return np.array([np.nan if text is None else number[text] for text in texts])


def _is_blank(cell: Any) -> bool:
    return cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, float) and cell != cell)


def _name(column: Any) -> str:
    return str(column["name"]) if isinstance(column, Mapping) else str(column)


__all__ = ["code_future", "covariates_of_batch", "encode_future", "fit_future", "future_width"]
