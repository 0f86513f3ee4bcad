# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The peers that stand beside TimesCLIP in the regression table: those of `timesclip train`, and three more.

What holds for all of them stands in `timesclip_hf.training.peers`. The sizes of PatchTST are constants: they were
found once on the validation part of the crop-yield data.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import nn
from transformers import PatchTSTConfig, PatchTSTForRegression

from timesclip_hf.data.tables import check_known
from timesclip_hf.metrics import rmse
from timesclip_hf.training.peers import (
    Part,
    Peer,
    flat_features,
    gradient_boosting,
    mean_predictor,
    ridge,
    rocket,
    scaled_series,
    static_features,
)

# Climatology goes from fine to coarse: the first level that training has seen answers.
CLIMATOLOGY_LEVELS = (("site", "crop", "soil"), ("site", "crop"), ("crop", "soil"), ("crop",))

# Found on the validation part of the crop-yield data (36 steps, seed 0), where the hidden layer was worth .07 of R2.
PATCHTST_CONFIG: dict[str, Any] = {
    "patch_length": 6,
    "patch_stride": 6,
    "d_model": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 128,
    "attention_dropout": 0.1,
    "ff_dropout": 0.1,
    "head_dropout": 0.2,
    "num_targets": 128,  # width of the hidden layer that the head reads out
    "scaling": None,
    "loss": "mse",
}
PATCHTST_LEARNING_RATE = 2e-3
PATCHTST_BATCH = 64
PATCHTST_LOOKS = 25  # at validation; epochs, but for few rows
PATCHTST_PATIENCE = 10
# Up to so many rows are read in smaller batches, for as many updates as 25 epochs of all the fields make, and at a
# second rate, too: validation says which is better.
PATCHTST_FEW = 1000
PATCHTST_FEW_BATCH = 16
PATCHTST_FEW_UPDATES = 800
PATCHTST_FEW_RATE = 5e-4


def climatology_levels(groups: pd.DataFrame, named: list[str] | None) -> list[list[str]]:
    """What climatology takes means of: combinations of columns, from fine to coarse; empty where it has none.

    Args:
        groups: bookkeeping and static columns of a part.
        named: combinations that somebody asks for, `"site+crop"`; None takes those of `CLIMATOLOGY_LEVELS` that the
            table has.

    Raises:
        ValueError: a named column that is not there.
    """
    if named is None:
        return [list(level) for level in CLIMATOLOGY_LEVELS if set(level) <= set(groups.columns)]
    levels = [[name] if name in groups.columns else name.split("+") for name in named]
    check_known([name for level in levels for name in level], groups.columns, "climatology_columns: no such columns")
    return levels


def climatology(
    train: Part, validation: Part, test: Part, seed: int, levels: Sequence[Sequence[str]] | None = None
) -> np.ndarray:
    """Predict the train mean of rows alike: of the first level whose combination of values training has seen.

    What no level has seen gets the train mean. `levels`: see `climatology_levels`.
    """
    predictions = pd.Series(np.nan, index=range(len(test.labels)))
    for level in climatology_levels(train.groups, None) if levels is None else levels:
        columns = list(level)
        means = train.groups[columns].assign(mean=train.labels).groupby(columns, as_index=False)["mean"].mean()
        found = test.groups[columns].reset_index(drop=True).merge(means, how="left", on=columns)["mean"]
        predictions = predictions.fillna(found)
    return predictions.fillna(train.labels.mean()).to_numpy()


