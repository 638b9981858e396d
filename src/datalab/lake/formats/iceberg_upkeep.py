"""Upkeep of Iceberg tables: snapshots forgotten in one commit to the metadata, then the files that only they named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    AssertTableUUID,
    RemoveSnapshotRefUpdate,
    RemoveSnapshotsUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
)

from datalab.errors import LakeError, NotSupported
from datalab.lake.beside import side_files
from datalab.lake.formats.base import Overtaken
from datalab.lake.formats.iceberg_state import to_snapshot
from datalab.lake.formats.upkeep import File, Metadata
from datalab.lake.local import files_below, local_path
from datalab.lake.table import TableState
from datalab.lake.whole import undamaged
from datalab.names import TableName

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

Reload = Callable[[TableName, Table], TableState]
Source = TypeVar("Source")
Found = TypeVar("Found")
_LOOKS = 10


class IcebergUpkeep:
    """The upkeep port over PyIceberg's tables; `reload` makes a state of a table that was just changed."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload

    def tags(self, state: TableState) -> Mapping[str, int]:
        """Iceberg's own tags; other readers see them too."""
        refs = state.handle.metadata.refs
        return {name: ref.snapshot_id for name, ref in refs.items() if ref.snapshot_ref_type == SnapshotRefType.TAG}

    def tag(self, state: TableState, name: str, snapshot: int | None) -> TableState:
        """A reference of the table's metadata."""
        return self._commit(state, (_named(name, snapshot),), (_at(name, self.tags(state).get(name)),))

    def doomed(self, state: TableState, snapshots: Collection[int]) -> tuple[File, ...]:
        """Manifest lists, manifests, statistics and data files that no other snapshot reaches."""
        with _present(state):
            return _only_named(state, snapshots, state)

    def expire(self, state: TableState, snapshots: Collection[int]) -> tuple[File, ...]:
        """Metadata first, from metadata alone: no writer comes in between while manifests are read.

        Only then is told what nobody names any more, from the state of before, which is still known.
        """
        wanted = {s.snapshot_id for s in state.handle.metadata.snapshots if s.snapshot_id in snapshots}
        named = {ref.snapshot_id: name for name, ref in state.handle.metadata.refs.items()}
        if wanted & named.keys():
            held = next(iter(wanted & named.keys()))
            raise LakeError(f"{state.name}: snapshot {held} is in use: it is {named[held]}", "take its tag away first")
        if not wanted:
            return ()
        after = self._commit(state, (RemoveSnapshotsUpdate.model_validate({"snapshot-ids": sorted(wanted)}),), ())
        files = self._left_behind(state, wanted, after)
        for file in files:
            _remove(state.handle.io, file.path)
        return files

    def _left_behind(self, state: TableState, gone: Collection[int], after: TableState) -> tuple[File, ...]:
        """The files of snapshots that are gone; where others expire more meanwhile, the newest state tells what stays.

        Where that does not end, none: they are orphans then.
        """
        for _ in range(_LOOKS):
            try:
                return _only_named(state, gone, after)
            except FileNotFoundError:
                table: Table = after.handle
                after = self._reload(state.name, table.catalog.load_table(table.name()))
        return ()

    def strays(self, state: TableState) -> Iterator[File]:
        """What lies in the table's folder and is reached from neither the metadata nor its recent versions."""
        folders = {local_path(state.location), local_path(state.target().location)}
        if None in folders:
            raise NotSupported(
                "Iceberg in DataLab", f"looking for orphans in {state.location}", "use a local warehouse"
            )
        with _present(state):
            named = _local(self._named(state))
        seen = set[str]()
        for file in (file for folder in folders if folder is not None for file in files_below(folder)):
            if file.path not in named and file.path not in seen:
                seen.add(file.path)
                yield file

    def metadata(self, state: TableState) -> Metadata:
        """The manifests of the newest snapshot."""
        snapshot = state.handle.metadata.current_snapshot()
        manifests = snapshot.manifests(state.handle.io) if snapshot is not None else []
        return Metadata("manifests", len(manifests), sum(manifest.manifest_length for manifest in manifests))

    def tidy(self, state: TableState) -> bool:  # noqa: ARG002 - appends and compaction merge manifests already
        """Nothing to do: appends merge manifests, and a compaction leaves out those that are empty."""
        return False

    def _named(self, state: TableState) -> Iterator[str]:
        table: Table = state.handle
        metadata, io = table.metadata, table.io
        yield table.metadata_location
        yield from (entry.metadata_file for entry in metadata.metadata_log)
        yield from (file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics))
        yield from (snapshot.manifest_list for snapshot in metadata.snapshots)
        manifests = _manifests(metadata.snapshots, io)
        yield from manifests
        yield from _data_files(manifests.values(), io)
        yield from _held(state, metadata.snapshots)

    def _commit(self, state: TableState, updates: tuple[TableUpdate, ...], more: tuple[Any, ...]) -> TableState:
        table: Table = state.handle
        metadata: TableMetadata = table.metadata
        same = (
            AssertTableUUID(uuid=metadata.table_uuid),
            _at(MAIN_BRANCH, metadata.current_snapshot_id),
            *more,
        )
        try:
            answer = table.catalog.commit_table(table, same, updates)
        except CommitFailedException as error:
            raise Overtaken(f"{state.name} has moved on from snapshot {state.snapshot}: {error}") from error
        after = Table(table.name(), answer.metadata, answer.metadata_location, table.io, table.catalog)
        return self._reload(state.name, after)


