# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What stands for nothing is missing at every door, and what no arithmetic holds is named, never predicted from."""

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from timesclip_hf import (
    NumpyProcessor,
    TimesCLIPDataCollator,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    load_long_table,
    load_wide_table,
)
from timesclip_hf.data.long import SeriesCollection
from timesclip_hf.data.windows import ForecastWindows
from timesclip_hf.model.measured import is_fill_value, unmasked

SIZE: dict[str, Any] = {"context_length": 12, "patch_length": 4, "patch_stride": 2, "image_size": None}
NAMES = ["ndvi", "rain"]
SERIES = np.random.default_rng(5).normal(size=(6, 12, 2)) * [0.1, 30.0] + [0.5, 100.0]
HOLES = np.zeros(SERIES.shape, bool)
HOLES[0, 3:5, 1] = HOLES[1, 0] = HOLES[4, 11, 0] = True
WITH_NAN = np.where(HOLES, np.nan, SERIES)
FILLS = [9.969209968386869e36, np.float32(9.96921e36), 1e20, -1e36, -9.99e33, np.finfo(np.float32).max]
FILLS += [-np.finfo(np.float64).max, -(2.0**31), -(2.0**63)]


def fitted(**parameters: Any) -> TimesCLIPProcessor:
    return TimesCLIPProcessor(**{**SIZE, "variate_names": NAMES, **parameters}).fit(WITH_NAN)


