# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a processor does to a checked batch, as pure functions of NumPy arrays or torch tensors."""

from typing import Any

from .arrays import Array, cast, contiguous, like, namespace
from .rendering import apply_color, variate_colors
from .series import cut_patches, fill_missing, instance_statistics, is_constant, observed_range


def fitted_statistics(statistics: dict[str, Any] | None, purpose: str) -> dict[str, Any]:
    """What a processor has learnt; raises `ValueError` where it has not."""
    if statistics is None:
        raise ValueError(f"{purpose} needs statistics of the training data: call processor.fit(train) first.")
    return statistics


def scaled_patches(values: Array, observed: Array, settings: Any) -> dict[str, Array]:
    """Everything but images that a model reads of the series themselves.

    Args:
        values: `(B, T, V)`, of the length that `settings` name.
        observed: `(B, T, V)` bool.
        settings: a processor, or whatever has its parameters.

    Returns:
        `patch_values` (B, V, N, L), `patch_mask` (B, V, N), `variate_values` (B, V, T), `loc` and `scale` (B, V).
    """
    float32 = namespace(values).float32
    loc, scale = _loc_and_scale(values, observed, settings)
    scaled = cast((fill_missing(values, observed) - loc[:, None]) / scale[:, None], float32)  # (B, T, V)
    cut = (settings.patch_length, settings.patch_stride, settings.padding)
    return {
        "patch_values": contiguous(cut_patches(scaled, *cut)),
        "patch_mask": cut_patches(observed, *cut).any(axis=-1),
        "variate_values": contiguous(scaled.swapaxes(1, 2)),
        "loc": cast(loc, float32),
        "scale": cast(scale, float32),
    }


def plot_positions(values: Array, observed: Array, settings: Any) -> Array:
    """What is drawn: each variate's position on its image's value axis, `(B, V, T)` in fp32, NaN = gap."""
    xp = namespace(values)
    if settings.value_range == "window":
        lowest, highest = observed_range(values, observed)  # (B, V)
    else:
        fitted = fitted_statistics(settings.statistics, "value_range='dataset'")["variates"]
        lowest, highest = like(fitted["minimum"], values), like(fitted["maximum"], values)
    spread, magnitude = highest - lowest, xp.maximum(xp.abs(lowest), xp.abs(highest))
    constant = is_constant(spread, magnitude)
    spread = xp.where(constant, xp.where(magnitude > 0, magnitude, 1), spread)
    heights = (values - lowest[..., None, :]) / spread[..., None, :]
    heights = xp.where(constant[..., None, :], heights + 0.5, heights)  # constant: in the middle of its axis
    return contiguous(cast(xp.where(observed, heights, xp.nan).swapaxes(1, 2), xp.float32))


def coloured_images(coverage: Array, num_variates: int, settings: Any) -> Array:
    """Ink `(B * V, height, width)` in each variate's colour, normalised: `pixel_values` (B, V, 3, height, width)."""
    # Colour is linear in coverage, so normalising both ends once equals normalising every pixel.
    mean, std = like(settings.image_mean, coverage), like(settings.image_std, coverage)
    colors = (like(variate_colors(num_variates), coverage) - mean) / std
    num_samples = coverage.shape[0] // num_variates
    colors = namespace(coverage).tile(colors, (num_samples, 1))
    images = apply_color(coverage, colors, (settings.background - mean) / std)
    return images.reshape(num_samples, num_variates, *images.shape[1:])


def _loc_and_scale(values: Array, observed: Array, settings: Any) -> tuple[Array, Array]:
    xp = namespace(values)
    if settings.scaling == "instance":  # a constant series has no spread of its own: the training data's, once known
        fitted_std = settings.statistics["variates"]["std"] if settings.statistics is not None else 1.0
        return instance_statistics(values, observed, like(fitted_std, values))
    shape = (values.shape[0], values.shape[2])
    if settings.scaling == "none":
        mean, std = 0.0, 1.0
    else:
        fitted = fitted_statistics(settings.statistics, "scaling='dataset'")["variates"]
        mean, std = fitted["mean"], fitted["std"]
    return xp.broadcast_to(like(mean, values), shape), xp.broadcast_to(like(std, values), shape)


__all__ = [
    "coloured_images",
    "fitted_statistics",
    "plot_positions",
    "scaled_patches",
]
