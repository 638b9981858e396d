"""Staging: a query's rows become data files of a target, audited on the way, in one of the four modes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from datalab.engine.auditing import failed_mask, failed_rows, warned_rows
from datalab.engine.base import Query, Replace, Staged, Work
from datalab.engine.ranges import ordered
from datalab.engine.relations import duckdb_type, file_rows, quoted
from datalab.engine.session import Session
from datalab.engine.writing import ACCEPTED, BUCKET, SCRATCH, Folder, Written, write
from datalab.errors import PipelineTypeError
from datalab.lake.table import DataFile, Relation, WriteTarget, reads_nothing

FAILED = "__failed"
CONTESTED = -1


@dataclass(frozen=True)
class Batch:
    """The rows of a query in the target's columns and types, in brackets; `failed` is its mask, if any."""

    rows: str
    failed: str


@dataclass(frozen=True)
class Judged:
    """A query of a batch's rows; `bucketed`: each of them with its bucket."""

    sql: str
    bucketed: bool


@dataclass(frozen=True)
class Landing:
    """Files of one audited write, by what becomes of their rows, and the counts per check."""

    accepted: tuple[Written, ...]
    contested: tuple[Written, ...]
    rejected: Relation | None
    failed: dict[str, int]

    @property
    def rows(self) -> int:
        """All rows that the query answered."""
        kept = sum(written.file.rows for written in (*self.accepted, *self.contested))
        return kept + (self.rejected.rows if self.rejected else 0)


def batch(session: Session, work: Work) -> Batch:
    """The query of `work`, fitted to its target. PipelineTypeError for columns that the target does not have."""
    rows = fitted(session, work.query, work.target.schema, missing=True)
    return Batch(f"({rows})", failed_mask(work.checks, work.query.now, work.query.origin))


def fitted(session: Session, query: Query, schema: pa.Schema, *, missing: bool = False) -> str:
    """The query with exactly the columns of `schema`, cast where the type differs; `missing` ones become NULL."""
    rows, present = session.bind(query)
    types = {name.lower(): kind for name, kind in present.items()}
    surplus = [name for name in types if name not in {field.name.lower() for field in schema}]
    absent = [field.name for field in schema if field.name.lower() not in types]
    if surplus or (absent and not missing):
        names = ", ".join(surplus or absent)
        problem = "answers columns that the table does not have" if surplus else "lacks columns"
        raise PipelineTypeError(f"{query.origin}: the query {problem}: {names}", "name the columns in the query")
    return f"SELECT {', '.join(_fitted(field, types) for field in schema)} FROM ({rows})"


def _fitted(field: pa.Field[Any], types: dict[str, str]) -> str:
    name, kind = quoted(field.name), duckdb_type(field.type)
    present = types.get(field.name.lower())
    if present == kind:
        return name
    return f"CAST({name if present else 'NULL'} AS {kind}) AS {name}"


def audited(source: Batch, order: str = "") -> Judged:
    """The rows of a batch, with their bucket where there is anything to check."""
    bucket = f", {source.failed} AS {BUCKET}" if source.failed else ""
    return Judged(f"SELECT *{bucket} FROM {source.rows}{order}", bool(bucket))


def land(session: Session, folder: Folder, work: Work, rows: Judged, ranges: str = "") -> Landing:
    """Write the rows of a batch, each once, split by bucket and range; count what failed each check."""
    files = write(session, rows.sql, work.target, folder.path, ranges, bucketed=rows.bucketed)
    rejected = [written for written in files if written.bucket > ACCEPTED]
    warned = warned_rows(session, work.checks, work.query.now, file_rows(work.target.schema, data_files(files)))
    return Landing(
        tuple(written for written in files if written.bucket == ACCEPTED),
        tuple(written for written in files if written.bucket == CONTESTED),
        _rejected(session, work.target, rejected) if rejected else None,
        {**failed_rows(work.checks, rejected), **warned},
    )


def data_files(files: Iterable[Written]) -> tuple[DataFile, ...]:
    """The data files alone."""
    return tuple(written.file for written in files)


def _rejected(session: Session, target: WriteTarget, rejected: Sequence[Written]) -> Relation:
    parts = (
        f"SELECT *, CAST({mask} AS BIGINT) AS {FAILED} FROM ({file_rows(target.schema, list(files))})"
        for mask, files in _by_bucket(rejected).items()
    )
    return set_aside(session, target, " UNION ALL ".join(parts))


def set_aside(session: Session, target: WriteTarget, rows: str) -> Relation:
    """Rejected rows in files outside the table's location, with their mask as a column."""
    schema = target.schema.append(pa.field(FAILED, pa.int64()))
    scratch = WriteTarget(target.name, "", schema, compression=SCRATCH)
    return Relation(schema, data_files(write(session, rows, scratch, session.folder())))


def _by_bucket(files: Iterable[Written]) -> dict[int, list[DataFile]]:
    buckets: dict[int, list[DataFile]] = {}
    for written in files:
        buckets.setdefault(written.bucket, []).append(written.file)
    return buckets


def write_all(session: Session, folder: Folder, work: Work) -> Staged:
    """Append and Replace: the accepted rows become files; with Replace all present files leave."""
    landing = land(session, folder, work, audited(batch(session, work), ordered(work.target)))
    whole = isinstance(work.mode, Replace)
    replaced = work.current.files if whole and work.current else ()
    done = staged(landing, folder.keep(landing.accepted), replaced)
    return replace(done, whole=whole, meets=reads_nothing)


def staged(
    landing: Landing, add: tuple[DataFile, ...], removed: tuple[DataFile, ...] = (), superseded: int = 0
) -> Staged:
    """The outcome of staging one landing; all accepted and contested rows that were not superseded are written."""
    rejected = landing.rejected.rows if landing.rejected else 0
    written = landing.rows - rejected - superseded
    return Staged(add, removed, landing.rows, written, superseded, landing.rejected, landing.failed)
