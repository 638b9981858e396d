"""Records to Avro, value by value, in plain Python: for simulators, whose files and messages the platform reads."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from datalab.ingest.avro_schema import AvroType, parse_schema

Write = Callable[[Any, bytearray], None]

_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")


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
