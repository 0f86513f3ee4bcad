# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""TimesCLIP (arXiv 2506.24124): a series seen as line plots and spoken as patches, and the models built on both."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils.generic import can_return_tuple

from .alignment import AlignmentObjective
from .branches import TimesCLIPBranches
from .configuration_timesclip import TimesCLIPConfig
from .layers import PredictionHead, SampleHead, check_sample_shape
from .losses import task_loss, weight_by_label_count
from .outputs import (
    TimesCLIPClassificationOutput,
    TimesCLIPOutput,
    TimesCLIPPredictionOutput,
    TimesCLIPPreTrainingOutput,
    TimesCLIPRegressionOutput,
)
from .precision import any_costs_digits, to_raw_units, to_scaled_units, widened
from .pretrained_model import TimesCLIPPreTrainedModel
from .tasks import Task


class TimesCLIPModel(TimesCLIPBranches):
    """Both branches and the variate selection: series in, embeds out.

    Args:
        config: a branch whose sub-config is `None` has no parameters and costs nothing.
        add_text_projection: `False` for models that read the text tower's tokens and never compare embeds.
        add_variate_selection: `False` for models that have no use for it, whatever the configuration says.
    """

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
        use_vision: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
    ) -> TimesCLIPOutput:
        """Reads a batch that the processor made; with `return_dict=False` the answer is a tuple.

        Args:
            patch_values: `(B, V, N, L)`, for a model with a text branch.
            patch_mask: `(B, V, N)` bool, False for patches with nothing observed.
            pixel_values: `(B, V, 3, height, width)`, for a model with a vision branch.
            vision_features: `(B, V, width)`, features computed earlier, in place of `pixel_values`.
            variate_values: `(B, V, T)`, for `variate_selection="cross_attention"`.
            loc, scale, static_values: not used here; taken so that every batch of the processor fits.
            use_vision: `False` leaves the vision branch out, whatever inputs there are; its embeds are then absent.
            output_attentions: return the attention between variates, and between the tokens of each one in every layer
                of the text tower (needs `attn_implementation="eager"`). `None`: as the configuration says.
            output_hidden_states: return the tokens between the text tower's layers; a list: of these layers alone.
                `None`: as the configuration says.

        Raises:
            ValueError: an input that a branch needs is missing or has the wrong shape, or samples differ in number.
        """
        config = self.config
        output_attentions = bool(config.output_attentions if output_attentions is None else output_attentions)
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        read: dict[str, Any] = {}
        if self.vision_tower is not None and use_vision:
            read = self.read_plots(pixel_values, vision_features)
        if self.text_tower is not None:
            read |= self.read_patches(patch_values, patch_mask, output_hidden_states or False, output_attentions)
        if not read:
            raise ValueError("use_vision=False leaves nothing of a model without a text branch.")
        _check_same_samples(
            patch_values=patch_values,
            pixel_values=pixel_values,
            vision_features=vision_features,
            variate_values=variate_values,
            loc=loc,
            scale=scale,
        )
        selected, attentions = self.select_variates(read, variate_values, output_attentions)
        return TimesCLIPOutput(**read, selected_embeds=selected, selection_attentions=attentions)


def _check_same_samples(**inputs: Tensor | None) -> None:
    """Nothing is broadcast over a batch. Not by `len`, which a graph for any number of samples cannot hold."""
    sizes = {name: tensor.shape[0] for name, tensor in inputs.items() if tensor is not None}
    if any(size != next(iter(sizes.values())) for size in sizes.values()):
        raise ValueError(f"All inputs must have one row for each sample, got {sizes}.")


