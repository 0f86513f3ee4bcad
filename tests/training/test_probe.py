# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Every layer of a vision tower, judged by what it says of labelled series: one pass, honest scores, advice."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut, cross_val_predict

from timesclip_hf import TimesCLIPForRegression, TimesCLIPModel, TimesCLIPProcessor, probe_layers
from timesclip_hf.cli import main
from timesclip_hf.training import probe

COUNT = 24


def rows(labels: Any) -> Dataset:
    values = np.random.default_rng(0).normal(size=(COUNT, 12, 3)).cumsum(axis=1)
    return Dataset.from_dict({"past_values": values, "labels": labels})


def targets() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(COUNT, 1)) + np.arange(COUNT)[:, None] / 5


@pytest.fixture
def build(tiny_config: Any, tiny_towers: Any) -> Any:
    def make(family: str = "clip", **fields: Any) -> tuple[Any, TimesCLIPProcessor]:
        torch.manual_seed(0)
        config = tiny_config(**{**tiny_towers(family, "clip"), "vision_chunk_size": 7, **fields})
        processor = TimesCLIPProcessor.from_config(config).fit(np.array(rows(targets())["past_values"]))
        return TimesCLIPModel(processor.complete_config(config)).eval(), processor

    return make


def features(model: Any, processor: TimesCLIPProcessor, layer: int | None, pooling: str) -> np.ndarray:
    """What the model of that layer says, `(n, V * width)`, by the model itself."""
    images = processor(np.array(rows(targets())["past_values"]))["pixel_values"]
    config = model.config.__class__.from_dict(model.config.to_dict())
    config.vision_feature_layer, config.vision_pooling = layer, pooling
    shorter = TimesCLIPModel(config).eval()
    shorter.vision_tower.load_state_dict(model.vision_tower.state_dict(), strict=False)
    with torch.no_grad():
        return shorter.get_vision_features(images).flatten(1).double().numpy()


@pytest.mark.parametrize("groups", [None, np.repeat(["a", "b", "c", "d", "e", "f"], 4)])
def test_scores_are_those_of_ridge_on_what_the_model_of_that_layer_says(build: Any, groups: Any) -> None:
    model, processor = build()
    found = probe_layers(model, processor, rows(targets()), groups=groups)
    assert found.metric == "R2" and found.series == COUNT
    layers = [(None if pd.isna(layer) else int(layer), pooling) for layer, pooling in found.table.values[:, :2]]
    expected = [(layer, pooling) for layer in (0, 1, 2) for pooling in ("cls", "mean", "cls_mean")]
    assert layers == [*expected, (None, "pooler"), (None, "cls"), (None, "mean"), (None, "cls_mean")]
    labels = targets()[:, 0]
    for row in found.table.iloc[[1, 5, 9, 11]].itertuples():
        layer = None if pd.isna(row.layer) else int(row.layer)
        inputs = features(model, processor, layer, row.pooling)
        assert inputs.shape[1] == 3 * row.width
        spread = inputs.std(axis=0)
        inputs = (inputs - inputs.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
        # Penalties are of kernels, which are means over inputs; level and spread of the target are those of all.
        ridge = Ridge(row.penalty * inputs.shape[1], fit_intercept=False)
        cv = LeaveOneOut() if groups is None else LeaveOneGroupOut()
        said = cross_val_predict(ridge, inputs, labels - labels.mean(), cv=cv, groups=groups)
        r2 = 1 - np.square(labels - labels.mean() - said).sum() / np.square(labels - labels.mean()).sum()
        assert row.score == pytest.approx(r2, abs=1e-4)


def test_images_are_read_once_and_nothing_is_changed(build: Any) -> None:
    model, processor = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen: list[int] = []
    hook = model.vision_tower.register_forward_hook(lambda module, inputs, kwargs, out: seen.append(len(out[0])),
                                                    with_kwargs=True)  # fmt: skip
    probe_layers(model, processor, rows(targets()), max_series=10)
    hook.remove()
    assert sum(seen) == 10 * 3 and max(seen) <= 7
    assert model.config.vision_feature_layer is None
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("family", "last"), [("siglip", 2), ("swin", 2), ("resnet", 2)])
def test_towers_without_cls_have_means_alone(build: Any, family: str, last: int) -> None:
    found = probe_layers(*build(family), rows(targets()))
    assert found.table["layer"].max() == last
    assert list(found.table["pooling"]) == ["mean"] * (last + 1) + ["pooler", "mean"]


