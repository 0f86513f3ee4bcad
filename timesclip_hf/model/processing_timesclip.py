# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Processor of TimesCLIP: raw arrays to patches and images; what it learnt from the training data is kept in JSON."""

from collections.abc import MutableMapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from .agreement import completed, known_to_processor, processor_parameters
from .arrays import Array
from .configuration_timesclip import TimesCLIPConfig
from .containers import check_series
from .future_values import covariates_of_batch, fit_future, future_width
from .json_objects import check_depth
from .measured import check_range, mark_missing, without_fill_values
from .messages import one_run
from .plain import plain
from .precision import any_costs_digits, round_for_mps
from .preprocessing import (
    check_rows,
    draw_plots,
    draw_some_plots,
    fit_targets,
    fit_variates,
    fitted_statistics,
    prepare_series,
)
from .processor_checks import STATISTICS_VERSION, check_names, check_parameters
from .reader import WideOrigin, exact, is_dataset, read_in_chunks, read_sample, read_series, reading
from .remote_code import CarriesCode
from .screening import Screening
from .static_values import encode_static, fit_static, static_width


class TimesCLIPProcessor(CarriesCode, ProcessorMixin):
    r"""
    Turns multivariate series into what TimesCLIP reads: scaled patches, and one image for each variate.

    What it does is in `reader` and `preprocessing`; the length of this class is that of its parameters, which
    `ProcessorMixin` finds in the signature alone, and of their explanation.

    Args:
        context_length (`int`, defaults to 96): time steps T that are read; see `padding_side` and `truncation_side`.
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
        view (`str` or list of three, defaults to `"line"`): how a variate becomes an image: `"line"` (line plot, the
            paper), `"gasf"` or `"gadf"` (Gramian angular summation or difference field), `"mtf"` (Markov transition
            field), `"recurrence"` (recurrence plot), `"spectrogram"`, `"stacked"` (overlapping windows as rows, in
            grey) or one of your own (`register_view`). `"line+gasf"`: such views beside each other in one image, each
            a picture of its own, as `layout="grid"` places plots. A list: one view in each colour of an image.
        variate_units (`list[str]`, *optional*): unit of each variate, for cards and figures; `""` for none.
        target_names, target_units (`list[str]`, *optional*): of what a regression predicts, for predictions and cards.
        padding_side, truncation_side (`"left"` or `"right"`, *optional*):
            Which end of shorter series counts as missing, and which end of longer ones is left out; of arrays, lists,
            tables and data sets alike. `"left"`: the newest steps come last, as forecasts want it. `"right"`: steps
            have a fixed meaning (dekads of a season), and those to come are missing. Not set: `fit` sets `"right"`
            for data sets of `load_wide_table` (with labels of forecasts `"left"`), else `"left"`.
        first_step, last_step (`int`, *optional*): numbers of the steps in the names of columns (`ndvi_00`), by which
            wide tables are read; `fit` learns them from data sets of `load_wide_table`.
        column_pattern (`str`, *optional*):
            How columns of wide tables are named, see `load_wide_table`; learnt by `fit`.
        step_dates (`list[str]`, *optional*):
            Dates of the steps, where they stand in the names of columns; learnt by `fit`. Tables of other years are
            read by them.
        missing_values (`list` of numbers, or `dict` of such lists by the variate's name, *optional*):
            Numbers that mark missing values in series, such as `[-9999]`, in training and ever after. `fit` tells
            numbers that look like such marks.
        num_target_variates (`int`, *optional*): how many of the variates are forecast, the first ones; the others are
            covariates. Not set: all.
        draw_covariates (`bool`, defaults to `False`): draw these, too.
        prediction_length (`int`, *optional*): steps H to forecast; `future_values` need it.
        calendar (`list[str]`, *optional*): what of the calendar is among the covariates known in advance, see
            `data.calendar`.
        layout (`"variate"` or `"grid"`, defaults to `"variate"`): an image for each variate, or one with the plots of
            all, row by row.

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
        view: str | Sequence[str] = "line",
        variate_units: Sequence[str] | None = None,
        target_names: Sequence[str] | None = None,
        target_units: Sequence[str] | None = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        first_step: int | None = None,
        last_step: int | None = None,
        missing_values: Sequence[float] | dict[str, Sequence[float]] | None = None,
        column_pattern: str | None = None,
        step_dates: Sequence[str] | None = None,
        num_target_variates: int | None = None,
        draw_covariates: bool = False,
        prediction_length: int | None = None,
        calendar: Sequence[str] | None = None,
        layout: str = "variate",
    ):
        super().__init__()
        self.context_length = plain(context_length)
        self.patch_length = plain(patch_length)
        self.patch_stride = plain(patch_stride)
        self.padding = padding
        self.scaling = scaling
        self.value_range = value_range or ("dataset" if scaling == "dataset" else "window")
        self.variate_names = plain(variate_names)
        named = isinstance(self.variate_names, list) and num_variates is None
        self.num_variates = len(self.variate_names) if named else plain(num_variates)
        size = plain(image_size)
        self.image_size = [size, size] if isinstance(size, int) else size
        self.line_width = plain(line_width)
        self.background = plain(background)
        self.image_mean = plain(image_mean if image_mean is not None else OPENAI_CLIP_MEAN)
        self.image_std = plain(image_std if image_std is not None else OPENAI_CLIP_STD)
        self.statistics = plain(statistics)
        self.view = view if isinstance(view, str) else plain(view)
        self.layout = layout
        self.variate_units = plain(variate_units)
        self.target_names = plain(target_names)
        self.target_units = plain(target_units)
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.first_step = plain(first_step)
        self.last_step = plain(last_step)
        self.missing_values = plain(missing_values)
        self.column_pattern = column_pattern
        self.step_dates = plain(step_dates)
        self.num_target_variates = plain(num_target_variates)
        self.draw_covariates = bool(draw_covariates)
        self.prediction_length = plain(prediction_length)
        self.calendar = plain(calendar)
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
                raise ValueError(f"{name}={kwargs[name]!r} contradicts the configuration's {fixed[name]!r}")
        return processor

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in transformers, which would make a processor of default settings where there is none to load."""
        file = f"{pretrained_model_name_or_path}: processor_config.json"
        try:
            fields, unused = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        except AttributeError as error:  # transformers asks whatever it finds there for its keys
            raise ValueError(f"{file} holds no JSON object") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is no JSON: {error}") from error
        except RecursionError as error:
            raise ValueError(f"{file} cannot be read: it is nested too deeply") from error
        check_depth(fields, file)
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
        names += ["future_values"] if self.num_future_covariates else []
        return names + (["static_values"] if self.num_static_features else [])

    @property
    def num_static_features(self) -> int:
        """Width of the encoded `static_values` that `fit` found; 0 without any."""
        return static_width((self.statistics or {}).get("static") or [])

    @property
    def num_future_covariates(self) -> int:
        """Width of the encoded `future_values` that `fit` found; 0 without any."""
        return future_width((self.statistics or {}).get("future") or [])

    def fit(
        self,
        past_values: Any,
        *,
        past_observed_mask: Any = None,
        static_values: Any = None,
        labels: Any = None,
        future_values: Any = None,
        future_columns: Sequence[Any] | None = None,
    ) -> "TimesCLIPProcessor":
        """Learns from the training part, and from nothing else, what is saved with the processor.

        Mean, standard deviation and range of each variate over all observed steps; numbers of the steps, and the sides
        to pad and cut where they are not set; categories, or mean and standard deviation, of each static column; mean
        and standard deviation of the targets. One warning tells numbers that may be no measurements (see `screening`).

        Args:
            past_values: a `datasets.Dataset` with a column `past_values` (perhaps also `past_observed_mask`,
                `static_values`, `labels`), or the series alone in any form that calling the processor takes.
            past_observed_mask: as in calling the processor; not with a Dataset.
            static_values: as in calling the processor; not with a Dataset.
            labels: `(n,)` or `(n, num_targets)`; not with a Dataset.
            future_values, future_columns: covariates that are known in advance, `(steps, C)` for each series, and what
                is known of their columns, see `fit_future`.

        Returns:
            The processor itself.

        Raises:
            ValueError: nothing to learn from, or the series have faults that calling the processor would raise for.
        """
        if hasattr(past_values, "context_length") and hasattr(past_values, "series"):
            raise ValueError(
                f"past_values is {past_values!r}, whose windows overlap: fit on their series, "
                "processor.fit(windows.series)"
            )
        check_series(past_values, to_fit=True)
        side = "left"
        if is_dataset(past_values):
            if any(given is not None for given in (past_observed_mask, static_values, labels)):
                raise ValueError("With a Dataset, labels, static_values and the mask are taken from its columns")
            static_values, labels, are_forecasts = _columns_to_fit(past_values)
            if (origin := WideOrigin.read(past_values)) is not None:
                _check_order(self.variate_names, origin.variate_names)
                self.first_step, self.last_step = origin.first_step, origin.last_step
                self.column_pattern, self.step_dates = origin.column_pattern or self.column_pattern, origin.step_dates
                side = "left" if are_forecasts else "right"
        known = {name: getattr(self, name) for name in ("num_variates", "variate_names", "missing_values")}
        chunks = read_in_chunks(past_values, past_observed_mask, **known)
        on_cpu = ((_tensor(values).detach().cpu(), _tensor(observed).cpu()) for values, observed in chunks)
        screening = Screening(by_series=self.scaling == "instance")
        with one_run():
            variates = fit_variates(screening.watched(on_cpu, self.variate_names), self.variate_names)
        self.num_variates = len(variates["mean"])
        self.padding_side = self.padding_side or side
        self.truncation_side = self.truncation_side or side
        self.statistics = {
            "version": STATISTICS_VERSION,
            "variates": variates,
            "static": fit_static(static_values, screening) if static_values is not None else None,
            "targets": fit_targets(labels, screening, self.target_names) if labels is not None else None,
        }
        if future_values is not None:
            self.statistics["future"] = fit_future(future_values, future_columns)
        check_names(self)
        screening.report()
        return self

    def config_fields(self) -> dict[str, Any]:
        """The fields of `TimesCLIPConfig` that must agree with this processor and with what it learnt.

        Lengths of context and patches, `num_variates`, `variate_mean`, `variate_std`, `num_static_features`,
        `num_future_covariates`; after a fit with labels also `num_targets`, `target_mean`, `target_std`.

        Raises:
            ValueError: before `fit`.
        """
        fitted_statistics(self.statistics, "config_fields")
        images = ("image_size", "image_mean", "image_std", "background", "layout")
        known = known_to_processor(self)
        return {name: value for name, value in known.items() if name not in images and value is not None}

    def complete_config(self, config: TimesCLIPConfig) -> TimesCLIPConfig:
        """A copy of `config` with what `fit` learnt and the model must know, see `config_fields`.

        Raises:
            ValueError: before `fit`, or where the configuration has other lengths, variates or targets than the data.
        """
        fitted_statistics(self.statistics, "complete_config")
        return completed(config, self)

    def __call__(  # type: ignore[override]
        self,
        past_values: Any,
        *,
        past_observed_mask: Any = None,
        static_values: Any = None,
        labels: Any = None,
        future_values: Any = None,
        return_tensors: str = "pt",
        draw: bool = True,
    ) -> BatchFeature:
        """Prepares a batch.

        Args:
            past_values: `(B, T, V)` array, tensor or nested list, NaN = missing; `(T, V)`, or a table with one
                column for each variate (pandas, polars, pyarrow), is a batch of one; the `(T_i, V)` arrays or tables
                of a list may differ in length.
            past_observed_mask: the same shape(s), bool, False = missing.
            static_values: list of dicts, one a sample (or a DataFrame, or a numeric `(B, S)` array), with the columns
                that `fit` saw.
            labels: `(B, num_targets)` numbers, or `(B,)` for one target or for classes (integers).
            future_values: `(B, H, C)` or `(B, T + H, C)` numbers, or a list of arrays or DataFrames, one a sample: the
                covariates that `fit` saw, in the steps to forecast, perhaps behind those of the context; see
                `future_values`, the module.
            return_tensors: `"pt"` or `"np"`.
            draw: `False`: `plot_values` (B, V, T) in place of images, a few hundred times smaller, for `add_images` to
                turn into images elsewhere: on an accelerator, say.

        Returns:
            `BatchFeature` with `patch_values` (B, V, N, L), `patch_mask` (B, V, N), `variate_values` (B, V, T),
            `loc`, `scale` (B, V), and, where asked for, `pixel_values` (B, V, 3, height, width),
            `static_values` (B, num_static_features), `future_values` (B, T + H, num_future_covariates) and
            `labels`. Tensors stay on the device of `past_values`. All numbers are float32, but for `loc`, `scale` and
            `labels` where that would cost digits: see `precision`.

        Raises:
            ValueError: names the argument, what was found and what was expected.
        """
        if return_tensors not in ("pt", "np"):
            raise ValueError(f"return_tensors must be 'pt' or 'np', got {return_tensors!r}")
        check_series(past_values)
        values, observed = map(_tensor, read_series(past_values, past_observed_mask, **reading(self)))
        batch: dict[str, Tensor] = prepare_series(values, observed, self)
        if static_values is not None:
            static = encode_static(static_values, fitted_statistics(self.statistics, "static_values")["static"])
            batch["static_values"] = torch.from_numpy(static).to(values.device)
        if future_values is not None:
            batch["future_values"] = torch.from_numpy(covariates_of_batch(future_values, batch, self)).to(
                values.device
            )
        if labels is not None:
            batch["labels"] = self._label_tensor(labels, batch["loc"].dtype).to(values.device)
        check_rows(batch)
        round_for_mps(batch)
        if draw:
            self.add_images(batch)
        if return_tensors == "np":
            return BatchFeature({name: tensor.cpu().numpy() for name, tensor in batch.items()})
        return BatchFeature(batch)

    def _label_tensor(self, labels: Any, level_dtype: torch.dtype) -> Tensor:
        """Classes as they are; numbers as a column for each target, in fp64 where fp32 would cost digits."""
        tensor = labels if isinstance(labels, Tensor) else _tensor(np.array(read_sample(labels, "labels")))
        if tensor.ndim == 0:
            raise ValueError("labels is a single number; expected (batch,) or (batch, num_targets)")
        if 0 in tensor.shape:
            raise ValueError(
                f"labels is empty: shape {tuple(tensor.shape)}; expected (batch,) or (batch, num_targets)"
            )
        if not tensor.is_floating_point():
            return tensor
        answered = self.variate_names and self.variate_names[: self.num_target_variates]
        if tensor.ndim == 3:
            tensor = mark_missing(tensor, self.missing_values, answered)
        tensor = without_fill_values(tensor, "labels")
        columns, names = ("variate", answered) if tensor.ndim == 3 else ("target", self.target_names)
        flat = tensor if tensor.ndim == 3 else tensor.reshape(len(tensor), 1, -1)
        check_range(flat, ~flat.isnan(), "labels", names, column=columns)
        targets = (self.statistics or {}).get("targets")
        large = level_dtype == torch.float64 if tensor.ndim == 3 else targets and any_costs_digits(**targets)
        tensor = tensor[:, None] if tensor.ndim == 1 else tensor
        return tensor if large and tensor.dtype == torch.float64 else tensor.float()

    def add_images(self, batch: MutableMapping[str, Any]) -> None:
        """Puts `pixel_values` in the place of a batch's `plot_values`, where it has any, on their device."""
        if "plot_values" in batch:
            batch["pixel_values"] = self.draw(batch.pop("plot_values"))

    def draw(self, plot_values: Tensor, dtype: torch.dtype = torch.float32, images: slice | None = None) -> Tensor:
        """Images as the vision tower wants them, made where `plot_values` is: on the CPU or an accelerator.

        Args:
            plot_values: `(B, V, T)` as `processor(..., draw=False)` returns them: 0 is the bottom of a variate's axis,
                1 the top, NaN a gap.
            dtype: of the images; the shapes are drawn in fp32 in any case.
            images: these alone, of all samples one after the other.

        Returns:
            `pixel_values` `(B, V, 3, height, width)`, normalised with `image_mean` and `image_std`; with `images`
            `(n, 3, height, width)`.

        Raises:
            ValueError: a processor without images (`image_size=None`).
        """
        if images is not None:
            return draw_some_plots(plot_values, self, images, dtype)
        return draw_plots(plot_values, self, dtype)

    def to_images(self, pixel_values: Tensor | np.ndarray) -> np.ndarray:
        """What the vision tower sees, for people: `(..., 3, height, width)` to uint8 `(..., height, width, 3)`."""
        pixel_values = torch.as_tensor(pixel_values)
        mean = torch.tensor(self.image_mean, device=pixel_values.device)[:, None, None]
        std = torch.tensor(self.image_std, device=pixel_values.device)[:, None, None]
        images = (pixel_values.float() * std + mean).clamp(0, 1) * 255
        return images.round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def _tensor(array: Array) -> Tensor:
    return array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))


def _check_order(names: Sequence[str] | None, found: Sequence[str]) -> None:
    if names is not None and list(names) != list(found) and sorted(names) == sorted(found):
        raise ValueError(
            f"variate_names are {list(names)}, but the data set has these variates in the order {list(found)}: read "
            "it with load_wide_table(..., variates=...) in the order of variate_names"
        )


def _columns_to_fit(dataset: Any) -> tuple[Any, Any, bool]:
    """Static values and labels of a Dataset, as far as there are any to fit on; whether its labels are forecasts."""
    columns = dataset.column_names
    if "past_values" not in columns:
        raise ValueError(f"The dataset has no column 'past_values', only {columns}")
    labels: Any = exact(dataset.select_columns(["labels"]), "labels")["labels"][:] if "labels" in columns else None
    are_forecasts = np.ndim(labels) > 2
    # Numbers of classes are one whole number a row; targets are lists of numbers, even where there is one.
    are_classes = labels is not None and np.ndim(labels) == 1 and np.asarray(labels).dtype.kind in "iub"
    static_values = dataset["static_values"][:] if "static_values" in columns else None
    return static_values, None if are_forecasts or are_classes else labels, are_forecasts  # they need no statistics


__all__ = ["TimesCLIPProcessor"]
