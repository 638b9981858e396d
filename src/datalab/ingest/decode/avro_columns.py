"""Avro records whose borders are known, decoded field by field: each step is one operation on all records at once.

A record is good only if its fields end where it ends; no record is ever read beyond its own border.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datalab.ingest.avro_schema import AvroType

MOST_BYTES = (1 << 31) - (1 << 10)
PADDING = 256  # what may be read behind the last record before it is known to be bad
_LOOSE = PADDING - 32  # how far from its end a record may be read before that is looked at
_NESTED = frozenset({"array", "map"})
_U = np.uint64
_STOPS = _U(0x8080808080808080)
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def has_columns(record: AvroType) -> bool:
    """Whether all fields can be decoded so: they hold one value each."""
    return record.kind not in _NESTED and all(has_columns(each.type) for each in record.fields)


def decode_columns(record: AvroType, plain: memoryview, starts: Places, ends: Places) -> tuple[pa.StructArray, Mask]:
    """Records in their wire forms, and which of them are good; the values of the others mean nothing.

    Booleans are numbers here, their bytes.
    Each lies in `plain`, which is shorter than MOST_BYTES, between its start and its end, one behind the other; unless
    PADDING bytes of anything lie behind the last one, all are copied.
    """
    walk = _Walk(with_room(plain, int(ends[-1]) if len(ends) else 0), starts, ends)
    made = _record(walk, record)
    return made, ~walk.bad & (walk.at == walk.ends)


def with_room(plain: memoryview, end: int) -> npt.NDArray[np.uint8]:
    """The bytes up to `end` with PADDING of anything behind them, copied where there is less."""
    if len(plain) - end >= PADDING:
        return np.frombuffer(plain, dtype=np.uint8)
    data = np.zeros(end + PADDING, dtype=np.uint8)
    data[:end] = np.frombuffer(plain[:end], dtype=np.uint8)
    return data


class _Walk:
    """Where reading stands in each record. It may be up to `loose` bytes behind its end: then the record is bad."""

    def __init__(self, data: npt.NDArray[np.uint8], at: Places, ends: Places) -> None:
        self.data = data
        self.words = np.ndarray((len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))
        self.at = at
        self.ends = ends
        self.bad = np.zeros(len(at), dtype=bool)
        self.loose = 0

    def some(self, chosen: Places) -> _Walk:
        """The same for some of the records."""
        part = _Walk.__new__(_Walk)
        part.data, part.words = self.data, self.words
        part.at, part.ends, part.bad = self.at[chosen], self.ends[chosen], self.bad[chosen]
        part.loose = self.loose
        return part

    def take_back(self, chosen: Places, part: _Walk) -> None:
        """Go on where a part of the records stands now."""
        self.at[chosen] = part.at
        self.bad[chosen] = part.bad
        self.loose = max(self.loose, part.loose)

    def skip(self, size: int | Places, most: int) -> None:
        """Pass bytes that were read, so many of each record at most."""
        self.at = self.at + size
        self.loose += most
        if self.loose > _LOOSE:
            self.catch()

    def catch(self) -> None:
        """A record that ended before it was read is bad, and stands at its end from then on."""
        over = self.at > self.ends
        if over.any():
            self.bad |= over
            self.at = np.minimum(self.at, self.ends)
        self.loose = 0

    def pass_by(self, sizes: Places, shortest: int) -> Places:
        """Pass stretches of any sizes, none shorter than the `shortest`; one that does not fit is bad, and cut off.

        Answers where each began.
        """
        wrong = sizes > self.ends - self.at
        if shortest < 0:
            wrong |= sizes < 0
        if wrong.any():
            self.bad |= wrong
            self.at = np.minimum(self.at, self.ends)
            sizes = np.where(wrong, 0, sizes)
        before = self.at
        self.at = before + sizes
        self.loose = 0
        return before

    def refuse(self, rows: Mask) -> None:
        """Records that hold what they must not."""
        self.bad |= rows


def _value(walk: _Walk, kind: AvroType) -> pa.Array:
    read = _READ.get(kind.kind, _whole)
    if not kind.nullable:
        return read(walk, kind)
    null, value = (0, 2) if kind.null_first else (2, 0)
    tags = walk.data[walk.at]
    walk.skip(1, 1)
    present = tags == value
    if present.all():
        return read(walk, kind)
    walk.refuse(~present & (tags != null))
    chosen = np.flatnonzero(present)
    part = walk.some(chosen)
    made = read(part, kind)
    walk.take_back(chosen, part)
    places = np.zeros(len(tags), dtype=np.int32)
    places[chosen] = np.arange(len(chosen), dtype=np.int32)
    return made.take(pa.array(places, mask=~present))


def _record(walk: _Walk, kind: AvroType) -> pa.StructArray:
    columns = [_value(walk, each.type) for each in kind.fields]
    return pa.StructArray.from_arrays(columns, names=[each.name for each in kind.fields])


def _whole(walk: _Walk, _kind: AvroType) -> pa.Array:
    return pa.array(_longs(walk))


def _longs(walk: _Walk) -> Places:
    """One zigzag variable-length integer of each record."""
    first = walk.data[walk.at]
    if not (first & 0x81).any():  # one byte, not negative: such are nearly all lengths
        walk.skip(1, 1)
        return (first >> 1).astype(np.int64)
    words = walk.words[walk.at]
    stops = ~words & _STOPS
    low = (stops & (~stops + _U(1))) - _U(1)  # all bits below the highest one of the last byte; of a longer one, all
    sizes = ((np.bitwise_count(low) + 1) >> 3).astype(np.int64)
    values = _packed(words & low)
    longer = stops == 0
    if longer.any():
        _lengthen(walk, values, sizes, np.flatnonzero(longer))
    walk.skip(sizes, 10)
    return _unzigzag(values)


def _packed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Eight groups of seven bits, put together."""
    pairs = (words & _U(0x007F007F007F007F)) | ((words & _U(0x7F007F007F007F00)) >> _U(1))
    fours = (pairs & _U(0x00003FFF00003FFF)) | ((pairs & _U(0x3FFF00003FFF0000)) >> _U(2))
    return (fours & _U(0x0FFFFFFF)) | ((fours & _U(0x0FFFFFFF00000000)) >> _U(4))


