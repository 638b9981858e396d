"""What COPY … RETURN_STATS says about a file, turned into a DataFile with typed bounds that contain every value."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

Statistics = Mapping[str, Mapping[str, str]]
Bounds = tuple[dict[str, Any], dict[str, Any], dict[str, int]]


def bounds(statistics: Statistics, schema: pa.Schema) -> Bounds:
    """Lowest and highest values and NULL counts of top-level columns, each only where it is known for certain."""
    lower: dict[str, Any] = {}
    upper: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for field in schema:
        known = statistics.get('"' + field.name.replace('"', '""') + '"')
        if known is None or pa.types.is_nested(field.type):
            continue
        if "null_count" in known:
            nulls[field.name] = int(known["null_count"])
        low, high = typed(known.get("min"), field.type), typed(known.get("max"), field.type)
        if low is not None and high is not None and known.get("has_nan") != "true":
            lower[field.name], upper[field.name] = low, high
    return lower, upper, nulls


def typed(text: str | None, kind: pa.DataType) -> Any:
    """The Python value of a statistic or partition key as DuckDB prints it; None where it has none."""
    if text is None:
        return None
    with suppress(ValueError, ArithmeticError):
        return _reader(kind)(text)
    return None


def _reader(kind: pa.DataType) -> Callable[[str], Any]:
    for matches, read in _READERS:
        if matches(kind):
            return read
    return lambda _: None


def _number(text: str) -> float | None:
    value = float(text)
    return None if math.isnan(value) else value


def _single(text: str) -> float | None:
    value = _number(text)
    return None if value is None else struct.unpack("f", struct.pack("f", value))[0]


def _moment(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_READERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str], Any]], ...] = (
    (pa.types.is_boolean, lambda text: text in ("1", "true")),
    (pa.types.is_integer, int),
    (pa.types.is_float32, _single),
    (pa.types.is_float64, _number),
    (pa.types.is_decimal, Decimal),
    (pa.types.is_date, date.fromisoformat),
    (pa.types.is_timestamp, _moment),
    (pa.types.is_string, str),
    (pa.types.is_large_string, str),
    (pa.types.is_binary, bytes.fromhex),
    (pa.types.is_large_binary, bytes.fromhex),
)
