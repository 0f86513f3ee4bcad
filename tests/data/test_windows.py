# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Series to lazily cut windows, and splits by time."""

import dataclasses
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from series_samples import collection_of, counting_series, expect_error, public_file
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from timesclip_hf.data.data import (
    ForecastWindows,
    SeriesCollection,
    TimesCLIPDataCollator,
    load_long_table,
    load_series_rows,
    split_windows,
)
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


# --- splits -----------------------------------------------------------------------------------------------------


def first_forecasts(part):
    return [int(window["labels"][0, 0]) for window in part]


def test_parts_meet_at_their_borders():
    splits = split_windows(collection_of(counting_series(20)), context_length=3, prediction_length=2)
    # 14 training steps, 2 validation, 4 test; every part's first forecast starts at its border.
    assert splits.train.series[0].ravel().tolist() == list(range(14))
    assert first_forecasts(splits.train) == list(range(3, 13))
    assert first_forecasts(splits.validation) == [14]
    assert first_forecasts(splits.test) == [16, 17, 18]
    assert splits.test.series[0].ravel().tolist() == list(range(13, 20))


def test_counts_follow_each_other_from_the_start():
    splits = split_windows(
        collection_of(counting_series(30)), context_length=3, prediction_length=2, train=10, validation=4, test=5
    )
    assert first_forecasts(splits.train)[-1] == 8
    assert first_forecasts(splits.validation) == [10, 11, 12]
    assert first_forecasts(splits.test) == [14, 15, 16, 17]


@pytest.mark.parametrize(("validation", "test"), [(4, 5), (0.2, 0.25)])
def test_without_a_train_share_parts_are_counted_from_the_end(validation, test):
    splits = split_windows(
        collection_of(counting_series(20)),
        context_length=3,
        prediction_length=2,
        train=None,
        validation=validation,
        test=test,
    )
    assert len(splits.train.series[0]) == 11
    assert first_forecasts(splits.validation) == [11, 12, 13]
    assert first_forecasts(splits.test) == [15, 16, 17, 18]


def test_fractions_below_one_leave_the_end_unused():
    splits = split_windows(
        collection_of(counting_series(100)),
        context_length=3,
        prediction_length=2,
        train=0.5,
        validation=0.125,
        test=0.25,
    )
    assert splits.test.series[0][-1, 0] == 50 + 12 + 25 - 1


def test_only_training_windows_are_strided_unless_asked():
    options = {"context_length": 3, "prediction_length": 2}
    splits = split_windows(collection_of(counting_series(20)), stride=3, **options)
    assert first_forecasts(splits.train) == [3, 6, 9, 12] and first_forecasts(splits.test) == [16, 17, 18]
    assert first_forecasts(split_windows(collection_of(counting_series(20)), evaluation_stride=2, **options).test) == [
        16,
        18,
    ]


