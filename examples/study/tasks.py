# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What an ablation needs of a task: its data loaded and split once, one model trained, its predictions measured."""

import dataclasses
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd

from timesclip_hf import TimesCLIPTrainingArguments, read_wide_table
from timesclip_hf.metrics import classification_metrics, regression_metrics

from . import run_forecasting, run_regression
from .run_forecasting import ForecastArguments, ForecastTraining, Scorer
from .run_regression import RegressionArguments
from .training import Trained, Variant, train_classification, train_forecast, train_regression

PARTS = ("validation", "test")


class Forecasting:
    """Windows of a table of series; errors on standardised values."""

    arguments_class, training_class = ForecastArguments, ForecastTraining

    def __init__(self, arguments: ForecastArguments):
        self.standardise = arguments.standardise
        series = run_forecasting.load(arguments)
        self.splits = run_forecasting.split(series, arguments)
        as_test = dataclasses.replace(self.splits, test=self.splits.validation)
        # Leaving out a short batch is a habit of published test figures.
        plain = dataclasses.replace(arguments, score="validation", published_batch=None)
        self.scorers = {
            "validation": Scorer(series, as_test, plain),
            "test": Scorer(series, self.splits, arguments),
        }
        self.sizes = {part: len(getattr(self.splits, part)) for part in ("train", *PARTS)}

    @staticmethod
    def metrics(arguments: ForecastArguments) -> dict[str, str]:
        """Metric -> unit, the first one for the figure."""
        names = {"mse": "standardised", "mae": "standardised"}
        if arguments.published_batch is not None:
            names["mse_full_batches"] = "standardised"
        return {"smape": "%", "mase": "", "owa": "", **names} if arguments.measures == "m4" else names

    def train(self, variant: Variant, training: TimesCLIPTrainingArguments, seed: int, folder: Path) -> Trained:
        return train_forecast(variant, self.splits, training, seed, folder, self.standardise)

    def measure(self, part: str, predictions: np.ndarray) -> dict[str, Any]:
        return self.scorers[part](predictions)


class Regression:
    """Numbers of a wide table, one row a series."""

    arguments_class, training_class = RegressionArguments, TimesCLIPTrainingArguments

    def __init__(self, arguments: RegressionArguments):
        self.parts = self._parts(arguments)
        self.variates, self.target = arguments.variates, (arguments.target, arguments.target_unit)
        self.sizes = {part: len(self.parts[part]) for part in ("train", *PARTS)}

    def _parts(self, arguments: RegressionArguments) -> datasets.DatasetDict:
        return run_regression.split(run_regression.load(arguments), arguments)[0]

    @staticmethod
    def metrics(arguments: RegressionArguments) -> dict[str, str]:
        """Metric -> unit, the first one for the figure."""
        return {"r2": "", "rmse": arguments.target_unit, "mae": arguments.target_unit}

    def train(self, variant: Variant, training: TimesCLIPTrainingArguments, seed: int, folder: Path) -> Trained:
        return train_regression(variant, self.parts, training, seed, folder, self.variates, *self.target)

    def measure(self, part: str, predictions: np.ndarray) -> dict[str, Any]:
        return regression_metrics(predictions, np.asarray(self.parts[part]["labels"]))


class Classification(Regression):
    """Classes of a wide table, by name or number; those of the training part, sorted, are 0, 1, ..."""

    def _parts(self, arguments: RegressionArguments) -> datasets.DatasetDict:
        frame = read_wide_table(arguments.table)
        if arguments.target not in frame or frame[arguments.target].isna().any():
            raise ValueError(f"{arguments.table} must have a class in column {arguments.target!r} of every row.")
        codes, names = pd.factorize(frame[arguments.target].to_numpy(), sort=True)
        # Both read the table from here: codes pass through the loader as numbers do.
        coded = dataclasses.replace(arguments, table=frame.assign(**{arguments.target: codes}))  # type: ignore[arg-type]
        parts = super()._parts(coded)
        arguments.variates = coded.variates

        found = {part: np.asarray(rows["labels"])[:, 0].astype(int) for part, rows in parts.items()}
        known = np.unique(found["train"])
        if len(known) < 2:
            raise ValueError(f"The training part has only the class {str(names[known[0]])!r}; two are the least.")
        for part, labels in found.items():
            if unseen := sorted(set(labels.tolist()) - set(known.tolist())):
                raise ValueError(f"Classes {[str(names[c]) for c in unseen]} of the {part} part are not in train.")
        self.class_names = [str(names[code]) for code in known]
        feature = datasets.Value("int64")
        return datasets.DatasetDict(
            {
                part: rows.remove_columns("labels").add_column(
                    "labels", np.searchsorted(known, found[part]), feature=feature
                )
                for part, rows in parts.items()
            }
        )

    @staticmethod
    def metrics(arguments: RegressionArguments) -> dict[str, str]:
        """Metric -> unit, the first one for the figure."""
        return {"accuracy": "", "balanced_accuracy": "", "macro_f1": "", "log_loss": "nats"}

    def train(self, variant: Variant, training: TimesCLIPTrainingArguments, seed: int, folder: Path) -> Trained:
        return train_classification(variant, self.parts, training, seed, folder, self.variates, self.class_names)

    def measure(self, part: str, predictions: np.ndarray) -> dict[str, Any]:
        return classification_metrics(predictions, np.asarray(self.parts[part]["labels"]))


TASKS: dict[str, Any] = {"forecasting": Forecasting, "regression": Regression, "classification": Classification}
