"""Schemas as the lake keeps them, how one may grow into another, and what sets two of them apart, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as kinds

from datalab.errors import SchemaConflict

TIMESTAMP = pa.timestamp("us", tz="UTC")
_MAX_DECIMAL = 38


def normalise(schema: pa.Schema) -> pa.Schema:
    """The schema in the lake's own types: every column nullable, no metadata.

    Timestamps are UTC microseconds (those without a zone are taken as UTC), integers int32 or int64, text and bytes
    of any encoding plain strings and binaries. Raises SchemaConflict for a type that no format can keep.
    """
    return pa.schema(_normal_fields(schema))


def extend(present: pa.Schema, wanted: pa.Schema, *, keep_missing: bool = False) -> pa.Schema:
    """The schema that holds both: columns of `present` in their order, new ones after them.

    Allowed are new columns, in structs too, and wider types: int32 to int64, float to double, a decimal of more
    digits. Everything else raises SchemaConflict with the whole difference; so does a column that `wanted` lacks,
    unless `keep_missing`.
    """
    before, after = normalise(present), normalise(wanted)
    tolerated = {"added", "widened", "removed"} if keep_missing else {"added", "widened"}
    refused = [change.words for change in _changes(before, after) if change.kind not in tolerated]
    if refused:
        raise SchemaConflict(
            "the schema cannot change so: " + "; ".join(refused),
            "add columns or widen types only; for anything else rebuild the table under another name",
        )
    return pa.schema(_merged(before, after))


def difference(a: pa.Schema, b: pa.Schema) -> tuple[str, ...]:
    """What leads from `a` to `b`, one phrase a change; empty where they are equal in the lake's types."""
    return tuple(change.words for change in _changes(normalise(a), normalise(b)))


def conflicts(present: pa.Schema, wanted: pa.Schema) -> tuple[str, ...]:
    """The changes that a table cannot make while it keeps its rows: columns that go or change their type."""
    changes = _changes(normalise(present), normalise(wanted))
    return tuple(change.words for change in changes if change.kind in ("removed", "changed"))


Fields = Any  # a pa.Schema or a pa.StructType: both are sequences of fields
Kind = Literal["added", "removed", "widened", "changed"]


@dataclass(frozen=True)
class _Change:
    kind: Kind
    words: str


def _changes(before: Fields, after: Fields, path: str = "") -> Iterator[_Change]:
    present, wanted = _by_name(before), _by_name(after)
    for name, field in present.items():
        if name not in wanted:
            yield _Change("removed", f"removed column {path}{name} ({field.type})")
    for name, field in wanted.items():
        if name in present:
            yield from _type_changes(present[name].type, field.type, f"{path}{name}")
        else:
            yield _Change("added", f"added column {path}{name} ({field.type})")


def _type_changes(before: Any, after: Any, path: str) -> Iterator[_Change]:
    if before.equals(after):
        return
    if kinds.is_struct(before) and kinds.is_struct(after):
        yield from _changes(before, after, f"{path}.")
    elif kinds.is_list(before) and kinds.is_list(after):
        yield from _type_changes(before.value_type, after.value_type, f"{path}.element")
    elif kinds.is_map(before) and kinds.is_map(after) and before.key_type.equals(after.key_type):
        yield from _type_changes(before.item_type, after.item_type, f"{path}.value")
    elif _widens(before, after):
        yield _Change("widened", f"widened column {path} from {before} to {after}")
    else:
        yield _Change("changed", f"changed column {path} from {before} to {after}")


def _widens(before: Any, after: Any) -> bool:
    if kinds.is_decimal128(before) and kinds.is_decimal128(after):
        return bool(before.scale == after.scale and before.precision < after.precision)
    return (before, after) in ((pa.int32(), pa.int64()), (pa.float32(), pa.float64()))


def _merged(before: Fields, after: Fields) -> list[pa.Field[Any]]:
    present, wanted = _by_name(before), _by_name(after)
    kept = [pa.field(name, _merged_type(field.type, wanted.get(name, field).type)) for name, field in present.items()]
    return kept + [field for name, field in wanted.items() if name not in present]


def _merged_type(before: Any, after: Any) -> Any:
    if kinds.is_struct(before):
        return pa.struct(_merged(before, after))
    if kinds.is_list(before):
        return pa.list_(pa.field("element", _merged_type(before.value_type, after.value_type)))
    if kinds.is_map(before):
        return pa.map_(before.key_type, _merged_type(before.item_type, after.item_type))
    return after


def _by_name(fields: Fields) -> dict[str, pa.Field[Any]]:
    return {field.name: field for field in fields}


def _normal_fields(fields: Fields) -> list[pa.Field[Any]]:
    names = [field.name.casefold() for field in fields]
    for field in fields:
        if names.count(field.name.casefold()) > 1:
            raise SchemaConflict(f"column {field.name} appears twice", "give each column its own name")
    return [pa.field(field.name, _normal(field.type)) for field in fields]


def _normal(kind: Any) -> pa.DataType:
    for applies, convert in _RULES:
        if applies(kind):
            return convert(kind)
    raise SchemaConflict(f"a table cannot keep columns of type {kind}", "cast the column in the query")


def _element(kind: Any) -> pa.DataType:
    return pa.list_(pa.field("element", _normal(kind.value_type)))


def _decimal(kind: Any) -> pa.DataType:
    if kind.precision > _MAX_DECIMAL:
        raise SchemaConflict(f"a table cannot keep columns of type {kind}", f"use at most {_MAX_DECIMAL} digits")
    return pa.decimal128(kind.precision, kind.scale)


def _is_small_integer(kind: pa.DataType) -> bool:
    return kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16())


def _is_list(kind: pa.DataType) -> bool:
    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    # A column of nothing but NULL has to get some type; text holds whatever comes later.
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind) or kind == pa.null())


def _is_bytes(kind: pa.DataType) -> bool:
    fixed = kinds.is_fixed_size_binary(kind) and not kinds.is_decimal(kind)
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind) or fixed)


_RULES: tuple[tuple[Callable[[Any], bool], Callable[[Any], pa.DataType]], ...] = (
    (kinds.is_struct, lambda kind: pa.struct(_normal_fields(kind))),
    (_is_list, _element),
    (kinds.is_map, lambda kind: pa.map_(_normal(kind.key_type), _normal(kind.item_type))),
    (kinds.is_dictionary, lambda kind: _normal(kind.value_type)),
    (kinds.is_timestamp, lambda _: TIMESTAMP),
    (kinds.is_date, lambda _: pa.date32()),
    (kinds.is_time, lambda _: pa.time64("us")),
    (kinds.is_boolean, lambda kind: kind),
    (_is_small_integer, lambda _: pa.int32()),
    (lambda kind: kind in (pa.uint32(), pa.int64()), lambda _: pa.int64()),
    (kinds.is_uint64, lambda _: pa.decimal128(20, 0)),
    (kinds.is_float16, lambda _: pa.float32()),
    (kinds.is_floating, lambda kind: kind),
    (kinds.is_decimal, _decimal),
    (_is_text, lambda _: pa.string()),
    (_is_bytes, lambda _: pa.binary()),
)
