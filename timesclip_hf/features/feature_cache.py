# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Features of a frozen vision tower: a frozen tower gives the same answer every epoch, so it is asked once.

What is stored is found by content: by the positions that are drawn, by a picture of how they are drawn, and by the
tower's weights. Whatever of these changes, the old entries are simply not found.
"""

import copy
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from filelock import FileLock, Timeout
from huggingface_hub import constants
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from ..data.collator import TimesCLIPDataCollator
from ..model.modeling_timesclip import TimesCLIPPreTrainedModel
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.towers import encode_images_in_chunks, eval_if_frozen, is_trained

logger = logging.getLogger(__name__)

# Each key belongs to one of eight buckets, by its first byte: the processes of a machine share the work by buckets.
_NUM_BUCKETS = 8
# A killed run loses at most what it encoded within this time.
_SECONDS_PER_FILE = 30.0
_ROWS_AT_ONCE = 256
_IMAGES_AT_ONCE = 256  # as many as keep an accelerator busy
# Half precision is taken where it is clearly faster, so that noise in the clock does not decide.
_MINIMAL_SPEEDUP = 1.25
_MINIMAL_COSINE = 0.999
_SECONDS_PER_MEASUREMENT = 0.2


class FeatureStore:
    """Features on disk, memory-mapped, by key; written by many processes, each file complete or absent.

    Args:
        folder: of one tower and one way to draw; made when something is stored.
        half: store new features in half precision.
    """

    def __init__(self, folder: str | os.PathLike[str], half: bool = False):
        self.folder = Path(folder)
        self.half = half
        self._files: dict[str, NDArray[Any]] = {}  # memory-mapped features (n, V, width) of each file
        self._places: dict[bytes, tuple[str, int]] = {}  # file and row of each key
        self._damaged: set[tuple[str, int]] = set()  # name and time of files that cannot be read
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:  # a data loader's worker maps the files anew
        return {"folder": self.folder, "half": self.half}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        """Series whose features are known."""
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __call__(self, plot_values: Tensor) -> Tensor | None:
        """Features `(B, V, width)` in fp32 of `(B, V, T)` plots; `None` if one of them is not stored."""
        keys = plot_keys(plot_values)
        if any(key not in self._places for key in keys):
            self.refresh()  # another process, or this one before it forked, may have stored it
        places = [self._places.get(key) for key in keys]
        rows = [self._files[place[0]][place[1]] for place in places if place is not None]
        return torch.from_numpy(np.stack(rows).astype(np.float32)) if len(rows) == len(keys) else None

    def refresh(self) -> None:
        """Takes note of what other processes have stored."""
        for path in sorted(self.folder.glob("*.arrow")):
            if path.name not in self._files and (version := (path.name, path.stat().st_mtime_ns)) not in self._damaged:
                try:
                    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
                except pa.ArrowInvalid as error:  # a disk's fault; written anew when it is missed
                    logger.warning("%s is left out, since it cannot be read: %s", path, error)
                    self._damaged.add(version)
                    continue
                column = table["features"].combine_chunks()
                shape = (len(table), *json.loads(table.schema.metadata[b"shape"]))
                self._files[path.name] = column.flatten().to_numpy(zero_copy_only=True).reshape(shape)
                self._places |= {key: (path.name, row) for row, key in enumerate(table["key"].to_pylist())}

    def write(self, keys: list[bytes], features: NDArray[np.float32]) -> None:
        """Stores `(n, V, width)` features in a new file, which appears under its name when it is complete.

        Raises:
            ValueError: features that are not finite, or too large for half precision.
        """
        with np.errstate(over="ignore"):
            stored = features.astype(np.float16 if self.half else np.float32)
        if not np.isfinite(stored).all():
            raise ValueError(
                "The vision tower's features are not finite"
                + (" in half precision: store them in full." if np.isfinite(features).all() else ".")
            )
        flat = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored[0].size)
        table = pa.table({"key": pa.array(keys, pa.binary(len(keys[0]))), "features": flat})
        table = table.replace_schema_metadata({"shape": json.dumps(stored.shape[1:])})
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                with pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.folder / f"{hashlib.blake2b(b''.join(keys), digest_size=16).hexdigest()}.arrow")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self.refresh()

    def lock(self, bucket: int) -> FileLock:
        """Held while a process encodes series of a bucket; the system frees it when the process dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f"{bucket}.lock")


