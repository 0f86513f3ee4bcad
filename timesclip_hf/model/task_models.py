# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What all models with a task share: a body, a head, an alignment; answers and losses."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import can_return_tuple

from .alignment import AlignmentObjective
from .branches import TimesCLIPModel
from .configuration_timesclip import TimesCLIPConfig
from .heads import BranchHeads, SampleHead, unfitted_kernels
from .layers import check_sample_shape
from .losses import weight_by_label_count
from .messages import warn_caller
from .outputs import TimesCLIPOutput
from .pretrained_model import TimesCLIPPreTrainedModel

_VISION_FEATURES = 3  # its place among what a body reads


class TaskModel(TimesCLIPPreTrainedModel):
    """A body, a head and, where configured, an alignment: answers, and losses when labels are given.

    A task adds `task`, `output_class` and the hooks `_read`, `_answers` and `_measure`.

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
        future_values: Tensor | None = None,
    ) -> TimesCLIPOutput:
        """Answers, and measures the answer when labels are given; with `return_dict=False` all of it is a tuple.

        Args:
            patch_values, patch_mask, pixel_values, vision_features, output_attentions, output_hidden_states: see
                `TimesCLIPModel.forward`. Images are not read without labels where plots only teach (`preset="paper"`).
            variate_values: `(B, V, T)`, scaled, wherever the series themselves are read: by shortcuts, shapes,
                `variate_selection="cross_attention"` and `covariate_response="own"`.
            loc, scale: `(B, V)` in raw units, what the processor subtracted and divided by; given back to forecasts,
                otherwise read with `use_loc_scale`.
            static_values: `(B, num_static_features)` as the processor encodes them; forecasts read them with
                `forecast_static`.
            future_values: `(B, T + H, num_future_covariates)` as the processor encodes them, of the context's steps
                and of those to forecast; read by forecasts alone.
            labels: `(B, num_targets)` for regression and `(B, H, V)` for prediction (those that are answered), in
                original units, NaN = not observed, float64 where float32 would cost digits; `(B,)` integers from 0 to
                `num_labels - 1` for classification.

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
        inputs = {
            "variate_values": variate_values, "loc": loc, "scale": scale, "static_values": static_values,
            "future_values": future_values,
        }  # fmt: skip
        return self.respond(outputs, inputs, labels, series)

    def respond(
        self, outputs: TimesCLIPOutput, inputs: dict[str, Any], labels: Tensor | None, series: Sequence[Any] = ()
    ) -> TimesCLIPOutput:
        """Answers and losses, from what the branches say of a batch.

        Args:
            outputs: of the body.
            inputs: `variate_values`, `loc`, `scale`, `static_values` and `future_values` as given, or `None`.
            labels: as for `forward`.
            series: what the body read, for the other models of an ensemble.
        """
        scaled = self._join(self._read(outputs, inputs), series, inputs)
        found: dict[str, Any] = {**self._answers(scaled, inputs), **outputs}
        if labels is None:
            return self.output_class(**found)
        losses = self._losses(scaled, found, labels, inputs)
        if self.task_objective is None:
            losses = self._weigh(losses, labels)
        return self.output_class(**found, **self._combine_losses(losses, outputs))

    def _read(self, outputs: TimesCLIPOutput, inputs: dict[str, Any]) -> Tensor:
        """What the head says, in fp32 and in the unit that the loss counts in.

        Args:
            outputs: what the branches say of the batch.
            inputs: `variate_values`, `loc`, `scale`, `static_values` and `future_values` as given, or `None`.
        """
        raise NotImplementedError

    def _join(self, scaled: Tensor, series: Sequence[Tensor | None], inputs: dict[str, Any]) -> Tensor:
        """The same of an ensemble, whose other models read the batch, too."""
        return scaled

    def _answers(self, scaled: Tensor, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """The same as people get it, by the names of the output's fields."""
        raise NotImplementedError

    def _losses(self, scaled: Tensor, found: dict[str, Any], labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        """`(2,)`: what training minimises of the task, and the loss of the answer: with one head, the same."""
        return self._loss(scaled, found, found[str(self.task.answer)], labels, inputs).expand(2)

    def _loss(
        self, scaled: Tensor, found: dict[str, Any], answer: Tensor, labels: Tensor, inputs: dict[str, Any]
    ) -> Tensor:
        """The task loss of one answer."""
        if self.task_objective is None:
            return self._measure(scaled, answer, labels, inputs)
        return self.task_objective(self.output_class(**{**found, str(self.task.answer): answer}), labels)

    def _measure(self, scaled: Tensor, answer: Tensor, labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The task loss of an answer, a mean over the observed labels."""
        raise NotImplementedError

    def _loc_scale(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Level and spread `(B, V)` of each variate, which the processor took away."""
        for name in ("loc", "scale"):
            if inputs[name] is None:
                raise ValueError(f"{name} is missing: give the loc and scale that the processor returns.")
            check_sample_shape(name, inputs[name], (self.config.num_variates,))
        return inputs["loc"], inputs["scale"]

    def _weigh(self, losses: Tensor, labels: Tensor) -> Tensor:
        """In training, means over the labels of a batch by their share in the batch of all processes."""
        objective: Any = self.alignment
        if objective is not None:
            return objective.weigh(losses, labels)
        return weight_by_label_count(losses, labels) if self.training else losses

    def _combine_losses(self, losses: Tensor, outputs: TimesCLIPOutput) -> dict[str, Any]:
        """What is minimised, the loss of the answer, and the contrastive one."""
        minimised, own_loss = losses.unbind()
        objective: Any = self.alignment
        if objective is None:
            return {"loss": minimised, "task_loss": own_loss}
        contrast = objective(outputs.image_embeds, outputs.text_embeds)
        return {"loss": objective.combine(minimised, contrast), "task_loss": own_loss, "alignment_loss": contrast}


UNFITTED = (
    "the kernels of this model were never fitted and say nothing; with head='kernel' it answers the mean for every "
    "series: call fit_head(model, processor, train), or train with TimesCLIPTrainer"
)


class WholeSeriesModel(TaskModel):
    """What models share that say something about a series as a whole, in `num_outputs` numbers.

    `config.branch_fusion`: the numbers come from one head on all readings (`"joint"`), or from one head for each
    branch, `(B, branches, num_outputs)` (`"late"`); then every branch has its own loss, so that none starves because
    another one has learnt the easy part, and `_mean_answer` of all is the answer.
    """

    head: Any

    def __init__(self, config: TimesCLIPConfig, num_outputs: int):
        if config.use_loc_scale and config.variate_mean is None:
            raise ValueError(
                "use_loc_scale=True needs variate_mean and variate_std; processor.complete_config sets them."
            )
        if config.num_target_variates is not None or config.num_future_covariates:
            raise ValueError(
                "num_target_variates and num_future_covariates are for forecasts; here all variates count."
            )
        self.is_late = config.branch_fusion == "late"
        super().__init__(config, lambda: (BranchHeads if self.is_late else SampleHead)(config, num_outputs))
        self.members = nn.ModuleList()  # of an ensemble, beside this model itself
        for _ in range(config.ensemble_size - 1):
            alone = copy.deepcopy(config)
            alone.ensemble_size = 1
            self.members.append(type(self)(alone))  # type: ignore[call-arg]

    @classmethod
    def answer_inputs(cls, config: TimesCLIPConfig) -> set[str]:
        names = super().answer_inputs(config) | ({"loc", "scale"} if config.use_loc_scale else set())
        return names | ({"static_values"} if config.num_static_features else set())

    def _read(self, outputs: TimesCLIPOutput, inputs: dict[str, Any]) -> Tensor:
        static, level = inputs["static_values"], self._level(inputs)
        readings = self.readings(outputs)
        if level is not None:
            readings = {name: torch.cat([parts, _beside(parts, level)], dim=-1) for name, parts in readings.items()}
        values = inputs["variate_values"]
        if not self.is_late:
            return self.head(readings["all"], static, values, level).float()
        said = [
            head(readings[name], static) if name in readings else head(values, level, static)
            for name, head in self.head.items()
        ]
        return torch.stack([answer.float() for answer in said], dim=1)  # (B, branches, num_outputs)

    def _join(self, scaled: Tensor, series: Sequence[Tensor | None], inputs: dict[str, Any]) -> Tensor:
        if not len(self.members):
            return scaled
        if series[_VISION_FEATURES] is not None:
            raise ValueError("vision_features are those of one tower, and the models of an ensemble have their own.")
        said = [scaled]
        members: Any = self.members
        for member in members:
            read = member.timesclip(*series, use_vision=self.answer_uses_vision, return_dict=True)
            said.append(member._read(read, inputs))
        inputs["models"] = torch.stack(said)
        return self._mean_of_models(inputs["models"])

    def _mean_of_models(self, said: Tensor) -> Tensor:
        """One of what several models say, `(models, ..., num_outputs)`."""
        return said.mean(dim=0)

    def freeze_towers(self) -> None:
        super().freeze_towers()
        for member in getattr(self, "members", ()):
            member.freeze_towers()

    def series_answer(
        self,
        variate_values: Tensor,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
        branch: str = "series",
        **_: Any,
    ) -> Tensor:
        """What the series themselves say `(B, num_outputs)`, scaled; the rest of a batch is not read (late fusion).

        `branch`: `"series"`, or `"shapes"`.
        """
        level = self._level({"loc": loc, "scale": scale})
        return self.head[branch](variate_values, level, static_values)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; kernels that nobody has fitted are told."""
        if unfitted_kernels(self):
            warn_caller(UNFITTED)
        return super().save_pretrained(*args, **kwargs)

    def readings(self, outputs: TimesCLIPOutput) -> dict[str, Tensor]:
        """What each head gets of every variate `(B, V, width)`, by its branch; `"all"`: side by side for one head."""
        kind = "embeds" if self.config.head_reads == "embeds" else "features"
        names = {"vision": f"{'image' if kind == 'embeds' else 'vision'}_{kind}", "text": f"text_{kind}"}
        parts = {branch: outputs[name] for branch, name in names.items() if branch in self.config.branches}
        parts = {branch: part.to(self.dtype) for branch, part in parts.items()}
        selected = outputs.selected_embeds
        if not self.is_late:
            found = [part for part in (*parts.values(), selected) if part is not None]
            widest = max(part.shape[1] for part in found)  # one image for all variates goes with each of them
            return {"all": torch.cat([part.expand(-1, widest, -1) for part in found], dim=-1)}
        if selected is None:
            return parts
        shares = selected.chunk(len(parts), dim=-1)
        return {
            name: torch.cat([part, own[:, : part.shape[1]]], dim=-1)
            for (name, part), own in zip(parts.items(), shares, strict=True)
        }

    def _level(self, inputs: dict[str, Any]) -> Tensor | None:
        """`loc` and `scale` in units of the training data `(B, V, 2)`, where heads read them."""
        if not self.config.use_loc_scale:
            return None
        loc, scale = self._loc_scale(inputs)
        mean, std = loc.new_tensor(self.config.variate_mean), loc.new_tensor(self.config.variate_std)
        return torch.stack([(loc - mean) / std, scale / std], dim=-1).to(self.dtype)

    def _answers(self, scaled: Tensor, inputs: dict[str, Any]) -> dict[str, Tensor]:
        answer = str(self.task.answer)
        if not self.is_late:
            return {answer: self._one_answer(scaled)}
        said = self._one_answer(self._comparable(scaled))
        return {answer: self._one_answer(self._mean_answer(scaled)), "branch_predictions": said}

    def _losses(self, scaled: Tensor, found: dict[str, Any], labels: Tensor, inputs: dict[str, Any]) -> Tensor:
        if not self.is_late:
            return super()._losses(scaled, found, labels, inputs)
        said = zip(scaled.unbind(1), found["branch_predictions"].unbind(1), strict=True)
        minimised = sum(self._loss(own, found, answer, labels, inputs) for own, answer in said)
        mean = self._mean_answer(scaled).detach()
        own_loss = self._loss(mean, found, found[str(self.task.answer)].detach(), labels, inputs)
        return torch.stack([minimised, own_loss])  # type: ignore[list-item]

    def _branch_weights(self, like: Tensor) -> Tensor:
        """`(branches, 1)`, in sum 1; not set: equal, but for heads that nobody has fitted, which say nothing."""
        config = self.config
        fitted = config.num_centers > 0 or config.head == "kernel"
        silent = {"series": config.kernel_shortcut and not fitted, "shapes": not fitted}
        told = [0.0 if silent.get(name) else 1.0 for name in config.branches]
        return like.new_tensor(config.branch_weights or [share / sum(told) for share in told])[:, None]

    def _comparable(self, scaled: Tensor) -> Tensor:
        """What the branches say `(B, branches, num_outputs)`, in a form in which they can be compared."""
        return scaled

    def _mean_answer(self, scaled: Tensor) -> Tensor:
        """The weighted mean of what the branches say, `(B, branches, num_outputs)` to `(B, num_outputs)`."""
        return (self._branch_weights(scaled) * scaled).sum(dim=1)

    def _one_answer(self, scaled: Tensor) -> Tensor:
        """What was said `(..., num_outputs)`, as people get it."""
        return scaled

    def _disagreement(self, scaled: Tensor, inputs: dict[str, Any]) -> Tensor | None:
        """By how much models and branches differ in their answers `(B, num_outputs)`; `None`: there is one alone."""
        said = inputs.get("models", scaled[None])  # (models, B, branches where late, num_outputs)
        weights = self._branch_weights(scaled) / len(said)
        if not self.is_late:
            said, weights = said[:, :, None], scaled.new_ones(1, 1) / len(said)
        if len(said) * said.shape[2] == 1:
            return None
        mean = (weights * said).sum(dim=(0, 2))
        return (weights * (said - mean[:, None]).square()).sum(dim=(0, 2)).sqrt()


def _beside(parts: Tensor, level: Tensor) -> Tensor:
    """Level and spread `(B, V, 2)` of each variate, or, beside one image for all, of all `(B, 1, 2 V)`."""
    return (level if parts.shape[1] == level.shape[1] else level.flatten(1)[:, None]).to(parts.dtype)


__all__ = ["TaskModel", "WholeSeriesModel"]
