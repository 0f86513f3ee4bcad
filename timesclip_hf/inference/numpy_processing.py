# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The processor's batch with NumPy alone: for a server that has an exported graph, and neither torch nor transformers.

In such an environment `import timesclip_hf` offers this module and nothing else.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..model.preparation import coloured_images, fitted_statistics, plot_positions, scaled_patches
from ..model.processor_checks import check_parameters
from ..model.rendering import render_line
from ..model.series import fit_length
from ..model.static_values import encode_static

_PARAMETERS = (
    "context_length", "patch_length", "patch_stride", "padding", "scaling", "value_range", "num_variates",
    "variate_names", "image_size", "line_width", "background", "image_mean", "image_std", "statistics", "view",
)  # fmt: skip
_NAMES = ("variate_units", "target_names", "target_units")  # what they say is for people, and may be missing


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

    context_length: int
    num_variates: int | None
    variate_names: list[str] | None
    image_size: list[int] | None
    line_width: float
    statistics: dict[str, Any] | None

    def __init__(self, **parameters: Any):
        missing = [name for name in _PARAMETERS if name not in parameters]
        if missing:
            raise ValueError(f"These parameters of a TimesCLIPProcessor are missing: {missing}.")
        for name in _PARAMETERS:
            setattr(self, name, parameters[name])
        for name in _NAMES:
            setattr(self, name, parameters.get(name))
        check_parameters(self)
        if self.image_size is not None and parameters["view"] != "line":
            raise ValueError(
                f"With NumPy alone only view='line' can be drawn; this processor has {parameters['view']!r}."
            )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "NumpyProcessor":
        """A processor from the folder that holds its `processor_config.json`.

        Raises:
            ValueError: the folder has none, or it is no configuration of a `TimesCLIPProcessor`.
        """
        path = Path(folder) / "processor_config.json"
        if not path.is_file():
            raise ValueError(f"{folder} has no processor_config.json: save the processor there.")
        parameters = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{name: parameters[name] for name in (*_PARAMETERS, *_NAMES) if name in parameters})

    def __call__(
        self, past_values: Any, past_observed_mask: Any = None, static_values: Any = None
    ) -> dict[str, np.ndarray]:
        """Prepares a batch.

        Args:
            past_values: `(B, T, V)` array or nested list, NaN = missing; `(T, V)` is a batch of one; the `(T_i, V)`
                arrays of a list may differ in length. Columns of DataFrames are found by their names.
            past_observed_mask: the same shape(s), bool, False = missing.
            static_values: list of dicts, one a sample, or a numeric `(B, S)` array, with the fitted columns.

        Returns:
            `patch_values`, `patch_mask`, `variate_values`, `loc`, `scale`, and, as fitted and asked for,
            `pixel_values` and `static_values`: shapes as from `TimesCLIPProcessor`.

        Raises:
            ValueError: names the argument, what was found and what was expected.
        """
        values, observed = self._read(past_values, past_observed_mask)
        values, observed = fit_length(values, observed, self.context_length)
        blank = ~observed.any(axis=1)  # (B, V)
        if blank.any():
            sample, variate = (int(i) for i in np.argwhere(blank)[0])
            raise ValueError(
                f"past_values has nothing observed within the last {self.context_length} steps in sample {sample}, "
                f"variate {variate} ({int(blank.sum())} series in all); drop these samples or give more steps."
            )
        batch = scaled_patches(values, observed, self)
        if self.image_size is not None:
            positions = plot_positions(values, observed, self)
            plots = positions.reshape(-1, positions.shape[2])
            height, width = self.image_size
            coverage = render_line(plots, height, width, self.line_width)
            batch["pixel_values"] = coloured_images(coverage, positions.shape[1], self)
        if static_values is not None:
            encoding = fitted_statistics(self.statistics, "static_values")["static"]
            batch["static_values"] = encode_static(static_values, encoding)
        sizes = {name: len(array) for name, array in batch.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"past_values and static_values must have one row for each sample, got {sizes}.")
        return batch

    def _read(self, past_values: Any, past_observed_mask: Any) -> tuple[np.ndarray, np.ndarray]:
        """Values, 0 where missing, and mask, both `(B, T, V)`."""
        values, lengths = self._as_batch(past_values, "past_values")
        if values.dtype.kind not in "fiu":
            raise ValueError(f"past_values has dtype {values.dtype}; expected real numbers.")
        values = values.astype({"f2": np.float32, "f4": np.float32}.get(values.dtype.str[1:], np.float64))
        if np.isinf(values).any():
            raise ValueError("past_values has infinite values; missing values are NaN.")
        observed = ~np.isnan(values)
        if past_observed_mask is not None:
            mask, mask_lengths = self._as_batch(past_observed_mask, "past_observed_mask")
            if mask.shape != values.shape or mask_lengths != lengths:
                raise ValueError(
                    f"past_observed_mask has shape {mask.shape}, past_values has {values.shape}; both must be the "
                    "same, series by series."
                )
            observed &= np.nan_to_num(mask.astype(np.float64)).astype(bool)
        return np.where(observed, values, 0), observed

    def _as_batch(self, series: Any, name: str) -> tuple[np.ndarray, list[int] | None]:
        """Any accepted form as `(B, T, V)`; unequal series padded at the front with NaN, their lengths beside."""
        series, lengths = self._in_order(series, name), None
        if isinstance(series, (list, tuple)):
            series = [self._in_order(part, name) for part in series]
        if isinstance(series, (list, tuple)) and len({np.shape(part) for part in series}) > 1:
            parts = [np.asarray(part, dtype=np.float64) for part in series]
            if any(part.ndim != 2 or part.shape[1] != parts[0].shape[1] for part in parts):
                shapes = sorted({part.shape for part in parts})[:5]
                raise ValueError(f"{name} is a list of shapes {shapes}; expected (time, variates), equal variates.")
            lengths = [len(part) for part in parts]
            series = [np.pad(part, ((max(lengths) - len(part), 0), (0, 0)), constant_values=np.nan) for part in parts]
        array = np.asarray(series)
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(f"{name} has shape {array.shape}; expected (batch, time, variates) or (time, variates).")
        if self.num_variates is not None and array.shape[2] != self.num_variates:
            raise ValueError(f"{name} has {array.shape[2]} variates, but the processor expects {self.num_variates}.")
        return array, lengths

    def _in_order(self, series: Any, name: str) -> Any:
        """A DataFrame's columns in the order of the model's variates; anything else as it is."""
        if self.variate_names is None or not hasattr(series, "columns"):
            return series
        if missing := [column for column in self.variate_names if column not in series.columns]:
            raise ValueError(f"{name} lacks the columns {missing}; it has {list(series.columns)}.")
        return series[self.variate_names]


__all__ = ["NumpyProcessor"]