def test_a_tower_that_ends_earlier_is_judged_as_far_as_it_goes(build: Any) -> None:
    found = probe_layers(*build(vision_feature_layer=1), rows(targets()))
    assert list(found.table["layer"]) == [0] * 3 + [1] * 3
    assert found.fields["vision_feature_layer"] in (0, 1)


def test_classes_are_judged_by_accuracy(build: Any) -> None:
    found = probe_layers(*build(), rows(np.arange(COUNT) % 3))
    assert found.metric == "accuracy" and found.table["score"].between(0, 1).all()


def test_the_shallowest_of_those_that_are_no_worse_is_recommended() -> None:
    rng = np.random.default_rng(0)
    errors = np.stack([rng.normal(1.0, 0.1, 100)] * 4)
    errors[1] -= 0.5  # layer 1 is good, layer 2 a trifle better, by chance
    errors[2] -= 0.5 + rng.normal(0.001, 0.05, 100)
    table = pd.DataFrame({"layer": pd.array([0, 1, 2, None], "Int64"), "pooling": "mean"})
    table["score"] = 1 - errors.mean(axis=1)
    assert probe._choose(table, errors)[0] == 1
    errors[2] -= 0.1
    table["score"] = 1 - errors.mean(axis=1)
    assert probe._choose(table, errors)[0] == 2


def test_what_cannot_be_judged_is_named(build: Any, tiny_config: Any) -> None:
    model, processor = build()
    with pytest.raises(ValueError, match="labels are all alike"):
        probe_layers(model, processor, rows(np.ones((COUNT, 1))))
    with pytest.raises(ValueError, match="all labels are of class 1"):
        probe_layers(model, processor, rows(np.ones(COUNT, int)))
    with pytest.raises(ValueError, match="4 labelled series are too few"):
        probe_layers(model, processor, rows(targets()).select(range(4)))
    with pytest.raises(ValueError, match="groups has 3 entries, the data 24 rows"):
        probe_layers(model, processor, rows(targets()), groups=["a", "b", "c"])
    with pytest.raises(ValueError, match="no 'labels'"):
        probe_layers(model, processor, rows(targets()).remove_columns("labels"))
    with pytest.raises(ValueError, match="needs a model with a vision branch"):
        probe_layers(TimesCLIPForRegression(tiny_config("small")), processor, rows(targets()))


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_the_command_writes_one_table_and_one_picture_and_recommends(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).normal(size=(40, 12)).cumsum(axis=1)
    frame = pd.DataFrame(values, columns=[f"ndvi_{step:02d}" for step in range(12)])
    frame["answer"] = values.mean(axis=1) if kind == "numbers" else np.where(values[:, -1] > 0, "up", "down")
    frame.to_csv(tmp_path / "fields.csv", index=False)
    arguments = ["probe", str(tmp_path / "fields.csv"), "--target", "answer", "--split", "random", "--series", "20"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "* recommended: TimesCLIPConfig(..., vision_feature_layer=" in printed
    assert printed.count("*") == 2 and "published" in printed
    table = pd.read_csv(tmp_path / "out" / "probe.csv")
    assert {"layer", "pooling", "score", "penalty"} <= set(table) and len(table) == 13
    assert (tmp_path / "out" / "probe.png").stat().st_size > 1000
    assert main([*arguments, "--vision-checkpoint", "nowhere", "--output", str(tmp_path / "out")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_named_classes_are_read_as_classes(build: Any) -> None:
    data = rows(np.arange(COUNT) % 2).cast_column("labels", ClassLabel(names=["a", "b"]))
    assert probe_layers(*build(), data).metric == "accuracy"
