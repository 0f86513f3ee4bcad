# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Heads in closed form, against scikit-learn's own estimators on the same readings."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from timesclip_hf import TimesCLIPForClassification, TimesCLIPForPrediction, TimesCLIPForRegression, TimesCLIPProcessor
from timesclip_hf.training.heads import RIDGE_PENALTIES, fit_head


def rows(count=50, seed=0, labels=None):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 12, 3)).cumsum(axis=1).astype(np.float32)
    targets = 100 + 5 * values[:, -1, :1] - values[:, 0, 1:2] ** 2 + rng.normal(size=(count, 1))
    return Dataset.from_dict(
        {"past_values": values.tolist(), "labels": (targets if labels is None else labels).tolist()}
    )


def build(tiny_config, data, model_class=TimesCLIPForRegression, **fields):
    torch.manual_seed(0)
    config = tiny_config("probe", **fields)
    labels = {} if model_class is TimesCLIPForRegression else {"labels": None}
    fitted = data if not labels else data.remove_columns("labels")
    processor = TimesCLIPProcessor.from_config(config).fit(fitted)
    return model_class(processor.complete_config(config)), processor


def outputs(model, processor, data):
    with torch.no_grad():
        return model.eval()(**processor(np.asarray(data["past_values"][:], np.float32)))


def test_every_branch_is_ridge_on_its_standardised_readings(tiny_config):
    data, new = rows(), rows(20, seed=1)
    model, processor = build(tiny_config, data)
    heads = fit_head(model, processor, data)
    y = np.asarray(data["labels"])[:, 0]
    before, after = outputs(model, processor, data), outputs(model, processor, new)
    readings = {
        "vision": [out.vision_features.flatten(1).double().numpy() for out in (before, after)],
        "text": [out.text_features.flatten(1).double().numpy() for out in (before, after)],
        "linear": [processor(np.asarray(part["past_values"][:]))["variate_values"].flatten(1).double().numpy()
                   for part in (data, new)],
    }  # fmt: skip
    for number, (branch, (x, x_new)) in enumerate(readings.items()):
        ridge = make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES)).fit(x, y)
        said = after.branch_predictions[:, number, 0].numpy()
        np.testing.assert_allclose(said, ridge.predict(x_new), rtol=1e-3)
        assert heads.penalties[branch] == pytest.approx(ridge[-1].alpha_)
    weights = np.array(model.config.branch_weights)
    assert weights.tolist() == heads.branch_weights
    mean = np.einsum("b,nb->n", weights, after.branch_predictions[..., 0].numpy())
    np.testing.assert_allclose(after.predictions[:, 0].numpy(), mean, rtol=1e-5)
    assert heads.out_of_fold.shape == (50, 3, 1) and abs(heads.out_of_fold.mean() - 100) < 10  # in the targets' unit
    assert set(heads.scores) == {"vision", "text", "linear", "mean"}


def test_one_head_on_all_readings_is_one_ridge(tiny_config):
    data, new = rows(), rows(20, seed=1)
    model, processor = build(tiny_config, data, branch_fusion="joint")
    heads = fit_head(model, processor, data)
    y = np.asarray(data["labels"])[:, 0]

    def joined(part):
        out = outputs(model, processor, part)
        values = processor(np.asarray(part["past_values"][:]))["variate_values"]
        both = torch.cat([out.vision_features, out.text_features], dim=-1).flatten(1)
        return torch.cat([both, values.flatten(1)], dim=1).double().numpy()

    ridge = make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES)).fit(joined(data), y)
    np.testing.assert_allclose(outputs(model, processor, new).predictions[:, 0], ridge.predict(joined(new)), rtol=1e-3)
    assert heads.branches == ["all"] and model.config.branch_weights is None


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_logistic_regression_with_the_chosen_penalty(tiny_config, classes):
    plain = rows(60)
    level = np.asarray(plain["labels"])[:, 0]
    data = rows(60, labels=np.digitize(level, np.quantile(level, np.arange(1, classes) / classes)))
    text = {"vision_config": None, "linear_shortcut": False, "num_labels": classes}
    model, processor = build(tiny_config, data, TimesCLIPForClassification, **text)
    heads = fit_head(model, processor, data)
    x = outputs(model, processor, data).text_features.flatten(1).double().numpy()
    logistic = LogisticRegression(C=1 / heads.penalties["text"], max_iter=5000)
    expected = make_pipeline(StandardScaler(), logistic).fit(x, data["labels"]).predict_proba(x)
    np.testing.assert_allclose(outputs(model, processor, data).logits.softmax(-1), expected, atol=0.01)
    assert 0 < heads.scores["text"] < np.log(classes)


