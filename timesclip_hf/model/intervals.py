# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How sure: a model's answers and its calibration to intervals and sets of classes, with NumPy alone.

`config.calibration`, which `calibrate` writes, is plain JSON:

- `method`: how an interval is made of what the model says of a series. `"quantile"`: its own quantiles at both ends of
  the level, moved apart by t (conformalised quantile regression, Romano et al. 2019, arXiv 1905.03222); quantiles
  between and beyond the configured levels follow straight lines in units of the normal distribution. `"spread"` (Lei
  et al. 2018) and `"absolute"`: the answer -+ t. `"classes"`: the set of all classes whose probability is at least
  1 - t (Sadinle et al. 2019), and the likeliest.
- `scale`: `[a, b]` of each target or variate; t is then in units of `a + b * spread`.
- `levels`: those that t is known for; `thresholds`: for each level the t of each target, or of each step of a forecast
  and each variate (or one for all of these). `null`: too few samples to say; the interval has no end, the set has all
  classes.
- `group` and `groups`: the column, and the thresholds of samples of each of its values (Mondrian); others get those of
  all samples together.
- `temperature`, of classes: the model divides its logits by it.
- `count`, `counts`: samples that all, and each group, rest on; `source`: what these were, in words.

An interval of level 0.9 holds what comes in at least nine of ten cases, on average over samples that are exchangeable
with those of the calibration: an assumption, which other places and years may break.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

METHODS = ("quantile", "spread", "absolute", "classes")


_UNKNOWN = (
    "this model was not calibrated, so that it knows no intervals: calibrate(model, processor, validation), and save "
    "it again"
)
# Probabilities that differ by less do so by rounding.
_SAME = 1e-6
# Beside an exported graph, which has no configuration.
INTERVALS_FILE = "intervals.json"


def interval_facts(config: Any) -> dict[str, Any] | None:
    """What intervals need to know of a configuration, as JSON; `None`: it knows none."""
    if config.calibration is None and config.numbers_per_answer == 1:
        return None
    return {name: getattr(config, name) for name in ("calibration", "answer_levels", "numbers_per_answer")}


def check_calibration(calibration: Any) -> None:
    """Raises `ValueError` for what `calibrate` cannot have written; it may come from a stranger's file."""
    if calibration is None:
        return
    method, levels, thresholds = (calibration.get(name) for name in ("method", "levels", "thresholds"))
    if method not in METHODS:
        raise ValueError(f"calibration has method={method!r}, expected one of {METHODS}; calibrate() again.")
    if not isinstance(levels, list) or not levels or not all(_is_share(level) for level in levels):
        raise ValueError(f"calibration must have levels between 0 and 1, got {levels!r}; calibrate() again.")
    tables = {"thresholds": thresholds, **(calibration.get("groups") or {})}
    for name, table in tables.items():
        try:
            right = len(table) == len(levels) and _numbers(table).shape[0] == len(levels)
        except (TypeError, ValueError):
            right = False
        if not right:
            raise ValueError(
                f"calibration has {name!r} that are no numbers for each of its levels; calibrate() again."
            )
    temperature = calibration.get("temperature", 1.0)
    if not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
        raise ValueError(f"calibration has temperature={temperature!r}, expected a number above 0; calibrate() again.")


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 < value < 1


def _numbers(table: Any) -> NDArray[np.float64]:
    """Nested lists with `None` for infinity."""
    return np.where((array := np.asarray(table, np.float64)) == array, array, np.inf)


def percent(level: float) -> str:
    """A level as names of columns and figures have it: 0.9 -> `"90"`, 0.975 -> `"97.5"`."""
    return f"{100 * level:.6g}"


def quantiles_at(quantiles: ArrayLike, levels: Sequence[float], wanted: Sequence[float]) -> NDArray[np.float64]:
    """Quantiles at other levels, by straight lines in units of the normal distribution, also beyond the ends.

    Args:
        quantiles: `(..., Q)`.
        levels: `(Q,)`, rising.
        wanted: other levels.

    Returns:
        `(..., len(wanted))`.
    """
    said, point = np.asarray(quantiles, np.float64), NormalDist().inv_cdf
    places = np.array([point(level) for level in levels])
    if len(places) == 1:
        return np.repeat(said, len(wanted), axis=-1)
    found = []
    for level in wanted:
        place = point(level)
        right = int(np.clip(np.searchsorted(places, place - 1e-9), 1, len(places) - 1))
        share = (place - places[right - 1]) / (places[right] - places[right - 1])
        found.append(said[..., right - 1] + share * (said[..., right] - said[..., right - 1]))
    return np.stack(found, axis=-1)


def ends(level: float) -> list[float]:
    """The levels of the quantiles between which so much lies."""
    return [(1 - level) / 2, (1 + level) / 2]


