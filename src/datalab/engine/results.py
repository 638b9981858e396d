"""What a query answers, in the types of the lake."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from datalab.engine.relations import casts
from datalab.engine.session import Session
from datalab.lake.schema import normalise

_WIDE_INTEGERS = ("HUGEINT", "UHUGEINT")


def result_schema(session: Session, rows: str, types: dict[str, str]) -> pa.Schema:
    """The columns of a bound query in the lake's types. Sums of integers are BIGINT, as they are in Spark."""
    schema = session.arrow(f"SELECT * FROM ({rows}) LIMIT 0").schema
    narrowed = [field.with_type(pa.int64()) if types[field.name] in _WIDE_INTEGERS else field for field in schema]
    return normalise(pa.schema(narrowed))


def results(session: Session, rows: str, types: dict[str, str]) -> pa.RecordBatchReader:
    """The rows of a bound query, computed as they are fetched; the session is closed after the last one."""
    schema = result_schema(session, rows, types)
    reader = session.reader(casts(schema, f"({rows})")).cast(schema)
    return pa.RecordBatchReader.from_batches(schema, _batches(session, reader))


def _batches(session: Session, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with session, session.translating():
        yield from reader
