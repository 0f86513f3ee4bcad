"""The processor: every key against NumPy, faults named, everything learnt kept in JSON."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from tolerances import ANOTHER_PROCESS
from transformers import AutoProcessor

from timesclip_hf import TimesCLIPProcessor
from timesclip_hf.model import reader
from timesclip_hf.model.rendering import render_line, variate_colors
from timesclip_hf.model.views import VIEWS

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
NAMES = ["ndvi", "nir", "red"]


def make_series(num_samples: int = 6, num_steps: int = 12, gaps: bool = True, seed: int = 0) -> np.ndarray:
    """(B, T, 3) with a level and a spread of its own for each variate, some steps missing."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num_samples, num_steps, 3)) * [1.0, 20.0, 0.01] + [0.0, 300.0, -5.0]
    if gaps:
        values[:, 1:-1][rng.random((num_samples, num_steps - 2, 3)) < 0.2] = np.nan
    return values


def make_processor(**parameters: Any) -> TimesCLIPProcessor:
    sizes = {"context_length": 12, "patch_length": 4, "patch_stride": 2, "image_size": 24}
    return TimesCLIPProcessor(**{**sizes, **parameters})


def interpolated(values: np.ndarray) -> np.ndarray:
    filled = values.copy()
    steps = np.arange(values.shape[1])
    for sample in range(values.shape[0]):
        for variate in range(values.shape[2]):
            seen = ~np.isnan(values[sample, :, variate])
            filled[sample, :, variate] = np.interp(steps, steps[seen], values[sample, seen, variate])
    return filled


# --- keys, shapes, scaling


def test_a_batch_has_the_documented_keys_shapes_and_dtypes() -> None:
    processor = make_processor(image_size=[24, 32])
    train = make_series()
    static = [{"soil": "loam", "latitude": float(i)} for i in range(5)] + [{"soil": "clay", "latitude": 9.0}]
    processor.fit(train, labels=np.arange(6.0), static_values=static)
    batch = processor(train[:2], static_values=static[:2], labels=[1.0, 2.0])
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in batch.items()}
    assert shapes == {
        "pixel_values": ((2, 3, 3, 24, 32), torch.float32),
        "patch_values": ((2, 3, 6, 4), torch.float32),
        "patch_mask": ((2, 3, 6), torch.bool),
        "variate_values": ((2, 3, 12), torch.float32),
        "loc": ((2, 3), torch.float32),
        "scale": ((2, 3), torch.float32),
        "static_values": ((2, 3), torch.float32),
        "labels": ((2, 1), torch.float32),
    }
    assert set(processor.model_input_names) == set(batch) - {"labels"}


@pytest.mark.parametrize("value_range", ["dataset", "window"])
def test_images_can_be_drawn_later_from_positions_on_the_axis(value_range) -> None:
    processor = make_processor(image_size=[24, 32], value_range=value_range).fit(make_series())
    values = make_series()[:2]
    values[0, 3:5, 1] = np.nan
    later = processor(values, draw=False)
    whole = processor(values)
    assert set(whole) - set(later) == {"pixel_values"} and set(later) - set(whole) == {"plot_values"}
    over = (0, 1) if value_range == "dataset" else 1
    source = make_series() if value_range == "dataset" else values
    low, high = np.nanmin(source, axis=over, keepdims=True), np.nanmax(source, axis=over, keepdims=True)
    heights = ((values - low) / (high - low)).transpose(0, 2, 1)
    np.testing.assert_allclose(later["plot_values"], heights, atol=1e-5)
    assert torch.equal(processor.draw(later["plot_values"]), whole["pixel_values"])
    half = processor.draw(later["plot_values"], torch.bfloat16)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole["pixel_values"], atol=0.03, rtol=0.01)


def test_a_processor_without_images_cannot_draw() -> None:
    with pytest.raises(ValueError, match="draws no images"):
        make_processor(image_size=None).draw(torch.zeros(1, 3, 12))


