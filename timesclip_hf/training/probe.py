# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Which layer of a frozen vision tower says most of a task: heads in closed form on every layer, on training data.

The last layer of a pretrained tower is rarely its best for series (TiViT, arXiv 2506.08641, reads layer 14 of 32), and
which one is depends on tower and data. One pass over the images keeps what every layer says; each reading is then
judged by ridge regression with its penalty, of samples left out (for classes on their indicators). It recommends, and
changes nothing: the shallowest layer that is no worse than the best one by more than a standard error, for a layer
less is a layer less to compute.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from huggingface_hub.errors import HFValidationError
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..data.collator import TimesCLIPDataCollator
from ..model.configuration_timesclip import TimesCLIPConfig
from ..model.modeling_timesclip import TimesCLIPModel
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.tower_configs import WITHOUT_CLS
from ..model.towers import VISION_FAMILIES, eval_if_frozen, pool_tokens
from .fit_table import Prepared, as_part
from .kernels import KernelRidge, block_factors
from .ways import patches

Array = NDArray[np.float64]
# A layer's number, or `None` for the published output behind the last norm; and a pooling.
Reading = tuple[int | None, str]
_LEAST = 5  # labelled series, below which nothing is told apart


@dataclass
class LayerProbe:
    """What `probe_layers` found out.

    Args:
        table: a row for each reading: `layer` (number of the hidden state; missing: the published output, behind the
            last norm), `pooling`, `width`, `score`, `standard_error` (of how much worse than the best), `penalty`.
        metric: what `score` is, of samples left out: `"R2"` (mean over targets) or `"accuracy"`.
        fields: what is recommended, as fields of `TimesCLIPConfig`.
        series: labelled series that were read.
    """

    table: pd.DataFrame
    metric: str
    fields: dict[str, Any]
    series: int
    title: str = field(default="", repr=False)

    def to_text(self) -> str:
        """A line for each layer, a column for each pooling, the recommended reading marked."""
        names = list(dict.fromkeys(self.table["pooling"]))
        lines = ["layer".rjust(9) + "".join(f"{name} ".rjust(11) for name in names)]
        for layer, rows in self.table.groupby([_name(layer) for layer in self.table["layer"]], sort=False):
            scores = dict(zip(rows["pooling"], rows["score"], strict=True))
            marks = {name: "*" if (layer, name) == self._recommended() else " " for name in names}
            cells = [f"{scores[name]:.3f}{marks[name]}" if name in scores else "- " for name in names]
            lines.append(str(layer).rjust(9) + "".join(cell.rjust(11) for cell in cells))
        return "\n".join(lines)

    def _recommended(self) -> tuple[str, str]:
        layer, pooling = self.fields.values()
        return _name(layer), pooling

    def figure(self) -> Any:
        """The score of every layer, a line for each pooling; the published output at the right."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        last = int(self.table["layer"].max()) + 1
        for pooling, rows in self.table.groupby("pooling", sort=False):
            inner = rows[rows["layer"].notna()]
            (line,) = axes.plot(inner["layer"], inner["score"], marker="o", markersize=4, label=str(pooling))
            published = rows[rows["layer"].isna()]
            axes.plot([last] * len(published), published["score"], marker="s", linestyle="", color=line.get_color())
        layer, pooling = self.fields.values()
        own = self.table["layer"].isna() if layer is None else (self.table["layer"] == layer).fillna(False)
        best = self.table[own & (self.table["pooling"] == pooling)]
        place = last if layer is None else layer
        axes.plot([place], best["score"], "o", markersize=12, fillstyle="none", color="black")
        axes.set_xticks(range(last + 1), [*map(str, range(last)), "published"])
        axes.set_xlabel("layer (ringed: recommended)")
        axes.set_ylabel(f"{self.metric} of {self.series} series, left out in turn")
        axes.legend(fontsize="small")
        if self.title:
            axes.set_title(self.title, fontsize="medium", parse_math=False)
        return figure


def probe_layers(
    model: Any,
    processor: TimesCLIPProcessor,
    train: Any,
    groups: Sequence[Any] | None = None,
    max_series: int = 1000,
    batch_size: int = 16,
    seed: int = 0,
) -> LayerProbe:
    """Judges every layer and pooling of a model's vision tower by what it says of labelled series.

    Args:
        model: a TimesCLIP model with a vision branch; it is not changed. All patches are read.
        processor: fitted, as the model was built for.
        train: rows of the *training* part with `past_values` and `labels` (numbers, or one whole number a row for
            classes), as `TimesCLIPDataCollator` takes them, with a length.
        groups: one for each row, such as its farm; rows of a group are left out together.
        max_series: drawn at random where there are more.
        batch_size: series that are read at once.
        seed: of that draw.

    Returns:
        Scores out of fold and the recommended fields.

    Raises:
        ValueError: no vision branch, no images, no or too few labels, labels that are all alike, or a wrong number of
            groups.

    Example:

    ```python
    >>> config = TimesCLIPConfig.from_vision_text_pretrained(clip, None, preset="vision_only", num_variates=7, ...)
    >>> processor = TimesCLIPProcessor.from_config(config).fit(train)
    >>> model = TimesCLIPModel.from_vision_text_pretrained(clip, None, config=config)
    >>> probe_layers(model, processor, train).fields
    {'vision_feature_layer': 6, 'vision_pooling': 'mean'}
    ```
    """
    tower = getattr(model.base_model, "vision_tower", None)
    if tower is None or processor.image_size is None:
        raise ValueError("probe_layers reads plots: it needs a model with a vision branch and a processor with images")
    if groups is not None and len(groups) != len(train):
        raise ValueError(f"groups has {len(groups)} entries, the data {len(train)} rows")
    rows = np.sort(np.random.default_rng(seed).permutation(len(train))[:max_series])
    readings, labels = _read(model, processor, Subset(train, rows.tolist()), batch_size)
    classes = labels.dtype.kind in "iub"
    known = np.isfinite(labels.astype(float)).reshape(len(labels), -1).all(axis=1)
    if known.sum() < _LEAST:
        raise ValueError(f"{known.sum()} labelled series are too few to tell layers apart: {_LEAST} at least")
    targets = _targets(labels[known], classes)
    owners = _owners([groups[row] for row in rows[known]]) if groups is not None else None
    found, errors = [], []
    for (layer, pooling), features in readings.items():
        said, penalty = _left_out(features[known].astype(np.float64), targets, owners)
        score, error = _score(said, targets, classes)
        found.append({"layer": layer, "pooling": pooling, "width": features.shape[1] // model.config.num_images,
                      "score": score, "penalty": penalty})  # fmt: skip
        errors.append(error)
    table = pd.DataFrame(found).astype({"layer": "Int64"})
    chosen, table["standard_error"] = _choose(table, np.stack(errors))
    row = table.iloc[chosen]
    fields = {
        "vision_feature_layer": None if pd.isna(row["layer"]) else int(row["layer"]),
        "vision_pooling": str(row["pooling"]),
    }
    return LayerProbe(table, "accuracy" if classes else "R2", fields, int(known.sum()))


def probe_table(prepared: Prepared, checkpoint: str, max_series: int = 1000, seed: int = 0) -> LayerProbe:
    """`probe_layers` of a checkpoint's vision tower on the training part of a table.

    Args:
        prepared: of `fit_table.prepare`.
        checkpoint: Hub id or folder, as `TimesCLIPConfig.from_vision_text_pretrained` takes it.
        max_series, seed: as `probe_layers`.

    Raises:
        ValueError: as there, or no such checkpoint.
    """
    train = prepared.parts["train"]
    fields: dict[str, Any] = {"num_variates": len(prepared.roles.variates), "context_length": prepared.num_steps}
    fields |= patches(prepared.num_steps)
    try:
        config = TimesCLIPConfig.from_vision_text_pretrained(checkpoint, None, "vision_only", **fields)
    except (OSError, HFValidationError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{checkpoint}: no such folder, nor a model on the Hub ({reason})") from error
    names = list(prepared.roles.variates)
    processor = TimesCLIPProcessor.from_config(config, variate_names=names).fit(train.remove_columns("labels"))
    model = TimesCLIPModel.from_vision_text_pretrained(checkpoint, None, config=processor.complete_config(config))
    folds: Any = as_part(prepared, "train").folds
    return probe_layers(model, processor, train, folds, max_series, seed=seed)


@torch.no_grad()
def _read(
    model: Any, processor: TimesCLIPProcessor, rows: Any, batch_size: int
) -> tuple[dict[Reading, NDArray[np.float32]], NDArray[Any]]:
    """What every layer says of series, `(n, V * width)`, and their labels: one pass over the images."""
    tower, chunk = model.base_model.vision_tower, model.config.vision_chunk_size
    eval_if_frozen(tower)
    training = tower.training
    tower.eval()
    whole = model.config.vision_feature_layer is None
    parts: dict[Reading, list[Tensor]] = {}
    labels: list[NDArray[Any]] = []
    try:
        for batch in DataLoader(rows, batch_size, collate_fn=TimesCLIPDataCollator(processor)):
            if "labels" not in batch:
                raise ValueError("train has no 'labels': there is nothing to judge layers by")
            labels.append(batch["labels"].numpy())
            images = batch["pixel_values"]
            said: dict[Reading, list[Tensor]] = {}
            for some in images.flatten(0, 1).split(chunk):
                for reading, features in _hidden_states(tower, some.to(tower.device, tower.dtype), whole).items():
                    said.setdefault(reading, []).append(features.float().cpu())
            for reading, found in said.items():
                parts.setdefault(reading, []).append(torch.cat(found).unflatten(0, images.shape[:2]).flatten(1))
    finally:
        tower.train(training)
    return {reading: torch.cat(found).numpy() for reading, found in parts.items()}, np.concatenate(labels)


def _hidden_states(tower: Any, images: Tensor, whole: bool) -> dict[Reading, Tensor]:
    """What every layer says of images `(n, width)`, and, of a whole tower, its published output."""
    kind = tower.config.model_type
    family, has_cls = VISION_FAMILIES[kind], kind not in WITHOUT_CLS
    poolings = ["cls", "mean", "cls_mean"] if has_cls else ["mean"]
    outputs = tower(pixel_values=images, output_hidden_states=True)
    states = dict(enumerate(outputs.hidden_states))
    found: dict[Reading, Tensor] = {}
    for layer, tokens in states.items():
        tokens = tokens.flatten(2).transpose(1, 2) if tokens.ndim == 4 else tokens
        found |= {(layer, pooling): pool_tokens(tokens, None, pooling, has_cls) for pooling in poolings}
    if whole:
        found[None, "pooler"] = family.pool(outputs)
        tokens = family.tokens(tower, outputs)
        found |= {(None, pooling): pool_tokens(tokens, None, pooling, has_cls) for pooling in poolings}
    return found


def _targets(labels: NDArray[Any], classes: bool) -> Array:
    """`(n, k)` standardised numbers, or indicators of classes."""
    if classes:
        if len(found := np.unique(labels)) < 2:
            raise ValueError(f"all labels are of class {found[0]}: there is nothing to tell apart")
        return (labels[:, None] == found).astype(np.float64)
    numbers = labels.astype(np.float64).reshape(len(labels), -1)
    spread = numbers.std(axis=0)
    if not (spread > 0).all():
        raise ValueError("labels are all alike: there is nothing to tell apart")
    return (numbers - numbers.mean(axis=0)) / spread


def _owners(groups: Sequence[Any]) -> NDArray[np.int64]:
    numbers = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    if numbers.max() == 0:
        raise ValueError(f"all rows are of one group ({groups[0]!r}): leave groups out")
    return numbers


def _left_out(features: Array, targets: Array, owners: NDArray[np.int64] | None) -> tuple[Array, float]:
    """What ridge on standardised features says of samples left out `(n, k)`, and its penalty."""
    shift, factor = block_factors(features, 0, 1.0)
    points = (features - shift) * factor
    kernels, means = points @ points.T, targets.mean(axis=0)
    ridge = KernelRidge(kernels, kernels, owners)
    penalty, _ = ridge.best_penalty(targets - means)
    return ridge.left_out(targets - means, penalty) + means, penalty


def _score(said: Array, targets: Array, classes: bool) -> tuple[float, Array]:
    """How good answers are, and each sample's error, of which the score is 1 less the mean."""
    if classes:
        errors = (said.argmax(axis=1) != targets.argmax(axis=1)).astype(np.float64)
    else:
        errors = np.square(said - targets).mean(axis=1)
    return float(1 - errors.mean()), errors


def _choose(table: pd.DataFrame, errors: Array) -> tuple[int, Array]:
    """The recommended row, and the standard error of how much worse than the best each is."""
    best = int(table["score"].to_numpy(float).argmax())
    worse = errors - errors[best]
    spread = worse.std(axis=1) / np.sqrt(worse.shape[1])
    depth = table["layer"].fillna(int(table["layer"].max()) + 1).to_numpy(float)
    close = np.flatnonzero(worse.mean(axis=1) <= spread)
    shallow = close[depth[close] == depth[close].min()]
    return int(shallow[table["score"].to_numpy(float)[shallow].argmax()]), spread


def _name(layer: Any) -> str:
    return "published" if layer is None or pd.isna(layer) else str(int(layer))


__all__ = ["LayerProbe", "probe_layers", "probe_table"]
