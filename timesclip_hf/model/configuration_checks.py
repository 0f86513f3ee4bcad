# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What the fields of a configuration may be, alone and beside each other: checked before anything is allocated."""

import math
from typing import Any

from .feature_layers import layer_number
from .ink import WITH_PATCHES
from .intervals import check_calibration
from .tower_configs import WITHOUT_CLS

# 400 MB in fp32; 10 000 variates of 1 000 steps are half of it.
_MAX_NUMBERS = 10**8
_FEWEST_SHAPES = 168  # two numbers of each kernel of `shapes`


def check_fields(config: Any) -> None:
    """Raises `ValueError` that names the field of a `TimesCLIPConfig`, its value, and what was expected."""
    _check_sizes(config)
    _check_branches(config)
    _check_fractions(config)
    _check_statistics(config)
    _check_class_weights(config)
    _check_branch_weights(config)
    _check_distribution(config)
    check_calibration(config.calibration)


def _check_sizes(config: Any) -> None:
    """Sizes that must be positive and fit each other."""
    for name in (
        "num_variates", "context_length", "patch_length", "patch_stride", "projection_dim", "num_targets",
        "prediction_length", "vision_chunk_size", "text_chunk_size", "alignment_warmup_steps",
        "selection_num_heads", "ensemble_size",
    ):  # fmt: skip
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}.")
    for name in ("num_static_features", "num_future_covariates", "num_centers", "shape_features"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name} must be 0 or more, got {getattr(config, name)}.")
    if config.num_target_variates is not None and not 1 <= config.num_target_variates <= config.num_variates:
        raise ValueError(
            f"num_target_variates must be 1 to num_variates ({config.num_variates}), got {config.num_target_variates}."
        )
    if config.patch_length > config.context_length:
        raise ValueError(
            f"patch_length ({config.patch_length}) is longer than context_length ({config.context_length}); "
            "choose a patch_length that fits, and a patch_stride of about half of it."
        )
    # From a stranger's file, too: checked before anything is allocated.
    numbers = config.num_variates * config.num_patches * config.patch_length
    if numbers > _MAX_NUMBERS:
        raise ValueError(
            f"one series would become {numbers:.0e} numbers: {config.num_variates} variates x {config.num_patches} "
            f"patches x {config.patch_length} steps ({_MAX_NUMBERS:.0e} at most). Choose a patch_stride of about half "
            "of patch_length, and shorter patches."
        )
    if config.variate_selection is not None and config.projection_dim % config.selection_num_heads != 0:
        raise ValueError(
            f"projection_dim ({config.projection_dim}) is not a multiple of selection_num_heads "
            f"({config.selection_num_heads})."
        )


def _check_branches(config: Any) -> None:
    """At least one branch, and two where they are compared."""
    if config.vision_config is None and config.text_config is None:
        raise ValueError("vision_config and text_config are both None: a model needs at least one branch.")
    if config.vision_config is not None and config.vision_feature_layer is not None:
        layer_number(config.vision_config, config.vision_feature_layer)
    elif not getattr(config.vision_config, "vision_use_head", True):
        raise ValueError(
            "vision_config has vision_use_head=False: without its head the tower gives no pooled feature."
        )
    family = getattr(config.vision_config, "model_type", None)
    if config.blank_patches != "keep" and family is not None and family not in WITH_PATCHES:
        raise ValueError(
            f"blank_patches={config.blank_patches!r}, but the layers of a {family} read no sequence of patches that "
            f"can be masked; choose 'keep', or a tower of {', '.join(WITH_PATCHES)}."
        )
    if config.variate_selection == "cross_attention" and config.text_config is None:
        raise ValueError(
            "variate_selection='cross_attention' asks the text tower, but text_config is None; choose 'gated' or None."
        )
    if (channels := getattr(config.vision_config, "num_channels", 3)) != 3:
        raise ValueError(f"vision_config has num_channels={channels}, but plots have 3 colours.")
    if getattr(config.text_config, "is_decoder", False):
        raise ValueError("text_config has is_decoder=True: patches must see each other in both directions.")
    if config.vision_pooling.startswith("cls") and getattr(config.vision_config, "model_type", "") in WITHOUT_CLS:
        raise ValueError(
            f"vision_pooling={config.vision_pooling!r}, but a {config.vision_config.model_type} has no CLS token; "
            "choose 'pooler' or 'mean'."
        )
    if (config.head == "kernel" or config.kernel_shortcut) and config.branch_fusion != "late":
        raise ValueError("head='kernel' and kernel_shortcut=True are for branch_fusion='late'.")
    if config.shape_features and config.branch_fusion != "late":
        raise ValueError(f"shape_features={config.shape_features}: shapes are a branch for branch_fusion='late'.")
    if 0 < config.shape_features < _FEWEST_SHAPES:
        raise ValueError(
            f"shape_features={config.shape_features}: 0, or at least {_FEWEST_SHAPES}, two of each kernel."
        )
    if config.branch_fusion == "late" and config.variate_selection == "cross_attention":
        raise ValueError(
            "branch_fusion='late' gives each branch a variate selection of its own, and that of "
            "variate_selection='cross_attention' asks the text tower; choose 'gated' or None."
        )
    if config.text_config is None and config.num_drawn_variates < config.num_variates:
        raise ValueError(
            f"num_target_variates={config.num_target_variates} of {config.num_variates} variates are drawn, and "
            "without a text branch nothing reads the others: set draw_covariates=True."
        )
    if config.alignment is not None and (config.vision_config is None or config.text_config is None):
        raise ValueError("alignment compares two branches, but one of them is None; set alignment=None.")


