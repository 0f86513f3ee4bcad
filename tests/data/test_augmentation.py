# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Changed copies of series: each change by itself against NumPy, all of them seeded, what must stay stays."""

from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from timesclip_hf.data.augmentation import USUAL, Augmentation, AugmentedSeries


def rows(count: int = 40, steps: int = 20, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    values = rng.normal([1000, -2], [50, 0.1], (count, steps, 2))
    return [
        {"past_values": v, "labels": v.mean(axis=0)[:1], "static_values": {"soil": k % 3}}
        for k, v in enumerate(values)
    ]


def changed(data: Any, **amounts: float) -> np.ndarray:
    return np.stack([row["past_values"] for row in AugmentedSeries(data, amounts)])


def whole(data: Any) -> np.ndarray:
    return np.stack([row["past_values"] for row in data])


def test_nothing_is_changed_unless_asked_for() -> None:
    np.testing.assert_array_equal(changed(rows()), whole(rows()))


def test_jitter_is_in_spreads_of_the_variate() -> None:
    data = rows(200)
    noise = changed(data, jitter=0.3) - whole(data)
    np.testing.assert_allclose(noise.std(axis=(0, 1)) / whole(data).std(axis=(0, 1)), 0.3, rtol=0.05)


def test_scale_is_about_the_mean_and_the_same_for_all_steps() -> None:
    data = rows(300)
    mean = whole(data).mean(axis=(0, 1))
    apart, before = changed(data, scale=0.2) - mean, whole(data) - mean
    factors = (apart * before).sum(axis=1) / np.square(before).sum(axis=1)
    np.testing.assert_allclose(apart, factors[:, None] * before, atol=1e-6)
    assert factors.std() == pytest.approx(0.2, rel=0.1) and factors.mean() == pytest.approx(1, abs=0.03)


def test_a_shift_moves_a_step_and_warping_keeps_the_ends() -> None:
    line = np.arange(40.0)[:, None] * [1.0, -1.0]
    data = [{"past_values": line, "labels": [0.0]}] * 50
    moved = changed(data, shift=0.1)
    inner = moved[:, 18:22, 0] - line[18:22, 0]
    np.testing.assert_allclose(inner - inner[:, :1], 0, atol=1e-9)  # as far for all steps
    assert 2 < inner[:, 0].std() < 6 and np.abs(inner).max() <= 7.8 + 1e-9  # a tenth of 39 steps, twice that at most
    assert ((0 <= moved[..., 0]) & (moved[..., 0] <= 39)).all()
    warped = changed(data, warp=0.2)
    np.testing.assert_allclose(warped[:, [0, -1], 0], [[0, 39]] * 50, atol=1e-9)
    assert (np.diff(warped[..., 0], axis=1) >= 0).all()  # time never runs backwards
    assert np.abs(warped[:, 20, 0] - 20).max() > 4


def test_spans_are_missing_and_every_variate_keeps_a_value() -> None:
    data = rows(100)
    gone = np.isnan(changed(data, drop_spans=0.5))
    assert (gone[..., 0] == gone[..., 1]).all() and gone.sum(axis=1).max() <= 10 and gone.any()
    assert all(np.ptp(np.flatnonzero(one[:, 0])) + 1 == one[:, 0].sum() for one in gone if one.any())
    for row in data:
        row["past_values"][2:, 1] = np.nan
    assert np.isfinite(changed(data, drop_spans=1.0)).any(axis=1).all()


def test_dropped_variates_are_their_mean_and_one_is_kept() -> None:
    data = rows(100)
    mean = whole(data).mean(axis=(0, 1))
    flat = (np.abs(changed(data, drop_variates=0.9) - mean) < 1e-6).all(axis=1)
    assert flat.sum(axis=1).max() == 1 and flat.mean() > 0.3


def test_mixup_mixes_values_and_labels_alike() -> None:
    data = rows(60)
    mixed = AugmentedSeries(data, "mixup=1")
    for index in range(60):
        row = mixed[index]
        np.testing.assert_allclose(row["labels"], row["past_values"].mean(axis=0)[:1], rtol=1e-9)
        main = min(data, key=lambda one: np.abs(one["past_values"] - row["past_values"]).sum())
        assert row["static_values"] == main["static_values"]


def test_draws_depend_on_seed_epoch_and_row_alone() -> None:
    data = rows(10)
    first, second, other = (AugmentedSeries(data, USUAL, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[3]["past_values"], second[3]["past_values"])
    assert not np.array_equal(first[3]["past_values"], other[3]["past_values"])
    before = first[3]["past_values"]
    first.set_epoch(1)
    assert not np.array_equal(first[3]["past_values"], before)


def test_copies_come_beside_the_rows_and_say_whose_they_are() -> None:
    data = rows(6)
    copies = AugmentedSeries(data, "jitter=0.5", copies=3, groups=list("aabbcc"))
    assert len(copies) == 18 and copies.owners == list("aabbcc") * 3
    assert AugmentedSeries(data, "jitter=0.5", copies=2).owners == [*range(6)] * 2
    np.testing.assert_array_equal(np.stack([copies[k]["past_values"] for k in range(6)]), whole(data))
    assert not np.array_equal(copies[6]["past_values"], copies[12]["past_values"])


def test_masks_and_missing_values_stay_missing() -> None:
    data = rows(5)
    for row in data:
        row["past_observed_mask"] = np.ones((20, 2), bool)
        row["past_observed_mask"][4:9, 0] = False
        row["past_values"][11, 1] = np.nan
    found = AugmentedSeries(data, "jitter=0.1 scale=0.1")[2]
    assert np.isnan(found["past_values"][4:9, 0]).all() and np.isnan(found["past_values"][11, 1])
    assert "past_observed_mask" not in found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("jitter=0.1 shift=0.05", Augmentation(jitter=0.1, shift=0.05)),
        ("jitter=.1,drop-spans=.2", Augmentation(jitter=0.1, drop_spans=0.2)),
        ({"mixup": 0.2}, Augmentation(mixup=0.2)),
        ("default", USUAL),
        ("", USUAL),
    ],
)
def test_amounts_are_read(words: Any, expected: Augmentation) -> None:
    assert Augmentation.read(words) == expected
    assert Augmentation.read(str(expected)) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("noise=0.1", "unknown 'noise', choose of jitter, scale"),
        ("jitter", "'jitter' is not read; expected amounts"),
        ("jitter=2", "jitter is 2.0, expected a number from 0 to 1"),
        ("jitter=-0.1", "jitter is -0.1, expected a number from 0 to 1"),
        ("shift=nan", "shift is nan, expected a number"),
    ],
)
def test_amounts_that_cannot_be_are_named(words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation.read(words)


def test_classes_are_not_mixed() -> None:
    features = Features({"past_values": Sequence(Sequence(Value("float64"))), "labels": ClassLabel(names=["a", "b"])})
    data = Dataset.from_dict({"past_values": whole(rows(6)).tolist(), "labels": [0, 1] * 3}, features=features)
    with pytest.raises(ValueError, match="classes cannot be mixed"):
        AugmentedSeries(data, "mixup=0.2")
    assert AugmentedSeries(data, "default")[1]["labels"] == 1
