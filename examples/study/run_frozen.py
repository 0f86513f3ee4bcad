# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What frozen towers are worth to few labels: ridge on their readings, of pretrained weights and of random ones.

    python -m examples.study.run_frozen runs/pretrain --labels 50 100 300 1000 2034 --steps 36

Prints R2 on the *validation* years of the crop-yield table, mean and spread over draws of the labels: of each reading
beside the static columns, as `fit_head` fits its heads (here each series is read once for all draws), of their plain
mean, and of the mean that `fit_head` weighs. The test year is for final tables alone, and is not read.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import set_seed

from timesclip_hf import TimesCLIPConfig, TimesCLIPModel, TimesCLIPProcessor, load_wide_table, split_by_column
from timesclip_hf.metrics import regression_metrics
from timesclip_hf.model.presets import PRESETS
from timesclip_hf.model.shapes import ShapeReading, series_to_fit
from timesclip_hf.training.branch_weights import fit_branch_weights
from timesclip_hf.training.heads import RIDGE_PENALTIES
from timesclip_hf.training.kernels import KernelRidge, choose_space

BANDS = ["NIR", "RVI", "SWIR1", "blue", "evi", "ndvi", "red"]
KNOWN = ["latitude", "soil", "crop", "irrigation"]


def load(path: str) -> dict[str, Any]:
    """The training and validation parts."""
    table = load_wide_table(path, target="yield_t_ha", variates=BANDS, static_columns=KNOWN)
    parts = split_by_column(table, "split")
    return {name: parts[name] for name in ("train", "validation")}


def build(
    checkpoint: str | None,
    towers: str | None,
    steps: int,
    train: Any,
    names: Sequence[str] = tuple(BANDS),
    **fields: Any,
) -> tuple[Any, Any]:
    """A model with the towers of a checkpoint, or random ones of its kind or of a named pair; and its processor."""
    shape = {"num_variates": len(names), "context_length": steps, "patch_length": 6, "patch_stride": 3, **fields}
    set_seed(1)
    if towers is not None:
        config = TimesCLIPConfig.from_preset("probe", towers=towers, **shape)
    else:
        config = TimesCLIPConfig.from_vision_text_pretrained(checkpoint, checkpoint, "probe", **shape)
    processor = TimesCLIPProcessor.from_config(config, variate_names=list(names)).fit(train)
    config = processor.complete_config(config)
    if checkpoint is None or towers is not None:
        return TimesCLIPModel(config), processor
    return TimesCLIPModel.from_vision_text_pretrained(checkpoint, checkpoint, config=config), processor


@torch.no_grad()
def read(model: Any, processor: Any, data: Any, batch_size: int = 128) -> dict[str, np.ndarray]:
    """What each head of preset `"probe"` reads of a part `(n, width)`, static values beside it if there are any."""
    found: dict[str, list[np.ndarray]] = {}
    model.eval()
    for first in range(0, len(data), batch_size):
        rows = data[first : first + batch_size]
        batch = processor(np.asarray(rows["past_values"], np.float32), static_values=rows.get("static_values"))
        beside = [batch["static_values"]] if "static_values" in batch else []
        outputs = model(**batch)
        readings = {
            "vision": outputs.vision_features,
            "text": outputs.text_features,
            "linear": batch["variate_values"],
        }
        for name, reading in readings.items():
            if reading is not None:
                found.setdefault(name, []).append(torch.cat([reading.flatten(1), *beside], dim=1).double().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def score(
    readings: dict[str, dict[str, np.ndarray]], targets: dict[str, np.ndarray], rows: np.ndarray
) -> dict[str, float]:
    """R2 on the validation part of heads that were fitted on these rows, and of their means."""
    answers, left_out, y = {}, {}, targets["train"][rows]
    folds = KFold(min(10, len(rows)), shuffle=True, random_state=0)
    for name in readings["train"]:
        x = readings["train"][name][rows]
        head = make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES)).fit(x, y)
        answers[name] = head.predict(readings["validation"][name])
        left_out[name] = cross_val_predict(Ridge(head[-1].alpha_), StandardScaler().fit_transform(x), y, cv=folds)
    stacked = np.stack([*left_out.values()], axis=1)[..., None]
    weights = fit_branch_weights((stacked - y.mean()) / y.std(), ((y - y.mean()) / y.std())[:, None])
    answers["weighed"] = np.einsum("b,bn->n", weights, np.stack([answers[name] for name in left_out]))
    answers["mean"] = np.mean([answers[name] for name in left_out], axis=0)
    return {name: regression_metrics(answer, targets["validation"])["r2"] for name, answer in answers.items()}


