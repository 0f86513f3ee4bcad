# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One bad series does not cost the others.

The rule, for pipelines and the command: a series that cannot be read or answered (without any value of a variate,
with cells that are no numbers, infinite or absurd values, of another shape, without its static values, with times that
are repeated or have holes, too short to go on from) is left out with its reason.

- In a list, `{"skipped": reason}` is its result, in its place.
- A table keeps its row, with nothing in the columns of results; a forecast has no rows for it.
  `result.attrs["skipped"]` of the DataFrame, a dict, has the reason by the name of the series (or label of the row).
- One warning a run names them.

Where not a single one can be answered, that is an error with the first reason; but for tables in which values are
merely missing, whose results are empty.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..data.tables import some_of, warn_caller

_NAMES = 20


class Skipped(NamedTuple):
    """Stands in the place of a sample that cannot be read; `reason` says why."""

    reason: str

    @classmethod
    def because(cls, error: ValueError) -> "Skipped":
        """Of an error about a batch of this one sample."""
        return cls(str(error).replace("sample 0, ", ""))


def warn_of_skipped(
    skipped: Mapping[Any, str], words: str, total: int | None, note: str = "", count: int | None = None
) -> None:
    """One warning for all series of a run that were left out.

    Args:
        skipped: name or number of the series -> reason.
        words: what the series are called: `"series"`, `"rows"`, `"inputs"`.
        total: how many there were.
        note: ends the warning.
        count: how many were left out, where `skipped` has some of them only.
    """
    names: dict[str, list[Any]] = {}
    for name, reason in skipped.items():
        names.setdefault(reason, []).append(name)
    if names:
        told = "; ".join(f"{some_of(alike, _NAMES)}: {reason}" for reason, alike in list(names.items())[:_NAMES])
        more = f"; and {len(names) - _NAMES} other reasons" if len(names) > _NAMES else ""
        warn_caller(f"{count or len(skipped)} of {total} {words} left out: {told}{more}{note}")


__all__ = ["Skipped", "warn_of_skipped"]
