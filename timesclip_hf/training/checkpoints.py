# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A trainer that may be killed at any moment: what was interrupted goes on as if nothing had happened.

A checkpoint is there completely or not at all. It is written, and deleted, in a folder beside its place; it comes to
its place, and leaves it, by being renamed, which a file system does completely or not at all.

Damage is found: a checkpoint has a list of its files with sizes and checksums, which are compared before a run goes on
from it. A damaged one is named, with the file, and passed over for the newest that is sound. Lists of earlier versions
have sizes only; there, JSON must at least be an object.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints
from transformers.utils import logging

from ..model.json_objects import parse_object
from .output_lock import OWN_FOLDER, OutputLock

logger = logging.get_logger(__name__)

# Of Trainer and FSDP; of DeepSpeed.
_OF_OPTIMIZERS = ("optimizer*", "global_step*")

_FILE_LIST = "checkpoint_files.json"
_NAME = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


class ResumableCheckpoints(TrainerCallback):
    """Finds the checkpoint to go on from, restores what Trainer does not, and puts new ones in their place.

    A checkpoint due at the last step of an epoch waits for its evaluation: a resumed run begins with the next epoch.

    Args:
        trainer: the trainer that it is a callback of.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.folder: Path | None = None  # the checkpoint that this run goes on from
        self.staging: str | None = None  # while a checkpoint is written: where
        self.lock: OutputLock | None = None  # while a training runs
        self._due = False

    def find(self, wanted: str | bool | None, trial: Any = None) -> str | None:
        """The checkpoint to go on from; arguments and errors are those of `TimesCLIPTrainer.train`."""
        output_dir = Path(str(self.trainer.args.output_dir))
        self._take(Path(self.trainer._get_output_dir(trial)))
        self.folder = None if isinstance(wanted, bool) or wanted is None else Path(wanted)
        if not wanted:
            return None
        if self.folder is None:
            self.folder = self._newest_sound(output_dir)
        elif (fault := _fault(self.folder)) is not None:
            complete = [_name(step) for step in _steps(output_dir) if _fault(output_dir / _name(step)) is None]
            raise ValueError(
                f"{wanted} is not a complete checkpoint: {fault}. "
                f"Complete ones in {output_dir}: {', '.join(complete) or 'none'}."
            )
        return None if self.folder is None else str(self.folder)

    def _take(self, folder: Path) -> None:
        """Locks the folder that checkpoints go to, and clears away what a killed process left there.

        Raises:
            ValueError: another training is at work there.
        """
        args, holder = self.trainer.args, None
        if args.save_strategy == "no":
            return
        if self.trainer.is_world_process_zero():
            self.lock = OutputLock(folder)
            holder = self.lock.acquire()
        if (told := next((told for told in gather_object([holder]) if told is not None), None)) is not None:
            raise ValueError(told)
        for left in (folder / OWN_FOLDER).glob(f"*{PREFIX_CHECKPOINT_DIR}-*") if args.should_save else ():
            shutil.rmtree(left, ignore_errors=True)
        self.trainer.accelerator.wait_for_everyone()

    def release(self) -> None:
        """The training has ended, well or not."""
        if self.lock is not None:
            self.lock.release()
        self.lock = None

    def _newest_sound(self, output_dir: Path) -> Path | None:
        """The newest that every process finds sound; says which were passed over. Older ones are not read."""
        left, faults = set(_steps(output_dir)), {}
        checked = None
        while common := set.intersection(*gather_object([left])):
            newest = max(common)
            if newest == checked:  # nobody objected
                break
            checked = newest
            if (fault := _fault(output_dir / _name(newest))) is not None:
                faults[newest] = fault
                left.discard(newest)
        named = {step: fault for found in gather_object([faults]) for step, fault in found.items()}
        if self.trainer.is_world_process_zero():
            for step in sorted(named):
                logger.warning(f"{output_dir / _name(step)} is passed over: {named[step]}.")
            if not common:
                logger.warning(f"No complete checkpoint in {output_dir}: training starts from scratch.")
        return output_dir / _name(max(common)) if common else None

    def restore(self) -> bool:
        """Finds the best checkpoint of a folder that was moved, and restores early stopping.

        Returns:
            Whether the run had ended: Trainer would take a step before it notices.
        """
        state: Any = self.trainer.state
        if self.folder is None:
            return False
        if not any(path for name in _OF_OPTIMIZERS for path in self.folder.glob(name)):
            logger.warning(f"{self.folder} holds the model alone: optimizer and schedule begin anew.")
        if state.best_global_step:
            self._restore_best(self.folder.parent / _name(state.best_global_step))
        stopping = [cb for cb in self.trainer.callback_handler.callbacks if isinstance(cb, EarlyStoppingCallback)]
        saved = state.stateful_callbacks.get(EarlyStoppingCallback.__name__, [])
        saved = saved if isinstance(saved, list) else [saved]  # Trainer lists several of a class, save after save
        for callback, last in zip(stopping, saved[-len(stopping) :], strict=False):
            callback.early_stopping_patience_counter = last["attributes"]["early_stopping_patience_counter"]
        for callback in stopping:  # Trainer expects to find each that is there now
            state.stateful_callbacks.setdefault(type(callback).__name__, callback.state())
        stopped = any(cb.early_stopping_patience_counter >= cb.early_stopping_patience for cb in stopping)
        return stopped or state.global_step >= state.max_steps

    def _restore_best(self, best: Path) -> None:
        """A damaged best checkpoint is not loaded at the end: from here on, others are compared."""
        state: Any = self.trainer.state
        places = [best, *([Path(state.best_model_checkpoint)] if state.best_model_checkpoint else [])]
        faults: list[str | None] = []
        for place in places:
            own = None if place == self.folder else _fault(place)
            faults.append(next((fault for fault in gather_object([own]) if fault is not None), None))
            if faults[-1] is None:
                state.best_model_checkpoint = str(place)
                return
        saved = best.is_dir() or state.best_model_checkpoint  # else it was between two checkpoints
        if not (saved and self.trainer.args.load_best_model_at_end):
            return
        state.best_model_checkpoint = state.best_global_step = state.best_metric = None
        if self.trainer.is_world_process_zero():
            logger.warning(
                f"{best}, the best checkpoint so far, is lost: {faults[0]}. The best of those that follow is "
                "kept in its place; to have it again, train from an earlier checkpoint or from scratch."
            )

    @contextlib.contextmanager
    def publishing(self, output_dir: str) -> Iterator[tuple[str, str]]:
        """Inside, a checkpoint is written in `staging`; then it comes to its place in `output_dir`, complete.

        Yields:
            The folder that it is written to, and its place.
        """
        trainer, state, folder = self.trainer, self.trainer.state, Path(output_dir)
        name = _name(state.global_step)
        written, final = folder / OWN_FOLDER / name, folder / name
        self.staging = str(written.parent)
        try:
            yield str(written), str(final)
        finally:
            self.staging = None
        keep = {name}
        best = _name(state.best_global_step) if state.best_global_step else None
        if best is not None and (best == name or self._best_in(folder) == best):
            state.best_model_checkpoint = str(folder / best)
            keep.add(best)
        trainer.accelerator.wait_for_everyone()  # every process has written its part
        if trainer.args.should_save:
            state.save_to_json(str(written / TRAINER_STATE_NAME))  # with the right place of the best one
            _publish(written, final)
        trainer.accelerator.wait_for_everyone()  # it is in its place on every machine
        if trainer.args.should_save:
            _rotate(folder, trainer.args.save_total_limit, keep)

    def _best_in(self, folder: Path) -> str | None:
        """Name of the best checkpoint, if it is in this folder: another one may have had it, and its like be here."""
        best = Path(self.trainer.state.best_model_checkpoint or "")
        return best.name if best.is_dir() and best.resolve().parent == folder.resolve() else None

    @contextlib.contextmanager
    def ending(self, output_dir: str) -> Iterator[None]:
        """Inside, Trainer ends a training and, with `save_total_limit=1`, deletes nothing: all but the best is gone.

        Where the best is in another folder, that the run was resumed from, the newest stays in this one.
        """
        args, limit = self.trainer.args, self.trainer.args.save_total_limit
        if args.should_save and limit == 1 and (best := self._best_in(Path(output_dir))) is not None:
            _rotate(Path(output_dir), 1, keep=[best])
        args.save_total_limit = None
        try:
            yield
        finally:
            args.save_total_limit = limit

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._due = control.should_save and float(state.epoch).is_integer()
        if self._due:
            control.should_save = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._due:
            control.should_save = True
        self._due = False


def _name(step: int) -> str:
    """Of the folder that holds the state after so many optimizer steps."""
    return f"{PREFIX_CHECKPOINT_DIR}-{step}"


def _publish(written: Path, final: Path) -> None:
    """Gives a finished folder the list of its files, and then its place, in one step; replaces what was there."""
    files = [p for p in written.rglob("*") if p.is_file() and p.suffix != ".md"]  # people may edit the card
    listed = {p.relative_to(written).as_posix(): {"size": p.stat().st_size, "blake2b": _checksum(p)} for p in files}
    (written / _FILE_LIST).write_text(json.dumps(listed, indent=2, sort_keys=True), encoding="utf-8")
    for path in (*written.rglob("*"), written):
        _flush(path)  # a machine that loses power must not know the name without the content
    if final.exists():
        _delete(final)
    os.rename(written, final)
    _flush(final.parent)
    _remove_if_empty(written.parent)


def _delete(folder: Path) -> None:
    """Deletes a checkpoint; it leaves its place first, in one step."""
    grave = folder.parent / OWN_FOLDER / f"deleted-{folder.name}"
    shutil.rmtree(grave, ignore_errors=True)
    grave.parent.mkdir(exist_ok=True)
    os.rename(folder, grave)
    shutil.rmtree(grave, ignore_errors=True)
    _remove_if_empty(grave.parent)


def _fault(folder: Path) -> str | None:
    """What a checkpoint lacks, or what of it is damaged, in words; None if it is sound."""
    if not folder.is_dir():
        return "there is no such folder"
    try:
        listed = _read_object(folder / _FILE_LIST)
    except FileNotFoundError:
        return f"it has no {_FILE_LIST}, which a complete checkpoint of this trainer has"
    except (OSError, ValueError):
        return f"its {_FILE_LIST} is damaged"
    if TRAINER_STATE_NAME not in listed:  # every checkpoint has one
        return f"its {_FILE_LIST} is damaged: it does not name {TRAINER_STATE_NAME}"
    faults = (_file_fault(folder, name, entry) for name, entry in sorted(listed.items()))
    return next((fault for fault in faults if fault is not None), None)


def _file_fault(folder: Path, name: str, entry: Any) -> str | None:
    """Of one file of a checkpoint; `entry` is its size, or size and checksum."""
    with_checksum = isinstance(entry, dict) and entry.keys() == {"size", "blake2b"}
    size, path = entry["size"] if with_checksum else entry, folder / name
    if type(size) is not int:
        return f"its {_FILE_LIST} is damaged at {name!r}"
    try:
        if not path.is_file():
            return f"{name} is missing"
        if (found := path.stat().st_size) != size:
            return f"{name} has {found} bytes instead of {size}"
        if with_checksum and _checksum(path) != entry["blake2b"]:
            return f"{name} is damaged: its content is not what was written"
        if not with_checksum and path.suffix == ".json":
            _read_object(path)
    except OSError as error:
        return f"{name} cannot be read: {error}"
    except ValueError as error:
        return f"{name} is damaged: {error}"
    return None


def _read_object(path: Path) -> dict[str, Any]:
    return parse_object(path.read_text(encoding="utf-8"))


def _checksum(path: Path) -> str:
    """Of a file's content, read piece by piece."""
    found = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def _steps(output_dir: Path) -> list[int]:
    """Of every checkpoint in a folder, sound or not, in order."""
    folders = output_dir.iterdir() if output_dir.is_dir() else ()
    return sorted(int(match[1]) for folder in folders if (match := _NAME.fullmatch(folder.name)))


def _rotate(output_dir: Path, limit: int | None, keep: Collection[str]) -> None:
    """Deletes the oldest checkpoints beyond a number (None, 0: all stay); those to keep stay, and count."""
    if not limit or limit < 0:
        return
    found = [
        path for path in map(Path, sort_checkpoints(str(output_dir), use_mtime=True)) if _NAME.fullmatch(path.name)
    ]
    surplus = len(found) - max(limit, len(keep))
    for folder in [folder for folder in found if folder.name not in keep][: max(surplus, 0)]:
        _delete(folder)


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


__all__ = ["ResumableCheckpoints"]
