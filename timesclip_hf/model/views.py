# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""All seven ways to draw a series by name, and the six that are no line plot (which is in `rendering.py`).

Every view is a pure function of (N, T) floating point tensors on any device, values on an axis of [0, 1] (NaN = gap),
and of the image's `height` and `width` in pixels. It gives (N, height, width) intensities in [0, 1], same dtype;
other values or sizes raise `ValueError`. Intensity 0 is blank paper (white, once the processor has put colour on), 1
the variate's full colour. Row 0 is the top; time runs from left to right. Where rows are time, too (`gasf`, `gadf`,
`mtf`, `recurrence`), it runs upwards, as in Eckmann's recurrence plots: the pair (i, j) stands i steps above the lower
left corner and j steps to its right. A spectrogram's frequency runs upwards.

Matrices are fitted to the image along each axis by itself: more steps than pixels are averaged by the area that each
takes of a pixel, fewer are interpolated linearly (`stacked` takes the nearest). Where rows are time, too, a pixel
that a missing step has any share in carries no ink.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .precision import rounding_noise
from .preprocessing import fill_missing
from .processor_checks import BUILT_IN_VIEWS, OWN_VIEWS
from .rendering import check_plot_arguments, plots_per_chunk, render_line

# Values beyond the axis by more than this would only overflow.
_FAR = 1000.0


@torch.no_grad()
def render_gasf(values: Tensor, height: int, width: int) -> Tensor:
    """Gramian angular summation field: cos(phi_i + phi_j) with phi = arccos(2 * value - 1).

    Intensity is (1 + cos) / 2, so that a pair of steps both at the middle of the axis (cos = -1) is blank, and a pair
    both at its top or both at its bottom has full ink. Values beyond the axis count as 0 or 1.

    Source: Wang and Oates 2015, arXiv 1506.00327.
    """
    return _render(values, height, width, lambda part: _gramian(part, height, width, difference=False))


@torch.no_grad()
def render_gadf(values: Tensor, height: int, width: int) -> Tensor:
    """Gramian angular difference field: sin(phi_i - phi_j) with phi = arccos(2 * value - 1).

    Intensity is (1 + sin) / 2: equal steps, so also the diagonal and a constant series, are half ink.
    Values beyond the axis count as 0 or 1.

    Source: Wang and Oates 2015, arXiv 1506.00327.
    """
    return _render(values, height, width, lambda part: _gramian(part, height, width, difference=True))


@torch.no_grad()
def render_mtf(values: Tensor, height: int, width: int, num_bins: int = 8) -> Tensor:
    """Markov transition field: how often the series goes from the bin that step i is in to that of step j.

    The bins hold equal shares of the series' own observed values (borders are quantiles; a value on a border belongs
    to the lower bin), so the level on the axis does not matter. Transitions are counted between neighbouring steps
    that are both observed, and each bin's shares sum to 1; a bin that is never left has zeros. A constant series is
    all ink; a single step is blank.

    Args:
        num_bins: quantile bins, at least 2. Default 8.

    Source: Wang and Oates 2015, arXiv 1506.00327.
    """
    if isinstance(num_bins, bool) or not isinstance(num_bins, int) or num_bins < 2:
        raise ValueError(f"num_bins must be a whole number, at least 2, got {num_bins!r}")
    return _render(values, height, width, lambda part: _transitions(part, height, width, num_bins), num_bins)


@torch.no_grad()
def render_recurrence(values: Tensor, height: int, width: int) -> Tensor:
    """Recurrence plot without a threshold: 1 - |value_i - value_j|.

    Eckmann et al. dot the pairs of steps closer than a radius; here the ink fades with their distance instead, so that
    no radius need be chosen: equal values are full ink, values as far apart as the whole axis, or farther, are blank.
    Single values are compared, without time delay embedding.

    Source: Eckmann, Kamphorst and Ruelle 1987, Europhysics Letters 4 (9).
    """
    num_steps = values.shape[-1]
    return _render(values, height, width, lambda part: _closeness(part, height, width), 2 * num_steps)


