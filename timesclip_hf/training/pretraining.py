# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Towers learn what series look like: two crops of a series are to be recognised as one, by patches and by plots.

The objective, of a batch of synthetic series (`data.synthetic`), each cropped twice (`crops`): InfoNCE between the
patches of both crops, and between the plot of the first and the patches of the second, by the mean of tokens and by
the CLS token; and half of a smooth L1 loss of level, spread, slope and dominant period, read from each of these. The
projectors in between are thrown away. Lengths of contexts, patches and strides, and the width of lines, change from
batch to batch, so towers and tokenizer serve any.

The temperature is high: a low or a learnt one (which falls to the lowest there is) makes fingerprints of features.
Tiny text towers, 250 steps of 64 series, then 50, 100, 300 and 2 034 labels of the crop data (R2 on its validation
years): .52, .67, .79, .84 with .5; .42, .58, .77, .84 with .1; from random weights .41, .64, .76, .83. With a learnt
one, 3 600 steps of 1 024 series left larger towers at .25, .49, .72, .84. Longer is not better by itself: look.

Somebody's own series (`pretraining_series`, `timesclip pretrain`) are read in the same way, best from towers that have
seen synthetic ones.

A loop of its own: `TimesCLIPTrainer` gives a model one batch of a data set, here two readings of one series are made
on the device, and no two batches have the same shape.
"""

import itertools
import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.synthetic import synthetic_pool
from ..hub.pretraining_card import write_pretraining_card
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.ink import blanks_of
from ..model.losses import info_nce
from ..model.modeling_timesclip import TimesCLIPForPreTraining
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.towers import encode_images, encode_tokens, pool_tokens
from .crops import Crops, Shape, draw, two_crops
from .pretraining_series import SeriesPool, pool_of_series

_STATE = "pretraining_state.pt"
_FEWEST = 4  # series in a batch


@dataclass
class PretrainingArguments:
    """How towers are pretrained.

    Args:
        output_dir: gets model (fp16), processor, `log.jsonl`, and the state that an interrupted run goes on from.
        steps: of training in all; the learning rate falls to 0 towards the last one.
        stop_after: end after this step, as if interrupted; the same command without it goes on.
        batch_size: series in a batch; best a multiple of 16, then plots have 16 colours.
        num_series: synthetic ones in the pool, numbers 0 to `num_series - 1` of `seed`.
        learning_rate: the highest; a twentieth of all steps warms up.
        weight_decay: of AdamW.
        temperature: of InfoNCE; fixed and high, see above.
        seed: of weights, series and crops.
        device: `"cuda"`, `"cpu"`, ...; not set: an accelerator if there is one.
        num_workers: processes that make the pool; not set: one for each processor.
        log_steps, save_steps: how often to print, and to save.
    """

    output_dir: str = "runs/pretrain"
    steps: int = 10_000
    stop_after: int | None = None
    batch_size: int = 1024
    num_series: int = 200_000
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    temperature: float = 0.5
    seed: int = 0
    device: str | None = None
    num_workers: int | None = None
    log_steps: int = 100
    save_steps: int = 1000


class CrossCropObjective(nn.Module):
    """Projectors and readers of levels around two towers; thrown away when these are trained.

    Args:
        vision_width, text_width: of the towers' tokens.
        temperature: by which cosines are divided.
        projection_dim: of what is compared.
    """

    KINDS = ("cls", "mean")

    def __init__(self, vision_width: int, text_width: int, temperature: float, projection_dim: int = 128):
        super().__init__()
        widths = {"vision": vision_width, "text": text_width}
        names = [(f"{branch}_{kind}", width) for branch, width in widths.items() for kind in self.KINDS]
        self.projectors = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, projection_dim))
                for name, width in names
            }
        )
        self.levels = nn.ModuleDict({name: nn.Linear(width, 4) for name, width in names})
        self.logit_scale = -math.log(temperature)

    def forward(self, first: dict[str, Tensor], second: dict[str, Tensor], crop: Crops) -> dict[str, Tensor]:
        """Parts of the loss, and shares of crops that were found again (`..._top1`).

        Args:
            first: features `(B, width)` of the first crop, by branch and kind (`"vision_mean"`, ...).
            second: the same of the second crop; its plots are not drawn.
            crop: the first one.
        """
        found: dict[str, Tensor] = {}
        number = torch.arange(len(crop.said), device=crop.said.device)
        for kind in self.KINDS:
            other = self.projectors[f"text_{kind}"](second[f"text_{kind}"])
            for branch, truth in (("vision", crop.drawn), ("text", crop.said)):
                name = f"{branch}_{kind}"
                own = self.projectors[name](first[name])
                found[f"{name}_nce"] = info_nce(own, other, self.logit_scale) / 2
                with torch.no_grad():
                    similar = F.normalize(own, dim=-1) @ F.normalize(other, dim=-1).T
                    found[f"{name}_top1"] = (similar.argmax(dim=1) == number).float().mean()
                errors = F.smooth_l1_loss(self.levels[name](first[name]), truth, reduction="none")
                found[f"{name}_level"] = 0.25 * (errors * crop.counts).sum() / crop.counts.sum()
        return found


def draw_shape(seed: int, step: int) -> Shape:
    """How the batch of a step is read: 12 to 384 steps in some 5 to 32 patches that overlap by half."""
    rng = np.random.default_rng((seed, step))
    context_length = int(np.exp(rng.uniform(np.log(12), np.log(385))))
    patch_length = int(np.clip(round(2 * context_length / rng.uniform(5, 33)), 1, context_length))
    return Shape(context_length, patch_length, max(1, patch_length // 2), float(rng.uniform(1.2, 3.2)))


def draw_rows(count: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Rows of the pool that a step reads: every one once before any comes again."""
    epoch, place = divmod(step, max(1, count // batch_size))
    order = np.random.default_rng((seed, 1, epoch)).permutation(count)
    return order[place * batch_size : (place + 1) * batch_size]


def read_features(model: Any, crop: Crops, images: Tensor | None) -> dict[str, Tensor]:
    """CLS token and mean of tokens of a crop `(B, width)`, of its patches and, where given, its images."""
    base, mask = model.timesclip, F.pad(crop.patch_mask, (1, 0), value=True)
    tokens = encode_tokens(base.text_tower, base.tokenizer(crop.patch_values), mask)
    pooled = {"text": pool_tokens(tokens, mask, "cls_mean")}
    if images is not None:
        pooled["vision"] = encode_images(base.vision_tower, images, None, "cls_mean", blanks_of(base.config))
    features: dict[str, Tensor] = {}
    for branch, both in pooled.items():
        features[f"{branch}_cls"], features[f"{branch}_mean"] = both.chunk(2, dim=-1)
    return features


def pretrain(
    config: TimesCLIPConfig, arguments: PretrainingArguments, series: Any = None, start: str | None = None
) -> TimesCLIPForPreTraining:
    """Pretrains both towers and the tokenizer of a configuration; prints how it goes.

    Args:
        config: with both branches, `patch_tokenizer="resampled"`, `num_variates=1`.
        arguments: where a state is found in `output_dir`, training goes on from there. A batch has at most as many
            series as there are.
        series: one's own, see `pool_of_series`; `None`: synthetic ones.
        start: a checkpoint of ours that the towers start from, `config` being made from it; `None`: random weights.

    Raises:
        ValueError: a configuration that cannot be trained so, fewer than four series in a batch, series that cannot be
            read, a pool smaller than a batch, a state that other arguments or series have left, or a loss that is no
            number any more (what was saved before stays).
    """
    if arguments.batch_size < _FEWEST:
        raise ValueError(
            f"batch_size={arguments.batch_size}: crops of {_FEWEST} series at least are needed to tell apart in a step"
        )
    if config.patch_tokenizer != "resampled" or config.num_variates != 1 or len(config.branches) != 2:
        raise ValueError(
            "pretraining reads one variate at a time, in patches of changing lengths, with both branches: expected "
            f"num_variates=1 and patch_tokenizer='resampled', got {config.num_variates} and "
            f"{config.patch_tokenizer!r}, branches {config.branches}"
        )
    if series is not None:
        pool = pool_of_series(series)
        most = min(arguments.batch_size, pool.num_samples)
        arguments = replace(arguments, batch_size=most - most % (16 if most >= 16 else _FEWEST))  # colours, see `draw`
        return Pretraining(config, arguments, pool, start).run()
    if arguments.num_series < arguments.batch_size:
        raise ValueError(f"num_series={arguments.num_series} is less than batch_size={arguments.batch_size}")
    return Pretraining(config, arguments, pool_of_synthetic(arguments), start).run()


def pool_of_synthetic(arguments: PretrainingArguments) -> SeriesPool:
    """The synthetic series that these arguments ask for; says how long they took."""
    started = time.perf_counter()
    workers = (os.cpu_count() or 1) if arguments.num_workers is None else arguments.num_workers
    values, lengths = synthetic_pool(arguments.num_series, arguments.seed, num_workers=workers)
    print(f"{len(values)} series in {time.perf_counter() - started:.1f} s", flush=True)
    words = f"{len(values)} synthetic series, seed {arguments.seed}; none was measured"
    return SeriesPool(values, lengths, np.arange(len(values) + 1), words)


class Pretraining:
    """A run: its series, its model, and where it stands.

    Args:
        config, arguments, start: see `pretrain`.
        pool: its series.
    """

    def __init__(self, config: TimesCLIPConfig, arguments: PretrainingArguments, pool: SeriesPool, start: str | None):
        self.arguments, self.folder, self.pool, self.start = arguments, Path(arguments.output_dir), pool, start
        self.folder.mkdir(parents=True, exist_ok=True)
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(arguments.device or accelerator)
        self.processor = TimesCLIPProcessor.from_config(config).fit(pool.first(4096))
        self.values = torch.from_numpy(pool.values).to(self.device)
        self.lengths = torch.from_numpy(pool.lengths).to(self.device)
        torch.manual_seed(arguments.seed)
        config = self.processor.complete_config(config)
        self.model: Any = (
            TimesCLIPForPreTraining(config)
            if start is None
            else TimesCLIPForPreTraining.from_vision_text_pretrained(start, start, config=config)
        )
        vision, text = config.vision_config.hidden_size, config.text_config.hidden_size
        self.parts = nn.ModuleDict({"model": self.model, "objective": self.build_objective(vision, text)})
        self.parts.to(self.device).train()
        self.parameters = [p for p in self.parts.parameters() if p.requires_grad]
        decayed = [p for p in self.parameters if p.ndim > 1]
        rest = [p for p in self.parameters if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
        rates: dict[str, Any] = {
            "lr": arguments.learning_rate,
            "weight_decay": arguments.weight_decay,
            "betas": (0.9, 0.98),
        }
        self.optimizer = torch.optim.AdamW(groups, fused=self.device.type == "cuda", **rates)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, partial(_rate, arguments.steps))
        self.seconds = 0.0
        self.step = self._resume()

    def run(self) -> TimesCLIPForPreTraining:
        arguments = self.arguments
        last = min(arguments.steps, arguments.stop_after or arguments.steps)
        started, since, before = time.perf_counter(), self.step, self.seconds
        steps = f"steps {self.step} to {last} of {arguments.steps}, {arguments.batch_size} series in each"
        print(f"{self.pool.words}; {steps}, on {self.device}", flush=True)
        while self.step < last:
            found = self._train(self.step)
            self.step += 1
            told, kept = (
                self.step % every == 0 or self.step == last for every in (arguments.log_steps, arguments.save_steps)
            )
            if (told or kept) and not math.isfinite(loss := float(found["loss"])):
                raise ValueError(
                    f"the loss is {loss} at step {self.step}: give a lower learning rate (now "
                    f"{arguments.learning_rate:g}), and another output folder"
                )
            if told:
                seconds = (time.perf_counter() - started) / (self.step - since)
                self._log({name: float(value) for name, value in found.items()}, seconds, last)
            if kept:
                self.seconds = before + time.perf_counter() - started
                self._save()
        took = f"{self.step - since} steps in {(self.seconds - before) / 60:.1f} minutes"
        print(f"{took}, {self._budget()} in all, saved in {self.folder}", flush=True)
        return self.model.eval()

    def build_objective(self, vision_width: int, text_width: int) -> nn.Module:
        """What stands around towers of these widths while they are trained."""
        return CrossCropObjective(vision_width, text_width, self.arguments.temperature)

    def _budget(self) -> str:
        """What the run has cost so far, all its parts together."""
        if self.device.type != "cpu":
            return f"{self.seconds / 3600:.3g} hours of one {self.device.type} device"
        return f"{self.seconds / 3600 * torch.get_num_threads():.3g} core-hours"

    def _train(self, step: int) -> dict[str, Tensor]:
        """One step; random numbers depend on its number alone, so that an interrupted run goes on as it would have."""
        arguments = self.arguments
        torch.manual_seed((arguments.seed + 1) * 1_000_003 + step)
        shape = draw_shape(arguments.seed, step)
        samples = draw_rows(self.pool.num_samples, arguments.batch_size, arguments.seed, step)
        rows = torch.from_numpy(self.pool.rows(samples, arguments.seed, step)).to(self.device, non_blocking=True)
        found = self.terms(self.values[rows], self.lengths[rows], shape)
        loss = torch.stack([value for name, value in found.items() if not name.endswith("_top1")]).sum()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return {"loss": loss.detach(), **{name: value.detach() for name, value in found.items()}, "norm": norm}

    def terms(self, series: Tensor, lengths: Tensor, shape: Shape) -> dict[str, Tensor]:
        """Parts of the loss, and what else is to be told (`..._top1`), of series `(B, W)` of these lengths."""
        first, second = two_crops(series, lengths, shape)
        images = draw(first.plot_values, self.processor, shape)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            features = read_features(self.model, first, images)
            others = read_features(self.model, second, None)
        features, others = ({name: part.float() for name, part in side.items()} for side in (features, others))
        found: dict[str, Tensor] = self.parts["objective"](features, others, first)
        found["embeds_nce"] = self._align(features, others)
        return found

    def _align(self, features: dict[str, Tensor], others: dict[str, Tensor]) -> Tensor:
        """The model's own embeds learn to find each other, and the towers learn nothing of it."""
        base, parts = self.model.timesclip, ("cls", "mean")
        vision = torch.cat([features[f"vision_{kind}"] for kind in parts], dim=-1).detach()
        text = torch.cat([others[f"text_{kind}"] for kind in parts], dim=-1).detach()
        embeds = base.vision_projection(vision)[:, None], base.text_projection(text)[:, None]
        return self.model.alignment(*embeds)

    def _log(self, found: dict[str, float], seconds: float, last: int) -> None:
        line = {"step": self.step, **{name: round(value, 5) for name, value in found.items()}, "loss": found["loss"]}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        shown = {
            "nce": sum(value for name, value in found.items() if name.endswith("_nce") and name != "embeds_nce"),
            "level": sum(value for name, value in found.items() if name.endswith("_level")),
            **{name: found[name] for name in found if name.endswith("_top1")},
        }
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
        left = f"{1000 * seconds:.0f} ms/step, {(last - self.step) * seconds / 60:.1f} minutes left"
        print(f"{self.step}: loss {found['loss']:.4f}  {numbers}  {left}", flush=True)

    def _identity(self) -> dict[str, Any]:
        """What must be the same where a run goes on."""
        named = asdict(self.arguments)
        own = ("steps", "batch_size", "num_series", "learning_rate", "weight_decay", "temperature", "seed")
        source = {"series": self.pool.fingerprint} if self.pool.fingerprint else {}
        return {name: named[name] for name in own} | source | ({"start": self.start} if self.start else {})

    def _save(self) -> None:
        """The model in half precision, and the state to go on from, which takes the place of the last one at once."""
        half = {
            name: value.half() if value.is_floating_point() else value
            for name, value in self.model.state_dict().items()
        }
        self.model.save_pretrained(self.folder, state_dict=half)
        self.processor.save_pretrained(self.folder)
        parts: dict[str, Any] = {"parts": self.parts, "optimizer": self.optimizer, "schedule": self.schedule}
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"step": self.step, "seconds": self.seconds, "arguments": self._identity()}
        torch.save(state, self.folder / f"{_STATE}.new")
        os.replace(self.folder / f"{_STATE}.new", self.folder / _STATE)
        facts = {"data": self.pool.words, "start": self.start, "budget": self._budget(), **self._identity()}
        write_pretraining_card(self.folder, {**facts, "step": self.step})

    def _resume(self) -> int:
        """The step that a saved state has reached, which is taken over; what was logged behind it comes again."""
        if not (self.folder / _STATE).exists():
            self._cut_log(0)
            return 0
        state = torch.load(self.folder / _STATE, map_location=self.device, weights_only=True)
        there, here = state["arguments"], self._identity()
        if others := [name for name in {**here, **there} if there.get(name) != here.get(name)]:
            told = "; ".join(f"{name} {there.get(name)!r} there, {here.get(name)!r} here" for name in others)
            raise ValueError(
                f"{self.folder} holds another run ({told}): give the same arguments to go on, or another output folder"
            )
        self.parts.load_state_dict(state["parts"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.seconds = float(state.get("seconds", 0.0))
        self._cut_log(int(state["step"]))
        return int(state["step"])

    def _cut_log(self, last: int) -> None:
        """Leaves the lines of steps up to this one; a run that was killed may have half a line behind them."""
        log = self.folder / "log.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
        kept = list(itertools.takewhile(lambda line: line.endswith("\n") and json.loads(line)["step"] <= last, lines))
        if kept != lines:
            log.write_text("".join(kept), encoding="utf-8")


def _rate(steps: int, step: int) -> float:
    """Up over a twentieth of all steps, then down along half a cosine."""
    share = step / steps
    return min((step + 1) / (0.05 * steps + 1), 0.5 + 0.5 * math.cos(math.pi * min(share, 1.0)))


__all__ = [
    "CrossCropObjective",
    "Pretraining",
    "PretrainingArguments",
    "draw_rows",
    "draw_shape",
    "pool_of_synthetic",
    "pretrain",
    "read_features",
]
