"""Which snapshots may go, which must stay, and why: a verdict on each. Reads histories, no data file.

Safe for running readers by age alone: a reader is at the snapshot that was the newest when it began, so one that was
replaced longer ago than any reader runs has none. The age counts from its replacement, not from its making.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from datalab.lake.lake import Lake
from datalab.lake.maintenance.goals import Goals
from datalab.lake.read import same_rows, standing
from datalab.lake.table import Snapshot, TableState
from datalab.names import TableName

_HOUR, _DAY = 3600, 86400


@dataclass(frozen=True)
class Need:
    """Somebody needs a snapshot of a table; `onwards`: and all that came after it."""

    table: TableName
    snapshot: int
    reason: str
    onwards: bool = False


@dataclass(frozen=True)
class Verdict:
    """A snapshot, whether it stays, and why."""

    snapshot: Snapshot
    stays: bool
    reason: str
    needed: bool = False


def needs(lake: Lake) -> tuple[Need, ...]:
    """What the tables of a lake need of each other: positions of consumers, snapshots that training sets name."""
    states = (lake.require(name) for name in lake.names())
    return tuple(need for state in states for need in (*_positions(state), *_keeps(lake, state)))


def verdicts(
    history: Sequence[Snapshot], tags: Mapping[str, int], wanted: Collection[Need], goals: Goals, now: datetime
) -> tuple[Verdict, ...]:
    """One for each snapshot of a table, oldest first. `wanted` are the needs of this table alone."""
    named = {snapshot: f"tag {name}" for name, snapshot in tags.items()}
    reasons = {**_needed(history, wanted), **named}
    ends = {old.id: new.at for old, new in pairwise(history)}
    newest = {snapshot.id for snapshot in history[-max(goals.keep, 1) :]}
    return tuple(_verdict(each, reasons.get(each.id), ends.get(each.id), newest, goals, now) for each in history)


def _verdict(
    each: Snapshot, need: str | None, end: datetime | None, newest: Collection[int], goals: Goals, now: datetime
) -> Verdict:
    if end is None:
        return Verdict(each, True, "the newest")
    if need is not None:
        return Verdict(each, True, need, needed=True)
    age = now - end
    if age <= goals.readers:
        return Verdict(each, True, f"replaced {_words(age)} ago: a reader may still be at it", needed=True)
    if each.id in newest:
        return Verdict(each, True, f"among the newest {goals.keep}")
    if age <= goals.keep_for:
        return Verdict(each, True, f"replaced {_words(age)} ago, less than {_words(goals.keep_for)}")
    return Verdict(each, False, f"replaced {_words(age)} ago")


def _needed(history: Sequence[Snapshot], wanted: Collection[Need]) -> dict[int, str]:
    order = {snapshot.id: number for number, snapshot in enumerate(history)}
    found: dict[int, str] = {}
    there = (replace(need, snapshot=standing(history, need.snapshot)) if need.onwards else need for need in wanted)
    for need in (need for need in there if need.snapshot in order):
        first = _stands(history, order[need.snapshot]) if need.onwards else order[need.snapshot]
        for later in history[first + 1 :] if need.onwards else ():
            found.setdefault(later.id, f"not yet consumed by {need.reason}")
        found[history[first].id] = f"{need.reason} stands here" if need.onwards else need.reason
    return found


def _stands(history: Sequence[Snapshot], consumed: int) -> int:
    """Where a consumer goes on from: the last of the compactions that directly follow what it consumed."""
    last = consumed
    for number in range(consumed + 1, len(history)):
        if history[consumed].id not in same_rows(history[number]):
            break
        last = number
    return last


def _positions(state: TableState) -> Iterator[Need]:
    for flow, position in state.positions.items():
        for table, snapshot in position.inputs.items():
            yield Need(TableName.parse(table), snapshot, f"{state.name} (flow {flow})", onwards=True)


def _keeps(lake: Lake, state: TableState) -> Iterator[Need]:
    for snapshot in lake.history(state):
        keeps = snapshot.provenance.details.get("keeps", {}) if snapshot.provenance else {}
        for table, kept in keeps.items():
            yield Need(TableName.parse(table), int(kept), f"{state.name}@{snapshot.id} was made from it")


def _words(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    if seconds >= 2 * _DAY:
        return f"{seconds // _DAY} days"
    if seconds >= 2 * _HOUR:
        return f"{seconds // _HOUR} hours"
    return f"{seconds // 60} minutes" if seconds >= 120 else f"{seconds} seconds"