class _TaskModel(TimesCLIPPreTrainedModel):
    """A body, a head and, where configured, an alignment: answers, and losses when labels are given.

    A task adds `task`, `output_class` and the two hooks `_answer` and `_measure`.

    Args:
        config: as for the models.
        build_head: called once the body stands.
        add_text_projection: as for `TimesCLIPModel`.
    """

    output_class: type[TimesCLIPOutput]
    # While set (by the trainer): makes the task loss of a batch, from the outputs without losses and the labels.
    task_objective: Callable[[TimesCLIPOutput, Tensor], Tensor] | None = None

    def __init__(self, config: TimesCLIPConfig, build_head: Callable[[], nn.Module], add_text_projection: bool = True):
        super().__init__(config)
        self.timesclip = TimesCLIPModel(config, add_text_projection)
        self.head = build_head()
        self.alignment = AlignmentObjective(config) if config.alignment is not None else None
        self.answer_uses_vision = "pixel_values" in self.answer_inputs(config)  # else plots only teach
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
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | list[int] | None = None,
    ) -> TimesCLIPOutput:
        """Answers, and measures the answer when labels are given; with `return_dict=False` all of it is a tuple.

        Args:
            patch_values, patch_mask, pixel_values, vision_features, output_attentions, output_hidden_states: see
                `TimesCLIPModel.forward`. Images are not read without labels where plots only teach (`preset="paper"`).
            variate_values: `(B, V, T)`, for `variate_selection="cross_attention"` and `linear_shortcut`.
            loc, scale: `(B, V)` in raw units, what the processor subtracted and divided by; given back to forecasts,
                otherwise read with `use_loc_scale`.
            static_values: `(B, num_static_features)` as the processor encodes them; forecasts do not use them.
            labels: `(B, num_targets)` for regression and `(B, H, V)` for prediction, in original units, NaN = not
                observed, float64 where float32 would cost digits; `(B,)` integers from 0 to `num_labels - 1` for
                classification.

        Raises:
            ValueError: an input is missing or has the wrong shape, or a label is no class; labels never broadcast.
        """
        series = (patch_values, patch_mask, pixel_values, vision_features, variate_values, loc, scale, static_values)
        outputs = self.timesclip(
            *series,
            use_vision=self.answer_uses_vision or labels is not None,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        inputs = {"variate_values": variate_values, "loc": loc, "scale": scale, "static_values": static_values}
        scaled, answer = self._answer(outputs, inputs)
        found: dict[str, Any] = {str(self.task.answer): answer, **outputs}
        if labels is None:
            return self.output_class(**found)
        if self.task_objective is not None:
            own_loss = self.task_objective(self.output_class(**found), labels)
        else:
            own_loss = self._weigh(self._measure(scaled, answer, labels, inputs), labels)
        return self.output_class(**found, **self._combine_losses(own_loss, outputs))

    def _answer(self, outputs: TimesCLIPOutput, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The head's answer in fp32: in the unit that the loss counts in, and as people get it.

        Args:
            outputs: what the branches say of the batch.
            inputs: `variate_values`, `loc`, `scale` and `static_values` as they were given, or `None`.
        """
        raise NotImplementedError

    def _measure(self, scaled: Tensor, answer: Tensor, labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The task loss of what `_answer` gave, a mean over the observed labels."""
        raise NotImplementedError

    def _loc_scale(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Level and spread `(B, V)` of each variate, which the processor took away."""
        for name in ("loc", "scale"):
            if inputs[name] is None:
                raise ValueError(f"{name} is missing: give the loc and scale that the processor returns.")
            check_sample_shape(name, inputs[name], (self.config.num_variates,))
        return inputs["loc"], inputs["scale"]

    def _weigh(self, own_loss: Tensor, labels: Tensor) -> Tensor:
        """In training, a mean over the labels of a batch by their share in the batch of all processes."""
        objective: Any = self.alignment
        if objective is not None:
            return objective.weigh(own_loss, labels)
        return weight_by_label_count(own_loss, labels) if self.training else own_loss

    def _combine_losses(self, own_loss: Tensor, outputs: TimesCLIPOutput) -> dict[str, Any]:
        """The task loss, the contrastive one, and what is minimised."""
        objective: Any = self.alignment
        if objective is None:
            return {"loss": own_loss, "task_loss": own_loss}
        contrast = objective(outputs.image_embeds, outputs.text_embeds)
        return {"loss": objective.combine(own_loss, contrast), "task_loss": own_loss, "alignment_loss": contrast}


class _WholeSeriesModel(_TaskModel):
    """What models share that say something about a series as a whole, in `num_outputs` numbers from the head."""

    def __init__(self, config: TimesCLIPConfig, num_outputs: int):
        if config.use_loc_scale and config.variate_mean is None:
            raise ValueError(
                "use_loc_scale=True needs variate_mean and variate_std; processor.complete_config sets them."
            )
        super().__init__(config, lambda: SampleHead(config, num_outputs))

    @classmethod
    def answer_inputs(cls, config: TimesCLIPConfig) -> set[str]:
        names = super().answer_inputs(config) | ({"loc", "scale"} if config.use_loc_scale else set())
        return names | ({"static_values"} if config.num_static_features else set())

    def _answer(self, outputs: TimesCLIPOutput, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        parts = [outputs.image_embeds, outputs.text_embeds, outputs.selected_embeds]
        if self.config.use_loc_scale:
            loc, scale = self._loc_scale(inputs)
            mean, std = loc.new_tensor(self.config.variate_mean), loc.new_tensor(self.config.variate_std)
            parts.append(torch.stack([(loc - mean) / std, scale / std], dim=-1).to(self.dtype))  # (B, V, 2)
        variates = torch.cat([part for part in parts if part is not None], dim=-1)
        scaled = self.head(variates, inputs["static_values"]).float()  # (B, num_outputs)
        return scaled, scaled


class TimesCLIPForRegression(_WholeSeriesModel):
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
        super().__init__(config, config.num_targets)

    def _answer(self, outputs: TimesCLIPOutput, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        scaled, _ = super()._answer(outputs, inputs)
        mean, std = self._target_statistics(scaled)
        if not any_costs_digits(*self._target_units()):
            mean, std = mean.float(), std.float()
        return scaled, to_raw_units(scaled, mean, std)

    def _measure(self, scaled: Tensor, answer: Tensor, labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        if labels.shape != scaled.shape:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}, expected (batch, num_targets) = {tuple(scaled.shape)}; "
                "reshape them, they are never broadcast."
            )
        mean, std = self._target_statistics(scaled)
        return task_loss(scaled - to_scaled_units(labels, mean, std), answer, labels, self.config.loss)

    def _target_statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread of the targets, on the device of `like`."""
        dtype = widened(like).dtype
        mean, std = (like.new_tensor(statistic, dtype=dtype) for statistic in self._target_units())
        return mean, std

    def _target_units(self) -> tuple[list[float], list[float]]:
        config = self.config
        return config.target_mean or [0.0] * config.num_targets, config.target_std or [1.0] * config.num_targets


class TimesCLIPForClassification(_WholeSeriesModel):
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


class TimesCLIPForPrediction(_TaskModel):
    """TimesCLIP as a forecaster: the next H steps of every variate.

    In the paper's form (`preset="paper"`) the plots only teach: through the alignment loss they shape the text
    branch, which alone leads to the forecast. Without labels such a model leaves the vision branch out.

    Args:
        config: `prediction_length`, `fusion`, `loss`, `error_scale`; `processor.complete_config` sets `variate_std`.

    Raises:
        ValueError: a vision branch that has no way to the forecast and nothing to align with.
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
        unread = config.vision_config is not None and "pixel_values" not in self.answer_inputs(config)
        if unread and config.alignment is None:
            raise ValueError(
                "The vision branch would have no effect: without alignment, its embeds reach a forecast only through "
                "variate_selection='gated'. Choose an alignment or that selection, or set vision_config=None."
            )
        compared = config.alignment is not None or config.variate_selection is not None
        super().__init__(config, lambda: PredictionHead(config), add_text_projection=compared)

    @classmethod
    def answer_inputs(cls, config: TimesCLIPConfig) -> set[str]:
        names = super().answer_inputs(config) | {"loc", "scale"}
        if config.text_config is not None and config.variate_selection != "gated":
            names.discard("pixel_values")  # plots teach the text branch, which alone leads to the forecast
        return names | ({"variate_values"} if config.linear_shortcut else set())

    def _answer(self, outputs: TimesCLIPOutput, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        config = self.config
        loc, scale = self._loc_scale(inputs)  # they bring forecasts to raw units
        variate_values = inputs["variate_values"]
        if variate_values is not None:
            check_sample_shape("variate_values", variate_values, (config.num_variates, config.context_length))
        scaled = self.head(outputs.text_tokens, outputs.image_embeds, outputs.selected_embeds, variate_values)
        scaled = scaled.float().transpose(1, 2)  # (B, H, V)
        return scaled, to_raw_units(scaled, loc[:, None], scale[:, None])

    def _measure(self, scaled: Tensor, answer: Tensor, labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        config = self.config
        check_sample_shape("labels", labels, (config.prediction_length, config.num_variates))
        if len(labels) != len(scaled):
            raise ValueError(f"labels have {len(labels)} samples, the series {len(scaled)}.")
        loc, scale = inputs["loc"][:, None], inputs["scale"][:, None]
        # Subtracted while scaled: a level far above its changes would eat the digits that count.
        errors = scaled - to_scaled_units(labels, loc, scale)
        if config.error_scale == "dataset":
            errors = errors * scale / scaled.new_tensor(config.variate_std or [1.0] * config.num_variates)
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
    ) -> TimesCLIPOutput:
        """Embeds of both branches and how well they agree; with `return_dict=False` a tuple.

        Not the forward of the task models: `Trainer` reads from its parameters that there are no labels, and that
        there is a loss without them.

        Args:
            patch_values, patch_mask, pixel_values, vision_features, output_attentions, output_hidden_states: see
                `TimesCLIPModel.forward`.
            variate_values, loc, scale, static_values: not used here; taken so that every batch of the processor fits.
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
