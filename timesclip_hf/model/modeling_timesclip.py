# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""TimesCLIP (arXiv 2506.24124): a series seen as line plots and spoken as patches, and the models built on both."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils.generic import can_return_tuple

from .alignment import AlignmentObjective
from .branches import TimesCLIPModel
from .configuration_timesclip import TimesCLIPConfig
from .distributions import distribution_loss, middle_of, quantiles_of, spread_out
from .heads import PredictionHead
from .intervals import temperature_of
from .layers import check_sample_shape
from .losses import task_loss
from .outputs import (
    TimesCLIPClassificationOutput,
    TimesCLIPOutput,
    TimesCLIPPredictionOutput,
    TimesCLIPPreTrainingOutput,
    TimesCLIPRegressionOutput,
)
from .precision import any_costs_digits, to_raw_units, to_scaled_units, widened
from .pretrained_model import TimesCLIPPreTrainedModel
from .task_models import TaskModel, WholeSeriesModel
from .tasks import Task


class TimesCLIPForRegression(WholeSeriesModel):
    """TimesCLIP with a head that gives numbers, such as the yield of a field.

    Args:
        config: `target_mean` and `target_std` bring predictions to original units; `processor.complete_config` sets
            them from the training data.
    """

    task = Task(
        name="regression",
        answer="predictions",
        best_metric="rmse",
        metrics="compute_regression_metrics",
        auto_classes={"AutoModel": "TimesCLIPForRegression"},
        purpose="predicts {targets}",
        result="a number for each target, in original units",
        errors_in="targets",
    )
    output_class = TimesCLIPRegressionOutput

    def __init__(self, config: TimesCLIPConfig):
        super().__init__(config, config.num_targets * config.numbers_per_answer)

    def _read(self, outputs: TimesCLIPOutput, inputs: dict[str, Any]) -> Tensor:
        said = super()._read(outputs, inputs)
        if self.config.numbers_per_answer == 1:
            return said
        return spread_out(self._by_target(said), self.config).flatten(-2)

    def _by_target(self, said: Tensor) -> Tensor:
        """`(..., num_targets * K)` as `(..., num_targets, K)`."""
        return said.unflatten(-1, (self.config.num_targets, -1))

    def _points(self, said: Tensor) -> Tensor:
        return said if self.config.numbers_per_answer == 1 else middle_of(self._by_target(said), self.config)

    def _answers(self, scaled: Tensor, inputs: dict[str, Any]) -> dict[str, Tensor]:
        found, config = super()._answers(scaled, inputs), self.config
        mean, std = self._target_statistics(scaled)
        spreads = None
        if config.numbers_per_answer > 1:
            said = self._by_target(self._mean_answer(scaled) if self.is_late else scaled)
            raw_mean, raw_std = self._answer_statistics(scaled)
            found["quantiles"] = to_raw_units(quantiles_of(said, config), raw_mean[:, None], raw_std[:, None])
            spreads = said[..., 1] if config.loss == "gaussian" else None
        else:
            spreads = self._disagreement(scaled, inputs)
        return found if spreads is None else {**found, "spreads": spreads * std.to(spreads.dtype)}

    def _one_answer(self, scaled: Tensor) -> Tensor:
        return to_raw_units(self._points(scaled), *self._answer_statistics(scaled))

    def _measure(self, scaled: Tensor, answer: Tensor, labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        if labels.shape != answer.shape:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}, expected (batch, num_targets) = {tuple(answer.shape)}; "
                "reshape them, they are never broadcast."
            )
        mean, std = self._target_statistics(scaled)
        wanted = to_scaled_units(labels, mean, std)
        if self.config.numbers_per_answer > 1:
            return distribution_loss(self._by_target(scaled), wanted, self.config)
        return task_loss(scaled - wanted, answer, labels, self.config.loss)

    def _answer_statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The same in the dtype that answers have."""
        mean, std = self._target_statistics(like)
        return (mean, std) if any_costs_digits(*self._target_units()) else (mean.float(), std.float())

    def _target_statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread of the targets, on the device of `like`."""
        dtype = widened(like).dtype
        mean, std = (like.new_tensor(statistic, dtype=dtype) for statistic in self._target_units())
        return mean, std

    def _target_units(self) -> tuple[list[float], list[float]]:
        config = self.config
        return config.target_mean or [0.0] * config.num_targets, config.target_std or [1.0] * config.num_targets


