# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Series in every kind, container and way to be missing, through every door: see `oracle` for what may come of it."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from oracle import Audit
from transformers import pipeline

from timesclip_hf import (
    NumpyProcessor,
    TimesCLIPConfig,
    TimesCLIPDataCollator,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    load_long_table,
    load_wide_table,
)

NAMES, STEPS = ["ndvi", "rain", "nir"], 12
TRAIN = np.random.default_rng(0).normal(size=(24, STEPS, 3)) * [0.1, 30.0, 500.0] + [0.5, 100.0, 3000.0]
WEIRD_CELLS = ["=1+1", "1e400", "1,5", "1.5%", "true", "2020-01-01", "0x10", "--", "\x1b[31m", "9" * 400, "inf", None]
WEIRD_NAMES = [
    "ndvi_100000000",
    "ndvi_-1",
    "ndvi",
    "ndvi_٣",
    "",
    "NDVI_00",
    "past_values",
    "labels",
    "ndvi_" + "9" * 20,
]
WEIRD_TIMES = [
    "never",
    "9999-99-99",
    "1e400",
    "2024-02-30",
    "\x1b[1m",
    -1,
    float("inf"),
    True,
    [1],
    {},
    10**30,
    "x" * 300,
]
WEIRD_OBJECTS = [None, "5.0", [], {}, np.inf, 1e25, 1e300, True, b"1", 10**400, 1j, pd.NaT, pd.NA, object(), [1, 2]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Pipeline and NumPy's processor of a small model that was fitted on a wide table."""
    from conftest import tower_fields

    text = tower_fields()["text_config"]
    processor = TimesCLIPProcessor(STEPS, 4, 2, image_size=None, variate_names=NAMES)
    processor.fit(load_wide_table(wide(TRAIN).assign(y=np.arange(24.0)), target="y", variates=NAMES))
    sizes = {"num_variates": 3, "context_length": STEPS, "patch_length": 4, "patch_stride": 2, "projection_dim": 16}
    torch.manual_seed(0)
    config = TimesCLIPConfig.from_preset("small", text_config=text, **sizes)
    model = TimesCLIPForRegression(processor.complete_config(config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp("audit")
    processor.save_pretrained(folder)
    return pipeline("time-series-regression", model=model, processor=processor), NumpyProcessor.from_pretrained(folder)


def wide(series: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({f"{n}_{t:02d}": series[:, t, v] for v, n in enumerate(NAMES) for t in range(series.shape[1])})


def predictions(model: Any, batch: Any) -> np.ndarray:
    with torch.no_grad():
        return model(**{name: torch.as_tensor(part) for name, part in batch.items()}).predictions[:, 0].numpy()


def answers(results: Any) -> list[float]:
    return [result.get("prediction", np.nan) for result in (results if isinstance(results, list) else [results])]


def plain_route(predict: Any, series: np.ndarray) -> np.ndarray:
    """Predictions of float64 series whose missing values are NaN; NaN for those without a value of a variate."""
    whole = np.isfinite(series).any(axis=1).all(axis=1)
    found = np.full(len(series), np.nan)
    if whole.any():
        found[whole] = predictions(predict.model, predict.processor(series[whole]))
    return found


KINDS = ["float64", "float32", "float16", "longdouble", ">f8", "int16", "int64", "uint16", ">i4"]
NO_NUMBERS = ["str", "datetime64[s]", "timedelta64[s]", "complex128", "bool"]
MISSING = ["none", "nan", "mask", "mask of 0 and 1", "mask with NaN", "numpy.ma", "fill value"]


def series_of(rng: np.random.Generator) -> tuple[np.ndarray, Any, np.ndarray, list[Any]]:
    """Series (B, T, V), their mask or None, what they say as float64 with NaN, and what they are in words."""
    shape = int(rng.integers(1, 4)), int(rng.choice([1, 2, 5, 12, 12])), 3
    kind, missing = rng.choice(KINDS), str(rng.choice(MISSING))
    values = rng.normal(size=shape) * [0.1, 30, 500] + [2.5, 100, 3000] + float(rng.choice([0, 0, 1e3]))
    array = np.round(values.clip(0, 3e4)).astype(kind) if np.dtype(kind).kind in "iu" else values.astype(kind)
    truth, mask = array.astype(float), None
    holes = rng.random(shape) < 0.2
    holes[:, -1] = False
    if missing == "none" or (missing in ("nan", "fill value") and array.dtype.kind != "f"):
        return array, None, truth, [kind, shape]
    truth[holes] = np.nan
    if missing == "nan":
        array[holes] = np.nan
    elif missing == "fill value" and kind != "float16":
        array[holes] = 9.969209968386869e36
    elif missing == "numpy.ma":
        array = np.ma.masked_array(array, mask=holes)
    else:
        mask = np.where(holes, np.nan if "NaN" in missing else 0, 1)
        mask = ~holes if missing == "mask" else mask
    return array, mask, truth, [kind, shape, missing]


def contained(rng: np.random.Generator, array: Any, mask: Any) -> tuple[Any, Any, str]:
    """The same series and mask in another container, and its name."""
    box = str(rng.choice(["array", "list", "tuple", "nested", "fortran", "reversed", "strided", "tensor", "tensors"]))
    both = {
        "array": lambda part: part,
        "list": list,
        "tuple": tuple,
        "nested": lambda part: part.tolist(),
        "fortran": lambda part: part if np.ma.isMaskedArray(part) else np.asfortranarray(part),
        "reversed": lambda part: part[:, ::-1].copy()[:, ::-1],
        "strided": lambda part: np.repeat(part, 2, axis=1)[:, ::2],
    }
    plain = not np.ma.isMaskedArray(array) and array.dtype.isnative and array.dtype != np.longdouble
    if box in ("tensor", "tensors") and plain and array.dtype != np.uint16:
        tensor = torch.from_numpy(array)
        tensor = tensor.requires_grad_() if tensor.is_floating_point() else tensor
        return (tensor if box == "tensor" else list(tensor)), mask, box
    if box not in both or (box == "nested" and np.ma.isMaskedArray(array)):
        box = "array"
    return both[box](array), None if mask is None else both[box](np.asarray(mask)), box


def test_series_of_any_kind_give_the_answer_of_plain_numbers(made: Any) -> None:
    predict, alone = made
    rng, audit = np.random.default_rng(11), Audit()
    collate = TimesCLIPDataCollator(predict.processor, draw=False)
    for _ in range(250):
        array, mask, truth, told = series_of(rng)
        expected = plain_route(predict, truth)
        series, mask, box = contained(rng, array, mask)
        case = [*told, box]
        masks = {} if mask is None else {"past_observed_mask": mask}
        audit.ask(
            ["processor", *case],
            lambda s=series, m=masks: predictions(predict.model, predict.processor(s, **m)),
            expected,
        )
        audit.ask(["numpy", *case], lambda s=series, m=masks: predictions(predict.model, alone(s, **m)), expected)
        rows = [
            {"past_values": one, **({} if mask is None else {"past_observed_mask": m})}
            for one, m in zip(series, mask if mask is not None else series, strict=True)
        ]
        audit.ask(["pipeline", *case], lambda r=rows: answers(predict(r)), expected)
        audit.ask(["collator", *case], lambda r=rows: predictions(predict.model, collate(r)), expected)
    audit.conclude(at_least=1000)


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_series_that_are_no_numbers_are_refused(made: Any, kind: str) -> None:
    predict, alone = made
    array = (TRAIN[:2].astype("int64") if "64[" in kind else TRAIN[:2]).astype(kind)
    boxes = [array, list(array), [array[0], array[1, 3:]], np.ma.masked_array(array, mask=np.zeros(array.shape, bool))]
    audit = Audit()
    for series in boxes:
        for door in (predict.processor, alone, predict):
            assert not audit.ask([kind, type(series)], lambda d=door, s=series: d(s) and None, named="past_values")
    audit.conclude(at_least=12)


def test_cells_of_any_type_are_numbers_or_named(made: Any) -> None:
    predict, alone = made
    rng, audit = np.random.default_rng(12), Audit()
    collate = TimesCLIPDataCollator(predict.processor, draw=False)
    for _ in range(150):
        series: Any = TRAIN[rng.integers(24), : rng.choice([1, 5, 12])].tolist()
        step, cell = rng.integers(len(series)), WEIRD_OBJECTS[rng.integers(len(WEIRD_OBJECTS))]
        how = rng.integers(4)
        if how < 2:
            series[step][rng.integers(3)] = cell
        else:
            series[step] = cell if how == 2 else series[step][:-1]
        case = [how, repr(cell)[:40]]
        audit.ask(["pipeline", *case], lambda s=series: answers(predict([s])))
        audit.ask(["processor", *case], lambda s=series: predictions(predict.model, predict.processor([s])))
        audit.ask(["numpy", *case], lambda s=series: predictions(predict.model, alone([s])))
        audit.ask(["collator", *case], lambda s=series: predictions(predict.model, collate([{"past_values": s}])))
        sample = {"past_values": TRAIN[0], "past_observed_mask": cell, "labels": cell}
        audit.ask(["sample", *case], lambda s=sample: collate([s]) and None)
    audit.conclude(at_least=750)


def changed_table(rng: np.random.Generator) -> tuple[Any, np.ndarray | None, list[str]]:
    """A wide table, the series that it holds (None: it may not be told), and what was done to it."""
    series = rng.normal(size=(int(rng.integers(1, 5)), STEPS, 3)) * [0.1, 30, 500] + [0.5, 100, 3000]
    series[rng.random(series.shape) < rng.choice([0, 0.1, 0.4])] = np.nan
    table, truth, done = wide(series), series, []
    for how in rng.choice(
        ["columns", "rows", "text", "objects", "decimals", "nullable", "pyarrow", "category", "note", "float32"], 2
    ):
        column = table.columns[rng.integers(table.shape[1])]
        done.append(str(how))
        if how == "columns":
            table = table.iloc[:, rng.permutation(table.shape[1])]
        elif how == "rows":
            order = rng.permutation(len(table))
            table, truth = table.iloc[order], truth[order]
        elif how == "decimals":
            table[column] = [Decimal(repr(float(cell))) for cell in table[column]]
        elif how in ("nullable", "pyarrow"):
            table = table.convert_dtypes(dtype_backend="numpy_nullable" if how == "nullable" else "pyarrow")
        elif how == "note":
            table = table.assign(note="=cmd|x")
        else:
            table[column] = table[column].astype({"text": str, "objects": object}.get(how, how))
    if rng.random() < 0.5:
        return table, truth, done
    column, what = table.columns[rng.integers(table.shape[1])], rng.integers(6)
    done.append(f"broken {what}")
    if what == 0:
        table = table.astype({column: object})
        table.iloc[0, table.columns.get_loc(column)] = WEIRD_CELLS[rng.integers(len(WEIRD_CELLS))]
    elif what == 1:
        table = table.rename(columns={column: WEIRD_NAMES[rng.integers(len(WEIRD_NAMES))]})
    elif what == 2:
        table = table.assign(**{WEIRD_NAMES[rng.integers(len(WEIRD_NAMES))]: 1.0})
    elif what == 3:
        table = pd.concat([table, table[[column]]], axis=1)
    elif what == 4:
        table[column] = [1e25, 1e200, np.inf, 1j, True][rng.integers(5)]
    else:
        table = [table.iloc[:0], table.drop(columns=column), table.set_axis(range(table.shape[1]), axis=1)][
            rng.integers(3)
        ]
    return table, None, done


def test_tables_of_any_kind_give_the_answer_of_plain_numbers(made: Any, tmp_path: Path) -> None:
    predict, _ = made
    rng, audit = np.random.default_rng(13), Audit()
    for _ in range(90):
        table, truth, done = changed_table(rng)
        expected = None if truth is None else plain_route(predict, truth)
        forms: dict[str, Any] = {"pandas": table, "csv": tmp_path / "table.csv"}
        table.to_csv(forms["csv"], index=False)
        if expected is not None:
            forms |= {"polars": pl.read_csv(forms["csv"]), "pyarrow": pa.Table.from_pandas(wide(truth))}
            forms["datasets"] = Dataset.from_pandas(wide(truth))
        for name, form in forms.items():
            form = str(form) if isinstance(form, Path) else form
            audit.ask([name, *done], lambda f=form: predict(f)["prediction"].to_numpy(), expected)
        if "prediction" not in table and len(set(map(str, table))) == table.shape[1]:
            labelled = table.set_axis(map(str, table), axis=1).assign(y=1.0)
            audit.ask(["load", *done], lambda t=labelled: load_wide_table(t, target="y") and None)
    audit.conclude(at_least=300)


def test_long_tables_of_any_kind_are_read_or_what_is_wrong_is_named(tmp_path: Path) -> None:
    rng, audit = np.random.default_rng(14), Audit()
    read = 0
    for _ in range(120):
        frequency = str(rng.choice(["D", "h", "MS", "ME", "W", "10D", "B", "YS", "7min"]))
        length = int(rng.choice([1, 2, 5, 20]))
        parts = [
            pd.DataFrame(rng.normal(size=(length, 3)), columns=NAMES).assign(
                field=name, day=pd.date_range("2024-01-31", periods=length, freq=frequency)
            )
            for name in "ab"[: rng.integers(1, 3)]
        ]
        table = pd.concat(parts, ignore_index=True)
        row, how = int(rng.integers(len(table))), int(rng.integers(10))
        if how in (0, 1, 2):
            column = ["day", "field", "rain"][how]
            table[column] = table[column].astype(object)
            cells = [WEIRD_TIMES, [None, [1], {"a": 1}, 1.5, "\x1b[1m"], WEIRD_CELLS][how]
            cell = cells[rng.integers(len(cells))]
            table[column] = [cell if k == row else old for k, old in enumerate(table[column])]
        elif how == 3:
            table = pd.concat([table, table.iloc[[row]]])
        elif how == 4:
            table = table.drop(index=row)
        elif how == 5:
            table["day"] = [
                f"{x:%Y-%m-%dT%H:%M:%S}{'+01:00' if k % 2 else '+05:30'}" for k, x in enumerate(table["day"])
            ]
        elif how == 6:
            table["day"] = np.arange(len(table), dtype="uint64") + np.uint64(2**63)
        elif how == 7:
            table["day"] = [f"{9999 - len(table) + k + 1}-01-01" for k in range(len(table))]
        elif how == 8:
            table = table.sample(frac=1, random_state=1)
        roles = {"timestamp_column": "day", "series_column": "field", "fill_gaps": bool(rng.integers(2))}
        case = [frequency, length, how, roles["fill_gaps"]]
        read += audit.ask(case, lambda t=table, r=roles: load_long_table(t, **r) and None)
        table.to_csv(tmp_path / "long.csv", index=False)
        audit.ask(["csv", *case], lambda r=roles: load_long_table(str(tmp_path / "long.csv"), **r) and None)
    audit.conclude(at_least=240)
    assert read > 40
