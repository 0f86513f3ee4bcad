# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Wrong containers in the place of series: an error that names what was given, what is wanted and how to get there."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from torch.utils.data import DataLoader, IterableDataset

from timesclip_hf import (
    NumpyProcessor,
    SeriesCollection,
    TimesCLIPDataCollator,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    split_windows,
)

SERIES = np.random.default_rng(0).normal(size=(6, 12, 3))
ROWS = [{"past_values": one.tolist(), "labels": [1.0]} for one in SERIES]
COLLECTION = SeriesCollection([np.random.default_rng(1).normal(size=(80, 3))], ["a", "b", "c"], ["s"])


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(ROWS)


# Name -> what was given, words of the advice; whether `fit` takes it.
GIVEN: dict[str, tuple[Any, str, bool]] = {
    "path": (Path("fields.csv"), "'fields.csv'.*load_wide_table", False),
    "text": ("fields.parquet", "'fields.parquet'.*load_wide_table", False),
    "generator": ((one for one in SERIES), "generator.*collect its series in a list", False),
    "iterator": (map(np.asarray, SERIES), "map.*collect its series", False),
    "torch stream": (Stream(), "Stream.*collect its series", False),
    "stream": (Dataset.from_list(ROWS).to_iterable_dataset(), "IterableDataset.*no length", False),
    "data set": (Dataset.from_list(ROWS), r"dataset\[:8\]", True),
    "splits": (DatasetDict(train=Dataset.from_list(ROWS)), "DatasetDict.*'train'.*pass one part", False),
    "dict": ({"past_values": SERIES}, "dict.*'past_values'.*pass the series alone", False),
    "rows": (ROWS, r"list.*Dataset.from_list\(rows\)", False),
    "loader": (DataLoader(ROWS, batch_size=2), "DataLoader.*its data set", False),
    "collection": (COLLECTION, "collection.values", False),
    "windows": (split_windows(COLLECTION, context_length=12, prediction_length=2), "windows.train.series", False),
    "set": ({1.0, 2.0}, "set.*expected an array", False),
    "nothing": (None, "NoneType.*expected an array", False),
    "class": (np.ndarray, "a class holds no series", False),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_what_is_no_series_is_named_by_fit_and_call(kind: str, tmp_path: Path) -> None:
    given, words, is_fitted = GIVEN[kind]
    processor = TimesCLIPProcessor(12, 4, 2, scaling="none", image_size=None)
    processor.save_pretrained(tmp_path)
    for call in (processor, NumpyProcessor.from_pretrained(tmp_path)):
        with pytest.raises(ValueError, match=f"past_values is a .*{words}"):
            call(given)
    if is_fitted:
        processor.fit(given)
    else:
        with pytest.raises(ValueError, match=f"past_values is a .*{words}"):
            processor.fit(given)


def test_what_holds_series_is_still_read() -> None:
    processor = TimesCLIPProcessor(12, 4, 2, scaling="none", image_size=None)
    frame = pd.DataFrame(SERIES[0], columns=["a", "b", "c"])
    for given in (
        SERIES,
        torch.tensor(SERIES),
        SERIES.tolist(),
        tuple(SERIES),
        frame,
        [frame, frame],
        memoryview(SERIES),
        COLLECTION.values,
        Dataset.from_list(ROWS)["past_values"],
        Dataset.from_list(ROWS)[:2]["past_values"],
    ):
        TimesCLIPProcessor(12, 4, 2).fit(given)
        processor(given)


def test_a_collator_says_what_it_wants() -> None:
    for wrong in (None, TimesCLIPProcessor, "folder"):
        with pytest.raises(ValueError, match="wanted is a fitted TimesCLIPProcessor"):
            TimesCLIPDataCollator(wrong)  # type: ignore[arg-type]
    collate = TimesCLIPDataCollator(TimesCLIPProcessor(12, 4, 2, scaling="none"))
    for rows in (pd.DataFrame({"past_values": [1.0]}), list(SERIES), ["a"]):
        with pytest.raises(ValueError, match="rows must be dicts with 'past_values'"):
            collate(rows)  # type: ignore[arg-type]


def test_a_stream_of_raw_series_needs_a_processor(tiny_config: Any, tmp_path: Path) -> None:
    model = TimesCLIPForRegression(tiny_config("small"))
    arguments = TimesCLIPTrainingArguments(str(tmp_path), report_to="none", max_steps=1, use_cpu=True)
    stream = Dataset.from_list(ROWS).to_iterable_dataset()
    with pytest.raises(ValueError, match="processing_class is missing, and train_dataset holds raw series"):
        TimesCLIPTrainer(model, arguments, train_dataset=stream)
    with pytest.raises(ValueError, match=r"eval_dataset\['far'\] is a .*load the file first"):
        TimesCLIPTrainer(model, arguments, eval_dataset={"far": "fields.csv"})
