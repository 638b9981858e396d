"""The source port over the formats of `files`, end to end: from folders of files to rows of a real bronze table."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import parse_one
from tests.contracts.source_suite import BAD, CONTRACT, LOOSE, SCHEMA, TARGET, SourceSuite, records, with_bad

from datalab.engine.base import Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.events import Bus, Event, SourceFileIgnored
from datalab.ingest.contracts import parse_contract
from datalab.ingest.ingest import consumed
from datalab.ingest.limits import Limits
from datalab.ingest.sources.files import FilesSource
from datalab.ingest.workers import Workers
from datalab.lake.lake import Lake, open_lake
from datalab.lake.table import PartitionField, TableSpec
from datalab.names import TableName
from datalab.pipelines.execute import Context, Outcome
from datalab.platform.feeds import SourceFeed
from datalab.quality.quarantine import QUARANTINE

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


def _avro(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(LOOSE), rows)
    return out.getvalue()


def _csv(rows: list[dict[str, Any]]) -> bytes:
    cells = [[("" if value is None else str(value)) for value in row.values()] for row in rows]
    return "\n".join(",".join(line) for line in [["id", "valor", "tipo", "nota"], *cells]).encode()


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    kinds = pa.schema([("id", pa.string()), ("valor", pa.float64()), ("tipo", pa.string()), ("nota", pa.int32())])
    pq.write_table(pa.Table.from_pylist(rows, kinds), sink)
    return sink.getvalue()


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "avro": _avro,
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


@dataclass
class World:
    """A project folder with a lake, and a source of one format that feeds a table."""

    root: Path
    kind: str
    lake: Lake
    engine: DuckDBEngine
    feed: SourceFeed
    events: list[Event]
    runs: int = 0

    @property
    def keeps_raw(self) -> bool:
        return self.kind != "parquet"

    def deliver(self, name: str, rows: list[dict[str, Any]]) -> Path:
        return self.write(name, rows)

    def again(self, contract: dict[str, Any] = SCHEMA) -> World:
        return self.under(contract)

    def under(self, contract: Any) -> World:
        """The same project, its source under another contract."""
        source = replace(self.feed.source, contract=parse_contract(json.dumps(contract)))
        return replace(self, feed=replace(self.feed, source=source))

    def write(self, name: str, rows: list[dict[str, Any]]) -> Path:
        path = self.root / "landing" / f"{name}.{self.kind}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(WRITERS[self.kind](rows))
        return path

    def context(self) -> Context:
        return Context(self.lake, self.engine, f"run{self.runs}", NOW)

    def run(self) -> Outcome:
        self.runs += 1
        self.feed.pending(self.context())
        return self.feed.consume(self.context())

    def query(self, sql: str, table: TableName = TARGET) -> list[dict[str, Any]]:
        state = self.lake.require(table)
        query = Query(parse_one(sql, read="spark"), {"t": self.lake.files(state)}, NOW)
        return self.engine.read(query).read_all().to_pylist()

    def ids(self) -> list[str]:
        return [row["id"] for row in self.query("SELECT id FROM t ORDER BY source_file, source_row")]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2, 1 << 30) as pool:
        yield pool


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    made = DuckDBEngine("512MB", 1)
    yield made
    made.close()


@pytest.fixture
def open_world(tmp_path: Path, workers: Workers, engine: DuckDBEngine) -> Callable[[str, str], World]:
    """Makes a project folder with a source of one format and a lake of another."""

    def made(kind: str, table_format: str = "iceberg") -> World:
        events, bus = list[Event](), Bus()
        bus.subscribe(events.append)
        pattern, limits = f"landing/*.{kind}", Limits(batch_files=3)
        source = FilesSource("pedidos", CONTRACT, tmp_path, pattern, limits=limits, workers=workers)
        lake = open_lake(table_format, str(tmp_path / "lake"))
        partition = (PartitionField("ingestion_timestamp", "months"), PartitionField("tipo"))
        feed = SourceFeed(source, TARGET, partition, "", lake, engine, bus)
        return World(tmp_path, kind, lake, engine, feed, events)

    return made


@pytest.fixture(params=[(kind, "iceberg") for kind in WRITERS] + [("avro", "delta")], ids="-".join)
def world(request: pytest.FixtureRequest, open_world: Callable[..., World]) -> World:
    return open_world(*request.param)


class TestFiles(SourceSuite):
    """The shared suite."""


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_a_text_too_long_for_a_name_parts_files_like_others(
    open_world: Callable[..., World], table_format: str
) -> None:
    world = open_world("jsonl", table_format)
    world = replace(world, feed=replace(world.feed, partition=(PartitionField("id"),)))
    rows = records(0, 3)
    rows[1]["id"] = "ã" * 400
    world.write("a", rows)
    world.run()
    assert world.ids() == [row["id"] for row in rows]
    live = world.lake.files(world.lake.require(TARGET)).files
    assert {file.partition for file in live} == {(row["id"],) for row in rows}


def test_rows_and_entries_name_file_and_row(world: World) -> None:
    for name in "abcd":
        world.write(name, with_bad(records(ord(name) * 100, 5)))
    world.run()
    rows = world.query("SELECT * FROM t ORDER BY source_file, source_row")
    assert [row["source_row"] for row in rows[:5]] == [0, 1, 3, 4, 5]
    assert rows[0]["source_file"] == f"landing/a.{world.kind}"
    assert {row["ingestion_timestamp"].timestamp() for row in rows} == {NOW.timestamp()}
    bad = world.query("SELECT * FROM t ORDER BY source_file", QUARANTINE)
    assert [row["source_row"] for row in bad] == [BAD] * 4
    assert bad[0]["unit"] == f"{rows[0]['source_file']}@{rows[0]['source_version']}"


def test_touched_and_unfinished_files_are_not_consumed(world: World) -> None:
    first = world.write("a", records(0, 4))
    world.write("empty", [])
    world.run()
    assert world.run().read == 0
    os.utime(first, ns=(1, 1))
    world.write("b", records(10, 4))
    (world.root / "landing" / f"c.{world.kind}.tmp").write_bytes(b"half")
    (world.root / "landing" / f"_d.{world.kind}").write_bytes(b"half")
    assert world.run().read == 4
    assert world.ids() == ["p0", "p1", "p2", "p3", "p10", "p11", "p12", "p13"]
    assert not any(isinstance(event, SourceFileIgnored) for event in world.events)


def test_changed_content_under_a_known_name_is_reported_and_not_taken(world: World) -> None:
    world.write("a", records(0, 4))
    world.run()
    world.write("a", records(50, 4))
    assert world.run().read == 0
    assert world.ids() == ["p0", "p1", "p2", "p3"]
    ignored = [event for event in world.events if isinstance(event, SourceFileIgnored)]
    assert [(event.source, event.file) for event in ignored] == [("pedidos", f"landing/a.{world.kind}")]
    assert "changed" in ignored[0].reason


def _spec(world: World) -> TableSpec:
    return TableSpec(world.feed.schema, world.feed.partition)


def test_consumed_files_are_known_from_the_rows_where_commits_have_expired(open_world: Callable[..., World]) -> None:
    world = open_world("jsonl")
    for name in "abcd":
        world.write(name, records(ord(name) * 100, 3))
    world.write("empty", [])
    world.write("broken", [{"id": 5}])
    world.run()
    state = world.lake.require(TARGET)
    asked: list[bool] = []

    def rows() -> pa.Table:
        asked.append(True)
        return pa.Table.from_pylist(world.query("SELECT DISTINCT source_file, source_version FROM t"))

    history = world.lake.history(state)
    complete = consumed("pedidos", state, history, rows)
    assert not world.feed.source.pending(complete).batches
    assert not asked
    expired = consumed("pedidos", state, history[-1:], rows)
    assert not world.feed.source.pending(expired).batches
    assert asked
    assert world.feed.source.pending(replace(expired, rows=None)).batches


def test_records_come_back_from_their_raw_bytes_where_the_file_is_gone(open_world: Callable[..., World]) -> None:
    world = open_world("jsonl")
    gone = world.write("b", with_bad(records(10, 4)))
    world.run()
    gone.unlink()
    bad = pa.Table.from_pylist(world.query("SELECT * FROM t", QUARANTINE))
    again = world.under(LOOSE).feed.restage(world.context(), world.lake.require(TARGET), bad)
    assert (len(again.accepted), again.staged.written) == (1, 1)


def test_a_file_of_another_schema_waits_as_a_whole_and_comes_back_as_a_whole(open_world: Callable[..., World]) -> None:
    world = open_world("avro")
    surplus = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "cor", "type": "string", "default": ""}]}
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(surplus), [{**row, "cor": "azul"} for row in records(0, 5)])
    world.write("a", []).write_bytes(out.getvalue())
    assert world.run().written == 0
    (bad,) = world.query("SELECT * FROM t", QUARANTINE)
    assert (bad["reason"], bad["detail"], bad["source_row"]) == ("schema_mismatch", "cor: not in the contract", None)
    wider = world.under(surplus)
    state = world.lake.define(TARGET, _spec(wider))
    again = wider.feed.restage(world.context(), state, pa.Table.from_pylist([bad]))
    assert (again.accepted, again.staged.written) == ((bad["id"],), 5)
