# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Files to tables: separators, decimal commas, Excel, damage, and where in the file a fault stands."""

import datetime
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from series_samples import expect_error

from timesclip_hf.data.files import write_excel
from timesclip_hf.data.long import load_long_table
from timesclip_hf.data.tables import read_numbers, read_table
from timesclip_hf.data.wide import load_wide_table

TABLE = pd.DataFrame(
    {
        "site": ["Köln, West", "Bonn", None],
        "sown": ["01.10.2019", "02.10.2019", "03.10.2019"],
        "n": [1, 2, 3],
        "x_00": [0.5, -1.25, np.nan],
        "x_01": [2.0, 1e-3, 7.0],
        "y": [3.5, 4.0, 1.0],
    }
)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.csv.gz"])
def test_cells_are_separated_by_whatever_splits_all_lines_alike(tmp_path: Path, separator: str, name: str) -> None:
    TABLE.to_csv(tmp_path / name, index=False, sep=separator)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), TABLE, check_dtype=False)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_numbers_may_have_a_decimal_comma(tmp_path: Path, separator: str) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False, sep=separator, decimal=",")
    read = read_table(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(read, TABLE, check_dtype=False)
    assert read["n"].dtype == np.int64 and read["x_00"].dtype == np.float64
    (tmp_path / "t.csv").write_text("yield, t/ha;x_00;x_01\n1,5;2,5;3\n2;4,5;-,25\n")
    assert read_table(tmp_path / "t.csv").to_numpy().tolist() == [[1.5, 2.5, 3], [2, 4.5, -0.25]]
    (tmp_path / "t.csv").write_text("1,5;2,5\n3,5;4\n")
    assert read_table(tmp_path / "t.csv", header=False).to_numpy().tolist() == [[1.5, 2.5], [3.5, 4]]
    (tmp_path / "t.csv").write_text("a,b\n1,2;3\n4,5;6\n")  # text with semicolons in a file with commas
    assert read_table(tmp_path / "t.csv")["b"].tolist() == ["2;3", "5;6"]


@pytest.mark.parametrize("separator", [",", ";"])
def test_codes_with_zeros_in_front_stay_as_they_stand(tmp_path: Path, separator: str) -> None:
    lines = ["field,county,month,x_00,y,device", "007,06037,01,003.5,1,100000000000000001"]
    lines += ["108,,02,0.5,20,", "009,48201,12,1.5,0,100000000000000003"]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines).replace(",", separator))
    table = read_table(path)
    assert table["field"].tolist() == ["007", "108", "009"]
    assert table["county"].fillna("none").tolist() == ["06037", "none", "48201"]
    assert table["month"].tolist() == [1, 2, 12] and table["x_00"].tolist() == [3.5, 0.5, 1.5]
    assert table["y"].tolist() == [1, 20, 0]
    assert table["device"].fillna("none").tolist() == ["100000000000000001", "none", "100000000000000003"]


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_codes_are_known_in_the_first_cell_of_a_file_and_behind_all_ends_of_lines(
    tmp_path: Path, start: str, end: str
) -> None:
    for lines, header in ((["007,1", "108,2"], False), (["field,x_00", "108,2", "007,1"], True)):
        (tmp_path / "t.csv").write_bytes((start + end.join(lines)).encode())
        table = read_table(tmp_path / "t.csv", header=header)
        assert sorted(table.iloc[:, 0]) == ["007", "108"] and sorted(table.iloc[:, 1]) == [1, 2]


def test_lines_that_are_no_rows_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\nx_00;x_01\n1,5;2\ncloud;3\n")  # as Excel writes it
    with expect_error("the header is row 2", "row 4: 'cloud'"):
        load_wide_table(tmp_path / "t.csv", target=None)
    (tmp_path / "t.csv").write_text("\ufeffx_00,x_01\r\n1,2\r\n\r\ncloud,3\r\n\r\n")
    with expect_error("numbers 1, counted from 0 without the header", "row 1: 'cloud'"):  # blank lines are not counted
        load_wide_table(tmp_path / "t.csv", target=None)
    (tmp_path / "t.csv").write_text("x_00,x_01\n")
    with expect_error(str(tmp_path / "t.csv"), "the table is empty: 0 rows, 2 columns"):
        read_table(tmp_path / "t.csv")


