# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""`similar=` of the pipelines: how far a series is from those of the training, and which of them are nearest.

`distance` is that to the nearest training series that was kept, `unusual` whether that is farther, for that place,
than of nearly all of these, `nearest_1`, ... what the nearest ones are called; `features.similar` states the rule.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..features.similar import SIMILAR_FILE, SimilarSeries
from .pipeline_inputs import TableRows

_MOST = 100


def check_similar(similar: Any) -> int:
    """Neighbours to name, of what was asked for: `True` is none, only how far they are.

    Raises:
        ValueError: neither `True` nor a whole number up to 100.
    """
    if similar is True:
        return 0
    if isinstance(similar, bool) or not isinstance(similar, int) or not 0 < similar <= _MOST:
        raise ValueError(f"similar={similar!r}: expected True, or how many neighbours to name, 1 to {_MOST}")
    return similar


def load_similar(name: str) -> SimilarSeries:
    """What lies beside a model.

    Raises:
        ValueError: nothing does.
    """
    found = SimilarSeries.load(name) if name else None
    if found is None:
        raise ValueError(
            f"no {SIMILAR_FILE} lies beside {name or 'this model'}: timesclip train writes it, or "
            "SimilarSeries.fit(model, processor, train).save(folder)"
        )
    return found


def neighbours(known: SimilarSeries, blocks: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """What is told of each sample of a batch."""
    readings = {name: block.numpy() for name, block in blocks.items()}
    distances, places, unusual = known.compare(readings, max(1, count))
    return [
        {
            "distance": float(own[0]),
            "unusual": bool(strange),
            **{f"nearest_{k + 1}": known.name_of(int(place)) for k, place in enumerate(near[:count])},
        }
        for own, near, strange in zip(distances, places, unusual, strict=True)
    ]


def told(result: Any, near: Mapping[str, Any]) -> Any:
    """A result that is no table's, with what is known of neighbours: of classes, in the likeliest."""
    if isinstance(result, list):
        return [{**result[0], **near}, *result[1:]]
    if taken := near.keys() & result.keys():
        raise ValueError(f"a target is called {min(taken)!r}, which `similar` needs: rename it, or leave out similar")
    return {**result, **near}


def with_neighbours(
    frame: pd.DataFrame, table: TableRows, near: Sequence[Mapping[str, Any]], count: int
) -> pd.DataFrame:
    """A table of results with columns of neighbours, `count` of them named, in the rows of the samples that were
    answered; columns and their types are the same where none was.

    Raises:
        ValueError: the table has columns of these names.
    """
    kinds = {"distance": "float64", "unusual": "boolean", **{f"nearest_{k + 1}": "str" for k in range(count)}}
    rows = pd.DataFrame(list(near), index=table.positions) if near else _without_rows(kinds)
    if taken := [name for name in rows if name in frame]:
        raise ValueError(f"the table already has a column {taken[0]!r}, which `similar` needs: rename or drop it")
    if len(frame) == len(table.identity):
        rows = rows.reindex(np.arange(len(frame)))
    elif near:  # of forecasts, each series has a row for each step
        rows = rows.loc[np.repeat(rows.index, len(frame) // len(rows))]
    return pd.concat([frame, rows.set_axis(frame.index, axis=0)], axis=1)


def _without_rows(kinds: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()}, index=np.zeros(0, np.int64))


__all__ = ["check_similar", "load_similar", "neighbours", "told", "with_neighbours"]
