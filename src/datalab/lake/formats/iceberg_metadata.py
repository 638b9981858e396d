"""Changes to Iceberg metadata at a cost that does not grow with the number of snapshots: PyIceberg copies them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    RemoveSnapshotsUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
    update_table_metadata,
)

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot


class Draft(Transaction):
    """A transaction that works out its metadata once per step: PyIceberg copies all of it each time it is looked at."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._seen: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The metadata with the updates so far."""
        whole, updates = self._table.metadata, self._updates
        if self._seen is None or self._seen[0] is not whole or self._seen[1] is not updates:
            self._seen = (whole, updates, super().table_metadata)
        return self._seen[2]


def slim(metadata: TableMetadata) -> TableMetadata:
    """The metadata with the current snapshot as the only one."""
    current = metadata.current_snapshot()
    refs = {name: ref for name, ref in metadata.refs.items() if name == MAIN_BRANCH}
    return metadata.model_copy(update={"snapshots": [current] if current else [], "snapshot_log": [], "refs": refs})


def applied(table: Table, updates: tuple[TableUpdate, ...]) -> TableMetadata:
    """The metadata of a table with the updates of a commit."""
    whole, location = table.metadata, table.metadata_location
    _refuse_named(whole, updates)
    if len(updates) == 1 and isinstance(updates[0], RemoveSnapshotsUpdate) and updates[0].snapshot_ids:
        return _forgotten(whole, frozenset(updates[0].snapshot_ids), location)
    if not _only_appends_history(updates):
        return update_table_metadata(whole, updates, metadata_location=location)
    before = slim(whole)
    after = update_table_metadata(before, updates, metadata_location=location)
    known = {snapshot.snapshot_id for snapshot in before.snapshots}
    fresh = [snapshot for snapshot in after.snapshots if snapshot.snapshot_id not in known]
    return after.model_copy(
        update={
            "snapshots": [*whole.snapshots, *fresh],
            "snapshot_log": [*whole.snapshot_log, *after.snapshot_log],
            "refs": {**whole.refs, **after.refs},
        }
    )


def _forgotten(whole: TableMetadata, gone: frozenset[int], location: str) -> TableMetadata:
    """The metadata without some snapshots. PyIceberg, which compares each of them with each, is shown one of them."""
    first = next(snapshot for snapshot in whole.snapshots if snapshot.snapshot_id in gone)
    before = slim(whole)
    before = before.model_copy(update={"snapshots": [*before.snapshots, first]})
    one = RemoveSnapshotsUpdate.model_validate({"snapshot-ids": [first.snapshot_id]})
    after = update_table_metadata(before, (one,), metadata_location=location)
    kept = [snapshot for snapshot in whole.snapshots if snapshot.snapshot_id not in gone]
    return after.model_copy(
        update={
            "snapshots": [_orphan(each) if each.parent_snapshot_id in gone else each for each in kept],
            "snapshot_log": [entry for entry in whole.snapshot_log if entry.snapshot_id not in gone],
            "refs": whole.refs,
            "statistics": [file for file in whole.statistics if file.snapshot_id not in gone],
        }
    )


def _orphan(snapshot: Snapshot) -> Snapshot:
    return snapshot.model_copy(update={"parent_snapshot_id": None})


def _refuse_named(metadata: TableMetadata, updates: tuple[TableUpdate, ...]) -> None:
    """A snapshot that got a name in the meantime stays: PyIceberg would drop the name with it."""
    gone = {each for update in updates if isinstance(update, RemoveSnapshotsUpdate) for each in update.snapshot_ids}
    known = {snapshot.snapshot_id for snapshot in metadata.snapshots}
    if gone & {ref.snapshot_id for ref in metadata.refs.values()} or gone - known:
        raise CommitFailedException("Snapshots to be removed are in use, or are gone already")


def _only_appends_history(updates: tuple[TableUpdate, ...]) -> bool:
    added = {update.snapshot.snapshot_id for update in updates if isinstance(update, AddSnapshotUpdate)}
    return all(
        isinstance(update, AddSnapshotUpdate | SetPropertiesUpdate)
        or (isinstance(update, SetSnapshotRefUpdate) and update.ref_name == MAIN_BRANCH and update.snapshot_id in added)
        for update in updates
    )
