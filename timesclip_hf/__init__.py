# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""TimesCLIP for HuggingFace: multivariate time series, seen as line plots and spoken as patches."""

import sys
from importlib.util import find_spec

from .inference.numpy_processing import NumpyProcessor

__version__ = "0.1.0"

# A server that prepares inputs for an exported graph need not have them; everything but NumpyProcessor does.
_MISSING = [name for name in ("torch", "transformers") if find_spec(name) is None]

if not _MISSING:
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForPreTraining,
        AutoModelForTimeSeriesPrediction,
        AutoProcessor,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_TIME_SERIES_CLASSIFICATION_MAPPING,
        MODEL_FOR_TIME_SERIES_REGRESSION_MAPPING,
    )
    from transformers.pipelines import PIPELINE_REGISTRY

    from .data.collator import TimesCLIPDataCollator
    from .data.long import SeriesCollection, load_long_table, load_series_rows
    from .data.splits import WindowSplits, split_by_column, split_by_group, split_chronologically, split_windows
    from .data.wide import find_variates, load_wide_table, read_wide_table
    from .data.windows import ForecastWindows
    from .features.feature_cache import FeatureCache
    from .inference.export import export_onnx, export_program
    from .inference.pipelines import (
        PIPELINES,
        CheckpointLoader,
        TimeSeriesClassificationPipeline,
        TimeSeriesForecastingPipeline,
        TimeSeriesRegressionPipeline,
        pipeline_task,
    )
    from .metrics import classification_metrics, forecast_metrics, m4_metrics, regression_metrics
    from .model.configuration_timesclip import PRESETS, TOWERS, TimesCLIPConfig
    from .model.losses import alignment_loss, info_nce
    from .model.modeling_timesclip import (
        TimesCLIPForClassification,
        TimesCLIPForPrediction,
        TimesCLIPForPreTraining,
        TimesCLIPForRegression,
        TimesCLIPModel,
        TimesCLIPPreTrainedModel,
    )
    from .model.processing_timesclip import TimesCLIPProcessor
    from .model.rendering import render_line
    from .training.adapters import lora_config
    from .training.trainer import TimesCLIPTrainer
    from .training.training_args import TimesCLIPTrainingArguments

    # Adapters that were saved before the package had folders name the module of their base so.
    sys.modules.setdefault(f"{__name__}.modeling_timesclip", sys.modules[TimesCLIPModel.__module__])
    AutoConfig.register(TimesCLIPConfig.model_type, TimesCLIPConfig, exist_ok=True)
    AutoProcessor.register(TimesCLIPConfig, TimesCLIPProcessor, exist_ok=True)
    AutoModelForPreTraining.register(TimesCLIPConfig, TimesCLIPForPreTraining, exist_ok=True)
    AutoModelForTimeSeriesPrediction.register(TimesCLIPConfig, TimesCLIPForPrediction, exist_ok=True)
    # transformers has these mappings, but no Auto class over them: `AutoModel` gives these models themselves, where
    # they were saved, and the first one for all others.
    _models = (TimesCLIPModel, TimesCLIPForRegression, TimesCLIPForClassification)
    AutoModel.register(TimesCLIPConfig, _models, exist_ok=True)
    for _mapping, _model in (
        (MODEL_FOR_TIME_SERIES_CLASSIFICATION_MAPPING, TimesCLIPForClassification),
        (MODEL_FOR_TIME_SERIES_REGRESSION_MAPPING, TimesCLIPForRegression),
    ):
        _mapping.register(TimesCLIPConfig, _model, exist_ok=True)  # type: ignore[arg-type]
    for _task, _pipeline in PIPELINES.items():
        PIPELINE_REGISTRY.register_pipeline(_task, _pipeline, pt_model=CheckpointLoader)

    __all__ = [
        "FeatureCache",
        "ForecastWindows",
        "NumpyProcessor",
        "PRESETS",
        "SeriesCollection",
        "TOWERS",
        "TimeSeriesClassificationPipeline",
        "TimeSeriesForecastingPipeline",
        "TimeSeriesRegressionPipeline",
        "TimesCLIPConfig",
        "TimesCLIPDataCollator",
        "TimesCLIPForClassification",
        "TimesCLIPForPreTraining",
        "TimesCLIPForPrediction",
        "TimesCLIPForRegression",
        "TimesCLIPModel",
        "TimesCLIPPreTrainedModel",
        "TimesCLIPProcessor",
        "TimesCLIPTrainer",
        "TimesCLIPTrainingArguments",
        "WindowSplits",
        "alignment_loss",
        "classification_metrics",
        "export_onnx",
        "export_program",
        "find_variates",
        "forecast_metrics",
        "info_nce",
        "load_long_table",
        "load_series_rows",
        "load_wide_table",
        "lora_config",
        "m4_metrics",
        "pipeline_task",
        "read_wide_table",
        "regression_metrics",
        "render_line",
        "split_by_column",
        "split_by_group",
        "split_chronologically",
        "split_windows",
    ]
else:
    __all__ = ["NumpyProcessor"]

    def __getattr__(name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        raise ImportError(f"timesclip_hf.{name} needs {' and '.join(_MISSING)}, which are not installed here.")
