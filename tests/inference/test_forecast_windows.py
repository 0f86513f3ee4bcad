# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What a forecaster is judged and explained on: windows of a table, its covariates, several things to forecast."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from series_samples import save_covariate_forecaster
from transformers import pipeline

from timesclip_hf import (
    TimesCLIPForecaster,
    TimesCLIPForPrediction,
    TimesCLIPProcessor,
    explain,
    write_report,
)
from timesclip_hf.cli import main
from timesclip_hf.data.covariates import CovariateRoles, load_covariate_table
from timesclip_hf.inference import report_forecasts
from timesclip_hf.inference.forecast_tables import find_tables
from timesclip_hf.inference.forecast_windows import TableWindows, read_windows, windows_of
from timesclip_hf.inference.report_forecasts import Forecasts

STEPS, CONTEXT, HORIZON = 60, 12, 4
HOSTILE = "</title><img src=x onerror=alert(1)>{{7*7}}"


class Shape:
    """The lengths of a configuration."""

    context_length, prediction_length = CONTEXT, HORIZON


@pytest.fixture(autouse=True)
def few_examples(monkeypatch: Any) -> None:
    """Figures take the time."""
    monkeypatch.setattr(report_forecasts, "_EXAMPLES", 1)
    monkeypatch.setattr(report_forecasts, "_WINDOWS", 12)


def make_table(text: str = "", steps: int = STEPS) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    times = pd.date_range("2024-01-01", periods=steps, freq="h")
    parts = [
        pd.DataFrame(
            {
                f"site{text}": site + text, "ds": times, f"load{text}": rng.normal(50, 5, steps),
                f"gas{text}": rng.normal(3, 1, steps), f"temp{text}": rng.normal(10, 3, steps),
                f"promo{text}": np.resize(["no", "yes", "no"], steps), f"wind{text}": rng.normal(size=steps),
            }
        )
        for site in ("north", "south")
    ]  # fmt: skip
    return pd.concat(parts)


def test_what_is_judged_changes_nothing_of_what_was_learnt(monkeypatch: Any) -> None:
    hours, days = (pd.DataFrame({"ds": pd.date_range("2024", periods=60, freq=f), "y": 1.0}) for f in ("h", "D"))
    forecaster, tables = TimesCLIPForecaster(), find_tables(hours)
    tables.to_learn(hours)
    forecaster.tables = tables
    read_windows(days, Shape, 3, tables)
    monkeypatch.setattr("timesclip_hf.inference.backtest.run_backtest", lambda df, own, *how: own.to_learn(df))
    forecaster.cross_validation(days)
    assert tables.seconds == 3600


def save(folder: Path, tiny_config: Any, enlarge: Any, text: str = "", targets: int = 1) -> Path:
    """A forecaster of random weights that reads the temperature and a promotion in advance, wind, and the hour."""
    wanted = [f"load{text}", f"gas{text}"][:targets]
    known = [f"temp{text}", f"promo{text}"]
    roles = CovariateRoles(wanted, known, [f"wind{text}"], [], ["hour"])
    series = load_covariate_table(make_table(text), roles, timestamp_column="ds", series_column=f"site{text}")
    shape = {"prediction_length": HORIZON, "num_target_variates": targets, "num_variates": targets + 2}
    return save_covariate_forecaster(folder, series, tiny_config("forecast", **shape), enlarge)


@pytest.fixture
def folder(tiny_config: Any, enlarge: Any, tmp_path: Path) -> Path:
    return save(tmp_path / "model", tiny_config, enlarge)


def loaded(folder: Path) -> tuple[Any, TimesCLIPProcessor]:
    return TimesCLIPForPrediction.from_pretrained(folder).eval(), TimesCLIPProcessor.from_pretrained(folder)


def test_windows_begin_in_the_last_fifth_and_of_short_series_at_their_last_one() -> None:
    lengths = {"long": 100, "short": 18, "tiny": 9}
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": name, "ds": pd.date_range("2024-01-01", periods=n), "y": np.arange(float(n))})
            for name, n in lengths.items()
        ]
    )
    found = read_windows(frame, Shape, 1000, find_tables(frame))
    begins = {name: [one["labels"][0, 0] for one, own in zip(found.samples, found.series, strict=True) if own == name]
              for name in lengths}  # fmt: skip
    assert begins == {"long": list(range(80, 97)), "short": [14.0], "tiny": [5.0]}
    first = found.samples[0]
    assert np.array_equal(first["past_values"][:, 0], np.arange(68.0, 80)) and found.times[0][:10] == "2024-03-21"
    assert np.isnan(found.samples[-1]["past_values"][:7]).all()  # before the beginning of the shortest
    assert found.titles[0] == "long from 2024-03-21 00:00" and found.count == 3
    few = read_windows(frame, Shape, 3, find_tables(frame))
    assert [one["labels"][0, 0] for one in few.samples] == [80.0, 89.0, 5.0]  # of 19, the first, the middle, the last
    with pytest.raises(ValueError, match=r"no series of the table has a window of 12 \+ 4 steps"):
        read_windows(frame.assign(y=np.nan).groupby("unique_id").head(4), Shape, 3, find_tables(frame))


