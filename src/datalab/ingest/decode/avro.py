"""Avro container files: whole runs of blocks by polars; a block that does not add up, record by record by fastavro."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pyarrow as pa

from datalab.ingest.avro_schema import AvroType, SchemaProblem, fingerprint, min_size, parse_schema
from datalab.ingest.contracts import Contract
from datalab.ingest.decode.container import Block, Header, Unreadable, decompress, read_header, walk, write_long
from datalab.ingest.decode.parts import Described, Part, refused, settle
from datalab.ingest.decode.spans import Span
from datalab.ingest.decode.wire import encoded_size, wire_schema, wire_type
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import WHOLE, Reason, Reject, unnumbered
from datalab.ingest.resolution import differences

_SYNC = bytes(16)
_JUDGED = 10_000


@dataclass(frozen=True)
class _Reading:
    """A file under a contract: everything that decoding its blocks needs."""

    data: memoryview
    header: Header
    writer: AvroType
    reader: AvroType
    limits: Limits

    @cached_property
    def wire(self) -> Any:
        return wire_schema(self.writer)

    @cached_property
    def fast(self) -> Any:
        return fastavro.parse_schema(self.wire)

    @cached_property
    def prefix(self) -> bytes:
        text = json.dumps(self.wire, separators=(",", ":")).encode()
        pairs = ((b"avro.schema", text), (b"avro.codec", b"null"))
        entries = b"".join(write_long(len(part)) + part for pair in pairs for part in pair)
        return b"Obj\x01" + write_long(2) + entries + write_long(0) + _SYNC

    @cached_property
    def smallest(self) -> int:
        return min_size(self.writer)


@dataclass(frozen=True)
class _Body:
    """The plain bytes of one block and what is known of it. `row` is the number of its first record."""

    plain: bytes | memoryview
    row: int
    count: int
    problem: str = ""


def decode_avro(data: memoryview, contract: Contract, limits: Limits, span: Span | None = None) -> Iterator[Part]:
    """The file's parts; with a `span`, those of some of its blocks only."""
    try:
        header = read_header(data)
        writer = parse_schema(header.schema, strict=False)
    except Unreadable as problem:
        yield refused(WHOLE, problem.reason, problem.detail, data)
        return
    except SchemaProblem as problem:
        yield refused(WHOLE, Reason.SCHEMA_MISMATCH, f"the file's schema cannot be used: {problem}", data)
        return
    wrong = differences(writer, contract.record)
    if wrong or min_size(writer) == 0:
        detail = "; ".join(wrong) or "records of this schema take no bytes"
        yield _labelled(refused(WHOLE, Reason.SCHEMA_MISMATCH, detail, data), header)
        return
    reading = _Reading(data, header, writer, contract.record, limits)
    for part in _parts(reading, span):
        yield _labelled(part, header)


def count_blocks(data: memoryview) -> int:
    """How many blocks the file has, damaged ones included; 0 where its header is unreadable."""
    try:
        return sum(1 for _ in walk(data, read_header(data)))
    except (Unreadable, SchemaProblem):
        return 0


def describe_block(data: memoryview, limits: Limits, unit: int) -> Described:
    """A block's first record number, how many records it stands for, and its bytes as they are in the file."""
    header = read_header(data)
    writer = parse_schema(header.schema, strict=False)
    reading = _Reading(data, header, writer, writer, limits)
    for block, row in islice(_numbered(reading), unit, unit + 1):
        return row, _numbers(reading, block), bytes(data[block.start : block.stop])
    return WHOLE, 1, b""


def _labelled(part: Part, header: Header) -> Part:
    if not part.rejects:
        return part
    schema_id = fingerprint(header.schema)
    rejects = tuple(Reject(**{**vars(reject), "schema_id": schema_id}) for reject in part.rejects)
    return Part(part.records, part.rows, rejects)


def _parts(reading: _Reading, span: Span | None) -> Iterator[Part]:
    """Sound blocks are held back until there are enough of them, or one comes that is not sound."""
    run: list[_Body] = []
    held = 0
    alone = span is not None and span.alone
    for body in _bodies(reading, span):
        if isinstance(body, _Body) and not body.problem and not alone:
            run.append(body)
            held += len(body.plain)
            if held >= reading.limits.chunk_bytes:
                yield from _decode_run(reading, run)
                run, held = [], 0
            continue
        yield from _decode_run(reading, run)
        run, held = [], 0
        yield from [body] if isinstance(body, Part) else _judge(reading, body, span.head if span else None)
    yield from _decode_run(reading, run)


def _bodies(reading: _Reading, span: Span | None) -> Iterator[_Body | Part]:
    """The blocks of the span that hold anything, decompressed; one that cannot be is refused as a whole."""
    wanted = slice(span.start, span.stop) if span else slice(None)
    for block, row in islice(_numbered(reading), wanted.start, wanted.stop):
        try:
            body = _opened(reading, block, row)
        except Unreadable as problem:
            yield _unopened(reading, block, row, problem)
            continue
        if body.count or body.problem:
            yield body


def _numbered(reading: _Reading) -> Iterator[tuple[Block, int]]:
    """All blocks with the number of their first record, which must not depend on what can be decoded before it."""
    row = 0
    for block in walk(reading.data, reading.header):
        yield block, row
        row += _numbers(reading, block)


