# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Figures that people look at; each function returns a matplotlib Figure, ready for `savefig`.

Names are shown as they are: no `$...$` in them is set as mathematics, and their first eighty characters are enough.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .escaping import label
from .metrics import regression_metrics

_AS_IT_IS: dict[str, Any] = {"parse_math": False, "usetex": False}  # properties of text that holds names
_RASTER_COLUMNS = 4
BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito 2008: told apart whatever kind of colour vision
# What `explain` looks at as one, in the order in which it is told.
PART_KINDS = {
    "variate": "variates", "span": "spans of time", "cell": "spans of a variate", "static": "static columns",
    "future": "covariates known in advance",
}  # fmt: skip
_COUNTED_CLASSES = 20  # more of them, and counts would not fit into their squares


def _variate_names(given: Sequence[str] | None, count: int, what: str = "variates") -> list[str]:
    names = list(given) if given is not None else [f"variate {i}" for i in range(count)]
    if count == 0 or len(names) != count:
        raise ValueError(f"{len(names)} variate_names were given for {count} {what}")
    return names


def _panels(
    names: Sequence[str], columns: int, width: float, height: float, title: str | None, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel under each name, row by row; `width` and `height` of each in inches."""
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.4), layout="constrained")
    panels = list(np.ravel(figure.subplots(rows, columns, squeeze=False, **options)))
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for name, axes in zip(names, panels, strict=False):
        axes.set_title(label(name), fontsize="medium", **_AS_IT_IS)
    if title is not None:
        figure.suptitle(label(title), **_AS_IT_IS)
    return figure, panels[: len(names)]


def _add_legend(owner: Axes | Figure, handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """A legend of any names; matplotlib leaves out those that begin with an underscore."""
    legend = owner.legend(handles, [str(number) for number in range(len(names))], **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, **_AS_IT_IS)


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
    if (shape := np.shape(targets))[1:] not in ((), (1,)):
        raise ValueError(f"targets have shape {shape}: plot one target at a time, targets[:, k] and predictions[:, k]")
    predictions, targets = np.ravel(np.asarray(predictions)), np.ravel(np.asarray(targets))
    if len(predictions) != len(targets) or (groups is not None and len(groups) != len(targets)):
        raise ValueError(
            f"predictions, targets and groups must be of one length, got {len(predictions)}, {len(targets)} and "
            f"{'none' if groups is None else len(groups)}"
        )
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    labels = np.array([str(group) for group in groups] if groups is not None else ["all"] * len(targets), object)
    handles, names = [], []
    for group in sorted(set(labels.tolist())):
        rows = labels == group
        handles.append(axes.scatter(targets[rows], predictions[rows], s=14, alpha=0.6, linewidths=0))
        names.append(f"{label(group)} ({rows.sum()})")
    low, high = min(targets.min(), predictions.min()), max(targets.max(), predictions.max())
    axes.plot([low, high], [low, high], color="black", linewidth=1)
    errors = regression_metrics(predictions, targets)
    axes.set_title(f"RMSE {errors['rmse']:.3f}, MAE {errors['mae']:.3f}, R2 {errors['r2']:.3f}, n = {len(targets)}")
    axes.set_xlabel(f"observed {label(target_name)}", **_AS_IT_IS)
    axes.set_ylabel(f"predicted {label(target_name)}", **_AS_IT_IS)
    axes.set_aspect("equal")
    if groups is not None:
        _add_legend(axes, handles, names, loc="upper left", fontsize="small")
    return figure


def plot_model_view(
    images: ArrayLike,
    variate_names: Sequence[str] | None = None,
    title: str | None = None,
    columns: int | None = None,
) -> Figure:
    """The plots of one sample exactly as the vision tower sees them, pixel by pixel.

    Args:
        images: uint8 `(V, height, width, 3)`, from `TimesCLIPProcessor.to_images`.
        variate_names: V names.
        title: above all.
        columns: plots beside each other; not given: up to four.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be (variates, height, width, 3), got shape {images.shape}")
    names = _variate_names(variate_names, len(images), "images")
    figure, panels = _panels(names, columns or min(len(images), _RASTER_COLUMNS), 2.4, 2.6, title)
    for axes, image in zip(panels, images, strict=True):
        axes.imshow(image, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def plot_selection_attention(weights: ArrayLike, variate_names: Sequence[str] | None = None) -> Figure:
    """How much each variate (row) listens to each other (column), averaged over heads and samples.

    Args:
        weights: `(B, heads, V, V)`, `(heads, V, V)` or `(V, V)`; each row sums to 1.
        variate_names: V names.
    """
    weights = np.asarray(weights, dtype=float)
    if weights.ndim < 2 or weights.shape[-1] != weights.shape[-2]:
        raise ValueError(f"weights must end in (variates, variates), got shape {weights.shape}")
    mean = weights.reshape(-1, *weights.shape[-2:]).mean(axis=0)
    count = len(mean)
    names = [label(name) for name in _variate_names(variate_names, count)]
    size = max(4.0, 0.6 * count)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(mean, cmap="viridis", vmin=0)
    axes.set_xticks(range(count), names, rotation=90, **_AS_IT_IS)
    axes.set_yticks(range(count), names, **_AS_IT_IS)
    axes.set_xlabel("listened to")
    axes.set_ylabel("variate")
    axes.set_title("Variate selection: mean attention")
    figure.colorbar(image, ax=axes, label=f"attention (1 / {count} = {1 / count:.2f} is even)")
    return figure


def plot_forecasts(
    past_values: ArrayLike,
    labels: ArrayLike,
    predictions: Mapping[str, ArrayLike],
    variate_names: Sequence[str] | None = None,
    timestamps: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """One window, a panel for each variate: its context, what came, and what each model said would come.

    Args:
        past_values: `(T, V)` in original units.
        labels: `(H, V)`, the truth.
        predictions: model -> `(H, V)`.
        variate_names: V names.
        timestamps: `(T + H,)` dates or numbers; not given: steps, 0 being the last one of the context.
        title: above all.
    """
    past, truth = np.asarray(past_values, dtype=float), np.asarray(labels, dtype=float)
    forecasts = {name: np.asarray(forecast, dtype=float) for name, forecast in predictions.items()}
    if past.ndim != 2 or any(array.shape != (len(truth), past.shape[1]) for array in (truth, *forecasts.values())):
        shapes = [past.shape, truth.shape, *(forecast.shape for forecast in forecasts.values())]
        raise ValueError(f"expected past_values (T, V), labels and predictions (H, V), got shapes {shapes}")
    length, count = past.shape
    names = _variate_names(variate_names, count)
    times = np.arange(1 - length, len(truth) + 1) if timestamps is None else np.asarray(timestamps)
    if len(times) != length + len(truth):
        raise ValueError(f"{len(times)} timestamps were given for {length} + {len(truth)} steps")
    columns = min(count, 2)
    figure, panels = _panels(names, columns, 6.5, 2.3, title, sharex=True)
    for index, axes in enumerate(panels):
        axes.plot(times[:length], past[:, index], color="black", linewidth=1)
        # From the last step of the context on, so that the eye need not bridge a gap.
        joined = np.concatenate([past[-1:, index], truth[:, index]])
        handles = axes.plot(times[length - 1 :], joined, color="black", linewidth=1, linestyle=":")
        for forecast in forecasts.values():
            handles += axes.plot(times[length:], forecast[:, index], linewidth=1.3)
        axes.axvline(times[length - 1], color="grey", linewidth=0.6)
        lowest = index + columns >= count  # an unfinished last row leaves the panel above it the lowest of its column
        axes.tick_params(axis="x", labelrotation=0 if timestamps is None else 20, labelbottom=lowest)
    shown = ["truth", *map(label, forecasts)]
    _add_legend(figure, handles, shown, loc="outside lower center", ncols=len(handles))
    if timestamps is None:
        figure.supxlabel("steps after the context", fontsize="medium")
    return figure


def plot_backtest(
    history: ArrayLike,
    starts: ArrayLike,
    forecasts: Mapping[str, ArrayLike],
    interval: ArrayLike | None,
    errors: Mapping[str, ArrayLike],
    title: str | None = None,
) -> Figure:
    """Windows of one series with what was forecast, and every model's error by step of the horizon.

    Args:
        history: `(T,)`, what came, NaN is missing.
        starts: `(w,)`, steps of it at which windows begin.
        forecasts: model -> `(w, H)`.
        interval: `(w, H, 2)` of the first model, or None.
        errors: model -> `(H,)`.
        title: over the windows.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    history, starts = np.asarray(history), np.asarray(starts, int)
    (line,) = left.plot(history, color="black", linewidth=1)
    handles, names = [line], ["what came"]
    for number, (name, values) in enumerate(forecasts.items()):
        for place, (start, window) in enumerate(zip(starts, np.asarray(values), strict=True)):
            steps = start + np.arange(len(window))
            (line,) = left.plot(steps, window, color=f"C{number}", linewidth=1.5)
            if number == 0 and interval is not None:
                low, high = np.asarray(interval)[place].T
                left.fill_between(steps, low, high, color="C0", alpha=0.2, linewidth=0)
        handles.append(line)
        names.append(name)
    _add_legend(left, handles, names, fontsize="small")
    left.set_title(label(title or ""), fontsize="medium", **_AS_IT_IS)
    lines = [right.plot(np.arange(1, np.size(values) + 1), np.asarray(values))[0] for values in errors.values()]
    _add_legend(right, lines, list(errors), fontsize="small")
    right.set(xlabel="step of the horizon", ylabel="MASE")
    return figure


def plot_confusion(predictions: ArrayLike, targets: ArrayLike, class_names: Sequence[str]) -> Figure:
    """How often each class (row) was taken for each other (column).

    Args:
        predictions, targets: `(n,)` class numbers.
        class_names: one for each class.
    """
    found, observed = np.asarray(predictions), np.asarray(targets)
    count = len(class_names)
    counts = np.zeros((count, count), int)
    np.add.at(counts, (observed, found), 1)
    size = max(4.0, 0.6 * count)
    figure = Figure(figsize=(size + 1.5, size), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= _COUNTED_CLASSES:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color)
    names = [label(name) for name in class_names]
    axes.set_xticks(range(count), names, rotation=90, **_AS_IT_IS)
    axes.set_yticks(range(count), names, **_AS_IT_IS)
    axes.set_xlabel("predicted")
    axes.set_ylabel("observed")
    axes.set_title(f"accuracy {np.trace(counts) / max(counts.sum(), 1):.3f}, n = {counts.sum()}")
    return figure


def plot_curves(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    x_name: str,
    y_name: str,
    title: str | None = None,
    mark: float | None = None,
) -> Figure:
    """Lines over one axis: losses by epoch, errors by how much of a series was seen.

    Args:
        lines: name -> points `(x, y)`.
        x_name, y_name: for the axes.
        title: above all.
        mark: x of a vertical line, of the epoch that was kept, say.
    """
    if not lines:
        raise ValueError("lines is empty: there is no curve to draw")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    handles = [axes.plot(*zip(*points, strict=True), marker="o", markersize=3)[0] for points in lines.values()]
    if mark is not None:
        axes.axvline(mark, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel(label(x_name), **_AS_IT_IS)
    axes.set_ylabel(label(y_name), **_AS_IT_IS)
    axes.grid(color="0.9")
    if title is not None:
        axes.set_title(label(title), **_AS_IT_IS)
    _add_legend(axes, handles, [label(name) for name in lines], fontsize="small")
    return figure


def plot_ablation(values: Mapping[str, Sequence[float]], metric: str, title: str | None = None) -> Figure:
    """A row for each cell of an ablation, from top to bottom: a dot for each seed, a bar at their mean.

    Args:
        values: cell -> the metric of each seed; a cell without any keeps its row. NaN and infinite values, those of
            diverged runs, are left out and counted beside the name.
        metric: name and unit, for the axis.
        title: above all.
    """
    if not values:
        raise ValueError("values is empty: there is no cell to draw")
    width = max(4.0, min(8.0, 0.075 * max(len(label(name)) for name in values)))  # room for the names beside the panel
    figure = Figure(figsize=(5.0 + width, 0.34 * len(values) + 1.5), layout="constrained")
    axes = figure.subplots()
    names = []
    for row, (name, seeds) in enumerate(values.items()):
        found = np.asarray(seeds, dtype=float)
        finite = found[np.isfinite(found)]
        axes.scatter(finite, np.full(len(finite), row), s=22, alpha=0.6, linewidths=0, color="tab:blue")
        if len(finite):
            axes.scatter([finite.mean()], [row], s=180, marker="|", color="black")
        lost = len(found) - len(finite)
        names.append(label(name) + ("" if len(found) else " (no result)") + (f" ({lost} diverged)" if lost else ""))
    axes.set_yticks(range(len(names)), names, **_AS_IT_IS)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.set_xlabel(label(metric), **_AS_IT_IS)
    if title is not None:
        axes.set_title(label(title), **_AS_IT_IS)
    return figure


def plot_importance(importance: Any, title: str | None = None, most: int = 12) -> Figure:
    """Bars of what counts, with intervals over samples: a panel each for variates, spans of time, and spans of one.

    Args:
        importance: rows of one method of `Explanation.importance`.
        title: above all.
        most: bars in a panel, the largest first.

    Raises:
        ValueError: no rows.
    """
    parts = {text: importance[importance["kind"] == kind].head(most) for kind, text in PART_KINDS.items()}
    parts = {text: rows for text, rows in parts.items() if len(rows)}
    if not parts:
        raise ValueError("importance is empty: there is nothing to draw")
    heights = [0.3 * len(rows) + 0.7 for rows in parts.values()]
    figure = Figure(figsize=(6.5, sum(heights) + 0.4), layout="constrained")
    panels = np.ravel(figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights))
    for axes, (text, rows) in zip(panels, parts.items(), strict=True):
        values = rows["importance"].to_numpy(float)
        around = np.stack([values - rows["lower"].to_numpy(float), rows["upper"].to_numpy(float) - values])
        around = np.nan_to_num(np.maximum(around, 0))
        axes.barh(range(len(rows)), values, xerr=around, color=BLUE, ecolor="0.5", height=0.7)
        axes.set_yticks(range(len(rows)), [label(part_name(row)) for _, row in rows.iterrows()], **_AS_IT_IS)
        axes.invert_yaxis()
        axes.locator_params("x", nbins=5)
        axes.set_title(text, fontsize="medium", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    if title is not None:
        figure.suptitle(label(title), fontsize="medium", **_AS_IT_IS)
    return figure


def part_name(row: Any) -> str:
    """A row of `Explanation.importance` in words: `ndvi, 2024-05-01 to 2024-06-20`."""
    named = [] if row["variate"] is None or row["variate"] != row["variate"] else [str(row["variate"])]
    if row["kind"] in ("span", "cell", "future"):
        dated = isinstance(row["first_date"], str)
        first, last = (row[f"{end}_date"] if dated else f"{row[f'{end}_step']}" for end in ("first", "last"))
        named.append(f"{'' if dated else 'steps '}{first} to {last}")
    return ", ".join(named)


def plot_attributions(attributions: Any, target_name: str = "prediction", title: str | None = None) -> Figure:
    """One sample: each variate's values over time, and what each step adds to the answer or takes from it.

    Args:
        attributions: rows of one sample of `Explanation.attributions`; paths are added up.
        target_name: of the answer, and its unit.
        title: above all.

    Raises:
        ValueError: no rows, or rows of several samples.
    """
    rows = attributions[attributions["step"].notna()] if "step" in attributions else attributions
    if not len(rows) or rows["sample"].nunique() != 1:
        raise ValueError(f"attributions are of {rows['sample'].nunique() if len(rows) else 0} samples, expected one")
    by_step = rows.groupby(["variate", "step"], sort=False).agg(
        value=("value", "first"), attribution=("attribution", "sum"), unit=("unit", "first")
    )
    names = list(dict.fromkeys(rows["variate"]))
    figure, panels = _panels(names, min(2, len(names)), 4.5, 1.9, title, sharex=True)
    largest = float(by_step["attribution"].abs().max()) or 1.0
    for name, axes in zip(names, panels, strict=True):
        own = by_step.loc[name]
        steps = own.index.to_numpy(float)
        size = own["attribution"].to_numpy(float)
        other = axes.twinx()
        for chosen, color in ((size >= 0, BLUE), (size < 0, ORANGE)):
            other.bar(steps[chosen], size[chosen], color=color, width=0.8, alpha=0.75)
        other.set_ylim(-1.05 * largest, 1.05 * largest)
        other.tick_params(labelsize="x-small")
        axes.plot(steps, own["value"].to_numpy(float), color="black", linewidth=1, marker=".", markersize=3)
        axes.tick_params(labelsize="x-small")
        axes.set_zorder(other.get_zorder() + 1)
        axes.patch.set_visible(False)
        if own["unit"].iloc[0]:
            axes.set_ylabel(label(own["unit"].iloc[0]), fontsize="x-small", **_AS_IT_IS)
    figure.supxlabel("step", fontsize="small")
    figure.supylabel(f"line: values; bars: adds to {label(target_name)} (up), or takes away", fontsize="x-small",
                     **_AS_IT_IS)  # fmt: skip
    return figure


__all__ = [
    "plot_ablation", "plot_attributions", "plot_backtest", "plot_confusion", "plot_curves", "plot_forecasts",
    "plot_importance", "plot_model_view", "plot_predictions", "plot_selection_attention",
]  # fmt: skip