def test_a_point_beside_decimal_commas_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1,5;1.250\n2,5;3.000\n")
    with expect_error(str(tmp_path / "t.csv"), "'a' have a decimal comma", "'b' has a point ('1.250')", "thousands"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("x_00;x_01\n1,5;1\n1.000,5;3\n")
    with expect_error("non-numeric cells in column 'x_00'", "row 2: '1,5'", "row 3: '1.000,5'"):
        load_wide_table(tmp_path / "t.csv", target=None)
    (tmp_path / "t.csv").write_text("day;load\n01.10.2019;1,5\n02.10.2019;2,5\n13.10.2019;2,5\n")
    assert read_table(tmp_path / "t.csv")["load"].tolist() == [1.5, 2.5, 2.5]


def test_long_cells_are_no_obstacle_to_finding_the_separator(tmp_path: Path) -> None:
    names = [f"x_{k:05d}" for k in range(40_000)]
    (tmp_path / "t.csv").write_text(",".join(names) + "\n" + ",".join(["1.5"] * 40_000) + "\n")
    assert read_table(tmp_path / "t.csv").shape == (1, 40_000)


def test_excel_files_are_read_as_the_same_table(tmp_path: Path) -> None:
    table = TABLE.assign(when=pd.date_range("2024-01-30", periods=3), ok=[True, False, True])
    table.to_excel(tmp_path / "t.xlsx", index=False)
    read = read_table(tmp_path / "t.xlsx")
    for name in table:
        missing = table[name].isna()
        assert read[name].isna().tolist() == missing.tolist()
        assert read[name][~missing].tolist() == table[name][~missing].tolist()
    expected = load_wide_table(table, target="y", variates=["x"])
    found = load_wide_table(tmp_path / "t.xlsx", target="y", variates=["x"])
    np.testing.assert_array_equal(found[:]["past_values"], expected[:]["past_values"])
    long = load_long_table(tmp_path / "t.xlsx", timestamp_column="when", variates=["x_01"])
    assert long.timestamps is not None and str(long.timestamps[0][0])[:10] == "2024-01-30"


def workbook(path: Path, rows: list[list[Any]], **sheets: list[list[Any]]) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    for title, content in {"Sheet": rows, **sheets}.items():
        sheet = book.active if title == "Sheet" else book.create_sheet(title)
        for row in content:
            sheet.append(row)
    book.save(path)
    return path


def test_what_is_special_about_excel_files(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "t.xlsx", [["a", None, datetime.datetime(2019, 10, 1), 7], [1, 2, 3, "NA"], [None, 5.5]]
    )
    read = read_table(path)
    assert list(read.columns) == ["a", "Unnamed: 1", "2019-10-01", "7"]
    assert read.isna().to_numpy().tolist() == [[False, False, False, True], [True, False, True, True]]
    assert read_table(workbook(path, [[1.5, 2], [3, 4]]), header=False).to_numpy().tolist() == [[1.5, 2], [3, 4]]
    workbook(path, [["a"], [1]], notes=[["b"], [2]], more=[[]])
    with pytest.warns(UserWarning, match="only the first sheet, 'Sheet', is read, not 'notes'"):
        assert list(read_table(path).columns) == ["a"]
    with expect_error(str(path), "duplicate columns: a"):
        read_table(workbook(path, [["a", "a"], [1, 2]]))
    with expect_error(str(path), "the formula '=A2+1' in row 2, column 2, has no result"):
        read_table(workbook(path, [["a", "b"], [1, "=A2+1"]]))
    with expect_error("non-numeric cells in column 'x_00'", "the header is row 1", "row 3: 'cloud'"):
        load_wide_table(workbook(path, [["x_00", "x_01"], [1, 2], ["cloud", 3]]), target=None)
    with expect_error(str(path), "empty"):
        read_table(workbook(path, [[]]))


def test_written_workbooks_hold_text_as_text(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "=id": ["=1+1", "@x", None],
            "n": [2**60, 1, 2],
            "p": [0.1, np.nan, np.inf],
            "t": pd.date_range("2024-01-30", periods=3),
            "z": pd.date_range("2024-01-30", periods=3, tz="Europe/Berlin"),
            "c": ["\x1b[1m", True, np.float32(0.5)],
        }
    )
    write_excel(table, tmp_path / "t.xlsx")
    read = read_table(tmp_path / "t.xlsx")
    assert list(read.columns) == ["=id", "n", "p", "t", "z", "c"]
    assert read["=id"].tolist()[:2] == ["=1+1", "@x"] and read["n"].tolist() == [str(2**60), 1, 2]
    assert read["p"].tolist()[0] == 0.1 and read["p"].tolist()[2] == "inf" and read["p"].isna().tolist()[1]
    assert read["t"].tolist() == table["t"].tolist() and read["z"].tolist()[0] == "2024-01-30 00:00:00+01:00"
    assert read["c"].tolist() == ["[1m", True, 0.5]


