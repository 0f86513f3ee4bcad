# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which training series are most like a new one, and whether it is farther from all of them than they are from each
other: kept beside a model, small enough to travel with it.

The rule. Of a series is taken what the model is given and what it makes of it, in blocks: the features of the towers
(`get_features`), the scaled series, its level and spread where scaling takes these away, and static values that it
reads. Numbers of a block are standardised by the training series and divided by the root of their count, so that
blocks count alike, however wide; the first two are brought to their 16 main directions. Distances are Euclidean.
A series is *unusual* if its nearest training series is farther away than 99 % of training series are from theirs.

What is kept, in `similar.safetensors`: up to 2 000 training series, some forty numbers each in half precision, the
number of their row in the training part, and names only where they are given. From these numbers a series can be told
roughly, not exactly; whoever may not see the training data must not get this file.
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
from transformers.utils import cached_file

from ..data.collator import TimesCLIPDataCollator
from ..model.processing_timesclip import TimesCLIPProcessor

SIMILAR_FILE = "similar.safetensors"
MAX_SERIES = 2000
_DIRECTIONS, _NEARLY_ALL = 16, 0.99
_REDUCED = ("towers", "series")
_VERSION = "1"
_AT_ONCE = 64

Readings = Mapping[str, NDArray[np.floating]]


class SimilarSeries:
    """Training series as points, and how far apart they are; see the rule above.

    Args:
        spaces: block -> `shift`, `factor` `(width,)` and, of some, `directions` `(width, k)`.
        points: `(n, d)`, blocks side by side in the order of `spaces`.
        threshold: the distance from which a series is unusual.
        rows: `(n,)` numbers of their rows in the training part.
        names: `n` names, or none.
    """

    def __init__(
        self, spaces: Mapping[str, Mapping[str, NDArray[Any]]], points: NDArray[Any], threshold: float,
        rows: NDArray[np.int64], names: Sequence[str] = (),
    ):  # fmt: skip
        self.spaces, self.points = {name: dict(space) for name, space in spaces.items()}, np.asarray(points)
        self.threshold, self.rows, self.names = float(threshold), np.asarray(rows), list(names)

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
    def of_readings(cls, readings: Readings, rows: NDArray[np.int64], names: Sequence[str] = ()) -> "SimilarSeries":
        """Takes up readings of training series, as `read_blocks` gives them; `rows` and `names` as for the class."""
        spaces = {name: _space(block, name in _REDUCED) for name, block in readings.items()}
        points = _project(readings, spaces).astype(np.float16)
        found = cls(spaces, points, 0.0, rows, names)
        apart = found._distances(points.astype(np.float64))
        np.fill_diagonal(apart, np.inf)
        found.threshold = float(np.quantile(apart.min(axis=1), _NEARLY_ALL))
        return found

    def nearest(self, readings: Readings, count: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances `(n, count)` to the nearest training series, and their places among those that are kept.

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
        return np.take_along_axis(apart, places, axis=1), places

    def name_of(self, place: int) -> str:
        """What a kept series is called: its name, or its row in the training part."""
        return self.names[place] if self.names else f"training row {self.rows[place]}"

    def _distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = self.points.astype(np.float64)
        squares = np.square(points).sum(axis=1)[:, None] + np.square(kept).sum(axis=1) - 2 * points @ kept.T
        return np.sqrt(np.maximum(squares, 0))

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
        for name, space in self.spaces.items():
            for part, array in space.items():
                kind = np.float16 if part == "directions" else np.float32
                tensors[f"{name}.{part}"] = np.ascontiguousarray(array, kind)
        told = {
            "format": "timesclip similar", "version": _VERSION, "threshold": repr(self.threshold),
            "blocks": json.dumps(list(self.spaces)), "names": json.dumps(self.names),
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
        missing: Any = {
            "_raise_exceptions_for_missing_entries": False,
            "_raise_exceptions_for_connection_errors": False,
        }
        path = cached_file(str(model), SIMILAR_FILE, **missing, **hub_kwargs)
        if path is None:
            return None
        try:
            with safe_open(path, "np") as file:
                told = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if told.get("version") != _VERSION:
                raise ValueError(f"version {told.get('version')!r}, this release reads {_VERSION}")
            spaces: dict[str, dict[str, Any]] = {name: {} for name in json.loads(told["blocks"])}
            for name, tensor in tensors.items():
                block, _, part = name.rpartition(".")
                if block:
                    spaces[block][part] = tensor.astype(np.float64)
            points, rows = tensors["points"], tensors["rows"]
            names, threshold = json.loads(told["names"]), float(told["threshold"])
            if points.ndim != 2 or len(points) != len(rows) or len(names) not in (0, len(rows)):
                raise ValueError("its parts do not fit each other")
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read: {error}; write it anew, or remove it") from error
        return cls(spaces, points, threshold, rows, [str(name) for name in names])


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
    body, found = base.base_model, {}
    towers = [branch for branch in ("vision", "text") if getattr(body, f"{branch}_tower") is not None]
    known = [(said or {}).get(f"{branch}_features") for branch in towers]
    given = [features.float() for features in known if features is not None]
    if towers and len(given) == len(towers):
        found["towers"] = torch.cat(given, dim=-1)  # as `get_features` has them
    elif towers:
        if "vision" in towers and "pixel_values" not in on_device:
            processor.add_images(on_device)
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


__all__ = ["MAX_SERIES", "SIMILAR_FILE", "SimilarSeries", "blocks_of", "read_blocks"]
