# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The peers that stand beside TimesCLIP in a forecasting table.

Every peer is a function `(splits, seed, settings) -> PeerForecast` with the forecasts for all test windows, in the
units of the splits: call them with `splits.standardised()`. What holds for all of them:

- they learn from the train windows only; the validation windows choose the epoch; of the test windows only
  `past_values` are read, never `labels`;
- missing inputs are filled by linear interpolation inside the window, ends held; missing labels leave the loss;
- every window of a part counts, the last short batch too.

The learnt ones share one training loop (`fit`) and differ in their model and `Recipe`.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PatchTSTConfig, PatchTSTForPrediction

from ..data.panel_windows import PanelWindows
from ..data.splits import WindowSplits
from ..data.windows import ForecastWindows
from ..model.preprocessing import fill_missing
from .forecast_peers import ets_forecast, repeat_season
from .forecast_peers import repeat_last as repeat_last_value


@dataclass(frozen=True)
class PeerSettings:
    """What the user decides for all peers alike.

    Args:
        seasonality: steps in a season (24 for hourly data with a daily cycle); 1 means none, and no seasonal naive.
        epochs: at most so many passes over the train windows; large sets end earlier (`Recipe.max_updates`).
        patience: stop after so many epochs without a better validation MSE; the learning rate halves after a third.
        loss: what the learnt peers minimise, and what chooses their epoch: `"mse"` or `"mae"`.
        device: where the learnt peers are trained.
    """

    seasonality: int = 1
    epochs: int = 60
    patience: int = 12
    loss: str = "mse"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("seasonality", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")
        if self.loss not in ("mse", "mae"):
            raise ValueError(f"loss must be mse or mae, but is {self.loss!r}")


@dataclass(frozen=True)
class PeerForecast:
    """What a peer forecast and what it cost.

    Args:
        predictions: `(n, H, V)` float32 for all test windows in their order, in the units of the splits.
        epochs: passes over the train windows, all learning rates together; 0 for peers that learn nothing.
        seconds: wall-clock time of training and forecasting together.
        validation_error: MSE over all validation windows of the epoch kept; None for peers that learn nothing.
    """

    predictions: NDArray[np.float32]
    epochs: int
    seconds: float
    validation_error: float | None = None


Peer = Callable[[WindowSplits, int, PeerSettings], PeerForecast]


@dataclass(frozen=True)
class Recipe:
    """How a learnt peer is trained.

    Args:
        learning_rates: where Adam starts; each is tried, and validation chooses.
        batch_size: windows an update.
        max_updates: passes over the train windows end after so many updates, but not before the tenth pass.
    """

    learning_rates: tuple[float, ...]
    batch_size: int
    max_updates: int


# Found on the validation parts of Exchange and ETTh1 (96 -> 96) and illness (36 -> 24), seed 0. The linear models cost
# seconds and want rates that lie far apart (DLinear: .001 on ETTh1, .03 on illness), so they search anew each time.
# PatchTST's rate lies between those tried (.0025 and .01 on illness, .001 on ETTh1) and was not searched further.
LINEAR = Recipe(learning_rates=(1e-3, 3e-3, 1e-2, 3e-2), batch_size=32, max_updates=10_000)
PATCHTST = Recipe(learning_rates=(5e-3,), batch_size=64, max_updates=2500)

DLINEAR_KERNEL = 25  # Zeng et al. 2023
EVALUATION_BATCH = 256
GRADIENT_NORM = 1.0

# Nie et al. 2023: their sizes for small data, dropout wherever they have it, the norm after the residual. Positions
# are fixed: transformers' learnt ones start at a spread of 1 and drown the patches (validation MSE .40 against .24 on
# illness, the rest alike).
PATCHTST_CONFIG: dict[str, Any] = {
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "d_model": 16,
    "ffn_dim": 128,
    "ff_dropout": 0.3,
    "path_dropout": 0.3,
    "positional_dropout": 0.3,
    "attention_dropout": 0.0,
    "head_dropout": 0.0,
    "norm_type": "batchnorm",
    "pre_norm": False,
    "positional_encoding_type": "sincos",
    "pooling_type": None,  # the head reads all patches, flattened
    "share_projection": True,
    "scaling": "std",
    "loss": "mse",
}


# --- windows --------------------------------------------------------------------------------------------------------


def past_values(windows: ForecastWindows | PanelWindows, rows: list[int]) -> Tensor:
    """Inputs of the windows `rows`, gaps filled: `(batch, T, V)` float32."""
    values = torch.from_numpy(_stacked(windows, rows, "past_values")).float()
    observed = ~torch.isnan(values)
    return values if observed.all() else fill_missing(values, observed)


def labels(windows: ForecastWindows | PanelWindows, rows: list[int]) -> Tensor:
    """Labels of the windows `rows`: `(batch, H, V)` float32, NaN where not observed."""
    return torch.from_numpy(_stacked(windows, rows, "labels")).float()


def _stacked(windows: ForecastWindows | PanelWindows, rows: list[int], name: str) -> NDArray[np.floating]:
    if isinstance(windows, PanelWindows):
        return windows.past(rows) if name == "past_values" else windows.labels(rows)
    return np.stack([windows[row][name] for row in rows])  # type: ignore[literal-required]


def batches(windows: ForecastWindows) -> Iterator[list[int]]:
    """Rows of all windows in their order, the last short batch too."""
    for start in range(0, len(windows), EVALUATION_BATCH):
        yield list(range(start, min(start + EVALUATION_BATCH, len(windows))))


def forecast_all(predict: Callable[[Tensor], Tensor], windows: ForecastWindows) -> NDArray[np.float32]:
    """`predict` on the inputs of all windows, batch by batch: `(n, H, V)`."""
    with torch.no_grad():
        return np.concatenate([predict(past_values(windows, rows)).cpu().numpy() for rows in batches(windows)])


# --- peers that learn nothing ---------------------------------------------------------------------------------------


def naive(rule: Callable[[Tensor, int], Tensor], splits: WindowSplits) -> PeerForecast:
    """Forecast all test windows by `rule(past_values (B, T, V), H) -> (B, H, V)`."""
    start = time.perf_counter()
    horizon = splits.test.prediction_length
    predictions = forecast_all(lambda past: rule(past, horizon), splits.test)
    return PeerForecast(predictions, 0, time.perf_counter() - start)


def repeat_last(splits: WindowSplits, seed: int, settings: PeerSettings) -> PeerForecast:
    """Repeat the last value of each variate."""
    return naive(repeat_last_value, splits)


def window_mean(splits: WindowSplits, seed: int, settings: PeerSettings) -> PeerForecast:
    """Repeat the mean of each variate over the window."""
    return naive(lambda past, horizon: past.mean(dim=1, keepdim=True).repeat(1, horizon, 1), splits)


def seasonal_naive(splits: WindowSplits, seed: int, settings: PeerSettings) -> PeerForecast:
    """Repeat the last full season of each variate.

    Raises:
        ValueError: the season is longer than the window, or a single step.
    """
    season, context = settings.seasonality, splits.test.context_length
    if not 2 <= season <= context:
        raise ValueError(
            f"seasonal naive repeats a season of 2 to {context} steps (the context length), but seasonality is "
            f"{season}: leave it out (peers_for does) or lengthen the context"
        )
    return naive(lambda past, horizon: repeat_season(past, horizon, season), splits)


# --- peers that learn -----------------------------------------------------------------------------------------------


class DLinear(nn.Module):
    """Trend and remainder, each forecast by one linear layer that all variates share (Zeng et al. 2023).

    Args:
        context_length: steps in.
        prediction_length: steps out.
    """

    def __init__(self, context_length: int, prediction_length: int) -> None:
        super().__init__()
        self.trend = nn.Linear(context_length, prediction_length)
        self.remainder = nn.Linear(context_length, prediction_length)

    def forward(self, past_values: Tensor) -> Tensor:
        """Map `(B, T, V)` to `(B, H, V)`."""
        series = past_values.transpose(1, 2)  # (B, V, T)
        ends = (DLINEAR_KERNEL - 1) // 2
        trend = F.avg_pool1d(F.pad(series, (ends, ends), mode="replicate"), DLINEAR_KERNEL, stride=1)
        return (self.trend(trend) + self.remainder(series - trend)).transpose(1, 2)


class RLinear(nn.Module):
    """One linear layer that all variates share, between standardising each window and undoing it (Li et al. 2023).

    Args:
        context_length: steps in.
        prediction_length: steps out.
    """

    def __init__(self, context_length: int, prediction_length: int) -> None:
        super().__init__()
        self.linear = nn.Linear(context_length, prediction_length)

    def forward(self, past_values: Tensor) -> Tensor:
        """Map `(B, T, V)` to `(B, H, V)`."""
        mean = past_values.mean(dim=1, keepdim=True)
        std = past_values.std(dim=1, keepdim=True, correction=0).clamp(min=1e-5)
        scaled = (past_values - mean) / std
        return self.linear(scaled.transpose(1, 2)).transpose(1, 2) * std + mean


class PatchTST(nn.Module):
    """transformers' `PatchTSTForPrediction` with the sizes that its authors give for small data (Nie et al. 2023).

    The authors repeat the last value for one stride before they cut patches; transformers does not, so it is done
    here, and the repeated steps are masked out of the window's mean and spread.

    Args:
        context_length: steps in.
        prediction_length: steps out.
        num_variates: number of variates; all share all weights.
    """

    def __init__(self, context_length: int, prediction_length: int, num_variates: int) -> None:
        super().__init__()
        patch_length, self.stride = patch_sizes(context_length)
        config = PatchTSTConfig(
            num_input_channels=num_variates,
            context_length=context_length + self.stride,
            prediction_length=prediction_length,
            patch_length=patch_length,
            patch_stride=self.stride,
            **PATCHTST_CONFIG,
        )
        self.model = PatchTSTForPrediction(config)

    def forward(self, past_values: Tensor) -> Tensor:
        """Map `(B, T, V)` to `(B, H, V)`."""
        ends = past_values[:, -1:].expand(-1, self.stride, -1)
        observed = torch.cat([torch.ones_like(past_values), torch.zeros_like(ends)], dim=1)
        padded = torch.cat([past_values, ends], dim=1)
        return self.model(past_values=padded, past_observed_mask=observed).prediction_outputs


def patch_sizes(context_length: int) -> tuple[int, int]:
    """Patch length and stride: the authors' 16 and 8, their 24 and 2 for short windows, less for the shortest."""
    if context_length >= 48:
        return 16, 8
    length = 24 if context_length >= 32 else max(context_length // 2, 1)
    return length, min(length, 2)


def total_error(predictions: Tensor, targets: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    """Sum of the squared or absolute errors where the target is observed, and the number of those places."""
    observed = ~torch.isnan(targets)
    errors = torch.where(observed, targets, predictions) - predictions
    return (errors.abs() if loss == "mae" else errors.square()).sum(), observed.sum()


def validation_error(model: nn.Module, windows: ForecastWindows, settings: PeerSettings) -> float:
    """Mean of `settings.loss` over every observed label of all windows."""
    device = torch.device(settings.device)
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for rows in batches(windows):
            predictions = model(past_values(windows, rows).to(device))
            error, observed = total_error(predictions, labels(windows, rows).to(device), settings.loss)
            total, count = total + error.item(), count + int(observed)
    return total / max(count, 1)


@dataclass
class Fit:
    """A trained model with the weights of its best epoch, that epoch's validation MSE, and how many epochs it took."""

    model: nn.Module
    validation_error: float
    epochs: int


def fit(model: nn.Module, learning_rate: float, recipe: Recipe, splits: WindowSplits, settings: PeerSettings) -> Fit:
    """Train `model` on the train windows and give it back with the weights that were best on validation."""
    device = torch.device(settings.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=settings.patience // 3)
    updates = -(-len(splits.train) // recipe.batch_size)
    max_epochs = min(settings.epochs, max(10, recipe.max_updates // updates))
    best_score, best_epoch, best_weights = float("inf"), 0, copy.deepcopy(model.state_dict())
    for epoch in range(1, max_epochs + 1):
        model.train()
        for order in torch.randperm(len(splits.train)).split(recipe.batch_size):
            rows = order.tolist()
            predictions = model(past_values(splits.train, rows).to(device))
            error, observed = total_error(predictions, labels(splits.train, rows).to(device), settings.loss)
            optimizer.zero_grad()
            (error / observed.clamp(min=1)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
        score = validation_error(model, splits.validation, settings)
        schedule.step(score)
        if score < best_score:
            best_score, best_epoch, best_weights = score, epoch, copy.deepcopy(model.state_dict())
        if epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(best_weights)
    return Fit(model, best_score, epoch)


def learnt(
    build: Callable[[], nn.Module], recipe: Recipe, splits: WindowSplits, seed: int, settings: PeerSettings
) -> PeerForecast:
    """Train a model, choose learning rate and epoch on validation, and forecast the test windows.

    Args:
        build: makes the model, `(B, T, V)` to `(B, H, V)`.
        recipe: how it is trained.
        splits: the windows, standardised.
        seed: of the weights, the order of windows and the dropout, the same for each learning rate.
        settings: epochs, patience and device.

    Raises:
        ValueError: a part holds no window.
    """
    empty = [name for name in ("train", "validation", "test") if not len(getattr(splits, name))]
    if empty:
        raise ValueError(f"{' and '.join(empty)} hold no window: a learnt peer needs all three parts")
    start = time.perf_counter()
    fits = []
    for learning_rate in recipe.learning_rates:
        torch.manual_seed(seed)
        fits.append(fit(build().to(settings.device), learning_rate, recipe, splits, settings))
    best = min(fits, key=lambda candidate: candidate.validation_error)
    best.model.eval()
    predictions = forecast_all(lambda past: best.model(past.to(settings.device)), splits.test)
    epochs = sum(candidate.epochs for candidate in fits)
    return PeerForecast(predictions, epochs, time.perf_counter() - start, best.validation_error)


def dlinear(splits: WindowSplits, seed: int, settings: PeerSettings) -> PeerForecast:
    """DLinear, trained on the train windows."""
    train = splits.train
    return learnt(lambda: DLinear(train.context_length, train.prediction_length), LINEAR, splits, seed, settings)


def rlinear(splits: WindowSplits, seed: int, settings: PeerSettings) -> PeerForecast:
    """RLinear, trained on the train windows."""
    train = splits.train
    return learnt(lambda: RLinear(train.context_length, train.prediction_length), LINEAR, splits, seed, settings)


def patchtst(splits: WindowSplits, seed: int, settings: PeerSettings) -> PeerForecast:
    """PatchTST, trained on the train windows."""
    train = splits.train
    variates = train[0]["past_values"].shape[1]
    return learnt(
        lambda: PatchTST(train.context_length, train.prediction_length, variates), PATCHTST, splits, seed, settings
    )


PEERS: dict[str, Peer] = {
    "repeat last": repeat_last,
    "window mean": window_mean,
    "seasonal naive": seasonal_naive,
    "DLinear": dlinear,
    "RLinear": rlinear,
    "PatchTST": patchtst,
}


def auto_ets(splits: WindowSplits, seed: int, settings: PeerSettings) -> PeerForecast:
    """AutoETS of statsforecast, fitted anew on each test window and variate; a failure repeats the last value."""
    start, windows = time.perf_counter(), splits.test
    horizon = windows.prediction_length

    def forecast(past: Tensor) -> Tensor:
        found = repeat_last_value(past, horizon).clone()
        for row, series in enumerate(past.double().numpy()):
            for k, history in enumerate(series.T):
                told, _ = ets_forecast(history, horizon, settings.seasonality)
                if np.isfinite(told).all():
                    found[row, :, k] = torch.from_numpy(told)
        return found

    return PeerForecast(forecast_all(forecast, windows), 0, time.perf_counter() - start)


# Peers that are asked only by name: they take minutes to hours on a long table of windows.
ON_REQUEST: dict[str, Peer] = {"AutoETS": auto_ets}


def peers_for(context_length: int, settings: PeerSettings) -> dict[str, Peer]:
    """The peers that apply: seasonal naive only with a season of two steps or more that fits in the window."""
    seasonal = 2 <= settings.seasonality <= context_length
    return {name: peer for name, peer in PEERS.items() if seasonal or name != "seasonal naive"}
