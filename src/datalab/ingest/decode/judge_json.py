"""One line of JSON under a contract, strictly: what the bulk reader leaves open is decided here, with the reason."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any, NoReturn

import pyarrow as pa

from datalab.ingest.avro_schema import MISSING, AvroType, Field
from datalab.ingest.defaults import default_value
from datalab.ingest.reasons import Reason

_TEXT = frozenset({"string", "enum"})
_NESTED = frozenset({"record", "array", "map"})
_LONG = 1 << 63


class BadLine(Exception):
    """A line that is not a record of the contract."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _Float(float):
    """A number with a fraction or an exponent, that remembers how it was written."""

    text: str


def json_type(kind: AvroType) -> pa.DataType:
    """The Arrow type in which JSON values of a contract's type are read, before they are checked."""
    if kind.kind == "record":
        return pa.struct([(each.name, json_type(each.type)) for each in kind.fields])
    if kind.kind == "array":
        return pa.list_(json_type(kind.element))
    if kind.kind == "map":
        return pa.large_list(pa.struct([("key", pa.string()), ("value", json_type(kind.element))]))
    if kind.logical or kind.kind in _TEXT:
        return pa.string()
    return {"boolean": pa.bool_(), "int": pa.int64(), "long": pa.int64()}.get(kind.kind, pa.float64())


def has_map(kind: AvroType) -> bool:
    """Whether a type holds a map anywhere; Arrow's JSON reader knows none."""
    inner = kind.items is not None and has_map(kind.items)
    return kind.kind == "map" or inner or any(has_map(each.type) for each in kind.fields)


def judge_line(raw: bytes, record: AvroType) -> Any:
    """The line's record as values of `json_type`; BadLine says why it is none."""
    try:
        found = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_number)
    except RecursionError:
        raise BadLine(Reason.TOO_DEEP, "the record is nested too deeply") from None
    except ValueError:
        raise BadLine(Reason.INVALID_JSON, "the line is not one JSON value") from None
    return _value(found, record, "")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadLine(Reason.DUPLICATE_KEY, "an object has the same key twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise BadLine(Reason.INVALID_JSON, f"{text} is not JSON")


def _number(text: str) -> float:
    number = _Float(text)
    number.text = text
    return number


def _value(value: Any, kind: AvroType, path: str) -> Any:
    if value is None:
        if not kind.nullable:
            raise BadLine(Reason.NULL_IN_REQUIRED, f"{path or 'the line'}: null in a required field")
        return None
    if kind.kind == "record" and isinstance(value, dict):
        return _record(value, kind, path)
    if kind.kind == "array" and isinstance(value, list):
        return [_value(item, kind.element, f"{path}[]") for item in value]
    if kind.kind == "map" and isinstance(value, dict):
        pairs = ((_string(key, path), item) for key, item in value.items())
        return [{"key": key, "value": _value(item, kind.element, f"{path}[]")} for key, item in pairs]
    return _wrong(kind, path) if kind.kind in _NESTED else _plain(value, kind, path)


def _record(value: dict[str, Any], record: AvroType, path: str) -> dict[str, Any]:
    prefix = f"{path}." if path else ""
    used = {name for each in record.fields if (name := _key(each, value))}
    surplus = next((key for key in value if key not in used), None)
    if surplus is not None:
        raise BadLine(Reason.SURPLUS_FIELD, f"{prefix}{surplus[:60]!r}: not in the contract")
    made: dict[str, Any] = {}
    for each in record.fields:
        key = _key(each, value)
        if key is not None:
            made[each.name] = _value(value[key], each.type, f"{prefix}{each.name}")
        elif each.default is MISSING:
            raise BadLine(Reason.MISSING_FIELD, f"{prefix}{each.name}: missing, and without a default")
        else:
            made[each.name] = default_json(each.default, each.type)
    return made


def _key(each: Field, value: dict[str, Any]) -> str | None:
    return next((name for name in (each.name, *each.aliases) if name in value), None)


def default_json(value: Any, kind: AvroType) -> Any:
    """A default of a contract in the form in which JSON lines hold values (logical types as text)."""
    if value is None:
        return None
    if kind.kind == "record":
        return {each.name: default_json(value.get(each.name, each.default), each.type) for each in kind.fields}
    if kind.kind == "array":
        return [default_json(item, kind.element) for item in value]
    if kind.kind == "map":
        return [{"key": key, "value": default_json(item, kind.element)} for key, item in value.items()]
    if kind.logical:
        made = default_value(value, kind)
        return str(made) if isinstance(made, Decimal | str) else made.isoformat()
    return value


def _plain(value: Any, kind: AvroType, path: str) -> Any:
    if kind.kind in _TEXT or kind.logical:
        if kind.logical == "decimal" and isinstance(value, (int, float)) and not isinstance(value, bool):
            return value.text if isinstance(value, _Float) else str(value)
        return _string(value, path) if isinstance(value, str) else _wrong(kind, path)
    if kind.kind == "boolean":
        return value if isinstance(value, bool) else _wrong(kind, path)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _wrong(kind, path)
    return _integer(value, kind, path) if kind.kind in ("int", "long") else _float(value, path)


def _integer(value: Any, kind: AvroType, path: str) -> int:
    if not isinstance(value, int):
        _wrong(kind, path)
    if not -_LONG <= value < _LONG:
        raise BadLine(Reason.OUT_OF_RANGE, f"{path}: outside the range of {kind.kind}")
    return value


def _float(value: Any, path: str) -> float:
    try:
        made = float(value)
    except OverflowError:
        made = math.inf
    if not math.isfinite(made):
        raise BadLine(Reason.OUT_OF_RANGE, f"{path}: outside the range of double")
    return made


def _string(value: str, path: str) -> str:
    if not value.isascii() and any(0xD800 <= ord(each) < 0xE000 for each in value):
        raise BadLine(Reason.INVALID_UTF8, f"{path}: half of a surrogate pair")
    return value


def _wrong(kind: AvroType, path: str) -> NoReturn:
    raise BadLine(Reason.WRONG_TYPE, f"{path or 'the line'}: not a {kind}")
