# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Effects of covariates in closed form, on series whose effect is known."""

from typing import Any

import numpy as np
import pytest
import torch

from timesclip_hf import TimesCLIPConfig, TimesCLIPDataCollator, TimesCLIPForPrediction, TimesCLIPProcessor
from timesclip_hf.data.long import SeriesCollection
from timesclip_hf.data.windows import ForecastWindows
from timesclip_hf.training.covariate_effects import covariate_paths, fit_effects, unfitted_effects
from timesclip_hf.training.trainer import TimesCLIPTrainer
from timesclip_hf.training.training_args import TimesCLIPTrainingArguments

CONTEXT, HORIZON = 16, 4


def make_windows(
    shape: str, useless: bool = True, seed: int = 0, context: int = CONTEXT
) -> dict[str, ForecastWindows]:
    """Loads of which half is an effect of the temperature, and a covariate that has none."""
    rng = np.random.default_rng(seed)
    temperature = np.repeat(rng.normal(10, 5, 150), 4) + rng.normal(size=600)
    effect = {"straight": 2 * temperature, "bent": 0.3 * (temperature - 10) ** 2, "none": 0 * temperature}[shape]
    load = 50 + effect + 2 * np.sin(np.arange(600) * 2 * np.pi / 8) + 0.2 * rng.normal(size=600)
    columns = [temperature] + ([rng.normal(size=600)] if useless else [])
    known = np.stack(columns, axis=1)
    names = ["temperature", "rain"][: known.shape[1]]
    series = SeriesCollection(
        [np.c_[load, known]], ["load", *names], ["a"], num_targets=1, future=[known],
        future_columns=[{"name": name} for name in names],
    )  # fmt: skip
    parts = {"train": slice(0, 400), "validation": slice(384, 500), "test": slice(484, 600)}
    return {name: ForecastWindows(series.cut({0: part}), context, HORIZON) for name, part in parts.items()}


def make_model(tiny_config: Any, windows: dict[str, ForecastWindows], **fields: Any) -> tuple[Any, TimesCLIPProcessor]:
    train = windows["train"]
    shape = {"num_variates": len(train.variate_names), "context_length": CONTEXT, "prediction_length": HORIZON}
    config = tiny_config("forecast", **{**shape, **fields}, num_target_variates=1)
    given = {"scaling": "instance", "variate_names": train.variate_names, "prediction_length": HORIZON}
    processor = TimesCLIPProcessor.from_config(config, **given).fit(train.series, **train.collection.to_fit)
    torch.manual_seed(0)
    return TimesCLIPForPrediction(processor.complete_config(config)).eval(), processor


def mean_error(model: Any, processor: TimesCLIPProcessor, windows: ForecastWindows) -> float:
    rows = [windows[k] for k in range(len(windows))]
    batch = TimesCLIPDataCollator(processor)(rows)
    with torch.no_grad():
        return float((model(**batch).predictions - batch["labels"]).abs().mean())


@pytest.mark.parametrize("shape", ["straight", "bent"])
def test_an_effect_is_found_whatever_its_shape(tiny_config: Any, shape: str) -> None:
    windows = make_windows(shape)
    model, processor = make_model(tiny_config, windows)
    assert unfitted_effects(model)
    before = mean_error(model, processor, windows["test"])  # repeats the last value
    (left,) = fit_effects(model, TimesCLIPDataCollator(processor), windows["train"], windows["validation"])
    assert left < 0.1 and not unfitted_effects(model)
    after = mean_error(model, processor, windows["test"])  # repeats what the temperature leaves of it
    without = make_windows("none")["test"]  # the same series but for the effect
    rows = [without[k] for k in range(len(without))]
    leftover = np.mean([np.abs(row["labels"][:, 0] - row["past_values"][-1, 0]).mean() for row in rows])
    assert after < before / 2 and after < 1.2 * leftover


def unlike_windows(reacts: bool, seed: int = 0) -> dict[str, ForecastWindows]:
    """Six loads of which three rise with the temperature, and three fall; or none does either."""
    rng = np.random.default_rng(seed)
    loads, known = [], []
    for k in range(6):
        temperature = np.convolve(rng.normal(0, 5, 360), np.ones(3), "valid")[:350] / 3
        effect = (1 if k % 2 else -1) * 2 * temperature * reacts
        loads.append(50 + effect + 2 * np.sin(np.arange(350) * np.pi / 4) + 0.3 * rng.normal(size=350))
        known.append(temperature[:, None])
    series = SeriesCollection(
        [np.c_[load, own] for load, own in zip(loads, known, strict=True)], ["load", "temperature"], list("abcdef"),
        num_targets=1, future=known, future_columns=[{"name": "temperature"}],
    )  # fmt: skip
    parts = {"train": slice(0, 220), "validation": slice(204, 290), "test": slice(274, 350)}
    return {name: ForecastWindows(series.cut(dict.fromkeys(range(6), part)), CONTEXT, HORIZON)
            for name, part in parts.items()}  # fmt: skip