def test_a_class_that_was_never_seen_is_unlikely_not_impossible(tiny_config):
    data = rows(30, labels=np.arange(30) % 2 * 2)  # 0 and 2 of four
    model, processor = build(tiny_config, data, TimesCLIPForClassification, num_labels=4)
    fit_head(model, processor, data)
    shares = outputs(model, processor, data).logits.softmax(-1).mean(dim=0)
    assert 0 < shares[1] < 0.1 and 0 < shares[3] < 0.1


def test_rows_of_a_group_are_left_out_together(tiny_config):
    rng = np.random.default_rng(0)
    farms = np.repeat(np.arange(12), 10)
    values = rng.normal(size=(12, 12, 3))[farms] + 0.01 * rng.normal(size=(120, 12, 3))
    labels = rng.normal(size=12)[farms, None]  # its series tell a farm, and nothing of another one
    data = Dataset.from_dict({"past_values": values.tolist(), "labels": labels.tolist()})
    model, processor = build(tiny_config, data)
    assert fit_head(model, processor, data).scores["mean"] > 0.9
    assert fit_head(model, processor, data, groups=[f"farm {farm}" for farm in farms]).scores["mean"] < 0.5


def test_labels_that_are_missing_leave_other_targets_whole(tiny_config):
    whole = rows(60)
    first = np.asarray(whole["labels"])
    second = np.where(np.arange(60)[:, None] % 2, first * -2, np.nan)
    data = rows(60, labels=np.concatenate([first, second], axis=1))
    torch.manual_seed(0)
    config = tiny_config("probe", num_targets=2)
    processor = TimesCLIPProcessor.from_config(config).fit(data.remove_columns("labels"))
    model = TimesCLIPForRegression(processor.complete_config(config))
    model.config.target_mean, model.config.target_std = [100.0, -200.0], [10.0, 20.0]
    fit_head(model, processor, data)
    both = outputs(model, processor, data).predictions.numpy()
    assert np.corrcoef(both[:, 0], both[:, 1])[0, 1] < -0.9


@pytest.mark.parametrize(
    ("model_class", "fields", "words"),
    [
        (TimesCLIPForRegression, {"head": "mlp"}, "needs head='linear'.*preset 'probe'"),
        (TimesCLIPForPrediction, {"branch_fusion": "joint"}, "fits regression and classification models"),
    ],
)
def test_other_heads_are_refused(tiny_config, model_class, fields, words):
    data = rows(10)
    fields = {"variate_selection": "gated", **fields} if model_class is TimesCLIPForPrediction else fields
    model, processor = build(tiny_config, data, model_class, **fields)
    with pytest.raises(ValueError, match=words):
        fit_head(model, processor, data)


def test_too_little_to_fit_on_is_refused(tiny_config):
    data = rows(10)
    model, processor = build(tiny_config, data)
    with pytest.raises(ValueError, match="2 labelled series are too few"):
        fit_head(model, processor, data.select(range(2)))
    with pytest.raises(ValueError, match="groups has 3 entries, the data 10 rows"):
        fit_head(model, processor, data, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="all rows are of one group"):
        fit_head(model, processor, data, groups=["a"] * 10)
    with pytest.raises(ValueError, match="no 'labels'"):
        fit_head(model, processor, data.remove_columns("labels"))
