# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The peers that stand beside TimesCLIP in the regression table.

Every peer is a function `(train, validation, test, seed) -> predictions for test` in the target's own units. What
holds for all of them:

- they learn from the train part only; the validation part chooses hyperparameters and the stopping point; of the test
  part only the inputs are read, for the predictions, never the labels;
- missing steps are filled by linear interpolation in time, ends held (trees see the same filled values);
- every statistic (mean, spread, categories) comes from the train part; a category that training
  never saw becomes zeros;
- all see the same static columns: strings as one-hots, numbers standardised.

Grids are small and searched anew in each call, so that a user's own table gets the same care as the default one. The
sizes of PatchTST are constants: they were found once on the validation part of the crop-yield data.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn
from transformers import PatchTSTConfig, PatchTSTForRegression

from timesclip_hf.data.tables import check_known
from timesclip_hf.metrics import rmse


@dataclass(frozen=True)
class Part:
    """One part (train, validation or test) of a split.

    Args:
        past_values: `(n, time, variates)` float; NaN means missing.
        static: `n` rows; numeric and string columns known before the season (latitude, soil, crop, irrigation).
        labels: `(n,)` target in its own units.
        groups: `n` rows of bookkeeping (site, year, crop, soil); only climatology reads it.
    """

    past_values: np.ndarray
    static: pd.DataFrame
    labels: np.ndarray
    groups: pd.DataFrame

    def __post_init__(self) -> None:
        if self.past_values.ndim != 3:
            raise ValueError(f"past_values must be (n, time, variates), but has shape {self.past_values.shape}")
        lengths = [len(self.past_values), len(self.static), len(self.labels), len(self.groups)]
        if len(set(lengths)) != 1:
            raise ValueError(f"past_values, static, labels and groups must have one row each, but have {lengths}")


Peer = Callable[[Part, Part, Part, int], np.ndarray]

# Climatology goes from fine to coarse: the first level that training has seen answers.
CLIMATOLOGY_LEVELS = (("site", "crop", "soil"), ("site", "crop"), ("crop", "soil"), ("crop",))

ROCKET_KERNELS = 2000

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
PATCHTST_EPOCHS = 25
PATCHTST_PATIENCE = 10


# --- inputs ---------------------------------------------------------------------------------------------------------


def fill_gaps(past_values: np.ndarray) -> np.ndarray:
    """Fill NaN by linear interpolation in time with the ends held; a variate never observed in a series stays NaN.

    Args:
        past_values: `(n, time, variates)`.

    Returns:
        `(n, time, variates)` float32.
    """
    length = past_values.shape[1]
    columns = past_values.transpose(1, 0, 2).reshape(length, -1)  # (T, n * V)
    filled = pd.DataFrame(columns).interpolate(limit_direction="both").to_numpy(dtype=np.float32)
    return filled.reshape(length, len(past_values), -1).transpose(1, 0, 2)


def scaled_series(train: Part, *parts: Part) -> Iterator[np.ndarray]:
    """Yield every part's gap-filled series, standardised per variate with the train part's mean and spread.

    A variate that a series never observed becomes 0, the train mean. Each array is `(n, time, variates)` float32.
    """
    observed = train.past_values.astype(np.float64)
    mean, std = np.nanmean(observed, axis=(0, 1)), np.nanstd(observed, axis=(0, 1))
    std = np.where(std > 1e-8, std, 1.0)
    for part in parts:
        yield np.nan_to_num((fill_gaps(part.past_values) - mean) / std).astype(np.float32)


def static_features(train: Part, *parts: Part) -> Iterator[np.ndarray]:
    """Yield every part's static columns as `(n, features)` float32, fitted on train.

    Numbers are standardised (missing = train mean = 0), strings become one-hots (unseen in training = all zeros).
    """
    numeric = [name for name in train.static if pd.api.types.is_numeric_dtype(train.static[name])]
    names = [name for name in train.static if name not in numeric]
    scaler = StandardScaler().fit(train.static[numeric]) if numeric else None
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    if names:
        encoder.fit(train.static[names].astype(str))
    for part in parts:
        blocks = [np.zeros((len(part.static), 0))]
        if scaler is not None:
            blocks.append(np.nan_to_num(scaler.transform(part.static[numeric])))
        if names:
            blocks.append(encoder.transform(part.static[names].astype(str)))
        yield np.concatenate(blocks, axis=1).astype(np.float32)


def flat_features(train: Part, *parts: Part) -> Iterator[np.ndarray]:
    """Yield every part's scaled series, flattened, beside its static features: `(n, time * variates + features)`."""
    for series, static in zip(scaled_series(train, *parts), static_features(train, *parts), strict=True):
        yield np.concatenate([series.reshape(len(series), -1), static], axis=1)


