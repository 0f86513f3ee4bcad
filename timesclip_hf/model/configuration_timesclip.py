# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of TimesCLIP: two tower configurations and the fields that join them."""

import copy
import math
from dataclasses import field, fields
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .configuration_checks import check_fields
from .json_objects import check_depth
from .plain import plain_arguments
from .presets import PRESETS, preset_for
from .remote_code import CarriesCode
from .tower_configs import (
    IMAGE_STATISTICS,
    TEXT_CONFIGS,
    TOWERS,
    VISION_CONFIGS,
    build_tower_config,
    check_kernels,
    check_settings,
    fields_with_tower,
    load_tower_config,
)


@plain_arguments
@strict
class TimesCLIPConfig(CarriesCode, PreTrainedConfig):
    r"""
    Everything that fixes the shape of a TimesCLIP model and of its training objective.

    Types and defaults stand at the fields below; the default towers are those of CLIP ViT-B/16.

    Args:
        vision_config: vision tower, of a family in `VISION_CONFIGS`. `None`: no vision branch, no parameters, no
            compute.
        text_config: text tower, of a family in `TEXT_CONFIGS`. `None`: no text branch.
        num_variates: variates V of a series.
        context_length: time steps T that the model sees.
        patch_length: steps L in one patch.
        patch_stride: steps S between the starts of two patches.
        padding: `"end"` or `"none"`; `"end"` repeats the last value S times before cutting patches (PatchTST, arXiv
            2211.14730), which gives floor((T - L) / S) + 2 patches; `"none"` gives floor((T - L) / S) + 1.
        patch_tokenizer: `"linear"` (the paper), whose weights are for this `patch_length` and number of patches, or
            `"resampled"`, whose weights are for any: each patch as 16 points, mean and spread, at its relative time.
        projection_dim: width D of the projected, comparable embeds.
        num_targets: numbers that a regression predicts for one series.
        prediction_length: time steps H that a forecast covers.
        loss: `"mse"`, `"mae"`, `"smape"`, `"quantile"` or `"gaussian"`; task loss of regression (on standardised
            targets) and forecasts (see `error_scale`); `"smape"`, 2 |y - f| / (|y| + |f|), is taken in original units.
            With the last two the answer is a distribution, of which outputs have the `quantiles`, and the median or
            mean as `predictions`: see `model.distributions`. Kernels, which are fitted in closed form, have none.
        quantile_levels: of these, rising from above 0 to below 1, 0.5 among them. Not set: nine, 0.025 to 0.975.
        error_scale: `"dataset"` or `"instance"`; what a forecast's error is divided by in the loss: `variate_std` (the
            published protocol; not set: 1), or the `scale` of its own context, for collections of series of very
            different levels (M4).
        class_weights: one for each class; the task loss multiplies a sample's cross-entropy by that of its class, and
            the classes' probabilities shift accordingly. `TimesCLIPTrainingArguments(class_weights="balanced")` sets
            them from the training data. Not set: 1.
        num_target_variates: how many of the variates a forecast answers, the first ones; the others are covariates of
            the past, which inform them. Not set: all.
        draw_covariates: draw the other ones, too; else the vision branch sees those that are answered alone.
        num_future_covariates: width C of `future_values`, covariates that a forecast knows in advance, as the
            processor encodes them; 0: none.
        covariate_memory: steps feel what covariates were for days before, too, see `CovariatePath`.
        covariate_response: `"common"`: covariates do the same to all series; `"own"`: each reacts in a way of its own,
            too, which its context shows, see `OwnResponse`.
        forecast_static: a forecast's head reads `static_values`, too.
        num_static_features: width of `static_values` as the processor encodes them; the head reads them beside the
            embeds (forecasts: with `forecast_static`).
        use_loc_scale: give the head the `loc` and `scale` that the processor removed (needs `variate_mean`,
            `variate_std`).
        variate_mean, variate_std: training statistics of each variate in raw units; standardise `loc` and `scale`
            before the head sees them, and a forecast's errors in the loss.
        target_mean, target_std: training statistics of the targets in raw units. The head predicts standardised
            targets; `predictions` are in raw units. Not set: 0 and 1.
        freeze_vision: vision tower in eval mode, without gradients, never updated.
        freeze_text: the same for the text tower's layers.
        vision_pooling: `"pooler"`, `"cls"`, `"mean"` or `"cls_mean"`; what is read of an image: the tower's own
            pooled output (the paper), its CLS token, the mean of its other tokens, or these two side by side.
        vision_feature_layer: hidden state of the vision tower that is pooled, from 0 (what enters its layers) on,
            negative from the end (-1: what the last layer gives); see `feature_layers`. Layers behind it are neither
            built nor loaded nor saved. `"pooler"` then stands for its CLS token, or without one the mean of all. Not
            set: the tower's published output.
        blank_patches: `"keep"`, `"drop"`, `"merge"`, `"merge_bands"` or `"auto"`; what becomes of patches of a plot
            without ink: read like all others, left out before the tower's layers, or merged to one token, or to one
            for each of four bands of rows, that counts as many (see `ink`; vision transformers only). A tower that is
            trained so answers so; one that was pretrained says something slightly else, and `FeatureCache` tells how
            much. `"auto"` reads them all until a feature cache is filled, which then sets the first of `"drop"` and
            `"merge_bands"` by which a sample of images keeps a cosine of .99, else `"keep"`.
        layout: `"variate"` or `"grid"`; a plot for each variate, or one image with the plots of all, V times fewer.
            What is said of it is said of the sample: `vision_features` are `(B, 1, width)`; its embed joins those of
            every variate, and is aligned with the mean of their text embeds, whatever `alignment` says.
        background: grey level of the processor's paper, by which blank patches are known; 1 is white.
        text_pooling: `"cls"`, `"mean"` or `"cls_mean"`; the same of patches; those with nothing observed are left out
            of the mean. A forecast's head reads all tokens.
        text_dropout: dropout on the tokens that enter the text tower.
        vision_chunk_size: images that the vision tower sees at once.
        text_chunk_size: patch sequences (one a variate) that the text tower sees at once; about as many tokens where
            it reads whole series. Both bound memory, however many variates there are: towers that pass gradients on
            compute every chunk again on the way back, a third more work, unless all fits into one chunk.
        alignment: `"variate"`, `"global"`, `"hybrid"` or `None`; what the InfoNCE loss compares across the batch: each
            variate with itself, the concatenation of all variates (the paper, arXiv 2506.24124), or both.
        alignment_alpha: share of the variate term in `"hybrid"`.
        alignment_weight: lambda, the weight of the alignment loss beside the task loss.
        alignment_weighting: `"fixed"`, `"warmup"` or `"uncertainty"`; `"warmup"` raises lambda linearly from 0 over
            `alignment_warmup_steps` training batches; `"uncertainty"` learns the weight of both losses (Kendall et al.
            2018, arXiv 1705.07115), lambda being the start.
        alignment_warmup_steps: training batches until `"warmup"` reaches lambda.
        logit_scale_init_value: log of 1 / tau.
        learn_logit_scale: learn tau (kept in fp32, 1 / tau at most 100).
        variate_selection: `"gated"`, `"cross_attention"` or `None`; how variates inform each other: gated
            self-attention over the embeds of both branches, or the paper's cross-attention of each variate's text
            embed to all variates' whole series (needs a text branch).
        selection_num_heads: attention heads of the selection, a divisor of `projection_dim`.
        selection_dropout: dropout on the selection's attention weights.
        head: `"mlp"`, `"linear"`, `"pooled"` or `"kernel"`; head of regression and classification. `"pooled"` attends
            over variates, so its size does not grow with V; `"kernel"` compares a sample with those of the training
            data, which it holds, and is fitted in closed form (`fit_head`), with `branch_fusion="late"`.
        num_centers: samples that kernels compare with; `fit_head` sets it.
        head_reads: `"embeds"`, or `"features"`: what the towers say themselves, which are then projected only for an
            alignment or a variate selection; what heads in closed form read (`fit_head`).
        head_dropout: dropout after each hidden layer of `"mlp"`; `"linear"`, `"pooled"` and forecasts apply the first
            to their input.
        branch_fusion: `"joint"`, one head on all embeds (the paper), or `"late"`: a selection, a head and a task loss
            for each branch, and the weighted mean of their answers (of their probabilities, for classes); for
            regression and classification.
        branch_weights: for `"late"`, one for each of `branches`, none below 0, in sum 1. `TimesCLIPTrainer` sets them
            by the validation part once it has trained. Not set: equal.
        ensemble_size: whole models, trained apart, whose answers (of classes, probabilities) are averaged; see
            `training.ensemble`. For regression and classification.
        fusion: `"replace_last"`, `"replace_first"` or `"concat"`; where a forecast's head takes in the selected embed:
            in place of the variate's last or first (CLS) text token, or beside all of them.
        linear_shortcut: a linear layer on the scaled series themselves, beside the branches. A forecast is added to
            that of the context's deviations from its last value (NLinear, Zeng et al. 2023, arXiv 2205.13504); both
            start at zero, so that training starts from repeating the last value. In regression and classification it
            reads static values (and `loc` and `scale`) too, starts at zero, and is added to the head's answer, or
            with `branch_fusion="late"` is a branch of its own.
        kernel_shortcut: that branch by kernels, in place of the linear layer; `TimesCLIPTrainer` fits it in closed
            form before the first step, where `fit_head` has not. The weights then hold training series.
        calibration: what `calibrate` found out on data that the model did not learn from, see `model.intervals`; kept
            here so that it goes wherever the model goes.
        kernel_sums: these kernels may read running sums over the steps in place of the values, where that does better
            on series left out: two series are then alike whose sums are, however their changes are spread.
        shape_features: numbers, about, that are read of shapes in the series wherever they stand, a branch of its own
            for `branch_fusion="late"`, see `model.shapes`; `fit_head` draws and fits it. 0: no such branch.
        image_mean, image_std: per-colour statistics that the vision tower was trained with. Not set: those of the
            tower's family.
        initializer_range: standard deviation of our own weights at the start.

    Raises:
        ValueError: a tower of a family that is not in the lists.
        huggingface_hub.errors.StrictDataclassError: values outside the ranges above, patches longer than the context,
            an alignment without both branches, or no branch at all.

    Example:

    ```python
    >>> from timesclip_hf import TimesCLIPConfig

    >>> config = TimesCLIPConfig.from_preset(
    ...     "full", towers="tiny", num_variates=7, context_length=36, patch_length=6, patch_stride=3
    ... )
    >>> config.num_patches
    12
    ```
    """

    model_type = "timesclip"
    # Read by transformers to pass attention implementation and dtype on to the towers. The towers themselves are built
    # below: transformers' own mechanism would build whatever model type a JSON file names.
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}
    # Trainer gathers every output that is not named here; the others are for people who call the model.
    keys_to_ignore_at_inference = (
        "task_loss alignment_loss image_embeds text_embeds text_tokens text_features selected_embeds "
        "vision_features selection_attentions branch_predictions hidden_states attentions quantiles spreads"
    ).split()

    # A tower's type is checked where it is built; `Any` spares every reader of its fields a cast.
    vision_config: Any = field(default_factory=lambda: dict(TOWERS["clip-b16"]["vision_config"]))
    text_config: Any = field(default_factory=lambda: dict(TOWERS["clip-b16"]["text_config"]))

    num_variates: int = 1
    context_length: int = 96
    patch_length: int = 16
    patch_stride: int = 8
    padding: Literal["end", "none"] = "end"
    patch_tokenizer: Literal["linear", "resampled"] = "linear"
    projection_dim: int = 512

    num_targets: int = 1
    prediction_length: int = 96
    loss: Literal["mse", "mae", "smape", "quantile", "gaussian"] = "mse"
    quantile_levels: list | None = None
    error_scale: Literal["dataset", "instance"] = "dataset"
    class_weights: list | None = None
    num_target_variates: int | None = None
    draw_covariates: bool = False
    num_future_covariates: int = 0
    covariate_memory: bool = False
    covariate_response: Literal["common", "own"] = "common"
    forecast_static: bool = False
    num_static_features: int = 0
    use_loc_scale: bool = False
    variate_mean: list | None = None
    variate_std: list | None = None
    target_mean: list | None = None
    target_std: list | None = None

    freeze_vision: bool = True
    freeze_text: bool = False
    vision_pooling: Literal["pooler", "cls", "mean", "cls_mean"] = "pooler"
    vision_feature_layer: int | None = None
    blank_patches: Literal["keep", "drop", "merge", "merge_bands", "auto"] = "keep"
    layout: Literal["variate", "grid"] = "variate"
    background: float | int = 1.0
    text_pooling: Literal["cls", "mean", "cls_mean"] = "cls"
    text_dropout: float | int = 0.1
    vision_chunk_size: int = 16
    text_chunk_size: int = 256

    alignment: Literal["variate", "global", "hybrid"] | None = "hybrid"
    alignment_alpha: float | int = 0.5
    alignment_weight: float | int = 0.1
    alignment_weighting: Literal["fixed", "warmup", "uncertainty"] = "fixed"
    alignment_warmup_steps: int = 500
    logit_scale_init_value: float | int = math.log(1 / 0.07)
    learn_logit_scale: bool = False

    variate_selection: Literal["gated", "cross_attention"] | None = "gated"
    selection_num_heads: int = 8
    selection_dropout: float | int = 0.1

    head: Literal["mlp", "linear", "pooled", "kernel"] = "mlp"
    num_centers: int = 0
    head_reads: Literal["embeds", "features"] = "embeds"
    head_dropout: list = field(default_factory=lambda: [0.3, 0.2, 0.1])
    branch_fusion: Literal["joint", "late"] = "joint"
    branch_weights: list | None = None
    ensemble_size: int = 1
    fusion: Literal["replace_last", "replace_first", "concat"] = "replace_last"
    linear_shortcut: bool = False
    kernel_shortcut: bool = False
    calibration: dict | None = None
    kernel_sums: bool = False
    shape_features: int = 0

    image_mean: list | None = None
    image_std: list | None = None
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_config = build_tower_config("vision_config", self.vision_config, VISION_CONFIGS)
        self.text_config = build_tower_config("text_config", self.text_config, TEXT_CONFIGS)
        super().__post_init__(**kwargs)
        self.architectures = self.architectures or []  # `AutoModel` looks here which model was saved

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """As in transformers; a file that cannot be read, or names code to run, is named."""
        file = f"{pretrained_model_name_or_path}: config.json"
        try:
            found, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        except RecursionError as error:
            raise ValueError(f"{file} cannot be read: it is nested too deeply") from error
        if not found:  # transformers would make a configuration of default settings
            raise OSError(f"{pretrained_model_name_or_path} has no config.json, or an empty one: save the model there")
        check_depth(found, file)
        check_kernels(file, found)
        return found, unused

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, for what a config.json says; faults that it would stumble over are named."""
        check_settings("config.json", config_dict)
        check_depth(config_dict, "config.json")
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def from_preset(
        cls, preset: str, towers: str = "clip-b16", num_series: int | None = None, **overrides: Any
    ) -> "TimesCLIPConfig":
        """A configuration from a named preset and a named pair of towers.

        Args:
            preset: `"auto"`, which goes by `num_series`, or one of `PRESETS`: `"probe"` (frozen towers under kernels,
                for `fit_head`: few hundred labels), `"late"` (both branches, each with a head and a loss of its own,
                beside kernels on the series), `"small"` (text branch alone), `"medium"` and `"full"` (both branches
                under one head, without and with alignment), an ablation of `full`; `"paper"` (the forecaster as
                published) or `"forecast"` (a small one: text branch, cross-attention selection, linear shortcut).
            towers: one of `TOWERS`: `"clip-b16"`, `"tiny"` (small enough to train from random weights) or
                `"timesclip-small"` (pretrained on synthetic series, see `from_vision_text_pretrained`).
            num_series: labelled series that there are to learn from, for `"auto"`; see `preset_for`.
            **overrides: any field; wins over preset and towers.

        Raises:
            ValueError: unknown preset, towers or field.
        """
        if preset == "auto":
            if num_series is None:
                raise ValueError("preset 'auto' goes by the number of labelled series: give num_series")
            preset = preset_for(num_series)
        if preset not in PRESETS:
            raise ValueError(f"Unknown preset {preset!r}; choose 'auto' or one of {sorted(PRESETS)}.")
        known = {item.name for item in fields(cls)} | {"attn_implementation", "num_labels"}
        if unknown := sorted(overrides.keys() - known):
            raise ValueError(f"Unknown fields {unknown} of {cls.__name__}; see its docstring for those there are.")
        if towers not in TOWERS:
            raise ValueError(f"Unknown towers {towers!r}; choose one of {sorted(TOWERS)}.")
        return cls(**copy.deepcopy({**TOWERS[towers], **PRESETS[preset], **overrides}))

    @classmethod
    def from_vision_text_pretrained(
        cls,
        vision: str | None,
        text: str | None,
        preset: str | None = None,
        hub_kwargs: dict[str, Any] | None = None,
        **overrides: Any,
    ) -> "TimesCLIPConfig":
        """A configuration for towers that come from checkpoints, and for the images that these were trained on.

        Only configurations are read; `from_vision_text_pretrained` of the models loads the weights.

        Args:
            vision: Hub id or folder of a CLIP or SigLIP pair, of a model of another vision family, or of a TimesCLIP
                model; `"timesclip-small"`, which ships; `"tiny"`: a small one of random weights; `None`: no vision
                branch.
            text: the same for the text tower.
            preset: one of `PRESETS`; `None`: `"full"` for two towers, `"text_only"` or `"vision_only"` for one.
            hub_kwargs: passed to both downloads (`token`, `cache_dir`, `local_files_only`, ...).
            **overrides: any other field.

        Raises:
            ValueError: an unsupported family, a preset without the branch that a checkpoint was given for, or one
                that aligns two branches, of which one was given.
        """
        if preset is None:
            preset = "full" if vision and text else "text_only" if text else "vision_only"
        for branch, name in (("vision", vision), ("text", text)):
            absent = f"{branch}_config" in PRESETS.get(preset, {})
            aligned = PRESETS.get(preset, {}).get("alignment", "") is not None
            if absent != (name is None) and (absent or aligned):
                found = "a checkpoint was given for it" if absent else f"{branch}=None was given"
                raise ValueError(f"preset {preset!r} has {'no' if absent else 'a'} {branch} branch, but {found}.")
        hub_kwargs = hub_kwargs or {}
        given: dict[str, Any] = {}
        towers: dict[str, Any] = {}
        for branch, name in (("vision", vision), ("text", text)):
            towers[f"{branch}_config"] = load_tower_config(name, branch, **hub_kwargs) if name is not None else None
            given |= fields_with_tower(name, branch, **hub_kwargs) if name is not None else {}
        given = {name: value for name, value in given.items() if name not in PRESETS.get(preset, {})}
        return cls.from_preset(preset, **{**given, **overrides, **towers})

    def to_dict(self) -> dict[str, Any]:
        """As in transformers, without the pointer to a repository's code: what is saved elsewhere lacks that code."""
        output: dict[str, Any] = super().to_dict()
        if type(self)._auto_class is None:  # else this class is such code, which transformers saves with it
            output.pop("auto_map", None)
        return output

    @property
    def num_patches(self) -> int:
        """Patches N of one variate (DESIGN 4, as in PatchTST)."""
        return (self.context_length - self.patch_length) // self.patch_stride + (2 if self.padding == "end" else 1)

    @property
    def num_answered_variates(self) -> int:
        """Variates that a forecast answers."""
        return self.num_target_variates or self.num_variates

    @property
    def num_drawn_variates(self) -> int:
        """Variates of which there are images."""
        return self.num_variates if self.draw_covariates else self.num_answered_variates

    @property
    def num_images(self) -> int:
        """Images of a sample."""
        return 1 if self.layout == "grid" else self.num_drawn_variates

    @property
    def branches(self) -> list[str]:
        """What answers on its own with `branch_fusion="late"`, in the order of `branch_weights`.

        Those of `tower_branches`, `"series"` for a shortcut and `"shapes"`, where there are such.
        """
        there = {"series": self.linear_shortcut or self.kernel_shortcut, "shapes": self.shape_features > 0}
        return [*self.tower_branches, *(name for name, part in there.items() if part)]

    @property
    def tower_branches(self) -> list[str]:
        """`"vision"`, `"text"`, those that there are."""
        there = {"vision": self.vision_config, "text": self.text_config}
        return [name for name, part in there.items() if part is not None]

    @property
    def answer_levels(self) -> list[float]:
        """The levels of an answer's `quantiles`."""
        return self.quantile_levels or [0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975]

    @property
    def numbers_per_answer(self) -> int:
        """Numbers K that a head gives for each target or step of a forecast: several, of a distribution."""
        return {"quantile": len(self.answer_levels), "gaussian": 2}.get(self.loss, 1)

    @property
    def image_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of the colours that the vision tower expects, red, green, blue."""
        if self.image_mean is not None and self.image_std is not None:
            return self.image_mean, self.image_std
        family = self.vision_config.model_type if self.vision_config is not None else "clip_vision_model"
        mean, std = IMAGE_STATISTICS[family]
        return list(mean), list(std)

    def validate_fields(self) -> None:
        """Part of `@strict`-powered validation, which transformers runs after construction and on `validate()`."""
        check_fields(self)


__all__ = ["PRESETS", "TEXT_CONFIGS", "TOWERS", "TimesCLIPConfig", "VISION_CONFIGS"]
