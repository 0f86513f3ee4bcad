"""Data in the wrong container, and what else a trainer is given: errors that name what is wanted."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, DatasetDict
from small_trainers import QUIET, make_rows, trainer_builder
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from timesclip_hf import SeriesCollection, TimesCLIPForRegression, TimesCLIPTrainer, TimesCLIPTrainingArguments

FRAME = pd.DataFrame({"ndvi_0": [0.1, 0.2], "ndvi_1": [0.2, 0.3], "yield": [3.0, 4.0]})


def no_containers() -> dict[str, tuple[Any, str]]:
    """Name -> what is no data set of rows, and words of what to do."""
    import polars as pl
    import pyarrow as pa

    rows = make_rows(4)
    return {
        "pandas": (FRAME, "pandas.DataFrame.*load_wide_table"),
        "polars": (pl.from_pandas(FRAME), "polars.DataFrame.*load_wide_table"),
        "arrow": (pa.Table.from_pandas(FRAME), "pyarrow.Table.*load_wide_table"),
        "path": (Path("fields.csv"), "fields.csv.*load_wide_table"),
        "text": ("fields.csv", "fields.csv.*load_wide_table"),
        "paths": (["a.csv", "b.csv"], "join them.*concatenate_datasets"),
        "array": (np.zeros((4, 12, 3)), "numpy.ndarray.*Dataset.from_dict"),
        "tensor": (torch.zeros(4, 12, 3), "torch.Tensor.*Dataset.from_dict"),
        "collection": (SeriesCollection([np.zeros((40, 3), np.float32)], ["a", "b", "c"], ["s"]), "split_windows"),
        "loader": (DataLoader(rows), "DataLoader.*pass its data set"),
        "generator": ((row for row in rows), "generator.*IterableDataset.from_generator"),
        "set": ({1, 2}, "no length or cannot be read twice"),
        "number": (3, "a int"),
        "pairs": ([(np.zeros((12, 3)), 1.0)], "rows of type tuple"),
        "tensors": (TensorDataset(torch.zeros(4, 12, 3), torch.zeros(4, 1)), "rows of type tuple"),
        "arrays": ([np.zeros((12, 3))], "rows of type ndarray"),
        "empty": ([], "is empty"),
        "other names": (rows.rename_column("past_values", "values"), "no 'past_values', only .*labels.*values"),
    }


@pytest.fixture
def build(tiny_config: Any, tmp_path: Path) -> Any:
    return trainer_builder(tiny_config, tmp_path)


@pytest.mark.parametrize("kind", no_containers())
@pytest.mark.parametrize("argument", ["train_dataset", "eval_dataset", "part"])
def test_a_container_that_holds_no_rows_is_named_with_what_is_wanted(build: Any, kind: str, argument: str) -> None:
    data, message = no_containers()[kind]
    given = {"eval_dataset": {"far": make_rows(4), "near": data}} if argument == "part" else {argument: data}
    name = r"eval_dataset\['near'\]" if argument == "part" else argument
    with pytest.raises(ValueError, match=f"{name} .*{message}") as error:
        build(given=given, metric_for_best_model="near_rmse")
    assert "rows with 'past_values'" in str(error.value)


def test_several_parts_are_to_evaluate_on_not_to_train_on(build: Any) -> None:
    parts = DatasetDict({"train": make_rows(8), "validation": make_rows(4)})
    with pytest.raises(ValueError, match=r"\['train', 'validation'\]: pass one part"):
        build(train=parts)
    with pytest.raises(ValueError, match="empty dict"):
        build(validation={})
    trainer = build(validation=parts, metric_for_best_model="train_rmse")
    assert {"eval_train_rmse", "eval_validation_rmse"} <= trainer.evaluate().keys()


class Rows:
    """Neither torch's nor datasets'."""

    def __init__(self, rows: Any):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(make_rows(24))


@pytest.mark.parametrize(
    "data",
    [
        make_rows(24).to_list(), Rows(make_rows(24)), tuple(make_rows(24).to_list()), Stream(),
        make_rows(24).to_iterable_dataset(),
    ],
    ids=["list", "own class", "tuple", "torch stream", "stream"],
)  # fmt: skip
def test_whatever_gives_rows_trains_alike(build: Any, data: Any) -> None:
    arguments = {"max_steps": 3, "learning_rate": 0.0}
    losses = []
    for train in (make_rows(24), data):
        trainer = build(train=train, validation=train, **arguments)
        trainer.train()
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_data_to_predict_are_looked_at_too(build: Any) -> None:
    trainer = build()
    with pytest.raises(ValueError, match="the data set is a pandas.DataFrame"):
        trainer.predict(FRAME)
    with pytest.raises(ValueError, match="the data set is a pandas.DataFrame"):
        trainer.evaluate(FRAME)


def test_raw_series_without_a_processor_are_refused(build: Any, tmp_path: Path) -> None:
    model = build().model
    settings = {"eval_strategy": "no", "load_best_model_at_end": False, "max_steps": 1, **QUIET}
    arguments = TimesCLIPTrainingArguments(str(tmp_path), **settings)
    with pytest.raises(ValueError, match="processing_class is missing.*TimesCLIPProcessor.from_config"):
        TimesCLIPTrainer(model, arguments, train_dataset=make_rows(4))
    with pytest.raises(ValueError, match="processing_class is missing"):
        TimesCLIPTrainer(model, arguments).predict(make_rows(4))


def test_inputs_that_were_processed_before_need_no_processor(build: Any, tmp_path: Path) -> None:
    trainer = build()
    batch = trainer.data_collator(make_rows(8).to_list())
    rows = [{name: values[i] for name, values in batch.items()} for i in range(8)]
    settings = {"eval_strategy": "no", "load_best_model_at_end": False, "max_steps": 1, **QUIET}
    own = TimesCLIPTrainer(trainer.model, TimesCLIPTrainingArguments(str(tmp_path), **settings), train_dataset=rows)
    assert np.isfinite(own.train().training_loss)


@pytest.mark.parametrize("model", ["path/to/model", TimesCLIPForRegression, None])
def test_what_is_no_model_is_refused(build: Any, model: Any) -> None:
    with pytest.raises(ValueError, match="wanted is a model"):
        build(given={"model": model})


def test_a_class_is_no_processor(build: Any) -> None:
    from timesclip_hf import TimesCLIPProcessor

    with pytest.raises(ValueError, match="the class TimesCLIPProcessor; wanted is a fitted processor"):
        build(given={"processing_class": TimesCLIPProcessor})


def test_labels_of_another_kind_of_task_are_refused_at_once(tiny_config: Any, tmp_path: Path) -> None:
    build = trainer_builder(tiny_config, tmp_path)
    classes, amounts = make_rows(24, 0, classes=3), make_rows(24)
    named = classes.cast_column("labels", ClassLabel(names=["maize", "rice", "wheat"]))
    listed = [dict(row) for row in classes]
    for rows, words in (
        (classes, r"classes \("),
        (named, r"classes \('(maize|rice|wheat)'\)"),
        (listed, r"classes \("),
    ):
        for given in ({"train": rows}, {"validation": {"near": amounts, "far": rows}}):
            with pytest.raises(ValueError, match=f"_dataset(\\['far'\\])? has labels that are {words}.*a regression"):
                build(**given)
    scalars = amounts.remove_columns("labels").add_column("labels", [0.5] * 24)
    for rows in (amounts, scalars):
        with pytest.raises(ValueError, match="labels that are amounts.*load_wide_table"):
            build(classes=3, train=rows)
    text = amounts.remove_columns("labels").add_column("labels", ["rice"] * 24)
    for kind in (0, 3):
        with pytest.raises(ValueError, match="labels that are no numbers, such as 'rice'"):
            build(classes=kind, train=text)
    whole = amounts.remove_columns("labels").add_column("labels", [[3]] * 24)
    build(train=scalars).train()  # one target may come without its list
    build(train=whole).train()  # counts are amounts
    build(classes=3, train=named, validation=classes).train()
    own = {"compute_loss_func": lambda outputs, labels, num_items_in_batch=None: outputs.predictions.mean()}
    build(train=classes, given=own)  # whose function knows what to make of them
