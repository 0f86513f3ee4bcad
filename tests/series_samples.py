# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Small series and tables whose values say where they stand; shared by the tests of tables, times and windows."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from timesclip_hf import TimesCLIPForPrediction, TimesCLIPProcessor
from timesclip_hf.data.long import SeriesCollection, load_long_table

PUBLIC_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def public_file(name: str) -> Path:
    """A published series beside the repository; the test is skipped where there is none."""
    if not (PUBLIC_DATA / name).is_file():
        pytest.skip(f"the public file {name} is not there (expected in shared/data beside the repository)")
    return PUBLIC_DATA / name


def counting_series(steps: int, variates: int = 1, start: int = 0) -> np.ndarray:
    """Values that say where they are: step + variate / 10."""
    return (np.arange(start, start + steps)[:, None] + np.arange(variates) / 10).astype(np.float32)


def collection_of(*arrays: np.ndarray, names: list[str] | None = None) -> SeriesCollection:
    names = names or [f"s{k}" for k in range(len(arrays))]
    return SeriesCollection(list(arrays), [f"v{k}" for k in range(arrays[0].shape[1])], names)


def day_table(days: int = 10) -> pd.DataFrame:
    return pd.DataFrame({"day": pd.date_range("2024-01-01", periods=days), "a": np.arange(days) * 1.0, "b": 7.0})


def load_times(times: Any, **options: Any) -> SeriesCollection:
    frame = pd.DataFrame({"time": times, "a": np.arange(len(times)) * 1.0})
    return load_long_table(frame, timestamp_column="time", **options)


def expect_error(*parts: str) -> Any:
    """A `ValueError` with these parts in this order."""
    return pytest.raises(ValueError, match=".*".join(re.escape(part) for part in parts))


def save_covariate_forecaster(folder: Path, series: SeriesCollection, config: Any, enlarge: Any) -> Path:
    """A forecaster of random weights with the columns of a collection, which also reads the hour."""
    horizon = config.prediction_length
    given = {"variate_names": series.variate_names, "scaling": "instance", "calendar": ["hour"]}
    processor = TimesCLIPProcessor.from_config(config, prediction_length=horizon, **given)
    processor.fit(series.values, **series.to_fit)
    torch.manual_seed(0)
    model = enlarge(TimesCLIPForPrediction(processor.complete_config(config)))
    model.save_pretrained(folder), processor.save_pretrained(folder)
    return folder
