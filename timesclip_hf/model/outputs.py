# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the models return. Import these names from `timesclip_hf.model.modeling_timesclip`.

Tuples begin with the losses and the answer. dataclasses put the fields of the last base first, so these stand in bases
of their own behind `TimesCLIPOutput`.
"""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class TimesCLIPOutput(ModelOutput):
    """What the two branches say about each variate.

    Args:
        image_embeds: `(B, V, D)`, absent without a vision branch; `(B, 1, D)` with `layout="grid"`.
        text_embeds: `(B, V, D)`, absent without a text branch.
        text_tokens: `(B, V, 1 + N, width)`, the text tower's output, CLS first; absent without a text branch.
        selected_embeds: `(B, V, D)` after variates informed each other, absent without variate selection. With
            `branch_fusion="late"` each branch has its own, side by side, vision first.
        vision_features: `(B, V, width)`, what `config.vision_pooling` makes of the vision tower's output; can be fed
            back in place of images. `(B, 1, width)` with `layout="grid"`.
        selection_attentions: `(B, heads, V, V)`, on request: how much variate i (row) listens to variate j (column);
            with `branch_fusion="late"` the heads of the vision branch, then those of the text branch.
        hidden_states: on request, of the text tower: `(B * V, 1 + N, width)` before the first layer and after each;
            the last is `text_tokens`. A sample's variates follow one another: `states.unflatten(0, (-1, V))`.
        attentions: on request, of the text tower: `(B * V, heads, 1 + N, 1 + N)` for each layer, which a
            call that asks for them computes without fused kernels; absent without a text branch.
        text_features: `(B, V, width)`, what `config.text_pooling` makes of the text tower's tokens.
    """

    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    text_tokens: Tensor | None = None
    selected_embeds: Tensor | None = None
    vision_features: Tensor | None = None
    selection_attentions: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    text_features: Tensor | None = None


@dataclass
class _Uncertainty(ModelOutput):
    quantiles: Tensor | None = None
    spreads: Tensor | None = None


@dataclass
class _BranchPredictions(ModelOutput):
    branch_predictions: Tensor | None = None


@dataclass
class _PredictionsAndLosses(ModelOutput):
    loss: Tensor | None = None
    predictions: Tensor | None = None
    task_loss: Tensor | None = None
    alignment_loss: Tensor | None = None


@dataclass
class _LogitsAndLosses(ModelOutput):
    loss: Tensor | None = None
    logits: Tensor | None = None
    task_loss: Tensor | None = None
    alignment_loss: Tensor | None = None


@dataclass
class _AlignmentLoss(ModelOutput):
    loss: Tensor | None = None
    alignment_loss: Tensor | None = None


@dataclass
class TimesCLIPRegressionOutput(_Uncertainty, _BranchPredictions, TimesCLIPOutput, _PredictionsAndLosses):
    """A regression and its losses, and what `TimesCLIPOutput` has.

    Args:
        loss: scalar, what training minimises: task loss and weighted alignment loss; present when labels are given.
        predictions: `(B, num_targets)` in original units.
        branch_predictions: `(B, branches, num_targets)`, what each of `config.branches` says, in original units; with
            `branch_fusion="late"`, where `loss` is the sum of the losses of the branches and `predictions` their mean.
        task_loss: scalar, `config.loss` of `predictions` on standardised targets.
        alignment_loss: scalar, unweighted contrastive loss; present with labels and `config.alignment`.
        quantiles: `(B, num_targets, Q)` at `config.answer_levels`, in original units; of `loss="quantile"` and
            `"gaussian"`.
        spreads: `(B, num_targets)` in original units, how unsure the model is in comparison, not a calibrated error:
            the standard deviation of `loss="gaussian"`; of other point answers the deviation among the branches of
            late fusion and the models of an ensemble, where there are several.
    """


@dataclass
class TimesCLIPPredictionOutput(_Uncertainty, TimesCLIPOutput, _PredictionsAndLosses):
    """A forecast and its losses, and what `TimesCLIPOutput` has.

    Args:
        loss, alignment_loss: see `TimesCLIPRegressionOutput`.
        predictions: `(B, H, V)` in original units.
        quantiles: `(B, H, V, Q)`, see `TimesCLIPRegressionOutput`.
        spreads: `(B, H, V)`, the standard deviation of `loss="gaussian"`, else the `scale` of the context.
        task_loss: scalar, `config.loss` over all observed steps, see `config.error_scale`.
    """


@dataclass
class TimesCLIPClassificationOutput(_BranchPredictions, TimesCLIPOutput, _LogitsAndLosses):
    """A classification and its losses, and what `TimesCLIPOutput` has.

    Args:
        loss, alignment_loss: see `TimesCLIPRegressionOutput`.
        logits: `(B, num_labels)`.
        branch_predictions: `(B, branches, num_labels)`, the logarithms of each branch's probabilities; see
            `TimesCLIPRegressionOutput`.
        task_loss: scalar, cross-entropy of `logits`.
    """


@dataclass
class TimesCLIPPreTrainingOutput(TimesCLIPOutput, _AlignmentLoss):
    """The alignment of the two branches, and what `TimesCLIPOutput` has.

    Args:
        loss: scalar, the alignment loss.
        alignment_loss: the same.
    """


__all__ = [
    "TimesCLIPClassificationOutput",
    "TimesCLIPOutput",
    "TimesCLIPPreTrainingOutput",
    "TimesCLIPPredictionOutput",
    "TimesCLIPRegressionOutput",
]
