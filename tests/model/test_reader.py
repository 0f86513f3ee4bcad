# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Whatever form series come in, they are read as the same values, and a fault is named in the same words."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from timesclip_hf import NumpyProcessor, TimesCLIPDataCollator, TimesCLIPProcessor
from timesclip_hf.model.reader import read_array, read_in_chunks, read_mask, read_series

VALUES = np.array([[[1.0, 10.0], [2.0, np.nan], [3.0, 30.0]], [[4.0, 40.0], [5.0, 50.0], [np.nan, 60.0]]])
NAMES = ["ndvi", "rain"]


def as_frame(values: np.ndarray) -> pd.DataFrame:
    """Columns in another order than the variates, one of them nobody's, and nullable."""
    return pd.DataFrame({"day": ["mon", "tue", "wed"], "rain": values[:, 1], "ndvi": values[:, 0]}).astype(
        {"rain": "Float64"}
    )


TABLES = {
    "pandas": as_frame,
    "pandas of arrow": lambda values: as_frame(values).convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda values: pl.from_pandas(as_frame(values)),
    "pyarrow": lambda values: pa.Table.from_pandas(as_frame(values)),
}


@pytest.mark.parametrize("kind", TABLES)
def test_columns_of_any_table_are_found_by_name(kind: str) -> None:
    table = TABLES[kind]
    for given in ([table(series) for series in VALUES], table(VALUES[0])):
        values, observed = read_series(given, num_variates=2, variate_names=NAMES)
        expected = VALUES[: len(values)]
        np.testing.assert_array_equal(np.where(observed, values, np.nan), expected)
        assert values.dtype == np.float64
    with pytest.raises(
        ValueError, match=r"past_values lacks the columns \['snow'\]; it has \['day', 'rain', 'ndvi'\]"
    ):
        read_series(table(VALUES[0]), variate_names=["ndvi", "snow"])
    with pytest.raises(ValueError, match="past_values has a column 'day' of dtype .*expected one column of numbers"):
        read_series(table(VALUES[0]))


def test_whole_numbers_with_blank_cells_are_read_from_any_table() -> None:
    columns = {"ndvi": [1, None, 3], "rain": [4, 5, 6]}
    tables = (pd.DataFrame(columns), pd.DataFrame(columns, dtype="Int64"), pl.DataFrame(columns), pa.table(columns))
    for table in tables:
        values, observed = read_series(table)
        assert values[0].tolist() == [[1, 4], [0, 5], [3, 6]] and observed.sum() == 5


def test_two_columns_of_one_name_are_a_fault() -> None:
    table = pd.DataFrame(VALUES[0], columns=["ndvi", "ndvi"])
    with pytest.raises(ValueError, match="expected one column of numbers of that name"):
        read_series(table, variate_names=["ndvi"])


FORMS: dict[str, Any] = {
    "array": lambda a: a,
    "other byte order": lambda a: a.astype(">f8"),
    "negative strides": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "nested list": lambda a: a.tolist(),
    "list of arrays": list,
    "tensor": torch.from_numpy,
    "list of tensors": lambda a: list(torch.from_numpy(a)),
    "tensor and array": lambda a: [torch.from_numpy(a[0]), a[1][::-1].copy()[::-1]],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_as_the_same_values(form: str) -> None:
    values, observed = read_series(FORMS[form](VALUES))
    np.testing.assert_array_equal(np.asarray(values), np.nan_to_num(VALUES))
    np.testing.assert_array_equal(np.asarray(observed), ~np.isnan(VALUES))
    assert isinstance(values, torch.Tensor) == ("tensor" in form)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("f4", "f4"), ("f8", "f8"), ("f2", "f4"), ("i4", "f8"), ("u2", "f8"), ("i8", "f8"), (">f4", "f4")],
)
def test_the_precision_of_the_input_is_kept(given: str, expected: str) -> None:
    array = np.ones((2, 3, 2), given)
    assert read_series(array)[0].dtype == np.dtype(expected)
    assert read_series([array[0], array[1][:2]])[0].dtype == np.dtype(expected)
    native = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    assert read_series(native)[0].numpy().dtype == np.dtype(expected)
    assert read_series(list(native))[0].numpy().dtype == np.dtype(expected)


