# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Shards of batches, by themselves; `test_processes.py` has two processes read them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from timesclip_hf.training.sharding import (
    ShardedBatchSampler,
    count_batches,
    rows_of_its_own,
    shard_batches,
    steps_per_epoch,
)


@pytest.mark.parametrize("items", [2, 3, 7, 8, 9, 10, 16, 17, 23])
@pytest.mark.parametrize(("processes", "size"), [(1, 4), (2, 4), (2, 2), (3, 6)])
def test_shards_cover_every_item_once_in_equally_many_batches(items: int, processes: int, size: int):
    if items < processes:
        with pytest.raises(ValueError, match=f"{items} training samples for {processes} processes"):
            list(shard_batches(range(items), size, processes, 0))
        return
    shards = [list(shard_batches(range(items), size, processes, process)) for process in range(processes)]
    assert {len(shard) for shard in shards} == {count_batches(items, size, processes)}
    batches = [[item for part in parts for item in part] for parts in zip(*shards, strict=True)]
    assert sum(batches, []) == list(range(items))
    for parts in zip(*shards, strict=True):
        lengths = [len(part) for part in parts]
        assert min(lengths) > 0
        assert max(lengths) - min(lengths) <= 1
    assert all(len(batch) == size for batch in batches[:-1])
    assert len(batches[-1]) < size + processes


def test_drop_last_leaves_out_what_does_not_fill_a_batch():
    assert list(shard_batches(range(11), 4, 2, 1, drop_last=True)) == [[2, 3], [6, 7]]
    assert count_batches(11, 4, 2, drop_last=True) == 2
    sampler = ShardedBatchSampler(torch.utils.data.SequentialSampler(range(11)), 4, 2, 1, True)
    assert (list(sampler), len(sampler)) == ([[2, 3], [6, 7]], 2)


@pytest.mark.parametrize(
    ("processes", "rank", "ends", "remainder", "expected"),
    [
        (2, 0, True, 5, 4),  # 5 samples for 2 processes of 4 rows: 4 and 1
        (2, 1, True, 5, 1),
        (2, 1, True, 3, 0),
        (2, 1, False, 5, None),
        (2, 1, True, 0, None),  # the last batch is full
        (1, 0, True, 5, None),
    ],
)
def test_rows_that_only_fill_up_the_last_batch_are_not_a_process_own(
    processes: int, rank: int, ends: bool, remainder: int, expected: int | None
) -> None:
    state = SimpleNamespace(end_of_dataloader=ends, remainder=remainder)
    accelerator = SimpleNamespace(num_processes=processes, process_index=rank, gradient_state=state)
    assert rows_of_its_own(accelerator, 4) == expected


def test_steps_of_an_epoch_are_counted_over_all_processes_and_accumulated_batches() -> None:
    def steps(dataset: Any, batch_size: int = 4, split: bool = False) -> int:
        config = SimpleNamespace(split_batches=split)
        counts = {"world_size": 2, "dataloader_drop_last": False, "gradient_accumulation_steps": 2}
        args = SimpleNamespace(accelerator_config=config, **counts)
        return steps_per_epoch(SimpleNamespace(args=args, train_dataset=dataset, _train_batch_size=batch_size))

    assert steps(range(33)) == 2  # 4 batches of 8, whose last has the 33rd sample with it
    assert steps(range(34)) == 3
    assert steps(range(34), batch_size=2) == 5  # 9 batches of 4, the last of 2
    assert steps(range(34), batch_size=8, split=True) == 3  # 8 samples are those of both processes
    with pytest.raises(ValueError, match="must have a length"):
        steps(iter(range(33)))
