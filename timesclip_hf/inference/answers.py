# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One number that a model says of each sample, whatever its task: what explanations are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.trainer_utils import unwrap_peft_model

from ..data.calendar import PARTS
from ..data.tables import some_of
from ..model.agreement import check_agreement
from ..model.future_values import future_width
from ..model.messages import one_run
from ..model.precision import round_for_mps
from ..model.preprocessing import fill_missing, prepare_series
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.reader import sides
from .series_batch import BatchReader, SeriesBatch
from .table_inputs import first_read


class Answerer:
    """A model that is asked for one number of each sample.

    Args:
        model: with a task, of any kind, an adapter of one, too.
        processor: its own.
        target: of a regression the target's name or number (the first); of a classification the class whose
            probability is meant (each sample's likeliest); of a forecast the variate (the first).
        horizon: step of a forecast, 1 to H; `None`: the mean of all.
        batch_size: samples that the model sees at once.

    Raises:
        ValueError: a model without a task, or a target that it has not.
    """

    def __init__(
        self, model: Any, processor: TimesCLIPProcessor, target: str | int | None = None, horizon: int | None = None,
        batch_size: int = 64,
    ):  # fmt: skip
        base = unwrap_peft_model(model)
        self.model, self.base, self.processor, self.batch_size = model.eval(), base, processor, batch_size
        self.task, self.config = base.task, base.config
        if self.task.answer is None:
            raise ValueError(f"a {type(base).__name__} gives no answer that could be explained, only embeds")
        check_agreement(processor, self.config, self.task)
        self.reads = base.answer_inputs(self.config)
        self.device = base.device
        self.dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.target, self.target_name, self.unit = self._find_target(target)
        if horizon is not None and (self.task.name != "forecasting" or not 1 <= horizon <= self.length):
            found = f"1 to {self.length}" if self.task.name == "forecasting" else "none, this model forecasts nothing"
            raise ValueError(f"horizon={horizon}: the model's steps are {found}")
        self.horizon = horizon

    def of(self, target: int) -> "Answerer":
        """The same for another target; of classes itself."""
        if self.task.name == "classification" or target == self.target:
            return self
        return Answerer(self.model, self.processor, target, self.horizon, self.batch_size)

    @property
    def length(self) -> int:
        return int(self.config.prediction_length)

    @property
    def variate_names(self) -> list[str]:
        return self.processor.variate_names or [f"variate {k}" for k in range(self.config.num_variates)]

    @property
    def variate_units(self) -> list[str]:
        return self.processor.variate_units or [""] * self.config.num_variates

    def step_axis(self) -> tuple[list[int], list[str | None]]:
        """Numbers of the T steps that are read, and their dates where the processor knows them: of a season as its
        table has them, else counted back from the newest step, 0."""
        length, newest = self.processor.context_length, self.task.reads_newest_steps
        start = None if newest else first_read(self.processor)
        padding_side = sides(self.processor)[0]
        if start is None:
            start = 1 - length if newest or padding_side == "left" else 0
        dates = dict(enumerate(self.processor.step_dates or []))
        numbers = list(range(start, start + length))
        return numbers, [None if newest else dates.get(number) for number in numbers]

    def _find_target(self, target: str | int | None) -> tuple[int | None, str, str]:
        processor, config = self.processor, self.config
        if self.task.name == "classification":
            classes = {name: number for number, name in config.id2label.items()}
            if target is None:
                return None, "probability of the likeliest class", ""
            number = _number_of(target, [str(classes_name) for classes_name in classes], "class")
            return number, f"probability of {config.id2label[number]}", ""
        if self.task.name == "forecasting":
            answered = self.variate_names[: self.config.num_target_variates or None]
            number = _number_of(target or 0, answered, "variate")
            return number, self.variate_names[number], self.variate_units[number]
        names = processor.target_names or [f"prediction_{k}" for k in range(config.num_targets)]
        number = _number_of(target or 0, names, "target")
        units = processor.target_units or [""] * len(names)
        return number, names[number] if processor.target_names else "prediction", units[number]

    def batch(
        self, values: Tensor, observed: Tensor, static: Tensor | None = None, future: Tensor | None = None,
        images: Tensor | None = None, level: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What the model reads of raw values `(n, T, V)`, with gradients, but for images: as given, or drawn."""
        batch: dict[str, Any] = prepare_series(values, observed, self.processor, level)
        plots = batch.pop("plot_values", None)
        if "pixel_values" in self.reads:
            batch["pixel_values"] = self.processor.draw(plots.detach()) if images is None else images
        batch |= {} if static is None else {"static_values": static}
        batch |= {} if future is None else {"future_values": future}
        round_for_mps(batch)
        return batch

    def number(self, batch: Mapping[str, Any], classes: Tensor | None) -> Tensor:
        """The number `(n,)` for a batch; `classes`: of each sample, where no class was asked for."""
        answer = self.model(**batch)[self.task.answer]
        if self.task.name == "classification":
            chosen = torch.full((len(answer),), self.target or 0, device=answer.device) if classes is None else classes
            return answer.float().softmax(dim=-1).gather(1, chosen[:, None])[:, 0]
        if self.task.name == "forecasting":
            own = answer[..., self.target]
            return own.mean(dim=1) if self.horizon is None else own[:, self.horizon - 1]
        return answer[:, self.target]

    @torch.no_grad()
    def outputs(self, series: SeriesBatch, **wanted: Any) -> list[Any]:
        """The model's outputs, batch by batch."""
        found = []
        with one_run():
            for first in range(0, len(series), self.batch_size):
                part = series.at(np.arange(first, min(first + self.batch_size, len(series))))
                found.append(self.model(**self.batch(*self.tensors(part)), **wanted))
        return found

    def answers(self, series: SeriesBatch) -> NDArray[np.float64]:
        """All that the model says: numbers `(n, targets)`, probabilities `(n, classes)`, forecasts `(n, H, V)`."""
        said = torch.cat([output[self.task.answer] for output in self.outputs(series)]).double()
        said = said.softmax(dim=-1) if self.task.name == "classification" else said
        return said.cpu().numpy()

    def pick(self, answers: NDArray[Any], classes: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """The number `(n,)` that is explained, of all that the model says."""
        if self.task.name == "classification":
            chosen = np.full(len(answers), self.target) if classes is None else classes
            return answers[np.arange(len(answers)), chosen]
        if self.task.name == "forecasting":
            own = answers[..., self.target]
            return own.mean(axis=1) if self.horizon is None else own[:, self.horizon - 1]
        return answers[:, self.target]

    def tensors(self, series: SeriesBatch) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Values, mask, static values and covariates known in advance, where the model is."""
        beside = [
            None if part is None else torch.as_tensor(part, device=self.device)
            for part in (series.static, series.future)
        ]
        return (
            torch.as_tensor(series.values, dtype=self.dtype, device=self.device),
            torch.as_tensor(series.observed, device=self.device),
            beside[0],
            beside[1],
        )

    def read(self, samples: Any, labels: Any = None, groups: Any = None, **reading: Any) -> SeriesBatch:
        """Samples as arrays, see `BatchReader.read`."""
        reader = BatchReader(self.processor, self.config, self.task, self.reads, self.target or 0)
        return reader.read(samples, labels, groups, **reading)

    @property
    def static_columns(self) -> list[dict[str, Any]]:
        """The static columns that the answer depends on, as the processor encodes them."""
        return (self.processor.statistics or {}).get("static") or [] if "static_values" in self.reads else []

    @property
    def future_columns(self) -> list[dict[str, Any]]:
        """The columns of covariates known in advance that the answer depends on, as the processor encodes them."""
        return (self.processor.statistics or {}).get("future") or [] if "future_values" in self.reads else []

    @property
    def known(self) -> list["Known"]:
        """The same by covariate, all that one part of the calendar says being one."""
        turns = {f"{part}_{way}": f"calendar {part}" for part in PARTS for way in ("sin", "cos")}
        told: list[tuple[str, list[dict[str, Any]]]] = []
        for column in self.future_columns:
            name = turns.get(column["name"], column["name"])
            if told and told[-1][0] == name:
                told[-1][1].append(column)
            else:
                told.append((name, [column]))
        found, start = [], 0
        for name, columns in told:
            width = future_width(columns)
            variate = self.variate_names.index(name) if name in self.variate_names else None
            found.append(Known(name, slice(start, start + width), variate, columns))
            start += width
        return found


@dataclass(frozen=True)
class Known:
    """A covariate known in advance, or what a part of the calendar says.

    Args:
        name: of its column, or of the part.
        place: where it stands in the encoded `future_values`.
        variate: number of the variate that its past is, too; `None`: it is none.
        columns: what the processor knows of its columns.
    """

    name: str
    place: slice
    variate: int | None
    columns: list[dict[str, Any]]

    def raw(self, encoded: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values `(n, steps)` in their own unit, of encoded ones `(n, steps, width)`; NaN of what is no number."""
        column = self.columns[0]
        if len(self.columns) > 1 or "categories" in column:
            return np.full(encoded.shape[:2], np.nan)
        return encoded[..., 0] * column["std"] + column["mean"]


def baseline_values(series: SeriesBatch) -> NDArray[np.float64]:
    """The mean of samples at each step `(T, V)`, their gaps filled by straight lines."""
    return fill_missing(series.values, series.observed).mean(axis=0)


def _number_of(target: str | int, names: Sequence[str], kind: str) -> int:
    if isinstance(target, str) and target in names:
        return list(names).index(target)
    if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(names):
        return target
    raise ValueError(f"target={target!r}: the model has no such {kind}, only {some_of(names, 20)}")


__all__ = ["Answerer", "Known", "baseline_values"]
