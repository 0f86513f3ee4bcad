# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Damaged and hostile files of every kind: named, passed over or without effect; see `oracle`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import resume_worker
import torch
from oracle import Audit

from timesclip_hf import (
    NumpyProcessor,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    load_long_table,
    load_wide_table,
)
from timesclip_hf.features.store import FeatureStore

SERIES = np.random.default_rng(0).normal(size=(6, 12, 3))
VALUES = [
    None,
    True,
    -1,
    0,
    10**9,
    10**30,
    1e308,
    np.nan,
    np.inf,
    "x",
    "",
    [],
    {},
    [[]],
    [None],
    "../../x",
    2.5,
    "9" * 500,
]


def damaged(rng: np.random.Generator, content: bytes) -> tuple[str, bytes]:
    """What was done to a file, and what is in it then."""
    changed, how = bytearray(content), str(rng.choice(["cut", "bits", "bits", "bits", "zeros", "longer", "empty"]))
    if how == "cut":
        del changed[rng.integers(1, len(changed)) :]
    elif how == "bits":
        for place in rng.integers(len(changed), size=3):
            changed[place] ^= 1 << int(rng.integers(8))
    elif how == "longer":
        changed += b"x"
    else:
        changed = bytearray(len(changed) if how == "zeros" else 0)
    return how, bytes(changed)


def with_another_value(rng: np.random.Generator, content: bytes) -> tuple[str, bytes]:
    """The same of a JSON file, one of whose values, at any depth, is another."""
    place = whole = json.loads(content)
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[rng.integers(len(keys))]
        if not (isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8):
            break
        place = place[key]
    place[key] = VALUES[rng.integers(len(VALUES))]
    return f"{key}={place[key]!r:.20}", json.dumps(whole).encode()


def test_saved_models_load_or_what_is_wrong_with_them_is_named(tiny_config: Any, tmp_path: Path) -> None:
    rng, audit = np.random.default_rng(21), Audit()
    good, bad = tmp_path / "good", tmp_path / "bad"
    config = tiny_config("small")
    processor = TimesCLIPProcessor.from_config(config).fit(SERIES, labels=np.arange(6.0))
    TimesCLIPForRegression(processor.complete_config(config)).save_pretrained(good)
    processor.save_pretrained(good)

    def shapes() -> None:
        model, batch = TimesCLIPForRegression.from_pretrained(bad), TimesCLIPProcessor.from_pretrained(bad)(SERIES)
        with torch.no_grad():
            assert model.eval()(**batch).predictions.shape == (6, 1)

    for number in range(160):
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        file = [bad / name for name in ("config.json", "processor_config.json", "model.safetensors")][number % 3]
        if number < 9:
            file.unlink()
            how = ["gone", "a folder", "a link to nowhere"][number // 3]
            {"a folder": file.mkdir, "a link to nowhere": lambda f=file: f.symlink_to("/nowhere/x")}.get(how, int)()
        else:
            change = with_another_value if file.suffix == ".json" and rng.random() < 0.7 else damaged
            how, content = change(rng, file.read_bytes())
            file.write_bytes(content)
        audit.ask([file.name, how], shapes)
        if file.name == "processor_config.json":
            audit.ask(["numpy", how], lambda: NumpyProcessor.from_pretrained(bad)(SERIES) and None)
    audit.conclude(at_least=200)


WRITERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "csv": lambda table, file: table.to_csv(file, index=False),
    "csv.gz": lambda table, file: table.to_csv(file, index=False),
    "parquet": lambda table, file: table.to_parquet(file),
    "xlsx": lambda table, file: table.to_excel(file, index=False),
}
HOSTILE = {
    "nested.csv": b"[" * 100_000,
    "digits.csv": b"ndvi_00,y\n" + b"9" * 5000 + b",1\n",
    "name.csv": b"n" * 200_000 + b"_00,y\n1,1\n",
    "ragged.csv": b"ndvi_00,y\n1,2,3,4\n1\n",
    "quote.csv": b'ndvi_00,y\n"1,2\n3,4\n',
    "nul.csv": b"ndvi_00,y\n1,\0\0\n",
    "latin.csv": "caf\xe9_00,y\n1,2\n".encode("latin1"),
    "surrogate.csv": b"ndvi_00,\xed\xa0\x80,y\n1,2,3\n",
    "step.csv": b"ndvi_00,ndvi_99999999999999999999,y\n1,2,3\n",
    "page.parquet": b"<html>404</html>",
    "page.csv.gz": b"<html>404</html>",
    "page.xlsx": b"<html>404</html>",
    "nothing.csv": b"",
    "nothing.parquet": b"",
}


