# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model is for: stated once, on its class, and read by trainer, cards, pipelines, export and command."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Task:
    """The task of a model class. A new task is a new class with one of these.

    Args:
        name: `"regression"`; cards, folders and the pipeline are named after it.
        answer: the field of the model's output that people ask for; `None`: embeds.
        best_metric: the validation metric that chooses between epochs; `"loss"`: the task loss.
        greater_is_better: whether that metric should be large.
        metrics: the function of `timesclip_hf.metrics` that measures predictions of a `Trainer`, or embeds where
            there are no labels; `None`: none.
        auto_classes: Auto class of transformers -> the class that it loads from a saved model.
        purpose: completes "It reads 7 variates over 36 steps and ..." in a model card; may name `{targets}`,
            `{num_labels}`, `{classes}` and `{prediction_length}`.
        result: what the pipeline gives for one series, in words; `None`: there is no pipeline.
        errors_in: `"targets"` or `"variates"`, whose units errors have; `None`: they have none.
        has_labels: whether training needs labels.
        reads_newest_steps: of a wide table that is longer than the context, the last steps are read (forecasts), not
            the first (a season).
    """

    name: str
    answer: str | None = None
    best_metric: str = "loss"
    greater_is_better: bool = False
    metrics: str | None = None
    auto_classes: Mapping[str, str] = field(default_factory=dict)
    purpose: str = "gives an embed of each"
    result: str | None = None
    errors_in: str | None = None
    has_labels: bool = True
    reads_newest_steps: bool = False

    @property
    def pipeline(self) -> str | None:
        """The name under which `transformers.pipeline` knows it."""
        return f"time-series-{self.name}" if self.result is not None else None


__all__ = ["Task"]
