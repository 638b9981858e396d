"""Which rows of a table somebody means: `column=value` texts as values of the columns' types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from datalab.errors import InvalidKey
from datalab.lineage.flows import is_comparable
from datalab.names import TableName

NULL = "NULL"


def wanted_rows(table: TableName, schema: pa.Schema, texts: Sequence[str], keys: Sequence[str]) -> pa.Table:
    """One wanted row out of `column=value` texts; NULL in capitals is no value. InvalidKey, with the nearest names."""
    if not texts:
        known = " ".join(f"{key}=…" for key in keys) or "column=value"
        raise InvalidKey(f"say which row of {table}", f"datalab trace {table} {known}")
    fields = {field.name.lower(): field for field in schema if is_comparable(field)}
    given = [_split(table, text) for text in texts]
    for name, _ in given:
        if [each for each, _ in given].count(name) > 1:
            raise InvalidKey(f"{name} is given more than once", f"datalab trace {table} {name}=…")
    values = {(field := _field(table, name, fields)).name: _value(field, text) for name, text in given}
    return pa.table(values)


def wanted_values(schema: pa.Schema, values: Mapping[str, Any]) -> pa.Table:
    """One wanted row out of JSON values under the names of columns, as a score's record keeps them."""
    fields = {field.name.lower(): field for field in schema}
    return pa.table({fields[name.lower()].name: _typed(fields[name.lower()], value) for name, value in values.items()})


def _split(table: TableName, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidKey(f"'{text}' is not column=value", f"datalab trace {table} column=value")
    return name.lower(), value


def _field(table: TableName, name: str, fields: Mapping[str, pa.Field]) -> pa.Field:
    if name not in fields:
        near = get_close_matches(name, fields, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"columns: {', '.join(fields)}"
        raise InvalidKey(f"{table} has no column {name} whose values can be looked for", hint)
    return fields[name]


def _value(field: pa.Field, text: str) -> pa.Array:
    if text == NULL:
        return pa.array([None], field.type)
    try:
        return _typed(field, text)
    except (ValueError, pa.ArrowException) as error:
        raise InvalidKey(f"'{text}' is not a value of {field.name}, which is {field.type}", _example(field)) from error


def _typed(field: pa.Field, value: Any) -> pa.Array:
    if isinstance(value, str) and pa.types.is_timestamp(field.type):
        moment = datetime.fromisoformat(value)
        return pa.array([moment if moment.tzinfo else moment.replace(tzinfo=UTC)], field.type)
    if isinstance(value, str) and not pa.types.is_string(field.type):
        return pa.array([value]).cast(field.type)
    return pa.array([value]).cast(field.type)


def _example(field: pa.Field) -> str:
    if pa.types.is_timestamp(field.type):
        return f"write {field.name}=2026-01-31T12:00:00"
    return f"write {field.name}=2026-01-31" if pa.types.is_date(field.type) else ""
