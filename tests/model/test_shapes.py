# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Shapes that are read wherever they stand, against sums written out in NumPy."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from timesclip_hf.model.shapes import ShapeReading, dilations, series_to_fit


def series(count: int = 6, variates: int = 3, steps: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=(count, variates, steps)), dtype=torch.float32)


def fitted(values: torch.Tensor, num_features: int = 500, seed: int = 0) -> ShapeReading:
    reading = ShapeReading(values.shape[1], values.shape[2], num_features)
    reading.fit(values, seed)
    return reading


@pytest.mark.parametrize("steps", [5, 9, 24, 100, 427])
@pytest.mark.parametrize("num_features", [168, 1000, 10_000])
def test_kernels_span_at_most_the_series_and_are_as_many_as_asked_for(steps: int, num_features: int) -> None:
    found = dilations(steps, num_features)
    assert found[0][0] == 1 and (found[-1][0] == 1 or 8 * found[-1][0] < steps)
    assert 168 * sum(count for _, count in found) == num_features // 168 * 168
    assert all(count > 0 for _, count in found)


def test_shares_are_of_the_steps_at_which_a_kernel_responds_above_a_threshold_beside_its_highest_response() -> None:
    values = series()
    reading = fitted(values)
    found, column, row, threshold = reading(values).numpy(), 0, 0, 0
    kernels = [np.where(np.isin(np.arange(9), own), 2.0, -1.0) for own in combinations(range(9), 3)]
    for number, (dilation, count) in enumerate(reading.plan):
        for half in (0, 1):
            shares, highest = [], []
            for kernel in kernels[half::2]:
                own = np.einsum("v,bvt->bt", reading.variates[row].double().numpy(), values.double().numpy())
                padded = np.pad(own, ((0, 0), (4 * dilation, 4 * dilation)))
                response = sum(kernel[j] * padded[:, j * dilation : j * dilation + 40] for j in range(9))
                if (number + half) % 2 and 40 > 8 * dilation:
                    response = response[:, 4 * dilation : 40 - 4 * dilation]
                assert response.std() == pytest.approx(float(reading.spreads[row]), rel=1e-4)
                response, row = response / (0.2 * float(reading.spreads[row])), row + 1
                for level in reading.thresholds[threshold : threshold + count].numpy():
                    distance = response - level / (0.2 * float(reading.spreads[row - 1]))
                    shares.append((1 / (1 + np.exp(-distance))).mean(axis=1))
                    highest.append(response.max(axis=1))
                threshold += count
            expected = np.stack(shares + highest, axis=1)
            np.testing.assert_allclose(found[:, column : column + expected.shape[1]], expected, rtol=1e-4, atol=1e-4)
            column += expected.shape[1]
    assert column == reading.num_features == found.shape[1]


def test_thresholds_are_spread_evenly_over_what_is_found_in_training_series() -> None:
    reading = fitted(series(100))
    numbers = reading(series(100)).mean(dim=0).numpy()
    shares = np.sort(numbers[(numbers > 0) & (numbers < 1)])  # the highest response is far above, in its unit
    assert len(shares) == reading.num_features // 2
    np.testing.assert_allclose(shares, (np.arange(len(shares)) + 0.5) / len(shares), atol=0.05)


def test_a_shape_is_read_alike_wherever_it_stands_and_another_one_is_not() -> None:
    def at(place: int, shape: Any) -> torch.Tensor:
        values = torch.zeros(1, 1, 120)
        values[0, 0, place : place + 20] = torch.as_tensor(shape, dtype=torch.float32)
        return values

    bump, ramp = np.sin(np.pi * np.linspace(0, 1, 20)), np.linspace(0, 1, 20)
    reading = fitted(torch.cat([at(p, s) for p in (20, 50, 80) for s in (bump, ramp)]), 1000)
    early, late, other = (reading(part) for part in (at(50, bump), at(60, bump), at(50, ramp)))
    fine = 168 * reading.plan[0][1]  # wide kernels see the ends of the series, too
    assert (early - late)[:, :fine].abs().max() < 1e-5 < 0.05 < (early - other)[:, :fine].abs().max()


def test_the_seed_decides_and_samples_do_not_depend_on_their_batch(monkeypatch: Any) -> None:
    values = series(20)
    first, again, other = (fitted(values, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first(values), again(values)) and not torch.equal(first.variates, other.variates)
    whole = first(values)
    monkeypatch.setattr("timesclip_hf.model.shapes._NUMBERS_AT_ONCE", 1)
    torch.testing.assert_close(first(values), whole)


def test_long_series_are_fitted_on_fewer_of_them() -> None:
    assert [series_to_fit(steps) for steps in (1, 512, 1024, 10_000, 10**6)] == [256, 256, 128, 16, 16]


def test_a_variate_that_never_moves_and_a_series_of_one_step_are_read() -> None:
    for values in (torch.zeros(4, 2, 12), series(4, 1, 1)):
        assert torch.isfinite(fitted(values)(values)).all()
