# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Series to lazily cut windows."""

import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from series_samples import collection_of, counting_series, expect_error
from torch.utils.data import DataLoader

from timesclip_hf.data.collator import TimesCLIPDataCollator
from timesclip_hf.data.long import SeriesCollection
from timesclip_hf.data.splits import split_windows
from timesclip_hf.data.windows import ForecastWindows
from timesclip_hf.model.processing_timesclip import TimesCLIPProcessor

# --- windows ----------------------------------------------------------------------------------------------------


def test_windows_are_cut_in_order_as_views():
    series = counting_series(6, variates=2)
    windows = ForecastWindows([series], context_length=3, prediction_length=2)
    assert len(windows) == 2
    np.testing.assert_array_equal(windows[1]["past_values"], np.array([[1, 1.1], [2, 2.1], [3, 3.1]], np.float32))
    np.testing.assert_array_equal(windows[1]["labels"], np.array([[4, 4.1], [5, 5.1]], np.float32))
    assert np.shares_memory(windows[0]["past_values"], series) and np.shares_memory(windows[0]["labels"], series)
    assert repr(windows) == "ForecastWindows(2 windows of 3 -> 2 steps, 2 variates, 1 series, stride 1)"


def test_a_stride_skips_windows():
    windows = ForecastWindows([counting_series(10)], 3, 2, stride=2)
    assert [int(window["past_values"][0, 0]) for window in windows] == [0, 2, 4]


def test_windows_run_through_all_series_and_know_their_own():
    windows = ForecastWindows(
        [counting_series(5), counting_series(3), counting_series(6, start=100)],
        3,
        1,
        timestamps=[np.arange(5), np.arange(3), np.arange(6) * 10],
    )
    # 2 windows, none, 3 windows
    assert [windows.series_index(k) for k in range(len(windows))] == [0, 0, 2, 2, 2]
    assert [int(window["past_values"][0, 0]) for window in windows] == [0, 1, 100, 101, 102]
    assert windows.timestamps(3).tolist() == [10, 20, 30, 40]
    assert ForecastWindows([counting_series(5)], 3, 1).timestamps(0) is None


def test_indices_count_from_the_end_and_end_somewhere():
    windows = ForecastWindows([counting_series(6)], 3, 2)
    np.testing.assert_array_equal(windows[-1]["labels"], windows[1]["labels"])
    np.testing.assert_array_equal(windows[np.int64(1)]["labels"], windows[1]["labels"])
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"window {index} of 2 windows"):
            windows[index]
    assert len(windows.__getitems__([0, 1, 0])) == 3
    copied = pickle.loads(pickle.dumps(windows))
    np.testing.assert_array_equal(copied[1]["past_values"], windows[1]["past_values"])


def test_windows_without_a_context_value_or_without_any_label_are_left_out():
    series = counting_series(9, variates=2)
    series[0:3, 1] = np.nan  # the context of window 0 has nothing of variate 1
    series[7:9] = np.nan  # the labels of window 4 are all missing
    series[5, 0] = np.nan  # a single missing label or context value is fine
    windows = ForecastWindows([series], 3, 2)
    assert [int(window["past_values"][0, 0]) for window in windows] == [1, 2, 3]
    assert windows.series_index(2) == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_are_those_that_a_plain_loop_finds(data):
    context, horizon, stride = (data.draw(st.integers(1, 4)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    arrays = []
    for _ in range(data.draw(st.integers(1, 3))):
        values = rng.normal(size=(data.draw(st.integers(1, 15)), 2)).astype(np.float32)
        values[rng.random(values.shape) < data.draw(st.sampled_from([0.0, 0.3, 0.7]))] = np.nan
        arrays.append(values)
    expected = []
    for k, values in enumerate(arrays):
        for start in range(0, len(values) - context - horizon + 1, stride):
            past, labels = values[start : start + context], values[start + context : start + context + horizon]
            if np.isfinite(past).any(axis=0).all() and np.isfinite(labels).any():
                expected.append((k, past, labels))
    windows = ForecastWindows(arrays, context, horizon, stride)
    assert len(windows) == len(expected)
    for index, (k, past, labels) in enumerate(expected):
        assert windows.series_index(index) == k
        np.testing.assert_array_equal(windows[index]["past_values"], past)
        np.testing.assert_array_equal(windows[index]["labels"], labels)


def test_head_keeps_the_first_share_of_the_steps():
    windows = ForecastWindows([counting_series(100), counting_series(20)], 6, 4)
    few = windows.head(0.29)  # 29 steps: 20 windows; 5 steps: none
    assert len(few) == 20 and len(few.series) == 1 and few.series[0].shape == (29, 1)
    assert np.shares_memory(few.series[0], windows.series[0])
    assert len(windows.head(1.0)) == len(windows)
    with expect_error("first 0.05 of the steps (5 at most) holds no window of 6 + 4 = 10 steps"):
        windows.head(0.05)
    for fraction in (0.0, 1.5, True):
        with expect_error("expected a number above 0 and up to 1"):
            windows.head(fraction)


def test_lengths_below_one_raise():
    for lengths in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1.5, 1, 1)):
        with expect_error("expected a whole number of steps, 1 or more"):
            ForecastWindows([counting_series(5)], *lengths)


