"""Old snapshots forgotten, with the files that only they named."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from datalab.errors import DataLabError, Fenced, SnapshotNotFound
from datalab.lake.commit import storage_errors, turns
from datalab.lake.formats.base import Overtaken
from datalab.lake.formats.upkeep import File
from datalab.lake.lake import Lake
from datalab.lake.maintenance.goals import Goals
from datalab.lake.maintenance.retention import Need, Verdict, verdicts
from datalab.lake.restore import began, named
from datalab.lake.turn import turn_after
from datalab.names import TableName

_ATTEMPTS = 20


@dataclass(frozen=True)
class Expiry:
    """The verdict on each snapshot of a table, oldest first, and the files that go, or went, with the expired ones."""

    table: TableName
    verdicts: tuple[Verdict, ...]
    files: tuple[File, ...] = ()
    error: DataLabError | None = None

    @property
    def expired(self) -> tuple[int, ...]:
        """The snapshots that go."""
        return tuple(each.snapshot.id for each in self.verdicts if not each.stays)


def expire(
    lake: Lake, name: TableName, wanted: Collection[Need], goals: Goals, now: datetime, *, dry_run: bool = False
) -> Expiry:
    """Judge each snapshot and forget those that nobody needs; made anew where the table moved on meanwhile.

    The tag of a restore that began longer ago than any reader runs goes before: it was killed, or finds it gone.

    `wanted`: what the tables of the lake need of each other. TableNotFound, Fenced after too many lost races.
    """
    own = [need for need in wanted if need.table == name]
    left = _left_tags(lake, name, now - goals.readers)
    for tag in left if not dry_run else ():
        with suppress(SnapshotNotFound):
            named(lake, name, tag, None)
    for attempt in turns(_ATTEMPTS):
        with suppress(Overtaken), turn_after(attempt, lake.require(name).location):
            state = lake.require(name)
            upkeep = lake.format(state.format).upkeep
            tags = {tag: snapshot for tag, snapshot in upkeep.tags(state).items() if tag not in left}
            judged = verdicts(lake.history(state), tags, own, goals, now)
            expiry = Expiry(name, judged)
            if not expiry.expired:
                return expiry
            with storage_errors(name, "snapshots were to expire"):
                files = (upkeep.doomed if dry_run else upkeep.expire)(state, expiry.expired)
            return Expiry(name, judged, files)
    raise Fenced(f"{name}: other writers changed it {_ATTEMPTS} times while snapshots were to expire", "run again")


def _left_tags(lake: Lake, name: TableName, before: datetime) -> frozenset[str]:
    begun = {tag: began(tag) for tag in lake.tags(lake.require(name))}
    return frozenset(tag for tag, at in begun.items() if at is not None and at < before)
