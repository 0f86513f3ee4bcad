# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Line plots per second: matplotlib against `timesclip_hf.model.rendering`, in one run on this machine's CPU.

Four ways to make the same RGB line plots:

- matplotlib, published way: pyplot figure, axes off, saved as PNG into memory and read back by Pillow, as published
  time-series-to-image scripts do it;
- matplotlib, new figure: one bare Figure and Agg canvas for each plot, its pixels read from the canvas;
- matplotlib, reused: one figure for all plots, only the line's data change: as fast as matplotlib gets without tricks;
- timesclip_hf: `render_line` + `apply_color` on the whole batch, and `render_line` alone.

matplotlib draws on one core; torch uses `--threads`. Each figure is the best of `--repeats` interleaved runs, since
other work on the machine can only slow a run down.

    python examples/benchmarks/rendering.py
"""

import argparse
import io
import os
import time
from collections.abc import Callable

import matplotlib
import numpy as np
import torch
from machine import describe
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from timesclip_hf.model.rendering import apply_color, render_line, variate_colors

matplotlib.use("Agg")
LINE_WIDTH = 1.5
DPI = 72  # a point is a pixel, so that line widths mean the same on both sides


def new_canvas(size: int) -> tuple[FigureCanvasAgg, "matplotlib.axes.Axes"]:
    figure = Figure(figsize=(size / DPI, size / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    return canvas, axes


def pixels(canvas: FigureCanvasAgg) -> np.ndarray:
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def published_image(row: np.ndarray, size: int) -> np.ndarray:
    """One variate as published scripts draw it: RGB, `(size, size, 3)` uint8."""
    figure, axes = plt.subplots(figsize=(size / DPI, size / DPI), dpi=DPI)
    axes.plot(row, color="C0", linewidth=LINE_WIDTH)
    axes.set_ylim(-0.01, 1.01)
    axes.axis("off")
    figure.tight_layout(pad=0)
    stored = io.BytesIO()
    figure.savefig(stored, format="png", dpi=DPI)
    plt.close(figure)
    return np.asarray(Image.open(stored).convert("RGB").resize((size, size)))


def matplotlib_published(values: np.ndarray, size: int) -> None:
    for row in values:
        published_image(row, size)


def matplotlib_new_figure(values: np.ndarray, size: int) -> None:
    for row in values:
        canvas, axes = new_canvas(size)
        axes.plot(row, color="C0", linewidth=LINE_WIDTH)
        axes.set_ylim(-0.01, 1.01)
        pixels(canvas)


def matplotlib_reused(values: np.ndarray, size: int) -> None:
    canvas, axes = new_canvas(size)
    (line,) = axes.plot(values[0], color="C0", linewidth=LINE_WIDTH)
    axes.set_ylim(-0.01, 1.01)
    for row in values:
        line.set_ydata(row)
        pixels(canvas)


def ours_ink(values: torch.Tensor, size: int) -> None:
    render_line(values, size, size, LINE_WIDTH)


def ours_rgb(values: torch.Tensor, size: int) -> None:
    apply_color(render_line(values, size, size, LINE_WIDTH), variate_colors(1)[0])


def seconds(function: Callable[..., None], values: np.ndarray | torch.Tensor, size: int) -> float:
    start = time.perf_counter()
    function(values, size)
    return time.perf_counter() - start


def best_rates(size: int, steps: int, repeats: int, batch: int) -> list[float]:
    """Images per second of the five ways, on the same white noise (the hardest to draw)."""
    values = torch.rand(batch, steps, generator=torch.Generator().manual_seed(0))
    few = values[:16].numpy()
    theirs = (matplotlib_published, matplotlib_new_figure, matplotlib_reused)
    runs = [(way, few) for way in theirs] + [(ours_rgb, values), (ours_ink, values)]
    best = [float("inf")] * len(runs)
    for _ in range(repeats + 1):  # the first one also warms up
        for index, (function, data) in enumerate(runs):
            best[index] = min(best[index], seconds(function, data, size) / len(data))
    return [1 / duration for duration in best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads (default: all cores)")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16, help="plots per call of ours")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    print(f"{describe()}, matplotlib {matplotlib.__version__}")
    print(
        f"images per second, RGB; white noise; line width {LINE_WIDTH}; ours in batches of "
        f"{arguments.batch}; best of {arguments.repeats}\n"
    )
    print("| size | steps | matplotlib, published way | new figure | reused | timesclip_hf | ink only | times first |")
    print("|---|---|---|---|---|---|---|---|")
    for size, steps in ((224, 36), (224, 1000), (64, 36), (64, 1000)):
        published, new, reused, rgb, ink = best_rates(size, steps, arguments.repeats, arguments.batch)
        print(
            f"| {size} x {size} | {steps} | {published:.0f} | {new:.0f} | {reused:.0f} | {rgb:.0f} | {ink:.0f} "
            f"| {rgb / published:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
