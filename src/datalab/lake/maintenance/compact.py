"""Compaction: small files and layers become well-sized sorted ones, in one commit that moves no row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from datalab.errors import CommitUnknown, DataLabError, Fenced
from datalab.lake.commit import storage_errors, turns
from datalab.lake.formats.base import Overtaken
from datalab.lake.lake import Lake
from datalab.lake.maintenance.goals import Goals
from datalab.lake.maintenance.selection import Group, groups_to_merge
from datalab.lake.provenance import SAME_ROWS, Provenance
from datalab.lake.read import same_rows
from datalab.lake.table import Change, DataFile, Relation, Rewriting, TableState
from datalab.lake.turn import turn_after
from datalab.names import TableName

FLOW = "maintenance"
_ATTEMPTS, _STARTS = 20, 3

Rewrite = Callable[[Rewriting], tuple[DataFile, ...]]
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Compaction:
    """What a compaction does, or did: groups of files, what came of them, and why nothing is done."""

    table: TableName
    groups: tuple[Group, ...] = ()
    added: tuple[DataFile, ...] = ()
    snapshot: int | None = None
    problem: str = ""
    error: DataLabError | None = None

    @property
    def removed(self) -> tuple[DataFile, ...]:
        """The files that are, or would be, replaced."""
        return tuple(file for group in self.groups for file in group.files)


@dataclass(frozen=True)
class _Merged:
    group: Group
    files: tuple[DataFile, ...]


def plan_compaction(lake: Lake, name: TableName, goals: Goals) -> Compaction:
    """What there is to merge; opens no data file. TableNotFound."""
    return _planned(lake, lake.require(name), goals)


def compact(lake: Lake, name: TableName, goals: Goals, rewrite: Rewrite, run_id: str, tell: Tell) -> Compaction:
    """Merge what there is to merge, and commit it at once.

    Where another writer came first, the groups whose files are all still live are committed on top of it: they hold
    the same rows there. If none is left it starts again, without the files that others write anew all the time.
    TableNotFound, StorageFull, EngineError.
    """
    state = lake.require(name)
    plan = _planned(lake, state, goals)
    known = {file.key for file in lake.files(state).files} if plan.groups else set()
    for _ in range(_STARTS):
        if not plan.groups:
            return plan
        done = _merge(lake, state, plan, goals, (rewrite, run_id, tell))
        if done is not None:
            return done
        state = lake.require(name)
        plan = _planned(lake, state, goals, known)
    return Compaction(name, problem="other writers replaced these files all the time")


def _merge(
    lake: Lake, state: TableState, plan: Compaction, goals: Goals, means: tuple[Rewrite, str, Tell]
) -> Compaction | None:
    rewrite, run_id, tell = means
    merged: list[_Merged] = []
    try:
        for number, group in enumerate(plan.groups):
            merged.append(_Merged(group, rewrite(_rewriting(state, group, goals))))
            tell(f"groups of {state.name}", number + 1, len(plan.groups))
        return _commit(lake, state, merged, run_id)
    except CommitUnknown:
        raise
    except DataLabError:
        _discard(merged)
        raise


def tidy(lake: Lake, name: TableName) -> None:
    """Make the metadata quick to read; where another writer comes first, the next time will do."""
    state = lake.require(name)
    with suppress(Overtaken), storage_errors(name, "its metadata was tidied"):
        lake.format(state.format).upkeep.tidy(state)


def _planned(
    lake: Lake, state: TableState, goals: Goals, only: Collection[tuple[str, ...]] | None = None
) -> Compaction:
    live = lake.files(state)
    if live.scan is not None:
        return Compaction(state.name, problem="another writer deleted rows in a way that only it can merge")
    files = [file for file in live.files if not file.older and (only is None or file.key in only)]
    groups = groups_to_merge(files, state.target().cluster, _aimed(state, live, goals))
    return Compaction(state.name, groups, snapshot=state.snapshot)


def _aimed(state: TableState, live: Relation, goals: Goals) -> Goals:
    """The goals with the table's own number of rows per file, where it has one: upserts want small files."""
    wanted, rows = state.target().file_rows, live.rows
    if not wanted or not rows:
        return goals
    return replace(goals, file_size=max(1, sum(file.size for file in live.files) * wanted // rows))


def _rewriting(state: TableState, group: Group, goals: Goals) -> Rewriting:
    rows, target = Relation(state.schema, group.files), state.target()
    aim = _aimed(state, rows, goals).file_size
    return Rewriting(target, rows, group.partition, target.cluster, aim)


def _commit(lake: Lake, state: TableState, merged: Sequence[_Merged], run_id: str) -> Compaction | None:
    for attempt in turns(_ATTEMPTS):
        with turn_after(attempt, state.location):
            if attempt > 1:
                state = lake.require(state.name)
                merged = _still_live(lake, state, merged)
            if not merged:
                return None
            try:
                after = lake.commit(state, _change(lake, state, merged, run_id))
            except Fenced:
                continue
        added = tuple(file for each in merged for file in each.files)
        return Compaction(state.name, tuple(each.group for each in merged), added, after.snapshot)
    _discard(merged)
    return None


def _change(lake: Lake, state: TableState, merged: Sequence[_Merged], run_id: str) -> Change:
    add = tuple(file for each in merged for file in each.files)
    remove = tuple(file for each in merged for file in each.group.files)
    rows = sum(file.rows for file in add)
    # Whoever had consumed one of these goes on from this commit, once they have expired.
    same = [each for snapshot in lake.history(state)[-1:] for each in (*same_rows(snapshot), snapshot.id)]
    return Change(Provenance(run_id, FLOW, "compact", details={SAME_ROWS: same}, read=rows, written=rows), add, remove)


def _still_live(lake: Lake, state: TableState, merged: Sequence[_Merged]) -> list[_Merged]:
    live = {file.key: file for file in lake.files(state).files}
    kept = [each for each in merged if all(file.key in live for file in each.group.files)]
    _discard([each for each in merged if each not in kept])
    return [
        replace(each, group=replace(each.group, files=tuple(live[file.key] for file in each.group.files)))
        for each in kept
    ]


def _discard(merged: Sequence[_Merged]) -> None:
    for each in merged:
        for file in each.files:
            Path(file.path).unlink(missing_ok=True)
