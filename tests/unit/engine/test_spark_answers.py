"""Answers that Spark 4.1 itself gave, where DuckDB's functions of the same name answer otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp, parse_one

from datalab.engine.base import Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import DataLabError, EngineError, PipelineTypeError, UntranslatableFunction
from datalab.lake.table import Relation

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
STRUCT = pa.struct([("weight", pa.float32())])
ROWS = pa.table(
    {
        "id": pa.array([0, 1, 2, 3], pa.int32()),
        "score": pa.array([2, None, 7, 7], pa.int32()),
        "name": ["b", "a", None, "c"],
        "weight": pa.array([0.1, 1.5, None, 3.0], pa.float32()),
        "price": pa.array([0.1, 1.0, 2.0, 3.0], pa.float64()),
        "box": pa.array([{"weight": 0.1}] * 4, STRUCT),
        "born": pa.array([date(2020, 2, 29)] * 4),
        "died": pa.array([date(2020, 3, 1)] * 4),
    }
)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(memory_limit="500MB", threads=2)
    yield made
    made.close()


def ask(engine: DuckDBEngine, sql: str) -> list[tuple[Any, ...]]:
    tree = parse_one(sql, dialect="spark")
    assert isinstance(tree, exp.Query)
    query = Query(tree, {"t": Relation(ROWS.schema, memory=ROWS)}, NOW, "flow.sql:5:1")
    return [tuple(row.values()) for row in engine.read(query).read_all().to_pylist()]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


ANSWERS: list[tuple[str, Any]] = [
    ("signum(CAST('NaN' AS DOUBLE))", math.nan),
    ("round(9223372036854775000, -2)", 9223372036854775000),
    ("round(-1250, -2)", -1300),
    ("round(149, -2)", 100),
    ("array_sort(array(3, NULL, 1))", [1, 3, None]),
    ("sort_array(array(3, NULL, 1))", [None, 1, 3]),
    ("months_between(timestamp '1969-12-31 23:59:59.5', date '1970-01-01')", -3.7e-7),
    ("unix_timestamp(timestamp '1969-12-31 23:59:58.5')", -1),
    ("unix_seconds(timestamp '1969-12-31 23:59:58.5')", -2),
    ("to_utc_timestamp(timestamp '2018-02-17 23:30:00', 'America/Sao_Paulo')", at(2018, 2, 18, 1, 30)),
    ("to_utc_timestamp(timestamp '2018-11-04 00:30:00', 'America/Sao_Paulo')", at(2018, 11, 4, 3, 30)),
    ("to_utc_timestamp(timestamp '2020-11-01 01:30:00', 'America/New_York')", at(2020, 11, 1, 5, 30)),
    ("to_utc_timestamp(timestamp '2020-04-05 01:45:00', 'Australia/Lord_Howe')", at(2020, 4, 4, 14, 45)),
    ("upper('straße') || upper('ﬁm') || lower('ΑΣ ΒΣ') || lower('İ')", "STRASSEFIMας βςi̇"),  # noqa: RUF001
    ("upper('ação')", "AÇÃO"),
    # texts that try_cast reads
    ("try_cast('2020' AS TIMESTAMP)", at(2020, 1, 1)),
    ("try_cast('2020-1' AS TIMESTAMP)", at(2020, 1, 1)),
    ("try_cast('2020-01-01 10' AS TIMESTAMP)", at(2020, 1, 1, 10)),
    ("try_cast(' 2020-01-01 9:5:3. ' AS TIMESTAMP)", at(2020, 1, 1, 9, 5, 3)),
    ("try_cast('2020-01-01 10:00:00.123456789' AS TIMESTAMP)", at(2020, 1, 1, 10, 0, 0, 123456)),
    ("try_cast('2020-01-01 10:00:00 America/Sao_Paulo' AS TIMESTAMP)", at(2020, 1, 1, 13)),
    ("try_cast('2020-01-01 10:00:00 UTC+03:00' AS TIMESTAMP)", at(2020, 1, 1, 7)),
    ("try_cast('2020-01-01 10:00:00 +3' AS TIMESTAMP)", at(2020, 1, 1, 7)),
    ("try_cast('2020-01-01 10:00:00+03:00:15' AS TIMESTAMP)", at(2020, 1, 1, 6, 59, 45)),
    ("try_cast('2020-01-01 10:00:00+19:00' AS TIMESTAMP)", None),
    ("try_cast('2020-01-01 24:00:00' AS TIMESTAMP)", None),
    ("try_cast('2020-01-01T' AS TIMESTAMP)", None),
    ("try_cast('1.5d' AS DOUBLE) + try_cast('.5F' AS DOUBLE)", 2.0),
    ("try_cast('\\ttrue\\n' AS BOOLEAN)", True),
    # patterns
    ("'a\\n' RLIKE 'a$'", True),
    ("'a\\n' RLIKE '[$]|\\\\$'", False),
    ("'\\r' RLIKE '^.$'", False),
    ("'a\\nb' RLIKE '(?s)a.b'", True),
    ("'\\u000b' RLIKE '[\\\\s]'", True),
    ("'É' RLIKE '(?iu)é'", True),
    ("regexp_extract('nome: ana\\r\\n', '(\\\\w+)$', 1)", "ana"),
    ("regexp_extract('nome: ana\\n', '\\\\w+$', 0)", "ana"),
    ("regexp_replace('12,\\n', '([0-9]),$', '$1;')", "12;\n"),
    ("regexp_replace('  x ', '^\\\\s+|\\\\s+$', '')", "x"),
    ("regexp_replace('abc', '(?<first>a)', '<$1>')", "<a>bc"),
    ("split('a.b', '.')", ["", "", "", ""]),
    # JSON
    ("get_json_object('no json', '$.a')", None),
    ("get_json_object('', '$.a')", None),
    # FLOAT is 0.1 in 32 bits
    ("(SELECT weight = 0.1 FROM t WHERE id = 0)", False),
    ("(SELECT weight IN (0.1) OR weight BETWEEN 0 AND 0.1 FROM t WHERE id = 0)", False),
    ("(SELECT weight > price FROM t WHERE id = 0)", True),
    ("(SELECT t.box.weight = 0.1 FROM t WHERE id = 0)", False),
    ("(SELECT min(weight) > 0.1 FROM t)", True),
    ("(SELECT -(weight) < -0.1 FROM t WHERE id = 0)", True),
    ("(SELECT weight * 1.1 FROM t WHERE id = 1)", 1.5 * 1.1),
    ("(SELECT weight = CAST(0.1 AS FLOAT) FROM t WHERE id = 0)", True),
    ("(SELECT x.w = 0.1 FROM (SELECT price AS w, 1 AS weight FROM t WHERE id = 0) x)", True),
    # NULL inside structs
    ("(SELECT max(struct(score, name)) FROM t)", {"score": 7, "name": "c"}),
    ("(SELECT min(struct(score, name AS n)) FROM t)", {"score": None, "n": "a"}),
    ("(SELECT min(struct(score, id)).id FROM t)", 1),
    ("(SELECT max(named_struct('s', score, 'i', id)) FILTER (WHERE id < 2).i FROM t)", 0),
    ("(SELECT max(struct(score, id)) FROM t WHERE false)", None),
    ("(SELECT max_by(id, struct(score, name)) FROM t)", 3),
    ("(SELECT min_by(id, struct(score, name)) FROM t)", 1),
    ("(SELECT id FROM t ORDER BY struct(score, name) LIMIT 1)", 1),
]


@pytest.mark.parametrize(("expression", "expected"), ANSWERS, ids=[expression for expression, _ in ANSWERS])
def test_the_answer_is_sparks(engine: DuckDBEngine, expression: str, expected: Any) -> None:
    ((got,),) = ask(engine, f"SELECT {expression} AS v")
    assert got == (pytest.approx(expected, rel=1e-15, nan_ok=True) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("odd", ["NaN", "Infinity"])
@pytest.mark.parametrize(
    ("function", "alone", "plain"),
    [
        ("var_pop", math.nan, 2 / 3), ("stddev_pop", math.nan, math.sqrt(2 / 3)), ("variance", None, 1.0),
        ("var_samp", None, 1.0), ("stddev", None, 1.0), ("stddev_samp", None, 1.0), ("std", None, 1.0),
    ],
)  # fmt: skip
def test_spreads_of_what_is_no_number(
    engine: DuckDBEngine, function: str, alone: float | None, plain: float, odd: str
) -> None:
    call = f"{function}(CASE WHEN id = 0 THEN CAST('{odd}' AS DOUBLE) ELSE id END)"
    grouped = ask(engine, f"SELECT {call} FILTER (WHERE id < 1), {call}, {call} FILTER (WHERE id > 9) AS v FROM t")
    assert repr(grouped) == repr([(alone, math.nan, None)])
    running = ask(engine, f"SELECT {call} OVER (ORDER BY id) AS v, {function}(id) OVER (ORDER BY id) AS w FROM t")
    assert repr([row[0] for row in running]) == repr([alone, math.nan, math.nan, math.nan])
    assert running[2][1] == pytest.approx(plain, rel=1e-15)


def test_rows_in_the_order_of_a_struct(engine: DuckDBEngine) -> None:
    asked = "SELECT id FROM t ORDER BY struct(score, name) DESC"
    assert ask(engine, asked) == [(3,), (2,), (0,), (1,)]
    ranked = "SELECT id, row_number() OVER (ORDER BY struct(score, name)) AS n FROM t ORDER BY id"
    assert ask(engine, ranked) == [(0, 2), (1, 1), (2, 3), (3, 4)]
    windowed = "SELECT id, max(struct(score, name)) OVER (PARTITION BY id % 2).name AS n FROM t ORDER BY id"
    assert ask(engine, windowed) == [(0, None), (1, "c"), (2, None), (3, "c")]


REFUSED = [
    "date '2020-01-02' - date '2020-01-01'",
    "'abc' RLIKE '[a-z&&[^b]]'",
    "'abc' RLIKE '[[:alpha:]]'",
    "'ação' RLIKE '(?i)AÇÃO'",
    "'a' RLIKE '(?m)a$'",
    "'a' RLIKE '\\\\v'",
    "regexp_replace('aaa', 'a*', 'X')",
    "regexp_replace('a', '(?<q>a)', '${q}')",
    "regexp_extract('a', '(a)', 2)",
    "split('yz', 'x*')",
]


@pytest.mark.parametrize("expression", REFUSED)
def test_what_means_something_else_is_refused(engine: DuckDBEngine, expression: str) -> None:
    with pytest.raises(UntranslatableFunction, match="has no equal in DuckDB"):
        ask(engine, f"SELECT {expression} AS v")


@pytest.mark.parametrize(
    ("expression", "words", "hint"),
    [
        ("id / 0", "division by zero", "try_divide"),
        ("array(id)[9]", "index outside the array", "get"),
        ("CAST(name AS INT)", "not an integer", "try_cast"),
        ("CAST(name AS DOUBLE)", "not a number", "try_cast"),
        ("CAST(name AS DECIMAL(10, 2))", "not a decimal", "try_cast"),
        ("CAST(name AS DATE)", "not a date", "try_cast"),
        ("CAST(name AS TIMESTAMP)", "not a timestamp", "try_cast"),
        ("CAST(name AS BOOLEAN)", "not a boolean", "try_cast"),
        ("CAST(box AS STRING)", "no equal text of STRUCT(weight FLOAT)", ""),
        ("CAST(born AS INT)", "no equal of CAST(DATE AS BIGINT)", ""),
        ("to_date(name, 'yyyy')", "not as the pattern says", "pattern"),
        ("round(2147483647 - id, -1)", "out of range", "wider"),
        ("get_json_object(concat('{', name), '$.a')", "not JSON", "correct"),
    ],
)
def test_an_error_says_what_is_wrong_and_not_with_which_value(
    engine: DuckDBEngine, expression: str, words: str, hint: str
) -> None:
    with pytest.raises(EngineError) as caught:
        ask(engine, f"SELECT {expression} AS v FROM t")
    assert caught.value.message == f"flow.sql:5:1: {words}"
    assert hint in caught.value.hint


def test_dates_are_not_subtracted_in_silence(engine: DuckDBEngine) -> None:
    """The types are known when the query is bound: `check` tells it, before any row is read."""
    for difference in (
        "died - born", "max(died) - min(born)", "t.died - date '2020-01-01'", "any_value(died) - current_date()",
        "coalesce(died, born) - born", "died - lag(died) OVER (ORDER BY id)", "date_add(died, 1) - born",
    ):  # fmt: skip
        with pytest.raises(PipelineTypeError, match="a date minus a date is an INTERVAL in Spark") as caught:
            ask(engine, f"SELECT {difference} AS v FROM t")
        assert "datediff" in caught.value.hint
    numbers = "max(score) - min(id) AS a, max(id) - any_value(id) - 1 AS b"
    assert ask(engine, f"SELECT {numbers} FROM t WHERE id = 1") == ask(
        engine, "SELECT max(score) - 1, -1 FROM t WHERE id = 1"
    )
    assert ask(engine, "SELECT max(score) - min(id) AS v FROM t") == [(7,)]
    assert ask(engine, "SELECT id - lag(id) OVER (ORDER BY id) AS v FROM t ORDER BY id LIMIT 1") == [(None,)]


@pytest.mark.parametrize(
    "asked",
    [
        "SELECT g FROM n GROUP BY g HAVING max(x) - min(x) = 2",
        "SELECT g FROM n GROUP BY g ORDER BY min(x) - max(x) LIMIT 1",
        "SELECT g FROM n GROUP BY g QUALIFY row_number() OVER (ORDER BY min(x) - max(x)) = 1",
        "SELECT g FROM (SELECT g, max(x) - min(x) AS d FROM n GROUP BY g) AS a WHERE a.d - g = 1",
        "SELECT max(g) FROM n GROUP BY x - g HAVING x - g = 2",
        "SELECT DISTINCT g FROM n AS a WHERE EXISTS (SELECT 1 FROM n AS b WHERE b.x - a.x = 2)",
        "SELECT g FROM n AS a WHERE x - g IN (SELECT b.x - b.g FROM n AS b WHERE b.x - a.x = 0 AND b.x - b.g = 2)",
        "SELECT g + 0 AS q FROM n WHERE transform(array(x), e -> e - g)[0] = 2",
        "SELECT a.g - 0 FROM n AS a JOIN n AS b ON a.x - b.x = 2 AND a.g - b.g = 0",
        "SELECT g FROM n QUALIFY x - lag(x) OVER (PARTITION BY g ORDER BY x) - g = 1",
    ],
)
def test_numbers_are_subtracted_anywhere_in_a_query(engine: DuckDBEngine, asked: str) -> None:
    values = "WITH n AS (SELECT * FROM VALUES (1, 1), (1, 3), (2, 2) AS v(g, x)) "
    assert ask(engine, values + asked) == [(1,)]


def test_dates_in_having_are_not_subtracted_in_silence(engine: DuckDBEngine) -> None:
    with pytest.raises(EngineError, match="write datediff"):
        ask(engine, "SELECT name FROM t GROUP BY name HAVING max(died) - min(born) > 1")


@pytest.mark.parametrize("expression", ["born > 'Maria da Silva'", "CAST(concat('Maria ', name) AS DATE) > born"])
def test_values_are_not_quoted(engine: DuckDBEngine, expression: str) -> None:
    with pytest.raises(DataLabError) as caught:
        ask(engine, f"SELECT {expression} AS v FROM t")
    assert "Maria" not in caught.value.message


@pytest.mark.parametrize("asked", ["SELECT id, score AS ID FROM t", "SELECT * FROM t a JOIN t b ON a.id = b.id"])
def test_two_columns_of_one_name_are_a_mistake(engine: DuckDBEngine, asked: str) -> None:
    with pytest.raises(PipelineTypeError, match="two columns of the result are called id"):
        ask(engine, asked)


@pytest.mark.parametrize(
    ("asked", "told", "hint"),
    [
        ("SELECT id, count(*) AS n FROM t GROUP BY name", "id is neither grouped nor aggregated", "add it to GROUP BY"),
        ("SELECT a.b.c FROM t a", "no column b", ""),
        ("SELECT name + INTERVAL 1 DAY AS n FROM t", r"types do not fit: shift\(…\)", "cast"),
    ],
)
def test_mistakes_are_told_in_words(engine: DuckDBEngine, asked: str, told: str, hint: str) -> None:
    with pytest.raises(PipelineTypeError, match=told) as caught:
        ask(engine, asked)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("asked", "length"),
    [
        ("CAST('ação' AS BINARY)", 6), ("'ação'", 4), ("max('ação')", 4), ("max(CAST('ação' AS BINARY))", 6),
        ("CAST(NULL AS STRING)", None), ("NULL", None), ("12345", 5), ("true", 4),
    ],
)  # fmt: skip
def test_bytes_texts_and_what_spark_writes_as_text_have_a_length(
    engine: DuckDBEngine, asked: str, length: int | None
) -> None:
    assert ask(engine, f"SELECT length({asked}) AS n FROM t LIMIT 1") == [(length,)]


def test_arrays_have_a_size_and_no_length(engine: DuckDBEngine) -> None:
    with pytest.raises(DataLabError, match="no equal text of VARCHAR"):
        ask(engine, "SELECT length(array(name)) AS n FROM t")


@pytest.mark.parametrize("argument", ["name", "'abc'", "upper(name)", "max(name)"])
@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("size({})", "size(…)"),
        ("{}[0]", "an element"),
        ("element_at({}, 1)", "an element"),
        ("get({}, 0)", "an element"),
    ],
)
def test_a_text_is_no_array(engine: DuckDBEngine, call: str, what: str, argument: str) -> None:
    with pytest.raises(PipelineTypeError) as caught:
        ask(engine, f"SELECT size(array(1)) AS a,\n {call.format(argument)} AS n FROM t")
    assert caught.value.message == f"flow.sql:6: {what} of VARCHAR"
    assert caught.value.hint == "only arrays and maps have that"


@pytest.mark.parametrize("kind", ["DOUBLE", "FLOAT"])
def test_zeros_of_either_sign_have_one_text(engine: DuckDBEngine, kind: str) -> None:
    """Equal values may change places in files: a group by their text would come twice."""
    both = f"SELECT CAST('-0.0' AS {kind}) AS v UNION ALL SELECT CAST(0 AS {kind})"
    zeros = f"SELECT CAST(v AS STRING) AS k FROM ({both})"
    assert ask(engine, f"SELECT k, count(*) AS n FROM ({zeros}) GROUP BY k") == [("0.0", 2)]
