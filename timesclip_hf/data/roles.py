# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the columns of somebody's wide table are for, found by their names and contents, and the split that follows.

The rule. Steps of variates are what `find_variates` finds. The target is a class where its cells are text, booleans,
or at most ten different whole numbers with five rows each on average; else a number. A column tells *when* if it is
named as times are (year, season, date, ...) or holds dates, and its values can be put in order, none being blank; of
whole numbers that are no years, dates (20240131) or Unix times, only season and its like, and other numbers do not
tell when (`harvest_moisture`). It tells *where* (or who) if it is named as places and owners are (site, farm, region,
patient, ..., or anything that ends in id) and three or more of its values stand in several rows.

The split follows the use: a model is made for times to come, so the latest are its test wherever there are four times
or more; without, places that it has not seen; single rows at random only where the table has neither, or on request.
All other columns are left alone unless they are named as static: some of them may be known only after the harvest.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from numpy.typing import NDArray

from ..escaping import visible
from .columns import step_columns, suggested_pattern
from .splits import PARTS, random_rows, split_by_column, split_by_group, split_chronologically
from .tables import check_complete, check_known, decoded, is_blank, is_nameless, parsed_numbers, some_of
from .timestamps import kind_of_numbers, read_timestamps, tells_times
from .wide import find_variates

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.15
_MOST_CLASSES, _ROWS_OF_A_CLASS = 10, 5
_LEAST_TIMES, _LEAST_GROUPS = 4, 3
_PART_NAMES = {"training": "train", "testing": "test"} | dict.fromkeys(("val", "valid", "dev"), "validation")

_SEASONS = set(
    "year years yr season seasons campaign vintage cycle jahr saison annee année campagne ano año safra campaña anno "
    "annata".split()
)
_WHEN = _SEASONS | set("date dates day month time timestamp datetime harvest sowing planting datum".split())
_DATES = set("date dates datetime timestamp datum".split())
_WHERE = set(
    "site sites farm farms region regions location loc station country county state district province village town "
    "municipality zone block plot plots field fields parcel paddock grower farmer owner producer household estate "
    "cooperative trial experiment patient subject person user customer client sensor device machine unit store shop "
    "hospital house building river basin catchment ort standort betrieb schlag gemeinde kreis ferme parcelle commune "
    "finca lote fazenda talhao azienda campo comune".split()
)


@dataclass(frozen=True)
class Candidate:
    """A column that rows could be split by, and how many values it has."""

    name: str
    count: int

    def __str__(self) -> str:
        return f"{self.name} ({self.count})"


@dataclass(frozen=True)
class TableRoles:
    """What the columns of a table are for.

    Args:
        target: what is predicted.
        task: `"regression"` or `"classification"`.
        task_reason: why, in words.
        variates: names of the variates, in the table's order.
        steps: numbers of their first and last step.
        statics: columns that describe a series and are read beside it.
        times, groups: columns that tell when, and where or who.
        split_column: a column that says train, validation or test, if there is one.
        others: columns that nothing is done with, but that stay beside the predictions.
        unclear: of columns that seem to tell when, why rows cannot be put in their order.
    """

    target: str
    task: str
    task_reason: str
    variates: list[str]
    steps: tuple[int, int]
    statics: list[str] = field(default_factory=list)
    times: list[Candidate] = field(default_factory=list)
    groups: list[Candidate] = field(default_factory=list)
    split_column: str | None = None
    others: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SplitPlan:
    """How rows are parted.

    Args:
        kind: `"time"`, `"group"`, `"column"` or `"random"`.
        column: by which; `None` for `"random"`.
        reason: why so, in words.
    """

    kind: str
    column: str | None
    reason: str


# --- roles ----------------------------------------------------------------------------------------------------------


