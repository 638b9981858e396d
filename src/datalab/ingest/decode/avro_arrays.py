"""What the part in C has read of Avro records, as Arrow arrays in their wire forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datalab.ingest.avro_schema import AvroType
from datalab.ingest.decode.avro_columns import Mask

_SPARE = 16  # bytes that may be touched behind texts when they are cut
SIZED = frozenset({"fixed", "bytes", "string"})
LISTS = frozenset({"array", "map"})
KEY = AvroType("string")  # of a map
_MOST_WORDS = 1_024  # that a column of texts which recur may have

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]
Validity = tuple[pa.Buffer | None, int]


@dataclass
class Room:
    """The values of a field, in as many rows as there are records, or items of the list that it is in.

    By kind they are numbers; where each value begins; or, behind a zero, where the items of each row end.
    """

    rows: int
    values: npt.NDArray[Any]
    lengths: Ints
    bits: Bytes | None
    missing: int = 0
    held: int = 0


def arrays_of(library: Any, record: AvroType, data: Bytes, good: Mask, rooms: Sequence[Room]) -> pa.StructArray:
    """Records, one for each of `good`, which a text that is none makes bad; `rooms` are in the order of the fields."""
    return _Arrays(library, data, good, iter(rooms)).record(record, _Level(len(good)))


@dataclass(frozen=True)
class _Level:
    """The records themselves, or the items of a list in `above`, which end where `ends` says."""

    rows: int
    above: _Level | None = None
    ends: Ints | None = None

    def records(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The records that rows of this level belong to."""
        if self.above is None or self.ends is None:
            return rows
        return self.above.records(np.searchsorted(self.ends[1:], rows, side="right"))


class _Arrays:
    def __init__(self, library: Any, data: Bytes, good: Mask, rooms: Iterator[Room]) -> None:
        self._library = library
        self._data = data
        self._good = good
        self._rooms = rooms

    def record(self, kind: AvroType, level: _Level) -> pa.StructArray:
        """The next rooms as a record; it has one of its own where it may be missing."""
        validity = _validity(next(self._rooms)) if kind.nullable else (None, 0)
        columns = [self._value(each.type, level) for each in kind.fields]
        return _struct([each.name for each in kind.fields], columns, level.rows, validity)

    def _value(self, kind: AvroType, level: _Level) -> pa.Array:
        if kind.kind == "record":
            return self.record(kind, level)
        if kind.kind in LISTS:
            return self._list(kind, level)
        room = next(self._rooms)
        bits, missing = _validity(room)
        if kind.kind == "string":
            return self._text(room, level)
        if kind.kind in SIZED:
            ends, out, _ = self._cut(room.values, room.lengths, room.held)
            return pa.Array.from_buffers(pa.binary(), room.rows, [bits, ends, out], missing)
        arrow = pa.from_numpy_dtype(room.values.dtype)
        return pa.Array.from_buffers(arrow, room.rows, [bits, pa.py_buffer(room.values)], missing)

    def _list(self, kind: AvroType, level: _Level) -> pa.ListArray:
        """An array, or a map as a list of its pairs."""
        room = next(self._rooms)
        bits, missing = _validity(room)
        inner = _Level(room.held, level, room.values)
        if kind.kind == "map":
            key = self._value(KEY, inner)
            items = _struct(["key", "value"], [key, self._value(kind.element, inner)], inner.rows)
        else:
            items = self._value(kind.element, inner)
        arrow, buffers = pa.list_(pa.field("item", items.type)), [bits, pa.py_buffer(room.values)]
        return pa.Array.from_buffers(arrow, room.rows, buffers, missing, children=[items])

    def _text(self, room: Room, level: _Level) -> pa.Array:
        bits, missing = _validity(room)
        words = self._recurring(room) if level.above is None else None
        if words is not None:
            numbers, dictionary = words
            indices = pa.Array.from_buffers(pa.int32(), room.rows, [bits, pa.py_buffer(numbers)], missing)
            return pa.DictionaryArray.from_arrays(indices, dictionary, safe=False)
        ends, out, plain = self._cut(room.values, room.lengths, room.held)
        if not plain:
            sound = self._sound(room.values, room.lengths)
            if not sound.all():  # Arrow's strings must be UTF-8, those of bad records too
                self._good[level.records(np.flatnonzero(~sound))] = False
                lengths = np.where(sound, room.lengths, 0).astype(np.int32)
                ends, out, _ = self._cut(room.values, lengths, int(lengths.sum()))
        return pa.Array.from_buffers(pa.string(), room.rows, [bits, ends, out], missing)

    def _recurring(self, room: Room) -> tuple[Ints, pa.StringArray] | None:
        """The number of each text, and the texts; None where too many are different, or not all are UTF-8."""
        numbers, firsts = np.empty(room.rows, dtype=np.int32), np.empty(_MOST_WORDS, dtype=np.int32)
        where = (_at(self._data), _at(room.values), _at(room.lengths), room.rows, _MOST_WORDS)
        known = self._library.records_recurring(*where, _at(numbers), _at(firsts))
        if known < 0:
            return None
        starts, lengths = room.values[firsts[:known]], room.lengths[firsts[:known]]
        ends, out, plain = self._cut(starts, lengths, int(lengths.sum()))
        if not plain and not self._sound(starts, lengths).all():
            return None
        return numbers, pa.Array.from_buffers(pa.string(), known, [None, ends, out], 0)

    def _sound(self, starts: Ints, lengths: Ints) -> Mask:
        """Which of the values are UTF-8."""
        sound = np.ones(len(starts), dtype=bool)
        self._library.records_check(_at(self._data), _at(starts), _at(lengths), len(starts), _at(sound))
        return sound

    def _cut(self, starts: Ints, lengths: Ints, size: int) -> tuple[pa.Buffer, pa.Buffer, bool]:
        """The values that lie there one behind the other, where each one ends, and whether all of it is ASCII."""
        ends, out = np.zeros(len(starts) + 1, dtype=np.int32), pa.allocate_buffer(size + _SPARE)
        where = (_at(self._data), _at(starts), _at(lengths), len(starts))
        plain = self._library.records_cut(*where, _at(ends), out.address)
        return pa.py_buffer(ends), out, bool(plain)


def _struct(
    names: Sequence[str], columns: Sequence[pa.Array], rows: int, validity: Validity = (None, 0)
) -> pa.StructArray:
    kind = pa.struct([(name, column.type) for name, column in zip(names, columns, strict=True)])
    bits, missing = validity
    return pa.Array.from_buffers(kind, rows, [bits], missing, children=list(columns))


def _validity(room: Room) -> Validity:
    if room.bits is None or not room.missing:
        return None, 0
    return pa.py_buffer(room.bits), room.missing


def _at(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)
