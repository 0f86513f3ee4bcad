# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What of plots is read, and in how many images: the same frozen tower under the same head, and what it costs.

    python -m examples.study.run_seen --seeds 0 1 2
    python -m examples.study.run_seen --checkpoint timesclip-small

The vision branch alone (and the static columns) on the crop-yield table, kernels in closed form (`fit_head`) on tiny
towers of random weights, one a seed, or on a checkpoint's. Prints R2 on validation and test years, and seconds of CPU
for reading all series once.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import set_seed
from transformers.utils.logging import disable_progress_bar

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPDataCollator,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    fit_head,
    load_wide_table,
    regression_metrics,
    split_by_column,
)

from .run_frozen import BANDS, KNOWN

# Of each: fields of the configuration, of the processor.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all patches": ({}, {}),
    "ink alone": ({"blank_patches": "drop"}, {}),
    "blank ones merged": ({"blank_patches": "merge"}, {}),
    "blank ones merged by bands": ({"blank_patches": "merge_bands"}, {}),
    "all variates in one image": ({"layout": "grid"}, {}),
    "all variates in one image, ink alone": ({"layout": "grid", "blank_patches": "drop"}, {}),
    "windows as rows (stacked)": ({}, {"view": "stacked"}),
}


def build(checkpoint: str | None, seed: int, way: str, train: Any) -> tuple[Any, Any]:
    """A model with the vision branch alone, and its processor."""
    config_fields, drawing = WAYS[way]
    shape = {"num_variates": len(BANDS), "context_length": 36, "patch_length": 6, "patch_stride": 3}
    fields = {**shape, "kernel_shortcut": False, "kernel_sums": False, **config_fields}
    set_seed(seed)
    if checkpoint is None:
        config = TimesCLIPConfig.from_preset("probe", towers="tiny", text_config=None, **fields)
    else:
        whole = TimesCLIPConfig.from_vision_text_pretrained(checkpoint, checkpoint, "probe", **fields)
        config = TimesCLIPConfig.from_dict({**whole.to_dict(), "text_config": None})
    line = {} if "view" in drawing else {"line_width": 3.0}
    processor = TimesCLIPProcessor.from_config(config, variate_names=BANDS, **line, **drawing).fit(train)
    config = processor.complete_config(config)
    model = TimesCLIPForRegression(config)
    if checkpoint is not None:
        source = TimesCLIPForRegression.from_vision_text_pretrained(
            checkpoint, checkpoint, config=processor.complete_config(whole)
        )
        model.timesclip.vision_tower.load_state_dict(source.timesclip.vision_tower.state_dict())
    return model.eval(), processor


@torch.no_grad()
def measure(model: Any, processor: Any, data: Any) -> tuple[float, float]:
    """R2 of a part, and seconds of CPU."""
    started, answers, labels = time.process_time(), [], []
    for batch in DataLoader(data, 64, collate_fn=TimesCLIPDataCollator(processor)):
        labels.append(batch.pop("labels").numpy())
        answers.append(model(**batch).predictions.numpy())
    seconds = time.process_time() - started
    return regression_metrics(np.concatenate(answers)[:, 0], np.concatenate(labels)[:, 0])["r2"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--checkpoint", help="its vision tower in place of random ones, such as timesclip-small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    arguments = parser.parse_args()
    disable_progress_bar()
    data = load_wide_table(arguments.table, target="yield_t_ha", variates=BANDS, static_columns=KNOWN)
    parts = split_by_column(data, "split")
    print("| seed | what is read | R2, validation | R2, test | CPU seconds for 1 000 series |")
    print("|---|---|---|---|---|")
    for seed in arguments.seeds:
        for way in arguments.ways:
            model, processor = build(arguments.checkpoint, seed, way, parts["train"])
            fit_head(model, processor, parts["train"])
            found = {name: measure(model, processor, parts[name]) for name in ("validation", "test")}
            seconds = sum(part[1] for part in found.values()) / sum(len(parts[name]) for name in found)
            scores = " | ".join(f"{score:.3f}" for score, _ in found.values())
            print(f"| {seed} | {way} | {scores} | {1000 * seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
