"""The doctor finds what is not well, says what helps, and is content once that was done; columns are counted."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.pedidos import Pedidos, order

from datalab.ingest.native import library
from datalab.names import TableName
from datalab.platform.lab import Lab
from datalab.platform.settings import load


@pytest.fixture(autouse=True)
def _a_file_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALAB__INGEST__BATCH_FILES", "1")


def findings(pedidos: Pedidos, code: int = 1) -> set[tuple[str, str]]:
    return {(found["check"], found["table"]) for found in pedidos("doctor", "--json", code=code).json}


def data_folder(pedidos: Pedidos, table: str) -> Path:
    with Lab(load(pedidos.folder, environ=os.environ)) as lab:
        return Path(lab.lake.require(TableName.parse(table)).target().location)


def test_findings_come_and_go(pedidos: Pedidos, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(12):
        pedidos.deliver(f"d{day:02}", order(f"{day}", uf=f"U{day}"))
    pedidos.run()
    assert findings(pedidos) == {("small files", "bronze.pedidos")}
    told = pedidos("doctor", "bronze.pedidos", code=1).out
    assert "12 of 12 files are below half of 256MiB" in told
    assert "datalab data optimize bronze.pedidos" in told
    pedidos("data", "optimize", "--all")
    assert findings(pedidos, 0) == set()
    assert "all is well" in pedidos("doctor").out

    for name, value in {"READERS": "0s", "KEEP_FOR": "0s", "KEEP": "1", "SNAPSHOTS": "12", "METADATA": "1"}.items():
        monkeypatch.setenv(f"DATALAB__MAINTENANCE__{name}", value)
    found = findings(pedidos)
    assert {("dead bytes", "bronze.pedidos"), ("snapshots", "bronze.pedidos")} <= found
    pedidos.deliver("e", order("e"))
    pedidos.run()
    pedidos("data", "optimize", "--all")
    pedidos("data", "cleanup", "--all")
    monkeypatch.delenv("DATALAB__MAINTENANCE__METADATA")
    assert findings(pedidos, 0) == set()


def test_what_is_lost_left_or_late_is_found(pedidos: Pedidos, monkeypatch: pytest.MonkeyPatch) -> None:
    pedidos.deliver("d1", order("a"), order("b"))
    pedidos.run()
    bronze, silver = data_folder(pedidos, "bronze.pedidos"), data_folder(pedidos, "silver.pedidos")
    orphan = bronze / "dl-left.parquet"
    orphan.write_bytes(b"half")
    week = time.time() - 7 * 86400
    os.utime(orphan, (week, week))
    nobodys = pedidos.folder / "lake" / "bronze" / "antiga"
    nobodys.mkdir()
    (nobodys / "x.parquet").write_bytes(b"x")
    pedidos.deliver("d2", order("c"))
    pedidos("data", "ingest")
    monkeypatch.setenv("DATALAB__MAINTENANCE__STALE", "0s")
    expected = {
        ("files without an entry", "bronze.pedidos"),
        ("files without an entry", "bronze.antiga"),
        ("stale", "silver.pedidos"),
    }
    assert findings(pedidos) == expected
    pedidos("data", "vacuum", "--all")
    shutil.rmtree(nobodys)
    pedidos.run()
    assert findings(pedidos, 0) == set()
    pedidos("data", "tag", "silver.pedidos", "restore-0815")
    assert findings(pedidos) == {("leftovers", "silver.pedidos")}
    pedidos("data", "tag", "silver.pedidos", "restore-0815", "--remove")
    pedidos("data", "tag", "silver.pedidos", "restore-20260101-120000-0a1b2c3d")
    (found,) = pedidos("doctor", "--json", code=1).json
    assert found["hint"].endswith("--remove; data cleanup does it 6 hours after it began")
    pedidos("data", "cleanup", "silver.pedidos")
    assert findings(pedidos, 0) == set()
    next(silver.glob("dl-*.parquet")).unlink()
    assert findings(pedidos) == {("entry without files", "silver.pedidos")}
    other = "CREATE STREAMING TABLE silver.outra AS SELECT * FROM STREAM bronze.pedidos;"
    pedidos.write("pipelines/pedidos.sql", other)
    assert {("no contract", "gold.por_uf"), ("no contract", "silver.pedidos")} <= findings(pedidos)


def test_lost_marks_of_deleted_rows_are_found(
    tmp_path: Path, datalab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, warm: None
) -> None:
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", "iceberg")
    pedidos = Pedidos(tmp_path, datalab).create()
    pedidos.pipeline("DROP ROW\n);\nCREATE FLOW", "DROP ROW\n) TBLPROPERTIES ('datalab.mark_rows' = '1');\nCREATE FLOW")
    pedidos.deliver("d1", *[order(f"{number}", uf=f"U{number}") for number in range(12)])
    pedidos.run()
    pedidos.deliver("d2", order("3", uf="U3", valor=4, versao=2))
    pedidos.run()
    assert findings(pedidos, 0) == set()
    next(data_folder(pedidos, "silver.pedidos").glob("gone-*.parquet")).unlink()
    assert findings(pedidos) == {("entry without files", "silver.pedidos")}


def test_files_that_were_cut_or_closed_are_found(pedidos: Pedidos, monkeypatch: pytest.MonkeyPatch) -> None:
    pedidos.deliver("d1", order("a"))
    pedidos.run()
    (file,) = data_folder(pedidos, "silver.pedidos").glob("dl-*.parquet")
    whole = file.read_bytes()
    for content in (whole[:-8], b""):
        file.write_bytes(content)
        assert findings(pedidos) == {("damaged files", "silver.pedidos")}
    file.write_bytes(whole)
    monkeypatch.setattr("datalab.platform.doctor.os.access", lambda path, _: path != file)
    assert findings(pedidos) == {("damaged files", "silver.pedidos")}


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_table_that_cannot_be_read_is_named_and_the_others_are_looked_at(pedidos: Pedidos, damage: str) -> None:
    pedidos.deliver("d1", order("a"))
    pedidos.run()
    well = pedidos("data", "list", "--json").json
    assert {row["problem"] for row in well} == {None}
    place = pedidos.folder / "lake" / "gold" / "por_uf"
    for path in [*place.glob("metadata/*.json"), *place.glob("_delta_log/*.json")]:
        path.unlink() if damage == "gone" else path.write_bytes(b"\xc3" * path.stat().st_size)
    assert ("entry without files", "gold.por_uf") in findings(pedidos)

    answer = pedidos("data", "list", "--json", code=8)
    listed = {row["table"]: row for row in answer.json}
    assert [row for row in listed.values() if row["problem"] is None] == [
        row for row in well if row["table"] != "gold.por_uf"
    ]
    assert listed["gold.por_uf"]["rows"] is None
    assert json.loads(answer.err)["error"]["message"] == listed["gold.por_uf"]["problem"]
    told = pedidos("data", "list", code=8)
    assert len(told.out.splitlines()) == len(well) + 1
    assert "problem" in told.out.splitlines()[0]
    assert told.err.startswith("error: ")


def test_columns_of_changed_tables_are_counted(pedidos: Pedidos) -> None:
    pedidos.pipeline("uf, valor, versao FROM", "nullif(uf, 'RJ') AS uf, valor, versao, 1 AS `va``lor b` FROM")
    pedidos.deliver("d1", order("a", uf="RJ"), order("b"), order("c"))
    pedidos.run()
    assert pedidos("data", "analyze", "silver.pedidos", "--dry-run", "--json").json[0]["why"] == "would be counted"
    counted = {row["column_name"]: row for row in pedidos("data", "analyze", "silver.pedidos", "--json").json}
    assert set(counted) == {"id", "documento", "uf", "valor", "versao", "va`lor b"}
    assert [counted["uf"][name] for name in ("rows", "nulls", "distinct_values")] == [3, 1, 1]
    assert [counted["id"][name] for name in ("rows", "nulls", "distinct_values")] == [3, 0, 3]
    again = pedidos("data", "analyze", "silver.pedidos", "--json").json
    assert again == [{"table": "silver.pedidos", "why": "unchanged since it was counted"}]
    pedidos("data", "optimize", "--all")
    assert pedidos("data", "analyze", "silver.pedidos", "--json").json == again
    pedidos.deliver("d2", order("d"))
    pedidos.run()
    pedidos("data", "analyze", "--all")
    rows = pedidos.rows("SELECT rows FROM ops.statistics WHERE table_name = 'silver.pedidos' AND column_name = 'id'")
    assert rows == [(3,), (4,)]


def test_a_topic_that_comes_in_slower_than_it_could(pedidos: Pedidos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALAB__SOURCES__PEDIDOS__TOPIC", "pedidos")
    monkeypatch.setenv("DATALAB__KAFKA__BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("DATALAB__KAFKA__REGISTRY", "http://127.0.0.1:1")
    monkeypatch.setattr(library, "built", object)
    assert findings(pedidos, 0) == set()
    monkeypatch.setattr(library, "built", lambda: None)
    assert findings(pedidos) == {("part in C", "")}
    assert "install a C compiler" in pedidos("doctor", code=1).out
