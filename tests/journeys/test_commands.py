"""Every command on a small project, as a person and as a program meet it: answers, refusals, exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.pedidos import PIPELINE, Pedidos, order

BRONZE, SILVER, GOLD = "bronze.pedidos", "silver.pedidos", "gold.por_uf"


@pytest.fixture
def pedidos(tmp_path: Path, datalab: Callable[..., Any], warm: None) -> Pedidos:
    return Pedidos(tmp_path / "pedidos", datalab).create()


@pytest.fixture(params=["iceberg", "delta"])
def either(request: pytest.FixtureRequest, pedidos: Pedidos, monkeypatch: pytest.MonkeyPatch) -> Pedidos:
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", request.param)
    return pedidos


def failed(answer: Any) -> dict[str, str]:
    """The error that a program reads."""
    error: dict[str, str] = json.loads(answer.err.splitlines()[-1])["error"]
    return error


def test_a_project_from_plan_to_questions(either):
    pedidos = either
    pedidos.deliver("um", order("a"), order("b", uf="MT", valor=5), order("c", valor=-1))

    planned = pedidos("plan", "--json").json
    assert [(step["target"], step["kind"]) for step in planned] == [
        (BRONZE, "append"),
        (SILVER, "upsert"),
        (GOLD, "replace"),
    ]
    assert planned[0]["inputs"] == ["pedidos: files 1 of 1"]
    people = pedidos("plan")
    assert "1 of 1 files are new" in people.out
    assert people.err == "3 of 3 steps have something to do; datalab run does it\n"
    assert not (pedidos.folder / "lake").exists()

    record = pedidos("run", "--json").json
    assert record["status"] == "ok"
    counts = ("read", "written", "quarantined", "superseded")
    assert {step["table"]: tuple(step[name] for name in counts) for step in record["steps"]} == {
        BRONZE: (3, 3, 0, 0),
        SILVER: (3, 2, 1, 0),
        GOLD: (2, 2, 0, 0),
    }
    (check,) = next(step["checks"] for step in record["steps"] if step["table"] == SILVER)
    assert (check["name"], check["action"], check["failed"]) == ("valor_positivo", "drop", 1)

    assert pedidos("run").out == "nothing to do: 3 steps, no input changed\n"
    assert pedidos("plan").err == "nothing to do\n"
    _looked_at(pedidos, record["run_id"])
    _asked(pedidos)
    _asked_wrongly(pedidos)


def _looked_at(pedidos: Pedidos, run_id: str) -> None:
    assert pedidos("check").out == "sound: 1 sources, 2 tables, 2 flows, 2 constraints\n"
    assert pedidos("check", "--json").json == {"sources": 1, "tables": 2, "flows": 2, "constraints": 2}
    flows = pedidos("pipelines", "list", "--json").json
    assert [(flow["table"], flow["flow"], flow["reads"]) for flow in flows] == [
        (SILVER, "atualiza", f"STREAM {BRONZE}"),
        (GOLD, GOLD, SILVER),
    ]
    assert "pipelines/pedidos.sql:5:1" in pedidos("pipelines", "list").out
    standing = pedidos("pipelines", "status", "--json").json
    assert [(flow["rows"], flow["run"], flow["quarantined"], flow["next"]) for flow in standing] == [
        (2, run_id, 1, "skip"),
        (2, run_id, 0, "skip"),
    ]
    assert pedidos("pipelines", "status").out.splitlines()[0].split()[:3] == ["table", "flow", "rows"]
    tables = {row["table"]: row for row in pedidos("data", "list", "--json").json}
    assert set(tables) == {BRONZE, SILVER, GOLD, "ops.checks", "ops.quarantine", "ops.runs", "ops.steps"}
    assert (tables[BRONZE]["rows"], tables[BRONZE]["files"]) == (3, 1)
    assert pedidos("data", "list").out.count("\n") == len(tables) + 1
    (commit,) = pedidos("data", "history", GOLD, "--json").json
    assert (commit["run"], commit["written"], commit["total"]) == (run_id, 2, 2)
    assert commit["inputs"][0].startswith(f"{SILVER} start → ")
    shown = pedidos("data", "show", GOLD, "--json").json
    assert shown["columns"][0] == {"column": "uf", "type": "string"}
    assert len(shown["rows"]) == 2
    assert pedidos("data", "show", BRONZE, "--limit", 1).out.splitlines()[-3] == "first 1 rows"
    assert f"  {BRONZE}" not in pedidos("data", "show", SILVER).out


def _asked(pedidos: Pedidos) -> None:
    sql = f"SELECT uf, total FROM {GOLD} ORDER BY uf"
    assert pedidos("query", sql, "--json").json == [{"uf": "MT", "total": 5}, {"uf": "SP", "total": 10}]
    assert pedidos("query", sql).out.splitlines() == ["uf  total", "MT      5", "SP     10"]
    one = pedidos("query", sql, "--limit", 1)
    assert len(one.out.splitlines()) == 2
    assert one.err == "the first 1 rows; --limit 0 shows all\n"
    assert pedidos("query", f"SELECT * FROM {GOLD} WHERE false").out == "uf  pedidos  total\n"
    assert pedidos("query", "SELECT 1 AS n", "--json").json == [{"n": 1}]
    unlike = "SELECT CAST(NULL AS INT) AS n, '' AS texto, array() AS vazio, array(NULL, 2) AS par, array(array()) AS a"
    assert pedidos("query", unlike).out.splitlines() == [
        "n     texto  vazio  par        a",
        "NULL         []     [NULL, 2]  [[]]",
    ]


def _asked_wrongly(pedidos: Pedidos) -> None:
    wrong = {
        "SELEC 1": (5, "PipelineSyntaxError", ""),
        "SELECT * FROM gold.por_u": (4, "TableNotFound", "did you mean gold.por_uf?"),
        "SELECT * FROM por_uf": (5, "UnknownTable", "layer.table"),
        "SELECT * FROM a.b.c": (5, "UnknownTable", "layer.table"),
        f"SELECT totl FROM {GOLD}": (5, "PipelineTypeError", "did you mean total?"),
        "SELECT 1; SELECT 2": (5, "PipelineSyntaxError", "datalab query"),
        f"DROP TABLE {GOLD}": (5, "PipelineSyntaxError", "datalab query"),
        f"INSERT INTO {GOLD} SELECT 1": (5, "PipelineSyntaxError", "datalab query"),
        "": (5, "PipelineSyntaxError", "datalab query"),
        f"SELECT xpto(total) FROM {GOLD}": (5, "UntranslatableFunction", ""),
    }
    for sql, (code, kind, hint) in wrong.items():
        error = failed(pedidos("query", sql, "--json", code=code))
        assert (error["type"], hint in error["hint"]) == (kind, True), (sql, error)
    for at, code, kind in (("2020-01-01", 4, "SnapshotNotFound"), ("77", 4, "SnapshotNotFound")):
        error = failed(pedidos("query", f"SELECT * FROM {GOLD}", "--at", at, "--json", code=code))
        assert error["type"] == kind
        assert GOLD in error["message"]
    assert "no tag and no moment" in pedidos("query", "SELECT 1", "--at", "32.13.2026", code=2).err
    assert "did you mean gold.por_uf?" in pedidos("data", "show", "gold.por_ufs", code=4).err
    assert "write layer.table" in pedidos("data", "history", "gold", code=2).err
    assert "no source or flow makes gold.por_ufs" in pedidos("run", "gold.por_ufs", code=5).err


def test_only_what_a_named_table_needs_is_planned_and_run(pedidos):
    pedidos.deliver("um", order("a"))
    assert [step["target"] for step in pedidos("plan", SILVER, "--json").json] == [BRONZE, SILVER]
    assert [step["table"] for step in pedidos("data", "ingest", "--json").json["steps"]] == [BRONZE]
    assert pedidos("data", "ingest", BRONZE).out == "nothing to do: 1 steps, no input changed\n"
    pedidos.deliver("dois", order("b"))
    steps = pedidos("pipelines", "run", "--json").json["steps"]
    assert [(step["table"], step["read"]) for step in steps] == [(SILVER, 1), (GOLD, 1)]
    assert pedidos("run", "--verbose").err.count("\n") >= 3
    refreshed = pedidos("run", GOLD, "--full-refresh", "--json").json["steps"]
    assert [(step["table"], step["status"]) for step in refreshed] == [
        (BRONZE, "skipped"),
        (SILVER, "skipped"),
        (GOLD, "ok"),
    ]


def test_files_are_judged_without_being_taken(pedidos):
    pedidos.deliver("um", order("a"), order("b", valor="muito"))
    answer = pedidos("data", "validate", "pedidos", "--json", code=1)
    (verdict,) = answer.json
    assert (verdict["records"], verdict["accepted"], verdict["quarantined"]) == (2, 1, 1)
    assert "wrong_type" in str(verdict["reasons"])
    pedidos.deliver("bom", order("a"))
    assert pedidos("data", "validate", "pedidos", pedidos.folder / "landing" / "bom.jsonl").code == 0
    assert "did you mean pedidos?" in pedidos("data", "validate", "pedido", code=3).err
    assert not (pedidos.folder / "lake").exists()


def test_a_file_that_changed_under_its_name_is_told_and_not_taken(pedidos):
    pedidos.deliver("um", order("a"))
    pedidos.run()
    pedidos.deliver("um", order("a"), order("b"))
    pedidos.write("landing/dois.jsonl.tmp", order("c")[:20])
    answer = pedidos("run", "--json")
    assert answer.json["status"] == "nothing_to_do"
    (ignored,) = answer.json["ignored"]
    assert (ignored["source"], ignored["file"]) == ("pedidos", "landing/um.jsonl")
    people = pedidos("run")
    assert "not taken: landing/um.jsonl of pedidos" in people.err
    assert "nothing to do" in people.out
    pedidos.deliver("tres", order("c"))
    assert "not taken: landing/um.jsonl" in pedidos("plan").err
    assert [ignored["file"] for ignored in pedidos("run", "--json").json["ignored"]] == ["landing/um.jsonl"]
    assert pedidos.rows(f"SELECT id FROM {BRONZE}") == [("a",), ("c",)]


def test_a_project_without_sources_and_pipelines_has_nothing_to_do(project, datalab):
    for command in ("plan", "run", "check", "pipelines list", "pipelines status", "data list", "quarantine list"):
        assert datalab(*command.split()).code == 0, command
        assert datalab(*command.split(), "--json").code == 0, command
    assert datalab("run", "--json").json["status"] == "nothing_to_do"
    assert datalab("quarantine", "show").out == "no such record in quarantine\n"
    assert datalab("data", "simulate").code == 3
    assert datalab("query", "SELECT * FROM gold.x").code == 4
    assert not (project / "lake").exists()


BROKEN = {
    "syntax": ("AS SELECT uf, count(*)", "AS SELECT uf, count(*", 5, "pipelines/pedidos.sql:"),
    "statement": ("CREATE MATERIALIZED VIEW", "CREATE MATERIALISED VIEW", 5, "pipelines/pedidos.sql:9:"),
    "circle": ("STREAM bronze.pedidos)", "gold.por_uf)", 5, "pipelines/pedidos.sql:"),
    "table": ("FROM silver.pedidos GROUP", "FROM silver.pedido GROUP", 5, "pipelines/pedidos.sql:11:"),
    "column": ("sum(valor)", "sum(valr)", 5, "pipelines/pedidos.sql:11:"),
    "type": ("sum(valor)", "sum(uf + id)", 5, "pipelines/pedidos.sql:"),
    "function": ("sum(valor)", "xpto(valor)", 5, "pipelines/pedidos.sql:11:"),
    "constraint": ("(pedidos < 3)", "(pedido < 3)", 5, "pipelines/pedidos.sql:"),
    "key": ("KEYS (id)", "KEYS (idd)", 5, "pipelines/pedidos.sql:"),
}


def test_a_broken_pipeline_fails_before_anything_is_written(pedidos):
    pedidos.deliver("um", order("a"))
    for name, (old, new, code, place) in BROKEN.items():
        pedidos.write("pipelines/pedidos.sql", PIPELINE)
        pedidos.pipeline(old, new)
        for command in ("check", "plan", "run"):
            error = failed(pedidos(command, "--json", code=code))
            assert place in error["message"], (name, error)
    assert not (pedidos.folder / "lake").exists()


def test_an_error_of_the_engine_shows_no_personal_data(pedidos):
    pedidos.write(
        "pipelines/outro.sql", f"CREATE MATERIALIZED VIEW gold.x AS SELECT CAST(cpf AS BIGINT) n FROM {BRONZE}"
    )
    pedidos.deliver("um", order("a"))
    pedidos.run(code=6)
    pedidos("data", "show", "ops.steps")


def test_wrong_contracts_name_the_file_and_stop_everything(pedidos):
    pedidos.deliver("um", order("a"))
    contract = pedidos.folder / "contracts" / "pedidos.avsc"
    for text in ("{", '{"type": "record", "name": "x", "fields": [{"name": "a", "type": "strin"}]}'):
        contract.write_text(text, encoding="utf-8")
        for command in ("check", "plan", "run"):
            assert "contracts/pedidos.avsc" in pedidos(command, code=3).err
    contract.unlink()
    assert "contracts/pedidos.avsc" in pedidos("run", code=3).err
    assert not (pedidos.folder / "lake").exists()


def test_a_failed_step_is_told_with_its_cause_and_the_others_are_done(pedidos):
    pedidos.write(
        "pipelines/outro.sql",
        f"CREATE MATERIALIZED VIEW gold.nunca (CONSTRAINT nada EXPECT (id = 'z') ON VIOLATION FAIL UPDATE)\n"
        f"AS SELECT id FROM {SILVER};\nCREATE MATERIALIZED VIEW gold.depois AS SELECT id FROM gold.nunca;",
    )
    pedidos.deliver("um", order("a"))
    answer = pedidos("run", "--json", code=6)
    assert {step["table"]: step["status"] for step in answer.json["steps"]} == {
        BRONZE: "ok",
        SILVER: "ok",
        GOLD: "ok",
        "gold.nunca": "failed",
        "gold.depois": "blocked",
    }
    error = failed(answer)
    assert error["type"] == "RunFailed"
    assert error["message"].startswith("1 of 5 steps failed: gold.nunca: expectation failed: nada (1 rows): id = 'z'")
    assert error["hint"].endswith("datalab run gold.nunca")
    assert pedidos.rows("SELECT target, status FROM ops.steps WHERE status <> 'ok'") == [
        ("gold.depois", "blocked"),
        ("gold.nunca", "failed"),
    ]
    people = pedidos("run", "--debug", code=6)
    assert "Traceback" in people.err


def test_a_table_keeps_its_name_when_a_source_leaves(pedidos):
    """What was made stays readable without the declarations that made it."""
    pedidos.deliver("um", order("a"))
    pedidos.run()
    pedidos.write("datalab.yaml", "name: pedidos\n")
    shutil.rmtree(pedidos.folder / "pipelines")
    assert pedidos.rows(f"SELECT id FROM {SILVER}") == [("a",)]
    assert pedidos("run").out == "nothing to do: 0 steps, no input changed\n"


def test_records_are_taken_in_while_a_pipeline_is_broken(pedidos):
    pedidos.deliver("um", order("a"))
    pedidos.pipeline("lower(cpf)", "lower(cpff)")
    assert failed(pedidos("run", "--json", code=5))["type"] == "PipelineTypeError"
    for line in (("data", "ingest"), ("run", BRONZE), ("ingest", BRONZE)):
        pedidos(*line)
    assert pedidos.rows(f"SELECT id FROM {BRONZE}") == [("a",)]
    assert failed(pedidos("data", "ingest", SILVER, "--json", code=5))["type"] == "PipelineTypeError"
