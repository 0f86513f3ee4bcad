# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Load a saved regression model or classifier and predict the rows of a wide table, in a new process.

python examples/predict.py runs/crop_yield/small/seed0 my_new_fields.csv --output predictions.csv

The command `timesclip predict` does the same for any saved model; this is how it looks in Python.
"""

import argparse

from transformers import pipeline

from timesclip_hf import pipeline_task, read_wide_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a saved model (or its id on the Hub)")
    parser.add_argument(
        "table", help="CSV or Parquet with the columns that the model was trained on; no target needed"
    )
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    parser.add_argument("--output", help="write the table's other columns and the predictions to this CSV")
    arguments = parser.parse_args()

    predict = pipeline(pipeline_task(arguments.model), model=arguments.model)
    table = predict(read_wide_table(arguments.table).iloc[: arguments.rows])
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
