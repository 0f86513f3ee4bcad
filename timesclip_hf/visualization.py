# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Figures that people look at; each function returns a matplotlib Figure, ready for `savefig`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .metrics import regression_metrics

_RASTER_COLUMNS = 4


def plot_predictions(
    predictions: ArrayLike, targets: ArrayLike, target_name: str = "target", groups: Sequence[str] | None = None
) -> Figure:
    """Predicted against observed, with the line of perfect prediction and the errors in the title.

    Args:
        predictions: `(n,)` in original units.
        targets: `(n,)`.
        target_name: name and unit, for the axes.
        groups: `n` labels (crops, sites); one colour each.
    """
    predictions, targets = np.ravel(np.asarray(predictions)), np.ravel(np.asarray(targets))
    if len(predictions) != len(targets) or (groups is not None and len(groups) != len(targets)):
        raise ValueError(
            f"predictions, targets and groups must be of one length, got {len(predictions)}, {len(targets)} and "
            f"{'none' if groups is None else len(groups)}."
        )
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    labels = np.asarray(groups if groups is not None else ["all"] * len(targets))
    for label in sorted(set(labels.tolist())):
        rows = labels == label
        axes.scatter(targets[rows], predictions[rows], s=14, alpha=0.6, linewidths=0, label=f"{label} ({rows.sum()})")
    low, high = min(targets.min(), predictions.min()), max(targets.max(), predictions.max())
    axes.plot([low, high], [low, high], color="black", linewidth=1)
    errors = regression_metrics(predictions, targets)
    axes.set_title(f"RMSE {errors['rmse']:.3f}, MAE {errors['mae']:.3f}, R2 {errors['r2']:.3f}, n = {len(targets)}")
    axes.set_xlabel(f"observed {target_name}")
    axes.set_ylabel(f"predicted {target_name}")
    axes.set_aspect("equal")
    if groups is not None:
        axes.legend(loc="upper left", fontsize="small")
    return figure


def plot_model_view(images: ArrayLike, variate_names: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """The plots of one sample exactly as the vision tower sees them, pixel by pixel.

    Args:
        images: uint8 `(V, height, width, 3)`, from `TimesCLIPProcessor.to_images`.
        variate_names: V names.
        title: above all.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be (variates, height, width, 3), got shape {images.shape}.")
    count = len(images)
    names = list(variate_names) if variate_names is not None else [f"variate {i}" for i in range(count)]
    if count == 0 or len(names) != count:
        raise ValueError(f"{len(names)} variate_names were given for {count} images.")
    columns = min(count, _RASTER_COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.4 * columns, 2.6 * rows + 0.4), layout="constrained")
    for index, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        if index >= count:
            axes.set_axis_off()
            continue
        axes.imshow(images[index], interpolation="nearest")
        axes.set_title(names[index], fontsize="medium")
        axes.set_xticks([])
        axes.set_yticks([])
    if title is not None:
        figure.suptitle(title)
    return figure


def plot_selection_attention(weights: ArrayLike, variate_names: Sequence[str] | None = None) -> Figure:
    """How much each variate (row) listens to each other (column), averaged over heads and samples.

    Args:
        weights: `(B, heads, V, V)`, `(heads, V, V)` or `(V, V)`; each row sums to 1.
        variate_names: V names.
    """
    weights = np.asarray(weights, dtype=float)
    if weights.ndim < 2 or weights.shape[-1] != weights.shape[-2]:
        raise ValueError(f"weights must end in (variates, variates), got shape {weights.shape}.")
    mean = weights.reshape(-1, *weights.shape[-2:]).mean(axis=0)
    count = len(mean)
    names = list(variate_names) if variate_names is not None else [str(i) for i in range(count)]
    if len(names) != count:
        raise ValueError(f"{len(names)} variate_names were given for {count} variates.")
    size = max(4.0, 0.6 * count)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(mean, cmap="viridis", vmin=0)
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    axes.set_xlabel("listened to")
    axes.set_ylabel("variate")
    axes.set_title("Variate selection: mean attention")
    figure.colorbar(image, ax=axes, label=f"attention (1 / {count} = {1 / count:.2f} is even)")
    return figure


__all__ = ["plot_model_view", "plot_predictions", "plot_selection_attention"]
