# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Kernel regression in closed form, and what it says of samples left out, also in closed form.

The kernel of two samples is exp(-g |a - b|^2 / m), m the median squared distance in the training data. Ridge on it
(kernel ridge; the mean of a Gaussian process, Rasmussen & Williams 2006, 2.3) leaves out one sample, or a whole group,
without fitting again: with H the matrix that maps labels to fitted values, the residual of what is left out is
(I - H_oo)^-1 r_o of the residuals r (their 5.4.2; Golub, Heath & Wahba 1979).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PENALTIES = np.logspace(-4, 1, 16)
WIDTHS = (0.03, 0.1, 0.3, 1.0, 3.0)  # g
STATIC_WEIGHTS = (0.5, 1.0, 2.0)  # of all static values together, where the rest counts 1
# Rows by which widths and weights are chosen; penalties are chosen by all.
CHOOSING_ROWS = 500
MAX_CENTERS = 2000


@dataclass(frozen=True)
class KernelSpace:
    """Readings as points that are compared.

    Args:
        shift, factor: `(in_features,)`; a point is `(reading - shift) * factor`.
        centers: points `(m, in_features)` that others are compared with.
        linear: the kernel of two points is their product, not exp(-|a - b|^2).
    """

    shift: Array
    factor: Array
    centers: Array
    linear: bool = False

    def compare(self, readings: Array) -> Array:
        """The kernels of readings `(n, in_features)` with all centers `(n, m)`."""
        return self._kernels((readings - self.shift) * self.factor)

    def among_centers(self) -> Array:
        """The kernels of centers with each other `(m, m)`."""
        return self._kernels(self.centers)

    def _kernels(self, points: Array) -> Array:
        return points @ self.centers.T if self.linear else np.exp(-squared_distances(points, self.centers))

    def slopes(self, weights: Array) -> Array:
        """Of a linear kernel, what weights of the centers `(m, k)` make of each reading `(k, in_features)`."""
        return (weights.T @ self.centers) * self.factor


def squared_distances(a: Array, b: Array) -> Array:
    """`(n, m)` of points `(n, d)` and `(m, d)`."""
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.maximum(squares, 0)


def block_factors(readings: Array, num_static: int, static_weight: float) -> tuple[Array, Array]:
    """Means, and factors under which spreads are 1, and all readings together and all static values, too, have size 1.

    Args:
        readings: `(n, in_features)`, static values last.
        num_static: how many of them.
        static_weight: how much those weigh.
    """
    mean, std = readings.mean(axis=0), readings.std(axis=0)
    factor = np.where(std > 1e-7 * np.abs(mean) + 1e-12, 1 / np.maximum(std, 1e-300), 0.0)  # constant: tells nothing
    rest = len(factor) - num_static
    factor[:rest] /= np.sqrt(max(1, rest))
    factor[rest:] *= static_weight / np.sqrt(max(1, num_static))
    return mean, factor


class KernelRidge:
    """Ridge on kernels with centers, for all penalties at once.

    Args:
        kernels: `(n, m)`, of rows with centers.
        among_centers: `(m, m)`.
        owners: for each row the number of its group, or `None`: every row is one.
        intercept: whether the targets' mean is fitted, too, beside kernels of points with mean 0: then a row that is
            left out has no part in the mean. Linear kernels of more readings than rows need it: a centred point is
            minus the sum of all others, so without, what is left out would be said exactly.
    """

    def __init__(
        self, kernels: Array, among_centers: Array, owners: NDArray[np.int64] | None = None, intercept: bool = False
    ):
        strengths, vectors = np.linalg.eigh(among_centers)
        kept = strengths > 1e-10 * strengths[-1]
        self.strengths, self.vectors = strengths[kept], vectors[:, kept]
        self.to_features = self.vectors / np.sqrt(self.strengths)
        if kernels is among_centers:  # every row is a center: the features' directions are known
            self.rotated, self.turn = self.vectors * np.sqrt(self.strengths), None
        else:
            features = kernels @ self.to_features  # (n, r): their products are the kernels (Nystroem)
            self.strengths, self.turn = np.linalg.eigh(features.T @ features)
            self.rotated = features @ self.turn
        self.owners = owners
        self.share = 1 / len(kernels) if intercept else 0.0  # of each row in the mean

    def left_out(self, targets: Array, penalty: float) -> Array:
        """What is said of every row `(n, k)` by a fit without it, or without its group."""
        shares = 1 / (self.strengths + penalty)
        fitted = self.rotated @ (shares[:, None] * (self.rotated.T @ targets))
        residuals = targets - fitted
        if self.owners is None:
            leverage = np.square(self.rotated) @ shares + self.share
            return targets - residuals / np.maximum(1 - leverage, 1e-12)[:, None]
        said = np.empty_like(targets)
        for group in np.unique(self.owners):
            rows = self.owners == group
            own = self.rotated[rows]
            hat = (own * shares) @ own.T + self.share
            said[rows] = targets[rows] - np.linalg.solve(
                np.eye(len(own)) - hat + 1e-12 * np.eye(len(own)), residuals[rows]
            )
        return said

    def solve(self, targets: Array, penalty: float) -> Array:
        """Weights of the centers `(m, k)`."""
        inner = (self.rotated.T @ targets) / (self.strengths + penalty)[:, None]
        return self.to_features @ (inner if self.turn is None else self.turn @ inner)

    def best_penalty(self, targets: Array, seen: tuple[Array, Array] | None = None) -> tuple[float, float]:
        """The penalty with the least mean squared error, and that error, of rows left out and of rows of validation.

        Args:
            targets: `(n, k)`.
            seen: of validation rows, kernels with the centers `(v, m)` and targets `(v, k)`, NaN = not observed.
        """
        errors = []
        for penalty in PENALTIES:
            squares = np.square(targets - self.left_out(targets, penalty)).ravel()
            if seen is not None:
                others = np.square(seen[1] - seen[0] @ self.solve(targets, penalty)).ravel()
                squares = np.concatenate([squares, others[np.isfinite(others)]])
            errors.append(float(squares.mean()))
        best = int(np.argmin(errors))
        return float(PENALTIES[best]), errors[best]


