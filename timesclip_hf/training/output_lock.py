# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One training at a time in a folder: who trains there is written in it, and a second one is refused with that.

The folder `_timesclip_hf` in an output folder is ours. It holds what is being written or deleted, `training.lock`,
which the system frees when its process ends, however it ends, and `training.json`, which says who holds the lock. It
is gone when a training has ended; what a killed one left is taken over by the next.
"""

import contextlib
import datetime
import json
import os
import socket
import time
from pathlib import Path

from filelock import FileLock, Timeout
from transformers.utils import logging

from ..model.json_objects import parse_object

logger = logging.get_logger(__name__)

OWN_FOLDER = "_timesclip_hf"
# A killed process's data loaders hold its lock until they notice.
_PATIENCE = 15.0  # seconds


class OutputLock:
    """Held while a training writes to a folder.

    Args:
        output_dir: of the training; made if it is not there.
    """

    def __init__(self, output_dir: str | os.PathLike[str]):
        self.output_dir = Path(output_dir)
        self._folder = self.output_dir / OWN_FOLDER
        self._who = self._folder / "training.json"
        self._lock: FileLock | None = None

    def acquire(self) -> str | None:
        """Takes the folder; where that is not possible, who has it, in words.

        Where there are no locks (some network file systems), training goes on without one, with a warning.
        """
        path, until = self._folder / "training.lock", time.monotonic() + (0 if self._is_at_work() else _PATIENCE)
        while True:
            lock = FileLock(path)
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=max(0.0, until - time.monotonic()))
            except Timeout:
                return self._holder()
            except (OSError, NotImplementedError) as error:
                logger.warning(f"{path} cannot be locked, so a second training here would not be noticed: {error}")
                return None
            if path.exists():  # else who held it has just ended, and taken it along
                break
            lock.release()
        self._lock = lock
        started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._who.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": started}) + "\n")
        return None

    def release(self) -> None:
        """Gives the folder back, if it is held."""
        if self._lock is None:
            return
        for path in (self._who, Path(self._lock.lock_file)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        self._lock.release()
        self._lock = None
        with contextlib.suppress(OSError):  # it is not empty, or another training has begun
            self._folder.rmdir()

    def _read(self) -> dict[str, object]:
        try:
            return parse_object(self._who.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _is_at_work(self) -> bool:
        """Whether the process that says it trains here is known to be alive; that of another host is not."""
        who = self._read()
        pid = who.get("pid")
        if who.get("host") != socket.gethostname() or not isinstance(pid, int) or pid < 1 or os.name != "posix":
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # it is somebody else's
            pass
        return True

    def _holder(self) -> str:
        who = self._read()
        named = (
            f"process {who.get('pid')} on {who.get('host')}, since {who.get('since')}" if who else "another process"
        )
        return (
            f"{self.output_dir} is the output_dir of another training that is at work: {named}. Wait for its end, or "
            "choose another output_dir"
        )


__all__ = ["OWN_FOLDER", "OutputLock"]
