# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What somebody sees while a model trains: a bar with the time that is left, or a line now and then in a log file."""

import sys
import time
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

_LINES = 10  # in all, where nobody looks at a bar


class ProgressBar(TrainerCallback):
    """A bar over all updates of a training, with the validation metric that chooses and the time that is left.

    Where stderr is no terminal, about ten lines say the same.

    Args:
        words: what is trained.
    """

    def __init__(self, words: str = "training"):
        self.words = words
        self.bar: Any = None
        self.started = 0.0
        self.told = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started, self.told = time.monotonic(), 0
        if sys.stderr.isatty():
            self.bar = tqdm(total=state.max_steps, desc=self.words, unit="update", leave=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        name = str(args.metric_for_best_model).removeprefix("eval_")
        value = (metrics or {}).get(f"eval_{name}")
        if not state.global_step or value is None or control.should_training_stop:
            return
        if self.bar is not None:
            self.bar.set_postfix({f"validation {name}": f"{value:.4g}"})
        elif state.global_step * _LINES >= (self.told + 1) * state.max_steps:
            self.told = state.global_step * _LINES // state.max_steps
            left = (time.monotonic() - self.started) / state.global_step * (state.max_steps - state.global_step)
            print(
                f"{self.words}: epoch {state.epoch:g} of {args.num_train_epochs:g}, validation {name} {value:.4g}, "
                f"at most {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


__all__ = ["ProgressBar"]
