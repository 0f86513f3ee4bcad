# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Feature caches of ink alone: another key, the same numbers, and a sample that says what was changed and saved."""

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from timesclip_hf import (
    FeatureCache,
    TimesCLIPDataCollator,
    TimesCLIPForRegression,
    TimesCLIPModel,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)
from timesclip_hf.features import fidelity


def rows(number: int = 12) -> Dataset:
    """Steps along the bottom, a peak at another place in every row."""
    values = np.zeros((number, 12, 3))
    values[np.arange(number), np.arange(number) % 12] = [1.0, 2.0, 3.0]
    return Dataset.from_dict({"past_values": values, "labels": np.arange(number)[:, None] * [1.0]})


@pytest.fixture
def build(tiny_config):
    def make(**fields: Any) -> tuple[Any, TimesCLIPProcessor]:
        torch.manual_seed(0)
        towers = tiny_config().to_dict()["vision_config"] | {"image_size": 64}
        config = tiny_config(vision_config=towers, vision_pooling="mean", vision_chunk_size=7, **fields)
        processor = TimesCLIPProcessor.from_config(config).fit(rows())
        return TimesCLIPForRegression(processor.complete_config(config)).eval(), processor

    return make


def test_every_mode_has_a_cache_of_its_own_which_agrees_with_the_model(build, tmp_path, caplog):
    stores = []
    for mode in ("keep", "drop", "merge"):
        model, processor = build(blank_patches=mode)
        cache = FeatureCache(model, processor, tmp_path)
        assert cache.add(rows(), progress=False) == 12
        batch = TimesCLIPDataCollator(processor, draw=False)(list(rows()))
        with torch.no_grad():
            expected = model.timesclip.get_vision_features(processor.draw(batch["plot_values"]))
        torch.testing.assert_close(cache.store(batch["plot_values"]), expected, rtol=1e-5, atol=1e-5)
        stores.append(cache.store.folder)
    assert len(set(stores)) == 3


def test_filling_tells_what_it_changed_and_saved(build, tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("timesclip_hf.features.cache.logger.warning", lambda text, *_: told.append(text))
    model, processor = build(blank_patches="drop")
    cache = FeatureCache(model, processor, tmp_path)
    cache.add(rows(), progress=False)
    cache.add(rows(8), progress=False)
    assert len(told) == 1 and told[0].startswith("blank_patches='drop': 30 images have a cosine of 0.")
    FeatureCache(build()[0], processor, tmp_path).add(rows(), progress=False)
    assert len(told) == 1  # with all patches there is nothing to tell


@pytest.mark.parametrize(
    ("dropped", "merged", "mode"),
    [(0.99, 0.9, "drop"), (0.9899, 0.99, "merge_bands"), (0.9899, 0.9899, "keep")],
)
def test_auto_goes_by_the_cosine_and_says_so_and_saves_it(build, tmp_path, monkeypatch, dropped, merged, mode):
    told: list[str] = []
    monkeypatch.setattr("timesclip_hf.features.cache.logger.warning", lambda text, *_: told.append(text))
    cosines = {"drop": dropped, "merge_bands": merged}
    monkeypatch.setattr(
        "timesclip_hf.features.cache.measure_blanks",
        lambda *given: fidelity.Fidelity(30, cosines[given[-1].mode], 0.9, 3.0),
    )
    model, processor = build(blank_patches="auto")
    arguments = TimesCLIPTrainingArguments(
        tmp_path / "run",
        feature_cache=str(tmp_path / "cache"),
        max_steps=1,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = TimesCLIPTrainer(model, arguments, processing_class=processor, train_dataset=rows())
    trainer.train()
    assert any(f"'auto' becomes '{mode}'" in text for text in told)
    trainer.save_model(str(tmp_path / "saved"))
    assert TimesCLIPModel.from_pretrained(tmp_path / "saved").config.blank_patches == mode
    folders = {FeatureCache(build(blank_patches=mode)[0], processor, tmp_path / "cache").store.folder}
    assert {path.parent for path in (tmp_path / "cache").glob("*/*.arrow")} == folders


def test_the_cosine_is_that_of_both_features(build):
    model, processor = build(blank_patches="drop")
    images = processor(rows()["past_values"])["pixel_values"]
    found = fidelity.measure_blanks(
        model.timesclip.vision_tower,
        images.flatten(0, 1),
        7,
        "mean",
        fidelity.Blanks("drop", tuple(float(c) for c in images[0, 0, :, 0, -1])),  # where nothing is drawn
    )
    with torch.no_grad():
        dropped = model.timesclip.get_vision_features(images).flatten(0, 1).double().numpy()
        model.config.blank_patches = "keep"
        kept = model.timesclip.get_vision_features(images).flatten(0, 1).double().numpy()
    cosines = (dropped * kept).sum(1) / np.linalg.norm(dropped, axis=1) / np.linalg.norm(kept, axis=1)
    assert found.images == 36 and found.speed > 0
    assert found.cosine == pytest.approx(cosines.mean(), abs=1e-5)
    assert found.lowest == pytest.approx(cosines.min(), abs=1e-5)
