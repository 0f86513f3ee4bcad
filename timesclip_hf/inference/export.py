# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A trained model as a graph that needs none of our code: `torch.export` and ONNX, for any number of samples."""

import json
import logging
from collections.abc import Iterable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..model.agreement import check_agreement
from ..model.feature_layers import image_width
from ..model.ink import MODES
from ..model.intervals import INTERVALS_FILE, interval_facts
from ..model.modeling_timesclip import TimesCLIPPreTrainedModel
from ..model.preprocessing import has_large_levels
from ..model.processing_timesclip import TimesCLIPProcessor


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
        `logits` `(B, num_labels)`. Of models with quantiles, or that were calibrated by them or by spreads, it gives a
        tuple: the answer, and those of `output_names`.

    Raises:
        ValueError: another kind of model, a processor that does not fit it, `vision_features` without images, or a
            model that drops or merges blank patches.
    """
    if not isinstance(model, TimesCLIPPreTrainedModel) or model.task.answer is None:
        raise ValueError(
            f"A {type(model).__name__} cannot be exported; models with an answer of their own can (regression, "
            "classification, prediction), with an adapter after merge_and_unload()"
        )
    check_agreement(processor, model.config, model.task)
    blank_patches, reads_images = model.config.blank_patches, "pixel_values" in model.answer_inputs(model.config)
    if blank_patches in MODES and reads_images and not vision_features:
        raise ValueError(
            f"blank_patches={blank_patches!r} cannot be exported, since which patches are read depends on what is "
            "drawn: set model.config.blank_patches = 'keep' and look at what that changes, or export the rest of the "
            "model with vision_features=True"
        )
    inputs = _example_inputs(model, processor, vision_features)
    batch = torch.export.Dim("batch")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.export.export(
                _answering(model, inputs),
                (),
                inputs,
                dynamic_shapes={name: {0: batch} for name in inputs},
            )
    finally:
        model.train(training)


def export_onnx(
    model: TimesCLIPPreTrainedModel,
    processor: TimesCLIPProcessor,
    path: str | Path,
    vision_features: bool = False,
    int8: bool = False,
) -> Path:
    """Writes a model's answer as an ONNX graph, and `processor_config.json` beside it.

    The graph's inputs are those keys of the processor's batch that the model reads, its output is `predictions` or
    `logits`, and with it what intervals rest on (`quantiles`, `spreads`); the number of samples is free. What
    `calibrate` found goes into `intervals.json`, for `NumpyProcessor.interval`. A graph of more than 2 GB keeps its
    weights in a file beside it.

    Args:
        model, processor, vision_features: as for `export_program`; a tower whose features are given is left out.
        path: where to write, such as `"served/model.onnx"`; it is returned.
        int8: the weights of the towers' matrix products in 8 bits, a scale for each output, and what they are
            multiplied with rounded to 8 bits as it comes (onnxruntime's dynamic quantisation). Heads, kernels,
            tokenizer and attention stay in fp32. Answers differ: see examples/RESULTS.md for how much, and for how
            fast.

    Raises:
        ImportError: onnx or onnxscript is not installed, or with `int8` onnxruntime.
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
    graph: Any = torch.onnx.export(
        exported,
        (),
        input_names=names,
        output_names=output_names(model),
        dynamo=True,
        verbose=False,
        optimize=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    graph.save(path)
    if int8:
        _quantize_towers(path)
    processor.save_pretrained(path.parent)
    intervals = path.parent / INTERVALS_FILE
    intervals.unlink(missing_ok=True)
    if (facts := interval_facts(model.config)) is not None:
        intervals.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return path


def _quantize_towers(path: Path) -> None:
    """Rewrites a graph with the weights of its towers in 8 bits."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise ImportError("int8=True needs onnxruntime: pip install 'timesclip-hf[onnx]'.") from error
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights]
    names = [
        node.name
        for node in products
        if any(tower in prop.value for prop in node.metadata_props for tower in ("vision_tower", "text_tower"))
    ]
    external = path.with_name(f"{path.name}.data")  # of a graph of more than 2 GB
    logging.disable(logging.WARNING)  # of advice to fuse layers first, which changes nothing here
    try:
        quantize_dynamic(
            path, path, nodes_to_quantize=names, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True,
            weight_type=QuantType.QInt8, use_external_data_format=external.exists(),
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)


def output_names(model: Any) -> list[str]:
    """The fields of a model's output that a graph gives: its answer, and what its intervals rest on."""
    config, names = model.config, [str(model.task.answer)]
    if names == ["predictions"] and config.numbers_per_answer > 1:
        names.append("quantiles")
    return names + (["spreads"] if "scale" in (config.calibration or {}) else [])


def _answering(model: TimesCLIPPreTrainedModel, names: Iterable[str]) -> nn.Module:
    """The model as a module that takes inputs of these names and gives its answer alone: no losses, no `None`."""

    class Answer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, **inputs: Tensor) -> Any:
            said = self.model(**inputs, return_dict=True)
            first, *others = (said[name] for name in output_names(model))
            return (first, *others) if others else first

    # `torch.export` looks for the names in the signature.
    parameters = [Parameter("self", Parameter.POSITIONAL_ONLY)]
    parameters += [Parameter(name, Parameter.KEYWORD_ONLY) for name in names]
    Answer.forward.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return Answer().eval()


def _example_inputs(model: Any, processor: TimesCLIPProcessor, vision_features: bool) -> dict[str, Tensor]:
    """Two samples of everything that the model's answer depends on, as the processor would make them."""
    config = model.config
    names = model.answer_inputs(config)
    if vision_features and "pixel_values" not in names:
        raise ValueError("vision_features=True, but this model's answer does not depend on images")
    if vision_features:
        names = names - {"pixel_values"} | {"vision_features"}
    if "pixel_values" in names and processor.image_size is None:
        raise ValueError("The model reads images, but the processor draws none: its image_size is None")
    variates = config.num_variates
    width = image_width(config) if vision_features else 0
    shapes = {
        "pixel_values": (config.num_images, 3, *(processor.image_size or ())),
        "vision_features": (config.num_images, width),
        "patch_values": (variates, config.num_patches, config.patch_length),
        "patch_mask": (variates, config.num_patches),
        "variate_values": (variates, config.context_length),
        "loc": (variates,),
        "scale": (variates,),
        "static_values": (config.num_static_features,),
        "future_values": (config.context_length + config.prediction_length, config.num_future_covariates),
    }
    levels = torch.float64 if has_large_levels(processor) else torch.float32
    dtypes = {"patch_mask": torch.bool, "loc": levels, "scale": levels}
    return {
        name: torch.ones(2, *shape, dtype=dtypes.get(name, torch.float32), device=model.device)
        for name, shape in shapes.items()
        if name in names
    }


__all__ = ["export_onnx", "export_program"]
