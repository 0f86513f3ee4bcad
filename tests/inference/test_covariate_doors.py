# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Forecasters with covariates at every door: pipeline, samples, graphs, NumPy alone, the command."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from series_samples import save_covariate_forecaster
from transformers import pipeline

from timesclip_hf import NumpyProcessor, TimesCLIPForPrediction, TimesCLIPProcessor
from timesclip_hf.cli import main
from timesclip_hf.data.calendar import calendar_values
from timesclip_hf.data.covariates import CovariateRoles, load_covariate_table, read_with_covariates, with_future
from timesclip_hf.inference.export import export_program

STEPS, HORIZON = 60, 4
KEYS: dict[str, Any] = {"timestamp_column": "time", "series_column": "site"}


def make_table(steps: int = STEPS) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    times = pd.date_range("2024-01-01", periods=steps, freq="h")
    parts = [
        pd.DataFrame(
            {
                "site": site, "time": times, "load": rng.normal(50, 5, steps), "temp": rng.normal(10, 3, steps),
                "promo": np.resize(["no", "yes", "no"], steps), "wind": rng.normal(size=steps), "kind": kind,
            }
        )
        for site, kind in (("north", "a"), ("south", "b"))
    ]  # fmt: skip
    return pd.concat(parts)


def make_future() -> pd.DataFrame:
    table = make_table(STEPS + HORIZON)
    return table[table.groupby("site").cumcount() >= STEPS][["site", "time", "temp", "promo"]]


@pytest.fixture
def folder(tiny_config: Any, enlarge: Any, tmp_path: Path) -> Path:
    """A forecaster of the load that reads the temperature, a promotion, wind, the kind of site and the hour."""
    roles = CovariateRoles(["load"], ["temp", "promo"], ["wind"], ["kind"], ["hour"])
    series = load_covariate_table(make_table(), roles, **KEYS)
    shape = {"prediction_length": HORIZON, "num_target_variates": 1, "forecast_static": True,
             "covariate_memory": True, "covariate_response": "own"}  # fmt: skip
    return save_covariate_forecaster(tmp_path / "model", series, tiny_config("forecast", **shape), enlarge)


def make_batch(processor: Any, **kwargs: Any) -> dict[str, Any]:
    table, future = make_table(), make_future()
    parts = []
    for site in ("north", "south"):
        whole = pd.concat([table[table.site == site], future[future.site == site]])[-12 - HORIZON :]
        codes = (whole["promo"] == "yes").to_numpy(float)
        parts.append(np.c_[whole["temp"], codes, calendar_values(whole["time"].to_numpy(), ["hour"])])
    past = [table.loc[table.site == site, ["load", "temp", "wind"]].to_numpy()[-12:] for site in ("north", "south")]
    return dict(
        processor(
            np.stack(past), future_values=np.stack(parts), static_values=[{"kind": "a"}, {"kind": "b"}], **kwargs
        )
    )


def test_a_table_and_its_future_a_table_with_both_and_arrays_say_the_same(folder: Path) -> None:
    forecast = pipeline("time-series-forecasting", model=str(folder))
    table, future = make_table(), make_future()
    apart = forecast(table, future=future.sample(frac=1, random_state=0), **KEYS)
    assert list(apart.columns) == ["site", "time", "load"] and len(apart) == 2 * HORIZON
    assert apart["time"].tolist() == future["time"].tolist()
    behind = forecast(pd.concat([table, future]), **KEYS)
    pd.testing.assert_frame_equal(apart, behind)
    with torch.no_grad():
        said = forecast.model(**make_batch(forecast.processor)).predictions
    assert np.array_equal(apart["load"].to_numpy(np.float32), said.ravel().numpy())
    assert not np.array_equal(forecast(table, future=future.assign(temp=20.0), **KEYS)["load"], apart["load"])


def test_samples_and_collections_carry_their_covariates(folder: Path) -> None:
    forecast = pipeline("time-series-forecasting", model=str(folder))
    table, future = make_table(), make_future()
    expected = forecast(table, future=future, **KEYS)["load"].to_numpy().reshape(2, HORIZON)
    columns = forecast.processor.statistics["future"][:2]
    series = read_with_covariates(table, ["load", "temp", "wind"], columns, num_targets=1, **KEYS)
    asked = with_future(series, HORIZON, future, calendar=["hour"], **KEYS)
    samples = [
        {"past_values": values, "future_values": known, "static_values": {"kind": kind}}
        for values, known, kind in zip(asked.values, asked.future or [], "ab", strict=True)
    ]
    assert np.array_equal(np.stack([one["predictions"] for one in forecast(samples)])[..., 0], expected)
    del samples[0]["future_values"]
    with pytest.raises(ValueError, match="needs the covariates .'temp', 'promo', 'hour_sin', 'hour_cos'."):
        forecast(samples[0])
    with pytest.raises(ValueError, match="rows of covariates behind its end, expected 4"):
        forecast(series)


def test_faults_are_told(folder: Path) -> None:
    forecast = pipeline("time-series-forecasting", model=str(folder))
    table, future = make_table(), make_future()
    with pytest.raises(ValueError, match="'south' has no row for 2024-01-03 15:00"):
        forecast(table, future=future[:-1], **KEYS)
    with pytest.raises(ValueError, match="'promo' has the category 'maybe'"):
        forecast(table, future=future.assign(promo="maybe"), **KEYS)
    with pytest.raises(ValueError, match="'north' has 0 rows of temp, promo behind its last value"):
        forecast(table, **KEYS)
    with pytest.raises(ValueError, match="missing static columns"):
        forecast(table.drop(columns="kind"), future=future, **KEYS)


def test_graphs_and_numpy_alone_say_the_same(folder: Path) -> None:
    model = TimesCLIPForPrediction.from_pretrained(folder).eval()
    processor = TimesCLIPProcessor.from_pretrained(folder)
    batch = make_batch(processor)
    with torch.no_grad():
        said = model(**batch).predictions.numpy()
    names = model.answer_inputs(model.config)
    assert {"future_values", "static_values"} <= names
    program = export_program(model, processor).module()
    assert np.allclose(program(**{name: batch[name] for name in names}).detach(), said, atol=1e-5)
    alone = make_batch(NumpyProcessor.from_pretrained(folder))
    assert all(np.allclose(alone[name], batch[name], atol=1e-6) for name in names)


def test_half_precision_and_compiled_models_read_covariates(folder: Path) -> None:
    model = TimesCLIPForPrediction.from_pretrained(folder).eval()
    batch = make_batch(TimesCLIPProcessor.from_pretrained(folder))
    with torch.no_grad():
        said = model(**batch).predictions
        compiled = torch.compile(model, backend="eager", fullgraph=True)(**batch).predictions
        half = model.to(torch.bfloat16)(**batch).predictions
    assert torch.allclose(compiled, said, atol=1e-5)
    assert torch.allclose(half.float(), said.float(), rtol=0.05, atol=2.0)


def test_the_command_predicts_with_a_file_of_the_future(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    make_table().to_csv("loads.csv", index=False)
    make_future().to_csv("future.csv", index=False)
    words = ["predict", "loads.csv", "--model", str(folder), "--timestamp-column", "time", "--series-column", "site"]
    main([*words, "--future", "future.csv", "--output", "next.csv"])
    found = pd.read_csv("next.csv")
    assert found.columns.tolist() == ["site", "time", "load"] and len(found) == 2 * HORIZON
