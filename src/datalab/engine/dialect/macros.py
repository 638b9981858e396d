"""Spark's functions where DuckDB's differ, as DuckDB macros.

One that must fail does so by a CAST that cannot succeed: unlike error(), that may stand inside TRY.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Overloads of a macro are told apart by the type of the argument. `_us` is microseconds since 1970: going through them
# avoids the time zone library, which costs more than everything else together. Macros over dates and moments want
# their arguments converted already: a macro cannot call an overloaded one on an argument of unknown type.
_NUMBER = r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*"
_JAVA_NUMBER = rf"{_NUMBER[:-3]}[dDfF]\s*"
_SPECIAL = r"(?i)\s*[+-]?(nan|inf|infinity)\s*"
_DATE = r"\d{4}(-\d{1,2}(-\d{1,2})?)?"
_ZONE = r"(\s?(Z|UTC|GMT|[+-](0\d|1[0-8])(:?[0-5]\d)?))?"
_MOMENT = rf"\d{{4}}-\d{{1,2}}-\d{{1,2}}([ T]([01]?\d|2[0-3]):\d{{2}}(:\d{{2}}(\.\d{{1,6}})?)?{_ZONE})?"
# What else Spark reads as a moment: taken apart and written as DuckDB wants it.
_PARTS = (
    r"\s*\+?(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T]([01]?\d|2[0-3])(?::(\d{1,2})(?::(\d{1,2})(?:\.(\d{0,9}))?)?)?\s?"
    r"(?:(?:UTC|GMT|UT)?([+-])(0?\d|1[0-8])((?::?[0-5]\d)?(?::[0-5]\d)?)|Z|UTC|GMT|UT|([A-Z]\w+/\w+(?:/\w+)?))?)?)?)?\s*"
)
_NAMES = "['y', 'm', 'd', 'h', 'i', 's', 'f', 'g', 'zh', 'zm', 'z']"

_ARITHMETIC = """
divide(a, b) AS CASE WHEN b = 0 AND a IS NOT NULL THEN CAST('division by zero' AS DOUBLE) ELSE a / b END
try_divide(a, b) AS CASE WHEN b = 0 THEN NULL ELSE a / b END
remainder(a, b) AS CASE WHEN b = 0 AND a IS NOT NULL THEN CAST('division by zero' AS TINYINT) ELSE a % b END
pmod(a, b) AS CASE WHEN spark_remainder(a, b) < 0 THEN (a % b + b) % b ELSE a % b END
div(a, b) AS CASE WHEN typeof(a + b) LIKE '%INT' THEN \
 CASE WHEN b = 0 AND a IS NOT NULL THEN CAST('division by zero' AS BIGINT) ELSE CAST(a // b AS BIGINT) END \
 ELSE CAST(trunc(spark_divide(a, b)) AS BIGINT) END
floor(x) AS CAST(floor(x) AS BIGINT)
ceil(x) AS CAST(ceil(x) AS BIGINT)
floor_div(a, b) AS a // b - CAST(a % b < 0 AS INTEGER)
sign(x) AS CASE WHEN isnan(TRY_CAST(x AS DOUBLE)) THEN CAST('nan' AS DOUBLE) ELSE CAST(sign(x) AS DOUBLE) END
largest(x) AS CASE typeof(x) WHEN 'BIGINT' THEN 9223372036854775807 WHEN 'INTEGER' THEN 2147483647 \
 WHEN 'SMALLINT' THEN 32767 ELSE 127 END
round_whole(x, d) AS CASE WHEN typeof(x) IN ('TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT') \
 AND abs(TRY_CAST(x AS HUGEINT)) > spark_largest(x) - CAST(power(10, -d) AS HUGEINT) // 2 \
 THEN CAST('out of range' AS TINYINT) ELSE round(x, d) END
sqrt(x) AS CASE WHEN x < 0 THEN CAST('nan' AS DOUBLE) ELSE sqrt(x) END
ln(x) AS CASE WHEN x <= 0 THEN NULL ELSE ln(x) END
log10(x) AS CASE WHEN x <= 0 THEN NULL ELSE log10(x) END
log(b, x) AS CASE WHEN x <= 0 OR b <= 0 THEN NULL ELSE ln(x) / ln(b) END
isnan(x) AS coalesce(isnan(x), false)
nanvl(a, b) AS CASE WHEN isnan(a) THEN b ELSE a END
near_half(scaled) AS abs(abs(scaled) - floor(abs(scaled)) - 0.5) < 1e-6 + abs(scaled) * 1e-15
"""

_TEXT = r"""
upper(x) AS CASE WHEN strlen(x) = length(x) THEN upper(x) ELSE spark_upper_wide(x) END
lower(x) AS CASE WHEN strlen(x) = length(x) THEN lower(x) ELSE spark_lower_wide(x) END
lower_wide(x) AS lower(CASE WHEN contains(x, 'Σ') OR contains(x, 'İ') \
 THEN regexp_replace(replace(x, 'İ', 'i̇'), '(\p{L}\p{M}*)Σ(\P{L}|$)', '\1ς\2', 'g') ELSE x END)
json_text(x, found) AS CASE WHEN json_valid(x) THEN found \
 WHEN regexp_matches(x, '^\s*[\[{]') THEN CAST(CAST('not JSON: ' || x AS INTEGER) AS VARCHAR) END
length(x) AS CAST(CASE typeof(x) WHEN 'VARCHAR' THEN length(TRY_CAST(x AS VARCHAR)) \
 WHEN 'BLOB' THEN octet_length(TRY_CAST(x AS BLOB)) ELSE length(spark_text(x)) END AS INTEGER)
start(s, p) AS CASE WHEN p > 0 THEN p - 1 WHEN p < 0 THEN length(s) + p ELSE 0 END
substring(s, p, l) AS substring(s, greatest(spark_start(s, p), 0) + 1, \
 greatest(spark_start(s, p) + greatest(l, 0) - greatest(spark_start(s, p), 0), 0))
left(s, n) AS left(s, greatest(n, 0))
right(s, n) AS right(s, greatest(n, 0))
repeat(s, n) AS repeat(s, greatest(n, 0))
position(s, part) AS CAST(strpos(s, part) AS INTEGER)
initcap(s) AS array_to_string(list_transform(string_split(lower(s), ' '), lambda w: upper(w[1]) || w[2:]), ' ')
capital_e(s) AS (CASE WHEN contains(split_part(s, 'e', 1), '.') THEN split_part(s, 'e', 1) \
 ELSE split_part(s, 'e', 1) || '.0' END) || 'E' || CAST(CAST(split_part(s, 'e', 2) AS INTEGER) AS VARCHAR)
digits(d, e) AS d[1] || '.' || CASE WHEN d[2:] = '' THEN '0' ELSE d[2:] END || 'E' || CAST(e AS VARCHAR)
large(s) AS spark_digits(rtrim(replace(s, '.', ''), '0'), length(split_part(s, '.', 1)) - 1)
small(s) AS spark_digits(ltrim(replace(s, '.', ''), '0'), \
 length(ltrim(split_part(s, '.', 2), '0')) - length(split_part(s, '.', 2)) - 1)
scientific(s, x) AS CASE WHEN contains(s, 'e') THEN spark_capital_e(s) \
 WHEN x >= 1e7 THEN spark_large(s) ELSE spark_small(s) END
real_text(s, x) AS CASE WHEN isnan(x) THEN 'NaN' \
 WHEN isinf(x) THEN CASE WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END \
 WHEN x = 0 THEN '0.0' WHEN abs(x) >= 1e-3 AND abs(x) < 1e7 THEN s \
 ELSE CASE WHEN x < 0 THEN '-' ELSE '' END || spark_scientific(ltrim(s, '-'), abs(x)) END
double_text(x) AS spark_real_text(CAST(x AS VARCHAR), x)
text(x) AS CASE WHEN typeof(x) IN ('DOUBLE', 'FLOAT') THEN spark_real_text(CAST(x AS VARCHAR), TRY_CAST(x AS DOUBLE)) \
 WHEN typeof(x) = 'TIMESTAMP WITH TIME ZONE' \
 THEN CAST(make_timestamp(epoch_us(TRY_CAST(x AS TIMESTAMP WITH TIME ZONE))) AS VARCHAR) \
 WHEN typeof(x) = 'BLOB' OR typeof(x) = 'INTERVAL' OR typeof(x) LIKE '%(%' AND typeof(x) NOT LIKE 'DECIMAL%' \
 OR typeof(x) LIKE '%]' THEN CASE WHEN x IS NOT NULL \
 THEN CAST(CAST('no equal text of ' || typeof(x) AS INTEGER) AS VARCHAR) END ELSE CAST(x AS VARCHAR) END
"""

# Which branch of a conversion runs is decided by typeof, when the query is bound: the others cost nothing, but must
# bind, hence TRY_CAST in them. (Overloads would read better; DuckDB cannot choose one for the result of an aggregate.)
_WHOLE = "('BOOLEAN', 'TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT')"
_REAL = "('DOUBLE', 'FLOAT')"
_ZONED = "'TIMESTAMP WITH TIME ZONE'"

_CASTS = rf"""
impossible(x, kind) AS CASE WHEN x IS NOT NULL THEN 'no equal of CAST(' || typeof(x) || ' AS ' || kind || ')' END
read_bigint(x) AS CAST(CASE WHEN regexp_full_match(x, '\s*[+-]?\d+\s*') THEN x \
 ELSE 'not an integer: ' || x END AS BIGINT)
to_bigint(x) AS CASE WHEN typeof(x) = 'BIGINT' THEN TRY_CAST(x AS BIGINT) \
 WHEN typeof(x) IN {_WHOLE} THEN CAST(TRY_CAST(x AS HUGEINT) AS BIGINT) \
 WHEN typeof(x) IN {_REAL} THEN CAST(trunc(TRY_CAST(x AS DOUBLE)) AS BIGINT) \
 WHEN typeof(x) LIKE 'DECIMAL%' THEN CAST(trunc(TRY_CAST(x AS DECIMAL(38, 10))) AS BIGINT) \
 WHEN typeof(x) = 'VARCHAR' THEN spark_read_bigint(TRY_CAST(x AS VARCHAR)) \
 WHEN typeof(x) = {_ZONED} THEN spark_floor_div(epoch_us(TRY_CAST(x AS TIMESTAMP WITH TIME ZONE)), 1000000) \
 ELSE CAST(spark_impossible(x, 'BIGINT') AS BIGINT) END
read_double(x) AS CAST(CASE WHEN regexp_full_match(x, '{_NUMBER}') OR regexp_full_match(x, '{_SPECIAL}') \
 THEN x WHEN regexp_full_match(x, '{_JAVA_NUMBER}') THEN regexp_replace(x, '[dDfF]', '') \
 ELSE 'not a number: ' || x END AS DOUBLE)
to_double(x) AS CASE WHEN typeof(x) IN {_WHOLE} OR typeof(x) IN {_REAL} OR typeof(x) LIKE 'DECIMAL%' \
 THEN TRY_CAST(x AS DOUBLE) WHEN typeof(x) = 'VARCHAR' THEN spark_read_double(TRY_CAST(x AS VARCHAR)) \
 WHEN typeof(x) = {_ZONED} THEN epoch_us(TRY_CAST(x AS TIMESTAMP WITH TIME ZONE)) / 1000000 \
 ELSE CAST(spark_impossible(x, 'DOUBLE') AS DOUBLE) END
decimal_text(x) AS CASE WHEN regexp_full_match(x, '{_NUMBER}') THEN x ELSE 'not a decimal: ' || x END
bare(x) AS lower(regexp_extract(x, '(?s)^\s*(.*?)\s*$', 1))
read_boolean(x) AS CAST(CASE WHEN spark_bare(x) IN ('t', 'true', 'y', 'yes', '1') THEN 'true' \
 WHEN spark_bare(x) IN ('f', 'false', 'n', 'no', '0') THEN 'false' ELSE 'not a boolean: ' || x END AS BOOLEAN)
to_boolean(x) AS CASE WHEN typeof(x) IN {_WHOLE} OR typeof(x) IN {_REAL} OR typeof(x) LIKE 'DECIMAL%' \
 THEN TRY_CAST(x AS DOUBLE) <> 0 WHEN typeof(x) = 'VARCHAR' \
 THEN spark_read_boolean(TRY_CAST(x AS VARCHAR)) ELSE CAST(spark_impossible(x, 'BOOLEAN') AS BOOLEAN) END
whole_date(x) AS x || CASE length(regexp_replace(x, '\d', '', 'g')) WHEN 0 THEN '-01-01' WHEN 1 THEN '-01' ELSE '' END
read_date(x) AS CAST(CASE WHEN regexp_full_match(x, '\s*{_DATE}([ T].*)?') \
 THEN spark_whole_date(regexp_extract(x, '{_DATE}')) ELSE 'not a date: ' || x END AS DATE)
moment_date(x) AS CAST(make_timestamp(epoch_us(x)) AS DATE)
date_moment(x) AS make_timestamptz(epoch_us(CAST(x AS TIMESTAMP)))
to_date(x) AS CASE WHEN typeof(x) IN ('DATE', 'TIMESTAMP') THEN TRY_CAST(x AS DATE) \
 WHEN typeof(x) = {_ZONED} THEN spark_moment_date(TRY_CAST(x AS TIMESTAMP WITH TIME ZONE)) \
 WHEN typeof(x) = 'VARCHAR' THEN spark_read_date(TRY_CAST(x AS VARCHAR)) \
 ELSE CAST(spark_impossible(x, 'DATE') AS DATE) END
moment_text(parts) AS list_transform([parts], lambda p: format( \
 '{{}}-{{:0>2}}-{{:0>2}} {{:0>2}}:{{:0>2}}:{{:0>2}}.{{:0<6}}', \
 p.y, coalesce(nullif(p.m, ''), '1'), coalesce(nullif(p.d, ''), '1'), p.h, p.i, p.s, p.f) || CASE WHEN p.z = '' \
 THEN format('{{:+>1}}{{:0>2}}{{}}', p.g, p.zh, p.zm) ELSE ' ' || p.z END)[1]
read_timestamp(x) AS CAST(CASE WHEN regexp_full_match(x, '{_MOMENT}') THEN x \
 WHEN regexp_full_match(x, '{_PARTS}') \
 THEN spark_moment_text(regexp_extract(x, '^{_PARTS}$', {_NAMES})) \
 ELSE 'not a timestamp: ' || x END AS TIMESTAMP WITH TIME ZONE)
to_timestamp(x) AS CASE WHEN typeof(x) = {_ZONED} THEN TRY_CAST(x AS TIMESTAMP WITH TIME ZONE) \
 WHEN typeof(x) IN ('DATE', 'TIMESTAMP') THEN make_timestamptz(epoch_us(TRY_CAST(x AS TIMESTAMP))) \
 WHEN typeof(x) = 'VARCHAR' THEN spark_read_timestamp(TRY_CAST(x AS VARCHAR)) \
 WHEN typeof(x) IN {_WHOLE} THEN make_timestamptz(TRY_CAST(x AS BIGINT) * 1000000) \
 WHEN typeof(x) IN {_REAL} OR typeof(x) LIKE 'DECIMAL%' \
 THEN make_timestamptz(CAST(floor(TRY_CAST(x AS DOUBLE) * 1000000) AS BIGINT)) \
 ELSE CAST(spark_impossible(x, 'TIMESTAMP') AS TIMESTAMP WITH TIME ZONE) END
to_binary(x) AS CASE WHEN typeof(x) = 'BLOB' THEN TRY_CAST(x AS BLOB) \
 WHEN typeof(x) = 'VARCHAR' THEN encode(TRY_CAST(x AS VARCHAR)) \
 ELSE encode(CAST(CAST(spark_impossible(x, 'BINARY') AS INTEGER) AS VARCHAR)) END
"""

_TIME = """
naive(t) AS make_timestamp(epoch_us(t))
parse(x, pattern, form) AS make_timestamptz(epoch_us(CASE WHEN regexp_full_match(x, form) THEN strptime(x, pattern) \
 ELSE CAST('not as the pattern says: ' || x AS TIMESTAMP) END))
format(x, pattern) AS strftime(spark_naive(x), pattern)
year(x) AS CAST(year(x) AS INTEGER)
quarter(x) AS CAST(quarter(x) AS INTEGER)
month(x) AS CAST(month(x) AS INTEGER)
week(x) AS CAST(weekofyear(x) AS INTEGER)
day(x) AS CAST(day(x) AS INTEGER)
dayofyear(x) AS CAST(dayofyear(x) AS INTEGER)
dayofweek(x) AS CAST(dayofweek(x) + 1 AS INTEGER)
weekday(x) AS CAST(isodow(x) - 1 AS INTEGER)
hour(x) AS CAST(hour(spark_naive(x)) AS INTEGER)
minute(x) AS CAST(minute(spark_naive(x)) AS INTEGER)
second(x) AS CAST(second(spark_naive(x)) AS INTEGER)
make_date(y, m, d) AS make_date(CAST(y AS BIGINT), CAST(m AS BIGINT), CAST(d AS BIGINT))
minus(a, b) AS CASE WHEN typeof(a) = 'DATE' AND typeof(b) = 'DATE' \
 THEN error('date minus date is an interval in Spark: write datediff') ELSE a - b END
no_two_dates(a DATE, b DATE) AS {'date minus date': 1}, (a, b) AS a - b
no_dates(a, b) AS list_transform([{'a': a, 'b': b}], lambda x: spark_no_two_dates(x.a, x.b))[1]
date_add(x, n) AS x + CAST(n AS INTEGER)
datediff(a, b) AS CAST(a - b AS INTEGER)
add_months(x, n) AS CAST(x + to_months(CAST(n AS INTEGER)) AS DATE)
last_day(x) AS last_day(x)
shift(x DATE, i) AS CAST(x + i AS DATE), (x TIMESTAMP WITH TIME ZONE, i) AS x + i
units_between(unit, a, b) AS date_sub(unit, spark_naive(a), spark_naive(b))
into_month(t) AS epoch_us(t) - epoch_us(date_trunc('month', t))
months_of(a, b, m) AS m - CASE WHEN m > 0 AND spark_into_month(b) < spark_into_month(a) THEN 1 \
 WHEN m < 0 AND spark_into_month(b) > spark_into_month(a) THEN -1 ELSE 0 END
truncate(unit, x) AS make_timestamptz(epoch_us(date_trunc(unit, spark_naive(x))))
truncate_date(unit, x) AS CAST(date_trunc(unit, x) AS DATE)
seconds_of_day(x) AS CAST((epoch_us(x) - epoch_us(date_trunc('day', x))) // 1000000 AS DOUBLE)
whole_months(a, b) AS (year(a) - year(b)) * 12 + month(a) - month(b)
months_between_naive(a, b) AS CAST(CASE WHEN day(a) = day(b) OR (last_day(a) = CAST(a AS DATE) \
 AND last_day(b) = CAST(b AS DATE)) THEN spark_whole_months(a, b) ELSE round(spark_whole_months(a, b) \
 + ((day(a) - day(b)) * 86400 + spark_seconds_of_day(a) - spark_seconds_of_day(b)) / 2678400, 8) END AS DOUBLE)
months_since(a, b) AS spark_months_of(spark_naive(a), spark_naive(b), \
 spark_whole_months(spark_naive(b), spark_naive(a)))
months_between(a, b) AS spark_months_between_naive(spark_naive(a), spark_naive(b))
timestamp_seconds(x) AS make_timestamptz(CAST(x * 1000000 AS BIGINT))
timestamp_millis(x) AS make_timestamptz(x * 1000)
timestamp_micros(x) AS make_timestamptz(x)
unix_seconds(x) AS spark_floor_div(epoch_us(x), 1000000)
unix_timestamp(x) AS epoch_us(x) // 1000000
unix_millis(x) AS spark_floor_div(epoch_us(x), 1000)
unix_micros(x) AS epoch_us(x)
unix_date(x) AS CAST(x - DATE '1970-01-01' AS INTEGER)
from_utc(x, zone) AS make_timestamptz(epoch_us(timezone(zone, x)))
earlier(t, x, zone) AS CASE WHEN timezone(zone, t - INTERVAL 1 HOUR) = x THEN t - INTERVAL 1 HOUR \
 WHEN timezone(zone, t - INTERVAL 30 MINUTE) = x THEN t - INTERVAL 30 MINUTE ELSE t END
to_utc(x, zone) AS spark_earlier(timezone(zone, spark_naive(x)), spark_naive(x), zone)
"""

_COLLECTIONS = """
size(x) AS CAST(array_length(x) AS INTEGER)
array_contains(x, v) AS CASE WHEN v IS NULL OR x IS NULL THEN NULL WHEN list_contains(x, v) THEN true \
 WHEN len(list_filter(x, lambda e: e IS NULL)) > 0 THEN NULL ELSE false END
item(x, i) AS CASE WHEN i >= 0 AND i < array_length(x) THEN x[i + 1] WHEN i IS NULL OR x IS NULL THEN NULL \
 ELSE x[CAST('index outside the array: ' || i AS BIGINT)] END
item_or_null(x, i) AS CASE WHEN i >= 0 AND i < array_length(x) THEN x[i + 1] END
element(x, i) AS CASE WHEN i <> 0 AND abs(i) <= array_length(x) THEN x[i] WHEN i IS NULL OR x IS NULL THEN NULL \
 ELSE x[CAST('index outside the array: ' || i AS BIGINT)] END
or_null(x) AS CASE WHEN len(x) > 0 THEN x ELSE [NULL] END
positions(x) AS list_transform(x, lambda e, i: {pos: CAST(i - 1 AS INTEGER), col: e})
some_joined(x, separator) AS CASE WHEN len(list_filter(x, lambda e: e IS NOT NULL)) > 0 \
 THEN array_to_string(x, separator) END
joined(x, separator) AS CASE WHEN typeof(x) = 'VARCHAR[]' THEN spark_some_joined(TRY_CAST(x AS VARCHAR[]), separator) \
 ELSE spark_text(x) END
join(x, separator) AS array_to_string(list_transform(x, lambda e: spark_text(e)), separator)
"""

_AGGREGATES = """
is_nan(x) AS typeof(x) = 'DOUBLE' AND hash(x) = hash(CAST('nan' AS DOUBLE)) \
 OR typeof(x) = 'FLOAT' AND hash(x) = hash(CAST('nan' AS FLOAT))
mode(x) AS list_sort(coalesce(list_transform(map_entries(histogram(x) FILTER (WHERE NOT spark_is_nan(x))), \
 lambda e: {n: -CAST(e.value AS BIGINT), k: e.key}), []) || CASE WHEN count(*) FILTER (WHERE spark_is_nan(x)) > 0 \
 THEN [{n: -count(*) FILTER (WHERE spark_is_nan(x)), k: max(x) FILTER (WHERE spark_is_nan(x))}] ELSE [] END)[1].k
collect_list(x) AS coalesce(list(x ORDER BY x) FILTER (WHERE x IS NOT NULL), [])
collect_set(x) AS coalesce(list_sort(list(DISTINCT x) FILTER (WHERE x IS NOT NULL)), [])
max_by(x, y) AS (max({y: y, x: x}) FILTER (WHERE y IS NOT NULL)).x
min_by(x, y) AS (min({y: y, x: x}) FILTER (WHERE y IS NOT NULL)).x
"""


# Where letters lie that become several in upper case.
_GROWING = ((0xDF, 0xE0), (0x149, 0x14A), (0x1F0, 0x1F1), (0x390, 0x3B1), (0x587, 0x588), (0x1E96, 0x1E9B), \
            (0x1F50, 0x1FFD), (0xFB00, 0xFB18))  # fmt: skip


def _upper_wide() -> str:
    """DuckDB makes one letter of one letter, Java and Python `SS` of `ß`."""
    letters = [chr(code) for first, end in _GROWING for code in range(first, end) if len(chr(code).upper()) > 1]
    grown = ", ".join(f"'{letter}': '{letter.upper()}'" for letter in letters)
    return (
        f"upper_wide(x) AS CASE WHEN regexp_matches(x, '[{''.join(letters)}]') THEN array_to_string(list_transform("
        f"string_split(x, ''), lambda c: coalesce(MAP {{{grown}}}[c], upper(c))), '') ELSE upper(x) END"
    )


def _definitions() -> dict[str, str]:
    groups = (_ARITHMETIC, _TEXT, _CASTS, _TIME, _COLLECTIONS, _AGGREGATES)
    lines = [line for group in groups for line in group.replace("\\\n", "").strip().splitlines()]
    return {f"spark_{line.partition('(')[0]}": f"CREATE MACRO spark_{line}" for line in [_upper_wide(), *lines]}


MACROS = _definitions()
_CALLED = re.compile(r"\b(?:spark|SPARK)_\w+")


def called(sql: str) -> frozenset[str]:
    """The names of the macros that a text calls itself."""
    return frozenset(name.lower() for name in _CALLED.findall(sql)) & MACROS.keys()


def with_needed(names: Iterable[str]) -> tuple[str, ...]:
    """Macros and all those that they call, each behind those that it needs."""
    found: dict[str, None] = {}
    for name in sorted(names):
        needed = called(MACROS[name].partition(" AS ")[2])
        found |= dict.fromkeys((*with_needed(needed), name))
    return tuple(found)
