# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A trained model as a graph that needs none of our code: `torch.export` and ONNX, for any number of samples."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..model.modeling_timesclip import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPPreTrainedModel,
)
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.towers import vision_width
from .pipelines import check_processor

# What a model is asked for.
_ANSWERS: dict[type[TimesCLIPPreTrainedModel], str] = {
    TimesCLIPForRegression: "predictions",
    TimesCLIPForPrediction: "predictions",
    TimesCLIPForClassification: "logits",
}


class _Answer(nn.Module):
    """A model that takes the processor's keys by name and gives one tensor: no losses, no `None`."""

    def __init__(self, model: nn.Module, name: str):
        super().__init__()
        self.model = model
        self.name = name

    def forward(
        self,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        patch_values: Tensor | None = None,
        patch_mask: Tensor | None = None,
        variate_values: Tensor | None = None,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        static_values: Tensor | None = None,
    ) -> Tensor:
        outputs = self.model(
            pixel_values=pixel_values,
            vision_features=vision_features,
            patch_values=patch_values,
            patch_mask=patch_mask,
            variate_values=variate_values,
            loc=loc,
            scale=scale,
            static_values=static_values,
            return_dict=True,
        )
        return getattr(outputs, self.name)


def export_program(
    model: TimesCLIPPreTrainedModel, processor: TimesCLIPProcessor, vision_features: bool = False
) -> torch.export.ExportedProgram:
    """A model's answer as a `torch.export` program, for any number of samples.

    Args:
        model: for regression, classification or prediction. An adapter must be merged first.
        processor: the model's own.
        vision_features: take the vision tower's features in place of images.

    Returns:
        The program. `program.module()(**inputs)` takes those keys of the processor's batch that the model reads, by
        name, and gives `predictions` (regression `(B, num_targets)`, prediction `(B, H, V)`, in original units) or
        `logits` `(B, num_labels)`.

    Raises:
        ValueError: another kind of model, a processor that does not fit it, or `vision_features` without images.
    """
    name = next((name for kind, name in _ANSWERS.items() if isinstance(model, kind)), None)
    if name is None:
        raise ValueError(
            f"A {type(model).__name__} cannot be exported; models for regression, classification and prediction can, "
            "with an adapter after merge_and_unload()."
        )
    check_processor(processor, model.config)
    inputs = _example_inputs(model, processor, vision_features)
    batch = torch.export.Dim("batch")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.export.export(
                _Answer(model, name).eval(),
                (),
                kwargs=inputs,
                dynamic_shapes={key: {0: batch} for key in inputs},
            )
    finally:
        model.train(training)


def export_onnx(
    model: TimesCLIPPreTrainedModel,
    processor: TimesCLIPProcessor,
    path: str | Path,
    vision_features: bool = False,
) -> Path:
    """Writes a model's answer as an ONNX graph, and `processor_config.json` beside it.

    The graph's inputs are those keys of the processor's batch that the model reads, its one output is `predictions` or
    `logits`; the number of samples is free. A graph of more than 2 GB keeps its weights in a file beside it.

    Args:
        model: for regression, classification or prediction. An adapter must be merged first.
        processor: the model's own.
        path: where to write, such as `"served/model.onnx"`.
        vision_features: take the vision tower's features in place of images; the tower is then no part of the graph.

    Returns:
        The path.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        ValueError: as `export_program`.

    Example:

    ```python
    >>> import onnxruntime
    >>> from timesclip_hf import export_onnx

    >>> path = export_onnx(model, processor, "served/model.onnx")
    >>> session = onnxruntime.InferenceSession(path)
    >>> batch = processor(series, return_tensors="np")
    >>> session.run(["predictions"], {key.name: batch[key.name] for key in session.get_inputs()})
    ```
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("Writing ONNX needs onnx and onnxscript: pip install 'timesclip-hf[onnx]'.") from error
    path = Path(path)
    exported = export_program(model, processor, vision_features)
    names = list(_example_inputs(model, processor, vision_features))
    output = next(name for kind, name in _ANSWERS.items() if isinstance(model, kind))
    graph: Any = torch.onnx.export(
        exported, (), input_names=names, output_names=[output], dynamo=True, verbose=False, optimize=True
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    graph.save(path)
    processor.save_pretrained(path.parent)
    return path


def _example_inputs(model: Any, processor: TimesCLIPProcessor, vision_features: bool) -> dict[str, Tensor]:
    """Two samples of everything that the model reads, as the processor would make them."""
    config = model.config
    forecasts = isinstance(model, TimesCLIPForPrediction)
    sees = config.vision_config is not None and (not forecasts or model.vision_is_read)
    variates = config.num_variates
    if vision_features and not sees:
        raise ValueError("vision_features=True, but this model's answer does not depend on images.")
    if sees and not vision_features and processor.image_size is None:
        raise ValueError("The model reads images, but the processor draws none: its image_size is None.")
    shapes: dict[str, tuple[int, ...]] = {}
    if sees and vision_features:
        shapes["vision_features"] = (variates, vision_width(config.vision_config))
    elif sees:
        shapes["pixel_values"] = (variates, 3, *(processor.image_size or ()))
    if config.text_config is not None:
        shapes["patch_values"] = (variates, config.num_patches, config.patch_length)
        shapes["patch_mask"] = shapes["patch_values"][:2]
    if config.variate_selection == "cross_attention" or (forecasts and config.linear_shortcut):
        shapes["variate_values"] = (variates, config.context_length)
    if forecasts or config.use_loc_scale:
        shapes["loc"] = shapes["scale"] = (variates,)
    if not forecasts and config.num_static_features:
        shapes["static_values"] = (config.num_static_features,)
    inputs = {key: torch.ones(2, *shape, device=model.device) for key, shape in shapes.items()}
    if "patch_mask" in inputs:
        inputs["patch_mask"] = inputs["patch_mask"].bool()
    return inputs


__all__ = ["export_onnx", "export_program"]
