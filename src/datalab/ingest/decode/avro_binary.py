"""Avro's binary form read value by value, strictly, in plain Python: for the few records that are judged one by one.

Values come in the wire forms of wire.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from datalab.ingest.avro_schema import AvroType

Read = Callable[[bytes, int], tuple[Any, int]]

_MAX_VARINT = 10
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
_MASK = (1 << 64) - 1


class Malformed(ValueError):
    """Bytes that are not a value of the type."""


def reader_of(kind: AvroType, *, lenient: bool = False) -> Read:
    """A function that reads one value at an offset and answers it with the offset behind it. Malformed.

    `lenient` takes every index of a union but that of null for the other branch, as polars does.
    """
    plain = _plain_reader(kind, lenient)
    return _union_reader(plain, 0 if kind.null_first else 1, lenient) if kind.nullable else plain


def _union_reader(inner: Read, null: int, lenient: bool) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        index, at = _long(data, at)
        branch = index + 2 if -2 <= index < 0 else index  # other readers count from the end, too
        if branch == null:
            return None, at
        if branch != 1 - null and not lenient:
            raise Malformed("no such branch of a union")
        return inner(data, at)

    return read


def _plain_reader(kind: AvroType, lenient: bool) -> Read:
    if kind.kind == "record":
        return _record_reader([(each.name, reader_of(each.type, lenient=lenient)) for each in kind.fields])
    if kind.kind in ("array", "map"):
        item = reader_of(kind.element, lenient=lenient)
        return _array_reader(item if kind.kind == "array" else _record_reader([("key", _text), ("value", item)]))
    if kind.kind in ("boolean", "fixed"):
        size = kind.size or 1
        return lambda data, at: (_bytes(data, at, size), at + size)
    return {"string": _text, "bytes": _sized, "float": _single, "double": _wide}.get(kind.kind, _long)


def _record_reader(fields: list[tuple[str, Read]]) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        found = {}
        for name, inner in fields:
            found[name], at = inner(data, at)
        return found, at

    return read


def _array_reader(item: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        found: list[Any] = []
        while True:
            count, at = _long(data, at)
            if count == 0:
                return found, at
            if count < 0:
                count, (_, at) = -count, _long(data, at)
            for _ in range(count):
                value, at = item(data, at)
                found.append(value)

    return read


def _long(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for offset in range(at, at + _MAX_VARINT):
        if offset >= len(data):
            break
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _MASK:
                break
            return (value >> 1) ^ -(value & 1), offset + 1
        shift += 7
    raise Malformed("no integer of 64 bits")


def _bytes(data: bytes, at: int, size: int) -> bytes:
    if size < 0 or at + size > len(data):
        raise Malformed("more bytes than there are")
    return data[at : at + size]


def _sized(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _long(data, at)
    return _bytes(data, at, size), at + size


def _text(data: bytes, at: int) -> tuple[str, int]:
    value, at = _sized(data, at)
    return value.decode("utf-8"), at


def _single(data: bytes, at: int) -> tuple[float, int]:
    return _FLOAT.unpack(_bytes(data, at, 4))[0], at + 4


def _wide(data: bytes, at: int) -> tuple[float, int]:
    return _DOUBLE.unpack(_bytes(data, at, 8))[0], at + 8
