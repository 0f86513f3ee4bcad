# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a trainer is given to train: a wrong kind of model, processor or data is named at once, with the right one.

Data are rows, mappings with `past_values` (and `labels`): a `datasets.Dataset`, `ForecastWindows`, a list of dicts,
any torch data set or stream of them. One row is looked at.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import default_data_collator

from ..data.augmentation import AugmentedSeries
from ..data.collator import TimesCLIPDataCollator
from ..data.long import SeriesCollection
from ..data.tables import is_table
from ..model.tasks import Task

_WANTED = (
    "wanted are rows with 'past_values' and 'labels': a datasets.Dataset (load_wide_table makes one), ForecastWindows "
    "(of split_windows), or a list of dicts"
)


def check_given(model: Any, processor: Any, others: Mapping[str, Any]) -> None:
    """Raises `ValueError` for what no trainer could work with; `others` are further arguments of the trainer."""
    if isinstance(model, str | os.PathLike | type) or (model is None and others.get("model_init") is None):
        raise ValueError(
            f"model is {_named(model)}; wanted is a model: TimesCLIPForRegression(config), "
            "TimesCLIPForRegression.from_pretrained(path), or one of another task"
        )
    if processor is not None and (isinstance(processor, str | os.PathLike | type) or not callable(processor)):
        raise ValueError(
            f"processing_class is {_named(processor)}; wanted is a fitted processor: "
            "TimesCLIPProcessor.from_config(config).fit(train), or TimesCLIPProcessor.from_pretrained(path)"
        )
    collator = others.get("data_collator")
    if collator is None and processor is not None:
        collator = TimesCLIPDataCollator(processor)
    check_data("train_dataset", others.get("train_dataset"), collator)
    check_data("eval_dataset", others.get("eval_dataset"), collator, parts=True)


def check_data(name: str, data: Any, collator: Any, parts: bool = False) -> None:
    """Raises `ValueError` for data that are no rows of series.

    Args:
        name: of the argument.
        data: what was given for it; `None`: nothing.
        collator: that makes batches of them; with transformers' own, or `None`, rows must be what a model takes.
        parts: a mapping is several data sets by name.
    """
    if data is None:
        return
    if isinstance(data, Mapping) and not parts:
        raise ValueError(f"{name} is {_named(data)} of {list(data)}: pass one part of it; {_WANTED}")
    if isinstance(data, Mapping):
        if not data:
            raise ValueError(f"{name} is an empty dict: leave it out, or name parts to evaluate on")
        for key, part in data.items():
            check_data(f"{name}[{key!r}]", part, collator)
        return
    if advice := _advice(data):
        raise ValueError(f"{name} is {_named(data)}: {advice}; {_WANTED}")
    streamed = isinstance(data, IterableDataset | datasets.IterableDataset)
    if streamed:
        names = getattr(data, "column_names", None) or ()
        if collator is None and "past_values" in names:
            raise ValueError(_without_processor(name))
        return
    if not len(data):
        raise ValueError(f"{name} is empty; {_WANTED}")
    row = dict.fromkeys(data.column_names) if isinstance(data, datasets.Dataset) else data[0]
    if not isinstance(row, Mapping):
        raise ValueError(f"{name} has rows of type {type(row).__name__}; {_WANTED}")
    if (collator is None or collator is default_data_collator) and "past_values" in row:
        raise ValueError(_without_processor(name))
    if isinstance(collator, TimesCLIPDataCollator) and "past_values" not in row:
        raise ValueError(f"{name} has no 'past_values', only {sorted(map(str, row))}; {_WANTED}")


@contextmanager
def augmented(trainer: Any) -> Iterator[None]:
    """Inside, the trainer's training data come changed, as `args.augment` says; see `data.augmentation`.

    Raises:
        ValueError: a stream, or a task whose labels are no numbers or classes of whole series.
    """
    rows, task = trainer.train_dataset, trainer.task
    if not hasattr(rows, "__len__") or not isinstance(trainer.data_collator, TimesCLIPDataCollator):
        raise ValueError("augment needs rows of raw series with a length, and a processor: leave it out for a stream")
    if not task.has_labels or task.reads_newest_steps:
        raise ValueError(f"augment is for whole series with labels, and this is a model for {task.name}: leave it out")
    trainer.train_dataset = AugmentedSeries(rows, trainer.args.augment, seed=trainer.args.seed)
    try:
        yield
    finally:
        trainer.train_dataset = rows


def _without_processor(name: str) -> str:
    return (
        f"processing_class is missing, and {name} holds raw series: pass processing_class="
        "TimesCLIPProcessor.from_config(config).fit(train), whose collator turns them into a model's inputs"
    )


def check_labels(name: str, data: Any, task: Task) -> None:
    """Raises `ValueError` for data whose labels are of another kind of task; their first row is looked at.

    Classes are whole numbers, one a row; targets are numbers in a list or an array, even where there is one.
    """
    if isinstance(data, Mapping):
        for key, part in data.items():
            check_labels(f"{name}[{key!r}]", part, task)
        return
    streamed = isinstance(data, IterableDataset | datasets.IterableDataset)  # which may tell its length
    if data is None or streamed or not len(data) or task.name not in ("regression", "classification"):
        return
    features = getattr(data, "features", None)
    names = getattr(features["labels"], "names", None) if features and "labels" in features else None
    label = data[0].get("labels")
    if label is None:
        return
    found = np.asarray(label)
    classes = found.ndim == 0 and found.dtype.kind in "iub"
    if task.name == "regression" and classes:
        told = f"{names[int(found)]!r}" if names else f"{label!r}"
        raise ValueError(
            f"{name} has labels that are classes ({told}), and the model is a regression: TimesCLIPForClassification "
            "tells classes apart. A target that is an amount is a list of numbers, [3.0], even where there is one"
        )
    if found.dtype.kind in "OUS":
        raise ValueError(
            f"{name} has labels that are no numbers, such as {label!r}: load_wide_table(..., "
            "task='classification') turns text into classes"
        )
    if task.name == "classification" and not classes and found.size == 1:
        raise ValueError(
            f"{name} has labels that are amounts ({label!r}), and the model is a classification, whose labels are "
            "whole numbers from 0, one a row: load_wide_table(..., task='classification') makes them"
        )


def _advice(data: Any) -> str | None:
    """What to do with a container that is not one of rows; `None`: it is one."""
    if isinstance(data, str | os.PathLike):
        return "load the file first, with load_wide_table(path), or load_long_table(path) and split_windows"
    if is_table(data):
        return "load_wide_table(frame) makes rows of a table with one series a row; load_long_table reads others"
    if isinstance(data, np.ndarray | torch.Tensor):
        return "name what it holds, Dataset.from_dict({'past_values': values, 'labels': labels})"
    if isinstance(data, SeriesCollection):
        return "split_windows(collection, context_length, prediction_length).train has its windows"
    if isinstance(data, DataLoader):
        return "pass its data set, batches are made here"
    if isinstance(data, IterableDataset | datasets.IterableDataset):
        return None
    if isinstance(data, Iterator) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return "it has no length or cannot be read twice; datasets.IterableDataset.from_generator makes a stream"
    if isinstance(data, list | tuple) and data and isinstance(data[0], str | os.PathLike):
        return "load the files first and join them, with load_wide_table and datasets.concatenate_datasets"
    return None


def _named(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = f" ({str(value)[:80]!r})" if isinstance(value, str | os.PathLike) else ""
    return f"a {type(value).__module__.partition('.')[0]}.{type(value).__name__}{text}".replace("a builtins.", "a ")


__all__ = ["check_data", "check_given", "check_labels"]
