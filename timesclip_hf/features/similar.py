# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which training series are most like a new one, and whether it is farther from all of them than is usual among them:
kept beside a model, small enough to travel with it.

The rule. Of a series is taken what the model is given and what it makes of it, in blocks: the features of the towers
that its answer depends on (`get_features`), the scaled series, its level and spread where scaling takes these away,
and static values that it reads. Numbers of a block are standardised by the training series and divided by the root of
their count, so that blocks count alike, however wide; the first two are brought to their 16 main directions.
Distances are Euclidean. What counts is how far the nearest training series is for that place: its distance is divided
by how far apart training series are there (for each of the 10 nearest, its mean distance to its own 10 nearest; the
mean of these). A series is *unusual* if that is more than for 99 % of training series, each compared with the others:
a near relative of the local outlier factor (Breunig et al. 2000), chosen among others without the test years of the
crop data. Of windows of one long series, those that share steps are no neighbours there.

What is kept, in `similar.safetensors`: up to 2 000 training series, some forty numbers each in half precision, the
number of their row in the training part, and names only where they are given. From these numbers a series can be told
roughly, not exactly; whoever may not see the training data must not get this file. Files of version 1 told series by
their distance alone, and still do.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor
from transformers.trainer_utils import unwrap_peft_model

from ..data.collator import TimesCLIPDataCollator
from ..model.processing_timesclip import TimesCLIPProcessor
from .beside import file_beside
from .plots import read_plots

SIMILAR_FILE = "similar.safetensors"
MAX_SERIES, MAX_WINDOWS = 2000, 500
_DIRECTIONS, _NEARLY_ALL, _AROUND = 16, 0.99, 10
_REDUCED = ("towers", "series")
_VERSION, _KNOWN_VERSIONS = "2", ("1", "2")
_AT_ONCE = 64
_FEWEST_WINDOWS = 20

Readings = Mapping[str, NDArray[np.floating]]


