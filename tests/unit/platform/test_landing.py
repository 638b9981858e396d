"""A batch that is read while the commit before it is under way: landed in order, or let go of, and never twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import CommitFailed, Fenced, SourceUnavailable
from datalab.events import Bus
from datalab.ingest.contracts import Contract, parse_contract
from datalab.ingest.sources.base import Batch, Consumed, Evolved, Pending, Run, StagedBatch
from datalab.ingest.sources.kafka_offsets import Log, Range, offsets_after, ranges_of, stands_at, taken_over
from datalab.ingest.writing import RecordWriter
from datalab.lake.lake import Lake, open_lake
from datalab.lake.provenance import Provenance
from datalab.lake.table import Change, TableSpec, TableState, WriteTarget
from datalab.names import TableName
from datalab.pipelines.execute import Context
from datalab.platform import feeds
from datalab.platform.feeds import SourceFeed
from datalab.quality.quarantine import QUARANTINE_SCHEMA

TARGET = TableName("bronze", "numeros")
NUMBER = {"type": "record", "name": "numero", "fields": [{"name": "n", "type": "long"}]}
WIDE = {**NUMBER, "fields": [*NUMBER["fields"], {"name": "cor", "type": ["null", "string"], "default": None}]}
SECONDS = 20.0


@dataclass
class Numbers:
    """Partitions of numbers: that of partition 1 are 1000 and above. A commit takes `most` of each at most."""

    ends: dict[int, int]
    most: int = 10
    name: str = "numeros"
    contract: Contract = field(default_factory=lambda: parse_contract(json.dumps(NUMBER)))
    position: Any = field(default_factory=lambda: pa.schema([]))
    counts: str = "numbers"
    staged: list[dict[int, tuple[int, int]]] = field(default_factory=list)
    told: list[dict[int, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    at_stage: Callable[[int], None] = lambda _: None

    @property
    def log(self) -> Log:
        return Log("t", "x", {each: (0, end) for each, end in self.ends.items()})

    def pending(self, consumed: Consumed) -> Pending:
        ranges, events = ranges_of(self.name, consumed.offsets, self.log)
        return Pending((self.batch(ranges),) if any(each.start < each.stop for each in ranges) else (), events=events)

    def batch(self, ranges: tuple[Range, ...]) -> Batch:
        return Batch(ranges, sum(each.stop - each.start for each in ranges), "numbers")

    def prepare(self, batch: Batch) -> None:
        pass

    def stage(self, batch: Batch, target: WriteTarget, before: Mapping[str, Any], run: Run) -> StagedBatch:
        ranges: tuple[Range, ...] = batch.units
        if taken_over(ranges, "x", before, before):
            raise Fenced("taken over before it was read")
        self.staged.append({each.partition: (each.start, min(each.stop, each.start + self.most)) for each in ranges})
        self.at_stage(len(self.staged))
        at = {partition: stop for partition, (_, stop) in self.staged[-1].items()}
        rows = [1_000 * part + n for part, (start, stop) in self.staged[-1].items() for n in range(start, stop)]
        writer = RecordWriter(target, 1 << 20)
        writer.add(pa.table({"n": pa.array(rows, pa.int64())}))
        rest = tuple(replace(each, start=at[each.partition]) for each in ranges)
        more = any(each.start < each.stop for each in rest) and not self.stop.is_set()
        return StagedBatch(
            add=writer.finish(),
            rejected=QUARANTINE_SCHEMA.empty_table(),
            units=(),
            within="source_topic = 't'",
            offsets=offsets_after(self.log, before, at),
            details={},
            written=len(rows),
            rest=self.batch(rest) if more else None,
            onto=lambda now: None if taken_over(ranges, "x", before, now) else offsets_after(self.log, now, at),
        )

    def acknowledge(self, offsets: Mapping[str, Any]) -> None:
        self.told.append(stands_at(offsets))

    def close(self) -> None:
        pass


@dataclass
class World:
    folder: Path
    lake: Lake
    engine: DuckDBEngine
    source: Numbers
    feed: SourceFeed

    def run(self) -> int:
        return self.feed.consume(Context(self.lake, self.engine, "run", datetime.now(UTC))).read

    def numbers(self) -> list[int]:
        state = self.lake.state(TARGET)
        files = self.live(state) if state else []
        return sorted(n for path in files for n in pq.read_table(path).column("n").to_pylist())

    def live(self, state: TableState) -> list[str]:
        return [each.path.removeprefix("file://") for each in self.lake.files(state).files]

    def stands(self) -> dict[int, int]:
        return stands_at(self.lake.require(TARGET).positions["numeros"].offsets)

    def whole(self) -> None:
        """Each number once; nobody was told of more than the table has, and no file is left that it does not name."""
        wanted = [1_000 * part + n for part, end in self.source.ends.items() for n in range(end)]
        assert self.numbers() == wanted
        assert self.stands() == self.source.ends
        assert all(offset <= self.source.ends[part] for told in self.source.told for part, offset in told.items())
        written = {str(path) for path in self.folder.rglob("dl-*.parquet")}
        assert written == set(self.live(self.lake.require(TARGET)))

    def rival(self, partition: int, start: int, stop: int) -> None:
        """Another process takes numbers of a partition."""
        state = self.lake.require(TARGET)
        writer = RecordWriter(state.target(), 1 << 20)
        writer.add(pa.table({"n": pa.array([1_000 * partition + n for n in range(start, stop)], pa.int64())}))
        position = state.positions.get("numeros")
        offsets = offsets_after(self.source.log, position.offsets if position else {}, {partition: stop})
        taken = stop - start
        made = Provenance(run_id="rival", flow="numeros", kind="append", code="", offsets=offsets, details={},
                          read=taken, written=taken, quarantined=0)  # fmt: skip
        self.lake.commit(state, Change(made, add=writer.finish()))


@pytest.fixture(params=["iceberg", "delta"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    engine = DuckDBEngine("256MB", 1)
    lake, source = open_lake(request.param, str(tmp_path)), Numbers({0: 35})
    yield World(tmp_path, lake, engine, source, SourceFeed(source, TARGET, (), "", lake, engine, Bus()))
    engine.close()


class Gate:
    """Publishing that waits until it is let through, and fails where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.begun = 0
        self.before: Callable[[int], None] = lambda _: None
        self._publish = feeds.publish
        monkeypatch.setattr(feeds, "publish", self)

    def __call__(self, *arguments: Any) -> Any:
        self.begun += 1
        assert self.open.wait(SECONDS)
        self.before(self.begun)
        return self._publish(*arguments)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_the_next_batch_is_read_while_a_commit_is_under_way(world: World, gate: Gate) -> None:
    def at_stage(number: int) -> None:
        if number == 2:
            assert world.numbers() == []
            assert world.source.told == []
            gate.open.set()

    world.source.at_stage = at_stage
    assert world.run() == 35
    assert gate.begun == 4
    assert [each[0] for each in world.source.told] == [10, 20, 30, 35]
    world.whole()
    assert world.run() == 0