def test_table_files_are_read_or_what_is_wrong_with_them_is_named(tmp_path: Path) -> None:
    rng, audit = np.random.default_rng(22), Audit()
    columns = {f"{name}_{t:02d}": SERIES[:, t, v] for v, name in enumerate(["ndvi", "rain", "nir"]) for t in range(12)}
    files = [(name, content, name) for name, content in HOSTILE.items()]
    for kind, write in WRITERS.items():
        file = tmp_path / f"good.{kind}"
        write(pd.DataFrame(columns).assign(y=1.0), file)
        files += [
            (f"bad{k}.{kind}", content, how) for k in range(10) for how, content in [damaged(rng, file.read_bytes())]
        ]
    for name, content, how in files:
        file = tmp_path / name
        file.write_bytes(content)
        audit.ask(["wide", name, how], lambda f=file: load_wide_table(str(f), target="y") and None)
        audit.ask(["long", name, how], lambda f=file: load_long_table(str(f)) and None)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    for name in ("folder.csv", "loop.csv", "absent.csv", "a" * 5000 + ".csv"):
        read = audit.ask(name, lambda n=name: load_wide_table(str(tmp_path / n), target="y") and None, named=name)
        assert not read
    audit.conclude(at_least=110)


def test_a_damaged_feature_file_is_left_out_or_says_the_same(tmp_path: Path) -> None:
    rng, audit = np.random.default_rng(23), Audit()
    keys, features = [bytes([row]) * 16 for row in range(3)], rng.normal(size=(3, 2, 5)).astype(np.float32)
    FeatureStore(tmp_path).write(keys, features)
    file = next(tmp_path.glob("*.arrow"))
    content = file.read_bytes()

    def largest_difference() -> float:
        store = FeatureStore(tmp_path)
        found = [(key, store._files[name][row]) for key, (name, row) in store._places.items()]
        return max((float(np.abs(part - features[key[0]]).max()) for key, part in found), default=0.0)

    for _ in range(60):
        how, changed = damaged(rng, content)
        file.write_bytes(changed)
        audit.ask(how, largest_difference, expected=0.0)
    audit.conclude(at_least=60)


def test_a_run_with_a_damaged_newest_checkpoint_ends_where_it_should(tmp_path: Path) -> None:
    rng, audit = np.random.default_rng(24), Audit()

    def run(folder: Path, resume: bool) -> str:
        request = {
            "output_dir": str(folder),
            "arguments": {"load_best_model_at_end": False, "save_total_limit": 3},
            "fields": {},
        }
        trainer = resume_worker.build(request)
        trainer.train(resume_from_checkpoint=resume)
        return resume_worker.digest(trainer.model)

    expected = run(tmp_path / "good", False)
    shutil.rmtree(tmp_path / "good" / "checkpoint-15")
    names = sorted(path.name for path in (tmp_path / "good" / "checkpoint-10").iterdir())
    for name in names:
        folder = tmp_path / f"bad-{name}"
        shutil.copytree(tmp_path / "good", folder)
        file = folder / "checkpoint-10" / name
        how, content = damaged(rng, file.read_bytes())
        file.write_bytes(content)
        audit.ask([name, how], lambda f=folder: float(run(f, True) == expected), expected=1.0)
        shutil.rmtree(folder)
    audit.conclude(at_least=8)
