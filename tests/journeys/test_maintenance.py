"""Tables are kept healthy while they are used: merged, expired, cleaned, and everything goes on as before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.journeys.pedidos import Pedidos, order

from datalab.lake.provenance import Provenance
from datalab.lake.table import Change
from datalab.ml.history import Entry, remember
from datalab.names import TableName
from datalab.pipelines.records import append_records
from datalab.platform.lab import Lab
from datalab.platform.settings import load

AT_ONCE = {"READERS": "0s", "KEEP_FOR": "0s", "KEEP": "1", "ORPHANS": "0s"}
HOLD = """
import sys
from datalab.engine.duckdb import DuckDBEngine
engine = DuckDBEngine(temp_directory=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AT_ONCE.items():
        monkeypatch.setenv(f"DATALAB__MAINTENANCE__{name}", value)


def deliver(pedidos: Pedidos, days: range) -> None:
    for day in days:
        pedidos.deliver(f"d{day}", *(order(f"{day}-{number}", uf=f"U{number}", versao=day) for number in range(3)))
        pedidos.run()


def table(answer: Any, name: str) -> dict[str, Any]:
    return next(row for row in answer.json if row.get("table") == name)


def test_optimize_merges_small_files_and_moves_no_row(pedidos: Pedidos) -> None:
    deliver(pedidos, range(1, 5))
    before = {name: pedidos.rows(f"SELECT * FROM {name}") for name in ("bronze.pedidos", "silver.pedidos")}
    planned = table(pedidos("data", "optimize", "--all", "--dry-run", "--json"), "bronze.pedidos")
    assert (planned["files"], planned["into"]) == (4, None)
    assert table(pedidos("data", "list", "--json"), "bronze.pedidos")["files"] == 4
    done = table(pedidos("data", "optimize", "--all", "--json"), "bronze.pedidos")
    assert (done["files"], done["into"], done["why"]) == (4, 1, "4 small files")
    listed = pedidos("data", "list", "--json")
    assert table(listed, "bronze.pedidos")["files"] == 1
    assert {name: pedidos.rows(f"SELECT * FROM {name}") for name in before} == before
    assert pedidos.run().json["status"] == "nothing_to_do"
    assert table(pedidos("data", "optimize", "bronze.pedidos", "--json"), "bronze.pedidos")["why"] == "nothing to merge"
    deliver(pedidos, range(5, 6))
    assert len(pedidos.rows("SELECT * FROM silver.pedidos")) == 15
    history = pedidos("data", "history", "bronze.pedidos", "--json").json
    assert [entry["kind"] for entry in history] == ["append", "compact", *["append"] * 4]


def test_internal_columns_and_order_survive_compaction(pedidos: Pedidos) -> None:
    deliver(pedidos, range(1, 4))
    pedidos("data", "optimize", "--all")
    pedidos.deliver("late", order("2-1", uf="XX", versao=1), order("3-1", uf="YY", versao=9))
    pedidos.run()
    found = dict(pedidos.rows("SELECT id, uf FROM silver.pedidos"))
    assert (found["2-1"], found["3-1"]) == ("U1", "YY")


def test_cleanup_keeps_what_consumers_and_training_sets_need_and_says_so(pedidos: Pedidos, at_once: None) -> None:
    deliver(pedidos, range(1, 4))
    first = pedidos("data", "history", "silver.pedidos", "--json").json[-1]["snapshot"]
    with Lab(load(pedidos.folder, environ=os.environ)) as lab:
        gold = lab.lake.require(TableName.parse("gold.por_uf"))
        keeping = Provenance("r", "treino", "append", details={"keeps": {"silver.pedidos": first}})
        lab.lake.commit(gold, Change(keeping))
    pedidos.pipeline("count(*) AS pedidos", "count(*) AS pedidos, max(versao) AS versao")
    expired = pedidos("data", "expire", "--all", "--dry-run", "--json").json
    silver = next(row for row in expired if row["table"] == "silver.pedidos")
    assert (silver["expired"], silver["kept"]) == (1, 2)
    kept = {entry["snapshot"]: entry["why"] for entry in silver["snapshots"] if entry["stays"]}
    assert "gold.por_uf@" in kept[first]
    assert pedidos("data", "cleanup", "--all", "--json").json[-1]["step"] == "temporary folders"
    assert [entry["snapshot"] for entry in pedidos("data", "history", "silver.pedidos", "--json").json][-1] == first
    assert len(pedidos.rows("SELECT * FROM silver.pedidos")) == 9
    assert pedidos("data", "show", "silver.pedidos", "--at", str(first), "--json").json["rows"]
    pedidos.deliver("d9", order("9", versao=9))
    assert pedidos.run().json["status"] == "ok"
    assert len(pedidos.rows("SELECT * FROM silver.pedidos")) == 10


def test_cleaning_a_copy_of_a_project_removes_nothing_of_the_original(pedidos: Pedidos, at_once: None) -> None:
    deliver(pedidos, range(1, 3))
    copy = pedidos.folder.with_name(f"{pedidos.folder.name}-copy")
    shutil.copytree(pedidos.folder, copy)
    deliver(pedidos, range(3, 5))
    time.sleep(0.1)
    answer = pedidos.datalab("data", "cleanup", "--all", "--project", str(copy), "--json")
    told = [row["why"] for row in answer.json if row["table"] == "silver.pedidos"]
    assert all("outside of this project's warehouse" in why for why in told) == (answer.code != 0)
    assert len(pedidos.rows("SELECT * FROM silver.pedidos")) == 12
    assert len(pedidos.rows("SELECT * FROM bronze.pedidos")) == 12


def test_a_copy_of_a_project_writes_nothing_into_the_original(pedidos: Pedidos) -> None:
    deliver(pedidos, range(1, 3))
    copy = Pedidos(pedidos.folder.with_name(f"{pedidos.folder.name}-copy"), pedidos.datalab)
    shutil.copytree(pedidos.folder, copy.folder)
    present = set((pedidos.folder / "lake").rglob("*"))
    copy.deliver("d3", order("3-0"))
    answer = copy.datalab("run", "--project", copy.folder)
    assert set((pedidos.folder / "lake").rglob("*")) == present
    if answer.code:  # Iceberg's tables name their files by absolute paths
        assert "lies in another warehouse" in answer.err
    assert len(copy.rows("SELECT * FROM silver.pedidos")) == (6 if answer.code else 7)
    found = copy.datalab("doctor", "--project", copy.folder, "--json")
    assert [finding["check"] for finding in found.json] == (["copied folder"] if answer.code else [])
    assert found.code == (1 if answer.code else 0), found.err


def test_a_project_that_was_moved_is_told_to_go_back_or_works(pedidos: Pedidos) -> None:
    deliver(pedidos, range(1, 2))
    moved = Pedidos(pedidos.folder.with_name(f"{pedidos.folder.name}-moved"), pedidos.datalab)
    pedidos.folder.rename(moved.folder)
    answer = moved.datalab("run", "--project", moved.folder)
    if answer.code:
        assert "move a folder that was moved back" in answer.err
        pedidos.folder.symlink_to(moved.folder)
    assert moved.run().json
    assert len(moved.rows("SELECT * FROM silver.pedidos")) == 3


def test_the_training_sets_of_models_stay_while_others_go(pedidos: Pedidos, at_once: None) -> None:
    name = TableName("training", "treino")
    with Lab(load(pedidos.folder, environ=os.environ)) as lab:
        for number in range(5):
            append_records(lab.context(), name, pa.schema([("number", pa.int64())]), [{"number": number}])
        live, other, refused, newest, _ = (str(each.id) for each in lab.lake.history(lab.lake.require(name)))
        at = datetime(2026, 11, 20, tzinfo=UTC)
        remember(
            lab.context(),
            Entry(at, "m", 1, "registered", "ana", training_set=f"treino@{live}"),
            Entry(at, "m", 1, "promoted", "ana", training_set=f"treino@{live}"),
            Entry(at, "m", 2, "registered", "ana", training_set=f"treino@{refused}"),
            Entry(at, "m", 2, "refused", "ana", training_set=f"treino@{refused}"),
            Entry(at, "m", 3, "registered", "ana", training_set=f"treino@{newest}"),
        )
    answer = pedidos("data", "expire", "training.treino", "--json").json[0]
    why = {str(each["snapshot"]): each["why"] for each in answer["snapshots"]}
    assert why[live] == "m version 1 learnt from it"
    assert why[newest] == "m version 3 learnt from it"
    left = [str(each["snapshot"]) for each in pedidos("data", "history", "training.treino", "--json").json]
    assert (live in left, newest in left, other in left, refused in left) == (True, True, False, False)
    told = pedidos("doctor", "training.treino", "--json")
    assert [each for each in told.json if each["check"] == "dead bytes"] == []


def test_a_consumer_that_lags_keeps_all_that_it_has_not_seen(pedidos: Pedidos, at_once: None) -> None:
    deliver(pedidos, range(1, 2))
    for day in (2, 3):
        pedidos.deliver(f"d{day}", order(f"{day}", versao=day))
        pedidos("data", "ingest")
    answer = pedidos("data", "expire", "bronze.pedidos", "--json").json[0]
    assert (answer["expired"], answer["kept"]) == (0, 3)
    assert "silver.pedidos (flow atualiza) stands here" in answer["snapshots"][0]["why"]
    assert answer["snapshots"][1]["why"] == "not yet consumed by silver.pedidos (flow atualiza)"
    pedidos.run()
    assert len(pedidos.rows("SELECT * FROM silver.pedidos")) == 5
    assert pedidos("data", "expire", "bronze.pedidos", "--json").json[0]["expired"] == 2
    pedidos.deliver("d4", order("4"))
    pedidos.run()
    assert len(pedidos.rows("SELECT * FROM silver.pedidos")) == 6
    assert pedidos.run().json["status"] == "nothing_to_do"


def test_a_consumer_of_a_merged_table_does_not_hold_the_files_of_before(pedidos: Pedidos, at_once: None) -> None:
    deliver(pedidos, range(1, 4))
    pedidos("data", "optimize", "--all")
    pedidos("data", "optimize", "--all")
    kept = pedidos("data", "expire", "bronze.pedidos", "--json").json[0]
    assert kept["kept"] == 1
    assert pedidos.run().json["status"] == "nothing_to_do"
    deliver(pedidos, range(4, 5))
    assert len(pedidos.rows("SELECT * FROM silver.pedidos")) == 12
    assert pedidos.rows("SELECT uf, total FROM gold.por_uf") == []  # four orders each: the view's constraint drops them
    assert pedidos.run().json["status"] == "nothing_to_do"


def test_a_snapshot_replaced_a_moment_ago_stays_for_its_readers(
    pedidos: Pedidos, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALAB__MAINTENANCE__READERS", "1h")
    deliver(pedidos, range(1, 4))
    answer = pedidos("data", "expire", "gold.por_uf", "--json").json[0]
    assert answer["expired"] == 0
    assert "a reader may still be at it" in answer["snapshots"][0]["why"]


def test_vacuum_removes_orphans_after_the_grace_period_only(pedidos: Pedidos) -> None:
    deliver(pedidos, range(1, 3))
    with Lab(load(pedidos.folder, environ=os.environ)) as lab:
        data = Path(lab.lake.require(TableName.parse("bronze.pedidos")).target().location)
    old, young = data / "staging-1" / "dl-old.parquet", data / "dl-young.parquet"
    for path in (old, young):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half a file")
    week = time.time() - 7 * 86400
    os.utime(old, (week, week))
    (data / "staging-gone").symlink_to(data / "nowhere")  # as a folder that its writer takes away while we look
    planned = pedidos("data", "vacuum", "bronze.pedidos", "--dry-run", "--json").json[0]
    assert (planned["files"], planned["bytes"], planned["young"]) == (1, 11, 1)
    assert old.exists()
    assert pedidos("data", "vacuum", "bronze.pedidos", "--json").json[0]["files"] == 1
    assert not old.exists()
    assert young.exists()
    assert len(pedidos.rows("SELECT * FROM bronze.pedidos")) == 6


def test_cleanup_removes_the_temporary_folders_of_dead_processes(pedidos: Pedidos) -> None:
    pedidos.run()
    temporary = pedidos.folder / ".datalab" / "tmp"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", HOLD, str(temporary)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pedidos("data", "cleanup", "--all")
        assert len(list(temporary.glob("datalab-*"))) == 1
        process.kill()
    assert pedidos("data", "cleanup", "--all", "--json").json[-1]["files"] == 1
    assert list(temporary.glob("datalab-*")) == []


def test_tables_are_named_or_all(pedidos: Pedidos) -> None:
    assert "--all" in pedidos("data", "optimize", code=2).err
    assert "there is no table bronze.nada" in pedidos("data", "vacuum", "bronze.nada", code=4).err