@pytest.mark.parametrize("scaling", ["dataset", "instance", "none"])
def test_patches_are_scaled_as_numpy_says(scaling: str) -> None:
    train, values = make_series(40), make_series(3, seed=1)
    batch = make_processor(scaling=scaling, image_size=None).fit(train)(values)
    if scaling == "dataset":
        loc = np.broadcast_to(np.nanmean(train, axis=(0, 1)), (3, 3))
        scale = np.broadcast_to(np.nanstd(train, axis=(0, 1)), (3, 3))
    elif scaling == "instance":
        loc, scale = np.nanmean(values, axis=1), np.nanstd(values, axis=1)
    else:
        loc, scale = np.zeros((3, 3)), np.ones((3, 3))
    np.testing.assert_allclose(batch["loc"], loc, rtol=1e-6)
    np.testing.assert_allclose(batch["scale"], scale, rtol=1e-6)
    scaled = ((interpolated(values) - loc[:, None]) / scale[:, None]).transpose(0, 2, 1)
    np.testing.assert_allclose(batch["variate_values"], scaled, rtol=1e-5, atol=1e-5)
    padded = np.concatenate([scaled, scaled[..., -1:], scaled[..., -1:]], axis=-1)  # 14 steps: 6 patches of 4 by 2
    for patch in range(6):
        expected = padded[..., 2 * patch : 2 * patch + 4]
        np.testing.assert_allclose(batch["patch_values"][:, :, patch], expected, rtol=1e-5, atol=1e-5)


def test_patch_mask_is_false_only_where_nothing_in_the_patch_was_observed() -> None:
    values = np.ones((1, 12, 3))
    values[0, :5, 0] = np.nan  # of the patches that start at 0, 2, 4, ... the first has nothing, the second step 5
    values[0, 6:10, 1] = np.nan
    batch = make_processor(scaling="instance", image_size=None)(values)
    assert batch["patch_mask"][0, 0].tolist() == [False, True, True, True, True, True]
    assert batch["patch_mask"][0, 1].tolist() == [True, True, True, False, True, True]
    assert batch["patch_mask"][0, 2].all()


def test_front_padding_changes_nothing_in_the_observed_part() -> None:
    values = make_series(2, 6, gaps=False)
    padded = np.concatenate([np.full((2, 6, 3), np.nan), values], axis=1)
    short = make_processor(context_length=6, scaling="instance", image_size=None)(values)
    for batch in (make_processor(scaling="instance", image_size=None)(given) for given in (values, padded)):
        torch.testing.assert_close(batch["patch_values"][:, :, 3:], short["patch_values"])
        assert batch["patch_mask"][0, 0].tolist() == [False, False, True, True, True, True]
        torch.testing.assert_close(batch["loc"], short["loc"])
        torch.testing.assert_close(batch["scale"], short["scale"])


def test_only_the_newest_steps_are_read() -> None:
    values = make_series(2, 20)
    values[:, 8] = 1.0
    processor = make_processor(scaling="instance")
    long, newest = processor(values), processor(values[:, -12:])
    assert all(torch.equal(long[name], newest[name]) for name in newest)


# --- fit


def test_fitted_statistics_equal_numpys_over_all_training_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", 4)
    train = make_series(11, 30)  # three chunks, and longer than the context
    train[:4, :, 0] = np.nan  # the first chunk has nothing of the first variate
    fitted = make_processor().fit(train).statistics["variates"]
    np.testing.assert_allclose(fitted["mean"], np.nanmean(train, axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(fitted["std"], np.nanstd(train, axis=(0, 1)), rtol=1e-10)
    np.testing.assert_array_equal(fitted["minimum"], np.nanmin(train, axis=(0, 1)))
    np.testing.assert_array_equal(fitted["maximum"], np.nanmax(train, axis=(0, 1)))


def test_a_dataset_fits_as_its_arrays_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", 4)
    train, labels = make_series(9).astype(np.float32), np.arange(9.0)
    static = [{"elevation": float(i), "soil": "loam"} for i in range(9)]
    mask = np.random.default_rng(1).random(train.shape) > 0.1
    columns = {"past_values": train.tolist(), "labels": labels[:, None].tolist(), "static_values": static}
    from_arrays = make_processor().fit(train, labels=labels, static_values=static)
    from_dataset = make_processor().fit(Dataset.from_dict(columns))
    assert from_dataset.statistics == from_arrays.statistics
    assert from_dataset.statistics["targets"] == {"mean": [4.0], "std": [pytest.approx(labels.std())]}
    masked = np.where(mask, train, np.nan)
    expected = make_processor().fit(masked, static_values=static, labels=labels).statistics
    given = {"past_observed_mask": mask, "static_values": static, "labels": labels}
    assert make_processor().fit(train, **given).statistics == expected
    columns["past_observed_mask"] = mask.tolist()
    assert make_processor().fit(Dataset.from_dict(columns)).statistics == expected


def test_series_of_unequal_lengths_fit_by_their_own_steps() -> None:
    train = [make_series(1, length, seed=length)[0].astype(np.float32) for length in (5, 9, 14)]
    steps = np.concatenate(train).astype(np.float64)
    for given in (train, Dataset.from_dict({"past_values": [series.tolist() for series in train]})):
        fitted = make_processor().fit(given).statistics["variates"]
        np.testing.assert_allclose(fitted["mean"], np.nanmean(steps, axis=0), rtol=1e-12)
        np.testing.assert_allclose(fitted["std"], np.nanstd(steps, axis=0), rtol=1e-10)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda a: a.tolist(), pd.DataFrame])
