# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Heads in closed form, against scikit-learn's own estimators on the same readings."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from timesclip_hf import (
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)
from timesclip_hf.training.class_probabilities import log_softmax, platt
from timesclip_hf.training.heads import RIDGE_PENALTIES, fit_head
from timesclip_hf.training.kernels import KernelRidge as SolvedKernels
from timesclip_hf.training.kernels import squared_distances

LINEAR = {"head": "linear", "kernel_shortcut": False, "linear_shortcut": True, "shape_features": 0}
KERNEL = {"head": "kernel", "kernel_shortcut": True, "linear_shortcut": False, "shape_features": 0}


def rows(count=50, seed=0, labels=None):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 12, 3)).cumsum(axis=1).astype(np.float32)
    targets = 100 + 5 * values[:, -1, :1] - values[:, 0, 1:2] ** 2 + rng.normal(size=(count, 1))
    return Dataset.from_dict(
        {"past_values": values.tolist(), "labels": (targets if labels is None else labels).tolist()}
    )


def build(tiny_config, data, model_class=TimesCLIPForRegression, **fields):
    torch.manual_seed(0)
    config = tiny_config("probe", **{**LINEAR, **fields})
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
        "series": [processor(np.asarray(part["past_values"][:]))["variate_values"].flatten(1).double().numpy()
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
    assert set(heads.scores) == {"vision", "text", "series", "mean"}


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


@pytest.mark.parametrize("kernel", [False, True])
def test_labels_that_are_missing_leave_other_targets_whole(tiny_config, kernel):
    whole = rows(60)
    first = np.asarray(whole["labels"])
    second = np.where(np.arange(60)[:, None] % 2, first * -2, np.nan)
    data = rows(60, labels=np.concatenate([first, second], axis=1))
    torch.manual_seed(0)
    config = tiny_config("probe", num_targets=2, **(KERNEL if kernel else LINEAR))
    processor = TimesCLIPProcessor.from_config(config).fit(data.remove_columns("labels"))
    model = TimesCLIPForRegression(processor.complete_config(config))
    model.config.target_mean, model.config.target_std = [100.0, -200.0], [10.0, 20.0]
    fit_head(model, processor, data)
    both = outputs(model, processor, data).predictions.numpy()
    assert np.corrcoef(both[:, 0], both[:, 1])[0, 1] < -0.9


@pytest.mark.parametrize("max_centers", [2000, 30])
def test_every_branch_is_kernel_ridge_on_its_readings(tiny_config, max_centers):
    data, new = rows(), rows(20, seed=1)
    model, processor = build(tiny_config, data, **KERNEL, kernel_sums=False)
    heads = fit_head(model, processor, data, max_centers=max_centers)
    layer = model.head["series"].layer
    x, x_new = (
        processor(np.asarray(part["past_values"][:]))["variate_values"].flatten(1).double().numpy()
        for part in (data, new)
    )
    shift, factor, centers = (getattr(layer, name).double().numpy() for name in ("shift", "factor", "centers"))
    np.testing.assert_allclose(shift, x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(factor * x.std(axis=0), (factor * x.std(axis=0))[0], rtol=1e-4)  # all weigh alike
    points, new_points = (x - shift) * factor, (x_new - shift) * factor
    y = np.asarray(data["labels"])[:, 0]
    answers = outputs(model, processor, new).branch_predictions[:, 2, 0].numpy()
    if max_centers == 2000:
        np.testing.assert_allclose(centers, points, atol=1e-4)
        ridge = KernelRidge(kernel="rbf", gamma=1.0, alpha=heads.penalties["series"]).fit(points, y - y.mean())
        np.testing.assert_allclose(answers, ridge.predict(new_points) + y.mean(), rtol=1e-3)
    else:
        assert len(centers) == 30 == model.config.num_centers
        assert all((np.abs(points - center).max(axis=1) < 1e-4).any() for center in centers)
        assert np.corrcoef(answers, np.asarray(new["labels"])[:, 0])[0, 1] > 0.5


@pytest.mark.parametrize("of_sums", [True, False])
def test_running_sums_are_read_where_they_do_better(tiny_config, tmp_path, of_sums):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(90, 12, 3)).astype(np.float32)
    sums = values.cumsum(axis=1)
    series = [values, sums] if of_sums else [np.diff(sums, axis=1, prepend=0), values]
    answer = np.tanh(sums[:, 6:, 0].mean(axis=1)) if of_sums else np.tanh(3 * values[:, 3, 0])
    data = Dataset.from_dict({"past_values": series[0].tolist(), "labels": answer[:, None].tolist()})
    model, processor = build(tiny_config, data, **KERNEL)
    fit_head(model, processor, data)
    layer = model.head["series"].layer
    read = (layer.factor != 0).reshape(2, 36).all(dim=1)
    assert read.tolist() == [not of_sums, of_sums]
    scaled = np.asarray(processor(series[0])["variate_values"], np.float64)
    x = np.stack([scaled, scaled.cumsum(axis=2)], axis=1).reshape(90, -1)
    points = (x - layer.shift.double().numpy()) * layer.factor.double().numpy()
    np.testing.assert_allclose(layer.centers.numpy(), points, atol=1e-4)
    model.save_pretrained(tmp_path)
    again = TimesCLIPForRegression.from_pretrained(tmp_path)
    assert torch.equal(outputs(again, processor, data).predictions, outputs(model, processor, data).predictions)


def test_validation_rows_choose_beside_rows_left_out(tiny_config):
    data, other = rows(12), rows(40, seed=5)
    model, processor = build(tiny_config, data, linear_shortcut=False)
    heads = fit_head(model, processor, data, validation=other)
    x, x_new = (outputs(model, processor, part).text_features.flatten(1).double().numpy() for part in (data, other))
    y, y_new = (np.asarray(part["labels"])[:, 0] for part in (data, other))
    errors = []
    for penalty in RIDGE_PENALTIES:
        ridge = make_pipeline(StandardScaler(), Ridge(penalty))
        # The heads standardise by all rows, not by those of a fold.
        scaled = StandardScaler().fit(x)
        folds = KFold(10, shuffle=True, random_state=0)
        out = cross_val_predict(Ridge(penalty), scaled.transform(x), y, cv=folds)
        errors.append(np.concatenate([(out - y) ** 2, (ridge.fit(x, y).predict(x_new) - y_new) ** 2]).mean())
    assert heads.penalties["text"] == pytest.approx(RIDGE_PENALTIES[np.argmin(errors)])
    assert heads.out_of_fold.shape == (12, 2, 1)  # of the rows that were learnt from, alone


@pytest.mark.parametrize("classes", [False, True])
def test_validation_rows_help_kernels_of_few_labels(tiny_config, classes):
    whole = rows(260)
    level = np.asarray(whole["labels"])[:, 0]
    whole = rows(260, labels=(level > np.median(level)).astype(int)) if classes else whole
    few, other, new = whole.select(range(14)), whole.select(range(14, 140)), whole.select(range(140, 260))
    model_class = TimesCLIPForClassification if classes else TimesCLIPForRegression
    losses = []
    for validation in (None, other):
        model, processor = build(tiny_config, few, model_class, **KERNEL, **({"num_labels": 2} if classes else {}))
        fit_head(model, processor, few, validation=validation)
        said = outputs(model, processor, new)
        truth = torch.tensor(new["labels"][:])
        loss = torch.nn.functional.cross_entropy if classes else torch.nn.functional.mse_loss
        losses.append(float(loss(said.logits if classes else said.predictions, truth)))
    assert losses[1] < losses[0]


def test_kernels_are_saved_with_what_they_were_fitted_on(tiny_config, tmp_path):
    data = rows(40)
    model, processor = build(tiny_config, data, **KERNEL, num_static_features=0)
    fit_head(model, processor, data)
    model.save_pretrained(tmp_path)
    loaded = TimesCLIPForRegression.from_pretrained(tmp_path)
    assert loaded.config.num_centers == 40
    new = rows(9, seed=3)
    assert torch.equal(outputs(loaded, processor, new).predictions, outputs(model, processor, new).predictions)


@pytest.mark.parametrize("classes", [2, 4])
def test_kernels_of_classes_give_probabilities_that_hold(tiny_config, classes):
    plain = rows(300)
    level = np.asarray(plain["labels"])[:, 0]
    numbers = np.digitize(level, np.quantile(level, np.arange(1, classes) / classes))
    model, processor = build(
        tiny_config, rows(300, labels=numbers).select(range(150)), TimesCLIPForClassification, **KERNEL,
        num_labels=classes,
    )  # fmt: skip
    heads = fit_head(model, processor, rows(300, labels=numbers).select(range(150)))
    held_out = outputs(model, processor, plain.select(range(150, 300))).logits.log_softmax(-1).numpy()
    loss = -held_out[np.arange(150), numbers[150:]].mean()
    assert loss < 0.8 * np.log(classes) and loss == pytest.approx(heads.scores["mean"], abs=0.2)
    assert (held_out.argmax(axis=1) == numbers[150:]).mean() > 1.5 / classes


def test_classes_without_an_error_out_of_fold_are_not_certain():
    labels = np.arange(20) % 2
    said = np.eye(2)[labels] * 0.8 + 0.1
    temperature, shifts = platt(said, labels)
    found = np.exp(log_softmax(temperature * said + shifts))
    assert found.max(axis=1).mean() == pytest.approx(1 - 0.5 / 21, abs=0.005)


@pytest.mark.parametrize("penalty", [1e-3, 0.3])
def test_what_is_said_of_rows_left_out_is_what_fits_without_them_say(penalty):
    rng = np.random.default_rng(0)
    points, targets = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    owners = np.repeat(np.arange(10), 3)
    kernels = np.exp(-squared_distances(points, points))
    centers = rng.permutation(30)[:12]
    few, among = kernels[:, centers], kernels[np.ix_(centers, centers)]
    for given, own in ((kernels, kernels), (few, among)):
        for groups in (None, owners):
            said = SolvedKernels(given, own, groups).left_out(targets, penalty)
            for group in np.unique(owners if groups is not None else np.arange(30)):
                out = (owners == group) if groups is not None else np.arange(30) == group
                kept = given[~out]
                weights = np.linalg.lstsq(kept.T @ kept + penalty * own, kept.T @ targets[~out], rcond=1e-13)[0]
                np.testing.assert_allclose(said[out], given[out] @ weights, atol=2e-3)


def test_the_trainer_fits_kernels_before_it_trains(tiny_config, tmp_path):
    data = rows(40)
    torch.manual_seed(0)
    config = tiny_config("late", kernel_shortcut=True, freeze_vision=False)
    processor = TimesCLIPProcessor.from_config(config).fit(data)
    args = TimesCLIPTrainingArguments(
        tmp_path,
        num_train_epochs=2,
        per_device_train_batch_size=8,
        disable_tqdm=True,
        report_to=[],
        use_cpu=True,
        save_total_limit=5,
    )

    def trainer(arguments=args):
        torch.manual_seed(0)
        model = TimesCLIPForRegression(processor.complete_config(config))
        return TimesCLIPTrainer(model, arguments, processor, train_dataset=data, eval_dataset=rows(20, seed=5))

    first = trainer()
    first.train()
    kernel = first.model.head["series"].layer
    assert first.model.config.num_centers == 40 and len(first.model.config.branch_weights) == 3
    alone = TimesCLIPForRegression(first.model.config)
    fit_head(alone, processor, data)
    assert torch.equal(alone.head["series"].layer.weight, kernel.weight), "training has left it as it was"
    resumed = trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    new = rows(9, seed=3)
    assert torch.equal(
        outputs(resumed.model, processor, new).predictions, outputs(first.model, processor, new).predictions
    )


@pytest.mark.parametrize(
    ("model_class", "fields", "words"),
    [
        (TimesCLIPForRegression, {"head": "mlp"}, "needs head='kernel' or 'linear'.*preset 'probe'"),
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
    for count in (0, 2):
        with pytest.raises(ValueError, match=f"{count} labelled series are too few"):
            fit_head(model, processor, data.select(range(count)))
    with pytest.raises(ValueError, match="groups has 3 entries, the data 10 rows"):
        fit_head(model, processor, data, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="all rows are of one group"):
        fit_head(model, processor, data, groups=["a"] * 10)
    with pytest.raises(ValueError, match="no 'labels'"):
        fit_head(model, processor, data.remove_columns("labels"))
