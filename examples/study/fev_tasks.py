# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""TimesCLIP on the tasks of fev (fev-bench), a forecaster trained on the past of each window. Copy and change.

pip install fev  # 0.10 works with datasets below 5
python -m examples.study.fev_tasks --dataset autogluon/chronos_datasets --config m4_weekly --horizon 13 --windows 1
python -m examples.study.fev_tasks --dataset my_series.parquet --horizon 13  # without the Hub, a row for each series
"""

import argparse
from typing import Any

import pandas as pd
from datasets import Dataset, DatasetDict

import timesclip_hf as tc


def long_frame(rows: Dataset, window: Any, columns: list[str]) -> pd.DataFrame:
    """A row for each series as a row for each series and time."""
    lists = [window.timestamp_column, *columns]
    frame = rows.with_format(None).to_pandas()[[window.id_column, *lists, *window.static_columns]]
    return frame.explode(lists, ignore_index=True).infer_objects()


def forecast(window: Any, quantile_levels: list[float], **settings: Any) -> DatasetDict:
    """What fev asks of a model for one window: target -> a row for each series, in the order of the past data."""
    past, future = window.get_input_data()
    known, targets = list(window.known_dynamic_columns), list(window.target_columns)
    history = long_frame(past, window, [*targets, *known, *window.past_dynamic_columns])
    levels = sorted({0.5, *quantile_levels})
    forecaster = tc.TimesCLIPForecaster(frame="chronos", **settings).fit(
        history, id_column=window.id_column, timestamp_column=window.timestamp_column, target=targets,
        future_covariates=known, past_covariates=window.past_dynamic_columns, static=window.static_columns,
        horizon=window.horizon, quantile_levels=levels,
    )  # fmt: skip
    told = forecaster.predict(history, long_frame(future, window, known) if known else None)
    names, found = ["predictions", *(f"{level:g}" for level in quantile_levels)], {}
    for target, rows in told.groupby("target_name"):
        series = {name: part[names] for name, part in rows.groupby(window.id_column)}
        found[str(target)] = Dataset.from_list([series[name].to_dict("list") for name in past[window.id_column]])
    return DatasetDict({target: found[target] for target in targets})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default="autogluon/chronos_datasets", help="on the Hub, or a Parquet file")
    parser.add_argument("--config", default="m4_weekly", help="of a dataset on the Hub")
    parser.add_argument("--horizon", type=int, default=13)
    parser.add_argument("--windows", type=int, default=1)
    options = parser.parse_args()
    try:
        import fev
    except ImportError as error:
        raise SystemExit("this example needs fev: pip install fev") from error
    levels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    task = fev.Task(
        dataset_path=options.dataset, horizon=options.horizon,
        dataset_config=None if options.dataset.endswith(".parquet") else options.config,
        num_windows=options.windows, quantile_levels=levels, eval_metric="MASE",
    )  # fmt: skip
    predictions = [forecast(window, levels) for window in task.iter_windows()]
    print(task.evaluation_summary(predictions, model_name="TimesCLIP"))


if __name__ == "__main__":
    main()
