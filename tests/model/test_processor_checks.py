# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Parameters and statistics of a processor: what they may not be is named before anything is computed with them."""

import copy
import math
from typing import Any

import numpy as np
import pytest

from timesclip_hf import TimesCLIPProcessor

NAMES = ["ndvi", "nir", "red"]


def make_processor(**parameters: Any) -> TimesCLIPProcessor:
    sizes = {"context_length": 12, "patch_length": 4, "patch_stride": 2, "image_size": 24}
    return TimesCLIPProcessor(**{**sizes, **parameters})


def make_series() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 12, 3))


@pytest.mark.parametrize(
    "parameters",
    [
        {"patch_length": 13},
        {"patch_stride": 0},
        {"context_length": -1},
        {"context_length": 12.0},
        {"padding": "start"},
        {"scaling": "minmax"},
        {"value_range": "fixed"},
        {"variate_names": NAMES, "num_variates": 2},
        {"image_size": [24, 24, 3]},
        {"image_size": 0},
        {"background": 1.5},
        {"background": math.nan},
        {"line_width": 0},
        {"line_width": math.inf},
        {"image_mean": [0.5, 0.5]},
        {"image_std": [0.5, 0.0, 0.5]},
    ],
)
def test_bad_parameters_raise_and_are_named(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        make_processor(**parameters)


def test_an_unknown_view_raises() -> None:
    with pytest.raises(ValueError, match="view must be one of .*'spectrogram'.*'scalogram'"):
        make_processor(view="scalogram")


def test_names_and_units_must_fit_what_they_name() -> None:
    for names in ("yield", 5, ["yield", 5]):
        with pytest.raises(ValueError, match="target_names must be a list of strings"):
            make_processor(target_names=names)
    with pytest.raises(ValueError, match="variate_names must differ from each other"):
        make_processor(variate_names=["a", "b", "a"])
    with pytest.raises(ValueError, match="variate_units has 2 entries, expected 3"):
        make_processor(variate_units=["K", "mm"], num_variates=3)
    with pytest.raises(ValueError, match="target_names has 1 entries, expected 2"):
        make_processor(target_names=["yield"]).fit(make_series(), labels=np.ones((6, 2)))
    with pytest.raises(ValueError, match="target_units must be a list of strings"):
        make_processor(target_units=[1.0])


def test_statistics_of_another_version_raise() -> None:
    with pytest.raises(ValueError, match="version 99"):
        make_processor(statistics={"version": 99})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["variates", "std"], [1.0, 0.0, 1.0], "statistics of variates"),
        (["variates", "mean"], [1.0, 2.0], "statistics of variates"),
        (["variates", "minimum"], [1.0, "2", 3.0], "statistics of variates"),
        (["variates"], [1.0], "statistics of variates"),
        (["targets"], {"mean": [math.nan], "std": [1.0]}, "statistics of targets"),
        (["static"], [{"name": "soil"}], "static in the statistics"),
        (["static"], [{"name": "soil", "categories": ["a", 1]}], "static in the statistics"),
        (["static"], {"name": "soil", "categories": ["a"]}, "static in the statistics"),
    ],
)
def test_statistics_that_no_fit_leaves_are_named(path: list[str], value: Any, message: str) -> None:
    statistics = copy.deepcopy(make_processor().fit(make_series(), labels=np.arange(6.0)).statistics)
    place = statistics
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        make_processor(statistics=statistics, num_variates=3)


def test_statistics_of_another_number_of_variates_are_named() -> None:
    statistics = make_processor().fit(make_series()).statistics
    with pytest.raises(ValueError, match="those of 3 variates, num_variates is 2"):
        make_processor(statistics=statistics, num_variates=2)


def test_labels_that_are_empty_are_refused() -> None:
    processor = TimesCLIPProcessor(12, 4, 2, scaling="instance", image_size=None)
    with pytest.raises(ValueError, match=r"labels is empty: shape \(0,\)"):
        processor(np.ones((1, 12, 3)), labels=[])