def test_one_series_alone_fits_as_a_batch_of_one(kind: Any) -> None:
    series = make_series(1, 12)[0]
    assert make_processor().fit(kind(series)).statistics == make_processor().fit(series[None]).statistics


def test_a_constant_training_variate_or_target_never_divides_by_rounding_noise() -> None:
    train = make_series(20, gaps=False)
    train[..., 1] = 0.1
    fitted = make_processor().fit(train, labels=np.full(20, 0.1)).statistics
    assert fitted["variates"]["std"][1] == 1 and fitted["targets"]["std"] == [1.0]


def test_class_numbers_are_no_targets_and_look_alike_ones_are_told(recwarn: Any) -> None:
    rng = np.random.default_rng(0)
    series, classes = make_series()[np.arange(60) % 6], rng.permutation(np.arange(60) % 4)
    rows = {"past_values": series.tolist()}
    for labels in (classes.tolist(), (classes > 1).tolist()):
        data = Dataset.from_dict({**rows, "labels": labels})
        assert make_processor().fit(data).statistics["targets"] is None
    targets = make_processor().fit(Dataset.from_dict({**rows, "labels": classes[:, None].tolist()}))
    assert targets.statistics["targets"]["mean"] == [classes.mean()]
    assert [str(w.message)[:44] for w in recwarn.list] == ["target 0 takes the whole numbers 0 to 3 alon"]
    recwarn.clear()
    with pytest.warns(
        UserWarning, match="target 'crop' takes the whole numbers 1 to 4 alone.*TimesCLIPForClassification"
    ):
        make_processor(target_names=["crop"]).fit(series, labels=classes + 1)
    for amounts in (classes + 0.5, classes * 10, classes - 1, np.arange(60), np.zeros(60), np.stack([classes] * 2, 1)):
        make_processor().fit(series, labels=amounts)
    assert not [w for w in recwarn.list if "alone" in str(w.message)]


def test_other_data_never_changes_what_was_fitted() -> None:
    processor = make_processor().fit(make_series())
    before = json.dumps(processor.statistics)
    processor(make_series(seed=3) * 100)
    assert json.dumps(processor.statistics) == before


def test_dataset_scaling_before_fit_raises() -> None:
    with pytest.raises(ValueError, match="fit"):
        make_processor()(make_series())
    with pytest.raises(ValueError, match="value_range='dataset'.*fit"):
        make_processor(scaling="instance", value_range="dataset")(make_series())


def test_nothing_to_fit_on_raises() -> None:
    blank = make_series()
    blank[..., 2] = np.nan
    with pytest.raises(ValueError, match="'red'"):
        make_processor(variate_names=NAMES).fit(blank)
    for empty in ([], np.zeros((0, 12, 3))):
        with pytest.raises(ValueError, match="empty"):
            make_processor().fit(empty)
    with pytest.raises(ValueError, match="past_values"):
        make_processor().fit(Dataset.from_dict({"series": [[1.0]]}))
    with pytest.raises(ValueError, match="columns"):
        make_processor().fit(Dataset.from_dict({"past_values": make_series().tolist()}), labels=np.zeros(6))


# --- saving


def test_every_parameter_survives_saving(tmp_path: Path) -> None:
    parameters = {
        "context_length": 20,
        "patch_length": 5,
        "patch_stride": 3,
        "padding": "none",
        "scaling": "instance",
        "value_range": "dataset",
        "num_variates": 3,
        "variate_names": ["z", "a", "m"],
        "image_size": [16, 40],
        "line_width": 2.25,
        "background": 0.125,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
        "statistics": make_processor().fit(make_series(), labels=[1.0] * 5 + [3.0]).statistics,
        "view": "gadf",
        "layout": "grid",
        "variate_units": ["K", "", "mm"],
        "target_names": ["yield"],
        "num_target_variates": 2,
        "draw_covariates": True,
        "prediction_length": 5,
        "calendar": ["hour", "holidays:FR"],
        "target_units": ["t/ha"],
        "padding_side": "right",
        "truncation_side": "left",
        "first_step": 3,
        "last_step": 40,
        "missing_values": {"a": [-9999.0, 255]},
        "column_pattern": "dates",
        "step_dates": ["2019-10-01", "2019-10-11"],
    }
    assert set(parameters) == set(inspect.signature(TimesCLIPProcessor).parameters)
    TimesCLIPProcessor(**parameters).save_pretrained(tmp_path)
    reloaded = TimesCLIPProcessor.from_pretrained(tmp_path)
    assert {name: getattr(reloaded, name) for name in parameters} == parameters


