"""Avro container files: whole runs of blocks at once; a block that does not add up, record by record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from datalab.ingest.avro_schema import AvroType, SchemaProblem
from datalab.ingest.contracts import Contract
from datalab.ingest.decode.avro_form import Form, form_of, misfits
from datalab.ingest.decode.avro_run import Body, decode_run, judged
from datalab.ingest.decode.container import Block, Header, Unreadable, decompress, read_header, walk
from datalab.ingest.decode.parts import Described, Part, refused
from datalab.ingest.decode.spans import Span
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import WHOLE, Reason


@dataclass(frozen=True)
class _Reading:
    """A file: everything that finding its blocks needs."""

    data: memoryview
    header: Header
    form: Form
    limits: Limits


def decode_avro(data: memoryview, contract: Contract, limits: Limits, span: Span | None = None) -> Iterator[Part]:
    """The file's parts; with a `span`, those of some of its blocks only."""
    try:
        header = read_header(data)
        form = form_of(header.schema)
    except Unreadable as problem:
        yield refused(WHOLE, problem.reason, problem.detail, data)
        return
    except SchemaProblem as problem:
        yield refused(WHOLE, Reason.SCHEMA_MISMATCH, f"the file's schema cannot be used: {problem}", data)
        return
    wrong = misfits(header.schema, contract.text)
    if wrong:
        yield labelled(refused(WHOLE, Reason.SCHEMA_MISMATCH, "; ".join(wrong), data), form)
        return
    for part in _parts(_Reading(data, header, form, limits), contract.record, span):
        yield labelled(part, form)


def count_blocks(data: memoryview, _limits: Limits) -> int:
    """How many blocks the file has, damaged ones included; 0 where its header is unreadable."""
    try:
        return sum(1 for _ in walk(data, read_header(data)))
    except Unreadable:
        return 0


def describe_block(data: memoryview, limits: Limits, unit: int) -> Described:
    """A block's first record number, how many records it stands for, and its bytes as they are in the file."""
    header = read_header(data)
    reading = _Reading(data, header, form_of(header.schema), limits)
    for block, row in islice(_numbered(reading), unit, unit + 1):
        return row, _numbers(reading, block), bytes(data[block.start : block.stop])
    return WHOLE, 1, b""


def labelled(part: Part, form: Form) -> Part:
    """The same part; its rejects name the schema that they were written with."""
    if not part.rejects:
        return part
    rejects = tuple(replace(reject, schema_id=form.schema_id) for reject in part.rejects)
    return Part(part.records, part.rows, rejects)


def _parts(reading: _Reading, reader: AvroType, span: Span | None) -> Iterator[Part]:
    """Blocks are held back until there are enough of them; those that are unsound from the start are judged alone."""
    run: list[Body] = []
    held = 0
    alone = span is not None and span.alone
    for body in _bodies(reading, span):
        if isinstance(body, Part):
            yield body
        elif body.problem or alone:
            yield from judged(reading.form, reader, [body], span.head if span else None)
        else:
            run.append(body)
            held += len(body.plain)
            if held >= reading.limits.chunk_bytes:
                yield from decode_run(reading.form, reader, run)
                run, held = [], 0
    if run:
        yield from decode_run(reading.form, reader, run)


def _bodies(reading: _Reading, span: Span | None) -> Iterator[Body | Part]:
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
    return max(min(block.count, plain // reading.form.smallest), least)


def _opened(reading: _Reading, block: Block, row: int) -> Body:
    raw = reading.data[block.start : block.stop]
    plain = decompress(reading.header.codec, raw, reading.limits.block_bytes)
    most = len(plain) // reading.form.smallest
    if block.problem or block.count > most or (block.count == 0 and plain):
        return Body(plain, row, max(min(block.count, most), 1), block.problem or "the declared count cannot be true")
    return Body(plain, row, block.count)


def _unopened(reading: _Reading, block: Block, row: int, problem: Unreadable) -> Part:
    records = max(1, min(block.count, (block.stop - block.start) // reading.form.smallest))
    raw = reading.data[block.start : block.stop]
    return refused(row, problem.reason, f"{problem.detail}; {block.problem}".strip("; "), raw, records)
