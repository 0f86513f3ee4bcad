# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Features on disk, found by what was encoded: a key is the hash of the positions that are drawn."""

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)


class FeatureStore:
    """Features as Arrow files, memory-mapped, by key; written by many processes, each file complete or absent.

    Args:
        folder: of one tower and one way to draw; made when something is stored.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self._files: dict[str, NDArray[np.float32]] = {}  # memory-mapped features (n, V, width) of each file
        self._places: dict[bytes, tuple[str, int]] = {}  # file and row of each key
        self._damaged: set[tuple[str, int]] = set()  # name and time of files that cannot be read
        self.refresh()

    def __reduce__(self) -> Any:  # a data loader's worker maps the files anew
        return FeatureStore, (self.folder,)

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
        return torch.from_numpy(np.stack(rows)) if len(rows) == len(keys) else None

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
            ValueError: features that are not finite.
        """
        if not np.isfinite(features).all():
            raise ValueError("The vision tower's features are not finite: its weights, or its precision, are at fault")
        flat = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features[0].size)
        table = pa.table({"key": pa.array(keys, pa.binary(len(keys[0]))), "features": flat})
        table = table.replace_schema_metadata({"shape": json.dumps(features.shape[1:])})
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                with pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.folder / f"{digest(b''.join(keys))}.arrow")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self.refresh()

    def lock(self, bucket: int) -> FileLock:
        """Held while a process encodes series of a bucket; the system frees it when the process dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f"{bucket}.lock")


def plot_keys(plot_values: Tensor) -> list[bytes]:
    """A key for each sample of `(B, V, T)` plots: equal for equal plots, and for no others."""
    plots = np.ascontiguousarray(plot_values.cpu().numpy())
    shape = str(plots.shape[1:]).encode()
    return [hashlib.blake2b(plot.tobytes(), digest_size=16, key=shape).digest() for plot in plots]


def digest(content: bytes) -> str:
    """A name for these bytes, and no others."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


__all__ = ["FeatureStore", "digest", "plot_keys"]
