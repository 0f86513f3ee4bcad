# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Load a saved forecaster and continue a table: the steps after its last row, in original units.

python examples/forecast.py runs/mine/forecast/seed0 my_sensors.csv --timestamp_column time --output forecast.csv
"""

import argparse

from transformers import pipeline

from timesclip_hf import load_series_rows
from timesclip_hf.data.tables import read_table


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

    forecast = pipeline("time-series-forecasting", model=arguments.model)
    if arguments.layout == "rows":
        result = forecast(load_series_rows(arguments.table))
    else:
        result = forecast(
            read_table(arguments.table, header=not arguments.no_header),
            timestamp_column=arguments.timestamp_column,
            series_column=arguments.series_column,
            fill_gaps=arguments.fill_gaps,
        )
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
