# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""From series that were read to a model's batch, as pure functions of NumPy arrays or torch tensors.

First the arithmetic (gaps, lengths, statistics, patches); then what a processor learns, and what it does with it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .arrays import Array, cast, contiguous, like, namespace, running_maximum, sliding_windows, take_along, zeros
from .measured import check_scaled, describe, is_fill_value
from .messages import warn_caller
from .precision import any_costs_digits, costs_digits, rounding_noise, widened
from .processor_checks import tiles_of, views_of
from .reader import kept_steps, read_sample, sides
from .rendering import apply_color, render_line, variate_colors
from .screening import Screening, check_fitted_range

# Pixels of a plot in a grid, below which a line of usual width fills it.
_SMALLEST_PLOT = 8


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


def fit_length(
    values: Array, observed: Array, length: int, padding_side: str = "left", truncation_side: str = "left"
) -> tuple[Array, Array]:
    """`length` steps of `(B, T, V)`: cut, or padded with missing values, at these sides."""
    short = length - values.shape[1]
    if short > 0:
        shape = (values.shape[0], short, values.shape[2])

        def pad(array: Array) -> Array:
            parts = [zeros(shape, array), array]
            return namespace(array).concatenate(parts if padding_side == "left" else parts[::-1], axis=1)

        return pad(values), pad(observed)
    kept = kept_steps(length, truncation_side)
    return values[:, kept], observed[:, kept]


def _observed_mean(values: Array, observed: Array) -> Array:
    """Mean over time of the observed values, `(B, T, V)` to `(B, V)`."""
    xp = namespace(values)
    counts = xp.clip(observed.sum(axis=1), 1, None)
    return xp.where(observed, values, 0).sum(axis=1) / cast(counts, values.dtype)


