# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip`: files in, files out, errors in one line."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from transformers import pipeline

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForClassification,
    TimesCLIPForPrediction,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    lora_config,
)
from timesclip_hf.cli import main

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
NAMES = ["nir", "red", "evi"]
STEPS, COUNT = 12, 5
SERIES = np.random.default_rng(0).normal(size=(COUNT, STEPS, 3)).round(3)


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """A row per series."""
    table: dict[str, Any] = {"field": [f"f{i}" for i in range(COUNT)], "year": 2020 + np.arange(COUNT)}
    table |= {f"{name}_{step:02d}": SERIES[:, step, v] for v, name in enumerate(NAMES) for step in range(STEPS)}
    pd.DataFrame(table).to_csv(tmp_path / "fields.csv", index=False)
    return tmp_path / "fields.csv"


@pytest.fixture
def sensors(tmp_path: Path) -> Path:
    """A row per time step, two series."""
    parts = [
        pd.DataFrame(SERIES[i], columns=NAMES).assign(site=f"s{i}", time=pd.date_range("2024-01-30", periods=STEPS))
        for i in range(2)
    ]
    pd.concat(parts).to_csv(tmp_path / "sensors.csv", index=False)
    return tmp_path / "sensors.csv"


@pytest.fixture
def save(tiny_config: Any, tmp_path: Path) -> Any:
    """`save(model_class, preset="full", target_names=None, **config)`: the folder of model and processor."""

    def make(model_class: Any, preset: str = "full", target_names: list[str] | None = None, **config: Any) -> str:
        names = {"variate_names": NAMES, "target_names": target_names}
        processor = TimesCLIPProcessor.from_config(tiny_config(preset), **names).fit(SERIES)
        folder = tmp_path / "model"
        model_class(processor.complete_config(tiny_config(preset, **config))).save_pretrained(folder)
        processor.save_pretrained(folder)
        return str(folder)

    return make


