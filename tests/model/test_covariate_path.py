# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Covariates of forecasts: known in advance, of the past alone, and static values; in the model and its processor."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from timesclip_hf import TimesCLIPConfig, TimesCLIPForPrediction, TimesCLIPForRegression, TimesCLIPProcessor
from timesclip_hf.model.covariate_path import HALF_LIVES, CovariatePath, running_means
from timesclip_hf.model.future_values import encode_future, fit_future, future_width

KNOWN: dict[str, Any] = {
    "num_target_variates": 2,
    "num_future_covariates": 2,
    "num_static_features": 3,
    "forecast_static": True,
    "prediction_length": 5,
}


def test_a_model_that_has_learnt_nothing_of_covariates_equals_one_without(make_case, make_batch) -> None:
    for preset in ("forecast", "paper"):
        model, batch = make_case(TimesCLIPForPrediction, preset=preset, **KNOWN)
        with torch.no_grad():
            for layer in (model.head.covariates.effect, model.head.covariates.shift):
                layer.weight.zero_(), layer.bias.zero_()
        without = {"num_future_covariates": 0, "forecast_static": False}
        plain, _ = make_case(TimesCLIPForPrediction, preset=preset, **{**KNOWN, **without})
        own = {name: weight for name, weight in model.state_dict().items() if "covariates" not in name}
        plain.load_state_dict(own)
        assert torch.equal(model(**batch).predictions, plain(**batch).predictions)


def test_known_covariates_start_at_zero(tiny_config) -> None:
    path = TimesCLIPForPrediction(tiny_config("forecast", **KNOWN)).head.covariates
    assert not path.effect.weight.any() and not path.shift.weight.any()
    assert path.bends.weight.std() > 0.3 and path.bends.bias.std() > 0.3  # curves, not straight lines


def test_an_effect_is_that_of_steps_around_and_is_taken_off_the_context(make_case) -> None:
    model, batch = make_case(TimesCLIPForPrediction, preset="forecast", **KNOWN)
    context, horizon = model.config.context_length, model.config.prediction_length
    static, unit = batch["static_values"], torch.ones(4, 2)
    path: CovariatePath = model.head.covariates
    before = path(batch["future_values"], static, unit)
    assert before.shape == (4, 2, context + horizon)
    changed = batch["future_values"].clone()
    changed[:, 7] += 1
    moved = (path(changed, static, unit) - before).abs().amax(dim=(0, 1))
    assert (moved > 1e-6).nonzero().flatten().tolist() == [5, 6, 7, 8, 10, 15]  # 7 - offset
    # An effect that is the same at all times changes nothing: the context tells it already.
    with torch.no_grad():
        path.effect.weight.zero_(), path.shift.weight.zero_(), path.shift.bias.zero_()
        here = model(**batch).predictions
        path.effect.bias.add_(3.0)
        assert torch.allclose(model(**batch).predictions, here, atol=1e-4)


def test_a_running_mean_is_that_of_pandas() -> None:
    values = np.random.default_rng(0).normal(size=(2, 40, 3))
    found = running_means(torch.from_numpy(values)).numpy()
    for place, half in enumerate(HALF_LIVES):
        for row in range(2):
            expected = pd.DataFrame(values[row]).ewm(halflife=half, adjust=False).mean()
            np.testing.assert_allclose(found[row, :, 3 * place : 3 * place + 3], expected)


def test_half_precision_counts_the_steps_of_a_running_mean_as_well() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 600, 2))).float()
    for dtype, rounding in ((torch.bfloat16, 2e-2), (torch.float16, 3e-3)):
        found = running_means(values.to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), running_means(values), rtol=rounding, atol=rounding)


