"""What the engine asks DuckDB before it computes: no more than it has to, and the same answer."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest
from sqlglot import parse_one

from datalab.engine.base import Query
from datalab.engine.dialect import sql_of, translate
from datalab.engine.dialect.macros import MACROS, called, with_needed
from datalab.engine.duckdb import DuckDBEngine
from datalab.engine.macros import Macros
from datalab.engine.results import result_schema
from datalab.engine.session import Session
from datalab.errors import PipelineTypeError
from datalab.lake.schema import normalise
from datalab.lake.table import Relation

NOW = datetime(2026, 11, 20, tzinfo=UTC)
VALUES = (
    "NULL",
    "true",
    *(f"1::{kind}" for kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")),
    *("1::UBIGINT", "1::FLOAT", "1::DOUBLE", "1.5", "1::DECIMAL(38, 0)", "'a'", "'a'::BLOB", "DATE '2026-01-01'"),
    *("TIME '10:00:00'", "TIMESTAMP '2026-01-01'", "TIMESTAMPTZ '2026-01-01'", "'2026-01-01'::TIMESTAMP_NS"),
    *("uuid()", "'x'::ENUM('x', 'y')", "[1]", "{'a': 1}", "MAP {'a': 1::TINYINT}"),
)


@pytest.mark.parametrize("value", VALUES)
def test_the_types_of_a_description_are_those_of_an_answer(value: str) -> None:
    engine = DuckDBEngine(threads=1)
    rows = f"SELECT {value} AS x, 1::BIGINT AS y"
    query = Query(parse_one(rows, dialect="duckdb"), {}, NOW)
    with engine._session("") as session:
        types = dict(session._described(rows))
        answered = normalise(session.arrow(rows).schema)
        assert result_schema(session, query, rows, types) == answered
    engine.close()


def test_sums_of_integers_are_whole_numbers_beside_columns_of_any_type() -> None:
    engine = DuckDBEngine(threads=1)
    rows = "SELECT sum(1) AS total, [1] AS list, 1::HUGEINT AS wide"
    query = Query(parse_one(rows, dialect="duckdb"), {}, NOW)
    with engine._session("") as session:
        schema = result_schema(session, query, rows, dict(session._described(rows)))
    assert [schema.field(name).type for name in ("total", "wide")] == [pa.int64(), pa.int64()]
    engine.close()


def test_every_macro_is_made_with_those_that_it_needs_and_once() -> None:
    for name in MACROS:
        with duckdb.connect() as database:
            macros = Macros(database)
            macros.require(f"SELECT {name.upper()}(1)")
            macros.require(f"SELECT {name}(1), spark_unheard_of(2)")
            found = database.execute("SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT internal")
            made = {row[0] for row in found.fetchall()}
        assert made == set(with_needed([name]))
        assert all(called(MACROS[each].partition(" AS ")[2]) <= made for each in made)


def test_numbers_are_doubles_without_a_look_at_their_type() -> None:
    for text in ("2.5D", "-1D", "CAST(1.5 AS DOUBLE)", "CAST(-1.5 AS DOUBLE)", "CAST(count(*) AS DOUBLE)"):
        assert "spark" not in sql_of(translate(parse_one(f"SELECT {text} AS x", read="spark"), NOW, "")).lower()
    engine = DuckDBEngine(threads=1)
    tree = parse_one("SELECT 2.5D AS a, -1D AS b, CAST(-1.5 AS DOUBLE) AS c, CAST(7 AS DOUBLE) / 2 AS d", read="spark")
    answer = engine.read(Query(tree, {}, NOW)).read_all()
    engine.close()
    assert answer.schema.types == [pa.float64()] * 4
    assert answer.to_pylist() == [{"a": 2.5, "b": -1.0, "c": -1.5, "d": 3.5}]


def test_a_query_is_described_once_and_anew_for_other_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    described: list[str] = []
    describe = Session._described
    monkeypatch.setattr(Session, "_described", lambda self, sql: described.append(sql) or describe(self, sql))
    engine = DuckDBEngine(threads=1)

    def answer(kind: pa.DataType, text: str = "SELECT x + 1 AS described_once FROM t") -> pa.Schema:
        relations = {"t": Relation(pa.schema([("x", kind), ("__hidden", pa.int64())]))}
        return engine.schema(Query(parse_one(text, read="spark"), relations, NOW))

    assert [answer(kind).field(0).type for kind in (pa.int32(), pa.int32(), pa.float64())] == [
        pa.int32(),
        pa.int32(),
        pa.float64(),
    ]
    assert len(described) == 2
    names = [answer(pa.int32(), f"SELECT * FROM t{where}").names for where in ("", " WHERE __hidden IS NULL")]
    assert names == [["x"], ["x"]]
    with pytest.raises(PipelineTypeError):
        answer(pa.date32(), "SELECT upper(x) - 1 FROM t")
    with pytest.raises(PipelineTypeError):
        answer(pa.date32(), "SELECT upper(x) - 1 FROM t")
    engine.close()