@pytest.mark.parametrize("mask_as", [np.asarray, torch.from_numpy, lambda m: m.tolist(), lambda m: m.astype(float)])
@pytest.mark.parametrize("values_as", [np.asarray, torch.from_numpy])
def test_a_mask_may_come_in_another_form_than_its_values(values_as: Any, mask_as: Any) -> None:
    mask = np.ones(VALUES.shape, bool)
    mask[0, 0, 0] = False
    values, observed = read_series(values_as(VALUES), mask_as(mask))
    assert type(observed) is type(values) and not observed[0, 0, 0] and int(observed.sum()) == 9
    assert values[0, 0, 0] == 0


def test_unequal_series_are_padded_at_the_front_and_so_are_their_masks() -> None:
    short = VALUES[1][:2]
    for form in (np.asarray, torch.from_numpy):
        masks = [np.ones((3, 2), bool), np.array([[True, False], [True, True]])]
        values, observed = read_series([form(VALUES[0]), form(short)], masks)
        assert values[1].tolist() == [[0, 0], [4, 0], [5, 50]]
        assert observed[1].tolist() == [[False, False], [True, False], [True, True]]
    with pytest.raises(ValueError, match="past_observed_mask has shape .*series by series"):
        read_series([VALUES[0], short], masks[::-1])


def test_rows_of_unequal_length_are_named() -> None:
    with pytest.raises(ValueError, match="past_values cannot be read as an array of numbers: .*inhomogeneous"):
        read_series([[[1.0, 2.0], [3.0]]])


def test_chunks_hold_all_rows_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timesclip_hf.model.reader.ROWS_AT_ONCE", 2)
    rows = np.arange(30.0).reshape(5, 3, 2)
    chunks = [values for values, _ in read_in_chunks(rows, np.ones(rows.shape), num_variates=2)]
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(chunks), rows)


def test_an_array_is_not_copied_and_a_tensor_not_moved() -> None:
    tensor = torch.from_numpy(VALUES)
    assert read_array(VALUES, "values") is VALUES and read_array(tensor, "values") is tensor


def test_nothing_but_numpy_is_imported() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'pandas', 'narwhals'): sys.modules[name] = None\n"
        "from timesclip_hf.model import reader\n"
        "print(reader.read_series([[1, 2], [3, 4]])[0].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[[[1.0, 2.0], [3.0, 4.0]]]\n"


NO = [[[True, False], [True, True], [True, True]], [[True, True], [False, True], [True, True]]]


@pytest.mark.parametrize("nothing", [False, 0, 0.0, np.nan, None, np.ma.masked])
@pytest.mark.parametrize("door", ["list", "array", "parts", "tensor", "collator", "numpy"])
def test_what_is_missing_of_a_mask_is_not_observed_at_any_door(nothing: Any, door: str, tmp_path: Any) -> None:
    observed = np.array(NO)
    if nothing is np.ma.masked:
        mask: Any = np.ma.MaskedArray(np.ones(observed.shape), ~observed)
    else:
        mask = np.where(observed, type(nothing)(1) if nothing is not None else True, nothing)
        mask = mask if nothing is None else mask.astype(type(nothing))
    series = np.arange(12.0).reshape(2, 3, 2)
    if door == "list" and nothing is not np.ma.masked:
        mask = mask.tolist()
    elif door == "parts":
        mask = list(mask)
    elif door == "tensor" and nothing is not None:
        mask = torch.from_numpy(np.ma.filled(mask, 0.0) if nothing is np.ma.masked else mask)
    if door not in ("collator", "numpy"):
        np.testing.assert_array_equal(read_series(series, mask)[1], observed)
        return
    processor = TimesCLIPProcessor(3, 1, 1, "none", scaling="none", image_size=None)
    processor.save_pretrained(tmp_path)
    read = NumpyProcessor.from_pretrained(tmp_path) if door == "numpy" else TimesCLIPDataCollator(processor)
    rows = [{"past_values": one, "past_observed_mask": part} for one, part in zip(series, mask, strict=True)]
    batch = read(series, past_observed_mask=mask) if door == "numpy" else read(rows)
    np.testing.assert_array_equal(np.asarray(batch["patch_mask"]), observed.swapaxes(1, 2))


