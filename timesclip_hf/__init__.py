# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""TimesCLIP for HuggingFace: multivariate time series, seen as line plots and spoken as patches."""

from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_TIME_SERIES_REGRESSION_MAPPING

from .configuration_timesclip import PRESETS, TOWERS, TimesCLIPConfig
from .data import (
    TimesCLIPDataCollator,
    find_variates,
    load_wide_table,
    read_wide_table,
    split_by_column,
    split_by_group,
    split_chronologically,
)
from .losses import alignment_loss, info_nce
from .metrics import regression_metrics
from .modeling_timesclip import TimesCLIPForRegression, TimesCLIPModel, TimesCLIPPreTrainedModel
from .processing_timesclip import TimesCLIPProcessor
from .rendering import render_line
from .trainer import TimesCLIPTrainer
from .training_args import TimesCLIPTrainingArguments

__version__ = "0.1.0"

AutoConfig.register(TimesCLIPConfig.model_type, TimesCLIPConfig, exist_ok=True)
AutoModel.register(TimesCLIPConfig, TimesCLIPModel, exist_ok=True)
AutoProcessor.register(TimesCLIPConfig, TimesCLIPProcessor, exist_ok=True)
# transformers has this mapping, but no Auto class over it: import TimesCLIPForRegression itself.
MODEL_FOR_TIME_SERIES_REGRESSION_MAPPING.register(TimesCLIPConfig, TimesCLIPForRegression, exist_ok=True)  # type: ignore[arg-type]

__all__ = [
    "PRESETS",
    "TOWERS",
    "TimesCLIPConfig",
    "TimesCLIPDataCollator",
    "TimesCLIPForRegression",
    "TimesCLIPModel",
    "TimesCLIPPreTrainedModel",
    "TimesCLIPProcessor",
    "TimesCLIPTrainer",
    "TimesCLIPTrainingArguments",
    "alignment_loss",
    "find_variates",
    "info_nce",
    "load_wide_table",
    "read_wide_table",
    "regression_metrics",
    "render_line",
    "split_by_column",
    "split_by_group",
    "split_chronologically",
]