class TimesCLIPForClassification(WholeSeriesModel):
    """TimesCLIP with a head that tells classes apart.

    Args:
        config: `num_labels`, or `id2label` and `label2id` with the classes' names; `class_weights`, by which the task
            loss multiplies each sample's cross-entropy, before the mean over samples. Probabilities are then those of
            data in which classes are as frequent as weight and frequency together make them.
    """

    # Of the labels in the task loss; the trainer sets it while it computes losses.
    label_smoothing = 0.0

    task = Task(
        name="classification",
        answer="logits",
        best_metric="log_loss",
        metrics="compute_classification_metrics",
        auto_classes={"AutoModel": "TimesCLIPForClassification"},
        purpose="tells {num_labels} classes apart: {classes}",
        result="the likeliest class and its probability",
    )
    output_class = TimesCLIPClassificationOutput

    def __init__(self, config: TimesCLIPConfig):
        classes = config.num_labels or 0
        if classes < 2:
            raise ValueError(f"num_labels is {classes}: a classifier needs at least two classes.")
        super().__init__(config, classes)

    def _answers(self, scaled: Tensor, inputs: dict[str, Any]) -> dict[str, Tensor]:
        found, temperature = super()._answers(scaled, inputs), temperature_of(self.config)
        return found if temperature == 1 else {**found, "logits": found["logits"] / temperature}

    def _comparable(self, scaled: Tensor) -> Tensor:
        return scaled.log_softmax(dim=-1)

    def _mean_of_models(self, said: Tensor) -> Tensor:
        """Logarithms of the mean of their probabilities."""
        return said.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(said))

    def _mean_answer(self, scaled: Tensor) -> Tensor:
        """The logarithm of the weighted mean of the branches' probabilities (the linear opinion pool)."""
        return (self._comparable(scaled) + self._branch_weights(scaled).log()).logsumexp(dim=1)

    def _measure(self, scaled: Tensor, answer: Tensor, labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        if labels.shape != answer.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"labels have shape {tuple(labels.shape)} and dtype {labels.dtype}, expected (batch,) = "
                f"({len(answer)},) integers, one class a sample (load_wide_table(..., task='classification'))."
            )
        # Reading values would make an accelerator wait, and has no place in a compiled graph; there, out-of-range
        # classes raise in the loss itself.
        classes = answer.shape[1]
        readable = labels.device.type == "cpu" and not torch.compiler.is_compiling()
        if readable and not bool(((labels >= 0) & (labels < classes)).all()):
            raise ValueError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, expected 0 to "
                f"{classes - 1}; set num_labels in the configuration to the number of classes."
            )
        weights, labels = self.config.class_weights, labels.long()
        if weights is None:
            return F.cross_entropy(answer, labels, label_smoothing=self.label_smoothing)
        # A mean over samples, not over weights: it adds up over batches and processes.
        losses = F.cross_entropy(answer, labels, label_smoothing=self.label_smoothing, reduction="none")
        return (losses * losses.new_tensor(weights)[labels]).mean()


