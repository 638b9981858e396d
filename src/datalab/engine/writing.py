"""Rows to Parquet data files: DuckDB writes them, split by partition and by bucket, and says what is in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import pyarrow as pa

from datalab.engine.faults import translated
from datalab.engine.partitions import partition_keys, partition_value
from datalab.engine.ranges import RANGE
from datalab.engine.relations import columns, field_id, quoted
from datalab.engine.session import Session
from datalab.engine.statistics import bounds
from datalab.lake.table import DataFile, WriteTarget

BUCKET = "__bucket"
ACCEPTED = 0
ENTERED, LEFT = 1, 2  # of side files: rows of a rewriting that came, and that went
FILE_SIZE = 256_000_000
SCRATCH = "lz4"
_GROUP_ROWS = 32_768


@dataclass(frozen=True)
class Written:
    """A data file and the bucket its rows belong to."""

    bucket: int
    file: DataFile


class Folder:
    """A new folder inside a table's location for files not yet kept; whatever is not kept goes with it."""

    def __init__(self, location: str) -> None:
        self._location = Path(location.removeprefix("file://"))
        self.path = self._location / f"staging-{uuid4().hex}"
        self._kept: list[Path] = []

    def __enter__(self) -> Self:
        with translated(str(self._location)):
            self.path.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            remove(self._kept)
        shutil.rmtree(self.path, ignore_errors=True)

    def keep(self, files: Iterable[Written], beside: str = "") -> tuple[DataFile, ...]:
        """Move files into the table's location, or a folder in it; on a later error they are removed from there too."""
        kept = []
        for written in files:
            path = self._location / beside / Path(written.file.path).name
            with translated(str(self._location)):
                path.parent.mkdir(exist_ok=True)
                Path(written.file.path).rename(path)
            self._kept.append(path)
            kept.append(replace(written.file, path=str(path)))
        return tuple(kept)


def remove(paths: Iterable[str | Path]) -> None:
    """Remove files, as far as that is possible."""
    for path in paths:
        with suppress(OSError):
            Path(path).unlink()


def write(
    session: Session, rows: str, target: WriteTarget, folder: Path, ranges: str = "", *, bucketed: bool = False
) -> tuple[Written, ...]:
    """Write a query's rows into `folder`. `bucketed`: the query has a column `__bucket`; files do not mix buckets.

    Nor do they mix the values of `ranges`, an expression over the target's columns.
    """
    keys = _split_keys(target, bucketed, ranges)
    wanted = ", ".join([columns(target.schema.names), *(f"{value} AS {name}" for name, value in keys.items())])
    split = f"PARTITION_BY ({', '.join(keys)}){_group_length(target)}"
    options = (split if keys else file_length(target, FILE_SIZE)) + file_options(target)
    answer = session.copy(f"SELECT {wanted} FROM ({rows})", folder, options)
    return tuple(_written(session, row, target) for row in answer if row[1])


def file_length(target: WriteTarget, size: int) -> str:
    """Where a COPY begins a new file: by the target's rows per file, else by `size` in bytes."""
    if not target.file_rows:
        return f"FILE_SIZE_BYTES {size}"
    return f"ROW_GROUPS_PER_FILE {max(1, target.file_rows // _GROUP_ROWS)}{_group_length(target)}"


def _group_length(target: WriteTarget) -> str:
    """Small groups where files are small, so that one file can be read and written by all threads."""
    return f", ROW_GROUP_SIZE {min(_GROUP_ROWS, target.file_rows)}" if target.file_rows else ""


def file_options(target: WriteTarget) -> str:
    """What a COPY says of each file of a target, behind other options."""
    return f", COMPRESSION {target.compression}{_field_ids(target.schema)}"


def _written(session: Session, row: Sequence[Any], target: WriteTarget) -> Written:
    path, rows, size, _, statistics, keys = row
    keys = keys or {}
    texts = [keys.get(f"__p{number}") for number, _ in enumerate(target.partition)]
    partition = partition_keys(session, path, texts, target.partition, target.schema)
    lower, upper, nulls = bounds(statistics, target.schema)
    return Written(int(keys.get(BUCKET, ACCEPTED)), DataFile(path, rows, size, partition, lower, upper, nulls))


def _split_keys(target: WriteTarget, bucketed: bool, ranges: str) -> dict[str, str]:
    keys = {f"__p{number}": partition_value(field, target.schema) for number, field in enumerate(target.partition)}
    keys |= {RANGE: ranges} if ranges else {}
    if not bucketed:
        return keys
    return {BUCKET: BUCKET, **{name: f"CASE WHEN {BUCKET} = 0 THEN {value} END" for name, value in keys.items()}}


def _field_ids(schema: pa.Schema) -> str:
    if any(field_id(field) is None for field in schema):
        return ""
    return f", FIELD_IDS {{{', '.join(f'{quoted(field.name)}: {_ids(field)}' for field in schema)}}}"


def _ids(field: pa.Field[Any]) -> str:
    kind, own = field.type, field_id(field)
    if pa.types.is_struct(kind):
        inner = [(child.name, child) for child in kind]
    elif pa.types.is_map(kind):
        inner = [("key", kind.key_field), ("value", kind.item_field)]
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = [("element", kind.value_field)]
    else:
        return str(own)
    nested = ", ".join(f"{quoted(name)}: {_ids(child)}" for name, child in inner if field_id(child) is not None)
    return f"{{__duckdb_field_id: {own}, {nested}}}" if nested else f"{{__duckdb_field_id: {own}}}"
