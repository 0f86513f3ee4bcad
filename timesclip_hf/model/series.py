# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Arithmetic on raw series, as pure functions of NumPy arrays or torch tensors: gaps, lengths, statistics, patches."""

from .arrays import Array, cast, like, namespace, running_maximum, sliding_windows, take_along, zeros

# A spread below this share of a series' largest magnitude is rounding noise of a constant series.
CONSTANT = 1e-6


def fill_missing(values: Array, observed: Array) -> Array:
    """Straight lines over the gaps, the first and last observed value held towards the ends.

    Args:
        values: `(B, T, V)`; what stands in missing places is ignored.
        observed: `(B, T, V)` bool. A series of a variate with nothing observed becomes 0.

    Returns:
        `(B, T, V)` without NaN.
    """
    xp, num_steps = namespace(values), values.shape[1]
    steps = like(range(num_steps), values, xp.int64)[None, :, None]
    before = running_maximum(xp.where(observed, steps, -1), 1)
    after = -xp.flip(running_maximum(xp.flip(xp.where(observed, -steps, -num_steps), (1,)), 1), (1,))
    left = xp.clip(xp.where(before >= 0, before, after), None, num_steps - 1)
    right = xp.clip(xp.where(after < num_steps, after, before), 0, None)
    clean = xp.where(observed, values, 0)
    start, end = take_along(clean, left, 1), take_along(clean, right, 1)
    share = cast(steps - left, values.dtype) / cast(xp.clip(right - left, 1, None), values.dtype)
    return start + (end - start) * share


def fit_length(values: Array, observed: Array, length: int) -> tuple[Array, Array]:
    """The newest `length` steps; shorter series are padded at the front with missing values."""
    short = length - values.shape[1]
    if short > 0:
        shape = (values.shape[0], short, values.shape[2])
        concatenate = namespace(values).concatenate
        values = concatenate([zeros(shape, values), values], axis=1)
        observed = concatenate([zeros(shape, observed), observed], axis=1)
    return values[:, -length:], observed[:, -length:]


def _observed_mean(values: Array, observed: Array) -> Array:
    """Mean over time of the observed values, `(B, T, V)` to `(B, V)`."""
    xp = namespace(values)
    counts = xp.clip(observed.sum(axis=1), 1, None)
    return xp.where(observed, values, 0).sum(axis=1) / cast(counts, values.dtype)


def instance_statistics(values: Array, observed: Array, constant_scale: Array | float = 1.0) -> tuple[Array, Array]:
    """Mean and standard deviation (of the population) of each series over its observed values.

    Args:
        values: `(B, T, V)`.
        observed: `(B, T, V)` bool.
        constant_scale: a number, or one for each variate: the scale of constant series, so that nothing is divided by
            a tiny number.

    Returns:
        loc, scale: `(B, V)`.
    """
    xp = namespace(values)
    magnitude = xp.amax(xp.abs(xp.where(observed, values, 0)), axis=1)
    # In units of the magnitude, squares of huge values do not overflow and those of tiny ones do not vanish.
    unit = xp.where(magnitude > 0, magnitude, 1)
    relative = values / unit[:, None]
    loc = _observed_mean(relative, observed)
    loc = loc + _observed_mean(relative - loc[:, None], observed)  # what rounding left of a level far from zero
    scale = xp.sqrt(_observed_mean(xp.square(relative - loc[:, None]), observed))
    return loc * unit, replace_constant(scale * unit, magnitude, constant_scale)


def is_constant(spread: Array, magnitude: Array) -> Array:
    """Whether spreads are only rounding noise beside the largest magnitude of their series."""
    return spread <= CONSTANT * magnitude


def replace_constant(scale: Array, magnitude: Array, constant_scale: Array | float = 1.0) -> Array:
    """`constant_scale` in place of spreads that are only rounding noise beside their series' largest magnitude."""
    return namespace(scale).where(is_constant(scale, magnitude), constant_scale, scale)


def observed_range(values: Array, observed: Array) -> tuple[Array, Array]:
    """Smallest and largest observed value of each series, `(B, V)` each; infinite where nothing is observed."""
    xp = namespace(values)
    lowest = xp.amin(xp.where(observed, values, xp.inf), axis=1)
    return lowest, xp.amax(xp.where(observed, values, -xp.inf), axis=1)


def cut_patches(values: Array, patch_length: int, patch_stride: int, padding: str) -> Array:
    """Patches of `(B, T, V)` as `(B, V, N, L)`, the last one ending at the newest step.

    Args:
        values: `(B, T, V)`, any dtype (masks, too), T >= `patch_length`.
        patch_length: steps L in a patch.
        patch_stride: steps S between the starts of patches.
        padding: `"end"` first repeats the last step S times (PatchTST, arXiv 2211.14730), `"none"` does not.
            Steps that fill no patch are cut at the front: the newest ones count most.
    """
    if padding == "end":
        values = namespace(values).concatenate([values, *[values[:, -1:]] * patch_stride], axis=1)
    surplus = (values.shape[1] - patch_length) % patch_stride
    return sliding_windows(values[:, surplus:], patch_length, patch_stride).swapaxes(1, 2)


__all__ = [
    "CONSTANT",
    "cut_patches",
    "fill_missing",
    "fit_length",
    "instance_statistics",
    "is_constant",
    "observed_range",
    "replace_constant",
]