def scaled_spreads(calibration: Mapping[str, Any], spreads: ArrayLike) -> NDArray[np.float64]:
    """What thresholds are in units of, `a + b * spread`, of the spreads' shape."""
    floor, slope = np.asarray(calibration["scale"], np.float64).T
    return floor + slope * np.asarray(spreads, np.float64)


def check_level(config: Any, level: Any) -> float:
    """A level that intervals (or sets) of this model can be asked for.

    Raises:
        ValueError: not between 0 and 1, or of a model that was not calibrated and has no quantiles of its own.
    """
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
        raise ValueError(f"interval must be a number between 0 and 1, such as 0.9, got {level!r}")
    if config.calibration is None and config.numbers_per_answer == 1:
        raise ValueError(_UNKNOWN)
    if config.calibration is not None:
        thresholds_for(config.calibration, level, None, 1)
    return float(level)


def has_ends(config: Any, level: float) -> bool:
    """Whether a calibrated model knows a level, from samples enough."""
    calibration = config.calibration or {"levels": [], "thresholds": []}
    known = zip(calibration["levels"], calibration["thresholds"], strict=True)
    return any(abs(one - level) < 1e-9 and bool(np.isfinite(_numbers(table)).all()) for one, table in known)


def group_key(name: Any) -> str:
    """A group's name as text; of a whole number without ".0", which columns with blank cells have."""
    text = str(name)
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def thresholds_for(
    calibration: Mapping[str, Any], level: float, groups: Sequence[Any] | None, count: int
) -> NDArray[np.float64]:
    """The t of each sample `(count, ...)`, infinite where too few samples tell it.

    Raises:
        ValueError: a level that was not calibrated, or another number of groups than of samples.
    """
    levels = calibration["levels"]
    place = next((k for k, known in enumerate(levels) if abs(known - level) < 1e-9), None)
    if place is None:
        known = ", ".join(f"{one:g}" for one in levels)
        raise ValueError(f"level {level:g} was not calibrated, only {known}: calibrate(..., levels=[{level:g}, ...])")
    if groups is not None and len(groups) != count:
        raise ValueError(f"groups has {len(groups)} entries, the answers {count} samples")
    whole, known_groups = _numbers(calibration["thresholds"])[place], calibration.get("groups") or {}
    own = {group_key(name): _numbers(table)[place] for name, table in known_groups.items()}
    return np.stack([own.get(group_key(name), whole) for name in (groups if groups is not None else [None] * count)])


def interval_of(
    config: Any, outputs: Mapping[str, Any], level: float, groups: Sequence[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of intervals, in the shape and units of `predictions`.

    Args:
        config: with `calibration` and `answer_levels`: a model's configuration.
        outputs: arrays of a model's output: `predictions`, and `quantiles` or `spreads` where `config.calibration`
            rests on them. A model of quantiles that was not calibrated gives its own.
        level: how much an interval holds, such as 0.9.
        groups: of each sample, the value of the column that the calibration was grouped by.

    Raises:
        ValueError: not between 0 and 1, never calibrated, or not at this level; another number of groups.
    """
    check_level(config, level)
    calibration, answers = config.calibration, np.asarray(outputs["predictions"], np.float64)
    if calibration is None or calibration["method"] == "quantile":
        low, high = np.moveaxis(quantiles_at(outputs["quantiles"], config.answer_levels, ends(level)), -1, 0)
    if calibration is None:
        return low, high
    width = thresholds_for(calibration, level, groups, len(answers))
    if "scale" in calibration:
        width = width * scaled_spreads(calibration, outputs["spreads"])
    if calibration["method"] != "quantile":
        return answers - width, answers + width
    low, high = low - width, high + width
    crossed = np.where(low > high, (low + high) / 2, np.nan)  # ends that were moved together beyond each other
    return np.fmin(low, crossed), np.fmax(high, crossed)


def set_of(config: Any, logits: ArrayLike, level: float, groups: Sequence[Any] | None = None) -> NDArray[np.bool_]:
    """Which classes `(B, num_labels)` the set of each sample holds; the likeliest is in every one.

    Args:
        config: with `calibration`.
        logits: `(B, num_labels)`, as the model gives them.
        level, groups: see `interval_of`.

    Raises:
        ValueError: see `interval_of`.
    """
    check_level(config, level)
    if config.calibration is None:
        raise ValueError(_UNKNOWN)
    scores = np.asarray(logits, np.float64)
    chances = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
    held = 1 - chances <= thresholds_for(config.calibration, level, groups, len(scores)).reshape(-1, 1) + _SAME
    held[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return held


def temperature_of(config: Any) -> float:
    """By which a classifier divides its logits; 1 unless it was calibrated."""
    return float((config.calibration or {}).get("temperature", 1.0))


__all__ = [
    "INTERVALS_FILE", "METHODS", "check_calibration", "check_level", "ends", "group_key", "has_ends", "interval_facts",
    "interval_of", "percent", "quantiles_at", "scaled_spreads", "set_of", "temperature_of", "thresholds_for",
]  # fmt: skip