def damaged_files(folder: Path) -> dict[str, Path]:
    content = TABLE.to_csv(index=False).encode() * 50
    packed, parquet = gzip.compress(content), io.BytesIO()
    TABLE.to_parquet(parquet)
    excel = workbook(folder / "whole.xlsx", [["a"], [1]]).read_bytes()
    files = {
        "cut.csv.gz": packed[:-30],
        "flipped.csv.gz": packed[:40] + bytes([packed[40] ^ 255]) + packed[41:],
        "plain.csv.gz": content,
        "cut.parquet": parquet.getvalue()[:-20],
        "text.parquet": content,
        "empty.parquet": b"",
        "cut.xlsx": excel[: len(excel) // 2],
        "text.xlsx": content,
        "empty.xlsx": b"",
        "other.xlsx": excel.replace(b"worksheets", b"w0rksheets"),
        "quote.csv": b'a,b\n1,"2\n3,4\n',
        "latin.csv": "a,b\nMüller,1\n".encode("latin-1"),
        "utf16.csv": "a,b\n1,2\n".encode("utf-16"),
        "empty.csv": b"",
        "uneven.csv": b"a,b\n1,2,3\n",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in files}


def test_damaged_files_are_errors_that_name_the_file(tmp_path: Path) -> None:
    words = {"cut.csv.gz": "cut or damaged", "cut.parquet": "damaged", "cut.xlsx": "damaged", "quote.csv": "quote"}
    for name, path in damaged_files(tmp_path).items():
        with expect_error(str(path), words.get(name, "")):
            read_table(path)


def test_numbers_of_hundreds_of_digits_are_named(tmp_path: Path) -> None:
    digits, path = "7" * 400, tmp_path / "t.csv"
    for first, second in ((1, digits), (digits, 1), (digits, digits), ("-" + digits, 0.5)):
        path.write_text(f"x_00,x_01\n2,{first}\n3,{second}\n")
        with expect_error("'x_01'", "row 2: " if first != 1 else "row 3: "):
            load_wide_table(path, target=None)
    for cell in (int(digits), digits, 10**5000):
        with expect_error("infinite", "'x_01'", "row 1: "):
            load_wide_table(pd.DataFrame({"x_00": [1, 2], "x_01": pd.Series([1, cell], dtype=object)}), target=None)
    with expect_error("timestamps infinite: column 't'"):
        frame = pd.DataFrame({"t": pd.Series([1, int(digits)], dtype=object), "x": [1.0, 2.0]})
        load_long_table(frame, timestamp_column="t")


def test_rows_are_counted_as_the_program_shows_them_that_made_the_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"y": [1.0, np.nan, 2.0], "x_00": [1.0, 2.0, np.nan]})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    for given in (table, tmp_path / "t.parquet"):
        with expect_error("targets missing", "numbers 1, counted from 0"):
            load_wide_table(given, target="y", variates=["x"], drop_unobserved=True)
    with expect_error("targets missing", "numbers 3, the header is row 1"):
        load_wide_table(tmp_path / "t.csv", target="y", variates=["x"], drop_unobserved=True)
    with expect_error("no value at all", "numbers 4, the header is row 1", "row 4: x"):
        load_wide_table(tmp_path / "t.csv", target="y", variates=["x"])
    read = read_table(tmp_path / "t.csv")
    with expect_error("numbers 3, the header is row 1"):
        load_wide_table(read, target="y", variates=["x"], drop_unobserved=True)
    with expect_error("numbers 0, counted from 0"):  # rows of a part are no longer those of the file
        load_wide_table(read[1:], target="y", variates=["x"], drop_unobserved=True)
    read.to_parquet(tmp_path / "again.parquet")
    with expect_error("numbers 1, counted from 0"):
        load_wide_table(tmp_path / "again.parquet", target="y", variates=["x"], drop_unobserved=True)
    (tmp_path / "bare.csv").write_text("1,2\nx,4\n")
    with expect_error("counted from 1", "row 2: 'x'"):
        load_long_table(tmp_path / "bare.csv", header=False)
    # Rows that are left out before do not change the numbers of the others.
    frame = pd.DataFrame({"y": [1.0, 2.0, np.nan], "x_00": [np.nan, 2.0, 3.0]})
    with pytest.warns(UserWarning, match="left out"), expect_error("targets missing", "numbers 2, counted"):
        load_wide_table(frame, target="y", drop_unobserved=True)


