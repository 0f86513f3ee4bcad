# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Pretrain both towers on series that nobody measured, and save a checkpoint to start from. Copy and change.

python examples/pretrain.py --steps 10000 --batch_size 1024
"""

from transformers import HfArgumentParser

from timesclip_hf import TimesCLIPConfig
from timesclip_hf.training.pretraining import PretrainingArguments, pretrain

if __name__ == "__main__":  # the series are made by other processes, which read this file, too
    (arguments,) = HfArgumentParser(PretrainingArguments).parse_args_into_dataclasses()
    pooling = {"vision_pooling": "cls_mean", "text_pooling": "cls_mean"}
    config = TimesCLIPConfig.from_preset("no_selection", towers="timesclip-small", num_variates=1, **pooling)
    pretrain(config, arguments)
