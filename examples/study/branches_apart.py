# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""What each branch of trained models says alone, and what is lost without it, on the validation and the test part.

    python -m examples.study.branches_apart runs/small_0 runs/small_1 --static latitude soil crop irrigation

Of regressions with `branch_fusion="late"` that `timesclip train` saved. "Without" leaves a branch out of the weighted
mean. The last lines are correlations of the branches' errors on the test part.
"""

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from timesclip_hf import TimesCLIPForRegression, TimesCLIPProcessor, load_wide_table, split_by_column
from timesclip_hf.data.collator import TimesCLIPDataCollator
from timesclip_hf.metrics import regression_metrics

PARTS = ("validation", "test")


def answers(model: TimesCLIPForRegression, processor: TimesCLIPProcessor, rows: object) -> NDArray[np.float64]:
    """What the branches say of each series `(n, branches)`, in the target's units."""
    said = []
    for batch in DataLoader(rows, 128, collate_fn=TimesCLIPDataCollator(processor)):  # type: ignore[arg-type]
        del batch["labels"]
        with torch.no_grad():
            said.append(model(**{name: value for name, value in batch.items() if torch.is_tensor(value)}))
    return torch.cat([output.branch_predictions for output in said]).double().flatten(1).numpy()


def measure(said: NDArray[np.float64], labels: NDArray[np.float64], names: list[str], weights: list[float]) -> dict:
    """R2 of the mean, of each branch, and without each."""
    mixes = {"all": np.asarray(weights)}
    mixes |= {f"{name} alone": np.eye(len(names))[k] for k, name in enumerate(names)}
    mixes |= {f"without {name}": np.asarray(weights) * (np.arange(len(names)) != k) for k, name in enumerate(names)}
    return {name: regression_metrics(said @ (mix / mix.sum()), labels)["r2"] for name, mix in mixes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="FOLDER")
    parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
    parser.add_argument("--target", default="yield_t_ha")
    parser.add_argument("--static", nargs="*", default=[])
    parser.add_argument("--split", default="split", help="column that says train, validation, test")
    args = parser.parse_args()
    for folder in args.models:
        model, processor = TimesCLIPForRegression.from_pretrained(folder), TimesCLIPProcessor.from_pretrained(folder)
        names, weights = model.config.branches, model.config.branch_weights
        steps = model.config.context_length
        table = load_wide_table(
            args.table,
            target=args.target,
            variates=processor.variate_names,
            static_columns=args.static,
            num_steps=steps,
        )
        parts = split_by_column(table, args.split)
        labels = {part: np.asarray(parts[part]["labels"][:]).ravel() for part in PARTS}
        said = {part: answers(model.eval(), processor, parts[part]) for part in PARTS}
        found = {part: measure(said[part], labels[part], names, weights) for part in PARTS}
        print(f"\n{folder}, weights of {', '.join(names)}: {' '.join(f'{weight:.2f}' for weight in weights)}\n")
        print("| R2 | validation | test |\n|---|---|---|")
        for name in found["test"]:
            print(f"| {name} | {found['validation'][name]:.3f} | {found['test'][name]:.3f} |")
        print(np.corrcoef((said["test"] - labels["test"][:, None]).T).round(2))


if __name__ == "__main__":
    main()
