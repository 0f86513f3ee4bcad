# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Many series of different level and length as one block of numbers: what global forecasters learn from.

Rows of a table are put in the order of series (by name) and times, so that nothing depends on how they came. Steps
that are missing between two times of a series become rows of NaN. All series stand on one rhythm where there is one
(see `rhythms`), which is then found once; else each has its own. No object is made for a series, however many there
are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..model.future_values import Column
from .covariates import changing_statics, coded_cells, first_statics
from .rhythms import Rhythm, Times, find_rhythm, instants, is_zoned, join_times
from .tables import check_complete, decoded, read_variates, some_of, warn_caller
from .timestamps import kind_of_numbers, read_timestamps, show_time

# As pandas wrote frequencies before 2.2; Nixtla's and AutoGluon's users still do.
_OLD_FREQUENCIES = {"M": "ME", "Q": "QE", "Y": "YE", "A": "YE", "H": "h", "T": "min", "S": "s"}
_MOST_FILLED = 10  # rows that a given frequency may make of one

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Calendar:
    """The times of all series: each stands on a rhythm, from some position of it on.

    Args:
        rhythms: positions to times, of each rhythm that occurs.
        of_series: `(n,)`, which of them a series follows.
        firsts: `(n,)`, position of its first step.
    """

    rhythms: Sequence[Callable[[Positions], Times]]
    of_series: Positions
    firsts: Positions

    def times(self, series: Positions, steps: Positions) -> Times:
        """Times of steps, counted from 0 at a series' first one; those beyond its end continue its rhythm.

        Args:
            series, steps: `(k,)`.

        Raises:
            ValueError: times beyond what their type holds.
        """
        positions = self.firsts[series] + steps
        try:
            if len(self.rhythms) == 1:
                return self.rhythms[0](positions)
            used, places = np.unique(self.of_series[series], return_inverse=True)
            order = np.argsort(places, kind="stable")
            ends = np.cumsum(np.bincount(places, minlength=len(used)))[:-1]
            parts = [self.rhythms[k](positions[rows]) for k, rows in zip(used, np.split(order, ends), strict=True)]
        except (OverflowError, pd.errors.OutOfBoundsDatetime) as error:
            raise ValueError(
                f"times that go on from the series' end are beyond what their type holds: {error}"
            ) from error
        return join_times(parts)[np.argsort(order)]


@dataclass(frozen=True, eq=False, repr=False)
class Panel:
    """Series one behind the other.

    Args:
        values: `(rows, V)` float64, NaN is missing.
        offsets: `(n + 1,)`; series k is `values[offsets[k]:offsets[k + 1]]`.
        ids: `(n,)`, names of the series, sorted, of the type that they have in the table.
        variate_names: the V variates.
        calendar: their times.
        gaps: steps that were missing between others.
        known: `(rows, C)`, covariates whose future is known, in the same rows; `columns`: what is known of them, see
            `model.future_values.fit_future`.
        ahead: `(n, steps, C)`, the same of steps behind the end of each series.
        static: a row for each series, or None.
    """

    values: NDArray[np.float64]
    offsets: Positions
    ids: pd.Series
    variate_names: list[str]
    calendar: Calendar
    gaps: int = 0
    known: NDArray[np.float64] | None = None
    columns: Sequence[Column] = ()
    ahead: NDArray[np.float64] | None = None
    static: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        lengths = self.lengths
        steps = f"{lengths[0]}" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"
        return f"Panel({len(self)} series of {steps} steps, {len(self.variate_names)} variates)"

    @property
    def lengths(self) -> Positions:
        """Steps of each series `(n,)`."""
        return np.diff(self.offsets)

    def series(self, number: int) -> NDArray[np.float64]:
        """One series `(T, V)`, a view."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def head(self, lengths: Positions) -> "Panel":
        """The first so many steps `(n,)` of each series; those that keep none stay, empty."""
        kept = np.minimum(lengths, self.lengths)
        rows, offsets = spans(self.offsets[:-1], kept), np.concatenate([[0], np.cumsum(kept)])
        known = None if self.known is None else self.known[rows]
        return replace(self, values=self.values[rows], offsets=offsets, known=known, ahead=None)

    def step_seconds(self) -> float | None:
        """Seconds between two steps of the longest series, as a rule; None where times are numbers."""
        longest = int(np.argmax(self.lengths))
        steps = np.arange(min(int(self.lengths[longest]), 1000))
        times = instants(self.calendar.times(np.full(len(steps), longest), steps))
        if times.dtype.kind != "M" or len(times) < 2:
            return None
        return float(np.median(np.diff(times) / np.timedelta64(1, "s")))


def shown(ids: pd.Series, number: Any) -> str:
    """A series' name as messages have it: text in quotes, numbers without their type."""
    return repr(ids.iloc[[int(number)]].tolist()[0])


