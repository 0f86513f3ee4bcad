# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A trainer that may be killed at any moment: what was interrupted goes on as if nothing had happened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging

from .checkpoints import (
    UNFINISHED,
    checkpoint_fault,
    checkpoint_faults,
    checkpoint_name,
    publish_checkpoint,
    remove_unfinished,
    rotate_checkpoints,
)

logger = logging.get_logger(__name__)


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
        self._due = False

    def find(self, wanted: str | bool | None) -> str | None:
        """The checkpoint to go on from; arguments and errors are those of `TimesCLIPTrainer.train`."""
        output_dir = Path(str(self.trainer.args.output_dir))
        if self.trainer.args.should_save:
            remove_unfinished(output_dir)
        self.trainer.accelerator.wait_for_everyone()
        self.folder = None
        if wanted is True:
            self.folder = self._last_checkpoint(output_dir)
        elif wanted:
            self.folder = Path(str(wanted))
            if (fault := checkpoint_fault(self.folder)) is not None:
                complete = [checkpoint_name(step) for step, lack in checkpoint_faults(output_dir).items() if not lack]
                raise ValueError(
                    f"{wanted} is not a complete checkpoint: {fault}. "
                    f"Complete ones in {output_dir}: {', '.join(complete) or 'none'}."
                )
        return None if self.folder is None else str(self.folder)

    def _last_checkpoint(self, output_dir: Path) -> Path | None:
        """The last checkpoint that every process finds complete."""
        faults = checkpoint_faults(output_dir)
        complete = {step for step, fault in faults.items() if fault is None}
        common = set.intersection(*gather_object([complete]))
        if self.trainer.is_world_process_zero():
            for step, fault in faults.items():
                if fault is not None:
                    logger.warning(f"{output_dir / checkpoint_name(step)} is passed over: {fault}.")
            if not common:
                logger.warning(f"No complete checkpoint in {output_dir}: training starts from scratch.")
        return output_dir / checkpoint_name(max(common)) if common else None

    def restore(self) -> bool:
        """Finds the best checkpoint of a folder that was moved, and restores early stopping.

        Returns:
            Whether the run had ended: Trainer would take a step before it notices.
        """
        state: Any = self.trainer.state
        if self.folder is None:
            return False
        if state.best_global_step:
            best = self.folder.parent / checkpoint_name(state.best_global_step)
            if checkpoint_fault(best) is None:
                state.best_model_checkpoint = str(best)
        stopping = [cb for cb in self.trainer.callback_handler.callbacks if isinstance(cb, EarlyStoppingCallback)]
        saved = state.stateful_callbacks.get(EarlyStoppingCallback.__name__, [])
        saved = saved if isinstance(saved, list) else [saved]  # Trainer lists several of a class, save after save
        for callback, last in zip(stopping, saved[-len(stopping) :], strict=False):
            callback.early_stopping_patience_counter = last["attributes"]["early_stopping_patience_counter"]
        for callback in stopping:  # Trainer expects to find each that is there now
            state.stateful_callbacks.setdefault(type(callback).__name__, callback.state())
        stopped = any(cb.early_stopping_patience_counter >= cb.early_stopping_patience for cb in stopping)
        return stopped or state.global_step >= state.max_steps

    @contextmanager
    def publishing(self, output_dir: str) -> Iterator[tuple[str, str]]:
        """Inside, a checkpoint is written in `staging`; then it comes to its place in `output_dir`, complete.

        Yields:
            The folder that it is written to, and its place.
        """
        trainer, state, folder = self.trainer, self.trainer.state, Path(output_dir)
        name = checkpoint_name(state.global_step)
        written, final = folder / UNFINISHED / name, folder / name
        self.staging = str(written.parent)
        try:
            yield str(written), str(final)
        finally:
            self.staging = None
        keep = {name}
        best = checkpoint_name(state.best_global_step) if state.best_global_step else None
        if best is not None and (best == name or (folder / best).is_dir()):
            state.best_model_checkpoint = str(folder / best)
            keep.add(best)
        trainer.accelerator.wait_for_everyone()  # every process has written its part
        if trainer.args.should_save:
            state.save_to_json(str(written / TRAINER_STATE_NAME))  # with the right place of the best one
            publish_checkpoint(written, final)
        trainer.accelerator.wait_for_everyone()  # it is in its place on every machine
        if trainer.args.should_save:
            rotate_checkpoints(folder, trainer.args.save_total_limit, keep)

    def keep_best(self, output_dir: str) -> None:
        """With `save_total_limit=1`, deletes all but the best at the end, which Trainer would do in their place."""
        best, args = self.trainer.state.best_model_checkpoint, self.trainer.args
        if args.should_save and best is not None and args.save_total_limit == 1:
            rotate_checkpoints(Path(output_dir), 1, keep=[Path(best).name])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._due = control.should_save and float(state.epoch).is_integer()
        if self._due:
            control.should_save = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._due:
            control.should_save = True
        self._due = False


__all__ = ["ResumableCheckpoints"]
