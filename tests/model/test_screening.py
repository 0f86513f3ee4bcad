# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Numbers that may be no measurements are told once, with their column and count, and changed only on request."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import pipeline

from timesclip_hf import (
    NumpyProcessor,
    TimesCLIPDataCollator,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    load_wide_table,
)
from timesclip_hf.model.screening import joined_series

SIZE: dict[str, Any] = {"context_length": 12, "patch_length": 4, "patch_stride": 2, "image_size": None}
NAMES = ["ndvi", "rain", "nir"]
RNG = np.random.default_rng(11)
SERIES = np.stack(
    [RNG.normal(0.5, 0.1, (60, 12)), RNG.gamma(0.5, 20, (60, 12)), RNG.normal(3000, 300, (60, 12))], axis=-1
)


def told(series: Any, **parameters: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TimesCLIPProcessor(**{**SIZE, "variate_names": NAMES, **parameters}).fit(series)
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("mark", [-9999.0, -999.0, 9999.0, -32768.0, 65535.0, -99.0, -12345.0])
@pytest.mark.parametrize("share", [0.01, 0.4])
def test_marks_of_missing_values_are_told_by_variate_with_their_count(mark: float, share: float) -> None:
    series = SERIES.copy()
    marked = np.random.default_rng(1).random(series[..., 0].shape) < share
    series[marked, 0] = mark
    (message,) = told(series)
    assert f"variate 'ndvi': marks? {mark:g} ({marked.sum()}x)" in message and "rain" not in message
    assert told(series, missing_values=[mark]) == told(series, missing_values={"ndvi": [mark]}) == []
    assert told(np.where(series == mark, np.nan, series)) == []


def test_columns_whose_numbers_all_repeat_have_no_marks_for_that() -> None:
    series = SERIES.copy()
    sites = np.repeat([52.5, 45.1, 48.3, 44.9, 50.0, 47.2, 49.9, 51.7, 46.0, -31.4], 72).reshape(60, 12)
    series[..., 0] = np.random.default_rng(0).permuted(sites)
    assert told(series) == []
    series[3, :2, 0] = -9999
    assert "marks? -9999 (2x)" in told(series)[0]


def test_several_kinds_in_several_chunks_are_told_in_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timesclip_hf.model.reader.ROWS_AT_ONCE", 7)
    series = SERIES.copy()
    series[5, 3:6, 0] = -9999
    series[40, 1, 0] = -9999
    series[20, 2, 1] = 1e7
    series[30:32, 4, 2] = 0
    (message,) = told(series)
    for part in ("'ndvi': marks? -9999 (4x)", "'rain': spikes? 1e+07 (1x)", "'nir': marks? 0 (2x)"):
        assert part in message


def test_targets_and_static_columns_are_looked_at_too() -> None:
    table = pd.DataFrame({f"{n}_{t:02d}": SERIES[:, t, v] for v, n in enumerate(NAMES) for t in range(12)})
    table = table.assign(depth=RNG.normal(2, 0.3, 60), y=RNG.normal(5, 1, 60))
    table.loc[3, "depth"], table.loc[[4, 9], "y"] = -999, -9999
    data = load_wide_table(table, target="y", static_columns=["depth"])
    (message,) = told(data, target_names=["yield"])
    assert "static column 'depth': marks? -999 (1x)" in message and "target 'yield': marks? -9999 (2x)" in message


@pytest.mark.parametrize(
    "series",
    [
        SERIES,
        np.exp(RNG.normal(size=(500, 12, 3)) * 2),
        RNG.poisson([0.1, 3, 40], (100, 12, 3)),
        np.where(RNG.random((200, 12, 3)) < 0.8, 0, RNG.gamma(0.5, 10, (200, 12, 3))),
        (RNG.random((100, 12, 3)) < 0.1).astype(float),
        np.full((20, 12, 3), 9999.0),
        RNG.integers(0, 256, (100, 12, 3)),
        np.arange(36.0).reshape(1, 12, 3),
        RNG.normal(0, 5000, (300, 12, 3)).round(),
    ],
)
def test_measurements_are_not_suspected(series: np.ndarray) -> None:
    assert told(series) == []


LEVELS = 10.0 ** np.arange(-2, 7)[:, None, None] * (1 + 0.1 * RNG.normal(size=(9, 200, 3)))


def test_levels_of_series_that_are_scaled_by_themselves_are_no_spikes() -> None:
    assert told(LEVELS, scaling="instance") == told(list(LEVELS), scaling="instance") == []
    assert "spikes?" in told(LEVELS)[0]


@pytest.mark.parametrize("kind", ["array", "list", "joined"])
def test_spikes_and_marks_are_found_in_their_own_series(kind: str) -> None:
    series = LEVELS.copy()
    series[2, 30, 0] = 700  # of a series around 1, and no matter beside one around 1 000 000
    series[5:8, [3, 50, 90], 1] = -999
    series[4, :3, 2] = np.nan
    given: Any = {"array": series, "list": [*series], "joined": series.reshape(1, -1, 3)}[kind]
    with joined_series(np.arange(1, 10) * 200):
        (message,) = told(given, scaling="instance")
    assert "'ndvi': spikes? 700 (1x)" in message and "'rain': marks? -999 (9x)" in message and "nir" not in message


def test_many_series_with_long_tails_and_many_zeros_are_not_suspected() -> None:
    tails = np.exp(RNG.normal(size=(1000, 50, 1)))
    sales = np.where(RNG.random((1000, 50, 1)) < 0.8, 0, RNG.poisson(5, (1000, 50, 1)))
    counts = RNG.poisson(10.0 ** RNG.uniform(0, 4, (1000, 1, 1)), (1000, 50, 1))
    series = np.concatenate([tails, sales, counts], axis=2)
    assert told(series, scaling="instance") == []


def test_what_is_declared_is_missing_at_every_door_and_saved(tmp_path: Any) -> None:
    holes = np.zeros(SERIES.shape, bool)
    holes[0, 2:5, 0] = holes[1, :6, 1] = True
    marked, gappy = np.where(holes, -77.7, SERIES), np.where(holes, np.nan, SERIES)
    plain = TimesCLIPProcessor(**SIZE, variate_names=NAMES).fit(gappy)
    declared = TimesCLIPProcessor(**SIZE, variate_names=NAMES, missing_values=[-77.7]).fit(marked)
    assert declared.statistics == plain.statistics
    declared.save_pretrained(tmp_path)
    declared = TimesCLIPProcessor.from_pretrained(tmp_path)
    expected = plain(gappy)
    for found in (
        declared(marked),
        declared(marked.astype(np.float32).astype(np.float64)),
        declared(torch.from_numpy(marked)),
        NumpyProcessor.from_pretrained(tmp_path)(marked),
        TimesCLIPDataCollator(declared)([{"past_values": one} for one in marked]),
    ):
        for name in ("patch_values", "patch_mask", "loc"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)
    labels = declared(marked[:2], labels=marked[:2, :4])["labels"]
    np.testing.assert_array_equal(np.isnan(labels.numpy()), holes[:2, :4])
    for wrong in ("-9999", [np.nan], ["x"], {"swir": [1]}, {"ndvi": 1}):
        with pytest.raises(ValueError, match="missing_values"):
            TimesCLIPProcessor(**SIZE, variate_names=NAMES, missing_values=wrong)


@pytest.fixture
def predict(tiny_config: Any) -> Any:
    processor = TimesCLIPProcessor(**SIZE, variate_names=NAMES).fit(SERIES, labels=np.arange(60.0))
    model = TimesCLIPForRegression(processor.complete_config(tiny_config("small"))).eval()
    return pipeline("time-series-regression", model=model, processor=processor)


@pytest.mark.parametrize(("factors", "names"), [([1e4, 1, 1], ["ndvi"]), ([100, 1, 1e-4], ["ndvi", "nir"])])
def test_other_units_are_told_once_a_run_by_variate_and_number_of_rows(predict: Any, factors: Any, names: Any) -> None:
    series = SERIES.copy()
    series[10:25] *= factors
    with pytest.warns(UserWarning, match="leave the range .* more than 3 times") as caught:
        predict(series, batch_size=8)
    assert len(caught) == 1 and caught[0].filename == __file__
    for name in NAMES:
        assert (f"'{name}' in 15 of 60 rows" in str(caught[0].message)) == (name in names)
    with pytest.warns(UserWarning, match=f"'{names[0]}'"):
        predict.processor(series)


def test_weather_is_not_told(predict: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(SERIES * 1.5)
        predict(SERIES + [0.3, 40, 900])
        TimesCLIPProcessor(**SIZE, scaling="instance").fit(SERIES)(SERIES * 1e4)  # whose level does not count
