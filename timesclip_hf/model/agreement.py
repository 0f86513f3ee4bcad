# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model and its processor must both know: listed once, carried from one to the other, and compared."""

import copy
import reprlib
from typing import Any

from .future_values import future_width
from .messages import warn_caller
from .precision import costs_digits
from .processor_checks import views_of
from .static_values import static_width
from .tasks import Task

# By their names in the configuration. Parameters of both:
_PARAMETERS = (
    "context_length", "patch_length", "patch_stride", "padding", "num_variates", "num_target_variates",
    "draw_covariates",
)  # fmt: skip
# Parameters of the processor, which go with the model's vision tower:
_IMAGES = ("image_size", "image_mean", "image_std", "background", "layout")
# What `fit` finds out, and a model must be told:
_LEARNT = ("num_static_features", "num_future_covariates", "variate_mean", "variate_std", "target_mean", "target_std")
SHARED = (*_PARAMETERS, *_IMAGES, "num_targets", "prediction_length", *_LEARNT)
# Their towers read images of any size; what their configuration says is where to start.
_ANY_IMAGE_SIZE = ("dinov2", "resnet")
_USUAL_IMAGE_SIZE = 224
# Saved numbers may have been rounded to fp32 on their way.
_TOLERANCE = 1e-6


def known_to_model(config: Any) -> dict[str, Any]:
    """The shared fields as a `TimesCLIPConfig` has them; `None`: it does not say, or anything goes."""
    values = {name: getattr(config, name) for name in SHARED if name not in _IMAGES}
    vision = config.vision_config
    if vision is None:
        return values
    values["image_mean"], values["image_std"] = config.image_statistics
    values["layout"] = config.layout
    if vision.model_type not in _ANY_IMAGE_SIZE:
        values["image_size"] = vision.image_size
    if config.blank_patches != "keep":  # nobody else asks what is blank
        values["background"] = config.background
    return values


def known_to_processor(processor: Any) -> dict[str, Any]:
    """The shared fields as a processor has them, those that it learnt once it is fitted."""
    names = _PARAMETERS if processor.image_size is None else (*_PARAMETERS, *_IMAGES)
    values = {name: getattr(processor, name) for name in names}
    statistics = processor.statistics
    if statistics is None:
        return values
    values["num_static_features"] = static_width(statistics["static"] or [])
    values["num_future_covariates"] = future_width(statistics.get("future") or [])
    values["prediction_length"] = processor.prediction_length
    for prefix, learnt in (("variate", statistics["variates"]), ("target", statistics["targets"])):
        if learnt is not None:
            values |= {f"{prefix}_mean": learnt["mean"], f"{prefix}_std": learnt["std"]}
    if statistics["targets"] is not None:
        values["num_targets"] = len(statistics["targets"]["mean"])
    return values


def processor_parameters(config: Any, image_size: Any = None) -> dict[str, Any]:
    """Parameters of a processor that fits a model; `image_size` counts where the vision tower reads any."""
    values = {name: getattr(config, name) for name in _PARAMETERS}
    values["image_mean"], values["image_std"] = config.image_statistics
    vision = config.vision_config
    if config.num_future_covariates or config.num_target_variates:
        values["prediction_length"] = config.prediction_length
    size = getattr(vision, "image_size", _USUAL_IMAGE_SIZE) if vision is not None else None
    any_size = vision is not None and vision.model_type in _ANY_IMAGE_SIZE
    values["image_size"] = image_size if any_size and image_size is not None else size
    if vision is not None and config.blank_patches != "keep":
        values["background"] = config.background
    if vision is not None:
        values["layout"] = config.layout
    return values


def completed(config: Any, processor: Any) -> Any:
    """A copy of `config` that knows what a fitted processor learnt; raises `ValueError` where they disagree."""
    config, known = copy.deepcopy(config), known_to_processor(processor)
    for name in _LEARNT:
        if name in known:
            setattr(config, name, known[name])
    if told := _differences(processor, config, True):
        ours, theirs = _known_to_both(processor, config)
        fields = {name: ours[name] for name in _unlike(ours, theirs, True)}
        fields = fields or {"num_targets": len(processor.target_names)}
        wanted = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in fields.items())
        labels = f" (labels of {config.num_targets} columns)" if "num_targets" in fields else ""
        raise ValueError(
            f"Model and processor disagree: {'; '.join(told)}: complete_config fills in what was learnt, and changes "
            f"no sizes: give the configuration {wanted}, or make and fit "
            f"the processor as the configuration says{labels}"
        )
    check_agreement(processor, config)
    config.validate()
    return config


