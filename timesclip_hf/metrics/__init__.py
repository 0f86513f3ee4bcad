# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How good an answer is: pure functions of NumPy arrays."""

from .classification import (
    accuracy,
    balanced_accuracy,
    classification_metrics,
    compute_classification_metrics,
    macro_f1,
)
from .forecasting import compute_forecast_metrics, forecast_metrics, m4_metrics, mae, mase, mse, naive2, owa, smape
from .probabilistic import (
    coverage,
    crps,
    expected_calibration_error,
    interval_metrics,
    interval_score,
    pinball,
    quantile_metrics,
    set_metrics,
    weighted_quantile_loss,
    width,
)
from .regression import compute_regression_metrics, mape, r2, regression_metrics, rmse, skill
from .retrieval import retrieval_accuracy

__all__ = [
    "accuracy", "balanced_accuracy", "classification_metrics", "compute_classification_metrics",
    "compute_forecast_metrics", "compute_regression_metrics", "coverage", "crps", "expected_calibration_error",
    "forecast_metrics", "interval_metrics", "interval_score", "m4_metrics", "macro_f1", "mae", "mape", "mase", "mse",
    "naive2", "owa", "pinball", "quantile_metrics", "r2", "regression_metrics", "retrieval_accuracy", "rmse",
    "set_metrics", "skill", "smape", "weighted_quantile_loss", "width",
]  # fmt: skip
