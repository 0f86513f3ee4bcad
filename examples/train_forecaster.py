# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Learn to continue the series of a table, measure, save, and forecast what comes after its end. Copy and change.

python examples/train_forecaster.py --table sensors.csv --time time
"""

import argparse

import numpy as np
import pandas as pd
from transformers import pipeline

import timesclip_hf as tc

parser = argparse.ArgumentParser()
parser.add_argument("--table", help="a row a time step; else two sensors are made up")
parser.add_argument("--time", default="time", help="the column of the times")
parser.add_argument("--epochs", type=float, default=5)
options = parser.parse_args()

hours, waves = np.arange(24 * 120), np.sin(np.arange(24 * 120) * 2 * np.pi / 24)
made_up = {"time": pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, "h"), "load_mw": 500 + 80 * waves, "c": waves}
table = options.table or pd.DataFrame(made_up)

series = tc.load_long_table(table, timestamp_column=options.time)
shape = {"context_length": 96, "prediction_length": 24}  # steps in, steps out
windows = tc.split_windows(series, **shape, train=0.7, validation=0.1, test=0.2)

shape |= {"num_variates": len(series.variate_names), "patch_length": 16, "patch_stride": 8}
config = tc.TimesCLIPConfig.from_preset("forecast", towers="tiny", **shape)
processor = tc.TimesCLIPProcessor.from_config(config, scaling="instance", variate_names=series.variate_names)
model = tc.TimesCLIPForPrediction(processor.fit(windows.train.series).complete_config(config))
arguments = tc.TimesCLIPTrainingArguments("runs/forecaster", num_train_epochs=options.epochs, learning_rate=1e-3)
trainer = tc.TimesCLIPTrainer(
    model, arguments, processor, train_dataset=windows.train, eval_dataset=windows.validation
)
trainer.train()
print(trainer.evaluate(windows.test, metric_key_prefix="test"))
trainer.save_model("runs/forecaster/best")
print(pipeline("time-series-forecasting", model="runs/forecaster/best")(table, timestamp_column=options.time))
