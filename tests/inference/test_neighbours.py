# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`similar=` of the pipelines and of `timesclip predict`: how like the training series a series is."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import pipeline

import timesclip_hf  # noqa: F401, registers the pipelines
from timesclip_hf import (
    ForecastWindows,
    SimilarSeries,
    TimesCLIPForClassification,
    TimesCLIPForecaster,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    write_report,
)
from timesclip_hf.cli import main
from timesclip_hf.features.similar import read_blocks
from timesclip_hf.model.remote_code import pushed_files

TRAIN = np.random.default_rng(0).normal(size=(40, 12, 3)) * [0.1, 30.0, 500.0] + [0.5, 100.0, 3000.0]
STRANGE = TRAIN[:2] * [1, 1, -1] + [1.0, 0, 0]
NAMES = ["ndvi", "rain", "nir"]


def wide(series: np.ndarray) -> pd.DataFrame:
    columns = {f"{n}_{t:02d}": series[:, t, v] for v, n in enumerate(NAMES) for t in range(12)}
    return pd.DataFrame({"field": [f"f{k}" for k in range(len(series))], **columns})


@pytest.fixture
def saved(tiny_config: Any, tmp_path: Path) -> Any:
    def build(model_class: Any = TimesCLIPForRegression, preset: str = "full", **fields: Any) -> Path:
        torch.manual_seed(0)
        config = tiny_config(preset, **fields)
        processor = TimesCLIPProcessor.from_config(config, variate_names=NAMES).fit(TRAIN)
        model = model_class(processor.complete_config(config))
        rows = [{"past_values": values} for values in TRAIN]
        found = SimilarSeries.fit(model, processor, rows, names=[f"training field {k}" for k in range(40)])
        model.save_pretrained(tmp_path / "model"), processor.save_pretrained(tmp_path / "model")
        found.save(tmp_path / "model")
        return tmp_path / "model"

    return build


def test_tables_get_columns_and_a_warning_and_lists_the_same(saved: Any) -> None:
    folder = saved()
    predict = pipeline("time-series-regression", model=str(folder))
    series = np.concatenate([TRAIN[:3], STRANGE])
    plain = predict(wide(series))
    with pytest.warns(UserWarning, match="2 of 5 series are unusual: farther from all training series"):
        table = predict(wide(series), similar=2)
    pd.testing.assert_frame_equal(table[plain.columns], plain)
    assert list(table.columns[-4:]) == ["distance", "unusual", "nearest_1", "nearest_2"]
    assert table["unusual"].tolist() == [False] * 3 + [True] * 2
    assert table["nearest_1"].tolist()[:3] == [f"training field {k}" for k in range(3)]
    kept = SimilarSeries.load(folder)
    model = TimesCLIPForRegression.from_pretrained(folder)
    expected, _ = kept.nearest(read_blocks(model, predict.processor, [{"past_values": values} for values in series]))
    np.testing.assert_allclose(table["distance"], expected[:, 0], atol=1e-3)  # asked in one go with the prediction
    with pytest.warns(UserWarning, match="unusual"):
        listed = predict(list(series), similar=True)
    assert [one["unusual"] for one in listed] == table["unusual"].tolist() and "nearest_1" not in listed[0]


def test_rows_that_are_left_out_stay_empty_and_batches_do_not_count(saved: Any) -> None:
    predict = pipeline("time-series-regression", model=str(saved(preset="small")))
    frame = wide(TRAIN[:4])
    frame.loc[1, [c for c in frame if c.startswith("rain")]] = np.nan
    with pytest.warns(UserWarning, match="rain"):
        table = predict(frame, similar=True, batch_size=2)
    assert np.isnan(table["distance"][1]) and table["distance"].drop(1).notna().all()
    with pytest.raises(ValueError, match="the table already has a column 'unusual'"):
        predict(wide(TRAIN[:4]).assign(unusual=1), similar=True)
    with pytest.raises(ValueError, match=r"similar=0: expected True, or how many neighbours"):
        predict(wide(TRAIN[:4]), similar=0)


def test_classes_and_forecasts_have_it_too_and_embeds_do_not(saved: Any, tmp_path: Path) -> None:
    folder = saved(TimesCLIPForClassification, "small", id2label={0: "a", 1: "b"})
    first = pipeline("time-series-classification", model=str(folder))(TRAIN[:1], similar=1, top_k=2)[0]
    assert first[0]["nearest_1"] == "training field 0" and "distance" not in first[1]
    with pytest.raises(TypeError, match="takes no 'similar'"):
        pipeline("time-series-feature-extraction", model=str(folder))(TRAIN[:1], similar=True)
    folder = saved(TimesCLIPForPrediction, "forecast", prediction_length=4)
    forecast = pipeline("time-series-forecasting", model=str(folder))
    table = forecast(pd.DataFrame(TRAIN[5], columns=NAMES), similar=1)
    assert len(table) == 4 and table["nearest_1"].tolist() == ["training field 5"] * 4