def test_no_images_stay_no_images_after_saving(tmp_path: Path) -> None:
    make_processor(image_size=None, scaling="none").save_pretrained(tmp_path)
    reloaded = TimesCLIPProcessor.from_pretrained(tmp_path)
    assert reloaded.image_size is None and "pixel_values" not in reloaded(make_series())


def test_a_new_process_makes_bit_equal_batches_through_auto_processor(tmp_path: Path) -> None:
    train = make_series()
    # "zone" before "area": JSON is written with sorted keys, the columns must keep their order.
    static = [{"zone": "b" if i else "a", "area": 3.0 * i, "kind": str(i % 3)} for i in range(6)]
    processor = make_processor(variate_names=NAMES).fit(train, labels=np.arange(6.0), static_values=static)
    processor.save_pretrained(tmp_path)
    np.save(tmp_path / "train.npy", train)
    code = (
        "import json, sys, numpy as np, timesclip_hf\n"
        "from transformers import AutoProcessor\n"
        "folder, static = sys.argv[1], json.loads(sys.argv[2])\n"
        "processor = AutoProcessor.from_pretrained(folder)\n"
        "assert type(processor) is timesclip_hf.TimesCLIPProcessor\n"
        "train = np.load(folder + '/train.npy')\n"
        "batch = processor(train, static_values=static, labels=np.arange(6.0), return_tensors='np')\n"
        "np.savez(folder + '/batch.npz', **batch)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), json.dumps(static)], check=True)
    expected = processor(train, static_values=static, labels=np.arange(6.0), return_tensors="np")
    with np.load(tmp_path / "batch.npz") as batch:
        assert set(batch) == set(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(batch[name], array, **ANOTHER_PROCESS, err_msg=name)
    assert expected["static_values"][1].tolist()[:2] == [0, 1]  # zone, then area


def test_auto_processor_knows_the_class_from_the_models_config_alone(tmp_path: Path, tiny_config: Any) -> None:
    make_processor().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "processor_config.json").read_text())
    del settings["processor_class"]
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    tiny_config().save_pretrained(tmp_path)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), TimesCLIPProcessor)


# --- with a configuration


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_from_config_takes_over_all_that_the_model_fixes(tiny_config: Any, family: str) -> None:
    vision = {
        "model_type": f"{family}_vision_model",
        "image_size": 48,
        "patch_size": 16,
        "hidden_size": 32,
        "num_attention_heads": 4,
    }
    config = tiny_config(vision_config=vision, padding="none")
    processor = TimesCLIPProcessor.from_config(config, scaling="instance")
    assert (processor.context_length, processor.patch_length, processor.patch_stride) == (12, 4, 2)
    assert (processor.padding, processor.num_variates, processor.image_size) == ("none", 3, [48, 48])
    expected = (CLIP_MEAN, CLIP_STD) if family == "clip" else ([0.5] * 3, [0.5] * 3)
    assert (processor.image_mean, processor.image_std) == expected
    assert processor(make_series())["patch_values"].shape[2] == config.num_patches


def test_a_configuration_with_its_own_colours_is_followed(tiny_config: Any) -> None:
    config = tiny_config(image_mean=[0.1, 0.2, 0.3], image_std=[0.3, 0.2, 0.1])
    processor = TimesCLIPProcessor.from_config(config)
    assert (processor.image_mean, processor.image_std) == ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1])


def test_contradicting_the_configuration_raises(tiny_config: Any) -> None:
    with pytest.raises(ValueError, match="context_length=24 contradicts the configuration's 12"):
        TimesCLIPProcessor.from_config(tiny_config(), context_length=24)
    assert TimesCLIPProcessor.from_config(tiny_config(), context_length=12).context_length == 12


def test_without_a_vision_branch_no_images_are_drawn(tiny_config: Any) -> None:
    processor = TimesCLIPProcessor.from_config(tiny_config("text_only"), scaling="instance")
    assert "pixel_values" not in processor(make_series())