def _numbers(reading: _Reading, block: Block) -> int:
    """How many record numbers a block takes up: as many as it declares, unless it could never hold them."""
    packed = block.stop - block.start
    plain = packed if reading.header.codec == "null" else reading.limits.block_bytes
    least = 1 if block.problem or packed else 0
    return max(min(block.count, plain // reading.smallest), least)


def _opened(reading: _Reading, block: Block, row: int) -> _Body:
    raw = reading.data[block.start : block.stop]
    plain = decompress(reading.header.codec, raw, reading.limits.block_bytes)
    most = len(plain) // reading.smallest
    if block.problem or block.count > most or (block.count == 0 and plain):
        return _Body(plain, row, max(min(block.count, most), 1), block.problem or "the declared count cannot be true")
    return _Body(plain, row, block.count)


def _unopened(reading: _Reading, block: Block, row: int, problem: Unreadable) -> Part:
    records = max(1, min(block.count, (block.stop - block.start) // reading.smallest))
    raw = reading.data[block.start : block.stop]
    return refused(row, problem.reason, f"{problem.detail}; {block.problem}".strip("; "), raw, records)


def _decode_run(reading: _Reading, run: Sequence[_Body]) -> Iterator[Part]:
    """A run of blocks at once; where that does not add up, its halves, and at last one block record by record."""
    if not run:
        return
    count = sum(body.count for body in run)
    wire = _bulk(reading, count, [body.plain for body in run])
    if wire is not None:
        rows = np.arange(run[0].row, run[0].row + count, dtype=np.int64)
        yield settle(wire, rows, lambda bad: _raws(reading, run, bad), reading.reader, reading.writer)
    elif len(run) > 1:
        half = len(run) // 2
        yield from _decode_run(reading, run[:half])
        yield from _decode_run(reading, run[half:])
    else:
        yield from _judge(reading, run[0], None)


def _bulk(reading: _Reading, count: int, bodies: Sequence[bytes | memoryview]) -> pa.StructArray | None:
    """The records, or None unless exactly `count` of them take up exactly all bytes."""
    size = sum(map(len, bodies))
    container = b"".join([reading.prefix, write_long(count), write_long(size), *bodies, _SYNC])
    try:
        frame = pl.read_avro(io.BytesIO(container))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
        return None
    if frame.height != count:
        return None
    records = frame.to_arrow().combine_chunks().to_struct_array()
    wire = records.chunk(0) if isinstance(records, pa.ChunkedArray) else records
    return wire if encoded_size(wire, reading.writer) == size else None


def _judge(reading: _Reading, body: _Body, head: int | None) -> Iterator[Part]:
    """Record by record: the good ones before the first bad one; that one and the rest of the block are refused.

    With a `head`, only so many records are decoded and nothing is said of the others.
    """
    stream = io.BytesIO(body.plain)
    most = body.count if head is None else min(head, body.count)
    done = 0
    while done < most:
        batch, starts = _some(reading, stream, min(_JUDGED, most - done))
        if batch:
            rows = np.arange(body.row + done, body.row + done + len(batch), dtype=np.int64)
            cuts = [*starts, stream.tell()]
            yield settle(
                pa.array(batch, wire_type(reading.writer)),
                rows,
                lambda bad, cuts=cuts: [bytes(body.plain[cuts[at] : cuts[at + 1]]) for at in bad],  # type: ignore[misc]
                reading.reader,
                reading.writer,
            )
        done += len(batch)
        if len(starts) > len(batch):
            break
    if head is None:
        yield from _rest(reading, body, done, stream.tell())


def _some(reading: _Reading, stream: io.BytesIO, most: int) -> tuple[list[Any], list[int]]:
    """Up to `most` records and their offsets; one offset more than records where the next one is bad."""
    batch: list[Any] = []
    starts: list[int] = []
    kind = wire_type(reading.writer)
    for _ in range(most):
        starts.append(stream.tell())
        try:
            record = fastavro.schemaless_reader(stream, reading.fast, None)
            pa.array([record], kind)
        except Exception:  # noqa: BLE001 - any way to fail makes the record a bad one
            stream.seek(starts[-1])
            break
        batch.append(record)
    return batch, starts


def _rest(reading: _Reading, body: _Body, done: int, at: int) -> Iterator[Part]:
    rest = bytes(body.plain[at:])
    if done < body.count:
        records = max(1, min(body.count - done, len(rest) // reading.smallest))
        words = body.problem or "a record that cannot be decoded, and what follows it in its block"
        yield refused(body.row + done, Reason.CORRUPT_RECORD, words, rest, records)
    elif rest:
        words = body.problem or "bytes that no record of the block accounts for"
        yield refused(unnumbered(body.row), Reason.CORRUPT_BLOCK, words, rest)


def _raws(reading: _Reading, run: Sequence[_Body], bad: Sequence[int]) -> list[bytes]:
    """The bytes of some records of a run that decoded well; only the blocks that hold them are walked."""
    found: list[bytes] = []
    first = run[0].row
    wanted = iter(sorted(bad))
    row = next(wanted, None)
    for body in run:
        inside: list[int] = []
        while row is not None and row + first < body.row + body.count:
            inside.append(row + first - body.row)
            row = next(wanted, None)
        if inside:
            found.extend(_cut(reading, body.plain, inside))
    return found


def _cut(reading: _Reading, plain: bytes | memoryview, inside: Sequence[int]) -> Iterator[bytes]:
    stream = io.BytesIO(plain)
    wanted = set(inside)
    for index in range(inside[-1] + 1):
        start = stream.tell()
        with suppress(Exception):  # polars reads on where only the index of a union is damaged, fastavro does not
            fastavro.schemaless_reader(stream, reading.fast, None)
        if index in wanted:
            yield bytes(plain[start : stream.tell()])
