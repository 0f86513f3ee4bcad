# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""TimesCLIP for HuggingFace: multivariate time series, seen as line plots and spoken as patches.

Importing the package imports nothing else: a public name brings its module when it is asked for first, and Auto
classes and pipelines of transformers learn of ours when they are loaded themselves (`registration.py`).
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .registration import register_when_loaded

if TYPE_CHECKING:
    from .data.augmentation import AugmentedSeries as AugmentedSeries
    from .data.collator import TimesCLIPDataCollator as TimesCLIPDataCollator
    from .data.long import SeriesCollection as SeriesCollection
    from .data.long import load_long_table as load_long_table
    from .data.long import load_series_rows as load_series_rows
    from .data.partial import PartialSeries as PartialSeries
    from .data.splits import WindowSplits as WindowSplits
    from .data.splits import split_by_column as split_by_column
    from .data.splits import split_by_group as split_by_group
    from .data.splits import split_chronologically as split_chronologically
    from .data.splits import split_windows as split_windows
    from .data.wide import find_variates as find_variates
    from .data.wide import load_wide_table as load_wide_table
    from .data.wide import read_wide_table as read_wide_table
    from .data.windows import ForecastWindows as ForecastWindows
    from .features.cache import FeatureCache as FeatureCache
    from .features.similar import SimilarSeries as SimilarSeries
    from .inference.embedder import TimesCLIPEmbedder as TimesCLIPEmbedder
    from .inference.explanations import Explanation as Explanation
    from .inference.explanations import explain as explain
    from .inference.export import export_onnx as export_onnx
    from .inference.export import export_program as export_program
    from .inference.forecaster import TimesCLIPForecaster as TimesCLIPForecaster
    from .inference.loading import pipeline_task as pipeline_task
    from .inference.numpy_processing import NumpyProcessor as NumpyProcessor
    from .inference.predictor import TimesCLIPPredictor as TimesCLIPPredictor
    from .inference.report import write_report as write_report
    from .inference.task_pipelines import TimeSeriesClassificationPipeline as TimeSeriesClassificationPipeline
    from .inference.task_pipelines import TimeSeriesFeatureExtractionPipeline as TimeSeriesFeatureExtractionPipeline
    from .inference.task_pipelines import TimeSeriesForecastingPipeline as TimeSeriesForecastingPipeline
    from .inference.task_pipelines import TimeSeriesRegressionPipeline as TimeSeriesRegressionPipeline
    from .metrics import classification_metrics as classification_metrics
    from .metrics import forecast_metrics as forecast_metrics
    from .metrics import m4_metrics as m4_metrics
    from .metrics import regression_metrics as regression_metrics
    from .model.configuration_timesclip import PRESETS as PRESETS
    from .model.configuration_timesclip import TOWERS as TOWERS
    from .model.configuration_timesclip import TimesCLIPConfig as TimesCLIPConfig
    from .model.losses import alignment_loss as alignment_loss
    from .model.losses import info_nce as info_nce
    from .model.modeling_timesclip import TimesCLIPForClassification as TimesCLIPForClassification
    from .model.modeling_timesclip import TimesCLIPForPrediction as TimesCLIPForPrediction
    from .model.modeling_timesclip import TimesCLIPForPreTraining as TimesCLIPForPreTraining
    from .model.modeling_timesclip import TimesCLIPForRegression as TimesCLIPForRegression
    from .model.modeling_timesclip import TimesCLIPModel as TimesCLIPModel
    from .model.modeling_timesclip import TimesCLIPPreTrainedModel as TimesCLIPPreTrainedModel
    from .model.processing_timesclip import TimesCLIPProcessor as TimesCLIPProcessor
    from .model.rendering import render_line as render_line
    from .model.views import register_view as register_view
    from .plots import plot_ablation as plot_ablation
    from .plots import plot_attributions as plot_attributions
    from .plots import plot_backtest as plot_backtest
    from .plots import plot_confusion as plot_confusion
    from .plots import plot_curves as plot_curves
    from .plots import plot_forecasts as plot_forecasts
    from .plots import plot_importance as plot_importance
    from .plots import plot_model_view as plot_model_view
    from .plots import plot_predictions as plot_predictions
    from .plots import plot_selection_attention as plot_selection_attention
    from .training.adapters import lora_config as lora_config
    from .training.calibration import calibrate as calibrate
    from .training.ensemble import join_models as join_models
    from .training.head_first import train_head as train_head
    from .training.heads import FittedHeads as FittedHeads
    from .training.heads import fit_head as fit_head
    from .training.probe import LayerProbe as LayerProbe
    from .training.probe import probe_layers as probe_layers
    from .training.trainer import TimesCLIPTrainer as TimesCLIPTrainer
    from .training.training_args import TimesCLIPTrainingArguments as TimesCLIPTrainingArguments

