"""Queries that answer other columns than before: what the plan says, what is refused, what a full refresh does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.formats_files import PLAIN
from tests.journeys.pedidos import Pedidos, order

from datalab.names import TableName

SILVER = TableName("silver", "pedidos")


@pytest.fixture(params=["iceberg", "delta"])
def table_format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", request.param)
    return str(request.param)


@pytest.fixture
def pedidos(tmp_path: Path, datalab: Callable[..., Any], table_format: str, warm: None) -> Pedidos:
    made = Pedidos(tmp_path, datalab).create()
    made.deliver("d1", order("a", valor=1), order("b", valor=2))
    made.run()
    return made


def planned(pedidos: Pedidos, table: str, *more: str) -> dict[str, Any]:
    return next(step for step in pedidos("plan", *more, "--json").json if step["target"] == table)


def test_an_added_column_is_filled_in_for_old_rows_on_full_refresh_only(pedidos: Pedidos) -> None:
    pedidos.pipeline("uf, valor, versao FROM", "uf, valor, versao, valor * 2 AS dobro FROM")
    assert planned(pedidos, "silver.pedidos")["kind"] == "skip"
    pedidos.deliver("d2", order("c", valor=3))
    step = planned(pedidos, "silver.pedidos")
    pedidos("data", "ingest")
    step = planned(pedidos, "silver.pedidos")
    assert step["conflict"] == []
    assert "added column dobro (int64); empty in the rows that are there until --full-refresh" in step["reason"]
    pedidos.run()
    assert pedidos.rows("SELECT id, dobro FROM silver.pedidos") == [("a", None), ("b", None), ("c", 6)]
    pedidos("run", "silver.pedidos", "--full-refresh")
    assert pedidos.rows("SELECT id, dobro FROM silver.pedidos") == [("a", 2), ("b", 4), ("c", 6)]


def test_columns_that_go_or_change_their_type_are_refused_without_a_full_refresh(
    pedidos: Pedidos, table_format: str, tmp_path: Path
) -> None:
    before = pedidos("data", "history", "silver.pedidos", "--json").json[0]["snapshot"]
    pedidos.pipeline(
        "lower(cpf) AS documento, uf, valor, versao FROM", "CAST(valor AS STRING) AS valor, uf, versao FROM"
    )
    pedidos.pipeline("EXPECT (valor > 0)", "EXPECT (uf IS NOT NULL)")
    pedidos.pipeline("sum(valor) AS total", "max(valor) AS total")
    pedidos.deliver("d2", order("c", uf="RJ", valor=3))
    pedidos("data", "ingest")
    step = planned(pedidos, "silver.pedidos")
    assert step["conflict"] == ["removed column documento (string)", "changed column valor from int64 to string"]
    assert "refused: removed column documento (string)" in step["reason"]
    assert "refused" in pedidos("plan").out
    refused = pedidos.run(code=6)
    assert "the query does not fit the table any more" in refused.err
    assert len(pedidos.rows("SELECT documento FROM silver.pedidos")) == 2
    assert "changed column valor from int64 to string" in planned(pedidos, "silver.pedidos", "--full-refresh")["reason"]
    pedidos("run", "--full-refresh")
    assert pedidos.rows("SELECT id, valor, uf, versao FROM silver.pedidos") == [
        ("a", "1", "SP", 1),
        ("b", "2", "SP", 1),
        ("c", "3", "RJ", 1),
    ]
    assert sorted(pedidos.rows("SELECT uf, total FROM gold.por_uf")) == [("RJ", "3"), ("SP", "2")]
    assert pedidos.run().json["status"] == "nothing_to_do"
    plain = PLAIN[table_format](tmp_path / "lake", SILVER)
    assert "documento" not in plain.column_names
    assert sorted(plain.column("valor").to_pylist()) == ["1", "2", "3"]
    old = pedidos.datalab("data", "show", "silver.pedidos", "--at", str(before), "--json", "--project", pedidos.folder)
    assert sorted(row["valor"] for row in old.json["rows"]) == [1, 2]
    pedidos.deliver("d3", order("a", valor=9, versao=2))
    pedidos.run()
    assert ("a", "9", "SP", 2) in pedidos.rows("SELECT id, valor, uf, versao FROM silver.pedidos")
    assert "columns have changed since" in pedidos("data", "restore", "silver.pedidos", "--to", before, code=5).err


def test_a_view_whose_columns_change_is_refused_too(pedidos: Pedidos) -> None:
    pedidos.pipeline("sum(valor) AS total", "CAST(sum(valor) AS DOUBLE) AS media")
    assert "removed column total" in planned(pedidos, "gold.por_uf")["conflict"][0]
    assert "removed column total" in pedidos.run(code=6).err
    pedidos("run", "gold.por_uf", "--full-refresh")
    assert pedidos.rows("SELECT * FROM gold.por_uf") == [("SP", 2, 3.0)]