@contextmanager
def _present(state: TableState) -> Iterator[None]:
    """A block that reads the metadata of a state: where some of it is gone, somebody expired it meanwhile."""
    try:
        yield
    except FileNotFoundError as error:
        raise Overtaken(f"{state.name} has moved on: {error.filename} is gone") from error


def _named(name: str, snapshot: int | None) -> TableUpdate:
    if snapshot is None:
        return RemoveSnapshotRefUpdate.model_validate({"ref-name": name})
    return SetSnapshotRefUpdate.model_validate({"ref-name": name, "type": SnapshotRefType.TAG, "snapshot-id": snapshot})


def _at(name: str, snapshot: int | None) -> AssertRefSnapshotId:
    return AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": snapshot})


def _only_named(state: TableState, snapshots: Collection[int], after: TableState) -> tuple[File, ...]:
    """The files that these snapshots of a state name, and no other snapshot of `after`, which may be the same state.

    FileNotFoundError where metadata of what stays is gone. What is gone of the others has been removed already.
    """
    metadata, io = state.handle.metadata, state.handle.io
    gone = [snapshot for snapshot in metadata.snapshots if snapshot.snapshot_id in snapshots]
    kept = [snapshot for snapshot in after.handle.metadata.snapshots if snapshot.snapshot_id not in snapshots]
    still = _manifests(kept, io)
    found = _each_there(gone, lambda snapshot: _manifests([snapshot], io))
    ours = {path: each for path, each in found.items() if path not in still}
    data = _each_there(ours.values(), lambda manifest: _data_files([manifest], io))
    live = _data_files(still.values(), io) if data else {}
    named = {path: size for path, size in data.items() if path not in live}
    named |= {path: each.manifest_length for path, each in ours.items()}
    named |= {snapshot.manifest_list: 0 for snapshot in gone}
    named |= {f.statistics_path: f.file_size_in_bytes for f in metadata.statistics if f.snapshot_id in snapshots}
    named |= dict.fromkeys(_held(state, gone) - _held(after, kept), 0)
    return tuple(File(path, size or _size(path)) for path, size in named.items())


def _each_there(sources: Iterable[Source], read: Callable[[Source], dict[str, Found]]) -> dict[str, Found]:
    """What is read of each, without those whose file is gone."""
    found: dict[str, Found] = {}
    for source in sources:
        with suppress(FileNotFoundError):
            found |= read(source)
    return found


def _manifests(snapshots: Iterable[Snapshot], io: FileIO) -> dict[str, ManifestFile]:
    found: dict[str, ManifestFile] = {}
    for snapshot in snapshots:
        with undamaged(snapshot.manifest_list):
            found |= {each.manifest_path: each for each in snapshot.manifests(io)}
    return found


def _data_files(manifests: Iterable[ManifestFile], io: FileIO) -> dict[str, int]:
    """The files that are live in manifests, of data and of row-level deletes, with their sizes."""
    found: dict[str, int] = {}
    for manifest in manifests:
        with undamaged(manifest.manifest_path):
            entries = manifest.fetch_manifest_entry(io, discard_deleted=False)
        live = (entry.data_file for entry in entries if entry.status != ManifestEntryStatus.DELETED)
        found |= {file.file_path: file.file_size_in_bytes for file in live}
    return found


def _held(state: TableState, snapshots: Iterable[Snapshot]) -> frozenset[str]:
    return side_files(state, map(to_snapshot, snapshots))


def _local(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(str(local_path(path) or path) for path in paths)


def _size(path: str) -> int:
    place = local_path(path)
    try:
        return place.stat().st_size if place is not None else 0
    except FileNotFoundError:
        return 0


def _remove(io: FileIO, path: str) -> None:
    try:
        io.delete(path)
    except FileNotFoundError:
        return
