"""Default values of Avro fields: JSON values as a schema writes them, as Python values of the field's type."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from datalab.ingest.avro_schema import MISSING, AvroType, SchemaProblem

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BITS = {"int": 31, "long": 63}


def check_default(value: Any, kind: AvroType, path: str) -> None:
    """Raise SchemaProblem where a default is not a value of its field's type."""
    try:
        default_value(value, kind)
    except (TypeError, ValueError, OverflowError, KeyError) as error:
        raise SchemaProblem(path, f"the default is not a value of type {kind}") from error


def default_value(value: Any, kind: AvroType) -> Any:
    """The Python value (for pyarrow) of a default; ValueError where it does not fit the type."""
    if value is None and kind.nullable:
        return None
    if kind.kind == "record":
        return {each.name: _member(value, each.name, each.default, each.type) for each in kind.fields}
    if kind.kind == "array":
        return [default_value(item, kind.element) for item in _only(value, list)]
    if kind.kind == "map":
        return [(str(key), default_value(item, kind.element)) for key, item in _only(value, dict).items()]
    return _logical(_plain(value, kind), kind)


def _member(value: Any, name: str, default: Any, kind: AvroType) -> Any:
    found = _only(value, dict).get(name, default)
    if found is MISSING:
        raise ValueError(name)
    return default_value(found, kind)


def _only(value: Any, wanted: type | tuple[type, ...]) -> Any:
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise TypeError(f"{value!r} is not {wanted}")
    return value


def _plain(value: Any, kind: AvroType) -> Any:
    if kind.kind in _BITS:
        bound = 1 << _BITS[kind.kind]
        if not -bound <= _only(value, int) < bound:
            raise ValueError(value)
        return value
    if kind.kind in ("float", "double"):
        return float(_only(value, (int, float)))
    if kind.kind in ("bytes", "fixed"):
        raw = _only(value, str).encode("latin-1")
        if kind.kind == "fixed" and len(raw) != kind.size:
            raise ValueError(value)
        return raw
    if kind.kind == "enum" and value not in kind.symbols:
        raise ValueError(value)
    return _only(value, bool if kind.kind == "boolean" else str)


def _logical(value: Any, kind: AvroType) -> Any:
    if kind.logical == "date":
        return date(1970, 1, 1) + timedelta(days=value)
    if kind.logical == "timestamp-millis":
        return _EPOCH + timedelta(milliseconds=value)
    if kind.logical == "timestamp-micros":
        return _EPOCH + timedelta(microseconds=value)
    if kind.logical == "decimal":
        whole = Decimal(int.from_bytes(value, "big", signed=True)).as_tuple()
        return Decimal((whole.sign, whole.digits, -kind.scale))  # arithmetic would round to 28 digits
    return value
