# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Series in every form that people hand over, read in one place: to `(B, T, V)` values and what of them was observed.

A table is told by what it can do (`columns`, `table[name].to_numpy()`) and not through narwhals, since this file
travels to machines that have neither it nor, where a graph is served, pandas or torch.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from .arrays import Array, cast, is_floating, like, namespace
from .measured import check_range, mark_missing, unmasked, without_fill_values
from .messages import warn_caller

# Series that are read at once where a whole data set is gone over.
ROWS_AT_ONCE = 1024
_ORIGIN = "timesclip_wide_table"


def read_series(
    past_values: Any,
    past_observed_mask: Any = None,
    *,
    num_variates: int | None = None,
    variate_names: Sequence[str] | None = None,
    first: int = 0,
    length: int | None = None,
    padding_side: str = "left",
    truncation_side: str = "left",
    missing_values: Any = None,
) -> tuple[Array, Array]:
    """Reads series and checks all that must hold whatever is done with them.

    Args:
        past_values: `(B, T, V)` array, tensor or nested list, NaN = missing; `(T, V)`, or a table with one column for
            each variate (pandas, polars, pyarrow), is a batch of one; the `(T_i, V)` arrays or tables of a list may
            differ in length. What else is missing, and what is refused, says `measured`.
        past_observed_mask: the same shape(s), see `read_mask`.
        num_variates: how many to expect; `None`: any.
        variate_names: columns of a table, in this order; `None`: all of its columns, in theirs.
        first: number of the first sample, for errors.
        length: steps that will be read: series of unequal lengths are cut to them; `None`: they are not cut.
        padding_side, truncation_side: where series of unequal lengths are padded and cut, `"left"` or `"right"`.
        missing_values: numbers that count as missing, see `TimesCLIPProcessor`.

    Returns:
        values: `(B, T, V)`, 0 where missing. Tensors stay tensors on their
            device, all else becomes NumPy. float32 and float64 stay what they are, half precision becomes float32,
            whole numbers and tables float64.
        observed: `(B, T, V)` bool.

    Raises:
        ValueError: names the argument, what was found and what was expected.
    """
    expected = (num_variates, variate_names, length, padding_side, truncation_side)
    values, lengths = _as_batch(past_values, "past_values", *expected)
    values = _as_floats(values)
    xp = namespace(values)
    values = without_fill_values(mark_missing(values, missing_values, variate_names), "past_values")
    observed = ~xp.isnan(values)
    if past_observed_mask is not None:
        mask, mask_lengths = _as_batch(_masks(past_observed_mask), "past_observed_mask", *expected)
        if mask.shape != values.shape or mask_lengths != lengths:
            raise ValueError(
                f"past_observed_mask has shape {tuple(mask.shape)}, past_values has {tuple(values.shape)}; they must "
                "be the same, series by series"
            )
        observed = observed & like((mask == mask) & (mask != 0), observed)
    check_range(values, observed, "past_values", variate_names, first)
    return xp.where(observed, values, 0), observed


def read_in_chunks(past_values: Any, past_observed_mask: Any = None, **expected: Any) -> Iterator[tuple[Array, Array]]:
    """`read_series` for some rows at a time, so that there never is a second copy of a large data set.

    Series of unequal lengths come one by one: padded to the longest of a thousand, they could need a thousandfold.

    Args:
        past_values: as for `read_series`, or a `datasets.Dataset` with a column `past_values`.
        past_observed_mask: as for `read_series`; of a Dataset its column is taken.
        **expected: as for `read_series`.
    """
    if is_dataset(past_values):
        names = [name for name in ("past_values", "past_observed_mask") if name in past_values.column_names]
        rows = exact(past_values.select_columns(names), "past_values")
        for first in range(0, len(rows), ROWS_AT_ONCE):
            chunk = {name: list(column) for name, column in rows[first : first + ROWS_AT_ONCE].items()}
            yield read_series(chunk["past_values"], chunk.get("past_observed_mask"), first=first, **expected)
    elif isinstance(past_values, memoryview) or _is_odd_tensor(past_values):
        yield read_series(past_values, past_observed_mask, **expected)
    elif _is_table(past_values) or (len(past_values) and np.ndim(past_values[0]) < 2):  # a batch of one
        yield read_series(past_values, past_observed_mask, **expected)
    else:
        step = ROWS_AT_ONCE if len({np.shape(series) for series in past_values}) == 1 else 1
        for first in range(0, len(past_values), step):
            chosen = slice(first, first + step)
            mask = past_observed_mask[chosen] if past_observed_mask is not None else None
            yield read_series(past_values[chosen], mask, first=first, **expected)