def find_roles(
    frame: pd.DataFrame,
    target: str,
    *,
    task: str | None = None,
    variates: Sequence[str] | None = None,
    statics: Sequence[str] = (),
    column_pattern: str | None = None,
) -> TableRoles:
    """Finds what the columns of a wide table are for.

    Args:
        frame: as `read_table` gives it.
        target: the column to predict.
        task: `"regression"` or `"classification"`; `None`: as the target's cells say.
        variates: names and order; `None`: all that are found.
        statics: columns to read beside the series; `["all"]`: every one that has no other role.
        column_pattern: how columns of steps are named, see `data.columns`.

    Raises:
        ValueError: columns that are not there, a target that is a variate's step, no variates.
    """
    columns = list(frame.columns)
    named = [] if list(statics) == ["all"] and "all" not in columns else list(statics)
    known = [name for name in columns if name not in step_columns(columns, (), column_pattern)] or columns
    check_known([target], columns, "--target: no such column", f"found {some_of(map(repr, known), 20)}")
    check_known(named, columns, "--static: no such columns", f"found {some_of(map(repr, known), 20)}")
    if target in named:
        raise ValueError(f"--static: {target!r} is the target, which cannot be known beforehand")
    inputs = [name for name in columns if name not in (target, *named)]
    found = find_variates(inputs, variates or (), column_pattern)
    for role, name in (("--target", target), *(("--static", name) for name in named)):
        variate, step = step_columns(columns, variates or (), column_pattern).get(name, ("", None))
        if isinstance(step, int) and variate in found and found[variate][0] < step < found[variate][-1]:
            raise ValueError(
                f"{role} {name}: this is a step of the variate {variate!r}, among others; name another column, or "
                "rename this one if it is none"
            )
    if not found:
        raise ValueError(
            "the table has no series: expected a column for each step of a variate, such as ndvi_00, ndvi_01, ...; "
            f"found {some_of(map(repr, inputs))}. {_advice(inputs, column_pattern)}"
        )
    check_known(variates or (), found, "--variates: no such variates")
    chosen = list(variates or found)
    in_series = step_columns(inputs, variates or (), column_pattern)
    plain = [name for name in inputs if name not in in_series]
    times = [c for name in (*plain, *named) if (c := time_candidate(frame[name])) is not None]
    taken = {c.name for c in times}
    groups = [c for name in (*plain, *named) if name not in taken and (c := group_candidate(frame[name])) is not None]
    split_column = next((name for name in plain if _holds_parts(frame[name])), None)
    taken |= {candidate.name for candidate in groups} | ({split_column} if split_column else set())
    if list(statics) == ["all"] and not named:
        named = [name for name in plain if name not in taken and _describes(frame[name])]
    found_task, reason = find_task(frame[target])
    return TableRoles(
        target=target,
        task=task or found_task,
        task_reason="as asked for" if task else reason,
        variates=chosen,
        steps=(min(found[name][0] for name in chosen), max(found[name][-1] for name in chosen)),
        statics=named,
        times=times,
        groups=groups,
        split_column=split_column,
        others=[name for name in plain if name not in taken and name not in named],
        unclear=[told for name in plain if (told := _unclear_time(frame[name])) is not None],
    )


def _advice(columns: list[str], column_pattern: str | None) -> str:
    """What to do about a table without a column that is read as a step."""
    told = suggested_pattern(columns) if column_pattern is None else None
    if told is not None:
        return f"Columns such as {told.replace('column_pattern=', '--column-pattern ')}"
    return (
        "With a row for each time step, give --series and --timestamp (of values by name, --variate-column and "
        "--value-column, too); for forecasts, --timestamp and --horizon"
    )


def find_task(column: pd.Series) -> tuple[str, str]:
    """Whether a target is a number or a class, and why: see the rule above."""
    cells = decoded(column)[~is_blank(column)]
    if cells.empty:
        raise ValueError(f"--target {column.name}: this column is empty")
    if cells.nunique() == 1:
        blank = len(column) - len(cells)
        others = f" but {blank}, which are blank (in files NA, None and the like are)" if blank else ""
        raise ValueError(
            f"--target {column.name}: {visible(cells.iloc[0])!r} in every row{others}, so there is nothing to learn"
        )
    if pd.api.types.is_bool_dtype(cells.dtype) or cells.map(lambda cell: isinstance(cell, bool | np.bool_)).all():
        return "classification", f"{column.name} is true or false"
    numbers = parsed_numbers(cells.astype(object))
    if numbers.notna().mean() < 0.5:
        return "classification", f"{column.name} holds text, {cells.nunique()} different ones"
    values = numbers.dropna().unique()
    whole = bool(np.all(values == np.round(values)))
    if whole and len(values) <= _MOST_CLASSES and len(cells) >= _ROWS_OF_A_CLASS * len(values):
        return "classification", f"{column.name} holds {len(values)} different whole numbers"
    return "regression", f"{column.name} holds numbers"