def _lengthen(walk: _Walk, values: npt.NDArray[np.uint64], sizes: Places, rows: Places) -> None:
    """Integers of nine and ten bytes, of which the first eight have been read."""
    ninth, tenth = (walk.data[walk.at[rows] + place].astype(np.uint64) for place in (8, 9))
    more = ninth >= 0x80
    values[rows] |= (ninth & _U(0x7F)) << _U(56) | np.where(more, tenth << _U(63), _U(0))
    sizes[rows] = np.where(more, 10, 9)
    walk.bad[rows] |= more & (tenth > 1)


def _unzigzag(values: npt.NDArray[np.uint64]) -> Places:
    signs: Places = -(values & _U(1)).view(np.int64)
    return (values >> _U(1)).view(np.int64) ^ signs


def _number(width: str) -> Callable[[_Walk, AvroType], pa.Array]:
    size = int(width[-1])

    def read(walk: _Walk, _kind: AvroType) -> pa.Array:
        raw = walk.words[walk.at]
        walk.skip(size, size)
        bits = raw if size == 8 else raw.astype("<u4")
        return pa.array(bits.view(width))

    return read


def _boolean(walk: _Walk, _kind: AvroType) -> pa.Array:
    """The byte as a number: whether it is one of the two that it may be is judged with the contract."""
    raw = walk.data[walk.at]
    walk.skip(1, 1)
    return pa.array(raw)


def _fixed(walk: _Walk, kind: AvroType) -> pa.Array:
    """Bytes of a known number; they are cut where the record ends."""
    size = kind.size or 1
    walk.catch()
    before = walk.at
    walk.at = np.minimum(before + size, walk.ends)
    walk.refuse(walk.at - before < size)
    return _cut(walk, before)


def _sized(walk: _Walk, _kind: AvroType) -> pa.Array:
    lengths = _longs(walk)
    return _cut(walk, walk.pass_by(lengths, int(lengths.min(initial=0))))


def _cut(walk: _Walk, before: Places) -> pa.Array:
    """What lies between two places of each record: Arrow takes every other one of all stretches, gaps included."""
    count = len(before)
    borders = np.empty(2 * count + 1, dtype=np.int32)
    borders[0:-1:2], borders[1::2], borders[-1] = before, walk.at, walk.at[-1] if count else 0
    buffers = [None, pa.py_buffer(borders), pa.py_buffer(walk.data)]
    stretches = pa.Array.from_buffers(pa.binary(), 2 * count, buffers)
    return pc.take(stretches, _even(count), boundscheck=False)


@lru_cache(maxsize=2)
def _even(count: int) -> pa.Array:
    return pa.array(np.arange(0, 2 * count, 2, dtype=np.int32))


def _text(walk: _Walk, kind: AvroType) -> pa.Array:
    raw = _sized(walk, kind)
    buffers = raw.buffers()
    if buffers[2] is None or np.frombuffer(buffers[2], dtype=np.uint8).max(initial=0) < 0x80:
        return pa.Array.from_buffers(pa.string(), len(raw), buffers)  # ASCII needs no closer look
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        wrong = np.fromiter((not _is_text(value) for value in raw.to_pylist()), dtype=bool, count=len(raw))
        walk.refuse(wrong)
        return pc.if_else(pa.array(wrong), pa.scalar(b"", raw.type), raw).cast(pa.string())


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


_READ: dict[str, Callable[[_Walk, AvroType], pa.Array]] = {
    "record": _record,
    "float": _number("<f4"),
    "double": _number("<f8"),
    "boolean": _boolean,
    "fixed": _fixed,
    "bytes": _sized,
    "string": _text,
}
