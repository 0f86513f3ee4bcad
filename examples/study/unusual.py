# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How often series are told to be unusual: of regions never seen, beside later years of known ones.

    python -m examples.study.unusual examples/study/configs/crop_yield_new_sites.yaml

Each region of the crop-yield table is left out in turn. The training years of the others are what is known; their
later years (validation and test) are compared with these, and so are all fields of the region. By the rule of
`features.similar`, with static values among what is compared, and without; the tower is the text tower of
`timesclip-small`, which reads patches.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from timesclip_hf import SimilarSeries, TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor, load_wide_table
from timesclip_hf.features.similar import MAX_SERIES, read_blocks

TOWERS = "timesclip-small"


def build(bands: list[str], train: Any) -> tuple[Any, TimesCLIPProcessor]:
    """Towers that ship, and a processor that knows the training part."""
    shape = {"num_variates": len(bands), "context_length": 36, "patch_length": 6, "patch_stride": 3}
    config = TimesCLIPConfig.from_vision_text_pretrained(None, TOWERS, "probe", **shape)
    processor = TimesCLIPProcessor.from_config(config, variate_names=bands).fit(train)
    config = processor.complete_config(config)
    return TimesCLIPForRegression.from_vision_text_pretrained(None, TOWERS, config=config), processor


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Prints the share of unusual series, region by region, and its mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a settings file with hold_out_column and hold_out_groups")
    settings = yaml.safe_load(Path(parser.parse_args(arguments).config).read_text())
    bands = settings["variates"]
    data = load_wide_table(
        settings["table"], target=settings["target"], variates=bands, static_columns=settings["static_columns"]
    )
    site, part = (np.array(data[name]) for name in (settings["hold_out_column"], "split"))
    rows = []
    for group in settings["hold_out_groups"]:
        unseen = np.isin(site, group)
        train = np.flatnonzero((part == "train") & ~unseen)[:MAX_SERIES]
        model, processor = build(bands, data.select(train))
        everything = read_blocks(model, processor, data)
        for name, left_out in (("with static values", ()), ("series alone", ("static",))):
            blocks = {block: array for block, array in everything.items() if block not in left_out}
            known = SimilarSeries.of_readings({block: array[train] for block, array in blocks.items()}, train)
            unusual = known.nearest(blocks)[0][:, 0] > known.threshold
            later = (part != "train") & ~unseen
            rows.append((group[0], name, unusual[later].mean(), unusual[unseen].mean()))
            print(*rows[-1], flush=True)
    found = pd.DataFrame(rows, columns=["region", "compared", "later years of known regions", "region never seen"])
    print(found.groupby("compared").mean(numeric_only=True).round(4).to_string())
    return found


if __name__ == "__main__":
    main()
