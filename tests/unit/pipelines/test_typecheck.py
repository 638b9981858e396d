"""Type errors are found before anything runs: through the engine port, with empty tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa
import pytest
from tests.declared import parse_sql

from datalab.engine.base import Engine
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import PipelineTypeError, UntranslatableFunction
from datalab.names import TableName
from datalab.pipelines.graph import build_graph
from datalab.pipelines.typecheck import check_types

TIMESTAMP = pa.timestamp("us", tz="UTC")
BRONZE = pa.schema(
    [
        ("k", pa.int64()),
        ("nome", pa.string()),
        ("valor", pa.float64()),
        ("pequeno", pa.int32()),
        ("t", TIMESTAMP),
        ("op", pa.string()),
        ("endereco", pa.struct([("uf", pa.string())])),
    ]
)
SCHEMAS = {TableName("bronze", "a"): BRONZE, TableName("bronze", "b"): BRONZE}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = DuckDBEngine()
    yield made
    made.close()


def check(engine: Engine, text: str) -> dict[str, pa.Schema]:
    graph = build_graph(parse_sql(text, "p.sql"), SCHEMAS)
    return {str(name): schema for name, schema in check_types(graph, engine, SCHEMAS).items()}


def test_schemas_flow_from_table_to_table(engine: Engine) -> None:
    found = check(
        engine,
        """CREATE MATERIALIZED VIEW gold.z AS SELECT uf, count(*) AS n, max(t) AS t FROM silver.y GROUP BY uf;
           CREATE STREAMING TABLE silver.y FLOW AUTO CDC FROM STREAM limpos KEYS (k)
             APPLY AS DELETE WHEN op = 'D' SEQUENCE BY t COLUMNS * EXCEPT (op);
           CREATE TEMPORARY VIEW limpos AS SELECT k, endereco.uf AS uf, t, op FROM STREAM bronze.a""",
    )
    assert found["silver.y"].names == ["k", "uf", "t"]
    assert found["gold.z"] == pa.schema([("uf", pa.string()), ("n", pa.int64()), ("t", TIMESTAMP)])


def test_declared_columns_decide_type_and_order_where_no_value_is_lost(engine: Engine) -> None:
    found = check(
        engine,
        "CREATE STREAMING TABLE silver.x (nome STRING, pequeno BIGINT, K BIGINT) AS "
        "SELECT k, nome, pequeno FROM STREAM bronze.a",
    )
    assert found["silver.x"] == pa.schema([("nome", pa.string()), ("pequeno", pa.int64()), ("K", pa.int64())])


def test_columns_of_auto_cdc(engine: Engine) -> None:
    text = "CREATE STREAMING TABLE silver.x FLOW AUTO CDC FROM STREAM bronze.a KEYS (k) SEQUENCE BY STRUCT(t, valor) {}"
    assert check(engine, text.format("COLUMNS (k, nome)"))["silver.x"].names == ["k", "nome"]
    assert check(engine, text.format(""))["silver.x"].names == BRONZE.names


CDC = "CREATE STREAMING TABLE silver.x {}\nFLOW AUTO CDC FROM STREAM bronze.a KEYS ({}) SEQUENCE BY {} {}"
ERRORS = [
    (CDC.format("", "chave", "t", ""), "p.sql:2:1: KEYS: there is no column chave", "there are k, nome"),
    (CDC.format("", "k", "tt", ""), "tt", "t"),
    (
        CDC.format("", "k", "t", "COLUMNS * EXCEPT (opp)"),
        "COLUMNS * EXCEPT: there is no column opp",
        "did you mean op?",
    ),
    (CDC.format("", "k", "t", "COLUMNS (nome)"), "KEYS: there is no column k", "there are nome"),
    (CDC.format("", "k", "t", "APPLY AS DELETE WHEN valor + 1"), "APPLY AS DELETE WHEN is double", "comparison"),
    (CDC.format("PARTITIONED BY (mes)", "k", "t", ""), "PARTITIONED BY: there is no column mes", "nome"),
    (CDC.format("PARTITIONED BY (months(nome))", "k", "t", ""), "nome is string, not a time", "TIMESTAMP"),
    (CDC.format("CLUSTER BY (nomes)", "k", "t", ""), "CLUSTER BY: there is no column nomes", "did you mean nome?"),
    (CDC.format("(CONSTRAINT c EXPECT (valor + 1))", "k", "t", ""), "p.sql:1:34: constraint c is double", "comparison"),
    (CDC.format("(CONSTRAINT c EXPECT (valr > 1))", "k", "t", ""), "valr", "valor"),
    (
        "CREATE MATERIALIZED VIEW gold.z AS\nSELECT k,\n  nomee FROM bronze.a",
        "nomee",
        "nome",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.z AS SELECT k, nome AS k FROM bronze.a",
        "the query answers two columns named k",
        "rename",
    ),
    ("CREATE MATERIALIZED VIEW gold.z AS SELECT k AS __k FROM bronze.a", "__k is a name for internal columns", "__"),
    (
        "CREATE MATERIALIZED VIEW gold.z (k INT) AS SELECT k FROM bronze.a",
        "gold.z.k is declared INT, its query answers int64",
        "CAST(… AS INT) AS k",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.z (k BIGINT, n INT) AS SELECT k FROM bronze.a",
        "the table's columns: there is no column n",
        "there are k",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.z (k BIGINT) AS SELECT k, nome FROM bronze.a",
        "the query answers nome, which gold.z does not declare",
        "declare",
    ),
]
LARGE = "CREATE MATERIALIZED VIEW gold.z AS\nSELECT k,\n  {} AS n FROM bronze.a"


def test_whole_numbers_beyond_bigint_are_decimals_before_anything_runs(engine: Engine) -> None:
    assert check(engine, LARGE.format("9223372036854775808"))["gold.z"].field("n").type == pa.decimal128(19, 0)
    with pytest.raises(UntranslatableFunction, match=r"p\.sql:3:\d+: 'a number of more than 38 digits' has no equal"):
        check(engine, LARGE.format("9" * 39))


@pytest.mark.parametrize(
    ("selected", "name"),
    [("t - t AS espera", "espera"), ("INTERVAL 1 DAY AS i", "i"), ("max(t) - min(t)", "max(t) - min(t)")],
)
def test_an_interval_is_refused_with_its_place(engine: Engine, selected: str, name: str) -> None:
    sql = f"CREATE MATERIALIZED VIEW gold.z AS\nSELECT count(*) AS n,\n  {selected}\nFROM bronze.a GROUP BY t"
    with pytest.raises(PipelineTypeError) as caught:
        check(engine, sql)
    assert re.fullmatch(r"p\.sql:3:\d+: (.+) is an INTERVAL, which no table keeps", caught.value.message)
    assert f": {name} is" in caught.value.message
    assert "datediff" in caught.value.hint


TWO = """CREATE STREAMING TABLE silver.x;
CREATE FLOW f AS INSERT INTO silver.x SELECT k, nome FROM STREAM bronze.a;
CREATE FLOW g AS INSERT INTO silver.x {} FROM STREAM bronze.b"""
FURTHER = [
    (TWO.format("SELECT k"), "p.sql:3:1: flow g lacks columns of silver.x: there is no column nome", "there are k"),
    (TWO.format("BY NAME SELECT k, nome, t"), "flow g into silver.x: there is no column t", ""),
    (TWO.format("SELECT nome, k"), "flow g answers (nome, k), silver.x has (k, nome)", "BY NAME"),
    (TWO.format("BY NAME SELECT nome, valor AS k"), "flow g answers k as double, not as int64", "CAST"),
]


@pytest.mark.parametrize(("text", "message", "hint"), [*ERRORS, *FURTHER])
def test_errors_name_place_and_candidates(engine: Engine, text: str, message: str, hint: str) -> None:
    with pytest.raises(PipelineTypeError) as caught:
        check(engine, text)
    assert caught.value.message.startswith("p.sql:")
    assert message in caught.value.message
    assert hint in caught.value.hint + caught.value.message


@pytest.mark.parametrize("select", ["SELECT k, upper(nome) AS nome", "BY NAME SELECT nome, pequeno AS k"])
def test_further_flows_fit_by_position_or_by_name(engine: Engine, select: str) -> None:
    assert check(engine, TWO.format(select))["silver.x"].names == ["k", "nome"]
