# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The batch made with NumPy alone is the processor's own, also where there is neither torch nor transformers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from timesclip_hf import NumpyProcessor, TimesCLIPProcessor

SIZE: dict[str, Any] = {"context_length": 12, "patch_length": 4, "patch_stride": 3, "image_size": [24, 40]}


def make_series(dtype: Any = np.float64) -> np.ndarray:
    """Series of very different levels, one constant, some with gaps at the front, inside and at the end."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 15, 3)).cumsum(axis=1) * [1.0, 100.0, 1e-3] + [0.0, 1e4, 5.0]
    values[1, :, 1] = 7.0
    values[2, :4, 0] = values[2, 6:9, 2] = values[3, -3:, 1] = np.nan
    return values.astype(dtype)


def assert_same(found: dict[str, np.ndarray], expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        other = np.asarray(expected[name])
        assert array.shape == other.shape and array.dtype == other.dtype, name
        tolerance = 1 / 255 if name == "pixel_values" else 1e-6  # an edge may fall on the other 1/1024 of a pixel
        np.testing.assert_allclose(array, other, rtol=1e-6, atol=tolerance, err_msg=name)
        if name == "pixel_values":
            assert np.abs(array - other).mean() < 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value_range", ["window", "dataset"])
@pytest.mark.parametrize("padding", ["end", "none"])
@pytest.mark.parametrize("scaling", ["dataset", "instance", "none"])
def test_a_batch_is_the_same_as_the_processors(
    tmp_path: Path, scaling: str, padding: str, value_range: str, dtype: Any
) -> None:
    series = make_series(dtype)
    processor = TimesCLIPProcessor(**SIZE, scaling=scaling, padding=padding, value_range=value_range).fit(series)
    processor.save_pretrained(tmp_path)
    assert_same(NumpyProcessor.from_pretrained(tmp_path)(series), processor(series, return_tensors="np"))


def test_short_and_unequal_series_masks_and_whole_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    processor = TimesCLIPProcessor(**SIZE, scaling="instance")
    processor.save_pretrained(tmp_path)
    alone = NumpyProcessor.from_pretrained(tmp_path)
    unequal = [rng.normal(size=(length, 2)) for length in (1, 5, 12, 30)]
    assert_same(alone(unequal), processor(unequal, return_tensors="np"))
    counts = rng.integers(0, 50, size=(2, 12, 2))
    mask = rng.random(counts.shape) > 0.3
    found = alone(counts, past_observed_mask=mask)
    assert_same(found, processor(counts, past_observed_mask=mask, return_tensors="np"))
    assert_same(alone(counts[0].tolist()), processor(counts[0].tolist(), return_tensors="np"))


def test_columns_of_a_dataframe_are_found_by_name(tmp_path: Path) -> None:
    processor = TimesCLIPProcessor(**SIZE, scaling="instance", variate_names=["ndvi", "rain"])
    processor.save_pretrained(tmp_path)
    alone = NumpyProcessor.from_pretrained(tmp_path)
    table = pd.DataFrame({"rain": np.arange(12.0) * 9, "day": 1, "ndvi": np.arange(12.0) ** 0.5})
    expected = alone(table[["ndvi", "rain"]].to_numpy())
    assert_same(alone(table), expected)
    assert_same(alone([table]), expected)
    assert_same(alone([table, table[:5]]), processor([table, table[:5]], return_tensors="np"))
    with pytest.raises(ValueError, match=r"past_values lacks the columns \['rain'\]"):
        alone(table.drop(columns="rain"))


def test_static_values_and_no_images(tmp_path: Path) -> None:
    rows = [{"soil": "sand", "depth": 1.5, "year": 2020}, {"soil": "clay", "depth": 3.0, "year": 2021}]
    series = make_series()[:2]
    processor = TimesCLIPProcessor(**{**SIZE, "image_size": None}).fit(series, static_values=rows)
    processor.save_pretrained(tmp_path)
    found = NumpyProcessor.from_pretrained(tmp_path)(series, static_values=rows[::-1])
    assert_same(found, processor(series, static_values=rows[::-1], return_tensors="np"))
    assert "pixel_values" not in found and found["static_values"].shape == (2, 4)


def test_bad_input_raises(tmp_path: Path) -> None:
    processor = TimesCLIPProcessor(**SIZE, scaling="instance", num_variates=2)
    processor.save_pretrained(tmp_path)
    alone = NumpyProcessor.from_pretrained(tmp_path)
    for series, message in (
        (np.zeros(12), r"has shape \(12,\)"),
        (np.zeros((1, 12, 3)), "has 3 variates, but the processor expects 2"),
        (np.zeros((1, 2, 12)), r"has 12 variates, but the processor expects 2.*; expected \(batch, time, variates\)"),
        (np.full((1, 12, 2), np.inf), "infinite"),
        (np.full((1, 12, 2), np.nan), "nothing observed"),
        (np.zeros((1, 12, 2), dtype=complex), "complex128"),
        ([np.zeros((3, 2)), np.zeros((4, 3))], "equal variates"),
    ):
        with pytest.raises(ValueError, match=message):
            alone(series)
    unequal = [np.zeros((3, 2)), np.zeros((5, 2))]
    with pytest.raises(ValueError, match="past_observed_mask has shape"):
        alone(unequal, past_observed_mask=[np.ones((5, 2)), np.ones((3, 2))])
    with pytest.raises(ValueError, match="has no processor_config.json"):
        NumpyProcessor.from_pretrained(tmp_path / "nothing")
    settings = json.loads((tmp_path / "processor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps({**settings, "view": "gasf"}))
    with pytest.raises(ValueError, match="only view='line' can be drawn"):
        NumpyProcessor.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="are missing: .*'statistics'"):
        NumpyProcessor(context_length=12)


def test_no_library_but_numpy_is_needed(tmp_path: Path) -> None:
    series = make_series()
    processor = TimesCLIPProcessor(**SIZE).fit(series)
    processor.save_pretrained(tmp_path)
    np.save(tmp_path / "series.npy", series)
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'pandas', 'datasets', 'matplotlib', 'huggingface_hub'):\n"
        "    sys.modules[name] = None\n"  # importing it raises
        "import numpy as np, timesclip_hf\n"
        "folder = sys.argv[1]\n"
        "batch = timesclip_hf.NumpyProcessor.from_pretrained(folder)(np.load(folder + '/series.npy'))\n"
        "np.savez(folder + '/batch.npz', **batch)\n"
        "try:\n"
        "    timesclip_hf.TimesCLIPModel\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert result.stdout == "timesclip_hf.TimesCLIPModel needs torch and transformers, which are not installed here.\n"
    with np.load(tmp_path / "batch.npz") as batch:
        assert_same(dict(batch), processor(torch.from_numpy(series), return_tensors="np"))
