"""What a query answers, in the types of the lake."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Query
from datalab.engine.places import place
from datalab.engine.relations import casts
from datalab.engine.session import Session
from datalab.errors import PipelineTypeError, SchemaConflict
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


def result_schema(session: Session, query: Query, rows: str, types: dict[str, str]) -> pa.Schema:
    """The columns of a bound query in the lake's types. Sums of integers are BIGINT, as they are in Spark.

    PipelineTypeError, with the place, where a column is of a type that no table keeps.
    """
    known = {name: _arrow_type(kind) for name, kind in types.items()}
    if any(kind is None for kind in known.values()):
        answered = session.arrow(f"SELECT * FROM ({rows}) LIMIT 0").schema
        known = {field.name: known[field.name] or field.type for field in answered}
    schema = pa.schema(list(known.items()))
    try:
        return normalise(schema)
    except SchemaConflict as conflict:
        raise _not_kept(schema, query, conflict) from conflict


def _not_kept(schema: pa.Schema, query: Query, conflict: SchemaConflict) -> PipelineTypeError:
    """What to say of the first column that no table keeps."""
    for number, field in enumerate(schema):
        try:
            normalise(pa.schema([field]))
        except SchemaConflict as own:
            where = place(query.origin, _selected(query.tree, field.name, number))
            if pa.types.is_interval(field.type):
                hint = "write datediff(…), months_between(…) or a difference of unix_seconds(…)"
                return PipelineTypeError(f"{where}: {field.name} is an INTERVAL, which no table keeps", hint)
            return PipelineTypeError(f"{where}: {field.name}: {own.message}", own.hint)
    return PipelineTypeError(f"{query.origin}: {conflict.message}", conflict.hint)


def _selected(tree: exp.Query, name: str, number: int) -> exp.Expr | None:
    """What is selected under a name; where it has none or hides in a star, what stands in its place."""
    named = next((each for each in tree.selects if each.alias_or_name.lower() == name.lower()), None)
    if named is not None or any(each.is_star for each in tree.selects):
        return named
    return tree.selects[number] if number < len(tree.selects) else None


def _arrow_type(kind: str) -> pa.DataType | None:
    """What DuckDB hands over for a type, as DESCRIBE spells it; None for one that only an answer tells."""
    decimal = _DECIMAL.match(kind)
    return pa.decimal128(int(decimal[1]), int(decimal[2])) if decimal else _PLAIN.get(kind)


def results(session: Session, query: Query, rows: str, types: dict[str, str]) -> pa.RecordBatchReader:
    """The rows of a bound query, computed as they are fetched; the session is closed after the last one."""
    schema = result_schema(session, query, rows, types)
    reader = session.reader(casts(schema, f"({rows})")).cast(schema)
    return pa.RecordBatchReader.from_batches(schema, _batches(session, reader))


def _batches(session: Session, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with session, session.translating():
        yield from reader
