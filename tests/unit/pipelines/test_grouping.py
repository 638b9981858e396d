"""Which views are recomputed group by group, and the reasons why others are not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from sqlglot import exp
from tests.declared import parse_sql

from datalab.engine.base import Engine, Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.lake.table import Relation
from datalab.names import TableName
from datalab.pipelines.graph import build_graph
from datalab.pipelines.grouping import Grouping, grouping

KNOWN = [TableName("silver", "a"), TableName("silver", "b")]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = DuckDBEngine()
    yield made
    made.close()


def classify(query: str, columns: tuple[str, ...] = (), views: str = "") -> Grouping | str:
    text = f"{views};\nCREATE MATERIALIZED VIEW gold.y AS {query}"
    (node,) = build_graph(parse_sql(text, "p.sql"), KNOWN).flows
    return grouping(node.query, columns)


GROUPED = [
    ("SELECT k, count(*) AS n FROM silver.a GROUP BY k", {"k": "k"}),
    ("SELECT x.K AS Chave, sum(v) FROM silver.a x WHERE v > 0 GROUP BY x.k HAVING sum(v) > 3", {"Chave": "k"}),
    ("SELECT a.k, l, max(v) FROM silver.a GROUP BY silver.a.k, l", {"k": "k", "l": "l"}),
    ("SELECT upper(k) AS k, count(DISTINCT v) FROM silver.a GROUP BY upper(k) ORDER BY 2", {"k": "UPPER(k)"}),
    ("SELECT date_trunc('MONTH', t) AS m, count(*) FROM silver.a GROUP BY 1", {"m": "DATE_TRUNC('MONTH', t)"}),
    (
        "SELECT s.uf, s.cidade.nome AS c, avg(v) FROM silver.a GROUP BY s.uf, s.cidade.nome",
        {"uf": "s.uf", "c": "s.cidade.nome"},
    ),
    ("SELECT k FROM silver.a GROUP BY k", {"k": "k"}),
    ("SELECT n, k FROM (SELECT k, count(*) AS n FROM silver.a GROUP BY k)", {"k": "k"}),
    (
        "WITH g AS (SELECT k, sum(v) AS s FROM silver.a GROUP BY k) "
        "SELECT k AS chave, CASE WHEN s > 3 THEN 'ALTO' ELSE 'BAIXO' END AS faixa FROM g",
        {"chave": "k"},
    ),
    (
        "SELECT u, max(v) FROM (SELECT upper(s.uf) AS u, v FROM silver.a WHERE v > 1) t GROUP BY t.u",
        {"u": "UPPER(s.uf)"},
    ),
    ("SELECT k, l, max(v) FROM (SELECT * EXCEPT (l), m AS l FROM silver.a) GROUP BY k, l", {"k": "k", "l": "m"}),
    ("SELECT k, n FROM (SELECT k, count(*) AS n FROM silver.a GROUP BY k HAVING count(*) > 1) WHERE n < 9", {"k": "k"}),
    ("SELECT k, l, count(*) AS n FROM silver.a GROUP BY ALL", {"k": "k", "l": "l"}),
    (
        "SELECT 'x' AS tipo, 1 AS um, upper(k) AS k, s.uf, mean(v) AS m, sum(v) + 1 AS s FROM silver.a GROUP BY ALL",
        {"k": "UPPER(k)", "uf": "s.uf"},
    ),
    ("SELECT k AS x, k AS y, sum(v) / count(*) FILTER (WHERE v > 1) AS m FROM silver.a GROUP BY ALL", {"x": "k"}),
    ("SELECT m, max(v) AS v FROM (SELECT month(t) AS m, v FROM silver.a) GROUP BY ALL", {"m": "MONTH(t)"}),
    ("SELECT k, concat(k, 'x', sum(v)) AS c FROM silver.a GROUP BY all HAVING count(*) > 2", {"k": "k"}),
    ("SELECT sum(v) AS s, l, upper(k) AS u FROM silver.a GROUP BY 3, 2", {"u": "UPPER(k)", "l": "l"}),
    ("SELECT t.*, 1 AS one FROM (SELECT k, max(v) AS v FROM silver.a GROUP BY k) t", {"k": "k"}),
]  # fmt: skip


@pytest.mark.parametrize(("query", "keys"), GROUPED)
def test_groups_that_stand_alone(query: str, keys: dict[str, str]) -> None:
    found = classify(query)
    assert isinstance(found, Grouping), found
    assert found.table == TableName("silver", "a")
    texts = [expression.sql("spark") for expression in found.expressions]
    assert dict(zip(found.keys, texts, strict=True)) == keys


VIEWS = """
CREATE TEMPORARY VIEW limpos AS SELECT *, s.uf AS uf FROM silver.a WHERE v > 1;
CREATE TEMPORARY VIEW por_mes AS SELECT l.uf, month(l.t) AS mes FROM limpos l;
"""
OVER_VIEWS = "SELECT uf, mes, count(*) AS n FROM por_mes GROUP BY uf, mes"


def test_views_are_seen_through() -> None:
    found = classify(OVER_VIEWS, columns=("k", "t", "s"), views=VIEWS)
    assert isinstance(found, Grouping)
    assert found.keys == ("uf", "mes")
    assert [expression.sql("spark") for expression in found.expressions] == ["s.uf", "MONTH(t)"]


def test_known_columns_tell_an_alias_from_a_column() -> None:
    query = "SELECT upper(k) AS u, count(*) FROM silver.a GROUP BY u"
    assert classify(query) == "GROUP BY u may be a column or an alias: write the expression"
    assert classify(query, columns=("k", "u")) == "the group key u is not in the result"
    found = classify(query, columns=("k",))
    assert isinstance(found, Grouping)
    assert [expression.sql("spark") for expression in found.expressions] == ["UPPER(k)"]


REASONS = [
    ("SELECT k, v FROM silver.a", "it has no GROUP BY"),
    ("SELECT count(*) AS n FROM silver.a", "it has no GROUP BY"),
    ("SELECT 1 AS one", "it does not read one table"),
    ("SELECT l, count(*) FROM silver.a GROUP BY k, l", "the group key k is not in the result"),
    ("SELECT upper(k) AS k, count(*) FROM silver.a GROUP BY lower(k)", "the group key LOWER(k) is not in the result"),
    ("SELECT k, count(*) FROM silver.a JOIN silver.b USING (k) GROUP BY k", "it reads several tables"),
    ("SELECT k, count(*) FROM silver.a GROUP BY k LIMIT 3", "it has LIMIT"),
    ("SELECT DISTINCT k, count(*) FROM silver.a GROUP BY k", "it has DISTINCT over rows"),
    ("SELECT k, count(*) FROM silver.a GROUP BY k UNION ALL SELECT k, 1 FROM silver.b", "it combines queries"),
    ("SELECT k, sum(count(*)) OVER () FROM silver.a GROUP BY k", "it has window functions"),
    ("SELECT k, count(*) FROM silver.a GROUP BY ROLLUP (k)", "its groups overlap"),
    ("SELECT k, count(*) FROM silver.a GROUP BY k WITH CUBE", "its groups overlap"),
    ("SELECT k, count(*) FROM silver.a GROUP BY GROUPING SETS ((k), ())", "its groups overlap"),
    ("SELECT k, count(*) FROM silver.a GROUP BY ALL WITH ROLLUP", "its groups overlap"),
    ("SELECT 1 AS um, count(*) AS n FROM silver.a GROUP BY ALL", "it has no GROUP BY"),
    ("SELECT *, count(*) AS n FROM silver.a GROUP BY ALL", "GROUP BY ALL groups by a star"),
    ("SELECT upper(k) AS u, u || 'x' AS x, count(*) AS n FROM silver.a GROUP BY ALL", "u may be a column or an alias"),
    ("SELECT upper(k) AS u, u || 'x' AS x, count(*) AS n FROM silver.a GROUP BY 1, 2", "u may be a column or an alias"),
    ("SELECT k, count(*) FROM silver.a GROUP BY 3", "GROUP BY 3 names no column"),
    ("SELECT k, mean(n) AS m FROM (SELECT k, count(*) AS n FROM silver.a GROUP BY k) GROUP BY ALL", "groups twice"),
    ("SELECT k, count(*), current_date() AS d FROM silver.a GROUP BY k", "CURRENT_DATE changes by itself"),
    ("SELECT k, count(*) FROM silver.a WHERE t < now() GROUP BY k", "NOW() changes by itself"),
    ("SELECT k, count(*) FROM silver.a WHERE rand() < 0.1 GROUP BY k", "RAND() changes by itself"),
    ("SELECT k, count(*) FROM silver.a WHERE k IN (SELECT k FROM silver.b) GROUP BY k", "it has a subquery"),
    ("SELECT k, count(*) FROM silver.a TABLESAMPLE (10 PERCENT) GROUP BY k", "it samples"),
    ("SELECT e, count(*) FROM silver.a LATERAL VIEW explode(d) x AS e GROUP BY e", "it makes several rows of one"),
    ("SELECT k, max(n) FROM (SELECT k, l, count(*) AS n FROM silver.a GROUP BY k, l) GROUP BY k", "it groups twice"),
    ("SELECT max(n) AS n FROM (SELECT k, count(*) AS n FROM silver.a GROUP BY k)", "aggregates its groups once more"),
    (
        "SELECT u, count(*) FROM (SELECT *, upper(k) AS u FROM silver.a) GROUP BY u",
        "it may have two columns named u",
    ),
    ("SELECT a.k, max(v) AS k FROM silver.a GROUP BY a.k", "it may have two columns named k"),
    ("SELECT n FROM (SELECT k, count(*) AS n FROM silver.a GROUP BY k)", "the group key k is not in the result"),
    (
        "WITH c(x) AS (SELECT k FROM silver.a) SELECT x, count(*) FROM c GROUP BY x",
        "it renames the columns of what it reads",
    ),
    ("SELECT x, count(*) FROM silver.a AS t(x) GROUP BY x", "it renames the columns of what it reads"),
    ("SELECT x, count(*) FROM (SELECT k FROM silver.a) GROUP BY x", "the column x cannot be followed to the table"),
    ("WITH u AS (SELECT 1 FROM silver.b) SELECT k, count(*) FROM silver.a GROUP BY k", "it reads several tables"),
    ("SELECT l AS m, m AS k, count(*) FROM silver.a GROUP BY l, m", "GROUP BY m may be a column or an alias"),
]


@pytest.mark.parametrize(("query", "reason"), REASONS)
def test_reasons(query: str, reason: str) -> None:
    found = classify(query)
    assert isinstance(found, str), found
    assert reason in found


ROWS = pa.Table.from_pylist(
    [
        {
            "k": "abBA"[i % 4] if i % 7 else None,
            "l": i % 3,
            "m": i % 2 if i % 5 else None,
            "v": i % 11,
            "t": datetime(2026, 1 + i % 4, 1 + i % 9, tzinfo=UTC),
            "s": {"uf": "spMG"[i % 2 * 2 :][:2], "cidade": {"nome": f"c{i % 3}"}},
        }
        for i in range(60)
    ]
)


def rows_of(engine: Engine, tree: exp.Query, rows: pa.Table) -> list[str]:
    relations = {"silver.a": Relation(ROWS.schema, memory=rows)}
    answer = engine.read(Query(tree, relations, datetime(2026, 11, 20, tzinfo=UTC))).read_all()
    return sorted(map(repr, answer.to_pylist()))


@pytest.mark.parametrize(("query", "views"), [*((query, "") for query, _ in GROUPED), (OVER_VIEWS, VIEWS)])
def test_each_group_alone_gives_its_rows_of_the_whole(engine: Engine, query: str, views: str) -> None:
    (node,) = build_graph(parse_sql(f"{views};CREATE MATERIALIZED VIEW gold.y AS {query}", "p.sql"), KNOWN).flows
    found = grouping(node.query, ROWS.schema.names)
    assert isinstance(found, Grouping), found
    keys = [exp.alias_(part, f"key{i}") for i, part in enumerate(found.expressions)]
    keyed = exp.select(*keys).from_("silver.a")
    relations = {"silver.a": Relation(ROWS.schema, memory=ROWS)}
    key_of_row = engine.read(Query(keyed, relations, datetime(2026, 11, 20, tzinfo=UTC))).read_all().to_pylist()
    alone = []
    for key in {repr(key): key for key in key_of_row}.values():
        members = ROWS.filter(pa.array([other == key for other in key_of_row]))
        alone += rows_of(engine, node.query, members)
    assert sorted(alone) == rows_of(engine, node.query, ROWS)
