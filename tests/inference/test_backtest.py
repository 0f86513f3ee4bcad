# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Rolling origins: what is forecast from what, and the figures of it."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from transformers import TimesFm2_5Config, TimesFm2_5ModelForPrediction

from timesclip_hf import TimesCLIPForecaster
from timesclip_hf.inference.backtest import Backtest

QUICK: dict[str, Any] = {"epochs": 1, "config": {"projection_dim": 8}}
LENGTHS: dict[str, Any] = {"horizon": 4, "context_length": 14}


def noisy_frame(steps: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for k, name in enumerate("ab"):
        y = 10.0**k * (5 + np.sin(np.arange(steps + k) * 2 * np.pi / 7) + 0.2 * rng.normal(size=steps + k))
        parts.append(pd.DataFrame({"unique_id": name, "ds": pd.date_range("2024-01-01", periods=len(y)), "y": y}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def backtest() -> Backtest:
    return TimesCLIPForecaster(**QUICK).cross_validation(
        noisy_frame(), windows=3, step=2, peers=["DLinear"], **LENGTHS
    )


def test_windows_end_with_the_series_and_lie_a_step_apart(backtest: Backtest) -> None:
    frame = backtest.frame()
    rows = frame[frame["unique_id"] == "a"]
    assert rows["cutoff"].drop_duplicates().dt.day_of_year.tolist() == [52, 54, 56]
    assert rows["ds"].iloc[-1] == pd.Timestamp("2024-01-01") + pd.Timedelta(59, "D")
    known = noisy_frame().merge(frame, on=["unique_id", "ds"], suffixes=("", "_told"))
    assert len(frame) == len(known) == 2 * 3 * 4 and (known["y"] == known["y_told"]).all()
    assert list(frame.columns) == ["unique_id", "ds", "cutoff", "y", "TimesCLIP", "seasonal naive", "DLinear"]


def test_the_baseline_repeats_the_season_before_the_cutoff(backtest: Backtest) -> None:
    frame, table = backtest.frame(), noisy_frame().set_index(["unique_id", "ds"])["y"]
    before = [
        table[name, day - pd.Timedelta(7, "D")] for name, day in zip(frame["unique_id"], frame["ds"], strict=True)
    ]
    np.testing.assert_allclose(frame["seasonal naive"], before)


@pytest.mark.parametrize("refit", [False, True])
def test_nothing_behind_an_origin_moves_a_forecast_from_it(refit: bool) -> None:
    frame = noisy_frame()
    changed = frame.copy()
    late = frame.groupby("unique_id").cumcount(ascending=False) < 6  # behind the second of three origins
    changed.loc[late, "y"] = changed.loc[late, "y"] * 50 - 1000
    told = []
    for table in (frame, changed):
        peers = [] if refit else ["RLinear"]
        options: dict[str, Any] = {"windows": 3, "step": 2, "refit": refit, "peers": peers, **LENGTHS}
        told.append(TimesCLIPForecaster(**QUICK).cross_validation(table, **options).frame())
    models = ["TimesCLIP", "seasonal naive", *peers]
    first = told[0]["cutoff"] <= told[0].groupby("unique_id")["cutoff"].transform(lambda c: c.unique()[1])
    assert first.sum() == 16
    pd.testing.assert_frame_equal(told[0].loc[first, models], told[1].loc[first, models])
    assert not told[0].loc[~first, models].equals(told[1].loc[~first, models])


def test_figures_follow_from_the_frame(backtest: Backtest) -> None:
    frame, table = backtest.frame(), backtest.table()
    series = {name: rows["y"].to_numpy() for name, rows in noisy_frame().groupby("unique_id")}
    away = (frame["DLinear"] - frame["y"]).abs()
    units = []
    for name, cutoff in zip(frame["unique_id"], frame["cutoff"], strict=True):
        past = series[name][: (cutoff - pd.Timestamp("2024-01-01")).days + 1]
        units.append(np.abs(past[7:] - past[:-7]).mean())
    assert table.loc["DLinear", "mase"] == pytest.approx((away / units).mean())
    size = frame["DLinear"].abs() + frame["y"].abs()
    assert table.loc["DLinear", "smape"] == pytest.approx((200 * away / size).mean())
    assert table.loc["seasonal naive", ["skill", "win_rate"]].tolist() == [0.0, 0.5]
    for what, count in (("series", 2), ("step", 4), ("window", 3)):
        parts = backtest.by(what).loc["DLinear"]
        assert len(parts) == count and parts["mase"].mean() == pytest.approx(table.loc["DLinear", "mase"])


def test_quantiles_are_measured_beside_points(backtest: Backtest) -> None:
    levels = [0.05, 0.5, 0.95]
    told = TimesCLIPForecaster(**QUICK).cross_validation(noisy_frame(), windows=2, quantile_levels=levels, **LENGTHS)
    table, frame = told.table(), told.frame()
    inside = frame["y"].between(frame["TimesCLIP-lo-90"], frame["TimesCLIP-hi-90"])
    assert table.loc["TimesCLIP", "coverage_90"] == pytest.approx(inside.mean())
    losses = [
        np.maximum(q * (frame["y"] - frame[name]), (q - 1) * (frame["y"] - frame[name])).sum()
        for q, name in zip(levels, ["TimesCLIP-lo-90", "TimesCLIP-median", "TimesCLIP-hi-90"], strict=True)
    ]
    assert table.loc["TimesCLIP", "wql"] == pytest.approx(2 * np.mean(losses) / frame["y"].abs().sum())
    assert 0 < table.loc["seasonal naive", "wql"] < 1
    # As wide as the changes from week to week, and by the square root of two wider in the second week.
    name, cutoff = "a", frame["cutoff"].min()
    past = noisy_frame().query("unique_id == @name and ds <= @cutoff")["y"].to_numpy()
    spread = np.sqrt(((past[7:] - past[:-7]) ** 2).mean())
    row = frame[(frame["unique_id"] == name) & (frame["cutoff"] == cutoff)].iloc[0]
    assert row["seasonal naive-hi-90"] - row["seasonal naive"] == pytest.approx(1.6448536 * spread)


def test_a_failure_is_counted_and_answered_by_the_baseline(backtest: Backtest) -> None:
    answers = dict(backtest.answers)
    broken = answers["DLinear"].forecasts.copy()
    broken[0, 1] = np.nan
    answers["broken"] = type(answers["DLinear"])(broken)
    other = Backtest(**{**vars(backtest), "answers": answers})
    table = other.table()
    assert table["failures"].tolist() == [0, 0, 0, 1] and np.isfinite(table.loc["broken", "mase"])
    np.testing.assert_array_equal(other.forecasts("broken")[0], other.forecasts("seasonal naive")[0])


def test_a_frame_of_polars_comes_back_as_one_and_one_picture_is_drawn(backtest: Backtest) -> None:
    other = Backtest(**{**vars(backtest), "like": pl.from_pandas(noisy_frame())})
    assert isinstance(other.frame(), pl.DataFrame) and len(other.frame()) == 24
    assert len(backtest.plot("b").axes) == 2
    with pytest.raises(ValueError, match="no windows of series 'z'"):
        backtest.plot("z")


def test_too_short_series_and_unknown_words_are_named() -> None:
    forecaster = TimesCLIPForecaster(**QUICK)
    with pytest.raises(ValueError, match="20 windows of 4 steps, 4 apart, need series of 84 steps"):
        forecaster.cross_validation(noisy_frame(), windows=20, **LENGTHS)
    with pytest.raises(ValueError, match="peers: unknown.*Prophet"):
        forecaster.cross_validation(noisy_frame(), peers=["Prophet"], **LENGTHS)
    with pytest.raises(TypeError, match="takes no 'origins'"):
        forecaster.cross_validation(noisy_frame(), origins=3)


def test_a_pretrained_forecaster_is_a_peer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8, "horizon_length": 16}
    lengths = {"patch_length": 8, "context_length": 64, "output_quantile_len": 16}
    config = TimesFm2_5Config(**sizes, **lengths, num_attention_heads=2, num_key_value_heads=2)
    model = TimesFm2_5ModelForPrediction(config).eval()
    model.save_pretrained(tmp_path / "timesfm")
    peers, levels = [str(tmp_path / "timesfm")], [0.1, 0.5, 0.9]
    told = TimesCLIPForecaster(**QUICK).cross_validation(
        noisy_frame(), windows=2, peers=peers, quantile_levels=levels, **LENGTHS
    )
    history = torch.from_numpy(noisy_frame().query("unique_id == 'b'")["y"].to_numpy()[:-8].copy()).float()
    with torch.no_grad():
        alone = model(past_values=[history], truncate_negative=False)
    answer = told.answers[peers[0]]
    np.testing.assert_allclose(answer.forecasts[1, :, 0], alone.mean_predictions[0, :4], rtol=1e-4)
    fan = alone.full_predictions[0, :4, 1:][:, [0, 4, 8]]
    np.testing.assert_allclose(answer.quantiles[1, :, 0], fan, rtol=1e-4)  # type: ignore[index]
    assert np.isfinite(told.table().loc[peers[0], "wql"])


def test_chronos_is_a_peer_through_its_own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipeline:  # what chronos-forecasting has of it: repeats the last value, and as much again for each level
        @classmethod
        def from_pretrained(cls, name: str) -> "Pipeline":
            assert name == str(tmp_path)
            return cls()

        def predict_quantiles(self, inputs: Any, prediction_length: int, quantile_levels: list[float]) -> Any:
            last = [one[-1].repeat(1, prediction_length) for one in inputs]
            return [one[..., None] * torch.tensor(quantile_levels) for one in last], last

    (tmp_path / "config.json").write_text('{"architectures": ["Chronos2Model"], "chronos_config": {}}')
    asked: dict[str, Any] = {"windows": 2, "peers": [str(tmp_path)], "quantile_levels": [0.1, 0.5, 0.9], **LENGTHS}
    monkeypatch.setitem(sys.modules, "chronos", None)
    with pytest.raises(ImportError, match="pip install chronos-forecasting"):
        TimesCLIPForecaster(**QUICK).cross_validation(noisy_frame(), **asked)
    monkeypatch.setitem(sys.modules, "chronos", SimpleNamespace(BaseChronosPipeline=Pipeline))
    answer = TimesCLIPForecaster(**QUICK).cross_validation(noisy_frame(), **asked).answers[str(tmp_path)]
    last = noisy_frame().query("unique_id == 'a'")["y"].to_numpy()[-9]
    np.testing.assert_allclose(answer.forecasts[0, :, 0], last, rtol=1e-6)
    np.testing.assert_allclose(answer.quantiles[0, 0, 0], last * np.array([0.1, 0.5, 0.9]), rtol=1e-6)  # type: ignore[index]


def test_nothing_behind_an_origin_moves_a_forecast_with_covariates_from_it() -> None:
    frame = noisy_frame().assign(sun=lambda rows: np.cos(np.arange(len(rows))), rain=lambda rows: rows["y"] ** 0.5)
    changed = frame.copy()
    late = frame.groupby("unique_id").cumcount(ascending=False) < 6  # behind the second of three origins
    changed.loc[late, ["y", "rain"]] = changed.loc[late, ["y", "rain"]] * 50 - 1000
    changed.loc[frame.groupby("unique_id").cumcount(ascending=False) < 2, "sun"] = 77.0  # behind its horizon
    told = []
    for table in (frame, changed):
        asked: dict[str, Any] = {"future_covariates": ["sun"], "past_covariates": ["rain"], "calendar": "auto"}
        asked |= {"windows": 3, "step": 2, "quantile_levels": [0.1, 0.5, 0.9], **LENGTHS}
        found = TimesCLIPForecaster(**QUICK).cross_validation(table, **asked)
        told.append({name: found.answers[name].quantiles[found.origins < 2] for name in found.answers})  # type: ignore[index]
    for name in told[0]:
        np.testing.assert_allclose(told[0][name], told[1][name], rtol=1e-9)  # sums over all series round


def test_a_season_that_repeats_itself_but_for_rounding_is_no_unit() -> None:
    frame = noisy_frame().assign(y=lambda table: np.sin(table.groupby("unique_id").cumcount() * 2 * np.pi / 7))
    backtest = TimesCLIPForecaster(**QUICK).cross_validation(frame, windows=1, **LENGTHS)
    assert np.isnan(backtest.units).all() and np.isnan(backtest.table()["mase"]).all()


def test_a_series_too_short_to_learn_from_is_measured_in_its_own_spread() -> None:
    frame = noisy_frame()
    short = frame.head(12).assign(unique_id="short", y=lambda table: 1e6 * table["y"])
    backtest = TimesCLIPForecaster(**QUICK).cross_validation(pd.concat([frame, short]), windows=2, **LENGTHS)
    known = short["y"].iloc[:4]  # before the first origin, too few to learn from
    row = np.flatnonzero(backtest.windows.series == backtest.windows.panel.ids.tolist().index("short"))
    np.testing.assert_allclose(backtest.spreads[row, 0], known.std(ddof=0))


def test_what_the_last_fit_was_told_holds_unless_it_is_said_anew(tmp_path: Path) -> None:
    frame = noisy_frame().assign(other=lambda table: table["y"] * 0 + np.arange(len(table)) % 7)
    fitted = TimesCLIPForecaster(**QUICK).fit(frame, target="other", quantile_levels=[0.05, 0.95], seed=3, **LENGTHS)
    assert fitted.cross_validation(frame, windows=1, freq="D").tables.roles.targets == ["other"]
    fitted.save(tmp_path)
    loaded = TimesCLIPForecaster.load(tmp_path, **QUICK).cross_validation(frame, windows=1)
    core = loaded.core
    assert (core.horizon, core.context_length, core.levels, core.seed) == (4, 14, (0.05, 0.95), 3)
