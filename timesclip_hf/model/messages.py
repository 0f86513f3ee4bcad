# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Warnings that point at the user's own line, and that are said once a run, however many batches it has.

A run is a call of a pipeline, a `fit`, a table that is read, or the life of a collator (a training with all of its
evaluations). Within it, each thing is told once, and what pipelines find is told together when they end. In a data
loader's worker processes, each has a run of its own.
"""

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

_SHOWN = 10


class Run:
    """What was told in a run, so that it is not told again.

    Args:
        at_end: nothing is told before `end`.
    """

    def __init__(self, at_end: bool = False) -> None:
        self.at_end = at_end
        self.told: dict[str, dict[str, None]] = {}  # message -> items, in their order

    def end(self) -> None:
        """One warning for each kind of thing that was found."""
        for message, items in self.told.items():
            _warn_of(message, list(items))


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


@contextlib.contextmanager
def one_run(run: Run | None = None) -> Iterator[None]:
    """Within, `tell` tells each thing once; a run that has begun already goes on. `None`: a run of its own."""
    token = _RUN.set(_RUN.get() or run or Run())
    try:
        yield
    finally:
        _RUN.reset(token)


def tell(message: str, items: Iterable[str]) -> None:
    """Warns of some items, those that were not told yet in this run.

    Args:
        message: the last `{}` in it stands for the items; all of one kind have the same.
    """
    run, new = _RUN.get(), list(dict.fromkeys(items))
    if run is not None:
        told = run.told.setdefault(message, {})
        new = [item for item in new if item not in told]
        told.update(dict.fromkeys(new))
    if new and not (run is not None and run.at_end):
        _warn_of(message, new)


def _warn_of(message: str, items: list[str]) -> None:
    before, _, after = message.rpartition("{}")
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    if items:
        warn_caller(f"{before}{', '.join(items[:_SHOWN])}{more}{after}")


def warn_caller(message: str) -> None:
    """Warn at the line that called the package, so that Python's filters say it once for that line."""
    package, level = __name__.partition(".")[0], 1
    while f"{sys._getframe(level).f_globals.get('__name__')}.".startswith(f"{package}."):
        level += 1
    warnings.warn(message, stacklevel=level + 1)


__all__ = ["Run", "one_run", "tell", "warn_caller"]
