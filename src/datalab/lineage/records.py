"""Rows as plain values: the columns that tell them apart, and where in a source they came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from datalab.names import is_internal

Record = Mapping[str, Any]


def position_of(record: Record) -> str:
    """`file:row` or `topic/partition/offset` of a record that a source brought; empty for other rows."""
    if record.get("source_topic") is not None:
        return f"{record['source_topic']}/{record.get('source_partition')}/{record.get('source_offset')}"
    if record.get("source_file") is not None:
        return f"{record['source_file']}:{record.get('source_row')}"
    return ""


def keys_of(record: Record, identity: Sequence[str]) -> dict[str, Any]:
    """The columns of a row that tell it apart; those of its source position are said by the position."""
    return {name: record[name] for name in identity if name in record and not name.startswith("source_")}


def values_of(record: Record) -> dict[str, Any]:
    """All columns of a row but the internal ones."""
    return {name: value for name, value in record.items() if not is_internal(name)}


def is_same(one: Any, other: Any) -> bool:
    """Whether two values of a column are equal; NULL equals NULL, NaN equals NaN."""
    both = isinstance(one, float) and isinstance(other, float)
    return one == other or (both and math.isnan(one) and math.isnan(other))
