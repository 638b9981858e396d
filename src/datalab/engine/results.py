"""What a query answers, in the types of the lake."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from datalab.engine.relations import casts
from datalab.engine.session import Session
from datalab.lake.schema import normalise

_WIDE_INTEGERS = ("HUGEINT", "UHUGEINT")
_PLAIN = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
    **dict.fromkeys(_WIDE_INTEGERS, pa.int64()),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)\Z")


def result_schema(session: Session, rows: str, types: dict[str, str]) -> pa.Schema:
    """The columns of a bound query in the lake's types. Sums of integers are BIGINT, as they are in Spark."""
    known = {name: _arrow_type(kind) for name, kind in types.items()}
    if any(kind is None for kind in known.values()):
        answered = session.arrow(f"SELECT * FROM ({rows}) LIMIT 0").schema
        known = {field.name: known[field.name] or field.type for field in answered}
    return normalise(pa.schema(list(known.items())))


def _arrow_type(kind: str) -> pa.DataType | None:
    """What DuckDB hands over for a type, as DESCRIBE spells it; None for one that only an answer tells."""
    decimal = _DECIMAL.match(kind)
    return pa.decimal128(int(decimal[1]), int(decimal[2])) if decimal else _PLAIN.get(kind)


def results(session: Session, rows: str, types: dict[str, str]) -> pa.RecordBatchReader:
    """The rows of a bound query, computed as they are fetched; the session is closed after the last one."""
    schema = result_schema(session, rows, types)
    reader = session.reader(casts(schema, f"({rows})")).cast(schema)
    return pa.RecordBatchReader.from_batches(schema, _batches(session, reader))


def _batches(session: Session, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with session, session.translating():
        yield from reader