@torch.no_grad()
def render_spectrogram(
    values: Tensor, height: int, width: int, window_length: int | None = None, dynamic_range: float = 40.0
) -> Tensor:
    """Short-time Fourier magnitude in decibels below the plot's own peak, one Hann window around every step.

    The mean is removed first, and the series mirrored at its ends for the windows that reach beyond them. Ink is 1 at
    the plot's peak and falls to 0 at `dynamic_range` decibels below it. Gaps are filled by straight lines before. The
    `window_length // 2 + 1` frequencies, from 0 at the bottom to half a cycle per step at the top, take bands of equal
    height. A constant series, or one with nothing observed, is blank.

    Args:
        window_length: steps in a window, from 2 to T. Default: the largest even number not above half of T, but at
            least 2.
        dynamic_range: decibels from full ink to none, above 0. Default 40, a hundredth of the peak's magnitude.

    Source: Gabor 1946, "Theory of communication"; the transform is `torch.stft`.
    """
    check_plot_arguments(values, height, width)
    num_steps = values.shape[1]
    if window_length is None:
        window_length = min(num_steps, max(2, num_steps // 4 * 2))
    elif isinstance(window_length, bool) or not isinstance(window_length, int) or not 2 <= window_length <= num_steps:
        raise ValueError(f"window_length must be from 2 to the series' {num_steps} steps, got {window_length!r}")
    if not 0 < dynamic_range < torch.inf:
        raise ValueError(f"dynamic_range must be a positive number of decibels, got {dynamic_range!r}")

    def draw(part: Tensor) -> Tensor:
        decibels = _decibels(part, window_length)  # (n, F, T)
        rows = _shares(decibels.shape[1], height, part.device)
        return _fit((1 + decibels / dynamic_range).clamp(min=0), rows, _shares(num_steps, width, part.device))

    return _render(values, height, width, draw, 4 * window_length)


@torch.no_grad()
def render_stacked(values: Tensor, height: int, width: int) -> Tensor:
    """Overlapping windows of the series as rows of a grey picture, the first on top (TiViT, arXiv 2506.08641).

    Its published parameters (`--patch_size sqrt --stride 0.1` of its repository's commands, and its code): windows of
    sqrt(T) steps (rounded down), a tenth of that apart (one step at least), the first value repeated in front until
    they fit; the 0.8th power of the values for contrast; the nearest value in every pixel. Values are those of the
    axis, which is the series' own range with `value_range="window"`, as published. Missing steps are 0, black.

    Args:
        values: (N, T) in [0, 1], NaN = gap.
        height, width: of the pictures, in pixels.

    Returns:
        (N, height, width), row 0 at the top.
    """

    def draw(part: Tensor) -> Tensor:
        size = math.isqrt(part.shape[1])
        step = max(1, size // 10)
        front = -(part.shape[1] - size) % step
        level = torch.nn.functional.pad(part[:, None], (front, 0), mode="replicate")[:, 0]
        rows = level.nan_to_num().clamp(0, 1).pow(0.8).unfold(1, size, step)  # (n, windows, size)
        row, column = (
            torch.arange(pixels, device=part.device) * count // pixels
            for pixels, count in ((height, rows.shape[1]), (width, size))
        )
        return rows[:, row][:, :, column].flip(1)  # `_render` counts rows from the bottom

    return _render(values, height, width, draw)


VIEWS: dict[str, Callable[..., Tensor]] = {
    "line": render_line,
    "gasf": render_gasf,
    "gadf": render_gadf,
    "mtf": render_mtf,
    "recurrence": render_recurrence,
    "spectrogram": render_spectrogram,
    "stacked": render_stacked,
}


def register_view(name: str, render: Callable[[Tensor, int, int], Tensor]) -> None:
    """Makes a view of your own known to processors: `TimesCLIPProcessor(view=name)`, alone or among three.

    A function is no part of a saved processor: each process that loads one calls this first, and is told where it did
    not. Registered again, a name means the newer function. Processors in torch alone draw it, not `NumpyProcessor`.

    Args:
        name: in letters, digits and underscores; not one of `VIEWS`' own.
        render: of `values` `(N, T)` in [0, 1] on the value axis (NaN = gap), `height` and `width` in pixels, to
            intensities `(N, height, width)` in [0, 1], 0 being blank paper, row 0 the top, on the device of `values`.

    Raises:
        ValueError: a name that is taken or none, or a function that draws something else.

    Example:

    ```python
    >>> def steps(values, height, width):  # a bar for each step
    ...     level = values.nan_to_num().repeat_interleave(-(-width // values.shape[1]), dim=1)[:, :width]
    ...     rows = torch.arange(height, 0, -1, device=values.device) / height
    ...     return (rows[None, :, None] <= level[:, None]).to(values.dtype)
    >>> register_view("steps", steps)
    >>> processor = TimesCLIPProcessor(context_length=36, view="steps")
    ```
    """
    if not isinstance(name, str) or not name.isidentifier() or name in BUILT_IN_VIEWS:
        raise ValueError(f"name must be letters, digits and underscores, and none of {BUILT_IN_VIEWS}, got {name!r}")
    probe = torch.linspace(0, 1, 12).reshape(2, 6)
    probe[1, 2] = torch.nan
    drawn = render(probe, 8, 10)
    shape = tuple(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
    if shape != (2, 8, 10):
        raise ValueError(f"view {name!r} draws {shape} of two series at 8 x 10 pixels, expected (2, 8, 10)")
    if not bool(((drawn >= 0) & (drawn <= 1)).all()):
        raise ValueError(f"view {name!r} draws intensities outside of 0 to 1, or no numbers, where a step is missing")
    VIEWS[name] = render
    OWN_VIEWS.add(name)


def _render(
    values: Tensor, height: int, width: int, draw: Callable[[Tensor], Tensor], numbers_per_step: int = 2
) -> Tensor:
    """`draw` for some plots at a time, in float32 whatever the surrounding autocast says, with row 0 at the top.

    `draw` takes (n, T) values and returns (n, height, width) with row 0 at the bottom; `numbers_per_step` is the
    scratch memory it needs beside images.
    """
    check_plot_arguments(values, height, width)
    num_plots, num_steps = values.shape
    images = values.new_empty(num_plots, height, width, dtype=torch.float32)
    plot_bytes = 4 * (3 * height * width + num_steps * (numbers_per_step + height))
    chunk = plots_per_chunk(values, plot_bytes)
    with torch.autocast(values.device.type, enabled=False):
        for first in range(0, num_plots, chunk):
            part = values[first : first + chunk].float().clamp(-_FAR, _FAR)
            torch.clamp(draw(part).flip(1), 0, 1, out=images[first : first + chunk])
    return images.to(values.dtype)


def _shares(count: int, size: int, device: torch.device) -> Tensor:
    """(size, count): the share that each of `count` steps has in each of `size` pixels; every row sums to 1.

    In whole numbers, so that a step which only touches a pixel's border has a share of exactly 0.
    """
    pixel, step = torch.arange(size, device=device)[:, None], torch.arange(count, device=device)
    if count > size:  # in units of 1 / size of a step: pixels are `count` long, steps `size`
        end = torch.minimum((pixel + 1) * count, (step + 1) * size)
        overlap = end - torch.maximum(pixel * count, step * size)
        return overlap.clamp(min=0).float() / count
    # In units of 1 / (2 * size) of a step: from a step's centre its share falls to 0 at that of the next.
    centre = ((2 * pixel + 1) * count - size).clamp(0, 2 * size * (count - 1))
    return (2 * size - (centre - 2 * size * step).abs()).clamp(min=0).float() / (2 * size)


def _fit(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(n, I, J) to (n, height, width), given the shares (height, I) and (width, J)."""
    return rows @ (matrix @ columns.T)


def _fit_pairs(part: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shares of the steps in rows (height, T) and columns (width, T), and (n, height, width) which pixels are blank
    because a missing step has a share in them."""
    rows, columns = (_shares(part.shape[1], size, part.device) for size in (height, width))
    missing = part.isnan().float()
    row, column = (missing @ (shares > 0).float().T > 0 for shares in (rows, columns))
    return rows, columns, row[:, :, None] | column[:, None, :]


def _gramian(part: Tensor, height: int, width: int, difference: bool) -> Tensor:
    rows, columns, blank = _fit_pairs(part, height, width)
    level = part.nan_to_num().clamp(0, 1)
    cosine, sine = 2 * level - 1, 2 * (level * (1 - level)).sqrt()
    # Sums of angles, taken apart, are products of a row's and a column's part: each is fitted before they multiply,
    # and no T x T matrix is ever held.
    (cos_i, sin_i), (cos_j, sin_j) = (((cosine @ s.T), (sine @ s.T)) for s in (rows, columns))
    if difference:
        field = sin_i[:, :, None] * cos_j[:, None] - cos_i[:, :, None] * sin_j[:, None]
    else:
        field = cos_i[:, :, None] * cos_j[:, None] - sin_i[:, :, None] * sin_j[:, None]
    return ((1 + field) / 2).masked_fill_(blank, 0)


def _transitions(part: Tensor, height: int, width: int, num_bins: int) -> Tensor:
    rows, columns, blank = _fit_pairs(part, height, width)
    observed = ~part.isnan()
    member = torch.nn.functional.one_hot(_quantile_bins(part, num_bins), num_bins).float()  # (n, T, bins)
    both = (observed[:, 1:] & observed[:, :-1])[..., None]
    counts = (member[:, :-1] * both).transpose(1, 2) @ member[:, 1:]  # (n, bins, bins)
    shares = counts / counts.sum(dim=2, keepdim=True).clamp(min=1)
    # Entry (i, j) is member_i @ shares @ member_j: as for the Gramian, both sides are fitted before they multiply.
    return ((rows @ member) @ shares @ (columns @ member).transpose(1, 2)).masked_fill_(blank, 0)


def _quantile_bins(part: Tensor, num_bins: int) -> Tensor:
    """The bin of each value, (n, T) from 0 to `num_bins` - 1; that of a gap has no meaning."""
    ordered = part.sort(dim=1).values  # NaN last
    last = ((~part.isnan()).sum(dim=1, keepdim=True) - 1).clamp(min=0)
    # Whole numbers: where a quantile is one of the values, it is exactly that value.
    position = torch.arange(1, num_bins, device=part.device) * last  # (n, bins - 1), in units of 1 / bins
    index = position // num_bins
    low, high = ordered.gather(1, index), ordered.gather(1, torch.minimum(index + 1, last))
    return torch.searchsorted(low + (high - low) * (position % num_bins / num_bins), part.contiguous())


def _closeness(part: Tensor, height: int, width: int) -> Tensor:
    rows, columns, blank = _fit_pairs(part, height, width)
    level = part.nan_to_num()
    distance = (level[:, :, None] - level[:, None, :]).abs_().clamp_(max=1)  # (n, T, T)
    return (1 - _fit(distance, rows, columns)).masked_fill_(blank, 0)


def _decibels(part: Tensor, window_length: int) -> Tensor:
    """Magnitude relative to each series' peak, (n, F, T), at most 0; minus infinity for constant series."""
    level = fill_missing(part[..., None], ~part.isnan()[..., None])[..., 0]
    centred = level - level.mean(dim=1, keepdim=True)
    spread, magnitude = level.amax(dim=1) - level.amin(dim=1), level.abs().amax(dim=1).clamp(min=1)
    centred[spread <= rounding_noise(part.dtype) * magnitude] = (
        0  # what is left is rounding noise of a constant series
    )
    window = torch.hann_window(window_length, device=part.device)
    frames = torch.stft(centred, window_length, hop_length=1, window=window, center=True, return_complex=True)
    size = frames[..., : part.shape[1]].abs()  # the last frame lies around the step after the last
    peak = size.amax(dim=(1, 2), keepdim=True)
    return 20 * (size / torch.where(peak > 0, peak, 1)).log10()


__all__ = [
    "VIEWS",
    "register_view",
    "render_gadf",
    "render_gasf",
    "render_mtf",
    "render_recurrence",
    "render_spectrogram",
    "render_stacked",
]
