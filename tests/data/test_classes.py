# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Classes of a table's column: their numbers, their names, and what is refused."""

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from transformers import pipeline

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    load_wide_table,
    split_by_column,
)

SERIES = np.random.default_rng(0).normal(size=(6, 12, 3))
COLUMNS = {f"{name}_{step:02d}": SERIES[:, step, v] for v, name in enumerate("abc") for step in range(12)}


def read(cells, **options):
    dataset = load_wide_table(pd.DataFrame(COLUMNS | {"crop": cells}), target="crop", task="classification", **options)
    assert isinstance(dataset.features["labels"], ClassLabel) and "crop" not in dataset.column_names
    return dataset["labels"][:], dataset.features["labels"].names


@pytest.mark.parametrize(
    ("cells", "numbers", "names"),
    [
        (["wheat", "rye ", "rye", "wheat", "oat", "oat"], [2, 1, 1, 2, 0, 0], ["oat", "rye", "wheat"]),
        ([True, False, True, True, False, False], [1, 0, 1, 1, 0, 0], ["False", "True"]),
        ([0, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 1], ["0", "1"]),
        ([30, 4, 100, 4, 30, 100], [1, 0, 2, 0, 1, 2], ["4", "30", "100"]),
        ([-1.0, 2.0, 2.0, -1.0, 2.0, 2.0], [0, 1, 1, 0, 1, 1], ["-1", "2"]),
        (["30", "4", "100", "4", "30", "100"], [1, 0, 2, 0, 1, 2], ["4", "30", "100"]),
        (pa.array(["b", "a"] * 3).to_pandas().astype("string[pyarrow]"), [1, 0] * 3, ["a", "b"]),
        (pd.array([True, False] * 3, dtype="boolean"), [1, 0] * 3, ["False", "True"]),
        (pd.Categorical(["b", "a"] * 3), [1, 0] * 3, ["a", "b"]),
        (pd.Categorical(["low", "high"] * 3, ["low", "high"], ordered=True), [0, 1] * 3, ["low", "high"]),
        ([Decimal(3), Decimal(1)] * 3, [1, 0] * 3, ["1", "3"]),
        (["a", 1, True, "a", 1, True], [2, 0, 1, 2, 0, 1], ["1", "True", "a"]),
    ],
)
def test_what_a_cell_says_is_a_class(cells, numbers, names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(cells) == (numbers, names)


@pytest.mark.parametrize("kind", ["csv", "parquet", "polars", "data set"])
def test_all_kinds_of_tables_give_the_same_classes(tmp_path, kind):
    frame = pd.DataFrame(COLUMNS | {"crop": ["b", "a", "c"] * 2})
    table = tmp_path / f"fields.{kind}"
    if kind == "csv":
        frame.to_csv(table, index=False)
    elif kind == "parquet":
        frame.to_parquet(table)
    else:
        table = pl.from_pandas(frame) if kind == "polars" else Dataset.from_pandas(frame)
    dataset = load_wide_table(table, target="crop", task="classification")
    assert dataset["labels"][:] == [1, 0, 2] * 2 and dataset.features["labels"].names == ["a", "b", "c"]


def test_a_data_set_of_class_numbers_keeps_their_names():
    codes = Dataset.from_dict({"crop": [1, 0, -1]}, features=Features({"crop": ClassLabel(names=["z", "a"])}))
    numbers = Dataset.from_dict({"x_00": [1.0, 2.0, 3.0]}, features=Features({"x_00": Value("float64")}))
    table = Dataset.from_dict({"crop": codes["crop"][:], "x_00": numbers["x_00"][:]}).cast_column(
        "crop", codes.features["crop"]
    )
    dataset = load_wide_table(table.select([0, 1]), target="crop", task="classification")
    assert dataset["labels"][:] == [1, 0] and dataset.features["labels"].names == ["z", "a"]
    with pytest.raises(ValueError, match="classes .* missing: column 'crop'"):
        load_wide_table(table, target="crop", task="classification")


def test_a_second_table_has_the_numbers_of_the_first():
    for given in (["rye", "oat", "pea"], ("rye", "oat", "pea"), pd.Index(["rye", "oat", "pea"])):
        assert read(["oat", "rye", "pea"] * 2, class_names=given) == ([1, 0, 2] * 2, ["rye", "oat", "pea"])
    id2label = {2: "pea", 0: "rye", 1: "oat"}
    with pytest.warns(UserWarning, match="classes without a row in column 'crop': 'pea'"):
        assert read(["oat", "oat", "rye"] * 2, class_names=id2label)[0] == [1, 1, 0] * 2
    with pytest.warns(UserWarning, match="'2'"):
        assert read([7, 7, 5] * 2, class_names=np.array([7, 2, 5])) == ([0, 0, 2] * 2, ["7", "2", "5"])
    with pytest.raises(ValueError, match="not among class_names: 'oats' .near: oat.; found 'rye', 'oat'"):
        read(["oats", "rye"] * 3, class_names=["rye", "oat"])


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (["a", None, "b", " ", "a", "b"], ["classes", "missing", "'crop'", "1, 3"]),
        ([0.5, 1.0, 0.5, 1.0, 1.0, 1.0], ["name no class", "'crop'", "0.5", "task='classification'"]),
        (pd.to_datetime(["2020-01-01"] * 6), ["name no class", "2020-01-01"]),
        (["a"] * 6, ["one class only, 'a'", "class_names"]),
    ],
)
def test_what_is_no_class_is_named(cells, parts):
    with pytest.raises(ValueError) as caught:
        read(cells)
    assert all(part in str(caught.value) for part in parts)