def time_candidate(column: pd.Series) -> Candidate | None:
    """The column as one that tells when, if it does."""
    try:
        times = as_times(column)
    except ValueError:
        return None
    dates = pd.api.types.is_datetime64_any_dtype(column.dtype) or isinstance(column.dtype, pd.PeriodDtype)
    words, count = set(_words(column.name)), times.nunique()
    named = dates or bool(_WHEN & words) or tells_times(column)
    if named and pd.api.types.is_numeric_dtype(times.dtype):
        whole = bool((times == times.round()).all())
        kind = kind_of_numbers(times)  # of Unix size a harvest may be, too
        dates = kind is not None and ("%" in kind or bool(_DATES & words) or tells_times(column))
        named = dates or (whole and (_are_years(times) or (bool(_SEASONS & words) and 2 * count <= len(times))))
    return Candidate(str(column.name), count) if named and count >= _LEAST_GROUPS else None


def _unclear_time(column: pd.Series) -> str | None:
    """Why rows cannot be put in the order of a column that seems to tell when."""
    try:
        return _unclear_numbers(column, as_times(column))
    except ValueError as error:
        told = str(error)
    known = column.dropna()
    named = bool(_WHEN & set(_words(column.name))) and known.astype(str).str.contains(r"\d").mean() > 0.5
    text = named and not pd.api.types.is_numeric_dtype(decoded(known).dtype)
    return told if text or (len(known) and time_candidate(known) is not None) else None


def _unclear_numbers(column: pd.Series, times: pd.Series) -> str | None:
    """Why a column that is called a date tells no times, if it holds numbers that are none."""
    if not _DATES & set(_words(column.name)) or not pd.api.types.is_numeric_dtype(times.dtype):
        return None
    if _are_years(times) or kind_of_numbers(times) is not None:
        return None
    told = f"column {column.name!r} holds numbers that are no years, dates or Unix times, such as {column.iloc[0]}"
    return f"{told}: if they rise with time, give --time {column.name}"


def _are_years(times: pd.Series) -> bool:
    return bool(times.between(1900, 2100).all() and (times == times.round()).all())


def group_candidate(column: pd.Series) -> Candidate | None:
    """The column as one that tells where or who, if it does."""
    words = _words(column.name)
    if not (_WHERE & set(words) or (words and words[-1] == "id")):
        return None
    counts = decoded(column).value_counts()
    return Candidate(str(column.name), len(counts)) if (counts > 1).sum() >= _LEAST_GROUPS else None


def as_times(column: pd.Series) -> pd.Series:
    """A column that tells when as numbers or dates in their order; text with one year in each cell is that year.

    Other text is read as `read_timestamps` reads it (15.03.2021, 007).

    Raises:
        ValueError: blank cells, or text of which no order can be read.
    """
    column = decoded(column)
    if column.isna().any():
        raise ValueError(f"column {column.name!r} has blank cells, so rows cannot be put in its order")
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column
    text = column.astype(str).str.strip()
    parsed = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    if parsed.notna().all():
        return parsed
    years = text.str.extract(r"^\D*((?:19|20)\d\d)(?:\D.*)?$")[0]  # "season 2019", "2019/20"
    if years.notna().all():
        return years.astype(int)
    if (numbers := parsed_numbers(text.astype(object))).notna().all():
        return numbers
    try:
        return pd.Series(read_timestamps(text), column.index)
    except ValueError as error:
        unclear = " (day and month may be either)" if "day first" in str(error) else ""
        raise ValueError(
            f"column {column.name!r} holds no numbers, ISO dates or years to put rows in order by, found "
            f"{some_of(map(repr, text[years.isna()].unique()), 3)}{unclear}"
        ) from error


