"""What a wanted value says of a column: never more than is true."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
import sqlglot

from datalab.lake.table import DataFile
from datalab.lineage.narrow import exact_points, files_with, restrictions, sharpest, span
from datalab.lineage.resolve import resolved
from datalab.lineage.strands import strands
from datalab.names import TableName

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
DAY = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("texto", pa.string()),
        ("n", pa.int64()),
        ("x", pa.float64()),
        ("quando", pa.timestamp("us", "UTC")),
        ("local", pa.struct([("uf", pa.string())])),
    ]
)


def told(sql: str, value: object) -> tuple[str, object, object] | None:
    query = sqlglot.parse_one(f"SELECT {sql} AS v FROM bronze.t", read="spark")
    (strand,) = strands(resolved(query, {TableName.parse("bronze.t"): SCHEMA.names}))
    expression = strand.columns["v"]
    assert expression is not None
    found = span(expression, value, SCHEMA)
    return found and (found.column.sql("spark").replace("`", "").removeprefix("input_row."), found.low, found.high)


@pytest.mark.parametrize(
    ("sql", "value", "expected"),
    [
        ("texto", "a", ("texto", "a", "a")),
        ("texto", None, ("texto", None, None)),
        ("local.uf", "SP", ("local.uf", "SP", "SP")),
        ("timestamp_millis(n)", NOON, ("n", 1_767_355_200_000, 1_767_355_200_000)),
        ("timestamp_seconds(n)", NOON, ("n", 1_767_355_200, 1_767_355_200)),
        ("timestamp_millis(n)", NOON + timedelta(microseconds=1), None),
        ("CASE WHEN n BETWEEN 0 AND 9 THEN timestamp_seconds(n) END", NOON, ("n", 1_767_355_200, 1_767_355_200)),
        ("CASE WHEN n BETWEEN 0 AND 9 THEN n END", None, None),
        ("CASE WHEN n > 1 THEN n ELSE 0 END", 5, None),
        ("CASE texto WHEN 'a' THEN n END", 5, None),
        ("coalesce(texto, 'vazio')", "a", ("texto", "a", "a")),
        ("coalesce(texto, 'vazio')", "vazio", None),
        ("to_date(quando)", date(2026, 1, 2), ("quando", DAY, DAY + timedelta(days=1, microseconds=-1))),
        ("CAST(quando AS DATE)", date(2026, 1, 2), ("quando", DAY, DAY + timedelta(days=1, microseconds=-1))),
        ("CAST(texto AS DATE)", date(2026, 1, 2), None),
        ("upper(texto)", "A", None),
        ("n + 1", 5, None),
        ("x", 1.5, None),
        ("texto", 5, None),
    ],
)
def test_a_value_of_an_expression_bounds_its_column(sql: str, value: object, expected: object) -> None:
    assert told(sql, value) == expected


def test_conditions_and_files_of_several_wanted_rows() -> None:
    column = sqlglot.parse_one("input_row.n", read="spark")
    other = sqlglot.parse_one("input_row.texto", read="spark")
    spans = [[span(column, n, SCHEMA), span(other, t, SCHEMA)] for n, t in ((3, "a"), (None, "b"))]
    texts = [part.sql("spark") for part in restrictions(spans)]
    assert texts == ["(input_row.n IN (3) OR input_row.n IS NULL)", "(input_row.texto IN ('a', 'b'))"]
    several = [[span(column, n, SCHEMA)] for n in (7, 3)]
    assert [part.sql("spark") for part in restrictions(several)] == [
        "(input_row.n IN (7, 3) AND input_row.n BETWEEN 3 AND 7)"
    ]
    files = [
        DataFile("low", 5, 1, lower={"n": 0}, upper={"n": 2}, nulls={"n": 0}),
        DataFile("has 3", 5, 1, lower={"n": 2}, upper={"n": 9}, nulls={"n": 0}),
        DataFile("has null", 5, 1, lower={"n": 20}, upper={"n": 29}, nulls={"n": 1}),
        DataFile("unknown", 5, 1),
    ]
    assert [file.path for file in files_with(files, spans, SCHEMA)] == ["has 3", "has null", "unknown"]


def test_files_are_looked_through_by_a_number_or_moment_that_is_known_exactly() -> None:
    number, text, moment = (sqlglot.parse_one(f"input_row.{name}", read="spark") for name in ("n", "texto", "quando"))

    def chosen(*columns: tuple[object, list[object]], files: tuple[DataFile, ...] = ()) -> str | None:
        spans = [[span(column, value, SCHEMA) for column, value in zip(*pair, strict=True)] for pair in _rows(columns)]
        found = sharpest(exact_points(spans, SCHEMA), files)
        return found and found.field.name

    assert chosen((text, ["a", "b"]), (number, [3, 5])) == "n"
    assert chosen((text, ["a"]), (moment, [NOON])) == "quando"
    assert chosen((text, ["a"])) is None
    assert chosen((number, [3, None])) is None, "a row without it is wanted too"
    assert chosen((number, [*range(65)])) is None, "bounds of many say little"
    assert sharpest(exact_points([], SCHEMA), ()) is None
    apart, close = ([DataFile("f", 100, 1, lower={"n": 0}, upper={"n": top})] for top in (99, 98))
    assert chosen((number, [3]), files=(*apart, *apart, *close)) == "n"
    assert chosen((number, [3]), files=(*close, *close, *apart)) is None, "of a hundred rows some have the same"
    assert chosen((number, [3]), (moment, [NOON]), files=(*close,)) == "quando"


def _rows(columns: tuple[tuple[object, list[object]], ...]) -> list[tuple[list[object], list[object]]]:
    names = [name for name, _ in columns]
    return [(names, list(values)) for values in zip(*(values for _, values in columns), strict=True)]
