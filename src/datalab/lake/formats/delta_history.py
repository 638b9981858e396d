"""The history of a Delta table, and what moved between two of its versions, from the commits in its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from datalab.errors import NotSupported, SnapshotNotFound
from datalab.lake.formats.delta_files import absolute
from datalab.lake.formats.delta_log import Entry, read_entry
from datalab.lake.formats.traces import DELTA_LOG
from datalab.lake.table import Snapshot
from datalab.names import TableName

ADAPTER = "Delta through delta-rs"


def snapshots(
    entries: Sequence[Entry], root: Path, before: Mapping[str, int], *, after_gap: bool = False
) -> tuple[Snapshot, ...]:
    """The commits to data of one run, oldest first; `before` has the rows of each file that was there before it."""
    rows = dict(before)
    total = sum(rows.values())
    found: list[Snapshot] = []
    for entry in entries:
        removed = sum(rows.pop(absolute(path, root), 0) for path in entry.removed)
        rows.update({absolute(path, root): count for path, count in entry.added.items()})
        total += sum(entry.added.values()) - removed
        if entry.is_snapshot:
            found.append(_snapshot(entry, removed, total, after_gap=after_gap and not found))
    return tuple(found)


def moved(name: TableName, root: Path, since: int, until: int) -> tuple[set[str], set[str]] | None:
    """The files that are live at the later version only, and at the earlier only.

    None where a commit in between is gone, NotSupported where rows were deleted inside of files.
    """
    entered: set[str] = set()
    left: set[str] = set()
    for version in range(since + 1, until + 1):
        entry = read_entry(root / DELTA_LOG, version)
        if entry is None:
            return None
        if entry.removed & entry.added.keys():
            raise NotSupported(ADAPTER, f"changes across row-level deletes ({name}, version {version})")
        gone = {absolute(path, root) for path in entry.removed}
        left |= gone - entered
        entered = (entered - gone) | {absolute(path, root) for path in entry.added}
    return entered, left


def no_snapshot(name: TableName, snapshot: int | None) -> SnapshotNotFound:
    """The error for a snapshot that is not there."""
    return SnapshotNotFound(f"{name} has no snapshot {snapshot}", f"datalab data history {name} lists those that exist")


def _snapshot(entry: Entry, removed: int, total: int, *, after_gap: bool) -> Snapshot:
    return Snapshot(
        id=entry.version,
        at=entry.at,
        operation=entry.provenance.kind if entry.provenance else _foreign_operation(entry),
        rows_added=sum(entry.added.values()),
        rows_removed=removed,
        rows_total=total,
        provenance=entry.provenance,
        sequence=entry.version,
        files_added=len(entry.added),
        files_removed=len(entry.removed),
        bytes_added=sum(entry.sizes[path] for path in entry.added),
        bytes_removed=sum(entry.sizes[path] for path in entry.removed),
        after_gap=after_gap,
    )


def _foreign_operation(entry: Entry) -> str:
    if entry.rearranged:
        return "compact"
    return "foreign" if entry.removed else "append"
