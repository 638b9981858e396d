"""What every source promises, whatever it reads: run over files here, and over a real topic in tests/stack.

A suite's fixture `world` answers a Delivered: a lake, and a source that feeds a table of it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Protocol

import pyarrow as pa
import pytest

from datalab.engine.base import Staged
from datalab.errors import Fenced
from datalab.ingest.contracts import parse_contract
from datalab.ingest.ingest import ingest
from datalab.ingest.sources.base import Run
from datalab.lake.lake import Lake
from datalab.names import TableName
from datalab.pipelines.execute import Context, Outcome
from datalab.platform.feeds import SourceFeed
from datalab.quality.publish import Publication, publish
from datalab.quality.quarantine import QUARANTINE

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "pedido",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "valor", "type": "double"},
        {"name": "tipo", "type": {"type": "enum", "name": "tipo", "symbols": ["FISICA", "JURIDICA"]}},
        {"name": "nota", "type": ["null", "int"], "default": None},
    ],
}
LOOSE = {
    **SCHEMA,
    "fields": [SCHEMA["fields"][0], {"name": "valor", "type": ["null", "double"]}, *SCHEMA["fields"][2:]],
}
CONTRACT = parse_contract(json.dumps(SCHEMA))
TARGET = TableName("bronze", "pedidos")
BAD = 2


def records(first: int, count: int) -> list[dict[str, Any]]:
    """Good records with ids of their own."""
    return [
        {
            "id": f"p{first + at}",
            "valor": at * 1.5,
            "tipo": "FISICA" if at % 2 else "JURIDICA",
            "nota": at if at % 3 else None,
        }
        for at in range(count)
    ]


def with_bad(good: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with a null in a required field as record number BAD."""
    return [*good[:BAD], {"id": "bad", "valor": None, "tipo": "FISICA", "nota": None}, *good[BAD:]]


class Delivered(Protocol):
    """A source that is delivered to, and the table that it feeds. `keeps_raw`: quarantine has the bytes of a record."""

    lake: Lake
    feed: SourceFeed
    keeps_raw: bool

    def deliver(self, name: str, rows: list[dict[str, Any]]) -> object:
        """Put records, written under LOOSE, where the source finds them; later ones come later."""

    def context(self) -> Context:
        """For a run."""

    def run(self) -> Outcome:
        """Take in what there is."""

    def query(self, sql: str, table: TableName = TARGET) -> list[dict[str, Any]]:
        """Rows of a table, called t."""

    def again(self, contract: dict[str, Any] = SCHEMA) -> Delivered:
        """The same table read by another process, perhaps under another contract."""


