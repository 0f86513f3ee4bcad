# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Answers to Parquet tables of any size, part by part, resumable and over several processes.

The rule. A table with one row per series, one Parquet file or a folder of them (`data.parquet` says in which order),
is answered in parts of a bounded number of cells. Each part's answer is a file in the folder `{output}.parts`, which
is there as a whole or not at all. When all are there, they are joined: to one file, or in a folder to a file for each
of the table's, under the same name; then the folder of parts goes.

- A run that was stopped and is started again, with the same table, model and options, goes on where it was, with any
  number of processes; with another one, or other releases of this package, transformers or torch, it begins anew.
- Several processes (`accelerate launch`, `torchrun`) share the parts: process k of n answers every n-th one. What one
  of them refuses, or cannot do, all raise where they next meet, so that none waits for one that is gone.
- Results, their order, what is left out and what is warned of are those of the pipeline for the whole table, and so
  are the batches. The table's own columns keep their types. `attrs["skipped"]` of the files, as pandas reads them, has
  the first 10 000 reasons.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm.auto import tqdm

from ..data.parquet import (
    SUFFIX,
    ParquetSource,
    Part,
    find_sources,
    join_files,
    parts_of,
    read_parts,
    write_parquet,
)
from ..data.tables import PartFaults, read_table, some_of
from ..environment import environment
from ..features.cache import tower_fingerprint
from ..model.messages import warn_caller
from ..model.modeling_timesclip import TimesCLIPModel
from ..model.processing_timesclip import TimesCLIPProcessor
from .any_series import SCALED_AS_HERE, reads_any_series, save_for_parts
from .pipelines import ROW, TimeSeriesPipeline
from .run_report import MOST_NAMED, PartReport, WholeReport
from .table_inputs import is_wide, usable_pattern

# Numbers in a part: 32 MB as fp64, of which reading, preparing and answering hold a few copies.
_CELLS = 2**22
_JOB, _TOWERS, _NOTES = "job.json", "towers", b"timesclip_hf"


