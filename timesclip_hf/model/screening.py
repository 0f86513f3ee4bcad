# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Numbers that may be no measurements, told to people; nothing is changed unasked.

The rule. `fit` compares numbers with the body of their column: the middle half of all that occur, each taken once,
and as much again on either side. It tells

- marks: -9999, 999, 255, 65535, -32768, 0 and their like outside the body, where they stand a quarter of its width or
  more away from the next number inwards, and other numbers that stand a whole width away and come three times or more,
  and three times as often as any number of the body (the latitudes of ten sites all repeat);
- spikes: numbers that are ten widths or more beyond the body, and five times as far as the next number inwards.

Where each of several series is scaled by itself (`scaling="instance"`), their levels are unlike, and a level is no
spike: numbers are compared in widths of the body of their own series, 64 of its numbers that lie evenly over it, and
marks must be three or more, and three times as often as any other number outside of bodies. A series whose quartiles
are equal is not looked at.

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
_OUTERMOST, _BODY, _OF_SERIES = 16, 20_000, 64
_SHOWN = 4


_ENDS: ContextVar[np.ndarray | None] = ContextVar("ends", default=None)


@contextlib.contextmanager
def joined_series(ends: np.ndarray) -> Iterator[None]:
    """Within, an array of one sample that is fitted holds series one behind the other, which end at these steps."""
    token = _ENDS.set(ends)
    try:
        yield
    finally:
        _ENDS.reset(token)


