"""Looking back: which snapshot held at a time, and which rows came between two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from datalab.errors import NotAppendOnly, SnapshotNotFound
from datalab.lake.beside import changes_of
from datalab.lake.formats.base import Format
from datalab.lake.provenance import MAINTENANCE, SAME_ROWS
from datalab.lake.table import DataFile, Difference, Relation, Snapshot, TableState
from datalab.lake.whole import is_whole

_UNMOVED = frozenset({"append", "compact", "define"})


def snapshot_at(state: TableState, history: tuple[Snapshot, ...], when: datetime | int) -> int:
    """The id of the snapshot that was current at a time (without zone: UTC), or the given id if it exists."""
    if isinstance(when, int):
        found = [snapshot.id for snapshot in history if snapshot.id == when]
        missing = f"snapshot {when}"
    else:
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        found = [snapshot.id for snapshot in history if snapshot.at <= moment]
        missing = f"snapshot as early as {moment.isoformat()}"
    if not found:
        raise SnapshotNotFound(
            f"{state.name} has no {missing}", f"datalab data history {state.name} lists those that exist"
        )
    return found[-1]


def tagged(state: TableState, tags: Mapping[str, int], name: str) -> int:
    """The snapshot that a tag names. SnapshotNotFound."""
    if name not in tags:
        known = ", ".join(sorted(tags)) or "none"
        raise SnapshotNotFound(f"{state.name} has no tag {name}", f"tags of {state.name}: {known}")
    return tags[name]


def standing(history: Iterable[Snapshot], snapshot: int) -> int:
    """The snapshot to go on from: the given one, or a compaction of the same rows where it is gone."""
    known = list(history)
    if any(each.id == snapshot for each in known):
        return snapshot
    return next((each.id for each in known if snapshot in same_rows(each)), snapshot)


def same_rows(snapshot: Snapshot) -> tuple[int, ...]:
    """The earlier snapshots whose rows a compaction only wrote again."""
    made = snapshot.provenance
    return tuple(made.details.get(SAME_ROWS, ())) if made is not None and made.kind == "compact" else ()


def rows_added(tables: Format, state: TableState, since: int | None, until: int) -> Relation:
    """The rows that appends brought after `since`, up to `until`. Compaction in between moves none.

    Raises NotAppendOnly where rows were changed or removed, SnapshotNotFound where the range is not there any more.
    """
    if since == until:
        return Relation(state.schema)
    if since is None:
        return tables.files(state, until)
    since = standing(tables.history(state), since)
    between = _between(state, tables.history(state), since, until)
    if any(snapshot.after_gap for snapshot in between):
        raise SnapshotNotFound(
            f"{state.name}: snapshots between {since} and {until} have expired, so nobody knows which rows were added",
            f"read {state.name} from the beginning: --full-refresh",
        )
    changing = next((snapshot for snapshot in between if not _only_adds(snapshot)), None)
    if changing is not None:
        raise NotAppendOnly(
            f"{state.name} is not append-only between snapshots {since} and {until}: "
            f"{changing.id} is of kind {changing.operation} and removed {changing.rows_removed} rows",
            f"read {state.name} as a whole, not as a stream",
        )
    if all(snapshot.operation != "compact" for snapshot in between):
        return tables.diff(state, since, until).added
    return _each_append(tables, state, since, between)


def rows_changed_between(tables: Format, state: TableState, since: int | None, until: int) -> Difference:
    """Rows that came and rows that went after `since`, up to `until`; a row that was only copied may stand in both.

    From what the commits in between say of themselves; where one says nothing, the files that came and went.
    """
    since = standing(tables.history(state), since) if since is not None else None
    recorded = _recorded(tables, state, since, until) if since is not None else None
    return recorded if recorded is not None else tables.diff(state, since, until)


def _recorded(tables: Format, state: TableState, since: int, until: int) -> Difference | None:
    between = _between(state, tables.history(state), since, until)
    if any(snapshot.after_gap for snapshot in between):
        return None
    starts = (since, *(snapshot.id for snapshot in between))
    entered: list[DataFile] = []
    left: list[DataFile] = []
    for start, snapshot in zip(starts, between, strict=False):
        if snapshot.operation in MAINTENANCE:
            continue
        changes = changes_of(state, snapshot)
        if changes is None:
            return None
        files = tables.diff(state, start, snapshot.id)
        if files.added.scan is not None:
            return None
        copies = frozenset(changes.copies)
        entered += [*(file for file in files.added.files if Path(file.path).name not in copies), *changes.entered]
        left += [*(file for file in files.removed.files if file.only), *changes.left]
    found = Difference(Relation(state.schema, tuple(entered)), Relation(state.schema, tuple(left)))
    return found if are_there(found) else None


def are_there(difference: Difference) -> bool:
    """Whether all files of a difference are whole: cleaning may have taken those that no snapshot shows any more."""
    return all(is_whole(file) for side in (difference.added, difference.removed) for file in side.files)


def _each_append(tables: Format, state: TableState, since: int, between: tuple[Snapshot, ...]) -> Relation:
    starts = (since, *(snapshot.id for snapshot in between))
    parts = [
        tables.diff(state, start, snapshot.id).added
        for start, snapshot in zip(starts, between, strict=False)
        if snapshot.operation != "compact"
    ]
    return Relation(state.schema, tuple(chain.from_iterable(part.files for part in parts)))


def _between(state: TableState, history: tuple[Snapshot, ...], since: int, until: int) -> tuple[Snapshot, ...]:
    order = {snapshot.id: index for index, snapshot in enumerate(history)}
    for snapshot in (since, until):
        if snapshot not in order:
            raise SnapshotNotFound(
                f"{state.name} has no snapshot {snapshot}", f"datalab data history {state.name} lists those that exist"
            )
    return history[order[since] + 1 : order[until] + 1]


def _only_adds(snapshot: Snapshot) -> bool:
    ours_adding = snapshot.provenance is not None and snapshot.rows_removed == 0
    return snapshot.operation in _UNMOVED or ours_adding
