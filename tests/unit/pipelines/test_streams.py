"""What may be done with a stream: results must not depend on how rows are cut into batches."""

from __future__ import annotations

import pytest
from tests.declared import parse_sql

from datalab.errors import PipelineError, UnsupportedStatement
from datalab.names import TableName
from datalab.pipelines.graph import build_graph

KNOWN = [TableName("bronze", "a"), TableName("bronze", "b")]


def check(query: str) -> None:
    build_graph(parse_sql(f"CREATE STREAMING TABLE silver.x AS {query}", "p.sql"), KNOWN)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT upper(a) AS b, current_timestamp() AS c FROM STREAM bronze.a WHERE d > 1",
        "SELECT * FROM STREAM bronze.a a JOIN bronze.b b ON a.k = b.k",
        "SELECT * FROM STREAM bronze.a a LEFT JOIN bronze.b b ON a.k = b.k",
        "SELECT * FROM bronze.b b RIGHT JOIN STREAM bronze.a a ON a.k = b.k",
        "SELECT * FROM STREAM bronze.a a LEFT ANTI JOIN bronze.b b ON a.k = b.k",
        "SELECT * FROM STREAM bronze.a UNION ALL SELECT * FROM STREAM bronze.b",
        "SELECT * FROM STREAM bronze.a a JOIN (SELECT k, max(v) AS v FROM bronze.b GROUP BY k) m ON a.k = m.k",
        "SELECT * FROM STREAM bronze.a WHERE k IN (SELECT DISTINCT k FROM bronze.b)",
        "WITH c AS (SELECT *, explode(d) AS e FROM STREAM bronze.a) SELECT * FROM c WHERE e > 1",
        "SELECT k, e FROM STREAM bronze.a LATERAL VIEW explode(d) t AS e",
    ],
)
def test_row_wise_queries_are_accepted(query: str) -> None:
    check(query)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("SELECT k, count(*) AS n FROM STREAM bronze.a GROUP BY k", "p.sql:1:90: GROUP BY over a stream"),
        ("SELECT count(*) AS n FROM STREAM bronze.a", "p.sql:1:43: COUNT(*) over a stream"),
        ("SELECT mean(k) AS m FROM STREAM bronze.a", "p.sql:1:43: MEAN(k) over a stream"),
        ("SELECT DISTINCT k FROM STREAM bronze.a", "DISTINCT over a stream"),
        ("SELECT k FROM STREAM bronze.a LIMIT 3", "LIMIT over a stream"),
        ("SELECT row_number() OVER (ORDER BY k) AS n FROM STREAM bronze.a", "ROW_NUMBER() OVER"),
        ("SELECT * FROM STREAM bronze.a QUALIFY row_number() OVER (ORDER BY k) = 1", "ROW_NUMBER() OVER"),
        ("SELECT * FROM STREAM bronze.a a JOIN STREAM bronze.b b ON a.k = b.k", "a join of two streams"),
        ("SELECT * FROM STREAM bronze.a, STREAM bronze.b", "a join of two streams"),
        ("SELECT * FROM bronze.b b LEFT JOIN STREAM bronze.a a ON a.k = b.k", "LEFT JOIN that keeps rows"),
        ("SELECT * FROM STREAM bronze.a a RIGHT JOIN bronze.b b ON a.k = b.k", "RIGHT JOIN that keeps rows"),
        ("SELECT * FROM STREAM bronze.a a FULL JOIN bronze.b b ON a.k = b.k", "FULL JOIN that keeps rows"),
        ("SELECT * FROM bronze.b b LEFT ANTI JOIN STREAM bronze.a a ON a.k = b.k", "ANTI JOIN with a stream"),
        ("SELECT * FROM (bronze.b b JOIN STREAM bronze.a a ON a.k = b.k)", "a join in brackets"),
        ("SELECT * FROM STREAM bronze.a UNION SELECT * FROM bronze.b", "UNION over a stream"),
        ("SELECT * FROM STREAM bronze.a EXCEPT SELECT * FROM bronze.b", "EXCEPT over a stream"),
        ("SELECT * FROM bronze.b WHERE k IN (SELECT k FROM STREAM bronze.a)", "a stream in a subquery"),
        ("SELECT * FROM bronze.b WHERE EXISTS (SELECT 1 FROM STREAM bronze.a)", "a stream in a subquery"),
        ("WITH c AS (SELECT k FROM STREAM bronze.a) SELECT k, max(k) AS m FROM c GROUP BY k", "GROUP BY over a stream"),
        ("SELECT * FROM (SELECT DISTINCT k FROM STREAM bronze.a) t", "DISTINCT over a stream"),
    ],
)
def test_what_depends_on_batches_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(UnsupportedStatement) as caught:
        check(query)
    assert named in caught.value.message
    assert caught.value.message.startswith("p.sql:1:")
    assert caught.value.hint


def test_two_tables_under_one_alias() -> None:
    with pytest.raises(PipelineError, match="lias"):
        check("SELECT * FROM STREAM bronze.a t JOIN bronze.b t ON true")
