# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""An epoch of training: the published scripts' way, without and with the feature cache, in one run on this machine.

The case is the published crop-yield script's: ViT-B/16 sizes, 7 variates of 12 steps, batches of 8. The published way
draws each plot with matplotlib and asks the frozen vision tower at every step, in fp32; text tower, head, losses and
optimizer are the same model's in all rows. Weights are random, since speed does not depend on them.

All on the CPU. Steps are measured, epochs are computed from them: an epoch has `--rows` / 8 steps. With the cache, the
first epoch also encodes every series (measured on the series of the run): whole images by the whole tower, or the
patches with ink by half of its layers, after which a step is the same. Where the tokenizer rests, too, what both
towers say is kept (`train_head`), and a later epoch is the head's alone.

    python examples/benchmarks/training.py
"""

import argparse
import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from machine import best_seconds, describe
from rendering import published_image
from transformers import TrainerCallback

from timesclip_hf import (
    FeatureCache,
    TimesCLIPConfig,
    TimesCLIPForRegression,
    TimesCLIPProcessor,
    TimesCLIPTrainer,
    TimesCLIPTrainingArguments,
    train_head,
)

BATCH, VARIATES, STEPS = 8, 7, 12
# What is read of an image, and fields of the configuration.
READ: dict[str, dict[str, Any]] = {
    "": {},
    ", ink alone": {"blank_patches": "drop"},
    ", 6 of 12 layers, blank patches merged by bands": {
        "vision_feature_layer": 6,
        "vision_pooling": "mean",
        "blank_patches": "merge_bands",
    },
    ", 6 of 12 layers, ink alone": {
        "vision_feature_layer": 6,
        "vision_pooling": "mean",
        "blank_patches": "drop",
    },
}
# The first series, which are encoded before the clock starts: of them the cache tells how close ink alone comes.
_WARM_UP = 4


class StepTimes(TrainerCallback):
    """Seconds of each optimizer step, from the end of the one before: data, forward, backward, update, logging."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

    def median(self) -> float:
        return statistics.median(np.diff(self.ends)[2:])


def build(freeze_text: bool, data: Dataset, **fields: Any) -> tuple[TimesCLIPForRegression, TimesCLIPProcessor]:
    torch.manual_seed(0)
    config = TimesCLIPConfig.from_preset(
        "full",
        towers="clip-b16",
        num_variates=VARIATES,
        context_length=STEPS,
        patch_length=6,
        patch_stride=6,
        padding="none",
        freeze_text=freeze_text,
        vision_chunk_size=BATCH * VARIATES,
        **fields,
    )
    processor = TimesCLIPProcessor.from_config(config).fit(data)
    return TimesCLIPForRegression(processor.complete_config(config)), processor


def published_step(model: Any, processor: TimesCLIPProcessor, rows: dict[str, Any]) -> None:
    """Draws with matplotlib, encodes in fp32 under no_grad, and learns, as the published scripts do."""
    values = np.asarray(rows["past_values"], np.float32)
    batch = processor(values, labels=rows["labels"], draw=False)
    plots = batch.pop("plot_values").flatten(0, 1).numpy()
    images = np.stack([published_image(plot, 224) for plot in plots])
    pixels = torch.from_numpy(images).movedim(-1, 1).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std))
    with torch.no_grad():
        features = model.timesclip.vision_tower(pixel_values=(pixels - mean) / std).pooler_output
    batch["vision_features"] = features.unflatten(0, (BATCH, VARIATES))
    model(**batch).loss.backward()


def published(freeze_text: bool, data: Dataset) -> float:
    model, processor = build(freeze_text, data)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    rows = data[:BATCH]

    def step() -> None:
        published_step(model, processor, rows)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return best_seconds(step, 2)


def trained(freeze_text: bool, data: Dataset, cache: str, bf16: bool, steps: int) -> float:
    """Median seconds of a step of `TimesCLIPTrainer`, without filling the cache."""
    model, processor = build(freeze_text, data)
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        settings = TimesCLIPTrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            bf16=bf16,
            use_cpu=True,
            feature_cache=cache,
            feature_cache_dtype="bfloat16" if bf16 else "float32",
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            logging_strategy="steps",
            logging_steps=10,
            report_to=[],
            disable_tqdm=True,
        )
        TimesCLIPTrainer(model, settings, processing_class=processor, train_dataset=data, callbacks=[times]).train()
    return times.median()


def filled(data: Dataset, folder: str, bf16: bool, fields: dict[str, Any]) -> float:
    """Seconds to encode a series and store its features."""
    model, processor = build(True, data, **fields)
    cache = FeatureCache(model, processor, folder, "bfloat16" if bf16 else "float32")
    cache.add(data.select(range(_WARM_UP)), progress=False)
    started = time.perf_counter()
    count = cache.add(data, progress=False)
    return (time.perf_counter() - started) / count


def head_alone(data: Dataset, steps: int) -> float:
    """Seconds of a step of `train_head`, which reads every series once: more steps of one batch, less one of them."""
    seconds, one_layer = [], {"vision_feature_layer": 1, "vision_pooling": "mean"}  # whose feature is as wide
    for epochs in (1, 1 + steps):
        model, processor = build(True, data, **one_layer)
        started = time.perf_counter()
        train_head(model, processor, data.select(range(BATCH)), epochs, batch_size=BATCH)
        seconds.append(time.perf_counter() - started)
    return (seconds[1] - seconds[0]) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1497, help="series of the epoch that is computed")
    parser.add_argument("--series", type=int, default=64, help="series of the run that is measured")
    parser.add_argument("--steps", type=int, default=24, help="steps to measure with the cache")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads (default: all cores)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    values = np.random.default_rng(0).normal(size=(arguments.series, STEPS, VARIATES)).cumsum(axis=1)
    data = Dataset.from_dict({"past_values": values.astype(np.float32), "labels": values[:, -1, :1]})
    steps = -(-arguments.rows // BATCH)

    print(describe())
    print(f"ViT-B/16 sizes, {VARIATES} variates of {STEPS} steps, batch {BATCH}; an epoch is {steps} steps\n")
    print("| text tower | way | s/step | later epoch, min | times faster | 10 epochs, h | times faster |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        filling = {
            bf16: {words: arguments.rows * filled(data, folder, bf16, fields) for words, fields in READ.items()}
            for bf16 in (False, True)
        }
        for freeze_text in (False, True):
            name = "frozen" if freeze_text else "fine-tuned"
            base = published(freeze_text, data)
            print_row(name, "published way, fp32", base, 0.0, base, steps)
            for bf16 in (False, True):
                precision = "bf16" if bf16 else "fp32"
                plain = trained(freeze_text, data, "off", bf16, 5)
                print_row(name, f"no cache, {precision}", plain, 0.0, base, steps)
                cached = trained(freeze_text, data, folder, bf16, arguments.steps)
                for words, seconds in filling[bf16].items():
                    print_row(name, f"feature cache, {precision}{words}", cached, seconds, base, steps)
        head = head_alone(data, arguments.steps)
        for words, seconds in filling[True].items():
            print_row("frozen, tokenizer too", f"head alone, fp32, of bf16{words}", head, seconds, base, steps)


def print_row(text_tower: str, way: str, step: float, filling: float, base: float, steps: int) -> None:
    """One way: seconds a step, and what comes of it beside the published way's."""
    total, published_total = filling + 10 * steps * step, 10 * steps * base
    print(
        f"| {text_tower} | {way} | {step:.3f} | {step * steps / 60:.1f} | {base / step:.1f} | {total / 3600:.2f} "
        f"| {published_total / total:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
