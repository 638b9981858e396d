"""Iceberg tables through PyIceberg.

What a commit says of itself stands in the snapshot's summary; where the flows stand also in the table's properties,
for summaries go when snapshots expire.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.table import Table

from datalab.errors import CommitFailed, InvalidName, LakeError, NotSupported, SnapshotNotFound
from datalab.lake.formats.base import FormatCapabilities, Overtaken, require_live, require_partition_columns
from datalab.lake.formats.iceberg_catalog import open_catalog
from datalab.lake.formats.iceberg_files import to_deletes, to_manifest
from datalab.lake.formats.iceberg_live import Manifests, changed_marks, has_deletes
from datalab.lake.formats.iceberg_metadata import Draft, slim
from datalab.lake.formats.iceberg_reshape import is_reshaped, reshape
from datalab.lake.formats.iceberg_schema import TRANSFORMS, partition_spec, to_arrow, to_iceberg
from datalab.lake.formats.iceberg_snapshot import Present, Rewrite
from datalab.lake.formats.iceberg_state import BACK_KEY, COMMENT_KEY, lineage, marks, table_state, to_snapshot
from datalab.lake.formats.iceberg_upkeep import IcebergUpkeep
from datalab.lake.provenance import PROVENANCE_KEY
from datalab.lake.recent import Recent
from datalab.lake.schema import extend, normalise
from datalab.lake.table import Change, DataFile, Difference, Relation, Snapshot, TableSpec, TableState
from datalab.names import TableName
from datalab.plugins import load

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Transaction
    from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

_DEFAULTS = {
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",  # a commit and a read open all of them
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
_ATTEMPTS = 10
_SCAN = "datalab.lake.formats.iceberg_scan:scan"  # which hardly any table needs
_KEPT = 1024
_MANIFESTS = Manifests()  # no two files of a warehouse ever have one name: all that a process opens may share them
_MOVED = "Iceberg tables name their files by absolute paths: move a folder that was moved back, or link it from there"
_AGAIN = "datalab run TABLE --full-refresh computes its rows anew"


def open_format(warehouse: str, properties: Mapping[str, str]) -> IcebergFormat:
    """The Iceberg tables of a warehouse; `properties` configure PyIceberg's catalog."""
    return IcebergFormat(open_catalog(warehouse, properties), warehouse)


