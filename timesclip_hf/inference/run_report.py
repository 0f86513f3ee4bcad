# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a pipeline tells of a run when it ends: what was left out, out of range, or not finite."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..data.tables import some_of, warn_caller
from ..model.messages import Run
from ..model.screening import RangeReport
from .pipeline_inputs import Samples
from .skipped import warn_of_skipped

# The warning of unusual series, as a pattern for those who tell of them in another way.
UNUSUAL = r"\d+ of \d+ series are unusual: "
# Rows without an answer whose reasons are told one by one, of a table of any size.
MOST_NAMED = 10_000


class RunReport:
    """What is told of a run when it ends, each kind of thing in one warning."""

    def __init__(self) -> None:
        self.told, self.ranges = Run(at_end=True), RangeReport()
        self.skipped: dict[int, str] = {}  # number of the sample -> reason
        self.not_finite: list[int] = []
        self.near: dict[int, dict[str, Any]] = {}  # number of the sample -> what is told of its neighbours
        self.unusual = self.compared = 0  # in other parts

    def see_answers(self, answers: Any, numbers: list[int]) -> None:
        """Takes note of answers `(B, ...)` that are no numbers; `numbers` are those of their samples."""
        finite = answers.isfinite().flatten(1).all(dim=1).tolist()
        self.not_finite += [number for number, right in zip(numbers, finite, strict=True) if not right]

    def end(self, samples: Samples, count: int) -> None:
        """Warns; raises where none of so many samples was answered."""
        if count and len(self.skipped) == count:
            reason = self.skipped[0]
            raise ValueError(reason if samples.form == "one" else f"no input can be read; the first one: {reason}")
        self.warn()
        if samples.table is None:
            warn_of_skipped(self.skipped, "inputs", count)
        else:
            samples.table.without(self.skipped).warn()

    def warn(self) -> None:
        """Warns of what was found, but for what was left out."""
        self.told.end()
        self.ranges.warn()
        if self.not_finite:
            warn_caller(
                f"the model's answers are not finite for {some_of(self.not_finite)} of the inputs (counted from 0): "
                "its weights are not finite, or its precision is too low for them"
            )
        unusual = self.unusual + sum(one["unusual"] for one in self.near.values())
        if unusual:
            warn_caller(
                f"{unusual} of {self.compared + len(self.near)} series are unusual: farther from all training series "
                "than is usual among these; errors may be larger"
            )


class PartReport(RunReport):
    """What there is to tell of one part of a table, kept until all parts are answered."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0  # of its samples
        self.warnings: list[str] = []

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Within, warnings of the package are noted and not told, since other parts have the same."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield
        for one in told:
            if one.category is UserWarning:
                self.warnings.append(str(one.message))
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    def end(self, samples: Samples, count: int) -> None:
        """Warns of nothing yet."""
        self.count = count

    def notes(self, skipped: Mapping[int, str], faults: int) -> dict[str, Any]:
        """All of it as JSON has it.

        Args:
            skipped: rows of the part that have no answer, and why.
            faults: how many of them could not be read.
        """
        return {
            "skipped": {str(row): reason for row, reason in sorted(skipped.items())},
            "faults": faults,
            "samples": self.count,
            "failed": len(self.skipped),
            "not_finite": self.not_finite,
            "unusual": sum(one["unusual"] for one in self.near.values()),
            "compared": len(self.near),
            "warnings": list(dict.fromkeys(self.warnings)),
            "told": {message: list(items) for message, items in self.told.told.items()},
            "ranges": {"rows": self.ranges.rows, "worst": self.ranges.worst, "seen": self.ranges.seen},
        }


class WholeReport(RunReport):
    """What there is to tell of a table, from the notes of its parts.

    Attributes:
        names: of rows that have no answer, as far as they are told, and why; `left_out`: how many there are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, str] = {}
        self.warnings: dict[str, None] = {}
        self.rows = self.left_out = self.faults = self.samples = self.failed = 0

    def add(self, notes: Mapping[str, Any], rows: int, prefix: str, first: int) -> None:
        """Takes over the notes of the next part.

        Args:
            rows: in the part; `first` is the number of its first one in its file.
            prefix: of rows' names.
        """
        for row, reason in notes["skipped"].items():
            if len(self.names) < MOST_NAMED:
                self.names[f"{prefix}{first + int(row)}"] = reason
        self.left_out += len(notes["skipped"])
        self.not_finite += [self.samples + number for number in notes["not_finite"]]
        self.unusual, self.compared = self.unusual + notes["unusual"], self.compared + notes["compared"]
        self.warnings |= dict.fromkeys(notes["warnings"])
        for message, items in notes["told"].items():
            self.told.told.setdefault(message, {}).update(dict.fromkeys(items))
        ranges = RangeReport()
        ranges.rows, ranges.worst = Counter(notes["ranges"]["rows"]), notes["ranges"]["worst"]
        ranges.seen = notes["ranges"]["seen"]
        self.ranges.add(ranges)
        self.rows += rows
        for name in ("faults", "samples", "failed"):
            setattr(self, name, getattr(self, name) + notes[name])

    def finish(self) -> None:
        """Warns; raises where no row was answered, by the rule of `skipped`."""
        if self.rows and (self.faults == self.rows or self.samples == self.failed > 0):
            row, reason = next(iter(self.names.items()))
            raise ValueError(f"no row can be read; row {row}: {reason}")
        for message in self.warnings:
            warn_caller(message)
        self.warn()
        warn_of_skipped(self.names, "rows", self.rows, count=self.left_out)


__all__ = ["MOST_NAMED", "UNUSUAL", "PartReport", "RunReport", "WholeReport"]
