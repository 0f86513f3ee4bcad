# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Digits: a level may be large and its spread small, and nothing of the spread is lost on the way."""

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
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    load_long_table,
    load_wide_table,
)
from timesclip_hf.data.windows import ForecastWindows
from timesclip_hf.model.precision import costs_digits, rounding_noise, to_raw_units, to_scaled_units

SIZE: dict[str, Any] = {"context_length": 12, "patch_length": 4, "patch_stride": 2, "image_size": None}
LEVELS = [0.0, 123456789.0, -4.0e9, 1e12]
# Quarters, which stay exact in float64 up to 2^51; three variates, not constant.
MOVES = np.random.default_rng(3).integers(-40, 40, size=(20, 12, 3)) * 0.25


@pytest.fixture
def forecaster(tiny_config: Any, enlarge: Any) -> Any:
    torch.manual_seed(0)
    return enlarge(TimesCLIPForPrediction(tiny_config("forecast", prediction_length=4, error_scale="instance")))


def make_processor(**parameters: Any) -> TimesCLIPProcessor:
    return TimesCLIPProcessor(**{**SIZE, "scaling": "instance", "variate_names": ["a", "b", "c"], **parameters})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scaling", ["instance", "dataset"])
def test_what_a_model_reads_does_not_depend_on_the_level(level: float, scaling: str) -> None:
    plain, moved = (make_processor(scaling=scaling).fit(MOVES + shift) for shift in (0.0, level))
    expected, found = plain(MOVES[:3]), moved(MOVES[:3] + level)
    for name in ("patch_values", "variate_values"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6 if level < 1e12 else 3e-5)
    torch.testing.assert_close(found["loc"].double() - level, expected["loc"].double(), rtol=0, atol=2e-4)
    assert found["loc"].dtype == found["scale"].dtype == (torch.float64 if level else torch.float32)


def test_every_way_to_a_batch_keeps_the_digits(tmp_path: Any) -> None:
    series = MOVES[:3] + 987654321.0
    processor = make_processor().fit(series)
    processor.save_pretrained(tmp_path)
    expected = processor(series)
    wide = pd.DataFrame({f"{n}_{t:02d}": series[:, t, v] for v, n in enumerate("abc") for t in range(12)})
    wide.to_csv(tmp_path / "wide.csv", index=False)
    long = pd.concat([pd.DataFrame(one, columns=list("abc")).assign(field=k) for k, one in enumerate(series)])
    collection = load_long_table(long, series_column="field")
    windows = ForecastWindows(collection, 11, 1)
    collate = TimesCLIPDataCollator(processor)
    batches = {
        "list": processor(series.tolist()),
        "tensor": processor(torch.from_numpy(series)),
        "frame": processor([pd.DataFrame(one, columns=list("abc")) for one in series]),
        "collator": collate([{"past_values": one} for one in series]),
        "lists": collate([{"past_values": one.tolist()} for one in series]),
        "data set": collate(list(Dataset.from_dict({"past_values": series.tolist()}))),
        "table": collate(list(load_wide_table(tmp_path / "wide.csv", target=None))),
        "fitted on a data set": make_processor().fit(load_wide_table(wide, target=None))(series),
        "numpy": NumpyProcessor.from_pretrained(tmp_path)(series),
    }
    for way, batch in batches.items():
        for name in ("patch_values", "loc", "scale"):
            np.testing.assert_allclose(batch[name], expected[name], rtol=1e-12, atol=1e-6, err_msg=f"{way} {name}")
    np.testing.assert_array_equal(windows[0]["labels"], series[0, 11:])


@pytest.mark.parametrize("level", LEVELS)
def test_forecasts_and_losses_are_exact_to_the_spread(forecaster: Any, level: float) -> None:
    processor, labels = make_processor(), MOVES[5:8, :4]
    with torch.no_grad():
        expected = forecaster(**processor(MOVES[:3], labels=labels))
        found = forecaster(**processor(MOVES[:3] + level, labels=labels + level))
    assert expected.predictions.dtype == torch.float32
    assert found.predictions.dtype == (torch.float64 if level else torch.float32)
    spread = MOVES[:3].std()
    off = (found.predictions.double() - level - expected.predictions.double()).abs().max()
    assert off < (1e-5 if level < 1e12 else 1e-4) * spread
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=0)


def test_a_forecast_is_the_same_whatever_stands_beside_it(forecaster: Any) -> None:
    processor, mixed = make_processor(), MOVES[:2] + np.array([0.0, 1e9])[:, None, None]
    with torch.no_grad():
        alone, beside = forecaster(**processor(mixed[:1])), forecaster(**processor(mixed))
    assert beside.predictions.dtype == torch.float64
    assert torch.equal(alone.predictions[0].double(), beside.predictions[0])


