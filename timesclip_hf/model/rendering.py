# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The line plot of a series, and the colour of any plot; pure functions of NumPy arrays or torch tensors.

Other ways to draw a series are in `views.py`, beside the list of all. A view is one function `(N, T) -> (N, height,
width)`: values already in [0, 1] (NaN = gap) in, intensity in [0, 1] out, row 0 at the top. Colour comes after it.
"""

import colorsys
import math

import numpy as np

from .arrays import Array, accumulate, add_at, cast, is_floating, like, namespace, zeros

# Sample lines per pixel column: powers of two, so that every weight below is exact in binary. With sixteen the mean
# difference from Agg stays under 0.01 even for white noise; eight do as well where a step spans some columns, and cost
# half.
_SUBCOLUMNS = 16
_SUBCOLUMNS_WIDE, _WIDE_STEP = 8, 4.0
# Stroke edges are rounded to 1/1024 pixel. All sums are then exact in float32 (multiples of 2**-14), so that blank
# pixels are exactly 0 and the result depends neither on the order of additions nor on the device.
_SUBROWS = 1024
_WHOLE_NUMBERS = 2**24
# Beyond this many plot heights only the slope of an almost vertical stroke could change, by less than 0.001 of a step.
_FAR = 1000.0
# Scratch memory of one chunk of plots, in bytes: it fits a CPU's cache; an accelerator wants more to do at a time.
_CHUNK_BYTES_CPU = 8 * 2**20
_CHUNK_BYTES = 128 * 2**20

# Found by greedy search: each next colour is the one farthest in CIELAB from all before it, among RGB colours with a
# contrast ratio to white of 2.5 or more. Any two differ by at least 33 (CIE76); 2.3 is just noticeable.
_PALETTE = (
    "1f77b4 d62728 2c8a2c 0000ff ff55dd 330000 000077 bb9977 5577ff bb9900 bb5577 003333 "
    "009999 000033 ff0077 555500 dd00ff ff7700 773300 00bb00 5533dd bb99bb 990077 bb77dd"
).split()
# Colours past the palette: hues a golden angle apart never repeat; brightness and saturation cycle.
_GOLDEN = (math.sqrt(5) - 1) / 2
_BRIGHTNESS = (0.75, 0.5, 0.625)
_SATURATION = (1.0, 0.6)


def render_line(values: Array, height: int, width: int, line_width: float = 1.5, margin: float | None = None) -> Array:
    """Draw each series as one antialiased line with round joins and caps; return how much ink each pixel holds.

    The stroke is an area: consecutive steps span capsules, and a pixel's ink is the sum of what each capsule covers,
    less what neighbouring capsules share at their common step, at most 1. That is how a scanline rasteriser (Agg)
    fills a stroke's outline, so that very dense plots agree with it, too. A capsule meets a vertical line in one
    interval; so only the intervals' two ends are written, and a running sum down the rows fills them.

    Not differentiable. Computed in float32 on the device of `values`, in chunks of plots, so that scratch memory
    does not grow with N.

    Args:
        values: (N, T) floating point, NumPy or torch. 0 is the bottom and 1 the top of the plot area; NaN is a gap.
            Values beyond [0, 1] are drawn where they belong, and cut off at the image's edge.
        height: rows of the image, in pixels.
        width: columns of the image, in pixels. The steps are spread evenly from `margin` to `width - margin`.
        line_width: in pixels. Default 1.5.
        margin: empty rim around the plot area, in pixels. Default `line_width / 2 + 0.5`: a stroke at 0 or 1 keeps
            its whole width inside the image, half a pixel from its edge.

    Returns:
        (N, height, width), ink coverage in [0, 1], dtype of `values`; row 0 is the top. No ink is drawn between two
        steps of which one is missing; an observed step between gaps is a round dot as wide as the line; T = 1 is a
        dot in the middle column; a row without any observed value is blank.

    Raises:
        ValueError: `values` is not a floating point (N, T) tensor with T >= 1, or a size is out of range.
    """
    margin = line_width / 2 + 0.5 if margin is None else margin
    _check_line_arguments(values, height, width, line_width, margin)
    values = values if isinstance(values, np.ndarray) else values.detach()
    xp = namespace(values)
    num_plots, num_steps = values.shape
    step = (width - 2 * margin) / max(num_steps - 1, 1)
    start = width / 2 if num_steps == 1 else margin
    strokes = _columns_met(num_steps - 1, start, step, step, line_width / 2, width, values)
    joints = _columns_met(num_steps, start, step, 0.0, line_width / 2, width, values)

    coverage = zeros((num_plots, height, width), strokes[1])
    plot_bytes = 40 * (math.prod(strokes[0].shape) + math.prod(joints[0].shape)) + 8 * (height + 2) * width
    chunk = plots_per_chunk(values, plot_bytes)
    for first in range(0, num_plots, chunk):
        part = cast(values[first : first + chunk], xp.float32)
        y = height - margin - xp.clip(xp.nan_to_num(part), -_FAR, _FAR) * (height - 2 * margin)  # pixels from the top
        area = _covered_area(y, ~xp.isnan(part), step, line_width / 2, strokes, joints, height, width)
        xp.clip(area, 0, 1, out=coverage[first : first + chunk])
    return cast(coverage, values.dtype)


def apply_color(coverage: Array, colors: Array, background: float | Array = 1.0) -> Array:
    """Turn coverage into colour: `background + coverage * (colour - background)`.

    Args:
        coverage: (N, height, width) floating point in [0, 1].
        colors: (N, 3), one RGB colour for each plot, or (3,), one for all; in [0, 1].
        background: one grey level, or an RGB colour (3,), in [0, 1]. Default 1.0, white.

    Returns:
        (N, 3, height, width), dtype and device of `coverage`.

    Raises:
        ValueError: a shape does not match.
    """
    if coverage.ndim != 3 or not is_floating(coverage):
        raise ValueError(
            f"coverage must be a floating point (N, height, width) tensor, got {coverage.dtype} of shape "
            f"{tuple(coverage.shape)}"
        )
    colors, paper = like(colors, coverage), like(background, coverage)
    if tuple(colors.shape) not in ((3,), (coverage.shape[0], 3)):
        raise ValueError(
            f"colors must have shape (3,) or (N, 3) with N = {coverage.shape[0]} plots, got {tuple(colors.shape)}."
        )
    if tuple(paper.shape) not in ((), (3,)):
        raise ValueError(f"background must be one number or have shape (3,), got shape {tuple(paper.shape)}")
    paper = namespace(coverage).broadcast_to(paper, (3,))[:, None, None]  # (3, 1, 1)
    # Two steps with one broadcast factor each run vectorised, which one fused step over three operands does not.
    image = coverage[:, None] * (colors.reshape(-1, 3, 1, 1) - paper)  # (N, 3, H, W)
    image += paper
    return image


def variate_colors(num_variates: int) -> np.ndarray:
    """Colour of each variate's plot: a fixed list, so that a variate keeps its colour when others are added.

    The first 24 are well apart from each other and from white. Later ones come closer (hues by the golden angle) but
    never repeat within the first 1 000.

    Args:
        num_variates: how many colours, at least 1.

    Returns:
        (num_variates, 3) float32, RGB in [0, 1].

    Raises:
        ValueError: `num_variates` is not a whole number of at least 1.
    """
    if isinstance(num_variates, bool) or not isinstance(num_variates, int) or num_variates < 1:
        raise ValueError(f"num_variates must be a whole number, at least 1, got {num_variates!r}")
    colors = [tuple(channel / 255 for channel in bytes.fromhex(code)) for code in _PALETTE[:num_variates]]
    for index in range(num_variates - len(colors)):
        hue = index * _GOLDEN % 1
        saturation = _SATURATION[index // len(_BRIGHTNESS) % len(_SATURATION)]
        colors.append(colorsys.hsv_to_rgb(hue, saturation, _BRIGHTNESS[index % len(_BRIGHTNESS)]))
    return np.array(colors, dtype=np.float32)


def check_plot_arguments(values: Array, height: int, width: int) -> None:
    """What every view asks of its input: raises `ValueError` for other values or sizes."""
    if values.ndim != 2 or not is_floating(values) or values.shape[1] == 0:
        raise ValueError(
            "values must be a floating point tensor of shape (N, T) with at least one step, got "
            f"{values.dtype} of shape {tuple(values.shape)}"
        )
    for name, size in (("height", height), ("width", width)):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be a whole number of pixels, at least 1, got {size!r}")


def plots_per_chunk(values: Array, plot_bytes: int) -> int:
    """How many plots to draw at once, where `values` are, if each takes `plot_bytes` of scratch memory."""
    on_cpu = isinstance(values, np.ndarray) or values.device.type == "cpu"
    return max(1, (_CHUNK_BYTES_CPU if on_cpu else _CHUNK_BYTES) // plot_bytes)


def _may_look(values: Array) -> bool:
    """Whether numbers can be looked at for nothing: an accelerator would have to wait, a graph cannot branch."""
    if isinstance(values, np.ndarray):
        return True
    return bool(values.device.type == "cpu" and not namespace(values).compiler.is_compiling())


def _check_line_arguments(values: Array, height: int, width: int, line_width: float, margin: float) -> None:
    check_plot_arguments(values, height, width)
    if not (math.isfinite(line_width) and line_width > 0):
        raise ValueError(f"line_width must be a positive number of pixels, got {line_width!r}")
    if not 0 <= margin < min(height, width) / 2:
        raise ValueError(
            f"margin must be at least 0 and below half of the {height} x {width} image, got {margin!r} "
            f"(by default half the line width plus 0.5; line_width is {line_width!r})"
        )


def _columns_met(
    count: int, start: float, step: float, span: float, radius: float, width: int, values: Array
) -> tuple[Array, Array, Array]:
    """Which sample lines each of `count` shapes meets: shape i reaches in x from `start + i * step - radius` to
    `start + i * step + span + radius`.

    Returns three (count, J) arrays where `values` are: pixel column of each sample line; its distance in x from
    `start + i * step`; and its weight, 0 where it does not meet the shape or lies outside of the image.
    """
    left = start + step * np.arange(count, dtype=np.float64)[:, None]
    subcolumns = _SUBCOLUMNS_WIDE if step >= _WIDE_STEP else _SUBCOLUMNS
    number = math.ceil((span + 2 * radius) * subcolumns) + 1
    line = np.floor((left - radius) * subcolumns) + np.arange(number)  # (count, J)
    offset = (line + 0.5) / subcolumns - left
    met = (offset > -radius) & (offset < span + radius) & (line >= 0) & (line < width * subcolumns)
    column = np.clip(np.floor(line / subcolumns), 0, width - 1)
    xp = namespace(values)
    return like(column, values, xp.int64), like(offset, values, xp.float32), like(met / subcolumns, values, xp.float32)


def _covered_area(
    y: Array,
    observed: Array,
    step: float,
    radius: float,
    strokes: tuple[Array, Array, Array],
    joints: tuple[Array, Array, Array],
    height: int,
    width: int,
) -> Array:
    """Area (N, height, width) that capsules less joints cover in each pixel; above 1 where strokes overlap."""
    xp = namespace(y)
    if _may_look(y) and bool(observed.all()):
        observed = observed[:1]  # all plots alike: weights are worked out once
    y = y[..., None]  # (N, T, 1)
    rise = y[:, 1:] - y[:, :-1]  # (N, T - 1, 1)
    joined = cast(observed[:, 1:] & observed[:, :-1], xp.float32)[..., None]
    # Two rows more than the image has: an edge at its bottom writes below it.
    change = zeros((y.shape[0], (height + 2) * width), y)

    column, offset, weight = strokes
    top, bottom = _capsule(offset, y[:, :-1], rise, step, radius)  # (N, T - 1, J)
    _add_intervals(change, top, bottom, weight * joined, column, height, width)

    column, offset, weight = joints
    half = xp.sqrt(xp.clip(radius**2 - xp.square(offset), 0, None))
    top, bottom = y - half, y + half  # (N, T, J)
    if y.shape[1] > 2:
        inner = slice(1, -1)
        before = _capsule(offset[inner] + step, y[:, :-2], rise[:, :-1], step, radius)
        after = _capsule(offset[inner], y[:, inner], rise[:, 1:], step, radius)
        clean = (joined[:, 1:] * joined[:, :-1] > 0) & _edges_meet(rise, step, radius)
        turns = ~clean[..., 0]  # (N, T - 2); whole rows are moved, which is far faster than choosing number by number
        shared = xp.maximum(before[0], after[0]), xp.minimum(before[1], after[1])
        for disc, both in zip((top, bottom), shared, strict=True):
            both[turns] = disc[:, inner][turns]
            disc[:, inner] = both
    # What two capsules share is counted twice: take it off once. An isolated step has no capsule: add its disc.
    count = cast(observed, xp.float32)[..., None]
    count[:, 1:] -= joined
    count[:, :-1] -= joined
    _add_intervals(change, top, bottom, weight * count, column, height, width)

    area = change.reshape(-1, height + 2, width)[:, :height]
    return accumulate(area, 1)


def _capsule(offset: Array, y: Array, rise: Array, step: float, radius: float) -> tuple[Array, Array]:
    """Top and bottom of the capsules around segments from (0, y) to (step, y + rise), at `offset` in x."""
    xp = namespace(y)
    # An outline's point belongs to the disc around that point of the segment where outline and segment are parallel.
    shift = radius * rise / xp.hypot(rise, xp.full_like(rise, step))
    ends = []
    for sign, move in ((-1, xp.subtract), (1, xp.add)):
        along = offset + sign * shift
        xp.clip(along, 0, step, out=along)
        half = offset - along
        half *= half
        half = radius**2 - half
        xp.clip(half, 0, None, out=half)
        xp.sqrt(half, out=half)
        along *= rise / step
        along += y
        ends.append(move(along, half, out=along))
    return ends[0], ends[1]


def _edges_meet(rise: Array, step: float, radius: float) -> Array:
    """Whether, at each inner step, the two strokes' inner edges intersect before either stroke ends: (N, T - 2, 1).

    There the outline turns cleanly and all that the strokes share counts once. Elsewhere (a sharp turn between short
    segments) Agg's outline overlaps itself beyond the joint's disc and counts twice; see `inner_miter` in
    agg_math_stroke.h, where 1.01 comes from, too.
    """
    xp = namespace(rise)
    length = xp.hypot(rise, xp.full_like(rise, step))
    before, after = length[:, :-1], length[:, 1:]
    cosine = (rise[:, :-1] / before) * (rise[:, 1:] / after) + (step / before) * (step / after)
    shorter = xp.clip(xp.minimum(before, after), 1.01 * radius, None)
    return radius**2 <= xp.square(shorter) * (1 + cosine) / 2


def _add_intervals(
    change: Array, top: Array, bottom: Array, weight: Array, column: Array, height: int, width: int
) -> None:
    """Add to `change` (N, (height + 2) * width), whose running sum down the rows is the ink, vertical intervals
    of the given weight; `top` and `bottom` (N, count, J), `weight` (N or 1, count, J), `column` (count, J)."""
    xp, num_plots = namespace(change), change.shape[0]
    # Places are counted in float32, which is faster, as far as it holds all whole numbers.
    counts = xp.float32 if change.shape[1] <= _WHOLE_NUMBERS else xp.int64
    column = cast(column, counts)
    for edge, amount in ((top, weight), (bottom, -weight)):
        edge = xp.clip(edge, 0, height)
        edge *= _SUBROWS
        xp.round(edge, out=edge)
        edge *= 1 / _SUBROWS
        row = xp.floor(edge)
        edge -= row
        edge *= amount  # what lies below the edge's row, of the pixel that it crosses
        pixel = cast(row, counts)
        pixel *= width
        pixel += column
        index, below = cast(pixel, xp.int64).reshape(num_plots, -1), edge.reshape(num_plots, -1)
        add_at(change[:, : height * width + width], index, (amount - edge).reshape(num_plots, -1))
        add_at(change[:, width:], index, below)


__all__ = ["apply_color", "check_plot_arguments", "plots_per_chunk", "render_line", "variate_colors"]
