# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Named presets: what fills in a configuration's fields where nobody says otherwise."""

from typing import Any

# What to start from, by the number of labelled series, and the ablations of `full`.
PRESETS: dict[str, dict[str, Any]] = {
    "small": {"vision_config": None, "alignment": None, "variate_selection": None, "projection_dim": 64},
    "medium": {"alignment": None},
    "full": {},
    "no_alignment": {"alignment": None},
    "no_selection": {"variate_selection": None},
    "text_only": {"vision_config": None, "alignment": None},
    "vision_only": {"text_config": None, "alignment": None},
    # A head and a loss for each branch, kernels on the series beside them, and the mean of their answers: no branch
    # starves beside another.
    "late": {
        "branch_fusion": "late",
        "text_pooling": "mean",
        "vision_pooling": "mean",
        "kernel_shortcut": True,
        "kernel_sums": True,
        "alignment": None,
    },
    # Frozen towers, and kernels on what they and the series themselves say, beside shapes, for `fit_head`.
    "probe": {
        "branch_fusion": "late",
        "text_pooling": "mean",
        "vision_pooling": "mean",
        "head": "kernel",
        "head_reads": "features",
        "kernel_shortcut": True,
        "kernel_sums": True,
        "shape_features": 2000,
        "variate_selection": None,
        "alignment": None,
        "freeze_vision": True,
        "freeze_text": True,
    },
    # The forecaster as published (arXiv 2506.24124).
    "paper": {
        "alignment": "global",
        "learn_logit_scale": True,
        "variate_selection": "cross_attention",
        "fusion": "replace_last",
    },
    # Its text branch alone, and a linear path beside it: what small towers from random weights forecast best with.
    "forecast": {
        "vision_config": None,
        "alignment": None,
        "variate_selection": "cross_attention",
        "linear_shortcut": True,
    },
}


# Labelled series from which on a network that is trained is above heads in closed form (examples/RESULTS.md).
ENOUGH_TO_TRAIN = 1000


def preset_for(num_series: int) -> str:
    """The preset for a regression or classification of so many labelled series: `"probe"` or `"late"`."""
    if num_series < 1:
        raise ValueError(f"num_series is {num_series}: give the number of labelled series to learn from")
    return "probe" if num_series < ENOUGH_TO_TRAIN else "late"


__all__ = ["ENOUGH_TO_TRAIN", "PRESETS", "preset_for"]