def closed_form(
    readings: dict[str, dict[str, np.ndarray]], num_static: int, targets: dict[str, np.ndarray], rows: np.ndarray
) -> dict[str, np.ndarray]:
    """What `fit_head` with kernels and `validation` would say of the other parts, from readings that are there.

    Args:
        readings: part -> branch -> `(n, width)`, static values last; `series` has values, then their running sums, and
            `shapes` the values that they are to be found in.
        num_static: how many static values there are.
        targets: part -> `(n,)`.
        rows: of the training part, to fit on.
    """
    known = targets["train"][rows]
    mean, spread = known.mean(), known.std()
    readings = {part: dict(own) for part, own in readings.items()}
    if "shapes" in readings["train"]:  # what they look for is drawn from these rows
        drawn = with_shapes({part: own["shapes"] for part, own in readings.items()}, num_static, rows)
        for part, own in drawn.items():
            readings[part]["shapes"] = own
    y, y_seen = (known - mean)[:, None] / spread, (targets["validation"] - mean)[:, None] / spread
    said_of_known, said = [], []
    for branch, all_rows in readings["train"].items():
        own, seen = all_rows[rows], readings["validation"][branch]
        half, linear = (own.shape[1] - num_static) // 2, branch == "shapes"
        choices = [slice(0, half), slice(half, 2 * half)] if branch == "series" else [slice(None)]
        beside = num_static + linear * len(BANDS)
        space = choose_space(own, y, beside, None, 0, choices=choices, seen=(seen, y_seen), linear=linear)
        among = space.among_centers()
        ridge = KernelRidge(among if len(among) == len(own) else space.compare(own), among, None, linear)
        penalty, _ = ridge.best_penalty(y, (space.compare(seen), y_seen))
        weight = ridge.solve(y, penalty)
        said.append({part: space.compare(readings[part][branch]) @ weight for part in readings if part != "train"})
        said_of_known.append(np.concatenate([ridge.left_out(y, penalty), said[-1]["validation"]]))
    weights = fit_branch_weights(np.stack(said_of_known, axis=1), np.concatenate([y, y_seen]))
    return {
        part: sum(w * own[part] for w, own in zip(weights, said, strict=True))[:, 0] * spread + mean
        for part in said[0]
    }


def with_shapes(values: dict[str, np.ndarray], num_static: int, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Part -> what preset `"probe"` reads of shapes, and levels, beside static values, fitted on rows of train."""
    series = {
        part: torch.tensor(own[:, : own.shape[1] - num_static], dtype=torch.float32).unflatten(1, (len(BANDS), -1))
        for part, own in values.items()
    }
    reading = ShapeReading(*series["train"].shape[1:], PRESETS["probe"]["shape_features"])
    drawn = np.sort(np.random.default_rng(0).permutation(len(rows))[: series_to_fit(series["train"].shape[2])])
    reading.fit(series["train"][rows[drawn]], 0)
    found = {}
    for part, own in series.items():
        kept = values[part][:, values[part].shape[1] - num_static :]
        found[part] = np.concatenate([reading(own).double().numpy(), own.double().mean(dim=2).numpy(), kept], axis=1)
    return found


def ridge_form(
    readings: dict[str, dict[str, np.ndarray]], num_static: int, targets: dict[str, np.ndarray], rows: np.ndarray
) -> dict[str, np.ndarray]:
    """The same of one ridge on all readings, its penalty by leaving out one row at a time."""
    inputs = {part: np.concatenate(list(own.values()), axis=1) for part, own in readings.items()}
    model = make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES)).fit(
        inputs["train"][rows], targets["train"][rows]
    )
    return {part: model.predict(inputs[part]) for part in inputs if part != "train"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a folder of a TimesCLIP model, or the name of one that ships")
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 300, 1000, 2034])
    parser.add_argument("--steps", type=int, nargs="+", default=[36])
    parser.add_argument("--pooling", nargs="+", default=["mean"], choices=["mean", "cls", "cls_mean"])
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    parts = load(options.table)
    targets = {name: np.asarray(part["labels"], float).reshape(-1) for name, part in parts.items()}
    for steps in options.steps:
        for pooling in options.pooling:
            for title, checkpoint, towers in (
                ("pretrained", options.checkpoint, None),
                ("random", None, "timesclip-small"),
                ("tiny, random", None, "tiny"),
            ):
                fields = {"vision_pooling": pooling, "text_pooling": pooling}
                model, processor = build(checkpoint, towers, steps, parts["train"], **fields)
                readings = {name: read(model, processor, part) for name, part in parts.items()}
                for count in options.labels:
                    many = range(options.draws if count < len(parts["train"]) else 1)
                    orders = [np.random.default_rng(draw).permutation(len(parts["train"]))[:count] for draw in many]
                    scores = [score(readings, targets, np.sort(order)) for order in orders]
                    columns = "  ".join(
                        f"{name} {np.mean([s[name] for s in scores]):.3f} +- {np.std([s[name] for s in scores]):.3f}"
                        for name in scores[0]
                    )
                    print(f"{steps} steps, {pooling}, {title}, n = {count}: {columns}", flush=True)


if __name__ == "__main__":
    main()
