# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365) of a model's answer, on raw values; by captum.

The rule. All inputs of a model go from a baseline to the sample along one straight line together, and each gets what
the answer changed on its account; together that is the whole change of the answer (completeness). The inputs are

- `series`: raw values, differentiated through gaps, level and scale, scaling and patches. A step that is missing has
  no part in it: where a gap was filled, its neighbours bear what the filling said.
- `vision`: the pixels of the plots, where the answer depends on them. Drawing is not differentiable: what goes along
  the line is a blend of two images, that of the baseline and that of the sample. Each pixel's share goes to the step
  that it was drawn for, the nearest one that is observed; in a view whose rows are time, too, half of it to that of
  the row. In a view of your own, time is taken to run from left to right.
- `static`: encoded static values, summed over the categories of a column.
- `future`: encoded covariates that are known in advance, in the same way, at each step of context and horizon.

The baseline is the mean of the training part at every step, with no category more likely than another. Under
`scaling="instance"` it is the sample's own mean, and the sample's own level and spread are kept for all of the line:
what is explained is the answer's change because the series is not flat. A baseline of your own is another series in
raw units, and then level and spread are differentiated through, too.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.tables import some_of, warn_caller
from ..model.messages import one_run
from ..model.preprocessing import instance_statistics, tile_places
from ..model.processor_checks import tiles_of, views_of
from .answers import Answerer, baseline_values
from .series_batch import SeriesBatch

# Points on the line: at first, and at most, for samples of which the shares do not add up yet.
_STEPS, _MOST_STEPS = 32, 512
# Shares that miss the change of the answer by less than this part of it are good.
_GOOD = 0.005
_ROUNDING = 8 * float(np.finfo(np.float32).eps)
_VIEWS_OF_PAIRS = ("gasf", "gadf", "mtf", "recurrence")


class Attributed:
    """What integrated gradients gave.

    Attributes:
        series: `(n, T, V)`, in the unit of the answer; zeros where the model does not read them.
        vision: `(n, T, V)`, or `None`; `pixels` `(n, V, height, width)`, what it was summed from.
        static: `(n, columns)`, or `None`; `static_names` of the columns.
        future: `(n, T + H, covariates)`, or `None`, of `Answerer.known`.
        answers, baselines: `(n,)`, the answer for the samples, and for their baselines.
    """

    def __init__(self, series: SeriesBatch, answerer: Answerer):
        count, (length, variates) = len(series), series.values.shape[1:]
        self.series = np.zeros((count, length, variates))
        self.pixels: NDArray[np.float64] | None = None
        self.vision: NDArray[np.float64] | None = None
        self.static: NDArray[np.float64] | None = None
        self.static_names = [column["name"] for column in answerer.static_columns]
        self.future: NDArray[np.float64] | None = None
        self.known = answerer.known
        self.answers, self.baselines = np.zeros(count), np.zeros(count)
        if series.static is not None:
            self.static = np.zeros((count, len(self.static_names)))
        if series.future is not None:
            self.future = np.zeros((*series.future.shape[:2], len(self.known)))

    @property
    def total(self) -> NDArray[np.float64]:
        """Sum of all shares, `(n,)`."""
        parts = [part for part in (self.series, self.vision, self.static, self.future) if part is not None]
        return sum(part.reshape(len(part), -1).sum(axis=1) for part in parts)  # type: ignore[return-value]

    @property
    def cells(self) -> NDArray[np.float64]:
        """Shares of the series on all ways `(n, T, V)`, those of the past of covariates among them."""
        found = self.series.copy() if self.vision is None else self.series + self.vision
        for number, one in enumerate(self.known):
            if one.variate is not None and self.future is not None:
                found[..., one.variate] += self.future[:, : found.shape[1], number]
        return found


