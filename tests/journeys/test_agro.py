"""The farmers' project as a new user types it: files to gold, again with nothing new, again with a little new."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.ledger import Record, compare, read_ledger
from tests.journeys.rows import close_rows, table_rows

from datalab.cli.app import execute
from datalab.platform.lab import Lab
from datalab.platform.settings import load
from datalab.platform.wish import Wish

GOLD = (
    "gold.proponente_features_agro",
    "gold.location_features_agro",
    "gold.risk_features_agro",
    "gold.proponente_perfil_agro",
    "gold.uf_features_agro",
)
SILVER = ("silver.silver_dados_produtores_agro", "silver.desfechos_credito")
BRONZE = ("bronze.dados_produtores_agro", "bronze.desfechos_credito")


@pytest.fixture(params=["iceberg", "delta"])
def table_format(request, monkeypatch) -> str:
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", request.param)
    return request.param


@pytest.fixture
def agro(tmp_path, table_format) -> Path:
    folder = tmp_path / "um projeto"
    assert execute(["init", str(folder), "--template", "agro"]) == 0
    return folder


def simulate(folder: Path, rows: int, seed: int = 42, name: str = "ledger") -> Path:
    ledger = folder.parent / f"{name}.jsonl"
    shares = ["--bad", "3%", "--late", "5%", "--duplicates", "5%"]
    arguments = ["--rows", str(rows), "--files", "3", "--seed", str(seed), "--ledger", str(ledger), *shares]
    assert execute(["data", "simulate", "--project", str(folder), "--quiet", *arguments]) == 0
    return ledger


def open_lab(folder: Path) -> Lab:
    return Lab(load(folder, environ=os.environ))


def rows_of(folder: Path, *tables: str) -> dict[str, list[dict[str, object]]]:
    with open_lab(folder) as lab:
        return {table: table_rows(lab, f"SELECT * FROM {table}") for table in tables}


def without_times(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != "processed_at"} for row in rows]


def test_every_record_is_in_bronze_or_in_quarantine(agro, datalab):
    ledger = simulate(agro, 600)
    assert datalab("run", "--project", agro).code == 0
    with open_lab(agro) as lab:
        held = table_rows(
            lab,
            "SELECT source_file, source_row, proponente_id, metadata_evento.timestamp_geracao_evento AS s "
            f"FROM {BRONZE[0]}",
        )
        aside = table_rows(
            lab, f"SELECT source_file, source_row, records FROM ops.quarantine WHERE target = '{BRONZE[0]}'"
        )
    bronze = [Record(row["source_file"], row["source_row"], row["proponente_id"], row["s"]) for row in held]
    assert compare(read_ledger(ledger, "dados_produtores"), bronze, aside) == []


def test_every_rejected_request_names_the_constraint_that_the_simulator_broke(agro, datalab):
    ledger = simulate(agro, 600)
    datalab("run", "--project", agro)
    planted = _planted(ledger)
    with open_lab(agro) as lab:
        found = table_rows(
            lab, f"SELECT detail, count(*) AS n FROM ops.quarantine WHERE target = '{SILVER[0]}' GROUP BY detail"
        )
    assert {row["detail"]: row["n"] for row in found} == planted


def _planted(ledger: Path) -> dict[str, int]:
    lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    return dict(Counter(line["reason"] for line in lines if line["kind"] == "bad"))


def test_nothing_new_is_nothing_to_do_and_writes_nothing(agro, datalab):
    simulate(agro, 300)
    assert datalab("run", "--project", agro).code == 0
    before = sorted(path.relative_to(agro) for path in (agro / "lake").rglob("*"))
    answer = datalab("run", "--project", agro, "--json")
    assert answer.json["status"] == "nothing_to_do"
    assert {step["status"] for step in answer.json["steps"]} == {"skipped"}
    assert sorted(path.relative_to(agro) for path in (agro / "lake").rglob("*")) == before


def test_new_files_are_planned_then_read_alone(agro, datalab):
    simulate(agro, 500)
    datalab("run", "--project", agro)
    simulate(agro, 60, name="second")
    planned = {step["target"]: step for step in datalab("plan", "--project", agro, "--json").json}
    assert planned[BRONZE[0]]["kind"] == "append"
    assert planned[SILVER[0]]["inputs"][0].startswith(f"{BRONZE[0]}: rows added")
    assert {planned[table]["kind"] for table in GOLD} == {"replace_groups"}
    steps = {step["table"]: step for step in datalab("run", "--project", agro, "--json").json["steps"]}
    assert steps[SILVER[0]]["read"] == steps[BRONZE[0]]["written"] < 100
    incremental = rows_of(agro, *GOLD, *SILVER)
    assert datalab("run", "--project", agro, "--full-refresh").code == 0
    whole = rows_of(agro, *GOLD, *SILVER)
    for table in GOLD:
        assert close_rows(incremental[table], whole[table]), table
    for table in SILVER:
        assert close_rows(without_times(incremental[table]), without_times(whole[table])), table


def test_the_order_of_files_does_not_matter(agro, datalab):
    """The same files, taken in one by one in another order, give the same silver and gold."""
    simulate(agro, 400)
    datalab("run", "--project", agro)
    expected = rows_of(agro, *GOLD, *SILVER)
    other = agro.parent / "other"
    shutil.copytree(agro, other, ignore=shutil.ignore_patterns("lake", "landing", ".datalab"))
    with open_lab(other) as lab:
        for path in _alternating(sorted((agro / "landing").rglob("*.avro"))):
            target = other / path.relative_to(agro)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            assert lab.run(Wish()).status == "ok"
    found = rows_of(other, *GOLD, *SILVER)
    for table in expected:
        assert close_rows(without_times(expected[table]), without_times(found[table])), table


def _alternating(paths: list[Path]) -> Iterator[Path]:
    """Last, first, last but one, second, …"""
    while paths:
        yield paths.pop()
        if paths:
            yield paths.pop(0)


def test_there_is_no_other_state_than_the_tables(agro, datalab):
    simulate(agro, 200)
    datalab("run", "--project", agro)
    shutil.rmtree(agro / ".datalab", ignore_errors=True)
    _drop_layer(agro, "ops")
    assert datalab("run", "--project", agro, "--json").json["status"] == "nothing_to_do"
    simulate(agro, 30, name="second")
    before = {table: len(rows) for table, rows in rows_of(agro, *BRONZE).items()}
    steps = {step["table"]: step for step in datalab("run", "--project", agro, "--json").json["steps"]}
    after = {table: len(rows) for table, rows in rows_of(agro, *BRONZE).items()}
    assert {t: after[t] - before[t] for t in BRONZE} == {t: steps[t]["written"] for t in BRONZE}
    assert steps[BRONZE[0]]["written"] < 60


def _drop_layer(folder: Path, layer: str) -> None:
    """Take the tables of a layer away behind the lake's back."""
    path = folder / "lake" / "catalog.db"
    if path.exists():
        with closing(sqlite3.connect(path)) as catalog, catalog:
            assert catalog.execute("DELETE FROM iceberg_tables WHERE table_namespace = ?", (layer,)).rowcount > 0
    shutil.rmtree(folder / "lake" / layer)