class TimesCLIPForPrediction(TaskModel):
    """TimesCLIP as a forecaster: the next H steps of every variate.

    In the paper's form (`preset="paper"`) the plots only teach: through the alignment loss they shape the text
    branch, which alone leads to the forecast. Without labels such a model leaves the vision branch out.

    Args:
        config: `prediction_length`, `fusion`, `loss`, `error_scale`; `num_target_variates`, `num_future_covariates`
            and `forecast_static` for covariates; `processor.complete_config` sets `variate_std`.

    Raises:
        ValueError: a vision branch that has no way to the forecast and nothing to align with; late fusion.
    """

    task = Task(
        name="forecasting",
        answer="predictions",
        metrics="compute_forecast_metrics",
        auto_classes={
            "AutoModel": "TimesCLIPModel",
            "AutoModelForTimeSeriesPrediction": "TimesCLIPForPrediction",
        },
        purpose="forecasts the next {prediction_length} steps of each",
        result="the steps that follow, (steps, variates), in original units",
        errors_in="variates",
        reads_newest_steps=True,
    )
    output_class = TimesCLIPPredictionOutput

    def __init__(self, config: TimesCLIPConfig):
        if config.branch_fusion == "late":
            raise ValueError("branch_fusion='late' is for regression and classification; a forecast has one head.")
        if config.ensemble_size > 1:
            raise ValueError("ensemble_size is for regression and classification; a forecaster stands alone.")
        unread = config.vision_config is not None and "pixel_values" not in self.answer_inputs(config)
        if unread and config.alignment is None:
            raise ValueError(
                "The vision branch would have no effect: without alignment, its embeds reach a forecast only through "
                "variate_selection='gated'. Choose an alignment or that selection, or set vision_config=None."
            )
        if config.layout == "grid" and config.text_config is None:
            raise ValueError(
                "layout='grid' shows all variates in one image, which cannot tell their forecasts apart: add a text "
                "branch, or choose layout='variate'."
            )
        compared = config.alignment is not None or config.variate_selection is not None
        super().__init__(config, lambda: PredictionHead(config), add_text_projection=compared)

    @classmethod
    def answer_inputs(cls, config: TimesCLIPConfig) -> set[str]:
        names = super().answer_inputs(config) | {"loc", "scale"}
        if config.num_future_covariates:
            names |= {"future_values"} | ({"variate_values"} if config.covariate_response == "own" else set())
        names |= {"static_values"} if config.forecast_static and config.num_static_features else set()
        if config.text_config is not None and config.variate_selection != "gated":
            names.discard("pixel_values")  # plots teach the text branch, which alone leads to the forecast
        return names

    def _read(self, outputs: TimesCLIPOutput, inputs: dict[str, Any]) -> Tensor:
        config, variate_values = self.config, inputs["variate_values"]
        if variate_values is not None:
            check_sample_shape("variate_values", variate_values, (config.num_variates, config.context_length))
        read = (outputs.text_tokens, outputs.image_embeds, outputs.selected_embeds, variate_values)
        answered = [None if part is None else part[:, : config.num_answered_variates] for part in read]
        scaled = self.head(*answered, self._effect(inputs, answered[-1]))
        return scaled.float().transpose(1, 2)  # (B, H, V), with a last axis K of distributions

    def _effect(self, inputs: dict[str, Any], series: Tensor | None) -> Tensor | None:
        """What covariates do to the series that are answered, `(B, V, T)`, in `(B, V, T + H)`, scaled."""
        covariates: Any = self.head.covariates
        if covariates is None:
            return None
        scale = self._loc_scale(inputs)[1]
        unit = self._spreads(scale) / scale
        known: Tensor = covariates(inputs["future_values"], inputs["static_values"], unit, series)
        return known

    def _spreads(self, like: Tensor) -> Tensor:
        """The training data's spread `(V,)` of each variate that is answered."""
        count = self.config.num_answered_variates
        return like.new_tensor((self.config.variate_std or [1.0] * count)[:count])

    def _loc_scale(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """As of all models, of the variates that are answered."""
        loc, scale = super()._loc_scale(inputs)
        return loc[:, : self.config.num_answered_variates], scale[:, : self.config.num_answered_variates]

    def _answers(self, scaled: Tensor, inputs: dict[str, Any]) -> dict[str, Tensor]:
        loc, scale = (values[:, None] for values in self._loc_scale(inputs))  # they bring forecasts to raw units
        if self.config.numbers_per_answer == 1:
            return {"predictions": to_raw_units(scaled, loc, scale), "spreads": scale.expand(scaled.shape)}
        return {
            "predictions": to_raw_units(middle_of(scaled, self.config), loc, scale),
            "quantiles": to_raw_units(quantiles_of(scaled, self.config), loc[..., None], scale[..., None]),
            "spreads": scale * (scaled[..., 1] if self.config.loss == "gaussian" else torch.ones_like(scaled[..., 0])),
        }

    def _measure(self, scaled: Tensor, answer: Tensor, labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        config = self.config
        check_sample_shape("labels", labels, (config.prediction_length, config.num_answered_variates))
        if len(labels) != len(scaled):
            raise ValueError(f"labels have {len(labels)} samples, the series {len(scaled)}.")
        loc, scale = (level[:, None] for level in self._loc_scale(inputs))
        # Subtracted while scaled: a level far above its changes would eat the digits that count.
        wanted = to_scaled_units(labels, loc, scale)
        spread = self._spreads(scaled)
        if config.numbers_per_answer > 1:
            return distribution_loss(
                scaled, wanted, config, scale / spread if config.error_scale == "dataset" else 1.0
            )
        errors = scaled - wanted
        if config.error_scale == "dataset":
            errors = errors * scale / spread
        return task_loss(errors, answer, labels, config.loss)


class TimesCLIPForPreTraining(TimesCLIPPreTrainedModel):
    """Alignment alone: both branches learn to recognise each other's reading of a series, without any target.

    What it learns is loaded by the other models' `from_pretrained`, which add the parts that it has no use for.

    Args:
        config: with both branches and an `alignment`; variate selection is left out.

    Raises:
        ValueError: nothing to align.
    """

    task = Task(
        name="pre-training",
        metrics="retrieval_accuracy",
        auto_classes={"AutoModel": "TimesCLIPModel", "AutoModelForPreTraining": "TimesCLIPForPreTraining"},
        purpose="was pre-trained without targets: its two branches recognise each other's reading of a series",
        has_labels=False,
    )

    def __init__(self, config: TimesCLIPConfig):
        super().__init__(config)
        if config.alignment is None:
            raise ValueError(
                "Pre-training is alignment alone: the configuration needs both branches and an alignment."
            )
        self.timesclip = TimesCLIPModel(config, add_variate_selection=False)
        self.alignment = AlignmentObjective(config, alone=True)
        self.post_init()
        self.freeze_towers()

    @can_return_tuple
    def forward(
        self,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        return_loss: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
        future_values: Tensor | None = None,
    ) -> TimesCLIPOutput:
        """Embeds of both branches and how well they agree; with `return_dict=False` a tuple.

        Not the forward of the task models: `Trainer` reads from its parameters that there are no labels, and that
        there is a loss without them.

        Args:
            patch_values, patch_mask, pixel_values, vision_features, output_attentions, output_hidden_states: see
                `TimesCLIPModel.forward`.
            variate_values, loc, scale, static_values, future_values: not used here; taken so that every batch of the
                processor fits.
            return_loss: `False` for embeds alone.

        Raises:
            ValueError: an input is missing or has the wrong shape.
        """
        outputs = self.timesclip(
            *(patch_values, patch_mask, pixel_values, vision_features),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        contrast = self.alignment(outputs.image_embeds, outputs.text_embeds) if return_loss else None
        return TimesCLIPPreTrainingOutput(loss=contrast, alignment_loss=contrast, **outputs)


# All models: a new task is a new class here. The first is what `AutoModel` loads from a checkpoint of another class.
MODELS: tuple[type[TimesCLIPPreTrainedModel], ...] = (
    TimesCLIPModel,
    TimesCLIPForRegression,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
)

__all__ = [
    "MODELS",
    "TimesCLIPClassificationOutput",
    "TimesCLIPForClassification",
    "TimesCLIPForPreTraining",
    "TimesCLIPForPrediction",
    "TimesCLIPForRegression",
    "TimesCLIPModel",
    "TimesCLIPOutput",
    "TimesCLIPPreTrainedModel",
    "TimesCLIPPreTrainingOutput",
    "TimesCLIPPredictionOutput",
    "TimesCLIPRegressionOutput",
]