def test_series_that_react_differently_show_it_in_their_contexts(tiny_config: Any) -> None:
    windows, errors = unlike_windows(True), {}
    for response in ("common", "own"):
        model, processor = make_model(tiny_config, windows, covariate_response=response)
        (left,) = fit_effects(model, TimesCLIPDataCollator(processor), windows["train"], windows["validation"])
        errors[response] = mean_error(model, processor, windows["test"])
        assert left > 0.9 if response == "common" else left < 0.2
    assert errors["own"] < 0.5 * errors["common"]


def test_where_no_series_reacts_none_has_a_response_of_its_own(tiny_config: Any) -> None:
    windows = unlike_windows(False)
    model, processor = make_model(tiny_config, windows, covariate_response="own")
    fit_effects(model, TimesCLIPDataCollator(processor), windows["train"], windows["validation"])
    assert unfitted_effects(model) and not covariate_paths(model)[0].own.sizes.any()


def test_a_context_of_one_step_shows_an_effect_and_no_response_of_its_own(tiny_config: Any) -> None:
    windows = make_windows("straight", context=1)
    fields = {"context_length": 1, "patch_length": 1, "patch_stride": 1, "covariate_response": "own"}
    model, processor = make_model(tiny_config, windows, **fields)
    (left,) = fit_effects(model, TimesCLIPDataCollator(processor), windows["train"], windows["validation"])
    assert left < 0.9 and not covariate_paths(model)[0].own.sizes.any()


def test_a_covariate_without_use_gets_no_effect(tiny_config: Any) -> None:
    windows = make_windows("none")
    model, processor = make_model(tiny_config, windows)
    assert fit_effects(model, TimesCLIPDataCollator(processor), windows["train"], windows["validation"]) == [1.0]
    assert unfitted_effects(model)


def test_beside_a_covariate_of_use_one_without_is_left_out(tiny_config: Any) -> None:
    windows = make_windows("bent")
    model, processor = make_model(tiny_config, windows)
    fit_effects(model, TimesCLIPDataCollator(processor), windows["train"], windows["validation"])
    batch = dict(TimesCLIPDataCollator(processor)([windows["test"][k] for k in range(20)]))
    path, here = covariate_paths(model)[0], batch["future_values"]
    other = here.clone()
    other[..., 1] = torch.randn(other.shape[:2])
    unit = torch.ones(20, 1)
    assert torch.equal(path(here, None, unit), path(other, None, unit))
    other[..., 0] += 1
    assert not torch.equal(path(here, None, unit), path(other, None, unit))


def test_units_of_the_training_data_carry_an_effect_that_series_of_any_spread_share(tiny_config: Any) -> None:
    windows = make_windows("straight", useless=False)
    model, processor = make_model(tiny_config, windows)
    fit_effects(model, TimesCLIPDataCollator(processor), windows["train"])  # the last fifth of it validates
    path = covariate_paths(model)[0]
    steps = torch.linspace(-1, 1, CONTEXT + HORIZON)[None, :, None]
    statistics = processor.statistics
    assert statistics is not None
    spread, load = statistics["future"][0]["std"], statistics["variates"]["std"][0]
    effect = path(steps, None, torch.ones(1, 1))[0, 0, 2:-2] * load  # of a series of the training data's spread
    slope = np.polyfit(steps[0, 2:-2, 0].numpy() * spread, effect.detach().numpy(), 1)[0]
    assert slope == pytest.approx(2.0, rel=0.1)


def test_the_trainer_fits_effects_first_and_keeps_them(tiny_config: Any, tmp_path: Any) -> None:
    windows = make_windows("straight", useless=False)
    model, processor = make_model(tiny_config, windows)
    args = TimesCLIPTrainingArguments(
        str(tmp_path), max_steps=3, eval_strategy="no", save_strategy="no", load_best_model_at_end=False,
        report_to="none", disable_tqdm=True, per_device_train_batch_size=16, learning_rate=1e-2,
    )  # fmt: skip
    trainer = TimesCLIPTrainer(
        model, args, processor, train_dataset=windows["train"], eval_dataset=windows["validation"]
    )
    trainer.train()
    fitted = covariate_paths(model)[0].effect.weight.clone()
    assert fitted.any() and model.head.shortcut.weight.any()
    metrics = trainer.evaluate()
    assert np.isfinite(metrics["eval_mae"])
    trainer.args.max_steps = 2
    trainer.train()
    assert torch.equal(covariate_paths(model)[0].effect.weight, fitted)
    model.save_pretrained(tmp_path / "model")
    again = TimesCLIPForPrediction.from_pretrained(tmp_path / "model")
    assert isinstance(again.config, TimesCLIPConfig)
    assert mean_error(again, processor, windows["test"]) == mean_error(model.eval(), processor, windows["test"])