def test_a_broken_pipeline_fails_before_anything_is_written(agro, datalab):
    simulate(agro, 100)
    path = agro / "pipelines" / "gold.sql"
    path.write_text(
        path.read_text(encoding="utf-8").replace("serasa_score_medio", "serasa_score_medio, nao_existe"), "utf-8"
    )
    answer = datalab("run", "--project", agro)
    assert answer.code == 5
    assert "pipelines/gold.sql:" in answer.err
    assert "nao_existe" in answer.err
    assert not (agro / "lake").exists()


def test_a_failed_update_leaves_the_table_as_it_was(agro, datalab):
    simulate(agro, 200)
    datalab("run", "--project", agro)
    before = rows_of(agro, SILVER[0])
    path = agro / "pipelines" / "silver.sql"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("EXPECT (registro_valido)", "EXPECT (registro_valido) ON VIOLATION FAIL UPDATE"), "utf-8"
    )
    simulate(agro, 300, name="second")
    answer = datalab("run", "--project", agro)
    assert answer.code == 6
    assert "registro_completo" in answer.err
    assert close_rows(rows_of(agro, SILVER[0])[SILVER[0]], before[SILVER[0]])
    with open_lab(agro) as lab:
        failed = table_rows(lab, "SELECT target, status, error FROM ops.steps WHERE status <> 'ok' ORDER BY target")
    assert [row["target"] for row in failed if row["status"] == "failed"] == [SILVER[0]]
    assert {row["target"] for row in failed if row["status"] == "blocked"} == set(GOLD)


def test_questions_can_be_asked_as_of_an_earlier_moment(agro, datalab):
    simulate(agro, 100)
    datalab("run", "--project", agro)
    history = datalab("data", "history", BRONZE[0], "--project", agro, "--json").json
    first = rows_of(agro, BRONZE[0])[BRONZE[0]]
    simulate(agro, 50, name="second")
    datalab("run", "--project", agro)
    sql = f"SELECT count(*) AS n FROM {BRONZE[0]}"
    then = datalab("query", sql, "--at", str(history[0]["snapshot"]), "--project", agro, "--json").json
    by_time = datalab("query", sql, "--at", history[0]["at"], "--project", agro, "--json").json
    now = datalab("query", sql, "--project", agro, "--json").json
    assert then == by_time == [{"n": len(first)}]
    assert now[0]["n"] > len(first)
