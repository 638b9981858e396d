"""Runs of Avro blocks, field by field or by polars, with as few calls as the damage in them allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from datalab.ingest.avro_schema import AvroType
from datalab.ingest.decode.avro_binary import Malformed
from datalab.ingest.decode.avro_borders import padded
from datalab.ingest.decode.avro_columns import MOST_BYTES, PADDING, Mask, decode_columns
from datalab.ingest.decode.avro_form import HEAD, SYNC, Form
from datalab.ingest.decode.avro_native import Stretches, Walker
from datalab.ingest.decode.container import write_long
from datalab.ingest.decode.parts import Part, Raws, Rows, settle
from datalab.ingest.decode.wire import Sizes, encoded_sizes
from datalab.ingest.memory_limit import unlimited
from datalab.plugins import load

_JUDGE = "datalab.ingest.decode.avro_judge:judge"
_READ, _JOIN = (f"datalab.ingest.decode.avro_polars:{name}" for name in ("read", "join"))
_HELD = 10_000
_TASTED, _TASTED_BYTES = 300, 1 << 18
_RAWS = "datalab.ingest.decode.avro_judge:raw_records"


@dataclass(frozen=True)
class Body:
    """The plain bytes of one block and what is known of it. `row` is the number of its first record.

    `sizes` are the bytes of each record, where that is known beforehand.
    """

    plain: bytes | memoryview
    row: int
    count: int
    problem: str = ""
    sizes: Sizes | None = None


@dataclass(frozen=True)
class Piece:
    """Records as decoded, with their numbers; `raws` answers their bytes."""

    wire: pa.StructArray
    rows: Rows
    raws: Raws


Pick = Callable[[int, int], tuple[Body, ...]]  # blocks number `start` up to `stop` of a run


@dataclass(frozen=True)
class _Group:
    """Blocks number `start` up to `stop` of a run, which polars decoded at once into as many records as declared."""

    start: int
    stop: int
    bodies: tuple[Body, ...]
    frame: Any  # polars'


def decode_run(form: Form, reader: AvroType, run: Sequence[Body]) -> Iterator[Part]:
    """The records of a run of blocks; where it does not add up, the blocks at fault record by record."""
    if form.walker is not None and sum(len(body.plain) for body in run) < MOST_BYTES:
        yield from _walked(form, form.walker, reader, run)
        return
    part = _by_borders(form, reader, run) if form.flat else None
    if part is not None:
        yield part
    else:
        yield from _decode(form, reader, len(run), lambda start, stop: tuple(run[start:stop]))


def _walked(form: Form, walker: Walker, reader: AvroType, run: Sequence[Body]) -> Iterator[Part]:
    """Record by record, without a word of Python; blocks that are not good as a whole are judged by themselves."""
    plain = b"".join([*(body.plain for body in run), bytes(PADDING)])
    sizes, counts = (
        np.array(each, dtype=np.int64) for each in zip(*((len(b.plain), b.count) for b in run), strict=True)
    )
    ends = np.cumsum(sizes)
    walked = walker.walk(memoryview(plain), Stretches(ends - sizes, ends, counts))
    firsts = np.cumsum(counts) - counts
    sound = np.logical_and.reduceat(walked.good, firsts)
    whole = bool(sound.all())
    kept = walked.records if whole else walked.records.filter(pa.array(np.repeat(sound, counts)))
    rows, borders = _numbers(run), np.append(walked.begins, ends[-1])
    places = np.flatnonzero(np.repeat(sound, counts))
    if len(places):
        yield settle(
            kept,
            rows if whole else rows[places],
            lambda bad: [plain[borders[at] : borders[at + 1]] for at in places[bad].tolist()],
            reader,
            form.writer,
        )
    if not whole:
        yield from judged(form, reader, [run[at] for at in np.flatnonzero(~sound).tolist()])


def _by_borders(form: Form, reader: AvroType, run: Sequence[Body]) -> Part | None:
    """Field by field between guessed borders; None unless they are right and all records good."""
    if form.borders.unknown:
        _taste(form, run[0])
    count = sum(body.count for body in run)
    data = padded(body.plain for body in run) if form.borders.wanted else None
    starts = form.borders.guess(data, count) if data is not None and len(data) < MOST_BYTES else None
    if data is None or starts is None or not _parts_at_blocks(starts, run):
        return None
    wire, good = decode_columns(form.writer, data.data, starts[:-1], starts[1:])
    right = bool(good.all())
    form.borders.judge(right)
    if not right:
        return None
    body = data.data
    return settle(wire, _numbers(run), lambda bad: [_between(body, starts, at) for at in bad], reader, form.writer)


def _parts_at_blocks(starts: Sizes, run: Sequence[Body]) -> bool:
    """Whether each block begins where one of its records does."""
    counts, lengths = np.array([(body.count, len(body.plain)) for body in run], dtype=np.int64).T
    return np.array_equal(starts[np.cumsum(counts)] - starts[0], np.cumsum(lengths))


def _taste(form: Form, body: Body) -> None:
    """Learn borders from the first records of a block."""
    plain, sizes, at = bytes(body.plain[:_TASTED_BYTES]), list[int](), 0
    with suppress(Malformed, UnicodeDecodeError):
        while len(sizes) < min(body.count, _TASTED):
            _, end = form.strict(plain, at)
            sizes.append(end - at)
            at = end
    form.borders.learn(padded([plain[:at]]), np.array(sizes, dtype=np.int64))


def _numbers(bodies: Sequence[Body]) -> Rows:
    return np.concatenate([np.arange(body.row, body.row + body.count, dtype=np.int64) for body in bodies])


def decode_records(form: Form, reader: AvroType, plain: memoryview, starts: Sizes) -> Iterator[Part]:
    """The same for records whose borders are known: `starts` has one offset of `plain` more than there are records."""
    sizes = np.diff(starts)
    if (form.walker is not None or form.flat) and starts[-1] - starts[0] < MOST_BYTES:
        yield from _by_columns(form, reader, plain, starts)
        return

    def pick(start: int, stop: int) -> tuple[Body, ...]:
        return (Body(plain[starts[start] : starts[stop]], start, stop - start, sizes=sizes[start:stop]),)

    yield from _decode(form, reader, len(sizes), pick)


def _by_columns(form: Form, reader: AvroType, plain: memoryview, starts: Sizes) -> Iterator[Part]:
    """Field by field; records that are not good are judged one by one."""
    body = plain[starts[0] : starts[-1] + PADDING]
    borders = starts - starts[0] if starts[0] else starts
    wire, good = _columns(form, body, borders[:-1] + form.head, borders[1:])
    bad = np.flatnonzero(~good).tolist()
    rows = np.flatnonzero(good)
    if len(rows):
        kept = wire.filter(pa.array(good)) if bad else wire
        yield settle(
            kept, rows, lambda wanted: [_between(body, borders, at) for at in rows[wanted]], reader, form.writer
        )
    if bad:
        yield from judged(form, reader, [Body(_between(body, borders, at), at, 1) for at in bad])


def _columns(form: Form, body: memoryview, starts: Sizes, ends: Sizes) -> tuple[pa.StructArray, Mask]:
    if form.walker is None:
        return decode_columns(form.writer, body, starts, ends)
    walked = form.walker.walk(body, Stretches(starts, ends))
    return walked.records, walked.good


def _between(body: memoryview, borders: Sizes, at: int) -> bytes:
    return bytes(body[borders[at] : borders[at + 1]])


def _decode(form: Form, reader: AvroType, count: int, pick: Pick) -> Iterator[Part]:
    groups, bad = _tested(form, (0, count), pick, _decoded)
    wire = _joined(groups)
    if wire is not None and not _fits(form, wire, groups):
        groups, short = _tested_again(form, groups, pick)
        bad, wire = [*bad, *short], _joined(groups)
    if wire is not None:
        bodies = [body for group in groups for body in group.bodies]
        if form.flat and not bad and not form.head and form.borders.wanted:
            form.borders.learn(padded(body.plain for body in bodies), encoded_sizes(wire, form.writer))
        yield settle(wire, _numbers(bodies), lambda wanted: _raws(form, bodies, wanted), reader, form.writer)
    if bad:
        yield from judged(form, reader, bad)


def judged(form: Form, reader: AvroType, bodies: Sequence[Body], head: int | None = None) -> Iterator[Part]:
    """Blocks record by record. With a `head`, only so many records of each, and nothing is said of the others."""
    judge: Callable[[Form, Body, int | None], Iterator[Piece | Part]] = load(_JUDGE)
    held: list[Piece] = []
    for body in bodies:
        for found in judge(form, body, head):
            if isinstance(found, Part):
                yield found
                continue
            held.append(found)
            if sum(len(piece.rows) for piece in held) >= _HELD:
                yield _settled(form, reader, held)
                held = []
    if held:
        yield _settled(form, reader, held)


def _settled(form: Form, reader: AvroType, pieces: Sequence[Piece]) -> Part:
    ends = np.cumsum([len(piece.rows) for piece in pieces])

    def raws(bad: Sequence[int]) -> list[bytes]:
        places = np.searchsorted(ends, bad, side="right").tolist()
        starts = [0, *ends.tolist()]
        return [pieces[place].raws([at - starts[place]])[0] for place, at in zip(places, bad, strict=True)]

    wire = pa.concat_arrays([piece.wire for piece in pieces])
    return settle(wire, np.concatenate([piece.rows for piece in pieces]), raws, reader, form.writer)


Test = Callable[[Form, Sequence[Body]], Any]


def _tested(form: Form, span: tuple[int, int], pick: Pick, test: Test) -> tuple[list[_Group], list[Body]]:
    """Each good block in one group, and the bad ones: the step is halved at a failure and doubled at a success."""
    groups: list[_Group] = []
    bad: list[Body] = []
    at, end = span
    step = end - at
    while at < end:
        stop = min(at + step, end)
        bodies = pick(at, stop)
        frame = test(form, bodies)
        if frame is None and stop - at > 1:
            step = (stop - at) // 2
            continue
        if frame is None:
            bad.extend(bodies)
        else:
            groups.append(_Group(at, stop, bodies, frame))
            step *= 2
        at = stop
    return groups, bad


def _tested_again(form: Form, groups: Sequence[_Group], pick: Pick) -> tuple[list[_Group], list[Body]]:
    """The same, of groups some of which decode into other bytes than they are made of."""
    kept: list[_Group] = []
    bad: list[Body] = []
    for group in groups:
        if _fits_alone(form, group.bodies, group.frame):
            kept.append(group)
        else:
            good, more = _tested(form, (group.start, group.stop), pick, _decoded_exactly)
            kept.extend(good)
            bad.extend(more)
    return kept, bad


def _decoded(form: Form, bodies: Sequence[Body]) -> Any:
    """The records, or None unless there are as many as the blocks declare."""
    count, size = sum(body.count for body in bodies), sum(len(body.plain) for body in bodies)
    plain = (body.plain for body in bodies)
    container = b"".join([form.prefix, write_long(count), write_long(size), *plain, SYNC])
    return _polars(_READ)(container, count, HEAD if form.head else None)


def _decoded_exactly(form: Form, bodies: Sequence[Body]) -> Any:
    frame = _decoded(form, bodies)
    return frame if frame is not None and _fits_alone(form, bodies, frame) else None


def _fits_alone(form: Form, bodies: Sequence[Body], frame: Any) -> bool:
    groups = [_Group(0, 0, tuple(bodies), frame)]
    wire = _joined(groups)
    return wire is not None and _fits(form, wire, groups)


def _fits(form: Form, wire: pa.StructArray, groups: Sequence[_Group]) -> bool:
    """Whether each block's records take up all of its bytes, and each its own where their sizes are known.

    Bytes that a block has left over may have gone into the first record of the next one.
    """
    bodies = [body for group in groups for body in group.bodies]
    sizes = encoded_sizes(wire, form.writer) + form.head
    known = [body.sizes for body in bodies if body.sizes is not None]
    if len(known) == len(bodies):
        return np.array_equal(sizes, np.concatenate(known))
    counts, lengths = np.array([(body.count, len(body.plain)) for body in bodies], dtype=np.int64).T
    fits = np.array_equal(np.add.reduceat(sizes, np.cumsum(counts) - counts), lengths)
    return fits and (not form.flat or _reads_so(form, bodies, sizes))


def _reads_so(form: Form, bodies: Sequence[Body], sizes: Sizes) -> bool:
    """Whether records of these sizes are good: polars takes any number for the branch of a union."""
    plain = b"".join([*(body.plain for body in bodies), bytes(PADDING)])
    ends = np.cumsum(sizes)
    return len(plain) > MOST_BYTES or bool(_columns(form, memoryview(plain), ends - sizes + form.head, ends)[1].all())


def _joined(groups: Sequence[_Group]) -> pa.StructArray | None:
    if not groups:
        return None
    records: pa.StructArray = _polars(_JOIN)([group.frame for group in groups])
    return records


@lru_cache
def _polars(target: str) -> Any:
    """Loaded only where records are not read field by field."""
    with unlimited():
        return load(target)


def _raws(form: Form, bodies: Sequence[Body], bad: Sequence[int]) -> list[bytes]:
    """The bytes of some records of blocks that decoded well; only the blocks that hold them are walked."""
    cut: Callable[[Form, bytes | memoryview, Sequence[int]], Iterator[bytes]] = load(_RAWS)
    ends = np.cumsum([body.count for body in bodies])
    places = np.searchsorted(ends, bad, side="right")
    found: list[bytes] = []
    for place in np.unique(places).tolist():
        inside = np.asarray(bad)[places == place] - (int(ends[place]) - bodies[place].count)
        found.extend(cut(form, bodies[place].plain, inside.tolist()))
    return found