__version__ = "0.2.0.dev0"

# Where each public name lies; the imports above say the same to type checkers, which run nothing.
_NAMES = {
    ".data.collator": ["TimesCLIPDataCollator"],
    ".data.long": ["SeriesCollection", "load_long_table", "load_series_rows"],
    ".data.augmentation": ["AugmentedSeries"],
    ".data.partial": ["PartialSeries"],
    ".data.splits": ["WindowSplits", "split_by_column", "split_by_group", "split_chronologically", "split_windows"],
    ".data.wide": ["find_variates", "load_wide_table", "read_wide_table"],
    ".data.windows": ["ForecastWindows"],
    ".features.cache": ["FeatureCache"],
    ".features.similar": ["SimilarSeries"],
    ".inference.embedder": ["TimesCLIPEmbedder"],
    ".inference.explanations": ["Explanation", "explain"],
    ".inference.export": ["export_onnx", "export_program"],
    ".inference.forecaster": ["TimesCLIPForecaster"],
    ".inference.loading": ["pipeline_task"],
    ".inference.numpy_processing": ["NumpyProcessor"],
    ".inference.task_pipelines": [
        "TimeSeriesClassificationPipeline",
        "TimeSeriesFeatureExtractionPipeline",
        "TimeSeriesForecastingPipeline",
        "TimeSeriesRegressionPipeline",
    ],
    ".inference.predictor": ["TimesCLIPPredictor"],
    ".inference.report": ["write_report"],
    ".metrics": ["classification_metrics", "forecast_metrics", "m4_metrics", "regression_metrics"],
    ".model.configuration_timesclip": ["PRESETS", "TOWERS", "TimesCLIPConfig"],
    ".model.losses": ["alignment_loss", "info_nce"],
    ".model.modeling_timesclip": [
        "TimesCLIPForClassification",
        "TimesCLIPForPreTraining",
        "TimesCLIPForPrediction",
        "TimesCLIPForRegression",
        "TimesCLIPModel",
        "TimesCLIPPreTrainedModel",
    ],
    ".model.processing_timesclip": ["TimesCLIPProcessor"],
    ".model.rendering": ["render_line"],
    ".model.views": ["register_view"],
    ".plots": [
        "plot_ablation",
        "plot_attributions",
        "plot_backtest",
        "plot_confusion",
        "plot_curves",
        "plot_forecasts",
        "plot_importance",
        "plot_model_view",
        "plot_predictions",
        "plot_selection_attention",
    ],
    ".training.adapters": ["lora_config"],
    ".training.calibration": ["calibrate"],
    ".training.head_first": ["train_head"],
    ".training.heads": ["FittedHeads", "fit_head"],
    ".training.ensemble": ["join_models"],
    ".training.probe": ["LayerProbe", "probe_layers"],
    ".training.trainer": ["TimesCLIPTrainer"],
    ".training.training_args": ["TimesCLIPTrainingArguments"],
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
# A server that prepares inputs for an exported graph need not have them; everything but NumpyProcessor does.
_MISSING = [name for name in ("torch", "transformers") if find_spec(name) is None]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in __all__:
        raise ImportError(f"timesclip_hf.{name} needs {' and '.join(_MISSING)}, which are not installed here.")
    globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _module_of_old_adapters() -> ModuleType:
    """Adapters that were saved before the package had folders name the module of their base so."""
    module = ModuleType(f"{__name__}.modeling_timesclip")

    def find(name: str) -> Any:
        if name.startswith("__"):  # whoever looks through all modules need not load this one
            raise AttributeError(name)
        return getattr(import_module(".model.modeling_timesclip", __name__), name)

    vars(module)["__getattr__"] = find
    return module


sys.modules.setdefault(f"{__name__}.modeling_timesclip", _module_of_old_adapters())
register_when_loaded()

__all__ = ["NumpyProcessor"] if _MISSING else [*_HOMES]
