"""Schemas with a field id on every field, as Iceberg tables have them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def identified(schema: pa.Schema) -> pa.Schema:
    """The schema with a field id on every field, as Iceberg tables have it."""
    count = iter(range(1, 1_000))

    def marked(field: Any) -> Any:
        number, kind = str(next(count)), field.type
        if pa.types.is_struct(kind):
            kind = pa.struct([marked(each) for each in kind])
        elif pa.types.is_list(kind):
            kind = pa.list_(marked(kind.value_field))
        elif pa.types.is_map(kind):
            kind = pa.map_(marked(kind.key_field), marked(kind.item_field))
        return pa.field(field.name, kind, field.nullable, metadata={b"PARQUET:field_id": number.encode()})

    return pa.schema([marked(each) for each in schema])
