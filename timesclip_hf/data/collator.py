# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The collator that turns rows of a dataset into a model's batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..model.messages import Run, one_run
from ..model.reader import read_mask, read_sample

# What of a row reaches a model; every other column is for splitting and for reading results.
ROW_COLUMNS = ("past_values", "past_observed_mask", "static_values", "future_values", "labels")


@dataclass
class TimesCLIPDataCollator:
    """Turn rows of a dataset into a model's batch; images are drawn here, per batch, and never stored.

    Args:
        processor: a `TimesCLIPProcessor`, fitted if its scaling asks for that.
        draw: `False`: the batch has `plot_values` in place of images, for `processor.add_images` where the model is.
        features: with `draw=False`, gives the vision tower's features `(B, V, width)` of `plot_values`, or `None`
            where it does not know all of them (`FeatureCache.store`); they then take the plots' place.
    """

    processor: Callable[..., Mapping[str, Any]]
    draw: bool = True
    features: Callable[[Tensor], Tensor | None] | None = None
    run: Run = field(default_factory=Run, init=False, repr=False, compare=False)  # what was told of all batches

    def __post_init__(self) -> None:
        if not callable(self.processor) or isinstance(self.processor, type):
            found = getattr(self.processor, "__name__", repr(self.processor))
            raise ValueError(f"processor is {found}; wanted is a fitted TimesCLIPProcessor")

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the processor returns, as a plain dict of tensors.

        Args:
            rows: `past_values` `(time, variates)`, lengths may differ; optionally `past_observed_mask` of the same
                shape, `static_values`, `future_values` and `labels`, each in all rows or in none. Other columns are
                ignored.

        Raises:
            ValueError: rows without `past_values`, columns in some rows only, labels of different shapes.
        """
        for row in rows:
            if not isinstance(row, Mapping):
                raise ValueError(f"rows must be dicts with 'past_values', found a {type(row).__name__}")
        columns = {name: [row.get(name) for row in rows] for name in ROW_COLUMNS}
        if not rows or all(series is None for series in columns["past_values"]):
            found = ", ".join(rows[0]) if rows else "no rows at all"
            raise ValueError(
                f"rows have no 'past_values' (found: {found}). Trainer drops the columns that the model's `forward` "
                "does not take: set remove_unused_columns=False in the training arguments"
            )
        for name, values in columns.items():
            if 0 < (absent := sum(value is None for value in values)) < len(rows):
                raise ValueError(f"{absent} of {len(rows)} rows have no {name!r}: either all rows need it or none")
        given = {name: values for name, values in columns.items() if values[0] is not None}
        statics, future = given.get("static_values"), {}
        if "future_values" in given:
            future["future_values"] = given["future_values"]
        names = getattr(self.processor, "variate_names", None)
        with one_run(self.run):
            batch = self.processor(
                _stack([read_sample(series, "past_values", names) for series in given["past_values"]]),
                past_observed_mask=_stack(
                    [np.asarray(read_mask(mask)) for mask in given.get("past_observed_mask", [])]
                ),
                static_values=None if statics is None else [_plain(values) for values in statics],
                labels=_label_array(given["labels"]) if "labels" in given else None,
                return_tensors="pt",
                draw=self.draw,
                **future,
            )
        result = dict(batch)
        if self.features is not None and "plot_values" in result:
            if (features := self.features(result["plot_values"])) is not None:
                del result["plot_values"]
                result["vision_features"] = features
        return result


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any] | list[NDArray[Any]] | None:
    """One array where all shapes are equal, else the list; None for none."""
    if not arrays:
        return None
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays


def _label_array(labels: list[Any]) -> NDArray[Any]:
    arrays = [read_sample(label, "labels") for label in labels]
    if len(shapes := sorted({array.shape for array in arrays})) > 1:
        raise ValueError(f"labels of one batch have different shapes: {shapes}")
    return np.stack(arrays)


def _plain(values: Any) -> Any:
    """One row's static values, without the 0-d arrays that a dataset with a numpy or torch format returns."""
    if not isinstance(values, Mapping):
        return values
    return {
        name: value if isinstance(value, str) else value.item() if hasattr(value, "item") else np.asarray(value).item()
        for name, value in values.items()
    }


__all__ = ["ROW_COLUMNS", "TimesCLIPDataCollator"]
