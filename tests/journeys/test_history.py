"""STORED AS SCD TYPE 2 against a model of a few lines: rows late, repeated, deleted, in any batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.journeys.rows import close_rows
from tests.journeys.shop import PEDIDOS, SCHEMA, Row, Shop

from datalab.engine.base import Engine
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import PipelineError
from datalab.lake.lake import open_lake
from datalab.pipelines.typecheck import check_types

SQL = """
    CREATE STREAMING TABLE silver.historia (CONSTRAINT valor_possivel EXPECT (valor >= 0) ON VIOLATION DROP ROW);
    CREATE FLOW f AS AUTO CDC INTO silver.historia FROM STREAM bronze.pedidos
      KEYS (id) APPLY AS DELETE WHEN valor = 7 SEQUENCE BY versao COLUMNS * EXCEPT (versao) STORED AS SCD TYPE 2
      {track};
    CREATE MATERIALIZED VIEW gold.atuais AS
      SELECT uf, count(*) AS n, sum(valor) AS total, max(__start_at) AS desde
      FROM silver.historia WHERE __end_at IS NULL GROUP BY uf
"""
TRACKED = {
    "": ("uf", "valor"),
    "TRACK HISTORY ON (uf)": ("uf",),
    "TRACK HISTORY ON * EXCEPT (uf)": ("valor",),
}
ROWS = st.fixed_dictionaries(
    {
        "id": st.sampled_from("ab"),
        "versao": st.integers(0, 9),
        "uf": st.sampled_from(["SP", "MT", None]),
        "valor": st.integers(-1, 9).map(lambda value: min(value, 7)),
    }
)
BATCHES = st.lists(st.lists(ROWS, max_size=6), min_size=1, max_size=4)


def versions(rows: Sequence[Row], tracked: Sequence[str]) -> list[Row]:
    """The versions of each key: walk its rows in order of their sequence."""
    found: list[Row] = []
    for key in sorted({row["id"] for row in rows}):
        open_one: Row | None = None
        for row in _moments([row for row in rows if row["id"] == key and row["valor"] >= 0]):
            same = open_one is not None and all(open_one[name] == row[name] for name in tracked)
            if open_one is not None and (row["valor"] == 7 or not same):
                found.append({**open_one, "__end_at": row["versao"]})
            if row["valor"] == 7:
                open_one = None
            else:
                start = open_one["__start_at"] if open_one is not None and same else row["versao"]
                open_one = {"id": key, "uf": row["uf"], "valor": row["valor"], "__start_at": start, "__end_at": None}
        found += [open_one] if open_one is not None else []
    return found


def _moments(rows: Sequence[Row]) -> list[Row]:
    """Of each sequence the greatest row, NULL lowest."""
    best: dict[int, Row] = {}
    for row in rows:
        if row["versao"] not in best or _rank(row) > _rank(best[row["versao"]]):
            best[row["versao"]] = row
    return [best[moment] for moment in sorted(best)]


def _rank(row: Row) -> tuple[Any, ...]:
    return (row["uf"] is not None, row["uf"] or "", row["valor"])


def current(found: Sequence[Row]) -> list[Row]:
    now = [row for row in found if row["__end_at"] is None]
    groups = {row["uf"]: [each for each in now if each["uf"] == row["uf"]] for row in now}
    return [
        {
            "uf": uf,
            "n": len(rows),
            "total": sum(row["valor"] for row in rows),
            "desde": max(row["__start_at"] for row in rows),
        }
        for uf, rows in groups.items()
    ]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    yield engine
    engine.close()


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
@pytest.mark.parametrize("track", TRACKED, ids=["all columns", "on", "except"])
@settings(
    max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(batches=BATCHES)
def test_versions_do_not_depend_on_the_order_of_arrival(engine, table_format, track, batches):
    with TemporaryDirectory() as folder:
        shop = Shop(open_lake(table_format, str(Path(folder) / "lake")), engine, SQL.format(track=track))
        taken: list[Row] = []
        for batch in batches:
            shop.add(batch)
            taken.extend(batch)
            shop.run()
            expected = versions(taken, TRACKED[track])
            assert close_rows(shop.rows("silver.historia"), expected)
            assert close_rows(shop.rows("gold.atuais"), current(expected))


def test_a_late_row_splits_a_version_and_a_delete_closes_one(engine, tmp_path):
    shop = Shop(open_lake("iceberg", str(tmp_path / "lake")), engine, SQL.format(track=""))

    def history(*rows: tuple[int, str, int]) -> list[tuple[Any, ...]]:
        shop.add([{"id": "a", "versao": moment, "uf": uf, "valor": valor} for moment, uf, valor in rows])
        shop.run()
        found = shop.rows("silver.historia")
        return sorted((row["__start_at"], row["__end_at"], row["uf"]) for row in found)

    assert history((10, "SP", 1), (30, "MT", 1)) == [(10, 30, "SP"), (30, None, "MT")]
    assert history((20, "GO", 1)) == [(10, 20, "SP"), (20, 30, "GO"), (30, None, "MT")]
    assert history((25, "", 7)) == [(10, 20, "SP"), (20, 25, "GO"), (30, None, "MT")]
    assert history((22, "GO", 1)) == [(10, 20, "SP"), (20, 25, "GO"), (30, None, "MT")]


def test_rows_delivered_again_write_no_file(engine, tmp_path):
    shop = Shop(open_lake("iceberg", str(tmp_path / "lake")), engine, SQL.format(track=""))
    rows = [{"id": "a", "versao": moment, "uf": "SP", "valor": moment} for moment in range(5)]
    for _ in range(2):
        shop.add(rows)
        shop.run()
    history = shop.lake.history(shop.lake.require(shop.graph.flows[0].flow.target))
    assert [(entry.rows_added, entry.rows_removed) for entry in history] == [(5, 0), (0, 0)]


def test_the_bounds_of_versions_are_columns_of_the_checked_table(engine, tmp_path):
    shop = Shop(open_lake("iceberg", str(tmp_path / "lake")), engine, SQL.format(track=""))
    schemas = check_types(shop.graph, engine, {PEDIDOS: SCHEMA})
    silver, gold = (node.flow.target for node in shop.graph.flows)
    assert schemas[silver].names == ["id", "uf", "valor", "__start_at", "__end_at"]
    assert {schemas[silver].field(name).type for name in ("__start_at", "__end_at")} == {pa.int64()}
    assert schemas[gold].field("desde").type == pa.int64()


def test_flows_into_one_table_keep_the_same_history(engine, tmp_path):
    other = "CREATE FLOW g AS AUTO CDC INTO silver.historia FROM STREAM bronze.pedidos KEYS (id) SEQUENCE BY versao"
    with pytest.raises(PipelineError, match="another history"):
        Shop(open_lake("iceberg", str(tmp_path / "lake")), engine, f"{SQL.format(track='')};{other}")
