# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The forecasting peers: what the naive ones say, what the learnt ones can learn, and what none of them may read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from timesclip_hf.data.splits import WindowSplits
from timesclip_hf.data.windows import ForecastWindows
from timesclip_hf.training import window_peers
from timesclip_hf.training.window_peers import (
    PEERS,
    DLinear,
    PatchTST,
    PeerSettings,
    Recipe,
    RLinear,
    patch_sizes,
    peers_for,
    total_error,
)

CONTEXT, HORIZON = 8, 3
LEARNT = ("DLinear", "RLinear", "PatchTST")


def splits_of(parts: list[list[np.ndarray]], context: int = CONTEXT, horizon: int = HORIZON) -> WindowSplits:
    """Splits over given series, taken as standardised already."""
    train, validation, test = (
        ForecastWindows([series.astype(np.float32) for series in part], context, horizon) for part in parts
    )
    variates = parts[0][0].shape[1]
    count = len(parts[0])
    return WindowSplits(train, validation, test, mean=[np.zeros(variates)] * count, std=[np.ones(variates)] * count)


def noise_splits(steps: int = 40, variates: int = 2, series: int = 1) -> WindowSplits:
    generator = np.random.default_rng(0)
    return splits_of([[generator.normal(size=(steps, variates)) for _ in range(series)] for _ in range(3)])


class HiddenLabels:
    """Test windows whose labels are all NaN."""

    def __init__(self, windows: ForecastWindows) -> None:
        self.windows = windows
        self.context_length, self.prediction_length = windows.context_length, windows.prediction_length

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        window = self.windows[index]
        return {"past_values": window["past_values"], "labels": np.full_like(window["labels"], np.nan)}


@pytest.fixture
def ramp() -> WindowSplits:
    """One test window per part: variate 0 is 1..8, variate 1 is 10 x (1, 2, 3, 1, 2, 3, 1, 2)."""
    past = np.stack([np.arange(1, 9), 10 * np.array([1, 2, 3, 1, 2, 3, 1, 2])], axis=1).astype(float)
    return splits_of([[np.concatenate([past, np.zeros((4, 2))])[: CONTEXT + 4]]] * 3, horizon=4)


def test_repeat_last_says_the_last_value_at_every_step(ramp: WindowSplits) -> None:
    forecast = PEERS["repeat last"](ramp, 0, PeerSettings())
    assert forecast.predictions.tolist() == [[[8.0, 20.0]] * 4] and forecast.epochs == 0


def test_window_mean_says_the_mean_of_the_window_at_every_step(ramp: WindowSplits) -> None:
    assert PEERS["window mean"](ramp, 0, PeerSettings()).predictions.tolist() == [[[4.5, 18.75]] * 4]


def test_seasonal_naive_goes_on_with_the_last_full_season(ramp: WindowSplits) -> None:
    predictions = PEERS["seasonal naive"](ramp, 0, PeerSettings(seasonality=3)).predictions
    assert predictions.tolist() == [[[6.0, 30.0], [7.0, 10.0], [8.0, 20.0], [6.0, 30.0]]]


def test_gaps_in_the_window_are_bridged_by_straight_lines_and_ends_are_held() -> None:
    past = np.array([np.nan, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0, np.nan])[:, None]
    splits = splits_of([[np.concatenate([past, np.ones((HORIZON, 1))])]] * 3)
    assert PEERS["repeat last"](splits, 0, PeerSettings()).predictions[0, :, 0].tolist() == [7.0] * 3
    assert PEERS["window mean"](splits, 0, PeerSettings()).predictions[0, 0, 0] == np.mean([2, 2, 3, 4, 5, 6, 7, 7])


@pytest.mark.parametrize(("seasonality", "present"), [(1, False), (2, True), (8, True), (9, False)])
def test_seasonal_naive_is_a_peer_only_where_a_season_fits_in_the_window(seasonality: int, present: bool) -> None:
    settings = PeerSettings(seasonality=seasonality)
    assert ("seasonal naive" in peers_for(CONTEXT, settings)) == present
    if not present:
        with pytest.raises(ValueError, match=f"seasonality is {seasonality}"):
            PEERS["seasonal naive"](noise_splits(), 0, settings)


@pytest.mark.parametrize("name", ["DLinear", "RLinear"])
def test_linear_peers_learn_a_linear_recurrence_to_near_zero_error(name: str) -> None:
    # A sine of period 16 obeys x[t] = 2 cos(2 pi / 16) x[t-1] - x[t-2]; a whole period in the window has mean 0 and a
    # fixed spread, so that standardising the window keeps the map linear.
    steps = np.arange(120.0)
    series = np.stack([np.sin(2 * np.pi * steps / 16), np.cos(2 * np.pi * steps / 16)], axis=1)
    splits = splits_of([[series]] * 3, context=16, horizon=4)
    forecast = PEERS[name](splits, 0, PeerSettings(epochs=60, patience=60))
    truth = np.stack([splits.test[row]["labels"] for row in range(len(splits.test))])
    assert np.square(forecast.predictions - truth).mean() < 1e-3 * truth.var()


