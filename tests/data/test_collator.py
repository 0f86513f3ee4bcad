# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Rows of a dataset to what the processor takes."""

import numpy as np
import pytest
import torch
from small_tables import SMALL_VALUES, small_table
from torch.utils.data import DataLoader
from transformers import BatchFeature

from timesclip_hf.data.collator import TimesCLIPDataCollator
from timesclip_hf.data.wide import load_wide_table


class RecordingProcessor:
    """Keeps its arguments and returns the little that a batch needs."""

    def __call__(self, past_values, **options):
        self.past_values, self.options = past_values, options
        return BatchFeature({"patch_values": torch.zeros(len(past_values), 1)})


def collate(rows):
    processor = RecordingProcessor()
    batch = TimesCLIPDataCollator(processor)(rows)
    assert type(batch) is dict and list(batch) == ["patch_values"] and len(batch["patch_values"]) == len(rows)
    return processor


@pytest.mark.parametrize("format_type", [None, "numpy", "torch"])
def test_the_collator_hands_rows_of_a_dataset_to_the_processor(format_type):
    dataset = load_wide_table(small_table(), target="yield", static_columns=["latitude", "soil"])
    processor = collate([dataset.with_format(format_type)[i] for i in range(3)])
    np.testing.assert_array_equal(processor.past_values.astype(np.float32), SMALL_VALUES)
    if format_type is None:  # in the others the library itself makes float32 of all floats
        assert processor.past_values.dtype == np.float64
    statics = [
        {"latitude": 36.75, "soil": "loam"},
        {"latitude": 36.75, "soil": "clay"},
        {"latitude": 50.75, "soil": "loam"},
    ]
    assert processor.options["static_values"] == statics
    assert all(type(row["latitude"]) is float for row in processor.options["static_values"])
    np.testing.assert_array_equal(processor.options["labels"], [[3.5], [4.25], [8.0]])
    assert processor.options["past_observed_mask"] is None and processor.options["return_tensors"] == "pt"
    assert set(processor.options) == {"past_observed_mask", "static_values", "labels", "return_tensors", "draw"}
    assert processor.options["draw"] is True


def test_the_collator_passes_unequal_lengths_as_a_list_and_none_for_absent_columns():
    rows = [{"past_values": np.ones((n, 2)), "past_observed_mask": np.ones((n, 2), int), "site": "x"} for n in (3, 5)]
    processor = collate(rows)
    assert [series.shape for series in processor.past_values] == [(3, 2), (5, 2)]
    assert [mask.dtype for mask in processor.options["past_observed_mask"]] == [bool, bool]
    assert processor.options["static_values"] is None and processor.options["labels"] is None


def test_the_collator_reads_missing_values_in_lists_as_nan():
    processor = collate([{"past_values": [[1.0], [None], [float("nan")]]}])
    np.testing.assert_array_equal(processor.past_values, np.array([[[1.0], [np.nan], [np.nan]]], np.float32))


def test_the_collator_keeps_class_labels_whole_numbers_and_lists_of_statics():
    processor = collate([{"past_values": [[1.0]], "labels": 2, "static_values": [0.5, 1.0]}] * 2)
    np.testing.assert_array_equal(processor.options["labels"], [2, 2])
    assert np.issubdtype(processor.options["labels"].dtype, np.integer)
    assert processor.options["static_values"] == [[0.5, 1.0], [0.5, 1.0]]


def test_the_collator_says_when_the_trainer_dropped_the_columns():
    for rows in ([{"labels": [1.0]}], []):
        with pytest.raises(ValueError, match="no 'past_values' .*remove_unused_columns=False"):
            TimesCLIPDataCollator(RecordingProcessor())(rows)


def test_the_collator_wants_each_column_in_all_rows_or_in_none():
    full = {"past_values": [[1.0]], "labels": [1.0], "past_observed_mask": [[True]], "static_values": {"a": 1.0}}
    for name in full:
        rows = [full, {key: value for key, value in full.items() if key != name}]
        with pytest.raises(ValueError, match=f"1 of 2 rows have no '{name}'"):
            TimesCLIPDataCollator(RecordingProcessor())(rows)
    with pytest.raises(ValueError, match=r"different shapes: \[\(1,\), \(2,\)\]"):
        TimesCLIPDataCollator(RecordingProcessor())([full, full | {"labels": [1.0, 2.0]}])


def test_the_collator_works_in_a_data_loader_with_workers():
    dataset = load_wide_table(small_table(), target="yield")
    collator = TimesCLIPDataCollator(RecordingProcessor())
    sizes = [len(batch["patch_values"]) for batch in DataLoader(dataset, 2, collate_fn=collator, num_workers=1)]
    assert sizes == [2, 1]
