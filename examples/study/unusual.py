# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How often series are told to be unusual: of regions never seen, beside later years of known ones.

    python -m examples.study.unusual examples/study/configs/crop_yield_new_sites.yaml
    python -m examples.study.unusual examples/study/configs/crop_yield_new_sites.yaml --ideas

Each region of the crop-yield table is left out in turn. The training years of the others are what is known; their
later years (validation and test) are compared with these, and so are all fields of the region. By the rule of
`features.similar`, with static values among what is compared, and without; the tower is the text tower of
`timesclip-small`, which reads patches. `--ideas` compares other rules in place of that one, without the test years of
any region.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from timesclip_hf import SimilarSeries, TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor, load_wide_table
from timesclip_hf.features.similar import MAX_SERIES, _project, read_blocks

TOWERS = "timesclip-small"


def build(bands: list[str], train: Any) -> tuple[Any, TimesCLIPProcessor]:
    """Towers that ship, and a processor that knows the training part."""
    shape = {"num_variates": len(bands), "context_length": 36, "patch_length": 6, "patch_stride": 3}
    config = TimesCLIPConfig.from_vision_text_pretrained(None, TOWERS, "probe", **shape)
    processor = TimesCLIPProcessor.from_config(config, variate_names=bands).fit(train)
    config = processor.complete_config(config)
    return TimesCLIPForRegression.from_vision_text_pretrained(None, TOWERS, config=config), processor


def ideas(known: SimilarSeries, blocks: dict[str, Any], train: Any) -> dict[str, Any]:
    """How strange each series is by several rules; training series are compared with the others."""
    points, count = _project(blocks, known.spaces), len(train)
    spread = points[train].std(axis=0)
    _, strengths, directions = np.linalg.svd(
        (points[train] - points[train].mean(axis=0)) / spread, full_matrices=False
    )
    usable = strengths > 1e-3 * strengths.max()
    centred = (points - points[train].mean(axis=0)) / spread
    white = centred @ directions[usable].T / strengths[usable] * np.sqrt(count)
    found = {"Mahalanobis": np.linalg.norm(white, axis=1)}
    for name, space in {"": points, "whitened: ": white}.items():
        apart = _apart(space, train)
        apart[train, np.arange(count)] = np.inf
        around = np.argsort(apart, axis=1)[:, :10]
        near = np.take_along_axis(apart, around, axis=1)
        own = near[train]
        found |= {
            f"{name}nearest": near[:, 0],
            f"{name}5th nearest": near[:, 4],
            f"{name}nearest / its own nearest": near[:, 0] / own[around[:, 0], 0],
            f"{name}10th nearest / that of the ten": near[:, 9] / own[around, 9].mean(axis=1),
            f"{name}nearest / mean spacing of the ten": near[:, 0] / own.mean(axis=1)[around].mean(axis=1),
        }
    return found


def _apart(points: Any, train: Any) -> Any:
    """Distances to the training series."""
    kept = points[train]
    squares = np.square(points).sum(axis=1)[:, None] + np.square(kept).sum(axis=1) - 2 * points @ kept.T
    return np.sqrt(np.maximum(squares, 0))


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Prints the share of unusual series, region by region, and its mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a settings file with hold_out_column and hold_out_groups")
    parser.add_argument("--ideas", action="store_true", help="compare other rules, without the test years")
    options = parser.parse_args(arguments)
    settings = yaml.safe_load(Path(options.config).read_text())
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
            later, new = (part != "train") & ~unseen, unseen
            told = {"": known.compare(blocks)[2]}
            if options.ideas:
                later, new = (part == "validation") & ~unseen, unseen & (part != "test")
                strange = ideas(known, blocks, train)
                told = {f": {idea}": own > np.quantile(own[train], 0.99) for idea, own in strange.items()}
            for idea, unusual in told.items():
                rows.append((group[0], name + idea, unusual[later].mean(), unusual[new].mean()))
                print(*rows[-1], flush=True)
    found = pd.DataFrame(rows, columns=["region", "compared", "later years of known regions", "region never seen"])
    print(found.groupby("compared").mean(numeric_only=True).round(4).to_string())
    return found


if __name__ == "__main__":
    main()