def _words(name: Any) -> list[str]:
    """`siteID`, `site_id` and `Site Id` as `["site", "id"]`."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name))
    return re.findall(r"[^\W\d_]+", parted.lower())


def _holds_parts(column: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(decoded(column).dtype):
        return False
    return {"train", "test"} <= set(_parts_named(column.dropna())) <= set(PARTS)


def _parts_named(column: pd.Series) -> pd.Series:
    """Cells that name parts by the names of `PARTS`, however they write them (`Train`, `val`, `dev`)."""
    return decoded(column).astype(str).str.strip().str.casefold().replace(_PART_NAMES)


def _describes(column: pd.Series) -> bool:
    """Whether a column may be read beside a series: with a name, complete, and numbers or few texts."""
    column = decoded(column)
    if column.isna().any() or is_nameless(column.name):
        return False
    return pd.api.types.is_numeric_dtype(column.dtype) or column.nunique() <= max(2, len(column) // 5)


# --- splits ---------------------------------------------------------------------------------------------------------


def choose_split(roles: TableRoles) -> SplitPlan:
    """The split that the columns of a table suggest; see the rule above."""
    if roles.split_column is not None:
        return SplitPlan("column", roles.split_column, "it says which rows are train, validation and test")
    times = [candidate for candidate in roles.times if candidate.count >= _LEAST_TIMES]
    if times:
        least = min(
            times, key=lambda candidate: candidate.count
        )  # years before dates: a year's rows share its weather
        return SplitPlan("time", least.name, "a model is used on times to come, so the latest ones are its test")
    if roles.groups:
        least = min(roles.groups, key=lambda candidate: candidate.count)  # farms before their fields
        return SplitPlan("group", least.name, "rows of one value are alike, so the test part has values of its own")
    return SplitPlan(
        "random",
        None,
        f"no column tells {_LEAST_TIMES} times or {_LEAST_GROUPS} places at least; if rows share a place or a season, "
        "these figures flatter every model",
    )


def asked_split(frame: pd.DataFrame, roles: TableRoles, how: dict[str, str | None]) -> SplitPlan | None:
    """The split that somebody asked for.

    Args:
        how: `"group"`, `"time"`: names of columns; `"split"`: `"random"` or the name of a column that says which part
            a row belongs to. `None`: not asked for.

    Raises:
        ValueError: more than one of them, or a column that is not there.
    """
    given = {kind: value for kind, value in how.items() if value is not None}
    if not given:
        return None
    if len(given) > 1:
        raise ValueError(f"{' and '.join(f'--{kind}' for kind in given)} exclude each other: give one of them")
    kind, column = next(iter(given.items()))
    if (kind, column) == ("split", "random") and "random" not in frame.columns:
        return SplitPlan("random", None, "as asked for")
    offered = [*roles.times, *roles.groups, *roles.others]
    check_known([column], frame.columns, f"--{kind}: no such column", f"found {some_of(map(str, offered), 20)}")
    if column == roles.target:
        raise ValueError(f"--{kind} {column}: this is the target")
    return SplitPlan("column" if kind == "split" else kind, column, "as asked for")


def split_rows(
    frame: pd.DataFrame,
    plan: SplitPlan,
    classes: NDArray[Any] | None = None,
    seed: int = 0,
    within: SplitPlan | None = None,
    same: NDArray[np.int64] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Rows of train, validation and test: about 65, 15 and 20 percent of the times, groups or rows.

    A column may say train and test alone: then a fifth of the train rows becomes the validation part.

    Args:
        frame: the table.
        plan: how.
        classes: `(n,)` of a classification; rows at random are drawn from each class alike.
        seed: of what is drawn at random.
        within: how that fifth is found; `None`: rows at random.
        same: `(n,)`, equal numbers for rows with one and the same series: rows at random keep these together.

    Raises:
        ValueError: too few times, groups or rows for three parts, or blank cells in the column.
    """
    same = np.arange(len(frame)) if same is None else same
    if plan.kind == "random":
        return random_rows(len(frame), (TEST_SHARE, VALIDATION_SHARE), classes, seed, same)
    keys: Any = frame[plan.column]
    missing = decoded(keys).isna().to_numpy(bool)
    check_complete(missing, f"--{'split' if plan.kind == 'column' else plan.kind}: values", keys)
    if plan.kind == "time":
        keys = as_times(keys)
        numbers = {"key": pd.factorize(keys, sort=True)[0], "row": np.arange(len(frame))}
    else:
        names = _parts_named(keys) if plan.kind == "column" else decoded(keys).astype(str)
        numbers = {"key": names, "row": np.arange(len(frame))}
    rows = Dataset.from_dict({name: list(values) for name, values in numbers.items()})
    count = len(set(rows["key"]))
    if plan.kind == "column":
        if unknown := sorted(set(rows["key"]) - set(PARTS)):
            raise ValueError(
                f"--split {plan.column}: this column may hold {', '.join(PARTS)}, found {some_of(map(repr, unknown))}"
            )
        parts = split_by_column(rows, "key")
        if "test" not in parts:
            raise ValueError(f"--split {plan.column}: no row says test, so nothing would tell how good the model is")
        if "validation" not in parts:
            return _with_validation(
                frame, {name: np.asarray(parts[name]["row"]) for name in parts}, within, classes, seed, same
            )
    elif count < _LEAST_GROUPS:
        raise ValueError(
            f"--{plan.kind} {plan.column}: {count} different values are too few: train, validation and test need one "
            "each"
        )
    elif plan.kind == "time":
        test, validation = _latest(np.asarray(rows["key"]))
        parts = split_chronologically(rows, "key", validation=validation, test=test)
    else:
        drawn = np.random.default_rng(seed).permutation(sorted(set(rows["key"]))).tolist()
        test, validation = (max(1, round(share * count)) for share in (TEST_SHARE, VALIDATION_SHARE))
        parts = split_by_group(rows, "key", test=drawn[:test], validation=drawn[test : test + validation])
    return {name: np.asarray(parts[name]["row"], np.int64) for name in PARTS}


