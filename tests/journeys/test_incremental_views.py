"""Silver by AUTO CDC and grouped gold, batch by batch, against a model of a few lines: any order, late, repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.journeys.rows import close_rows
from tests.journeys.shop import Row, Shop

from datalab.engine.base import Engine
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import Fenced
from datalab.lake.lake import open_lake
from datalab.names import TableName
from datalab.pipelines.context import new_context
from datalab.pipelines.execute import execute
from datalab.pipelines.plan import plan_flow
from datalab.platform.heads import read_heads
from datalab.platform.wish import Wish

SILVER = """
    CREATE STREAMING TABLE silver.pedidos (CONSTRAINT valor_possivel EXPECT (valor >= 0) ON VIOLATION DROP ROW)
      TBLPROPERTIES ('datalab.mark_rows' = '1');
    CREATE FLOW atualiza AS AUTO CDC INTO silver.pedidos FROM STREAM bronze.pedidos KEYS (id) SEQUENCE BY versao
"""
GOLD = """
    CREATE MATERIALIZED VIEW gold.por_uf TBLPROPERTIES ('datalab.mark_rows' = '1') AS
    SELECT uf, count(*) AS n, sum(valor) AS total, min(valor) AS menor, median(valor) AS mediana
    FROM silver.pedidos GROUP BY uf HAVING count(*) > 1
"""
DELETES = " APPLY AS DELETE WHEN valor = 7"

ROWS = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcdef"),
        "versao": st.integers(0, 6),
        "uf": st.sampled_from(["SP", "MT", None]),
        "valor": st.integers(-1, 9),
    }
)
BATCHES = st.lists(st.lists(ROWS, max_size=6), min_size=1, max_size=4)


def winners(rows: Sequence[Row], *, deletes: bool) -> list[Row]:
    """Per id the row of the highest version; of equals the greatest, NULL lowest."""
    best: dict[str, Row] = {}
    for row in rows:
        gone = deletes and row["valor"] == 7
        if (row["valor"] >= 0 or gone) and _rank(row) > _rank(best.get(row["id"])):
            best[row["id"]] = row
    return [row for row in best.values() if not (deletes and row["valor"] == 7)]


def _rank(row: Row | None) -> tuple[Any, ...]:
    return (-1,) if row is None else (row["versao"], row["uf"] is not None, row["uf"] or "", row["valor"])


def summed(rows: Sequence[Row]) -> list[Row]:
    """The gold view over the model's silver."""
    groups: dict[str | None, list[int]] = {}
    for row in rows:
        groups.setdefault(row["uf"], []).append(row["valor"])
    return [
        {"uf": uf, "n": len(v), "total": sum(v), "menor": min(v), "mediana": float(median(v))}
        for uf, v in groups.items()
        if len(v) > 1
    ]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    yield engine
    engine.close()


BEFORE: list[Row] = [
    {"id": f"x{number}", "versao": 1, "uf": ["SP", "MT", None, "BA"][number % 4], "valor": [1, 2, 3, 5, 9][number % 5]}
    for number in range(60)
]
BRIEF = settings(
    max_examples=3, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck), deadline=None
)


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
@pytest.mark.parametrize("deletes", [False, True], ids=["upserts", "with deletes"])
@settings(BRIEF)
@given(batches=BATCHES)
def test_any_order_of_any_rows_gives_what_the_model_gives(engine, table_format, deletes, batches):
    as_the_model(engine, table_format, deletes, batches)


@pytest.mark.full
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
@pytest.mark.parametrize("deletes", [False, True], ids=["upserts", "with deletes"])
@settings(BRIEF, max_examples=75)
@given(batches=BATCHES)
def test_any_order_of_any_rows_again_and_again(engine, table_format, deletes, batches):
    as_the_model(engine, table_format, deletes, batches)


def as_the_model(engine: Engine, table_format: str, deletes: bool, batches: list[list[Row]]) -> None:
    """Batch by batch from a table of some rows; views with what is kept of their groups, and from their rows."""
    with TemporaryDirectory() as folder:
        lake = open_lake(table_format, str(Path(folder) / "lake"))
        shop = Shop(lake, engine, f"{SILVER}{DELETES if deletes else ''};{GOLD}")
        taken: list[Row] = []
        for batch in (BEFORE, *batches):
            shop.add(batch)
            taken.extend(batch)
            record = shop.run()
            assert taken == BEFORE or record.results[-1].step.kind in ("replace_groups", "skip")
            expected = winners(taken, deletes=deletes)
            assert close_rows(shop.rows("silver.pedidos"), expected)
            assert close_rows(shop.rows("gold.por_uf"), summed(expected))
        incremental = shop.rows("gold.por_uf")
        shop.run(Wish(refresh_all=True))
        assert close_rows(shop.rows("gold.por_uf"), incremental)
        assert {result.status for result in shop.run().results} == {"skipped"}


