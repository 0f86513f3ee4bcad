# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""A frozen tower gives the same answer every epoch, so it is asked once.

What is stored is found by content: by the positions that are drawn, by a picture of how they are drawn, and by the
tower's weights. Whatever of these changes, the old entries are simply not found.

All caches in a folder take at most `max_size` on the disk. Before one is filled, what it will need is said, and the
least recently used files make room; series that do not fit are not kept at all.
"""

import contextlib
import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from huggingface_hub import constants
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset
from tqdm.auto import tqdm
from transformers.trainer_utils import unwrap_peft_model
from transformers.utils import logging

from ..data.collator import TimesCLIPDataCollator
from ..model.feature_layers import image_pooling, image_width
from ..model.ink import blanks_of
from ..model.messages import one_run
from ..model.modeling_timesclip import TimesCLIPPreTrainedModel
from ..model.processing_timesclip import TimesCLIPProcessor
from ..model.towers import eval_if_frozen
from .fidelity import CLOSE_ENOUGH, SAMPLE_IMAGES, measure_blanks
from .plots import encode_plots, has_frozen_vision, images_at_once, read_plots
from .store import FeatureStore, digest, plot_keys, shrink

logger = logging.get_logger(__name__)

# Each key belongs to one of eight buckets, by its first byte: the processes of a machine share the work by buckets.
_NUM_BUCKETS = 8
# A killed run loses at most what it encoded within this time.
_SECONDS_PER_FILE = 30.0
_ROWS_AT_ONCE = 256
_ANNOUNCED_BYTES = 100e6  # less is not worth a line
_GIGABYTE = 1e9
_IMAGES_AT_ONCE = 256  # as many as keep an accelerator busy


class FeatureCache:
    """Draws and encodes each distinct series once, and keeps the vision tower's features on disk.

    `TimesCLIPTrainer` uses it by itself (`TimesCLIPTrainingArguments.feature_cache`). On its own:

    ```python
    cache = FeatureCache(model, processor)
    cache.add(dataset)
    collator = TimesCLIPDataCollator(processor, draw=False, features=cache.store)  # gives vision_features
    ```

    A killed `add` goes on where it was, give or take half a minute; several processes of a machine share the work.
    With `blank_patches` other than `"keep"`, the first `add` that encodes tells how close a sample's features are to
    those of all patches, and what time is saved (see `fidelity`); of `"auto"` it makes `"drop"`, `"merge_bands"` or
    `"keep"`, in the model's configuration, which is saved with it.

    Args:
        model: a TimesCLIP model whose vision tower is frozen; encoding runs on its device.
        processor: the one that the series will be read with.
        folder: where all caches lie; default: `timesclip_hf/features` in the folder that `HF_HOME` names.
        dtype: precision in which the tower works, `"float32"` or `"bfloat16"`; features are stored in fp32.
        images_at_once: that the tower encodes; default: 256 on an accelerator, `config.vision_chunk_size` on a CPU.
        max_size: GB (10^9 bytes) that all caches in the folder may take; default: 50.

    Raises:
        ValueError: a limit that is not above 0; a model without a vision tower, or with one that learns; a
            processor that draws no images; an unknown dtype.
    """

    def __init__(
        self,
        model: TimesCLIPPreTrainedModel,
        processor: TimesCLIPProcessor,
        folder: str | os.PathLike[str] | None = None,
        dtype: str = "float32",
        images_at_once: int | None = None,
        max_size: float = 50.0,
    ):
        if not max_size > 0:
            raise ValueError(f"max_size is {max_size}: give the GB that the features may take, above 0")
        if dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype is {dtype!r}: choose 'float32' or, faster on most accelerators, 'bfloat16'")
        if not has_frozen_vision(model):
            raise ValueError(
                "Only a frozen vision tower gives the same features every time: this model's learns, or it has none, "
                "or as an ensemble several. Set freeze_vision=True in its configuration."
            )
        if processor.image_size is None:
            raise ValueError("This processor draws no images (image_size=None): there is nothing to encode.")
        self.processor = processor
        self.collator = TimesCLIPDataCollator(processor, draw=False)
        tower: Any = model.base_model.vision_tower  # type: ignore[union-attr]
        eval_if_frozen(tower)  # frozen by hand it may still be in training mode, where dropout is at work
        self.tower, self.config = tower, model.config
        self.dtype: torch.dtype = getattr(torch, dtype)
        on_cpu = tower.device.type == "cpu"
        self.images_at_once = images_at_once or (model.config.vision_chunk_size if on_cpu else _IMAGES_AT_ONCE)
        self.max_size = max_size
        self._images_per_series = 1 if processor.layout == "grid" else processor.num_variates or 1
        self.bytes_per_series = 4 * self._images_per_series * image_width(model.config)
        self.pooling = image_pooling(model.config)
        self._folder = Path(folder) if folder is not None else default_folder()
        self._parts = [tower_fingerprint(tower), drawing_fingerprint(processor), dtype, "with checksums"]
        self._parts += [self.pooling] if self.pooling != "pooler" else []
        self._in_use: set[Path] = set()
        self._measured = False
        self._open_store()

    def _open_store(self) -> None:
        """The store of features that are read as the configuration says now."""
        self.blanks = blanks_of(self.config)
        parts = self._parts + ([str(self.blanks)] if self.blanks is not None else [])
        self.store = FeatureStore(self._folder / digest("\n".join(parts).encode()))

    def add(self, dataset: Any, progress: bool = True, shared: bool = False) -> int:
        """Encodes the series of a dataset that are not stored yet.

        Args:
            dataset: rows as `TimesCLIPDataCollator` takes them, with a length; `ForecastWindows`, too.
            progress: show a bar while images are encoded.
            shared: every process of a training calls this with the same data set: each goes over a part of it, and
                they tell each other what is in it.

        Returns:
            Series that this process encoded: none where they would not fit into `max_size`.
        """
        if (
            isinstance(dataset, Dataset) and dataset.format["type"] != "custom"
        ):  # labels and static values are not even read
            names = [name for name in ("past_values", "past_observed_mask") if name in dataset.column_names]
            dataset = dataset.select_columns(names)
        if self.config.blank_patches == "auto" and len(dataset):
            self._measure_blanks(dataset, shared)
        missing = self._missing(dataset, shared)
        if missing and self.blanks is not None and not self._measured:
            self._measure_blanks(dataset, shared=False)
        if not missing or not self._make_room(len(missing)):
            return 0
        tower, encoded = self._tower_at_work(), 0
        with tqdm(total=len(missing), desc="Encoding series", unit="series", disable=not progress) as bar:
            for own in self._turns(missing):
                encoded += self._encode(tower, dataset, own, bar)
                bar.update(len(own))
        logger.info("%d series encoded; features of %d are in %s.", encoded, len(self.store), self.store.folder)
        self._in_use |= self.store.mark_used(missing)
        return encoded

    def _turns(self, missing: dict[bytes, int]) -> Iterator[dict[bytes, int]]:
        """Parts of what is missing, each while no other process is at it: first what nobody else is at, buckets
        together until they fill a batch; then, one by one, what others may have left undone."""
        buckets: dict[int, dict[bytes, int]] = {}
        for key, row in missing.items():
            buckets.setdefault(key[0] % _NUM_BUCKETS, {})[key] = row
        first = os.getpid()  # so that processes begin apart
        left = sorted(buckets, key=lambda bucket: (bucket - first) % _NUM_BUCKETS)
        waiting, enough = False, self._series_at_once()
        while left:
            own: dict[bytes, int] = {}
            with contextlib.ExitStack() as held:
                for bucket in list(left):
                    if held.enter_context(self.store.lock(bucket, waiting)):
                        left.remove(bucket)
                        own |= buckets[bucket]
                    if waiting or len(own) >= enough:
                        break
                if own:
                    yield own
            waiting = waiting or not own

    def _series_at_once(self) -> int:
        return max(1, images_at_once(self.config, self.images_at_once) // self._images_per_series)

    def _tower_at_work(self) -> Any:
        return self.tower if self.tower.dtype == self.dtype else copy.deepcopy(self.tower).to(self.dtype)

    def _measure_blanks(self, dataset: Any, shared: bool) -> None:
        """Tells what leaving out blank patches changes, on some of a data set; `"auto"` is decided by it."""
        self._measured = True
        num_series = min(len(dataset), max(1, SAMPLE_IMAGES // self._images_per_series))
        rows = np.linspace(0, len(dataset) - 1, num_series).astype(int).tolist()
        images = self._draw(self._plots(dataset, rows))[:SAMPLE_IMAGES]
        given, tower, told = self.config.blank_patches, self._tower_at_work(), []
        mode: Any = given
        for mode in ("drop", "merge_bands") if given == "auto" else (given,):
            blanks: Any = blanks_of(self.config, mode)
            found = measure_blanks(tower, images, self.images_at_once, self.pooling, blanks)
            told.append(f"blank_patches={mode!r}: {found}")
            cosine = min(gather_object([found.cosine])) if shared else found.cosine  # all processes decide alike
            if cosine >= CLOSE_ENOUGH:
                break
        else:
            mode = "keep"
        if given != "auto":
            logger.warning(f"{told[0]}.")
            return
        self.config.blank_patches = mode
        logger.warning(
            f"blank_patches='auto' becomes {mode!r}, which is saved with the model; it asks for a cosine of "
            f"{CLOSE_ENOUGH}. {'. '.join(told)}."
        )
        self._open_store()

    def _draw(self, plots: Tensor) -> Tensor:
        """Images `(n, 3, height, width)` of plots `(B, V, T)`, where the tower is."""
        return self.processor.draw(plots.to(self.tower.device), self.dtype).flatten(0, 1)

    def _make_room(self, num_series: int) -> bool:
        """Whether so many more series fit beside what is in use; says what they need, and shrinks the rest."""
        folder = self.store.folder.parent
        needed, limit = num_series * self.bytes_per_series, self.max_size * _GIGABYTE
        used = sum(path.stat().st_size for path in self._in_use if path.exists())
        size = f"Features of {num_series} series need {needed / _GIGABYTE:.2g} GB in {folder}"
        if used + needed > limit:
            logger.warning(
                f"{size}, where {self.max_size:g} GB are allowed and {used / _GIGABYTE:.2g} GB in use: they are not "
                "kept, and series are encoded whenever they are read. Raise max_size (in training: "
                "feature_cache_max_size) to keep them."
            )
            return False
        if needed > _ANNOUNCED_BYTES:
            logger.warning(f"{size}, where at most {self.max_size:g} GB are used.")
        shrink(folder, int(limit - needed), self._in_use)
        return True

    def _missing(self, dataset: Any, shared: bool) -> dict[bytes, int]:
        """A row for each key that is not stored."""
        keys = self._shared_keys(dataset) if shared else self._keys(dataset)
        self.store.refresh()
        self._in_use |= self.store.mark_used(key for key in keys if key in self.store)
        return {key: row for key, row in keys.items() if key not in self.store}

    def _keys(self, dataset: Any, part: int = 0, parts: int = 1) -> dict[bytes, int]:
        """The first row of each key, of a part of the data set."""
        found: dict[bytes, int] = {}
        for first in range(part * _ROWS_AT_ONCE, len(dataset), parts * _ROWS_AT_ONCE):
            rows = range(first, min(first + _ROWS_AT_ONCE, len(dataset)))
            for row, key in zip(rows, plot_keys(self._plots(dataset, list(rows))), strict=True):
                found.setdefault(key, row)
        return found

    def _shared_keys(self, dataset: Any) -> dict[bytes, int]:
        """As `_keys`, of all of it, each process having looked at its part; an error of one is raised by all."""
        state, error, own = PartialState(), None, {}
        try:
            own = self._keys(dataset, state.process_index, state.num_processes)
        except Exception as raised:  # whatever it is: others must not wait for this process for ever
            error = raised
        told = gather_object([(own, None if error is None else f"{type(error).__name__}: {error}")])
        if error is not None:
            raise error
        if words := next((words for _, words in told if words is not None), None):
            raise ValueError(f"another process cannot read the data set: {words}")
        found: dict[bytes, int] = {}
        for row, key in sorted((row, key) for keys, _ in told for key, row in keys.items()):
            found.setdefault(key, row)
        return found

    def _plots(self, dataset: Any, rows: list[int]) -> Tensor:
        """Nothing but the series counts here: labels and static values are not even converted."""
        beside = ("labels", "static_values", "future_values")
        taken = dataset.__getitems__(rows) if hasattr(dataset, "__getitems__") else map(dataset.__getitem__, rows)
        return self.collator([{k: v for k, v in row.items() if k not in beside} for row in taken])["plot_values"]

    def _encode(self, tower: Any, dataset: Any, missing: dict[bytes, int], bar: Any) -> int:
        """Encodes what nobody has stored meanwhile, and stores it whenever it is worth a file."""
        self.store.refresh()
        todo = [(key, row) for key, row in missing.items() if key not in self.store]
        batches = max(1, -(-len(todo) // self._series_at_once()))
        series_at_once = max(1, -(-len(todo) // batches))  # in equal shares
        keys: list[bytes] = []
        parts: list[NDArray[np.float32]] = []
        started = time.monotonic()
        for first in range(0, len(todo), series_at_once):
            batch = todo[first : first + series_at_once]
            plots = self._plots(dataset, [row for _, row in batch]).to(self.tower.device)
            features = encode_plots(tower, self.config, self.processor, plots, self.dtype, self.images_at_once)
            parts.append(features.float().cpu().numpy())
            keys += [key for key, _ in batch]
            if time.monotonic() - started > _SECONDS_PER_FILE or first + series_at_once >= len(todo):
                self.store.write(keys, np.concatenate(parts))
                bar.set_postfix(stored=len(self.store))
                keys, parts, started = [], [], time.monotonic()
        return len(todo)


class CachedFeatures:
    """What a trainer's data sets look like to its model's vision tower, wherever that is frozen.

    Args:
        args: `TimesCLIPTrainingArguments`.
        sharded: the weights are in parts on several devices, where no tower can be read: nothing is kept.
    """

    def __init__(self, args: Any, sharded: bool = False):
        self.setting = "off" if sharded else args.feature_cache
        self._asks_apart = not (sharded or args.torch_compile)
        self._model: Any = None  # whose frozen tower is asked before the model is
        self.dtype, self.max_size = args.feature_cache_dtype, args.feature_cache_max_size
        self.progress, self.shared = not args.disable_tqdm, args.world_size > 1
        self._tower: Any = None  # the state that the cache is of
        self._cache: FeatureCache | None = None
        self._known: list[Any] = []
        self._answer_reads_plots = True

    def prepare(self, model: Any, collator: Any, dataset: Any) -> None:
        """Has the features of a data set stored, if it can be gone over, and its collator look for them."""
        model = unwrap_peft_model(model)
        self._model = model if self._asks_apart and hasattr(model.base_model, "vision_tower") else None
        if hasattr(model, "answer_inputs"):
            self._answer_reads_plots = "pixel_values" in model.answer_inputs(model.config)
        if self.setting == "off" or not isinstance(collator, TimesCLIPDataCollator) or collator.draw:
            return
        processor: Any = collator.processor
        tower = _tower_state(model)
        if tower != self._tower:
            self._tower, self._cache, self._known, collator.features = tower, None, [], None
        streamed = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__")
        if tower is None or streamed or processor.image_size is None or not len(dataset):
            return
        if not self._answer_reads_plots and dataset[0].get("labels") is None:  # without labels nothing is compared
            return
        automatic = self.setting == "auto"
        try:
            if self._cache is None:
                self._cache = FeatureCache(
                    model, processor, None if automatic else self.setting, self.dtype, max_size=self.max_size
                )
            collator.features = self._cache.store
            if not any(dataset is other for other in self._known):
                self._known.append(dataset)
                with one_run(collator.run):
                    self._cache.add(dataset, self.progress, self.shared)
            collator.features = self._cache.store  # another one, where blank patches were decided on
        except OSError as error:  # nobody asked for it: a full or foreign disk must not stop the training
            if not automatic:
                raise
            logger.warning_once(f"Features cannot be kept, so series are encoded at every step: {error}")

    def drawn(
        self, inputs: dict[str, Any], collator: Any, working: Callable[[], Any] = contextlib.nullcontext
    ) -> dict[str, Any]:
        """A batch with the images of those series whose features are not kept, drawn on the batch's device; or what a
        frozen tower says of them, a few at a time, in the precision of the context `working()`."""
        if "plot_values" not in inputs or not isinstance(collator, TimesCLIPDataCollator):
            return inputs
        if not self._answer_reads_plots and inputs.get("labels") is None:
            del inputs["plot_values"]  # neither the answer nor a loss reads them
            return inputs
        if collator.features is not None:
            logger.warning_once(
                "Series that were not there when the feature cache was filled (of a stream, or of a data set that "
                "changes what it returns) are drawn and encoded at every step; feature_cache='off' spares the filling."
            )
        processor: Any = collator.processor
        if self._model is None:
            processor.add_images(inputs)
            return inputs
        with working():
            read_plots(self._model, processor, inputs)
        return inputs


def default_folder() -> Path:
    """Where features are kept unless another folder is named."""
    return Path(constants.HF_HOME) / "timesclip_hf" / "features"


def tower_fingerprint(tower: Any) -> str:
    """A name for a vision tower's architecture and weights, to the last bit."""
    beside = ("architectures", "dtype", "transformers_version")  # what saving and loading adds
    settings = {k: v for k, v in tower.config.to_dict().items() if not k.startswith("_") and k not in beside}
    identity = [type(tower).__name__, transformers.__version__, settings, _adapters_at_work(tower)]
    found = hashlib.blake2b(json.dumps(identity, sort_keys=True, default=str).encode(), digest_size=16)
    for name, weight in sorted(tower.state_dict().items()):
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        found.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def drawing_fingerprint(processor: TimesCLIPProcessor) -> str:
    """A name for how a processor draws: the hash of a few pictures, so that settings and code both count."""
    steps = torch.arange(8 * processor.context_length, dtype=torch.float64).reshape(1, 8, -1)
    plots = (steps * 0.6180339887498949) % 1  # the whole axis, with a gap; the same everywhere and always
    third, eighth = processor.context_length // 3, processor.context_length // 8
    plots[..., third : third + eighth] = torch.nan
    return digest(processor.draw(plots.float()).numpy().tobytes())


def _tower_state(model: Any) -> Any:
    """What changes with a frozen vision tower's features; `None` where there is no such tower.

    Weights that were loaded have another place or another count of changes.
    """
    if not has_frozen_vision(model):
        return None
    tower = model.base_model.vision_tower
    weights = tuple((p.data_ptr(), p._version) for p in (*tower.parameters(), *tower.buffers()))
    return weights, _adapters_at_work(tower)


def _adapters_at_work(tower: Any) -> str:
    """Which of a tower's adapters are switched on, merged and scaled how: what its weights do not tell."""
    adapted = [m for m in tower.modules() if {"base_layer", "modules_to_save"} & set(m._modules)]  # peft's marks
    names = ("active_adapters", "disable_adapters", "merged_adapters", "scaling")
    return str([[getattr(module, name, None) for name in names] for module in adapted])


__all__ = [
    "CachedFeatures",
    "FeatureCache",
    "default_folder",
    "drawing_fingerprint",
    "has_frozen_vision",
    "tower_fingerprint",
]