def read_array(values: Any, name: str, variate_names: Sequence[str] | None = None) -> Array:
    """One array, nested list, tensor or table as numbers, without a copy of what is an array or a tensor already.

    Raises:
        ValueError: no numbers, rows of unequal length, or a table that lacks a column; `name` is what it is called.
    """
    if isinstance(values, getattr(sys.modules.get("torch"), "Tensor", ())):
        return _ordinary(values, name)
    if _is_table(values):
        return _table_values(values, name, variate_names)
    array = _as_array(values, name)
    if array.dtype.kind not in "fiubc":
        found = f" (text, such as {str(array.flat[0])!r})" if array.dtype.kind in "US" and array.size else ""
        raise ValueError(
            f"{name} has dtype {array.dtype}{found}; expected numbers, of equal length in every row, with NaN for "
            "missing"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # netCDF and FITS have a foreign byte order


def _ordinary(tensor: Any, name: str) -> Any:
    """A tensor that has its values, one by one; raises `ValueError` for others."""
    kind = "quantized" if tensor.is_quantized else "meta" if tensor.device.type == "meta" else str(tensor.layout)
    if kind != "torch.strided" or tensor.is_nested:
        raise ValueError(f"{name} is a {kind} tensor; expected an ordinary one (to_dense(), dequantize(), ...)")
    return tensor


def _is_odd_tensor(values: Any) -> bool:
    tensor: Any = getattr(sys.modules.get("torch"), "Tensor", ())
    return isinstance(values, tensor) and str(values.layout) != "torch.strided"


def read_sample(series: Any, name: str = "past_values", variate_names: Sequence[str] | None = None) -> np.ndarray:
    """The series of one row of a data set, detached and on the CPU: as `read_array`, but in lists, as JSON has them,
    None is missing, and numbers may be of any type that is one (text, booleans and dates are none)."""
    if isinstance(series, (list, tuple)) or (name == "labels" and str(getattr(series, "dtype", None)) == "object"):
        array = _as_array(series, name)
        if array.dtype.kind == "O":
            return _read_cells(array, name)
    array = read_array(series, name, variate_names)
    if isinstance(array, np.ndarray):
        return array
    array = array.detach().cpu()
    return (cast(array, sys.modules["torch"].float32) if array.dtype.itemsize == 2 else array).numpy()


def _read_cells(cells: np.ndarray, name: str) -> np.ndarray:
    numbers = np.full(cells.shape, np.nan)
    for place, cell in np.ndenumerate(cells):
        if cell is None or cell is np.ma.masked or type(cell).__name__ == "NAType":
            continue
        try:
            if not isinstance(cell, (Real, Decimal)):
                raise ValueError(f"{name} holds {cell!r:.80}, which is no number; expected numbers, NaN for missing")
            numbers[place] = float(cell)
        except OverflowError:
            raise ValueError(f"{name} holds a number of {len(str(cell))} digits, beyond what float64 holds") from None
    return numbers


def read_mask(mask: Any) -> Any:
    """A mask in which `False` says that nothing was observed: where it was False or 0, and where it is itself missing
    (NaN, None, or masked in `numpy.ma`). Tensors and tables stay what they are.

    Raises:
        ValueError: cells that are neither booleans nor numbers.
    """
    if not isinstance(mask, (list, tuple, np.ndarray)):
        return mask
    array = _as_array(mask, "past_observed_mask")
    if array.dtype.kind not in "fiub":
        wrong = next(
            (cell for cell in array.flat if not isinstance(cell, (bool, int, float, np.generic, type(None)))), None
        )
        if array.dtype.kind != "O" or wrong is not None:
            raise ValueError(
                f"past_observed_mask must hold True and False, or 1 and 0, found {wrong or array.flat[0]!r}"
            )
        array = np.where(array == None, 0, array)  # noqa: E711, cell by cell
        return ((array == array) & (array != 0)).astype(bool)
    return (array == array) & (array != 0)


def _as_array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(unmasked(values))
    except (
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:  # NumPy's words for rows of unequal length, torch's for lists
        raise ValueError(f"{name} cannot be read as an array of numbers: {error}") from error


def _masks(masks: Any) -> Any:
    if isinstance(masks, (list, tuple)) and len(masks) and not np.isscalar(masks[0]):
        return [read_mask(mask) for mask in masks]
    return read_mask(masks)


def is_dataset(data: Any) -> bool:
    """Whether this is a `datasets.Dataset`; the library itself is not asked, since predicting does not need it."""
    return hasattr(data, "column_names") and hasattr(data, "with_format")


def sides(settings: Any) -> tuple[str, str]:
    """Where a processor pads and cuts series: `padding_side` and `truncation_side`, `"left"` where it does not say."""
    return settings.padding_side or "left", settings.truncation_side or "left"


def kept_steps(length: int, truncation_side: str) -> slice:
    """The steps that are kept of series longer than `length`: the newest, or with `"right"` the first."""
    return slice(-length, None) if truncation_side == "left" else slice(length)


def reading(settings: Any) -> dict[str, Any]:
    """What `read_series` must know of a processor, by name."""
    padding_side, truncation_side = sides(settings)
    return {
        "num_variates": settings.num_variates,
        "variate_names": settings.variate_names,
        "length": settings.context_length,
        "padding_side": padding_side,
        "truncation_side": truncation_side,
        "missing_values": settings.missing_values,
    }


@dataclass(frozen=True)
class WideOrigin:
    """What a data set says of the wide table that it was read from; it is kept in the data set's description.

    Args:
        first_step, last_step: the numbers in the names of its columns.
        variate_names: in the order of the last axis of `past_values`.
        column_pattern: by which its columns were found; `None`: by their usual names.
        step_dates: of the steps from the first to the last, ISO 8601; `None` where columns have numbers.
    """

    first_step: int
    last_step: int
    variate_names: list[str]
    column_pattern: str | None = None
    step_dates: list[str] | None = None

    def write(self, dataset: Any) -> None:
        """Notes this in the description of a `datasets.Dataset`, which selections and splits keep."""
        dataset.info.description = json.dumps({_ORIGIN: asdict(self)})

    @classmethod
    def read(cls, dataset: Any) -> "WideOrigin | None":
        """What was noted; of tables that were joined, of the first, if the steps of all are alike (seasons of several
        years are), else `None`, with a warning; `None` for other data sets."""
        told = getattr(getattr(dataset, "info", None), "description", None) or ""
        try:
            first, *others = (cls(**json.loads(part)[_ORIGIN]) for part in told.split("\n\n"))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        if other := next((other for other in others if not first._is_like(other)), None):
            warn_caller(f"the data set joins tables whose steps or variates differ: {first} and {other}")
            return None
        return first

    def _is_like(self, other: "WideOrigin") -> bool:
        """The same but for the year of its dates, from which leap years take a day."""
        dates = [[np.datetime64(f"2000{date[4:10]}") for date in one.step_dates or []] for one in (self, other)]
        apart = [abs(int((a - b).astype(int))) for a, b in zip(*dates, strict=False)]
        return replace(self, step_dates=None) == replace(other, step_dates=None) and (
            len(dates[0]) == len(dates[1]) and all(min(days, 366 - days) <= 1 for days in apart)
        )


def exact(dataset: Any, name: str) -> Any:
    """A `datasets.Dataset` that gives NumPy arrays of the precision that a column has; left to itself, the library
    makes float32 of all floats. Other columns than those of numbers are Python's objects."""
    wide = {"dtype": np.float64} if "float64" in str(dataset.features[name]) else {}
    numbers = [column for column in dataset.column_names if "string" not in str(dataset.features[column])]
    return dataset.with_format("numpy", columns=numbers, output_all_columns=True, **wide)


def _is_table(data: Any) -> bool:
    return hasattr(data, "columns") and hasattr(data, "__getitem__")


def _as_batch(
    series: Any,
    name: str,
    num_variates: int | None,
    variate_names: Sequence[str] | None,
    length: int | None,
    padding_side: str,
    truncation_side: str,
) -> tuple[Array, list[int] | None]:
    """Any accepted form as `(B, T, V)`; unequal series cut, and padded with NaN, their lengths beside."""
    lengths = None
    if isinstance(series, (list, tuple)) and len(series) and not np.isscalar(series[0]):
        parts = [read_array(part, name, variate_names) for part in series]
        if name == "past_values":
            parts = [_as_floats(part) for part in parts]  # joined, booleans and complex numbers would become real ones
        shapes = sorted({tuple(part.shape) for part in parts})
        if len(shapes) > 1:
            if any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
                raise ValueError(f"{name} is a list of shapes {shapes[:5]}; expected (time, variates), equal variates")
            lengths = [len(part) for part in parts]
            parts = [part[kept_steps(length or len(part), truncation_side)] for part in parts]
            longest = max(map(len, parts))
            parts = [_padded(part, longest, padding_side) for part in parts]
        array = _stack(parts)
    else:
        array = read_array(series, name, variate_names)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ValueError(
            f"{name} has shape {tuple(array.shape)}; expected (batch, time, variates) or (time, variates). "
            "A univariate series needs a last dimension of 1."
        )
    if 0 in array.shape:
        raise ValueError(f"{name} is empty: shape {tuple(array.shape)}")
    if num_variates is not None and array.shape[2] != num_variates:
        names = f": {list(variate_names)}" if variate_names else ""
        turned = "; expected (batch, time, variates)" if array.shape[1] == num_variates else ""
        raise ValueError(
            f"{name} has {array.shape[2]} variates, but the processor expects {num_variates}{names}{turned}"
        )
    return array, lengths


def _table_values(table: Any, name: str, variate_names: Sequence[str] | None) -> np.ndarray:
    """Columns as float64 `(T, V)`, in the order of the names; nothing in a cell is NaN."""
    found = getattr(table, "column_names", None)  # pyarrow's; there, `columns` are the columns themselves
    found = found if isinstance(found, list) else list(table.columns)
    names = list(variate_names or found)
    known = set(found)
    if missing := [column for column in names if column not in known]:
        raise ValueError(f"{name} lacks the columns {missing[:20]}; it has {found[:20]} ({len(found)} in all)")
    values = np.empty((len(table), len(names)))
    for place, column in enumerate(names):
        cells = table[column]
        kind = getattr(getattr(cells, "dtype", None), "kind", "O")
        # pandas' nullable columns would become objects, with pd.NA for missing.
        numbers = cells.to_numpy(np.float64, na_value=np.nan) if kind in "fiub" else np.asarray(cells.to_numpy())
        if numbers.dtype.kind == "O":  # how polars and pyarrow give booleans with nothing in some cells
            numbers = _booleans(numbers)
        if numbers.ndim != 1 or numbers.dtype.kind not in "fiub":
            raise ValueError(
                f"{name} has a column {column!r} of dtype {numbers.dtype}; expected one column of numbers of that "
                "name, nothing or NaN for missing"
            )
        values[:, place] = numbers
    return values


def _booleans(cells: np.ndarray) -> np.ndarray:
    """Python's booleans with None among them as numbers; other cells as they are."""
    if not all(cell is None or isinstance(cell, (bool, np.bool_)) for cell in cells.flat):
        return cells
    return np.array([np.nan if cell is None else float(cell) for cell in cells.flat]).reshape(cells.shape)


def _as_floats(values: Array) -> Array:
    xp, floating = namespace(values), is_floating(values)
    if values.dtype.kind in "bc" if xp is np else values.is_complex() or values.dtype == xp.bool:
        advice = "" if namespace(values) is np and values.dtype.kind == "c" else "; of 0 and 1, pass numbers"
        raise ValueError(f"past_values has dtype {values.dtype}; expected real numbers{advice}")
    if floating and values.dtype.itemsize in (4, 8):
        return values
    return cast(values, xp.float32 if floating and values.dtype.itemsize < 4 else xp.float64)


def _padded(part: Array, length: int, side: str) -> Array:
    xp = namespace(part)
    part = part if is_floating(part) else cast(part, xp.float64)
    parts = [like(np.full((length - len(part), part.shape[1]), np.nan), part), part]
    return xp.concatenate(parts if side == "left" else parts[::-1])


def _stack(parts: list[Array]) -> Array:
    tensor = next((part for part in parts if not isinstance(part, np.ndarray)), None)
    if tensor is None:
        return np.stack(parts)
    torch = namespace(tensor)
    # as_tensor takes no negative strides
    parts = [np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part for part in parts]
    return torch.stack([torch.as_tensor(part, device=tensor.device) for part in parts])


__all__ = [
    "WideOrigin",
    "exact",
    "is_dataset",
    "kept_steps",
    "read_array",
    "read_in_chunks",
    "read_mask",
    "read_sample",
    "read_series",
    "reading",
    "sides",
]