def test_rows_are_steps_where_no_column_tells_times(folder: Path) -> None:
    model, processor = loaded(folder)
    processor.calendar, table = None, make_table().drop(columns="ds")
    processor.statistics["future"] = processor.statistics["future"][:2]
    found = windows_of("nowhere", processor, model.config, table, 5, series_column="site")
    assert found.titles[0] == "north window 1" and len(found) == 5
    assert np.array_equal(found.samples[0]["labels"][:, 0], table["load"].to_numpy()[48:52])


def test_attributions_of_covariates_add_up_with_the_others(folder: Path) -> None:
    model, processor = loaded(folder)
    windows = windows_of(
        str(folder), processor, model.config, make_table(), 4, timestamp_column="ds", series_column="site"
    )
    found = explain(model, processor, windows.samples, methods=["gradients"])
    change = found.samples["prediction"] - found.samples["baseline"]
    np.testing.assert_allclose(found.samples["attributed"], change, rtol=0.01, atol=1e-6)
    np.testing.assert_allclose(found.attributions.groupby("sample")["attribution"].sum(), change, rtol=0.01)
    known = found.attributions[found.attributions["path"] == "future"]
    assert list(dict.fromkeys(known["variate"])) == ["temp", "promo", "calendar hour"]
    assert known["step"].min() == 1 - CONTEXT and known["step"].max() == HORIZON
    raw = known[(known["sample"] == 0) & (known["variate"] == "temp")].set_index("step")["value"]
    expected = make_table()["temp"].to_numpy()[48 - CONTEXT : 48 + HORIZON]
    np.testing.assert_allclose(raw.to_numpy(float), expected, rtol=1e-5)
    assert known[known["variate"] == "promo"]["value"].isna().all()
    assert {"importance_gradients", "sample_0"} <= set(found.figures())
    assert set(found.top("future")["variate"]) == {"temp", "promo", "calendar hour"}


def test_a_covariate_is_taken_from_another_window_in_the_steps_to_come(folder: Path) -> None:
    model, processor = loaded(folder)
    keys: dict[str, Any] = {"timestamp_column": "ds", "series_column": "site"}
    pair = windows_of(str(folder), processor, model.config, make_table(), 2, **keys).samples
    found = explain(model, processor, pair, methods=["removal"], repeats=1)
    forecast = pipeline("time-series-forecasting", model=str(folder))

    def said(samples: list[dict[str, Any]]) -> np.ndarray:
        return np.stack([one["predictions"][:, 0] for one in forecast(samples)])

    truth = np.stack([one["labels"][:, 0] for one in pair])
    before = np.abs(said([{n: v for n, v in one.items() if n != "labels"} for one in pair]) - truth).mean(axis=1)

    def lost(columns: list[int], rows: slice) -> float:
        swapped = [{n: v for n, v in one.items() if n != "labels"} for one in pair]
        for one, other in zip(swapped, pair[::-1], strict=True):
            one["future_values"] = one["future_values"].copy()
            one["future_values"][rows, columns] = other["future_values"][rows, columns]
        return float((np.abs(said(swapped) - truth).mean(axis=1) - before).mean())

    rows = found.top("future").set_index("variate")
    assert rows.loc["temp", "importance"] == pytest.approx(lost([0], slice(CONTEXT, None)), rel=1e-3, abs=1e-4)
    assert (rows.loc["temp", "first_step"], rows.loc["temp", "last_step"]) == (1, HORIZON)
    every = slice(None)  # of what is no variate, the steps before, too
    assert rows.loc["promo", "importance"] == pytest.approx(lost([1], every), rel=1e-3, abs=1e-4)
    assert rows.loc["calendar hour", "importance"] == pytest.approx(_both(lost), rel=1e-3, abs=1e-4)
    assert rows.loc["promo", "first_step"] == 1 - CONTEXT


def _both(lost: Any) -> float:
    """Of two columns at once, which slices and lists together do not say."""
    return float(lost(np.array([2, 3]), slice(None)))


def test_the_next_forecast_of_each_series_is_explained_from_a_table_and_its_future(folder: Path) -> None:
    model, processor = loaded(folder)
    whole = make_table(steps=STEPS + HORIZON)
    ahead = whole.groupby("site").cumcount() >= STEPS
    keys: dict[str, Any] = {"timestamp_column": "ds", "series_column": "site"}
    known = whole[ahead][["site", "ds", "temp", "promo"]]
    past = whole[~ahead].drop(columns="gas")
    found = explain(model, processor, past, methods=["removal"], future=known, repeats=1, **keys)
    forecast = pipeline("time-series-forecasting", model=str(folder))(past, future=known, **keys)
    means = forecast.groupby("site")["load"].mean()
    np.testing.assert_allclose(found.samples["prediction"], means, rtol=1e-4)
    assert found.measures["removal"].startswith("mean change of the answer")  # nothing says what will come


