# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Does training start better from towers that know series? The text branch from a checkpoint, and from random weights.

    python -m examples.study.fine_tuned timesclip-small

Crop yield, 36 steps, all labels or `--labels` of them, text alone (mean of tokens, preset `late` without its kernel).
`random` and `checkpoint`: all weights at 1e-3 from the first step on, as `timesclip train` does with random towers
(from the checkpoint also with the tower at a tenth of that). `... head first`: the head reads the tower's features
without a selection before it, learns 30 epochs alone on features that are read once, at 1e-3, then all learn at 1e-4
in half the epochs; from random weights and from the checkpoint alike. Prints the validation R2 before the first epoch
and after every one, the test R2 of the one that validation chose, and CPU seconds.
"""

import argparse
import shutil
import time
from typing import Any

import numpy as np
import transformers

from timesclip_hf import (
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
)
from timesclip_hf.metrics import regression_metrics

from .frozen_table import load
from .run_frozen import BANDS

# Name -> whether weights of the checkpoint are loaded, the rate, the tower's rate, and epochs of the head alone.
STARTS: dict[str, tuple[bool, float, float, int]] = {
    "random": (False, 1e-3, 1e-3, 0),
    "checkpoint": (True, 1e-3, 1e-3, 0),
    "checkpoint, tower at a tenth": (True, 1e-3, 1e-4, 0),
    "random, head first": (False, 1e-4, 1e-4, 30),
    "checkpoint, head first": (True, 1e-4, 1e-4, 30),
}
# What its head reads then: no projection and no selection of random weights stand before it.
DIRECT = {"head_reads": "features", "variate_selection": None}


def train(options: argparse.Namespace, parts: Any, name: str, seed: int) -> dict[str, Any]:
    """One run: R2 of validation by epoch, and of the test part at the best of them."""
    loads, rate, tower_rate, alone = STARTS[name]
    started = time.process_time()
    shape: dict[str, Any] = {"num_variates": len(BANDS), "context_length": 36, "patch_length": 6, "patch_stride": 3}
    shape |= DIRECT if alone else {}
    config = TimesCLIPConfig.from_vision_text_pretrained(
        None, options.checkpoint, "late", kernel_shortcut=False, **shape
    )
    processor = TimesCLIPProcessor.from_config(config, variate_names=BANDS).fit(parts["train"])
    config = processor.complete_config(config)
    transformers.set_seed(seed)
    model = TimesCLIPForRegression(config)
    if loads:
        source = TimesCLIPForRegression.from_vision_text_pretrained(None, options.checkpoint, config=config)
        for part in ("text_tower", "tokenizer"):  # the head is the same as from random weights
            getattr(model.base_model, part).load_state_dict(getattr(source.base_model, part).state_dict())
    arguments = TimesCLIPTrainingArguments(
        options.output_dir, num_train_epochs=options.epochs // 2 if alone else options.epochs, learning_rate=rate,
        tower_learning_rate=tower_rate, head_epochs=alone, eval_on_start=True, weight_decay=0.05, seed=seed,
        per_device_train_batch_size=64, per_device_eval_batch_size=256, report_to="none", disable_tqdm=True,
        save_only_model=True,
    )  # fmt: skip
    train_rows = parts["train"]
    if options.labels:
        rows = np.random.default_rng(seed).permutation(len(train_rows))[: options.labels]
        train_rows = train_rows.select(sorted(rows.tolist()))
    trainer = TimesCLIPTrainer(model, arguments, processor, train_dataset=train_rows, eval_dataset=parts["validation"])
    trainer.train()
    curve = [log["eval_r2"] for log in trainer.state.log_history if "eval_r2" in log]
    said = np.asarray(trainer.predict(parts["test"]).predictions)[:, 0]
    shutil.rmtree(options.output_dir, ignore_errors=True)
    truth = np.asarray(parts["test"]["labels"], float).reshape(-1)
    return {"curve": curve, "test": regression_metrics(said, truth)["r2"], "seconds": time.process_time() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a folder of a TimesCLIP model, or the name of one that ships")
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--labels", type=int, default=0, help="0: all")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output_dir", default="runs/fine_tuned")
    options = parser.parse_args()
    parts = load(options.table, 36)
    for seed in options.seeds:
        for name in options.starts:
            found = train(options, parts, name, seed)
            curve = " ".join(f"{score:.3f}" for score in found["curve"])
            said = f"best {max(found['curve']):.3f}, test {found['test']:.4f}, {found['seconds']:.0f} CPU s"
            print(f"seed {seed}, {name}: validation {curve}; {said}", flush=True)


if __name__ == "__main__":
    main()
