# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
r"""Which columns of a wide table are steps of which variate: by their names.

The rule. Without a pattern a column is a step if its name is `{variate}_{number}` (of one digit: see `step_columns`),
or has a whole date before or behind the variate's name: `NDVI_2019_10_01`, `NDVI_20191001`, `2019-10-01_NDVI`. With a
`column_pattern`, all columns that match it are steps, and no others: one of `COLUMN_PATTERNS` by its name, or a
regular expression for the whole name with the groups `variate` and `step` (a number) or `date`:
`(?P<variate>\w+) week (?P<step>\d+)`.

Dates are numbered by their rhythm (`data.rhythms`), the first being 0; dates that are missing on it are holes. A later
table is numbered by the dates of the first one, whatever its year: each date belongs to the step whose day of the year
is nearest, which must be nearer than half a step. Dates before and behind that season are steps of no model.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .rhythms import find_rhythm
from .tables import near_names, some_of
from .timestamps import read_timestamps

# The number of a step, or its date.
Step = int | np.datetime64

_STEP_COLUMN = re.compile(r"(.+)_(\d{1,18})", re.DOTALL)
_SERIES_OF_DIGITS = 3  # columns that `plot_1`, `plot_2` must be at least, in an unbroken row, to be taken for steps
_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_DATE = rf"{_YEAR}(?:{_MONTH}{_DAY}|-{_MONTH}-{_DAY}|_{_MONTH}_{_DAY}|\.{_MONTH}\.{_DAY}|/{_MONTH}/{_DAY})"
_BACKWARDS = rf"{{0}}[-_./]?{{1}}[-_./]?{_YEAR}"
_NAMED = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_FORMATS = {"day_first": "%d%m%Y", "month_first": "%m%d%Y"}
_WITH_NAMES = ("%b%Y", "%d%b%Y", "%Y%b", "%Y%b%d", "%B%Y", "%d%B%Y", "%Y%B", "%Y%B%d")
_CLOCK = r"(?:[T ]\d\d:?\d\d(?::?\d\d)?)?"


def _either_way(date: str, separator: str = "[-_. ]?") -> tuple[str, str]:
    """Two patterns: the date behind the variate's name, and before it."""
    return (
        rf"(?P<variate>.+?){separator}(?P<date>{date})",
        rf"X?(?P<date>{date}){separator}(?P<variate>.+)",  # R puts an X before names that begin with digits
    )


_WHOLE_DATES = _either_way(_DATE + _CLOCK, "[-_. ]")
# Patterns by name, the first of each that matches counts.
COLUMN_PATTERNS: dict[str, tuple[str, ...]] = {
    # NDVI_2019_10_01, NDVI20191001, 2019.10.01-NDVI, S2_20191001_NDVI
    "dates": (*_either_way(_DATE + _CLOCK), rf"(?P<variate>.+?)[-_. ](?P<date>{_DATE}{_CLOCK})(?P<rest>[-_. ].+)"),
    "months": _either_way(rf"{_YEAR}[-_./]?{_MONTH}"),  # NDVI_2019_10, 201910_NDVI
    "days_of_year": _either_way(rf"{_YEAR}[-_./]?(?:[0-2]\d\d|3[0-5]\d|36[0-6])"),  # NDVI_2019274, 2019-274_NDVI
    "day_first": _either_way(_BACKWARDS.format(_DAY, _MONTH)),  # NDVI_01.10.2019
    "month_first": _either_way(_BACKWARDS.format(_MONTH, _DAY)),
    # NDVI_Oct_2019, NDVI_01Oct2019, 2019-October_NDVI
    "month_names": _either_way(
        rf"(?:(?:{_DAY}[-_./]?)?{_NAMED}[-_./]?{_YEAR}|{_YEAR}[-_./]?{_NAMED}(?:[-_./]?{_DAY})?)"
    ),
    "dots": (r"(?P<variate>.+)\.(?P<step>\d+)",),  # ndvi.1
    "dashes": (r"(?P<variate>.+)-(?P<step>\d+)",),  # B8-01
    "underscores": (r"(?P<variate>.+)_(?P<step>\d+)",),  # ndvi_1, whatever else there is
    "spaces": (r"(?P<variate>.+) (?P<step>\d+)",),  # ndvi 1
    "digits": (r"(?P<variate>.*?\D)(?P<step>\d+)",),  # ndvi1
    "number_first": (r"X?(?P<step>\d+)[-_. ](?P<variate>.+)",),  # 0_NDVI, as Earth Engine names bands
}


