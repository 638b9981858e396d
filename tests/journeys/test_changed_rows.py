"""The change between two snapshots: what an upsert brought and took away, without the rows it only copied."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlglot import exp
from tests.journeys.shop import Row, Shop

from datalab.engine.base import Engine, Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.lake.beside import CHANGES, STATE, side_files
from datalab.lake.lake import open_lake
from datalab.lake.table import Relation
from datalab.names import TableName
from datalab.platform.wish import Wish

SILVER = TableName.parse("silver.pedidos")
SQL = """
    CREATE STREAMING TABLE silver.pedidos;
    CREATE FLOW atualiza AS AUTO CDC INTO silver.pedidos FROM STREAM bronze.pedidos KEYS (id) SEQUENCE BY versao;
    CREATE MATERIALIZED VIEW gold.por_uf AS SELECT uf, sum(valor) AS total FROM silver.pedidos GROUP BY uf;
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    yield engine
    engine.close()


@pytest.fixture(params=["iceberg", "delta"])
def shop(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Shop:
    shop = Shop(open_lake(request.param, str(tmp_path / "lake")), engine, SQL)
    shop.add([row(n) for n in range(1000)])
    shop.run()
    return shop


def row(number: int, version: int = 1, **changed: object) -> Row:
    return {"id": f"{number}", "versao": version, "uf": f"U{number % 9}", "valor": number, **changed}


def changed(shop: Shop, since: int, table: TableName = SILVER) -> tuple[list[str], list[str], int]:
    """Ids that came and ids that went, as a net difference, and the rows that had to be read for it."""
    state = shop.lake.require(table)
    assert state.snapshot is not None
    difference = shop.lake.changed(state, since, state.snapshot)
    added, removed = (Counter(ids(shop, side, table)) for side in (difference.added, difference.removed))
    read = difference.added.rows + difference.removed.rows
    return sorted((added - removed).elements()), sorted((removed - added).elements()), read


def ids(shop: Shop, rows: Relation, table: TableName) -> list[str]:
    column = "id" if table == SILVER else "uf"
    query = Query(
        exp.select(f"concat_ws('|', {column}, {'valor' if table == SILVER else 'total'}) AS t").from_("rows"),
        {"rows": rows},
        datetime.now(UTC),
    )
    return [str(text) for text in shop.engine.read(query).read_all().column("t").to_pylist()]


def head(shop: Shop, table: TableName = SILVER) -> int:
    snapshot = shop.lake.require(table).snapshot
    assert snapshot is not None
    return snapshot


def test_only_the_rows_of_the_change_are_read(shop: Shop) -> None:
    before = head(shop)
    shop.add([row(3, 2, valor=-3), row(4, 0), row(2000)])
    shop.run()
    assert changed(shop, before) == (["2000|2000", "3|-3"], ["3|3"], 3)
    shop.add([row(3, 3, valor=3)])
    shop.run()
    assert changed(shop, before) == (["2000|2000"], [], 5)


def test_the_change_of_a_view_passes_on_to_what_reads_it(shop: Shop) -> None:
    gold = TableName.parse("gold.por_uf")
    before = head(shop, gold)
    shop.add([row(3, 2, valor=13)])
    shop.run()
    came, went, read = changed(shop, before, gold)
    assert (len(came), len(went), read) == (1, 1, 2)


def test_without_its_record_the_files_are_compared(shop: Shop, tmp_path: Path) -> None:
    before = head(shop)
    shop.add([row(3, 2, valor=-3)])
    shop.run()
    folder = next(path for path in tmp_path.rglob(CHANGES) if "silver" in str(path))
    shutil.rmtree(folder)
    assert changed(shop, before) == (["3|-3"], ["3|3"], 2000)


def test_every_side_file_is_named_by_a_commit(shop: Shop, tmp_path: Path) -> None:
    shop.add([row(3, 2, valor=-3)])
    shop.run()
    shop.add([row(3, 3, valor=5), row(7, 2, valor=5)])
    shop.run()
    for name in (SILVER, TableName.parse("gold.por_uf")):
        state = shop.lake.require(name)
        place = Path(state.target().location)
        found = {str(path) for folder in (CHANGES, STATE) for path in (place / folder).glob("*")}
        assert found == side_files(state, shop.lake.history(state)) != set()


def test_a_view_is_computed_whole_where_the_changed_rows_are_gone(shop: Shop) -> None:
    shop.run(Wish(tables=(SILVER,)))
    shop.add([row(3, 2, valor=-3)])
    before = head(shop)
    shop.run(Wish(tables=(SILVER,)))
    state = shop.lake.require(SILVER)
    difference = shop.lake.changed(state, before, head(shop))
    for file in (*difference.added.files, *difference.removed.files):
        Path(file.path).unlink()
    gone = {file.path for file in shop.lake.files(state, before).files}
    for path in gone - {file.path for file in shop.lake.files(state).files}:
        Path(path).unlink()
    shop.run()
    totals = {each["uf"]: each["total"] for each in shop.rows("gold.por_uf")}
    assert totals["U3"] == sum(number for number in range(1000) if number % 9 == 3) - 6
