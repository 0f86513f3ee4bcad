# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Series to features for anybody's model: a transformer of scikit-learn around what the towers say."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ..data.columns import step_columns, suggested_pattern
from ..data.tables import some_of
from ..data.wide import load_wide_table
from ..model import modeling_timesclip
from ..model.branches import feature_width
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.messages import warn_caller
from ..model.modeling_timesclip import MODELS, TimesCLIPModel
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.tower_configs import checkpoint_folder
from .any_series import (
    FLAT,
    TOWERS_ALONE,
    brought_to,
    filled,
    levels_of,
    own_share,
    processor_for,
    reads_any_series,
    shape_of,
    towers_of,
)
from .loading import own_config, saved_model_class
from .table_inputs import usable_pattern
from .task_pipelines import TimeSeriesFeatureExtractionPipeline, embed_names

_SCALINGS = ("dataset", "instance", "levels", "none")
_TURNED = "; of an array (n, V, T), as aeon and sktime have it, give X.transpose(0, 2, 1)"
# What fixes the shape of towers, of a processor's parameters.
_SHAPE = ("num_variates", "context_length", "patch_length", "patch_stride", "padding")


class TimesCLIPEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Frozen features of time series, as a transformer of scikit-learn.

    What is said of a series, and in which order, is the rule of `TimesCLIPModel.get_features`, variate after variate;
    nothing is trained. With `model`, `fit` loads it and learns nothing from the data, unless the model was pretrained
    for any series: then values are scaled as in the data that `fit` saw (`inference.any_series` states the rule).
    Without, the towers are random, on values scaled so: features of random networks, as ROCKET's kernels are. They are
    better than nothing, and no more; what the class is for is a checkpoint.

    `X` is an array `(n, T, V)`, NaN = missing (of aeon's and sktime's `(n, V, T)`: `X.transpose(0, 2, 1)`); or
    `(n, T)`, of one variate; or `(n, V * T)` with `num_variates`: all steps of the first variate, then all of the
    second; or a frame with columns `ndvi_00`, `ndvi_01`, ..., found by their names in any order, as `load_wide_table`
    and the pipelines do. What else is in a table (years, soils) goes beside, by `ColumnTransformer`. A series without
    any value of a variate cannot be read, and raises.

    Args:
        model: a folder or Hub id of any TimesCLIP model, with its processor beside it, the name of one that ships, or
            a model; `None`: random towers.
        processor: of the model, where it does not lie beside it; one that was never fitted is fitted on `X`.
        preset, towers: of random towers, see `TimesCLIPConfig.from_preset`.
        num_variates: variates V of a table without names.
        patch_length: steps in a patch, of random towers and of models for any series; half of it lies between patches.
            Not set: by the rule of `inference.any_series`, a twelfth of long series.
        scaling: of random towers and of models for any series: `"dataset"`, `"instance"` or `"none"`, see
            `TimesCLIPProcessor`, or `"levels"`: each series by itself, and behind all that the towers say levels and
            logarithms of spreads of each variate (2 V numbers). Not set: of models that were pretrained at one scale,
            `"levels"` where series differ far more than each varies (`inference.any_series` states the rule), else as
            the model was pretrained; of random towers, `"dataset"`.
        column_pattern: how columns of steps are named, see `load_wide_table`.
        batch_size: series that are read at once.
        device: `"cpu"`, `"cuda"`, ...; not set: a GPU where there is one.
        random_state: of the random towers; an int gives the same ones everywhere.

    Attributes:
        levels_: whether levels and spreads stand behind what the towers say.
        model_: the towers, a `TimesCLIPModel` of its own. Pickles hold its configuration and its weights alone.
        processor_: the fitted processor.
        n_features_in_: columns of `X`, V * T.
        feature_names_in_: their names, if they had some.

    Raises:
        ValueError: `fit` and `transform` name what they found in `X` and what they expected.

    Example:

    ```python
    >>> from sklearn.linear_model import RidgeCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler

    >>> embed = TimesCLIPEmbedder("runs/pretrained")
    >>> predict = make_pipeline(embed, StandardScaler(), RidgeCV(np.logspace(-1, 5, 19)))
    >>> predict.fit(series, yields)  # (n, T, V), (n,)
    ```
    """

    def __init__(
        self,
        model: Any = None,
        processor: TimesCLIPProcessor | None = None,
        preset: str = "probe",
        towers: str = "tiny",
        num_variates: int | None = None,
        patch_length: int | None = None,
        scaling: str | None = None,
        column_pattern: str | None = None,
        batch_size: int = 64,
        device: Any = None,
        random_state: Any = 0,
    ):
        self.model = model
        self.processor = processor
        self.preset = preset
        self.towers = towers
        self.num_variates = num_variates
        self.patch_length = patch_length
        self.scaling = scaling
        self.column_pattern = column_pattern
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "TimesCLIPEmbedder":
        """Loads the model, or builds one; see the class for `X`. `y` is not read."""
        model, processor = self._given()
        own: Any = processor  # of the model
        if model is not None and self.processor is None and reads_any_series(model):
            processor = None
        variates = None if model is None or processor is None else model.config.num_variates
        series: Any = self._read(X, True, processor, variates)
        if isinstance(series, pd.DataFrame) and (processor is None or processor.statistics is None):
            names = None if processor is None else processor.variate_names
            series = load_wide_table(series, target=None, variates=names, column_pattern=self.column_pattern)
        if processor is not None and processor.statistics is None:
            processor = copy.deepcopy(processor).fit(series)
        scaling = self._scaling(own, processor, series)
        self.levels_ = scaling == "levels"
        scaling = "instance" if self.levels_ else scaling
        if model is None:
            self.model_ = self._random_towers(series, processor)
            self.processor_ = processor or processor_for(self.model_.config, series, scaling=scaling or "dataset")
        elif processor is None:
            self.model_, self.processor_ = brought_to(model, own, series, self.patch_length, scaling)
        else:
            self.model_, self.processor_ = towers_of(model), processor
        if scaling not in (None, self.processor_.scaling):
            raise ValueError(
                f"scaling={self.scaling!r}, but values are scaled as the processor has it: {self.processor_.scaling!r}"
            )
        self._pipeline()  # model and processor must agree
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Features `(n, V * width)`, float32; with `levels_`, `(n, V * width + 2 * V)`."""
        check_is_fitted(self)
        series = self._read(X, False, self.processor_, self.model_.config.num_variates)
        reading: dict[str, Any] = {"column_pattern": self.column_pattern} if isinstance(series, pd.DataFrame) else {}
        found = self._pipeline()(series, batch_size=self.batch_size, **reading)
        if isinstance(found, pd.DataFrame):
            skipped = found.attrs["skipped"]
            embeds = found[embed_names(feature_width(self.model_.config) * self.model_.config.num_variates)].to_numpy()
        else:
            skipped = {row: one["skipped"] for row, one in enumerate(found) if isinstance(one, Mapping)}
            embeds = found
        if skipped:
            row, reason = next(iter(skipped.items()))
            raise ValueError(
                f"{len(skipped)} rows of X cannot be read, {some_of(skipped)} (row {row}: {reason}): leave them out"
            )
        embeds = np.asarray(embeds, np.float32)
        if not self.levels_:
            return embeds
        if isinstance(series, pd.DataFrame):
            names = self.processor_.variate_names
            table = load_wide_table(series, target=None, variates=names, column_pattern=self.column_pattern)
            series = np.asarray(table.with_format("numpy")["past_values"])
        return np.concatenate([embeds, levels_of(series, self.processor_)], axis=1, dtype=np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """`embed_0000`, `embed_0001`, ...

        Raises:
            ValueError: `input_features` that are not those of `fit`.
        """
        return np.array(embed_names(len(super().get_feature_names_out(input_features))), dtype=object)

    @property
    def _n_features_out(self) -> int:
        return (feature_width(self.model_.config) + 2 * self.levels_) * self.model_.config.num_variates

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        return {name: _packed(value) if type(value) in MODELS else value for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {"levels_": False, **state} if "model_" in state else state  # of pickles from before there were levels
        super().__setstate__({name: v.model() if isinstance(v, _Packed) else v for name, v in state.items()})

    def _scaling(
        self, own: TimesCLIPProcessor | None, processor: TimesCLIPProcessor | None, series: Any
    ) -> str | None:
        """As asked for, or by the rule for towers of any series; `own` is the model's processor."""
        if self.scaling not in (None, *_SCALINGS):
            raise ValueError(f"scaling={self.scaling!r}: unknown, choose one of {', '.join(_SCALINGS)}")
        if self.scaling is None and processor is None and own is not None and own.scaling == "dataset":
            return "levels" if own_share(series, own) < FLAT else None
        return self.scaling

    def _given(self) -> tuple[Any, TimesCLIPProcessor | None]:
        """Model and processor that the parameters name, or `None`."""
        if not isinstance(self.model, str | Path):
            if self.model is not None and self.processor is None:
                raise ValueError("a model in memory comes without its processor: pass processor=, too")
            return self.model, self.processor
        folder = checkpoint_folder(str(self.model))
        model = saved_model_class(own_config(folder)).from_pretrained(folder)
        return model, self.processor or TimesCLIPProcessor.from_pretrained(folder)

    def _pipeline(self) -> TimeSeriesFeatureExtractionPipeline:
        return TimeSeriesFeatureExtractionPipeline(self.model_, self.processor_, device=self.device)

    def _random_towers(self, series: Any, processor: TimesCLIPProcessor | None) -> TimesCLIPModel:
        """For such series, or for what a fitted processor makes of them."""
        shape: dict[str, Any] = {name: getattr(processor, name) for name in _SHAPE} if processor is not None else {}
        shape = shape or shape_of(series, self.patch_length)
        config = TimesCLIPConfig.from_preset(self.preset, towers=self.towers, **shape, **TOWERS_ALONE)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(check_random_state(self.random_state).randint(2**31 - 1))
            return TimesCLIPModel(config).eval()

    def _read(
        self, X: Any, reset: bool, processor: TimesCLIPProcessor | None, variates: int | None
    ) -> NDArray[Any] | pd.DataFrame:
        """`X` as an array `(n, T, V)`, or as a frame of steps that are found by their names."""
        if _depth(X) == 3:
            values = _as_floats(check_array(X, allow_nd=True, ensure_all_finite="allow-nan", input_name="X"))
            if variates not in (None, values.shape[2]):
                turned = _TURNED if variates == values.shape[1] else ""
                raise ValueError(f"X has {values.shape[2]} variates, expected {variates}: (n, T, {variates}){turned}")
            if reset and variates is None:
                _check_turned(values)
            if reset:
                validate_data(self, X=values.reshape(len(values), -1), skip_check_array=True)
            return values
        values = _as_floats(validate_data(self, X, reset=reset, ensure_all_finite="allow-nan"))
        names = list(getattr(self, "feature_names_in_", ())) or _names_of(X)
        if names and self._are_named(names, processor):
            return pd.DataFrame(values, columns=names)
        count = self.num_variates or variates or 1
        if variates not in (None, count):
            raise ValueError(f"num_variates={count}, but the model reads {variates}")
        if values.shape[1] % count:
            raise ValueError(
                f"X has {values.shape[1]} columns, which are no steps of {count} variates: expected (n, V * T), all "
                "steps of the first variate, then all of the second; or (n, T, V)"
            )
        return values.reshape(len(values), count, -1).transpose(0, 2, 1)

    def _are_named(self, names: list[str], processor: TimesCLIPProcessor | None) -> bool:
        """Whether columns are found by their names, as steps of variates; else they count by their places."""
        known = getattr(processor, "variate_names", None)
        learnt = None if processor is None else usable_pattern(pd.DataFrame(columns=names), processor)
        found = step_columns(names, known or (), self.column_pattern or learnt)
        variates = list(dict.fromkeys(variate for variate, _ in found.values()))
        if not found:
            told = suggested_pattern(names) if self.num_variates is None else None
            if told and len({re.sub(r"\d+", "", name) for name in names}) > 1:
                raise ValueError(f"{told}, or num_variates, where they are in the order (n, V * T)")
            return False
        if others := [name for name in names if name not in found]:
            raise ValueError(
                f"X has columns that are no steps of a variate: {some_of(map(repr, others))}. Select the steps, by "
                "ColumnTransformer for one"
            )
        if self.num_variates not in (None, len(variates)):
            raise ValueError(
                f"num_variates={self.num_variates}, but the columns are steps of {len(variates)} variates: "
                f"{some_of(map(repr, variates))}"
            )
        if processor is not None and known is None and len(variates) > 1:
            raise ValueError(
                "the processor does not say in which order the model takes its variates: set processor.variate_names "
                "and save it again, or pass an array (n, T, V)"
            )
        return True


class _Packed:
    """A model as its configuration and its weights: what a pickle holds of it."""

    def __init__(self, model: Any):
        self.name, self.config = type(model).__name__, model.config.to_dict()
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.weights = save_weights({k: v.detach().cpu().clone() for k, v in model.state_dict().items()})

    def model(self) -> Any:
        model_class = getattr(modeling_timesclip, self.name)
        model = model_class(TimesCLIPConfig.from_dict(self.config))
        return filled(model, load_weights(self.weights), getattr(torch, self.dtype))


def _packed(model: Any) -> Any:
    """Adapters have weights that no configuration speaks of: such models stay what they are."""
    return model if getattr(model, "_hf_peft_config_loaded", False) else _Packed(model)


def _depth(X: Any) -> int:
    """Dimensions of whatever scikit-learn takes for an array."""
    try:
        return len(X.shape) if hasattr(X, "shape") else np.asarray(X).ndim
    except ValueError as error:
        raise ValueError("X is a list of series that differ in length: pad them with NaN to (n, T, V)") from error


def _check_turned(values: NDArray[Any]) -> None:
    """Refuses an array of single steps, tells of one with more variates than steps: `(n, V, T)`, as aeon and sktime
    have it, would be read as `(n, T, V)`."""
    steps, variates = values.shape[1:]
    if steps == 1 < variates:
        raise ValueError(f"X has one step of {variates} variates, which is no series: expected (n, T, V){_TURNED}")
    if steps < variates:
        warn_caller(f"X has {steps} steps of {variates} variates, as it is read: (n, T, V){_TURNED}")


def _as_floats(values: NDArray[Any]) -> NDArray[np.floating]:
    """An array of its own that may be written to, in the precision that it has."""
    return np.array(values, values.dtype if values.dtype.kind == "f" else np.float64)


def _names_of(X: Any) -> list[str]:
    columns = list(getattr(X, "columns", ()))
    return columns if all(isinstance(name, str) for name in columns) else []


__all__ = ["TimesCLIPEmbedder"]
