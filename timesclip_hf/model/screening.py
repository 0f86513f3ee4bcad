# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Numbers that may be no measurements, told to people; nothing is changed unasked.

The rule. `fit` compares numbers with the body of their column: the middle half of all that occur, each taken once,
and as much again on either side. It tells

- marks: -9999, 999, 255, 65535, -32768, 0 and their like outside the body, where they stand a quarter of its width or
  more away from the next number inwards, and other numbers that stand a whole width away and come three times or more,
  and three times as often as any number of the body (the latitudes of ten sites all repeat);
- spikes: numbers that are ten widths or more beyond the body, and five times as far as the next number inwards.

What `missing_values` declares, and what is masked, is not looked at. When series are read whose level counts
(`scaling="dataset"` or `value_range="dataset"`), numbers are told that leave the fitted range by more than three times
its width, or are all less than a tenth of its smallest number: bands scaled by 10 000, percent for a fraction.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from .arrays import Array, like, namespace
from .messages import tell, warn_caller

_MARKS = frozenset(
    [sign * number for sign in (1.0, -1.0) for number in (0, 99, 999, 9999, 99999, 999999, 9.99e8, 32767, 32768)]
    + [-1.0, -9.0, -3000.0, -28672.0, 127.0, -128.0, 255.0, 65535.0, 4294967295.0, 2147483647.0, -1073741824.0]
    + [-99.9, -999.9, -9999.9, -999.99, -999.25]
)
_FEW, _TIMES = 4, 3
_MARK_GAP, _REPEATED_GAP, _SPIKE_GAP, _SPIKE_RATIO = 0.25, 1.0, 10.0, 5.0
# Leaving the fitted range by less is what weather does.
RANGE_FACTOR, _SMALLER = 3.0, 0.1
_RANGE_WARNING = (
    f"values leave the range that the processor was fitted on by more than {RANGE_FACTOR:g} times its width, or "
    "are less than a tenth of all in it: {}. Are they in the unit of the training data (scaled by 10 000, percent, "
    "Kelvin), or marks of missing values? They were read as they are"
)
# Distinct numbers at either end that are looked at, and numbers of a variate that stand for its body.
_OUTERMOST, _BODY = 16, 20_000
_SHOWN = 4


