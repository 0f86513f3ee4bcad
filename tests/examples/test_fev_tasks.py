# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The adapter to fev, on a window with the documented attributes of `fev.EvaluationWindow`, without fev itself."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from datasets import Dataset

sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.study.fev_tasks import forecast  # noqa: E402


def test_a_window_is_answered_series_by_series_in_the_order_of_its_past_data() -> None:
    days = pd.date_range("2024-01-01", periods=44)
    level = {"b": 100.0, "a": 1.0}
    rows = [{"id": k, "timestamp": days, "target": level[k] * (5 + np.arange(44) % 7), "promo": np.arange(44) % 2,
             "region": k.upper()} for k in level]  # fmt: skip
    lists = ("timestamp", "target", "promo")
    past = Dataset.from_list([{k: v[:40] if k in lists else v for k, v in row.items()} for row in rows])
    later = [{k: v[40:] if k in lists else v for k, v in row.items()} for row in rows]
    future = Dataset.from_list(later).remove_columns("target")
    window = SimpleNamespace(
        id_column="id", timestamp_column="timestamp", target_columns=["target"], known_dynamic_columns=["promo"],
        past_dynamic_columns=[], static_columns=["region"], horizon=4, get_input_data=lambda: (past, future),
    )  # fmt: skip
    told = forecast(window, [0.1, 0.9], epochs=1, config={"projection_dim": 8})
    assert list(told) == ["target"] and told["target"].column_names == ["predictions", "0.1", "0.9"]
    first, second = told["target"]
    assert len(first["predictions"]) == 4 and np.mean(first["predictions"]) > 20 * np.mean(second["predictions"])
    assert all(low <= high for low, high in zip(first["0.1"], first["0.9"], strict=True))
