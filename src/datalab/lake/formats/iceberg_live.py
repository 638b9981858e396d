"""Which data files of an Iceberg table are live, and which of their rows are deleted by position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat, ManifestContent, ManifestEntry, ManifestFile

from datalab.lake.formats.iceberg_files import PATH_ID, from_manifest
from datalab.lake.recent import Recent
from datalab.lake.table import DataFile, Marks, TableState
from datalab.lake.whole import undamaged

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

_ENTRIES = 20_000  # some 10 KB each in memory
_LISTED = 20_000  # manifests in lists, some 1 KB each


@dataclass(frozen=True)
class _Entry:
    """A live entry of a manifest; `of` is the data file whose rows it deletes, where it is one file's alone."""

    entry: ManifestEntry
    sequence: int
    file: DataFile | None = None
    marks: Marks | None = None
    of: str = ""


@dataclass(frozen=True)
class Live:
    """The live files by path. Not `plain`: rows are deleted in ways that only Iceberg's own scan knows."""

    files: Mapping[str, DataFile]
    plain: bool = True


class Manifests:
    """What manifests say; they never change, so that each is read once."""

    def __init__(self) -> None:
        self._read = Recent[tuple[str, int, int], tuple[_Entry, ...]](_ENTRIES, len)
        self._listed = Recent[str, list[ManifestFile]](_LISTED, len)

    def listed(self, io: FileIO, snapshot: Snapshot) -> list[ManifestFile]:
        """The manifests of a snapshot."""
        with undamaged(snapshot.manifest_list):
            return self._listed.get(snapshot.manifest_list, lambda: list(snapshot.manifests(io)))

    def entries(self, state: TableState, manifest: ManifestFile) -> list[ManifestEntry]:
        """The live entries of a manifest; nobody may change them."""
        return [each.entry for each in self._of(state, manifest)]

    def live(self, state: TableState, manifests: Iterable[ManifestFile]) -> Live:
        """The live files of a snapshot, from all of its manifests."""
        found = list(manifests)
        data = {entry.file.path: entry for entry in self._entries(state, found, ManifestContent.DATA) if entry.file}
        marks: dict[str, list[Marks]] = {}
        for entry in self._entries(state, found, ManifestContent.DELETES):
            marked = data.get(entry.of)
            if entry.marks is None or not entry.of:
                return Live({path: each.file for path, each in data.items() if each.file}, plain=False)
            if marked is not None and entry.sequence >= marked.sequence:
                marks.setdefault(entry.of, []).append(entry.marks)
        files = {path: each.file for path, each in data.items() if each.file is not None}
        return Live({path: _marked(file, marks.get(path, ())) for path, file in files.items()})

    def data(self, state: TableState, manifests: Iterable[ManifestFile]) -> dict[str, DataFile]:
        """The data files of some manifests, as if no row of them were deleted."""
        entries = self._entries(state, manifests, ManifestContent.DATA)
        return {entry.file.path: entry.file for entry in entries if entry.file is not None}

    def _entries(self, state: TableState, manifests: Iterable[ManifestFile], content: ManifestContent) -> list[_Entry]:
        chosen = [manifest for manifest in manifests if manifest.content == content]
        return [entry for manifest in chosen for entry in self._of(state, manifest)]

    def _of(self, state: TableState, manifest: ManifestFile) -> tuple[_Entry, ...]:
        metadata, io = state.handle.metadata, state.handle.io
        key = (manifest.manifest_path, metadata.current_schema_id, metadata.default_spec_id)
        with undamaged(manifest.manifest_path):
            return self._read.get(key, lambda: tuple(_read(metadata, io, manifest)))


def has_deletes(manifests: Iterable[ManifestFile]) -> bool:
    """Whether rows of some files may be deleted."""
    return any(manifest.content == ManifestContent.DELETES for manifest in manifests)


def _read(metadata: TableMetadata, io: FileIO, manifest: ManifestFile) -> Iterable[_Entry]:
    schema, spec = metadata.schema(), metadata.specs()[manifest.partition_spec_id]
    older = spec.spec_id != metadata.default_spec_id
    for entry in manifest.fetch_manifest_entry(io, discard_deleted=True):
        file, sequence = entry.data_file, entry.sequence_number or 0
        if file.content == DataFileContent.DATA:
            yield _Entry(entry, sequence, from_manifest(file, schema, spec, older=older))
        elif file.content == DataFileContent.POSITION_DELETES and file.file_format == FileFormat.PARQUET:
            marks = Marks(file.file_path, file.record_count, file.file_size_in_bytes, file)
            yield _Entry(entry, sequence, marks=marks, of=_only_path(file))
        else:
            yield _Entry(entry, sequence)


def _only_path(deletes: IcebergFile) -> str:
    """The one path that a delete file names, told from its bounds; empty for several."""
    lower, upper = (bounds.get(PATH_ID) for bounds in (deletes.lower_bounds or {}, deletes.upper_bounds or {}))
    return lower.decode("utf-8", "replace") if lower and lower == upper else ""


def _marked(file: DataFile, marks: Iterable[Marks]) -> DataFile:
    """Counts of NULLs are of all rows, so they say nothing of those that are left."""
    gone = tuple(sorted(marks, key=lambda each: each.path))
    rows = max(0, file.rows - sum(each.rows for each in gone))
    return replace(file, rows=rows, nulls={}, gone=gone) if gone else file


def changed_marks(
    before: Mapping[str, DataFile], after: Mapping[str, DataFile]
) -> tuple[list[DataFile], list[DataFile]]:
    """Of files that are live at two snapshots: the rows that came back, and the rows that went."""
    came, went = [], []
    for path, new in after.items():
        old = before.get(path)
        if old is None or old.key == new.key:
            continue
        fresh = tuple(marks for marks in new.gone if marks not in old.gone)
        lifted = tuple(marks for marks in old.gone if marks not in new.gone)
        went += [_part(old, fresh)] if fresh else []
        came += [_part(new, lifted)] if lifted else []
    return came, went


def _part(file: DataFile, only: tuple[Marks, ...]) -> DataFile:
    return replace(file, rows=sum(marks.rows for marks in only), nulls={}, only=only)
