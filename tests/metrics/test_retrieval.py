# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Retrieval of a series' one reading by the other, against hand-worked numbers and one matrix over all."""

import math
import tracemalloc

import numpy as np
import pytest

from timesclip_hf.metrics import retrieval_accuracy


def test_hand_worked_retrieval_differs_between_directions():
    # Degrees: images 0, 10, 90; texts 4, 30, 80. Image 1 is nearer to text 0 (6) than to its own (20); every text is
    # nearest to its own image. Lengths do not matter.
    angles = np.deg2rad([[0.0, 10.0, 90.0], [4.0, 30.0, 80.0]])
    images, texts = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, :, None, :]  # (3, 1, 2) each
    lengths = np.array([1.0, 7.0, 0.1])[:, None, None]
    expected = {"image_to_text_top1": 2 / 3, "text_to_image_top1": 1.0}
    assert retrieval_accuracy(images, texts) == pytest.approx(expected)
    assert retrieval_accuracy(images, texts * lengths) == pytest.approx(expected)


def test_among_the_two_nearest_by_hand_and_by_chance_where_samples_are_alike():
    # As above, degrees: images 0, 10, 90; texts 4, 30, 80. Image 1 has its own text second; all others have it first.
    angles = np.deg2rad([[0.0, 10.0, 90.0], [4.0, 30.0, 80.0]])
    images, texts = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, :, None, :]
    found = retrieval_accuracy(images, texts, at=(1, 2))
    assert found["image_to_text_top1"] == pytest.approx(2 / 3) and found["image_to_text_top2"] == 1.0
    alike = retrieval_accuracy(np.ones((8, 2, 3)), np.ones((8, 2, 3)), at=(5, 20))
    assert alike["text_to_image_top5"] == pytest.approx(5 / 8) and alike["text_to_image_top20"] == 1.0
    with pytest.raises(ValueError, match=r"at must be whole numbers from 1, got \(0,\)"):
        retrieval_accuracy(images, texts, at=(0,))


@pytest.mark.parametrize("block", [1, 4, 64])
def test_retrieval_in_blocks_equals_one_matrix_over_flattened_variates(block, monkeypatch):
    monkeypatch.setattr("timesclip_hf.metrics.retrieval._BLOCK_SIZE", block)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(21, 3, 2)).astype(np.float32)
    texts = images + 1.5 * generator.normal(size=images.shape).astype(np.float32)
    a, b = (values.reshape(21, 6).astype(np.float64) for values in (images, texts))
    similarity = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    own = np.arange(21)
    expected = {
        "image_to_text_top1": float(np.mean(similarity.argmax(axis=1) == own)),
        "text_to_image_top1": float(np.mean(similarity.argmax(axis=0) == own)),
    }
    assert 0 < expected["image_to_text_top1"] != expected["text_to_image_top1"] < 1
    assert retrieval_accuracy(images, texts) == pytest.approx(expected)


def test_collapsed_embeds_get_chance_and_copies_share_their_hit():
    chance = retrieval_accuracy(np.ones((8, 2, 3)), np.ones((8, 2, 3)))
    assert chance == pytest.approx({"image_to_text_top1": 1 / 8, "text_to_image_top1": 1 / 8})
    zeros = retrieval_accuracy(np.zeros((4, 1, 2)), np.ones((4, 1, 2)))
    assert zeros == pytest.approx({"image_to_text_top1": 1 / 4, "text_to_image_top1": 1 / 4})
    twice = np.random.default_rng(0).normal(size=(5, 2, 33))[[0, 1, 2, 3, 4, 4]]  # of six samples two are copies
    both = retrieval_accuracy(twice, twice)
    assert both == pytest.approx({"image_to_text_top1": 5 / 6, "text_to_image_top1": 5 / 6})


def test_retrieval_of_many_samples_never_holds_the_whole_matrix():
    embeds = np.random.default_rng(0).normal(size=(6000, 1, 4)).astype(np.float32)
    tracemalloc.start()
    try:
        figures = retrieval_accuracy(embeds, embeds)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert figures == {"image_to_text_top1": 1.0, "text_to_image_top1": 1.0}
    assert peak < 6000**2 * 8 / 3


def test_retrieval_of_embeds_that_are_not_finite_is_nan_and_wrong_shapes_raise():
    good = np.ones((2, 1, 2))
    for bad in (np.nan, np.inf):
        broken = good.copy()
        broken[1, 0, 0] = bad
        for pair in ((broken, good), (good, broken)):
            assert all(math.isnan(value) for value in retrieval_accuracy(*pair).values())
    for pair in ((good, good[:1]), (good[:, 0], good[:, 0]), (good[:0], good[:0])):
        with pytest.raises(ValueError, match=r"must both be \(n, variates, dim\)"):
            retrieval_accuracy(*pair)


def test_wide_embeds_are_compared_in_small_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(30, 5, 7))
    texts = images + rng.normal(size=images.shape)
    expected = retrieval_accuracy(images, texts)
    for numbers in (1, 5 * 7, 5 * 7 * 4, 5 * 7 * 29):
        monkeypatch.setattr("timesclip_hf.metrics.retrieval._BLOCK_NUMBERS", numbers)
        assert retrieval_accuracy(images, texts) == pytest.approx(expected)