class Screening:
    """What `fit` has seen of the numbers of each column, as far as it takes to tell marks and spikes."""

    def __init__(self) -> None:
        self.ends: dict[str, Counter[float]] = {}  # of each column: outermost numbers, how often
        self.body: dict[str, list[np.ndarray]] = {}
        self.count: Counter[str] = Counter()

    def watched(
        self, chunks: Iterable[tuple[Array, Array]], variate_names: Sequence[str] | None
    ) -> Iterator[tuple[Array, Array]]:
        """The chunks of `fit` as they are, looked at on their way."""
        for values, observed in chunks:
            numbers, seen = like(values, np.zeros(0)), like(observed, np.zeros(0, bool))
            for variate in range(numbers.shape[2]):
                name = repr(variate_names[variate]) if variate_names else str(variate)
                self.see(f"variate {name}", numbers[..., variate][seen[..., variate]])
            yield values, observed

    def see(self, column: str, numbers: np.ndarray) -> None:
        """Takes note of some numbers of a column, all of them finite."""
        ends, parts = self.ends.setdefault(column, Counter()), self.body.setdefault(column, [])
        distinct, counts = np.unique(numbers, return_counts=True)
        outer = np.r_[0 : min(_OUTERMOST, len(distinct)), max(_OUTERMOST, len(distinct) - _OUTERMOST) : len(distinct)]
        for number, count in zip(distinct[outer].tolist(), counts[outer].tolist(), strict=True):
            ends[number] += count
        for number in sorted(ends)[_OUTERMOST:-_OUTERMOST]:
            del ends[number]
        self.count[column] += len(numbers)
        parts.append(numbers[:: 1 + len(numbers) // 1000])
        if sum(map(len, parts)) > _BODY:
            self.body[column] = [np.concatenate(parts)[::2]]

    def report(self) -> None:
        """One warning that tells suspicious numbers of all columns, if there are any."""
        told = []
        for column, ends in self.ends.items():
            for kind, numbers in _suspicious(ends, np.concatenate(self.body[column]), self.count[column]).items():
                shown = ", ".join(f"{number:g} ({count}x)" for number, count in numbers[:_SHOWN])
                more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
                told.append(f"{column}: {kind} {shown}{more}")
        if told:
            warn_caller(
                f"numbers that may be no measurements were fitted as they are: {'; '.join(told)}. If they mark "
                "missing values, declare those of variates (missing_values=[...]), leave the rows of others out, and "
                "fit again"
            )


def _suspicious(ends: Counter[float], sample: np.ndarray, count: int) -> dict[str, list[tuple[float, int]]]:
    """Marks and spikes among the outermost numbers of a column, each with its count, the most frequent first.

    Args:
        ends: the outermost numbers, with exact counts.
        sample: some of all numbers.
        count: how many numbers there are in all.
    """
    distinct, counts = np.unique(sample, return_counts=True)
    body = distinct[~np.isin(distinct, [*_MARKS])]  # each number once, so that no mark is a part of it by its count
    if len(body) < _FEW:
        return {}
    quarter, three_quarters = np.quantile(body, [0.25, 0.75]).tolist()
    between = three_quarters - quarter
    low, high, width = quarter - between, three_quarters + between, 3 * between
    if not width > 0:
        return {}
    inside = body[(body >= low) & (body <= high)].tolist()
    often = float(np.max(counts[np.isin(distinct, inside)]))
    often = _TIMES * max(1.0, often * count / len(sample) if often > 1 else 1.0)
    totals = {**dict(zip(distinct.tolist(), counts.tolist(), strict=True)), **ends}
    found: dict[str, list[tuple[float, int]]] = {"marks?": [], "spikes?": []}
    for edge, numbers in (
        (low, sorted((n for n in totals if n < low), reverse=True)),
        (high, sorted(n for n in totals if n > high)),
    ):
        # Outwards; `inner` is the last number that was taken for a measurement.
        inner, spiky = (inside[0] if edge == low else inside[-1]), False
        for number in numbers:
            gap, times = abs(number - inner), totals[number]
            far = max(_SPIKE_GAP * width, _SPIKE_RATIO * (abs(inner - edge) + width))
            spiky = spiky or abs(number - edge) > far
            if (number in _MARKS and gap > _MARK_GAP * width) or (times >= often and gap > _REPEATED_GAP * width):
                found["marks?"].append((number, times))
            elif spiky:
                found["spikes?"].append((number, times))
            else:
                inner = number
    return {kind: sorted(told, key=lambda pair: -pair[1]) for kind, told in found.items() if told}


class RangeReport:
    """Samples of a run that leave the fitted range, by variate."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.worst: dict[str, float] = {}
        self.seen = 0

    def add(self, other: "RangeReport") -> None:
        """Takes over what another report of the run has."""
        self.rows += other.rows
        self.worst = other.worst | self.worst
        self.seen += other.seen

    def warn(self) -> None:
        """One warning, if there are any."""
        if self.rows:
            told = ", ".join(
                f"{name} in {count} of {self.seen} rows (such as {self.worst[name]:g})"
                for name, count in self.rows.items()
            )
            warn_caller(_RANGE_WARNING.format(told))


_REPORT: ContextVar[RangeReport | None] = ContextVar("report", default=None)


@contextlib.contextmanager
def reported_to(report: RangeReport) -> Iterator[RangeReport]:
    """Within, what leaves the range is noted in a report, for one warning at the end of a run."""
    token = _REPORT.set(report)
    try:
        yield report
    finally:
        _REPORT.reset(token)


def check_fitted_range(values: Array, observed: Array, settings: Any) -> None:
    """Tells which variates of series `(B, T, V)` leave the range that their processor was fitted on, see above."""
    if settings.statistics is None or "dataset" not in (settings.scaling, settings.value_range):
        return
    xp, fitted = namespace(values), settings.statistics["variates"]
    lowest, highest = like(fitted["minimum"], values), like(fitted["maximum"], values)
    width = highest - lowest
    width = xp.where(width > 0, width, xp.where(lowest != 0, xp.abs(lowest), 1))
    away = RANGE_FACTOR * width
    leaving = (observed & ((values > highest + away) | (values < lowest - away))).any(axis=1)
    nearest = xp.minimum(xp.abs(lowest), xp.abs(highest))
    one_sided = (lowest > 0) | (highest < 0)
    far_below = xp.amax(xp.where(observed, xp.abs(values), 0), axis=1) < _SMALLER * nearest
    # An observed zero may be a true one.
    far_below = far_below & one_sided & (xp.where(observed, xp.abs(values), 0).sum(axis=1) > 0)
    wrong = like(leaving | far_below, np.zeros(0, bool))  # (B, V)
    report = _REPORT.get()
    if report is not None:
        report.seen += len(wrong)
    if not wrong.any():
        return
    names = [repr(name) for name in settings.variate_names or range(wrong.shape[1])]
    if report is None:
        tell(_RANGE_WARNING, [names[variate] for variate in np.flatnonzero(wrong.any(axis=0))])
        return
    numbers = np.where(like(observed, np.zeros(0, bool)), like(values, np.zeros(0)), 0)
    for variate in np.flatnonzero(wrong.any(axis=0)):
        report.rows[names[variate]] += int(wrong[:, variate].sum())
        series = numbers[int(np.argmax(wrong[:, variate])), :, variate]
        report.worst.setdefault(names[variate], float(series[np.argmax(np.abs(series))]))


__all__ = ["RANGE_FACTOR", "RangeReport", "Screening", "check_fitted_range", "reported_to"]