# --- peers ---------------------------------------------------------------------------------------------------


def mean_predictor(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Predict the train mean."""
    return np.full(len(test.labels), train.labels.mean())


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


def ridge(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Ridge on the flattened series and static columns; the penalty is chosen on validation."""
    inputs, seen, unseen = flat_features(train, train, validation, test)
    models = [Ridge(alpha=alpha).fit(inputs.astype(np.float64), train.labels) for alpha in np.logspace(-2, 4, 13)]
    return min(models, key=lambda model: rmse(model.predict(seen), validation.labels)).predict(unseen)


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


def gradient_boosting(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Histogram gradient boosting; leaves, columns tried per cut and number of trees are chosen on validation."""
    inputs, seen, unseen = flat_features(train, train, validation, test)
    best: tuple[float, int, Any] = (np.inf, 0, None)
    for leaves, share in product((8, 16), (0.1, 0.3)):
        model = HistGradientBoostingRegressor(
            learning_rate=0.05,
            max_iter=600,
            max_leaf_nodes=leaves,
            max_features=share,
            early_stopping=False,
            random_state=seed,
        ).fit(inputs, train.labels)
        errors = [rmse(predictions, validation.labels) for predictions in model.staged_predict(seen)]
        best = min(best, (min(errors), int(np.argmin(errors)), model), key=lambda candidate: candidate[0])
    _, trees, model = best
    return next(predictions for tree, predictions in enumerate(model.staged_predict(unseen)) if tree == trees)


def rocket(train: Part, validation: Part, test: Part, seed: int) -> np.ndarray:
    """Ridge on ROCKET features of the scaled series (no per-series normalisation) and the static columns.

    ROCKET's kernels sum to zero, so they see little of a series' level: each variate's mean over time is given beside
    them. The penalty, and how much static columns and means weigh against the kernels' features, are chosen on
    validation.
    """
    from aeon.transformations.collection.convolution_based import Rocket  # slow to import: numba compiles

    series = [np.ascontiguousarray(part.transpose(0, 2, 1)) for part in scaled_series(train, train, validation, test)]
    transform = Rocket(ROCKET_KERNELS, normalise=False, n_jobs=torch.get_num_threads(), random_state=seed)
    transform.fit(series[0])
    kernels = [transform.transform(part) for part in series]
    scaler = StandardScaler().fit(kernels[0])
    kernels = [scaler.transform(part) / np.sqrt(part.shape[1]) for part in kernels]  # together as large as one column
    statics = list(static_features(train, train, validation, test))
    best: tuple[float, Any, float] = (np.inf, None, 0.0)
    for weight in (0.3, 1.0, 3.0):
        blocks = [
            np.concatenate([weight * static, weight * part.mean(axis=2), kernel], axis=1).astype(np.float64)
            for static, part, kernel in zip(statics, series, kernels, strict=True)
        ]
        centred = [block - blocks[0].mean(axis=0) for block in blocks]
        # Fewer rows than columns: ridge in its dual form, with the products of rows computed once for all penalties.
        grams = [block @ centred[0].T for block in centred]
        for alpha in np.logspace(-2, 2, 9):
            model = KernelRidge(alpha=alpha, kernel="precomputed").fit(grams[0], train.labels - train.labels.mean())
            error = rmse(model.predict(grams[1]) + train.labels.mean(), validation.labels)
            if error < best[0]:
                best = (error, model, grams[2])
    _, model, gram = best
    return model.predict(gram) + train.labels.mean()


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
    """transformers' PatchTST without its own scaling, with static columns; the epoch is chosen on validation."""
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
    optimizer = torch.optim.AdamW(model.parameters(), lr=PATCHTST_LEARNING_RATE, weight_decay=0.01)
    steps = -(-len(targets) // PATCHTST_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PATCHTST_LEARNING_RATE, total_steps=PATCHTST_EPOCHS * steps, pct_start=0.1
    )

    def predict(part: int) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return model(series[part], statics[part]).numpy() * std + mean

    best: tuple[float, int, np.ndarray] = (np.inf, 0, np.empty(0))
    for epoch in range(PATCHTST_EPOCHS):
        model.train()
        for rows in torch.randperm(len(targets)).split(PATCHTST_BATCH):
            loss = nn.functional.mse_loss(model(series[0][rows], statics[0][rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        error = rmse(predict(1), validation.labels)
        if error < best[0]:
            best = (error, epoch, predict(2))
        if epoch - best[1] >= PATCHTST_PATIENCE:
            break
    return best[2]


PEERS: dict[str, Peer] = {
    "mean": mean_predictor,
    "climatology": climatology,
    "ridge": ridge,
    "random forest": random_forest,
    "gradient boosting": gradient_boosting,
    "ROCKET + ridge": rocket,
    "PatchTST": patchtst,
}