def test_complete_config_brings_the_fitted_statistics_to_a_copy(tiny_config: Any) -> None:
    config, train = tiny_config(), make_series()
    static = [{"soil": "loam", "latitude": 1.0}] * 5 + [{"soil": "clay", "latitude": 2.0}]
    processor = TimesCLIPProcessor.from_config(config)
    with pytest.raises(ValueError, match="fit"):
        processor.complete_config(config)
    completed = processor.fit(train, labels=[1.0, 2, 3, 4, 5, 6], static_values=static).complete_config(config)
    np.testing.assert_allclose(completed.variate_mean, np.nanmean(train, axis=(0, 1)))
    np.testing.assert_allclose(completed.variate_std, np.nanstd(train, axis=(0, 1)))
    assert completed.target_mean == [3.5] and completed.target_std == [pytest.approx((35 / 12) ** 0.5)]
    assert completed.num_static_features == 3
    assert config.target_mean is None and config.num_static_features == 0
    with pytest.raises(ValueError, match="variates"):
        processor.complete_config(tiny_config(num_variates=4))
    told = "num_targets=1, the model 2: .* give the configuration num_targets=1, or make and fit .*labels of 2 columns"
    with pytest.raises(ValueError, match=told):
        processor.complete_config(tiny_config(num_targets=2))


# --- images


def expected_pixels(heights: np.ndarray, processor: TimesCLIPProcessor) -> np.ndarray:
    """(B, T, V) heights in [0, 1] to normalised plots, colour by colour in NumPy."""
    num_samples, num_steps, num_variates = heights.shape
    flat = torch.from_numpy(heights.transpose(0, 2, 1).reshape(-1, num_steps)).float()
    height, width = processor.image_size
    ink = render_line(flat, height, width, line_width=processor.line_width).numpy()
    ink = ink.reshape(num_samples, num_variates, 1, height, width)
    colors = variate_colors(num_variates)[None, :, :, None, None]
    image = processor.background + ink * (colors - processor.background)
    mean, std = (np.array(c)[:, None, None] for c in (processor.image_mean, processor.image_std))
    return (image - mean) / std


@pytest.mark.parametrize("background", [1.0, 0.25])
def test_images_are_coloured_lines_normalised_for_the_tower(background: float) -> None:
    train = make_series(20)
    values = train[:2]
    low, high = np.nanmin(train, axis=(0, 1)), np.nanmax(train, axis=(0, 1))
    processor = make_processor(background=background, line_width=2.0).fit(train)
    expected = expected_pixels((values - low) / (high - low), processor)
    np.testing.assert_allclose(processor(values)["pixel_values"], expected, atol=2e-4)

    window = make_processor(background=background, value_range="window").fit(train)
    low, high = np.nanmin(values, axis=1, keepdims=True), np.nanmax(values, axis=1, keepdims=True)
    expected = expected_pixels((values - low) / (high - low), window)
    np.testing.assert_allclose(window(values)["pixel_values"], expected, atol=2e-4)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_blank_pixels_are_white_in_the_towers_own_colours(tiny_config: Any, family: str) -> None:
    fields = {"vision_config": {"model_type": f"{family}_vision_model", "image_size": 32, "patch_size": 16}}
    processor = TimesCLIPProcessor.from_config(tiny_config(**fields), scaling="instance")
    corner = processor(np.zeros((6, 12, 3)))["pixel_values"][:, :, :, 0, 0]  # lines along the middle
    mean, std = (CLIP_MEAN, CLIP_STD) if family == "clip" else ([0.5] * 3, [0.5] * 3)
    blank = [(1 - m) / s for m, s in zip(mean, std, strict=True)]
    torch.testing.assert_close(corner, torch.tensor(blank).expand(6, 3, 3))


def test_to_images_gives_the_colours_back() -> None:
    processor = make_processor(scaling="instance", line_width=3.0)
    values = np.zeros((1, 12, 3))  # constant: a thick line along the middle
    for tensors in ("pt", "np"):
        images = processor.to_images(processor(values, return_tensors=tensors)["pixel_values"])
        assert images.shape == (1, 3, 24, 24, 3) and images.dtype == np.uint8
        assert (images[0, :, 0, 0] == 255).all()
        expected = (variate_colors(3) * 255).round().astype(np.uint8)
        np.testing.assert_array_equal(images[0, :, 12, 12], expected)
        assert len({tuple(color) for color in images[0, :, 12, 12].tolist()}) == 3  # a colour for each variate


def ink_of(processor: TimesCLIPProcessor, values: np.ndarray) -> np.ndarray:
    """Where the first sample's plots are not white, (V, height, width)."""
    return (processor.to_images(processor(values)["pixel_values"])[0] < 250).any(axis=-1)


def test_the_level_moves_the_plot_only_on_the_fitted_axis() -> None:
    train = make_series(30, gaps=False)
    shifted = train[:1] + np.nanstd(train, axis=(0, 1))
    window = make_processor(value_range="window").fit(train)
    torch.testing.assert_close(window(train[:1])["pixel_values"], window(shifted)["pixel_values"], atol=1e-3, rtol=0)
    fitted = make_processor(value_range="dataset").fit(train)
    rows = np.arange(24)[:, None]
    for before, after in zip(ink_of(fitted, train[:1]), ink_of(fitted, shifted), strict=True):
        assert (rows * after).sum() / after.sum() < (rows * before).sum() / before.sum() - 1  # row 0 is the top