def test_what_was_read_ahead_of_a_commit_that_fails_is_let_go_of(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise CommitFailed("the disk said no")

    gate.before = lambda number: monkeypatch.setattr(world.lake, "commit", refused) if number == 2 else None
    world.source.at_stage = lambda number: gate.open.set() if number == 3 else None
    gate.open.set()
    with pytest.raises(CommitFailed):
        world.run()
    assert len(world.source.staged) == 3
    assert world.numbers() == list(range(10))
    assert world.source.told == [{0: 10}]
    monkeypatch.undo()
    assert world.run() == 25
    assert world.source.staged[3] == {0: (10, 20)}
    world.whole()


def test_a_commit_lands_though_the_next_batch_cannot_be_read(world: World, gate: Gate) -> None:
    def at_stage(number: int) -> None:
        if number == 2:
            gate.open.set()
            raise SourceUnavailable("nobody answers")

    world.source.at_stage = at_stage
    with pytest.raises(SourceUnavailable):
        world.run()
    assert world.stands() == {0: 10}
    assert world.source.told == [{0: 10}]
    assert world.run() == 25
    world.whole()


def test_a_stop_in_between_ends_it_with_what_was_read(world: World, gate: Gate) -> None:
    def at_stage(number: int) -> None:
        if number == 2:
            world.source.stop.set()
            gate.open.set()

    world.source.at_stage = at_stage
    assert world.run() == 20
    assert world.stands() == {0: 20}
    assert world.source.told == [{0: 10}, {0: 20}]
    world.source.stop.clear()
    assert world.run() == 15
    world.whole()


def test_what_others_take_of_other_partitions_meanwhile_stays(world: World, gate: Gate) -> None:
    world.source.ends = {0: 35, 1: 0}
    world.lake.define(TARGET, TableSpec(world.feed.schema))

    def others(number: int) -> None:
        if number <= 3:
            world.rival(1, 5 * number - 5, 5 * number)

    gate.before = others
    gate.open.set()
    world.source.ends = {0: 35, 1: 15}
    world.source.pending = lambda consumed: mine(world.source, consumed)  # type: ignore[method-assign]
    assert world.run() == 35
    world.whole()


def mine(source: Numbers, consumed: Consumed) -> Pending:
    """What is pending of partition 0 alone, as a group gives it out."""
    log = replace(source.log, partitions={0: source.log.partitions[0]})
    ranges, _ = ranges_of(source.name, consumed.offsets, log)
    return Pending((source.batch(ranges),) if any(each.start < each.stop for each in ranges) else ())


@pytest.mark.parametrize("number", [1, 2])
def test_what_others_take_of_the_same_meanwhile_is_theirs(world: World, gate: Gate, number: int) -> None:
    """Before the first commit of three that were read, and before the second."""
    world.lake.define(TARGET, TableSpec(world.feed.schema))

    def others(begun: int) -> None:
        if begun == number:
            world.rival(0, 10 * number - 10, 10 * number + 4)

    gate.before = others
    gate.open.set()
    with pytest.raises(Fenced):
        world.run()
    gate.before = lambda _: None
    assert world.stands() == {0: 10 * number + 4}
    world.run()
    world.whole()


def test_a_batch_is_refused_where_the_table_moves_between_two_commits(world: World, gate: Gate) -> None:
    """A rival that is quicker than the thread that waits: after one commit has landed, before the next is begun."""
    gate.open.set()
    told = world.source.acknowledge

    def overtaken(offsets: Mapping[str, Any]) -> None:
        told(offsets)
        if len(world.source.told) == 1:
            world.rival(0, 10, 14)

    world.source.acknowledge = overtaken  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        world.run()
    assert world.run() == 21
    world.whole()


def test_a_table_grows_between_batches(world: World, gate: Gate) -> None:
    gate.open.set()

    def at_stage(number: int) -> None:
        if number == 3:
            world.source.contract = parse_contract(json.dumps(WIDE))
            world.source.staged.pop()
            world.source.at_stage = lambda _: None
            raise Evolved

    world.source.at_stage = at_stage
    assert world.run() == 35
    assert world.lake.require(TARGET).schema.names == ["n", "cor"]
    world.whole()
