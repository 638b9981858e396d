"""Partition fields as DuckDB expressions; the values are those of Iceberg's transforms, counted from 1970.

COPY makes a folder of each value, percent-encoded: a longer text goes by a digest there, and is read from the file.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from datalab.engine.relations import literal, quoted
from datalab.engine.session import Session
from datalab.engine.statistics import typed
from datalab.lake.table import PartitionField

_EPOCH = "TIMESTAMP '1970-01-01'"
_LONGEST = 64  # bytes, thrice as many when encoded, of the 255 of a name; a digest is longer, and so never a value
_DIGEST = "'sha256:' || sha256"


def partition_value(field: PartitionField, schema: pa.Schema) -> str:
    """The expression of one partition field over a row of the table."""
    column = quoted(field.column)
    if field.transform == "identity":
        long = f"CASE WHEN strlen({column}) > {_LONGEST} THEN {_DIGEST}({column}) ELSE {column} END"
        return long if _is_text(schema.field(field.column).type) else column
    moment = f"make_timestamp(epoch_us({column}))"
    return f"CAST(datediff('{field.transform.removesuffix('s')}', {_EPOCH}, {moment}) AS INTEGER)"


def partition_keys(
    session: Session, path: str, texts: Sequence[str | None], fields: Sequence[PartitionField], schema: pa.Schema
) -> tuple[object, ...]:
    """The typed values of the partition fields of a file, from how COPY prints their expressions."""
    return tuple(_key(session, path, text, field, schema) for text, field in zip(texts, fields, strict=True))


def _key(session: Session, path: str, text: str | None, field: PartitionField, schema: pa.Schema) -> object:
    kind = schema.field(field.column).type if field.transform == "identity" else pa.int32()
    if text is None or not _is_text(kind) or len(text.encode()) <= _LONGEST:
        return typed(text, kind)
    file = f"read_parquet({literal(path)}, hive_partitioning = false)"
    ((value,),) = session.rows(f"SELECT {quoted(field.column)} FROM {file} LIMIT 1")
    return value


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
