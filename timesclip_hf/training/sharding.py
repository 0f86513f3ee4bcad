# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Sharding of batches over processes: every sample once an epoch, as many batches on every process."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from accelerate.data_loader import BatchSamplerShard, prepare_data_loader
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler


def shard_batches(
    items: Iterable[Any], batch_size: int, num_shards: int, index: int, drop_last: bool = False
) -> Iterator[list[Any]]:
    """Cuts items into batches for all processes together, and each of these into one shard for each process.

    The last batch is shared out as evenly as it goes, so that shards may differ by one sample in it. One with fewer
    samples than processes joins the batch before: no process may go without, since all of them must take each step.

    Args:
        items: what to share, in the same order on every process.
        batch_size: samples in a batch of all processes together.
        num_shards: how many processes there are.
        index: which of them this is, from 0.
        drop_last: leave out a last batch that is not full.

    Yields:
        This process's shard of each batch.

    Raises:
        ValueError: fewer items than processes.
    """
    waiting: list[Any] = []  # a full batch whose successor is not known yet
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == batch_size:
            if waiting:
                yield _shard(waiting, num_shards, index)
            waiting, batch = batch, []
    if drop_last:
        batch = []
    elif len(batch) < num_shards:
        waiting, batch = waiting + batch, []
    if 0 < len(waiting) < num_shards:
        raise ValueError(
            f"There are {len(waiting)} training samples for {num_shards} processes (or for one data loader worker of "
            "each): every process needs at least one. Use fewer processes or workers."
        )
    for rest in (waiting, batch):
        if rest:
            yield _shard(rest, num_shards, index)


def count_batches(num_items: int, batch_size: int, num_shards: int, drop_last: bool = False) -> int:
    """How many batches `shard_batches` makes of so many items."""
    full, rest = divmod(num_items, batch_size)
    return full + (not drop_last and (rest >= num_shards or 0 < rest == num_items))


def steps_per_epoch(trainer: Any) -> int:
    """Optimizer steps in one pass over the training data, at the batch size that is in use.

    Raises:
        ValueError: the data have no length.
    """
    args, dataset = trainer.args, trainer.train_dataset
    if not hasattr(dataset, "__len__"):
        raise ValueError("epoch_decay and average_epochs count epochs: the training data must have a length.")
    batches = count_batches(len(dataset), whole_batch_size(trainer), args.world_size, args.dataloader_drop_last)
    return max(1, math.ceil(batches / args.gradient_accumulation_steps))


def whole_batch_size(trainer: Any) -> int:
    """Samples in a training batch of all processes; `auto_find_batch_size` may have made it smaller."""
    split = trainer.args.accelerator_config.split_batches
    return trainer._train_batch_size * (1 if split else trainer.args.world_size)


class ShardedBatchSampler(BatchSampler):
    """This process's shards of batches of indices; arguments as for `shard_batches`."""

    def __init__(self, sampler: Sampler, batch_size: int, num_shards: int, index: int, drop_last: bool):
        super().__init__(sampler, batch_size, drop_last)
        self.num_shards = num_shards
        self.index = index

    def __iter__(self) -> Iterator[list[int]]:
        return shard_batches(self.sampler, self.batch_size, self.num_shards, self.index, self.drop_last)

    def __len__(self) -> int:
        return count_batches(len(self.sampler), self.batch_size, self.num_shards, self.drop_last)  # type: ignore[arg-type]


class ShardedStream(IterableDataset):
    """This process's shards of batches of a stream; every process reads all of it, and renders its own alone.

    Args:
        stream: any iterable of rows; `datasets.IterableDataset` is told the epoch, to shuffle anew.
        *sharding: as for `shard_batches`.
    """

    def __init__(self, stream: Any, *sharding: Any):
        self.stream = stream
        self.sharding = sharding

    def set_epoch(self, epoch: int) -> None:
        """Passed on to the stream."""
        if hasattr(self.stream, "set_epoch"):
            self.stream.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[Any]]:
        return shard_batches(self.stream, *self.sharding)


def shard_loader(loader: Any, batch_size: int, args: Any) -> Any:
    """Has a data loader that accelerate prepared for several processes read the shards of `shard_batches`.

    Accelerate would repeat samples until all processes have equally many full batches.
    """
    shard = loader.batch_sampler
    if type(shard) is BatchSamplerShard and shard.num_processes > 1:  # neither Trainer's own nor a dispatcher's
        shard.batch_sampler = ShardedBatchSampler(shard.batch_sampler.sampler, *_sharding(batch_size, args))
        shard.num_processes, shard.process_index = 1, 0
        shard.batch_size, shard.split_batches, shard.even_batches = None, False, False  # batches may differ in size
    return loader


def stream_loader(stream: Any, collator: Any, batch_size: int, args: Any) -> DataLoader:
    """A data loader over this process's shards of a stream, in batches of so many samples for all processes together.

    Accelerate would have process 0 render all of it; it is told of one process, since the shards are made here.
    """
    loader: Any = DataLoader(
        ShardedStream(stream, *_sharding(batch_size, args)),
        batch_size=None,
        collate_fn=collator,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        multiprocessing_context=getattr(
            args, "dataloader_multiprocessing_context", None
        ),  # transformers 5.10 has none
        in_order=getattr(args, "dataloader_in_order", True),
    )
    alone: dict[str, Any] = {"num_processes": 1, "process_index": 0, "dispatch_batches": False}
    return prepare_data_loader(loader, device=args.device, put_on_device=True, **alone)


def rows_of_its_own(accelerator: Any, rows: int | None) -> int | None:
    """How many of its rows a process should count in the last batch of an evaluation, which accelerate fills up.

    `None`: all of them, since it is not the last one, or not filled up.
    """
    state = accelerator.gradient_state
    if accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0 or rows is None:
        return None
    return min(max(0, state.remainder - rows * accelerator.process_index), rows)


def _sharding(batch_size: int, args: Any) -> tuple[int, int, int, bool]:
    return batch_size, args.world_size, args.process_index, args.dataloader_drop_last


def _shard(batch: list[Any], num_shards: int, index: int) -> list[Any]:
    size = len(batch)
    return batch[index * size // num_shards : (index + 1) * size // num_shards]


__all__ = [
    "ShardedBatchSampler",
    "ShardedStream",
    "count_batches",
    "rows_of_its_own",
    "shard_batches",
    "shard_loader",
    "steps_per_epoch",
    "stream_loader",
    "whole_batch_size",
]
