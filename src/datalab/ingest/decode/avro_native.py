"""Avro records decoded by the part in C: record by record, into the same columns that avro_columns.py and polars make.

Texts that recur come as dictionaries. Where records follow one another, their borders need not be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from datalab.ingest.avro_schema import AvroType
from datalab.ingest.decode.avro_arrays import KEY, LISTS, SIZED, Room, arrays_of
from datalab.ingest.decode.avro_columns import Mask, Places, with_room
from datalab.ingest.native.library import is_wanted, records_library

_ANY = np.iinfo(np.int64).max
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
    "array": (7, np.int32),
    "map": (7, np.int32),
}
_FIELD = np.dtype(
    [
        ("kind", "i4"),
        ("nullable", "i4"),
        ("size", "i8"),
        ("room", "i8"),
        ("values", "u8"),
        ("lengths", "u8"),
        ("bits", "u8"),
        ("missing", "i8"),
        ("held", "i8"),
    ],
    align=True,
)


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
    """A field as it is read; of records only those that may be missing have one, in front of their own fields.

    So have the items of a list, behind it.
    """

    kind: AvroType
    inside: int  # how many steps behind it belong to it
    optional: bool  # whether values may be missing, be it with what they are in


class Walker:
    """Decodes records of one schema."""

    def __init__(self, library: Any, record: AvroType) -> None:
        self._library = library
        self._record = record
        self._steps = tuple(_steps(record, optional=False))
        self._blank = np.array([_field(step) for step in self._steps], dtype=_FIELD)
        self._has_lists = any(step.kind.kind in LISTS for step in self._steps)

    def walk(self, plain: memoryview, stretches: Stretches) -> Walked:
        """The records of stretches of `plain`, which is shorter than MOST_BYTES; one stretch follows the other.

        All is copied unless PADDING bytes of anything lie behind the last one.
        """
        count = stretches.records
        data = with_room(plain, int(stretches.ends[-1]) if len(stretches.ends) else 0)
        good, begins = np.empty(count, dtype=bool), np.empty(count, dtype=np.int64)
        starts, ends = (np.ascontiguousarray(each, dtype=np.int64) for each in (stretches.starts, stretches.ends))
        counts = None if stretches.counts is None else np.ascontiguousarray(stretches.counts, dtype=np.int64)
        counted = None if counts is None else counts.ctypes.data
        where = (data.ctypes.data, starts.ctypes.data, ends.ctypes.data, counted, len(starts))

        def read(fields: Any, counting: bool) -> None:
            told = (fields.ctypes.data, len(fields), counting, good.ctypes.data, begins.ctypes.data)
            self._library.records_read(*where, *told)

        fields = self._blank.copy()
        if self._has_lists:
            read(fields, True)
        rooms = self._rooms(fields, count)
        read(fields, False)
        for room, field in zip(rooms, fields, strict=True):
            room.missing, room.held = int(field["missing"]), int(field["held"])
        return Walked(arrays_of(self._library, self._record, data, good, rooms), good, begins)

    def _rooms(self, fields: Any, count: int) -> list[Room]:
        """Makes room for the values of each step, whose lists are counted, and enters it into the fields."""
        rooms, rows = [], [count] * len(self._steps)
        for at, (step, field) in enumerate(zip(self._steps, fields, strict=True)):
            if step.kind.kind in LISTS:
                items = int(field["held"])
                rows[at + 1 : at + 1 + step.inside] = [items] * step.inside
                field["room"], field["held"] = items, 0
            room = _room(step, rows[at])
            field["values"], field["lengths"] = room.values.ctypes.data, room.lengths.ctypes.data
            field["bits"] = 0 if room.bits is None else room.bits.ctypes.data
            rooms.append(room)
        return rooms


def walker_of(record: AvroType) -> Walker | None:
    """What decodes records of a schema in C; None where that was not built."""
    library = records_library() if is_wanted() else None
    return Walker(library, record) if library is not None else None


def _steps(record: AvroType, *, optional: bool) -> Iterator[_Step]:
    for each in record.fields:
        yield from _steps_of(each.type, optional=optional)


def _steps_of(kind: AvroType, *, optional: bool) -> Iterator[_Step]:
    lacking = optional or kind.nullable
    inner: Sequence[_Step] = ()
    if kind.kind == "record":
        inner = tuple(_steps(kind, optional=lacking))
    elif kind.kind in LISTS:
        keys = _steps_of(KEY, optional=False) if kind.kind == "map" else ()
        inner = (*keys, *_steps_of(kind.element, optional=False))
    if kind.kind != "record" or kind.nullable:
        yield _Step(kind, len(inner), lacking)
    yield from inner


def _field(step: _Step) -> tuple[int, ...]:
    order = 0 if not step.kind.nullable else 1 if step.kind.null_first else 2
    return (_KINDS[step.kind.kind][0], order, step.inside or step.kind.size or 0, _ANY, 0, 0, 0, 0, 0)


def _room(step: _Step, rows: int) -> Room:
    places = {"record": 0, "array": rows + 1, "map": rows + 1}.get(step.kind.kind, rows)
    values = np.empty(places, dtype=_KINDS[step.kind.kind][1])
    if step.kind.kind in LISTS:
        values[0] = 0
    lengths = np.empty(rows if step.kind.kind in SIZED else 0, dtype=np.int32)
    return Room(rows, values, lengths, np.zeros(rows // 8 + 1, dtype=np.uint8) if step.optional else None)
