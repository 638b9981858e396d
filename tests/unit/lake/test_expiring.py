"""Expiry of Iceberg snapshots while others commit, expire and vacuum: at each file of metadata that it reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table.update import RemoveSnapshotsUpdate, update_table_metadata
from tests.contracts.formats_files import PEDIDOS, SCHEMA, Place, change, ids, pedidos, write

from datalab.events import Bus
from datalab.lake.formats.iceberg_metadata import applied
from datalab.lake.lake import Lake, open_lake
from datalab.lake.maintenance import expire as expiring
from datalab.lake.maintenance.expire import expire
from datalab.lake.maintenance.goals import Goals
from datalab.lake.maintenance.vacuum import vacuum
from datalab.lake.restore import restore
from datalab.lake.table import TableSpec, TableState

NOTHING = timedelta(0)
ONE = Goals(keep=1, keep_for=NOTHING, readers=NOTHING)
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    bus = Bus()
    return Place("iceberg", tmp_path / "lake", open_lake("iceberg", str(tmp_path / "lake"), bus=bus), bus)


@pytest.fixture
def states(place: Place) -> list[TableState]:
    """Replacements: snapshot n holds the id n alone."""
    found = [place.lake.define(PEDIDOS, TableSpec(SCHEMA))]
    for number in range(1, 6):
        gone = place.lake.files(found[-1]).files
        made = change(write(found[-1], pedidos(number, number)), remove=gone, kind="replace")
        found.append(place.lake.commit(found[-1], made))
    return found[1:]


def interrupting(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object], times: int) -> None:
    """Do something each time that a manifest or a list of them is opened, so many times at most."""
    plain, left, busy = Path.open, times, False

    def opened(self: Path, *args: Any, **options: Any) -> Any:
        nonlocal left, busy
        if self.suffix == ".avro" and left and not busy:
            left, busy = left - 1, True
            work()
            busy = False
        return plain(self, *args, **options)

    monkeypatch.setattr(Path, "open", opened)


def appended(lake: Lake) -> TableState:
    state = lake.require(PEDIDOS)
    return lake.commit(state, change(write(state, pedidos(9, 9))))


def on_disk(state: TableState) -> set[str]:
    return {str(path) for path in Path(state.location).rglob("*.parquet")}


def test_beside_a_writer_without_a_pause(
    place: Place, states: list[TableState], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, attempts = place.fresh(), expiring._ATTEMPTS
    interrupting(monkeypatch, lambda: appended(other), attempts + 2)
    done = expire(place.lake, PEDIDOS, (), ONE, LATER)
    monkeypatch.undo()
    assert done.expired == tuple(each.snapshot for each in states[:-1])
    assert len([file for file in done.files if file.path.endswith(".parquet")]) == 4
    assert not any(Path(file.path).exists() for file in done.files)
    newest = place.fresh().require(PEDIDOS)
    history = place.fresh().history(newest)
    assert history[0].id == states[-1].snapshot
    assert len(history) > 1
    for number, snapshot in enumerate(history):
        assert ids(place.fresh().files(newest, snapshot.id)) == [5, *[9] * number]
    assert on_disk(newest) == {file.path for file in place.fresh().files(newest).files}


def test_beside_others_that_expire_what_it_still_reads(
    place: Place, states: list[TableState], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.fresh()
    interrupting(monkeypatch, lambda: expire(other, PEDIDOS, (), ONE, LATER), 1)
    place.tables.upkeep.expire(states[-1], [states[1].snapshot])
    monkeypatch.undo()
    newest = place.fresh().require(PEDIDOS)
    assert [each.id for each in place.fresh().history(newest)] == [states[-1].snapshot]
    assert ids(place.fresh().files(newest)) == [5]
    assert list(place.fresh().format("iceberg").upkeep.strays(newest)) == []


def test_beside_a_vacuum_that_takes_what_it_still_reads(
    place: Place, states: list[TableState], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.fresh()
    interrupting(monkeypatch, lambda: vacuum(other, PEDIDOS, NOTHING, LATER), 1)
    place.tables.upkeep.expire(states[-1], [each.snapshot for each in states[:3]])
    monkeypatch.undo()
    newest = place.fresh().require(PEDIDOS)
    lake = place.fresh()
    assert [ids(lake.files(newest, each.id)) for each in lake.history(newest)] == [[4], [5]]
    assert list(lake.format("iceberg").upkeep.strays(newest)) == []


def test_killed_before_anything_is_listed_it_leaves_orphans(
    place: Place, states: list[TableState], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    interrupting(monkeypatch, killed, 1)
    with pytest.raises(KeyboardInterrupt):
        expire(place.lake, PEDIDOS, (), ONE, LATER)
    monkeypatch.undo()
    lake = place.fresh()
    newest = lake.require(PEDIDOS)
    assert [each.id for each in lake.history(newest)] == [states[-1].snapshot]
    swept = vacuum(lake, PEDIDOS, NOTHING, LATER)
    assert len([file for file in swept.files if file.path.endswith(".parquet")]) == 4
    assert ids(lake.files(newest)) == [5]
    assert on_disk(newest) == {file.path for file in lake.files(newest).files}


def test_what_is_restored_while_it_lists_stays(
    place: Place, states: list[TableState], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.fresh()
    interrupting(monkeypatch, lambda: restore(other, PEDIDOS, states[3].snapshot or 0, "r"), 1)
    place.tables.upkeep.expire(states[-1], [each.snapshot for each in states[:3]])
    monkeypatch.undo()
    lake = place.fresh()
    newest = lake.require(PEDIDOS)
    assert [ids(lake.files(newest, each.id)) for each in lake.history(newest)] == [[4], [5], [4]]


def test_a_restore_lands_beside_a_writer_without_a_pause(
    place: Place, states: list[TableState], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.fresh()
    interrupting(monkeypatch, lambda: appended(other), 3)
    restore(place.fresh(), PEDIDOS, states[1].snapshot or 0, "r")
    monkeypatch.undo()
    newest = place.fresh().require(PEDIDOS)
    assert ids(place.fresh().files(newest)) == [2]
    assert place.fresh().tags(newest) == {}


def test_the_metadata_is_what_pyiceberg_makes_of_it(states: list[TableState]) -> None:
    table, gone = states[-1].handle, [states[0].snapshot, states[2].snapshot]
    updates = (RemoveSnapshotsUpdate.model_validate({"snapshot-ids": gone}),)
    theirs = update_table_metadata(table.metadata, updates, metadata_location=table.metadata_location)
    ours = applied(table, updates)
    assert ours.model_copy(update={"last_updated_ms": 0}) == theirs.model_copy(update={"last_updated_ms": 0})
