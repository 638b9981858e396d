"""Clauses and generators of Spark 4.1 with the answers that it gave, and what is refused where DuckDB's differ."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp, parse_one

from datalab.engine.base import Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import EngineError, PipelineTypeError, UntranslatableFunction
from datalab.lake.table import Relation

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
T = pa.table(
    {
        "g": ["a", "a", "b", None],
        "x": pa.array([1, 2, None, 4], pa.int64()),
        "s": ["a", "b", None, "z"],
        "l": pa.array([[10, None], [], None, [40]], pa.list_(pa.int32())),
        "w": pa.array([["u", None, ""], [], None, ["w"]], pa.list_(pa.string())),
        "m": pa.array([[("a", 1), ("b", None)], [], None, [("z", 9)]], pa.map_(pa.string(), pa.int32())),
    }
)
U = pa.table({"z": ["p", "q", "r"], "x": pa.array([1, 4, 9], pa.int64()), "s": ["a", None, "z"]})
TABLES = {"t": Relation(T.schema, memory=T), "u": Relation(U.schema, memory=U)}
A = "(SELECT g, x FROM t) a"
B = "(SELECT z, x FROM u) b"


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(memory_limit="500MB", threads=2)
    yield made
    made.close()


def test_a_map_under_another_name_is_said_to_be_one(engine: DuckDBEngine) -> None:
    with pytest.raises(PipelineTypeError, match=r"flow\.sql:5: size.*of a map that is not known as one"):
        ask(engine, "SELECT size(o) AS n FROM (SELECT m AS o FROM t)")


def ask(engine: DuckDBEngine, sql: str) -> pa.Table:
    tree = parse_one(sql, dialect="spark")
    assert isinstance(tree, exp.Query)
    return engine.read(Query(tree, TABLES, NOW, "flow.sql:5:1")).read_all()


Rows = list[tuple[Any, ...]]
ELEMENTS: Rows = [(1, 10), (1, None), (4, 40)]
OUTER: Rows = [*ELEMENTS, (2, None), (None, None)]
LARGE: Rows = [(1, None), (2, None), (None, None), (4, 40)]
PLACES: Rows = [(1, 0, 10), (1, 1, None), (4, 0, 40)]
PLACES_OUTER: Rows = [*PLACES, (2, None, None), (None, None, None)]
ENTRIES: Rows = [(1, "a", 1), (1, "b", None), (4, "z", 9)]
ENTRIES_OUTER: Rows = [*ENTRIES, (2, None, None), (None, None, None)]
SETS: Rows = [("a", None, 2), ("b", None, 1), (None, None, 1)]
BOTH: Rows = [("a", 1, 1), ("a", 2, 1), ("b", None, 1), (None, 4, 1)]
BY_X: Rows = [(None, 1, 1), (None, 2, 1), (None, None, 1), (None, 4, 1)]

ANSWERS: list[tuple[str, str, Rows]] = [
    # groups
    ("SELECT g, x, count(*) AS n FROM t GROUP BY g, x WITH ROLLUP", "g x n", [*BOTH, *SETS, (None, None, 4)]),
    ("SELECT g, x, count(*) AS n FROM t GROUP BY g, x WITH CUBE", "g x n", [*BOTH, *SETS, *BY_X, (None, None, 4)]),
    ("SELECT g, x, count(*) AS n FROM t GROUP BY g, x GROUPING SETS ((g), (x))", "g x n", [*SETS, *BY_X]),
    ("SELECT g, x, count(*) AS n FROM t GROUP BY g, GROUPING SETS ((x), ())", "g x n", [*BOTH, *SETS]),
    (
        "SELECT upper(g) AS p, 'k' AS k, concat(upper(g), count(*)) AS n FROM t GROUP BY ALL",
        "p k n",
        [("A", "k", "A2"), ("B", "k", "B1"), (None, "k", None)],
    ),
    ("SELECT 1 AS k, mean(x) AS m FROM t WHERE x > 9 GROUP BY ALL", "k m", []),
    ("SELECT mean(x) + 1 AS m FROM t WHERE x < 3 GROUP BY ALL", "m", [(2.5,)]),
    ("SELECT g AS p, count(*) AS n FROM t GROUP BY p WITH ROLLUP", "p n", [("a", 2), ("b", 1), (None, 1), (None, 4)]),
    # rows of arrays and maps
    ("SELECT x, e FROM t, LATERAL explode(l) AS q(e)", "x e", ELEMENTS),
    ("SELECT x, e FROM t JOIN LATERAL explode(l) AS q(e) ON e > 10", "x e", [(4, 40)]),
    ("SELECT x, e FROM t LEFT JOIN LATERAL explode(l) AS q(e) ON e > 10", "x e", LARGE),
    ("SELECT x, col FROM t, LATERAL explode(l)", "x col", ELEMENTS),
    ("SELECT x, p, e FROM t, LATERAL posexplode(l) AS q(p, e)", "x p e", PLACES),
    ("SELECT x, k, v FROM t, LATERAL explode(m) AS q(k, v)", "x k v", ENTRIES),
    ("SELECT x, v.col FROM t LATERAL VIEW explode(l) v", "x col", ELEMENTS),
    ("SELECT x, e FROM t LATERAL VIEW OUTER explode(l) v AS e", "x e", OUTER),
    ("SELECT x, p, e FROM t LATERAL VIEW OUTER posexplode(l) v AS p, e", "x p e", PLACES_OUTER),
    ("SELECT x, pos, col FROM t LATERAL VIEW posexplode_outer(l) v", "x pos col", PLACES_OUTER),
    ("SELECT x, k, v FROM t LATERAL VIEW explode(m) q AS k, v", "x k v", ENTRIES),
    ("SELECT x, k, v FROM t LATERAL VIEW OUTER explode(m) q AS k, v", "x k v", ENTRIES_OUTER),
    ("SELECT x, key, value FROM t LATERAL VIEW explode(m) q", "x key value", ENTRIES),
    ("SELECT x, k, e FROM t LATERAL VIEW explode(m) q AS k, v LATERAL VIEW explode(array(v)) r AS e", "x k e", ENTRIES),
    ("SELECT x, explode_outer(l) FROM t", "x col", OUTER),
    ("SELECT x, explode_outer(l) AS e FROM t", "x e", OUTER),
    ("SELECT x, posexplode(l) FROM t", "x pos col", PLACES),
    ("SELECT x, posexplode_outer(l) AS (p, e) FROM t", "x p e", PLACES_OUTER),
    ("SELECT x, explode(m) FROM t", "x key value", ENTRIES),
    ("SELECT x, explode_outer(m) AS (k, v) FROM t", "x k v", ENTRIES_OUTER),
    ("SELECT x, explode(l) AS (e) FROM t", "x e", ELEMENTS),
    # maps
    ("SELECT m[s] AS v, size(m) AS n FROM t", "v n", [(1, 2), (None, 0), (None, None), (9, 1)]),
    ("SELECT element_at(m, s) AS v FROM t", "v", [(1,), (None,), (None,), (9,)]),
    ("SELECT size(map('a', 1)) AS n, map('a', 1)[s] AS v FROM t WHERE x < 3", "n v", [(1, 1), (1, None)]),
    ("SELECT m[0] AS v, size(m) AS n FROM (SELECT l AS m FROM t WHERE size(l) > 0)", "v n", [(10, 2), (40, 1)]),
    # texts of arrays
    ("SELECT concat_ws('-', w, 'e') AS v FROM t", "v", [("u--e",), ("e",), ("e",), ("w-e",)]),
    ("SELECT concat_ws('-', w) AS v FROM t", "v", [("u-",), ("",), ("",), ("w",)]),
    ("SELECT concat_ws(',', sort_array(collect_list(s))) AS v FROM t", "v", [("a,b,z",)]),
    ("SELECT concat_ws('-', g, sort_array(collect_set(s)), x) AS v FROM t GROUP BY g, x", "v",
     [("a-a-1",), ("a-b-2",), ("b",), ("z-4",)]),
    ("SELECT concat_ws(s, g, x) AS v FROM t", "v", [("aa1",), ("ab2",), (None,), ("4",)]),
    (
        "SELECT sort_array(collect_list(x) FILTER (WHERE x > 1)) AS v, collect_set(s) FILTER (WHERE x = 1) AS w FROM t",
        "v w",
        [([2, 4], ["a"])],
    ),
    # operators without brackets
    ("SELECT ~x + 2 AS a, x & 3 | 4 AS b, - ~x AS c, 1 = x = true AS d FROM t LIMIT 1", "a b c d", [(0, 5, 2, True)]),
    ("SELECT 1 + x || 'a' AS a, 1 <=> x = true AS b FROM t WHERE x < 3", "a b", [("2a", True), ("3a", False)]),
    # the last known value
    ("SELECT g, last(x, true) OVER (ORDER BY g, s) AS v FROM t", "g v", [(None, 4), ("a", 1), ("a", 2), ("b", 2)]),
    ("SELECT last(s) IGNORE NULLS OVER (ORDER BY x DESC) AS v FROM t", "v", [("z",), ("b",), ("a",), ("a",)]),
    ("SELECT last(x, true) AS v FROM t WHERE g = 'b' OR x = 4", "v", [(4,)]),
    ("SELECT any_value(x) OVER (ORDER BY x) AS v FROM t WHERE x IS NULL OR x = 4", "v", [(None,), (None,)]),
    # columns that two tables share come first
    (f"SELECT * FROM {A} JOIN {B} USING (x)", "x g z", [(1, "a", "p"), (4, None, "q")]),
    (f"SELECT * FROM {A} RIGHT JOIN {B} USING (x)", "x g z", [(1, "a", "p"), (4, None, "q"), (9, None, "r")]),
    (f"SELECT * FROM {A} LEFT SEMI JOIN {B} USING (x)", "x g", [(1, "a"), (4, None)]),
    (f"SELECT *, 1 AS o FROM {A} JOIN {B} USING (x)", "x g z o", [(1, "a", "p", 1), (4, None, "q", 1)]),
    (f"SELECT * EXCEPT (g) FROM {A} JOIN {B} USING (x)", "x z", [(1, "p"), (4, "q")]),
    (f"SELECT * EXCEPT (x) FROM {A} JOIN {B} USING (x)", "g z", [("a", "p"), (None, "q")]),
    (f"SELECT * FROM {A} JOIN (SELECT z, x, 5 AS j FROM u) b USING (x) JOIN (SELECT 6 AS q, 5 AS j) c USING (j)",
     "j x g z q", [(5, 1, "a", "p", 6), (5, 4, None, "q", 6)]),
    (f"SELECT * FROM (SELECT 5 AS j) c, {A} JOIN {B} USING (x)", "x j g z", [(1, 5, "a", "p"), (4, 5, None, "q")]),
    (f"SELECT a.*, b.z FROM {A} RIGHT JOIN {B} USING (x)", "x g z", [(1, "a", "p"), (4, None, "q"), (None, None, "r")]),
    (f"SELECT b.* FROM {A} JOIN {B} USING (x)", "x z", [(1, "p"), (4, "q")]),
    # membership among the results
    ("SELECT x, x IN (SELECT x FROM u) AS v FROM t", "x v", [(1, True), (2, False), (None, False), (4, True)]),
    ("SELECT x, x NOT IN (SELECT x FROM u) AS v FROM t", "x v", [(1, False), (2, True), (None, False), (4, False)]),
    ("SELECT (x, s) IN (SELECT x, s FROM u) AS v FROM t", "v", [(True,), (False,), (False,), (False,)]),
    ("SELECT max(x) AS v FROM t WHERE NOT x IN (SELECT x FROM u) ", "v", [(2,)]),
    # queries side by side
    ("SELECT s FROM u UNION ALL SELECT NULL", "s", [("a",), ("z",), (None,), (None,)]),
    ("WITH c AS (SELECT 5 AS v UNION SELECT x FROM t) SELECT max(v) AS v FROM c", "v", [(5,)]),
    ("SELECT x FROM t WHERE (x, s) IN (SELECT x, s FROM u) OR x = 2", "x", [(1,), (2,)]),
    ("SELECT /*+ REPARTITION(3) */ max(x) AS v FROM t LIMIT ALL", "v", [(4,)]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "names", "expected"), ANSWERS, ids=[sql for sql, *_ in ANSWERS])
def test_the_answer_is_sparks(engine: DuckDBEngine, sql: str, names: str, expected: Rows) -> None:
    got = ask(engine, sql)
    assert got.schema.names == names.split()
    assert sorted((tuple(row.values()) for row in got.to_pylist()), key=repr) == sorted(expected, key=repr)


ORDERED: list[tuple[str, Rows]] = [
    ("SELECT -x AS x FROM t ORDER BY x + 1", [(None,), (-4,), (-2,), (-1,)]),
    ("SELECT -x AS x FROM t ORDER BY t.x + 1", [(None,), (-1,), (-2,), (-4,)]),
    ("SELECT -x AS x FROM t ORDER BY x DESC LIMIT 1", [(-1,)]),
    ("SELECT g, -sum(x) AS x FROM t GROUP BY g ORDER BY x + 0", [("b", None), (None, -4), ("a", -3)]),
]


@pytest.mark.parametrize(("sql", "expected"), ORDERED, ids=[sql for sql, _ in ORDERED])
def test_the_order_is_sparks(engine: DuckDBEngine, sql: str, expected: Rows) -> None:
    assert [tuple(row.values()) for row in ask(engine, sql).to_pylist()] == expected


SHARED = "'SELECT * over NATURAL JOIN, or over JOIN … USING in brackets'"
REFUSED = {
    "SELECT x | 2 & x FROM t": "'& beside ^ or | without brackets'",
    "SELECT s || x + 1 FROM t": "'|| beside +, - or | without brackets'",
    "SELECT g, count(*) FROM t GROUP BY 1 WITH ROLLUP": "'GROUP BY … WITH'",
    "SELECT x,\n e FROM t LATERAL VIEW posexplode(l) v AS e": "'LATERAL, or LEFT JOIN LATERAL … ON true'",
    "SELECT x, explode(m) AS e FROM t": "explode(…)",
    "SELECT x, e FROM t LEFT JOIN LATERAL explode(l) AS q(e)": "'LATERAL, or LEFT JOIN LATERAL … ON true'",
    "SELECT last(x, true) FILTER (WHERE x > 1) FROM t": "'LAST'",
    f"SELECT * FROM {A} NATURAL JOIN {B}": SHARED,
    f"SELECT * FROM ({A} JOIN {B} USING (x)) JOIN (SELECT 1 AS j) ON true": SHARED,
    "SELECT x FROM t WHERE (x, s) NOT IN (SELECT x, s FROM u)": "'IN (SELECT …) under NOT'",
    "SELECT (x, s) NOT IN (SELECT x, s FROM u) FROM t": "'IN (SELECT …) under NOT'",
    "SELECT NOT (x IN (SELECT x FROM u) AND g = 'a') FROM t": "'IN (SELECT …) under NOT'",
    "SELECT collect_list(x) OVER (PARTITION BY g) FROM t": "'collect_list(…) OVER'",
    "SELECT mode(s) FILTER (WHERE x > 1) FROM t": "'mode(…) FILTER'",
    "SELECT TRANSFORM (x) USING 'cat' AS (y) FROM t": "'TRANSFORM … USING'",
    "SELECT x FROM t DISTRIBUTE BY x": "'DISTRIBUTE BY x'",
}


@pytest.mark.parametrize(("sql", "what"), REFUSED.items(), ids=list(REFUSED))
def test_what_has_no_equal_is_refused_by_name(engine: DuckDBEngine, sql: str, what: str) -> None:
    with pytest.raises(UntranslatableFunction) as caught:
        ask(engine, sql)
    place, _, words = caught.value.message.partition(": ")
    assert place in ("flow.sql:5", "flow.sql:6")
    assert words == f"{what} has no equal in DuckDB"


@pytest.mark.parametrize(
    ("sql", "line", "kinds"),
    [
        ("SELECT x FROM t UNION ALL\nSELECT s FROM t", 5, "BIGINT in one query and VARCHAR"),
        ("SELECT NULL UNION ALL SELECT 'a' UNION ALL SELECT 1", 5, "VARCHAR in one query and INTEGER"),
        ("SELECT x, true AS v FROM t EXCEPT SELECT 1, 1", 5, "BOOLEAN in one query and INTEGER"),
        (
            "WITH c AS (SELECT s FROM t) SELECT s FROM c INTERSECT SELECT current_date()",
            5,
            "VARCHAR in one query and DATE",
        ),
    ],
)
def test_texts_and_numbers_are_not_put_together(engine: DuckDBEngine, sql: str, line: int, kinds: str) -> None:
    with pytest.raises(PipelineTypeError, match=f"{kinds} in another") as caught:
        ask(engine, sql)
    assert caught.value.message.startswith(f"flow.sql:{line}: column ") or caught.value.message.startswith(
        "flow.sql:5:1"
    )
    assert caught.value.hint == "cast one of them"


def test_arrays_of_numbers_are_not_joined(engine: DuckDBEngine) -> None:
    with pytest.raises(EngineError, match="no equal text of"):
        ask(engine, "SELECT concat_ws(',', l) AS v FROM t")