def test_memory_reaches_all_later_steps_and_no_earlier_one(make_case) -> None:
    model, batch = make_case(TimesCLIPForPrediction, preset="forecast", **KNOWN, covariate_memory=True)
    path: CovariatePath = model.head.covariates
    given = batch["static_values"], torch.ones(4, 2)
    changed = batch["future_values"].clone()
    changed[:, 7] += 1
    moved = (path(changed, *given) - path(batch["future_values"], *given)).abs().amax(dim=(0, 1))
    assert (moved > 1e-7).nonzero().flatten().tolist() == [5, 6, *range(7, len(moved))]  # two steps are expected
    reads = path.readers()
    assert len(reads) == path.effect.in_features and reads.any(dim=1).all()
    # Where a column does not read a covariate, no change of it arrives.
    moved = (path.read(changed * torch.tensor([1.0, 0.0]), given[0]) - path.read(0 * changed, given[0])).abs()
    assert not moved.amax(dim=(0, 1))[~reads[:, 0]].any() and moved.amax(dim=(0, 1))[reads[:, 0]].all()


def test_static_values_reach_every_step_of_a_forecast(make_case) -> None:
    model, batch = make_case(TimesCLIPForPrediction, preset="forecast", **KNOWN)
    other = model(**{**batch, "static_values": batch["static_values"] + 1}).predictions
    assert ((other - model(**batch).predictions).abs() > 0).all()
    del batch["static_values"]
    with pytest.raises(ValueError, match=r"reads static_values of shape \(batch, 3\)"):
        model(**batch)


def test_only_targets_are_answered_and_compared_and_drawn(make_case) -> None:
    for preset in ("full", "paper"):
        model, batch = make_case(TimesCLIPForPrediction, preset=preset, **KNOWN)
        output = model(**batch)
        assert output.predictions.shape == batch["labels"].shape == (4, 5, 2)
        assert output.image_embeds.shape[1] == 2 and output.text_embeds.shape[1] == 3
        assert torch.isfinite(output.loss) and output.alignment_loss is not None
        inner = model.timesclip.get_features(**batch)
        assert inner.shape[1] == 3
        third = dict(batch)  # a covariate of the past informs the targets
        third["patch_values"], third["variate_values"] = batch["patch_values"].clone(), batch["variate_values"].clone()
        third["patch_values"][:, 2] += 1
        third["variate_values"][:, 2] += 1
        assert not torch.equal(model(**third).predictions, output.predictions)


def test_covariates_are_for_forecasts(tiny_config) -> None:
    for field in ({"num_target_variates": 1}, {"num_future_covariates": 1}):
        with pytest.raises(ValueError, match="are for forecasts"):
            TimesCLIPForRegression(tiny_config("small", **field))
    with pytest.raises(Exception, match="num_target_variates must be 1 to num_variates"):
        tiny_config("forecast", num_target_variates=4)
    with pytest.raises(Exception, match="draw_covariates=True"):
        tiny_config("vision_only", num_target_variates=1)


# --- the processor --------------------------------------------------------------------------------------------------