REGIAO = TableName.parse("gold.por_regiao")
NAMES = """
    CREATE STREAMING TABLE silver.nomes AS SELECT id, uf AS regiao FROM STREAM bronze.pedidos WHERE valor = 9;
    CREATE MATERIALIZED VIEW gold.por_regiao AS
    SELECT n.regiao, count(*) AS n, sum(p.valor) AS total, max_by(p.valor, p.id) AS ultimo
    FROM silver.pedidos p JOIN silver.nomes n ON p.id = n.id GROUP BY n.regiao
"""


@pytest.mark.parametrize("keep", [9, 0], ids=["kept", "from the rows"])
@settings(BRIEF, max_examples=2)
@given(batches=BATCHES)
def test_a_join_follows_the_one_table_that_changed(engine, keep, batches):
    sql = NAMES if not keep else NAMES.replace(", max_by(p.valor, p.id) AS ultimo", ", median(p.valor) AS mediana")
    with TemporaryDirectory() as folder:
        shop = Shop(open_lake("iceberg", str(Path(folder) / "lake")), engine, f"{SILVER};{sql}", keep=keep)
        shop.add([*BEFORE, *({"id": key, "versao": 0, "uf": uf, "valor": 9} for key, uf in (("a", "SP"), ("b", None)))])
        shop.run()
        for batch in batches:
            shop.add([row for row in batch if row["valor"] != 9])
            (gold,) = [each for each in shop.run().results if each.step.target == REGIAO]
            assert gold.step.kind in ("skip", "replace_groups"), gold.step.reason
            incremental = shop.rows("gold.por_regiao")
            shop.run(Wish(tables=(REGIAO,), refresh=frozenset({REGIAO})))
            assert close_rows(shop.rows("gold.por_regiao"), incremental)


WAYS = {
    "por_escrito": "GROUP BY lower(uf)",
    "por_todos": "GROUP BY ALL",
    "por_posicao": "GROUP BY 1",
}


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_all_and_positions_are_kept_up_as_what_they_stand_for(engine, tmp_path, table_format):
    select = "SELECT lower(uf) AS sigla, 'UF' AS tipo, count(*) AS n, mean(valor) + max(valor) AS m FROM silver.pedidos"
    gold = ";".join(f"CREATE MATERIALIZED VIEW gold.{view} AS {select} {by}" for view, by in WAYS.items())
    shop = Shop(open_lake(table_format, str(tmp_path / "lake")), engine, f"{SILVER}{DELETES};{gold}")
    added = [{"id": "novo", "versao": 1, "uf": "AC", "valor": 4}]
    moved = [{"id": "x1", "versao": 2, "uf": "SP", "valor": 8}, {"id": "x2", "versao": 2, "uf": None, "valor": 1}]
    deleted = [{"id": "novo", "versao": 3, "uf": "AC", "valor": 7}, {"id": "x0", "versao": 3, "uf": "SP", "valor": 7}]
    for batch in (BEFORE, added, moved, deleted):
        shop.add(batch)
        kinds = {result.step.target.table: result.step.kind for result in shop.run().results}
        assert {kinds[view] for view in WAYS} == {"replace" if batch is BEFORE else "replace_groups"}
        written, *others = [shop.rows(f"gold.{view}") for view in WAYS]
        assert all(close_rows(rows, written) for rows in others)
    incremental = [shop.rows(f"gold.{view}") for view in WAYS]
    assert {row["sigla"] for row in incremental[0]} == {"sp", "mt", "ba", None}
    shop.run(Wish(refresh_all=True))
    for view, rows in zip(WAYS, incremental, strict=True):
        assert close_rows(shop.rows(f"gold.{view}"), rows)


