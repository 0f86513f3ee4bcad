# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What `TimesCLIPEmbedder("timesclip-small")` gives as it is: frozen features of series that no training has seen.

    OMP_NUM_THREADS=1 python -m examples.study.frozen_features
    OMP_NUM_THREADS=1 python -m examples.study.frozen_features --public

A ridge head (classes: ridge classifier; penalties by leaving one out) on standardised features, beside the same towers
at random (seed 1), in the same way, and the same head on the values. Seven invented tasks, 100 series to learn from
and 200 to be judged by: three shapes in noise, the period of a wave under a trend, the memory of an autoregression,
the middle of a growing season, level and spread, a motif somewhere in a random walk, twelve warped templates. Of
several variates the first one tells; the others are smooth noise at other scales. `--public`: sets that aeon ships,
with their own parts; they have chosen nothing.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from timesclip_hf import TimesCLIPConfig, TimesCLIPEmbedder, TimesCLIPForPreTraining, TimesCLIPProcessor
from timesclip_hf.model.tower_configs import checkpoint_folder

from .public_sets import load

SHIPPED = checkpoint_folder("timesclip-small")
LEARNT, JUDGED = 100, 200
PENALTIES = np.logspace(-2, 5, 22)
CLASSES = ["ItalyPowerDemand", "GunPoint", "ArrowHead", "OSULeaf", "BasicMotions", "ACSF1"]
NUMBERS = ["Covid3Month", "CardanoSentiment"]
Made = tuple[np.ndarray, np.ndarray]  # series (n, T), and classes (whole numbers) or numbers (n,)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running means over so many steps."""
    return np.apply_along_axis(lambda row: np.convolve(row, np.ones(width) / width, "same"), -1, values)


def three_shapes(n: int, steps: int, rng: np.random.Generator) -> Made:
    """Cylinder, bell and funnel (Saito 1994)."""
    kinds, values, time = rng.integers(3, size=n), rng.normal(0, 0.6, (n, steps)), np.arange(steps)
    for row, kind in zip(values, kinds, strict=True):
        first = int(rng.uniform(0.05, 0.4) * steps)
        last = first + int(rng.uniform(0.25, 0.5) * steps) + 2
        form = (np.ones(steps), (time - first) / (last - first), (last - time) / (last - first))[kind]
        row += (6 + rng.normal()) * form * ((time >= first) & (time < last))
    return values, kinds


def period(n: int, steps: int, rng: np.random.Generator) -> Made:
    time, cycles = np.arange(steps) / steps, np.exp(rng.uniform(np.log(1.5), np.log(steps / 5), n))
    waves = np.sin(2 * np.pi * (cycles[:, None] * time + rng.random((n, 1)))) * rng.uniform(0.5, 2, (n, 1))
    return waves + rng.normal(0, 0.5, (n, steps)) + rng.normal(size=(n, 1)) * time, np.log(cycles)


def memory(n: int, steps: int, rng: np.random.Generator) -> Made:
    kinds, noise = rng.integers(4, size=n), rng.normal(size=(n, steps))
    values = noise.copy()
    for step in range(1, steps):
        values[:, step] += np.array([-0.3, 0.2, 0.6, 0.9])[kinds] * values[:, step - 1]
    return values / values.std(axis=1, keepdims=True), kinds


def season(n: int, steps: int, rng: np.random.Generator) -> Made:
    time, start = np.linspace(0, 1, steps)[None], rng.uniform(0.15, 0.45, (n, 1))
    end, rate = start + rng.uniform(0.2, 0.4, (n, 1)), rng.uniform(10, 30, (n, 1))
    growth = 1 / (1 + np.exp(-rate * (time - start))) - 1 / (1 + np.exp(-rate * (time - end)))
    values = rng.uniform(0.5, 1, (n, 1)) * growth + 0.05 * rng.normal(size=(n, steps)) + 0.2 * rng.normal(size=(n, 1))
    return values, (start + end)[:, 0] / 2