def test_parquet_whose_names_are_no_text_is_a_damaged_file(tmp_path: Path) -> None:
    file = tmp_path / "fields.parquet"
    pd.DataFrame({"ndvi_00": [1.0]}).to_parquet(file)
    file.write_bytes(file.read_bytes().replace(b"ndvi_00", b"ndvi_\xff\xfe"))
    with pytest.raises(ValueError, match=r"fields\.parquet: no Parquet file, or a damaged one"):
        load_wide_table(file, target=None)


IDS = [12345, None, 9007199254740991]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".xlsx", ".parquet"])
def test_whole_numbers_beside_blank_cells_stay_as_they_stand(tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    frame = pd.DataFrame({"id": pd.array(IDS, "Int64"), "level": [12.5, None, 3.0], "x_00": 1.5})
    if suffix == ".xlsx":
        frame.astype(object).where(frame.notna(), None).to_excel(path, index=False)
    elif suffix == ".parquet":
        pq.write_table(pa.table({"id": pa.array(IDS, pa.int64()), **{n: frame[n] for n in ("level", "x_00")}}), path)
    else:
        frame.to_csv(path, index=False)
    read = read_table(path)
    assert read["id"].dtype == "Int64" and read["level"].dtype == "float64"
    assert read[["id"]].to_csv(index=False).split() == ["id", "12345", '""', "9007199254740991"]


def test_numbers_written_with_a_point_stay_numbers(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("depth,plot,x_00\n12.0,1,1.5\n,,2.5\n13.0,2,3.5\n")
    read = read_table(path)
    assert read["depth"].dtype == "float64" and read["plot"].dtype == "Int64"
    np.testing.assert_array_equal(read_numbers(read["plot"]), [1, np.nan, 2])


@pytest.mark.parametrize("kind", [pl.DataFrame, pa.table, Dataset.from_dict])
def test_whole_numbers_beside_blank_cells_stay_so_from_frames_of_others(kind):
    read = read_table(kind({"id": IDS, "x_00": [1.0, 2.0, 3.0]}))
    assert read["id"].tolist() == [12345, pd.NA, 9007199254740991]
