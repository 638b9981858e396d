"""Records that could not be accepted: shown masked, mended and replayed once, discarded; through every interruption."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tests.journeys.pedidos import CANARY, Pedidos, order

from datalab.errors import LakeError
from datalab.lake.lake import Lake
from datalab.lake.table import Change, TableState
from datalab.platform import reviews

BRONZE, SILVER, GOLD = "bronze.pedidos", "silver.pedidos", "gold.por_uf"
BROKEN = '{"id": "x", "cpf": "' + CANARY + '-x", '
STATUS = "SELECT target, reason, status, records FROM ops.quarantine"


def fail_once(monkeypatch, tables: Collection[str]) -> None:
    """The next commit to each of the tables does not happen."""
    left, commit = set(tables), Lake.commit

    def refuse(self: Lake, state: TableState, change: Change) -> TableState:
        if str(state.name) in left:
            left.remove(str(state.name))
            raise LakeError(f"{state.name}: the machine went down")
        return commit(self, state, change)

    monkeypatch.setattr(Lake, "commit", refuse)


def entries(pedidos: Pedidos, *options: str) -> list[dict[str, Any]]:
    return pedidos("quarantine", "show", "--json", *options).json


def test_a_record_that_breaks_the_contract_is_shown_mended_and_replayed_once(pedidos):
    pedidos.deliver("um", order("a"), BROKEN, order("b", uf=None, valor=7))
    steps = {step["table"]: step for step in pedidos.run().json["steps"]}
    assert [steps[BRONZE][name] for name in ("read", "written", "quarantined")] == [3, 1, 2]
    broken, missing = entries(pedidos)
    assert (broken["reason"], broken["source_file"], broken["source_row"]) == ("invalid_json", "landing/um.jsonl", 1)
    assert (missing["reason"], missing["source_row"], missing["status"]) == ("null_in_required", 2, "open")
    assert "uf" in missing["detail"]
    assert "raw" not in missing
    shown = pedidos("quarantine", "show", missing["id"])
    assert shown.out.splitlines()[0] == missing["id"]
    assert "null_in_required" in shown.out
    raw = pedidos("quarantine", "show", missing["id"], "--raw", "--json").json
    assert raw[0]["raw_size"] == len(order("b", uf=None, valor=7))

    untouched = pedidos("quarantine", "replay", "--all", "--json").json
    assert untouched == [{"table": BRONZE, "replayed": 0, "still_quarantined": 2}]
    pedidos.contract(uf=["null", "string"])
    assert pedidos("quarantine", "replay", "--all", "--json").json == [
        {"table": BRONZE, "replayed": 1, "still_quarantined": 1}
    ]
    assert pedidos.rows(f"SELECT id, source_row FROM {BRONZE}") == [("a", 0), ("b", 2)]
    assert pedidos.rows(STATUS) == [
        (BRONZE, "invalid_json", "open", 1),
        (BRONZE, "null_in_required", "replayed", 1),
    ]
    assert pedidos("quarantine", "replay", "--all", "--json").json[0]["replayed"] == 0
    assert pedidos("quarantine", "replay", missing["id"], code=2).err.startswith("error: no quarantined record")
    assert pedidos.run().json["status"] == "ok"
    assert pedidos.rows(f"SELECT id, uf, valor FROM {SILVER}") == [("a", "SP", 10), ("b", None, 7)]
    assert pedidos.run().json["status"] == "nothing_to_do"


def test_a_field_that_is_added_to_the_contract_is_added_to_the_table_by_the_replay(pedidos):
    pedidos.deliver("um", order("a"), order("b")[:-1] + ', "cor": "azul"}')
    assert pedidos.run().json["status"] == "ok"
    assert [each["reason"] for each in entries(pedidos)] == ["surplus_field"]
    pedidos.contract(cor=["null", "string"])
    assert pedidos("quarantine", "replay", "--all", "--json").json[0]["replayed"] == 1
    assert pedidos.rows(f"SELECT id, cor FROM {BRONZE} ORDER BY id") == [("a", None), ("b", "azul")]


def test_where_nothing_was_refused_the_quarantine_is_empty(pedidos):
    pedidos.deliver("a", order("1"))
    pedidos.run()
    assert pedidos.rows("SELECT count(*), max(reason) FROM ops.quarantine") == [(0, None)]


def test_a_restore_behind_a_replay_opens_the_record_again(pedidos):
    pedidos.deliver("um", order("a"), order("b", uf=None))
    pedidos.run()
    pedidos.contract(uf=["null", "string"])
    rows = f"SELECT id FROM {BRONZE} ORDER BY id"
    status = "SELECT status, resolved_at IS NULL FROM ops.quarantine"

    def replay() -> tuple[list[Any], list[Any]]:
        pedidos("quarantine", "replay", "--all", "--json")
        return pedidos.rows(rows), pedidos.rows(status)

    whole = ([("a",), ("b",)], [("replayed", False)])
    assert replay() == whole
    after, before = [entry["snapshot"] for entry in pedidos("data", "history", BRONZE, "--json").json]
    assert pedidos("data", "restore", BRONZE, "--to", before, "--json").json["reopened"] == 1
    assert (pedidos.rows(rows), pedidos.rows(status)) == ([("a",)], [("open", True)])
    assert pedidos("data", "restore", BRONZE, "--to", after, "--json").json["reopened"] == 0
    assert replay() == whole  # it is there already
    assert pedidos("data", "restore", BRONZE, "--to", before, "--json").json["reopened"] == 1
    assert replay() == whole
    assert pedidos("data", "restore", BRONZE, "--to", before, "--json").json["reopened"] == 1


def test_a_row_that_breaks_a_constraint_enters_silver_once_the_constraint_allows_it(pedidos):
    pedidos.deliver("um", order("a"), order("b", valor=-5), order("c", valor=-6), order("d", valor=-90))
    pedidos.run()
    assert [(entry["detail"], entry["row"]["documento"]) for entry in entries(pedidos)] == [
        ("valor_positivo", "•••")
    ] * 3
    pedidos.deliver("dois", order("c", valor=60, versao=2))
    pedidos.run()
    pedidos.pipeline("(valor > 0)", "(valor > -10)")
    assert pedidos("quarantine", "replay", "--table", SILVER, "--json").json == [
        {"table": SILVER, "replayed": 2, "still_quarantined": 1}
    ]
    expected = [("a", f"{CANARY}-a".lower(), 10), ("b", f"{CANARY}-b".lower(), -5), ("c", f"{CANARY}-c".lower(), 60)]
    assert pedidos.rows(f"SELECT id, documento, valor FROM {SILVER}") == expected
    assert pedidos("quarantine", "replay", "--table", SILVER, "--json").json[0]["replayed"] == 0
    pedidos.run()
    assert pedidos.rows(f"SELECT id, documento, valor FROM {SILVER}") == expected
    assert pedidos("data", "show", SILVER, "--json").json["rows"][0]["documento"] == "•••"
    pedidos("data", "show", "ops.quarantine")
    pedidos("data", "show", BRONZE)


def test_rows_of_a_view_cannot_be_replayed_and_any_record_can_be_discarded(pedidos):
    pedidos.deliver("um", *(order(entry) for entry in "abc"), order("d", uf="MT"), order("e", valor=0))
    pedidos.run()
    assert pedidos.rows(f"SELECT * FROM {GOLD}") == [("MT", 1, 10)]
    refused = pedidos("quarantine", "replay", "--table", GOLD, code=2)
    assert refused.err == (
        "error: gold.por_uf is a materialized view: its rows come from its query alone\n"
        "hint:  mend the query or the constraint, then: datalab run gold.por_uf --full-refresh\n"
    )
    assert pedidos("quarantine", "discard", code=2).err.startswith("error: ")
    assert pedidos("quarantine", "discard", "0" * 24, code=2).err.startswith("error: no quarantined record 0000")
    assert pedidos("quarantine", "discard", "--table", SILVER).out == "1 records discarded\n"
    assert [row[0] for row in pedidos.rows(STATUS) if row[2] == "open"] == [GOLD]
    assert pedidos("quarantine", "show", "--status", "discarded", "--json").json[0]["target"] == SILVER
    assert pedidos("quarantine", "show", "--status", "lost", code=2).err.startswith("error: ")
    listed = pedidos("quarantine", "list", "--json").json
    assert {(row["target"], row["reason"], row["status"], row["records"]) for row in listed} == {
        (SILVER, "expectation", "discarded", 1),
        (GOLD, "expectation", "open", 1),
    }
    pedidos.pipeline("(pedidos < 3)", "(pedidos < 4)")
    pedidos("run", GOLD, "--full-refresh")
    assert pedidos.rows(f"SELECT uf, pedidos FROM {GOLD}") == [("MT", 1), ("SP", 3)]
    assert [row[:3] for row in pedidos.rows(STATUS)] == [(SILVER, "expectation", "discarded")]


def test_a_replay_that_is_interrupted_between_its_commits_doubles_nothing(pedidos, monkeypatch):
    pedidos.deliver("um", order("a"), order("b", uf=None), order("c", valor=-1))
    pedidos.run()
    pedidos.contract(uf=["null", "string"])
    pedidos.pipeline("(valor > 0)", "(valor > -10)")

    def die(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reviews, "resolve", die)
        pedidos("quarantine", "replay", "--table", BRONZE, code=130)
        pedidos("quarantine", "replay", "--table", SILVER, code=130)
    assert {row[2] for row in pedidos.rows(STATUS)} == {"open"}
    answers = pedidos("quarantine", "replay", "--all", "--json").json
    assert answers == [{"table": table, "replayed": 1, "still_quarantined": 0} for table in (BRONZE, SILVER)]
    assert pedidos.rows(f"SELECT id FROM {BRONZE}") == [("a",), ("b",), ("c",)]
    assert pedidos.rows(f"SELECT id, valor FROM {SILVER}") == [("a", 10), ("c", -1)]
    assert {row[2] for row in pedidos.rows(STATUS)} == {"replayed"}


def test_a_run_that_ends_after_the_quarantines_commit_is_repeated_without_doubles(pedidos, monkeypatch):
    pedidos.deliver("um", order("a"), BROKEN, order("b", valor=-5))
    fail_once(monkeypatch, {BRONZE, SILVER})
    assert "machine went down" in pedidos.run(code=6).err
    assert pedidos.rows(STATUS) == [(BRONZE, "invalid_json", "open", 1)]
    pedidos.run(code=6)
    found = [(BRONZE, "invalid_json", "open", 1), (SILVER, "expectation", "open", 1)]
    assert pedidos.rows(STATUS) == found
    assert pedidos.run().json["status"] == "ok"
    assert pedidos.rows(STATUS) == found
    assert pedidos.rows(f"SELECT id FROM {BRONZE}") == [("a",), ("b",)]
    assert pedidos.rows(f"SELECT id FROM {SILVER}") == [("a",)]


def test_a_record_that_was_mended_before_the_repetition_is_in_its_table_alone(pedidos, monkeypatch):
    pedidos.deliver("um", order("a"), order("b", uf=None), order("c", valor=-5))
    fail_once(monkeypatch, {BRONZE, SILVER})
    pedidos.run(code=6)
    assert [row[:2] for row in pedidos.rows(STATUS)] == [(BRONZE, "null_in_required")]
    pedidos.contract(uf=["null", "string"])
    pedidos.run(code=6)
    assert [row[:2] for row in pedidos.rows(STATUS)] == [(SILVER, "expectation")]
    pedidos.pipeline("(valor > 0)", "(valor > -10)")
    pedidos.run()
    assert pedidos.rows(STATUS) == []
    assert pedidos.rows(f"SELECT id FROM {BRONZE}") == [("a",), ("b",), ("c",)]
    assert pedidos.rows(f"SELECT id FROM {SILVER}") == [("a",), ("b",), ("c",)]


APPENDED = """
CREATE STREAMING TABLE silver.pedidos (CONSTRAINT valor_positivo EXPECT (valor > 0) ON VIOLATION DROP ROW)
AS SELECT id, cpf, uf, valor FROM STREAM bronze.pedidos;
"""


def test_a_replay_leaves_what_an_interrupted_run_will_consume_again(pedidos, monkeypatch):
    """Between the quarantine's commit and the table's, with everything mended: the run brings the rows, once."""
    pedidos.write("pipelines/pedidos.sql", APPENDED)
    pedidos.deliver("um", order("a"), order("b", uf=None), order("c", valor=-5))
    fail_once(monkeypatch, {BRONZE, SILVER})
    pedidos.run(code=6)
    pedidos.contract(uf=["null", "string"])
    waiting = [{"table": BRONZE, "replayed": 0, "still_quarantined": 1}]
    assert pedidos("quarantine", "replay", "--all", "--json").json == waiting
    pedidos.run(code=6)
    pedidos.pipeline("(valor > 0)", "(valor > -10)")
    assert pedidos("quarantine", "replay", "--all", "--json").json == [{**waiting[0], "table": SILVER}]
    pedidos.run()
    for table in (BRONZE, SILVER):
        assert pedidos.rows(f"SELECT id FROM {table}") == [("a",), ("b",), ("c",)]
    assert pedidos.rows(STATUS) == []
    pedidos.deliver("dois", order("d", valor=-20))
    pedidos.run()
    pedidos.pipeline("(valor > -10)", "(valor > -30)")
    assert pedidos("quarantine", "replay", "--all", "--json").json[0]["replayed"] == 1
    assert pedidos.rows(f"SELECT id FROM {SILVER}") == [("a",), ("b",), ("c",), ("d",)]


def test_a_file_whose_quarantine_alone_landed_is_consumed_also_when_commits_have_expired(pedidos, monkeypatch):
    for name in ("um", "dois"):
        pedidos.deliver(name, order(name))
        pedidos.run()
    history = Lake.history
    monkeypatch.setattr(Lake, "history", lambda self, state: history(self, state)[-1:])
    pedidos.deliver("tres", order("a", uf="MT"), BROKEN)
    fail_once(monkeypatch, {BRONZE})
    pedidos.run(code=6)
    assert pedidos.rows(STATUS) == [(BRONZE, "invalid_json", "open", 1)]
    pedidos.run()
    assert pedidos.rows(f"SELECT id FROM {BRONZE}") == [("a",), ("dois",), ("um",)]
    assert pedidos.run().json["status"] == "nothing_to_do"
    assert pedidos.rows(STATUS) == [(BRONZE, "invalid_json", "open", 1)]


KINDS = """
CREATE STREAMING TABLE silver.tipos (CONSTRAINT valor_positivo EXPECT (valor > 0) ON VIOLATION DROP ROW)
AS SELECT valor, CAST(valor * 0 + 1.25 AS DECIMAL(10, 2)) AS preco, DATE '2026-02-28' AS dia,
  TIMESTAMP '2026-02-28 10:11:12.123456' AS momento, CAST('é' AS BINARY) AS bytes, CAST('NaN' AS DOUBLE) AS nada,
  array(1, NULL, 3) AS lista, named_struct('a', uf, 'b', array(DATE '2026-01-01')) AS grupo, map('k', 1) AS mapa,
  uf = 'SP' AS certo, CAST(0.1 AS FLOAT) AS real, CAST(NULL AS STRING) AS vazio, 'aspas " e \\n' AS texto
FROM STREAM bronze.pedidos;
"""


def test_a_replayed_row_has_the_values_it_had_whatever_their_types(pedidos):
    pedidos.write("pipelines/pedidos.sql", KINDS)
    pedidos.deliver("um", order("a", valor=1), order("b", valor=-1))
    pedidos.run()
    pedidos.pipeline("(valor > 0)", "(valor <> 0)")
    assert pedidos("quarantine", "replay", "--all", "--json").json[0]["replayed"] == 1
    same = pedidos.rows("SELECT DISTINCT * EXCEPT (valor) FROM silver.tipos")
    assert (len(same), pedidos.rows("SELECT valor FROM silver.tipos")) == (1, [(-1,), (1,)])