def random_forest(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Random forest of 200 trees; leaf size and columns tried per cut are chosen on validation."""
    inputs, seen, unseen = flat_features(train, train, validation, test)
    models = [
        RandomForestRegressor(
            200, min_samples_leaf=leaf, max_features=share, random_state=seed, n_jobs=torch.get_num_threads()
        ).fit(inputs, train.labels)
        for leaf, share in product((1, 3), (0.1, 0.33))
    ]
    return min(models, key=lambda model: rmse(model.predict(seen), validation.labels)).predict(unseen)


def on_features(transform: Callable[[list[np.ndarray], int], list[np.ndarray]]) -> Peer:
    """Ridge on features of the scaled series and the static columns; the penalty is chosen on validation."""

    def peer(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
        series = [np.ascontiguousarray(p.transpose(0, 2, 1)) for p in scaled_series(train, train, validation, test)]
        features, statics = transform(series, seed), static_features(train, train, validation, test)
        scaler = StandardScaler().fit(features[0])
        size = 10 / np.sqrt(features[0].shape[1])  # all features together as large as a hundred columns
        inputs, seen, unseen = (
            np.concatenate([np.nan_to_num(scaler.transform(own)) * size, static], axis=1)
            for own, static in zip(features, statics, strict=True)
        )
        models = [Ridge(alpha=penalty).fit(inputs, train.labels) for penalty in np.logspace(-2, 4, 19)]
        return min(models, key=lambda model: rmse(model.predict(seen), validation.labels)).predict(unseen)

    return peer


def catch22_features(series: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Catch22 of each variate, its mean and its spread (Lubba et al. 2019, by aeon)."""
    from aeon.transformations.collection.feature_based import Catch22  # slow to import: numba compiles

    transform = Catch22(catch24=True, replace_nans=True)
    return [np.asarray(transform.fit_transform(part.astype(np.float64))) for part in series]  # it refuses others


def minirocket_features(series: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """10 000 kernels of MiniROCKET, by aeon; no series is normalised by itself."""
    from aeon.transformations.collection.convolution_based import MiniRocket

    transform = MiniRocket(10_000, n_jobs=torch.get_num_threads(), random_state=seed).fit(series[0])
    return [np.asarray(transform.transform(part)) for part in series]


class PatchTSTWithStatic(nn.Module):
    """`PatchTSTForRegression` whose head reads out a hidden layer, to which the static columns are added.

    With one linear head, PatchTST adds up its variates and could only add the static columns to the sum; the hidden
    layer lets them interact.

    Args:
        config: what PatchTST is; `num_targets` is the width of the hidden layer.
        num_static: number of static features.
        dropout: on the hidden layer.
    """

    def __init__(self, config: PatchTSTConfig, num_static: int, dropout: float) -> None:
        super().__init__()
        self.patchtst = PatchTSTForRegression(config)
        self.static = nn.Linear(num_static, config.num_targets, bias=False)
        self.head = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(config.num_targets, 1))

    def forward(self, past_values: torch.Tensor, static: torch.Tensor) -> torch.Tensor:
        """Map `(batch, time, variates)` and `(batch, num_static)` to standardised predictions `(batch,)`."""
        hidden = self.patchtst(past_values=past_values).regression_outputs  # (B, hidden)
        return self.head(hidden + self.static(static)).squeeze(-1)


def patchtst(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """transformers' PatchTST without its own scaling, with static columns; validation chooses the epoch.

    Of few rows the rate, too.
    """
    few = len(train.labels) <= PATCHTST_FEW
    rates = (PATCHTST_LEARNING_RATE, PATCHTST_FEW_RATE) if few else (PATCHTST_LEARNING_RATE,)
    return min((_fit_patchtst(train, validation, test, seed, rate) for rate in rates), key=lambda fit: fit[0])[1]


def _fit_patchtst(train: Part, validation: Part, test: Part, seed: int, rate: float) -> tuple[float, np.ndarray]:
    """The error on validation at the best look, and the answers for test then."""
    torch.manual_seed(seed)
    series = [torch.from_numpy(part) for part in scaled_series(train, train, validation, test)]
    statics = [torch.from_numpy(part) for part in static_features(train, train, validation, test)]
    mean, std = train.labels.mean(), train.labels.std()
    targets = torch.tensor((train.labels - mean) / std, dtype=torch.float32)
    shorter = {name: min(PATCHTST_CONFIG[name], series[0].shape[1]) for name in ("patch_length", "patch_stride")}
    config = PatchTSTConfig(
        num_input_channels=series[0].shape[2], context_length=series[0].shape[1], **{**PATCHTST_CONFIG, **shorter}
    )
    model = PatchTSTWithStatic(config, statics[0].shape[1], PATCHTST_CONFIG["head_dropout"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    few = len(targets) <= PATCHTST_FEW
    batch_size = PATCHTST_FEW_BATCH if few else PATCHTST_BATCH
    steps = -(-len(targets) // batch_size)
    every = -(-PATCHTST_FEW_UPDATES // (steps * PATCHTST_LOOKS)) if few else 1  # epochs between looks
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=PATCHTST_LOOKS * every * steps, pct_start=0.1
    )

    def predict(part: int) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return model(series[part], statics[part]).numpy() * std + mean

    best: tuple[float, int, np.ndarray] = (np.inf, 0, np.empty(0))
    for look in range(PATCHTST_LOOKS):
        model.train()
        for _ in range(every):
            for rows in torch.randperm(len(targets)).split(batch_size):
                loss = nn.functional.mse_loss(model(series[0][rows], statics[0][rows]), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        error = rmse(predict(1), validation.labels)
        if error < best[0]:
            best = (error, look, predict(2))
        if look - best[1] >= PATCHTST_PATIENCE:
            break
    return best[0], best[2]


PEERS: dict[str, Peer] = {
    "mean": mean_predictor,
    "climatology": climatology,
    "ridge": ridge,
    "random forest": random_forest,
    "gradient boosting": gradient_boosting,
    "ROCKET + ridge": rocket,
    "PatchTST": patchtst,
}
# Beside these in the table of frozen towers.
FEATURE_PEERS: dict[str, Peer] = {
    "Catch22 + ridge": on_features(catch22_features),
    "MiniROCKET + ridge": on_features(minirocket_features),
}
