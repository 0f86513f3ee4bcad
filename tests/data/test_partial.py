# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Parts of series, drawn anew each epoch."""

from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from timesclip_hf import TimesCLIPProcessor
from timesclip_hf.data.partial import PartialSeries

VALUES = np.arange(20.0 * 8 * 2).reshape(20, 8, 2)
ROWS = [{"past_values": series, "labels": [float(k)]} for k, series in enumerate(VALUES)]


def seen(row: dict[str, Any]) -> list[int]:
    """Numbers of the steps that are known of a row."""
    return np.flatnonzero(~np.isnan(row["past_values"]).all(axis=1)).tolist()


def test_the_first_steps_stay_of_a_season_and_the_last_of_a_history() -> None:
    assert seen(PartialSeries(ROWS, 3)[0]) == [0, 1, 2]
    assert seen(PartialSeries(ROWS, 3, side="left")[0]) == [5, 6, 7]


def test_what_stays_is_as_it_was() -> None:
    row = PartialSeries(ROWS, 3)[4]
    np.testing.assert_array_equal(row["past_values"][:3], VALUES[4, :3])
    assert row["labels"] == [4.0] and not np.isnan(VALUES).any()


def test_lengths_cover_their_range_and_only_it() -> None:
    rows = PartialSeries(ROWS, (2, 5))
    lengths = set()
    for epoch in range(20):
        rows.set_epoch(epoch)
        lengths |= {len(seen(row)) for row in rows}
    assert lengths == {2, 3, 4, 5}


def test_draws_depend_on_seed_row_and_epoch_alone() -> None:
    def lengths(seed: int, epoch: int) -> list[int]:
        rows = PartialSeries(ROWS, (1, 8), seed=seed)
        rows.set_epoch(epoch)
        return [len(seen(rows[k])) for k in reversed(range(20))]

    assert lengths(0, 0) == lengths(0, 0)
    assert lengths(0, 0) != lengths(0, 1) != lengths(1, 1)


def test_validation_is_the_same_in_every_epoch() -> None:
    rows = PartialSeries(ROWS, (1, 8), every_epoch=False)
    before = [len(seen(row)) for row in rows]
    rows.set_epoch(5)
    assert [len(seen(row)) for row in rows] == before


def test_no_variate_is_left_without_a_value() -> None:
    values = VALUES[:1].copy()
    values[0, :4, 1] = np.nan  # first seen at step 4
    assert seen(PartialSeries([{"past_values": values[0]}], 2)[0]) == [0, 1, 2, 3, 4]


def test_a_part_is_read_as_a_series_that_ends_there() -> None:
    processor = TimesCLIPProcessor(8, 4, 2, image_size=16, padding_side="right", truncation_side="right").fit(VALUES)
    whole, cut = processor(PartialSeries(ROWS, 5)[3]["past_values"]), processor(VALUES[3, :5])
    assert whole.keys() == cut.keys()
    for name, tensor in whole.items():
        np.testing.assert_array_equal(tensor, cut[name])


def test_rows_of_a_data_set_and_masks_are_read() -> None:
    rows = Dataset.from_dict(
        {"past_values": VALUES.tolist(), "past_observed_mask": np.ones((20, 8, 2), bool).tolist()}
    )
    assert [len(seen(row)) for row in PartialSeries(rows, 6).__getitems__([0, 3])] == [6, 6]


@pytest.mark.parametrize("lengths", [0, 9, (3, 2), (0, 4), (2, 9), (1, 2, 3), 2.5, (True, 4)])
def test_lengths_that_the_series_do_not_have_are_refused(lengths: Any) -> None:
    with pytest.raises(ValueError, match="from 1 to the 8 of these series"):
        PartialSeries(ROWS, lengths)
