"""The quarantine table itself: units replaced as a whole, ids from positions, statuses, replays in batches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from sqlglot import exp, parse_one

from datalab.engine.base import Check, Query, Staged, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import QuarantineError
from datalab.lake.lake import Lake, open_lake
from datalab.lake.table import Relation, TableSpec, TableState
from datalab.names import TableName
from datalab.quality import replay as replaying
from datalab.quality.quarantine import QUARANTINE, QUARANTINE_SCHEMA, Rejected, record_id, set_aside, total_records
from datalab.quality.rejected import FAILED_COLUMN, Attempt, rejected_rows
from datalab.quality.replay import Restaged, replay
from datalab.quality.review import Selection, find, resolve, summary

TARGET, OTHER = TableName("bronze", "pedidos"), TableName("bronze", "outros")
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine(threads=1)
    yield engine
    engine.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake("iceberg", str(tmp_path))


def rejected(unit: str, *rows: int, target: TableName = TARGET, units: tuple[str, ...] | None = ()) -> Rejected:
    """Records of one unit; `units` are consumed as well and gave none."""
    records = [
        {
            "id": record_id(target, unit, row),
            "target": str(target),
            "flow": "pedidos",
            "unit": unit,
            "source_row": row,
            "records": 1,
            "reason": "wrong_type",
            "status": "open",
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(records, schema=QUARANTINE_SCHEMA)
    return Rejected(target, "pedidos", table, None if units is None else (unit, *units))


def held(lake: Lake, engine: DuckDBEngine) -> list[tuple[str, str, int]]:
    found = find(lake, engine, Selection(status=""), NOW).to_pylist()
    return [(row["target"], row["unit"], row["source_row"]) for row in found]


def test_a_unit_consumed_again_replaces_its_records_and_no_others(lake, engine):
    for part in (rejected("a", 1, 2), rejected("b", 7), rejected("a", 1, target=OTHER), rejected("a", 2, 3)):
        set_aside(lake, engine, part, "r", NOW)
    assert held(lake, engine) == [
        ("bronze.outros", "a", 1),
        ("bronze.pedidos", "a", 2),
        ("bronze.pedidos", "a", 3),
        ("bronze.pedidos", "b", 7),
    ]
    set_aside(lake, engine, rejected("c", units=("a",)), "r", NOW)
    assert held(lake, engine) == [("bronze.outros", "a", 1), ("bronze.pedidos", "b", 7)]
    set_aside(lake, engine, rejected("d", 9, units=None), "r", NOW)
    assert held(lake, engine) == [("bronze.outros", "a", 1), ("bronze.pedidos", "d", 9)]


def test_nothing_to_set_aside_writes_nothing(lake, engine):
    set_aside(lake, engine, rejected("a"), "r", NOW)
    assert lake.state(QUARANTINE) is None
    set_aside(lake, engine, rejected("a", 1), "r", NOW)
    before = lake.require(QUARANTINE).snapshot
    set_aside(lake, engine, rejected("b"), "r", NOW)
    assert lake.require(QUARANTINE).snapshot == before


def test_ids_follow_from_the_position():
    assert record_id(TARGET, "f", 1) == record_id(TARGET, "f", 1)
    assert (
        len({record_id(TARGET, "f", 1), record_id(OTHER, "f", 1), record_id(TARGET, "f1"), record_id(TARGET, "f", 2)})
        == 4
    )


def test_equal_rows_of_a_flow_are_records_of_their_own_with_steady_ids(engine):
    rows = pa.table({"n": [1, 1, 2], FAILED_COLUMN: [3, 3, 2]})
    checks = [Check(name, parse_one("n > 5", into=exp.Condition), "drop") for name in ("um", "dois")]
    attempt = Attempt(TARGET, "f", "f|x@1", "r", NOW)
    first, again = (
        rejected_rows(engine, Relation(rows.schema, memory=rows), checks, attempt).rows.to_pylist() for _ in range(2)
    )
    assert [row["detail"] for row in first] == ["um, dois", "um, dois", "dois"]
    assert len({row["id"] for row in first}) == 3
    assert [row["id"] for row in first] == [row["id"] for row in again]


def test_a_status_is_given_to_the_chosen_alone_and_twice_is_once(lake, engine):
    set_aside(lake, engine, rejected("a", 1, 2, 3), "r", NOW)
    chosen = find(lake, engine, Selection(target=TARGET, limit=2), NOW)
    for _ in range(2):
        assert resolve(lake, engine, chosen, "discarded", "r", NOW) == 2
    counts = {row["status"]: row["entries"] for row in summary(lake, engine, NOW).to_pylist()}
    assert counts == {"discarded": 2, "open": 1}
    assert total_records(find(lake, engine, Selection(), NOW)) == 1
    with pytest.raises(QuarantineError, match="with status 'open'"):
        find(lake, engine, Selection(ids=(chosen.column("id")[0].as_py(),)), NOW)
    assert resolve(lake, engine, chosen.slice(0, 0), "replayed", "r", NOW) == 0


def test_a_lake_without_quarantine_has_no_records(lake, engine):
    assert find(lake, engine, Selection(), NOW).num_rows == 0
    assert summary(lake, engine, NOW).num_rows == 0
    with pytest.raises(QuarantineError, match="no quarantined record x"):
        find(lake, engine, Selection(ids=("x",)), NOW)


def test_many_records_are_replayed_in_batches_each_once_through_an_interruption(lake, engine, monkeypatch):
    monkeypatch.setattr(replaying, "BATCH", 2)
    state = lake.define(TARGET, TableSpec(pa.schema([("n", pa.int64())])))
    records = rejected("a", *range(5)).rows
    batches: list[int] = []

    def restage(state: TableState, part: pa.Table) -> Restaged:
        batches.append(part.num_rows)
        if len(batches) == 2:
            raise KeyboardInterrupt
        rows = pa.table({"n": part.column("source_row")})
        query = Query(exp.select("n").from_("rows"), {"rows": Relation(rows.schema, memory=rows)}, NOW, "test")
        staged: Staged = engine.stage(Work(query, state.target()))
        return Restaged(tuple(part.column("id").to_pylist()), staged)

    with pytest.raises(KeyboardInterrupt):
        replay(lake, engine, state, records, restage, "r")
    done = replay(lake, engine, lake.require(TARGET), records, restage, "r")
    assert done == set(records.column("id").to_pylist())
    assert batches == [2, 2, 2, 1]
    rows = engine.read(Query(exp.select("n").from_("t"), {"t": lake.files(lake.require(TARGET))}, NOW, "test"))
    assert sorted(rows.read_all().column("n").to_pylist()) == list(range(5))


def test_units_without_a_record_cost_no_query_where_the_bounds_of_the_files_tell(lake, engine, monkeypatch):
    set_aside(lake, engine, rejected("b", 1, 2), "r", NOW)
    staged: list[Work] = []
    stage = engine.stage
    monkeypatch.setattr(engine, "stage", lambda work: staged.append(work) or stage(work))
    for nothing in (rejected("a"), rejected("c", units=("d",)), rejected("b", target=OTHER)):
        set_aside(lake, engine, nothing, "r", NOW)
    assert not staged
    set_aside(lake, engine, rejected("a", units=("c",)), "r", NOW)  # `b` lies between them
    assert len(staged) == 1
    assert len(held(lake, engine)) == 2
    set_aside(lake, engine, rejected("b"), "r", NOW)
    assert len(staged) == 2
    assert held(lake, engine) == []
