"""Avro's wire forms: a schema of the same bytes that decodes without trust, and the size that decoded values had.

Booleans are read as one raw byte, ints and enums as longs, maps as arrays of pairs, logical types as what they
are made of: polars then decides nothing, and conform.py checks each value.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datalab.ingest.avro_schema import AvroType

Sizes = np.ndarray[Any, np.dtype[np.int64]]

_LONGS = frozenset({"int", "long", "enum"})
_ARROW = {
    "boolean": pa.large_binary(),
    "int": pa.int64(),
    "long": pa.int64(),
    "enum": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.large_string(),
    "bytes": pa.large_binary(),
    "fixed": pa.large_binary(),
}


def wire_schema(record: AvroType) -> Any:
    """A JSON schema that reads the same bytes as `record`, with fresh names throughout."""
    return _wire(record, count())


def _wire(kind: AvroType, names: count[int]) -> Any:
    if kind.nullable:
        inner = _plain_wire(kind, names)
        return ["null", inner] if kind.null_first else [inner, "null"]
    return _plain_wire(kind, names)


def _plain_wire(kind: AvroType, names: count[int]) -> Any:
    if kind.kind == "record":
        fields = [{"name": each.name, "type": _wire(each.type, names)} for each in kind.fields]
        return {"type": "record", "name": f"r{next(names)}", "fields": fields}
    if kind.kind == "array":
        return {"type": "array", "items": _wire(kind.element, names)}
    if kind.kind == "map":
        pair = [{"name": "key", "type": "string"}, {"name": "value", "type": _wire(kind.element, names)}]
        return {"type": "array", "items": {"type": "record", "name": f"r{next(names)}", "fields": pair}}
    if kind.kind in ("boolean", "fixed"):
        return {"type": "fixed", "name": f"f{next(names)}", "size": kind.size or 1}
    return "long" if kind.kind in _LONGS else kind.kind


def wire_type(kind: AvroType) -> pa.DataType:
    """The Arrow type in which values of the wire schema arrive."""
    if kind.kind == "record":
        return pa.struct([(each.name, wire_type(each.type)) for each in kind.fields])
    if kind.kind == "array":
        return pa.large_list(wire_type(kind.element))
    if kind.kind == "map":
        return pa.large_list(pa.struct([("key", pa.large_string()), ("value", wire_type(kind.element))]))
    return _ARROW[kind.kind]


def encoded_sizes(array: pa.Array, kind: AvroType) -> Sizes:
    """The bytes that each value takes in Avro's shortest form: equal to the bytes read, or something was left over."""
    tag = 1 if kind.nullable else 0
    if not array.null_count:
        return _sizes(array, kind) + tag
    found = np.full(len(array), tag, dtype=np.int64)
    found[np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)] += _sizes(array.drop_null(), kind)
    return found


def _sizes(array: pa.Array, kind: AvroType) -> Sizes:
    if kind.kind == "record":
        children = zip(array.flatten(), kind.fields, strict=True)
        sizes = [encoded_sizes(child, each.type) for child, each in children]
        return np.sum(sizes, axis=0, dtype=np.int64) if sizes else np.zeros(len(array), dtype=np.int64)
    if kind.kind in ("array", "map"):
        lengths, values = _numbers(pc.list_value_length(array)), array.flatten()
        if kind.kind == "array":
            inner = encoded_sizes(values, kind.element)
        else:
            keys, items = values.flatten()
            inner = _sizes(keys, AvroType("string")) + encoded_sizes(items, kind.element)
        ends = np.concatenate([[0], np.cumsum(inner)])[np.concatenate([[0], np.cumsum(lengths)])]
        frames: Sizes = np.where(lengths > 0, _varint_sizes(lengths), 0) + 1
        frames += np.diff(ends)
        return frames
    if kind.kind in _LONGS:
        return _varint_sizes(_numbers(array))
    if kind.kind in ("float", "double"):
        return np.full(len(array), 4 if kind.kind == "float" else 8, dtype=np.int64)
    lengths = _numbers(pc.binary_length(array))
    return lengths + _varint_sizes(lengths) if kind.kind in ("string", "bytes") else lengths


def _numbers(array: pa.Array) -> Sizes:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.int64)


def _varint_sizes(values: Sizes) -> Sizes:
    zigzag = ((values << 1) ^ (values >> 63)).view(np.uint64)
    sizes = np.ones(len(values), dtype=np.int64)
    for bits in range(7, 64, 7):
        longer = zigzag >= np.uint64(1 << bits)
        if not longer.any():
            break
        sizes += longer
    return sizes
