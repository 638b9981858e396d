"""Rows of the online store as text: JSON lists of an entity's key and of its features, exact for every type allowed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import from_json

from datalab.errors import FeatureError
from datalab.features.online.base import Layout, Position, Version

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = "timestamp[us, tz=UTC]"
_DAY = "date32[day]"
_PLAIN = frozenset({"bool", "int32", "int64", "float", "double", "string"})
_ESCAPED = r'["\\\\\x00-\x1f]'
_quote = json.encoder.encode_basestring
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def key_of(entity: Sequence[Any]) -> str:
    """The key of an entity; equal values give equal keys, and values of other types other keys."""
    try:
        return "[" + ",".join([_quote(part) for part in entity]) + "]"
    except TypeError:  # not all of them are texts
        return _encode([_text(part) for part in entity])


def entity_of(key: str) -> tuple[Any, ...]:
    """The entity of a key; dates and moments stay text."""
    return tuple(json.loads(key))


def moment_of(microseconds: int) -> datetime:
    """A moment in UTC."""
    return EPOCH + timedelta(microseconds=microseconds)


def microseconds_of(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def layout_of(schema: pa.Schema, layout: Layout) -> Layout:
    """The layout with the types that its columns have in a table. FeatureError for types that no store keeps."""
    for name in layout.entity:
        if str(schema.field(name).type) not in {*_PLAIN, _MOMENT, _DAY} - {"float", "double"}:
            raise FeatureError(
                f"{layout.table}: entity column {name} is of type {schema.field(name).type}",
                "entities are texts, whole numbers, booleans, dates or moments",
            )
    kinds = tuple(_kind(layout.table, schema.field(name)) for name in layout.features)
    return Layout(layout.table, layout.entity, layout.timestamp, layout.features, kinds, layout.ttl)


def _kind(table: str, field: pa.Field[Any]) -> str:
    kind = field.type
    inner = kind.value_type if pa.types.is_list(kind) else kind
    if str(inner) in _PLAIN or (inner is kind and (str(kind) in {_MOMENT, _DAY} or pa.types.is_decimal(kind))):
        return str(kind)
    raise FeatureError(
        f"{table}: feature {field.name} is of type {kind}, which the online store does not keep",
        "leave it out of `features`, or make plain columns of it in the gold view",
    )


def keys(rows: pa.Table, layout: Layout) -> list[str]:
    """The key of each row."""
    parts = []
    for name in layout.entity:
        column = rows.column(name)
        timely = pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)
        parts.append(_one_by_one(column) if timely else _json(column))
    return _listed(parts, rows.num_rows)


def encoded(rows: pa.Table, layout: Layout) -> Iterator[tuple[str, int, str]]:
    """Key, timestamp in microseconds and features of each row."""
    moments = rows.column(layout.timestamp).cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    features = _listed([_json(_plain(rows.column(name))) for name in layout.features], rows.num_rows)
    return zip(keys(rows, layout), moments, features, strict=True)


def _listed(parts: list[pa.Array], rows: int) -> list[str]:
    """JSON lists, of which the items are given column by column."""
    if not parts:
        return ["[]"] * rows
    joined = pc.binary_join_element_wise(*parts, ",")
    texts: list[str] = pc.binary_join_element_wise("[", joined, "]", "").to_pylist()
    return texts


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Moments as microseconds, dates as days, decimals as texts."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    if pa.types.is_date(kind):
        return column.cast(pa.int32())
    return pc.cast(column, pa.string()) if pa.types.is_decimal(kind) else column


def _json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each value as JSON, column-wise where that is possible."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        texts = column.cast(pa.string())
    elif pa.types.is_floating(kind):
        if pc.any(pc.invert(pc.is_finite(column))).as_py():
            return _one_by_one(column)
        texts = column.cast(pa.float64()).cast(pa.string())
        texts = pc.if_else(pc.equal(texts, "-0"), "-0.0", texts)
    elif pa.types.is_string(kind) and not pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py():
        texts = pc.binary_join_element_wise('"', column, '"', "")
    else:
        return _one_by_one(column)
    return pc.fill_null(texts, "null")


def _one_by_one(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([_encode(_text(part)) for part in column.to_pylist()], pa.string())])


def _text(part: Any) -> Any:
    if isinstance(part, datetime):
        return part.astimezone(UTC).isoformat()
    return part.isoformat() if isinstance(part, date) else part


def decoder(layout: Layout) -> Callable[[str], dict[str, Any]]:
    """From the text of a row to its features by name."""
    names, families = layout.features, [_family(kind) for kind in layout.kinds]
    reals = [name for name, family in zip(names, families, strict=True) if family == "real"]
    special = [(name, _READERS[f]) for name, f in zip(names, families, strict=True) if f in _READERS]

    def decode(text: str) -> dict[str, Any]:
        values = dict(zip(names, from_json(text), strict=True))
        for name in reals:
            if values[name].__class__ is int:
                values[name] = float(values[name])
        for name, read in special:
            if values[name] is not None:
                values[name] = read(values[name])
        return values

    return decode


_FAMILIES = {_MOMENT: "moment", _DAY: "day", "float": "real", "double": "real"}
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "moment": moment_of,
    "day": lambda days: EPOCH.date() + timedelta(days=days),
    "decimal": Decimal,
}


def _family(kind: str) -> str:
    if kind.startswith("decimal"):
        return "decimal"
    return _FAMILIES.get(kind, "")


def ttl_microseconds(layout: Layout) -> int | None:
    """How long a row is served after its timestamp."""
    return None if layout.ttl is None else int(layout.ttl * 1_000_000)


def position_to_record(position: Position) -> dict[str, Any]:
    """A position as JSON has it."""
    return asdict(position)


def position_of_record(record: Mapping[str, Any]) -> Position:
    """A position from what `position_to_record` made."""
    done, layout = record["done"], record["layout"]
    return Position(
        Version(**done) if done else None,
        tuple(Version(**part) for part in record["pending"]),
        layout_of_record(layout) if layout else None,
    )


def layout_to_text(layout: Layout) -> str:
    """A layout as text; equal layouts give equal texts."""
    return json.dumps(asdict(layout), ensure_ascii=False, sort_keys=True)


def number_of(text: str, known: Mapping[str, int]) -> int:
    """A number for a text beside the numbers that others have.

    It hangs on the text: in a store that was lost and filled anew it means the same to processes that remember it.
    """
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "big") + 1
    taken = set(known.values())
    while number in taken:
        number += 1
    return number


def layout_of_record(record: Mapping[str, Any]) -> Layout:
    """A layout from its JSON form."""
    return Layout(
        record["table"],
        tuple(record["entity"]),
        record["timestamp"],
        tuple(record["features"]),
        tuple(record["kinds"]),
        record["ttl"],
    )