def level(n: int, steps: int, rng: np.random.Generator) -> Made:
    mean, spread = rng.normal(size=n), np.exp(0.5 * rng.normal(size=n))
    values = mean[:, None] + spread[:, None] * smooth(rng.normal(size=(n, steps)), max(2, steps // 24))
    return values, mean + np.log(spread)


def motif(n: int, steps: int, rng: np.random.Generator) -> Made:
    kinds, width = rng.integers(4, size=n), max(6, steps // 6)
    time = np.linspace(0, 1, width)
    wave = np.sin(2 * np.pi * time)
    forms = [wave, np.sin(4 * np.pi * time), 4 * np.minimum(time, 1 - time) - 1, np.sign(wave)]
    values = rng.normal(0, 1 / np.sqrt(steps), (n, steps)).cumsum(axis=1) + rng.normal(0, 0.15, (n, steps))
    for row, kind in zip(values, kinds, strict=True):
        place = rng.integers(0, steps - width + 1)
        row[place : place + width] += 1.5 * forms[kind]
    return values, kinds


def templates(n: int, steps: int, rng: np.random.Generator) -> Made:
    known = smooth(np.random.default_rng(5).normal(size=(12, steps)), max(2, steps // 8))
    known /= known.std(axis=1, keepdims=True)
    kinds, time = rng.integers(12, size=n), np.linspace(0, 1, steps)
    warped = [np.interp(time ** np.exp(rng.normal(0, 0.25)), time, known[kind]) for kind in kinds]
    return np.stack(warped) * rng.uniform(0.6, 1.4, (n, 1)) + rng.normal(0, 0.5, (n, steps)), kinds


TASKS: list[Callable[..., Made]] = [three_shapes, period, memory, season, level, motif, templates]


def invented(steps: int, variates: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """Name, series `(n, T, V)`, labels, and how many of them are learnt from."""
    for make in TASKS:
        rng = np.random.default_rng(0)
        first, labels = make(LEARNT + JUDGED, steps, rng)
        width = max(2, steps // 20)
        others = [
            10.0**k * smooth(rng.normal(size=first.shape), width) + 5 * rng.normal() for k in range(variates - 1)
        ]
        yield make.__name__.replace("_", " "), np.stack([first, *others], axis=2), labels, LEARNT


def public() -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """The same of the sets that aeon ships."""
    for name in CLASSES + NUMBERS:
        (train, known), (test, truth) = load(name).values()
        labels = np.concatenate([known, truth])
        labels = labels.astype(float) if name in NUMBERS else np.unique(labels, return_inverse=True)[1]
        yield name, np.concatenate([train, test]).transpose(0, 2, 1), labels, len(train)


def score(features: np.ndarray, labels: np.ndarray, learnt: int) -> float:
    """Accuracy, or R2, of the rows behind those that are learnt from."""
    head = RidgeCV(PENALTIES) if labels.dtype.kind == "f" else RidgeClassifierCV(PENALTIES)
    model = make_pipeline(StandardScaler(), head).fit(features[:learnt], labels[:learnt])
    return float(model.score(features[learnt:], labels[learnt:]))


def random_towers(folder: str) -> str:
    """A checkpoint like the one that ships, of random weights."""
    config = TimesCLIPConfig.from_pretrained(SHIPPED)
    torch.manual_seed(1)
    TimesCLIPForPreTraining(config).save_pretrained(folder)
    TimesCLIPProcessor.from_pretrained(SHIPPED).save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--public", action="store_true")
    parser.add_argument("--steps", type=int, nargs="+", default=[24, 96, 300])
    parser.add_argument("--variates", type=int, nargs="+", default=[1, 5])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sources = {
        f"{t} steps, {v} variate{'s' * (v > 1)}": invented(t, v) for v in options.variates for t in options.steps
    }
    with tempfile.TemporaryDirectory() as folder:
        towers = {"at random": random_towers(folder), "`timesclip-small`": "timesclip-small"}
        print("| | series | values | " + " | ".join(towers) + " |", "|---" * 5 + "|", sep="\n")
        for title, sets in {"aeon": public()}.items() if options.public else sources.items():
            every = []
            for name, series, labels, learnt in sets:
                found = [score(np.nan_to_num(series.reshape(len(series), -1)), labels, learnt)]
                for place in towers.values():
                    embedder = TimesCLIPEmbedder(place).fit(series[:learnt])
                    found.append(score(embedder.transform(series), labels, learnt))
                every.append(found)
                shape = f"{learnt} + {len(series) - learnt}, {series.shape[2]} x {series.shape[1]}"
                print(f"| {name} | {shape} | " + " | ".join(f"{one:.3f}" for one in found) + " |", flush=True)
            mean, won = np.mean(every, axis=0), [sum(row[2] > row[k] for row in every) for k in (0, 1)]
            words = f"above values in {won[0]}, above random in {won[1]} of {len(every)}"
            print(f"| **{title}**, mean | {words} | " + " | ".join(f"{one:.3f}" for one in mean) + " |", flush=True)


if __name__ == "__main__":
    main()