class FeatureCache:
    """Draws and encodes each distinct series once, and keeps the vision tower's features on disk.

    `TimesCLIPTrainer` uses it by itself (`TimesCLIPTrainingArguments.feature_cache`). On its own:

    ```python
    cache = FeatureCache(model, processor)
    cache.add(dataset)
    collator = TimesCLIPDataCollator(processor, draw=False, features=cache.store)  # gives vision_features
    ```

    A killed `add` goes on where it was, give or take half a minute; several processes of a machine share the work.

    Args:
        model: a TimesCLIP model whose vision tower is frozen; encoding runs on its device.
        processor: the one that the series will be read with.
        folder: where all caches lie; default: `timesclip_hf/features` in the folder that `HF_HOME` names.
        dtype: precision in which the tower works: `"float32"`, `"bfloat16"`, or `"auto"`: bf16 where it is at least
            1.25 times as fast here and its features have a cosine of at least 0.999 to those in fp32; measured at the
            first use of a tower on a device, and noted in `folder`.
        half: store features in half precision, which halves the disk space.
        images_at_once: that the tower encodes; default: 256 on an accelerator, `config.vision_chunk_size` on a CPU.

    Raises:
        ValueError: a model without a vision tower, or with one that learns; a processor that draws no images.
    """

    def __init__(
        self,
        model: TimesCLIPPreTrainedModel,
        processor: TimesCLIPProcessor,
        folder: str | os.PathLike[str] | None = None,
        dtype: str = "auto",
        half: bool = False,
        images_at_once: int | None = None,
    ):
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"dtype must be 'auto', 'float32' or 'bfloat16', got {dtype!r}.")
        if not has_frozen_vision(model):
            raise ValueError(
                "Only a frozen vision tower gives the same features every time: this model's learns, or it has none. "
                "Set freeze_vision=True in its configuration."
            )
        if processor.image_size is None:
            raise ValueError("This processor draws no images (image_size=None): there is nothing to encode.")
        self.processor = processor
        tower: Any = model.base_model.vision_tower  # type: ignore[union-attr]
        eval_if_frozen(tower)  # frozen by hand it may still be in training mode, where dropout is at work
        self.tower = tower
        on_cpu = tower.device.type == "cpu"
        self.images_at_once = images_at_once or (model.config.vision_chunk_size if on_cpu else _IMAGES_AT_ONCE)
        root = Path(folder) if folder is not None else default_folder()
        fingerprint = tower_fingerprint(tower)
        self.dtype = self._measured_dtype(root, fingerprint) if dtype == "auto" else getattr(torch, dtype)
        name = _digest(fingerprint, drawing_fingerprint(processor), str(self.dtype), str(half))
        self.store = FeatureStore(root / name, half)

    def add(self, dataset: Any, progress: bool = True) -> int:
        """Encodes the series of a dataset that are not stored yet.

        Args:
            dataset: rows as `TimesCLIPDataCollator` takes them, with a length; `ForecastWindows`, too.
            progress: show a bar while images are encoded.

        Returns:
            Series that this process encoded.
        """
        missing = self._missing(dataset)
        if not missing:
            return 0
        tower = self.tower if self.tower.dtype == self.dtype else copy.deepcopy(self.tower).to(self.dtype)
        encoded = 0
        first = os.getpid()  # so that processes begin apart
        buckets = [(first + k) % _NUM_BUCKETS for k in range(_NUM_BUCKETS)]
        with tqdm(total=len(missing), desc="Encoding series", unit="series", disable=not progress) as bar:
            for wait in (False, True):  # first what nobody else is at; then what others may have left undone
                for bucket in list(buckets):
                    own = {key: row for key, row in missing.items() if key[0] % _NUM_BUCKETS == bucket}
                    try:
                        with self.store.lock(bucket).acquire(blocking=wait):
                            encoded += self._encode_bucket(tower, dataset, own, bar)
                    except Timeout:
                        continue
                    bar.update(len(own))
                    buckets.remove(bucket)
        logger.info("%d series encoded; features of %d are in %s.", encoded, len(self.store), self.store.folder)
        return encoded

    def _missing(self, dataset: Any) -> dict[bytes, int]:
        """A row for each key that is not stored."""
        found: dict[bytes, int] = {}
        self.store.refresh()
        for first in range(0, len(dataset), _ROWS_AT_ONCE):
            rows = range(first, min(first + _ROWS_AT_ONCE, len(dataset)))
            for row, key in zip(rows, plot_keys(self._plots(dataset, list(rows))), strict=True):
                if key not in self.store:
                    found.setdefault(key, row)
        return found

    def _plots(self, dataset: Any, rows: list[int]) -> Tensor:
        """Nothing but the series counts here: labels and static values are not even converted."""
        beside = ("labels", "static_values")
        series = [{name: value for name, value in dataset[row].items() if name not in beside} for row in rows]
        return TimesCLIPDataCollator(self.processor, draw=False)(series)["plot_values"]

    def _encode_bucket(self, tower: Any, dataset: Any, missing: dict[bytes, int], bar: Any) -> int:
        """Encodes and stores, some at a time, what nobody has stored meanwhile."""
        self.store.refresh()
        todo = [(key, row) for key, row in missing.items() if key not in self.store]
        for keys, features in self._encoded(tower, dataset, todo):
            self.store.write(keys, features)
            bar.set_postfix(stored=len(self.store))
        return len(todo)

    def _encoded(
        self, tower: Any, dataset: Any, todo: list[tuple[bytes, int]]
    ) -> Iterator[tuple[list[bytes], NDArray[np.float32]]]:
        """Keys and features, collected until they are worth a file."""
        series_at_once = max(1, self.images_at_once // max(1, self.processor.num_variates or 1))
        keys: list[bytes] = []
        parts: list[NDArray[np.float32]] = []
        started = time.monotonic()
        for first in range(0, len(todo), series_at_once):
            batch = todo[first : first + series_at_once]
            plots = self._plots(dataset, [row for _, row in batch]).to(tower.device)
            features = encode_images_in_chunks(
                tower, self.processor.draw(plots, self.dtype).flatten(0, 1), self.images_at_once
            )
            parts.append(features.unflatten(0, plots.shape[:2]).float().cpu().numpy())
            keys += [key for key, _ in batch]
            if time.monotonic() - started > _SECONDS_PER_FILE:
                yield keys, np.concatenate(parts)
                keys, parts, started = [], [], time.monotonic()
        if keys:
            yield keys, np.concatenate(parts)

    def _measured_dtype(self, root: Path, tower: str) -> torch.dtype:
        """What `choose_dtype` found at the first use of this tower on this device."""
        device = self.tower.device
        name = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {os.cpu_count()} cores"
        )
        note = root / f"precision-{_digest(tower, name, torch.__version__)}.json"
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(note.with_suffix(".lock")):
            if not note.exists():
                num_variates = self.processor.num_variates or 1
                plots = _probe(1, self.processor.context_length).expand(num_variates, -1)[None]
                images = self.processor.draw(plots.to(device)).flatten(0, 1)
                chosen, speedup, cosine = choose_dtype(self.tower, images[: self.images_at_once])
                found = {"dtype": str(chosen).removeprefix("torch."), "speedup": speedup, "cosine": cosine}
                note.write_text(json.dumps({"device": f"{device.type} {name}", **found}))
            return getattr(torch, json.loads(note.read_text())["dtype"])


