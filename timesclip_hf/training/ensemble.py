# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Models that were trained apart, as one that gives their mean and is saved as one folder."""

import copy
from collections.abc import Sequence
from typing import Any


def join_models(models: Sequence[Any]) -> Any:
    """One model whose answer is the mean of several ones' answers (of classes: of their probabilities).

    With late fusion each branch's answers are averaged first; `branch_weights` are the mean of theirs.

    Args:
        models: of one class and one configuration, but for `branch_weights`: of other seeds, say. Their weights are
            copied.

    Raises:
        ValueError: no model, models that differ, or ensembles themselves.
    """
    if not models:
        raise ValueError("models is empty: an ensemble needs at least one")
    configs = [_shared(model.config) for model in models]
    if any(type(model) is not type(models[0]) for model in models) or any(each != configs[0] for each in configs):
        raise ValueError("the models of an ensemble must be of one class and have one configuration")
    if models[0].config.ensemble_size != 1:
        raise ValueError("models[0] is an ensemble itself: join the models that it was made of")
    config = copy.deepcopy(models[0].config)
    config.ensemble_size, config.calibration = len(models), None
    weights = [model.config.branch_weights for model in models if model.config.branch_weights]
    if weights:
        mean = [round(sum(shares) / len(weights), 4) for shares in zip(*weights, strict=True)]
        mean[mean.index(max(mean))] += 1 - sum(mean)
        config.branch_weights = mean
    joined = type(models[0])(config)
    state = dict(models[0].state_dict())
    for number, model in enumerate(models[1:]):
        state |= {f"members.{number}.{name}": weight for name, weight in model.state_dict().items()}
    joined.load_state_dict(state)
    joined.starts_from_checkpoint = models[0].starts_from_checkpoint
    return joined.to(models[0].device).eval()


def _shared(config: Any) -> dict[str, Any]:
    """What configurations of an ensemble have in common."""
    return {name: value for name, value in config.to_dict().items() if name not in ("branch_weights", "calibration")}


__all__ = ["join_models"]
