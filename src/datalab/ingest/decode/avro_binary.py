"""Avro's binary form, value by value, in plain Python: strict reading of single records, and writing.

Reading is for the few records that are judged one by one; values come in the wire forms of wire.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from datalab.ingest.avro_schema import AvroType, parse_schema

Read = Callable[[bytes, int], tuple[Any, int]]
Write = Callable[[Any, bytearray], None]

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


def writer_of(schema: Any) -> Callable[[Any], bytes]:
    """A function that writes a record (a dict) of a schema (its JSON document).

    Logical types are written as what they are made of. SchemaProblem where the schema cannot be used; KeyError,
    TypeError or ValueError for values that are not of it.
    """
    write = _writer(parse_schema(schema, strict=False))

    def encode(record: Any) -> bytes:
        out = bytearray()
        write(record, out)
        return bytes(out)

    return encode


def container(schema: str, records: Iterable[bytes], sync: bytes, block: int) -> Iterator[bytes]:
    """An object container file in pieces: its header, then blocks of encoded records of at least `block` bytes each."""
    pairs = ((b"avro.codec", b"null"), (b"avro.schema", schema.encode()))
    yield b"Obj\x01" + _zigzag(len(pairs)) + b"".join(_zigzag(len(part)) + part for pair in pairs for part in pair)
    yield b"\0" + sync
    held, size = list[bytes](), 0
    for each in records:
        held.append(each)
        size += len(each)
        if size >= block:
            yield framed(len(held), b"".join(held), sync)
            held, size = [], 0
    if held:
        yield framed(len(held), b"".join(held), sync)


def framed(count: int, body: bytes, sync: bytes) -> bytes:
    """A block: so many records, their bytes, the marker."""
    return _zigzag(count) + _zigzag(len(body)) + body + sync


def _zigzag(value: int) -> bytes:
    out = bytearray()
    _write_long(value, out)
    return bytes(out)


def _writer(kind: AvroType) -> Write:
    plain = _plain_writer(kind)
    if not kind.nullable:
        return plain
    null, other = (b"\0", b"\2") if kind.null_first else (b"\2", b"\0")

    def write(value: Any, out: bytearray) -> None:
        if value is None:
            out += null
        else:
            out += other
            plain(value, out)

    return write


def _plain_writer(kind: AvroType) -> Write:
    if kind.kind == "record":
        return _record_writer([(each.name, _writer(each.type)) for each in kind.fields])
    if kind.kind in ("array", "map"):
        return _items_writer(_writer(kind.element), is_map=kind.kind == "map")
    if kind.kind == "enum":
        codes = {symbol: _zigzag(index) for index, symbol in enumerate(kind.symbols)}
        return lambda value, out: out.extend(codes[value])
    return _WRITERS[kind.kind]


def _record_writer(fields: list[tuple[str, Write]]) -> Write:
    def write(value: Any, out: bytearray) -> None:
        for name, inner in fields:
            inner(value[name], out)

    return write


def _items_writer(item: Write, *, is_map: bool) -> Write:
    def write(value: Any, out: bytearray) -> None:
        if value:
            _write_long(len(value), out)
        for each in value:
            if is_map:
                _write_text(each, out)
            item(value[each] if is_map else each, out)
        out.append(0)

    return write


def _write_long(value: int, out: bytearray) -> None:
    rest = (value << 1) ^ (value >> 63)
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)


def _write_sized(value: bytes, out: bytearray) -> None:
    _write_long(len(value), out)
    out += value


def _write_text(value: str, out: bytearray) -> None:
    _write_sized(value.encode(), out)


_WRITERS: dict[str, Write] = {
    "boolean": lambda value, out: out.append(1 if value else 0),
    "int": _write_long,
    "long": _write_long,
    "float": lambda value, out: out.extend(_FLOAT.pack(value)),
    "double": lambda value, out: out.extend(_DOUBLE.pack(value)),
    "string": _write_text,
    "bytes": _write_sized,
    "fixed": lambda value, out: out.extend(value),
}