def spans(starts: Positions, counts: Positions) -> Positions:
    """Row numbers of spans, one behind the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


def read_panel(
    frame: pd.DataFrame,
    *,
    timestamp_column: str,
    id_column: str | None = None,
    variates: Sequence[str],
    freq: str | int | None = None,
    columns: Sequence[Column] = (),
    static: Sequence[str] = (),
) -> Panel:
    """A long table as a panel.

    Args:
        frame: as `read_table` gives it, in any order.
        timestamp_column: dates, with or without a time zone, or numbers.
        id_column: which series a row belongs to; None: one series, "0".
        variates: columns to read.
        freq: distance of two steps, in pandas' words (`"h"`, `"MS"`, `"B"`), or a number where times are numbers, Unix
            times, too; None: as the times say.
        columns: covariates whose future is known, as far as they are known: with their `categories`, where they have
            such. What lacks of them in a series is taken from the step before, or else behind.
        static: columns that say the same in all rows of a series.

    Raises:
        ValueError: cells that are no numbers, times that are blank, come twice in a series, or follow no rhythm or not
            that of `freq`.
    """
    variates = list(variates)
    values, places = _cells(frame, variates, columns, timestamp_column, id_column)
    codes, ids = _series_of(frame, id_column)
    times = read_timestamps(frame[timestamp_column])
    order = np.lexsort((instants(times), codes))
    codes, times, values = codes[order], times[order], values[order]
    moments, same = instants(times), np.diff(codes) == 0
    if (twice := np.flatnonzero(same & (moments[1:] == moments[:-1]))).size:
        row = twice[0]
        put_back = "" if is_zoned(times) or not _on_nights_of_sunday(moments[twice]) else (
            "; where a clock was put back, give the times their zone (tz_localize of pandas)"
        )  # fmt: skip
        raise ValueError(
            f"series {shown(ids, codes[row])} has {show_time(times[row])} more than once ({len(twice)} such rows in "
            f"all): keep one row for each series and time"
            f"{'' if id_column else ', or name the column of the series as id_column'}{put_back}"
        )
    rhythms, of_series, positions = _on_rhythms(times, codes, ids, _in_unix_units(frame[timestamp_column], freq))
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    firsts = positions[starts]
    lengths = positions[np.append(starts[1:], len(codes)) - 1] - firsts + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    if offsets[-1] > _MOST_FILLED * len(codes) + 1000:
        raise ValueError(
            f"the times of {timestamp_column!r} fill {len(codes)} of {offsets[-1]} steps"
            f"{'' if freq is None else f' of freq={freq!r}'}: is the frequency right?"
        )
    gaps = int(offsets[-1] - len(codes))
    if gaps:
        laid = np.full((offsets[-1], values.shape[1]), np.nan)
        laid[offsets[codes] + positions - firsts[codes]] = values
        values = laid
        warn_caller(f"{gaps} time steps are not in the table, between others of their series: they count as missing")
    panel = Panel(values[:, : len(variates)], offsets, ids, variates, Calendar(rhythms, of_series, firsts), gaps)
    if columns:
        panel = replace(panel, known=_without_holes(values[:, places], offsets), columns=[dict(c) for c in columns])
    return _with_static(panel, frame, list(static), id_column, order[starts]) if static else panel


def _on_nights_of_sunday(moments: NDArray[Any]) -> bool:
    """Whether times lie where clocks are changed."""
    if moments.dtype.kind != "M":
        return False
    index = pd.DatetimeIndex(moments)
    return bool(((index.dayofweek == 6) & (index.hour < 4)).all())


def _with_static(
    panel: Panel, frame: pd.DataFrame, static: list[str], id_column: str | None, rows: Positions
) -> Panel:
    """A panel with what is known of its series as a whole, in these rows of the table."""
    names = frame[id_column] if id_column is not None else pd.Series("0", frame.index)
    if changing := changing_statics(frame[static], names):
        raise ValueError(f"series {next(iter(changing))!r}: {next(iter(changing.values()))}")
    known = first_statics(frame[static], names)
    return replace(panel, static=known.loc[names.iloc[rows].tolist()].reset_index(drop=True))


def _cells(
    frame: pd.DataFrame, variates: list[str], columns: Sequence[Column], timestamp_column: str, id_column: str | None
) -> tuple[NDArray[np.float64], list[int]]:
    """Variates, then covariates that are none, side by side, and where each covariate stands."""
    others = [column for column in columns if column["name"] not in variates]
    coded = [
        coded_cells(frame, column, timestamp_column, id_column)
        if "categories" in column
        else read_variates(frame, [column["name"]])[:, 0]
        for column in others
    ]
    names = [*variates, *(column["name"] for column in others)]
    cells = [read_variates(frame, variates), *(column[:, None] for column in coded)]
    return np.concatenate(cells, axis=1), [names.index(column["name"]) for column in columns]


def _without_holes(known: NDArray[np.float64], offsets: Positions) -> NDArray[np.float64]:
    """Covariates with what lacks taken from the step before in the same series, or else from that behind."""
    if not np.isnan(known).any():
        return known
    series = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    by_series = pd.DataFrame(known).groupby(series)
    return by_series.ffill().fillna(by_series.bfill()).to_numpy()


def _series_of(frame: pd.DataFrame, id_column: str | None) -> tuple[Positions, pd.Series]:
    """The number of each row's series, and the names of the series, sorted."""
    if id_column is None:
        return np.zeros(len(frame), np.int64), pd.Series(["0"])
    column = decoded(frame[id_column])
    blank = column.isna()
    if not pd.api.types.is_numeric_dtype(column.dtype):
        blank |= column.astype(str).str.strip() == ""
    check_complete(blank.to_numpy(bool), "series names", frame[id_column])
    try:
        codes, names = pd.factorize(column, sort=True)
    except TypeError:  # numbers and text cannot be compared
        codes, names = pd.factorize(column.astype(str), sort=True)
    return codes.astype(np.int64), pd.Series(names)


