# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The processor's batch with NumPy alone: for a server that has an exported graph, and neither torch nor transformers.

In such an environment `import timesclip_hf` offers this module and nothing else.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..model.containers import check_series
from ..model.future_values import covariates_of_batch
from ..model.intervals import INTERVALS_FILE, check_calibration, interval_of, set_of
from ..model.json_objects import parse_object
from ..model.preprocessing import check_rows, draw_plots, fitted_statistics, prepare_series
from ..model.processor_checks import check_parameters
from ..model.reader import read_series, reading
from ..model.static_values import encode_static

_PARAMETERS = (
    "context_length", "patch_length", "patch_stride", "padding", "scaling", "value_range", "num_variates",
    "variate_names", "image_size", "line_width", "background", "image_mean", "image_std", "statistics", "view",
)  # fmt: skip
_NAMES = ("variate_units", "target_names", "target_units")  # what they say is for people, and may be missing
# What was saved before has none of them.
_NEWER = (
    "padding_side",
    "truncation_side",
    "first_step",
    "last_step",
    "missing_values",
    "column_pattern",
    "step_dates",
    "num_target_variates",
    "draw_covariates",
    "prediction_length",
    "calendar",
    "layout",
)


class NumpyProcessor:
    """
    Prepares what a fitted `TimesCLIPProcessor` prepares, from its `processor_config.json`, in NumPy.

    Line plots are drawn here, too; the other views are not.

    Args:
        **parameters: all that `TimesCLIPProcessor` takes and saves; `from_pretrained` reads them.

    Raises:
        ValueError: a parameter is missing, or the images show another view than lines.

    Example:

    ```python
    >>> import onnxruntime
    >>> from timesclip_hf import NumpyProcessor

    >>> processor = NumpyProcessor.from_pretrained("served")  # what export_onnx wrote
    >>> session = onnxruntime.InferenceSession("served/model.onnx")
    >>> batch = processor(series)
    >>> session.run(["predictions"], {key.name: batch[key.name] for key in session.get_inputs()})
    ```
    """

    num_variates: int | None
    variate_names: list[str] | None
    image_size: list[int] | None
    statistics: dict[str, Any] | None
    interval_facts: dict[str, Any] | None = None

    def __init__(self, **parameters: Any):
        if missing := [name for name in _PARAMETERS if name not in parameters]:
            raise ValueError(f"These parameters of a TimesCLIPProcessor are missing: {missing}")
        for name in (*_PARAMETERS, *_NAMES, *_NEWER):
            setattr(self, name, parameters.get(name))
        check_parameters(self)
        if self.image_size is not None and parameters["view"] != "line":
            raise ValueError(
                f"With NumPy alone only view='line' can be drawn; this processor has {parameters['view']!r}"
            )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "NumpyProcessor":
        """A processor from the folder that holds its `processor_config.json`.

        Raises:
            ValueError: the folder has none, or it is no configuration of a `TimesCLIPProcessor`.
        """
        path = Path(folder) / "processor_config.json"
        if not path.is_file():
            raise ValueError(f"{folder} has no processor_config.json: save the processor there")
        parameters = _read_object(path)
        found = cls(**{name: parameters[name] for name in (*_PARAMETERS, *_NAMES, *_NEWER) if name in parameters})
        if (path := Path(folder) / INTERVALS_FILE).is_file():
            found.interval_facts = _read_object(path)
            check_calibration(found.interval_facts.get("calibration"))
        return found

    def interval(self, answers: Mapping[str, Any], level: float, groups: Sequence[Any] | None = None) -> Any:
        """Intervals of a graph's answers, as `calibrate` found them before it was exported.

        Args:
            answers: the graph's outputs by their names.
            level: such as 0.9.
            groups: of each sample, where the calibration went by a column.

        Returns:
            Lower and upper ends, each in the shape of `predictions`; of `logits`, which classes `(B, num_labels)` the
            set of each sample holds.

        Raises:
            ValueError: no intervals.json lay beside the processor, or a level that it does not know.
        """
        if self.interval_facts is None:
            raise ValueError(
                f"no {INTERVALS_FILE} lay beside the processor: calibrate() the model, and export it again"
            )
        facts = SimpleNamespace(**self.interval_facts)
        if "logits" in answers:
            return set_of(facts, answers["logits"], level, groups)
        return interval_of(facts, answers, level, groups)

    def __call__(
        self,
        past_values: Any,
        *,
        past_observed_mask: Any = None,
        static_values: Any = None,
        future_values: Any = None,
    ) -> dict[str, np.ndarray]:
        """Prepares a batch.

        Args:
            past_values, past_observed_mask: as for `TimesCLIPProcessor`.
            static_values: list of dicts, one a sample, or a numeric `(B, S)` array, with the fitted columns.
            future_values: as for `TimesCLIPProcessor`.

        Returns:
            `patch_values`, `patch_mask`, `variate_values`, `loc`, `scale`, and, as fitted and asked for,
            `pixel_values`, `static_values` and `future_values`: shapes as from `TimesCLIPProcessor`.

        Raises:
            ValueError: names the argument, what was found and what was expected.
        """
        check_series(past_values)
        values, observed = read_series(past_values, past_observed_mask, **reading(self))
        batch = prepare_series(values, observed, self)
        if static_values is not None:
            encoding = fitted_statistics(self.statistics, "static_values")["static"]
            batch["static_values"] = encode_static(static_values, encoding)
        if future_values is not None:
            batch["future_values"] = covariates_of_batch(future_values, batch, self)
        check_rows(batch)
        if "plot_values" in batch:
            batch["pixel_values"] = draw_plots(batch.pop("plot_values"), self)
        return batch


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return parse_object(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


__all__ = ["NumpyProcessor"]
