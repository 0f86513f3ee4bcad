# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What processor and model both know is compared in full, and nothing is refused that only one of them knows."""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForPreTraining,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
)
from timesclip_hf.model.agreement import SHARED, check_agreement, known_to_model, known_to_processor

STATIC = [{"soil": soil, "depth": float(depth)} for depth, soil in enumerate("ababab")]
LABELS = np.arange(12.0).reshape(6, 2)


def make_series() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 12, 3)) * [1.0, 20.0, 0.01] + [0.0, 300.0, -5.0]


@pytest.fixture
def pair(tiny_config: Any) -> tuple[TimesCLIPProcessor, TimesCLIPConfig]:
    """A processor that has learnt all there is, and the configuration of a model that was told."""
    config = tiny_config(num_targets=2, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4], blank_patches="drop")
    processor = TimesCLIPProcessor.from_config(config, target_names=["yield", "protein"])
    processor.fit(make_series(), static_values=STATIC, labels=LABELS)
    return processor, processor.complete_config(config)


def test_both_sides_of_a_completed_pair_know_every_shared_field(pair: Any) -> None:
    processor, config = pair
    assert set(known_to_processor(processor)) == set(known_to_model(config)) == set(SHARED)
    check_agreement(processor, config, TimesCLIPForRegression.task, training=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context_length", 13),
        ("patch_length", 3),
        ("patch_stride", 3),
        ("padding", "none"),
        ("num_variates", 4),
        ("num_targets", 3),
        ("num_static_features", 1),
        ("num_target_variates", 2),
        ("draw_covariates", True),
        ("num_future_covariates", 1),
        ("image_mean", [0.4, 0.5, 0.7]),
        ("image_std", [0.2, 0.3, 0.5]),
        ("background", 0.5),
        ("variate_mean", [0.0, 300.0, -5.0]),
        ("variate_std", [1.0, 20.0, 0.011]),
        ("target_mean", [0.0, 5.0]),
        ("target_std", [1.0, 1.0]),
    ],
)
def test_every_shared_field_is_compared(pair: Any, name: str, value: Any) -> None:
    processor, config = pair
    setattr(config, name, value)
    with pytest.raises(ValueError, match=f"the processor has {name}=.*, the model .*complete_config"):
        check_agreement(processor, config)


def test_the_size_of_images_is_compared_where_the_tower_fixes_it(tiny_config: Any, tiny_towers: Any) -> None:
    for family, fixed in (("clip", True), ("vit", True), ("dinov2", False), ("resnet", False)):
        config = tiny_config(**tiny_towers(family, "clip"))
        processor = TimesCLIPProcessor.from_config(config, scaling="none")
        check_agreement(processor, config)
        processor.image_size = [48, 48]
        if fixed:
            with pytest.raises(ValueError, match=r"image_size=\[48, 48\], the model 32"):
                check_agreement(processor, config)
        else:
            check_agreement(processor, config)


def test_all_differences_are_named_at_once(pair: Any) -> None:
    processor, config = pair
    processor.target_names = ["yield"]
    config.context_length, config.padding = 24, "none"
    with pytest.raises(ValueError, match="context_length=12, the model 24.*padding='end'.*target_names are"):
        check_agreement(processor, config)


def test_statistics_may_be_rounded_on_their_way(pair: Any, tmp_path: Path) -> None:
    processor, config = pair
    for name in ("variate_mean", "variate_std", "target_mean", "target_std", "image_mean", "image_std"):
        values = getattr(config, name) or known_to_model(config)[name]
        setattr(config, name, np.asarray(values, np.float32).tolist())
    check_agreement(processor, config)
    config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    check_agreement(TimesCLIPProcessor.from_pretrained(tmp_path), TimesCLIPConfig.from_pretrained(tmp_path))


def test_a_mean_of_nearly_zero_is_compared_in_units_of_its_spread(pair: Any) -> None:
    processor, config = pair
    processor.statistics["variates"]["mean"][0], config.variate_mean[0] = 1e-17, -3e-17
    check_agreement(processor, config)


def test_what_one_side_does_not_know_is_not_compared(pair: Any, tiny_config: Any) -> None:
    processor, config = pair
    untold = copy.deepcopy(config)
    untold.variate_mean = untold.variate_std = untold.target_mean = untold.target_std = None
    check_agreement(processor, untold)
    unfitted = TimesCLIPProcessor.from_config(config, scaling="instance")
    unfitted.num_variates = None
    check_agreement(unfitted, config)
    check_agreement(TimesCLIPProcessor(12, 4, 2, scaling="none", image_size=99), tiny_config("text_only"))
    check_agreement(TimesCLIPProcessor(12, 4, 2, scaling="none", image_size=None), config)


def test_targets_count_only_where_targets_are_predicted(pair: Any, tiny_config: Any) -> None:
    processor, config = pair
    config.num_targets, config.target_mean, config.target_std = 1, None, None
    for model_class in (TimesCLIPForPrediction, TimesCLIPForPreTraining, TimesCLIPForClassification):
        check_agreement(processor, config, model_class.task, training=True)
    with pytest.raises(ValueError, match="num_targets=2, the model 1; target_names are .* the model has 1 targets"):
        check_agreement(processor, config, TimesCLIPForRegression.task)


def test_in_training_a_model_must_know_what_its_task_takes_from_the_processor(pair: Any) -> None:
    processor, config = pair
    config.variate_mean = config.variate_std = config.target_mean = config.target_std = None
    check_agreement(processor, config, TimesCLIPForRegression.task)
    with pytest.raises(ValueError, match="target_mean and target_std are not set"):
        check_agreement(processor, config, TimesCLIPForRegression.task, training=True)
    with pytest.raises(ValueError, match="variate_std is not set"):
        check_agreement(processor, config, TimesCLIPForPrediction.task, training=True)
    unfitted = TimesCLIPProcessor.from_config(config, scaling="instance")
    with pytest.warns(UserWarning, match="added up in their own units"):
        check_agreement(unfitted, config, TimesCLIPForPrediction.task, training=True)
    config.error_scale = "instance"
    check_agreement(processor, config, TimesCLIPForPrediction.task, training=True)


def test_what_was_fitted_for_nothing_is_told_once_in_training(pair: Any) -> None:
    processor, config = pair
    for model_class, words in (
        (TimesCLIPForPrediction, "static values \\('soil', 'depth'\\), which no forecast depends on"),
        (TimesCLIPForClassification, "fitted with labels as if they were amounts"),
    ):
        with pytest.warns(UserWarning, match=words) as said:
            check_agreement(processor, config, model_class.task, training=True)
        assert len(said) == 1 and said[0].filename == __file__
    plain = TimesCLIPProcessor.from_config(config).fit(make_series(), static_values=STATIC)
    untold = copy.deepcopy(config)
    untold.target_mean = untold.target_std = None
    with pytest.warns(UserWarning, match="targets are not standardised"):
        check_agreement(plain, untold, TimesCLIPForRegression.task, training=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_agreement(plain, untold, TimesCLIPForClassification.task, training=True)
        check_agreement(processor, config, TimesCLIPForRegression.task, training=True)
        check_agreement(processor, config, TimesCLIPForPrediction.task)
        check_agreement(processor, config, TimesCLIPForPreTraining.task, training=True)


def test_a_processor_that_was_never_fitted_or_is_none_is_named(tiny_config: Any) -> None:
    config = tiny_config()
    with pytest.raises(ValueError, match="never fitted"):
        check_agreement(TimesCLIPProcessor.from_config(config), config)
    with pytest.raises(ValueError, match="must be a TimesCLIPProcessor, found NoneType"):
        check_agreement(None, config)