def _fitted(**parameters: Any) -> tuple[TimesCLIPProcessor, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    series = [rng.normal(5, 2, size=(40, 2)) for _ in range(3)]
    known = [np.c_[values[:, 1], np.arange(40) % 3] for values in series]
    processor = TimesCLIPProcessor(
        12, 4, 2, variate_names=["load", "temperature"], scaling="instance", image_size=None, prediction_length=5,
        num_target_variates=1, **parameters,
    )  # fmt: skip
    columns = ["temperature", {"name": "promo", "categories": ["a", "b", "c"]}]
    return processor.fit(series, future_values=known, future_columns=columns), series


def test_numbers_are_standardised_by_the_training_data_and_categories_are_one_hot() -> None:
    processor, series = _fitted()
    numbers = np.concatenate(series)[:, 1]
    assert processor.statistics["future"] == [
        {"name": "temperature", "mean": pytest.approx(numbers.mean()), "std": pytest.approx(numbers.std())},
        {"name": "promo", "categories": ["a", "b", "c"]},
    ]
    future = np.c_[np.arange(17.0), np.arange(17) % 3][None]
    batch = processor(series[0][None, :12], future_values=future)
    assert batch["future_values"].shape == (1, 17, 4) and processor.num_future_covariates == 4
    expected = np.c_[(np.arange(17) - numbers.mean()) / numbers.std(), np.eye(3)[np.arange(17) % 3]]
    assert np.allclose(batch["future_values"][0].numpy(), expected, atol=1e-6)


def test_rows_of_frames_are_read_by_name_and_their_text_by_the_categories_of_training() -> None:
    processor, series = _fitted()
    frame = pd.DataFrame({"promo": list("abc") * 6, "other": 0, "temperature": np.arange(18.0)})
    array = np.c_[np.arange(18.0), np.arange(18) % 3]
    one, other = (processor(series[0][:12], future_values=[rows])["future_values"] for rows in (frame, array))
    assert torch.equal(one, other)
    with pytest.raises(ValueError, match=r"'promo' has categories that training has not seen: \['z'\]"):
        processor(series[0][:12], future_values=[frame.assign(promo="z")])
    with pytest.raises(ValueError, match=r"lack the columns \['promo'\]"):
        processor(series[0][:12], future_values=[frame.drop(columns="promo")])


def test_without_rows_of_the_context_a_covariate_that_is_a_variate_is_read_from_the_series() -> None:
    columns = fit_future([np.arange(20.0)[:, None]], ["temperature"])
    past, future = np.arange(12.0)[None], np.arange(12.0, 17.0)[None, :, None]
    short = encode_future(future, columns, (12, 5), {"temperature": past})
    whole = encode_future(np.arange(17.0)[None, :, None], columns, (12, 5), {})
    assert np.array_equal(short, whole)
    with pytest.raises(ValueError, match=r"no rows of the context in sample 0.*\['temperature'\] are no variates"):
        encode_future(future, columns, (12, 5), {})


def test_gaps_of_the_context_are_bridged_and_those_of_the_horizon_told() -> None:
    columns = fit_future([np.arange(20.0)[:, None]], ["temperature"])
    rows = np.arange(17.0)[None, :, None]
    gap = rows.copy()
    gap[0, 3:6] = np.nan
    assert np.allclose(encode_future(gap, columns, (12, 5), {}), encode_future(rows, columns, (12, 5), {}))
    gap[0, 14] = np.nan
    with pytest.raises(ValueError, match="lack 'temperature' in step 3 of the 5 to forecast, sample 0"):
        encode_future(gap, columns, (12, 5), {})
    with pytest.raises(ValueError, match="have 4 rows in sample 0, expected one for each of the 5"):
        encode_future(rows[:, :4], columns, (12, 5), {})
    with pytest.raises(ValueError, match="have 2 columns in sample 0, the processor was fitted on 1"):
        encode_future(np.zeros((1, 17, 2)), columns, (12, 5), {})


def test_constant_and_extreme_covariates_do_not_blow_up() -> None:
    columns = fit_future([np.full((20, 1), 4.0), np.full((20, 1), 4.0)])
    assert columns == [{"name": "future_0", "mean": 4.0, "std": 1.0}] and future_width(columns) == 1
    found = encode_future(np.array([[[4.0], [4.0], [1e6]]]), columns, (2, 1), {})
    assert found.ravel().tolist() == [0.0, 0.0, 10.0]


def test_model_and_processor_must_agree_on_covariates(tiny_config, tmp_path) -> None:
    processor, series = _fitted()
    config = tiny_config("forecast", num_variates=2, prediction_length=5, num_target_variates=1)
    config = processor.complete_config(config)
    assert config.num_future_covariates == 4
    assert TimesCLIPProcessor.from_config(config).prediction_length == 5
    processor.save_pretrained(tmp_path)
    again = TimesCLIPProcessor.from_pretrained(tmp_path)
    rows = np.c_[np.arange(17.0), np.arange(17) % 3][None]
    one, other = (p(series[0][None, :12], future_values=rows) for p in (processor, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    model = TimesCLIPForPrediction(TimesCLIPConfig.from_dict(config.to_dict()))
    assert model(**one, labels=torch.zeros(1, 5, 1)).predictions.shape == (1, 5, 1)
    with pytest.raises(ValueError, match="the processor has num_target_variates=1, the model 2"):
        processor.complete_config(tiny_config("forecast", num_variates=2, prediction_length=5))
