"""Columns that go or get another type: a new schema for a table whose rows are all replaced in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from datalab.errors import SchemaConflict
from datalab.lake.formats.iceberg_schema import to_arrow, to_iceberg
from datalab.lake.schema import extend, normalise

if TYPE_CHECKING:
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.update.schema import UpdateSchema


def reshape(transaction: Transaction, wanted: pa.Schema) -> pa.Schema:
    """Give the table exactly the columns of `wanted` within a transaction; answers them with their field ids.

    Ids depend on nothing but the schema before, so that files can be written for a schema that is committed later.
    """
    present = to_arrow(transaction.table_metadata.schema())
    with transaction.update_schema() as update:
        _change(update, normalise(present), normalise(wanted))
    found = to_arrow(transaction.table_metadata.schema())
    return pa.schema([found.field(field.name) for field in wanted])


def is_reshaped(table: Table, schema: pa.Schema) -> bool:
    """Whether a state's schema is not its table's."""
    return not normalise(to_arrow(table.schema())).equals(normalise(schema))


def _change(update: UpdateSchema, present: pa.Schema, wanted: pa.Schema) -> None:
    kept = [name for name in present.names if name in wanted.names and _grows(present.field(name), wanted.field(name))]
    for name in present.names:
        if name not in kept:
            update.delete_column(name)
    fresh = [field for field in wanted if field.name not in kept]
    for field, made in zip(fresh, to_iceberg(pa.schema(fresh)).fields, strict=True):
        update.add_column(field.name, made.field_type)
    if kept:
        update.union_by_name(to_iceberg(pa.schema([wanted.field(name) for name in kept])))


def _grows(before: pa.Field, after: pa.Field) -> bool:
    try:
        extend(pa.schema([before]), pa.schema([after]))
    except SchemaConflict:
        return False
    return True
