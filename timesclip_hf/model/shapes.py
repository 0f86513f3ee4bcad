# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A reading of shapes wherever they stand: the kernels of MiniROCKET (Dempster, Schmidt & Webb 2021), softened.

84 fixed kernels of 9 steps (six weights of -1, three of 2, in every order), at several dilations up to the whole
series, each on the sum of a few variates drawn at random. Of each response one asks what share of the steps is above
a threshold; thresholds are quantiles of the responses to training series. Where MiniROCKET counts steps, the share is
a mean of sigmoids here, a fifth of the response's spread wide: a short series has few steps to count, and what is
smooth is the same in every library and has gradients, which explanations follow. Beside each share stands the highest
response (ROCKET, Dempster, Petitjean & Webb 2020), so that both kinds weigh alike.

Series are read as they are scaled, not one by one to mean 0 and spread 1: how large a shape is, counts. Missing steps
are on straight lines between their neighbours, as for the kernel on the series.
"""

from itertools import combinations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils.generic import maybe_autocast

from .layers import FittedLayer
from .precision import widened
from .towers import encode_in_chunks

NUM_KERNELS, KERNEL_LENGTH = 84, 9
_PLACES = [*combinations(range(KERNEL_LENGTH), 3)]
# `(84, 9)`: 2 at three of nine places, -1 at the others; every other one, then the rest.
_KERNELS = [[2.0 if step in own else -1.0 for step in range(KERNEL_LENGTH)] for own in _PLACES[::2] + _PLACES[1::2]]
_HALVES = (slice(0, NUM_KERNELS // 2), slice(NUM_KERNELS // 2, NUM_KERNELS))
_MOST_DILATIONS, _MOST_VARIATES = 32, 9
_SOFTNESS = 0.2  # of a threshold, in spreads of the response
_FEWEST_SPREAD = 1e-6
_GOLDEN = (np.sqrt(5) + 1) / 2
_NUMBERS_AT_ONCE = 2**20  # 4 MB
_FITTED_SERIES, _FITTED_STEPS = (16, 256), 2**17


def dilations(context_length: int, num_features: int) -> list[tuple[int, int]]:
    """Dilations, exponential up to where a kernel spans the series, and thresholds for each kernel at each of them."""
    each = num_features // (2 * NUM_KERNELS)
    most = np.log2(max(1.0, (context_length - 1) / (KERNEL_LENGTH - 1)))
    found, counts = np.unique(
        np.logspace(0, most, min(each, _MOST_DILATIONS), base=2).astype(np.int64), return_counts=True
    )
    counts = counts * each // counts.sum()
    counts[: each - counts.sum()] += 1  # what rounding left, to the finest
    return list(zip(found.tolist(), counts.tolist(), strict=True))


def series_to_fit(context_length: int) -> int:
    """Training series whose responses give the thresholds: 256, or of long ones so many that memory does not grow."""
    fewest, most = _FITTED_SERIES
    return max(fewest, min(most, _FITTED_STEPS // context_length))


class ShapeReading(FittedLayer):
    """Series to the shares of their steps at which kernels respond above thresholds, and to their highest responses.

    Args:
        num_variates: V of a series.
        context_length: its steps T.
        num_features: shares and highest responses, about; in whole sets of 168.
    """

    variates: Tensor
    thresholds: Tensor
    spreads: Tensor

    def __init__(self, num_variates: int, context_length: int, num_features: int):
        super().__init__()
        self.plan = dilations(context_length, num_features)
        shares, kernels = NUM_KERNELS * sum(count for _, count in self.plan), NUM_KERNELS * len(self.plan)
        self.num_features = 2 * shares
        self.hold(variates=(kernels, num_variates), thresholds=(shares,), spreads=(kernels,))

    def forward(self, values: Tensor) -> Tensor:
        """`(B, V, T)`, scaled and without gaps, to `(B, num_features)` in fp32."""
        with maybe_autocast(values.device.type, enabled=False):
            most = max(count for _, count in self.plan)
            at_once = max(1, _NUMBERS_AT_ONCE // (NUM_KERNELS * most * values.shape[-1]))
            return encode_in_chunks(self._read, at_once, _exact(values)).float()

    def _read(self, values: Tensor) -> Tensor:
        found, first = [], 0
        for number, (_, count) in enumerate(self.plan):
            last = first + NUM_KERNELS * count
            thresholds = self.thresholds[first:last].reshape(NUM_KERNELS, count, 1)
            spread = self.spreads[self._rows(number)].clamp(min=_FEWEST_SPREAD) * _SOFTNESS
            for half, part in enumerate(_HALVES):
                unit = spread[part, None, None]
                response = self._response(values, number, half, unit)[:, :, None]  # (B, 42, 1, steps)
                above = (response - thresholds[part] / unit).sigmoid()  # (B, 42, count, steps)
                found += [above.mean(dim=-1).flatten(1), response.amax(dim=-1).expand(-1, -1, count).flatten(1)]
            first = last
        return torch.cat(found, dim=1)

    def _rows(self, number: int) -> slice:
        return slice(number * NUM_KERNELS, (number + 1) * NUM_KERNELS)

    def _response(self, values: Tensor, number: int, half: int, unit: Any = 1.0) -> Tensor:
        """What half of the kernels of a dilation find `(B, 42, steps)`, in this unit.

        As in MiniROCKET, one half, in turns, lies within the series as a whole, where it can; for the other a series
        is 0, the mean, beyond its ends.
        """
        (dilation, _), part = self.plan[number], _HALVES[half]
        margin = KERNEL_LENGTH // 2 * dilation
        padding = 0 if (number + half) % 2 and values.shape[-1] > 2 * margin else margin
        weight = self.variates[self._rows(number)][part, :, None] * values.new_tensor(_KERNELS)[part, None]
        return F.conv1d(values, weight / unit, dilation=dilation, padding=padding)  # weight (42, V, 9)

    @torch.no_grad()
    def fit(self, values: Tensor, seed: int) -> None:
        """Draws the variates that each kernel reads, and finds thresholds in its responses.

        Args:
            values: of training series `(n, V, T)`, scaled and without gaps.
            seed: of the draw.
        """
        rng = np.random.default_rng(seed)
        width = values.shape[1]
        sizes = (2 ** rng.uniform(0, np.log2(min(width, _MOST_VARIATES) + 1), len(self.spreads))).astype(int)
        drawn = np.zeros((len(sizes), width))
        for row, size in zip(drawn, sizes, strict=True):
            row[rng.permutation(width)[:size]] = 1
        self.fill(variates=drawn)
        levels = np.arange(1, len(self.thresholds) + 1) * _GOLDEN % 1  # evenly spread, however many there are
        thresholds, spreads, first = [], [], 0
        for number, (_, count) in enumerate(self.plan):
            for half in range(len(_HALVES)):
                response = self._response(_exact(values), number, half).transpose(0, 1).flatten(1)
                for row in response.double().cpu().numpy():
                    spreads.append(row.std())
                    thresholds.append(np.quantile(row, levels[first : first + count]))
                    first += count
        self.fill(thresholds=np.concatenate(thresholds), spreads=spreads)


def _exact(values: Tensor) -> Tensor:
    """As convolutions keep all digits of float32: a GPU takes TF32 for them, but not in the place of float64."""
    return widened(values) if values.is_cuda else values.float()


__all__ = ["NUM_KERNELS", "ShapeReading", "dilations", "series_to_fit"]
