# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The average of the weights, by itself; `test_trainer.py` has it in training."""

import math

import pytest
import torch

from timesclip_hf.training.weight_averaging import WeightAverage, copy_weights, load_weights


def scalar_model(value: float = 1.0) -> torch.nn.Module:
    model = torch.nn.Linear(1, 1, bias=True)
    model.bias.requires_grad_(False)
    with torch.no_grad():
        model.weight.fill_(value)
        model.bias.fill_(5.0)
    return model


def test_the_average_follows_its_recursion_with_a_rising_decay() -> None:
    model = scalar_model(0.0)
    average, expected = WeightAverage(model, steps=3), 0.0
    for step in range(1, 30):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update()
        decay = min(math.exp(-1 / 3), (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert average.averages["weight"].item() == pytest.approx(expected, rel=1e-5)


def test_only_trained_weights_are_averaged_and_the_trained_ones_come_back_even_after_an_error() -> None:
    model = scalar_model(1.0)
    average = WeightAverage(model, steps=3)
    assert average.averages.keys() == copy_weights(model).keys() == {"weight"}
    with torch.no_grad():
        model.weight.fill_(9.0)
    with pytest.raises(RuntimeError), average.applied():
        assert model.weight.item() == 1.0 and model.bias.item() == 5.0
        raise RuntimeError
    assert model.weight.item() == 9.0


def test_copied_weights_are_loaded_back_and_others_left_alone() -> None:
    model = scalar_model(2.0)
    kept = copy_weights(model)
    with torch.no_grad():
        model.weight.fill_(7.0)
        model.bias.fill_(8.0)
    load_weights(model, kept)
    assert model.weight.item() == 2.0 and model.bias.item() == 8.0


def test_an_average_in_half_precision_still_moves() -> None:
    model = torch.nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        model.weight.fill_(1.0)
        average = WeightAverage(model, steps=1000)
        model.weight.fill_(1.5)
        for _ in range(20_000):
            average.update()
    assert average.averages["weight"].item() == pytest.approx(1.5, abs=1e-3)


def test_running_statistics_are_averaged_counters_copied_and_constants_left_alone() -> None:
    model = torch.nn.BatchNorm1d(1)
    model.register_buffer("constant", torch.ones(1), persistent=False)
    average = WeightAverage(model, steps=3)
    with torch.no_grad():
        model.running_mean.fill_(2.0)
        model.num_batches_tracked.fill_(5)
    average.update()
    assert average.averages.keys() == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert average.averages["running_mean"].item() == pytest.approx(2.0 * (1 - 2 / 11))
    with average.applied():
        assert model.running_mean.item() == pytest.approx(2.0 * (1 - 2 / 11)) and model.num_batches_tracked == 5
    assert model.running_mean.item() == 2.0 and model.num_batches_tracked.dtype == torch.long