@pytest.mark.parametrize("build", [lambda: RLinear(8, 3), lambda: PatchTST(8, 3, 2).eval()])
def test_forecasts_follow_a_shifted_and_scaled_window(build: Any) -> None:
    torch.manual_seed(0)
    model, past = build(), 3.0 * torch.randn(5, 8, 2)
    with torch.no_grad():
        torch.testing.assert_close(model(100.0 + 7.0 * past), 100.0 + 7.0 * model(past), rtol=1e-4, atol=1e-2)


def test_dlinear_with_layers_that_average_says_the_mean_of_trend_plus_remainder() -> None:
    model, past = DLinear(30, 2), torch.randn(4, 30, 3)
    with torch.no_grad():
        for layer in (model.trend, model.remainder):
            layer.weight.fill_(1 / 30)
            layer.bias.zero_()
        expected = past.mean(dim=1, keepdim=True).expand(-1, 2, -1)  # trend + remainder is the series itself
        torch.testing.assert_close(model(past), expected)


def test_dlinears_trend_is_a_moving_average_over_held_ends() -> None:
    model, past = DLinear(30, 30), torch.randn(1, 30, 1)
    with torch.no_grad():
        model.trend.weight.copy_(torch.eye(30))
        model.trend.bias.zero_()
        model.remainder.weight.zero_()
        model.remainder.bias.zero_()
        found = model(past)[0, :, 0].numpy()
    held = np.pad(past[0, :, 0].numpy(), 12, mode="edge")
    np.testing.assert_allclose(found, np.convolve(held, np.full(25, 1 / 25), mode="valid"), atol=1e-5)


@pytest.mark.parametrize(
    ("context", "sizes"), [(96, (16, 8)), (48, (16, 8)), (36, (24, 2)), (26, (13, 2)), (2, (1, 1))]
)
def test_patches_fit_any_context(context: int, sizes: tuple[int, int]) -> None:
    assert patch_sizes(context) == sizes
    assert PatchTST(context, 4, 1).eval()(torch.randn(3, context, 1)).shape == (3, 4, 1)


def test_patchtst_reads_the_last_value_once_more_for_a_stride() -> None:
    # Nie et al. 2023: N = (T - L) / S + 2 patches, one more than without the repeated value.
    assert PatchTST(96, 4, 1).model.model.patchifier.num_patches == (96 - 16) // 8 + 2


@pytest.mark.parametrize("name", LEARNT)
def test_the_same_seed_gives_the_same_forecast_and_another_seed_another(name: str) -> None:
    splits, settings = noise_splits(), PeerSettings(epochs=2)
    first, again, other = (PEERS[name](splits, seed, settings).predictions for seed in (0, 0, 1))
    assert first.shape == (len(splits.test), HORIZON, 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("name", list(PEERS))
def test_no_peer_reads_the_test_labels(name: str) -> None:
    splits, settings = noise_splits(), PeerSettings(epochs=2, seasonality=4)
    hidden: Any = replace(splits, test=HiddenLabels(splits.test))
    seen, unseen = (PEERS[name](each, 0, settings).predictions for each in (splits, hidden))
    np.testing.assert_array_equal(seen, unseen)


@pytest.mark.parametrize("name", list(PEERS))
def test_many_univariate_series_of_unequal_length_go_through_the_same_peers(name: str) -> None:
    generator = np.random.default_rng(0)
    train = [generator.normal(size=(steps, 1)) for steps in (20, 33, 14)]
    later = [generator.normal(size=(CONTEXT + HORIZON, 1)) for _ in train]
    forecast = PEERS[name](splits_of([train, later, later]), 0, PeerSettings(epochs=2, seasonality=4))
    assert forecast.predictions.shape == (3, HORIZON, 1)


@pytest.mark.parametrize("name", LEARNT)
def test_missing_values_do_not_reach_weights_or_forecasts(name: str) -> None:
    splits = noise_splits(60)
    for part in (splits.train, splits.validation, splits.test):
        part.series[0][::5, 0] = np.nan
    forecast = PEERS[name](splits, 0, PeerSettings(epochs=2))
    assert np.isfinite(forecast.predictions).all() and np.isfinite(forecast.validation_error or np.nan)


def test_missing_labels_leave_the_error_and_its_count() -> None:
    predictions = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    error, observed = total_error(predictions, torch.tensor([0.0, float("nan"), 5.0]), "mse")
    error.backward()
    assert (error.item(), observed.item()) == (5.0, 2)
    assert predictions.grad is not None and predictions.grad.tolist() == [2.0, 0.0, -4.0]


def test_validation_chooses_the_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    splits, settings = noise_splits(), PeerSettings(epochs=3)
    alone = {}
    for rate in (1e-6, 1e-2):
        monkeypatch.setattr(window_peers, "LINEAR", Recipe((rate,), 16, 1000))
        alone[rate] = PEERS["RLinear"](splits, 0, settings)
    monkeypatch.setattr(window_peers, "LINEAR", Recipe((1e-6, 1e-2), 16, 1000))
    both = PEERS["RLinear"](splits, 0, settings)
    best = min(alone.values(), key=lambda forecast: forecast.validation_error or np.inf)
    np.testing.assert_array_equal(both.predictions, best.predictions)


def test_a_part_without_windows_is_named() -> None:
    splits = noise_splits()
    empty = ForecastWindows([np.zeros((CONTEXT, 2), np.float32)], CONTEXT, HORIZON)
    with pytest.raises(ValueError, match="validation hold no window"):
        PEERS["DLinear"](replace(splits, validation=empty), 0, PeerSettings())
