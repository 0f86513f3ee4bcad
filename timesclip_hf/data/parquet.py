# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""Parquet files of any size, one or a folder of them, read and written part by part.

A folder stands for all files `*.parquet` in it and in its folders, in the order of their paths; names that begin with
`.` or `_` are left out, as Spark and Hive leave them out. What folders called `column=value` say is a column of their
files. A part is so many rows of one file, in their order; no more than one is in memory.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .files import check_header
from .words import some_of

SUFFIX = ".parquet"
# Rows that are decoded at once, whatever the size of a part: a reader's own buffers are in addition.
_ROWS_DECODED = 4096


@dataclass(frozen=True)
class ParquetSource:
    """A file of a table.

    Args:
        path: of the file.
        name: what the file is called within its folder.
        num_rows: rows in it.
        schema: of its columns, those that folders' names give included.
        constants: those columns, name -> value.
    """

    path: Path
    name: str
    num_rows: int
    schema: pa.Schema
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Rows `first` to `first + count` of a file; `number` counts the parts of all files."""

    source: ParquetSource
    number: int
    first: int
    count: int


def is_parquet(path: str | Path) -> bool:
    """Whether this is the name of a Parquet file, or of a folder, perhaps one that is not there yet."""
    return Path(path).suffix.lower() == SUFFIX or Path(path).is_dir() or not (Path(path).exists() or Path(path).suffix)


def read_folder(table: Path) -> pa.Table:
    """All files of a folder as one table."""
    tables = [content for _, content in read_parts(parts_of(find_sources(table), 2**31))]
    try:
        return pa.concat_tables((part.replace_schema_metadata(None) for part in tables), promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"{table}: its files have columns of different types: {error}") from error


def find_sources(table: str | Path) -> list[ParquetSource]:
    """The files of a table, see above.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a folder without Parquet files, or a file that is none; says which.
    """
    table = Path(table)
    if not table.exists():
        raise FileNotFoundError(f"{table}: no such file")
    if table.is_file():
        return [_source(table, table.name, {}, None)]
    paths = sorted(
        path
        for path in table.rglob(f"*{SUFFIX}")
        if path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(table).parts)
    )
    if not paths:
        raise ValueError(f"{table}: there are no files *{SUFFIX} in this folder")
    if not any("=" in part for path in paths for part in path.relative_to(table).parts[:-1]):
        return [_source(path, str(path.relative_to(table)), {}, None) for path in paths]
    try:
        whole = ds.dataset(list(map(str, paths)), format="parquet", partitioning="hive", partition_base_dir=str(table))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{table}: its folders' names cannot be read as column=value: {error}") from error
    keys = {part.path: ds.get_partition_keys(part.partition_expression) for part in whole.get_fragments()}
    return [_source(path, str(path.relative_to(table)), keys[str(path)], whole.schema) for path in paths]


def _source(path: Path, name: str, constants: Mapping[str, Any], whole: pa.Schema | None) -> ParquetSource:
    try:
        notes = pq.read_metadata(path)
        schema = notes.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no Parquet file, or a damaged one: {error}") from error
    for key in constants:
        if key not in schema.names:
            schema = schema.append(pa.field(key, whole.field(key).type))  # type: ignore[union-attr]
    check_header(schema.names, str(path))
    return ParquetSource(path, name, notes.num_rows, schema, constants)


def parts_of(sources: Sequence[ParquetSource], rows: int) -> list[Part]:
    """All parts of some files, of at most so many rows each; a file without rows has one part."""
    parts: list[Part] = []
    for source in sources:
        for first in range(0, max(1, source.num_rows), rows):
            parts.append(Part(source, len(parts), first, min(rows, source.num_rows - first)))
    return parts


def read_parts(parts: Sequence[Part]) -> Iterator[tuple[Part, pa.Table]]:
    """The rows of some parts, which are in order, one after the other.

    Raises:
        ValueError: names a file that is damaged.
    """
    by_file: dict[Path, list[Part]] = {}
    for part in parts:
        by_file.setdefault(part.source.path, []).append(part)
    for path, wanted in by_file.items():
        try:
            yield from _read_file(wanted)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: no Parquet file, or a damaged one: {error}") from error


def _read_file(parts: Sequence[Part]) -> Iterator[tuple[Part, pa.Table]]:
    source, waiting, pieces, first = parts[0].source, list(parts), [], 0
    # Not buffered ahead: a row group may be the whole file.
    with pq.ParquetFile(source.path, pre_buffer=False, buffer_size=2**16) as file:
        if not source.num_rows:
            yield waiting[0], _completed(pa.Table.from_batches([], file.schema_arrow), source)
            return
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            if not waiting or last <= waiting[0].first:
                first = last
                continue
            for batch in file.iter_batches(_ROWS_DECODED, row_groups=[group]):
                end = first + len(batch)
                while waiting and waiting[0].first < end:
                    part = waiting[0]
                    start = max(part.first, first)
                    pieces.append(batch.slice(start - first, min(end, part.first + part.count) - start))
                    if end < part.first + part.count:
                        break
                    yield waiting.pop(0), _completed(pa.Table.from_batches(pieces), source)
                    pieces = []
                first = end


def _completed(table: pa.Table, source: ParquetSource) -> pa.Table:
    """With what the names of folders say."""
    for name, value in source.constants.items():
        if name not in table.column_names:
            values = pa.array([value] * len(table), source.schema.field(name).type)
            table = table.append_column(name, values)
    return table


def write_parquet(table: pa.Table, path: Path) -> None:
    """Writes a file, which is there as a whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, unfinished)
    os.replace(unfinished, path)


def join_files(paths: Sequence[Path], output: Path, notes: Mapping[bytes, bytes]) -> int:
    """Writes some files one behind the other as one, which is there as a whole or not at all.

    Args:
        paths: of files whose columns have the same names; types are widened where they differ.
        output: the new file.
        notes: the metadata of its schema.

    Returns:
        Its number of rows.

    Raises:
        ValueError: columns that differ.
    """
    schemas = [pq.read_schema(path).remove_metadata() for path in paths]
    names = schemas[0].names
    for path, schema in zip(paths, schemas, strict=True):
        if sorted(schema.names) != sorted(names):
            differing = {*schema.names} ^ {*names}
            raise ValueError(
                f"{output}: the table's files have different columns, such as {some_of(map(repr, sorted(differing)))} "
                f"({path.name}): write a folder, which keeps them apart"
            )
    try:
        whole = pa.unify_schemas([pa.schema([s.field(name) for name in names]) for s in schemas],
                                 promote_options="permissive")  # fmt: skip
    except pa.ArrowException as error:
        raise ValueError(f"{output}: the table's files have columns of different types: {error}") from error
    unfinished, rows = output.with_name(f".{output.name}.{os.getpid()}"), 0
    with pq.ParquetWriter(unfinished, whole.with_metadata(dict(notes))) as writer:
        for path in paths:
            table = pq.read_table(path).select(names).replace_schema_metadata(None)
            writer.write_table(table.cast(whole).replace_schema_metadata(dict(notes)))
            rows += len(table)
    os.replace(unfinished, output)
    return rows


__all__ = [
    "ParquetSource",
    "Part",
    "find_sources",
    "is_parquet",
    "join_files",
    "parts_of",
    "read_parts",
    "write_parquet",
]
