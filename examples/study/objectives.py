# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What should towers be taught? Objectives at equal budget, judged frozen on planted labels and on crop yield.

    python -m examples.study.objectives --steps 400
    python -m examples.study.objectives --steps 400 --objectives "crops + level (ships)" --width 128 --layers 3 \\
        --image_patch 8 --learning_rate 1e-3      # larger towers

The towers of `timesclip-small` from random weights, the same series in the same order, 64 at a time; what is asked of
them differs:

- `crops + level`: what ships, see `training/pretraining.py`.
- `crops alone`: the same without level, spread, slope and period.
- `crops + level, sigmoid`: SigLIP's pairwise loss (arXiv 2303.15343) in place of InfoNCE, at the same temperature,
  the bias learnt.
- `plain InfoNCE`: plot and patches of one and the same reading of a series, as CLIP has it, at the same temperature.
- `masked patches`: four of ten patches are hidden from the text tower, and as many of the image from the vision tower;
  each token says what was there (SimMIM, arXiv 2111.09886; PatchTST, arXiv 2211.14730).

Judged by ridge on the means of tokens of both towers. Planted labels, 96 steps of the generator's series (numbers that
no pretraining has seen): a level, a slope and a period, each added to another series that is as large, and which of
eight shapes a series is of. Crop yield: 36 steps, static columns beside, *validation* years. Mean of three draws.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from datasets import Dataset
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from timesclip_hf import TimesCLIPConfig
from timesclip_hf.data.synthetic import SHAPES, single_shapes, synthetic_series
from timesclip_hf.metrics import regression_metrics
from timesclip_hf.model.tower_configs import TOWERS
from timesclip_hf.model.towers import encode_tokens
from timesclip_hf.training.crops import Shape, draw, two_crops
from timesclip_hf.training.heads import RIDGE_PENALTIES
from timesclip_hf.training.pretraining import (
    CrossCropObjective,
    Pretraining,
    PretrainingArguments,
    pool_of_synthetic,
    read_features,
)

from .run_frozen import build, load, read, ridge_form

STEPS, SYNTHETIC, CROP = 96, (100, 500), (100, 300, 1000)
_FIRST = 10_000_000  # number of the first series that planted labels are put on


class CropsAlone(Pretraining):
    """Without the readers of levels."""

    def terms(self, series: Tensor, lengths: Tensor, shape: Shape) -> dict[str, Tensor]:
        found = super().terms(series, lengths, shape)
        return {name: value for name, value in found.items() if not name.endswith("_level")}


class SigmoidObjective(CrossCropObjective):
    """SigLIP's loss for each pair of readings; level and all else as it ships."""

    def __init__(self, vision_width: int, text_width: int, temperature: float):
        super().__init__(vision_width, text_width, temperature)
        self.bias = nn.ParameterDict({name: nn.Parameter(torch.tensor([-4.0])) for name in self.projectors})

    def forward(self, first: dict[str, Tensor], second: dict[str, Tensor], crop: Any) -> dict[str, Tensor]:
        found = super().forward(first, second, crop)
        for name in first:
            own = F.normalize(self.projectors[name](first[name]), dim=-1)
            kind = name.partition("_")[2]
            other = F.normalize(self.projectors[f"text_{kind}"](second[f"text_{kind}"]), dim=-1)
            logits = math.exp(self.logit_scale) * own @ other.T + self.bias[name]
            signs = 2 * torch.eye(len(logits), device=logits.device) - 1
            found[f"{name}_nce"] = -F.logsigmoid(signs * logits).sum() / len(logits) / 2
        return found


class Sigmoid(Pretraining):
    def build_objective(self, vision_width: int, text_width: int) -> nn.Module:
        return SigmoidObjective(vision_width, text_width, self.arguments.temperature)


class Identity(Pretraining):
    """Plot and patches of the same crop, and nothing else."""

    def terms(self, series: Tensor, lengths: Tensor, shape: Shape) -> dict[str, Tensor]:
        crop, _ = two_crops(series, lengths, shape)
        features = read_features(self.model, crop, draw(crop.plot_values, self.processor, shape))
        found = self.parts["objective"](features, features, crop)
        found["embeds_nce"] = self._align(features, features)
        return {name: value for name, value in found.items() if not name.endswith("_level") and "text_" not in name}


class MaskedObjective(nn.Module):
    """What stands for a hidden patch, and what is read of its token."""

    def __init__(self, text_width: int, vision_width: int, numbers: int, pixels: int):
        super().__init__()
        self.hidden = nn.Parameter(0.02 * torch.randn(text_width))
        self.patch, self.pixels = nn.Linear(text_width, numbers), nn.Linear(vision_width, pixels)


