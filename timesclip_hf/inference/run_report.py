# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a pipeline tells of a run when it ends: what was left out, out of range, or not finite."""

from typing import Any

from ..data.tables import some_of, warn_caller
from ..model.messages import Run
from ..model.screening import RangeReport
from .pipeline_inputs import Samples
from .skipped import warn_of_skipped


class RunReport:
    """What is told of a run when it ends, each kind of thing in one warning."""

    def __init__(self) -> None:
        self.told, self.ranges = Run(at_end=True), RangeReport()
        self.skipped: dict[int, str] = {}  # number of the sample -> reason
        self.not_finite: list[int] = []

    def see_answers(self, answers: Any, numbers: list[int]) -> None:
        """Takes note of answers `(B, ...)` that are no numbers; `numbers` are those of their samples."""
        finite = answers.isfinite().flatten(1).all(dim=1).tolist()
        self.not_finite += [number for number, right in zip(numbers, finite, strict=True) if not right]

    def end(self, samples: Samples, count: int) -> None:
        """Warns; raises where none of so many samples was answered."""
        if count and len(self.skipped) == count:
            reason = self.skipped[0]
            raise ValueError(reason if samples.form == "one" else f"no input can be read; the first one: {reason}")
        self.told.end()
        self.ranges.warn()
        if self.not_finite:
            warn_caller(
                f"the model's answers are not finite for {some_of(self.not_finite)} of the inputs (counted from 0): "
                "its weights are not finite, or its precision is too low for them"
            )
        if samples.table is None:
            warn_of_skipped(self.skipped, "inputs", count)
        else:
            samples.table.without(self.skipped).warn()


__all__ = ["RunReport"]