def _check_fractions(config: Any) -> None:
    """Probabilities and weights."""
    for name in ("text_dropout", "selection_dropout"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must be in [0, 1), got {getattr(config, name)}.")
    if not 0 <= config.background <= 1:
        raise ValueError(f"background must be in [0, 1], got {config.background}.")
    if not 0 <= config.alignment_alpha <= 1:
        raise ValueError(f"alignment_alpha must be in [0, 1], got {config.alignment_alpha}.")
    if not (math.isfinite(config.alignment_weight) and config.alignment_weight > 0):
        raise ValueError(
            f"alignment_weight must be positive, got {config.alignment_weight}; alignment=None switches it off."
        )
    if not math.isfinite(config.logit_scale_init_value) or config.logit_scale_init_value > math.log(100):
        raise ValueError(f"logit_scale_init_value must be at most ln(100), got {config.logit_scale_init_value}.")
    expected = 3 if config.head == "mlp" else 1
    if not expected <= len(config.head_dropout) <= 3 or not all(0 <= p < 1 for p in config.head_dropout):
        raise ValueError(
            f"head_dropout must hold {expected} probabilities in [0, 1) for head={config.head!r}, "
            f"got {config.head_dropout}."
        )


def _check_branch_weights(config: Any) -> None:
    """A share for each branch."""
    weights, names = config.branch_weights, config.branches
    if weights is None:
        return
    if config.branch_fusion != "late":
        raise ValueError("branch_weights weigh the answers of branch_fusion='late'; here the branches share one head.")
    numbers = all(isinstance(w, (int, float)) and math.isfinite(w) and w >= 0 for w in weights)
    if len(weights) != len(names) or not numbers or abs(sum(weights) - 1) > 1e-4:
        raise ValueError(
            f"branch_weights must hold a number for each of {names}, none below 0 and in sum 1, got {weights}."
        )


def _check_distribution(config: Any) -> None:
    """Levels of quantiles, and what cannot have any."""
    levels = config.answer_levels
    numbers = all(isinstance(level, (int, float)) and 0 < level < 1 for level in levels)
    if not numbers or sorted(set(levels)) != levels or 0.5 not in levels:
        raise ValueError(
            f"quantile_levels must be rising numbers between 0 and 1, 0.5 among them (the point answer), got {levels}."
        )
    if config.loss not in ("quantile", "gaussian"):
        return
    if config.head == "kernel" or config.kernel_shortcut or config.shape_features:
        raise ValueError(
            f"loss={config.loss!r}, but kernels (head='kernel', kernel_shortcut=True) and shapes (shape_features) are "
            "fitted in closed form and give one number: choose kernel_shortcut=False (linear_shortcut=True), "
            "shape_features=0 and another head, or another loss and calibrate()."
        )
    if config.loss == "gaussian" and config.alignment is not None and config.alignment_weighting == "uncertainty":
        raise ValueError(
            "alignment_weighting='uncertainty' weighs losses that are above 0, and that of loss='gaussian' need "
            "not be; choose 'fixed' or 'warmup'."
        )


def _check_class_weights(config: Any) -> None:
    """A number for each class."""
    weights, classes = config.class_weights, config.num_labels
    if weights is not None and not (
        len(weights) == classes
        and all(isinstance(w, (int, float)) and math.isfinite(w) and w >= 0 for w in weights)
        and any(weights)
    ):
        raise ValueError(
            f"class_weights must hold num_labels={classes} finite numbers, none below 0 and not all 0, got {weights}; "
            "class_weights=None counts all samples alike."
        )


def _check_statistics(config: Any) -> None:
    """Lists of finite numbers, one for each variate, target or colour."""
    sizes = {"variate": config.num_variates, "target": config.num_targets, "image": 3}
    for prefix, size in sizes.items():
        mean, std = getattr(config, f"{prefix}_mean"), getattr(config, f"{prefix}_std")
        if (mean is None) != (std is None):
            raise ValueError(f"{prefix}_mean and {prefix}_std must be given together.")
        for name, values in ((f"{prefix}_mean", mean), (f"{prefix}_std", std)):
            if values is not None and (
                len(values) != size
                or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)
                or (name.endswith("std") and min(values) <= 0)
            ):
                raise ValueError(f"{name} must hold {size} finite numbers (std above 0), got {values}.")


__all__ = ["check_fields"]
