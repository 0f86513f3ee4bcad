# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Each process's part of the training data: every sample once an epoch, as many batches on every process."""

from collections.abc import Iterable, Iterator
from typing import Any

from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, IterableDataset, Sampler


def share_batches(
    items: Iterable[Any], batch_size: int, processes: int, process: int, drop_last: bool = False
) -> Iterator[list[Any]]:
    """Cuts items into batches for all processes together, and each of these into one part for each process.

    The last batch is shared out as evenly as it goes, so that processes may differ by one sample in it. One with fewer
    samples than processes joins the batch before: no process may go without, since all of them must take each step.

    Args:
        items: what to share, in the same order on every process.
        batch_size: samples in a batch of all processes together.
        processes: how many processes there are.
        process: which of them this is, from 0.
        drop_last: leave out a last batch that is not full.

    Yields:
        This process's part of each batch.

    Raises:
        ValueError: fewer items than processes.
    """
    waiting: list[Any] = []  # a full batch whose successor is not known yet
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == batch_size:
            if waiting:
                yield _part(waiting, processes, process)
            waiting, batch = batch, []
    if drop_last:
        batch = []
    elif len(batch) < processes:
        waiting, batch = waiting + batch, []
    if 0 < len(waiting) < processes:
        raise ValueError(
            f"There are {len(waiting)} training samples for {processes} processes (or for one data loader worker of "
            "each): every process needs at least one. Use fewer processes or workers."
        )
    for rest in (waiting, batch):
        if rest:
            yield _part(rest, processes, process)


def count_batches(items: int, batch_size: int, processes: int, drop_last: bool = False) -> int:
    """How many batches `share_batches` makes of so many items."""
    full, rest = divmod(items, batch_size)
    return full + (not drop_last and (rest >= processes or 0 < rest == items))


class SharedBatchSampler(BatchSampler):
    """This process's part of batches of indices; arguments as for `share_batches`."""

    def __init__(self, sampler: Sampler, batch_size: int, processes: int, process: int, drop_last: bool):
        super().__init__(sampler, batch_size, drop_last)
        self.processes = processes
        self.process = process

    def __iter__(self) -> Iterator[list[int]]:
        return share_batches(self.sampler, self.batch_size, self.processes, self.process, self.drop_last)

    def __len__(self) -> int:
        return count_batches(len(self.sampler), self.batch_size, self.processes, self.drop_last)  # type: ignore[arg-type]


class SharedStream(IterableDataset):
    """This process's part of batches of a stream; every process reads all of it, and renders its own part alone.

    Args:
        stream: any iterable of rows; `datasets.IterableDataset` is told the epoch, to shuffle anew.
        batch_size, processes, process, drop_last: as for `share_batches`.
    """

    def __init__(self, stream: Any, batch_size: int, processes: int, process: int, drop_last: bool):
        self.stream = stream
        self.sharing = (batch_size, processes, process, drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Passed on to the stream."""
        if hasattr(self.stream, "set_epoch"):
            self.stream.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[Any]]:
        return share_batches(self.stream, *self.sharing)


def share_loader(loader: Any, batch_size: int, processes: int, process: int, drop_last: bool) -> Any:
    """Has a data loader that accelerate prepared for several processes read the parts that `share_batches` makes.

    Accelerate would repeat samples until all processes have equally many full batches.
    """
    shard = loader.batch_sampler
    if type(shard) is BatchSamplerShard and shard.num_processes > 1:  # neither Trainer's own nor a dispatcher's
        shard.batch_sampler = SharedBatchSampler(
            shard.batch_sampler.sampler, batch_size, processes, process, drop_last
        )
        shard.num_processes, shard.process_index = 1, 0
        shard.batch_size, shard.split_batches, shard.even_batches = None, False, False  # batches may differ in size
    return loader


def _part(batch: list[Any], processes: int, process: int) -> list[Any]:
    size = len(batch)
    return batch[process * size // processes : (process + 1) * size // processes]


__all__ = ["SharedBatchSampler", "SharedStream", "count_batches", "share_batches", "share_loader"]