class IcebergFormat:
    """The format port over one PyIceberg catalog."""

    name = "iceberg"
    capabilities = FormatCapabilities(
        field_ids=True, partition_transforms=frozenset(TRANSFORMS), widens=True, own_tags=True, marks=True
    )

    def __init__(self, catalog: Catalog, warehouse: str) -> None:
        self._catalog = catalog
        self._warehouse = warehouse
        self._states = Recent[str, TableState](_KEPT)
        self.upkeep = IcebergUpkeep(self._state)
        self._manifests = _MANIFESTS

    def names(self) -> tuple[TableName, ...]:
        """All tables whose names the lake can write."""
        identifiers = [pair for space in self._catalog.list_namespaces() for pair in self._catalog.list_tables(space)]
        return tuple(sorted(filter(None, map(_table_name, identifiers))))

    def load(self, name: TableName) -> TableState | None:
        """The newest state; the metadata of an unchanged table is not read again. LakeError where it is not there."""
        try:
            table = self._catalog.load_table((name.layer, name.table))
        except (NoSuchTableError, NoSuchNamespaceError):
            return None
        except FileNotFoundError as error:
            raise LakeError(
                f"{name}: the catalog names a file that is not there: {error.filename or error}", _MOVED
            ) from error
        return self._state(name, table)

    def define(self, name: TableName, spec: TableSpec) -> TableState:
        """Create the table, or add and widen its columns. SchemaConflict where another writer got in between."""
        for _ in range(_ATTEMPTS):
            state = self.load(name)
            if state is not None and _is_defined(state, spec):
                return state
            try:
                if state is None:
                    self._create(name, spec)
                else:
                    self._alter(state, spec)
            except (CommitFailedException, TableAlreadyExistsError):
                continue
        raise CommitFailed(f"{name} could not be defined: other writers changed it {_ATTEMPTS} times", "run again")

    def reshape(self, state: TableState, schema: pa.Schema) -> TableState:
        """The state with other columns and their field ids."""
        require_partition_columns(state, schema)
        return replace(state, schema=reshape(_draft(state.handle).transaction(), normalise(schema)))

    def files(self, state: TableState, snapshot: int | None = None) -> Relation:
        """The live data files; with the table's own scan where rows were deleted otherwise than we do it."""
        table: Table = state.handle
        chosen = state.snapshot if snapshot is None else snapshot
        if chosen is None:
            return Relation(state.schema)
        found = _snapshot(state, chosen)
        schema = state.schema if chosen == state.snapshot else to_arrow(_schema_of(table, found))
        live = self._manifests.live(state, self._manifests.listed(table.io, found))
        return Relation(
            schema, tuple(live.files.values()), scan=None if live.plain else load(_SCAN)(table, chosen, schema)
        )

    def diff(self, state: TableState, since: int | None, until: int) -> Difference:
        """The net difference, from the manifests that the two snapshots do not share."""
        io = state.handle.io
        before = _by_path(self._manifests.listed(io, _snapshot(state, since))) if since is not None else {}
        after = _by_path(self._manifests.listed(io, _snapshot(state, until)))
        fresh = [manifest for path, manifest in after.items() if path not in before]
        if has_deletes((*before.values(), *after.values())):
            earlier, later = (self._manifests.live(state, each.values()) for each in (before, after))
            if earlier.plain and later.plain:
                return _difference(state, earlier.files, later.files)
        if has_deletes(fresh):
            raise NotSupported("Iceberg in DataLab", f"changes across row-level deletes ({state.name}, up to {until})")
        gone = [manifest for path, manifest in before.items() if path not in after]
        return _difference(state, self._manifests.data(state, gone), self._manifests.data(state, fresh))

    def history(self, state: TableState) -> tuple[Snapshot, ...]:
        """The snapshots that led to this state and still exist."""
        return tuple(to_snapshot(each, after_gap=gap) for each, gap in lineage(state.handle.metadata))

    def commit(self, state: TableState, change: Change) -> TableState:
        """One snapshot and the table's properties, in one transaction."""
        state.require_own()
        table = _draft(state.handle)
        transaction = Draft(table)
        if is_reshaped(state.handle, state.schema):
            reshape(transaction, normalise(state.schema))
        metadata = transaction.table_metadata
        if any(file.older for file in change.add):
            raise NotSupported("Iceberg in DataLab", f"going back behind other partitions ({state.name})", _AGAIN)
        entries = tuple(to_manifest(change.add, metadata, table.io))
        transaction.set_properties(marks(change.provenance))
        said = {PROVENANCE_KEY: change.provenance.to_json()}
        snapshot = self._rewrite(transaction, state, change, said) or transaction.update_snapshot(said).merge_append()
        for entry in entries:
            snapshot.append_data_file(entry)
        try:
            snapshot.commit()
            transaction.commit_transaction()
        except CommitFailedException as error:
            raise Overtaken(f"{state.name} has moved on from snapshot {state.snapshot}: {error}") from error
        return self._state(state.name, table)

    def _rewrite(
        self, transaction: Transaction, state: TableState, change: Change, said: dict[str, str]
    ) -> Rewrite | None:
        """A snapshot that takes files or rows away; None for a mere append."""
        touched = (*change.remove, *(marking.file for marking in change.marked))
        if not touched and not any(file.gone for file in change.add):
            return None
        back = sum(marking.back for marking in change.marked)
        snapshot = Rewrite(transaction, {**said, BACK_KEY: str(back)} if back else said, self._present(state))
        _take_away(snapshot, change, require_live(state, self.files(state).files, touched))
        return snapshot

    def _present(self, state: TableState) -> Present:
        listed = self._manifests.listed(state.handle.io, _snapshot(state, state.snapshot)) if state.snapshot else ()
        return Present(listed, lambda manifest: self._manifests.entries(state, manifest))

    def _state(self, name: TableName, table: Table) -> TableState:
        return self._states.get(table.metadata_location, lambda: table_state(name, table, self._warehouse))

    def _create(self, name: TableName, spec: TableSpec) -> None:
        self._ensure_namespace(name.layer)
        schema = to_iceberg(normalise(spec.schema))
        # A warehouse that is a name and not a place belongs to a catalog that chooses locations itself.
        location = f"{self._warehouse.rstrip('/')}/{name.layer}/{name.table}" if "/" in self._warehouse else None
        self._catalog.create_table(
            (name.layer, name.table),
            schema,
            location=location,
            partition_spec=partition_spec(spec.partition, schema),
            properties={**_DEFAULTS, **_wanted_properties(spec)},
        )

    def _ensure_namespace(self, namespace: str) -> None:
        if self._catalog.namespace_exists(namespace):
            return
        try:
            self._catalog.create_namespace(namespace)
        except Exception:
            # Catalogs tell the loser of a race in different ways; what counts is that it is there.
            if not self._catalog.namespace_exists(namespace):
                raise

    def _alter(self, state: TableState, spec: TableSpec) -> None:
        table = _draft(state.handle)
        with table.transaction() as transaction:
            with transaction.update_schema() as update:
                update.union_by_name(to_iceberg(extend(state.schema, spec.schema, keep_missing=True)))
            transaction.set_properties(_wanted_properties(spec))


