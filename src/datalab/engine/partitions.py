"""Partition fields as DuckDB expressions; the values are those of Iceberg's transforms, counted from 1970."""

from __future__ import annotations

import pyarrow as pa

from datalab.engine.relations import quoted
from datalab.engine.statistics import typed
from datalab.lake.table import PartitionField

_EPOCH = "TIMESTAMP '1970-01-01'"


def partition_value(field: PartitionField) -> str:
    """The expression of one partition field over a row of the table."""
    column = quoted(field.column)
    if field.transform == "identity":
        return column
    moment = f"make_timestamp(epoch_us({column}))"
    return f"CAST(datediff('{field.transform.removesuffix('s')}', {_EPOCH}, {moment}) AS INTEGER)"


def partition_key(text: str | None, field: PartitionField, schema: pa.Schema) -> object:
    """The typed value of a partition field, as COPY prints it."""
    kind = schema.field(field.column).type if field.transform == "identity" else pa.int32()
    return typed(text, kind)