def _with_validation(
    frame: pd.DataFrame, rows: dict[str, NDArray[np.int64]], within: SplitPlan | None,
    classes: NDArray[Any] | None, seed: int, same: NDArray[np.int64],
) -> dict[str, NDArray[np.int64]]:  # fmt: skip
    """Rows of train and test, and as validation part what would be the test of the train rows alone."""
    train = rows["train"]
    own, plan = frame.iloc[train], SplitPlan("random", None, "")
    if within is not None and within.column is not None:
        cells = decoded(own[within.column])
        plan = within if cells.notna().all() and cells.nunique() >= _LEAST_TIMES else plan
    inner = split_rows(own, plan, None if classes is None else classes[train], seed, same=same[train])
    kept = np.sort(np.concatenate([inner["train"], inner["validation"]]))
    return {"train": train[kept], "validation": train[inner["test"]], "test": rows["test"]}


def describe_split(frame: pd.DataFrame, plan: SplitPlan, rows: dict[str, NDArray[np.int64]]) -> str:
    """One sentence for a report and a card."""
    sizes = ", ".join(f"{len(rows[name])} {name}" for name in PARTS)
    if plan.column is None:
        return f"rows drawn at random: {sizes}"
    if plan.kind == "column":
        return f"by the column {plan.column}: {sizes}"
    test = decoded(frame[plan.column]).iloc[rows["test"]]
    values = test.drop_duplicates().tolist()
    if plan.kind == "time":
        earliest = rows["test"][int(as_times(frame[plan.column]).iloc[rows["test"]].argmin())]
        first = decoded(frame[plan.column]).iloc[earliest]
        return f"by time, {plan.column}: the latest, from {first} on, are the test part ({sizes})"
    return f"whole values of {plan.column}: {some_of(values)} are the test part ({sizes})"


def _latest(times: NDArray[Any]) -> tuple[int, int]:
    """How many of the last times make test and validation, by the number of their rows; at least one each."""
    counts = np.unique(times, return_counts=True)[1]
    shares = np.cumsum(counts[::-1]) / counts.sum()  # of the last one, the last two, ...
    test = 1 + int(np.abs(shares[:-2] - TEST_SHARE).argmin())
    rest = shares[test:-1] - shares[test - 1]
    return test, 1 + int(np.abs(rest - VALIDATION_SHARE).argmin())


__all__ = [
    "Candidate", "SplitPlan", "TableRoles", "as_times", "asked_split", "choose_split", "describe_split", "find_roles",
    "find_task", "group_candidate", "split_rows", "time_candidate",
]  # fmt: skip
