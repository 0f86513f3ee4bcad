# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`interval=0.9` of the pipelines: what is asked for, of which group each sample is, and how bounds are named."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tables import decoded, some_of
from ..model.intervals import check_level, group_key, has_ends, interval_of, percent
from ..model.messages import tell, warn_caller
from .table_inputs import Samples

# Fields of a model's output that intervals rest on, beside its answer.
BESIDE_ANSWER = ("quantiles", "spreads")
_USUAL = 0.9


def check_interval(config: Any, interval: Any) -> float:
    """The level, as a float; warns where its intervals have no end, or are those of a model that was not calibrated.

    Raises:
        ValueError: not between 0 and 1, or a level that this model does not know.
    """
    level = check_level(config, interval)
    if config.calibration is None:
        warn_caller(
            "intervals are the model's own quantiles: it was not calibrated, so that they may hold less, or more"
        )
    elif not has_ends(config, level):
        count = config.calibration.get("count")
        warn_caller(f"intervals of {level:g} have no end: {count} samples of the calibration are too few to tell them")
    return level


def usual_level(config: Any) -> float | None:
    """The level of intervals where nobody asks for one: 0.9, or the widest that has ends; `None`: there are none."""
    if config.calibration is None:
        return _USUAL if config.numbers_per_answer > 1 else None
    known = [level for level in config.calibration["levels"] if has_ends(config, level)]
    return next((level for level in known if abs(level - _USUAL) < 1e-9), max(known, default=None))


def groups_of(samples: Samples, config: Any, groups: Sequence[Any] | None) -> list[Any] | None:
    """The group of each sample by which the model's calibration goes, where it can be told.

    Args:
        samples: of a table that has the column, or with static values that have it.
        config: of the model.
        groups: one for each input; wins.

    Raises:
        ValueError: groups of a model that was calibrated without, or another number of them.
    """
    calibration = config.calibration or {}
    column, known = calibration.get("group"), calibration.get("groups") or {}
    if groups is not None and not known:
        raise ValueError("groups were given, but the model was calibrated without: calibrate(..., group=...)")
    if not known:
        return None
    found: list[Any] | None = None
    if groups is not None:
        found = list(groups)
        if samples.count is not None and len(found) != samples.count:
            raise ValueError(f"groups has {len(found)} entries, there are {samples.count} inputs")
    elif samples.table is not None and column in samples.table.identity:
        found = decoded(samples.table.identity[column]).iloc[samples.table.positions].tolist()
    elif isinstance(samples.rows, list):
        statics = [row.get("static_values") if isinstance(row, Mapping) else None for row in samples.rows]
        if statics and all(isinstance(values, Mapping) and column in values for values in statics):
            found = [values[column] for values in statics]  # type: ignore[index]
    if found is None:
        warn_caller(
            f"the model was calibrated by group ({column!r}), and nothing says of which the inputs are: intervals are "
            f"those of all groups together; give a table with this column, or groups=[...] ({some_of(known)})"
        )
        return None
    keys = {group_key(name) for name in known}
    tell("intervals of groups that the calibration did not have ({}) are those of all groups together",
         [str(name) for name in found if group_key(name) not in keys])  # fmt: skip
    return found


def bounds(
    config: Any, outputs: Mapping[str, Any], level: float, groups: Sequence[Any] | None
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Lower and upper ends of a batch, in the shape and dtype of its predictions."""
    arrays = {name: outputs[name].numpy() for name in ("predictions", *BESIDE_ANSWER) if outputs.get(name) is not None}
    low, high = interval_of(config, arrays, level, groups)
    return low.astype(arrays["predictions"].dtype), high.astype(arrays["predictions"].dtype)


def with_bounds(columns: Mapping[str, Any], ends: Mapping[str, Sequence[Any]], level: float) -> dict[str, Any]:
    """Columns of predictions, each with two behind it: `{name}_lower_90` and `{name}_upper_90`.

    Args:
        columns: name of the column -> predictions.
        ends: name of the target, in the order of the columns -> lower and upper ends.
        level: of the interval.
    """
    found: dict[str, Any] = {}
    for (column, values), (name, (low, high)) in zip(columns.items(), ends.items(), strict=True):
        share = percent(level)
        found |= {column: values, f"{name}_lower_{share}": low, f"{name}_upper_{share}": high}
    return found


__all__ = ["BESIDE_ANSWER", "bounds", "check_interval", "groups_of", "usual_level", "with_bounds"]
