# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Processor of TimesCLIP: raw arrays to patches and images; what it learnt from the training data is kept in JSON."""

import math
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from .agreement import completed, known_to_processor, processor_parameters
from .configuration_timesclip import TimesCLIPConfig
from .preparation import coloured_images, fitted_statistics, plot_positions, scaled_patches
from .processor_checks import STATISTICS_VERSION, check_names, check_parameters
from .remote_code import CarriesCode
from .series import fit_length, observed_range, replace_constant
from .static_values import encode_static, fit_static, static_width
from .views import VIEWS

# Rows that `fit` reads at once.
_FIT_ROWS = 1024


class TimesCLIPProcessor(CarriesCode, ProcessorMixin):
    r"""
    Turns multivariate series into what TimesCLIP reads: scaled patches, and one image for each variate.

    Args:
        context_length (`int`, defaults to 96): time steps T kept; the newest ones of longer series, shorter ones are
            padded at the front as missing.
        patch_length (`int`, defaults to 16): steps L in a patch.
        patch_stride (`int`, defaults to 8): steps S between the starts of patches.
        padding (`"end"` or `"none"`, defaults to `"end"`): see `TimesCLIPConfig`.
        scaling (`"dataset"`, `"instance"` or `"none"`, defaults to `"dataset"`):
            By the training data's statistics (keeps the level, needs `fit`), by each series' own (usual for
            forecasts), or not at all.
        value_range (`"dataset"` or `"window"`, *optional*):
            The images' value axis: one fitted axis for each variate, so that height means level, or each image fills
            its own range (the paper). Not set: `"dataset"` with `scaling="dataset"`, else `"window"`.
        num_variates (`int`, *optional*): variates V to expect. Not set: learnt by `fit`, else not checked.
        variate_names (`list[str]`, *optional*): for errors, figures and cards, and to order a DataFrame's columns.
        image_size (`int` or `[height, width]`, *optional*, defaults to 224): pixels; `None` draws no images.
        line_width (`float`, defaults to 1.5): pixels; only `view="line"` has a use for it.
        background (`float`, defaults to 1.0): grey level of the paper, 1 is white.
        image_mean, image_std (`list[float]`, *optional*): colour statistics of the vision tower; not set: CLIP's.
        statistics (`dict`, *optional*): what `fit` learnt; saved with the processor.
        view (`str`, defaults to `"line"`): how a variate becomes an image: `"line"` (line plot, the paper), `"gasf"`
            or `"gadf"` (Gramian angular summation or difference field), `"mtf"` (Markov transition field),
            `"recurrence"` (recurrence plot) or `"spectrogram"`.
        variate_units (`list[str]`, *optional*): unit of each variate, for cards and figures; `""` for none.
        target_names, target_units (`list[str]`, *optional*): of what a regression predicts, for predictions and cards.

    Raises:
        ValueError: values outside the above.

    Example:

    ```python
    >>> import numpy as np
    >>> from timesclip_hf import TimesCLIPProcessor

    >>> processor = TimesCLIPProcessor(context_length=36, patch_length=6, patch_stride=3, image_size=64)
    >>> train = np.random.default_rng(0).normal(size=(20, 36, 7))
    >>> batch = processor.fit(train)(train[:2])
    >>> batch["pixel_values"].shape, batch["patch_values"].shape
    (torch.Size([2, 7, 3, 64, 64]), torch.Size([2, 7, 12, 6]))
    ```
    """

    # Trainer aligns the special tokens of every processor's tokenizer with the model; here there are none.
    tokenizer = SimpleNamespace(eos_token_id=None, bos_token_id=None, pad_token_id=None)

    # ProcessorMixin saves the parameters named here and loads them back, so all are plain ones.
    def __init__(
        self,
        context_length: int = 96,
        patch_length: int = 16,
        patch_stride: int = 8,
        padding: str = "end",
        scaling: str = "dataset",
        value_range: str | None = None,
        num_variates: int | None = None,
        variate_names: Sequence[str] | None = None,
        image_size: int | Sequence[int] | None = 224,
        line_width: float = 1.5,
        background: float = 1.0,
        image_mean: Sequence[float] | None = None,
        image_std: Sequence[float] | None = None,
        statistics: dict[str, Any] | None = None,
        view: str = "line",
        variate_units: Sequence[str] | None = None,
        target_names: Sequence[str] | None = None,
        target_units: Sequence[str] | None = None,
    ):
        super().__init__()
        self.context_length = context_length
        self.patch_length = patch_length
        self.patch_stride = patch_stride
        self.padding = padding
        self.scaling = scaling
        self.value_range = value_range or ("dataset" if scaling == "dataset" else "window")
        self.variate_names = _listed(variate_names)
        named = isinstance(self.variate_names, list) and num_variates is None
        self.num_variates = len(self.variate_names) if named else num_variates
        self.image_size = [image_size, image_size] if isinstance(image_size, int) else image_size
        self.line_width = line_width
        self.background = background
        self.image_mean = _listed(image_mean if image_mean is not None else OPENAI_CLIP_MEAN)
        self.image_std = _listed(image_std if image_std is not None else OPENAI_CLIP_STD)
        self.statistics = statistics
        self.view = view
        self.variate_units = _listed(variate_units)
        self.target_names = _listed(target_names)
        self.target_units = _listed(target_units)
        check_parameters(self)

    @classmethod
    def from_config(cls, config: TimesCLIPConfig, **kwargs: Any) -> "TimesCLIPProcessor":
        """A processor that fits a model: lengths, image size and colour statistics come from its configuration.

        Args:
            config: the model's configuration; without a vision branch no images are drawn.
            **kwargs: the other parameters; one that contradicts the configuration raises.
        """
        fixed = processor_parameters(config, kwargs.get("image_size"))
        processor, expected = cls(**{**fixed, **kwargs}), cls(**fixed)
        for name in sorted(fixed.keys() & kwargs.keys()):
            if getattr(processor, name) != getattr(expected, name):
                raise ValueError(f"{name}={kwargs[name]!r} contradicts the configuration's {fixed[name]!r}.")
        return processor

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in transformers, which would make a processor of default settings where there is none to load."""
        try:
            fields, unused = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        except AttributeError as error:  # transformers asks whatever it finds there for its keys
            raise ValueError(
                f"{pretrained_model_name_or_path}: processor_config.json holds no JSON object."
            ) from error
        if not fields:
            raise OSError(
                f"{pretrained_model_name_or_path} has no processor_config.json: was only the model saved there? Save "
                "or push the fitted processor beside it."
            )
        return fields, unused

    @property
    def model_input_names(self) -> list[str]:
        """Keys of the batch that a model may be given."""
        names = ["patch_values", "patch_mask", "variate_values", "loc", "scale"]
        names += ["pixel_values"] if self.image_size is not None else []
        return names + (["static_values"] if self.num_static_features else [])

    @property
    def num_static_features(self) -> int:
        """Width of the encoded `static_values` that `fit` found; 0 without any."""
        return static_width((self.statistics or {}).get("static") or [])

    # Fitting

    def fit(
        self, past_values: Any, labels: Any = None, static_values: Any = None, past_observed_mask: Any = None
    ) -> "TimesCLIPProcessor":
        """Learns from the training part, and from nothing else, what is saved with the processor.

        Mean, standard deviation and range of each variate over all observed steps; categories, or mean and standard
        deviation, of each static column; mean and standard deviation of the targets.

        Args:
            past_values: a `datasets.Dataset` with a column `past_values` (perhaps also `labels`, `static_values`,
                `past_observed_mask`), or the series alone in any form that calling the processor takes.
            labels: `(n,)` or `(n, num_targets)`; not with a Dataset.
            static_values: as in calling the processor; not with a Dataset.
            past_observed_mask: as in calling the processor; not with a Dataset.

        Returns:
            The processor itself.

        Raises:
            ValueError: nothing to learn from, or the series have faults that calling the processor would raise for.
        """
        if hasattr(past_values, "context_length") and hasattr(past_values, "series"):
            raise ValueError(
                f"past_values is {past_values!r}, whose windows overlap: fit on their series, "
                "processor.fit(windows.series)."
            )
        if _is_dataset(past_values):
            if any(given is not None for given in (labels, static_values, past_observed_mask)):
                raise ValueError("With a Dataset, labels, static_values and the mask are taken from its columns.")
            columns = past_values.column_names
            if "past_values" not in columns:
                raise ValueError(f"The dataset has no column 'past_values', only {columns}.")
            labels = past_values.with_format("numpy")["labels"][:] if "labels" in columns else None
            labels = None if np.ndim(labels) > 2 else labels  # (n, H, V): forecasts, which need no statistics
            static_values = past_values["static_values"][:] if "static_values" in columns else None
        variates = self._fit_variates(past_values, past_observed_mask)
        self.num_variates = len(variates["mean"])
        self.statistics = {
            "version": STATISTICS_VERSION,
            "variates": variates,
            "static": fit_static(static_values) if static_values is not None else None,
            "targets": _fit_targets(labels) if labels is not None else None,
        }
        check_names(self)
        return self

    def config_fields(self) -> dict[str, Any]:
        """The fields of `TimesCLIPConfig` that must agree with this processor and with what it learnt.

        Lengths of context and patches, `num_variates`, `variate_mean`, `variate_std`, `num_static_features`; after a
        fit with labels also `num_targets`, `target_mean`, `target_std`.

        Raises:
            ValueError: before `fit`.
        """
        self._fitted("config_fields")
        known = known_to_processor(self)
        return {name: value for name, value in known.items() if not name.startswith("image_")}

    def complete_config(self, config: TimesCLIPConfig) -> TimesCLIPConfig:
        """A copy of `config` with what `fit` learnt and the model must know, see `config_fields`.

        Raises:
            ValueError: before `fit`, or where the configuration has other lengths, variates or targets than the data.
        """
        self._fitted("complete_config")
        return completed(config, self)

    def _fit_variates(self, past_values: Any, past_observed_mask: Any) -> dict[str, list[float]]:
        """Statistics of each variate, chunk by chunk: the sums of chunks are merged as in Chan et al. (1979)."""
        count = mean = squares = torch.zeros(())
        lowest, highest = torch.tensor(math.inf), torch.tensor(-math.inf)
        for chunk, mask in _row_chunks(past_values, past_observed_mask):
            values, observed = self._read(chunk, mask)
            values, observed = values.flatten(0, 1).cpu().double(), observed.flatten(0, 1).cpu()  # (rows * T, V)
            n = observed.sum(dim=0)
            chunk_mean = torch.where(observed, values, 0).sum(dim=0) / n.clamp(min=1)
            chunk_squares = torch.where(observed, values - chunk_mean, 0).square().sum(dim=0)
            low, high = observed_range(values[None], observed[None])
            total = (count + n).clamp(min=1)
            shift = chunk_mean - mean
            squares = squares + chunk_squares + shift.square() * count * n / total
            mean = mean + shift * n / total
            count, lowest, highest = count + n, torch.minimum(lowest, low[0]), torch.maximum(highest, high[0])
        if count.ndim == 0:
            raise ValueError("past_values is empty: there is nothing to fit on.")
        if not bool(count.all()):
            blank = [self._name(int(i)) for i in (count == 0).nonzero()]
            raise ValueError(f"The variates {blank} are never observed: there is nothing to fit on.")
        std = replace_constant((squares / count).sqrt(), torch.maximum(lowest.abs(), highest.abs()))
        return {
            "mean": mean.tolist(),
            "std": std.tolist(),
            "minimum": lowest.tolist(),
            "maximum": highest.tolist(),
        }

    # Calling

    def __call__(  # type: ignore[override]
        self,
        past_values: Any,
        past_observed_mask: Any = None,
        static_values: Any = None,
        labels: Any = None,
        return_tensors: str = "pt",
        draw: bool = True,
    ) -> BatchFeature:
        """Prepares a batch.

        Args:
            past_values: `(B, T, V)` array, tensor or nested list, NaN = missing; `(T, V)`, or a DataFrame with one
                column for each variate, is a batch of one; the `(T_i, V)` arrays or DataFrames of a list may differ in
                length.
            past_observed_mask: the same shape(s), bool, False = missing.
            static_values: list of dicts, one a sample (or a DataFrame, or a numeric `(B, S)` array), with the columns
                that `fit` saw.
            labels: `(B, num_targets)` numbers, or `(B,)` for one target or for classes (integers).
            return_tensors: `"pt"` or `"np"`.
            draw: `False`: `plot_values` (B, V, T) in place of images, a few hundred times smaller, for `draw` to turn
                into images elsewhere: on an accelerator, say.

        Returns:
            `BatchFeature` with `patch_values` (B, V, N, L), `patch_mask` (B, V, N), `variate_values` (B, V, T),
            `loc`, `scale` (B, V), and, where asked for, `pixel_values` (B, V, 3, height, width),
            `static_values` (B, num_static_features) and `labels`. Tensors stay on the device of `past_values`.

        Raises:
            ValueError: names the argument, what was found and what was expected.
        """
        if return_tensors not in ("pt", "np"):
            raise ValueError(f"return_tensors must be 'pt' or 'np', got {return_tensors!r}.")
        values, observed = fit_length(*self._read(past_values, past_observed_mask), self.context_length)
        self._check_observed(observed)
        batch: dict[str, Tensor] = scaled_patches(values, observed, self)
        if self.image_size is not None:
            plot_values = plot_positions(values, observed, self)
            batch |= {"pixel_values": self.draw(plot_values)} if draw else {"plot_values": plot_values}
        if static_values is not None:
            static = encode_static(static_values, self._fitted("static_values")["static"])
            batch["static_values"] = torch.from_numpy(static).to(values.device)
        if labels is not None:
            batch["labels"] = _label_tensor(labels).to(values.device)
        sizes = {name: len(tensor) for name, tensor in batch.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"past_values, static_values and labels must have one row for each sample, got {sizes}.")
        if return_tensors == "np":
            return BatchFeature({name: tensor.cpu().numpy() for name, tensor in batch.items()})
        return BatchFeature(batch)

    def draw(self, plot_values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Images as the vision tower wants them, made where `plot_values` is: on the CPU or an accelerator.

        Args:
            plot_values: `(B, V, T)` as `processor(..., draw=False)` returns them: 0 is the bottom of a variate's axis,
                1 the top, NaN a gap.
            dtype: of the images; the shapes are drawn in fp32 in any case.

        Returns:
            `pixel_values` `(B, V, 3, height, width)`, normalised with `image_mean` and `image_std`.

        Raises:
            ValueError: a processor without images (`image_size=None`).
        """
        if self.image_size is None:
            raise ValueError("This processor draws no images: its image_size is None.")
        num_variates = plot_values.shape[1]
        height, width = self.image_size
        settings = {"line_width": self.line_width} if self.view == "line" else {}
        coverage = VIEWS[self.view](plot_values.flatten(0, 1), height, width, **settings).to(dtype)
        return coloured_images(coverage, num_variates, self)

    def to_images(self, pixel_values: Tensor | np.ndarray) -> np.ndarray:
        """What the vision tower sees, for people: `(..., 3, height, width)` to uint8 `(..., height, width, 3)`."""
        pixel_values = torch.as_tensor(pixel_values)
        mean = torch.tensor(self.image_mean, device=pixel_values.device)[:, None, None]
        std = torch.tensor(self.image_std, device=pixel_values.device)[:, None, None]
        images = (pixel_values.float() * std + mean).clamp(0, 1) * 255
        return images.round().to(torch.uint8).movedim(-3, -1).cpu().numpy()

    # Checking

    def _read(self, past_values: Any, past_observed_mask: Any) -> tuple[Tensor, Tensor]:
        """Values, 0 where missing, and mask, both `(B, T, V)`."""
        values, lengths = self._as_batch(past_values, "past_values")
        if values.is_complex() or values.dtype == torch.bool:
            raise ValueError(f"past_values has dtype {values.dtype}; expected real numbers.")
        values = values if values.is_floating_point() else values.double()
        values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        if torch.isinf(values).any():
            raise ValueError(
                f"past_values has infinite values in {self._describe(torch.isinf(values))}; missing values are NaN."
            )
        observed = ~torch.isnan(values)
        if past_observed_mask is not None:
            mask, mask_lengths = self._as_batch(past_observed_mask, "past_observed_mask")
            if mask.shape != values.shape or mask_lengths != lengths:
                raise ValueError(
                    f"past_observed_mask has shape {tuple(mask.shape)}, past_values has {tuple(values.shape)}; "
                    "they must be the same."
                )
            observed &= torch.nan_to_num(mask.to(values.device).float()).bool()
        return torch.where(observed, values, 0), observed

    def _as_batch(self, series: Any, name: str) -> tuple[Tensor, list[int] | None]:
        """Any accepted form as `(B, T, V)`; unequal series padded at the front with NaN, their lengths beside."""
        if isinstance(series, pd.DataFrame):
            series = self._frame_values(series, name)
        lengths = None
        if isinstance(series, (list, tuple)) and len(series) and not np.isscalar(series[0]):
            parts = [
                _as_tensor(self._frame_values(s, name) if isinstance(s, pd.DataFrame) else s, name) for s in series
            ]
            if len({part.shape for part in parts}) > 1:
                if any(part.ndim != 2 for part in parts) or len({part.shape[1] for part in parts}) > 1:
                    shapes = sorted({tuple(part.shape) for part in parts})[:5]
                    raise ValueError(
                        f"{name} is a list of shapes {shapes}; expected (time, variates), equal variates."
                    )
                lengths = [len(part) for part in parts]
                parts = [_pad_front(part, max(lengths)) for part in parts]
            tensor = torch.stack(parts)
        else:
            tensor = _as_tensor(series, name)
        tensor = tensor[None] if tensor.ndim == 2 else tensor
        if tensor.ndim != 3:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; expected (batch, time, variates) or (time, variates). "
                "A univariate series needs a last dimension of 1."
            )
        if 0 in tensor.shape:
            raise ValueError(f"{name} is empty: shape {tuple(tensor.shape)}.")
        if self.num_variates is not None and tensor.shape[2] != self.num_variates:
            names = f": {self.variate_names}" if self.variate_names else ""
            raise ValueError(
                f"{name} has {tensor.shape[2]} variates, but the processor expects {self.num_variates}{names}."
            )
        return tensor, lengths

    def _frame_values(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        columns = self.variate_names or list(frame.columns)
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise ValueError(f"{name} lacks the columns {missing}; it has {list(frame.columns)}.")
        values = frame[columns]
        # Nullable columns would become objects, with pd.NA for missing.
        return values.to_numpy(np.float64, na_value=np.nan) if _all_numbers(values) else values.to_numpy()

    def _check_observed(self, observed: Tensor) -> None:
        blank = ~observed.any(dim=1)  # (B, V)
        if blank.any():
            raise ValueError(
                f"past_values has nothing observed within the last {self.context_length} steps in "
                f"{self._describe(blank[:, None])}; drop these samples or give more steps."
            )

    def _describe(self, where: Tensor) -> str:
        """The first sample and variate of a `(B, T, V)` mask, in words."""
        sample, _, variate = (int(i) for i in where.nonzero()[0])
        return f"sample {sample}, variate {self._name(variate)} ({int(where.any(dim=1).sum())} series in all)"

    def _name(self, variate: int) -> str:
        return repr(self.variate_names[variate]) if self.variate_names else str(variate)

    def _fitted(self, purpose: str) -> dict[str, Any]:
        return fitted_statistics(self.statistics, purpose)


def _listed(values: Any) -> Any:
    """Any sequence as a list; what is none, also a text, stays as it is for the checks to name."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else values


def _all_numbers(frame: pd.DataFrame) -> bool:
    kinds = pd.api.types
    return all(kinds.is_numeric_dtype(kind) and not kinds.is_complex_dtype(kind) for kind in frame.dtypes)


def _as_tensor(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values
    array = np.asarray(values)
    if array.dtype == object or array.dtype.kind in "USMmO":
        raise ValueError(
            f"{name} has dtype {array.dtype}; expected numbers, of equal length in every row, with NaN for missing."
        )
    # Torch takes neither foreign byte order (netCDF, FITS) nor negative strides; the copy is made for these alone.
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))


def _pad_front(part: Tensor, length: int) -> Tensor:
    part = part if part.is_floating_point() else part.double()
    padding = part.new_full((length - len(part), part.shape[1]), math.nan)
    return torch.cat([padding, part])


def _label_tensor(labels: Any) -> Tensor:
    tensor = labels if isinstance(labels, Tensor) else _as_tensor(np.array(labels), "labels")
    if tensor.ndim == 0:
        raise ValueError("labels is a single number; expected (batch,) or (batch, num_targets).")
    if tensor.is_floating_point():
        return (tensor[:, None] if tensor.ndim == 1 else tensor).float()
    return tensor


def _row_chunks(past_values: Any, past_observed_mask: Any) -> Iterator[tuple[Any, Any]]:
    """Series and masks a thousand at a time, so that fitting never holds a second copy of a large data set.

    Series of unequal lengths come one by one: padded to the longest of a thousand, they could need a thousandfold.
    """
    if _is_dataset(past_values):
        names = [name for name in ("past_values", "past_observed_mask") if name in past_values.column_names]
        rows = past_values.with_format("numpy").select_columns(names)
        for first in range(0, len(rows), _FIT_ROWS):
            chunk = rows[first : first + _FIT_ROWS]
            yield list(chunk["past_values"]), list(chunk["past_observed_mask"]) if len(names) > 1 else None
    elif isinstance(past_values, pd.DataFrame) or (len(past_values) and np.ndim(past_values[0]) < 2):
        yield past_values, past_observed_mask  # a batch of one
    else:
        equal = len({np.shape(series) for series in past_values}) == 1
        rows_at_once = _FIT_ROWS if equal else 1
        for first in range(0, len(past_values), rows_at_once):
            rows = slice(first, first + rows_at_once)
            yield past_values[rows], past_observed_mask[rows] if past_observed_mask is not None else None


def _is_dataset(data: Any) -> bool:
    """Whether this is a `datasets.Dataset`; the library itself is not asked, since predicting does not need it."""
    return hasattr(data, "column_names") and hasattr(data, "with_format")


def _fit_targets(labels: Any) -> dict[str, list[float]]:
    array = np.asarray(labels, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"labels must be finite numbers (n, num_targets), got shape {array.shape}.")
    std = replace_constant(torch.from_numpy(array.std(axis=0)), torch.from_numpy(np.abs(array).max(axis=0)))
    return {"mean": array.mean(axis=0).tolist(), "std": std.tolist()}


__all__ = ["TimesCLIPProcessor"]
