# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Load a saved regression model and predict the rows of a wide table, in a new process and in original units.

python examples/predict.py runs/crop_yield/small/seed0 my_new_fields.csv --output predictions.csv
"""

import argparse

import numpy as np
import torch

from timesclip_hf import TimesCLIPDataCollator, TimesCLIPForRegression, TimesCLIPProcessor, load_wide_table

BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a saved model (or its id on the Hub)")
    parser.add_argument(
        "table", help="CSV or Parquet with the columns that the model was trained on; no target needed"
    )
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--output", help="write the table's other columns and the predictions to this CSV")
    arguments = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = TimesCLIPForRegression.from_pretrained(arguments.model).eval().to(device)
    processor = TimesCLIPProcessor.from_pretrained(arguments.model)
    if processor.variate_names is None:
        raise ValueError(
            f"{arguments.model} does not say in which order it takes its variates: fit with variate_names."
        )
    dataset = load_wide_table(
        arguments.table,
        target=None,
        variates=processor.variate_names,
        static_columns=[column["name"] for column in processor.statistics["static"] or []],
        num_steps=processor.context_length,
        drop_unobserved=True,
    )
    dataset = dataset.select(range(min(arguments.rows or len(dataset), len(dataset))))
    collate = TimesCLIPDataCollator(processor)
    predictions = []
    with torch.no_grad():
        for first in range(0, len(dataset), BATCH):
            rows = dataset.select(range(first, min(first + BATCH, len(dataset))))
            batch = {name: tensor.to(device) for name, tensor in collate(list(rows)).items()}
            predictions.append(model(**batch).predictions.cpu().numpy())

    named = [column for column in dataset.column_names if column not in ("past_values", "static_values")]
    table = dataset.select_columns(named).to_pandas() if named else dataset.to_pandas()[[]]
    for index, column in enumerate(np.concatenate(predictions).T):
        table["prediction" if model.config.num_targets == 1 else f"prediction_{index}"] = column.round(4)
    if arguments.output:
        table.to_csv(arguments.output, index=False)
        print(f"{len(table)} predictions written to {arguments.output}.")
    else:
        print(table.to_string(index=False))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"predict.py: {error}") from None
