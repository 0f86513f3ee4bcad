# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Features on disk, found by what was encoded: a key is the hash of the positions that are drawn.

A file carries a checksum of what is read from it, which every process compares once, when it first maps the file. What
is damaged, cut or not ours is named once in a warning and left out, so that its series are encoded again.
"""

import contextlib
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock, Timeout
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
            if path.name in self._files:
                continue
            try:
                version = path.name, path.stat().st_mtime_ns
            except OSError:  # another process removed it
                continue
            if version in self._damaged:
                continue
            try:
                keys, features = _read(path)
            except Exception as error:  # whatever Arrow says of bytes that it did not write
                logger.warning("%s is left out, and its series are encoded again: %s", path, error)
                self._damaged.add(version)
                continue
            self._files[path.name] = features
            self._places |= {key: (path.name, row) for row, key in enumerate(keys)}

    def mark_used(self, keys: Iterable[bytes]) -> set[Path]:
        """Notes the time on the files that hold these keys, where that is allowed; the files."""
        files = {self.folder / self._places[key][0] for key in keys if key in self._places}
        for path in files:
            with contextlib.suppress(OSError):
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return files

    def write(self, keys: list[bytes], features: NDArray[np.float32]) -> None:
        """Stores `(n, V, width)` features in a new file, which appears under its name when it is complete.

        Raises:
            ValueError: features that are not finite.
        """
        if not np.isfinite(features).all():
            raise ValueError("The vision tower's features are not finite: its weights, or its precision, are at fault")
        features = np.ascontiguousarray(features, np.float32)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features[0].size)
        table = pa.table({"key": pa.array(keys, pa.binary(len(keys[0]))), "features": flat})
        notes = {"shape": json.dumps(features.shape[1:]), "blake2b": _checksum(keys, features)}
        table = table.replace_schema_metadata(notes)
        self.folder.mkdir(parents=True, exist_ok=True)
        written = self.folder / f"{uuid.uuid4().hex}.part"  # with the umask's permissions, so that others can read
        try:
            with written.open("xb") as file:
                with pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())
            os.replace(written, self.folder / f"{digest(b''.join(keys))}.arrow")
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        self.refresh()

    @contextlib.contextmanager
    def lock(self, bucket: int, wait: bool) -> Iterator[bool]:
        """Held while a process encodes series of a bucket; the system frees it when the process dies.

        Where a lock cannot be made (a folder in its place, a file system without locks), work goes on without it: at
        worst, two processes encode the same.

        Yields:
            Whether it is this process's turn; `False`, without `wait`, where another one is at it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{bucket}.lock"
        held = FileLock(path)
        try:
            path.touch(mode=0o666)  # less the umask
            held.acquire(blocking=wait)
        except Timeout:
            yield False
            return
        except (OSError, NotImplementedError) as error:
            logger.warning("%s cannot be locked, so other processes may encode the same: %s", self.folder, error)
        try:
            yield True
        finally:
            held.release()


def shrink(folder: Path, max_size: int, keep: Collection[Path]) -> int:
    """Deletes the least recently used files of all stores in a folder until they take at most `max_size` bytes.

    Args:
        folder: where all stores lie.
        max_size: in bytes.
        keep: files that are in use, which stay.

    Returns:
        Bytes that were freed.
    """
    found = []
    for path in folder.glob("*/*.arrow"):
        with contextlib.suppress(OSError):  # another process may remove it
            state = path.stat()
            found.append((max(state.st_atime_ns, state.st_mtime_ns), state.st_size, path))
    total, freed = sum(size for _, size, _ in found), 0
    for _, size, path in sorted(found):
        if total - freed <= max_size:
            break
        if path not in keep:
            with contextlib.suppress(OSError):
                path.unlink()
                freed += size
    return freed


def _read(path: Path) -> tuple[list[bytes], NDArray[np.float32]]:
    """Keys and memory-mapped features `(n, V, width)` of a file.

    Raises:
        ValueError: it is damaged, or not ours; so may pyarrow's errors say, of any kind.
    """
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    notes = table.schema.metadata or {}
    if table.column_names != ["key", "features"] or b"shape" not in notes:
        raise ValueError("it is not a file of features")
    column = table["features"].combine_chunks()
    column.validate(full=True)
    shape = (len(table), *json.loads(notes[b"shape"]))
    features = column.flatten().to_numpy(zero_copy_only=True).reshape(shape)
    keys = table["key"].to_pylist()
    if features.dtype != np.float32 or not all(isinstance(key, bytes) for key in keys):
        raise ValueError("it is not a file of features")
    if notes.get(b"blake2b", b"").decode() != _checksum(keys, features):
        raise ValueError("its content is not what was written, or it has no checksum (as in earlier versions)")
    if not np.isfinite(features).all():
        raise ValueError("its features are not finite")
    return keys, features


def _checksum(keys: list[bytes], features: NDArray[np.float32]) -> str:
    """Of all that is read from a file."""
    found = hashlib.blake2b(json.dumps(features.shape).encode() + b"".join(keys), digest_size=16)
    found.update(features.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def plot_keys(plot_values: Tensor) -> list[bytes]:
    """A key for each sample of `(B, V, T)` plots: equal for equal plots, and for no others."""
    plots = np.ascontiguousarray(plot_values.cpu().numpy())
    shape = str(plots.shape[1:]).encode()
    return [hashlib.blake2b(plot.tobytes(), digest_size=16, key=shape).digest() for plot in plots]


def digest(content: bytes) -> str:
    """A name for these bytes, and no others."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


__all__ = ["FeatureStore", "digest", "plot_keys", "shrink"]
