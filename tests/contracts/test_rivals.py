"""What becomes of a change that was overtaken: it lands on top of what does not concern it, and of nothing else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.faults.operations import SCHEMA, TABLE, Place, contas, expected, stage

from datalab.engine.base import Append, Mode, Replace, Staged, Upsert
from datalab.errors import Fenced
from datalab.lake.lake import open_lake
from datalab.lake.layout import MARK_ROWS_KEY
from datalab.lake.maintenance.compact import compact
from datalab.lake.maintenance.expire import expire
from datalab.lake.maintenance.goals import Goals
from datalab.lake.provenance import Provenance, Range
from datalab.lake.table import TableSpec, TableState, reads_nothing

UPSERT = Upsert(("conta", "parte"), "__sequence")
THERE = {**expected(1, 4, 1), **expected(30, 60, 1)}
AT_ONCE = Goals(keep=1, keep_for=timedelta(0), readers=timedelta(0), orphans=timedelta(0))


@pytest.fixture(params=["iceberg", "delta"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    opened = Place.open(request.param, tmp_path / "lake")
    opened.lake.define(TABLE, TableSpec(SCHEMA, properties={MARK_ROWS_KEY: "1"}))
    for first, last in ((1, 4), (30, 60)):
        write(opened, "inicio", contas(first, last, 1), Append())
    yield opened
    opened.engine.close()


def other(place: Place) -> Place:
    """The same table as another process sees it."""
    return Place(place.format, place.warehouse, open_lake(place.format, str(place.warehouse)), place.engine)


def write(place: Place, flow: str, rows: Any, mode: Mode, **facts: Any) -> TableState:
    state = place.lake.require(TABLE)
    return land(place, state, stage(place, state, rows, mode), flow, kind=type(mode).__name__.lower(), **facts)


def land(place: Place, state: TableState, staged: Staged, flow: str, **facts: Any) -> TableState:
    facts = {"kind": "upsert", "inputs": {"bronze.fonte": Range(None, 1)}, "written": staged.written, **facts}
    return place.lake.commit(state, staged.change(Provenance("r", flow, **facts)))


def merge(place: Place) -> None:
    compact(place.lake, TABLE, Goals(), place.engine.rewrite, "m", lambda *_: None)


def test_an_upsert_lands_on_top_of_rows_that_it_does_not_look_for(place: Place) -> None:
    state = place.lake.require(TABLE)
    staged = stage(place, state, contas(3, 5, 6), UPSERT)
    for number in range(100, 103):
        write(other(place), "outro", contas(number, number, 1), Append())
    after = land(place, state, staged, "fonte")
    wanted = {**THERE, **expected(3, 5, 6), **expected(100, 102, 1)}
    assert place.rows(after) == place.rows() == wanted
    assert set(after.positions) == {"inicio", "outro", "fonte"}
    history = place.lake.history(after)
    assert [each.operation for each in history][-4:] == ["append", "append", "append", "upsert"]
    assert history[-1].rows_total == len(wanted)


def test_it_lands_also_where_rows_were_merged_or_replaced_that_it_does_not_touch(place: Place) -> None:
    state = place.lake.require(TABLE)
    staged = stage(place, state, contas(70, 71, 6), UPSERT)
    write(other(place), "outro", contas(2, 2, 9), UPSERT)
    write(other(place), "mais", contas(100, 100, 1), Append())
    merge(other(place))
    land(place, state, staged, "fonte")
    assert place.rows() == {**THERE, **expected(2, 2, 9), **expected(70, 71, 6), **expected(100, 100, 1)}


@pytest.mark.parametrize("mode", [UPSERT, Append()])
def test_it_does_not_where_one_of_its_keys_came(place: Place, mode: Mode) -> None:
    state = place.lake.require(TABLE)
    staged = stage(place, state, contas(69, 71, 6), UPSERT)
    write(other(place), "outro", contas(71, 80, 9), mode)
    write(other(place), "mais", contas(90, 90, 9), Append())
    with pytest.raises(Fenced, match=r"run r \(mais\) committed first"):
        land(place, state, staged, "fonte")
    assert place.rows() == {**THERE, **expected(71, 80, 9), **expected(90, 90, 9)}


def test_it_does_not_where_rows_that_it_replaces_are_gone(place: Place) -> None:
    state = place.lake.require(TABLE)
    staged = stage(place, state, contas(3, 3, 6), UPSERT)
    write(other(place), "outro", contas(3, 4, 9), UPSERT)
    with pytest.raises(Fenced):
        land(place, state, staged, "fonte")
    assert place.rows() == {**THERE, **expected(3, 4, 9)}


@pytest.mark.parametrize("mode", [Append(), UPSERT, Replace()])
def test_of_two_commits_of_one_flow_the_second_is_refused(place: Place, mode: Mode) -> None:
    state = place.lake.require(TABLE)
    staged = stage(place, state, contas(200, 201, 6), mode)
    write(other(place), "fonte", contas(300, 300, 1), Append())
    write(other(place), "outro", contas(100, 100, 1), Append())
    with pytest.raises(Fenced):
        land(place, state, staged, "fonte", kind=type(mode).__name__.lower())
    assert place.rows() == {**THERE, **expected(300, 300, 1), **expected(100, 100, 1)}


@pytest.mark.parametrize("mode", [Append(), UPSERT])
@pytest.mark.parametrize("between", ["replace", "restore", "fresh", "schema"])
def test_nothing_lands_on_top_of_a_table_that_began_anew(place: Place, mode: Mode, between: str) -> None:
    state = place.lake.require(TABLE)
    staged = stage(place, state, contas(200, 201, 6), mode)
    rival = other(place)
    if between == "schema":
        rival.lake.define(TABLE, TableSpec(SCHEMA.append(SCHEMA.field("nota").with_name("mais"))))
        write(rival, "outro", contas(100, 100, 1), Append())
    elif between == "fresh":
        write(rival, "outro", contas(100, 100, 1), UPSERT, fresh=True)
    elif between == "restore":
        now = rival.lake.require(TABLE)
        land(rival, now, Staged(()), "restore", kind="restore", positions=now.positions)
    else:
        write(rival, "outro", contas(100, 100, 1), Replace())
    held = place.rows()
    with pytest.raises(Fenced):
        land(place, state, staged, "fonte")
    assert place.rows() == held


def test_what_replaces_all_rows_replaces_those_that_came_meanwhile(place: Place) -> None:
    state = place.lake.require(TABLE)
    staged = stage(place, state, contas(9, 9, 6), Replace())
    write(other(place), "outro", contas(100, 100, 1), Append())
    after = land(place, state, staged, "fonte", kind="replace")
    assert place.rows(after) == expected(9, 9, 6)


@pytest.mark.parametrize("mode", [Append(), UPSERT])
def test_nothing_lands_where_commits_in_between_have_expired(place: Place, mode: Mode) -> None:
    state, rival = place.lake.require(TABLE), other(place)
    staged = stage(place, state, contas(200, 201, 6), mode)
    for number in (100, 101):
        write(rival, "outro", contas(number, number, 1), Append())
    merge(rival)
    expire(rival.lake, TABLE, (), AT_ONCE, datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(Fenced):
        land(place, state, staged, "fonte")
    assert place.rows() == {**THERE, **expected(100, 101, 1)}


def test_what_says_nothing_of_what_it_read_is_refused(place: Place) -> None:
    state = place.lake.require(TABLE)
    staged = stage(place, state, contas(200, 201, 6), Append())
    assert staged.meets is reads_nothing
    write(other(place), "outro", contas(100, 100, 1), Append())
    with pytest.raises(Fenced):
        land(place, state, Staged(staged.add, written=staged.written), "fonte")


def append_unresting(table_format: str, warehouse: str, number: int, begun: Any, stop: Any) -> None:
    """Append without a pause, each commit from the newest state, until told to stop."""
    place, unit = Place.open(table_format, Path(warehouse)), 0
    while not stop.is_set():
        unit += 1
        first = number * 1_000_000 + unit
        write(place, f"f{number}", contas(first, first, 1), Append())
        begun.set()
    place.engine.close()


def test_upserts_are_not_starved_by_unresting_appends(place: Place) -> None:
    context = multiprocessing.get_context("spawn")
    stop, begun = context.Event(), [context.Event() for _ in range(2)]
    rivals = [
        context.Process(target=append_unresting, args=(place.format, str(place.warehouse), number, mark, stop))
        for number, mark in enumerate(begun, 1)
    ]
    for rival in rivals:
        rival.start()
    assert all(mark.wait(60) for mark in begun)
    overtaken = 0
    try:
        for version in range(2, 12):
            state = place.lake.require(TABLE)
            staged = stage(place, state, contas(1, 4, version), UPSERT)
            after = land(place, state, staged, "fonte", inputs={"bronze.fonte": Range(version - 1, version)})
            overtaken += place.lake.history(after)[-2].id != state.snapshot
    finally:
        stop.set()
        for rival in rivals:
            rival.join(60)
    assert [rival.exitcode for rival in rivals] == [0, 0]
    assert overtaken > 0
    held = place.rows()
    assert {key: held[key] for key in expected(1, 4, 11)} == expected(1, 4, 11)
    commits = [each.provenance for each in place.lake.history(place.lake.require(TABLE))]
    flows = [made.flow for made in commits if made is not None]
    assert flows.count("fonte") == 10
    for number in (1, 2):
        accounts = {conta for conta, _ in held if conta // 1_000_000 == number}
        assert len(accounts) == flows.count(f"f{number}") > 0