def _on_rhythms(
    times: Times, codes: Positions, ids: pd.Series, freq: str | int | None
) -> tuple[list[Callable[[Positions], Times]], Positions, Positions]:
    """What the series stand on, which of them each stands on, and the position of each time."""
    moments = instants(times)
    _, firsts, places = np.unique(moments, return_index=True, return_inverse=True)
    if (rhythm := _rhythm_of(times[firsts], freq)) is not None:
        positions = rhythm.positions[places]
        if freq is not None or _has_neighbours(positions, codes):
            return [rhythm.at], np.zeros(len(ids), np.int64), positions
    if freq is None and (found_at_once := _on_one_step(times, codes)) is not None:
        return found_at_once
    borders = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes))
    known: dict[bytes, int] = {}
    found: list[Rhythm] = []
    of_series, positions = np.empty(len(ids), np.int64), np.empty(len(codes), np.int64)
    for number, (low, high) in enumerate(zip(borders[:-1], borders[1:], strict=True)):
        key = moments[low:high].tobytes()
        if key not in known:
            if (rhythm := _rhythm_of(times[low:high], freq)) is None:
                raise ValueError(_no_rhythm(times[low:high], shown(ids, number), freq))
            known[key] = len(found)
            found.append(rhythm)
        of_series[number] = known[key]
        positions[low:high] = found[known[key]].positions
    return [rhythm.at for rhythm in found], of_series, positions


def _on_one_step(
    moments: Times, codes: Positions
) -> tuple[list[Callable[[Positions], Times]], Positions, Positions] | None:
    """The same, of series that go on in one step of hours, a day or a week, each from a time of its own."""
    if isinstance(moments, pd.DatetimeIndex) or moments.dtype.kind != "M":
        return None
    inside = np.diff(codes) == 0
    steps = np.diff(moments)[inside]
    if not len(steps):
        return None
    step, day = steps.min(), np.timedelta64(1, "D")
    if not (step < day or step in (day, 7 * day)) or (steps % step).astype(np.int64).any():
        return None
    ticks, unit = moments.astype(np.int64), step.astype(np.diff(moments).dtype).astype(np.int64)
    positions, phases = np.divmod(ticks, unit)
    if not _has_neighbours(positions, codes):
        return None
    known, of_series = np.unique(phases[np.flatnonzero(np.diff(codes, prepend=-1))], return_inverse=True)

    def rhythm(phase: int) -> Callable[[Positions], Times]:
        return lambda at: (at * unit + phase).astype(moments.dtype)

    return [rhythm(phase) for phase in known], of_series, positions


