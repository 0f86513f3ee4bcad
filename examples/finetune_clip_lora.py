# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune real CLIP towers by adapters of some megabytes (LoRA) on the crop-yield table. Copy and change.

python examples/finetune_clip_lora.py --clip openai/clip-vit-base-patch16     # downloads CLIP; wants a GPU
"""

import argparse

from peft import get_peft_model
from transformers import pipeline

import timesclip_hf as tc

parser = argparse.ArgumentParser()
parser.add_argument("--table", default="examples/crop_yield/crop_yield.parquet")
parser.add_argument("--clip", default="openai/clip-vit-base-patch16")
parser.add_argument("--epochs", type=float, default=5)
options = parser.parse_args()

bands = ["NIR", "RVI", "SWIR1", "blue", "evi", "ndvi", "red"]
data = tc.split_by_column(tc.load_wide_table(options.table, target="yield_t_ha", variates=bands), "split")
towers, lengths = (options.clip, options.clip), {"context_length": 36, "patch_length": 6, "patch_stride": 3}
config = tc.TimesCLIPConfig.from_vision_text_pretrained(*towers, num_variates=7, **lengths)
processor = tc.TimesCLIPProcessor.from_config(config, variate_names=bands, target_names=["yield"])
config = processor.fit(data["train"]).complete_config(config)  # draws images as these towers want them
base = tc.TimesCLIPForRegression.from_vision_text_pretrained(*towers, config=config)
base.save_pretrained("runs/lora/base")  # an adapter names the folder, or the Hub repository, of its base ...
processor.save_pretrained("runs/lora/base")  # ... where pipelines look for the processor, too
base = tc.TimesCLIPForRegression.from_pretrained("runs/lora/base")
model = get_peft_model(base, tc.lora_config(base, r=8))
model.print_trainable_parameters()

arguments = tc.TimesCLIPTrainingArguments("runs/lora", num_train_epochs=options.epochs, learning_rate=3e-4)
parts = {"train_dataset": data["train"], "eval_dataset": data["validation"]}
trainer = tc.TimesCLIPTrainer(model, arguments, processor, **parts)
trainer.train()
print(trainer.evaluate(data["test"], metric_key_prefix="test"))
trainer.save_model("runs/lora/adapter")  # the adapter, the trained head and the processor
print(pipeline("time-series-regression", model="runs/lora/adapter")(options.table)["predicted_yield"].tail())
