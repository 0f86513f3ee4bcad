# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Does the recipe of `timesclip-small` still give its loss curve? A tenth of the pretraining again, on one thread.

    OMP_NUM_THREADS=1 python -m examples.study.pretrained_again

Compares the loss of every tenth step with `curve.json`, which is kept beside the weights, and says whether they are
equal to the bit (exit status 1: they are not). `--steps 1500` goes to the end and compares the weights, too.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from timesclip_hf import TimesCLIPConfig
from timesclip_hf.model.tower_configs import checkpoint_folder
from timesclip_hf.training.pretraining import PretrainingArguments, pretrain

RECIPE = {"steps": 1500, "batch_size": 64, "num_series": 40_000, "learning_rate": 2e-3, "device": "cpu"}
LOG_STEPS = 10
SHIPPED = Path(checkpoint_folder("timesclip-small"))


def curve(steps: int, folder: Path) -> list[float]:
    """Losses of every tenth step, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    pooling = {"vision_pooling": "cls_mean", "text_pooling": "cls_mean"}
    config = TimesCLIPConfig.from_preset("no_selection", towers="timesclip-small", num_variates=1, **pooling)
    pretrain(config, PretrainingArguments(str(folder), stop_after=steps, log_steps=LOG_STEPS, **RECIPE))
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def compare(found: list[float], kept: list[float]) -> tuple[str, bool]:
    """In words, and whether all are equal."""
    same = found == kept[: len(found)]
    apart = np.abs(np.asarray(found) - np.asarray(kept[: len(found)])).max()
    words = "equal to the bit" if same else f"not equal, {apart:.3g} apart at most"
    return f"{len(found)} losses, steps {LOG_STEPS} to {LOG_STEPS * len(found)}: {words}", same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=RECIPE["steps"] // 10)
    parser.add_argument("--output_dir", default="runs/pretrained_again")
    parser.add_argument("--keep", action="store_true", help="write curve.json here in place of comparing with it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(options.output_dir)
    found, same = curve(options.steps, folder), True
    if options.keep:
        facts = {**RECIPE, "log_steps": LOG_STEPS, "torch": torch.__version__, "loss": found}
        (folder / "curve.json").write_text(json.dumps(facts) + "\n")
    else:
        kept = json.loads((SHIPPED / "curve.json").read_text())
        words, same = compare(found, kept["loss"])
        print(f"{words} (kept: torch {kept['torch']}, now {torch.__version__})")
    if options.steps >= RECIPE["steps"]:
        shipped, own = (load_file(at / "model.safetensors") for at in (SHIPPED, folder))
        equal = sum(torch.equal(value, own[name]) for name, value in shipped.items())
        print(f"{equal} of {len(shipped)} tensors equal those that ship")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