def test_numbers_stand_beside_the_tables_own_columns(
    save: Any, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = save(TimesCLIPForRegression, target_names=["yield"])
    capsys.readouterr()
    assert main(["predict", str(fields), "--model", model, "--output", str(tmp_path / "p.csv")]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"5 rows written to {tmp_path / 'p.csv'}\n" and captured.err == ""
    result = pd.read_csv(tmp_path / "p.csv")
    assert list(result.columns) == ["field", "year", "predicted_yield"]
    expected = [answer["yield"] for answer in pipeline("time-series-regression", model=model)(SERIES)]
    np.testing.assert_allclose(result["predicted_yield"], expected, rtol=1e-4)


def test_the_model_says_which_task_it_is_for(save: Any, fields: Path, sensors: Path, tmp_path: Path) -> None:
    model = save(TimesCLIPForClassification, id2label={0: "low", 1: "high"})
    assert main(["predict", str(fields), "--model", model, "--output", str(tmp_path / "p.parquet")]) == 0
    result = pd.read_parquet(tmp_path / "p.parquet")
    assert list(result.columns) == ["field", "year", "predicted_label", "score"]
    assert set(result["predicted_label"]) <= {"low", "high"}

    model = save(TimesCLIPForPrediction, "forecast", prediction_length=3)
    options = ["--timestamp-column", "time", "--series-column", "site", "--batch-size", "1", "--device", "cpu"]
    assert main(["predict", str(sensors), "--model", model, "--output", str(tmp_path / "f.csv"), *options]) == 0
    forecast = pd.read_csv(tmp_path / "f.csv")
    assert list(forecast.columns) == ["site", "time", *NAMES]
    assert forecast["time"].tolist() == ["2024-02-11", "2024-02-12", "2024-02-13"] * 2


def test_without_output_the_table_is_printed(save: Any, fields: Path, capsys: pytest.CaptureFixture) -> None:
    model = save(TimesCLIPForRegression)
    capsys.readouterr()
    assert main(["predict", str(fields), "--model", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "field,year,prediction" and len(lines) == COUNT + 1


def test_whoever_reads_the_output_may_stop_reading(save: Any, fields: Path) -> None:
    model = save(TimesCLIPForRegression, "text_only")
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` does in the end
    words = [sys.executable, "-m", "timesclip_hf", "predict", str(fields), "--model", model]
    finished = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writer)
    assert finished.returncode == 0 and "roken" not in finished.stderr


def test_an_adapters_folder_is_a_model(save: Any, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    peft = pytest.importorskip("peft")
    base = TimesCLIPForRegression.from_pretrained(save(TimesCLIPForRegression, target_names=["yield"]))
    folder = tmp_path / "adapter"
    peft.get_peft_model(base, lora_config(base)).save_pretrained(folder)
    TimesCLIPProcessor.from_pretrained(tmp_path / "model").save_pretrained(folder)
    assert main(["render", str(fields), "--model", str(folder), "--output", str(tmp_path / "seen.png")]) == 0
    code = main(["predict", str(fields), "--model", str(folder), "--output", str(tmp_path / "p.csv")])
    if "Old versions of transformers leave out modules_to_save" in (errors := capsys.readouterr().err):
        pytest.skip("this version of transformers does not restore modules_to_save; the model said so")
    assert code == 0, errors
    assert "predicted_yield" in pd.read_csv(tmp_path / "p.csv")


def test_render_draws_what_the_model_sees(save: Any, fields: Path, tmp_path: Path) -> None:
    model = save(TimesCLIPForRegression)
    sizes = {}
    for rows in (1, 2):
        output = tmp_path / f"{rows}.png"
        assert main(["render", str(fields), "--model", model, "--rows", str(rows), "--output", str(output)]) == 0
        with Image.open(output) as picture:
            sizes[rows] = picture.size
    assert sizes[1][0] == sizes[2][0] and sizes[1][1] < sizes[2][1]  # three plots wide, a row for each series


def test_a_picture_has_room_for_every_pixel_that_the_model_sees(save: Any, fields: Path, tmp_path: Path) -> None:
    model = save(TimesCLIPForRegression)
    processor, config = TimesCLIPProcessor.from_pretrained(model), TimesCLIPConfig.from_pretrained(model)
    processor.image_size = config.vision_config.image_size = [300, 500]
    processor.save_pretrained(model)
    config.save_pretrained(model)
    assert main(["render", str(fields), "--model", model, "--output", str(tmp_path / "x.png")]) == 0
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size[0] >= 3 * 500  # three plots beside each other


def test_render_needs_no_model(fields: Path, sensors: Path, tmp_path: Path) -> None:
    long = ["--timestamp-column", "time", "--series-column", "site"]
    short, values = tmp_path / "short.csv", tmp_path / "values.csv"
    wide = pd.DataFrame({"field": ["a", "b"]} | {f"{n}_0{s}": [s, s * s] for n in ("x", "y") for s in range(4)})
    wide.to_csv(short, index=False)
    cells = wide.melt("field")
    cells[["band", "step"]] = cells.pop("variable").str.split("_", expand=True)
    cells.to_csv(values, index=False)
    named = [
        "--series-column",
        "field",
        "--timestamp-column",
        "step",
        "--variate-column",
        "band",
        "--value-column",
        "value",
    ]
    for table, options in ((fields, []), (sensors, long), (short, []), (values, named)):
        output = tmp_path / f"{table.stem}.png"
        assert main(["render", str(table), "--output", str(output), *options]) == 0
        with Image.open(output) as picture:
            colors = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(colors, axis=0)) > 10  # lines of three colours on white


def test_columns_may_have_names_of_their_own(
    save: Any, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = save(TimesCLIPForRegression)
    expected = pipeline("time-series-regression", model=model)(pd.read_csv(fields))["prediction"]
    table = pd.read_csv(fields).rename(columns=lambda name: re.sub(r"_(\d+)$", lambda m: f".{int(m[1])}", name))
    table.to_csv(fields, index=False)
    capsys.readouterr()
    assert main(["predict", str(fields), "--model", model]) == 2
    assert "pass --column-pattern='dots'" in capsys.readouterr().err
    options = ["--column-pattern", "dots", "--output"]
    assert main(["predict", str(fields), "--model", model, *options, str(tmp_path / "p.csv")]) == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")["prediction"], expected, rtol=1e-5)
    assert main(["render", str(fields), *options, str(tmp_path / "p.png")]) == 0


def test_excel_files_and_decimal_commas_are_read_and_excel_files_written(
    save: Any, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    model = save(TimesCLIPForRegression)
    table = pd.read_csv(fields).assign(field=["=1+1", "+x", "-5", "f3", None])
    expected = pipeline("time-series-regression", model=model)(table)["prediction"]
    table.to_csv(tmp_path / "comma.csv", index=False, sep=";", decimal=",")
    table.to_excel(tmp_path / "table.xlsx", index=False)
    book = openpyxl.load_workbook(tmp_path / "table.xlsx")
    book.active["A2"].data_type = "s"  # pandas writes text as a formula
    book.save(tmp_path / "table.xlsx")
    capsys.readouterr()
    for name in ("comma.csv", "table.xlsx"):
        words = ["predict", str(tmp_path / name), "--model", model, "--output", str(tmp_path / "p.xlsx")]
        assert main(words) == 0, capsys.readouterr().err
        found = pd.read_excel(tmp_path / "p.xlsx")
        np.testing.assert_allclose(found["prediction"], expected, rtol=1e-6)
        assert found["year"].tolist() == table["year"].tolist()
    sheet = openpyxl.load_workbook(tmp_path / "p.xlsx").active
    assert [sheet.cell(row, 1).value for row in range(1, 7)] == ["field", "=1+1", "+x", "-5", "f3", None]
    assert {sheet.cell(row, 1).data_type for row in range(1, 6)} == {"s"}  # text, not formulas


@pytest.mark.parametrize("safe", [True, False])
def test_text_of_the_table_and_of_the_model_is_no_formula_in_the_predictions(
    save: Any, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture, safe: bool
) -> None:
    names = ["=1+1", "-5", "+x", "a\r=2", "f4"]
    table = pd.read_csv(fields).assign(field=names, year=-1).rename(columns={"year": "@year"})
    table.to_csv(fields, index=False, quoting=csv.QUOTE_NONNUMERIC)
    model = save(TimesCLIPForClassification, id2label={0: "=low", 1: "=high"})
    capsys.readouterr()
    options = ["--model", model, "--output", str(tmp_path / "p.csv"), *([] if safe else ["--no-safe-csv"])]
    assert main(["predict", str(fields), *options]) == 0
    errors = capsys.readouterr().err
    with (tmp_path / "p.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["field", "'@year" if safe else "@year"]
    assert [row[0] for row in rows] == (["'=1+1", "-5", "'+x", "a\r=2", "f4"] if safe else names)
    assert {row[1] for row in rows} == {"-1"} and {row[2] for row in rows} <= {"=low", "=high", "'=low", "'=high"}
    assert all(row[2].startswith("'=" if safe else "=") for row in rows)
    assert ("8 cells or column names begin as formulas do" in errors) is safe and errors.count("\n") == safe


def test_what_a_terminal_would_obey_is_shown(
    save: Any, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save(TimesCLIPForRegression)
    evil = tmp_path / "\x1b]0;owned\x07.csv"
    table = pd.read_csv(fields)
    table.assign(field="\x1b[2J").to_csv(evil, index=False)
    capsys.readouterr()
    assert main(["predict", str(evil), "--model", model]) == 0
    assert "\x1b[2J" in capsys.readouterr().out  # what is piped on is data
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["predict", str(evil), "--model", model]) == 0
    shown = capsys.readouterr().out
    assert "\\x1b[2J" in shown and "\x1b" not in shown and len(shown.splitlines()) == COUNT + 1

    assert main(["predict", str(evil), "--model", model, "--output", str(evil) + ".csv"]) == 0
    table.rename(columns={"nir_00": "n\x1b[31mir_00", "nir_01": "\x07nir_01"}).to_csv(evil, index=False)
    assert main(["predict", str(evil), "--model", model]) == 2
    assert main(["predict", str(tmp_path / "\x1b[1m\udcff.csv"), "--model", model]) == 2
    with pytest.raises(SystemExit):
        main(["predict", str(evil), "--model", model, "--\x1b[5m"])
    captured = capsys.readouterr()
    assert "\\x1b]0;owned" in captured.out and captured.err.count("error: ") == 3
    assert not set("\x1b\x07\udcff") & set(captured.out + captured.err)


def _without_column(path: Path) -> None:
    pd.read_csv(path).filter(regex="^(?!red)").to_csv(path, index=False)


def _with_text(path: Path) -> None:
    pd.read_csv(path).astype({"nir_02": object}).assign(nir_02="n/k").to_csv(path, index=False)


def _emptied(path: Path) -> None:
    path.write_text("")


def _with_uneven_semicolons(path: Path) -> None:
    pd.read_csv(path).to_csv(path, index=False, sep=";", decimal=",")
    path.write_text(path.read_text() + "f9;2021\n")


def _in_latin_letters(path: Path) -> None:
    pd.read_csv(path).assign(field="Müller").to_csv(path, index=False, encoding="cp1252")


def _header_only(path: Path) -> None:
    path.write_text(path.read_text().splitlines()[0] + "\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_column, "missing variates: 'red'"),
        (_with_text, "non-numeric cells in column 'nir_02'"),
        (_emptied, "the table is empty"),
        (_header_only, "the table is empty"),
        (_with_uneven_semicolons, "separated by ';', but not equally many"),
        (_in_latin_letters, "not UTF-8 text"),
        (Path.unlink, "no such file"),
    ],
)
def test_faults_of_a_table_are_one_line_and_exit_code_2(
    save: Any, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture, change: Any, message: str
) -> None:
    model = save(TimesCLIPForRegression)
    change(fields)
    capsys.readouterr()
    assert main(["predict", str(fields), "--model", model, "--output", str(tmp_path / "p.csv")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and errors.startswith("timesclip predict: error: ") and message in errors
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "runs/no_such_model"], "no such folder, nor a model on the Hub"),
        (["--model", "/no/such/folder"], "no such folder, nor a model on the Hub"),
        (["--model", "{folder}"], "this folder holds no model"),
        (["--model", "x", "--output", "nowhere/p.csv"], "there is no folder nowhere"),
        (["--model", "x", "--output", "p.ods"], "must end in .csv, .xlsx or .parquet"),
        (["--model", "x", "--output", "{folder}/fields.csv"], "this is your table"),
        (["--model", "x", "--device", "gpu"], "--device gpu cannot be used here"),
        (["--model", "x", "--batch-size", "0"], "'0' is no whole number above 0"),
        ([], "the following arguments are required: --model"),
        (["--model", "x", "--spead", "3"], "unrecognized arguments: --spead"),
    ],
)
def test_faults_of_options_are_one_line_and_exit_code_2(
    fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture, options: list[str], message: str
) -> None:
    filled = [option.format(folder=tmp_path) for option in options]
    try:
        code = main(["predict", str(fields), *filled])
    except SystemExit as stop:
        code = stop.code
    errors = capsys.readouterr().err
    assert code == 2 and errors.count("\n") == 1 and message in errors, errors


def test_errors_speak_of_options_and_not_of_python(
    save: Any, sensors: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = save(TimesCLIPForPrediction, "forecast", prediction_length=3)
    capsys.readouterr()
    assert main(["predict", str(sensors), "--model", model]) == 2
    assert "(--timestamp-column)" in capsys.readouterr().err
    gap = pd.read_csv(sensors).iloc[:STEPS].drop(index=5)
    gap.to_csv(sensors, index=False)
    assert main(["predict", str(sensors), "--model", model, "--timestamp-column", "time"]) == 2
    assert "pass --fill-gaps to insert them" in capsys.readouterr().err
    assert main(["predict", str(sensors), "--model", model, "--timestamp-column", "time", "--fill-gaps"]) == 0


def test_broken_weights_are_one_short_line(save: Any, fields: Path, capsys: pytest.CaptureFixture) -> None:
    model = save(TimesCLIPForRegression)
    (Path(model) / "model.safetensors").write_bytes(b"nonsense")
    capsys.readouterr()
    assert main(["predict", str(fields), "--model", model]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and len(errors) < 500 and "Traceback" not in errors


def test_model_without_pictures_says_so(
    save: Any, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = save(TimesCLIPForPrediction, "forecast", prediction_length=3)
    capsys.readouterr()
    assert main(["render", str(fields), "--model", model, "--output", str(tmp_path / "x.png")]) == 2
    assert "no vision tower" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "render"])
def test_help_explains_each_command_with_an_example(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"timesclip {command} new_fields.csv" in capsys.readouterr().out


def test_package_runs_as_the_command() -> None:
    words = [sys.executable, "-m", "timesclip_hf", "predict", "x.csv", "--model", "x", "--output", "p.ods"]
    finished = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert finished.returncode == 2 and finished.stderr.startswith("timesclip predict: error: --output p.ods")


@pytest.mark.skipif(not (DATA / "ETTh1.csv").exists(), reason="the public series are not in this checkout")
def test_public_series_and_the_crop_yield_table_are_drawn(tmp_path: Path) -> None:
    crop = ROOT / "examples" / "crop_yield" / "crop_yield.parquet"
    for table, options in ((DATA / "ETTh1.csv", ["--timestamp-column", "date"]), (crop, [])):
        assert main(["render", str(table), "--output", str(tmp_path / "x.png"), *options]) == 0


def test_files_without_a_header_and_with_a_series_in_each_row_are_read(
    save: Any, tmp_path: Path, tiny_config: Any
) -> None:
    processor = TimesCLIPProcessor.from_config(tiny_config("forecast", num_variates=1), variate_names=["value"])
    config = processor.fit(SERIES[:, :, :1]).complete_config(tiny_config("forecast", num_variates=1))
    config.prediction_length = 2
    TimesCLIPForPrediction(config).save_pretrained(tmp_path / "univariate")
    processor.save_pretrained(tmp_path / "univariate")
    output = tmp_path / "f.csv"
    options = ["--model", str(tmp_path / "univariate"), "--output", str(output)]
    rows = pd.DataFrame(SERIES[:2, :, 0], index=["w1", "w2"]).rename(columns=lambda step: f"V{step + 1}")
    rows.to_csv(tmp_path / "m4.csv", index_label="id")
    assert main(["predict", str(tmp_path / "m4.csv"), *options, "--one-series-per-row"]) == 0
    assert pd.read_csv(output).iloc[:, 0].tolist() == ["w1", "w1", "w2", "w2"]

    model = save(TimesCLIPForPrediction, "forecast", prediction_length=3)
    processor = TimesCLIPProcessor.from_pretrained(model)
    processor.variate_names = ["0", "1", "2"]
    processor.save_pretrained(model)
    pd.DataFrame(SERIES[0]).to_csv(tmp_path / "rates.txt", index=False, header=False)
    options = ["--model", model, "--output", str(output)]
    assert main(["predict", str(tmp_path / "rates.txt"), *options]) == 2
    assert main(["predict", str(tmp_path / "rates.txt"), *options, "--no-header"]) == 0
    assert list(pd.read_csv(output).columns) == ["step", "0", "1", "2"]


@pytest.mark.parametrize("file", ["config.json", "processor_config.json"])
def test_a_model_whose_files_are_nested_too_deeply_is_named(
    save: Any, fields: Path, capsys: pytest.CaptureFixture, file: str
) -> None:
    model = save(TimesCLIPForRegression, "text_only")
    path = Path(model) / file
    path.write_text(path.read_text().rstrip().removesuffix("}") + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}")
    capsys.readouterr()
    assert main(["predict", str(fields), "--model", model]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and model in said and "nested too deeply" in said
