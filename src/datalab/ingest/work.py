"""Runs in a decoding worker: files to data files, with positions in each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache

import numpy as np
import pyarrow as pa

from datalab.ingest.content import Unstable, content_hash, opened
from datalab.ingest.contracts import Contract, bronze_schema, parse_contract
from datalab.ingest.decode.formats import count_units, decode, describe_unit
from datalab.ingest.decode.parts import Part
from datalab.ingest.jobs import Done, FileDone, FileJob, Job, Unit
from datalab.ingest.reasons import MAX_RAW_BYTES, Reject, within_budget
from datalab.ingest.together import Opened, Origin, Together, may_join
from datalab.ingest.writing import RecordWriter
from datalab.lake.table import DataFile

_HELD_SHARE = 10


@lru_cache(maxsize=8)
def _contract(text: str) -> Contract:
    return parse_contract(text)


def decode_job(job: Job) -> Done:
    """Decode a job's files and write what they hold. Unstable where a file changed while it was read."""
    writer = _Writer(job)
    small = Together(_contract(job.contract), job.limits, writer.add, lambda found: _decode_opened(job, found, writer))
    files: list[FileDone] = []
    for each in job.files:
        files.extend(_decode_file(job, each, writer, small))
    files.extend(small.finish())
    return Done(tuple(files), writer.finish())


def count_job(job: Job) -> int:
    """How many units the job's one file has."""
    (each,) = job.files
    with _bytes(each) as found:
        return count_units(found.data, each.format, job.limits)


def describe_job(job: Job) -> Unit:
    """The one unit that the span of the job's one file names."""
    (each,) = job.files
    assert each.span is not None
    with _bytes(each) as found:
        row, records, raw = describe_unit(found.data, each.format, job.limits, each.span.start)
        return Unit(row, records, bytes(raw[:MAX_RAW_BYTES]), len(raw), found.version)


def _decode_file(job: Job, each: FileJob, writer: _Writer, small: Together) -> list[FileDone]:
    try:
        with ExitStack() as stack:
            try:
                found = stack.enter_context(_bytes(each))
            except FileNotFoundError:
                return [FileDone(each.name, problem="it is gone")]
            except OSError as error:
                return [FileDone(each.name, problem=f"it cannot be read: {error.strerror}")]
            if each.version and found.version != each.version:
                return [FileDone(each.name, found.version, problem="it has other content than when it was read")]
            if not may_join(each):
                return [_decode_opened(job, found, writer)]
        return list(small.take(found))
    except Unstable as unstable:
        raise Unstable(each.name) from unstable


def _decode_opened(job: Job, found: Opened, writer: _Writer) -> FileDone:
    each = found.job
    accepted, rejects, rows = 0, list[Reject](), list[int]()
    for part in decode(found.data, each.format, _contract(job.contract), job.limits, each.span):
        wanted = part if each.ranges is None else part.only(each.ranges)
        accepted += wanted.accepted
        rejects.extend(wanted.rejects)
        if each.ranges is not None and wanted.rows is not None:
            rows.extend((wanted.rows + each.first).tolist())
        writer.add(wanted, [Origin(each.name, found.version, each.first, wanted.accepted)])
    return FileDone(each.name, found.version, accepted, within_budget(rejects), rows=tuple(rows))


@contextmanager
def _bytes(each: FileJob) -> Iterator[Opened]:
    if each.data is not None:
        yield Opened(each, memoryview(each.data), each.version or content_hash(memoryview(each.data)))
        return
    with opened(each.path) as (data, version):
        yield Opened(each, data, version)


class _Writer:
    """Accepted records with their positions, on their way to data files; without a target nothing is written."""

    def __init__(self, job: Job) -> None:
        self._now = job.now
        self._schema = bronze_schema(_contract(job.contract))
        memory = job.limits.worker_memory // _HELD_SHARE
        self._records = RecordWriter(job.target, memory) if job.target is not None else None

    def add(self, part: Part, origins: Sequence[Origin]) -> None:
        """Take a part's accepted records, which came from `origins` in this order."""
        if self._records is not None and part.records is not None and part.accepted:
            self._records.add(self._with_position(part, origins))

    def finish(self) -> tuple[DataFile, ...]:
        """Write what is still held; answers all data files."""
        return self._records.finish() if self._records is not None else ()

    def _with_position(self, part: Part, origins: Sequence[Origin]) -> pa.Table:
        assert part.records is not None
        assert part.rows is not None
        counts = [each.records for each in origins]
        codes = pa.array(np.repeat(np.arange(len(origins), dtype=np.int32), counts))
        added = [
            pa.repeat(pa.scalar(self._now, self._schema.field("ingestion_timestamp").type), part.accepted),
            pa.DictionaryArray.from_arrays(codes, [each.name for each in origins]),
            pa.array(part.rows + np.repeat(np.array([each.first for each in origins], dtype=np.int64), counts)),
            pa.DictionaryArray.from_arrays(codes, [each.version for each in origins]),
        ]
        return pa.Table.from_arrays([*part.records.flatten(), *added], names=self._schema.names)