def default_folder() -> Path:
    """Where features are kept unless another folder is named."""
    return Path(constants.HF_HOME) / "timesclip_hf" / "features"


def has_frozen_vision(model: Any) -> bool:
    """Whether a model has a vision tower and none of its weights learns."""
    tower = getattr(model.base_model, "vision_tower", None)
    return tower is not None and not is_trained(tower)


def plot_keys(plot_values: Tensor) -> list[bytes]:
    """A key for each sample of `(B, V, T)` plots: equal for equal plots, and for no others."""
    plots = np.ascontiguousarray(plot_values.cpu().numpy())
    shape = str(plots.shape[1:]).encode()
    return [hashlib.blake2b(plot.tobytes(), digest_size=16, key=shape).digest() for plot in plots]


def tower_fingerprint(tower: Any) -> str:
    """A name for a vision tower's architecture and weights, to the last bit."""
    beside = ("architectures", "dtype", "transformers_version")  # what saving and loading adds
    settings = {k: v for k, v in tower.config.to_dict().items() if not k.startswith("_") and k not in beside}
    digest = hashlib.blake2b(digest_size=16)
    identity = [type(tower).__name__, transformers.__version__, settings, adapters_at_work(tower)]
    digest.update(json.dumps(identity, sort_keys=True, default=str).encode())
    for name, weight in sorted(tower.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def adapters_at_work(tower: Any) -> str:
    """Which of a tower's adapters are switched on, merged and scaled how: what its weights do not tell."""
    adapted = [m for m in tower.modules() if {"base_layer", "modules_to_save"} & set(m._modules)]  # peft's marks
    names = ("active_adapters", "disable_adapters", "merged_adapters", "scaling")
    return str([[getattr(module, name, None) for name in names] for module in adapted])


def drawing_fingerprint(processor: TimesCLIPProcessor) -> str:
    """A name for how a processor draws: the hash of a few pictures, so that settings and code both count."""
    plots = _probe(8, processor.context_length)[None]
    return hashlib.blake2b(processor.draw(plots).numpy().tobytes(), digest_size=16).hexdigest()


def choose_dtype(tower: Any, images: Tensor) -> tuple[torch.dtype, float, float]:
    """Which precision a tower should work in on its device: measured, by time and by what it does to the features.

    Args:
        tower: the vision tower, in fp32.
        images: `(n, 3, height, width)`, on the same device.

    Returns:
        `torch.bfloat16` or `torch.float32`, how many times as fast bf16 is, and the smallest cosine between the
        features of an image in both.
    """
    if tower.dtype != torch.float32:
        return tower.dtype, 1.0, 1.0
    half = copy.deepcopy(tower).to(torch.bfloat16)
    full_features, full_rate = _measured(tower, images)
    half_features, half_rate = _measured(half, images.bfloat16())
    cosine = torch.cosine_similarity(full_features.double(), half_features.double()).min().item()
    speedup = half_rate / full_rate
    faster = speedup >= _MINIMAL_SPEEDUP and cosine >= _MINIMAL_COSINE
    return (torch.bfloat16 if faster else torch.float32), speedup, cosine


def _measured(tower: Any, images: Tensor) -> tuple[Tensor, float]:
    """Features, and calls a second."""
    features = encode_images_in_chunks(tower, images, len(images)).cpu()  # also warms up
    started, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - started < _SECONDS_PER_MEASUREMENT:
        encode_images_in_chunks(tower, images, len(images)).sum().item()  # waits for an accelerator
        calls += 1
    return features, calls / (time.perf_counter() - started)


def _probe(num_variates: int, num_steps: int) -> Tensor:
    """`(V, T)` plots that use the whole axis, with a gap; the same everywhere and always."""
    steps = torch.arange(num_variates * num_steps, dtype=torch.float64).reshape(num_variates, num_steps)
    plots = (steps * 0.6180339887498949) % 1
    plots[:, num_steps // 3 : num_steps // 3 + num_steps // 8] = torch.nan
    return plots.float()


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


__all__ = [
    "FeatureCache",
    "FeatureStore",
    "adapters_at_work",
    "choose_dtype",
    "default_folder",
    "drawing_fingerprint",
    "has_frozen_vision",
    "plot_keys",
    "tower_fingerprint",
]