def integrated_gradients(
    answerer: Answerer, series: SeriesBatch, classes: NDArray[np.int64] | None, baseline: SeriesBatch | None = None
) -> Attributed:
    """Attributes the answer to raw values, pixels and static values, see the rule above.

    Args:
        answerer: the model and what it is asked for.
        series: samples.
        classes: of each sample, where no class was asked for.
        baseline: samples whose mean is the baseline; `None`: see above.

    Raises:
        ImportError: captum is not installed.
    """
    method = _captum()
    found = Attributed(series, answerer)
    start = None if baseline is None else baseline_values(baseline)
    beside = _beside_baseline(answerer, baseline)
    images = "pixel_values" in answerer.reads
    together = 1 if images else max(1, answerer.batch_size // 8)
    missed: list[Any] = []
    with one_run():
        for first in range(0, len(series), together):
            rows = np.arange(first, min(first + together, len(series)))
            own = None if classes is None else torch.as_tensor(classes[rows], device=answerer.device)
            part = _Line(answerer, series.at(rows), start, beside, own)
            shares, good = part.attribute(method)
            _note(found, rows, part, shares)
            missed += [series.names[row] for row, right in zip(rows, good, strict=True) if not right]
    if missed:
        warn_caller(
            f"attributions of the samples {some_of(missed)} do not add up to the change of the answer within "
            f"{_GOOD:.1%}: along the way from the baseline it jumps (see `samples` of the explanation)"
        )
    if found.pixels is not None:
        if answerer.config.layout == "grid":
            found.pixels = _out_of_grid(found.pixels, answerer.config.num_drawn_variates)
        colours, views = np.moveaxis(found.pixels, 2, 0), views_of(answerer.processor)
        colours = colours if len(views) > 1 else colours.sum(axis=0)[None]
        found.vision = np.zeros(series.observed.shape)
        for view, pixels in zip(views, colours, strict=True):  # of several views, each has a colour of its own
            found.vision += _by_step(pixels, series.observed, answerer.processor, view)
        found.pixels = found.pixels.sum(axis=2)
    return found


class _Line:
    """The straight line from a baseline to some samples, and the answer along it."""

    def __init__(
        self, answerer: Answerer, series: SeriesBatch, start: NDArray[np.float64] | None, beside: dict[str, Tensor],
        classes: Tensor | None,
    ):  # fmt: skip
        self.answerer, self.classes = answerer, classes
        self.values, self.observed, static, future = answerer.tensors(series)
        processor, level = answerer.processor, None
        if start is not None:
            base = torch.as_tensor(start, dtype=self.values.dtype, device=self.values.device).expand_as(self.values)
        elif processor.scaling == "instance":
            fitted: Any = (processor.statistics or {}).get("variates", {}).get("std", 1.0)
            own = torch.as_tensor(fitted, dtype=self.values.dtype, device=self.values.device)
            level = instance_statistics(self.values, self.observed, own)
            base = level[0][:, None].expand_as(self.values)
        else:
            base = self._training_mean()
        self.level: Any = level
        base = torch.where(self.observed, base, 0)
        self.inputs: dict[str, tuple[Tensor, Tensor]] = {"series": (base, self.values)}
        if "pixel_values" in answerer.reads:
            images = [self._batch(values)["pixel_values"].detach() for values in (base, self.values)]
            self.inputs["vision"] = (images[0], images[1])
        for name, end in {"static": static, "future": future}.items():
            if end is not None:
                self.inputs[name] = (beside[name].to(end).expand_as(end), end)

    def _training_mean(self) -> Tensor:
        statistics = self.answerer.processor.statistics
        if statistics is None:
            raise ValueError("the processor was never fitted and knows no mean to compare with: pass baseline=samples")
        return self.values.new_tensor(statistics["variates"]["mean"]).expand_as(self.values)

    def _batch(
        self, values: Tensor, images: Tensor | None = None, static: Tensor | None = None,
        future: Tensor | None = None, times: int = 1,
    ) -> Any:  # fmt: skip
        level: Any = None if self.level is None else tuple(part.repeat(times, 1) for part in self.level)
        return self.answerer.batch(values, self.observed.repeat(times, 1, 1), static, future, images, level)

    def _answer(self, *inputs: Tensor) -> Tensor:
        """The number for points on the line; captum puts those of all samples behind each other, point by point."""
        given = dict(zip(self.inputs, inputs, strict=True))
        times = len(inputs[0]) // len(self.values)
        beside = {name: given.get(name) for name in ("static", "future")}
        batch = self._batch(given["series"], given.get("vision"), **beside, times=times)
        classes = None if self.classes is None else self.classes.repeat(times)
        number = self.answerer.number(batch, classes).double()
        # captum wants a gradient of each input, also of those that this answer does not depend on.
        return number + sum(0 * one.flatten(1).sum(dim=1) for one in inputs)

    def attribute(self, method: Any) -> tuple[dict[str, Tensor], NDArray[np.bool_]]:
        """Shares of each input, and whether they add up; with more points where they do not."""
        starts, ends = (tuple(pair[k] for pair in self.inputs.values()) for k in (0, 1))
        with torch.no_grad():
            self.baselines, self.answers = self._answer(*starts), self._answer(*ends)
        change = (self.answers - self.baselines).cpu().numpy()
        size = np.maximum(np.abs(self.answers.cpu().numpy()), np.abs(self.baselines.cpu().numpy()))
        best: dict[str, Tensor] = {}
        steps, best_error = _STEPS, np.full(len(change), np.inf)
        while True:
            shares = method(self._answer).attribute(
                ends, starts, n_steps=steps, internal_batch_size=max(len(change), self.answerer.batch_size)
            )
            total = sum(share.flatten(1).sum(dim=1) for share in shares).cpu().numpy()
            error = np.abs(total - change)
            found = dict(zip(self.inputs, shares, strict=True))
            if not best:
                best = {name: share.clone() for name, share in found.items()}
            better = error < best_error
            for name, share in found.items():
                best[name][better] = share[better]
            best_error = np.minimum(error, best_error)
            good = best_error <= np.maximum(_GOOD * np.abs(change), _ROUNDING * size)
            if good.all() or steps >= _MOST_STEPS:
                return best, good
            steps *= 4


def _note(found: Attributed, rows: NDArray[np.int64], line: _Line, shares: dict[str, Tensor]) -> None:
    """Shares of some samples to their places."""
    found.series[rows] = shares["series"].cpu().numpy()
    found.answers[rows], found.baselines[rows] = (part.cpu().numpy() for part in (line.answers, line.baselines))
    if "vision" in shares:
        pixels = shares["vision"].double().cpu().numpy()  # (n, V, 3, height, width)
        if found.pixels is None:
            found.pixels = np.zeros((len(found.answers), *pixels.shape[1:]))
        found.pixels[rows] = pixels
    if found.static is not None and "static" in shares:
        widths = [len(column.get("categories", [0])) for column in line.answerer.static_columns]
        parts = shares["static"].double().cpu().numpy()
        cut = np.split(parts, np.cumsum(widths)[:-1], axis=1)
        found.static[rows] = np.stack([part.sum(axis=1) for part in cut], axis=1)
    if found.future is not None and "future" in shares:
        parts = shares["future"].double().cpu().numpy()
        found.future[rows] = np.stack([parts[..., one.place].sum(axis=-1) for one in found.known], axis=-1)


def _by_step(
    pixels: NDArray[np.float64], observed: NDArray[np.bool_], processor: Any, view: str
) -> NDArray[np.float64]:
    """Shares of pixels `(n, V, height, width)` as shares of steps `(n, T, V)`."""
    length = observed.shape[1]
    height, width = pixels.shape[2:]
    if len(tiles := tiles_of(view)) > 1:
        places_of = zip(tiles, tile_places(len(tiles), height, width), strict=True)
        parts = [
            _by_step(pixels[:, :, top : top + high, left : left + wide], observed, processor, tile)
            for tile, (top, left, high, wide) in places_of
        ]
        return np.sum(parts, axis=0)
    if view == "stacked":
        found = np.zeros(observed.shape)
        places = _stacked_places(height, width, length)
        _add(found, pixels.reshape(*pixels.shape[:2], -1), places, observed)
        return found
    pairs = view in _VIEWS_OF_PAIRS
    found = np.zeros(observed.shape)
    columns = pixels.sum(axis=2) * (0.5 if pairs else 1.0)  # (n, V, width)
    _add(found, columns, _places(width, length, processor, view), observed)
    if pairs:
        rows = pixels.sum(axis=3)[..., ::-1] * 0.5  # time runs upwards
        _add(found, rows, _places(height, length, processor, view), observed)
    return found


def _out_of_grid(pixels: NDArray[np.float64], variates: int) -> NDArray[np.float64]:
    """Shares of the pixels of one image for all `(n, 1, 3, height, width)` as those of each variate's plot in it."""
    places = tile_places(variates, *pixels.shape[3:])
    plots = [pixels[:, 0, :, top : top + height, left : left + width] for top, left, height, width in places]
    return np.stack(plots, axis=1)  # what is left is paper, in both images that are blended


def _stacked_places(height: int, width: int, length: int) -> NDArray[np.float64]:
    """The step of each pixel of `render_stacked`, row by row."""
    size = math.isqrt(length)
    step = max(1, size // 10)
    front = -(length - size) % step
    windows = (length + front - size) // step + 1
    row, column = np.arange(height) * windows // height, np.arange(width) * size // width
    return (row[:, None] * step + column - front).clip(min=0).astype(float).ravel()


def _places(size: int, length: int, processor: Any, view: str) -> NDArray[np.float64]:
    """The place on the axis of steps of the middle of each pixel `(size,)`."""
    middle = np.arange(size) + 0.5
    if view != "line":
        return middle * length / size - 0.5
    margin = processor.line_width / 2 + 0.5
    return (middle - margin) / max(size - 2 * margin, 1e-9) * (length - 1)


def _add(
    found: NDArray[np.float64], shares: NDArray[np.float64], places: NDArray[np.float64], observed: NDArray[np.bool_]
) -> None:
    """Adds shares `(n, V, size)` to the nearest observed steps of `(n, T, V)`."""
    for row in range(len(shares)):
        for variate in range(shares.shape[1]):  # those that are drawn, the first ones
            steps = np.flatnonzero(observed[row, :, variate])
            nearest = steps[np.abs(places[:, None] - steps).argmin(axis=1)]
            np.add.at(found[row, :, variate], nearest, shares[row, variate])


def _beside_baseline(answerer: Answerer, baseline: SeriesBatch | None) -> dict[str, Tensor]:
    """Of static values `(width,)` and covariates known in advance `(T + H, width)`, or `(width,)` at all steps: the
    mean of the baseline's samples, or of the training part, all categories being alike."""
    found = {}
    for name, columns in {"static": answerer.static_columns, "future": answerer.future_columns}.items():
        given = None if baseline is None else getattr(baseline, name)
        if given is not None:
            found[name] = torch.as_tensor(given.mean(axis=0))
        elif columns:
            found[name] = torch.as_tensor(np.concatenate([_mean_of(column) for column in columns]))
    return found


def _mean_of(column: Mapping[str, Any]) -> NDArray[np.float64]:
    """The mean of the training part, as it is encoded."""
    if "categories" in column:
        return np.full(len(column["categories"]), 1 / len(column["categories"]))
    return np.zeros(1)


def _captum() -> Any:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ImportError(
            "integrated gradients need captum: pip install 'timesclip-hf[explain]', or ask for "
            "methods=['removal'] alone"
        ) from error
    return IntegratedGradients


__all__ = ["Attributed", "integrated_gradients"]
