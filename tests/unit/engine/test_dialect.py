"""Spark's answers, from its documentation and its source, given by DuckDB: every function of the allow-list is here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp, parse_one

from datalab.engine.base import Query
from datalab.engine.dialect.functions import CALLS, NAMED, SAME
from datalab.engine.dialect.translation import REWRITES, translate
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import EngineError, UntranslatableFunction
from datalab.lake.table import Relation

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
ROWS = pa.table(
    {
        "g": ["a", "a", "a", "b", "b", None],
        "x": pa.array([3, 1, 2, 5, None, 7], pa.int64()),
        "y": pa.array([1.0, 4.0, 2.0, float("nan"), 0.5, None], pa.float64()),
        "s": ["q", None, "q", "p", "r", "t"],
        "flag": [True, False, None, True, True, False],
    }
)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(memory_limit="500MB", threads=2)
    yield made
    made.close()


def ask(engine: DuckDBEngine, sql: str) -> list[tuple[Any, ...]]:
    query = Query(parse_one(sql, dialect="spark"), {"t": Relation(ROWS.schema, memory=ROWS)}, NOW, "flow.sql:5:1")
    answer = engine.read(query).read_all()
    return [tuple(row.values()) for row in answer.to_pylist()]


def value(engine: DuckDBEngine, expression: str) -> Any:
    return ask(engine, f"SELECT {expression} AS v")[0][0]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


SCALARS: list[tuple[str, Any]] = [
    # arithmetic
    ("7 / 2", 3.5),
    ("9223372036854775807", 9223372036854775807),
    ("9223372036854775808", Decimal(9223372036854775808)),
    ("-9223372036854775808", -9223372036854775808),
    ("-9223372036854775809", Decimal(-9223372036854775809)),
    ("0009", 9),
    ("9" * 38, Decimal("9" * 38)),
    ("9223372036854775808 > 9223372036854775807", True),
    ("CAST(9223372036854775808 AS STRING)", "9223372036854775808"),
    ("1 / CAST(NULL AS INT)", None),
    ("NULL / 0", None),
    ("1 / nullif(0, 0)", None),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("mod(-7, 3)", -1),
    ("pmod(-7, 3)", 2),
    ("-7 div 2", -3),
    ("7.9D div 2", 3),
    ("try_divide(1, 0)", None),
    ("try_divide(3, 2)", 1.5),
    ("round(2.5D)", 3.0),
    ("round(-2.5D)", -3.0),
    ("round(1.005D, 2)", 1.01),
    ("round(-1.005D, 2)", -1.01),
    ("round(2.675D, 2)", 2.68),
    ("round(1234.5D, -2)", 1200.0),
    ("round(1e300D, 2)", 1e300),
    ("round(1.25, 1)", Decimal("1.3")),
    ("floor(-1.5D)", -2),
    ("ceil(-1.5D)", -1),
    ("ceiling(1.2)", 2),
    ("abs(-3)", 3),
    ("sign(-2.5D)", -1.0),
    ("sqrt(-1D)", math.nan),
    ("sqrt(16D)", 4.0),
    ("ln(0D)", None),
    ("ln(1D)", 0.0),
    ("log(2, 8)", 3.0),
    ("log10(1000)", 3.0),
    ("log2(8)", 3.0),
    ("exp(0D)", 1.0),
    ("power(2, 10)", 1024.0),
    ("pow(2D, 0.5D)", 2**0.5),
    ("signum(-3)", -1.0),
    ("cbrt(27D)", 3.0),
    ("degrees(pi())", 180.0),
    ("radians(180D)", math.pi),
    ("sin(0D) + cos(0D) + tan(0D) + atan(0D)", 1.0),
    ("positive(3)", 3),
    ("1 <> 2 AND 1 <= 1 AND NOT 1 >= 2", True),
    ("5 & 6", 4),
    ("5 | 6", 7),
    ("5 ^ 6", 3),
    ("~5", -6),
    ("isnan(CAST(NULL AS DOUBLE))", False),
    ("isnan(CAST('NaN' AS DOUBLE))", True),
    ("nanvl(CAST('NaN' AS DOUBLE), 1D)", 1.0),
    ("CAST('NaN' AS DOUBLE) = CAST('NaN' AS DOUBLE)", True),
    ("CAST('NaN' AS DOUBLE) > CAST('Infinity' AS DOUBLE)", True),
    # NULL
    ("coalesce(NULL, 2, 3)", 2),
    ("nvl(NULL, 2)", 2),
    ("ifnull(NULL, 2)", 2),
    ("nvl2(NULL, 1, 2)", 2),
    ("nullif(1, 1)", None),
    ("if(NULL, 1, 2)", 2),
    ("greatest(1, NULL, 3)", 3),
    ("least(1, NULL, 3)", 1),
    ("greatest(1D, CAST('NaN' AS DOUBLE))", math.nan),
    ("isnull(NULL)", True),
    ("isnotnull(NULL)", False),
    ("NULL <=> NULL", True),
    ("1 IS DISTINCT FROM NULL", True),
    ("equal_null(NULL, NULL)", True),
    ("1 IN (2, NULL)", None),
    ("CASE WHEN NULL THEN 1 ELSE 2 END", 2),
    # casts
    ("CAST(2.9D AS INT)", 2),
    ("CAST(-2.9D AS BIGINT)", -2),
    ("CAST(2.9 AS INT)", 2),
    ("CAST(' 12 ' AS INT)", 12),
    ("CAST(true AS INT)", 1),
    ("CAST(timestamp '1969-12-31 23:59:59.5' AS BIGINT)", -1),
    ("CAST(9223372036854775807 AS BIGINT)", 9223372036854775807),
    ("CAST(sum(9007199254740993) AS BIGINT)", 9007199254740993),
    ("try_cast('1.5' AS INT)", None),
    ("try_cast('abc' AS DOUBLE)", None),
    ("try_cast('2020-13-01' AS DATE)", None),
    ("try_cast(300 AS TINYINT)", None),
    ("CAST('1e3' AS DOUBLE)", 1000.0),
    ("CAST('-Infinity' AS DOUBLE)", -math.inf),
    ("CAST(1.5 AS FLOAT)", 1.5),
    ("CAST(1.005D AS DECIMAL(10, 2))", Decimal("1.01")),
    ("CAST(1e22D AS DECIMAL(38, 2))", Decimal("10000000000000000000000.00")),
    ("CAST('1.005' AS DECIMAL(10, 2))", Decimal("1.01")),
    ("CAST(2.5 AS DECIMAL)", Decimal(3)),
    ("CAST(NULL AS DECIMAL)", None),
    ("CAST('Yes' AS BOOLEAN)", True),
    ("CAST(0 AS BOOLEAN)", False),
    ("CAST(10000000D AS STRING)", "1.0E7"),
    ("CAST(123456789.125D AS STRING)", "1.23456789125E8"),
    ("CAST(1e20D AS STRING)", "1.0E20"),
    ("CAST(0.001D AS STRING)", "0.001"),
    ("CAST(0.00012D AS STRING)", "1.2E-4"),
    ("CAST(-1.5e-7D AS STRING)", "-1.5E-7"),
    ("CAST(100D AS STRING)", "100.0"),
    ("CAST(CAST('NaN' AS DOUBLE) AS STRING)", "NaN"),
    ("CAST(CAST('inf' AS DOUBLE) AS STRING)", "Infinity"),
    ("CAST(1.50 AS STRING)", "1.50"),
    ("CAST(true AS STRING)", "true"),
    ("CAST(timestamp '2020-01-02 03:04:05.5' AS STRING)", "2020-01-02 03:04:05.5"),
    ("CAST(timestamp '2020-01-02 03:04:05' AS STRING)", "2020-01-02 03:04:05"),
    ("CAST('2020-3' AS DATE)", date(2020, 3, 1)),
    ("CAST('2020-03-04 10:00:00' AS DATE)", date(2020, 3, 4)),
    ("CAST(timestamp '2020-03-04 23:59:59' AS DATE)", date(2020, 3, 4)),
    ("CAST('2020-03-04T05:06:07.5Z' AS TIMESTAMP)", at(2020, 3, 4, 5, 6, 7, 500000)),
    ("CAST('2020-03-04 05:06:07-03:00' AS TIMESTAMP)", at(2020, 3, 4, 8, 6, 7)),
    ("CAST(date '2020-03-04' AS TIMESTAMP)", at(2020, 3, 4)),
    ("CAST(1.5 AS TIMESTAMP)", at(1970, 1, 1, 0, 0, 1, 500000)),
    ("CAST(60 AS TIMESTAMP)", at(1970, 1, 1, 0, 1)),
    ("CAST('é' AS BINARY)", "é".encode()),
    ("X'1F'", b"\x1f"),
    ("int('3') + bigint('4') + smallint('5') + tinyint('6')", 18),
    ("string(1)", "1"),
    ("1L + 2", 3),
    ("1.5D", 1.5),
    ("1.5BD", Decimal("1.5")),
    # text
    ("concat('a', 1, NULL)", None),
    ("concat('a', 1, 2.0D)", "a12.0"),
    ("'a' || 1e7D", "a1.0E7"),
    ("concat_ws('-', 'a', NULL, 1)", "a-1"),
    ("substring('abcdef', 0, 2)", "ab"),
    ("substring('abc', -5, 3)", "a"),
    ("substring('abc', -2)", "bc"),
    ("substr('abc', 2, 1)", "b"),
    ("substring('abc', 2, -1)", ""),
    ("left('abc', -1)", ""),
    ("right('abc', 2)", "bc"),
    ("length('ação ')", 5),
    ("char_length('é')", 1),
    ("upper('ção') || lower('ÇÃO')", "ÇÃOção"),
    ("trim('  a ') || '|'", "a|"),
    ("ltrim('  a')", "a"),
    ("trim(BOTH 'x' FROM 'xax')", "a"),
    ("lpad('7', 3, '0')", "007"),
    ("rpad('ab', 1)", "a"),
    ("lpad('a', 3)", "  a"),
    ("repeat('ab', 2)", "abab"),
    ("repeat('ab', -1)", ""),
    ("replace('aXbX', 'X', 'y')", "ayby"),
    ("replace('aXb', 'X')", "ab"),
    ("translate('abc', 'ab', 'x')", "xc"),
    ("instr('abc', 'c')", 3),
    ("locate('z', 'abc')", 0),
    ("position('c' IN 'abc')", 3),
    ("rtrim('a  ') || '|'", "a|"),
    ("initcap('joão DA silva')", "João Da Silva"),
    ("startswith('abc', 'ab') AND endswith('abc', 'bc') AND contains('abc', 'b')", True),
    ("split('a1b2', '[0-9]')", ["a", "b", ""]),
    ("regexp_extract('x=12;', '=([0-9]+)', 1)", "12"),
    ("regexp_extract('x', '=([0-9]+)')", ""),
    ("regexp_replace('a-b-c', '(-)(.)', '$2_')", "ab_c_"),
    ("'abc' RLIKE '^a.c$'", True),
    ("regexp_like('abc', 'b')", True),
    (r"'a_' LIKE 'a\\_'", True),
    (r"'ab' LIKE 'a\\_'", False),
    ("'AB' ILIKE 'a%'", True),
    ("'a%' LIKE 'a/%' ESCAPE '/'", True),
    ("md5('a')", "0cc175b9c0f1b6a831c399e269772661"),
    ("sha2('a', 256)", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    ("sha('a')", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
    ("sha1('a')", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
    ("get_json_object('{\"a\": {\"b\": 1}}', '$.a.b')", "1"),
    # dates and moments
    ("datediff(date '2020-03-01', date '2020-02-28')", 2),
    ("datediff('2020-03-01', timestamp '2020-02-28 23:00:00')", 2),
    ("datediff(DAY, timestamp '2020-01-01 12:00:00', timestamp '2020-01-03 11:00:00')", 1),
    ("timestampdiff(HOUR, timestamp '2020-01-01 00:30:00', timestamp '2020-01-01 02:10:00')", 1),
    ("timestampdiff(MONTH, date '2020-01-31', date '2020-02-29')", 0),
    ("date_add(date '2020-02-28', 2)", date(2020, 3, 1)),
    ("date_sub('2020-03-01', 1)", date(2020, 2, 29)),
    ("dateadd(MONTH, 1, date '2020-01-31')", at(2020, 2, 29)),
    ("timestampadd(HOUR, 5, timestamp '2020-01-01 00:00:00')", at(2020, 1, 1, 5)),
    ("add_months(date '2019-02-28', 1)", date(2019, 3, 28)),
    ("add_months(date '2020-01-31', 1)", date(2020, 2, 29)),
    ("date '2020-01-31' + INTERVAL 1 MONTH", date(2020, 2, 29)),
    ("date '2020-01-31' - INTERVAL 1 DAY", date(2020, 1, 30)),
    ("timestamp '2020-01-01 00:00:00' - INTERVAL 1 DAY", at(2019, 12, 31)),
    ("date '2020-01-31' + INTERVAL 2 DAYS", date(2020, 2, 2)),
    ("date '2020-01-31' - INTERVAL '2 months'", date(2019, 11, 30)),
    ("(SELECT date '2020-01-31') + INTERVAL 1 MONTH", date(2020, 2, 29)),
    ("date '2020-01-31' + INTERVAL 2 HOURS", at(2020, 1, 31, 2)),
    ("date '2020-01-31' + INTERVAL 1 DAY 2 HOURS", at(2020, 2, 1, 2)),
    ("date '2020-01-31' + INTERVAL 1 YEAR 1 MONTH", date(2021, 2, 28)),
    ("date '2020-01-31' + INTERVAL '1 year 1 month'", date(2021, 2, 28)),
    ("date '2020-01-31' - INTERVAL 1 WEEK 2 DAYS", date(2020, 1, 22)),
    ("INTERVAL 1 DAY 2 HOURS 3 MINUTES + timestamp '2020-01-31 01:00:00'", at(2020, 2, 1, 3, 3)),
    ("timestamp '2020-01-31 01:00:00' - INTERVAL 1 DAY 2 HOURS", at(2020, 1, 29, 23)),
    ("timestamp '2020-01-31 01:00:00' + INTERVAL -1 DAY 3 HOURS", at(2020, 1, 30, 4)),
    ("-9223372036854775808L", -(2**63)),
    ("-128Y", -128),
    ("try_cast(300 AS TINYINT)", None),
    ("date '2020-01-31' + 1", date(2020, 2, 1)),
    ("months_between(timestamp '1997-02-28 10:30:00', date '1996-10-30')", 3.94959677),
    ("months_between(date '2020-03-31', date '2020-02-29')", 1.0),
    ("months_between(date '2020-01-15', date '2020-03-15')", -2.0),
    ("date_trunc('MM', timestamp '2020-05-06 07:08:09')", at(2020, 5, 1)),
    ("date_trunc('week', date '2020-05-06')", at(2020, 5, 4)),
    ("date_trunc('HOUR', timestamp '2020-05-06 07:08:09')", at(2020, 5, 6, 7)),
    ("trunc(date '2020-05-06', 'YEAR')", date(2020, 1, 1)),
    ("trunc('2020-05-06', 'quarter')", date(2020, 4, 1)),
    ("last_day(date '2020-02-10')", date(2020, 2, 29)),
    ("year('2020-05-06') * 10000 + month(date '2020-05-06') * 100 + day(timestamp '2020-05-06 23:00:00')", 20200506),
    ("dayofmonth(date '2020-05-06')", 6),
    ("quarter(date '2020-05-06')", 2),
    ("weekofyear(date '2021-01-03')", 53),
    ("dayofyear(date '2020-12-31')", 366),
    ("dayofweek(date '2024-01-07')", 1),
    ("weekday(date '2024-01-07')", 6),
    ("hour(timestamp '2020-01-01 23:59:58') * 10000 + minute(timestamp '2020-01-01 23:59:58') * 100", 235900),
    ("second(timestamp '2020-01-01 23:59:58.9')", 58),
    ("extract(DOW FROM date '2024-01-07')", 1),
    ("extract(YEAR FROM timestamp '2024-01-07 10:00:00')", 2024),
    ("date_part('hour', timestamp '2024-01-07 10:00:00')", 10),
    ("make_date(2020, 2, 29)", date(2020, 2, 29)),
    ("to_date('2020-02-29')", date(2020, 2, 29)),
    ("to_date('29/02/2020', 'dd/MM/yyyy')", date(2020, 2, 29)),
    ("to_timestamp('2020-02-29 01:02:03')", at(2020, 2, 29, 1, 2, 3)),
    ("to_timestamp('29/2/2020T1:02', \"d/M/yyyy'T'H:mm\")", at(2020, 2, 29, 1, 2)),
    ("date_format(timestamp '2020-02-09 01:02:03', 'yyyy-MM-dd HH:mm:ss')", "2020-02-09 01:02:03"),
    ("date_format(date '2020-02-09', 'd.M.y')", "9.2.2020"),
    ("unix_timestamp(timestamp '1970-01-01 00:01:00')", 60),
    ("unix_timestamp('1970-01-02', 'yyyy-MM-dd')", 86400),
    ("unix_timestamp()", int(NOW.timestamp())),
    ("from_unixtime(60)", "1970-01-01 00:01:00"),
    ("timestamp_millis(1500)", at(1970, 1, 1, 0, 0, 1, 500000)),
    ("timestamp_seconds(1.5)", at(1970, 1, 1, 0, 0, 1, 500000)),
    ("timestamp_micros(-1)", at(1969, 12, 31, 23, 59, 59, 999999)),
    ("unix_millis(timestamp '1969-12-31 23:59:59.9995')", -1),
    ("unix_seconds(timestamp '1969-12-31 23:59:59.9995')", -1),
    ("unix_micros(timestamp '1970-01-01 00:00:01')", 1000000),
    ("unix_date(date '1970-01-03')", 2),
    ("from_utc_timestamp(timestamp '2020-07-01 03:00:00', 'America/Sao_Paulo')", at(2020, 7, 1)),
    ("to_utc_timestamp(timestamp '2020-07-01 00:00:00', 'America/Sao_Paulo')", at(2020, 7, 1, 3)),
    ("current_timestamp()", NOW),
    ("now()", NOW),
    ("current_date()", NOW.date()),
    ("date(current_timestamp)", NOW.date()),
    ("date '2020-01-01' < timestamp '2020-01-01 00:00:01'", True),
    # collections
    ("array(1, 2)[0]", 1),
    ("element_at(array(1, 2), -1)", 2),
    ("get(array(1, 2), 5)", None),
    ("get(array(1, 2), 1)", 2),
    ("size(array(1, NULL))", 2),
    ("size(CAST(NULL AS ARRAY<INT>))", None),
    ("array_contains(array(1, NULL), 2)", None),
    ("array_contains(array(1, NULL), 1)", True),
    ("array_contains(array(1), 2)", False),
    ("array_join(array('a', NULL, 'b'), ',')", "a,b"),
    ("array_max(array(1, NULL, 3)) + array_min(array(1, NULL, 3))", 4),
    ("sort_array(array(2, NULL, 1))", [None, 1, 2]),
    ("sort_array(array(2, NULL, 1), false)", [2, 1, None]),
    ("transform(array(1, 2), e -> e + 1)", [2, 3]),
    ("filter(array(1, 2, 3), e -> e > 1)", [2, 3]),
    ("map('a', 1)['a']", 1),
    ("map('a', 1)['b']", None),
    ("map_keys(map('a', 1))", ["a"]),
    ("map_values(map('a', 1))", [1]),
    ("map_entries(map('a', 1))", [{"key": "a", "value": 1}]),
    ("map_from_arrays(array('a'), array(1))['a']", 1),
    ("named_struct('a', 1, 'b', 'x').b", "x"),
    ("struct(1 AS q).q", 1),
    ("EXISTS (SELECT 1 WHERE false)", False),
    ("(1, 'a') IN ((1, 'a'))", True),
]


@pytest.mark.parametrize(("expression", "expected"), SCALARS, ids=[expression for expression, _ in SCALARS])
def test_scalar(engine: DuckDBEngine, expression: str, expected: Any) -> None:
    got = value(engine, expression)
    if isinstance(expected, float) and not math.isnan(expected):
        assert got == pytest.approx(expected, rel=1e-15)
    elif isinstance(expected, float):
        assert math.isnan(got)
    else:
        assert got == expected
    assert isinstance(got, bool) == isinstance(expected, bool)


AGGREGATES: list[tuple[str, Any]] = [
    ("sum(x)", 18),
    ("sum(DISTINCT x % 2)", 1),
    ("avg(x)", 3.6),
    ("mean(x)", 3.6),
    ("count(*)", 6),
    ("count(x)", 5),
    ("count(DISTINCT g, s)", 3),
    ("count_if(flag)", 3),
    ("min(y)", 0.5),
    ("max(y)", math.nan),
    ("stddev(x)", 2.4083189157584592),
    ("std(x)", 2.4083189157584592),
    ("stddev_samp(x)", 2.4083189157584592),
    ("stddev_pop(x)", 2.154065922853802),
    ("variance(x)", 5.8),
    ("var_samp(x)", 5.8),
    ("var_pop(x)", 4.64),
    ("covar_samp(x, x)", 5.8),
    ("covar_pop(x, x)", 4.64),
    ("stddev(x) FILTER (WHERE x = 3)", None),
    ("median(x)", 3.0),
    ("percentile(x, 0.25)", 2.0),
    ("percentile(x, 0.1)", 1.4),
    ("percentile_approx(x, 0.5)", 3),
    ("approx_percentile(x, 0.5, 100)", 3),
    ("percentile_cont(0.1) WITHIN GROUP (ORDER BY x)", 1.4),
    ("percentile_cont(0.1) WITHIN GROUP (ORDER BY x DESC)", 6.2),
    ("approx_count_distinct(x)", 5),
    ("mode(s)", "q"),
    ("mode(s, true)", "q"),
    ("mode(x)", 1),
    ("bool_and(flag)", False),
    ("every(flag)", False),
    ("bool_or(flag)", True),
    ("some(flag)", True),
    ("collect_list(x)", [1, 2, 3, 5, 7]),
    ("array_agg(x)", [1, 2, 3, 5, 7]),
    ("collect_set(s)", ["p", "q", "r", "t"]),
    ("listagg(s, '+')", "p+q+q+r+t"),
    ("string_agg(s, '+')", "p+q+q+r+t"),
    ("max_by(s, x)", "t"),
    ("min_by(s, x)", None),
    ("sum(x) FILTER (WHERE flag)", 8),
    ("first(x, true) FILTER (WHERE x = 5)", 5),
    ("any_value(x) FILTER (WHERE x = 5)", 5),
    ("first(x) FILTER (WHERE x = 5) + last(x) FILTER (WHERE x = 7)", 12),
    ("datediff(date_add(date '2020-01-01', CAST(max(x) AS INT)), date '2020-01-01')", 7),
    ("CAST(max(x) AS STRING)", "7"),
]


@pytest.mark.parametrize(("expression", "expected"), AGGREGATES, ids=[expression for expression, _ in AGGREGATES])
def test_aggregate(engine: DuckDBEngine, expression: str, expected: Any) -> None:
    (got,) = ask(engine, f"SELECT {expression} AS v FROM t")[0]
    if isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-14, nan_ok=True)
    else:
        assert got == expected


QUERIES: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("SELECT x FROM t ORDER BY x", [(None,), (1,), (2,), (3,), (5,), (7,)]),
    ("SELECT x FROM t ORDER BY x DESC", [(7,), (5,), (3,), (2,), (1,), (None,)]),
    ("SELECT y FROM t WHERE g = 'b' ORDER BY y DESC NULLS FIRST", [(pytest.approx(math.nan, nan_ok=True),), (0.5,)]),
    ("SELECT collect_list(x) AS l FROM t WHERE false", [([],)]),
    (
        "SELECT max(d) + INTERVAL 1 DAY AS d, INTERVAL 2 MONTHS + max(CAST(d AS TIMESTAMP)) AS m, "
        "max_by(d, d) - INTERVAL 1 YEAR AS y FROM VALUES (date '2020-01-31'), (date '2019-01-01') AS v(d)",
        [(date(2020, 2, 1), at(2020, 3, 31), date(2019, 1, 31))],
    ),
    (
        "SELECT lag(d) OVER (ORDER BY d) + INTERVAL 1 DAY AS d FROM VALUES (date '2020-01-31'), (NULL) AS v(d) "
        "QUALIFY d IS NOT NULL",
        [(None,)],
    ),
    ("SELECT mode(CAST(v AS DOUBLE)) AS m FROM VALUES ('1'), ('nan'), ('nan'), ('1') AS q(v)", [(1.0,)]),
    ("SELECT CAST(mode(CAST(v AS FLOAT)) AS STRING) AS m FROM VALUES ('1'), ('nan'), ('nan') AS q(v)", [("NaN",)]),
    ("SELECT mode(CAST(v AS DOUBLE)) AS m FROM VALUES ('1'), ('nan'), ('-0'), ('0'), ('5') AS q(v)", [(0.0,)]),
    ("SELECT count_if(flag) AS n, count_if(flag) FILTER (WHERE x > 9) AS f FROM t WHERE flag IS NULL", [(0, 0)]),
    ("SELECT count_if(x > 1) OVER (PARTITION BY x) AS n, count(*) AS c FROM t WHERE x IS NULL GROUP BY x", [(0, 1)]),
    ("SELECT count_if(DISTINCT x > 1) AS n, count_if(x > 99) AS z FROM t", [(1, 0)]),
    ("SELECT g, count(*) AS n FROM t GROUP BY ALL ORDER BY g", [(None, 1), ("a", 3), ("b", 2)]),
    ("SELECT g, sum(x) AS n FROM t GROUP BY ROLLUP (g) ORDER BY n DESC LIMIT 1", [(None, 18)]),
    (
        "SELECT g, grouping(g) AS n, count(*) AS c FROM t WHERE g = 'a' GROUP BY GROUPING SETS ((g), ()) ORDER BY n",
        [("a", 0, 3), (None, 1, 3)],
    ),
    ("SELECT x FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY x DESC) = 1 ORDER BY x", [(3,), (5,), (7,)]),
    (
        "SELECT x, rank() OVER (ORDER BY g) AS r, dense_rank() OVER (ORDER BY g) AS d, ntile(2) OVER (ORDER BY x) AS n "
        "FROM t WHERE x > 2 ORDER BY x",
        [(3, 2, 2, 1), (5, 3, 3, 1), (7, 1, 1, 2)],
    ),
    (
        "SELECT lag(x) OVER w AS a, lead(x, 1, 0) OVER w AS b, first_value(x) OVER w AS c, last_value(x) OVER w AS d, "
        "nth_value(x, 2) OVER w AS e, sum(x) OVER w AS f FROM t WHERE g = 'a' WINDOW w AS (ORDER BY x) ORDER BY x",
        [(None, 2, 1, 1, None, 1), (1, 3, 1, 2, 2, 3), (2, 0, 1, 3, 2, 6)],
    ),
    (
        "SELECT last_value(s) IGNORE NULLS OVER (ORDER BY x) AS v, percent_rank() OVER (ORDER BY x) AS p, "
        "cume_dist() OVER (ORDER BY x) AS c FROM t WHERE g = 'a' ORDER BY x",
        [(None, 0.0, pytest.approx(1 / 3)), ("q", 0.5, pytest.approx(2 / 3)), ("q", 1.0, 1.0)],
    ),
    ("SELECT explode(array(1, 2)) ORDER BY col", [(1,), (2,)]),
    ("SELECT x, e FROM t LATERAL VIEW explode(array(x, 0)) v AS e WHERE x = 5 ORDER BY e", [(5, 0), (5, 5)]),
    ("SELECT posexplode(array('a')) AS (p, e)", [(0, "a")]),
    ("SELECT col2 FROM VALUES (1, 'a'), (2, 'b') ORDER BY col1 DESC", [("b",), ("a",)]),
    ("SELECT v FROM VALUES (1), (2) AS q(v) ORDER BY v DESC", [(2,), (1,)]),
    ("SELECT x FROM t WHERE g = 'a' MINUS SELECT 1", [(3,), (2,)]),
    ("SELECT a.x FROM t a LEFT SEMI JOIN (SELECT 5 AS x) b ON a.x = b.x", [(5,)]),
    ("SELECT count(*) AS n FROM t a LEFT ANTI JOIN (SELECT 5 AS x) b ON a.x = b.x", [(5,)]),
    ("SELECT x AS y, y + 1 AS z FROM t WHERE x = 2", [(2, 3.0)]),
    ("SELECT x * 2 AS d, d + 1 AS e FROM t WHERE x = 2", [(4, 5)]),
    ("SELECT /*+ BROADCAST(t) */ max(x) AS m FROM t", [(7,)]),
    ("SELECT * EXCEPT (y, s, flag) FROM t WHERE x = 7", [(None, 7)]),
]


def test_several_max_by_are_answered_by_one_row(engine: DuckDBEngine) -> None:
    rows = [(1, 9, "a", None), (1, 9, "b", 1.0), (1, 3, "z", 5.0), (2, None, "q", 2.0), (2, 1, None, 4.0)]
    tied = ", ".join(str(row).replace("None", "NULL") for row in rows)
    assert ask(
        engine,
        "SELECT k, max_by(s, t) AS s, coalesce(max_by(v, t), -1) AS v, max_by(s, t) AS again, min_by(v, t) AS first "
        f"FROM VALUES {tied} AS given(k, t, s, v) GROUP BY k HAVING max_by(v, t) IS NOT NULL ORDER BY k",
    ) == [(1, "b", 1.0, "b", 5.0), (2, None, 4.0, None, 4.0)]


def test_several_max_by_are_one_aggregate() -> None:
    asked = "SELECT max_by(a, t), 1 + max_by(b, t), max_by(a, u), (SELECT max_by(a, t) FROM y) FROM x"
    made = translate(parse_one(asked, dialect="spark"), NOW, "flow.sql")
    rows = {node.sql(dialect="duckdb") for node in made.find_all(exp.Anonymous)}
    assert rows == {"SPARK_MAX_BY({'c0': a, 'c1': b}, t)", "SPARK_MAX_BY(a, u)", "SPARK_MAX_BY(a, t)"}


@pytest.mark.parametrize(("sql", "expected"), QUERIES, ids=[sql for sql, _ in QUERIES])
def test_query(engine: DuckDBEngine, sql: str, expected: list[tuple[Any, ...]]) -> None:
    got = ask(engine, sql)
    ordered = "ORDER BY" in sql
    assert got == expected if ordered else sorted(got, key=repr) == sorted(expected, key=repr)


FAILING = [
    "1 / 0",
    "1 % 0",
    "1 div 0",
    "CAST('1.5' AS INT)",
    "CAST('1_000' AS INT)",
    "CAST('abc' AS DOUBLE)",
    "CAST('1_0' AS DECIMAL(10, 0))",
    "CAST('maybe' AS BOOLEAN)",
    "CAST('2020/01/01' AS DATE)",
    "CAST('2020-01-01 25:00:00' AS TIMESTAMP)",
    "CAST(300 AS TINYINT)",
    "CAST(3e9 AS INT)",
    "CAST(CAST('NaN' AS DOUBLE) AS INT)",
    "CAST(array(1) AS STRING)",
    "array(1)[1]",
    "element_at(array(1), 2)",
    "to_date('1/2/2020', 'dd/MM/yyyy')",
    "to_timestamp('x', 'yyyy')",
    "CAST(date '2020-01-01' AS INT)",
]


@pytest.mark.parametrize("expression", FAILING)
def test_what_fails_in_spark_fails(engine: DuckDBEngine, expression: str) -> None:
    with pytest.raises((EngineError, UntranslatableFunction)):
        value(engine, expression)


BEYOND = {
    "9223372036854775808L": "BIGINT",
    "CAST('9223372036854775808' AS BIGINT)": "BIGINT",
    "CAST(-9223372036854775809 AS BIGINT)": "BIGINT",
    "CAST(2147483648 AS INT)": "INT",
    "40000S": "SMALLINT",
    "128Y": "TINYINT",
    "1e400": "DOUBLE",
    "-1e400D": "DOUBLE",
    "1e39F": "FLOAT",
}


@pytest.mark.parametrize(("expression", "kind"), BEYOND.items(), ids=list(BEYOND))
def test_a_number_that_its_type_cannot_hold_is_refused_before_the_run(
    engine: DuckDBEngine, expression: str, kind: str
) -> None:
    with pytest.raises(UntranslatableFunction, match=rf"flow\.sql:6: [-\de]+ is beyond {kind}\Z"):
        ask(engine, f"SELECT x,\n {expression} AS v FROM t")


@pytest.mark.parametrize("interval", ["'1 month 2 days'", "1 MONTH 2 DAYS", "1 YEAR 3 HOURS", "'2 days 1 year'"])
@pytest.mark.parametrize("shifted", ["current_date() + {}", "current_timestamp() - {}", "{} + max(current_date())"])
def test_months_and_days_in_one_interval_are_refused_as_by_spark(
    engine: DuckDBEngine, interval: str, shifted: str
) -> None:
    with pytest.raises(UntranslatableFunction, match="an interval of months and of days") as caught:
        ask(engine, f"SELECT {shifted.format(f'INTERVAL {interval}')} AS v FROM t")
    assert caught.value.hint == "add one after the other: … + INTERVAL 1 MONTH + INTERVAL 2 DAYS"


REFUSED = {
    "xxhash64(1)": "xxhash64(…)",
    "hash(1)": "hash(…)",
    "rand(7)": "rand(…)",
    "skewness(x)": "skewness(…)",
    "kurtosis(x)": "kurtosis(…)",
    "corr(x, y)": "corr(…)",
    "levenshtein('a', 'b')": "levenshtein(…)",
    "from_json('{}', 'a INT')": "from_json(…)",
    "to_json(struct(1))": "to_json(…)",
    "sequence(3, 1)": "sequence(…)",
    "inline(array(struct(1)))": "inline(…)",
    "date_format(current_date(), 'EEEE')": "date_format(…)",
    "date_format(current_date(), s)": "date_format(…)",
    "sha2('a', 512)": "sha2(…)",
    "CAST('x' AS INTERVAL DAY)": "cast(…)",
    "CAST('2020-01-01' AS TIMESTAMP_NTZ)": "cast(…)",
    "transform(array(1), (e, i) -> e + i)": "transform(…)",
    "aggregate(array(1), 0, (a, e) -> a + e)": "aggregate(…)",
    "exists(array(1), e -> e > 0)": "exists(…)",
    "locate('a', 'b', 2)": "locate(…)",
    "regexp_replace('a', 'b', s)": "regexp_replace(…)",
    "trunc(current_date(), 'decade')": "trunc(…)",
    "months_between(current_date(), current_date(), false)": "months_between(…)",
    "mode(s) FILTER (WHERE flag)": "",
    "collect_list(x) OVER (PARTITION BY g)": "",
    "struct(*)": "",
    "s LIKE ALL ('a', 'b')": "",
    "1" * 39: "'a number of more than 38 digits'",
    f"-{'9' * 30}.{'9' * 9}": "'a number of more than 38 digits'",
    "monotonically_increasing_id()": "monotonically_increasing_id(…)",
}


@pytest.mark.parametrize(("expression", "name"), REFUSED.items(), ids=list(REFUSED))
def test_what_has_no_equal_is_refused_by_name(engine: DuckDBEngine, expression: str, name: str) -> None:
    with pytest.raises(UntranslatableFunction) as caught:
        ask(engine, f"SELECT x,\n {expression} AS v FROM t")
    assert caught.value.message.startswith("flow.sql:")
    assert caught.value.message.endswith(f"{name} has no equal in DuckDB")
    if name:
        assert caught.value.message.startswith("flow.sql:6: ")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t PIVOT (sum(x) FOR g IN ('a', 'b'))",
        "SELECT * FROM t TABLESAMPLE (10 PERCENT)",
        "SELECT * FROM t LATERAL VIEW inline(array(struct(x))) v AS e",
        "SELECT x FROM t DISTRIBUTE BY x",
        "SELECT count(DISTINCT *) FROM t",
        "SELECT x FROM t SORT BY x",
        "SELECT x FROM t CLUSTER BY x",
        "SELECT * FROM range(10)",
        "SELECT ?",
    ],
)
def test_clauses_without_an_equal_are_refused(engine: DuckDBEngine, sql: str) -> None:
    with pytest.raises(UntranslatableFunction, match="has no equal in DuckDB"):
        ask(engine, sql)


def test_every_function_of_the_allow_list_is_tried_here() -> None:
    texts = [f"SELECT {expression} FROM t" for expression, _ in (*SCALARS, *AGGREGATES)] + [sql for sql, _ in QUERIES]
    seen = [node for text in texts for node in parse_one(text, dialect="spark").walk()]
    classes = {type(node) for node in seen}
    names = {node.name.lower() for node in seen if isinstance(node, exp.Anonymous)}
    generated = {exp.Uuid, exp.Rand, exp.VarMap}
    assert {kind.__name__ for kind in (*SAME, *CALLS, *REWRITES) if kind not in classes | generated} == set()
    assert set(NAMED) - names == set()


def test_chance_is_allowed(engine: DuckDBEngine) -> None:
    ((one, two, share),) = ask(engine, "SELECT uuid() AS a, uuid() AS b, rand() AS c")
    assert one != two
    assert 0 <= share < 1


def test_every_function_tried_here_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "engine.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`([^`]+)`", page))))
    tried = " ".join([*(text for text, _ in SCALARS), *(text for text, _ in AGGREGATES)])
    called = set(re.findall(r"\b([a-z_0-9]+)\(", re.sub(r"'[^']*'", "''", tried)))
    assert called - listed == set()
