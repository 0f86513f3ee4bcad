# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Somebody's own series as a pool: standardised by variate, cut where long, one variate of a sample at a time."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from timesclip_hf import load_long_table, load_wide_table
from timesclip_hf.data.long import SeriesCollection
from timesclip_hf.training.pretraining_series import pool_of_series


def fields(count: int = 10, steps: int = 12, variates: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([5, -100][:variates], [1, 40][:variates], (count, steps, variates))


def test_each_variate_is_standardised_by_all_of_its_values() -> None:
    values = fields()
    values[3, 4:6, 1] = np.nan
    pool = pool_of_series(values)
    mean, spread = np.nanmean(values, axis=(0, 1)), np.nanstd(values, axis=(0, 1))
    expected = ((values - mean) / spread).transpose(0, 2, 1).reshape(20, 12)
    np.testing.assert_allclose(pool.values, expected, rtol=1e-5)
    assert pool.bounds.tolist() == list(range(0, 21, 2)) and "10 series of 2 variates" in pool.words


def test_a_batch_has_one_variate_of_each_sample_and_all_come_in_time() -> None:
    pool = pool_of_series(fields())
    samples = np.array([7, 2, 9])
    seen = [pool.rows(samples, 0, step) for step in range(40)]
    assert all((rows // 2 == samples).all() for rows in seen)
    assert {row for rows in seen for row in rows.tolist()} == {4, 5, 14, 15, 18, 19}
    np.testing.assert_array_equal(seen[3], pool.rows(samples, 0, 3))


def test_series_of_any_lengths_and_blank_variates() -> None:
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(length, 2)) for length in range(20, 32)]
    series[4][:, 1] = np.nan  # one variate of this sample is gone, another sample whole
    series[5][3:] = np.nan
    pool = pool_of_series(series)
    assert pool.num_samples == 11 and len(pool.values) == 21 and "1 with hardly a value are left out" in pool.words
    assert pool.lengths[:2].tolist() == [20, 20] and np.isnan(pool.values[0, 20:]).all()


@pytest.mark.parametrize(("steps", "length", "count"), [(512, 512, 1), (70_000, 512, 273), (20_000, 128, 312)])
def test_long_series_are_cut_into_windows_that_overlap_by_half(steps: int, length: int, count: int) -> None:
    line = np.random.default_rng(0).normal(size=(steps, 1))
    if count < 8:
        with pytest.raises(ValueError, match="8 at least are needed"):
            pool_of_series(line[None, :60])
        return
    pool = pool_of_series([line])
    assert pool.num_samples == count and set(pool.lengths) == {length}
    np.testing.assert_array_equal(pool.values[0, length // 2 :], pool.values[1, : length // 2])
    scaled = ((line - line.mean()) / line.std())[-length:, 0]  # the newest steps are in a window, too
    np.testing.assert_allclose(pool.values[-1], scaled, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "starts"), [(512, [0]), (768, [0, 256]), (769, [0, 256, 257]), (1000, [0, 256, 488])]
)
def test_the_last_window_ends_with_its_series_and_none_comes_twice(steps: int, starts: list[int]) -> None:
    lines = np.random.default_rng(0).normal(size=(256, steps, 1))
    pool = pool_of_series(lines)
    assert pool.num_samples == 256 * len(starts)
    scaled = (lines[0, :, 0] - lines.mean()) / lines.std()
    for start, row in zip(starts, pool.values, strict=False):
        np.testing.assert_allclose(row, scaled[start : start + 512], rtol=1e-4, atol=1e-5)


def test_the_newest_steps_of_a_long_series_are_in_a_window() -> None:
    line = np.random.default_rng(0).normal(size=(20_050, 1))
    pool = pool_of_series([line])
    newest = pool.values[-1, : pool.lengths[-1]] * line.std() + line.mean()
    np.testing.assert_allclose(newest, line[-pool.lengths[-1] :, 0], rtol=1e-4, atol=1e-5)


def test_infinite_values_are_refused() -> None:
    values = fields()
    values[3, 2, 1] = np.inf
    with pytest.raises(ValueError, match="series has infinite values in sample 3, variate 1"):
        pool_of_series(values)


def test_tables_are_read_as_elsewhere() -> None:
    values = fields(9, 10)
    columns = {f"{name}_{step:02d}": values[:, step, k] for k, name in enumerate(("a", "b")) for step in range(10)}
    wide = pool_of_series(load_wide_table(pd.DataFrame(columns), target=None))
    np.testing.assert_allclose(wide.values, pool_of_series(values).values, rtol=1e-5)
    times = pd.date_range("2024-01-01", periods=10, freq="D")
    long = pd.concat([pd.DataFrame({"t": times, "s": k, "a": v[:, 0], "b": v[:, 1]}) for k, v in enumerate(values)])
    pool = pool_of_series(load_long_table(long, timestamp_column="t", series_column="s"))
    np.testing.assert_allclose(pool.values, wide.values, rtol=1e-5)


def test_a_variate_that_is_never_read_is_named() -> None:
    series = fields()
    series[:, :, 1] = 7
    assert pool_of_series(series).words.endswith("never read, since constant or hardly there: variate 1")
    named = SeriesCollection(list(series), ["ndvi", "soil"], [str(number) for number in range(len(series))])
    assert pool_of_series(named).words.endswith(": soil") and pool_of_series(named).num_samples == 10
    assert "never read" not in pool_of_series(fields()).words


def test_what_is_masked_or_was_not_observed_is_missing() -> None:
    series, hidden = fields(), np.zeros((10, 12, 2), bool)
    hidden[3, 4:6, 1] = True
    blank = pool_of_series(np.where(hidden, np.nan, series))
    masked = pool_of_series(list(np.ma.masked_array(series, hidden)))
    rows = [{"past_values": one, "past_observed_mask": ~mask} for one, mask in zip(series, hidden, strict=True)]
    assert blank.fingerprint == masked.fingerprint == pool_of_series(rows).fingerprint
    assert blank.fingerprint != pool_of_series(series).fingerprint


@pytest.mark.parametrize("table", [pd.DataFrame({"a_0": [1.0], "a_1": [2.0]}), "mine.parquet"])
def test_tables_are_to_be_read_first(table: Any) -> None:
    with pytest.raises(ValueError, match="given as a table .*load_wide_table.*timesclip pretrain"):
        pool_of_series(table)


def test_the_fingerprint_tells_series_apart() -> None:
    first, again, other = (pool_of_series(fields(seed=seed)).fingerprint for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (np.zeros((20, 12, 2)), "0 of 20 series can be read"),
        (fields(3), "3 of 3 series can be read, 8 at least"),
        ([], "0 of 0 series"),
        ([np.zeros((9, 2)), np.zeros((9, 3))], r"all with the same variates, found \[\(2,\), \(3,\)\]"),
        ([np.zeros(9)] * 9, r"shape \(steps, variates\).*of one variate: \[one\[:, None\] for one in series\]"),
    ],
)
def test_series_that_cannot_be_told_apart_are_refused(series: Any, message: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        warnings.simplefilter("error")
        pool_of_series(series)
