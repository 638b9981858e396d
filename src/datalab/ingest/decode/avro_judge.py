"""One Avro block record by record: where it ends to be sound. Loaded only where a block is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from datalab.ingest.decode.avro_binary import Malformed
from datalab.ingest.decode.avro_form import Form
from datalab.ingest.decode.avro_run import Body, Piece
from datalab.ingest.decode.parts import Part, refused
from datalab.ingest.reasons import Reason, unnumbered

_JUDGED = 10_000


def judge(form: Form, body: Body, head: int | None = None) -> Iterator[Piece | Part]:
    """The good records before the first bad one as pieces; that one and the rest of the block as refused parts.

    With a `head`, only so many records are decoded and nothing is said of the others.
    """
    if form.head:
        yield from _judge_message(form, body)
        return
    plain = bytes(body.plain)
    most = body.count if head is None else min(head, body.count)
    done = at = 0
    while done < most:
        batch, cuts = _some(form, plain, at, min(_JUDGED, most - done))
        if batch:
            yield _piece(form, body, (batch, cuts), done)
        wanted, at = min(_JUDGED, most - done), cuts[-1]
        done += len(batch)
        if len(batch) < wanted:
            break
    if head is None:
        yield from _rest(form, body, done, at)


def _judge_message(form: Form, body: Body) -> Iterator[Piece | Part]:
    """A message is one record, and nothing may follow it."""
    plain = bytes(body.plain)
    batch, cuts = _some(form, plain, form.head, 1)
    left = len(plain) - cuts[-1]
    if batch and not left:
        rows = np.array([body.row], dtype=np.int64)
        yield Piece(pa.array(batch, form.kind), rows, lambda _: [plain])
    else:
        words = f"{left} bytes after the record" if batch else "a record that cannot be decoded"
        yield refused(body.row, Reason.CORRUPT_RECORD, words, plain)


def raw_records(form: Form, plain: bytes | memoryview, inside: Sequence[int]) -> Iterator[bytes]:
    """The bytes of some records of a block that decoded well; `inside` are their numbers in it, ascending."""
    data, at = bytes(plain), 0
    if form.head:
        yield from (data for _ in inside)
        return
    read, wanted = form.lenient, set(inside)
    for index in range(inside[-1] + 1):
        _, end = read(data, at)
        if index in wanted:
            yield data[at:end]
        at = end


def _piece(form: Form, body: Body, found: tuple[list[Any], list[int]], done: int) -> Piece:
    batch, cuts = found
    rows = np.arange(body.row + done, body.row + done + len(batch), dtype=np.int64)

    def raws(bad: Sequence[int]) -> list[bytes]:
        return [bytes(body.plain[cuts[at] : cuts[at + 1]]) for at in bad]

    return Piece(pa.array(batch, form.kind), rows, raws)


def _some(form: Form, data: bytes, at: int, most: int) -> tuple[list[Any], list[int]]:
    """Up to `most` records from an offset on, until one is bad; the offsets of each and of what follows."""
    batch: list[Any] = []
    cuts = [at]
    read = form.strict
    for _ in range(most):
        try:
            record, at = read(data, at)
        except (Malformed, UnicodeDecodeError):
            break
        batch.append(record)
        cuts.append(at)
    return batch, cuts


def _rest(form: Form, body: Body, done: int, at: int) -> Iterator[Part]:
    rest = bytes(body.plain[at:])
    if done < body.count:
        records = max(1, min(body.count - done, len(rest) // form.smallest))
        words = body.problem or "a record that cannot be decoded, and what follows it in its block"
        yield refused(body.row + done, Reason.CORRUPT_RECORD, words, rest, records)
    elif rest:
        words = body.problem or "bytes that no record of the block accounts for"
        yield refused(unnumbered(body.row), Reason.CORRUPT_BLOCK, words, rest)