@pytest.mark.parametrize("wrong", ["False", "0", ["yes"], {"a": 1}])
def test_a_mask_of_anything_else_is_refused_and_not_taken_for_true(wrong: Any) -> None:
    mask = np.ones((3, 2), object)
    mask[1, 1] = wrong
    processor = TimesCLIPProcessor(3, 1, 1, "none", scaling="none", image_size=None)
    for given in (mask, mask.tolist()):
        with pytest.raises(ValueError, match="past_observed_mask"):
            read_series(VALUES[0], given)
        with pytest.raises(ValueError, match="past_observed_mask"):
            TimesCLIPDataCollator(processor)([{"past_values": VALUES[0], "past_observed_mask": given}])


def doors(given: Any, tmp_path: Any) -> dict[str, Any]:
    """The first sample's patches through each door that takes such a thing, by name; errors as they are."""
    processor = TimesCLIPProcessor(3, 1, 1, "none", scaling="none", image_size=None, num_variates=2)
    processor.save_pretrained(tmp_path)

    def collated(series: Any) -> Any:
        return TimesCLIPDataCollator(processor)([{"past_values": one} for one in series])["patch_values"]

    return {
        "processor": lambda: processor(given)["patch_values"],
        "parts": lambda: processor(list(given))["patch_values"],
        "collator": lambda: collated(given),
        "numpy": lambda: NumpyProcessor.from_pretrained(tmp_path)(given)["patch_values"],
        "fit": lambda: TimesCLIPProcessor(3, 1, 1).fit(given).statistics["variates"]["mean"],
    }


FULL = np.arange(12.0).reshape(2, 3, 2)
READ: dict[str, Any] = {
    "gradients": torch.tensor(FULL, requires_grad=True),
    "parts with gradients": [torch.tensor(one, requires_grad=True) for one in FULL],
    "half precision": torch.tensor(FULL).bfloat16(),
    "memory": memoryview(FULL),
    "parts of memory": [memoryview(one) for one in FULL],
    "big endian": FULL.astype(">f8"),
    "lists": FULL.tolist(),
    "booleans among numbers": [[[False, True], [2.0, 3], [4, 5]], FULL[1].tolist()],
}


@pytest.mark.parametrize("kind", READ)
def test_what_holds_numbers_is_read_at_every_door(kind: str, tmp_path: Any) -> None:
    expected = FULL.swapaxes(1, 2)[..., None]
    for door, read in doors(READ[kind], tmp_path).items():
        if (kind == "memory" and door in ("parts", "collator")) or (door == "numpy" and "memory" not in kind):
            continue  # Python's own words: such a view has no parts
        found = np.asarray(read().detach() if isinstance(found := read(), torch.Tensor) else found)
        np.testing.assert_allclose(found, [5, 6] if door == "fit" else expected, err_msg=door)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FULL.astype(str).tolist(), "dtype <U.*text, such as '0.0'"),
        (FULL.astype(str), "dtype <U.*text, such as '0.0'"),
        ((FULL > 3).tolist(), "dtype bool; expected real numbers; of 0 and 1, pass numbers"),
        (torch.tensor(FULL) > 3, "bool; expected real numbers"),
        (FULL.astype("datetime64[s]"), "dtype datetime64"),
        (FULL.astype("timedelta64[s]"), "dtype timedelta64"),
        ([[[pd.Timestamp("2024-01-01"), 1.0]] * 3] * 2, "Timestamp|dtype object"),
        ([[[10**400, 1]] * 3] * 2, "401 digits|dtype object"),
        (torch.tensor(FULL).to_sparse(), "sparse_coo tensor; expected an ordinary one"),
        (torch.tensor(FULL).to("meta"), "meta tensor"),
        (torch.quantize_per_tensor(torch.tensor(FULL).float(), 0.1, 0, torch.qint8), "quantized tensor"),
    ],
)
def test_what_holds_no_numbers_is_named_at_every_door(given: Any, words: str, tmp_path: Any) -> None:
    for door, read in doors(given, tmp_path).items():
        if door in ("numpy", "parts") and isinstance(given, torch.Tensor):
            continue
        with pytest.raises(ValueError, match=f"past_values .*({words})"):
            read()