def test_the_standardised_windows_equal_sklearns_scaler_fitted_on_train():
    values = np.random.default_rng(0).normal(50, 9, size=(200, 3)).astype(np.float32)
    values[3, 1] = np.nan
    values[:, 2] = 0.1  # constant
    splits = split_windows(collection_of(values), context_length=8, prediction_length=4)
    scaler = StandardScaler().fit(values[:140].astype(np.float64))
    np.testing.assert_allclose(splits.mean[0], scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(splits.std[0], scaler.scale_, rtol=1e-12)
    scaled = splits.standardised()
    np.testing.assert_allclose(scaled.test.series[0], scaler.transform(values[152:]), atol=1e-6)
    assert len(scaled.test) == len(splits.test) and scaled.mean[0].tolist() == [0, 0, 0]
    assert scaled.std[0].tolist() == [1, 1, 1]
    assert np.isclose(splits.test.series[0], values[152:]).all()


def test_the_future_changes_no_training_window_and_no_statistic():
    values = np.random.default_rng(1).normal(size=(100, 2)).astype(np.float32)
    shuffled = values.copy()
    shuffled[70:] = shuffled[70:][np.random.default_rng(2).permutation(30)] * 100
    options = {"context_length": 8, "prediction_length": 4}
    first, second = (split_windows(collection_of(one), **options) for one in (values, shuffled))
    np.testing.assert_array_equal(first.mean[0], second.mean[0])
    np.testing.assert_array_equal(first.std[0], second.std[0])
    for a, b in zip(first.standardised().train, second.standardised().train, strict=True):
        np.testing.assert_array_equal(a["past_values"], b["past_values"])
        np.testing.assert_array_equal(a["labels"], b["labels"])


def test_series_of_a_collection_are_split_and_scaled_each_by_itself():
    splits = split_windows(
        collection_of(counting_series(20), counting_series(30, start=1000)), context_length=3, prediction_length=2
    )
    assert [len(series) for series in splits.train.series] == [14, 21]
    assert [mean.tolist() for mean in splits.mean] == [[6.5], [1010.0]]


def test_short_series_are_named_or_left_out_with_a_warning():
    collection = collection_of(counting_series(40), counting_series(9), names=["long", "brief"])
    options = {"context_length": 5, "prediction_length": 3, "train": None, "validation": 3, "test": 3}
    with expect_error("1 of 2 series", "series 'brief' (9 steps): train has 3 steps, but one window needs 5 + 3 = 8"):
        split_windows(collection, **options)
    with pytest.warns(UserWarning, match="1 of 2 series left out: series 'brief'"):
        splits = split_windows(collection, drop_short=True, **options)
    assert splits.train.series_names == ["long"] and len(splits.mean) == 1
    with expect_error("1 of 1 series"):
        split_windows(collection_of(counting_series(9)), drop_short=True, **options)


def test_parts_that_are_too_short_or_unobserved_say_what_they_need():
    with expect_error("validation has 2 steps, but one window needs 3", "test has 2 steps"):
        split_windows(
            collection_of(counting_series(30)), context_length=5, prediction_length=3, train=20, validation=2, test=2
        )
    with expect_error("the parts need 20 + 20 + 2 = 42 steps"):
        split_windows(
            collection_of(counting_series(30)), context_length=5, prediction_length=1, train=20, validation=20, test=2
        )
    blind = counting_series(40)
    blind[20:] = np.nan
    with expect_error("too few observed values in validation and test"):
        split_windows(collection_of(blind), context_length=5, prediction_length=3)


@pytest.mark.parametrize(
    "shares",
    [
        {"train": 0.7, "validation": 10, "test": 0.2},
        {"train": 0.8, "validation": 0.2, "test": 0.2},
        {"train": None, "validation": 0.5, "test": 0.5},
        {"train": 10, "validation": 0, "test": 5},
        {"train": 0.9, "validation": 0.0, "test": 0.1},
        {"train": 10, "validation": 5, "test": None},
        {"train": True, "validation": 5, "test": 5},
    ],
)
def test_shares_that_make_no_sense_raise(shares):
    with pytest.raises(ValueError, match="fractions|expected a whole number of steps|only train may be None"):
        split_windows(collection_of(counting_series(30)), context_length=2, prediction_length=1, **shares)


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


# --- public data ------------------------------------------------------------------------------------------------

ETTH1_BORDERS = {"train": 8640, "validation": 2880, "test": 2880}


def load_public(name):
    if name == "exchange_rate.txt.gz":
        return load_long_table(public_file(name), header=False)
    return load_long_table(public_file(name), timestamp_column="date")


# Windows of a part: its steps - horizon + 1; train, which borrows no context: its steps - context - horizon + 1.
# Exchange: int(7588 * .7) = 5311, int(7588 * .2) = 1517, and 760 between; illness: 676, 193 and 97 of 966.
@pytest.mark.parametrize(
    ("name", "context", "horizon", "borders", "expected"),
    [
        ("ETTh1.csv", 96, 96, ETTH1_BORDERS, (8449, 2785, 2785)),
        ("ETTh1.csv", 96, 192, ETTH1_BORDERS, (8353, 2689, 2689)),
        ("exchange_rate.txt.gz", 96, 96, {}, (5120, 665, 1422)),
        ("exchange_rate.txt.gz", 96, 192, {}, (5024, 569, 1326)),
        ("national_illness.csv", 36, 24, {}, (617, 74, 170)),
        ("national_illness.csv", 36, 60, {}, (581, 38, 134)),
    ],
)
def test_published_settings_have_the_published_number_of_windows(name, context, horizon, borders, expected):
    splits = split_windows(load_public(name), context_length=context, prediction_length=horizon, **borders)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == expected


def errors_of(windows, forecast):
    differences = np.stack([forecast(window["past_values"]) - window["labels"] for window in windows]).astype(float)
    return np.mean(differences**2), np.mean(np.abs(differences))


# Figures stated with the protocol for these data, before this code was written.
@pytest.mark.parametrize(("horizon", "expected"), [(96, (0.081, 0.196)), (192, (0.167, 0.289))])
def test_repeating_the_last_value_on_exchange_has_the_published_errors(horizon, expected):
    splits = split_windows(load_public("exchange_rate.txt.gz"), context_length=96, prediction_length=horizon)
    assert errors_of(splits.standardised().test, lambda past: past[-1:]) == pytest.approx(expected, abs=5e-4)


def test_the_seasonal_forecast_on_etth1_has_the_published_errors():
    splits = split_windows(load_public("ETTh1.csv"), context_length=96, prediction_length=96, **ETTH1_BORDERS)
    errors = errors_of(splits.standardised().test, lambda past: np.tile(past[-24:], (4, 1)))
    assert errors == pytest.approx((0.512, 0.433), abs=5e-4)


def test_m4_weekly_series_are_extended_by_their_test_file_and_split_from_the_end():
    train = load_series_rows(public_file("M4-Weekly-train.csv"))
    test = load_series_rows(public_file("M4-Weekly-test.csv"))
    collection = train.extended(test)
    assert len(collection) == 359
    steps = [len(values) for values in train.values]
    assert (min(steps), max(steps), sum(steps)) == (80, 2597, 366_912)
    splits = split_windows(collection, context_length=26, prediction_length=13, train=None, validation=13, test=13)
    # of n + 13 steps the last 26 are held back, and n - 13 steps hold n - 13 - 26 - 13 + 1 windows
    assert len(splits.train) == 366_912 - 51 * 359
    assert len(splits.validation) == len(splits.test) == 359
    for k in (0, 200, 358):
        np.testing.assert_array_equal(splits.test[k]["labels"], test.values[k])
        np.testing.assert_array_equal(splits.test[k]["past_values"], train.values[k][-26:])


def test_few_shot_splits_of_unequal_series_are_standardised_by_their_own_series() -> None:
    rng = np.random.default_rng(0)
    values = [(level + rng.normal(size=(steps, 1))).astype(np.float32) for level, steps in ((5, 60), (900, 200))]
    collection = SeriesCollection(values, ["x"], ["short", "long"])
    splits = split_windows(collection, context_length=8, prediction_length=4, train=0.6, validation=0.2, test=0.2)
    few = dataclasses.replace(splits, train=splits.train.head(0.3))
    assert few.train.series_names == ["long"]
    standardised = few.standardised()
    assert abs(standardised.train.series[0].mean()) < 1  # and not (900 - 5) away from it
    assert len(standardised.test.series) == 2


def test_an_index_must_be_a_whole_number() -> None:
    windows = ForecastWindows([np.zeros((20, 1), np.float32)], 4, 2)
    for index in (1.7, slice(3)):
        with pytest.raises(TypeError):
            windows[index]