def step_columns(
    columns: Iterable[str], variates: Iterable[str] = (), column_pattern: str | None = None
) -> dict[str, tuple[str, Step]]:
    """Column -> its variate and the number or date of its step, by the rule above: `ndvi_07` is step 7 of `ndvi`.

    A number has two digits or more. One of a single digit counts beside such numbers of the same variate (`ndvi_0` ...
    `ndvi_11`), of `variates` that are asked for, and, in tables that have no numbers of two digits at all, of three
    columns or more in an unbroken row (`ndvi_0` ... `ndvi_8`); else `plot_1` is an ordinary column. A date counts
    beside another one, or of `variates` that are asked for; where these are called `NDVI_2019_10`, it is none; beside
    numbers, `2019-10-01_note` is an ordinary column.

    Raises:
        ValueError: a pattern that is none, or steps that cannot be read by it.
    """
    names, asked = list(columns), set(variates)
    if others := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"column names must be text, found {some_of(map(repr, others))}")
    if column_pattern is not None:
        return _by_pattern(names, pattern_text(column_pattern))
    plain = {match[0]: (match[1], match[2]) for match in filter(None, map(_STEP_COLUMN.fullmatch, names))}
    texts = _match(names, _WHOLE_DATES)
    taken = {
        name for name, (variate, _) in texts.items() if variate not in asked and plain.get(name, ("",))[0] in asked
    }
    dated = _with_dates({name: date for name, date in texts.items() if name not in taken}, exact=False)
    if len(dated) < 2:
        dated = {name: step for name, step in dated.items() if step[0] in asked}
    numbered = _numbered({name: found for name, found in plain.items() if name not in dated}, asked)
    if numbered:  # beside numbers, dates are steps only where they would else be numbers, for all to see
        dated = {name: step for name, step in dated.items() if name in plain or step[0] in asked}
    return {name: found for name in names if (found := dated.get(name) or numbered.get(name))}


def _numbered(found: Mapping[str, tuple[str, str]], asked: set[str]) -> dict[str, tuple[str, Step]]:
    steps: dict[str, set[int]] = {}
    for variate, digits in found.values():
        steps.setdefault(variate, set()).add(int(digits))
    sure = {variate for variate, digits in found.values() if len(digits) > 1} | asked & set(steps)
    if not sure:
        for variate, numbers in steps.items():
            if len(numbers) >= _SERIES_OF_DIGITS and max(numbers) - min(numbers) == len(numbers) - 1:
                sure.add(variate)
    return {name: (variate, int(digits)) for name, (variate, digits) in found.items() if variate in sure}


# Those that hardly anything but steps looks like.
CLEAR_PATTERNS = ("dates", "months", "days_of_year", "day_first", "month_names", "dots", "dashes", "number_first")

# --- patterns ---------------------------------------------------------------------------------------------------


def pattern_text(column_pattern: Any) -> Any:
    """A pattern as text, which may also come compiled, or not at all."""
    if isinstance(column_pattern, re.Pattern):
        return f"(?i){column_pattern.pattern}" if column_pattern.flags & re.IGNORECASE else column_pattern.pattern
    return column_pattern if column_pattern is None else str(column_pattern)


def _by_pattern(names: list[str], column_pattern: str) -> dict[str, tuple[str, Step]]:
    patterns = COLUMN_PATTERNS.get(column_pattern) or (column_pattern,)
    found = _match(names, patterns)
    if "date" in _compiled(patterns[0]).groupindex:
        return _with_dates(found, _FORMATS.get(column_pattern))
    if wrong := [name for name, (_, step) in found.items() if not re.fullmatch(r"\d{1,18}", step)]:
        raise ValueError(
            f"column_pattern {column_pattern!r} finds steps that are no numbers, in {some_of(map(repr, wrong))}: let "
            r"its group `step` match digits alone, (?P<step>\d+)"
        )
    return {name: (variate, int(step)) for name, (variate, step) in found.items()}