@pytest.mark.parametrize("level", [0.0, 7.25, -1e8, 3e30])
@pytest.mark.parametrize("noise", [0.0, 1e-7])
@pytest.mark.parametrize("value_range", ["window", "dataset"])
def test_a_constant_series_is_drawn_in_the_middle(value_range: str, noise: float, level: float) -> None:
    train = np.full((4, 12, 3), level, dtype=np.float32)
    train[:, ::2] *= 1 + noise  # rounding noise is not drawn as a wild curve
    ink = ink_of(make_processor(value_range=value_range).fit(train), train[:1])
    for plot in ink:
        assert np.nonzero(plot)[0].mean() == pytest.approx(11.5, abs=0.1)
        assert plot.any(axis=0)[2:-2].all()


def test_gaps_stay_blank_in_the_plot() -> None:
    values = make_series(1, gaps=False)
    values[0, 4:8] = np.nan  # 12 steps on 24 columns, 2 per step: nothing between steps 3 and 8
    ink = ink_of(make_processor(scaling="instance"), values)
    assert not ink[:, :, 10:16].any() and ink[:, :, :8].any() and ink[:, :, 19:].any()


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_drawn_on_the_axis_and_survives_saving(view: str, tmp_path: Path) -> None:
    values = make_series(2)
    processor = make_processor(view=view, scaling="instance", image_size=[24, 32])
    pixels = processor(values)["pixel_values"]
    low, high = np.nanmin(values, axis=1, keepdims=True), np.nanmax(values, axis=1, keepdims=True)
    heights = torch.from_numpy(((values - low) / (high - low)).transpose(0, 2, 1).reshape(6, 12)).float()
    ink = VIEWS[view](heights, 24, 32).view(2, 3, 1, 24, 32).numpy()
    colors = variate_colors(3)[None, :, :, None, None]
    image = (1 + ink * (colors - 1)).transpose(0, 1, 3, 4, 2)
    if view == "stacked":  # whose values are grey levels, from black to white
        image = np.broadcast_to(ink, (2, 3, 3, 24, 32)).transpose(0, 1, 3, 4, 2)
    assert pixels.shape == (2, 3, 3, 24, 32)
    np.testing.assert_allclose(processor.to_images(pixels), 255 * image, atol=0.6)  # uint8 rounds by half
    processor.save_pretrained(tmp_path)
    reloaded = TimesCLIPProcessor.from_pretrained(tmp_path)
    assert reloaded.view == view and torch.equal(reloaded(values)["pixel_values"], pixels)


def test_value_range_goes_with_scaling_by_default() -> None:
    assert make_processor(scaling="dataset").value_range == "dataset"
    assert make_processor(scaling="instance").value_range == make_processor(scaling="none").value_range == "window"


# --- inputs


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32, np.uint16, np.int64, ">f4", ">f8"])
def test_every_real_dtype_gives_the_same_batch(dtype: Any) -> None:
    values = np.random.default_rng(0).integers(0, 200, size=(2, 12, 3)).astype(dtype)
    processor = make_processor(scaling="instance")
    expected = processor(values.astype(np.float64))
    for name, tensor in processor(values).items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-3, rtol=1e-5)


def test_every_container_gives_the_same_batch() -> None:
    values = make_series(2)
    processor = make_processor(scaling="instance", variate_names=NAMES)
    expected = processor(values)
    frames = [pd.DataFrame(series, columns=NAMES)[["red", "ndvi", "nir"]] for series in values]
    for given in (torch.from_numpy(values), values.tolist(), list(values), tuple(torch.from_numpy(values)), frames):
        batch = processor(given)
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    alone = processor(values[0])
    from_frame = processor(frames[0])
    for name in expected:
        torch.testing.assert_close(alone[name], expected[name][:1])
        assert torch.equal(from_frame[name], alone[name])


def test_a_frame_without_a_variate_names_it() -> None:
    frame = pd.DataFrame(make_series(1)[0], columns=["ndvi", "nir", "blue"])
    with pytest.raises(ValueError, match=r"lacks the columns \['red'\]"):
        make_processor(variate_names=NAMES)(frame)