class Masked(Pretraining):
    """Each branch by itself says what was hidden from it."""

    SHARE = 0.4

    def build_objective(self, vision_width: int, text_width: int) -> nn.Module:
        numbers, side = self.model.timesclip.tokenizer.NUM_POINTS, self.model.config.vision_config.patch_size
        return MaskedObjective(text_width, vision_width, numbers, 3 * side * side)

    def terms(self, series: Tensor, lengths: Tensor, shape: Shape) -> dict[str, Tensor]:
        crop, _ = two_crops(series, lengths, shape)
        base, own, side = self.model.timesclip, self.parts["objective"], self.model.config.vision_config.patch_size
        numbers = base.tokenizer.describe(crop.patch_values)[..., : base.tokenizer.NUM_POINTS]
        tokens, mask = base.tokenizer(crop.patch_values), F.pad(crop.patch_mask, (1, 0), value=True)
        hidden = torch.rand(numbers.shape[:2], device=numbers.device) < self.SHARE
        standing = own.hidden + base.tokenizer.positions(numbers.shape[1])[1:]
        tokens = torch.cat([tokens[:, :1], torch.where(hidden[..., None], standing, tokens[:, 1:])], dim=1)
        said = own.patch(encode_tokens(base.text_tower, tokens, mask)[:, 1:])
        asked = hidden & crop.patch_mask
        errors = F.smooth_l1_loss(said, numbers, reduction="none").mean(dim=-1)
        found = {"text": errors[asked].sum() / asked.sum().clamp(1)}
        images = draw(crop.plot_values, self.processor, shape)
        pieces = F.unfold(images, side, stride=side).transpose(1, 2)  # (B, patches, pixels)
        hidden = torch.rand(pieces.shape[:2], device=images.device) < self.SHARE
        shown = torch.where(hidden[..., None], 1.0, pieces).transpose(1, 2)  # paper is 0 and ink below
        shown = F.fold(shown, images.shape[-2:], side, stride=side)
        said = own.pixels(base.vision_tower(pixel_values=shown).last_hidden_state[:, 1:])
        found["vision"] = (said - pieces).square().mean(dim=-1)[hidden].sum() / hidden.sum().clamp(1)
        return found


OBJECTIVES: dict[str, type[Pretraining]] = {
    "crops + level (ships)": Pretraining,
    "crops alone": CropsAlone,
    "crops + level, sigmoid": Sigmoid,
    "plain InfoNCE": Identity,
    "masked patches": Masked,
}


