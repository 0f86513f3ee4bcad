# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Training series that are most like a new one: who is near, who is unusual, and what is kept of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from timesclip_hf import TimesCLIPForRegression, TimesCLIPProcessor
from timesclip_hf.features.similar import SIMILAR_FILE, SimilarSeries, read_blocks

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(60, 12, 3)) * [0.1, 30.0, 500.0] + [0.5, 100.0, 3000.0]


def rows_of(series: np.ndarray) -> list[dict[str, Any]]:
    return [{"past_values": values} for values in series]


@pytest.fixture
def made(tiny_config: Any) -> tuple[Any, TimesCLIPProcessor]:
    torch.manual_seed(0)
    config = tiny_config("full")
    processor = TimesCLIPProcessor.from_config(config).fit(TRAIN)
    return TimesCLIPForRegression(processor.complete_config(config)), processor


def test_a_training_series_is_its_own_nearest_and_others_lie_where_plain_arithmetic_says(made: Any) -> None:
    model, processor = made
    found = SimilarSeries.fit(model, processor, rows_of(TRAIN))
    distance, place = found.nearest(read_blocks(model, processor, rows_of(TRAIN)), 2)
    assert place[:, 0].tolist() == list(range(60)) and distance[:, 0].max() < 0.02 * found.spacing.mean()
    # by hand, in all directions: blocks standardised, each over the root of its width
    blocks = read_blocks(model, processor, rows_of(TRAIN))
    assert list(blocks) == ["towers", "series"]
    whole = np.concatenate(
        [(b - b.mean(0)) / b.std(0).clip(1e-9) / np.sqrt(b.shape[1]) for b in map(np.float64, blocks.values())], axis=1
    )
    apart = np.linalg.norm(whole[:, None] - whole[None], axis=2)
    assert np.corrcoef(apart[0, 1:], found._distances(found.points.astype(float))[0, 1:])[0, 1] > 0.8


def test_what_counts_is_how_far_apart_training_series_are_at_that_place() -> None:
    dense, sparse = RNG.normal(size=(50, 2)) * 0.1, RNG.normal(size=(50, 2)) * 2 + [20.0, 0.0]
    known = np.concatenate([dense, sparse])
    found = SimilarSeries.of_readings({"static": known}, np.arange(100))
    # by hand, in plain loops: the nearest, over the mean spacing of the ten around
    scaled = (known - known.mean(axis=0)) / known.std(axis=0) / np.sqrt(2)
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    others = [[k for k in np.argsort(apart[one]) if k != one][:10] for one in range(100)]
    spacing = np.array([apart[one, near].mean() for one, near in enumerate(others)])
    own = [apart[one, near[0]] / spacing[near].mean() for one, near in enumerate(others)]
    assert found.threshold == pytest.approx(np.quantile(own, 0.99), rel=0.05)  # half precision
    away = np.array([1.0, 0.0])
    beside = {"static": np.stack([dense.mean(axis=0) + away, sparse.mean(axis=0) + away])}
    distance, _, unusual = found.compare(beside)
    assert unusual.tolist() == [True, False] and distance[0, 0] < np.quantile(apart[50:, 50:], 0.9)
    again = SimilarSeries.of_readings({"static": known}, np.arange(100), shared=np.ones((100, 100), bool))
    assert not again.compare(beside)[2].any()  # where all share steps, nothing tells what is usual


def test_files_of_the_first_version_go_by_the_distance_alone(made: Any, tmp_path: Path) -> None:
    model, processor = made
    new = SimilarSeries.fit(model, processor, rows_of(TRAIN[:40]))
    readings = read_blocks(model, processor, rows_of(TRAIN[40:]))
    distance, _ = new.nearest(readings)
    middle = float(np.median(distance))
    SimilarSeries(new.spaces, new.points, middle, new.rows).save(tmp_path)
    with safe_open(tmp_path / SIMILAR_FILE, "np") as file:
        assert file.metadata()["version"] == "1" and "spacing" not in file.keys()  # noqa: SIM118
    old = SimilarSeries.load(tmp_path)
    assert np.array_equal(old.compare(readings)[2], distance[:, 0] > middle)


def test_what_is_far_from_all_is_unusual_and_training_series_are_not(made: Any) -> None:
    model, processor = made
    found = SimilarSeries.fit(model, processor, rows_of(TRAIN[:40]))
    strange = TRAIN[:5] * [1, 1, -1] + [0.6, 0, 0]
    far, _, unusual = found.compare(read_blocks(model, processor, rows_of(strange)))
    alike, _ = found.nearest(read_blocks(model, processor, rows_of(TRAIN[40:])))
    assert unusual.all() and np.median(alike) < np.median(far) / 2


def test_it_is_small_says_the_same_after_saving_and_names_nobody_unasked(made: Any, tmp_path: Path) -> None:
    model, processor = made
    found = SimilarSeries.fit(model, processor, rows_of(TRAIN), max_series=50)
    path = found.save(tmp_path)
    again = SimilarSeries.load(tmp_path)
    readings = read_blocks(model, processor, rows_of(TRAIN[:7]))
    for one, other in zip(found.compare(readings, 3), again.compare(readings, 3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert again.threshold == found.threshold and again.names == []
    assert again.name_of(0) == f"training row {again.rows[0]}" and len(again.rows) == 50
    assert path.name == SIMILAR_FILE and path.stat().st_size < 25_000
    named = SimilarSeries.fit(model, processor, rows_of(TRAIN), names=[f"field {k}" for k in range(60)])
    named.save(tmp_path)
    assert SimilarSeries.load(tmp_path).name_of(3) == "field 3"


def test_level_and_static_values_count_where_a_model_reads_them(tiny_config: Any) -> None:
    config = tiny_config("small", num_static_features=3)
    static = [{"soil": "clay" if k % 2 else "loam", "height": float(k % 7)} for k in range(60)]
    processor = TimesCLIPProcessor.from_config(config, scaling="instance").fit(TRAIN, static_values=static)
    model = TimesCLIPForRegression(config)
    samples = [{"past_values": v, "static_values": s} for v, s in zip(TRAIN, static, strict=True)]
    found = SimilarSeries.fit(model, processor, samples)
    assert list(found.spaces) == ["towers", "series", "level", "static"]
    higher = [{"past_values": TRAIN[0] + 2000.0, "static_values": static[0]}]  # of the same shape
    assert found.compare(read_blocks(model, processor, higher))[2].all()


def test_what_does_not_fit_is_said(made: Any, tiny_config: Any, tmp_path: Path) -> None:
    model, processor = made
    with pytest.raises(ValueError, match="samples are 2 series: at least three"):
        SimilarSeries.fit(model, processor, rows_of(TRAIN[:2]))
    with pytest.raises(ValueError, match="names has 2 entries, expected one for each of 60 samples"):
        SimilarSeries.fit(model, processor, rows_of(TRAIN), names=["a", "b"])
    found = SimilarSeries.fit(model, processor, rows_of(TRAIN))
    other = TimesCLIPForRegression(tiny_config("small"))
    with pytest.raises(ValueError, match=r"similar.safetensors is of another model: it holds \{'towers': 192"):
        found.nearest(read_blocks(other, processor, rows_of(TRAIN[:1])))
    assert SimilarSeries.load(tmp_path) is None
    path = found.save(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="similar.safetensors cannot be read: .*write it anew, or remove it"):
        SimilarSeries.load(tmp_path)