def test_gradients_reach_the_series_through_the_processor() -> None:
    series = torch.tensor(FULL, requires_grad=True)
    processor = TimesCLIPProcessor(3, 1, 1, "none", scaling="none", image_size=None)
    processor(series)["patch_values"].sum().backward()
    assert series.grad is not None and bool((series.grad == 1).all())


def test_columns_of_a_rows_frame_are_found_by_name_in_the_collator() -> None:
    processor = TimesCLIPProcessor(3, 1, 1, "none", scaling="none", image_size=None, variate_names=NAMES)
    for table in TABLES.values():
        rows = [{"past_values": table(series)} for series in VALUES]
        found = TimesCLIPDataCollator(processor)(rows)["patch_values"]
        np.testing.assert_array_equal(found, processor(VALUES)["patch_values"])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1.0, "2.5"], "text, such as '1.0'"),
        (["high", "low"], "text, such as 'high'"),
        ([1.0, pd.Timestamp("2024-01-01")], "Timestamp.*which is no number"),
        (np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"), "dtype datetime64"),
        ([1.0, 10**400], "401 digits"),
        ([1.0, {"a": 2}], "which is no number"),
        ([[1.0], [2.0, 3.0]], "cannot be read"),
        ([torch.tensor(1.0, requires_grad=True), 2.0], "cannot be read"),
    ],
)
def test_labels_that_are_no_numbers_are_named_at_every_door(labels: Any, words: str) -> None:
    processor = TimesCLIPProcessor(3, 1, 1, "none", scaling="none", image_size=None)
    with pytest.raises(ValueError, match=f"labels .*{words}"):
        processor(FULL, labels=labels)
    with pytest.raises(ValueError, match=f"labels .*{words}"):
        TimesCLIPProcessor(3, 1, 1).fit(FULL, labels=labels)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, pl.Series, pa.array, torch.tensor])
def test_labels_of_any_library_are_fitted(kind: Any) -> None:
    found = TimesCLIPProcessor(3, 1, 1).fit(FULL, labels=kind([1.5, 2.5])).statistics["targets"]
    assert found == {"mean": [2.0], "std": [0.5]}


@pytest.mark.parametrize("kind", [bool, complex])
def test_series_of_unequal_length_do_not_become_real_numbers_by_being_padded(kind: type) -> None:
    with pytest.raises(ValueError, match="past_values has dtype .*expected real numbers"):
        read_series([np.ones((3, 2), kind), np.ones((2, 2), kind)])


def test_booleans_do_not_become_numbers_beside_other_series() -> None:
    with pytest.raises(ValueError, match="past_values has dtype bool"):
        read_series([np.ones((3, 2)), np.ones((3, 2), bool)])


@pytest.mark.parametrize("cells", [np.full((3, 2), "4.5"), np.full((3, 2), "2020-01-05", "datetime64[D]")])
def test_masked_text_and_times_are_no_numbers(cells: np.ndarray) -> None:
    with pytest.raises(ValueError, match="past_values has dtype"):
        read_series(np.ma.masked_array(cells, mask=[[True, False]] * 3))


def test_fill_values_are_found_in_tensors_that_require_gradients() -> None:
    series = torch.tensor([[1.0, 5.0], [1e20, 6.0]], requires_grad=True)
    with pytest.warns(UserWarning, match="1e[+]20, a known fill value"):
        _, observed = read_series(series)
    assert observed.tolist() == [[[True, True], [False, True]]]


def test_masks_of_objects_are_read_cell_by_cell() -> None:
    cells = [[True, None], [10**400, 0], [float("nan"), 2]]
    assert read_mask(cells).tolist() == [[True, False], [True, False], [False, True]]