def planted(count: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Task -> series `(count, 96, 1)` and labels `(count,)`."""
    rng, time_axis = np.random.default_rng(1), np.linspace(-1, 1, STEPS)
    made = synthetic_series(np.arange(_FIRST, _FIRST + count), min_length=STEPS, max_length=STEPS)
    ground = np.stack(made)[..., 0].astype(float)
    ground -= np.nanmean(ground, axis=1, keepdims=True)
    spread = np.nanstd(ground, axis=1, keepdims=True)
    ground = ground / np.where(spread > 1e-6, spread, np.inf)
    level, slope, phase = rng.normal(size=(count, 1)), rng.normal(size=(count, 1)), rng.uniform(0, 6.28, (count, 1))
    period = 4 * 24 ** rng.uniform(size=(count, 1))  # 4 to 96 steps
    wave = 1.4 * np.sin(2 * np.pi * np.arange(STEPS) / period + phase)
    kinds = np.arange(count) % len(SHAPES)
    shapes = np.stack([single_shapes(list(SHAPES)[kind], [_FIRST + k], 2, STEPS)[0] for k, kind in enumerate(kinds)])
    tasks = {
        "level": (ground + level, level[:, 0]),
        "slope": (ground + 1.7 * slope * time_axis, slope[:, 0]),
        "period": (ground + wave, np.log(period[:, 0])),
        "shape": (shapes + 0.3 * rng.normal(size=shapes.shape), kinds),
    }
    return {name: (series[..., None], labels) for name, (series, labels) in tasks.items()}


def judge(folder: str | None, parts: Any, tasks: Any) -> dict[str, float]:
    """What frozen towers are worth: scores by task and number of labels."""
    random = None if folder else "timesclip-small"
    found: dict[str, float] = {}
    model, processor = build(folder, random, 36, parts["train"])
    targets = {name: np.asarray(part["labels"], float).reshape(-1) for name, part in parts.items()}
    crop = {name: read(model, processor, part) for name, part in parts.items()}
    for branches in (["text"], ["vision"], ["text", "vision"]):
        own = {part: {name: said[name] for name in branches} for part, said in crop.items()}
        for n in CROP:
            orders = [np.random.default_rng(draw).permutation(len(targets["train"]))[:n] for draw in range(3)]
            said = [ridge_form(own, 0, targets, np.sort(order))["validation"] for order in orders]
            scores = [regression_metrics(each, targets["validation"])["r2"] for each in said]
            found[f"crop, {' + '.join(branches)}, {n}"] = float(np.mean(scores))
    for task, (series, labels) in tasks.items():
        known = len(series) // 2
        few = {"past_values": list(series)}
        fields = {"patch_length": 16, "patch_stride": 8}
        model, processor = build(folder, random, STEPS, list(series[:known]), ["value"], **fields)
        said = read(model, processor, Dataset.from_dict(few))
        both = np.concatenate([said["text"], said["vision"]], axis=1)
        for n in SYNTHETIC:
            orders = [np.random.default_rng(draw).permutation(known)[:n] for draw in range(3)]
            scores = [_score(task, both, labels, rows, known) for rows in orders]
            found[f"{task}, {n}"] = float(np.mean(scores))
    return found


def _score(task: str, readings: np.ndarray, labels: np.ndarray, rows: np.ndarray, known: int) -> float:
    """R2 of the second half of the series, or the share of shapes that are told."""
    if task == "shape":
        head = make_pipeline(StandardScaler(), RidgeClassifierCV(RIDGE_PENALTIES)).fit(readings[rows], labels[rows])
        return float(head.score(readings[known:], labels[known:]))
    parts = {"train": {"both": readings[:known]}, "test": {"both": readings[known:]}}
    said = ridge_form(parts, 0, {"train": labels[:known]}, rows)["test"]
    return regression_metrics(said, labels[known:])["r2"]


def tower_sizes(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Both towers of `timesclip-small`, as wide and deep as asked."""
    sizes = {
        "hidden_size": options.width,
        "intermediate_size": 2 * options.width,
        "num_hidden_layers": options.layers,
        "num_attention_heads": max(4, options.width // 32),
    }
    own = {"vision": {"patch_size": options.image_patch}, "text": {}}
    return {f"{name}_config": TOWERS["timesclip-small"][f"{name}_config"] | sizes | own[name] for name in own}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument(
        "--width", type=int, default=64, help="of both towers; one head of attention for each 32 from 128 on"
    )
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--image_patch", type=int, default=16, help="pixels of a patch's side, of 64")
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    parser.add_argument("--checkpoint", help="towers to judge beside them, such as timesclip-small")
    parser.add_argument("--output_dir", default="runs/objectives")
    options = parser.parse_args()
    parts, tasks, lines = load(options.table), planted(2000), {}
    towers = {"random": None} | ({options.checkpoint: options.checkpoint} if options.checkpoint else {})
    for name, folder in towers.items():
        lines[name] = judge(folder, parts, tasks)
        print(name, {key: round(value, 3) for key, value in lines[name].items()}, flush=True)
    pooling = {"vision_pooling": "cls_mean", "text_pooling": "cls_mean"}
    config = TimesCLIPConfig.from_preset(
        "no_selection", towers="timesclip-small", num_variates=1, **pooling, **tower_sizes(options)
    )
    rates = {
        "steps": options.steps,
        "batch_size": 64,
        "num_series": 64 * options.steps,
        "learning_rate": options.learning_rate,
    }
    pool = None
    for name in options.objectives:
        folder = str(Path(options.output_dir) / name.replace(" ", "_"))
        arguments = PretrainingArguments(folder, device="cpu", num_workers=0, save_steps=options.steps, **rates)
        pool = pool_of_synthetic(arguments) if pool is None else pool
        started = time.process_time()
        OBJECTIVES[name](config, arguments, pool, None).run()
        seconds = time.process_time() - started
        lines[name] = judge(folder, parts, tasks) | {"CPU minutes": seconds / 60}
        print(name, {key: round(value, 3) for key, value in lines[name].items()}, flush=True)
    frame = pd.DataFrame(lines)
    print("| | " + " | ".join(frame) + " |", "|---" * (frame.shape[1] + 1) + "|", sep="\n")
    for name, row in frame.iterrows():
        print(f"| {name} | " + " | ".join("-" if np.isnan(score) else f"{score:.3f}" for score in row) + " |")


if __name__ == "__main__":
    main()
