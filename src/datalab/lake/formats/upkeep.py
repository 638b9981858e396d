"""The upkeep port: what maintenance needs of a table format beyond reading and committing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from datalab.lake.table import TableState


@dataclass(frozen=True)
class File:
    """A file of any kind in a table's folder: absolute path or URI, bytes, and when it was last written (UTC)."""

    path: str
    size: int
    modified: datetime | None = None


@dataclass(frozen=True)
class Metadata:
    """What a reader has to open before the data: so many files of a kind (manifests, commits since a checkpoint)."""

    kind: str
    files: int
    bytes: int


class Upkeep(Protocol):
    """Maintenance of one format's tables. Thread-safe, and safe beside writers of other processes."""

    def tags(self, state: TableState) -> Mapping[str, int]:
        """The snapshots that have a name, by name."""

    def tag(self, state: TableState, name: str, snapshot: int | None) -> TableState:
        """Name a snapshot that exists, or take the name away. Overtaken where the table moved on: nothing was done."""

    def doomed(self, state: TableState, snapshots: Collection[int]) -> tuple[File, ...]:
        """The files, of data and of metadata, that only these snapshots name. Opens no data file; Overtaken."""

    def expire(self, state: TableState, snapshots: Collection[int]) -> tuple[File, ...]:
        """Forget snapshots, then remove the files that only they name; answers those files.

        Never the newest one, nor one with a tag: LakeError. Overtaken where the table moved on: nothing was done.
        Killed in between, it leaves a table that is whole, and files that `strays` finds.
        """

    def strays(self, state: TableState) -> Iterator[File]:
        """The files below the table's location that no metadata names, of whatever age.

        NotSupported off this disk, Overtaken where the table moved on while it was looked at.
        """

    def metadata(self, state: TableState) -> Metadata:
        """How much metadata a reader opens."""

    def tidy(self, state: TableState) -> bool:
        """Make the metadata quick to read, where there is something to do; answers whether there was."""
