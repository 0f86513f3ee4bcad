# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Load a saved forecaster and continue a table: the steps after its last row, in original units.

python examples/forecast.py runs/mine/forecast/seed0 my_sensors.csv --timestamp_column time --output forecast.csv
"""

import argparse

import numpy as np
import pandas as pd
import torch

from timesclip_hf import TimesCLIPForPrediction, TimesCLIPProcessor, load_long_table, load_series_rows
from timesclip_hf.data import continue_timestamps

BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a saved model (or its id on the Hub)")
    parser.add_argument("table", help="CSV, TXT or Parquet with the columns that the model was trained on")
    parser.add_argument("--timestamp_column", help="dates or numbers; the forecast's are continued from them")
    parser.add_argument("--series_column", help="column that names a row's series, for tables of several")
    parser.add_argument("--layout", choices=("long", "rows"), default="long", help="rows: one series a row, as M4 has")
    parser.add_argument("--no_header", action="store_true", help="the text file has no line of column names")
    parser.add_argument("--fill_gaps", action="store_true", help="insert missing time steps as missing values")
    parser.add_argument("--output", help="write the forecast to this CSV")
    arguments = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = TimesCLIPForPrediction.from_pretrained(arguments.model).eval().to(device)
    processor = TimesCLIPProcessor.from_pretrained(arguments.model)
    if arguments.layout == "rows":
        series = load_series_rows(arguments.table)
    else:
        series = load_long_table(
            arguments.table,
            timestamp_column=arguments.timestamp_column,
            series_column=arguments.series_column,
            variates=processor.variate_names,
            header=not arguments.no_header,
            fill_gaps=arguments.fill_gaps,
        )
    if short := sum(len(values) < processor.context_length for values in series.values):
        print(
            f"{short} series are shorter than the {processor.context_length} steps that the model was trained to see."
        )
    context = [values[-processor.context_length :] for values in series.values]
    predictions = []
    with torch.no_grad():
        for first in range(0, len(context), BATCH):
            batch = processor(context[first : first + BATCH]).to(device)
            predictions.append(model(**batch).predictions.cpu().numpy())

    tables = []
    for number, forecast in enumerate(np.concatenate(predictions)):
        table = pd.DataFrame(forecast, columns=series.variate_names)
        if series.timestamps is None:
            table.insert(0, "step", range(1, len(table) + 1))
        else:
            table.insert(0, arguments.timestamp_column, continue_timestamps(series.timestamps[number], len(table)))
        if arguments.series_column or arguments.layout == "rows":
            table.insert(0, arguments.series_column or "series", series.series_names[number])
        tables.append(table)
    result = pd.concat(tables, ignore_index=True)
    if arguments.output:
        result.to_csv(arguments.output, index=False)
        print(f"{len(result)} rows written to {arguments.output}.")
    else:
        print(result.to_string(index=False))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        raise SystemExit(f"forecast.py: {error}") from None
