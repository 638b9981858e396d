"""Translated functions keep their meaning wherever an expression may stand, and columns keep the names as written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import parse_one

from datalab.engine.base import Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.lake.table import Relation

DAY = datetime(2020, 1, 2, tzinfo=UTC)
ROWS = pa.table({"d": [DAY], "x": [1], "s": ["a"]})


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(memory_limit="500MB", threads=2)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "SELECT year(d), count(*), sum(x)/2 FROM t GROUP BY year(d)",
            {"year(d)": 2020, "count(*)": 1, "sum(x) / 2": 0.5},
        ),
        ("SELECT year(d) + 1 AS y FROM t GROUP BY year(d)", {"y": 2021}),
        ("SELECT cast(x AS string) AS c FROM t GROUP BY x", {"c": "1"}),
        ("SELECT date_trunc('year', d) AS m FROM t GROUP BY m ORDER BY m", {"m": datetime(2020, 1, 1, tzinfo=UTC)}),
        ("SELECT floor(x / 2) FROM t ORDER BY floor(x / 2)", {"floor(x / 2)": 0}),
        ("SELECT DISTINCT cast(x AS string) AS c FROM t ORDER BY c", {"c": "1"}),
        ("SELECT max(cast(x AS double)) OVER (PARTITION BY year(d)) AS q FROM t", {"q": 1.0}),
        ("SELECT (SELECT max(year(y.d)) FROM t y WHERE cast(y.s AS string) = t.s) AS w FROM t", {"w": 2020}),
        ("SELECT x FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE date(u.d) = date(t.d))", {"x": 1}),
        ("SELECT x + 1 AS z, cast(z AS string) AS w FROM t", {"z": 2, "w": "2"}),
        ("SELECT cast(coalesce(max(x), 0) AS int) AS m, datediff(max(d), min(d)) AS q FROM t", {"m": 1, "q": 0}),
        ("SELECT cast(sum(x) OVER (ORDER BY d) AS int) AS r FROM t", {"r": 1}),
        ("SELECT transform(array(x), e -> cast(e AS string)) AS l FROM t", {"l": ["1"]}),
        ("SELECT x FROM t WHERE date(d) BETWEEN '2020-01-01' AND '2020-02-01' AND d > '2020-01-01'", {"x": 1}),
        ("SELECT a.x FROM t a JOIN t b ON year(a.d) = year(b.d) AND cast(a.x AS string) = '1'", {"x": 1}),
        ("SELECT max(x) AS m FROM t GROUP BY s HAVING cast(max(x) AS string) = '1'", {"m": 1}),
        ("SELECT cast(cast(cast(x AS string) AS int) AS double) AS c FROM t", {"c": 1.0}),
    ],
)
def test_meaning_does_not_depend_on_the_place(engine: DuckDBEngine, sql: str, expected: dict[str, Any]) -> None:
    query = Query(parse_one(sql, dialect="spark"), {"t": Relation(ROWS.schema, memory=ROWS)}, DAY, "flow.sql:1")
    assert engine.read(query).read_all().to_pylist() == [expected]
