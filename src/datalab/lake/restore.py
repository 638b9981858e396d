"""Back to an earlier snapshot, by a new commit: the files of then are live again, and flows stand where they stood."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

from datalab.errors import Fenced, NotSupported, SchemaConflict, SnapshotNotFound
from datalab.lake.commit import storage_errors, turns
from datalab.lake.formats.base import Overtaken
from datalab.lake.lake import Lake
from datalab.lake.provenance import RESTORE, Position, Provenance
from datalab.lake.read import standing
from datalab.lake.schema import difference
from datalab.lake.table import Change, Marking, Snapshot, TableState
from datalab.lake.turn import turn_after
from datalab.names import TableName

RESTORING = "restore-"
_BEGAN = "%Y%m%d-%H%M%S"
_TAG = re.compile(rf"{RESTORING}([0-9]{{8}}-[0-9]{{6}})-[0-9a-f]{{8}}")
_ATTEMPTS = 20
_STREAMED = frozenset({"append", "upsert"})


def restore(lake: Lake, name: TableName, snapshot: int, run_id: str) -> TableState:
    """Make a snapshot's rows the table's rows again, and its positions the positions.

    The next run consumes anew what came since; where others commit meanwhile, theirs is among it. A tag holds the
    snapshot so long. TableNotFound, SnapshotNotFound (also where a stream could not go on from there), SchemaConflict
    where columns have gone since, Fenced after too many lost races.
    """
    tag = f"{RESTORING}{datetime.now(UTC).strftime(_BEGAN)}-{uuid4().hex[:8]}"
    named(lake, name, tag, snapshot)

    def change(state: TableState) -> Change:
        if tag not in lake.tags(state):  # upkeep took it for one that was left behind, and the snapshot may go
            raise Fenced(f"{name}: the tag {tag}, which held snapshot {snapshot}, was taken away", "run again")
        return _change(lake, state, snapshot, run_id)

    try:
        return lake.commit_rebased(name, change)
    finally:
        with suppress(SnapshotNotFound):
            named(lake, name, tag, None)


def began(tag: str) -> datetime | None:
    """When the restore began that holds its snapshot by this tag; None for a tag of another kind."""
    match = _TAG.fullmatch(tag)
    with suppress(ValueError):
        return datetime.strptime(match[1], _BEGAN).replace(tzinfo=UTC) if match else None
    return None


def named(lake: Lake, name: TableName, tag: str, snapshot: int | None) -> TableState:
    """Give a snapshot a name, or take the name away, on top of whatever others commit. SnapshotNotFound, Fenced."""
    for attempt in turns(_ATTEMPTS):
        with suppress(Overtaken), turn_after(attempt, lake.require(name).location):
            state = lake.require(name)
            upkeep = lake.format(state.format).upkeep
            if snapshot is not None:
                lake.at(state, snapshot)
            elif tag not in upkeep.tags(state):
                raise SnapshotNotFound(f"{name} has no tag {tag}", f"datalab data tag {name}")
            with storage_errors(name, "a tag was set"):
                return upkeep.tag(state, tag, snapshot)
    raise Fenced(f"{name}: other writers changed it {_ATTEMPTS} times while a tag was set", "run again")


def present_commits(history: Iterable[Snapshot]) -> tuple[Snapshot, ...]:
    """The commits that the present rows come from: those that a restore went back behind are left out."""
    commits = list(history)
    found: list[Snapshot] = []
    behind: dict[int, list[Snapshot]] = {back: [] for back in map(_restored, commits) if back is not None}
    for snapshot in commits:
        back = _restored(snapshot)
        if back is not None:
            found = list(behind[back])
        found.append(snapshot)
        if snapshot.id in behind:
            behind[snapshot.id] = list(found)
    return tuple(found)


def _restored(snapshot: Snapshot) -> int | None:
    """The snapshot that a commit went back to; None for a commit of another kind."""
    made = snapshot.provenance
    return int(made.details["to"]) if made is not None and made.kind == RESTORE else None


def _change(lake: Lake, state: TableState, snapshot: int, run_id: str) -> Change:
    then, now = lake.files(state, snapshot), lake.files(state)
    if then.scan is not None or now.scan is not None:
        raise NotSupported(f"a {state.format} table", f"going back across row-level deletes ({state.name})")
    lost = [words for words in difference(state.schema, then.schema) if not words.startswith("removed")]
    if lost:
        raise SchemaConflict(
            f"{state.name}: columns have changed since snapshot {snapshot}: {'; '.join(lost)}",
            f"datalab data show {state.name} --at {snapshot} shows the rows of then",
        )
    history = lake.history(state)
    positions = _positions(history, snapshot)
    _require_inputs(lake, state, history, positions)
    live, wanted = ({file.path: file for file in relation.files} for relation in (now, then))
    add = tuple(file for path, file in wanted.items() if path not in live)
    remove = tuple(file for path, file in live.items() if path not in wanted)
    both = ((file, wanted[path].gone) for path, file in live.items() if path in wanted)
    marked = tuple(Marking(file, gone) for file, gone in both if gone != file.gone)
    rows = sum(file.rows for file in add)
    details = {"to": snapshot}
    provenance = Provenance(run_id, RESTORE, RESTORE, details=details, read=rows, written=rows, positions=positions)
    return Change(provenance, add, remove, marked=marked)


def _positions(history: Iterable[Snapshot], snapshot: int) -> Mapping[str, Position]:
    """Where the flows stood at a snapshot; commits of others do not say, so the last that did before counts."""
    found: Mapping[str, Position] = {}
    for each in history:
        found = each.provenance.positions if each.provenance is not None else found
        if each.id == snapshot:
            break
    return found


def _require_inputs(
    lake: Lake, state: TableState, history: Iterable[Snapshot], positions: Mapping[str, Position]
) -> None:
    """A stream goes on from the snapshot that it had consumed: that one must still be there."""
    kinds = {each.provenance.flow: each.provenance.kind for each in history if each.provenance is not None}
    for flow, position in positions.items():
        for table, consumed in position.inputs.items() if kinds.get(flow) in _STREAMED else ():
            source = lake.state(TableName.parse(table))
            if source is not None and not _is_there(lake, source, consumed):
                raise SnapshotNotFound(
                    f"{state.name}: flow {flow} stood at snapshot {consumed} of {table}, which has expired: it could "
                    "not go on from there",
                    f"datalab run {state.name} --full-refresh computes the table anew",
                )


def _is_there(lake: Lake, source: TableState, consumed: int) -> bool:
    history = lake.history(source)
    return standing(history, consumed) in {each.id for each in history}