class _Column:
    """What was seen of a column's numbers: the outermost with their counts, and some that stand for its body."""

    def __init__(self) -> None:
        self.ends: Counter[float] = Counter()
        self.body: list[np.ndarray] = []
        self.count = 0

    def see(self, numbers: np.ndarray) -> None:
        """Takes note of some numbers, all of them finite."""
        distinct, counts = np.unique(numbers, return_counts=True)
        last = max(_OUTERMOST, len(distinct) - _OUTERMOST)
        outer = np.r_[0 : min(_OUTERMOST, len(distinct)), last : len(distinct)]
        for number, count in zip(distinct[outer].tolist(), counts[outer].tolist(), strict=True):
            self.ends[number] += count
        for number in sorted(self.ends)[_OUTERMOST:-_OUTERMOST]:
            del self.ends[number]
        self.count += len(numbers)
        self.body.append(numbers[:: 1 + len(numbers) // 1000])
        if sum(map(len, self.body)) > _BODY:
            self.body = [np.concatenate(self.body)[::2]]

    def suspicious(self) -> dict[str, list[tuple[float, int]]]:
        return _suspicious(self.ends, np.concatenate(self.body), self.count)


class _SeriesColumn:
    """The same of numbers in widths of their own series, and the marks among those outside of bodies."""

    def __init__(self) -> None:
        self.series, self.widths = 0, _Column()
        self.known: dict[float, float] = {}  # widths -> the number itself
        self.outside: Counter[float] = Counter()

    def see(self, numbers: np.ndarray, series: np.ndarray) -> None:
        """Takes note of numbers `(m,)` of series `(m,)`, whose numbers stand together."""
        starts = np.flatnonzero(np.diff(series, prepend=series[0] - 1))
        counts = np.diff(np.append(starts, len(series)))
        self.series += len(starts)
        some = np.sort(numbers[starts[:, None] + counts[:, None] * np.arange(_OF_SERIES) // _OF_SERIES], axis=1)
        quarter, three_quarters = some[:, _OF_SERIES // 4], some[:, 3 * _OF_SERIES // 4]
        wide, of_series = three_quarters > quarter, np.repeat(np.arange(len(starts)), counts)
        kept = wide[of_series]
        numbers, of_series = numbers[kept].astype(np.float64), of_series[kept]
        if not len(numbers):
            return
        middle, width = (quarter + three_quarters)[of_series] / 2, 3 * (three_quarters - quarter)[of_series]
        widths = (numbers - middle) / width * np.pi  # so that none of them looks like a mark
        order = np.argsort(widths)
        ends = np.r_[order[:_OUTERMOST], order[-_OUTERMOST:]]
        self.known |= dict(zip(widths[ends].tolist(), numbers[ends].tolist(), strict=True))
        self.widths.see(widths)
        self.known = {end: self.known[end] for end in self.widths.ends if end in self.known}
        found, times = np.unique(numbers[np.abs(widths) > (0.5 + _MARK_GAP) * np.pi], return_counts=True)
        self.outside += Counter(dict(zip(found.tolist(), times.tolist(), strict=True)))
        marks = Counter({number: count for number, count in self.outside.items() if number in _MARKS})
        self.outside = marks + Counter(dict((self.outside - marks).most_common(_BODY)))

    def suspicious(self) -> dict[str, list[tuple[float, int]]]:
        often = _TIMES * max([1, *(count for number, count in self.outside.items() if number not in _MARKS)])
        marks = {number: count for number, count in self.outside.items() if number in _MARKS and count >= often}
        found = {"marks?": Counter(marks), "spikes?": Counter[float]()}
        for kind, told in self.widths.suspicious().items() if self.widths.body else ():
            for end, count in told:
                if (number := self.known.get(end, 0.0)) not in marks and end in self.known:
                    found[kind][number] += count
        return {kind: told.most_common() for kind, told in found.items() if told}


class Screening:
    """What `fit` has seen of the numbers of each column, as far as it takes to tell marks and spikes.

    Args:
        by_series: compare numbers of variates with those of their own series, where there are several.
    """

    def __init__(self, by_series: bool = False) -> None:
        self.by_series = by_series
        self.columns: dict[str, _Column] = {}
        self.of_series: dict[str, _SeriesColumn] = {}

    def watched(
        self, chunks: Iterable[tuple[Array, Array]], variate_names: Sequence[str] | None
    ) -> Iterator[tuple[Array, Array]]:
        """The chunks of `fit` as they are, looked at on their way."""
        for values, observed in chunks:
            numbers, seen = like(values, np.zeros(0)), like(observed, np.zeros(0, bool))
            series = _numbered(numbers) if self.by_series else None
            for variate in range(numbers.shape[2]):
                name = f"variate {repr(variate_names[variate]) if variate_names else variate}"
                kept = seen[..., variate]
                self.see(name, numbers[..., variate][kept])
                if series is not None and kept.any():
                    self.of_series.setdefault(name, _SeriesColumn()).see(numbers[..., variate][kept], series[kept])
            yield values, observed

    def see(self, column: str, numbers: np.ndarray) -> None:
        """Takes note of some numbers of a column, all of them finite."""
        self.columns.setdefault(column, _Column()).see(numbers)

    def report(self) -> None:
        """One warning that tells suspicious numbers of all columns, if there are any."""
        told = []
        for name, column in self.columns.items():
            series = self.of_series.get(name)
            found = (column if series is None or series.series < 2 else series).suspicious()
            for kind, numbers in found.items():
                shown = ", ".join(f"{number:g} ({count}x)" for number, count in numbers[:_SHOWN])
                more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
                told.append(f"{name}: {kind} {shown}{more}")
        if told:
            warn_caller(
                f"numbers that may be no measurements were fitted as they are: {'; '.join(told)}. If they mark "
                "missing values, declare those of variates (missing_values=[...]), leave the rows of others out, and "
                "fit again"
            )


def _numbered(values: np.ndarray) -> np.ndarray:
    """The series that each step `(B, T)` of an array `(B, T, V)` belongs to."""
    ends, (samples, steps) = _ENDS.get(), values.shape[:2]
    if samples == 1 and ends is not None and len(ends) and ends[-1] == steps:
        return np.searchsorted(ends, np.arange(steps), side="right")[None]
    return np.broadcast_to(np.arange(samples)[:, None], (samples, steps))


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
