"""Which groups a change touched: by the rows that came and went, not by those that were only copied."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest
import sqlglot

from datalab.engine.base import Engine, Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.lake.table import Relation
from datalab.pipelines.changes import ADDED, REMOVED, touched_groups
from datalab.pipelines.grouping import Grouping, grouping

SCHEMA = pa.schema([("uf", pa.string()), ("valor", pa.int64()), ("nota", pa.string())])
VIEW = "SELECT uf, sum(valor) AS total FROM silver.pedidos GROUP BY uf"
Row = tuple[str | None, int | None, str]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="200MB", threads=1)
    yield engine
    engine.close()


def touched(engine: Engine, added: list[Row], removed: list[Row], *, rewritten: bool = True) -> set[str | None]:
    view = sqlglot.parse_one(VIEW, read="spark")
    groups = grouping(view, SCHEMA.names)
    assert isinstance(groups, Grouping)
    tree = touched_groups(view, groups, SCHEMA.names, rewritten=rewritten)
    relations = {ADDED: relation(added), REMOVED: relation(removed)}
    keys = engine.read(Query(tree, relations, datetime.now(UTC))).read_all().column("uf").to_pylist()
    assert len(keys) == len(set(keys))
    return set(keys)


def relation(rows: list[Row]) -> Relation:
    values = [dict(zip(SCHEMA.names, row, strict=True)) for row in rows]
    return Relation(SCHEMA, memory=pa.Table.from_pylist(values, schema=SCHEMA))


def test_rows_that_were_copied_from_file_to_file_touch_nothing(engine):
    rows: list[Row] = [("SP", 1, ""), ("SP", 1, ""), (None, None, ""), ("MT", None, "")]
    assert touched(engine, rows, rows[::-1]) == set()


def test_one_of_two_equal_rows_that_is_gone_or_new_touches_its_group(engine):
    once: list[Row] = [("SP", 1, ""), ("MT", 1, "")]
    twice: list[Row] = [*once, ("SP", 1, "")]
    assert touched(engine, once, twice) == {"SP"}
    assert touched(engine, twice, once) == {"SP"}


def test_a_row_that_moves_touches_both_groups_and_null_is_a_group(engine):
    assert touched(engine, [("SP", 1, "")], [(None, 1, "")]) == {"SP", None}
    assert touched(engine, [(None, 1, ""), ("SP", 0, "")], [(None, None, ""), ("SP", 0, "")]) == {None}


def test_columns_that_the_view_does_not_read_change_nothing(engine):
    assert touched(engine, [("SP", 1, "b")], [("SP", 1, "a")]) == set()


def test_appended_rows_touch_their_groups(engine):
    assert touched(engine, [("SP", 1, ""), ("SP", 2, ""), (None, 1, "")], [], rewritten=False) == {"SP", None}