def test_only_touched_groups_are_computed_again(engine, tmp_path):
    shop = Shop(open_lake("iceberg", str(tmp_path / "lake")), engine, f"{SILVER};{GOLD}")
    shop.add([{"id": f"{n}", "versao": 1, "uf": f"U{n % 50}", "valor": n} for n in range(500)])
    shop.run()
    shop.add([{"id": "3", "versao": 2, "uf": "U4", "valor": 0}])
    record = shop.run()
    gold = next(result for result in record.results if result.step.target.layer == "gold")
    assert gold.step.kind == "replace_groups"
    assert gold.outcome.written == 2
    assert len(shop.rows("gold.por_uf")) == 50


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_changes_pass_through_a_chain_of_views(engine, tmp_path, table_format):
    chain = """
        CREATE MATERIALIZED VIEW gold.por_tamanho AS
        SELECT n > 120 AS grande, count(*) AS ufs, sum(total) AS total, max(mediana) AS maior
        FROM gold.por_uf GROUP BY n > 120;
        CREATE MATERIALIZED VIEW gold.resumo AS SELECT grande, ufs * 2 AS dobro FROM gold.por_tamanho
    """
    shop = Shop(open_lake(table_format, str(tmp_path / "lake")), engine, f"{SILVER};{GOLD};{chain}")
    shop.add([{"id": f"{n}", "versao": 1, "uf": f"U{n % 7 % 5}", "valor": n} for n in range(600)])
    shop.run()
    for version in range(2, 5):
        shop.add([{"id": "3", "versao": version, "uf": f"U{version}", "valor": 7 * version}])
        kinds = {result.step.target.table: result.step.kind for result in shop.run().results}
        assert kinds == {
            "pedidos": "upsert",
            "por_uf": "replace_groups",
            "por_tamanho": "replace_groups",
            "resumo": "replace",
        }
        incremental = [shop.rows(f"gold.{view}") for view in ("por_uf", "por_tamanho", "resumo")]
        names = frozenset(TableName.parse(f"gold.{view}") for view in ("por_uf", "por_tamanho", "resumo"))
        shop.run(Wish(tables=tuple(names), refresh=names))
        for view, rows in zip(("por_uf", "por_tamanho", "resumo"), incremental, strict=True):
            assert close_rows(shop.rows(f"gold.{view}"), rows)


def test_a_record_delivered_again_changes_nothing(engine, tmp_path):
    sql = """
        CREATE TEMPORARY VIEW novos AS SELECT *, current_timestamp() AS processado FROM STREAM bronze.pedidos;
        CREATE STREAMING TABLE silver.pedidos;
        CREATE FLOW atualiza AS AUTO CDC INTO silver.pedidos FROM STREAM novos KEYS (id) SEQUENCE BY versao
    """
    shop = Shop(open_lake("iceberg", str(tmp_path / "lake")), engine, sql)
    record = {"id": "a", "versao": 1, "uf": "SP", "valor": 1}
    shop.add([record])
    shop.run()
    first = shop.rows("silver.pedidos")
    shop.add([record, record])
    (result,) = shop.run().results
    assert result.outcome.superseded == 2
    assert shop.rows("silver.pedidos") == first


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_a_step_planned_before_another_writer_is_refused(engine, tmp_path, table_format):
    """Two processes plan the same new rows; the second to execute must not take them in again."""
    sql = "CREATE STREAMING TABLE silver.todos AS SELECT id, valor FROM STREAM bronze.pedidos"
    shop = Shop(open_lake(table_format, str(tmp_path / "lake")), engine, sql)
    shop.add([{"id": "a", "versao": 1, "uf": "SP", "valor": 1}])
    (node,) = shop.graph.flows
    early = plan_flow(node, read_heads(shop.lake, [node]))
    shop.run()
    with pytest.raises(Fenced, match=r"silver\.todos: another writer committed"):
        execute(new_context(shop.lake, engine), early, node.dataset)
    assert len(shop.rows("silver.todos")) == 1


def test_an_appended_table_streams_on_to_the_next(engine, tmp_path):
    sql = """
        CREATE STREAMING TABLE silver.grandes AS
          SELECT id, valor * 10 AS decuplo FROM STREAM bronze.pedidos WHERE valor > 5;
        CREATE STREAMING TABLE gold.todos AS SELECT id, decuplo FROM STREAM silver.grandes;
        CREATE FLOW mais AS INSERT INTO gold.todos
          SELECT id, valor AS decuplo FROM STREAM bronze.pedidos WHERE valor = 0
    """
    shop = Shop(open_lake("delta", str(tmp_path / "lake")), engine, sql)
    for batch in ([6, 1, 0], [9], [], [0, 7]):
        shop.add([{"id": "x", "versao": 1, "uf": "SP", "valor": value} for value in batch])
        shop.run()
    assert sorted(row["decuplo"] for row in shop.rows("gold.todos")) == [0, 0, 60, 70, 90]
    shop.run(Wish((TableName.parse("gold.todos"),), frozenset({TableName.parse("gold.todos")})))
    assert sorted(row["decuplo"] for row in shop.rows("gold.todos")) == [0, 0, 60, 70, 90]
    assert {result.status for result in shop.run().results} == {"skipped"}