def test_what_lacks_of_covariates_is_said(folder: Path) -> None:
    model, processor = loaded(folder)
    with pytest.raises(ValueError, match=r"needs the covariates \['temp', 'promo', 'hour_sin', 'hour_cos'\]"):
        explain(model, processor, np.zeros((3, CONTEXT, 3)) + np.arange(CONTEXT)[:, None])


def test_what_costs_nothing_repeats_the_last_season_where_the_context_holds_one() -> None:
    past, truth = np.array([[1.0, 10, np.nan, 20, 3, 30]]), np.array([[0.0, 0, 0]])
    windows = TableWindows([{}], [""], [""], 1, season=2)
    parts: dict[str, Any] = {"past": past.T[None], "truth": truth.T[None], "said": truth.T[None], "ends": None}
    found = Forecasts(windows=windows, spread=np.ones(1), names=["y"], **parts)
    assert found.naive[0, :, 0].tolist() == [3.0, 30.0, 3.0] and found.naive_name == "repeating the last 2 steps"
    found.windows = dataclasses.replace(windows, season=4)
    assert found.naive[0, :, 0].tolist() == [30.0, 20.0, 3.0]  # the first is missing a season ago
    found.windows = dataclasses.replace(windows, season=7)
    assert found.naive[0, :, 0].tolist() == [30.0] * 3 and found.naive_name == "repeating the last value"


def text_of(page: str) -> str:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(page)
    return " ".join(" ".join(found).split())


def test_a_forecaster_with_covariates_has_a_page_and_the_command_explains_it(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    make_table().to_csv(tmp_path / "loads.csv", index=False)
    keys = ["--timestamp-column", "ds", "--series-column", "site"]
    table, out = str(tmp_path / "loads.csv"), tmp_path / "why"
    words = ["report", str(folder), "--table", table, "--output", str(tmp_path / "r.html"), "--explained", "2", *keys]
    assert main(words) == 0
    told = text_of((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "temp, steps 1 to 4" in told and "promo, steps -11 to 4" in told
    assert "known in advance temp, promo, calendar hour" in told
    assert "stood here as they came to be" in told and "12 windows of the last fifth" in told
    capsys.readouterr()
    words = ["explain", table, "--model", str(folder), "--output", str(out), "--methods", "removal", "--rows", "4"]
    assert main([*words, *keys]) == 0
    assert "covariates known in advance, mean rise of the error" in capsys.readouterr().out
    assert pd.read_csv(out / "samples.csv")["forecast"][0] == "north from 2024-01-03 00:00"
    assert main([*words, *keys, "--group", "promo"]) == 2
    assert (
        "parts are exchanged within windows of one series at most, whose column is 'site'" in capsys.readouterr().err
    )


def test_each_of_several_things_to_forecast_has_its_reasons_whatever_it_is_called(
    tiny_config: Any, enlarge: Any, tmp_path: Path
) -> None:
    folder = save(tmp_path / "model", tiny_config, enlarge, HOSTILE, targets=2)
    keys = {"timestamp_column": "ds", "series_column": f"site{HOSTILE}"}
    page = write_report(folder, make_table(HOSTILE), tmp_path / "r.html", explained=4, **keys).read_text()
    assert "<img" not in page and HOSTILE in text_of(page) and "{{7*7}}" in text_of(page)
    reasons = page[page.index('id="why"') : page.index('id="samples"')]
    assert re.search(rf"Typical errors: load{re.escape(HOSTILE)} [\d.]+, gas", text_of(page))
    assert [text_of(found) for found in re.findall("<h3>(.*?)</h3>", reasons)] == [f"load{HOSTILE}", f"gas{HOSTILE}"]


def test_a_folder_that_a_forecaster_saved_knows_its_columns(tmp_path: Path) -> None:
    table = make_table()[["site", "ds", "load", "temp"]].rename(columns={"site": "unique_id", "load": "y"})
    small = {"config": {"projection_dim": 16}, "epochs": 1}
    forecaster = TimesCLIPForecaster(**small).fit(  # type: ignore[arg-type]
        table, horizon=HORIZON, context_length=CONTEXT, future_covariates=["temp"], quantile_levels=[0.1, 0.5, 0.9]
    )
    forecaster.save(tmp_path / "model")
    page = text_of(write_report(tmp_path / "model", table, tmp_path / "r.html", explained=2).read_text())
    assert "temp, steps 1 to 4" in page and re.search(r"\d\d% intervals held \d+% of 48 values", page)
    again = TimesCLIPForecaster.load(tmp_path / "model").explain(table, methods=["removal"], max_samples=6, repeats=1)
    first = forecaster.explain(methods=["removal"], max_samples=6, repeats=1)
    pd.testing.assert_frame_equal(again.importance, first.importance)
    assert list(first.top("future")["variate"]) == ["temp"] and first.target == "y"
