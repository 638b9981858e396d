"""What every table format promises to maintenance: tags, expiry, orphans, and that nothing readable is harmed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.contracts.formats_files import PEDIDOS, PLAIN, SCHEMA, Place, append, change, ids, pedidos, write

import datalab.lake.restore as restoring
from datalab.errors import Fenced, LakeError, SnapshotNotFound
from datalab.lake.beside import CHANGES
from datalab.lake.formats.base import Overtaken
from datalab.lake.formats.upkeep import File, Upkeep
from datalab.lake.lake import Lake
from datalab.lake.maintenance.expire import expire
from datalab.lake.maintenance.goals import Goals
from datalab.lake.provenance import Range
from datalab.lake.restore import restore
from datalab.lake.table import Change, Snapshot, TableSpec, TableState
from datalab.names import TableName


def upkeep(place: Place) -> Upkeep:
    return place.tables.upkeep


def replaced(place: Place, state: TableState, first: int, last: int) -> TableState:
    gone = place.lake.files(state).files
    return place.lake.commit(state, change(write(state, pedidos(first, last)), remove=gone, kind="replace"))


def five(place: Place, state: TableState) -> list[TableState]:
    """One append, then replacements: snapshot n holds the id n alone."""
    states = [append(place, state, 1, 1, inputs={"bronze.x": Range(None, 7)}, offsets={"p0": 3})]
    for number in range(2, 6):
        states.append(replaced(place, states[-1], number, number))
    return states


def files_on_disk(state: TableState) -> set[str]:
    return {str(path) for path in Path(state.location).rglob("*.parquet") if "_delta_log" not in path.parts}


def live_paths(lake: Lake, state: TableState, snapshots: Iterable[int | None]) -> set[str]:
    return {file.path for snapshot in snapshots for file in lake.files(state, snapshot).files}


def test_expired_snapshots_are_gone_with_their_files_and_the_others_are_whole(place: Place, state: TableState) -> None:
    states = five(place, state)
    gone = [each.snapshot for each in states[:3]]
    doomed = upkeep(place).doomed(states[-1], gone)
    before = files_on_disk(state)
    assert upkeep(place).expire(states[-1], gone) == doomed
    newest = place.fresh().require(PEDIDOS)
    lake = place.fresh()
    assert [snapshot.id for snapshot in lake.history(newest)] == [each.snapshot for each in states[3:]]
    assert ids(lake.files(newest)) == [5]
    assert ids(lake.files(newest, states[3].snapshot)) == [4]
    for snapshot in gone:
        with pytest.raises(SnapshotNotFound):
            lake.files(newest, snapshot)
    assert files_on_disk(state) == live_paths(lake, newest, [each.snapshot for each in states[3:]])
    assert len(before) - len(files_on_disk(state)) == 3
    assert not any(Path(file.path).exists() for file in doomed)
    assert PLAIN[place.name](place.warehouse, PEDIDOS).column("id").to_pylist() == [5]
    assert list(place.fresh().format(place.name).upkeep.strays(newest)) == []


def test_positions_and_provenance_survive_expiry(place: Place, state: TableState) -> None:
    states = five(place, state)
    upkeep(place).expire(states[-1], [each.snapshot for each in states[:-1]])
    newest = place.fresh().require(PEDIDOS)
    assert newest.positions == states[-1].positions
    other = place.lake.commit(newest, change(write(newest, pedidos(6, 6)), flow="b", inputs={"bronze.y": Range(1, 2)}))
    assert set(place.fresh().require(PEDIDOS).positions) == {"ingest", "b"} == set(other.positions)
    assert place.lake.history(other)[0].provenance is not None


def test_snapshots_in_the_middle_leave_a_gap_that_is_told(place: Place, state: TableState) -> None:
    states = five(place, state)
    upkeep(place).expire(states[-1], [states[1].snapshot, states[2].snapshot])
    lake = place.fresh()
    newest = lake.require(PEDIDOS)
    history = lake.history(newest)
    assert [snapshot.id for snapshot in history] == [states[index].snapshot for index in (0, 3, 4)]
    assert [snapshot.after_gap for snapshot in history] == [False, True, False]
    assert [snapshot.rows_total for snapshot in history] == [1, 1, 1]
    assert ids(lake.files(newest, states[0].snapshot)) == [1]
    difference = lake.changed(newest, states[0].snapshot, newest.snapshot)
    assert (ids(difference.added), ids(difference.removed)) == ([5], [1])
    with pytest.raises(SnapshotNotFound, match="expired"):
        lake.added(newest, states[0].snapshot, newest.snapshot)
    after = append(place, newest, 6, 6)
    assert ids(place.lake.added(after, newest.snapshot, after.snapshot)) == [6]
    upkeep(place).expire(after, [states[0].snapshot])
    assert [snapshot.id for snapshot in place.fresh().history(place.fresh().require(PEDIDOS))] == [
        states[3].snapshot,
        states[4].snapshot,
        after.snapshot,
    ]


def test_expiry_bit_by_bit_ends_where_expiry_at_once_does(place: Place, state: TableState) -> None:
    states = five(place, state)
    for index in (2, 0, 3, 1):
        newest = place.lake.require(PEDIDOS)
        upkeep(place).expire(newest, [states[index].snapshot])
        kept = [snapshot.id for snapshot in place.fresh().history(place.fresh().require(PEDIDOS))]
        for snapshot in kept:
            assert len(ids(place.fresh().files(place.fresh().require(PEDIDOS), snapshot))) == 1
    newest = place.fresh().require(PEDIDOS)
    assert files_on_disk(state) == live_paths(place.lake, newest, [newest.snapshot])


def test_a_file_that_came_back_stays(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 3)
    first = place.lake.files(one).files
    two = replaced(place, one, 4, 4)
    back = place.lake.commit(two, change(*first, remove=place.lake.files(two).files, kind="restore"))
    upkeep(place).expire(back, [one.snapshot, two.snapshot])
    assert ids(place.fresh().files(place.fresh().require(PEDIDOS))) == [1, 2, 3]


def test_the_newest_and_tagged_snapshots_cannot_expire(place: Place, state: TableState) -> None:
    states = five(place, state)
    tagged = upkeep(place).tag(states[-1], "antes", states[1].snapshot)
    assert upkeep(place).tags(place.fresh().require(PEDIDOS)) == {"antes": states[1].snapshot}
    assert tagged.snapshot == states[-1].snapshot
    for snapshot in (states[1].snapshot, states[-1].snapshot):
        with pytest.raises(LakeError, match="in use"):
            upkeep(place).expire(tagged, [snapshot])
    untagged = upkeep(place).tag(tagged, "antes", None)
    assert upkeep(place).tags(untagged) == {}
    upkeep(place).expire(untagged, [states[1].snapshot])
    newest = place.fresh().require(PEDIDOS)
    assert states[1].snapshot not in [snapshot.id for snapshot in place.fresh().history(newest)]


def test_the_tag_of_a_restore_that_was_killed_goes_once_it_is_older_than_any_reader(
    place: Place, state: TableState, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, goals = five(place, state), Goals(keep=1, keep_for=timedelta(0), readers=timedelta(hours=6))
    first = states[0].snapshot
    assert first is not None
    upkeep(place).tag(states[-1], "restore-0815", states[1].snapshot)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place.lake, "commit_rebased", lambda *_: patch.setattr(restoring, "named", killed))
        with pytest.raises(KeyboardInterrupt):
            restore(place.lake, PEDIDOS, first, "r")
    (left,) = set(place.fresh().tags(place.fresh().require(PEDIDOS))) - {"restore-0815"}
    now = datetime.now(UTC)
    for hours, dry_run, expired in [(5, False, 0), (7, True, 3), (7, False, 3)]:
        lake = place.fresh()
        assert left in lake.tags(lake.require(PEDIDOS))
        done = expire(lake, PEDIDOS, (), goals, now + timedelta(hours=hours), dry_run=dry_run)
        assert len(done.expired) == expired
        assert (first in done.expired) is bool(expired)
    assert set(place.fresh().tags(place.fresh().require(PEDIDOS))) == {"restore-0815"}


def test_a_restore_whose_tag_was_taken_away_does_not_go_on(
    place: Place, state: TableState, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = five(place, state)
    assert states[0].snapshot is not None
    plain = place.lake.commit_rebased

    def late(name: TableName, make: Callable[[TableState], Change | None]) -> TableState:
        (tag,) = place.lake.tags(place.lake.require(name))
        restoring.named(place.fresh(), name, tag, None)
        return plain(name, make)

    monkeypatch.setattr(place.lake, "commit_rebased", late)
    with pytest.raises(Fenced, match="was taken away"):
        restore(place.lake, PEDIDOS, states[0].snapshot, "r")
    assert ids(place.fresh().files(place.fresh().require(PEDIDOS))) == [5]


def test_tags_that_only_look_like_those_of_a_restore() -> None:
    assert restoring.began("restore-20261127-120500-0a1b2c3d") == datetime(2026, 11, 27, 12, 5, tzinfo=UTC)
    for tag in ("restore-0815", "restore-20261327-120500-0a1b2c3d", "restore-20261127-120500-0a1b2c3d-x", "antes"):
        assert restoring.began(tag) is None


def test_snapshots_expire_though_others_come_first_a_few_times(
    place: Place, state: TableState, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, other, plain, left = five(place, state), place.fresh(), place.lake.history, 4

    def history(state: TableState) -> tuple[Snapshot, ...]:
        nonlocal left
        if left:
            left -= 1
            newest = other.require(PEDIDOS)
            other.commit(newest, change(write(newest, pedidos(9, 9))))
        return plain(state)

    monkeypatch.setattr(place.lake, "history", history)
    nothing = timedelta(0)
    goals = Goals(keep=1, keep_for=nothing, readers=nothing)
    done = expire(place.lake, PEDIDOS, (), goals, datetime.now(UTC) + timedelta(days=1))
    assert len(done.expired) == 8
    assert set(done.expired) > {each.snapshot for each in states}
    assert ids(place.fresh().files(place.fresh().require(PEDIDOS))) == [5, 9, 9, 9, 9]


def test_own_tags_are_seen_by_other_readers(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 1)
    upkeep(place).tag(one, "antes", one.snapshot)
    if place.tables.capabilities.own_tags:
        assert place.fresh().require(PEDIDOS).handle.metadata.refs["antes"].snapshot_id == one.snapshot


def test_upkeep_from_an_outdated_state_is_refused_and_writers_are_not_hindered(place: Place, state: TableState) -> None:
    states = five(place, state)
    staged = write(states[-1], pedidos(9, 9))
    with pytest.raises(Overtaken):
        upkeep(place).expire(states[-2], [states[0].snapshot])
    with pytest.raises(Overtaken):
        upkeep(place).tag(states[-2], "antes", states[0].snapshot)
    upkeep(place).expire(states[-1], [states[0].snapshot])
    upkeep(place).tag(place.lake.require(PEDIDOS), "agora", states[-1].snapshot)
    assert ids(place.lake.files(place.lake.commit(states[-1], change(staged)))) == [5, 9]


def test_a_writer_overtaken_by_compaction_alone_commits_on_top_of_it(place: Place, state: TableState) -> None:
    one = append(place, append(place, state, 1, 3), 4, 6)
    old, new = sorted(place.lake.files(one).files, key=lambda file: file.lower["id"])
    place.lake.commit(one, change(write(one, pedidos(4, 6)), remove=[new], kind="compact", flow="maintenance"))
    landed = place.lake.commit(one, change(write(one, pedidos(7, 8)), remove=[old], kind="upsert"))
    assert ids(place.lake.files(landed)) == [4, 5, 6, 7, 8]
    with pytest.raises(Fenced):
        place.lake.commit(one, change(write(one, pedidos(9, 9)), remove=[new], kind="upsert"))


def test_a_writer_at_rest_while_the_log_was_cleaned_is_refused(place: Place, state: TableState) -> None:
    states = five(place, state)
    upkeep(place).expire(states[-1], [each.snapshot for each in states[:-1]])
    for outdated in states[:-1]:
        with pytest.raises(Fenced):
            place.lake.commit(outdated, change(write(outdated, pedidos(9, 9))))
    assert ids(place.fresh().files(place.fresh().require(PEDIDOS))) == [5]


def test_strays_are_what_nobody_names(place: Place, state: TableState) -> None:
    states = five(place, state)
    left = write(states[-1], pedidos(7, 9))
    folder = Path(state.target().location) / "staging-0815"
    folder.mkdir()
    (folder / "dl-x.parquet").write_bytes(b"half a file")
    os.utime(folder / "dl-x.parquet", (time.time() - 7200, time.time() - 7200))
    found = {file.path: file for file in place.fresh().format(place.name).upkeep.strays(states[-1])}
    assert set(found) == {left.path, str(folder / "dl-x.parquet")}
    assert found[left.path].size == left.size
    assert (time.time() - found[str(folder / "dl-x.parquet")].modified.timestamp()) == pytest.approx(7200, abs=60)


def test_side_files_stay_as_long_as_a_commit_names_them(place: Place, state: TableState) -> None:
    beside = Path(state.target().location) / CHANGES
    beside.mkdir(parents=True)
    one, two, three = (beside / f"{name}.parquet" for name in "abc")
    for path in (one, two, three):
        path.write_bytes(b"x")

    def naming(*paths: Path) -> dict[str, object]:
        return {"changes": {"entered": [[path.name, 1, 1] for path in paths], "left": [], "copies": []}}

    first = append(place, state, 1, 1, details=naming(one, two))
    second = append(place, first, 2, 2, details=naming(two))
    assert [file.path for file in upkeep(place).strays(second)] == [str(three)]
    assert str(one) in {file.path for file in upkeep(place).expire(second, [first.snapshot])}
    assert [path.exists() for path in (one, two, three)] == [False, True, True]


def test_metadata_is_measured_and_made_quick(place: Place, state: TableState) -> None:
    for number in range(22):
        state = append(place, state, number, number)
    before = upkeep(place).metadata(state)
    assert before.files > 0
    assert before.bytes > 0
    upkeep(place).tidy(state)
    after = upkeep(place).metadata(place.fresh().require(PEDIDOS))
    assert after.files <= before.files
    assert ids(place.fresh().files(place.fresh().require(PEDIDOS))) == list(range(22))


def test_old_versions_of_the_metadata_do_not_pile_up(place: Place, state: TableState) -> None:
    for number in range(25):
        state = append(place, state, number, number)
    kept = [path for path in Path(state.location).rglob("*.metadata.json") if not path.name.startswith(".")]
    assert len(kept) <= 21
    # PyIceberg writes the manifest of an append, and then merges it into another: the first is left behind.
    left = list(upkeep(place).strays(state))
    assert len(left) <= 1
    assert all(isinstance(file, File) and file.path.endswith(".avro") for file in left)


def test_expiry_does_not_ask_for_tables_it_does_not_know(place: Place) -> None:
    made = place.lake.define(PEDIDOS, TableSpec(SCHEMA))
    assert upkeep(place).doomed(made, []) == ()
    assert upkeep(place).expire(made, []) == ()
    assert upkeep(place).metadata(made).files >= 0
