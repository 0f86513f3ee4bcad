# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How one series reacts to covariates, against generalised least squares written out in NumPy."""

import numpy as np
import pytest
import torch

from timesclip_hf import TimesCLIPConfig, TimesCLIPForPrediction
from timesclip_hf.model.own_response import OwnResponse, directions, solved

T, H, C = 24, 6, 2


def make_response() -> OwnResponse:
    own = OwnResponse(
        TimesCLIPConfig(
            vision_config=None,
            alignment=None,
            num_variates=1,
            context_length=T,
            prediction_length=H,
            num_future_covariates=C,
        )
    )
    torch.manual_seed(0)
    own.lags.normal_(std=0.05)
    own.sizes.copy_(torch.tensor([[0.5, 1.0, 2.0, 0.1, 0.3]]))
    return own


def test_a_response_is_that_of_generalised_least_squares_with_a_ridge() -> None:
    own, rng = make_response(), np.random.default_rng(0)
    effect, values, series = rng.normal(size=(3, 1, T + H)), rng.normal(size=(3, T + H, C)), rng.normal(size=(3, 1, T))
    found = own(*(torch.from_numpy(one) for one in (effect, values, series)))
    lags, sizes = own.lags[0].double().numpy(), own.sizes[0].double().numpy()
    white = np.zeros((T - own.order, T))
    for row in range(len(white)):  # a step, less the one before, less what those further back tell of the change
        step = row + own.order
        white[row, step], white[row, step - 1] = 1.0, -1.0
        for lag, weight in enumerate(lags, start=2):
            white[row, step - lag] -= weight
            white[row, step - 1] += weight
    for k in range(3):
        ways = np.c_[effect[k, 0], values[k], values[k] ** 2]
        rows, wanted = white @ ways[:T], white @ (series[k, 0] - effect[k, 0, :T])
        weights = np.linalg.solve(rows.T @ rows + np.diag(1 / sizes**2), rows.T @ wanted)
        np.testing.assert_allclose(found[k, 0].numpy(), ways @ weights, rtol=1e-3, atol=1e-4)


def test_without_sizes_and_without_a_context_that_moves_there_is_none() -> None:
    own = make_response()
    effect, values = torch.randn(2, 1, T + H), torch.randn(2, T + H, C)
    still = effect[..., :T] + 7.0  # the common effect explains all of it
    assert own(effect, values, still).abs().max() < 1e-4
    own.reset_parameters()
    assert not own(effect, values, torch.randn(2, 1, T)).any()


def test_a_context_of_one_step_shows_no_response() -> None:
    config = TimesCLIPConfig(
        vision_config=None, alignment=None, num_variates=1, context_length=1, patch_length=1, patch_stride=1,
        prediction_length=H, num_future_covariates=C,
    )  # fmt: skip
    own = OwnResponse(config)
    own.sizes.fill_(1.0)
    assert not own(torch.randn(2, 1, 1 + H), torch.randn(2, 1 + H, C), torch.randn(2, 1, 1)).any()


def test_series_are_asked_for_where_there_are_covariates_to_respond_to(tiny_config) -> None:
    for count, read in ((0, False), (2, True)):
        config = tiny_config(
            "forecast",
            linear_shortcut=False,
            variate_selection=None,
            num_future_covariates=count,
            prediction_length=H,
            covariate_response="own",
        )
        assert ("variate_values" in TimesCLIPForPrediction.answer_inputs(config)) is read


def test_directions_are_the_effect_covariates_and_their_squares() -> None:
    ways = directions(torch.full((1, 2, 3), 5.0), torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]))
    assert ways.shape == (1, 2, 5, 3)
    assert ways[0, 1, :, 1].tolist() == [5.0, 3.0, 4.0, 9.0, 16.0]


def test_equations_are_solved_by_elimination() -> None:
    rows = torch.randn(4, 7, 20, dtype=torch.float64)
    squares, products = rows @ rows.mT, torch.randn(4, 7, dtype=torch.float64)
    expected = torch.linalg.solve(squares + torch.eye(7, dtype=torch.float64), products)
    torch.testing.assert_close(solved(squares, products), expected)


def test_a_model_whose_series_have_no_response_of_their_own_equals_one_without(make_case) -> None:
    known = {"num_target_variates": 2, "num_future_covariates": 2, "prediction_length": 5}
    model, batch = make_case(TimesCLIPForPrediction, preset="forecast", **known, covariate_response="own")
    plain, _ = make_case(TimesCLIPForPrediction, preset="forecast", **known)
    plain.load_state_dict({name: one for name, one in model.state_dict().items() if ".own." not in name})
    with torch.no_grad():
        for one in model.head.covariates.own.buffers():
            one.zero_()
        assert torch.equal(model(**batch).predictions, plain(**batch).predictions)
        model.head.covariates.own.sizes.fill_(1.0)
        assert not torch.equal(model(**batch).predictions, plain(**batch).predictions)
        del batch["variate_values"]
        with pytest.raises(ValueError, match="variate_values"):
            model(**batch)