def test_the_command_tells_it_unasked_and_a_push_takes_it_along(saved: Any, tmp_path: Path, capsys: Any) -> None:
    folder = saved()
    wide(np.concatenate([TRAIN[:2], STRANGE])).to_csv(tmp_path / "new.csv", index=False)
    words = ["predict", str(tmp_path / "new.csv"), "--model", str(folder), "--output", str(tmp_path / "out.csv")]
    assert main(words) == 0
    assert "2 of 4 series are unusual" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "out.csv")["unusual"].tolist() == [False, False, True, True]
    assert main([*words, "--similar", "1"]) == 0
    assert pd.read_csv(tmp_path / "out.csv")["nearest_1"][1] == "training field 1"
    assert main([*words, "--no-similar"]) == 0
    assert "unusual" not in pd.read_csv(tmp_path / "out.csv")
    wide(TRAIN[:2]).assign(distance=[1.5, 2.5]).to_csv(tmp_path / "new.csv", index=False)  # to a road, say
    wide(TRAIN[:2]).assign(distance=[1.5, 2.5]).to_parquet(tmp_path / "new.parquet")
    for kind in ("csv", "parquet"):
        assert main([word.replace(".csv", f".{kind}") for word in words]) == 0
        assert "has a column 'distance' of its own, so how like the training" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "out.csv")["distance"].tolist() == [1.5, 2.5]
    assert pd.read_parquet(tmp_path / "out.parquet")["distance"].tolist() == [1.5, 2.5]
    assert main([*words, "--similar"]) == 2 and "rename or drop it" in capsys.readouterr().err
    assert "similar.safetensors" in {file.name for file in pushed_files(folder)}
    (folder / "similar.safetensors").unlink()
    assert main(words) == 0 and "unusual" not in pd.read_csv(tmp_path / "out.csv")
    capsys.readouterr()
    assert main([*words, "--similar"]) == 2
    assert "no similar.safetensors lies beside" in capsys.readouterr().err


def test_forecasters_keep_windows_and_tell_series_whose_newest_steps_are_unlike_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=120)
    frame = pd.concat(
        [
            pd.DataFrame(
                {"unique_id": name, "ds": days, "y": level + np.sin(np.arange(120) / 3) + rng.normal(0, 0.1, 120)}
            )
            for name, level in (("a", 10.0), ("b", 20.0))
        ]
    )
    forecaster = TimesCLIPForecaster(epochs=1).fit(frame, horizon=4, context_length=12)
    forecaster.save(tmp_path / "model")
    assert "similar.safetensors holds readings of" in (tmp_path / "model" / "README.md").read_text()
    again = TimesCLIPForecaster.load(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = again.predict(frame)
    late = (frame["unique_id"] == "b") & (frame["ds"] >= days[-12])
    strange = frame.assign(y=frame["y"].where(~late, frame["y"] + 40 * (frame["ds"].dt.day % 2)))
    with pytest.warns(UserWarning, match=r"1 of 2 series are unusual \(b\): their newest steps are farther"):
        again.predict(strange)
    page = write_report(tmp_path / "model", strange, tmp_path / "r.html", explained=0).read_text(encoding="utf-8")
    assert re.search(r"\d+ of \d+ windows are unusual: .* Typical error there: [\d.]+; elsewhere: [\d.]+\.", page)
    again.save(tmp_path / "again")  # what was loaded stays
    assert SimilarSeries.load(tmp_path / "again").points.shape == SimilarSeries.load(tmp_path / "model").points.shape
    quiet = TimesCLIPForecaster.load(tmp_path / "model", similar=False)
    quiet.save(tmp_path / "model")
    assert SimilarSeries.load(tmp_path / "model") is None
    pd.testing.assert_frame_equal(TimesCLIPForecaster.load(tmp_path / "model").predict(frame), plain)


def test_windows_that_share_steps_are_no_neighbours_of_each_other(tiny_config: Any) -> None:
    series = np.random.default_rng(0).normal(size=(90, 3)).cumsum(axis=0)
    windows = ForecastWindows([series], context_length=12, prediction_length=4)
    config = tiny_config("forecast", prediction_length=4)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance").fit([series])
    model = TimesCLIPForPrediction(processor.complete_config(config))
    steps = range(len(windows))
    apart = SimilarSeries.fit_windows(model, processor, windows, [0] * len(windows), steps)
    plain = SimilarSeries.fit(model, processor, windows)
    assert apart.spacing.mean() > 1.2 * plain.spacing.mean()
    others = SimilarSeries.fit_windows(model, processor, windows, steps, [0] * len(windows))  # each of another series
    np.testing.assert_allclose(others.spacing, plain.spacing, rtol=1e-4)
    assert SimilarSeries.fit_windows(model, processor, [windows[k] for k in range(9)], [0] * 9, range(9)) is None


def test_plots_that_only_taught_a_forecaster_are_not_drawn_for_it(tiny_config: Any, monkeypatch: Any) -> None:
    series = np.random.default_rng(0).normal(size=(60, 3)).cumsum(axis=0)
    windows = ForecastWindows([series], context_length=12, prediction_length=4)
    config = tiny_config("paper", prediction_length=4)
    processor = TimesCLIPProcessor.from_config(config, scaling="instance").fit([series])
    model = TimesCLIPForPrediction(processor.complete_config(config)).eval()
    assert model.timesclip.vision_tower is not None and "pixel_values" not in model.answer_inputs(model.config)
    monkeypatch.setattr(TimesCLIPProcessor, "draw", None)
    found = read_blocks(model, processor, windows)
    with torch.no_grad():
        said = model(
            **{k: v for k, v in processor(windows[2]["past_values"], draw=False).items() if k != "plot_values"}
        )
    np.testing.assert_allclose(found["towers"][2], said.text_features.flatten().numpy(), rtol=1e-4, atol=1e-5)