def instance_statistics(
    values: Array, observed: Array, constant_scale: Array | float = 1.0, noise: float | None = None
) -> tuple[Array, Array]:
    """Mean and standard deviation (of the population) of each series over its observed values.

    Args:
        values: `(B, T, V)`.
        observed: `(B, T, V)` bool.
        constant_scale: a number, or one for each variate: the scale of constant series, so that nothing is divided by
            a tiny number.
        noise: share of a series' magnitude by which its values may differ and yet be constant; not set: that of their
            dtype.

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
    scale = xp.sqrt(_observed_mean(xp.square(relative - loc[:, None]), observed)) * unit
    noise = rounding_noise(values.dtype) if noise is None else noise
    constant = is_constant(scale, *observed_range(values, observed), noise)
    return loc * unit, xp.where(constant, constant_scale, scale)


def is_constant(spread: Array, lowest: Array, highest: Array, noise: float) -> Array:
    """Whether spreads, or ranges, are only rounding noise beside the largest magnitude of their series.

    A constant series has no range, whatever rounding in sums left of a spread.
    """
    xp = namespace(spread)
    magnitude = xp.maximum(xp.abs(lowest), xp.abs(highest))
    return xp.minimum(spread, highest - lowest) <= noise * magnitude


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


def fit_variates(
    chunks: Iterable[tuple[Array, Array]], variate_names: Sequence[str] | None = None
) -> dict[str, list[float]]:
    """Mean, standard deviation and range of each variate over all observed steps.

    Args:
        chunks: values and observed, `(B, T, V)` each, B and T of any size. The sums of chunks are merged, in float64,
            as in Chan et al. (1979).
        variate_names: for errors.

    Raises:
        ValueError: no chunk, or a variate that is never observed.
    """
    fitted: Any = None
    noise = 0.0
    for values, observed in chunks:
        xp, noise = namespace(values), max(noise, rounding_noise(values.dtype))
        values, observed = widened(values).reshape(1, -1, values.shape[2]), observed.reshape(1, -1, values.shape[2])
        count, mean = observed.sum(axis=1), _observed_mean(values, observed)
        squares = xp.square(xp.where(observed, values - mean[:, None], 0)).sum(axis=1)
        part = (count, mean, squares, *observed_range(values, observed))
        fitted = part if fitted is None else _merged(fitted, part)
    if fitted is None:
        raise ValueError("past_values is empty: there is nothing to fit on")
    count, mean, squares, lowest, highest = (statistic[0] for statistic in fitted)  # (V,) each
    if blank := [variate for variate, n in enumerate(count.tolist()) if n == 0]:
        names = [variate_names[variate] if variate_names else variate for variate in blank]
        raise ValueError(f"The variates {names} are never observed: there is nothing to fit on")
    xp = namespace(mean)
    std = xp.sqrt(squares / count)
    constant = is_constant(std, lowest, highest, noise)
    std, highest = xp.where(constant, 1.0, std), xp.where(constant, lowest, highest)
    found = {"mean": mean, "std": std, "minimum": lowest, "maximum": highest}
    return {name: statistic.tolist() for name, statistic in found.items()}


def fit_targets(
    labels: Any, screening: Screening | None = None, target_names: Sequence[str] | None = None
) -> dict[str, list[float]]:
    """Mean and standard deviation of `(n,)` or `(n, num_targets)` targets; `screening` is shown them by name."""
    array = read_sample(labels, "labels")
    noise, array = rounding_noise(array.dtype), array.astype(np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not len(array):
        raise ValueError(f"labels must be finite numbers (n, num_targets), got shape {array.shape}")
    wrong = ~(np.abs(array) <= np.finfo(np.float32).max) | is_fill_value(array)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(
            f"labels must be finite numbers (n, num_targets), found {array[wrong][0]:g} in row {row} ({wrong.sum()} "
            "in all): correct these rows, or leave them out"
        )
    for k, column in enumerate(array.T if screening is not None else ()):
        screening.see(_target_name(k, target_names), column)  # type: ignore[union-attr]
    if array.shape[1] == 1 and _look_like_classes(array[:, 0]):
        warn_caller(
            f"{_target_name(0, target_names)} takes the whole numbers {array.min():g} to {array.max():g} alone: "
            "amounts are fitted rightly, but classes are for TimesCLIPForClassification, fitted without labels "
            "(load_wide_table(..., task='classification') reads them)"
        )
    std = array.std(axis=0)
    std = np.where(is_constant(std, array.min(axis=0), array.max(axis=0), noise), 1.0, std)
    return {"mean": array.mean(axis=0).tolist(), "std": std.tolist()}


def _look_like_classes(numbers: np.ndarray) -> bool:
    """Whether numbers are 0 or 1 to k without a hole, each ten times or more on average."""
    found = np.unique(numbers)
    counted = found[0] in (0, 1) and np.array_equal(found, found[0] + np.arange(len(found)))
    return bool(counted and 1 < len(found) <= len(numbers) / 10)


def _target_name(number: int, names: Sequence[str] | None) -> str:
    return f"target {names[number]!r}" if names and number < len(names) else f"target {number}"


def fitted_statistics(statistics: dict[str, Any] | None, purpose: str) -> dict[str, Any]:
    """What a processor has learnt; raises `ValueError` where it has not."""
    if statistics is None:
        raise ValueError(f"{purpose} needs statistics of the training data: call processor.fit(train) first")
    return statistics


def prepare_series(
    values: Array, observed: Array, settings: Any, level: tuple[Array, Array] | None = None
) -> dict[str, Array]:
    """All of a batch that comes from the series themselves.

    Args:
        values, observed: `(B, T, V)` of any length T, as `read_series` gives them.
        settings: a processor, or whatever has its parameters.
        level: `loc` and `scale` `(B, V)`, where they are not to follow the rule of `settings.scaling`.

    Returns:
        `patch_values` (B, V, N, L), `patch_mask` (B, V, N), `variate_values` (B, V, T), `loc` and `scale` (B, V), all
        in fp32 (`loc` and `scale` in fp64 where that costs digits, see `precision`), and, with `settings.image_size`,
        `plot_values` (B, V, T) for `draw_plots`.

    Raises:
        ValueError: a variate without a value in the steps that are read, or a value that can be no measurement.
    """
    noise = rounding_noise(values.dtype)
    values, observed = fit_length(widened(values), observed, settings.context_length, *sides(settings))
    blank = ~observed.any(axis=1)  # (B, V)
    if blank.any():
        raise ValueError(
            f"past_values has nothing observed within the {'last' if sides(settings)[1] == 'left' else 'first'} "
            f"{settings.context_length} steps in "
            f"{describe(blank[:, None], settings.variate_names)}; drop these samples or give more steps"
        )
    float32 = namespace(values).float32
    loc, scale = _loc_and_scale(values, observed, settings, noise) if level is None else level
    level_dtype = values.dtype if costs_digits(loc, scale).any() or has_large_levels(settings) else float32
    scaled = _scaled(fill_missing(values, observed), loc[:, None], scale[:, None], noise)  # (B, T, V)
    check_scaled(values, observed, scaled, settings.variate_names)
    check_fitted_range(values, observed, settings)
    scaled = cast(scaled, float32)
    cut = (settings.patch_length, settings.patch_stride, settings.padding)
    batch = {
        "patch_values": contiguous(cut_patches(scaled, *cut)),
        "patch_mask": cut_patches(observed, *cut).any(axis=-1),
        "variate_values": contiguous(scaled.swapaxes(1, 2)),
        "loc": contiguous(cast(loc, level_dtype)),  # not a view of one row, which a data loader could not pin
        "scale": contiguous(cast(scale, level_dtype)),
    }
    if settings.image_size is not None:
        drawn = None if settings.draw_covariates else settings.num_target_variates
        batch["plot_values"] = _plot_positions(values, observed, settings, noise)[:, :drawn]
    return batch


def has_large_levels(settings: Any) -> bool:
    """Whether every batch of a processor has its `loc` and `scale` in fp64, going by what it was fitted on."""
    if settings.scaling == "none" or settings.statistics is None:
        return False
    return any_costs_digits(*(settings.statistics["variates"][name] for name in ("mean", "std")))


def draw_some_plots(plot_values: Array, settings: Any, images: slice, dtype: Any = None) -> Array:
    """Some of the images `(n, 3, height, width)` that `draw_plots` draws, of all samples one after the other."""
    num_samples, num_variates, num_steps = plot_values.shape
    if settings.layout == "grid":
        return draw_plots(plot_values[images], settings, dtype)[:, 0]
    variates, size = np.tile(np.arange(num_variates), num_samples)[images], _plot_size(settings, num_variates)
    return _colour_images(plot_values.reshape(-1, num_steps)[images], variates, settings, size, dtype)


def draw_plots(plot_values: Array, settings: Any, dtype: Any = None) -> Array:
    """The one place where plots become images.

    Args:
        plot_values: `(B, V, T)` from `prepare_series`.
        settings: a processor, or whatever has its parameters; NumPy arrays can be drawn with `view="line"` alone.
        dtype: of the images. Default: that of `plot_values`.

    Returns:
        `pixel_values` (B, V, 3, height, width), each variate in its colour, normalised for the vision tower; with
        `settings.layout="grid"` (B, 1, 3, height, width), see `place_in_grid`.

    Raises:
        ValueError: a processor without images, or plots that would be too small in a grid.
    """
    num_samples, num_variates, num_steps = plot_values.shape
    variates, size = np.tile(np.arange(num_variates), num_samples), _plot_size(settings, num_variates)
    images = _colour_images(plot_values.reshape(-1, num_steps), variates, settings, size, dtype)
    images = images.reshape(num_samples, num_variates, *images.shape[1:])
    in_grid = settings.layout == "grid"
    return place_in_grid(images, _paper(settings, images), settings.image_size) if in_grid else images


def _plot_size(settings: Any, num_variates: int) -> Sequence[int]:
    """Height and width of a plot in pixels, alone in its image or in a grid with those of the other variates."""
    size: Sequence[int] | None = settings.image_size
    if size is None:
        raise ValueError("This processor draws no images: its image_size is None")
    if settings.layout != "grid":
        return size
    rows, columns = grid_shape(num_variates)
    size = [size[0] // rows, size[1] // columns]
    if min(size) < _SMALLEST_PLOT:
        raise ValueError(
            f"layout='grid' would leave {size[0]} x {size[1]} pixels for each of {num_variates} plots, and "
            f"{_SMALLEST_PLOT} are the least: choose a larger image_size, or layout='variate'"
        )
    return size


def _colour_images(series: Array, variates: np.ndarray, settings: Any, size: Sequence[int], dtype: Any) -> Array:
    """Images `(n, 3, height, width)` of plots `(n, T)`, each in the colour of its variate `(n,)`."""
    coverages = [_renderer(settings, view)(series, *size) for view in views_of(settings)]
    coverages = coverages if dtype is None else [cast(coverage, dtype) for coverage in coverages]
    coverage, xp = coverages[0], namespace(series)
    # Colour is linear in coverage, so normalising both ends once equals normalising every pixel.
    mean, std = like(settings.image_mean, coverage), like(settings.image_std, coverage)
    paper = _paper(settings, coverage)
    if len(coverages) > 1:  # a view in each colour: black ink on paper of one grey
        ink = xp.stack(coverages, 1)  # (n, 3, height, width)
        return paper[:, None, None] + ink * ((0.0 - mean) / std - paper)[:, None, None]
    count = int(variates.max(initial=0)) + 1
    # The pixels of "stacked" are the values themselves, from black to white.
    shades = np.ones((count, 3), np.float32) if settings.view == "stacked" else variate_colors(count)
    colors = (like(shades, coverage) - mean) / std
    return apply_color(coverage, colors[like(variates, coverage, xp.int64)], paper)


def _paper(settings: Any, images: Array) -> Array:
    """Normalised red, green and blue of a blank pixel."""
    mean, std = like(settings.image_mean, images), like(settings.image_std, images)
    return ((0.0 if settings.view == "stacked" else settings.background) - mean) / std


def _renderer(settings: Any, view: str) -> Any:
    """The function that draws a view, by its name."""
    if view == "line":
        return partial(render_line, line_width=settings.line_width)
    if len(tiles := tiles_of(view)) > 1:
        return partial(_tiled, view, [_renderer(settings, tile) for tile in tiles])
    from .views import VIEWS  # needs torch, which is not there where NumPy alone prepares batches

    return VIEWS[view]


def _tiled(view: str, renderers: Sequence[Any], series: Array, height: int, width: int) -> Array:
    """Views of series `(n, T)` as tiles of one image `(n, height, width)`, row by row; what is left is paper."""
    canvas: Any = None
    for renderer, (top, left, high, wide) in zip(renderers, tile_places(len(renderers), height, width), strict=True):
        if min(high, wide) < _SMALLEST_PLOT:
            raise ValueError(
                f"view={view!r} would leave {high} x {wide} pixels for each view, and {_SMALLEST_PLOT} are the least: "
                "choose a larger image_size, or fewer views"
            )
        coverage = renderer(series, high, wide)
        canvas = zeros((len(coverage), height, width), coverage) if canvas is None else canvas
        canvas[:, top : top + high, left : left + wide] = coverage
    return canvas


def tile_places(count: int, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Top, left, height and width of so many plots in one image, as `grid_shape` has them."""
    rows, columns = grid_shape(count)
    high, wide = height // rows, width // columns
    return [(high * (k // columns), wide * (k % columns), high, wide) for k in range(count)]


def grid_shape(num_variates: int) -> tuple[int, int]:
    """Rows and columns of plots, as square as they go: 3 and 3 for 7, 2 and 1 for 2, so that plots are wide."""
    rows = math.ceil(math.sqrt(num_variates))
    return rows, math.ceil(num_variates / rows)


def place_in_grid(images: Array, paper: Array, size: Sequence[int]) -> Array:
    """Plots `(B, V, 3, h, w)` in one image `(B, 1, 3, height, width)`, row by row; what is left is paper."""
    num_samples, num_variates = images.shape[:2]
    canvas = namespace(images).tile(paper[None, None, :, None, None], (num_samples, 1, 1, *size))
    for variate, (top, left, height, width) in enumerate(tile_places(num_variates, *size)):
        canvas[:, 0, :, top : top + height, left : left + width] = images[:, variate]
    return canvas


def check_rows(batch: Mapping[str, Array]) -> None:
    """Raises where arguments have different numbers of samples."""
    sizes = {name: len(array) for name, array in batch.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"past_values, static_values and labels must have one row for each sample, got {sizes}")


def _plot_positions(values: Array, observed: Array, settings: Any, noise: float) -> Array:
    """What is drawn: each variate's position on its image's value axis, `(B, V, T)` in fp32, NaN = gap."""
    xp = namespace(values)
    lowest, spread, constant = value_axes(values, observed, settings, noise)
    heights = (values - lowest[..., None, :]) / spread[..., None, :]
    heights = xp.where(constant[..., None, :], heights + 0.5, heights)  # constant: in the middle of its axis
    return contiguous(cast(xp.where(observed, heights, xp.nan).swapaxes(1, 2), xp.float32))


def value_axes(
    values: Array, observed: Array, settings: Any, noise: float | None = None
) -> tuple[Array, Array, Array]:
    """The value axis of each image: its lowest value and its length, `(B, V)` or `(V,)`, and whether it belongs to
    a constant series, whose lowest value stands in the middle. `noise`: as in `instance_statistics`."""
    xp, noise = namespace(values), rounding_noise(values.dtype) if noise is None else noise
    if settings.value_range == "window":
        lowest, highest = observed_range(values, observed)  # (B, V)
        constant = is_constant(highest - lowest, lowest, highest, noise)
    else:
        fitted = fitted_statistics(settings.statistics, "value_range='dataset'")["variates"]
        lowest, highest = like(fitted["minimum"], values), like(fitted["maximum"], values)
        # No spread is above half of its range: one that is stands in for a constant's.
        constant = like(fitted["std"], values) * 2 > (highest - lowest) * (1 + rounding_noise(values.dtype))
    spread, magnitude = highest - lowest, xp.maximum(xp.abs(lowest), xp.abs(highest))
    return lowest, xp.where(constant, xp.where(magnitude > 0, magnitude, 1), spread), constant


def _merged(first: Any, second: Any) -> Any:
    """Count, mean, sum of squared deviations, minimum and maximum of two parts together."""
    (n, mean, squares, low, high), (m, other_mean, other_squares, other_low, other_high) = first, second
    xp, shift = namespace(mean), other_mean - mean
    total = xp.clip(n + m, 1, None)
    squares = squares + other_squares + xp.square(shift) * n * m / total
    return n + m, mean + shift * m / total, squares, xp.minimum(low, other_low), xp.maximum(high, other_high)


def _scaled(values: Array, loc: Array, scale: Array, noise: float) -> Array:
    """`(values - loc) / scale`; what is less than a level's dtype can tell is nothing, whatever the unit."""
    xp, away = namespace(values), values - loc
    finest = noise * xp.abs(loc)
    return xp.where((scale <= finest) & (xp.abs(away) <= finest), 0.0, away) / scale


def _loc_and_scale(values: Array, observed: Array, settings: Any, noise: float) -> tuple[Array, Array]:
    xp = namespace(values)
    if settings.scaling == "instance":  # a constant series has no spread of its own: the training data's, once known
        fitted_std = settings.statistics["variates"]["std"] if settings.statistics is not None else 1.0
        return instance_statistics(values, observed, like(fitted_std, values), noise)
    shape = (values.shape[0], values.shape[2])
    if settings.scaling == "none":
        mean, std = 0.0, 1.0
    else:
        fitted = fitted_statistics(settings.statistics, "scaling='dataset'")["variates"]
        mean, std = fitted["mean"], fitted["std"]
    return xp.broadcast_to(like(mean, values), shape), xp.broadcast_to(like(std, values), shape)


__all__ = [
    "check_rows",
    "cut_patches",
    "draw_plots",
    "draw_some_plots",
    "fill_missing",
    "fit_length",
    "fit_targets",
    "fit_variates",
    "fitted_statistics",
    "has_large_levels",
    "instance_statistics",
    "is_constant",
    "observed_range",
    "prepare_series",
    "value_axes",
]