class SimilarSeries:
    """Training series as points, and how far apart they are; see the rule above.

    Args:
        spaces: block -> `shift`, `factor` `(width,)` and, of some, `directions` `(width, k)`.
        points: `(n, d)`, blocks side by side in the order of `spaces`.
        threshold: from which on a series is unusual, see the rule.
        rows: `(n,)` numbers of their rows in the training part.
        names: `n` names, or none.
        spacing: `(n,)`, mean distance of each to its nearest; `None`: the threshold is one of distances.
    """

    def __init__(
        self, spaces: Mapping[str, Mapping[str, NDArray[Any]]], points: NDArray[Any], threshold: float,
        rows: NDArray[np.int64], names: Sequence[str] = (), spacing: NDArray[Any] | None = None,
    ):  # fmt: skip
        self.spaces, self.points = {name: dict(space) for name, space in spaces.items()}, np.asarray(points)
        self.threshold, self.rows, self.names = float(threshold), np.asarray(rows), list(names)
        self.spacing = None if spacing is None else np.asarray(spacing, np.float32)

    @classmethod
    def fit(
        cls, model: Any, processor: TimesCLIPProcessor, samples: Any, names: Sequence[Any] | None = None,
        max_series: int = MAX_SERIES, seed: int = 0,
    ) -> "SimilarSeries":  # fmt: skip
        """Takes up training series.

        Args:
            model: as trained; `processor`: its own.
            samples: rows with `past_values` and what else the model reads: the training part.
            names: of the rows, to be told of neighbours; they are stored as they are.
            max_series: series that are kept, drawn at random where there are more.
            seed: of that draw.

        Raises:
            ValueError: fewer than three series, or names that do not fit them.
        """
        if len(samples) < 3:
            raise ValueError(f"samples are {len(samples)} series: at least three tell how far apart series are")
        if names is not None and len(names) != len(samples):
            raise ValueError(f"names has {len(names)} entries, expected one for each of {len(samples)} samples")
        rows = np.sort(np.random.default_rng(seed).permutation(len(samples))[:max_series])
        readings = read_blocks(model, processor, [samples[int(row)] for row in rows])
        return cls.of_readings(readings, rows, [] if names is None else [str(names[row]) for row in rows])

    @classmethod
    def fit_windows(
        cls, model: Any, processor: TimesCLIPProcessor, windows: Any, series: Sequence[int], steps: Sequence[int],
        max_windows: int = MAX_WINDOWS, seed: int = 0,
    ) -> "SimilarSeries | None":  # fmt: skip
        """Takes up windows that a forecaster learnt from; `None`: too few of them.

        Args:
            model, processor: as for `fit`.
            windows: rows with `past_values` and what else the model reads.
            series, steps: number of each window's series, and where in it the window stands.
            max_windows: that are kept, drawn at random where there are more.
            seed: of that draw.
        """
        rows = np.sort(np.random.default_rng(seed).permutation(len(windows))[:max_windows])
        if len(rows) < _FEWEST_WINDOWS:
            return None
        own, at = np.asarray(series)[rows], np.asarray(steps)[rows]
        length = int(model.config.context_length + model.config.prediction_length)
        shared = (own[:, None] == own) & (np.abs(at[:, None] - at) < length)
        readings = read_blocks(model, processor, [windows[int(row)] for row in rows])
        return cls.of_readings(readings, rows, shared=shared)

    @classmethod
    def of_readings(
        cls, readings: Readings, rows: NDArray[np.int64], names: Sequence[str] = (), shared: NDArray[Any] | None = None
    ) -> "SimilarSeries":
        """Takes up readings of training series, as `read_blocks` gives them.

        Args:
            readings: of them.
            rows, names: as for the class.
            shared: `(n, n)` bool, which of them are no neighbours of each other.
        """
        spaces = {name: _space(block, name in _REDUCED) for name, block in readings.items()}
        found = cls(spaces, _project(readings, spaces).astype(np.float16), 0.0, rows, names)
        apart = found._distances(found.points.astype(np.float64))
        np.fill_diagonal(apart, np.inf)
        if shared is not None:
            apart[shared] = np.inf
        found.spacing = _mean(np.sort(apart, axis=1)[:, :_AROUND]).astype(np.float32)
        own = found._strangeness(apart)
        own = own[np.isfinite(own)]
        found.threshold = float(np.quantile(own, _NEARLY_ALL)) if len(own) else np.inf
        return found

    def compare(
        self, readings: Readings, count: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
        """Distances `(n, count)` to the nearest training series, their places among those that are kept, and which
        series are unusual `(n,)`.

        Raises:
            ValueError: readings of another model.
        """
        expected = {name: len(space["shift"]) for name, space in self.spaces.items()}
        given = {name: block.shape[1] for name, block in readings.items()}
        if given != expected:
            raise ValueError(
                f"{SIMILAR_FILE} is of another model: it holds {expected} numbers of a series, this one gives {given}"
            )
        apart = self._distances(_project(readings, self.spaces))
        places = np.argsort(apart, axis=1, kind="stable")[:, :count]
        distances = np.take_along_axis(apart, places, axis=1)
        told = distances[:, 0] if self.spacing is None else self._strangeness(apart)
        return distances, places, told > self.threshold

    def nearest(self, readings: Readings, count: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The first two of `compare`."""
        return self.compare(readings, count)[:2]

    def told(self, named: str = ", without names") -> str:
        """What a card says of the file; `named`: whether it has names."""
        return (
            f"{SIMILAR_FILE} holds readings of {len(self.rows)} training series{named}, by which predictions say how "
            "like them a series is: they can be told from it roughly. Leave the file out where the data must not be "
            "shared."
        )

    def name_of(self, place: int) -> str:
        """What a kept series is called: its name, or its row in the training part."""
        return self.names[place] if self.names else f"training row {self.rows[place]}"

    def _distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = self.points.astype(np.float64)
        squares = np.square(points).sum(axis=1)[:, None] + np.square(kept).sum(axis=1) - 2 * points @ kept.T
        return np.sqrt(np.maximum(squares, 0))

    def _strangeness(self, apart: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of distances `(n, kept)` the nearest, in units of how far apart training series are there."""
        spacing, count = np.asarray(self.spacing, np.float64), min(_AROUND, apart.shape[1])
        around = np.argpartition(apart, count - 1, axis=1)[:, :count]
        usual = np.where(np.isinf(np.take_along_axis(apart, around, axis=1)), np.inf, spacing[around])
        least = 1e-3 * spacing.mean() + 1e-12  # where training series repeat each other
        return apart.min(axis=1) / np.maximum(_mean(usual), least)

    def fingerprint(self) -> str:
        """A name for all that is told by it."""
        told = json.dumps([self.threshold, self.rows.tolist(), self.names]).encode()
        return hashlib.blake2b(self.points.tobytes() + told, digest_size=16).hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Writes `similar.safetensors` into a model's folder."""
        tensors: dict[str, NDArray[Any]] = {
            "points": self.points.astype(np.float16),
            "rows": self.rows.astype(np.int64),
        }
        if self.spacing is not None:
            tensors["spacing"] = self.spacing
        for name, space in self.spaces.items():
            for part, array in space.items():
                kind = np.float16 if part == "directions" else np.float32
                tensors[f"{name}.{part}"] = np.ascontiguousarray(array, kind)
        told = {
            "format": "timesclip similar", "version": "1" if self.spacing is None else _VERSION,
            "threshold": repr(self.threshold), "blocks": json.dumps(list(self.spaces)),
            "names": json.dumps(self.names),
        }  # fmt: skip
        path = Path(folder) / SIMILAR_FILE
        save_file(tensors, path, metadata=told)
        return path

    @classmethod
    def load(cls, model: str | Path, **hub_kwargs: Any) -> "SimilarSeries | None":
        """What lies beside a saved model; `None`: nothing does.

        Args:
            model: folder or Hub id.
            **hub_kwargs: `revision`, `token`, ...

        Raises:
            ValueError: the file is damaged, or of a later release.
        """
        path = file_beside(model, SIMILAR_FILE, **hub_kwargs)
        if path is None:
            return None
        try:
            with safe_open(path, "np") as file:
                told = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if told.get("version") not in _KNOWN_VERSIONS:
                raise ValueError(f"version {told.get('version')!r}, this release reads {', '.join(_KNOWN_VERSIONS)}")
            spaces: dict[str, dict[str, Any]] = {name: {} for name in json.loads(told["blocks"])}
            for name, tensor in tensors.items():
                block, _, part = name.rpartition(".")
                if block:
                    spaces[block][part] = tensor.astype(np.float64)
            points, rows = tensors["points"], tensors["rows"]
            names, threshold = json.loads(told["names"]), float(told["threshold"])
            spacing = None if told["version"] == "1" else tensors["spacing"]
            if spacing is not None and spacing.shape != (len(points),):
                raise ValueError("its parts do not fit each other")
            if points.ndim != 2 or len(points) != len(rows) or len(names) not in (0, len(rows)):
                raise ValueError("its parts do not fit each other")
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read: {error}; write it anew, or remove it") from error
        return cls(spaces, points, threshold, rows, [str(name) for name in names], spacing)


@torch.no_grad()
def read_blocks(model: Any, processor: TimesCLIPProcessor, samples: Sequence[Any]) -> dict[str, NDArray[np.float32]]:
    """What is compared of each sample `(n, width)`, by block: see the rule above."""
    model.eval()
    collate = TimesCLIPDataCollator(processor, draw=False)
    parts: dict[str, list[NDArray[np.float32]]] = {}
    for first in range(0, len(samples), _AT_ONCE):
        batch = collate([samples[number] for number in range(first, min(first + _AT_ONCE, len(samples)))])
        for name, block in blocks_of(model, processor, batch).items():
            parts.setdefault(name, []).append(block.cpu().numpy())
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


@torch.no_grad()
def blocks_of(
    model: Any, processor: TimesCLIPProcessor, batch: Mapping[str, Any], said: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """The same of a batch of the processor, whose images are drawn where it has `plot_values` in their place.

    `said`: the model's output for the batch, as far as it is known, so that no tower is asked twice.
    """
    base = unwrap_peft_model(model)
    reads, device = base.answer_inputs(base.config), base.device
    on_device = {name: tensor.to(device) for name, tensor in batch.items() if isinstance(tensor, Tensor)}
    body, found, seen = base.base_model, {}, "pixel_values" in reads
    towers = [
        branch for branch in ("vision", "text")
        if getattr(body, f"{branch}_tower") is not None and (seen or branch == "text" or base.task.answer is None)
    ]  # fmt: skip
    if said is None and towers == ["text"] and body.vision_tower is not None:  # plots only taught
        said = base(**{name: tensor for name, tensor in on_device.items() if name in reads})
    known = [(said or {}).get(f"{branch}_features") for branch in towers]
    given = [features.float() for features in known if features is not None]
    if towers and len(given) == len(towers):
        found["towers"] = torch.cat(given, dim=-1)  # as `get_features` has them
    elif towers:
        if "vision" in towers:
            read_plots(model, processor, on_device)
        found["towers"] = body.get_features(**on_device)
    found["series"] = on_device["variate_values"]
    if processor.scaling == "instance":
        scale = on_device["scale"].double()
        found["level"] = torch.cat([on_device["loc"].double(), scale.clamp(min=1e-30).log()], dim=1)
    if "static_values" in reads and "static_values" in on_device:
        found["static"] = on_device["static_values"]
    return {name: block.flatten(1).float() for name, block in found.items()}


def _space(block: NDArray[np.floating], reduced: bool) -> dict[str, NDArray[np.float64]]:
    """How a block is standardised and, if reduced, its main directions."""
    block = block.astype(np.float64)
    shift, spread = block.mean(axis=0), block.std(axis=0)
    tells = spread > 1e-6 * np.abs(shift) + 1e-12
    factor = np.where(tells, 1 / np.where(tells, spread, 1), 0.0) / np.sqrt(max(1, block.shape[1]))
    # In the precision in which they are kept, so that what is read again says the same.
    space = {
        name: array.astype(np.float32).astype(np.float64) for name, array in (("shift", shift), ("factor", factor))
    }
    if reduced and block.shape[1] > _DIRECTIONS:
        scaled = (block - space["shift"]) * space["factor"]
        space["directions"] = _main_directions(scaled).astype(np.float16).astype(np.float64)
    return space


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of rows, infinite values left out; 0 of none."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def _main_directions(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(width, 16)`, or fewer for few series; by the smaller of the two squares."""
    if len(scaled) < scaled.shape[1]:
        strengths, vectors = np.linalg.eigh(scaled @ scaled.T)
        kept = np.argsort(strengths)[::-1][:_DIRECTIONS]
        kept = kept[strengths[kept] > 1e-12 * max(strengths.max(), 1e-300)]
        return scaled.T @ (vectors[:, kept] / np.sqrt(strengths[kept]))
    return np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1][:, :_DIRECTIONS]


def _project(readings: Readings, spaces: Mapping[str, Mapping[str, NDArray[Any]]]) -> NDArray[np.float64]:
    parts = []
    for name, space in spaces.items():
        scaled = (np.asarray(readings[name], np.float64) - space["shift"]) * space["factor"]
        parts.append(scaled @ space["directions"] if "directions" in space else scaled)
    return np.concatenate(parts, axis=1)


__all__ = ["MAX_SERIES", "MAX_WINDOWS", "SIMILAR_FILE", "SimilarSeries", "blocks_of", "read_blocks"]
