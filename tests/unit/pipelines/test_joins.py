"""Which groups of a join a change of one table can touch, and why they sometimes cannot be told."""

from __future__ import annotations

import pytest
import sqlglot

from datalab.names import TableName
from datalab.pipelines.grouping import Grouping
from datalab.pipelines.joins import joined_grouping

A = TableName.parse("silver.a")
FOLLOWED = [
    "SELECT a.k, count(*) AS n FROM silver.a a JOIN silver.b b ON a.i = b.i GROUP BY a.k",
    "SELECT b.k, count(*) AS n FROM silver.b b JOIN silver.a a USING (i) GROUP BY b.k",
    "SELECT k, count(*) AS n FROM silver.a LEFT JOIN silver.b ON a.i = b.i GROUP BY k",
    "SELECT b.k, count(*) AS n FROM (SELECT * FROM silver.a WHERE v > 0) a, silver.b b WHERE a.i = b.i GROUP BY b.k",
    "WITH f AS (SELECT i, v FROM silver.a) SELECT k, sum(v) AS s FROM f JOIN silver.b b ON f.i = b.i GROUP BY k",
    "SELECT a.k, max(m) AS m FROM silver.a JOIN (SELECT i, max(v) m FROM silver.b GROUP BY i) b USING (i) GROUP BY 1",
    "SELECT a.k, 'x' AS tipo, mean(v) AS n FROM silver.a a JOIN silver.b b ON a.i = b.i GROUP BY ALL",
    "SELECT count(*) AS n, b.k AS K FROM silver.a a JOIN silver.b b ON a.i = b.i GROUP BY 2, b.k",
    "SELECT k, count(*) AS n FROM silver.a WHERE i IN (SELECT i FROM silver.b) GROUP BY k",
]
REASONS = [
    (
        "SELECT b.k, count(*) AS n FROM silver.b b LEFT JOIN silver.a a ON a.i = b.i GROUP BY b.k",
        "rows without a match stay",
    ),
    (
        "SELECT b.k, count(*) AS n FROM silver.a a RIGHT JOIN silver.b b ON a.i = b.i GROUP BY b.k",
        "without a match stay",
    ),
    ("SELECT b.k, count(*) AS n FROM silver.b b LEFT ANTI JOIN silver.a a ON a.i = b.i GROUP BY b.k", "a match stay"),
    (
        "SELECT a.k, count(*) AS n FROM silver.a a JOIN silver.a b ON a.i = b.i GROUP BY a.k",
        "reads silver.a more than once",
    ),
    ("SELECT k, count(*) AS n FROM silver.b WHERE i IN (SELECT i FROM silver.a) GROUP BY k", "stands in a subquery"),
    (
        "SELECT b.k, n FROM silver.b b JOIN (SELECT i, count(*) AS n FROM silver.a GROUP BY i) a USING (i)",
        "no GROUP BY",
    ),
    (
        "SELECT b.k, sum(n) AS n FROM silver.b b, (SELECT i, count(*) AS n FROM silver.a GROUP BY i) a GROUP BY b.k",
        "it groups twice",
    ),
    (
        "SELECT b.k, count(*) AS n FROM silver.a a JOIN silver.b b ON a.i = b.i GROUP BY a.k",
        "key a.k is not in the result",
    ),
    (
        "SELECT a.k, count(*) AS n FROM silver.a a JOIN silver.b b ON a.d < now() GROUP BY a.k",
        "NOW() changes by itself",
    ),
    ("SELECT upper(a.k), count(*) AS n FROM silver.a a, silver.b b GROUP BY ALL", "UPPER(a.k) is not in the result"),
    (
        "SELECT a.k, (SELECT max(i) FROM silver.b) AS m, count(*) AS n FROM silver.a a GROUP BY ALL",
        "GROUP BY ALL stands over a subquery",
    ),
    ("SELECT upper(a.k) AS k, count(*) AS n FROM silver.a a, silver.b b GROUP BY k", "may be a column or an alias"),
    (
        "WITH f AS (SELECT * FROM silver.a) SELECT x.k, count(*) AS n FROM f x JOIN f y USING (i) GROUP BY x.k",
        "reads silver.a more than once",
    ),
]


@pytest.mark.parametrize("sql", FOLLOWED)
def test_a_table_is_followed_to_the_groups(sql: str) -> None:
    groups = joined_grouping(sqlglot.parse_one(sql, read="spark"), A)
    assert isinstance(groups, Grouping), groups
    assert [key.lower() for key in groups.keys] == ["k"]


@pytest.mark.parametrize(("sql", "reason"), REASONS)
def test_reasons(sql: str, reason: str) -> None:
    answer = joined_grouping(sqlglot.parse_one(sql, read="spark"), A)
    assert isinstance(answer, str)
    assert reason in answer