def test_unequal_lengths_equal_padding_by_hand() -> None:
    series = [make_series(1, length, seed=length)[0] for length in (12, 7, 9)]
    padded = np.stack([np.concatenate([np.full((12 - len(s), 3), np.nan), s]) for s in series])
    masks = [~np.isnan(s) for s in series]
    processor = make_processor(scaling="instance")
    expected = processor(padded)
    zeroed = [np.nan_to_num(s, nan=-999.0) for s in series]
    for batch in (processor(series), processor(zeroed, past_observed_mask=masks)):
        assert all(torch.equal(batch[name], expected[name]) for name in expected)


@pytest.mark.parametrize("as_type", [np.asarray, torch.from_numpy, lambda m: m.tolist(), lambda m: m.astype(int)])
def test_a_mask_means_the_same_as_nan(as_type: Any) -> None:
    values = make_series(3)
    mask = ~np.isnan(values)
    processor = make_processor(scaling="instance")
    expected, batch = processor(values), processor(np.where(mask, values, 1e6), past_observed_mask=as_type(mask))
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_arrays_are_never_modified() -> None:
    values, labels = make_series(3), np.arange(3, dtype=np.float32)[:, None]
    mask = np.ones(values.shape, dtype=bool)
    copies = values.copy(), labels.copy(), mask.copy()
    processor = make_processor().fit(values, labels=labels)
    batch = processor(values, past_observed_mask=mask, labels=labels)
    for tensor in batch.values():
        tensor.zero_()
    np.testing.assert_array_equal(values, copies[0])
    np.testing.assert_array_equal(labels, copies[1])
    np.testing.assert_array_equal(mask, copies[2])


@pytest.mark.parametrize("view", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.transpose(2, 1, 0)])
def test_views_of_arrays_are_read(view: Any) -> None:
    values = view(make_series(3))
    processor = make_processor(scaling="instance", image_size=None)
    torch.testing.assert_close(
        processor(values)["loc"].double(), torch.from_numpy(np.nanmean(values, axis=1)).float().double()
    )
    values.flags.writeable = False
    assert processor(values)["loc"].isfinite().all()


def test_a_plain_array_is_read_without_a_copy() -> None:
    values = make_series(3)
    assert reader.read_array(values, "past_values") is values


@pytest.mark.parametrize(
    ("labels", "shape", "dtype"),
    [
        ([1.5, 2.5], (2, 1), torch.float32),
        (np.ones((2, 3)), (2, 3), torch.float32),
        (torch.ones(2, dtype=torch.float64), (2, 1), torch.float32),
        (pd.Series([1.0, 2.0]), (2, 1), torch.float32),
        ([0, 1], (2,), torch.int64),
    ],
)
def test_labels_become_targets_or_classes(labels: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    batch = make_processor(scaling="instance", image_size=None)(make_series(2), labels=labels)
    assert batch["labels"].shape == shape and batch["labels"].dtype == dtype


def test_numpy_batches_hold_the_same_values() -> None:
    processor = make_processor(scaling="instance")
    tensors, arrays = processor(make_series()), processor(make_series(), return_tensors="np")
    for name, array in arrays.items():
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, tensors[name].numpy())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_tensors_stay_on_their_device() -> None:
    values = torch.from_numpy(make_series())
    processor = make_processor().fit(values)
    here, there = processor(values), processor(values.cuda(), labels=[1.0] * 6)
    assert all(tensor.is_cuda for tensor in there.values())
    for name, tensor in here.items():
        torch.testing.assert_close(there[name].cpu(), tensor, atol=1e-4, rtol=1e-4)


# --- faults

INFINITE, BLANK = make_series(), make_series()
INFINITE[3, 5, 2] = -np.inf
BLANK[4, :, 1] = np.nan


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(12), r"shape \(12,\).*expected \(batch, time, variates\)"),
        (np.zeros((1, 2, 12, 3)), r"shape \(1, 2, 12, 3\)"),
        (5.0, "shape"),
        (np.zeros((2, 12, 4)), r"4 variates.*expects 3.*\['ndvi', 'nir', 'red'\]"),
        (INFINITE, "infinite.*sample 3, variate 'red'"),
        (BLANK, "nothing observed.*sample 4, variate 'nir'"),
        (np.zeros((2, 12, 3), dtype=complex), "complex"),
        (torch.zeros(2, 12, 3, dtype=torch.complex64), "complex"),
        (np.zeros((2, 12, 3), dtype=object), "object"),
        (np.full((2, 12, 3), "1.0"), "dtype"),
        (np.zeros((2, 12, 3), dtype=bool), "bool"),
        (np.zeros((2, 12, 3), dtype="datetime64[s]"), "datetime64"),
        ([[[1.0, None, 2.0]] * 12], "object"),
        (np.zeros((0, 12, 3)), "empty"),
        (np.zeros((2, 0, 3)), "empty"),
        ([], "shape"),
        ([np.zeros((12, 3)), np.zeros((12, 2))], r"\(12, 2\), \(12, 3\)"),
        ([np.zeros((12, 3)), np.zeros(12)], r"\(12,\)"),
    ],
)
def test_bad_series_raise_and_say_what_was_found(values: Any, message: str) -> None:
    processor = make_processor(scaling="instance", variate_names=NAMES, image_size=None)
    with pytest.raises(ValueError, match=message):
        processor(values)


