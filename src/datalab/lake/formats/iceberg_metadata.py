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
