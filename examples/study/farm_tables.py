# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Six farms and eight seasons, as a user brings them, cut from the crop data: `timesclip train` without options.

    python -m examples.study.farm_tables --output_dir runs/farms

Cereals, and summer crops: up to 196 fields of the six sites with most of them, five bands drawn at random, the first
24 steps, no static column. Rows are of the train and validation parts alone; the command takes the latest seasons as
test part. `--shapes 0` leaves out the branch of shapes.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from timesclip_hf.cli import main as timesclip
from timesclip_hf.model.presets import PRESETS

BANDS = np.array(["NIR", "RVI", "SWIR1", "blue", "evi", "ndvi", "red"])
TABLES = {"cereals": (["wheat", "barley"], 1994), "summer crops": (["maize", "potato", "sugar_beet"], 1996)}


def farm_table(fields: pd.DataFrame, crops: list[str], first: int, seed: int) -> pd.DataFrame:
    """Eight seasons of these crops, from `first` on."""
    rng = np.random.default_rng(seed)
    own = fields[(fields["split"] != "test") & fields["crop"].isin(crops)]
    own = own[own["site"].isin(own["site"].value_counts().index[:6]) & own["year"].between(first, first + 7)]
    own = own.iloc[np.sort(rng.permutation(len(own))[:196])]
    bands = BANDS[np.sort(rng.permutation(len(BANDS))[:5])]
    steps = [f"{band}_{step:02d}" for band in bands for step in range(24)]
    return own[["site", "year", "yield_t_ha", *steps]].rename(columns={"site": "farm"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--shapes", type=int, default=PRESETS["probe"]["shape_features"])
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--output_dir", default="runs/farms")
    options = parser.parse_args()
    PRESETS["probe"]["shape_features"] = options.shapes
    out, fields = Path(options.output_dir), pd.read_parquet(options.table)
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    for seed, (name, (crops, first)) in enumerate(TABLES.items()):
        file = out / f"{name.replace(' ', '_')}.csv"
        farm_table(fields, crops, first, seed).to_csv(file, index=False)
        words = ["train", str(file), "--target", "yield_t_ha", "--output", str(out / file.stem)]
        if code := timesclip([*words, *(["--no-peers"] if options.no_peers else [])]):
            raise SystemExit(f"{file.name}: exit code {code}")
        measured = json.loads((out / file.stem / "metrics.json").read_text())["test"]
        found[name] = {model: figures["r2"] for model, figures in measured.items()}
    print(pd.DataFrame(found).round(3).to_string())


if __name__ == "__main__":
    main()