def _has_neighbours(positions: Positions, codes: Positions) -> bool:
    """Whether each series has two times side by side, so that it stands on no coarser rhythm of its own."""
    steps = np.where(np.diff(codes) == 0, np.diff(positions), np.iinfo(np.int64).max)
    least = np.full(codes[-1] + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, codes[:-1], steps)
    return bool(np.isin(least, (1, np.iinfo(np.int64).max)).all())


def _no_rhythm(times: Times, name: str, freq: str | int | None) -> str:
    where = f"series {name}"
    if freq is not None:
        return (
            f"{where}: times such as {times[0]} do not stand on freq={freq!r}; leave it out to take that of the data"
        )
    if len(times) < 2:
        return f"{where} has one time, {times[0]}, from which no rhythm can be read: give freq, or more history"
    steps, counts = np.unique(np.diff(instants(times)), return_counts=True)
    common = some_of(f"{pd.Timedelta(steps[k]) if steps.dtype.kind == 'm' else steps[k]} ({counts[k]} times)"
                     for k in np.argsort(-counts, kind="stable"))  # fmt: skip
    return f"{where}: timestamps follow no regular step; differences found: {common}. Resample the table to one step"


def _rhythm_of(times: Times, freq: str | int | None) -> Rhythm | None:
    """The rhythm of rising times: that which is asked for, or their own; None where they have none, or another."""
    if freq is None:
        return find_rhythm(times)
    if not isinstance(times, pd.DatetimeIndex) and times.dtype.kind != "M":
        if not (step := parsed_step(freq)) > 0:
            raise ValueError(f"freq={freq!r}: times are numbers, so that it must be a number above 0, too")
        steps = (times - times[0]) / step
        positions = np.rint(steps).astype(np.int64)
        if np.abs(steps - positions).max() > 1e-3:
            return None
        return Rhythm(f"steps of {freq}", positions, lambda at: (times[0] + at * step).astype(times.dtype))
    offset, index = frequency(freq), pd.DatetimeIndex(times)
    found = pd.date_range(index[0], index[-1], freq=offset, unit=index.unit).get_indexer(index)
    if (found < 0).any():
        return None

    def at(positions: Positions) -> Times:
        if not len(positions):
            return times[:0]
        dates = pd.date_range(index[0], periods=int(positions.max()) + 1, freq=offset, unit=index.unit)[positions]
        return dates if dates.tz is not None else dates.to_numpy()

    return Rhythm(f"freq {freq}", found.astype(np.int64), at)


def _in_unix_units(column: pd.Series, freq: str | int | None) -> str | int | None:
    """A distance that is a number in the unit of Unix times, where times are such."""
    cells = decoded(column)
    kind = kind_of_numbers(cells) if freq is not None and pd.api.types.is_numeric_dtype(cells.dtype) else None
    if freq is None or kind is None or "%" in kind or not parsed_step(freq) > 0:
        return freq
    return f"{freq}{kind}"


def parsed_step(freq: str | int) -> float:
    """A distance of times that are numbers; NaN for what is none."""
    try:
        return float(freq)
    except (TypeError, ValueError):
        return float("nan")


def frequency(freq: str | int) -> Any:
    """A frequency as pandas has it, also in its former words.

    Raises:
        ValueError: a word that it does not know.
    """
    text = str(freq)
    for word in (text, _OLD_FREQUENCIES.get(text, text), text.lower()):
        try:
            return pd.tseries.frequencies.to_offset(word)
        except ValueError:
            continue
    raise ValueError(
        f"freq={freq!r} is no frequency: pandas' words are expected, such as 'h', 'D', 'B', 'W', 'MS', 'ME'"
    )


__all__ = ["Calendar", "Panel", "frequency", "read_panel", "shown"]
