# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Learn a number for each series of a table (here the yield of a field), measure, save, and predict. Copy and change.

python examples/train_regression.py --epochs 20
"""

import argparse

from transformers import pipeline

import timesclip_hf as tc

parser = argparse.ArgumentParser()
parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
parser.add_argument("--epochs", type=float, default=20)
options = parser.parse_args()

bands = ["NIR", "RVI", "SWIR1", "blue", "evi", "ndvi", "red"]  # of columns ndvi_00, ndvi_01, ...: a row is a series
known = ["latitude", "soil", "crop", "irrigation"]  # columns known before the season; may be []
table = tc.load_wide_table(options.table, target="yield_t_ha", variates=bands, static_columns=known)
data = tc.split_by_column(table, "split")  # or split_chronologically, split_by_group

shape = {"num_variates": len(bands), "context_length": 36, "patch_length": 6, "patch_stride": 3}
config = tc.TimesCLIPConfig.from_preset("small", towers="tiny", **shape)
names = {"variate_names": bands, "target_names": ["yield"], "target_units": ["t/ha"]}
processor = tc.TimesCLIPProcessor.from_config(config, **names)
processor.fit(data["train"])  # levels and spreads of the training part alone
model = tc.TimesCLIPForRegression(processor.complete_config(config))
arguments = tc.TimesCLIPTrainingArguments(
    "runs/regression", num_train_epochs=options.epochs, learning_rate=1e-3, per_device_train_batch_size=64
)
trainer = tc.TimesCLIPTrainer(
    model, arguments, processor, train_dataset=data["train"], eval_dataset=data["validation"]
)
trainer.train()  # keeps the epoch that is best on the validation part
print(trainer.evaluate(data["test"], metric_key_prefix="test"))  # RMSE, MAE, R2, MAPE in t/ha
trainer.save_model("runs/regression/best")  # model, processor and a card

predict = pipeline("time-series-regression", model="runs/regression/best")  # in any other process, too
print(predict(options.table)[["split", "predicted_yield"]].tail())