def check_agreement(processor: Any, config: Any, task: Task | None = None, training: bool = False) -> None:
    """Raises for a processor that was made for another model, also for the default one where none was saved.

    Compared is what both sides know: lengths, padding, number of variates, size and colours of images (where the model
    has a vision tower and the processor draws), width of static values, number of targets, statistics of variates and
    targets (within the rounding of fp32).

    Args:
        processor: a `TimesCLIPProcessor`.
        config: the model's `TimesCLIPConfig`.
        task: of the model's class; targets are not compared for one that predicts none. Not given: they are.
        training: the model must also know what its task takes from the processor's statistics; warnings say where
            errors of variates of different units would be added up, targets are not standardised, and what was fitted
            for nothing: static values of a forecaster, targets of a classifier.

    Raises:
        ValueError: names all that differs, both values, and what to do.
    """
    if not hasattr(processor, "statistics"):
        raise ValueError(f"processor must be a TimesCLIPProcessor, found {type(processor).__name__}")
    targets = task is None or task.errors_in == "targets"
    faults = _differences(processor, config, targets)
    if "stacked" in views_of(processor) and config.vision_config is not None and config.blank_patches != "keep":
        faults.append("the processor draws view='stacked', which has no paper, the model asks what is blank")
    if processor.statistics is None and "dataset" in (processor.scaling, processor.value_range):
        faults.append("the processor was never fitted")
    if training and task is not None:
        faults += _unknown_statistics(processor, config, task)
        _warn_of_unread(processor, config, task)
    if faults:
        raise ValueError(
            f"Model and processor disagree: {'; '.join(faults)}: save the fitted processor beside the model "
            "(processor.save_pretrained), or pass it as processor=. A new model is built from "
            "processor.complete_config(config), or from_vision_text_pretrained(..., **processor.config_fields())."
        )


def _differences(processor: Any, config: Any, targets: bool) -> list[str]:
    ours, theirs = _known_to_both(processor, config)
    faults = [
        f"the processor has {name}={reprlib.repr(ours[name])}, the model {reprlib.repr(theirs[name])}"
        for name in _unlike(ours, theirs, targets)
    ]
    names = processor.target_names
    if targets and names and len(names) != config.num_targets:
        faults.append(f"target_names are {names}, the model has {config.num_targets} targets")
    return faults


def _known_to_both(processor: Any, config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What processor and model know of each other."""
    both = known_to_processor(processor), known_to_model(config)
    for known in both:  # not set: all of them
        known["num_target_variates"] = known["num_target_variates"] or known["num_variates"]
    return both


def _unlike(ours: dict[str, Any], theirs: dict[str, Any], targets: bool) -> list[str]:
    """The fields that both sides know, and that differ."""
    both = [name for name in SHARED if ours.get(name) is not None and theirs.get(name) is not None]
    return [name for name in both if (targets or "target" not in name) and not _same(name, ours, theirs)]


def _unknown_statistics(processor: Any, config: Any, task: Task) -> list[str]:
    """What a model would train without, and quietly ignore."""
    known = known_to_processor(processor)
    if task.errors_in == "targets" and config.target_std is None and "target_std" in known:
        return ["target_mean and target_std are not set, but the processor was fitted with labels"]
    if task.errors_in != "variates" or config.error_scale != "dataset" or config.variate_std is not None:
        return []
    if "variate_std" in known:
        return ["variate_std is not set, so that errors of variates of different units would be added up"]
    if config.num_variates > 1:
        warn_caller(
            "Errors of all variates are added up in their own units, since the processor was not fitted: "
            "processor.fit(windows.train.series), then build the model from processor.complete_config(config)."
        )
    return []


def _warn_of_unread(processor: Any, config: Any, task: Task) -> None:
    """Tells what was fitted for nothing, and what was not fitted."""
    statistics = processor.statistics or {}
    if task.errors_in == "variates" and statistics.get("static") and not config.forecast_static:
        names = ", ".join(repr(column["name"]) for column in statistics["static"])
        warn_caller(
            f"the processor was fitted with static values ({names}), which no forecast depends on: {task.name} "
            "reads series alone, unless the configuration has forecast_static=True"
        )
    if task.answer == "logits" and statistics.get("targets"):
        warn_caller(
            "the processor was fitted with labels as if they were amounts, but classes have neither mean nor spread: "
            "their statistics are not used; fit without labels, processor.fit(series)"
        )
    if task.errors_in == "targets" and config.target_std is None:
        warn_caller(
            "targets are not standardised, since the processor was fitted without labels: processor.fit(train) of a "
            "Dataset with labels, or fit(series, labels=labels), then build the model from complete_config(config)"
        )


def _same(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether a field has the same value on both sides; a mean, too, is compared in units of its spread."""
    mine, other = ours[name], theirs[name]
    if name == "image_size":
        mine, other = ([size, size] if isinstance(size, int) else list(size) for size in (mine, other))
    if not name.endswith(("_mean", "_std")):
        return bool(mine == other)
    spreads = theirs[name.replace("_mean", "_std")]
    return len(mine) == len(other) and all(
        abs(a - b) <= _TOLERANCE * (spread if costs_digits(b, spread) else abs(b) + spread)
        for a, b, spread in zip(mine, other, spreads, strict=True)
    )


__all__ = ["SHARED", "check_agreement", "completed", "known_to_model", "known_to_processor", "processor_parameters"]
