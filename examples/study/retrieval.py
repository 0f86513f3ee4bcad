# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Do plots and patches of a series find each other among a thousand? Towers that ship beside random ones.

    python -m examples.study.retrieval timesclip-small

Series that no pretraining has seen: 1 000 synthetic ones of 96 steps (cut off beyond four spreads, for all share one
axis), and the fields of the crop table's test years (seven bands side by side). `embeds`: as the checkpoint's own
projections compare them, by cosine. `fitted`: a linear map from what plots say to what patches say, ridge on 1 000
other series, which random towers can have, too.
"""

import argparse
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import set_seed

from timesclip_hf import TimesCLIPConfig, TimesCLIPForPreTraining, TimesCLIPProcessor
from timesclip_hf.data.synthetic import synthetic_series
from timesclip_hf.metrics import retrieval_accuracy
from timesclip_hf.model.tower_configs import checkpoint_folder

from .frozen_table import load
from .run_frozen import BANDS

COUNT, FIRST = 1000, 10_000_000  # series, and the number of the first synthetic one
SHAPES = {"synthetic": (96, 16, 8), "crop": (36, 6, 3)}  # steps of a series, of a patch and between patches


def towers(checkpoint: str, weights: str, data: str, known: Any) -> tuple[Any, Any]:
    """A pair of towers with their projections, and the processor for these series `(n, T, V)`."""
    steps, length, stride = SHAPES[data]
    shape = {"context_length": steps, "patch_length": length, "patch_stride": stride, "num_variates": known.shape[2]}
    pooling = {"vision_pooling": "cls_mean", "text_pooling": "cls_mean"}
    config = TimesCLIPConfig.from_vision_text_pretrained(checkpoint, checkpoint, "no_selection", **shape, **pooling)
    processor = TimesCLIPProcessor.from_config(config, scaling="dataset").fit(known)
    set_seed(1)
    model = TimesCLIPForPreTraining(processor.complete_config(config))
    if weights == "pretrained":  # which fit any number of variates, of any length
        source = TimesCLIPForPreTraining.from_pretrained(checkpoint_folder(checkpoint))
        model.load_state_dict(source.state_dict())
    return model.eval(), processor


@torch.no_grad()
def read(model: Any, processor: Any, series: np.ndarray) -> dict[str, np.ndarray]:
    """Embeds and features `(n, V, width)` of both branches."""
    found: dict[str, list[np.ndarray]] = {}
    for some in np.array_split(series, -(-len(series) // 100)):
        outputs = model.timesclip(**processor(some))
        for name in ("image_embeds", "text_embeds", "vision_features", "text_features"):
            found.setdefault(name, []).append(outputs[name].numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def fitted(known: dict[str, np.ndarray], asked: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What patches say of series, and what ridge makes of their plots, standardised `(n, V, width)`."""
    width = known["text_features"].shape[2]
    plots, patches = (known[name].reshape(-1, width) for name in ("vision_features", "text_features"))
    scaler = StandardScaler().fit(patches)
    head = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11))).fit(plots, scaler.transform(patches))
    said = head.predict(asked["vision_features"].reshape(-1, width))
    heard = scaler.transform(asked["text_features"].reshape(-1, width))
    shape = asked["text_features"].shape
    return said.reshape(shape), heard.reshape(shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a folder of a TimesCLIP model, or the name of one that ships")
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    options = parser.parse_args()
    made = np.stack(synthetic_series(np.arange(FIRST, FIRST + 2 * COUNT), min_length=96, max_length=96))
    made = made.clip(-4, 4)
    parts, draw = load(options.table, 36), np.random.default_rng(0)
    crop = [np.asarray(parts[name]["past_values"][:], np.float32) for name in ("train", "test")]
    fields = np.concatenate([part[draw.permutation(len(part))[:COUNT]] for part in crop])
    assert fields.shape[2] == len(BANDS)
    rows = []
    for data, series in (("synthetic", made), ("crop", fields)):
        known, asked = series[:COUNT], series[COUNT:]
        for weights in ("pretrained", "random"):
            model, processor = towers(options.checkpoint, weights, data, known)
            seen, found = read(model, processor, known), read(model, processor, asked)
            compared = {"embeds": (found["image_embeds"], found["text_embeds"]), "fitted": fitted(seen, found)}
            for how, pair in compared.items():
                row = {"series": f"{data}, {len(asked)}", "towers": weights, "compared": how}
                rows.append(row | retrieval_accuracy(*pair, at=(1, 5)))
                print(rows[-1], flush=True)
    frame = pd.DataFrame(rows)
    print("| " + " | ".join(frame) + " |", "|---" * frame.shape[1] + "|", sep="\n")
    for row in frame.itertuples(index=False):
        print("| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row) + " |")


if __name__ == "__main__":
    main()