def same(found: Any, expected: Any) -> None:
    for name in ("patch_values", "patch_mask", "variate_values", "loc", "scale"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("fill", FILLS)
def test_a_known_fill_value_is_missing_at_every_door_and_is_said_once(tmp_path: Any, fill: float) -> None:
    processor = fitted(scaling="instance")
    expected, filled = processor(WITH_NAN), np.where(HOLES, fill, SERIES)
    processor.save_pretrained(tmp_path)
    wide = pd.DataFrame({f"{n}_{t:02d}": filled[:, t, v] for v, n in enumerate(NAMES) for t in range(12)})
    wide.to_csv(tmp_path / "wide.csv", index=False)
    long = pd.concat([pd.DataFrame(one, columns=NAMES).assign(field=k) for k, one in enumerate(filled)])
    collate = TimesCLIPDataCollator(processor)
    with pytest.warns(UserWarning, match="known fill value") as said:
        same(processor(filled), expected)
        same(processor(torch.from_numpy(filled)), expected)
        same(NumpyProcessor.from_pretrained(tmp_path)(filled.tolist()), expected)
        same(processor([pd.DataFrame(one, columns=NAMES) for one in filled]), expected)
        same(collate([{"past_values": one} for one in filled]), expected)
        same(collate(list(load_wide_table(tmp_path / "wide.csv", target=None))), expected)
        collection = load_long_table(long, series_column="field")
        same(processor(collection.values), expected)
        statistics = TimesCLIPProcessor(**SIZE).fit(Dataset.from_dict({"past_values": filled.tolist()})).statistics
        for name, statistic in processor.statistics["variates"].items():
            assert statistics["variates"][name] == pytest.approx(statistic)
        arrays = SeriesCollection(list(filled), NAMES, list("abcdef"))
        np.testing.assert_array_equal(np.stack(arrays.values), WITH_NAN)
    assert {warning.filename for warning in said} == {__file__}
    np.testing.assert_array_equal(filled, np.where(HOLES, fill, SERIES))  # nobody's array was changed


def test_numbers_that_only_look_large_are_measurements() -> None:
    numbers = np.array([9999.0, -9999.0, 3.0e9, 2147483647.0, 9.9e19, 1.1e20, 1e19, -1e18, 4294967296.0])
    assert not is_fill_value(numbers).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(scaling="instance")(SERIES * 3e9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_masked_arrays_keep_their_mask_at_every_door(tmp_path: Any, dtype: Any) -> None:
    whole = np.round(SERIES * 50).astype(dtype)
    gappy = np.where(HOLES, np.nan, whole)
    processor = fitted(scaling="instance")
    processor.save_pretrained(tmp_path)
    masked = np.ma.MaskedArray(np.where(HOLES, 77, whole).astype(dtype), HOLES)
    expected = processor(gappy)
    rows = [{"past_values": masked[k]} for k in range(6)]
    for found in (
        processor(masked),
        processor(list(masked)),
        processor([list(one) for one in masked]),
        NumpyProcessor.from_pretrained(tmp_path)(masked),
        processor([pd.DataFrame({name: one[:, v] for v, name in enumerate(NAMES)}) for one in masked]),
        TimesCLIPDataCollator(processor)(rows),
        TimesCLIPDataCollator(processor)([{"past_values": list(row["past_values"])} for row in rows]),
        processor(SeriesCollection([one.astype(np.float64) for one in masked], NAMES, list("abcdef")).values),
    ):
        same(found, expected)
    assert fitted().fit(masked).statistics == fitted().fit(gappy).statistics
    unequal = [masked[0], masked[1, 4:]]
    same(processor(unequal), processor([gappy[0], gappy[1, 4:]]))
    seen = np.ma.MaskedArray(np.ones(SERIES.shape, bool), HOLES)
    same(processor(whole, past_observed_mask=seen), expected)
    same(
        TimesCLIPDataCollator(processor)([{"past_values": whole[0], "past_observed_mask": seen[0]}]),
        processor(gappy[:1]),
    )


def test_masked_labels_and_static_values_are_missing() -> None:
    labels = np.ma.MaskedArray(np.ones((6, 4, 2)), HOLES[:, :4])
    found = fitted(scaling="instance")(SERIES, labels=labels)["labels"]
    np.testing.assert_array_equal(np.isnan(found), HOLES[:, :4])
    with pytest.raises(ValueError, match="labels must be finite numbers .*row 2"):
        fitted().fit(SERIES, labels=np.ma.MaskedArray(np.ones(6), [0, 0, 1, 0, 0, 0]))
    static = np.ma.MaskedArray(np.ones((6, 1)), np.arange(6)[:, None] == 3)
    with pytest.raises(ValueError, match="missing cells"):
        fitted().fit(SERIES, static_values=static)
    assert unmasked([[1, 2], [3]]) == [[1, 2], [3]]


@pytest.mark.parametrize("scaling", ["dataset", "instance", "none"])
@pytest.mark.parametrize("value", [1e25, -7e21, 1e200, 5e38])
def test_a_value_that_can_be_no_measurement_is_named(tmp_path: Any, scaling: str, value: float) -> None:
    processor = fitted(scaling=scaling)
    processor.save_pretrained(tmp_path)
    series = SERIES.copy()
    series[2, 7, 1] = value
    message = rf"past_values has {value:g}.* in sample 2, variate 'rain'".replace("+", r"\+")
    for call in (processor, NumpyProcessor.from_pretrained(tmp_path)):
        with pytest.raises(ValueError, match=message):
            call(series)
    same(processor(series, past_observed_mask=series == SERIES), processor(np.where(series == SERIES, SERIES, np.nan)))
    with pytest.raises(ValueError, match=message):
        TimesCLIPDataCollator(processor)([{"past_values": one} for one in series])


def test_whole_series_of_large_numbers_are_measurements() -> None:
    for level in (1e19, 4e25):  # number densities, say
        batch = fitted(scaling="instance")(SERIES[:1] * level)
        assert all(torch.isfinite(tensor).all() for tensor in batch.values())


def test_what_is_fitted_can_always_be_loaded(tmp_path: Any) -> None:
    for value in (1e200, -1e39):
        series = np.tile(SERIES, (400, 1, 1))
        series[2001, 3, 0] = value
        with pytest.raises(ValueError, match="past_values has .* in sample 2001, variate 'ndvi'"):
            fitted().fit(series)
        with pytest.raises(ValueError, match="labels must be finite numbers .*row 1"):
            fitted().fit(SERIES, labels=[1.0, value, 2.0, 3.0, 4.0, 5.0])
        with pytest.raises(ValueError, match="'depth' has infinite values, or some beyond"):
            fitted().fit(SERIES, static_values=[{"depth": value}, *[{"depth": 1.0}] * 5])
    for value in (1e25, 3e38, 1e-300, 5e-324):
        series = SERIES.copy()
        series[3, 3, 0] = value
        processor = fitted().fit(series, labels=series[:, 3, 0], static_values=[{"depth": x} for x in series[:, 3, 0]])
        processor.save_pretrained(tmp_path)
        json.loads((tmp_path / "processor_config.json").read_text(), parse_constant=pytest.fail)
        assert TimesCLIPProcessor.from_pretrained(tmp_path).statistics == processor.statistics


def test_labels_and_static_values_that_can_be_no_measurements_are_named() -> None:
    processor = fitted().fit(SERIES, labels=np.arange(6.0), static_values=[{"depth": float(k)} for k in range(6)])
    with pytest.raises(ValueError, match="labels has infinite values in sample 1, target 0"):
        processor(SERIES[:2], labels=[1.0, np.inf])
    labels = np.ones((2, 4, 2))
    labels[1, 2, 1] = 1e60
    with pytest.raises(ValueError, match=r"labels has 1e\+60 in sample 1, variate 'rain'"):
        processor(SERIES[:2], labels=labels)
    with pytest.raises(ValueError, match="static column 'depth' has 1e.29 in row 1"):
        processor(SERIES[:2], static_values=[{"depth": 1.0}, {"depth": 1e29}])


def test_windows_without_a_measurement_are_left_out() -> None:
    series = np.ones((40, 1))
    series[10:30] = 1e20
    with pytest.warns(UserWarning, match="known fill value"):
        windows = ForecastWindows([series], 6, 2)
    assert all(np.isfinite(windows[k]["past_values"]).any() for k in range(len(windows))) and len(windows) < 33


def test_answers_that_are_not_finite_are_said(tiny_config: Any) -> None:
    processor = fitted().fit(SERIES, labels=np.arange(6.0))
    config = processor.complete_config(tiny_config("small", num_variates=2))
    model = TimesCLIPForRegression(config)
    with torch.no_grad():
        next(model.head.parameters()).fill_(float("nan"))
    predict = pipeline("time-series-regression", model=model, processor=processor)
    with pytest.warns(UserWarning, match="answers are not finite for 0, 1, 2"):
        predict(SERIES)
