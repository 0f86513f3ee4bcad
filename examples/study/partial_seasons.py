# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""One model for any part of a season: heads in closed form, fitted on shortened copies of every field.

    python -m examples.study.partial_seasons timesclip-small

Crop yield, all labels, 36 steps. `--copies` of each training field keep their first 12 to 36 steps, drawn at random;
copies of a field are left out together; kernels compare with at most `--centers` of them. Beside it one model for each
length, made for series of that length (`frozen_table`, all labels, the same choices by rows left out alone). R2 of the
test years, and of the validation years, by steps seen.
"""

import argparse
from typing import Any

import numpy as np

from timesclip_hf import PartialSeries, TimesCLIPConfig, TimesCLIPForRegression, TimesCLIPProcessor, fit_head
from timesclip_hf.data.augmentation import Augmentation, AugmentedSeries
from timesclip_hf.metrics import regression_metrics

from .frozen_table import load
from .run_frozen import BANDS


def fitted(checkpoint: str, train: Any, rows: Any, steps: int, groups: Any, centers: int) -> tuple[Any, Any]:
    """A model with heads in closed form on these rows, and its processor, fitted on whole series."""
    shape = {"num_variates": len(BANDS), "context_length": steps, "patch_length": 6, "patch_stride": 3}
    config = TimesCLIPConfig.from_vision_text_pretrained(checkpoint, checkpoint, "probe", **shape)
    processor = TimesCLIPProcessor.from_config(config, variate_names=BANDS).fit(train)
    config = processor.complete_config(config)
    model = TimesCLIPForRegression.from_vision_text_pretrained(checkpoint, checkpoint, config=config)
    fit_head(model, processor, rows, groups, max_centers=centers)
    return model, processor


def r2(model: Any, processor: Any, rows: Any) -> float:
    """Of rows of a part."""
    import torch

    said, truth = [], []
    with torch.no_grad():
        for first in range(0, len(rows), 128):
            batch = [rows[k] for k in range(first, min(first + 128, len(rows)))]
            values = np.stack([np.asarray(row["past_values"], float) for row in batch])
            inputs = processor(values, static_values=[row["static_values"] for row in batch])
            said.append(model.eval()(**inputs).predictions.numpy()[:, 0])
            truth += [float(np.ravel(row["labels"])[0]) for row in batch]
    return float(regression_metrics(np.concatenate(said), np.asarray(truth))["r2"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a folder of a TimesCLIP model, or the name of one that ships")
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--seen", type=int, nargs="+", default=[12, 18, 24, 30, 36])
    parser.add_argument("--each", type=int, nargs="*", default=[12, 18, 36], help="lengths with a model of their own")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--centers", type=int, default=2000)
    options = parser.parse_args()
    parts = load(options.table, 36)
    copies = AugmentedSeries(parts["train"], Augmentation(), options.copies)
    some = PartialSeries(copies, (min(options.seen), max(options.seen)), "right")
    one = fitted(options.checkpoint, parts["train"], some, 36, copies.owners, options.centers)
    for seen in options.seen:
        scores = [r2(*one, PartialSeries(parts[part], seen, "right")) for part in ("validation", "test")]
        print(f"{seen} steps, one model: validation {scores[0]:.3f}, test {scores[1]:.3f}", flush=True)
    for seen in options.each:
        short = load(options.table, seen)
        own = fitted(options.checkpoint, short["train"], short["train"], seen, None, options.centers)
        scores = [r2(*own, short[part]) for part in ("validation", "test")]
        print(f"{seen} steps, a model for it: validation {scores[0]:.3f}, test {scores[1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