def choose_space(
    readings: Array, targets: Array, num_static: int, owners: NDArray[np.int64] | None, seed: int,
    max_centers: int = MAX_CENTERS, choices: Sequence[Any] = (slice(None),), seen: tuple[Array, Array] | None = None,
    linear: bool = False,
) -> KernelSpace:  # fmt: skip
    """The readings, the kernel's width and the weight of static values that do best on rows left out.

    Args:
        readings: `(n, in_features)`, static values last.
        targets: `(n, k)`, with mean 0.
        num_static: how many static values there are; of shapes, levels are among them.
        owners: groups of rows that are left out together, or `None`.
        seed: of the rows that stand for all where there are many, and of the centers.
        max_centers: rows that become centers; all, where there are no more.
        choices: columns of the readings, one of which is read; static values always are.
        seen: readings and targets of validation rows, whose errors count, too; as of `KernelRidge.best_penalty`.
        linear: of the space; it has no width to choose.
    """
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(readings))[:CHOOSING_ROWS])
    best: tuple[float, Any] = (np.inf, None)
    check = None if seen is None else rng.permutation(len(seen[0]))[:CHOOSING_ROWS]
    for shift, factor in _spaces(readings, num_static, some, choices, (1.0,) if linear else WIDTHS):
        space = KernelSpace(shift, factor, (readings[some] - shift) * factor, linear)
        kernels = space.among_centers()
        ridge = KernelRidge(kernels, kernels, owners[some] if owners is not None else None, linear)
        others = None if seen is None else (space.compare(seen[0][check]), seen[1][check])
        error = ridge.best_penalty(targets[some], others)[1]
        if error < best[0]:
            best = (error, (shift, factor))
    shift, factor = best[1]
    centers = np.sort(rng.permutation(len(readings))[:max_centers])
    return KernelSpace(shift, factor, (readings[centers] - shift) * factor, linear)


def _spaces(
    readings: Array, num_static: int, rows: NDArray[np.int64], choices: Sequence[Any], widths: Sequence[float]
) -> Iterator[tuple[Array, Array]]:
    """All shifts and factors that are tried."""
    rest = readings.shape[1] - num_static
    weights: Sequence[float] = STATIC_WEIGHTS if num_static and rest else (1.0,)
    for choice, weight in product(choices, weights):
        columns = np.concatenate([np.arange(rest)[choice], np.arange(rest, readings.shape[1])])
        shift, factor = readings.mean(axis=0), np.zeros(readings.shape[1])
        chosen = readings if len(columns) == len(shift) else np.ascontiguousarray(readings[:, columns])
        _, factor[columns] = block_factors(chosen, num_static, weight)
        points = (chosen[rows] - shift[columns]) * factor[columns]
        distances = squared_distances(points, points)
        median = float(np.median(distances[np.triu_indices(len(points), 1)])) if len(points) > 1 else 1.0
        for width in widths:
            yield shift, factor * np.sqrt(width / (median or 1.0))


__all__ = ["KernelRidge", "KernelSpace", "block_factors", "choose_space", "squared_distances"]