def test_doubtful_classes_are_told():
    with pytest.warns(UserWarning, match="differ by case alone: 'Rye', 'rye'"):
        read(["Rye", "rye", "oat"] * 2)
    many = pd.DataFrame({"x_00": np.arange(30.0), "y": np.arange(30)})
    with pytest.warns(UserWarning, match="'y' has 30 classes in 30 rows"):
        load_wide_table(many, target="y", task="classification")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "classify"}, "'regression' or 'classification'"),
        ({"task": "classification", "target": ["crop", "a_00"]}, "one target"),
        ({"class_names": ["a", "b"]}, "for task='classification' only"),
        ({"task": "classification", "class_names": "ab"}, "list of names"),
        ({"task": "classification", "class_names": ["a", "a"]}, "more than once: a"),
        ({"task": "classification", "class_names": {0: "a", 2: "b"}}, "numbers 0, 2, expected 0 to 1"),
        ({"task": "classification", "class_names": ["a", None]}, "None"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        load_wide_table(pd.DataFrame(COLUMNS | {"crop": list("ababab")}), **{"target": "crop", **options})


def test_text_as_a_number_to_predict_advises_classification():
    with pytest.raises(ValueError, match="'crop'.*task='classification'"):
        load_wide_table(pd.DataFrame(COLUMNS | {"crop": list("ababab")}), target="crop")


def test_rows_without_classes_need_no_target():
    dataset = load_wide_table(pd.DataFrame(COLUMNS), target=None, task="classification")
    assert dataset.column_names == ["past_values"]


def test_names_go_from_the_table_through_training_to_predictions(tiny_config, tmp_path):
    table = pd.DataFrame(COLUMNS | {"crop": ["rye", "oat", "pea"] * 2, "split": ["train"] * 3 + ["validation"] * 3})
    data = split_by_column(load_wide_table(table, target="crop", task="classification"), "split")
    names = data["train"].features["labels"].names
    config = tiny_config("small", id2label=dict(enumerate(names)), label2id={name: k for k, name in enumerate(names)})
    processor = TimesCLIPProcessor.from_config(config, variate_names=list("abc")).fit(data["train"])
    assert processor.statistics["targets"] is None  # class numbers have no mean
    trainer = TimesCLIPTrainer(
        TimesCLIPForClassification(processor.complete_config(config)),
        TimesCLIPTrainingArguments(str(tmp_path), num_train_epochs=1, report_to="none", class_weights="balanced"),
        processor,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "best"))
    found = pipeline("time-series-classification", model=str(tmp_path / "best"))(table)
    assert (
        set(found["predicted_label"]) <= {"rye", "oat", "pea"} and found["crop"].tolist() == ["rye", "oat", "pea"] * 2
    )
