# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Does it help to change the few series that have labels? Each kind of change alone, and the default, beside none.

    python -m examples.study.augmentation --way heads
    python -m examples.study.augmentation --way network --labels 100 300

Crop yield, 36 steps, n fields (draw k by seed k, which also seeds everything else). `heads`: closed form on
`timesclip-small`, three changed copies beside each series. `network`: preset `small`, 40 epochs, the epoch chosen on
validation, series changed anew in every epoch. Prints R2 of validation and test years, mean over draws, and the
gain on no change, paired by draw.
"""

import argparse
import shutil
from typing import Any

import numpy as np
import transformers

from timesclip_hf import (
    AugmentedSeries,
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    fit_head,
)

from .frozen_table import load
from .partial_seasons import r2
from .run_frozen import BANDS

KINDS = {
    "none": None,
    "default": "default",
    "jitter": "jitter=0.1",
    "scale": "scale=0.1",
    "shift and warp": "shift=0.03 warp=0.03",
    "spans": "drop_spans=0.2",
    "mixup": "mixup=0.2",
}
SHAPE = {"num_variates": len(BANDS), "context_length": 36, "patch_length": 6, "patch_stride": 3}


def heads(few: Any, validation: Any, words: str | None, seed: int) -> tuple[Any, Any]:
    """Heads in closed form on frozen towers."""
    ships = "timesclip-small"
    config = TimesCLIPConfig.from_vision_text_pretrained(ships, ships, "probe", **SHAPE)
    processor = TimesCLIPProcessor.from_config(config, variate_names=BANDS).fit(few)
    config = processor.complete_config(config)
    model = TimesCLIPForRegression.from_vision_text_pretrained(ships, ships, config=config)
    copies = AugmentedSeries(few, words, copies=4, seed=seed) if words else None
    fit_head(model, processor, copies or few, copies.owners if copies else None, validation=validation)
    return model, processor


def network(few: Any, validation: Any, words: str | None, seed: int) -> tuple[Any, Any]:
    """The small network, trained."""
    transformers.set_seed(seed)
    config = TimesCLIPConfig.from_preset("small", towers="tiny", **SHAPE)
    processor = TimesCLIPProcessor.from_config(config, variate_names=BANDS).fit(few)
    model = TimesCLIPForRegression(processor.complete_config(config))
    arguments = TimesCLIPTrainingArguments(
        "runs/augmentation", num_train_epochs=40, learning_rate=1e-3, weight_decay=0.05, seed=seed, augment=words,
        per_device_train_batch_size=32, per_device_eval_batch_size=256, report_to="none", disable_tqdm=True,
        eval_strategy="steps", eval_steps=1 / 20, save_strategy="steps", save_steps=1 / 20, save_only_model=True,
    )  # fmt: skip
    trainer = TimesCLIPTrainer(model, arguments, processor, train_dataset=few, eval_dataset=validation)
    trainer.train()
    shutil.rmtree("runs/augmentation", ignore_errors=True)
    return trainer.model, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=["heads", "network"], required=True)
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    parts = load(options.table, 36)
    fit = heads if options.way == "heads" else network
    for n in options.labels:
        scores: dict[str, list[list[float]]] = {}
        for draw in range(options.draws):
            rows = np.sort(np.random.default_rng(draw).permutation(len(parts["train"]))[:n])
            few = parts["train"].select(rows.tolist())
            for kind in options.kinds:
                done = fit(few, parts["validation"], KINDS[kind], draw)
                scores.setdefault(kind, []).append([r2(*done, parts[part]) for part in ("validation", "test")])
        for kind, found in scores.items():
            seen, test = np.mean(found, axis=0)
            gain = np.mean(np.subtract(found, scores[options.kinds[0]]), axis=0)
            print(
                f"n = {n}, {kind}: validation {seen:.3f} ({gain[0]:+.3f}), test {test:.3f} ({gain[1]:+.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
