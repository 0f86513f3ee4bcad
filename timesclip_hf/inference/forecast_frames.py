# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecasts as the frames that people expect, of the kind that theirs is of.

Of a target `y` and the quantile levels 0.05, 0.5 and 0.95 the columns are, for

- `"nixtla"`: `TimesCLIP`, `TimesCLIP-lo-90`, `TimesCLIP-median`, `TimesCLIP-hi-90`;
- `"autogluon"`: `mean`, `0.05`, `0.5`, `0.95`, under the index that the user's frame has, if any;
- `"chronos"`: `target_name`, `predictions`, `0.05`, `0.5`, `0.95`;
- `"wide"`: `y`, `y-lo-90`, `y-median`, `y-hi-90`, and so on for each target.

Several targets are rows below each other, which `target_name` tells apart, but for `"wide"`. In front stand the
columns of series and time, named and typed as in the user's frame.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.forecast_roles import ForecastRoles

MODEL = "TimesCLIP"


def answer_columns(frame: str, name: str, levels: Sequence[float]) -> list[str]:
    """Names of the columns of a forecast and its quantiles; `name`: of a target (`"wide"`) or a model."""
    if frame in ("autogluon", "chronos"):
        return [{"autogluon": "mean", "chronos": "predictions"}[frame], *(f"{level:g}" for level in levels)]
    return [name, *(f"{name}-{_interval(level)}" for level in levels)]


def _interval(level: float) -> str:
    """A quantile as a side of an interval, as Nixtla names them: 0.05 is `lo-90`."""
    width = round(100 * abs(1 - 2 * level), 6)
    return "median" if width == 0 else f"{'lo' if level < 0.5 else 'hi'}-{width:g}"


def lay_out(
    keys: pd.DataFrame, forecasts: NDArray[Any], quantiles: NDArray[Any] | None, levels: Sequence[float],
    roles: ForecastRoles, frame: str,
) -> pd.DataFrame:  # fmt: skip
    """Forecasts as rows.

    Args:
        keys: a row for each series and step, n x H: series, time, perhaps more.
        forecasts: `(n, H, K)`; quantiles: `(n, H, K, Q)` or None.
        levels: the Q levels.
        roles: names of the columns.
        frame: one of `FRAMES`.
    """
    answers = forecasts[..., None] if quantiles is None else np.concatenate([forecasts[..., None], quantiles], axis=-1)
    levels = [] if quantiles is None else levels
    n, horizon, count, width = answers.shape
    if frame == "wide":
        names = [column for target in roles.targets for column in answer_columns(frame, target, levels)]
        columns = dict(zip(names, answers.reshape(n * horizon, count * width).T, strict=True))
        return pd.concat([keys, pd.DataFrame(columns, index=keys.index)], axis=1)
    rows = np.arange(n * horizon).reshape(n, 1, horizon).repeat(count, axis=1).ravel()  # series, target, step
    long = keys.iloc[rows].reset_index(drop=True)
    if count > 1 or frame == "chronos":
        long["target_name"] = np.tile(np.repeat(roles.targets, horizon), n)
    flat = answers.swapaxes(1, 2).reshape(-1, width)
    for name, column in zip(answer_columns(frame, MODEL, levels), flat.T, strict=True):
        long[name] = column
    return long


def same_kind(result: pd.DataFrame, like: Any, keys: Mapping[str, str | None]) -> Any:
    """A frame as one of the kind of the user's: pandas (with its index), polars, pyarrow, ...; pandas for others.

    Args:
        result: the frame.
        like: what the user gave.
        keys: of both: names of the columns whose types are kept.
    """
    if isinstance(like, pd.DataFrame):
        coded = [name for name in keys.values() if name in like and isinstance(like[name].dtype, pd.CategoricalDtype)]
        result = result.astype({name: like[name].dtype for name in coded})
        levels = [name for name in like.index.names if name in result.columns]
        if isinstance(like.index, pd.DatetimeIndex | pd.PeriodIndex) and like.index.name is None and "index" in result:
            levels = ["index"]
        return result.set_index(levels) if levels else result
    if isinstance(lazy := nw.from_native(like, pass_through=True), nw.LazyFrame):
        like = lazy.head(0).collect().to_native()  # what it would be, were it collected
    if not nw.dependencies.is_into_dataframe(like):
        return result
    native = nw.from_native(like, eager_only=True)
    table = nw.from_native(result).to_arrow()
    converted = nw.from_arrow(table, backend=native.implementation)
    kept = [name for name in keys.values() if name is not None and name in native.columns]
    # Times that were text are dates in the answer, in every kind of frame.
    kept = [name for name in kept if not (native.schema[name] == nw.String and converted.schema[name] != nw.String)]
    return converted.with_columns(*(nw.col(name).cast(native.schema[name]) for name in kept)).to_native()


__all__ = ["MODEL", "answer_columns", "lay_out", "same_kind"]