class SourceSuite:
    """Each test gets a world of its own."""

    def test_each_record_is_once_in_bronze_or_in_quarantine(self, world: Delivered) -> None:
        for name in "abcd":
            world.deliver(name, with_bad(records(ord(name) * 100, 5)))
        world.deliver("empty", [])
        outcome = world.run()
        assert (outcome.read, outcome.written, outcome.quarantined) == (24, 20, 4)
        expected = [row for name in "abcd" for row in records(ord(name) * 100, 5)]
        rows = {row["id"]: row for row in world.query("SELECT * FROM t")}
        assert [{key: rows[row["id"]][key] for key in row} for row in expected] == expected
        assert len(world.query("SELECT id FROM t")) == 20
        bad = world.query("SELECT * FROM t", QUARANTINE)
        told = [(row["reason"], row["detail"], row["records"], row["status"], row["target"]) for row in bad]
        assert told == [("null_in_required", "valor: null in a required field", 1, "open", str(TARGET))] * 4
        assert len({row["id"] for row in bad}) == 4
        assert all(len(row["raw"]) == row["raw_size"] > 0 for row in bad) or not world.keeps_raw

    def test_each_row_has_a_place_of_its_own_in_the_order_of_delivery(self, world: Delivered) -> None:
        world.deliver("a", with_bad(records(0, 40)))
        world.deliver("b", records(40, 40))
        world.run()
        places = [name for name in world.feed.source.position.names if name.startswith("source_")]
        unique = [name for name in places if name in ("source_file", "source_row", "source_partition", "source_offset")]
        columns = ", ".join(unique)
        rows = world.query(f"SELECT id, {columns} FROM t ORDER BY {columns}")
        assert [row["id"] for row in rows] == [f"p{at}" for at in range(80)]
        assert len({tuple(row[name] for name in unique) for row in rows}) == 80
        (bad,) = world.query(f"SELECT {columns} FROM t", QUARANTINE)
        assert tuple(bad.values()) not in {tuple(row[name] for name in unique) for row in rows}

    def test_what_was_consumed_is_not_consumed_again(self, world: Delivered) -> None:
        world.deliver("a", with_bad(records(0, 4)))
        assert world.run().read == 5
        assert world.run().read == 0
        other = world.again()
        assert other.run().read == 0
        world.deliver("b", records(10, 4))
        assert other.run().read == 4
        assert world.run().read == 0
        other.feed.close()
        assert len(world.query("SELECT id FROM t")) == 8

    def test_looking_changes_nothing(self, world: Delivered) -> None:
        world.deliver("a", records(0, 4))
        one, two = (world.feed.pending(world.context()) for _ in range(2))
        assert (one.new > 0, one) == (True, two)
        assert world.run().read == 4
        assert world.feed.pending(world.context()).new == 0

    def test_a_batch_that_was_staged_and_not_committed_is_staged_again(self, world: Delivered) -> None:
        world.deliver("a", with_bad(records(0, 4)))
        context, state = world.context(), world.feed.ready()
        (batch,) = world.feed._pending(state, context).batches
        run = Run("r", context.now)
        one, two = (world.feed.source.stage(batch, state.target(), {}, run) for _ in range(2))
        assert (one.offsets, one.details, one.units, one.within) == (two.offsets, two.details, two.units, two.within)
        assert one.rejected.equals(two.rejected)
        assert one.written == two.written == sum(file.rows for file in one.add) == 4
        assert one.quarantined == two.quarantined == one.rejected.num_rows == 1
        assert world.run().written == 4
        assert world.run().written == 0

    def test_of_two_who_took_the_same_the_second_lands_nothing(self, world: Delivered) -> None:
        world.deliver("a", with_bad(records(0, 4)))
        context, state = world.context(), world.feed.ready()
        (batch,) = world.feed._pending(state, context).batches
        staged = ingest(world.feed.source, batch, state, Run(context.run_id, context.now))
        other = world.again()
        assert other.run().read == 5
        late = Publication(state, staged.provenance, staged.rejected, Staged(staged.add), staged.onto)
        with pytest.raises(Fenced):
            publish(world.lake, context.engine, late, context.now)
        other.feed.close()
        assert len(world.query("SELECT id FROM t")) == 4
        assert len(world.query("SELECT id FROM t", QUARANTINE)) == 1
        assert world.run().read == 0

    def test_killed_between_quarantine_and_table(self, world: Delivered, monkeypatch: pytest.MonkeyPatch) -> None:
        world.deliver("a", with_bad(records(0, 4)))
        world.feed.ready()

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(type(world.lake), "commit", killed)
            with pytest.raises(KeyboardInterrupt):
                world.run()
        world.deliver("b", with_bad(records(10, 4)))
        other = world.again()
        assert other.run().read == 10
        other.feed.close()
        assert Counter(row["id"] for row in world.query("SELECT id FROM t")) == Counter(
            row["id"] for row in [*records(0, 4), *records(10, 4)]
        )
        assert len(world.query("SELECT id FROM t", QUARANTINE)) == 2

    def test_records_come_back_once_the_contract_allows_them(self, world: Delivered) -> None:
        if not world.keeps_raw:
            pytest.skip("theirs: a row of a column format has no bytes of its own to come back from")
        world.deliver("a", with_bad(records(0, 4)))
        world.deliver("b", with_bad(records(10, 4)))
        world.run()
        state = world.lake.require(TARGET)
        bad = pa.Table.from_pylist(world.query("SELECT * FROM t", QUARANTINE))
        assert world.feed.ahead(world.context(), state, bad) == frozenset()
        again = world.feed.restage(world.context(), state, bad)
        assert (again.accepted, again.staged.add) == ((), ())
        wider = world.again(LOOSE)
        again = wider.feed.restage(wider.context(), state, bad)
        assert sorted(again.accepted) == sorted(bad.column("id").to_pylist())
        assert again.staged.written == sum(file.rows for file in again.staged.add) == 2
        wider.feed.close()

    def test_entries_that_the_table_has_not_reached_are_ahead(self, world: Delivered) -> None:
        world.deliver("a", with_bad(records(0, 4)))
        context, state = world.context(), world.feed.ready()
        (batch,) = world.feed._pending(state, context).batches
        staged = world.feed.source.stage(batch, state.target(), {}, Run("r", context.now))
        assert world.feed.ahead(context, state, staged.rejected) == frozenset(staged.rejected.column("id").to_pylist())

    def test_closing_twice_is_no_harm(self, world: Delivered) -> None:
        other = world.again()
        world.deliver("a", records(0, 4))
        other.run()
        other.feed.close()
        other.feed.close()
