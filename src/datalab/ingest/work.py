"""Runs in a decoding worker: files to data files, through the engine, with positions in each row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

import numpy as np
import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Append, Query, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.ingest.content import Unstable, content_hash, opened
from datalab.ingest.contracts import Contract, bronze_schema, parse_contract
from datalab.ingest.decode.formats import count_units, decode, describe_unit
from datalab.ingest.decode.parts import Part
from datalab.ingest.jobs import Done, FileDone, FileJob, Job, Unit
from datalab.ingest.reasons import Reject, within_budget
from datalab.lake.table import DataFile, Relation, WriteTarget
from datalab.quality.quarantine import MAX_RAW_BYTES

_ENGINE_SHARE = 4
_COMPRESSION = "snappy"  # twice as fast to write as zstd for half as many bytes more; compaction can repack
_HELD_SHARE = 10


@lru_cache(maxsize=1)
def _engine(memory: int) -> DuckDBEngine:
    return DuckDBEngine(memory_limit=f"{memory // _ENGINE_SHARE >> 20}MiB", threads=1)


@lru_cache(maxsize=8)
def _contract(text: str) -> Contract:
    return parse_contract(text)


def decode_job(job: Job) -> Done:
    """Decode a job's files and write what they hold. Unstable where a file changed while it was read."""
    writer = _Writer(job)
    files = tuple(_decode_file(job, each, writer) for each in job.files)
    return Done(files, writer.finish())


def count_job(job: Job) -> int:
    """How many units the job's one file has."""
    (each,) = job.files
    with _bytes(each) as (data, _):
        return count_units(data, each.format, job.limits)


def describe_job(job: Job) -> Unit:
    """The one unit that the span of the job's one file names."""
    (each,) = job.files
    assert each.span is not None
    with _bytes(each) as (data, version):
        row, records, raw = describe_unit(data, each.format, job.limits, each.span.start)
        return Unit(row, records, bytes(raw[:MAX_RAW_BYTES]), len(raw), version)


def _decode_file(job: Job, each: FileJob, writer: _Writer) -> FileDone:
    try:
        with _bytes(each) as (data, version):
            if each.version and version != each.version:
                return FileDone(each.name, version, problem="it has other content than when it was read")
            return _decode_bytes(job, each, (data, version), writer)
    except Unstable as unstable:
        raise Unstable(each.name) from unstable
    except FileNotFoundError:
        return FileDone(each.name, problem="it is gone")
    except OSError as error:
        return FileDone(each.name, problem=f"it cannot be read: {error.strerror}")


def _decode_bytes(job: Job, each: FileJob, content: tuple[memoryview, str], writer: _Writer) -> FileDone:
    data, version = content
    accepted, rejects, rows = 0, list[Reject](), list[int]()
    for part in decode(data, each.format, _contract(job.contract), job.limits, each.span):
        wanted = part if each.ranges is None else part.only(each.ranges)
        accepted += wanted.accepted
        rejects.extend(wanted.rejects)
        if each.ranges is not None and wanted.rows is not None:
            rows.extend((wanted.rows + each.first).tolist())
        writer.add(wanted, each.name, version, each.first)
    return FileDone(each.name, version, accepted, within_budget(rejects), rows=tuple(rows))


@contextmanager
def _bytes(each: FileJob) -> Iterator[tuple[memoryview, str]]:
    if each.data is not None:
        yield memoryview(each.data), each.version or content_hash(memoryview(each.data))
        return
    with opened(each.path) as found:
        yield found


class _Writer:
    """Holds decoded records until there are enough for a data file of good size."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._schema = bronze_schema(_contract(job.contract))
        self._held: list[pa.Table] = []
        self._bytes = 0
        self._files: list[DataFile] = []

    def add(self, part: Part, name: str, version: str, first: int) -> None:
        """Take a part's accepted records."""
        if self._job.target is None or part.records is None or not part.accepted:
            return
        table = _with_position(part, self._schema, (name, version, first), self._job.now)
        self._held.append(table)
        self._bytes += table.nbytes
        if self._bytes >= self._job.limits.worker_memory // _HELD_SHARE:
            self._flush(self._job.target)

    def finish(self) -> tuple[DataFile, ...]:
        """Write what is still held; answers all data files."""
        if self._job.target is not None and self._held:
            self._flush(self._job.target)
        return tuple(self._files)

    def _flush(self, target: WriteTarget) -> None:
        records = pa.concat_tables(self._held)
        self._held, self._bytes = [], 0
        tree = exp.select(*(exp.column(name, quoted=True) for name in self._schema.names)).from_("records")
        relations = {"records": Relation(self._schema, memory=records)}
        query = Query(tree, relations, self._job.now, f"ingest {target.name}")
        quick = replace(target, compression=_COMPRESSION)
        staged = _engine(self._job.limits.worker_memory).stage(Work(query, quick, Append()))
        self._files.extend(staged.add)


def _with_position(part: Part, schema: pa.Schema, position: tuple[str, str, int], now: datetime) -> pa.Table:
    name, version, first = position
    assert part.records is not None
    assert part.rows is not None
    rows = part.accepted
    added = [
        pa.repeat(pa.scalar(now, schema.field("ingestion_timestamp").type), rows),
        _same(name, rows),
        pa.array(part.rows + np.int64(first)),
        _same(version, rows),
    ]
    return pa.Table.from_arrays([*part.records.flatten(), *added], names=schema.names)


def _same(text: str, rows: int) -> pa.Array:
    """The same text in every row, written down once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int8)), pa.array([text]))
