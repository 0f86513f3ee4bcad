# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Quantiles and normal distributions as answers: order, units, losses beside torch, SciPy and scoringrules."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from scipy.stats import norm

from timesclip_hf import TimesCLIPConfig, TimesCLIPForPrediction, TimesCLIPForRegression
from timesclip_hf.metrics import crps
from timesclip_hf.model.distributions import distribution_loss, middle_of, moved, quantiles_of, spread_out
from timesclip_hf.training.ensemble import join_models

LEVELS = [0.05, 0.3, 0.5, 0.9]
UNITS = {"target_mean": [100.0, -3.0], "target_std": [20.0, 0.5], "num_targets": 2}


def config_of(loss: str, **fields) -> TimesCLIPConfig:
    return TimesCLIPConfig.from_preset("small", towers="tiny", loss=loss, quantile_levels=LEVELS, **fields)


@pytest.mark.parametrize("loss", ["quantile", "gaussian"])
def test_numbers_of_zero_are_the_standard_normal_distribution(loss):
    config = config_of(loss)
    said = spread_out(torch.zeros(2, config.numbers_per_answer), config)
    np.testing.assert_allclose(quantiles_of(said, config), np.tile(norm.ppf(LEVELS), (2, 1)), atol=2e-3)
    np.testing.assert_allclose(quantiles_of(moved(said, torch.full((2,), 4.0), config), config)[0],
                               norm.ppf(LEVELS) + 4, atol=2e-3)  # fmt: skip


def test_quantiles_never_cross_whatever_the_head_says():
    config, generator = config_of("quantile"), torch.Generator().manual_seed(0)
    numbers = 30 * torch.randn(500, len(LEVELS), generator=generator)
    said = spread_out(numbers, config)
    assert (said.diff(dim=-1) >= 0).all()
    np.testing.assert_array_equal(middle_of(said, config), numbers[:, 2])


def test_the_quantile_loss_is_the_crps_of_the_metrics_and_with_the_median_the_absolute_error():
    config, generator = config_of("quantile"), torch.Generator().manual_seed(1)
    said = spread_out(torch.randn(50, 3, len(LEVELS), generator=generator), config)
    targets = torch.randn(50, 3, generator=generator)
    targets[0, 0] = float("nan")
    found = distribution_loss(said, targets, config).item()
    assert found == pytest.approx(crps(said.numpy(), targets.numpy(), LEVELS), rel=1e-5)
    median = TimesCLIPConfig.from_preset("small", towers="tiny", loss="quantile", quantile_levels=[0.5])
    found = distribution_loss(said[..., 2:3], targets, median).item()
    assert found == pytest.approx((said[..., 2] - targets).abs().nanmean().item(), rel=1e-5)


def test_the_gaussian_loss_is_the_negative_log_likelihood():
    config, generator = config_of("gaussian"), torch.Generator().manual_seed(2)
    said = spread_out(torch.randn(40, 2, generator=generator), config)
    targets = torch.randn(40, generator=generator)
    expected = -norm.logpdf(targets, said[:, 0], said[:, 1]).mean()
    assert distribution_loss(said, targets, config).item() == pytest.approx(expected, rel=1e-5)
    larger = distribution_loss(said, targets, config, unit=10.0).item()  # a density of tens of units is a tenth
    assert larger == pytest.approx(expected + math.log(10), rel=1e-5)


def test_nothing_observed_costs_nothing_and_gives_gradients_of_zero():
    for loss in ("quantile", "gaussian"):
        config = config_of(loss)
        numbers = torch.zeros(2, config.numbers_per_answer, requires_grad=True)
        distribution_loss(spread_out(numbers, config), torch.full((2,), float("nan")), config).backward()
        assert numbers.grad is not None and not numbers.grad.any()


@pytest.mark.parametrize("fields", [{}, {"branch_fusion": "late", "linear_shortcut": True}, {"head": "linear"}])
@pytest.mark.parametrize("loss", ["quantile", "gaussian"])
def test_a_regression_gives_quantiles_in_the_units_of_its_targets(make_case, loss, fields):
    model, batch = make_case(TimesCLIPForRegression, loss=loss, quantile_levels=LEVELS, **UNITS, **fields)
    batch["labels"] = torch.tensor([[110.0, -3.2], [float("nan"), -2.0], [90.0, -3.0], [100.0, -4.0]])
    said = model(**batch)
    assert said.predictions.shape == (4, 2) and said.quantiles.shape == (4, 2, len(LEVELS))
    assert (said.quantiles.diff(dim=-1) > 0).all()
    standard = {**UNITS, "target_mean": [0.0, 0.0], "target_std": [1.0, 1.0]}
    model.config.update(standard)
    plain = model(**{**batch, "labels": None})
    scale, shift = torch.tensor([20.0, 0.5]), torch.tensor([100.0, -3.0])
    torch.testing.assert_close(said.quantiles, plain.quantiles * scale[:, None] + shift[:, None])
    torch.testing.assert_close(said.predictions, plain.predictions * scale + shift)
    if loss == "quantile":
        torch.testing.assert_close(said.predictions, said.quantiles[..., 2])
    else:
        torch.testing.assert_close(said.spreads, plain.spreads * scale)
        normal = said.predictions[..., None] + said.spreads[..., None] * torch.tensor(norm.ppf(LEVELS)).float()
        torch.testing.assert_close(said.quantiles, normal)


