# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A `Trainer` that may be killed at any moment: what was interrupted goes on as if nothing had happened."""

import json
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
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


class ResumableTrainer(Trainer):
    """
    As `transformers.Trainer`; what differs:

    - A checkpoint comes to its place only when it is complete, and leaves it before it is deleted.
    - `train(resume_from_checkpoint=True)` goes on from the last complete checkpoint; where there is none, it starts
      from scratch, with a warning. So a job that is restarted until it succeeds always calls just this.
    - What a resumed run computes is, bit for bit on a CPU, what it would have computed undisturbed: the count of early
      stopping is restored, the evaluation of the start is not repeated, a run that had ended takes no further step,
      and a checkpoint due at the last step of an epoch is written after that epoch's evaluation.
    - Training arguments are saved as JSON, without tokens, not as a pickle.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._staging: Path | None = None
        self._resumed_from: Path | None = None
        super().__init__(*args, **kwargs)
        self.add_callback(_SaveAfterEpoch())

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """
        Trains.

        Args:
            resume_from_checkpoint: `True` goes on from the last complete checkpoint in `args.output_dir`, or starts
                from scratch where there is none; a folder goes on from that one.
            trial, ignore_keys_for_eval: as for `Trainer`.

        Raises:
            ValueError: if the folder that was named is not a complete checkpoint.
        """
        output_dir = Path(str(self.args.output_dir))
        if self.args.should_save:
            remove_unfinished(output_dir)
        self.accelerator.wait_for_everyone()
        if resume_from_checkpoint is True:
            self._resumed_from = self._last_checkpoint(output_dir)
        elif resume_from_checkpoint:
            self._resumed_from = Path(str(resume_from_checkpoint))
            fault = checkpoint_fault(self._resumed_from)
            if fault is not None:
                complete = [checkpoint_name(step) for step, lack in checkpoint_faults(output_dir).items() if not lack]
                raise ValueError(
                    f"{resume_from_checkpoint} is not a complete checkpoint: {fault}. "
                    f"Complete ones in {output_dir}: {', '.join(complete) or 'none'}."
                )
        else:
            self._resumed_from = None
        resumed = str(self._resumed_from) if self._resumed_from is not None else None
        return super().train(resumed, trial, ignore_keys_for_eval)

    def _last_checkpoint(self, output_dir: Path) -> Path | None:
        """The last checkpoint that every process finds complete."""
        faults = checkpoint_faults(output_dir)
        complete = {step for step, fault in faults.items() if fault is None}
        common = set.intersection(*gather_object([complete]))
        if self.is_world_process_zero():
            for step, fault in faults.items():
                if fault is not None:
                    logger.warning(f"{output_dir / checkpoint_name(step)} is passed over: {fault}.")
            if not common:
                logger.warning(f"No complete checkpoint in {output_dir}: training starts from scratch.")
        return output_dir / checkpoint_name(max(common)) if common else None

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """As Trainer's; also finds the best checkpoint of a folder that was moved, and restores early stopping."""
        progress: tuple[int, int] = super()._init_training_state(*args, **kwargs)
        state: Any = self.state
        if self._resumed_from is None:
            return progress
        if state.best_global_step:
            best = self._resumed_from.parent / checkpoint_name(state.best_global_step)
            if checkpoint_fault(best) is None:
                state.best_model_checkpoint = str(best)
        own = self._early_stopping()
        saved = state.stateful_callbacks.get(EarlyStoppingCallback.__name__, [])
        saved = saved if isinstance(saved, list) else [saved]  # Trainer lists several of a class, save after save
        for callback, last in zip(own, saved[-len(own) :], strict=False):
            callback.early_stopping_patience_counter = last["attributes"]["early_stopping_patience_counter"]
        for callback in own:  # Trainer expects to find each that is there now
            state.stateful_callbacks.setdefault(type(callback).__name__, callback.state())
        return progress

    def _early_stopping(self) -> list[EarlyStoppingCallback]:
        return [cb for cb in self.callback_handler.callbacks if isinstance(cb, EarlyStoppingCallback)]

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """As Trainer's, without the evaluation of the start (`skip_scheduler`) where this is not the start."""
        if skip_scheduler and self.state.global_step > 0:
            return {}
        return super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As Trainer's, which would take a step before it notices that the run that it resumes had ended."""
        stopped = [cb.early_stopping_patience_counter >= cb.early_stopping_patience for cb in self._early_stopping()]
        if self.state.global_step >= self.state.max_steps or any(stopped):
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _finalize_training(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's, which deletes all checkpoints but the best in their place, with `save_total_limit=1`."""
        best = self.state.best_model_checkpoint
        if self.args.should_save and best is not None and self.args.save_total_limit == 1:
            rotate_checkpoints(Path(self._get_output_dir(trial)), 1, keep=[Path(best).name])
        return super()._finalize_training(trial, *args, **kwargs)

    def _get_output_dir(self, trial: Any) -> str:
        """Where checkpoints are; while one is written, where it is written."""
        return str(self._staging) if self._staging is not None else super()._get_output_dir(trial)

    def _write_checkpoint(self, model: Any, trial: Any) -> None:
        """Writes a checkpoint in `_get_output_dir`; everything in it belongs to it."""
        super()._save_checkpoint(model, trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Trainer's checkpoint, written elsewhere and put in its place when it is complete."""
        output_dir, name = Path(self._get_output_dir(trial)), checkpoint_name(self.state.global_step)
        self._staging = output_dir / UNFINISHED
        try:
            self._write_checkpoint(model, trial)
        finally:
            self._staging = None
        keep = {name}
        best = checkpoint_name(self.state.best_global_step) if self.state.best_global_step else None
        if best is not None and (best == name or (output_dir / best).is_dir()):
            self.state.best_model_checkpoint = str(output_dir / best)
            keep.add(best)
        self.accelerator.wait_for_everyone()  # every process has written its part
        if self.args.should_save:
            written = output_dir / UNFINISHED / name
            self.state.save_to_json(str(written / TRAINER_STATE_NAME))  # with the right place of the best one
            publish_checkpoint(written, output_dir / name)
        self.accelerator.wait_for_everyone()  # it is in its place on every machine
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(output_dir / name))
        if self.args.should_save:
            rotate_checkpoints(output_dir, self.args.save_total_limit, keep)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """As Trainer's, once the checkpoint is in its place."""
        if self._staging is None:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """As Trainer's, with the arguments as JSON in place of a pickle."""
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(str(self.args.output_dir if output_dir is None else output_dir))
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            arguments = {name: value for name, value in self.args.to_dict().items() if not name.endswith("_token")}
            text = json.dumps(arguments, indent=2, sort_keys=True, default=str)
            (folder / TRAINING_ARGS_NAME).with_suffix(".json").write_text(text, encoding="utf-8")


class _SaveAfterEpoch(TrainerCallback):
    """A checkpoint due at the last step of an epoch waits for its evaluation: a resumed run begins with the next."""

    def __init__(self) -> None:
        self.due = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.due = control.should_save and float(state.epoch).is_integer()
        if self.due:
            control.should_save = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.due:
            control.should_save = True
        self.due = False


__all__ = ["ResumableTrainer"]