def test_a_series_observed_only_before_the_context_raises() -> None:
    values = np.full((1, 20, 3), np.nan)
    values[:, :5] = 1.0
    with pytest.raises(ValueError, match="nothing observed within the last 12 steps"):
        make_processor(scaling="instance")(values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"past_observed_mask": np.ones((6, 11, 3), bool)}, r"past_observed_mask has shape \(6, 11, 3\)"),
        ({"return_tensors": "tf"}, "return_tensors"),
        ({"return_tensors": None}, "return_tensors"),
        ({"labels": [1.0, 2.0]}, "'labels': 2"),
        ({"labels": ["high"] * 6}, "labels has dtype"),
        ({"labels": 1.0}, "labels"),
        ({"static_values": [{"soil": "loam"}] * 6}, "fitted without any"),
    ],
)
def test_bad_arguments_raise(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_processor(image_size=None).fit(make_series())(make_series(), **arguments)


def test_static_values_of_another_count_raise() -> None:
    processor = make_processor(image_size=None).fit(make_series(), static_values=[{"soil": "loam"}] * 6)
    with pytest.raises(ValueError, match="'static_values': 5"):
        processor(make_series(), static_values=[{"soil": "loam"}] * 5)


def test_under_instance_scaling_a_constant_series_has_the_training_datas_spread() -> None:
    values = make_series(gaps=False)
    processor = make_processor(scaling="instance")
    series = values[:1].copy()
    series[0, :, 1] = 7.0
    assert processor(series)["scale"][0, 1] == 1.0  # nothing known yet
    assert processor.fit(values)(series)["scale"][0, 1] == pytest.approx(values[..., 1].std(), rel=1e-6)


def test_config_fields_are_what_the_model_must_share() -> None:
    values = make_series(gaps=False)
    processor = make_processor().fit(
        values, labels=np.arange(len(values), dtype=float), static_values=[{"a": "x"}] * 6
    )
    fields = processor.config_fields()
    assert fields["num_variates"] == values.shape[2] and fields["num_static_features"] == 1
    assert fields["target_mean"] == [2.5] and fields["num_targets"] == 1
    np.testing.assert_allclose(fields["variate_mean"], values.mean(axis=(0, 1)), rtol=1e-6)


def test_config_fields_before_fit_raise() -> None:
    with pytest.raises(ValueError, match="fit"):
        make_processor().config_fields()


def test_nullable_columns_of_a_dataframe_are_missing_values() -> None:
    values = make_series(1, gaps=False)[0]
    frame = pd.DataFrame(values, columns=["a", "b", "c"]).astype("Float64")
    frame.loc[3, "b"] = pd.NA
    values[3, 1] = np.nan
    processor = make_processor(scaling="none")
    torch.testing.assert_close(processor(frame)["variate_values"], processor(values)["variate_values"])


def test_fitting_series_of_very_unequal_lengths_never_pads_them(monkeypatch):
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(20_000, 1)), *(rng.normal(size=(50, 1)) for _ in range(300))]
    read, sizes = reader.read_series, []

    def watched(*args, **kwargs):
        values, observed = read(*args, **kwargs)
        sizes.append(values.size)
        return values, observed

    monkeypatch.setattr(reader, "read_series", watched)
    processor = TimesCLIPProcessor(context_length=36).fit(series)
    everything = np.concatenate(series)
    assert processor.statistics["variates"]["mean"][0] == pytest.approx(everything.mean())
    assert processor.statistics["variates"]["std"][0] == pytest.approx(everything.std())
    assert sum(sizes) == everything.size and max(sizes) == 20_000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaling", ["dataset", "instance", "none"])
def test_a_data_loader_can_pin_all_of_a_batch(dtype: Any, scaling: str) -> None:
    series = np.random.default_rng(0).normal(size=(5, 12, 3)).astype(dtype)
    processor = TimesCLIPProcessor(12, 4, 2, scaling=scaling, image_size=32).fit(series, labels=np.arange(5.0))
    for draw in (True, False):
        for name, tensor in processor(series, labels=np.arange(5.0), draw=draw).items():
            assert tensor.is_contiguous() and 0 not in tensor.stride(), name  # each element has a place of its own