@pytest.mark.parametrize("loss", ["quantile", "gaussian"])
@pytest.mark.parametrize("shortcut", [False, True])
def test_a_forecaster_gives_quantiles_of_every_step_and_variate(make_case, loss, shortcut):
    model, batch = make_case(
        TimesCLIPForPrediction, preset="forecast", loss=loss, quantile_levels=LEVELS, linear_shortcut=shortcut
    )
    batch["loc"], batch["scale"] = torch.full((4, 3), 50.0), torch.full((4, 3), 2.0)
    said = model(**batch)
    horizon = model.config.prediction_length
    assert said.quantiles.shape == (4, horizon, 3, len(LEVELS)) and said.spreads.shape == (4, horizon, 3)
    assert (said.quantiles.diff(dim=-1) > 0).all() and said.task_loss.isfinite()
    scaled = model(**{**batch, "loc": batch["loc"] * 0, "scale": batch["scale"] / 2, "labels": None})
    torch.testing.assert_close(said.quantiles, scaled.quantiles * 2 + 50, rtol=1e-4, atol=1e-4)
    said.loss.backward()


def test_a_forecast_that_was_never_trained_spreads_around_the_last_value(tiny_config, make_batch):
    config = tiny_config("forecast", loss="quantile", quantile_levels=LEVELS)
    batch = make_batch(config)
    said = TimesCLIPForPrediction(config).eval()(**{**batch, "labels": None})
    last = batch["variate_values"][:, :, -1] * batch["scale"] + batch["loc"]
    expected = last[:, None, :, None] + batch["scale"][:, None, :, None] * torch.tensor(norm.ppf(LEVELS)).float()
    torch.testing.assert_close(said.quantiles, expected.expand_as(said.quantiles), rtol=1e-3, atol=1e-3)


def test_branches_that_disagree_say_by_how_much(make_case):
    model, batch = make_case(TimesCLIPForRegression, branch_fusion="late", branch_weights=[0.25, 0.75], **UNITS)
    batch.pop("labels")
    said = model(**batch)
    mean = torch.einsum("b,nbt->nt", torch.tensor([0.25, 0.75]), said.branch_predictions)
    variance = torch.einsum(
        "b,nbt->nt", torch.tensor([0.25, 0.75]), (said.branch_predictions - mean[:, None]).square()
    )
    torch.testing.assert_close(said.spreads, variance.sqrt())


def test_models_of_an_ensemble_that_disagree_say_by_how_much(make_case, enlarge):
    model, batch = make_case(TimesCLIPForRegression, **UNITS)
    batch.pop("labels")
    assert model(**batch).spreads is None
    other = enlarge(TimesCLIPForRegression(model.config))
    each = torch.stack([model(**batch).predictions, other(**batch).predictions])
    torch.testing.assert_close(join_models([model, other])(**batch).spreads, each.std(dim=0, correction=0))


def test_an_ensemble_of_quantiles_averages_them(make_case, enlarge):
    model, batch = make_case(TimesCLIPForRegression, loss="quantile", quantile_levels=LEVELS, **UNITS)
    batch.pop("labels")
    other = enlarge(TimesCLIPForRegression(model.config))
    each = torch.stack([model(**batch).quantiles, other(**batch).quantiles])
    torch.testing.assert_close(join_models([model, other])(**batch).quantiles, each.mean(dim=0))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"loss": "quantile", "quantile_levels": [0.1, 0.9]}, "0.5 among them"),
        ({"loss": "quantile", "quantile_levels": [0.5, 0.1]}, "rising"),
        ({"loss": "quantile", "quantile_levels": [0.0, 0.5]}, "between 0 and 1"),
        ({"loss": "quantile", "branch_fusion": "late", "kernel_shortcut": True}, "calibrate"),
        ({"calibration": {"method": "magic"}}, "method='magic'"),
        ({"calibration": {"method": "absolute", "levels": [0.9], "thresholds": [[1.0], [2.0]]}}, "thresholds"),
        ({"calibration": {"method": "absolute", "levels": [0.9], "thresholds": [["a"]]}}, "thresholds"),
        ({"calibration": {"method": "classes", "levels": [2], "thresholds": [1.0]}}, "levels"),
    ],
)
def test_settings_that_fit_nothing_are_named(tiny_config, fields, told):
    with pytest.raises((StrictDataclassError, ValueError), match=told):
        tiny_config(**fields)


@pytest.mark.parametrize("loss", ["quantile", "gaussian"])
def test_distributions_are_one_graph(make_case, loss):
    model, batch = make_case(TimesCLIPForPrediction, preset="forecast", loss=loss, quantile_levels=LEVELS)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    said, plain = compiled(**batch), model(**batch)
    torch.testing.assert_close(said.quantiles, plain.quantiles)
    torch.testing.assert_close(said.loss, plain.loss)
