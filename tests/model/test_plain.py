# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Numbers of NumPy and containers of any library are taken for what they hold."""

import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from timesclip_hf import TimesCLIPConfig, TimesCLIPProcessor
from timesclip_hf.model.plain import plain

NAMES = ["ndvi", "rain"]
KINDS: dict[str, Any] = {
    "tuple": tuple(NAMES),
    "array": np.array(NAMES),
    "objects": np.array(NAMES, object),
    "index": pd.Index(NAMES),
    "series": pd.Series(NAMES, index=[4, 2]),
    "polars": pl.Series(NAMES),
    "pyarrow": pa.array(NAMES),
    "keys": dict.fromkeys(NAMES).keys(),
}


def test_values_become_pythons_own() -> None:
    given = {
        np.int64(1): (np.float32(0.5), np.array([[1, 2]], np.int8)),
        "a": np.array(3),
        "b": None,
        "c": np.bool_(True),
        "d": "text",
        "e": np.str_("n"),
    }
    found = plain(given)
    assert found == {1: [0.5, [[1, 2]]], "a": 3, "b": None, "c": True, "d": "text", "e": "n"}
    assert type(found["e"]) is str and type(found["c"]) is bool and json.dumps(found)
    assert plain(np.float32(0.6)) == 0.6 and plain(np.float64(0.1) * 3) == 0.1 * 3
    assert plain({"x", "y"}) == {"x", "y"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_processor_takes_names_in_any_ordered_container(kind: str, tmp_path: Any) -> None:
    processor = TimesCLIPProcessor(8, 4, 2, variate_names=KINDS[kind], target_names=KINDS[kind])
    assert processor.variate_names == processor.target_names == NAMES and processor.num_variates == 2
    processor.save_pretrained(tmp_path)
    assert TimesCLIPProcessor.from_pretrained(tmp_path).variate_names == NAMES


def test_a_processor_takes_numbers_of_numpy(tmp_path: Any) -> None:
    processor = TimesCLIPProcessor(
        np.int64(8),
        np.int32(4),
        np.uint8(2),
        num_variates=np.int64(2),
        image_size=np.int64(32),
        line_width=np.float32(1.5),
        image_mean=np.full(3, 0.5, np.float32),
        first_step=np.int64(3),
        last_step=np.int16(10),
        missing_values=np.array([-9999, 255]),
    )
    processor.save_pretrained(tmp_path)
    again = TimesCLIPProcessor.from_pretrained(tmp_path)
    assert (again.context_length, again.image_size, again.first_step) == (8, [32, 32], 3)
    assert again.missing_values == [-9999, 255] and again.image_mean == [0.5, 0.5, 0.5]
    assert TimesCLIPProcessor(variate_names=["a"], missing_values={"a": np.array([1])}).missing_values == {"a": [1]}
    assert TimesCLIPProcessor(image_size=np.array([16, 32])).image_size == [16, 32]
    for wrong in ({"context_length": np.float64(8)}, {"variate_names": {"a", "b"}}, {"variate_names": "ab"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TimesCLIPProcessor(**wrong)


def test_a_configuration_takes_numbers_and_arrays_of_numpy(tmp_path: Any) -> None:
    config = TimesCLIPConfig.from_preset(
        "small",
        towers="tiny",
        num_variates=np.int64(2),
        context_length=np.int32(12),
        patch_length=np.int64(4),
        patch_stride=np.int64(2),
        text_dropout=np.float32(0.5),
        head_dropout=(0.3, 0.2, 0.1),
        variate_mean=np.array([1.0, 2.0]),
        variate_std=pd.Series([1.0, 2.0]),
    )
    config.save_pretrained(tmp_path)
    again = TimesCLIPConfig.from_pretrained(tmp_path)
    assert (again.num_variates, again.variate_mean, again.head_dropout) == (2, [1.0, 2.0], [0.3, 0.2, 0.1])
    with pytest.raises(Exception, match="num_variates"):
        TimesCLIPConfig(num_variates=np.float64(2))


@pytest.mark.parametrize(
    "given",
    [
        {"id2label": {np.int64(0): "rye", np.int32(1): "oat"}},
        {"id2label": {1: "oat", 0: "rye"}},
        {"id2label": {"0": "rye", "1": "oat"}},
        {"id2label": ["rye", "oat"]},
        {"id2label": np.array(["rye", "oat"])},
        {"label2id": {"oat": np.int64(1), "rye": np.int64(0)}},
        {"id2label": {0: "rye", 1: "oat"}, "label2id": {"oat": 1, "rye": 0}},
    ],
)
def test_names_of_classes_are_kept_in_both_directions(given: dict[str, Any], tmp_path: Any) -> None:
    TimesCLIPConfig(**given).save_pretrained(tmp_path)
    config = TimesCLIPConfig.from_pretrained(tmp_path)
    assert config.id2label == {0: "rye", 1: "oat"} and config.label2id == {"rye": 0, "oat": 1}
    assert config.num_labels == 2 and list(config.id2label) == [0, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id2label": {1: "a", 5: "b"}}, r"numbers \[1, 5\], expected 0 to 1"),
        ({"label2id": {"a": 1, "b": 2}}, r"numbers \[1, 2\]"),
        ({"id2label": {"x": "a"}}, "dict of them by number"),
        ({"id2label": {0: "a", 1: "b"}, "label2id": {"a": 1, "b": 0}}, "disagree"),
    ],
)
def test_names_of_classes_that_would_be_lost_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TimesCLIPConfig(**given)


def test_static_values_come_in_frames_of_any_library() -> None:
    frame = pd.DataFrame({"soil": ["clay", "loam", "clay"], "height": [1.0, 2.0, 6.0]})
    series = np.random.default_rng(0).normal(size=(3, 8, 2))
    expected = None
    for given in (
        frame,
        frame.to_dict("records"),
        pl.from_pandas(frame),
        pa.Table.from_pandas(frame),
        pd.Series(frame.to_dict("records")),
    ):
        processor = TimesCLIPProcessor(8, 4, 2, image_size=None).fit(series, static_values=given)
        found = processor(series, static_values=given)["static_values"].tolist()
        expected = expected or found
        assert found == expected and processor.num_static_features == 3
    with_nothing = pl.DataFrame({"soil": ["clay", None, "clay"], "height": [1.0, 2.0, 6.0]})
    with pytest.raises(ValueError, match="missing cells in .'soil'"):
        processor(series, static_values=with_nothing)


def test_masks_may_have_nothing_in_some_cells() -> None:
    series = np.arange(8.0).reshape(4, 2)
    processor = TimesCLIPProcessor(4, 2, 1, scaling="none", image_size=None, variate_names=["a", "b"])
    columns = {"a": [True, None, False, True], "b": [True, True, None, None]}
    kinds = (
        pl.DataFrame(columns),
        pa.table(columns),
        pd.DataFrame({name: pd.array(cells, "boolean") for name, cells in columns.items()}),
        pd.DataFrame(columns),
        pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype),
    )
    expected = processor(series, past_observed_mask=np.array([[1, 1], [0, 1], [0, 0], [1, 0]], bool))
    for mask in kinds:
        found = processor(series, past_observed_mask=mask)
        for name in ("patch_values", "patch_mask", "variate_values"):
            assert found[name].tolist() == expected[name].tolist(), name