def _match(names: Iterable[str], patterns: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Column -> its variate and the text of its step or date."""
    found = {}
    for name in names:
        for pattern in patterns:
            if (match := _compiled(pattern).fullmatch(name)) and (groups := match.groupdict(""))["variate"]:
                variate = groups["variate"] + groups.get("rest", "")
                found[name] = variate, groups.get("date") or groups.get("step") or ""
                break
    return found


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    advice = (
        rf"expected one of {', '.join(COLUMN_PATTERNS)}, or a regular expression with the groups `variate` and `step` "
        r"(or `date`), such as '(?P<variate>.+) week (?P<step>\d+)'"
    )
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ValueError(f"column_pattern {pattern!r} is no regular expression ({error}); {advice}") from error
    groups = set(compiled.groupindex)
    if "variate" not in groups or len(groups & {"step", "date"}) != 1:
        near = near_names(pattern, list(COLUMN_PATTERNS))
        raise ValueError(f"column_pattern {pattern!r} lacks groups{f' (near: {near})' if near else ''}; {advice}")
    if re.search(r"(?<!\\)\)[*+{]", pattern):
        # Such patterns may take forever, and a processor's may come from anywhere.
        raise ValueError(f"column_pattern {pattern!r} repeats a group; {advice}")
    return compiled


def suggested_pattern(columns: Iterable[str], among: Iterable[str] = COLUMN_PATTERNS) -> str | None:
    """In words, the ready-made pattern that most of these columns match, as steps in an unbroken row; None: none."""
    names, best = list(columns), (_SERIES_OF_DIGITS - 1, "")
    for known in among:
        try:
            found = _by_pattern(names, known)
        except ValueError:
            continue
        steps: dict[str, set[Step]] = {}
        for variate, step in found.values():
            steps.setdefault(variate, set()).add(step)
        rows = [row for row in steps.values() if len(row) >= _SERIES_OF_DIGITS and _is_unbroken(row)]
        count = sum(map(len, rows))
        if count > best[0]:
            example = next(name for name, (variate, _) in found.items() if len(steps[variate]) >= _SERIES_OF_DIGITS)
            best = (count, f"{example!r} and {count - 1} other columns look like steps: pass column_pattern={known!r}")
    return best[1] or None


def unread_digits(columns: Iterable[str], count: int) -> list[str]:
    """Ordinary columns `ndvi_0`, `ndvi_1`, ... that are as many, in an unbroken row, as other variates have steps."""
    found: dict[str, dict[int, str]] = {}
    for match in filter(None, map(_STEP_COLUMN.fullmatch, columns)):
        found.setdefault(match[1], {})[int(match[2])] = match[0]
    rows = [steps for steps in found.values() if len(steps) == count >= _SERIES_OF_DIGITS and _is_unbroken(set(steps))]
    return [name for steps in rows for name in steps.values()]


def suggested_dates(columns: Iterable[str]) -> str | None:
    """In words, the pattern by which all of these columns, steps by their numbers, would have dates; None: none."""
    names = list(columns)
    for known in ("months", "days_of_year", "day_first", "month_first", "month_names"):
        if len(names) > 1 and len(_match(names, COLUMN_PATTERNS[known])) == len(names):
            return f"columns such as {names[0]!r} may have dates: pass column_pattern={known!r} if so"
    return None


def _is_unbroken(steps: set[Step]) -> bool:
    numbers = [step for step in steps if isinstance(step, int)]
    return not numbers or max(numbers) - min(numbers) == len(numbers) - 1


# --- dates ------------------------------------------------------------------------------------------------------


def _with_dates(
    found: Mapping[str, tuple[str, str]], form: str | None = None, exact: bool = True
) -> dict[str, tuple[str, Step]]:
    """Text of dates as dates, by their format if it is known; what is none (30 February) raises if `exact`."""
    if not found:
        return {}
    texts = pd.Series([re.sub(r"[_./]", "-", text) for _, text in found.values()])
    try:
        dates = _read_dates(texts, form)
    except ValueError as error:
        if exact:
            raise ValueError(f"dates in the names of columns {some_of(map(repr, found), 3)}: {error}") from error
        valid = {name: pair for name, pair in found.items() if _is_date(pair[1])}
        return _with_dates(valid) if len(valid) < len(found) else {}
    return {name: (variate, date) for (name, (variate, _)), date in zip(found.items(), dates, strict=True)}


def _read_dates(texts: pd.Series, form: str | None) -> list[np.datetime64]:
    digits = texts.str.replace("-", "")
    if form is not None:
        return list(pd.to_datetime(digits, format=form).to_numpy("datetime64[s]"))
    for length, form in ((8, "%Y%m%d"), (7, "%Y%j"), (6, "%Y%m")):
        year_first = digits.str.fullmatch(rf"{_YEAR}\d{{{length - 4}}}").all()
        if year_first and texts.str.fullmatch(r"\d{4}(-?\d+)+").all():
            return list(pd.to_datetime(digits, format=form).to_numpy("datetime64[s]"))
    for form in _WITH_NAMES if texts.str.contains("[A-Za-z]{3}").all() else ():
        parsed = pd.to_datetime(digits, format=form, errors="coerce")
        if parsed.notna().all():
            return list(parsed.to_numpy("datetime64[s]"))
    times = read_timestamps(texts.rename("(in names)"))
    if isinstance(times, pd.DatetimeIndex):
        times = times.tz_localize(None).to_numpy()
    if times.dtype.kind != "M":
        raise ValueError(f"found {some_of(map(repr, texts), 3)}, expected dates")
    return list(times.astype("datetime64[s]"))


def _is_date(text: str) -> bool:
    return bool(pd.notna(pd.to_datetime(re.sub(r"\D", "", text)[:8], format="%Y%m%d", errors="coerce")))


def number_steps(steps: Iterable[Step], step_dates: Sequence[str] | None = None) -> tuple[dict[Step, int], list[str]]:
    """Steps as numbers, by the rule above, and the dates of all numbers from the smallest on (none of numbers).

    Args:
        steps: numbers or dates of one table.
        step_dates: of the steps 0, 1, ... as the first table had them; None: this is the first table.

    Raises:
        ValueError: numbers and dates, dates without a rhythm, or dates between those of the first table.
    """
    given = sorted(set(steps), key=lambda step: (isinstance(step, int), step))
    dates = [step for step in given if not isinstance(step, int)]
    if not dates:
        return {step: step for step in given if isinstance(step, int)}, []
    if len(dates) < len(given):
        raise ValueError(
            f"some columns have numbers ({given[-1]}) and others dates ({_shown(dates[0])}) of steps: name the true "
            "variates in `variates`"
        )
    times = np.array(dates, "datetime64[s]")
    if step_dates:
        return _numbered_by(times, np.array(step_dates, "datetime64[s]"))
    if len(times) == 1:
        return {times[0]: 0}, [_shown(times[0])]
    if (rhythm := find_rhythm(times)) is None:
        gaps = some_of(f"{days:g} days" for days in np.diff(times) / np.timedelta64(1, "D"))
        raise ValueError(
            f"the dates in the names of columns follow no rhythm: {gaps} between {some_of(map(_shown, times))}. Add "
            "the columns that are missing (empty where nothing was measured), or, if nothing counts but the order, "
            "number the columns: ndvi_00, ndvi_01, ..."
        )
    labels = list(map(_shown, rhythm.at(np.arange(rhythm.positions[-1] + 1))))
    return dict(zip(times, rhythm.positions.tolist(), strict=True)), labels


def _numbered_by(times: Any, known: Any) -> tuple[dict[Step, int], list[str]]:
    half = (np.diff(known).min() if len(known) > 1 else np.timedelta64(2, "D")) / 2
    best: Any = None
    years = [pd.DatetimeIndex(dates).year for dates in (times, known)]
    shifts = range(int(years[1].min() - years[0].max()), int(years[1].max() - years[0].min()) + 1)
    for shift in sorted(shifts, key=abs):
        moved = (pd.DatetimeIndex(times) + pd.DateOffset(years=shift)).to_numpy("datetime64[s]")
        after = np.clip(np.searchsorted(known, moved), 1, max(1, len(known) - 1))
        sides = np.stack([after - 1, np.minimum(after, len(known) - 1)])
        distance = np.abs(known[sides] - moved)
        nearest = np.where(distance[0] <= distance[1], *sides)
        fits = distance.min(axis=0) < half
        if best is None or fits.sum() > best[0].sum():
            best = fits, nearest, moved
    fits, nearest, moved = best
    season = f"the season that the model knows, {_shown(known[0])} to {_shown(known[-1])} of any year"
    if not fits.any():
        raise ValueError(f"none of the dates {some_of(map(_shown, times))} falls into {season}")
    early, late = moved < known[0] - half, moved > known[-1] + half
    if (stray := ~(fits | early | late)).any():
        raise ValueError(
            f"the dates {some_of(map(_shown, times[stray]))} lie between the steps of {season}: bring the series "
            "to its steps"
        )
    numbers = np.where(fits, nearest, np.where(early, -np.cumsum(early[::-1])[::-1], len(known) - 1 + np.cumsum(late)))
    if len(twice := np.flatnonzero(np.diff(numbers) == 0)):
        pair = some_of(map(_shown, times[twice[0] : twice[0] + 2]))
        raise ValueError(f"the dates {pair} are of one step of {season}: bring the series to its steps")
    own = {int(number): _shown(time) for number, time in zip(numbers, times, strict=True)}
    labels = [
        own.get(step) or (_shown(known[step]) if 0 <= step < len(known) else str(step))
        for step in range(int(numbers.min()), int(numbers.max()) + 1)
    ]
    return dict(zip(times, numbers.tolist(), strict=True)), labels


def _shown(date: Any) -> str:
    """An ISO date, with its time of day where it has one."""
    return str(np.datetime64(date, "s")).removesuffix("T00:00:00")


__all__ = [
    "CLEAR_PATTERNS",
    "COLUMN_PATTERNS",
    "Step",
    "number_steps",
    "pattern_text",
    "step_columns",
    "suggested_dates",
    "suggested_pattern",
    "unread_digits",
]
