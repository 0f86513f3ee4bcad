# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Checkpoint folders that are there completely or not at all, at whatever moment a process or a machine dies.

A checkpoint is written, and deleted, in a folder beside its place; it comes to its place, and leaves it, by being
renamed, which a file system does completely or not at all. A list of its files tells what a copy may have lost.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints

# Within the output folder: what is being written or deleted. `Trainer` uploads nothing that begins with "_".
UNFINISHED = "_unfinished"
FILE_LIST = "checkpoint_files.json"
_NAME = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


def checkpoint_name(step: int) -> str:
    """The name of the folder that holds the state after so many optimizer steps."""
    return f"{PREFIX_CHECKPOINT_DIR}-{step}"


def publish_checkpoint(written: Path, final: Path) -> None:
    """Gives a checkpoint that was written elsewhere its place, in one step; replaces what was there.

    Args:
        written: the finished folder, on the same file system; it gets the list of its files.
        final: its place.
    """
    files = [p for p in written.rglob("*") if p.is_file() and p.suffix != ".md"]  # people may edit the card
    sizes = {p.relative_to(written).as_posix(): p.stat().st_size for p in files}
    (written / FILE_LIST).write_text(json.dumps(sizes, indent=2, sort_keys=True), encoding="utf-8")
    for path in (*written.rglob("*"), written):
        _flush(path)  # a machine that loses power must not know the name without the content
    if final.exists():
        delete_checkpoint(final)
    os.rename(written, final)
    _flush(final.parent)
    _remove_if_empty(written.parent)


def delete_checkpoint(folder: Path) -> None:
    """Deletes a checkpoint; it leaves its place first, in one step."""
    grave = folder.parent / UNFINISHED / f"deleted-{folder.name}"
    shutil.rmtree(grave, ignore_errors=True)
    grave.parent.mkdir(exist_ok=True)
    os.rename(folder, grave)
    shutil.rmtree(grave, ignore_errors=True)
    _remove_if_empty(grave.parent)


def remove_unfinished(output_dir: Path) -> None:
    """Deletes what a killed process left half written or half deleted."""
    shutil.rmtree(output_dir / UNFINISHED, ignore_errors=True)


def checkpoint_fault(folder: Path) -> str | None:
    """What a checkpoint lacks, in words; None if it is complete."""
    if not folder.is_dir():
        return "there is no such folder"
    try:
        sizes = json.loads((folder / FILE_LIST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"it has no {FILE_LIST}, which a complete checkpoint of this trainer has"
    except ValueError:
        return f"its {FILE_LIST} is damaged"
    for name, size in sizes.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        found = (folder / name).stat().st_size
        if found != size:
            return f"{name} has {found} bytes instead of {size}"
    return None


def checkpoint_faults(output_dir: Path) -> dict[int, str | None]:
    """Every checkpoint in a folder, by its step: what it lacks, or None where it is complete."""
    folders = output_dir.iterdir() if output_dir.is_dir() else ()
    steps = {int(match[1]): folder for folder in folders if (match := _NAME.fullmatch(folder.name))}
    return {step: checkpoint_fault(steps[step]) for step in sorted(steps)}


def rotate_checkpoints(output_dir: Path, limit: int | None, keep: Collection[str]) -> None:
    """Deletes the oldest checkpoints beyond a number.

    Args:
        output_dir: the folder with the checkpoints.
        limit: how many may stay; None or 0: all.
        keep: names of those that stay in any case, and count.
    """
    if not limit or limit < 0:
        return
    found = [Path(path) for path in sort_checkpoints(str(output_dir), use_mtime=True)]
    found = [folder for folder in found if _NAME.fullmatch(folder.name)]
    surplus = len(found) - max(limit, len(keep))
    for folder in [folder for folder in found if folder.name not in keep][: max(surplus, 0)]:
        delete_checkpoint(folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    elif os.name == "posix":  # elsewhere folders cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network file systems flush files only
            os.fsync(descriptor)
        os.close(descriptor)


__all__ = [
    "FILE_LIST",
    "UNFINISHED",
    "checkpoint_fault",
    "checkpoint_faults",
    "checkpoint_name",
    "delete_checkpoint",
    "publish_checkpoint",
    "remove_unfinished",
    "rotate_checkpoints",
]