def _difference(state: TableState, before: Mapping[str, DataFile], after: Mapping[str, DataFile]) -> Difference:
    came, went = changed_marks(before, after)
    added = (*(file for path, file in after.items() if path not in before), *came)
    removed = (*(file for path, file in before.items() if path not in after), *went)
    return Difference(Relation(state.schema, added), Relation(state.schema, removed))


def _take_away(snapshot: Rewrite, change: Change, touched: Sequence[DataFile]) -> None:
    """What a change removes and marks; `touched` are these files as they are live, in that order."""
    known = {file.path: file for file in touched}
    for file in (known[each.path] for each in change.remove):
        snapshot.delete_data_file(file.handle)
        for marks_gone in file.gone:
            snapshot.unmark(marks_gone.handle)
    for marking in change.marked:
        file = known[marking.file.path]
        for lifted in marking.lifted:
            snapshot.unmark(lifted.handle)
        for fresh in marking.fresh:
            snapshot.mark(to_deletes(fresh, file))
    for file in change.add:
        for again in file.gone:
            snapshot.mark(to_deletes(again, file))


def _draft(table: Table) -> Table:
    """A copy to commit with: the state's own handle must stay as it was read.

    It carries the current snapshot only, since PyIceberg copies all of them at each step of a transaction, and it
    forbids PyIceberg's own retries, which would append again on top of a writer that overtook this one.
    """
    properties = {**table.metadata.properties, "commit.retry.num-retries": "0"}
    metadata = slim(table.metadata).model_copy(update={"properties": properties})
    return Table(table.name(), metadata, table.metadata_location, table.io, table.catalog)


def _snapshot(state: TableState, snapshot: int) -> IcebergSnapshot:
    found: IcebergSnapshot | None = state.handle.metadata.snapshot_by_id(snapshot)
    if found is None:
        raise SnapshotNotFound(
            f"{state.name} has no snapshot {snapshot}", f"datalab data history {state.name} lists those that exist"
        )
    return found


def _schema_of(table: Table, snapshot: IcebergSnapshot) -> Schema:
    return table.schemas()[snapshot.schema_id] if snapshot.schema_id is not None else table.schema()


def _by_path(manifests: Iterable[ManifestFile]) -> dict[str, ManifestFile]:
    return {manifest.manifest_path: manifest for manifest in manifests}


def _is_defined(state: TableState, spec: TableSpec) -> bool:
    grown = extend(state.schema, spec.schema, keep_missing=True)
    present = {**state.properties, COMMENT_KEY: state.comment}
    return grown.equals(normalise(state.schema)) and _wanted_properties(spec).items() <= present.items()


def _wanted_properties(spec: TableSpec) -> dict[str, str]:
    return {**spec.properties, **({COMMENT_KEY: spec.comment} if spec.comment else {})}


def _table_name(identifier: tuple[str, ...]) -> TableName | None:
    try:
        return TableName.parse(".".join(identifier))
    except InvalidName:
        return None
