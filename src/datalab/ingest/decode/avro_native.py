"""Avro records decoded by the part in C: record by record, into the same columns that avro_columns.py makes.

Texts that recur come as dictionaries. Where records follow one another, their borders need not be known.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datalab.ingest.avro_schema import AvroType
from datalab.ingest.decode.avro_columns import Mask, Places, with_room
from datalab.ingest.native.library import built, is_wanted

_LAYOUT = 1  # of what is handed over, as records.c has it
_SPARE = 16  # bytes that it may touch behind texts which it cuts
_MOST_WORDS = 1_024  # that a column of texts which recur may have
_SIZED = frozenset({"fixed", "bytes", "string"})
_KINDS: dict[str, tuple[int, Any]] = {
    "boolean": (0, np.uint8),
    "int": (1, np.int64),
    "long": (1, np.int64),
    "enum": (1, np.int64),
    "float": (2, np.float32),
    "double": (3, np.float64),
    "fixed": (4, np.int32),
    "bytes": (5, np.int32),
    "string": (5, np.int32),
    "record": (6, np.uint8),
}
_FIELD = np.dtype(
    [
        ("kind", "i4"),
        ("nullable", "i4"),
        ("size", "i8"),
        ("values", "u8"),
        ("lengths", "u8"),
        ("bits", "u8"),
        ("missing", "i8"),
        ("bytes", "i8"),
    ],
    align=True,
)

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Stretches:
    """Where records lie: so many between a start and an end, one behind the other. Without counts it is one."""

    starts: Places
    ends: Places
    counts: Places | None = None

    @property
    def records(self) -> int:
        """How many there should be."""
        return len(self.starts) if self.counts is None else int(self.counts.sum())


@dataclass(frozen=True)
class Walked:
    """Records in their wire forms, which of them are good, and where each begins; what the others hold means nothing.

    A record that is not good makes those behind it in its stretch bad.
    """

    records: pa.StructArray
    good: Mask
    begins: Places


@dataclass(frozen=True)
class _Step:
    """A field as it is read; of records only those that may be missing have one, in front of their own fields."""

    kind: AvroType
    inside: int  # how many steps behind it belong to it
    optional: bool  # whether values may be missing, be it with what they are in


class _Room:
    """Where the values of a step go, and what is told of them."""

    def __init__(self, step: _Step, rows: int) -> None:
        code, dtype = _KINDS[step.kind.kind]
        order = 0 if not step.kind.nullable else 1 if step.kind.null_first else 2
        self.values = np.empty(0 if step.kind.kind == "record" else rows, dtype=dtype)
        self.lengths = np.empty(rows if step.kind.kind in _SIZED else 0, dtype=np.int32)
        self.bits = np.zeros(rows // 8 + 1, dtype=np.uint8) if step.optional else None
        size = step.inside or step.kind.size or 0
        bits = 0 if self.bits is None else _at(self.bits)
        self.field = (code, order, size, _at(self.values), _at(self.lengths), bits, 0, 0)


class Walker:
    """Decodes records of one schema."""

    def __init__(self, library: Any, record: AvroType) -> None:
        self._library = library
        self._record = record
        self._steps = tuple(_steps(record, optional=False))

    def walk(self, plain: memoryview, stretches: Stretches) -> Walked:
        """The records of stretches of `plain`, which is shorter than MOST_BYTES; one stretch follows the other.

        All is copied unless PADDING bytes of anything lie behind the last one.
        """
        rows = stretches.records
        data = with_room(plain, int(stretches.ends[-1]) if len(stretches.ends) else 0)
        rooms = [_Room(step, rows) for step in self._steps]
        fields = np.array([room.field for room in rooms], dtype=_FIELD)
        good, begins = np.empty(rows, dtype=bool), np.empty(rows, dtype=np.int64)
        starts, ends = (np.ascontiguousarray(each, dtype=np.int64) for each in (stretches.starts, stretches.ends))
        counts = None if stretches.counts is None else np.ascontiguousarray(stretches.counts, dtype=np.int64)
        where = (_at(data), _at(starts), _at(ends), None if counts is None else _at(counts), len(starts))
        self._library.records_read(*where, _at(fields), len(fields), _at(good), _at(begins))
        made = _Columns(self._library, data, good, zip(rooms, fields, strict=True))
        return Walked(made.record(self._record), good, begins)


def walker_of(record: AvroType) -> Walker | None:
    """For a record all of whose fields hold one value at most; None without the part in C."""
    library = _library() if is_wanted() else None
    return Walker(library, record) if library is not None else None


@lru_cache(maxsize=1)
def _library() -> Any:
    library, pointer, number = built(), ctypes.c_void_p, ctypes.c_int64
    try:
        if library is None or library.records_layout() != _LAYOUT:
            return None
        library.records_read.argtypes = [*(pointer,) * 4, number, pointer, number, pointer, pointer]
        library.records_cut.argtypes = [*(pointer,) * 3, number, pointer, pointer]
        library.records_check.argtypes = [*(pointer,) * 3, number, pointer]
        library.records_recurring.argtypes = [*(pointer,) * 3, number, number, pointer, pointer]
    except AttributeError:
        return None
    library.records_read.restype = library.records_check.restype = None
    library.records_cut.restype = ctypes.c_int
    library.records_recurring.restype = number
    return library


def _steps(record: AvroType, *, optional: bool) -> Iterator[_Step]:
    for each in record.fields:
        lacking = optional or each.type.nullable
        inner = tuple(_steps(each.type, optional=lacking)) if each.type.kind == "record" else ()
        if each.type.kind != "record" or each.type.nullable:
            yield _Step(each.type, len(inner), lacking)
        yield from inner


class _Columns:
    """What was read, as Arrow; rooms are taken in the order of their steps. A text that is none makes a record bad."""

    def __init__(
        self, library: Any, data: npt.NDArray[np.uint8], good: Mask, rooms: Iterator[tuple[_Room, Any]]
    ) -> None:
        self._library = library
        self._data = data
        self._good = good
        self._rows = len(good)
        self._rooms = rooms

    def record(self, kind: AvroType) -> pa.StructArray:
        """The next rooms as a record; it has one of its own where it may be missing."""
        bits, missing = self._validity(*next(self._rooms)) if kind.nullable else (None, 0)
        columns = [
            self.record(each.type) if each.type.kind == "record" else self._leaf(each.type) for each in kind.fields
        ]
        names = [each.name for each in kind.fields]
        struct = pa.struct([(name, column.type) for name, column in zip(names, columns, strict=True)])
        return pa.Array.from_buffers(struct, self._rows, [bits], missing, children=columns)

    def _leaf(self, kind: AvroType) -> pa.Array:
        room, told = next(self._rooms)
        bits, missing = self._validity(room, told)
        if kind.kind not in _SIZED:
            arrow = pa.from_numpy_dtype(room.values.dtype)
            return pa.Array.from_buffers(arrow, self._rows, [bits, pa.py_buffer(room.values)], missing)
        if kind.kind == "string" and (words := self._recurring(room)) is not None:
            numbers, dictionary = words
            indices = pa.Array.from_buffers(pa.int32(), self._rows, [bits, pa.py_buffer(numbers)], missing)
            return pa.DictionaryArray.from_arrays(indices, dictionary, safe=False)
        if kind.kind == "string":
            return pa.Array.from_buffers(
                pa.string(), self._rows, [bits, *self._texts(room, int(told["bytes"]))], missing
            )
        ends, out, _ = self._cut(room.values, room.lengths, int(told["bytes"]))
        return pa.Array.from_buffers(pa.binary(), self._rows, [bits, ends, out], missing)

    def _validity(self, room: _Room, told: Any) -> tuple[pa.Buffer | None, int]:
        if room.bits is None or not told["missing"]:
            return None, 0
        return pa.py_buffer(room.bits), int(told["missing"])

    def _recurring(self, room: _Room) -> tuple[Ints, pa.StringArray] | None:
        """The number of each text, and the texts; None where too many are different."""
        numbers, firsts = np.empty(self._rows, dtype=np.int32), np.empty(_MOST_WORDS, dtype=np.int32)
        where = (_at(self._data), _at(room.values), _at(room.lengths), self._rows, _MOST_WORDS)
        known = self._library.records_recurring(*where, _at(numbers), _at(firsts))
        if known < 0:
            return None
        starts, lengths = room.values[firsts[:known]], room.lengths[firsts[:known]]
        ends, out, plain = self._cut(starts, lengths, int(lengths.sum()))
        if not plain:
            sound = self._sound(starts, lengths)
            self._good &= sound[numbers]
            if not sound.all():
                return None
        return numbers, pa.Array.from_buffers(pa.string(), known, [None, ends, out], 0)

    def _texts(self, room: _Room, size: int) -> tuple[pa.Buffer, pa.Buffer]:
        ends, out, plain = self._cut(room.values, room.lengths, size)
        if not plain:
            sound = self._sound(room.values, room.lengths)
            self._good &= sound
            if not sound.all():  # Arrow's strings must be UTF-8, those of bad records too
                lengths = np.where(sound, room.lengths, 0).astype(np.int32)
                ends, out, _ = self._cut(room.values, lengths, int(lengths.sum()))
        return ends, out

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


def _at(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)