def test_a_pipeline_gives_all_digits_from_a_table(forecaster: Any) -> None:
    forecast = pipeline("time-series-forecasting", model=forecaster, processor=make_processor())
    plain, moved = (pd.DataFrame(MOVES[0] + shift, columns=list("abc")) for shift in (0.0, 123456789.0))
    found = forecast(moved)[["a", "b", "c"]].to_numpy() - 123456789.0
    np.testing.assert_allclose(found, forecast(plain)[["a", "b", "c"]], atol=1e-4)
    assert (forecast(plain).dtypes[["a", "b", "c"]] == np.float32).all()


@pytest.mark.parametrize("level", LEVELS)
def test_targets_of_a_large_level_are_learnt_and_predicted_to_their_spread(
    tiny_config: Any, enlarge: Any, level: float
) -> None:
    targets = np.random.default_rng(0).integers(0, 60, size=(20, 1)) * 0.125
    answers = []
    for shift in (0.0, level):
        table = pd.DataFrame({f"{n}_{t:02d}": MOVES[:, t, v] for v, n in enumerate("abc") for t in range(12)})
        data = load_wide_table(table.assign(y=targets + shift), target="y")
        processor = make_processor(scaling="dataset").fit(data)
        torch.manual_seed(0)
        model = enlarge(TimesCLIPForRegression(processor.complete_config(tiny_config("small"))))
        with torch.no_grad():
            answers.append(model(**TimesCLIPDataCollator(processor)([data[k] for k in range(4)])))
    plain, moved = answers
    assert moved.predictions.dtype == (torch.float64 if level else torch.float32)
    off = (moved.predictions.double() - level - plain.predictions.double()).abs().max()
    assert off < 1e-4 * targets.std()
    torch.testing.assert_close(moved.loss, plain.loss, rtol=1e-4, atol=0)


def test_rounding_noise_is_that_of_the_dtype_in_which_values_came() -> None:
    steps = np.arange(12)[None, :, None]
    fine = 1e6 * (1 + 1e-9 * (steps % 2))  # two values in float64; one in float32
    _, scale = (make_processor(variate_names=None)(fine)[name] for name in ("loc", "scale"))
    assert scale.item() == pytest.approx(0.5e-3, rel=1e-6)
    noisy = np.full((1, 12, 1), 1e6, np.float32)
    noisy[:, ::2] = np.nextafter(noisy[:, ::2], np.float32(2e6))
    assert make_processor(variate_names=None)(noisy)["scale"].item() == 1
    for kind, constant in ((fine, False), (noisy, True), (np.full((9, 12, 1), 0.1), True)):
        fitted = make_processor(scaling="dataset", variate_names=None).fit(kind, labels=kind[0])
        for part in ("variates", "targets"):
            assert (fitted.statistics[part]["std"] == [1.0]) == constant
    static = [{"depth": value} for value in fine.ravel()]
    fitted = make_processor(variate_names=None).fit(fine, static_values=static)
    assert fitted.statistics["static"][0]["std"] == pytest.approx(0.5e-3, rel=1e-6)


def test_noise_of_a_large_constant_is_nothing_in_any_unit() -> None:
    noisy = np.full((3, 12, 1), 1e9, np.float32)
    noisy[:, ::2] = np.nextafter(noisy[:, ::2], np.float32(2e9))  # 64 more
    for scaling in ("instance", "dataset"):
        batch = make_processor(scaling=scaling, variate_names=None).fit(noisy)(noisy)
        assert batch["patch_values"].abs().max() == 0


def test_a_series_that_moves_by_a_millionth_of_a_millionth_is_drawn_over_its_axis() -> None:
    rising = 1e9 + np.arange(12.0)[None, :, None] * 1e-3
    for value_range in ("window", "dataset"):
        processor = TimesCLIPProcessor(**{**SIZE, "image_size": 24}, value_range=value_range).fit(rising)
        plots = processor(rising, draw=False)["plot_values"]
        np.testing.assert_allclose(plots[0, 0], np.arange(12) / 11, atol=1e-4)


def test_the_rule_by_hand() -> None:
    assert rounding_noise(np.dtype(np.float32)) == 8 * 2.0**-23 == rounding_noise(torch.float32)
    assert rounding_noise(np.dtype(np.int64)) == 8 * 2.0**-52
    assert costs_digits(-1.1e4, 1.0) and not costs_digits(0.9e4, 1.0) and not costs_digits(0.0, 1.0)
    level, spread = np.array([123456789.25, 3.0]), np.array([0.5, 2.0])
    raw = to_raw_units(np.array([1.0, 1.0], np.float32), level, spread)
    assert raw.tolist() == [123456789.75, 5.0]
    assert to_scaled_units(raw, level, spread).tolist() == [1.0, 1.0]
    assert to_scaled_units(raw, level, spread).dtype == np.float32
