# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Series that nobody measured, of the shapes that measured ones have: what towers are pretrained on.

Series number `index` of a `seed` is the same to the bit in whatever batch, order or process it is made: its random
numbers come from a counter of its own (Philox), and all arithmetic is its own, too. Nothing is stored, so a million
of them is as many as are asked for.

A series is a sum of shapes, each there or not: trends, seasons (which trends may swell), Gaussian processes by random
Fourier features, regimes and Ornstein-Uhlenbeck noise, steps, decaying spikes, saw-teeth and pulses, and the growth of
one to three crops. It may be skewed, saturated or summed up. It then gets a level (spread .7 around 0) and a spread of
its own (around .64), which are information, as in a data set that was standardised as a whole, and is measured as
instruments do: rounded, censored, with clouds and gaps.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NUM_UNIFORM, _NUM_NORMAL, _NUM_NOISE = 160, 96, 3
_WIDTH_STEP = 64  # a series is computed in an array of the next multiple, whatever its batch needs: sums stay the same
_BLOCK = 1024
_NUM_WAVES = 10  # random Fourier features of one Gaussian process


def synthetic_series(
    indices: Sequence[int] | NDArray[Any],
    seed: int = 0,
    num_variates: int = 1,
    min_length: int = 24,
    max_length: int = 512,
) -> list[NDArray[np.float32]]:
    """The series of these numbers, `(T, V)` each, NaN where nothing was observed.

    Args:
        indices: any whole numbers from 0, in any order.
        seed: of the whole stream.
        num_variates: variates V of a series; more than one listen to each other through a random graph, with delays.
        min_length, max_length: bounds of T, which is drawn evenly on a logarithmic scale.

    Raises:
        ValueError: a negative number, no variate, or lengths out of order.
    """
    numbers = np.asarray(indices, dtype=np.int64)
    if numbers.ndim != 1 or (numbers < 0).any() or seed < 0:
        raise ValueError(f"indices must be a list of whole numbers from 0 and seed one, got {indices!r} and {seed}")
    if num_variates < 1 or not 8 <= min_length <= max_length:
        raise ValueError(
            f"expected num_variates >= 1 and 8 <= min_length <= max_length, got {num_variates}, {min_length}, "
            f"{max_length}"
        )
    made: list[Any] = [None] * len(numbers)
    for first in range(0, len(numbers), _BLOCK):
        part = numbers[first : first + _BLOCK]
        sources = [_source(seed, number, variate) for number in part for variate in range(num_variates)]
        uniform = np.stack([source.random(_NUM_UNIFORM) for source in sources])
        share = uniform[::num_variates, 0]  # of the first variate: all are as long
        lengths = np.floor(min_length * ((max_length + 1) / min_length) ** share).astype(int).clip(max=max_length)
        widths = -(-lengths // _WIDTH_STEP) * _WIDTH_STEP
        for width in np.unique(widths):
            rows = np.flatnonzero(widths == width)
            flat = (rows[:, None] * num_variates + np.arange(num_variates)).ravel()
            own = [sources[row] for row in flat]
            dice = _Dice(uniform[flat], own, np.repeat(lengths[rows], num_variates), int(width))
            values = _measured(dice, _mixed(dice, _shapes(dice), num_variates))
            rounded = values.astype(np.float32).reshape(len(rows), num_variates, width)
            for row, series in zip(rows, rounded, strict=True):
                made[first + row] = np.ascontiguousarray(series[:, : lengths[row]].T)
    return made


def single_shapes(kind: str, indices: Sequence[int] | NDArray[Any], seed: int = 0, length: int = 96) -> Floats:
    """Series `(n, length)` of one of `SHAPES` alone, of mean 0 and spread 1, as they are before they are measured.

    Args:
        kind: name of the shape.
        indices, seed: as for `synthetic_series`.
        length: steps of each.
    """
    sources = [_source(seed, int(number), 0) for number in indices]
    width = -(-length // _WIDTH_STEP) * _WIDTH_STEP
    uniform = np.stack([source.random(_NUM_UNIFORM) for source in sources])
    dice = _Dice(uniform, sources, np.full(len(sources), length), width)
    return dice.unit(SHAPES[kind](dice))[:, :length]


def stream_series(seed: int = 0, start: int = 0, batch_size: int = 1024, **options: Any) -> Iterator[list[Any]]:
    """Batches without end, from number `start` on; `options` as for `synthetic_series`."""
    while True:
        yield synthetic_series(np.arange(start, start + batch_size), seed, **options)
        start += batch_size


def synthetic_pool(
    count: int, seed: int = 0, start: int = 0, max_length: int = 512, num_workers: int = 0, **options: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`count` series of one variate as one array.

    Args:
        count: how many.
        seed, start, max_length, options: as for `synthetic_series` and `stream_series`.
        num_workers: processes beside this one; 0: none. The series are the same.

    Returns:
        values: `(count, max_length)`, NaN behind the end of shorter ones.
        lengths: `(count,)`.
    """
    make: Any = partial(_padded, seed=seed, max_length=max_length, **options)
    parts = [np.arange(start + i, start + min(i + 4 * _BLOCK, count)) for i in range(0, count, 4 * _BLOCK)]
    if num_workers:
        with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
            found: Any = list(pool.map(make, parts))
    else:
        found = [make(part) for part in parts]
    return np.concatenate([values for values, _ in found]), np.concatenate([lengths for _, lengths in found])


def _padded(indices: NDArray[Any], seed: int, max_length: int, **options: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    made = synthetic_series(indices, seed, 1, max_length=max_length, **options)
    values = np.full((len(made), max_length), np.nan, np.float32)
    for row, series in zip(values, made, strict=True):
        row[: len(series)] = series[:, 0]
    return values, np.array([len(series) for series in made])


def _source(seed: int, number: int, variate: int) -> np.random.Generator:
    """The random numbers of one variate of one series."""
    return np.random.Generator(np.random.Philox(key=[seed, number], counter=[0, 0, 0, variate]))


class _Dice:
    """Random numbers of n series, a column at a time, in the order of the program; and their time axes.

    `inside` `(n, width)`: the steps that there are; `time`: 0 at the first one, 1 at the last.
    """

    def __init__(self, uniform: Floats, sources: list[np.random.Generator], lengths: NDArray[Any], width: int):
        self._uniform = iter(uniform.T[1:, :, None])
        self._normal = iter(np.stack([source.standard_normal(_NUM_NORMAL) for source in sources]).T[..., None])
        self.noise = np.stack([source.standard_normal((_NUM_NOISE, width)) for source in sources], axis=1)
        self.cloud = np.stack([source.random(width) for source in sources])
        self.lengths = lengths[:, None].astype(np.float64)
        steps = np.arange(width)[None]
        self.inside = steps < lengths[:, None]
        self.time = steps / (self.lengths - 1)

    def uniform(self, low: Any = 0.0, high: Any = 1.0) -> Floats:
        return low + (high - low) * next(self._uniform)

    def log_uniform(self, low: Any, high: Any) -> Floats:
        return low * (high / low) ** next(self._uniform)

    def normal(self, spread: float = 1.0) -> Floats:
        return spread * next(self._normal)

    def chance(self, share: float) -> Floats:
        """1 for this share of the series, 0 for the others."""
        return (next(self._uniform) < share).astype(np.float64)

    def amount(self, share: float) -> Floats:
        """How much of a shape there is: nothing, or about 1."""
        return self.chance(share) * -np.log(1 - next(self._uniform))

    def unit(self, values: Floats) -> Floats:
        """Of mean 0 and spread 1 over the steps that there are; a constant becomes 0."""
        mean = np.where(self.inside, values, 0).sum(axis=1, keepdims=True) / self.lengths
        values = np.where(self.inside, values - mean, 0)
        spread = np.sqrt(np.square(values).sum(axis=1, keepdims=True) / self.lengths)
        return values / np.where(spread > 1e-9, spread, np.inf)


def _shapes(dice: _Dice) -> Floats:
    """A sum of shapes `(n, width)`, of mean 0 and spread 1."""
    trend, seasons = dice.unit(_trend(dice)), dice.unit(_seasons(dice))
    parts = {
        "seasons": seasons * (1 + 0.7 * dice.chance(0.3) * trend),
        "trend": trend,
        "process": dice.unit(_gaussian_process(dice) * np.where(dice.chance(0.3) > 0, _gaussian_process(dice), 1)),
        "regimes": dice.unit(_regimes(dice)),
        "steps": dice.unit(_steps(dice)),
        "spikes": dice.unit(_spikes(dice)),
        "teeth": dice.unit(_teeth(dice)),
        "growth": dice.unit(_growth(dice)),
    }
    shares = {"trend": 0.4, "seasons": 0.45, "process": 0.35, "regimes": 0.35, "steps": 0.2, "spikes": 0.15,
              "teeth": 0.15, "growth": 0.35}  # fmt: skip
    amounts = {name: dice.amount(share) for name, share in shares.items()}
    amounts["process"] = np.where(sum(amounts.values()) > 0.05, amounts["process"], 1.0)
    values = sum(amounts[name] * part for name, part in parts.items())
    swollen = 1 + 0.8 * dice.chance(0.3) * seasons
    values = values + dice.noise[0] * swollen * dice.amount(0.6) * dice.uniform(0.0, 0.5)
    return dice.unit(_bent(dice, dice.unit(values)))


def _bent(dice: _Dice, values: Floats) -> Floats:
    """Skewed (like amounts of rain), saturated (like a full tank), or summed up (like a counter's differences)."""
    kind, strength = dice.uniform(), dice.uniform(0.4, 1.0)
    skewed = np.exp(strength * values)
    values = np.where(kind < 0.12, skewed, values)
    values = np.where((kind > 0.12) & (kind < 0.2), np.tanh(3 * strength * values), values)
    values = np.where((kind > 0.2) & (kind < 0.26), np.cumsum(values, axis=1), values)
    return np.where((kind > 0.26) & (kind < 0.3), np.abs(values), values)


def _trend(dice: _Dice) -> Floats:
    """A line, a bow, exponential or logistic growth, a line with two bends, or a random walk."""
    t, kind = dice.time, np.floor(6 * dice.uniform())
    sign, place, steep = np.sign(dice.uniform(-1, 1)), dice.uniform(), dice.log_uniform(3, 40)
    bend = np.maximum(t - place, 0) * dice.normal(2) + np.maximum(t - dice.uniform(), 0) * dice.normal(2)
    # Of a unit spread, a growth of e ** 4 and one of e ** 2 look alike but at their ends.
    shapes = [t, (t - place) ** 2, np.exp(dice.uniform(1, 4) * t), _sigmoid(steep * (t - place)), t * 0.5 + bend,
              np.cumsum(dice.noise[1], axis=1)]  # fmt: skip
    return sign * sum(np.where(kind == number, dice.unit(shape), 0) for number, shape in enumerate(shapes))


def _seasons(dice: _Dice) -> Floats:
    """One to three waves with overtones, of periods from four steps to twice the series; some swell and fade."""
    values, fastest = np.zeros_like(dice.time), np.maximum(dice.lengths / 4, 2)
    for number in range(3):
        cycles, phase = dice.log_uniform(0.5, fastest), dice.uniform(0, 2 * np.pi)
        angle = 2 * np.pi * cycles * dice.time + phase
        wave = np.sin(angle) + dice.chance(0.4) * dice.normal(0.5) * np.sin(2 * angle + dice.uniform(0, 6))
        wave = wave * (1 + dice.chance(0.25) * 0.9 * np.sin(2 * np.pi * dice.uniform(0.3, 2) * dice.time + phase))
        values = values + wave * dice.normal() * (1.0 if number == 0 else dice.chance(0.4))
    return values


def _gaussian_process(dice: _Dice) -> Floats:
    """A draw of a smooth, rough or periodic Gaussian process, as a sum of random waves (Rahimi and Recht 2007)."""
    kind, base = dice.uniform(), dice.log_uniform(0.3, np.maximum(dice.lengths / 24, 1.5))
    values = np.zeros_like(dice.time)
    for number in range(_NUM_WAVES):
        frequency, amplitude, phase = dice.normal(), dice.normal(), dice.uniform(0, 2 * np.pi)
        rough = frequency / np.sqrt(dice.uniform(0.02, 1.0))  # about Student's t, whose kernel is Matern's
        periodic = float(number + 1)
        frequency = base * np.where(kind < 0.45, frequency, np.where(kind < 0.75, rough, periodic))
        amplitude = amplitude * np.where(kind < 0.75, 1.0, 1 / (number + 1))
        values = values + amplitude * np.cos(2 * np.pi * frequency * dice.time + phase)
    return values


def _regimes(dice: _Dice) -> Floats:
    """Ornstein-Uhlenbeck noise that is drawn to one of two levels, each with a restlessness of its own."""
    memory, switching = dice.uniform(0.0, 0.995), dice.chance(0.4)
    switches = np.where(dice.noise[2] > 2.4 - 0.6 * dice.uniform(), -1.0, 1.0)
    state = np.cumprod(switches, axis=1) * switching
    restless = np.exp(0.6 * state * dice.normal())
    pushed = (1 - memory) * state * dice.normal(3) + np.sqrt(1 - memory**2) * restless * dice.noise[1]
    return _recursion(pushed, memory)


def _spikes(dice: _Dice) -> Floats:
    """Rare events, up or down, which fade at once or slowly."""
    rare = dice.uniform(1.7, 2.8)
    events = np.where(dice.noise[2] > rare, np.exp(dice.noise[0]), 0.0)
    return np.sign(dice.uniform(-1, 1)) * _recursion(events, dice.chance(0.6) * dice.uniform(0.3, 0.95))


def _recursion(pushes: Floats, memory: Floats) -> Floats:
    """`x[t] = memory * x[t - 1] + pushes[t]`, from 0."""
    columns, memory = np.ascontiguousarray(pushes.T), memory[:, 0]
    for before, column in zip(columns[:-1], columns[1:], strict=True):
        column += memory * before
    return columns.T


def _steps(dice: _Dice) -> Floats:
    """One to four changes of level."""
    values = np.zeros_like(dice.time)
    for number in range(4):
        there = 1.0 if number == 0 else dice.chance(0.4)
        values = values + there * dice.normal() * (dice.time > dice.uniform(0.03, 0.97))
    return values


def _teeth(dice: _Dice) -> Floats:
    """Saw-teeth, triangles, square waves or pulses."""
    cycles, kind = dice.log_uniform(0.7, np.maximum(dice.lengths / 6, 2)), np.floor(4 * dice.uniform())
    phase = (cycles * dice.time + dice.uniform()) % 1
    shapes = [phase, np.abs(phase - 0.5), phase < dice.uniform(0.3, 0.7), phase < dice.uniform(0.05, 0.2)]
    return np.sign(dice.uniform(-1, 1)) * sum(np.where(kind == k, shape, 0.0) for k, shape in enumerate(shapes))


def _growth(dice: _Dice) -> Floats:
    """Double logistic curves: what a satellite sees of one to three crops."""
    values, t = np.zeros_like(dice.time), dice.time
    for number in range(3):
        rise = dice.uniform(-0.1, 0.8)
        fall = rise + dice.uniform(0.08, 0.6)
        curve = _sigmoid(dice.log_uniform(8, 80) * (t - rise)) - _sigmoid(dice.log_uniform(8, 80) * (t - fall))
        values = values + curve * dice.uniform(0.4, 1.5) * (1.0 if number == 0 else dice.chance(0.25))
    return np.sign(dice.uniform(-0.3, 1)) * values


SHAPES: dict[str, Callable[[_Dice], Floats]] = {
    "trend": _trend,
    "seasons": _seasons,
    "process": _gaussian_process,
    "regimes": _regimes,
    "steps": _steps,
    "spikes": _spikes,
    "teeth": _teeth,
    "growth": _growth,
}


def _sigmoid(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(values, -60, 60)))


def _mixed(dice: _Dice, values: Floats, num_variates: int) -> Floats:
    """Each variate listens, with a delay, to some of those before it."""
    if num_variates == 1:
        return values
    count, width = len(values) // num_variates, values.shape[1]
    shape = (count, num_variates, 1)
    delay = np.floor(dice.uniform(0, 0.1 * dice.lengths)).astype(int).reshape(shape)
    # What a variate says to all of the later ones, who listen or not; two columns are enough for any number of them.
    strength, heard = dice.normal().reshape(shape), dice.uniform().reshape(shape)
    own, series = (0.3 + dice.uniform()).reshape(shape), values.reshape(count, num_variates, width).copy()
    steps = np.arange(width)[None]
    for listener in range(1, num_variates):
        mixed = own[:, listener] * series[:, listener]
        for speaker in range(listener):
            listens = (heard[:, listener] * 997 + heard[:, speaker] * 991) % 1 < 0.5
            told = np.take_along_axis(series[:, speaker], np.maximum(steps - delay[:, listener], 0), axis=1)
            mixed = mixed + np.where(listens, strength[:, speaker], 0.0) * told
        series[:, listener] = mixed
    return dice.unit(series.reshape(count * num_variates, width))


def _measured(dice: _Dice, values: Floats) -> Floats:
    """A level and a spread, and what instruments do: round, censor, see clouds, fail; NaN: not observed."""
    spread = np.exp(dice.normal(0.55) - 0.45).clip(0.05, 2.5)
    fog = dice.chance(0.15) * (dice.cloud > 0.9) * np.abs(dice.noise[1]) * dice.uniform(0.3, 1.5)
    values = dice.normal(0.7) + spread * (values - fog)
    step = spread * dice.log_uniform(0.02, 0.7)
    values = np.where(dice.chance(0.15) > 0, np.round(values / step) * step, values)
    middle = np.where(dice.inside, values, 0).sum(axis=1, keepdims=True) / dice.lengths
    limit, side = spread * dice.uniform(0.0, 1.5), dice.uniform()
    values = np.where(side < 0.06, np.minimum(values, middle + limit), values)
    values = np.where(side > 0.94, np.maximum(values, middle - limit), values)
    missing = dice.cloud < dice.chance(0.25) * dice.uniform(0.0, 0.4)
    for _ in range(2):
        start, length = dice.uniform(-0.1, 1.0), dice.chance(0.12) * dice.uniform(0.02, 0.25)
        missing |= (dice.time >= start) & (dice.time < start + length)
    enough = (dice.inside & ~missing).sum(axis=1, keepdims=True) >= 8
    return np.where(missing & enough, np.nan, values)


__all__ = ["SHAPES", "single_shapes", "stream_series", "synthetic_pool", "synthetic_series"]