def test_an_index_must_be_a_whole_number() -> None:
    windows = ForecastWindows([np.zeros((20, 1), np.float32)], 4, 2)
    for index in (1.7, slice(3)):
        with pytest.raises(TypeError):
            windows[index]


# --- loading ----------------------------------------------------------------------------------------------------


def text_processor(context_length):
    return TimesCLIPProcessor(
        context_length=context_length, patch_length=16, patch_stride=8, scaling="instance", image_size=None
    )


def test_windows_go_through_a_data_loader_with_workers_into_batches():
    values = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    windows = ForecastWindows([values], 32, 8)
    loader = DataLoader(windows, batch_size=20, num_workers=2, collate_fn=TimesCLIPDataCollator(text_processor(32)))
    batches = list(loader)
    assert sum(len(batch["labels"]) for batch in batches) == len(windows) == 51
    labels = torch.cat([batch["labels"] for batch in batches])
    np.testing.assert_array_equal(labels[17], values[49:57])
    # instance scaling takes nothing from the labels: they stay in the units of the series
    np.testing.assert_allclose(batches[0]["loc"][5], values[5:37].mean(axis=0), atol=1e-5)


def test_twenty_thousand_windows_cost_the_series_and_one_batch():
    context, horizon, batch_size, variates = 96, 96, 64, 8
    collection = collection_of(np.random.default_rng(0).normal(size=(28_845, variates)).astype(np.float32))
    processor = text_processor(context)
    options = {"context_length": context, "prediction_length": horizon}
    one_batch = batch_size * (context + horizon) * variates * 4

    def run():
        windows = split_windows(collection, **options).train
        loader = DataLoader(windows, batch_size=batch_size, shuffle=False, collate_fn=TimesCLIPDataCollator(processor))
        return len(windows), sum(len(batch["labels"]) for batch in loader)

    collate = TimesCLIPDataCollator(processor)
    rows = [split_windows(collection, **options).train[k] for k in range(batch_size)]
    tracemalloc.start()
    try:
        collate(rows)
        batch_cost = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        possible, seen = run()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert possible == seen == int(28_845 * 0.7) - context - horizon + 1 == 20_000
    # Beside the series: one batch in the making, and the numbers of the last one, which the loop still holds.
    # Measured: 0.88 MB, of which 0.60 are the batch; the series has 0.92, and the windows as arrays would have 123.
    assert peak <= batch_cost + one_batch


GOOD = {"values": [np.zeros((9, 2))], "variate_names": ["a", "b"], "series_names": ["s"]}


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("values", None),
        ("values", {"s": np.zeros((9, 2))}),
        ("values", "fields.csv"),
        ("series_names", "s"),
        ("variate_names", None),
        ("timestamps", 5),
    ],
)
def test_a_collection_names_the_argument_that_is_no_list(argument: str, given: Any) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be a list of"):
        SeriesCollection(**{**GOOD, argument: given})


@pytest.mark.parametrize("series", [[[0.0, 1.0]], np.full((9, 2), "a"), np.zeros((9, 2), object), "text"])
def test_a_collection_names_the_series_that_is_no_array_of_floats(series: Any) -> None:
    with pytest.raises(ValueError, match="^series 's' is .* of shape .*, expected float64"):
        SeriesCollection(**{**GOOD, "values": [series]})


@pytest.mark.parametrize("argument", ["series", "series_names", "variate_names", "timestamps"])
def test_windows_name_the_argument_that_is_no_list(argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be a list of .*, found 7"):
        ForecastWindows(**{"series": [np.zeros((9, 2))], "context_length": 3, "prediction_length": 2, argument: 7})
