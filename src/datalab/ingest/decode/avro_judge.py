"""One Avro block record by record, by fastavro: where it ends to be sound. Loaded only where a block is not."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from datalab.ingest.decode.avro_form import Form
from datalab.ingest.decode.avro_run import Body, Piece
from datalab.ingest.decode.parts import Part, refused
from datalab.ingest.reasons import Reason, unnumbered

_JUDGED = 10_000
_parsed: dict[int, tuple[Form, Any]] = {}


def judge(form: Form, body: Body, head: int | None = None) -> Iterator[Piece | Part]:
    """The good records before the first bad one as pieces; that one and the rest of the block as refused parts.

    With a `head`, only so many records are decoded and nothing is said of the others.
    """
    if form.head:
        yield from _judge_message(form, body)
        return
    stream = io.BytesIO(body.plain)
    most = body.count if head is None else min(head, body.count)
    done = 0
    while done < most:
        batch, starts = _some(form, stream, min(_JUDGED, most - done))
        if batch:
            yield _piece(form, body, (batch, [*starts, stream.tell()]), done)
        done += len(batch)
        if len(starts) > len(batch):
            break
    if head is None:
        yield from _rest(form, body, done, stream.tell())


def _judge_message(form: Form, body: Body) -> Iterator[Piece | Part]:
    """A message is one record, and nothing may follow it."""
    stream = io.BytesIO(body.plain[form.head :])
    batch, _ = _some(form, stream, 1)
    left = len(body.plain) - form.head - stream.tell()
    if batch and not left:
        rows = np.array([body.row], dtype=np.int64)
        yield Piece(pa.array(batch, form.kind), rows, lambda _: [bytes(body.plain)])
    else:
        words = f"{left} bytes after the record" if batch else "a record that cannot be decoded"
        yield refused(body.row, Reason.CORRUPT_RECORD, words, body.plain)


def raw_records(form: Form, plain: bytes | memoryview, inside: Sequence[int]) -> Iterator[bytes]:
    """The bytes of some records of a block that decoded well; `inside` are their numbers in it, ascending."""
    if form.head:
        yield from (bytes(plain) for _ in inside)
        return
    stream = io.BytesIO(plain)
    wanted = set(inside)
    for index in range(inside[-1] + 1):
        start = stream.tell()
        with suppress(Exception):  # polars reads on where only the index of a union is damaged, fastavro does not
            fastavro.schemaless_reader(stream, _fast(form), None)
        if index in wanted:
            yield bytes(plain[start : stream.tell()])


def _fast(form: Form) -> Any:
    known = _parsed.get(id(form))
    if known is None or known[0] is not form:
        _parsed.clear()
        known = _parsed[id(form)] = (form, fastavro.parse_schema(form.wire))
    return known[1]


def _piece(form: Form, body: Body, found: tuple[list[Any], list[int]], done: int) -> Piece:
    batch, cuts = found
    rows = np.arange(body.row + done, body.row + done + len(batch), dtype=np.int64)

    def raws(bad: Sequence[int]) -> list[bytes]:
        return [bytes(body.plain[cuts[at] : cuts[at + 1]]) for at in bad]

    return Piece(pa.array(batch, form.kind), rows, raws)


def _some(form: Form, stream: io.BytesIO, most: int) -> tuple[list[Any], list[int]]:
    """Up to `most` records and their offsets; one offset more than records where the next one is bad."""
    batch: list[Any] = []
    starts: list[int] = []
    fast = _fast(form)
    for _ in range(most):
        starts.append(stream.tell())
        try:
            record = fastavro.schemaless_reader(stream, fast, None)
            pa.array([record], form.kind)
        except Exception:  # noqa: BLE001 - any way to fail makes the record a bad one
            stream.seek(starts[-1])
            break
        batch.append(record)
    return batch, starts


def _rest(form: Form, body: Body, done: int, at: int) -> Iterator[Part]:
    rest = bytes(body.plain[at:])
    if done < body.count:
        records = max(1, min(body.count - done, len(rest) // form.smallest))
        words = body.problem or "a record that cannot be decoded, and what follows it in its block"
        yield refused(body.row + done, Reason.CORRUPT_RECORD, words, rest, records)
    elif rest:
        words = body.problem or "bytes that no record of the block accounts for"
        yield refused(unnumbered(body.row), Reason.CORRUPT_BLOCK, words, rest)
