"""The planner alone: declarations and heads in, steps with reasons out; no table, no engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.declared import parse_sql

from datalab.lake.provenance import Position, Provenance
from datalab.lake.table import Snapshot
from datalab.names import TableName
from datalab.pipelines.graph import Graph, build_graph
from datalab.pipelines.plan import Head, plan
from datalab.pipelines.steps import Step

PEDIDOS, LIMPOS, RESUMO = (TableName.parse(name) for name in ("bronze.pedidos", "silver.limpos", "gold.resumo"))
SQL = """
    CREATE STREAMING TABLE silver.limpos (CONSTRAINT positivo EXPECT (valor > 0) ON VIOLATION DROP ROW)
      AS SELECT id, uf, valor FROM STREAM bronze.pedidos;
    CREATE MATERIALIZED VIEW gold.resumo AS SELECT uf, sum(valor) AS total FROM silver.limpos GROUP BY uf;
"""
T = datetime(2026, 11, 20, tzinfo=UTC)


def graph(sql: str = SQL) -> Graph:
    return build_graph(parse_sql(sql, "p.sql"), {PEDIDOS})


def history(*rows: int) -> tuple[Snapshot, ...]:
    return tuple(
        Snapshot(number, T, "append", count, 0, sum(rows[:number]), Provenance("r", "f", "append", written=count))
        for number, count in enumerate(rows, 1)
    )


def heads(g: Graph, bronze: int, silver_read: int, silver: int, gold_read: int, rows: int = 5) -> dict[TableName, Head]:
    code = {node.flow.target: (node.flow.name, node.code) for node in g.flows}

    def positions(table: TableName, source: TableName, snapshot: int) -> dict[str, Position]:
        return {code[table][0]: Position(code[table][1], {str(source): snapshot})}

    return {
        PEDIDOS: Head(bronze, {}, history(*[rows] * bronze)),
        LIMPOS: Head(silver, positions(LIMPOS, PEDIDOS, silver_read), history(1000, *[rows] * (silver - 1))),
        RESUMO: Head(1, positions(RESUMO, LIMPOS, gold_read)),
    }


def steps(g: Graph, state: dict[TableName, Head], **wish: object) -> list[Step]:
    return list(plan(g.flows, state, **wish))  # type: ignore[arg-type]


def test_nothing_new_is_skipped_with_a_reason():
    g = graph()
    silver, gold = steps(g, heads(g, bronze=2, silver_read=2, silver=3, gold_read=3))
    assert (silver.kind, silver.reason) == ("skip", "silver.limpos: nothing new in bronze.pedidos")
    assert (gold.kind, gold.reason) == ("skip", "gold.resumo: unchanged inputs, skipped")


def test_new_snapshots_are_counted_and_only_their_rows_are_read():
    g = graph()
    silver, gold = steps(g, heads(g, bronze=5, silver_read=2, silver=3, gold_read=3, rows=401))
    assert silver.kind == "append"
    assert silver.reason == "silver.limpos: 3 new snapshots of bronze.pedidos, 1,203 rows"
    assert [str(part) for part in silver.inputs] == ["bronze.pedidos: rows added 2 → 5"]
    assert gold.kind == "replace_groups"
    assert gold.keys == ("uf",)
    assert "silver.limpos changes in this run" in gold.reason


def test_first_run_reads_everything():
    g = graph()
    silver, gold = steps(g, {PEDIDOS: Head(4, {}, history(5, 5, 5, 5))})
    assert (silver.kind, silver.fresh) == ("append", False)
    assert str(silver.inputs[0]) == "bronze.pedidos: all at 4"
    assert (gold.kind, gold.fresh) == ("replace", True)
    assert str(gold.inputs[0]) == "silver.limpos: all at its next snapshot"


def test_without_any_rows_there_is_nothing_to_run():
    silver, gold = steps(graph(), {})
    assert (silver.kind, gold.kind) == ("skip", "skip")
    assert silver.reason == "silver.limpos: waits for the first rows of bronze.pedidos"


def test_a_changed_query_recomputes_a_view_and_goes_on_with_a_stream():
    g = graph()
    state = heads(g, bronze=2, silver_read=2, silver=3, gold_read=3)
    changed = graph(SQL.replace("sum(valor)", "avg(valor)").replace("SELECT id", "SELECT id + 1 AS id"))
    silver, gold = steps(changed, state)
    assert silver.kind == "skip"
    assert (gold.kind, gold.reason) == ("replace", "gold.resumo: the query changed")
    state = heads(g, bronze=3, silver_read=2, silver=3, gold_read=3)
    silver, _ = steps(changed, state)
    assert "the query changed: rows consumed before keep the old result until --full-refresh" in silver.reason


def test_comments_and_spaces_change_nothing():
    g = graph()
    state = heads(g, bronze=2, silver_read=2, silver=3, gold_read=3)
    same = graph(SQL.replace("SELECT uf,", "select /* the state */ uf,\n   -- its total\n"))
    assert [step.kind for step in steps(same, state)] == ["skip", "skip"]


def test_most_of_the_input_changed_is_recomputed_whole():
    g = graph()
    state = heads(g, bronze=2, silver_read=2, silver=4, gold_read=1, rows=900)
    _, gold = steps(g, state)
    assert gold.kind == "replace"
    assert "recomputed whole: most of silver.limpos changed" in gold.reason


def test_large_rewritten_files_are_not_compared_row_by_row():
    g = graph()
    state = heads(g, bronze=2, silver_read=2, silver=4, gold_read=3)
    written = Provenance("r", "f", "upsert", written=10)
    rewrite = Snapshot(4, T, "upsert", 9_000_000, 8_999_990, 10_000_000, written)
    state[LIMPOS] = replace(state[LIMPOS], history=(*state[LIMPOS].history[:3], rewrite))
    _, gold = steps(g, state)
    assert (gold.kind, gold.fresh) == ("replace", True)
    assert gold.reason.endswith("10 rows; recomputed whole: large files of silver.limpos were rewritten")


def test_a_view_whose_last_input_is_gone_is_computed_whole():
    g = graph()
    state = heads(g, bronze=2, silver_read=2, silver=4, gold_read=3)
    state[LIMPOS] = replace(state[LIMPOS], history=state[LIMPOS].history[3:])
    _, gold = steps(g, state)
    assert (gold.kind, gold.fresh) == ("replace", True)
    assert gold.reason.endswith("recomputed whole: snapshot 3 of silver.limpos is gone")


def test_a_view_without_groups_of_its_own_says_why_it_is_whole():
    g = graph(SQL.replace("GROUP BY uf", "GROUP BY ROLLUP(uf)"))
    _, gold = steps(g, heads(g, bronze=2, silver_read=2, silver=4, gold_read=3))
    assert (gold.kind, gold.reason.rpartition(": ")[2]) == ("replace", "its groups overlap")


@pytest.mark.parametrize("table", [LIMPOS, RESUMO])
def test_full_refresh_starts_over(table):
    g = graph()
    planned = steps(g, heads(g, bronze=2, silver_read=2, silver=3, gold_read=3), refresh={table})
    step = next(step for step in planned if step.target == table)
    assert (step.kind, step.fresh) == ("replace", True)
    assert "full refresh asked for" in step.reason


def test_a_table_of_two_flows_starts_over_once():
    sql = SQL + "CREATE FLOW mais AS INSERT INTO silver.limpos SELECT id, uf, valor FROM STREAM bronze.pedidos"
    g = graph(sql)
    first, second, _ = sorted(
        steps(g, {PEDIDOS: Head(1, {}, history(5))}, refresh={LIMPOS}), key=lambda s: s.target.layer == "gold"
    )
    assert (first.fresh, second.fresh) == (True, False)


def test_a_step_says_everything_as_json():
    g = graph()
    silver, _ = steps(g, heads(g, bronze=5, silver_read=2, silver=3, gold_read=3))
    record = silver.to_dict()
    assert record["checks"] == [{"name": "positivo", "action": "drop", "condition": "valor > 0"}]
    assert record["inputs"] == ["bronze.pedidos: rows added 2 → 5"]
    assert record["origin"].startswith("p.sql:2:")


@pytest.mark.parametrize("declared", ["velho", "novo"])
def test_a_flow_by_another_name_is_told_that_it_appends_to_what_is_there(declared: str) -> None:
    flow = f"CREATE FLOW {declared} AS INSERT INTO silver.limpos SELECT id FROM STREAM bronze.pedidos"
    g = graph(f"CREATE STREAMING TABLE silver.limpos; {flow}")
    state = {
        PEDIDOS: Head(1, {}, history(5)),
        LIMPOS: Head(1, {"velho": Position(g.flows[0].code, {str(PEDIDOS): 1})}, history(5)),
    }
    (step,) = steps(g, state)
    assert (
        step.reason
        == {
            "velho": "silver.limpos: nothing new in bronze.pedidos",
            "novo": "silver.limpos: first run of the flow novo; the rows of velho stay until --full-refresh",
        }[declared]
    )
    (first,) = steps(g, {PEDIDOS: state[PEDIDOS]})
    assert first.reason == "silver.limpos: first run"
