"""A snapshot that takes data files away, and rows of files that stay: PyIceberg itself writes no delete files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import (
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.table import TableProperties
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles
from pyiceberg.utils.properties import property_as_bool, property_as_int

if TYPE_CHECKING:
    from pyiceberg.table import Transaction

_MERGED = 20  # a commit and a read open all manifests
_SIZE = 8 << 20


class _DeletesWriter(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


@dataclass(frozen=True)
class Present:
    """The manifests of the snapshot that is the parent, and what answers the live entries of one."""

    manifests: Sequence[ManifestFile]
    entries: Callable[[ManifestFile], Sequence[ManifestEntry]]


class Rewrite(_OverwriteFiles):
    """Data files come and go, and position delete files come and go, in one snapshot.

    Manifests of delete files are merged when there are many; those without a live file are left out. What is there
    comes from `present`: PyIceberg itself would read each manifest of data files two times more.
    """

    def __init__(self, transaction: Transaction, properties: Mapping[str, str], present: Present) -> None:
        io = transaction._table.io  # noqa: SLF001 - where PyIceberg's own operations take it from
        super().__init__(Operation.OVERWRITE, transaction, io, snapshot_properties=dict(properties))
        self._present = present
        self._marks: list[IcebergFile] = []
        self._unmarked: dict[str, IcebergFile] = {}

    def mark(self, deletes: IcebergFile) -> None:
        """Rows are gone from now on."""
        self._marks.append(deletes)

    def unmark(self, deletes: IcebergFile) -> None:
        """A delete file leaves, its data file too; or its rows come back."""
        self._unmarked[deletes.file_path] = deletes

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """Merges those of data files as appends do."""
        settings = self._transaction.table_metadata.properties
        size = property_as_int(settings, TableProperties.MANIFEST_TARGET_SIZE_BYTES, _SIZE)
        merging = property_as_bool(settings, TableProperties.MANIFEST_MERGE_ENABLED, default=False)
        manager = _ManifestMergeManager(size or _SIZE, _MERGED, merging, self)
        data = [manifest for manifest in manifests if manifest.content == ManifestContent.DATA]
        deletes = [manifest for manifest in manifests if manifest.content == ManifestContent.DELETES]
        return [*manager.merge_manifests(data), *deletes]

    def _deleted_entries(self) -> list[ManifestEntry]:
        """The entries of the files that go, all of which have to be live."""
        gone = [
            self._changed(ManifestEntryStatus.DELETED, entry, snapshot_id=self._snapshot_id)
            for manifest in self._of(ManifestContent.DATA)
            for entry in self._present.entries(manifest)
            if entry.data_file in self._deleted_data_files
        ]
        self._validate_required_deletes(gone)
        return gone

    def _existing_manifests(self) -> list[ManifestFile]:
        data = [kept for manifest in self._of(ManifestContent.DATA) for kept in self._without_deleted(manifest)]
        return [*data, *self._delete_manifests(self._of(ManifestContent.DELETES))]

    def _of(self, content: ManifestContent) -> list[ManifestFile]:
        return [manifest for manifest in self._present.manifests if manifest.content == content]

    def _without_deleted(self, manifest: ManifestFile) -> list[ManifestFile]:
        entries = self._present.entries(manifest)
        kept = [entry for entry in entries if entry.data_file not in self._deleted_data_files]
        if len(kept) == len(entries):
            return [manifest]
        if not kept:
            return []
        with self.new_manifest_writer(self.spec(manifest.partition_spec_id)) as writer:
            for entry in kept:
                writer.add_entry(self._changed(ManifestEntryStatus.EXISTING, entry))
        return [writer.to_manifest_file()]

    def _delete_manifests(self, present: Iterable[ManifestFile]) -> list[ManifestFile]:
        live = [manifest for manifest in present if manifest.has_added_files() or manifest.has_existing_files()]
        merged = len(live) + bool(self._marks) >= _MERGED
        again = [manifest for manifest in live if merged or self._holds_unmarked(manifest)]
        changed = [entry for manifest in again for entry in self._again(manifest)]
        added = [self._entry(ManifestEntryStatus.ADDED, file) for file in self._marks]
        return [*(manifest for manifest in live if manifest not in again), *self._written([*added, *changed])]

    def _holds_unmarked(self, manifest: ManifestFile) -> bool:
        entries = self._present.entries(manifest) if self._unmarked else ()
        return any(entry.data_file.file_path in self._unmarked for entry in entries)

    def _again(self, manifest: ManifestFile) -> Iterable[ManifestEntry]:
        for entry in self._present.entries(manifest):
            if entry.data_file.file_path in self._unmarked:
                yield self._changed(ManifestEntryStatus.DELETED, entry, snapshot_id=self._snapshot_id)
            else:
                yield self._changed(ManifestEntryStatus.EXISTING, entry)

    def _changed(self, status: ManifestEntryStatus, entry: ManifestEntry, **other: Any) -> ManifestEntry:
        numbers = {name: getattr(entry, name) for name in ("snapshot_id", "sequence_number", "file_sequence_number")}
        return self._entry(status, entry.data_file, **{**numbers, **other})

    def _entry(self, status: ManifestEntryStatus, file: IcebergFile, **numbers: Any) -> ManifestEntry:
        values = {"snapshot_id": self._snapshot_id, "sequence_number": None, "file_sequence_number": None, **numbers}
        return ManifestEntry.from_args(status=status, data_file=file, **values)

    def _written(self, entries: Iterable[ManifestEntry]) -> list[ManifestFile]:
        by_spec: dict[int, list[ManifestEntry]] = defaultdict(list)
        for entry in entries:
            by_spec[entry.data_file.spec_id].append(entry)
        written = []
        for spec, members in by_spec.items():
            output = self.new_manifest_output()
            with _DeletesWriter(self.spec(spec), self.schema(), output, self._snapshot_id, self._compression) as writer:
                for entry in members:
                    writer.add_entry(entry)
            written.append(writer.to_manifest_file())
        return written

    def _summary(self, snapshot_properties: dict[str, str] = {}) -> Summary:  # noqa: B006 - PyIceberg's signature
        """Counts the delete files, too."""
        data = self._added_data_files, self._deleted_data_files
        self._added_data_files = [*data[0], *self._marks]
        self._deleted_data_files = {*data[1], *self._unmarked.values()}
        try:
            return super()._summary(snapshot_properties)
        finally:
            self._added_data_files, self._deleted_data_files = data