def answer_parquet(
    pipeline: TimeSeriesPipeline,
    table: str | Path,
    output: str | Path,
    *,
    batch_size: int | None = None,
    progress_bar: bool = False,
    **kwargs: Any,
) -> int:
    """Answers a Parquet table of any size, by the rule above.

    Args:
        pipeline: of any task of ours.
        table: a file, or a folder of files, with one row per series.
        output: the file to write (`.parquet`), or a folder: one that is empty or not there yet.
        batch_size, progress_bar, **kwargs: as for calling the pipeline.

    Returns:
        Rows written by all processes together; -1 in all of them but the first one.

    Raises:
        FileNotFoundError: no such table.
        ValueError: a table that cannot be read, or not one row of it; says which file. A folder that holds something,
            an output within the table's folder.
    """
    if "groups" in kwargs:
        raise ValueError("groups: of a table in parts, a column says of which group each series is")
    sources, output = find_sources(table), Path(output)
    at_once = pipeline.series_at_once(batch_size)
    rows = max(1, _CELLS // max(len(source.schema) for source in sources) // at_once) * at_once
    parts = parts_of(sources, rows)
    folder = output.with_name(f"{output.name}.parts")
    job = _job(pipeline, sources, rows, kwargs)
    with _processes(pipeline) as (rank, count, meet):
        with meet():
            if rank == 0:
                _check_output(Path(table), output, folder)
                _begin(folder, job)
                if _is_scaled_by_table(pipeline):
                    _bring(pipeline, parts, folder / _TOWERS, kwargs.get("column_pattern"))
        with meet():
            if _is_scaled_by_table(pipeline):
                pipeline = _brought(pipeline, folder / _TOWERS)
            mine = [part for part in parts[rank::count] if not _path(folder, part).exists()]
            bar = tqdm(total=sum(part.count for part in mine), unit="series", disable=not progress_bar or rank > 0)
            with bar:
                for part, content in read_parts(mine):
                    _answer_part(pipeline, part, content, _path(folder, part), batch_size, kwargs)
                    bar.update(part.count)
        return _finish(parts, folder, output) if rank == 0 else -1


def is_streamed(pipeline: TimeSeriesPipeline, table: str | Path) -> bool:
    """Whether all files of a Parquet table have one row per series."""
    names = pipeline.processor.variate_names
    frames = [pd.DataFrame(columns=source.schema.names) for source in find_sources(table)]
    return all(is_wide(frame, names, usable_pattern(frame, pipeline.processor)) for frame in frames)


def _is_scaled_by_table(pipeline: TimeSeriesPipeline) -> bool:
    return reads_any_series(pipeline.model) and pipeline.processor.variate_names is None


def _bring(pipeline: TimeSeriesPipeline, parts: Sequence[Part], folder: Path, column_pattern: str | None) -> None:
    """Saves towers for any series as these need them, which is known once all of them were seen."""
    warn_caller(SCALED_AS_HERE)
    if not folder.exists():
        unfinished = folder.with_name(f".{folder.name}")
        frames = (read_table(content.to_pandas()) for part, content in read_parts(parts) if part.count)
        save_for_parts(pipeline, frames, unfinished, column_pattern)
        os.replace(unfinished, folder)


def _brought(pipeline: TimeSeriesPipeline, folder: Path) -> TimeSeriesPipeline:
    towers, processor = TimesCLIPModel.from_pretrained(folder), TimesCLIPProcessor.from_pretrained(folder)
    return type(pipeline)(towers.eval(), processor, device=pipeline.device, batch_size=pipeline._batch_size)


def _job(
    pipeline: TimeSeriesPipeline, sources: Sequence[ParquetSource], rows: int, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """All that answers depend on."""
    files = [(source.name, source.path.stat().st_size, source.path.stat().st_mtime_ns) for source in sources]
    versions = environment(pipeline.device)
    return {
        "versions": {name: versions.get(name) for name in ("timesclip_hf", "transformers", "torch")},
        "task": pipeline.task,
        "model": tower_fingerprint(pipeline.model),
        "processor": pipeline.processor.to_dict(),
        "rows": rows,
        "options": dict(sorted(kwargs.items())),
        "similar": pipeline.known_similar(kwargs.get("similar")),
        "files": files,
    }


def _check_output(table: Path, output: Path, folder: Path) -> None:
    if table.is_dir() and output.absolute().resolve().is_relative_to(table.resolve()):
        raise ValueError(f"{output}: this is within {table}, of which it would be read as a part: name another place")
    if folder.exists() and not (folder / _JOB).exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: this folder is needed for parts of the answer, but it is not ours: move it")
    if output.suffix.lower() != SUFFIX and output.is_dir() and any(output.iterdir()) and not folder.exists():
        raise ValueError(f"{output}: this folder is not empty: name another one, or a file {SUFFIX}")


def _begin(folder: Path, job: Mapping[str, Any]) -> None:
    """Makes the folder of parts, without those of another job."""
    text = json.dumps(job, sort_keys=True, default=str)
    known = folder / _JOB
    if folder.exists() and not (known.exists() and known.read_text(encoding="utf-8") == text):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known.write_text(text, encoding="utf-8")


def _path(folder: Path, part: Part) -> Path:
    return folder / f"{part.number:08d}{SUFFIX}"


def _answer_part(
    pipeline: TimeSeriesPipeline,
    part: Part,
    content: pa.Table,
    path: Path,
    batch_size: int | None,
    kwargs: Mapping[str, Any],
) -> None:
    """Writes the answers to the rows of a part, beside the table's own columns."""
    run, faults = PartReport(), PartFaults()
    try:
        with run.heard():
            frame = read_table(content.to_pandas()) if part.count else content.to_pandas()
            results, rows = pipeline.answer_part(frame, run, faults, batch_size, **kwargs)
    except ValueError as error:
        raise ValueError(f"{part.source.path}: {error}") from error
    own = list(rows.identity.columns)
    answers = pa.Table.from_pandas(results.drop(columns=ROW), preserve_index=False).replace_schema_metadata(None)
    if taken := [name for name in answers.column_names if name in own]:
        raise ValueError(
            f"{part.source.path}: the table already has columns [{some_of(map(repr, taken))}], which the results "
            "need: rename or drop them"
        )
    missing = [name for name in own if name not in content.column_names]  # an index, say
    beside = pa.Table.from_pandas(rows.identity[missing], preserve_index=False)
    given = pa.table({name: (beside if name in missing else content)[name] for name in own})
    numbers = pa.array(results[ROW].to_numpy(np.int64))
    kept_rows = given.take(numbers) if own else given  # of steps alone, no column is left
    answered = pa.table({name: part[name] for part in (kept_rows, answers) for name in part.column_names})
    notes = run.notes(rows.skipped, len(faults))
    kept = {_NOTES: json.dumps(notes).encode(), b"pandas": _pandas_notes(content.schema, own)}
    write_parquet(answered.replace_schema_metadata(kept), path)


def _pandas_notes(schema: pa.Schema, names: Sequence[str]) -> bytes:
    """What pandas left in a file about the dtypes of these columns, without its index."""
    given = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    columns = [column for column in given.get("columns", []) if column["field_name"] in names]
    return json.dumps({**given, "index_columns": [], "column_indexes": [], "columns": columns}).encode()


def _finish(parts: Sequence[Part], folder: Path, output: Path) -> int:
    """Joins the answers of all parts, and tells what there is to tell of them."""
    report, several = WholeReport(), len({part.source.path for part in parts}) > 1
    groups: dict[Path, list[Part]] = {}
    for part in parts:
        name = output if output.suffix.lower() == SUFFIX else output / part.source.name
        groups.setdefault(name, []).append(part)
    skipped: dict[Path, dict[str, str]] = {name: {} for name in groups}
    for name, group in groups.items():
        first = 0
        for part in group:
            notes = json.loads(pq.read_schema(_path(folder, part)).metadata[_NOTES])
            report.add(notes, part.count, f"{part.source.name} " if several else "", part.first)
            if len(skipped[name]) < MOST_NAMED:
                skipped[name] |= {str(first + int(row)): reason for row, reason in notes["skipped"].items()}
            first += part.count
    report.finish()
    written = 0
    for name, group in groups.items():
        name.parent.mkdir(parents=True, exist_ok=True)
        paths = [_path(folder, part) for part in group]
        notes = {b"PANDAS_ATTRS": json.dumps({"skipped": skipped[name]}).encode()}
        notes[b"pandas"] = pq.read_schema(paths[0]).metadata[b"pandas"]
        written += join_files(paths, name, notes)
    shutil.rmtree(folder)
    return written


def process_device() -> str | None:
    """The GPU of this process where there are several of both; else `None`."""
    count = torch.cuda.device_count() if "LOCAL_RANK" in os.environ else 0
    return f"cuda:{int(os.environ['LOCAL_RANK']) % count}" if count else None


@contextlib.contextmanager
def _processes(pipeline: TimeSeriesPipeline) -> Iterator[tuple[int, int, Callable[[], Any]]]:
    """The number of this process, how many there are, and a block of work at whose end all of them meet."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield 0, 1, contextlib.nullcontext
        return
    from accelerate import PartialState

    state = PartialState(cpu=pipeline.device.type == "cpu", timeout=timedelta(days=30))  # shares differ in length
    yield state.process_index, state.num_processes, _meeting


@contextlib.contextmanager
def _meeting() -> Iterator[None]:
    """Waits for the other processes behind a block of work; where one of them failed in it, all raise."""
    from accelerate.utils import gather_object

    fault: Exception | None = None
    try:
        yield
    except Exception as error:
        fault = error
    faults = gather_object([None if fault is None else str(fault) or type(fault).__name__])
    if fault is not None:
        raise fault
    if told := [found for found in faults if found is not None]:
        raise ValueError(told[0])


__all__ = ["answer_parquet", "is_streamed", "process_device"]
